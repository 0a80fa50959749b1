//! The control group on this node: one openraft group from birth, of one voter where a node is alone, so that nothing is
//! converted when others join (HOUSE decisions 14 and 15, ADR 19). Opening, what this node hears from others, and what
//! is known of the group; proposing is [`propose`], elections and what is due [`keeper`], who votes [`seats`].

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::MutexGuard;
use std::sync::PoisonError;
use std::sync::atomic::AtomicBool;
use std::sync::atomic::Ordering;
use std::time::Duration;
use std::time::Instant;

use futures_util::FutureExt;
use openraft::Config;
use openraft::EmptyNode;
use openraft::Raft;
use openraft::RaftMetrics;
use openraft::RaftState;
use openraft::ServerState;
use openraft::SnapshotPolicy;
use openraft::TokioInstant;
use tokio::sync::Semaphore;
use tokio::sync::watch;

use crate::base::exit;
use crate::base::exit::Exit;
use crate::base::id::NodeId;
use crate::base::limits::CONTROL_COMMIT_WAIT;
use crate::base::limits::CONTROL_HEARTBEAT;
use crate::base::limits::CONTROL_LEASE;
use crate::base::limits::CONTROL_LEASE_INNER;
use crate::base::limits::CONTROL_LOG_KEEP;
use crate::base::limits::CONTROL_PIECE_BYTES;
use crate::base::limits::CONTROL_PIECE_WAIT;
use crate::base::limits::CONTROL_PROPOSALS_MAX;
use crate::base::limits::CONTROL_SNAPSHOT_BYTES;
use crate::base::limits::CONTROL_VOTE_WAIT;
use crate::base::recorder;
use crate::base::rng;
use crate::base::tasks;
use crate::base::time;
use crate::control::lane::LaneError;
use crate::control::lane::Link;
use crate::control::lane::Network;
use crate::control::lane::RaftLane;
use crate::control::log::Log;
use crate::control::machine::Machine;
use crate::control::machine::View;
use crate::control::matched::Matched;
use crate::control::snapshot;
use crate::control::snapshot::Writer;
use crate::control::types::Ballot;
use crate::control::types::Id;
use crate::control::types::Members;
use crate::control::types::Types;
use crate::control::words::Answer;
use crate::control::words::Ask;
use crate::control::words::Role;
use crate::control::words::Status;
use crate::proto::campaign::Campaign;
use crate::proto::campaign::Step;
use crate::proto::standing::Pledge;
use crate::proto::tape::Tape;
use crate::proto::tape::campaign::Moment;
use crate::proto::tape::campaign::Told;
use crate::store::journal::JournalError;
use crate::store::journal::Report;
use crate::store::journal::recovery;
use crate::store::journal::writer::OnPoison;

mod handle;
mod keeper;
mod pledge;
mod propose;
mod seats;

#[cfg(test)]
mod tests;

/// How a node comes to its group.
#[derive(Debug, Clone, Copy)]
pub enum Birth {
    /// It has one: without a journal its directory is corrupt.
    Known,
    /// It begins one, of which it is the only voter.
    Found(recovery::Birth),
    /// It waits for a leader to take it in.
    Join(recovery::Birth),
}

/// The control group on this node; its clones are the same one.
#[derive(Clone)]
pub struct Group(Arc<Inner>);

struct Inner {
    me: NodeId,
    raft: Raft<Types>,
    log: Log,
    matched: Arc<Matched>,
    link: Arc<Link>,
    writer: Arc<Writer>,
    view: watch::Receiver<View>,
    campaign: Mutex<Campaign>,
    contact: Mutex<Contact>,
    /// Whether it keeps what it promised as a voter.
    pledge: Mutex<Pledge>,
    /// Since when members are down, as far as this node is told.
    down: Mutex<BTreeMap<NodeId, Instant>>,
    places: Arc<Semaphore>,
    poison: Poison,
    closing: AtomicBool,
}

/// When this node last had contact with a leader that holds a majority.
#[derive(Default)]
struct Contact {
    at: Option<Instant>,
    /// It had at this time, once it has these entries.
    when: Option<(Instant, u64)>,
}

/// Ends the process once, whoever finds first that it must.
#[derive(Clone)]
struct Poison(Arc<Mutex<Option<OnPoison>>>);

impl Poison {
    fn fire(&self, error: &JournalError) {
        let on_poison = self.0.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(on_poison) = on_poison {
            on_poison(error);
        }
    }
}

type Metrics = RaftMetrics<u64, EmptyNode>;
type State = RaftState<u64, EmptyNode, TokioInstant>;

/// Runs a task of the group. Every one of them ends with its group or by a deadline.
fn spawn<T: Send + 'static>(
    name: &'static str,
    task: impl Future<Output = T> + Send + 'static,
) -> tokio::task::JoinHandle<T> {
    run(tasks::once(name, task))
}

fn end(name: &'static str, why: &str) {
    tracing::error!(
        task = name,
        why,
        "task {name} failed, and nobody is elected without it; the process ends and starts anew"
    );
    exit::die(Exit::Internal)
}

#[expect(clippy::disallowed_methods, reason = "the one place of this floor that spawns")]
fn run<T: Send + 'static>(task: impl Future<Output = T> + Send + 'static) -> tokio::task::JoinHandle<T> {
    tokio::spawn(task)
}

fn draw() -> u64 {
    // Without entropy the draws are those of the clock; two nodes differ all the same.
    rng::nonzero_u64().unwrap_or_else(|_no_entropy| time::steady_ms().1)
}

fn now_ms() -> u64 {
    time::steady_ms().1
}

fn config() -> Config {
    let ms = time::millis;
    Config {
        cluster_name: "ringfort".to_owned(),
        heartbeat_interval: ms(CONTROL_HEARTBEAT),
        election_timeout_min: ms(CONTROL_VOTE_WAIT),
        election_timeout_max: ms(CONTROL_LEASE_INNER),
        enable_elect: false,
        install_snapshot_timeout: ms(CONTROL_PIECE_WAIT),
        snapshot_max_chunk_size: CONTROL_PIECE_BYTES as u64,
        // By bytes, not by entries.
        snapshot_policy: SnapshotPolicy::Never,
        max_in_snapshot_log_to_keep: CONTROL_LOG_KEEP,
        ..Config::default()
    }
}

fn ended(error: impl std::fmt::Display) -> JournalError {
    JournalError::Poisoned { source: std::io::Error::other(format!("the control group ended: {error}")) }
}

impl Group {
    /// Opens the group's journal in `dir` and takes part. A node that is its group's only voter has its whole state when
    /// this returns; others hear the rest from their leader.
    ///
    /// # Errors
    /// [`JournalError`]; a snapshot or record that does not decode is corruption.
    pub async fn open(
        dir: &Path,
        me: NodeId,
        birth: Birth,
        lane: Arc<dyn RaftLane>,
        on_poison: OnPoison,
    ) -> Result<(Self, Report), JournalError> {
        let known = snapshot::read(dir)?;
        let poison = Poison(Arc::new(Mutex::new(Some(on_poison))));
        let matched = Arc::new(Matched::new(me.0));
        let born = match birth {
            Birth::Known => None,
            Birth::Found(birth) | Birth::Join(birth) => Some(birth),
        };
        let by_journal = poison.clone();
        let on_poison = Box::new(move |error: &JournalError| by_journal.fire(error));
        let (log, report) = Log::open(dir, born, known.last, Arc::clone(&matched), on_poison)?;
        let members = log.members().unwrap_or_else(|| known.seated.members.clone());
        if members.voters != Members::sole(me.0).voters {
            log.resign();
        }
        let writer = Arc::new(Writer::new(dir));
        let machine = Machine::new(known, Arc::clone(&writer), Arc::clone(&matched));
        let (view, live) = (machine.watch(), machine.live());
        let link = Arc::new(Link::new(lane, view.clone(), Arc::clone(&matched)));
        let network = Network(Arc::clone(&link));
        let raft = Raft::new(me.0, Arc::new(config()), network, log.clone(), machine).await.map_err(ended)?;
        live.store(true, Ordering::Relaxed);
        if let Birth::Found(_) = birth
            && !raft.is_initialized().await.map_err(ended)?
        {
            raft.initialize(BTreeMap::from([(me.0, EmptyNode {})])).await.map_err(ended)?;
        }
        let campaign = Mutex::new(Campaign::new(me, time::millis(CONTROL_LEASE), now_ms(), draw()));
        let inner = Arc::new(Inner {
            me,
            raft,
            log,
            matched,
            link,
            writer,
            view,
            campaign,
            contact: Mutex::default(),
            pledge: Mutex::default(),
            down: Mutex::default(),
            places: Arc::new(Semaphore::new(CONTROL_PROPOSALS_MAX)),
            poison,
            closing: AtomicBool::new(false),
        });
        // Without it this node would never stand for election again.
        run(tasks::vital("campaigns", keeper::keep(Arc::downgrade(&inner)), end));
        inner.settle().await?;
        Ok((Self(inner), report))
    }

    /// Hears of every state: the index behind its last entry, and the state. Never goes back while the process lives.
    #[must_use]
    pub fn watch(&self) -> watch::Receiver<View> {
        self.0.view.clone()
    }

    /// How long ago this node had contact with a leader that holds a majority of voters, and had all that was committed
    /// then; none where it never had.
    #[must_use]
    pub fn contact(&self) -> Option<Duration> {
        self.0.contact()
    }

    /// The leader, where this node hears one; itself only as long as a majority stands by it.
    #[must_use]
    pub fn leader(&self) -> Option<NodeId> {
        self.0.leader().filter(|_| self.0.hears_leader()).map(NodeId)
    }

    /// The voters, as far as this node knows; in the middle of a change those that are to be.
    #[must_use]
    pub fn voters(&self) -> Vec<NodeId> {
        let members = self.0.members();
        members.voters.last().into_iter().flatten().copied().map(NodeId).collect()
    }

    /// Whether a node votes, as far as this one knows; in the middle of a change also one that does no more afterwards.
    #[must_use]
    pub fn votes(&self, node: NodeId) -> bool {
        self.0.members().nodes().iter().any(|voters| voters.contains(&node))
    }

    /// How this node is.
    #[must_use]
    pub fn status(&self) -> Status {
        self.0.status()
    }

    /// How another node says that it is: before a recovery, whether one that can be reached knows more.
    ///
    /// # Errors
    /// [`LaneError`].
    pub async fn status_of(&self, node: NodeId, within: Duration) -> Result<Status, LaneError> {
        let Answer::Status(status) = self.0.link.ask(node, Ask::Status, within).await? else {
            return Err(LaneError::NoAnswer);
        };
        Ok(*status)
    }

    /// Something says that the leader is gone, as its connection that was reset: an election may begin a little sooner.
    pub fn leader_seems_gone(&self) {
        self.0.tell_campaign(Told::LeaderSeemsGone);
    }
}

impl Inner {
    fn campaign(&self) -> MutexGuard<'_, Campaign> {
        self.campaign.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Tells the campaign something, and the flight recorder what came of it.
    fn tell_campaign(&self, told: Told) -> Option<Step> {
        let now_ms = now_ms();
        let (step, moment) = Moment::of(&mut self.campaign(), told, now_ms, draw());
        if let Some(tape) = moment.map(|moment| Tape::Campaign(Box::new(moment))) {
            let kind = tape.kind();
            let _kept = tape.encode().is_some_and(|tape| recorder::keep(kind, now_ms, &tape));
        }
        step
    }

    fn metrics(&self) -> Metrics {
        self.raft.metrics().borrow().clone()
    }

    /// Of the last vote, heard or not.
    fn leader(&self) -> Option<u64> {
        self.raft.metrics().borrow().current_leader
    }

    fn members(&self) -> Members {
        self.raft.metrics().borrow().membership_config.membership().into()
    }

    fn next(&self) -> u64 {
        self.view.borrow().next
    }

    /// Under whose lead this node leads, if it does.
    fn leads(&self) -> Option<Ballot> {
        let metrics = self.raft.metrics();
        let metrics = metrics.borrow();
        let leads = metrics.state == ServerState::Leader && metrics.vote.committed;
        leads.then(|| metrics.vote.into())
    }

    /// A sole voter is its own leader: whatever is durable is committed.
    async fn settle(&self) -> Result<(), JournalError> {
        let seated = |state: &State| Members::from(state.membership_state.effective().membership());
        let members = self.raft.with_raft_state(seated).await.map_err(ended)?;
        if members.voters != Members::sole(self.me.0).voters {
            return Ok(());
        }
        let last = self.log.last().map(|id| id.index);
        let has_all = move |metrics: &Metrics| {
            metrics.state == ServerState::Leader && metrics.last_applied.map(|id| id.index) >= last
        };
        self.raft.wait(None).metrics(has_all, "a sole voter has its whole state").await.map_err(ended)?;
        Ok(())
    }

    /// See [`Group::contact`].
    fn contact(&self) -> Option<Duration> {
        let now = time::mono();
        let at = match self.leads() {
            Some(ballot) => self.matched.held_since(ballot, &self.members(), now),
            None => {
                let mut contact = self.contact.lock().unwrap_or_else(PoisonError::into_inner);
                let next = self.next();
                if let Some((at, _)) = contact.when.take_if(|(_, needs)| *needs <= next) {
                    contact.at = contact.at.max(Some(at));
                }
                contact.at
            }
        };
        at.map(|at| now.saturating_duration_since(at))
    }

    fn status(&self) -> Status {
        let metrics = self.metrics();
        let role = match metrics.state {
            _ if metrics.running_state.is_err() => Role::Ended,
            ServerState::Leader => Role::Leader,
            ServerState::Candidate => Role::Candidate,
            ServerState::Follower => Role::Voter,
            ServerState::Learner => Role::Learner,
            ServerState::Shutdown => Role::Ended,
        };
        let view = self.view.borrow().clone();
        Status {
            role,
            term: metrics.current_term,
            last: self.log.last(),
            next: view.next,
            members: metrics.membership_config.membership().into(),
            leader: metrics.current_leader.filter(|_| self.hears_leader()),
            contact_ms: self.contact().map(time::millis),
            generation: view.state.generation,
        }
    }

    /// Waits until this node shows everything before `next`; false where it does not in time.
    async fn shows(&self, next: u64) -> bool {
        let mut view = self.view.clone();
        let shown = tokio::time::timeout(CONTROL_COMMIT_WAIT, view.wait_for(|view| view.next >= next));
        shown.await.is_ok_and(|waited| waited.is_ok())
    }

    /// Begins to replace the log's past by a snapshot where that has grown.
    fn snapshot_if_due(self: &Arc<Self>) {
        if self.log.logged() >= CONTROL_SNAPSHOT_BYTES {
            self.log.begin_anew();
            let group = Arc::clone(self);
            spawn("control snapshot", async move { group.raft.trigger().snapshot().await });
        }
    }

    fn last(&self) -> Option<Id> {
        self.log.last()
    }

    fn close(&self) {
        self.stop();
        self.writer.close();
        self.log.close();
    }

    /// Tells the library to end; does not wait for it.
    fn stop(&self) {
        self.closing.store(true, Ordering::Relaxed);
        // Its first step is to send the word.
        let _under_way = self.raft.shutdown().now_or_never();
    }
}

impl Drop for Inner {
    fn drop(&mut self) {
        self.stop();
    }
}
