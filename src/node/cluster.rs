//! What this node shares with the drivers of its part in the cluster: its view of the ring, the way to ask others, what it
//! noticed about them, and what waits for a word of theirs.

use std::collections::BTreeMap;
use std::collections::HashMap;
use std::collections::VecDeque;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::MutexGuard;
use std::sync::OnceLock;
use std::sync::PoisonError;
use std::sync::RwLock;
use std::sync::atomic::AtomicBool;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering;
use std::time::Duration;
use std::time::Instant;

use tokio::sync::mpsc;
use tokio::sync::watch;

use crate::base::id::BucketId;
use crate::base::id::NodeId;
use crate::base::id::PartitionId;
use crate::base::limits::HEARD_LATELY;
use crate::base::limits::PEER_ADDRESS_BYTES_MAX;
use crate::base::limits::PEER_ADDRESSES_MAX;
use crate::base::limits::PEERS_MAX;
use crate::base::limits::REPLICAS_MAX;
use crate::base::limits::SILENCE_REMEMBERED;
use crate::base::rng;
use crate::base::time;
use crate::control::consensus::Consensus as _;
use crate::net::peer::twins::Twin;
use crate::node::Node;
use crate::node::alarms::Alarms;
use crate::node::error::DoorError;
use crate::node::events::Events;
use crate::node::figures::Figures;
use crate::node::handoff::Pace;
use crate::node::hints::Hints;
use crate::node::members::Sight;
use crate::node::members::Turn;
use crate::node::reach::Reach;
use crate::node::repair::Repair;
use crate::node::standing::Stand;
use crate::node::timeline::Timeline;
use crate::proto::bucket::Kind;
use crate::proto::control::Bucket;
use crate::proto::control::State;
use crate::proto::message::Answer;
use crate::proto::message::Ask;
use crate::proto::message::Ended;
use crate::proto::message::Question;
use crate::proto::message::Word;
use crate::proto::quorum::Quorum;
use crate::proto::ring::layout;
use crate::proto::ring::layout::Slot;
use crate::proto::ring::numbers::BucketNumbers;
use crate::store::marks::MarksFile;

/// Why there is no answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NotAnswered {
    /// It never left this machine: nothing was done.
    NotSent,
    /// Nobody knows whether it was done.
    Silent,
}

/// An answer on its way.
pub type Waiting<T> = Pin<Box<dyn Future<Output = T> + Send>>;

/// Which questions do not wait for which.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Lane {
    /// Devices wait for it.
    Requests,
    /// Slots on their way, and what was missed.
    Bulk,
}

/// The way to other nodes.
pub trait Wire: Send + Sync + 'static {
    /// Asks a node; the answer comes within the time, or not at all.
    fn ask(&self, to: NodeId, lane: Lane, body: Vec<u8>, within: Duration) -> Waiting<Result<Vec<u8>, NotAnswered>>;
    /// Tells a node something, as well as can be.
    fn say(&self, to: NodeId, body: Vec<u8>);

    /// Calls a member at these addresses from now on.
    fn look_for(&self, node: NodeId, addresses: Vec<String>);

    /// How long the smallest question to a member and its answer take of late; none where that is not known.
    fn round_trip(&self, to: NodeId) -> Option<Duration>;

    /// How long ago anything came from a member; none where nothing ever did.
    fn heard_ago(&self, from: NodeId) -> Option<Duration>;

    /// Bytes that wait to be written to all members.
    fn waiting_bytes(&self) -> usize;
}

/// A bucket, for those who know only its number.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Known {
    /// How concurrent writes are settled.
    pub kind: Kind,
    /// Its numbers.
    pub numbers: BucketNumbers,
}

/// The control state at one point of its log.
pub struct View {
    /// Which.
    pub index: u64,
    /// What it is there.
    pub state: Arc<State>,
    buckets: HashMap<BucketId, Known>,
}

impl View {
    /// Of this state, behind so many entries.
    pub(super) fn new(index: u64, state: Arc<State>) -> Self {
        let known = |bucket: &Bucket| Known { kind: bucket.definition.kind, numbers: bucket.numbers };
        let buckets = state.buckets.values().map(|bucket| (bucket.id, known(bucket))).collect();
        Self { index, state, buckets }
    }

    /// A partition's slot.
    #[must_use]
    pub fn slot(&self, partition: PartitionId) -> &Slot {
        self.state.layout.slot(partition)
    }

    /// A bucket by its name.
    ///
    /// # Errors
    /// [`DoorError::NoSuchBucket`].
    pub fn named(&self, bucket: &str) -> Result<&Bucket, DoorError> {
        self.state.buckets.get(bucket).ok_or_else(|| DoorError::NoSuchBucket { name: bucket.to_owned() })
    }

    /// A bucket by its number.
    #[must_use]
    pub fn bucket(&self, id: BucketId) -> Option<Known> {
        self.buckets.get(&id).copied()
    }
}

/// A rule of the layout for a core.
pub(super) fn rule(rule: layout::Quorum<'_>) -> Quorum {
    Quorum { owners: rule.owners.into_owned(), need: rule.need }
}

/// How each of the others was seen, latest last.
pub(super) type Past = BTreeMap<NodeId, VecDeque<Turn>>;

/// How a forwarded write ended, by whom.
pub type EndedBy = (NodeId, Ended);

/// See the module.
pub struct Cluster {
    wire: OnceLock<Arc<dyn Wire>>,
    /// What this node remembers of its part in the ring.
    pub marks: MarksFile,
    /// Whether it has what it said it had, and what it remembers of the others.
    pub(super) stand: Stand,
    /// Who missed what.
    pub hints: Hints,
    view: RwLock<Arc<View>>,
    moved: watch::Sender<u64>,
    silent: Mutex<BTreeMap<NodeId, Instant>>,
    forwards: Mutex<BTreeMap<u64, mpsc::Sender<EndedBy>>>,
    next_job: AtomicU64,
    caught_up: AtomicBool,
    /// See [`Node::has_met`].
    pub(super) met: AtomicBool,
    /// Bytes of objects that came for slots.
    pub handed_off: AtomicU64,
    pace: Mutex<Pace>,
    /// How the others' copies compare with this node's.
    pub(super) repair: Repair,
    /// What is seen of the others.
    pub sight: watch::Sender<Arc<Sight>>,
    /// Which links to them are broken, and why.
    pub(super) reach: Reach,
    /// What happened lately.
    pub(super) events: Events,
    /// What changed, on its way to the disk.
    pub(super) timeline: Timeline,
    /// What is wrong, as judged so far.
    pub(super) alarms: Alarms,
    past: Mutex<Past>,
    /// How this node does.
    pub(super) figures: Mutex<Figures>,
    /// Nodes of which there are two: when that was seen last, and how.
    pub twins: Mutex<BTreeMap<NodeId, (Instant, Twin)>>,
    /// Where this node says that others reach it.
    pub(super) said_at: OnceLock<Vec<String>>,
}

impl Cluster {
    /// Of a node whose control state is this.
    #[must_use]
    pub(super) fn new(marks: MarksFile, stand: Stand, index: u64, state: Arc<State>, first_job: u64) -> Self {
        let hints = Hints::new(&marks);
        Self {
            wire: OnceLock::new(),
            marks,
            stand,
            hints,
            view: RwLock::new(Arc::new(View::new(index, state))),
            moved: watch::Sender::new(index),
            silent: Mutex::default(),
            forwards: Mutex::default(),
            next_job: AtomicU64::new(first_job),
            caught_up: AtomicBool::new(false),
            met: AtomicBool::new(false),
            handed_off: AtomicU64::new(0),
            pace: Mutex::default(),
            repair: Repair::default(),
            sight: watch::Sender::default(),
            reach: Reach::default(),
            events: Events::default(),
            timeline: Timeline::default(),
            alarms: Alarms::default(),
            past: Mutex::default(),
            figures: Mutex::default(),
            twins: Mutex::default(),
            said_at: OnceLock::new(),
        }
    }

    /// How fast slots come.
    pub(super) fn pace(&self) -> MutexGuard<'_, Pace> {
        lock(&self.pace)
    }

    /// How the others were seen before.
    pub(super) fn past(&self) -> MutexGuard<'_, Past> {
        lock(&self.past)
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A forward that waits for its end; forgotten when dropped.
pub(super) struct Forwarding {
    node: Node,
    /// Names it.
    pub(super) job: u64,
    /// Hears how it ended.
    pub(super) ended: mpsc::Receiver<EndedBy>,
}

impl Drop for Forwarding {
    fn drop(&mut self) {
        lock(&self.node.0.cluster.forwards).remove(&self.job);
    }
}

impl Node {
    /// The way to others, once there is one; the first word counts.
    pub fn joins_by(&self, wire: Arc<dyn Wire>) {
        let _already_there = self.0.cluster.wire.set(wire);
    }

    /// The control state as this node knows it, with what is looked up in it often.
    #[must_use]
    pub fn view(&self) -> Arc<View> {
        let cluster = &self.0.cluster;
        let (index, state) = self.0.consensus.view();
        let known = Arc::clone(&cluster.view.read().unwrap_or_else(PoisonError::into_inner));
        if known.index >= index && Arc::ptr_eq(&known.state, &state) {
            return known;
        }
        let next = Arc::new(View::new(index, state));
        let mut view = cluster.view.write().unwrap_or_else(PoisonError::into_inner);
        // Two may have read it in this order and come here in the other.
        if index >= view.index {
            *view = Arc::clone(&next);
            cluster.moved.send_if_modified(|moved| std::mem::replace(moved, index) != index);
        }
        next
    }

    /// Whether this node has what it said it had, and its view has come as far as it had already said: before that it may not
    /// answer for what it owns.
    #[must_use]
    pub fn is_serving(&self) -> bool {
        let cluster = &self.0.cluster;
        if self.0.cast_out.get().is_some() || !cluster.stand.is_whole() {
            return false;
        }
        if cluster.caught_up.load(Ordering::Acquire) {
            return true;
        }
        let serving = cluster.marks.read(|marks| marks.adopted) <= self.view().state.layout.version;
        if serving {
            cluster.caught_up.store(true, Ordering::Release);
        }
        serving
    }

    /// Takes up every view as it comes, so that those who wait for one hear of it.
    pub async fn follow_views(self) {
        let mut views = self.0.consensus.watch();
        while views.changed().await.is_ok() {
            let _taken_up = self.view();
        }
    }

    /// Hears of newer views.
    pub(super) fn moved(&self) -> watch::Receiver<u64> {
        self.0.cluster.moved.subscribe()
    }

    /// Waits until this node's view has come so far; whether it has in time.
    pub(super) async fn reach(&self, index: u64, until_ms: u64) -> bool {
        if self.view().index >= index {
            return true;
        }
        let mut moved = self.moved();
        let left = Duration::from_millis(until_ms.saturating_sub(now_ms()));
        tokio::time::timeout(left, moved.wait_for(|moved| *moved >= index)).await.is_ok_and(|moved| moved.is_ok())
    }

    /// The nodes of a list in the order in which they should be asked: this one first, those that were silent last.
    pub(super) fn nearest(&self, mut owners: Vec<NodeId>) -> Vec<NodeId> {
        let (me, now) = (self.who().node, time::mono());
        let silent = lock(&self.0.cluster.silent);
        owners.sort_by_key(|node| (*node != me, silent.get(node).is_some_and(|until| *until > now)));
        owners
    }

    /// A word came from this node.
    pub(super) fn heard(&self, from: NodeId) {
        lock(&self.0.cluster.silent).remove(&from);
    }

    /// Whether nothing came back from it lately.
    pub(super) fn is_silent(&self, node: NodeId) -> bool {
        lock(&self.0.cluster.silent).get(&node).is_some_and(|until| *until > time::mono())
    }

    fn was_silent(&self, node: NodeId) {
        lock(&self.0.cluster.silent).insert(node, time::mono() + SILENCE_REMEMBERED);
    }

    /// A question about a slot, as this view sees it.
    pub(super) fn question(&self, view: &View, partition: PartitionId, left_ms: u64, ask: Ask) -> Vec<u8> {
        self.question_at(view, partition, self.0.store.floor(partition), left_ms, ask)
    }

    /// The same with what was read when the slot's floor was this.
    pub(super) fn question_at(
        &self,
        view: &View,
        partition: PartitionId,
        floor: u64,
        left_ms: u64,
        ask: Ask,
    ) -> Vec<u8> {
        let epoch = view.slot(partition).epoch;
        let stamp = self.stamp();
        Question { epoch, view: view.index, steady_ms: time::steady_ms().0, left_ms, floor, stamp, ask }.encode()
    }

    /// Asks another node.
    pub(super) fn ask(
        &self,
        to: NodeId,
        lane: Lane,
        body: Vec<u8>,
        within: Duration,
    ) -> Waiting<Result<Answer, NotAnswered>> {
        let Some(wire) = self.0.cluster.wire.get() else {
            return Box::pin(std::future::ready(Err(NotAnswered::NotSent)));
        };
        let answer = wire.ask(to, lane, body, within);
        let node = self.clone();
        Box::pin(async move {
            match answer.await {
                Ok(bytes) => {
                    node.heard(to);
                    // What does not decode is of another release or no answer at all.
                    let answer = Answer::decode(&bytes).map_err(|_unreadable| NotAnswered::Silent)?;
                    node.hear_stamp(answer.stamp);
                    // Before anybody counts it.
                    if let Some(standing) = answer.standing {
                        node.hear_standing(to, standing);
                    }
                    Ok(answer)
                }
                Err(why) => {
                    node.was_silent(to);
                    Err(why)
                }
            }
        })
    }

    /// Tells another node something.
    pub(super) fn say(&self, to: NodeId, word: &Word) {
        if let Some(wire) = self.0.cluster.wire.get() {
            wire.say(to, word.encode());
        }
    }

    /// How long the smallest question to another node and its answer take of late.
    pub(super) fn round_trip(&self, to: NodeId) -> Option<Duration> {
        self.0.cluster.wire.get()?.round_trip(to)
    }

    /// Whether anything comes from another node, on whatever connection: who hears nobody says little of itself, and its
    /// connections still ask for signs of life.
    pub(super) fn hears(&self, from: NodeId) -> bool {
        let ago = self.0.cluster.wire.get().and_then(|wire| wire.heard_ago(from));
        ago.is_some_and(|ago| ago < HEARD_LATELY)
    }

    /// Bytes that wait to be written to all others.
    pub(super) fn waiting_for_others(&self) -> usize {
        self.0.cluster.wire.get().map_or(0, |wire| wire.waiting_bytes())
    }

    /// Looks for a member there too, besides where the cluster says that it is. Nobody is let in by this.
    fn look_for(&self, node: NodeId, said: Vec<String>) {
        let state = self.state();
        let Some(member) = state.member(node).filter(|_| node != self.who().node) else { return };
        let (known, wire) = (&member.addresses, self.0.cluster.wire.get());
        let fits = |address: &String| address.len() <= PEER_ADDRESS_BYTES_MAX && !known.contains(address);
        let mut all: Vec<String> = said.into_iter().filter(fits).take(PEER_ADDRESSES_MAX / 2).collect();
        if let Some(wire) = wire.filter(|_| !all.is_empty()) {
            all.extend(known.iter().cloned());
            wire.look_for(node, all);
        }
    }

    /// A node does not reach who leads: it is looked for where it says, and told where the others are.
    fn hear_where(&self, from: NodeId, addresses: Vec<String>) {
        self.look_for(from, addresses);
        let state = self.state();
        let there = state.members.iter().filter(|(node, _)| state.member(**node).is_some());
        let nodes = there.map(|(node, member)| (*node, member.addresses.clone())).collect();
        self.say(from, &Word::TheyAreHere { nodes });
    }

    /// Another node says something.
    pub fn hear(&self, from: NodeId, bytes: &[u8]) {
        match Word::decode(bytes) {
            Ok(Word::Ended { job, ended }) => {
                let waits = lock(&self.0.cluster.forwards).get(&job).cloned();
                if let Some(waits) = waits {
                    let _full_or_gone = waits.try_send((from, ended));
                }
            }
            Ok(Word::IAmHere { addresses }) => self.hear_where(from, addresses),
            Ok(Word::TheyAreHere { nodes }) => {
                nodes.into_iter().take(PEERS_MAX).for_each(|(node, addresses)| self.look_for(node, addresses));
            }
            Ok(Word::YouHad(remembered)) => self.hear_loss(from, remembered),
            Ok(Word::LastWords { reason }) => self.hear_last_words(from, reason),
            Err(error) => tracing::debug!(%from, %error, "a word of another node is not understood"),
        }
    }

    /// A name for a forward, under which its end is told.
    pub(super) fn begin_forward(&self) -> Forwarding {
        let cluster = &self.0.cluster;
        let job = cluster.next_job.fetch_add(1, Ordering::Relaxed);
        // One for each owner that may be asked: those of two lists.
        let (ends, ended) = mpsc::channel(2 * usize::from(REPLICAS_MAX));
        lock(&cluster.forwards).insert(job, ends);
        Forwarding { node: self.clone(), job, ended }
    }
}

/// Something that others cannot foresee; without entropy, that of the clock.
#[must_use]
pub(super) fn draw() -> u64 {
    rng::nonzero_u64().unwrap_or_else(|_no_entropy| now_ms())
}

/// The clock of the cores: never jumps while the process lives.
#[must_use]
pub(super) fn now_ms() -> u64 {
    time::steady_ms().0
}
