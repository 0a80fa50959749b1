//! This node's part in the ring, looked after: it adopts what is decided, merges the slots that it is to own, says how far
//! it is, gives up what others own now, and tells those who missed something. One task; what takes long, it starts.

use std::collections::BTreeMap;
use std::collections::BTreeSet;
use std::ops::Bound;
use std::ops::ControlFlow;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;
use std::time::Instant;

use tokio::sync::Semaphore;
use tokio::task::JoinHandle;

use crate::base::id::BucketId;
use crate::base::id::NodeId;
use crate::base::id::PartitionId;
use crate::base::limits::HANDOFFS_AT_ONCE;
use crate::base::limits::REPORT_AGAIN;
use crate::base::limits::RING_TICK;
use crate::base::time;
use crate::control::consensus::Consensus as _;
use crate::node::Node;
use crate::node::cluster::View;
use crate::node::error::DoorError;
use crate::node::handoff::pull::Pulling;
use crate::node::handoff::pull::Slot;
use crate::node::worker;
use crate::proto::control::Command;
use crate::proto::control::members::Change;
use crate::proto::handoff::Here;
use crate::proto::key::IndexKey;
use crate::proto::ring::numbers::BucketNumbers;
use crate::store::partition::Decision;

pub(super) mod give;
pub(super) mod pull;
pub(super) mod tell;

/// How far this node is with the slots that it is to own.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Progress {
    /// Slots that it still has to merge.
    pub slots: usize,
    /// Bytes of objects that came for slots since the start.
    pub bytes: u64,
    /// How long the rest takes at the pace so far; none before a slot is merged.
    pub eta: Option<Duration>,
}

/// How fast slots come, while some are to come.
#[derive(Debug, Default)]
pub struct Pace {
    /// Since when, and how many there were then, or came to be since.
    since: Option<(Instant, usize)>,
    left: usize,
}

impl Pace {
    /// So many are left.
    pub fn left(&mut self, left: usize, now: Instant) {
        self.since = match self.since {
            _ if left == 0 => None,
            Some((since, all)) if left <= self.left => Some((since, all)),
            // More than before: another plan, whose pace is not known.
            Some(_) | None => Some((now, left)),
        };
        self.left = left;
    }

    /// How long the rest takes if it goes on so.
    #[must_use]
    pub fn eta(&self, now: Instant) -> Option<Duration> {
        let (since, all) = self.since?;
        let done = u32::try_from(all.saturating_sub(self.left)).ok().filter(|done| *done > 0)?;
        Some(now.saturating_duration_since(since) / done * u32::try_from(self.left).ok()?)
    }
}

/// What the task remembers from one look to the next.
struct Keeper {
    pulls: BTreeMap<PartitionId, Pulling>,
    /// Slots that this node was seen to hold: of another list of theirs it needs what differs, even where the others made
    /// that the present one before it said a word.
    had: BTreeSet<PartitionId>,
    /// To merge: few at a time.
    turns: Arc<Semaphore>,
    telling: BTreeMap<NodeId, JoinHandle<()>>,
    report: Option<JoinHandle<()>>,
    reported: Option<Instant>,
    /// The layout's version at which everything that can be given up was.
    forgotten_at: Option<u64>,
    /// Ends with the version at which it began, where all went well: what changed meanwhile is looked at again.
    forgetting: Option<JoinHandle<Option<u64>>>,
    buckets: Option<BTreeSet<BucketId>>,
}

impl Node {
    /// How far this node is with the slots that it is to own.
    #[must_use]
    pub fn handoff_progress(&self) -> Progress {
        let (view, me) = (self.view(), self.who().node);
        let numbers = view.state.numbers();
        let slots = view.state.layout.slots().filter(|(_, slot)| !slot.sources(me, &numbers).is_empty()).count();
        let eta = self.0.cluster.pace().eta(time::mono());
        Progress { slots, bytes: self.0.cluster.handed_off.load(Ordering::Relaxed), eta }
    }

    /// Looks after this node's part in the ring until the node stops.
    pub async fn keep_ring(self) {
        let (mut moved, mut keeper) = (self.moved(), Keeper::new());
        loop {
            keeper.look(&self).await;
            if self.0.store.is_burnt()
                && let Err(error) = self.0.store.renew().await
            {
                tracing::debug!(%error, "what minted something that the disk refused cannot be renewed yet");
            }
            tokio::select! {
                _sender_lives = moved.changed() => {}
                () = tokio::time::sleep(RING_TICK) => {}
                () = self.drained() => return,
            }
        }
    }

    /// An owner missed a key; it is told when it is back.
    pub(super) fn missed(&self, node: NodeId, place: &IndexKey) {
        // Whether the disk has to know, the keeper of the ring sees.
        let _marked_soon = self.0.cluster.hints.miss(node, place);
    }
}

impl Keeper {
    fn new() -> Self {
        Self {
            pulls: BTreeMap::new(),
            had: BTreeSet::new(),
            turns: Arc::new(Semaphore::new(HANDOFFS_AT_ONCE)),
            telling: BTreeMap::new(),
            report: None,
            reported: None,
            forgotten_at: None,
            forgetting: None,
            buckets: None,
        }
    }

    async fn look(&mut self, node: &Node) {
        let view = node.view();
        if let Err(error) = mark(node, &view).await {
            tracing::warn!(%error, "this node's part in the ring could not be noted; nothing is said of it");
            return;
        }
        self.purge(node, &view);
        if !node.is_serving() {
            return;
        }
        self.pull(node, &view);
        self.report(node, &view);
        self.forget(node, &view).await;
        self.tell(node, &view);
    }

    /// Data of buckets that are removed goes; at the first look also that of those that went while this node was down, or
    /// that a crash in the middle of a removal left.
    fn purge(&mut self, node: &Node, view: &View) {
        let there: BTreeSet<BucketId> = view.state.buckets.values().map(|bucket| bucket.id).collect();
        match self.buckets.replace(there.clone()) {
            Some(before) => before.difference(&there).for_each(|gone| node.0.store.progress().purge(*gone)),
            None => node.0.store.progress().purge_others(there, BucketId(view.state.next_bucket)),
        }
    }

    /// Begins to merge the slots that this node is to own, and gives up those that it is not to own any more.
    fn pull(&mut self, node: &Node, view: &Arc<View>) {
        let numbers = view.state.numbers();
        let me = node.who().node;
        let done = node.0.cluster.marks.read(|marks| marks.synced.clone());
        let mut left = 0;
        for (partition, slot) in view.state.layout.slots() {
            let since = done.get(&partition).copied().unwrap_or(0);
            if slot.now.is_synced(me) || since > 0 {
                self.had.insert(partition);
            }
            let wanted = slot.sources(me, &numbers).into_iter().find(|sources| sources.since > since);
            left += usize::from(wanted.is_some());
            let same = self.pulls.get(&partition).is_some_and(|pulling| Some(&pulling.sources) == wanted.as_ref());
            let ended = self.pulls.get(&partition).is_some_and(Pulling::has_ended);
            if same && !ended {
                continue;
            }
            let Some(sources) = wanted else {
                // What was merged for a list that another plan replaces is here, though it does not count.
                if slot.next.is_none() || !ended {
                    self.pulls.remove(&partition);
                }
                continue;
            };
            let before = self.pulls.remove(&partition);
            let here = if self.had.contains(&partition) { Here::Some } else { Here::Nothing };
            let slot = Slot::new(node, view, partition);
            let pulling = Pulling::begin(slot, sources, Arc::clone(&self.turns), here, before);
            self.pulls.insert(partition, pulling);
        }
        node.0.cluster.pace().left(left, time::mono());
    }

    /// Tells the cluster how far this node is, until the log shows it.
    fn report(&mut self, node: &Node, view: &View) {
        let me = node.who().node;
        let (adopted, synced) = node.0.cluster.marks.read(|marks| (marks.adopted, marks.synced.clone()));
        let layout = &view.state.layout;
        let unknown = |(partition, since): &(PartitionId, u64)| {
            layout.slot(*partition).lists().any(|list| list.since == *since && !list.is_synced(me))
        };
        let synced: Vec<_> = synced.into_iter().filter(unknown).collect();
        let is_new = layout.adopted.get(&me).is_none_or(|known| *known < adopted) || !synced.is_empty();
        let under_way = self.report.as_ref().is_some_and(|report| !report.is_finished());
        let just_said = self.reported.is_some_and(|at| at.elapsed() < RING_TICK);
        if !is_new || under_way || just_said || view.state.member(me).is_none() {
            return;
        }
        self.reported = Some(time::mono());
        let node = node.clone();
        self.report = Some(worker::spawn("report", async move {
            let command = Command::Cluster(Change::Report { node: me, adopted, synced });
            if let Err(error) = node.0.consensus.propose(command).await {
                tracing::debug!(%error, "a report was not taken; it is said again");
                tokio::time::sleep(REPORT_AGAIN).await;
            }
        }));
    }

    /// Gives up what this node has no business with any more.
    async fn forget(&mut self, node: &Node, view: &Arc<View>) {
        if self.forgetting.as_ref().is_some_and(|task| !task.is_finished()) {
            return;
        }
        let version = view.state.layout.version;
        if let Some(task) = self.forgetting.take()
            && let Some(began_at) = task.await.ok().flatten()
        {
            self.forgotten_at = Some(began_at);
        }
        if self.forgotten_at != Some(version) && view.state.layout.is_at_rest() && view.state.members.len() > 1 {
            let (node, view) = (node.clone(), Arc::clone(view));
            self.forgetting = Some(worker::spawn("giving up slots", async move {
                let done = forget(&node, &view).await;
                match done {
                    Ok(()) => Some(version),
                    Err(error) => {
                        tracing::warn!(%error, "what others own now could not be given up");
                        None
                    }
                }
            }));
        }
    }

    /// Tells those who missed something, one task for each.
    fn tell(&mut self, node: &Node, view: &View) {
        self.telling.retain(|_, task| !task.is_finished());
        for other in node.0.cluster.hints.nodes() {
            if view.state.member(other).is_none() {
                node.0.cluster.hints.forget(other);
            } else if !self.telling.contains_key(&other) && !node.is_silent(other) {
                self.telling.insert(other, worker::spawn("telling what was missed", tell::run(node.clone(), other)));
            }
        }
    }
}

/// Notes durably what this node has adopted and who missed what, where it is not noted yet.
async fn mark(node: &Node, view: &View) -> Result<(), DoorError> {
    let (version, missed) = (view.state.layout.version, node.0.cluster.hints.marked());
    let noted = node.0.cluster.marks.read(|marks| marks.adopted >= version && marks.missed == missed);
    if noted {
        return Ok(());
    }
    node.change_marks(move |marks| {
        marks.adopted = marks.adopted.max(version);
        marks.missed = missed;
    })
    .await
}

impl Node {
    /// Changes the marks; returns when that is durable.
    pub(super) async fn change_marks(
        &self,
        change: impl FnOnce(&mut crate::store::marks::Marks) + Send + 'static,
    ) -> Result<(), DoorError> {
        let node = self.clone();
        worker::block("noting the part in the ring", move || {
            node.0.cluster.marks.change(change).map_err(|error| DoorError::Io {
                doing: "noting this node's part in the ring",
                source: std::io::Error::other(error),
            })
        })
        .await
    }
}

/// Removes what others own now. Before the first key goes another actor mints.
async fn forget(node: &Node, view: &Arc<View>) -> Result<(), DoorError> {
    let me = node.who().node;
    let mut renewed = false;
    for partition in PartitionId::all() {
        for bucket in view.state.buckets.values() {
            if !view.state.layout.may_forget(me, partition, bucket.numbers) {
                continue;
            }
            let (looker, id) = (node.clone(), bucket.id);
            let places = worker::block("looking what to give up", move || places_of(&looker, partition, id)).await?;
            if places.is_empty() {
                continue;
            }
            if !renewed {
                node.0.store.renew().await?;
                renewed = true;
            }
            tracing::info!(%partition, keys = places.len(), "others own this part now; it is given up here");
            for place in places {
                give_up(node, &place, bucket.numbers).await?;
            }
        }
    }
    Ok(())
}

fn places_of(node: &Node, partition: PartitionId, bucket: BucketId) -> Result<Vec<IndexKey>, DoorError> {
    node.wait_for_all_of_it()?;
    let mut places = Vec::new();
    node.0.store.scan(partition, bucket, Bound::Unbounded, &mut |place, _| {
        places.push(place.clone());
        ControlFlow::Continue(())
    })?;
    Ok(places)
}

async fn give_up(node: &Node, place: &IndexKey, numbers: BucketNumbers) -> Result<(), DoorError> {
    let (pending, ()) = node.0.store.update(place, |held, _| {
        // It may have come to own it again.
        let still = node.view().state.layout.may_forget(node.who().node, place.partition(), numbers);
        if held.is_some() && still { Decision::Remove(()) } else { Decision::Leave(()) }
    })?;
    match pending {
        Some(pending) => Ok(pending.durable().await?),
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::Pace;
    use crate::base::time;

    #[test]
    fn the_rest_takes_as_long_as_what_came_did() {
        let (mut pace, began) = (Pace::default(), time::mono());
        let after = |seconds| began + Duration::from_secs(seconds);
        pace.left(0, began);
        assert_eq!(pace.eta(after(1)), None, "nothing is to come");
        pace.left(100, began);
        assert_eq!(pace.eta(after(1)), None, "nothing has come yet");
        pace.left(75, after(10));
        assert_eq!(pace.eta(after(10)), Some(Duration::from_secs(30)));
        pace.left(200, after(20));
        assert_eq!(pace.eta(after(21)), None, "another plan has another pace");
        pace.left(150, after(30));
        assert_eq!(pace.eta(after(30)), Some(Duration::from_secs(30)));
        pace.left(0, after(40));
        assert_eq!(pace.eta(after(40)), None);
    }
}
