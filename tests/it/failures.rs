//! Failures, caused for real, one after the other: whoever asks a machine that is left is told the true cause. What has to be
//! told is read from the table for operators and from nowhere else.

use std::panic::AssertUnwindSafe;
use std::path::Path;
use std::process::Child;
use std::process::Command;
use std::process::Stdio;
use std::time::Duration;
use std::time::Instant;

use futures_util::FutureExt;
use ringfort::base::time;
use ringfort::cli::client::Client;
use rustix::process::Pid;
use rustix::process::Resource;
use rustix::process::Rlimit;
use rustix::process::Signal;
use rustix::process::kill_process;
use rustix::process::prlimit;
use serde_json::Value;
use serde_json::json;

use crate::cluster::Cluster;
use crate::cluster_faces::invite;
use crate::cluster_losses;
use crate::crashes;
use crate::full_disk::RESERVE;
use crate::full_disk::SmallDisk;
use crate::groups::Group;
use crate::rescue;
use crate::support::Node;
use crate::support::Reply;
use crate::support::call;
use crate::support::eventually;
use crate::timeline::chain;
use crate::tls_files::write_pair;

/// The machine that something happens to, and its number.
const VICTIM: usize = 1;
/// See [`VICTIM`].
const NUMBER: u64 = 2;
/// How long it may take until it is told: a slow disk is judged by a minute of its syncs.
const TOLD_WITHIN: Duration = Duration::from_secs(60);

/// What the table says of one failure.
#[derive(Debug, Clone)]
struct Row {
    name: String,
    caused: bool,
    alarms: Vec<String>,
    chain: Vec<String>,
    says: Vec<String>,
}

/// Words between these, in order.
fn between(text: &str, mark: char) -> Vec<String> {
    text.split(mark).skip(1).step_by(2).map(str::to_owned).collect()
}

fn table() -> Vec<Row> {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/operate/failures.md");
    let text = std::fs::read_to_string(file).unwrap();
    let rows = text.lines().filter(|line| line.starts_with("| `"));
    rows.map(|line| {
        let cells: Vec<&str> = line.split('|').collect();
        let &[_, name, _, alarms, timeline, _, _] = cells.as_slice() else { panic!("not five cells: {line}") };
        Row {
            name: between(name, '`').swap_remove(0),
            caused: !name.contains("not caused"),
            alarms: between(alarms, '`'),
            chain: between(timeline, '`'),
            says: between(timeline, '"'),
        }
    })
    .collect()
}

fn row(name: &str) -> Row {
    table().into_iter().find(|row| row.name == name).unwrap_or_else(|| panic!("the table has no {name}"))
}

/// What is told of it, or what is missing.
async fn is_told(row: &Row, client: &Client, since: &str, about: Option<u64>) -> Result<String, String> {
    let get = async |path: &str| -> Value {
        match client.send(hyper::Method::GET, path, &[], ringfort::cli::client::full("")).await {
            Ok(answer) => Reply::read(answer).await.json(),
            Err(_) => Value::Null,
        }
    };
    let (deadline, mut seen) = (Instant::now() + TOLD_WITHIN, std::collections::BTreeSet::new());
    loop {
        let standing = get("/v1/alarms").await;
        let told = get("/v1/timeline?limit=500").await;
        let entries = told["entries"].as_array().cloned().unwrap_or_default();
        let new: Vec<&Value> = entries.iter().filter(|entry| entry["at"].as_str().unwrap() >= since).collect();
        let code = |alarm: &Value| alarm["code"].as_str().map(str::to_owned);
        seen.extend(standing["alarms"].as_array().into_iter().flatten().filter_map(|told| code(&told["alarm"])));
        let raised = new.iter().filter(|entry| entry["kind"] == "alarm_raised");
        seen.extend(raised.filter_map(|entry| code(entry)));
        let missing: Vec<&String> = row.alarms.iter().filter(|code| !seen.contains(*code)).collect();
        let fits = |entry: &&&Value| {
            let kinds = chain(&entries, entry);
            if !kinds.starts_with(&row.chain) || entry["kind"] == "alarm_cleared" {
                return false;
            }
            let (mut at, mut texts, mut root) = (Some(**entry), String::new(), Value::Null);
            for _ in &row.chain {
                let Some(entry) = at else { return false };
                texts.push_str(entry["text"].as_str().unwrap());
                root = entry["node"].clone();
                at = entries.iter().find(|other| other["id"] == entry["cause"]);
            }
            let of_it = root.is_null() || about.is_none_or(|about| root == about) || row.chain.len() == 1;
            of_it && row.says.iter().all(|words| texts.contains(words))
        };
        match new.iter().find(fits) {
            Some(entry) if missing.is_empty() => return Ok(entry["text"].as_str().unwrap().to_owned()),
            _ if Instant::now() > deadline => {
                let told: Vec<_> = new.iter().map(|entry| (chain(&entries, entry), &entry["text"])).collect();
                return Err(format!(
                    "{}: no alarm {missing:?}, or no entry {:?}; told: {told:#?}",
                    row.name, row.chain
                ));
            }
            _ => tokio::time::sleep(Duration::from_millis(200)).await,
        }
    }
}

/// What was told of all that was caused.
#[derive(Default)]
struct Told {
    named: Vec<String>,
    missed: Vec<String>,
}

impl Told {
    async fn look(&mut self, name: &str, client: &Client, since: &str, about: Option<u64>) {
        match is_told(&row(name), client, since, about).await {
            Ok(text) => {
                eprintln!("{name}: {text}");
                self.named.push(name.to_owned());
            }
            Err(why) => {
                eprintln!("MISSED {why}");
                self.missed.push(name.to_owned());
            }
        }
    }

    fn all_were(&self) {
        eprintln!("{} of {} name the true cause", self.named.len(), self.named.len() + self.missed.len());
        assert!(self.missed.is_empty(), "not told: {:?}", self.missed);
    }
}

fn now() -> String {
    time::rfc3339(time::wall_ms())
}

async fn worker(cluster: &Cluster) -> Pid {
    let client = cluster.client(VICTIM);
    eventually("the worker's number", async || {
        let status = client.ask(hyper::Method::GET, "/v1/status").await.ok()?;
        Pid::from_raw(i32::try_from(status["worker_pid"].as_i64()?).ok()?)
    })
    .await
}

/// All see all, and nothing is wrong any more with who is there.
async fn at_rest(cluster: &Cluster) {
    for node in 0..3 {
        // What failed so often serves its rescue console.
        eventually("it is tried again", async || {
            rescue::wake(&cluster.data(node)).await;
            let client = cluster.client(node);
            let ready = client.send(hyper::Method::GET, "/readyz", &[], ringfort::cli::client::full("")).await;
            ready.is_ok_and(|answer| answer.head.status == 200).then_some(())
        })
        .await;
    }
    for node in 0..3 {
        let (client, mut seen) = (cluster.client(node), Vec::new());
        let ask = eventually("all are up and nobody misses one", async || {
            let members = client.ask(hyper::Method::GET, "/v1/members").await.ok()?;
            let is_up = |member: &Value| member["state"] == "up" && member["serving"] != "recovering";
            let all = members["members"].as_array()?;
            let status = client.ask(hyper::Method::GET, "/v1/status").await.ok()?;
            let alarms = status["alarms"].as_array()?;
            let about =
                |alarm: &Value| ["member_down", "no_quorum", "no_control"].contains(&alarm["code"].as_str().unwrap());
            seen =
                all.iter().map(|member| format!("{member}")).chain(alarms.iter().map(|it| format!("{it}"))).collect();
            (all.len() == 3 && all.iter().all(is_up) && !alarms.iter().any(about)).then_some(())
        });
        if AssertUnwindSafe(ask).catch_unwind().await.is_err() {
            panic!("node {} still sees:\n{}", node + 1, seen.join("\n"));
        }
    }
}

/// Every fdatasync of a running process is delayed until this is ended.
fn delay_syncs(worker: Pid) -> Child {
    let pid = worker.as_raw_nonzero().to_string();
    let inject = "inject=fdatasync:delay_exit=900000";
    let words = ["-f", "-p", &pid, "-o", "/dev/null", "-e", "trace=fdatasync", "-e", inject];
    Command::new("strace").args(words).stdin(Stdio::null()).stderr(Stdio::null()).spawn().unwrap()
}

/// In the middle of every table.
fn flip_bits_of_the_index(data: &Path) -> usize {
    use std::os::unix::fs::FileExt;
    let mut dirs = vec![data.join("index")];
    let mut flipped = 0;
    while let Some(dir) = dirs.pop() {
        for entry in std::fs::read_dir(dir).unwrap().map(Result::unwrap) {
            let path = entry.path();
            if path.is_dir() {
                dirs.push(path);
            } else if path.parent().is_some_and(|dir| dir.ends_with("tables")) {
                let file = std::fs::File::options().read(true).write(true).open(&path).unwrap();
                let length = file.metadata().unwrap().len();
                let at = length / 3;
                let mut byte = [0];
                file.read_exact_at(&mut byte, at).unwrap();
                file.write_all_at(&[byte[0] ^ 4], at).unwrap();
                flipped += 1;
            }
        }
    }
    flipped
}

async fn fill(client: &Client, keys: usize) {
    for key in 0..keys {
        let put = call(client, "PUT", &format!("/v1/kv/t/{key}"), &[], "x".repeat(500)).await;
        assert_eq!(put.status, 200, "{put:?}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn processes_that_fail_are_named_with_their_cause() {
    let memory = crashes::Memory::new();
    let cluster = Cluster::start(3).await;
    cluster.bucket("t", json!({ "kind": "lww" })).await;
    let (client, mut told) = (cluster.client(0), Told::default());
    at_rest(&cluster).await;
    for name in ["panic", "worker-killed", "deadlock", "out-of-memory", "failed-sync", "log-storm", "crash-loop"] {
        let (since, pid) = (now(), worker(&cluster).await);
        let mut strace = None;
        match name {
            "panic" => {
                cluster.cut(&format!("panic-request@{NUMBER}"));
                let victim = cluster.client(VICTIM);
                eventually("a request that panics", async || {
                    (call(&victim, "GET", "/v1/kv/t/0", &[], "").await.status == 500).then_some(())
                })
                .await;
            }
            "worker-killed" => kill_process(pid, Signal::KILL).unwrap(),
            "deadlock" => cluster.cut(&format!("deadlock@{NUMBER}")),
            "out-of-memory" => {
                memory.take(cluster.pid(VICTIM), 300 << 20);
                memory.take(pid, 300 << 20);
                cluster.cut(&format!("oom@{NUMBER}"));
            }
            "failed-sync" => {
                strace = Some(crashes::fail_syncs(pid));
                let victim = cluster.client(VICTIM);
                eventually("a write meets the fault", async || {
                    let full = ringfort::cli::client::full("x");
                    victim.send(hyper::Method::PUT, "/v1/kv/t/fault", &[], full).await.is_err().then_some(())
                })
                .await;
            }
            "log-storm" => cluster.cut(&format!("storm=100000@{NUMBER}")),
            _ => cluster.cut(&format!("exit1-always@{NUMBER}")),
        }
        told.look(name, &client, &since, Some(NUMBER)).await;
        cluster.cut("");
        if let Some(mut strace) = strace {
            let _traced_to_its_end = strace.wait();
        }
        at_rest(&cluster).await;
    }
    told.all_were();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn machines_and_networks_that_fail_are_named_with_their_cause() {
    let mut cluster = Cluster::start(3).await;
    let (client, mut told) = (cluster.client(0), Told::default());
    at_rest(&cluster).await;
    for name in ["freeze", "cut-off", "one-way", "kill", "voter-lost", "majority-lost"] {
        let since = now();
        match name {
            "freeze" => cluster.signal(VICTIM, Signal::STOP),
            "cut-off" => {
                cluster.cut(&["gossip", "control", "requests", "bulk"].map(|lane| format!("{lane}@{NUMBER}")).join(" "))
            }
            "one-way" => cluster.cut(&format!("loss=100@{NUMBER}")),
            _ => cluster.signal(VICTIM, Signal::KILL),
        }
        if name == "majority-lost" {
            cluster.signal(2, Signal::KILL);
        }
        // Of two that are gone either may be named.
        let about = (name != "majority-lost").then_some(NUMBER);
        told.look(name, &client, &since, about).await;
        match name {
            "freeze" => cluster.signal(VICTIM, Signal::CONT),
            "cut-off" | "one-way" => cluster.cut(""),
            _ => cluster.start_again(VICTIM),
        }
        if name == "majority-lost" {
            cluster.start_again(2);
        }
        if name == "kill" {
            told.look("killed-at-once", &client, &since, Some(NUMBER)).await;
        }
        at_rest(&cluster).await;
    }
    let status = client.ask(hyper::Method::GET, "/v1/status").await.map_err(|failure| failure.message).unwrap();
    let leader = usize::try_from(status["control"]["leader"].as_u64().unwrap()).unwrap() - 1;
    let (since, other) = (now(), cluster.client((leader + 1) % 3));
    cluster.signal(leader, Signal::KILL);
    told.look("leader-lost", &other, &since, None).await;
    cluster.start_again(leader);
    at_rest(&cluster).await;
    told.all_were();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn disks_that_fail_are_named_with_their_cause() {
    let mut cluster = Cluster::start(3).await;
    cluster.bucket("t", json!({})).await;
    let (client, mut told) = (cluster.client(0), Told::default());
    at_rest(&cluster).await;
    fill(&client, 300).await;
    cluster_losses::kill(&cluster, VICTIM).await;
    let kept = cluster.dir.path().join("kept");
    cluster_losses::copy(&cluster.data(VICTIM), &kept);
    cluster.start_again(VICTIM);
    at_rest(&cluster).await;
    for (name, how) in
        [("old-copy", "put back from a copy"), ("bit-in-journal", "a flipped bit"), ("wiped", "the journal gone")]
    {
        fill(&client, 300).await;
        let since = now();
        cluster_losses::kill(&cluster, VICTIM).await;
        cluster_losses::damage(how, &cluster.data(VICTIM), &kept);
        cluster.start_again(VICTIM);
        told.look(name, &client, &since, Some(NUMBER)).await;
        at_rest(&cluster).await;
    }
    let since = now();
    kill_process(cluster.pid(VICTIM), Signal::TERM).unwrap();
    let data = cluster.data(VICTIM);
    eventually("the end of the node", async || ringfort::store::data_dir::DataDir::open(&data).is_ok().then_some(()))
        .await;
    assert!(flip_bits_of_the_index(&data) > 0, "there are tables");
    cluster.start_again(VICTIM);
    told.look("bit-in-index", &client, &since, Some(NUMBER)).await;
    told.all_were();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_slow_disk_is_named() {
    let cluster = Cluster::start(3).await;
    cluster.bucket("t", json!({ "kind": "lww" })).await;
    let (client, mut told) = (cluster.client(0), Told::default());
    at_rest(&cluster).await;
    let since = now();
    let mut strace = delay_syncs(worker(&cluster).await);
    let (stop, stopped) = tokio::sync::watch::channel(false);
    let writer = cluster.client(VICTIM);
    let writing = tokio::spawn(async move {
        let mut key = 0;
        while !*stopped.borrow() {
            key += 1;
            let full = ringfort::cli::client::full("x");
            let _slow = writer.send(hyper::Method::PUT, &format!("/v1/kv/t/{key}"), &[], full).await;
        }
    });
    told.look("slow-disk", &client, &since, Some(NUMBER)).await;
    stop.send(true).unwrap();
    kill_process(Pid::from_raw(i32::try_from(strace.id()).unwrap()).unwrap(), Signal::TERM).unwrap();
    let _detached = strace.wait();
    writing.await.unwrap();
    told.all_were();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn files_that_are_used_up_are_named() {
    let cluster = Cluster::start(3).await;
    let (client, mut told) = (cluster.client(0), Told::default());
    at_rest(&cluster).await;
    let (since, pid) = (now(), worker(&cluster).await);
    let few = Rlimit { current: Some(64), maximum: Some(4096) };
    prlimit(Some(pid), Resource::Nofile, few).unwrap();
    let victim = cluster.urls()[VICTIM].trim_start_matches("http://").to_owned();
    let mut idle = Vec::new();
    for _ in 0..100 {
        idle.push(tokio::net::TcpStream::connect(&victim).await.unwrap());
    }
    eventually("another machine tells it", async || {
        let told = client.ask(hyper::Method::GET, "/v1/alarms").await.ok()?;
        told["alarms"].as_array()?.iter().any(|told| told["alarm"]["code"] == "files_used_up").then_some(())
    })
    .await;
    // Nor can it read its own list then.
    prlimit(Some(pid), Resource::Nofile, Rlimit { current: few.maximum, ..few }).unwrap();
    drop(idle);
    told.look("files-used-up", &client, &since, Some(NUMBER)).await;
    told.all_were();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn threads_that_are_used_up_are_named_with_the_limit() {
    let few = Group::of("pids");
    let cluster = Cluster::start(3).await;
    let (client, mut told) = (cluster.client(0), Told::default());
    at_rest(&cluster).await;
    let (since, pid) = (now(), worker(&cluster).await);
    [cluster.pid(VICTIM), pid].into_iter().for_each(|process| few.take(process));
    let there = few.read("pids.current");
    few.allow(&["pids.max"], there.trim());
    // Some who look through logs at once: each waits for the disk on a thread.
    let lookers = (0..16).map(|_| {
        let client = cluster.client(VICTIM);
        tokio::spawn(async move {
            loop {
                let _late_or_refused = client.ask(hyper::Method::GET, "/v1/logs?limit=1000&text=nothing").await;
            }
        })
    });
    let lookers: Vec<_> = lookers.collect();
    let alarm = eventually("another machine tells it", async || {
        let all = client.ask(hyper::Method::GET, "/v1/alarms").await.ok()?;
        let mut all = all["alarms"].as_array()?.iter().map(|told| &told["alarm"]);
        all.find(|alarm| alarm["code"] == "threads_used_up" && alarm["node"] == NUMBER).cloned()
    })
    .await;
    lookers.iter().for_each(tokio::task::JoinHandle::abort);
    let text = alarm["text"].as_str().unwrap();
    assert!(text.contains(&format!("may have {} threads and processes", there.trim())), "{text}");
    told.look("threads-used-up", &client, &since, Some(NUMBER)).await;
    // It goes on with those that it has.
    assert_eq!(call(&cluster.client(VICTIM), "GET", "/v1/status", &[], "").await.status, 200);
    told.all_were();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_token_that_was_revoked_and_that_devices_still_have_is_named_until_they_stop() {
    let cluster = Cluster::start(3).await;
    let (client, mut told) = (cluster.client(0), Told::default());
    cluster.bucket("t", json!({ "n": 3 })).await;
    at_rest(&cluster).await;
    let wish = json!({ "name": "devices", "scopes": ["device:write"] }).to_string();
    let made = call(&client, "POST", "/v1/tokens", &[], wish).await.json();
    let device = crate::support::client(&cluster.urls()[VICTIM], made["token"].as_str());
    let write = async || call(&device, "PUT", "/v1/kv/t/k", &[], "x").await.status;
    eventually("it is good for writes", async || (write().await == 200).then_some(())).await;
    let since = now();
    assert_eq!(call(&client, "DELETE", "/v1/tokens/devices", &[], "").await.status, 204);
    eventually("it is none any more", async || (write().await == 401).then_some(())).await;

    let is_raised = async || {
        let alarms = call(&client, "GET", "/v1/alarms", &[], "").await.json();
        let alarms = alarms["alarms"].as_array().unwrap().clone();
        alarms.into_iter().find(|told| told["alarm"]["code"] == "access_refused").map(|mut told| told["alarm"].take())
    };
    let mut every = tokio::time::interval(Duration::from_millis(20));
    let alarm = eventually("it is told", async || {
        every.tick().await;
        assert_eq!(write().await, 401);
        is_raised().await
    })
    .await;
    assert_eq!((&alarm["node"], &alarm["severity"]), (&json!(NUMBER), &json!("warning")));
    let text = alarm["text"].as_str().unwrap();
    assert!(text.contains("All came from 127.0.0.1") && text.contains("ringfort audit --access"), "{text}");
    told.look("access-refused", &client, &since, Some(NUMBER)).await;
    eventually("it is over", async || is_raised().await.is_none().then_some(())).await;
    told.all_were();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_somebody_ordered_and_forgot_is_named_with_who_did() {
    let cluster = Cluster::start(3).await;
    let (client, mut told) = (cluster.client(0), Told::default());
    at_rest(&cluster).await;
    let orders = [
        ("drain", format!("/v1/members/{NUMBER}/drain"), json!({ "reason": "a new fan" })),
        ("handoff-paused", "/v1/ring/pause".to_owned(), json!({ "reason": "a backup" })),
        ("removed", format!("/v1/members/{NUMBER}/remove"), json!({})),
    ];
    for (name, path, document) in orders {
        let since = now();
        if name == "removed" {
            cluster.signal(VICTIM, Signal::KILL);
            eventually("it is down", async || {
                let members = client.ask(hyper::Method::GET, "/v1/members").await.ok()?;
                (members["members"][VICTIM]["state"] == "down").then_some(())
            })
            .await;
        }
        let ordered = call(&client, "POST", &path, &[], document.to_string()).await;
        assert!([200, 204].contains(&ordered.status), "{path}: {ordered:?}");
        told.look(name, &client, &since, None).await;
        if name == "handoff-paused" {
            assert_eq!(call(&client, "POST", "/v1/ring/resume", &[], "").await.status, 204);
        }
    }
    told.all_were();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_plan_that_waits_a_full_disk_and_a_certificate_near_its_end_are_named() {
    let (dir, mut told) = (tempfile::tempdir().unwrap(), Told::default());
    let since = now();
    let words = ["--peer-listen", "127.0.0.1:0"];
    let first = Node::start_saying(&dir.path().join("n1"), &["env", "RINGFORT_LAYOUT_COMMIT=manual"], &words).await;
    let mut others = Vec::new();
    for name in ["n2", "n3"] {
        let token = invite(&first).await;
        others.push(crate::cluster_faces::start(dir.path(), name, Some(&token)).await);
    }
    told.look("plan-forgotten", &first.owner(), &since, None).await;
    drop((first, others));
    let disk = SmallDisk::new(dir.path(), 128);
    let node = Node::start_with(&disk.data(), &[], &[RESERVE]).await;
    let since = now();
    disk.fill(16 * 1024 * 1024);
    told.look("full-disk", &node.owner(), &since, Some(1)).await;
    drop(node);
    let (here, since) = (dir.path(), now());
    let text = format!("tls_cert = \"{0}/cert.pem\"\ntls_key = \"{0}/key.pem\"\n", here.display());
    let config = here.join("r.toml");
    std::fs::write(&config, text).unwrap();
    write_pair(here, -1, 20);
    let words = ["--listen", "https://127.0.0.1:0", "--config", config.to_str().unwrap()];
    let node = Node::start_saying(&here.join("data"), &[], &words).await;
    told.look("certificate", &node.owner(), &since, Some(1)).await;
    told.all_were();
}

#[test]
fn every_failure_of_the_table_is_caused_here_and_enough_of_them_are() {
    let rows = table();
    let caused: Vec<_> = rows.iter().filter(|row| row.caused).collect();
    assert!(rows.len() >= 20 && caused.len() >= rows.len() - 1, "{} of {}", caused.len(), rows.len());
    let script = include_str!("failures.rs");
    for row in caused {
        assert!(script.contains(&format!("\"{}\"", row.name)), "{} is not caused", row.name);
        assert!(!row.chain.is_empty(), "{row:?}");
    }
}
