//! What the black box and the flight recorder cost: processor time, and throughput, with each and without it, in rounds that
//! take turns. `tests/run --cost` measures for minutes and holds the figures against what they may be; the check looks
//! only whether all of it works, for beside other tests there is nothing to measure.

use std::path::Path;
use std::path::PathBuf;

use ringfort::base::time;
use ringfort::node::debug::logs;
use serde_json::Value;

use crate::cluster::Cluster;
use crate::support::call;
use crate::support::command;
use crate::support::ended;
use crate::support::eventually;

/// Per cent of a core that the black box may take on each node.
const BOX_PERCENT_MAX: f64 = 1.0;
/// Of the throughput with the recorder to that without it.
const RECORDER_RATIO_MIN: f64 = 0.98;

/// Pairs of rounds, and seconds of each; whether there are enough to hold them against something.
fn rounds(check: (usize, u64), campaign: (usize, u64)) -> (usize, u64, bool) {
    let counts = std::env::var_os("RINGFORT_COST").is_some();
    let (pairs, seconds) = if counts { campaign } else { check };
    (pairs, seconds, counts)
}

fn median(values: &[f64]) -> f64 {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    let middle = sorted.len() / 2;
    if sorted.len() % 2 == 1 { sorted[middle] } else { f64::midpoint(sorted[middle - 1], sorted[middle]) }
}

/// Seconds of a processor that a process has had so far.
fn processor_s(pid: &Value) -> f64 {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap();
    let words: Vec<&str> = stat.rsplit_once(')').unwrap().1.split_whitespace().collect();
    // Fields 14 and 15 of the line, in hundredths of a second; the state is the third.
    words[11..13].iter().map(|ticks| ticks.parse::<f64>().unwrap()).sum::<f64>() / 100.0
}

/// `ringfort load` to its end, beside others.
async fn load(dir: &Path, url: &str, token: &Path, words: &[&str]) -> Value {
    let common = ["load", "--json", "--devices", "1000", "--url", url, "--token-file", token.to_str().unwrap()];
    let command = command(dir, &[&common[..], words].concat());
    let run = tokio::task::spawn_blocking(move || ended(command)).await.unwrap();
    // On a busy machine some come late.
    assert!([0, 3, 4].contains(&run.code), "{}", run.err);
    run.json()
}

fn token_file(dir: &Path, token: &str) -> PathBuf {
    let path = dir.join("token");
    std::fs::write(&path, token).unwrap();
    std::fs::set_permissions(&path, std::os::unix::fs::PermissionsExt::from_mode(0o600)).unwrap();
    path
}

/// Per cent of a core that each of three nodes takes under 1,000 requests a second.
async fn busy(cluster: &Cluster, token: &Path, seconds: u64) -> Vec<f64> {
    let pids: Vec<Value> = (0..3).map(|node| cluster.document["nodes"][node]["worker_pid"].clone()).collect();
    let seconds = seconds.to_string();
    let words = ["--rate", "334", "--seconds", &seconds, "--mix", "50"];
    let before: Vec<f64> = pids.iter().map(processor_s).collect();
    let began = std::time::Instant::now();
    let urls = cluster.urls();
    let loads = urls.iter().map(|url| load(cluster.dir.path(), url, token, &words));
    let reports = futures_util::future::join_all(loads).await;
    let took = began.elapsed().as_secs_f64();
    let answered: u64 = reports.iter().map(|report| report["answered"].as_u64().unwrap()).sum();
    assert!(answered > 0, "{reports:?}");
    pids.iter().zip(before).map(|(pid, before)| (processor_s(pid) - before) / took * 100.0).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_black_box_takes_one_per_cent_of_a_core_at_the_most() {
    let (pairs, seconds, counts) = rounds((1, 1), (8, 20));
    let cluster = Cluster::start(3).await;
    let token = token_file(cluster.dir.path(), cluster.token());
    let _warm = busy(&cluster, &token, seconds.min(5)).await;
    let (mut with, mut without) = (vec![Vec::new(); 3], vec![Vec::new(); 3]);
    for pair in 0..pairs {
        // The first of a pair is with it in one, without it in the next.
        for is_on in [pair % 2 == 0, pair % 2 == 1] {
            cluster.cut(if is_on { "" } else { "no-box" });
            let percent = busy(&cluster, &token, seconds).await;
            let told = if is_on { &mut with } else { &mut without };
            told.iter_mut().zip(&percent).for_each(|(told, percent)| told.push(*percent));
            eprintln!("black box {}: {percent:.1?} % of a core", if is_on { "on " } else { "off" });
        }
    }
    for node in 0..3 {
        let differences: Vec<f64> =
            with[node].iter().zip(&without[node]).map(|(with, without)| with - without).collect();
        let difference = median(&differences);
        eprintln!(
            "node {}: {:.2} % of a core with it, {:.2} % without it; differences {differences:.2?}, the middle one {difference:.2}",
            node + 1,
            median(&with[node]),
            median(&without[node]),
        );
        assert!(!counts || difference <= BOX_PERCENT_MAX, "node {}: {difference:.2} % of a core", node + 1);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_said_while_a_drill_turns_the_black_box_off_comes_when_it_is_on_again() {
    let cluster = Cluster::start(3).await;
    let has = |said: &str| {
        let lines = logs::reader(cluster.data(1).join("blackbox/peers/1/log")).tail(1000).unwrap_or_default();
        lines.iter().any(|line| String::from_utf8_lossy(&line.bytes).contains(said))
    };
    cluster.bucket("seen", serde_json::json!({ "kind": "lww" })).await;
    eventually("the box is filled", async || has("\"bucket\":\"seen\"").then_some(())).await;
    cluster.cut("no-box");
    let log = cluster.dir.path().join("log");
    eventually("it is off everywhere", async || {
        let said = std::fs::read_to_string(&log).unwrap();
        (said.matches("a drill turned the black box off").count() == 3).then_some(())
    })
    .await;
    cluster.bucket("later", serde_json::json!({ "kind": "lww" })).await;
    // The next look at the figures would have filled it.
    let figures = || logs::reader(cluster.data(0).join("blackbox/figures")).tail(1000).unwrap_or_default().len();
    assert!(!has("\"bucket\":\"later\""));
    let before = figures();
    cluster.cut("");
    eventually("it comes", async || has("\"bucket\":\"later\"").then_some(())).await;
    eventually("figures too", async || (figures() > before).then_some(())).await;
}

/// Answers a second of one of three nodes, which asks the others for each, on 32 connections with one request after the
/// other on each.
async fn throughput(cluster: &Cluster, token: &Path, mix: &str, seconds: u64) -> f64 {
    let words = ["--rate", "0", "--seconds", &seconds.to_string(), "--mix", mix, "--connections", "32"];
    let report = load(cluster.dir.path(), &cluster.urls()[0], token, &words).await;
    report["answered"].as_f64().unwrap() / report["elapsed_s"].as_f64().unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_flight_recorder_takes_two_per_cent_of_the_throughput_at_the_most() {
    let (pairs, seconds, counts) = rounds((1, 1), (40, 2));
    let cluster = Cluster::start(3).await;
    let token = token_file(cluster.dir.path(), cluster.token());
    for (name, mix) in [("PUT", "0"), ("GET", "100")] {
        let _warm = throughput(&cluster, &token, mix, seconds).await;
        let (mut with, mut without, mut spent) = (Vec::new(), Vec::new(), [Vec::new(), Vec::new()]);
        let worker = &cluster.document["nodes"][0]["worker_pid"];
        for pair in 0..pairs {
            for is_on in [pair % 2 == 0, pair % 2 == 1] {
                cluster.cut(if is_on { "" } else { "no-recorder" });
                let before = processor_s(worker);
                let rate = throughput(&cluster, &token, mix, seconds).await;
                spent[usize::from(is_on)].push((processor_s(worker) - before) / rate / seconds as f64 * 1e6);
                if is_on { with.push(rate) } else { without.push(rate) }
            }
        }
        let ratios: Vec<f64> = with.iter().zip(&without).map(|(with, without)| with / without).collect();
        let (with_it, without_it) = (median(&with), median(&without));
        eprintln!(
            "{name}: {with_it:.0}/s with the recorder, {without_it:.0}/s without it, ratio of these {:.4}; the middle ratio of \
             {pairs} pairs {:.4}, from {:.3} to {:.3}; a request takes {:.2} µs of a processor with it, {:.2} µs without it",
            with_it / without_it,
            median(&ratios),
            ratios.iter().copied().fold(f64::MAX, f64::min),
            ratios.iter().copied().fold(0.0, f64::max),
            median(&spent[1]),
            median(&spent[0]),
        );
        assert!(!counts || with_it / without_it >= RECORDER_RATIO_MIN, "{name}: {with_it:.0} and {without_it:.0}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_recorder_that_a_drill_turned_off_keeps_nothing() {
    let cluster = Cluster::start(3).await;
    cluster.bucket("b", serde_json::json!({ "kind": "lww" })).await;
    let log = cluster.dir.path().join("log");
    let turned = async |how: &str, count: usize| {
        let turned = format!("a drill turned the flight recorder {how}");
        eventually("the drill has begun on each", async || {
            (std::fs::read_to_string(&log).unwrap().matches(&turned).count() >= count).then_some(())
        })
        .await;
    };
    for (number, words, kept) in [(1, "no-recorder", false), (2, "", true)] {
        cluster.cut(words);
        turned(if kept { "on" } else { "off" }, 3).await;
        let since_ms = time::wall_ms();
        for method in ["PUT", "GET"] {
            let done = call(&cluster.client(1), method, "/v1/kv/b/k", &[], "1").await;
            assert_eq!(done.status, 200, "{done:?}");
        }
        cluster.cut(&format!("{words} abort@2"));
        let report = eventually("its report", async || {
            let all = cluster.client(0).ask(hyper::Method::GET, "/v1/crashes?node=2").await.ok()?;
            let all = all["crashes"].as_array()?;
            let id = all.first().filter(|_| all.len() == number)?["id"].as_str()?.to_owned();
            cluster.client(0).ask(hyper::Method::GET, &format!("/v1/crashes/{id}")).await.ok()
        })
        .await;
        // What was kept before is there as well.
        let tapes = report["recorder"].as_array().unwrap().iter();
        let tapes = tapes.filter(|tape| tape["at_ms"].as_u64().unwrap() >= since_ms);
        let cores: Vec<&str> = tapes.map(|tape| tape["core"].as_str().unwrap()).collect();
        let is_kept = ["write", "read"].map(|core| cores.contains(&core));
        // A forward is neither: who owns the key writes and reads then.
        assert!(
            if kept { is_kept.contains(&true) || cores.contains(&"forward") } else { is_kept == [false; 2] },
            "{cores:?}"
        );
        cluster.ready(1).await;
        // The one that came back has looked as well.
        turned("off", 4).await;
    }
}
