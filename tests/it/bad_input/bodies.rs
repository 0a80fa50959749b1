//! C6: bodies that are too large are refused before they are read, or at the limit where they did not say.

use tokio::io::AsyncReadExt;
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;

use super::Bench;
use super::MIB;
use crate::support::call;

/// Routes with a body, and how much each takes.
const ROUTES: [(&str, &str, u64); 5] = [
    ("PUT", "/v1/kv/l/k", MIB),
    ("POST", "/v1/batch", 8 * MIB),
    ("PUT", "/v1/buckets/l", 64 * 1024),
    ("POST", "/v1/tokens", 64 * 1024),
    ("PUT", "/v1/users/alice", 64 * 1024),
];

pub async fn c6(bench: &Bench) {
    bench
        .unharmed("C6", async |bench| {
            let before = bench.resident().await;
            for (method, path, max) in ROUTES {
                let head =
                    format!("{method} {path} HTTP/1.1\r\nhost: localhost\r\nauthorization: Bearer {}\r\n", bench.token);
                for length in [max + 1, 2 << 30, u64::MAX / 2] {
                    announced(bench, &format!("{head}content-length: {length}\r\n\r\n")).await;
                }
                endless(bench, &format!("{head}transfer-encoding: chunked\r\n\r\n"), max).await;
            }
            let grown = bench.resident().await.saturating_sub(before);
            eprintln!("C6: resident memory grew by {} MiB", grown / MIB);
            assert!(grown < 64 * MIB, "{grown}");
        })
        .await;
}

/// The smallest operations, as many as a body can hold: each would take ten times its bytes.
pub async fn c6_batch(bench: &Bench) {
    const SMALLEST: &str = r#"{"op":"get","bucket":""},"#;
    bench
        .unharmed("C6, a batch", async |bench| {
            let count = 8 * MIB as usize / SMALLEST.len() - 1;
            let body = format!(r#"{{"ops":[{}{}]}}"#, SMALLEST.repeat(count - 1), SMALLEST.trim_end_matches(','));
            let before = bench.peak().await;
            let reply = call(&bench.client, "POST", "/v1/batch", &[], body).await;
            let grown = bench.peak().await.saturating_sub(before);
            eprintln!("C6, a batch: {} MiB more at most", grown / MIB);
            assert_eq!(reply.problem(), (422, "too_many_operations".to_owned()));
            let detail = format!("{count} operations; 1000 are possible; nothing was changed");
            assert_eq!(reply.json()["detail"], detail);
            // The body itself, and pieces of it on the way.
            assert!(grown < 32 * MIB, "{grown}");
        })
        .await;
}

/// The answer comes without a byte of the body.
async fn announced(bench: &Bench, head: &str) {
    let mut stream = TcpStream::connect(&bench.address).await.unwrap();
    stream.write_all(head.as_bytes()).await.unwrap();
    let mut answer = vec![0; 4096];
    let len = stream.read(&mut answer).await.unwrap();
    let answer = String::from_utf8_lossy(&answer[..len]);
    assert!(answer.starts_with("HTTP/1.1 413 "), "{head}: {answer}");
    assert!(answer.contains("\"code\":\"too_large\"") && answer.contains("nothing was changed"), "{answer}");
}

/// Sends chunks until the node has had enough, and counts them.
async fn endless(bench: &Bench, head: &str, max: u64) {
    let stream = TcpStream::connect(&bench.address).await.unwrap();
    let (mut from, mut to) = stream.into_split();
    to.write_all(head.as_bytes()).await.unwrap();
    let chunk = [b"4000\r\n".as_slice(), &[b'x'; 0x4000], b"\r\n"].concat();
    let sending = async {
        let mut sent = 0_u64;
        while to.write_all(&chunk).await.is_ok() {
            sent += 0x4000;
            // Well beyond what the kernel holds for both sides.
            assert!(sent < max + 64 * MIB, "{head}: {sent} bytes were taken");
        }
        sent
    };
    let reading = async {
        let mut answer = Vec::new();
        let _reset = from.read_to_end(&mut answer).await;
        String::from_utf8_lossy(&answer).into_owned()
    };
    let answer = tokio::select! { answer = reading => answer, _ = async { sending.await; std::future::pending::<()>().await } => String::new() };
    assert!(answer.starts_with("HTTP/1.1 413 "), "{head}: {answer}");
    assert!(answer.contains("\"code\":\"too_large\""), "{answer}");
}
