//! The tape of a write on its way to an owner that may mint for it.

use serde::Deserialize;
use serde::Serialize;

use crate::base::id::NodeId;
use crate::proto::forward::Effect;
use crate::proto::forward::Forward;
use crate::proto::forward::Input;
use crate::proto::tape::Core;

/// See [`Forward::new`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Begin {
    /// The best first.
    pub owners: Vec<NodeId>,
    /// By the steady clock.
    pub now_ms: u64,
    /// When its client is told anyway.
    pub deadline_ms: u64,
}

/// What it is told, each with the steady clock.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Step {
    /// An owner answers.
    Heard(u64, NodeId, Input),
    /// Time has passed.
    Waited(u64),
}

impl Core for Forward {
    type Begin = Begin;
    type Step = Step;
    type Effect = Effect;

    fn begin(begin: &Begin) -> Self {
        Self::new(begin.owners.clone(), begin.now_ms, begin.deadline_ms)
    }

    fn tell(&mut self, step: &Step) {
        match *step {
            Step::Heard(now_ms, from, input) => self.handle(from, input, now_ms),
            Step::Waited(now_ms) => self.handle_timeout(now_ms),
        }
    }

    fn poll_effect(&mut self) -> Option<Effect> {
        Self::poll_effect(self)
    }

    fn last_word(effect: &Effect) -> Option<String> {
        match effect {
            Effect::GiveUp { perhaps_done: true } => Some("given up, perhaps done".to_owned()),
            Effect::GiveUp { perhaps_done: false } => Some("given up, not done".to_owned()),
            Effect::Ask(_) => None,
        }
    }
}
