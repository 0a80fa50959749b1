//! Reads and writes of one key over its owners: who is asked, when there is enough, and what an answer may say. A core
//! for each request, owned by whoever serves it.

use serde::Deserialize;
use serde::Serialize;

use crate::base::id::NodeId;

pub mod read;
pub mod write;

/// A rule: so many of these owners.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Quorum {
    /// Those that count, in the order of preference.
    pub owners: Vec<NodeId>,
    /// How many of them.
    pub need: usize,
}

impl Quorum {
    /// Whether these are enough.
    #[must_use]
    pub fn is_met(&self, by: &[NodeId], less: usize) -> bool {
        self.owners.iter().filter(|owner| by.contains(owner)).count() + less >= self.need
    }

    /// Whether there can still be enough without these.
    #[must_use]
    pub fn can_be_met(&self, without: &[NodeId]) -> bool {
        self.owners.iter().filter(|owner| !without.contains(owner)).count() >= self.need
    }
}

/// All owners of some rules, each once, in order.
#[must_use]
pub fn owners_of(rules: &[Quorum]) -> Vec<NodeId> {
    let mut owners = Vec::new();
    for owner in rules.iter().flat_map(|rule| &rule.owners) {
        if !owners.contains(owner) {
            owners.push(*owner);
        }
    }
    owners
}
