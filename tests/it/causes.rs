//! Failures that are told by their true cause, and by whom they are: a port that is taken, an identity that is another
//! machine's, a disk that can only be read.

use std::net::TcpListener;
use std::path::Path;
use std::path::PathBuf;
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::sync::atomic::Ordering;
use std::time::Duration;
use std::time::Instant;

use rustix::process::Signal;
use rustix::process::kill_process;
use serde_json::Value;
use serde_json::json;

use crate::cluster::Cluster;
use crate::support;
use crate::support::call;
use crate::support::eventually;
use crate::support::spawn_logged;
use crate::wire;

/// The node that fails.
const VICTIM: usize = 1;

/// Reports of a node by its number that lie in a data directory, oldest first.
pub fn reports(data: &Path, node: u64) -> Vec<Value> {
    let Ok(files) = std::fs::read_dir(data.join("crashes")) else { return Vec::new() };
    let mut paths: Vec<PathBuf> = files.map(|file| file.unwrap().path()).collect();
    paths.retain(|path| path.extension().is_some_and(|end| end == "json"));
    paths.sort();
    let read = |path: PathBuf| serde_json::from_slice::<Value>(&std::fs::read(path).ok()?).ok();
    paths.into_iter().filter_map(read).filter(|report| report["node"] == node).collect()
}

pub fn reason(report: &Value) -> String {
    report["reason"].as_str().unwrap().to_owned()
}

/// Where a node listens to others, as another one has noted it for its couriers, once all have.
pub async fn peer_address(cluster: &Cluster, of: u64) -> String {
    for node in 0..3 {
        eventually("whom a courier calls is noted", async || {
            let list = std::fs::read_to_string(cluster.data(node).join("blackbox/peers.json")).ok()?;
            (list.matches("\"node\"").count() == 2).then_some(())
        })
        .await;
    }
    let list = std::fs::read(cluster.data(0).join("blackbox/peers.json")).unwrap();
    let list: Value = serde_json::from_slice(&list).unwrap();
    let peer = list["peers"].as_array().unwrap().iter().find(|peer| peer["node"] == of).unwrap();
    peer["addresses"][0].as_str().unwrap().to_owned()
}

/// A node's end in order, and that it is over.
pub async fn stopped(cluster: &Cluster, node: usize) {
    eventually("its run is marked", async || cluster.data(node).join("blackbox/running.json").exists().then_some(()))
        .await;
    kill_process(cluster.pid(node), Signal::TERM).unwrap();
    eventually("it has stopped", async || {
        let is_marked = cluster.data(node).join("blackbox/running.json").exists();
        (!is_marked && !cluster.data(node).join("ctl.sock").exists()).then_some(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_port_that_is_taken_is_named_in_the_report_on_another_node() {
    let mut cluster = Cluster::start(3).await;
    let address = peer_address(&cluster, 2).await;
    stopped(&cluster, VICTIM).await;
    let taken = eventually("the port is free", async || TcpListener::bind(&address).ok()).await;
    cluster.start_again(VICTIM);
    let report = eventually("a report on another node", async || reports(&cluster.data(0), 2).pop()).await;
    let told = reason(&report);
    assert!(told.contains("exit status 75") && told.contains(&address), "{told}");
    assert!(told.contains("Address already in use"), "{told}");
    // Its own terminal has it once from the worker, and from its supervisor as the reason of an end.
    let log = std::fs::read_to_string(cluster.dir.path().join("log")).unwrap();
    let said = log.lines().filter(|line| line.contains("already in use") && !line.contains("exit status 75"));
    assert!(said.clone().count() > 0 && said.clone().all(|line| line.starts_with("ringfort: ")), "{log}");
    drop(taken);
    cluster.ready(VICTIM).await;
}

fn copy(from: &Path, to: &Path) {
    let done = Command::new("cp").arg("-a").arg(from).arg(to).status().unwrap();
    assert!(done.success());
}

/// Somebody who writes to the first and third node all the time. Returns how long the slowest write took.
fn write_on(cluster: &Cluster, stop: &Arc<AtomicBool>) -> tokio::task::JoinHandle<Duration> {
    let (ends, clients) = (Arc::clone(stop), [cluster.client(0), cluster.client(2)]);
    tokio::spawn(async move {
        let mut slowest = Duration::ZERO;
        let mut count = 0;
        while !ends.load(Ordering::Relaxed) {
            let (path, began) = (format!("/v1/kv/t/{}", count % 100), Instant::now());
            let put = call(&clients[count % 2], "PUT", &path, &[], "x").await;
            assert_eq!(put.status, 200, "{put:?}");
            slowest = slowest.max(began.elapsed());
            count += 1;
        }
        eprintln!("{count} writes");
        slowest
    })
}

async fn state_of(cluster: &Cluster, asked: usize, node: usize) -> String {
    let members = call(&cluster.client(asked), "GET", "/v1/members", &[], "").await.json();
    members["members"][node]["state"].as_str().unwrap().to_owned()
}

async fn is_unharmed(cluster: &Cluster) {
    for (asked, other) in [(0, 2), (2, 0)] {
        assert_eq!(state_of(cluster, asked, other).await, "up");
        let status = call(&cluster.client(asked), "GET", "/v1/status", &[], "").await.json();
        assert!(!status["alarms"].to_string().contains("\"twin\""), "{:#}", status["alarms"]);
        assert_eq!(reports(&cluster.data(asked), 3), Vec::<Value>::new());
    }
}

/// Somebody's roll-out tool put the identity of one machine on another one.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_has_the_identity_of_another_ends_before_anybody_hears_of_it() {
    let cluster = Cluster::start(3).await;
    cluster.bucket("t", json!({ "n": 3 })).await;
    peer_address(&cluster, 2).await;
    let marker = cluster.data(VICTIM).join("blackbox/running.json");
    eventually("its run is marked", async || marker.exists().then_some(())).await;
    // Killed, so that the next start finds a run that was never ended.
    cluster.signal(VICTIM, Signal::KILL);
    for asked in [0, 2] {
        eventually("it is down", async || (state_of(&cluster, asked, VICTIM).await == "down").then_some(())).await;
    }
    let (mine, aside) = (cluster.data(VICTIM).join("identity"), cluster.dir.path().join("own"));
    std::fs::rename(&mine, &aside).unwrap();
    copy(&cluster.data(2).join("identity"), &mine);

    let stop = Arc::new(AtomicBool::new(false));
    let writing = write_on(&cluster, &stop);
    let (mut command, log) = (Command::new(support::BINARY), cluster.dir.path().join("stolen"));
    command.args(["run", "--data"]).arg(cluster.data(VICTIM));
    let mut stolen = spawn_logged(command, &log);
    let status = eventually("it ends", async || {
        is_unharmed(&cluster).await;
        stolen.try_wait().unwrap()
    })
    .await;
    let text = std::fs::read_to_string(&log).unwrap();
    assert!(status.code() == Some(65) && text.contains("node 2, but this directory"), "{status}: {text}");
    // What it would have told comes within a moment.
    let until = Instant::now() + Duration::from_secs(3);
    eventually("nothing comes of it", async || {
        is_unharmed(&cluster).await;
        (Instant::now() > until).then_some(())
    })
    .await;
    stop.store(true, Ordering::Relaxed);
    let slowest = writing.await.unwrap();
    eprintln!("the slowest write took {slowest:?}");
    assert!(slowest < Duration::from_secs(1), "{slowest:?}");

    // With its own one again it goes on, and nothing of what it was in between is anybody's crash.
    std::fs::remove_dir_all(&mine).unwrap();
    std::fs::rename(&aside, &mine).unwrap();
    let mut cluster = cluster;
    cluster.start_again(VICTIM);
    cluster.ready(VICTIM).await;
    eventually("the run that was killed is told of", async || reports(&cluster.data(0), 2).pop()).await;
    for node in 0..3 {
        assert_eq!(reports(&cluster.data(node), 3), Vec::<Value>::new());
    }
}

/// A file system of its own that an error makes read-only.
struct Failing {
    image: PathBuf,
    at: PathBuf,
}

impl Failing {
    /// In place of a data directory, with all that is in it.
    fn under(dir: &Path, data: &Path) -> Self {
        let failing = Self { image: dir.join("image"), at: data.to_owned() };
        // Nearly all of it is a hole.
        std::fs::File::create(&failing.image).unwrap().set_len(1 << 30).unwrap();
        let made = Command::new("mkfs.ext4").args(["-q", "-F"]).arg(&failing.image).status().unwrap();
        assert!(made.success());
        let aside = dir.join("aside");
        std::fs::rename(data, &aside).unwrap();
        std::fs::create_dir(data).unwrap();
        failing.mount();
        copy(&aside.join("."), data);
        // What only the kernel has goes when the disk fails.
        rustix::fs::syncfs(std::fs::File::open(data).unwrap()).unwrap();
        failing
    }

    fn mount(&self) {
        let mounted = Command::new("mount").args(["-o", "loop"]).args([&self.image, &self.at]).status().unwrap();
        assert!(mounted.success(), "mounting needs root");
    }

    fn fail(&self) {
        let failed = Command::new("mount").args(["-o", "remount,abort"]).arg(&self.at).status().unwrap();
        assert!(failed.success());
    }

    /// Nothing can be written until what is returned is dropped.
    fn freeze(&self) -> Frozen<'_> {
        assert!(Command::new("fsfreeze").arg("-f").arg(&self.at).status().unwrap().success());
        Frozen(self)
    }

    fn mend(&self) {
        assert!(Command::new("umount").arg(&self.at).status().unwrap().success());
        self.mount();
    }
}

impl Drop for Failing {
    fn drop(&mut self) {
        let _gone = Command::new("umount").arg("-l").arg(&self.at).status();
    }
}

struct Frozen<'f>(&'f Failing);

impl Drop for Frozen<'_> {
    fn drop(&mut self) {
        let _thawed = Command::new("fsfreeze").arg("-u").arg(&self.0.at).status();
    }
}

/// A cluster in which one node runs on such a disk.
async fn on_a_failing_disk() -> (Cluster, Failing) {
    let mut cluster = Cluster::start(3).await;
    cluster.bucket("t", json!({ "n": 3 })).await;
    peer_address(&cluster, 2).await;
    stopped(&cluster, VICTIM).await;
    let disk = Failing::under(cluster.dir.path(), &cluster.data(VICTIM));
    cluster.start_again(VICTIM);
    cluster.ready(VICTIM).await;
    let marker = cluster.data(VICTIM).join("blackbox/running.json");
    // What is heard of it is told by its age, which a courier's way adds to.
    let age = || marker.metadata().ok()?.modified().ok()?.elapsed().ok();
    eventually("its run is marked for a while", async || age().filter(|age| *age > Duration::from_secs(3))).await;
    (cluster, disk)
}

/// The disk fails, and the node ends by it and is not started again with success.
async fn ends_by_its_disk(cluster: &Cluster, disk: &Failing) {
    disk.fail();
    let (client, pid) = (cluster.client(VICTIM), cluster.pid(VICTIM).as_raw_nonzero().get());
    eventually("it ends", async || {
        let _fails = client.send(hyper::Method::PUT, "/v1/kv/t/fault", &[], ringfort::cli::client::full("x")).await;
        (!wire::is_alive(pid)).then_some(())
    })
    .await;
    let log = std::fs::read_to_string(cluster.dir.path().join("log")).unwrap();
    let last = log.lines().rfind(|line| line.starts_with("ringfort: ")).unwrap_or_default();
    assert!(last.contains("Read-only file system") && last.contains("repair or remount it first"), "{last}");
    let cause = eventually("the alarm of another node", async || {
        let alarms = call(&cluster.client(0), "GET", "/v1/alarms", &[], "").await.json();
        let of_it = |told: &&Value| told["alarm"]["code"] == "member_down";
        Some(alarms["alarms"].as_array()?.iter().find(of_it)?["alarm"]["cause"].as_str()?.to_owned())
    })
    .await;
    assert!(cause.contains("Read-only file system") && cause.contains("repair or remount it first"), "{cause}");
}

/// How its end is told by all together once it has told of it too. What it made up itself is not in it.
async fn told_when_it_is_back(cluster: &mut Cluster, disk: &Failing) -> Value {
    disk.mend();
    cluster.start_again(VICTIM);
    cluster.ready(VICTIM).await;
    let own = eventually("a report of its own about the run before", async || reports(&cluster.data(VICTIM), 2).pop());
    let own = reason(&own.await);
    assert!(own.contains("without a note on its disk") && own.contains("its disk could not be written"), "{own}");
    eventually("others have it", async || {
        let kept = [0, 2].map(|other| reports(&cluster.data(other), 2));
        kept.iter().all(|kept| kept.iter().any(|report| reason(report) == own)).then_some(())
    })
    .await;
    let told = eventually("all tell how it ended", async || {
        let told = call(&cluster.client(0), "GET", "/v1/timeline?kind=crash&node=2", &[], "").await.json();
        let tellers = |entry: &Value| entry["told_by"].as_array().map_or(0, Vec::len);
        let all = told["entries"].as_array()?.clone();
        (all.iter().map(tellers).sum::<usize>() == 3).then_some(all)
    })
    .await;
    assert_eq!(told.len(), 1, "one end is one entry: {told:#?}");
    told[0].clone()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_disk_that_can_only_be_read_is_the_cause_that_others_are_told_and_stays_it() {
    let (mut cluster, disk) = on_a_failing_disk().await;
    ends_by_its_disk(&cluster, &disk).await;
    for other in [0, 2] {
        let report = eventually("a report on another node", async || reports(&cluster.data(other), 2).pop()).await;
        let told = reason(&report);
        assert!(told.contains("exit status 74") && told.contains("Read-only file system"), "{told}");
    }
    let told = told_when_it_is_back(&mut cluster, &disk).await;
    let text = told["text"].as_str().unwrap();
    assert!(text.contains("exit status 74") && text.contains("Read-only file system"), "{told:#}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn last_words_stay_the_cause_where_no_report_came_of_that_end() {
    let (mut cluster, disk) = on_a_failing_disk().await;
    // No courier knows whom to call.
    std::fs::remove_file(cluster.data(VICTIM).join("blackbox/peers.json")).unwrap();
    ends_by_its_disk(&cluster, &disk).await;
    assert_eq!(reports(&cluster.data(0), 2), Vec::<Value>::new());
    let told = told_when_it_is_back(&mut cluster, &disk).await;
    let text = told["text"].as_str().unwrap();
    assert!(text.contains("said why: its journal failed") && text.contains("Read-only file system"), "{told:#}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_journal_that_is_taken_away_under_a_running_node_is_told_and_nothing_more_is_stored_there() {
    let cluster = Cluster::start(3).await;
    cluster.bucket("b", serde_json::json!({ "kind": "lww" })).await;
    let put = async || call(&cluster.client(1), "PUT", "/v1/kv/b/k", &[], "1").await;
    assert_eq!(put().await.status, 200);
    let (journal, aside) = (cluster.data(1).join("journal"), cluster.data(1).join("aside"));
    std::fs::rename(&journal, &aside).unwrap();
    let told = async || {
        let all = cluster.client(0).ask(hyper::Method::GET, "/v1/alarms").await.ok()?;
        let mut all = all["alarms"].as_array()?.clone().into_iter();
        Some(all.find(|it| it["alarm"]["code"] == "files_gone" && it["alarm"]["node"] == 2))
    };
    let alarm = eventually("another node tells it", async || told().await?).await;
    let cause = alarm["alarm"]["cause"].as_str().unwrap();
    assert!(cause.contains("/journal was removed or renamed while the node runs"), "{alarm}");
    let mut status = support::command(cluster.dir.path(), &["status", "--url", &cluster.urls()[0]]);
    status.env("RINGFORT_TOKEN", cluster.token());
    let status = support::ended(status);
    assert_eq!(status.code, 0, "{}", status.err);
    assert!(status.out.contains("CRITICAL, as node 2 sees it: Node 2 (n2): "), "{}", status.out);
    let refused = put().await;
    assert!(refused.status == 503 && refused.text().contains("files_gone"), "{refused:?}");
    std::fs::rename(&aside, &journal).unwrap();
    eventually("it is over", async || told().await?.is_none().then_some(())).await;
    eventually("it stores again", async || (put().await.status == 200).then_some(())).await;
}

/// The alarm about files of the second node that are gone, as the first one tells it.
async fn files_gone(cluster: &Cluster) -> Option<Value> {
    let all = cluster.client(0).ask(hyper::Method::GET, "/v1/alarms").await.ok()?;
    let mut all = all["alarms"].as_array()?.clone().into_iter();
    all.find(|it| it["alarm"]["code"] == "files_gone" && it["alarm"]["node"] == 2)
}

/// The files of a directory with this ending, oldest first.
fn files(dir: &Path, ending: &str) -> Vec<PathBuf> {
    let Ok(all) = std::fs::read_dir(dir) else { return Vec::new() };
    let mut paths: Vec<PathBuf> = all.map(|file| file.unwrap().path()).collect();
    paths.retain(|path| path.is_file() && path.to_string_lossy().ends_with(ending));
    paths.sort();
    paths
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_segment_that_is_removed_under_a_running_node_is_named_and_comes_back_from_the_others() {
    let mut cluster = Cluster::start(3).await;
    cluster.bucket("b", json!({ "kind": "lww", "n": 3 })).await;
    let put = async |cluster: &Cluster, node| call(&cluster.client(node), "PUT", "/v1/kv/b/k", &[], "1").await;
    assert_eq!(put(&cluster, VICTIM).await.status, 200);
    let journal = cluster.data(VICTIM).join("journal");
    let segment = files(&journal, ".seg").remove(0);
    let aside = cluster.dir.path().join("aside");
    std::fs::rename(&segment, &aside).unwrap();
    let alarm = eventually("another node tells it", async || files_gone(&cluster).await).await;
    let (cause, to_do) = (alarm["alarm"]["cause"].as_str().unwrap(), alarm["alarm"]["to_do"].as_str().unwrap());
    assert!(cause.contains(&format!("{} was removed or renamed", segment.display())), "{alarm:#}");
    assert!(cause.contains("copies on other machines are whole"), "{alarm:#}");
    assert!(to_do.contains("leave this node running until all others are up"), "{alarm:#}");
    let refused = put(&cluster, VICTIM).await;
    assert!(refused.status == 503 && refused.text().contains("files_gone"), "{refused:?}");
    std::fs::rename(&aside, &segment).unwrap();
    eventually("it is over", async || files_gone(&cluster).await.is_none().then_some(())).await;
    eventually("it stores again", async || (put(&cluster, VICTIM).await.status == 200).then_some(())).await;

    // For good: what its next start does not find, it fetches.
    std::fs::remove_file(&segment).unwrap();
    eventually("it is told again", async || files_gone(&cluster).await).await;
    stopped(&cluster, VICTIM).await;
    cluster.start_again(VICTIM);
    cluster.ready(VICTIM).await;
    eventually("nothing is gone any more", async || files_gone(&cluster).await.is_none().then_some(())).await;
    eventually("it has what was stored", async || {
        let read = call(&cluster.client(VICTIM), "GET", "/v1/kv/b/k?consistency=local", &[], "").await;
        (read.status == 200 && read.text() == "1").then_some(())
    })
    .await;
    eventually("it stores again", async || (put(&cluster, VICTIM).await.status == 200).then_some(())).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_table_that_is_removed_under_a_running_node_is_named_and_all_else_goes_on() {
    let cluster = Cluster::start(3).await;
    cluster.bucket("b", json!({ "kind": "lww", "n": 3 })).await;
    let put = async |key: &str| call(&cluster.client(VICTIM), "PUT", &format!("/v1/kv/b/{key}"), &[], "1").await;
    assert_eq!(put("k").await.status, 200);
    let tables = cluster.data(VICTIM).join("index/db/keyspaces/1/tables");
    // One that was merged into another a moment ago is not needed any more.
    let is_old = |table: &PathBuf| {
        let age = table.metadata().and_then(|there| there.modified()).ok().and_then(|made| made.elapsed().ok());
        age.is_some_and(|age| age > Duration::from_secs(3))
    };
    let table = eventually("a table that stays", async || files(&tables, "").into_iter().rfind(is_old)).await;
    std::fs::remove_file(&table).unwrap();
    let alarm = eventually("another node tells it", async || files_gone(&cluster).await).await;
    let cause = alarm["alarm"]["cause"].as_str().unwrap();
    assert!(cause.contains(&format!("{} was removed or renamed", table.display())), "{alarm:#}");
    assert!(cause.contains("All else goes on."), "{alarm:#}");
    assert_eq!(put("other").await.status, 200);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_has_no_files_any_more_counts_for_no_write_of_others_and_gets_it_when_they_are_back() {
    let cluster = Cluster::start(3).await;
    cluster.bucket("b", json!({ "kind": "lww", "n": 3 })).await;
    let ask = async |node, how, path: &str, body| call(&cluster.client(node), how, path, &[], body).await;
    eventually("all three take a write", async || {
        (ask(0, "PUT", "/v1/kv/b/k?w=3", "1").await.status == 200).then_some(())
    })
    .await;
    let (journal, aside) = (cluster.data(VICTIM).join("journal"), cluster.data(VICTIM).join("aside"));
    std::fs::rename(&journal, &aside).unwrap();
    eventually("another node tells it", async || files_gone(&cluster).await).await;

    for node in [0, 2] {
        let all = ask(node, "PUT", "/v1/kv/b/k?w=3", "2").await;
        assert_ne!(all.status, 200, "{all:?}");
        for key in 0..20 {
            let put = ask(node, "PUT", &format!("/v1/kv/b/{key}"), "2").await;
            assert_eq!(put.status, 200, "{put:?}");
            let receipt = put.json();
            assert!(receipt["acked_by"].as_array().unwrap().iter().all(|by| *by != 2), "{receipt}");
        }
    }
    // What is deleted is written too.
    let deleted = ask(VICTIM, "DELETE", "/v1/kv/b/k", "").await;
    assert!(deleted.status == 503 && deleted.text().contains("files_gone"), "{deleted:?}");

    std::fs::rename(&aside, &journal).unwrap();
    eventually("it is over", async || files_gone(&cluster).await.is_none().then_some(())).await;
    for key in ["k", "0", "19"] {
        eventually("it has what it missed", async || {
            let read = ask(VICTIM, "GET", &format!("/v1/kv/b/{key}?consistency=local"), "").await;
            (read.status == 200 && read.text() == "2").then_some(())
        })
        .await;
    }
}

/// A snapshot or a backup freezes the file system of one machine for a while.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_file_system_that_is_frozen_is_told_as_a_disk_that_does_not_answer_while_it_is() {
    let (cluster, disk) = on_a_failing_disk().await;
    let put = call(&cluster.client(0), "PUT", "/v1/kv/t/before", &[], "x").await;
    assert_eq!(put.status, 200, "{put:?}");
    let frozen = disk.freeze();
    let client = cluster.client(VICTIM);
    let write = tokio::spawn(async move {
        let _hangs = client.send(hyper::Method::PUT, "/v1/kv/t/k", &[], ringfort::cli::client::full("x")).await;
    });
    let told = eventually("another one tells it", async || {
        let all = call(&cluster.client(0), "GET", "/v1/alarms", &[], "").await.json();
        let mut causes = all["alarms"].as_array()?.iter().filter(|told| told["alarm"]["node"] == 2);
        let says = |cause: &str| cause.contains("has not finished a sync");
        causes.find(|told| told["alarm"]["cause"].as_str().is_some_and(says)).cloned()
    })
    .await;
    assert_eq!(told["alarm"]["node"], 2, "{told:#}");
    // It is there, and reads what it has.
    assert_eq!(state_of(&cluster, 0, VICTIM).await, "up");
    let read = call(&cluster.client(VICTIM), "GET", "/v1/kv/t/before", &[], "").await;
    assert_eq!((read.status, read.text()), (200, "x"), "{read:?}");
    drop(frozen);
    write.abort();
    eventually("it is up again", async || (state_of(&cluster, 0, VICTIM).await == "up").then_some(())).await;
}

struct Hidden(PathBuf);

impl Drop for Hidden {
    fn drop(&mut self) {
        let _gone = Command::new("umount").arg("-l").arg(&self.0).status();
    }
}

/// `mount -a` puts an empty file system over the directory of a running node.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_file_system_that_is_mounted_over_a_node_is_named_also_in_the_list_that_it_hides() {
    let cluster = Cluster::start(3).await;
    let data = cluster.data(VICTIM);
    assert!(Command::new("mount").args(["-t", "tmpfs", "tmpfs"]).arg(&data).status().unwrap().success());
    let hidden = Hidden(data);
    let entry = eventually("the list has it", async || {
        let told = call(&cluster.client(0), "GET", "/v1/timeline?kind=alarm_raised&node=2", &[], "").await.json();
        told["entries"].as_array()?.iter().find(|entry| entry["code"] == "files_gone").cloned()
    })
    .await;
    let text = entry["text"].as_str().unwrap();
    assert!(text.contains("another file system was mounted over it") && text.contains("Unmount that one"), "{entry:#}");
    drop(hidden);
    eventually("it is over", async || {
        let all = call(&cluster.client(0), "GET", "/v1/alarms", &[], "").await.json();
        (!all.to_string().contains("files_gone")).then_some(())
    })
    .await;
}
