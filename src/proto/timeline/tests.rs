//! What becomes one entry, and what follows from what.

use super::Entry;
use super::Linked;
use super::is_told;
use super::link;
use super::stamp_after;
use crate::base::id::NodeId;
use crate::base::limits::TIMELINE_CAUSE_MS;
use crate::base::limits::TIMELINE_OVER_MS;
use crate::base::limits::TIMELINE_TOGETHER_MS;
use crate::proto::alarm::code::Code;
use crate::proto::crash::UNNOTED;
use crate::proto::event::Kind;
use crate::proto::logline::Record;
use crate::proto::logline::stamp::Stamp;

/// Told by a node, at a millisecond, of a node.
fn entry(teller: u64, at_ms: u64, kind: Kind, node: u64) -> Entry {
    Entry {
        id: format!("{teller}.1.{at_ms}-{}-{node}", kind.name()),
        stamp: Stamp::of_ms(at_ms),
        teller: NodeId(teller),
        kind: kind.name().to_owned(),
        node: (node > 0).then_some(NodeId(node)),
        code: None,
        epoch: 0,
        by: None,
        text: String::new(),
    }
}

fn alarm(teller: u64, at_ms: u64, kind: Kind, code: Code, node: u64) -> Entry {
    let entry = entry(teller, at_ms, kind, node);
    Entry { code: Some(code.name().to_owned()), id: format!("{}-{code}", entry.id), ..entry }
}

fn ordered(at_ms: u64, words: &str) -> Entry {
    Entry {
        text: format!("sam: {words}"),
        by: Some("sam".to_owned()),
        epoch: at_ms,
        ..entry(1, at_ms, Kind::Ordered, 0)
    }
}

/// Kinds of the entries from the last one back to its root.
fn chain(linked: &[Linked]) -> Vec<String> {
    let (mut at, mut kinds) = (linked.last(), Vec::new());
    while let Some(link) = at {
        kinds.push(link.entry.code.clone().unwrap_or_else(|| link.entry.kind.clone()));
        at = link.cause.as_ref().and_then(|cause| linked.iter().find(|link| link.entry.id == *cause));
        assert!(kinds.len() < 20, "a circle: {kinds:?}");
    }
    kinds
}

#[test]
fn what_several_nodes_tell_of_one_thing_is_one_entry_and_once_more_is_another() {
    let down = |teller, at| entry(teller, at, Kind::MemberDown, 3);
    let linked = link(vec![down(2, 1_200), down(1, 1_000), down(1, 9_000), down(2, 9_100)]);
    let told: Vec<_> = linked.iter().map(|link| (link.entry.at_ms(), link.told_by.clone())).collect();
    assert_eq!(told, [(1_000, vec![NodeId(1), NodeId(2)]), (9_000, vec![NodeId(1), NodeId(2)])]);
    let apart = link(vec![down(1, 1_000), down(2, 1_001 + TIMELINE_TOGETHER_MS)]);
    assert_eq!(apart.len(), 2, "long afterwards it is another time");
    let numbered = |teller, at_ms, epoch| Entry { epoch, ..entry(teller, at_ms, Kind::LayoutCommitted, 0) };
    let linked = link(vec![numbered(1, 0, 7), numbered(2, 999_999, 7), numbered(1, 5, 8)]);
    assert_eq!(linked.len(), 2, "a version is the same whenever it is told of");
    assert_eq!(link(vec![down(1, 5), down(1, 5)]).len(), 1, "an entry that came twice is one");
}

#[test]
fn a_lost_machine_is_the_cause_of_all_that_follows_whoever_told_it() {
    let linked = link(vec![
        entry(1, 1_000, Kind::MemberDown, 3),
        alarm(1, 1_010, Kind::AlarmRaised, Code::MemberDown, 3),
        alarm(2, 2_500, Kind::AlarmRaised, Code::QuorumAtRisk, 0),
    ]);
    assert_eq!(chain(&linked), ["quorum_at_risk", "member_down"]);
    let linked = link(vec![
        entry(1, 1_000, Kind::MemberDown, 3),
        entry(2, 900, Kind::MemberDown, 2),
        alarm(1, 1_010, Kind::AlarmRaised, Code::VoterLost, 2),
    ]);
    assert_eq!(linked.last().unwrap().cause.as_deref(), Some("2.1.900-member_down-2"), "its own end, not another's");
}

#[test]
fn an_end_that_its_node_only_supposes_is_told_as_those_heard_it_who_were_there() {
    let crash = |teller, at_ms, text: &str| Entry { text: text.to_owned(), ..entry(teller, at_ms, Kind::Crash, 2) };
    let supposed = |at_ms| crash(2, at_ms, &format!("failed: {UNNOTED}: who knows"));
    let told = |entries| -> Vec<(String, usize)> {
        link(entries).into_iter().map(|link| (link.entry.text, link.told_by.len())).collect()
    };
    let (heard, began) = (|| crash(1, 1_000, "failed: its disk"), |at_ms| entry(1, at_ms, Kind::MemberUp, 2));
    let later = 1_000 + TIMELINE_TOGETHER_MS * 3;
    // Others see that it is there a moment before it tells.
    let one = told(vec![heard(), began(later - 1_000), supposed(later)]);
    assert_eq!(one[0], ("failed: its disk".to_owned(), 2), "{one:?}");
    assert_eq!(told(vec![heard(), began(2_000), supposed(later)]).len(), 3, "it ended once more");
    assert_eq!(told(vec![heard(), supposed(1_001 + TIMELINE_CAUSE_MS)]).len(), 2, "too long ago to say");
    assert_eq!(told(vec![supposed(1_000), crash(1, 1_500, "said why")]), [("said why".to_owned(), 2)]);
    assert_eq!(told(vec![heard(), crash(3, later, "failed: its disk")]).len(), 2, "nothing is supposed there");
}

#[test]
fn a_crash_that_its_node_finds_out_afterwards_is_the_cause_of_what_was_seen_before() {
    let mut told = vec![
        entry(1, 1_000, Kind::MemberDown, 3),
        entry(3, 30_000, Kind::Crash, 3),
        entry(3, 30_001, Kind::NodeStarted, 3),
        entry(1, 31_000, Kind::MemberUp, 3),
    ];
    let linked = link(told.clone());
    assert_eq!(linked[0].cause.as_deref(), Some("3.1.30000-crash-3"));
    assert_eq!(chain(&linked), ["member_up", "node_started", "crash"]);
    let mut late = told.clone();
    late[3] = entry(1, 29_500, Kind::MemberUp, 3);
    assert_eq!(link(late)[0].cause.as_deref(), Some("3.1.30000-crash-3"), "others saw it a moment before it said so");
    // What ended it later is not why it was down before.
    told.insert(1, entry(1, 20_000, Kind::MemberUp, 3));
    assert_eq!(link(told)[0].cause, None);
}

#[test]
fn what_is_over_is_not_why_something_happens_later() {
    let crash = |at_ms, text: &str| Entry { text: text.to_owned(), ..entry(2, at_ms, Kind::Crash, 2) };
    let past = vec![
        crash(1_000, "failed: exit status 1"),
        entry(2, 1_100, Kind::NodeStarted, 2),
        entry(1, 1_200, Kind::MemberUp, 2),
    ];
    let then = |later: Entry| {
        let linked = link([past.clone(), vec![later]].concat());
        linked.last().unwrap().cause.clone()
    };
    assert_eq!(then(entry(1, 60_000, Kind::MemberDown, 2)), None, "it went down once more, and nobody knows why");
    let changed = |at_ms, from: u64| Entry {
        text: format!("node 3 orders changes of the control state instead of node {from}, in term 7"),
        ..entry(3, at_ms, Kind::LeaderChanged, 3)
    };
    assert_eq!(then(changed(60_000, 2)), None, "it was there again for long");
    assert_eq!(then(changed(3_000, 2)).as_deref(), Some("2.1.1000-crash-2"));
    assert_eq!(then(changed(3_000, 1)), None, "another one's failure");
    assert_eq!(then(changed(3_000, 22)), None, "nor that of one with a longer number");
}

#[test]
fn an_alarm_that_was_cleared_or_forgotten_explains_nothing_and_a_disk_only_what_a_disk_does() {
    let slow = alarm(2, 1_000, Kind::AlarmRaised, Code::SlowDisk, 2);
    let crash = |text: &str| Entry { text: text.to_owned(), ..entry(2, 60_000, Kind::Crash, 2) };
    let cause = |entries: Vec<Entry>| link(entries).last().unwrap().cause.clone();
    let stuck = crash("failed: the process lived, and its runtime did not turn for 3 s");
    assert!(cause(vec![slow.clone(), stuck.clone()]).is_some());
    assert_eq!(cause(vec![slow.clone(), crash("failed: exit status 75: Address already in use")]), None);
    let cleared = alarm(2, 9_000, Kind::AlarmCleared, Code::SlowDisk, 2);
    assert_eq!(cause(vec![slow.clone(), cleared, stuck.clone()]), None);
    assert_eq!(cause(vec![slow, entry(2, 9_000, Kind::NodeStarted, 2), stuck]), None, "it knows of it no more");
}

#[test]
fn while_a_link_is_cut_repairs_follow_from_that() {
    let cut = alarm(3, 1_000, Kind::AlarmRaised, Code::LinkBroken, 2);
    let up = entry(1, 2_000, Kind::MemberUp, 3);
    let repaired = |at_ms| Entry { epoch: at_ms, ..entry(1, at_ms, Kind::Repaired, 0) };
    let whole = alarm(3, 90_000, Kind::AlarmCleared, Code::LinkBroken, 2);
    let refused = alarm(3, 8_000, Kind::AlarmRaised, Code::NoQuorum, 0);
    let linked = link(vec![cut, up, refused, repaired(30_000), whole, repaired(120_000)]);
    assert_eq!(linked[2].cause, Some(linked[0].entry.id.clone()));
    let causes: Vec<_> = [3, 5].map(|at| linked[at].cause.clone().unwrap()).to_vec();
    assert_eq!(causes, ["3.1.1000-alarm_raised-2-link_broken", "1.1.2000-member_up-3"]);
}

#[test]
fn an_order_is_the_cause_of_what_it_brings_about_for_the_node_that_it_names() {
    let drained = |node| entry(1, 50, Kind::MemberDrained, node);
    let order = ordered(10, "sends devices away from node 1: a new disk");
    assert_eq!(chain(&link(vec![order.clone(), drained(1)])), ["member_drained", "ordered"]);
    assert_eq!(chain(&link(vec![order, drained(11)])), ["member_drained"], "node 11 is not node 1");
    let late = Entry { stamp: Stamp::of_ms(11 + TIMELINE_CAUSE_MS), ..drained(1) };
    assert_eq!(chain(&link(vec![ordered(10, "sends devices away from node 1: x"), late])), ["member_drained"]);
    let moved = vec![
        ordered(10, "lets node 4 leave"),
        entry(1, 20, Kind::MemberLeaving, 4),
        entry(1, 30, Kind::PlanStaged, 0),
        entry(1, 40, Kind::LayoutCommitted, 0),
        entry(1, 50, Kind::LayoutAtRest, 0),
    ];
    assert_eq!(chain(&link(moved)), ["layout_at_rest", "layout_committed", "member_leaving", "ordered"]);
}

#[test]
fn what_is_over_names_its_beginning_as_such_and_what_ended_it_as_its_cause() {
    let full = |at, kind| alarm(1, at, kind, Code::DiskFull, 1);
    let long = 9 + TIMELINE_CAUSE_MS;
    let linked = link(vec![full(2, Kind::AlarmRaised), full(5, Kind::AlarmRaised), full(long, Kind::AlarmCleared)]);
    assert_eq!((linked[2].ends.as_ref(), linked[2].cause.as_ref()), (Some(&linked[1].entry.id), None));
    assert_eq!([linked[0].ends.as_ref(), linked[1].ends.as_ref()], [None, None]);
    let linked = link(vec![
        alarm(1, 5, Kind::AlarmRaised, Code::MemberDown, 3),
        entry(1, 8, Kind::MemberUp, 3),
        alarm(1, 9, Kind::AlarmCleared, Code::MemberDown, 3),
    ]);
    assert_eq!(linked[2].cause.as_ref(), Some(&linked[1].entry.id));
    assert_eq!(linked[2].ends.as_ref(), Some(&linked[0].entry.id));
    let others = vec![alarm(1, 5, Kind::AlarmRaised, Code::MemberDown, 2), full(9, Kind::AlarmCleared)];
    assert_eq!(link(others)[1].ends, None, "another alarm, or another node's, is not its beginning");
}

#[test]
fn an_entry_of_a_later_release_stands_without_a_cause() {
    let unknown = Entry { kind: "something_new".to_owned(), ..entry(2, 7, Kind::MemberUp, 1) };
    let linked = link(vec![unknown, entry(1, 5, Kind::NodeStarted, 1)]);
    assert_eq!((linked.len(), linked[1].cause.clone()), (2, None));
}

#[test]
fn orders_about_who_may_do_what_are_not_told_unless_they_take_something_away() {
    assert!(is_told("sends devices away from node 3: a new fan") && is_told("lets node 3 leave"));
    assert!(
        ["removes bucket `b` with all its data", "removes token 7, `d`", "removes user `sam`"].into_iter().all(is_told)
    );
    assert!(!is_told("makes token `t` for admin") && !is_told("gives user `sam` another password"));
}

#[test]
fn tokens_are_refused_because_one_was_removed() {
    let order = ordered(10, "removes token 7, `d`");
    let refused = alarm(2, 40_000, Kind::AlarmRaised, Code::AccessRefused, 2);
    let linked = link(vec![order.clone(), refused.clone()]);
    assert_eq!(linked[1].cause.as_deref(), Some(linked[0].entry.id.as_str()));
    let other = link(vec![ordered(10, "removes bucket `b` with all its data"), refused]);
    assert_eq!(other[1].cause, None);
}

#[test]
fn stamps_rise_also_where_the_wall_clock_goes_back() {
    assert_eq!([stamp_after(0, 1_000), stamp_after(1_000, 10), stamp_after(1_000, 2_000)], [1_000, 1_001, 2_000]);
}

#[test]
fn an_entry_is_a_line_and_comes_back_as_it_was() {
    let whole = Entry {
        id: "2.7.41".to_owned(),
        by: Some("sam".to_owned()),
        epoch: 9,
        text: "node 3 is down".to_owned(),
        ..alarm(2, 1_000, Kind::AlarmRaised, Code::MemberDown, 3)
    };
    let bare = Entry { id: "1.1.1".to_owned(), ..entry(1, 5, Kind::LayoutAtRest, 0) };
    for (entry, life, n) in [(whole, 7, 41), (bare, 1, 1)] {
        let line = entry.to_record(life, n).encode();
        assert_eq!(Record::parse(&line).and_then(Entry::of_record), Some(entry));
    }
    let other = Record { target: "node".to_owned(), ..entry(1, 5, Kind::MemberUp, 1).to_record(1, 1) };
    assert_eq!(Entry::of_record(other), None, "a line of the log is none");
}

#[test]
fn a_failure_that_a_node_survives_is_not_why_it_went_down_later() {
    let linked = link(vec![entry(1, 500, Kind::Failure, 3), entry(1, 1_000, Kind::MemberDown, 3)]);
    assert_eq!(linked[1].cause, None);
}

#[test]
fn who_is_up_again_is_so_because_it_began_anew_also_where_that_is_told_a_moment_later() {
    let (began, down, up) = (Kind::NodeStarted, Kind::MemberDown, Kind::MemberUp);
    let again = link(vec![entry(3, 5, began, 3), entry(1, 50, down, 3), entry(1, 90, up, 3), entry(3, 95, began, 3)]);
    assert_eq!(again[2].cause.as_deref(), Some("3.1.95-node_started-3"), "not its beginning before it was lost");
    let healed = link(vec![entry(3, 5, began, 3), entry(1, 50, down, 3), entry(1, 90, up, 3)]);
    assert_eq!(healed[2].cause, None, "it did not begin anew");
    let late = entry(3, 91 + TIMELINE_TOGETHER_MS, began, 3);
    assert_eq!(link(vec![entry(1, 50, down, 3), entry(1, 90, up, 3), late])[1].cause, None);
}

#[test]
fn who_fell_silent_because_it_moved_did_so_for_that() {
    let (down, moved, up) = (Kind::MemberDown, Kind::MemberMoved, Kind::MemberUp);
    let told = |later_ms| {
        let began = entry(3, 600, Kind::NodeStarted, 3);
        link(vec![entry(1, 500, down, 3), began, entry(1, 1_000, up, 3), entry(1, later_ms, moved, 3)])
    };
    assert_eq!(told(1_100)[0].cause.as_deref(), Some("1.1.1100-member_moved-3"));
    assert_eq!(told(1_100)[3].cause.as_deref(), Some("3.1.600-node_started-3"));
    assert_eq!(told(1_000 + TIMELINE_OVER_MS + 5_000)[0].cause, None, "that was another time");
}

#[test]
fn who_only_was_in_doubt_answers_again_for_no_older_reason() {
    let past = [entry(1, 5, Kind::MemberJoined, 3), entry(3, 6, Kind::NodeStarted, 3), entry(1, 7, Kind::MemberUp, 3)];
    let flaps = [entry(1, 60_000, Kind::MemberSuspect, 3), entry(1, 61_000, Kind::MemberUp, 3)];
    let linked = link([&past[..], &flaps].concat());
    assert_eq!(linked[2].cause.as_deref(), Some("3.1.6-node_started-3"));
    assert_eq!(linked[4].cause, None);
    let let_in = link(vec![past[0].clone(), past[2].clone()]);
    assert_eq!(let_in[1].cause.as_deref(), Some("1.1.5-member_joined-3"));
}
