//! Who votes in the control group, chosen by the software (HOUSE decision 14): one voter while there are fewer than three
//! members, three from then on, in different zones where that can be had. Everyone else is a learner, who has a copy of
//! the state and no vote. A voter that is up stays; one that is down for long, leaves or was removed is replaced by a
//! learner that has caught up. One change at a time, and never by way of two voters: those survive nothing.

use std::collections::BTreeMap;
use std::collections::BTreeSet;

use crate::base::id::NodeId;

/// Members from which on there are this many voters.
pub const VOTERS: usize = 3;
/// How long a voter is down before it is replaced: longer than a restart of a machine with a fast disk, much shorter than
/// the time in which a second one fails.
pub const VOTER_LOST_MS: u64 = 30_000;

/// A member as far as voting goes.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Candidate {
    /// Members in one zone may fail together.
    pub zone: String,
    /// It is to leave: it gets no vote, and gives back the one it has.
    pub leaving: bool,
}

/// Who is in the group now.
#[derive(Debug, Clone, Default)]
pub struct Present {
    /// The voters; two sets while one replaces the other.
    pub voters: Vec<BTreeSet<NodeId>>,
    /// All others.
    pub learners: BTreeSet<NodeId>,
    /// Learners that have all entries but the last few.
    pub caught_up: BTreeSet<NodeId>,
}

/// One change of the group.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Change {
    /// A member gets a copy of the state.
    AddLearner(NodeId),
    /// These vote from now on; those who did become learners.
    SetVoters(BTreeSet<NodeId>),
    /// Who is no member any more gets no copy any more.
    Remove(NodeId),
}

/// Whether these nodes are a majority of every set.
#[must_use]
pub fn is_majority(voters: &[BTreeSet<NodeId>], of: impl Fn(NodeId) -> bool) -> bool {
    voters.iter().all(|set| 2 * set.iter().filter(|node| of(**node)).count() > set.len())
}

/// The next change towards what should be; none where all is so, or nothing can be done now. `down_ms` says for how long
/// the members that are down have been so; `leader` judges.
#[must_use]
pub fn next_change(
    members: &BTreeMap<NodeId, Candidate>,
    down_ms: &BTreeMap<NodeId, u64>,
    present: &Present,
    leader: NodeId,
) -> Option<Change> {
    let voters = present.voters.last()?;
    if present.voters.len() > 1 {
        // A change that its leader did not bring to its end.
        return Some(Change::SetVoters(voters.clone()));
    }
    let new = |node: &&NodeId| !voters.contains(node) && !present.learners.contains(node);
    if let Some(node) = members.keys().find(new) {
        return Some(Change::AddLearner(*node));
    }
    let wanted = Choice { members, down_ms, present, leader }.wanted(voters);
    if wanted != *voters {
        return Some(Change::SetVoters(wanted));
    }
    present.learners.iter().find(|node| !members.contains_key(node)).map(|node| Change::Remove(*node))
}

struct Choice<'a> {
    members: &'a BTreeMap<NodeId, Candidate>,
    down_ms: &'a BTreeMap<NodeId, u64>,
    present: &'a Present,
    leader: NodeId,
}

impl Choice<'_> {
    fn wanted(&self, voters: &BTreeSet<NodeId>) -> BTreeSet<NodeId> {
        let staying = self.members.values().filter(|member| !member.leaving).count();
        let count = if staying < VOTERS { 1 } else { VOTERS };
        if voters.len() == count && count > 1 {
            return self.replace_one(voters);
        }
        // First whoever votes already, the leader before all.
        let mut order: Vec<_> = voters.iter().filter(|node| self.is_good(**node)).copied().collect();
        order.sort_by_key(|node| (*node != self.leader, self.down_ms.contains_key(node)));
        let mut wanted: BTreeSet<_> = order.into_iter().take(count).collect();
        while wanted.len() < count {
            let Some(best) = self.best(&wanted) else { return voters.clone() };
            wanted.insert(best);
        }
        wanted
    }

    /// The worst that is not good enough makes room for the best.
    fn replace_one(&self, voters: &BTreeSet<NodeId>) -> BTreeSet<NodeId> {
        let bad = voters.iter().filter(|node| !self.is_good(**node));
        let Some(worst) = bad.max_by_key(|node| self.down_ms.get(node).copied().unwrap_or_default()) else {
            return voters.clone();
        };
        let mut wanted = voters.clone();
        wanted.remove(worst);
        match self.best(&wanted) {
            Some(best) => {
                wanted.insert(best);
                wanted
            }
            None => voters.clone(),
        }
    }

    fn is_good(&self, voter: NodeId) -> bool {
        let stays = self.members.get(&voter).is_some_and(|member| !member.leaving);
        stays && self.down_ms.get(&voter).is_none_or(|down| *down < VOTER_LOST_MS)
    }

    /// The best beside these: in a zone of its own, then the oldest member.
    fn best(&self, beside: &BTreeSet<NodeId>) -> Option<NodeId> {
        let zones: BTreeSet<_> = beside.iter().filter_map(|node| self.members.get(node)).map(|it| &it.zone).collect();
        let able = |node: &&NodeId| self.present.caught_up.contains(node) && !self.down_ms.contains_key(node);
        let candidates = self.members.iter().filter(|(node, it)| !it.leaving && !beside.contains(node) && able(node));
        candidates.min_by_key(|(node, it)| (zones.contains(&it.zone), **node)).map(|(node, _)| *node)
    }
}

/// Whether the group can do without a voter, of which some others are down.
///
/// # Errors
/// A sentence with the arithmetic.
pub fn may_remove(node: NodeId, voters: &BTreeSet<NodeId>, down: &BTreeSet<NodeId>) -> Result<(), String> {
    let left = voters.iter().filter(|voter| **voter != node && !down.contains(voter)).count();
    let needed = voters.len() / 2 + 1;
    let gone: Vec<_> = voters.iter().filter(|voter| **voter != node && down.contains(voter)).collect();
    if !voters.contains(&node) || voters.len() == 1 || gone.is_empty() || left >= needed {
        return Ok(());
    }
    let gone: Vec<_> = gone.into_iter().map(ToString::to_string).collect();
    Err(format!(
        "node {node} is one of {} voters of the control plane, and node {} is down: without it {left} would be left of \
         the {needed} that a change needs; nothing was changed; bring node {} back first, or wait until it is replaced",
        voters.len(),
        gone.join(" and node "),
        gone.join(" and node "),
    ))
}

#[cfg(test)]
mod tests;
