//! Books on a real disk: pages, bounds, torn and damaged lines, indexes that are gone.

use std::fs;
use std::fs::OpenOptions;
use std::io::Write;
use std::path::Path;
use std::time::Duration;

use super::Bounds;
use super::Mark;
use super::Writer;
use super::read;
use super::read::Everything;
use super::read::Page;
use super::read::Place;
use super::read::Reader;
use super::read::Sieve;
use super::read::Want;
use crate::base::time;

const BOUNDS: Bounds = Bounds { segment_bytes: 256 * 1024, total_bytes: 1024 * 1024 };

/// `STAMP LEVEL MARKS TEXT`.
fn read_mark(line: &[u8]) -> Option<Mark> {
    let mut words = std::str::from_utf8(line).ok()?.splitn(4, ' ');
    let (stamp, level, marks) = (words.next()?.parse().ok()?, words.next()?.parse().ok()?, words.next()?.parse().ok()?);
    words.next().is_some().then_some(Mark { stamp, level, marks })
}

fn append(writer: &mut Writer, stamp: u64, level: u8, marks: u128) -> u64 {
    let line = format!("{stamp} {level} {marks} {}", "x".repeat(usize::try_from(stamp % 90).unwrap()));
    writer.append(&Mark { stamp, level, marks }, line.as_bytes()).unwrap()
}

fn filled(dir: &Path, lines: u64) -> Writer {
    let mut writer = Writer::open(dir, BOUNDS, read_mark).unwrap();
    for stamp in 1..=lines {
        append(&mut writer, stamp, if stamp % 1000 == 0 { 0 } else { 2 }, 1 << (stamp / 500 % 100));
    }
    writer.flush().unwrap();
    writer
}

fn stamps(page: &Page) -> Vec<u64> {
    page.lines.iter().map(|line| line.mark.stamp).collect()
}

fn all(reader: &Reader, want: &Want, forward: bool) -> Vec<u64> {
    let (mut found, mut at) = (Vec::new(), if forward { Place::From(0) } else { Place::Before(u64::MAX) });
    loop {
        let page = reader.page(at, want, &Everything).unwrap();
        found.extend(stamps(&page));
        if page.ended {
            return found;
        }
        at = if forward { Place::From(page.next) } else { Place::Before(page.next) };
    }
}

#[test]
fn lines_are_read_in_both_directions_page_by_page_and_none_twice() {
    let dir = tempfile::tempdir().unwrap();
    let writer = filled(dir.path(), 5000);
    let want = Want { lines_max: 37, ..Want::default() };
    assert_eq!(all(&writer.reader(), &want, true), (1..=5000).collect::<Vec<_>>());
    assert_eq!(all(&writer.reader(), &want, false), (1..=5000).rev().collect::<Vec<_>>());
    let small = Want { bytes_max: 1, ..Want::default() };
    assert_eq!(stamps(&writer.reader().page(Place::From(0), &small, &Everything).unwrap()), [1]);
    let tail = writer.reader().tail(2).unwrap();
    assert_eq!(tail.iter().map(|line| line.mark.stamp).collect::<Vec<_>>(), [4999, 5000]);
}

#[test]
fn time_level_and_marks_select_lines() {
    let dir = tempfile::tempdir().unwrap();
    let reader = filled(dir.path(), 5000).reader();
    let range = Want { since: 700, until: 720, ..Want::default() };
    assert_eq!(all(&reader, &range, true), (700..=720).collect::<Vec<_>>());
    let errors = Want { level_max: 0, ..Want::default() };
    assert_eq!(all(&reader, &errors, false), [5000, 4000, 3000, 2000, 1000]);
    let marked = Want { marks: 1 << 3, ..Want::default() };
    assert_eq!(all(&reader, &marked, true), (1500..2000).collect::<Vec<_>>());
    let none = Want { marks: (1 << 3) | (1 << 4), ..Want::default() };
    assert_eq!(all(&reader, &none, true), Vec::<u64>::new());
}

#[test]
fn a_book_that_is_full_forgets_its_oldest_segment_and_says_so() {
    let dir = tempfile::tempdir().unwrap();
    let mut writer = filled(dir.path(), 100);
    for stamp in 101..60_000 {
        append(&mut writer, stamp, 2, 0);
        if stamp % 500 == 0 {
            assert!(writer.reader().bytes().unwrap() <= BOUNDS.total_bytes);
        }
    }
    writer.flush().unwrap();
    let page = writer.reader().page(Place::From(0), &Want::default(), &Everything).unwrap();
    assert!(page.missed && page.lines[0].mark.stamp > 100, "{}", page.lines[0].mark.stamp);
    let kept = all(&writer.reader(), &Want::default(), true);
    assert_eq!(kept, (kept[0]..60_000).collect::<Vec<_>>());
    assert!(writer.reader().bytes().unwrap() > BOUNDS.total_bytes / 2);
}

#[test]
fn a_torn_last_line_is_cut_off_and_the_book_goes_on() {
    let dir = tempfile::tempdir().unwrap();
    let at = {
        let mut writer = filled(dir.path(), 10);
        append(&mut writer, 11, 2, 0)
    };
    let path = dir.path().join("00000000000000000000.log");
    OpenOptions::new().append(true).open(&path).unwrap().write_all(b"12 2 0 to").unwrap();
    let seen = all(&Reader::new(dir.path().to_owned(), read_mark), &Want::default(), true);
    assert_eq!(seen, (1..=11).collect::<Vec<_>>(), "who reads does not wait for a writer to cut it off");
    let mut writer = Writer::open(dir.path(), BOUNDS, read_mark).unwrap();
    assert!(append(&mut writer, 13, 2, 0) > at);
    writer.flush().unwrap();
    assert_eq!(all(&writer.reader(), &Want::default(), true).split_off(10), [11, 13]);
}

#[test]
fn damaged_lines_are_counted_and_skipped() {
    let dir = tempfile::tempdir().unwrap();
    drop(filled(dir.path(), 5000));
    let path = dir.path().join("00000000000000000000.log");
    let mut bytes = fs::read(&path).unwrap();
    // A stretch longer than any line without a newline, and one byte of one number.
    bytes[70_000..170_000].fill(0);
    bytes[0] = b'?';
    fs::write(&path, &bytes).unwrap();
    for index_too in [false, true] {
        if index_too {
            fs::remove_file(dir.path().join("00000000000000000000.idx")).unwrap();
        }
        let writer = Writer::open(dir.path(), BOUNDS, read_mark).unwrap();
        let page = Want { lines_max: usize::MAX, bytes_max: usize::MAX, ..Want::default() };
        let page = writer.reader().page(Place::From(0), &page, &Everything).unwrap();
        assert!(page.damaged >= 2, "{}", page.damaged);
        assert_eq!((page.lines[0].mark.stamp, page.lines.last().unwrap().mark.stamp), (2, 5000));
    }
}

#[test]
fn an_index_that_is_missing_or_damaged_is_made_anew() {
    let dir = tempfile::tempdir().unwrap();
    drop(filled(dir.path(), 12_000));
    let index = |base: u64| dir.path().join(format!("{base:020}.idx"));
    let bases = read::bases(dir.path()).unwrap();
    assert!(bases.len() > 2, "{bases:?}");
    let before: Vec<Vec<u8>> = bases.iter().map(|base| fs::read(index(*base)).unwrap()).collect();
    fs::remove_file(index(bases[0])).unwrap();
    let mut bytes = fs::read(index(bases[1])).unwrap();
    bytes[70] ^= 1;
    fs::write(index(bases[1]), bytes).unwrap();
    let want = Want { level_max: 0, ..Want::default() };
    let errors: Vec<u64> = (1..=12).map(|n| n * 1000).collect();
    assert_eq!(all(&Reader::new(dir.path().to_owned(), read_mark), &want, true), errors);
    let reader = Writer::open(dir.path(), BOUNDS, read_mark).unwrap().reader();
    for (base, before) in bases.iter().zip(before) {
        let now = fs::read(index(*base)).unwrap();
        assert!(!now.is_empty() && now.len().abs_diff(before.len()) <= 64, "{base}");
    }
    assert_eq!(all(&reader, &want, true), errors);
}

#[test]
fn a_line_that_is_no_line_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let mut writer = filled(dir.path(), 1);
    let long = vec![b'x'; 40_000];
    for bad in [b"".as_slice(), b"a\nb", &long] {
        assert!(writer.append(&Mark::default(), bad).is_err());
    }
    assert_eq!(all(&writer.reader(), &Want::default(), true), [1]);
}

#[test]
fn who_follows_gets_each_line_once_while_another_appends() {
    let dir = tempfile::tempdir().unwrap();
    let mut writer = filled(dir.path(), 0);
    let (mut next, mut seen) = (0, Vec::new());
    for stamp in 1..=3000 {
        append(&mut writer, stamp, 2, 0);
        if stamp % 7 == 0 {
            writer.flush().unwrap();
            let page = writer.reader().page(Place::From(next), &Want::default(), &Everything).unwrap();
            assert!(page.ended);
            seen.extend(stamps(&page));
            next = page.next;
        }
    }
    assert_eq!(seen, (1..=2996).collect::<Vec<_>>());
}

#[test]
fn a_search_ends_at_its_deadline_and_goes_on_from_there() {
    struct Never;
    impl Sieve for Never {
        fn may_be_in(&self, _block: &[u8]) -> bool {
            true
        }
        fn takes(&self, _line: &[u8]) -> bool {
            false
        }
    }
    let dir = tempfile::tempdir().unwrap();
    let reader = filled(dir.path(), 12_000).reader();
    let late = Want { deadline: Some(time::mono()), ..Want::default() };
    let page = reader.page(Place::Before(u64::MAX), &late, &Never).unwrap();
    assert!(!page.ended && page.lines.is_empty());
    let far = Want { deadline: Some(time::mono() + Duration::from_secs(60)), ..Want::default() };
    let page = reader.page(Place::Before(page.next), &far, &Never).unwrap();
    assert!(page.ended && page.reached == 1, "{}", page.reached);
}
