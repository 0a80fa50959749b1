//! What a node has to remember of its part in the ring, besides data: the layout version that it has adopted, the slots
//! that it has merged, and which owners may have missed something. One small file, `journal/marks`, written whole,
//! synced, renamed: it changes with the layout and when an owner falls silent, not with writes.
//!
//! Who missed what is kept coarsely, by node and partition, so that it is bounded whatever happens; the exact keys are
//! in memory (`node::hints`).

use std::collections::BTreeMap;
use std::collections::BTreeSet;
use std::fs;
use std::fs::File;
use std::io;
use std::io::Write;
use std::path::Path;
use std::path::PathBuf;
use std::sync::Mutex;
use std::sync::MutexGuard;
use std::sync::PoisonError;

use serde::Deserialize;
use serde::Serialize;

use crate::base::codec;
use crate::base::id::NodeId;
use crate::base::id::PartitionId;
use crate::proto::object::Stamp;
use crate::store::data_dir;

/// The file.
pub const NAME: &str = "marks";
/// Being written.
const NEXT: &str = "marks.next";
/// Its format.
const VERSION: u8 = 2;
/// Told apart from other sealed bytes.
const CONTEXT: &[u8] = b"marks";

/// What is remembered.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Marks {
    /// The layout version below which this node refuses requests.
    pub adopted: u64,
    /// Slots that it has merged, with the list that it did so for: the version in which that came.
    pub synced: BTreeMap<PartitionId, u64>,
    /// Of its last start, higher than of all before: the wall clock's milliseconds, or one more than before.
    pub starts: u64,
    /// Owners that may have missed something in a slot, while this node wrote it.
    pub missed: BTreeMap<NodeId, BTreeSet<PartitionId>>,
    /// Floors of partitions (`proto::purge`) that this node has agreed to.
    pub floors: BTreeMap<PartitionId, u64>,
    /// The highest stamps of what was purged in them.
    pub purged: BTreeMap<PartitionId, Stamp>,
}

/// Why marks cannot be read or written.
#[derive(Debug, thiserror::Error)]
pub enum MarksError {
    /// The operating system refuses.
    #[error("{path}: {source}")]
    Io {
        /// The file.
        path: PathBuf,
        /// Its word.
        source: io::Error,
    },
    /// Not what was written.
    #[error("{path} is damaged; start with `ringfort doctor --accept-loss`, which lets the node merge its part anew")]
    Damaged {
        /// The file.
        path: PathBuf,
    },
}

/// Format 1, of releases in which nothing was purged.
#[derive(Serialize, Deserialize)]
struct MarksBefore {
    adopted: u64,
    synced: BTreeMap<PartitionId, u64>,
    starts: u64,
    missed: BTreeMap<NodeId, BTreeSet<PartitionId>>,
}

/// The format before [`VERSION`].
const VERSION_BEFORE: u8 = 1;

fn unseal(bytes: &[u8]) -> Option<Marks> {
    if let Ok(marks) = codec::unseal(VERSION, CONTEXT, bytes) {
        return Some(marks);
    }
    let MarksBefore { adopted, synced, starts, missed } = codec::unseal(VERSION_BEFORE, CONTEXT, bytes).ok()?;
    Some(Marks { adopted, synced, starts, missed, ..Marks::default() })
}

/// The marks of a node, on disk.
pub struct MarksFile {
    dir: PathBuf,
    marks: Mutex<Marks>,
    /// One writer at a time.
    writing: Mutex<()>,
}

impl MarksFile {
    /// Reads them from a directory; where there is no file nothing is remembered yet.
    ///
    /// # Errors
    /// [`MarksError`].
    pub fn open(dir: &Path) -> Result<Self, MarksError> {
        let path = dir.join(NAME);
        let marks = match fs::read(&path) {
            Ok(bytes) => unseal(&bytes).ok_or(MarksError::Damaged { path })?,
            Err(error) if error.kind() == io::ErrorKind::NotFound => Marks::default(),
            Err(source) => return Err(MarksError::Io { path, source }),
        };
        Ok(Self { dir: dir.to_owned(), marks: Mutex::new(marks), writing: Mutex::new(()) })
    }

    /// Keeps damaged ones under another name, so that the node begins with none. Returns that name.
    ///
    /// # Errors
    /// [`MarksError::Io`]; they are where they were.
    pub fn set_aside(dir: &Path) -> Result<PathBuf, MarksError> {
        let path = dir.join(NAME);
        data_dir::set_aside(&path).map_err(|source| MarksError::Io { path, source })
    }

    /// Puts marks that are kept in one directory into another, where there are none yet.
    ///
    /// # Errors
    /// [`MarksError`].
    pub fn carry_over(from: &Path, to: &Path) -> Result<(), MarksError> {
        let known = Self::open(from)?.read(Marks::clone);
        Self::open(to)?.change(|marks| *marks = known)
    }

    fn lock(&self) -> MutexGuard<'_, Marks> {
        self.marks.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Looks something up. What is read is durable.
    pub fn read<T>(&self, look: impl FnOnce(&Marks) -> T) -> T {
        look(&self.lock())
    }

    /// Changes them; returns when the change is durable. Blocks on the disk, unless nothing changes.
    ///
    /// # Errors
    /// [`MarksError::Io`]; nothing was changed.
    pub fn change(&self, change: impl FnOnce(&mut Marks)) -> Result<(), MarksError> {
        let _turn = self.writing.lock().unwrap_or_else(PoisonError::into_inner);
        let before = self.lock().clone();
        let mut next = before.clone();
        change(&mut next);
        if next == before {
            return Ok(());
        }
        self.write(&codec::seal(VERSION, CONTEXT, &next)).map_err(|source| {
            let path = self.dir.join(NAME);
            MarksError::Io { path, source }
        })?;
        *self.lock() = next;
        Ok(())
    }

    fn write(&self, bytes: &[u8]) -> io::Result<()> {
        let next = self.dir.join(NEXT);
        let mut file = File::create(&next)?;
        file.write_all(bytes)?;
        file.sync_all()?;
        fs::rename(&next, self.dir.join(NAME))?;
        File::open(&self.dir)?.sync_all()
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::CONTEXT;
    use super::Marks;
    use super::MarksBefore;
    use super::MarksError;
    use super::MarksFile;
    use super::NAME;
    use super::VERSION_BEFORE;
    use crate::base::codec;
    use crate::base::id::NodeId;
    use crate::base::id::PartitionId;

    #[test]
    fn marks_of_a_release_that_purged_nothing_are_read_and_written_anew() {
        let dir = tempfile::tempdir().unwrap();
        let (synced, missed) = ([(PartitionId(3), 5)].into(), [(NodeId(2), [PartitionId(9)].into())].into());
        let before = MarksBefore { adopted: 7, synced, starts: 2, missed };
        fs::write(dir.path().join(NAME), codec::seal(VERSION_BEFORE, CONTEXT, &before)).unwrap();
        let MarksBefore { adopted, synced, starts, missed } = before;
        let expected = Marks { adopted, synced, starts, missed, ..Marks::default() };
        let marks = MarksFile::open(dir.path()).unwrap();
        assert_eq!(marks.read(Marks::clone), expected);
        marks.change(|marks| marks.starts = 3).unwrap();
        assert_eq!(MarksFile::open(dir.path()).unwrap().read(Marks::clone), Marks { starts: 3, ..expected });
    }

    #[test]
    fn what_was_marked_is_there_after_a_start_and_damage_is_noticed() {
        let dir = tempfile::tempdir().unwrap();
        let marks = MarksFile::open(dir.path()).unwrap();
        assert_eq!(marks.read(Marks::clone), Marks::default());
        marks.change(|_same| {}).unwrap();
        assert!(!dir.path().join(NAME).exists(), "nothing to write");
        marks
            .change(|marks| {
                marks.adopted = 7;
                marks.synced.insert(PartitionId(3), 5);
                marks.floors.insert(PartitionId(3), 2);
                marks.missed.entry(NodeId(2)).or_default().insert(PartitionId(9));
            })
            .unwrap();
        let before = marks.read(Marks::clone);
        assert_eq!(MarksFile::open(dir.path()).unwrap().read(Marks::clone), before);
        let path = dir.path().join(NAME);
        let mut bytes = fs::read(&path).unwrap();
        bytes[2] ^= 1;
        fs::write(&path, &bytes).unwrap();
        assert!(matches!(MarksFile::open(dir.path()), Err(MarksError::Damaged { .. })));
        let aside = MarksFile::set_aside(dir.path()).unwrap();
        assert_eq!(fs::read(aside).unwrap(), bytes);
        let anew = MarksFile::open(dir.path()).unwrap();
        assert_eq!(anew.read(Marks::clone), Marks::default());
        anew.change(|marks| *marks = before.clone()).unwrap();
        let elsewhere = tempfile::tempdir().unwrap();
        MarksFile::carry_over(dir.path(), elsewhere.path()).unwrap();
        assert_eq!(MarksFile::open(elsewhere.path()).unwrap().read(Marks::clone), before);
    }
}
