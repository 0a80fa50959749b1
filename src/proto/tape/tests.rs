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
use crate::proto::exchange;
use crate::proto::forward;
use crate::proto::forward::Forward;
use crate::proto::handoff::Effect;
use crate::proto::handoff::Here;
use crate::proto::handoff::Pull;
use crate::proto::merkle::Tree;
use crate::proto::object::Content;
use crate::proto::object::Object;
use crate::proto::object::Sibling;
use crate::proto::object::Stamp;
use crate::proto::purge;
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
use crate::proto::tape::compare::TapedCompare;
use crate::proto::tape::pull::TapedPull;
use crate::proto::tape::purge::TapedPurge;
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

/// Places whose bytes must not be on a tape.
fn place(number: u32) -> String {
    format!("secret key {number:05}")
}

fn has_no_place(tape: &Tape) {
    let bytes = tape.clone().encode().unwrap();
    assert!(!bytes.windows(6).any(|window| window == b"secret"), "{tape:?}");
}

#[test]
fn a_pull_is_run_again_a_few_pages_at_a_time_and_without_its_places() {
    let sources = vec![NodeId(1), NodeId(2), NodeId(3)];
    let mut pull = TapedPull::new(Pull::<String>::new(NodeId(9), sources, Here::Nothing));
    let (mut tapes, mut now_ms, mut pages, mut merged) = (Vec::new(), 0, 0, 0);
    pull.go_on(now_ms);
    while merged < 2 {
        now_ms += 7;
        tapes.extend(pull.take_full());
        let last = Some(place(pages));
        match pull.poll_effect() {
            Some(Effect::AskObjects { question, .. }) => {
                pages += 1;
                pull.objects(question, 3, last, pages < 20, now_ms);
                pull.stored(question, 3, now_ms + 1);
            }
            Some(Effect::AskDigests { question, .. }) if pages < 23 => {
                pages += 1;
                pull.digests(question, vec![place(1), place(2)], last, true, now_ms);
            }
            // The first of the others fails in the middle.
            Some(Effect::AskDigests { question, .. }) if pages == 23 => {
                pages += 1;
                pull.refused(question, now_ms);
            }
            Some(Effect::AskDigests { question, .. }) => pull.digests(question, Vec::new(), last, false, now_ms),
            Some(Effect::AskThese { question, .. }) => pull.objects(question, 0, None, false, now_ms),
            Some(Effect::Merged { .. }) => {
                merged += 1;
                pull.go_on(now_ms);
            }
            None => pull.handle_timeout(now_ms + 5_000),
        }
    }
    tapes.extend(pull.into_tape());
    assert!(tapes.len() >= 4, "{}", tapes.len());
    for tape in &tapes {
        let replay = travelled(tape).replay();
        assert_eq!(replay.differs, None, "{replay:#?}");
        assert!(!replay.lines.last().unwrap().contains("not kept"), "whole: {replay:#?}");
        has_no_place(tape);
    }
    let Tape::Pull(mut reel) = tapes.swap_remove(1) else { panic!() };
    reel.steps.truncate(reel.steps.len() - 1);
    assert!(Tape::Pull(reel).replay().differs.is_some(), "a step less comes to another end");
}

#[test]
fn a_pull_of_nothing_is_run_again_as_well() {
    let mut pull = TapedPull::new(Pull::<String>::new(NodeId(9), vec![NodeId(1)], Here::Nothing));
    pull.handle_timeout(1);
    let Some(Effect::AskObjects { question, .. }) = pull.poll_effect() else { panic!() };
    pull.objects(question, 0, None, false, 2);
    pull.stored(question, 0, 2);
    assert_eq!(pull.poll_effect(), Some(Effect::Merged { from: NodeId(1) }));
    assert_eq!(pull.into_tape().unwrap().replay().differs, None);
}

#[test]
fn a_comparison_is_run_again_with_what_differed_and_how() {
    let mut core = TapedCompare::<String>::begin(0);
    let held = |numbers: &[u32], print: u64| numbers.iter().map(|at| (place(*at), print)).collect::<Vec<_>>();
    let mut told = Vec::new();
    loop {
        match core.poll_effect() {
            Some(exchange::Effect::AskLeaves { question }) => {
                let mut leaves = Tree::default();
                leaves.add(b"x", 1);
                core.leaves(question, leaves.differing(&Tree::default()), 1);
            }
            Some(exchange::Effect::AskDigests { question, after: None, .. }) => {
                // 1 here only, 2 on both, 3 the same, 4 and 5 there only.
                core.digests(
                    question,
                    held(&[1, 2, 3], 1),
                    [held(&[2], 2), held(&[3], 1), held(&[4, 5], 2)].concat(),
                    Some(place(5)),
                    2,
                );
            }
            Some(exchange::Effect::AskDigests { question, .. }) => {
                core.digests(question, held(&[7], 1), held(&[8], 2), None, 3)
            }
            Some(exchange::Effect::LookAgain { question, places }) => {
                assert_eq!(places.len(), 6);
                let pairs: std::collections::BTreeMap<_, _> = core
                    .core()
                    .suspects()
                    .map(|(place, pair)| (place.clone(), *pair))
                    .filter(|(at, _)| *at != place(4))
                    .collect();
                core.looked_again(question, &pairs, 2_010);
            }
            Some(exchange::Effect::Bring { question, places }) => {
                told.push(places.len());
                core.brought(question, 2, 2_020);
            }
            Some(exchange::Effect::Send { question, places }) => {
                told.push(places.len());
                core.sent(question, places.len(), 2_030);
            }
            None if core.core().has_ended() => break,
            None => core.handle_timeout(2_005),
        }
    }
    assert_eq!(told, [3, 3], "2, 5 and 8 there, 1, 2 and 7 here");
    let (tape, outcome) = core.into_tape();
    assert_eq!(outcome.map(|ended| (ended.differing, ended.brought, ended.sent)), Some((5, 2, 3)));
    has_no_place(&tape);
    let replay = travelled(&tape).replay();
    assert_eq!(replay.differs, None, "{replay:#?}");
    let Tape::Compare(mut reel) = tape else { panic!() };
    reel.steps.retain(|step| !matches!(step, tape::compare::Step::LookedAgain(..)));
    assert!(Tape::Compare(reel).replay().differs.is_some());
}

#[test]
fn a_purge_is_run_again_with_who_agreed_about_which_graves() {
    let others = [1, 2].map(NodeId).into_iter().collect::<BTreeSet<_>>();
    let graves: Vec<_> = (0..300).map(|at| (place(at), u64::from(at))).collect();
    let mut core = TapedPurge::begin(others, 7, graves, 0);
    let mut removed = None;
    let mut asked = Vec::new();
    while !core.core().has_ended() {
        match core.poll_effect() {
            Some(purge::Effect::Ask { to, graves, .. }) => asked.push((to, graves.len())),
            Some(purge::Effect::Raise { .. }) => core.raised(6),
            Some(purge::Effect::Remove { graves }) => removed = Some(graves.len()),
            Some(purge::Effect::Tell { to, .. }) => asked.push((to, 0)),
            None => match asked.pop() {
                Some((to, 0)) => core.removed(to),
                Some((to, graves)) => {
                    let agreed: Vec<bool> = (0..graves).map(|at| at % 100 != 7).collect();
                    core.agreed(to, &agreed, 5);
                }
                None => panic!("nobody is asked"),
            },
        }
    }
    assert_eq!(removed, Some(297));
    let tape = core.into_tape();
    has_no_place(&tape);
    assert_eq!(travelled(&tape).replay().differs, None);
    let Tape::Purge(mut reel) = tape else { panic!() };
    reel.steps.retain(|step| !matches!(step, tape::purge::Step::Raised(_)));
    assert!(Tape::Purge(reel).replay().differs.is_some());
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
