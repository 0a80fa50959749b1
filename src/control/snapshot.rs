//! The control state as one file, which replaces the log's past: its format, and the one who writes it.
//!
//! It is written on a thread of its own, for the disk may be slow and those who wait for commands wait on async threads;
//! and never two at once, nor an older one over a newer one that came from a leader meanwhile: the log is purged behind the
//! newer.

use std::io;
use std::path::Path;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::MutexGuard;
use std::sync::PoisonError;
use std::thread;

use serde::Deserialize;
use serde::Serialize;
use tokio::sync::oneshot;

use crate::base::codec;
use crate::base::codec::DecodeError;
use crate::control::types::Id;
use crate::control::types::Seated;
use crate::proto::control::State;
use crate::store::data_dir;
use crate::store::journal::JournalError;

/// Its name in the directory of the control journal.
pub const NAME: &str = "snapshot";
/// The stored format, which is also the one that is sent. Those before were of a lone node that was no group.
pub const VERSION: u8 = 6;
/// Told apart from other sealed bytes.
const CONTEXT: &[u8] = b"control snapshot";

/// What it says.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
pub struct Snapshot {
    /// The last entry that is in it.
    pub last: Option<Id>,
    /// The last membership that is in it.
    pub seated: Seated,
    /// After that entry.
    pub state: State,
}

/// As [`Snapshot`], from a state that others read as well.
#[derive(Serialize)]
struct Written<'a> {
    last: Option<Id>,
    seated: &'a Seated,
    state: &'a State,
}

/// Its bytes.
#[must_use]
pub fn encode(last: Option<Id>, seated: &Seated, state: &State) -> Vec<u8> {
    codec::seal(VERSION, CONTEXT, &Written { last, seated, state })
}

/// Reverses [`encode`].
///
/// # Errors
/// [`DecodeError`].
pub fn decode(bytes: &[u8]) -> Result<Snapshot, DecodeError> {
    codec::unseal(VERSION, CONTEXT, bytes)
}

/// The bytes of the one in `dir`.
///
/// # Errors
/// Of the operating system.
pub fn read_bytes(dir: &Path) -> io::Result<Option<Vec<u8>>> {
    match std::fs::read(dir.join(NAME)) {
        Ok(bytes) => Ok(Some(bytes)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

/// The one in `dir`; that of the beginning where there is none.
///
/// # Errors
/// [`JournalError`]; one that does not decode is corruption.
pub fn read(dir: &Path) -> Result<Snapshot, JournalError> {
    let bytes = read_bytes(dir).map_err(JournalError::io("reading the control snapshot"))?;
    let Some(bytes) = bytes else { return Ok(Snapshot::default()) };
    decode(&bytes).map_err(|error| JournalError::Corrupt { place: NAME.to_owned(), reason: error.to_string() })
}

/// Writes it whole.
///
/// # Errors
/// Of the operating system; the old one is still there then.
pub fn write(dir: &Path, bytes: &[u8]) -> io::Result<()> {
    data_dir::write_whole(&dir.join(NAME), bytes)
}

/// Writes snapshots into a directory, one at a time.
pub struct Writer {
    dir: PathBuf,
    pen: Mutex<Pen>,
    /// The last entry in the newest one that was written.
    written: Arc<Mutex<Option<Id>>>,
}

enum Pen {
    Free,
    Writing(thread::JoinHandle<()>),
    Closed,
}

impl Writer {
    /// Into this directory.
    #[must_use]
    pub fn new(dir: &Path) -> Self {
        Self { dir: dir.to_owned(), pen: Mutex::new(Pen::Free), written: Arc::default() }
    }

    /// Where it writes to.
    #[must_use]
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    fn pen(&self) -> MutexGuard<'_, Pen> {
        self.pen.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Begins to write one up to this entry, behind the one that is still on its way; its end is heard on what this returns.
    /// Where that one is newer, it is what is on disk in the end.
    ///
    /// # Errors
    /// Where there is no thread for it, or there will be no other.
    pub fn begin(
        &self,
        last: Option<Id>,
        bytes: impl FnOnce() -> Vec<u8> + Send + 'static,
    ) -> io::Result<oneshot::Receiver<io::Result<()>>> {
        let mut pen = self.pen();
        let before = match std::mem::replace(&mut *pen, Pen::Free) {
            Pen::Closed => {
                *pen = Pen::Closed;
                return Err(io::Error::other("the control plane is closed"));
            }
            Pen::Writing(thread) => Some(thread),
            Pen::Free => None,
        };
        let (dir, newest) = (self.dir.clone(), Arc::clone(&self.written));
        let (tell, told) = oneshot::channel();
        let thread = thread::Builder::new().name("snapshot".to_owned()).spawn(move || {
            if let Some(before) = before {
                wait_for(before);
            }
            // Who asked may be gone.
            let _gone = tell.send(write_newer(&dir, &newest, last, bytes));
        })?;
        *pen = Pen::Writing(thread);
        Ok(told)
    }

    /// Waits for the one that is being written; there will be no other.
    pub fn close(&self) {
        let pen = std::mem::replace(&mut *self.pen(), Pen::Closed);
        if let Pen::Writing(thread) = pen {
            wait_for(thread);
        }
    }
}

/// Each behind the one before it, so that nobody else looks at `newest` meanwhile.
fn write_newer(
    dir: &Path,
    newest: &Mutex<Option<Id>>,
    last: Option<Id>,
    bytes: impl FnOnce() -> Vec<u8>,
) -> io::Result<()> {
    let known = *newest.lock().unwrap_or_else(PoisonError::into_inner);
    if known > last {
        return Ok(());
    }
    write(dir, &bytes())?;
    *newest.lock().unwrap_or_else(PoisonError::into_inner) = last;
    Ok(())
}

fn wait_for(thread: thread::JoinHandle<()>) {
    if thread.join().is_err() {
        tracing::error!("the writer of the control snapshot ended in a panic");
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;

    use super::Writer;
    use super::encode;
    use super::read;
    use crate::control::types::Id;
    use crate::control::types::Seated;
    use crate::proto::control::State;

    #[tokio::test]
    async fn an_older_snapshot_does_not_replace_a_newer_one() {
        let dir = tempfile::tempdir().unwrap();
        let writer = Writer::new(dir.path());
        let at = |index| Some(Id { term: 2, node: 1, index });
        let bytes = move |index| encode(at(index), &Seated::default(), &State::default());
        let (go_on, wait) = mpsc::sync_channel::<()>(1);
        let newer = writer.begin(at(9), move || {
            let _gone = wait.recv();
            bytes(9)
        });
        let older = writer.begin(at(4), move || bytes(4)).unwrap();
        drop(go_on);
        newer.unwrap().await.unwrap().unwrap();
        older.await.unwrap().unwrap();
        assert_eq!(read(dir.path()).unwrap().last, at(9));
        writer.begin(at(12), move || bytes(12)).unwrap().await.unwrap().unwrap();
        assert_eq!(read(dir.path()).unwrap().last, at(12));
    }
}
