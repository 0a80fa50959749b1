//! What a change of nodes would move: under the layout's own rule, by the very code that plans, and beside it under modulo
//! hashing, for a sample of keys.

use std::collections::BTreeMap;
use std::collections::BTreeSet;

use crate::base::checksum;
use crate::base::id::BucketId;
use crate::base::id::NodeId;
use crate::base::limits::LAB_KEYS;
use crate::proto::ring::layout::Candidate;
use crate::proto::ring::layout::Layout;
use crate::proto::ring::numbers::BucketNumbers;
use crate::proto::ring::partition_of;
use crate::proto::ring::plan::Plan;
use crate::proto::ring::survives::Survives;

/// Places that most buckets keep.
const COPIES: usize = 3;

/// A change to try.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Change {
    /// A new node.
    Join(Candidate),
    /// One is gone.
    Lose(NodeId),
    /// One has another share.
    Weigh(NodeId, u32),
}

/// Keys of the sample that move.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Moved {
    /// Whose first owner is another.
    pub keys: usize,
    /// Copies that somebody gets who had none, of three of each key.
    pub copies: usize,
}

/// What would come of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Outcome {
    /// Nodes that own something, before and after.
    pub nodes: [usize; 2],
    /// By a hash modulo the number of nodes.
    pub modulo: Moved,
    /// By this layout's rule.
    pub ours: Moved,
    /// Partitions that somebody gets who had none of it, counted once for each.
    pub partitions: usize,
    /// What may be lost, as it is.
    pub before: Survives,
    /// And when all has moved.
    pub after: Survives,
}

/// Tries it, on the layout as it is when all that is under way is done. None where nobody would own anything, or the node is not one of the layout's.
#[must_use]
pub fn attempt(
    layout: &Layout,
    live: &BTreeSet<NodeId>,
    numbers: &[BucketNumbers],
    change: &Change,
) -> Option<Outcome> {
    let layout = &layout.when_done();
    let (mut nodes, mut live) = (layout.nodes.clone(), live.clone());
    match change {
        Change::Join(candidate) => {
            let new = NodeId(layout.nodes.keys().chain(live.iter()).map(|node| node.0).max().unwrap_or(0) + 1);
            nodes.insert(new, candidate.clone());
            live.insert(new);
        }
        Change::Lose(node) => {
            nodes.remove(node)?;
            live.remove(node);
        }
        Change::Weigh(node, weight) => nodes.get_mut(node)?.weight = *weight,
    }
    let owners = |nodes: &BTreeMap<NodeId, Candidate>| {
        nodes.iter().filter(|(_, node)| node.weight > 0).map(|(node, _)| *node).collect::<Vec<_>>()
    };
    let (old, new) = (owners(&layout.nodes), owners(&nodes));
    let plan = Plan::new(layout, nodes);
    if new.is_empty() || old.is_empty() {
        return None;
    }
    let preview = plan.preview(layout, &live, numbers);
    let before: Vec<&[NodeId]> = layout.slots().map(|(_, slot)| slot.now.owners.as_slice()).collect();
    let by_slot = |key: &[u8]| usize::from(partition_of(BucketId(0), key).0);
    let ours = sample(|key| {
        let slot = by_slot(key);
        let list = |list: Option<&[NodeId]>| list.unwrap_or_default().iter().take(COPIES).copied().collect();
        [list(before.get(slot).copied()), list(plan.lists.get(slot).map(Vec::as_slice))]
    });
    let modulo = sample(|key| [&old, &new].map(|nodes| by_modulo(nodes, key)));
    Some(Outcome {
        nodes: [old.len(), new.len()],
        modulo,
        ours,
        partitions: preview.moves.len(),
        before: preview.before,
        after: preview.after,
    })
}

/// The node that the hash leads to, and those behind it.
fn by_modulo(nodes: &[NodeId], key: &[u8]) -> Vec<NodeId> {
    let hash = usize::try_from(checksum::sha256_u64(&[key]) >> 1).unwrap_or_default();
    let first = hash.checked_rem(nodes.len()).unwrap_or_default();
    nodes.iter().cycle().skip(first).take(COPIES.min(nodes.len())).copied().collect()
}

fn sample(owners: impl Fn(&[u8]) -> [Vec<NodeId>; 2]) -> Moved {
    let mut moved = Moved::default();
    for number in 0..LAB_KEYS {
        let [before, after] = owners(format!("key-{number}").as_bytes());
        moved.keys += usize::from(before.first() != after.first());
        moved.copies += after.iter().filter(|node| !before.contains(node)).count();
    }
    moved
}
