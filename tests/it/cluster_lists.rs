//! Lists and exports of three real nodes: the same from each of them, with one of them dead or just back and stale, and
//! refused where too few owners are there.

use std::collections::BTreeMap;
use std::net::TcpListener;
use std::path::PathBuf;

use serde_json::Value;
use serde_json::json;
use tempfile::TempDir;

use crate::support::Node;
use crate::support::Reply;
use crate::support::call;
use crate::support::eventually;

const ROWS: usize = 700;

/// What a bucket holds: a key and the bytes of its value.
type Model = BTreeMap<String, usize>;

/// A node's place: its directory and its address for others.
struct Seat {
    name: String,
    data: PathBuf,
    peers: String,
}

impl Seat {
    fn new(dir: &TempDir, name: &str) -> Self {
        let free = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
        Self { name: name.to_owned(), data: dir.path().join(name), peers: free.to_string() }
    }

    async fn start(&self, join: &[&str]) -> Node {
        let words = ["--name", &self.name, "--listen", "http://127.0.0.1:0", "--peer-listen", &self.peers];
        let words = [&words[..], join].concat();
        Node::start_saying(&self.data, &[], &words).await
    }
}

/// Three nodes that all own everything and have it.
async fn three(seats: &[Seat; 3]) -> [Node; 3] {
    let [first, second, third] = seats;
    let first = first.start(&[]).await;
    let second = join(&first, second).await;
    let third = join(&first, third).await;
    let nodes = [first, second, third];
    for node in &nodes {
        settled(node).await;
    }
    nodes
}

async fn join(first: &Node, seat: &Seat) -> Node {
    let token = eventually("an invite", async || {
        let invite = call(&first.owner(), "POST", "/v1/invites", &[], r#"{"ttl":"10m"}"#).await;
        (invite.status == 201).then(|| invite.json()["token"].as_str().unwrap().to_owned())
    })
    .await;
    seat.start(&["--join", &token]).await
}

async fn settled(node: &Node) {
    eventually("all three own data and have it", async || {
        let members = call(&node.owner(), "GET", "/v1/members", &[], "").await.json();
        let up = members["members"].as_array()?.iter().filter(|member| member["state"] == "up").count();
        let ring = node.status().await["ring"].clone();
        let owners = ring["nodes"].as_array()?.len();
        ((up, owners) == (3, 3) && ring["moving"] == 0 && ring["behind"] == 0).then_some(())
    })
    .await;
}

async fn get(node: &Node, path: &str) -> Reply {
    call(&node.owner(), "GET", path, &[], "").await
}

fn size(row: &Value) -> (String, usize) {
    (row["key"].as_str().unwrap().to_owned(), usize::try_from(row["size"].as_u64().unwrap()).unwrap())
}

/// The whole list in pages; the refusal where there is one.
async fn listed(node: &Node, limit: usize) -> Result<Model, Reply> {
    let (mut found, mut after) = (Vec::new(), String::new());
    loop {
        let page = get(node, &format!("/v1/kv/b?limit={limit}&after={after}")).await;
        if page.status != 200 {
            return Err(page);
        }
        let page = page.json();
        found.extend(page["keys"].as_array().unwrap().iter().map(size));
        match page["next"].as_str() {
            Some(next) => next.clone_into(&mut after),
            None => break,
        }
    }
    assert!(found.is_sorted(), "in byte order");
    let many = found.len();
    let model: Model = found.into_iter().collect();
    assert_eq!(model.len(), many, "each key once");
    Ok(model)
}

/// The export; the refusal where there is one.
async fn exported(node: &Node) -> Result<Model, Reply> {
    let export = get(node, "/v1/buckets/b/export?format=ndjson").await;
    if export.status != 200 {
        return Err(export);
    }
    let row = |line: &str| {
        let row: Value = serde_json::from_str(line).unwrap();
        (row["key"].as_str().unwrap().to_owned(), row["value"].to_string().len())
    };
    Ok(export.text().lines().map(row).collect())
}

async fn put(node: &Node, model: &mut Model, key: &str, value: &Value) {
    let body = value.to_string();
    let headers = [("content-type", "application/json")];
    let stored = call(&node.owner(), "PUT", &format!("/v1/kv/b/{key}"), &headers, body.clone()).await;
    assert!(stored.status < 300, "{stored:?}");
    model.insert(key.to_owned(), body.len());
}

async fn delete(node: &Node, model: &mut Model, key: &str) {
    let gone = call(&node.owner(), "DELETE", &format!("/v1/kv/b/{key}"), &[], "").await;
    assert!(gone.status < 300, "{gone:?}");
    assert!(model.remove(key).is_some());
}

fn key(n: usize) -> String {
    format!("key-{n:04}")
}

/// A bucket with rows of which some were changed and some deleted, by different nodes.
async fn filled(nodes: &[Node; 3]) -> Model {
    let made = call(&nodes[0].owner(), "PUT", "/v1/buckets/b", &[], r#"{"kind":"lww"}"#).await;
    assert_eq!(made.status, 201);
    let values: Vec<Value> = (0..ROWS).map(|n| json!({ "id": key(n), "text": "x".repeat(n % 50) })).collect();
    let rows: Vec<String> = values.iter().map(|value| format!("{value}\n")).collect();
    let imported =
        call(&nodes[0].owner(), "POST", "/v1/buckets/b/import?format=ndjson&key=id", &[], rows.concat()).await;
    assert_eq!(imported.status, 200, "{imported:?}");
    let mut model = values.iter().enumerate().map(|(n, value)| (key(n), value.to_string().len())).collect();
    for n in (0..ROWS).step_by(70) {
        delete(&nodes[1], &mut model, &key(n)).await;
        put(&nodes[2], &mut model, &key(n + 1), &json!({ "n": n })).await;
    }
    model
}

#[tokio::test]
async fn every_node_lists_and_exports_all_or_says_that_it_cannot() {
    let dir = tempfile::tempdir().unwrap();
    let seats = ["a", "b", "c"].map(|name| Seat::new(&dir, name));
    let mut nodes = three(&seats).await;
    let mut model = filled(&nodes).await;
    for node in &nodes {
        assert_eq!(listed(node, 100).await.unwrap(), model);
        assert_eq!(listed(node, 1000).await.unwrap(), model);
        assert_eq!(exported(node).await.unwrap(), model);
        let admin = node.client(&format!("admin-{}", node.pid()), &["admin"]).await;
        let page = call(&admin, "GET", "/data/b?before=key-0300", &[("accept", "text/html")], "").await;
        assert_eq!(page.status, 200, "{page:?}");
        let shows = |n: usize| page.text().contains(&key(n));
        assert!(shows(299) && shows(202) && !shows(280) && !shows(301), "the hundred before it, one of them deleted");
    }

    nodes[2].kill();
    for n in [5, 105, 405] {
        delete(&nodes[0], &mut model, &key(n)).await;
        put(&nodes[1], &mut model, &key(n + 1), &json!("another value")).await;
        put(&nodes[0], &mut model, &key(ROWS + n), &json!("a new one")).await;
    }
    for node in &nodes[..2] {
        assert_eq!(listed(node, 100).await.unwrap(), model, "with one node dead");
        assert_eq!(exported(node).await.unwrap(), model, "with one node dead");
    }

    // It missed all that; whatever it says is whole nevertheless.
    nodes[2] = seats[2].start(&[]).await;
    let back = eventually("it reaches another owner", async || listed(&nodes[2], 1000).await.ok()).await;
    assert_eq!(back, model);
    let back = eventually("it reaches another owner", async || exported(&nodes[2]).await.ok()).await;
    assert_eq!(back, model);

    nodes[0].kill();
    nodes[1].kill();
    let code = (503, "no_quorum".to_owned());
    let alone = eventually("it notices", async || listed(&nodes[2], 100).await.err()).await;
    assert_eq!(alone.problem(), code);
    assert_eq!(exported(&nodes[2]).await.unwrap_err().problem(), code);
}

#[tokio::test]
async fn a_bucket_that_is_removed_is_gone_everywhere_and_one_of_its_name_is_empty() {
    let dir = tempfile::tempdir().unwrap();
    let seats = ["a", "b", "c"].map(|name| Seat::new(&dir, name));
    let nodes = three(&seats).await;
    let model = filled(&nodes).await;
    assert_eq!(listed(&nodes[2], 1000).await.unwrap(), model);
    let removed = call(&nodes[1].owner(), "DELETE", "/v1/buckets/b", &[], "").await;
    assert!(removed.status < 300, "{removed:?}");
    for node in &nodes {
        let gone = eventually("the bucket is gone", async || listed(node, 100).await.err()).await;
        assert_eq!(gone.problem(), (404, "no_such_bucket".to_owned()));
    }
    let made = call(&nodes[2].owner(), "PUT", "/v1/buckets/b", &[], "{}").await;
    assert_eq!(made.status, 201);
    for node in &nodes {
        let empty = eventually("the new bucket", async || listed(node, 100).await.ok()).await;
        assert_eq!(empty, Model::new());
    }
}
