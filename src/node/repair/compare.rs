//! One partition compared with one other owner: the driver of `proto::exchange::Compare`.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use futures_util::future::join_all;
use tokio::sync::Semaphore;
use tokio::sync::watch;

use crate::base::id::NodeId;
use crate::base::id::PartitionId;
use crate::base::limits::HANDOFF_PAGE_OBJECTS;
use crate::base::limits::HINTS_AT_ONCE;
use crate::node::Node;
use crate::node::cluster::Lane;
use crate::node::cluster::NotAnswered;
use crate::node::cluster::View;
use crate::node::cluster::now_ms;
use crate::node::coordinator::record;
use crate::node::handoff::pull::Slot;
use crate::node::handoff::tell::Told;
use crate::node::handoff::tell::tell_key;
use crate::node::repair::count;
use crate::node::repair::note;
use crate::proto::exchange::ANSWER_MS;
use crate::proto::exchange::Effect;
use crate::proto::exchange::Pair;
use crate::proto::key::IndexKey;
use crate::proto::merkle::Leaves;
use crate::proto::merkle::Tree;
use crate::proto::message::Ask;
use crate::proto::message::Place;
use crate::proto::message::Tell;
use crate::proto::tape::compare::TapedCompare;

/// How often something is asked: a lost message should not begin a comparison anew.
const TRIES: usize = 3;

/// A comparison under way.
pub(super) struct Comparing {
    node: Node,
    /// As long as the slot's epoch is that of this view, the other one answers.
    view: Arc<View>,
    other: NodeId,
    partition: PartitionId,
    turns: Arc<Semaphore>,
}

impl Comparing {
    pub(super) fn new(
        node: &Node,
        view: &Arc<View>,
        other: NodeId,
        partition: PartitionId,
        turns: Arc<Semaphore>,
    ) -> Self {
        Self { node: node.clone(), view: Arc::clone(view), other, partition, turns }
    }

    pub(super) async fn run(self) {
        let mut core = TapedCompare::begin(now_ms());
        while !core.core().has_ended() && !self.node.is_draining() {
            if let Some(effect) = core.poll_effect() {
                // Few at work at a time; those that rest between two looks hold nobody up. Never closed.
                let _turn = self.turns.acquire().await;
                self.perform(&mut core, effect).await;
            } else {
                let rest = core.core().poll_timeout().saturating_sub(now_ms());
                tokio::time::sleep(Duration::from_millis(rest)).await;
                core.handle_timeout(now_ms());
            }
        }
        let (tape, outcome) = core.into_tape();
        record(tape);
        note(&self.node, self.other, self.partition, outcome);
    }

    async fn perform(&self, core: &mut TapedCompare<IndexKey>, effect: Effect<IndexKey>) {
        match effect {
            Effect::AskLeaves { question } => match self.differing_leaves().await {
                Some(leaves) => core.leaves(question, leaves, now_ms()),
                None => core.refused(question),
            },
            Effect::AskDigests { question, leaves, after } => match self.digests(leaves, after).await {
                Some((mine, theirs, last)) => core.digests(question, mine, theirs, last, now_ms()),
                None => core.refused(question),
            },
            Effect::LookAgain { question, places } => match self.look_again(&places).await {
                Some(now) => core.looked_again(question, &now, now_ms()),
                None => core.refused(question),
            },
            Effect::Bring { question, places } => match self.bring(&places).await {
                Some(changed) => core.brought(question, changed, now_ms()),
                None => core.refused(question),
            },
            Effect::Send { question, places } => match self.send(&places).await {
                Some(sent) => core.sent(question, sent, now_ms()),
                None => core.refused(question),
            },
        }
    }

    async fn ask(&self, ask: Ask) -> Option<Tell> {
        let body = self.node.question(&self.view, self.partition, ANSWER_MS, ask);
        for _ in 0..TRIES {
            let answer = self.node.ask(self.other, Lane::Bulk, body.clone(), Duration::from_millis(ANSWER_MS)).await;
            match answer {
                Ok(answer) => return Some(answer.tell),
                Err(NotAnswered::Silent) => {}
                Err(NotAnswered::NotSent) => return None,
            }
        }
        None
    }

    async fn differing_leaves(&self) -> Option<Leaves> {
        let Tell::Leaves(theirs) = self.ask(Ask::Leaves { partition: self.partition }).await? else { return None };
        let mine = self.node.tree_of(&self.view, self.other, self.partition).await?;
        Some(mine.differing(&Tree::of(&theirs)?))
    }

    /// The same range of both; its last place where more may follow.
    async fn digests(
        &self,
        leaves: Leaves,
        after: Option<IndexKey>,
    ) -> Option<(Vec<(IndexKey, u64)>, Vec<(IndexKey, u64)>, Option<IndexKey>)> {
        let partition = self.partition;
        let ask = Ask::PageOfLeaves { partition, leaves, after: after.as_ref().map(Place::from) };
        let Tell::Digests { digests, more } = self.ask(ask).await? else { return None };
        let theirs = self.read(digests)?;
        // In order and behind what was asked for: else it would never end.
        let first = after.iter().chain(theirs.iter().map(|(place, _)| place));
        if !first.clone().zip(first.skip(1)).all(|(one, next)| one < next) {
            return None;
        }
        let last = match (more, theirs.last()) {
            (true, None) => return None,
            (true, Some((last, _))) => Some(last.clone()),
            (false, _) => None,
        };
        let mine =
            self.node.page_of_leaves(&self.view, self.other, partition, leaves, after, Some(last.clone())).await?;
        Some((mine.0, theirs, last))
    }

    fn read(&self, digests: Vec<(Place, u64)>) -> Option<Vec<(IndexKey, u64)>> {
        let read = |(place, digest): (Place, u64)| {
            Some((place.get().filter(|place| place.partition() == self.partition)?, digest))
        };
        digests.into_iter().map(read).collect()
    }

    async fn look_again(&self, places: &[IndexKey]) -> Option<BTreeMap<IndexKey, Pair>> {
        let mut now = BTreeMap::new();
        for some in places.chunks(HANDOFF_PAGE_OBJECTS) {
            let ask = Ask::DigestsOf { partition: self.partition, places: some.iter().map(Place::from).collect() };
            let Tell::Digests { digests, .. } = self.ask(ask).await? else { return None };
            let theirs: BTreeMap<IndexKey, u64> = self.read(digests)?.into_iter().collect();
            for place in some {
                let mine = self.node.0.store.newest(place).ok()?.map(|object| object.fingerprint());
                now.insert(place.clone(), Pair { mine, theirs: theirs.get(place).copied() });
            }
        }
        Some(now)
    }

    /// Merges what the other one holds; how many of these places are something else now.
    async fn bring(&self, places: &[IndexKey]) -> Option<usize> {
        let counts = &self.node.0.cluster.repair.counts;
        let here = |place: &IndexKey| self.node.0.store.newest(place).ok().flatten().map(|here| here.fingerprint());
        // Nobody ends it but the node's own end.
        let (_goes_on, until) = watch::channel(());
        let (slot, mut changed) = (Slot::new(&self.node, &self.view, self.partition), 0);
        for some in places.chunks(HANDOFF_PAGE_OBJECTS) {
            let before: Vec<_> = some.iter().map(here).collect();
            let bytes = slot.fetch(self.other, some, &until).await?;
            let now = some.iter().zip(before).filter(|(place, before)| here(place) != *before).count();
            count(&counts.brought, now);
            counts.bytes.fetch_add(bytes, Ordering::Relaxed);
            changed += now;
        }
        Some(changed)
    }

    /// Has the other one merge what is here and not there.
    async fn send(&self, places: &[(IndexKey, Option<u64>)]) -> Option<usize> {
        let (node, counts) = (&self.node, &self.node.0.cluster.repair.counts);
        let here = |place: &IndexKey| node.0.store.newest(place).ok().flatten().map(|here| here.fingerprint());
        let differing: Vec<_> =
            places.iter().filter(|(place, theirs)| here(place) != *theirs).map(|(place, _)| place).collect();
        for some in differing.chunks(HINTS_AT_ONCE) {
            for (told, bytes) in join_all(some.iter().map(|place| tell_key(node, self.other, place))).await {
                if told != Told::All {
                    return None;
                }
                count(&counts.sent, 1);
                counts.bytes.fetch_add(bytes, Ordering::Relaxed);
            }
        }
        Some(differing.len())
    }
}
