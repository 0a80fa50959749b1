//! This node as a source of a slot: pages of what it holds of it, for a node that is to own it.
//!
//! A list of owners is longer than most buckets' `n`, and a node that comes is within the first `n` for some buckets only.
//! It gets those (`Slot::gives`). Whatever would make it an owner of another one is a transition, in which it asks again.

use std::collections::BTreeSet;
use std::ops::Bound;
use std::ops::ControlFlow;

use crate::base::id::BucketId;
use crate::base::id::NodeId;
use crate::base::id::PartitionId;
use crate::base::limits::HANDOFF_PAGE_BYTES;
use crate::base::limits::HANDOFF_PAGE_OBJECTS;
use crate::node::Node;
use crate::node::cluster::View;
use crate::node::error::DoorError;
use crate::node::worker;
use crate::proto::key::IndexKey;
use crate::proto::message::Place;
use crate::proto::message::Sealed;
use crate::proto::message::Tell;
use crate::proto::message::Why;
use crate::proto::object::Object;

/// What is walked for a page: these buckets of a partition, behind this place.
pub(in crate::node) struct Walk {
    pub(in crate::node) partition: PartitionId,
    pub(in crate::node) buckets: BTreeSet<BucketId>,
    pub(in crate::node) after: Option<IndexKey>,
}

impl Node {
    /// Whether this node may be a source of a slot: it is synced itself, and its adoption is durable.
    pub(in crate::node) fn may_give(&self, view: &View, partition: PartitionId) -> bool {
        let adopted = self.0.cluster.marks.read(|marks| marks.adopted);
        view.slot(partition).may_give(self.who().node, adopted)
    }

    /// A page of the objects that a node is to have, or of their digests.
    pub(in crate::node) async fn page(
        &self,
        view: &View,
        to: NodeId,
        partition: PartitionId,
        after: Option<Place>,
        whole: bool,
    ) -> Tell {
        if !self.may_give(view, partition) {
            return Tell::Refused(Why::NotYet);
        }
        let after = match after.as_ref().map(Place::get) {
            Some(None) => return Tell::Refused(Why::NotYet),
            Some(Some(after)) => Some(after),
            None => None,
        };
        let (me, slot) = (self.who().node, view.slot(partition));
        let given = view.state.buckets.values().filter(|bucket| slot.gives(me, to, bucket.numbers));
        let walk = Walk { partition, buckets: given.map(|bucket| bucket.id).collect(), after };
        let node = self.clone();
        let page = worker::block("reading a page of a partition", move || {
            node.wait_for_all_of_it()?;
            if whole { node.objects(&walk) } else { node.digests(&walk) }
        });
        page.await.unwrap_or(Tell::Refused(Why::NotYet))
    }

    fn objects(&self, walk: &Walk) -> Result<Tell, DoorError> {
        let (mut objects, mut bytes) = (Vec::new(), 0);
        let more = walk.visit(self, &mut |place, object| {
            let sealed = Sealed::of(place, &object);
            let full = objects.len() >= HANDOFF_PAGE_OBJECTS || bytes + sealed.len() > HANDOFF_PAGE_BYTES;
            if full && !objects.is_empty() {
                return ControlFlow::Break(());
            }
            bytes += sealed.len() + place.as_bytes().len();
            objects.push((Place::from(place), sealed));
            ControlFlow::Continue(())
        })?;
        Ok(Tell::Objects { objects, more })
    }

    fn digests(&self, walk: &Walk) -> Result<Tell, DoorError> {
        let mut digests = Vec::new();
        let more = walk.visit(self, &mut |place, object| {
            if digests.len() >= HANDOFF_PAGE_OBJECTS {
                return ControlFlow::Break(());
            }
            digests.push((Place::from(place), object.fingerprint()));
            ControlFlow::Continue(())
        })?;
        Ok(Tell::Digests { digests, more })
    }

    /// Certain objects of a slot.
    pub(in crate::node) fn these(&self, view: &View, partition: PartitionId, places: &[Place]) -> Tell {
        if !self.may_give(view, partition) || places.len() > HANDOFF_PAGE_OBJECTS {
            return Tell::Refused(Why::NotYet);
        }
        let (mut objects, mut bytes, mut more) = (Vec::new(), 0, false);
        for place in places {
            let Ok((key, object)) = self.held(place) else { return Tell::Refused(Why::NotYet) };
            let Some(object) = object else { continue };
            let sealed = Sealed::of(&key, &object);
            if !objects.is_empty() && bytes + sealed.len() > HANDOFF_PAGE_BYTES {
                more = true;
                break;
            }
            bytes += sealed.len();
            objects.push((place.clone(), sealed));
        }
        Tell::Objects { objects, more }
    }
}

impl Walk {
    /// Visits the objects in order until `visit` breaks; whether it did, so that more are there.
    pub(in crate::node) fn visit(
        &self,
        node: &Node,
        visit: &mut dyn FnMut(&IndexKey, Object) -> ControlFlow<()>,
    ) -> Result<bool, DoorError> {
        let mut broke = false;
        let first = self.after.as_ref().map_or(BucketId(0), IndexKey::bucket);
        for bucket in self.buckets.range(first..) {
            let behind = self.after.as_ref().filter(|after| after.bucket() == *bucket);
            let from = behind.map_or(Bound::Unbounded, |after| Bound::Excluded(after.user_key()));
            node.0.store.scan(self.partition, *bucket, from, &mut |place, object| {
                let flow = visit(place, object);
                broke = flow.is_break();
                flow
            })?;
            if broke {
                break;
            }
        }
        Ok(broke)
    }
}
