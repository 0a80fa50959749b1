//! How far what a node made durable reaches, as the node says and as others remember it: by this a disk that went back is
//! noticed (a restored directory, a wiped journal, a disk that lied). HOUSE decisions 5, 6 and 8, ADR 23.
//!
//! A node that has to do with others says with every ack, and by gossip, how far its journals are durable. A group of a
//! journal that others count on is so known to those who count on it, as soon as they do. At a start a node asks them before
//! it acks, answers or votes: if one remembers more than there is, what the node had acked is not all there.
//!
//! Invariants:
//! - In doubt, and while it is refilled, a node says nothing of itself. So all that others remember of a journal was said
//!   while it was whole, and is from before the life that asks: more than this life began with is a loss.
//! - `opened` is where the first life in doubt began, however often it was begun since: the groups that starts add must not
//!   grow over what is missing.
//! - A journal that was refilled has another number from then on. What is remembered of the old one is replaced, never
//!   compared with it.
//! - What is remembered never goes down but so.

use std::collections::BTreeMap;
use std::collections::BTreeSet;

use serde::Deserialize;
use serde::Serialize;

use crate::base::id::NodeId;

/// How far a journal is durable.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Reach {
    /// Random. The same in every life of the journal, and another one after a loss.
    pub journal: u64,
    /// The last durable group as this life began.
    pub opened: u64,
    /// The last durable group.
    pub group: u64,
}

/// What a node says of itself: of each of its journals how far it is durable, where it is not in doubt about that one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Standing {
    /// Which of its lives says so: each start is higher than all before.
    pub start: u64,
    /// The journal of its data.
    pub data: Option<Reach>,
    /// The journal of the control group.
    pub control: Option<Reach>,
}

/// What was said of a journal, by which life.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Said {
    /// The life.
    pub start: u64,
    /// What it said.
    pub reach: Reach,
}

/// What is remembered of a node.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Remembered {
    /// Of the journal of its data.
    pub data: Option<Said>,
    /// Of the journal of the control group.
    pub control: Option<Said>,
}

/// Something is missing: others know of more than there is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Gap {
    /// The same journal, from one group back to another.
    WentBack {
        /// What was known of it.
        from: u64,
        /// What is there.
        to: u64,
    },
    /// What was known is another journal, up to this group.
    Another {
        /// What was known of it.
        from: u64,
    },
}

impl Gap {
    /// In words.
    #[must_use]
    pub fn in_words(self) -> String {
        match self {
            Self::WentBack { from, to } => format!("went back from group {from} to {to}"),
            Self::Another { from } => format!("is another one than that of which others know up to group {from}"),
        }
    }
}

impl Reach {
    /// What is missing in this journal, by what somebody remembers of a life before.
    #[must_use]
    pub fn misses(&self, remembered: &Self) -> Option<Gap> {
        let from = remembered.group;
        if self.journal != remembered.journal {
            return Some(Gap::Another { from });
        }
        (from > self.opened).then_some(Gap::WentBack { from, to: self.opened })
    }

    /// Whether this, of an earlier life, is more than what a later life began with.
    fn outreaches(&self, later: &Self) -> bool {
        self.journal == later.journal && self.group > later.opened
    }
}

impl Said {
    /// A word more about a journal. Returns what speaks against the later life's word, if anything does: the node has lost
    /// something and does not know.
    fn hear(known: &mut Option<Self>, said: Self) -> Option<Self> {
        let Some(before) = *known else {
            *known = Some(said);
            return None;
        };
        let (earlier, later) = if said.start < before.start { (said, before) } else { (before, said) };
        if earlier.start < later.start && earlier.reach.outreaches(&later.reach) {
            // The later one counts again when it is refilled: then it has another number.
            *known = Some(earlier);
            return Some(earlier);
        }
        let same = earlier.reach.journal == later.reach.journal;
        let group = if same { later.reach.group.max(earlier.reach.group) } else { later.reach.group };
        *known = Some(Self { reach: Reach { group, ..later.reach }, ..later });
        None
    }
}

/// What a node remembers of the others.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Memory(BTreeMap<NodeId, Remembered>);

impl Memory {
    /// A node said this of itself. Where that cannot be, because an earlier life of it said more, it returns what should be
    /// told to the node; that is kept.
    pub fn hear(&mut self, node: NodeId, said: Standing) -> Option<Remembered> {
        let known = self.0.entry(node).or_default();
        let word = |reach| Said { start: said.start, reach };
        let refuted = Remembered {
            data: said.data.and_then(|reach| Said::hear(&mut known.data, word(reach))),
            control: said.control.and_then(|reach| Said::hear(&mut known.control, word(reach))),
        };
        (refuted != Remembered::default()).then_some(refuted)
    }

    /// What is remembered of a node.
    #[must_use]
    pub fn of(&self, node: NodeId) -> Remembered {
        self.0.get(&node).copied().unwrap_or_default()
    }

    /// How many are remembered.
    #[must_use]
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether nobody is.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Only these are remembered from now on.
    pub fn keep(&mut self, is_there: impl Fn(NodeId) -> bool) {
        self.0.retain(|node, _| is_there(*node));
    }
}

/// What a node in doubt has come to about one of its journals.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// Too few have spoken.
    Wait,
    /// Nobody knows of more than there is.
    Whole,
    /// Somebody does.
    Misses(Gap),
}

/// The question whether one of its journals has all that this node said it had.
///
/// All who may know are asked. Where one of them is silent for longer than any who lives is, the others are enough if they
/// are a majority together with this node: whoever counted on this journal told the others soon after (by the node's own
/// gossip), so that only what was said in the last moment, to somebody who is gone as well, may be missed. For a node that is
/// dead for ever nobody waits; where no majority is left, nothing is acked either, and an order of an operator goes on.
#[derive(Debug, Clone)]
pub struct Doubt {
    reach: Reach,
    patient_until_ms: u64,
    answered: BTreeSet<NodeId>,
    gap: Option<Gap>,
}

impl Doubt {
    /// About a journal that is there up to here.
    #[must_use]
    pub fn new(reach: Reach, patient_until_ms: u64) -> Self {
        Self { reach, patient_until_ms, answered: BTreeSet::new(), gap: None }
    }

    /// What a node remembers of this journal.
    pub fn hear(&mut self, from: NodeId, remembered: Option<&Reach>) {
        self.answered.insert(from);
        if self.gap.is_none() {
            self.gap = remembered.and_then(|remembered| self.reach.misses(remembered));
        }
    }

    /// Whether a node has answered.
    #[must_use]
    pub fn has_heard(&self, node: NodeId) -> bool {
        self.answered.contains(&node)
    }

    /// By those who may know: all others that count on this journal.
    #[must_use]
    pub fn verdict(&self, others: &BTreeSet<NodeId>, now_ms: u64) -> Verdict {
        if let Some(gap) = self.gap {
            return Verdict::Misses(gap);
        }
        let answered = others.iter().filter(|node| self.answered.contains(node)).count();
        let is_majority = 2 * (answered + 1) > others.len() + 1;
        if answered == others.len() || (is_majority && now_ms >= self.patient_until_ms) {
            return Verdict::Whole;
        }
        Verdict::Wait
    }
}

/// What a voter may do whose journal of the control group may have gone back: then it may have voted, and acked entries, and
/// know nothing of it.
///
/// As long as it asks it does nothing. Where something is missing, all other voters say their terms first. Whom it had voted
/// for, and whose entries it had taken, is one of them, and had noted its own term before: so no promise of this node is of a
/// higher term than the highest of these, and one more is the floor. From then on it takes entries of leaders of the floor and
/// above, against whom nothing that it promised can stand, and a leader below hears of a higher term, as from any voter that
/// is ahead; but it gives no vote and does not stand, until its last entry is of such a term. That leader was chosen without
/// it, by a majority that has all that was ever committed; and an entry of the leader's own term has all of that before it.
/// Where another voter is gone for ever too, two of three are lost: that is an operator's matter (HOUSE decision 15).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Pledge {
    /// It does not know yet whether it keeps what it promised.
    Asking,
    /// It does not; and it does not know the terms of all others yet.
    Broken,
    /// It is caught up by a leader of this term or a later one, whom the others choose without it.
    CatchingUp {
        /// One more than the highest term that it may have promised anything in.
        floor: u64,
    },
    /// It is a voter like any other.
    #[default]
    Kept,
}

impl Pledge {
    /// Whether it may vote, stand, and say that it hears no leader.
    #[must_use]
    pub fn may_vote(self) -> bool {
        self == Self::Kept
    }

    /// Whether it may take entries of a leader of this term.
    #[must_use]
    pub fn may_take(self, term: u64) -> bool {
        match self {
            Self::Asking | Self::Broken => false,
            Self::CatchingUp { floor } => term >= floor,
            Self::Kept => true,
        }
    }

    /// After it has taken entries, the last one of this term.
    #[must_use]
    pub fn after(self, last_term: Option<u64>) -> Self {
        match self {
            Self::CatchingUp { floor } if last_term.is_some_and(|term| term >= floor) => Self::Kept,
            Self::CatchingUp { .. } | Self::Asking | Self::Broken | Self::Kept => self,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::Doubt;
    use super::Gap;
    use super::Memory;
    use super::Pledge;
    use super::Reach;
    use super::Remembered;
    use super::Standing;
    use super::Verdict;
    use crate::base::id::NodeId;

    const A: NodeId = NodeId(1);
    const B: NodeId = NodeId(2);
    const C: NodeId = NodeId(3);

    fn reach(journal: u64, opened: u64, group: u64) -> Reach {
        Reach { journal, opened, group }
    }

    fn standing(start: u64, data: Reach) -> Standing {
        Standing { start, data: Some(data), control: None }
    }

    #[test]
    fn the_highest_is_remembered_over_lives_and_another_journal_replaces_it() {
        let mut memory = Memory::default();
        for (start, opened, group, known) in [(1, 0, 5, 5), (1, 0, 3, 5), (2, 7, 8, 8), (1, 0, 6, 8)] {
            assert_eq!(memory.hear(A, standing(start, reach(1, opened, group))), None);
            assert_eq!(memory.of(A).data.unwrap().reach.group, known);
        }
        assert_eq!(memory.hear(A, standing(2, reach(2, 1, 1))), None, "it merged anew what it had lost");
        assert_eq!(memory.of(A).data.unwrap().reach, reach(2, 1, 1));
        assert_eq!((memory.of(A).control, memory.of(B)), (None, Remembered::default()));
        memory.keep(|node| node == B);
        assert_eq!(memory.of(A), Remembered::default());
    }

    #[test]
    fn a_life_that_began_below_what_is_known_is_refuted_however_far_it_comes() {
        let mut memory = Memory::default();
        memory.hear(A, standing(4, reach(1, 0, 812)));
        let known = memory.of(A);
        for group in [641, 813, 2000] {
            assert_eq!(memory.hear(A, standing(5, reach(1, 640, group))), Some(known));
            assert_eq!(memory.of(A), known, "it is still known");
        }
        let control = |start, opened, group| Standing { start, data: None, control: Some(reach(9, opened, group)) };
        assert_eq!(memory.hear(B, control(4, 0, 7)), None);
        let refuted = memory.hear(B, Standing { data: Some(reach(1, 0, 5)), ..control(5, 6, 6) }).unwrap();
        assert_eq!((refuted.data, refuted.control.unwrap().reach.group), (None, 7), "each journal for itself");
        assert_eq!(memory.of(B).data.unwrap().start, 5);
        // The word of the life before comes late.
        assert_eq!(memory.hear(C, standing(5, reach(1, 640, 650))), None);
        assert_eq!(memory.hear(C, standing(4, reach(1, 0, 640))), None, "that much was there");
        let late = memory.hear(C, standing(4, reach(1, 0, 700))).unwrap();
        assert_eq!((late.data.unwrap().start, late.data.unwrap().reach.group), (4, 700));
        assert_eq!(memory.hear(C, standing(5, reach(2, 1, 2))), None, "until it is made good");
    }

    #[test]
    fn what_one_remembers_is_enough_and_all_are_waited_for_but_not_for_ever() {
        let others = BTreeSet::from([B, C]);
        let mut doubt = Doubt::new(reach(1, 640, 640), 3000);
        assert_eq!(doubt.verdict(&BTreeSet::new(), 0), Verdict::Whole, "nobody else counts on it");
        assert_eq!(doubt.verdict(&others, 9000), Verdict::Wait, "nobody has spoken");
        doubt.hear(B, Some(&reach(1, 0, 640)));
        assert_eq!(
            (doubt.verdict(&others, 2999), doubt.has_heard(B), doubt.has_heard(C)),
            (Verdict::Wait, true, false)
        );
        assert_eq!(doubt.verdict(&others, 3000), Verdict::Whole);
        let five = BTreeSet::from([B, C, NodeId(4), NodeId(5)]);
        assert_eq!(doubt.verdict(&five, 9000), Verdict::Wait, "two of five are no majority");
        doubt.hear(C, Some(&reach(1, 0, 641)));
        let gap = Gap::WentBack { from: 641, to: 640 };
        assert_eq!(doubt.verdict(&others, 0), Verdict::Misses(gap));
        assert_eq!(gap.in_words(), "went back from group 641 to 640");
        let mut doubt = Doubt::new(reach(1, 640, 640), 3000);
        doubt.hear(B, None);
        doubt.hear(C, None);
        assert_eq!(doubt.verdict(&others, 0), Verdict::Whole);
        doubt.hear(C, Some(&reach(2, 0, 3)));
        assert_eq!(doubt.verdict(&others, 0), Verdict::Misses(Gap::Another { from: 3 }));
    }

    #[test]
    fn a_voter_that_forgot_takes_entries_above_all_terms_first_and_votes_when_it_has_one_of_them() {
        for (pledge, term) in [(Pledge::Asking, 9), (Pledge::Broken, 9), (Pledge::CatchingUp { floor: 5 }, 4)] {
            assert!(!pledge.may_vote() && !pledge.may_take(term));
        }
        let pledge = Pledge::CatchingUp { floor: 5 };
        assert!(pledge.may_take(5) && !pledge.may_vote());
        assert_eq!((pledge.after(None), pledge.after(Some(4)), pledge.after(Some(5))), (pledge, pledge, Pledge::Kept));
        assert_eq!((Pledge::Asking.after(Some(9)), Pledge::Broken.after(Some(9))), (Pledge::Asking, Pledge::Broken));
        assert!(Pledge::Kept.may_vote() && Pledge::Kept.may_take(0));
    }
}
