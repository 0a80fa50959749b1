//! Processes that are killed: what was acked is there afterwards, whatever was killed and when.

use std::path::Path;
use std::process::Command;
use std::process::Stdio;
use std::sync::Arc;
use std::sync::Mutex;
use std::time::Duration;
use std::time::Instant;

use tokio::io::AsyncReadExt;
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;

use crate::support::BINARY;
use crate::support::Node;
use crate::support::airports;
use crate::wire;
use crate::wire::Random;
use crate::wire::Readings;
use crate::wire::Wire;

const WRITERS: usize = 64;
/// Rows of airports.csv.
const AIRPORTS: usize = 28_298;

/// What writers were told.
#[derive(Default)]
struct Told {
    /// Answered 200.
    acked: Mutex<Vec<String>>,
    /// Sent, and no answer came.
    unanswered: Mutex<Vec<String>>,
}

impl Told {
    fn acks(&self) -> usize {
        self.acked.lock().unwrap().len()
    }
}

/// Writers that put one key after another until their connection breaks.
async fn start_writers(node: &Node, token: &str, prefix: &str, told: &Arc<Told>) -> Vec<tokio::task::JoinHandle<()>> {
    let url = node.url().await;
    let mut writers = Vec::new();
    for writer in 0..WRITERS {
        let (told, prefix, mut wire) = (Arc::clone(told), prefix.to_owned(), Wire::open(&url, token).await);
        writers.push(tokio::spawn(async move {
            for n in 0.. {
                let key = format!("{prefix}-w{writer}-n{n}");
                match wire.put("k", &key).await {
                    Some((200, _)) => told.acked.lock().unwrap().push(key),
                    Some((503, body)) if wire::code(&body) == "stopping" => return,
                    Some((status, body)) => panic!("{key}: {status} {}", String::from_utf8_lossy(&body)),
                    None => return told.unanswered.lock().unwrap().push(key),
                }
            }
        }));
    }
    writers
}

/// Everything acked is right; what was never answered is right or absent.
async fn check(node: &Node, token: &str, told: &Told) {
    let acked = told.acked.lock().unwrap().clone();
    let readings = wire::read_all(node, token, "k", &acked).await;
    assert_eq!(readings, Readings { right: acked.len(), ..Readings::default() }, "of acked keys");
    let unanswered = told.unanswered.lock().unwrap().clone();
    let readings = wire::read_all(node, token, "k", &unanswered).await;
    assert_eq!((readings.wrong, readings.refused), (0, 0), "of keys never answered: {readings:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_acked_write_is_lost_when_the_process_group_is_killed_under_64_writers() {
    let rounds = wire::setting("RINGFORT_KILL_ROUNDS", 5);
    let dir = tempfile::tempdir().unwrap();
    let data = dir.path().join("node");
    let mut node = Node::start(&data).await;
    let token = wire::prepare(&node, "k").await;
    let told = Arc::new(Told::default());
    let mut random = Random(0x5eed_0001);
    for round in 0..rounds {
        let enough = told.acks() + 100 + random.below(400) as usize;
        let writers = start_writers(&node, &token, &format!("r{round}"), &told).await;
        wire::until("enough writes are acked", async || told.acks() >= enough).await;
        node.kill();
        for writer in writers {
            writer.await.unwrap();
        }
        node = Node::start(&data).await;
        check(&node, &token, &told).await;
    }
    eprintln!(
        "{rounds} rounds: {} acked, all there; {} never answered",
        told.acks(),
        told.unanswered.lock().unwrap().len()
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_second_kill_during_the_start_loses_nothing_either() {
    let rounds = wire::setting("RINGFORT_START_KILLS", 20);
    let dir = tempfile::tempdir().unwrap();
    let data = dir.path().join("node");
    let mut node = Node::start(&data).await;
    let token = wire::prepare(&node, "k").await;
    let told = Arc::new(Told::default());
    let mut random = Random(0x5eed_0002);
    let mut killed_before_ready = 0;
    for round in 0..rounds {
        if round % 5 == 0 {
            let writers = start_writers(&node, &token, &format!("s{round}"), &told).await;
            let enough = told.acks() + 200;
            wire::until("enough writes are acked", async || told.acks() >= enough).await;
            node.kill();
            for writer in writers {
                writer.await.unwrap();
            }
        }
        node.kill();
        node = Node::spawn(&data, &[], &[]);
        let until = Instant::now() + Duration::from_micros(random.below(400_000));
        let mut ready = false;
        while !ready && Instant::now() < until {
            ready = node.is_ready().await;
        }
        killed_before_ready += u64::from(!ready);
        node.kill();
        node = Node::start(&data).await;
    }
    assert!(killed_before_ready > 0, "no kill ever met a start");
    check(&node, &token, &told).await;
    eprintln!("{rounds} starts killed, {killed_before_ready} of them before they were ready; {} acked", told.acks());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_first_start_that_is_killed_goes_on_at_the_next_one() {
    let dir = tempfile::tempdir().unwrap();
    let mut random = Random(0x5eed_0003);
    for round in 0..10 {
        let data = dir.path().join(format!("node-{round}"));
        for _ in 0..3 {
            let mut node = Node::spawn(&data, &[], &[]);
            let until = Instant::now() + Duration::from_micros(random.below(60_000));
            while Instant::now() < until && !node.is_ready().await {}
            node.kill();
        }
        let node = Node::start(&data).await;
        let token = wire::prepare(&node, "k").await;
        let mut wire = Wire::open(&node.url().await, &token).await;
        assert_eq!(wire.put("k", "a").await.unwrap().0, 200);
    }
}

/// Runs the command line against a node's control socket.
fn command(data: &Path, words: &[&str]) -> Command {
    let mut command = Command::new(BINARY);
    command.args(words).current_dir(data).env("RINGFORT_DATA", data).stdin(Stdio::null());
    command
}

fn succeed(mut command: Command) -> Vec<u8> {
    let output = command.output().unwrap();
    assert!(output.status.success(), "{command:?}: {}", String::from_utf8_lossy(&output.stderr));
    output.stdout
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_import_killed_in_the_middle_is_whole_after_resume() {
    let dir = tempfile::tempdir().unwrap();
    let (data, clean) = (dir.path().join("node"), dir.path().join("clean"));
    let csv = airports().display().to_string();
    let mut node = Node::start(&data).await;
    let mut import = command(&data, &["import", "airports", &csv, "--key", "icao"])
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    wire::until("some thousand rows are stored", async || {
        node.status().await["journal"]["records"].as_u64().unwrap() > 4000
    })
    .await;
    node.kill();
    assert!(!import.wait().unwrap().success(), "the import should have been broken off");
    node = Node::start(&data).await;
    let token = wire::prepare(&node, "other").await;
    let mut wire = Wire::open(&node.url().await, &token).await;
    let before = wire::list_all(&mut wire, "airports").await.len();
    assert!((4000..AIRPORTS).contains(&before), "{before} rows survived the kill");
    succeed(command(&data, &["import", "airports", &csv, "--key", "icao", "--resume"]));
    assert_eq!(wire::list_all(&mut wire, "airports").await.len(), AIRPORTS);
    let _clean_node = Node::start(&clean).await;
    succeed(command(&clean, &["import", "airports", &csv, "--key", "icao"]));
    let resumed = succeed(command(&data, &["export", "airports"]));
    assert_eq!(resumed.split(|byte| *byte == b'\n').filter(|line| !line.is_empty()).count(), AIRPORTS);
    assert!(resumed == succeed(command(&clean, &["export", "airports"])), "the exports differ");
    eprintln!("{before} rows before the resume, {AIRPORTS} after it");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_killed_worker_is_started_again_and_has_what_was_acked() {
    let dir = tempfile::tempdir().unwrap();
    let node = Node::start(&dir.path().join("node")).await;
    let token = wire::prepare(&node, "k").await;
    let told = Arc::new(Told::default());
    let writers = start_writers(&node, &token, "a", &told).await;
    wire::until("enough writes are acked", async || told.acks() >= 200).await;
    let first = worker_pid(&node).await;
    kill(first);
    for writer in writers {
        writer.await.unwrap();
    }
    wire::until("a new worker is ready", async || node.is_ready().await).await;
    assert_ne!(worker_pid(&node).await, first);
    check(&node, &token, &told).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_worker_does_not_outlive_its_supervisor() {
    let dir = tempfile::tempdir().unwrap();
    let mut node = Node::start(&dir.path().join("node")).await;
    let worker = worker_pid(&node).await;
    assert!(wire::is_alive(worker));
    kill(node.pid());
    let _reaped = node.wait();
    wire::until("the worker is gone", async || !wire::is_alive(worker)).await;
}

async fn worker_pid(node: &Node) -> i32 {
    i32::try_from(node.status().await["worker_pid"].as_i64().unwrap()).unwrap()
}

fn kill(pid: i32) {
    let pid = rustix::process::Pid::from_raw(pid).unwrap();
    rustix::process::kill_process(pid, rustix::process::Signal::KILL).unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stop_finishes_what_is_in_flight_and_leaves_nothing_to_replay() {
    let dir = tempfile::tempdir().unwrap();
    let mut node = Node::start(&dir.path().join("node")).await;
    let token = wire::prepare(&node, "k").await;
    let told = Arc::new(Told::default());
    let writers = start_writers(&node, &token, "a", &told).await;
    wire::until("enough writes are acked", async || told.acks() >= 200).await;
    let url = node.url().await;
    let mut half = TcpStream::connect(url.strip_prefix("http://").unwrap()).await.unwrap();
    // It says so when it has taken the request: it asks for the body.
    let head = format!(
        "PUT /v1/kv/k/half HTTP/1.1\r\nhost: localhost\r\nauthorization: Bearer {token}\r\ncontent-length: 8\r\n\
         expect: 100-continue\r\n\r\n"
    );
    half.write_all(head.as_bytes()).await.unwrap();
    let mut go_on = [0; "HTTP/1.1 100 Continue\r\n\r\n".len()];
    half.read_exact(&mut go_on).await.unwrap();
    assert!(go_on.starts_with(b"HTTP/1.1 100 "), "{}", go_on.escape_ascii());
    half.write_all(b"half").await.unwrap();
    let asked = Instant::now();
    let pid = rustix::process::Pid::from_raw(node.pid()).unwrap();
    rustix::process::kill_process(pid, rustix::process::Signal::TERM).unwrap();
    wire::until("the stop is under way", async || node.log().contains("requests in flight are finished")).await;
    half.write_all(b"half").await.unwrap();
    let mut answer = String::new();
    half.read_to_string(&mut answer).await.unwrap();
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    let ended = node.wait();
    assert!(ended.success(), "{ended}: {}", node.log());
    assert!(asked.elapsed() < Duration::from_secs(8), "it took {:?}", asked.elapsed());
    for writer in writers {
        writer.await.unwrap();
    }
    let before = node.log().len();
    node = Node::start(&dir.path().join("node")).await;
    let log = node.log().split_off(before);
    assert!(log.contains("journal replayed journal=\"store\" groups=0 "), "{log}");
    check(&node, &token, &told).await;
    // A request that meets the closing of an idle connection is never read. One that was taken has its answer.
    let unanswered = told.unanswered.lock().unwrap().clone();
    let readings = wire::read_all(&node, &token, "k", &unanswered).await;
    assert_eq!(readings, Readings { absent: unanswered.len(), ..Readings::default() }, "cut off after it was taken");
    let mut wire = Wire::open(&node.url().await, &token).await;
    assert_eq!(wire.get("k", "half").await.unwrap().1, "halfhalf");
}

#[test]
fn a_directory_of_another_user_ends_the_node_at_once_instead_of_being_tried_for_ever() {
    let dir = tempfile::tempdir().unwrap();
    let data = dir.path().join("node");
    std::fs::create_dir(&data).unwrap();
    std::os::unix::fs::chown(&data, Some(12_345), None).unwrap();
    let mut node = Node::spawn(&data, &[], &[]);
    let ended = node.wait_until(Instant::now() + Duration::from_secs(20));
    assert_eq!(ended.and_then(|status| status.code()), Some(77), "{}", node.log());
    assert!(node.log().contains("belongs to user 12345"), "{}", node.log());
}
