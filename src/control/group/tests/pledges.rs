//! A voter whose journal went back: it has forgotten votes that it gave and entries that it acked, and leads no more where it
//! led.

use std::path::Path;
use std::time::Duration;

use crate::base::id::NodeId;
use crate::control::consensus::Consensus;
use crate::control::group::Birth;
use crate::control::group::Group;
use crate::control::group::tests::Cluster;
use crate::control::group::tests::eventually;
use crate::control::group::tests::names;
use crate::control::group::tests::put;
use crate::control::types::Ballot;
use crate::control::words::Answer;
use crate::control::words::Appended;
use crate::control::words::Ask;
use crate::control::words::Question;
use crate::control::words::Reply;
use crate::proto::standing::Pledge;

const WITHIN: Duration = Duration::from_secs(2);

fn copy(from: &Path, to: &Path) {
    std::fs::create_dir(to).unwrap();
    for file in std::fs::read_dir(from).unwrap() {
        let file = file.unwrap();
        std::fs::copy(file.path(), to.join(file.file_name())).unwrap();
    }
}

async fn ask(group: &Group, from: u64, ask: Ask) -> Answer {
    let generation = group.state().generation;
    Reply::unseal(&group.handle(NodeId(from), Question { generation, ask }.seal()).await).unwrap().answer
}

/// Who led as its journal was copied gives out no number twice, and votes when it has all that it may have acked.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_leader_that_went_back_is_caught_up_by_one_that_was_chosen_without_it() {
    let mut cluster = Cluster::of(3).await;
    let victim = cluster.leader().await;
    cluster.node(victim).propose(put("before")).await.unwrap();
    let others: Vec<u64> = (1..=3).filter(|node| *node != victim).collect();
    cluster.kill(victim).await;
    let kept = cluster.dirs[&victim].path().join("kept");
    copy(&cluster.dir(victim), &kept);
    let group = cluster.start(victim, Birth::Known).await;
    cluster.agree().await;
    for number in 0..20 {
        let name = format!("b{number}");
        eventually("a leader", || group.leader()).await;
        group.propose(put(name)).await.unwrap();
    }
    drop(group);
    cluster.kill(victim).await;
    std::fs::remove_dir_all(cluster.dir(victim)).unwrap();
    std::fs::rename(&kept, cluster.dir(victim)).unwrap();
    let group = cluster.start_with(victim, Birth::Known, Pledge::Broken).await;
    // It promises nothing and says so, and its own word of before that it leads counts no more.
    assert_eq!(group.leader(), None);
    let from = others[0];
    let term = cluster.node(from).status().term;
    let ballot = Ballot { term: term + 5, node: from, committed: false };
    let vote = || Ask::Vote { ballot, last: cluster.node(from).0.last() };
    assert!(matches!(ask(&group, from, vote()).await, Answer::Unable(_)));
    assert_eq!(ask(&group, from, Ask::HearLeader { last: cluster.node(from).0.last() }).await, Answer::HearNone(false));
    let append = |term| {
        let ballot = Ballot { term, node: from, committed: true };
        Ask::Append { ballot, before: None, lines: Vec::new(), committed: None }
    };
    assert!(matches!(ask(&group, from, append(term)).await, Answer::Unable(_)));
    let floor = loop {
        if let Some(floor) = group.floor(WITHIN).await {
            break floor;
        }
    };
    assert!(floor > term, "{floor} {term}");
    group.set_pledge(Pledge::CatchingUp { floor });
    let higher = Answer::Appended(Appended::Higher(Ballot { term: floor, node: victim, committed: false }));
    assert_eq!(ask(&group, from, append(floor - 1)).await, higher);
    eventually("a voter that is caught up", || (group.pledge() == Pledge::Kept).then_some(())).await;
    assert!(group.0.last().is_some_and(|last| last.term >= floor));
    let state = cluster.agree().await;
    let found = names(&state);
    assert!(found.contains(&"before") && (0..20).all(|n| found.contains(&format!("b{n}").as_str())), "{found:?}");
    cluster.close();
}

/// Two of three are not enough to say what the third had promised.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_floor_is_known_when_all_other_voters_have_spoken() {
    let cluster = Cluster::of(3).await;
    let (asking, other) = (cluster.node(1), 3);
    assert!(asking.has_other_voters());
    let all = [2, 3].map(|node| cluster.node(node).status().term);
    assert!(asking.floor(WITHIN).await.is_some_and(|floor| floor > all.into_iter().max().unwrap()));
    cluster.cut(1, other);
    assert_eq!(asking.floor(Duration::from_millis(200)).await, None);
    cluster.heal();
    cluster.close();
}
