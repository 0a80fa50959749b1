//! How each partition stands, for people: whether all of its owners are there, enough of them, or too few. The numbers are
//! those of `survives`; here each partition has a word of its own, and the counts are over partitions.

use std::collections::BTreeSet;

use crate::base::id::NodeId;
use crate::base::id::PartitionId;
use crate::proto::ring::layout::Layout;
use crate::proto::ring::layout::Slot;
use crate::proto::ring::numbers::BucketNumbers;
use crate::proto::ring::numbers::distinct;
use crate::proto::ring::survives::Part;
use crate::proto::ring::survives::counted;

/// How a partition stands; the later the worse.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Standing {
    /// Every owner is there, with all of its data.
    Whole,
    /// Every request is answered, and fewer than N owners do it.
    Below,
    /// Some requests are not answered.
    Lost,
}

/// How a partition stands for the buckets that promise to read what was acked, and for the weak ones.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Stands {
    /// Which.
    pub partition: PartitionId,
    /// Of buckets with R+W > N; where there is no bucket at all, of the default one.
    pub strict: Option<Standing>,
    /// Of the others.
    pub weak: Option<Standing>,
}

/// How all of them stand, in order.
#[must_use]
pub fn standing(layout: &Layout, live: &BTreeSet<NodeId>, numbers: &[BucketNumbers]) -> Vec<Stands> {
    let (weak, strict): (Vec<_>, Vec<_>) = distinct(numbers).into_iter().partition(|numbers| numbers.now.is_weak());
    let worst = |slot: &Slot, of: &[BucketNumbers]| of.iter().map(|&numbers| of_slot(slot, live, numbers)).max();
    let stands = |(partition, slot)| Stands { partition, strict: worst(slot, &strict), weak: worst(slot, &weak) };
    layout.slots().map(stands).collect()
}

fn of_slot(slot: &Slot, live: &BTreeSet<NodeId>, numbers: BucketNumbers) -> Standing {
    let of_list = |list| {
        let (there, need) = counted(list, Part::of(slot, list), live, numbers);
        match there.len() {
            there if there < need => Standing::Lost,
            there if there < list.rule(numbers).owners.len() => Standing::Below,
            _ => Standing::Whole,
        }
    };
    slot.lists().map(of_list).max().unwrap_or(Standing::Whole)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::collections::BTreeSet;

    use super::Standing;
    use super::standing;
    use crate::base::id::NodeId;
    use crate::base::limits::PARTITIONS;
    use crate::proto::ring::layout::Candidate;
    use crate::proto::ring::layout::Layout;
    use crate::proto::ring::numbers::BucketNumbers;
    use crate::proto::ring::numbers::Numbers;
    use crate::proto::ring::plan::Plan;

    /// Three owners of everything, all synced.
    fn of_three() -> Layout {
        let candidate = |node: u64| (NodeId(node), Candidate { zone: node.to_string(), weight: 1 });
        let mut layout = Layout::first(NodeId(1), candidate(1).1);
        let lists = vec![vec![NodeId(1), NodeId(2), NodeId(3)]; PARTITIONS];
        let plan = Plan { base: layout.planned, nodes: BTreeMap::from([1, 2, 3].map(candidate)), lists };
        layout.commit(plan, &[]).unwrap();
        for node in [1, 2, 3, 1, 2, 3] {
            let synced: Vec<_> =
                layout.slots().flat_map(|(p, slot)| slot.lists().map(move |list| (p, list.since))).collect();
            let version = layout.version;
            layout.report(NodeId(node), version, &synced, &[]);
        }
        assert!(layout.is_at_rest());
        layout
    }

    #[test]
    fn a_partition_is_whole_below_or_lost_by_the_numbers_of_the_buckets() {
        let layout = of_three();
        let live = |nodes: &[u64]| nodes.iter().map(|node| NodeId(*node)).collect::<BTreeSet<_>>();
        let weak = BucketNumbers::from(Numbers { n: 3, r: 1, w: 1 });
        let all = |nodes: &[u64], numbers: &[BucketNumbers]| {
            let all = standing(&layout, &live(nodes), numbers);
            assert_eq!(all.len(), PARTITIONS);
            let first = (all[0].strict, all[0].weak);
            assert!(all.iter().all(|one| (one.strict, one.weak) == first));
            first
        };
        let strict = BucketNumbers::default();
        assert_eq!(all(&[1, 2, 3], &[]), (Some(Standing::Whole), None));
        assert_eq!(all(&[1, 3], &[strict, weak]), (Some(Standing::Below), Some(Standing::Below)));
        assert_eq!(all(&[3], &[strict, weak]), (Some(Standing::Lost), Some(Standing::Below)));
        assert_eq!(all(&[], &[weak]), (None, Some(Standing::Lost)));
    }
}
