//! Graves go. A grave is an object whose values are all deleted, or expired for long: it is kept so that whoever missed the
//! deletion cannot bring the value back. It goes when all owners hold the very same one, everybody else holds nothing of
//! its key, and nothing that anybody read before may be stored any more.
//!
//! The last is what the *floor* of a partition is for, a number that only rises, and that each node keeps durably. Every
//! object that travels carries the floor that its sender had when it read it. A node does not store it where it holds
//! nothing of the key and its own floor is higher: the sender reads it again. So a purge goes in two steps. All members
//! look at the graves, and then raise their floors to a number that is higher than what they had; only when all have said so
//! do the owners remove them. Whatever a member read before it looked carries a lower floor than all have now; whatever it
//! reads later holds the grave, or nothing.
//!
//! A floor says nothing of what is stored, so a live value that an owner has lost comes back to it like any other. Whoever
//! meets a higher floor takes it over: then it is too late for this one to agree to it, and nothing is ever removed by it.
//!
//! Only in a slot at rest, in its present epoch: what was read in an earlier one is refused as of that epoch, so a new owner
//! needs no floor of its own.

use std::collections::BTreeSet;
use std::collections::VecDeque;

use crate::base::id::NodeId;
use crate::proto::mutant::Mutant;
use crate::proto::object::Content;
use crate::proto::object::Memory;
use crate::proto::object::Object;
use crate::proto::object::Sibling;

/// How long everybody may take to say something.
pub const ANSWER_MS: u64 = 2_000;
/// How often owners are told to remove: whoever does not hear it keeps its graves, and gives them to the others again.
pub const TELLS_MAX: u32 = 5;
/// How long a value must be expired to be a grave: clocks that differ by less agree about it.
pub const EXPIRED_MARGIN_MS: u64 = 3_600_000;

/// Since when a value is as good as deleted, by the wall clock; never of one that lives until it is replaced.
fn dead_since_ms(sibling: &Sibling) -> Option<u64> {
    match &sibling.content {
        Content::Tombstone => Some(0),
        Content::Value { .. } => sibling.expires_ms.map(|at| at.saturating_add(EXPIRED_MARGIN_MS)),
    }
}

/// Whether an object is a grave that this node can do without: nothing lives in it, and no operation that was promised to be
/// remembered is.
#[must_use]
pub fn may_go(object: &Object, memory: Memory, wall_ms: u64) -> bool {
    let is_dead = |sibling: &Sibling| dead_since_ms(sibling).is_some_and(|since| since <= wall_ms);
    !memory.just_begun && object.siblings.iter().all(is_dead) && !object.ops.iter().any(|op| memory.holds(op))
}

/// In how many milliseconds an object may go, if nobody writes to it; none where something in it lives for ever.
#[must_use]
pub fn goes_in_ms(object: &Object, memory: Memory, wall_ms: u64) -> Option<u64> {
    let mut in_ms = 0;
    for sibling in &object.siblings {
        in_ms = in_ms.max(dead_since_ms(sibling)?.saturating_sub(wall_ms));
    }
    let fresh = object.ops.iter().filter(|op| memory.is_fresh(op));
    Some(fresh.map(|op| op.until_ms.saturating_sub(memory.now_ms)).fold(in_ms, u64::max))
}

/// What to do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Effect<P> {
    /// Ask this member which of these graves it agrees about: [`Purge::agreed`].
    Ask {
        /// Who.
        to: NodeId,
        /// The new floor.
        floor: u64,
        /// With fingerprints.
        graves: Vec<(P, u64)>,
    },
    /// Raise the own floor durably, where it is lower: [`Purge::raised`], else [`Purge::refused`].
    Raise {
        /// To this.
        floor: u64,
    },
    /// Remove these here, where they are unchanged.
    Remove {
        /// With fingerprints.
        graves: Vec<(P, u64)>,
    },
    /// Have another owner remove these, where they are unchanged: [`Purge::removed`].
    Tell {
        /// Who.
        to: NodeId,
        /// The floor that it has agreed to.
        floor: u64,
        /// With fingerprints.
        graves: Vec<(P, u64)>,
    },
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Step {
    Asking,
    Raising,
    Telling,
    End,
}

/// One purge of some graves of one partition, as the owner that begins it drives it.
#[derive(Debug)]
pub struct Purge<P> {
    step: Step,
    floor: u64,
    graves: Vec<(P, u64)>,
    /// Of these, which all agree about that have answered.
    agreed: Vec<bool>,
    /// Others that may hold something of the partition: everybody who is no grave itself.
    others: BTreeSet<NodeId>,
    /// Of these, who has said nothing yet.
    waits: BTreeSet<NodeId>,
    until_ms: u64,
    tells: u32,
    todo: VecDeque<Effect<P>>,
}

impl<P: Clone> Purge<P> {
    /// Of these graves, which this node holds durably, under a floor that is higher than its own.
    #[must_use]
    pub fn begin(others: BTreeSet<NodeId>, floor: u64, graves: Vec<(P, u64)>, now_ms: u64) -> Self {
        let todo = others.iter().map(|to| Effect::Ask { to: *to, floor, graves: graves.clone() }).collect();
        let (waits, agreed) = (others.clone(), vec![true; graves.len()]);
        let (step, until_ms) = (Step::Asking, now_ms + ANSWER_MS);
        let mut purge = Self { step, floor, graves, agreed, others, waits, until_ms, tells: 0, todo };
        purge.decide(now_ms);
        purge
    }

    /// The own floor is durably as high, and was lower.
    pub fn raised(&mut self, now_ms: u64) {
        if self.step == Step::Raising {
            self.step = Step::Telling;
            self.todo.push_back(Effect::Remove { graves: self.graves.clone() });
            self.waits.clone_from(&self.others);
            self.tell(now_ms);
        }
    }

    /// A member's floor is durably as high; and so it stands there with each of the graves: whether it may go.
    pub fn agreed(&mut self, from: NodeId, agreed: &[bool], now_ms: u64) {
        if self.step != Step::Asking || !self.waits.contains(&from) {
            return;
        }
        if agreed.len() != self.graves.len() {
            return self.refused();
        }
        self.waits.remove(&from);
        self.agreed.iter_mut().zip(agreed).for_each(|(all, agrees)| *all &= agrees);
        self.decide(now_ms);
    }

    /// Somebody does not agree at all, or cannot: nothing is removed.
    pub fn refused(&mut self) {
        if self.step != Step::Telling && !Mutant::CollectATombstoneEarly.is_on() {
            self.end();
        }
    }

    fn decide(&mut self, now_ms: u64) {
        let is_early = Mutant::CollectATombstoneEarly.is_on() && self.waits.len() < self.others.len();
        if !self.agreed.contains(&true) {
            self.end();
        } else if self.waits.is_empty() || is_early {
            let mut agreed = self.agreed.iter();
            self.graves.retain(|_| agreed.next() == Some(&true));
            (self.step, self.until_ms) = (Step::Raising, now_ms + ANSWER_MS);
            self.todo.push_back(Effect::Raise { floor: self.floor });
        }
    }

    fn tell(&mut self, now_ms: u64) {
        self.tells += 1;
        self.until_ms = now_ms + ANSWER_MS;
        let tell = |to: &NodeId| Effect::Tell { to: *to, floor: self.floor, graves: self.graves.clone() };
        let tells: Vec<_> = self.waits.iter().map(tell).collect();
        self.todo.extend(tells);
        if self.waits.is_empty() {
            self.step = Step::End;
        }
    }

    /// Another owner holds them no more.
    pub fn removed(&mut self, from: NodeId) {
        if self.step == Step::Telling {
            self.waits.remove(&from);
            if self.waits.is_empty() {
                self.step = Step::End;
            }
        }
    }

    fn end(&mut self) {
        self.step = Step::End;
        self.todo.clear();
    }

    /// What to do now.
    pub fn poll_effect(&mut self) -> Option<Effect<P>> {
        self.todo.pop_front()
    }

    /// When to call [`Purge::handle_timeout`].
    #[must_use]
    pub fn poll_timeout(&self) -> u64 {
        self.until_ms
    }

    /// Time has passed.
    pub fn handle_timeout(&mut self, now_ms: u64) {
        match self.step {
            _ if now_ms < self.until_ms => {}
            Step::Telling if self.tells < TELLS_MAX => self.tell(now_ms),
            Step::Asking | Step::Raising | Step::Telling | Step::End => self.end(),
        }
    }

    /// Whether nothing is left to do.
    #[must_use]
    pub fn has_ended(&self) -> bool {
        self.step == Step::End && self.todo.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::ANSWER_MS;
    use super::EXPIRED_MARGIN_MS;
    use super::Effect;
    use super::Purge;
    use super::TELLS_MAX;
    use super::goes_in_ms;
    use super::may_go;
    use crate::base::codec::Blob;
    use crate::base::id::Incarnation;
    use crate::base::id::NodeId;
    use crate::base::id::OpId;
    use crate::proto::causal::Actor;
    use crate::proto::causal::Dot;
    use crate::proto::object::Content;
    use crate::proto::object::Memory;
    use crate::proto::object::Object;
    use crate::proto::object::SeenOp;
    use crate::proto::object::Sibling;
    use crate::proto::object::Stamp;

    const B: NodeId = NodeId(2);
    const C: NodeId = NodeId(3);

    fn begin() -> Purge<u8> {
        let mut purge = Purge::begin(BTreeSet::from([B, C]), 5, vec![(1, 10), (2, 20)], 0);
        for to in [B, C] {
            assert_eq!(purge.poll_effect(), Some(Effect::Ask { to, floor: 5, graves: vec![(1, 10), (2, 20)] }));
        }
        purge
    }

    #[test]
    fn graves_go_that_everybody_agrees_about_and_not_before_everybody_has_raised_the_floor() {
        let mut purge = begin();
        purge.agreed(B, &[true, false], 1);
        purge.agreed(B, &[false], 1);
        assert_eq!(purge.poll_effect(), None, "one has not");
        purge.agreed(C, &[true, true], 1);
        assert_eq!(purge.poll_effect(), Some(Effect::Raise { floor: 5 }));
        assert_eq!(purge.poll_effect(), None, "this node has not");
        purge.raised(2);
        assert_eq!(purge.poll_effect(), Some(Effect::Remove { graves: vec![(1, 10)] }));
        for to in [B, C] {
            assert_eq!(purge.poll_effect(), Some(Effect::Tell { to, floor: 5, graves: vec![(1, 10)] }));
        }
        purge.removed(B);
        purge.handle_timeout(2 + ANSWER_MS);
        assert_eq!(purge.poll_effect(), Some(Effect::Tell { to: C, floor: 5, graves: vec![(1, 10)] }), "once more");
        purge.removed(C);
        assert!(purge.has_ended());
    }

    #[test]
    fn nothing_goes_where_one_refuses_is_silent_or_agrees_about_none() {
        let mut purge = begin();
        purge.agreed(B, &[true, true], 1);
        purge.refused();
        assert!(purge.has_ended());
        let mut purge = begin();
        purge.agreed(B, &[true, true], 1);
        purge.agreed(C, &[true, true], 1);
        purge.refused();
        assert!(purge.has_ended() && purge.poll_effect().is_none(), "the own floor was as high already");
        let mut purge = begin();
        purge.agreed(B, &[true, true], 1);
        purge.handle_timeout(ANSWER_MS);
        assert!(purge.has_ended() && purge.poll_effect().is_none());
        purge.agreed(C, &[true, true], ANSWER_MS);
        assert_eq!(purge.poll_effect(), None, "too late");
        let mut purge = begin();
        purge.agreed(B, &[true, false], 1);
        purge.agreed(C, &[false, true], 1);
        assert!(purge.has_ended());
        let mut purge = begin();
        purge.agreed(B, &[true], 1);
        assert!(purge.has_ended(), "an answer to something else");
    }

    #[test]
    fn whoever_does_not_hear_it_is_told_a_few_times_and_a_lone_node_is_done_at_once() {
        let mut purge = begin();
        purge.agreed(B, &[true, true], 0);
        purge.agreed(C, &[true, true], 0);
        purge.raised(0);
        let mut now_ms = 0;
        for _ in 0..TELLS_MAX {
            assert!(!purge.has_ended());
            now_ms += ANSWER_MS;
            purge.handle_timeout(now_ms);
        }
        while purge.poll_effect().is_some() {}
        assert!(purge.has_ended());
        let mut alone = Purge::<u8>::begin(BTreeSet::new(), 1, vec![(1, 10)], 0);
        assert_eq!(alone.poll_effect(), Some(Effect::Raise { floor: 1 }));
        alone.raised(0);
        assert_eq!(alone.poll_effect(), Some(Effect::Remove { graves: vec![(1, 10)] }));
        assert!(alone.has_ended());
    }

    #[test]
    fn an_object_is_a_grave_when_nothing_in_it_lives_or_is_promised() {
        let dot = Dot { actor: Actor { node: B, incarnation: Incarnation(1) }, counter: 1 };
        let sibling = |content, expires_ms| Sibling { dot, stamp: Stamp(1), expires_ms, content };
        let value = || Content::Value { content_type: String::new(), body: Blob::default() };
        let op = |until_ms| SeenOp { id: OpId(1), dot, stamp: Stamp(1), digest: 0, until_ms, answer: None };
        let object = |siblings, ops| Object { siblings, ops, ..Object::default() };
        let memory = Memory { now_ms: 100, just_begun: false };
        let wall = 10 * EXPIRED_MARGIN_MS;
        let check = |object: &Object, expected| {
            assert_eq!((may_go(object, memory, wall), goes_in_ms(object, memory, wall)), expected);
        };
        check(&object(vec![sibling(Content::Tombstone, None)], vec![]), (true, Some(0)));
        check(&object(vec![], vec![op(100)]), (true, Some(0)));
        check(&object(vec![sibling(Content::Tombstone, None)], vec![op(130), op(120)]), (false, Some(30)));
        check(&object(vec![sibling(value(), None)], vec![]), (false, None));
        check(&object(vec![sibling(value(), Some(wall))], vec![]), (false, Some(EXPIRED_MARGIN_MS)));
        check(&object(vec![sibling(value(), Some(wall - EXPIRED_MARGIN_MS))], vec![]), (true, Some(0)));
        check(&object(vec![sibling(Content::Tombstone, None), sibling(value(), None)], vec![]), (false, None));
        let begun = Memory { just_begun: true, ..memory };
        assert!(!may_go(&object(vec![], vec![]), begun, wall), "it may have promised something in its last life");
    }
}
