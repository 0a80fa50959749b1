//! C5 and C8 on HTTP/2: malformed requests, and the floods of recent years, frame by frame.

use std::sync::Arc;
use std::sync::atomic::AtomicUsize;
use std::sync::atomic::Ordering;
use std::time::Duration;

use tokio::io::AsyncReadExt;
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;

use super::Bench;
use super::MIB;
use super::WellBehaved;
use crate::support::call;
use ringfort::base::limits::H2_CONTROL_FRAMES_MAX;

const DATA: u8 = 0;
const HEADERS: u8 = 1;
const RST_STREAM: u8 = 3;
const SETTINGS: u8 = 4;
const PING: u8 = 6;
const GOAWAY: u8 = 7;
const WINDOW_UPDATE: u8 = 8;
const CONTINUATION: u8 = 9;
const END_STREAM: u8 = 1;
const ACK: u8 = 1;
const END_HEADERS: u8 = 4;

fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let len = (payload.len() as u32).to_be_bytes();
    [&len[1..], &[kind, flags], &stream.to_be_bytes(), payload].concat()
}

/// A header block of literals without indexing (RFC 7541 §6.2.2).
fn block(fields: &[(&str, &str)]) -> Vec<u8> {
    fn text(text: &str, to: &mut Vec<u8>) {
        let mut len = text.len();
        if len < 127 {
            to.push(len as u8);
        } else {
            to.push(127);
            len -= 127;
            while len >= 128 {
                to.push((len % 128 + 128) as u8);
                len /= 128;
            }
            to.push(len as u8);
        }
        to.extend_from_slice(text.as_bytes());
    }
    let mut block = Vec::new();
    for (name, value) in fields {
        block.push(0);
        text(name, &mut block);
        text(value, &mut block);
    }
    block
}

fn preface() -> Vec<u8> {
    [b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".to_vec(), frame(SETTINGS, 0, 0, &[])].concat()
}

fn request<'a>(method: &'a str, path: &'a str, authorization: &'a str) -> Vec<(&'a str, &'a str)> {
    vec![
        (":method", method),
        (":scheme", "http"),
        (":authority", "localhost"),
        (":path", path),
        ("authorization", authorization),
    ]
}

/// Sends and reads frames until the connection ends or nothing more comes; the kinds of those that came, with payloads.
async fn exchange(bench: &Bench, bytes: &[u8]) -> Vec<(u8, Vec<u8>)> {
    let mut stream = TcpStream::connect(&bench.address).await.unwrap();
    let _refused = stream.write_all(bytes).await;
    // Answered behind everything else: what is before it is the answer.
    let _refused = stream.write_all(&frame(PING, 0, 0, b"the last")).await;
    let mut frames = Vec::new();
    loop {
        let mut head = [0; 9];
        if stream.read_exact(&mut head).await.is_err() {
            return frames;
        }
        let len = u32::from_be_bytes([0, head[0], head[1], head[2]]) as usize;
        let mut payload = vec![0; len];
        if stream.read_exact(&mut payload).await.is_err() {
            return frames;
        }
        let answered = frames.iter().any(|(kind, _)| [HEADERS, RST_STREAM, GOAWAY].contains(kind));
        let last = head[3] == PING && head[4] == 1;
        if !last {
            frames.push((head[3], payload));
        } else if answered {
            return frames;
        }
        if frames.last().is_some_and(|(kind, _)| [HEADERS, RST_STREAM, GOAWAY].contains(kind)) {
            return frames;
        }
    }
}

/// Whether the answer is a refusal: of the stream, of the connection, or a status of 400 and above.
fn is_refusal(frames: &[(u8, Vec<u8>)]) -> bool {
    frames.iter().any(|(kind, payload)| match *kind {
        RST_STREAM | GOAWAY => true,
        // `:status` as an indexed name with a literal value, or one of the indexed 400, 404, 500.
        HEADERS => {
            matches!(payload.first(), Some(0x8c..=0x8e))
                || String::from_utf8_lossy(payload).contains('4')
                || payload.first() == Some(&0x48)
        }
        _ => false,
    })
}

pub async fn c5(bench: &Bench) {
    bench
        .unharmed("C5 over HTTP/2", async |bench| {
            let authorization = format!("Bearer {}", bench.token);
            let base = request("PUT", "/v1/kv/l/k", &authorization);
            let with = |more: &[(&'static str, &'static str)]| [base.clone(), more.to_vec()].concat();
            let without = |name: &str| base.iter().copied().filter(|(known, _)| *known != name).collect::<Vec<_>>();
            let long = "x".repeat(20 * 1024);
            let malformed = [
                ("a length that is less than what comes", with(&[("content-length", "2")])),
                ("a length that is more than what comes", with(&[("content-length", "9")])),
                ("a length with a sign", with(&[("content-length", "+5")])),
                ("two lengths", with(&[("content-length", "5"), ("content-length", "6")])),
                ("a transfer coding", with(&[("transfer-encoding", "chunked")])),
                ("a connection field", with(&[("connection", "close")])),
                ("a name in capitals", with(&[("X-A", "b")])),
                ("a NUL", with(&[("x-a", "b\0c")])),
                ("a line end", with(&[("x-a", "b\r\nc: d")])),
                ("a pseudo field behind others", with(&[(":path", "/v1/kv/l/k")])),
                ("no path", without(":path")),
                ("no method", without(":method")),
                ("a field of 20 KiB", [base.clone(), vec![("x-a", long.as_str())]].concat()),
            ];
            for (what, fields) in malformed {
                let block = block(&fields);
                let (first, rest) = block.split_at(block.len().min(16_000));
                let end = if rest.is_empty() { END_HEADERS } else { 0 };
                let mut bytes = [preface(), frame(HEADERS, end, 1, first)].concat();
                if !rest.is_empty() {
                    bytes.extend(frame(CONTINUATION, END_HEADERS, 1, rest));
                }
                bytes.extend(frame(DATA, END_STREAM, 1, b"hello"));
                let frames = exchange(bench, &bytes).await;
                assert!(is_refusal(&frames), "{what}: {frames:?}");
            }
        })
        .await;
}

/// What one connection sends again and again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Flood {
    RapidReset,
    Continuations,
    EmptyContinuations,
    EmptyData,
    Pings,
    PingAnswers,
    Settings,
    WindowUpdates,
    /// Answers are asked for and there is no room for them, or a byte's.
    ClosedWindows,
}

const FLOODS: [Flood; 9] = [
    Flood::RapidReset,
    Flood::Continuations,
    Flood::EmptyContinuations,
    Flood::EmptyData,
    Flood::Pings,
    Flood::PingAnswers,
    Flood::Settings,
    Flood::WindowUpdates,
    Flood::ClosedWindows,
];

impl Flood {
    fn begins(self, authorization: &str) -> Vec<u8> {
        let open = |method, path: &str, flags| frame(HEADERS, flags, 1, &block(&request(method, path, authorization)));
        let first = match self {
            Self::Continuations | Self::EmptyContinuations => open("GET", "/healthz", 0),
            Self::EmptyData => open("PUT", "/v1/kv/l/flood", END_HEADERS),
            Self::ClosedWindows => {
                // SETTINGS_INITIAL_WINDOW_SIZE of nothing.
                let mut bytes = frame(SETTINGS, 0, 0, &[0, 4, 0, 0, 0, 0]);
                for stream in (1..=255).step_by(2) {
                    let ask = block(&request("GET", "/v1/kv/good/large", authorization));
                    bytes.extend(frame(HEADERS, END_HEADERS | END_STREAM, stream, &ask));
                }
                bytes
            }
            Self::RapidReset | Self::Pings | Self::PingAnswers | Self::Settings | Self::WindowUpdates => Vec::new(),
        };
        [preface(), first].concat()
    }

    fn goes_on(self, round: u32, authorization: &str) -> Vec<u8> {
        const FRAMES: u32 = 200;
        let mut bytes = Vec::new();
        for number in 0..FRAMES {
            let one = match self {
                Self::RapidReset => {
                    let stream = (round * FRAMES + number) * 2 + 1;
                    let ask = block(&request("GET", "/v1/kv/good/large", authorization));
                    [
                        frame(HEADERS, END_HEADERS | END_STREAM, stream, &ask),
                        frame(RST_STREAM, 0, stream, &[0, 0, 0, 8]),
                    ]
                    .concat()
                }
                Self::Continuations => frame(CONTINUATION, 0, 1, &block(&[("x-a", &"y".repeat(1000))])),
                Self::EmptyContinuations => frame(CONTINUATION, 0, 1, &[]),
                Self::EmptyData => frame(DATA, 0, 1, &[]),
                Self::Pings => frame(PING, 0, 0, b"a flood!"),
                Self::PingAnswers => frame(PING, ACK, 0, b"unasked!"),
                Self::Settings => frame(SETTINGS, 0, 0, &[0, 3, 0, 0, 0, 100]),
                Self::WindowUpdates => frame(WINDOW_UPDATE, 0, 0, &[0, 0, 0, 0]),
                Self::ClosedWindows => frame(WINDOW_UPDATE, 0, (number % 128) * 2 + 1, &[0, 0, 0, 1]),
            };
            bytes.extend(one);
        }
        bytes
    }

    /// Whether its connections come to an end while it lasts. Closed windows alone only keep their own answers waiting.
    fn is_cut(self) -> bool {
        self != Self::ClosedWindows
    }

    /// One connection after another, as fast as they are let.
    async fn pour(self, address: String, authorization: String, cut: Arc<AtomicUsize>) {
        loop {
            let Ok(stream) = TcpStream::connect(&address).await else { continue };
            let (mut from, mut to) = stream.into_split();
            let pouring = async {
                to.write_all(&self.begins(&authorization)).await?;
                for round in 0.. {
                    to.write_all(&self.goes_on(round, &authorization)).await?;
                    if self == Self::ClosedWindows {
                        tokio::time::sleep(Duration::from_millis(100)).await;
                    }
                }
                std::io::Result::Ok(())
            };
            let reading = async {
                let mut waste = vec![0; 64 * 1024];
                while from.read(&mut waste).await.is_ok_and(|len| len > 0) {}
            };
            tokio::select! { _ = pouring => {}, () = reading => {} }
            cut.fetch_add(1, Ordering::Relaxed);
        }
    }
}

/// Lines of the log, but for those on requests of callers who are known.
fn lines_that_anybody_causes(bench: &Bench) -> usize {
    bench.node.log().lines().filter(|line| !line.contains("a request was not served")).count()
}

pub async fn c8(bench: &Bench) {
    const SOURCES: usize = 3;
    assert_eq!(call(&bench.client, "PUT", "/v1/kv/good/large", &[], vec![7; MIB as usize]).await.status, 200);
    let authorization = format!("Bearer {}", bench.token);
    bench
        .unharmed("C8", async |bench| {
            for flood in FLOODS {
                let (before, logged) = (bench.resident().await, lines_that_anybody_causes(bench));
                let cut = Arc::new(AtomicUsize::new(0));
                let pour = || tokio::spawn(flood.pour(bench.address.clone(), authorization.clone(), Arc::clone(&cut)));
                let sources: Vec<_> = (0..SOURCES).map(|_| pour()).collect();
                WellBehaved::during(bench, tokio::time::sleep(Duration::from_secs(3)))
                    .await
                    .check(&format!("C8, {flood:?}"));
                let grown = bench.resident().await.saturating_sub(before);
                let cut = cut.load(Ordering::Relaxed);
                eprintln!("C8, {flood:?}: {cut} connections cut, {} MiB more", grown / MIB);
                assert!(cut > 0 || !flood.is_cut(), "{flood:?} is answered for as long as it lasts");
                sources.iter().for_each(tokio::task::JoinHandle::abort);
                let logged = lines_that_anybody_causes(bench) - logged;
                assert!(logged < 100, "{flood:?}: {logged} lines of the log");
                // The room that all answers together may take, and what belongs to them.
                assert!(grown < 192 * MIB, "{flood:?}: {grown}");
            }
        })
        .await;
}

/// One connection, frame by frame.
struct Line(TcpStream);

impl Line {
    async fn open(bench: &Bench) -> Self {
        let mut stream = TcpStream::connect(&bench.address).await.unwrap();
        stream.write_all(&preface()).await.unwrap();
        Self(stream)
    }

    /// The next frame of one of these kinds, with its flags; none where the connection ends before.
    async fn next(&mut self, kinds: &[u8]) -> Option<(u8, u8)> {
        loop {
            let mut head = [0; 9];
            self.0.read_exact(&mut head).await.ok()?;
            let len = u32::from_be_bytes([0, head[0], head[1], head[2]]) as usize;
            self.0.read_exact(&mut vec![0; len]).await.ok()?;
            if kinds.contains(&head[3]) {
                return Some((head[3], head[4]));
            }
        }
    }
}

/// Pings that wait for their answers are answered up to the limit, requests among them too; then the connection ends.
pub async fn c8_pings(bench: &Bench) {
    let mut line = Line::open(bench).await;
    let mut answered = 0;
    let end = loop {
        if line.0.write_all(&frame(PING, 0, 0, b"answer!!")).await.is_err() {
            break None;
        }
        match line.next(&[PING, GOAWAY]).await {
            Some((PING, ACK)) => answered += 1,
            other => break other,
        }
        assert!(answered < 3 * H2_CONTROL_FRAMES_MAX, "it goes on for ever");
        if answered == H2_CONTROL_FRAMES_MAX / 2 {
            let ask = block(&request("GET", "/healthz", "Bearer none"));
            line.0.write_all(&frame(HEADERS, END_HEADERS | END_STREAM, 1, &ask)).await.unwrap();
            assert!(line.next(&[HEADERS]).await.is_some());
        }
    };
    // The preface has two frames of its own: settings, and the answer to the node's, which is not sent here.
    assert!(answered >= H2_CONTROL_FRAMES_MAX - 1, "{answered}");
    assert_eq!(end, Some((GOAWAY, 0)), "said with a reason");
    assert_eq!(line.next(&[PING]).await, None, "and then it is over");
}
