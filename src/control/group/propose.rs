//! A command on its way: to the leader, once; judged there against everything that is committed; logged only where it
//! changes something; shown by this node before whoever gave it hears that it is done.

use std::sync::Arc;
use std::time::Duration;
use std::time::Instant;

use openraft::error::CheckIsLeaderError;
use openraft::error::RaftError;
use tokio::time::timeout;

use crate::base::codec;
use crate::base::codec::Blob;
use crate::base::id::NodeId;
use crate::base::limits::CONTROL_COMMAND_BYTES_MAX;
use crate::base::limits::CONTROL_COMMIT_WAIT;
use crate::base::limits::CONTROL_HEARTBEAT;
use crate::base::limits::CONTROL_PATIENCE;
use crate::base::time;
use crate::control::consensus::Consensus;
use crate::control::consensus::Proposal;
use crate::control::consensus::ProposeError;
use crate::control::group::Group;
use crate::control::group::Inner;
use crate::control::group::spawn;
use crate::control::lane::LaneError;
use crate::control::words::Answer;
use crate::control::words::Ask;
use crate::control::words::Proposed;
use crate::proto::control::Applied;
use crate::proto::control::Command;
use crate::proto::control::State;

impl Consensus for Group {
    fn propose(&self, command: Command) -> Proposal<'_> {
        let inner = Arc::clone(&self.0);
        // On a task of its own: whoever gave it may go away, the command goes on.
        let under_way = spawn("control command", async move { inner.propose(command).await });
        Box::pin(async move { under_way.await.unwrap_or(Err(ProposeError::Unknown)) })
    }

    fn view(&self) -> (u64, Arc<State>) {
        let view = self.0.view.borrow();
        (view.next, Arc::clone(&view.state))
    }

    fn state(&self) -> Arc<State> {
        Arc::clone(&self.0.view.borrow().state)
    }

    fn close(&self) {
        self.0.close();
    }
}

impl Group {
    /// Waits until this node has everything that was acked anywhere before this was called.
    ///
    /// # Errors
    /// [`ProposeError::Unavailable`] where no leader with a majority says how far that is, or this node does not come so far
    /// in time.
    pub async fn catch_up(&self) -> Result<(), ProposeError> {
        let inner = &self.0;
        let unavailable = |reason: &str| ProposeError::Unavailable { reason: reason.to_owned() };
        let next = match inner.leader() {
            Some(leader) if leader == inner.me.0 => {
                let read = timeout(CONTROL_PATIENCE, inner.raft.get_read_log_id()).await;
                let read = read.ok().and_then(Result::ok).ok_or_else(|| unavailable(NO_MAJORITY))?;
                read.0.map_or(0, |id| id.index + 1)
            }
            Some(_) | None if !inner.hears_leader() => return Err(unavailable(NO_LEADER)),
            None => return Err(unavailable(NO_LEADER)),
            Some(leader) => {
                let next = inner.read_index_of(NodeId(leader), CONTROL_PATIENCE).await;
                next.ok_or_else(|| unavailable("its leader does not answer"))?
            }
        };
        if inner.shows(next).await { Ok(()) } else { Err(unavailable("this node's copy is behind")) }
    }
}

const NO_LEADER: &str = "it has no leader";
const NO_MAJORITY: &str = "no majority of its voters answers";
const TOO_MANY: &str = "too many changes are under way";
const TOO_LARGE: &str = "this change is too large";
const SLOW_DISK: &str = "the disk of its leader does not answer";
const ENDING: &str = "its leader is stopping";

fn unavailable(reason: &str) -> Proposed {
    Proposed::Unavailable(reason.to_owned())
}

fn left(deadline: Instant) -> Duration {
    deadline.saturating_duration_since(time::mono())
}

impl Inner {
    async fn propose(self: Arc<Self>, command: Command) -> Result<Applied, ProposeError> {
        let deadline = time::mono() + CONTROL_PATIENCE;
        let Ok(_place) = Arc::clone(&self.places).try_acquire_owned() else {
            return Err(ProposeError::Unavailable { reason: TOO_MANY.to_owned() });
        };
        loop {
            let leader = self.leader();
            let proposed = match leader {
                Some(leader) if leader == self.me.0 => self.lead(command.clone(), deadline).await,
                Some(leader) if self.hears_leader() => self.forward(leader, command.clone(), deadline).await,
                Some(_) | None => Proposed::NotLeader,
            };
            match proposed {
                Proposed::Done { applied, next } if self.shows(next).await => return Ok(applied),
                Proposed::Done { .. } | Proposed::Unknown => return Err(ProposeError::Unknown),
                Proposed::Refused(refused) => return Err(ProposeError::Refused(refused)),
                Proposed::NoSpace => return Err(ProposeError::NoSpace),
                Proposed::Unavailable(reason) => return Err(ProposeError::Unavailable { reason }),
                // Nobody took it yet; a leader may be elected in time.
                Proposed::NotLeader if left(deadline).is_zero() => {
                    let reason = if self.hears_leader() { NO_MAJORITY } else { NO_LEADER };
                    return Err(ProposeError::Unavailable { reason: reason.to_owned() });
                }
                Proposed::NotLeader => self.await_leader(leader, deadline).await,
            }
        }
    }

    /// Until another leader is known, but not for long: the same one may be reached again.
    async fn await_leader(&self, before: Option<u64>, deadline: Instant) {
        let mut metrics = self.raft.metrics();
        let other = metrics.wait_for(|metrics| metrics.current_leader.is_some() && metrics.current_leader != before);
        // In time, or not.
        let _in_time = timeout(CONTROL_HEARTBEAT.min(left(deadline)), other).await;
    }

    async fn forward(&self, leader: u64, command: Command, deadline: Instant) -> Proposed {
        let within = left(deadline) + CONTROL_COMMIT_WAIT;
        match self.link.ask(NodeId(leader), Ask::Propose(Blob(command.to_bytes().into())), within).await {
            Ok(Answer::Proposed(proposed)) => proposed,
            Ok(Answer::Unable(reason)) => Proposed::Unavailable(reason),
            Ok(Answer::Over) => unavailable("it went on without this node, which must join anew"),
            Err(LaneError::NotSent) => Proposed::NotLeader,
            Ok(_) | Err(LaneError::NoAnswer) => Proposed::Unknown,
        }
    }

    /// As a leader, for another node: goes on where that one does not wait.
    pub(super) async fn lead_detached(self: &Arc<Self>, command: Command) -> Proposed {
        let Ok(place) = Arc::clone(&self.places).try_acquire_owned() else { return unavailable(TOO_MANY) };
        let inner = Arc::clone(self);
        let led = spawn("control command", async move {
            let _place = place;
            inner.lead(command, time::mono() + CONTROL_PATIENCE).await
        });
        led.await.unwrap_or(Proposed::Unknown)
    }

    async fn lead(self: &Arc<Self>, command: Command, deadline: Instant) -> Proposed {
        let bytes = codec::seal(0, b"", &command).len();
        if bytes > CONTROL_COMMAND_BYTES_MAX {
            return unavailable(TOO_LARGE);
        }
        if let Err(not) = self.confirm(deadline).await {
            return not;
        }
        // Everything that was acked is in this state. Shares with it what the command leaves alone.
        let (next, mut state) = {
            let view = self.view.borrow();
            (view.next, State::clone(&view.state))
        };
        match state.apply(command.clone()) {
            Err(refused) => return Proposed::Refused(refused),
            Ok(Applied::Unchanged) => return Proposed::Done { applied: Applied::Unchanged, next },
            Ok(_) => {}
        }
        match timeout(left(deadline), self.log.has_room(bytes)).await {
            Ok(Some(true)) => {}
            Ok(Some(false)) => return Proposed::NoSpace,
            Ok(None) => return unavailable(ENDING),
            Err(_late) => return unavailable(SLOW_DISK),
        }
        let written = timeout(CONTROL_COMMIT_WAIT, self.raft.client_write(command)).await;
        self.snapshot_if_due();
        match written {
            Ok(Ok(written)) => match written.data {
                Some(Ok(applied)) => Proposed::Done { applied, next: written.log_id.index + 1 },
                Some(Err(refused)) => Proposed::Refused(refused),
                None => Proposed::Unknown,
            },
            // It may have been logged before the lead was lost, and somebody else may commit it.
            Ok(Err(_)) | Err(_) => Proposed::Unknown,
        }
    }

    /// Waits until a majority confirms that this node leads, and it has applied everything committed before.
    async fn confirm(&self, deadline: Instant) -> Result<(), Proposed> {
        loop {
            match timeout(left(deadline), self.raft.ensure_linearizable()).await {
                Ok(Ok(_)) => return Ok(()),
                Ok(Err(RaftError::APIError(CheckIsLeaderError::ForwardToLeader(_)))) => {
                    return Err(Proposed::NotLeader);
                }
                Ok(Err(RaftError::APIError(CheckIsLeaderError::QuorumNotEnough(_)))) => {
                    if left(deadline).is_zero() {
                        return Err(unavailable(NO_MAJORITY));
                    }
                    tokio::time::sleep(CONTROL_HEARTBEAT.min(left(deadline))).await;
                }
                Ok(Err(RaftError::Fatal(_))) => return Err(unavailable(ENDING)),
                Err(_late) => {
                    let slow = self.log.stalled() >= CONTROL_HEARTBEAT;
                    return Err(unavailable(if slow { SLOW_DISK } else { NO_MAJORITY }));
                }
            }
        }
    }
}
