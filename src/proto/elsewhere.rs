//! Where a device should go: nodes in the order in which it had better try them. The near ones come first, of those the
//! less busy; where nothing tells two apart, each device has an order of its own, so that they spread and each comes back to
//! the same node.

use crate::base::checksum;
use crate::base::id::NodeId;
use crate::base::limits::LOAD_STEP;

/// A node that serves.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Candidate {
    /// Its number.
    pub node: NodeId,
    /// Where devices reach it.
    pub url: String,
    /// Where it stands.
    pub zone: String,
    /// How busy it says that it is, in per cent.
    pub load: u8,
}

/// Orders nodes for the device at this address that is near to this zone.
pub fn order(candidates: &mut [Candidate], zone: &str, device: &[u8]) {
    candidates.sort_by_cached_key(|candidate| {
        let Candidate { node, zone: stands, load, .. } = candidate;
        // A node that others left a moment ago must not draw all of them: loads that differ little are the same.
        let draw = checksum::sha256_u64(&[device, &node.0.to_le_bytes()]);
        (stands != zone, load / LOAD_STEP, draw, *node)
    });
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::Candidate;
    use super::order;
    use crate::base::id::NodeId;

    fn node(node: u64, zone: &str, load: u8) -> Candidate {
        Candidate { node: NodeId(node), url: format!("https://n{node}:7480"), zone: zone.to_owned(), load }
    }

    fn ordered(mut nodes: Vec<Candidate>, zone: &str, device: &str) -> Vec<u64> {
        order(&mut nodes, zone, device.as_bytes());
        nodes.into_iter().map(|candidate| candidate.node.0).collect()
    }

    #[test]
    fn the_near_come_before_the_idle_and_the_idle_before_the_busy() {
        let nodes = vec![node(1, "b", 0), node(2, "a", 90), node(3, "a", 10), node(4, "b", 60)];
        for device in ["10.0.0.1", "10.0.0.2", ""] {
            assert_eq!(ordered(nodes.clone(), "a", device), [3, 2, 1, 4]);
            assert_eq!(ordered(nodes.clone(), "b", device), [1, 4, 3, 2]);
            assert_eq!(ordered(nodes.clone(), "nowhere", device).len(), 4, "unknown zones leave nobody out");
        }
    }

    #[test]
    fn devices_spread_over_equals_and_each_keeps_its_order() {
        let nodes: Vec<_> = [(1, 3), (2, 0), (3, 9)].map(|(number, load)| node(number, "a", load)).to_vec();
        let backwards: Vec<_> = nodes.iter().rev().cloned().collect();
        let mut firsts = BTreeMap::new();
        for device in 0..300 {
            let device = format!("10.0.{}.{}", device / 100, device % 100);
            let chosen = ordered(nodes.clone(), "a", &device);
            assert_eq!(chosen, ordered(backwards.clone(), "a", &device));
            // Who goes does not change the order of those who stay.
            let without: Vec<u64> = chosen.iter().copied().filter(|node| *node != 2).collect();
            assert_eq!(ordered(vec![nodes[0].clone(), nodes[2].clone()], "a", &device), without);
            *firsts.entry(chosen[0]).or_insert(0) += 1;
        }
        assert!(firsts.len() == 3 && firsts.values().all(|count| (60..140).contains(count)), "{firsts:?}");
    }
}
