//! Sums against counting, hashes against what is printed, moves against a fair share.

use std::collections::BTreeMap;
use std::collections::BTreeSet;

use super::chord;
use super::md5::md5;
use super::moves::Change;
use super::moves::attempt;
use super::odds;
use super::odds::Numbers;
use crate::base::codec;
use crate::base::id::NodeId;
use crate::base::limits::LAB_KEYS;
use crate::base::limits::LAB_NODES_MAX;
use crate::proto::ring::layout::Candidate;
use crate::proto::ring::layout::Layout;
use crate::proto::ring::numbers::BucketNumbers;
use crate::proto::ring::plan::Plan;

#[test]
fn md5_is_that_of_the_rfc() {
    for (text, hash) in [
        ("", "d41d8cd98f00b204e9800998ecf8427e"),
        ("abc", "900150983cd24fb0d6963f7d28e17f72"),
        (
            "12345678901234567890123456789012345678901234567890123456789012345678901234567890",
            "57edf4a22be3c955ac49da2e2107b67a",
        ),
        ("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789", "d174ab98d277d9f5a5611c2c9f419d9f"),
    ] {
        assert_eq!(codec::hex(&md5(text.as_bytes())), hash, "{text}");
    }
}

#[test]
fn the_ring_of_the_talk_is_as_it_is_printed_and_as_the_paper_has_it() {
    let (s1, s2, s3) = ("235.23.34.12", "223.23.141.53", "122.67.12.23");
    let ring = chord::ring(&[s1, s2, s3]);
    let hex = |bytes: [u8; 16]| codec::hex(&bytes).to_uppercase();
    let spots: Vec<(String, &str)> = ring.iter().map(|spot| (hex(spot.hash), &*spot.name)).collect();
    let printed = [
        ("099340C20A42E004716233AB216761C3", s2),
        ("A0E607462A563C4D8CCDB8194E3DEC8B", s3),
        ("C82D4DB065065DBDCDADFBC5A727208E", s1),
    ];
    assert_eq!(spots, printed.map(|(hash, name)| (hash.to_owned(), name)));
    let placed = chord::place(&ring, b"mail-23412").unwrap();
    assert_eq!(hex(placed.hash), "B91AF709D7C1E6988FCEE7ADF7094A26");
    assert_eq!(hex(placed.again), "D604E7A54DC18FD7AC70D12468C34B63");
    assert_eq!(placed.lower, [s3, s1]);
    assert_eq!(placed.successor, [s1, s2], "behind the last comes the first");
    assert_eq!(chord::place(&[], b"k"), None);
}

/// The odds by looking at every state, one by one.
fn brute(n: u32, p: f64, breaks: impl Fn(u32) -> bool) -> f64 {
    let odds = |state: u32| (0..n).map(|node| if state & 1 << node == 0 { 1.0 - p } else { p }).product::<f64>();
    (0..1_u32 << n).filter(|state| breaks(state.count_ones())).map(odds).sum()
}

fn same(a: f64, b: f64) -> bool {
    (a - b).abs() <= 1e-12 * a.abs().max(b.abs()).max(1e-300)
}

#[test]
fn odds_are_those_of_counting_every_state() {
    for p in [0.0, 1e-3, 0.01, 0.3, 0.5, 0.97, 1.0] {
        for n in 1..=9 {
            for need in 1..=n {
                let odds = odds::of_key(Numbers { n, r: need, w: need }, p);
                let counted = brute(n, p, |down| n - down < need);
                assert!(
                    same(odds.no_read, counted) && same(odds.no_write, counted),
                    "{n} {need} {p}: {odds:?} {counted}"
                );
                // A ring of one list is a key.
                let list: Vec<NodeId> = (1..=u64::from(n)).map(NodeId).collect();
                let ring = odds::of_ring(&BTreeSet::from([list]), need as usize, p).unwrap();
                assert!(same(ring, counted), "{n} {need} {p}: {ring} {counted}");
            }
            assert!(same(odds::of_key(Numbers { n, r: 1, w: 1 }, p).all_gone, brute(n, p, |down| down == n)));
        }
    }
    // What talks round, exactly.
    assert!(same(odds::more_than(9, 4, 0.01), brute(9, 0.01, |down| down >= 5)));
    assert!((odds::more_than(9, 4, 0.01) - 1.219e-8).abs() < 1e-11);
    assert!((odds::more_than(3, 1, 1e-3) - 2.998e-6).abs() < 1e-12);
}

#[test]
fn a_ring_breaks_where_any_of_its_lists_does() {
    let list = |nodes: [u64; 3]| nodes.map(NodeId).to_vec();
    let lists = BTreeSet::from([list([1, 2, 3]), list([2, 3, 4])]);
    let p = 0.1;
    let mut counted = 0.0;
    for state in 0..16_u32 {
        let down = |node: u64| state & 1 << (node - 1) != 0;
        let broken = |nodes: [u64; 3]| nodes.iter().filter(|node| down(**node)).count() > 1;
        if broken([1, 2, 3]) || broken([2, 3, 4]) {
            counted += (1..=4).map(|node| if down(node) { p } else { 1.0 - p }).product::<f64>();
        }
    }
    let exact = odds::of_ring(&lists, 2, p).unwrap();
    assert!(same(exact, counted) && exact > odds::more_than(3, 1, p), "{exact} {counted}");
    let many = BTreeSet::from([(0..=LAB_NODES_MAX as u64).map(NodeId).collect()]);
    assert_eq!(odds::of_ring(&many, 2, p), None, "too many states are not begun");
}

fn layout(nodes: u64) -> (Layout, BTreeSet<NodeId>) {
    let candidate = || Candidate { zone: "a".to_owned(), weight: 100 };
    let first = Layout::first(NodeId(1), candidate());
    let all: BTreeMap<NodeId, Candidate> = (1..=nodes).map(|node| (NodeId(node), candidate())).collect();
    let mut grown = first.clone();
    let plan = Plan::new(&first, all.clone());
    grown.commit(plan, &[BucketNumbers::default()]).unwrap();
    (grown, all.into_keys().collect())
}

#[test]
fn a_join_moves_a_fair_share_here_and_nearly_all_by_modulo() {
    let (layout, live) = layout(4);
    let join = Change::Join(Candidate { zone: "a".to_owned(), weight: 100 });
    let outcome = attempt(&layout, &live, &[BucketNumbers::default()], &join).unwrap();
    assert_eq!(outcome.nodes, [4, 5]);
    // The new one gets a fifth of the first places and of the copies, give or take; modulo keeps one key of five.
    let share = LAB_KEYS / 5;
    assert!((share * 8 / 10..=share * 12 / 10).contains(&outcome.ours.keys), "{outcome:?}");
    assert!((3 * share * 8 / 10..=3 * share * 12 / 10).contains(&outcome.ours.copies), "{outcome:?}");
    assert!(outcome.modulo.keys > 3 * outcome.ours.keys && outcome.modulo.copies > outcome.ours.copies, "{outcome:?}");
    assert!((150..=160).contains(&outcome.partitions), "256 × 3 / 5 of them: {}", outcome.partitions);
    // No change moves nothing; who is not there cannot go; the last one does not.
    let same = attempt(&layout, &live, &[], &Change::Weigh(NodeId(2), 100)).unwrap();
    assert_eq!((same.ours.keys, same.ours.copies, same.modulo.copies), (0, 0, 0));
    assert_eq!(attempt(&layout, &live, &[], &Change::Lose(NodeId(9))), None);
    let alone = Layout::first(NodeId(1), Candidate { zone: "a".to_owned(), weight: 100 });
    assert_eq!(attempt(&alone, &BTreeSet::from([NodeId(1)]), &[], &Change::Lose(NodeId(1))), None);
}
