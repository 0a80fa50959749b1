//! When something becomes an alarm, when it is none any more, and what it follows from.

use super::Board;
use super::CODES;
use super::Code;
use super::Finding;
use super::Moment;
use super::Severity;
use super::Subject;
use super::judge::Faults;
use super::judge::HeldBack;
use super::judge::Lateness;
use super::judge::ManyRefused;
use super::judge::RefusedThreads;
use super::judge::RefusedTokens;
use super::judge::SYNC_BUCKETS;
use super::judge::Shut;
use super::judge::Still;
use super::judge::Syncs;
use super::judge::skewed;
use super::judge::sync_bucket;
use crate::base::id::NodeId;

fn found(code: Code, subject: Subject) -> Finding {
    Finding::new(code, subject, "Something is wrong.".to_owned(), "Do something.")
}

fn at(ms: u64) -> Moment {
    Moment { steady_ms: ms, wall_ms: 1_000_000 + ms }
}

fn codes(board: &Board) -> Vec<Code> {
    board.alarms().iter().map(|alarm| alarm.code).collect()
}

const NODE: Subject = Subject::Node(NodeId(3));

#[test]
fn every_code_has_a_name_of_its_own_and_no_circle_of_causes() {
    for code in CODES {
        assert_eq!(Code::named(code.name()), Some(code));
        let mut causes = vec![code];
        for _ in 0..CODES.len() {
            causes = causes.iter().flat_map(|code| code.follows_from()).copied().collect();
            assert!(!causes.contains(&code), "{code} follows from itself");
        }
        assert!(causes.is_empty(), "{code}");
    }
}

#[test]
fn an_alarm_is_raised_after_its_patience_and_says_since_when_it_stands() {
    let mut board = Board::default();
    let look = |board: &mut Board, ms| board.look(vec![found(Code::NoControl, Subject::Cluster)], at(ms));
    look(&mut board, 10);
    look(&mut board, 1_000);
    assert!(codes(&board).is_empty());
    look(&mut board, 1_010);
    assert_eq!(codes(&board), [Code::NoControl]);
    let alarm = &board.alarms()[0];
    assert_eq!((alarm.since_ms, &*alarm.text), (1_000_010, "Something is wrong. Do something."));
    assert_eq!((alarm.severity, alarm.node), (Severity::Critical, None));
}

#[test]
fn what_comes_and_goes_before_its_patience_is_over_is_no_alarm() {
    let mut board = Board::default();
    for ms in (0..5_000).step_by(500) {
        let wrong = ms % 1_000 == 0;
        board.look(wrong.then(|| found(Code::NoQuorum, Subject::Cluster)).into_iter().collect(), at(ms));
        assert!(codes(&board).is_empty(), "{ms}");
    }
}

#[test]
fn a_machine_that_was_never_heard_is_not_called_down_before_the_doubt_is_over() {
    let mut board = Board::default();
    let unheard = || vec![Finding { doubt_ms: 5_000, ..found(Code::MemberDown, NODE) }];
    board.look(unheard(), at(0));
    board.look(unheard(), at(4_999));
    assert!(codes(&board).is_empty());
    board.look(unheard(), at(5_000));
    assert_eq!(codes(&board), [Code::MemberDown]);
    let mut heard = Board::default();
    heard.look(vec![found(Code::MemberDown, NODE)], at(0));
    assert_eq!(codes(&heard), [Code::MemberDown], "who was heard and fell silent is down at once");
}

#[test]
fn an_alarm_is_over_when_it_was_not_found_for_long_enough_and_one_that_flickers_stays_one_alarm() {
    let mut board = Board::default();
    board.look(vec![found(Code::MemberDown, NODE)], at(0));
    board.look(Vec::new(), at(1_999));
    assert_eq!(codes(&board), [Code::MemberDown]);
    board.look(vec![found(Code::MemberDown, NODE)], at(2_500));
    board.look(Vec::new(), at(4_499));
    assert_eq!(board.alarms()[0].since_ms, 1_000_000);
    board.look(Vec::new(), at(4_500));
    assert!(codes(&board).is_empty());
}

#[test]
fn room_on_the_disk_ends_its_alarm_at_once() {
    let mut board = Board::default();
    board.look(vec![found(Code::DiskFull, NODE)], at(5));
    assert_eq!(codes(&board), [Code::DiskFull]);
    board.look(Vec::new(), at(6));
    assert!(codes(&board).is_empty());
}

#[test]
fn what_follows_from_a_lost_machine_is_folded_under_it_and_the_root_counts_as_the_worst() {
    let mut board = Board::default();
    let all = || {
        vec![
            found(Code::NoQuorum, Subject::Cluster),
            found(Code::VoterLost, NODE),
            found(Code::MemberDown, NODE),
            found(Code::MemberVanished, NODE),
            found(Code::CertificateEnds, Subject::Node(NodeId(1))),
            found(Code::DiskFull, Subject::Node(NodeId(1))),
        ]
    };
    board.look(all(), at(0));
    board.look(all(), at(10_000));
    let told: Vec<_> = board.alarms().iter().map(|alarm| (alarm.code, alarm.follows_from, alarm.follow)).collect();
    assert_eq!(
        told,
        [
            (Code::DiskFull, None, 0),
            (Code::MemberVanished, None, 3),
            (Code::NoQuorum, Some(Code::MemberDown), 0),
            (Code::MemberDown, Some(Code::MemberVanished), 0),
            (Code::VoterLost, Some(Code::MemberDown), 0),
            (Code::CertificateEnds, None, 0),
        ]
    );
}

#[test]
fn what_a_machine_lacks_that_does_not_reach_others_follows_from_the_link() {
    let mut board = Board::default();
    let all = || vec![found(Code::NoQuorum, Subject::Cluster), found(Code::LinkBroken, NODE)];
    board.look(all(), at(0));
    board.look(all(), at(10_000));
    let told: Vec<_> = board.alarms().iter().map(|alarm| (alarm.code, alarm.follows_from, alarm.follow)).collect();
    assert_eq!(told, [(Code::LinkBroken, None, 1), (Code::NoQuorum, Some(Code::LinkBroken), 0)]);
}

#[test]
fn a_lost_voter_does_not_follow_from_another_machines_end() {
    let mut board = Board::default();
    let all = || vec![found(Code::VoterLost, NODE), found(Code::MemberDown, Subject::Node(NodeId(2)))];
    board.look(all(), at(0));
    board.look(all(), at(10_000));
    assert!(board.alarms().iter().all(|alarm| alarm.follows_from.is_none()));
}

#[test]
fn the_clock_that_differs_from_most_is_the_wrong_one_also_where_it_is_the_own() {
    let node = NodeId;
    assert!(skewed(&[(node(1), 0), (node(2), 900), (node(3), -900)], node(1)).is_empty());
    assert_eq!(skewed(&[(node(1), 0), (node(2), 60_000), (node(3), 3)], node(1)), [(node(2), 59_997)]);
    assert_eq!(skewed(&[(node(1), 0), (node(2), 60_000), (node(3), 60_000)], node(1)), [(node(1), -60_000)]);
    assert_eq!(skewed(&[(node(1), 0), (node(2), -60_000)], node(1)), [(node(2), -60_000)]);
    assert!(skewed(&[(node(1), 0)], node(1)).is_empty() && skewed(&[], node(1)).is_empty());
}

#[test]
fn a_disk_is_slow_when_one_sync_of_a_hundred_is_and_there_were_enough_to_tell() {
    assert_eq!([0, 1, 3, 4, u64::MAX].map(sync_bucket), [0, 1, 2, 3, SYNC_BUCKETS - 1]);
    let counts = |quick: u64, slow: u64| {
        let mut counts = [0; SYNC_BUCKETS];
        (counts[sync_bucket(3)], counts[sync_bucket(900)]) = (quick, slow);
        counts
    };
    let judged = |quick: u64, slow: u64| {
        let mut syncs = Syncs::default();
        syncs.look(counts(5, 5));
        syncs.look(counts(5 + quick, 5 + slow));
        syncs.too_slow_ms()
    };
    assert_eq!((judged(500, 0), judged(999, 9), judged(0, 3)), (None, None, None));
    assert_eq!((judged(100, 5), judged(0, 50)), (Some(1_024), Some(1_024)));
}

#[test]
fn a_transfer_stands_still_while_neither_what_is_left_nor_what_came_changes() {
    let mut still = Still::default();
    assert_eq!((still.look(5, 10, 0), still.look(5, 10, 40_000)), (0, 40_000));
    assert_eq!((still.look(5, 11, 50_000), still.look(5, 11, 51_000)), (0, 1_000));
    assert_eq!((still.look(0, 11, 60_000), still.look(3, 11, 90_000)), (0, 0));
}

#[test]
fn a_processor_is_held_back_when_much_of_the_time_is_waited_for_and_not_by_one_long_gap() {
    let late = |gaps: &[u64]| {
        let mut lateness = Lateness::default();
        gaps.iter().for_each(|late_ms| lateness.look(250, *late_ms));
        lateness.late()
    };
    assert_eq!(late(&[250; 10]).0, 50);
    assert_eq!(late(&[250; 5]).0, 0, "too short a time to tell");
    assert_eq!(late(&[0; 40]), (0, 0));
    let stopped = [vec![0; 30], vec![60_000], vec![0; 5]].concat();
    assert_eq!(late(&stopped), (10, 60_000), "it was stopped once");
    let over = [vec![5_000; 10], vec![0; 60]].concat();
    assert_eq!(late(&over), (0, 0), "what is over is forgotten");
}

#[test]
fn how_long_a_limit_holds_back_is_told_of_the_last_seconds() {
    let mut held = HeldBack::default();
    // It is held back for 90 ms of each 100 from the third second to the eighth, and asked four times a second.
    let mut told = Vec::new();
    for quarter in 0..100_u64 {
        let now_ms = 1_000 + quarter * 250;
        told.push(held.look(now_ms, 5_000 + (quarter.clamp(12, 32) - 12) * 225));
    }
    assert_eq!(told[16], 0, "too short a time to tell");
    assert_eq!((told[32], told[40], told[99]), (56, 45, 0), "{told:?}");
    assert_eq!(held.look(60_000, 0), 0, "another limit");
    assert_eq!(held.look(66_000, 60_000), 100);
}

#[test]
fn waiting_for_memory_is_told_where_it_goes_on_and_not_of_one_burst() {
    let told = |per_second: &[u64]| {
        let (mut faults, mut count) = (Faults::default(), 0);
        let mut last = 0;
        for (second, more) in per_second.iter().enumerate() {
            count += more;
            // It is looked more often than is counted.
            last = (0..4).map(|quarter| faults.look(second as u64 * 1000 + quarter * 250, count)).last().unwrap();
        }
        last
    };
    assert_eq!(told(&[100; 12]), 100);
    assert_eq!(told(&[100; 6]), 0, "too early to tell");
    assert_eq!(told(&[5_000, 0, 0, 0, 0, 0, 0, 0, 0]), 0, "a start");
    assert_eq!(told(&[[100; 12].as_slice(), &[0; 4]].concat()), 0, "it is over");
}

#[test]
fn refused_threads_are_told_of_for_a_minute_and_not_those_of_before() {
    let mut threads = RefusedThreads::default();
    assert_eq!([(1_000, 7), (2_000, 7)].map(|(at, count)| threads.look(at, count)), [false; 2], "before this process");
    assert_eq!([(3_000, 8), (63_000, 8)].map(|(at, count)| threads.look(at, count)), [true; 2]);
    assert!(!threads.look(63_001, 8), "there was none for a minute");
    assert!(!threads.look(64_000, 2) && threads.look(65_000, 3), "another group counts from its own beginning");
}

/// So many requests a second over so many seconds, each from one of these addresses in turn; then it is looked.
fn refused(per_second: u64, seconds: u64, addresses: u8) -> (RefusedTokens, u64) {
    let (mut refused, mut from) = (RefusedTokens::default(), (1..=addresses).cycle());
    let start_ms = 1_000_000;
    for at in 0..per_second * seconds {
        let why = if at % 10 == 0 { Shut::NotEnough } else { Shut::Unknown };
        let from = from.next().map(|last| [10, 0, 0, last].into());
        refused.note(why, from, start_ms + at * 1_000 / per_second);
    }
    (refused, start_ms + seconds * 1_000)
}

#[test]
fn tokens_that_are_refused_are_told_when_they_are_many_for_some_time_and_until_they_are_over() {
    let many = |per_second, seconds, addresses| {
        let (mut refused, now_ms) = refused(per_second, seconds, addresses);
        refused.many(now_ms)
    };
    assert_eq!(many(1, 600, 1), None, "a person, or a device, that tries each second");
    assert_eq!(many(4, 600, 4), None, "a few broken devices");
    assert_eq!(many(1_000, 9, 1), None, "it was stopped at once");
    let all = many(50, 20, 2).unwrap();
    let ten = Some(([10, 0, 0, 2].into(), 500));
    assert_eq!(all, ManyRefused { missing: 0, unknown: 900, not_enough: 100, addresses: 2, not_all: false, most: ten });
    let minute = many(50, 600, 1).unwrap();
    assert!((2_750..=3_000).contains(&(minute.unknown + minute.not_enough)), "of the last minute: {minute:?}");

    let (mut over, now_ms) = refused(50, 20, 1);
    assert!(over.many(now_ms + 9_000).is_some() && over.many(now_ms + 15_000).is_none());
    assert_eq!(over.many(now_ms + 600_000), None);
}

#[test]
fn of_very_many_addresses_only_some_are_kept_and_it_is_said_so() {
    let (mut refused, now_ms) = refused(100, 30, 200);
    let many = refused.many(now_ms).unwrap();
    // A step begins where the one before it ended, in the middle of all addresses.
    assert!(many.not_all && (64..=2 * 64).contains(&many.addresses), "{many:?}");
    assert_eq!(many.unknown + many.not_enough, 3_000);
}
