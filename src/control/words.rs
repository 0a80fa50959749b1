//! What nodes say to each other on the control lane: one question, one answer, both sealed with a version and bounded.
//! Each carries the cluster's generation, so that what was said before a recovery counts no more.

use serde::Deserialize;
use serde::Serialize;

use crate::base::codec;
use crate::base::codec::Blob;
use crate::base::limits::CONTROL_WORD_BYTES_MAX;
use crate::control::types::Ballot;
use crate::control::types::Id;
use crate::control::types::Line;
use crate::control::types::Members;
use crate::control::types::Seated;
use crate::proto::control::Applied;
use crate::proto::control::Refused;

/// The format: a new variant is no new format.
const VERSION: u8 = 2;
/// Told apart from other sealed bytes.
pub const QUESTION: &[u8] = b"control question";
/// See [`QUESTION`].
pub const ANSWER: &[u8] = b"control answer";

/// A question with the generation of who asks.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Question {
    /// Of the cluster, as far as who asks knows.
    pub generation: u64,
    /// What is asked.
    pub ask: Ask,
}

/// What is asked. Variants are appended, never reordered.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Ask {
    /// A vote.
    Vote {
        /// For whom, in which term.
        ballot: Ballot,
        /// The candidate's last entry.
        last: Option<Id>,
    },
    /// To take entries, or none in a heartbeat.
    Append {
        /// Under whose lead.
        ballot: Ballot,
        /// The entry before them.
        before: Option<Id>,
        /// The entries.
        lines: Vec<Line>,
        /// How far the log is committed.
        committed: Option<Id>,
    },
    /// To take a piece of a snapshot.
    Piece {
        /// Under whose lead.
        ballot: Ballot,
        /// The last entry in the snapshot.
        last: Option<Id>,
        /// The last membership in it.
        seated: Seated,
        /// Where the piece begins.
        offset: u64,
        /// The piece.
        bytes: Blob,
        /// It is the last one.
        done: bool,
    },
    /// To commit a command. Never forwarded any further.
    Propose(Blob),
    /// Whether a leader is heard. Asked before an election.
    HearLeader {
        /// The last entry of who asks.
        last: Option<Id>,
    },
    /// How far everything acked is committed, as a majority confirms now.
    ReadIndex,
    /// When the leader last heard a majority, and how far it is.
    Contact,
    /// How a node is.
    Status,
    /// No question: the leader still leads, its disk is slow.
    StillLeads(Ballot),
}

/// An answer with the generation of who gives it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Reply {
    /// Of the cluster, as far as who answers knows.
    pub generation: u64,
    /// The answer.
    pub answer: Answer,
}

/// The answers. Variants are appended, never reordered.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Answer {
    /// To [`Ask::Vote`].
    Vote {
        /// Whom the one asked votes for now.
        ballot: Ballot,
        /// Whether it is the one who asked.
        granted: bool,
        /// Its last entry.
        last: Option<Id>,
    },
    /// To [`Ask::Append`].
    Appended(Appended),
    /// To [`Ask::Piece`]: whom it votes for now.
    Piece(Ballot),
    /// To [`Ask::Piece`]: it must begin from the start.
    PieceFromStart,
    /// To [`Ask::Propose`].
    Proposed(Proposed),
    /// To [`Ask::HearLeader`]: it hears none and would vote for who asks.
    HearNone(bool),
    /// To [`Ask::ReadIndex`]: the next entry after all that are committed.
    ReadIndex(u64),
    /// To [`Ask::Contact`].
    Contact {
        /// Milliseconds since a majority was heard.
        age_ms: u64,
        /// The next entry after all that are committed.
        next: u64,
    },
    /// To [`Ask::Status`].
    Status(Box<Status>),
    /// It was heard.
    Heard,
    /// The generation of who asks is over.
    Over,
    /// It cannot be answered now, for this reason.
    Unable(String),
}

/// What became of entries.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Appended {
    /// All are durable.
    All,
    /// They are durable up to this one.
    UpTo(Option<Id>),
    /// The entry before them is not there.
    Conflict,
    /// Somebody else was voted for.
    Higher(Ballot),
}

/// What became of a command.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Proposed {
    /// It is committed, or changes nothing; who has all entries before `next` shows it.
    Done {
        /// What it brought about.
        applied: Applied,
        /// See above.
        next: u64,
    },
    /// It is refused; nothing changed.
    Refused(Refused),
    /// There is no room; nothing changed.
    NoSpace,
    /// The one asked does not lead; nothing changed.
    NotLeader,
    /// For this reason; nothing changed.
    Unavailable(String),
    /// It was logged, and is not known to be committed.
    Unknown,
}

/// What a node is in the group.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Role {
    /// It orders the commands.
    Leader,
    /// It stands for election.
    Candidate,
    /// It votes.
    Voter,
    /// It has a copy.
    Learner,
    /// It ended, and the process with it.
    Ended,
}

impl Role {
    /// For people.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Self::Leader => "leader",
            Self::Candidate => "candidate",
            Self::Voter => "voter",
            Self::Learner => "learner",
            Self::Ended => "ended",
        }
    }
}

/// How a node is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Status {
    /// What it is.
    pub role: Role,
    /// Of the last vote.
    pub term: u64,
    /// Its last entry.
    pub last: Option<Id>,
    /// The next entry after those that its state has.
    pub next: u64,
    /// Who is in the group, as far as it knows.
    pub members: Members,
    /// Whom it takes for the leader.
    pub leader: Option<u64>,
    /// Milliseconds since it had contact with a leader that holds a majority.
    pub contact_ms: Option<u64>,
    /// Of the cluster.
    pub generation: u64,
}

impl Question {
    /// Its bytes.
    #[must_use]
    pub fn seal(&self) -> Vec<u8> {
        codec::seal(VERSION, QUESTION, self)
    }

    /// Reverses [`Question::seal`]; none for anything else, and for what is too large.
    #[must_use]
    pub fn unseal(bytes: &[u8]) -> Option<Self> {
        bounded(bytes).and_then(|bytes| codec::unseal(VERSION, QUESTION, bytes).ok())
    }
}

impl Reply {
    /// Its bytes.
    #[must_use]
    pub fn seal(&self) -> Vec<u8> {
        codec::seal(VERSION, ANSWER, self)
    }

    /// Reverses [`Reply::seal`]; none for anything else, and for what is too large.
    #[must_use]
    pub fn unseal(bytes: &[u8]) -> Option<Self> {
        bounded(bytes).and_then(|bytes| codec::unseal(VERSION, ANSWER, bytes).ok())
    }
}

fn bounded(bytes: &[u8]) -> Option<&[u8]> {
    (bytes.len() <= CONTROL_WORD_BYTES_MAX).then_some(bytes)
}
