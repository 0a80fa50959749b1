//! Which nodes get which partitions: lists from candidates and the lists before. In this order: owners of a partition
//! in distinct zones, as far as there are zones; as many partitions for a node as its weight says; as little as possible
//! moves. All of it first for the first three places, where nearly all data is, then for each place behind them.
//!
//! Pure integers in a fixed order: the same input gives the same lists everywhere.
//!
//! Source: Garage computes its layout as a flow of least cost (Auvolat et al., `doc/optimal_layout_report`); riak_core's
//! claim v4 keeps locations apart. Ours fixes how many partitions a node gets before it asks which.

use std::collections::BTreeMap;
use std::collections::BTreeSet;

use crate::base::id::NodeId;
use crate::base::limits::PARTITIONS;
use crate::base::limits::REPLICAS_MAX;
use crate::proto::ring::claim::flow::Flow;
use crate::proto::ring::claim::shares::Member;
use crate::proto::ring::claim::shares::Shares;
use crate::proto::ring::layout::Candidate;

mod flow;
mod shares;

#[cfg(test)]
mod tests;

/// Places that are claimed as one, because most buckets keep three replicas: moving a node among them moves no data.
const FIRST: usize = 3;

/// What a membership costs that was not there before.
const MOVED: u64 = 1;
/// What a place beyond a node's share costs: more than all moves together, of which there are less than 2^10. Zones cost
/// nothing, because what they may have is never exceeded.
const UNFAIR: u64 = 1 << 20;

/// Lists for all partitions, as long as there are nodes with a weight, up to nine. `before` are the lists that are to be
/// kept where possible, in order of the partitions; those that are missing are taken as empty.
#[must_use]
pub fn claim(nodes: &BTreeMap<NodeId, Candidate>, before: &[&[NodeId]]) -> Vec<Vec<NodeId>> {
    let nodes: Vec<(NodeId, &Candidate)> = nodes
        .iter()
        .filter(|(_, candidate)| candidate.weight > 0)
        .map(|(node, candidate)| (*node, candidate))
        .collect();
    let zones: BTreeSet<&str> = nodes.iter().map(|(_, candidate)| candidate.zone.as_str()).collect();
    let zone = |candidate: &Candidate| zones.iter().position(|zone| *zone == candidate.zone).unwrap_or_default();
    let members = nodes.iter().map(|(_, node)| Member { zone: zone(node), weight: node.weight.into() }).collect();
    let place = |node: &NodeId| nodes.binary_search_by_key(node, |(id, _)| *id).ok();
    let before = (0..PARTITIONS).map(|slot| {
        // A node that left keeps its place in the order, so that those behind it keep theirs.
        before.get(slot).map_or_else(Vec::new, |list| list.iter().map(place).collect())
    });
    let claimed = Claim { shares: Shares::new(members), before: before.collect() }.lists();
    let id = |place: &usize| nodes.get(*place).map(|(id, _)| *id);
    claimed.iter().map(|list| list.iter().filter_map(id).collect()).collect()
}

/// Nodes and zones as indexes.
struct Claim {
    shares: Shares,
    before: Vec<Vec<Option<usize>>>,
}

/// Owners of each slot so far.
type Lists = Vec<Vec<usize>>;

impl Claim {
    fn lists(&self) -> Lists {
        let nodes = self.shares.members.len();
        let first = self.first(FIRST.min(nodes));
        let mut lists = self.in_order(&first);
        for len in lists.iter().map(Vec::len).max().unwrap_or_default()..nodes.min(REPLICAS_MAX.into()) {
            let added = self.place(&lists, len + 1, &self.shares.of(len + 1), |slot, node| {
                let stays = self.was_within(slot, len + 1, node);
                let free = lists.get(slot).is_some_and(|list| !list.contains(&node));
                free.then_some(if stays { 0 } else { MOVED })
            });
            append(&mut lists, added);
        }
        lists
    }

    /// The first places as sets.
    fn first(&self, len: usize) -> Lists {
        let empty = vec![Vec::new(); PARTITIONS];
        let cost = |slot, node| Some(if self.was_within(slot, len, node) { 0 } else { MOVED });
        self.place(&empty, len, &self.shares.of(len), cost)
    }

    /// Orders each set so that each of its places is shared out by weight, and the first two are in distinct zones.
    fn in_order(&self, sets: &Lists) -> Lists {
        let nodes = self.shares.members.len();
        let mut held = vec![0; nodes];
        for node in sets.iter().flatten() {
            if let Some(held) = held.get_mut(*node) {
                *held += 1;
            }
        }
        let mut lists: Lists = vec![Vec::new(); PARTITIONS];
        for len in 0..FIRST.min(nodes) {
            let added = self.place(&lists, len + 1, &self.shares.within(len + 1, &held), |slot, node| {
                let free = sets.get(slot)?.contains(&node) && !lists.get(slot)?.contains(&node);
                let stays = self.before.get(slot)?.get(len) == Some(&Some(node));
                free.then_some(if stays { 0 } else { MOVED })
            });
            append(&mut lists, added);
        }
        lists
    }

    fn was_within(&self, slot: usize, len: usize, node: usize) -> bool {
        self.before.get(slot).is_some_and(|list| list.iter().take(len).any(|place| *place == Some(node)))
    }

    /// Fills all lists up to `len` places at the least cost; says what is added to each.
    fn place(
        &self,
        lists: &Lists,
        len: usize,
        shares: &[usize],
        cost: impl Fn(usize, usize) -> Option<u64>,
    ) -> Vec<Vec<usize>> {
        let (source, sink) = (0, 1);
        let mut flow = Flow::default();
        let _: [usize; 2] = [flow.vertex(), flow.vertex()];
        let nodes: Vec<usize> = shares.iter().map(|_| flow.vertex()).collect();
        let mut fair = Vec::new();
        for (node, (vertex, share)) in nodes.iter().zip(shares).enumerate() {
            let held = lists.iter().filter(|list| list.contains(&node)).count();
            fair.push(flow.edge(*vertex, sink, share.saturating_sub(held), 0));
            for beyond in 1..=2 {
                flow.edge(*vertex, sink, 1, beyond * UNFAIR);
            }
            flow.edge(*vertex, sink, PARTITIONS, 3 * UNFAIR);
        }
        let mut memberships = Vec::new();
        for (slot, list) in lists.iter().enumerate() {
            let vertex = flow.vertex();
            let wanted = flow.edge(source, vertex, len - list.len(), 0);
            let zones = self.shares.room(len, list);
            // Each slot looks at the zones and nodes from another one on, or all would take the same ones together.
            for (zone, room) in rotated(&zones, slot) {
                let inner = flow.vertex();
                let enters = flow.edge(vertex, inner, *room, 0);
                for (node, to) in rotated(&nodes, slot).filter(|(node, _)| self.shares.zone(*node) == zone) {
                    let Some(cost) = cost(slot, node) else { continue };
                    let membership = flow.edge(inner, *to, 1, cost);
                    memberships.push((slot, node, membership));
                    if let (0, Some(fair)) = (cost, fair.get(node)) {
                        flow.push(&[wanted, enters, membership, *fair]);
                    }
                }
            }
        }
        flow.run(source, sink);
        let mut added = vec![Vec::new(); lists.len()];
        for (slot, node, membership) in memberships {
            if let (true, Some(added)) = (flow.is_full(membership), added.get_mut(slot)) {
                added.push(node);
            }
        }
        added
    }
}

fn append(lists: &mut Lists, added: Vec<Vec<usize>>) {
    for (list, added) in lists.iter_mut().zip(added) {
        list.extend(added);
    }
}

/// All items with their indexes, beginning with another one for each `by`.
fn rotated<T>(items: &[T], by: usize) -> impl Iterator<Item = (usize, &T)> {
    let skip = by.checked_rem(items.len()).unwrap_or_default();
    items.iter().enumerate().skip(skip).chain(items.iter().enumerate().take(skip))
}
