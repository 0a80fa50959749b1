//! How a node is inside, as any node tells it: through the interface for programs and on the pages.

use ringfort::node::debug::logs;
use serde_json::Value;

use crate::cluster_faces::cluster;
use crate::cluster_faces::get;
use crate::cluster_faces::owned_by;
use crate::console::Browser;
use crate::support::call;
use crate::support::eventually;

/// The task of a name.
fn task<'v>(inside: &'v Value, name: &str) -> Option<&'v Value> {
    inside["tasks"].as_array()?.iter().find(|task| task["name"] == name)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn any_node_tells_how_any_other_is_inside() {
    let dir = tempfile::tempdir_in("/dev/shm").unwrap();
    let mut nodes = cluster(dir.path(), 3).await;
    let pid = nodes[1].status().await["worker_pid"].clone();
    for asked in &nodes {
        let inside = get(asked, "/v1/members/2/inside").await;
        assert_eq!((&inside["node"], &inside["name"], &inside["process"]["pid"]), (&2.into(), &"n2".into(), &pid));
        assert!(inside["process"]["memory"].as_u64().unwrap() > 1024 * 1024, "{inside}");
        assert!(inside["process"]["sockets"].as_u64().unwrap() > 3, "{inside}");
        for kept in ["ring", "repair", "health", "accept"] {
            let task = task(&inside, kept).unwrap_or_else(|| panic!("no task {kept} in {inside}"));
            assert_eq!((&task["kind"], &task["failed"]), (&"kept".into(), &0.into()), "{task}");
            assert!(task["since"].is_string() && task["running"].as_u64().unwrap() > 0, "{task}");
        }
        assert_eq!(task(&inside, "serve").unwrap()["kind"], "vital");
        let config = inside["config"].as_array().unwrap();
        assert!(config.iter().any(|line| line["key"] == "data" && line["source"] == "--data"), "{config:?}");
        let threads = inside["threads"].as_array().unwrap();
        assert!(threads.iter().any(|thread| thread["name"] == "journal"), "{threads:?}");
        let journal = inside["disk"]["parts"].as_array().unwrap().iter().find(|part| part[0] == "journal").unwrap();
        assert!(journal[1].as_u64().unwrap() > 0, "{journal}");
    }
    // What it does is seen: writes keep it busy.
    let put = call(&nodes[0].owner(), "PUT", "/v1/buckets/b", &[], "{}").await;
    assert_eq!(put.status, 201, "{put:?}");
    let put = call(&nodes[1].owner(), "PUT", "/v1/kv/b/k", &[], "v").await;
    assert_eq!(put.status, 200, "{put:?}");
    eventually("its connections are counted", async || {
        let inside = get(&nodes[0], "/v1/members/2/inside").await;
        let connections = task(&inside, "connection")?;
        (connections["begun"].as_u64()? >= 2 && connections["busy_ms"].as_u64().is_some()).then_some(())
    })
    .await;

    // Of one that is none, and of one that is gone and of which nobody has anything.
    assert_eq!(call(&nodes[0].owner(), "GET", "/v1/members/9/inside", &[], "").await.status, 404);
    nodes[1].kill();
    let gone = eventually("it does not answer", async || {
        for other in [0, 2] {
            let _not_there = std::fs::remove_dir_all(nodes[other].data.join("blackbox/peers/2"));
        }
        let reply = call(&nodes[0].owner(), "GET", "/v1/members/2/inside", &[], "").await;
        (reply.status == 503).then_some(reply)
    })
    .await;
    let problem: Value = serde_json::from_slice(&gone.body).unwrap();
    assert_eq!(problem["code"], "not_told", "{problem}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_machine_that_is_gone_with_its_disk_shows_its_last_minutes_on_any_other() {
    let dir = tempfile::tempdir_in("/dev/shm").unwrap();
    let mut nodes = cluster(dir.path(), 3).await;
    owned_by(&nodes[0], &[1, 2, 3]).await;
    // While it is there: who keeps its box, and whose boxes it keeps, with two looks at its figures in each.
    let number = |kept: &Value, name: &str| kept[name].as_u64().unwrap_or_default();
    let boxes = eventually("its box is filled", async || {
        let looks = [0, 2].map(|other| {
            let book = nodes[other].data.join("blackbox/peers/2/figures");
            logs::reader(book).tail(10).map_or(0, |lines| lines.len())
        });
        let boxes = get(&nodes[0], "/v1/members/2/inside").await["boxes"].clone();
        (looks.iter().all(|looks| *looks >= 2) && boxes["keeps"].as_array()?.len() == 2).then_some(boxes)
    })
    .await;
    let about =
        |list: &str| -> Vec<u64> { boxes[list].as_array().unwrap().iter().map(|kept| number(kept, "node")).collect() };
    assert_eq!((about("kept_by"), about("keeps")), (vec![1, 3], vec![1, 3]), "{boxes:#}");
    for kept in ["kept_by", "keeps"].iter().flat_map(|list| boxes[*list].as_array().unwrap()) {
        assert_eq!(number(kept, "bytes_max"), 64 * 1024 * 1024, "{kept}");
        assert!(number(kept, "bytes") > 1000 && kept["newest"].is_string(), "{kept}");
    }
    let sam = Browser::signed_in(&nodes[2], "sam", &["support"]).await;
    let page = sam.page("/members/2/inside").await;
    assert!(page.contains("Who keeps its black box") && page.contains("Whose black boxes it keeps"), "{page}");
    assert!(page.contains("64.0 MiB") && !page.contains("Its last minutes"), "{page}");

    nodes[1].kill();
    std::fs::remove_dir_all(&nodes[1].data).unwrap();
    for other in [0, 2] {
        let last = eventually("it is told from its box", async || {
            let reply = call(&nodes[other].owner(), "GET", "/v1/members/2/inside", &[], "").await;
            (reply.status == 200 && reply.json()["kept_by"].as_array()?.len() == 2).then(|| reply.json())
        })
        .await;
        assert_eq!((&last["node"], &last["name"]), (&2.into(), &"n2".into()), "{last:#}");
        let looks = last["figures"].as_array().unwrap();
        assert!(looks.len() >= 2 && looks.is_sorted_by_key(|look| look["at"].as_str().unwrap()), "{last:#}");
        for name in ["memory_bytes", "machine_free_bytes", "open_files", "disk_free_bytes", "tasks", "lag_ms"] {
            assert!(looks.iter().all(|look| look[name].as_f64().unwrap() > 0.0), "{name}: {looks:#?}");
        }
        let says = |line: &Value| line["message"] == "serving" && line["node"] == 2;
        assert!(last["log"].as_array().unwrap().iter().any(says), "{last:#}");
        let starts = |entry: &Value| entry["kind"] == "node_started" && entry["node"] == 2;
        assert!(last["timeline"].as_array().unwrap().iter().any(starts), "{last:#}");
        assert!(last["why"].is_string() && last["crashes"].is_array(), "{last:#}");
        let newest =
            [looks.last().unwrap()["at"].as_str(), last["log"].as_array().unwrap().last().unwrap()["at"].as_str()];
        assert!(newest.iter().all(|at| *at <= last["heard"].as_str()), "{newest:?} {last:#}");
    }
    let page = eventually("the page shows it", async || {
        let page = sam.page("/members/2/inside").await;
        page.contains("Its last minutes").then_some(page)
    })
    .await;
    for words in ["last heard at", "Kept by ", "Memory", "At its end", "Last lines of its log", "What changed last"] {
        assert!(page.contains(words), "{words}: {page}");
    }
    assert!(page.contains("id=\"last-memory-name\"") && page.len() < 150 * 1024, "{} bytes", page.len());
    // What was shown before it went is still there, below.
    assert!(page.contains("n2 does not answer now: ") && page.contains("Configuration in force"), "{page}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_pages_show_another_machine_and_say_so_when_it_is_gone() {
    let dir = tempfile::tempdir_in("/dev/shm").unwrap();
    let mut nodes = cluster(dir.path(), 3).await;
    let sam = Browser::signed_in(&nodes[0], "sam", &["support"]).await;
    let page = sam.page("/runtime?node=3").await;
    assert!(page.contains("Nothing in n3 failed since it began."), "{page}");
    assert!(
        page.contains("sse-connect=\"/live?view=runtime&#38;node=3\"") || page.contains("view=runtime&amp;node=3"),
        "{page}"
    );
    assert!(page.contains(">accept<") && page.contains(">journal<") && page.contains("it is begun again"), "{page}");
    let page = sam.page("/members/3/inside").await;
    assert!(page.contains("<h1>Inside n3</h1>") && page.contains("<code>journal/</code>"), "{page}");
    assert!(page.contains("<code>listen</code>") && page.contains("--data"), "{page}");
    assert!(sam.page("/members/3").await.contains("href=\"/members/3/inside\""));
    assert_eq!(sam.get("/members/9/inside").await.status, 404);
    assert_eq!(sam.get("/runtime?node=9").await.status, 404);
    assert_eq!(sam.get("/runtime?nod=1").await.status, 400);

    nodes[2].kill();
    let page = eventually("it is said that it does not answer", async || {
        let page = sam.page("/runtime?node=3").await;
        page.contains("n3 does not answer now: ").then_some(page)
    })
    .await;
    assert!(page.contains(">journal<"), "what was seen last is still shown: {page}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whoever_asks_most_is_shown_on_any_machine() {
    let dir = tempfile::tempdir_in("/dev/shm").unwrap();
    let nodes = cluster(dir.path(), 2).await;
    let made = call(&nodes[0].owner(), "PUT", "/v1/buckets/t", &[], r#"{"kind":"lww"}"#).await;
    assert_eq!(made.status, 201, "{made:?}");
    let asked = get(&nodes[0], "/v1/members/2/inside").await;
    assert_eq!(asked["askers"], serde_json::json!([]), "{asked:#}");
    let wild = nodes[1].owner();
    for number in 0..1_500 {
        let put = call(&wild, "PUT", &format!("/v1/kv/t/{}", number % 10), &[], "1").await;
        assert_eq!(put.status, 200, "{put:?}");
    }
    let asked = eventually("it is shown", async || {
        let inside = get(&nodes[0], "/v1/members/2/inside").await;
        inside["askers"].as_array()?.first().cloned()
    })
    .await;
    assert_eq!((&asked["from"], &asked["name"]), (&"local".into(), &"local owner".into()), "{asked}");
    assert!(asked["percent"] == 100 && asked["requests"].as_u64().unwrap() >= 1_488, "{asked}");
    let sam = Browser::signed_in(&nodes[0], "sam", &["support"]).await;
    let page = sam.page("/runtime?node=2").await;
    assert!(page.contains("Who asked most for values") && page.contains("<code>local owner</code>"), "{page}");
    assert!(!sam.page("/runtime?node=1").await.contains("Who asked most"), "nobody asks much there");
}
