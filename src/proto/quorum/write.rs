//! A write on its way to its owners. The owner that minted it sends it to all of them at once and answers when enough of
//! every rule hold it durably; the others are told later, by hints.
//!
//! In an `lww` bucket an owner says what stands there after the merge. Only where that is this write does it count: one
//! that lost to a higher stamp is minted again above it and sent again, before anybody is told `ok` (HOUSE decision 9).
//!
//! The own journal comes first in every respect but one: the others are asked without waiting for it. So an answer other
//! than `ok` is always `unknown`: what `failed` needs, that nobody can have received it, is decided before there is a core.

use std::collections::VecDeque;
use std::sync::Arc;

use serde::Deserialize;
use serde::Serialize;

use crate::base::id::NodeId;
use crate::proto::causal::Dot;
use crate::proto::mutant::Mutant;
use crate::proto::object::Object;
use crate::proto::object::Stamp;
use crate::proto::quorum::Quorum;
use crate::proto::quorum::owners_of;

#[cfg(test)]
mod tests;

/// An owner that has said nothing for so long is given a hint and asked no more: longer than a slow sync.
const SILENT_MS: u64 = 1_000;

/// What comes back from an owner.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Input {
    /// It is merged and durable there. In an `lww` bucket this write or another stands there now.
    Held {
        /// Of the [`Effect::Send`] that it answers; [`Write::round`] for the own journal.
        round: u32,
        /// What stands there, where that matters.
        top: Option<(Stamp, Dot)>,
    },
    /// It did nothing, because the write speaks of an older epoch: the driver brings the newer rules.
    Stale,
    /// It did nothing for another reason, or its machine says that it is not there.
    Refused,
}

/// What to do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Effect {
    /// Have this owner merge it.
    Send {
        /// The owner.
        to: NodeId,
        /// The whole object with the write in it.
        object: Arc<Object>,
        /// Which minting this is: comes back with the answer.
        round: u32,
    },
    /// Mint it again above this stamp, and call [`Write::resend`].
    Remint {
        /// The highest stamp that stands anywhere.
        above: Stamp,
    },
    /// Look up the rules of the newer epoch, and call [`Write::restart`].
    Refresh,
    /// This owner has to be told later; it may not be there, or its answer did not come.
    Hint {
        /// The owner.
        to: NodeId,
    },
    /// Tell the client.
    Answer(Answer),
}

/// What the client is told.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Answer {
    /// Enough owners of every rule hold it durably.
    Ok {
        /// Which.
        acked_by: Vec<NodeId>,
    },
    /// Not enough of them said so in time.
    Unknown {
        /// Which did.
        acked_by: Vec<NodeId>,
    },
}

/// What stands at an owner.
enum Standing {
    /// This write, or what came after it.
    Here,
    /// A higher stamp.
    Lost(Stamp),
    /// Something older: it has not merged this one yet.
    NotYet,
}

/// One write.
#[derive(Debug)]
pub struct Write {
    me: NodeId,
    rules: Vec<Quorum>,
    object: Arc<Object>,
    /// The write, where an owner may say that another one stands there.
    wins: Option<(Stamp, Dot)>,
    /// How often it was minted again: what was said of an earlier minting says nothing of this one.
    round: u32,
    /// A higher stamp that was met.
    above: Option<Stamp>,
    /// Owners that hold it.
    held: Vec<NodeId>,
    /// Owners that have not answered yet, and will not be counted silent before `silent_at_ms`.
    asked: Vec<NodeId>,
    /// Owners that refused it as of an older epoch; they are asked again under the next one, or told later.
    refused_as_stale: Vec<NodeId>,
    stale: bool,
    answered: bool,
    silent_at_ms: u64,
    deadline_ms: u64,
    todo: VecDeque<Effect>,
}

impl Write {
    /// A write that this owner has just minted and handed to its journal, under these rules. `wins` is given in an `lww`
    /// bucket: the write's stamp and dot.
    #[must_use]
    pub fn new(
        me: NodeId,
        rules: Vec<Quorum>,
        object: Arc<Object>,
        wins: Option<(Stamp, Dot)>,
        now_ms: u64,
        deadline_ms: u64,
    ) -> Self {
        let mut write = Self {
            me,
            rules,
            object,
            wins,
            round: 0,
            above: None,
            held: Vec::new(),
            asked: Vec::new(),
            refused_as_stale: Vec::new(),
            stale: false,
            answered: false,
            silent_at_ms: 0,
            deadline_ms,
            todo: VecDeque::new(),
        };
        write.send(now_ms);
        write
    }

    /// Asks everyone who is not known to hold it.
    fn send(&mut self, now_ms: u64) {
        self.silent_at_ms = now_ms + SILENT_MS;
        self.refused_as_stale.clear();
        let owners = owners_of(&self.rules);
        let held = &self.held;
        self.asked = owners.into_iter().filter(|owner| !held.contains(owner)).collect();
        for to in self.asked.iter().filter(|to| **to != self.me) {
            self.todo.push_back(Effect::Send { to: *to, object: Arc::clone(&self.object), round: self.round });
        }
    }

    /// An owner answers; this node itself does so when its own journal is durable.
    pub fn handle(&mut self, from: NodeId, input: Input, _now_ms: u64) {
        match input {
            Input::Held { round, .. } if round != self.round => return,
            Input::Held { top, .. } => {
                match self.standing(from, top) {
                    Standing::Here if !self.held.contains(&from) => self.held.push(from),
                    Standing::Here => {}
                    Standing::Lost(stamp) => self.above = self.above.max(Some(stamp)),
                    // An answer to what was sent before it was minted again.
                    Standing::NotYet => return,
                }
                self.asked.retain(|asked| *asked != from);
            }
            Input::Stale => {
                self.stale = true;
                // After the answer nobody asks it again: it is told later.
                if self.answered {
                    self.miss(from);
                } else if self.asked.contains(&from) {
                    self.asked.retain(|asked| *asked != from);
                    self.refused_as_stale.push(from);
                }
            }
            Input::Refused => self.miss(from),
        }
        self.decide();
    }

    /// What an owner's answer says of this write.
    fn standing(&self, from: NodeId, top: Option<(Stamp, Dot)>) -> Standing {
        let Some(((stamp, dot), (top, by))) = self.wins.zip(top) else { return Standing::Here };
        // What this node minted later than this write came later in every respect.
        let mine_and_later = by.actor == dot.actor && by.counter > dot.counter;
        if from == self.me || (top, by) == (stamp, dot) || mine_and_later || Mutant::LwwAcksALoser.is_on() {
            Standing::Here
        } else if (top, by) > (stamp, dot) {
            Standing::Lost(top)
        } else {
            Standing::NotYet
        }
    }

    fn miss(&mut self, owner: NodeId) {
        if self.asked.contains(&owner) {
            self.asked.retain(|asked| *asked != owner);
            if owner != self.me {
                self.todo.push_back(Effect::Hint { to: owner });
                if Mutant::CountAHint.is_on() {
                    self.held.push(owner);
                }
            }
        }
    }

    fn decide(&mut self) {
        if self.answered {
            return;
        }
        let less = usize::from(Mutant::AckAtWMinusOne.is_on());
        if self.rules.iter().all(|rule| rule.is_met(&self.held, less)) {
            return self.answer(Answer::Ok { acked_by: self.held.clone() });
        }
        if let Some(above) = self.above.take() {
            return self.todo.push_back(Effect::Remint { above });
        }
        if std::mem::take(&mut self.stale) {
            return self.todo.push_back(Effect::Refresh);
        }
        // Whoever refused may be there again before the deadline; but nobody waits where nobody is left to answer.
        if self.asked.is_empty() {
            self.answer(Answer::Unknown { acked_by: self.held.clone() });
        }
    }

    fn answer(&mut self, answer: Answer) {
        self.answered = true;
        // Nobody asks them under the next epoch any more.
        for to in std::mem::take(&mut self.refused_as_stale) {
            self.todo.push_back(Effect::Hint { to });
        }
        self.todo.push_back(Effect::Answer(answer));
    }

    /// It was minted again: what is held so far does not count any more.
    pub fn resend(&mut self, object: Arc<Object>, wins: (Stamp, Dot), now_ms: u64) {
        self.object = object;
        self.wins = Some(wins);
        self.round += 1;
        self.above = None;
        self.held.clear();
        self.send(now_ms);
    }

    /// The rules of a newer epoch. Of those that held it only this node still does for sure: another may have lost its
    /// disk in between, which is an epoch too. So the others are asked once more.
    ///
    /// What is sent is what stands here now: what was read in an earlier epoch may hold what was purged since
    /// (`proto::purge`).
    pub fn restart(&mut self, rules: Vec<Quorum>, object: Arc<Object>, now_ms: u64) {
        if self.answered {
            return;
        }
        self.object = object;
        self.rules = rules;
        self.stale = false;
        let me = self.me;
        self.held.retain(|owner| *owner == me);
        self.send(now_ms);
        self.decide();
    }

    /// The present minting, for the own journal's answer.
    #[must_use]
    pub fn round(&self) -> u32 {
        self.round
    }

    /// What is sent.
    #[must_use]
    pub fn object(&self) -> &Object {
        &self.object
    }

    /// What to do next.
    pub fn poll_effect(&mut self) -> Option<Effect> {
        self.todo.pop_front()
    }

    /// When to call [`Write::handle_timeout`]; `None` when all is said.
    #[must_use]
    pub fn poll_timeout(&self) -> Option<u64> {
        (!self.is_done())
            .then(|| if self.answered { self.silent_at_ms } else { self.silent_at_ms.min(self.deadline_ms) })
    }

    /// Time has passed.
    pub fn handle_timeout(&mut self, now_ms: u64) {
        if now_ms >= self.silent_at_ms {
            for owner in self.asked.clone() {
                // The own journal is waited for: what it does is what this node does.
                if owner != self.me || self.answered {
                    self.miss(owner);
                    self.asked.retain(|asked| *asked != owner);
                }
            }
            self.silent_at_ms = now_ms + SILENT_MS;
        }
        if !self.answered && now_ms >= self.deadline_ms {
            for owner in self.asked.clone() {
                self.miss(owner);
            }
            self.answer(Answer::Unknown { acked_by: self.held.clone() });
        }
        self.decide();
    }

    /// Whether it needs nothing more: it is answered, and every owner holds it or has a hint.
    #[must_use]
    pub fn is_done(&self) -> bool {
        self.answered && self.asked.is_empty() && self.todo.is_empty()
    }
}
