//! The device's way: which nodes it is told of, and what becomes of a load when the node that carries it is drained.

use std::path::Path;
use std::time::Duration;
use std::time::Instant;

use ringfort::cli::client::Target;
use serde_json::Value;
use serde_json::json;

use crate::cluster_faces::get;
use crate::cluster_faces::invite;
use crate::cluster_faces::owned_by;
use crate::support::Node;
use crate::support::call;
use crate::support::command;
use crate::support::ended;
use crate::support::eventually;

async fn start(dir: &Path, name: &str, zone: &str, join: Option<&str>) -> Node {
    let words = ["--name", name, "--zone", zone, "--listen", "http://127.0.0.1:0", "--peer-listen", "127.0.0.1:0"];
    let join: Vec<&str> = join.iter().flat_map(|token| ["--join", *token]).collect();
    Node::start_saying(&dir.join(name), &[], &[&words[..], &join].concat()).await
}

/// n1 and n2 in the east, n3 in the west, with a bucket for load runs.
async fn three(dir: &Path) -> Vec<Node> {
    let mut nodes = vec![start(dir, "n1", "east", None).await];
    for (name, zone) in [("n2", "east"), ("n3", "west")] {
        let token = invite(&nodes[0]).await;
        nodes.push(start(dir, name, zone, Some(&token)).await);
    }
    owned_by(&nodes[0], &[1, 2, 3]).await;
    let made = call(&nodes[0].owner(), "PUT", "/v1/buckets/load", &[], json!({ "kind": "lww" }).to_string()).await;
    assert_eq!(made.status, 201, "{made:?}");
    nodes
}

fn ids(list: &Value) -> Vec<u64> {
    list["nodes"].as_array().unwrap().iter().map(|node| node["id"].as_u64().unwrap()).collect()
}

#[tokio::test]
async fn a_device_is_told_of_nodes_that_serve_the_near_ones_first() {
    let dir = tempfile::tempdir().unwrap();
    let nodes = three(dir.path()).await;
    let device = nodes[0].client("device", &["device:read"]).await;
    let listed = eventually("all three serve", async || {
        let listed = call(&device, "GET", "/v1/nodes", &[], "").await;
        (listed.status == 200 && ids(&listed.json()).len() == 3).then_some(listed)
    })
    .await;
    let (list, etag) = (listed.json(), listed.header("etag").unwrap().to_owned());
    assert_eq!(ids(&list)[2], 3, "{list}");
    assert_eq!(list["nodes"][2]["url"], json!(nodes[2].url().await));
    assert_eq!((&list["nodes"][0]["near"], &list["nodes"][2]["near"]), (&json!(true), &json!(false)));
    assert_eq!(listed.header("cache-control"), Some("private, max-age=5"));
    assert!(listed.header("ringfort-nodes").is_none());
    // What is known needs no second answer, and the same device is told the same everywhere in the zone.
    // How busy nodes are changes while one looks; the other one may hear of the token a moment later.
    eventually("the list is still the one that is known", async || {
        let listed = call(&device, "GET", "/v1/nodes", &[], "").await;
        let etag = listed.header("etag")?.to_owned();
        let known = call(&device, "GET", "/v1/nodes", &[("if-none-match", &etag)], "").await;
        ((known.status, known.text(), known.header("etag")) == (304, "", Some(&*etag))).then_some(())
    })
    .await;
    let at_other = device.at(Target::parse(&nodes[1].url().await).unwrap());
    eventually("the other one tells the same", async || {
        let listed = call(&device, "GET", "/v1/nodes", &[], "").await;
        let other = call(&at_other, "GET", "/v1/nodes", &[], "").await;
        (other.status == 200 && ids(&other.json()) == ids(&listed.json())).then_some(())
    })
    .await;
    let west = call(&device, "GET", "/v1/nodes?zone=west", &[], "").await;
    assert_eq!(ids(&west.json())[0], 3);
    assert_eq!(call(&device, "GET", "/v1/nodes?site=west", &[], "").await.status, 400);

    // Whoever is drained or gone is not told of.
    let drained = call(&nodes[0].owner(), "POST", "/v1/members/n2/drain", &[], "{}").await;
    assert_eq!(drained.status, 200, "{drained:?}");
    assert_eq!(ids(&call(&device, "GET", "/v1/nodes", &[], "").await.json()), [1, 3]);
    let mut nodes = nodes;
    nodes[2].kill();
    eventually("the lost one is left out", async || {
        let listed = call(&device, "GET", "/v1/nodes", &[("if-none-match", &etag)], "").await;
        (listed.status == 200 && ids(&listed.json()) == [1]).then_some(())
    })
    .await;
}

/// Reads and writes that a node has answered.
async fn answered(node: &Node) -> u64 {
    let metrics = call(&node.owner(), "GET", "/metrics", &[], "").await;
    let counts = metrics.text().lines().filter_map(|line| {
        let (name, count) = line.split_once(' ')?;
        let counted = name.starts_with("ringfort_requests_total{operation=\"get\"")
            || name.starts_with("ringfort_requests_total{operation=\"put\"");
        counted.then(|| count.parse::<u64>().unwrap())
    });
    counts.sum()
}

#[tokio::test]
async fn under_a_thousand_requests_a_second_a_drained_node_is_left_within_five_seconds_and_none_fails() {
    let dir = tempfile::tempdir().unwrap();
    let nodes = three(dir.path()).await;
    let secret = nodes[0].token("devices", &["device:read", "device:write"]).await;
    let token = dir.path().join("token");
    std::fs::write(&token, &secret).unwrap();
    let url = nodes[0].url().await;
    let words = ["load", "--url", &url, "--token-file", token.to_str().unwrap(), "--rate", "1000", "--seconds", "12"];
    let run = command(dir.path(), &[&words[..], &["--mix", "80", "--json"]].concat());
    let run = tokio::task::spawn_blocking(move || ended(run));
    eventually("requests arrive", async || (answered(&nodes[0]).await > 500).then_some(())).await;

    let began = Instant::now();
    let wish = json!({ "reason": "a new disk", "for": "1h" });
    let drained = call(&nodes[0].owner(), "POST", "/v1/members/n1/drain", &[], wish.to_string()).await;
    assert_eq!(drained.status, 200, "{drained:?}");
    let ready = call(&nodes[0].owner(), "GET", "/readyz", &[], "").await;
    assert_eq!(ready.status, 503, "{ready:?}");
    let mut counts = Vec::new();
    eventually("the run ends", async || {
        counts.push((began.elapsed(), answered(&nodes[0]).await));
        run.is_finished().then_some(())
    })
    .await;
    let run = run.await.unwrap();
    let report = run.json();
    assert_eq!((run.code, &report["failed"], &report["missed"]), (0, &json!(0), &json!(0)), "{run:?}");
    assert!(report["answered"].as_u64().unwrap() > 10_000 && report["moved"].as_u64().unwrap() >= 64, "{report}");
    let last = counts.last().unwrap().1;
    let left = counts.iter().find(|(_, count)| *count == last).unwrap().0;
    assert!(left < Duration::from_secs(5), "the last request came {left:?} after the node was drained");
    assert!(answered(&nodes[1]).await > 1000, "those in the same zone took over");
    eprintln!("{} answered, 0 failed, {} moved, left after {left:?}", report["answered"], report["moved"]);

    // A device that is told goes to the near one first; a stranger is told nothing.
    let device = crate::support::client(&url, Some(&secret));
    let read = call(&device, "GET", "/v1/kv/load/device-1", &[], "").await;
    let told = format!("{}, {}", nodes[1].url().await, nodes[2].url().await);
    assert_eq!((read.header("ringfort-nodes"), read.header("connection")), (Some(&*told), Some("close")));
    let stranger = call(&crate::support::client(&url, None), "GET", "/v1/kv/load/device-1", &[], "").await;
    assert_eq!((stranger.status, stranger.header("ringfort-nodes")), (401, None));
    // Replication went on: the drained node acks as an owner.
    let put = call(&nodes[1].owner(), "PUT", "/v1/kv/load/after?w=3", &[], "v").await;
    assert_eq!((put.status, put.json()["acked_by"].as_array().map(Vec::len)), (200, Some(3)), "{put:?}");
    assert_eq!(get(&nodes[0], "/v1/status").await["serving"], "draining");
}
