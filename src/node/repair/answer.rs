//! This node as the other owner of a comparison: what it holds of what both own, in short.

use std::ops::ControlFlow;

use crate::base::id::NodeId;
use crate::base::id::PartitionId;
use crate::base::limits::HANDOFF_PAGE_OBJECTS;
use crate::base::limits::PARTITIONS;
use crate::node::Node;
use crate::node::cluster::View;
use crate::node::error::DoorError;
use crate::node::handoff::give::Walk;
use crate::node::repair::shared_buckets;
use crate::node::worker;
use crate::proto::exchange::Root;
use crate::proto::key::IndexKey;
use crate::proto::merkle::Leaves;
use crate::proto::merkle::Tree;
use crate::proto::message::Place;
use crate::proto::message::Tell;
use crate::proto::message::Why;

/// A page of fingerprints; with its last place where more may follow.
pub(super) type Page = (Vec<(IndexKey, u64)>, Option<IndexKey>);

impl Node {
    pub(in crate::node) fn tell_roots(&self, view: &View, to: NodeId, slots: &[(PartitionId, u64)]) -> Tell {
        if slots.len() > PARTITIONS {
            return Tell::Refused(Why::NotYet);
        }
        let root = |(partition, epoch): &(PartitionId, u64)| -> Option<Root> {
            self.root(view, to, *partition).filter(|_| view.slot(*partition).epoch == *epoch)
        };
        Tell::Roots(slots.iter().map(root).collect())
    }

    pub(in crate::node) async fn tell_leaves(&self, view: &View, to: NodeId, partition: PartitionId) -> Tell {
        match self.tree_of(view, to, partition).await {
            Some(tree) => Tell::Leaves(tree.leaves().to_vec()),
            None => Tell::Refused(Why::NotYet),
        }
    }

    pub(in crate::node) async fn tell_page_of_leaves(
        &self,
        view: &View,
        to: NodeId,
        partition: PartitionId,
        leaves: Leaves,
        after: Option<Place>,
    ) -> Tell {
        let after = match after.as_ref().map(Place::get) {
            Some(None) => return Tell::Refused(Why::NotYet),
            Some(Some(after)) => Some(after),
            None => None,
        };
        match self.page_of_leaves(view, to, partition, leaves, after, None).await {
            Some((digests, last)) => {
                let digests = digests.iter().map(|(place, digest)| (Place::from(place), *digest)).collect();
                Tell::Digests { digests, more: last.is_some() }
            }
            None => Tell::Refused(Why::NotYet),
        }
    }

    /// What is newest at these places. What is not durable yet is no more than a reason to wait.
    pub(in crate::node) fn tell_digests_of(&self, view: &View, partition: PartitionId, places: Vec<Place>) -> Tell {
        if !self.may_give(view, partition) || places.len() > HANDOFF_PAGE_OBJECTS {
            return Tell::Refused(Why::NotYet);
        }
        let mut digests = Vec::new();
        for place in places {
            let Some(key) = place.get() else { return Tell::Refused(Why::NotYet) };
            let Ok(newest) = self.0.store.newest(&key) else { return Tell::Refused(Why::NotYet) };
            digests.extend(newest.map(|object| (place, object.fingerprint())));
        }
        Tell::Digests { digests, more: false }
    }

    fn walk(&self, view: &View, other: NodeId, partition: PartitionId, after: Option<IndexKey>) -> Option<Walk> {
        let buckets = shared_buckets(view, self.who().node, other, partition);
        self.may_give(view, partition).then_some(Walk { partition, buckets, after })
    }

    /// The tree of what this node and another one both own of a partition, as it is now; none where it cannot be read, or
    /// this node is no source of it.
    pub(super) async fn tree_of(&self, view: &View, other: NodeId, partition: PartitionId) -> Option<Tree> {
        let (walk, node) = (self.walk(view, other, partition, None)?, self.clone());
        let tree = worker::block("making a partition's tree", move || {
            node.wait_for_all_of_it()?;
            let mut tree = Tree::default();
            walk.visit(&node, &mut |place, object| {
                tree.add(place.as_bytes(), object.fingerprint());
                ControlFlow::Continue(())
            })?;
            Ok(tree)
        });
        tree.await.ok()
    }

    /// The fingerprints in some leaves behind a place: up to `until` where that is given, else a page of them.
    pub(super) async fn page_of_leaves(
        &self,
        view: &View,
        other: NodeId,
        partition: PartitionId,
        leaves: Leaves,
        after: Option<IndexKey>,
        until: Option<Option<IndexKey>>,
    ) -> Option<Page> {
        let (walk, node) = (self.walk(view, other, partition, after)?, self.clone());
        let page = worker::block("reading a page of a partition's leaves", move || -> Result<Page, DoorError> {
            node.wait_for_all_of_it()?;
            let (mut digests, mut last): (Vec<(IndexKey, u64)>, _) = (Vec::new(), None);
            walk.visit(&node, &mut |place, object| {
                let is_behind = until.as_ref().is_some_and(|end| end.as_ref().is_some_and(|end| place > end));
                let is_full = until.is_none() && digests.len() >= HANDOFF_PAGE_OBJECTS;
                if is_behind || is_full {
                    last = digests.last().map(|(place, _)| place.clone());
                    return ControlFlow::Break(());
                }
                if leaves.has(place.as_bytes()) {
                    digests.push((place.clone(), object.fingerprint()));
                }
                ControlFlow::Continue(())
            })?;
            Ok((digests, last))
        });
        page.await.ok()
    }
}
