//! A disk that fills up: writes are refused honestly, everything else goes on, and room alone mends it.

use std::io::Write;
use std::path::Path;
use std::path::PathBuf;
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::sync::atomic::Ordering;

use serde_json::Value;
use serde_json::json;

use crate::support::BINARY;
use crate::support::Node;
use crate::support::call;
use crate::wire;
use crate::wire::Readings;
use crate::wire::Wire;

/// A small file system of its own, gone when dropped.
pub struct SmallDisk(PathBuf);

impl SmallDisk {
    pub fn new(parent: &Path, mib: u32) -> Self {
        Self::mounted(parent, &format!("size={mib}m"))
    }

    /// One that has room for so many files.
    fn with_files(parent: &Path, mib: u32, files: u32) -> Self {
        Self::mounted(parent, &format!("size={mib}m,nr_inodes={files}"))
    }

    fn mounted(parent: &Path, size: &str) -> Self {
        let at = parent.join("disk");
        std::fs::create_dir(&at).unwrap();
        let mounted = Command::new("mount").args(["-t", "tmpfs", "-o", size, "tmpfs"]).arg(&at).status().unwrap();
        assert!(mounted.success(), "mounting needs root");
        Self(at)
    }

    /// A data directory on it, by a link from outside, so that the log beside it does not fill it.
    pub fn data(&self) -> PathBuf {
        let (inside, link) = (self.0.join("node"), self.0.with_file_name("node"));
        std::fs::create_dir(&inside).unwrap();
        std::os::unix::fs::symlink(inside, &link).unwrap();
        link
    }

    fn ballast(&self) -> PathBuf {
        self.0.join("ballast")
    }

    fn free(&self) -> u64 {
        let stat = rustix::fs::statvfs(&self.0).unwrap();
        stat.f_bavail * stat.f_frsize
    }

    /// Takes space until only so many bytes are left.
    pub fn fill(&self, leave: u64) {
        let mut file = std::fs::File::options().create(true).append(true).open(self.ballast()).unwrap();
        let piece = vec![1; 64 * 1024];
        loop {
            let over = usize::try_from(self.free().saturating_sub(leave)).unwrap().min(piece.len());
            if over == 0 || file.write_all(&piece[..over]).is_err() {
                return;
            }
        }
    }

    /// Makes small files until there is room for none.
    fn fill_with_files(&self) {
        let dir = self.0.join("many");
        std::fs::create_dir_all(&dir).unwrap();
        let made = std::fs::read_dir(&dir).unwrap().count();
        for n in made.. {
            if std::fs::File::create(dir.join(n.to_string())).is_err() {
                return;
            }
        }
    }

    fn remove_files(&self) {
        std::fs::remove_dir_all(self.0.join("many")).unwrap();
    }

    fn make_room(&self) {
        std::fs::remove_file(self.ballast()).unwrap();
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        let _gone = Command::new("umount").arg("-l").arg(&self.0).status();
    }
}

pub const RESERVE: (&str, &str) = ("RINGFORT_DISK_RESERVE", "32MiB");

async fn has_alarm(node: &Node, code: &str) -> bool {
    node.status().await["alarms"].as_array().unwrap().iter().any(|alarm| alarm["code"] == code)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn below_the_reserve_writes_are_refused_while_reads_and_deletes_go_on() {
    let dir = tempfile::tempdir().unwrap();
    let disk = SmallDisk::new(dir.path(), 128);
    let data = disk.data();
    let mut node = Node::start_with(&data, &[], &[RESERVE]).await;
    let token = wire::prepare(&node, "k").await;
    let mut wire = Wire::open(&node.url().await, &token).await;
    let mut acked = Vec::new();
    for n in 0..200 {
        let key = format!("before-{n}");
        assert_eq!(wire.put("k", &key).await.unwrap().0, 200);
        acked.push(key);
    }
    disk.fill(16 * 1024 * 1024);
    wire::until("the alarm is raised", async || has_alarm(&node, "disk_full").await).await;
    let (status, body) = wire.put("k", "refused").await.unwrap();
    let document: serde_json::Value = serde_json::from_slice(&body).unwrap();
    assert_eq!(
        (status, document["code"].as_str(), document["outcome"].as_str()),
        (507, Some("disk_full"), Some("failed"))
    );
    assert_eq!(wire.get("k", "refused").await.unwrap().0, 404);
    let gone = acked.pop().unwrap();
    let removed = Command::new(BINARY)
        .args(["kv", "rm", "k", &gone])
        .env("RINGFORT_DATA", &data)
        .current_dir(dir.path())
        .output()
        .unwrap();
    assert!(removed.status.success(), "{}", String::from_utf8_lossy(&removed.stderr));
    let all_there = Readings { right: acked.len(), ..Readings::default() };
    assert_eq!(wire::read_all(&node, &token, "k", &acked).await, all_there);
    disk.make_room();
    wire::until("writes are taken again", async || wire.put("k", "after").await.unwrap().0 == 200).await;
    assert!(!has_alarm(&node, "disk_full").await);
    assert!(node.stop().success());
    node = Node::start_with(&data, &[], &[RESERVE]).await;
    assert_eq!(wire::read_all(&node, &token, "k", &acked).await, all_there);
    let gone = wire::read_all(&node, &token, "k", &[gone, "refused".to_owned()]).await;
    assert_eq!(gone, Readings { absent: 2, ..Readings::default() });
}

/// Writers that go on whatever they are told, until asked to stop; they return what was acked.
async fn write_on(node: &Node, token: &str, stop: &Arc<AtomicBool>) -> Vec<tokio::task::JoinHandle<Vec<String>>> {
    const WRITERS: usize = 16;
    let url = node.url().await;
    let mut writers = Vec::new();
    for writer in 0..WRITERS {
        let (stop, url, token) = (Arc::clone(stop), url.clone(), token.to_owned());
        writers.push(tokio::spawn(async move {
            let mut acked = Vec::new();
            let mut wire = Wire::open(&url, &token).await;
            for n in 0.. {
                if stop.load(Ordering::Relaxed) {
                    break;
                }
                let key = format!("{writer}-{n}");
                match wire.put("k", &key).await {
                    Some((200, _)) => acked.push(key),
                    Some((503 | 504 | 507, _)) => {}
                    Some((status, body)) => panic!("{status} {}", String::from_utf8_lossy(&body)),
                    // The worker ended; nobody listens there until the next one is up, on another port.
                    None => break,
                }
            }
            acked
        }));
    }
    writers
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_disk_without_a_byte_left_costs_no_acked_write_and_the_node_recovers_by_itself() {
    fill_up_and_make_room(0).await;
    fill_up_and_make_room(8 * 1024).await;
}

/// A node that starts and finds no room, and what it holds. The directory goes last.
struct Roomless {
    node: Node,
    disk: SmallDisk,
    dir: tempfile::TempDir,
    token: String,
    keys: Vec<String>,
}

async fn roomless() -> Roomless {
    let dir = tempfile::tempdir().unwrap();
    let disk = SmallDisk::new(dir.path(), 192);
    let data = disk.data();
    let mut node = Node::start_with(&data, &[], &[RESERVE]).await;
    let token = wire::prepare(&node, "k").await;
    let mut wire = Wire::open(&node.url().await, &token).await;
    let keys: Vec<String> = (0..2000).map(|n| format!("{n}")).collect();
    for key in &keys {
        assert_eq!(wire.put("k", key).await.unwrap().0, 200);
    }
    node.stop();
    std::fs::write(data.join("index/REBUILD"), "a test asks for it").unwrap();
    disk.fill(0);
    node = Node::spawn(&data, &[], &[RESERVE]);
    Roomless { node, disk, dir, token, keys }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_that_finds_no_room_at_its_start_tries_again_until_there_is_some() {
    let Roomless { dir: _dir, disk, node, token, keys } = roomless().await;
    wire::until("a start fails", async || node.log().contains("status=exit status: 75")).await;
    disk.make_room();
    wire::until("the node is ready", async || node.is_ready().await).await;
    assert!(node.log().contains("keys were read from its tables"), "{}", node.log());
    let all_there = Readings { right: keys.len(), ..Readings::default() };
    assert_eq!(wire::read_all(&node, &token, "k", &keys).await, all_there);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_machine_that_is_in_rescue_for_want_of_room_says_so_and_comes_back_when_there_is_some() {
    let Roomless { dir: _dir, disk, node, token, keys } = roomless().await;
    let mut told = Value::Null;
    wire::until("the rescue console", async || {
        told = node.owner().ask(hyper::Method::GET, "/v1/rescue").await.unwrap_or_default();
        told["state"] == "rescue"
    })
    .await;
    assert!(told["means"].as_str().unwrap().contains("disk is full"), "{told:#}");
    assert!(told["steps"][0]["words"].as_str().unwrap().contains("Make room"), "{told:#}");
    assert_eq!(
        (&told["checks"][0]["name"], &told["checks"][0]["verdict"]),
        (&json!("room"), &json!("fail")),
        "{told:#}"
    );
    let began = std::time::Instant::now();
    disk.make_room();
    wire::until("the node is ready", async || node.is_ready().await).await;
    eprintln!("ready {:.1} s after there was room", began.elapsed().as_secs_f64());
    let all_there = Readings { right: keys.len(), ..Readings::default() };
    assert_eq!(wire::read_all(&node, &token, "k", &keys).await, all_there);
}

/// With some bytes left, more than the reserve, the index fails and the node starts anew while there is next to no room.
async fn fill_up_and_make_room(leave: u64) {
    let dir = tempfile::tempdir().unwrap();
    let disk = SmallDisk::new(dir.path(), 192);
    let data = disk.data();
    // As good as no reserve: writes are taken to the last byte.
    let reserve = ("RINGFORT_DISK_RESERVE", "1KiB");
    let mut node = Node::start_with(&data, &[], &[reserve]).await;
    let token = wire::prepare(&node, "k").await;
    let mut wire = Wire::open(&node.url().await, &token).await;
    assert_eq!(wire.put("k", "first").await.unwrap().0, 200);
    let stop = Arc::new(AtomicBool::new(false));
    let writers = write_on(&node, &token, &stop).await;
    disk.fill(leave);
    wire::until("a write finds the disk full", async || {
        disk.fill(leave);
        !matches!(wire.put("k", "probe").await, Some((200, _)))
    })
    .await;
    // What the index wants to flush finds no room either.
    let deadline = std::time::Instant::now() + std::time::Duration::from_secs(7);
    wire::until("the full disk has lasted", async || {
        disk.fill(leave);
        std::time::Instant::now() >= deadline
    })
    .await;
    stop.store(true, Ordering::Relaxed);
    let mut acked = vec!["first".to_owned()];
    for writer in writers {
        acked.extend(writer.await.unwrap());
    }
    disk.make_room();
    wire::until("writes are taken again", async || match Wire::reach(&node, &token).await {
        Some(mut wire) => matches!(wire.put("k", "after").await, Some((200, _))),
        None => false,
    })
    .await;
    acked.push("after".to_owned());
    let all_there = Readings { right: acked.len(), ..Readings::default() };
    assert_eq!(wire::read_all(&node, &token, "k", &acked).await, all_there);
    node.kill();
    node = Node::start_with(&data, &[], &[reserve]).await;
    assert_eq!(wire::read_all(&node, &token, "k", &acked).await, all_there);
    eprintln!("{} acked before and during the full disk, all there", acked.len());
}

/// More than any disk has free: a node that is told to keep it refuses every new value.
const NEVER_FREE: (&str, &str) = ("RINGFORT_DISK_RESERVE", "1000000GiB");

#[tokio::test]
async fn a_retry_of_what_is_stored_is_answered_on_a_full_disk_and_an_import_says_what_it_stored() {
    let dir = tempfile::tempdir().unwrap();
    let data = dir.path().join("node");
    let mut node = Node::start(&data).await;
    let owner = node.owner();
    call(&owner, "PUT", "/v1/buckets/b", &[], "{}").await;
    let named = [("idempotency-key", "one")];
    let first = call(&owner, "PUT", "/v1/kv/b/a", &named, "x").await;
    assert_eq!(first.status, 200);
    node.stop();
    let node = Node::start_with(&data, &[], &[NEVER_FREE]).await;
    let owner = node.owner();
    let again = call(&owner, "PUT", "/v1/kv/b/a", &named, "x").await;
    assert_eq!((again.status, again.json()), (200, first.json()), "the answer of the first time");
    let refused = call(&owner, "PUT", "/v1/kv/b/a", &[], "y").await;
    assert_eq!((refused.problem(), &refused.json()["outcome"]), ((507, "disk_full".into()), &"failed".into()));
    let deleted =
        call(&owner, "DELETE", "/v1/kv/b/a", &[("ringfort-context", first.json()["context"].as_str().unwrap())], "")
            .await;
    assert_eq!(deleted.status, 200, "deletions go on");
    let import = call(&owner, "POST", "/v1/buckets/b/import?format=csv", &[], "k,v\n1,2\n").await;
    assert_eq!(import.problem(), (507, "disk_full".into()));
    assert!(
        import.text().contains("line 2") && import.text().contains("rows before it are stored"),
        "{}",
        import.text()
    );
    assert!(import.json().get("outcome").is_none(), "what holds for one write does not hold for an import");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_room_for_more_files_writes_are_refused_as_without_bytes_and_the_node_goes_on() {
    let dir = tempfile::tempdir().unwrap();
    let disk = SmallDisk::with_files(dir.path(), 512, 4000);
    let data = disk.data();
    let node = Node::start_with(&data, &[], &[RESERVE]).await;
    let worker = node.status().await["worker_pid"].clone();
    let token = wire::prepare(&node, "k").await;
    let mut wire = Wire::open(&node.url().await, &token).await;
    let mut keys: Vec<String> = (0..500).map(|n| format!("{n}")).collect();
    for key in &keys {
        assert_eq!(wire.put("k", key).await.unwrap().0, 200);
    }
    disk.fill_with_files();
    let mut cause = String::new();
    wire::until("the alarm is raised", async || {
        let status = node.status().await;
        let found = status["alarms"].as_array().unwrap().iter().find(|alarm| alarm["code"] == "disk_full").cloned();
        cause = found.iter().map(|alarm| alarm["cause"].as_str().unwrap()).collect();
        found.is_some()
    })
    .await;
    assert!(cause.contains("no room for more files (inodes): 0 are left") && cause.contains("small files"), "{cause}");
    let gone = keys.pop().unwrap();
    let removed = Command::new(BINARY).args(["kv", "rm", "k", &gone]).env("RINGFORT_DATA", &data).output().unwrap();
    assert!(removed.status.success(), "{}", String::from_utf8_lossy(&removed.stderr));
    // Long enough for all that a node does by itself, above all that its index is proven, which hangs for want of a file.
    let deadline = std::time::Instant::now() + std::time::Duration::from_secs(15);
    wire::until("it has lasted", async || {
        // What frees some is taken again by whoever makes them.
        disk.fill_with_files();
        let (status, body) = wire.put("k", "refused").await.unwrap();
        let document: Value = serde_json::from_slice(&body).unwrap();
        assert_eq!((status, document["code"].as_str()), (507, Some("disk_full")), "{document}");
        let detail = document["detail"].as_str().unwrap();
        assert!(detail.contains("files (inodes)") && !detail.contains("MiB"), "{document}");
        std::time::Instant::now() >= deadline
    })
    .await;
    let all_there = Readings { right: keys.len(), ..Readings::default() };
    assert_eq!(wire::read_all(&node, &token, "k", &keys).await, all_there);
    assert!(!has_alarm(&node, "index_slow").await && !has_alarm(&node, "index_failed").await, "{}", node.log());
    disk.remove_files();
    wire::until("writes are taken again", async || wire.put("k", "after").await.unwrap().0 == 200).await;
    assert!(!has_alarm(&node, "disk_full").await);
    assert_eq!(node.status().await["worker_pid"], worker, "{}", node.log());
}
