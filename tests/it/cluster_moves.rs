//! Nodes at other addresses than before or than they know themselves: restarted elsewhere, and behind a translator.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::AtomicUsize;
use std::sync::atomic::Ordering;

use serde_json::Value;
use tokio::net::TcpListener;
use tokio::net::TcpStream;

use crate::support::Node;
use crate::support::call;
use crate::support::eventually;

async fn start(dir: &Path, name: &str, peers: &str, more: &[&str]) -> Node {
    let words = ["--name", name, "--listen", "http://127.0.0.1:0", "--peer-listen", peers];
    Node::start_saying(&dir.join(name), &[], &[&words[..], more].concat()).await
}

async fn invite(node: &Node) -> String {
    eventually("an invite", async || {
        let made = call(&node.owner(), "POST", "/v1/invites", &[], "{}").await;
        (made.status == 201).then(|| made.json()["token"].as_str().unwrap().to_owned())
    })
    .await
}

async fn members(node: &Node) -> Vec<Value> {
    let members = call(&node.owner(), "GET", "/v1/members", &[], "").await.json();
    members["members"].as_array().unwrap().clone()
}

/// Waits until each of these sees so many nodes, all of them up and reached.
async fn all_see(nodes: &[Node], count: usize) {
    for node in nodes {
        eventually("all are up and reached", async || {
            let seen = members(node).await;
            let good = seen.iter().all(|member| member["state"] == "up" && member["link"] == "good");
            (seen.len() == count && good).then_some(())
        })
        .await;
    }
}

fn address(member: &Value) -> String {
    member["addresses"][0].as_str().unwrap().to_owned()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nodes_that_come_back_at_other_addresses_are_found_by_the_one_that_stayed() {
    let dir = tempfile::tempdir().unwrap();
    let mut nodes = vec![start(dir.path(), "n1", "127.0.0.1:0", &[]).await];
    for name in ["n2", "n3"] {
        let token = invite(&nodes[0]).await;
        nodes.push(start(dir.path(), name, "127.0.0.1:0", &["--join", &token]).await);
    }
    all_see(&nodes, 3).await;
    eventually("three own all", async || {
        let ring = nodes[0].status().await["ring"].clone();
        let at_rest = ring["moving"] == 0 && ring["behind"] == 0;
        (at_rest && ring["nodes"].as_array().unwrap().len() == 3).then_some(())
    })
    .await;
    assert_eq!(call(&nodes[0].owner(), "PUT", "/v1/buckets/b", &[], "{\"n\":3}").await.status, 201);
    assert_eq!(call(&nodes[0].owner(), "PUT", "/v1/kv/b/k", &[], "value").await.status, 200);
    let before: Vec<String> = members(&nodes[0]).await.iter().map(address).collect();
    for node in &mut nodes {
        node.stop();
    }
    drop(nodes);
    // All at once, for none of them serves before it has met another.
    let again = [("n1", "127.0.0.1:0"), ("n2", before[1].as_str()), ("n3", "127.0.0.1:0")];
    let again = again.map(|(name, peers)| start(dir.path(), name, peers, &[]));
    let nodes = futures_util::future::join_all(again).await;
    all_see(&nodes, 3).await;
    for node in &nodes {
        eventually("the cluster knows where they are", async || {
            let now: Vec<String> = members(node).await.iter().map(address).collect();
            (now[0] != before[0] && now[1] == before[1] && now[2] != before[2]).then_some(())
        })
        .await;
        let read = call(&node.owner(), "GET", "/v1/kv/b/k?r=3", &[], "").await;
        assert_eq!((read.status, read.text()), (200, "value"));
    }
}

/// Passes connections on, and counts them.
async fn translator(to: &str) -> (String, Arc<AtomicUsize>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let (at, to, count) = (listener.local_addr().unwrap().to_string(), to.to_owned(), Arc::new(AtomicUsize::new(0)));
    let passed = Arc::clone(&count);
    tokio::spawn(async move {
        while let Ok((mut from, _)) = listener.accept().await {
            let Ok(mut onward) = TcpStream::connect(&to).await else { continue };
            passed.fetch_add(1, Ordering::Relaxed);
            tokio::spawn(async move {
                let _ended = tokio::io::copy_bidirectional(&mut from, &mut onward).await;
            });
        }
    });
    (at, count)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_behind_a_translator_is_reached_where_it_says() {
    let dir = tempfile::tempdir().unwrap();
    let port = {
        let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        free.local_addr().unwrap().to_string()
    };
    let (outside, passed) = translator(&port).await;
    let first = start(dir.path(), "n1", &port, &["--advertise", &outside]).await;
    let token = invite(&first).await;
    // A name without a port is one with the port where it listens.
    let second = start(dir.path(), "n2", "0.0.0.0:0", &["--join", &token, "--advertise", "127.0.0.2"]).await;
    let nodes = [first, second];
    all_see(&nodes, 2).await;
    let seen = members(&nodes[1]).await;
    assert_eq!(address(&seen[0]), outside);
    assert!(address(&seen[1]).starts_with("127.0.0.2:"), "{seen:?}");
    assert!(passed.load(Ordering::Relaxed) >= 5, "one to join, then a lane each: {passed:?}");
}
