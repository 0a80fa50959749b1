//! Starts that would do harm: a node of several that nobody reaches, a machine with data that is told to join another
//! cluster. Each ends at once, says why, and changes nothing.

use std::net::TcpListener;
use std::path::Path;

use serde_json::json;

use crate::support::Node;
use crate::support::call;
use crate::support::eventually;

fn words<'w>(name: &'w str, peers: &'w str, join: &'w [&'w str]) -> Vec<&'w str> {
    [&["--name", name, "--listen", "http://127.0.0.1:0", "--peer-listen", peers][..], join].concat()
}

async fn start(dir: &Path, name: &str, peers: &str, join: &[&str]) -> Node {
    Node::start_saying(&dir.join(name), &[], &words(name, peers, join)).await
}

async fn invite(node: &Node) -> String {
    let token = async || {
        let made = call(&node.owner(), "POST", "/v1/invites", &[], r#"{"ttl":"1h"}"#).await;
        (made.status == 201).then(|| made.json()["token"].as_str().unwrap().to_owned())
    };
    eventually("an invite", token).await
}

/// Starts it, and waits for its end: with this code, and these words in its log.
async fn ends(dir: &Path, name: &str, peers: &str, join: &[&str], said: &str) {
    let mut node = Node::spawn_saying(&dir.join(name), &[], &[], &words(name, peers, join));
    let status = tokio::task::spawn_blocking(move || {
        let status = node.wait();
        (status, node.log())
    });
    let (status, log) = status.await.unwrap();
    assert_eq!(status.code(), Some(78), "{log}");
    assert!(log.contains(said), "{log}");
}

#[tokio::test]
async fn a_node_of_several_that_nobody_would_reach_does_not_start() {
    let dir = tempfile::tempdir().unwrap();
    let mut first = start(dir.path(), "n1", "127.0.0.1:0", &[]).await;
    let token = invite(&first).await;
    let second = start(dir.path(), "n2", "127.0.0.1:0", &["--join", &token]).await;
    first.stop();
    // The cluster began with it; so it never joined.
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    ends(dir.path(), "n1", &address, &[], "is taken, or not an address of this machine").await;
    ends(dir.path(), "n1", "none", &[], "peer_listen is `none`").await;
    drop(taken);
    let _first = start(dir.path(), "n1", &address, &[]).await;
    eventually("they are together again", async || {
        let members = call(&second.owner(), "GET", "/v1/members", &[], "").await.json();
        members["members"].as_array()?.iter().all(|member| member["state"] == "up").then_some(())
    })
    .await;
}

#[tokio::test]
async fn a_machine_with_data_of_its_own_is_not_joined_to_another_cluster_unasked() {
    let dir = tempfile::tempdir().unwrap();
    let first = start(dir.path(), "n1", "127.0.0.1:0", &[]).await;
    let token = invite(&first).await;
    let mut other = start(dir.path(), "other", "127.0.0.1:0", &[]).await;
    assert_eq!(call(&other.owner(), "PUT", "/v1/buckets/b", &[], "{}").await.status, 201);
    assert_eq!(call(&other.owner(), "PUT", "/v1/kv/b/k", &[], "kept").await.status, 200);
    other.stop();
    ends(dir.path(), "other", "127.0.0.1:0", &["--join", &token], "and the join token of another one").await;
    let other = start(dir.path(), "other", "127.0.0.1:0", &[]).await;
    assert_eq!(call(&other.owner(), "GET", "/v1/kv/b/k", &[], "").await.text(), "kept");
    // The token is as good as it was.
    let second = start(dir.path(), "n2", "127.0.0.1:0", &["--join", &token]).await;
    let members = call(&second.owner(), "GET", "/v1/members", &[], "").await.json();
    assert_eq!(members["members"].as_array().unwrap().len(), 2, "{members}");
    // A token of its own cluster does no harm.
    let mut second = second;
    second.stop();
    let second = start(dir.path(), "n2", "127.0.0.1:0", &["--join", &token]).await;
    assert_eq!(second.status().await["node"], json!(2));
}
