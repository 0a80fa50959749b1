//! A panic in the middle of a body: its connection ends, nothing that came of it looks whole, others live on, and there is
//! a report of it.

use std::io::Read;
use std::io::Write;
use std::net::TcpStream;
use std::path::PathBuf;

use ringfort::node::drill::CUT_FILE;
use serde_json::json;

use crate::support::Node;
use crate::support::call;
use crate::support::eventually;
use crate::support::send;

/// Rows of more than one piece each.
const ROWS: usize = 40;
const ROW_BYTES: usize = 30_000;

async fn node_with_rows(dir: &tempfile::TempDir) -> (Node, PathBuf) {
    let file = dir.path().join("drill");
    let environment = [(CUT_FILE, file.to_str().unwrap()), ("RINGFORT_PEER_LISTEN", "127.0.0.1:0")];
    let node = Node::start_with(&dir.path().join("data"), &[], &environment).await;
    let owner = node.owner();
    assert_eq!(call(&owner, "PUT", "/v1/buckets/b", &[], json!({ "kind": "lww" }).to_string()).await.status, 201);
    for row in 0..ROWS {
        let put = call(&owner, "PUT", &format!("/v1/kv/b/{row:02}"), &[], "x".repeat(ROW_BYTES)).await;
        assert_eq!(put.status, 200, "{put:?}");
    }
    (node, file)
}

/// Waits until the drill has seen a word, and then that it is gone: only one that comes anew is taken once more.
async fn drill(node: &Node, file: &PathBuf, word: &str, failure: &str) {
    for (text, told) in [(word, format!("failure={failure}")), ("loss=1", "percent=1".to_owned())] {
        let seen = || node.log().matches(&told).count();
        let before = seen();
        std::fs::write(file, text).unwrap();
        eventually("the drill has seen it", async || (seen() > before).then_some(())).await;
    }
}

/// Reports whose reason says this.
async fn reports(node: &Node, said: &str) -> usize {
    let all = call(&node.owner(), "GET", &format!("/v1/crashes?kind=panic&text={said}"), &[], "").await.json();
    all["crashes"].as_array().unwrap().len()
}

/// The bytes of an answer as they are on the wire, until its connection ends.
fn raw(url: &str, token: &str, path: &str) -> Vec<u8> {
    let mut stream = TcpStream::connect(url.trim_start_matches("http://")).unwrap();
    let host = url.trim_start_matches("http://");
    write!(stream, "GET {path} HTTP/1.1\r\nHost: {host}\r\nAuthorization: Bearer {token}\r\n\r\n").unwrap();
    stream.set_read_timeout(Some(crate::support::PATIENCE)).unwrap();
    let mut bytes = Vec::new();
    // Reset or closed: both say that it is over.
    match stream.read_to_end(&mut bytes) {
        Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => panic!("the connection does not end"),
        _ended => bytes,
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_body_that_breaks_off_by_a_panic_never_looks_whole_and_nobody_else_notices() {
    let dir = tempfile::tempdir().unwrap();
    let (node, file) = node_with_rows(&dir).await;
    let (url, token) = (node.url().await, node.token("data", &["data"]).await);
    let path = "/v1/buckets/b/export?format=ndjson";
    let whole = call(&node.owner(), "GET", path, &[], "").await;
    assert_eq!((whole.status, whole.text().lines().count()), (200, ROWS));
    for (word, failure, said) in
        [("panic-body", "PanicBody", "made%20this%20body"), ("panic-feed", "PanicFeed", "made%20this%20feed")]
    {
        // One who began before, and goes on meanwhile.
        let mut other = send(&node.owner(), hyper::Method::GET, "/v1/events", &[], "").await;
        assert_eq!(other.head.status, 200);
        // Through the client: an error, and not an end.
        drill(&node, &file, word, failure).await;
        let mut answer = send(&node.owner(), hyper::Method::GET, path, &[], "").await;
        assert_eq!(answer.head.status, 200, "{word}: it had begun well");
        let mut came = 0;
        let broken = loop {
            match answer.piece().await {
                Ok(Some(piece)) => came += piece.len(),
                Ok(None) => panic!("{word}: {came} of {} bytes look whole", whole.body.len()),
                Err(failure) => break failure.message,
            }
        };
        assert!(came < whole.body.len(), "{word}: {broken}");
        // On the wire: the last chunk, which is empty, never comes.
        drill(&node, &file, word, failure).await;
        let (url, token) = (url.clone(), token.clone());
        let bytes = tokio::task::spawn_blocking(move || raw(&url, &token, path)).await.unwrap();
        assert!(bytes.starts_with(b"HTTP/1.1 200") && bytes.len() < whole.body.len(), "{word}: {} bytes", bytes.len());
        assert!(!bytes.ends_with(b"0\r\n\r\n"), "{word}");
        eventually("there is a report", async || (reports(&node, said).await >= 1).then_some(())).await;
        // Others: the stream from before lives, and whoever asks now is served in full.
        assert_eq!(
            call(&node.owner(), "PUT", "/v1/buckets/later", &[], json!({ "kind": "lww" }).to_string()).await.status
                / 100,
            2
        );
        assert!(other.piece().await.is_ok_and(|piece| piece.is_some()), "{word}");
        let again = call(&node.owner(), "GET", path, &[], "").await;
        assert_eq!(again.body, whole.body, "{word}");
    }
}

#[tokio::test]
async fn an_import_whose_upload_breaks_off_by_a_panic_is_not_taken_for_a_whole_one() {
    let dir = tempfile::tempdir().unwrap();
    let (node, file) = node_with_rows(&dir).await;
    let rows: String = (0..20_000).map(|row| format!("{{\"k\":\"n{row}\",\"v\":\"{}\"}}\n", "y".repeat(20))).collect();
    drill(&node, &file, "panic-feed", "PanicFeed").await;
    let path = "/v1/buckets/b/import?format=ndjson&key=k";
    let refused = call(&node.owner(), "POST", path, &[], rows.clone()).await;
    assert!(refused.status >= 400, "{refused:?}");
    assert!(refused.text().contains("this node failed in the middle of it"), "{refused:?}");
    eventually("there is a report", async || (reports(&node, "made%20this%20feed").await == 1).then_some(())).await;
    let done = call(&node.owner(), "POST", path, &[], rows).await;
    assert_eq!(done.status, 200, "{done:?}");
}
