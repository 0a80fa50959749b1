//! What happened in a cluster, as each node tells it: over HTTP and at a terminal, for those who come back too.

use std::io::BufRead;
use std::io::BufReader;
use std::process::Stdio;
use std::time::Duration;
use std::time::Instant;

use hyper::Method;
use ringfort::base::limits::EVENT_STREAMS_MAX;
use ringfort::base::limits::OWNER_STREAMS_MAX;
use ringfort::cli::client::Answer;
use ringfort::cli::client::Client;
use serde_json::Value;
use serde_json::json;
use tokio::time::timeout;

use crate::cluster_faces::cluster;
use crate::cluster_faces::owned_by;
use crate::support::Node;
use crate::support::PATIENCE;
use crate::support::call;
use crate::support::command;
use crate::support::eventually;
use crate::support::ringfort_in;
use crate::support::send;

/// All that a node keeps, and whether it says that there was more.
async fn kept(node: &Node, after: Option<&str>) -> (bool, Vec<Value>) {
    let headers: Vec<_> = after.iter().map(|id| ("last-event-id", *id)).collect();
    let reply = call(&node.owner(), "GET", "/v1/events?follow=false", &headers, "").await;
    assert_eq!((reply.status, reply.header("content-type")), (200, Some("text/event-stream")), "{reply:?}");
    let data = reply.text().lines().filter_map(|line| line.strip_prefix("data: "));
    let all: Vec<Value> = data.map(|data| serde_json::from_str(data).unwrap()).collect();
    (reply.text().contains("event: missed"), all.into_iter().filter(|event| event["id"].is_string()).collect())
}

fn is(event: &Value, kind: &str, node: u64) -> bool {
    event["kind"] == kind && event["node"] == node
}

/// Reads a stream until it has said this.
async fn hears(answer: &mut Answer, what: &str) -> String {
    let mut said = String::new();
    while !said.contains(what) {
        let piece = answer.piece().await.map_err(|failure| failure.message).unwrap();
        said.push_str(&String::from_utf8_lossy(&piece.unwrap_or_else(|| panic!("it ended: {said}"))));
    }
    said
}

#[tokio::test]
async fn every_node_tells_of_drains_and_losses_and_whoever_comes_back_misses_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let mut nodes = cluster(dir.path(), 3).await;
    owned_by(&nodes[0], &[1, 2, 3]).await;
    let (missed, grown) = kept(&nodes[0], None).await;
    assert!(!missed && is(&grown[0], "node_started", 1), "{grown:?}");
    for (kind, node) in [("member_joined", 2), ("member_up", 2), ("member_joined", 3), ("member_up", 3)] {
        assert!(grown.iter().any(|event| is(event, kind, node)), "no {kind} of {node} in {grown:?}");
    }
    let kinds: Vec<&str> = grown.iter().map(|event| event["kind"].as_str().unwrap()).collect();
    assert!(kinds.contains(&"layout_committed") && kinds.contains(&"layout_at_rest"), "{kinds:?}");

    let observer = nodes[0].client("observer", &["support"]).await;
    let last = grown.last().unwrap()["id"].as_str().unwrap().to_owned();
    let mut stream = send(&observer, Method::GET, "/v1/events", &[("last-event-id", &last)], "").await;
    let wish = json!({ "reason": "a disk" }).to_string();
    let drained = call(&nodes[1].owner(), "POST", "/v1/members/n2/drain", &[], wish).await;
    assert_eq!(drained.status, 200);
    let said = hears(&mut stream, "member_drained").await;
    assert!(said.contains("sends devices away: a disk") && !said.contains("node_started"), "{said}");
    nodes[2].kill();
    let said = hears(&mut stream, "event: alarm_raised").await;
    assert!(said.contains("event: member_down"), "{said}");
    // Both others tell it, each under its own ids.
    for node in &nodes[..2] {
        let told = eventually("it is told", async || {
            let (_, all) = kept(node, None).await;
            let there = all.iter().any(|event| is(event, "member_down", 3))
                && all.iter().any(|event| is(event, "member_drained", 2));
            there.then_some(all)
        })
        .await;
        let alarm = told.iter().find(|event| event["kind"] == "alarm_raised");
        assert!(alarm.is_none_or(|alarm| alarm["code"].is_string()), "{told:?}");
    }
    // Behind an id come exactly those that followed it; behind another node's, all, and the word that it is another's.
    let (_, all) = kept(&nodes[0], None).await;
    let (missed, rest) = kept(&nodes[0], Some(&last)).await;
    assert!(!missed && all.ends_with(&rest) && rest.len() == all.len() - grown.len(), "{rest:?}");
    let (missed, other) = kept(&nodes[1], Some(&last)).await;
    assert!(missed && is(&other[0], "node_started", 2));
    assert!(kept(&nodes[0], Some("what is this")).await.0);
    assert_eq!(call(&nodes[0].owner(), "GET", "/v1/events?follow=maybe", &[], "").await.status, 400);
}

#[tokio::test]
async fn at_a_terminal_events_are_lines_and_follow_over_a_restart() {
    let dir = tempfile::tempdir().unwrap();
    let data = dir.path().join("n1");
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    drop(listener);
    let mut node = Node::spawn_at(&data, &[], &[], port);
    node.get_ready().await;
    let token = dir.path().join("token");
    std::fs::write(&token, node.token("observer", &["support"]).await).unwrap();
    let url = format!("http://127.0.0.1:{port}");
    let words = ["events", "--url", &url, "--token-file", token.to_str().unwrap()];
    let told = eventually("it tells that it began", async || {
        let told = ringfort_in(dir.path(), &words);
        (told.code == 0 && told.out.contains("node_started")).then_some(told)
    })
    .await;
    assert!(told.out.contains("began to tell what it sees"), "{told:?}");
    let refused = ringfort_in(dir.path(), &["events", "--url", &url]);
    assert_eq!(refused.code, 77, "{refused:?}");

    let mut following = command(dir.path(), &[&words[..], &["--follow", "--json"]].concat());
    let mut child = following.stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    let mut next = || serde_json::from_str::<Value>(&lines.next().unwrap().unwrap()).unwrap();
    assert_eq!(next()["kind"], "node_started");
    node.stop();
    let mut again = Node::spawn_at(&data, &[], &[], port);
    again.get_ready().await;
    // The new life counts anew, and says that it knows nothing of the one before.
    let mut missed = next();
    if missed["kind"] == "node_stopped" {
        // The last one of the old life, where there was time for it.
        missed = next();
    }
    assert!(missed["id"].is_null() && missed["text"].as_str().unwrap().contains("before a restart"), "{missed}");
    let began = next();
    assert_eq!(began["kind"], "node_started");
    assert_ne!(began["id"], json!("1.1.1"));
    child.kill().unwrap();
    child.wait().unwrap();
}

/// A stream that has begun.
async fn following(client: &Client) -> Answer {
    let mut stream = send(client, Method::GET, "/v1/events", &[], "").await;
    assert_eq!(stream.head.status, 200);
    hears(&mut stream, "node_started").await;
    stream
}

/// One too many is refused at once, with the word when to come again; once one has gone there is room for another one.
async fn are_bounded(client: &Client, streams_max: usize) -> Vec<Answer> {
    let mut streams = Vec::new();
    for _ in 0..streams_max {
        streams.push(following(client).await);
    }
    let refused =
        timeout(PATIENCE, call(client, "GET", "/v1/events", &[], "")).await.expect("one too many is answered");
    assert_eq!((refused.problem(), refused.header("retry-after")), ((503, "busy".to_owned()), Some("1")));
    drop(streams.pop());
    let freed = eventually("a place is free again", async || {
        let stream = send(client, Method::GET, "/v1/events", &[], "").await;
        (stream.head.status == 200).then_some(stream)
    });
    streams.push(freed.await);
    streams
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn streams_are_bounded_and_keep_nobody_out() {
    let dir = tempfile::tempdir().unwrap();
    let mut node = Node::start(&dir.path().join("n1")).await;
    let observer = node.client("observer", &["support"]).await;
    let theirs = are_bounded(&observer, EVENT_STREAMS_MAX).await;
    // Those take none of the owner's, and all that the owner may have leave the control socket open.
    let owners = are_bounded(&node.owner(), OWNER_STREAMS_MAX).await;
    let status = timeout(PATIENCE, node.status()).await.expect("the control socket works");
    assert!(status["cluster"].is_string(), "{status}");
    let page = timeout(PATIENCE, call(&node.owner(), "GET", "/live?view=members", &[], "")).await;
    assert_eq!(page.expect("a live page is one of these streams").status, 503);
    assert_eq!(call(&observer, "GET", "/v1/status", &[], "").await.status, 200);
    let begun = Instant::now();
    assert!(node.stop().success());
    assert!(begun.elapsed() < Duration::from_secs(8), "open streams do not hold up a stop");
    drop((theirs, owners));
}
