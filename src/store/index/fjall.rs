//! The index on fjall, the only user of that crate.
//!
//! fjall's own journal is thrown away at every open: what it would replay is either in tables already or in our
//! journal behind the proven position, and measured, a flipped bit in it lost records silently. Its tables, which find
//! every flip, are all that counts. Without a journal fjall restarts its sequence at 0 and would hide its own tables,
//! so the sequence is raised above the highest one in them (`docs/adr/0005-index-without-fjall-journal.md`; it uses
//! two fields that fjall hides from its documentation, hence the exact version).
//!
//! A keyspace's list of tables is believed only when its checksum fits. fjall writes that checksum and never looks at
//! it; and where a list or a keyspace is missing it makes an empty one and deletes what no list names.

use std::io;
use std::ops::Bound;
use std::path::Path;
use std::path::PathBuf;
use std::sync::Condvar;
use std::sync::Mutex;
use std::sync::PoisonError;
use std::time::Duration;
use std::time::Instant;

use fjall::AbstractTree;
use fjall::Database;
use fjall::Keyspace;
use fjall::KeyspaceCreateOptions;

use crate::base::limits::INDEX_CACHE_BYTES;
use crate::base::limits::INDEX_MEMTABLE_BYTES;
use crate::base::time;
use crate::store::index::Change;
use crate::store::index::Index;
use crate::store::index::IndexError;
use crate::store::index::Visit;
use crate::store::index::voice;

/// The one keyspace.
const KEYSPACE: &str = "objects";
/// Its number in fjall's directory: the first one made.
pub const KEYSPACE_DIR: &str = "keyspaces/1";
/// Names the list of a keyspace's tables.
pub const CURRENT: &str = "current";
/// The names of keyspaces.
const NAMES_DIR: &str = "keyspaces/0";
/// With two, fjall's first worker hands every compaction back to the queue while the second works on it, and spins.
const WORKER_THREADS: usize = 1;
/// Larger than a memtable gets: we rotate it ourselves, so that fjall never asks its worker to. It asks at every write
/// past the limit; behind a long compaction its queue of 1,000 filled up with such requests, the worker then waited for
/// a place in the queue that only it empties, and the index stood still.
const MEMTABLE_NEVER_FULL: u64 = 1 << 40;
/// How often a settling waits before it looks again: fjall offers no notification.
const SETTLE_POLL: Duration = Duration::from_millis(2);

/// The index on fjall.
pub struct FjallIndex {
    database: Database,
    objects: Keyspace,
    /// Only to wait on.
    pause: (Mutex<()>, Condvar),
}

impl FjallIndex {
    /// Makes an empty index in a directory that does not exist.
    ///
    /// # Errors
    /// [`IndexError`]; what was begun is in the way of the next attempt.
    pub fn create(dir: &Path) -> Result<Self, IndexError> {
        if dir.exists() {
            return Err(IndexError::Io { detail: format!("{} is there already", dir.display()) });
        }
        let made = Self::start(dir)?;
        let keyspaces = std::fs::File::open(dir.join("keyspaces"));
        keyspaces.and_then(|keyspaces| keyspaces.sync_all()).map_err(|error| from_io(&error))?;
        Ok(made)
    }

    /// Opens the index in a directory.
    ///
    /// # Errors
    /// [`IndexError`]; nothing but fjall's own journal was changed. [`IndexError::Corrupt`] too where it is missing.
    pub fn open(dir: &Path) -> Result<Self, IndexError> {
        check_list(&dir.join(NAMES_DIR))?;
        check_list(&dir.join(KEYSPACE_DIR))?;
        discard_journal(dir).map_err(|error| from_io(&error))?;
        Self::start(dir)
    }

    fn start(dir: &Path) -> Result<Self, IndexError> {
        voice::listen();
        let database = Database::builder(dir)
            .cache_size(INDEX_CACHE_BYTES)
            .worker_threads(WORKER_THREADS)
            .manual_journal_persist(true)
            .open()
            .map_err(from_fjall)?;
        let options =
            || KeyspaceCreateOptions::default().max_memtable_size(MEMTABLE_NEVER_FULL).manual_journal_persist(true);
        let objects = database.keyspace(KEYSPACE, options).map_err(from_fjall)?;
        let next = objects.tree.get_highest_seqno().map_or(0, |highest| highest + 1);
        database.supervisor.seqno.fetch_max(next);
        database.supervisor.snapshot_tracker.set(database.supervisor.seqno.get());
        Ok(Self { database, objects, pause: (Mutex::new(()), Condvar::new()) })
    }
}

/// Checks the list of a keyspace's tables.
///
/// ```text
/// current = list number u64 · XXH3-128 of the file v<list number> · 0      all little-endian
/// ```
///
/// # Errors
/// [`IndexError::Corrupt`] where it is missing or not what was written.
pub(super) fn check_list(keyspace: &Path) -> Result<(), IndexError> {
    let corrupt = |what: &str| IndexError::Corrupt { detail: format!("{}: {what}", keyspace.display()) };
    let read = |name: &str| {
        std::fs::read(keyspace.join(name)).map_err(|error| match from_io(&error) {
            IndexError::Corrupt { detail } => corrupt(&format!("its list of tables is missing: {detail}")),
            other @ (IndexError::Full { .. } | IndexError::Io { .. } | IndexError::Stalled) => other,
        })
    };
    let current = read(CURRENT)?;
    let number = current.get(..8).and_then(|bytes| bytes.try_into().ok()).map(u64::from_le_bytes);
    let checksum = current.get(8..24).and_then(|bytes| bytes.try_into().ok()).map(u128::from_le_bytes);
    let (Some(number), Some(checksum), Some([0])) = (number, checksum, current.get(24..)) else {
        return Err(corrupt("the number of its list of tables is damaged"));
    };
    // A list that is not what was written differs in about half of the bits; in a single one, the checksum is damaged.
    if (xxhash_rust::xxh3::xxh3_128(&read(&format!("v{number}"))?) ^ checksum).count_ones() > 1 {
        return Err(corrupt("its list of tables is damaged"));
    }
    Ok(())
}

/// Removes fjall's journal files.
fn discard_journal(dir: &Path) -> io::Result<()> {
    for entry in std::fs::read_dir(dir)? {
        let path = entry?.path();
        if path.extension().is_some_and(|extension| extension == "jnl") {
            std::fs::remove_file(path)?;
        }
    }
    std::fs::File::open(dir)?.sync_all()
}

impl Index for FjallIndex {
    fn get(&self, place: &[u8]) -> Result<Option<Vec<u8>>, IndexError> {
        Ok(self.objects.get(place).map_err(from_fjall)?.map(|object| object.to_vec()))
    }

    fn apply(&self, changes: &[Change<'_>]) -> Result<(), IndexError> {
        for change in changes {
            match change.object {
                Some(object) => self.objects.insert(change.place, object),
                None => self.objects.remove(change.place),
            }
            .map_err(from_fjall)?;
            // The next insert waits where more than a few full ones are not yet in tables.
            if self.objects.tree.active_memtable().size() >= INDEX_MEMTABLE_BYTES {
                self.objects.rotate_memtable().map_err(from_fjall)?;
            }
        }
        Ok(())
    }

    fn scan(&self, from: &[u8], to: &[u8], visit: &mut Visit<'_>) -> Result<(), IndexError> {
        for guard in self.objects.range::<&[u8], _>((Bound::Included(from), Bound::Excluded(to))) {
            let (place, object) = guard.into_inner().map_err(from_fjall)?;
            if visit(&place, &object).is_break() {
                break;
            }
        }
        Ok(())
    }

    fn scan_back(&self, from: &[u8], to: &[u8], visit: &mut Visit<'_>) -> Result<(), IndexError> {
        for guard in self.objects.range::<&[u8], _>((Bound::Included(from), Bound::Excluded(to))).rev() {
            let (place, object) = guard.into_inner().map_err(from_fjall)?;
            if visit(&place, &object).is_break() {
                break;
            }
        }
        Ok(())
    }

    fn settle(&self, deadline: Instant) -> Result<(), IndexError> {
        let wanted = self.objects.tree.get_highest_seqno();
        self.objects.rotate_memtable().map_err(from_fjall)?;
        while self.objects.tree.sealed_memtable_count() > 0 {
            let left = deadline.saturating_duration_since(time::mono());
            if left.is_zero() {
                return Err(IndexError::Stalled);
            }
            let guard = self.pause.0.lock().unwrap_or_else(PoisonError::into_inner);
            let _woken = self.pause.1.wait_timeout(guard, left.min(SETTLE_POLL));
        }
        // The proof: the tables that the synced manifest lists reach as far as what was written.
        let proven = self.objects.tree.get_highest_persisted_seqno();
        if proven < wanted {
            return Err(IndexError::Io { detail: format!("tables reach {proven:?} instead of {wanted:?}") });
        }
        Ok(())
    }

    fn bytes(&self) -> u64 {
        self.database.disk_space().unwrap_or(0)
    }

    fn files(&self) -> Vec<PathBuf> {
        let version = self.objects.tree.current_version();
        let keyspace = &self.objects.tree.tree_config().path;
        let mut files = vec![keyspace.join(CURRENT), keyspace.join(format!("v{}", version.id()))];
        files.extend(version.iter_tables().map(|table| table.path.to_path_buf()));
        files
    }
}

/// Sorts fjall's errors by what the caller can do.
#[expect(clippy::wildcard_enum_match_arm, reason = "a foreign enum that may grow")]
fn from_fjall(error: fjall::Error) -> IndexError {
    match error {
        fjall::Error::Storage(error) => from_lsm(&error),
        fjall::Error::Io(error) => from_io(&error),
        fjall::Error::Decompress(_)
        | fjall::Error::InvalidTrailer
        | fjall::Error::InvalidTag(_)
        | fjall::Error::InvalidVersion(_)
        | fjall::Error::JournalRecovery(_)
        | fjall::Error::Unrecoverable => IndexError::Corrupt { detail: error.to_string() },
        // Only that something failed before; what did was said by the way.
        fjall::Error::Poisoned => IndexError::Io { detail: poisoned(error.to_string()) },
        other => IndexError::Io { detail: other.to_string() },
    }
}

fn poisoned(text: String) -> String {
    match voice::first_error() {
        Some(first) => format!("{text}, since it met this: {first}"),
        None => text,
    }
}

/// Sorts the tree's errors by what the caller can do.
#[expect(clippy::wildcard_enum_match_arm, reason = "a foreign enum that may grow")]
pub(super) fn from_lsm(error: &lsm_tree::Error) -> IndexError {
    match error {
        lsm_tree::Error::Io(error) => from_io(error),
        // Everything else says that bytes are not what was written.
        other => IndexError::Corrupt { detail: other.to_string() },
    }
}

/// Sorts the operating system's errors by what the caller can do.
pub(super) fn from_io(error: &io::Error) -> IndexError {
    let detail = error.to_string();
    let kind = error.kind();
    if [io::ErrorKind::StorageFull, io::ErrorKind::QuotaExceeded].contains(&kind) {
        IndexError::Full { detail }
    } else if [io::ErrorKind::NotFound, io::ErrorKind::UnexpectedEof].contains(&kind) {
        // A file that is missing or short is not what was written.
        IndexError::Corrupt { detail }
    } else {
        IndexError::Io { detail }
    }
}

#[cfg(test)]
mod tests {
    use std::ops::ControlFlow;
    use std::time::Duration;

    use fjall::AbstractTree;

    use super::FjallIndex;
    use crate::base::limits::INDEX_MEMTABLE_BYTES;
    use crate::base::time;
    use crate::store::index::Change;
    use crate::store::index::Index;

    fn all(index: &FjallIndex) -> Vec<(Vec<u8>, Vec<u8>)> {
        let mut found = Vec::new();
        index
            .scan(&[], &[255; 9], &mut |place, object| {
                found.push((place.to_vec(), object.to_vec()));
                ControlFlow::Continue(())
            })
            .unwrap();
        found
    }

    /// With fjall's own rotation the memtable grew for as long as its worker was busy, and once to a standstill.
    #[test]
    fn a_memtable_stays_within_its_limit_however_busy_the_worker_is() {
        const WRITES: u32 = 400_000;
        let parent = tempfile::tempdir().unwrap();
        let index = FjallIndex::create(&parent.path().join("db")).unwrap();
        let mut largest = 0;
        for n in 0..WRITES {
            // In no order, so that compactions have something to do.
            let place = format!("{:032}", u64::from(n) * 7_919_101 % 1_000_003);
            index.apply(&[Change { place: place.as_bytes(), object: Some(&[7; 100]) }]).unwrap();
            largest = largest.max(index.objects.tree.active_memtable().size());
        }
        assert!(largest < INDEX_MEMTABLE_BYTES + 1024, "{largest}");
    }

    /// Measured without the check: the 103rd random flip here hid keys, and the index opened as if nothing were wrong.
    #[test]
    fn a_list_of_tables_with_any_bit_flipped_is_refused() {
        let parent = tempfile::tempdir().unwrap();
        let dir = parent.path().join("db");
        let index = FjallIndex::create(&dir).unwrap();
        index.apply(&[Change { place: b"a", object: Some(b"1") }]).unwrap();
        index.settle(time::mono() + Duration::from_secs(10)).unwrap();
        drop(index);
        let keyspace = dir.join(super::KEYSPACE_DIR);
        let refused_when_flipped = |name: &str, byte: usize, bit: u8| {
            let whole = std::fs::read(keyspace.join(name)).unwrap();
            let mut flipped = whole.clone();
            *flipped.get_mut(byte).unwrap() ^= 1 << bit;
            std::fs::write(keyspace.join(name), &flipped).unwrap();
            let refused = super::check_list(&keyspace).is_err();
            std::fs::write(keyspace.join(name), whole).unwrap();
            refused
        };
        let current = std::fs::read(keyspace.join("current")).unwrap();
        let list = format!("v{}", u64::from_le_bytes(*current.first_chunk().unwrap()));
        for byte in 0..std::fs::read(keyspace.join(&list)).unwrap().len() {
            assert!((0..8).all(|bit| refused_when_flipped(&list, byte, bit)), "{list} byte {byte}");
        }
        for byte in 0..current.len() {
            // Bytes 8 to 23 are the checksum: alone in being damaged, it says nothing about the list.
            let checksum = (8..24).contains(&byte);
            assert!((0..8).all(|bit| refused_when_flipped("current", byte, bit) != checksum), "current byte {byte}");
        }
        super::check_list(&keyspace).unwrap();
    }

    #[test]
    fn what_is_settled_survives_the_loss_of_fjalls_journal_and_later_writes_win() {
        let parent = tempfile::tempdir().unwrap();
        let dir = parent.path().join("db");
        drop(FjallIndex::create(&dir).unwrap());
        let put = |index: &FjallIndex, place: &[u8], object: &[u8]| {
            index.apply(&[Change { place, object: Some(object) }]).unwrap();
        };
        for round in 0..4_u8 {
            let index = FjallIndex::open(&dir).unwrap();
            let before = all(&index);
            assert_eq!(before.len(), if round == 0 { 0 } else { 2 }, "round {round}: {before:?}");
            assert_eq!(index.get(b"a").unwrap(), (round > 0).then(|| vec![round - 1]));
            put(&index, b"a", &[round]);
            put(&index, b"b", &[round]);
            assert_eq!(index.get(b"a").unwrap(), Some(vec![round]));
            index.settle(time::mono() + Duration::from_secs(10)).unwrap();
            put(&index, b"lost", b"never settled");
        }
    }
}
