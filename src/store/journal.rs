//! The journal: the durable truth of a node. Append-only, preallocated segments of hash-chained commit groups; one
//! group in flight; a group is acked after the fdatasync that covers it (HOUSE decisions 2, 3, 5, 6).
//!
//! - [`format`]: bytes of segments and groups.   - [`superblock`]: who this journal is and what is proven elsewhere.
//! - [`log`]: append, sync, rotate, purge.       - [`recovery`]: from files to a log, or a refusal.
//! - [`writer`]: the one thread that owns a log and serves all writers.
//! - [`needed`]: which segments the next open needs.
//! - [`salvage`]: what `doctor --accept-loss` can still read from a corrupt journal.
//!
//! What the records mean is the caller's business.

pub mod format;
pub mod log;
pub mod needed;
pub mod recovery;
pub mod salvage;
pub mod superblock;
#[cfg(test)]
mod tests;
pub mod writer;

use std::io;

use serde::Deserialize;
use serde::Serialize;

/// A place between two groups.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Position {
    /// The segment's number, from 1.
    pub segment: u64,
    /// Bytes from the segment's start.
    pub offset: u64,
    /// The number of the group that begins here, from 1.
    pub group: u64,
    /// The chain value that group must carry.
    pub chain: [u8; 16],
}

/// Why a journal does not open or write. Each variant says whether anything changed.
#[derive(Debug, thiserror::Error)]
pub enum JournalError {
    /// Reading, or a write before the journal was in use, failed. Nothing was changed that matters.
    #[error("the journal failed while {doing}: {source}")]
    Io {
        /// What was being done.
        doing: &'static str,
        /// The operating system's word.
        source: io::Error,
    },
    /// A write or sync of the open journal failed: what of it is on disk is unknown. The process must end.
    #[error("the journal could not be made durable: {source}; what of the last group is on disk is unknown")]
    Poisoned {
        /// The operating system's word.
        source: io::Error,
    },
    /// No room for the next segment. Nothing was written.
    #[error("the disk has no room for the journal's next segment: {source}; nothing was written")]
    NoSpace {
        /// The operating system's word.
        source: io::Error,
    },
    /// What is on disk is not what was made durable. Nothing was changed.
    #[error("the journal is corrupt in {place}: {reason}; nothing was changed")]
    Corrupt {
        /// File and offset.
        place: String,
        /// What does not fit.
        reason: String,
    },
}

impl JournalError {
    /// For `map_err`.
    pub fn io(doing: &'static str) -> impl FnOnce(io::Error) -> Self {
        move |source| Self::Io { doing, source }
    }

    fn corrupt(place: impl Into<String>, reason: impl Into<String>) -> Self {
        Self::Corrupt { place: place.into(), reason: reason.into() }
    }
}

/// What opening found and mended.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Report {
    /// Groups replayed.
    pub groups: u64,
    /// Records replayed.
    pub records: u64,
    /// The last whole group's number: so far the journal was durable.
    pub last: u64,
    /// An unfinished last group that was cut off, as after any power cut in mid-write.
    pub cut: Option<Cut>,
    /// Things mended that no power cut explains, in words.
    pub mended: Vec<String>,
}

/// The unfinished last group.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Cut {
    /// The group's number.
    pub group: u64,
    /// Bytes zeroed.
    pub bytes: u64,
    /// Records it announced, where its header is readable. None of them was ever acked.
    pub records: Option<u32>,
}

/// Sizes of a journal.
#[derive(Debug, Clone, Copy)]
pub struct Sizes {
    /// Bytes of the first segment.
    pub first_segment: u64,
    /// Bytes of every later one.
    pub segment: u64,
}
