//! A ring of MD5 hashes: each node has one spot, and a key belongs to a neighbour of its own. Talks print the next lower
//! node, the paper takes the successor; a second copy goes to the neighbour of the hash of the hash.
//!
//! Source: Stoica et al. 2001, "Chord" §4.2.

use crate::proto::lab::md5::md5;

/// A node on the ring.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Spot {
    /// Where.
    pub hash: [u8; 16],
    /// Who.
    pub name: String,
}

/// Where a key goes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Placed {
    /// Its hash.
    pub hash: [u8; 16],
    /// The hash of that hash.
    pub again: [u8; 16],
    /// The next lower node of each.
    pub lower: [String; 2],
    /// The successor of each.
    pub successor: [String; 2],
}

/// The nodes in the order of the ring.
#[must_use]
pub fn ring(names: &[&str]) -> Vec<Spot> {
    let mut spots: Vec<_> =
        names.iter().map(|name| Spot { hash: md5(name.as_bytes()), name: (*name).to_owned() }).collect();
    spots.sort();
    spots
}

/// Where a key goes on a ring; none where nobody is on it.
#[must_use]
pub fn place(ring: &[Spot], key: &[u8]) -> Option<Placed> {
    let hash = md5(key);
    let again = md5(&hash);
    let lower = |at: [u8; 16]| ring.iter().rev().find(|spot| spot.hash <= at).or(ring.last());
    let successor = |at: [u8; 16]| ring.iter().find(|spot| spot.hash >= at).or(ring.first());
    let name = |spot: Option<&Spot>| spot.map(|spot| spot.name.clone());
    Some(Placed {
        hash,
        again,
        lower: [name(lower(hash))?, name(lower(again))?],
        successor: [name(successor(hash))?, name(successor(again))?],
    })
}
