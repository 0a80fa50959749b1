//! How owners change: a plan begins it, what nodes report moves it on, and when too few are left it is forced.
//! Deterministic: commands of the control state call it, nobody else.

use std::collections::BTreeSet;

use serde::Deserialize;
use serde::Serialize;

use crate::base::id::NodeId;
use crate::base::id::PartitionId;
use crate::base::limits::PARTITIONS;
use crate::base::limits::REPLICAS_MAX;
use crate::proto::ring::layout::Layout;
use crate::proto::ring::layout::List;
use crate::proto::ring::layout::Next;
use crate::proto::ring::layout::Slot;
use crate::proto::ring::numbers::BucketNumbers;
use crate::proto::ring::numbers::Numbers;
use crate::proto::ring::numbers::Old;
use crate::proto::ring::numbers::distinct;
use crate::proto::ring::plan::Plan;

#[cfg(test)]
mod model;
#[cfg(test)]
mod tests;

/// Why owners or numbers do not change; the layout is as before.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
pub enum Refused {
    /// Another plan came first.
    #[error(
        "the layout has changed since this plan was made; nothing was changed; look at the new plan and commit that"
    )]
    Stale,
    /// Some partition reads its next owners already: that change has to end first.
    #[error(
        "partition {0} is about to finish an earlier change of its owners; nothing was changed; try again when \
         `ringfort ring` says that nothing moves"
    )]
    Busy(PartitionId),
    /// The numbers of this bucket are changing.
    #[error("an earlier change of this bucket's n, r or w is not finished; nothing was changed; try again when it is")]
    Changing,
    /// It is not a layout: a list is missing, too long or empty, or names a node twice or one that may own nothing.
    #[error("this plan is not whole; nothing was changed; make it again")]
    Malformed,
}

impl Layout {
    /// Begins a plan. Only slots whose rule changes for some bucket get a transition; a target that is not read yet is
    /// replaced, and a slot that is to stay as it was is at rest again.
    ///
    /// # Errors
    /// [`Refused`], with the layout as before.
    pub fn commit(&mut self, plan: Plan, numbers: &[BucketNumbers]) -> Result<(), Refused> {
        self.check(&plan)?;
        let numbers = distinct(numbers);
        let version = self.version + 1;
        let mut slots = self.slots.clone();
        for ((partition, slot), owners) in slots.iter_mut().zip(plan.lists) {
            slot.aim(owners, version, &numbers).map_err(|Reading| Refused::Busy(partition))?;
        }
        self.slots = slots;
        self.version = version;
        self.planned = version;
        let before = std::mem::replace(&mut self.nodes, plan.nodes);
        self.leaving.extend(before.into_iter().map(|(node, candidate)| (node, candidate.zone)));
        self.tidy();
        Ok(())
    }

    fn check(&self, plan: &Plan) -> Result<(), Refused> {
        if plan.base != self.planned {
            return Err(Refused::Stale);
        }
        let may_own = |node: &NodeId| plan.nodes.get(node).is_some_and(|candidate| candidate.weight > 0);
        let good = |owners: &Vec<NodeId>| {
            let distinct: BTreeSet<_> = owners.iter().collect();
            let len = owners.len();
            (1..=usize::from(REPLICAS_MAX)).contains(&len) && distinct.len() == len && owners.iter().all(may_own)
        };
        let whole = plan.lists.len() == PARTITIONS && plan.lists.iter().all(good);
        if whole { Ok(()) } else { Err(Refused::Malformed) }
    }

    /// Begins a change of one bucket's numbers; what it returns holds for the bucket from now on. Where the rule changes
    /// on no list it is done at once.
    ///
    /// # Errors
    /// [`Refused`], with the layout as before.
    pub fn change_numbers(&mut self, bucket: BucketNumbers, to: Numbers) -> Result<BucketNumbers, Refused> {
        if bucket.old.is_some() {
            return Err(Refused::Changing);
        }
        let version = self.version + 1;
        let changing = BucketNumbers { now: to, old: Some(Old { numbers: bucket.now, before: version }) };
        if self.is_settled(changing) {
            return Ok(to.into());
        }
        let mut slots = self.slots.clone();
        for (partition, slot) in slots.iter_mut() {
            let present = BucketNumbers::from(to);
            if slot.lists().any(|list| list.rule(changing) != list.rule(present)) {
                let owners = slot.target().owners.clone();
                slot.begin(owners, version).map_err(|Reading| Refused::Busy(partition))?;
            }
        }
        self.slots = slots;
        self.version = version;
        self.planned = version;
        Ok(changing)
    }

    /// Takes what a node says of itself: the version that it has adopted, and the lists (by partition and
    /// [`since`](List::since)) in which it is synced now. Moves phases on where that suffices; says whether one did.
    ///
    /// Of a slot whose epoch it does not know yet it is not believed: it may have lost since what it speaks of. It says
    /// so again once it does.
    pub fn report(
        &mut self,
        node: NodeId,
        adopted: u64,
        synced: &[(PartitionId, u64)],
        numbers: &[BucketNumbers],
    ) -> bool {
        if adopted > self.version || !self.is_known(node) {
            return false;
        }
        let known = self.adopted.entry(node).or_default();
        *known = adopted.max(*known);
        for &(partition, since) in synced {
            let slot = self.slots.at_mut(partition);
            if slot.epoch <= adopted {
                slot.synced(node, since);
            }
        }
        self.advance(numbers)
    }

    fn is_known(&self, node: NodeId) -> bool {
        self.nodes.contains_key(&node) || self.leaving.contains_key(&node)
    }

    /// Moves phases on where nothing is missing any more; says whether one did. For whoever takes a bucket away: it may
    /// have been the one that was waited for.
    pub fn advance(&mut self, numbers: &[BucketNumbers]) -> bool {
        let numbers = distinct(numbers);
        let version = self.version + 1;
        let mut moved = false;
        for (_, slot) in self.slots.iter_mut() {
            let adopted = |node: NodeId, epoch| self.adopted.get(&node).is_some_and(|adopted| *adopted >= epoch);
            moved |= slot.advance(version, &numbers, adopted);
        }
        if moved {
            self.version = version;
            self.tidy();
        }
        moved
    }

    /// Forgets who is gone: no candidate, and in no list any more.
    fn tidy(&mut self) {
        let listed: BTreeSet<NodeId> =
            self.slots().flat_map(|(_, slot)| slot.lists()).flat_map(|list| list.owners.iter().copied()).collect();
        self.leaving.retain(|node, _| listed.contains(node) && !self.nodes.contains_key(node));
        self.adopted.retain(|node, _| self.nodes.contains_key(node) || self.leaving.contains_key(node));
    }

    /// A node has lost what it had acked, or cannot tell: it counts for nothing until it has merged what
    /// [`refill`](Slot::refill) says and reports it. The epochs of its slots rise, so that nobody counts an ack from
    /// before towards a write that those it merges get only later.
    pub fn lost(&mut self, node: NodeId) {
        self.version += 1;
        self.adopted.remove(&node);
        for (_, slot) in self.slots.iter_mut() {
            if slot.lists().any(|list| list.owners.contains(&node)) {
                slot.epoch = self.version;
                slot.unsync(node);
            }
        }
    }

    /// Leaves a history behind of which the end is not known: every version in it is below this one, and every epoch, so
    /// that nobody who goes by that history is heard by anybody who goes by this one, nor the other way round.
    pub fn outrun(&mut self, by: u64) {
        self.version = self.version.saturating_add(by);
        self.planned = self.version;
        for (_, slot) in self.slots.iter_mut() {
            slot.epoch = self.version;
        }
    }

    /// Goes on without nodes that are gone for ever (`--accept-loss`). They count for nothing any more; in slots that
    /// cannot go on so, they are struck from the present list, and the next one takes over what all the others hold. Where
    /// none of the present list is left, those of the next take their place. Returns these slots: acked writes may be
    /// missing in them.
    ///
    /// A slot where all of both lists are gone stays as it is: it needs another plan first.
    pub fn force(&mut self, gone: &BTreeSet<NodeId>, numbers: &[BucketNumbers]) -> Vec<PartitionId> {
        let version = self.version + 1;
        let rules = distinct(numbers);
        let mut forced = Vec::new();
        for (partition, slot) in self.slots.iter_mut() {
            gone.iter().for_each(|node| slot.unsync(*node));
            if slot.is_stuck(gone, &rules) && slot.strike(gone, version, &rules) {
                forced.push(partition);
            }
        }
        if !forced.is_empty() {
            self.version = version;
            self.planned = version;
            self.tidy();
        }
        self.advance(numbers);
        forced
    }
}

/// The slot reads its next list already.
struct Reading;

impl Slot {
    fn aim(&mut self, owners: Vec<NodeId>, version: u64, numbers: &[BucketNumbers]) -> Result<(), Reading> {
        if self.target().owners == owners {
            return Ok(());
        }
        if let Some(next) = &mut self.next {
            if next.list.can_become(&owners, version, numbers) {
                next.list.reorder(owners, numbers);
                return Ok(());
            }
            if next.reads.is_some() {
                return Err(Reading);
            }
        }
        if self.now.can_become(&owners, version, numbers) {
            self.now.reorder(owners, numbers);
            if self.next.take().is_some() {
                self.epoch = version;
            }
            return Ok(());
        }
        self.begin(owners, version)
    }

    fn begin(&mut self, owners: Vec<NodeId>, version: u64) -> Result<(), Reading> {
        if self.next.as_ref().is_some_and(|next| next.reads.is_some()) {
            return Err(Reading);
        }
        self.epoch = version;
        self.next = Some(Next { list: List::new(version, owners), reads: None });
        Ok(())
    }

    fn synced(&mut self, node: NodeId, since: u64) {
        let next = self.next.as_mut().map(|next| &mut next.list);
        if let Some(list) = std::iter::once(&mut self.now).chain(next).find(|list| list.since == since) {
            list.sync(node);
        }
    }

    fn advance(&mut self, version: u64, numbers: &[BucketNumbers], adopted: impl Fn(NodeId, u64) -> bool) -> bool {
        let Some(next) = &mut self.next else { return false };
        if !numbers.iter().all(|&numbers| next.list.can_be_read(numbers)) {
            return false;
        }
        if let Some(reads) = next.reads {
            if !numbers.iter().all(|&numbers| self.now.is_unreadable(numbers, |node| adopted(node, reads))) {
                return false;
            }
            self.now = next.list.clone();
            self.next = None;
        } else {
            next.reads = Some(version);
        }
        self.epoch = version;
        true
    }

    fn unsync(&mut self, node: NodeId) {
        self.now.unsync(node);
        if let Some(next) = &mut self.next {
            next.list.unsync(node);
        }
    }

    /// Whether it cannot go on without those who are gone; they are not synced.
    fn is_stuck(&self, gone: &BTreeSet<NodeId>, numbers: &[BucketNumbers]) -> bool {
        match &self.next {
            None => !numbers.iter().all(|&numbers| self.now.has_synced(numbers)),
            Some(next) if numbers.iter().all(|&numbers| next.list.can_be_read(numbers)) => false,
            Some(next) => next.is_read_in_vain(gone, numbers) || !self.now.can_be_merged(gone, numbers),
        }
    }

    /// Goes on without those who are gone; says whether it can.
    fn strike(&mut self, gone: &BTreeSet<NodeId>, version: u64, numbers: &[BucketNumbers]) -> bool {
        let mut next = match &self.next {
            Some(next) => next.clone(),
            None => Next { list: List::new(version, self.now.owners.clone()), reads: None },
        };
        if next.is_read_in_vain(gone, numbers) {
            // What was acked is on W of the present list too, so there is a way back, and then another plan.
            next.reads = None;
        }
        if !self.now.can_be_merged(gone, numbers) {
            let mut left = self.now.struck(gone, numbers);
            if left.owners.is_empty() {
                // What was acked since the transition began is on some of the next: each has to merge all of them.
                left = List { since: version, ..next.list.struck(gone, numbers) };
                next.reads = None;
            }
            if left.owners.is_empty() {
                return self.make_room(version);
            }
            self.now = left;
        }
        self.next = Some(next);
        self.epoch = version;
        true
    }
}

impl Slot {
    /// All of both lists are gone: reads ask nobody, so that another plan can replace the next list. Says whether they
    /// did ask somebody.
    fn make_room(&mut self, version: u64) -> bool {
        let asked = self.next.as_mut().and_then(|next| next.reads.take()).is_some();
        if asked {
            self.epoch = version;
        }
        asked
    }
}

impl Next {
    /// Whether reads ask it and too few are left of it that could answer, ever.
    fn is_read_in_vain(&self, gone: &BTreeSet<NodeId>, numbers: &[BucketNumbers]) -> bool {
        let left = |owners: &[NodeId]| owners.iter().filter(|node| !gone.contains(node)).count();
        let rules = numbers.iter().map(|&numbers| self.list.rule(numbers));
        self.reads.is_some() && rules.into_iter().any(|rule| left(rule.owners) < rule.read)
    }
}

impl List {
    /// Whether it can have these owners without a transition: the same ones count, and as many of them, for every
    /// bucket; with the numbers that hold on it, and with those that hold from now on, so that no change of numbers is
    /// left half done.
    fn can_become(&self, owners: &[NodeId], version: u64, numbers: &[BucketNumbers]) -> bool {
        let is_same = |since| {
            let wanted = Self::new(since, owners.to_vec());
            numbers.iter().all(|&numbers| self.rule(numbers).is_like(wanted.rule(numbers)))
        };
        !self.struck && is_same(self.since) && is_same(version)
    }

    /// Takes another order and another tail, which no bucket counts yet: those in it hold all there is of a bucket that
    /// may come to count them, for it is made after this.
    fn reorder(&mut self, owners: Vec<NodeId>, numbers: &[BucketNumbers]) {
        self.owners = owners;
        let counted = self.counted(numbers);
        let (head, tail) = self.owners.split_at_checked(counted).unwrap_or((&self.owners, &[]));
        let mut synced: Vec<_> = head.iter().copied().filter(|&node| self.is_synced(node)).collect();
        synced.extend(tail);
        synced.sort_unstable();
        self.synced = synced;
    }

    /// How many of its first owners count for some bucket.
    fn counted(&self, numbers: &[BucketNumbers]) -> usize {
        numbers.iter().map(|&numbers| self.rule(numbers).owners.len()).max().unwrap_or(self.owners.len())
    }

    /// Whether enough are synced to read it.
    fn can_be_read(&self, numbers: BucketNumbers) -> bool {
        let rule = self.rule(numbers);
        rule.owners.iter().filter(|&&node| self.is_synced(node)).count() >= rule.read
    }

    /// Whether too few are left that would answer a read by it.
    fn is_unreadable(&self, numbers: BucketNumbers, refuses: impl Fn(NodeId) -> bool) -> bool {
        let rule = self.rule(numbers);
        let answering = rule.owners.iter().filter(|&&node| self.is_synced(node) && !refuses(node)).count();
        answering < rule.least_read
    }

    /// Whether those who are not gone have, together, whatever was acked, and can tell: one synced owner makes the others
    /// synced.
    fn can_be_merged(&self, gone: &BTreeSet<NodeId>, numbers: &[BucketNumbers]) -> bool {
        numbers.iter().all(|&numbers| {
            let rule = self.rule(numbers);
            let left = rule.owners.iter().filter(|node| !gone.contains(node)).count();
            left >= rule.merge && self.has_synced(numbers)
        })
    }

    fn has_synced(&self, numbers: BucketNumbers) -> bool {
        self.rule(numbers).owners.iter().any(|node| self.is_synced(*node))
    }

    /// What is left of it. Where nobody is synced all count as if they were: there is nothing better.
    fn struck(&self, gone: &BTreeSet<NodeId>, numbers: &[BucketNumbers]) -> Self {
        let counted = self.owners.iter().copied().take(self.counted(numbers));
        let owners: Vec<_> = counted.filter(|node| !gone.contains(node)).collect();
        let mut synced: Vec<_> = owners.iter().copied().filter(|&node| self.is_synced(node)).collect();
        if synced.is_empty() {
            synced.clone_from(&owners);
        }
        synced.sort_unstable();
        Self { since: self.since, owners, synced, struck: true }
    }
}
