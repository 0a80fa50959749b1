//! Import, export and batch on a real node: the real data there and back, repeated and resumed, kept byte for byte,
//! and refused row by row or as a whole.

use std::collections::BTreeMap;
use std::path::Path;

use ringfort::cli::client::Client;
use serde_json::Value;
use serde_json::json;

use crate::support::Ended;
use crate::support::Node;
use crate::support::Reply;
use crate::support::airports;
use crate::support::call;
use crate::support::ringfort_in;

const ROWS: u64 = 28_298;

async fn start(dir: &tempfile::TempDir) -> Node {
    Node::start(&dir.path().join("data")).await
}

async fn get(client: &Client, path: &str) -> Reply {
    call(client, "GET", path, &[], "").await
}

/// Sends rows to `/v1/buckets/{bucket}/import`.
async fn import(client: &Client, bucket: &str, query: &str, rows: impl Into<Vec<u8>>) -> Reply {
    call(client, "POST", &format!("/v1/buckets/{bucket}/import?{query}"), &[], rows.into()).await
}

/// Rows read, stored, there already, rejected.
fn counts(report: &Value) -> [u64; 4] {
    ["rows", "stored", "unchanged", "rejected"].map(|name| report[name].as_u64().unwrap_or_else(|| panic!("{report}")))
}

fn table(path: &Path) -> (Vec<String>, BTreeMap<String, Vec<String>>) {
    let mut reader = csv::Reader::from_path(path).unwrap();
    let header = reader.headers().unwrap().iter().map(str::to_owned).collect();
    let cells = |row: csv::StringRecord| row.iter().map(str::to_owned).collect::<Vec<_>>();
    (header, reader.records().map(|row| cells(row.unwrap())).map(|row| (row[0].clone(), row)).collect())
}

#[tokio::test]
async fn the_airports_come_back_cell_for_cell_and_an_import_can_be_repeated() {
    let dir = tempfile::tempdir().unwrap();
    let node = start(&dir).await;
    let here = dir.path();
    let token = here.join("token");
    std::fs::write(&token, node.token("data", &["data"]).await + "\n").unwrap();
    let url = node.url().await;
    let cli = |words: &[&str]| -> Ended {
        ringfort_in(here, &[words, &["--url", &url, "--token-file", token.to_str().unwrap()]].concat())
    };
    let file = airports();
    let file = file.to_str().unwrap();
    let first = cli(&["import", "airports", file, "--key", "icao"]);
    assert_eq!(first.code, 0, "{first:?}");
    assert!(first.err.contains("bucket airports is new, of kind lww"), "{first:?}");
    assert!(first.err.contains("28298 rows: 28298 stored, 0 there already, 0 rejected"), "{first:?}");

    let (header, rows) = table(&airports());
    assert_eq!(rows.len() as u64, ROWS);
    let device = node.client("device", &["device:read", "device:write"]).await;
    for icao in ["00AA", "EDDF", "KJFK", "LSZH", "ZZZZ"].into_iter().filter(|icao| rows.contains_key(*icao)) {
        let read = get(&device, &format!("/v1/kv/airports/{icao}")).await;
        assert_eq!(read.header("content-type"), Some("application/json"));
        let object: serde_json::Map<String, Value> = serde_json::from_slice(&read.body).unwrap();
        for (column, cell) in header.iter().zip(&rows[icao]) {
            assert_eq!(object[column], json!(cell), "{icao} {column}");
        }
        let at: Vec<_> = header.iter().map(|column| read.text().find(&format!("\"{column}\":")).unwrap()).collect();
        assert!(at.is_sorted(), "in header order: {}", read.text());
    }
    let listed = cli(&["kv", "ls", "airports", "--prefix", "ED"]);
    let wanted: Vec<&str> = rows.keys().map(String::as_str).filter(|key| key.starts_with("ED")).collect();
    assert_eq!(listed.out.lines().collect::<Vec<_>>(), wanted);

    let exported = here.join("out.csv");
    assert_eq!(cli(&["export", "airports", exported.to_str().unwrap()]).code, 0);
    assert!(table(&exported) == (header, rows.clone()), "the export is the import");
    let lines = cli(&["export", "airports"]);
    let keys = lines.out.lines().map(|line| serde_json::from_str::<Value>(line).unwrap()["key"].clone());
    assert!(keys.eq(rows.keys().map(|key| json!(key))), "one line a key, in key order");

    for more in [&[][..], &["--resume"]] {
        let again = cli(&[&["--json", "import", "airports", file, "--key", "icao"], more].concat());
        assert_eq!((again.code, counts(&again.json())), (0, [ROWS, 0, ROWS, 0]));
        assert_eq!(again.json()["bucket_made"], false);
    }
    let put = call(&device, "PUT", "/v1/kv/airports/EDDF", &[], "changed").await;
    assert_eq!(put.status, 200);
    assert_eq!(call(&device, "DELETE", "/v1/kv/airports/00AA", &[], "").await.status, 200);
    let resumed = cli(&["import", "airports", file, "--key", "icao", "--resume"]);
    assert!(resumed.err.contains("28298 rows: 1 stored, 28297 there already"), "{resumed:?}");
    assert_eq!(get(&device, "/v1/kv/airports/EDDF").await.text(), "changed");
    let replaced = cli(&["import", "airports", file, "--key", "icao"]);
    assert!(replaced.err.contains("28298 rows: 1 stored, 28297 there already"), "{replaced:?}");
    assert_eq!(get(&device, "/v1/kv/airports/EDDF").await.json()["iata"], rows["EDDF"][1]);
}

#[tokio::test]
async fn ndjson_is_kept_byte_for_byte_and_an_export_goes_back_in_equal() {
    let dir = tempfile::tempdir().unwrap();
    let node = start(&dir).await;
    let data = node.client("data", &["data"]).await;
    let lines = [
        r#"{ "id": "a",  "n": 1e3, "u": "\u00e9é" }"#,
        r#"{"id":7,"id2":{"deep":[1,2,{"x":null}]}}"#,
        r#"{"id":"key with / and % and é","z":0.10}"#,
    ];
    let body = format!("\u{feff}{}\r\n\n{}\n{}", lines[0], lines[1], lines[2]);
    let report = import(&data, "from", "format=ndjson&key=id", body.clone()).await;
    assert_eq!((report.status, counts(&report.json())), (200, [3, 3, 0, 0]));
    let by_type = [("content-type", "application/x-ndjson; charset=utf-8")];
    let again = call(&data, "POST", "/v1/buckets/from/import?key=id", &by_type, body).await;
    assert_eq!(counts(&again.json()), [3, 0, 3, 0]);
    for (key, line) in [("a", lines[0]), ("7", lines[1]), ("key%20with%20/%20and%20%25%20and%20%C3%A9", lines[2])] {
        let read = get(&data, &format!("/v1/kv/from/{key}")).await;
        assert_eq!((read.text(), read.header("content-type")), (line, Some("application/json")));
    }
    let values: [(&str, &str, &[u8]); 7] = [
        ("%FF%00", "application/octet-stream", b"\x00\xff binary"),
        ("text", "text/plain; charset=utf-8", "é\n\"".as_bytes()),
        ("no-type", "", b""),
        ("html", "text/html", b"<p>"),
        ("false-json", "application/json", b"{not json"),
        ("two-lines", "application/json", b"{\n \"a\": 1\n}"),
        ("scalar", "application/json", b"  12.50 "),
    ];
    for (key, content_type, body) in values {
        let headers: &[(&str, &str)] = if content_type.is_empty() { &[] } else { &[("content-type", content_type)] };
        let stored = call(&data, "PUT", &format!("/v1/kv/from/{key}"), headers, body.to_vec()).await;
        assert_eq!(stored.status, 200, "{stored:?}");
    }
    let export = get(&data, "/v1/buckets/from/export").await;
    assert_eq!(export.header("content-type"), Some("application/x-ndjson"));
    assert_eq!(export.text().lines().count(), 10);
    assert!(export.text().contains(&format!("{{\"key\":\"a\",\"value\":{}}}\n", lines[0])), "{}", export.text());
    let report = import(&data, "to", "format=ndjson", export.body.clone()).await.json();
    assert_eq!((counts(&report), &report["bucket_made"]), ([10, 10, 0, 0], &json!(true)));
    assert_eq!(get(&data, "/v1/buckets/to/export").await.text(), export.text());
    for (key, _, body) in values {
        let [from, to] =
            [get(&data, &format!("/v1/kv/from/{key}")).await, get(&data, &format!("/v1/kv/to/{key}")).await];
        // White space between the parts of a JSON value is not of the value.
        let json = |bytes: &[u8]| serde_json::from_slice::<serde_json::Value>(bytes).ok();
        let same = to.body == body || (json(body).is_some() && json(&to.body) == json(body));
        assert!(from.body == body && same, "{key}");
        assert_eq!(to.header("content-type"), from.header("content-type"));
        assert_eq!(to.header("ringfort-content-type"), from.header("ringfort-content-type"));
    }
    let refused = get(&data, "/v1/buckets/to/export?format=csv").await;
    assert_eq!(refused.problem(), (422, "unsuitable".to_owned()));
}

#[tokio::test]
async fn bad_rows_are_named_with_line_and_column_and_the_good_ones_stored() {
    let dir = tempfile::tempdir().unwrap();
    let node = start(&dir).await;
    let owner = node.owner();
    let mut rows = b"id,name\n1,one\n2,two,too many\n3\n\"4\",\"fo\nur\"\n,nobody\n6,\xff\n".to_vec();
    rows.extend(format!("{},x\n7,seven\n", "k".repeat(1025)).into_bytes());
    let report = import(&owner, "b", "format=csv", rows.clone()).await.json();
    assert_eq!(counts(&report), [8, 3, 0, 5]);
    let places: Vec<_> =
        report["errors"].as_array().unwrap().iter().map(|e| (e["line"].clone(), e["column"].clone())).collect();
    assert_eq!(json!(places), json!([[3, 3], [4, 2], [7, 1], [8, 2], [9, 1]]), "{report}");
    assert_eq!(get(&owner, "/v1/kv/b/4").await.json()["name"], "fo\nur");
    assert_eq!(get(&owner, "/v1/kv/b").await.json()["keys"].as_array().unwrap().len(), 3);

    let lines = "{\"id\":\"a\"}\n{\"id\": x}\n[1]\n{\"id\":[]}\n{}\n{\"id\":\"\"}\n\n{\"id\":\"b\"";
    let report = import(&owner, "n", "format=ndjson&key=id", lines).await.json();
    assert_eq!(counts(&report), [7, 1, 0, 6], "{report}");
    let lines: Vec<_> = report["errors"].as_array().unwrap().iter().map(|error| error["line"].clone()).collect();
    assert_eq!(json!(lines), json!([2, 3, 4, 5, 6, 8]));
    assert_eq!(report["errors"][0]["column"], 8);
    let big = json!({ "id": "big", "x": "y".repeat(1 << 20) }).to_string();
    let report = import(&owner, "n", "format=ndjson&key=id", big).await.json();
    assert_eq!(counts(&report), [1, 0, 0, 1]);

    // Not more errors than a person reads, but all of them counted.
    let report = import(&owner, "many", "format=csv", format!("id,x\n{}", "1\n".repeat(500))).await.json();
    assert_eq!((counts(&report), report["errors"].as_array().unwrap().len()), ([500, 0, 0, 500], 100));

    let file = dir.path().join("bad.csv");
    std::fs::write(&file, rows).unwrap();
    let url = node.url().await;
    let token = dir.path().join("token");
    std::fs::write(&token, node.token("cli", &["data"]).await).unwrap();
    let words = ["import", "b", "bad.csv", "--url", &url, "--token-file", "token"];
    let done = ringfort_in(dir.path(), &words);
    assert_eq!(done.code, 65, "{done:?}");
    assert!(done.err.contains("line 3 column 3: ") && done.err.contains("line 9 column 1: "), "{done:?}");
    assert!(done.err.contains("8 rows: 0 stored, 3 there already, 5 rejected"), "{done:?}");
}

#[tokio::test]
async fn an_import_that_cannot_begin_changes_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let node = start(&dir).await;
    let owner = node.owner();
    let wrong = import(&owner, "b", "format=csv&key=icao", "id,name\n1,one\n").await;
    assert_eq!(wrong.problem(), (422, "unsuitable".to_owned()));
    assert!(wrong.text().contains("id, name") && wrong.text().contains("nothing was stored"), "{}", wrong.text());
    for (rows, why) in [("", "no header"), ("id,id\n1,2\n", "one name twice")] {
        assert_eq!(import(&owner, "b", "format=csv", rows).await.problem().0, 422, "{why}");
    }
    let wide = vec!["c"; 2000].iter().enumerate().map(|(at, c)| format!("{c}{at}")).collect::<Vec<_>>().join(",");
    assert_eq!(import(&owner, "b", "format=csv", wide).await.problem().0, 422);
    assert_eq!(import(&owner, "b", "", "x").await.problem(), (400, "format_needed".to_owned()));
    assert_eq!(import(&owner, "b", "format=xml", "x").await.problem().0, 400);
    assert_eq!(import(&owner, "b", "format=csv&existing=x", "x").await.problem().0, 400);
    assert_eq!(import(&owner, "Bad", "format=ndjson", "{}").await.problem(), (422, "bad_name".to_owned()));
    assert_eq!(get(&owner, "/v1/buckets").await.json()["buckets"], json!([]), "no bucket is left behind");
}

/// The most memory that the worker ever held, in MiB.
async fn peak_mib(node: &Node) -> u64 {
    let pid = node.status().await["worker_pid"].clone();
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let line = status.lines().find(|line| line.starts_with("VmHWM:")).unwrap();
    line.split_whitespace().nth(1).unwrap().parse::<u64>().unwrap() / 1024
}

#[tokio::test]
async fn a_row_without_an_end_is_refused_before_it_fills_memory() {
    let dir = tempfile::tempdir().unwrap();
    let node = start(&dir).await;
    let owner = node.owner();
    let before = peak_mib(&node).await;
    let endless = "x".repeat(5 << 20);
    let quoted = import(&owner, "b", "format=csv", format!("id,x\n1,one\n2,\"{endless}")).await;
    let line = import(&owner, "b", "format=ndjson&key=id", format!("{{\"id\":\"3\"}}\n{{\"id\":\"{endless}")).await;
    let header = import(&owner, "c", "format=csv", endless).await;
    for (refused, at) in [(&quoted, "line 3"), (&line, "line 2"), (&header, "line 1")] {
        assert_eq!(refused.problem(), (422, "unsuitable".to_owned()));
        assert!(refused.text().contains(at) && refused.text().contains("stored"), "{}", refused.text());
    }
    let peak = peak_mib(&node).await;
    assert!(peak < before + 24, "grew from {before} to {peak} MiB");
    for key in ["1", "3"] {
        assert_eq!(get(&owner, &format!("/v1/kv/b/{key}")).await.status, 200, "rows before it are stored");
    }
    assert_eq!(import(&owner, "b", "format=csv", "id,x\n4,four\n").await.status, 200);
}

#[tokio::test]
async fn an_import_into_a_siblings_bucket_keeps_its_kind_and_replaces_what_is_there() {
    let dir = tempfile::tempdir().unwrap();
    let node = start(&dir).await;
    let owner = node.owner();
    assert_eq!(call(&owner, "PUT", "/v1/buckets/s", &[], "{}").await.status, 201);
    for value in ["a", "b"] {
        assert_eq!(call(&owner, "PUT", "/v1/kv/s/1", &[], value).await.status, 200);
    }
    let lines = get(&owner, "/v1/buckets/s/export").await;
    let line: Value = serde_json::from_str(lines.text()).unwrap();
    assert_eq!((&line["key"], line["siblings"].as_array().unwrap().len()), (&json!("1"), 2));
    // The mark that some programs put before the header is not of the first column's name.
    let report = import(&owner, "s", "format=csv&key=id", "\u{feff}id,x\n1,one\n2,two\n").await.json();
    assert_eq!((counts(&report), &report["bucket_made"]), ([2, 2, 0, 0], &json!(false)));
    assert_eq!(get(&owner, "/v1/buckets/s").await.json()["kind"], "siblings");
    assert_eq!(get(&owner, "/v1/kv/s/1").await.json(), json!({ "id": "1", "x": "one" }));
    assert_eq!(get(&owner, "/v1/buckets/s/export?format=csv").await.text(), "id,x\n1,one\n2,two\n");
    // What a CSV row cannot hold breaks the export off instead of being left out.
    assert_eq!(call(&owner, "PUT", "/v1/kv/s/2", &[], "blind").await.status, 200);
    let refused = get(&owner, "/v1/buckets/s/export?format=csv").await;
    assert_eq!(refused.problem(), (422, "unsuitable".to_owned()));
    // The same behind rows that are on their way already.
    let large = format!("id,x\n0,{}\n", "x".repeat(200_000));
    assert_eq!(import(&owner, "s", "format=csv&key=id", large).await.status, 200);
    let mut answer = crate::support::send(&owner, hyper::Method::GET, "/v1/buckets/s/export?format=csv", &[], "").await;
    let mut broken = false;
    while let Some(piece) = answer.piece().await.unwrap_or_else(|_broke_off| {
        broken = true;
        None
    }) {
        drop(piece);
    }
    assert!(broken, "an export without all rows looks whole");
}

async fn batch(client: &Client, ops: Value) -> Reply {
    call(client, "POST", "/v1/batch", &[], json!({ "ops": ops }).to_string()).await
}

/// A node with a siblings bucket `s`, an lww bucket `l`, and a client that may read and write values.
async fn node_for_batches(dir: &tempfile::TempDir) -> (Node, Client) {
    let node = start(dir).await;
    let owner = node.owner();
    for (name, kind) in [("s", "siblings"), ("l", "lww")] {
        let made = call(&owner, "PUT", &format!("/v1/buckets/{name}"), &[], json!({ "kind": kind }).to_string()).await;
        assert_eq!(made.status, 201);
    }
    let device = node.client("device", &["device:read", "device:write"]).await;
    (node, device)
}

#[tokio::test]
async fn each_operation_of_a_batch_has_its_own_answer() {
    let dir = tempfile::tempdir().unwrap();
    let (_node, device) = node_for_batches(&dir).await;
    let stored = batch(
        &device,
        json!([
            { "op": "put", "bucket": "l", "key": "json", "value": { "a": [1, 2] } },
            { "op": "put", "bucket": "l", "key_b64": "/w==", "value_b64": "AP8=", "content_type": "image/png" },
            { "op": "put", "bucket": "none", "key": "k", "value": 1 },
            { "op": "put", "bucket": "l", "key": "", "value": 1 },
            { "op": "put", "bucket": "l", "key": "k" },
            { "op": "put", "bucket": "l", "key": "k", "key_b64": "aw==", "value": 1 },
            { "op": "put", "bucket": "l", "key": "brief", "value": 1, "ttl": "0s" },
            { "op": "put", "bucket": "s", "key": "k", "value": 1, "context": "forged" },
            { "op": "delete", "bucket": "s", "key": "k" },
            { "op": "delete", "bucket": "l", "key": "gone" },
            { "op": "put", "bucket": "s", "key": "two", "value": 1 },
            { "op": "put", "bucket": "s", "key": "two", "value": 2 },
            { "op": "put", "bucket": "s", "key": "last", "value": "x" },
        ]),
    )
    .await;
    assert_eq!(stored.status, 200);
    let results = stored.json()["results"].as_array().unwrap().clone();
    let statuses: Vec<_> = results.iter().map(|one| one["status"].as_u64().unwrap()).collect();
    assert_eq!(statuses, [200, 200, 404, 400, 422, 422, 422, 400, 428, 200, 200, 200, 200], "{results:?}");
    for (one, code) in results.iter().zip(["", "", "no_such_bucket", "bad_key"]).skip(2) {
        assert_eq!(one["code"], code);
    }
    let receipt = &results[0]["receipt"];
    assert_eq!((&receipt["outcome"], &receipt["synced"]), (&json!("ok"), &json!(true)));

    assert_eq!(get(&device, "/v1/kv/l/json").await.text(), r#"{"a":[1,2]}"#);
    assert_eq!(get(&device, "/v1/kv/l/%FF").await.body, b"\0\xff");
    let gets = json!([
        { "op": "get", "bucket": "l", "key": "json" },
        { "op": "get", "bucket": "l", "key_b64": "/w==" },
        { "op": "get", "bucket": "l", "key": "gone" },
        { "op": "get", "bucket": "none", "key": "k" },
        { "op": "get", "bucket": "s", "key": "two" },
    ]);
    let read = batch(&device, gets).await.json()["results"].clone();
    assert_eq!(read[0]["value"], json!({ "a": [1, 2] }));
    assert_eq!((&read[1]["value_b64"], &read[1]["content_type"]), (&json!("AP8="), &json!("image/png")));
    assert_eq!((&read[2]["status"], &read[2]["code"]), (&json!(404), &json!("no_such_key")));
    assert_eq!(read[3]["code"], "no_such_bucket");
    assert_eq!((&read[4]["status"], read[4]["siblings"].as_array().unwrap().len()), (&json!(300), 2));
    let context = read[4]["context"].clone();
    let merged = json!([{ "op": "put", "bucket": "s", "key": "two", "value": 3, "context": context }]);
    assert_eq!(batch(&device, merged).await.json()["results"][0]["status"], 200);
    assert_eq!(get(&device, "/v1/kv/s/two").await.text(), "3");
    let etag = get(&device, "/v1/kv/l/json").await.header("etag").unwrap().to_owned();
    assert_eq!(read[0]["etag"], etag);
}

#[tokio::test]
async fn a_batch_is_within_scopes_and_limits() {
    let dir = tempfile::tempdir().unwrap();
    let (node, device) = node_for_batches(&dir).await;
    assert_eq!(call(&device, "PUT", "/v1/kv/l/json", &[], "1").await.status, 200);
    let both = json!([
        { "op": "put", "bucket": "l", "key": "p", "value": 1 },
        { "op": "get", "bucket": "l", "key": "json" },
        { "op": "delete", "bucket": "l", "key": "json" },
    ]);
    let statuses = async |client: &Client| {
        let results = batch(client, both.clone()).await.json()["results"].as_array().unwrap().clone();
        results.iter().map(|one| one["status"].as_u64().unwrap()).collect::<Vec<_>>()
    };
    assert_eq!(statuses(&node.client("reader", &["device:read"]).await).await, [403, 200, 403]);
    assert_eq!(statuses(&node.client("writer", &["device:write"]).await).await, [200, 403, 200]);

    let many = |count: usize| json!(vec![json!({ "op": "put", "bucket": "l", "key": "many", "value": 1 }); count]);
    let refused = batch(&device, many(1001)).await;
    assert_eq!(refused.problem(), (422, "too_many_operations".to_owned()));
    assert!(refused.text().contains("nothing was changed"));
    assert_eq!(get(&device, "/v1/kv/l/many").await.status, 404);
    assert_eq!(batch(&device, many(1000)).await.json()["results"].as_array().unwrap().len(), 1000);
    assert_eq!(batch(&device, json!([])).await.json()["results"], json!([]));
    assert_eq!(batch(&device, json!([{ "op": "move", "bucket": "l", "key": "k" }])).await.problem().0, 422);
    assert_eq!(call(&device, "POST", "/v1/batch", &[], "[").await.problem().0, 400);
    assert_eq!(call(&device, "POST", "/v1/batch", &[], vec![b' '; (8 << 20) + 1]).await.problem().0, 413);
    let large = json!([{ "op": "put", "bucket": "l", "key": "large", "value": "x".repeat(1 << 20) }]);
    assert_eq!(batch(&device, large).await.json()["results"][0]["status"], 413);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_batch_of_large_values_does_not_fill_memory() {
    let dir = tempfile::tempdir().unwrap();
    let (_node, device) = node_for_batches(&dir).await;
    let value = vec![b'v'; 1 << 20];
    assert_eq!(call(&device, "PUT", "/v1/kv/l/large", &[], value).await.status, 200);
    let gets: Vec<_> = (0..40).map(|_| json!({ "op": "get", "bucket": "l", "key": "large" })).collect();
    let results = batch(&device, json!(gets)).await.json()["results"].as_array().unwrap().clone();
    let with = |status: u16| results.iter().filter(|result| result["status"] == status).count();
    assert_eq!((with(200), with(413)), (16, 24));
    assert_eq!(results[39]["code"], "answer_too_large");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_header_larger_than_control_state_takes_is_refused_and_the_node_goes_on() {
    let dir = tempfile::tempdir().unwrap();
    let node = Node::start(&dir.path().join("data")).await;
    let columns: Vec<_> = (0..1000).map(|n| format!("c{n}{}", "x".repeat(1600))).collect();
    let header = columns.join(",") + "\n";
    let refused = call(&node.owner(), "POST", "/v1/buckets/wide/import?format=csv", &[], header).await;
    assert_eq!(refused.problem(), (422, "unsuitable".to_owned()));
    assert_eq!(call(&node.owner(), "PUT", "/v1/buckets/next", &[], "{}").await.status, 201);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_batch_answers_json_byte_for_byte_as_it_is_stored() {
    let dir = tempfile::tempdir().unwrap();
    let (_node, device) = node_for_batches(&dir).await;
    let stored = r#"{"b":12345678901234567890123, "a":1.10}"#;
    let json = [("content-type", "application/json")];
    assert_eq!(call(&device, "PUT", "/v1/kv/l/number", &json, stored).await.status, 200);
    let reply = batch(&device, json!([{ "op": "get", "bucket": "l", "key": "number" }])).await;
    assert!(reply.text().contains(stored), "{}", reply.text());
}
