//! The tape of a write at its owners. What is written is not on it: the core never looks into it.

use std::sync::Arc;

use serde::Deserialize;
use serde::Serialize;

use crate::base::id::NodeId;
use crate::proto::causal::Dot;
use crate::proto::object::Object;
use crate::proto::object::Stamp;
use crate::proto::quorum::Quorum;
use crate::proto::quorum::write::Answer;
use crate::proto::quorum::write::Effect;
use crate::proto::quorum::write::Input;
use crate::proto::quorum::write::Write;
use crate::proto::tape::Core;

/// See [`Write::new`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Begin {
    /// The owner that minted it.
    pub me: NodeId,
    /// Who has to hold it.
    pub rules: Vec<Quorum>,
    /// The write, where another may stand above it.
    pub wins: Option<(Stamp, Dot)>,
    /// By the steady clock.
    pub now_ms: u64,
    /// When its client is told anyway.
    pub deadline_ms: u64,
    /// What is sent: not on a tape.
    #[serde(skip)]
    pub object: Arc<Object>,
}

/// What it is told, each with the steady clock.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Step {
    /// An owner answers.
    Heard(u64, NodeId, Input),
    /// It was minted again.
    Resent(u64, (Stamp, Dot), #[serde(skip)] Arc<Object>),
    /// The rules of a newer epoch.
    Restarted(u64, Vec<Quorum>, #[serde(skip)] Arc<Object>),
    /// Time has passed.
    Waited(u64),
}

impl Core for Write {
    type Begin = Begin;
    type Step = Step;
    type Effect = Effect;

    fn begin(begin: &Begin) -> Self {
        let Begin { me, rules, wins, now_ms, deadline_ms, object } = begin.clone();
        Self::new(me, rules, object, wins, now_ms, deadline_ms)
    }

    fn tell(&mut self, step: &Step) {
        match step.clone() {
            Step::Heard(now_ms, from, input) => self.handle(from, input, now_ms),
            Step::Resent(now_ms, wins, object) => self.resend(object, wins, now_ms),
            Step::Restarted(now_ms, rules, object) => self.restart(rules, object, now_ms),
            Step::Waited(now_ms) => self.handle_timeout(now_ms),
        }
    }

    fn poll_effect(&mut self) -> Option<Effect> {
        Self::poll_effect(self)
    }

    fn last_word(effect: &Effect) -> Option<String> {
        match effect {
            Effect::Answer(Answer::Ok { acked_by }) => Some(format!("ok by {acked_by:?}")),
            Effect::Answer(Answer::Unknown { acked_by }) => Some(format!("unknown, held by {acked_by:?}")),
            Effect::Send { .. } | Effect::Remint { .. } | Effect::Refresh | Effect::Hint { .. } => None,
        }
    }
}
