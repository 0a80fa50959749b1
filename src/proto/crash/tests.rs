//! Reports: the layout that stays, limits, names, grouping.

use super::CrashError;
use super::CrashId;
use super::Kind;
use super::Report;
use super::Short;
use super::Taped;
use super::fingerprint;
use super::frames;
use super::line;
use crate::base::flight::Doing;
use crate::base::id::NodeId;
use crate::base::limits::CRASH_BYTES_MAX;
use crate::base::limits::CRASH_TAPES;
use crate::base::limits::RECORDER_TAPE_BYTES_MAX;

fn report() -> Report {
    let id = CrashId::new(1_795_188_990_123, NodeId(2), 0xab);
    Report::new(id, "2026-11-20T15:36:30.123Z".to_owned(), 1_795_188_990_123, Kind::Panic, "index 7 of 3".to_owned())
}

#[test]
fn a_report_of_version_one_is_read_for_ever() {
    let full = Report {
        name: "n2".to_owned(),
        release: "0.1.0".to_owned(),
        build: "8eba115".to_owned(),
        thread: Some("worker".to_owned()),
        task: Some("repair".to_owned()),
        backtrace: vec!["0: ringfort::node::x::h0123456789abcdef".to_owned()],
        log: vec!["a line".to_owned()],
        doing: vec![Doing { what: "get".to_owned(), running: 1, done: 2 }],
        uptime_ms: 5,
        recorder: vec![Taped { core: "write".to_owned(), at_ms: 9, tape: "AQID".to_owned() }],
        ..report()
    };
    let full = full.finish();
    let golden = include_str!("golden_v1.json");
    assert_eq!(String::from_utf8(full.encode()).unwrap(), golden.trim_end());
    assert_eq!(Report::parse(golden.as_bytes()).unwrap(), full);
}

#[test]
fn what_a_later_release_adds_is_passed_over_and_what_is_missing_is_empty() {
    let mut document: serde_json::Value = serde_json::from_slice(&report().finish().encode()).unwrap();
    document["later"] = serde_json::json!({ "x": [1] });
    document.as_object_mut().unwrap().remove("backtrace");
    assert_eq!(Report::parse(document.to_string().as_bytes()).unwrap(), report().finish());
}

#[test]
fn the_worst_of_everything_fits_and_says_what_was_cut() {
    let bad = "\u{1b}[31m\"\\\u{0}".repeat(1000);
    let many = vec![bad.clone(); 1000];
    let worst = Report {
        reason: bad.clone(),
        name: bad.clone(),
        thread: Some(bad.clone()),
        task: Some(bad.clone()),
        backtrace: many.clone(),
        log: many.clone(),
        events: many.clone(),
        members: many.clone(),
        threads: many.clone(),
        kernel: many.clone(),
        cut: many,
        recorder: vec![
            Taped {
                core: "forward".to_owned(),
                at_ms: u64::MAX,
                tape: "A".repeat(RECORDER_TAPE_BYTES_MAX / 3 * 4)
            };
            1000
        ],
        doing: vec![Doing { what: bad, running: u64::MAX, done: u64::MAX }; 1000],
        ..report()
    };
    let worst = worst.finish();
    let bytes = worst.encode();
    assert!(bytes.len() <= CRASH_BYTES_MAX, "{}", bytes.len());
    assert!(worst.cut.iter().any(|cut| cut.contains("950 of 1000 rows of the log")), "{:?}", worst.cut);
    assert_eq!(worst.recorder.len(), CRASH_TAPES);
    assert!(!bytes.contains(&0x1b) && Report::parse(&bytes).unwrap() == worst);
}

#[test]
fn what_is_no_tape_is_left_out() {
    let taped = |core: &str, tape: &str| Taped { core: core.to_owned(), at_ms: 1, tape: tape.to_owned() };
    let long = "A".repeat(CRASH_BYTES_MAX);
    let recorder = vec![taped("read", "AQID"), taped("<b>", "AQID"), taped("read", "\u{1b}[31m"), taped("read", &long)];
    assert_eq!(Report { recorder, ..report() }.finish().recorder, [taped("read", "AQID")]);
}

#[test]
fn foreign_bytes_are_refused_before_they_cost_anything() {
    assert_eq!(Report::parse(&vec![b' '; CRASH_BYTES_MAX + 1]), Err(CrashError::TooLarge(CRASH_BYTES_MAX + 1)));
    for bad in ["", "{}", "[]", "null", "{\"version\":1}"] {
        assert!(matches!(Report::parse(bad.as_bytes()), Err(CrashError::Content(_))), "{bad}");
    }
    let other = Report { node: NodeId(3), ..report() };
    assert_eq!(Report::parse(&other.encode()), Err(CrashError::OtherNode));
}

#[test]
fn an_id_sorts_by_time_and_is_never_a_path() {
    let (one, two) = (CrashId::new(999, NodeId(70), u32::MAX), CrashId::new(1_000_000_000_000, NodeId(7), 0));
    assert!(one < two && CrashId::parse(one.as_str()) == Some(one) && two.node() == NodeId(7));
    for bad in [
        "",
        "..",
        "../../x",
        "0000000000999-7-000000g0",
        "999-7-00000000",
        "0000000000999-07-00000000",
        "0000000000999-7-00000000-1",
        "0000000000999-7-0000000A",
        "0000000000999--00000000",
    ] {
        assert_eq!(CrashId::parse(bad), None, "{bad}");
    }
}

#[test]
fn one_cause_has_one_fingerprint_whatever_the_numbers() {
    let frame = |name: &str| vec!["3: core::panicking::panic".to_owned(), format!("4: {name}")];
    let one = fingerprint(Kind::Panic, "index 7 at 0x7f00", &frame("ringfort::a::h0123456789abcdef"));
    let same = fingerprint(Kind::Panic, "index 12 at 0x1", &frame("ringfort::a::hfedcba9876543210"));
    assert_eq!(one, same);
    assert_ne!(one, fingerprint(Kind::Panic, "index 7 at 0x7f00", &frame("ringfort::b")));
    assert_ne!(one, fingerprint(Kind::Panic, "other 7 at 0x7f00", &frame("ringfort::a")));
    assert_ne!(one, fingerprint(Kind::Signal, "index 7 at 0x7f00", &frame("ringfort::a")));
}

#[test]
fn frames_are_names_and_lines_are_printable() {
    let text = "   0: ringfort::x\n             at ./src/x.rs:1:2\n  11: main\nnot: one\n";
    assert_eq!(frames(text), ["0: ringfort::x", "11: main"]);
    assert_eq!(line("a\tb\u{1b}[1m\u{202e}c".to_owned(), 100), "a b\u{fffd}[1m\u{fffd}c");
    assert_eq!(line("é".repeat(100), 5), "éé");
}

#[test]
fn a_report_in_short_is_read_as_it_was_written() {
    let short = report().finish().short();
    assert_eq!(Short::parse(&short.encode()), Some(short));
    assert_eq!(Short::parse(b"{}"), None);
}
