//! What the control journal holds: one record for each thing that happened to the log.

use serde::Deserialize;
use serde::Serialize;

use crate::base::codec;
use crate::base::codec::DecodeError;
use crate::control::types::Ballot;
use crate::control::types::Id;
use crate::control::types::Line;

/// The stored format: a new variant is no new format, and neither is a new command. 1 held bare commands of a lone node
/// that was no group.
pub const VERSION: u8 = 3;
/// Told apart from other sealed bytes.
pub const CONTEXT: &[u8] = b"control record";

/// Variants are appended, never reordered.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Record {
    /// An entry behind the last one.
    Line(Line),
    /// A vote.
    Ballot(Ballot),
    /// This entry and all behind it are gone.
    Truncate {
        /// Its index.
        since: u64,
    },
    /// Entries up to here are in a snapshot; and what no record before need say any more.
    Base(Base),
    /// Entries up to here are committed.
    Committed(Id),
}

/// See [`Record::Base`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Base {
    /// The last entry that is not kept.
    pub purged: Id,
    /// The last vote.
    pub ballot: Option<Ballot>,
    /// The last entry known to be committed.
    pub committed: Option<Id>,
}

impl Record {
    /// Its bytes.
    #[must_use]
    pub fn seal(&self) -> Vec<u8> {
        codec::seal(VERSION, CONTEXT, self)
    }

    /// Reverses [`Record::seal`].
    ///
    /// # Errors
    /// [`DecodeError`].
    pub fn unseal(bytes: &[u8]) -> Result<Self, DecodeError> {
        codec::unseal(VERSION, CONTEXT, bytes)
    }
}
