//! Failures that are told by their true cause, and by whom they are: a port that is taken.

use std::net::TcpListener;
use std::path::Path;
use std::path::PathBuf;

use rustix::process::Signal;
use rustix::process::kill_process;
use serde_json::Value;

use crate::cluster::Cluster;
use crate::support::eventually;

/// The node that fails.
const VICTIM: usize = 1;

/// Reports of a node by its number that lie in a data directory, oldest first.
fn reports(data: &Path, node: u64) -> Vec<Value> {
    let Ok(files) = std::fs::read_dir(data.join("crashes")) else { return Vec::new() };
    let mut paths: Vec<PathBuf> = files.map(|file| file.unwrap().path()).collect();
    paths.retain(|path| path.extension().is_some_and(|end| end == "json"));
    paths.sort();
    let read = |path: PathBuf| serde_json::from_slice::<Value>(&std::fs::read(path).ok()?).ok();
    paths.into_iter().filter_map(read).filter(|report| report["node"] == node).collect()
}

fn reason(report: &Value) -> String {
    report["reason"].as_str().unwrap().to_owned()
}

/// Where a node listens to others, as another one has noted it for its couriers, once all have.
async fn peer_address(cluster: &Cluster, of: u64) -> String {
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

async fn stopped(cluster: &Cluster, node: usize) {
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
