//! One slot on its way here: the driver of `proto::handoff`.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use tokio::sync::Semaphore;
use tokio::sync::watch;
use tokio::task::JoinHandle;

use crate::base::id::NodeId;
use crate::base::id::PartitionId;
use crate::base::limits::HANDOFF_BUSY_PAUSE;
use crate::base::limits::HANDOFF_BYTES_PER_SECOND;
use crate::base::limits::HANDOFFS_AT_ONCE;
use crate::base::time;
use crate::node::Node;
use crate::node::cluster::Lane;
use crate::node::cluster::View;
use crate::node::cluster::now_ms;
use crate::node::coordinator::record;
use crate::node::handoff::anew;
use crate::node::worker;
use crate::proto::handoff::Effect;
use crate::proto::handoff::Here;
use crate::proto::handoff::PAGE_MS;
use crate::proto::handoff::Pull;
use crate::proto::key::IndexKey;
use crate::proto::message::Answer;
use crate::proto::message::Ask;
use crate::proto::message::Place;
use crate::proto::message::Sealed;
use crate::proto::message::Tell;
use crate::proto::ring::sources::Sources;
use crate::proto::tape::pull::TapedPull;
use crate::store::partition::Pending;
use crate::store::partition::StoreError;

/// A slot on its way here.
pub(super) struct Pulling {
    /// From whom, and for which lists.
    pub(super) sources: Sources,
    task: JoinHandle<Here>,
    /// Dropped, it ends the pull behind the page that is on its way.
    _goes_on: watch::Sender<()>,
}

/// Turns to merge: few at a time, none while handoff is paused.
pub(super) struct Turns {
    free: Semaphore,
    paused: watch::Sender<bool>,
}

impl Turns {
    /// All of them free.
    pub(super) fn new() -> Self {
        Self { free: Semaphore::new(HANDOFFS_AT_ONCE), paused: watch::Sender::new(false) }
    }

    /// Whoever merges rests behind the page that is on its way, or goes on.
    pub(super) fn pause(&self, pause: bool) {
        self.paused.send_if_modified(|paused| std::mem::replace(paused, pause) != pause);
    }
}

impl Pulling {
    /// Begins to merge a slot, once it is its turn; behind the pull before it, whose last page is on its way still.
    pub(super) fn begin(slot: Slot, sources: Sources, turns: Arc<Turns>, here: Here, before: Option<Self>) -> Self {
        let (goes_on, until) = watch::channel(());
        let (wanted, before) = (sources.clone(), before.map(|before| before.task));
        let task = worker::spawn("merging a partition", async move {
            // One that failed brought nothing that is known of.
            let brought = match before {
                Some(before) => before.await.unwrap_or(Here::Nothing),
                None => Here::Nothing,
            };
            let here = if brought == Here::Nothing { here } else { brought };
            slot.merge_in_turn(wanted, &turns, here, until).await
        });
        Self { sources, task, _goes_on: goes_on }
    }

    /// Whether it goes on no more.
    pub(super) fn has_ended(&self) -> bool {
        self.task.is_finished()
    }
}

/// When objects were read that another node sends.
#[derive(Clone, Copy)]
struct Read {
    /// Its steady clock.
    steady_ms: u64,
    /// Its floor of the slot.
    floor: u64,
}

impl Read {
    fn of(answer: &Answer) -> Self {
        Self { steady_ms: answer.steady_ms, floor: answer.floor }
    }
}

/// The slot, as this view sees it.
pub(in crate::node) struct Slot {
    node: Node,
    view: Arc<View>,
    partition: PartitionId,
}

impl Slot {
    pub(in crate::node) fn new(node: &Node, view: &Arc<View>, partition: PartitionId) -> Self {
        Self { node: node.clone(), view: Arc::clone(view), partition }
    }

    /// Merges the slot from enough of its owners, then notes that it is synced. Begun anew when the slot changes: what was
    /// brought then is not brought again. Ends early with the sender of `until`.
    async fn merge_in_turn(
        mut self,
        sources: Sources,
        turns: &Turns,
        here: Here,
        mut until: watch::Receiver<()>,
    ) -> Here {
        let (me, from) = (self.node.who().node, self.node.nearest(sources.from()));
        let is_source = self.view.slot(self.partition).now.is_synced(me);
        let mut pull = TapedPull::new(Pull::new(me, from, if is_source { Here::All } else { here }));
        let (mut turn, mut paused) = (None, turns.paused.subscribe());
        while !sources.enough(pull.core().merged()) {
            if until.has_changed().is_err() {
                return pull.core().here();
            }
            if *paused.borrow() {
                turn = None;
                tokio::select! {
                    _goes_on = paused.wait_for(|paused| !*paused) => {}
                    _ended = until.changed() => return pull.core().here(),
                }
            }
            if turn.is_none() {
                turn = tokio::select! {
                    // Never closed.
                    turn = turns.free.acquire() => turn.ok(),
                    _ended = until.changed() => return pull.core().here(),
                };
                // Not before: what is asked for is given its time from here on.
                pull.handle_timeout(now_ms());
            }
            pull.take_full().into_iter().for_each(record);
            match pull.poll_effect() {
                Some(effect) => self.perform(&mut pull, effect, &until).await,
                None => {
                    if pull.core().rests() {
                        // Too few of its sources are there: nobody waits for them but this slot.
                        turn = None;
                    }
                    let rest = pull.core().poll_timeout().saturating_sub(now_ms()).min(PAGE_MS);
                    // Whichever comes first.
                    let _over = tokio::time::timeout(Duration::from_millis(rest), until.changed()).await;
                    if turn.is_some() {
                        pull.handle_timeout(now_ms());
                    }
                }
            }
        }
        pull.into_tape().into_iter().for_each(record);
        let (partition, since) = (self.partition, sources.since);
        let purged = self.node.0.store.purged(partition);
        let noted = self.node.change_marks(move |marks| {
            marks.synced.insert(partition, since);
            marks.purged.extend(purged.map(|stamp| (partition, stamp)));
        });
        if let Err(error) = noted.await {
            tracing::warn!(%partition, %error, "a merged partition could not be noted; it is merged again");
        }
        Here::Some
    }

    async fn perform(&mut self, pull: &mut TapedPull<IndexKey>, effect: Effect<IndexKey>, until: &watch::Receiver<()>) {
        let partition = self.partition;
        let behind = |after: Option<IndexKey>| after.as_ref().map(Place::from);
        match effect {
            Effect::AskObjects { from, question, after } => {
                let answer = self.ask_page(from, Ask::PageOfObjects { partition, after: behind(after) }).await;
                match answer.map(|answer| (Read::of(&answer), answer.tell)) {
                    Some((read, Tell::Objects { objects, more })) => {
                        let last = objects.last().and_then(|(place, _)| place.get());
                        pull.objects(question, objects.len(), last, more, now_ms());
                        match self.store(&objects, read, until).await {
                            Some(bytes) => {
                                self.count(bytes);
                                pull.stored(question, objects.len(), now_ms());
                            }
                            None => pull.refused(question, now_ms()),
                        }
                    }
                    _ => pull.refused(question, now_ms()),
                }
            }
            Effect::AskDigests { from, question, after } => {
                match self.ask_page(from, Ask::PageOfDigests { partition, after: behind(after) }).await {
                    Some(Answer { tell: Tell::Digests { digests, more }, .. }) => {
                        let last = digests.last().and_then(|(place, _)| place.get());
                        let store = &self.node.0.store;
                        let differing = digests
                            .into_iter()
                            .filter_map(|(place, theirs)| place.get().filter(|place| !store.holds(place, theirs)));
                        pull.digests(question, differing.collect(), last, more, now_ms());
                    }
                    _ => pull.refused(question, now_ms()),
                }
            }
            Effect::AskThese { from, question, places } => match self.fetch(from, &places, until).await {
                Some(bytes) => {
                    self.count(bytes);
                    pull.objects(question, 0, None, false, now_ms());
                }
                None => pull.refused(question, now_ms()),
            },
            Effect::Merged { .. } => pull.go_on(now_ms()),
        }
    }

    fn count(&self, bytes: u64) {
        self.node.0.cluster.handed_off.fetch_add(bytes, Ordering::Relaxed);
    }

    /// Brings certain objects, in as many answers as it takes; each is durable before the next is asked for, so that no
    /// more than one is in memory. Returns how many bytes came; none where not all of them did.
    pub(in crate::node) async fn fetch(
        &self,
        from: NodeId,
        places: &[IndexKey],
        until: &watch::Receiver<()>,
    ) -> Option<u64> {
        let (mut left, mut bytes) = (places, 0);
        loop {
            let ask = Ask::These { partition: self.partition, places: left.iter().map(Place::from).collect() };
            let answer = self.ask(from, ask).await?;
            let read = Read::of(&answer);
            let Tell::Objects { objects, more } = answer.tell else { return None };
            let last = objects.last().and_then(|(place, _)| place.get());
            bytes += self.store(&objects, read, until).await?;
            let at = last.and_then(|last| left.iter().position(|place| *place == last));
            match at.and_then(|at| left.get(at + 1..)).filter(|rest| more && !rest.is_empty()) {
                Some(_) if until.has_changed().is_err() => return None,
                Some(rest) => left = rest,
                None => return Some(bytes),
            }
        }
    }

    /// None at once where nothing came back from it a moment ago: each slot would wait for it anew.
    async fn ask(&self, from: NodeId, ask: Ask) -> Option<Answer> {
        if self.node.is_silent(from) {
            return None;
        }
        let body = self.node.question(&self.view, self.partition, PAGE_MS, ask);
        let answer = self.node.ask(from, Lane::Bulk, body, Duration::from_millis(PAGE_MS)).await.ok()?;
        // Before anything is minted on what is not here any more.
        self.node.0.store.raise_purged(self.partition, answer.purged);
        Some(answer)
    }

    /// A page of a source. What this node held before it lost something may be deleted and purged by now, and then it goes before
    /// anything of the page is looked at or stored.
    async fn ask_page(&self, from: NodeId, ask: Ask) -> Option<Answer> {
        let answer = self.ask(from, ask).await?;
        if self.node.is_refilling()
            && let Err(error) = anew::begin(&self.node, &self.view, self.partition, answer.floor).await
        {
            let partition = self.partition;
            tracing::warn!(%partition, %error, "what may be deleted since could not be given up; the merge waits for it");
            return None;
        }
        Some(answer)
    }

    /// Merges what came; returns how many bytes when all of it is durable. Not faster than handoff may be. None where that
    /// cannot be.
    async fn store(&self, objects: &[(Place, Sealed)], read: Read, until: &watch::Receiver<()>) -> Option<u64> {
        let (began, mut bytes) = (time::mono(), 0_u64);
        let mut pendings = Vec::with_capacity(objects.len());
        for (place, object) in objects {
            bytes += object.len() as u64;
            pendings.extend(self.merge(place, object, read, until).await?);
        }
        for pending in pendings {
            pending.durable().await.ok()?;
        }
        let least = Duration::from_micros(bytes * 1_000_000 / HANDOFF_BYTES_PER_SECOND);
        tokio::time::sleep(least.saturating_sub(began.elapsed())).await;
        Some(bytes)
    }

    /// None: it could not be; otherwise what to wait for. Where too much is under way here, it waits until that is past:
    /// the page need not come again for it.
    async fn merge(
        &self,
        place: &Place,
        object: &Sealed,
        read: Read,
        until: &watch::Receiver<()>,
    ) -> Option<Option<Pending>> {
        let place = place.get().filter(|place| place.partition() == self.partition)?;
        // Of a bucket that is gone by now nothing is needed.
        let Some(known) = self.node.view().bucket(place.bucket()) else { return Some(None) };
        let mut object = object.open(&place).ok()?;
        object.rebase(read.steady_ms, now_ms());
        loop {
            match self.node.0.store.merge(&place, &object, known.kind, read.floor) {
                Err(StoreError::Busy) if until.has_changed().is_ok() => tokio::time::sleep(HANDOFF_BUSY_PAUSE).await,
                merged => return merged.ok(),
            }
        }
    }
}
