//! What a core was told, step by step: enough to run it again, anywhere, and see the same decision. A core that serves one
//! request has a tape of its own from its first moment ([`Taped`]); one that lives as long as its node is written down step
//! by step, each with what it knew before ([`campaign`](self::campaign)), or some steps at a time ([`pull`](self::pull)). Values are
//! left out, and keys never come in: cores that move or compare places are run again on numbers in their stead.
//!
//! Who keeps tapes is `base::flight`; who runs them again is [`Tape::replay`].

use std::fmt;
use std::fmt::Write as _;

use serde::Deserialize;
use serde::Serialize;

use crate::base::codec;
use crate::base::codec::DecodeError;
use crate::base::limits::RECORDER_TAPE_BYTES_MAX;
use crate::base::limits::TAPE_STEPS_MAX;
use crate::proto::exchange::Compare;
use crate::proto::handoff::Pull;
use crate::proto::purge::Purge;

pub mod campaign;
pub mod compare;
pub mod forward;
pub mod pull;
pub mod purge;
pub mod read;
mod runs;
pub mod write;

#[cfg(test)]
mod tests;

/// The format of a tape.
const VERSION: u8 = 1;
/// Told apart from other sealed bytes.
const CONTEXT: &[u8] = b"tape";

/// A core that can be told again what it was told before.
pub trait Core {
    /// What it begins with.
    type Begin: Clone + fmt::Debug;
    /// What it is told.
    type Step: Clone + fmt::Debug;
    /// What it wants done.
    type Effect: fmt::Debug;

    /// Begins.
    fn begin(begin: &Self::Begin) -> Self;
    /// Is told something.
    fn tell(&mut self, step: &Self::Step);
    /// What to do next.
    fn poll_effect(&mut self) -> Option<Self::Effect>;
    /// What is decided by this effect, for people, where it is the core's last word.
    fn last_word(effect: &Self::Effect) -> Option<String>;
}

/// The tape of one core.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Reel<B, S> {
    /// What it began with.
    pub begin: B,
    /// What it was told.
    pub steps: Vec<S>,
    /// Steps behind the last one that is kept.
    pub left_out: u32,
    /// Its last word, and behind how many steps it came.
    pub end: Option<(u32, String)>,
}

impl<B, S> Reel<B, S> {
    fn new(begin: B) -> Self {
        Self { begin, steps: Vec::new(), left_out: 0, end: None }
    }

    /// It is told something.
    fn note(&mut self, step: S) {
        if self.steps.len() < TAPE_STEPS_MAX {
            self.steps.push(step);
        } else {
            self.left_out = self.left_out.saturating_add(1);
        }
    }

    /// It says something that may be its last word.
    fn says(&mut self, word: Option<String>) {
        let told = u32::try_from(self.steps.len()).unwrap_or(u32::MAX).saturating_add(self.left_out);
        self.end = word.map(|word| (told, word)).or(self.end.take());
    }
}

/// A core with its tape running.
#[derive(Debug)]
pub struct Taped<C: Core> {
    core: C,
    reel: Reel<C::Begin, C::Step>,
    /// Whether what it is told is kept.
    keeps: bool,
}

impl<C: Core> Taped<C> {
    /// Begins both.
    #[must_use]
    pub fn new(begin: C::Begin) -> Self {
        let core = C::begin(&begin);
        Self { core, reel: Reel::new(begin), keeps: true }
    }

    /// The same with a tape that keeps no step.
    #[must_use]
    pub fn without(begin: C::Begin) -> Self {
        Self { keeps: false, ..Self::new(begin) }
    }

    /// The core, to ask; what changes it goes through [`Taped::tell`].
    pub fn core(&self) -> &C {
        &self.core
    }

    /// Tells it something.
    pub fn tell(&mut self, step: C::Step) {
        self.core.tell(&step);
        if self.keeps {
            self.reel.note(step);
        } else {
            self.reel.left_out = self.reel.left_out.saturating_add(1);
        }
    }

    /// What to do next.
    pub fn poll_effect(&mut self) -> Option<C::Effect> {
        let effect = self.core.poll_effect()?;
        self.reel.says(C::last_word(&effect));
        Some(effect)
    }

    /// The tape so far.
    #[must_use]
    pub fn reel(&self) -> &Reel<C::Begin, C::Step> {
        &self.reel
    }

    /// The tape; the core is not needed any more.
    #[must_use]
    pub fn into_reel(self) -> Reel<C::Begin, C::Step> {
        self.reel
    }
}

/// A tape of any core. Variants are appended, never reordered.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Tape {
    /// A write at its owners.
    Write(Reel<write::Begin, write::Step>),
    /// A read.
    Read(Reel<read::Begin, read::Step>),
    /// A write on its way to an owner.
    Forward(Reel<forward::Begin, forward::Step>),
    /// One step towards an election.
    Campaign(Box<campaign::Moment>),
    /// Some steps of a partition on its way to this node.
    Pull(Reel<Pull<()>, pull::Step>),
    /// A comparison with another owner.
    Compare(Reel<compare::Begin, compare::Step>),
    /// Tombstones on their way out.
    Purge(Reel<purge::Begin, purge::Step>),
}

/// What came of running a tape again.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Replay {
    /// What was told and done, in order, for people.
    pub lines: Vec<String>,
    /// Where it came out otherwise than it did then.
    pub differs: Option<String>,
}

impl<B, S> Reel<B, S> {
    /// Leaves out the later half of the steps; false where there is none left to leave out.
    fn shorten(&mut self) -> bool {
        let keep = self.steps.len() / 2;
        let left_out = self.steps.len() - keep;
        self.steps.truncate(keep);
        self.left_out = self.left_out.saturating_add(u32::try_from(left_out).unwrap_or(u32::MAX));
        left_out > 0
    }
}

impl Tape {
    /// Its number among the recorder's kinds.
    #[must_use]
    pub fn kind(&self) -> usize {
        match self {
            Self::Write(_) => 0,
            Self::Read(_) => 1,
            Self::Forward(_) => 2,
            Self::Campaign(_) => 3,
            Self::Pull(_) => 4,
            Self::Compare(_) => 5,
            Self::Purge(_) => 6,
        }
    }

    /// Bytes for the recorder, [`RECORDER_TAPE_BYTES_MAX`] at most: what is longer loses its last steps, and `None` is
    /// what does not even fit without any.
    #[must_use]
    pub fn encode(mut self) -> Option<Vec<u8>> {
        loop {
            let bytes = codec::seal_within(VERSION, CONTEXT, &self, RECORDER_TAPE_BYTES_MAX);
            if bytes.is_some() {
                return bytes;
            }
            let shorter = match &mut self {
                Self::Write(reel) => reel.shorten(),
                Self::Read(reel) => reel.shorten(),
                Self::Forward(reel) => reel.shorten(),
                Self::Campaign(_) => false,
                Self::Pull(reel) => reel.shorten(),
                Self::Compare(reel) => reel.shorten(),
                Self::Purge(reel) => reel.shorten(),
            };
            if !shorter {
                return None;
            }
        }
    }

    /// Reverses [`Tape::encode`].
    ///
    /// # Errors
    /// [`DecodeError`].
    pub fn decode(bytes: &[u8]) -> Result<Self, DecodeError> {
        codec::unseal(VERSION, CONTEXT, bytes)
    }

    /// The kind of core.
    #[must_use]
    pub fn name(&self) -> &'static str {
        match self {
            Self::Write(_) => "write",
            Self::Read(_) => "read",
            Self::Forward(_) => "forward",
            Self::Campaign(_) => "campaign",
            Self::Pull(_) => "pull",
            Self::Compare(_) => "compare",
            Self::Purge(_) => "purge",
        }
    }

    /// Runs the core again, by itself: nothing is sent and nothing stored.
    #[must_use]
    pub fn replay(&self) -> Replay {
        match self {
            Self::Write(reel) => replay::<crate::proto::quorum::write::Write>(reel),
            Self::Read(reel) => replay::<crate::proto::quorum::read::Read>(reel),
            Self::Forward(reel) => replay::<crate::proto::forward::Forward>(reel),
            Self::Campaign(moment) => moment.replay(),
            Self::Pull(reel) => replay::<Pull<()>>(reel),
            Self::Compare(reel) => replay::<Compare<u32>>(reel),
            Self::Purge(reel) => replay::<Purge<()>>(reel),
        }
    }
}

fn replay<C: Core>(reel: &Reel<C::Begin, C::Step>) -> Replay {
    let mut core = C::begin(&reel.begin);
    let (mut lines, mut end) = (vec![format!("begins: {}", short(&reel.begin))], None);
    for told in 0..=reel.steps.len() {
        if let Some(step) = told.checked_sub(1).and_then(|at| reel.steps.get(at)) {
            core.tell(step);
            lines.push(format!("is told: {}", short(step)));
        }
        while let Some(effect) = core.poll_effect() {
            lines.push(format!("wants: {}", short(&effect)));
            if let Some(word) = C::last_word(&effect) {
                end = Some((u32::try_from(told).unwrap_or(u32::MAX), word));
            }
        }
    }
    let differs = (reel.left_out == 0 && end != reel.end).then(|| format!("then {:?}, now {end:?}", reel.end));
    if reel.left_out > 0 {
        lines.push(format!("{} more steps were not kept", reel.left_out));
    }
    Replay { lines, differs }
}

/// In a line that a terminal can show.
fn short(what: &impl fmt::Debug) -> String {
    /// Beyond it a line is cut: an object may have many siblings.
    const CHARS_MAX: usize = 400;
    let mut text = String::new();
    // Writing to a String cannot fail.
    let _infallible = write!(text, "{what:?}");
    if let Some((at, _)) = text.char_indices().nth(CHARS_MAX) {
        text.truncate(at);
        text.push('…');
    }
    text
}
