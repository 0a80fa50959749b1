//! Plans follow members; every sequence of commands leaves a state that holds together and is the same from a snapshot.

use std::collections::BTreeSet;

use proptest::prelude::any;
use proptest::prelude::prop;
use proptest::proptest;
use proptest::test_runner::Config;

use crate::base::checksum;
use crate::base::id::NodeId;
use crate::base::id::PartitionId;
use crate::proto::bucket::Definition;
use crate::proto::control::Applied;
use crate::proto::control::Command;
use crate::proto::control::Refused;
use crate::proto::control::State;
use crate::proto::control::members::Admission;
use crate::proto::control::members::Change;
use crate::proto::control::members::LayoutCommit;
use crate::proto::control::members::MemberState;
use crate::proto::control::members::tests::admission;
use crate::proto::control::members::tests::begun;
use crate::proto::control::part::Drain;
use crate::proto::control::part::Part;
use crate::proto::ring::transition;

fn change(state: &mut State, change: Change) -> Result<Applied, Refused> {
    state.apply(Command::Cluster(change))
}

/// An order to go, whatever happened meanwhile.
fn gone(part: Part) -> Change {
    Change::Parting { part, seen: None }
}

fn join(state: &mut State) -> NodeId {
    let key = u8::try_from(state.next_node).unwrap();
    change(state, Change::Invite { hash: [key; 32], made_ms: 0, expires_ms: 100, replaces: None }).unwrap();
    match change(state, Change::Admit(Box::new(admission(key, key)))) {
        Ok(Applied::Admitted(node)) => node,
        other => panic!("{other:?}"),
    }
}

/// Everybody who is alive adopts and syncs until nothing is left to do.
pub(in crate::proto::control) fn finish(state: &mut State) {
    for _ in 0..20 {
        let before = state.clone();
        let nodes: Vec<NodeId> = state.members.keys().copied().collect();
        for node in nodes {
            let lists = state.layout.slots().flat_map(|(p, slot)| slot.lists().map(move |list| (p, list.since)));
            let synced: Vec<(PartitionId, u64)> = lists.collect();
            let adopted = state.layout.version;
            let _removed: Result<_, _> = change(state, Change::Report { node, adopted, synced });
        }
        if *state == before {
            return;
        }
    }
    panic!("it does not come to rest");
}

/// Three nodes that own everything.
pub(in crate::proto::control) fn grown() -> State {
    let mut state = begun();
    for _ in 0..2 {
        join(&mut state);
    }
    finish(&mut state);
    state
}

fn states(state: &State) -> Vec<(u64, MemberState)> {
    state.members.iter().map(|(node, member)| (node.0, member.state)).collect()
}

fn owners(state: &State) -> BTreeSet<u64> {
    state.layout.slots().flat_map(|(_, slot)| slot.lists()).flat_map(|list| &list.owners).map(|node| node.0).collect()
}

use MemberState::Joining;
use MemberState::Leaving;
use MemberState::Member;
use MemberState::Removed;

#[test]
fn a_second_node_owns_nothing_until_a_third_comes() {
    let mut state = begun();
    join(&mut state);
    finish(&mut state);
    assert_eq!((states(&state), owners(&state)), (vec![(1, Member), (2, Joining)], [1].into()));
    join(&mut state);
    assert_eq!(owners(&state), [1, 2, 3].into());
    assert_eq!(states(&state), [(1, Member), (2, Joining), (3, Joining)]);
    assert!(!state.layout.is_at_rest());
    finish(&mut state);
    assert!(state.layout.is_at_rest());
    assert_eq!(states(&state), [(1, Member), (2, Member), (3, Member)]);
    // Grown once, it shrinks to two where that is asked for.
    change(&mut state, gone(Part::Leave { node: NodeId(1) })).unwrap();
    assert_eq!(states(&state)[0], (1, Leaving));
    finish(&mut state);
    assert_eq!((states(&state)[0], owners(&state)), ((1, Removed), [2, 3].into()));
    change(&mut state, gone(Part::Leave { node: NodeId(2) })).unwrap();
    finish(&mut state);
    assert_eq!(owners(&state), [3].into());
    let last = NodeId(3);
    assert_eq!(change(&mut state, gone(Part::Leave { node: last })), Err(Refused::LastNode(last)));
    assert_eq!(change(&mut state, gone(Part::Remove { node: last, accept_loss: true })), Err(Refused::LastNode(last)));
    let weight = Change::Alter { node: last, zone: None, weight: Some(0) };
    assert_eq!(change(&mut state, weight), Err(Refused::LastNode(last)));
}

#[test]
fn an_operator_may_insist_on_two() {
    let mut state = begun();
    join(&mut state);
    assert_eq!(change(&mut state, Change::StagePlan), Ok(Applied::Changed));
    assert_eq!(owners(&state), [1].into());
    let live = [NodeId(1), NodeId(2)].into();
    assert_eq!(state.preview(&live).unwrap().moves.len(), 256);
    let stale = Change::CommitPlan { version: 9, accept_loss: BTreeSet::new() };
    assert_eq!(change(&mut state, stale), Err(Refused::NoPlan { given: 9, staged: Some(1) }));
    change(&mut state, Change::CommitPlan { version: 1, accept_loss: BTreeSet::new() }).unwrap();
    finish(&mut state);
    assert_eq!((owners(&state), states(&state)[1]), ([1, 2].into(), (2, Member)));
    assert!(state.staged.is_none());
}

#[test]
fn with_manual_commits_everything_waits_for_the_operator() {
    let mut state = begun();
    change(&mut state, Change::SetLayoutCommit(LayoutCommit::Manual)).unwrap();
    join(&mut state);
    assert!(state.staged.is_none());
    join(&mut state);
    let version = state.staged.as_ref().as_ref().unwrap().version;
    assert_eq!(owners(&state), [1].into());
    change(&mut state, Change::CommitPlan { version, accept_loss: BTreeSet::new() }).unwrap();
    finish(&mut state);
    assert_eq!(owners(&state), [1, 2, 3].into());
    change(&mut state, gone(Part::Leave { node: NodeId(2) })).unwrap();
    assert_eq!((states(&state)[1], owners(&state).len()), ((2, Leaving), 3));
    change(&mut state, Change::ClearPlan).unwrap();
    assert_eq!(states(&state)[1], (2, Member));
    assert_eq!(change(&mut state, Change::ClearPlan), Ok(Applied::Unchanged));
}

#[test]
fn a_removal_says_what_would_be_lost_and_goes_on_only_where_that_is_accepted() {
    let mut state = begun();
    join(&mut state);
    let node = NodeId(1);
    let remove = |accept_loss| gone(Part::Remove { node, accept_loss });
    let before = state.clone();
    assert_eq!(change(&mut state, remove(false)), Err(Refused::WouldLose { node, partitions: 256 }));
    assert!(state == before);
    assert_eq!(change(&mut state, remove(true)), Ok(Applied::Removed));
    finish(&mut state);
    assert_eq!((owners(&state), state.gone.is_empty()), ([2].into(), true));
    // Of three that are synced one is not missed.
    let mut state = grown();
    assert_eq!(change(&mut state, remove(false)), Ok(Applied::Removed));
    finish(&mut state);
    assert_eq!((owners(&state), states(&state)[0]), ([2, 3].into(), (1, Removed)));
}

#[test]
fn who_died_in_the_middle_of_a_join_is_removed_and_the_join_ends() {
    let mut state = grown();
    let fourth = join(&mut state);
    assert!(!state.layout.is_at_rest());
    assert_eq!(change(&mut state, gone(Part::Remove { node: NodeId(2), accept_loss: false })), Ok(Applied::Removed));
    finish(&mut state);
    assert!(state.layout.is_at_rest());
    assert_eq!(owners(&state), [1, 3, fourth.0].into());
}

#[test]
fn where_all_old_and_all_new_owners_are_gone_another_takes_over() {
    let mut state = begun();
    let (old, new) = (NodeId(1), join(&mut state));
    change(&mut state, gone(Part::Replace { old, new })).unwrap();
    let synced = state.layout.slots().map(|(p, slot)| (p, slot.target().since)).collect();
    let adopted = state.layout.version;
    change(&mut state, Change::Report { node: new, adopted, synced }).unwrap();
    assert!(state.layout.slots().all(|(_, slot)| slot.next.as_ref().is_some_and(|next| next.reads.is_some())));
    let third = join(&mut state);
    for node in [old, new] {
        change(&mut state, gone(Part::Remove { node, accept_loss: true })).unwrap();
    }
    finish(&mut state);
    assert_eq!((owners(&state), state.layout.is_at_rest()), ([third.0].into(), true));
}

#[test]
fn a_replacement_takes_the_same_places() {
    let mut state = grown();
    let before: Vec<Vec<NodeId>> = state.layout.slots().map(|(_, slot)| slot.now.owners.clone()).collect();
    // Or the newcomer would own some of it as soon as it is in, and be no replacement.
    let mut joined = state.clone();
    let (old, new) = (NodeId(2), join(&mut joined));
    assert_eq!(change(&mut joined, gone(Part::Replace { old, new })), Err(Refused::Unfit { old, new }));
    change(&mut state, Change::SetLayoutCommit(LayoutCommit::Manual)).unwrap();
    assert_eq!(join(&mut state), new);
    change(&mut state, gone(Part::Replace { old, new })).unwrap();
    let version = state.staged.as_ref().as_ref().unwrap().version;
    change(&mut state, Change::CommitPlan { version, accept_loss: BTreeSet::new() }).unwrap();
    finish(&mut state);
    let put = |node: &NodeId| if *node == old { new } else { *node };
    let after: Vec<Vec<NodeId>> = before.iter().map(|list| list.iter().map(put).collect()).collect();
    assert!(state.layout.slots().zip(after).all(|((_, slot), list)| slot.now.owners == list));
    assert_eq!(states(&state)[1], (2, Removed));
}

/// A node that is let in with an invite for the place of another.
fn join_in_place_of(state: &mut State, old: NodeId) -> NodeId {
    let key = u8::try_from(state.next_node).unwrap();
    change(state, Change::Invite { hash: [key; 32], made_ms: 0, expires_ms: 100, replaces: Some(old) }).unwrap();
    match change(state, Change::Admit(Box::new(admission(key, key)))) {
        Ok(Applied::Admitted(node)) => node,
        other => panic!("{other:?}"),
    }
}

#[test]
fn who_is_invited_in_anothers_place_takes_it_and_no_other() {
    let mut state = grown();
    let before: Vec<Vec<NodeId>> = state.layout.slots().map(|(_, slot)| slot.now.owners.clone()).collect();
    let old = NodeId(2);
    let new = join_in_place_of(&mut state, old);
    assert_eq!((states(&state)[1].1, state.members[&new].replaces), (Leaving, None));
    finish(&mut state);
    let put = |node: &NodeId| if *node == old { new } else { *node };
    let after: Vec<Vec<NodeId>> = before.iter().map(|list| list.iter().map(put).collect()).collect();
    assert!(state.layout.slots().zip(after).all(|((_, slot), list)| slot.now.owners == list));
    assert_eq!((states(&state)[1], states(&state)[3]), ((2, Removed), (new.0, Member)));
}

#[test]
fn whose_place_was_given_up_before_another_came_leaves_it_to_the_others() {
    let mut state = grown();
    let old = NodeId(2);
    change(&mut state, Change::Invite { hash: [9; 32], made_ms: 0, expires_ms: 100, replaces: Some(old) }).unwrap();
    change(&mut state, gone(Part::Remove { node: old, accept_loss: false })).unwrap();
    finish(&mut state);
    let Ok(Applied::Admitted(new)) = change(&mut state, Change::Admit(Box::new(admission(9, 9)))) else { panic!() };
    finish(&mut state);
    assert_eq!(owners(&state), [1, 3, new.0].into());
    let unknown = Change::Invite { hash: [8; 32], made_ms: 0, expires_ms: 100, replaces: Some(old) };
    assert!(matches!(change(&mut state, unknown), Err(Refused::NotFound { .. })));
}

#[test]
fn a_replacement_that_comes_in_the_middle_of_a_change_waits_for_its_end() {
    let mut state = grown();
    let fourth = join(&mut state);
    // Far enough that the lists which reads ask cannot be changed any more.
    let synced = state.layout.slots().flat_map(|(p, slot)| slot.lists().map(move |list| (p, list.since))).collect();
    let adopted = state.layout.version;
    change(&mut state, Change::Report { node: fourth, adopted, synced }).unwrap();
    assert!(!state.layout.is_at_rest());
    let new = join_in_place_of(&mut state, NodeId(1));
    finish(&mut state);
    assert_eq!((owners(&state), state.members[&new].replaces), ([2, 3, fourth.0, new.0].into(), None));
    assert_eq!(states(&state)[0], (1, Removed));
}

#[test]
fn of_two_orders_to_go_at_once_the_second_is_judged_again() {
    let mut state = grown();
    let seen = Some(state.partings);
    let leave = |node: u64| Part::Leave { node: NodeId(node) };
    change(&mut state, Change::Parting { part: leave(2), seen }).unwrap();
    assert_eq!(change(&mut state, Change::Parting { part: leave(3), seen }), Err(Refused::Outrun));
    assert_eq!(states(&state)[2], (3, Member));
    let seen = Some(state.partings);
    assert_eq!(change(&mut state, Change::Parting { part: leave(3), seen }), Ok(Applied::Changed));
}

#[test]
fn a_drain_is_noted_with_its_reason_and_ends() {
    let mut state = grown();
    let node = NodeId(2);
    let drain = |reason: &str| Change::Drain { node, drain: Some(Drain { reason: reason.into(), until_ms: Some(7) }) };
    assert_eq!(change(&mut state, drain("a new disk")), Ok(Applied::Changed));
    assert_eq!(change(&mut state, drain("a new disk")), Ok(Applied::Unchanged));
    assert_eq!(state.members[&node].drain.as_ref().map(|drain| drain.reason.as_str()), Some("a new disk"));
    for bad in ["a\nb", &"x".repeat(201)] {
        assert!(matches!(change(&mut state, drain(bad)), Err(Refused::BadName(_))));
    }
    assert_eq!(change(&mut state, Change::Drain { node, drain: None }), Ok(Applied::Changed));
    assert_eq!((state.members[&node].drain.clone(), owners(&state).len()), (None, 3));
}

#[test]
fn other_numbers_are_a_transition_once_there_are_owners_enough() {
    let mut state = begun();
    let put =
        |n, r, w| Command::PutBucket { name: "a".into(), definition: Definition { n, r, w, ..Definition::default() } };
    state.apply(put(3, 2, 2)).unwrap();
    // A lone node has one rule for all of them: at once, as ever.
    assert_eq!(state.apply(put(3, 3, 1)), Ok(Applied::Changed));
    assert_eq!((state.buckets["a"].numbers.old, state.layout.is_at_rest()), (None, true));
    for _ in 0..2 {
        join(&mut state);
    }
    finish(&mut state);
    assert_eq!(state.apply(put(3, 2, 2)), Ok(Applied::Changed));
    assert!(state.buckets["a"].numbers.old.is_some() && !state.layout.is_at_rest());
    let before = state.clone();
    assert_eq!(state.apply(put(3, 1, 3)), Err(Refused::Layout(transition::Refused::Changing)));
    assert!(state == before);
    finish(&mut state);
    assert_eq!((state.buckets["a"].numbers.old, state.layout.is_at_rest()), (None, true));
}

#[test]
fn a_cluster_goes_back_to_no_earlier_generation() {
    let mut state = begun();
    assert_eq!(change(&mut state, Change::Recovered { generation: 2 }), Ok(Applied::Changed));
    let refused = Refused::OldGeneration { given: 2, known: 2 };
    assert_eq!(change(&mut state, Change::Recovered { generation: 2 }), Err(refused));
}

#[test]
fn the_lists_that_a_log_leads_to_are_the_same_for_ever() {
    // Golden: a node of a later release applies the same commands, and must come to the same owners.
    let mut state = begun();
    for _ in 0..6 {
        join(&mut state);
        finish(&mut state);
    }
    change(&mut state, gone(Part::Leave { node: NodeId(3) })).unwrap();
    finish(&mut state);
    let lists: Vec<&Vec<NodeId>> = state.layout.slots().map(|(_, slot)| &slot.now.owners).collect();
    let digest = checksum::sha256_u64(&[&postcard::to_stdvec(&lists).unwrap()]);
    assert_eq!(format!("{digest:016x}"), "c2db87c4b66b2204");
}

type Step = (u8, u8, u8, u8);

struct World {
    state: State,
    /// The same log from a snapshot.
    twin: State,
    given: BTreeSet<NodeId>,
    at_ms: u64,
}

impl World {
    fn apply(&mut self, command: Command) {
        let before = self.state.clone();
        let applied = self.state.apply(command.clone());
        assert_eq!(self.twin.apply(command.clone()), applied);
        match applied {
            Ok(Applied::Admitted(node)) => assert!(self.given.insert(node), "{node} is given twice"),
            Ok(Applied::Unchanged | Applied::AdmittedBefore(_)) | Err(_) => {
                assert!(self.state == before, "{command:?}");
            }
            Ok(_) => {}
        }
        assert!(self.state.layout.version >= before.layout.version);
        self.check();
    }

    fn check(&self) {
        let state = &self.state;
        for (_, slot) in state.layout.slots() {
            for list in slot.lists() {
                let owners: BTreeSet<_> = list.owners.iter().collect();
                assert!(owners.len() == list.owners.len() && (1..=9).contains(&owners.len()), "{list:?}");
                assert!(list.synced.is_sorted_by(|a, b| a < b) && list.synced.iter().all(|n| owners.contains(n)));
                assert!(owners.iter().all(|node| state.layout.lists(**node)), "{list:?}");
            }
        }
        assert!(state.layout.nodes.keys().all(|node| state.members.contains_key(node)));
        assert!(state.members.keys().all(|node| node.0 < state.next_node && self.given.contains(node)));
        assert!(state.members.values().any(|member| member.stays() && member.weight > 0));
        let late = |bucket: &crate::proto::control::Bucket| {
            bucket.numbers.old.is_some() && state.layout.is_settled(bucket.numbers)
        };
        assert!(!state.buckets.values().any(late));
        assert!(state.staged.as_ref().as_ref().is_none_or(|staged| staged.plan.base == state.layout.planned));
    }

    fn pick(&self, which: u8) -> NodeId {
        let nodes: Vec<_> = self.state.members.keys().collect();
        *nodes[usize::from(which) % nodes.len()]
    }

    fn step(&mut self, (kind, a, b, c): Step) {
        let (node, other) = (self.pick(a), self.pick(b));
        self.at_ms += u64::from(c);
        let change = match kind % 32 {
            0..4 => return self.join(a, b, c),
            4 => gone(Part::Leave { node }),
            5 => gone(Part::Remove { node, accept_loss: b < 64 }),
            6 => gone(Part::Replace { old: node, new: other }),
            7 => Change::StagePlan,
            8 => Change::ClearPlan,
            9 | 10 => {
                let version = self.state.staged.as_ref().as_ref().map_or(u64::from(a), |staged| staged.version);
                let accept_loss = if b < 32 { [node].into() } else { BTreeSet::new() };
                Change::CommitPlan { version, accept_loss }
            }
            11 => Change::SetLayoutCommit(if b < 192 { LayoutCommit::Auto } else { LayoutCommit::Manual }),
            12 => Change::Lost { node },
            13 => Change::Alter { node, zone: Some(format!("z{}", b % 4)), weight: Some(u32::from(c % 8)) },
            14 => return self.apply(Command::RemoveBucket { name: format!("b{}", a % 3) }),
            15 | 16 => {
                let (n, r, w) = (b % 9 + 1, c % (b % 9 + 1) + 1, a % (b % 9 + 1) + 1);
                let definition = Definition { n, r, w, ..Definition::default() };
                return self.apply(Command::PutBucket { name: format!("b{}", a % 3), definition });
            }
            17 => {
                let bytes = postcard::to_stdvec(&self.state).unwrap();
                self.twin = postcard::from_bytes(&bytes).unwrap();
                return;
            }
            _ => {
                let lists = self.state.layout.slots().filter(|(p, _)| b < 200 || p.0 & 3 == c & 3);
                let lists = lists.flat_map(|(p, slot)| slot.lists().map(move |list| (p, list.since)));
                let synced = lists.collect();
                let adopted = self.state.layout.version.saturating_sub(u64::from(c / 128));
                Change::Report { node, adopted, synced }
            }
        };
        self.apply(Command::Cluster(change));
    }

    fn join(&mut self, a: u8, b: u8, c: u8) {
        let living = self.state.members.values().filter(|member| member.state != Removed).count();
        if living >= 12 {
            return;
        }
        let made_ms = self.at_ms;
        let replaces = (b & 64 == 0).then(|| self.pick(c));
        self.apply(Command::Cluster(Change::Invite { hash: [a; 32], made_ms, expires_ms: made_ms + 50, replaces }));
        let name = format!("n{}", self.state.next_node);
        let (zone, weight) = (format!("z{}", b % 4), u32::from(c % 5));
        let admission = Admission { name, zone, weight, at_ms: made_ms + u64::from(c % 64), ..admission(a, b) };
        self.apply(Command::Cluster(Change::Admit(Box::new(admission))));
    }

    /// Trouble ends: everybody who lives does its part, and those who do not are given up.
    fn heal(&mut self) {
        self.apply(Command::Cluster(Change::SetLayoutCommit(LayoutCommit::Auto)));
        for _ in 0..3 {
            let removed: Vec<_> = self.state.members.iter().filter(|(_, member)| member.state == Removed).collect();
            let removed: Vec<NodeId> = removed.into_iter().map(|(node, _)| *node).collect();
            for node in removed {
                self.apply(Command::Cluster(gone(Part::Remove { node, accept_loss: true })));
            }
            finish(&mut self.state);
            self.twin = self.state.clone();
            self.check();
        }
        assert!(self.state.layout.is_at_rest(), "{:?}", states(&self.state));
        assert!(self.state.members.values().all(|member| member.state != Leaving), "{:?}", states(&self.state));
        assert!(self.state.gone.is_empty() && self.state.layout.leaving.is_empty());
        assert_eq!(self.state.layout.nodes, self.state.wanted());
        let joined = |(node, member): (&NodeId, &crate::proto::control::members::Member)| {
            member.state != Joining || !self.state.layout.nodes.contains_key(node)
        };
        assert!(self.state.members.iter().all(joined));
    }
}

proptest! {
    #![proptest_config(Config { cases: 40, failure_persistence: None, ..Config::default() })]

    #[test]
    fn any_commands_leave_a_state_that_holds_together(steps in prop::collection::vec(any::<Step>(), 0..90)) {
        let state = begun();
        let mut world = World { twin: state.clone(), state, given: [NodeId(1)].into(), at_ms: 1 };
        for step in steps {
            world.step(step);
        }
        assert!(world.state == world.twin);
        world.heal();
    }
}
