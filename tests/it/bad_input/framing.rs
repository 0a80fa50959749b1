//! C5 on HTTP/1: where one request ends and the next begins is never open to interpretation.

use ringfort::base::limits::ANSWER_PIECE_BYTES;
use serde_json::Value;

use super::Answered;
use super::Bench;
use crate::support::call;

/// Fields and body of a write that must not happen, and the statuses that would be proper.
fn broken() -> Vec<(&'static str, Vec<u8>, &'static [u16])> {
    let case = |what, text: &str, statuses| (what, text.as_bytes().to_vec(), statuses);
    let mut cases = vec![
        case("CL, then TE", "content-length: 5\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n", &[400][..]),
        case("TE, then CL", "transfer-encoding: chunked\r\ncontent-length: 5\r\n\r\n0\r\n\r\n", &[400]),
        case("CL twice, equal", "content-length: 5\r\ncontent-length: 5\r\n\r\nhello", &[400]),
        case("CL twice, different", "content-length: 5\r\ncontent-length: 6\r\n\r\nhello!", &[400]),
        case("CL as a list", "content-length: 5, 5\r\n\r\nhello", &[400]),
        case("CL with a sign", "content-length: +5\r\n\r\nhello", &[400]),
        case("CL below zero", "content-length: -5\r\n\r\nhello", &[400]),
        case("CL in hexadecimal", "content-length: 0x5\r\n\r\nhello", &[400]),
        case("CL without a number", "content-length:\r\n\r\n", &[400]),
        case("CL of 2^64", "content-length: 18446744073709551616\r\n\r\nhello", &[400]),
        case("CL of 2^63", "content-length: 9223372036854775808\r\n\r\nhello", &[400, 413]),
        case("CL says more than comes", "content-length: 10\r\n\r\nhello", &[400]),
        case("TE that is not chunked", "transfer-encoding: identity\r\n\r\nhello", &[400]),
        case("TE with another coding", "transfer-encoding: gzip, chunked\r\n\r\n0\r\n\r\n", &[400]),
        case("TE twice", "transfer-encoding: chunked\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n", &[400]),
        case("TE under HTTP/1.0's name", "transfer-encoding : chunked\r\n\r\n0\r\n\r\n", &[400]),
        case("a folded field", "x-a: b\r\n c\r\ncontent-length: 0\r\n\r\n", &[400]),
        case("a bare line feed", "x-a: b\ncontent-length: 0\r\n\r\n", &[400]),
        case("a bare carriage return", "x-a: b\rc\r\ncontent-length: 0\r\n\r\n", &[400]),
        case("a NUL in a field", "x-a: b\0c\r\ncontent-length: 0\r\n\r\n", &[400]),
        case("a NUL in a name", "x\0a: b\r\ncontent-length: 0\r\n\r\n", &[400]),
        case("a field without a name", ": b\r\ncontent-length: 0\r\n\r\n", &[400]),
        case("a chunk ended by a bare line feed", "transfer-encoding: chunked\r\n\r\n5\nhello\r\n0\r\n\r\n", &[400]),
        case("a chunk longer than it says", "transfer-encoding: chunked\r\n\r\n5\r\nhello!\r\n0\r\n\r\n", &[400]),
        case("a chunk of 2^64", "transfer-encoding: chunked\r\n\r\n10000000000000000\r\nhello", &[400]),
        case("a chunk below zero", "transfer-encoding: chunked\r\n\r\n-5\r\nhello\r\n0\r\n\r\n", &[400]),
        case("a chunk without a size", "transfer-encoding: chunked\r\n\r\n;a=b\r\nhello\r\n0\r\n\r\n", &[400]),
        case("no last chunk", "transfer-encoding: chunked\r\n\r\n5\r\nhello\r\n", &[400]),
    ];
    let tiny: String = (0..101).map(|n| format!("x-{n}: y\r\n")).collect();
    cases.push(("101 fields", format!("{tiny}\r\n").into_bytes(), &[431]));
    let many: String = (0..3000).map(|n| format!("a{n}:\r\n")).collect();
    cases.push(("many tiny fields", format!("{many}\r\n").into_bytes(), &[431]));
    cases.push(("a field of 17 KiB", format!("x: {}\r\n\r\n", "y".repeat(17 * 1024)).into_bytes(), &[431]));
    cases.push(("a head without end", "x: y\r\n".repeat(1_000_000).into_bytes(), &[431]));
    let extension = format!("transfer-encoding: chunked\r\n\r\n5;a={}\r\nhello\r\n0\r\n\r\n", "b".repeat(1_000_000));
    cases.push(("a chunk extension of a megabyte", extension.into_bytes(), &[400]));
    let extensions = "1;aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa\r\nx\r\n".repeat(10_000);
    let extensions = format!("transfer-encoding: chunked\r\n\r\n{extensions}0\r\n\r\n");
    cases.push(("ten thousand chunk extensions", extensions.into_bytes(), &[400]));
    let trailers = format!("transfer-encoding: chunked\r\n\r\n1\r\nx\r\n0\r\n{}\r\n", "x: y\r\n".repeat(100_000));
    cases.push(("a hundred thousand trailers", trailers.into_bytes(), &[400]));
    cases
}

const NOT_HTTP: [&str; 9] = [
    "\0\0\0\0\r\n\r\n",
    "GET\r\n\r\n",
    "GET /healthz\r\n\r\n",
    "GET /healthz HTTP/9.9\r\nhost: localhost\r\n\r\n",
    "GET /health z HTTP/1.1\r\nhost: localhost\r\n\r\n",
    "GE\x01T /healthz HTTP/1.1\r\nhost: localhost\r\n\r\n",
    "\x16\x03\x01\x02\x00\x01\x00\x01\u{fc}\x03\x03\r\n\r\n",
    "{\"jsonrpc\":\"2.0\"}\r\n\r\n",
    "GET http://[::1/healthz HTTP/1.1\r\nhost: localhost\r\n\r\n",
];

/// The last answer is a whole problem document that says what happened.
fn explained(what: &str, answered: &Answered) {
    let last = answered.text.rfind("HTTP/1.1 ").map(|at| &answered.text[at..]).unwrap();
    let (head, body) = last.split_once("\r\n\r\n").unwrap();
    let head = head.to_lowercase();
    let field = |name: &str| {
        let mut values = head.lines().filter_map(|line| line.strip_prefix(name)?.strip_prefix(": "));
        let value = values.next().unwrap_or_else(|| panic!("{what}: no {name}: {last}"));
        assert_eq!(values.next(), None, "{what}: {name} twice: {last}");
        value.to_owned()
    };
    assert_eq!(field("content-type"), "application/problem+json", "{what}");
    assert_eq!(field("content-length"), body.len().to_string(), "{what}");
    assert_eq!(
        (field("cache-control"), field("x-content-type-options")),
        ("no-store".into(), "nosniff".into()),
        "{what}"
    );
    let document: Value = serde_json::from_str(body).unwrap_or_else(|error| panic!("{what}: {error}: {last}"));
    for member in ["type", "title", "code", "request_id"] {
        assert!(document[member].as_str().is_some_and(|text| !text.is_empty()), "{what}: no {member}: {document}");
    }
    assert!(document["detail"].as_str().unwrap().contains("nothing was changed"), "{what}: {document}");
    assert_eq!(document["status"].to_string(), head[9..12], "{what}");
    if ["bad_framing", "bad_head", "head_too_large"].contains(&document["code"].as_str().unwrap()) {
        assert_eq!(field("connection"), "close", "{what}");
    }
}

pub async fn c5(bench: &Bench) {
    bench
        .unharmed("C5", async |bench| {
            let head =
                format!("PUT /v1/kv/l/k HTTP/1.1\r\nhost: localhost\r\nauthorization: Bearer {}\r\n", bench.token);
            // Read by whoever disagrees about where the first request ends.
            let hidden = format!(
                "DELETE /v1/kv/l/k HTTP/1.1\r\nhost: localhost\r\nauthorization: Bearer {}\r\n\r\n",
                bench.token
            );
            for (what, rest, proper) in broken() {
                let answered = bench.raw(&[head.as_bytes(), &rest].concat()).await;
                assert!(answered.closed, "{what}");
                assert!(answered.statuses().iter().all(|status| proper.contains(status)), "{what}: {answered:?}");
                assert_eq!(answered.statuses().len(), 1, "{what}: {answered:?}");
                explained(what, &answered);
                if rest.ends_with(b"\r\n\r\n") {
                    let answered = bench.raw(&[head.as_bytes(), &rest, hidden.as_bytes()].concat()).await;
                    assert_eq!(answered.statuses().len(), 1, "{what}, and a request behind it: {answered:?}");
                }
            }
            for text in NOT_HTTP {
                let answered = bench.raw(text.as_bytes()).await;
                assert!(answered.closed, "{text:?}");
                assert_eq!(answered.statuses(), [400], "{text:?}: {answered:?}");
                explained(text, &answered);
            }
            // What is longer than it says is another request, and not one.
            let longer = "GET /healthz HTTP/1.1\r\nhost: localhost\r\ncontent-length: 5\r\n\r\nhello, world\r\n\r\n";
            let answered = bench.raw(longer.as_bytes()).await;
            assert_eq!(answered.statuses(), [200, 400]);
            explained("longer", &answered);
        })
        .await;
    // And what is strict and unusual is served.
    let unusual = format!(
        "\r\nPUT /v1/kv/good/k HTTP/1.1\r\nHOST: localhost\r\nAuthorization: bearer {}\r\nTransfer-Encoding: Chunked\r\n\r\n\
         3;x=\"y\"\r\nabc\r\n0\r\nt: u\r\n\r\nGET /healthz HTTP/1.1\r\nhost: localhost\r\n\r\n",
        bench.token
    );
    assert_eq!(bench.raw(unusual.as_bytes()).await.statuses(), [200, 200]);
    // A value whose pieces look like a refusal that would be explained, each where an answer could begin, is a value.
    let refusal = "HTTP/1.1 400 Bad Request\r\nconnection: close\r\ncontent-length: 0\r\n\r\n";
    let value = refusal.repeat(ANSWER_PIECE_BYTES / refusal.len() + 1).as_bytes()[..ANSWER_PIECE_BYTES].to_vec();
    let value = [value.repeat(7), refusal.into()].concat();
    assert_eq!(call(&bench.client, "PUT", "/v1/kv/good/refusals", &[], value.clone()).await.status, 200);
    assert!(call(&bench.client, "GET", "/v1/kv/good/refusals", &[], "").await.body == value);
}
