//! What the badge says, and why not more.

use std::collections::BTreeMap;
use std::collections::BTreeSet;

use crate::base::id::NodeId;
use crate::base::id::PartitionId;
use crate::proto::ring::layout::Candidate;
use crate::proto::ring::layout::Layout;
use crate::proto::ring::layout::List;
use crate::proto::ring::layout::Next;
use crate::proto::ring::numbers::BucketNumbers;
use crate::proto::ring::numbers::Numbers;
use crate::proto::ring::survives::Margins;
use crate::proto::ring::survives::Part;
use crate::proto::ring::survives::survives;

fn numbers(n: u8, r: u8, w: u8) -> BucketNumbers {
    Numbers { n, r, w }.into()
}

fn nodes(ids: &[u64]) -> Vec<NodeId> {
    ids.iter().copied().map(NodeId).collect()
}

fn list(since: u64, owners: &[u64], synced: &[u64]) -> List {
    List { synced: nodes(synced), ..List::new(since, nodes(owners)) }
}

/// Six nodes, two in each of three zones, and these lists at rest.
fn layout(owners: &[u64]) -> Layout {
    let candidate = |id: u64| Candidate { zone: format!("z{}", id % 3), weight: 1 };
    let mut layout = Layout::first(NodeId(1), candidate(1));
    layout.nodes = (1..=6).map(|id| (NodeId(id), candidate(id))).collect::<BTreeMap<_, _>>();
    let mut synced = owners.to_vec();
    synced.sort_unstable();
    for partition in PartitionId::all() {
        layout.slots.at_mut(partition).now = list(2, owners, &synced);
    }
    layout
}

fn strict(layout: &Layout, live: &[u64], numbers: &[BucketNumbers]) -> Margins {
    survives(layout, &nodes(live).into_iter().collect::<BTreeSet<_>>(), numbers).strict.unwrap()
}

fn left(margins: Margins) -> (Option<usize>, Option<usize>) {
    (margins.machines.left, margins.zones.left)
}

const ALL: [u64; 6] = [1, 2, 3, 4, 5, 6];

#[test]
fn it_is_what_is_left_over_of_the_larger_quorum() {
    let six = layout(&[1, 2, 3, 4, 5, 6]);
    for (bucket, machines, zones) in [
        (numbers(3, 2, 2), 1, 1),
        (numbers(3, 1, 3), 0, 0),
        (numbers(5, 3, 3), 2, 1),
        (numbers(6, 3, 4), 2, 1),
        (numbers(6, 4, 3), 2, 1),
        // Shorter than nine: the majority of six.
        (numbers(9, 5, 5), 2, 1),
    ] {
        assert_eq!(left(strict(&six, &ALL, &[bucket])), (Some(machines), Some(zones)), "{bucket:?}");
    }
    assert_eq!(left(strict(&layout(&[1]), &ALL, &[])), (Some(0), Some(0)));
    // Two of three in one zone: any machine, no zone.
    assert_eq!(left(strict(&layout(&[1, 4, 2]), &ALL, &[])), (Some(1), Some(0)));
}

#[test]
fn the_dead_and_those_who_are_not_synced_do_not_count() {
    let mut six = layout(&[1, 2, 3, 4, 5, 6]);
    assert_eq!(left(strict(&six, &[2, 3, 4, 5, 6], &[])), (Some(0), Some(0)));
    let none = strict(&six, &[3, 4, 5, 6], &[]);
    assert_eq!((left(none), none.machines.cause.owners, none.machines.cause.need), ((None, None), 1, 2));
    six.slots.at_mut(PartitionId(9)).now.synced = nodes(&[1, 3, 4, 5, 6]);
    let cause = strict(&six, &ALL, &[]).machines.cause;
    assert_eq!((cause.partition, cause.bucket, cause.list), (PartitionId(9), 0, Part::Read));
}

#[test]
fn both_lists_of_a_transition_count_and_the_cause_has_a_name() {
    let mut six = layout(&[1, 2, 3]);
    let buckets = [numbers(2, 2, 1), numbers(3, 2, 2), numbers(3, 2, 2)];
    let slot = six.slots.at_mut(PartitionId(200));
    slot.next = Some(Next { list: list(7, &[4, 5, 6], &[]), reads: None });
    assert_eq!(
        left(strict(&six, &ALL, &buckets[1..])),
        (Some(1), Some(1)),
        "nobody is synced there and nobody need be"
    );
    let cause = strict(&six, &[1, 2, 3, 4, 5], &buckets[1..]).machines.cause;
    assert_eq!((cause.partition, cause.bucket, cause.list), (PartitionId(200), 0, Part::Written));
    six.slots.at_mut(PartitionId(200)).next = Some(Next { list: list(7, &[4, 5, 6], &[4, 5]), reads: Some(8) });
    let least = strict(&six, &ALL, &buckets[1..]).machines;
    assert_eq!((least.left, least.cause.partition, least.cause.list), (Some(0), PartitionId(200), Part::Read));
    let least = strict(&six, &ALL, &buckets).machines;
    assert_eq!((least.left, least.cause.partition, least.cause.bucket), (Some(0), PartitionId(0), 0));
}

#[test]
fn weak_buckets_are_apart() {
    let buckets = [numbers(3, 1, 1), numbers(3, 2, 2)];
    let six = layout(&[1, 2, 3]);
    let both = survives(&six, &nodes(&ALL).into_iter().collect(), &buckets);
    let (strict, weak) = (both.strict.unwrap(), both.weak.unwrap());
    assert_eq!((left(strict), left(weak)), ((Some(1), Some(1)), (Some(2), Some(2))));
    assert_eq!((strict.machines.cause.bucket, weak.machines.cause.bucket), (1, 0));
    let none = survives(&six, &nodes(&ALL).into_iter().collect(), &buckets[..1]);
    assert!(none.strict.is_none() && none.weak.is_some());
}
