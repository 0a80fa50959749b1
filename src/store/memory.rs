//! What a node has to remember of journals, its own and those of others: `journal/memory`, written whole, synced, renamed.
//! Of its own: their numbers, where the first life began that was in doubt about them, and a loss that is not made good yet.
//! Of the others: how far theirs are durable (`proto::standing`), which changes with every write and is noted lazily.
//!
//! Where there is no such file, or it is damaged, the journals get new numbers: others, who remember the old ones, say so.

use std::fs;
use std::io;
use std::path::Path;
use std::path::PathBuf;
use std::sync::Mutex;
use std::sync::MutexGuard;
use std::sync::PoisonError;

use serde::Deserialize;
use serde::Serialize;

use crate::base::codec;
use crate::base::id::NodeId;
use crate::base::rng;
use crate::proto::standing::Memory;
use crate::proto::standing::Remembered;
use crate::proto::standing::Standing;
use crate::store::data_dir;

/// The file.
pub const NAME: &str = "memory";
/// Its format.
const VERSION: u8 = 1;
/// Told apart from other sealed bytes.
const CONTEXT: &[u8] = b"memory";

/// One journal of this node.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Own {
    /// Its number: random, another one after a loss.
    pub journal: u64,
    /// The last durable group as the first life began that is not certain of it; none: the last life was.
    pub doubt: Option<u64>,
}

/// Something that this node had acked is lost, or may be.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Loss {
    /// What happened, for people.
    pub why: String,
    /// What was merged before counts no more; what counts since was merged for this loss.
    pub begun: bool,
}

/// All of it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Known {
    /// The journal of the data.
    pub data: Own,
    /// The journal of the control group.
    pub control: Own,
    /// What has to be merged anew.
    pub loss: Option<Loss>,
    /// Votes or entries of the control group are forgotten.
    pub pledge_broken: bool,
    /// What is remembered of the others.
    pub others: Memory,
}

/// The memory of a node, on disk.
pub struct MemoryFile {
    path: PathBuf,
    known: Mutex<Known>,
    /// One writer at a time; with what it wrote last.
    writing: Mutex<Option<Known>>,
}

impl MemoryFile {
    /// Reads it from a directory. Returns also the name under which a damaged one is kept.
    ///
    /// # Errors
    /// Of the operating system.
    pub fn open(dir: &Path) -> io::Result<(Self, Option<PathBuf>)> {
        let path = dir.join(NAME);
        let (found, aside) = match fs::read(&path) {
            Ok(bytes) => match codec::unseal(VERSION, CONTEXT, &bytes) {
                Ok(known) => (Some(known), None),
                Err(_damaged) => (None, Some(data_dir::set_aside(&path)?)),
            },
            Err(error) if error.kind() == io::ErrorKind::NotFound => (None, None),
            Err(error) => return Err(error),
        };
        let own = || Ok::<_, io::Error>(Own { journal: rng::nonzero_u64()?, doubt: None });
        let known = match &found {
            Some(known) => Known::clone(known),
            None => {
                Known { data: own()?, control: own()?, loss: None, pledge_broken: false, others: Memory::default() }
            }
        };
        Ok((Self { path, known: Mutex::new(known), writing: Mutex::new(found) }, aside))
    }

    fn lock(&self) -> MutexGuard<'_, Known> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Looks something up. What others said may not be durable yet.
    pub fn read<T>(&self, look: impl FnOnce(&Known) -> T) -> T {
        look(&self.lock())
    }

    /// Notes what a node says of itself, in memory. See [`Memory::hear`].
    pub fn hear(&self, node: NodeId, said: Standing) -> Option<Remembered> {
        self.lock().others.hear(node, said)
    }

    /// Changes it; returns when that is durable. Blocks on the disk.
    ///
    /// # Errors
    /// Of the operating system; it may be changed here, and is not on disk.
    pub fn change(&self, change: impl FnOnce(&mut Known)) -> io::Result<()> {
        change(&mut self.lock());
        self.write()
    }

    /// Makes durable what has changed. Blocks on the disk, unless nothing has.
    ///
    /// # Errors
    /// Of the operating system.
    pub fn write(&self) -> io::Result<()> {
        let mut written = self.writing.lock().unwrap_or_else(PoisonError::into_inner);
        let known = self.lock().clone();
        if written.as_ref() != Some(&known) {
            data_dir::write_whole(&self.path, &codec::seal(VERSION, CONTEXT, &known))?;
            *written = Some(known);
        }
        Ok(())
    }

    /// The same where the directory was made anew.
    ///
    /// # Errors
    /// Of the operating system.
    pub fn write_again(&self) -> io::Result<()> {
        *self.writing.lock().unwrap_or_else(PoisonError::into_inner) = None;
        self.write()
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::Known;
    use super::MemoryFile;
    use super::NAME;
    use crate::base::id::NodeId;
    use crate::proto::standing::Reach;
    use crate::proto::standing::Standing;

    #[test]
    fn what_was_noted_is_there_after_a_start_and_a_lost_or_damaged_one_numbers_the_journals_anew() {
        let dir = tempfile::tempdir().unwrap();
        let (memory, aside) = MemoryFile::open(dir.path()).unwrap();
        let own = memory.read(|known| (known.data.journal, known.control.journal));
        assert!(aside.is_none() && !dir.path().join(NAME).exists());
        memory.change(|known| known.data.doubt = Some(7)).unwrap();
        let reach = Reach { journal: 1, opened: 2, group: 3 };
        let said = Standing { start: 1, data: Some(reach), control: None };
        assert_eq!(memory.hear(NodeId(2), said), None);
        memory.write().unwrap();
        let before = memory.read(Known::clone);
        let (again, _) = MemoryFile::open(dir.path()).unwrap();
        assert_eq!(again.read(Known::clone), before);
        assert_eq!(
            again.read(|known| (known.data.journal, known.others.of(NodeId(2)).data.map(|said| said.reach))),
            (own.0, Some(reach))
        );
        let path = dir.path().join(NAME);
        let mut bytes = fs::read(&path).unwrap();
        bytes[3] ^= 1;
        fs::write(&path, &bytes).unwrap();
        let (anew, aside) = MemoryFile::open(dir.path()).unwrap();
        assert_eq!(fs::read(aside.unwrap()).unwrap(), bytes);
        let fresh = anew.read(|known| (known.data.journal, known.control.journal));
        assert!(fresh.0 != own.0 && fresh.1 != own.1);
        anew.write_again().unwrap();
        assert_eq!(MemoryFile::open(dir.path()).unwrap().0.read(|known| known.data.journal), fresh.0);
    }
}
