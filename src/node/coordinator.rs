//! Requests of devices, over the owners of a key: the cores of `proto::quorum` and `proto::forward`, driven by tasks. Here
//! is what they have in common; [`write`] mints, [`read`] reads, [`forward`] hands a write to an owner.

use crate::base::id::NodeId;
use crate::base::limits::OPERATION_BUDGET;
use crate::base::recorder;
use crate::base::time;
use crate::node::cluster::View;
use crate::node::cluster::now_ms;
use crate::node::cluster::rule;
use crate::node::drill::spare;
use crate::node::error::DoorError;
use crate::proto::causal::Context;
use crate::proto::key::IndexKey;
use crate::proto::message::Ended;
use crate::proto::message::Failure;
use crate::proto::object::Stamp;
use crate::proto::object::Update;
use crate::proto::quorum::Quorum;
use crate::proto::tape::Core;
use crate::proto::tape::Tape;
use crate::proto::tape::Taped;

pub(super) mod forward;
pub(super) mod read;
pub(super) mod write;

/// A write as it was asked for.
#[derive(Debug, Clone)]
pub(super) struct Wanted {
    pub(super) place: IndexKey,
    pub(super) update: Update,
    /// `?w=`, checked.
    pub(super) w: Option<u8>,
    /// By the clock of the cores.
    pub(super) deadline_ms: u64,
}

impl Wanted {
    /// With the whole time that a request may take.
    pub(super) fn new(place: IndexKey, update: Update, w: Option<u8>) -> Self {
        Self { place, update, w, deadline_ms: now_ms() + time::millis(OPERATION_BUDGET) }
    }
}

/// A write that is on enough disks.
#[derive(Debug, Clone)]
pub(super) struct Done {
    pub(super) context: Context,
    pub(super) stamp: Stamp,
    pub(super) acked_by: Vec<NodeId>,
}

/// What a write to this place needs, with more owners where the client wants more.
fn write_rules(view: &View, place: &IndexKey, w: Option<u8>) -> Option<Vec<Quorum>> {
    let known = view.bucket(place.bucket())?;
    let raised = |quorum: Quorum| {
        let need = quorum.need.max(w.map_or(0, usize::from)).min(quorum.owners.len());
        Quorum { need, ..quorum }
    };
    Some(view.slot(place.partition()).writes(known.numbers).map(rule).map(raised).collect())
}

/// A core with its tape running, unless a drill wants to see what that costs.
fn taped<C: Core>(begin: C::Begin) -> Taped<C> {
    if spare::the_recorder() { Taped::without(begin) } else { Taped::new(begin) }
}

/// What a core was told is kept by the flight recorder, if it fits.
pub(in crate::node) fn record(tape: Tape) {
    if spare::the_recorder() {
        return;
    }
    let kind = tape.kind();
    if let Some(tape) = tape.encode() {
        recorder::keep(kind, now_ms(), &tape);
    }
}

/// The bucket went in between.
pub(super) fn bucket_gone(place: &IndexKey) -> DoorError {
    DoorError::NoSuchBucket { name: format!("number {}", place.bucket().0) }
}

impl From<Failure> for DoorError {
    fn from(failure: Failure) -> Self {
        match failure {
            Failure::Refused(refusal) => Self::Refused(refusal),
            Failure::Busy => Self::Busy,
            Failure::DiskFull { reserve_mib: 0 } => Self::NoSpace,
            Failure::DiskFull { reserve_mib } => Self::DiskFull { reserve_mib },
            Failure::TooLarge { len } => Self::TooLarge { len: usize::try_from(len).unwrap_or(usize::MAX) },
            Failure::Corrupt(detail) => Self::Corrupt { detail },
            Failure::NoQuorum { answered, need } => Self::TooFewOwners { answered: answered.into(), need: need.into() },
        }
    }
}

/// How a write ended, for the node that forwarded it.
pub(super) fn ended(result: Result<Done, DoorError>) -> Ended {
    match result {
        Ok(Done { context, stamp, acked_by }) => Ended::Ok { context, stamp, acked_by },
        Err(DoorError::OutcomeUnknown { acked_by }) => Ended::Unknown { acked_by },
        Err(DoorError::Unknown) => Ended::Unknown { acked_by: Vec::new() },
        Err(error) => Ended::Failed(failure(error)),
    }
}

#[expect(
    clippy::wildcard_enum_match_arm,
    reason = "whatever else it is: nothing was stored, and another try may go well"
)]
fn failure(error: DoorError) -> Failure {
    let small = |count: usize| u8::try_from(count).unwrap_or(u8::MAX);
    match error {
        DoorError::Refused(refusal) => Failure::Refused(refusal),
        DoorError::DiskFull { reserve_mib } => Failure::DiskFull { reserve_mib },
        DoorError::NoSpace | DoorError::NoFiles { .. } | DoorError::FilesGone => Failure::DiskFull { reserve_mib: 0 },
        DoorError::TooLarge { len } => Failure::TooLarge { len: len as u64 },
        DoorError::Corrupt { detail } => Failure::Corrupt(detail),
        DoorError::TooFewOwners { answered, need } => {
            Failure::NoQuorum { answered: small(answered), need: small(need) }
        }
        _ => Failure::Busy,
    }
}
