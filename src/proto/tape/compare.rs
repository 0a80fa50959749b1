//! The tape of a comparison of one partition with one other owner. Of places it has how many differed, and in which way; they
//! are numbered in their order when it is run again.

use std::collections::BTreeMap;

use serde::Deserialize;
use serde::Serialize;

use crate::base::limits::TAPE_PLACES_MAX;
use crate::proto::exchange::Compare;
use crate::proto::exchange::Effect;
use crate::proto::exchange::Ended;
use crate::proto::exchange::Pair;
use crate::proto::merkle::Leaves;
use crate::proto::tape::Core;
use crate::proto::tape::Reel;
use crate::proto::tape::Tape;
use crate::proto::tape::runs;

/// See [`Compare::begin`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Begin {
    /// By the steady clock.
    pub now_ms: u64,
}

/// Who holds something at a place that differs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Held {
    /// This node.
    Here,
    /// The other one.
    There,
    /// Both, and not the same.
    Both,
}

/// What it is told, each with its question and the steady clock.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Step {
    /// See [`Compare::leaves`].
    Leaves(u64, Leaves, u64),
    /// See [`Compare::digests`]: what differs, in runs, and whether nothing follows.
    Digests(u64, Vec<(Held, u32)>, bool, u64),
    /// See [`Compare::looked_again`]: which of them are as they were, in runs.
    LookedAgain(u64, Vec<(bool, u32)>, u64),
    /// See [`Compare::brought`].
    Brought(u64, u32, u64),
    /// See [`Compare::sent`].
    Sent(u64, u32, u64),
    /// See [`Compare::refused`].
    Refused(u64),
    /// See [`Compare::handle_timeout`].
    Waited(u64),
}

impl Held {
    fn of(pair: &Pair) -> Self {
        match (pair.mine, pair.theirs) {
            (Some(_), None) => Self::Here,
            (None, _) => Self::There,
            (Some(_), Some(_)) => Self::Both,
        }
    }
}

impl Core for Compare<u32> {
    type Begin = Begin;
    type Step = Step;
    type Effect = Effect<u32>;

    fn begin(begin: &Begin) -> Self {
        Self::begin(begin.now_ms)
    }

    fn tell(&mut self, step: &Step) {
        match step {
            Step::Leaves(question, differing, now_ms) => self.leaves(*question, *differing, *now_ms),
            Step::Digests(question, differing, at_end, now_ms) => {
                let first = count_of(self.suspects().count());
                let page: Vec<_> = (first..).zip(runs::each(differing, TAPE_PLACES_MAX)).collect();
                let held_by = |by: Held, print: u64| {
                    let held = page.iter().filter(move |(_, held)| *held == by || *held == Held::Both);
                    held.map(move |(place, _)| (*place, print)).collect::<Vec<_>>()
                };
                let last = page.last().map_or(first, |(place, _)| *place);
                let (mine, theirs) = (held_by(Held::Here, 1), held_by(Held::There, 2));
                self.digests(*question, mine, theirs, (!at_end).then_some(last), *now_ms);
            }
            Step::LookedAgain(question, same, now_ms) => {
                let looked = self.suspects().zip(runs::each(same, TAPE_PLACES_MAX));
                let still = looked.filter(|(_, same)| *same).map(|((place, pair), _)| (*place, *pair));
                let still: BTreeMap<_, _> = still.collect();
                self.looked_again(*question, &still, *now_ms);
            }
            Step::Brought(question, count, now_ms) => self.brought(*question, number(*count), *now_ms),
            Step::Sent(question, count, now_ms) => self.sent(*question, number(*count), *now_ms),
            Step::Refused(question) => self.refused(*question),
            Step::Waited(now_ms) => self.handle_timeout(*now_ms),
        }
    }

    fn poll_effect(&mut self) -> Option<Effect<u32>> {
        Self::poll_effect(self)
    }

    fn last_word(effect: &Effect<u32>) -> Option<String> {
        Some(word(effect))
    }
}

fn count_of(count: usize) -> u32 {
    u32::try_from(count).unwrap_or(u32::MAX)
}

fn number(count: u32) -> usize {
    usize::try_from(count).unwrap_or(usize::MAX)
}

fn word<P>(effect: &Effect<P>) -> String {
    match effect {
        Effect::AskLeaves { question } => format!("{question}: asks for the tree"),
        Effect::AskDigests { question, .. } => format!("{question}: asks for fingerprints"),
        Effect::LookAgain { question, places } => format!("{question}: looks again at {}", places.len()),
        Effect::Bring { question, places } => format!("{question}: brings {}", places.len()),
        Effect::Send { question, places } => format!("{question}: sends {}", places.len()),
    }
}

/// A comparison with its tape running.
#[derive(Debug)]
pub struct TapedCompare<P> {
    core: Compare<P>,
    reel: Reel<Begin, Step>,
}

impl<P: Clone + Ord> TapedCompare<P> {
    /// See [`Compare::begin`].
    #[must_use]
    pub fn begin(now_ms: u64) -> Self {
        Self { core: Compare::begin(now_ms), reel: Reel::new(Begin { now_ms }) }
    }

    /// The core, to ask.
    #[must_use]
    pub fn core(&self) -> &Compare<P> {
        &self.core
    }

    /// See [`Compare::leaves`].
    pub fn leaves(&mut self, question: u64, differing: Leaves, now_ms: u64) {
        self.core.leaves(question, differing, now_ms);
        self.reel.note(Step::Leaves(question, differing, now_ms));
    }

    /// See [`Compare::digests`].
    pub fn digests(
        &mut self,
        question: u64,
        mine: impl IntoIterator<Item = (P, u64)>,
        theirs: impl IntoIterator<Item = (P, u64)>,
        last: Option<P>,
        now_ms: u64,
    ) {
        let (before, at_end) = (self.core.suspects().count(), last.is_none());
        self.core.digests(question, mine, theirs, last, now_ms);
        // Each page lies behind the one before it, so its places are the last.
        let differing = runs::of(self.core.suspects().skip(before).map(|(_, pair)| Held::of(pair)));
        self.reel.note(Step::Digests(question, differing, at_end, now_ms));
    }

    /// See [`Compare::looked_again`].
    pub fn looked_again(&mut self, question: u64, now: &BTreeMap<P, Pair>, now_ms: u64) {
        let same = runs::of(self.core.suspects().map(|(place, pair)| now.get(place) == Some(pair)));
        self.core.looked_again(question, now, now_ms);
        self.reel.note(Step::LookedAgain(question, same, now_ms));
    }

    /// See [`Compare::brought`].
    pub fn brought(&mut self, question: u64, changed: usize, now_ms: u64) {
        self.core.brought(question, changed, now_ms);
        self.reel.note(Step::Brought(question, count_of(changed), now_ms));
    }

    /// See [`Compare::sent`].
    pub fn sent(&mut self, question: u64, count: usize, now_ms: u64) {
        self.core.sent(question, count, now_ms);
        self.reel.note(Step::Sent(question, count_of(count), now_ms));
    }

    /// See [`Compare::refused`].
    pub fn refused(&mut self, question: u64) {
        self.core.refused(question);
        self.reel.note(Step::Refused(question));
    }

    /// See [`Compare::handle_timeout`].
    pub fn handle_timeout(&mut self, now_ms: u64) {
        self.core.handle_timeout(now_ms);
        self.reel.note(Step::Waited(now_ms));
    }

    /// See [`Compare::poll_effect`].
    pub fn poll_effect(&mut self) -> Option<Effect<P>> {
        let effect = self.core.poll_effect()?;
        self.reel.says(Some(word(&effect)));
        Some(effect)
    }

    /// The tape, and what it came to.
    #[must_use]
    pub fn into_tape(self) -> (Tape, Option<Ended>) {
        (Tape::Compare(self.reel), self.core.outcome())
    }
}
