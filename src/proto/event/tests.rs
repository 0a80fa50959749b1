//! Two looks, one after the other, and what is told of them.

use super::Event;
use super::Kept;
use super::Kind;
use super::LayoutSeen;
use super::MemberSeen;
use super::Repaired;
use super::Repairs;
use super::Scene;
use super::between;
use crate::base::id::NodeId;
use crate::base::limits::EVENTS_KEPT;
use crate::base::limits::REPAIRS_TOGETHER_MS;
use crate::proto::alarm::Key;
use crate::proto::alarm::Subject;
use crate::proto::alarm::code::Code;
use crate::proto::control::members::MemberState;
use crate::proto::event::AlarmSeen;
use crate::proto::member::view::Status;

fn member(status: Status) -> MemberSeen {
    let (name, reason) = ("n2".to_owned(), "gave no answer");
    let addresses = vec!["10.0.0.9:7400".to_owned()];
    MemberSeen { name, part: MemberState::Member, addresses, status, reason, drained: None }
}

fn scene(member: Option<MemberSeen>) -> Scene {
    Scene { members: member.map(|member| (NodeId(2), member)).into_iter().collect(), ..Scene::default() }
}

fn kinds(before: &Scene, after: &Scene) -> Vec<Kind> {
    between(before, after).iter().map(|event| event.kind).collect()
}

#[test]
fn a_member_is_told_of_when_it_comes_fails_returns_and_goes() {
    let up = scene(Some(member(Status::Up)));
    assert_eq!(kinds(&scene(None), &up), [Kind::MemberJoined, Kind::MemberUp]);
    assert_eq!(kinds(&scene(None), &scene(Some(member(Status::Down)))), [Kind::MemberJoined], "it is on its way");
    assert!(between(&up, &up).is_empty());
    for (status, kind) in [
        (Status::Suspect, Kind::MemberSuspect),
        (Status::Down, Kind::MemberDown),
        (Status::Leaving, Kind::MemberStopping),
        (Status::Gone, Kind::MemberGone),
    ] {
        let after = scene(Some(member(status)));
        assert_eq!(kinds(&up, &after), [kind]);
        assert_eq!(kinds(&after, &up), [Kind::MemberUp]);
    }
    let down = between(&up, &scene(Some(member(Status::Down))));
    assert_eq!((down[0].node, &*down[0].text), (Some(NodeId(2)), "node 2 (n2) gave no answer"));
    let leaving = scene(Some(MemberSeen { part: MemberState::Leaving, ..member(Status::Up) }));
    assert_eq!(kinds(&up, &leaving), [Kind::MemberLeaving]);
    let removed = scene(Some(MemberSeen { part: MemberState::Removed, ..member(Status::Down) }));
    assert_eq!(kinds(&leaving, &removed), [Kind::MemberRemoved]);
    assert!(between(&scene(None), &removed).is_empty() && between(&removed, &removed).is_empty());
}

#[test]
fn who_is_reached_elsewhere_than_before_is_told_with_both_addresses() {
    let at = |address: &str| MemberSeen { addresses: vec![address.to_owned()], ..member(Status::Up) };
    let moved = between(&scene(Some(at("10.0.0.2:7400"))), &scene(Some(at("10.0.0.7:7400"))));
    assert_eq!((moved.len(), moved[0].kind, moved[0].node), (1, Kind::MemberMoved, Some(NodeId(2))));
    assert_eq!(moved[0].text, "node 2 (n2) is reached at 10.0.0.7:7400 now; before: 10.0.0.2:7400");
    let removed = scene(Some(MemberSeen { part: MemberState::Removed, ..at("10.0.0.2:7400") }));
    assert_eq!(kinds(&removed, &scene(Some(at("10.0.0.7:7400")))), [Kind::MemberJoined]);
}

#[test]
fn a_drain_is_told_of_with_its_reason_and_its_end() {
    let drained = |why: Option<&str>| scene(Some(MemberSeen { drained: why.map(str::to_owned), ..member(Status::Up) }));
    let begun = between(&drained(None), &drained(Some("a new disk")));
    assert_eq!((begun[0].kind, &*begun[0].text), (Kind::MemberDrained, "node 2 (n2) sends devices away: a new disk"));
    assert_eq!(kinds(&drained(Some("a new disk")), &drained(Some("a new fan"))), [Kind::MemberDrained]);
    assert_eq!(kinds(&drained(Some("a new fan")), &drained(None)), [Kind::MemberUndrained]);
    assert!(between(&drained(Some("a")), &drained(Some("a"))).is_empty());
}

#[test]
fn a_change_of_owners_is_told_of_from_plan_to_rest() {
    let at = |staged, planned, settled, both, read_next| Scene {
        staged,
        layout: LayoutSeen { planned, settled, both, read_next },
        ..Scene::default()
    };
    let steps = [
        at(None, 1, 256, 0, 0),
        at(Some(4), 1, 256, 0, 0),
        at(None, 2, 56, 200, 0),
        at(None, 2, 100, 156, 0),
        at(None, 2, 100, 100, 56),
        at(None, 2, 200, 0, 56),
        at(None, 2, 256, 0, 0),
    ];
    let told: Vec<Vec<Kind>> = steps.windows(2).map(|pair| kinds(&pair[0], &pair[1])).collect();
    let expected: [&[Kind]; 6] = [
        &[Kind::PlanStaged],
        &[Kind::LayoutCommitted, Kind::LayoutPhase],
        &[],
        &[Kind::LayoutPhase],
        &[Kind::LayoutPhase],
        &[Kind::LayoutAtRest],
    ];
    assert_eq!(told, expected);
    assert_eq!(kinds(&steps[1], &steps[0]), [Kind::PlanCleared]);
    // All of it between two looks.
    assert_eq!(kinds(&steps[0], &steps[6]), [Kind::LayoutCommitted, Kind::LayoutAtRest]);
}

#[test]
fn an_alarm_is_raised_once_and_cleared_once_whatever_its_text_says_meanwhile() {
    let with = |alarms: &[(u64, &str)]| Scene {
        alarms: alarms
            .iter()
            .map(|(subject, text)| {
                let seen = AlarmSeen { since_ms: 0, cause: (*text).to_owned(), to_do: "Start it again.".to_owned() };
                (Key { code: Code::MemberDown, subject: Subject::Node(NodeId(*subject)) }, seen)
            })
            .collect(),
        ..Scene::default()
    };
    let (none, one) = (with(&[]), with(&[(2, "2 is down")]));
    assert_eq!(kinds(&none, &one), [Kind::AlarmRaised]);
    assert!(between(&one, &with(&[(2, "2 is still down")])).is_empty());
    assert_eq!(kinds(&one, &with(&[(3, "3 is down")])), [Kind::AlarmRaised, Kind::AlarmCleared]);
    assert_eq!(between(&one, &none)[0].code, Some("member_down"));
    assert_eq!(between(&none, &one)[0].text, "2 is down Start it again.");
    let over = |at_ms| between(&one, &Scene { at_ms, ..none.clone() })[0].text.clone();
    assert_eq!(over(12_900), "Over after 12 s: 2 is down", "nobody is told to do something any more");
    let long = [61_000, 2 * 3_600_000 + 5 * 60_000, 73 * 3_600_000].map(over);
    let stood = ["1 min 1 s", "2 h 5 min", "3 days 1 h"].map(|stood| format!("Over after {stood}: 2 is down"));
    assert_eq!(long, stood);
}

#[test]
fn whoever_comes_back_gets_the_rest_or_hears_that_it_missed_some() {
    let event = || Event::of_all(Kind::LayoutAtRest, String::new());
    let mut kept = Kept::default();
    assert_eq!((kept.after(0).missed, kept.after(1).missed), (false, true));
    for at in 0..EVENTS_KEPT as u64 + 10 {
        kept.push(at, event());
    }
    let seqs = |seq| kept.after(seq).events.iter().map(|told| told.seq).collect::<Vec<_>>();
    let last = EVENTS_KEPT as u64 + 10;
    assert_eq!((kept.last(), seqs(last - 2)), (last, vec![last - 1, last]));
    assert_eq!(seqs(0).len(), EVENTS_KEPT);
    assert_eq!([9, 10, 11].map(|seq| kept.after(seq).missed), [true, false, false]);
    assert!(kept.after(last).events.is_empty() && !kept.after(last).missed);
    // A number of another life: all that is kept, and the word that there was more.
    assert!(kept.after(last + 1).missed && seqs(last + 1).len() == EVENTS_KEPT);
}

#[test]
fn every_kind_is_found_by_its_name() {
    assert!(super::KINDS.into_iter().all(|kind| Kind::named(kind.name()) == Some(kind)));
    assert_eq!(Kind::named("alarm"), None);
}

#[test]
fn another_leader_a_pause_and_a_recovery_are_told_of_at_their_beginning_and_end() {
    let led = |node, term| Scene { leader: Some((NodeId(node), term)), ..Scene::default() };
    assert_eq!(kinds(&led(1, 3), &led(2, 4)), [Kind::LeaderChanged]);
    assert!(between(&led(1, 3), &led(1, 5)).is_empty() && between(&Scene::default(), &led(1, 1)).is_empty());
    let paused = Scene { paused: Some("a backup".to_owned()), ..Scene::default() };
    assert_eq!(kinds(&Scene::default(), &paused), [Kind::HandoffPaused]);
    assert_eq!(kinds(&paused, &Scene::default()), [Kind::HandoffResumed]);
    let lost = |why: &str| Scene { recovering: Some((NodeId(2), why.to_owned())), ..Scene::default() };
    assert_eq!(kinds(&Scene::default(), &lost("a")), [Kind::RecoveryBegun]);
    assert!(between(&lost("a"), &lost("a; b")).is_empty());
    assert_eq!(kinds(&lost("a"), &Scene::default()), [Kind::RecoveryEnded]);
}

/// A look a second.
fn looked(repairs: &mut Repairs, from_ms: u64, counts: &[u64]) -> Vec<Option<Repaired>> {
    counts.iter().zip(0..).map(|(count, at)| repairs.look(*count, from_ms + at * 1000)).collect()
}

#[test]
fn repairs_are_told_of_once_they_rest() {
    let mut repairs = Repairs::default();
    let told = looked(&mut repairs, 0, &[0, 0, 0, 0, 2, 5, 5, 5, 5, 5]);
    let mut expected = vec![None; 10];
    expected[8] = Some(Repaired { keys: 5, times: 1, over_ms: 1_000 });
    assert_eq!(told, expected);
    let told = looked(&mut repairs, REPAIRS_TOGETHER_MS + 60_000, &[9, 9, 9, 9]);
    assert_eq!(told[3], Some(Repaired { keys: 4, times: 1, over_ms: 0 }));
}

#[test]
fn repairs_every_few_seconds_are_one_entry_in_a_while_with_their_sum() {
    let (mut repairs, mut count, mut told) = (Repairs::default(), 0, Vec::new());
    for second in 0..600 {
        count += u64::from(second % 5 == 0) * 3;
        told.extend(repairs.look(count, second * 1000));
    }
    let times: Vec<_> = told.iter().map(|told| told.times).collect();
    assert_eq!(times, [1, 24, 24, 24, 24], "{told:?}");
    assert_eq!(told[1], Repaired { keys: 72, times: 24, over_ms: 115_000 });
    let rest = repairs.end().unwrap();
    assert_eq!(told.iter().map(|told| told.keys).sum::<u64>() + rest.keys, count, "none is lost");
    let text = Event::repaired(NodeId(2), told[1]).text;
    assert_eq!(text, "72 keys of node 2 differed and were made the same, 24 times in 1 min 55 s");
    assert_eq!(Event::repaired(NodeId(2), told[0]).text, "3 keys of node 2 differed and were made the same");
}
