//! A damaged index is not patched: it is read table by table into a fresh one and set aside (HOUSE decision 4). What
//! cannot be read is remembered as ranges, in which an absent key is `corrupt`, not absent.
//!
//! ```text
//! index/db            in use          index/db.rebuild    being filled; removed at the next start
//! index/db.broken-N   set aside       index/db.fresh      filled; takes the place of db now or at the next start
//! index/REBUILD       left by a process whose index failed while running
//! index/unreadable.json   ranges nothing is known of
//! ```
//! A born node's index is never made anew in silence: what the journal has proven to it would be lost.

use std::fs;
use std::io;
use std::panic::AssertUnwindSafe;
use std::path::Path;
use std::path::PathBuf;
use std::time::Duration;

use fjall::AbstractTree;
use fjall::SeqNo;
use lsm_tree::SequenceNumberCounter;
use serde::Deserialize;
use serde::Serialize;

use crate::base::codec;
use crate::base::time;
use crate::store::data_dir;
use crate::store::index::Change;
use crate::store::index::Index;
use crate::store::index::IndexError;
use crate::store::index::fjall as engine;
use crate::store::index::fjall::FjallIndex;

const DB: &str = "db";
const REBUILD_DIR: &str = "db.rebuild";
const FRESH: &str = "db.fresh";
const REBUILD_MARK: &str = "REBUILD";
const UNREADABLE: &str = "unreadable.json";

/// Flushing a rebuilt index may take this long; longer means the disk hangs.
const SETTLE_TIMEOUT: Duration = Duration::from_secs(600);

/// Places of which nothing is known, `from..to`.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Unreadable(Vec<(Vec<u8>, Vec<u8>)>);

impl Unreadable {
    /// Whether a place is in one of the ranges.
    #[must_use]
    pub fn contains(&self, place: &[u8]) -> bool {
        self.0.iter().any(|(from, to)| from.as_slice() <= place && place < to.as_slice())
    }

    /// Whether a range has a place in common with one of these.
    #[must_use]
    pub fn overlaps(&self, from: &[u8], to: &[u8]) -> bool {
        self.0.iter().any(|(bad_from, bad_to)| from < bad_to.as_slice() && bad_from.as_slice() < to)
    }

    /// Whether all is known.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The ranges in words.
    #[must_use]
    pub fn in_words(&self) -> Vec<String> {
        let words = |(from, to): &(Vec<u8>, Vec<u8>)| format!("{} up to {}", from.escape_ascii(), to.escape_ascii());
        self.0.iter().map(words).collect()
    }
}

#[derive(Serialize, Deserialize)]
struct UnreadableFile {
    ranges: Vec<(String, String)>,
}

/// An index ready for use.
pub struct OpenIndex {
    /// The index.
    pub index: FjallIndex,
    /// What is not known of it.
    pub unreadable: Unreadable,
    /// What had to be done, in words.
    pub mended: Vec<String>,
}

/// Makes the empty index of a node that is not born yet, in place of what an interrupted birth left.
///
/// # Errors
/// [`IndexError`].
pub fn create(dir: &Path) -> Result<OpenIndex, IndexError> {
    remove_dir(&dir.join(DB)).map_err(from_io)?;
    let index = FjallIndex::create(&dir.join(DB))?;
    sync_dir(dir).map_err(from_io)?;
    Ok(OpenIndex { index, unreadable: Unreadable::default(), mended: Vec::new() })
}

/// Opens the index under `dir`, rebuilding it from its tables where it does not open or failed while it ran.
///
/// # Errors
/// [`IndexError::Corrupt`] where not even the list of tables can be read: only a refill or `doctor --accept-loss`
/// helps. [`IndexError::Full`] where there is no room; then nothing was set aside.
pub fn open(dir: &Path) -> Result<OpenIndex, IndexError> {
    remove_dir(&dir.join(REBUILD_DIR)).map_err(from_io)?;
    if dir.join(FRESH).exists() {
        put_in_place(dir).map_err(from_io)?;
    }
    let mark = dir.join(REBUILD_MARK);
    let reason = if mark.exists() { fs::read_to_string(&mark).map_err(from_io)? } else { String::new() };
    let opened = if reason.is_empty() { open_caught(&dir.join(DB)) } else { Err(IndexError::Io { detail: reason }) };
    let mut mended = Vec::new();
    let index = match opened {
        Ok(index) => index,
        Err(full @ IndexError::Full { .. }) => return Err(full),
        Err(error) => {
            mended.push(rebuild(dir, &error)?);
            open_caught(&dir.join(DB))?
        }
    };
    let unreadable = read_unreadable(dir).map_err(from_io)?;
    Ok(OpenIndex { index, unreadable, mended })
}

/// Leaves word that the index failed while it ran, so that the next start rebuilds it.
///
/// # Errors
/// Of the operating system.
pub fn ask_for_rebuild(dir: &Path, reason: &str) -> io::Result<()> {
    data_dir::write_whole(&dir.join(REBUILD_MARK), reason.as_bytes())
}

/// Gives up on what cannot be read: ranges become absent, and an index whose tables cannot even be listed is set aside
/// for an empty one. Returns what was given up, in words.
///
/// # Errors
/// [`IndexError`] where room or a working disk is all that is missing: nothing was given up.
pub fn accept_loss(dir: &Path) -> Result<Vec<String>, IndexError> {
    let mut lost = Vec::new();
    match open(dir) {
        Ok(_) => {}
        Err(error @ IndexError::Corrupt { .. }) => {
            lost.push(format!("the whole index ({error}); only what the journal still holds is left"));
            let unmarked = fs::remove_file(dir.join(REBUILD_MARK));
            unmarked.or_else(unless_missing).and_then(|()| set_aside(dir)).map_err(from_io)?;
            drop(create(dir)?);
        }
        Err(error @ (IndexError::Full { .. } | IndexError::Io { .. } | IndexError::Stalled)) => return Err(error),
    }
    let unreadable = read_unreadable(dir).map_err(from_io)?;
    lost.extend(unreadable.in_words());
    if !unreadable.is_empty() {
        fs::remove_file(dir.join(UNREADABLE)).map_err(from_io)?;
    }
    Ok(lost)
}

/// fjall panics on some damage; that is an index that does not open, not an end of the process.
fn open_caught(dir: &Path) -> Result<FjallIndex, IndexError> {
    std::panic::catch_unwind(AssertUnwindSafe(|| FjallIndex::open(dir)))
        .unwrap_or_else(|_panic| Err(IndexError::Corrupt { detail: "the storage engine panicked at opening".into() }))
}

/// Fills a fresh index from the tables of the old one and puts it in its place.
fn rebuild(dir: &Path, why: &IndexError) -> Result<String, IndexError> {
    let fresh = FjallIndex::create(&dir.join(REBUILD_DIR))?;
    let (kept, unreadable) = copy_tables(&dir.join(DB).join(engine::KEYSPACE_DIR), &fresh)?;
    fresh.settle(time::mono() + SETTLE_TIMEOUT)?;
    drop(fresh);
    let mut all = read_unreadable(dir).map_err(from_io)?;
    all.0.extend(unreadable.0);
    write_unreadable(dir, &all).map_err(from_io)?;
    // From here on a start goes on with the fresh one, whatever happens to this process.
    fs::rename(dir.join(REBUILD_DIR), dir.join(FRESH)).and_then(|()| sync_dir(dir)).map_err(from_io)?;
    let aside = put_in_place(dir).map_err(from_io)?;
    Ok(format!(
        "the index could not be used ({why}); {kept} keys were read from its tables into a new one, {} ranges could \
         not be read; the old one is kept as {}",
        all.0.len(),
        aside.display()
    ))
}

/// Puts the fresh index in the place of the old one, which is set aside. Repeated after an interruption.
fn put_in_place(dir: &Path) -> io::Result<PathBuf> {
    let aside = set_aside(dir)?;
    fs::remove_file(dir.join(REBUILD_MARK)).or_else(unless_missing)?;
    fs::rename(dir.join(FRESH), dir.join(DB))?;
    sync_dir(dir)?;
    Ok(aside)
}

/// Moves the index away under a free name.
fn set_aside(dir: &Path) -> io::Result<PathBuf> {
    let name = |n: u32| dir.join(format!("db.broken-{n}"));
    let free = (1..).map(name).find(|path| !path.exists()).unwrap_or_else(|| name(0));
    if dir.join(DB).exists() {
        fs::rename(dir.join(DB), &free)?;
    }
    Ok(free)
}

fn remove_dir(dir: &Path) -> io::Result<()> {
    fs::remove_dir_all(dir).or_else(unless_missing)
}

fn unless_missing(error: io::Error) -> io::Result<()> {
    if error.kind() == io::ErrorKind::NotFound { Ok(()) } else { Err(error) }
}

fn sync_dir(dir: &Path) -> io::Result<()> {
    fs::File::open(dir)?.sync_all()
}

fn from_io(error: io::Error) -> IndexError {
    engine::from_io(&error)
}

/// Reads the tables into a fresh index.
fn copy_tables(old: &Path, fresh: &FjallIndex) -> Result<(u64, Unreadable), IndexError> {
    let mut kept = 0;
    let unreadable = walk_tables(old, &mut |place, object| {
        kept += 1;
        fresh.apply(&[Change { place, object: Some(object) }])
    })?;
    Ok((kept, unreadable))
}

/// Visits everything in the index under `dir` without opening it for use. Returns the ranges that cannot be read,
/// together with those known before.
///
/// # Errors
/// [`IndexError`] where not even the list of tables can be read.
pub fn walk(dir: &Path, visit: &mut Walk<'_>) -> Result<Unreadable, IndexError> {
    let mut all = read_unreadable(dir).map_err(from_io)?;
    let in_use = if dir.join(FRESH).exists() { FRESH } else { DB };
    all.0.extend(walk_tables(&dir.join(in_use).join(engine::KEYSPACE_DIR), visit)?.0);
    Ok(all)
}

/// Called with each place and object of a walk.
pub type Walk<'a> = dyn FnMut(&[u8], &[u8]) -> Result<(), IndexError> + 'a;

/// Reads the tables at the highest sequence, partition by partition: damage in one costs the rest of that one only.
fn walk_tables(tables: &Path, visit: &mut Walk<'_>) -> Result<Unreadable, IndexError> {
    engine::check_list(tables)?;
    let open =
        || lsm_tree::Config::new(tables, SequenceNumberCounter::default(), SequenceNumberCounter::default()).open();
    let tree = std::panic::catch_unwind(AssertUnwindSafe(open))
        .map_err(|_panic| IndexError::Corrupt { detail: "the list of tables cannot be read".into() })?
        .map_err(|error| engine::from_lsm(&error))?;
    let mut unreadable = Unreadable::default();
    for partition in 0..=u8::MAX {
        let end = partition.checked_add(1).map_or_else(|| vec![u8::MAX; 2048], |next| vec![next]);
        let mut from = vec![partition];
        for guard in tree.range::<Vec<u8>, _>(vec![partition]..end.clone(), SeqNo::MAX, None) {
            match lsm_tree::Guard::into_inner(guard) {
                Ok((place, object)) => {
                    visit(&place, &object)?;
                    from = [&place, &[0][..]].concat();
                }
                Err(error) => {
                    tracing::warn!(%error, partition, "a part of an index table cannot be read");
                    unreadable.0.push((from.clone(), end.clone()));
                    break;
                }
            }
        }
    }
    Ok(unreadable)
}

fn read_unreadable(dir: &Path) -> io::Result<Unreadable> {
    let text = match fs::read(dir.join(UNREADABLE)) {
        Ok(text) => text,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Unreadable::default()),
        Err(error) => return Err(error),
    };
    let file: UnreadableFile = serde_json::from_slice(&text).map_err(io::Error::other)?;
    let decode = |text: &str| codec::from_base64url(text).ok_or(io::ErrorKind::InvalidData);
    let mut ranges = Vec::new();
    for (from, to) in &file.ranges {
        ranges.push((decode(from)?, decode(to)?));
    }
    Ok(Unreadable(ranges))
}

fn write_unreadable(dir: &Path, unreadable: &Unreadable) -> io::Result<()> {
    if unreadable.is_empty() {
        return Ok(());
    }
    let ranges = unreadable.0.iter().map(|(from, to)| (codec::base64url(from), codec::base64url(to))).collect();
    let text = serde_json::to_vec_pretty(&UnreadableFile { ranges }).map_err(io::Error::other)?;
    data_dir::write_whole(&dir.join(UNREADABLE), &text)
}
