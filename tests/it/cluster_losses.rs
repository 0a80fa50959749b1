//! One node of three loses what it had acked, each way there is, while devices write: it notices, says so, serves nothing
//! before it has it back, and no acked write is lost. With real processes.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::path::PathBuf;
use std::process::Command;
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::atomic::AtomicBool;
use std::sync::atomic::Ordering;
use std::time::Instant;
use std::time::SystemTime;

use ringfort::cli::client::Client;
use ringfort::store::data_dir::DataDir;
use rustix::process::Signal;
use serde_json::Value;
use serde_json::json;

use crate::cluster::Cluster;
use crate::support::PATIENCE;
use crate::support::call;
use crate::support::client;
use crate::support::eventually;

/// The one that loses something.
const VICTIM: usize = 2;
/// Of the node that is asked, and of no other.
const LOCAL: &str = "?consistency=local";
/// Writes that are acked before it does.
const WRITES: usize = 300;

type Acked = Arc<Mutex<BTreeMap<String, String>>>;

/// Writes one key after the other, at the nodes in turn, until it is told to stop.
struct Writer {
    stop: Arc<AtomicBool>,
    task: tokio::task::JoinHandle<()>,
}

impl Writer {
    fn begin(cluster: &Cluster, name: &str, acked: &Acked) -> Self {
        let stop = Arc::<AtomicBool>::default();
        let clients: Vec<Client> = cluster.urls().iter().map(|url| client(url, Some(cluster.token()))).collect();
        let (acked, ended, name) = (Arc::clone(acked), Arc::clone(&stop), name.to_owned());
        let task = tokio::spawn(async move {
            for number in 0.. {
                if ended.load(Ordering::Relaxed) {
                    return;
                }
                let (key, value) = (format!("{name}-{number}"), format!("value {number} of {name}"));
                let (at, path) = (&clients[number % clients.len()], format!("/v1/kv/t/{key}"));
                let sent = at.send(hyper::Method::PUT, &path, &[], ringfort::cli::client::full(value.clone())).await;
                if sent.is_ok_and(|answer| answer.head.status == 200) {
                    acked.lock().unwrap().insert(key, value);
                }
            }
        });
        Self { stop, task }
    }

    async fn after(&self, acked: &Acked, more: usize) {
        let before = acked.lock().unwrap().len();
        eventually("acked writes", async || (acked.lock().unwrap().len() >= before + more).then_some(())).await;
    }

    async fn end(self) {
        self.stop.store(true, Ordering::Relaxed);
        self.task.await.unwrap();
    }
}

pub fn copy(from: &Path, to: &Path) {
    assert!(Command::new("cp").arg("-a").args([from, to]).status().unwrap().success());
}

pub async fn kill(cluster: &Cluster, node: usize) {
    cluster.signal(node, Signal::KILL);
    let data = cluster.data(node);
    eventually("the end of the node", async || DataDir::open(&data).is_ok().then_some(())).await;
}

fn segments(data: &Path) -> Vec<PathBuf> {
    let files = fs::read_dir(data.join("journal")).unwrap().map(|file| file.unwrap().path());
    let mut segments: Vec<_> = files.filter(|path| path.extension().is_some_and(|end| end == "seg")).collect();
    segments.sort();
    segments
}

/// In the middle of what was written last.
fn flip_a_bit(data: &Path) {
    let used = |path: &PathBuf| fs::read(path).unwrap().iter().rposition(|byte| *byte != 0).unwrap_or(0);
    let last = segments(data).into_iter().rev().find(|path| used(path) > 4096).unwrap();
    let at = used(&last) as u64 * 9 / 10;
    let file = fs::File::options().read(true).write(true).open(last).unwrap();
    let mut byte = [0];
    file.read_exact_at(&mut byte, at).unwrap();
    file.write_all_at(&[byte[0] ^ 4], at).unwrap();
}

/// What is done to the directory of a node that does not run.
pub fn damage(how: &str, data: &Path, kept: &Path) {
    match how {
        "put back from a copy" => {
            fs::remove_dir_all(data).unwrap();
            copy(kept, data);
        }
        "segments gone" => segments(data).iter().for_each(|path| fs::remove_file(path).unwrap()),
        "a flipped bit" => flip_a_bit(data),
        "the index gone" => fs::remove_dir_all(data.join("index")).unwrap(),
        "the journal gone" => fs::remove_dir_all(data.join("journal")).unwrap(),
        "the marks gone" => fs::remove_file(data.join("journal/marks")).unwrap(),
        other => panic!("{other}"),
    }
}

async fn get(client: &Client, path: &str) -> Option<Value> {
    let answer = client.send(hyper::Method::GET, path, &[], ringfort::cli::client::full("")).await.ok()?;
    let reply = crate::support::Reply::read(answer).await;
    (reply.status == 200).then(|| reply.json())
}

/// The others say of it that it is recovering, and it says why.
async fn says_that_it_lost_something(cluster: &Cluster) -> String {
    let (other, victim) = (cluster.client(0), cluster.client(VICTIM));
    let (mut seen, mut why) = (false, None);
    eventually("a node that recovers and says why", async || {
        let members = get(&other, "/v1/members").await?;
        seen |= members["members"][VICTIM]["serving"] == "recovering";
        if let Some(status) = get(&victim, "/v1/status").await {
            let alarm =
                status["alarms"].as_array().unwrap().iter().find(|alarm| alarm["code"] == "recovering").cloned();
            if let Some(alarm) = alarm {
                why = Some(alarm["text"].as_str().unwrap().to_owned());
                let ready = call(&victim, "GET", "/readyz", &[], "").await;
                assert!(ready.status == 503 || get(&victim, "/v1/status").await?["serving"] == "yes", "{ready:?}");
            }
        }
        why.clone().filter(|_| seen)
    })
    .await
}

/// Every acked write, at every node; and what the victim itself holds, once it has heard also of what was written meanwhile.
async fn all_is_there(cluster: &Cluster, acked: &Acked) {
    let acked: Vec<_> = acked.lock().unwrap().clone().into_iter().collect();
    let mut readers = Vec::new();
    for (node, query) in [(0, ""), (1, ""), (VICTIM, ""), (0, "?r=3")] {
        for some in acked.chunks(acked.len().div_ceil(4).max(1)) {
            let (client, some) = (cluster.client(node), some.to_vec());
            readers.push(tokio::spawn(async move {
                for (key, value) in some {
                    let path = format!("/v1/kv/t/{key}{query}");
                    // Who has just come back counts for all three once the layout has heard of it.
                    let deadline = Instant::now() + PATIENCE;
                    let mut read = call(&client, "GET", &path, &[], "").await;
                    while read.status == 503 && Instant::now() < deadline {
                        read = call(&client, "GET", &path, &[], "").await;
                    }
                    assert_eq!((read.status, read.text()), (200, value.as_str()), "{key}{query} on node {}", node + 1);
                }
            }));
        }
    }
    for reader in readers {
        reader.await.unwrap();
    }
    let victim = cluster.client(VICTIM);
    for (key, value) in &acked {
        let path = format!("/v1/kv/t/{key}{LOCAL}");
        eventually("what was missed", async || {
            let read = call(&victim, "GET", &path, &[], "").await;
            (read.status == 200 && read.text() == value).then_some(())
        })
        .await;
    }
    for (key, _) in acked.iter().step_by(acked.len() / 20) {
        let path = format!("/v1/where/t/{key}");
        eventually("all owners hold the same", async || {
            let found = get(&cluster.client(0), &path).await?;
            let holds: Vec<_> = found["owners"].as_array()?.iter().map(|owner| owner["holds"].clone()).collect();
            (holds.len() == 3 && holds.iter().all(|held| *held == holds[0] && !held.is_null())).then_some(())
        })
        .await;
    }
}

/// Three nodes that are written to, what was acked so far, and a copy of the victim's directory from before the most of it.
async fn written_to() -> (Cluster, Writer, Acked, PathBuf) {
    let mut cluster = Cluster::start(3).await;
    cluster.bucket("t", json!({})).await;
    let (acked, kept) = (Acked::default(), cluster.dir.path().join("kept"));
    let writer = Writer::begin(&cluster, "first", &acked);
    writer.after(&acked, WRITES / 3).await;
    kill(&cluster, VICTIM).await;
    copy(&cluster.data(VICTIM), &kept);
    cluster.start_again(VICTIM);
    cluster.ready(VICTIM).await;
    (cluster, writer, acked, kept)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whatever_one_node_lost_is_noticed_said_and_brought_back_while_devices_write() {
    let (mut cluster, writer, acked, kept) = written_to().await;
    let lost = [
        ("put back from a copy", "went back from group "),
        ("segments gone", "it is missing"),
        ("a flipped bit", "the journal is corrupt in "),
        ("the index gone", "the index is damaged"),
        ("the journal gone", "the marks of its part in the ring are gone; the journal is corrupt in superblock"),
        ("the marks gone", "the marks of its part in the ring are gone"),
        // And of what it had been given back.
        ("put back from a copy", "is another one than that of which others know"),
    ];
    for (how, expected) in lost {
        writer.after(&acked, WRITES).await;
        kill(&cluster, VICTIM).await;
        damage(how, &cluster.data(VICTIM), &kept);
        cluster.start_again(VICTIM);
        let why = says_that_it_lost_something(&cluster).await;
        assert!(why.contains(expected), "{how}: {why}");
        cluster.ready(VICTIM).await;
        eprintln!("{how}: {why}");
    }
    writer.end().await;
    all_is_there(&cluster, &acked).await;
}

/// What a node remembers of the others is on its disk: it is noted each second, and all three are about to die at once.
async fn has_noted(cluster: &Cluster, node: usize, acked: &Acked) {
    let (client, file) = (cluster.client(node), cluster.data(node).join("journal/memory"));
    let (mut heard, mut tries) = (None, 0);
    eventually("a note of what is remembered", async || {
        tries += 1;
        let (key, value) = (format!("noted-{node}-{tries}"), format!("by {node}"));
        let put = call(&client, "PUT", &format!("/v1/kv/t/{key}?w=3"), &[], value.clone()).await;
        (put.status == 200).then_some(())?;
        acked.lock().unwrap().insert(key, value);
        let heard = *heard.get_or_insert_with(SystemTime::now);
        (fs::metadata(&file).ok()?.modified().ok()? > heard).then_some(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_three_nodes_that_start_together_the_one_that_went_back_is_noticed() {
    let (mut cluster, writer, acked, kept) = written_to().await;
    writer.after(&acked, WRITES).await;
    writer.end().await;
    for node in [0, 1] {
        has_noted(&cluster, node, &acked).await;
    }
    for node in 0..3 {
        kill(&cluster, node).await;
    }
    damage("put back from a copy", &cluster.data(VICTIM), &kept);
    (0..3).for_each(|node| cluster.start_again(node));
    let why = says_that_it_lost_something(&cluster).await;
    assert!(why.contains("went back from group "), "{why}");
    for node in 0..3 {
        cluster.ready(node).await;
    }
    // Nothing is lost: nobody else says that, and all of it is there.
    all_is_there(&cluster, &acked).await;
    for node in [0, 1] {
        let status = get(&cluster.client(node), "/v1/status").await.unwrap();
        assert_eq!(status["serving"], "yes", "{status}");
        // What the one that did says of itself is shown here too.
        let own = status["alarms"].as_array().unwrap().iter().filter(|alarm| alarm["node"] != VICTIM + 1);
        assert!(own.clone().all(|alarm| alarm["code"] != "recovering"), "{status}");
    }
}
