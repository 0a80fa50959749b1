//! `/v1/kv/{bucket}/{key}` on a real node: keys, siblings, conditions, retries, times to live, quorums, types, limits,
//! contexts, HTTP/2.

use futures_util::future::join_all;
use futures_util::stream;
use http_body_util::BodyExt;
use http_body_util::Full;
use http_body_util::StreamBody;
use hyper::Method;
use hyper::Request;
use hyper::body::Bytes;
use hyper::body::Frame;
use hyper::client::conn::http2;
use hyper_util::rt::TokioExecutor;
use hyper_util::rt::TokioIo;
use ringfort::cli::client::Client;
use serde_json::Value;
use serde_json::json;
use tokio::net::TcpStream;

use crate::support::Node;
use crate::support::Reply;
use crate::support::call;
use crate::support::client;
use crate::support::eventually;

const MIB: usize = 1024 * 1024;

/// A node with a siblings bucket `s`, an lww bucket `l`, and a client that may read and write values.
async fn node(dir: &tempfile::TempDir) -> (Node, Client) {
    let node = Node::start(&dir.path().join("data")).await;
    bucket(&node, "s", json!({})).await;
    bucket(&node, "l", json!({ "kind": "lww" })).await;
    let client = node.client("device", &["device:read", "device:write"]).await;
    (node, client)
}

async fn bucket(node: &Node, name: &str, definition: Value) {
    let made = call(&node.owner(), "PUT", &format!("/v1/buckets/{name}"), &[], definition.to_string()).await;
    assert_eq!(made.status, 201, "{made:?}");
}

async fn put(client: &Client, path: &str, headers: &[(&str, &str)], body: &str) -> Reply {
    call(client, "PUT", path, headers, body.to_owned()).await
}

async fn get(client: &Client, path: &str) -> Reply {
    call(client, "GET", path, &[], "").await
}

/// Stores and returns the receipt's context.
async fn stored(client: &Client, path: &str, headers: &[(&str, &str)], body: &str) -> String {
    let reply = put(client, path, headers, body).await;
    assert_eq!(reply.status, 200, "{reply:?}");
    reply.json()["context"].as_str().unwrap().to_owned()
}

/// The values of a key that has several, in their order.
async fn siblings(client: &Client, path: &str) -> Vec<String> {
    let reply = get(client, path).await;
    assert_eq!(reply.status, 300, "{reply:?}");
    let list = reply.json()["siblings"].as_array().unwrap().clone();
    let mut values = Vec::new();
    for (number, one) in list.iter().enumerate() {
        assert_eq!(one["sibling"], number);
        values.push(get(client, &format!("{path}?sibling={number}")).await.text().to_owned());
    }
    values
}

#[tokio::test]
async fn a_value_comes_back_as_it_was_sent_and_its_receipt_says_where_it_is() {
    let dir = tempfile::tempdir().unwrap();
    let (node, client) = node(&dir).await;
    let me = node.status().await["node"].clone();

    let before = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_secs();
    let receipt = put(&client, "/v1/kv/s/k", &[("content-type", "text/plain; charset=utf-8")], "hello").await.json();
    let fields: Vec<&str> = receipt.as_object().unwrap().keys().map(String::as_str).collect();
    assert_eq!(fields, ["acked_by", "at", "context", "outcome", "owners", "synced"]);
    assert_eq!(receipt["outcome"], "ok");
    assert_eq!(receipt["acked_by"], json!([me]));
    assert_eq!(receipt["owners"], json!([me]));
    assert_eq!(receipt["synced"], true);
    assert!(receipt["at"].as_str().unwrap() >= ringfort::base::time::rfc3339(before * 1000).as_str());

    let read = get(&client, "/v1/kv/s/k").await;
    assert_eq!((read.status, read.text()), (200, "hello"));
    assert_eq!(read.header("content-type"), Some("text/plain; charset=utf-8"));
    assert!(read.header("etag").unwrap().starts_with('"') && !read.context().is_empty());
    assert!(read.header("ringfort-age-ms").is_none());
    let local = get(&client, "/v1/kv/s/k?consistency=local").await;
    assert!(local.header("ringfort-age-ms").unwrap().parse::<u64>().is_ok());
    assert_eq!(get(&client, "/v1/kv/s/k?consistency=all&r=2").await.status, 200);
    assert_eq!(get(&client, "/v1/kv/s/k?consistency=some").await.problem(), (400, "bad_parameter".to_owned()));

    let head = call(&client, "HEAD", "/v1/kv/s/k", &[], "").await;
    assert_eq!((head.status, head.body.len(), head.header("content-length")), (200, 0, Some("5")));
    assert_eq!((head.header("etag"), head.context()), (read.header("etag"), read.context()));

    let untyped = put(&client, "/v1/kv/s/empty", &[], "").await;
    assert_eq!(untyped.status, 200);
    let empty = get(&client, "/v1/kv/s/empty").await;
    assert_eq!((empty.status, empty.text(), empty.header("content-type")), (200, "", Some("application/octet-stream")));

    let gone = call(&client, "DELETE", "/v1/kv/s/k", &[("ringfort-context", read.context())], "").await;
    assert_eq!((gone.status, gone.json()["outcome"].as_str()), (200, Some("ok")));
    for method in ["GET", "HEAD"] {
        let absent = call(&client, method, "/v1/kv/s/k", &[], "").await;
        assert_eq!(absent.status, 404);
        assert!(!absent.context().is_empty());
    }
    assert_eq!(get(&client, "/v1/kv/s/never").await.problem(), (404, "no_such_key".to_owned()));
    for method in ["GET", "PUT", "DELETE"] {
        let missing = call(&client, method, "/v1/kv/no-such/k", &[], "").await;
        assert_eq!(missing.problem(), (404, "no_such_bucket".to_owned()));
    }
    assert_eq!(get(&client, "/v1/kv/no-such").await.problem(), (404, "no_such_bucket".to_owned()));
}

#[tokio::test]
async fn a_key_is_bytes_and_never_a_path() {
    let dir = tempfile::tempdir().unwrap();
    let (_node, client) = node(&dir).await;
    let keys = ["%FF%00", "..", "../..", "/", "//", "a//b/", "./x", "a%2520b", "+", "a+b", "%3F%23", "%E2%82%AC"];
    for (at, key) in keys.iter().enumerate() {
        stored(&client, &format!("/v1/kv/l/{key}"), &[], &at.to_string()).await;
    }
    for (at, key) in keys.iter().enumerate() {
        let read = get(&client, &format!("/v1/kv/l/{key}")).await;
        assert_eq!((read.status, read.text()), (200, at.to_string().as_str()), "{key}");
    }
    for (one, other) in [("a/b", "a%2Fb"), ("%2e%2E/z", "../z"), ("%41", "A"), ("%e2%82%ac", "%E2%82%AC")] {
        stored(&client, &format!("/v1/kv/l/{one}"), &[], one).await;
        assert_eq!(get(&client, &format!("/v1/kv/l/{other}")).await.text(), one);
    }

    for method in ["GET", "PUT", "DELETE"] {
        let refused = async |key: &str| call(&client, method, &format!("/v1/kv/l/{key}"), &[], "").await.problem();
        assert_eq!(refused("").await, (400, "bad_key".to_owned()), "{method}");
        assert_eq!(refused(&"k".repeat(1025)).await, (414, "key_too_long".to_owned()));
        assert_eq!(refused(&"%FF".repeat(1025)).await, (414, "key_too_long".to_owned()));
        for bad in ["%", "a%2", "%GG", "%%41", "a%"] {
            assert_eq!(refused(bad).await, (400, "bad_escape".to_owned()), "{bad}");
        }
    }
    for longest in ["k".repeat(1024), "%FE".repeat(1024)] {
        stored(&client, &format!("/v1/kv/l/{longest}"), &[], "longest").await;
        assert_eq!(get(&client, &format!("/v1/kv/l/{longest}")).await.text(), "longest");
    }
    let long_head = call(&client, "GET", "/v1/kv/l/k", &[("x-long", &"x".repeat(20_000))], "").await;
    assert_eq!(long_head.status, 431);
}

#[tokio::test]
async fn writers_that_did_not_read_each_other_leave_siblings_until_one_has_read_both() {
    let dir = tempfile::tempdir().unwrap();
    let (_node, client) = node(&dir).await;
    let first = stored(&client, "/v1/kv/s/k", &[("content-type", "text/plain")], "a").await;
    stored(&client, "/v1/kv/s/k", &[], "b").await;
    assert_eq!(siblings(&client, "/v1/kv/s/k").await, ["a", "b"]);
    let both = get(&client, "/v1/kv/s/k").await;
    assert_eq!(both.json()["siblings"][0]["content_type"], "text/plain");
    assert_eq!(both.json()["context"], both.context());
    assert_eq!(get(&client, "/v1/kv/s/k?sibling=2").await.status, 404);

    // The first writer knows only its own value.
    let second = stored(&client, "/v1/kv/s/k", &[("ringfort-context", &first)], "A").await;
    assert_eq!(siblings(&client, "/v1/kv/s/k").await, ["b", "A"]);
    stored(&client, "/v1/kv/s/k", &[("ringfort-context", &second)], "AA").await;
    assert_eq!(siblings(&client, "/v1/kv/s/k").await, ["b", "AA"]);

    let read = get(&client, "/v1/kv/s/k").await;
    stored(&client, "/v1/kv/s/k", &[("ringfort-context", read.context())], "merged").await;
    assert_eq!(get(&client, "/v1/kv/s/k").await.text(), "merged");

    // An old context brings nothing back, and a deletion based on it removes nothing newer.
    stored(&client, "/v1/kv/s/k", &[("ringfort-context", read.context())], "late").await;
    assert_eq!(siblings(&client, "/v1/kv/s/k").await, ["merged", "late"]);
    let gone = call(&client, "DELETE", "/v1/kv/s/k", &[("ringfort-context", read.context())], "").await;
    assert_eq!(gone.status, 200);
    assert_eq!(siblings(&client, "/v1/kv/s/k").await, ["merged", "late"]);

    let blind = call(&client, "DELETE", "/v1/kv/s/k", &[], "").await;
    assert_eq!(blind.problem(), (428, "context_needed".to_owned()));
    assert!(blind.text().contains("nothing was changed"));
    let read = get(&client, "/v1/kv/s/k").await;
    let gone = call(&client, "DELETE", "/v1/kv/s/k", &[("ringfort-context", read.context())], "").await;
    assert_eq!(gone.status, 200);
    let grave = get(&client, "/v1/kv/s/k").await;
    assert_eq!(grave.status, 404);
    stored(&client, "/v1/kv/s/k", &[("ringfort-context", grave.context())], "again").await;
    assert_eq!(get(&client, "/v1/kv/s/k").await.text(), "again");
}

#[tokio::test]
async fn past_64_siblings_a_writer_is_told_to_merge_and_given_the_list() {
    let dir = tempfile::tempdir().unwrap();
    let (_node, client) = node(&dir).await;
    for number in 0..64 {
        stored(&client, "/v1/kv/s/k", &[], &number.to_string()).await;
    }
    let refused = put(&client, "/v1/kv/s/k", &[], "one more").await;
    assert_eq!(refused.problem(), (409, "too_many_siblings".to_owned()));
    assert!(refused.text().contains("nothing was changed"));
    let all = siblings(&client, "/v1/kv/s/k").await;
    assert_eq!(all, (0..64).map(|number| number.to_string()).collect::<Vec<_>>());
    let given = refused.json();
    assert_eq!(given["siblings"], get(&client, "/v1/kv/s/k").await.json()["siblings"]);
    stored(&client, "/v1/kv/s/k", &[("ringfort-context", given["context"].as_str().unwrap())], "merged").await;
    assert_eq!(get(&client, "/v1/kv/s/k").await.text(), "merged");
}

#[tokio::test]
async fn in_an_lww_bucket_the_last_write_stays_alone() {
    let dir = tempfile::tempdir().unwrap();
    let (_node, client) = node(&dir).await;
    for round in 0..20 {
        stored(&client, "/v1/kv/l/k", &[], &round.to_string()).await;
        assert_eq!(get(&client, "/v1/kv/l/k").await.text(), round.to_string());
    }
    let gone = call(&client, "DELETE", "/v1/kv/l/k", &[], "").await;
    assert_eq!(gone.status, 200);
    let grave = get(&client, "/v1/kv/l/k").await;
    assert_eq!(grave.status, 404);
    assert!(!grave.context().is_empty());
    stored(&client, "/v1/kv/l/k", &[], "back").await;
    assert_eq!(get(&client, "/v1/kv/l/k").await.text(), "back");
    for condition in [("if-none-match", "*"), ("if-match", "\"x\"")] {
        for method in ["PUT", "DELETE"] {
            let refused = call(&client, method, "/v1/kv/l/k", &[condition], "").await;
            assert_eq!(refused.problem(), (422, "condition_on_lww".to_owned()));
        }
    }
    assert_eq!(get(&client, "/v1/kv/l/k").await.text(), "back");
}

#[tokio::test]
async fn conditions_hold_or_nothing_is_changed() {
    let dir = tempfile::tempdir().unwrap();
    let (_node, client) = node(&dir).await;
    let path = "/v1/kv/s/k";
    let absent = ("if-none-match", "*");
    assert_eq!(put(&client, path, &[("if-match", "\"x\"")], "a").await.problem().0, 412);
    stored(&client, path, &[absent], "a").await;
    let refused = put(&client, path, &[absent], "b").await;
    assert_eq!(refused.problem(), (412, "condition_failed".to_owned()));
    assert!(refused.text().contains("nothing was changed"));
    assert_eq!(put(&client, path, &[("if-none-match", "\"x\"")], "b").await.problem().0, 400);

    let read = get(&client, path).await;
    let etag = read.header("etag").unwrap();
    let context = ("ringfort-context", read.context());
    let known = call(&client, "GET", path, &[("if-none-match", etag)], "").await;
    assert_eq!((known.status, known.body.len(), known.header("etag")), (304, 0, Some(etag)));
    let listed = format!("\"other\", {etag}");
    assert_eq!(call(&client, "GET", path, &[("if-none-match", &listed)], "").await.status, 304);
    assert_eq!(call(&client, "GET", path, &[("if-none-match", "\"other\"")], "").await.status, 200);

    assert_eq!(put(&client, path, &[("if-match", "\"other\""), context], "c").await.problem().0, 412);
    stored(&client, path, &[("if-match", &listed), context], "c").await;
    let newer = get(&client, path).await;
    assert_eq!(newer.text(), "c");
    assert_ne!(newer.header("etag"), Some(etag));
    assert_eq!(call(&client, "GET", path, &[("if-none-match", etag)], "").await.text(), "c");
    let stale = call(&client, "DELETE", path, &[("if-match", etag), ("ringfort-context", newer.context())], "").await;
    assert_eq!(stale.problem().0, 412);
    let etag = newer.header("etag").unwrap();
    let gone = call(&client, "DELETE", path, &[("if-match", etag), ("ringfort-context", newer.context())], "").await;
    assert_eq!(gone.status, 200);
    // A deleted value is no value.
    assert_eq!(put(&client, path, &[("if-match", etag)], "d").await.problem().0, 412);
    stored(&client, path, &[absent], "d").await;
    assert_eq!(get(&client, path).await.text(), "d");
}

/// The cookie of a new user who may write values.
async fn cookie(node: &Node, name: &str) -> String {
    let user = json!({ "scopes": ["data"], "password": "correct horse battery" }).to_string();
    assert_eq!(call(&node.owner(), "PUT", &format!("/v1/users/{name}"), &[], user).await.status, 201);
    let link = call(&node.owner(), "POST", "/v1/sign-in-links", &[], json!({ "user": name }).to_string()).await.json();
    let nobody = client(&node.url().await, None);
    let signed_in = call(&nobody, "GET", link["path"].as_str().unwrap(), &[], "").await;
    signed_in.header("set-cookie").unwrap().split(';').next().unwrap().to_owned()
}

#[tokio::test]
async fn who_has_the_same_name_but_comes_another_way_has_idempotency_keys_of_their_own() {
    let dir = tempfile::tempdir().unwrap();
    let (node, _) = node(&dir).await;
    // A token may be named as the owner of the node is, or as a user.
    let same_as_owner = node.client("local owner", &["data"]).await;
    let same_as_user = node.client("ann", &["data"]).await;
    let cookie = cookie(&node, "ann").await;
    let (browser, session) =
        (client(&node.url().await, None), [("cookie", &*cookie), ("sec-fetch-site", "same-origin")]);
    let named = [("idempotency-key", "order-1"), ("content-type", "application/json")];
    for (who, headers, body) in [
        (&same_as_owner, &[][..], "1"),
        (&node.owner(), &[], "2"),
        (&same_as_user, &[], "3"),
        (&browser, &session, "4"),
    ] {
        stored(who, "/v1/kv/l/k", &[&named, headers].concat(), body).await;
        assert_eq!(get(&same_as_user, "/v1/kv/l/k").await.text(), body);
    }
}

#[tokio::test]
async fn a_retry_under_the_same_idempotency_key_is_answered_as_the_first_time() {
    let dir = tempfile::tempdir().unwrap();
    let (node, client) = node(&dir).await;
    let other = node.client("other", &["device:read", "device:write"]).await;
    let named = ("idempotency-key", "order-1");
    let first = put(&client, "/v1/kv/s/k", &[named], "a").await;
    assert_eq!(first.status, 200);
    stored(&client, "/v1/kv/s/k", &[("ringfort-context", first.json()["context"].as_str().unwrap())], "later").await;
    let again = put(&client, "/v1/kv/s/k", &[named], "a").await;
    assert_eq!((again.status, again.json()), (200, first.json()));
    assert_eq!(get(&client, "/v1/kv/s/k").await.text(), "later");
    for (headers, body) in [(vec![named], "b"), (vec![named, ("content-type", "text/plain")], "a")] {
        let reused = put(&client, "/v1/kv/s/k", &headers, body).await;
        assert_eq!(reused.problem(), (409, "idempotency_key_reused".to_owned()));
        assert!(reused.text().contains("nothing was changed"));
    }
    let reused = call(
        &client,
        "DELETE",
        "/v1/kv/s/k",
        &[named, ("ringfort-context", first.json()["context"].as_str().unwrap())],
        "",
    )
    .await;
    assert_eq!(reused.problem().0, 409);
    // Another caller's key, and the same key for another value, are others.
    stored(&other, "/v1/kv/s/k", &[named], "theirs").await;
    assert_eq!(siblings(&client, "/v1/kv/s/k").await, ["later", "theirs"]);
    stored(&client, "/v1/kv/s/k2", &[named], "b").await;
    assert_eq!(put(&client, "/v1/kv/s/k", &[("idempotency-key", "")], "a").await.problem().0, 400);
    assert_eq!(put(&client, "/v1/kv/s/k", &[("idempotency-key", &"x".repeat(129))], "a").await.problem().0, 400);

    let gone = call(&client, "DELETE", "/v1/kv/l/k", &[named], "").await;
    stored(&client, "/v1/kv/l/k", &[], "new").await;
    let again = call(&client, "DELETE", "/v1/kv/l/k", &[named], "").await;
    assert_eq!((again.status, again.json()), (200, gone.json()));
    assert_eq!(get(&client, "/v1/kv/l/k").await.text(), "new");

    // One operation, many retries at once: one write.
    let headers = [named];
    let storm = (0..16).map(|_| put(&client, "/v1/kv/s/storm", &headers, "once"));
    let answers: Vec<Value> = join_all(storm).await.iter().map(Reply::json).collect();
    assert!(answers.iter().all(|answer| *answer == answers[0] && answer["outcome"] == "ok"), "{answers:?}");
    assert_eq!(get(&client, "/v1/kv/s/storm").await.text(), "once");
}

#[tokio::test]
async fn a_value_is_gone_when_its_time_is_over() {
    let dir = tempfile::tempdir().unwrap();
    let (node, client) = node(&dir).await;
    bucket(&node, "brief", json!({ "ttl": "300ms" })).await;
    stored(&client, "/v1/kv/brief/own", &[], "x").await;
    stored(&client, "/v1/kv/brief/longer?ttl=1h", &[], "x").await;
    stored(&client, "/v1/kv/s/k?ttl=300ms", &[], "brief").await;
    stored(&client, "/v1/kv/s/two?ttl=300ms", &[], "brief").await;
    stored(&client, "/v1/kv/s/two", &[], "long").await;
    let two = get(&client, "/v1/kv/s/two").await;
    for path in ["/v1/kv/brief/own", "/v1/kv/s/k"] {
        let expired = eventually("an expired value is gone", async || {
            let read = get(&client, path).await;
            (read.status == 404).then_some(read)
        });
        assert!(!expired.await.context().is_empty());
    }
    // Of two siblings one expired: no longer what the etag of both named.
    let etag = two.header("etag").unwrap();
    let left = eventually("one sibling is left", async || {
        let read = call(&client, "GET", "/v1/kv/s/two", &[("if-none-match", etag)], "").await;
        (read.status == 200).then_some(read)
    });
    assert_eq!((two.status, left.await.text()), (300, "long"));
    assert_eq!(get(&client, "/v1/kv/brief/longer").await.text(), "x");
    assert_eq!(put(&client, "/v1/kv/s/k", &[("if-none-match", "*")], "after").await.status, 200);
    assert_eq!(get(&client, "/v1/kv/s/k").await.text(), "after");
    for bad in ["0s", "5", "1y", "-1s", "99999d"] {
        let refused = put(&client, &format!("/v1/kv/s/bad?ttl={bad}"), &[], "x").await;
        assert_eq!(refused.problem(), (422, "out_of_range".to_owned()), "{bad}");
    }
    assert_eq!(get(&client, "/v1/kv/s/bad").await.status, 404);
}

#[tokio::test]
async fn a_quorum_may_only_be_raised_and_not_above_the_owners() {
    let dir = tempfile::tempdir().unwrap();
    let (node, client) = node(&dir).await;
    bucket(&node, "weak", json!({ "n": 3, "r": 1, "w": 1 })).await;
    assert_eq!(put(&client, "/v1/kv/weak/k", &[], "x").await.json()["weak"], true);
    stored(&client, "/v1/kv/s/k?w=2", &[], "x").await;
    for bad in ["0", "1", "4"] {
        for (method, parameter) in [("PUT", "w"), ("DELETE", "w"), ("GET", "r")] {
            let refused = call(&client, method, &format!("/v1/kv/s/k?{parameter}={bad}"), &[], "").await;
            assert_eq!(refused.problem(), (422, "out_of_range".to_owned()), "{method} {bad}");
        }
    }
    let refused = put(&client, "/v1/kv/s/k?w=3", &[], "y").await;
    assert_eq!(refused.problem(), (503, "no_quorum".to_owned()));
    assert_eq!(refused.json()["outcome"], "failed");
    assert!(refused.text().contains("nothing was changed"));
    assert_eq!(get(&client, "/v1/kv/s/k?r=3").await.problem(), (503, "no_quorum".to_owned()));
    assert_eq!(get(&client, "/v1/kv/s/k?r=2").await.text(), "x");
    for bad in ["x", "-1", "256", ""] {
        assert_eq!(put(&client, &format!("/v1/kv/s/k?w={bad}"), &[], "y").await.problem().0, 400);
    }
    assert_eq!(put(&client, "/v1/kv/s/k?W=3", &[], "y").await.problem(), (400, "unknown_parameter".to_owned()));
    assert_eq!(put(&client, "/v1/kv/s/k?ttl=1h&ttl=2h", &[], "y").await.problem().0, 400);
    assert_eq!(get(&client, "/v1/kv/s/k").await.text(), "x");
}

#[tokio::test]
async fn nothing_that_a_browser_could_execute_goes_out_as_such() {
    let dir = tempfile::tempdir().unwrap();
    let (_node, client) = node(&dir).await;
    let executable = [
        "text/html",
        "TEXT/HTML; charset=utf-8",
        "image/svg+xml",
        "application/xml",
        "text/xml",
        "application/xhtml+xml",
        "text/javascript",
        "application/javascript",
        "application/wasm",
        "text/css",
        "application/pdf",
        "text/plain, text/html",
        "x",
    ];
    for content_type in executable {
        stored(&client, "/v1/kv/l/k", &[("content-type", content_type)], "<script>").await;
        let read = get(&client, "/v1/kv/l/k").await;
        assert_eq!(read.header("content-type"), Some("application/octet-stream"), "{content_type}");
        assert_eq!(read.header("ringfort-content-type"), Some(content_type));
        assert_eq!(read.header("content-disposition"), Some("attachment"));
    }
    for content_type in ["application/json", "text/plain", "image/png", "application/cbor", "text/csv; header=present"]
    {
        stored(&client, "/v1/kv/l/k", &[("content-type", content_type)], "1").await;
        let read = get(&client, "/v1/kv/l/k").await;
        assert_eq!(read.header("content-type"), Some(content_type));
        assert!(read.header("ringfort-content-type").is_none() && read.header("content-disposition").is_none());
    }
    stored(&client, "/v1/kv/s/two", &[("content-type", "text/html")], "<script>").await;
    stored(&client, "/v1/kv/s/two", &[], "b").await;
    for path in ["/v1/kv/l/k", "/v1/kv/s/two?sibling=0", "/v1/kv/s/two"] {
        let read = get(&client, path).await;
        assert_eq!(read.header("x-content-type-options"), Some("nosniff"), "{path}");
        assert!(read.header("content-security-policy").is_some_and(|policy| policy.contains("sandbox")), "{path}");
    }
    assert_eq!(put(&client, "/v1/kv/l/k", &[("content-type", &"x".repeat(256))], "").await.problem().0, 400);
}

#[tokio::test]
async fn a_value_has_a_mebibyte_and_not_a_byte_more() {
    let dir = tempfile::tempdir().unwrap();
    let (_node, client) = node(&dir).await;
    let whole = vec![7; MIB];
    let chunked = async |len: usize| {
        let pieces = (0..len).step_by(60_000).map(move |at| vec![7; 60_000.min(len - at)]);
        let frames = stream::iter(pieces.map(|piece| Ok(Frame::data(Bytes::from(piece)))));
        let sent = client.send(Method::PUT, "/v1/kv/l/chunked", &[], StreamBody::new(frames).boxed()).await;
        Reply::read(sent.map_err(|failure| failure.message).unwrap()).await
    };
    assert_eq!(call(&client, "PUT", "/v1/kv/l/k", &[], whole.clone()).await.status, 200);
    assert_eq!(chunked(MIB).await.status, 200);
    for key in ["k", "chunked"] {
        assert!(get(&client, &format!("/v1/kv/l/{key}")).await.body == whole);
    }
    for refused in [call(&client, "PUT", "/v1/kv/l/k", &[], vec![8; MIB + 1]).await, chunked(MIB + 1).await] {
        assert_eq!(refused.problem(), (413, "too_large".to_owned()));
        assert!(refused.text().contains("nothing was changed"));
    }
    // Refused while it is still being sent: the sender gets the answer, not a broken connection.
    for refused in [call(&client, "PUT", "/v1/kv/l/k", &[], vec![8; 12 * MIB]).await, chunked(12 * MIB).await] {
        assert_eq!(refused.problem(), (413, "too_large".to_owned()));
    }
    for key in ["k", "chunked"] {
        assert!(get(&client, &format!("/v1/kv/l/{key}")).await.body == whole);
    }
}

#[tokio::test]
async fn a_context_is_good_for_the_key_that_it_was_read_from_and_no_other() {
    let dir = tempfile::tempdir().unwrap();
    let (_node, client) = node(&dir).await;
    let context = stored(&client, "/v1/kv/s/a", &[], "a").await;
    stored(&client, "/v1/kv/s/b", &[], "b").await;
    stored(&client, "/v1/kv/l/a", &[], "a").await;
    let flipped: String = context.chars().rev().collect();
    for (path, forged) in [
        ("/v1/kv/s/b", context.as_str()),
        ("/v1/kv/l/a", &context),
        ("/v1/kv/s/a", &flipped),
        ("/v1/kv/s/a", &context[1..]),
        ("/v1/kv/s/a", ""),
        ("/v1/kv/s/a", "AAAA"),
        ("/v1/kv/s/a", &"A".repeat(15_000)),
    ] {
        for method in ["PUT", "DELETE"] {
            let refused = call(&client, method, path, &[("ringfort-context", forged)], "x").await;
            assert_eq!(refused.problem(), (400, "bad_context".to_owned()), "{path} {forged}");
            assert!(refused.text().contains("nothing was changed"), "{}", refused.text());
        }
    }
    for (path, value) in [("/v1/kv/s/a", "a"), ("/v1/kv/s/b", "b"), ("/v1/kv/l/a", "a")] {
        assert_eq!(get(&client, path).await.text(), value);
    }
}

#[tokio::test]
async fn one_http2_connection_carries_many_requests_at_once() {
    let dir = tempfile::tempdir().unwrap();
    let node = Node::start(&dir.path().join("data")).await;
    bucket(&node, "s", json!({})).await;
    let authorization = format!("Bearer {}", node.token("h2", &["data"]).await);
    let url = node.url().await;
    let stream = TcpStream::connect(url.strip_prefix("http://").unwrap()).await.unwrap();
    let (sender, connection) = http2::handshake(TokioExecutor::new(), TokioIo::new(stream)).await.unwrap();
    tokio::spawn(connection);
    let ask = |method: Method, key: String, body: Vec<u8>| {
        let request = Request::builder()
            .method(method)
            .uri(format!("{url}/v1/kv/s/{key}"))
            .header("authorization", &authorization)
            .body(Full::new(Bytes::from(body)))
            .unwrap();
        let mut sender = sender.clone();
        async move {
            let answer = sender.send_request(request).await.unwrap();
            let status = answer.status().as_u16();
            (status, answer.into_body().collect().await.unwrap().to_bytes())
        }
    };
    // More at once than the node takes streams.
    let stored = join_all((0..300).map(|n: usize| ask(Method::PUT, n.to_string(), vec![n as u8; n * 100]))).await;
    assert!(stored.iter().all(|(status, _)| *status == 200), "{stored:?}");
    let read = join_all((0..300).map(|n: usize| ask(Method::GET, n.to_string(), Vec::new()))).await;
    for (n, (status, body)) in read.into_iter().enumerate() {
        assert_eq!((status, body.to_vec()), (200, vec![n as u8; n * 100]));
    }
    assert_eq!(ask(Method::PUT, "large".to_owned(), vec![0; MIB + 1]).await.0, 413);
    assert_eq!(ask(Method::GET, "1".to_owned(), Vec::new()).await.0, 200);
}
