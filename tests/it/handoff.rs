//! Slots on their way between real nodes: what grows, what crosses the line for it, and what becomes of it when a process
//! is killed in the middle.

use std::path::Path;
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::atomic::AtomicBool;
use std::sync::atomic::Ordering;

use hyper::Method;
use ringfort::base::id::BucketId;
use ringfort::cli::client::Client;
use ringfort::proto::ring::partition_of;
use serde_json::Value;
use serde_json::json;

use crate::cluster::free_ports;
use crate::cluster::rounds;
use crate::support;
use crate::support::call;
use crate::support::client;
use crate::support::eventually;

/// A node of its own, started by hand.
struct Single {
    node: support::Node,
    url: String,
}

impl Single {
    async fn start(dir: &Path, name: &str, join: Option<&str>) -> Self {
        Self::start_at(dir, name, join, 0).await
    }

    /// For one that comes back where it was: where others look for it.
    async fn start_at(dir: &Path, name: &str, join: Option<&str>, peers: u16) -> Self {
        let peers = format!("127.0.0.1:{peers}");
        let words = ["--listen", "http://127.0.0.1:0", "--peer-listen", &peers, "--name", name];
        let words = [&words[..], &join.map_or(vec![], |token| vec!["--join", token])].concat();
        let node = support::Node::start_saying(&dir.join(name), &[], &words).await;
        let url = node.url().await;
        Self { node, url }
    }

    async fn invite(&self) -> String {
        let made =
            self.node.owner().tell(Method::POST, "/v1/invites", &json!({})).await.map_err(|f| f.message).unwrap();
        made["token"].as_str().unwrap().to_owned()
    }

    /// Waits until so many nodes own data, all of them have it, and nothing moves.
    async fn owners_are(&self, count: usize) {
        eventually(&format!("{count} owners"), async || {
            let ring = self.node.status().await["ring"].clone();
            let at_rest = ring["moving"] == 0 && ring["behind"] == 0;
            (at_rest && ring["nodes"].as_array()?.len() == count).then_some(())
        })
        .await;
    }

    async fn merged_bytes(&self) -> u64 {
        self.node.status().await["ring"]["merged_bytes"].as_u64().unwrap()
    }

    /// Who is within the first three of each partition's owners, in order of the partitions.
    async fn first_three(&self) -> Vec<Vec<Value>> {
        let ring = self.node.owner().ask(Method::GET, "/v1/ring").await.map_err(|f| f.message).unwrap();
        let three =
            |partition: &Value| partition["now"]["owners"].as_array().unwrap().iter().take(3).cloned().collect();
        ring["partitions"].as_array().unwrap().iter().map(three).collect()
    }
}

/// How many of the growing bucket's keys are in each partition.
fn keys_of_partitions(keys: usize) -> Vec<usize> {
    let mut counts = vec![0; 256];
    for key in 0..keys {
        // The first bucket that was made.
        counts[usize::from(partition_of(BucketId(1), format!("k{key}").as_bytes()).0)] += 1;
    }
    counts
}

/// Reads keys at one node after the other until told to stop; each must be there at every moment.
async fn read_on(urls: Arc<Mutex<Vec<String>>>, token: String, keys: usize, stop: Arc<AtomicBool>) -> usize {
    let mut reads = 0;
    while !stop.load(Ordering::Relaxed) {
        let url = {
            let urls = urls.lock().unwrap();
            urls[reads % urls.len()].clone()
        };
        let path = format!("/v1/kv/t/k{}", reads * 7919 % keys);
        let read = call(&client(&url, Some(&token)), "GET", &path, &[], "").await;
        assert_eq!(read.status, 200, "{path} at {url}: {read:?}");
        reads += 1;
    }
    reads
}

/// A receiver that is killed in the middle; what it had noted is not merged again, and nobody gave up anything for it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_receiver_that_is_killed_goes_on_where_it_was_and_nobody_forgets_before_it_has_all() {
    const KEYS: usize = 3_000;
    let dir = tempfile::tempdir().unwrap();
    let mut nodes = vec![Single::start(dir.path(), "n1", None).await];
    let token = nodes[0].node.token("t", &["admin"]).await;
    import(&nodes[0], &token, KEYS, 1_000).await;
    for name in ["n2", "n3"] {
        nodes.push(Single::start(dir.path(), name, Some(&nodes[0].invite().await)).await);
    }
    nodes[0].owners_are(3).await;
    let whole = nodes[2].merged_bytes().await;
    let (port, invite) = (free_ports(1), nodes[0].invite().await);
    let mut last = Single::start_at(dir.path(), "n4", Some(&invite), port).await;
    let (left, brought) = eventually("some of it merged", async || {
        let ring = last.node.owner().ask(Method::GET, "/v1/ring").await.ok()?;
        let (left, bytes) = (ring["handoff"]["partitions"].as_u64()?, ring["handoff"]["bytes"].as_u64()?);
        (bytes > 0).then_some((left, bytes))
    })
    .await;
    last.node.kill();
    for key in (0..KEYS).step_by(37) {
        let (phase, held) = holders(&nodes[0], key, &["n1", "n2", "n3"]).await;
        assert!(held == 3 || held == 2 && phase == "settled", "k{key}: {held}, {phase}, {left} slots on their way");
    }
    let last = Single::start_at(dir.path(), "n4", None, port).await;
    nodes[0].owners_are(4).await;
    nodes.push(last);
    for key in (0..KEYS).step_by(37) {
        assert_eq!(holders(&nodes[0], key, &["n1", "n2", "n3", "n4"]).await, ("settled".to_owned(), 3), "k{key}");
        for node in &nodes {
            let read = call(&client(&node.url, Some(&token)), "GET", &format!("/v1/kv/t/k{key}"), &[], "").await;
            assert_eq!(read.status, 200, "k{key}: {read:?}");
        }
    }
    let again = nodes[3].merged_bytes().await;
    println!("killed after {brought} of {whole} bytes with {left} slots to go; then {again}");
    // Three quarters of all, of which a few slots on their way crossed the line twice.
    let (both, least) = ((brought + again) as f64, whole as f64 * 0.75);
    assert!(both <= least * 1.15, "{both} of {least}");
}

/// Puts keys into the bucket `t` of a node.
async fn import(node: &Single, token: &str, keys: usize, bytes: usize) {
    let asker = client(&node.url, Some(token));
    assert_eq!(call(&asker, "PUT", "/v1/buckets/t", &[], "{\"kind\":\"lww\"}").await.status, 201);
    let value = "v".repeat(bytes);
    let rows: String = (0..keys).map(|key| format!("{{\"key\":\"k{key}\",\"value\":\"{value}\"}}\n")).collect();
    let import = call(&asker, "POST", "/v1/buckets/t/import?format=ndjson", &[], rows).await;
    assert_eq!(import.status, 200, "{import:?}");
}

/// How it is with a key's partition, and on how many of these nodes' disks the key is.
async fn holders(at: &Single, key: usize, names: &[&str]) -> (String, usize) {
    let path = format!("/v1/where/t/k{key}");
    let found = at.node.owner().ask(Method::GET, &path).await.map_err(|f| f.message).unwrap();
    let owners = found["owners"].as_array().unwrap();
    let holds = |one: &&Value| names.contains(&one["name"].as_str().unwrap()) && one["holds"]["values"] == 1;
    (found["phase"].as_str().unwrap().to_owned(), owners.iter().filter(holds).count())
}

/// What stands at a key as one node tells it: the lengths and first letters of its values.
async fn values(at: &Client, path: &str) -> Vec<(usize, char)> {
    let what = |text: &str| (text.len(), text.chars().next().unwrap());
    let read = call(at, "GET", path, &[], "").await;
    if read.status != 300 {
        assert_eq!(read.status, 200, "{path}");
        return vec![what(read.text())];
    }
    let mut values = Vec::new();
    for number in 0..read.json()["siblings"].as_array().unwrap().len() {
        let one = call(at, "GET", &format!("{path}?sibling={number}"), &[], "").await;
        assert_eq!(one.status, 200, "{path} {number}");
        values.push(what(one.text()));
    }
    values.sort_unstable();
    values
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn values_of_one_key_that_are_longer_than_a_frame_are_written_read_and_handed_over() {
    const BYTES: usize = 1_000_000;
    let dir = tempfile::tempdir().unwrap();
    let mut nodes = vec![Single::start(dir.path(), "n1", None).await];
    let token = nodes[0].node.token("t", &["admin"]).await;
    for name in ["n2", "n3"] {
        nodes.push(Single::start(dir.path(), name, Some(&nodes[0].invite().await)).await);
    }
    nodes[0].owners_are(3).await;
    let made = call(&client(&nodes[0].url, Some(&token)), "PUT", "/v1/buckets/t", &[], "{\"kind\":\"siblings\"}").await;
    assert_eq!(made.status, 201, "{made:?}");
    let put = async |node: usize, key: &str, letter: char| {
        let (path, body) = (format!("/v1/kv/t/{key}"), letter.to_string().repeat(BYTES));
        let at = client(&nodes[node].url, Some(&token));
        call(&at, "PUT", &path, &[("content-type", "text/plain")], body).await.status
    };
    for (node, letter) in (0..).zip(['a', 'b', 'c']) {
        assert_eq!(put(node, "one", letter).await, 200, "{letter}");
    }
    let at = client(&nodes[1].url, Some(&token));
    eventually("all three on the second", async || {
        let local = call(&at, "GET", "/v1/kv/t/one?consistency=local", &[], "").await;
        (local.status == 300 && local.json()["siblings"].as_array().unwrap().len() == 3).then_some(())
    })
    .await;
    let refused = put(1, "one", 'd').await;
    assert_eq!(refused, 413, "three fit beside each other, and the fourth is refused before anything is stored");
    // At the same time each owner takes what it has room for; whatever was acked stays.
    let letters: Vec<char> = ('a'..='i').collect();
    let puts = letters.iter().enumerate().map(|(at, letter)| put(at % 3, "many", *letter));
    let answers = futures_util::future::join_all(puts).await;
    assert!(answers.iter().all(|status| [200, 413, 503, 504].contains(status)), "{answers:?}");
    let acked: Vec<(usize, char)> = letters
        .iter()
        .zip(&answers)
        .filter(|(_, status)| **status == 200)
        .map(|(letter, _)| (BYTES, *letter))
        .collect();
    println!("of nine at the same time {} were acked: {answers:?}", acked.len());
    nodes.push(Single::start(dir.path(), "n4", Some(&nodes[0].invite().await)).await);
    nodes[0].owners_are(4).await;
    for node in &nodes {
        let at = client(&node.url, Some(&token));
        assert_eq!(values(&at, "/v1/kv/t/one").await, [(BYTES, 'a'), (BYTES, 'b'), (BYTES, 'c')]);
        let many = values(&at, "/v1/kv/t/many").await;
        assert!(acked.iter().all(|value| many.contains(value)), "{acked:?} {many:?}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_one_node_wrote_alone_grows_into_a_cluster_and_shrinks_with_it_and_is_readable_all_along() {
    let keys: usize = if rounds() > 1 { 100_000 } else { 3_000 };
    let dir = tempfile::tempdir().unwrap();
    let first = Single::start(dir.path(), "n1", None).await;
    let token = first.node.token("t", &["admin"]).await;
    import(&first, &token, keys, 100).await;
    let asker = client(&first.url, Some(&token));
    let urls = Arc::new(Mutex::new(vec![first.url.clone()]));
    let stop = Arc::new(AtomicBool::new(false));
    let readers: Vec<_> =
        (0..4).map(|_| tokio::spawn(read_on(Arc::clone(&urls), token.clone(), keys, Arc::clone(&stop)))).collect();
    let (mut nodes, mut before, mut least) = (Vec::new(), first.first_three().await, 0);
    let per_partition = keys_of_partitions(keys);
    for (number, owners) in [(2, 1), (3, 3), (4, 4), (5, 5)] {
        let node = Single::start(dir.path(), &format!("n{number}"), Some(&first.invite().await)).await;
        first.owners_are(owners).await;
        urls.lock().unwrap().push(node.url.clone());
        nodes.push(node);
        let after = first.first_three().await;
        for (at, (before, after)) in before.iter().zip(&after).enumerate() {
            least += per_partition[at] * after.iter().filter(|node| !before.contains(node)).count();
        }
        before = after;
    }
    let mut merged = vec![first.merged_bytes().await];
    for node in &nodes {
        merged.push(node.merged_bytes().await);
    }
    // The third got all of it, and nothing when the others came.
    let least = least as f64 * merged[2] as f64 / keys as f64;
    let payload = merged.iter().sum::<u64>() as f64 / least;
    println!("grown to five: {merged:?} bytes of objects came for slots, {payload:.3} of the least");
    assert!(payload <= 1.05, "{payload}");
    for left in [4, 3] {
        let node = nodes.pop().unwrap();
        urls.lock().unwrap().pop();
        let id = node.node.status().await["node"].clone();
        let path = format!("/v1/members/{id}/leave");
        let answer = call(&asker, "POST", &path, &[], "{}").await;
        assert_eq!(answer.status, 200, "{answer:?}");
        first.owners_are(left).await;
    }
    stop.store(true, Ordering::Relaxed);
    let mut reads = 0;
    for reader in readers {
        reads += reader.await.unwrap();
    }
    println!("{reads} reads, all answered");
    assert!(reads > 100);
    for node in nodes.iter().chain([&first]) {
        let client = client(&node.url, Some(&token));
        for key in (0..keys).step_by(37) {
            assert_eq!(call(&client, "GET", &format!("/v1/kv/t/k{key}"), &[], "").await.status, 200, "k{key}");
        }
    }
}
