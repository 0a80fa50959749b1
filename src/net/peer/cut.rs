//! Which links are cut by a test or a drill. Pure.

use std::collections::BTreeMap;

use crate::base::id::NodeId;
use crate::net::wire::Lane;

/// Cut for all nodes, and for single ones.
#[derive(Debug, Default)]
pub(super) struct Cuts {
    all: Lanes,
    nodes: BTreeMap<NodeId, Lanes>,
}

type Lanes = [bool; Lane::ALL.len()];

impl Cuts {
    pub(super) fn set(&mut self, lane: Option<Lane>, node: Option<NodeId>, cut: bool) {
        let lanes = |of: &mut Lanes| {
            let named = of.iter_mut().zip(Lane::ALL).filter(|(_, name)| lane.is_none_or(|lane| lane == *name));
            named.for_each(|(is_cut, _)| *is_cut = cut);
        };
        match node {
            Some(node) => lanes(self.nodes.entry(node).or_insert(self.all)),
            None => {
                lanes(&mut self.all);
                self.nodes.values_mut().for_each(lanes);
            }
        }
    }

    pub(super) fn is_cut(&self, lane: Lane, node: NodeId) -> bool {
        let lanes = self.nodes.get(&node).unwrap_or(&self.all);
        lanes.iter().zip(Lane::ALL).any(|(is_cut, name)| *is_cut && name == lane)
    }
}

#[cfg(test)]
mod tests {
    use super::Cuts;
    use crate::base::id::NodeId;
    use crate::net::wire::Lane;

    #[test]
    fn cuts_are_for_all_or_for_one_and_heal_the_same_way() {
        let mut cuts = Cuts::default();
        let mut check = |lane, node: Option<u64>, cut, expected: [bool; 4]| {
            cuts.set(lane, node.map(NodeId), cut);
            let of = |lane, node| cuts.is_cut(lane, NodeId(node));
            let seen = [of(Lane::Gossip, 2), of(Lane::Gossip, 3), of(Lane::Bulk, 2), of(Lane::Bulk, 3)];
            assert_eq!(seen, expected, "{lane:?} {node:?} {cut}");
        };
        check(Some(Lane::Gossip), None, true, [true, true, false, false]);
        check(None, Some(3), true, [true, true, false, true]);
        check(Some(Lane::Gossip), Some(2), false, [false, true, false, true]);
        check(None, Some(3), false, [false, false, false, false]);
        check(None, None, true, [true; 4]);
        check(Some(Lane::Bulk), None, false, [true, true, false, false]);
        check(None, None, false, [false; 4]);
    }
}
