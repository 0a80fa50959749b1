//! What is stored and sent, in bytes that are never edited; and what is neither a question nor an answer.

use std::sync::Arc;

use crate::base::codec;
use crate::base::codec::Blob;
use crate::base::codec::DecodeError;
use crate::base::id::NodeId;
use crate::base::limits::CONTROL_STATE_BYTES_MAX;
use crate::base::limits::CONTROL_WORD_BYTES_MAX;
use crate::control::consensus::Consensus;
use crate::control::group::Birth;
use crate::control::group::Group;
use crate::control::group::tests::begin;
use crate::control::group::tests::birth;
use crate::control::lane::Nobody;
use crate::control::log::record::Base;
use crate::control::log::record::Record;
use crate::control::snapshot;
use crate::control::types::Ballot;
use crate::control::types::Content;
use crate::control::types::Id;
use crate::control::types::Line;
use crate::control::types::Members;
use crate::control::types::Seated;
use crate::control::words::Answer;
use crate::control::words::Ask;
use crate::control::words::Proposed;
use crate::control::words::Question;
use crate::control::words::Reply;
use crate::proto::audit::By;
use crate::proto::audit::Via;
use crate::proto::control::Applied;
use crate::proto::control::Command;
use crate::proto::control::Refused;
use crate::proto::control::Session;
use crate::proto::control::State;
use crate::proto::control::User;
use crate::proto::scope::Scope;

const ID: Id = Id { term: 3, node: 2, index: 300 };
const BALLOT: Ballot = Ballot { term: 3, node: 2, committed: true };

fn members() -> Members {
    Members { voters: vec![[1, 2, 3].into(), [1, 2, 4].into()], learners: [3, 5].into() }
}

/// One record of each kind.
fn records() -> Vec<Record> {
    let line = |content| Record::Line(Line { id: ID, content });
    vec![
        line(Content::Blank),
        line(Content::Command(Box::new(Command::RemoveToken { id: 7 }))),
        line(Content::Members(members())),
        Record::Ballot(BALLOT),
        Record::Truncate { since: 9 },
        Record::Base(Base { purged: ID, ballot: Some(BALLOT), committed: None }),
        Record::Committed(ID),
    ]
}

const RECORDS: [&str; 7] = [
    "03000302ac020055fd1bdd",
    "03000302ac020105077f487e0c",
    "03000302ac0202020301020303010204020305d36be6ee",
    "03010302017326ae40",
    "030209a4c99282",
    "03030302ac020103020100daa68dd6",
    "03040302ac028dd8ee4d",
];

#[test]
fn a_record_is_stored_in_these_bytes() {
    let stored: Vec<String> = records().iter().map(|record| codec::hex(&record.seal())).collect();
    assert_eq!(stored, RECORDS);
    for record in records() {
        assert_eq!(Record::unseal(&record.seal()), Ok(record));
    }
}

/// A state with something of what snapshots were made for.
fn state() -> State {
    let mut state = State::default();
    let by = By { name: "ann".into(), via: Via::Session, from: None, at_ms: 5 };
    let user = User { password_hash: "x".into(), scopes: vec![Scope::Admin], made_ms: 1 };
    let session = Session { user: "ann".into(), made_ms: 1, expires_ms: 2 };
    for command in [Command::PutUser { name: "ann".into(), user }, Command::AddSession { key: [4; 32], session }] {
        let order = Command::Ordered { by: by.clone(), what: command.in_words(), command: Box::new(command) };
        state.apply(order).unwrap();
    }
    state
}

#[test]
fn a_snapshot_of_today_is_read_and_one_of_another_release_or_with_a_flipped_bit_is_refused() {
    let seated = Seated { id: Some(ID), members: members() };
    let bytes = snapshot::encode(Some(ID), &seated, &state());
    let read = snapshot::decode(&bytes).unwrap();
    assert_eq!((read.last, &read.seated, &read.state), (Some(ID), &seated, &state()));
    assert_eq!(read.state.access_audit.head().seq, 1);
    let tomorrow = codec::seal(snapshot::VERSION + 1, b"control snapshot", &(Some(ID), seated, state()));
    assert!(matches!(snapshot::decode(&tomorrow).err(), Some(DecodeError::Version { .. })));
    let mut flipped = bytes;
    flipped[20] ^= 1;
    assert_eq!(snapshot::decode(&flipped).err(), Some(DecodeError::Checksum));
}

const QUESTION: &str = "020203020507d15942ef";
const REPLY: &str = "020204010005746f6b656e01377588c1ab";

#[test]
fn a_question_and_its_answer_are_sent_in_these_bytes() {
    let ask = Ask::Propose(Blob(Command::RemoveToken { id: 7 }.to_bytes().into()));
    let question = Question { generation: 2, ask };
    let refused = Refused::NotFound { what: "token", name: "7".into() };
    let reply = Reply { generation: 2, answer: Answer::Proposed(Proposed::Refused(refused)) };
    assert_eq!((codec::hex(&question.seal()).as_str(), codec::hex(&reply.seal()).as_str()), (QUESTION, REPLY));
    assert_eq!(Question::unseal(&question.seal()), Some(question));
    assert_eq!(Reply::unseal(&reply.seal()), Some(reply), "also the words of a refusal are the same");
}

#[tokio::test]
async fn what_is_no_question_or_a_lie_is_refused_and_changes_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let on_poison = Box::new(|error: &_| panic!("{error}"));
    let opened = Group::open(dir.path(), NodeId(1), Birth::Found(birth(1)), Arc::new(Nobody), on_poison).await;
    let group = opened.unwrap().0;
    group.propose(begin()).await.unwrap();
    let before = (group.status().term, group.status().last);
    let says = async |body: Vec<u8>| Reply::unseal(&group.handle(NodeId(2), body).await).unwrap().answer;
    let unable = |answer: &Answer| matches!(answer, Answer::Unable(_));
    assert!(unable(&says(Vec::new()).await) && unable(&says(vec![7; 100]).await));
    assert!(unable(&says(vec![0; CONTROL_WORD_BYTES_MAX + 1]).await));
    let ask = async |ask: Ask| says(Question { generation: 0, ask }.seal()).await;
    // Nobody stands or leads for node 1 but itself.
    let own = Ballot { term: 9, node: 1, committed: true };
    assert!(unable(&ask(Ask::Vote { ballot: own, last: Some(ID) }).await));
    assert!(unable(&ask(Ask::StillLeads(own)).await));
    let ballot = Ballot { term: 9, node: 2, committed: true };
    let line = |index, members| Line { id: Id { index, ..ID }, content: Content::Members(members) };
    let append = |lines| Ask::Append { ballot, before: None, lines, committed: None };
    for lines in [
        vec![line(0, Members::default())],
        vec![line(0, Members { voters: vec![[1].into(), [].into()], learners: [].into() })],
        vec![line(0, Members { voters: vec![(0..1000).collect()], learners: [].into() })],
        vec![line(5, Members::sole(2))],
        vec![line(0, Members::sole(2)), line(2, Members::sole(2))],
    ] {
        assert!(unable(&ask(append(lines)).await));
    }
    let seated = Seated { id: Some(ID), members: Members::sole(2) };
    let piece = |last, offset| Ask::Piece {
        ballot,
        last,
        seated: seated.clone(),
        offset,
        bytes: codec::Blob(vec![0; 10].into()),
        done: true,
    };
    assert!(unable(&ask(piece(None, 0)).await));
    assert!(unable(&ask(piece(Some(ID), CONTROL_STATE_BYTES_MAX as u64)).await));
    assert!(unable(&ask(piece(Some(ID), u64::MAX)).await));
    assert_eq!((group.status().term, group.status().last), before);
    let proposed = ask(Ask::Propose(Blob(Command::Note.to_bytes().into()))).await;
    assert!(matches!(proposed, Answer::Proposed(Proposed::Done { applied: Applied::Noted, .. })), "{proposed:?}");
    group.close();
}

#[test]
fn a_command_keeps_the_number_that_it_is_stored_under() {
    let session = || Session { user: "ann".into(), made_ms: 1, expires_ms: 2 };
    let commands = [
        (14, Command::SetPassword { name: "ann".into(), password_hash: "x".into() }),
        (15, Command::SignIn { key: [4; 32], session: session(), password_hash: "x".into() }),
        (
            16,
            Command::ChangePassword {
                key: [4; 32],
                session: session(),
                proved_hash: "x".into(),
                password_hash: "y".into(),
            },
        ),
        (17, Command::NoteAccess),
    ];
    for (number, command) in commands {
        let sealed = codec::seal(1, b"control command", &command);
        assert_eq!(sealed[1], number, "{command:?}");
        assert_eq!(codec::unseal::<Command>(1, b"control command", &sealed), Ok(command));
    }
}
