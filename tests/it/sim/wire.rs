//! What travels: questions and answers between nodes, and between devices and nodes. As in the product each question
//! carries the slot's epoch and how far its sender's copy of the control state has come.

use std::sync::Arc;

use crate::base::id::NodeId;
use crate::base::id::OpId;
use crate::base::id::PartitionId;
use crate::disk::Place;
use crate::proto::causal::Context;
use crate::proto::causal::Dot;
use crate::proto::exchange::Root;
use crate::proto::merkle::Leaves;
use crate::proto::merkle::Tree;
use crate::proto::object::Object;
use crate::proto::object::Stamp;
use crate::queue::Us;

/// A write as a device sends it.
#[derive(Debug, Clone)]
pub struct Wanted {
    /// The key.
    pub place: Place,
    /// The operation, the same in every try.
    pub op: OpId,
    /// Whether the device named it.
    pub keyed: bool,
    /// What it has seen; `None` = nothing.
    pub basis: Option<Context>,
    /// A new value, or none.
    pub delete: bool,
}

/// A question of one node to another.
#[derive(Debug, Clone)]
pub enum Ask {
    /// Merge this into what you hold; the number comes back with the answer.
    Merge(Place, Arc<Object>, u32),
    /// What do you hold, in short?
    Digest(Place),
    /// What do you hold?
    Object(Place),
    /// Do this in my place.
    Forward(Box<Wanted>, Us),
    /// A page of a slot's objects behind this place.
    PageOfObjects(PartitionId, Option<Place>),
    /// A page of their fingerprints.
    PageOfDigests(PartitionId, Option<Place>),
    /// These objects.
    These(PartitionId, Vec<Place>),
    /// What do you hold of these slots, each in the epoch that I know, of what I own too?
    Roots(Vec<(PartitionId, u64)>),
    /// The leaves of a slot's tree, of what I own too.
    Leaves(PartitionId),
    /// A page of the fingerprints in some leaves.
    PageOfLeaves(PartitionId, Leaves, Option<Place>),
    /// The fingerprints of what is newest at these places.
    DigestsOf(PartitionId, Vec<Place>),
    /// Which of these graves may go? Raise your floor to this, and refuse where it is as high already.
    Graves(PartitionId, u64, Vec<(Place, u64)>),
    /// All members have raised their floors: remove these, where they are unchanged.
    Purge(PartitionId, u64, Vec<(Place, u64)>),
}

/// Why a node does not answer a question.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Why {
    /// The question is of an older epoch; nothing was done.
    Stale,
    /// This node may not do that; nothing was done.
    NotOwner,
    /// It cannot do it yet; nothing was done.
    NotYet,
    /// What was sent was read below the floor that the answer tells, and nothing is held here.
    BelowFloor,
}

/// How a write ended for whoever forwarded it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Ended {
    /// On enough disks.
    Ok(Context),
    /// Nothing was stored anywhere.
    Failed(String),
    /// It may be stored.
    Unknown(String),
}

/// An answer.
#[derive(Debug, Clone)]
pub enum Tell {
    /// Merged and durable; in an lww bucket this is what stands there now.
    Held(Option<(Stamp, Dot)>, u32),
    /// In short.
    Digest(Option<(Context, Option<(Stamp, Dot)>)>),
    /// What is held.
    Object(Option<Arc<Object>>),
    /// A forward has come.
    Received,
    /// A forward has ended.
    Ended(Ended),
    /// No.
    Refused(Why),
    /// Objects, and whether more follow.
    Objects(Vec<(Place, Arc<Object>)>, bool),
    /// Fingerprints, and whether more follow.
    Digests(Vec<(Place, u64)>, bool),
    /// What is held of slots, in the order asked for.
    Roots(Vec<Option<Root>>),
    /// A tree.
    Leaves(Tree),
    /// The floor is raised; and of each grave whether it may go.
    Agreed(Vec<bool>),
    /// Graves are removed.
    Removed,
}

/// Everything that travels.
#[derive(Debug, Clone)]
pub enum Word {
    /// A node asks.
    Ask {
        /// Who.
        from: NodeId,
        /// Which of its jobs.
        job: u64,
        /// The slot's epoch in its view.
        epoch: u64,
        /// How far its view has come.
        view: usize,
        /// Its steady clock.
        steady_ms: u64,
        /// The slot's floor when it read what it sends; of one that asks for objects, its floor now.
        floor: u64,
        /// What.
        ask: Ask,
    },
    /// A node answers.
    Tell {
        /// Who.
        from: NodeId,
        /// The job that asked.
        job: u64,
        /// How far its view has come.
        view: usize,
        /// Its steady clock.
        steady_ms: u64,
        /// Its floor of the slot that was asked about, before it read what it tells.
        floor: u64,
        /// The highest stamp of what was purged there, as far as it knows.
        purged: Option<Stamp>,
        /// What.
        tell: Tell,
    },
    /// The node is not there: its machine says so.
    Unreachable {
        /// Who.
        from: NodeId,
        /// The job that asked.
        job: u64,
    },
    /// A device reads.
    Read {
        /// The device.
        client: usize,
        /// Its turn.
        turn: u64,
        /// The key.
        place: Place,
        /// All owners' answers are wanted.
        all: bool,
    },
    /// A device writes.
    Write {
        /// The device.
        client: usize,
        /// Its turn.
        turn: u64,
        /// What.
        wanted: Box<Wanted>,
    },
    /// A device gets what it read.
    Found {
        /// Its turn.
        turn: u64,
        /// What is there; an error is why nobody knows.
        found: Result<Option<Arc<Object>>, String>,
    },
    /// A device learns what became of its write.
    Became {
        /// Its turn.
        turn: u64,
        /// What.
        ended: Ended,
    },
}

impl Word {
    /// For an answer to a device: its turn.
    pub fn turn(&self) -> Option<u64> {
        match self {
            Self::Found { turn, .. } | Self::Became { turn, .. } => Some(*turn),
            _ => None,
        }
    }
}
