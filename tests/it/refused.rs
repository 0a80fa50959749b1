//! Starts that are refused before anything runs, and a limit of file sizes: others are told by that machine, in its own words.

use std::path::Path;
use std::process::Command;

use rustix::process::Pid;
use serde_json::Value;
use serde_json::json;

use crate::causes::peer_address;
use crate::causes::reason;
use crate::causes::reports;
use crate::causes::stopped;
use crate::cluster::Cluster;
use crate::support::BINARY;
use crate::support::Ended;
use crate::support::call;
use crate::support::ended;
use crate::support::eventually;

/// The node that fails.
const VICTIM: usize = 1;
/// Its number.
const NUMBER: u64 = 2;
/// Far below what anything of a node needs, and enough for a short report.
const LIMIT: &str = "16384";

fn run(data: &Path, words: &[&str]) -> Ended {
    let mut command = Command::new(BINARY);
    command.args(["run", "--data"]).arg(data).args(words).env_remove("RINGFORT_URL");
    ended(command)
}

fn run_limited(data: &Path) -> Ended {
    let mut command = Command::new("prlimit");
    command.arg(format!("--fsize={LIMIT}")).arg(BINARY).args(["run", "--data"]).arg(data);
    ended(command)
}

fn limit(process: i32) {
    let words = ["--pid".to_owned(), process.to_string(), format!("--fsize={LIMIT}")];
    assert!(Command::new("prlimit").args(words).status().unwrap().success());
}

/// A cluster of which one node has stopped in order, and each knows whom to tell.
async fn one_stopped() -> Cluster {
    let cluster = Cluster::start(3).await;
    peer_address(&cluster, NUMBER).await;
    stopped(&cluster, VICTIM).await;
    cluster
}

/// What the other nodes keep of the ends of one.
fn told(cluster: &Cluster, number: u64) -> [Vec<String>; 2] {
    [0, 2].map(|other| reports(&cluster.data(other), number).iter().map(reason).collect())
}

async fn why_down(cluster: &Cluster) -> String {
    let members = call(&cluster.client(0), "GET", "/v1/members", &[], "").await.json();
    members["members"][VICTIM]["reason"].as_str().unwrap().to_owned()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_start_under_a_limit_of_file_sizes_is_refused_in_words_here_and_on_the_others() {
    let dir = tempfile::tempdir().unwrap();
    let fresh = run_limited(&dir.path().join("none"));
    assert_eq!(fresh.code, 77, "{fresh:?}");
    for part in ["files larger than 16384 bytes", "nothing was changed", "LimitFSIZE=infinity"] {
        assert!(fresh.err.contains(part), "{part}: {fresh:?}");
    }
    assert!(!dir.path().join("none").exists());
    let mut cluster = one_stopped().await;
    let refused = run_limited(&cluster.data(VICTIM));
    assert_eq!((refused.code, refused.err.matches("nothing was changed").count()), (77, 1), "{refused:?}");
    for told in told(&cluster, NUMBER) {
        assert!(told.len() == 1 && told[0].contains("exit status 77"), "{told:?}");
        assert!(told[0].contains("files larger than 16384 bytes"), "{told:?}");
    }
    cluster.start_again(VICTIM);
    cluster.ready(VICTIM).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_limit_of_file_sizes_that_comes_while_a_node_runs_is_the_reason_that_others_are_told() {
    let cluster = Cluster::start(3).await;
    cluster.bucket("t", json!({ "n": 3 })).await;
    peer_address(&cluster, NUMBER).await;
    let client = cluster.client(VICTIM);
    let status = call(&client, "GET", "/v1/status", &[], "").await.json();
    let supervisor = cluster.pid(VICTIM);
    limit(supervisor.as_raw_nonzero().get());
    limit(i32::try_from(status["worker_pid"].as_i64().unwrap()).unwrap());
    let ended = |process: Pid| rustix::process::test_kill_process(process).is_err();
    let mut count = 0;
    eventually("it ends", async || {
        let path = format!("/v1/kv/t/k{count}");
        count += 1;
        let value = ringfort::cli::client::full("x".repeat(30_000));
        let _fails = client.send(hyper::Method::PUT, &path, &[("content-type", "text/plain")], value).await;
        // Of `dev`, which collects it.
        (ended(supervisor) || !told(&cluster, NUMBER)[0].is_empty()).then_some(())
    })
    .await;
    let first = eventually("the others are told", async || told(&cluster, NUMBER).concat().into_iter().next()).await;
    assert!(first.contains("files larger than 16384 bytes (LimitFSIZE, ulimit -f)"), "{first}");
    assert!(!first.contains("SIGXFSZ"), "{first}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_wrong_configuration_is_told_on_the_other_nodes_once() {
    let mut cluster = one_stopped().await;
    let (data, bad) = (cluster.data(VICTIM), cluster.dir.path().join("bad.toml"));
    std::fs::write(&bad, format!("disk_reserv = \"1GiB\"\ndata = {:?}\n", data.display().to_string())).unwrap();
    let bad = bad.display().to_string();
    for _ in 0..3 {
        let mut command = Command::new(BINARY);
        command.args(["run", "--config", &bad]);
        let refused = ended(command);
        assert_eq!(refused.code, 78, "{refused:?}");
        let said = refused.err.lines().filter(|line| line.contains("disk_reserv` is not a key"));
        assert!(said.count() == 1 && refused.err.contains("nothing was started"), "{refused:?}");
    }
    for told in told(&cluster, NUMBER) {
        assert!(told.len() == 1 && told[0].contains("exit status 78"), "{told:?}");
        assert!(told[0].contains("bad.toml:1:1: `disk_reserv` is not a key"), "{told:?}");
    }
    let why = why_down(&cluster).await;
    assert!(why.contains("disk_reserv"), "{why}");
    // Another reason is told at once.
    let other = run(&data, &["--weight", "4000000000"]);
    assert_eq!(other.code, 78, "{other:?}");
    assert!(told(&cluster, NUMBER).iter().all(|told| told.len() == 2), "{:?}", told(&cluster, NUMBER));
    cluster.start_again(VICTIM);
    cluster.ready(VICTIM).await;
    // Somebody who starts another one beside it by mistake says nothing of the one that runs.
    assert_eq!(run(&data, &["--weight", "4000000001"]).code, 78);
    assert!(told(&cluster, NUMBER).iter().all(|told| told.len() == 2), "{:?}", told(&cluster, NUMBER));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_start_without_an_identity_is_not_told_as_that_of_another_node() {
    let mut cluster = one_stopped().await;
    let data = cluster.data(VICTIM);
    let (identity, aside) = (data.join("identity"), data.join("aside"));
    std::fs::rename(&identity, &aside).unwrap();
    let refused = run(&data, &[]);
    assert_eq!(refused.code, 65, "{refused:?}");
    let nobody = Vec::<Value>::new();
    assert_eq!(reports(&data, 0), nobody);
    // One that was kept by an earlier release.
    let old = "0000000000001-0-0000000a";
    let report = json!({
        "version": 1, "id": old, "node": 0, "name": "", "at": "", "at_ms": 1, "release": "", "build": "",
        "kind": "exit", "reason": "x", "fatal": true, "fingerprint": ""
    });
    std::fs::write(data.join("crashes").join(format!("{old}.json")), report.to_string()).unwrap();
    std::fs::write(data.join("crashes").join(format!("{old}.todo")), "").unwrap();
    if identity.exists() {
        std::fs::remove_dir_all(&identity).unwrap();
    }
    std::fs::rename(&aside, &identity).unwrap();
    cluster.start_again(VICTIM);
    cluster.ready(VICTIM).await;
    eventually("nothing waits any more", async || {
        (!data.join("crashes").join(format!("{old}.todo")).exists()).then_some(())
    })
    .await;
    let log = std::fs::read_to_string(cluster.dir.path().join("log")).unwrap();
    assert!(!log.contains("crash report of another one"), "{log}");
    assert_eq!(told(&cluster, 0), [Vec::<String>::new(), Vec::new()]);
}

/// Somebody's hardening made the files of a machine immutable, and a restart finds that.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn files_that_are_protected_are_told_on_the_other_nodes() {
    let mut cluster = one_stopped().await;
    let data = cluster.data(VICTIM);
    let protected = Protected::new(&data);
    let refused = run(&data, &[]);
    assert_eq!(refused.code, 77, "{refused:?}");
    for told in told(&cluster, NUMBER) {
        assert!(
            told.len() == 1 && told[0].contains("Operation not permitted") && told[0].contains("chattr -R -i"),
            "{told:?}"
        );
    }
    let why = why_down(&cluster).await;
    assert!(why.contains("its files may not be written"), "{why}");
    drop(protected);
    cluster.start_again(VICTIM);
    cluster.ready(VICTIM).await;
}

struct Protected(std::path::PathBuf);

impl Protected {
    fn new(data: &Path) -> Self {
        assert!(Command::new("chattr").args(["-R", "+i"]).arg(data).status().unwrap().success());
        Self(data.to_owned())
    }
}

impl Drop for Protected {
    fn drop(&mut self) {
        let _free = Command::new("chattr").args(["-R", "-i"]).arg(&self.0).status();
    }
}
