//! What is wrong and what changed, as any node tells it for all: alarms with their cause, entries with the one that they
//! follow from, over HTTP, at a terminal and on a page, also after a restart and of a node that is gone.

use std::path::Path;

use rustix::process::Signal;
use serde_json::Value;
use serde_json::json;

use crate::cluster::Cluster;
use crate::cluster_faces::cluster;
use crate::cluster_faces::owned_by;
use crate::console::Browser;
use crate::support::Node;
use crate::support::call;
use crate::support::command;
use crate::support::ended;
use crate::support::eventually;

/// The entries that a node tells of all.
pub async fn entries(client: &ringfort::cli::client::Client, query: &str) -> Option<Vec<Value>> {
    let reply = call(client, "GET", &format!("/v1/timeline?{query}"), &[], "").await;
    assert_eq!(reply.status, 200, "{reply:?}");
    Some(reply.json()["entries"].as_array()?.clone())
}

fn is(entry: &Value, kind: &str, node: Option<u64>) -> bool {
    entry["kind"] == kind && entry["node"].as_u64() == node
}

/// From an entry to its root: kinds, an alarm's by its code.
pub fn chain(entries: &[Value], from: &Value) -> Vec<String> {
    let (mut at, mut kinds) = (Some(from), Vec::new());
    while let Some(entry) = at {
        let name = entry["code"].as_str().or(entry["kind"].as_str()).unwrap();
        kinds.push(name.to_owned());
        at = entries.iter().find(|other| other["id"] == entry["cause"]);
        assert!(kinds.len() < 20, "a circle: {kinds:?}");
    }
    kinds
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_machine_that_is_gone_is_the_root_of_what_follows_and_its_own_list_is_read_on_the_others() {
    let mut cluster = Cluster::start(3).await;
    let client = cluster.client(0);
    eventually("the third one's book is kept by the others", async || {
        let kept = [0, 1].map(|node| cluster.data(node).join("blackbox/peers/3/timeline"));
        kept.iter().all(|book| Path::new(book).exists()).then_some(())
    })
    .await;
    cluster.signal(2, Signal::KILL);
    let all = eventually("what follows is folded", async || {
        let all = call(&client, "GET", "/v1/alarms", &[], "").await.json();
        let told = all["alarms"].as_array()?;
        let of = |code: &str| told.iter().find(|told| told["alarm"]["code"] == code);
        let (root, down, risk) = (of("member_vanished")?, of("member_down")?, of("quorum_at_risk")?);
        let both = [root, down, risk].iter().all(|told| told["told_by"] == json!([1, 2]));
        (both && told[0] == *root).then(|| all.clone())
    })
    .await;
    let root = &all["alarms"][0]["alarm"];
    assert!(root["follow"].as_u64() >= Some(2) && root["node"] == 3 && root["follows_from"].is_null(), "{all:#}");
    assert!(root["to_do"].as_str().is_some_and(|to_do| to_do.starts_with("Look at the machine")), "{all:#}");
    assert_eq!(all["unanswered"].as_object().unwrap().keys().collect::<Vec<_>>(), ["3"], "{all:#}");
    let told = eventually("it is in the list with its cause", async || {
        let told = entries(&client, "since=1h").await?;
        let risk = told.iter().find(|entry| entry["code"] == "quorum_at_risk")?.clone();
        (risk["told_by"].as_array()?.len() == 2).then_some(told)
    })
    .await;
    let risk = told.iter().find(|entry| entry["code"] == "quorum_at_risk").unwrap();
    assert_eq!(chain(&told, risk), ["quorum_at_risk", "member_down"], "{told:#?}");
    assert!(risk["cause_text"].as_str().unwrap().contains("node 3 (n3)"), "{risk:#}");
    let its = |entry: &&Value| is(entry, "node_started", Some(3)) && entry["told_by"] == json!([3]);
    assert!(told.iter().any(|entry| its(&entry)), "what it told itself is in its box: {told:#?}");
    cluster.start_again(2);
    cluster.ready(2).await;
    let told = eventually("its end is found out, and is over", async || {
        let told = entries(&client, "").await?;
        let cleared = |code: &str| told.iter().any(|entry| entry["kind"] == "alarm_cleared" && entry["code"] == code);
        let found = told.iter().any(|entry| is(entry, "crash", Some(3)));
        (found && cleared("member_down") && cleared("quorum_at_risk")).then_some(told)
    })
    .await;
    let down = told.iter().find(|entry| is(entry, "member_down", Some(3))).unwrap();
    assert_eq!(chain(&told, down), ["member_down", "crash"], "{told:#?}");
    let cleared = told.iter().rev().find(|entry| entry["kind"] == "alarm_cleared" && entry["code"] == "member_down");
    let over = chain(&told, cleared.unwrap());
    assert_eq!(over[..3], ["member_down", "member_up", "node_started"], "{told:#?}");
    let raised = told.iter().find(|entry| entry["kind"] == "alarm_raised" && entry["code"] == "member_down").unwrap();
    let cleared = cleared.unwrap();
    assert_eq!(cleared["ends"], raised["id"], "{told:#?}");
    assert!(cleared["text"].as_str().unwrap().starts_with("Over after "), "{cleared:#}");
    assert!(raised["ends"].is_null(), "{raised:#}");
    let shown = command(cluster.dir.path(), &["timeline", "--since", "1h", "--url", &cluster.urls()[1]]);
    let shown = with_token(shown, cluster.token());
    assert!(
        shown.code == 0 && shown.out.contains("! quorum_at_risk") && shown.out.contains("because node 3"),
        "{shown:?}"
    );
}

fn with_token(mut command: std::process::Command, token: &str) -> crate::support::Ended {
    command.env("RINGFORT_TOKEN", token);
    ended(command)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn machines_that_come_in_raise_nothing_and_an_order_is_the_cause_of_what_it_brings_about() {
    let dir = tempfile::tempdir().unwrap();
    let nodes = cluster(dir.path(), 3).await;
    owned_by(&nodes[0], &[1, 2, 3]).await;
    let owner = nodes[0].owner();
    let told = entries(&owner, "").await.unwrap();
    let alarms: Vec<_> = told.iter().filter(|entry| entry["code"].is_string()).collect();
    assert!(alarms.is_empty(), "{alarms:#?}");
    let at_rest = told.iter().rev().find(|entry| entry["kind"] == "layout_at_rest").unwrap();
    let why = chain(&told, at_rest);
    assert!(why.contains(&"layout_committed".to_owned()) && why.last().unwrap() == "ordered", "{why:?}");
    let sam = nodes[1].client("sam", &["operate"]).await;
    let drained = call(&sam, "POST", "/v1/members/3/drain", &[], json!({ "reason": "a new fan" }).to_string()).await;
    assert_eq!(drained.status, 200, "{drained:?}");
    let told = eventually("the drain is told by all", async || {
        let told = entries(&owner, "since=10m").await?;
        let drained = told.iter().find(|entry| is(entry, "member_drained", Some(3)))?;
        (drained["told_by"].as_array()?.len() == 3).then(|| told.clone())
    })
    .await;
    let drained = told.iter().find(|entry| is(entry, "member_drained", Some(3))).unwrap();
    let order = told.iter().find(|entry| entry["id"] == drained["cause"]).unwrap();
    assert!(order["kind"] == "ordered" && order["by"] == "sam", "{order:#}");
    assert!(order["text"].as_str().unwrap().contains("a new fan"), "{order:#}");
    let some = entries(&owner, "kind=member_drained&node=3&limit=1").await.unwrap();
    assert_eq!(some.len(), 1, "{some:#?}");
    assert_eq!(some[0]["cause_text"], order["text"], "a cause that does not fit the filter is told all the same");
    let ann = Browser::signed_in(&nodes[2], "ann", &["support"]).await;
    let page = ann.page("/timeline?since=1h&node=3&kind=member_drained").await;
    assert!(page.contains("sends devices away: a new fan") && page.contains("because <a href=\"#e"), "{page}");
    assert!(page.contains("sse-connect=\"/live?view=timeline&") && !page.contains("member joined"), "{page}");
    assert!(page.contains("<option value=\"member_drained\" selected>"), "{page}");
    assert_eq!(ann.get("/timeline?kind=x").await.status, 400);
    for bad in ["kind=x", "limit=0", "limit=501", "since=yesterday", "nod=1"] {
        assert_eq!(call(&owner, "GET", &format!("/v1/timeline?{bad}"), &[], "").await.status, 400, "{bad}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_list_outlives_the_node_and_tells_how_each_life_ended() {
    let dir = tempfile::tempdir().unwrap();
    let data = dir.path().join("n1");
    let mut node = Node::start(&data).await;
    let reloaded = call(&node.owner(), "POST", "/v1/config/reload", &[], "").await;
    assert_eq!(reloaded.status, 200, "{reloaded:?}");
    let kinds = async |node: &Node, query: &str| -> Vec<String> {
        let told = entries(&node.owner(), query).await.unwrap();
        told.iter().map(|entry| entry["kind"].as_str().unwrap().to_owned()).collect()
    };
    eventually("the reload is on disk", async || {
        kinds(&node, "").await.contains(&"config_reloaded".to_owned()).then_some(())
    })
    .await;
    assert!(node.stop().success());
    let mut node = Node::start(&data).await;
    let told = eventually("the second life begins", async || {
        let told = kinds(&node, "").await;
        (told.last()? == "node_started").then_some(told)
    })
    .await;
    assert_eq!(told, ["node_started", "config_reloaded", "node_stopped", "node_started"]);
    eventually("it is noted that it runs", async || data.join("blackbox/running.json").exists().then_some(())).await;
    node.kill();
    let node = Node::start(&data).await;
    let told = eventually("the third life begins", async || {
        let told = entries(&node.owner(), "").await?;
        (told.len() == 6 && told[5]["kind"] == "node_started").then_some(told)
    })
    .await;
    assert!(is(&told[4], "crash", Some(1)) && told[5]["cause"] == told[4]["id"], "{told:#?}");
    assert!(told[4]["text"].as_str().unwrap().contains("killed at once"), "{told:#?}");
}
