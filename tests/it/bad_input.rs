//! Bad inputs at the HTTP door, C5 to C16 of the list: each has a proper answer, applies nothing by half, leaves the
//! process alive and its memory bounded, and stops nobody else.

use std::collections::BTreeMap;
use std::time::Duration;
use std::time::Instant;

use hyper::Method;
use ringfort::cli::client::Client;
use serde_json::json;
use tokio::io::AsyncReadExt;
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;

use crate::support::Node;
use crate::support::call;
use crate::support::client;
use crate::wire::Wire;
use crate::wire::until;

mod bodies;
mod documents;
mod framing;
mod hosts;
mod http2;
mod slow;

const MIB: u64 = 1024 * 1024;

/// A node with something in it, and those who use it.
pub struct Bench {
    pub node: Node,
    /// Host and port.
    pub address: String,
    /// May do everything.
    pub token: String,
    pub client: Client,
    _dir: tempfile::TempDir,
}

impl Bench {
    pub async fn start() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let names = [("RINGFORT_NAME", "n1"), ("RINGFORT_NAMES", "10.0.0.5,store.example")];
        let node = Node::start_with(&dir.path().join("data"), &[], &names).await;
        for (bucket, kind) in [("s", "siblings"), ("l", "lww"), ("good", "lww")] {
            let (path, definition) = (format!("/v1/buckets/{bucket}"), json!({ "kind": kind }).to_string());
            let made = call(&node.owner(), "PUT", &path, &[], definition).await;
            assert_eq!(made.status, 201);
        }
        let url = node.url().await;
        let token = node.token("bench", &["admin", "data"]).await;
        let client = client(&url, Some(&token));
        for path in ["/v1/kv/s/k", "/v1/kv/l/k", "/v1/kv/s/two", "/v1/kv/s/two"] {
            assert_eq!(call(&client, "PUT", path, &[], path.to_owned()).await.status, 200);
        }
        let address = url.strip_prefix("http://").unwrap().to_owned();
        Self { node, address, token, client, _dir: dir }
    }

    /// Everything that a request could have changed. Bucket `good` belongs to the well-behaved.
    async fn state(&self) -> BTreeMap<String, String> {
        let owner = self.node.owner();
        let mut state = BTreeMap::new();
        for path in ["/v1/buckets", "/v1/tokens", "/v1/users", "/v1/buckets/s/export", "/v1/buckets/l/export"] {
            let reply = call(&owner, "GET", path, &[], "").await;
            assert_eq!(reply.status, 200, "{reply:?}");
            state.insert(path.to_owned(), reply.text().to_owned());
        }
        state
    }

    /// Nothing has changed, and the process is the same.
    async fn unharmed(&self, what: &str, attack: impl AsyncFnOnce(&Self)) {
        let (before, worker) = (self.state().await, self.worker().await);
        attack(self).await;
        assert_eq!(self.state().await, before, "{what}");
        assert_eq!(self.worker().await, worker, "{what}: the process is the same");
        assert!(!self.node.log().contains("panicked"), "{what}:\n{}", self.node.log());
    }

    pub async fn worker(&self) -> u64 {
        self.node.status().await["worker_pid"].as_u64().unwrap()
    }

    /// Resident bytes of the process that serves.
    pub async fn resident(&self) -> u64 {
        self.memory("VmRSS:").await
    }

    /// The most that were resident so far.
    pub async fn peak(&self) -> u64 {
        self.memory("VmHWM:").await
    }

    async fn memory(&self, field: &str) -> u64 {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.worker().await)).unwrap();
        let line = status.lines().find_map(|line| line.strip_prefix(field)).unwrap();
        line.trim().trim_end_matches(" kB").parse::<u64>().unwrap() * 1024
    }

    /// Resident bytes once the node has been idle and has given back what it does not need.
    pub async fn resident_at_rest(&self, at_most: u64) -> u64 {
        let stored = call(&self.client, "PUT", "/v1/kv/good/rest", &[], "so that there is something to flush").await;
        assert_eq!(stored.status, 200);
        let mut least = u64::MAX;
        let deadline = Instant::now() + crate::support::PATIENCE;
        while least > at_most && Instant::now() < deadline {
            least = least.min(self.resident().await);
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        least
    }

    /// Sends bytes on a connection of their own and returns all that is answered until the node closes it. What waits
    /// for more is told after a while that there is none.
    pub async fn raw(&self, bytes: &[u8]) -> Answered {
        let mut stream = TcpStream::connect(&self.address).await.unwrap();
        let (mut from, mut to) = stream.split();
        // The node may refuse before all is sent.
        let writing = async {
            let _refused = to.write_all(bytes).await;
            tokio::time::sleep(Duration::from_secs(1)).await;
            let _closed = to.shutdown().await;
            std::future::pending::<()>().await;
        };
        let mut text = Vec::new();
        let reading = async { from.read_to_end(&mut text).await };
        let closed = tokio::select! {
            () = writing => false,
            _reset = reading => true,
            () = tokio::time::sleep(Duration::from_secs(30)) => false,
        };
        Answered { closed, text: String::from_utf8_lossy(&text).into_owned() }
    }
}

/// What came back on a raw connection.
#[derive(Debug)]
pub struct Answered {
    pub closed: bool,
    pub text: String,
}

impl Answered {
    /// The statuses of all answers.
    pub fn statuses(&self) -> Vec<u16> {
        let lines = self.text.match_indices("HTTP/1.1 ").map(|(at, _)| &self.text[at + 9..at + 12]);
        lines.map(|status| status.parse().unwrap()).collect()
    }
}

/// How those fared who did nothing wrong.
pub struct WellBehaved {
    micros: Vec<u64>,
    refused: usize,
}

impl WellBehaved {
    /// Stores and reads a small value again and again, on connections that are new now and then, until told to stop.
    pub async fn during(bench: &Bench, attack: impl Future<Output = ()>) -> Self {
        let url = format!("http://{}", bench.address);
        let mut seen = Self { micros: Vec::new(), refused: 0 };
        let mut attack = std::pin::pin!(attack);
        let mut wire = Wire::open(&url, &bench.token).await;
        for round in 0_u64.. {
            let began = Instant::now();
            let exchange = async {
                if round % 10 == 9 {
                    wire = Wire::try_open(&url, &bench.token).await?;
                }
                let key = format!("k{}", round % 100);
                let (stored, _) = wire.put("good", &key).await?;
                let (read, _) = wire.ask(Method::GET, &format!("/v1/kv/good/{key}"), "").await?;
                Some((stored, read))
            };
            tokio::select! {
                answer = exchange => {
                    seen.micros.push(began.elapsed().as_micros() as u64);
                    seen.refused += usize::from(answer != Some((200, 200)));
                    if answer.is_none() {
                        wire = Wire::open(&url, &bench.token).await;
                    }
                }
                () = &mut attack => break,
            }
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
        seen.micros.sort_unstable();
        seen
    }

    /// All of them were served, and none waited for long. A put and a get each; a write is on disk when it is answered.
    pub fn check(&self, what: &str) {
        let at =
            |share: usize| self.micros[(self.micros.len() * share / 1000).min(self.micros.len() - 1)] as f64 / 1000.0;
        let (median, p99, most) = (at(500), at(990), at(1000));
        eprintln!("{what}: {} rounds, p50 {median:.1} ms, p99 {p99:.1} ms, max {most:.1} ms", self.micros.len());
        assert!(!self.micros.is_empty(), "{what}: nobody was served");
        assert_eq!(self.refused, 0, "{what}: of {}", self.micros.len());
        // Far above what is measured: other tests run beside this one.
        assert!(p99 < 3000.0, "{what}: p99 {p99} ms");
    }
}

#[tokio::test]
async fn c5_ambiguous_or_broken_framing_is_refused_and_closed() {
    framing::c5(&Bench::start().await).await;
}

#[tokio::test]
async fn c5_http2_that_is_malformed_is_refused() {
    http2::c5(&Bench::start().await).await;
}

#[tokio::test]
async fn a_host_that_is_not_ours_is_told_so_and_nothing_done() {
    hosts::only_ours_are_answered(&Bench::start().await).await;
    hosts::a_reload_adds_names(tempfile::tempdir().unwrap().path()).await;
}

#[tokio::test]
async fn c6_a_body_that_is_too_large_is_refused_before_it_is_read() {
    bodies::c6(&Bench::start().await).await;
}

#[tokio::test]
async fn c6_a_batch_of_far_too_many_operations_takes_little_more_memory_than_its_bytes() {
    bodies::c6_batch(&Bench::start().await).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn c7_five_thousand_slow_clients_stop_nobody() {
    slow::c7(&Bench::start().await).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn c7_stalled_exports_hold_no_threads() {
    slow::c7_exports(&Bench::start().await).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn c8_http2_floods_stop_nobody() {
    http2::c8(&Bench::start().await).await;
}

#[tokio::test]
async fn c8_http2_pings_are_answered_up_to_a_limit() {
    http2::c8_pings(&Bench::start().await).await;
}

#[tokio::test]
async fn c9_hostile_json_in_a_request_document_is_refused_with_its_place() {
    documents::c9(&Bench::start().await).await;
}

#[tokio::test]
async fn c10_what_is_unknown_or_out_of_range_is_named_and_nothing_applied() {
    documents::c10(&Bench::start().await).await;
}

#[tokio::test]
async fn c11_a_key_is_bytes_and_never_a_path() {
    documents::c11(&Bench::start().await).await;
}

#[tokio::test]
async fn c12_a_content_type_is_one_however_it_comes_in() {
    documents::c12(&Bench::start().await).await;
}

#[tokio::test]
async fn c13_a_deletion_needs_a_context_and_a_stale_one_removes_nothing_newer() {
    documents::c13(&Bench::start().await).await;
}

#[tokio::test]
async fn c14_an_idempotency_key_is_for_one_request() {
    documents::c14(&Bench::start().await).await;
}

#[tokio::test]
async fn c15_limits_and_places_in_a_list_are_checked() {
    documents::c15(&Bench::start().await).await;
}

#[tokio::test]
async fn c16_an_import_cannot_date_its_rows() {
    documents::c16(&Bench::start().await).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn all_bad_inputs_together_leave_memory_as_it_was() {
    let bench = Bench::start().await;
    // What a node takes for itself when it is first used is not growth.
    WellBehaved::during(&bench, tokio::time::sleep(Duration::from_secs(2))).await.check("before");
    let before = bench.resident_at_rest(12 * MIB).await;
    framing::c5(&bench).await;
    http2::c5(&bench).await;
    bodies::c6(&bench).await;
    documents::c9(&bench).await;
    documents::c10(&bench).await;
    documents::c11(&bench).await;
    documents::c12(&bench).await;
    documents::c13(&bench).await;
    documents::c14(&bench).await;
    documents::c15(&bench).await;
    documents::c16(&bench).await;
    http2::c8(&bench).await;
    slow::c7_exports(&bench).await;
    slow::c7(&bench).await;
    until("the slow ones are gone", async || slow::connections(&bench).await < 50).await;
    let after = bench.resident_at_rest(before + 24 * MIB).await;
    eprintln!("resident: {} MiB before, {} MiB after", before / MIB, after / MIB);
    assert!(after < before + 32 * MIB, "{before} bytes before, {after} after");
}
