//! How many machines, and how many zones, may be lost at once with every read and write still answered: arithmetic over
//! the layout and who is alive (HOUSE decision 19). The part of the data; voters have their own.

use std::collections::BTreeMap;
use std::collections::BTreeSet;

use crate::base::id::NodeId;
use crate::base::id::PartitionId;
use crate::proto::ring::layout::Layout;
use crate::proto::ring::layout::List;
use crate::proto::ring::layout::Slot;
use crate::proto::ring::numbers::BucketNumbers;

#[cfg(test)]
mod tests;

/// What may be lost. Buckets with R+W <= N are counted apart: they promise less.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Survives {
    /// Of all buckets that promise to read what was acked; where there is no bucket at all, of the default one.
    pub strict: Option<Margins>,
    /// Of the weak ones.
    pub weak: Option<Margins>,
}

/// For machines and for zones.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Margins {
    /// Of any machines.
    pub machines: Margin,
    /// Of any zones, each with all its machines.
    pub zones: Margin,
}

/// How many may be lost, and what forbids one more.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Margin {
    /// None: something is not answered as it is.
    pub left: Option<usize>,
    /// The first of those that have the least left.
    pub cause: Cause,
}

/// Where there is the least left.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Cause {
    /// The partition.
    pub partition: PartitionId,
    /// The bucket: the first with these numbers among those given.
    pub bucket: usize,
    /// In a transition there are two lists.
    pub list: Part,
    /// Owners there that are alive, and synced where reads ask them.
    pub owners: usize,
    /// How many it takes.
    pub need: usize,
}

/// What a list is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Part {
    /// Reads and writes.
    Read,
    /// Only writes: the old list that is about to go, or the next one that is not read yet.
    Written,
}

impl Part {
    /// What a list of a slot is for.
    pub(super) fn of(slot: &Slot, list: &List) -> Self {
        if list.since == slot.read_from().since { Self::Read } else { Self::Written }
    }
}

/// Counts over all slots.
#[must_use]
pub fn survives(layout: &Layout, live: &BTreeSet<NodeId>, numbers: &[BucketNumbers]) -> Survives {
    let mut buckets = BTreeMap::new();
    for (bucket, numbers) in numbers.iter().enumerate() {
        buckets.entry(*numbers).or_insert(bucket);
    }
    if buckets.is_empty() {
        buckets.insert(BucketNumbers::default(), 0);
    }
    let least = |weak: bool| {
        let buckets = buckets.iter().filter(|(numbers, _)| numbers.now.is_weak() == weak);
        let of_bucket = |(numbers, bucket): (&BucketNumbers, &usize)| least_of_bucket(layout, live, *numbers, *bucket);
        buckets.filter_map(of_bucket).reduce(Margins::least)
    };
    Survives { strict: least(false), weak: least(true) }
}

impl Margins {
    fn least(self, other: Self) -> Self {
        Self { machines: self.machines.min(other.machines), zones: self.zones.min(other.zones) }
    }
}

fn least_of_bucket(layout: &Layout, live: &BTreeSet<NodeId>, numbers: BucketNumbers, bucket: usize) -> Option<Margins> {
    let of_slot = |(partition, slot): (PartitionId, &Slot)| {
        let of_list = |list: &List| {
            let part = Part::of(slot, list);
            let (owners, need) = counted(list, part, live, numbers);
            let cause = Cause { partition, bucket, list: part, owners: owners.len(), need };
            let zones = zones_left(layout, &owners, need);
            Margins {
                machines: Margin { left: owners.len().checked_sub(need), cause },
                zones: Margin { left: zones, cause },
            }
        };
        slot.lists().map(of_list).reduce(Margins::least)
    };
    layout.slots().filter_map(of_slot).reduce(Margins::least)
}

/// The owners that count, and how many of them it takes.
pub(super) fn counted(
    list: &List,
    part: Part,
    live: &BTreeSet<NodeId>,
    numbers: BucketNumbers,
) -> (Vec<NodeId>, usize) {
    let rule = list.rule(numbers);
    let counts = |node: &NodeId| live.contains(node) && (part == Part::Written || list.is_synced(*node));
    let owners = rule.owners.iter().copied().filter(counts).collect();
    match part {
        Part::Read => (owners, rule.read.max(rule.write)),
        Part::Written => (owners, rule.write),
    }
}

/// The largest zones go first. A node of which no zone is known is one of its own.
fn zones_left(layout: &Layout, owners: &[NodeId], need: usize) -> Option<usize> {
    let mut sizes = BTreeMap::<_, usize>::new();
    for node in owners {
        let zone = layout.nodes.get(node).map(|candidate| &candidate.zone).or_else(|| layout.leaving.get(node));
        *sizes.entry(zone.ok_or(node)).or_default() += 1;
    }
    let mut sizes: Vec<_> = sizes.into_values().collect();
    sizes.sort_unstable_by(|a, b| b.cmp(a));
    let mut spare = owners.len().checked_sub(need)?;
    let fits = |size: &usize| match spare.checked_sub(*size) {
        Some(left) => {
            spare = left;
            true
        }
        None => false,
    };
    Some(sizes.iter().copied().take_while(fits).count())
}
