//! The two planes of a cluster of real processes kept apart: control lanes that are cut, gossip that is cut, all nodes
//! killed at once. The data plane goes on without the control plane, and that comes back with one history.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering;
use std::time::Duration;
use std::time::Instant;

use futures_util::future::join_all;
use hyper::Method;
use ringfort::cli::client::Client;
use ringfort::cli::client::Target;
use ringfort::cli::client::full;
use rustix::process::Signal;
use serde_json::Value;
use serde_json::json;

use crate::cluster::Cluster;
use crate::support::Reply;
use crate::support::call;
use crate::support::client;
use crate::support::eventually;

/// A change that cannot be made is refused within this.
const REFUSED_WITHIN: Duration = Duration::from_secs(2);
/// What a machine that is busy with other tests may add to it.
const BUSY: Duration = Duration::from_secs(2);

impl Cluster {
    /// Through the control socket of a node.
    pub fn owner(&self, node: usize) -> Client {
        Client::new(Target::Socket(self.data(node).join("ctl.sock")), None)
    }

    /// The whole audit as a node has it: the history of the control state, as far as somebody gave it.
    async fn audit(&self, node: usize) -> Option<Vec<Value>> {
        let mut entries: Vec<Value> = Vec::new();
        loop {
            let after = entries.last().map_or(0, |entry| entry["seq"].as_u64().unwrap());
            let page = call(&self.owner(node), "GET", &format!("/v1/audit?after={after}"), &[], "").await;
            let more = (page.status == 200).then(|| page.json())?["entries"].as_array()?.clone();
            if more.is_empty() {
                return Some(entries);
            }
            entries.extend(more);
        }
    }

    /// Waits until every node tells the same audit up to its last entry. Each carries a hash of all before it.
    pub async fn has_one_history(&self, nodes: &[usize]) -> Vec<Value> {
        eventually("one history", async || {
            let mut told = Vec::new();
            for node in nodes {
                told.push(self.audit(*node).await?);
            }
            told.windows(2).all(|pair| pair[0] == pair[1]).then(|| told.remove(0))
        })
        .await
    }

    /// Waits until a change goes through on each of these nodes.
    async fn takes_changes(&self, nodes: &[usize], name: &str) {
        for node in nodes {
            let path = format!("/v1/buckets/{name}-{node}");
            eventually("a change", async || {
                let made = call(&self.client(*node), "PUT", &path, &[], "{}").await;
                [200, 201].contains(&made.status).then_some(())
            })
            .await;
        }
    }

    /// Values go in on each of these nodes and are read on each other, at once.
    async fn data_goes_on(&self, nodes: &[usize], key: &str) {
        for writer in nodes {
            let path = format!("/v1/kv/t/{key}-{writer}");
            let put = call(&self.client(*writer), "PUT", &path, &[], key.to_owned()).await;
            assert_eq!(put.status, 200, "{put:?}");
            for reader in nodes {
                let read = call(&self.client(*reader), "GET", &path, &[], "").await;
                assert_eq!((read.status, read.text()), (200, key), "{writer} {reader}");
            }
        }
    }

    /// How a node stands in the control group.
    async fn control(&self, node: usize) -> Value {
        call(&self.owner(node), "GET", "/v1/status", &[], "").await.json()["control"].clone()
    }

    /// Waits until these name the same leader in the same term, with the same state.
    async fn one_leader(&self, nodes: &[usize]) -> Value {
        eventually("one leader", async || {
            let mut told = Vec::new();
            for node in nodes {
                let mut control = self.control(*node).await;
                control["contact_ms"].as_u64()?;
                control["contact_ms"].take();
                (!control["leader"].is_null()).then(|| told.push(control))?;
            }
            told.windows(2).all(|pair| pair[0] == pair[1]).then(|| told.remove(0))
        })
        .await
    }

    async fn all_up(&self, nodes: &[usize]) {
        for node in nodes {
            eventually("all nodes up", async || {
                let reply = call(&self.owner(*node), "GET", "/v1/members", &[], "").await.json();
                let members = reply["members"].as_array()?.clone();
                members.iter().all(|member| member["state"] == "up").then_some(())
            })
            .await;
        }
    }
}

/// A refusal that says what happened, that nothing was changed, and what to do.
fn is_full_refusal(reply: &Reply, code: &str, took: Duration) {
    assert_eq!(reply.problem(), (503, code.to_owned()), "{reply:?}");
    assert!(took <= REFUSED_WITHIN + BUSY, "{took:?}");
    let detail = reply.json()["detail"].as_str().unwrap().to_owned();
    let said = ["control plane", "nothing was changed", "ringfort members"].map(|part| detail.contains(part));
    assert_eq!(said, [true; 3], "{detail}");
}

async fn timed(client: &Client, method: &str, path: &str, body: Value) -> (Reply, Duration) {
    let begun = Instant::now();
    let reply = call(client, method, path, &[], body.to_string()).await;
    (reply, begun.elapsed())
}

/// Every way to change something through a cut-off node is refused in full; how long that took at most.
async fn refuses_changes(cluster: &Cluster, node: usize) -> Duration {
    let (admin, owner) = (cluster.client(node), cluster.owner(node));
    let token = json!({ "name": "new", "scopes": ["support"] });
    let bucket = format!("/v1/buckets/new-{node}");
    // Who has no contact does not know whether the caller's token still is one. The owner of the machine is let in, and
    // hears of the control plane itself that it takes nothing.
    let all = [
        (&admin, "POST", "/v1/tokens", token.clone(), "no_contact"),
        (&admin, "POST", "/v1/plan", json!({}), "no_contact"),
        (&admin, "PUT", bucket.as_str(), json!({}), "no_control"),
        (&owner, "PUT", bucket.as_str(), json!({}), "no_control"),
        (&owner, "POST", "/v1/tokens", token, "no_control"),
    ];
    let took = all.map(async |(client, method, path, body, code)| {
        let (reply, took) = timed(client, method, path, body).await;
        is_full_refusal(&reply, code, took);
        took
    });
    join_all(took).await.into_iter().max().unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_the_control_lane_values_go_on_and_changes_are_refused_with_the_reason() {
    let cluster = Cluster::start(3).await;
    let all = [0, 1, 2];
    cluster.bucket("t", json!({ "n": 3 })).await;
    cluster.bucket("d", json!({ "kind": "lww" })).await;
    let device = cluster.document["device_token"].as_str().unwrap();
    let token = json!({ "name": "support", "scopes": ["support"] });
    let made = call(&cluster.client(0), "POST", "/v1/tokens", &[], token.to_string()).await;
    let support = made.json()["token"].as_str().unwrap().to_owned();
    for node in all {
        eventually("the token on each node", async || {
            let reply = call(&client(&cluster.urls()[node], Some(&support)), "GET", "/v1/status", &[], "").await;
            (reply.status == 200).then(|| assert_eq!(reply.header("ringfort-control-age-ms"), None))
        })
        .await;
    }
    cluster.cut("control");
    for node in all {
        // Devices are told how old the word is by which they are let in.
        let device = client(&cluster.urls()[node], Some(device));
        let path = format!("/v1/kv/d/d{node}");
        eventually("a node that knows that it is cut off", async || {
            let put = call(&device, "PUT", &path, &[], "value").await;
            assert_eq!(put.status, 200, "{put:?}");
            let age: u64 = put.header("ringfort-control-age-ms")?.parse().unwrap();
            assert!(age > 2000, "{age}");
            Some(())
        })
        .await;
    }
    cluster.data_goes_on(&all, "cut").await;
    let took = join_all(all.map(|node| refuses_changes(&cluster, node))).await;
    let longest = took.into_iter().max().unwrap();
    for node in all {
        // What is read from this node's own copy is answered.
        let support = client(&cluster.urls()[node], Some(&support));
        for path in ["/v1/status", "/v1/members", "/v1/ring"] {
            let reply = call(&support, "GET", path, &[], "").await;
            assert_eq!(reply.status, 200, "{path}: {reply:?}");
            assert!(reply.header("ringfort-control-age-ms").is_some());
        }
        assert_eq!(call(&cluster.owner(node), "GET", "/v1/tokens", &[], "").await.status, 200);
    }
    println!("control lanes cut: the longest refusal took {longest:?}");
    cluster.cut("");
    cluster.takes_changes(&all, "healed").await;
    let history = cluster.has_one_history(&all).await;
    let took_effect = |entry: &Value| entry["what"].as_str().unwrap().contains("new");
    assert!(!history.iter().any(took_effect), "what was refused took effect: {history:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn control_lanes_that_were_cut_for_several_elections_come_back_with_one_leader_and_one_history() {
    let cluster = Cluster::start(3).await;
    let all = [0, 1, 2];
    cluster.bucket("t", json!({ "n": 3 })).await;
    for round in 0..crate::cluster::rounds() {
        cluster.takes_changes(&all, &format!("before-{round}")).await;
        let before = cluster.has_one_history(&all).await;
        let term = cluster.control(0).await["term"].as_u64().unwrap();
        cluster.cut("control");
        for node in all {
            // An election that nobody answers is over after a lease and a part of one more.
            eventually("several elections", async || {
                let control = cluster.control(node).await;
                let over = control["contact_ms"].as_u64().is_some_and(|age| age > 4500);
                (over && control["leader"].is_null()).then_some(())
            })
            .await;
        }
        cluster.all_up(&all).await;
        cluster.data_goes_on(&all, &format!("cut-{round}")).await;
        cluster.cut("");
        let leader = cluster.one_leader(&all).await;
        // Whoever stands asks first whether others would vote, so that terms do not run away.
        let terms = leader["term"].as_u64().unwrap() - term;
        assert!(terms <= 5, "{terms} terms later");
        cluster.takes_changes(&all, &format!("after-{round}")).await;
        let after = cluster.has_one_history(&all).await;
        assert!(after.starts_with(&before) && after.len() >= before.len() + 3, "{before:?} {after:?}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_gossip_nobody_is_removed_and_values_and_changes_go_on() {
    let cluster = Cluster::start(3).await;
    let all = [0, 1, 2];
    cluster.bucket("t", json!({ "n": 3 })).await;
    cluster.cut("gossip");
    for node in all {
        eventually("nodes that are not heard", async || {
            let reply = call(&cluster.owner(node), "GET", "/v1/members", &[], "").await.json();
            let members = reply["members"].as_array().unwrap().clone();
            assert_eq!(members.len(), 3, "{reply}");
            (members.iter().filter(|member| member["state"] == "down").count() == 2).then_some(())
        })
        .await;
    }
    cluster.data_goes_on(&all, "deaf").await;
    cluster.takes_changes(&all, "deaf").await;
    for node in all {
        let members = call(&cluster.owner(node), "GET", "/v1/members", &[], "").await.json();
        let parts: Vec<_> = members["members"].as_array().unwrap().iter().map(|it| it["part"].clone()).collect();
        assert_eq!(parts, ["member", "member", "member"]);
        let ring = call(&cluster.owner(node), "GET", "/v1/status", &[], "").await.json()["ring"].clone();
        assert_eq!((&ring["moving"], ring["nodes"].as_array().unwrap().len()), (&json!(0), 3), "{ring}");
    }
    cluster.cut("");
    cluster.all_up(&all).await;
    cluster.data_goes_on(&all, "heard").await;
    cluster.has_one_history(&all).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nodes_that_are_all_killed_at_once_come_back_with_all_that_was_acked() {
    let mut cluster = Cluster::start(3).await;
    let all = [0, 1, 2];
    cluster.bucket("t", json!({ "n": 3 })).await;
    for round in 0..crate::cluster::rounds() {
        let key = format!("before-{round}");
        cluster.data_goes_on(&all, &key).await;
        cluster.takes_changes(&all, &key).await;
        let before = cluster.has_one_history(&all).await;
        for node in all {
            cluster.signal(node, Signal::KILL);
        }
        for node in all {
            cluster.start_again(node);
        }
        for node in all {
            cluster.ready(node).await;
        }
        for (writer, reader) in all.into_iter().flat_map(|writer| all.map(|reader| (writer, reader))) {
            let path = format!("/v1/kv/t/{key}-{writer}");
            let read = eventually("a read", async || {
                let read = call(&cluster.client(reader), "GET", &path, &[], "").await;
                // Too few may be there yet.
                (read.status != 503).then_some(read)
            })
            .await;
            assert_eq!((read.status, read.text()), (200, key.as_str()), "{writer} {reader}");
        }
        cluster.takes_changes(&all, &format!("after-{round}")).await;
        cluster.all_up(&all).await;
        cluster.data_goes_on(&all, &format!("after-{round}")).await;
        let after = cluster.has_one_history(&all).await;
        assert!(after.starts_with(&before), "{before:?} {after:?}");
        cluster.one_leader(&all).await;
    }
}

/// Makes one change after the other through one node; returns those that were acked, and counts them.
async fn change_on(admin: Client, number: usize, stop: Arc<AtomicBool>, done: Arc<AtomicU64>) -> Vec<u64> {
    let mut acked = Vec::new();
    for ttl in 1..=86_000 {
        if stop.load(Ordering::Relaxed) {
            break;
        }
        let path = format!("/v1/buckets/w{number}");
        let definition = json!({ "ttl": format!("{ttl}s") }).to_string();
        // A node that was killed or stands still does not answer; the change may take effect.
        let asked = admin.send(Method::PUT, &path, &[], full(definition));
        let answer = tokio::time::timeout(PATIENCE_OF_A_WRITER, asked).await;
        let status = answer.ok().and_then(Result::ok).map(|answer| answer.head.status.as_u16());
        if status.is_some_and(|status| [200, 201].contains(&status)) {
            acked.push(ttl);
            done.fetch_add(1, Ordering::Relaxed);
        } else {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }
    acked
}

/// Longer than a refusal takes, shorter than a frost.
const PATIENCE_OF_A_WRITER: Duration = Duration::from_secs(3);

/// The times to live that the history tells of one bucket, in its order.
fn told_of(history: &[Value], number: usize) -> Vec<u64> {
    let begin = format!("sets bucket `w{number}`:");
    let of = history.iter().filter_map(|entry| entry["what"].as_str()).filter(|what| what.starts_with(&begin));
    let ttl = |what: &str| what.split("ttl ").nth(1)?.split(" ms").next()?.parse::<u64>().ok();
    of.map(|what| ttl(what).unwrap_or_else(|| panic!("{what}")) / 1000).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn voters_that_are_frozen_killed_and_cut_off_under_changes_end_with_one_history_of_all_that_was_acked() {
    let mut cluster = Cluster::start(3).await;
    let all = [0, 1, 2];
    let (stop, done) = <(Arc<AtomicBool>, Arc<AtomicU64>)>::default();
    let writer =
        |node: usize| tokio::spawn(change_on(cluster.client(node), node, Arc::clone(&stop), Arc::clone(&done)));
    let writers: Vec<_> = all.into_iter().map(writer).collect();
    let more = async |count: u64| {
        let begun = done.load(Ordering::Relaxed);
        eventually("changes", async || (done.load(Ordering::Relaxed) >= begun + count).then_some(())).await;
    };
    let mut longest = Duration::ZERO;
    for round in 0..crate::cluster::rounds() {
        let leads =
            async |node: usize| Some(usize::try_from(cluster.control(node).await["leader"].as_u64()?).unwrap() - 1);
        // The leader each time, which costs most; in later rounds others too.
        let victim = eventually("a leader", async || leads(round % 3).await).await;
        more(10).await;
        cluster.signal(victim, Signal::STOP);
        let frozen = Instant::now();
        more(10).await;
        longest = longest.max(frozen.elapsed());
        cluster.signal(victim, Signal::CONT);
        more(10).await;
        let victim = (victim + 1 + round % 2) % 3;
        cluster.signal(victim, Signal::KILL);
        let killed = Instant::now();
        more(10).await;
        longest = longest.max(killed.elapsed());
        cluster.start_again(victim);
        cluster.ready(victim).await;
        more(10).await;
        if crate::cluster::rounds() == 1 {
            continue;
        }
        cluster.cut("control");
        for node in all {
            // One that was just started may have had none yet.
            eventually("no contact", async || {
                cluster.control(node).await["contact_ms"].as_u64().is_none_or(|age_ms| age_ms > 2000).then_some(())
            })
            .await;
        }
        cluster.cut("");
        more(10).await;
    }
    stop.store(true, Ordering::Relaxed);
    let mut acked = Vec::new();
    for writer in writers {
        acked.push(writer.await.unwrap());
    }
    cluster.one_leader(&all).await;
    let history = cluster.has_one_history(&all).await;
    println!("{} changes acked, {} entries, ten more took {longest:?} at most", acked.concat().len(), history.len());
    for (number, acked) in acked.iter().enumerate() {
        let told = told_of(&history, number);
        assert!(
            acked.iter().all(|ttl| told.contains(ttl)),
            "of w{number} {acked:?} were acked, and there are {told:?}"
        );
        assert_eq!(told.iter().collect::<BTreeSet<_>>().len(), told.len(), "something took effect twice: {told:?}");
        // What was acked before another began is before it.
        let places: Vec<_> = acked.iter().map(|ttl| told.iter().position(|it| it == ttl)).collect();
        assert!(places.is_sorted(), "{told:?}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_only_voter_that_left_hands_over_the_control_plane_however_late() {
    let cluster = Cluster::start(2).await;
    cluster.all_up(&[0, 1]).await;
    assert_eq!(cluster.one_leader(&[0, 1]).await["leader"], 1);
    // From now on everything is done but that.
    cluster.cut("no-seats");
    let log = cluster.dir.path().join("log");
    eventually("the drill has begun", async || {
        let said = std::fs::read_to_string(&log).unwrap();
        (said.matches("a drill turned the looks at who should vote off").count() == 2).then_some(())
    })
    .await;
    let told = call(&cluster.owner(1), "POST", "/v1/members/1/leave", &[], "").await;
    assert_eq!(told.status, 200, "{told:?}");
    eventually("it is out, and the other one knows", async || {
        let reply = call(&cluster.owner(1), "GET", "/v1/members", &[], "").await.json();
        (reply["members"].as_array()?.len() == 1).then_some(())
    })
    .await;
    assert_ne!(cluster.control(1).await["leader"], 2);
    cluster.cut("");
    eventually("the other one leads", async || (cluster.control(1).await["leader"] == 2).then_some(())).await;
    cluster.takes_changes(&[1], "after").await;
}
