//! Owners that do not hold the same become equal by themselves, and then nothing more is repaired: after a partition was
//! lost on one disk, after a node was away and those who knew what it missed forgot it, after half of all messages was
//! lost. And graves go. `tests/run --converge` does it with 100 MiB and watches for ten minutes.

use std::ops::ControlFlow;
use std::path::Path;
use std::process::Command;
use std::time::Duration;
use std::time::Instant;

use hyper::Method;
use ringfort::base::id::BucketId;
use ringfort::base::id::PartitionId;
use ringfort::cli::client::full;
use ringfort::proto::ring::partition_of;
use ringfort::store::data_dir::DataDir;
use ringfort::store::index::Change;
use ringfort::store::index::Index;
use ringfort::store::index::salvage;
use ringfort::store::marks::MarksFile;
use rustix::process::Signal;
use serde_json::Value;
use serde_json::json;

use crate::cluster::Cluster;
use crate::support::call;
use crate::support::eventually;
use crate::wire::setting;

/// The one bucket of these tests, the first that was made.
const BUCKET: BucketId = BucketId(1);
/// Devices that write at a time.
const WRITERS: usize = 16;

/// How much there is, and how long it has to stay quiet.
struct Size {
    keys: usize,
    value: usize,
    quiet: Duration,
}

impl Size {
    fn wanted() -> Self {
        let mib = usize::try_from(setting("RINGFORT_CONVERGE_MIB", 0)).unwrap();
        let quiet = Duration::from_secs(setting("RINGFORT_CONVERGE_QUIET", 6));
        match mib {
            0 => Self { keys: 600, value: 200, quiet },
            mib => Self { keys: mib * 100, value: 1024 * 1024 / 100, quiet },
        }
    }

    /// The bar: 30 s, and 10 s for each 100 MB.
    fn bound(&self) -> Duration {
        Duration::from_secs(30) + Duration::from_secs(10) * u32::try_from(self.keys * self.value / 100_000_000).unwrap()
    }
}

async fn cluster() -> Cluster {
    let cluster = Cluster::start(3).await;
    cluster.bucket("t", json!({ "kind": "siblings", "n": 3, "r": 2, "w": 2 })).await;
    cluster
}

/// Writes these keys at some of the nodes, each until it is acked.
async fn write(cluster: &Cluster, nodes: &[usize], keys: std::ops::Range<usize>, value: usize) {
    let mut writers = Vec::new();
    for writer in 0..WRITERS {
        let clients: Vec<_> = nodes.iter().map(|node| cluster.client(*node)).collect();
        let keys: Vec<usize> = keys.clone().filter(|key| key % WRITERS == writer).collect();
        writers.push(tokio::spawn(async move {
            for key in keys {
                let body = format!("{key}.").repeat(value / format!("{key}.").len() + 1);
                let (path, name) = (format!("/v1/kv/t/k{key}"), format!("once-{key}"));
                let named = [("idempotency-key", name.as_str())];
                for client in clients.iter().cycle().take(60) {
                    let put = client.send(Method::PUT, &path, &named, full(body.clone())).await;
                    if put.is_ok_and(|answer| answer.head.status == 200) {
                        break;
                    }
                }
            }
        }));
    }
    for writer in writers {
        writer.await.unwrap();
    }
}

async fn convergence(cluster: &Cluster, node: usize) -> Option<Value> {
    let answer = cluster.client(node).ask(Method::GET, "/v1/convergence").await;
    answer.ok()
}

/// Waits until all nodes say that all owners of all partitions hold the same; returns how long that took.
async fn equal(cluster: &Cluster) -> Duration {
    let began = Instant::now();
    eventually("equal owners", async || {
        let mut digests = Vec::new();
        for node in 0..3 {
            let said = convergence(cluster, node).await?;
            let partitions = said["partitions"].as_array()?;
            let same = |other: &Value| other["same_s"].as_u64().is_some_and(|s| s <= began.elapsed().as_secs());
            let compared = |partition: &Value| {
                let others = partition["others"].as_array().unwrap();
                others.len() == 2 && others.iter().all(same)
            };
            if said["differing"] != 0 || said["unsettled"] != 0 || !partitions.iter().all(compared) {
                return None;
            }
            digests.push(said["digest"].as_str()?.to_owned());
        }
        digests.windows(2).all(|pair| pair[0] == pair[1]).then_some(())
    })
    .await;
    began.elapsed()
}

/// What all nodes have repaired so far.
async fn repaired(cluster: &Cluster) -> u64 {
    let mut sum = 0;
    for node in 0..3 {
        let said = convergence(cluster, node).await.unwrap();
        sum += ["differing", "brought", "sent"].iter().map(|name| said["done"][name].as_u64().unwrap()).sum::<u64>();
    }
    sum
}

/// Every owner holds the same of some keys, as operators see it.
async fn held_by_all(cluster: &Cluster, keys: impl Iterator<Item = usize>) {
    for key in keys {
        let said = call(&cluster.client(0), "GET", &format!("/v1/where/t/k{key}"), &[], "").await.json();
        let holds: Vec<&Value> = said["owners"].as_array().unwrap().iter().map(|owner| &owner["holds"]).collect();
        assert_eq!(holds.len(), 3, "{said}");
        assert!(holds.iter().all(|held| *held == holds[0] && held["values"] == 1), "k{key}: {said}");
    }
}

/// Nothing is repaired while nothing goes wrong.
async fn quiet(cluster: &Cluster, size: &Size) {
    let before = repaired(cluster).await;
    let compared = async || convergence(cluster, 0).await.unwrap()["done"]["compared"].as_u64().unwrap();
    let (began, first) = (Instant::now(), compared().await);
    while began.elapsed() < size.quiet || compared().await == first {
        tokio::time::sleep(Duration::from_secs(1).min(size.quiet)).await;
        assert_eq!(repaired(cluster).await, before, "repaired without a fault");
    }
    eprintln!("  then 0 repairs in {:?}, {} roots compared by one node", began.elapsed(), compared().await - first);
}

/// Takes all rows of these partitions out of a stopped node's index; how many there were.
fn lose(cluster: &Cluster, node: usize, partitions: &[PartitionId]) -> usize {
    let index = salvage::open(&cluster.data(node).join("index")).unwrap().index;
    let mut places = Vec::new();
    for partition in partitions {
        let end = partition.0.checked_add(1).map_or(vec![255; 2000], |next| vec![next]);
        index
            .scan(&[partition.0], &end, &mut |place, _| {
                places.push(place.to_vec());
                ControlFlow::Continue(())
            })
            .unwrap();
    }
    let changes: Vec<_> = places.iter().map(|place| Change { place, object: None }).collect();
    index.apply(&changes).unwrap();
    index.settle(Instant::now() + Duration::from_secs(30)).unwrap();
    places.len()
}

/// Stops a node in order: all that it acked is in its index, and none of it is replayed.
async fn stop(cluster: &Cluster, node: usize) {
    rustix::process::kill_process(cluster.pid(node), Signal::TERM).unwrap();
    let socket = cluster.data(node).join("LOCK");
    eventually("a node that has stopped", async || {
        let lock = std::fs::File::open(&socket).ok()?;
        lock.try_lock().ok()
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_partition_lost_on_one_disk_comes_back_from_the_others() {
    let (mut cluster, size) = (cluster().await, Size::wanted());
    write(&cluster, &[0, 1, 2], 0..size.keys, size.value).await;
    println!("{} keys, {} MiB; equal after {:?}", size.keys, (size.keys * size.value) >> 20, equal(&cluster).await);
    let of = |key: &usize| partition_of(BUCKET, format!("k{key}").as_bytes());
    let lost = of(&0);
    // With much data all of it: the worst that there is.
    let partitions: Vec<_> = if size.keys > 1_000 { PartitionId::all().collect() } else { vec![lost] };
    stop(&cluster, 1).await;
    let rows = lose(&cluster, 1, &partitions);
    assert!(rows > 0);
    cluster.start_again(1);
    cluster.ready(1).await;
    let took = equal(&cluster).await;
    println!("{rows} rows lost on one disk: equal after {took:?}");
    assert!(took <= size.bound(), "{took:?}");
    held_by_all(&cluster, (0..size.keys).filter(|key| of(key) == lost)).await;
    let done = repaired(&cluster).await;
    assert!(done >= rows as u64, "{done} of {rows}");
    // Whoever was first to find it says how long it lasted; the other pair may have been the same by its next round.
    let mut healed = Vec::new();
    for node in 0..3 {
        let said = convergence(&cluster, node).await.unwrap();
        assert_eq!(said["heals_s"], Value::Null, "nothing differs any more: {}", said["nodes"]);
        healed.extend(said["healed_s"].as_u64());
    }
    assert!(!healed.is_empty() && healed.iter().all(|s| *s <= took.as_secs() + 1), "{healed:?} of {took:?}");
    quiet(&cluster, &size).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_node_missed_comes_to_it_also_where_those_who_knew_forgot() {
    let (mut cluster, size) = (cluster().await, Size::wanted());
    cluster.signal(2, Signal::KILL);
    write(&cluster, &[0, 1], 0..size.keys, size.value).await;
    for node in [0, 1] {
        cluster.signal(node, Signal::KILL);
        eventually("a killed node", async || {
            std::fs::File::open(cluster.data(node).join("LOCK")).ok()?.try_lock().ok()
        })
        .await;
        let marks = MarksFile::open(&cluster.data(node).join("journal")).unwrap();
        marks.change(|marks| marks.missed.clear()).unwrap();
    }
    for node in 0..3 {
        cluster.start_again(node);
    }
    for node in 0..3 {
        cluster.ready(node).await;
    }
    let took = equal(&cluster).await;
    println!("{} keys missed and forgotten: equal after {took:?}", size.keys);
    assert!(took <= size.bound(), "{took:?}");
    held_by_all(&cluster, (0..size.keys).step_by(size.keys / 50)).await;
    quiet(&cluster, &size).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn owners_are_equal_after_half_of_all_messages_was_lost() {
    let (cluster, size) = (cluster().await, Size::wanted());
    cluster.cut("loss=50");
    write(&cluster, &[0, 1, 2], 0..size.keys.min(1_000), size.value).await;
    cluster.cut("");
    let took = equal(&cluster).await;
    println!("half of all messages lost: equal after {took:?}");
    assert!(took <= size.bound(), "{took:?}");
    quiet(&cluster, &size).await;
}

/// How many graves all nodes have let go.
async fn purged(cluster: &Cluster) -> u64 {
    let mut sum = 0;
    for node in 0..3 {
        let text = call(&cluster.client(node), "GET", "/metrics", &[], "").await;
        let line = text.text().lines().find(|line| line.starts_with("ringfort_purged_graves_total "));
        sum += line.and_then(|line| line.split(' ').nth(1)).unwrap().parse::<u64>().unwrap();
    }
    sum
}

/// What owners hold of a key, as operators see it; none where one cannot say.
async fn held(cluster: &Cluster, key: &str) -> Option<Vec<Value>> {
    let said = call(&cluster.client(0), "GET", &format!("/v1/where/t/{key}"), &[], "").await.json();
    let owners = said["owners"].as_array()?;
    owners.iter().map(|owner| Some(owner["holds"].clone()).filter(|held| !held.is_null())).collect()
}

async fn delete(cluster: &Cluster, key: &str) {
    let read = call(&cluster.client(0), "GET", &format!("/v1/kv/t/{key}"), &[], "").await;
    let context = [("ringfort-context", read.context())];
    let deleted = call(&cluster.client(0), "DELETE", &format!("/v1/kv/t/{key}"), &context, "").await;
    assert_eq!(deleted.status, 200, "{deleted:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn graves_go_when_all_hold_them_and_not_before_and_nothing_comes_back() {
    let mut cluster = cluster().await;
    for key in ["gone", "missed", "stays"] {
        let put = call(&cluster.client(0), "PUT", &format!("/v1/kv/t/{key}"), &[], "v").await;
        assert_eq!(put.status, 200, "{put:?}");
    }
    delete(&cluster, "gone").await;
    let nothing = json!({ "context": null, "size": 0, "values": 0 });
    eventually("a grave that went", async || {
        held(&cluster, "gone").await?.iter().all(|held| *held == nothing).then_some(())
    })
    .await;
    assert_eq!(purged(&cluster).await, 3, "one on each owner");
    // One owner is away and misses a deletion: its grave stays for as long.
    cluster.signal(2, Signal::KILL);
    delete(&cluster, "missed").await;
    let kept = Instant::now();
    eventually("time in which it would have gone", async || (kept.elapsed() > Duration::from_secs(25)).then_some(()))
        .await;
    let grave = |held: &Value| held["values"] == 0 && !held["context"].is_null();
    let said = call(&cluster.client(0), "GET", "/v1/where/t/missed", &[], "").await.json();
    let holds = said["owners"].as_array().unwrap().iter().filter(|owner| grave(&owner["holds"])).count();
    assert_eq!(holds, 2, "{said}");
    cluster.start_again(2);
    cluster.ready(2).await;
    eventually("a grave that all hold, and that went", async || {
        held(&cluster, "missed").await?.iter().all(|held| *held == nothing).then_some(())
    })
    .await;
    for node in 0..3 {
        for (key, status) in [("gone", 404), ("missed", 404), ("stays", 200)] {
            let read = call(&cluster.client(node), "GET", &format!("/v1/kv/t/{key}?consistency=all"), &[], "").await;
            assert_eq!(read.status, status, "{key} at node {node}: {read:?}");
        }
    }
    // A key whose grave went is a key like any other.
    let put = call(&cluster.client(1), "PUT", "/v1/kv/t/gone", &[], "again").await;
    assert_eq!(put.status, 200, "{put:?}");
    equal(&cluster).await;
}

/// Ends a node and waits until its directory is free.
async fn kill(cluster: &Cluster, node: usize) {
    cluster.signal(node, Signal::KILL);
    let data = cluster.data(node);
    eventually("the end of the node", async || DataDir::open(&data).is_ok().then_some(())).await;
}

fn copy(from: &Path, to: &Path) {
    assert!(Command::new("cp").arg("-a").args([from, to]).status().unwrap().success());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_disk_that_went_back_behind_a_purge_brings_nothing_back() {
    const VICTIM: usize = 2;
    const EACH: u64 = 8;
    let mut cluster = cluster().await;
    let keys: Vec<String> = (0..EACH).flat_map(|n| [format!("gone-{n}"), format!("stays-{n}")]).collect();
    for key in &keys {
        let put = call(&cluster.client(0), "PUT", &format!("/v1/kv/t/{key}?w=3"), &[], "v").await;
        assert_eq!(put.status, 200, "{put:?}");
    }
    kill(&cluster, VICTIM).await;
    let kept = cluster.dir.path().join("kept");
    copy(&cluster.data(VICTIM), &kept);
    cluster.start_again(VICTIM);
    cluster.ready(VICTIM).await;
    for key in keys.iter().filter(|key| key.starts_with("gone")) {
        delete(&cluster, key).await;
    }
    eventually("graves that went", async || (purged(&cluster).await == 3 * EACH).then_some(())).await;
    kill(&cluster, VICTIM).await;
    std::fs::remove_dir_all(cluster.data(VICTIM)).unwrap();
    copy(&kept, &cluster.data(VICTIM));
    cluster.start_again(VICTIM);
    cluster.ready(VICTIM).await;
    equal(&cluster).await;
    let nothing = json!({ "context": null, "size": 0, "values": 0 });
    for key in &keys {
        let (gone, path) = (key.starts_with("gone"), format!("/v1/kv/t/{key}"));
        for node in 0..3 {
            for how in ["?consistency=all", "?consistency=local"] {
                let read = call(&cluster.client(node), "GET", &format!("{path}{how}"), &[], "").await;
                assert_eq!(read.status, if gone { 404 } else { 200 }, "{key}{how} at node {node}: {read:?}");
            }
        }
        let held = eventually("what all owners hold", async || held(&cluster, key).await).await;
        assert!(held.iter().all(|held| (*held == nothing) == gone), "{key}: {held:?}");
    }
}
