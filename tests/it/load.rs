//! `ringfort load`: what it sends reaches the node, what it prints adds up, and a node that stands still for a second is
//! seen by everyone it kept waiting.

use std::convert::Infallible;
use std::io::BufRead;
use std::io::BufReader;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering;
use std::time::Duration;
use std::time::Instant;

use http_body_util::BodyExt;
use http_body_util::Full;
use hyper::Request;
use hyper::Response;
use hyper::body::Bytes;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use rustix::process::Pid;
use rustix::process::Signal;
use serde_json::Value;
use serde_json::json;
use tokio::net::TcpListener;

use crate::support::Ended;
use crate::support::Node;
use crate::support::command;
use crate::support::ended;

/// Runs `ringfort load` on a thread of its own, so that the test may act meanwhile.
async fn load(dir: &Path, url: &str, token: Option<&Path>, words: &[&str]) -> Ended {
    let mut all = vec!["load", "--url", url];
    let token = token.map(|token| token.to_str().unwrap().to_owned());
    all.extend(token.iter().flat_map(|token| ["--token-file", token]));
    all.extend(words);
    let command = command(dir, &all);
    tokio::task::spawn_blocking(move || ended(command)).await.unwrap()
}

async fn node_and_token(dir: &tempfile::TempDir) -> (Node, String, std::path::PathBuf) {
    let node = Node::start(&dir.path().join("data")).await;
    let token = dir.path().join("token");
    std::fs::write(&token, node.token("load", &["admin", "data"]).await).unwrap();
    let url = node.url().await;
    (node, url, token)
}

/// Everything due has one fate, and the histogram holds every answer.
fn adds_up(report: &Value) {
    let number = |value: &Value, name: &str| value[name].as_u64().unwrap_or_else(|| panic!("no {name} in {value}"));
    let fates: u64 = ["answered", "failed", "missed", "unanswered"].iter().map(|fate| number(report, fate)).sum();
    assert_eq!(number(report, "due"), fates, "{report}");
    for side in ["reads", "writes"] {
        let steps = report[side]["histogram_us"].as_array().unwrap();
        let sum: u64 = steps.iter().map(|step| step[1].as_u64().unwrap()).sum();
        assert_eq!(sum, number(&report[side], "answered"), "{side}");
        assert!(steps.is_sorted_by_key(|step| step[0].as_u64()), "{side}");
    }
    assert_eq!(
        number(&report["reads"], "answered") + number(&report["writes"], "answered"),
        number(report, "answered")
    );
}

#[tokio::test]
async fn what_is_asked_for_reaches_the_node_and_adds_up() {
    let dir = tempfile::tempdir().unwrap();
    let (node, url, token) = node_and_token(&dir).await;
    let words = ["--rate", "400", "--seconds", "2", "--devices", "1000", "--size", "200", "--mix", "80", "--fill"];
    let run = load(dir.path(), &url, Some(&token), &[&words[..], &["--json"]].concat()).await;
    assert_eq!(run.code, 0, "{run:?}");
    let report = run.json();
    adds_up(&report);
    let due = report["due"].as_u64().unwrap();
    assert!((640..=960).contains(&due), "400/s for 2 s, within nearly six standard deviations: {due}");
    assert_eq!((&report["open_loop"], &report["interrupted"]), (&json!(true), &json!(false)));
    assert_eq!(report["reads"]["absent"], 0, "all devices were filled");
    let writes = report["writes"]["answered"].as_u64().unwrap();
    assert_eq!(report["writes"]["bytes"], writes * 200);
    assert!(report["reads"]["latency_us"]["p50"].as_u64().unwrap() > 0);
    assert!(run.err.contains("bucket load is new, of kind lww"), "{}", run.err);
    assert!(run.err.contains("ringfort bucket rm load"), "{}", run.err);

    // The node counts what it served, and has a value for every device.
    let owner = node.owner();
    let page = owner.ask(hyper::Method::GET, "/v1/kv/load?limit=1000").await.map_err(|f| f.message).unwrap();
    assert_eq!(page["keys"].as_array().unwrap().len(), 1000);
    assert_eq!(page["next"], Value::Null);
    let sizes: Vec<u64> = page["keys"].as_array().unwrap().iter().map(|row| row["size"].as_u64().unwrap()).collect();
    let written = sizes.iter().filter(|size| **size == 200).count() as u64;
    assert!(written > 0 && written <= writes, "{written} of {writes}");
    assert_eq!(sizes.iter().filter(|size| **size == 202).count() as u64, 1000 - written, "filled as JSON texts");

    // The same seed asks for the same again; now for people.
    let seed = report["asked"]["seed"].to_string();
    let again = load(dir.path(), &url, Some(&token), &[&words[..10], &["--seed", &seed]].concat()).await;
    assert_eq!(again.code, 0, "{again:?}");
    let head: Vec<&str> = again.out.lines().next().unwrap().split_whitespace().collect();
    assert_eq!(head, ["ANSWERED", "P50", "P90", "P99", "P99.9", "MAX", "FAILED"]);
    assert!(again.out.contains(&format!("{due} requests were due")), "{}", again.out);
    assert!(again.err.contains("bucket load is there already"), "{}", again.err);
}

#[tokio::test]
async fn it_refuses_before_it_sends_anything() {
    let dir = tempfile::tempdir().unwrap();
    let (node, url, token) = node_and_token(&dir).await;
    for wrong in [["--mix", "101"], ["--connections", "0"], ["--size", "0"], ["--devices", "0"], ["--seconds", "0"]] {
        assert_eq!(load(dir.path(), &url, Some(&token), &wrong).await.code, 64, "{wrong:?}");
    }
    let nobody = load(dir.path(), "http://127.0.0.1:9", None, &[]).await;
    assert_eq!(nobody.code, 69, "{nobody:?}");
    let stranger = load(dir.path(), &url, None, &[]).await;
    assert_eq!(stranger.code, 77, "{stranger:?}");

    let owner = node.owner();
    owner.tell(hyper::Method::PUT, "/v1/buckets/kept", &json!({})).await.map_err(|f| f.message).unwrap();
    let siblings = load(dir.path(), &url, Some(&token), &["--bucket", "kept"]).await;
    assert_eq!(siblings.code, 64, "{siblings:?}");
    assert!(siblings.err.contains("nothing was changed"), "{}", siblings.err);

    let device = dir.path().join("device");
    std::fs::write(&device, node.token("device", &["device:read", "device:write"]).await).unwrap();
    let short = ["--seconds", "1", "--rate", "50"];
    let missing = load(dir.path(), &url, Some(&device), &short).await;
    assert_eq!(missing.code, 66, "{missing:?}");
    assert!(missing.err.contains("ringfort bucket create load --kind lww"), "{}", missing.err);
    owner.tell(hyper::Method::PUT, "/v1/buckets/load", &json!({"kind": "lww"})).await.map_err(|f| f.message).unwrap();
    let present = load(dir.path(), &url, Some(&device), &short).await;
    assert_eq!(present.code, 0, "{present:?}");
}

#[tokio::test]
async fn a_node_that_goes_away_is_failures_and_misses_not_silence() {
    let dir = tempfile::tempdir().unwrap();
    let (mut node, url, token) = node_and_token(&dir).await;
    let words = ["--rate", "500", "--seconds", "4", "--json"];
    let mut running = started(dir.path(), &url, &token, &words);
    running.wait_for_headline();
    crate::support::eventually("requests arrive", async || {
        let status = node.status().await;
        (status["journal"]["records"].as_u64().unwrap() > 50).then_some(())
    })
    .await;
    node.kill();
    let run = running.ended();
    assert_eq!(run.code, 3, "{run:?}");
    let report = run.json();
    adds_up(&report);
    assert!(report["answered"].as_u64().unwrap() > 0, "{report}");
    let troubled = report["failed"].as_u64().unwrap() + report["missed"].as_u64().unwrap();
    assert!(troubled > 100, "{report}");
}

#[tokio::test]
async fn an_interrupt_prints_what_was_measured_so_far() {
    let dir = tempfile::tempdir().unwrap();
    let (node, url, token) = node_and_token(&dir).await;
    let words = ["--rate", "500", "--seconds", "600", "--mix", "0", "--json"];
    let mut running = started(dir.path(), &url, &token, &words);
    running.wait_for_headline();
    crate::support::eventually("requests arrive", async || {
        let status = node.status().await;
        (status["journal"]["records"].as_u64().unwrap() > 100).then_some(())
    })
    .await;
    rustix::process::kill_process(running.pid(), Signal::INT).unwrap();
    let run = running.ended();
    assert!([0, 4].contains(&run.code), "{run:?}");
    let report = run.json();
    adds_up(&report);
    assert_eq!(report["interrupted"], true);
    assert!(report["writes"]["answered"].as_u64().unwrap() > 50, "{report}");
    assert!(report["elapsed_s"].as_f64().unwrap() < 590.0, "{report}");
}

/// A load run that goes on.
struct Running {
    child: std::process::Child,
    stderr: BufReader<std::process::ChildStderr>,
}

fn started(dir: &Path, url: &str, token: &Path, words: &[&str]) -> Running {
    let mut all = vec!["load", "--url", url, "--token-file", token.to_str().unwrap()];
    all.extend(words);
    let mut child = command(dir, &all).spawn().unwrap();
    let stderr = BufReader::new(child.stderr.take().unwrap());
    Running { child, stderr }
}

impl Running {
    /// Its first words are said when all is prepared.
    fn wait_for_headline(&mut self) {
        let mut line = String::new();
        while !line.contains("requests/s for") {
            line.clear();
            assert!(self.stderr.read_line(&mut line).unwrap() > 0, "it ended early");
        }
    }

    fn pid(&self) -> Pid {
        Pid::from_child(&self.child)
    }

    fn ended(self) -> Ended {
        let output = self.child.wait_with_output().unwrap();
        let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
        Ended { code: output.status.code().unwrap_or(-1), out: text(output.stdout), err: String::new() }
    }
}

/// A server that answers at once, but for one second during which it answers nobody.
struct Staller {
    url: String,
    /// Requests that were inside while it stood still: all that a closed loop could see of it.
    kept_waiting: Arc<AtomicU64>,
    served: Arc<AtomicU64>,
}

/// How long it stands still.
const STALL: Duration = Duration::from_secs(1);
/// When, after the first request for a value.
const STALL_AFTER: Duration = Duration::from_secs(1);

impl Staller {
    async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let (kept_waiting, served) = (Arc::new(AtomicU64::new(0)), Arc::new(AtomicU64::new(0)));
        let first = Arc::new(std::sync::OnceLock::new());
        let counts = (kept_waiting.clone(), served.clone());
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let (first, (kept_waiting, served)) = (first.clone(), counts.clone());
                let service = service_fn(move |request: Request<Incoming>| {
                    answer(request, first.clone(), kept_waiting.clone(), served.clone())
                });
                tokio::spawn(http1::Builder::new().serve_connection(TokioIo::new(stream), service));
            }
        });
        Self { url, kept_waiting, served }
    }
}

async fn answer(
    request: Request<Incoming>,
    first: Arc<std::sync::OnceLock<Instant>>,
    kept_waiting: Arc<AtomicU64>,
    served: Arc<AtomicU64>,
) -> Result<Response<Full<Bytes>>, Infallible> {
    let about_bucket = request.uri().path().starts_with("/v1/buckets/");
    let _read = request.into_body().collect().await;
    if about_bucket {
        return Ok(Response::new(Full::from(r#"{"name":"load","kind":"lww"}"#)));
    }
    let since = first.get_or_init(Instant::now).elapsed();
    if (STALL_AFTER..STALL_AFTER + STALL).contains(&since) {
        kept_waiting.fetch_add(1, Ordering::Relaxed);
        tokio::time::sleep(STALL_AFTER + STALL - since).await;
    }
    served.fetch_add(1, Ordering::Relaxed);
    Ok(Response::new(Full::from("value")))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stall_is_seen_by_everyone_who_was_due_meanwhile() {
    let dir = tempfile::tempdir().unwrap();
    let common = ["--seconds", "5", "--connections", "4", "--mix", "100", "--json"];
    let percentile = |run: &Ended, name: &str| run.json()["reads"]["latency_us"][name].as_u64().unwrap();

    // A closed loop: four requests wait, and thousands before and after them hide that.
    let staller = Staller::start().await;
    let closed = load(dir.path(), &staller.url, None, &[&common[..], &["--rate", "0"]].concat()).await;
    assert_eq!(closed.code, 0, "{}", closed.err);
    assert_eq!(closed.json()["open_loop"], false);
    assert_eq!(staller.kept_waiting.load(Ordering::Relaxed), 4);
    assert!(staller.served.load(Ordering::Relaxed) > 400, "four are less than one in a hundred");
    assert!(percentile(&closed, "max") > 900_000, "{}", percentile(&closed, "max"));
    assert!(percentile(&closed, "p99") < 500_000, "{}", percentile(&closed, "p99"));

    // The open loop: of 2,500 due requests, the 500 due while the server stood still waited for it, half a second on
    // average, though again only four were ever inside.
    let staller = Staller::start().await;
    let open = load(dir.path(), &staller.url, None, &[&common[..], &["--rate", "500"]].concat()).await;
    assert_eq!(open.code, 0, "{}", open.err);
    adds_up(&open.json());
    assert_eq!(open.json()["missed"], 0, "{}", open.json());
    assert_eq!(staller.kept_waiting.load(Ordering::Relaxed), 4);
    assert!(percentile(&open, "p99") > 800_000, "{}", percentile(&open, "p99"));
    assert!(percentile(&open, "p90") > 300_000, "{}", percentile(&open, "p90"));
}

/// More is due than four connections can ask of a server that stands still until after the end.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_could_not_even_be_sent_is_counted_as_missed() {
    let dir = tempfile::tempdir().unwrap();
    let staller = Staller::start().await;
    let words = ["--seconds", "2", "--connections", "4", "--mix", "100", "--rate", "500", "--json"];
    let run = load(dir.path(), &staller.url, None, &words).await;
    assert_eq!(run.code, 3, "{run:?}");
    let report = run.json();
    adds_up(&report);
    let missed = report["missed"].as_u64().unwrap();
    assert!((300..700).contains(&missed), "500 fell due in the last second: {report}");
}
