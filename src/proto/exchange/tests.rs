//! The pieces, and two owners whose contents are random.

use std::collections::BTreeMap;

use proptest::prelude::*;

use super::BUSY_ROOT_MS;
use super::Compare;
use super::Effect;
use super::Ended;
use super::LOOK_AGAIN_MS;
use super::Ledger;
use super::Pair;
use super::Root;
use super::asks;
use crate::base::id::NodeId;
use crate::base::id::PartitionId;
use crate::proto::merkle::Leaves;
use crate::proto::merkle::Tree;

const ME: NodeId = NodeId(1);
const OTHER: NodeId = NodeId(2);
const SLOT: PartitionId = PartitionId(3);

fn root(sum: u64, settled: bool) -> Root {
    Root { sum, settled }
}

#[test]
fn of_two_owners_one_asks_and_each_for_half_of_the_partitions() {
    for (one, two) in [(1, 2), (1, 3), (7, 4)] {
        let (one, two) = (NodeId(one), NodeId(two));
        let by_one = PartitionId::all().filter(|partition| asks(one, two, *partition)).count();
        let both = PartitionId::all().filter(|partition| asks(one, two, *partition) == asks(two, one, *partition));
        assert_eq!((by_one, both.count()), (128, 0));
        assert!(PartitionId::all().all(|partition| !asks(one, one, partition)));
    }
}

/// A partition for which `ME` asks.
fn mine_to_ask() -> PartitionId {
    PartitionId::all().find(|partition| asks(ME, OTHER, *partition)).unwrap()
}

#[test]
fn settled_roots_that_differ_are_compared_at_once_and_others_now_and_then() {
    let (mut ledger, partition) = (Ledger::default(), mine_to_ask());
    let mut roots = |mine, theirs, now_ms| ledger.roots(ME, OTHER, partition, (mine, theirs), now_ms);
    assert!(!roots(root(1, true), root(1, false), 5), "the same");
    assert!(!roots(root(1, true), root(2, false), 6), "perhaps under way");
    assert!(roots(root(1, true), root(2, true), 7));
    assert!(!roots(root(1, true), root(3, true), 8), "it is under way");
    ledger.ended(OTHER, partition, None, 9);
    let standing = *ledger.standings().next().unwrap().2;
    assert_eq!((standing.same_ms, standing.differs_since_ms), (Some(5), Some(7)));
    let mut roots = |mine, theirs, now_ms| ledger.roots(ME, OTHER, partition, (mine, theirs), now_ms);
    assert!(!roots(root(1, false), root(2, false), 4 + BUSY_ROOT_MS));
    assert!(roots(root(1, false), root(2, false), 5 + BUSY_ROOT_MS));
    ledger.ended(OTHER, partition, Some(Ended::default()), 6 + BUSY_ROOT_MS);
    assert_eq!(ledger.standings().next().unwrap().2.differs_since_ms, None, "it was under way");
    let other = PartitionId::all().find(|partition| asks(OTHER, ME, *partition)).unwrap();
    assert!(!ledger.roots(ME, OTHER, other, (root(1, true), root(2, true)), 7), "the other one asks");
    assert_eq!(ledger.standings().count(), 2, "but it is known here too");
    ledger.keep(|_, _| false);
    assert_eq!(ledger.standings().count(), 0);
}

fn some() -> Leaves {
    let mut leaves = Leaves::default();
    leaves.add(9);
    leaves
}

#[test]
fn what_differs_twice_is_brought_and_sent() {
    let mut compare = Compare::<u8>::begin(0);
    assert_eq!(compare.poll_effect(), Some(Effect::AskLeaves { question: 1 }));
    compare.leaves(1, some(), 1);
    assert_eq!(compare.poll_effect(), Some(Effect::AskDigests { question: 2, leaves: some(), after: None }));
    compare.digests(2, [(1, 10), (2, 20), (3, 30)], [(1, 10), (2, 21), (4, 40)], Some(4), 2);
    assert_eq!(compare.poll_effect(), Some(Effect::AskDigests { question: 3, leaves: some(), after: Some(4) }));
    compare.digests(3, [(5, 50)], [], None, 3);
    assert_eq!((compare.poll_effect(), compare.poll_timeout()), (None, 3 + LOOK_AGAIN_MS));
    compare.handle_timeout(3 + LOOK_AGAIN_MS);
    assert_eq!(compare.poll_effect(), Some(Effect::LookAgain { question: 4, places: vec![2, 3, 4, 5] }));
    let pair = |mine, theirs| Pair { mine, theirs };
    let now = BTreeMap::from([
        (2, pair(Some(20), Some(21))),
        (3, pair(Some(30), Some(30))),
        (4, pair(None, Some(40))),
        (5, pair(Some(50), None)),
    ]);
    compare.looked_again(4, &now, 9);
    assert_eq!(compare.poll_effect(), Some(Effect::Bring { question: 5, places: vec![2, 4] }));
    compare.brought(5, 2, 10);
    assert_eq!(compare.poll_effect(), Some(Effect::Send { question: 6, places: vec![(2, Some(21)), (5, None)] }));
    compare.sent(6, 2, 11);
    assert_eq!(compare.outcome(), Some(Ended { differing: 3, brought: 2, sent: 2 }));
}

#[test]
fn what_changes_between_two_looks_is_left_alone() {
    let mut compare = Compare::<u8>::begin(0);
    compare.leaves(1, some(), 1);
    compare.digests(2, [(1, 10)], [(1, 11)], None, 2);
    compare.handle_timeout(2 + LOOK_AGAIN_MS);
    compare.looked_again(3, &BTreeMap::from([(1, Pair { mine: Some(10), theirs: Some(12) })]), 9);
    assert_eq!(compare.outcome(), Some(Ended::default()), "a write is under way");
}

#[test]
fn a_comparison_whose_other_side_falls_silent_breaks_off() {
    let mut compare = Compare::<u8>::begin(0);
    compare.refused(7);
    assert!(!compare.has_ended(), "of another question");
    compare.handle_timeout(super::ANSWER_MS - 1);
    assert!(!compare.has_ended());
    compare.handle_timeout(super::ANSWER_MS);
    assert_eq!((compare.has_ended(), compare.outcome(), compare.poll_effect()), (true, None, None));
    compare.leaves(1, some(), 9000);
    assert_eq!(compare.poll_effect(), None);
}

/// Two owners, whose merge takes the larger of two numbers.
struct Two([BTreeMap<u8, u64>; 2]);

impl Two {
    fn tree(&self, side: usize) -> Tree {
        let mut tree = Tree::default();
        self.0[side].iter().for_each(|(place, what)| tree.add(&[*place], *what));
        tree
    }

    fn page(&self, side: usize, leaves: Leaves, after: Option<u8>) -> Vec<(u8, u64)> {
        let of = |(place, what): (&u8, &u64)| (*place, *what);
        let behind = |(place, _): &(u8, u64)| after.is_none_or(|after| *place > after) && leaves.has(&[*place]);
        self.0[side].iter().map(of).filter(behind).collect()
    }

    fn compare(&mut self, page: usize) -> Ended {
        let (mut compare, mut now_ms) = (Compare::begin(0), 0);
        while !compare.has_ended() {
            match compare.poll_effect() {
                None => {
                    now_ms = compare.poll_timeout();
                    compare.handle_timeout(now_ms);
                }
                Some(Effect::AskLeaves { question }) => {
                    compare.leaves(question, self.tree(0).differing(&self.tree(1)), now_ms);
                }
                Some(Effect::AskDigests { question, leaves, after }) => {
                    let mut theirs = self.page(1, leaves, after);
                    let last = (theirs.len() > page).then(|| theirs[page - 1].0);
                    theirs.truncate(page);
                    let mut mine = self.page(0, leaves, after);
                    mine.retain(|(place, _)| last.is_none_or(|last| *place <= last));
                    compare.digests(question, mine, theirs, last, now_ms);
                }
                Some(Effect::LookAgain { question, places }) => {
                    let pair = |place: &u8| Pair {
                        mine: self.0[0].get(place).copied(),
                        theirs: self.0[1].get(place).copied(),
                    };
                    let now = places.iter().map(|place| (*place, pair(place))).collect();
                    compare.looked_again(question, &now, now_ms);
                }
                Some(Effect::Bring { question, places }) => {
                    let mut changed = 0;
                    for place in places {
                        let theirs = self.0[1][&place];
                        let mine = self.0[0].entry(place).or_default();
                        changed += usize::from(theirs > *mine);
                        *mine = theirs.max(*mine);
                    }
                    compare.brought(question, changed, now_ms);
                }
                Some(Effect::Send { question, places }) => {
                    let mut count = 0;
                    for (place, theirs) in places {
                        let mine = self.0[0][&place];
                        if Some(mine) != theirs {
                            self.0[1].insert(place, mine);
                            count += 1;
                        }
                    }
                    compare.sent(question, count, now_ms);
                }
            }
        }
        compare.outcome().unwrap()
    }
}

proptest! {
    #[test]
    fn two_owners_hold_the_same_after_one_comparison_and_the_next_repairs_nothing(
        mine in proptest::collection::btree_map(any::<u8>(), 1..4_u64, 0..80),
        theirs in proptest::collection::btree_map(any::<u8>(), 1..4_u64, 0..80),
        page in 1..9_usize,
    ) {
        let mut all = mine.clone();
        for (place, what) in &theirs {
            let there = all.entry(*place).or_default();
            *there = (*there).max(*what);
        }
        let differing = all.keys().filter(|place| mine.get(*place) != theirs.get(*place)).count();
        let mut two = Two([mine, theirs]);
        prop_assert_eq!(two.compare(page).differing, differing);
        prop_assert_eq!(&two.0[0], &all);
        prop_assert_eq!(&two.0[1], &all);
        prop_assert_eq!(two.compare(page), Ended::default(), "silent when nothing differs");
    }
}

#[test]
fn roots_of_what_was_never_compared_are_compared() {
    let mut ledger = Ledger::default();
    let begins = ledger.roots(ME, OTHER, SLOT, (root(1, false), root(2, false)), 0);
    assert_eq!(begins, asks(ME, OTHER, SLOT));
}

#[test]
fn how_long_the_last_difference_lasted_is_known_once_both_are_the_same() {
    let mut ledger = Ledger::default();
    let mut roots = |mine, theirs, now_ms| {
        ledger.roots(ME, OTHER, SLOT, (root(mine, true), root(theirs, true)), now_ms);
        ledger.healed_ms()
    };
    assert_eq!([roots(1, 1, 5), roots(1, 2, 10), roots(3, 2, 4_000)], [None; 3], "nothing was healed yet");
    assert_eq!([roots(3, 3, 9_010), roots(3, 3, 20_000)], [Some(9_000); 2], "since it was found first");
    roots(4, 3, 30_000);
    ledger.ended(OTHER, SLOT, Some(Ended::default()), 31_000);
    assert_eq!(ledger.healed_ms(), Some(9_000), "what was under way was no difference");
}
