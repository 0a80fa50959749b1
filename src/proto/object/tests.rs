//! The laws of objects.

use proptest::prelude::*;

use crate::base::codec::Blob;
use crate::base::id::BucketId;
use crate::base::id::Incarnation;
use crate::base::id::NodeId;
use crate::base::id::OpId;
use crate::base::limits::RANDOM_OPS_MAX;
use crate::proto::bucket::Kind;
use crate::proto::causal::Actor;
use crate::proto::causal::Context;
use crate::proto::key::IndexKey;
use crate::proto::key::Key;
use crate::proto::object::Action;
use crate::proto::object::Basis;
use crate::proto::object::Condition;
use crate::proto::object::Content;
use crate::proto::object::Memory;
use crate::proto::object::Mint;
use crate::proto::object::Object;
use crate::proto::object::Stamp;
use crate::proto::object::Update;
use crate::proto::object::apply::Outcome;
use crate::proto::object::apply::Refusal;
use crate::proto::object::apply::apply;

fn put(kind: Kind, text: &str, op: u128) -> Update {
    Update {
        kind,
        action: Action::Put { content_type: String::new(), body: Blob(text.to_owned().into()), ttl_ms: None },
        basis: Basis::Read(None),
        condition: Condition::None,
        op: OpId(op),
        keyed: false,
        op_until_ms: 1_000_000,
    }
}

/// The operations of these tests are remembered until 1,000,000.
const MEMORY: Memory = Memory { now_ms: 900_000, just_begun: false };

fn mint(node: u64, counter: u64) -> Mint {
    Mint {
        actor: Actor { node: NodeId(node), incarnation: Incarnation(node * 7) },
        counter,
        now_ms: 1000 + counter,
        above: None,
        memory: MEMORY,
    }
}

fn applied(old: Option<&Object>, update: &Update, mint: Mint) -> (Object, Context) {
    match apply(old, update, mint) {
        Outcome::Applied { object, context, .. } => (object, context),
        other @ (Outcome::Duplicate { .. } | Outcome::Refused(_)) => panic!("not applied: {other:?}"),
    }
}

fn texts(object: &Object) -> Vec<String> {
    let text = |content: &Content| match content {
        Content::Value { body, .. } => String::from_utf8(body.0.to_vec()).unwrap(),
        Content::Tombstone => "†".to_owned(),
    };
    object.siblings.iter().map(|sibling| text(&sibling.content)).collect()
}

#[test]
fn writers_that_did_not_read_become_siblings_and_one_that_read_replaces_them() {
    let (one, first) = applied(None, &put(Kind::Siblings, "a", 1), mint(1, 1));
    let (two, second) = applied(Some(&one), &put(Kind::Siblings, "b", 2), mint(1, 2));
    assert_eq!(texts(&two), ["a", "b"]);
    assert!(first.covers(two.siblings[0].dot) && !second.covers(two.siblings[0].dot), "the second writer read nothing");
    let again = Update { basis: Basis::Read(Some(second)), ..put(Kind::Siblings, "c", 4) };
    assert_eq!(texts(&applied(Some(&two), &again, mint(1, 3)).0), ["a", "c"], "it replaces its own value only");
    let merged = Update { basis: Basis::Read(Some(two.context.clone())), ..put(Kind::Siblings, "ab", 3) };
    assert_eq!(texts(&applied(Some(&two), &merged, mint(1, 3)).0), ["ab"]);
}

#[test]
fn two_clients_that_read_merge_and_write_a_hundred_times_leave_two_siblings() {
    // reliability.md 2e: without dots the set explodes.
    let mut object = Object::default();
    let mut contexts = [None, None];
    for round in 0..100_u64 {
        let client = usize::try_from(round % 2).unwrap();
        let update = Update {
            basis: Basis::Read(contexts[client].clone()),
            ..put(Kind::Siblings, &round.to_string(), u128::from(round) + 1)
        };
        let (next, context) = applied(Some(&object), &update, mint(1, round + 1));
        contexts[client] = Some(context);
        object = next;
        assert!(object.siblings.len() <= 2);
    }
}

#[test]
fn the_last_writer_wins_whatever_the_clock_says() {
    let (one, _) = applied(None, &put(Kind::Lww, "a", 1), Mint { now_ms: 9_000_000, ..mint(1, 1) });
    let (two, _) = applied(Some(&one), &put(Kind::Lww, "b", 2), Mint { now_ms: 5, ..mint(1, 2) });
    assert_eq!(texts(&two), ["b"]);
    assert!(two.siblings[0].stamp > one.siblings[0].stamp);
}

#[test]
fn a_deletion_removes_what_its_writer_read_and_keeps_what_it_did_not() {
    let (one, first) = applied(None, &put(Kind::Siblings, "a", 1), mint(1, 1));
    let (two, _) = applied(Some(&one), &put(Kind::Siblings, "b", 2), mint(1, 2));
    let blind = Update { action: Action::Delete, ..put(Kind::Siblings, "", 3) };
    assert_eq!(apply(Some(&two), &blind, mint(1, 3)), Outcome::Refused(Refusal::ContextNeeded));
    let delete = Update { basis: Basis::Read(Some(first)), ..blind };
    let (three, _) = applied(Some(&two), &delete, mint(1, 3));
    assert_eq!(texts(&three), ["b", "†"]);
    assert_eq!(three.live(0).count(), 1);
}

#[test]
fn an_expired_value_is_not_there() {
    let mut update = put(Kind::Siblings, "a", 1);
    if let Action::Put { ttl_ms, .. } = &mut update.action {
        *ttl_ms = Some(50);
    }
    let (object, _) = applied(None, &update, mint(1, 1));
    assert_eq!((object.live(1050).count(), object.live(1051).count()), (1, 0));
    let absent = Update { condition: Condition::Absent, ..put(Kind::Siblings, "b", 2) };
    let early = Mint { now_ms: 1040, ..mint(1, 2) };
    assert_eq!(apply(Some(&object), &absent, early), Outcome::Refused(Refusal::ConditionFailed));
    let late = Mint { now_ms: 1051, ..mint(1, 2) };
    assert!(matches!(apply(Some(&object), &absent, late), Outcome::Applied { .. }));
}

#[test]
fn conditions_hold_or_refuse_and_an_lww_bucket_takes_none() {
    let (one, _) = applied(None, &put(Kind::Siblings, "a", 1), mint(1, 1));
    let when = |etag: String| Update { condition: Condition::Matches(vec![etag]), ..put(Kind::Siblings, "b", 2) };
    assert!(matches!(apply(Some(&one), &when(one.etag(1)), mint(1, 2)), Outcome::Applied { .. }));
    assert!(matches!(apply(Some(&one), &when("*".into()), mint(1, 2)), Outcome::Applied { .. }));
    assert_eq!(apply(None, &when("*".into()), mint(1, 2)), Outcome::Refused(Refusal::ConditionFailed));
    assert_eq!(apply(Some(&one), &when("\"x\"".into()), mint(1, 2)), Outcome::Refused(Refusal::ConditionFailed));
    assert_eq!(apply(None, &when(one.etag(1)), mint(1, 2)), Outcome::Refused(Refusal::ConditionFailed));
    let lww = Update { condition: Condition::Absent, ..put(Kind::Lww, "b", 2) };
    assert_eq!(apply(None, &lww, mint(1, 2)), Outcome::Refused(Refusal::ConditionOnLww));
}

#[test]
fn an_operation_is_applied_once_and_answers_twice_the_same() {
    let keyed = Update { keyed: true, ..put(Kind::Siblings, "a", 1) };
    let (one, context) = applied(None, &keyed, mint(1, 1));
    // Also after its value was overwritten.
    let over = Update { basis: Basis::Current, ..put(Kind::Siblings, "b", 2) };
    let (two, _) = applied(Some(&one), &over, mint(1, 2));
    let again = apply(Some(&two), &keyed, mint(1, 3));
    assert!(matches!(again, Outcome::Duplicate { context: ref then, .. } if *then == context), "{again:?}");
    let other = Update { keyed: true, ..put(Kind::Siblings, "c", 1) };
    assert_eq!(apply(Some(&two), &other, mint(1, 3)), Outcome::Refused(Refusal::OpReused));
    let later = Mint { memory: Memory { now_ms: 1_000_000, ..MEMORY }, ..mint(1, 3) };
    assert!(matches!(apply(Some(&two), &other, later), Outcome::Applied { .. }), "forgotten after its time");
}

#[test]
fn siblings_and_remembered_operations_are_bounded() {
    let mut object = Object::default();
    for i in 1..=64 {
        object = applied(Some(&object), &put(Kind::Siblings, "x", i.into()), mint(1, i)).0;
    }
    let more = put(Kind::Siblings, "x", 99);
    assert_eq!(apply(Some(&object), &more, mint(1, 65)), Outcome::Refused(Refusal::TooManySiblings));
    assert_eq!(object.ops.len(), RANDOM_OPS_MAX);
    let mut object = Object::default();
    for i in 1..=32 {
        let keyed = Update { keyed: true, basis: Basis::Current, ..put(Kind::Siblings, "x", i.into()) };
        object = applied(Some(&object), &keyed, mint(1, i)).0;
    }
    let keyed = Update { keyed: true, ..put(Kind::Siblings, "x", 99) };
    assert_eq!(apply(Some(&object), &keyed, mint(1, 33)), Outcome::Refused(Refusal::TooManyOps));
}

#[test]
fn what_an_earlier_life_noted_is_not_applied_again_and_counts_towards_no_limit() {
    let keyed = |op: u128| Update { keyed: true, basis: Basis::Current, ..put(Kind::Siblings, "x", op) };
    let mut object = Object::default();
    for i in 1..=32 {
        object = applied(Some(&object), &keyed(i.into()), mint(1, i)).0;
    }
    // Long after their time by the clock of the new life, which may be another one.
    let begun = Mint { memory: Memory { now_ms: 9_000_000, just_begun: true }, ..mint(1, 33) };
    assert!(matches!(apply(Some(&object), &keyed(7), begun), Outcome::Duplicate { .. }));
    assert!(matches!(apply(Some(&object), &keyed(99), begun), Outcome::Applied { .. }));
    let later = Mint { memory: Memory { now_ms: 9_000_000, just_begun: false }, ..mint(1, 33) };
    assert!(matches!(apply(Some(&object), &keyed(7), later), Outcome::Applied { .. }));
    // Noted while the clock was far ahead: nothing is remembered for so long.
    let behind = Mint { memory: Memory { now_ms: 5, just_begun: false }, ..mint(1, 33) };
    assert!(matches!(apply(Some(&object), &keyed(99), behind), Outcome::Applied { .. }));
}

#[test]
fn the_stored_format_is_frozen() {
    // Golden: data on customers' disks. A change here needs a new version and a migration.
    let place = IndexKey::new(BucketId(1), &Key::new(b"k".to_vec()).unwrap());
    let (object, _) = applied(None, &Update { keyed: true, ..put(Kind::Siblings, "hi", 5) }, mint(1, 1));
    let bytes = object.encode(&place);
    assert_eq!(Object::decode(&place, &bytes), Ok(object));
    assert_eq!(crate::base::codec::hex(&bytes), include_str!("golden_v1.hex").trim());
}

proptest! {
    #[test]
    fn every_history_keeps_the_invariants(
        kind in prop_oneof![Just(Kind::Siblings), Just(Kind::Lww)],
        steps in proptest::collection::vec((0..4_u8, any::<proptest::sample::Index>()), 1..40),
    ) {
        let mut object = Object::default();
        let mut contexts = vec![None];
        for (counter, (step, read)) in (1..).zip(steps) {
            let basis = if step == 3 { Basis::Current } else { Basis::Read(read.get(&contexts).clone()) };
            let action = if step == 0 { Action::Delete } else { put(kind, &counter.to_string(), 0).action };
            let update = Update { basis: basis.clone(), action, ..put(kind, "", counter.into()) };
            let Outcome::Applied { object: next, context, .. } = apply(Some(&object), &update, mint(1, counter)) else {
                continue;
            };
            let dots: Vec<_> = next.siblings.iter().map(|sibling| sibling.dot).collect();
            prop_assert!(dots.is_sorted() && dots.windows(2).all(|pair| pair[0] != pair[1]));
            prop_assert!(dots.iter().all(|dot| next.context.covers(*dot)));
            prop_assert!(next.context.is_canonical() && context.is_canonical());
            prop_assert!(object.siblings.iter().all(|sibling| next.context.covers(sibling.dot)));
            prop_assert!(kind == Kind::Siblings || next.siblings.len() == 1);
            // Nothing the writer had not read is dropped.
            if let (Kind::Siblings, Basis::Read(read)) = (kind, basis) {
                let read = read.unwrap_or_default();
                let unread = object.siblings.iter().filter(|sibling| !read.covers(sibling.dot));
                prop_assert!(unread.into_iter().all(|sibling| next.siblings.contains(sibling)));
            }
            object = next;
            contexts.push(Some(context));
            contexts.push(Some(object.context.clone()));
        }
    }
}

#[test]
fn what_is_minted_on_nothing_stands_above_what_was_purged_there() {
    let above = |stamp| Mint { now_ms: 5, above: Some(Stamp(stamp)), ..mint(1, 1) };
    let stamp_of = |old: Option<&Object>, mint| applied(old, &put(Kind::Lww, "a", 1), mint).0.siblings[0].stamp;
    assert_eq!(stamp_of(None, above(9 << 16)), Stamp((9 << 16) + 1), "the clock is behind");
    assert_eq!(stamp_of(None, above(3 << 16)), Stamp(5 << 16));
    let (old, _) = applied(None, &put(Kind::Lww, "b", 2), Mint { now_ms: 4, ..mint(1, 1) });
    assert_eq!(stamp_of(Some(&old), above(9 << 16)), Stamp(5 << 16), "of what is there all is known");
}
