//! The tape of a purge: of its graves it has how many, and which of them the others agree about.

use std::collections::BTreeSet;

use serde::Deserialize;
use serde::Serialize;

use crate::base::id::NodeId;
use crate::base::limits::TAPE_PLACES_MAX;
use crate::proto::purge::Effect;
use crate::proto::purge::Purge;
use crate::proto::tape::Core;
use crate::proto::tape::Reel;
use crate::proto::tape::Tape;
use crate::proto::tape::runs;

/// See [`Purge::begin`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Begin {
    /// Other members.
    pub others: BTreeSet<NodeId>,
    /// The new floor.
    pub floor: u64,
    /// How many.
    pub graves: u32,
    /// By the steady clock.
    pub now_ms: u64,
}

/// What it is told.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Step {
    /// See [`Purge::raised`].
    Raised(u64),
    /// See [`Purge::agreed`]: about which, in runs.
    Agreed(NodeId, Vec<(bool, u32)>, u64),
    /// See [`Purge::refused`].
    Refused,
    /// See [`Purge::removed`].
    Removed(NodeId),
    /// See [`Purge::handle_timeout`].
    Waited(u64),
}

impl Core for Purge<()> {
    type Begin = Begin;
    type Step = Step;
    type Effect = Effect<()>;

    fn begin(begin: &Begin) -> Self {
        let graves = runs::each(&[(((), 0), begin.graves)], TAPE_PLACES_MAX).collect();
        Self::begin(begin.others.clone(), begin.floor, graves, begin.now_ms)
    }

    fn tell(&mut self, step: &Step) {
        match step {
            Step::Raised(now_ms) => self.raised(*now_ms),
            Step::Agreed(from, agreed, now_ms) => {
                let agreed: Vec<bool> = runs::each(agreed, TAPE_PLACES_MAX).collect();
                self.agreed(*from, &agreed, *now_ms);
            }
            Step::Refused => self.refused(),
            Step::Removed(from) => self.removed(*from),
            Step::Waited(now_ms) => self.handle_timeout(*now_ms),
        }
    }

    fn poll_effect(&mut self) -> Option<Effect<()>> {
        Self::poll_effect(self)
    }

    fn last_word(effect: &Effect<()>) -> Option<String> {
        Some(word(effect))
    }
}

fn word<P>(effect: &Effect<P>) -> String {
    match effect {
        Effect::Ask { to, graves, .. } => format!("asks {to} about {}", graves.len()),
        Effect::Raise { floor } => format!("raises its floor to {floor}"),
        Effect::Remove { graves } => format!("removes {}", graves.len()),
        Effect::Tell { to, graves, .. } => format!("tells {to} of {}", graves.len()),
    }
}

/// A purge with its tape running.
#[derive(Debug)]
pub struct TapedPurge<P> {
    core: Purge<P>,
    reel: Reel<Begin, Step>,
}

impl<P: Clone> TapedPurge<P> {
    /// See [`Purge::begin`].
    #[must_use]
    pub fn begin(others: BTreeSet<NodeId>, floor: u64, graves: Vec<(P, u64)>, now_ms: u64) -> Self {
        let count = u32::try_from(graves.len()).unwrap_or(u32::MAX);
        let begin = Begin { others: others.clone(), floor, graves: count, now_ms };
        Self { core: Purge::begin(others, floor, graves, now_ms), reel: Reel::new(begin) }
    }

    /// The core, to ask.
    #[must_use]
    pub fn core(&self) -> &Purge<P> {
        &self.core
    }

    /// See [`Purge::raised`].
    pub fn raised(&mut self, now_ms: u64) {
        self.core.raised(now_ms);
        self.reel.note(Step::Raised(now_ms));
    }

    /// See [`Purge::agreed`].
    pub fn agreed(&mut self, from: NodeId, agreed: &[bool], now_ms: u64) {
        self.core.agreed(from, agreed, now_ms);
        self.reel.note(Step::Agreed(from, runs::of(agreed.iter().copied()), now_ms));
    }

    /// See [`Purge::refused`].
    pub fn refused(&mut self) {
        self.core.refused();
        self.reel.note(Step::Refused);
    }

    /// See [`Purge::removed`].
    pub fn removed(&mut self, from: NodeId) {
        self.core.removed(from);
        self.reel.note(Step::Removed(from));
    }

    /// See [`Purge::handle_timeout`].
    pub fn handle_timeout(&mut self, now_ms: u64) {
        self.core.handle_timeout(now_ms);
        self.reel.note(Step::Waited(now_ms));
    }

    /// See [`Purge::poll_effect`].
    pub fn poll_effect(&mut self) -> Option<Effect<P>> {
        let effect = self.core.poll_effect()?;
        self.reel.says(Some(word(&effect)));
        Some(effect)
    }

    /// The tape.
    #[must_use]
    pub fn into_tape(self) -> Tape {
        Tape::Purge(self.reel)
    }
}
