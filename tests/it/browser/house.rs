//! A node with something of everything in it, and a browser in front of it.

use hyper::Method;
use ringfort::base::id::NodeId;
use ringfort::proto::crash::CrashId;
use ringfort::proto::crash::Kind;
use ringfort::proto::crash::Report;
use ringfort::store::crashes::Crashes;
use serde_json::json;

use crate::browser::driver::Browser;
use crate::support::Node;
use crate::support::airports;
use crate::support::call;
use crate::support::client;

/// The user whom tests sign in, and its password.
pub const KEEPER: &str = "keeper";
/// See [`KEEPER`].
pub const PASSWORD: &str = "tall ships at dawn";

/// A node, a browser, and the way from one to the other.
pub struct House {
    pub browser: Browser,
    pub node: Node,
    pub url: String,
    /// May write what tests prepare.
    pub token: String,
    dir: tempfile::TempDir,
}

impl House {
    /// A node that nobody has claimed yet, with nothing in it.
    pub async fn empty() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let port = free_port();
        let mut node = Node::spawn_at(&dir.path().join("data"), &[], &[], port);
        node.get_ready().await;
        let (url, token) = (node.url().await, node.token("tests", &["admin", "data"]).await);
        Self { browser: Browser::start().await, node, url, token, dir }
    }

    /// A report as a bad night leaves it: long lines, deep calls, and what a stranger might have put into them.
    fn note_crash(&self) {
        let id = CrashId::new(1, NodeId(1), 1);
        let reason = "panic: index out of bounds: the len is 3 but the index is 7 <b>at</b> src/node/repair.rs:41:9";
        let at = "1970-01-01T00:00:00.001Z".to_owned();
        let frame =
            |number: usize| format!("{number}: ringfort::node::repair::{}::h0123456789abcdef", "deeper::".repeat(12));
        let line =
            |number: usize| format!("{at} ERROR ringfort::node: <script>alert({number})</script> {}", "x".repeat(300));
        let report = Report {
            name: "n1".to_owned(),
            thread: Some("worker".to_owned()),
            task: Some("repair".to_owned()),
            backtrace: (0..40).map(frame).collect(),
            log: (0..50).map(line).collect(),
            members: vec!["node 2 (n2): up, answers".to_owned()],
            ..Report::new(id, at.clone(), 1, Kind::Panic, reason.to_owned())
        };
        Crashes::of(&self.dir.path().join("data")).keep(&report.finish()).unwrap();
    }

    /// Stops the node as a power cut would.
    pub fn stop(&mut self) {
        self.node.kill();
    }

    /// Starts it again where it was.
    pub async fn start(&mut self) {
        let port = self.url.rsplit(':').next().unwrap().parse().unwrap();
        self.node = Node::spawn_at(&self.dir.path().join("data"), &[], &[], port);
        self.node.get_ready().await;
    }

    /// A user who may do everything.
    pub async fn make_keeper(&self) {
        let document = json!({ "password": PASSWORD, "scopes": ["admin"] });
        let made = self.node.owner().tell(Method::PUT, &format!("/v1/users/{KEEPER}"), &document).await;
        made.map_err(|failure| failure.message).unwrap();
    }

    /// Lets the browser in as the keeper, by a one-time link.
    pub async fn sign_in(&self) {
        self.make_keeper().await;
        let made = self.node.owner().tell(Method::POST, "/v1/sign-in-links", &json!({ "user": KEEPER })).await;
        let link = made.map_err(|failure| failure.message).unwrap();
        self.go(link["path"].as_str().unwrap()).await;
        self.browser.until("inside", "return location.pathname === '/'").await;
    }

    /// An address of a page.
    pub fn at(&self, path: &str) -> String {
        format!("{}{path}", self.url)
    }

    /// Opens a page.
    pub async fn go(&self, path: &str) {
        self.browser.go(&self.at(path)).await;
    }

    /// Makes a bucket.
    pub async fn bucket(&self, name: &str, kind: &str) {
        let made = self.node.owner().tell(Method::PUT, &format!("/v1/buckets/{name}"), &json!({ "kind": kind })).await;
        made.map_err(|failure| failure.message).unwrap();
    }

    /// Stores a value beside the browser, as a program would.
    pub async fn put(&self, path: &str, content_type: &str, body: impl Into<hyper::body::Bytes>) {
        self.note_crash();
        let client = client(&self.url, Some(&self.token));
        let stored = call(&client, "PUT", &format!("/v1/kv/{path}"), &[("content-type", content_type)], body).await;
        assert_eq!(stored.status, 200, "{}", stored.text());
    }

    /// A value as a program reads it.
    pub async fn value(&self, path: &str) -> String {
        let client = client(&self.url, Some(&self.token));
        let read = call(&client, "GET", &format!("/v1/kv/{path}"), &[], "").await;
        assert_eq!(read.status, 200, "{}", read.text());
        read.text().to_owned()
    }

    /// Real data, values of every type, several values of one key, keys that are hard to show.
    pub async fn furnish(&self) {
        let client = client(&self.url, Some(&self.token));
        let file = std::fs::read(airports()).unwrap();
        let path = "/v1/buckets/airports/import?format=csv&key=icao";
        let length = file.len().to_string();
        let imported = call(&client, "POST", path, &[("content-length", &length)], file).await;
        assert_eq!(imported.status, 200, "{}", imported.text());
        self.bucket("shared", "siblings").await;
        self.bucket("types", "lww").await;
        self.bucket("void", "lww").await;
        for writer in ["one", "two"] {
            self.put("shared/argued", "application/json", json!({ "by": writer, "n": [1, 2, 3] }).to_string()).await;
        }
        self.put("shared/single", "text/plain", "only one").await;
        self.put("types/json", "application/json", r#"{"name":"Frankfurt","runways":[1,2],"open":true}"#).await;
        self.put("types/text", "text/plain", "a line\nanother line\n".repeat(40)).await;
        self.put("types/wide", "text/plain", "x".repeat(3000)).await;
        self.put("types/bytes", "application/octet-stream", (0..=255).cycle().take(2000).collect::<Vec<u8>>()).await;
        self.put("types/html", "text/html", "<script>alert(1)</script>").await;
        self.put("types/nothing", "text/plain", "").await;
        let picture = self.browser.shot("a-picture-to-store").await;
        self.put("types/picture", "image/png", std::fs::read(picture).unwrap()).await;
        let long = "k".repeat(1000);
        for key in [long.as_str(), "%FF%FE", "%3Cscript%3E", "a%20b%0Ac", "%E2%80%AEgpj.exe"] {
            self.put(&format!("types/{key}"), "text/plain", "hard to show").await;
        }
    }
}

/// A port that is free now: for a node that must come back where it was.
fn free_port() -> u16 {
    std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}
