//! How a node is inside, as any node tells it: through the interface for programs and on the pages.

use serde_json::Value;

use crate::cluster_faces::cluster;
use crate::cluster_faces::get;
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

    // Of one that is none, and of one that is gone.
    assert_eq!(call(&nodes[0].owner(), "GET", "/v1/members/9/inside", &[], "").await.status, 404);
    nodes[1].kill();
    let gone = eventually("it does not answer", async || {
        let reply = call(&nodes[0].owner(), "GET", "/v1/members/2/inside", &[], "").await;
        (reply.status == 503).then_some(reply)
    })
    .await;
    let problem: Value = serde_json::from_slice(&gone.body).unwrap();
    assert_eq!(problem["code"], "not_told", "{problem}");
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
