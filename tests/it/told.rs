//! What one machine says of itself is on the others' screens, and what they find out about one that says nothing; what devices
//! are refused, and what was configured and not taken.

use std::net::TcpListener;

use rustix::process::Signal;
use rustix::process::kill_process;
use serde_json::Value;
use serde_json::json;

use crate::causes::stopped;
use crate::cluster::Cluster;
use crate::support::call;
use crate::support::command;
use crate::support::ended;
use crate::support::eventually;
use crate::timeline::chain;
use crate::timeline::entries;

/// The machine that something is wrong with, and its number.
const VICTIM: usize = 1;
const NUMBER: u64 = 2;

/// An alarm in `/v1/status` of a node: what it shows without asking anybody.
async fn shown(cluster: &Cluster, node: usize, code: &str) -> Option<Value> {
    let status = call(&cluster.client(node), "GET", "/v1/status", &[], "").await.json();
    status["alarms"].as_array()?.iter().find(|alarm| alarm["code"] == code).cloned()
}

/// An alarm as `/v1/alarms` of a node tells it for all.
async fn told(cluster: &Cluster, node: usize, code: &str) -> Option<Value> {
    let all = call(&cluster.client(node), "GET", "/v1/alarms", &[], "").await.json();
    all["alarms"].as_array()?.iter().find(|told| told["alarm"]["code"] == code).cloned()
}

fn configure(cluster: &Cluster, node: usize, change: impl Fn(String) -> String) {
    let file = cluster.data(node).join("ringfort.toml");
    let text = std::fs::read_to_string(&file).unwrap();
    std::fs::write(&file, change(text)).unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_configured_and_not_taken_is_told_on_the_other_machines_until_it_is_mended() {
    let cluster = Cluster::start(3).await;
    configure(&cluster, VICTIM, |text| format!("no_such_key = 1\n{text}"));
    kill_process(cluster.pid(VICTIM), Signal::HUP).unwrap();
    let alarm = eventually("another one shows it", async || shown(&cluster, 0, "config_refused").await).await;
    assert_eq!((&alarm["said_by"], &alarm["node"]), (&json!(NUMBER), &json!(NUMBER)), "{alarm:#}");
    assert_eq!(alarm["cause"], "Node 2 (n2) did not take what was configured last, as it says itself.");
    let all = eventually("and has it in full", async || told(&cluster, 0, "config_refused").await).await;
    assert_eq!(all["told_by"], json!([NUMBER]));
    let cause = all["alarm"]["cause"].as_str().unwrap();
    assert!(cause.contains("ringfort.toml:1:1: `no_such_key` is not a key"), "{all:#}");
    let mut status = command(cluster.dir.path(), &["status", "--url", &cluster.urls()[0]]);
    status.env("RINGFORT_TOKEN", cluster.token());
    let status = ended(status);
    assert_eq!(status.out.matches("configured last").count(), 1, "once, in full: {}", status.out);
    assert!(status.out.contains("WARNING, as node 2 sees it: Node 2 (n2): What was configured last"), "{}", status.out);
    let frame = call(&cluster.client(0), "GET", "/", &[("accept", "text/html")], "").await;
    assert!(frame.text().contains("did not take what was configured last"), "{}", frame.text());
    // Whoever cannot be asked has said it before: the lane of questions is cut, gossip goes on.
    cluster.cut("bulk@2");
    let heard = eventually("what it said is told for it", async || {
        let told = told(&cluster, 0, "config_refused").await?;
        (told["alarm"]["said_by"] == NUMBER).then_some(told)
    })
    .await;
    assert_eq!(heard["told_by"], json!([NUMBER]), "{heard:#}");
    cluster.cut("");
    configure(&cluster, VICTIM, |text| text.replace("no_such_key = 1\n", ""));
    kill_process(cluster.pid(VICTIM), Signal::HUP).unwrap();
    eventually("it is over", async || shown(&cluster, 0, "config_refused").await.is_none().then_some(())).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_every_machine_says_of_itself_is_told_as_something_that_they_share() {
    let cluster = Cluster::start(3).await;
    let alike = "All 3 machines say the same of themselves";
    for node in [0, 1, 2] {
        configure(&cluster, node, |text| format!("no_such_key = 1\n{text}"));
        kill_process(cluster.pid(node), Signal::HUP).unwrap();
        if node == 1 {
            eventually("the second says it", async || told(&cluster, 1, "config_refused").await).await;
            let status = call(&cluster.client(0), "GET", "/v1/alarms", &[], "").await;
            assert!(!status.text().contains(alike), "the third is well: {status:?}");
        }
    }
    for path in ["/v1/status", "/v1/alarms"] {
        eventually("each is told so", async || {
            let all = call(&cluster.client(0), "GET", path, &[], "").await;
            // In the cause and in the text of each.
            (all.text().matches(alike).count() == 6).then_some(())
        })
        .await;
    }
    configure(&cluster, 2, |text| text.replace("no_such_key = 1\n", ""));
    kill_process(cluster.pid(2), Signal::HUP).unwrap();
    eventually("two of three are none", async || {
        let all = call(&cluster.client(0), "GET", "/v1/alarms", &[], "").await;
        (all.text().contains("config_refused") && !all.text().contains(alike)).then_some(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_control_socket_that_cannot_be_made_is_told_on_the_other_machines() {
    let mut cluster = Cluster::start(3).await;
    stopped(&cluster, VICTIM).await;
    // Something of somebody else's is in its place.
    std::fs::create_dir(cluster.data(VICTIM).join("ctl.sock")).unwrap();
    cluster.start_again(VICTIM);
    let all = eventually("another one tells it", async || told(&cluster, 0, "config_refused").await).await;
    let cause = all["alarm"]["cause"].as_str().unwrap();
    assert_eq!(all["told_by"], json!([NUMBER]));
    assert!(cause.contains("no local control socket") && cause.contains("ctl.sock: "), "{all:#}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn devices_that_are_refused_time_and_again_are_an_alarm_with_the_reason_and_who_ordered_it() {
    let cluster = Cluster::start(3).await;
    cluster.bucket("meters", json!({ "kind": "lww" })).await;
    let client = cluster.client(VICTIM);
    let put = async || call(&client, "PUT", "/v1/kv/meters/k", &[], "1").await.status;
    assert_eq!(put().await, 200);
    assert_eq!(call(&cluster.client(0), "DELETE", "/v1/buckets/meters", &[], "").await.status, 204);
    let alarm = eventually("it is told", async || {
        for _ in 0..5 {
            put().await;
        }
        told(&cluster, 0, "requests_refused").await
    })
    .await;
    let cause = alarm["alarm"]["cause"].as_str().unwrap();
    assert!(
        cause.starts_with("Node 2 (n2): In the last minute ") && cause.contains("with `no_such_bucket`"),
        "{cause}"
    );
    assert!(cause.contains("meters") && cause.contains("most of these from 127.0.0.1"), "{cause}");
    let cause = eventually("the list has it with the order", async || {
        let all = entries(&cluster.client(0), "since=1h").await?;
        let raised = all.iter().find(|entry| entry["code"] == "requests_refused")?.clone();
        Some((chain(&all, &raised), raised["cause_text"].as_str()?.to_owned()))
    })
    .await;
    assert_eq!(cause.0, ["requests_refused", "ordered"]);
    assert!(cause.1.contains("removes bucket"), "{}", cause.1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_one_that_fell_silent_it_is_told_that_its_machine_answers_and_where_it_is_found_again() {
    let mut cluster = Cluster::start(3).await;
    cluster.signal(VICTIM, Signal::KILL);
    let alarm = eventually("it is told what the last try says", async || {
        let alarm = told(&cluster, 0, "member_vanished").await?["alarm"].clone();
        alarm["cause"].as_str()?.contains("says that").then_some(alarm)
    })
    .await;
    let cause = alarm["cause"].as_str().unwrap();
    assert!(cause.contains("its machine is there and answers, and Ringfort does not run on it"), "{cause}");
    assert!(alarm["to_do"].as_str().unwrap().contains("start Ringfort there"), "{alarm:#}");
    // It comes back at another address.
    let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let line = format!("peer_listen = \"127.0.0.1:{port}\"");
    configure(&cluster, VICTIM, |text| {
        let is_it = |old: &str| if old.starts_with("peer_listen") { line.clone() } else { old.to_owned() };
        text.lines().map(is_it).collect::<Vec<_>>().join("\n")
    });
    cluster.start_again(VICTIM);
    let moved = eventually("the list says where it went", async || {
        let all = entries(&cluster.client(0), "since=1h").await?;
        all.into_iter().find(|entry| entry["kind"] == "member_moved" && entry["node"] == NUMBER)
    })
    .await;
    let text = moved["text"].as_str().unwrap();
    assert!(text.starts_with(&format!("node 2 (n2) is reached at 127.0.0.1:{port} now; before: 127.0.0.1:")), "{text}");
}

/// Somebody's machine came up without its disk, and Ringfort began anew in the empty place where that belongs.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_begins_anew_in_an_empty_directory_is_told_as_a_stranger_at_its_own_address() {
    let mut cluster = Cluster::start(3).await;
    stopped(&cluster, VICTIM).await;
    let (data, aside) = (cluster.data(VICTIM), cluster.data(VICTIM).with_extension("aside"));
    std::fs::rename(&data, &aside).unwrap();
    std::fs::create_dir(&data).unwrap();
    std::fs::copy(aside.join("ringfort.toml"), data.join("ringfort.toml")).unwrap();
    cluster.start_again(VICTIM);
    let alarm = eventually("another one tells that a stranger is there", async || {
        let all = call(&cluster.client(0), "GET", "/v1/alarms", &[], "").await.json();
        let mut all = all["alarms"].as_array()?.clone().into_iter();
        all.find(|told| {
            told["alarm"]["cause"].as_str().is_some_and(|cause| cause.contains("another one answers at its"))
        })
    })
    .await;
    assert_eq!(alarm["alarm"]["node"], NUMBER, "{alarm:#}");
    assert!(alarm["alarm"]["to_do"].as_str().unwrap().contains("is its disk mounted?"), "{alarm:#}");
}
