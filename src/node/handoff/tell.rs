//! What an owner missed, told to it when it is back: the keys that are known, and what differs in partitions of which only
//! that is known.

use std::collections::BTreeMap;
use std::ops::ControlFlow;
use std::time::Duration;

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
use crate::proto::message::Why;

/// After a delivery of which something was not taken: it will hardly be taken a moment later.
const AGAIN: Duration = Duration::from_secs(5);

/// What became of a delivery. In order: the worst of several counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(in crate::node) enum Told {
    /// It is there now.
    All,
    /// Not all of it was taken, and the node is there: others may be taken.
    Some,
    /// The node does not answer.
    Silent,
}

/// Tells a node all that it missed, or up to where it is silent again. What it does not take waits, and keeps nothing
/// else from it.
pub(super) async fn run(node: Node, to: NodeId) {
    let hints = &node.0.cluster.hints;
    let mut left = Vec::new();
    let mut told = Told::All;
    while told != Told::Silent
        && let Some(due) = hints.take(to, HINTS_AT_ONCE)
    {
        told = match due {
            Due::Keys(_, places) => {
                let (told, not_taken) = tell_keys(&node, to, places).await;
                left.extend(not_taken.into_iter().map(Left::Key));
                told
            }
            Due::Whole(partition) => {
                let told = compare(&node, to, partition).await;
                if told != Told::All {
                    left.push(Left::Whole(partition));
                }
                told
            }
        };
    }
    let waits = !left.is_empty();
    for left in left {
        match left {
            Left::Key(place) => node.missed(to, &place),
            Left::Whole(partition) => hints.miss_all(to, partition),
        }
    }
    let _noted_by_the_keeper = hints.settle(to);
    if waits && told != Told::Silent {
        tokio::time::sleep(AGAIN).await;
    }
}

/// What was not taken.
enum Left {
    Key(IndexKey),
    Whole(PartitionId),
}

/// With those that were not taken.
async fn tell_keys(node: &Node, to: NodeId, places: Vec<IndexKey>) -> (Told, Vec<IndexKey>) {
    let told = join_all(places.iter().map(|place| tell_key(node, to, place))).await;
    let worst = told.iter().map(|(told, _)| *told).max().unwrap_or(Told::All);
    let left =
        places.into_iter().zip(told).filter(|(_, (told, _))| *told != Told::All).map(|(place, _)| place).collect();
    (worst, left)
}

/// Has a node merge what is durable here; with the bytes that were sent.
pub(in crate::node) async fn tell_key(node: &Node, to: NodeId, place: &IndexKey) -> (Told, u64) {
    let view = node.view();
    let Some(known) = view.bucket(place.bucket()) else { return (Told::All, 0) };
    if !view.slot(place.partition()).is_owner(to, known.numbers) {
        return (Told::All, 0);
    }
    let (store, floor) = (&node.0.store, node.0.store.floor(place.partition()));
    // What is damaged or given up here is not ours to tell.
    let Ok(Some(object)) = store.read(place) else {
        let is_on_its_way = store.newest(place).is_ok_and(|newest| newest.is_some());
        return (if is_on_its_way { Told::Some } else { Told::All }, 0);
    };
    // What was missed may be on its way to the disk still.
    let all_of_it = store.newest(place).is_ok_and(|newest| newest.as_ref() == Some(&object));
    let sealed = Sealed::of(place, &object);
    let bytes = sealed.len() as u64;
    let ask = Ask::Merge { place: Place::from(place), object: sealed, round: 0 };
    let body = node.question_at(&view, place.partition(), floor, time::millis(ANSWER_BUDGET), ask);
    let told = match node.ask(to, Lane::Bulk, body, ANSWER_BUDGET).await {
        Ok(Answer { tell: Tell::Held { .. }, .. }) if all_of_it => Told::All,
        Ok(Answer { tell: Tell::Refused(Why::BelowFloor), floor, .. }) => {
            store.raise_floor(place.partition(), floor);
            Told::Some
        }
        Ok(_) => Told::Some,
        Err(_) => Told::Silent,
    };
    (told, bytes)
}

/// Brings whatever differs in a partition to a node.
async fn compare(node: &Node, to: NodeId, partition: PartitionId) -> Told {
    let Some(theirs) = digests_of(node, to, partition).await else { return Told::Silent };
    let (mut after, mut told) = (None, Told::All);
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
        let Ok(page) = page.await else { return Told::Some };
        let Some((last, _)) = page.last().cloned() else { return told };
        let differing: Vec<IndexKey> =
            page.into_iter().filter(|(place, mine)| theirs.get(place) != Some(mine)).map(|(place, _)| place).collect();
        for some in differing.chunks(HINTS_AT_ONCE) {
            told = told.max(tell_keys(node, to, some.to_vec()).await.0);
            if told == Told::Silent {
                return told;
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
            | Tell::Rows { .. }
            | Tell::Roots(_)
            | Tell::Leaves(_)
            | Tell::Remembered(_)
            | Tell::Agreed(_)
            | Tell::Removed
            | Tell::Diagnosis(_) => return None,
        }
    }
}
