//! How owners change, step by step.

use std::collections::BTreeMap;
use std::collections::BTreeSet;

use crate::base::id::NodeId;
use crate::base::id::PartitionId;
use crate::base::limits::PARTITIONS;
use crate::proto::ring::layout::Candidate;
use crate::proto::ring::layout::Layout;
use crate::proto::ring::layout::Slot;
use crate::proto::ring::numbers::BucketNumbers;
use crate::proto::ring::numbers::Numbers;
use crate::proto::ring::plan::Plan;
use crate::proto::ring::transition::Refused;

/// The partition that is looked at: all are treated alike.
const P: PartitionId = PartitionId(7);

fn nodes(ids: &[u64]) -> Vec<NodeId> {
    ids.iter().copied().map(NodeId).collect()
}

fn candidate(id: u64) -> Candidate {
    Candidate { zone: format!("z{id}"), weight: 1 }
}

fn first() -> Layout {
    Layout::first(NodeId(1), candidate(1))
}

/// A plan that gives these owners to every partition.
fn plan(layout: &Layout, owners: &[u64]) -> Plan {
    let candidates: BTreeMap<_, _> = owners.iter().map(|&id| (NodeId(id), candidate(id))).collect();
    Plan { base: layout.planned, nodes: candidates, lists: vec![nodes(owners); PARTITIONS] }
}

fn numbers(n: u8, r: u8, w: u8) -> BucketNumbers {
    Numbers { n, r, w }.into()
}

/// Nodes say that they know the present version.
fn adopt(layout: &mut Layout, ids: &[u64], numbers: &[BucketNumbers]) {
    let version = layout.version;
    for id in ids {
        layout.report(NodeId(*id), version, &[], numbers);
    }
}

/// A node is synced in the target of every slot.
fn sync(layout: &mut Layout, id: u64, numbers: &[BucketNumbers]) {
    let synced: Vec<_> = layout.slots().map(|(partition, slot)| (partition, slot.target().since)).collect();
    let version = layout.version;
    layout.report(NodeId(id), version, &synced, numbers);
}

fn phase(layout: &Layout) -> &'static str {
    match &layout.slot(P).next {
        None => "Rest",
        Some(next) if next.reads.is_some() => "ReadNext",
        Some(_) => "Both",
    }
}

fn counted(slot: &Slot, numbers: BucketNumbers) -> Vec<NodeId> {
    slot.reads(numbers).owners.into_owned()
}

/// A layout at rest with these owners, all synced.
fn rest(owners: &[u64], numbers: &[BucketNumbers]) -> Layout {
    let mut layout = first();
    layout.commit(plan(&layout, owners), numbers).unwrap();
    adopt(&mut layout, &[1], numbers);
    for id in owners {
        sync(&mut layout, *id, numbers);
    }
    adopt(&mut layout, &[1], numbers);
    for id in owners {
        sync(&mut layout, *id, numbers);
    }
    assert!(layout.is_at_rest());
    layout
}

#[test]
fn one_grows_to_three_in_phases() {
    let three = [numbers(3, 2, 2)];
    let mut layout = first();
    layout.commit(plan(&layout, &[1, 2, 3]), &three).unwrap();
    assert_eq!((phase(&layout), layout.version, layout.slot(P).epoch), ("Both", 2, 2));
    assert_eq!(counted(layout.slot(P), three[0]), nodes(&[1]));
    adopt(&mut layout, &[1, 2, 3], &three);
    sync(&mut layout, 2, &three);
    assert_eq!(phase(&layout), "Both", "R is 2");
    sync(&mut layout, 1, &three);
    assert_eq!((phase(&layout), layout.version, layout.slot(P).epoch), ("ReadNext", 3, 3));
    assert_eq!(counted(layout.slot(P), three[0]), nodes(&[1, 2]));
    adopt(&mut layout, &[2, 3], &three);
    assert_eq!(phase(&layout), "ReadNext", "the old owner might still answer by the old list");
    adopt(&mut layout, &[1], &three);
    assert_eq!((phase(&layout), layout.version, layout.slot(P).epoch), ("Rest", 4, 4));
    assert_eq!(layout.slot(P).now.owners, nodes(&[1, 2, 3]));
    // The third may join the reads later.
    sync(&mut layout, 3, &three);
    assert_eq!(counted(layout.slot(P), three[0]), nodes(&[1, 2, 3]));
    assert_eq!((layout.version, layout.is_at_rest()), (4, true));
}

#[test]
fn nothing_is_synced_before_it_adopted_and_nobody_speaks_of_what_is_not_yet() {
    let three = [numbers(3, 2, 2)];
    let mut layout = first();
    layout.commit(plan(&layout, &[1, 2, 3]), &three).unwrap();
    let since = layout.slot(P).target().since;
    let before = layout.clone();
    assert!(!layout.report(NodeId(2), layout.version + 1, &[(P, since)], &three));
    assert!(!layout.report(NodeId(9), layout.version, &[(P, since)], &three), "it is no node of the layout");
    assert!(layout == before);
    layout.report(NodeId(2), since - 1, &[(P, since)], &three);
    layout.report(NodeId(2), since, &[(P, since + 1)], &three);
    assert!(layout.slot(P).target().synced.is_empty());
    layout.report(NodeId(2), since, &[(P, since)], &three);
    assert_eq!(layout.slot(P).target().synced, nodes(&[2]));
}

#[test]
fn a_target_is_replaced_until_it_is_read_and_back_is_a_way_too() {
    let three = [numbers(3, 2, 2)];
    let mut layout = rest(&[1, 2, 3], &three);
    let stale = plan(&layout, &[1, 2, 9]);
    layout.commit(plan(&layout, &[1, 2, 4]), &three).unwrap();
    assert_eq!(layout.commit(stale, &three), Err(Refused::Stale));
    adopt(&mut layout, &[1, 2, 3, 4], &three);
    sync(&mut layout, 4, &three);
    layout.commit(plan(&layout, &[1, 2, 5]), &three).unwrap();
    let slot = layout.slot(P);
    assert!(slot.target().synced.is_empty(), "what 4 merged missed what was acked by 5's list");
    assert_eq!((slot.epoch, slot.target().owners.clone()), (layout.version, nodes(&[1, 2, 5])));
    assert!(layout.leaving.contains_key(&NodeId(3)) && !layout.leaving.contains_key(&NodeId(4)));
    layout.commit(plan(&layout, &[3, 2, 1]), &three).unwrap();
    let slot = layout.slot(P);
    assert_eq!((phase(&layout), slot.epoch), ("Rest", layout.version));
    assert_eq!((slot.now.owners.clone(), slot.now.synced.clone()), (nodes(&[3, 2, 1]), nodes(&[1, 2, 3])));

    layout.commit(plan(&layout, &[1, 2, 4]), &three).unwrap();
    adopt(&mut layout, &[1, 2, 3, 4], &three);
    sync(&mut layout, 4, &three);
    sync(&mut layout, 1, &three);
    assert_eq!(phase(&layout), "ReadNext");
    let before = layout.clone();
    assert_eq!(layout.commit(plan(&layout, &[1, 2, 5]), &three), Err(Refused::Busy(PartitionId(0))));
    assert!(layout == before);
}

#[test]
fn an_order_or_a_tail_that_no_bucket_counts_is_no_transition() {
    let three = [numbers(3, 2, 2)];
    let mut layout = rest(&[1, 2, 3], &three);
    let epoch = layout.slot(P).epoch;
    layout.commit(plan(&layout, &[3, 1, 2, 4]), &three).unwrap();
    assert_eq!((phase(&layout), layout.slot(P).epoch), ("Rest", epoch));
    assert_eq!(layout.slot(P).now.synced, nodes(&[1, 2, 3, 4]));
    // A bucket that counts the fourth makes it one.
    let five = [numbers(3, 2, 2), numbers(5, 3, 3)];
    layout.commit(plan(&layout, &[3, 1, 2, 5]), &five).unwrap();
    assert_eq!(phase(&layout), "Both");
}

#[test]
fn every_bucket_counts_with_its_own_numbers() {
    let buckets = [numbers(3, 2, 2), numbers(5, 3, 3)];
    let mut layout = rest(&[1, 2, 3, 4, 5], &buckets);
    layout.commit(plan(&layout, &[1, 2, 6, 4, 5]), &buckets).unwrap();
    adopt(&mut layout, &[1, 2, 3, 4, 5, 6], &buckets);
    for id in [4, 5, 1] {
        sync(&mut layout, id, &buckets);
    }
    assert_eq!(phase(&layout), "Both", "3 of 5, but of the first three only one");
    sync(&mut layout, 6, &buckets);
    assert_eq!(phase(&layout), "ReadNext");
    // Who can still answer an old read: of 1, 2, 3 less than two, of 1 to 5 less than three.
    adopt(&mut layout, &[1, 2], &buckets);
    assert_eq!(phase(&layout), "ReadNext");
    adopt(&mut layout, &[4], &buckets);
    assert_eq!(phase(&layout), "Rest");
}

#[test]
fn a_source_is_synced_and_enough_of_them_meet_every_write() {
    let buckets = [numbers(3, 2, 2), numbers(5, 2, 4)];
    let mut layout = rest(&[1, 2, 3, 4, 5], &buckets);
    layout.commit(plan(&layout, &[6, 2, 3, 4, 5]), &buckets).unwrap();
    let sources = layout.slot(P).sources(NodeId(6), &buckets);
    assert_eq!(sources.len(), 1);
    assert_eq!((sources[0].since, sources[0].epoch), (layout.version, layout.version));
    let enough = |ids: &[u64]| sources[0].enough(&ids.iter().copied().map(NodeId).collect::<BTreeSet<_>>());
    assert!(enough(&[1, 2]) && enough(&[3, 1]));
    // Of 1, 2, 3 two are needed, of 1 to 5 as many.
    assert!(!enough(&[1, 5]) && !enough(&[4, 5]) && !enough(&[2]) && !enough(&[]));
    // The fourth is concerned by the larger bucket only.
    let sources = layout.slot(P).sources(NodeId(4), &buckets);
    assert!(sources[0].enough(&nodes(&[4, 5]).into_iter().collect()));
    assert_eq!(layout.slot(P).sources(NodeId(1), &buckets), []);
    assert_eq!(sources[0].from(), nodes(&[1, 2, 3, 4, 5]));
}

#[test]
fn an_owner_that_comes_late_merges_one_that_is_synced() {
    let three = [numbers(3, 2, 2)];
    let mut layout = first();
    layout.commit(plan(&layout, &[1, 2, 3]), &three).unwrap();
    let early = layout.slot(P).sources(NodeId(3), &three);
    for id in [1, 2] {
        sync(&mut layout, id, &three);
    }
    adopt(&mut layout, &[1], &three);
    assert_eq!(phase(&layout), "Rest");
    // What it merged before was for this list from the old one; 1 and 2 were not synced in it then.
    let late = layout.slot(P).sources(NodeId(3), &three);
    assert_eq!((early[0].since, early[0].from_list), (late[0].since, 1));
    assert_eq!(late[0].from_list, late[0].since);
    assert_eq!((late.len(), late[0].from()), (1, nodes(&[1, 2])));
    assert!(late[0].enough(&nodes(&[2]).into_iter().collect()) && !late[0].enough(&nodes(&[3]).into_iter().collect()));
    // A new transition: it can still join the old list, and the new one only as everybody else.
    layout.commit(plan(&layout, &[1, 3, 4]), &three).unwrap();
    let sources = layout.slot(P).sources(NodeId(3), &three);
    assert_eq!(sources.iter().map(|sources| sources.needs[0].count).collect::<Vec<_>>(), [1, 2]);
    // One that lost what it had acked needs more than one that never had it.
    let wiped = layout.slot(P).refill(NodeId(1), &three);
    assert_eq!((wiped.from(), wiped.needs[0].count), (nodes(&[2]), 2));
}

#[test]
fn a_node_forgets_what_is_not_its_own_once_all_owners_have_it() {
    let three = [numbers(3, 2, 2)];
    let mut layout = rest(&[1, 2, 3], &three);
    layout.commit(plan(&layout, &[4, 2, 3, 1]), &three).unwrap();
    let forgets = |layout: &Layout, id| layout.may_forget(NodeId(id), P, three[0]);
    for id in [2, 3] {
        sync(&mut layout, id, &three);
    }
    assert_eq!(phase(&layout), "ReadNext");
    assert!(!forgets(&layout, 1));
    adopt(&mut layout, &[1, 2, 3], &three);
    assert_eq!(phase(&layout), "Rest");
    assert!(!forgets(&layout, 1), "4 may yet want it");
    sync(&mut layout, 4, &three);
    assert!(forgets(&layout, 1), "also though it is in the list, as the fourth of three");
    assert!(!forgets(&layout, 2) && forgets(&layout, 9));
    assert!(!layout.may_forget(NodeId(1), P, numbers(5, 3, 3)));
}

#[test]
fn numbers_change_like_owners_and_both_hold_until_then() {
    let (from, to) = (numbers(3, 2, 2), Numbers { n: 3, r: 1, w: 3 });
    let mut layout = rest(&[1, 2, 3], &[from]);
    let bucket = layout.change_numbers(from, to).unwrap();
    assert_eq!(layout.slot(P).writes(bucket).map(|quorum| quorum.need).collect::<Vec<_>>(), [2, 3]);
    assert_eq!((layout.slot(P).reads(bucket).need, layout.is_settled(bucket)), (2, false));
    assert_eq!(layout.change_numbers(bucket, to), Err(Refused::Changing));
    sync(&mut layout, 3, &[bucket]);
    assert_eq!((phase(&layout), layout.slot(P).reads(bucket).need), ("ReadNext", 1));
    adopt(&mut layout, &[1, 2], &[bucket]);
    assert_eq!((phase(&layout), layout.is_settled(bucket)), ("Rest", true));
}

#[test]
fn a_plan_amid_a_change_of_numbers_keeps_to_each_list_its_numbers() {
    let (from, to) = (numbers(3, 1, 3), Numbers { n: 3, r: 3, w: 1 });
    let mut layout = rest(&[1, 2, 3], &[from]);
    let bucket = layout.change_numbers(from, to).unwrap();
    for id in [1, 2, 3] {
        sync(&mut layout, id, &[bucket]);
    }
    adopt(&mut layout, &[1, 2, 3], &[bucket]);
    assert_eq!(phase(&layout), "Rest");
    // Not dropped yet; the slot is at rest under the new numbers, and its list goes on with them.
    layout.commit(plan(&layout, &[1, 2, 4]), &[bucket]).unwrap();
    assert_eq!(layout.slot(P).reads(bucket).need, 3, "the old R with the new W would miss what was acked");
    assert_eq!(layout.slot(P).sources(NodeId(4), &[bucket])[0].needs[0].count, 3);
}

#[test]
fn a_change_of_numbers_that_no_list_feels_is_done_at_once_and_holds_when_one_does() {
    let mut layout = first();
    let before = layout.clone();
    let bucket = layout.change_numbers(numbers(3, 2, 2), Numbers { n: 5, r: 3, w: 3 }).unwrap();
    assert!(bucket == numbers(5, 3, 3) && layout == before);
    // Going back to where a change of numbers began does not undo that change.
    let mut layout = rest(&[1, 2, 3], &[bucket]);
    let bucket = layout.change_numbers(bucket, Numbers { n: 2, r: 1, w: 2 }).unwrap();
    let base = layout.version;
    layout.commit(plan(&layout, &[1, 2, 4]), &[bucket]).unwrap();
    layout.commit(plan(&layout, &[1, 2, 3]), &[bucket]).unwrap();
    assert_eq!((phase(&layout), layout.version), ("Both", base + 2));
    assert!(layout.slot(P).target().since >= base);
}

#[test]
fn a_list_that_old_numbers_still_hold_on_gets_no_tail_that_they_would_count() {
    let from = numbers(5, 3, 3);
    let mut layout = first();
    let mut mixed = plan(&layout, &[1, 2, 3, 4, 5]);
    mixed.lists[usize::from(P.0)] = nodes(&[1, 2, 3]);
    layout.commit(mixed, &[from]).unwrap();
    for _ in 0..2 {
        for id in 1..=5 {
            sync(&mut layout, id, &[from]);
        }
    }
    assert!(layout.is_at_rest());
    let bucket = layout.change_numbers(from, Numbers { n: 3, r: 2, w: 2 }).unwrap();
    assert!(phase(&layout) == "Rest" && !layout.is_settled(bucket), "the others change, three owners are the same");
    layout.commit(plan(&layout, &[1, 2, 3, 4, 5]), &[bucket]).unwrap();
    let writes: Vec<_> =
        layout.slot(P).writes(bucket).map(|quorum| (quorum.owners.into_owned(), quorum.need)).collect();
    assert_eq!(writes, vec![(nodes(&[1, 2, 3]), 2); 2]);
}

#[test]
fn a_bucket_that_goes_is_waited_for_no_more() {
    let buckets = [numbers(3, 2, 2), numbers(3, 3, 1)];
    let mut layout = rest(&[1, 2, 3], &buckets);
    layout.commit(plan(&layout, &[1, 2, 4]), &buckets).unwrap();
    for id in [1, 4] {
        sync(&mut layout, id, &buckets);
    }
    assert_eq!(phase(&layout), "Both");
    assert!(layout.advance(&buckets[..1]));
    assert_eq!(phase(&layout), "ReadNext");
}

#[test]
fn what_is_no_layout_is_refused() {
    let three = [numbers(3, 2, 2)];
    let mut layout = first();
    let good = plan(&layout, &[1, 2, 3]);
    let with = |list: Vec<NodeId>| {
        let mut plan = good.clone();
        plan.lists[200] = list;
        plan
    };
    let mut light = good.clone();
    light.nodes.get_mut(&NodeId(2)).unwrap().weight = 0;
    let mut short = good.clone();
    short.lists.pop();
    let ten: Vec<u64> = (1..=10).collect();
    for bad in [with(vec![]), with(nodes(&[1, 1])), with(nodes(&[1, 4])), light, short, plan(&layout, &ten)] {
        assert_eq!(layout.commit(bad, &three), Err(Refused::Malformed));
    }
    assert!(layout == first());
}

#[test]
fn the_gone_are_struck_only_where_nothing_goes_on_without_them() {
    let three = [numbers(3, 2, 2)];
    let gone = |ids: &[u64]| ids.iter().copied().map(NodeId).collect::<BTreeSet<_>>();
    let mut layout = rest(&[1, 2, 3], &three);
    layout.commit(plan(&layout, &[3, 4, 5]), &three).unwrap();
    let (version, epoch) = (layout.version, layout.slot(P).epoch);
    assert_eq!(layout.force(&gone(&[1]), &three), [], "two of three are enough");
    assert_eq!((layout.version, layout.slot(P).epoch, layout.slot(P).now.struck), (version, epoch, false));
    assert_eq!(counted(layout.slot(P), three[0]), nodes(&[2, 3]));
    assert_eq!(layout.force(&gone(&[1, 2]), &three).len(), PARTITIONS);
    assert_eq!(layout.slot(P).epoch, layout.version);
    // What the last one holds is taken over by the next list before that is read.
    assert_eq!((phase(&layout), counted(layout.slot(P), three[0])), ("Both", nodes(&[3])));
    let sources = layout.slot(P).sources(NodeId(4), &three);
    assert!(sources[0].enough(&nodes(&[3]).into_iter().collect()));
    for id in [3, 4] {
        sync(&mut layout, id, &three);
    }
    adopt(&mut layout, &[3], &three);
    assert_eq!((phase(&layout), layout.slot(P).now.struck), ("Rest", false));
    assert!(layout.leaving.is_empty());
}

#[test]
fn where_nobody_is_left_the_next_owners_go_on_with_what_all_of_them_hold() {
    let three = [numbers(3, 2, 2)];
    let gone: BTreeSet<_> = nodes(&[1, 2, 3]).into_iter().collect();
    let mut layout = rest(&[1, 2, 3], &three);
    layout.commit(plan(&layout, &[4, 5, 6, 7]), &three).unwrap();
    layout.force(&gone, &three);
    // A write that was acked is on two of them, whichever.
    assert_eq!((phase(&layout), layout.slot(P).reads(three[0]).need), ("Both", 3));
    assert_eq!(counted(layout.slot(P), three[0]), nodes(&[4, 5, 6]));
    let sources = layout.slot(P).sources(NodeId(4), &three);
    assert!(sources[0].enough(&nodes(&[4, 5, 6]).into_iter().collect()));
    assert!(!sources[0].enough(&nodes(&[4, 5]).into_iter().collect()));
    for id in [4, 5] {
        sync(&mut layout, id, &three);
    }
    adopt(&mut layout, &[4, 5, 6], &three);
    assert_eq!((phase(&layout), counted(layout.slot(P), three[0])), ("Rest", nodes(&[4, 5])));
    assert!(layout.leaving.is_empty());

    // Where the old ones can only not say that they heard of the reads, nothing is lost.
    let mut layout = rest(&[1, 2, 3], &three);
    layout.commit(plan(&layout, &[4, 5, 6]), &three).unwrap();
    for id in [4, 5] {
        sync(&mut layout, id, &three);
    }
    assert_eq!(phase(&layout), "ReadNext");
    layout.force(&gone, &three);
    assert_eq!((phase(&layout), counted(layout.slot(P), three[0])), ("Rest", nodes(&[4, 5])));

    // And where nobody at all is left nothing goes on.
    let mut layout = rest(&[1, 2, 3], &three);
    layout.commit(plan(&layout, &[4]), &three).unwrap();
    assert_eq!(layout.force(&nodes(&[1, 2, 3, 4]).into_iter().collect(), &three), []);
    assert_eq!((phase(&layout), counted(layout.slot(P), three[0])), ("Both", vec![]));
}

#[test]
fn a_next_list_that_was_read_and_cannot_be_any_more_is_given_up_for_another() {
    let three = [numbers(3, 2, 2)];
    let mut layout = rest(&[1, 2, 3], &three);
    layout.commit(plan(&layout, &[4, 5, 1]), &three).unwrap();
    for id in [4, 5] {
        sync(&mut layout, id, &three);
    }
    assert_eq!(phase(&layout), "ReadNext");
    layout.force(&nodes(&[4, 5]).into_iter().collect(), &three);
    assert_eq!((phase(&layout), counted(layout.slot(P), three[0])), ("Both", nodes(&[1, 2, 3])));
    layout.commit(plan(&layout, &[1, 2, 3]), &three).unwrap();
    assert_eq!(phase(&layout), "Rest");
}

#[test]
fn a_node_that_lost_its_data_counts_for_nothing_until_it_has_them_again() {
    let three = [numbers(3, 2, 2)];
    let mut layout = rest(&[1, 2, 3], &three);
    let (since, before) = (layout.slot(P).now.since, layout.version);
    layout.lost(NodeId(2));
    assert_eq!((layout.slot(P).epoch, counted(layout.slot(P), three[0])), (before + 1, nodes(&[1, 3])));
    layout.report(NodeId(2), before, &[(P, since)], &three);
    assert_eq!(counted(layout.slot(P), three[0]), nodes(&[1, 3]), "it said so before it lost them");
    let refill = layout.slot(P).refill(NodeId(2), &three);
    assert_eq!(
        (refill.since, refill.epoch, refill.from(), refill.needs[0].count),
        (since, before + 1, nodes(&[1, 3]), 2)
    );
    layout.report(NodeId(2), before + 1, &[(P, since)], &three);
    assert_eq!(counted(layout.slot(P), three[0]), nodes(&[1, 2, 3]));
    // Where nobody has anything any more, it takes an operator to go on with what there is.
    for id in [1, 2, 3] {
        layout.lost(NodeId(id));
    }
    assert_eq!(layout.force(&BTreeSet::new(), &three).len(), PARTITIONS);
    assert_eq!((phase(&layout), layout.slot(P).reads(three[0]).need), ("Both", 3));
    for id in [1, 2] {
        sync(&mut layout, id, &three);
    }
    adopt(&mut layout, &[1, 2, 3], &three);
    assert_eq!((phase(&layout), layout.slot(P).reads(three[0]).need), ("Rest", 2));
}

#[test]
fn what_a_node_holds_is_elsewhere_only_where_the_others_have_all_that_was_acked() {
    let owners = nodes(&[1, 2, 3]);
    let mut slot = first().slot(P).clone();
    (slot.now.owners, slot.now.synced) = (owners.clone(), owners);
    assert!(slot.is_elsewhere(NodeId(3), numbers(3, 2, 2)));
    assert!(!slot.is_elsewhere(NodeId(3), numbers(3, 3, 1)), "it may have acked something alone");
    assert!(!slot.is_elsewhere(NodeId(1), numbers(1, 1, 1)), "nobody else owns it");
    assert!(slot.is_elsewhere(NodeId(3), numbers(1, 1, 1)), "it is nothing of its own");
    slot.now.synced = nodes(&[2, 3]);
    assert!(!slot.is_elsewhere(NodeId(3), numbers(3, 2, 2)), "one of the others is lost as well");
    assert!(slot.is_elsewhere(NodeId(3), numbers(3, 1, 3)), "any one of them has all");
}
