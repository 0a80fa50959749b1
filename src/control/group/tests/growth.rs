//! From one node to several, through restarts of all, and from a survivor on.

use std::time::Duration;

use crate::base::codec::Blob;
use crate::base::id::NodeId;
use crate::base::limits::CONTROL_LEASE;
use crate::base::time;
use crate::control::consensus::Consensus;
use crate::control::consensus::ProposeError;
use crate::control::group::Birth;
use crate::control::group::tests::Cluster;
use crate::control::group::tests::birth;
use crate::control::group::tests::eventually;
use crate::control::group::tests::names;
use crate::control::group::tests::put;
use crate::control::refound;
use crate::control::words::Answer;
use crate::control::words::Ask;
use crate::control::words::Proposed;
use crate::control::words::Question;
use crate::control::words::Reply;
use crate::control::words::Role;
use crate::proto::audit::By;
use crate::proto::audit::Via;
use crate::proto::control::Applied;
use crate::proto::control::Command;
use crate::proto::control::Refused;
use crate::proto::control::members::Announcement;
use crate::proto::control::members::Change;
use crate::proto::control::recovery::Recovery;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_lone_directory_grows_to_three_and_every_node_takes_commands_before_and_after_a_restart_of_all() {
    let mut cluster = Cluster::of_one().await;
    cluster.node(1).propose(put("alone")).await.unwrap();
    cluster.restart(1).await;
    cluster.start(2, Birth::Join(birth(2))).await;
    cluster.seat(&[1, 2]).await;
    let second = cluster.node(2);
    eventually("its copy", || second.state().buckets.contains_key("alone").then_some(())).await;
    assert_eq!((second.status().role, second.voters()), (Role::Learner, vec![NodeId(1)]));
    assert_eq!(second.propose(put("by a learner")).await, Err(bad_name()));
    assert_eq!(second.propose(put("by-a-learner")).await, Ok(Applied::Made));
    assert!(second.state().buckets.contains_key("by-a-learner"), "shown where it was given");
    cluster.start(3, Birth::Join(birth(3))).await;
    cluster.seat(&[1, 2, 3]).await;
    for node in 1..=3 {
        let group = cluster.node(node);
        assert_eq!(group.propose(put(format!("by-{node}"))).await, Ok(Applied::Made));
        assert_eq!(group.propose(put(format!("by-{node}"))).await, Ok(Applied::Unchanged));
        assert_eq!(names(&group.state()).len(), 2 + usize::try_from(node).unwrap());
        let missing = Refused::NotFound { what: "bucket", name: "none".into() };
        let removal = Command::RemoveBucket { name: "none".into() };
        assert_eq!(group.propose(removal).await, Err(ProposeError::Refused(missing)));
        group.catch_up().await.unwrap();
        eventually("contact", || group.contact().filter(|age| *age < Duration::from_secs(2))).await;
    }
    let before = cluster.agree().await;
    for node in 1..=3 {
        cluster.kill(node).await;
    }
    for node in 1..=3 {
        cluster.start(node, Birth::Known).await;
    }
    cluster.leader().await;
    assert_eq!(cluster.node(2).propose(put("after")).await, Ok(Applied::Made));
    let after = cluster.agree().await;
    assert_eq!(names(&after).len(), names(&before).len() + 1);
    cluster.close();
}

fn bad_name() -> ProposeError {
    let error = crate::proto::key::check_bucket_name("by a learner").unwrap_err();
    ProposeError::Refused(Refused::BadName(error.to_string()))
}

#[tokio::test]
async fn a_sole_voter_stands_at_once_and_has_its_state_when_it_is_open() {
    let mut cluster = Cluster::of_one().await;
    cluster.node(1).propose(put("a")).await.unwrap();
    let before = cluster.node(1).state();
    cluster.kill(1).await;
    let began = time::mono();
    let group = cluster.start(1, Birth::Known).await;
    assert_eq!(group.state(), before);
    assert_eq!(group.contact(), Some(Duration::ZERO));
    let term = group.status().term;
    cluster.kill(1).await;
    // Its vote of that life is not for a lead: it must stand, and does so at once.
    let aside = cluster.dirs[&1].path().join("aside");
    refound::recover(&cluster.dir(1), &aside, NodeId(1), recovery(1, &[])).unwrap();
    let group = cluster.start(1, Birth::Known).await;
    assert!(group.status().term > term && group.status().role == Role::Leader);
    assert!(began.elapsed() < 2 * CONTROL_LEASE, "it waited for somebody: {:?}", began.elapsed());
    cluster.close();
}

fn recovery(generation: u64, lost: &[u64]) -> Recovery {
    let by = By { name: "local owner".to_owned(), via: Via::Local, from: None, at_ms: 7 };
    Recovery { generation, lost: lost.iter().copied().map(NodeId).collect(), by }
}

/// Enough for a snapshot, in a few commands of which nothing but their own bytes is left.
async fn fill(cluster: &Cluster, node: u64) {
    cluster.node(node).propose(put("a")).await.unwrap();
    for round in 0..20 {
        let columns = (0..1500).map(|i| format!("column {round} {i:040}")).collect();
        let command = Command::SetColumns { bucket: "a".into(), columns };
        assert_eq!(cluster.node(node).propose(command).await, Ok(Applied::Changed));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_lacks_what_is_purged_takes_a_snapshot_and_keeps_it() {
    let mut cluster = Cluster::of_one().await;
    fill(&cluster, 1).await;
    for round in 0..100 {
        cluster.node(1).propose(put(format!("b{round}"))).await.unwrap();
    }
    fill(&cluster, 1).await;
    let first = cluster.node(1);
    eventually("a purge", || first.0.metrics().purged).await;
    cluster.start(2, Birth::Join(birth(2))).await;
    cluster.seat(&[1, 2]).await;
    let (second, state) = (cluster.node(2), cluster.node(1).state());
    eventually("its copy", || (second.state() == state).then_some(())).await;
    assert!(second.0.metrics().snapshot.is_some());
    drop(second);
    // What it took is what it starts from, also where nobody is there.
    cluster.isolate(2);
    let second = cluster.restart(2).await;
    assert!(second.state().buckets.contains_key("b99"));
    cluster.close();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn after_two_of_three_voters_are_lost_a_survivor_goes_on_and_what_is_old_counts_no_more() {
    let mut cluster = Cluster::of(3).await;
    cluster.start(4, Birth::Join(birth(4))).await;
    cluster.seat(&[1, 2, 3, 4]).await;
    let survivor = if cluster.leader().await == 3 { 2 } else { 3 };
    cluster.node(survivor).propose(put("kept")).await.unwrap();
    cluster.agree().await;
    // A learner knows more than the survivor.
    cluster.isolate(survivor);
    cluster.node(4).propose(put("only-elsewhere")).await.unwrap();
    let knows_more = cluster.node(4).status().last;
    for node in 1..=3 {
        cluster.kill(node).await;
    }
    cluster.heal();
    let dir = cluster.dir(survivor);
    let known = refound::known(&dir).unwrap();
    assert!(known.last < knows_more && known.state.generation == 0, "whoever asks can tell");
    assert_eq!(known.members.voters, [[1, 2, 3].into()]);
    assert!(known.committed <= known.last && known.committed.is_some());
    let aside = cluster.dirs[&survivor].path().join("aside");
    assert!(refound::recover(&dir, &aside, NodeId(survivor), recovery(0, &[])).is_err(), "that generation has begun");
    refound::recover(&dir, &aside, NodeId(survivor), recovery(7, &[])).unwrap();
    let group = cluster.start(survivor, Birth::Known).await;
    assert_eq!((group.voters(), group.state().generation), (vec![NodeId(survivor)], 7));
    assert_eq!(group.propose(put("after")).await, Ok(Applied::Made));
    let asked = group.status_of(NodeId(4), Duration::from_secs(5)).await;
    assert!(asked.is_err(), "what it says is of an old generation");
    // The learner is taken in again, and gives up what only it knew.
    cluster.seat(&[survivor, 4]).await;
    let state = cluster.agree().await;
    assert_eq!((names(&state), state.generation), (vec!["after", "kept"], 7));
    let asked = group.status_of(NodeId(4), Duration::from_secs(5)).await.unwrap();
    assert_eq!((asked.generation, asked.role), (7, Role::Learner));
    // A lost voter that turns up is not heard, whatever it says.
    for ask in [Ask::Status, Ask::HearLeader { last: knows_more }, Ask::Propose(Blob(put("old").to_bytes().into()))] {
        let question = Question { generation: 6, ask }.seal();
        let reply = Reply::unseal(&group.handle(NodeId(1), question).await).unwrap();
        assert_eq!((reply.answer, reply.generation), (Answer::Over, 7));
    }
    let lost = (1..=3).find(|node| *node != survivor).unwrap();
    cluster.start(lost, Birth::Known).await;
    assert!(cluster.node(lost).propose(put("old")).await.is_err());
    assert!(!group.state().buckets.contains_key("old"));
    cluster.close();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_speaks_for_itself_only() {
    let cluster = Cluster::of_one().await;
    let (leader, me) = (cluster.node(1), NodeId(1));
    let by = By { name: "ann".into(), via: Via::Token, from: None, at_ms: 1 };
    let announcement = Announcement { addresses: vec!["a:1".into()], url: None, release: "9.9.9".into(), name: None };
    let report = Command::Cluster(Change::Report { node: me, adopted: 1, synced: Vec::new() });
    let lost = Command::Cluster(Change::Lost { node: me });
    let announce = Command::Cluster(Change::Announce { node: me, announcement });
    let ordered = |command: &Command| Command::Ordered {
        by: by.clone(),
        what: "does it".into(),
        command: Box::new(command.clone()),
    };
    let give = async |command: &Command, from: NodeId| {
        let question = Question { generation: 0, ask: Ask::Propose(Blob(command.to_bytes().into())) }.seal();
        Reply::unseal(&leader.handle(from, question).await).unwrap().answer
    };
    let before = leader.state();
    for command in [&report, &ordered(&report), &lost, &announce] {
        let refused = Answer::Proposed(Proposed::Unavailable("a node speaks for itself only".into()));
        assert_eq!(give(command, NodeId(2)).await, refused, "{command:?}");
    }
    assert_eq!(leader.state(), before);
    // Of itself it may, an admin may through any node, and what is no word of a node may come from anywhere.
    for (command, from) in [(&report, me), (&announce, me), (&ordered(&lost), NodeId(2)), (&put("b"), NodeId(2))] {
        let answer = give(command, from).await;
        assert!(matches!(answer, Answer::Proposed(Proposed::Done { .. })), "{command:?}: {answer:?}");
    }
    assert_eq!(leader.state().member(me).unwrap().release, "9.9.9");
    cluster.close();
}
