//! Tapes that are run again, shortened, and kept without values.

use std::collections::BTreeSet;
use std::sync::Arc;

use crate::base::codec::Blob;
use crate::base::id::NodeId;
use crate::base::limits::RECORDER_TAPE_BYTES_MAX;
use crate::base::limits::TAPE_STEPS_MAX;
use crate::proto::bucket::Kind;
use crate::proto::campaign::Campaign;
use crate::proto::causal::Actor;
use crate::proto::causal::Context;
use crate::proto::causal::Dot;
use crate::proto::forward;
use crate::proto::forward::Forward;
use crate::proto::object::Content;
use crate::proto::object::Object;
use crate::proto::object::Sibling;
use crate::proto::object::Stamp;
use crate::proto::quorum::Quorum;
use crate::proto::quorum::read::Read;
use crate::proto::quorum::write;
use crate::proto::quorum::write::Write;
use crate::proto::tape;
use crate::proto::tape::Core;
use crate::proto::tape::Tape;
use crate::proto::tape::Taped;
use crate::proto::tape::campaign::Moment;
use crate::proto::tape::campaign::Told;
use crate::proto::tape::read::Heard;

fn two_of_three() -> Quorum {
    Quorum { owners: [1, 2, 3].map(NodeId).to_vec(), need: 2 }
}

fn object(counter: u64, body: &'static str) -> Arc<Object> {
    let dot = Dot { actor: Actor { node: NodeId(1), incarnation: crate::base::id::Incarnation(7) }, counter };
    let content = Content::Value { content_type: "text/plain".into(), body: Blob(body.into()) };
    let sibling = Sibling { dot, stamp: Stamp(counter), expires_ms: None, content };
    let mut context = Context::new();
    context.add(dot);
    Arc::new(Object { context, siblings: vec![sibling], ops: Vec::new() })
}

fn run<C: Core>(taped: &mut Taped<C>, steps: impl IntoIterator<Item = C::Step>) {
    while taped.poll_effect().is_some() {}
    for step in steps {
        taped.tell(step);
        while taped.poll_effect().is_some() {}
    }
}

/// Through the form in which a tape is kept.
fn travelled(tape: &Tape) -> Tape {
    Tape::decode(&tape.clone().encode().unwrap()).unwrap()
}

fn a_write(answers: &[(u64, write::Input)]) -> Tape {
    let begin = tape::write::Begin {
        me: NodeId(1),
        rules: vec![two_of_three()],
        wins: None,
        now_ms: 100,
        deadline_ms: 5_100,
        object: object(1, "secret"),
    };
    let mut taped = Taped::<Write>::new(begin);
    let heard = |(from, input): &(u64, write::Input)| tape::write::Step::Heard(101, NodeId(*from), *input);
    run(&mut taped, answers.iter().map(heard));
    Tape::Write(taped.reel().clone())
}

#[test]
fn a_write_that_is_run_again_ends_as_it_ended_then() {
    let held = write::Input::Held { round: 0, top: None };
    for (answers, word) in [
        (vec![(1, held), (3, held)], "ok by [NodeId(1), NodeId(3)]"),
        (vec![(1, held), (2, write::Input::Refused), (3, write::Input::Refused)], "unknown, held by [NodeId(1)]"),
    ] {
        let replay = travelled(&a_write(&answers)).replay();
        assert_eq!(replay.differs, None, "{replay:#?}");
        assert!(replay.lines.iter().any(|line| line.contains("Send")), "{replay:#?}");
        let Tape::Write(reel) = a_write(&answers) else { panic!() };
        assert_eq!(reel.end.map(|(_, word)| word), Some(word.to_owned()));
    }
}

#[test]
fn what_was_written_down_wrong_is_noticed() {
    let held = write::Input::Held { round: 0, top: None };
    let Tape::Write(mut reel) = a_write(&[(1, held), (3, held)]) else { panic!() };
    reel.end = Some((1, "ok by [NodeId(1)]".to_owned()));
    assert!(Tape::Write(reel).replay().differs.is_some(), "an ack of one owner where two are needed");
}

#[test]
fn no_value_is_on_a_tape() {
    let begin = tape::read::Begin {
        kind: Kind::Siblings,
        read: two_of_three(),
        settle: vec![two_of_three()],
        now_ms: 0,
        deadline_ms: 5_000,
    };
    let mut taped = Taped::<Read>::new(begin);
    let found = object(1, "a value nobody may see");
    let context = found.context.clone();
    run(
        &mut taped,
        [
            tape::read::Step::Heard(1, NodeId(1), Heard::Object(Some(found))),
            tape::read::Step::Heard(2, NodeId(2), Heard::Digest(Some(context))),
        ],
    );
    let tape = Tape::Read(taped.reel().clone());
    let bytes = postcard::to_stdvec(&tape).unwrap();
    assert!(!bytes.windows(7).any(|window| window == b"a value"), "in the bytes");
    let again = travelled(&tape);
    let replay = again.replay();
    assert_eq!(replay.differs, None, "{replay:#?}");
    assert_eq!(taped.reel().end, Some((2, "1 values".to_owned())));
    let written = a_write(&[]);
    let bytes = postcard::to_stdvec(&written).unwrap();
    assert!(!bytes.windows(6).any(|window| window == b"secret"), "in a write's bytes");
}

#[test]
fn a_forward_is_run_again_with_its_silences() {
    let begin = tape::forward::Begin { owners: vec![NodeId(2), NodeId(3)], now_ms: 0, deadline_ms: 1_000 };
    let mut taped = Taped::<Forward>::new(begin);
    run(
        &mut taped,
        [tape::forward::Step::Waited(100), tape::forward::Step::Heard(110, NodeId(3), forward::Input::NotDone)],
    );
    let tape = Tape::Forward(taped.reel().clone());
    assert_eq!(taped.reel().end, Some((2, "given up, perhaps done".to_owned())));
    assert_eq!(travelled(&tape).replay().differs, None);
}

#[test]
fn steps_beyond_the_limit_are_counted_and_nothing_is_said_about_the_end() {
    let begin = tape::forward::Begin { owners: vec![NodeId(2)], now_ms: 0, deadline_ms: 1_000 };
    let mut taped = Taped::<Forward>::new(begin);
    let deaf = tape::forward::Step::Heard(1, NodeId(9), forward::Input::Received);
    run(&mut taped, std::iter::repeat_n(deaf, TAPE_STEPS_MAX + 5));
    assert_eq!((taped.reel().steps.len(), taped.reel().left_out), (TAPE_STEPS_MAX, 5));
    let replay = Tape::Forward(taped.reel().clone()).replay();
    assert!(replay.differs.is_none() && replay.lines.last().unwrap().contains("5 more"), "{replay:?}");
}

#[test]
fn each_step_of_a_campaign_stands_for_itself_and_idle_looks_are_left_out() {
    const LEASE: u64 = 750;
    let voters: Vec<BTreeSet<NodeId>> = vec![[1, 2, 3].map(NodeId).into()];
    let mut campaign = Campaign::new(NodeId(1), LEASE, 0, 0);
    assert!(Moment::of(&mut campaign, Told::Tick(voters.clone()), LEASE - 1, 0).1.is_none());
    let (asks, moment) = Moment::of(&mut campaign, Told::Tick(voters.clone()), LEASE, 5);
    assert!(asks.is_some());
    assert!(Moment::of(&mut campaign.clone(), Told::Heard, LEASE, 0).1.is_some(), "it ends an attempt");
    let (elects, second) = Moment::of(&mut campaign, Told::HearsNone(NodeId(2), 1, voters), LEASE + 1, 6);
    assert!(elects.is_some());
    for moment in [moment, second] {
        let tape = travelled(&Tape::Campaign(Box::new(moment.unwrap())));
        assert_eq!(tape.replay().differs, None);
        let Tape::Campaign(mut moment) = tape else { panic!() };
        moment.wanted = None;
        assert!(moment.replay().differs.is_some());
    }
}

#[test]
fn a_tape_that_is_too_long_loses_its_last_steps_and_says_so() {
    let begin = tape::forward::Begin { owners: vec![NodeId(2)], now_ms: 0, deadline_ms: 1_000 };
    let mut taped = Taped::<Forward>::new(begin);
    let deaf = tape::forward::Step::Heard(u64::MAX, NodeId(u64::MAX), forward::Input::Received);
    run(&mut taped, std::iter::repeat_n(deaf, TAPE_STEPS_MAX));
    let bytes = Tape::Forward(taped.into_reel()).encode().unwrap();
    assert!(bytes.len() <= RECORDER_TAPE_BYTES_MAX);
    let Tape::Forward(reel) = Tape::decode(&bytes).unwrap() else { panic!() };
    assert!((1..TAPE_STEPS_MAX).contains(&reel.steps.len()));
    assert_eq!(reel.steps.len() + reel.left_out as usize, TAPE_STEPS_MAX);
    assert!(Tape::decode(&bytes[1..]).is_err() && Tape::decode(&[]).is_err());
}

#[test]
fn a_tape_costs_little_beside_a_request() {
    let held = write::Input::Held { round: 0, top: None };
    let begun = crate::base::time::mono();
    let count = 20_000_u32;
    for _ in 0..count {
        let tape = a_write(&[(1, held), (3, held), (2, held)]);
        assert!(tape.encode().is_some());
    }
    let each = begun.elapsed() / count;
    println!("a write of three owners, run and its tape made: {each:?}");
    assert!(each.as_micros() < 200, "{each:?}: even on a busy machine, built without optimisation");
}
