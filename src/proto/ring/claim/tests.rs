//! What a claim holds to, over random clusters and their changes.

use std::collections::BTreeMap;
use std::collections::BTreeSet;

use proptest::prelude::prop;
use proptest::prop_assert;
use proptest::prop_assert_eq;
use proptest::proptest;
use proptest::strategy::Strategy;
use proptest::test_runner::Config;

use crate::base::id::NodeId;
use crate::base::limits::PARTITIONS;
use crate::proto::ring::claim::claim;
use crate::proto::ring::layout::Candidate;

type Nodes = BTreeMap<NodeId, Candidate>;
type Lists = Vec<Vec<NodeId>>;

fn nodes(given: &[(u64, u64, u32)]) -> Nodes {
    let candidate = |&(id, zone, weight)| (NodeId(id), Candidate { zone: format!("z{zone}"), weight });
    given.iter().map(candidate).collect()
}

/// So many of equal weight, each its own zone.
fn equal(ids: impl Iterator<Item = u64>) -> Nodes {
    nodes(&ids.map(|id| (id, id, 1)).collect::<Vec<_>>())
}

fn again(nodes: &Nodes, before: &Lists) -> Lists {
    claim(nodes, &before.iter().map(Vec::as_slice).collect::<Vec<_>>())
}

fn counts(lists: &Lists, len: usize) -> BTreeMap<NodeId, usize> {
    let mut counts = BTreeMap::new();
    for node in lists.iter().flat_map(|list| list.iter().take(len)) {
        *counts.entry(*node).or_default() += 1;
    }
    counts
}

/// Memberships of the first `len` that were not there before.
fn moved(before: &Lists, after: &Lists, len: usize) -> usize {
    let new = |(before, after): (&Vec<NodeId>, &Vec<NodeId>)| {
        let old: BTreeSet<_> = before.iter().take(len).collect();
        after.iter().take(len).filter(|node| !old.contains(node)).count()
    };
    before.iter().zip(after).map(new).sum()
}

/// Owners of a zone among the first `len`: as few as possible in the fullest, and where that leaves a choice as many as
/// possible in the emptiest that has more nodes.
fn assert_apart(nodes: &Nodes, lists: &Lists) {
    let mut sizes = BTreeMap::<&str, usize>::new();
    for candidate in nodes.values().filter(|candidate| candidate.weight > 0) {
        *sizes.entry(&candidate.zone).or_default() += 1;
    }
    for list in lists {
        let mut has: BTreeMap<&str, usize> = sizes.keys().map(|zone| (*zone, 0)).collect();
        for node in list {
            *has.get_mut(nodes[node].zone.as_str()).unwrap() += 1;
            let fullest = *has.values().max().unwrap();
            for (zone, count) in &has {
                assert!(count + 1 >= fullest || *count == sizes[zone], "{list:?}: {has:?}");
            }
        }
    }
}

fn assert_whole(nodes: &Nodes, lists: &Lists) {
    let owning: BTreeSet<_> = nodes.iter().filter(|(_, node)| node.weight > 0).map(|(id, _)| *id).collect();
    assert_eq!(lists.len(), PARTITIONS);
    for list in lists {
        let distinct: BTreeSet<_> = list.iter().copied().collect();
        assert_eq!((list.len(), distinct.len()), (owning.len().min(9), list.len()));
        assert!(distinct.is_subset(&owning));
    }
}

#[test]
fn one_two_and_three_own_everything() {
    assert_eq!(claim(&Nodes::new(), &[]), vec![Vec::new(); PARTITIONS]);
    assert_eq!(claim(&nodes(&[(1, 0, 5), (2, 0, 0)]), &[]), vec![vec![NodeId(1)]; PARTITIONS]);
    for len in 2..=3_u64 {
        let nodes = equal(1..=len);
        let lists = claim(&nodes, &[]);
        assert_whole(&nodes, &lists);
        let ideal = PARTITIONS / usize::try_from(len).unwrap();
        assert!(counts(&lists, 1).values().all(|count| (ideal..=ideal + 1).contains(count)), "primaries");
    }
}

#[test]
fn every_prefix_of_an_equal_cluster_is_even() {
    for len in 1..=12_u64 {
        let nodes = equal(1..=len);
        let lists = claim(&nodes, &[]);
        for prefix in 1..=9.min(nodes.len()) {
            let counts = counts(&lists, prefix);
            let (least, most) = (counts.values().min().unwrap(), counts.values().max().unwrap());
            assert!(counts.len() == nodes.len() && most - least <= 2, "{len} nodes, first {prefix}: {counts:?}");
        }
    }
}

#[test]
fn a_cluster_that_grows_and_shrinks_moves_no_more_than_it_must() {
    let mut lists = claim(&equal(1..=1), &[]);
    for len in 2..=12_u64 {
        let after = again(&equal(1..=len), &lists);
        let (count, len) = (moved(&lists, &after, 3), usize::try_from(len).unwrap());
        let first = 3.min(len);
        let fair = (PARTITIONS * first).div_ceil(len);
        assert!(count <= fair, "the {len}th moved {count}, its share is {fair}");
        lists = after;
    }
    for gone in 1..=8_u64 {
        let after = again(&equal(gone + 1..=12), &lists);
        let own = lists.iter().filter(|list| list.iter().take(3).any(|node| *node == NodeId(gone))).count();
        assert_eq!(moved(&lists, &after, 3), own, "{gone} takes only what it had");
        lists = after;
    }
}

#[test]
fn what_stays_the_same_moves_nothing_at_all() {
    let nodes = nodes(&[(1, 0, 3), (2, 0, 2), (3, 1, 2), (4, 1, 1), (5, 2, 4), (6, 2, 1), (7, 2, 2)]);
    let lists = claim(&nodes, &[]);
    assert_eq!(again(&nodes, &lists), lists);
}

#[test]
fn a_replaced_node_hands_its_places_to_the_new_one() {
    let mut nodes = equal(1..=6);
    let lists = claim(&nodes, &[]);
    let own = counts(&lists, 3)[&NodeId(4)];
    nodes.remove(&NodeId(4));
    nodes.insert(NodeId(7), Candidate { zone: "z4".to_owned(), weight: 1 });
    assert_eq!(moved(&lists, &again(&nodes, &lists), 3), own);
}

fn cluster() -> impl Strategy<Value = Vec<(u64, u64, u32)>> {
    (1..=5_u64).prop_flat_map(|zones| prop::collection::vec((0..zones, 0..=4_u32), 1..=12)).prop_map(|given| {
        let node = |(id, (zone, weight)): (usize, (u64, u32))| (u64::try_from(id).unwrap() + 1, zone, weight);
        given.into_iter().enumerate().map(node).collect()
    })
}

proptest! {
    #![proptest_config(Config { cases: 48, ..Config::default() })]

    #[test]
    fn lists_are_whole_and_their_zones_apart_whatever_was_before(from in cluster(), to in cluster()) {
        let (from, to) = (nodes(&from), nodes(&to));
        let before = claim(&from, &[]);
        assert_whole(&from, &before);
        assert_apart(&from, &before);
        let after = again(&to, &before);
        assert_whole(&to, &after);
        assert_apart(&to, &after);
        prop_assert_eq!(&again(&to, &before), &after);
        // Half of them to begin with: a change that was stopped.
        let half: Lists = before.iter().zip(&after).enumerate().map(|(slot, (old, new))| {
            if slot % 2 == 0 { old.clone() } else { new.clone() }
        }).collect();
        assert_apart(&to, &again(&to, &half));
    }

    #[test]
    fn the_first_three_follow_the_weights(weights in prop::collection::vec(1..=5_u32, 3..=12), one_zone: bool) {
        let given: Vec<_> = weights.iter().zip(1..).map(|(&weight, id)| (id, if one_zone { 0 } else { id }, weight)).collect();
        let nodes = nodes(&given);
        let lists = claim(&nodes, &[]);
        let counts = counts(&lists, 3);
        let all: u32 = weights.iter().sum();
        if weights.iter().all(|weight| 3 * weight <= all) {
            for (&(id, _, weight), ideal) in given.iter().map(|node| (node, 768 * node.2 / all)) {
                let count = u32::try_from(counts[&NodeId(id)]).unwrap();
                prop_assert!(count.abs_diff(ideal) <= 2, "{} of weight {} has {}, not {}", id, weight, count, ideal);
            }
        }
    }

    #[test]
    fn one_that_joins_or_leaves_moves_little(given in cluster(), zone in 0..5_u64, weight in 1..=4_u32) {
        let before = nodes(&given);
        let lists = claim(&before, &[]);
        let mut grown = before.clone();
        grown.insert(NodeId(99), Candidate { zone: format!("z{zone}"), weight });
        let joined = again(&grown, &lists);
        let (own, lost) = (counts(&joined, 3).get(&NodeId(99)).copied().unwrap_or_default(), moved(&lists, &joined, 3));
        let zones = |nodes: &Nodes| {
            nodes.values().filter(|node| node.weight > 0).map(|node| node.zone.clone()).collect::<BTreeSet<_>>().len()
        };
        let owning = before.values().filter(|node| node.weight > 0).count();
        // A zone that is new where there were less than three changes how many each may have.
        if owning >= 3 && (zones(&grown) == zones(&before) || zones(&before) >= 3) && zones(&grown) != 2 {
            prop_assert!(lost <= own + own / 4 + 4, "{} got {} and {} moved", 99, own, lost);
            let left = again(&before, &joined);
            let back = moved(&joined, &left, 3);
            prop_assert!(back <= own + own / 4 + 4, "{} had {} and {} moved back", 99, own, back);
        }
    }
}
