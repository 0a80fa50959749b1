//! What a node holds of a partition, in short: 256 leaves by a hash of the place, and their sum as the root.
//!
//! A leaf is the sum of a hash for each of its places, of the place and of what is there ([`Object::fingerprint`]). So it
//! does not matter in which order they are added, trees of single buckets add up to that of all of them, and two owners
//! that count in different buckets compare those that both do. A tree is a function of a scan and is never changed by a
//! write: what was written since makes it one of then (HOUSE decision 3).
//!
//! Source: Merkle 1987; DeCandia 2007 §4.7.
//!
//! [`Object::fingerprint`]: crate::proto::object::Object::fingerprint

use serde::Deserialize;
use serde::Serialize;
use xxhash_rust::xxh3;

/// Leaves of a tree: of a partition with a million keys one leaf has four thousand, whose digests are a few messages.
pub const LEAVES: usize = 256;

/// A tree with two levels.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tree(Box<[u64; LEAVES]>);

/// Some of the leaves.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Leaves([u64; LEAVES / 64]);

/// The leaf of a place.
#[must_use]
pub fn leaf_of(place: &[u8]) -> u8 {
    // Another seed than the ring's hash, which is the same for all places of a partition in its top byte.
    xxh3::xxh3_64_with_seed(place, 1).to_le_bytes()[0]
}

/// What one place adds to its leaf and to the root.
#[must_use]
pub fn entry(place: &[u8], fingerprint: u64) -> u64 {
    xxh3::xxh3_64_with_seed(place, fingerprint)
}

impl Default for Tree {
    fn default() -> Self {
        Self(Box::new([0; LEAVES]))
    }
}

impl Tree {
    /// Takes what another node said; `None` where that is no tree.
    #[must_use]
    pub fn of(leaves: &[u64]) -> Option<Self> {
        Some(Self(Box::new(leaves.try_into().ok()?)))
    }

    /// Something is at a place.
    pub fn add(&mut self, place: &[u8], fingerprint: u64) {
        if let Some(leaf) = self.0.get_mut(usize::from(leaf_of(place))) {
            *leaf = leaf.wrapping_add(entry(place, fingerprint));
        }
    }

    /// The sum of all.
    #[must_use]
    pub fn root(&self) -> u64 {
        self.0.iter().fold(0, |sum, leaf| sum.wrapping_add(*leaf))
    }

    /// All leaves in order.
    #[must_use]
    pub fn leaves(&self) -> &[u64] {
        &self.0[..]
    }

    /// Leaves that are not the same in both.
    #[must_use]
    pub fn differing(&self, other: &Self) -> Leaves {
        let mut leaves = Leaves::default();
        for (leaf, (mine, theirs)) in (0..=u8::MAX).zip(self.0.iter().zip(other.0.iter())) {
            if mine != theirs {
                leaves.add(leaf);
            }
        }
        leaves
    }
}

impl Leaves {
    /// One more.
    pub fn add(&mut self, leaf: u8) {
        if let Some(word) = self.0.get_mut(usize::from(leaf / 64)) {
            *word |= 1 << (leaf % 64);
        }
    }

    /// Whether a place is in one of them.
    #[must_use]
    pub fn has(&self, place: &[u8]) -> bool {
        let leaf = leaf_of(place);
        self.0.get(usize::from(leaf / 64)).is_some_and(|word| word & 1 << (leaf % 64) != 0)
    }

    /// None at all.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.iter().all(|word| *word == 0)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::LEAVES;
    use super::Leaves;
    use super::Tree;
    use super::leaf_of;

    fn tree(of: &BTreeMap<Vec<u8>, u64>) -> Tree {
        let mut tree = Tree::default();
        of.iter().for_each(|(place, fingerprint)| tree.add(place, *fingerprint));
        tree
    }

    #[test]
    fn a_tree_travels_as_its_leaves_and_nothing_else_is_one() {
        let mut tree = Tree::default();
        tree.add(b"a", 1);
        assert_eq!(Tree::of(tree.leaves()), Some(tree.clone()));
        assert_eq!(Tree::of(&tree.leaves()[1..]), None);
        assert_eq!(Tree::of(&[0; LEAVES]).unwrap().root(), 0, "nothing is nothing");
    }

    #[test]
    fn the_bytes_of_leaves_are_the_same_on_every_node() {
        // Golden: two releases compare their trees with each other.
        let mut tree = Tree::default();
        tree.add(b"a place", 7);
        assert_eq!((leaf_of(b"a place"), tree.root()), (147, 1_331_114_259_239_143_480));
    }

    proptest! {
        /// What a run of writes and removals leaves has the tree of what is there, however it came to be there.
        #[test]
        fn a_tree_is_a_function_of_what_is_there(
            steps in proptest::collection::vec((0..40_u8, proptest::option::of(any::<u64>())), 0..200),
            order in any::<u64>(),
        ) {
            let mut there = BTreeMap::new();
            for (place, fingerprint) in steps {
                let place = vec![place; 1 + usize::from(place % 3)];
                match fingerprint {
                    Some(fingerprint) => drop(there.insert(place, fingerprint)),
                    None => drop(there.remove(&place)),
                }
            }
            let mut shuffled: Vec<_> = there.iter().collect();
            shuffled.sort_by_key(|(_, fingerprint)| **fingerprint ^ order);
            let (mut other, mut halves) = (Tree::default(), [Tree::default(), Tree::default()]);
            for (number, (place, fingerprint)) in shuffled.into_iter().enumerate() {
                other.add(place, *fingerprint);
                halves[number % 2].add(place, *fingerprint);
            }
            let whole = tree(&there);
            prop_assert_eq!(&other, &whole);
            prop_assert_eq!(halves[0].root().wrapping_add(halves[1].root()), whole.root(), "parts add up");
        }

        #[test]
        fn what_differs_is_in_the_leaves_that_differ(
            mine in proptest::collection::btree_map(any::<[u8; 2]>(), 0..3_u64, 0..60),
            theirs in proptest::collection::btree_map(any::<[u8; 2]>(), 0..3_u64, 0..60),
        ) {
            let of = |map: &BTreeMap<[u8; 2], u64>| map.iter().map(|(place, what)| (place.to_vec(), *what)).collect();
            let (mine, theirs): (BTreeMap<Vec<u8>, u64>, BTreeMap<Vec<u8>, u64>) = (of(&mine), of(&theirs));
            let leaves = tree(&mine).differing(&tree(&theirs));
            let mut wanted = Leaves::default();
            for place in mine.keys().chain(theirs.keys()).filter(|place| mine.get(*place) != theirs.get(*place)) {
                prop_assert!(leaves.has(place));
                wanted.add(leaf_of(place));
            }
            prop_assert_eq!(leaves, wanted);
            prop_assert_eq!(leaves.is_empty(), mine == theirs);
            prop_assert_eq!(tree(&mine).root() == tree(&theirs).root(), mine == theirs);
        }
    }
}
