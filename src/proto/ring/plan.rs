//! A plan: the lists that are to come, made against a layout, and what they would move, before anything moves.

use std::collections::BTreeMap;
use std::collections::BTreeSet;

use serde::Deserialize;
use serde::Serialize;

use crate::base::id::NodeId;
use crate::base::id::PartitionId;
use crate::proto::ring::claim::claim;
use crate::proto::ring::layout::Candidate;
use crate::proto::ring::layout::Layout;
use crate::proto::ring::layout::List;
use crate::proto::ring::layout::Slot;
use crate::proto::ring::numbers::BucketNumbers;
use crate::proto::ring::numbers::Numbers;
use crate::proto::ring::numbers::distinct;
use crate::proto::ring::slots::Slots;
use crate::proto::ring::survives::Survives;
use crate::proto::ring::survives::survives;

#[cfg(test)]
mod tests;

/// What a commit brings about. Carried whole by its command: what was shown is what happens.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Plan {
    /// [`Layout::planned`] of the layout that it was made against.
    pub base: u64,
    /// The candidates from now on.
    pub nodes: BTreeMap<NodeId, Candidate>,
    /// For each partition its owners in order of preference.
    pub lists: Vec<Vec<NodeId>>,
}

/// What a plan would bring.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Preview {
    /// Every node that owns something before or after, within the first three of each list.
    pub nodes: BTreeMap<NodeId, Held>,
    /// What has to be copied at least: who gets which partition that it does not hold.
    pub moves: Vec<(PartitionId, NodeId)>,
    /// What may be lost as it is.
    pub before: Survives,
    /// While what moves is moving: old and new owners are written to, the old ones are read.
    pub during: Survives,
    /// And when the plan is done.
    pub after: Survives,
}

/// Partitions of one node.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Held {
    /// As it is.
    pub before: usize,
    /// When the plan is done.
    pub after: usize,
    /// Those that are new to it.
    pub gains: usize,
    /// Those that it gives away.
    pub loses: usize,
}

impl Plan {
    /// The plan for these candidates. What is under way already counts as done, so that it is not begun anew. Where no
    /// candidate has a weight its lists are empty, and no layout takes it.
    #[must_use]
    pub fn new(layout: &Layout, nodes: BTreeMap<NodeId, Candidate>) -> Self {
        let before: Vec<_> = layout.slots().map(|(_, slot)| slot.target().owners.as_slice()).collect();
        let lists = claim(&nodes, &before);
        Self { base: layout.planned, nodes, lists }
    }

    /// What it would bring, counted against the owners that reads ask now.
    #[must_use]
    pub fn preview(&self, layout: &Layout, live: &BTreeSet<NodeId>, numbers: &[BucketNumbers]) -> Preview {
        let done = self.done(layout);
        Preview {
            nodes: held(layout, &done),
            moves: moves(layout, &done, numbers),
            before: survives(layout, live, numbers),
            during: survives(&self.begun(layout, numbers), live, numbers),
            after: survives(&done, live, numbers),
        }
    }

    /// The layout as soon as it has begun; as it is where it cannot begin yet.
    fn begun(&self, layout: &Layout, numbers: &[BucketNumbers]) -> Layout {
        let mut begun = layout.clone();
        match begun.commit(self.clone(), numbers) {
            Ok(()) => begun,
            Err(_refused) => layout.clone(),
        }
    }

    /// The layout when all is done.
    fn done(&self, layout: &Layout) -> Layout {
        let since = layout.version + 1;
        let mut slots = Slots::all(|| Slot { epoch: since, now: List::new(since, Vec::new()), next: None });
        for ((_, slot), owners) in slots.iter_mut().zip(&self.lists) {
            slot.now.owners.clone_from(owners);
            slot.now.synced.clone_from(owners);
            slot.now.synced.sort_unstable();
        }
        let nodes = self.nodes.clone();
        let (leaving, adopted) = (BTreeMap::new(), BTreeMap::new());
        Layout { version: since, planned: since, nodes, leaving, adopted, slots }
    }
}

impl Layout {
    /// It when all that is under way is done.
    #[must_use]
    pub fn when_done(&self) -> Self {
        let lists = self.slots().map(|(_, slot)| slot.target().owners.clone()).collect();
        Plan { base: self.planned, nodes: self.nodes.clone(), lists }.done(self)
    }
}

/// Slots before and after, in order.
fn pairs<'a>(before: &'a Layout, after: &'a Layout) -> impl Iterator<Item = (PartitionId, &'a List, &'a List)> {
    before
        .slots()
        .zip(after.slots())
        .map(|((partition, before), (_, after))| (partition, before.read_from(), &after.now))
}

fn held(before: &Layout, after: &Layout) -> BTreeMap<NodeId, Held> {
    let mut nodes = BTreeMap::<NodeId, Held>::new();
    let first = BucketNumbers::from(Numbers { n: 3, r: 1, w: 1 });
    for (_, before, after) in pairs(before, after) {
        let (before, after) = (before.rule(first).owners, after.rule(first).owners);
        for node in before {
            let held = nodes.entry(*node).or_default();
            held.before += 1;
            held.loses += usize::from(!after.contains(node));
        }
        for node in after {
            let held = nodes.entry(*node).or_default();
            held.after += 1;
            held.gains += usize::from(!before.contains(node));
        }
    }
    nodes
}

fn moves(before: &Layout, after: &Layout, numbers: &[BucketNumbers]) -> Vec<(PartitionId, NodeId)> {
    let numbers = distinct(numbers);
    let mut moves = Vec::new();
    for (partition, before, after) in pairs(before, after) {
        let new = |&numbers: &BucketNumbers| {
            let had = before.rule(numbers).owners;
            after.rule(numbers).owners.iter().copied().filter(|node| !had.contains(node))
        };
        let new: BTreeSet<_> = numbers.iter().flat_map(new).collect();
        moves.extend(new.into_iter().map(|node| (partition, node)));
    }
    moves
}
