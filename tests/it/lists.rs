//! `GET /v1/kv/{bucket}` on a real node: byte order, pages, prefixes, keys that are not text, and what is not listed.

use std::collections::BTreeSet;

use ringfort::base::codec;
use ringfort::cli::client::Client;
use ringfort::cli::client::escape;
use serde_json::Value;
use serde_json::json;

use crate::support::Node;
use crate::support::call;
use crate::support::eventually;

async fn node(dir: &tempfile::TempDir) -> (Node, Client) {
    let node = Node::start(&dir.path().join("data")).await;
    let made = call(&node.owner(), "PUT", "/v1/buckets/b", &[], r#"{"kind":"lww"}"#).await;
    assert_eq!(made.status, 201);
    let client = node.client("device", &["device:read", "device:write"]).await;
    (node, client)
}

async fn list(client: &Client, query: &str) -> Value {
    let reply = call(client, "GET", &format!("/v1/kv/b{query}"), &[], "").await;
    assert_eq!(reply.status, 200, "{reply:?}");
    reply.json()
}

fn keys(page: &Value) -> Vec<Vec<u8>> {
    let key = |row: &Value| match (row["key"].as_str(), row["key_b64"].as_str()) {
        (Some(key), None) => key.as_bytes().to_vec(),
        (None, Some(key)) => codec::from_base64(key).unwrap(),
        _ => panic!("one of key and key_b64: {row}"),
    };
    page["keys"].as_array().unwrap().iter().map(key).collect()
}

fn texts(page: &Value) -> Vec<String> {
    keys(page).into_iter().map(|key| String::from_utf8(key).unwrap()).collect()
}

/// Follows `next` and `next_b64` to the end.
async fn all_pages(client: &Client, prefix: &[u8], limit: usize) -> Vec<Vec<u8>> {
    let mut found = Vec::new();
    let mut after = String::new();
    loop {
        let page = list(client, &format!("?prefix={}&limit={limit}{after}", escape(prefix))).await;
        let here = keys(&page);
        assert!(here.len() <= limit);
        found.extend(here.iter().cloned());
        let next = match (page["next"].as_str(), page["next_b64"].as_str()) {
            (Some(next), None) => next.as_bytes().to_vec(),
            (None, Some(next)) => codec::from_base64(next).unwrap(),
            (None, None) => return found,
            (Some(_), Some(_)) => panic!("two ways on: {page}"),
        };
        assert_eq!(Some(&next), here.last(), "next is the last key of the page");
        after = match String::from_utf8(next) {
            Ok(next) => format!("&after={}", escape(next.as_bytes())),
            Err(bytes) => format!("&after_b64={}", escape(codec::base64(bytes.as_bytes()).as_bytes())),
        };
    }
}

async fn put_all(client: &Client, keys: &[Vec<u8>]) {
    for some in keys.chunks(1000) {
        let op = |key: &Vec<u8>| json!({ "op": "put", "bucket": "b", "key_b64": codec::base64(key), "value": 1 });
        let ops: Vec<Value> = some.iter().map(op).collect();
        let reply = call(client, "POST", "/v1/batch", &[], json!({ "ops": ops }).to_string()).await;
        let results = reply.json()["results"].as_array().cloned().unwrap_or_default();
        assert_eq!(results.len(), some.len(), "{}", reply.text());
        assert!(results.iter().all(|one| one["status"] == 200));
    }
}

#[tokio::test]
async fn pages_put_together_are_the_sorted_set_whatever_their_size() {
    let dir = tempfile::tempdir().unwrap();
    let (_node, client) = node(&dir).await;
    assert_eq!(list(&client, "").await, json!({ "keys": [], "next": null }));

    let mut wanted = BTreeSet::new();
    for number in 0..2500_u32 {
        let scattered = number.wrapping_mul(2_654_435_761);
        wanted.insert(match number % 5 {
            0 => format!("device/{scattered:08x}").into_bytes(),
            1 => scattered.to_be_bytes().to_vec(),
            2 => [b"\xff\xfe".as_slice(), &scattered.to_le_bytes()].concat(),
            3 => format!("{number} + & % #?").into_bytes(),
            _ => vec![b'a'; 1 + number as usize / 5],
        });
    }
    let wanted: Vec<Vec<u8>> = wanted.into_iter().collect();
    assert_eq!(wanted.len(), 2500);
    put_all(&client, &wanted).await;
    for limit in [1000, 999, 137] {
        assert!(all_pages(&client, b"", limit).await == wanted, "pages of {limit}");
    }
    for prefix in [b"device/".as_slice(), b"a", b"aaaaaaaaaa", b"\xff\xfe", b"\xff", b"\0", b"1 + &", b"zzz"] {
        let under: Vec<Vec<u8>> = wanted.iter().filter(|key| key.starts_with(prefix)).cloned().collect();
        assert!(all_pages(&client, prefix, 93).await == under, "under {prefix:?}");
    }
    // Without a limit a page has 1,000 keys.
    assert_eq!(keys(&list(&client, "").await).len(), 1000);
    // A page that ends with the last key says so at once.
    let whole = list(&client, "?prefix=device/&limit=500").await;
    assert_eq!((keys(&whole).len(), &whole["next"]), (500, &Value::Null));
    assert!(whole.get("next_b64").is_none());
}

#[tokio::test]
async fn a_list_shows_what_is_there_now_and_nothing_else() {
    let dir = tempfile::tempdir().unwrap();
    let (_node, client) = node(&dir).await;
    let put = async |key: &str, body: &str| {
        let stored = call(&client, "PUT", &format!("/v1/kv/b/{key}"), &[], body.to_owned()).await;
        assert_eq!(stored.status, 200, "{stored:?}");
        stored.json()["at"].as_str().unwrap().to_owned()
    };
    for round in 0..50 {
        put(&format!("r{round:02}"), "x").await;
        assert_eq!(keys(&list(&client, "?prefix=r").await).len(), round + 1, "complete right after the write");
    }
    let at = put("b", "12345").await;
    put("a", "").await;
    put("c%2Fd", "x").await;
    put("%C3%A9", "x").await;
    put("brief?ttl=200ms", "x").await;
    assert_eq!(call(&client, "DELETE", "/v1/kv/b/r07", &[], "").await.status, 200);
    eventually("the brief value is over", async || {
        (!texts(&list(&client, "?prefix=b").await).contains(&"brief".to_owned())).then_some(())
    })
    .await;
    let page = list(&client, "?limit=3").await;
    assert_eq!(page["keys"][0]["size"], 0);
    assert_eq!(page["keys"][1], json!({ "key": "b", "size": 5, "at": at }));
    assert_eq!((texts(&page), &page["next"]), (vec!["a".into(), "b".into(), "c/d".into()], &json!("c/d")));
    assert_eq!(texts(&list(&client, "?after=b&limit=1").await), ["c/d"]);
    assert_eq!(texts(&list(&client, "?after=&limit=1").await), ["a"]);
    assert_eq!(texts(&list(&client, "?after=aa&limit=1").await), ["b"]);
    assert_eq!(texts(&list(&client, "?prefix=r&after=r06&limit=2").await), ["r08", "r09"]);
    assert_eq!(texts(&list(&client, "?prefix=r&after=a&limit=1").await), ["r00"]);
    assert_eq!(texts(&list(&client, "?prefix=r&after=s").await), Vec::<String>::new());
    assert_eq!(texts(&list(&client, "?prefix=%C3").await), ["é"]);
    assert_eq!(texts(&list(&client, "?after_b64=eg%3D%3D").await), ["é"]);

    // A deleted key does not shift the page behind it.
    let rest = list(&client, "?prefix=r").await;
    assert_eq!(keys(&rest).len(), 49);
    assert!(!texts(&rest).contains(&"r07".to_owned()));
}

#[tokio::test]
async fn a_list_that_is_asked_for_wrongly_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let (node, client) = node(&dir).await;
    for (query, code) in [
        ("?limit=0", "bad_parameter"),
        ("?limit=1001", "bad_parameter"),
        ("?limit=x", "bad_parameter"),
        ("?limit=-1", "bad_parameter"),
        ("?limt=5", "unknown_parameter"),
        ("?limit=5&limit=5", "repeated_parameter"),
        ("?after=a&after_b64=YQ%3D%3D", "bad_parameter"),
        ("?after_b64=!", "bad_parameter"),
        ("?prefix=%G0", "bad_escape"),
    ] {
        let refused = call(&client, "GET", &format!("/v1/kv/b{query}"), &[], "").await;
        assert_eq!(refused.problem(), (400, code.to_owned()), "{query}");
    }
    let writer = node.client("writer", &["device:write"]).await;
    assert_eq!(call(&writer, "GET", "/v1/kv/b", &[], "").await.problem().0, 403);
    assert_eq!(call(&client, "GET", "/v1/kv/b/", &[], "").await.problem().0, 400);
}
