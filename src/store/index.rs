//! The index: sorted places to sealed objects. It follows the journal and is never waited for on disk, except when
//! what it holds is proven (HOUSE decisions 2 and 3). [`fjall`] is the real one, [`memory`] its twin for tests and the
//! simulator.

use std::ops::ControlFlow;
use std::path::PathBuf;
use std::time::Instant;

pub mod fjall;
pub mod memory;
pub mod salvage;
mod voice;

/// Why the index cannot answer.
#[derive(Debug, thiserror::Error)]
pub enum IndexError {
    /// A block of it is not what was written. Other keys may still be readable.
    #[error("a part of the index is damaged: {detail}")]
    Corrupt {
        /// What the storage engine said.
        detail: String,
    },
    /// There was no room for its files. What it holds is whole; with room it can be opened again.
    #[error("the index found no room: {detail}")]
    Full {
        /// What the storage engine said.
        detail: String,
    },
    /// Reading or writing its files failed, or an earlier write did.
    #[error("the index's files cannot be used: {detail}")]
    Io {
        /// What the storage engine said.
        detail: String,
    },
    /// It did not finish in time.
    #[error("the index made no progress within its time")]
    Stalled,
}

/// One change.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Change<'a> {
    /// The place.
    pub place: &'a [u8],
    /// The sealed object; `None` removes what is there.
    pub object: Option<&'a [u8]>,
}

/// Called with each place and object of a scan.
pub type Visit<'a> = dyn FnMut(&[u8], &[u8]) -> ControlFlow<()> + 'a;

/// A sorted map on disk. Reads from any thread, writes from one.
pub trait Index: Send + Sync + 'static {
    /// What is at a place.
    ///
    /// # Errors
    /// [`IndexError`]; so for every method here.
    fn get(&self, place: &[u8]) -> Result<Option<Vec<u8>>, IndexError>;
    /// Makes changes, in order. Visible at once, durable some time later.
    fn apply(&self, changes: &[Change<'_>]) -> Result<(), IndexError>;
    /// Visits places in `from..to` in order until told to stop.
    fn scan(&self, from: &[u8], to: &[u8], visit: &mut Visit<'_>) -> Result<(), IndexError>;
    /// Visits the same places from the last to the first.
    fn scan_back(&self, from: &[u8], to: &[u8], visit: &mut Visit<'_>) -> Result<(), IndexError>;
    /// Returns when all changes so far are durable in synced tables that the index's manifest lists.
    fn settle(&self, deadline: Instant) -> Result<(), IndexError>;
    /// Bytes on disk.
    fn bytes(&self) -> u64;
    /// The files that the next open needs; none where there are none. One that is not there, and is among these afterwards,
    /// was taken away.
    fn files(&self) -> Vec<PathBuf>;
}
