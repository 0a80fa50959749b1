//! C9 to C16: request documents, parameters, keys, contexts, idempotency keys, places in lists, dates.

use ringfort::base::codec;
use serde_json::Value;
use serde_json::json;

use super::Bench;
use crate::support::Reply;
use crate::support::call;

/// Routes that take a document of our own, each with one that would do.
const DOCUMENTS: [(&str, &str, &str); 4] = [
    ("PUT", "/v1/buckets/l", r#"{"kind":"lww"}"#),
    ("POST", "/v1/tokens", r#"{"name":"t","scopes":["data"]}"#),
    ("PUT", "/v1/users/alice", r#"{"password":"correct horse battery","scopes":["data"]}"#),
    ("POST", "/v1/batch", r#"{"ops":[{"op":"put","bucket":"l","key":"k","value":1}]}"#),
];

async fn send(bench: &Bench, method: &str, path: &str, body: impl Into<Vec<u8>>) -> Reply {
    call(&bench.client, method, path, &[], body.into()).await
}

/// A refusal with one of these statuses that says that nothing was changed, where something could have been.
fn refused(reply: &Reply, statuses: &[u16], what: &str) -> Value {
    let (status, _) = reply.problem();
    assert!(statuses.contains(&status), "{what}: {}", reply.text());
    let document = reply.json();
    assert!(document["detail"].as_str().is_some_and(|text| text.contains("nothing was changed")), "{what}: {document}");
    document
}

pub async fn c9(bench: &Bench) {
    bench
        .unharmed("C9", async |bench| {
            let deep = |open: &str, close: &str| format!("{}{}", open.repeat(100_000), close.repeat(100_000));
            let broken = [
                deep("[", "]").into_bytes(),
                deep(r#"{"a":"#, "}").into_bytes(),
                "[".repeat(60_000).into_bytes(),
                b"\xef\xbb\xbf{}".to_vec(),
                b"{\"kind\":\"l\xffw\"}".to_vec(),
                br#"{"kind":"\ud800"}"#.to_vec(),
                br#"{"kind":"\u00zz"}"#.to_vec(),
                b"{\"kind\":\"a\nb\"}".to_vec(),
                b"{'kind':1}".to_vec(),
                b"{\"n\":1,}".to_vec(),
                b"{\"n\":01}".to_vec(),
                b"{\"n\":NaN}".to_vec(),
                b"{} {}".to_vec(),
                b"{".to_vec(),
                b"\0".to_vec(),
            ];
            for (method, path, _) in DOCUMENTS {
                for body in &broken {
                    let what = format!("{method} {path} {}", &String::from_utf8_lossy(body)[..body.len().min(40)]);
                    let reply = send(bench, method, path, body.clone()).await;
                    let document = refused(&reply, &[400, 413, 422], &what);
                    if reply.status == 400 {
                        let detail = document["detail"].as_str().unwrap();
                        assert!(detail.contains("line ") || detail.contains("byte "), "{what}: {detail}");
                    }
                }
            }
            // The same field twice, numbers beyond all range, NULs in names.
            for (method, path, body) in [
                ("PUT", "/v1/buckets/l", r#"{"n":1,"n":2}"#),
                ("PUT", "/v1/buckets/l", r#"{"n":1e999}"#),
                ("PUT", "/v1/buckets/l", r#"{"kind":"lww\u0000"}"#),
                ("POST", "/v1/tokens", r#"{"name":"a\u0000b","scopes":["data"]}"#),
                ("POST", "/v1/tokens", r#"{"name":"a","name":"b","scopes":["data"]}"#),
                ("PUT", "/v1/users/alice", r#"{"password":"correct\u0000horse battery","scopes":["data"]}"#),
                ("POST", "/v1/batch", r#"{"ops":[],"ops":[]}"#),
            ] {
                let document = refused(&send(bench, method, path, body).await, &[400], body);
                assert!(document["detail"].as_str().unwrap().contains("line "), "{body}: {document}");
            }
        })
        .await;
    // A value is data: its NULs and its depth are its own.
    let value = format!("{}\"\\u0000\"{}", "[".repeat(500), "]".repeat(500));
    let typed = [("content-type", "application/json")];
    assert_eq!(call(&bench.client, "PUT", "/v1/kv/good/deep", &typed, value.clone()).await.status, 200);
    assert_eq!(call(&bench.client, "GET", "/v1/kv/good/deep", &[], "").await.text(), value);
    let batch = r#"{"ops":[{"op":"put","bucket":"good","key":"nul","value":"a\u0000b"}]}"#;
    assert_eq!(send(bench, "POST", "/v1/batch", batch).await.json()["results"][0]["status"], 200);
    assert_eq!(call(&bench.client, "GET", "/v1/kv/good/nul", &[], "").await.text(), r#""a\u0000b""#);
}

/// Method, path, document, and what the answer has to name.
type Wrong = (&'static str, &'static str, Value, &'static str);

/// Every field of every document, with what it cannot be.
fn fields() -> Vec<Wrong> {
    [bucket_fields(), token_fields(), user_fields(), missing_fields(), batch_fields()].concat()
}

fn bucket_fields() -> Vec<Wrong> {
    let bucket = [
        ("kind", json!("both")),
        ("kind", json!("counter")),
        ("kind", json!(1)),
        ("kind", json!("LWW")),
        ("n", json!(0)),
        ("n", json!(10)),
        ("n", json!(-1)),
        ("n", json!(256)),
        ("n", json!(1.5)),
        ("n", json!("3")),
        ("r", json!(0)),
        ("r", json!(4)),
        ("r", json!([1])),
        ("w", json!(0)),
        ("w", json!(4)),
        ("w", json!(true)),
        ("w", json!(u64::MAX)),
        ("ttl", json!("0s")),
        ("ttl", json!("-1h")),
        ("ttl", json!("3661d")),
        ("ttl", json!("11y")),
        ("ttl", json!("87840h1m")),
        ("ttl", json!(3600)),
        ("ttl", json!("")),
        ("ttl", json!("99999999999999999999d")),
        ("class", json!("gold")),
        ("class", json!(0)),
        ("size", json!(1)),
        ("N", json!(3)),
        ("", json!(1)),
    ];
    bucket.into_iter().map(|(field, value)| ("PUT", "/v1/buckets/l", json!({ field: value }), field)).collect()
}

fn token_fields() -> Vec<Wrong> {
    let mut cases = Vec::new();
    let token = [
        ("name", json!("")),
        ("name", json!(7)),
        ("name", json!("x".repeat(65))),
        ("name", Value::Null),
        ("scopes", json!([])),
        ("scopes", json!(["all"])),
        ("scopes", json!("data")),
        ("scopes", json!([1])),
        ("ttl", json!("0s")),
        ("ttl", json!("-1s")),
        ("ttl", json!("4000d")),
        ("ttl", json!(60)),
        ("expires", json!("2030")),
    ];
    for (field, value) in token {
        let mut document = json!({ "name": "t", "scopes": ["data"] });
        document[field] = value;
        cases.push(("POST", "/v1/tokens", document, field));
    }
    cases
}

fn user_fields() -> Vec<Wrong> {
    let mut cases = Vec::new();
    let user = [
        ("password", json!("short")),
        ("password", json!("x".repeat(257))),
        ("password", json!(12_345_678)),
        ("scopes", json!([])),
        ("scopes", json!(["root"])),
        ("scopes", Value::Null),
        ("name", json!("alice")),
    ];
    for (field, value) in user {
        let mut document = json!({ "password": "correct horse battery", "scopes": ["data"] });
        document[field] = value;
        cases.push(("PUT", "/v1/users/alice", document, field));
    }
    cases
}

fn missing_fields() -> Vec<Wrong> {
    let mut cases = Vec::new();
    for missing in [json!({ "name": "t" }), json!({ "scopes": ["data"] }), json!({})] {
        let field = if missing.get("name").is_some() { "scopes" } else { "name" };
        cases.push(("POST", "/v1/tokens", missing, field));
    }
    cases.push(("PUT", "/v1/users/alice", json!({}), "scopes"));
    cases
}

fn batch_fields() -> Vec<Wrong> {
    let wrong = [
        (json!({}), "ops"),
        (json!({ "ops": 1 }), "sequence"),
        (json!({ "ops": [{ "op": "put" }] }), "bucket"),
        (json!({ "ops": [{ "op": "drop", "bucket": "l", "key": "k" }] }), "drop"),
        (json!({ "ops": [{ "op": "get", "bucket": "l", "key": "k", "w": 1 }] }), "`w`"),
        (json!({ "ops": [], "atomic": true }), "atomic"),
        (json!({ "ops": vec![json!({ "op": "get", "bucket": "l", "key": "k" }); 1001] }), "1000"),
    ];
    wrong.into_iter().map(|(document, field)| ("POST", "/v1/batch", document, field)).collect()
}

/// Every query parameter there is, with what it cannot be.
const PARAMETERS: [(&str, &str, &[&str]); 13] = [
    ("PUT", "/v1/kv/l/k?ttl=", &["0s", "-1s", "5", "1y", "3661d", "99999999999999999999d", "", "1h1m", "%FF"]),
    ("PUT", "/v1/kv/l/k?w=", &["0", "1", "9", "-1", "256", "x", "", "9223372036854775808"]),
    ("DELETE", "/v1/kv/l/k?w=", &["0", "1", "9", "-1", "x"]),
    ("DELETE", "/v1/kv/l/k?force=", &["true"]),
    ("GET", "/v1/kv/l/k?r=", &["0", "1", "9", "-1", "256", "1.0", "%00"]),
    ("GET", "/v1/kv/l/k?consistency=", &["some", "LOCAL", "", "%ff"]),
    ("GET", "/v1/kv/l/k?sibling=", &["-1", "x", "", "18446744073709551616"]),
    ("GET", "/v1/kv/l?limit=", &["0", "1001", "-1", "x", "", "9223372036854775808", "1e3"]),
    ("GET", "/v1/kv/l?after_b64=", &["!", "YQ", "Y%20Q==", "YQ==&after=a"]),
    ("GET", "/v1/kv/l?prefix=", &["%", "%2", "%zz"]),
    ("POST", "/v1/buckets/l/import?format=", &["xml", "", "CSV", "csv&existing=drop", "csv&format=csv"]),
    ("GET", "/v1/buckets/l/export?format=", &["xml", "csv", "", "%"]),
    ("GET", "/v1/buckets/l/export?after=", &["k"]),
];

pub async fn c10(bench: &Bench) {
    bench
        .unharmed("C10", async |bench| {
            for (method, path, document, names) in fields() {
                let what = format!("{method} {path} {document}");
                let told = refused(&send(bench, method, path, document.to_string()).await, &[422], &what);
                assert!(told["detail"].as_str().unwrap().contains(names), "{what}: {told} does not name {names}");
            }
            for (method, path, values) in PARAMETERS {
                for value in values {
                    let reply = send(bench, method, &format!("{path}{value}"), "x").await;
                    let name = path.split(['?', '=']).nth(1).unwrap();
                    let status = reply.problem().0;
                    // A quorum that one node cannot give is no mistake of the request.
                    let proper = [400, 422].contains(&status) || (status == 503 && reply.problem().1 == "no_quorum");
                    assert!(proper, "{method} {path}{value}: {}", reply.text());
                    assert!(!reply.text().is_empty() && (status == 503 || !name.is_empty()));
                }
            }
            for name in ["A", "-a", "a/b", "%2e%2e", "a%00", "%ff", &"a".repeat(64), "%C3%A4", ".hidden", "a%20b"] {
                for method in ["PUT", "DELETE"] {
                    let reply = send(bench, method, &format!("/v1/buckets/{name}"), "{}").await;
                    assert!([400, 404, 405, 422].contains(&reply.problem().0), "{method} {name}: {}", reply.text());
                }
            }
            for name in ["a%00b", "%1b%5d0;x", &"a".repeat(65), "%22%3E%3Cimg%3E", "a%0ab", "%E2%80%AEx"] {
                let document = r#"{"password":"correct horse battery","scopes":["data"]}"#;
                let reply = send(bench, "PUT", &format!("/v1/users/{name}"), document).await;
                assert!([400, 422].contains(&reply.problem().0), "{name}: {}", reply.text());
                let name = String::from_utf8(percent(name)).unwrap();
                let reply =
                    send(bench, "POST", "/v1/tokens", json!({ "name": name, "scopes": ["data"] }).to_string()).await;
                assert!([400, 422].contains(&reply.problem().0), "{name:?}: {}", reply.text());
            }
        })
        .await;
}

fn percent(text: &str) -> Vec<u8> {
    ringfort::front::path::decode(text).unwrap()
}

pub async fn c11(bench: &Bench) {
    bench
        .unharmed("C11", async |bench| {
            for method in ["GET", "PUT", "DELETE"] {
                for (key, status) in [
                    ("", 400),
                    ("%", 400),
                    ("%2", 400),
                    ("%zz", 400),
                    ("a%", 400),
                    (&"k".repeat(1025), 414),
                    (&"%00".repeat(1025), 414),
                ] {
                    let reply = send(bench, method, &format!("/v1/kv/l/{key}"), "x").await;
                    assert_eq!(reply.problem().0, status, "{method} {}", &key[..key.len().min(9)]);
                }
                let long = format!("{method} /v1/kv/l/{} HTTP/1.1\r\nhost: localhost\r\n\r\n", "k".repeat(64 * 1024));
                assert_eq!(bench.raw(long.as_bytes()).await.statuses(), [431]);
            }
        })
        .await;
    let keys = [
        "../../etc/passwd",
        "%2e%2e%2f%2e%2e%2fetc%2fpasswd",
        "a%00b",
        "..%5c..%5cx",
        "%E2%80%AE%D7%90",
        "%C0%AE%C0%AE",
        "%ED%A0%80",
        "%252e",
        "con",
        "a//b",
        "./a",
        "a;b",
        "%0d%0aSet-Cookie:%20a",
        "%1b[2J",
    ];
    for (at, key) in keys.iter().enumerate() {
        let path = format!("/v1/kv/good/{key}");
        assert_eq!(send(bench, "PUT", &path, at.to_string()).await.status, 200, "{key}");
    }
    for (at, key) in keys.iter().enumerate() {
        // The last of those that are the same bytes.
        let same = keys.iter().rposition(|other| percent(other) == percent(key)).unwrap();
        let read = call(&bench.client, "GET", &format!("/v1/kv/good/{key}"), &[], "").await;
        assert_eq!((read.status, read.text()), (200, same.to_string().as_str()), "{at} {key}");
        let listed = call(&bench.client, "GET", &format!("/v1/kv/good?prefix={key}"), &[], "").await.json();
        let first = &listed["keys"][0];
        let bytes = first["key"].as_str().map_or_else(
            || codec::from_base64(first["key_b64"].as_str().unwrap()).unwrap(),
            |text| text.as_bytes().to_vec(),
        );
        assert_eq!(bytes, percent(key), "{key} is listed as it is");
    }
}

pub async fn c12(bench: &Bench) {
    bench
        .unharmed("C12", async |bench| {
            let long = "x/".repeat(200);
            for content_type in [long.as_str(), "text/html\r\nx: y", "a\0b", "a\u{7f}b", "\u{202e}"] {
                let op = json!({ "op": "put", "bucket": "l", "key": "k", "value_b64": "eA==", "content_type": content_type });
                let batch = send(bench, "POST", "/v1/batch", json!({ "ops": [op] }).to_string()).await.json();
                assert_eq!(batch["results"][0]["code"], "bad_content_type", "{content_type:?}: {batch}");
                let line = json!({ "key": "k", "value_b64": "eA==", "content_type": content_type }).to_string();
                let report = send(bench, "POST", "/v1/buckets/l/import?format=ndjson", line).await.json();
                assert_eq!((&report["stored"], &report["rejected"]), (&json!(0), &json!(1)), "{content_type:?}: {report}");
            }
            let reply = call(&bench.client, "PUT", "/v1/kv/l/k", &[("content-type", &long)], "x").await;
            assert_eq!(reply.problem(), (400, "bad_content_type".to_owned()));
        })
        .await;
}

pub async fn c13(bench: &Bench) {
    bench
        .unharmed("C13", async |bench| {
            let blind = send(bench, "DELETE", "/v1/kv/s/k", "").await;
            assert_eq!(refused(&blind, &[428], "no context")["code"], "context_needed");
            for forged in ["", "AAAA", "x y", &"A".repeat(8000)] {
                let reply = call(&bench.client, "DELETE", "/v1/kv/s/k", &[("ringfort-context", forged)], "").await;
                refused(&reply, &[400], forged);
            }
            let read = call(&bench.client, "GET", "/v1/kv/s/k", &[], "").await;
            let other = [("ringfort-context", read.context())];
            refused(&call(&bench.client, "DELETE", "/v1/kv/s/two", &other, "").await, &[400], "of another key");
            for method in ["PUT", "DELETE"] {
                let stale = [("ringfort-context", read.context()), ("if-match", "\"stale\"")];
                refused(&call(&bench.client, method, "/v1/kv/s/k", &stale, "x").await, &[412], method);
                let lww = [("if-match", "\"x\"")];
                refused(&call(&bench.client, method, "/v1/kv/l/k", &lww, "x").await, &[422], method);
            }
            refused(
                &call(&bench.client, "PUT", "/v1/kv/s/k", &[("if-none-match", "*")], "x").await,
                &[412],
                "not absent",
            );
        })
        .await;
}

pub async fn c14(bench: &Bench) {
    let path = "/v1/kv/good/once";
    let named = [("idempotency-key", "order-66")];
    let first = call(&bench.client, "PUT", path, &named, "a").await;
    assert_eq!(first.status, 200);
    let typed = [named[0], ("content-type", "text/plain")];
    for (method, headers, body) in [("PUT", &named[..], "b"), ("PUT", &typed, "a"), ("DELETE", &named, "")] {
        let reply = call(&bench.client, method, path, headers, body).await;
        assert_eq!(refused(&reply, &[409], method)["code"], "idempotency_key_reused");
    }
    let again = call(&bench.client, "PUT", path, &named, "a").await;
    assert_eq!((again.status, again.json()), (200, first.json()));
    assert_eq!(call(&bench.client, "GET", path, &[], "").await.text(), "a");
    bench
        .unharmed("C14", async |bench| {
            for bad in ["", &"k".repeat(129)] {
                let reply = call(&bench.client, "PUT", "/v1/kv/l/k", &[("idempotency-key", bad)], "x").await;
                assert_eq!(reply.problem(), (400, "bad_idempotency_key".to_owned()));
            }
        })
        .await;
}

pub async fn c15(bench: &Bench) {
    bench
        .unharmed("C15", async |bench| {
            for query in [
                "limit=9223372036854775808",
                "limit=18446744073709551615",
                "limit=99999999999999999999",
                "limit=0",
                "limit=-1",
                "after_b64=%00",
                "after_b64=AAA",
                "after=%zz",
                "after=a&after=b",
                "cursor=abc",
            ] {
                let reply = send(bench, "GET", &format!("/v1/kv/l?{query}"), "").await;
                assert_eq!(reply.problem().0, 400, "{query}: {}", reply.text());
            }
            // A place is a key and may come from anywhere; it never shows another bucket's.
            for after in ["", "a", "%FF", "%00", "s", "../s/k", &"z".repeat(5000)] {
                let page = send(bench, "GET", &format!("/v1/kv/l?after={after}&limit=10"), "").await;
                assert_eq!(page.status, 200, "{after}: {}", page.text());
                let page = page.json();
                assert!(page["keys"].as_array().unwrap().iter().all(|row| row["key"] == "k"), "{after}: {page}");
            }
        })
        .await;
}

pub async fn c16(bench: &Bench) {
    bench
        .unharmed("C16", async |bench| {
            for field in ["at", "stamp", "timestamp", "ttl", "context"] {
                let line = json!({ "key": "k", "value": 1, field: "2036-11-20T00:00:00Z" }).to_string();
                let report = send(bench, "POST", "/v1/buckets/l/import?format=ndjson", line).await.json();
                assert_eq!((&report["stored"], &report["rejected"]), (&json!(0), &json!(1)), "{report}");
                let error = &report["errors"][0];
                assert!(error["line"] == 1 && error["reason"].as_str().unwrap().contains(field), "{report}");
            }
            let op = json!({ "op": "put", "bucket": "l", "key": "k", "value": 1, "at": "2036-11-20T00:00:00Z" });
            let reply = send(bench, "POST", "/v1/batch", json!({ "ops": [op] }).to_string()).await;
            refused(&reply, &[422], "a batch");
        })
        .await;
    // A header that would date a write means nothing here: the node's own clock does.
    let dated = [("date", "Thu, 20 Nov 2036 00:00:00 GMT"), ("last-modified", "Thu, 20 Nov 2036 00:00:00 GMT")];
    let receipt = call(&bench.client, "PUT", "/v1/kv/good/dated", &dated, "x").await.json();
    assert!(receipt["at"].as_str().unwrap() < "2036", "{receipt}");
}
