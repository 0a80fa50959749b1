//! The log of a cluster: any node answers for all, whoever is gone is read from the black box, what is foreign is text, what
//! is secret is nowhere, and a storm of lines harms nobody.

use std::path::Path;
use std::time::Duration;

use base64::Engine as _;
use hyper::Method;
use ringfort::base::id::NodeId;
use ringfort::base::time;
use ringfort::cli::client::Client;
use ringfort::cli::client::Target;
use ringfort::node::debug::logs;
use ringfort::node::debug::logs::Logs;
use ringfort::proto::logline::Level;
use ringfort::proto::logline::Record;
use ringfort::proto::logline::filter::Filter;
use ringfort::proto::logline::filter::Search;
use ringfort::proto::logline::stamp::Stamp;
use ringfort::store::logbook::Bounds;
use ringfort::store::logbook::Writer;
use ringfort::store::logbook::read::Place;
use ringfort::store::logbook::read::Sieve;
use ringfort::store::logbook::read::Want;
use serde_json::Value;
use serde_json::json;

use crate::cluster::Cluster;
use crate::support::Node;
use crate::support::call;
use crate::support::eventually;

async fn page(node: &Node, query: &str) -> Value {
    let reply = call(&node.owner(), "GET", &format!("/v1/logs?{query}"), &[], "").await;
    assert_eq!(reply.status, 200, "{query}: {reply:?}");
    reply.json()
}

fn messages(page: &Value) -> Vec<String> {
    page["lines"].as_array().unwrap().iter().map(|line| line["message"].as_str().unwrap().to_owned()).collect()
}

#[tokio::test]
async fn a_nodes_log_is_on_its_disk_and_is_searched_page_by_page() {
    let dir = tempfile::tempdir().unwrap();
    let node = Node::start(&dir.path().join("data")).await;
    let made = call(&node.owner(), "PUT", "/v1/buckets/b", &[], json!({ "kind": "lww" }).to_string()).await;
    assert_eq!(made.status, 201);
    let found = eventually("the line of the bucket", async || {
        let page = page(&node, "text=bucket%20made").await;
        (!page["lines"].as_array().unwrap().is_empty()).then_some(page)
    })
    .await;
    let line = &found["lines"][0];
    assert_eq!((&line["level"], &line["fields"]["bucket"], &line["node"]), (&json!("info"), &json!("b"), &json!(1)));
    // Page by page from the end to the beginning, all lines once.
    let all = page(&node, "limit=1000").await;
    let (mut lines, mut before) = (Vec::new(), String::new());
    loop {
        let one = page(
            &node,
            &format!(
                "limit=3&before={before}&until={}",
                all["lines"].as_array().unwrap().last().unwrap()["at"].as_str().unwrap()
            ),
        )
        .await;
        lines.splice(0..0, one["lines"].as_array().unwrap().clone());
        match one["next"].as_str() {
            Some(next) => before = next.to_owned(),
            None => break,
        }
    }
    assert_eq!(&json!(lines), &all["lines"]);
    for (bad, says) in [
        ("regex=(", "regex"),
        ("level=loud", "level"),
        ("since=x", "since"),
        ("limit=0", "limit"),
        ("node=9", "node"),
        ("after=1&before=2", "after"),
        ("x=1", "x"),
    ] {
        let reply = call(&node.owner(), "GET", &format!("/v1/logs?{bad}"), &[], "").await;
        let document = reply.json();
        assert_eq!(reply.status, 400, "{bad}");
        assert!(document["detail"].as_str().unwrap().contains(&format!("`{says}`")), "{document}");
    }
    // A second life goes on behind the first.
    let mut node = node;
    node.kill();
    let node = Node::start(&dir.path().join("data")).await;
    let numbers: Vec<u64> = page(&node, "limit=1000").await["lines"]
        .as_array()
        .unwrap()
        .iter()
        .map(|line| line["n"].as_u64().unwrap())
        .collect();
    assert_eq!(numbers, (1..=numbers.len() as u64).collect::<Vec<_>>());
}

#[tokio::test]
async fn a_level_is_changed_for_a_time_and_ends_by_itself() {
    let dir = tempfile::tempdir().unwrap();
    let node = Node::start(&dir.path().join("data")).await;
    let set = async |level: &str, lasts: &str| {
        let body = json!({ "target": "ringfort::node::worker", "level": level, "for": lasts }).to_string();
        call(&node.owner(), "POST", "/v1/log-level", &[], body).await
    };
    assert_eq!(set("trace", "1s").await.json()["refused"], json!([]));
    let lines = async || {
        // Looking through a book is such a task itself.
        let _looked = page(&node, "limit=1").await;
        let found = page(&node, "target=ringfort::node::worker&limit=1000").await;
        found["lines"].as_array().unwrap().len()
    };
    // Tasks begin whenever somebody comes.
    let _stream = crate::support::send(&node.owner(), Method::GET, "/v1/events", &[], "").await;
    assert!(node.log().contains("a level is changed for a time"));
    eventually("it has ended", async || node.log().contains("a level is as it was before").then_some(())).await;
    let _lines = lines().await;
    for (level, lasts) in [("loud", "1m"), ("info", "25h"), ("info", "1")] {
        assert_eq!(set(level, lasts).await.status, 422, "{level} {lasts}");
    }
}

#[tokio::test]
async fn the_owner_changes_a_level_also_while_nothing_can_be_written_into_the_audit() {
    let cluster = Cluster::start(3).await;
    let owner = Client::new(Target::Socket(cluster.data(0).join("ctl.sock")), None);
    let wish = json!({ "target": "ringfort::store", "level": "debug", "for": "10m", "node": 1 }).to_string();
    [1, 2].into_iter().for_each(|node| cluster.signal(node, rustix::process::Signal::KILL));
    let refused = eventually("the majority is gone", async || {
        let reply = call(&cluster.client(0), "POST", "/v1/log-level", &[], wish.clone()).await;
        (reply.status == 503).then_some(reply)
    })
    .await;
    assert!(refused.text().contains("detail"), "{refused:?}");
    let changed = call(&owner, "POST", "/v1/log-level", &[], wish).await;
    assert_eq!((changed.status, &changed.json()["refused"]), (200, &json!([])), "{changed:?}");
    let said = std::fs::read_to_string(cluster.dir.path().join("log")).unwrap();
    assert!(said.contains("a level is changed that the audit does not have"), "{said}");
}

#[tokio::test]
async fn any_node_answers_for_all_in_causal_order_and_a_node_that_is_gone_with_its_disk_is_read_from_its_box() {
    let cluster = Cluster::start(3).await;
    let made = cluster.client(2).tell(Method::PUT, "/v1/buckets/b", &json!({ "kind": "lww" })).await;
    assert!(made.is_ok(), "{made:?}");
    let seen = async |asked: usize, query: &str| {
        let path = format!("/v1/logs?{query}");
        cluster.client(asked).ask(Method::GET, &path).await.ok()
    };
    for asked in 0..3 {
        eventually("all three are in one page", async || {
            let page = seen(asked, "limit=1000").await?;
            let lines = page["lines"].as_array().unwrap();
            let stamps: Vec<&str> = lines.iter().map(|line| line["stamp"].as_str().unwrap()).collect();
            assert!(stamps.is_sorted(), "{stamps:?}");
            let from = |node: u64| lines.iter().any(|line| line["node"] == node);
            (from(1) && from(2) && from(3) && page["silent"] == json!([])).then_some(())
        })
        .await;
    }
    let last = eventually("node 3's own line", async || {
        let page = seen(2, "node=3&text=bucket%20made").await?;
        page["lines"].as_array().unwrap().last().cloned()
    })
    .await;
    // Its box is filled a moment later; then it goes, with all that it had.
    let has = |dir: &Path| {
        let tail = logs::reader(dir.to_owned()).tail(1000).unwrap_or_default();
        tail.iter().any(|line| String::from_utf8_lossy(&line.bytes).contains("bucket made"))
    };
    eventually("two keep it", async || {
        (0..2).all(|node| has(&cluster.data(node).join("blackbox/peers/3/log"))).then_some(())
    })
    .await;
    cluster.signal(2, rustix::process::Signal::KILL);
    std::fs::remove_dir_all(cluster.data(2)).unwrap();
    for asked in 0..2 {
        let page = eventually("it comes from a box", async || {
            let page = seen(asked, "node=3&limit=1000").await?;
            page["silent"][0]["from_box_on"].is_u64().then_some(page)
        })
        .await;
        assert!(messages(&page).iter().any(|message| message == "bucket made"), "{page:#}");
        assert!(page["lines"].as_array().unwrap().contains(&last));
        let silent = &page["silent"][0];
        assert_eq!(silent["node"], 3);
        assert!(silent["reason"].is_string() && silent["box_until"].is_string(), "{silent}");
    }
}

/// A line as a node writes it.
fn line(n: u64, level: &str, target: &str, message: &str) -> Vec<u8> {
    let stamp = Stamp::of_ms(1_790_000_000_000 + n);
    format!(r#"{{"stamp":"{stamp}","node":1,"n":{n},"level":"{level}","target":"{target}","message":"{message}","fields":{{"number":"{n}"}}}}"#)
        .into_bytes()
}

#[tokio::test]
async fn a_page_of_a_million_lines_comes_within_300_ms_whatever_is_looked_for() {
    let dir = tempfile::tempdir().unwrap();
    let data = dir.path().join("data");
    assert!(Node::start(&data).await.stop().success());
    let book = data.join("blackbox/log");
    std::fs::remove_dir_all(&book).unwrap();
    let bounds = Bounds { segment_bytes: 8 << 20, total_bytes: 192 << 20 };
    let mut writer = Writer::open(&book, bounds, logs::read_mark).unwrap();
    for n in 1..=1_000_000_u64 {
        let (level, target, message) = match n {
            400_000 => ("error", "ringfort::store::journal", "the needle in it"),
            n if n % 100_000 == 0 => ("warn", "ringfort::net::peer", "a peer fell silent"),
            n if n % 3 == 0 => ("info", "ringfort::node::handoff", "a part was given up"),
            _ => ("info", "ringfort::node::repair", "a partition was compared with others"),
        };
        let line = line(n, level, target, message);
        writer.append(&logs::read_mark(&line).unwrap(), &line).unwrap();
    }
    drop(writer);
    let node = Node::start(&data).await;
    let mut slowest = (Duration::ZERO, "");
    // What is looked for, and whether one page has all of it.
    for (query, whole, found) in [
        ("until=2026-12-31T00:00Z&limit=200", true, 200),
        ("level=error&target=ringfort::store", true, 1),
        ("level=warn&target=ringfort::net", true, 9),
        ("target=ringfort::store::journal&node=1&until=2026-10-01T00:00Z", true, 1),
        ("target=ringfort::none", true, 0),
        ("since=2026-09-21T14:15:00Z&until=2026-09-21T14:15:01Z&limit=1000", true, 1000),
        ("text=the%20needle", false, 1),
        ("regex=needle.in", false, 1),
        ("regex=(%3Fi)NEEDLE.*%24", false, 1),
        ("text=not%20in%20it", false, 0),
    ] {
        let (mut before, mut lines, mut pages) = (String::new(), 0, 0);
        loop {
            let began = time::mono();
            let one = page(&node, &format!("{query}&before={before}")).await;
            let took = began.elapsed();
            if took > slowest.0 {
                slowest = (took, query);
            }
            assert!(took <= Duration::from_millis(300), "{query}: {took:?}");
            (lines, pages) = (lines + one["lines"].as_array().unwrap().len(), pages + 1);
            match one["next"].as_str() {
                Some(next) if !whole => before = next.to_owned(),
                _ => break,
            }
        }
        eprintln!("{query}: {lines} lines in {pages} pages");
        assert_eq!(lines, found, "{query}");
    }
    eprintln!("the slowest page: {slowest:?}");
}

const EVIL: &str =
    "\u{1b}[2J\u{1b}]0;owned\u{7}<script>alert(1)</script>\u{202e}\r\n2026-01-01T00:00:00.000Z ERROR forged";

fn is_harmless(text: &str) -> bool {
    let steers = |c: char| (c.is_control() && c != '\n' && c != '\t') || ('\u{202a}'..='\u{202e}').contains(&c);
    !text.chars().any(steers) && !text.lines().any(|line| line.starts_with("2026-01-01T00:00:00.000Z ERROR forged"))
}

#[tokio::test]
async fn what_is_foreign_is_shown_as_text_everywhere() {
    let dir = tempfile::tempdir().unwrap();
    let data = dir.path().join("data");
    assert!(Node::start(&data).await.stop().success());
    // A line of another release, or of a peer that wants to do harm.
    let record = Record {
        stamp: Stamp::of_ms(time::wall_ms()),
        node: NodeId(1),
        n: 1,
        level: Level::Error,
        target: EVIL.to_owned(),
        message: format!("{EVIL} {}", "x".repeat(1024 * 1024)),
        fields: [(EVIL.to_owned(), EVIL.to_owned())].into(),
        spans: vec![EVIL.to_owned()],
    };
    let encoded = record.encode();
    let bounds = Bounds { segment_bytes: 8 << 20, total_bytes: 64 << 20 };
    let mut writer = Writer::open(&data.join("blackbox/log"), bounds, logs::read_mark).unwrap();
    writer.append(&logs::read_mark(&encoded).unwrap(), &encoded).unwrap();
    drop(writer);
    let node = Node::start(&data).await;
    let owner = node.owner();
    let escaped: String = EVIL.bytes().map(|byte| format!("%{byte:02X}")).collect();
    let longest = "A".repeat(1024 * 1024);
    for (method, path, body) in [
        ("PUT", format!("/v1/kv/{escaped}/k"), "1".to_owned()),
        ("PUT", format!("/v1/kv/none/{escaped}%FF%FE"), "1".to_owned()),
        ("GET", format!("/{escaped}"), String::new()),
        ("PUT", format!("/v1/users/{escaped}"), json!({ "password": EVIL, "scopes": [EVIL] }).to_string()),
        ("POST", "/v1/tokens".to_owned(), json!({ "name": EVIL, "scopes": ["admin"] }).to_string()),
        ("POST", "/v1/tokens".to_owned(), EVIL.to_owned()),
        ("PUT", "/v1/buckets/b".to_owned(), longest.clone()),
        ("POST", "/v1/log-level".to_owned(), json!({ "target": EVIL, "level": "info", "for": "1m" }).to_string()),
        ("GET", format!("/v1/logs?regex={escaped}%28"), String::new()),
        ("GET", format!("/v1/logs?node={escaped}"), String::new()),
    ] {
        let reply =
            call(&owner, method, &path, &[("idempotency-key", "\u{80}\u{ff}"), ("x-evil", "<script>")], body).await;
        assert!((400..500).contains(&reply.status), "{method}: {reply:?}");
    }
    let said = call(&owner, "GET", "/v1/logs?limit=1000", &[], "").await;
    assert!(said.text().contains("forged") && said.text().contains("bytes in all"));
    assert!(is_harmless(said.text()), "JSON escapes what steers");
    assert!(is_harmless(&node.log()), "{}", node.log());
    let token = dir.path().join("token");
    std::fs::write(&token, node.token("reader", &["operate"]).await).unwrap();
    std::fs::set_permissions(&token, std::os::unix::fs::PermissionsExt::from_mode(0o600)).unwrap();
    let url = node.url().await;
    let ended =
        crate::support::ringfort_in(dir.path(), &["--url", &url, "--token-file", token.to_str().unwrap(), "logs"]);
    assert_eq!(ended.code, 0, "{ended:?}");
    let shown = ended.out + &ended.err;
    assert!(shown.contains("\\u{1b}[2J") && is_harmless(&shown), "{shown}");
    let sam = crate::console::Browser::signed_in(&node, "sam", &["support"]).await;
    for path in [
        "/logs".to_owned(),
        format!("/logs?text=owned&node=1&regex={escaped}%28"),
        "/logs?level=error&since=1h".to_owned(),
    ] {
        let shown = sam.page(&path).await;
        assert!(!shown.contains("<script>alert") && is_harmless(&shown), "{shown}");
        assert!(shown.contains("&#60;script&#62;alert") && shown.len() < 150 * 1024, "{}", shown.len());
    }
    let file = sam.get("/logs/log.ndjson?level=error").await;
    assert!(file.text().lines().all(|line| Record::parse(line.as_bytes()).is_some()), "{file:?}");
}

#[tokio::test]
async fn who_follows_gets_lines_as_they_come_also_behind_the_last_one_that_was_seen() {
    let dir = tempfile::tempdir().unwrap();
    let node = Node::start(&dir.path().join("data")).await;
    let first = page(&node, "limit=1").await["newest"].as_str().unwrap().to_owned();
    for n in 0..3 {
        let path = format!("/v1/buckets/b{n}");
        assert_eq!(call(&node.owner(), "PUT", &path, &[], json!({ "kind": "lww" }).to_string()).await.status, 201);
    }
    let headers = [("last-event-id", first.as_str())];
    let path = "/v1/logs?follow=true&text=bucket%20made";
    let mut stream = crate::support::send(&node.owner(), Method::GET, path, &headers, "").await;
    let mut told = String::new();
    let buckets = |told: &str| {
        let data = told.lines().filter_map(|line| line.strip_prefix("data: "));
        let lines = data.map(|data| serde_json::from_str::<Value>(data).unwrap());
        lines.map(|line| line["fields"]["bucket"].as_str().unwrap().to_owned()).collect::<Vec<_>>()
    };
    while buckets(&told).len() < 3 {
        told.push_str(std::str::from_utf8(&stream.piece().await.ok().flatten().unwrap()).unwrap());
    }
    assert_eq!(
        call(&node.owner(), "PUT", "/v1/buckets/later", &[], json!({ "kind": "lww" }).to_string()).await.status,
        201
    );
    while buckets(&told).len() < 4 {
        told.push_str(std::str::from_utf8(&stream.piece().await.ok().flatten().unwrap()).unwrap());
    }
    assert_eq!(buckets(&told), ["b0", "b1", "b2", "later"]);
}

#[tokio::test]
async fn no_secret_is_in_the_log_or_on_standard_error() {
    let dir = tempfile::tempdir().unwrap();
    let data = dir.path().join("data");
    let node = Node::start(&data).await;
    let owner = node.owner();
    let set = json!({ "target": "ringfort", "level": "trace", "for": "1h" }).to_string();
    assert_eq!(call(&owner, "POST", "/v1/log-level", &[], set).await.status, 200);
    let planted =
        ["pl4nted-passw0rd", "pl4nted-v4lue", "pl4nted-he4der", "pl4nted-k3y", "pl4nted-b0dy", "rf_pl4nted-t0ken"];
    let [password, value, header, key, odd, token] = planted;
    assert_eq!(call(&owner, "PUT", "/v1/buckets/b", &[], json!({ "kind": "lww" }).to_string()).await.status, 201);
    let user = json!({ "password": password, "scopes": ["admin"] }).to_string();
    assert_eq!(call(&owner, "PUT", "/v1/users/ann", &[], user).await.status, 201);
    let made =
        call(&owner, "POST", "/v1/tokens", &[], json!({ "name": "t", "scopes": ["device:write"] }).to_string()).await;
    let secret = made.json()["token"].as_str().unwrap().to_owned();
    let device = crate::support::client(&node.url().await, Some(&secret));
    let stranger = crate::support::client(&node.url().await, Some(token));
    for client in [&owner, &device, &stranger] {
        for (method, path) in [
            ("PUT", format!("/v1/kv/b/{key}")),
            ("GET", format!("/v1/kv/b/{key}")),
            ("PUT", format!("/v1/kv/{key}/k")),
            ("PUT", format!("/v1/buckets/{key}")),
            ("POST", "/v1/tokens".to_owned()),
            ("GET", format!("/{key}")),
        ] {
            let headers = [("x-planted", header), ("cookie", header), ("idempotency-key", header)];
            let _any = call(client, method, &path, &headers, value.to_owned()).await;
        }
        let _any = call(client, "POST", "/v1/config/reload", &[("ringfort-context", odd)], odd.to_owned()).await;
    }
    let page = page(&node, "limit=1000").await;
    assert!(page["lines"].as_array().unwrap().len() > 5);
    let mut all = node.log();
    for file in std::fs::read_dir(data.join("blackbox/log")).unwrap() {
        all.push_str(&String::from_utf8_lossy(&std::fs::read(file.unwrap().path()).unwrap()));
    }
    for secret in planted.iter().map(|planted| (*planted).to_owned()).chain([secret]) {
        let bytes = secret.as_bytes();
        let hex: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
        let url: String = bytes.iter().map(|byte| format!("%{byte:02X}")).collect();
        let base64 = base64::engine::general_purpose::STANDARD_NO_PAD.encode(bytes);
        for form in [secret.clone(), hex.clone(), hex.to_uppercase(), url, base64.trim_end_matches('=').to_owned()] {
            assert!(!all.contains(&form), "{secret} as {form}");
        }
    }
}

/// The slowest of a hundred, in order, of requests one after the other for a while.
async fn p99(node: &Node, seconds: u64) -> Duration {
    let client = node.owner();
    let mut connection = client.open().await.unwrap();
    let (end, mut took) = (time::mono() + Duration::from_secs(seconds), Vec::new());
    while time::mono() < end {
        let began = time::mono();
        let body = ringfort::cli::client::full("1");
        let answer = connection.send(Method::PUT, "/v1/kv/b/k", &[], body).await.unwrap();
        assert_eq!(answer.head.status, 200);
        answer.bytes().await.unwrap();
        took.push(began.elapsed());
    }
    took.sort();
    took[took.len() * 99 / 100]
}

#[tokio::test]
async fn a_storm_of_lines_leaves_requests_alone_and_what_is_dropped_is_told() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("storm");
    let data = dir.path().join("data");
    let node = Node::start_with(
        &data,
        &[],
        &[(ringfort::node::drill::CUT_FILE, file.to_str().unwrap()), ("RINGFORT_PEER_LISTEN", "127.0.0.1:0")],
    )
    .await;
    assert_eq!(
        call(&node.owner(), "PUT", "/v1/buckets/b", &[], json!({ "kind": "lww" }).to_string()).await.status,
        201
    );
    let _warm = p99(&node, 1).await;
    let (mut quiet, mut stormy) = (Vec::new(), Vec::new());
    // Many short rounds in turn: whatever else the machine does meets both alike.
    for _round in 0..9 {
        std::fs::write(&file, "storm=100000").unwrap();
        stormy.push(p99(&node, 1).await);
        std::fs::write(&file, "").unwrap();
        quiet.push(p99(&node, 1).await);
    }
    quiet.sort();
    stormy.sort();
    eprintln!("p99 quiet {quiet:?}, in a storm {stormy:?}");
    let told = eventually("what was dropped is told", async || {
        let page = page(&node, "text=one%20place%20logged%20too%20much&limit=1000").await;
        let lines = page["lines"].as_array().unwrap().clone();
        let dropped: u64 =
            lines.iter().map(|line| line["fields"]["dropped"].as_str().unwrap().parse::<u64>().unwrap()).sum();
        (dropped > 500_000).then_some(dropped)
    })
    .await;
    let bytes: u64 =
        std::fs::read_dir(data.join("blackbox/log")).unwrap().map(|file| file.unwrap().metadata().unwrap().len()).sum();
    eprintln!("dropped and told: {told}; bytes of the book: {bytes}");
    assert!(bytes < 8 * 1024 * 1024, "{bytes}");
    assert!(stormy[4] * 2 <= quiet[4] * 3, "p99 quiet {quiet:?}, in a storm {stormy:?}");
}

struct Fits(Filter);

impl Sieve for Fits {
    fn may_be_in(&self, block: &[u8]) -> bool {
        self.0.may_be_in(block)
    }

    fn takes(&self, line: &[u8]) -> bool {
        self.0.fits(line)
    }
}

#[test]
fn a_log_takes_lines_without_waiting_and_keeps_them_in_order() {
    let dir = tempfile::tempdir().unwrap();
    let kept = Logs::new();
    kept.keep(&dir.path().join("log"), NodeId(7)).unwrap();
    let before = kept.stamp();
    kept.hear(Stamp(before.0 + 1_000_000));
    assert!(kept.stamp().0 > before.0 + 1_000_000, "what was heard is earlier than what is said then");
    kept.close();
    let filter = Filter::new(Search::default(), None, None).unwrap();
    let found = logs::reader(dir.path().join("log")).page(Place::From(0), &Want::default(), &Fits(filter)).unwrap();
    assert!(found.ended && found.lines.is_empty());
}

/// Somebody piped the output of a node into a program that hangs.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_whose_output_nobody_reads_goes_on_and_says_so() {
    let dir = tempfile::tempdir().unwrap();
    let (mut reader, mut writer) = std::io::pipe().unwrap();
    // It is as good as full: 64 KiB fit.
    std::io::Write::write_all(&mut writer, &vec![b'\n'; 62 * 1024]).unwrap();
    let mut command = crate::support::command(dir.path(), &["run", "--data", "d", "--listen", "http://127.0.0.1:0"]);
    command.env("RINGFORT_LOG", "trace");
    let mut child =
        command.stdin(std::process::Stdio::null()).stdout(writer.try_clone().unwrap()).stderr(writer).spawn().unwrap();
    drop(command);
    let owner =
        ringfort::cli::client::Client::new(ringfort::cli::client::Target::Socket(dir.path().join("d/ctl.sock")), None);
    let alarm = eventually("it serves, and tells that nobody reads", async || {
        let status = owner.ask(hyper::Method::GET, "/v1/status").await.ok()?;
        status["alarms"].as_array()?.iter().find(|alarm| alarm["code"] == "log_dropped").cloned()
    })
    .await;
    assert!(alarm["cause"].as_str().unwrap().contains("Nobody reads the standard error of this node: "), "{alarm:#}");
    let reading = std::thread::spawn(move || {
        let mut all = Vec::new();
        std::io::Read::read_to_end(&mut reader, &mut all).unwrap();
        String::from_utf8_lossy(&all).into_owned()
    });
    eventually("it goes on answering, and saying so", async || {
        owner.ask(hyper::Method::GET, "/v1/status").await.ok()?;
        Some(())
    })
    .await;
    let pid = rustix::process::Pid::from_raw(i32::try_from(child.id()).unwrap()).unwrap();
    rustix::process::kill_process(pid, rustix::process::Signal::TERM).unwrap();
    assert!(child.wait().unwrap().success());
    let all = reading.join().unwrap();
    assert!(all.contains(" lines were left out here: nobody read them)"), "{all}");
}
