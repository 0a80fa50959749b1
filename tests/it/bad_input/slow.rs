//! C7: clients that begin and do not go on, in every place where one can stop.

use std::time::Duration;
use std::time::Instant;

use tokio::io::AsyncReadExt;
use tokio::io::AsyncWriteExt;
use tokio::net::TcpSocket;
use tokio::net::TcpStream;

use super::Bench;
use super::MIB;
use super::WellBehaved;
use crate::support::call;
use crate::wire::until;

const EACH: usize = 1000;

/// Where a client stops.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stops {
    /// Connects and says nothing.
    Silent,
    InTheHead,
    InTheBody,
    /// After a first request.
    Between,
    /// Asks for a mebibyte and does not read it.
    Reading,
}

impl Stops {
    const ALL: [Self; 5] = [Self::Silent, Self::InTheHead, Self::InTheBody, Self::Between, Self::Reading];

    fn begins(self, token: &str) -> String {
        let authorization = format!("host: localhost\r\nauthorization: Bearer {token}\r\n");
        match self {
            Self::Silent => String::new(),
            Self::InTheHead => "PUT /v1/kv/l/slow HTTP/1.1\r\nho".to_owned(),
            Self::InTheBody => {
                format!("PUT /v1/kv/l/slow HTTP/1.1\r\n{authorization}content-length: 1000000\r\n\r\nbegins")
            }
            Self::Between => "GET /healthz HTTP/1.1\r\nhost: localhost\r\n\r\n".to_owned(),
            Self::Reading => format!("GET /v1/kv/good/large HTTP/1.1\r\n{authorization}\r\n"),
        }
    }
}

/// A client with a small window, so that little fits between it and the node.
async fn connect(bench: &Bench) -> TcpStream {
    let socket = TcpSocket::new_v4().unwrap();
    socket.set_recv_buffer_size(4096).unwrap();
    socket.connect(bench.address.parse().unwrap()).await.unwrap()
}

/// Sockets that the process that serves has open now.
pub async fn connections(bench: &Bench) -> usize {
    let files = std::fs::read_dir(format!("/proc/{}/fd", bench.worker().await)).unwrap();
    let sockets = files.filter_map(|file| std::fs::read_link(file.ok()?.path()).ok());
    sockets.filter(|link| link.to_string_lossy().starts_with("socket:")).count()
}

/// One slow client: begins, then a byte every ten seconds, until it is cut. Returns how long it was let be.
async fn dawdle(mut stream: TcpStream, stops: Stops, begins: String) -> Duration {
    let began = Instant::now();
    stream.write_all(begins.as_bytes()).await.unwrap();
    let trickles = [Stops::InTheHead, Stops::InTheBody].contains(&stops);
    if stops == Stops::Reading {
        // Never reads: only an end that the kernel reports is noticed.
        while stream.ready(tokio::io::Interest::ERROR).await.is_ok_and(|ready| !ready.is_error()) {
            tokio::time::sleep(Duration::from_millis(500)).await;
        }
        return began.elapsed();
    }
    let mut answer = [0; 4096];
    let mut next_byte =
        tokio::time::interval_at(tokio::time::Instant::now() + Duration::from_secs(9), Duration::from_secs(9));
    loop {
        tokio::select! {
            read = stream.read(&mut answer) => {
                if read.is_err() || read.is_ok_and(|len| len == 0) {
                    return began.elapsed();
                }
            }
            _ = next_byte.tick(), if trickles => {
                let _cut = stream.write_all(b"x").await;
            }
        }
    }
}

pub async fn c7(bench: &Bench) {
    ringfort::base::open_files::raise_limit().unwrap();
    assert_eq!(call(&bench.client, "PUT", "/v1/kv/good/large", &[], vec![7; MIB as usize]).await.status, 200);
    bench
        .unharmed("C7", async |bench| {
            let mut slow = Vec::new();
            let began = Instant::now();
            let attack = async {
                for number in 0..EACH * Stops::ALL.len() {
                    let stops = Stops::ALL[number % Stops::ALL.len()];
                    let stream = connect(bench).await;
                    slow.push((stops, tokio::spawn(dawdle(stream, stops, stops.begins(&bench.token)))));
                }
                eprintln!("C7: {} slow clients after {:.1} s", slow.len(), began.elapsed().as_secs_f32());
                until("they are there", async || connections(bench).await > EACH * 4).await;
                tokio::time::sleep(Duration::from_secs(25)).await;
            };
            WellBehaved::during(bench, attack).await.check("C7, 5,000 slow clients");
            eprintln!("C7: resident {} MiB at the end", bench.resident().await / MIB);
            // Silent, in the head and in the body: cut after ten seconds, whatever trickles.
            for (stops, client) in slow {
                if [Stops::Silent, Stops::InTheHead, Stops::InTheBody].contains(&stops) {
                    assert!(client.is_finished(), "a client that stops {stops:?} is still there");
                    let lasted = client.await.unwrap();
                    assert!(lasted < Duration::from_secs(25), "{stops:?} for {lasted:?}");
                } else {
                    client.abort();
                }
            }
        })
        .await;
}

/// More readers of exports than a runtime has threads, none of which reads.
pub async fn c7_exports(bench: &Bench) {
    const READERS: usize = 600;
    ringfort::base::open_files::raise_limit().unwrap();
    for number in 0..8 {
        let path = format!("/v1/kv/good/export{number}");
        assert_eq!(call(&bench.client, "PUT", &path, &[], vec![number; MIB as usize]).await.status, 200);
    }
    bench
        .unharmed("C7, exports", async |bench| {
            let ask = format!(
                "GET /v1/buckets/good/export HTTP/1.1\r\nhost: localhost\r\nauthorization: Bearer {}\r\n\r\n",
                bench.token
            );
            let mut readers = Vec::new();
            for _ in 0..READERS {
                let mut reader = connect(bench).await;
                reader.write_all(ask.as_bytes()).await.unwrap();
                readers.push(reader);
            }
            // All of them have begun to be answered, or were refused.
            for reader in &readers {
                reader.readable().await.unwrap();
            }
            let listed = call(&bench.client, "GET", "/v1/kv/l", &[], "");
            let listed = tokio::time::timeout(Duration::from_secs(5), listed).await.expect("a list is answered");
            assert_eq!(listed.status, 200);
            let refused = call(&bench.client, "GET", "/v1/buckets/l/export", &[], "").await;
            assert_eq!(refused.problem(), (503, "busy".to_owned()));
            drop(readers);
            until("exports are possible again", async || {
                call(&bench.client, "GET", "/v1/buckets/l/export", &[], "").await.status == 200
            })
            .await;
        })
        .await;
}
