//! One slot on its way here: the driver of `proto::handoff`.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use tokio::sync::Semaphore;
use tokio::sync::watch;
use tokio::task::JoinHandle;

use crate::base::id::NodeId;
use crate::base::id::PartitionId;
use crate::base::limits::HANDOFF_BYTES_PER_SECOND;
use crate::base::time;
use crate::node::Node;
use crate::node::cluster::Lane;
use crate::node::cluster::View;
use crate::node::cluster::now_ms;
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
use crate::proto::object::Object;
use crate::proto::ring::sources::Sources;
use crate::store::partition::Decision;
use crate::store::partition::Pending;

/// A slot on its way here.
pub(super) struct Pulling {
    /// From whom, and for which lists.
    pub(super) sources: Sources,
    task: JoinHandle<Here>,
    /// Dropped, it ends the pull behind the page that is on its way.
    _goes_on: watch::Sender<()>,
}

impl Pulling {
    /// Begins to merge a slot, once it is its turn; behind the pull before it, whose last page is on its way still.
    pub(super) fn begin(slot: Slot, sources: Sources, turns: Arc<Semaphore>, here: Here, before: Option<Self>) -> Self {
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

/// The slot, as this view sees it.
pub(super) struct Slot {
    node: Node,
    view: Arc<View>,
    partition: PartitionId,
}

impl Slot {
    pub(super) fn new(node: &Node, view: &Arc<View>, partition: PartitionId) -> Self {
        Self { node: node.clone(), view: Arc::clone(view), partition }
    }

    /// Merges the slot from enough of its owners, then notes that it is synced. Begun anew when the slot changes: what was
    /// brought then is not brought again. Ends early with the sender of `until`.
    async fn merge_in_turn(
        mut self,
        sources: Sources,
        turns: &Semaphore,
        here: Here,
        mut until: watch::Receiver<()>,
    ) -> Here {
        let _turn = tokio::select! {
            // Never closed.
            turn = turns.acquire() => turn,
            _ended = until.changed() => return here,
        };
        let (me, from) = (self.node.who().node, self.node.nearest(sources.from()));
        let is_source = self.view.slot(self.partition).now.is_synced(me);
        let mut pull = Pull::new(me, from, if is_source { Here::All } else { here });
        while !sources.enough(pull.merged()) {
            if until.has_changed().is_err() {
                return pull.here();
            }
            match pull.poll_effect() {
                Some(effect) => self.perform(&mut pull, effect).await,
                None => {
                    let rest = pull.poll_timeout().saturating_sub(now_ms()).min(PAGE_MS);
                    // Whichever comes first.
                    let _over = tokio::time::timeout(Duration::from_millis(rest), until.changed()).await;
                    pull.handle_timeout(now_ms());
                }
            }
        }
        let (partition, since) = (self.partition, sources.since);
        let noted = self.node.change_marks(move |marks| {
            marks.synced.insert(partition, since);
        });
        if let Err(error) = noted.await {
            tracing::warn!(%partition, %error, "a merged partition could not be noted; it is merged again");
        }
        Here::Some
    }

    async fn perform(&mut self, pull: &mut Pull<IndexKey>, effect: Effect<IndexKey>) {
        let partition = self.partition;
        let behind = |after: Option<IndexKey>| after.as_ref().map(Place::from);
        match effect {
            Effect::AskObjects { from, question, after } => {
                let answer = self.ask(from, Ask::PageOfObjects { partition, after: behind(after) }).await;
                match answer.map(|answer| (answer.steady_ms, answer.tell)) {
                    Some((theirs_ms, Tell::Objects { objects, more })) => {
                        let last = objects.last().and_then(|(place, _)| place.get());
                        pull.objects(question, objects.len(), last, more, now_ms());
                        self.store(pull, question, objects, theirs_ms).await;
                    }
                    _ => pull.refused(question, now_ms()),
                }
            }
            Effect::AskDigests { from, question, after } => {
                match self.ask(from, Ask::PageOfDigests { partition, after: behind(after) }).await {
                    Some(Answer { tell: Tell::Digests { digests, more }, .. }) => {
                        let last = digests.last().and_then(|(place, _)| place.get());
                        let all = digests.into_iter().filter_map(|(place, theirs)| Some((place.get()?, theirs)));
                        match self.differing(all).await {
                            Some(differing) => pull.digests(question, differing, last, more, now_ms()),
                            None => pull.refused(question, now_ms()),
                        }
                    }
                    _ => pull.refused(question, now_ms()),
                }
            }
            Effect::AskThese { from, question, places } => self.fetch(pull, from, question, &places).await,
            Effect::Merged { .. } => pull.go_on(now_ms()),
        }
    }

    /// Places of which the newest is not what a source has. What is the same may be on its way to the disk still: it is
    /// waited for, because the marks that say that the slot is merged are a file of their own, which a crash may leave
    /// without what they rest on. None: it did not become durable.
    async fn differing(&self, theirs: impl Iterator<Item = (IndexKey, u64)>) -> Option<Vec<IndexKey>> {
        let (mut differing, mut on_their_way) = (Vec::new(), Vec::new());
        for (place, theirs) in theirs {
            let same = self.node.0.store.update(&place, |held, _| {
                let same = held.map(Object::fingerprint) == Some(theirs);
                if same { Decision::Confirm(true) } else { Decision::Leave(false) }
            });
            match same {
                Ok((pending, true)) => on_their_way.extend(pending),
                // What is damaged here comes again.
                Ok((_, false)) | Err(_) => differing.push(place),
            }
        }
        for pending in on_their_way {
            pending.durable().await.ok()?;
        }
        Some(differing)
    }

    /// Certain objects, in as many answers as it takes.
    async fn fetch(&self, pull: &mut Pull<IndexKey>, from: NodeId, question: u64, places: &[IndexKey]) {
        let (mut all, mut theirs_ms, mut left) = (Vec::new(), 0, places);
        loop {
            let ask = Ask::These { partition: self.partition, places: left.iter().map(Place::from).collect() };
            let Some(Answer { steady_ms, tell: Tell::Objects { objects, more }, .. }) = self.ask(from, ask).await
            else {
                return pull.refused(question, now_ms());
            };
            theirs_ms = steady_ms.max(theirs_ms);
            let last = objects.last().and_then(|(place, _)| place.get());
            all.extend(objects);
            let at = last.and_then(|last| left.iter().position(|place| *place == last));
            match at.and_then(|at| left.get(at + 1..)).filter(|rest| more && !rest.is_empty()) {
                Some(rest) => left = rest,
                None => break,
            }
        }
        pull.objects(question, all.len(), None, false, now_ms());
        self.store(pull, question, all, theirs_ms).await;
    }

    async fn ask(&self, from: NodeId, ask: Ask) -> Option<Answer> {
        let body = self.node.question(&self.view, self.partition, PAGE_MS, ask);
        self.node.ask(from, Lane::Bulk, body, Duration::from_millis(PAGE_MS)).await.ok()
    }

    /// Merges what came, and says of each object when it is durable. Not faster than handoff may be.
    async fn store(&self, pull: &mut Pull<IndexKey>, question: u64, objects: Vec<(Place, Sealed)>, theirs_ms: u64) {
        let began = time::mono();
        let bytes: usize = objects.iter().map(|(_, object)| object.len()).sum();
        let merged: Option<Vec<_>> =
            objects.iter().map(|(place, object)| self.merge(place, object, theirs_ms)).collect();
        let Some(pendings) = merged else { return pull.refused(question, now_ms()) };
        for pending in pendings {
            if let Some(pending) = pending
                && pending.durable().await.is_err()
            {
                return pull.refused(question, now_ms());
            }
            pull.stored(question, now_ms());
        }
        self.node.0.cluster.handed_off.fetch_add(bytes as u64, Ordering::Relaxed);
        let least = Duration::from_micros(bytes as u64 * 1_000_000 / HANDOFF_BYTES_PER_SECOND);
        tokio::time::sleep(least.saturating_sub(began.elapsed())).await;
    }

    /// None: it could not be; otherwise what to wait for.
    fn merge(&self, place: &Place, object: &Sealed, theirs_ms: u64) -> Option<Option<Pending>> {
        let place = place.get().filter(|place| place.partition() == self.partition)?;
        // Of a bucket that is gone by now nothing is needed.
        let Some(known) = self.node.view().bucket(place.bucket()) else { return Some(None) };
        let mut object = object.open(&place).ok()?;
        object.rebase(theirs_ms, now_ms());
        self.node.0.store.merge(&place, &object, known.kind).ok()
    }
}
