//! Graves that nobody needs any more: the driver of `proto::purge`, and this node as a member that is asked. The first owner
//! of a partition begins, as all members have to be there anyway.

use std::collections::BTreeMap;
use std::collections::BTreeSet;
use std::ops::ControlFlow;
use std::time::Duration;

use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;

use crate::base::id::NodeId;
use crate::base::id::PartitionId;
use crate::base::limits::GRAVES_AT_ONCE;
use crate::base::limits::HANDOFF_BUSY_PAUSE;
use crate::base::limits::PURGE_AGAIN;
use crate::base::limits::PURGE_TICK;
use crate::base::time;
use crate::node::Node;
use crate::node::cluster::Lane;
use crate::node::cluster::View;
use crate::node::cluster::Waiting;
use crate::node::cluster::now_ms;
use crate::node::coordinator::record;
use crate::node::error::DoorError;
use crate::node::handoff::give::Walk;
use crate::node::repair::count;
use crate::node::repair::lock;
use crate::node::vnode::memory;
use crate::node::worker;
use crate::proto::key::IndexKey;
use crate::proto::message::Ask;
use crate::proto::message::Place;
use crate::proto::message::Tell;
use crate::proto::message::Why;
use crate::proto::object::Stamp;
use crate::proto::purge;
use crate::proto::purge::Effect;
use crate::proto::tape::purge::TapedPurge;
use crate::store::partition::Decision;
use crate::store::partition::StoreError;

/// Places with the fingerprints of what is there.
type Graves = Vec<(IndexKey, u64)>;

enum Heard {
    Agreed(NodeId, Vec<bool>),
    Removed(NodeId),
    Refused,
    Silent,
}

impl Node {
    /// Lets graves go that nobody needs, until the node stops.
    pub async fn keep_purged(self) {
        let mut not_before: BTreeMap<PartitionId, u64> = BTreeMap::new();
        loop {
            tokio::select! {
                () = self.drained() => return,
                () = tokio::time::sleep(PURGE_TICK) => {}
            }
            for partition in PartitionId::all() {
                let now = now_ms();
                if self.is_draining() {
                    return;
                }
                if not_before.get(&partition).is_none_or(|at| *at <= now) && self.has_graves(partition, now) {
                    self.purge(partition).await;
                    not_before.insert(partition, now_ms() + time::millis(PURGE_AGAIN));
                }
            }
        }
    }

    fn has_graves(&self, partition: PartitionId, now: u64) -> bool {
        let surveys = lock(&self.0.cluster.repair.surveys);
        surveys.get(&partition).and_then(|survey| survey.graves_from_ms).is_some_and(|from| from <= now)
    }

    /// Whether the slot is one in which graves may go: at rest, all owners have all of it, and this node knows that durably.
    fn is_at_rest(&self, view: &View, partition: PartitionId) -> bool {
        let slot = view.slot(partition);
        let adopted = self.0.cluster.marks.read(|marks| marks.adopted);
        let synced = slot.now.owners.iter().all(|owner| slot.now.is_synced(*owner));
        self.is_serving() && slot.next.is_none() && synced && adopted >= slot.epoch
    }

    /// Lets some graves of a partition go, where this node is the one to begin and everybody is there.
    async fn purge(&self, partition: PartitionId) {
        let (view, me) = (self.view(), self.who().node);
        let members: BTreeSet<NodeId> =
            view.state.members.keys().copied().filter(|node| view.state.member(*node).is_some()).collect();
        let live = self.live();
        let begins = view.slot(partition).now.owners.first() == Some(&me);
        if !begins || !self.is_at_rest(&view, partition) || !members.iter().all(|node| live.contains(node)) {
            return;
        }
        let Ok((graves, highest)) = self.graves(&view, partition).await else { return };
        if graves.is_empty() {
            return;
        }
        let others = members.into_iter().filter(|node| *node != me).collect();
        let floor = self.0.store.floor(partition).saturating_add(1);
        let mut core = TapedPurge::begin(others, floor, graves, now_ms());
        let mut waits: FuturesUnordered<Waiting<Heard>> = FuturesUnordered::new();
        while !core.core().has_ended() {
            if let Some(effect) = core.poll_effect() {
                if let Effect::Raise { floor } = effect {
                    match self.agree(partition, floor, highest).await {
                        true => core.raised(now_ms()),
                        false => core.refused(),
                    }
                } else {
                    self.perform(&view, partition, effect, &mut waits).await;
                }
                continue;
            }
            let rest = Duration::from_millis(core.core().poll_timeout().saturating_sub(now_ms()));
            tokio::select! {
                Some(heard) = waits.next(), if !waits.is_empty() => match heard {
                    Heard::Agreed(from, agreed) => core.agreed(from, &agreed, now_ms()),
                    Heard::Removed(from) => core.removed(from),
                    Heard::Refused => core.refused(),
                    Heard::Silent => {}
                },
                () = tokio::time::sleep(rest) => core.handle_timeout(now_ms()),
            }
        }
        record(core.into_tape());
    }

    async fn perform(
        &self,
        view: &View,
        partition: PartitionId,
        effect: Effect<IndexKey>,
        waits: &mut FuturesUnordered<Waiting<Heard>>,
    ) {
        let named = |graves: Graves| graves.iter().map(|(place, print)| (Place::from(place), *print)).collect();
        match effect {
            Effect::Ask { to, floor, graves } => {
                waits.push(self.ask_about(
                    view,
                    partition,
                    to,
                    Ask::Graves { partition, floor, graves: named(graves) },
                ));
            }
            Effect::Raise { .. } => {}
            Effect::Remove { graves } => {
                if let Err(error) = self.remove_graves(&graves).await {
                    tracing::warn!(%partition, %error, "graves could not be removed; they go another time");
                }
            }
            Effect::Tell { to, floor, graves } => {
                waits.push(self.ask_about(view, partition, to, Ask::Purge { partition, floor, graves: named(graves) }));
            }
        }
    }

    fn ask_about(&self, view: &View, partition: PartitionId, to: NodeId, ask: Ask) -> Waiting<Heard> {
        let body = self.question(view, partition, purge::ANSWER_MS, ask);
        let answer = self.ask(to, Lane::Bulk, body, Duration::from_millis(purge::ANSWER_MS));
        let node = self.clone();
        Box::pin(async move {
            let Ok(answer) = answer.await else { return Heard::Silent };
            match answer.tell {
                Tell::Agreed(agreed) => Heard::Agreed(to, agreed),
                Tell::Removed => Heard::Removed(to),
                Tell::Held { .. }
                | Tell::Digest(_)
                | Tell::Object(_)
                | Tell::Received
                | Tell::Refused(_)
                | Tell::Objects { .. }
                | Tell::Digests { .. }
                | Tell::Where(_)
                | Tell::Rows { .. }
                | Tell::Roots(_)
                | Tell::Leaves(_)
                | Tell::Remembered(_)
                | Tell::Diagnosis(_) => {
                    // The next try has to go higher than one that came to nothing.
                    node.0.store.raise_floor(partition, answer.floor);
                    Heard::Refused
                }
            }
        })
    }

    /// Graves of a partition that may go as far as this node is concerned, some of them; with the highest stamp in them.
    async fn graves(&self, view: &View, partition: PartitionId) -> Result<(Graves, Option<Stamp>), DoorError> {
        let (slot, me, node) = (view.slot(partition), self.who().node, self.clone());
        let mine = view.state.buckets.values().filter(|bucket| slot.is_owner(me, bucket.numbers));
        let walk = Walk { partition, buckets: mine.map(|bucket| bucket.id).collect(), after: None };
        worker::block("looking for graves", move || {
            node.wait_for_all_of_it()?;
            let (mut graves, mut highest) = (Vec::new(), None);
            walk.visit(&node, &mut |place, object| {
                if purge::may_go(&object, memory(), time::wall_ms()) {
                    graves.push((place.clone(), object.fingerprint()));
                    highest = highest.max(object.top().map(|(stamp, _)| stamp));
                }
                if graves.len() < GRAVES_AT_ONCE { ControlFlow::Continue(()) } else { ControlFlow::Break(()) }
            })?;
            Ok((graves, highest))
        })
        .await
    }

    /// Raises the floor durably, where it is lower.
    async fn agree(&self, partition: PartitionId, floor: u64, highest: Option<Stamp>) -> bool {
        // From here on nothing is stored that was read before.
        if !self.0.store.raise_floor(partition, floor) {
            return false;
        }
        self.0.store.raise_purged(partition, highest);
        let purged = self.0.store.purged(partition);
        let noted = self.change_marks(move |marks| {
            let known = marks.floors.entry(partition).or_default();
            *known = floor.max(*known);
            marks.purged.extend(purged.map(|stamp| (partition, stamp)));
        });
        noted.await.is_ok()
    }

    /// As a member: which of these graves may go. First it is looked, then the floor rises.
    pub(in crate::node) async fn tell_agreed(
        &self,
        view: &View,
        partition: PartitionId,
        floor: u64,
        graves: Vec<(Place, u64)>,
    ) -> Tell {
        if !self.is_at_rest(view, partition) || graves.len() > GRAVES_AT_ONCE || floor == u64::MAX {
            return Tell::Refused(Why::NotYet);
        }
        let (slot, me) = (view.slot(partition), self.who().node);
        let mut owned = Vec::with_capacity(graves.len());
        for (place, print) in graves {
            let Some(place) = place.get().filter(|place| place.partition() == partition) else {
                return Tell::Refused(Why::NotYet);
            };
            let known = view.bucket(place.bucket());
            owned.push((place, print, known.is_some_and(|known| slot.is_owner(me, known.numbers))));
        }
        let node = self.clone();
        let looked = worker::block("looking at graves", move || {
            let agrees = |(place, print, owned): &(IndexKey, u64, bool)| node.agrees(place, *print, *owned);
            let stamps = owned.iter().filter_map(|(place, ..)| node.0.store.newest(place).ok()??.top());
            let highest = stamps.map(|(stamp, _)| stamp).max();
            Ok((owned.iter().map(agrees).collect(), highest))
        });
        let Ok((agreed, highest)) = looked.await else { return Tell::Refused(Why::NotYet) };
        if self.agree(partition, floor, highest).await { Tell::Agreed(agreed) } else { Tell::Refused(Why::NotYet) }
    }

    /// An owner holds the very same grave, durably, and can do without it; everybody else holds nothing.
    fn agrees(&self, place: &IndexKey, print: u64, owned: bool) -> bool {
        let store = &self.0.store;
        let Ok(newest) = store.newest(place) else { return false };
        match newest {
            Some(object) if owned => store.holds(place, print) && purge::may_go(&object, memory(), time::wall_ms()),
            Some(_) => false,
            None => !owned,
        }
    }

    /// As an owner: all have agreed.
    pub(in crate::node) async fn tell_removed(
        &self,
        partition: PartitionId,
        floor: u64,
        graves: &[(Place, u64)],
    ) -> Tell {
        let named =
            |(place, print): &(Place, u64)| Some((place.get().filter(|place| place.partition() == partition)?, *print));
        let graves: Option<Graves> = graves.iter().map(named).collect();
        match graves.filter(|graves| graves.len() <= GRAVES_AT_ONCE && self.0.store.floor(partition) >= floor) {
            Some(graves) if self.remove_graves(&graves).await.is_ok() => Tell::Removed,
            Some(_) | None => Tell::Refused(Why::NotYet),
        }
    }

    /// Removes what is unchanged; returns when that is durable.
    async fn remove_graves(&self, graves: &Graves) -> Result<(), StoreError> {
        let mut pendings = Vec::new();
        for (place, print) in graves {
            pendings.extend(self.remove_one(place, *print).await?);
        }
        count(&self.0.cluster.repair.counts.purged, pendings.len());
        for pending in pendings {
            pending.durable().await?;
        }
        Ok(())
    }

    async fn remove_one(
        &self,
        place: &IndexKey,
        print: u64,
    ) -> Result<Option<crate::store::partition::Pending>, StoreError> {
        loop {
            let removed = self.0.store.update(place, |held, _| {
                let is_it = held.is_some_and(|held| held.fingerprint() == print);
                if is_it { Decision::Remove(()) } else { Decision::Leave(()) }
            });
            match removed {
                Err(StoreError::Busy) if !self.is_draining() => tokio::time::sleep(HANDOFF_BUSY_PAUSE).await,
                removed => return Ok(removed?.0),
            }
        }
    }
}
