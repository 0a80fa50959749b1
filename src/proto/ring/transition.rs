//! How owners change: a plan begins it, what nodes report moves it on, and when too few are left it is forced.
//! Deterministic: commands of the control state call it, nobody else.

use std::collections::BTreeSet;

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
mod tests;

/// Why owners or numbers do not change; the layout is as before.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Refused {
    /// Another plan came first.
    #[error(
        "the layout has changed since this plan was made; nothing was changed; look at the new plan and commit that"
    )]
    Stale,
    /// Some partition reads its next owners already: that change has to end first.
    #[error(
        "partition {0} is about to finish an earlier change of its owners; nothing was changed; try again when \
         `ringfort plan show` says that it is done"
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
        let adopted = *known;
        for &(partition, since) in synced.iter().filter(|(_, since)| *since <= adopted) {
            self.slots.at_mut(partition).synced(node, since);
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

    /// Goes on without nodes that are gone for ever (`--accept-loss`), in those slots that cannot without them: they are
    /// struck from the present list, and the next one takes over what all the others hold. Where nobody is left, the
    /// next list begins with what its owners have. Returns those slots: acked writes may be missing in them.
    pub fn force(&mut self, gone: &BTreeSet<NodeId>, numbers: &[BucketNumbers]) -> Vec<PartitionId> {
        let given = numbers;
        let numbers = distinct(numbers);
        let version = self.version + 1;
        let mut forced = Vec::new();
        for (partition, slot) in self.slots.iter_mut() {
            let adopted = |node: NodeId, epoch| self.adopted.get(&node).is_some_and(|adopted| *adopted >= epoch);
            if slot.is_stuck(gone, &numbers, adopted) {
                slot.strike(gone, version, &numbers);
                forced.push(partition);
            }
        }
        if !forced.is_empty() {
            self.version = version;
            self.planned = version;
            self.tidy();
            self.advance(given);
        }
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
            if next.reads {
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
        if self.next.as_ref().is_some_and(|next| next.reads) {
            return Err(Reading);
        }
        self.epoch = version;
        self.next = Some(Next { list: List::new(version, owners), reads: false });
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
        if !next.reads {
            next.reads = numbers.iter().all(|&numbers| next.list.can_be_read(numbers));
            if next.reads {
                self.epoch = version;
            }
            return next.reads;
        }
        let epoch = self.epoch;
        let unread = |&numbers| self.now.is_unreadable(numbers, |node| adopted(node, epoch));
        if !numbers.iter().all(unread) {
            return false;
        }
        if let Some(next) = self.next.take() {
            self.now = next.list;
            self.epoch = version;
        }
        true
    }

    /// Whether the transition cannot end without those who are gone.
    fn is_stuck(
        &self,
        gone: &BTreeSet<NodeId>,
        numbers: &[BucketNumbers],
        adopted: impl Fn(NodeId, u64) -> bool,
    ) -> bool {
        let Some(next) = &self.next else { return false };
        if next.reads {
            let refuses = |node| !gone.contains(&node) || adopted(node, self.epoch);
            return !numbers.iter().all(|&numbers| self.now.is_unreadable(numbers, refuses));
        }
        let read = numbers.iter().all(|&numbers| next.list.can_be_read(numbers));
        !read && numbers.iter().any(|&numbers| !self.now.can_be_merged(numbers, gone))
    }

    fn strike(&mut self, gone: &BTreeSet<NodeId>, version: u64, numbers: &[BucketNumbers]) {
        let Some(next) = &mut self.next else { return };
        self.now.strike(gone, numbers);
        if self.now.owners.is_empty() {
            next.list.synced.retain(|node| !gone.contains(node));
            if next.list.synced.is_empty() {
                next.list.synced = next.list.owners.iter().copied().filter(|node| !gone.contains(node)).collect();
                next.list.synced.sort_unstable();
            }
            self.now = next.list.clone();
            self.next = None;
        }
        // Whoever adopted the phase that reads the next list has refused since what the present one could answer; the
        // epoch of that stays, so that they need not say it again.
        if self.next.as_ref().is_none_or(|next| !next.reads) {
            self.epoch = version;
        }
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

    /// Whether those who are not gone have, together, whatever was acked, and can tell.
    fn can_be_merged(&self, numbers: BucketNumbers, gone: &BTreeSet<NodeId>) -> bool {
        let rule = self.rule(numbers);
        let left = rule.owners.iter().filter(|node| !gone.contains(node));
        // One synced owner makes the others synced.
        left.clone().count() >= rule.merge && left.into_iter().any(|&node| self.is_synced(node))
    }

    fn strike(&mut self, gone: &BTreeSet<NodeId>, numbers: &[BucketNumbers]) {
        self.owners.truncate(self.counted(numbers));
        self.owners.retain(|node| !gone.contains(node));
        self.synced.retain(|node| self.owners.contains(node));
        if self.synced.is_empty() {
            self.synced.clone_from(&self.owners);
            self.synced.sort_unstable();
        }
        self.struck = true;
    }
}
