//! A slot of a node that lost what it had, before it is merged: what it still holds may be deleted and purged by now.

use std::collections::BTreeSet;
use std::ops::ControlFlow;

use crate::base::id::BucketId;
use crate::base::id::PartitionId;
use crate::node::Node;
use crate::node::cluster::View;
use crate::node::error::DoorError;
use crate::node::handoff::give_up;
use crate::node::worker;
use crate::proto::key::IndexKey;

/// Where others have purged what this node knows nothing of, as their floor tells, what it holds goes, once, durably. Not what
/// nobody else may have: a deleted value may come back where a bucket lets one owner ack alone, but no acked one is given up.
///
/// # Errors
/// Of the store; it is to be called again before anything is merged.
pub(super) async fn begin(node: &Node, view: &View, partition: PartitionId, floor: u64) -> Result<(), DoorError> {
    let known = node.0.cluster.marks.read(|marks| marks.floors.get(&partition).copied().unwrap_or(0));
    if known >= floor {
        return Ok(());
    }
    let (slot, me) = (view.slot(partition), node.who().node);
    let buckets = view.state.buckets.values().filter(|bucket| slot.is_elsewhere(me, bucket.numbers));
    let (looker, buckets) = (node.clone(), buckets.map(|bucket| bucket.id).collect());
    let held = worker::block("looking what may be deleted", move || places_in(&looker, partition, &buckets)).await?;
    if !held.is_empty() {
        tracing::info!(%partition, keys = held.len(), "others have purged since what was deleted; all is brought anew");
    }
    for place in held {
        give_up(node, &place, || true).await?;
    }
    node.0.store.raise_floor(partition, floor);
    let noted = node.change_marks(move |marks| {
        marks.floors.insert(partition, floor);
    });
    noted.await
}

/// Everything that is here of a partition's buckets, whole or damaged.
fn places_in(node: &Node, partition: PartitionId, buckets: &BTreeSet<BucketId>) -> Result<Vec<IndexKey>, DoorError> {
    node.wait_for_all_of_it()?;
    let mut places = Vec::new();
    node.0.store.scan_raw(partition, &mut |place, _| {
        places.extend(IndexKey::parse(place).filter(|place| buckets.contains(&place.bucket())));
        ControlFlow::Continue(())
    })?;
    Ok(places)
}
