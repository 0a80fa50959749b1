//! Two of three machines are gone for ever: `ringfort recover control` on the third, with real processes.

use std::path::Path;
use std::process::Command;

use hyper::Method;
use ringfort::store::data_dir::DataDir;
use rustix::process::Signal;
use serde_json::Value;
use serde_json::json;

use crate::cluster::Cluster;
use crate::support;
use crate::support::Ended;
use crate::support::call;
use crate::support::client;
use crate::support::eventually;

const KEYS: usize = 200;

fn recover(data: &Path, words: &[&str]) -> Ended {
    let data = data.to_str().unwrap();
    support::ringfort_in(data.as_ref(), &[&["recover", "control", "--data", data], words].concat())
}

fn copy(from: &Path, to: &Path) {
    assert!(Command::new("cp").arg("-a").args([from, to]).status().unwrap().success());
}

/// Every key, read on this node.
async fn all_are_read(url: &str, token: &str) {
    let client = client(url, Some(token));
    for key in 0..KEYS {
        let read = eventually("a read", async || {
            let read = call(&client, "GET", &format!("/v1/kv/t/k{key}"), &[], "").await;
            (read.status != 503).then_some(read)
        })
        .await;
        assert_eq!((read.status, read.text().to_owned()), (200, format!("v{key}")), "k{key} at {url}");
    }
}

impl Cluster {
    async fn ring(&self, node: usize) -> Option<Value> {
        let status = self.owner(node).ask(Method::GET, "/v1/status").await.ok()?;
        Some(status["ring"].clone())
    }

    async fn owners_are(&self, node: usize, count: usize) {
        eventually(&format!("{count} owners"), async || {
            let ring = self.ring(node).await?;
            let at_rest = ring["moving"] == 0 && ring["behind"] == 0;
            (at_rest && ring["nodes"].as_array()?.len() == count).then_some(())
        })
        .await;
    }
}

/// Keeps a copy of the first node, destroys it and the second one, and goes on with the third.
async fn lose_two_of_three(cluster: &mut Cluster, kept: &Path) {
    let [first, second, survivor] = [0, 1, 2].map(|node| cluster.data(node));
    let ended = async |data: &Path| {
        eventually("the end of the node", async || DataDir::open(data).is_ok().then_some(())).await;
    };
    // As long as it runs, or the others are there, nothing is recovered.
    let running = recover(&survivor, &["--accept-loss"]);
    assert!(running.code == 75 && running.err.contains("is running"), "{running:?}");
    cluster.signal(2, Signal::KILL);
    ended(&survivor).await;
    let there = recover(&survivor, &["--accept-loss"]);
    assert!(there.code == 69 && there.err.contains("nothing was changed"), "{there:?}");
    for node in [0, 1] {
        cluster.signal(node, Signal::KILL);
    }
    ended(&first).await;
    ended(&second).await;
    copy(&first, kept);
    for gone in [&first, &second] {
        std::fs::remove_dir_all(gone).unwrap();
    }
    // First what it costs.
    let look = recover(&survivor, &[]);
    assert_eq!(look.code, 77, "{look:?}");
    let said = format!("{}{}", look.out, look.err);
    for word in
        ["not reached", "this node", "would be given up", "refused for ever", "of 256 partitions", "--accept-loss"]
    {
        assert!(said.contains(word), "{word}: {look:?}");
    }
    let done = recover(&survivor, &["--accept-loss", "--json"]);
    assert_eq!(done.code, 0, "{done:?}");
    assert_eq!((&done.json()["lost"], &done.json()["generation"]), (&json!([1, 2]), &json!(0)));
    // Once is enough.
    let again = recover(&survivor, &["--accept-loss"]);
    assert!(again.code == 69 && again.err.contains("nothing is lost"), "{again:?}");
    cluster.start_again(2);
    cluster.ready(2).await;
}

/// The survivor leads, and says what was done to it.
async fn leads_the_next_generation(cluster: &Cluster) {
    let status = cluster.owner(2).ask(Method::GET, "/v1/status").await.map_err(|f| f.message).unwrap();
    assert_eq!((&status["control"]["leader"], &status["control"]["generation"]), (&json!(3), &json!(1)), "{status}");
    let audit = call(&cluster.owner(2), "GET", "/v1/audit?chain=access", &[], "").await.text().to_owned();
    assert!(audit.contains("recovers the control plane as generation 1, without the voters 1, 2"), "{audit}");
    let made = call(&cluster.client(2), "PUT", "/v1/buckets/after", &[], "{}").await;
    assert_eq!(made.status, 201, "{made:?}");
}

/// Two of three owners are gone: a quorum of them answers nothing until their data is given up.
async fn give_up_data(cluster: &Cluster) {
    let read = call(&cluster.client(2), "GET", "/v1/kv/t/k0", &[], "").await;
    assert_eq!(read.problem(), (503, "no_quorum".to_owned()));
    eventually("a plan without the lost", async || {
        let staged = call(&cluster.owner(2), "POST", "/v1/plan", &[], "{}").await;
        let number = staged.json()["plan"]["version"].as_u64()?.to_string();
        let mut command = support::command(cluster.dir.path(), &["plan", "commit", &number, "--accept-loss"]);
        command.env("RINGFORT_DATA", cluster.data(2));
        (support::ended(command).code == 0).then_some(())
    })
    .await;
    cluster.owners_are(2, 1).await;
}

/// A node of the old generation: nobody listens to it, and it says so.
async fn is_refused(cluster: &Cluster, node: usize) {
    let alarm = eventually("the alarm of a node that is refused", async || {
        let status = cluster.owner(node).ask(Method::GET, "/v1/status").await.ok()?;
        let alarms = status["alarms"].as_array()?.clone();
        alarms.into_iter().find(|alarm| alarm["code"] == "removed")
    })
    .await;
    let text = alarm["text"].as_str().unwrap();
    for words in ["refuses this node for ever", "node 3 says", "recovered", "Stop it", "invite"] {
        assert!(text.contains(words), "{text}");
    }
    let made = call(&cluster.owner(node), "PUT", "/v1/buckets/old", &[], "{}").await;
    assert_eq!(made.problem(), (503, "no_control".to_owned()));
    let put = call(&cluster.client(node), "PUT", "/v1/kv/t/old", &[], "old").await;
    // It stores nothing any more, not even for itself.
    assert_eq!(put.problem(), (503, "no_quorum".to_owned()));
    assert_eq!(call(&cluster.client(2), "GET", "/v1/kv/t/old", &[], "").await.status, 404);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_survivor_goes_on_when_two_of_three_machines_are_gone_and_what_is_old_is_refused_for_ever() {
    let mut cluster = Cluster::start(3).await;
    let token = cluster.token().to_owned();
    cluster.bucket("t", json!({ "n": 3, "w": 2 })).await;
    // On all three: of what only two have acked, the two may be those that are lost.
    for key in 0..KEYS {
        let put = call(&cluster.client(key % 3), "PUT", &format!("/v1/kv/t/k{key}?w=3"), &[], format!("v{key}")).await;
        assert_eq!(put.status, 200, "{put:?}");
    }
    cluster.has_one_history(&[0, 1, 2]).await;
    let kept = cluster.dir.path().join("kept");
    lose_two_of_three(&mut cluster, &kept).await;
    leads_the_next_generation(&cluster).await;
    give_up_data(&cluster).await;
    all_are_read(&cluster.urls()[2], &token).await;
    let put = call(&cluster.client(2), "PUT", "/v1/kv/t/later", &[], "later").await;
    assert_eq!(put.status, 200, "{put:?}");

    let mut joined = Vec::new();
    for name in ["n4", "n5"] {
        let invite = call(&cluster.owner(2), "POST", "/v1/invites", &[], "{}").await.json();
        let words = ["--listen", "http://127.0.0.1:0", "--peer-listen", "127.0.0.1:0", "--name", name, "--join"];
        let words = [&words[..], &[invite["token"].as_str().unwrap()]].concat();
        joined.push(support::Node::start_saying(&cluster.dir.path().join(name), &[], &words).await);
    }
    cluster.owners_are(2, 3).await;
    for node in &joined {
        all_are_read(&node.url().await, &token).await;
    }
    // Whoever comes gets a number that the lost could not have given.
    assert!(joined[0].status().await["node"].as_u64().unwrap() > 1000);

    copy(&kept, &cluster.data(0));
    cluster.start_again(0);
    is_refused(&cluster, 0).await;
    let status = cluster.owner(2).ask(Method::GET, "/v1/status").await.map_err(|f| f.message).unwrap();
    assert_eq!(status["control"]["generation"], 1);
}
