//! The odds that enough of a few nodes are down, exactly: each is down with the same probability, whatever the others do.

use std::collections::BTreeSet;

use crate::base::id::NodeId;
use crate::base::limits::LAB_NODES_MAX;

/// Replicas, and how many of them it takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Numbers {
    /// Replicas.
    pub n: u32,
    /// To read.
    pub r: u32,
    /// To write.
    pub w: u32,
}

/// Odds for one key.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Odds {
    /// That it cannot be read.
    pub no_read: f64,
    /// That it cannot be written.
    pub no_write: f64,
    /// That its replicas are all gone.
    pub all_gone: f64,
    /// That those are gone that acked, where nobody else has it yet.
    pub acked_gone: f64,
}

/// Odds for one key, where a node is down (or gone) with probability `p`.
#[must_use]
pub fn of_key(Numbers { n, r, w }: Numbers, p: f64) -> Odds {
    Odds {
        no_read: more_than(n, n.saturating_sub(r), p),
        no_write: more_than(n, n.saturating_sub(w), p),
        all_gone: p.powi(exponent(n)),
        acked_gone: p.powi(exponent(w)),
    }
}

/// That more than `spare` of `n` are down: a sum of binomial terms, the small ones first.
#[must_use]
pub fn more_than(n: u32, spare: u32, p: f64) -> f64 {
    let term = |down: u32| ways(n, down) * p.powi(exponent(down)) * (1.0 - p).powi(exponent(n - down));
    (spare + 1..=n).rev().map(term).fold(0.0, |sum, term| sum + term)
}

/// That at least one of these lists of owners has fewer than `need` that are up: every state of all nodes is looked at. None
/// where there are too many nodes for that.
#[must_use]
pub fn of_ring(lists: &BTreeSet<Vec<NodeId>>, need: usize, p: f64) -> Option<f64> {
    let nodes: Vec<NodeId> = lists.iter().flatten().copied().collect::<BTreeSet<_>>().into_iter().collect();
    if nodes.len() > LAB_NODES_MAX {
        return None;
    }
    let bit = |node: &NodeId| nodes.iter().position(|known| known == node).map_or(0, |at| 1_u32 << at);
    let masks: BTreeSet<(u32, usize)> =
        lists.iter().map(|list| (list.iter().map(bit).fold(0, |mask, bit| mask | bit), list.len())).collect();
    let broken = |down: &u32| {
        masks.iter().any(|(mask, len)| len.saturating_sub((mask & down).count_ones() as usize) < need.min(*len))
    };
    // How many such states there are with each number of nodes down.
    let mut states = vec![0_u32; nodes.len() + 1];
    for down in (0..1_u32 << nodes.len()).filter(broken) {
        if let Some(count) = states.get_mut(down.count_ones() as usize) {
            *count += 1;
        }
    }
    let all = exponent(u32::try_from(nodes.len()).unwrap_or(u32::MAX));
    let term = |(count, up): (&u32, i32)| f64::from(*count) * p.powi(all - up) * (1.0 - p).powi(up);
    Some(states.iter().rev().zip(0..).map(term).fold(0.0, |sum, term| sum + term))
}

/// n over k.
fn ways(n: u32, k: u32) -> f64 {
    (0..k).fold(1.0, |ways, at| ways * f64::from(n - at) / f64::from(at + 1))
}

fn exponent(count: u32) -> i32 {
    i32::try_from(count).unwrap_or(i32::MAX)
}
