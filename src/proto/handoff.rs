//! A slot on its way to a node: which old owner is asked for what, until enough of them are merged. What "enough" is says
//! `ring`; how fast, and where the data lies, is the driver's business.
//!
//! The first source gives all of its objects. Of the others only digests are asked for, and then what differs, so that a
//! slot crosses the line once; also where the first one fails in the middle, or the slot's phase passes on meanwhile and
//! another pull has to begin. Whatever arrives is merged, never put in place of something: writes go on meanwhile.
//! A source counts as merged when all that came from it is durable here; a node that dies before begins again.

use std::collections::BTreeMap;
use std::collections::BTreeSet;

use serde::Deserialize;
use serde::Serialize;

use crate::base::id::NodeId;

/// How long a source is left alone after it refused or said nothing.
pub const RETRY_MS: u64 = 500;
/// How long a source may take for one page.
pub const PAGE_MS: u64 = 2_000;

/// What a node has of a slot before it pulls.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Here {
    /// Nothing worth asking about.
    Nothing,
    /// What an earlier pull brought, or what it held as an owner of before.
    Some,
    /// All: it is a source itself, has its own data merged, and needs only what differs elsewhere.
    All,
}

/// What to do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Effect<P> {
    /// Ask for the objects behind this place, one page of them.
    AskObjects {
        /// The source.
        from: NodeId,
        /// Comes back with the answer: what answers an earlier question is not for this one.
        question: u64,
        /// The last place that came; `None` = from the beginning.
        after: Option<P>,
    },
    /// Ask for the digests behind this place, one page of them.
    AskDigests {
        /// The source.
        from: NodeId,
        /// As with [`Effect::AskObjects`].
        question: u64,
        /// The last place that came; `None` = from the beginning.
        after: Option<P>,
    },
    /// Ask for these objects, whose digests differ.
    AskThese {
        /// The source.
        from: NodeId,
        /// As with [`Effect::AskObjects`].
        question: u64,
        /// In order.
        places: Vec<P>,
    },
    /// Everything of this source is merged and durable: ask `ring` whether that is enough, and call [`Pull::go_on`] or
    /// stop.
    Merged {
        /// The source.
        from: NodeId,
    },
}

/// What a page was about.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
enum Step {
    /// Its objects.
    Objects,
    /// Digests.
    Digests,
    /// Objects whose digests differed; then the next page of digests.
    These,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Copying<P> {
    from: NodeId,
    step: Step,
    after: Option<P>,
    /// Nothing comes behind `after`.
    at_end: bool,
    /// A question is on its way, until then.
    until_ms: Option<u64>,
    /// Objects that came and are not durable here yet.
    storing: usize,
}

/// One slot on its way to this node, in one epoch.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Pull<P> {
    sources: Vec<NodeId>,
    merged: BTreeSet<NodeId>,
    /// Much of the slot is here: digests say what is not.
    some: bool,
    /// Up to where all that a source gave is durable here: there it goes on, where it failed in the middle. It had adopted
    /// the epoch before it gave the first page, so what it took since is with the other owners as well.
    cursors: BTreeMap<NodeId, P>,
    /// The next of `sources` to try.
    turn: usize,
    copying: Option<Copying<P>>,
    rest_until_ms: u64,
    /// Questions so far: the last one is the only one whose answer counts.
    question: u64,
    #[serde(skip)]
    todo: Option<Effect<P>>,
}

impl<P: Clone> Pull<P> {
    /// From these sources, the best first.
    #[must_use]
    pub fn new(me: NodeId, sources: Vec<NodeId>, here: Here) -> Self {
        let merged = if here == Here::All { BTreeSet::from([me]) } else { BTreeSet::new() };
        let (some, sources) = (here != Here::Nothing, sources.into_iter().filter(|source| *source != me).collect());
        let cursors = BTreeMap::new();
        Self { sources, merged, some, cursors, turn: 0, copying: None, rest_until_ms: 0, question: 0, todo: None }
    }

    /// What the next pull of the slot begins with, where this one ends early.
    #[must_use]
    pub fn here(&self) -> Here {
        if self.some { Here::Some } else { Here::Nothing }
    }

    /// The sources merged so far.
    #[must_use]
    pub fn merged(&self) -> &BTreeSet<NodeId> {
        &self.merged
    }

    /// Begins with the next source, after a rest where all were tried.
    pub fn go_on(&mut self, now_ms: u64) {
        if self.copying.is_some() || now_ms < self.rest_until_ms {
            return;
        }
        let count = self.sources.len();
        for _ in 0..count {
            let source = self.sources.get(self.turn % count).copied();
            self.turn += 1;
            if let Some(from) = source.filter(|source| !self.merged.contains(source)) {
                let step = if self.some { Step::Digests } else { Step::Objects };
                let after = self.cursors.get(&from).cloned();
                self.copying = Some(Copying { from, step, after, at_end: false, until_ms: None, storing: 0 });
                self.ask(now_ms);
                return;
            }
        }
        self.rest_until_ms = now_ms + RETRY_MS;
    }

    fn ask(&mut self, now_ms: u64) {
        let Some(copying) = &mut self.copying else { return };
        self.question += 1;
        let (from, after, question) = (copying.from, copying.after.clone(), self.question);
        copying.until_ms = Some(now_ms + PAGE_MS);
        self.todo = Some(match copying.step {
            Step::Objects => Effect::AskObjects { from, question, after },
            Step::Digests | Step::These => {
                copying.step = Step::Digests;
                Effect::AskDigests { from, question, after }
            }
        });
    }

    /// Objects came, so many, up to `last`; `more` follow. For [`Effect::AskThese`] both are as with its digests.
    /// The driver merges them, and says [`Pull::stored`] with the same question for each when it is durable.
    pub fn objects(&mut self, question: u64, count: usize, last: Option<P>, more: bool, now_ms: u64) {
        let Some(copying) = self.copying.as_mut().filter(|_| question == self.question) else { return };
        match copying.step {
            Step::Objects => {
                copying.after = last.or(copying.after.take());
                copying.at_end = !more;
            }
            Step::These => {}
            Step::Digests => return,
        }
        copying.storing += count;
        self.some |= count > 0;
        copying.until_ms = None;
        self.step_on(now_ms);
    }

    /// Digests came, up to `last`; `more` follow; those at `differing` are not what is here. Here is what is durable and the
    /// newest of its place: a place that is being emptied is durable for a moment still, and what is not durable could be
    /// lost behind a note that the slot is synced, for that stands in a file of its own.
    pub fn digests(&mut self, question: u64, differing: Vec<P>, last: Option<P>, more: bool, now_ms: u64) {
        let Some(copying) = self.copying.as_mut().filter(|_| question == self.question) else { return };
        if copying.step != Step::Digests {
            return;
        }
        copying.after = last.or(copying.after.take());
        copying.at_end = !more;
        if differing.is_empty() {
            copying.until_ms = None;
            self.step_on(now_ms);
        } else {
            copying.step = Step::These;
            copying.until_ms = Some(now_ms + PAGE_MS);
            self.question += 1;
            let (from, question) = (copying.from, self.question);
            self.todo = Some(Effect::AskThese { from, question, places: differing });
        }
    }

    /// One object that came is durable here.
    pub fn stored(&mut self, question: u64, now_ms: u64) {
        if question != self.question {
            return;
        }
        if let Some(copying) = &mut self.copying {
            copying.storing = copying.storing.saturating_sub(1);
        }
        self.step_on(now_ms);
    }

    /// Nothing is asked for and all that came is stored: on with the next page, or this source is done.
    fn step_on(&mut self, now_ms: u64) {
        let Some(copying) = &mut self.copying else { return };
        if copying.until_ms.is_some() || copying.storing > 0 {
            return;
        }
        if !copying.at_end {
            self.cursors.extend(copying.after.clone().map(|after| (copying.from, after)));
            self.ask(now_ms);
            return;
        }
        let from = copying.from;
        self.merged.insert(from);
        self.some = true;
        self.copying = None;
        self.todo = Some(Effect::Merged { from });
    }

    /// The source has not adopted the epoch, is not synced itself, or cannot be reached: another one's turn.
    pub fn refused(&mut self, question: u64, now_ms: u64) {
        if self.copying.is_some() && question == self.question {
            self.give_up(now_ms);
        }
    }

    fn give_up(&mut self, now_ms: u64) {
        // What is still being stored of it counts for nobody.
        self.question += 1;
        self.copying = None;
        // After a whole round a rest: the sources may need a moment to adopt, or are gone. Those that are merged are passed
        // over, and end no round.
        let tried = self.turn % self.sources.len().max(1);
        let mut left = self.sources.iter().skip(tried).filter(|_| tried > 0);
        if left.all(|source| self.merged.contains(source)) {
            self.turn = 0;
            self.rest_until_ms = now_ms + RETRY_MS;
        }
        self.go_on(now_ms);
    }

    /// Whether nothing is asked for and nothing on its way: all sources were tried.
    #[must_use]
    pub fn rests(&self) -> bool {
        self.copying.is_none() && self.todo.is_none()
    }

    /// The same without the places, for the flight recorder: which ones they are decides nothing here. None while something
    /// is to be done.
    #[must_use]
    pub fn without_places(&self) -> Option<Pull<()>> {
        let copying = self.copying.as_ref().map(|copying| Copying {
            from: copying.from,
            step: copying.step,
            after: copying.after.as_ref().map(|_| ()),
            at_end: copying.at_end,
            until_ms: copying.until_ms,
            storing: copying.storing,
        });
        self.todo.is_none().then(|| Pull {
            sources: self.sources.clone(),
            merged: self.merged.clone(),
            some: self.some,
            cursors: self.cursors.keys().map(|source| (*source, ())).collect(),
            turn: self.turn,
            copying,
            rest_until_ms: self.rest_until_ms,
            question: self.question,
            todo: None,
        })
    }

    /// What to do now.
    pub fn poll_effect(&mut self) -> Option<Effect<P>> {
        self.todo.take()
    }

    /// When to call [`Pull::handle_timeout`].
    #[must_use]
    pub fn poll_timeout(&self) -> u64 {
        match &self.copying {
            // Waiting for the own disk only.
            Some(Copying { until_ms: None, .. }) => u64::MAX,
            Some(Copying { until_ms: Some(until), .. }) => *until,
            None => self.rest_until_ms,
        }
    }

    /// Time has passed.
    pub fn handle_timeout(&mut self, now_ms: u64) {
        match &self.copying {
            Some(copying) if copying.until_ms.is_some_and(|until| now_ms >= until) => self.give_up(now_ms),
            Some(_) => {}
            None => self.go_on(now_ms),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::Effect;
    use super::Here;
    use super::PAGE_MS;
    use super::Pull;
    use super::RETRY_MS;
    use crate::base::id::NodeId;

    const ME: NodeId = NodeId(9);
    const A: NodeId = NodeId(1);
    const B: NodeId = NodeId(2);

    #[test]
    fn the_first_source_gives_everything_and_the_second_what_differs() {
        let mut pull = Pull::<u8>::new(ME, vec![A, B], Here::Nothing);
        pull.go_on(0);
        assert_eq!(pull.poll_effect(), Some(Effect::AskObjects { from: A, question: 1, after: None }));
        pull.objects(1, 2, Some(7), true, 1);
        assert_eq!(pull.poll_effect(), None, "not before what came is stored");
        pull.stored(1, 2);
        pull.stored(1, 3);
        assert_eq!(pull.poll_effect(), Some(Effect::AskObjects { from: A, question: 2, after: Some(7) }));
        pull.objects(2, 0, None, false, 4);
        assert_eq!(pull.poll_effect(), Some(Effect::Merged { from: A }));
        pull.go_on(5);
        assert_eq!(pull.poll_effect(), Some(Effect::AskDigests { from: B, question: 3, after: None }));
        pull.digests(3, vec![3, 5], Some(6), true, 6);
        assert_eq!(pull.poll_effect(), Some(Effect::AskThese { from: B, question: 4, places: vec![3, 5] }));
        pull.objects(4, 2, None, false, 7);
        pull.stored(4, 8);
        pull.stored(4, 9);
        assert_eq!(pull.poll_effect(), Some(Effect::AskDigests { from: B, question: 5, after: Some(6) }));
        pull.digests(5, vec![], None, false, 10);
        assert_eq!(pull.poll_effect(), Some(Effect::Merged { from: B }));
        assert_eq!(pull.merged().iter().collect::<Vec<_>>(), [&A, &B]);
    }

    #[test]
    fn a_source_that_refuses_or_is_silent_makes_way_and_is_asked_again_after_a_rest() {
        let mut pull = Pull::<u8>::new(ME, vec![A, B], Here::Nothing);
        pull.go_on(0);
        let _asked = pull.poll_effect();
        pull.refused(1, 1);
        assert_eq!(pull.poll_effect(), Some(Effect::AskObjects { from: B, question: 3, after: None }));
        pull.handle_timeout(1 + PAGE_MS);
        assert_eq!(pull.poll_effect(), None);
        assert_eq!(pull.poll_timeout(), 1 + PAGE_MS + RETRY_MS);
        pull.objects(3, 1, Some(1), false, 2 + PAGE_MS);
        assert_eq!(pull.poll_effect(), None, "it was given up");
        pull.handle_timeout(1 + PAGE_MS + RETRY_MS);
        assert_eq!(pull.poll_effect(), Some(Effect::AskObjects { from: A, question: 5, after: None }));
    }

    #[test]
    fn what_is_stored_of_one_source_is_not_counted_for_another() {
        let mut pull = Pull::<u8>::new(ME, vec![A, B], Here::Nothing);
        pull.go_on(0);
        let _asked = pull.poll_effect();
        pull.objects(1, 1, Some(1), true, 1);
        pull.refused(1, 2);
        assert_eq!(pull.poll_effect(), Some(Effect::AskDigests { from: B, question: 3, after: None }));
        pull.digests(3, vec![2], None, false, 3);
        assert_eq!(pull.poll_effect(), Some(Effect::AskThese { from: B, question: 4, places: vec![2] }));
        pull.objects(4, 1, None, false, 3);
        pull.stored(1, 4);
        assert_eq!(pull.poll_effect(), None, "that was the first source's");
        pull.stored(4, 5);
        assert_eq!(pull.poll_effect(), Some(Effect::Merged { from: B }));
    }

    #[test]
    fn what_an_earlier_pull_brought_is_not_brought_again() {
        let mut pull = Pull::<u8>::new(ME, vec![A, B], Here::Nothing);
        pull.go_on(0);
        assert_eq!(pull.here(), Here::Nothing);
        pull.objects(1, 2, Some(7), true, 1);
        let mut next = Pull::<u8>::new(ME, vec![A, B], pull.here());
        next.go_on(2);
        assert_eq!(next.poll_effect(), Some(Effect::AskDigests { from: A, question: 1, after: None }));
        assert!(next.merged().is_empty(), "nothing of it counts");
    }

    #[test]
    fn a_source_that_is_gone_is_not_asked_without_a_rest_however_many_are_merged() {
        let mut pull = Pull::<u8>::new(ME, vec![A, B], Here::Nothing);
        pull.go_on(0);
        let _asked = pull.poll_effect();
        pull.refused(1, 0);
        assert_eq!(pull.poll_effect(), Some(Effect::AskObjects { from: B, question: 3, after: None }));
        pull.objects(3, 0, None, false, 0);
        assert_eq!(pull.poll_effect(), Some(Effect::Merged { from: B }));
        pull.go_on(0);
        assert_eq!(pull.poll_effect(), Some(Effect::AskDigests { from: A, question: 4, after: None }));
        for round in 0..3 {
            let now_ms = round * RETRY_MS;
            pull.refused(4 + 2 * round, now_ms);
            assert_eq!((pull.poll_effect(), pull.poll_timeout()), (None, now_ms + RETRY_MS), "round {round}");
            assert!(pull.rests());
            assert!(pull.rests());
            pull.handle_timeout(now_ms + RETRY_MS);
            let question = 6 + 2 * round;
            assert_eq!(pull.poll_effect(), Some(Effect::AskDigests { from: A, question, after: None }));
            assert!(!pull.rests());
        }
    }

    #[test]
    fn a_source_goes_on_where_it_was_behind_the_last_page_that_is_stored() {
        let mut pull = Pull::<u8>::new(ME, vec![A], Here::Nothing);
        pull.go_on(0);
        let _asked = pull.poll_effect();
        pull.objects(1, 1, Some(7), true, 0);
        pull.stored(1, 0);
        assert_eq!(pull.poll_effect(), Some(Effect::AskObjects { from: A, question: 2, after: Some(7) }));
        pull.objects(2, 2, Some(9), true, 0);
        pull.stored(2, 0);
        pull.refused(2, 0);
        pull.handle_timeout(RETRY_MS);
        let asked = pull.poll_effect();
        assert_eq!(
            asked,
            Some(Effect::AskDigests { from: A, question: 4, after: Some(7) }),
            "of the second page one is not"
        );
        pull.digests(4, vec![8], Some(9), true, RETRY_MS);
        let _asked = pull.poll_effect();
        pull.refused(5, RETRY_MS);
        pull.handle_timeout(2 * RETRY_MS);
        assert_eq!(pull.poll_effect(), Some(Effect::AskDigests { from: A, question: 7, after: Some(7) }));
        pull.digests(7, vec![], Some(9), true, 2 * RETRY_MS);
        assert_eq!(pull.poll_effect(), Some(Effect::AskDigests { from: A, question: 8, after: Some(9) }));
        pull.digests(8, vec![], None, false, 2 * RETRY_MS);
        assert_eq!(pull.poll_effect(), Some(Effect::Merged { from: A }));
    }

    #[test]
    fn a_node_that_holds_the_slot_asks_for_differences_only() {
        let mut pull = Pull::<u8>::new(A, vec![A, B], Here::All);
        pull.go_on(0);
        assert_eq!(pull.poll_effect(), Some(Effect::AskDigests { from: B, question: 1, after: None }));
    }
}
