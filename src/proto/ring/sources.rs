//! What a node has to merge before it is synced: from whom, and how many of them are enough.

use std::collections::BTreeSet;

use crate::base::id::NodeId;
use crate::proto::ring::layout::List;
use crate::proto::ring::layout::Slot;
use crate::proto::ring::numbers::BucketNumbers;
use crate::proto::ring::numbers::distinct;

/// What makes a node synced in one list of a slot.
///
/// Only what was merged from an owner while it was among these counts, and only for the same two lists: an owner merged
/// for a list that was to come may have become synced in it only later.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sources {
    /// The list, for the report.
    pub since: u64,
    /// The list of those to merge.
    pub from_list: u64,
    /// They must have adopted the slot's present epoch before they are asked.
    pub epoch: u64,
    /// Each bucket's: so many of these. Those that are the same are there once.
    pub needs: Vec<Need>,
}

/// So many of these owners.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Need {
    /// Synced owners of the old list, in order of preference.
    pub of: Vec<NodeId>,
    /// How many of them must be merged.
    pub count: usize,
}

impl Sources {
    /// Whether having merged from these makes the node synced.
    #[must_use]
    pub fn enough(&self, merged: &BTreeSet<NodeId>) -> bool {
        self.needs.iter().all(|need| need.of.iter().filter(|node| merged.contains(node)).count() >= need.count)
    }

    /// Everyone worth asking, each once, in order of preference.
    #[must_use]
    pub fn from(&self) -> Vec<NodeId> {
        let mut from = Vec::new();
        for node in self.needs.iter().flat_map(|need| &need.of) {
            if !from.contains(node) {
                from.push(*node);
            }
        }
        from
    }
}

impl Slot {
    /// What this node has to merge, per list in which it is not synced: none, one or two, the present list first. The
    /// node counts among those merged once it has adopted the epoch itself.
    ///
    /// In the present list it is enough to merge one synced owner: every synced one has what was acked before the list
    /// came, and what was acked since is on W of this list. In the next one it takes n-W+1 owners of the present list:
    /// what was acked by it is on W of them, each of which took it before it adopted the transition.
    #[must_use]
    pub fn sources(&self, node: NodeId, numbers: &[BucketNumbers]) -> Vec<Sources> {
        let numbers = distinct(numbers);
        let missing = |list: &&List| list.owners.contains(&node) && !list.is_synced(node);
        self.lists().filter(missing).map(|list| self.sources_for(list, node, &numbers)).collect()
    }

    /// What a node has to merge that lost what it had acked, before it answers again and is like any other: n-W+1 owners
    /// *beside it*, once the layout knows ([`lost`](crate::proto::ring::layout::Layout::lost)). One is not enough for it,
    /// as for somebody new: a write since the list came may have been on it and on W-1 others. Where there are no more others it
    /// merges all of them: what a bucket lets one owner ack alone, that one alone can lose.
    #[must_use]
    pub fn refill(&self, node: NodeId, numbers: &[BucketNumbers]) -> Sources {
        let numbers = distinct(numbers);
        let concerned = numbers.into_iter().filter(|&numbers| self.is_owner(node, numbers));
        let needs = concerned.map(|numbers| {
            let rule = self.now.rule(numbers);
            let others = rule.owners.iter().filter(|&&owner| owner != node).count();
            let mut need = self.need(numbers, rule.merge.min(others));
            need.of.retain(|&owner| owner != node);
            need
        });
        let list = if self.now.owners.contains(&node) { &self.now } else { self.target() };
        self.sources_with(list, needs.collect())
    }

    /// Whether all that was acked of a bucket is on those that [`refill`](Self::refill) names for a node: then nothing is lost by
    /// what it holds of it going first.
    #[must_use]
    pub fn is_elsewhere(&self, node: NodeId, numbers: BucketNumbers) -> bool {
        let rule = self.now.rule(numbers);
        rule.owners.iter().filter(|&&owner| owner != node && self.now.is_synced(owner)).count() >= rule.merge
    }

    /// Whether a source gives a node what it holds of a bucket: the node is to own it in either list, and the source is one
    /// of those that count for it. What a node does not get so, it needs a transition to own, and then merges it anew.
    #[must_use]
    pub fn gives(&self, source: NodeId, to: NodeId, numbers: BucketNumbers) -> bool {
        self.now.rule(numbers).owners.contains(&source) && self.is_owner(to, numbers)
    }

    /// Whether two nodes hold the same of a bucket, once all is well: both count for it in the present list.
    #[must_use]
    pub fn shares(&self, one: NodeId, other: NodeId, numbers: BucketNumbers) -> bool {
        let owners = self.now.rule(numbers).owners;
        one != other && owners.contains(&one) && owners.contains(&other)
    }

    fn sources_for(&self, list: &List, node: NodeId, numbers: &[BucketNumbers]) -> Sources {
        let joins = list.since != self.now.since;
        let concerned = numbers.iter().copied().filter(|&numbers| list.rule(numbers).owners.contains(&node));
        let needs = concerned.map(|numbers| self.need(numbers, if joins { self.now.rule(numbers).merge } else { 1 }));
        self.sources_with(list, needs.collect())
    }

    fn need(&self, numbers: BucketNumbers, count: usize) -> Need {
        let owners = self.now.rule(numbers).owners.iter().copied();
        Need { of: owners.filter(|&owner| self.now.is_synced(owner)).collect(), count }
    }

    fn sources_with(&self, list: &List, needs: BTreeSet<Need>) -> Sources {
        Sources { since: list.since, from_list: self.now.since, epoch: self.epoch, needs: needs.into_iter().collect() }
    }
}
