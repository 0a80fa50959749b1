//! The decisions of a read, one by one.

use std::sync::Arc;

use super::Answer;
use super::Effect;
use super::HEDGE_MS;
use super::Input;
use super::Read;
use crate::base::codec::Blob;
use crate::base::id::Incarnation;
use crate::base::id::NodeId;
use crate::proto::bucket::Kind;
use crate::proto::causal::Actor;
use crate::proto::causal::Context;
use crate::proto::causal::Dot;
use crate::proto::object::Content;
use crate::proto::object::Object;
use crate::proto::object::Sibling;
use crate::proto::object::Stamp;
use crate::proto::quorum::Quorum;

const DEADLINE: u64 = 2_000;

fn rule(owners: impl IntoIterator<Item = u64>, need: usize) -> Quorum {
    Quorum { owners: owners.into_iter().map(NodeId).collect(), need }
}

fn begun(read: Quorum, settle: Vec<Quorum>) -> Read {
    Read::new(Kind::Siblings, read, settle, 0, DEADLINE)
}

/// R = W = 2 of three at rest.
fn usual() -> Read {
    begun(rule(1..=3, 2), vec![rule(1..=3, 2)])
}

/// One value by this node.
fn value(node: u64) -> Arc<Object> {
    let dot = Dot { actor: Actor { node: NodeId(node), incarnation: Incarnation(7) }, counter: 1 };
    let mut context = Context::new();
    context.add_run(dot);
    let content = Content::Value { content_type: String::new(), body: Blob::default() };
    Arc::new(Object {
        context,
        siblings: vec![Sibling { dot, stamp: Stamp(node), expires_ms: None, content }],
        ops: vec![],
    })
}

fn effects(read: &mut Read) -> Vec<Effect> {
    std::iter::from_fn(|| read.poll_effect()).collect()
}

fn found(object: &Arc<Object>) -> Effect {
    Effect::Answer(Answer::Found(Some(Arc::clone(object))))
}

fn object(of: &Arc<Object>) -> Input {
    Input::Object(Some(Arc::clone(of)))
}

fn digest(of: &Arc<Object>) -> Input {
    Input::Digest(Some(of.context.clone()))
}

#[test]
fn one_owner_is_asked_for_the_object_the_others_in_short_and_r_that_agree_are_enough() {
    let (mut read, value) = (usual(), value(1));
    let ask = |id| Effect::AskDigest { to: NodeId(id) };
    assert_eq!(effects(&mut read), [Effect::AskObject { to: NodeId(1) }, ask(2), ask(3)]);
    read.handle(NodeId(1), object(&value), 1);
    assert_eq!(effects(&mut read), [], "one is not enough");
    read.handle(NodeId(3), digest(&value), 2);
    assert_eq!(effects(&mut read), [found(&value)]);
    // Whoever is behind is brought up to date afterwards.
    read.handle(NodeId(2), Input::Digest(None), 3);
    assert_eq!(effects(&mut read), [Effect::WriteBack { to: NodeId(2), object: value, round: 1 }]);
    assert!(read.is_done());
}

#[test]
fn nothing_anywhere_is_an_answer_too() {
    let mut read = usual();
    let _asked = effects(&mut read);
    read.handle(NodeId(1), Input::Object(None), 1);
    read.handle(NodeId(2), Input::Digest(None), 1);
    assert_eq!(effects(&mut read), [Effect::Answer(Answer::Found(None))]);
}

#[test]
fn a_value_that_only_one_owner_has_is_written_back_before_it_is_told() {
    let (mut read, value) = (usual(), value(2));
    let _asked = effects(&mut read);
    read.handle(NodeId(1), Input::Object(None), 1);
    read.handle(NodeId(2), digest(&value), 1);
    assert_eq!(effects(&mut read), [Effect::AskObject { to: NodeId(2) }]);
    read.handle(NodeId(2), object(&value), 2);
    let back = |to| Effect::WriteBack { to: NodeId(to), object: Arc::clone(&value), round: 1 };
    assert_eq!(effects(&mut read), [back(1), back(3)]);
    read.handle(NodeId(1), Input::Held { round: 1 }, 3);
    assert_eq!(effects(&mut read), [found(&value)]);
}

#[test]
fn concurrent_values_are_merged_and_settled_together() {
    let (mut read, one, two) = (usual(), value(1), value(2));
    let _asked = effects(&mut read);
    read.handle(NodeId(1), object(&one), 1);
    read.handle(NodeId(2), digest(&two), 1);
    assert_eq!(effects(&mut read), [Effect::AskObject { to: NodeId(2) }]);
    read.handle(NodeId(2), object(&two), 2);
    let sent = effects(&mut read);
    assert_eq!(sent.len(), 3, "nobody has both: {sent:?}");
    // That they hold the one value says nothing of both.
    read.handle(NodeId(3), Input::Held { round: 1 }, 3);
    read.handle(NodeId(1), Input::Held { round: 1 }, 3);
    assert_eq!(effects(&mut read), []);
    read.handle(NodeId(3), Input::Held { round: 2 }, 3);
    read.handle(NodeId(1), Input::Held { round: 2 }, 3);
    // An older answer that comes late takes nothing back.
    read.handle(NodeId(1), digest(&one), 3);
    let last = effects(&mut read);
    let Some(Effect::Answer(Answer::Found(Some(both)))) = last.first() else { panic!("{last:?}") };
    assert_eq!(both.siblings.len(), 2);
}

#[test]
fn while_owners_change_a_value_is_told_only_when_the_next_list_has_it_too() {
    let value = value(1);
    let mut read = begun(rule(1..=3, 2), vec![rule(1..=3, 2), rule(4..=6, 2)]);
    let _asked = effects(&mut read);
    read.handle(NodeId(1), object(&value), 1);
    read.handle(NodeId(2), digest(&value), 1);
    let sent = effects(&mut read);
    assert!(!sent.contains(&found(&value)), "two of the old list agree, but no read of the next one would see it");
    read.handle(NodeId(4), digest(&value), 2);
    read.handle(NodeId(5), Input::Held { round: 1 }, 2);
    assert_eq!(effects(&mut read), [found(&value)]);
}

#[test]
fn a_slow_owner_is_hedged_and_one_that_is_not_there_makes_room() {
    let (mut read, value) = (usual(), value(1));
    let _asked = effects(&mut read);
    read.handle(NodeId(2), digest(&value), 1);
    read.handle(NodeId(3), digest(&value), 1);
    // Their objects are fetched: nobody waits for the first.
    assert!(effects(&mut read).contains(&Effect::AskObject { to: NodeId(2) }));
    read.handle(NodeId(2), object(&value), 2);
    assert_eq!(effects(&mut read), [found(&value)]);
    let mut read = usual();
    let _asked = effects(&mut read);
    assert_eq!(read.poll_timeout(), Some(HEDGE_MS));
    read.handle_timeout(HEDGE_MS);
    assert_eq!(effects(&mut read), [Effect::AskObject { to: NodeId(2) }]);
}

#[test]
fn too_few_owners_and_a_value_that_cannot_be_settled_are_said_honestly() {
    let mut read = usual();
    let _asked = effects(&mut read);
    read.handle(NodeId(1), Input::Refused, 1);
    read.handle(NodeId(2), Input::Refused, 1);
    assert_eq!(effects(&mut read), [Effect::Answer(Answer::NoQuorum { answered: 0, need: 2 })]);
    // One of two synced owners has it, the third is away: it is not told before the other holds it.
    let value = value(1);
    let mut read = usual();
    let _asked = effects(&mut read);
    read.handle(NodeId(3), Input::Refused, 1);
    read.handle(NodeId(1), object(&value), 1);
    read.handle(NodeId(2), Input::Digest(None), 1);
    assert_eq!(effects(&mut read), [Effect::WriteBack { to: NodeId(2), object: Arc::clone(&value), round: 1 }]);
    read.handle_timeout(DEADLINE);
    assert_eq!(effects(&mut read), [Effect::Answer(Answer::NotSettled)]);
}

#[test]
fn a_read_of_an_older_epoch_begins_again_and_says_nothing() {
    let mut read = usual();
    let _asked = effects(&mut read);
    read.handle(NodeId(1), object(&value(1)), 1);
    read.handle(NodeId(2), Input::Stale, 1);
    assert_eq!(effects(&mut read), [Effect::Refresh]);
    read.handle(NodeId(3), digest(&value(1)), 2);
    assert!(!effects(&mut read).iter().any(|effect| matches!(effect, Effect::Answer(_))));
}
