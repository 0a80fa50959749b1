//! The layout: which nodes own a partition, which of them count, and what comes next. Owns the types and what every
//! request asks of them; `transition` changes them, `sources` says what a new owner has to merge.
//!
//! Invariants: a list names each node once; `synced` is a sorted part of it. A list is known by the version in which it
//! came: `since`. What a node reports of a list stays true in every phase of it.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::collections::BTreeSet;

use serde::Deserialize;
use serde::Serialize;

use crate::base::id::NodeId;
use crate::base::id::PartitionId;
use crate::proto::mutant::Mutant;
use crate::proto::ring::numbers::BucketNumbers;
use crate::proto::ring::slots::Slots;

#[cfg(test)]
mod tests;

/// A node that may own partitions.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Candidate {
    /// What fails together: owners of a partition are kept in distinct zones.
    pub zone: String,
    /// Its share relative to the others; 0 owns nothing.
    pub weight: u32,
}

/// Who owns what. Control state: the same on every node that knows the same version.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Layout {
    /// Rises with every change of a rule.
    pub version: u64,
    /// The version in which it was last decided who is to own what. Phases pass without changing it.
    pub planned: u64,
    /// The candidates of the last plan.
    pub nodes: BTreeMap<NodeId, Candidate>,
    /// Zones of nodes that are no candidates any more and still in a list.
    pub leaving: BTreeMap<NodeId, String>,
    /// The highest version that each node has journaled and synced: it refuses older epochs.
    pub adopted: BTreeMap<NodeId, u64>,
    pub(super) slots: Slots<Slot>,
}

/// One partition's part of the layout.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Slot {
    /// The version in which its rules last changed; every request for it carries this.
    pub epoch: u64,
    /// The present owners.
    pub now: List,
    /// In a transition, those that come.
    pub next: Option<Next>,
}

/// Owners in order of preference; a bucket counts within its first `n`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct List {
    /// The version in which it came: its name in reports.
    pub since: u64,
    /// Each once, at most nine.
    pub owners: Vec<NodeId>,
    /// Those that hold everything that was acked before this list came, sorted. Only they count in reads.
    pub synced: Vec<NodeId>,
    /// What is left after the lost were struck from it (`--accept-loss`): everything needs all of them.
    pub struck: bool,
}

/// The list that comes next.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Next {
    /// The list.
    pub list: List,
    /// The version since which reads ask it: the phase `ReadNext`. None: `Both`.
    pub reads: Option<u64>,
}

/// Owners that may be counted, in order of preference, and how many of them must agree.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Quorum<'a> {
    /// Who counts.
    pub owners: Cow<'a, [NodeId]>,
    /// How many must.
    pub need: usize,
}

/// A list with a bucket's numbers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Rule<'a> {
    /// The first `n`.
    pub(super) owners: &'a [NodeId],
    /// Synced ones for a read.
    pub(super) read: usize,
    /// For a write.
    pub(super) write: usize,
    /// So many synced ones have, together, whatever was acked.
    pub(super) merge: usize,
    /// The fewest with which anybody may still read by this list.
    pub(super) least_read: usize,
}

impl Rule<'_> {
    /// Whether the same owners count, in any order, and as many of them.
    pub(super) fn is_like(self, other: Rule<'_>) -> bool {
        let counts = |rule: Rule<'_>| (rule.owners.len(), rule.read, rule.write, rule.merge, rule.least_read);
        counts(self) == counts(other) && self.owners.iter().all(|node| other.owners.contains(node))
    }
}

impl List {
    /// A list that came in version `since` and of which nobody is synced yet.
    pub(super) fn new(since: u64, owners: Vec<NodeId>) -> Self {
        Self { since, owners, synced: Vec::new(), struck: false }
    }

    pub(super) fn rule(&self, numbers: BucketNumbers) -> Rule<'_> {
        if self.struck {
            // Whoever has not heard of the striking may still count as before it: with all in every quorum, each meets
            // theirs.
            let all = self.owners.len();
            return Rule { owners: &self.owners, read: all, write: all, merge: all, least_read: 1 };
        }
        let numbers = numbers.on(self.since).effective(self.owners.len());
        let (n, read, write) = (usize::from(numbers.n), usize::from(numbers.r), usize::from(numbers.w));
        let owners = self.owners.get(..n).unwrap_or(&self.owners);
        Rule { owners, read, write, merge: (n + 1).saturating_sub(write), least_read: read }
    }

    /// Whether this node holds everything that was acked before the list came.
    #[must_use]
    pub fn is_synced(&self, node: NodeId) -> bool {
        self.synced.binary_search(&node).is_ok()
    }

    pub(super) fn sync(&mut self, node: NodeId) -> bool {
        match self.synced.binary_search(&node) {
            Err(at) if self.owners.contains(&node) => {
                self.synced.insert(at, node);
                true
            }
            Ok(_) | Err(_) => false,
        }
    }

    pub(super) fn unsync(&mut self, node: NodeId) {
        self.synced.retain(|synced| *synced != node);
    }

    fn readers(&self, numbers: BucketNumbers) -> Quorum<'_> {
        let rule = self.rule(numbers);
        let owners = if self.synced.len() == self.owners.len() {
            Cow::Borrowed(rule.owners)
        } else {
            rule.owners.iter().copied().filter(|&node| self.is_synced(node)).collect()
        };
        Quorum { owners, need: rule.read }
    }

    fn settlers(&self, numbers: BucketNumbers) -> Quorum<'_> {
        let rule = self.rule(numbers);
        Quorum { owners: Cow::Borrowed(rule.owners), need: rule.read.min(rule.write) }
    }

    fn writers(&self, numbers: BucketNumbers) -> Quorum<'_> {
        let rule = self.rule(numbers);
        Quorum { owners: Cow::Borrowed(rule.owners), need: rule.write }
    }
}

impl Slot {
    /// What a write needs, all of it: one quorum, or in a transition two. An owner in both counts in both.
    pub fn writes(&self, numbers: BucketNumbers) -> impl Iterator<Item = Quorum<'_>> {
        self.lists().map(move |list| list.writers(numbers))
    }

    /// Where a value has to be so that no later read misses it, also one that was never acked: a read answers nothing
    /// else. As many owners as make an ack, of every list; where R is smaller than W only R.
    pub fn settles(&self, numbers: BucketNumbers) -> impl Iterator<Item = Quorum<'_>> {
        self.lists().map(move |list| list.settlers(numbers))
    }

    /// What a read needs. Fewer owners than it needs may be there: then it cannot be answered for now.
    #[must_use]
    pub fn reads(&self, numbers: BucketNumbers) -> Quorum<'_> {
        if Mutant::ReadOnlyTheNewLayout.is_on()
            && let Some(next) = &self.next
        {
            let rule = next.list.rule(numbers);
            return Quorum { owners: Cow::Borrowed(rule.owners), need: rule.read };
        }
        self.read_from().readers(numbers)
    }

    /// Everyone that a write is sent to, in order of preference, each once.
    pub fn write_owners(&self, numbers: BucketNumbers) -> impl Iterator<Item = NodeId> {
        let now = self.now.rule(numbers).owners;
        let next = self.next.as_ref().map_or(&[][..], |next| next.list.rule(numbers).owners);
        now.iter().copied().chain(next.iter().copied().filter(move |node| !now.contains(node)))
    }

    /// Whether this node stores the bucket's part of the slot, in either list; only then it mints, and only in the
    /// present epoch.
    #[must_use]
    pub fn is_owner(&self, node: NodeId, numbers: BucketNumbers) -> bool {
        self.lists().any(|list| list.rule(numbers).owners.contains(&node))
    }

    /// Whether a question of this epoch is refused: it speaks of rules that are over.
    #[must_use]
    pub fn is_over(&self, epoch: u64) -> bool {
        epoch < self.epoch && !Mutant::AcceptAStaleEpoch.is_on()
    }

    /// Whether what was asked in this epoch and is durable only now must not be counted by the epoch's rules: while it
    /// became durable this node may have given the slot's new owners all that it had, and then this is not among it.
    #[must_use]
    pub fn is_too_late(&self, epoch: u64) -> bool {
        self.is_over(epoch) && !Mutant::CountWhatCameTooLate.is_on()
    }

    /// Whether a node that has durably adopted this version may be a source of the slot: it is synced itself, and
    /// refuses whatever is of an epoch before.
    #[must_use]
    pub fn may_give(&self, node: NodeId, adopted: u64) -> bool {
        adopted >= self.epoch && self.now.is_synced(node)
    }

    /// The list that reads ask.
    #[must_use]
    pub fn read_from(&self) -> &List {
        match &self.next {
            Some(next) if next.reads.is_some() => &next.list,
            Some(_) | None => &self.now,
        }
    }

    /// The list that is to be, once all has been said.
    #[must_use]
    pub fn target(&self) -> &List {
        self.next.as_ref().map_or(&self.now, |next| &next.list)
    }

    /// One list at rest, two in a transition, the present one first.
    pub fn lists(&self) -> impl Iterator<Item = &List> {
        std::iter::once(&self.now).chain(self.next.as_ref().map(|next| &next.list))
    }
}

/// Nobody owns anything: before the cluster has begun.
impl Default for Layout {
    fn default() -> Self {
        Self {
            version: 0,
            planned: 0,
            nodes: BTreeMap::new(),
            leaving: BTreeMap::new(),
            adopted: BTreeMap::new(),
            slots: Slots::all(|| Slot { epoch: 0, now: List::new(0, Vec::new()), next: None }),
        }
    }
}

impl Layout {
    /// The layout of a cluster of one.
    #[must_use]
    pub fn first(node: NodeId, candidate: Candidate) -> Self {
        let version = 1;
        let now = List { synced: vec![node], ..List::new(version, vec![node]) };
        Self {
            version,
            planned: version,
            nodes: BTreeMap::from([(node, candidate)]),
            leaving: BTreeMap::new(),
            adopted: BTreeMap::from([(node, version)]),
            slots: Slots::all(|| Slot { epoch: version, now: now.clone(), next: None }),
        }
    }

    /// Whether a node is a candidate or still in some list.
    #[must_use]
    pub fn lists(&self, node: NodeId) -> bool {
        self.nodes.contains_key(&node) || self.leaving.contains_key(&node)
    }

    /// All others that own a partition together with a node: they count its acks, and it theirs.
    #[must_use]
    pub fn shares_with(&self, node: NodeId) -> BTreeSet<NodeId> {
        let its = self.slots().filter(|(_, slot)| slot.lists().any(|list| list.owners.contains(&node)));
        let owners = its.flat_map(|(_, slot)| slot.lists()).flat_map(|list| list.owners.iter().copied());
        owners.filter(|owner| *owner != node).collect()
    }

    /// Whether every partition of which a node is an owner has another one, who may have what this one lost.
    #[must_use]
    pub fn has_others(&self, node: NodeId) -> bool {
        let alone = |slot: &Slot| slot.now.owners == [node];
        !self.slots().any(|(_, slot)| alone(slot))
    }

    /// Whether it is known that a node has lost what it had ([`lost`](Self::lost)) and it has not come back; or it never
    /// owned anything.
    #[must_use]
    pub fn is_lost(&self, node: NodeId) -> bool {
        !self.adopted.contains_key(&node)
            && !self.slots().flat_map(|(_, slot)| slot.lists()).any(|list| list.is_synced(node))
    }

    /// One partition's slot.
    #[must_use]
    pub fn slot(&self, partition: PartitionId) -> &Slot {
        self.slots.at(partition)
    }

    /// All of them, in order.
    pub fn slots(&self) -> impl Iterator<Item = (PartitionId, &Slot)> {
        self.slots.iter()
    }

    /// Whether no slot is in a transition.
    #[must_use]
    pub fn is_at_rest(&self) -> bool {
        self.slots().all(|(_, slot)| slot.next.is_none())
    }

    /// Whether a node may remove what it holds of a bucket in a partition: it is none of the bucket's owners, no
    /// transition is under way that could ask it, and all that are hold what it held.
    ///
    /// Per bucket, because a list is longer than most buckets' `n`: in a small cluster every node is in every list.
    #[must_use]
    pub fn may_forget(&self, node: NodeId, partition: PartitionId, numbers: BucketNumbers) -> bool {
        let slot = self.slot(partition);
        let owners = slot.now.rule(numbers).owners;
        if Mutant::ForgetBeforeTheReceiverIsDurable.is_on()
            && let Some(next) = &slot.next
            && !next.list.owners.contains(&node)
        {
            return true;
        }
        slot.next.is_none() && !owners.contains(&node) && owners.iter().all(|&owner| slot.now.is_synced(owner))
    }

    /// Whether only a bucket's present numbers are in force, so that the old ones can be dropped.
    #[must_use]
    pub fn is_settled(&self, numbers: BucketNumbers) -> bool {
        let present = BucketNumbers::from(numbers.now);
        self.slots().flat_map(|(_, slot)| slot.lists()).all(|list| list.rule(numbers) == list.rule(present))
    }
}
