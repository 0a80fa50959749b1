//! Buckets, tokens, users and who may call what, on a real node; and that the description of the surface is the
//! surface: every route, the OpenAPI document, the metrics.

use std::collections::BTreeSet;

use ringfort::cli::client::Client;
use ringfort::front::route::Route;
use ringfort::http::routes;
use ringfort::http::routes::ROUTES;
use ringfort::proto::scope::Need;
use ringfort::proto::scope::Scope;
use serde_json::Value;
use serde_json::json;

use crate::support::Node;
use crate::support::Reply;
use crate::support::call;
use crate::support::client;
use crate::support::eventually;

async fn start(dir: &tempfile::TempDir) -> Node {
    Node::start(&dir.path().join("data")).await
}

async fn put(client: &Client, path: &str, document: Value) -> Reply {
    call(client, "PUT", path, &[], document.to_string()).await
}

async fn get(client: &Client, path: &str) -> Reply {
    call(client, "GET", path, &[], "").await
}

#[tokio::test]
async fn a_bucket_is_made_changed_and_refused_as_the_surface_says() {
    let dir = tempfile::tempdir().unwrap();
    let mut node = start(&dir).await;
    let data = node.client("data", &["data"]).await;
    let path = "/v1/buckets/b";
    assert_eq!(get(&data, path).await.problem(), (404, "no_such_bucket".to_owned()));
    let made = put(&data, path, json!({})).await;
    let default = json!({ "name": "b", "kind": "siblings", "n": 3, "r": 2, "w": 2, "ttl": null, "class": "normal" });
    assert_eq!(made.status, 201);
    for (field, value) in default.as_object().unwrap() {
        assert_eq!(&made.json()[field], value, "{field}");
    }
    assert_eq!((put(&data, path, json!({})).await.status, call(&data, "PUT", path, &[], "").await.status), (200, 200));
    assert_eq!(put(&data, path, json!({ "kind": "siblings", "n": 3 })).await.status, 200);
    assert_eq!(get(&data, path).await.json(), made.json());

    let bad = [
        (json!({ "knid": "lww" }), "bad_document"),
        (json!({ "n": "3" }), "bad_document"),
        (json!({ "n": 300 }), "bad_document"),
        (json!({ "n": 2.5 }), "bad_document"),
        (json!({ "class": "vital" }), "bad_document"),
        (json!({ "n": 0 }), "out_of_range"),
        (json!({ "n": 10 }), "out_of_range"),
        (json!({ "r": 0 }), "out_of_range"),
        (json!({ "w": 4 }), "out_of_range"),
        (json!({ "ttl": "0s" }), "out_of_range"),
        (json!({ "ttl": "5" }), "out_of_range"),
        (json!({ "kind": "other" }), "out_of_range"),
        (json!({ "kind": "counter" }), "kind_comes_later"),
        (json!({ "kind": "set" }), "kind_comes_later"),
        (json!({ "kind": "map" }), "kind_comes_later"),
        (json!({ "kind": "flag" }), "kind_comes_later"),
        (json!({ "kind": "strong" }), "kind_comes_later"),
    ];
    for (document, code) in bad {
        for path in [path, "/v1/buckets/new"] {
            let refused = put(&data, path, document.clone()).await;
            assert_eq!(refused.problem(), (422, code.to_owned()), "{document}");
            assert!(refused.text().contains("nothing was changed"), "{}", refused.text());
        }
    }
    assert_eq!(call(&data, "PUT", path, &[], "{").await.problem(), (400, "bad_json".to_owned()));
    let deep = format!("{{\"kind\":{}{}}}", "[".repeat(70), "]".repeat(70));
    assert_eq!(call(&data, "PUT", path, &[], deep).await.problem(), (400, "too_deep".to_owned()));
    assert_eq!(call(&data, "PUT", path, &[], " ".repeat(70_000)).await.problem().0, 413);
    for name in ["A", "-a", ".a", "a%2Fb", "a%20b", "%C3%A4", &"a".repeat(64)] {
        assert_eq!(put(&data, &format!("/v1/buckets/{name}"), json!({})).await.problem().0, 422, "{name}");
    }
    assert_eq!(put(&data, &format!("/v1/buckets/0.a_-{}", "a".repeat(58)), json!({})).await.status, 201);

    let fixed = put(&data, path, json!({ "kind": "lww" })).await;
    assert_eq!(fixed.problem(), (409, "kind_fixed".to_owned()));
    assert!(fixed.text().contains("nothing was changed"));
    let changed = put(&data, path, json!({ "n": 5, "ttl": "1h", "class": "critical" })).await;
    assert_eq!(changed.status, 200);
    let now = get(&data, path).await.json();
    assert_eq!((&now["n"], &now["r"], &now["w"], &now["class"]), (&json!(5), &json!(3), &json!(3), &json!("critical")));

    node.stop();
    let node = start(&dir).await;
    let list = get(&node.owner(), "/v1/buckets").await.json();
    assert_eq!(list["buckets"].as_array().unwrap().len(), 2);
    assert_eq!(list["buckets"][1], now);
}

#[tokio::test]
async fn a_removed_bucket_takes_its_data_with_it_for_ever() {
    let dir = tempfile::tempdir().unwrap();
    let mut node = start(&dir).await;
    let owner = node.owner();
    assert_eq!(put(&owner, "/v1/buckets/b", json!({ "kind": "lww" })).await.status, 201);
    for key in 0..50 {
        assert_eq!(put(&owner, &format!("/v1/kv/b/{key}"), json!(key)).await.status, 200);
    }
    let removed = call(&owner, "DELETE", "/v1/buckets/b", &[], "").await;
    assert_eq!((removed.status, removed.body.len()), (204, 0));
    assert_eq!(call(&owner, "DELETE", "/v1/buckets/b", &[], "").await.problem(), (404, "no_such_bucket".to_owned()));
    for path in ["/v1/kv/b/1", "/v1/kv/b", "/v1/buckets/b", "/v1/buckets/b/export"] {
        assert_eq!(get(&owner, path).await.problem(), (404, "no_such_bucket".to_owned()), "{path}");
    }
    let empty = async |node: &Node| {
        assert_eq!(get(&node.owner(), "/v1/kv/b/1").await.problem(), (404, "no_such_key".to_owned()));
        assert_eq!(get(&node.owner(), "/v1/kv/b").await.json()["keys"], json!([]));
        assert!(get(&node.owner(), "/v1/buckets/b/export").await.body.is_empty());
    };
    // Another kind is possible now: it is another bucket.
    assert_eq!(put(&owner, "/v1/buckets/b", json!({ "kind": "siblings" })).await.status, 201);
    empty(&node).await;
    node.kill();
    node = start(&dir).await;
    empty(&node).await;
    assert_eq!(put(&node.owner(), "/v1/kv/b/1", json!("new")).await.status, 200);
    assert_eq!(get(&node.owner(), "/v1/kv/b").await.json()["keys"].as_array().unwrap().len(), 1);
}

/// Asked for by such a name, the token of that number would be meant.
#[tokio::test]
async fn a_token_has_no_number_for_a_name() {
    let dir = tempfile::tempdir().unwrap();
    let node = start(&dir).await;
    let owner = node.owner();
    for name in ["1", "0001", "99999999999999999999999"] {
        let document = json!({ "name": name, "scopes": ["data"] }).to_string();
        let refused = call(&owner, "POST", "/v1/tokens", &[], document).await;
        assert_eq!(refused.problem(), (422, "bad_name".to_owned()), "{name}");
        assert!(refused.text().contains("more than a number") && refused.text().contains("nothing was changed"));
    }
    for name in ["1a", "t1", "1-2"] {
        assert!(node.token(name, &["data"]).await.starts_with("rf_"), "{name}");
    }
}

#[tokio::test]
async fn a_token_opens_what_its_scopes_name_until_it_ends() {
    let dir = tempfile::tempdir().unwrap();
    let mut node = start(&dir).await;
    let owner = node.owner();
    assert_eq!(put(&owner, "/v1/buckets/b", json!({ "kind": "lww" })).await.status, 201);
    let device = node.client("device", &["device:read", "device:write"]).await;
    assert_eq!(put(&device, "/v1/kv/b/k", json!(1)).await.status, 200);
    for path in ["/v1/buckets", "/v1/buckets/b", "/v1/buckets/b/export", "/v1/status", "/v1/tokens", "/v1/users"] {
        assert_eq!(get(&device, path).await.problem(), (403, "forbidden".to_owned()), "{path}");
    }
    assert_eq!(put(&device, "/v1/buckets/c", json!({})).await.problem().0, 403);
    let reader = node.client("reader", &["device:read"]).await;
    assert_eq!(
        (get(&reader, "/v1/kv/b/k").await.status, put(&reader, "/v1/kv/b/k", json!(2)).await.status),
        (200, 403)
    );
    let writer = node.client("writer", &["device:write"]).await;
    assert_eq!(
        (get(&writer, "/v1/kv/b/k").await.status, put(&writer, "/v1/kv/b/k", json!(3)).await.status),
        (403, 200)
    );
    let operator = node.client("operator", &["operate", "support"]).await;
    assert_eq!((get(&operator, "/v1/status").await.status, get(&operator, "/v1/kv/b/k").await.status), (200, 403));

    let url = node.url().await;
    for bad in [None, Some(""), Some("rf_x"), Some("rf_AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA")] {
        let refused = get(&client(&url, bad), "/v1/kv/b/k").await;
        assert_eq!(refused.problem(), (401, "unauthorized".to_owned()));
        assert!(refused.header("www-authenticate").unwrap().starts_with("Bearer"));
    }
    let nobody = client(&url, None);
    for header in ["Basic eDp5", "Bearer", "bearer ", "x"] {
        let refused = call(&nobody, "GET", "/v1/kv/b/k", &[("authorization", header)], "").await;
        assert_eq!(refused.problem().0, 401, "{header}");
    }

    let make = async |document: Value| call(&owner, "POST", "/v1/tokens", &[], document.to_string()).await;
    let made = make(json!({ "name": "brief", "scopes": ["data", "data"], "ttl": "300ms" })).await;
    assert_eq!(made.status, 201);
    let secret = made.json()["token"].as_str().unwrap().to_owned();
    assert_eq!(made.json()["scopes"], json!(["data"]));
    let brief = client(&url, Some(&secret));
    eventually("an expired token is refused", async || (get(&brief, "/v1/kv/b/k").await.status == 401).then_some(()))
        .await;
    for (document, status) in [
        (json!({ "name": "device", "scopes": ["data"] }), 409),
        (json!({ "name": "x", "scopes": [] }), 422),
        (json!({ "name": "x", "scopes": ["root"] }), 422),
        (json!({ "name": "x" }), 422),
        (json!({ "name": "", "scopes": ["data"] }), 422),
        (json!({ "name": "<b>", "scopes": ["data"] }), 422),
        (json!({ "name": "x", "scopes": ["data"], "ttl": "0s" }), 422),
        (json!({ "name": "x", "scopes": ["data"], "token": "mine" }), 422),
    ] {
        let refused = make(document.clone()).await;
        assert_eq!(refused.problem().0, status, "{document}");
        assert!(refused.text().contains("nothing was changed"), "{}", refused.text());
    }

    let list = get(&owner, "/v1/tokens").await;
    let names: Vec<_> = list.json()["tokens"].as_array().unwrap().iter().map(|one| one["name"].clone()).collect();
    assert_eq!(names, ["device", "reader", "writer", "operator", "brief"]);
    assert!(!list.text().contains(&secret) && !list.text().contains("hash") && !list.text().contains("rf_"));
    assert!(!node.log().contains(&secret));

    assert_eq!(call(&owner, "DELETE", "/v1/tokens/reader", &[], "").await.status, 204);
    assert_eq!(get(&reader, "/v1/kv/b/k").await.status, 401);
    let number = list.json()["tokens"][0]["id"].clone();
    node.kill();
    node = start(&dir).await;
    let owner = node.owner();
    assert_eq!(call(&owner, "DELETE", &format!("/v1/tokens/{number}"), &[], "").await.status, 204);
    assert_eq!(call(&owner, "DELETE", "/v1/tokens/reader", &[], "").await.problem(), (404, "not_found".to_owned()));
    assert_eq!(get(&owner, "/v1/tokens").await.json()["tokens"].as_array().unwrap().len(), 3);
}

#[tokio::test]
async fn a_refusal_tells_nothing_of_what_is_there_and_is_logged() {
    let dir = tempfile::tempdir().unwrap();
    let node = start(&dir).await;
    assert_eq!(put(&node.owner(), "/v1/buckets/b", json!({ "kind": "lww" })).await.status, 201);
    assert_eq!(put(&node.owner(), "/v1/kv/b/k", json!(1)).await.status, 200);
    let nobody = client(&node.url().await, None);
    // Without a token nobody learns what is there.
    let mut answers = BTreeSet::new();
    for path in ["/v1/kv/b/k", "/v1/kv/b/none", "/v1/kv/none/k", "/v1/kv/b", "/v1/buckets/b", "/v1/buckets/none"] {
        let mut document = get(&nobody, path).await.json();
        document.as_object_mut().unwrap().remove("request_id");
        answers.insert(document.to_string());
    }
    assert_eq!(answers.len(), 1, "{answers:?}");
    let unknown = client(&node.url().await, Some("rf_unknown"));
    assert_eq!(get(&unknown, "/v1/kv/b/k").await.status, 401);
    let device = node.client("device", &["device:read"]).await;
    assert_eq!(
        get(&device, "/v1/buckets/b").await.json()["code"],
        get(&device, "/v1/buckets/none").await.json()["code"]
    );
    let refused = |line: &str| line.contains("a caller's scopes were not enough") && line.contains("device");
    assert!(node.log().lines().any(refused) && node.log().contains("a token or session was refused"));
    assert!(!node.log().contains("rf_"));
}

#[tokio::test]
async fn users_have_passwords_that_nobody_can_read() {
    let dir = tempfile::tempdir().unwrap();
    let node = start(&dir).await;
    let owner = node.owner();
    let document = json!({ "password": "correct horse", "scopes": ["admin"] });
    assert_eq!(put(&owner, "/v1/users/ann", document.clone()).await.status, 201);
    assert_eq!(put(&owner, "/v1/users/ann", document).await.status, 200);
    for (path, password, scopes) in [
        ("/v1/users/bob", "short", json!(["data"])),
        ("/v1/users/bob", "", json!(["data"])),
        ("/v1/users/bob", &"x".repeat(257), json!(["data"])),
        ("/v1/users/bob", "long enough", json!([])),
        ("/v1/users/bob", "long enough", json!(["root"])),
        ("/v1/users/%3Cb%3E", "long enough", json!(["data"])),
    ] {
        let refused = put(&owner, path, json!({ "password": password, "scopes": scopes })).await;
        assert_eq!(refused.problem().0, 422, "{path} {password}");
        assert!(refused.text().contains("nothing was changed"));
        assert!(password.is_empty() || !refused.text().contains(password));
    }
    let list = get(&owner, "/v1/users").await;
    let users = list.json()["users"].as_array().unwrap().clone();
    assert_eq!((users.len(), &users[0]["name"], &users[0]["scopes"]), (1, &json!("ann"), &json!(["admin"])));
    assert!(!list.text().contains("argon2") && !node.log().contains("correct horse"));
    assert_eq!(call(&owner, "DELETE", "/v1/users/ann", &[], "").await.status, 204);
    assert_eq!(call(&owner, "DELETE", "/v1/users/ann", &[], "").await.problem(), (404, "not_found".to_owned()));
}

/// A request that reaches the route; harmless, as it names nothing that is there.
async fn knock(client: &Client, route: &Route) -> Reply {
    let path =
        route.path.replace("{*key}", "k").replace("{bucket}", "none").replace("{name}", "none").replace("{id}", "0");
    // Whoever follows events is answered until they go.
    let path = if path == "/v1/events" { path + "?follow=false" } else { path };
    let ndjson = route.path.ends_with("/import");
    let headers: &[(&str, &str)] = if ndjson { &[("content-type", "application/x-ndjson")] } else { &[] };
    call(client, route.method, &path, headers, "").await
}

#[tokio::test]
async fn every_route_asks_for_the_right_token_and_is_there_for_an_admin() {
    let dir = tempfile::tempdir().unwrap();
    let node = start(&dir).await;
    let url = node.url().await;
    let admin = node.client("all", &["admin"]).await;
    let mut by_scope = Vec::new();
    for scope in Scope::ALL {
        by_scope.push((scope, node.client(scope.name().split(':').next_back().unwrap(), &[scope.name()]).await));
    }
    for route in ROUTES {
        let named = format!("{} {}", route.method, route.path);
        let open = matches!(route.need, Need::Nothing | Need::Metrics);
        let status = knock(&client(&url, None), route).await.status;
        assert_eq!(status == 401, !open, "{named} without a token: {status}");
        for (scope, client) in &by_scope {
            let status = knock(client, route).await.status;
            let may = open || route.need.met_by(&[*scope]);
            assert_eq!(status == 403, !may, "{named} with {}: {status}", scope.name());
            assert_ne!(status, 401, "{named}");
        }
        let reply = knock(&admin, route).await;
        let owners = route.need == Need::Owner;
        assert!((reply.status == 403) == owners && ![401, 405].contains(&reply.status), "{named}: {}", reply.status);
        if reply.status >= 400 && !owners {
            assert_ne!(reply.problem().1, "no_such_path", "{named}");
        }
    }
    for path in ["/v1", "/v2/kv/b/k", "/v1/kv", "/v1/buckets/", "/v1/buckets/a/b", "/v1/healthz"] {
        assert_eq!(get(&admin, path).await.problem(), (404, "no_such_path".to_owned()), "{path}");
    }
    for (method, path) in
        [("POST", "/v1/kv/b/k"), ("PATCH", "/v1/buckets/b"), ("DELETE", "/v1/status"), ("PUT", "/healthz")]
    {
        let refused = call(&admin, method, path, &[], "").await;
        assert_eq!(refused.problem(), (405, "no_such_method".to_owned()), "{method} {path}");
        assert!(refused.header("allow").is_some(), "{method} {path}");
    }
}

#[tokio::test]
async fn what_the_node_says_of_itself_is_so() {
    let dir = tempfile::tempdir().unwrap();
    let node = start(&dir).await;
    let nobody = client(&node.url().await, None);
    for (path, text) in [("/healthz", "ok\n"), ("/readyz", "ready\n")] {
        let reply = get(&nobody, path).await;
        assert_eq!((reply.status, reply.text()), (200, text));
    }

    let document = get(&nobody, "/v1/openapi.json").await.json();
    let mut described = BTreeSet::new();
    for (path, methods) in document["paths"].as_object().unwrap() {
        for (method, operation) in methods.as_object().unwrap() {
            described.insert(format!("{} {path}", method.to_uppercase()));
            let parameters = operation["parameters"].as_array().unwrap();
            for name in path.split('/').filter_map(|part| part.strip_prefix('{')?.strip_suffix('}')) {
                assert!(parameters.iter().any(|one| one["name"] == name && one["in"] == "path"), "{path} {name}");
            }
        }
    }
    let served = ROUTES.iter().filter(|route| !routes::is_empty_key(route.path));
    let served: BTreeSet<_> =
        served.map(|route| format!("{} {}", route.method, route.path.replace("{*key}", "{key}"))).collect();
    assert_eq!(described, served);

    // Counted: some of each kind, so that every family has a value.
    get(&nobody, "/v1/kv/b/k").await;
    let metrics = get(&nobody, "/metrics").await;
    assert!(metrics.header("content-type").unwrap().starts_with("text/plain; version=0.0.4"));
    let mut names = BTreeSet::new();
    for line in metrics.text().lines() {
        if let Some(comment) = line.strip_prefix('#') {
            assert!(comment.starts_with(" HELP ringfort_") || comment.starts_with(" TYPE ringfort_"), "{line}");
            continue;
        }
        let (series, value) = line.rsplit_once(' ').unwrap_or_else(|| panic!("{line}"));
        assert!(value.parse::<f64>().is_ok(), "{line}");
        let (name, labels) = series.split_once('{').unwrap_or((series, "}"));
        assert!(labels.ends_with('}') && name.starts_with("ringfort_"), "{line}");
        assert!(name.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_'), "{line}");
        for label in labels.trim_end_matches('}').split(',').filter(|label| !label.is_empty()) {
            let (_, value) = label.split_once("=\"").unwrap_or_else(|| panic!("{line}"));
            assert!(value.ends_with('"'), "{line}");
        }
        assert!(names.insert(series.to_owned()), "twice: {line}");
    }
    assert!(names.len() > 10 && metrics.text().ends_with('\n'), "{names:?}");

    let status = node.status().await;
    let worker = status["worker_pid"].as_u64().unwrap();
    let supervisor = std::fs::read_to_string(format!("/proc/{worker}/status")).unwrap();
    assert!(supervisor.contains(&format!("PPid:\t{}\n", node.pid())));
    for field in ["node", "cluster", "release", "survives", "alarms"] {
        assert!(!status[field].is_null(), "{field}");
    }
}
