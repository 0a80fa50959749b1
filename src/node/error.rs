//! Why the door refuses. Variants by what the caller can do; each sentence says whether anything changed.

use std::time::Duration;

use crate::base::id::NodeId;
use crate::control::consensus::ProposeError;
use crate::proto::causal::token::BadContext;
use crate::proto::control::Refused;
use crate::proto::key::KeyError;
use crate::proto::object::BadContentType;
use crate::proto::object::apply::Refusal;
use crate::store::partition::StoreError;

/// Why the door refuses.
#[derive(Debug, thiserror::Error)]
pub enum DoorError {
    /// All places are taken.
    #[error("this node has as many requests as it takes; nothing was changed; try again in a moment")]
    Busy,
    /// The bucket is not there.
    #[error("there is no bucket `{name}`; nothing was changed; make it with `ringfort bucket create {name}`")]
    NoSuchBucket {
        /// As given.
        name: String,
    },
    /// The key is not one.
    #[error("{0}; nothing was changed")]
    BadKey(#[from] KeyError),
    /// The context is not one.
    #[error("{0}; nothing was changed")]
    BadContext(#[from] BadContext),
    /// The content type is not one.
    #[error("{0}; nothing was changed")]
    BadContentType(#[from] BadContentType),
    /// A parameter is out of its range.
    #[error("{field}: {reason}; nothing was changed")]
    OutOfRange {
        /// The parameter.
        field: &'static str,
        /// What is expected.
        reason: String,
    },
    /// The object refuses.
    #[error("{0}; nothing was changed")]
    Refused(#[from] Refusal),
    /// What is stored for this key is damaged; it is not served and not replaced.
    #[error("what is stored for this key is damaged: {detail}")]
    Corrupt {
        /// What does not fit.
        detail: String,
    },
    /// The values of a key together are too large.
    #[error("the key's values together have {len} bytes, more than one record may have; nothing was stored")]
    TooLarge {
        /// Bytes.
        len: usize,
    },
    /// The node is stopping.
    #[error("this node is stopping; nothing was changed; use another")]
    Stopping,
    /// The index cannot be read.
    #[error("{detail}; nothing was changed; the node starts anew and rebuilds it")]
    IndexFailed {
        /// What it said.
        detail: String,
    },
    /// The node ended in between.
    #[error("the node stopped before this was confirmed; whether it took effect is unknown")]
    Unknown,
    /// The control state refuses.
    #[error("{}", whole(.0))]
    Control(Refused),
    /// Too few owners answered.
    #[error(
        "{answered} of the {need} owners that are needed answered; nothing was changed; try again, or another node"
    )]
    TooFewOwners {
        /// How many did.
        answered: usize,
        /// How many are needed.
        need: usize,
    },
    /// What was read could not be put on enough owners in time.
    #[error("what was found is on too few owners to be told, and could not be brought to more in time; try again")]
    NotSettled,
    /// Too few owners said in time that they hold it.
    #[error(
        "too few owners confirmed the write in time ({}); whether it is stored is unknown; repeat it with the same \
         Idempotency-Key",
        those(acked_by)
    )]
    OutcomeUnknown {
        /// Those that did.
        acked_by: Vec<NodeId>,
    },
    /// The control plane takes no changes.
    #[error(
        "the control plane takes no changes now: {reason}; nothing was changed, and values are read and written as \
         before; try again when a majority of its voters reach each other (`ringfort members` shows who is there)"
    )]
    NoControl {
        /// In words.
        reason: String,
    },
    /// What may have been taken from the caller meanwhile is not known here.
    #[error(
        "this node has had no contact with the control plane for {}, so it cannot tell whether the caller still \
         may; nothing was changed, and values are read and written as before; ask another node, or use the control socket \
         on this one's own machine (`ringfort members` shows who is there)",
        age.map_or_else(|| "as long as it runs".to_owned(), |age| format!("{:.1} s", age.as_secs_f64()))
    )]
    NoContact {
        /// How long ago it had; none: not since its start.
        age: Option<Duration>,
    },
    /// The control plane could lose its majority by it.
    #[error("{0}")]
    FewVoters(String),
    /// Whoever is up leaves, and is not struck off.
    #[error(
        "node {0} is up; nothing was changed; let it go with `ringfort leave {0}`, which keeps what it has, or stop it \
         first and try again when `ringfort members` shows it as down"
    )]
    StillUp(NodeId),
    /// More replicas were asked for than there are owners.
    #[error("{wanted} replicas were asked for, but the key has {owners} owner(s); nothing was changed")]
    NoQuorum {
        /// Asked for.
        wanted: u8,
        /// There are.
        owners: u8,
    },
    /// Free space is below the reserve.
    #[error("less than {reserve_mib} MiB are free on this node's disk; nothing was stored; reads and deletes go on")]
    DiskFull {
        /// The reserve.
        reserve_mib: u64,
    },
    /// Next to no file can be made.
    #[error(
        "there is no room for more files (inodes) on this node's disk, {left} are left; nothing was stored; reads and deletes \
         go on; remove files that are not needed, and it goes on by itself"
    )]
    NoFiles {
        /// How many can still be made.
        left: u64,
    },
    /// Its directories were removed or renamed.
    #[error(
        "the files of this node were removed or renamed while it runs; nothing was stored; use another node; an operator sees the \
         alarm `files_gone`"
    )]
    FilesGone,
    /// The journal could not grow.
    #[error("the disk is full; nothing was stored")]
    NoSpace,
    /// The index did not catch up within the budget.
    #[error("the list could not be completed within {} s; nothing was changed; try again", budget.as_secs())]
    TooSlow {
        /// The time allowed.
        budget: Duration,
    },
    /// Something is not there.
    #[error("there is no {what} `{name}`; nothing was changed")]
    NotFound {
        /// Of what kind.
        what: &'static str,
        /// As given.
        name: String,
    },
    /// Another node does not say what it was asked.
    #[error("node {node} does not tell: {why}; ask again when it is there (`ringfort members` shows who is)")]
    NotTold {
        /// The node.
        node: NodeId,
        /// In words.
        why: &'static str,
    },
    /// An import or export cannot be done as asked.
    #[error("{0}")]
    Unsuitable(String),
    /// An import stopped at some row.
    #[error("line {line}: {source}; the rows before it are stored; repeat the import to go on")]
    Interrupted {
        /// The row's line.
        line: u64,
        /// What stopped it.
        source: Box<DoorError>,
    },
    /// The configuration is not good.
    #[error("the configuration was not taken: {0}; what ran before runs on")]
    BadConfig(String),
    /// A part of the machine failed.
    #[error("{doing}: {source}; nothing was changed")]
    Io {
        /// What was being done.
        doing: &'static str,
        /// The operating system's word.
        source: std::io::Error,
    },
}

/// Some refusals say what to do behind it.
fn whole(refused: &Refused) -> String {
    let text = refused.to_string();
    if text.contains("nothing was changed") { text } else { format!("{text}; nothing was changed") }
}

fn those(nodes: &[NodeId]) -> String {
    let names: Vec<String> = nodes.iter().map(|node| format!("node {node}")).collect();
    if names.is_empty() { "none did".to_owned() } else { format!("{} did", names.join(", ")) }
}

impl From<StoreError> for DoorError {
    fn from(error: StoreError) -> Self {
        match error {
            StoreError::Corrupt { detail } => Self::Corrupt { detail },
            StoreError::Busy => Self::Busy,
            StoreError::TooLarge { len } => Self::TooLarge { len },
            // The next try goes by what is there now.
            StoreError::BelowFloor => Self::Busy,
            StoreError::NoSpace => Self::NoSpace,
            StoreError::Adrift => Self::FilesGone,
            StoreError::Closed => Self::Stopping,
            StoreError::Index(error) => Self::IndexFailed { detail: error.to_string() },
            StoreError::Unknown => Self::Unknown,
        }
    }
}

impl From<ProposeError> for DoorError {
    fn from(error: ProposeError) -> Self {
        match error {
            ProposeError::Refused(Refused::NotFound { what: "bucket", name }) => Self::NoSuchBucket { name },
            ProposeError::Refused(Refused::NotFound { what, name }) => Self::NotFound { what, name },
            ProposeError::Refused(refused) => Self::Control(refused),
            ProposeError::NoSpace => Self::NoSpace,
            ProposeError::Unavailable { reason } => Self::NoControl { reason },
            ProposeError::Unknown => Self::Unknown,
        }
    }
}
