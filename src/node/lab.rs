//! The ring lab: questions to this cluster's own layout that change nothing. `proto::lab` does the sums.

use std::collections::BTreeSet;

use crate::base::id::BucketId;
use crate::base::id::NodeId;
use crate::base::id::PartitionId;
use crate::node::Node;
use crate::proto::lab::moves;
use crate::proto::lab::moves::Change;
use crate::proto::lab::moves::Outcome;
use crate::proto::lab::odds;
use crate::proto::lab::odds::Numbers;
use crate::proto::lab::odds::Odds;
use crate::proto::ring::hash_of;
use crate::proto::ring::layout::Candidate;
use crate::proto::ring::partition_of;

/// Where a key is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Placed {
    /// The first 64 bits of SHA-256 over the bucket's number and the key, in hex: its top byte is the partition.
    pub hash: String,
    /// Its partition.
    pub partition: PartitionId,
    /// Names of its owners, in order of preference.
    pub owners: Vec<String>,
}

/// Odds for one key, and for the whole ring.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct RingOdds {
    /// Of one key.
    pub key: Odds,
    /// That some key cannot be read; none where there are too many nodes to count.
    pub ring_read: Option<f64>,
    /// That some key cannot be written.
    pub ring_write: Option<f64>,
}

impl Node {
    /// Where a key of a bucket is; in a bucket that is not there, where it would be if that were the first.
    #[must_use]
    pub fn lab_place(&self, bucket: &str, key: &[u8]) -> Placed {
        let state = self.state();
        let bucket = state.buckets.get(bucket).map_or(BucketId(1), |bucket| bucket.id);
        let partition = partition_of(bucket, key);
        let owners = state.layout.slot(partition).read_from().owners.iter().map(|node| self.lab_name(*node)).collect();
        Placed { hash: format!("{:016x}", hash_of(bucket, key)), partition, owners }
    }

    /// What a change of nodes would move. None where nobody would own anything.
    #[must_use]
    pub fn lab_moves(&self, change: &Change) -> Option<Outcome> {
        let state = self.state();
        moves::attempt(&state.layout, &self.live(), &state.numbers(), change)
    }

    /// The odds with these numbers over this cluster's lists.
    #[must_use]
    pub fn lab_odds(&self, numbers: Numbers, p: f64) -> RingOdds {
        let state = self.state();
        let n = usize::try_from(numbers.n).unwrap_or(usize::MAX);
        let lists: BTreeSet<Vec<NodeId>> = state
            .layout
            .slots()
            .map(|(_, slot)| slot.target().owners.iter().take(n).copied().collect::<Vec<_>>())
            .map(|mut list: Vec<NodeId>| {
                list.sort_unstable();
                list
            })
            .collect();
        let ring = |need: u32| odds::of_ring(&lists, usize::try_from(need).unwrap_or(usize::MAX), p);
        RingOdds { key: odds::of_key(numbers, p), ring_read: ring(numbers.r), ring_write: ring(numbers.w) }
    }

    /// Nodes that own something, with their zone and share.
    #[must_use]
    pub fn lab_nodes(&self) -> Vec<(NodeId, String, Candidate)> {
        let state = self.state();
        state.layout.nodes.iter().map(|(node, seen)| (*node, self.lab_name(*node), seen.clone())).collect()
    }

    fn lab_name(&self, node: NodeId) -> String {
        self.state().members.get(&node).map_or_else(|| node.to_string(), |member| member.name.clone())
    }
}
