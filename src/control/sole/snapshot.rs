//! The control state as one file, which replaces the journal's past: its formats, and the one who writes it.
//!
//! It is written on a thread of its own, for the disk may be slow and those who wait for commands wait on async threads;
//! and never two at once, for the older one could then come last, with the journal proven behind the newer.

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

use crate::base::codec;
use crate::base::codec::DecodeError;
use crate::proto::control::State;
use crate::proto::control::first::FirstState;
use crate::proto::control::second::SecondState;
use crate::proto::control::third::ThirdState;
use crate::store::data_dir;
use crate::store::journal::JournalError;

/// Its name in the directory of the control journal.
pub const NAME: &str = "snapshot";
/// The stored format; 1 had neither sessions nor an audit, 2 no chain of its own for access, 3 no nodes but the first.
pub const VERSION: u8 = 4;
const THIRD_VERSION: u8 = 3;
const SECOND_VERSION: u8 = 2;
const FIRST_VERSION: u8 = 1;
/// Told apart from other sealed bytes.
pub const CONTEXT: &[u8] = b"control snapshot";

/// What it says.
#[derive(Deserialize)]
pub struct Snapshot {
    /// The first group that is not in it.
    pub next_group: u64,
    /// After all groups before.
    pub state: State,
}

/// As [`Snapshot`], from a state that others read as well.
#[derive(Serialize)]
struct Written<'a> {
    next_group: u64,
    state: &'a State,
}

/// An earlier format.
#[derive(Deserialize)]
struct Earlier<S> {
    next_group: u64,
    state: S,
}

impl<S: Into<State>> From<Earlier<S>> for Snapshot {
    fn from(earlier: Earlier<S>) -> Self {
        Self { next_group: earlier.next_group, state: earlier.state.into() }
    }
}

/// Its bytes.
#[must_use]
pub fn encode(next_group: u64, state: &State) -> Vec<u8> {
    codec::seal(VERSION, CONTEXT, &Written { next_group, state })
}

/// Reads one of today or of an earlier release.
///
/// # Errors
/// [`DecodeError`].
pub fn decode(bytes: &[u8]) -> Result<Snapshot, DecodeError> {
    match codec::unseal(VERSION, CONTEXT, bytes) {
        Err(DecodeError::Version { found: FIRST_VERSION, .. }) => {
            codec::unseal::<Earlier<FirstState>>(FIRST_VERSION, CONTEXT, bytes).map(Into::into)
        }
        Err(DecodeError::Version { found: SECOND_VERSION, .. }) => {
            codec::unseal::<Earlier<SecondState>>(SECOND_VERSION, CONTEXT, bytes).map(Into::into)
        }
        Err(DecodeError::Version { found: THIRD_VERSION, .. }) => {
            codec::unseal::<Earlier<ThirdState>>(THIRD_VERSION, CONTEXT, bytes).map(Into::into)
        }
        decoded => decoded,
    }
}

/// The one in `dir`; that of the beginning where there is none.
///
/// # Errors
/// [`JournalError`]; one that does not decode is corruption.
pub fn read(dir: &Path) -> Result<Snapshot, JournalError> {
    let bytes = match std::fs::read(dir.join(NAME)) {
        Ok(bytes) => bytes,
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            return Ok(Snapshot { next_group: 1, state: State::default() });
        }
        Err(source) => return Err(JournalError::Io { doing: "reading the control snapshot", source }),
    };
    decode(&bytes).map_err(|error| JournalError::Corrupt { place: NAME.to_owned(), reason: error.to_string() })
}

/// Writes it whole.
///
/// # Errors
/// Of the operating system; the old one is still there then.
pub fn write(dir: &Path, next_group: u64, state: &State) -> io::Result<()> {
    data_dir::write_whole(&dir.join(NAME), &encode(next_group, state))
}

/// Writes snapshots into a directory, one at a time.
pub struct Writer {
    dir: PathBuf,
    pen: Mutex<Pen>,
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
        Self { dir: dir.to_owned(), pen: Mutex::new(Pen::Free) }
    }

    fn pen(&self) -> MutexGuard<'_, Pen> {
        self.pen.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Begins to write one, and calls `written` when it is on disk. False where none can be begun now, as while the
    /// last one is still on its way.
    pub fn begin(&self, next_group: u64, state: Arc<State>, written: impl FnOnce() + Send + 'static) -> bool {
        let mut pen = self.pen();
        match &*pen {
            Pen::Closed => return false,
            Pen::Writing(thread) if !thread.is_finished() => return false,
            Pen::Writing(_) | Pen::Free => {}
        }
        let dir = self.dir.clone();
        let thread =
            thread::Builder::new().name("snapshot".to_owned()).spawn(move || match write(&dir, next_group, &state) {
                Ok(()) => written(),
                Err(error) => tracing::warn!(%error, "the control snapshot could not be written"),
            });
        match thread {
            Ok(thread) => *pen = Pen::Writing(thread),
            Err(error) => {
                tracing::warn!(%error, "there is no thread for the control snapshot");
                return false;
            }
        }
        true
    }

    /// Waits for the one that is being written; there will be no other.
    pub fn close(&self) {
        let pen = std::mem::replace(&mut *self.pen(), Pen::Closed);
        if let Pen::Writing(thread) = pen
            && thread.join().is_err()
        {
            tracing::error!("the writer of the control snapshot ended in a panic");
        }
    }
}
