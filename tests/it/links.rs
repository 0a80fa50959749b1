//! Who is there: what a node says that does not reach others, and one that starts before it has heard them, or alone.

use hyper::Method;
use rustix::process::Signal;
use serde_json::Value;
use serde_json::json;

use crate::causes::stopped;
use crate::cluster::Cluster;
use crate::support::call;
use crate::support::eventually;

async fn ready(cluster: &Cluster, node: usize) -> (u16, Value) {
    let answer = call(&cluster.client(node), "GET", "/readyz", &[], "").await;
    (answer.status, serde_json::from_slice(&answer.body).unwrap_or(Value::Null))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_does_not_reach_those_that_are_there_sends_devices_elsewhere_and_says_why() {
    let cluster = Cluster::start(3).await;
    cluster.bucket("b", json!({ "kind": "lww" })).await;
    assert_eq!(ready(&cluster, 1).await.0, 200);
    // As where large packets are lost on the way: who is there is heard of, and nothing else passes.
    cluster.cut("requests@2 bulk@2 control@2");
    let (_, problem) = eventually("the machine apart is not ready", async || {
        let told = ready(&cluster, 1).await;
        (told.0 == 503).then_some(told)
    })
    .await;
    assert_eq!(problem["code"], "no_quorum", "{problem}");
    let detail = problem["detail"].as_str().unwrap();
    assert!(detail.contains("does not reach node 1 and node 3, which the others do"), "{problem}");
    for node in [0, 2] {
        assert_eq!(ready(&cluster, node).await.0, 200, "of node {}", node + 1);
        let put = call(&cluster.client(node), "PUT", "/v1/kv/b/k", &[], "1").await;
        assert_eq!(put.status, 200, "{put:?}");
    }
    let told = eventually("another one tells why", async || {
        let all = cluster.client(0).ask(Method::GET, "/v1/alarms").await.ok()?;
        let mut all = all["alarms"].as_array()?.clone().into_iter();
        all.find(|it| it["alarm"]["code"] == "link_broken" && it["alarm"]["node"] == 2)
    })
    .await;
    let cause = told["alarm"]["cause"].as_str().unwrap();
    assert!(cause.contains("large packets") && cause.contains("MTU"), "{cause}");
    cluster.cut("");
    eventually("it serves again", async || (ready(&cluster, 1).await.0 == 200).then_some(())).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_is_heard_and_hears_nobody_is_down_and_not_called_silent() {
    let cluster = Cluster::start(3).await;
    // As behind a firewall that lets its own connections out and nothing in.
    cluster.cut("loss=100@2");
    let cause = eventually("it is called down", async || {
        let status = cluster.client(0).ask(Method::GET, "/v1/status").await.ok()?;
        let alarms = status["alarms"].as_array()?;
        assert!(alarms.iter().all(|alarm| alarm["code"] != "member_vanished"), "{alarms:?}");
        let down = alarms.iter().find(|alarm| alarm["code"] == "member_down" && alarm["node"] == 2)?;
        Some(down["cause"].as_str()?.to_owned())
    })
    .await;
    assert!(cause.contains("runs and is heard, and nothing that is sent to it arrives"), "{cause}");
    cluster.cut("");
}

/// Of those that are about too few machines.
const OF_QUORUMS: [&str; 4] = ["no_quorum", "no_control", "voter_lost", "quorum_at_risk"];

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_that_starts_among_others_misses_nobody_and_one_that_starts_alone_says_whom() {
    let mut cluster = Cluster::start(3).await;
    stopped(&cluster, 1).await;
    cluster.start_again(1);
    cluster.ready(1).await;
    eventually("it sees the others", async || {
        let all = cluster.client(1).ask(Method::GET, "/v1/members").await.ok()?;
        all["members"].as_array()?.iter().all(|member| member["state"] == "up").then_some(())
    })
    .await;
    let events = call(&cluster.client(1), "GET", "/v1/events?follow=false", &[], "").await;
    let events = events.text();
    assert!(events.contains("event: node_started"), "{events}");
    assert!(OF_QUORUMS.iter().all(|code| !events.contains(code)), "{events}");

    stopped(&cluster, 1).await;
    cluster.signal(0, Signal::KILL);
    cluster.signal(2, Signal::KILL);
    cluster.start_again(1);
    let told = eventually("what is missing is told", async || {
        let status = cluster.client(1).ask(Method::GET, "/v1/status").await.ok()?;
        let alarms = status["alarms"].as_array()?.clone();
        let all = ["no_quorum", "no_control"].map(|code| alarms.iter().find(|alarm| alarm["code"] == code).cloned());
        all.into_iter().collect::<Option<Vec<Value>>>()
    })
    .await;
    for alarm in told {
        let cause = alarm["cause"].as_str().unwrap();
        assert!(cause.contains("node 1 (n1), node 3 (n3)"), "{alarm}");
    }
}
