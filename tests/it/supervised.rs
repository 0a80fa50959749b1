//! Tasks that fail in a running node: what is begun again, and what ends the process so that its supervisor takes over.

use std::path::Path;

use hyper::Method;
use serde_json::Value;
use serde_json::json;

use crate::cluster_faces::cluster;
use crate::cluster_faces::get;
use crate::support::Node;
use crate::support::call;
use crate::support::eventually;

/// Names the file of drills.
const CUT_FILE: &str = "RINGFORT_TEST_CUT_FILE";

/// A node with a file of drills, which is not there yet, and with something acked.
async fn drilled(dir: &Path) -> Node {
    let file = dir.join("drill");
    let node = Node::start_with(&dir.join("data"), &[], &[(CUT_FILE, file.to_str().unwrap())]).await;
    assert_eq!(call(&node.owner(), "PUT", "/v1/buckets/b", &[], "{}").await.status, 201);
    write(&node, "k").await;
    node
}

async fn write(node: &Node, key: &str) {
    let put = call(&node.owner(), "PUT", &format!("/v1/kv/b/{key}"), &[], "v").await;
    assert_eq!(put.status, 200, "{put:?}");
}

fn order(dir: &Path, words: &str) {
    std::fs::write(dir.join("drill.next"), words).unwrap();
    std::fs::rename(dir.join("drill.next"), dir.join("drill")).unwrap();
}

/// The task of a name, as a node tells it of itself; none while it is too busy to tell.
async fn task(node: &Node, name: &str) -> Option<Value> {
    let inside = node.owner().ask(Method::GET, "/v1/members/1/inside").await.ok()?;
    inside["tasks"].as_array()?.iter().find(|task| task["name"] == name).cloned()
}

#[tokio::test]
async fn a_task_that_fails_is_begun_again_while_requests_are_served() {
    let dir = tempfile::tempdir().unwrap();
    let node = drilled(dir.path()).await;
    let pid = node.status().await["worker_pid"].clone();
    let told = eventually("it is told", async || task(&node, "drilled").await).await;
    assert_eq!(told["failed"], 0, "{told}");
    order(dir.path(), "panic-kept");
    eventually("it has failed", async || node.log().contains("a task failed and is begun again").then_some(())).await;
    order(dir.path(), "");
    write(&node, "while-it-failed").await;
    let told = eventually("it runs again", async || {
        let told = task(&node, "drilled").await?;
        (told["failed"].as_u64()? > 0 && told["begun_again"] == told["failed"]).then_some(told)
    })
    .await;
    assert_eq!((&told["failure"], &told["running"]), (&json!("a drill made this task fail"), &json!(1)), "{told}");
    assert_eq!(node.status().await["worker_pid"], pid, "the process is the same");
}

#[tokio::test]
async fn a_task_that_fails_again_and_again_ends_the_process_and_the_next_one_has_what_was_acked() {
    let dir = tempfile::tempdir().unwrap();
    let node = drilled(dir.path()).await;
    let pid = node.status().await["worker_pid"].clone();
    order(dir.path(), "panic-kept");
    let given_up = "task drilled failed too often; the process ends and starts anew";
    eventually("it is given up", async || node.log().contains(given_up).then_some(())).await;
    order(dir.path(), "");
    eventually("another process serves", async || {
        let status = node.owner().ask(Method::GET, "/v1/status").await.ok()?;
        (status["worker_pid"].is_u64() && status["worker_pid"] != pid && node.is_ready().await).then_some(())
    })
    .await;
    let log = node.log();
    assert_eq!(log.matches("a task failed and is begun again").count(), 5, "{log}");
    let read = call(&node.owner(), "GET", "/v1/kv/b/k", &[], "").await;
    assert_eq!((read.status, read.text()), (200, "v"));
    let crash = eventually("its end is reported", async || {
        let crashes = get(&node, "/v1/crashes").await;
        crashes["crashes"].as_array()?.iter().find(|crash| crash["kind"] == "exit").cloned()
    })
    .await;
    assert!(crash["reason"].as_str().unwrap().contains("70"), "{crash}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn tasks_of_the_lanes_and_of_the_control_plane_are_in_the_list_too() {
    let dir = tempfile::tempdir_in("/dev/shm").unwrap();
    let nodes = cluster(dir.path(), 3).await;
    eventually("the control plane takes a command", async || {
        let made = call(&nodes[1].owner(), "PUT", "/v1/buckets/b", &[], "{}").await;
        matches!(made.status, 200 | 201).then_some(())
    })
    .await;
    for (name, running) in [("peers", 1), ("campaigns", 1), ("lane to a peer", 8)] {
        let told = eventually(name, async || task(&nodes[0], name).await).await;
        assert_eq!((&told["kind"], &told["running"]), (&json!("vital"), &json!(running)), "{told}");
        assert!(told["since"].is_string() && told["failed"] == 0, "{told}");
    }
    for name in ["lane from a peer", "answer to a peer", "control command"] {
        let told = eventually(name, async || task(&nodes[0], name).await).await;
        assert_eq!((&told["kind"], &told["failed"]), (&json!("once"), &json!(0)), "{told}");
        assert!(told["begun"].as_u64().unwrap() > 0, "{told}");
    }
}

/// A file that runs a copy of the program, whatever program it is told.
fn a_copy(dir: &Path) -> (std::path::PathBuf, std::path::PathBuf) {
    use std::os::unix::fs::PermissionsExt as _;

    let (copy, script) = (dir.join("rf"), dir.join("start"));
    std::fs::copy(crate::support::BINARY, &copy).unwrap();
    std::fs::write(&script, format!("#!/bin/sh\nshift\nexec {} \"$@\"\n", copy.display())).unwrap();
    std::fs::set_permissions(&script, std::fs::Permissions::from_mode(0o755)).unwrap();
    (copy, script)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_whose_program_was_removed_says_so_and_is_begun_again_when_it_fails() {
    let dir = tempfile::tempdir().unwrap();
    let (copy, script) = a_copy(dir.path());
    let node = Node::start_with(&dir.path().join("data"), &[script.to_str().unwrap()], &[]).await;
    let pid = node.status().await["worker_pid"].as_i64().unwrap();
    std::fs::remove_file(&copy).unwrap();
    let alarm = eventually("it says so", async || {
        let status = node.owner().ask(Method::GET, "/v1/status").await.ok()?;
        status["alarms"].as_array()?.iter().find(|alarm| alarm["code"] == "program_replaced").cloned()
    })
    .await;
    let cause = alarm["cause"].as_str().unwrap();
    assert!(cause.contains(&format!("{}, was removed or replaced", copy.display())), "{cause}");
    let worker = rustix::process::Pid::from_raw(i32::try_from(pid).unwrap()).unwrap();
    rustix::process::kill_process(worker, rustix::process::Signal::KILL).unwrap();
    eventually("another process serves", async || {
        let status = node.owner().ask(Method::GET, "/v1/status").await.ok()?;
        (status["worker_pid"].as_i64()? != pid && node.is_ready().await).then_some(())
    })
    .await;
}
