//! Lines of a log: their form, their bounds, what is looked for, and pages of several nodes as one.

use std::collections::BTreeMap;

use super::Key;
use super::Level;
use super::Record;
use super::filter::Filter;
use super::filter::Search;
use super::head;
use super::merge;
use super::merge::Direction;
use super::merge::Part;
use super::path_mark;
use super::stamp::Stamp;
use super::target_marks;
use super::text;
use crate::base::id::NodeId;
use crate::base::limits::BOOK_LINE_BYTES_MAX;

fn record(stamp: u64, node: u64, n: u64) -> Record {
    Record {
        stamp: Stamp(stamp),
        node: NodeId(node),
        n,
        level: Level::Info,
        target: "ringfort::store::journal".to_owned(),
        message: "journal \"replayed\"\u{1b}[31m".to_owned(),
        fields: BTreeMap::from([("groups".to_owned(), "12".to_owned())]),
        spans: vec!["start".to_owned()],
    }
}

#[test]
fn a_line_is_written_as_it_was_in_the_first_release() {
    let line = record(0x019a_c2d5_6b00_0001, 3, 17).encode();
    let golden = r#"{"stamp":"019ac2d56b000001","node":3,"n":17,"level":"info","target":"ringfort::store::journal","message":"journal \"replayed\"\u001b[31m","fields":{"groups":"12"},"spans":["start"]}"#;
    assert_eq!(String::from_utf8(line.clone()).unwrap(), golden);
    assert_eq!(Record::parse(&line), Some(record(0x019a_c2d5_6b00_0001, 3, 17)));
    let known = head(&line).unwrap();
    assert_eq!(known.key.to_string(), "019ac2d56b000001.3.17");
    assert_eq!(Key::parse("019ac2d56b000001.3.17"), Some(known.key));
    assert_eq!((known.level, known.marks), (Level::Info, target_marks("ringfort::store::journal")));
    assert_eq!(known.marks & path_mark("ringfort::store"), path_mark("ringfort::store"));
}

#[test]
fn what_is_no_line_is_none() {
    let line = record(1, 1, 1).encode();
    for cut in 0..line.len() {
        assert_eq!(Record::parse(&line[..cut]), None, "{cut}");
        assert!(head(&line[..cut]).is_none() || line[..cut].ends_with(b"}"), "{cut}");
    }
    for bad in ["", "{}", "[]", "null", "{\"stamp\":\"x\"}", "{\"stamp\":\"00000000000000zz\",\"node\":1}"] {
        assert_eq!((head(bad.as_bytes()), Record::parse(bad.as_bytes())), (None, None), "{bad}");
    }
    for bad in ["", "1.2.3", "019ac2d56b000001.3", "019ac2d56b000001.3.4.5", "019AC2D56B000001.3.4"] {
        assert_eq!(Key::parse(bad), None, "{bad}");
    }
}

#[test]
fn whatever_is_said_fits_a_line() {
    for byte in ["x", "\u{1}", "\"", "é", "\n"] {
        let mut long = record(1, 1, 1);
        long.message = byte.repeat(1024 * 1024);
        for n in 0..100 {
            long.fields.insert(format!("f{n}{}", byte.repeat(300)), byte.repeat(5000));
            long.spans.push(byte.repeat(5000));
        }
        let line = long.encode();
        assert!(line.len() <= BOOK_LINE_BYTES_MAX, "{} of {byte:?}", line.len());
        let read = Record::parse(&line).unwrap();
        assert!(read.message.contains("bytes in all)") && head(&line).is_some(), "{}", read.message);
    }
}

#[test]
fn stamps_follow_what_caused_what_and_no_clock_gone_wrong() {
    let (mut here, mut there) = (Stamp::default(), Stamp::default());
    here = here.next(5000);
    // The other clock is a second behind; still what it says afterwards is later.
    there = there.hear(here, 4000).next(4000);
    assert!(there > here && there.ms() == 5000);
    assert!(there.next(4000) > there);
    assert_eq!(there.next(9000).ms(), 9000);
    assert_eq!(there.hear(Stamp::of_ms(64_001), 4000), there, "more than a minute ahead");
    assert_eq!(there.hear(Stamp::of_ms(64_000), 4000).ms(), 64_000);
    assert_eq!(Stamp(u64::MAX).next(5), Stamp(u64::MAX));
}

#[test]
fn what_would_steer_a_terminal_is_shown_as_text() {
    let evil = "\u{1b}[2J\u{1b}]0;title\u{7}\r\u{8}\u{9b}31m\u{202e}abc\u{200b}\u{2028}<script>\n2026 ERROR forged";
    let shown = text::one_line(evil);
    assert!(shown.chars().all(text::is_harmless), "{shown}");
    assert!(shown.contains("\\u{1b}[2J") && shown.contains("<script>\\n2026 ERROR forged"), "{shown}");
    let lines = text::lines("panic\nat a.rs\n\u{1b}[1m");
    assert_eq!(lines, "panic\n    at a.rs\n    \\u{1b}[1m");
    assert_eq!(text::from_bytes(b"a\xff\xfe\xc3\xa9"), "a\\xff\\xfe\u{e9}");
    let mut long = "é".repeat(100);
    text::cut(&mut long, 50);
    assert!(long.len() <= 50 && long.ends_with("… (200 bytes in all)"), "{long}");
    let line = text::line(&record(Stamp::of_ms(1_795_188_990_123).0, 1, 1), "n1");
    assert!(line.starts_with("2026-11-20T15:36:30.123Z INFO  n1 ringfort::store::journal: start: journal"), "{line}");
    assert!(line.ends_with("\\u{1b}[31m groups=12"), "{line}");
}

fn fits(search: Search, record: &Record) -> bool {
    let filter = Filter::new(search, None, None).unwrap();
    let line = record.encode();
    let found = filter.fits(&line);
    assert_eq!(found, filter.fits_record(record));
    assert!(!found || filter.may_be_in(&line), "a block with it would be passed over");
    found
}

#[test]
fn each_part_of_a_search_decides() {
    let one = record(Stamp::of_ms(5000).0, 1, 1);
    let text = |text: &str| Search { text: Some(text.to_owned()), ..Search::default() };
    let regex = |regex: &str| Search { regex: Some(regex.to_owned()), ..Search::default() };
    let target = |target: &str| Search { target: Some(target.to_owned()), ..Search::default() };
    for found in [
        text("replayed\"\u{1b}["),
        text("12"),
        text("start"),
        text(""),
        regex("^journal .replayed"),
        regex("jour.al"),
        regex(r#""r\w+d""#),
        regex("(?i)JOURNAL"),
        regex("1[0-9]"),
        regex(r"journal\s"),
        regex("a|12"),
        target("ringfort"),
        target("ringfort::store"),
        target("ringfort::store::journal"),
        Search::default(),
    ] {
        assert!(fits(found.clone(), &one), "{found:?}");
    }
    for other in [
        text("Journal"),
        text("groups"),
        regex("^replayed"),
        regex("13"),
        target("ringfort::st"),
        target("store"),
        target("ringfort::store::journal::x"),
    ] {
        assert!(!fits(other.clone(), &one), "{other:?}");
    }
    let level = |level| Search { level: Some(level), ..Search::default() };
    assert!(fits(level(Level::Info), &one) && fits(level(Level::Trace), &one) && !fits(level(Level::Warn), &one));
    let time = |since_ms, until_ms| Search { since_ms: Some(since_ms), until_ms: Some(until_ms), ..Search::default() };
    assert!(fits(time(5000, 5000), &one) && !fits(time(5001, 9000), &one) && !fits(time(0, 4999), &one));
}

#[test]
fn an_expression_that_costs_too_much_is_refused_and_none_takes_for_ever() {
    let new = |regex: &str| Filter::new(Search { regex: Some(regex.to_owned()), ..Search::default() }, None, None);
    for bad in ["(", "a{99999}{99999}", "(?:\\w{500}){500}", &"(".repeat(200), &"x".repeat(300)] {
        let says = new(bad).unwrap_err().to_string();
        assert!(!says.contains('\n') && says.contains('`'), "{says}");
    }
    let mut long = record(1, 1, 1);
    long.message = "a".repeat(10_000);
    assert!(!new("(a*)*(a*)*b$").unwrap().fits_record(&long));
}

#[test]
fn pages_of_several_nodes_become_one_in_causal_order_and_none_is_left_out() {
    let all: Vec<Record> = (1..=90).map(|n| record(n * 10, n % 3 + 1, n)).collect();
    let of = |node: u64, after: Option<Key>, before: Option<Key>, direction, limit: usize| {
        let inside = |record: &&Record| {
            record.node == NodeId(node)
                && after.is_none_or(|after| record.key() > after)
                && before.is_none_or(|before| record.key() < before)
        };
        let mut records: Vec<Record> = all.iter().filter(inside).cloned().collect();
        let more = records.len() > limit;
        if direction == Direction::Backward {
            records.reverse();
        }
        records.truncate(limit);
        let reached = records.last().map(|last| last.stamp).filter(|_| more);
        Part { records, reached }
    };
    for (direction, limit) in [(Direction::Forward, 7), (Direction::Backward, 7), (Direction::Forward, 1000)] {
        let (mut seen, mut cursor) = (Vec::new(), None);
        loop {
            let (after, before) = match direction {
                Direction::Forward => (cursor, None),
                Direction::Backward => (None, cursor),
            };
            let parts = (1..=3).map(|node| of(node, after, before, direction, 5.min(limit))).collect();
            let merged = merge::merge(parts, direction, limit);
            match direction {
                Direction::Forward => seen.extend(merged.records),
                Direction::Backward => drop(seen.splice(0..0, merged.records)),
            }
            cursor = merged.next;
            if cursor.is_none() {
                break;
            }
        }
        assert_eq!(seen, all, "{direction:?} {limit}");
    }
}
