//! Plain HTTP is for this machine: whoever names another host was led here, such as a page whose name was bound anew to
//! a loopback address, and which its browser then takes for one of ours.

use std::path::Path;

use http_body_util::Empty;
use hyper::Request;
use hyper::body::Bytes;
use hyper::client::conn::http2;
use hyper_util::rt::TokioExecutor;
use hyper_util::rt::TokioIo;
use serde_json::Value;
use tokio::io::AsyncReadExt;
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;

use super::Bench;
use crate::support::Node;
use crate::support::call;

/// Hosts under which this node answers: its name is `n1`, and the configuration adds `store.example`.
const OURS: [&str; 14] = [
    "127.0.0.1",
    "127.0.0.1:7480",
    "10.1.2.3:80",
    "[::1]",
    "[::1]:7480",
    "[2001:db8::1]:80",
    "localhost",
    "LocalHost:7480",
    "localhost.",
    "localhost:",
    "n1",
    "N1:7480",
    "store.example",
    "STORE.example.:7480",
];

const FOREIGN: [&str; 20] = [
    "evil.example",
    "evil.example:7480",
    "127.0.0.1.evil.example",
    "localhost.evil.example",
    "evil.localhost",
    "store.example.evil.example",
    "evil-store.example",
    "n1.evil.example",
    "n10",
    "",
    ":7480",
    ".",
    "::1",
    "[::1",
    "[::1]x",
    "[localhost]",
    "0x7f.1",
    "localhost:80:80",
    "localhost:x",
    "me@localhost",
];

/// What is asked: open to all on loopback, a page, a change, and nothing that is there.
const ASKED: [&str; 5] = ["GET /healthz", "GET /metrics", "GET /sign-in", "POST /sign-in", "GET /not/here"];

/// One request on a connection of its own, and its whole answer.
async fn raw(address: &str, asked: &str, version: &str, fields: &str) -> String {
    let rest = "connection: close\r\naccept: text/html\r\ncontent-length: 0\r\n\r\n";
    let mut stream = TcpStream::connect(address).await.unwrap();
    stream.write_all(format!("{asked} {version}\r\n{fields}{rest}").as_bytes()).await.unwrap();
    let mut text = String::new();
    stream.read_to_string(&mut text).await.unwrap();
    text
}

/// The same over HTTP/2, where the host is a field of its own.
async fn status_over_http2(address: &str, host: &str) -> u16 {
    let stream = TcpStream::connect(address).await.unwrap();
    let (mut sender, connection) = http2::handshake(TokioExecutor::new(), TokioIo::new(stream)).await.unwrap();
    tokio::spawn(connection);
    let request = Request::get(format!("http://{host}/healthz")).body(Empty::<Bytes>::new()).unwrap();
    sender.send_request(request).await.unwrap().status().as_u16()
}

fn assert_misdirected(text: &str, what: &str) {
    assert!(text.starts_with("HTTP/1.1 421 "), "{what}: {text}");
    assert!(text.contains("content-type: application/problem+json"), "{what}: {text}");
    let document: Value = serde_json::from_str(text.split_once("\r\n\r\n").unwrap().1).unwrap();
    assert_eq!(document["code"], "misdirected", "{what}");
    let detail = document["detail"].as_str().unwrap();
    for word in ["nothing was done", "`localhost`", "`names`"] {
        assert!(detail.contains(word), "{what}: {detail}");
    }
}

pub async fn only_ours_are_answered(bench: &Bench) {
    for host in OURS {
        let text = raw(&bench.address, "GET /healthz", "HTTP/1.1", &format!("host: {host}\r\n")).await;
        assert!(text.starts_with("HTTP/1.1 200 "), "{host}: {text}");
    }
    bench
        .unharmed("foreign hosts", async |bench| {
            for host in FOREIGN {
                let text = raw(&bench.address, "GET /metrics", "HTTP/1.1", &format!("host: {host}\r\n")).await;
                assert_misdirected(&text, host);
            }
            for asked in ASKED {
                let text = raw(&bench.address, asked, "HTTP/1.1", "host: evil.example\r\n").await;
                assert_misdirected(&text, asked);
            }
            // Neither a good token nor a second host, nor one in the first line, makes up for it.
            let token = format!("host: evil.example\r\nauthorization: Bearer {}\r\n", bench.token);
            assert_misdirected(&raw(&bench.address, "PUT /v1/kv/l/k", "HTTP/1.1", &token).await, "a token");
            for fields in ["host: localhost\r\nhost: evil.example\r\n", "host: localhost\r\nhost: localhost\r\n"] {
                assert_misdirected(&raw(&bench.address, "GET /metrics", "HTTP/1.1", fields).await, fields);
            }
            for (line, host) in [("evil.example", "localhost"), ("localhost", "evil.example")] {
                let asked = format!("GET http://{line}/metrics");
                let text = raw(&bench.address, &asked, "HTTP/1.1", &format!("host: {host}\r\n")).await;
                assert_misdirected(&text, &asked);
            }
        })
        .await;
    // No browser leaves the host out; old probes do.
    assert!(raw(&bench.address, "GET /healthz", "HTTP/1.0", "").await.contains(" 200 "));
    assert!(
        raw(&bench.address, "GET http://localhost/healthz", "HTTP/1.1", "host: localhost\r\n").await.contains(" 200 ")
    );
    for (host, status) in [("localhost:1", 200), ("n1", 200), ("evil.example", 421)] {
        assert_eq!(status_over_http2(&bench.address, host).await, status, "{host}");
    }
    assert!(bench.node.log().contains("named another host"), "{}", bench.node.log());
    // The owner's socket has no host to be led by.
    assert_eq!(call(&bench.node.owner(), "GET", "/healthz", &[("host", "evil.example")], "").await.status, 200);
}

pub async fn a_reload_adds_names(dir: &Path) {
    let config = dir.join("r.toml");
    std::fs::write(&config, "").unwrap();
    let words = ["--listen", "http://127.0.0.1:0", "--config", config.to_str().unwrap()];
    let node = Node::start_saying(&dir.join("data"), &[], &words).await;
    let url = node.url().await;
    let address = url.strip_prefix("http://").unwrap();
    let ask = async || raw(address, "GET /healthz", "HTTP/1.1", "host: store.example\r\n").await;
    assert_misdirected(&ask().await, "before");
    std::fs::write(&config, "names = \"store.example\"\n").unwrap();
    assert_eq!(call(&node.owner(), "POST", "/v1/config/reload", &[], "").await.status, 200);
    assert!(ask().await.starts_with("HTTP/1.1 200 "));
}
