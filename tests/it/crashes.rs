//! Nodes that fail in every way they can, for real: each leaves a report with the right reason on another node, and nobody
//! else notices.

use std::collections::BTreeSet;
use std::path::Path;
use std::process::Child;
use std::process::Command;
use std::process::Stdio;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::sync::atomic::Ordering;
use std::time::Duration;
use std::time::Instant;
use std::time::UNIX_EPOCH;

use ringfort::base::id::NodeId;
use ringfort::base::time;
use ringfort::proto::crash::CrashId;
use ringfort::proto::crash::Kind;
use ringfort::proto::crash::Report;
use ringfort::store::crashes::Crashes;
use rustix::process::Pid;
use rustix::process::Signal;
use rustix::process::kill_process;
use serde_json::Value;
use serde_json::json;

use crate::cluster::Cluster;
use crate::console::Browser;
use crate::console::until_it_says;
use crate::groups::Group;
use crate::rescue;
use crate::support::Ended;
use crate::support::Node;
use crate::support::call;
use crate::support::command;
use crate::support::ended;
use crate::support::eventually;

/// From the supervisor's look to the file on another machine.
const ELSEWHERE: Duration = Duration::from_secs(5);
/// The node that fails, and its number in the cluster.
const VICTIM: usize = 1;
/// See [`VICTIM`].
const NUMBER: u64 = 2;

/// Reports of the victim that lie in a data directory, by name, with when each came there.
fn reports(data: &Path) -> Vec<(String, Value, Duration)> {
    let Ok(files) = std::fs::read_dir(data.join("crashes")) else { return Vec::new() };
    let files = files.map(|file| file.unwrap().path()).filter(|path| path.extension().is_some_and(|end| end == "json"));
    let mut reports: Vec<_> = files
        .filter_map(|path| {
            let report: Value = serde_json::from_slice(&std::fs::read(&path).ok()?).unwrap();
            let came = std::fs::metadata(&path).ok()?.modified().unwrap().duration_since(UNIX_EPOCH).unwrap();
            (report["node"] == NUMBER).then(|| (path.file_stem().unwrap().to_str().unwrap().to_owned(), report, came))
        })
        .collect();
    reports.sort_by(|one, other| one.0.cmp(&other.0));
    reports
}

async fn worker_of(cluster: &Cluster, node: usize) -> Pid {
    let client = cluster.client(node);
    eventually("the worker's number", async || {
        let status = client.ask(hyper::Method::GET, "/v1/status").await.ok()?;
        Pid::from_raw(i32::try_from(status["worker_pid"].as_i64()?).ok()?)
    })
    .await
}

/// Somebody who writes to the other nodes all the time; nothing may fail.
struct Others {
    stop: Arc<AtomicBool>,
    writing: tokio::task::JoinHandle<usize>,
}

impl Others {
    fn begin(cluster: &Cluster) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let (ends, clients) = (Arc::clone(&stop), [cluster.client(0), cluster.client(2)]);
        let writing = tokio::spawn(async move {
            let mut count = 0;
            while !ends.load(Ordering::Relaxed) {
                let path = format!("/v1/kv/t/{}", count % 100);
                let put = call(&clients[count % 2], "PUT", &path, &[], "x").await;
                assert_eq!(put.status, 200, "{put:?}");
                count += 1;
            }
            count
        });
        Self { stop, writing }
    }

    async fn end(self) {
        self.stop.store(true, Ordering::Relaxed);
        eprintln!("others wrote {} times, and every time it was ok", self.writing.await.unwrap());
    }
}

/// A limit of memory for some processes.
pub struct Memory(Group);

impl Memory {
    pub fn new() -> Self {
        Self(Group::of("memory"))
    }

    pub fn take(&self, process: Pid, bytes: u64) {
        self.0.take(process);
        self.0.allow(&["memory.limit_in_bytes", "memory.max"], &bytes.to_string());
    }
}

/// Every fdatasync of a running process fails from now on.
pub fn fail_syncs(worker: Pid) -> Child {
    let pid = worker.as_raw_nonzero().to_string();
    let words = ["-f", "-p", &pid, "-o", "/dev/null", "-e", "trace=fdatasync", "-e", "inject=fdatasync:error=EIO"];
    Command::new("strace").args(words).stdin(Stdio::null()).stderr(Stdio::null()).spawn().unwrap()
}

/// A way to fail: its name, the kind and a part of the reason that its report must have, and whether the process ends.
struct Way {
    name: &'static str,
    kind: &'static str,
    reason: &'static str,
    fatal: bool,
}

const fn way(name: &'static str, kind: &'static str, reason: &'static str, fatal: bool) -> Way {
    Way { name, kind, reason, fatal }
}

const WAYS: [Way; 10] = [
    way("panic-request", "panic", "a drill made this request panic", false),
    way("panic-task", "panic", "a drill made this task panic", false),
    way("abort", "signal", "SIGABRT", true),
    way("segv", "signal", "SIGSEGV", true),
    way("kill -SEGV", "signal", "SIGSEGV", true),
    way("kill -KILL", "signal", "SIGKILL", true),
    way("deadlock", "watchdog", "did not turn for 3 s", true),
    way("exit1", "exit", "exit status 1", true),
    way("oom", "oom", "memory ran out in its control group", true),
    way("sync", "exit", "exit status 74", true),
];

async fn ready(cluster: &Cluster, before: Option<Pid>) -> Pid {
    // So many ends in a row lead to the rescue console.
    let client = cluster.client(VICTIM);
    eventually("the victim is tried again", async || {
        rescue::wake(&cluster.data(VICTIM)).await;
        let answer = client.send(hyper::Method::GET, "/readyz", &[], ringfort::cli::client::full("")).await.ok()?;
        (answer.head.status == 200).then_some(())
    })
    .await;
    eventually("the victim serves again", async || {
        cluster.ready(VICTIM).await;
        let worker = worker_of(cluster, VICTIM).await;
        (Some(worker) != before).then_some(worker)
    })
    .await
}

/// Makes the victim fail, and returns what has to be waited for afterwards.
async fn fail(cluster: &Cluster, way: &Way, worker: Pid, memory: &Memory) -> Option<Child> {
    match way.name {
        "kill -KILL" => kill_process(worker, Signal::KILL).unwrap(),
        // The first one that comes from outside is swallowed by whoever looks for overflowing stacks.
        "kill -SEGV" => while kill_process(worker, Signal::SEGV).is_ok() && is_alive(worker) {},
        "sync" => {
            let strace = fail_syncs(worker);
            let client = cluster.client(VICTIM);
            eventually("a write meets the fault", async || {
                let put =
                    client.send(hyper::Method::PUT, "/v1/kv/t/fault", &[], ringfort::cli::client::full("x")).await;
                put.is_err().then_some(())
            })
            .await;
            return Some(strace);
        }
        word => {
            if word == "oom" {
                memory.take(cluster.pid(VICTIM), 300 << 20);
                memory.take(worker, 300 << 20);
            }
            cluster.cut(&format!("{word}@{NUMBER}"));
        }
    }
    if way.name == "panic-request" {
        let client = cluster.client(VICTIM);
        eventually("a request that panics", async || {
            let reply = call(&client, "GET", "/v1/kv/t/0", &[], "").await;
            (reply.status == 500).then(|| assert_eq!(reply.problem().1, "panicked"))
        })
        .await;
        assert_eq!(call(&client, "GET", "/healthz", &[], "").await.status, 200, "the same connection goes on");
    }
    None
}

fn is_alive(process: Pid) -> bool {
    let stat = std::fs::read_to_string(format!("/proc/{}/stat", process.as_raw_nonzero())).unwrap_or_default();
    stat.rsplit_once(") ").is_some_and(|(_, rest)| !rest.starts_with('Z') && !rest.starts_with('X'))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_way_to_fail_is_reported_on_another_node_and_harms_nobody_else() {
    let memory = Memory::new();
    let cluster = Cluster::start(3).await;
    cluster.bucket("t", json!({ "kind": "lww" })).await;
    eventually("whom a courier calls is noted", async || {
        let list = std::fs::read_to_string(cluster.data(VICTIM).join("blackbox/peers.json")).ok()?;
        (list.matches("\"node\"").count() == 2).then_some(())
    })
    .await;
    let others = Others::begin(&cluster);
    let mut known = BTreeSet::new();
    for way in &WAYS {
        let worker = worker_of(&cluster, VICTIM).await;
        for key in ["one", "two", "three"] {
            let put = call(&cluster.client(VICTIM), "PUT", &format!("/v1/kv/t/{key}"), &[], "a value").await;
            assert_eq!(put.status, 200, "{put:?}");
        }
        let strace = fail(&cluster, way, worker, &memory).await;
        let (id, report, came) = eventually(way.name, async || {
            let all = [0, 2].map(|node| reports(&cluster.data(node)));
            let [here, there] = all.map(|all| all.into_iter().find(|(id, ..)| !known.contains(id)));
            // Both others get it; the later one counts.
            let (one, other) = (here?, there?);
            Some(if one.2 > other.2 { one } else { other })
        })
        .await;
        let seen = Duration::from_millis(report["at_ms"].as_u64().unwrap());
        let took = came.saturating_sub(seen);
        eprintln!("{}: {} ({}) on both others after {took:?}", way.name, report["reason"], report["kind"]);
        assert_eq!(
            (report["kind"].as_str(), report["fatal"].as_bool()),
            (Some(way.kind), Some(way.fatal)),
            "{report:#}"
        );
        assert!(report["reason"].as_str().unwrap().contains(way.reason), "{report:#}");
        assert!(took < ELSEWHERE, "{took:?}");
        assert_eq!(report["name"], "n2");
        assert!(report["log"].as_array().unwrap().len() > 3, "{report:#}");
        // What its cores were told last leads to the same decisions anywhere.
        let replayed = ringfort_sim::replay(&report.to_string()).unwrap();
        assert!(replayed.run > 0 && (replayed.differ, replayed.damaged) == (0, 0), "{replayed:#?}");
        known.insert(id);
        if let Some(mut strace) = strace {
            let _traced_to_its_end = strace.wait();
        }
        cluster.cut("");
        ready(&cluster, way.fatal.then_some(worker)).await;
    }
    others.end().await;
    let panicked = reports(&cluster.data(0)).swap_remove(0).1;
    let names = panicked["backtrace"].to_string();
    assert!(names.contains("ringfort::") && panicked["task"] == "request", "{panicked:#}");
    let stuck = reports(&cluster.data(0)).into_iter().find(|(_, report, _)| report["kind"] == "watchdog").unwrap().1;
    assert!(stuck["threads"].to_string().contains("futex"), "{stuck:#}");
    // A stop in order is no crash.
    let count = |node: usize| reports(&cluster.data(node)).len();
    let before = [count(0), count(1), count(2)];
    kill_process(cluster.pid(VICTIM), Signal::TERM).unwrap();
    eventually("the victim has stopped", async || {
        (!cluster.data(VICTIM).join("blackbox/running.json").exists()).then_some(())
    })
    .await;
    assert_eq!([count(0), count(1), count(2)], before);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stopped_worker_is_left_alone_and_a_killed_group_is_told_of_at_the_next_start() {
    let dir = tempfile::tempdir().unwrap();
    let data = dir.path().join("n1");
    let mut node = Node::start(&data).await;
    let worker = node.status().await["worker_pid"].as_i64().unwrap();
    let pid = Pid::from_raw(i32::try_from(worker).unwrap()).unwrap();
    kill_process(pid, Signal::STOP).unwrap();
    assert_eq!(node.wait_until(Instant::now() + Duration::from_secs(10)), None);
    kill_process(pid, Signal::CONT).unwrap();
    eventually("it serves again", async || node.is_ready().await.then_some(())).await;
    assert_eq!(node.status().await["worker_pid"], worker);
    node.kill();
    let mut node = Node::start(&data).await;
    let report = eventually("a report about the run before", async || {
        let files = std::fs::read_dir(data.join("crashes")).unwrap().map(|file| file.unwrap().path());
        let path = files.into_iter().find(|path| path.extension().is_some_and(|end| end == "json"))?;
        Some(serde_json::from_slice::<Value>(&std::fs::read(path).unwrap()).unwrap())
    })
    .await;
    assert!(report["kind"] == "power" && report["reason"].as_str().unwrap().contains("killed at once"), "{report:#}");
    assert!(node.stop().success());
    let mut node = Node::start(&data).await;
    eventually("the run is marked", async || data.join("blackbox/running.json").exists().then_some(())).await;
    assert!(node.stop().success());
    let files = std::fs::read_dir(data.join("crashes")).unwrap().map(|file| file.unwrap().path());
    assert_eq!(files.filter(|path| path.extension().is_some_and(|end| end == "json")).count(), 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_group_that_is_killed_with_its_data_has_vanished_and_its_reports_are_read_on_the_others() {
    let cluster = Cluster::start(3).await;
    cluster.bucket("t", json!({ "n": 3 })).await;
    let worker = worker_of(&cluster, VICTIM).await;
    eventually("whom a courier calls is noted", async || {
        let list = std::fs::read_to_string(cluster.data(VICTIM).join("blackbox/peers.json")).ok()?;
        (list.matches("\"node\"").count() == 2).then_some(())
    })
    .await;
    kill_process(worker, Signal::SEGV).unwrap();
    while is_alive(worker) && kill_process(worker, Signal::SEGV).is_ok() {}
    ready(&cluster, Some(worker)).await;
    let client = cluster.client(0);
    let crashes = async || call(&client, "GET", "/v1/crashes", &[], "").await.json();
    let all = eventually("all three have it", async || {
        let all = crashes().await;
        (all["crashes"][0]["kept_on"].as_array()?.len() == 3).then_some(all)
    })
    .await;
    assert_eq!((all["crashes"].as_array().unwrap().len(), &all["unheard"]), (1, &json!([])), "{all:#}");
    let id = all["crashes"][0]["id"].as_str().unwrap().to_owned();
    let killed = Instant::now();
    cluster.signal(VICTIM, Signal::KILL);
    std::fs::remove_dir_all(cluster.data(VICTIM)).unwrap();
    let reason = eventually("it has vanished", async || {
        let members = call(&client, "GET", "/v1/members", &[], "").await.json();
        let victim = &members["members"][VICTIM];
        (victim["state"] == "down").then(|| {
            assert_eq!(victim["serving"], "no", "{victim:#}");
            victim["reason"].as_str().unwrap().to_owned()
        })
    })
    .await;
    println!("after {:?}: {reason}", killed.elapsed());
    assert!(
        reason.starts_with("vanished without a word") && reason.contains("the last news of it came at"),
        "{reason}"
    );
    assert!(killed.elapsed() < Duration::from_secs(6), "{:?}", killed.elapsed());
    let all = crashes().await;
    assert_eq!(all["crashes"][0]["kept_on"], json!([1, 3]), "{all:#}");
    assert_eq!(all["unheard"][0]["node"], NUMBER, "{all:#}");
    for node in [0, 2] {
        let report = call(&cluster.client(node), "GET", &format!("/v1/crashes/{id}"), &[], "").await.json();
        assert!(report["kind"] == "signal" && report["node"] == NUMBER, "{report:#}");
    }
    let missing = call(&client, "GET", "/v1/crashes/0000000000000-2-00000000", &[], "").await;
    assert_eq!(missing.problem(), (404, "not_found".to_owned()));
    let shown = command(cluster.dir.path(), &["crashes", "show", &id, "--url", &cluster.urls()[0]]);
    let shown = ended_with_token(shown, cluster.token());
    assert!(
        shown.code == 0 && shown.out.contains("SIGSEGV") && shown.out.contains("Last lines of its log"),
        "{shown:?}"
    );
    let listed = command(cluster.dir.path(), &["crashes", "--url", &cluster.urls()[2]]);
    let listed = ended_with_token(listed, cluster.token());
    assert!(listed.code == 0 && listed.out.contains(&id), "{listed:?}");
}

fn ended_with_token(mut command: Command, token: &str) -> Ended {
    command.env("RINGFORT_TOKEN", token);
    ended(command)
}

/// Two reports of a node that is none of this cluster any more, and one of this one.
fn plant(data: &Path) -> [String; 3] {
    let kept = Crashes::of(data);
    let plant = |at: &str, node: u64, kind: Kind, reason: &str, name: &str, said: &str| {
        let at_ms = time::parse_rfc3339(at).unwrap();
        let id = CrashId::new(at_ms, NodeId(node), 7);
        let mut report = Report::new(id.clone(), at.to_owned(), at_ms, kind, reason.to_owned());
        report.name = name.to_owned();
        report.backtrace = vec![format!("ringfort::{said}::work"), "main".to_owned()];
        report.log = vec![format!("WARN The {said} took 1234 ms")];
        kept.keep(&report.finish()).unwrap();
        id.as_str().to_owned()
    };
    [
        plant("2026-11-01T10:00:00.000Z", 8, Kind::Panic, "panic: out of ideas", "old", "store::journal"),
        plant("2026-11-02T23:59:00.000Z", 8, Kind::Watchdog, "the runtime did not turn", "old", "net::peer"),
        plant("2026-11-03T10:00:00.000Z", 1, Kind::Panic, "panic: <b>bold</b>", "n1", "node::repair"),
    ]
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn reports_are_found_by_what_they_say_over_http_at_a_terminal_and_on_a_page() {
    let dir = tempfile::tempdir().unwrap();
    let data = dir.path().join("data");
    let [journal, peer, repair] = plant(&data);
    let node = Node::start(&data).await;
    let found = async |query: &str| -> Vec<String> {
        let reply = call(&node.owner(), "GET", &format!("/v1/crashes?{query}"), &[], "").await;
        assert_eq!(reply.status, 200, "{query}: {reply:?}");
        let all = reply.json();
        assert_eq!(all["unheard"], json!([]), "{all:#}");
        all["crashes"].as_array().unwrap().iter().map(|crash| crash["id"].as_str().unwrap().to_owned()).collect()
    };
    let all = [&repair, &peer, &journal];
    for (query, wanted) in [
        ("", &all[..]),
        ("text=&regex=&kind=&node=", &all[..]),
        ("kind=panic", &[&repair, &journal]),
        ("node=8", &[&peer, &journal]),
        ("node=old&kind=panic", &[&journal]),
        ("since=2026-11-02", &[&repair, &peer]),
        ("since=2026-11-02&until=2026-11-02", &[&peer]),
        ("until=2026-11-02T23:58Z", &[&journal]),
        // In the reason, the backtrace, the log; its kind.
        ("text=OUT%20OF", &[&journal]),
        ("text=net::peer::work", &[&peer]),
        ("text=the%20node::repair%20took", &[&repair]),
        ("regex=%5Ewatchdog%24", &[&peer]),
        ("regex=::work%24", &all[..]),
        ("regex=(journal%7Crepair)%20took%20%5Cd%7B4%7D&kind=panic&node=8", &[&journal]),
        ("regex=(a*)*(a*)*b%24", &[]),
        ("text=nothing%20says%20so", &[]),
    ] {
        let wanted: Vec<String> = wanted.iter().map(|id| (*id).clone()).collect();
        assert_eq!(found(query).await, wanted, "{query}");
    }
    for (bad, says) in [
        ("kind=x", "kind"),
        ("since=x", "since"),
        ("regex=(", "regex"),
        ("regex=a%7B99999%7D%7B99999%7D", "regex"),
        (&format!("text={}", "x".repeat(300)), "text"),
        ("q=1", "q"),
    ] {
        let reply = call(&node.owner(), "GET", &format!("/v1/crashes?{bad}"), &[], "").await;
        assert_eq!(reply.status, 400, "{bad}");
        assert!(reply.json()["detail"].as_str().unwrap().contains(&format!("`{says}`")), "{reply:?}");
    }

    let url = node.url().await;
    let token = node.token("sam", &["support"]).await;
    let run = |words: &[&str]| {
        ended_with_token(command(dir.path(), &[&["crashes"], words, &["--url", &url][..]].concat()), &token)
    };
    let listed = run(&["list", "--grep", "journal took", "--kind", "panic", "--node", "old", "--since", "2026-11-01"]);
    assert!(listed.code == 0 && listed.out.contains(&journal) && !listed.out.contains(&repair), "{listed:?}");
    let listed = run(&["list", "--text", "net::PEER", "--until", "2026-11-02", "--json"]);
    assert_eq!((listed.code, &listed.json()["crashes"][0]["id"]), (0, &json!(peer)), "{listed:?}");
    assert!(run(&["list", "--grep", "("]).err.contains("`regex` is not an expression"));

    let sam = Browser::signed_in(&node, "ann", &["support"]).await;
    let page = sam.page("/crashes?regex=(journal%7Crepair)%20took&kind=panic").await;
    assert!(page.contains(&journal) && page.contains(&repair) && !page.contains(&peer), "{page}");
    assert!(page.contains("value=\"(journal|repair) took\"") && !page.contains("<b>bold"), "{page}");
    assert!(page.contains("sse-connect=\"/live?view=crashes&"), "{page}");
    let page = sam.page("/crashes?regex=(").await;
    assert!(
        page.contains("`regex` is not an expression") && !page.contains("sse-connect=\"/live?view=crashes"),
        "{page}"
    );
    assert_eq!(sam.get("/crashes?q=1").await.status, 400);
    assert_eq!(sam.get("/live?view=crashes&nod=1").await.status, 400);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_crash_appears_on_the_open_page_that_it_fits() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("drill");
    let environment =
        [(ringfort::node::drill::CUT_FILE, file.to_str().unwrap()), ("RINGFORT_PEER_LISTEN", "127.0.0.1:0")];
    let node = Node::start_with(&dir.path().join("data"), &[], &environment).await;
    let ann = Browser::signed_in(&node, "ann", &["support"]).await;
    let mut fits = ann.stream("/live?view=crashes&kind=panic&regex=made%20this%20task").await;
    let mut other = ann.stream("/live?view=crashes&kind=oom").await;
    let mut text = String::new();
    until_it_says(&mut fits, &mut text, "event: beat").await;
    assert!(text.contains("event: crashes") && text.contains("No crash report fits"), "{text}");
    std::fs::write(&file, "panic-task").unwrap();
    text.clear();
    until_it_says(&mut fits, &mut text, "a drill made this task panic").await;
    assert!(text.contains("event: crashes"), "{text}");
    let reported = eventually("the report", async || {
        let all = call(&node.owner(), "GET", "/v1/crashes", &[], "").await.json();
        all["crashes"][0]["id"].as_str().map(str::to_owned)
    })
    .await;
    assert!(text.contains(&reported), "{text}");
    text.clear();
    until_it_says(&mut other, &mut text, "event: beat").await;
    assert!(!text.contains(&reported), "{text}");
}
