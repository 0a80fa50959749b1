//! A read over the owners of a key. One owner is asked for the object, the others only for its context; where these differ
//! the objects that are missing are fetched and merged. The value is answered when R synced owners have said what they
//! hold, and when it is *settled*: held by so many owners of every rule under which it may have been written that no
//! later read can miss it. Where it is not, it is written back first. So a value that was read once cannot vanish, also
//! not while owners change; if that cannot be had in time, the read fails honestly.
//!
//! Settled means W owners of every rule, as if the write had been acked: any later read meets one of them, and so does
//! any new owner that merges the slot. Where R is smaller than W only R of them are asked for: such a bucket trades it for
//! reads that need few owners, and only acked values have a promise there.
//!
//! After the answer the read stays open for a while, and repairs the owners that turn out to be behind.

use std::collections::VecDeque;
use std::sync::Arc;

use crate::base::id::NodeId;
use crate::proto::bucket::Kind;
use crate::proto::causal::Context;
use crate::proto::mutant::Mutant;
use crate::proto::object::Object;
use crate::proto::object::merge::merge;
use crate::proto::quorum::Quorum;
use crate::proto::quorum::owners_of;

#[cfg(test)]
mod tests;

/// How long the first owner may take for its object before another is asked as well: a few times what a healthy one
/// takes, so that hedges are rare.
pub const HEDGE_MS: u64 = 30;
/// How long a read stays open for those that are late, to repair them.
const LINGER_MS: u64 = 500;

/// What comes back from an owner.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Input {
    /// In short, what it holds; `None` = nothing.
    Digest(Option<Context>),
    /// What it holds.
    Object(Option<Arc<Object>>),
    /// What was written back is merged and durable there.
    Held {
        /// Of the [`Effect::WriteBack`] that it answers.
        round: u32,
    },
    /// It did nothing, because the read speaks of an older epoch: begin again under the newer rules.
    Stale,
    /// It cannot answer, or its machine says that it is not there.
    Refused,
}

/// What to do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Effect {
    /// Ask this owner what it holds.
    AskObject {
        /// The owner.
        to: NodeId,
    },
    /// Ask this owner in short.
    AskDigest {
        /// The owner.
        to: NodeId,
    },
    /// Have this owner merge what was read: before the answer to settle it, after it to repair.
    WriteBack {
        /// The owner.
        to: NodeId,
        /// What was read.
        object: Arc<Object>,
        /// How much that is: comes back with the answer.
        round: u32,
    },
    /// Begin again with a new core, under the rules of the newer epoch.
    Refresh,
    /// Tell the client.
    Answer(Answer),
}

/// What the client is told.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Answer {
    /// What is there: all concurrent values, and what they replace.
    Found(Option<Arc<Object>>),
    /// Too few owners answered in time.
    NoQuorum {
        /// How many did.
        answered: usize,
        /// How many are needed.
        need: usize,
    },
    /// It is read, but could not be settled in time.
    NotSettled,
}

/// What is known of one owner.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Known {
    /// It was asked.
    Nothing,
    /// What it holds, in short.
    Digest(Option<Context>),
    /// It holds what was read: it said so, or has merged it.
    Object(Option<Context>),
    /// It will not answer.
    Gone,
}

impl Known {
    fn says_less_than(&self, before: &Self) -> bool {
        match (self, before) {
            (Self::Gone, Self::Object(_)) => true,
            (Self::Digest(new) | Self::Object(new), Self::Object(Some(old))) => {
                !new.as_ref().is_some_and(|new| new.includes(old))
            }
            (Self::Digest(_), Self::Object(None)) => true,
            _ => false,
        }
    }
}

#[derive(Debug)]
struct Owner {
    id: NodeId,
    known: Known,
    /// Its object was asked for.
    asked_object: bool,
    /// What of the read was sent to it last.
    written_back: Option<Context>,
}

/// One read.
#[derive(Debug)]
pub struct Read {
    kind: Kind,
    read: Quorum,
    settle: Vec<Quorum>,
    owners: Vec<Owner>,
    /// The merge of all objects so far.
    merged: Option<Arc<Object>>,
    /// How often that has grown.
    round: u32,
    hedge_at_ms: u64,
    deadline_ms: u64,
    answered: bool,
    /// Until when it stays open after the answer.
    open_until_ms: u64,
    todo: VecDeque<Effect>,
}

impl Read {
    /// A read of `read`, whose owners are in the order in which they should be asked; `settle` are the rules under which
    /// the key is written, each with the number of owners that settles a value: the smaller of its R and W.
    #[must_use]
    pub fn new(kind: Kind, read: Quorum, settle: Vec<Quorum>, now_ms: u64, deadline_ms: u64) -> Self {
        let mut all = read.owners.clone();
        for owner in owners_of(&settle) {
            if !all.contains(&owner) {
                all.push(owner);
            }
        }
        let owner = |id| Owner { id, known: Known::Nothing, asked_object: false, written_back: None };
        let mut this = Self {
            kind,
            read,
            settle,
            owners: all.into_iter().map(owner).collect(),
            merged: None,
            round: 0,
            hedge_at_ms: now_ms + HEDGE_MS,
            deadline_ms,
            answered: false,
            open_until_ms: 0,
            todo: VecDeque::new(),
        };
        let _first = this.ask_object();
        for at in 0..this.owners.len() {
            if let Some(owner) = this.owners.get(at).filter(|owner| !owner.asked_object) {
                this.todo.push_back(Effect::AskDigest { to: owner.id });
            }
        }
        this.decide(now_ms);
        this
    }

    /// Asks the next owner of the read for its object; false where nobody is left.
    fn ask_object(&mut self) -> bool {
        let next = self.owners.iter_mut().find(|owner| {
            let open = matches!(owner.known, Known::Nothing | Known::Digest(_));
            open && !owner.asked_object && self.read.owners.contains(&owner.id)
        });
        let Some(owner) = next else { return false };
        owner.asked_object = true;
        self.todo.push_back(Effect::AskObject { to: owner.id });
        true
    }

    /// An owner answers.
    pub fn handle(&mut self, from: NodeId, input: Input, now_ms: u64) {
        let Some(at) = self.owners.iter().position(|owner| owner.id == from) else { return };
        let known = match input {
            Input::Digest(context) => Known::Digest(context),
            Input::Object(object) => {
                let context = object.as_ref().map(|object| object.context.clone());
                self.take(object);
                Known::Object(context)
            }
            // Of less than what was sent last it says too little.
            Input::Held { round } if round != self.round => return,
            Input::Held { .. } => Known::Object(self.owners.get(at).and_then(|owner| owner.written_back.clone())),
            Input::Stale if self.answered => Known::Gone,
            Input::Stale => {
                self.answered = true;
                self.todo.clear();
                return self.todo.push_back(Effect::Refresh);
            }
            Input::Refused => Known::Gone,
        };
        if let Some(owner) = self.owners.get_mut(at) {
            // What an owner has said it holds it still does, whatever an older answer says.
            if !known.says_less_than(&owner.known) {
                owner.known = known;
            }
        }
        self.decide(now_ms);
    }

    fn take(&mut self, object: Option<Arc<Object>>) {
        let Some(object) = object else { return };
        let grown = match &self.merged {
            None => object,
            Some(merged) if merged.context.includes(&object.context) => return,
            Some(merged) => Arc::new(merge(merged, &object, self.kind)),
        };
        self.merged = Some(grown);
        self.round += 1;
    }

    /// The owners of the read that have answered.
    fn answered_by(&self) -> impl Iterator<Item = &Owner> {
        let said = |owner: &&Owner| matches!(owner.known, Known::Digest(_) | Known::Object(_));
        self.owners.iter().filter(said).filter(|owner| self.read.owners.contains(&owner.id))
    }

    fn decide(&mut self, now_ms: u64) {
        if self.answered {
            return self.repair();
        }
        let need = self.read.need.saturating_sub(usize::from(Mutant::ReadAtRMinusOne.is_on()));
        let answered = self.answered_by().count();
        if answered < need {
            let open = self.owners.iter().filter(|owner| owner.known == Known::Nothing);
            let open = open.filter(|owner| self.read.owners.contains(&owner.id)).count();
            if answered + open < need {
                self.answer(Answer::NoQuorum { answered, need }, now_ms);
            }
            return;
        }
        if self.is_missing_objects() {
            return;
        }
        let holders = self.holders();
        if Mutant::NoWriteBack.is_on() || self.settle.iter().all(|rule| rule.is_met(&holders, 0)) {
            self.answer(Answer::Found(self.merged.clone()), now_ms);
            return self.repair();
        }
        let silent: Vec<_> =
            self.owners.iter().filter(|owner| owner.known == Known::Gone).map(|owner| owner.id).collect();
        if !self.settle.iter().all(|rule| rule.can_be_met(&silent)) {
            return self.answer(Answer::NotSettled, now_ms);
        }
        self.write_back(|_| true);
    }

    /// Whether an owner has said of something that is not merged yet; its object is asked for.
    fn is_missing_objects(&mut self) -> bool {
        let empty = Context::new();
        let merged = self.merged.as_ref().map_or(&empty, |merged| &merged.context);
        let mut missing = false;
        for owner in self.owners.iter_mut().filter(|owner| self.read.owners.contains(&owner.id)) {
            if let Known::Digest(Some(context)) = &owner.known
                && !merged.includes(context)
            {
                missing = true;
                if !owner.asked_object {
                    owner.asked_object = true;
                    self.todo.push_back(Effect::AskObject { to: owner.id });
                }
            }
        }
        missing
    }

    /// The owners that hold all that was read.
    fn holders(&self) -> Vec<NodeId> {
        let Some(merged) = &self.merged else { return self.owners.iter().map(|owner| owner.id).collect() };
        let holds = |owner: &&Owner| match &owner.known {
            Known::Digest(Some(context)) | Known::Object(Some(context)) => context.includes(&merged.context),
            Known::Digest(None) | Known::Object(None) | Known::Nothing | Known::Gone => false,
        };
        self.owners.iter().filter(holds).map(|owner| owner.id).collect()
    }

    fn write_back(&mut self, whom: impl Fn(&Owner) -> bool) {
        let holders = self.holders();
        let Some(merged) = &self.merged else { return };
        for owner in &mut self.owners {
            let sent = owner.written_back.as_ref() == Some(&merged.context);
            if !sent && owner.known != Known::Gone && !holders.contains(&owner.id) && whom(owner) {
                owner.written_back = Some(merged.context.clone());
                self.todo.push_back(Effect::WriteBack { to: owner.id, object: Arc::clone(merged), round: self.round });
            }
        }
    }

    /// Those that have said what they hold, and hold too little, are brought up to date.
    fn repair(&mut self) {
        self.write_back(|owner| matches!(owner.known, Known::Digest(_) | Known::Object(_)));
    }

    fn answer(&mut self, answer: Answer, now_ms: u64) {
        self.answered = true;
        self.open_until_ms = now_ms + LINGER_MS;
        self.todo.push_back(Effect::Answer(answer));
    }

    /// What to do next.
    pub fn poll_effect(&mut self) -> Option<Effect> {
        self.todo.pop_front()
    }

    /// When to call [`Read::handle_timeout`].
    #[must_use]
    pub fn poll_timeout(&self) -> Option<u64> {
        if self.is_done() {
            return None;
        }
        Some(if self.answered { self.open_until_ms } else { self.deadline_ms.min(self.hedge_at_ms) })
    }

    /// Time has passed.
    pub fn handle_timeout(&mut self, now_ms: u64) {
        if !self.answered && now_ms >= self.hedge_at_ms {
            let has_object = self.answered_by().any(|owner| matches!(owner.known, Known::Object(_)));
            let more = now_ms < self.deadline_ms && !has_object && self.ask_object();
            self.hedge_at_ms = if more { now_ms + HEDGE_MS } else { u64::MAX };
        }
        if !self.answered && now_ms >= self.deadline_ms {
            let (answered, need) = (self.answered_by().count(), self.read.need);
            let why = if answered < need { Answer::NoQuorum { answered, need } } else { Answer::NotSettled };
            self.answer(why, now_ms);
        }
        if self.answered && now_ms >= self.open_until_ms {
            for owner in self.owners.iter_mut().filter(|owner| owner.known == Known::Nothing) {
                owner.known = Known::Gone;
            }
        }
    }

    /// Whether it needs nothing more.
    #[must_use]
    pub fn is_done(&self) -> bool {
        self.answered && self.todo.is_empty() && self.owners.iter().all(|owner| owner.known != Known::Nothing)
    }
}
