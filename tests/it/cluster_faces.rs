//! The cluster as operators and programs see it: what a lone node says of itself, and what three nodes say of each other,
//! of a key, and of those who go.

use std::path::Path;
use std::time::Duration;
use std::time::Instant;

use rustix::process::Pid;
use rustix::process::Signal;
use serde_json::Value;
use serde_json::json;

use crate::support::Ended;
use crate::support::Node;
use crate::support::call;
use crate::support::eventually;
use crate::support::ringfort_in;

/// Starts a node that others can reach.
pub async fn start(dir: &Path, name: &str, join: Option<&str>) -> Node {
    let words = ["--name", name, "--listen", "http://127.0.0.1:0", "--peer-listen", "127.0.0.1:0"];
    let join: Vec<&str> = join.iter().flat_map(|token| ["--join", *token]).collect();
    Node::start_saying(&dir.join(name), &[], &[&words[..], &join].concat()).await
}

pub async fn invite(node: &Node) -> String {
    // It serves a moment before the cluster knows where it is.
    eventually("its address is known", async || {
        let members = get(node, "/v1/members").await;
        members["members"].as_array().unwrap().iter().all(|member| member["addresses"][0].is_string()).then_some(())
    })
    .await;
    let made = call(&node.owner(), "POST", "/v1/invites", &[], json!({ "ttl": "1h" }).to_string()).await;
    assert_eq!(made.status, 201, "{made:?}");
    made.json()["token"].as_str().unwrap().to_owned()
}

/// So many nodes, named n1, n2 and so on, of which each sees all as up.
pub async fn cluster(dir: &Path, count: usize) -> Vec<Node> {
    let mut nodes = vec![start(dir, "n1", None).await];
    for number in 2..=count {
        let token = invite(&nodes[0]).await;
        nodes.push(start(dir, &format!("n{number}"), Some(&token)).await);
    }
    for node in &nodes {
        eventually("all are up", async || (states(node).await == vec!["up"; count]).then_some(())).await;
    }
    nodes
}

pub async fn get(node: &Node, path: &str) -> Value {
    let reply = call(&node.owner(), "GET", path, &[], "").await;
    assert_eq!(reply.status, 200, "{path}: {reply:?}");
    reply.json()
}

async fn states(node: &Node) -> Vec<String> {
    let members = get(node, "/v1/members").await;
    let members = members["members"].as_array().unwrap().iter();
    members.map(|member| member["state"].as_str().unwrap().to_owned()).collect()
}

/// Waits until every partition rests with these owners, all synced, as this node knows it.
pub async fn owned_by(node: &Node, owners: &[u64]) {
    eventually("the layout is at rest with its owners", async || {
        let ring = get(node, "/v1/ring").await;
        let all = ring["partitions"].as_array().unwrap();
        assert_eq!(all.len(), 256);
        let sorted = |list: &Value| {
            let mut list: Vec<u64> = list.as_array().unwrap().iter().map(|node| node.as_u64().unwrap()).collect();
            list.sort_unstable();
            list
        };
        let is_there = |one: &Value| sorted(&one["now"]["owners"]) == owners && sorted(&one["now"]["synced"]) == owners;
        (ring["at_rest"] == true && ring["phases"]["settled"] == 256 && all.iter().all(is_there)).then_some(())
    })
    .await;
}

/// The command line against a node, as its owner's token sees it.
struct Cli<'d> {
    dir: &'d Path,
    url: String,
    token: String,
}

impl<'d> Cli<'d> {
    async fn of(dir: &'d Path, node: &Node, scope: &str) -> Self {
        let token = dir.join(format!("token-{scope}"));
        std::fs::write(&token, node.token(scope, &[scope]).await + "\n").unwrap();
        Self { dir, url: node.url().await, token: token.to_str().unwrap().to_owned() }
    }

    fn run(&self, words: &[&str]) -> Ended {
        ringfort_in(self.dir, &[words, &["--url", &self.url, "--token-file", &self.token]].concat())
    }

    fn good(&self, words: &[&str]) -> Ended {
        let ended = self.run(words);
        assert_eq!(ended.code, 0, "{words:?}: {ended:?}");
        ended
    }
}

fn words(line: &str) -> Vec<&str> {
    line.split_whitespace().collect()
}

#[tokio::test]
async fn a_lone_node_shows_itself_and_is_not_taken_away() {
    let dir = tempfile::tempdir().unwrap();
    let node = start(dir.path(), "alone", None).await;
    let cli = Cli::of(dir.path(), &node, "admin").await;
    // What the configuration says of a node is agreed on like every change, a moment after the start.
    let told = ["1", "alone", "default", "100", "up", "member", "yes", "yes"];
    eventually("the node is known by its name", async || {
        let members = cli.good(&["members"]).out;
        (words(members.lines().nth(1).unwrap())[..8] == told).then_some(())
    })
    .await;
    let ring = cli.good(&["ring"]).out;
    assert!(ring.contains("256 settled") && ring.contains("node 1 has nothing left to merge"), "{ring}");
    let partitions = cli.good(&["ring", "--partitions"]).out;
    assert!(partitions.lines().count() > 256, "{partitions}");
    let shown = cli.good(&["ring", "--json"]).json();
    assert_eq!(
        (&shown["nodes"][0]["owns"], &shown["handoff"]["eta_s"], &shown["partitions"][255]["now"]["synced"]),
        (&json!(256), &Value::Null, &json!([1]))
    );

    // What is asked for goes by the audit; what is refused changes nothing.
    for (words, code, why) in [
        (&["leave"][..], 65, "last that owns data"),
        (&["remove", "alone"], 65, "is up"),
        (&["remove", "7"], 66, "there is no node `7`"),
        (&["replace", "1", "nobody"], 66, "there is no node `nobody`"),
        (&["replace", "1", "1"], 65, "cannot take the place"),
        (&["plan", "commit", "1"], 65, "plan 1 is not what is staged"),
        (&["where", "none", "k"], 66, "no bucket `none`"),
        (&["invite", "--ttl", "8d"], 65, "at most 168 h"),
        (&["invite", "--ttl", "soon"], 65, "ttl"),
    ] {
        let ended = cli.run(words);
        assert!(ended.code == code && ended.err.contains(why), "{words:?}: {ended:?}");
    }
    assert!(cli.good(&["plan", "show"]).err.contains("nothing is staged; plans commit themselves here"));
    let staged = cli.good(&["plan", "stage", "--json"]).json();
    let number = staged["plan"]["version"].to_string();
    assert!(cli.good(&["plan", "show"]).out.contains("may be lost then"));
    cli.good(&["plan", "clear"]);
    assert!(cli.run(&["plan", "commit", &number]).err.contains("nothing is"));
    let number = cli.good(&["plan", "stage", "--json"]).json()["plan"]["version"].to_string();
    cli.good(&["plan", "commit", &number]);
    assert_eq!(cli.good(&["plan", "show", "--json"]).json()["plan"], Value::Null);
    cli.good(&["ring", "pause", "--reason", "a backup", "--for", "30m"]);
    assert!(cli.good(&["ring"]).err.contains("a backup"), "it is said where somebody looks");
    cli.good(&["ring", "resume"]);
    assert!(!cli.good(&["ring"]).err.contains("paused"));
    assert_eq!(cli.run(&["ring", "pause", "--for", "73h"]).code, 65);
    let audit = cli.good(&["audit"]).out;
    for what in ["stages a plan for all nodes", "drops the staged plan", &format!("commits plan {number}")] {
        assert!(audit.contains("admin") && audit.contains(what), "{what}: {audit}");
    }

    let invite = cli.good(&["invite"]);
    let line = words(&invite.out);
    assert_eq!(line[..3], ["ringfort", "run", "--join"], "{invite:?}");
    assert!(line.len() == 4 && invite.err.contains("7400") && invite.err.contains("127.0.0.1:"), "{invite:?}");
    let made = cli.good(&["invite", "--json"]).json();
    assert_eq!(made["command"], format!("ringfort run --join {}", made["token"].as_str().unwrap()));

    // Whoever operates may; whoever only looks may look.
    let operator = Cli::of(dir.path(), &node, "operate").await;
    let support = Cli::of(dir.path(), &node, "support").await;
    operator.good(&["plan", "stage"]);
    assert_eq!(operator.run(&["invite"]).code, 77, "an invite is the whole cluster's trust");
    for words in [&["members"][..], &["ring"], &["plan", "show"]] {
        support.good(words);
    }
    for words in [&["plan", "clear"][..], &["plan", "stage"], &["leave", "1"], &["remove", "1"], &["replace", "1", "1"]]
    {
        assert_eq!(support.run(words).code, 77, "{words:?}");
    }
}

#[tokio::test]
async fn what_is_shared_is_listed_at_a_terminal() {
    let dir = tempfile::tempdir().unwrap();
    let node = start(dir.path(), "alone", None).await;
    let cli = Cli::of(dir.path(), &node, "support").await;
    let shared = cli.good(&["shared", "--json"]).json();
    let names: Vec<&str> =
        shared["pieces"].as_array().unwrap().iter().map(|one| one["name"].as_str().unwrap()).collect();
    let text = cli.good(&["shared"]).out;
    for name in ["layout", "values"] {
        assert!(names.contains(&name) && text.contains(name), "{name}: {names:?}\n{text}");
    }
}

#[tokio::test]
async fn where_tells_what_is_held_without_telling_it() {
    let dir = tempfile::tempdir().unwrap();
    let node = start(dir.path(), "alone", None).await;
    let owner = node.owner();
    call(&owner, "PUT", "/v1/buckets/b", &[], "{}").await;
    let held = async |key: &str| get(&node, &format!("/v1/where/b/{key}")).await["owners"][0]["holds"].clone();
    assert_eq!(held("k").await, json!({ "context": null, "size": 0, "values": 0 }));
    assert_eq!(call(&owner, "PUT", "/v1/kv/b/k%2Fk", &[], "secret").await.status, 200);
    let one = held("k/k").await;
    assert_eq!((&one["size"], &one["values"]), (&json!(6), &json!(1)));
    call(&owner, "PUT", "/v1/kv/b/k%2Fk", &[], "two").await;
    let two = held("k%2Fk").await;
    assert!(two["size"] == 9 && two["values"] == 2 && two["context"] != one["context"], "siblings: {two}");
    let context = call(&owner, "GET", "/v1/kv/b/k/k", &[], "").await.context().to_owned();
    call(&owner, "DELETE", "/v1/kv/b/k/k", &[("ringfort-context", &context)], "").await;
    let gone = held("k/k").await;
    assert!(gone["values"] == 0 && gone["size"] == 0, "{gone}");
    let whole = call(&owner, "GET", "/v1/where/b/k/k", &[], "").await;
    assert!(!whole.text().contains("secret"), "{whole:?}");
    for (path, status) in [("/v1/where/b/", 400), ("/v1/where/none/k", 404), ("/v1/where/b/k?r=1", 400)] {
        assert_eq!(call(&owner, "GET", path, &[], "").await.problem().0, status, "{path}");
    }
    let device = node.client("device", &["device:read", "device:write"]).await;
    assert_eq!(call(&device, "GET", "/v1/where/b/k", &[], "").await.status, 403);
    let support = node.client("support", &["support"]).await;
    assert_eq!(call(&support, "GET", "/v1/where/b/k", &[], "").await.status, 200);
}

fn signal(node: &Node, signal: Signal) {
    rustix::process::kill_process_group(Pid::from_raw(node.pid()).unwrap(), signal).unwrap();
}

/// Returns when every thread of the node has stopped: until then one of them may answer.
async fn freeze(node: &Node) {
    let pid = get(node, "/v1/status").await["worker_pid"].as_u64().unwrap();
    signal(node, Signal::STOP);
    eventually("a process that stands still", async || {
        let threads = std::fs::read_dir(format!("/proc/{pid}/task")).ok()?;
        let stat =
            |thread: std::io::Result<std::fs::DirEntry>| std::fs::read_to_string(thread.ok()?.path().join("stat")).ok();
        let stopped = |stat: Option<String>| stat.is_some_and(|stat| stat.contains(") T "));
        threads.map(stat).all(stopped).then_some(())
    })
    .await;
}

fn of(found: &Value, node: u64) -> &Value {
    found["owners"].as_array().unwrap().iter().find(|owner| owner["node"] == node).unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn put_on_one_is_read_on_each_other_and_where_names_the_owners_and_what_each_holds() {
    let dir = tempfile::tempdir().unwrap();
    let mut nodes = cluster(dir.path(), 3).await;
    for node in &nodes {
        owned_by(node, &[1, 2, 3]).await;
    }
    eventually("all three vote", async || {
        let members = get(&nodes[0], "/v1/members").await;
        members["members"].as_array().unwrap().iter().all(|member| member["voter"] == true).then_some(())
    })
    .await;
    let cli = Cli::of(dir.path(), &nodes[0], "admin").await;
    cli.good(&["bucket", "create", "b"]);
    let put = call(&nodes[0].owner(), "PUT", "/v1/kv/b/k", &[], "seen by all").await;
    assert_eq!(put.status, 200, "{put:?}");
    for node in &nodes {
        assert_eq!(call(&node.owner(), "GET", "/v1/kv/b/k", &[], "").await.text(), "seen by all");
        let found = eventually("all three hold the same", async || {
            let found = get(node, "/v1/where/b/k").await;
            let context = of(&found, 1)["holds"]["context"].clone();
            let holds = json!({ "context": context, "size": 11, "values": 1 });
            let same = found["owners"].as_array().unwrap().iter();
            let same = same.clone().all(|owner| owner["holds"] == holds && owner["hint_pending"] == false);
            (same && context.is_string()).then_some(found)
        })
        .await;
        assert_eq!(found["owners"].as_array().unwrap().len(), 3, "{found}");
        assert_eq!(found["phase"], "settled", "{found}");
        for (id, name) in [(1, "n1"), (2, "n2"), (3, "n3")] {
            let owner = of(&found, id);
            assert_eq!(
                (&owner["name"], &owner["lists"], &owner["synced"]),
                (&json!(name), &json!(["now"]), &json!(true))
            );
            assert_eq!((&owner["why"], &owner["hint_pending"]), (&Value::Null, &json!(false)), "{found}");
        }
    }

    // One that hangs delays nothing for long, is named, and what it missed is known where it was written.
    freeze(&nodes[2]).await;
    let began = Instant::now();
    let found = get(&nodes[0], "/v1/where/b/k").await;
    assert!(began.elapsed() < Duration::from_secs(15), "{:?}", began.elapsed());
    assert!(of(&found, 3)["holds"].is_null() && of(&found, 3)["why"].is_string(), "{found}");
    eventually("the other one answers", async || {
        (of(&get(&nodes[0], "/v1/where/b/k").await, 2)["holds"]["values"] == 1).then_some(())
    })
    .await;
    call(&nodes[0].owner(), "PUT", "/v1/kv/b/k", &[], "missed by one").await;
    eventually("a hint waits for it", async || {
        (of(&get(&nodes[0], "/v1/where/b/k").await, 3)["hint_pending"] == true).then_some(())
    })
    .await;
    let table = cli.good(&["where", "b", "k"]).out;
    assert!(table.starts_with("partition ") && table.lines().count() == 5, "{table}");

    // Of three voters one is down: the second may not go, in the words of the arithmetic; the one that is down may.
    eventually("it is seen as down", async || (states(&nodes[0]).await[2] == "down").then_some(())).await;
    let refused = cli.run(&["leave", "n2"]);
    assert!(refused.code == 65 && refused.err.contains("1 would be left of the 2"), "{refused:?}");
    assert_eq!(
        call(&nodes[0].owner(), "POST", "/v1/members/2/leave", &[], "").await.problem(),
        (409, "too_few_voters".into())
    );
    assert_eq!(
        call(&nodes[0].owner(), "POST", "/v1/members/2/remove", &[], "{}").await.problem(),
        (409, "still_up".into())
    );
    nodes[2].kill();
    let removed = cli.good(&["remove", "n3", "--json"]).json();
    assert_eq!((&removed["id"], &removed["part"]), (&json!(3), &json!("removed")), "{removed}");
    assert!(cli.good(&["audit", "--access"]).out.contains("removes node 3"));
    owned_by(&nodes[0], &[1, 2]).await;
    eventually("it is not shown any more", async || (states(&nodes[0]).await == ["up", "up"]).then_some(())).await;
    assert_eq!(call(&nodes[1].owner(), "GET", "/v1/kv/b/k", &[], "").await.status, 300, "both writes, read by two");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_second_machine_replaces_the_first_and_has_all_that_it_had() {
    let dir = tempfile::tempdir().unwrap();
    let nodes = cluster(dir.path(), 2).await;
    owned_by(&nodes[1], &[1]).await;
    let cli = Cli::of(dir.path(), &nodes[1], "admin").await;
    cli.good(&["bucket", "create", "b"]);
    for number in 0..20 {
        let put = call(&nodes[0].owner(), "PUT", &format!("/v1/kv/b/{number}"), &[], number.to_string()).await;
        assert_eq!(put.status, 200, "{put:?}");
    }
    // Said on the newcomer, as the manual has it.
    let part = cli.good(&["replace", "n1", "--json"]).json();
    assert_eq!((&part["id"], &part["part"]), (&json!(1), &json!("leaving")), "{part}");
    owned_by(&nodes[1], &[2]).await;
    for number in 0..20 {
        let path = format!("/v1/where/b/{number}");
        let found = get(&nodes[1], &path).await;
        assert!(found["owners"].as_array().unwrap().len() == 1 && of(&found, 2)["holds"]["values"] == 1, "{found}");
        let read = call(&nodes[1].owner(), "GET", &format!("/v1/kv/b/{number}"), &[], "").await;
        assert_eq!(read.text(), number.to_string());
    }
    eventually("the first is not shown any more", async || (states(&nodes[1]).await == ["up"]).then_some(())).await;
}

#[tokio::test]
async fn a_machine_that_is_gone_is_replaced_by_a_line_for_a_new_one() {
    let dir = tempfile::tempdir().unwrap();
    let mut nodes = cluster(dir.path(), 3).await;
    owned_by(&nodes[0], &[1, 2, 3]).await;
    let cli = Cli::of(dir.path(), &nodes[0], "admin").await;
    cli.good(&["bucket", "create", "b"]);
    for number in 0..20 {
        let put = call(&nodes[2].owner(), "PUT", &format!("/v1/kv/b/{number}"), &[], number.to_string()).await;
        assert_eq!(put.status, 200, "{put:?}");
    }
    nodes.remove(2).kill();
    assert_eq!(cli.run(&["replace", "nobody"]).code, 66);
    let line = cli.good(&["replace", "n3"]);
    assert!(line.err.contains("takes the places of node `n3`"), "{line:?}");
    let token = *words(&line.out).last().unwrap();
    nodes.push(start(dir.path(), "n4", Some(token)).await);
    owned_by(&nodes[0], &[1, 2, 4]).await;
    for number in 0..20 {
        let read = call(&nodes[2].owner(), "GET", &format!("/v1/kv/b/{number}"), &[], "").await;
        assert_eq!(read.text(), number.to_string());
    }
    eventually("the lost one is not shown any more", async || (states(&nodes[0]).await == ["up"; 3]).then_some(()))
        .await;
}

#[tokio::test]
async fn a_drained_node_sends_devices_away_and_goes_on_with_all_else() {
    let dir = tempfile::tempdir().unwrap();
    let nodes = cluster(dir.path(), 3).await;
    owned_by(&nodes[0], &[1, 2, 3]).await;
    let cli = Cli::of(dir.path(), &nodes[0], "operate").await;
    assert_eq!(call(&nodes[0].owner(), "PUT", "/v1/buckets/b", &[], "{}").await.status, 201);
    let shown = async |node: &Node| get(node, "/v1/members").await["members"][1].clone();
    cli.good(&["drain", "n2", "--reason", "a new disk", "--for", "1h"]);
    for node in &nodes {
        eventually("all see it drained", async || {
            let member = shown(node).await;
            (member["serving"] == "draining" && member["drain"]["reason"] == "a new disk").then_some(())
        })
        .await;
    }
    let ready = call(&nodes[1].owner(), "GET", "/readyz", &[], "").await;
    assert!(ready.status == 503 && ready.text().contains("a new disk"), "{ready:?}");
    // It answers, and the connection ends: whoever balances takes the next node for the next one.
    let put = call(&nodes[1].owner(), "PUT", "/v1/kv/b/k", &[], "v").await;
    assert_eq!((put.status, put.header("connection")), (200, Some("close")));
    assert_eq!(get(&nodes[1], "/v1/status").await["serving"], "draining");
    cli.good(&["undrain", "n2"]);
    eventually("it takes devices again", async || {
        (shown(&nodes[0]).await["serving"] == "yes" && shown(&nodes[0]).await["drain"].is_null()).then_some(())
    })
    .await;
    eventually("it is ready", async || {
        (call(&nodes[1].owner(), "GET", "/readyz", &[], "").await.status == 200).then_some(())
    })
    .await;
    // What has a time ends by itself.
    cli.good(&["drain", "2", "--for", "1ms"]);
    eventually("it ends by itself", async || shown(&nodes[0]).await["drain"].is_null().then_some(())).await;
    assert_eq!(cli.run(&["drain", "2", "--for", "soon"]).code, 65);
    let audit = call(&nodes[0].owner(), "GET", "/v1/audit", &[], "").await;
    let audit = audit.text();
    assert!(
        audit.contains("sends devices away from node 2") && audit.contains("sends devices to node 2 again"),
        "{audit}"
    );
}

#[tokio::test]
async fn what_a_configuration_says_of_a_node_is_what_the_cluster_knows() {
    let dir = tempfile::tempdir().unwrap();
    let first = ["--name", "n1", "--zone", "hall-a", "--weight", "50", "--peer-listen", "127.0.0.1:0"];
    let words = [&["--listen", "http://127.0.0.1:0"], &first[..]].concat();
    let node = Node::start_saying(&dir.path().join("n1"), &["env", "RINGFORT_LAYOUT_COMMIT=manual"], &words).await;
    eventually("it is known as it says", async || {
        let member = get(&node, "/v1/members").await["members"][0].clone();
        let plan = get(&node, "/v1/plan").await;
        let told = (&member["name"], &member["zone"], &member["weight"], &plan["commit"]);
        (told == (&json!("n1"), &json!("hall-a"), &json!(50), &json!("manual"))).then_some(())
    })
    .await;
    let mut nodes = vec![node];
    for name in ["n2", "n3"] {
        let token = invite(&nodes[0]).await;
        nodes.push(start(dir.path(), name, Some(&token)).await);
    }
    // Nothing moves before somebody says so.
    let cli = Cli::of(dir.path(), &nodes[0], "admin").await;
    let plan = eventually("a plan waits", async || {
        let plan = get(&nodes[0], "/v1/plan").await["plan"].clone();
        (plan["nodes"].as_array().is_some_and(|nodes| nodes.len() == 3)).then_some(plan)
    })
    .await;
    assert_eq!(get(&nodes[0], "/v1/ring").await["nodes"].as_array().unwrap().len(), 1);
    cli.good(&["plan", "commit", &plan["version"].to_string()]);
    owned_by(&nodes[0], &[1, 2, 3]).await;
}
