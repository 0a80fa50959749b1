//! Nodes whose network fails in one direction only, each in a network namespace of its own: what the one that is cut off
//! says, what the others go on to decide, and that all of them agree afterwards.

use std::path::Path;
use std::time::Duration;
use std::time::Instant;

use ringfort::base::limits::OPERATION_BUDGET;
use serde_json::Value;
use serde_json::json;

use crate::cluster::rounds;
use crate::machines::Machines;
use crate::support::Node;
use crate::support::Reply;
use crate::support::call;
use crate::support::eventually;

/// Time for the answer itself, on a machine that does other things too.
const SLACK: Duration = Duration::from_secs(5);

async fn start(net: &Machines, dir: &Path, number: usize, join: Option<&str>) -> Node {
    let (name, peers) = (format!("n{number}"), net.address(number) + ":7400");
    let words = ["--name", &name, "--listen", "http://127.0.0.1:0", "--peer-listen", &peers];
    let words = [&words[..], &join.map_or(vec![], |token| vec!["--join", token])].concat();
    Node::start_saying(&dir.join(&name), &["ip", "netns", "exec", &net.space(number)], &words).await
}

async fn get(node: &Node, path: &str) -> Value {
    get_if(node, path).await.unwrap_or_else(|| panic!("{path} is refused"))
}

async fn get_if(node: &Node, path: &str) -> Option<Value> {
    let reply = call(&node.owner(), "GET", path, &[], "").await;
    (reply.status == 200).then(|| reply.json())
}

async fn invite(node: &Node) -> String {
    eventually("an invite", async || {
        let made = call(&node.owner(), "POST", "/v1/invites", &[], "{}").await;
        (made.status == 201).then(|| made.json()["token"].as_str().unwrap().to_owned())
    })
    .await
}

/// Waits until all of these rest on one layout of so many owners, and returns who owns what.
async fn agreed(nodes: &[Node], owners: usize) -> Value {
    eventually("all nodes have one layout at rest", async || {
        let mut seen = Vec::new();
        for node in nodes {
            let ring = get(node, "/v1/ring").await;
            if ring["at_rest"] != true || ring["phases"]["settled"] != 256 || !is_synced(&ring, owners) {
                return None;
            }
            seen.push(json!([ring["version"], ring["partitions"]]));
        }
        seen.iter().all(|one| *one == seen[0]).then(|| seen[0].clone())
    })
    .await
}

fn is_synced(ring: &Value, owners: usize) -> bool {
    let counts = |one: &Value, what: &str| one["now"][what].as_array().unwrap().len() == owners;
    ring["partitions"].as_array().unwrap().iter().all(|one| counts(one, "owners") && counts(one, "synced"))
}

async fn within_budget(node: &Node, method: &str, path: &str, body: &'static str) -> Reply {
    let began = Instant::now();
    let reply = call(&node.owner(), method, path, &[], body).await;
    assert!(began.elapsed() < OPERATION_BUDGET + SLACK, "{method} {path}: {:?}", began.elapsed());
    eprintln!("cut off: {method} {path}: {} after {:?}", reply.status, began.elapsed());
    reply
}

/// What a node says that is cut off: what it holds to who asks for no more, and an honest no to all others.
async fn says_what_it_can(node: &Node, round: usize) {
    let one = within_budget(node, "GET", "/v1/kv/b/before?consistency=local", "").await;
    assert_eq!((one.status, one.text()), (200, "before"), "{one:?}");
    let read = within_budget(node, "GET", "/v1/kv/b/before", "").await;
    assert_eq!(read.problem(), (503, "no_quorum".to_owned()), "{read:?}");
    assert!(read.json()["detail"].as_str().unwrap().contains("1 of the "), "{read:?}");
    let put = within_budget(node, "PUT", &format!("/v1/kv/b/perhaps-{round}"), "alone").await;
    assert_eq!((put.problem(), &put.json()["outcome"]), ((504, "outcome_unknown".to_owned()), &json!("unknown")));
    let change = within_budget(node, "PUT", &format!("/v1/buckets/alone-{round}"), "{}").await;
    assert_eq!(change.problem(), (503, "no_control".to_owned()), "{change:?}");
    let plan = within_budget(node, "POST", "/v1/plan", "{}").await;
    assert!(plan.status >= 500, "{plan:?}");
}

/// What the others do meanwhile; returns what was acked.
async fn go_on(others: &[&Node], round: usize) -> Vec<String> {
    let mut acked = Vec::new();
    for (number, other) in others.iter().enumerate() {
        let key = format!("{round}-{number}");
        eventually("the others serve", async || {
            // One whose outcome was unknown may be stored; under this name it is the same write again.
            let name = [("idempotency-key", key.as_str())];
            let put = call(&other.owner(), "PUT", &format!("/v1/kv/b/{key}"), &name, key.clone()).await;
            (put.status == 200).then_some(())
        })
        .await;
        acked.push(key);
    }
    eventually("the others take changes", async || {
        let made = call(&others[0].owner(), "PUT", &format!("/v1/buckets/agreed-{round}"), &[], "{}").await;
        matches!(made.status, 200 | 201).then_some(())
    })
    .await;
    acked
}

/// Every node knows what was decided meanwhile, and nothing else; all that was acked is read on each.
async fn are_whole(nodes: &[Node], acked: &[String], round: usize) {
    let mut was_read = false;
    for node in nodes {
        eventually("what was decided meanwhile is known", async || {
            let buckets = get(node, "/v1/buckets").await.to_string();
            assert!(!buckets.contains("alone-"), "{buckets}");
            buckets.contains(&format!("agreed-{round}")).then_some(())
        })
        .await;
        let read = async |key: &str| {
            eventually("it answers", async || {
                let read = call(&node.owner(), "GET", &format!("/v1/kv/b/{key}"), &[], "").await;
                (read.status < 500).then_some(read)
            })
            .await
        };
        for key in acked {
            let read = read(key).await;
            assert_eq!((read.status, read.text()), (200, key.as_str()), "{key}");
        }
        // It was not acked, so it may not be there; but once it was read it is.
        let read = read(&format!("perhaps-{round}")).await;
        assert!(read.status == 404 && !was_read || (read.status, read.text()) == (200, "alone"), "{read:?}");
        was_read = read.status == 200;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_cut_off_one_way_splits_nothing_and_is_whole_again_afterwards() {
    let dir = tempfile::tempdir().unwrap();
    let net = Machines::apart(4);
    let mut nodes = vec![start(&net, dir.path(), 1, None).await];
    for number in 2..=3 {
        let token = invite(&nodes[0]).await;
        nodes.push(start(&net, dir.path(), number, Some(&token)).await);
    }
    let mut layout = agreed(&nodes, 3).await;
    assert_eq!(call(&nodes[0].owner(), "PUT", "/v1/buckets/b", &[], "{\"n\":4,\"r\":3,\"w\":3}").await.status, 201);
    eventually("each knows the bucket", async || {
        for node in &nodes {
            get_if(node, "/v1/buckets/b").await?;
        }
        Some(())
    })
    .await;
    let before = eventually("all three take a write", async || {
        let put = call(&nodes[0].owner(), "PUT", "/v1/kv/b/before?w=3", &[], "before").await;
        (put.status == 200).then_some("before".to_owned())
    })
    .await;
    let mut acked = vec![before];
    for round in 0..2 * rounds() {
        // The first is the one that began the cluster.
        let cut = if round % 2 == 0 { round / 2 % 3 } else { 2 - round / 2 % 3 };
        if round % 2 == 0 {
            net.silence(cut + 1)
        } else {
            net.deafen(cut + 1)
        }
        let others: Vec<&Node> = nodes.iter().enumerate().filter(|(at, _)| *at != cut).map(|(_, node)| node).collect();
        let ((), went_on) = tokio::join!(says_what_it_can(&nodes[cut], round), go_on(&others, round));
        acked.extend(went_on);
        // Who owns what changes without it.
        let newcomer = if round == 0 {
            let token = invite(others[0]).await;
            let newcomer = start(&net, dir.path(), 4, Some(&token)).await;
            eventually("the others have a new layout", async || {
                let ring = get(others[0], "/v1/ring").await;
                (ring["version"].as_u64() > layout[0].as_u64() && ring["nodes"].as_array()?.len() == 4).then_some(())
            })
            .await;
            assert_eq!(get(&nodes[cut], "/v1/ring").await["version"], layout[0], "it cannot have heard of it");
            Some(newcomer)
        } else {
            None
        };
        net.heal();
        nodes.extend(newcomer);
        layout = agreed(&nodes, nodes.len()).await;
        are_whole(&nodes, &acked, round).await;
    }
}
