//! The decisions of a write, one by one, and that no order of answers acks too early.

use std::sync::Arc;

use proptest::collection::vec;
use proptest::prelude::any;
use proptest::proptest;

use super::Answer;
use super::Effect;
use super::Input;
use super::SILENT_MS;
use super::Write;
use crate::base::id::Incarnation;
use crate::base::id::NodeId;
use crate::proto::causal::Actor;
use crate::proto::causal::Dot;
use crate::proto::object::Object;
use crate::proto::object::Stamp;
use crate::proto::quorum::Quorum;

const DEADLINE: u64 = 5_000;

fn nodes(ids: impl IntoIterator<Item = u64>) -> Vec<NodeId> {
    ids.into_iter().map(NodeId).collect()
}

fn rule(owners: impl IntoIterator<Item = u64>, need: usize) -> Quorum {
    Quorum { owners: nodes(owners), need }
}

fn dot(node: u64, counter: u64) -> Dot {
    Dot { actor: Actor { node: NodeId(node), incarnation: Incarnation(7) }, counter }
}

fn begun(rules: Vec<Quorum>, wins: Option<(Stamp, Dot)>) -> Write {
    Write::new(NodeId(1), rules, Arc::new(Object::default()), wins, 0, DEADLINE)
}

fn effects(write: &mut Write) -> Vec<Effect> {
    std::iter::from_fn(|| write.poll_effect()).collect()
}

fn asked(effects: &[Effect]) -> Vec<u64> {
    let to = |effect: &Effect| if let Effect::Send { to, .. } = effect { Some(to.0) } else { None };
    effects.iter().filter_map(to).collect()
}

const HELD: Input = Input::Held { round: 0, top: None };

#[test]
fn everyone_is_asked_at_once_and_w_of_them_are_enough() {
    let mut write = begun(vec![rule(1..=3, 2)], None);
    assert_eq!(asked(&effects(&mut write)), [2, 3]);
    write.handle(NodeId(1), HELD, 1);
    assert_eq!(effects(&mut write), [], "one is not enough");
    write.handle(NodeId(3), HELD, 2);
    assert_eq!(effects(&mut write), [Effect::Answer(Answer::Ok { acked_by: nodes([1, 3]) })]);
    assert!(!write.is_done(), "the third may still answer");
    write.handle(NodeId(2), HELD, 3);
    assert!(write.is_done() && effects(&mut write).is_empty());
}

#[test]
fn an_owner_that_says_nothing_gets_a_hint_and_no_part_in_the_count() {
    let mut write = begun(vec![rule(1..=3, 2)], None);
    let _asked = effects(&mut write);
    write.handle(NodeId(1), HELD, 1);
    write.handle(NodeId(2), HELD, 1);
    let _answered = effects(&mut write);
    assert_eq!(write.poll_timeout(), Some(SILENT_MS));
    write.handle_timeout(SILENT_MS);
    assert_eq!(effects(&mut write), [Effect::Hint { to: NodeId(3) }]);
    assert!(write.is_done());
    // And hints make no ack: with two silent ones nobody is told `ok`.
    let mut write = begun(vec![rule(1..=3, 2)], None);
    let _asked = effects(&mut write);
    write.handle(NodeId(1), HELD, 1);
    write.handle(NodeId(2), Input::Refused, 1);
    write.handle(NodeId(3), Input::Refused, 1);
    let unknown = Answer::Unknown { acked_by: nodes([1]) };
    assert_eq!(
        effects(&mut write),
        [Effect::Hint { to: NodeId(2) }, Effect::Hint { to: NodeId(3) }, Effect::Answer(unknown)]
    );
}

#[test]
fn a_transition_needs_enough_of_both_lists_and_an_owner_in_both_counts_in_both() {
    let mut write = begun(vec![rule(1..=3, 2), rule(3..=5, 2)], None);
    assert_eq!(asked(&effects(&mut write)), [2, 3, 4, 5]);
    write.handle(NodeId(1), HELD, 1);
    write.handle(NodeId(2), HELD, 1);
    assert_eq!(effects(&mut write), [], "none of the next list");
    write.handle(NodeId(3), HELD, 1);
    write.handle(NodeId(4), HELD, 1);
    assert_eq!(effects(&mut write), [Effect::Answer(Answer::Ok { acked_by: nodes([1, 2, 3, 4]) })]);
}

#[test]
fn a_stale_write_begins_again_under_the_newer_rules_and_keeps_what_is_held() {
    let mut write = begun(vec![rule(1..=3, 2)], None);
    let _asked = effects(&mut write);
    write.handle(NodeId(1), HELD, 1);
    write.handle(NodeId(2), Input::Stale, 1);
    assert_eq!(effects(&mut write), [Effect::Refresh]);
    write.restart(vec![rule([1, 4, 5], 2)], Arc::default(), 2);
    assert_eq!(asked(&effects(&mut write)), [4, 5]);
    write.handle(NodeId(4), HELD, 3);
    assert_eq!(effects(&mut write), [Effect::Answer(Answer::Ok { acked_by: nodes([1, 4]) })]);
}

#[test]
fn an_owner_that_held_it_in_an_older_epoch_is_asked_again() {
    let mut write = begun(vec![rule(1..=3, 2)], None);
    let _asked = effects(&mut write);
    write.handle(NodeId(3), HELD, 1);
    write.handle(NodeId(2), Input::Stale, 1);
    let _refresh = effects(&mut write);
    // The newer epoch may be that of the third, which has lost its disk.
    write.restart(vec![rule(1..=3, 2)], Arc::default(), 2);
    assert_eq!(asked(&effects(&mut write)), [2, 3]);
    write.handle(NodeId(1), HELD, 3);
    assert_eq!(effects(&mut write), [], "this node alone");
}

#[test]
fn whoever_was_asked_and_does_not_hold_it_gets_a_hint() {
    // Stale after the answer, and asked again shortly before the deadline.
    let mut write = begun(vec![rule(1..=3, 2)], None);
    let _asked = effects(&mut write);
    write.handle(NodeId(1), HELD, 1);
    write.handle(NodeId(2), HELD, 1);
    let _answered = effects(&mut write);
    write.handle(NodeId(3), Input::Stale, 2);
    assert_eq!(effects(&mut write), [Effect::Hint { to: NodeId(3) }]);
    let mut write = begun(vec![rule(1..=3, 3)], None);
    let _asked = effects(&mut write);
    write.handle(NodeId(3), Input::Stale, DEADLINE - 1);
    let _refresh = effects(&mut write);
    write.restart(vec![rule(1..=3, 3)], Arc::default(), DEADLINE - 1);
    let _asked = effects(&mut write);
    write.handle_timeout(DEADLINE);
    let hints = effects(&mut write).into_iter().filter(|effect| matches!(effect, Effect::Hint { .. })).count();
    assert_eq!(hints, 2);
}

#[test]
fn who_was_ahead_before_there_were_enough_is_told_later() {
    let mut write = begun(vec![rule(1..=3, 2)], None);
    let _asked = effects(&mut write);
    write.handle(NodeId(3), Input::Stale, 1);
    assert_eq!(effects(&mut write), [Effect::Refresh]);
    write.handle(NodeId(1), HELD, 2);
    write.handle(NodeId(2), HELD, 2);
    let answer = Effect::Answer(Answer::Ok { acked_by: nodes([1, 2]) });
    assert_eq!(effects(&mut write), [Effect::Hint { to: NodeId(3) }, answer]);
    // The rules of the newer epoch come too late to ask it again; where they come in time it is asked.
    write.restart(vec![rule(1..=3, 2)], Arc::default(), 3);
    assert_eq!(effects(&mut write), []);
    let mut write = begun(vec![rule(1..=3, 2)], None);
    let _asked = effects(&mut write);
    write.handle(NodeId(3), Input::Stale, 1);
    let _refresh = effects(&mut write);
    write.restart(vec![rule(1..=3, 2)], Arc::default(), 2);
    assert_eq!(asked(&effects(&mut write)), [2, 3]);
    write.handle(NodeId(1), HELD, 3);
    write.handle(NodeId(3), HELD, 3);
    assert_eq!(effects(&mut write), [Effect::Answer(Answer::Ok { acked_by: nodes([1, 3]) })]);
}

#[test]
fn an_lww_write_that_meets_a_higher_stamp_is_minted_above_it_before_anybody_is_told() {
    let (low, high) = ((Stamp(5), dot(1, 1)), (Stamp(9), dot(2, 4)));
    let mut write = begun(vec![rule(1..=3, 2)], Some(low));
    let _asked = effects(&mut write);
    write.handle(NodeId(2), Input::Held { round: 0, top: Some(high) }, 1);
    assert_eq!(effects(&mut write), [Effect::Remint { above: Stamp(9) }]);
    let again = (Stamp(10), dot(1, 2));
    write.resend(Arc::new(Object::default()), again, 2);
    assert_eq!(asked(&effects(&mut write)), [2, 3], "all of them once more");
    // An answer to what was sent before says nothing of what was sent now.
    write.handle(NodeId(3), Input::Held { round: 0, top: Some(low) }, 3);
    write.handle(NodeId(1), Input::Held { round: 0, top: None }, 3);
    write.handle(NodeId(2), Input::Held { round: 1, top: Some(again) }, 3);
    assert_eq!(effects(&mut write), [], "the own journal has synced the first minting only");
    write.handle(NodeId(2), Input::Held { round: 1, top: Some(again) }, 3);
    assert_eq!(effects(&mut write), []);
    // What this owner minted later stands above it, and came later.
    write.handle(NodeId(3), Input::Held { round: 1, top: Some((Stamp(11), dot(1, 3))) }, 4);
    assert_eq!(effects(&mut write), [Effect::Answer(Answer::Ok { acked_by: nodes([2, 3]) })]);
}

#[test]
fn what_is_not_held_in_time_is_unknown() {
    let mut write = begun(vec![rule(1..=3, 3)], None);
    let _asked = effects(&mut write);
    write.handle(NodeId(1), HELD, 1);
    write.handle(NodeId(2), HELD, 1);
    write.handle_timeout(SILENT_MS);
    let expected = Effect::Answer(Answer::Unknown { acked_by: nodes([1, 2]) });
    assert_eq!(effects(&mut write), [Effect::Hint { to: NodeId(3) }, expected]);
}

proptest! {
    /// Whatever comes in whichever order, `ok` is said only with enough durable owners of every rule, and only once.
    #[test]
    fn no_order_of_answers_acks_too_early(
        n in 1..6_u64, shift in 0..6_u64, inputs in vec((1..12_u64, 0..4_u8, any::<bool>()), 0..40),
    ) {
        let rules = vec![rule(1..=n, usize::try_from(n / 2 + 1).unwrap()), rule(1 + shift..=n + shift, usize::try_from(n / 2 + 1).unwrap())];
        let mut write = begun(rules.clone(), None);
        let mut held = Vec::new();
        let mut answers = 0;
        let mut now = 0;
        for (from, what, late) in inputs {
            now += if late { 700 } else { 1 };
            let from = NodeId(from);
            match what {
                0 | 1 => {
                    write.handle(from, HELD, now);
                    held.push(from);
                }
                2 => write.handle(from, Input::Refused, now),
                _ => write.handle_timeout(now),
            }
            for effect in effects(&mut write) {
                if let Effect::Answer(answer) = effect {
                    answers += 1;
                    if let Answer::Ok { acked_by } = answer {
                        assert!(acked_by.iter().all(|owner| held.contains(owner)));
                        for rule in &rules {
                            let counted = rule.owners.iter().filter(|owner| acked_by.contains(owner)).count();
                            assert!(counted >= rule.need);
                        }
                    }
                }
            }
        }
        assert!(answers <= 1);
    }
}
