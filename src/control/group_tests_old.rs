//! The sole voter on a real directory, and what earlier releases wrote.

use std::fs;
use std::path::Path;
use std::sync::mpsc;
use std::task::Poll;
use std::thread;
use std::time::Duration;

use super::Sole;
use super::replay;
use super::snapshot;
use crate::base::codec;
use crate::base::codec::DecodeError;
use crate::base::id::ClusterId;
use crate::base::id::NodeId;
use crate::control::consensus::Consensus;
use crate::control::consensus::Proposal;
use crate::proto::audit::By;
use crate::proto::audit::Log;
use crate::proto::audit::Via;
use crate::proto::bucket::Definition;
use crate::proto::control;
use crate::proto::control::Applied;
use crate::proto::control::Command;
use crate::proto::control::Session;
use crate::proto::control::State;
use crate::proto::control::Token;
use crate::proto::control::User;
use crate::proto::scope::Scope;
use crate::store::journal::recovery::Birth;

fn open(dir: &Path) -> Sole {
    let birth = Birth { cluster: ClusterId(5), node: NodeId(1), generation: 0, tag: 9 };
    Sole::open(dir, Some(birth), Box::new(|error| panic!("{error}"))).unwrap().0
}

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
    let put = |name: &str| Command::PutBucket { name: name.to_owned(), definition: Definition::default() };
    let sole = open(dir.path());
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
    assert_eq!(open(dir.path()).state(), before);
}

#[tokio::test]
async fn the_state_survives_restarts_and_snapshots() {
    let dir = tempfile::tempdir().unwrap();
    let sole = open(dir.path());
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
    let sole = open(dir.path());
    assert_eq!(sole.state(), before);
    assert!(sole.propose(Command::RemoveBucket { name: "b".into() }).await.is_err());
    sole.close();
}

/// Enough for a snapshot, in one command of which nothing but its own bytes is left.
fn many_columns(round: u32) -> Command {
    let columns = (0..1500).map(|i| format!("column {round} {i:040}")).collect();
    Command::SetColumns { bucket: "a".into(), columns }
}

/// Proposes commands until the first snapshot is on its way, and some for two more.
async fn fill(sole: &Sole) {
    let begin = control::Birth { cluster: ClusterId(5), node: NodeId(1), at_ms: 0, context_secret: [1; 32] };
    sole.propose(Command::Begin(begin)).await.unwrap();
    sole.propose(Command::PutBucket { name: "a".into(), definition: Definition::default() }).await.unwrap();
    for round in 0..30 {
        assert_eq!(sole.propose(many_columns(round)).await, Ok(Applied::Changed));
    }
}

#[test]
fn commands_go_on_while_a_snapshot_is_on_its_way_to_a_slow_disk_and_a_close_waits_for_it() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().to_owned();
    // A disk that takes nothing for now: who opens a pipe waits until somebody reads.
    let slow = path.join("snapshot.new");
    rustix::fs::mknodat(rustix::fs::CWD, &slow, rustix::fs::FileType::Fifo, 0o600.into(), 0).unwrap();
    let (told, hear) = mpsc::sync_channel(1);
    let commands = thread::spawn(move || {
        let sole = open(&path);
        tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(fill(&sole));
        told.send(()).unwrap();
        let before = sole.state();
        sole.close();
        told.send(()).unwrap();
        before
    });
    hear.recv_timeout(Duration::from_secs(60)).expect("a command waits for the snapshot of one before it");
    assert!(hear.recv_timeout(Duration::from_millis(50)).is_err(), "closed over a snapshot that was being written");
    let written = fs::read(&slow).unwrap();
    let before = commands.join().unwrap();
    // It is the state of its moment, and there was no second one beside it.
    let bytes = written;
    let written = snapshot::decode(&bytes).unwrap();
    let known: u32 = written.state.buckets["a"].columns[0].split(' ').nth(1).unwrap().parse().unwrap();
    // A group for each command, the first two no columns; and now and then a mark, where the journal had a rest.
    assert!(written.next_group >= u64::from(known) + 4);
    assert!(known < 29);
    // A pipe cannot be synced: it counted for nothing, and nothing is lost.
    assert!(!dir.path().join("snapshot").exists());
    let sole = open(dir.path());
    assert_eq!(sole.state(), before);
    sole.close();
    drop(sole);
    // Nor does it leave out or repeat what the groups behind it say.
    fs::remove_file(&slow).unwrap();
    fs::write(dir.path().join("snapshot"), bytes).unwrap();
    let sole = open(dir.path());
    assert_eq!(sole.state(), before);
    sole.close();
}

#[tokio::test]
async fn a_command_copies_only_what_it_changes() {
    let dir = tempfile::tempdir().unwrap();
    let sole = open(dir.path());
    fill(&sole).await;
    let user = User { password_hash: "x".into(), scopes: vec![Scope::Admin], made_ms: 1 };
    sole.propose(Command::PutUser { name: "ann".into(), user }).await.unwrap();
    let token = Token { name: "t".into(), hash: [2; 32], scopes: vec![], made_ms: 1, expires_ms: None };
    sole.propose(Command::AddToken(token)).await.unwrap();
    let before = sole.state();
    let session = Session { user: "ann".into(), made_ms: 1, expires_ms: 2 };
    sole.propose(Command::AddSession { key: [4; 32], session }).await.unwrap();
    let after = sole.state();
    assert!((before.sessions.len(), after.sessions.len()) == (0, 1), "a reader keeps what it read");
    assert!(std::ptr::eq(&before.buckets["a"], &after.buckets["a"]));
    assert!(std::ptr::eq(&before.tokens[&1], &after.tokens[&1]));
    assert!(std::ptr::eq(&before.tokens_by_hash[&[2; 32]], &after.tokens_by_hash[&[2; 32]]));
    assert!(std::ptr::eq(&before.users["ann"], &after.users["ann"]));
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

    let bytes = from_hex(FIRST_SNAPSHOT);
    let read = snapshot::decode(&bytes).unwrap();
    assert_eq!((read.next_group, read.state), (12, replayed));
    let mut flipped = bytes;
    flipped[20] ^= 1;
    assert_eq!(snapshot::decode(&flipped).err(), Some(DecodeError::Checksum));
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
    let bytes = snapshot::encode(3, &state);
    let read = snapshot::decode(&bytes).unwrap();
    assert_eq!((read.next_group, &read.state), (3, &state));
    assert_eq!(read.state.access_audit.head().seq, 1);
    let tomorrow = codec::seal(snapshot::VERSION + 1, snapshot::CONTEXT, &(3_u64, state));
    assert!(matches!(snapshot::decode(&tomorrow).err(), Some(DecodeError::Version { .. })));
}

/// What a release before the chain of access wrote behind [`FIRST_COMMANDS`]. Never edited.
const SECOND_COMMANDS: [&str; 3] = [
    "010d03616e6e0301000a010101abc1e8cc9f34117369676e7320696e2061732060616e6e600a040404040404040404040404\
     040404040404040404040404040404040404040403616e6e01d00f8d576381",
    "010d03616e6e0000abc1e8cc9f344573657473206275636b6574206063603a206b696e64207369626c696e67732c206e2033\
     2c207220322c207720322c2074746c206e6f6e652c20636c617373206e6f726d616c0101630003020200015d987b9a",
    "010d03616e6e020101fd000000000000000000000000000001abc1e8cc9f342473657473207768617420757365722060616e\
     6e60206d617920646f20746f2061646d696e0903616e6e0105d80718c2",
];

/// The snapshot that it wrote of all of them. Never edited.
const SECOND_SNAPSHOT: &str = "020c010501070101010101010101010101010101010101010101010101010101010101010101020162010003020200010201\
     7801790163030003020200010004010101740202020202020202020202020202020202020202020202020202020202020202\
     020005ac0201f0a20401020202020202020202020202020202020202020202020202020202020202020201030103616e6e0b\
     246172676f6e326964247801050901040404040404040404040404040404040404040404040404040404040404040403616e\
     6e01d00f000000000000000000000000000000000000000000000000000000000000000000030103616e6e0301000a010101\
     abc1e8cc9f34117369676e7320696e2061732060616e6e6000cf0b84fa1e3d5a6511c302d8aa79bba487e557cb8544d5096f\
     623c0a11405c340203616e6e0000abc1e8cc9f344573657473206275636b6574206063603a206b696e64207369626c696e67\
     732c206e20332c207220322c207720322c2074746c206e6f6e652c20636c617373206e6f726d616c000bcdb98748b3aa0170\
     66f8f6296b1ee17fbb8e7e892778ce1685dd35695dc61b0303616e6e020101fd000000000000000000000000000001abc1e8\
     cc9f342473657473207768617420757365722060616e6e60206d617920646f20746f2061646d696e01c13755d6d45fe5d6db\
     5f2534f1b91e334f2c6ec1dc3bd54760b4d8ef0056481a47341521";

#[test]
fn what_was_written_before_access_had_a_chain_of_its_own_is_read() {
    let commands = FIRST_COMMANDS.iter().chain(&SECOND_COMMANDS);
    let records: Vec<Vec<u8>> = commands.map(|text| from_hex(text)).collect();
    let mut replayed = State::default();
    replay(&mut replayed, &records.iter().map(Vec::as_slice).collect::<Vec<_>>()).unwrap();
    let snapshot = snapshot::decode(&from_hex(SECOND_SNAPSHOT)).unwrap();
    assert_eq!(snapshot.next_group, 12);
    // A replay knows which command an entry was of; the snapshot does not, and its second chain begins empty.
    let access: Vec<_> = replayed.access_audit.entries().map(|entry| (entry.seq, entry.what.as_str())).collect();
    assert_eq!(access, [(1, "sets what user `ann` may do to admin")]);
    assert_eq!((snapshot.state.access_audit.head().seq, snapshot.state.audit.head().seq), (0, 3));
    assert_eq!((snapshot.state.audit.verify(), replayed.access_audit.verify()), (Ok(()), Ok(())));
    assert_eq!(snapshot.state, State { access_audit: Log::default(), ..replayed });
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
        let sealed = codec::seal(super::VERSION, super::COMMAND_CONTEXT, &command);
        assert_eq!(sealed[1], number, "{command:?}");
        assert_eq!(codec::unseal::<Command>(super::VERSION, super::COMMAND_CONTEXT, &sealed), Ok(command));
    }
}
