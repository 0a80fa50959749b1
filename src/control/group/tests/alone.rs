//! A node alone: what its group of one keeps through restarts, snapshots and slow disks.

use std::fs;
use std::path::Path;
use std::sync::Arc;
use std::sync::mpsc;
use std::task::Poll;
use std::thread;
use std::time::Duration;

use crate::base::id::NodeId;
use crate::control::consensus::Consensus;
use crate::control::consensus::Proposal;
use crate::control::group::Birth;
use crate::control::group::Group;
use crate::control::group::tests::begin;
use crate::control::group::tests::birth;
use crate::control::group::tests::put;
use crate::control::lane::Nobody;
use crate::control::refound;
use crate::control::snapshot;
use crate::proto::audit::By;
use crate::proto::audit::Via;
use crate::proto::control::Applied;
use crate::proto::control::Command;
use crate::proto::control::Session;
use crate::proto::control::Token;
use crate::proto::control::User;
use crate::proto::control::recovery::Recovery;
use crate::proto::scope::Scope;

async fn open(dir: &Path) -> Group {
    // Where one is there already, nothing is founded.
    let on_poison = Box::new(|error: &_| panic!("{error}"));
    Group::open(dir, NodeId(1), Birth::Found(birth(1)), Arc::new(Nobody), on_poison).await.unwrap().0
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
    let group = open(dir.path()).await;
    group.propose(begin()).await.unwrap();
    give_up_at_the_first_wait(group.propose(put("a"))).await;
    assert_eq!(group.propose(put("b")).await, Ok(Applied::Made));
    give_up_at_the_first_wait(group.propose(Command::RemoveBucket { name: "b".into() })).await;
    // Of two that are under way at once either may come first.
    let mut shown = group.watch();
    shown.wait_for(|view| view.state.buckets.keys().eq(["a"])).await.unwrap();
    assert!(group.propose(Command::RemoveBucket { name: "b".into() }).await.is_err(), "it is removed already");
    let before = group.state();
    assert_eq!(before.buckets.keys().collect::<Vec<_>>(), ["a"]);
    group.close();
    drop(group);
    assert_eq!(open(dir.path()).await.state(), before);
}

#[tokio::test]
async fn the_state_survives_restarts_and_snapshots() {
    let dir = tempfile::tempdir().unwrap();
    let group = open(dir.path()).await;
    group.propose(begin()).await.unwrap();
    // Large enough for several snapshots.
    for round in 0..200_u32 {
        let columns: Vec<_> = (0..200).map(|i| format!("column {round} {i:040}")).collect();
        let bucket = "a".to_owned();
        if round == 0 {
            assert_eq!(group.propose(put(bucket.clone())).await, Ok(Applied::Made));
        }
        assert_eq!(group.propose(Command::SetColumns { bucket, columns }).await, Ok(Applied::Changed));
    }
    let before = group.state();
    group.close();
    drop(group);
    assert!(dir.path().join("snapshot").exists());
    let segments = std::fs::read_dir(dir.path()).unwrap().count();
    assert!(segments < 6, "the past is purged: {segments} files");
    let group = open(dir.path()).await;
    assert_eq!(group.state(), before);
    assert!(group.propose(Command::RemoveBucket { name: "b".into() }).await.is_err());
    group.close();
}

/// Enough for a snapshot, in one command of which nothing but its own bytes is left.
fn many_columns(round: u32) -> Command {
    let columns = (0..1500).map(|i| format!("column {round} {i:040}")).collect();
    Command::SetColumns { bucket: "a".into(), columns }
}

/// Proposes commands until the first snapshot is on its way, and some for two more.
async fn fill(group: &Group) {
    group.propose(begin()).await.unwrap();
    group.propose(put("a")).await.unwrap();
    for round in 0..30 {
        assert_eq!(group.propose(many_columns(round)).await, Ok(Applied::Changed));
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
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let group = runtime.block_on(open(&path));
        runtime.block_on(fill(&group));
        told.send(()).unwrap();
        let before = group.state();
        group.close();
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
    // Behind who is in the group, its leader's first entry, and two commands without columns.
    assert_eq!(written.last.unwrap().index, u64::from(known) + 4);
    assert!(known < 29);
    // A pipe cannot be synced: it counted for nothing, and nothing is lost.
    assert!(!dir.path().join("snapshot").exists());
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let group = runtime.block_on(open(dir.path()));
    assert_eq!(group.state(), before);
    group.close();
    drop(group);
    // Nor does it leave out or repeat what the entries behind it say.
    fs::remove_file(&slow).unwrap();
    fs::write(dir.path().join("snapshot"), bytes).unwrap();
    let group = runtime.block_on(open(dir.path()));
    assert_eq!(group.state(), before);
    group.close();
}

#[tokio::test]
async fn a_command_copies_only_what_it_changes() {
    let dir = tempfile::tempdir().unwrap();
    let group = open(dir.path()).await;
    fill(&group).await;
    let user = User { password_hash: "x".into(), scopes: vec![Scope::Admin], made_ms: 1 };
    group.propose(Command::PutUser { name: "ann".into(), user }).await.unwrap();
    let token = Token { name: "t".into(), hash: [2; 32], scopes: vec![], made_ms: 1, expires_ms: None };
    group.propose(Command::AddToken(token)).await.unwrap();
    let before = group.state();
    let session = Session { user: "ann".into(), made_ms: 1, expires_ms: 2 };
    group.propose(Command::AddSession { key: [4; 32], session }).await.unwrap();
    let after = group.state();
    assert!((before.sessions.len(), after.sessions.len()) == (0, 1), "a reader keeps what it read");
    assert!(std::ptr::eq(&before.buckets["a"], &after.buckets["a"]));
    assert!(std::ptr::eq(&before.tokens[&1], &after.tokens[&1]));
    assert!(std::ptr::eq(&before.tokens_by_hash[&[2; 32]], &after.tokens_by_hash[&[2; 32]]));
    assert!(std::ptr::eq(&before.users["ann"], &after.users["ann"]));
    group.close();
}

#[tokio::test]
async fn a_damaged_snapshot_is_named_and_no_number_that_was_in_it_is_given_again() {
    let base = tempfile::tempdir().unwrap();
    let dir = base.path().join("control");
    fs::create_dir(&dir).unwrap();
    let group = open(&dir).await;
    group.propose(begin()).await.unwrap();
    group.propose(put("a")).await.unwrap();
    group.propose(put("b")).await.unwrap();
    let before = group.state();
    group.close();
    drop(group);
    // All of it is in a snapshot, and of the log nothing is left.
    let by = By { name: "local owner".to_owned(), via: Via::Local, from: None, at_ms: 7 };
    let recovery = Recovery { generation: 1, lost: [].into(), by };
    refound::recover(&dir, &base.path().join("aside-1"), NodeId(1), recovery).unwrap();
    let path = dir.join(snapshot::NAME);
    let mut bytes = fs::read(&path).unwrap();
    bytes[9] ^= 1;
    fs::write(&path, bytes).unwrap();
    let lost = refound::accept_loss(&dir, &base.path().join("aside-2"), NodeId(1), birth(1)).unwrap();
    assert!(lost.iter().any(|lost| lost.contains("snapshot")), "{lost:?}");
    let group = open(&dir).await;
    let state = group.state();
    assert_eq!(state.birth.as_ref().map(|birth| birth.cluster), before.birth.as_ref().map(|birth| birth.cluster));
    assert!(state.layout.version > before.layout.version, "what the node adopted is behind this");
    assert!(state.next_bucket > before.next_bucket && state.next_token > before.next_token);
    group.propose(put("c")).await.unwrap();
    let next = group.state().buckets["c"].id;
    assert!(before.buckets.values().all(|bucket| bucket.id < next), "{next:?}");
}
