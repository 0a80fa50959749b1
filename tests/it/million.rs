//! Many small keys on one node: memory, a page of a list, a start. 50,000 in the check, a million in the campaign.

use std::fs;
use std::io::Write;
use std::time::Duration;
use std::time::Instant;

use ringfort::cli::client::Client;

use crate::support::Node;
use crate::support::call;
use crate::support::ringfort_in;
use crate::wire;

/// Resident memory of supervisor and worker together, MiB.
const MEMORY_MAX: u64 = 200;
/// A page of a list: the median of the campaign; in the check, beside other tests, the quickest.
const PAGE_MAX: Duration = Duration::from_millis(20);
/// From the start of the process to its first yes at `/readyz`.
const START_MAX: Duration = Duration::from_secs(3);
/// A page of the console at p99; in the campaign only, for in the check it shares the machine with other tests.
const CONSOLE_MAX: Duration = Duration::from_millis(50);
const PAGES: u64 = 200;

fn key(n: u64) -> String {
    format!("device-{n:025}")
}

fn write_rows(path: &std::path::Path, keys: u64) {
    let mut file = std::io::BufWriter::new(fs::File::create(path).unwrap());
    // In no order: 7,919 is prime to every count used here.
    for n in 0..keys {
        writeln!(file, "{{\"id\":\"{}\"}}", key(n * 7_919 % keys)).unwrap();
    }
    file.into_inner().unwrap();
}

async fn resident_mib(node: &Node) -> u64 {
    let worker = node.status().await["worker_pid"].as_i64().unwrap();
    let kib = |pid: i64| {
        let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
        line.trim().trim_end_matches(" kB").parse::<u64>().unwrap()
    };
    (kib(worker) + kib(node.pid().into())) / 1024
}

/// Times of pages from places all over the bucket, in order.
async fn page_times(client: &Client, keys: u64) -> Vec<Duration> {
    let mut times = Vec::new();
    for n in 0..PAGES {
        let after = keys / PAGES * n;
        let began = Instant::now();
        let page = call(client, "GET", &format!("/v1/kv/k?limit=1000&after={}", key(after)), &[], "").await;
        times.push(began.elapsed());
        assert_eq!(page.status, 200);
        let page = page.json();
        let page = page["keys"].as_array().unwrap();
        assert_eq!(page.len() as u64, 1000.min(keys - after - 1));
        assert_eq!(page[0]["key"], key(after + 1).as_str());
    }
    times.sort();
    times
}

/// Times of the console's pages, in order.
async fn console_times(client: &Client, keys: u64) -> Vec<Duration> {
    let mut times = Vec::new();
    for n in 0..PAGES {
        let somewhere = key(keys / PAGES * n);
        for path in [
            "/".to_owned(),
            "/data".to_owned(),
            "/data/k".to_owned(),
            format!("/data/k?prefix=device-000&after={somewhere}"),
            format!("/data/k/key?k={somewhere}"),
            "/settings/audit".to_owned(),
        ] {
            let began = Instant::now();
            let page = call(client, "GET", &path, &[("accept", "text/html")], "").await;
            times.push(began.elapsed());
            assert_eq!(page.status, 200, "{path}: {page:?}");
        }
    }
    times.sort();
    times
}

#[tokio::test]
async fn a_million_small_keys_fit_in_memory_and_pages_and_starts_stay_quick() {
    let keys = wire::setting("RINGFORT_KEYS", 50_000);
    let dir = tempfile::tempdir().unwrap();
    let mut node = Node::start(&dir.path().join("node")).await;
    let (token, rows) = (dir.path().join("token"), dir.path().join("rows.ndjson"));
    fs::write(&token, node.token("importer", &["data"]).await).unwrap();
    write_rows(&rows, keys);
    let url = node.url().await;
    let words = ["import", "k", rows.to_str().unwrap(), "--key", "id", "--url", &url];
    let imported = ringfort_in(dir.path(), &[&words[..], &["--token-file", token.to_str().unwrap()]].concat());
    assert_eq!(imported.code, 0, "{imported:?}");
    let busy = resident_mib(&node).await;
    node.stop();
    let began = Instant::now();
    node = Node::start(&dir.path().join("node")).await;
    let start = began.elapsed();
    let client = node.client("reader", &["data"]).await;
    let times = page_times(&client, keys).await;
    let (median, worst) = (times[times.len() / 2], times[times.len() - 1]);
    let admin = node.client("looker", &["admin"]).await;
    let pages = console_times(&admin, keys).await;
    let (page, slow) = (pages[pages.len() / 2], pages[pages.len() * 99 / 100]);
    let read = resident_mib(&node).await;
    eprintln!(
        "{keys} keys: {busy} MiB after the import, {read} MiB after {PAGES} pages; \
         a page of 1,000 {median:.1?} (worst {worst:.1?}); start {start:.1?}; \
         {} pages of the console: median {page:.1?}, p99 {slow:.1?}",
        pages.len()
    );
    assert!(busy.max(read) <= MEMORY_MAX, "{busy} and {read} MiB");
    assert!(start <= START_MAX, "{start:?}");
    let counts = if keys >= 1_000_000 { median } else { times[0] };
    assert!(counts <= PAGE_MAX, "{counts:?}");
    assert!(keys < 1_000_000 || slow <= CONSOLE_MAX, "{slow:?}");
}
