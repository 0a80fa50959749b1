//! A cluster of real processes, and what becomes of it when one of them is killed, stopped, or restarted: devices that go
//! on to the next node, and every write that was acked.

use std::collections::BTreeMap;
use std::net::TcpListener;
use std::path::PathBuf;
use std::process::Child;
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::sync::atomic::AtomicUsize;
use std::sync::atomic::Ordering;
use std::time::Duration;
use std::time::Instant;

use hyper::Method;
use ringfort::base::time;
use ringfort::cli::client::Answer;
use ringfort::cli::client::Client;
use ringfort::cli::client::full;
use rustix::process::Pid;
use rustix::process::Signal;
use rustix::process::kill_process;
use rustix::process::kill_process_group;
use serde_json::Value;
use serde_json::json;

use crate::support;
use crate::support::call;
use crate::support::client;
use crate::support::eventually;
use crate::support::spawn_logged;

/// After so long a device asks the next node.
const OP_TIMEOUT: Duration = Duration::from_millis(500);

/// Cuts lanes of all nodes: it names a file that lists them.
const CUT_FILE: &str = "RINGFORT_TEST_CUT_FILE";

/// `ringfort dev` with several nodes.
pub struct Cluster {
    pub dir: tempfile::TempDir,
    dev: Child,
    pub document: Value,
    /// Nodes that were started again, outside of `dev`.
    again: Vec<Child>,
}

/// A port with some free ones behind it.
pub fn free_ports(count: u16) -> u16 {
    let fits = |base: &u16| (*base..base + count).all(|port| TcpListener::bind(("127.0.0.1", port)).is_ok());
    // Below those that the system gives to clients: theirs stay taken for a while.
    // Tests run beside each other, with numbers that follow each other.
    let first = 10_000 + u16::try_from(std::process::id() % 625 * 32).unwrap();
    (first..32_000).step_by(usize::from(count)).find(fits).unwrap()
}

impl Cluster {
    pub async fn start(nodes: u16) -> Self {
        let dir = tempfile::tempdir().unwrap();
        // Cuts nothing as long as it is not there.
        let cuts = dir.path().join("cuts");
        let mut command = Command::new(support::BINARY);
        command.args(["dev", "--nodes", &nodes.to_string(), "--port", &free_ports(18).to_string(), "--data"]);
        command.arg(dir.path().join("d")).current_dir(dir.path()).env(CUT_FILE, cuts);
        let mut dev = spawn_logged(command, &dir.path().join("log"));
        let file = dir.path().join("d/dev.json");
        let log = dir.path().join("log");
        let document = eventually("dev.json", async || {
            let ended = dev.try_wait().unwrap();
            assert!(ended.is_none(), "{ended:?}: {}", std::fs::read_to_string(&log).unwrap_or_default());
            std::fs::read(&file).ok().map(|text| serde_json::from_slice::<Value>(&text).unwrap())
        })
        .await;
        Self { dir, dev, document, again: Vec::new() }
    }

    pub fn urls(&self) -> Vec<String> {
        self.document["endpoints"].as_array().unwrap().iter().map(|url| url.as_str().unwrap().to_owned()).collect()
    }

    /// Cuts these lanes between all nodes; none: heals them.
    pub fn cut(&self, lanes: &str) {
        let (file, next) = (self.dir.path().join("cuts"), self.dir.path().join("cuts.next"));
        std::fs::write(&next, lanes).unwrap();
        std::fs::rename(next, file).unwrap();
    }

    pub fn token(&self) -> &str {
        self.document["admin_token"].as_str().unwrap()
    }

    pub fn client(&self, node: usize) -> Client {
        client(&self.urls()[node], Some(self.token()))
    }

    pub fn pid(&self, node: usize) -> Pid {
        let pid = self.document["nodes"][node]["pid"].as_i64().unwrap();
        Pid::from_raw(i32::try_from(pid).unwrap()).unwrap()
    }

    pub fn data(&self, node: usize) -> PathBuf {
        PathBuf::from(self.document["nodes"][node]["data"].as_str().unwrap())
    }

    pub fn signal(&self, node: usize, signal: Signal) {
        kill_process_group(self.pid(node), signal).unwrap();
    }

    /// Starts a node again with what its directory remembers.
    pub fn start_again(&mut self, node: usize) {
        let mut command = Command::new(support::BINARY);
        command.args(["run", "--data"]);
        command.arg(self.data(node)).env(CUT_FILE, self.dir.path().join("cuts"));
        let child = spawn_logged(command, &self.dir.path().join("log"));
        self.document["nodes"][node]["pid"] = json!(child.id());
        self.again.push(child);
    }

    pub async fn bucket(&self, name: &str, definition: Value) {
        let path = format!("/v1/buckets/{name}");
        let made = call(&self.client(0), "PUT", &path, &[], definition.to_string()).await;
        assert_eq!(made.status, 201, "{made:?}");
    }

    pub async fn ready(&self, node: usize) {
        let client = self.client(node);
        eventually("a node that is ready", async || {
            let answer = client.send(Method::GET, "/readyz", &[], full("")).await.ok()?;
            (answer.head.status == 200).then_some(())
        })
        .await;
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        for node in 0..self.urls().len() {
            // A stopped one would not hear it.
            let _gone = kill_process_group(self.pid(node), Signal::KILL);
        }
        let _gone = kill_process(Pid::from_raw(i32::try_from(self.dev.id()).unwrap()).unwrap(), Signal::TERM);
        let _reaped = self.dev.wait();
        for child in &mut self.again {
            let _reaped = child.wait();
        }
    }
}

/// What one device saw.
#[derive(Debug, Default)]
struct Told {
    /// Values by key, as acked.
    acked: BTreeMap<String, String>,
    /// The longest time between two answers.
    gap: Duration,
    /// Answers that were neither `ok` nor a refusal that nothing was stored.
    unknown: usize,
    /// Requests that failed on two nodes, with what each of them said.
    failed: Vec<String>,
}

/// Devices that write one key after the other, each with the next request only after the last one's answer.
struct Devices {
    stop: Arc<AtomicBool>,
    /// How many wait for the victim's answer.
    at_victim: Arc<AtomicUsize>,
    done: Arc<AtomicUsize>,
    tasks: Vec<tokio::task::JoinHandle<Told>>,
}

impl Devices {
    fn begin(cluster: &Cluster, count: usize, victim: usize) -> Self {
        let (stop, at_victim, done) = <(Arc<AtomicBool>, Arc<AtomicUsize>, Arc<AtomicUsize>)>::default();
        let (urls, token) = (cluster.urls(), cluster.token().to_owned());
        let device = |number: usize| {
            let clients: Vec<Client> = urls.iter().map(|url| client(url, Some(&token))).collect();
            let (stop, at_victim, done) = (Arc::clone(&stop), Arc::clone(&at_victim), Arc::clone(&done));
            tokio::spawn(async move { write_on(number, &clients, victim, &stop, &at_victim, &done).await })
        };
        let tasks = (0..count).map(device).collect();
        Self { stop, at_victim, done, tasks }
    }

    async fn after(&self, writes: usize) {
        let begun = self.done.load(Ordering::Relaxed);
        eventually("writes", async || (self.done.load(Ordering::Relaxed) >= begun + writes).then_some(())).await;
    }

    async fn victim_is_asked(&self) {
        eventually("a request at the victim", async || (self.at_victim.load(Ordering::Relaxed) > 0).then_some(()))
            .await;
    }

    async fn end(self) -> Told {
        self.stop.store(true, Ordering::Relaxed);
        let mut all = Told::default();
        for task in self.tasks {
            let told = task.await.unwrap();
            all.acked.extend(told.acked);
            all.gap = all.gap.max(told.gap);
            all.unknown += told.unknown;
            all.failed.extend(told.failed);
        }
        all
    }
}

/// A refusal, as far as it arrives: its node may be killed meanwhile.
async fn told_by(mut answer: Answer) -> String {
    let mut text = format!("{} ", answer.head.status.as_u16());
    while let Ok(Ok(Some(piece))) = tokio::time::timeout(OP_TIMEOUT, answer.piece()).await {
        text += &String::from_utf8_lossy(&piece);
    }
    text
}

async fn write_on(
    number: usize,
    clients: &[Client],
    victim: usize,
    stop: &AtomicBool,
    at_victim: &AtomicUsize,
    done: &AtomicUsize,
) -> Told {
    let (mut told, mut at, mut last) = (Told::default(), number % clients.len(), Instant::now());
    for write in 0.. {
        if stop.load(Ordering::Relaxed) {
            break;
        }
        let (key, value) = (format!("d{number}-{write}"), format!("{number}.{write}"));
        let mut refusals = Vec::new();
        loop {
            at_victim.fetch_add(usize::from(at == victim), Ordering::Relaxed);
            let name = [("idempotency-key", key.as_str()), ("content-type", "text/plain")];
            let path = format!("/v1/kv/t/{key}");
            let asked = clients[at].send(Method::PUT, &path, &name, full(value.clone()));
            let (sent, answer) = (Instant::now(), tokio::time::timeout(OP_TIMEOUT, asked).await);
            at_victim.fetch_sub(usize::from(at == victim), Ordering::Relaxed);
            let refusal = match answer {
                Ok(Ok(answer)) if answer.head.status == 200 => break,
                Ok(Ok(answer)) => {
                    told.unknown += usize::from(answer.head.status == 504);
                    told_by(answer).await
                }
                Ok(Err(failure)) => failure.message,
                Err(elapsed) => elapsed.to_string(),
            };
            let now = time::rfc3339(time::wall_ms());
            refusals.push(format!("n{} at {now} after {:?}: {refusal}", at + 1, sent.elapsed()));
            if refusals.len() == 2 {
                told.failed.push(format!("{key}: {}", refusals.join("; ")));
            }
            at = (at + 1) % clients.len();
            if stop.load(Ordering::Relaxed) && refusals.len() > 20 {
                return told;
            }
        }
        told.gap = told.gap.max(last.elapsed());
        last = Instant::now();
        told.acked.insert(key, value);
        done.fetch_add(1, Ordering::Relaxed);
    }
    told
}

/// Every acked write is there, once, whichever node is asked.
async fn all_there(cluster: &Cluster, told: &Told, nodes: &[usize]) {
    const READERS: usize = 16;
    let acked: Vec<_> = told.acked.iter().map(|(key, value)| (key.clone(), value.clone())).collect();
    let mut readers = Vec::new();
    for node in nodes {
        for some in acked.chunks(acked.len().div_ceil(READERS).max(1)) {
            let (client, some, name) = (cluster.client(*node), some.to_vec(), node + 1);
            readers.push(tokio::spawn(async move {
                for (key, value) in some {
                    let read = call(&client, "GET", &format!("/v1/kv/t/{key}"), &[], "").await;
                    assert_eq!((read.status, read.text()), (200, value.as_str()), "{key} on node {name}");
                }
            }));
        }
    }
    for reader in readers {
        reader.await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_put_on_one_node_is_read_on_each_other() {
    let cluster = Cluster::start(3).await;
    cluster.bucket("t", json!({ "n": 3 })).await;
    cluster.bucket("l", json!({ "kind": "lww" })).await;
    for bucket in ["t", "l"] {
        for writer in 0..3 {
            let path = format!("/v1/kv/{bucket}/from-{writer}");
            let put = call(&cluster.client(writer), "PUT", &path, &[], "value").await;
            assert_eq!(put.status, 200, "{put:?}");
            let receipt = put.json();
            assert_eq!(receipt["owners"].as_array().unwrap().len(), 3);
            assert!(receipt["acked_by"].as_array().unwrap().len() >= 2, "{receipt}");
            for reader in 0..3 {
                for how in ["", "?consistency=all", "?r=3"] {
                    let read = call(&cluster.client(reader), "GET", &format!("{path}{how}"), &[], "").await;
                    assert_eq!((read.status, read.text()), (200, "value"), "{bucket} {writer} {reader} {how}");
                }
            }
            // One of several owners may be behind, and does not say that it is not.
            let local = call(&cluster.client(0), "GET", &format!("{path}?consistency=local"), &[], "").await;
            assert_eq!(local.header("ringfort-age-ms"), None, "{local:?}");
            // What one read another replaces, and deletes.
            let seen = call(&cluster.client((writer + 1) % 3), "GET", &path, &[], "").await;
            let context = [("ringfort-context", seen.context())];
            let put = call(&cluster.client((writer + 2) % 3), "PUT", &path, &context, "other").await;
            assert_eq!(put.status, 200, "{put:?}");
            let seen = call(&cluster.client(writer), "GET", &path, &[], "").await;
            assert_eq!((seen.status, seen.text()), (200, "other"));
            let context = [("ringfort-context", seen.context())];
            assert_eq!(call(&cluster.client((writer + 1) % 3), "DELETE", &path, &context, "").await.status, 200);
            for reader in 0..3 {
                assert_eq!(call(&cluster.client(reader), "GET", &path, &[], "").await.status, 404);
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_bucket_that_was_just_made_on_one_node_is_there_on_each_other() {
    const ASKED_AT_ONCE: usize = 32;
    let cluster = Cluster::start(3).await;
    for round in 0..10 {
        let made = call(&cluster.client(round % 3), "PUT", &format!("/v1/buckets/b{round}"), &[], "{}").await;
        assert_eq!(made.status, 201, "{made:?}");
        // All at once, as devices begin that were told of it.
        let asked = (0..ASKED_AT_ONCE).map(|number| {
            let (client, path) = (cluster.client((round + 1 + number % 2) % 3), format!("/v1/kv/b{round}/k"));
            tokio::spawn(async move { call(&client, "GET", &path, &[], "").await })
        });
        for read in asked.collect::<Vec<_>>() {
            let read = read.await.unwrap();
            assert_eq!(read.problem(), (404, "no_such_key".into()), "{read:?}");
        }
    }
    let missing = call(&cluster.client(0), "GET", "/v1/kv/nothing/k", &[], "").await;
    assert_eq!(missing.problem(), (404, "no_such_bucket".into()));
}

/// Rounds of each fault; the bench behind a flag of `tests/run` has more.
pub fn rounds() -> usize {
    std::env::var("RINGFORT_FAULT_ROUNDS").ok().and_then(|rounds| rounds.parse().ok()).unwrap_or(1)
}

/// The figures of the bench; beside other tests the machine itself takes longer.
fn at_most(figure: Duration) -> Duration {
    if rounds() > 1 { figure } else { figure.max(Duration::from_secs(4)) }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_killed_node_costs_its_devices_one_timeout_and_no_acked_write() {
    let mut cluster = Cluster::start(3).await;
    cluster.bucket("t", json!({ "n": 3 })).await;
    for round in 0..rounds() {
        let victim = round % 3;
        let devices = Devices::begin(&cluster, 64, victim);
        devices.after(500).await;
        devices.victim_is_asked().await;
        cluster.signal(victim, Signal::KILL);
        devices.after(500).await;
        let told = devices.end().await;
        println!("killed n{}: {} acked, gap {:?}, {} unknown", victim + 1, told.acked.len(), told.gap, told.unknown);
        let others: Vec<usize> = (0..3).filter(|node| *node != victim).collect();
        all_there(&cluster, &told, &others).await;
        assert!(told.gap <= at_most(Duration::from_millis(750)), "{:?}", told.gap);
        cluster.start_again(victim);
        cluster.ready(victim).await;
        all_there(&cluster, &told, &[victim]).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_frozen_node_costs_its_devices_one_timeout_and_applies_nothing_twice_when_it_thaws() {
    let cluster = Cluster::start(3).await;
    cluster.bucket("t", json!({ "n": 3 })).await;
    for round in 0..rounds() {
        let victim = round % 3;
        let devices = Devices::begin(&cluster, 64, victim);
        devices.after(300).await;
        devices.victim_is_asked().await;
        cluster.signal(victim, Signal::STOP);
        let frozen = Instant::now();
        // Longer than the gap that is allowed below, or a cluster that waits for it would pass.
        let span = Duration::from_secs(if rounds() > 1 { 8 } else { 6 });
        eventually("the end of the frost", async || (frozen.elapsed() > span).then_some(())).await;
        cluster.signal(victim, Signal::CONT);
        devices.after(300).await;
        let told = devices.end().await;
        println!("froze n{}: {} acked, gap {:?}, {} unknown", victim + 1, told.acked.len(), told.gap, told.unknown);
        cluster.ready(victim).await;
        all_there(&cluster, &told, &[0, 1, 2]).await;
        assert!(told.gap <= at_most(Duration::from_secs(1)), "{:?}", told.gap);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nodes_that_are_restarted_in_turn_fail_no_request_that_is_tried_once_elsewhere() {
    let mut cluster = Cluster::start(3).await;
    cluster.bucket("t", json!({ "n": 3 })).await;
    let devices = Devices::begin(&cluster, 16, 0);
    for _ in 0..rounds() {
        for node in 0..3 {
            devices.after(200).await;
            kill_process(cluster.pid(node), Signal::TERM).unwrap();
            // It waits for the directory until the one before has stopped in order.
            cluster.start_again(node);
            let data = cluster.data(node);
            let pid = cluster.document["nodes"][node]["pid"].clone();
            eventually("the next one", async || {
                let owner = Client::new(ringfort::cli::client::Target::Socket(data.join("ctl.sock")), None);
                let status = owner.ask(Method::GET, "/v1/status").await.ok()?;
                let worker = Pid::from_raw(i32::try_from(status["worker_pid"].as_i64()?).ok()?)?;
                let group = rustix::process::getpgid(Some(worker)).ok()?;
                (json!(group.as_raw_nonzero().get()) == pid && status["serving"] == "yes").then_some(())
            })
            .await;
        }
    }
    devices.after(200).await;
    let told = devices.end().await;
    println!("restarted: {} acked, gap {:?}, {} failed twice", told.acked.len(), told.gap, told.failed.len());
    assert_eq!((&told.failed, told.unknown), (&Vec::new(), 0));
    all_there(&cluster, &told, &[0, 1, 2]).await;
}
