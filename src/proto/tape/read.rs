//! The tape of a read. Of what owners hold it has contexts, dots and stamps, and no values.

use std::sync::Arc;

use serde::Deserialize;
use serde::Serialize;

use crate::base::codec::Blob;
use crate::base::id::NodeId;
use crate::proto::bucket::Kind;
use crate::proto::causal::Context;
use crate::proto::object::Content;
use crate::proto::object::Object;
use crate::proto::object::Sibling;
use crate::proto::quorum::Quorum;
use crate::proto::quorum::read::Answer;
use crate::proto::quorum::read::Effect;
use crate::proto::quorum::read::Input;
use crate::proto::quorum::read::Read;
use crate::proto::tape::Core;

/// See [`Read::new`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Begin {
    /// Of the bucket.
    pub kind: Kind,
    /// Who is read.
    pub read: Quorum,
    /// Who has to hold what is read.
    pub settle: Vec<Quorum>,
    /// By the steady clock.
    pub now_ms: u64,
    /// When its client is told anyway.
    pub deadline_ms: u64,
}

/// An owner's answer. In memory an object is the one that was heard; what is written down has no values.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Heard {
    /// In short, what it holds.
    Digest(Option<Context>),
    /// What it holds.
    Object(#[serde(with = "without_values")] Option<Arc<Object>>),
    /// What was written back is there.
    Held(u32),
    /// It spoke of an older epoch.
    Stale,
    /// It cannot answer.
    Refused,
}

/// What it is told, each with the steady clock.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Step {
    /// An owner answers.
    Heard(u64, NodeId, Heard),
    /// Time has passed.
    Waited(u64),
}

impl From<Input> for Heard {
    fn from(input: Input) -> Self {
        match input {
            Input::Digest(context) => Self::Digest(context),
            Input::Object(object) => Self::Object(object),
            Input::Held { round } => Self::Held(round),
            Input::Stale => Self::Stale,
            Input::Refused => Self::Refused,
        }
    }
}

impl From<Heard> for Input {
    fn from(heard: Heard) -> Self {
        match heard {
            Heard::Digest(context) => Self::Digest(context),
            Heard::Object(object) => Self::Object(object),
            Heard::Held(round) => Self::Held { round },
            Heard::Stale => Self::Stale,
            Heard::Refused => Self::Refused,
        }
    }
}

impl Core for Read {
    type Begin = Begin;
    type Step = Step;
    type Effect = Effect;

    fn begin(begin: &Begin) -> Self {
        let Begin { kind, read, settle, now_ms, deadline_ms } = begin.clone();
        Self::new(kind, read, settle, now_ms, deadline_ms)
    }

    fn tell(&mut self, step: &Step) {
        match step.clone() {
            Step::Heard(now_ms, from, heard) => self.handle(from, heard.into(), now_ms),
            Step::Waited(now_ms) => self.handle_timeout(now_ms),
        }
    }

    fn poll_effect(&mut self) -> Option<Effect> {
        Self::poll_effect(self)
    }

    fn last_word(effect: &Effect) -> Option<String> {
        match effect {
            Effect::Answer(Answer::Found(None)) => Some("nothing is there".to_owned()),
            Effect::Answer(Answer::Found(Some(object))) => Some(format!("{} values", object.siblings.len())),
            Effect::Answer(Answer::NoQuorum { answered, need }) => {
                Some(format!("{answered} answered of {need} needed"))
            }
            Effect::Answer(Answer::NotSettled) => Some("not settled".to_owned()),
            Effect::Refresh => Some("begins again by newer rules".to_owned()),
            Effect::AskObject { .. } | Effect::AskDigest { .. } | Effect::WriteBack { .. } => None,
        }
    }
}

mod without_values {
    use std::sync::Arc;

    use serde::Deserialize;
    use serde::Deserializer;
    use serde::Serialize;
    use serde::Serializer;

    use super::Object;
    use super::stripped;

    pub(super) fn serialize<S: Serializer>(object: &Option<Arc<Object>>, to: S) -> Result<S::Ok, S::Error> {
        object.as_deref().map(stripped).serialize(to)
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Option<Arc<Object>>, D::Error> {
        Ok(Option::<Object>::deserialize(from)?.map(Arc::new))
    }
}

/// The same object with empty values: who decides about reads never looks into them.
fn stripped(object: &Object) -> Object {
    let sibling = |sibling: &Sibling| {
        let content = match &sibling.content {
            Content::Value { .. } => Content::Value { content_type: String::new(), body: Blob(bytes::Bytes::new()) },
            Content::Tombstone => Content::Tombstone,
        };
        let Sibling { dot, stamp, expires_ms, .. } = *sibling;
        Sibling { dot, stamp, expires_ms, content }
    };
    let siblings = object.siblings.iter().map(sibling).collect();
    Object { context: object.context.clone(), siblings, ops: object.ops.clone() }
}
