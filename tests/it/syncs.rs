//! Acks and syncs, seen from outside: no answer before its fdatasync, one fdatasync for many writers, and no answer at
//! all where the fdatasync fails.

use std::path::Path;
use std::sync::Arc;
use std::sync::Mutex;

use hyper::Method;

use crate::support::Node;
use crate::wire;
use crate::wire::Readings;
use crate::wire::Wire;

/// A system call in strace's output. Lines are in the order in which strace saw begins and ends.
#[derive(Debug)]
struct Call {
    name: String,
    /// Arguments and result, put together where other threads came in between.
    text: String,
    began: usize,
    ended: usize,
}

/// Reads `-f -o` output, joining `<unfinished ...>` with `<... resumed>`.
fn calls(trace: &str) -> Vec<Call> {
    let mut open: Vec<(String, Call)> = Vec::new();
    let mut calls = Vec::new();
    for (at, line) in trace.lines().enumerate() {
        let Some((thread, rest)) = line.split_once(' ') else { continue };
        let rest = rest.trim_start();
        if let Some(resumed) = rest.strip_prefix("<... ") {
            let Some(index) = open.iter().position(|(known, _)| known == thread) else { continue };
            let (_, mut call) = open.swap_remove(index);
            call.text.push_str(resumed.split_once(" resumed>").map_or("", |(_, text)| text));
            call.ended = at;
            calls.push(call);
        } else if let Some((name, text)) = rest.split_once('(') {
            let call = Call { name: name.to_owned(), text: text.to_owned(), began: at, ended: at };
            if rest.ends_with("<unfinished ...>") {
                open.push((thread.to_owned(), call));
            } else {
                calls.push(call);
            }
        }
    }
    calls.sort_by_key(|call| call.began);
    calls
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_answer_to_a_write_follows_the_fdatasync_that_covers_it() {
    const WRITES: usize = 200;
    let dir = tempfile::tempdir().unwrap();
    let trace = dir.path().join("trace");
    let strace =
        ["strace", "-f", "-yy", "-s", "4096", "-e", "trace=fdatasync,fsync,pwrite64,writev,write,sendto", "-o"];
    let in_front: Vec<&str> = strace.iter().copied().chain([trace.to_str().unwrap()]).collect();
    let mut node = Node::start_with(&dir.path().join("node"), &in_front, &[]).await;
    let token = wire::prepare(&node, "k").await;
    let mut wire = Wire::open(&node.url().await, &token).await;
    for n in 0..WRITES {
        let (status, _) = wire.ask(Method::PUT, &format!("/v1/kv/k/{n}"), marker(n)).await.unwrap();
        assert_eq!(status, 200);
    }
    drop(wire);
    // The client has the last answer before strace has written that call down; killing at once would lose it.
    let ended =
        |call: &Call| call.text.contains("<TCP:[") && call.text.contains("HTTP/1.1 200") && call.text.contains(" = ");
    let traced = || calls(&std::fs::read_to_string(&trace).unwrap());
    wire::until("strace has written all answers", async || {
        traced().iter().filter(|call| ended(call)).count() >= WRITES
    })
    .await;
    node.kill();
    let calls = traced();
    let in_journal = |call: &Call| {
        call.text.split_once('>').is_some_and(|(file, _)| file.contains("/journal/") && file.ends_with(".seg"))
    };
    // Everything else asks through the control socket, so TCP carries the answers to these writes only, one by one.
    let answers: Vec<&Call> = calls.iter().filter(|call| ended(call)).collect();
    assert_eq!(answers.len(), WRITES);
    for (n, answer) in answers.iter().enumerate() {
        let holds = |call: &&Call| call.name == "pwrite64" && in_journal(call) && call.text.contains(&marker(n));
        let written: Vec<&Call> = calls.iter().filter(holds).collect();
        assert_eq!(written.len(), 1, "write {n} is in the journal once");
        let covers = |call: &&Call| {
            call.name == "fdatasync"
                && in_journal(call)
                && call.text.trim_end().ends_with("= 0")
                && written[0].ended < call.began
                && call.ended < answer.began
        };
        assert!(calls.iter().any(|call| covers(&call)), "write {n} was answered before it was synced: {answer:?}");
    }
    eprintln!("{WRITES} answers, each behind its fdatasync");
}

fn marker(n: usize) -> String {
    format!("<marker-{n:06}>")
}

#[test]
fn an_answer_before_its_sync_would_be_noticed() {
    let trace = "1 pwrite64(7</d/journal/1.seg>, \"a\" <unfinished ...>\n\
                 2 fdatasync(7</d/journal/1.seg>) = 0\n\
                 1 <... pwrite64 resumed>, 1, 64) = 1\n";
    let calls = calls(trace);
    assert_eq!((calls[0].name.as_str(), calls[0].began, calls[0].ended), ("pwrite64", 0, 2));
    assert_eq!(calls[0].text, "7</d/journal/1.seg>, \"a\" <unfinished ...>, 1, 64) = 1");
    assert!(calls[1].began < calls[0].ended, "this sync does not cover that write");
}

/// Rounds of which one has to have processors to itself.
const ROUNDS: usize = 5;
const WRITERS: usize = 64;
const WRITES: usize = 100;

/// How many records these writers made, and by how many syncs.
async fn acked_by_many(node: &Node, url: &str, token: &str) -> (u64, u64) {
    let counts = async || {
        let journal = node.status().await["journal"].clone();
        (journal["records"].as_u64().unwrap(), journal["groups"].as_u64().unwrap())
    };
    let before = counts().await;
    let mut writers = Vec::new();
    for writer in 0..WRITERS {
        let mut wire = Wire::open(url, token).await;
        writers.push(tokio::spawn(async move {
            for n in 0..WRITES {
                assert_eq!(wire.put("k", &format!("{writer}-{n}")).await.unwrap().0, 200);
            }
        }));
    }
    for writer in writers {
        writer.await.unwrap();
    }
    let after = counts().await;
    (after.0 - before.0, after.1 - before.1)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_sync_serves_at_least_twenty_of_64_writers() {
    let dir = tempfile::tempdir().unwrap();
    let node = Node::start(&dir.path().join("node")).await;
    let token = wire::prepare(&node, "k").await;
    let url = node.url().await;
    // Where other tests have the processors there are no 64 who write at once.
    let mut best = 0;
    for _ in 0..ROUNDS {
        let (records, syncs) = acked_by_many(&node, &url, &token).await;
        eprintln!("{records} acks, {syncs} syncs: {:.1} acks per sync", records as f64 / syncs as f64);
        assert_eq!(records, (WRITERS * WRITES) as u64);
        best = best.max(records / syncs);
        if best >= 20 {
            return;
        }
    }
    panic!("{best} acks per sync at the most");
}

/// What writers were told.
#[derive(Default)]
struct Told {
    acked: Vec<String>,
    unknown: Vec<String>,
}

/// Writes from several connections until one is not answered 200.
async fn write_until_refused(node: &Node, token: &str) -> Told {
    let told = Arc::new(Mutex::new(Told::default()));
    let url = node.url().await;
    let mut writers = Vec::new();
    for writer in 0..8 {
        let (told, mut wire) = (Arc::clone(&told), Wire::open(&url, token).await);
        writers.push(tokio::spawn(async move {
            for n in 0..2000 {
                let key = format!("{writer}-{n}");
                match wire.put("k", &key).await {
                    Some((200, _)) => told.lock().unwrap().acked.push(key),
                    Some((504, _)) | None => return told.lock().unwrap().unknown.push(key),
                    Some((503, body)) if wire::code(&body) == "stopping" => return,
                    Some((status, body)) => panic!("{status} {}", String::from_utf8_lossy(&body)),
                }
            }
            panic!("no sync failed");
        }));
    }
    for writer in writers {
        writer.await.unwrap();
    }
    Arc::into_inner(told).unwrap().into_inner().unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_failing_fdatasync_ends_the_worker_and_nothing_unsynced_was_acked() {
    for failing in [40, 41, 44, 60, 97] {
        let dir = tempfile::tempdir().unwrap();
        let data = dir.path().join("node");
        let (acked, unknown) = fail_once(&data, failing).await;
        eprintln!("fdatasync {failing} failed: {acked} acked and there, {unknown} unknown");
    }
}

async fn fail_once(data: &Path, failing: u32) -> (usize, usize) {
    let mut node = Node::start(data).await;
    let token = wire::prepare(&node, "k").await;
    node.stop();
    // Counted per thread, so the journal's own comes first; only its segments are asked for.
    let inject = format!("inject=fdatasync:error=EIO:when={failing}");
    let in_front = ["strace", "-f", "-o", "/dev/null", "-e", "trace=fdatasync", "-e", &inject];
    node = Node::start_with(data, &in_front, &[]).await;
    let told = write_until_refused(&node, &token).await;
    assert!(!told.acked.is_empty() && !told.unknown.is_empty());
    wire::until("the supervisor says how the worker ended", async || node.log().contains("exit status: 74")).await;
    // The new worker is under the same fault, but nobody writes any more.
    wire::until("a new worker is ready", async || node.is_ready().await).await;
    node.kill();
    node = Node::start(data).await;
    let readings = wire::read_all(&node, &token, "k", &told.acked).await;
    assert_eq!(readings, Readings { right: told.acked.len(), ..Readings::default() });
    let unknown = wire::read_all(&node, &token, "k", &told.unknown).await;
    assert_eq!((unknown.wrong, unknown.refused), (0, 0));
    (told.acked.len(), told.unknown.len())
}
