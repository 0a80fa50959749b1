//! Splits, frozen leaders, lanes that carry one way, and processes that are killed: one history.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::sync::atomic::Ordering;
use std::time::Duration;

use crate::base::id::NodeId;
use crate::base::limits::CONTROL_LEASE;
use crate::base::time;
use crate::control::consensus::Consensus;
use crate::control::consensus::ProposeError;
use crate::control::group::Birth;
use crate::control::group::Group;
use crate::control::group::spawn;
use crate::control::group::tests::Cluster;
use crate::control::group::tests::Net;
use crate::control::group::tests::birth;
use crate::control::group::tests::eventually;
use crate::control::group::tests::is_refusal;
use crate::control::group::tests::names;
use crate::control::group::tests::put;
use crate::control::lane::Nobody;
use crate::control::types::Ballot;
use crate::control::words::Ask;
use crate::control::words::Question;
use crate::proto::control::Applied;
use crate::store::journal::JournalError;

type Outcomes = BTreeMap<String, Result<Applied, ProposeError>>;

/// Gives commands to one node after the other until it is told to stop; what each was told.
async fn write(net: Arc<Net>, writer: u64, stop: Arc<AtomicBool>) -> Outcomes {
    let mut outcomes = Outcomes::new();
    for round in 0.. {
        if stop.load(Ordering::Relaxed) {
            break;
        }
        let Some(group) = net.node(1 + (writer + round) % 3) else {
            tokio::task::yield_now().await;
            continue;
        };
        let name = format!("w{writer}-{round}");
        let outcome = group.propose(put(name.clone())).await;
        outcomes.insert(name, outcome);
    }
    outcomes
}

/// Some more commands are committed, by whoever can.
async fn goes_on(cluster: &Cluster, from: &[u64]) {
    let groups: Vec<_> = from.iter().map(|node| cluster.node(*node)).collect();
    let before = groups.iter().map(|group| group.watch().borrow().next).max().unwrap();
    eventually("more commands", || groups.iter().all(|it| it.watch().borrow().next > before + 5).then_some(())).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn there_is_one_history_through_splits_kills_frozen_leaders_and_one_way_lanes() {
    let mut cluster = Cluster::of(3).await;
    let stop = Arc::new(AtomicBool::new(false));
    let writers: Vec<_> = (0..3)
        .map(|writer| spawn("control command", write(Arc::clone(&cluster.net), writer, Arc::clone(&stop))))
        .collect();
    goes_on(&cluster, &[1, 2, 3]).await;
    let mut hit = 0;
    for fault in 0..4 {
        let leader = cluster.leader().await;
        let others: Vec<_> = (1..=3).filter(|node| *node != leader).collect();
        match fault {
            0 => cluster.isolate(leader),
            1 => cluster.freeze(leader),
            2 => others.iter().for_each(|to| cluster.cut(leader, *to)),
            _ => cluster.kill(leader).await,
        }
        goes_on(&cluster, &others).await;
        hit += u32::from(cluster.node(others[0]).leader().is_some_and(|now| now.0 != leader));
        cluster.heal();
        if fault == 3 {
            cluster.start(leader, Birth::Known).await;
        }
        goes_on(&cluster, &[1, 2, 3]).await;
    }
    assert_eq!(hit, 4, "every fault took the lead from a leader");
    stop.store(true, Ordering::Relaxed);
    let mut outcomes = Outcomes::new();
    for writer in writers {
        outcomes.extend(writer.await.unwrap());
    }
    let state = cluster.agree().await;
    let mut acked = 0;
    for (name, outcome) in &outcomes {
        let there = state.buckets.contains_key(name);
        match outcome {
            Ok(Applied::Made) => {
                assert!(there, "{name} was acked and is lost");
                acked += 1;
            }
            Err(ProposeError::Unknown) => {}
            outcome if is_refusal(outcome) => assert!(!there, "{name} was refused and is there: {outcome:?}"),
            outcome => panic!("{name}: {outcome:?}"),
        }
    }
    assert!(acked > 50 && names(&state).len() >= acked, "{acked} acked");
    cluster.close();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_voter_that_was_cut_off_or_hears_nothing_does_not_depose_the_leader() {
    let cluster = Cluster::of(3).await;
    let leader = cluster.leader().await;
    let (led, quiet) = (cluster.node(leader), if leader == 3 { 2 } else { 3 });
    let term = led.status().term;
    let cut_off = cluster.node(quiet);
    let still = || (led.status().term, led.leader()) == (term, Some(led.0.me));
    for one_way in [false, true] {
        if one_way {
            // It is heard, and hears nothing from the leader.
            cluster.cut(leader, quiet);
        } else {
            cluster.isolate(quiet);
        }
        eventually("it hears no leader", || (!cut_off.0.hears_leader()).then_some(())).await;
        // Long enough for several attempts.
        let until = time::mono() + 4 * CONTROL_LEASE;
        eventually("time to try", || (time::mono() > until).then_some(())).await;
        assert_eq!(cut_off.status().term, term, "it raised its term");
        let name = format!("meanwhile-{one_way}");
        led.propose(put(name.clone())).await.unwrap();
        cluster.heal();
        eventually("it is back", || cut_off.state().buckets.contains_key(&name).then_some(())).await;
        assert!(still(), "the leader was deposed: {:?}", led.status());
    }
    cluster.close();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn with_all_lanes_cut_every_node_refuses_within_two_seconds_and_says_why() {
    let cluster = Cluster::of(3).await;
    cluster.leader().await;
    (1..=3).for_each(|node| cluster.isolate(node));
    let leader = cluster.all().into_iter().find(|group| group.0.leads().is_some()).unwrap();
    let began = time::mono();
    let outcome = leader.propose(put("cut")).await;
    assert!(is_refusal(&outcome) && began.elapsed() < Duration::from_secs(2), "{outcome:?} {:?}", began.elapsed());
    // When their lease is over, all of them know.
    for group in cluster.all() {
        eventually("no contact", || group.contact().is_none_or(|age| age > Duration::from_secs(2)).then_some(())).await;
        assert_eq!(group.leader(), None);
        let began = time::mono();
        let outcome = group.propose(put("late")).await;
        let Err(ProposeError::Unavailable { reason }) = &outcome else { panic!("{outcome:?}") };
        assert!(reason.contains("leader") || reason.contains("majority"), "{reason}");
        assert!(began.elapsed() < Duration::from_secs(2), "{:?}", began.elapsed());
    }
    cluster.heal();
    assert_eq!(cluster.node(2).propose(put("healed")).await, Ok(Applied::Made));
    cluster.close();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_leader_with_a_slow_disk_is_heard_for_two_seconds_and_says_then_that_it_leads_no_more() {
    let cluster = Cluster::of(3).await;
    let leader = cluster.leader().await;
    let led = cluster.node(leader);
    eventually("it is heard", || led.0.hears_leader().then_some(())).await;
    led.0.log.pretend_stalled(1000);
    assert!(led.0.hears_leader());
    // Its word counts as a heartbeat: here instead of those that would not come.
    let follower = cluster.node(if leader == 1 { 2 } else { 1 });
    let ballot = led.0.leads().unwrap();
    cluster.isolate(follower.0.me.0);
    eventually("it hears nobody", || (!follower.0.hears_leader()).then_some(())).await;
    let word = |ballot| Question { generation: 0, ask: Ask::StillLeads(ballot) }.seal();
    follower.handle(led.0.me, word(Ballot { term: 0, ..ballot })).await;
    assert!(!follower.0.hears_leader(), "of an earlier term");
    follower.handle(led.0.me, word(ballot)).await;
    assert!(follower.0.hears_leader());
    // What lasts for two seconds did not begin before the clock did.
    eventually("time to stall", || (time::steady_ms().1 > 2001).then_some(())).await;
    led.0.log.pretend_stalled(2001);
    assert!(!led.0.hears_leader());
    cluster.close();
}

#[tokio::test]
async fn a_group_that_ends_by_itself_ends_the_process() {
    let dir = tempfile::tempdir().unwrap();
    let (told, hear) = tokio::sync::oneshot::channel();
    let on_poison = Box::new(move |error: &JournalError| told.send(error.to_string()).unwrap());
    let opened = Group::open(dir.path(), NodeId(1), Birth::Found(birth(1)), Arc::new(Nobody), on_poison).await;
    let group = opened.unwrap().0;
    group.0.raft.shutdown().await.unwrap();
    assert!(hear.await.unwrap().contains("the control group ended"));
    assert!(is_refusal(&group.propose(put("late")).await));
    group.close();
}
