//! Who votes, in the cases that come up.

use std::collections::BTreeMap;
use std::collections::BTreeSet;

use super::Candidate;
use super::Change;
use super::Present;
use super::VOTER_LOST_MS;
use super::is_majority;
use super::may_remove;
use super::next_change;
use crate::base::id::NodeId;

fn ids(nodes: &[u64]) -> BTreeSet<NodeId> {
    nodes.iter().copied().map(NodeId).collect()
}

/// Members with their zones.
fn members(zones: &[(u64, &str)]) -> BTreeMap<NodeId, Candidate> {
    let candidate = |zone: &str| Candidate { zone: zone.to_owned(), leaving: false };
    zones.iter().map(|(node, zone)| (NodeId(*node), candidate(zone))).collect()
}

fn present(voters: &[u64], learners: &[u64]) -> Present {
    Present { voters: vec![ids(voters)], learners: ids(learners), caught_up: ids(learners) }
}

fn down(nodes: &[(u64, u64)]) -> BTreeMap<NodeId, u64> {
    nodes.iter().map(|(node, ms)| (NodeId(*node), *ms)).collect()
}

fn set(voters: &[u64]) -> Option<Change> {
    Some(Change::SetVoters(ids(voters)))
}

const FOUR: [(u64, &str); 4] = [(1, "a"), (2, "a"), (3, "b"), (4, "c")];

#[test]
fn a_second_member_learns_and_with_the_third_all_vote_at_once() {
    let two = members(&FOUR[..2]);
    let add = |node| Some(Change::AddLearner(NodeId(node)));
    assert_eq!(next_change(&two, &down(&[]), &present(&[1], &[]), NodeId(1)), add(2));
    assert_eq!(next_change(&two, &down(&[]), &present(&[1], &[2]), NodeId(1)), None);
    let three = members(&FOUR[..3]);
    assert_eq!(next_change(&three, &down(&[]), &present(&[1], &[2]), NodeId(1)), add(3));
    let behind = Present { caught_up: ids(&[2]), ..present(&[1], &[2, 3]) };
    assert_eq!(
        next_change(&three, &down(&[]), &behind, NodeId(1)),
        None,
        "3 has not caught up, and two survive nothing"
    );
    assert_eq!(next_change(&three, &down(&[(3, 1)]), &present(&[1], &[2, 3]), NodeId(1)), None);
    assert_eq!(next_change(&three, &down(&[]), &present(&[1], &[2, 3]), NodeId(1)), set(&[1, 2, 3]));
}

#[test]
fn voters_are_in_different_zones_where_that_can_be_had_and_stay_where_they_are() {
    let four = members(&FOUR);
    assert_eq!(next_change(&four, &down(&[]), &present(&[1], &[2, 3, 4]), NodeId(1)), set(&[1, 3, 4]));
    assert_eq!(next_change(&four, &down(&[]), &present(&[1, 2, 3], &[4]), NodeId(1)), None);
    let one_zone = members(&[(1, "a"), (2, "a"), (3, "a")]);
    assert_eq!(next_change(&one_zone, &down(&[]), &present(&[1], &[2, 3]), NodeId(1)), set(&[1, 2, 3]));
}

#[test]
fn a_voter_is_replaced_when_it_is_down_for_long_or_goes() {
    let four = members(&FOUR);
    let three = present(&[1, 2, 3], &[4]);
    assert_eq!(next_change(&four, &down(&[(3, VOTER_LOST_MS - 1)]), &three, NodeId(1)), None);
    assert_eq!(next_change(&four, &down(&[(3, VOTER_LOST_MS)]), &three, NodeId(1)), set(&[1, 2, 4]));
    assert_eq!(next_change(&four, &down(&[(3, VOTER_LOST_MS), (4, 1)]), &three, NodeId(1)), None, "nobody takes it");
    let mut leaving = four.clone();
    leaving.get_mut(&NodeId(2)).unwrap().leaving = true;
    assert_eq!(next_change(&leaving, &down(&[]), &three, NodeId(1)), set(&[1, 3, 4]));
    let removed = members(&[(1, "a"), (3, "b"), (4, "c")]);
    assert_eq!(next_change(&removed, &down(&[]), &three, NodeId(1)), set(&[1, 3, 4]));
    let remove = Some(Change::Remove(NodeId(2)));
    assert_eq!(next_change(&removed, &down(&[]), &present(&[1, 3, 4], &[2]), NodeId(1)), remove);
}

#[test]
fn one_at_a_time_and_the_longest_gone_first() {
    let five = members(&[(1, "a"), (2, "b"), (3, "c"), (4, "d"), (5, "e")]);
    let gone = down(&[(2, VOTER_LOST_MS), (3, 2 * VOTER_LOST_MS)]);
    assert_eq!(next_change(&five, &gone, &present(&[1, 2, 3], &[4, 5]), NodeId(1)), set(&[1, 2, 4]));
    // What a leader began that is gone now is brought to its end before anything else.
    let half = Present { voters: vec![ids(&[1, 2, 3]), ids(&[1, 2, 4])], ..present(&[], &[5]) };
    assert_eq!(next_change(&five, &gone, &half, NodeId(1)), set(&[1, 2, 4]));
}

#[test]
fn with_two_members_left_the_leader_votes_alone() {
    let two = members(&FOUR[1..3]);
    assert_eq!(next_change(&two, &down(&[]), &present(&[1, 2, 3], &[]), NodeId(3)), set(&[3]));
    assert_eq!(next_change(&two, &down(&[]), &present(&[3], &[1, 2]), NodeId(3)), Some(Change::Remove(NodeId(1))));
}

#[test]
fn the_second_of_three_voters_is_not_removed_while_one_is_down() {
    let refused = may_remove(NodeId(2), &ids(&[1, 2, 3]), &ids(&[3])).unwrap_err();
    assert!(refused.contains("node 2 is one of 3 voters") && refused.contains("node 3 is down"), "{refused}");
    assert!(refused.contains("1 would be left of the 2 that a change needs"), "{refused}");
    assert_eq!(may_remove(NodeId(3), &ids(&[1, 2, 3]), &ids(&[3])), Ok(()), "the one that is down may go");
    assert_eq!(may_remove(NodeId(2), &ids(&[1, 2, 3]), &ids(&[])), Ok(()));
    assert_eq!(may_remove(NodeId(4), &ids(&[1, 2, 3]), &ids(&[3])), Ok(()), "it has no vote");
}

#[test]
fn a_majority_is_more_than_half_of_every_set() {
    let voters = [ids(&[1, 2, 3]), ids(&[3, 4, 5])];
    let of = |nodes: &'static [u64]| is_majority(&voters, |node| nodes.contains(&node.0));
    assert!(!of(&[1, 2]) && !of(&[1, 2, 4]) && of(&[1, 3, 4]) && of(&[2, 3, 5]));
    assert!(!is_majority(&[ids(&[1, 2])], |node| node.0 == 1));
}
