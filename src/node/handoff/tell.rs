//! What an owner missed, told to it when it is back: the keys that are known, and what differs in partitions of which only
//! that is known.

use std::collections::BTreeMap;
use std::ops::ControlFlow;

use futures_util::future::join_all;

use crate::base::id::NodeId;
use crate::base::id::PartitionId;
use crate::base::limits::ANSWER_BUDGET;
use crate::base::limits::HANDOFF_PAGE_OBJECTS;
use crate::base::limits::HINTS_AT_ONCE;
use crate::base::time;
use crate::node::Node;
use crate::node::cluster::Lane;
use crate::node::hints::Due;
use crate::node::worker;
use crate::proto::key::IndexKey;
use crate::proto::message::Answer;
use crate::proto::message::Ask;
use crate::proto::message::Place;
use crate::proto::message::Sealed;
use crate::proto::message::Tell;

/// Tells a node all that it missed, or up to where it is silent again.
pub(super) async fn run(node: Node, to: NodeId) {
    let hints = &node.0.cluster.hints;
    while let Some(due) = hints.take(to, HINTS_AT_ONCE) {
        let told = match &due {
            Due::Keys(_, places) => tell_keys(&node, to, places).await,
            Due::Whole(partition) => compare(&node, to, *partition).await,
        };
        if !told {
            match due {
                Due::Keys(_, places) => places.iter().for_each(|place| node.missed(to, place)),
                Due::Whole(partition) => hints.miss_all(to, partition),
            }
            return;
        }
    }
    let _noted_by_the_keeper = hints.settle(to);
}

/// Whether all of them are there now.
async fn tell_keys(node: &Node, to: NodeId, places: &[IndexKey]) -> bool {
    join_all(places.iter().map(|place| tell_key(node, to, place))).await.into_iter().all(|told| told)
}

async fn tell_key(node: &Node, to: NodeId, place: &IndexKey) -> bool {
    let view = node.view();
    let Some(known) = view.bucket(place.bucket()) else { return true };
    if !view.slot(place.partition()).is_owner(to, known.numbers) {
        return true;
    }
    // What is damaged or given up here is not ours to tell.
    let Ok(Some(object)) = node.0.store.read(place) else { return true };
    let ask = Ask::Merge { place: Place::from(place), object: Sealed::of(place, &object), round: 0 };
    let body = node.question(&view, place.partition(), time::millis(ANSWER_BUDGET), ask);
    let answer = node.ask(to, Lane::Bulk, body, ANSWER_BUDGET).await;
    matches!(answer, Ok(Answer { tell: Tell::Held { .. }, .. }))
}

/// Brings whatever differs in a partition to a node. Whether all of it is there now.
async fn compare(node: &Node, to: NodeId, partition: PartitionId) -> bool {
    let Some(theirs) = digests_of(node, to, partition).await else { return false };
    let mut after = None;
    loop {
        let (reader, from) = (node.clone(), after.clone());
        let page = worker::block("comparing a partition", move || {
            reader.wait_for_all_of_it()?;
            let mut page = Vec::new();
            reader.0.store.scan_partition(partition, from.as_ref(), &mut |place, object| {
                page.push((place.clone(), object.fingerprint()));
                if page.len() < HANDOFF_PAGE_OBJECTS { ControlFlow::Continue(()) } else { ControlFlow::Break(()) }
            })?;
            Ok(page)
        });
        let Ok(page) = page.await else { return false };
        let Some((last, _)) = page.last().cloned() else { return true };
        let differing: Vec<IndexKey> =
            page.into_iter().filter(|(place, mine)| theirs.get(place) != Some(mine)).map(|(place, _)| place).collect();
        for some in differing.chunks(HINTS_AT_ONCE) {
            if !tell_keys(node, to, some).await {
                return false;
            }
        }
        after = Some(last);
    }
}

/// What a node holds of a partition, in short; nothing where it may not say yet: then all is told.
async fn digests_of(node: &Node, to: NodeId, partition: PartitionId) -> Option<BTreeMap<IndexKey, u64>> {
    let (mut all, mut after) = (BTreeMap::new(), None);
    loop {
        let ask = Ask::PageOfDigests { partition, after: after.as_ref().map(Place::from) };
        let body = node.question(&node.view(), partition, time::millis(ANSWER_BUDGET), ask);
        match node.ask(to, Lane::Bulk, body, ANSWER_BUDGET).await.ok()?.tell {
            Tell::Digests { digests, more } => {
                after = digests.last().and_then(|(place, _)| place.get());
                all.extend(digests.into_iter().filter_map(|(place, digest)| Some((place.get()?, digest))));
                if !more || after.is_none() {
                    return Some(all);
                }
            }
            Tell::Refused(_) => return Some(BTreeMap::new()),
            Tell::Held { .. }
            | Tell::Digest(_)
            | Tell::Object(_)
            | Tell::Received
            | Tell::Objects { .. }
            | Tell::Where(_)
            | Tell::Rows { .. } => return None,
        }
    }
}
