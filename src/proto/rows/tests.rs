//! Rows of several owners become one list: nothing acked is missing, nothing deleted comes back.

use std::collections::BTreeMap;

use super::Depth;
use super::Disorder;
use super::Entry;
use super::Merging;
use super::Partitions;
use super::Row;
use super::Step;
use super::TooFew;
use super::Way;
use super::plan;
use crate::base::codec::Blob;
use crate::base::id::BucketId;
use crate::base::id::Incarnation;
use crate::base::id::NodeId;
use crate::base::id::PartitionId;
use crate::proto::bucket::Kind;
use crate::proto::causal::Actor;
use crate::proto::causal::Dot;
use crate::proto::key::IndexKey;
use crate::proto::key::Key;
use crate::proto::object::Content;
use crate::proto::object::Object;
use crate::proto::object::Sibling;
use crate::proto::object::Stamp;
use crate::proto::quorum::Quorum;

const A: NodeId = NodeId(1);
const B: NodeId = NodeId(2);
const C: NodeId = NodeId(3);
const BUCKET: BucketId = BucketId(7);
const NOW: u64 = 1_000;

fn dot(counter: u64) -> Dot {
    Dot { actor: Actor { node: A, incarnation: Incarnation(1) }, counter }
}

/// The object after the writes up to this one, of which only the last one stays; of no bytes: deleted.
fn after_write(counter: u64, bytes: usize) -> Object {
    let mut object = Object::default();
    object.context.add_run(dot(counter));
    let content = match bytes {
        0 => Content::Tombstone,
        _ => Content::Value { content_type: "text/plain".into(), body: Blob(vec![7; bytes].into()) },
    };
    object.siblings.push(Sibling { dot: dot(counter), stamp: Stamp(counter << 16), expires_ms: None, content });
    object
}

fn place(key: &str) -> IndexKey {
    IndexKey::new(BUCKET, &Key::new(key.into()).unwrap())
}

/// A row as it comes from a node.
fn row(key: &str, object: Object, kind: Kind) -> Entry {
    Row::of(&Entry::brief(place(key), object, kind), Depth::Brief).open(BUCKET).unwrap()
}

fn both() -> BTreeMap<NodeId, Partitions> {
    BTreeMap::from([(A, Partitions::ALL), (B, Partitions::ALL)])
}

/// Everything that a merging says, live, while nobody has to be asked.
fn said(merging: &mut Merging) -> (Vec<(String, u64)>, Step) {
    let mut keys = Vec::new();
    loop {
        match merging.step() {
            Step::Entry(entry) => {
                let live = entry.live(NOW).map(|(size, _)| (String::from_utf8(entry.key().to_vec()).unwrap(), size));
                keys.extend(live);
            }
            end @ (Step::Wanting | Step::End) => return (keys, end),
        }
    }
}

fn merged(kind: Kind, way: Way, after: &str, a: &[(&str, Object)], b: &[(&str, Object)]) -> Vec<(String, u64)> {
    let mut merging = Merging::new(both(), way, kind, after.as_bytes());
    for (node, rows) in [(A, a), (B, b)] {
        let rows = rows.iter().map(|(key, object)| row(key, object.clone(), kind)).collect();
        merging.take(node, rows, false).unwrap();
    }
    let (keys, end) = said(&mut merging);
    assert_eq!(end, Step::End);
    keys
}

fn named(rows: &[(&str, u64)]) -> Vec<(String, u64)> {
    rows.iter().map(|(key, size)| ((*key).to_owned(), *size)).collect()
}

#[test]
fn what_one_owner_missed_the_other_tells_and_each_key_comes_once() {
    for kind in [Kind::Siblings, Kind::Lww] {
        let (one, two, new) = (after_write(1, 10), after_write(2, 20), after_write(5, 50));
        // A lacks `b` and `d`, holds an old `c`, and a `e` that was deleted behind its back.
        let stale = [("a", one.clone()), ("c", after_write(3, 3)), ("e", after_write(4, 4))];
        let fresh = [("a", one.clone()), ("b", two.clone()), ("c", new), ("d", two.clone()), ("e", after_write(6, 0))];
        let whole = named(&[("a", 10), ("b", 20), ("c", 50), ("d", 20)]);
        assert_eq!(merged(kind, Way::Forward, "", &stale, &fresh), whole, "{kind:?}");
        assert_eq!(merged(kind, Way::Forward, "", &fresh, &stale), whole, "{kind:?}");
        let (mut back_stale, mut back_fresh, mut back) = (stale.to_vec(), fresh.to_vec(), whole);
        back_stale.reverse();
        back_fresh.reverse();
        back.reverse();
        assert_eq!(merged(kind, Way::Back, "f", &back_stale, &back_fresh), back, "{kind:?}");
    }
}

#[test]
fn values_that_nobody_replaced_count_together_and_expired_ones_not_at_all() {
    let mut other = after_write(1, 5);
    other.siblings[0].dot.actor.node = B;
    other.context = Object::default().context;
    other.context.add_run(other.siblings[0].dot);
    let mut over = after_write(3, 9);
    over.siblings[0].expires_ms = Some(NOW);
    let keys = merged(Kind::Siblings, Way::Forward, "", &[("k", after_write(1, 10)), ("x", over)], &[("k", other)]);
    assert_eq!(keys, named(&[("k", 15)]));
}

#[test]
fn a_key_waits_until_everybody_is_past_it() {
    let mut merging = Merging::new(both(), Way::Forward, Kind::Lww, b"");
    let of = |key, counter, bytes| row(key, after_write(counter, bytes), Kind::Lww);
    assert_eq!(merging.step(), Step::Wanting);
    assert_eq!(merging.wanted().map(|(node, _, _)| node).collect::<Vec<_>>(), [A, B]);
    merging.take(A, vec![of("a", 1, 1), of("b", 2, 2), of("c", 3, 3)], false).unwrap();
    merging.take(B, vec![of("a", 4, 0)], true).unwrap();
    assert_eq!(said(&mut merging), (Vec::new(), Step::Wanting), "B may know that `b` was deleted");
    let wanted: Vec<_> = merging.wanted().map(|(node, _, after)| (node, after.to_vec())).collect();
    assert_eq!(wanted, [(B, b"a".to_vec())]);
    merging.take(B, vec![of("b", 5, 0)], true).unwrap();
    assert_eq!(said(&mut merging), (Vec::new(), Step::Wanting));
    merging.take(B, Vec::new(), false).unwrap();
    assert_eq!(said(&mut merging), (named(&[("c", 3)]), Step::End));
}

#[test]
fn rows_out_of_order_of_other_partitions_or_without_an_end_are_refused() {
    let of = |key| row(key, after_write(1, 1), Kind::Lww);
    let refused = |way, rows: Vec<Entry>, more| {
        let mut merging = Merging::new(both(), way, Kind::Lww, b"b");
        let refused = merging.take(A, rows, more) == Err(Disorder);
        assert_eq!(merging.wanted().count(), if refused { 2 } else { 1 }, "nothing of it counts");
        refused
    };
    assert!(!refused(Way::Forward, vec![of("c"), of("d")], true));
    assert!(!refused(Way::Back, vec![of("az"), of("a")], true));
    assert!(refused(Way::Forward, vec![of("d"), of("c")], false));
    assert!(refused(Way::Forward, vec![of("c"), of("c")], false), "twice");
    assert!(refused(Way::Forward, vec![of("b")], false), "not beyond where it began");
    assert!(refused(Way::Back, vec![of("c")], false));
    assert!(refused(Way::Forward, Vec::new(), true), "it would be asked for ever");
    let other = Partitions::from_iter(Partitions::ALL.iter().filter(|one| *one != place("c").partition()));
    let mut merging = Merging::new(BTreeMap::from([(A, other)]), Way::Forward, Kind::Lww, b"");
    assert_eq!(merging.take(A, vec![of("c")], false), Err(Disorder));
    assert_eq!(merging.take(B, Vec::new(), false), Err(Disorder), "nobody asked it");
}

fn rules(owners: &[NodeId], need: usize) -> Vec<(PartitionId, Quorum)> {
    PartitionId::all().map(|partition| (partition, Quorum { owners: owners.to_vec(), need })).collect()
}

#[test]
fn of_three_owners_one_beside_this_node_is_asked_for_everything() {
    let mut rules = rules(&[A, B, C], 2);
    for (_, rule) in rules.iter_mut().skip(100) {
        rule.owners.rotate_left(1);
    }
    let asked = plan(&rules, &[vec![A], vec![C, B], vec![]], &BTreeMap::new()).unwrap();
    assert_eq!(asked, BTreeMap::from([(A, Partitions::ALL), (C, Partitions::ALL)]));
    let asked = plan(&rules, &[vec![A], vec![B], vec![C]], &BTreeMap::new()).unwrap();
    assert_eq!(asked, BTreeMap::from([(A, Partitions::ALL), (B, Partitions::ALL)]), "the silent one is left alone");
}

#[test]
fn what_a_node_cannot_tell_another_one_does_and_only_that() {
    let lost = Partitions::from_iter([PartitionId(0), PartitionId(255)]);
    let asked = plan(&rules(&[A, B, C], 2), &[vec![A], vec![B, C]], &BTreeMap::from([(A, lost)])).unwrap();
    assert_eq!(asked[&B], Partitions::ALL);
    assert_eq!(asked[&C], lost);
    assert_eq!(asked[&A].len(), 254);
    assert!(asked[&A].common(lost).is_empty());
}

#[test]
fn with_too_few_owners_of_one_partition_there_is_no_list() {
    let mut rules = rules(&[A, B], 2);
    let classes = [vec![A, B, C]];
    assert!(plan(&rules, &classes, &BTreeMap::new()).is_ok());
    let lost = BTreeMap::from([(B, Partitions::from_iter([PartitionId(9)]))]);
    assert_eq!(plan(&rules, &classes, &lost), Err(TooFew { there: 1, need: 2 }));
    rules[77].1.owners.clear();
    assert_eq!(plan(&rules, &classes, &BTreeMap::new()), Err(TooFew { there: 0, need: 2 }));
}

#[test]
fn a_row_tells_as_much_as_was_asked_for_and_its_weight_is_enough() {
    let mut object = after_write(u64::MAX, 300);
    for more in 1..40 {
        let mut sibling = object.siblings[0].clone();
        sibling.dot =
            Dot { actor: Actor { node: NodeId(u64::MAX), incarnation: Incarnation(u64::MAX - more) }, counter: 9 };
        sibling.expires_ms = Some(u64::MAX);
        object.context.add_run(sibling.dot);
        object.siblings.push(sibling);
    }
    let whole = Entry::whole(place("k"), object.clone());
    assert_eq!(Row::of(&whole, Depth::Whole).open(BUCKET).unwrap().object, object);
    assert_eq!(Row::of(&whole, Depth::Whole).open(BucketId(8)), None, "sealed for its place");
    let brief = Entry::brief(place("k"), object, Kind::Siblings);
    assert_eq!(brief.live(NOW).map(|(size, _)| size), Some(40 * 300));
    for (entry, depth) in [(brief, Depth::Brief), (whole, Depth::Whole)] {
        let bytes = postcard::to_stdvec(&Row::of(&entry, depth)).unwrap();
        assert!(entry.weight() >= bytes.len(), "{depth:?}: {} for {}", entry.weight(), bytes.len());
    }
}
