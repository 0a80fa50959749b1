//! Anti-entropy: two owners of a partition find what is not the same on both and make it so, key by key. [`Ledger`] decides
//! whom to compare with and when, [`Compare`] is one comparison. How fast, and where the data lies, is the driver's business.
//!
//! Roots come first, of many partitions in one question, then leaves where roots differ (`merkle`), then the fingerprints of
//! the places in those leaves. What differs is looked at once more after a rest: only where both sides hold what they held
//! is it repaired. A write under way, or a hint that is due, changes one side meanwhile and is none of this module's
//! business. A repair merges, in both directions, and puts nothing in place of something.
//!
//! Of two owners one asks, always the same ([`asks`]); so no pair compares a partition twice at a time.
//!
//! Source: DeCandia 2007 §4.7.

use std::collections::BTreeMap;

use serde::Deserialize;
use serde::Serialize;

use crate::base::id::NodeId;
use crate::base::id::PartitionId;
use crate::proto::merkle::Leaves;

pub mod heals;

#[cfg(test)]
mod tests;

/// How long what differs is left alone before it is looked at again: a write is on its way for a second before its owner
/// counts as silent.
pub const LOOK_AGAIN_MS: u64 = 2_000;
/// How long the other owner may take for one answer.
pub const ANSWER_MS: u64 = 2_000;
/// How long a partition that is written to all the time waits for its next comparison: its roots are of two moments and
/// differ without anything being wrong.
pub const BUSY_ROOT_MS: u64 = 10_000;
/// Differing places that are repaired before the next are looked for: their names are in memory meanwhile.
pub const SUSPECTS_MAX: usize = 2_000;

/// Whether, of two owners of a partition, this one asks.
#[must_use]
pub fn asks(me: NodeId, other: NodeId, partition: PartitionId) -> bool {
    // Each of two nodes asks for every second partition that they have in common.
    let lower = me.0.wrapping_add(other.0).wrapping_add(u64::from(partition.0)) % 2 == 0;
    me != other && (me < other) == lower
}

/// What a node holds of a partition, of the buckets that another one owns there as well.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Root {
    /// Of the tree.
    pub sum: u64,
    /// Nothing was written since it was made.
    pub settled: bool,
}

/// What is known of a partition and another owner of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Standing {
    /// When both were found the same last.
    pub same_ms: Option<u64>,
    /// Since when they are known to differ, by roots of which both were settled.
    pub differs_since_ms: Option<u64>,
    /// When the last comparison ended.
    compared_ms: Option<u64>,
    /// One is under way.
    comparing: bool,
}

/// What is known of every partition and every other owner of it.
#[derive(Debug, Default)]
pub struct Ledger {
    pairs: BTreeMap<(PartitionId, NodeId), Standing>,
    healed_ms: Option<u64>,
}

impl Ledger {
    /// Notes two roots. Returns whether to begin a comparison, which then counts as begun.
    pub fn roots(
        &mut self,
        me: NodeId,
        other: NodeId,
        partition: PartitionId,
        (mine, theirs): (Root, Root),
        now_ms: u64,
    ) -> bool {
        let standing = self.pairs.entry((partition, other)).or_default();
        if mine.sum == theirs.sum {
            if let Some(since_ms) = standing.differs_since_ms {
                self.healed_ms = Some(now_ms.saturating_sub(since_ms));
            }
            (standing.same_ms, standing.differs_since_ms) = (Some(now_ms), None);
            return false;
        }
        let settled = mine.settled && theirs.settled;
        if settled {
            standing.differs_since_ms.get_or_insert(now_ms);
        }
        let last_ms = standing.compared_ms.max(standing.same_ms);
        let due = settled || last_ms.is_none_or(|last| now_ms >= last + BUSY_ROOT_MS);
        let begins = due && !standing.comparing && asks(me, other, partition);
        standing.comparing |= begins;
        begins
    }

    /// A comparison has ended, whether or not it came to its end.
    pub fn ended(&mut self, other: NodeId, partition: PartitionId, ended: Option<Ended>, now_ms: u64) {
        let Some(standing) = self.pairs.get_mut(&(partition, other)) else { return };
        standing.comparing = false;
        if let Some(ended) = ended {
            standing.compared_ms = Some(now_ms);
            if ended.differing == 0 {
                // What the roots told was under way.
                standing.differs_since_ms = None;
            }
        }
    }

    /// Pairs that have nothing to do with each other any more are forgotten.
    pub fn keep(&mut self, mut still: impl FnMut(PartitionId, NodeId) -> bool) {
        self.pairs.retain(|(partition, other), standing| standing.comparing || still(*partition, *other));
    }

    /// All that is known.
    pub fn standings(&self) -> impl Iterator<Item = (PartitionId, NodeId, &Standing)> {
        self.pairs.iter().map(|((partition, other), standing)| (*partition, *other, standing))
    }

    /// How long the difference lasted that was found to be healed last; none where there was none.
    #[must_use]
    pub fn healed_ms(&self) -> Option<u64> {
        self.healed_ms
    }
}

/// What stands at a place on two owners, as fingerprints.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Pair {
    /// Here.
    pub mine: Option<u64>,
    /// There.
    pub theirs: Option<u64>,
}

/// What to do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Effect<P> {
    /// Ask for the tree, and make the own one of the same buckets: [`Compare::leaves`].
    AskLeaves {
        /// Comes back with the answer.
        question: u64,
    },
    /// Ask for a page of fingerprints in these leaves, and look up the own ones up to its end: [`Compare::digests`].
    AskDigests {
        /// As with [`Effect::AskLeaves`].
        question: u64,
        /// Those that differ.
        leaves: Leaves,
        /// Behind this place; `None` = from the beginning.
        after: Option<P>,
    },
    /// Look what stands at these places now, here and there: [`Compare::looked_again`].
    LookAgain {
        /// As with [`Effect::AskLeaves`].
        question: u64,
        /// In order.
        places: Vec<P>,
    },
    /// Bring these objects and merge them: [`Compare::brought`], when they are durable.
    Bring {
        /// As with [`Effect::AskLeaves`].
        question: u64,
        /// In order.
        places: Vec<P>,
    },
    /// Have the other owner merge what stands here now, where that is not what it holds: [`Compare::sent`].
    Send {
        /// As with [`Effect::AskLeaves`].
        question: u64,
        /// With what the other one holds.
        places: Vec<(P, Option<u64>)>,
    },
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Step {
    Leaves,
    Digests,
    Rest,
    LookAgain,
    Bring,
    Send,
    End,
}

/// What a comparison that came to its end has found and done.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Ended {
    /// Places that differed both times.
    pub differing: usize,
    /// Objects that changed something here.
    pub brought: usize,
    /// Objects that were merged there.
    pub sent: usize,
}

/// One comparison of one partition with one other owner.
#[derive(Debug)]
pub struct Compare<P> {
    step: Step,
    question: u64,
    until_ms: u64,
    leaves: Leaves,
    after: Option<P>,
    at_end: bool,
    suspects: BTreeMap<P, Pair>,
    done: Ended,
    broken: bool,
    todo: Option<Effect<P>>,
}

impl<P: Clone + Ord> Compare<P> {
    /// Begins.
    #[must_use]
    pub fn begin(now_ms: u64) -> Self {
        let (step, until_ms, todo) = (Step::Leaves, now_ms + ANSWER_MS, Some(Effect::AskLeaves { question: 1 }));
        Self {
            step,
            question: 1,
            until_ms,
            leaves: Leaves::default(),
            after: None,
            at_end: false,
            suspects: BTreeMap::new(),
            done: Ended::default(),
            broken: false,
            todo,
        }
    }

    fn ask(&mut self, step: Step, now_ms: u64, effect: impl FnOnce(&Self, u64) -> Effect<P>) {
        self.step = step;
        self.question += 1;
        self.until_ms = now_ms + ANSWER_MS;
        self.todo = Some(effect(self, self.question));
    }

    fn is_awaited(&self, question: u64, step: Step) -> bool {
        question == self.question && step == self.step
    }

    /// Leaves that differ between both trees.
    pub fn leaves(&mut self, question: u64, differing: Leaves, now_ms: u64) {
        if !self.is_awaited(question, Step::Leaves) {
            return;
        }
        self.leaves = differing;
        if differing.is_empty() { self.step = Step::End } else { self.ask_digests(now_ms) }
    }

    fn ask_digests(&mut self, now_ms: u64) {
        self.ask(Step::Digests, now_ms, |this, question| Effect::AskDigests {
            question,
            leaves: this.leaves,
            after: this.after.clone(),
        });
    }

    /// What stands in those leaves behind the place that was asked for and up to `last`, here and there; up to the end of
    /// the partition where nothing follows: `last` is none then.
    pub fn digests(
        &mut self,
        question: u64,
        mine: impl IntoIterator<Item = (P, u64)>,
        theirs: impl IntoIterator<Item = (P, u64)>,
        last: Option<P>,
        now_ms: u64,
    ) {
        if !self.is_awaited(question, Step::Digests) {
            return;
        }
        let mut page: BTreeMap<P, Pair> =
            mine.into_iter().map(|(place, mine)| (place, Pair { mine: Some(mine), theirs: None })).collect();
        for (place, theirs) in theirs {
            page.entry(place).or_insert(Pair { mine: None, theirs: None }).theirs = Some(theirs);
        }
        self.suspects.extend(page.into_iter().filter(|(_, pair)| pair.mine != pair.theirs));
        self.at_end = last.is_none();
        self.after = last.or(self.after.take());
        if !self.at_end && self.suspects.len() < SUSPECTS_MAX {
            return self.ask_digests(now_ms);
        }
        if self.suspects.is_empty() {
            return self.on_with_the_rest(now_ms);
        }
        (self.step, self.until_ms) = (Step::Rest, now_ms + LOOK_AGAIN_MS);
    }

    /// What stands at the places that differed, now.
    pub fn looked_again(&mut self, question: u64, now: &BTreeMap<P, Pair>, now_ms: u64) {
        if !self.is_awaited(question, Step::LookAgain) {
            return;
        }
        // Where one side has changed meanwhile, what changed it may be on its way to the other.
        self.suspects.retain(|place, pair| now.get(place) == Some(pair));
        self.done.differing += self.suspects.len();
        let there = |(place, pair): (&P, &Pair)| pair.theirs.is_some().then(|| place.clone());
        let places: Vec<P> = self.suspects.iter().filter_map(there).collect();
        if places.is_empty() {
            self.send(now_ms);
        } else {
            self.ask(Step::Bring, now_ms, |_, question| Effect::Bring { question, places });
        }
    }

    /// What the other owner held is merged here and durable; so many of its objects changed something.
    pub fn brought(&mut self, question: u64, changed: usize, now_ms: u64) {
        if self.is_awaited(question, Step::Bring) {
            self.done.brought += changed;
            self.send(now_ms);
        }
    }

    fn send(&mut self, now_ms: u64) {
        let here = |(place, pair): (&P, &Pair)| pair.mine.is_some().then(|| (place.clone(), pair.theirs));
        let places: Vec<_> = self.suspects.iter().filter_map(here).collect();
        if places.is_empty() {
            self.on_with_the_rest(now_ms);
        } else {
            self.ask(Step::Send, now_ms, |_, question| Effect::Send { question, places });
        }
    }

    /// The other owner has merged what was not the same there; so many objects it took.
    pub fn sent(&mut self, question: u64, count: usize, now_ms: u64) {
        if self.is_awaited(question, Step::Send) {
            self.done.sent += count;
            self.on_with_the_rest(now_ms);
        }
    }

    fn on_with_the_rest(&mut self, now_ms: u64) {
        self.suspects.clear();
        if self.at_end { self.step = Step::End } else { self.ask_digests(now_ms) }
    }

    /// The other owner does not answer, or not this; or something could not be stored. A later comparison begins anew.
    pub fn refused(&mut self, question: u64) {
        if question == self.question && self.step != Step::Rest {
            self.break_off();
        }
    }

    fn break_off(&mut self) {
        (self.step, self.broken, self.todo) = (Step::End, true, None);
        self.suspects.clear();
    }

    /// What to do now.
    pub fn poll_effect(&mut self) -> Option<Effect<P>> {
        self.todo.take()
    }

    /// When to call [`Compare::handle_timeout`].
    #[must_use]
    pub fn poll_timeout(&self) -> u64 {
        self.until_ms
    }

    /// Time has passed.
    pub fn handle_timeout(&mut self, now_ms: u64) {
        if now_ms < self.until_ms {
            return;
        }
        match self.step {
            Step::Rest => {
                let places = self.suspects.keys().cloned().collect();
                self.ask(Step::LookAgain, now_ms, |_, question| Effect::LookAgain { question, places });
            }
            Step::End => {}
            Step::Leaves | Step::Digests | Step::LookAgain | Step::Bring | Step::Send => self.break_off(),
        }
    }

    /// Places that differ as far as was seen, in their order.
    pub fn suspects(&self) -> impl Iterator<Item = (&P, &Pair)> {
        self.suspects.iter()
    }

    /// Whether nothing is left to do.
    #[must_use]
    pub fn has_ended(&self) -> bool {
        self.step == Step::End
    }

    /// What it came to, where it came to its end.
    #[must_use]
    pub fn outcome(&self) -> Option<Ended> {
        (self.has_ended() && !self.broken).then_some(self.done)
    }
}
