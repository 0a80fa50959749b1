//! A write that came to a node which may not mint for it, on its way to an owner. Only an owner may, and a forward is never
//! forwarded, so that an operation has few places where it can happen. An owner says at once that it has it; one that
//! says nothing, or takes half of the time that is left, is given up for the next one, with the same operation id: two
//! owners that both apply it are told apart by that (HOUSE decision 10).

use serde::Deserialize;
use serde::Serialize;

use crate::base::id::NodeId;

/// How long an owner may take to say that it has received a forward: several round trips on a bad line.
pub const RECEIVED_MS: u64 = 100;

/// What comes back.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Input {
    /// The owner has it and works on it.
    Received,
    /// The owner has done nothing and will not; another one may.
    NotDone,
    /// The owner took it and has stored nothing, for trouble of its own; another one may.
    Undone,
    /// The owner refuses what is asked for, as every other would: nothing is stored by it.
    Failed,
    /// The owner cannot be reached; whether it got this is unknown.
    Silent,
}

/// What to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Effect {
    /// Send it to this owner.
    Ask(NodeId),
    /// It is refused, or there is no owner left to ask, or no time.
    GiveUp {
        /// Whether an owner may have taken it: the answer is then `unknown`, not `failed`.
        perhaps_done: bool,
    },
}

/// One forward.
#[derive(Debug)]
pub struct Forward {
    owners: Vec<NodeId>,
    asked: usize,
    perhaps_done: bool,
    /// The owner that was asked last has taken it.
    received: bool,
    deadline_ms: u64,
    next_at_ms: u64,
    todo: Option<Effect>,
    over: bool,
}

impl Forward {
    /// To these owners, the best first.
    #[must_use]
    pub fn new(owners: Vec<NodeId>, now_ms: u64, deadline_ms: u64) -> Self {
        let mut forward = Self {
            owners,
            asked: 0,
            perhaps_done: false,
            received: false,
            deadline_ms,
            next_at_ms: deadline_ms,
            todo: None,
            over: false,
        };
        forward.ask_next(now_ms);
        forward
    }

    fn ask_next(&mut self, now_ms: u64) {
        let owner = self.owners.get(self.asked).copied().filter(|_| now_ms < self.deadline_ms);
        self.todo = Some(match owner {
            Some(owner) => {
                self.asked += 1;
                self.received = false;
                self.next_at_ms = self.deadline_ms.min(now_ms + RECEIVED_MS);
                Effect::Ask(owner)
            }
            None => return self.give_up(),
        });
    }

    fn give_up(&mut self) {
        self.over = true;
        // An owner that was asked before may have done it, whatever the last one says.
        self.todo = Some(Effect::GiveUp { perhaps_done: self.perhaps_done });
    }

    /// An owner answers. What an owner says that was given up counts no more, but a result does: the driver takes the
    /// first result from anyone.
    pub fn handle(&mut self, from: NodeId, input: Input, now_ms: u64) {
        if self.over || self.owners.get(self.asked.saturating_sub(1)) != Some(&from) {
            return;
        }
        match input {
            Input::Received => {
                self.received = true;
                self.next_at_ms = now_ms + self.deadline_ms.saturating_sub(now_ms) / 2;
            }
            Input::NotDone => {
                // It has taken the forward, and refuses another copy of it.
                self.perhaps_done |= self.received;
                self.ask_next(now_ms);
            }
            Input::Undone => self.ask_next(now_ms),
            Input::Failed => self.give_up(),
            Input::Silent => {
                self.perhaps_done = true;
                self.ask_next(now_ms);
            }
        }
    }

    /// What to do now.
    pub fn poll_effect(&mut self) -> Option<Effect> {
        self.todo.take()
    }

    /// When to call [`Forward::handle_timeout`].
    #[must_use]
    pub fn poll_timeout(&self) -> Option<u64> {
        (!self.over).then_some(self.next_at_ms)
    }

    /// Time has passed.
    pub fn handle_timeout(&mut self, now_ms: u64) {
        if !self.over && now_ms >= self.next_at_ms {
            self.perhaps_done = true;
            self.ask_next(now_ms);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::Effect;
    use super::Forward;
    use super::Input;
    use super::RECEIVED_MS;
    use crate::base::id::NodeId;

    const A: NodeId = NodeId(1);
    const B: NodeId = NodeId(2);

    #[test]
    fn an_owner_that_says_nothing_is_given_up_and_may_have_done_it() {
        let mut forward = Forward::new(vec![A, B], 0, 1000);
        assert_eq!(forward.poll_effect(), Some(Effect::Ask(A)));
        forward.handle_timeout(RECEIVED_MS - 1);
        assert_eq!(forward.poll_effect(), None);
        forward.handle_timeout(RECEIVED_MS);
        assert_eq!(forward.poll_effect(), Some(Effect::Ask(B)));
        forward.handle(A, Input::NotDone, 110);
        assert_eq!(forward.poll_effect(), None, "it was given up");
        forward.handle(B, Input::NotDone, 120);
        assert_eq!(forward.poll_effect(), Some(Effect::GiveUp { perhaps_done: true }));
        assert_eq!(forward.poll_timeout(), None);
    }

    #[test]
    fn nothing_is_done_where_every_owner_says_so() {
        let mut forward = Forward::new(vec![A, B], 0, 1000);
        forward.handle(A, Input::NotDone, 1);
        forward.handle(B, Input::NotDone, 2);
        assert_eq!(forward.poll_effect(), Some(Effect::GiveUp { perhaps_done: false }));
        let mut nobody = Forward::new(vec![], 0, 1000);
        assert_eq!(nobody.poll_effect(), Some(Effect::GiveUp { perhaps_done: false }));
    }

    #[test]
    fn a_refusal_says_nothing_of_an_owner_that_was_silent_before() {
        let mut forward = Forward::new(vec![A, B], 0, 1000);
        forward.handle(A, Input::Silent, 1);
        forward.handle(B, Input::Failed, 2);
        assert_eq!(forward.poll_effect(), Some(Effect::GiveUp { perhaps_done: true }));
        let mut first = Forward::new(vec![A, B], 0, 1000);
        first.handle(A, Input::Failed, 1);
        assert_eq!(first.poll_effect(), Some(Effect::GiveUp { perhaps_done: false }));
    }

    #[test]
    fn who_has_taken_it_and_then_refuses_it_may_have_done_it() {
        let mut forward = Forward::new(vec![A, B], 0, 1000);
        forward.handle(A, Input::Received, 1);
        forward.handle(A, Input::NotDone, 2);
        forward.handle(B, Input::NotDone, 3);
        assert_eq!(forward.poll_effect(), Some(Effect::GiveUp { perhaps_done: true }));
    }

    #[test]
    fn who_has_taken_it_and_stored_nothing_leaves_it_to_the_next_one() {
        let mut forward = Forward::new(vec![A, B], 0, 1000);
        for owner in [A, B] {
            assert_eq!(forward.poll_effect(), Some(Effect::Ask(owner)));
            forward.handle(owner, Input::Received, 1);
            forward.handle(owner, Input::Undone, 2);
        }
        assert_eq!(forward.poll_effect(), Some(Effect::GiveUp { perhaps_done: false }));
    }

    #[test]
    fn an_owner_at_work_gets_half_of_the_time_that_is_left() {
        let mut forward = Forward::new(vec![A, B], 0, 1000);
        let _asked = forward.poll_effect();
        forward.handle(A, Input::Received, 100);
        assert_eq!(forward.poll_timeout(), Some(550));
        forward.handle_timeout(550);
        assert_eq!(forward.poll_effect(), Some(Effect::Ask(B)));
        forward.handle(B, Input::Received, 560);
        assert_eq!(forward.poll_timeout(), Some(780));
        forward.handle_timeout(1000);
        assert_eq!(forward.poll_effect(), Some(Effect::GiveUp { perhaps_done: true }));
    }
}
