//! The tape of a partition on its way to this node: what was known at its beginning, and some steps. A pull has as many steps
//! as a partition has pages, so it is kept a few at a time. Which places they are decides nothing, and is not kept.

use std::mem;

use serde::Deserialize;
use serde::Serialize;

use crate::base::limits::TAPE_PLACES_MAX;
use crate::base::limits::TAPE_PULL_STEPS;
use crate::proto::handoff::Effect;
use crate::proto::handoff::Pull;
use crate::proto::tape::Core;
use crate::proto::tape::Reel;
use crate::proto::tape::Tape;

/// What it is told, each with its question and the steady clock.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Step {
    /// See [`Pull::go_on`].
    GoOn(u64),
    /// See [`Pull::objects`]: how many, whether there is a last one, whether more follow.
    Objects(u64, u32, bool, bool, u64),
    /// See [`Pull::digests`]: how many differ, whether there is a last one, whether more follow.
    Digests(u64, u32, bool, bool, u64),
    /// So many times [`Pull::stored`].
    Stored(u64, u32, u64),
    /// See [`Pull::refused`].
    Refused(u64, u64),
    /// See [`Pull::handle_timeout`].
    Waited(u64),
}

impl Core for Pull<()> {
    type Begin = Self;
    type Step = Step;
    type Effect = Effect<()>;

    fn begin(begin: &Self) -> Self {
        begin.clone()
    }

    fn tell(&mut self, step: &Step) {
        match *step {
            Step::GoOn(now_ms) => self.go_on(now_ms),
            Step::Objects(question, count, last, more, now_ms) => {
                self.objects(question, places(count).len(), last.then_some(()), more, now_ms);
            }
            Step::Digests(question, count, last, more, now_ms) => {
                self.digests(question, places(count), last.then_some(()), more, now_ms);
            }
            Step::Stored(question, count, now_ms) => {
                places(count).iter().for_each(|()| self.stored(question, now_ms));
            }
            Step::Refused(question, now_ms) => self.refused(question, now_ms),
            Step::Waited(now_ms) => self.handle_timeout(now_ms),
        }
    }

    fn poll_effect(&mut self) -> Option<Effect<()>> {
        Self::poll_effect(self)
    }

    fn last_word(effect: &Effect<()>) -> Option<String> {
        Some(word(effect))
    }
}

/// So many of them, if they are not too many: a tape may come from anywhere.
fn places(count: u32) -> Vec<()> {
    vec![(); usize::try_from(count).unwrap_or(usize::MAX).min(TAPE_PLACES_MAX)]
}

fn count_of(count: usize) -> u32 {
    u32::try_from(count).unwrap_or(u32::MAX)
}

fn word<P>(effect: &Effect<P>) -> String {
    match effect {
        Effect::AskObjects { from, question, .. } => format!("{question}: asks {from} for objects"),
        Effect::AskDigests { from, question, .. } => format!("{question}: asks {from} for digests"),
        Effect::AskThese { from, question, places } => format!("{question}: asks {from} for {} objects", places.len()),
        Effect::Merged { from } => format!("has merged {from}"),
    }
}

/// A pull with its tape running.
#[derive(Debug)]
pub struct TapedPull<P> {
    core: Pull<P>,
    reel: Option<Reel<Pull<()>, Step>>,
    full: Option<Tape>,
}

impl<P: Clone> TapedPull<P> {
    /// From its first moment.
    #[must_use]
    pub fn new(core: Pull<P>) -> Self {
        let reel = core.without_places().map(Reel::new);
        Self { core, reel, full: None }
    }

    /// The core, to ask.
    #[must_use]
    pub fn core(&self) -> &Pull<P> {
        &self.core
    }

    fn note(&mut self, step: Step) -> &mut Pull<P> {
        if let Some(reel) = &mut self.reel {
            reel.note(step);
        }
        &mut self.core
    }

    /// See [`Pull::go_on`].
    pub fn go_on(&mut self, now_ms: u64) {
        self.note(Step::GoOn(now_ms)).go_on(now_ms);
    }

    /// See [`Pull::objects`].
    pub fn objects(&mut self, question: u64, count: usize, last: Option<P>, more: bool, now_ms: u64) {
        let step = Step::Objects(question, count_of(count), last.is_some(), more, now_ms);
        self.note(step).objects(question, count, last, more, now_ms);
    }

    /// See [`Pull::digests`].
    pub fn digests(&mut self, question: u64, differing: Vec<P>, last: Option<P>, more: bool, now_ms: u64) {
        let step = Step::Digests(question, count_of(differing.len()), last.is_some(), more, now_ms);
        self.note(step).digests(question, differing, last, more, now_ms);
    }

    /// So many times [`Pull::stored`].
    pub fn stored(&mut self, question: u64, count: usize, now_ms: u64) {
        if count == 0 {
            return;
        }
        let core = self.note(Step::Stored(question, count_of(count), now_ms));
        (0..count).for_each(|_| core.stored(question, now_ms));
    }

    /// See [`Pull::refused`].
    pub fn refused(&mut self, question: u64, now_ms: u64) {
        self.note(Step::Refused(question, now_ms)).refused(question, now_ms);
    }

    /// See [`Pull::handle_timeout`].
    pub fn handle_timeout(&mut self, now_ms: u64) {
        self.note(Step::Waited(now_ms)).handle_timeout(now_ms);
    }

    /// See [`Pull::poll_effect`].
    pub fn poll_effect(&mut self) -> Option<Effect<P>> {
        let effect = self.core.poll_effect()?;
        if let Some(reel) = &mut self.reel {
            reel.says(Some(word(&effect)));
        }
        if self.reel.as_ref().is_none_or(|reel| reel.steps.len() >= TAPE_PULL_STEPS) {
            let next = self.core.without_places().map(Reel::new);
            self.full = mem::replace(&mut self.reel, next).map(Tape::Pull);
        }
        Some(effect)
    }

    /// The tape that has become so long that another one was begun.
    pub fn take_full(&mut self) -> Option<Tape> {
        self.full.take()
    }

    /// The last tape.
    #[must_use]
    pub fn into_tape(mut self) -> Option<Tape> {
        // What is not done any more was wanted all the same.
        while self.poll_effect().is_some() {}
        self.full.or(self.reel.map(Tape::Pull))
    }
}
