//! The chain of the audit.

use core::net::IpAddr;
use core::net::Ipv4Addr;

use crate::base::codec;
use crate::base::limits::AUDIT_ENTRIES_MAX;
use crate::proto::audit::By;
use crate::proto::audit::Log;
use crate::proto::audit::Outcome;
use crate::proto::audit::Shown;
use crate::proto::audit::Via;

fn by(name: &str, at_ms: u64) -> By {
    By { name: name.to_owned(), via: Via::Session, from: Some(IpAddr::V4(Ipv4Addr::LOCALHOST)), at_ms }
}

fn log(entries: u64) -> Log {
    let mut log = Log::default();
    for at_ms in 1..=entries {
        log.push(by("ann", at_ms), format!("makes bucket `b{at_ms}`"), Outcome::Made);
    }
    log
}

#[test]
fn any_changed_moved_or_missing_entry_breaks_the_chain() {
    let whole = log(200);
    assert_eq!(whole.verify(), Ok(()));
    let sealed = codec::seal(1, b"", &whole);
    assert_eq!(codec::unseal::<Log>(1, b"", &sealed), Ok(whole.clone()));
    let shown: Vec<Shown> = whole.after(0).map(|(before, entry)| Shown::new(before, entry)).collect();
    let broken_at = |shown: &[Shown]| {
        let mut before = (0, codec::hex(&[0; 32]));
        shown.iter().position(|one| {
            let follows = one.follows(before.0, &before.1);
            before = (one.seq, one.hash.clone());
            !follows
        })
    };
    assert_eq!(broken_at(&shown), None);
    let changes: [fn(&mut Shown); 8] = [
        |one| one.at_ms += 1,
        |one| one.at = "2026-01-01T00:00:00.000Z".to_owned(),
        |one| one.by = "bob".to_owned(),
        |one| one.via = Via::Token,
        |one| one.from = None,
        |one| one.what.push('x'),
        |one| one.outcome = Outcome::Changed,
        |one| one.hash = "00".repeat(32),
    ];
    for change in changes {
        let mut bad = shown.clone();
        change(&mut bad[100]);
        assert_eq!(broken_at(&bad), Some(100));
    }
    let mut missing = shown.clone();
    missing.remove(100);
    assert_eq!(broken_at(&missing), Some(100));
    let mut swapped = shown;
    swapped.swap(100, 101);
    assert_eq!(broken_at(&swapped), Some(100));
}

#[test]
fn the_last_entries_are_kept_and_their_chain_begins_where_the_dropped_ones_end() {
    let many = log(AUDIT_ENTRIES_MAX as u64 + 1000);
    let kept = many.entries().count();
    assert!((AUDIT_ENTRIES_MAX..AUDIT_ENTRIES_MAX + 64).contains(&kept), "{kept}");
    assert_eq!(many.verify(), Ok(()));
    assert_eq!(many.anchor().seq + kept as u64, many.head().seq);
    assert_eq!(many.head().seq, AUDIT_ENTRIES_MAX as u64 + 1000);
    assert_eq!(many.after(many.head().seq - 3).count(), 3);
    let sealed = codec::seal(1, b"", &many);
    let mut again = codec::unseal::<Log>(1, b"", &sealed).unwrap();
    assert_eq!(again, many);
    let mut also = many;
    again.push(by("bob", 1), "x".to_owned(), Outcome::Noted);
    also.push(by("bob", 1), "x".to_owned(), Outcome::Noted);
    assert_eq!(again, also);
}

#[test]
fn a_hash_is_made_as_the_head_of_the_file_says() {
    let mut log = Log::default();
    log.push(by("ann", 1_795_188_990_123), "makes bucket `b`".to_owned(), Outcome::Made);
    // From Python's hashlib over the layout in the file's head.
    assert_eq!(codec::hex(&log.head().hash), "5b8bbef26573065a123cda279faa57b14f1df83c367fb6b2e8fe38e5f7fc8069");
}
