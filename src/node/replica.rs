//! This node as an owner that is asked: it merges, answers from what is durable, and refuses what is of an older epoch.

use std::sync::Arc;

use crate::base::id::NodeId;
use crate::base::id::PartitionId;
use crate::base::limits::KEYED_OP_TTL;
use crate::base::limits::OPERATION_BUDGET;
use crate::base::pulse;
use crate::base::time;
use crate::node::Node;
use crate::node::cluster::Known;
use crate::node::cluster::View;
use crate::node::cluster::now_ms;
use crate::node::coordinator;
use crate::node::coordinator::Wanted;
use crate::node::error::DoorError;
use crate::node::worker;
use crate::proto::bucket::Kind;
use crate::proto::key::IndexKey;
use crate::proto::message::Answer;
use crate::proto::message::Ask;
use crate::proto::message::Forwarded;
use crate::proto::message::Holding;
use crate::proto::message::Place;
use crate::proto::message::Question;
use crate::proto::message::Sealed;
use crate::proto::message::Tell;
use crate::proto::message::Why;
use crate::proto::message::Word;
use crate::proto::object::Object;
use crate::proto::object::Update;
use crate::store::partition::StoreError;

/// An object that another node wants to have merged.
struct Sent {
    place: Place,
    object: Sealed,
    round: u32,
    /// Its steady clock then,
    steady_ms: u64,
    /// and its floor when it read the object.
    floor: u64,
}

/// What this node holds durably at a place.
pub(super) fn holding(node: &Node, place: &IndexKey) -> Holding {
    let object = match node.0.store.read(place) {
        Ok(Some(object)) => object,
        Ok(None) => return Holding::Nothing,
        Err(_damaged) => return Holding::Damaged,
    };
    let now_ms = time::wall_ms();
    let bodies = object.live(now_ms).filter_map(|sibling| sibling.live(now_ms));
    let (values, size) = bodies.fold((0, 0), |(values, size), (_, body)| (values + 1, size + body.0.len() as u64));
    Holding::Object { digest: object.fingerprint(), size, values }
}

impl Node {
    /// Answers a question of another node.
    pub async fn answer(&self, from: NodeId, bytes: &[u8]) -> Vec<u8> {
        let (slot, floor, tell) = match Question::decode(bytes) {
            Ok(question) => {
                self.hear_stamp(question.stamp);
                // Before anything is read: what is told is of now or later.
                let slot = question.partition();
                let floor = slot.map_or(0, |slot| self.floor_for(slot, &question));
                (slot, floor, self.tell(from, question).await)
            }
            Err(error) => {
                tracing::debug!(%from, %error, "a question of another node is not understood");
                (None, 0, Tell::Refused(Why::NotYet))
            }
        };
        let (view, steady_ms, standing) = (self.view().index, time::steady_ms().0, self.standing());
        let purged = slot.and_then(|slot| self.0.store.purged(slot));
        Answer { view, steady_ms, standing, floor, purged, stamp: self.stamp(), tell }.encode()
    }

    /// This node's floor. Whoever asks for objects would not store what was read below its own.
    fn floor_for(&self, slot: PartitionId, question: &Question) -> u64 {
        if matches!(question.ask, Ask::These { .. } | Ask::PageOfObjects { .. }) {
            self.0.store.raise_floor(slot, question.floor);
        }
        self.0.store.floor(slot)
    }

    async fn tell(&self, from: NodeId, question: Question) -> Tell {
        if question.ask == Ask::Remember {
            return self.remembered(from);
        }
        if let Ask::Diagnosis(wish) = question.ask {
            return Tell::Diagnosis(Box::new(self.find(from, *wish).await));
        }
        let slot = question.partition();
        if slot.is_none() && !matches!(question.ask, Ask::Rows(_) | Ask::Roots { .. }) {
            return Tell::Refused(Why::NotYet);
        }
        let until_ms = now_ms() + question.left_ms.min(time::millis(OPERATION_BUDGET));
        // A question from the future waits for the layout that it speaks of.
        if !self.is_serving() || !self.reach(question.view, until_ms).await {
            return Tell::Refused(Why::NotYet);
        }
        let view = self.view();
        if slot.is_some_and(|slot| view.slot(slot).is_over(question.epoch)) {
            return Tell::Refused(Why::Stale);
        }
        match question.ask {
            Ask::Merge { place, object, round } => {
                let sent = Sent { place, object, round, steady_ms: question.steady_ms, floor: question.floor };
                let tell = self.merge(&view, sent).await;
                // While it became durable this node may have adopted a newer layout, and given the slot's new owners all
                // that it had: then this is not among it, and must not be counted by the rules of before.
                let is_late = slot.is_some_and(|slot| self.view().slot(slot).is_too_late(question.epoch));
                if is_late {
                    Tell::Refused(Why::Stale)
                } else if self.is_serving() {
                    tell
                } else {
                    Tell::Refused(Why::NotYet)
                }
            }
            Ask::Digest { place } => match self.held(&place) {
                Ok((_, object)) => Tell::Digest(object.map(|object| object.context.clone())),
                Err(why) => Tell::Refused(why),
            },
            Ask::Object { place } => match self.held(&place) {
                Ok((place, object)) => Tell::Object(object.map(|object| Sealed::of(&place, &object))),
                Err(why) => Tell::Refused(why),
            },
            Ask::Forward(forwarded) => self.take_forward(from, &view, *forwarded, until_ms),
            Ask::PageOfObjects { partition, after } => self.page(&view, from, partition, after, true).await,
            Ask::PageOfDigests { partition, after } => self.page(&view, from, partition, after, false).await,
            Ask::These { partition, places } => self.these(&view, partition, &places),
            Ask::Where { place } => self.show(&view, &place),
            Ask::Rows(wish) => self.rows(&view, question.epoch, *wish).await,
            Ask::Roots { slots } => self.tell_roots(&view, from, &slots),
            Ask::Leaves { partition } => self.tell_leaves(&view, from, partition).await,
            Ask::PageOfLeaves { partition, leaves, after } => {
                self.tell_page_of_leaves(&view, from, partition, leaves, after).await
            }
            Ask::DigestsOf { partition, places } => self.tell_digests_of(&view, partition, places),
            Ask::Remember => self.remembered(from),
            Ask::Diagnosis(_) => Tell::Refused(Why::NotYet),
            Ask::Graves { partition, floor, graves } => self.tell_agreed(&view, partition, floor, graves).await,
            Ask::Purge { partition, floor, graves } => self.tell_removed(partition, floor, &graves).await,
        }
    }

    /// What is held, for people: owners only, so that what is left of a slot given up is not taken for a copy.
    fn show(&self, view: &View, place: &Place) -> Tell {
        let Some(place) = place.get() else { return Tell::Refused(Why::NotYet) };
        let Some(Known { numbers, .. }) = view.bucket(place.bucket()) else { return Tell::Refused(Why::NotYet) };
        if !view.slot(place.partition()).is_owner(self.who().node, numbers) {
            return Tell::Refused(Why::NotOwner);
        }
        Tell::Where(holding(self, &place))
    }

    /// What is durable at a place.
    pub(super) fn held(&self, place: &Place) -> Result<(IndexKey, Option<Arc<Object>>), Why> {
        let place = place.get().ok_or(Why::NotYet)?;
        // What is damaged here is not served; others have it.
        let object = self.0.store.read(&place).map_err(|_damaged| Why::NotYet)?;
        Ok((place, object))
    }

    async fn merge(&self, view: &View, sent: Sent) -> Tell {
        let merged = async {
            let place = sent.place.get()?;
            let Known { kind, .. } = view.bucket(place.bucket())?;
            let mut object = sent.object.open(&place).ok()?;
            object.rebase(sent.steady_ms, now_ms());
            match self.0.store.merge(&place, &object, kind, sent.floor) {
                Ok(Some(pending)) => pending.durable().await.ok()?,
                Ok(None) => {}
                Err(StoreError::BelowFloor) => return Some(Tell::Refused(Why::BelowFloor)),
                Err(_) => return None,
            }
            let newest = if kind == Kind::Lww { self.0.store.newest(&place).ok()? } else { None };
            Some(Tell::Held { top: newest.and_then(|object| object.top()), round: sent.round })
        };
        merged.await.unwrap_or(Tell::Refused(Why::NotYet))
    }

    /// Does a write in another node's place: only an owner may, and a forward is never forwarded.
    fn take_forward(&self, from: NodeId, view: &View, forwarded: Forwarded, deadline_ms: u64) -> Tell {
        // It may have waited while this process stood still: whoever sent it has gone on to another owner.
        if pulse::just_stood_still() {
            return Tell::Refused(Why::NotYet);
        }
        let Forwarded { job, place, action, basis, condition, op, keyed, w } = forwarded;
        let Some(place) = place.get() else { return Tell::Refused(Why::NotYet) };
        let Some(Known { kind, numbers }) = view.bucket(place.bucket()) else { return Tell::Refused(Why::NotYet) };
        if !view.slot(place.partition()).is_owner(self.who().node, numbers) {
            return Tell::Refused(Why::NotOwner);
        }
        let kept = if keyed { KEYED_OP_TTL } else { OPERATION_BUDGET };
        let op_until_ms = now_ms() + time::millis(kept);
        let update = Update { kind, action, basis, condition, op, keyed, op_until_ms };
        let (node, wanted) = (self.clone(), Wanted { place, update, w, deadline_ms });
        worker::spawn("forwarded write", async move {
            let ended = coordinator::ended(node.coordinate(wanted).await);
            node.say(from, &Word::Ended { job, ended });
        });
        Tell::Received
    }

    pub(super) fn wait_for_all_of_it(&self) -> Result<(), DoorError> {
        let store = &self.0.store;
        let caught_up = store.progress().wait_for(store.journal().durable(), time::mono() + OPERATION_BUDGET);
        caught_up.map_err(|_stalled| DoorError::TooSlow { budget: OPERATION_BUDGET })
    }
}
