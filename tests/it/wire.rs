//! Keep-alive connections to a node, and values that a reader can check by their key alone.

use std::fs;
use std::path::Path;
use std::sync::Arc;

use http_body_util::BodyExt;
use http_body_util::Full;
use hyper::Method;
use hyper::Request;
use hyper::body::Bytes;
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use serde_json::Value;
use serde_json::json;
use tokio::net::TcpStream;

use crate::support::Node;
use crate::support::PATIENCE;

/// One connection, used again for every request.
pub struct Wire {
    sender: http1::SendRequest<Full<Bytes>>,
    authorization: String,
}

impl Wire {
    /// Connects to an address such as `http://127.0.0.1:41234`.
    pub async fn open(url: &str, token: &str) -> Self {
        Self::try_open(url, token).await.unwrap()
    }

    /// The same for a node that may be gone.
    pub async fn try_open(url: &str, token: &str) -> Option<Self> {
        let stream = TcpStream::connect(url.strip_prefix("http://").unwrap()).await.ok()?;
        stream.set_nodelay(true).unwrap();
        let (sender, connection) = http1::handshake(TokioIo::new(stream)).await.ok()?;
        tokio::spawn(connection);
        Some(Self { sender, authorization: format!("Bearer {token}") })
    }

    /// To whichever worker of a node is up now, on a port of its own; `None` where there is none.
    pub async fn reach(node: &Node, token: &str) -> Option<Self> {
        let status = node.owner().ask(Method::GET, "/v1/status").await.ok()?;
        Self::try_open(status["addresses"][0].as_str()?, token).await
    }

    /// Sends a request; `None` where the connection broke before the whole answer was there.
    pub async fn ask(&mut self, method: Method, path: &str, body: impl Into<Bytes>) -> Option<(u16, Bytes)> {
        let request = Request::builder()
            .method(method)
            .uri(path)
            .header("host", "localhost")
            .header("authorization", &self.authorization)
            .body(Full::new(body.into()))
            .unwrap();
        self.sender.ready().await.ok()?;
        let answer = self.sender.send_request(request).await.ok()?;
        let status = answer.status().as_u16();
        Some((status, answer.into_body().collect().await.ok()?.to_bytes()))
    }

    /// Stores [`value_of`] the key.
    pub async fn put(&mut self, bucket: &str, key: &str) -> Option<(u16, Bytes)> {
        self.ask(Method::PUT, &format!("/v1/kv/{bucket}/{key}"), value_of(key)).await
    }

    pub async fn get(&mut self, bucket: &str, key: &str) -> Option<(u16, Bytes)> {
        self.ask(Method::GET, &format!("/v1/kv/{bucket}/{key}"), "").await
    }
}

/// A refusal's stable code.
pub fn code(body: &[u8]) -> String {
    let document: Value = serde_json::from_slice(body).unwrap_or_default();
    document["code"].as_str().unwrap_or_default().to_owned()
}

/// Makes a bucket and a token that may do everything, which outlives restarts.
pub async fn prepare(node: &Node, bucket: &str) -> String {
    let path = format!("/v1/buckets/{bucket}");
    node.owner().tell(Method::PUT, &path, &json!({})).await.map_err(|failure| failure.message).unwrap();
    let wish = json!({ "name": format!("test-{bucket}"), "scopes": ["admin", "data"] });
    let made = node.owner().tell(Method::POST, "/v1/tokens", &wish).await.map_err(|failure| failure.message).unwrap();
    made["token"].as_str().unwrap().to_owned()
}

/// The only value that a key may ever have: begins with the key, ends with bytes drawn from it, of varying length.
pub fn value_of(key: &str) -> Vec<u8> {
    let seed = key
        .bytes()
        .fold(0xcbf2_9ce4_8422_2325, |hash: u64, byte| (hash ^ u64::from(byte)).wrapping_mul(0x100_0000_01b3));
    let mut random = Random(seed | 1);
    let mut value = format!("{key}|").into_bytes();
    for _ in 0..(4 + random.below(60)) {
        value.extend_from_slice(format!("{:016x}", random.draw()).as_bytes());
    }
    value
}

/// A xorshift generator: the same seed gives the same test.
pub struct Random(pub u64);

impl Random {
    pub fn draw(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }

    pub fn below(&mut self, limit: u64) -> u64 {
        self.draw() % limit
    }
}

/// How reads of many keys went.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub struct Readings {
    pub right: usize,
    pub absent: usize,
    pub wrong: usize,
    pub refused: usize,
}

/// Reads every key over a few connections and compares.
pub async fn read_all(node: &Node, token: &str, bucket: &str, keys: &[String]) -> Readings {
    const CONNECTIONS: usize = 16;
    let url = node.url().await;
    let keys: Arc<Vec<String>> = Arc::new(keys.to_vec());
    let mut readers = Vec::new();
    for reader in 0..CONNECTIONS {
        let (keys, bucket, mut wire) = (Arc::clone(&keys), bucket.to_owned(), Wire::open(&url, token).await);
        readers.push(tokio::spawn(async move {
            let mut readings = Readings::default();
            for key in keys.iter().skip(reader).step_by(CONNECTIONS) {
                match wire.get(&bucket, key).await.expect("a healthy node answers reads") {
                    (200, body) if body == value_of(key) => readings.right += 1,
                    (200 | 300, body) => {
                        eprintln!("{key} has {}", String::from_utf8_lossy(&body));
                        readings.wrong += 1;
                    }
                    (404, _) => readings.absent += 1,
                    (status, body) => {
                        eprintln!("{key} answers {status}: {}", String::from_utf8_lossy(&body));
                        readings.refused += 1;
                    }
                }
            }
            readings
        }));
    }
    let mut all = Readings::default();
    for reader in readers {
        let one = reader.await.unwrap();
        all.right += one.right;
        all.absent += one.absent;
        all.wrong += one.wrong;
        all.refused += one.refused;
    }
    all
}

/// All keys of a bucket, by its list.
pub async fn list_all(wire: &mut Wire, bucket: &str) -> Vec<String> {
    let mut keys = Vec::new();
    let mut after = String::new();
    loop {
        let path = format!("/v1/kv/{bucket}?limit=1000{after}");
        let (status, body) = wire.ask(Method::GET, &path, "").await.unwrap();
        assert_eq!(status, 200, "{}", String::from_utf8_lossy(&body));
        let page: Value = serde_json::from_slice(&body).unwrap();
        keys.extend(page["keys"].as_array().unwrap().iter().map(|row| row["key"].as_str().unwrap().to_owned()));
        match page["next"].as_str() {
            Some(next) => after = format!("&after={next}"),
            None => return keys,
        }
    }
}

/// Looks again and again until it is so.
pub async fn until(what: &str, mut so: impl AsyncFnMut() -> bool) {
    let deadline = std::time::Instant::now() + PATIENCE;
    while !so().await {
        assert!(std::time::Instant::now() < deadline, "it does not come true that {what}");
        tokio::time::sleep(std::time::Duration::from_millis(2)).await;
    }
}

/// A number from the environment, for longer campaigns.
pub fn setting(name: &str, default: u64) -> u64 {
    std::env::var(name).map_or(default, |text| text.parse().unwrap())
}

/// Whether a process is there and not merely waiting to be reaped.
pub fn is_alive(pid: i32) -> bool {
    let stat = fs::read_to_string(Path::new("/proc").join(pid.to_string()).join("stat")).unwrap_or_default();
    stat.rsplit(") ").next().is_some_and(|rest| !rest.is_empty() && !rest.starts_with(['Z', 'X']))
}
