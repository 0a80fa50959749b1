//! Figures of a cluster of real processes: nine owners of which too many stand still, what five owners cost beside two,
//! how soon a death is known, and that a slow node is not taken for a dead one. Long forms behind flags of `tests/run`.

use std::time::Duration;
use std::time::Instant;

use ringfort::base::limits::OPERATION_BUDGET;
use ringfort::cli::client::Client;
use ringfort::cli::client::full;
use rustix::process::Pid;
use rustix::process::Signal;
use serde_json::Value;
use serde_json::json;

use crate::cluster::Cluster;
use crate::cluster::rounds;
use crate::groups::Group;
use crate::support::Reply;
use crate::support::call;
use crate::support::eventually;

/// Time for the answer itself, on a machine that does other things too.
const SLACK: Duration = Duration::from_secs(5);

/// Waits until so many nodes own everything, as each of them knows it.
async fn at_rest(cluster: &Cluster, count: usize) {
    for node in 0..count {
        let client = cluster.client(node);
        eventually(&format!("{count} owners on node {}", node + 1), async || {
            let ring = call(&client, "GET", "/v1/status", &[], "").await.json()["ring"].clone();
            let at_rest = ring["moving"] == 0 && ring["behind"] == 0 && ring["to_merge"] == 0;
            (at_rest && ring["nodes"].as_array()?.len() == count).then_some(())
        })
        .await;
    }
}

/// Waits until the bucket is known everywhere.
async fn bucket(cluster: &Cluster, name: &str, definition: Value) {
    cluster.bucket(name, definition).await;
    for node in 0..cluster.urls().len() {
        let client = cluster.client(node);
        eventually("the bucket is known", async || {
            (call(&client, "GET", &format!("/v1/buckets/{name}"), &[], "").await.status == 200).then_some(())
        })
        .await;
    }
}

/// Puts and reads on each of these nodes at once.
async fn ask_each(cluster: &Cluster, nodes: &[usize], when: &str) -> Vec<(String, Reply, Reply)> {
    let ask = async |node: usize| {
        let (client, key) = (cluster.client(node), format!("{when}-{node}"));
        let began = Instant::now();
        let put = call(&client, "PUT", &format!("/v1/kv/nine/{key}"), &[], key.clone()).await;
        assert!(began.elapsed() < OPERATION_BUDGET + SLACK, "put {key}: {:?}", began.elapsed());
        let began = Instant::now();
        let got = call(&client, "GET", "/v1/kv/nine/before-0", &[], "").await;
        assert!(began.elapsed() < OPERATION_BUDGET + SLACK, "get {key}: {:?}", began.elapsed());
        (key, put, got)
    };
    futures_util::future::join_all(nodes.iter().map(|node| ask(*node))).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nine_owners_serve_without_four_and_without_five_say_that_they_do_not() {
    let mut cluster = Cluster::start(9).await;
    at_rest(&cluster, 9).await;
    bucket(&cluster, "nine", json!({ "n": 9, "r": 5, "w": 5 })).await;
    let served = |answers: Vec<(String, Reply, Reply)>| -> Vec<String> {
        let is_served = |(key, put, got): (String, Reply, Reply)| {
            assert_eq!(put.status, 200, "{key}: {put:?}");
            assert!(put.json()["acked_by"].as_array().unwrap().len() >= 5, "{put:?}");
            assert_eq!((got.status, got.text()), (200, "before-0"), "{key}: {got:?}");
            key
        };
        answers.into_iter().map(is_served).collect()
    };
    // What all of them read has to be written first.
    let mut acked = served(ask_each(&cluster, &[0], "before").await);
    acked.extend(served(ask_each(&cluster, &[1, 2, 3, 4, 5, 6, 7, 8], "before").await));

    // Two are dead, two only do not move.
    let left = [0, 2, 4, 6, 8];
    for (node, signal) in [(1, Signal::KILL), (3, Signal::STOP), (5, Signal::KILL), (7, Signal::STOP)] {
        cluster.signal(node, signal);
    }
    acked.extend(served(ask_each(&cluster, &left, "without-four").await));
    acked.extend(served(ask_each(&cluster, &left, "again").await));

    cluster.signal(4, Signal::STOP);
    let left = [0, 2, 6, 8];
    for (key, put, got) in ask_each(&cluster, &left, "without-five").await {
        let said = put.json();
        match put.problem() {
            // The node that was asked holds it, and perhaps others.
            (504, code) => {
                assert_eq!((code.as_str(), &said["outcome"]), ("outcome_unknown", &json!("unknown")), "{key}");
                assert!(said["detail"].as_str().unwrap().contains("too few owners"), "{said}");
            }
            (503, code) => assert_eq!((code.as_str(), &said["outcome"]), ("no_quorum", &json!("failed")), "{key}"),
            other => panic!("{key}: {other:?}"),
        }
        assert_eq!(got.problem(), (503, "no_quorum".to_owned()), "{key}: {got:?}");
        let detail = got.json()["detail"].as_str().unwrap().to_owned();
        assert!(detail.contains("of the 5 owners"), "{detail}");
        assert_eq!(got.header("retry-after"), Some("1"));
        // One copy is enough where nobody asks for more.
        let one = call(&cluster.client(0), "GET", "/v1/kv/nine/before-0?consistency=local", &[], "").await;
        assert_eq!((one.status, one.text()), (200, "before-0"));
    }

    // One of the dead comes back: five again.
    cluster.start_again(1);
    cluster.ready(1).await;
    let left = [0, 1, 2, 6, 8];
    for node in left {
        let client = cluster.client(node);
        eventually("it serves again", async || {
            let put = call(&client, "PUT", &format!("/v1/kv/nine/back-{node}"), &[], "back").await;
            (put.status == 200).then_some(())
        })
        .await;
        for key in &acked {
            let got = call(&client, "GET", &format!("/v1/kv/nine/{key}"), &[], "").await;
            assert_eq!((got.status, got.text()), (200, key.as_str()), "on node {}", node + 1);
        }
    }
}

fn median(mut times: Vec<Duration>) -> Duration {
    times.sort_unstable();
    times[times.len() / 2]
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn five_owners_cost_little_more_than_two() {
    let cluster = Cluster::start(5).await;
    at_rest(&cluster, 5).await;
    bucket(&cluster, "five", json!({ "n": 5, "r": 3, "w": 3 })).await;
    bucket(&cluster, "two", json!({ "n": 2, "r": 2, "w": 2 })).await;
    let clients: Vec<Client> = (0..5).map(|node| cluster.client(node)).collect();
    let times = if rounds() > 1 { 2_000 } else { 30 };
    let mut took: [[Vec<Duration>; 2]; 2] = Default::default();
    for time in 0..times {
        for (bucket, took) in ["five", "two"].into_iter().zip(&mut took) {
            for (method, took) in ["PUT", "GET"].into_iter().zip(took) {
                let path = format!("/v1/kv/{bucket}/k{}", time % 200);
                let began = Instant::now();
                let answer = call(&clients[time % 5], method, &path, &[], "a value of a usual size").await;
                took.push(began.elapsed());
                assert!(matches!(answer.status, 200 | 300), "{method} {path}: {answer:?}");
            }
        }
    }
    let [[five_put, five_get], [two_put, two_get]] = took.map(|bucket| bucket.map(median));
    let ratio = |five: Duration, two: Duration| five.as_secs_f64() / two.as_secs_f64();
    let (puts, gets) = (ratio(five_put, two_put), ratio(five_get, two_get));
    println!("p50 put {five_put:?} to {two_put:?}: {puts:.2}; get {five_get:?} to {two_get:?}: {gets:.2}");
    if rounds() > 1 {
        assert!(puts <= 1.3 && gets <= 1.3, "{puts:.2} {gets:.2}");
    }
}

/// What a node says of each other.
async fn states(client: &Client) -> Vec<(u64, String)> {
    let members = call(client, "GET", "/v1/members", &[], "").await.json();
    let one = |member: &Value| (member["id"].as_u64().unwrap(), member["state"].as_str().unwrap().to_owned());
    members["members"].as_array().unwrap().iter().map(one).collect()
}

async fn all_are_up(cluster: &Cluster) {
    for node in 0..cluster.urls().len() {
        let client = cluster.client(node);
        eventually("all are up", async || {
            let seen = states(&client).await;
            (seen.len() == cluster.urls().len() && seen.iter().all(|(_, state)| state == "up")).then_some(())
        })
        .await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_death_is_soon_known_to_all() {
    let sizes: &[u16] = if rounds() > 1 { &[3, 5] } else { &[3] };
    for size in sizes {
        let mut cluster = Cluster::start(*size).await;
        at_rest(&cluster, usize::from(*size)).await;
        let (mut took, times) = (Vec::new(), if rounds() > 1 { 12 } else { 1 });
        for time in 0..times {
            all_are_up(&cluster).await;
            let victim = time % usize::from(*size);
            let id = cluster.document["nodes"][victim]["id"].as_u64().unwrap_or(victim as u64 + 1);
            cluster.signal(victim, Signal::KILL);
            let killed = Instant::now();
            let knows = async |node: usize| {
                let client = cluster.client(node);
                eventually("the death is known", async || {
                    states(&client).await.contains(&(id, "down".to_owned())).then_some(())
                })
                .await;
                killed.elapsed()
            };
            let others = (0..usize::from(*size)).filter(|node| *node != victim);
            took.extend(futures_util::future::join_all(others.map(knows)).await);
            cluster.start_again(victim);
            cluster.ready(victim).await;
        }
        took.sort_unstable();
        let (middle, last) = (took[took.len() / 2], took[took.len() - 1]);
        println!("{size} nodes, {} observations: p50 {middle:?}, last {last:?}", took.len());
        assert!(last <= Duration::from_secs(if rounds() > 1 { 6 } else { 10 }), "{took:?}");
    }
}

/// A twentieth of a core for some processes.
fn twentieth() -> Group {
    let group = Group::of("cpu");
    // Of 100 ms, where nobody says otherwise.
    group.allow(&["cpu.cfs_quota_us", "cpu.max"], "5000");
    group
}

/// How often they wanted more.
fn held_back(group: &Group) -> u64 {
    let told = group.read("cpu.stat");
    told.lines().find_map(|line| line.strip_prefix("nr_throttled ")).unwrap().trim().parse().unwrap()
}

/// Puts all processes of a node under a limit.
async fn limited(cluster: &Cluster, node: usize, group: &Group) {
    let status = call(&cluster.client(node), "GET", "/v1/status", &[], "").await.json();
    let worker = Pid::from_raw(status["worker_pid"].as_i64().unwrap() as i32).unwrap();
    [cluster.pid(node), worker].into_iter().for_each(|process| group.take(process));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_slow_node_is_not_taken_for_a_dead_one() {
    let minutes: Option<u64> = std::env::var("RINGFORT_SLOW_MINUTES").ok().and_then(|minutes| minutes.parse().ok());
    let span = minutes.map_or(Duration::from_secs(8), |minutes| Duration::from_secs(60 * minutes));
    let cap = twentieth();
    let cluster = Cluster::start(3).await;
    at_rest(&cluster, 3).await;
    all_are_up(&cluster).await;
    limited(&cluster, 2, &cap).await;
    let (began, mut looks, mut told, mut suspected, mut before) = (Instant::now(), 0_u64, Instant::now(), 0, false);
    let clients = [cluster.client(0), cluster.client(1)];
    let not_dead = |seen: &[(u64, String)]| {
        assert!(seen.iter().all(|(_, state)| state == "up" || state == "suspect"), "{seen:?} at {:?}", began.elapsed());
    };
    eventually_after(span, async || {
        looks += 1;
        let mut suspects = false;
        for client in &clients {
            let seen = states(client).await;
            not_dead(&seen);
            suspects |= seen.iter().any(|(_, state)| state == "suspect");
        }
        suspected += u64::from(suspects && !before);
        before = suspects;
        if told.elapsed() > Duration::from_secs(60) {
            told = Instant::now();
            println!("{:?}: {looks} looks, suspected {suspected} times", began.elapsed());
        }
    })
    .await;
    // And it takes nobody else for dead.
    not_dead(&states(&cluster.client(2)).await);
    println!("{looks} looks in {span:?}: suspected {suspected} times; held back {} times", held_back(&cap));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_that_a_limit_holds_back_says_so_and_which_limit() {
    let cap = twentieth();
    let cluster = Cluster::start(3).await;
    at_rest(&cluster, 3).await;
    bucket(&cluster, "b", json!({ "kind": "lww" })).await;
    limited(&cluster, 2, &cap).await;
    // Devices that want more than it may have.
    let devices = (0..4).map(|device| {
        let client = cluster.client(2);
        tokio::spawn(async move {
            for value in 0_u64.. {
                let path = format!("/v1/kv/b/{device}");
                let _late_or_refused = client.send(hyper::Method::PUT, &path, &[], full(value.to_string())).await;
            }
        })
    });
    let devices: Vec<_> = devices.collect();
    let told = eventually("another node is told", async || {
        let all = cluster.client(0).ask(hyper::Method::GET, "/v1/alarms").await.ok()?;
        let all = all["alarms"].as_array()?.clone();
        all.into_iter().find(|it| it["alarm"]["code"] == "starved" && it["alarm"]["node"] == 3)
    })
    .await;
    devices.iter().for_each(tokio::task::JoinHandle::abort);
    let cause = told["alarm"]["cause"].as_str().unwrap();
    assert!(cause.contains("may use 5 % of one, and wanted more for"), "{told}");
    assert!(told["alarm"]["to_do"].as_str().unwrap().contains("CPUQuota="), "{told}");
    println!("{cause} Held back {} times", held_back(&cap));
}

/// Does something again and again until so much time is over.
async fn eventually_after(span: Duration, mut each: impl AsyncFnMut()) {
    let mut often = tokio::time::interval(Duration::from_millis(100));
    let began = Instant::now();
    while began.elapsed() < span {
        often.tick().await;
        each().await;
    }
}
