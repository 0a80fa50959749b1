//! The audit of changes: who, from where, what; chained, checked where it is read, whole after restarts.

use std::process::Stdio;

use hyper::Method;
use ringfort::base::limits::AUDIT_ENTRIES_MAX;
use ringfort::cli::client::full;
use serde_json::Value;
use serde_json::json;
use tokio::io::AsyncReadExt;
use tokio::io::AsyncWriteExt;
use tokio::net::TcpListener;

use crate::support::Node;
use crate::support::Reply;
use crate::support::call;
use crate::support::command;
use crate::support::ended;
use crate::support::eventually;
use crate::support::ringfort_in;

async fn start(dir: &tempfile::TempDir) -> Node {
    Node::start(&dir.path().join("data")).await
}

async fn entries(node: &Node) -> Vec<Value> {
    let page = call(&node.owner(), "GET", "/v1/audit", &[], "").await.json();
    page["entries"].as_array().unwrap().clone()
}

#[tokio::test]
async fn every_change_says_who_made_it_and_from_where() {
    let dir = tempfile::tempdir().unwrap();
    let mut node = start(&dir).await;
    let admin = node.client("ops", &["admin"]).await;
    let level = json!({ "target": "h2", "level": "debug", "for": "9m" });
    let changes = [
        ("PUT", "/v1/buckets/b", json!({ "kind": "lww", "ttl": "1h" }), "sets bucket `b`: kind lww, n 3"),
        ("POST", "/v1/buckets/b/import?format=ndjson&key=k", json!({ "k": "x" }), "imports into bucket `b`"),
        ("DELETE", "/v1/buckets/b", json!(null), "removes bucket `b` with all its data"),
        ("POST", "/v1/tokens", json!({ "name": "t", "scopes": ["data"] }), "makes token `t` for data"),
        ("DELETE", "/v1/tokens/t", json!(null), "removes token 2, `t`"),
        ("PUT", "/v1/users/ann", json!({ "password": "tall ships at dawn", "scopes": ["admin"] }), "sets user `ann`"),
        ("PUT", "/v1/users/bob", json!({ "scopes": ["data"] }), "sets user `bob` without a password for data"),
        ("PUT", "/v1/users/bob", json!({ "scopes": ["operate"] }), "sets what user `bob` may do to operate"),
        ("POST", "/v1/sign-in-links", json!({ "user": "bob" }), "makes a one-time sign-in link for user `bob`"),
        ("DELETE", "/v1/users/bob", json!(null), "removes user `bob`"),
        ("POST", "/v1/log-level", level, "logs `h2` at level debug on all nodes until 2"),
    ];
    for (method, path, document, _) in &changes {
        let body = if document.is_null() { String::new() } else { document.to_string() };
        let reply = call(&admin, method, path, &[("content-type", "application/json")], body).await;
        assert!(reply.status < 300, "{method} {path}: {}", reply.text());
    }
    // Neither what changes nothing nor what is refused.
    for (method, path, document) in [
        ("PUT", "/v1/users/ann", json!({ "scopes": ["admin"] })),
        ("PUT", "/v1/users/ann", json!({ "scopes": ["data"] })),
        ("DELETE", "/v1/users/nobody", json!(null)),
        ("PUT", "/v1/buckets/B", json!({})),
    ] {
        call(&admin, method, path, &[], document.to_string()).await;
    }
    let told = entries(&node).await;
    assert_eq!(told.len(), 1 + changes.len(), "{told:#?}");
    assert_eq!(
        (&told[0]["by"], &told[0]["via"], &told[0]["from"]),
        (&json!("local owner"), &json!("local"), &json!(null))
    );
    for ((_, _, _, what), entry) in changes.iter().zip(&told[1..]) {
        assert!(entry["what"].as_str().unwrap().starts_with(what), "{what}: {entry}");
        assert_eq!((&entry["by"], &entry["via"]), (&json!("ops"), &json!("token")));
        assert_eq!(entry["from"], "127.0.0.1");
    }
    // The log has a line of each, in case that the audit does not keep it.
    let log = node.log();
    let lines: Vec<&str> = log.lines().filter(|line| line.contains("ringfort::audit: ")).collect();
    assert_eq!(lines.len(), told.len(), "{log}");
    for (line, entry) in lines.iter().zip(&told) {
        let quoted = |name: &str| format!("{name}={:?}", entry[name].as_str().unwrap());
        let from = entry["from"].as_str().map_or_else(String::new, |from| format!("from={from} "));
        for part in [&format!("seq={} ", entry["seq"]), &quoted("by"), &quoted("what"), &from] {
            assert!(line.contains(part.as_str()), "{part} not in {line}");
        }
    }
    let text = serde_json::to_string(&told).unwrap() + &log;
    assert!(!text.contains("tall ships") && !text.contains("argon2") && !text.contains("rf_"));

    node.kill();
    let node = start(&dir).await;
    assert_eq!(entries(&node).await, told);
    let first = call(&node.owner(), "GET", "/v1/audit?limit=4", &[], "").await.json();
    let rest = call(&node.owner(), "GET", "/v1/audit?after=4", &[], "").await.json();
    assert_eq!((&first["next"], &rest["next"], &rest["entries"][0]), (&json!(4), &json!(null), &told[4]));
    // Those of who gets in once more, numbered and chained by themselves.
    let access = call(&node.owner(), "GET", "/v1/audit?chain=access", &[], "").await.json();
    let (access, anchor) = (access["entries"].as_array().unwrap(), &access["anchor"]["seq"]);
    let of_access =
        |entry: &&Value| ["user", "token"].iter().any(|word| entry["what"].as_str().unwrap().contains(word));
    let expected: Vec<&Value> = told.iter().filter(of_access).map(|entry| &entry["what"]).collect();
    assert_eq!((access.iter().map(|entry| &entry["what"]).collect::<Vec<_>>(), anchor), (expected, &json!(0)));
    assert_eq!((&access[7]["seq"], &access[7]["prev"]), (&json!(8), &access[6]["hash"]));
    for bad in ["limit=0", "limit=1001", "limit=x", "after=-1", "since=1", "chain=most"] {
        assert_eq!(call(&node.owner(), "GET", &format!("/v1/audit?{bad}"), &[], "").await.problem().0, 400, "{bad}");
    }
}

#[tokio::test]
async fn the_command_line_checks_the_chain_and_follows_it() {
    let dir = tempfile::tempdir().unwrap();
    let node = start(&dir).await;
    let url = node.url().await;
    std::fs::write(dir.path().join("token"), node.token("ops", &["admin"]).await).unwrap();
    let words = ["audit", "--url", &url, "--token-file", "token"];
    let whole = ringfort_in(dir.path(), &words);
    assert!(whole.code == 0 && whole.out.contains("makes token `ops` for admin"), "{whole:?}");
    let as_json = ringfort_in(dir.path(), &[&words[..], &["--json"]].concat()).json();
    assert_eq!((&as_json["verified"], as_json["entries"].as_array().unwrap().len()), (&json!(true), 1));

    call(&node.owner(), "PUT", "/v1/buckets/zero", &[], "").await;
    let access = ringfort_in(dir.path(), &[&words[..], &["--access", "--json"]].concat()).json();
    assert_eq!((&access["verified"], access["entries"].as_array().unwrap().len()), (&json!(true), 1));

    let log = dir.path().join("followed");
    let mut follow = command(dir.path(), &[&words[..], &["--follow", "--json"]].concat());
    let mut follow = follow.stdout(std::fs::File::create(&log).unwrap()).stderr(Stdio::null()).spawn().unwrap();
    let followed = async |name: &str| {
        let made = format!("sets bucket `{name}`");
        eventually("the change is followed", async || {
            std::fs::read_to_string(&log).unwrap().contains(&made).then_some(())
        })
        .await;
    };
    for name in ["one", "two"] {
        call(&node.owner(), "PUT", &format!("/v1/buckets/{name}"), &[], "").await;
        followed(name).await;
    }
    follow.kill().unwrap();
    follow.wait().unwrap();
    for line in std::fs::read_to_string(&log).unwrap().lines() {
        assert!(serde_json::from_str::<Value>(line).unwrap()["hash"].is_string(), "{line}");
    }
}

/// Whoever may change buckets does so until the audit of everything keeps only that.
#[tokio::test]
async fn a_flood_of_other_changes_leaves_those_of_users_and_says_what_it_pushed_out() {
    let dir = tempfile::tempdir().unwrap();
    let mut node = start(&dir).await;
    let user = json!({ "password": "tall ships at dawn", "scopes": ["admin"] }).to_string();
    assert_eq!(call(&node.owner(), "PUT", "/v1/users/ann", &[], user).await.status, 201);
    let mut flood = node.client("flood", &["data"]).await.open().await.map_err(|failure| failure.message).unwrap();
    for round in 0..AUDIT_ENTRIES_MAX + 100 {
        let definition = json!({ "w": round % 2 + 1 }).to_string();
        let sent = flood.send(Method::PUT, "/v1/buckets/b", &[], full(definition)).await;
        let reply = Reply::read(sent.map_err(|failure| failure.message).unwrap()).await;
        assert!(reply.status < 300, "{reply:?}");
    }
    let pages = async |node: &Node| {
        let page = async |path| call(&node.owner(), "GET", path, &[], "").await;
        let all = page("/v1/audit").await.json();
        (all["anchor"]["seq"].as_u64().unwrap(), page("/v1/audit?chain=access").await.json())
    };
    let (dropped, access) = pages(&node).await;
    assert!(dropped > 2, "{dropped}");
    let told: Vec<_> = access["entries"].as_array().unwrap().iter().map(|entry| entry["what"].clone()).collect();
    assert_eq!((&access["anchor"]["seq"], told.len()), (&json!(0), 2), "{told:?}");
    assert_eq!(told[0], "sets user `ann` with a password for admin");
    let page = call(&node.owner(), "GET", "/settings/audit", &[], "").await;
    assert!(page.text().contains(&format!("Numbers 1 to {dropped} are not kept any more")), "{}", page.text());
    let page = call(&node.owner(), "GET", "/settings/audit?chain=access", &[], "").await;
    assert!(page.text().contains("The chain holds") && !page.text().contains("not kept any more"), "{}", page.text());
    node.kill();
    let node = start(&dir).await;
    assert_eq!(pages(&node).await, (dropped, access));
    for more in [&[][..], &["--access"]] {
        let url = node.url().await;
        std::fs::write(dir.path().join("token"), node.token(&format!("ops{}", more.len()), &["admin"]).await).unwrap();
        let whole = ringfort_in(dir.path(), &[&["audit", "--url", &url, "--token-file", "token"], more].concat());
        assert!(whole.code == 0 && whole.err.contains("holds"), "{whole:?}");
    }
}

/// Answers every request with this document, as a node would.
async fn lying_node(document: Value) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let body = document.to_string();
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let mut head = [0; 4096];
            let _read = stream.read(&mut head).await;
            let answer =
                format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\nconnection: close\r\n\r\n{body}", body.len());
            let _written = stream.write_all(answer.as_bytes()).await;
        }
    });
    url
}

#[tokio::test(flavor = "multi_thread")]
async fn a_chain_that_was_tampered_with_is_noticed_by_whoever_reads_it() {
    let dir = tempfile::tempdir().unwrap();
    let node = start(&dir).await;
    for name in ["a", "b", "c", "d"] {
        call(&node.owner(), "PUT", &format!("/v1/buckets/{name}"), &[], "").await;
    }
    let page = call(&node.owner(), "GET", "/v1/audit", &[], "").await.json();
    let lies: [fn(&mut Value); 6] = [
        |page| page["entries"][1]["by"] = json!("somebody else"),
        |page| page["entries"][1]["what"] = json!("sets bucket `x`"),
        |page| page["entries"][2]["at"] = json!("2020-01-01T00:00:00.000Z"),
        |page| drop(page["entries"].as_array_mut().unwrap().remove(1)),
        |page| page["entries"].as_array_mut().unwrap().swap(1, 2),
        |page| drop(page["entries"].as_array_mut().unwrap().pop()),
    ];
    let asked = async |page: Value, more: &[&str]| {
        let url = lying_node(page).await;
        let command = command(dir.path(), &[&["audit", "--url", &url], more].concat());
        tokio::task::spawn_blocking(move || ended(command)).await.unwrap()
    };
    let honest = asked(page.clone(), &[]).await;
    assert_eq!(honest.code, 0, "{honest:?}");
    // What is not kept any more is said, and no lie.
    let mut shortened = page.clone();
    let dropped: Vec<Value> = shortened["entries"].as_array_mut().unwrap().drain(..2).collect();
    shortened["anchor"] = json!({ "seq": 2, "hash": dropped[1]["hash"] });
    for (more, says) in
        [(&[][..], "2 are not kept any more; those of users"), (&["--access"], "2 are not kept any more\n")]
    {
        let honest = asked(shortened.clone(), more).await;
        assert!(honest.code == 0 && honest.err.contains(says), "{honest:?}");
    }
    for (number, lie) in lies.iter().enumerate() {
        let mut page = page.clone();
        lie(&mut page);
        let noticed = asked(page, &[]).await;
        assert!(noticed.code == 3 && noticed.err.contains("does not follow"), "lie {number}: {noticed:?}");
    }
}
