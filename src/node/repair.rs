//! Anti-entropy on this node: what it holds of each partition is looked through (`survey`), compared with what the other
//! owners hold, and made the same where it is not (`compare`); graves that nobody needs go (`graves`). Who is asked for what, and
//! when, say the cores `proto::exchange`, `proto::merkle` and `proto::purge`; what others are answered, `answer`; what people see
//! of it, `view`, and of all nodes, `nodes`.
//!
//! Nothing is written down: after a start everything is looked through again. A hint, a handoff and a quorum read repair
//! sooner; this finds what none of them knows of.

use std::collections::BTreeMap;
use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::MutexGuard;
use std::sync::PoisonError;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering;

use futures_util::future::join_all;
use tokio::sync::Semaphore;
use tokio::task::JoinHandle;

use crate::base::id::BucketId;
use crate::base::id::NodeId;
use crate::base::id::PartitionId;
use crate::base::limits::ANSWER_BUDGET;
use crate::base::limits::COMPARISONS_AT_ONCE;
use crate::base::limits::COMPARISONS_AT_WORK;
use crate::base::limits::PARTITIONS;
use crate::base::limits::REPAIR_OVERLAY_BYTES;
use crate::base::limits::ROOTS_EVERY;
use crate::base::time;
use crate::node::Node;
use crate::node::cluster::Lane;
use crate::node::cluster::View;
use crate::node::cluster::now_ms;
use crate::node::repair::compare::Comparing;
use crate::node::repair::nodes::Digested;
use crate::node::repair::survey::Survey;
use crate::node::worker;
use crate::proto::exchange::Ended;
use crate::proto::exchange::Ledger;
use crate::proto::exchange::Root;
use crate::proto::message::Answer;
use crate::proto::message::Ask;
use crate::proto::message::Question;
use crate::proto::message::Tell;

mod answer;
mod compare;
mod graves;
pub mod nodes;
mod survey;
pub mod view;

/// What was done since the start.
#[derive(Debug, Default)]
pub struct Counts {
    /// Partitions compared with another owner, by their roots.
    pub compared: AtomicU64,
    /// Keys that differed twice.
    pub differing: AtomicU64,
    /// Keys that another owner's copy changed here.
    pub brought: AtomicU64,
    /// Keys that another owner merged from here.
    pub sent: AtomicU64,
    /// Bytes of objects that moved for it.
    pub bytes: AtomicU64,
    /// Partitions looked through.
    pub surveyed: AtomicU64,
    /// Bytes read for that.
    pub surveyed_bytes: AtomicU64,
    /// Graves that went.
    pub purged: AtomicU64,
}

/// See the module.
#[derive(Debug, Default)]
pub struct Repair {
    /// What was found in each partition; bounded by their number and that of buckets: 16 bytes for each that has data there.
    surveys: Mutex<BTreeMap<PartitionId, Survey>>,
    ledger: Mutex<Ledger>,
    /// When roots are asked for next, on the steady clock.
    next_round_ms: AtomicU64,
    /// The digests of the control state, as they were made last.
    digested: Mutex<Option<Digested>>,
    /// For people.
    pub counts: Counts,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

fn count(counter: &AtomicU64, more: usize) {
    counter.fetch_add(more as u64, Ordering::Relaxed);
}

/// The buckets of which two nodes hold the same, once all is well.
fn shared_buckets(view: &View, one: NodeId, other: NodeId, partition: PartitionId) -> BTreeSet<BucketId> {
    let slot = view.slot(partition);
    let shared = view.state.buckets.values().filter(|bucket| slot.shares(one, other, bucket.numbers));
    shared.map(|bucket| bucket.id).collect()
}

impl Node {
    /// What this node holds of a partition, of the buckets that another one owns there as well; none before it was looked
    /// through, and where this node is no source of it itself.
    fn root(&self, view: &View, other: NodeId, partition: PartitionId) -> Option<Root> {
        if !self.may_give(view, partition) {
            return None;
        }
        let surveys = lock(&self.0.cluster.repair.surveys);
        let survey = surveys.get(&partition)?;
        let (slot, me) = (view.slot(partition), self.who().node);
        let counts = |id: BucketId| view.bucket(id).is_some_and(|known| slot.shares(me, other, known.numbers));
        Some(Root { sum: survey.sum_of(counts), settled: survey.as_of >= self.0.store.changed(partition) })
    }

    /// Compares what this node holds with what the other owners do, until the node stops.
    pub async fn keep_equal(self) {
        let mut rounds = Rounds { under_way: Vec::new(), turns: Arc::new(Semaphore::new(COMPARISONS_AT_WORK)) };
        loop {
            self.0.cluster.repair.next_round_ms.store(now_ms() + time::millis(ROOTS_EVERY), Ordering::Relaxed);
            tokio::select! {
                () = self.drained() => return,
                () = tokio::time::sleep(ROOTS_EVERY) => {}
            }
            if self.is_serving() && self.0.store.overlay_bytes() < REPAIR_OVERLAY_BYTES {
                rounds.round(&self).await;
            }
        }
    }
}

/// Comparisons, round after round.
struct Rounds {
    under_way: Vec<JoinHandle<()>>,
    turns: Arc<Semaphore>,
}

impl Rounds {
    async fn round(&mut self, node: &Node) {
        self.under_way.retain(|comparing| !comparing.is_finished());
        let view = node.view();
        let me = node.who().node;
        let slots = |other: NodeId| {
            let both = |partition: &PartitionId| !shared_buckets(&view, me, other, *partition).is_empty();
            PartitionId::all().filter(both).collect::<BTreeSet<_>>()
        };
        let others = view.state.members.keys().copied().filter(|other| *other != me);
        let pairs: BTreeMap<NodeId, BTreeSet<PartitionId>> =
            others.map(|other| (other, slots(other))).filter(|(_, slots)| !slots.is_empty()).collect();
        lock(&node.0.cluster.repair.ledger)
            .keep(|partition, other| pairs.get(&other).is_some_and(|slots| slots.contains(&partition)));
        let there = pairs.into_iter().filter(|(other, _)| !node.is_silent(*other));
        let asked = there.map(|(other, slots)| ask_roots(node, &view, other, slots));
        for (other, roots) in join_all(asked).await {
            self.compare(node, &view, other, roots);
        }
    }

    fn compare(&mut self, node: &Node, view: &Arc<View>, other: NodeId, roots: Vec<(PartitionId, Root)>) {
        let repair = &node.0.cluster.repair;
        for (partition, theirs) in roots {
            let Some(mine) = node.root(view, other, partition) else { continue };
            count(&repair.counts.compared, 1);
            let full = self.under_way.len() >= COMPARISONS_AT_ONCE;
            let me = node.who().node;
            let begins = lock(&repair.ledger).roots(me, other, partition, (mine, theirs), now_ms());
            if begins && full {
                lock(&repair.ledger).ended(other, partition, None, now_ms());
            } else if begins {
                let comparing = Comparing::new(node, view, other, partition, Arc::clone(&self.turns));
                self.under_way.push(worker::spawn("comparing a partition", comparing.run()));
            }
        }
    }
}

/// What another node holds of slots, where it says so.
async fn ask_roots(
    node: &Node,
    view: &View,
    other: NodeId,
    slots: BTreeSet<PartitionId>,
) -> (NodeId, Vec<(PartitionId, Root)>) {
    let asked = slots.iter().map(|partition| (*partition, view.slot(*partition).epoch)).collect();
    let question = Question {
        epoch: view.state.layout.version,
        view: view.index,
        steady_ms: now_ms(),
        left_ms: time::millis(ANSWER_BUDGET),
        floor: 0,
        stamp: node.stamp(),
        ask: Ask::Roots { slots: asked },
    };
    let roots = match node.ask(other, Lane::Bulk, question.encode(), ANSWER_BUDGET).await {
        Ok(Answer { tell: Tell::Roots(roots), .. }) if roots.len() == slots.len() && roots.len() <= PARTITIONS => roots,
        Ok(_) | Err(_) => Vec::new(),
    };
    (other, slots.into_iter().zip(roots).filter_map(|(partition, root)| Some((partition, root?))).collect())
}

/// A comparison has ended.
fn note(node: &Node, other: NodeId, partition: PartitionId, ended: Option<Ended>) {
    let repair = &node.0.cluster.repair;
    lock(&repair.ledger).ended(other, partition, ended, now_ms());
    let Some(ended) = ended.filter(|ended| ended.differing > 0) else { return };
    count(&repair.counts.differing, ended.differing);
    tracing::info!(
        %partition, node = %other, keys = ended.differing, brought = ended.brought, sent = ended.sent,
        "this partition was not the same on both nodes; it is repaired"
    );
}
