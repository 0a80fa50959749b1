//! The sole voter on a real directory, and what earlier releases wrote.

use std::task::Poll;

use super::SNAPSHOT_CONTEXT;
use super::SNAPSHOT_VERSION;
use super::Snapshot;
use super::Sole;
use super::decode_snapshot;
use super::replay;
use crate::base::codec;
use crate::base::codec::DecodeError;
use crate::base::id::ClusterId;
use crate::base::id::NodeId;
use crate::control::consensus::Consensus;
use crate::control::consensus::Proposal;
use crate::proto::audit::By;
use crate::proto::audit::Via;
use crate::proto::bucket::Definition;
use crate::proto::control;
use crate::proto::control::Applied;
use crate::proto::control::Command;
use crate::proto::control::Session;
use crate::proto::control::State;
use crate::proto::control::User;
use crate::proto::scope::Scope;
use crate::store::journal::recovery::Birth;

/// As where a client goes away while its command is on its way to the disk.
async fn give_up_at_the_first_wait(proposal: Proposal<'_>) {
    let mut proposal = proposal;
    std::future::poll_fn(|context| {
        let _not_waited_for = proposal.as_mut().poll(context);
        Poll::Ready(())
    })
    .await;
}

#[tokio::test]
async fn a_command_whose_client_went_away_counts_for_every_later_one() {
    let dir = tempfile::tempdir().unwrap();
    let birth = Birth { cluster: ClusterId(5), node: NodeId(1), generation: 0, tag: 9 };
    let open = || Sole::open(dir.path(), Some(birth), Box::new(|error| panic!("{error}"))).unwrap().0;
    let put = |name: &str| Command::PutBucket { name: name.to_owned(), definition: Definition::default() };
    let sole = open();
    let begin = control::Birth { cluster: ClusterId(5), node: NodeId(1), at_ms: 0, context_secret: [1; 32] };
    sole.propose(Command::Begin(begin)).await.unwrap();
    give_up_at_the_first_wait(sole.propose(put("a"))).await;
    assert_eq!(sole.propose(put("b")).await, Ok(Applied::Made));
    give_up_at_the_first_wait(sole.propose(Command::RemoveBucket { name: "b".into() })).await;
    assert!(sole.propose(Command::RemoveBucket { name: "b".into() }).await.is_err(), "it is removed already");
    let before = sole.state();
    assert_eq!(before.buckets.keys().collect::<Vec<_>>(), ["a"]);
    sole.close();
    drop(sole);
    assert_eq!(open().state(), before);
}

#[tokio::test]
async fn the_state_survives_restarts_and_snapshots() {
    let dir = tempfile::tempdir().unwrap();
    let birth = Birth { cluster: ClusterId(5), node: NodeId(1), generation: 0, tag: 9 };
    let open = || Sole::open(dir.path(), Some(birth), Box::new(|error| panic!("{error}"))).unwrap().0;
    let sole = open();
    let begin = control::Birth { cluster: ClusterId(5), node: NodeId(1), at_ms: 0, context_secret: [1; 32] };
    sole.propose(Command::Begin(begin)).await.unwrap();
    // Large enough for several snapshots.
    for round in 0..200_u32 {
        let columns: Vec<_> = (0..200).map(|i| format!("column {round} {i:040}")).collect();
        let bucket = "a".to_owned();
        if round == 0 {
            let command = Command::PutBucket { name: bucket.clone(), definition: Definition::default() };
            assert_eq!(sole.propose(command).await, Ok(Applied::Made));
        }
        assert_eq!(sole.propose(Command::SetColumns { bucket, columns }).await, Ok(Applied::Changed));
    }
    let before = sole.state();
    sole.close();
    drop(sole);
    assert!(dir.path().join("snapshot").exists());
    let segments = std::fs::read_dir(dir.path()).unwrap().count();
    assert!(segments < 6, "the past is purged: {segments} files");
    let sole = open();
    assert_eq!(sole.state(), before);
    assert!(sole.propose(Command::RemoveBucket { name: "b".into() }).await.is_err());
    sole.close();
}

/// What the first release wrote: one command of each kind. Never edited.
const FIRST_COMMANDS: [&str; 11] = [
    "01000501070101010101010101010101010101010101010101010101010101010101010101cc59ea8a",
    "010101620003020200015c0444d9",
    "010301620201780179b8ffaea4",
    "010401740202020202020202020202020202020202020202020202020202020202020202020005ac0201f0a2045b2991ff",
    "010603616e6e0b246172676f6e326964247801020984ff7e0d",
    "010603626f620b246172676f6e32696424780102096aa6c00c",
    "010703626f6275011011",
    "01010163000302020001942847b1",
    "010201630829804c",
    "010401750303030303030303030303030303030303030303030303030303030303030303000100fa5fe66b",
    "0105026c8d8af9",
];

/// The snapshot that the first release wrote of them. Never edited.
const FIRST_SNAPSHOT: &str = "010c010501070101010101010101010101010101010101010101010101010101010101010101010162010003020200010201\
     78017903010101740202020202020202020202020202020202020202020202020202020202020202020005ac0201f0a20401\
     020202020202020202020202020202020202020202020202020202020202020201030103616e6e0b246172676f6e32696424\
     780102093b2eff3a";

fn from_hex(text: &str) -> Vec<u8> {
    text.as_bytes().chunks(2).map(|two| u8::from_str_radix(std::str::from_utf8(two).unwrap(), 16).unwrap()).collect()
}

#[test]
fn what_the_first_release_wrote_is_read() {
    let records: Vec<Vec<u8>> = FIRST_COMMANDS.iter().map(|text| from_hex(text)).collect();
    let mut replayed = State::default();
    replay(&mut replayed, &records.iter().map(Vec::as_slice).collect::<Vec<_>>()).unwrap();
    assert_eq!(replayed.birth.as_ref().map(|birth| (birth.cluster, birth.at_ms)), Some((ClusterId(5), 7)));
    assert_eq!(replayed.buckets["b"].columns, ["x", "y"]);
    assert_eq!((replayed.buckets.len(), replayed.next_bucket, replayed.next_token), (1, 3, 3));
    let token = replayed.token_with_hash(&[2; 32]).unwrap();
    let scopes = vec![Scope::DeviceRead, Scope::Admin];
    assert_eq!((token.name.as_str(), &token.scopes, token.expires_ms), ("t", &scopes, Some(70_000)));
    assert_eq!(replayed.users["ann"].password_hash, "$argon2id$x");
    assert_eq!((replayed.users.len(), replayed.sessions.len(), replayed.audit.head().seq), (1, 0, 0));

    let snapshot = from_hex(FIRST_SNAPSHOT);
    let read = decode_snapshot(&snapshot).unwrap();
    assert_eq!((read.next_group, read.state), (12, replayed));
    let mut flipped = snapshot;
    flipped[20] ^= 1;
    assert_eq!(decode_snapshot(&flipped).err(), Some(DecodeError::Checksum));
}

#[test]
fn a_snapshot_of_today_is_read_and_one_of_tomorrow_is_refused() {
    let mut state = State::default();
    let by = By { name: "ann".into(), via: Via::Session, from: None, at_ms: 5 };
    let user = User { password_hash: "x".into(), scopes: vec![Scope::Admin], made_ms: 1 };
    let session = Session { user: "ann".into(), made_ms: 1, expires_ms: 2 };
    for command in [Command::PutUser { name: "ann".into(), user }, Command::AddSession { key: [4; 32], session }] {
        let order = Command::Ordered { by: by.clone(), what: command.in_words(), command: Box::new(command) };
        state.apply(order).unwrap();
    }
    let snapshot = Snapshot { next_group: 3, state };
    let bytes = codec::seal(SNAPSHOT_VERSION, SNAPSHOT_CONTEXT, &snapshot);
    assert_eq!(decode_snapshot(&bytes).unwrap().state, snapshot.state);
    let tomorrow = codec::seal(SNAPSHOT_VERSION + 1, SNAPSHOT_CONTEXT, &snapshot);
    assert!(matches!(decode_snapshot(&tomorrow).err(), Some(DecodeError::Version { .. })));
}
