//! This node's part in the ring, looked after: it adopts what is decided, merges the slots that it is to own, says how far
//! it is, gives up what others own now, and tells those who missed something. One task; what takes long, it starts.

use std::collections::BTreeMap;
use std::collections::BTreeSet;
use std::ops::Bound;
use std::ops::ControlFlow;
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::PoisonError;
use std::sync::atomic::Ordering;
use std::time::Duration;
use std::time::Instant;

use tokio::task::JoinHandle;

use crate::base::id::BucketId;
use crate::base::id::NodeId;
use crate::base::id::PartitionId;
use crate::base::limits::FORGET_AGAIN;
use crate::base::limits::HANDOFF_BUSY_PAUSE;
use crate::base::limits::HANDOFF_PAUSE_MAX;
use crate::base::limits::REPORT_AGAIN;
use crate::base::limits::RING_TICK;
use crate::base::time;
use crate::control::consensus::Consensus as _;
use crate::node::Node;
use crate::node::access::Caller;
use crate::node::cluster::View;
use crate::node::error::DoorError;
use crate::node::handoff::pull::Pulling;
use crate::node::handoff::pull::Slot;
use crate::node::handoff::pull::Turns;
use crate::node::standing;
use crate::node::worker;
use crate::proto::bucket::OutOfRange;
use crate::proto::control::Command;
use crate::proto::control::Refused;
use crate::proto::control::members::Change;
use crate::proto::control::part::Pause;
use crate::proto::handoff::Here;
use crate::proto::key::IndexKey;
use crate::store::partition::Decision;
use crate::store::partition::StoreError;

mod anew;
pub(super) mod give;
pub(in crate::node) mod pull;
pub(in crate::node) mod tell;

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
    turns: Arc<Turns>,
    telling: BTreeMap<NodeId, JoinHandle<()>>,
    report: Option<JoinHandle<()>>,
    reported: Option<Instant>,
    /// The layout's version at which everything that can be given up was.
    forgotten_at: Option<u64>,
    /// Ends with the version at which it began, where all went well: what changed meanwhile is looked at again.
    forgetting: Option<JoinHandle<Option<u64>>>,
    /// The layout's version for which another actor mints already: in it this node mints nothing for what it gives up.
    renewed_for: Arc<Mutex<Option<u64>>>,
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

    /// Why partitions on their way wait, where they do. Who knows the time at which that ends is who is asked.
    #[must_use]
    pub fn handoff_pause(&self) -> Option<Pause> {
        self.state().pause.clone().filter(|pause| pause.until_ms > time::wall_ms())
    }

    /// Partitions on their way wait on every node, or go on.
    ///
    /// # Errors
    /// [`DoorError`]; also for a pause that is too long.
    pub async fn pause_handoff(&self, caller: &Caller, pause: Option<(String, Duration)>) -> Result<(), DoorError> {
        let since_ms = time::wall_ms();
        let pause = pause.map(|(reason, lasts)| {
            if lasts > HANDOFF_PAUSE_MAX {
                let hours = HANDOFF_PAUSE_MAX.as_secs() / 3600;
                let range = format!("at most {hours} h");
                let given = lasts.as_secs();
                return Err(Refused::from(OutOfRange {
                    field: "the time that handoff is paused, in seconds,",
                    given,
                    range,
                }));
            }
            Ok(Pause { reason, since_ms, until_ms: since_ms.saturating_add(time::millis(lasts)) })
        });
        let pause = pause.transpose().map_err(DoorError::Control)?;
        self.order(caller, Command::Cluster(Change::PauseHandoff { pause })).await?;
        Ok(())
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
            turns: Arc::new(Turns::new()),
            telling: BTreeMap::new(),
            report: None,
            reported: None,
            forgotten_at: None,
            forgetting: None,
            renewed_for: Arc::default(),
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
            if node.is_refilling() && view.state.layout.is_lost(node.who().node) {
                self.pull(node, &view);
            }
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
        self.turns.pause(node.handoff_pause().is_some());
        let numbers = view.state.numbers();
        let (me, refills) = (node.who().node, node.is_refilling());
        let done = node.0.cluster.marks.read(|marks| marks.synced.clone());
        let mut left = 0;
        for (partition, slot) in view.state.layout.slots() {
            let since = done.get(&partition).copied().unwrap_or(0);
            if slot.now.is_synced(me) || since > 0 || refills {
                self.had.insert(partition);
            }
            let wanted = if refills {
                standing::refill_of(slot, view, me).filter(|sources| sources.since > since)
            } else {
                slot.sources(me, &numbers).into_iter().find(|sources| sources.since > since)
            };
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
            let (node, view, renewed_for) = (node.clone(), Arc::clone(view), Arc::clone(&self.renewed_for));
            self.forgetting = Some(worker::spawn("giving up slots", async move {
                let done = forget(&node, &view, &renewed_for).await;
                match done {
                    Ok(()) => Some(version),
                    Err(error) => {
                        tracing::warn!(%error, "what others own now could not be given up");
                        let mut moved = node.moved();
                        let passes = async {
                            while node.view().state.layout.version == version && moved.changed().await.is_ok() {}
                        };
                        let _whichever_is_first = tokio::time::timeout(FORGET_AGAIN, passes).await;
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

/// Removes what others own now. Before the first key goes another actor mints, once for a version of the layout. Ends
/// where that changes: another look goes by the new one.
async fn forget(node: &Node, view: &Arc<View>, renewed_for: &Mutex<Option<u64>>) -> Result<(), DoorError> {
    let (me, version) = (node.who().node, view.state.layout.version);
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
            if *renewed_for.lock().unwrap_or_else(PoisonError::into_inner) != Some(version) {
                node.0.store.renew().await?;
                *renewed_for.lock().unwrap_or_else(PoisonError::into_inner) = Some(version);
            }
            tracing::info!(%partition, keys = places.len(), "others own this part now; it is given up here");
            for place in places {
                if node.view().state.layout.version != version {
                    return Ok(());
                }
                // It may have come to own it again.
                give_up(node, &place, || may_give_up(&node.view(), me, &place)).await?;
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

/// Gives up what is at a place, durably, if it still may when its turn comes.
async fn give_up(node: &Node, place: &IndexKey, may: impl Fn() -> bool) -> Result<(), DoorError> {
    loop {
        let given_up = node
            .0
            .store
            .update(place, |held, _| if held.is_some() && may() { Decision::Remove(()) } else { Decision::Leave(()) });
        match given_up {
            Ok((Some(pending), ())) => return Ok(pending.durable().await?),
            Ok((None, ())) => return Ok(()),
            Err(StoreError::Busy) if !node.is_draining() => tokio::time::sleep(HANDOFF_BUSY_PAUSE).await,
            Err(error) => return Err(error.into()),
        }
    }
}

/// Whether others own a place, by the numbers that its bucket has now. What is of no bucket is not given up: it is removed
/// where its bucket was.
fn may_give_up(view: &View, me: NodeId, place: &IndexKey) -> bool {
    let bucket = view.bucket(place.bucket());
    bucket.is_some_and(|bucket| view.state.layout.may_forget(me, place.partition(), bucket.numbers))
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use std::collections::BTreeMap;
    use std::sync::Arc;

    use super::Pace;
    use super::may_give_up;
    use crate::base::id::BucketId;
    use crate::base::id::ClusterId;
    use crate::base::id::NodeId;
    use crate::base::limits::PARTITIONS;
    use crate::base::time;
    use crate::node::cluster::View;
    use crate::proto::bucket::Definition;
    use crate::proto::control::Birth;
    use crate::proto::control::Command;
    use crate::proto::control::State;
    use crate::proto::control::members::LayoutCommit;
    use crate::proto::key::IndexKey;
    use crate::proto::key::Key;
    use crate::proto::ring::layout::Candidate;
    use crate::proto::ring::plan::Plan;

    /// All of them adopt and are synced, until nothing is left to do.
    fn finish(state: &mut State) {
        let numbers = state.numbers();
        for node in [1, 2, 3, 1, 2, 3] {
            let lists = state.layout.slots().flat_map(|(p, slot)| slot.lists().map(move |list| (p, list.since)));
            let synced: Vec<_> = lists.collect();
            let version = state.layout.version;
            state.layout.report(NodeId(node), version, &synced, &numbers);
        }
        assert!(state.layout.is_at_rest());
    }

    #[test]
    fn a_place_is_given_up_by_the_numbers_that_its_bucket_has_now() {
        let mut state = State::default();
        let birth = Birth { cluster: ClusterId(1), node: NodeId(1), at_ms: 1, context_secret: [3; 32] };
        state.apply(Command::Begin(birth)).unwrap();
        state.layout_commit = LayoutCommit::Manual;
        let put = |n| Command::PutBucket {
            name: "b".into(),
            definition: Definition { n, r: 1, w: n, ..Definition::default() },
        };
        state.apply(put(1)).unwrap();
        let owners: Vec<_> = [1, 2, 3].map(NodeId).into();
        let nodes: BTreeMap<_, _> =
            owners.iter().map(|&node| (node, Candidate { zone: node.to_string(), weight: 1 })).collect();
        let plan = Plan { base: state.layout.planned, nodes, lists: vec![owners; PARTITIONS] };
        let numbers = state.numbers();
        state.layout.commit(plan, &numbers).unwrap();
        finish(&mut state);
        let place = IndexKey::new(BucketId(1), &Key::new(b"k".to_vec()).unwrap());
        let may = |state: &State| may_give_up(&View::new(1, Arc::new(state.clone())), NodeId(3), &place);
        assert!(may(&state), "one owner is enough");
        state.apply(put(3)).unwrap();
        assert!(!may(&state));
        finish(&mut state);
        assert!(!may(&state), "it is an owner now");
        state.apply(Command::RemoveBucket { name: "b".into() }).unwrap();
        assert!(!may(&state));
    }

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
