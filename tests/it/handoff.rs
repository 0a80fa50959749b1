//! Slots on their way between real nodes: what grows, what crosses the line for it, and what becomes of it when a process
//! is killed in the middle.

use std::collections::BTreeMap;
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
        let words = ["--listen", "http://127.0.0.1:0", "--peer-listen", "127.0.0.1:0", "--name", name];
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

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_one_node_wrote_alone_grows_into_a_cluster_and_shrinks_with_it_and_is_readable_all_along() {
    let keys: usize = if rounds() > 1 { 100_000 } else { 3_000 };
    let dir = tempfile::tempdir().unwrap();
    let first = Single::start(dir.path(), "n1", None).await;
    let token = first.node.token("t", &["admin"]).await;
    let asker = client(&first.url, Some(&token));
    assert_eq!(call(&asker, "PUT", "/v1/buckets/t", &[], "{\"kind\":\"lww\"}").await.status, 201);
    let rows: String =
        (0..keys).map(|key| format!("{{\"key\":\"k{key}\",\"value\":\"{}\"}}\n", "v".repeat(100))).collect();
    let import = call(&asker, "POST", "/v1/buckets/t/import?format=ndjson", &[], rows).await;
    assert_eq!(import.status, 200, "{import:?}");
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
