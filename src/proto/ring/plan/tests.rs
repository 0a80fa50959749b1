//! What a plan shows is what it does.

use std::collections::BTreeMap;
use std::collections::BTreeSet;

use crate::base::id::NodeId;
use crate::base::limits::PARTITIONS;
use crate::proto::ring::layout::Candidate;
use crate::proto::ring::layout::Layout;
use crate::proto::ring::numbers::BucketNumbers;
use crate::proto::ring::numbers::Numbers;
use crate::proto::ring::plan::Held;
use crate::proto::ring::plan::Plan;
use crate::proto::ring::transition::Refused;

fn candidates(ids: &[u64]) -> BTreeMap<NodeId, Candidate> {
    ids.iter().map(|&id| (NodeId(id), Candidate { zone: format!("z{id}"), weight: 1 })).collect()
}

fn first() -> Layout {
    Layout::first(NodeId(1), Candidate { zone: "z1".to_owned(), weight: 1 })
}

/// Everybody adopts and syncs until nothing is left to do.
fn finish(layout: &mut Layout, numbers: &[BucketNumbers]) {
    loop {
        let before = layout.clone();
        let synced: Vec<_> = layout.slots().map(|(partition, slot)| (partition, slot.target().since)).collect();
        let nodes: Vec<_> = layout.nodes.keys().chain(layout.leaving.keys()).copied().collect();
        for node in nodes {
            layout.report(node, before.version, &synced, numbers);
        }
        if *layout == before {
            return assert!(layout.is_at_rest());
        }
    }
}

#[test]
fn what_is_shown_is_what_moves() {
    let three = [BucketNumbers::default()];
    let mut layout = first();
    layout.commit(Plan::new(&layout, candidates(&[1, 2, 3])), &three).unwrap();
    finish(&mut layout, &three);

    let plan = Plan::new(&layout, candidates(&[1, 2, 3, 4]));
    let preview = plan.preview(&layout, &candidates(&[1, 2, 3, 4]).into_keys().collect(), &three);
    assert_eq!(preview.moves.len(), 192);
    assert!(preview.moves.iter().all(|(_, node)| *node == NodeId(4)));
    assert_eq!(preview.nodes[&NodeId(4)], Held { before: 0, after: 192, gains: 192, loses: 0 });
    assert_eq!(preview.nodes[&NodeId(1)], Held { before: 256, after: 192, gains: 0, loses: 64 });
    assert_eq!((preview.before.clone(), preview.before.strict.unwrap().machines.left), (preview.after, Some(1)));
    // A bucket of five has the newcomer in every partition.
    let five = [BucketNumbers::default(), Numbers { n: 5, r: 3, w: 3 }.into()];
    assert_eq!(plan.preview(&layout, &BTreeSet::new(), &five).moves.len(), PARTITIONS);

    layout.commit(plan.clone(), &three).unwrap();
    let begun = layout.slots().filter(|(_, slot)| slot.next.is_some()).map(|(partition, _)| partition);
    assert_eq!(begun.collect::<Vec<_>>(), preview.moves.iter().map(|(partition, _)| *partition).collect::<Vec<_>>());
    // What is under way is not begun anew.
    let same = Plan::new(&layout, candidates(&[1, 2, 3, 4]));
    assert_eq!(same.lists, plan.lists);
    let epochs = |layout: &Layout| layout.slots().map(|(_, slot)| slot.epoch).collect::<Vec<_>>();
    let before = epochs(&layout);
    layout.commit(same, &three).unwrap();
    assert_eq!(epochs(&layout), before);
    finish(&mut layout, &three);
    assert!(layout.slots().zip(plan.lists).all(|((_, slot), list)| slot.now.owners == list));
}

#[test]
fn the_lone_node_and_a_plan_without_owners() {
    let mut layout = first();
    let live = candidates(&[1, 2, 3]).into_keys().collect();
    let preview = Plan::new(&layout, candidates(&[1, 2, 3])).preview(&layout, &live, &[]);
    assert_eq!(preview.moves.len(), 2 * PARTITIONS);
    let left = [preview.before, preview.after].map(|survives| survives.strict.unwrap().machines.left);
    assert_eq!(left, [Some(0), Some(1)]);
    assert_eq!(layout.commit(Plan::new(&layout, BTreeMap::new()), &[]), Err(Refused::Malformed));
}
