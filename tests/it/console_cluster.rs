//! The console's pages of the cluster, as a browser without script meets them: machines, who owns what, what is staged, and
//! every form on them with what it brought about.

use hyper::Method;
use serde_json::Value;
use serde_json::json;
use tempfile::TempDir;

use crate::cluster_faces::cluster;
use crate::cluster_faces::get;
use crate::cluster_faces::invite;
use crate::cluster_faces::owned_by;
use crate::cluster_faces::start;
use crate::console::Browser;
use crate::support::Node;
use crate::support::call;
use crate::support::eventually;

/// What stands between two pieces of a page.
fn between<'h>(html: &'h str, from: &str, to: &str) -> &'h str {
    let (_, rest) = html.split_once(from).unwrap_or_else(|| panic!("no {from} in {html}"));
    rest.split(to).next().unwrap()
}

/// A change by a form, which leads to a page that says what was done.
async fn done(browser: &Browser, path: &str, fields: &[(&str, &str)]) -> String {
    let reply = browser.post(path, fields).await;
    assert_eq!(reply.status, 303, "{path}: {}", reply.text());
    let page = browser.page(reply.header("location").unwrap()).await;
    assert!(page.contains("class=\"notice ok\""), "{page}");
    page
}

/// A change that is refused on its own page.
async fn refused(browser: &Browser, path: &str, fields: &[(&str, &str)], status: u16) -> String {
    let reply = browser.post(path, fields).await;
    assert_eq!(reply.status, status, "{path}: {}", reply.text());
    assert!(reply.text().contains("class=\"notice bad\""), "{}", reply.text());
    reply.text().to_owned()
}

/// On a disk that is nearly empty, whatever this machine's is: a machine whose disk is nearly full needs a look.
fn roomy() -> TempDir {
    tempfile::tempdir_in("/dev/shm").unwrap()
}

async fn member(node: &Node, index: usize) -> Value {
    get(node, "/v1/members").await["members"][index].clone()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_lone_machine_is_shown_and_the_line_for_another_one_once() {
    let dir = roomy();
    let node = start(dir.path(), "n1", None).await;
    eventually("its address is known", async || member(&node, 0).await["addresses"][0].is_string().then_some(())).await;
    let ann = Browser::signed_in(&node, "ann", &["admin"]).await;
    let page = ann.page("/members").await;
    assert!(page.contains("This is the only machine, and it is well."), "{page}");
    assert!(page.contains("To survive more:") && page.contains("Invite two more machines."), "{page}");
    let made = ann.post("/members/invite", &[("ttl", "1h"), ("count", "1")]).await;
    let line = between(made.text(), "<code id=\"line-1\">", "</code>").to_owned();
    let token = line.strip_prefix("ringfort run --join ").unwrap();
    assert!(!ann.page("/members").await.contains(token), "it is shown once");
    assert!(
        refused(&ann, "/members/invite", &[("ttl", "never"), ("count", "1")], 422).await.contains("othing was changed")
    );
    refused(&ann, "/members/invite", &[("ttl", "1h"), ("count", "6")], 422).await;
    let two = ann.post("/members/invite", &[("ttl", "1h"), ("count", "2")]).await;
    assert_eq!(two.text().matches("ringfort run --join ").count(), 2, "one for each machine");
    // Whoever operates the cluster lets nobody in.
    let olga = Browser::signed_in(&node, "olga", &["operate"]).await;
    assert!(olga.page("/members").await.contains("Only an admin can invite machines."));
    assert_eq!(olga.post("/members/invite", &[("ttl", "1h"), ("count", "1")]).await.status, 403);
    let sam = Browser::signed_in(&node, "sam", &["support"]).await;
    let page = sam.page("/members/1").await;
    assert!(page.contains("Only somebody with <code>operate</code>") && !page.contains("/members/1/drain"), "{page}");
    assert_eq!(sam.post("/members/1/drain", &[("for", "1h")]).await.status, 403);

    // The line is one: it brings in a second machine, which every page shows.
    let second = start(dir.path(), "n2", Some(token)).await;
    let ben = Browser::signed_in(&second, "ben", &["admin"]).await;
    for browser in [&ann, &ben] {
        eventually("both are there", async || {
            browser.page("/members").await.contains("All 2 machines are up, reached and serving.").then_some(())
        })
        .await;
    }
    assert!(ann.page("/").await.contains("Invite a third machine."));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn machines_are_drained_replaced_and_removed_by_forms_on_any_of_them() {
    let dir = roomy();
    let mut nodes = cluster(dir.path(), 3).await;
    owned_by(&nodes[0], &[1, 2, 3]).await;
    let olga = Browser::signed_in(&nodes[1], "olga", &["operate"]).await;
    let page = olga.page("/members/1").await;
    assert!(page.contains("256 of 256 partitions") && page.contains("Yes: one of 3 voters"), "{page}");

    // From the second machine's console the first is drained, and comes back.
    let drain = [("reason", "a new <disk>"), ("for", "15m")];
    assert!(done(&olga, "/members/1/drain", &drain).await.contains("Devices are asked to use other machines."));
    eventually("the first says so itself", async || {
        (member(&nodes[0], 0).await["serving"] == "draining").then_some(())
    })
    .await;
    let trouble = eventually("the list says why", async || {
        let page = olga.page("/members?show=trouble").await;
        page.contains("a new &#60;disk&#62;").then_some(page)
    })
    .await;
    assert!(trouble.contains("machine-1") && !trouble.contains("machine-2"), "{trouble}");
    done(&olga, "/members/1/undrain", &[]).await;
    eventually("it serves again", async || (member(&nodes[0], 0).await["serving"] == "yes").then_some(())).await;
    assert!(refused(&olga, "/members/1/drain", &[("for", "soon")], 422).await.contains("othing was changed"));
    assert_eq!(olga.get("/members/17").await.status, 404);
    assert_eq!(olga.get("/members?show=all&find=N2&after=0").await.status, 200);
    assert_eq!(olga.get("/members?show=some").await.status, 400);
    assert!(olga.page("/members?find=nobody").await.contains("No machine fits"));

    // One that is up is not removed, and one that is down leaves no more.
    let page = refused(&olga, "/members/3/remove", &[], 409).await;
    assert!(page.contains("It is up. A machine that is up leaves"), "{page}");
    nodes[2].kill();
    eventually("it is down", async || (member(&nodes[0], 2).await["state"] == "down").then_some(())).await;
    let page = eventually("its page says so, and since when it was what", async || {
        let page = olga.page("/members/3").await;
        page.contains("gave no answer to direct and indirect probes").then_some(page)
    })
    .await;
    assert!(page.contains("Start it again, or remove it") && page.contains(">suspect</td>"), "{page}");
    assert!(olga.page("/").await.contains("Start node 3 (n3) again, or replace it if it is gone for ever."));
    let page = refused(&olga, "/members/3/remove", &[("name", "n2")], 422).await;
    assert!(page.contains("This is not the machine&#39;s name") && page.contains("id=\"remove\" open"), "{page}");
    // A line for a new machine in its place is an admin's.
    assert_eq!(olga.post("/members/3/invite", &[("ttl", "1h"), ("count", "1")]).await.status, 403);
    let ann = Browser::signed_in(&nodes[0], "ann", &["admin"]).await;
    let made = ann.post("/members/3/invite", &[("ttl", "1h"), ("count", "1")]).await;
    assert!(between(made.text(), "<code id=\"line-1\">", "</code>").starts_with("ringfort run --join "));
    let page = done(&olga, "/members/3/remove", &[("name", "")]).await;
    assert!(page.contains("The machine is removed"), "{page}");
    eventually("nobody shows it", async || {
        (!olga.page("/members").await.contains("machine-3") && !ann.page("/members").await.contains("machine-3"))
            .then_some(())
    })
    .await;
    let audit = nodes[0].owner().ask(Method::GET, "/v1/audit?chain=access").await.map_err(|f| f.message).unwrap();
    assert!(audit.to_string().contains("removes node 3") && audit.to_string().contains("olga"), "{audit}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_newcomer_takes_the_places_of_another_by_a_form_and_that_one_goes() {
    let dir = roomy();
    let nodes = cluster(dir.path(), 2).await;
    owned_by(&nodes[1], &[1]).await;
    let olga = Browser::signed_in(&nodes[1], "olga", &["operate"]).await;
    let page = olga.page("/members/1").await;
    assert!(between(&page, "<select id=\"by\"", "</select>").contains("n2 (2)"), "{page}");
    let page = refused(&olga, "/members/1/replace", &[("by", "none")], 422).await;
    assert!(page.contains("Choose a machine"), "{page}");
    assert!(done(&olga, "/members/1/replace", &[("by", "2")]).await.contains("takes its places"));
    owned_by(&nodes[1], &[2]).await;
    eventually("the first is gone", async || (!olga.page("/members").await.contains("machine-1")).then_some(())).await;
    eventually("the second leads", async || {
        (get(&nodes[1], "/v1/status").await["control"]["leader"] == 2).then_some(())
    })
    .await;
    let put = call(&nodes[1].owner(), "PUT", "/v1/buckets/b", &[], json!({}).to_string()).await;
    assert_eq!(put.status, 201, "{put:?}");
    // The last one goes nowhere.
    assert!(refused(&olga, "/members/2/leave", &[], 409).await.contains("othing was changed"));
}

/// A node whose plans wait for an operator.
async fn start_manual(dir: &std::path::Path) -> Node {
    let words = ["--name", "n1", "--listen", "http://127.0.0.1:0", "--peer-listen", "127.0.0.1:0"];
    Node::start_saying(&dir.join("n1"), &["env", "RINGFORT_LAYOUT_COMMIT=manual"], &words).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_plan_is_looked_at_committed_paused_and_let_go_on_by_forms() {
    let dir = roomy();
    let mut nodes = vec![start_manual(dir.path()).await];
    let put = call(&nodes[0].owner(), "PUT", "/v1/buckets/b", &[], json!({}).to_string()).await;
    assert_eq!(put.status, 201, "{put:?}");
    for number in 0..40 {
        let put = call(&nodes[0].owner(), "PUT", &format!("/v1/kv/b/{number}"), &[], number.to_string()).await;
        assert_eq!(put.status, 200, "{put:?}");
    }
    for name in ["n2", "n3"] {
        let token = invite(&nodes[0]).await;
        nodes.push(start(dir.path(), name, Some(&token)).await);
    }
    // Everything is done from a machine that owns nothing.
    let olga = Browser::signed_in(&nodes[2], "olga", &["operate"]).await;
    let page = eventually("a plan waits", async || {
        let page = olga.page("/ring").await;
        page.contains("512 copies of partitions move").then_some(page)
    })
    .await
    .replace('\n', " ");
    for says in
        ["Nothing has moved yet", "Survives now", "any 0 machines", "When it is done", "any 1 machine, any 0 zones"]
    {
        assert!(page.contains(says), "{says} not in {page}");
    }
    assert!(olga.page("/").await.contains("which waits, and commit it."));
    done(&olga, "/ring/clear", &[]).await;
    assert!(olga.page("/ring").await.contains("Nothing is staged."));
    done(&olga, "/ring/stage", &[]).await;
    let page = eventually("it is staged here", async || {
        let page = olga.page("/ring").await;
        page.contains("commit-plan").then_some(page)
    })
    .await;
    let version = between(&page, "name=\"version\" value=\"", "\"").to_owned();
    let refusal = [("version", version.as_str()), ("accept", "yes")];
    assert!(refused(&olga, "/ring/commit", &refusal, 422).await.contains("Type `accept loss`"));
    refused(&olga, "/ring/commit", &[("version", "9999")], 409).await;

    // Paused before it begins: nothing comes until somebody lets it.
    assert!(refused(&olga, "/ring/pause", &[("for", "3650d")], 422).await.contains("at most 72 h"));
    done(&olga, "/ring/pause", &[("for", "8h"), ("reason", "the line is needed")]).await;
    done(&olga, "/ring/commit", &[("version", &version), ("accept", "")]).await;
    for node in &nodes {
        eventually("all know that it rests", async || {
            let ring = get(node, "/v1/ring").await;
            let waits = |to: &Value| to["partitions"] == 256;
            let transfers = ring["transfers"].as_array().unwrap();
            (ring["pause"]["reason"] == "the line is needed" && transfers.len() == 2 && transfers.iter().all(waits))
                .then_some(())
        })
        .await;
    }
    let page = olga.page("/ring").await;
    assert!(page.contains("the line is needed") && page.contains("Let transfers go on"), "{page}");
    let member = olga.page("/members/2").await;
    assert!(member.contains("handoff is paused") && member.contains("256 more come to it"), "{member}");
    let overview = olga.page("/").await;
    assert!(overview.contains("Let handoff go on.") && overview.contains("ringfort ring resume"), "{overview}");
    done(&olga, "/ring/resume", &[]).await;
    owned_by(&nodes[0], &[1, 2, 3]).await;
    let page = eventually("all is said to be well", async || {
        let page = olga.page("/ring").await;
        page.contains("All 256 partitions are whole").then_some(page)
    })
    .await;
    assert!(page.contains("Nothing is on its way"), "{page}");
    let audit = get(&nodes[1], "/v1/audit").await.to_string();
    assert!(audit.contains("pauses handoff on all nodes until") && audit.contains("lets handoff go on"), "{audit}");
}

/// From a key's page to what its owners hold of it, and back for whoever may see values.
async fn a_key_and_where_it_is_lead_to_each_other(nodes: &[Node], sam: &Browser) {
    let dan = Browser::signed_in(&nodes[2], "dan", &["data"]).await;
    let odd = "%FF%22%3E%3Cb%3E%26";
    let put = call(&nodes[0].owner(), "PUT", &format!("/v1/kv/b/{odd}"), &[], "a value").await;
    assert_eq!(put.status, 200, "{put:?}");
    for key in ["a%2Fk", odd] {
        let path = format!("/data/b/key?k={key}");
        let page = dan.page(&path).await;
        let to = between(&page, "<a class=\"nowrap\" href=\"", "\">What each of them holds</a>").replace("&#38;", "&");
        assert_eq!(to, format!("/ring?bucket=b&key={key}#where"));
        let to = to.trim_end_matches("#where");
        let page = dan.page(to).await;
        assert!(page.contains(&format!("<a href=\"{path}\">Its value</a>")), "{page}");
        let found = get(&nodes[0], &format!("/v1/where/b/{key}")).await;
        assert!(page.contains(found["hash"].as_str().unwrap()), "it is the same key");
        let page = sam.page(to).await;
        assert!(page.contains("What each owner holds") && !page.contains("Its value</a>"), "{page}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_ring_shows_every_partition_its_owners_and_what_each_holds_of_a_key() {
    let dir = roomy();
    let mut nodes = cluster(dir.path(), 3).await;
    owned_by(&nodes[0], &[1, 2, 3]).await;
    for (bucket, definition) in [("b", json!({})), ("weak", json!({ "r": 1, "w": 1 }))] {
        let put = call(&nodes[0].owner(), "PUT", &format!("/v1/buckets/{bucket}"), &[], definition.to_string()).await;
        assert_eq!(put.status, 201, "{put:?}");
    }
    let put = call(&nodes[0].owner(), "PUT", "/v1/kv/b/a%2Fk", &[], "a value").await;
    assert_eq!(put.status, 200, "{put:?}");
    let sam = Browser::signed_in(&nodes[1], "sam", &["support"]).await;
    a_key_and_where_it_is_lead_to_each_other(&nodes, &sam).await;
    let page = sam.page("/ring").await;
    assert_eq!(page.matches("<use href=\"#w\"").count(), 256);
    assert_eq!(page.matches("<a href=\"?p=").count(), 256);
    assert!(!page.contains("/ring/stage") && !page.contains("<option value=\"b\">"), "{page}");
    let page = eventually("all three hold it", async || {
        let page = sam.page("/ring?bucket=b&key=a%2Fk").await;
        (page.matches("1 value</td>").count() == 3).then_some(page)
    })
    .await;
    let found = get(&nodes[0], "/v1/where/b/a%2Fk").await;
    let (hash, partition) = (found["hash"].as_str().unwrap(), found["partition"].as_u64().unwrap());
    assert_eq!(u64::from_str_radix(hash, 16).unwrap() >> 56, partition, "{found}");
    assert!(page.contains(hash) && page.contains(&format!("<h2 id=\"chosen\">Partition {partition}</h2>")), "{page}");
    let owners: Vec<&str> =
        found["owners"].as_array().unwrap().iter().map(|owner| owner["name"].as_str().unwrap()).collect();
    let lab = sam.page("/lab?bucket=b&key=a%2Fk").await;
    assert!(lab.contains(hash) && lab.contains(&format!("<dd>{}</dd>", owners.join(", then "))), "{owners:?} {lab}");
    for (query, says) in [("bucket=none&key=k", "There is no bucket"), ("bucket=b&key=", "mpty")] {
        let page = sam.page(&format!("/ring?{query}")).await;
        assert!(page.contains("class=\"notice bad\"") && page.contains(says), "{page}");
    }
    assert_eq!(sam.get("/ring?p=256").await.status, 400);
    assert!(sam.page("/ring?node=2").await.contains(" pale\""));

    // One is down: strict and weak buckets are counted apart. Two are down: only the weak ones go on.
    nodes[2].kill();
    let counts = async |of: &str| get(&nodes[0], "/v1/ring").await[of].clone();
    let below = json!({ "whole": 0, "below": 256, "lost": 0 });
    eventually("one is missed", async || {
        (counts("strict").await == below && counts("weak").await == below).then_some(())
    })
    .await;
    assert!(sam.page("/ring?p=7").await.contains("fewer owners than it should have"));
    let mut last = nodes.remove(0);
    nodes.remove(1);
    last.kill();
    let left = &nodes[0];
    eventually("two are missed", async || {
        let ring = get(left, "/v1/ring").await;
        let lost = json!({ "whole": 0, "below": 0, "lost": 256 });
        (ring["strict"] == lost && ring["weak"] == below).then_some(())
    })
    .await;
    let page = sam.page("/ring").await;
    assert!(page.contains("256 partitions have no quorum") && page.contains("mark lost"), "{page}");
    assert!(sam.page("/members").await.contains("2 of 3 machines need a look."));
}

/// How each machine stands, as a node says.
async fn verdicts(node: &Node) -> Vec<Value> {
    let said = get(node, "/v1/convergence").await;
    said["nodes"].as_array().unwrap().iter().map(|row| row["verdict"].clone()).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whether_all_machines_hold_the_same_is_seen_from_any_of_them() {
    let dir = roomy();
    let mut nodes = cluster(dir.path(), 3).await;
    owned_by(&nodes[0], &[1, 2, 3]).await;
    let put = call(&nodes[0].owner(), "PUT", "/v1/buckets/b", &[], json!({}).to_string()).await;
    assert_eq!(put.status, 201, "{put:?}");
    let put = call(&nodes[0].owner(), "PUT", "/v1/kv/b/k", &[], "a value").await;
    assert_eq!(put.status, 200, "{put:?}");
    let sam = Browser::signed_in(&nodes[1], "sam", &["support"]).await;
    let page = eventually("all hold the same", async || {
        let page = sam.page("/convergence").await;
        page.contains("All 3 machines hold the same.").then_some(page)
    })
    .await;
    assert_eq!(page.matches("</svg>same</span>").count(), 3, "{page}");
    assert!(page.contains("sse-connect=\"/live?view=convergence\"") && page.contains("256 on this machine"), "{page}");
    assert!(sam.page("/shared").await.contains("sse-connect=\"/live?view=shared\""));
    for node in &nodes {
        let said = eventually("all have digested the same", async || {
            let said = get(node, "/v1/convergence").await;
            let same = |name: &str| {
                let rows = said["nodes"].as_array().unwrap();
                rows.len() == 3 && rows.iter().all(|row| row[name] == rows[0][name] && !row[name].is_null())
            };
            let names = ["applied", "digested", "control", "layout_version", "layout", "members", "data"];
            (verdicts(node).await == vec!["same"; 3] && names.into_iter().all(same)).then_some(said)
        })
        .await;
        assert_eq!((&said["heals_s"], &said["differing"]), (&Value::Null, &json!(0)), "nothing differs");
    }

    // One is killed: what it said last is still there, and is no more than that.
    nodes[2].kill();
    let alive = json!(["same", "same", "silent"]);
    for node in &nodes[..2] {
        eventually("one is silent", async || (json!(verdicts(node).await) == alive).then_some(())).await;
    }
    let page = sam.page("/convergence").await;
    assert!(page.contains("Machine n3 is silent: what it holds is not known."), "{page}");
    assert!(page.contains("last word ") && page.matches("</svg>silent</span>").count() == 1, "{page}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn live_views_of_the_cluster_bring_what_changed_and_nothing_twice() {
    let dir = roomy();
    let nodes = cluster(dir.path(), 3).await;
    owned_by(&nodes[0], &[1, 2, 3]).await;
    let ann = Browser::signed_in(&nodes[0], "ann", &["operate"]).await;
    for (view, event) in [
        ("members&show=trouble&find=n&after=0", "members"),
        ("member&id=2", "member"),
        ("ring&p=3&node=1", "ring"),
        ("shared", "shared"),
        ("convergence", "convergence"),
        ("timeline&since=1h&node=&kind=", "timeline"),
        ("runtime&node=2", "runtime"),
        ("inside&node=3", "inside"),
    ] {
        let mut stream = ann.stream(&format!("/live?view={view}")).await;
        assert_eq!(stream.head.status.as_u16(), 200, "{view}");
        let (mut text, mut beats) = (String::new(), 0);
        while beats < 3 {
            let piece = stream.piece().await.map_err(|failure| failure.message).unwrap().unwrap();
            text.push_str(std::str::from_utf8(&piece).unwrap());
            beats = text.matches("event: beat\n").count();
        }
        assert!(text.contains(&format!("event: {event}\n")) && text.contains("event: frame\n"), "{view}: {text}");
        assert_eq!(text.matches("event: frame\n").count(), 1, "{view}: what did not change came again: {text}");
    }
    for bad in ["?view=members&id=1", "?view=ring&p=x", "?view=rings", "?view=member&show=all", "?view=shared&p=1"] {
        assert_eq!(ann.get(&format!("/live{bad}")).await.status, 400, "{bad}");
    }
    assert_eq!(ann.stream("/live?view=member&id=77").await.head.status.as_u16(), 200, "it may be gone any moment");
}

/// Processor time that a process has used, in ticks of a hundredth of a second.
fn ticks(pid: u64) -> u64 {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap();
    let (_, fields) = stat.rsplit_once(") ").unwrap();
    let fields: Vec<&str> = fields.split(' ').collect();
    fields[11].parse::<u64>().unwrap() + fields[12].parse::<u64>().unwrap()
}

/// Reads a stream as a browser does, until so many beats have come.
async fn watch(mut stream: ringfort::cli::client::Answer, beats: usize) -> usize {
    let (mut seen, mut bytes) = (0, 0);
    while seen < beats {
        let piece = stream.piece().await.map_err(|failure| failure.message).unwrap().unwrap();
        bytes += piece.len();
        seen += String::from_utf8_lossy(&piece).matches("event: beat\n").count();
    }
    bytes
}

/// Per cent of a core that twenty live pages may cost a node, beside what it costs anyway.
const LIVE_PERCENT_MAX: f64 = 5.0;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn twenty_live_pages_cost_a_node_little() {
    let dir = roomy();
    let nodes = cluster(dir.path(), 3).await;
    owned_by(&nodes[0], &[1, 2, 3]).await;
    let ann = Browser::signed_in(&nodes[0], "ann", &["operate"]).await;
    let pid = nodes[0].status().await["worker_pid"].as_u64().unwrap();
    let used = async |views: &[&str], beats| {
        let mut streams = Vec::new();
        for view in views {
            streams.push(ann.stream(&format!("/live{view}")).await);
        }
        let (before, began) = (ticks(pid), std::time::Instant::now());
        let bytes: usize =
            futures_util::future::join_all(streams.into_iter().map(|stream| watch(stream, beats))).await.iter().sum();
        ((ticks(pid) - before) as f64 / began.elapsed().as_secs_f64(), bytes)
    };
    let (idle, _) = used(&[""], 4).await;
    let pages =
        ["?view=overview", "?view=members", "?view=ring", "?view=member&id=2", "?view=runtime&node=2", "?view=shared"];
    let twenty: Vec<&str> = pages.iter().cycle().take(20).copied().collect();
    let (busy, bytes) = used(&twenty, 5).await;
    eprintln!("idle {idle:.1} %, with twenty live pages {busy:.1} % of a core, {bytes} bytes");
    assert!(busy - idle <= LIVE_PERCENT_MAX, "idle {idle:.1} %, with twenty live pages {busy:.1} %");
}
