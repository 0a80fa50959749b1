//! Who gets in, and once.

use std::collections::BTreeSet;

use crate::base::id::ClusterId;
use crate::base::id::NodeId;
use crate::base::limits::GRAVES_MAX;
use crate::base::limits::INVITES_MAX;
use crate::proto::audit::By;
use crate::proto::audit::Via;
use crate::proto::control::Applied;
use crate::proto::control::Birth;
use crate::proto::control::Command;
use crate::proto::control::Refused;
use crate::proto::control::State;
use crate::proto::control::members::Admission;
use crate::proto::control::members::Announcement;
use crate::proto::control::members::Change;
use crate::proto::control::members::LayoutCommit;
use crate::proto::control::members::MemberState;
use crate::proto::control::part::Part;
use crate::proto::ring::layout::Layout;

pub(in crate::proto::control) fn begun() -> State {
    let mut state = State::default();
    let birth = Birth { cluster: ClusterId(1), node: NodeId(1), at_ms: 1, context_secret: [3; 32] };
    assert_eq!(state.apply(Command::Begin(birth)), Ok(Applied::Made));
    state
}

pub(in crate::proto::control) fn admission(secret: u8, key: u8) -> Admission {
    Admission {
        secret_hash: [secret; 32],
        key: [key; 32],
        name: format!("n{key}"),
        zone: format!("z{}", key % 3),
        weight: 100,
        addresses: vec![format!("10.0.0.{key}:7400")],
        url: Some(format!("https://n{key}.example:7443")),
        release: "0.2.0".into(),
        at_ms: 50,
    }
}

fn change(state: &mut State, change: Change) -> Result<Applied, Refused> {
    let before = state.clone();
    let applied = state.apply(Command::Cluster(change.clone()));
    if matches!(applied, Err(_) | Ok(Applied::Unchanged)) {
        assert!(*state == before, "{change:?}");
    }
    applied
}

fn invite(state: &mut State, secret: u8, made_ms: u64) -> Result<Applied, Refused> {
    change(state, Change::Invite { hash: [secret; 32], made_ms, expires_ms: made_ms + 100, replaces: None })
}

fn admit(state: &mut State, admission: Admission) -> Result<Applied, Refused> {
    change(state, Change::Admit(Box::new(admission)))
}

#[test]
fn a_cluster_begins_with_one_member_that_owns_everything() {
    let state = begun();
    let (node, member) = state.members.first_key_value().unwrap();
    assert_eq!((*node, member.state, member.name.as_str()), (NodeId(1), MemberState::Member, "node-1"));
    assert_eq!(*state.layout, Layout::first(NodeId(1), member.candidate()));
    assert_eq!((state.next_node, state.generation, state.members.len()), (2, 0, 1));
    let mut nobody = State::default();
    assert_eq!(invite(&mut nobody, 1, 0), Err(Refused::NotBegun));
}

#[test]
fn an_invite_lets_one_node_in_and_tells_it_its_id_again() {
    let mut state = begun();
    assert_eq!(invite(&mut state, 1, 0), Ok(Applied::InviteAdded(1)));
    assert_eq!(admit(&mut state, admission(1, 5)), Ok(Applied::Admitted(NodeId(2))));
    let after = state.clone();
    // The answer was lost, and by now the invite has expired.
    assert_eq!(admit(&mut state, Admission { at_ms: 1000, ..admission(1, 5) }), Ok(Applied::AdmittedBefore(NodeId(2))));
    assert!(state == after);
    assert_eq!(admit(&mut state, admission(1, 6)), Err(Refused::NotInvited), "another key");
    let member = &state.members[&NodeId(2)];
    assert_eq!((member.state, member.key, member.admitted_ms), (MemberState::Joining, Some([5; 32]), 50));
    // The same machine with another invite is the same node.
    assert_eq!(invite(&mut state, 2, 0), Ok(Applied::InviteAdded(2)));
    assert_eq!(admit(&mut state, admission(2, 5)), Ok(Applied::AdmittedBefore(NodeId(2))));
    assert_eq!(state.invites[&2].used_by, None);
}

#[test]
fn whoever_is_not_let_in_is_told_one_thing() {
    let mut state = begun();
    invite(&mut state, 1, 0).unwrap();
    invite(&mut state, 2, 0).unwrap();
    invite(&mut state, 3, 0).unwrap();
    admit(&mut state, admission(2, 2)).unwrap();
    assert_eq!(change(&mut state, Change::RemoveInvite { id: 3 }), Ok(Applied::Removed));
    let unknown = admit(&mut state, admission(9, 9));
    let used = admit(&mut state, admission(2, 9));
    let taken_back = admit(&mut state, admission(3, 9));
    let expired = admit(&mut state, Admission { at_ms: 100, ..admission(1, 9) });
    for refused in [unknown, used, taken_back, expired] {
        assert_eq!(refused, Err(Refused::NotInvited));
    }
    assert!(admit(&mut state, Admission { at_ms: 99, ..admission(1, 9) }).is_ok());
}

#[test]
fn who_was_let_in_and_did_not_come_may_knock_again_from_elsewhere_and_no_copy_of_it_may() {
    let mut state = begun();
    invite(&mut state, 1, 0).unwrap();
    assert_eq!(admit(&mut state, admission(1, 1)), Ok(Applied::Admitted(NodeId(2))));
    let elsewhere = Admission { addresses: vec!["10.9.9.9:7400".into()], ..admission(1, 1) };
    assert_eq!(admit(&mut state, elsewhere.clone()), Ok(Applied::Admitted(NodeId(2))));
    assert_eq!(state.members[&NodeId(2)].addresses, elsewhere.addresses);
    assert_eq!(admit(&mut state, elsewhere), Ok(Applied::AdmittedBefore(NodeId(2))));
    // The second machine lets the cluster of one grow only with a third one; with it both have come.
    invite(&mut state, 3, 0).unwrap();
    assert_eq!(
        admit(&mut state, Admission { name: "third".into(), ..admission(3, 3) }),
        Ok(Applied::Admitted(NodeId(3)))
    );
    super::super::layout::tests::finish(&mut state);
    assert_eq!(state.members[&NodeId(2)].state, MemberState::Member);
    let copy = Admission { addresses: vec!["10.8.8.8:7400".into()], ..admission(1, 1) };
    assert_eq!(admit(&mut state, copy), Ok(Applied::AdmittedBefore(NodeId(2))));
    assert_eq!(state.members[&NodeId(2)].addresses, ["10.9.9.9:7400"]);
    invite(&mut state, 4, 0).unwrap();
    assert_eq!(admit(&mut state, admission(4, 1)), Err(Refused::NotInvited), "the key of one that has come");
}

#[test]
fn what_a_node_says_of_itself_is_checked() {
    let mut state = begun();
    invite(&mut state, 1, 0).unwrap();
    let bad = [
        Admission { name: "<img>".into(), ..admission(1, 1) },
        Admission { name: "node-1".into(), ..admission(1, 1) },
        Admission { name: "7".into(), ..admission(1, 1) },
        Admission { zone: String::new(), ..admission(1, 1) },
        Admission { weight: u32::MAX, ..admission(1, 1) },
        Admission { addresses: vec!["10.0.0.1".into()], ..admission(1, 1) },
        Admission { addresses: vec![":7400".into()], ..admission(1, 1) },
        Admission { addresses: vec!["10.0.0.1:0".into()], ..admission(1, 1) },
        Admission { addresses: vec!["a\n:1".into()], ..admission(1, 1) },
        Admission { addresses: vec!["a:1".into(); 9], ..admission(1, 1) },
        Admission { url: Some("javascript:alert(1)".into()), ..admission(1, 1) },
        Admission { url: Some("https://\"><x".into()), ..admission(1, 1) },
        Admission { release: "0 1".into(), ..admission(1, 1) },
    ];
    for bad in bad {
        assert!(admit(&mut state, bad.clone()).is_err(), "{bad:?}");
    }
    let good = Admission { addresses: vec!["[fe80::1%eth0]:7400".into(), "n.example:1".into()], ..admission(1, 1) };
    assert_eq!(admit(&mut state, good), Ok(Applied::Admitted(NodeId(2))), "no refusal used the invite up");
    let said = Announcement { addresses: vec![], url: None, release: "0.3.0".into(), name: Some("a".into()) };
    let announce = |node, announcement: Announcement| Change::Announce { node: NodeId(node), announcement };
    assert_eq!(change(&mut state, announce(2, said.clone())), Ok(Applied::Changed));
    assert_eq!(change(&mut state, announce(2, said.clone())), Ok(Applied::Unchanged));
    assert!(matches!(change(&mut state, announce(1, said.clone())), Err(Refused::Taken { .. })));
    assert!(matches!(change(&mut state, announce(7, said)), Err(Refused::Taken { .. } | Refused::NotFound { .. })));
}

#[test]
fn invites_are_few_short_and_forgotten() {
    let mut state = begun();
    let forever = Change::Invite { hash: [0; 32], made_ms: 0, expires_ms: u64::MAX, replaces: None };
    assert!(matches!(change(&mut state, forever), Err(Refused::OutOfRange(_))));
    for secret in 1..=u8::try_from(INVITES_MAX).unwrap() {
        invite(&mut state, secret, 0).unwrap();
    }
    assert!(matches!(invite(&mut state, 100, 99), Err(Refused::Full { .. })));
    assert!(matches!(invite(&mut state, 1, 50), Err(Refused::Taken { .. })));
    assert!(invite(&mut state, 100, 100).is_ok());
    assert_eq!(state.invites.len(), 1, "the others have expired");
}

#[test]
fn a_removed_node_is_a_grave_and_its_id_is_not_given_again() {
    let mut state = begun();
    let mut given = BTreeSet::from([NodeId(1)]);
    for round in 0..300_u64 {
        let mut admission = admission(1, 2);
        admission.key[..8].copy_from_slice(&round.to_le_bytes());
        admission.at_ms = round * 200;
        invite(&mut state, 1, round * 200).unwrap();
        let Ok(Applied::Admitted(node)) = admit(&mut state, admission.clone()) else { panic!("round {round}") };
        assert!(given.insert(node));
        assert_eq!(
            change(&mut state, Change::Parting { part: Part::Remove { node, accept_loss: false }, seen: None }),
            Ok(Applied::Removed)
        );
        assert_eq!(
            change(&mut state, Change::Parting { part: Part::Remove { node, accept_loss: false }, seen: None }),
            Ok(Applied::Unchanged)
        );
        assert_eq!(admit(&mut state, admission), Err(Refused::NotInvited), "gone for ever");
        let grave = &state.members[&node];
        assert!(grave.state == MemberState::Removed && grave.addresses.is_empty() && grave.url.is_none());
    }
    assert!(state.members.len() <= GRAVES_MAX + 2);
}

#[test]
fn letting_in_is_audited_as_access_and_a_report_is_not_told() {
    let mut state = begun();
    let by = || By { name: "ann".into(), via: Via::Local, from: None, at_ms: 5 };
    let mut order = |change: Change| {
        let command = Command::Cluster(change);
        state.apply(Command::Ordered { by: by(), what: command.in_words(), command: Box::new(command) }).unwrap()
    };
    order(Change::Invite { hash: [1; 32], made_ms: 0, expires_ms: 100, replaces: None });
    order(Change::Admit(Box::new(admission(1, 4))));
    order(Change::Admit(Box::new(admission(1, 4))));
    order(Change::SetLayoutCommit(LayoutCommit::Manual));
    order(Change::Report { node: NodeId(1), adopted: 1, synced: vec![] });
    order(Change::Lost { node: NodeId(1) });
    order(Change::Report { node: NodeId(1), adopted: 2, synced: vec![] });
    let told: Vec<_> = state.audit.entries().map(|entry| entry.what.as_str()).collect();
    assert_eq!(
        told,
        [
            "makes an invite for one node, good until 1970-01-01T00:00:00.100Z",
            "lets node `n4` in: zone z1, weight 100, at 10.0.0.4:7400",
            "lets plans wait for an operator",
            "says that node 1 lost what it had",
        ]
    );
    assert_eq!(state.access_audit.head().seq, 2);
}
