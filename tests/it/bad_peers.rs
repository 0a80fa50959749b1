//! Bad input between nodes: what a node says that was stopped, removed or copied, and what devices are told by a node that
//! only forwards.

use std::path::Path;
use std::sync::Arc;
use std::sync::Mutex;
use std::time::Duration;

use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use ringfort::base::codec::Blob;
use ringfort::base::id::BucketId;
use ringfort::base::id::NodeId;
use ringfort::base::id::OpId;
use ringfort::net::peer::CallError;
use ringfort::net::peer::Inbox;
use ringfort::net::peer::Peers;
use ringfort::net::peer::Settings;
use ringfort::net::peer::twins::Twin;
use ringfort::net::tls::PeerIdentity;
use ringfort::net::wire::Lane;
use ringfort::proto::key::IndexKey;
use ringfort::proto::key::Key;
use ringfort::proto::message::Answer;
use ringfort::proto::message::Ask;
use ringfort::proto::message::Forwarded;
use ringfort::proto::message::Place;
use ringfort::proto::message::Question;
use ringfort::proto::message::Tell;
use ringfort::proto::message::Why;
use ringfort::proto::object::Action;
use ringfort::proto::object::Basis;
use ringfort::proto::object::Condition;
use ringfort::store::identity;
use serde_json::Value;
use serde_json::json;

use crate::cluster::free_ports;
use crate::support::Node;
use crate::support::call;
use crate::support::client;
use crate::support::eventually;

fn words<'w>(name: &'w str, join: Option<&'w str>) -> Vec<&'w str> {
    let words = ["--name", name, "--listen", "http://127.0.0.1:0", "--peer-listen", "127.0.0.1:0"];
    words.into_iter().chain(join.iter().flat_map(|token| ["--join", *token])).collect()
}

async fn cluster(dir: &Path, count: usize) -> Vec<Node> {
    let mut nodes = vec![Node::start_saying(&dir.join("n1"), &[], &words("n1", None)).await];
    for number in 2..=count {
        let token = eventually("an invite", async || {
            let made = call(&nodes[0].owner(), "POST", "/v1/invites", &[], "{}").await;
            (made.status == 201).then(|| made.json()["token"].as_str().unwrap().to_owned())
        })
        .await;
        let name = format!("n{number}");
        nodes.push(Node::start_saying(&dir.join(&name), &[], &words(&name, Some(&token))).await);
    }
    // Two nodes are one owner and one that forwards.
    let owners = if count == 2 { 1 } else { count };
    for node in &nodes {
        eventually("the layout is at rest", async || {
            let ring = node.status().await["ring"].clone();
            let at_rest = ring["moving"] == 0 && ring["behind"] == 0;
            (at_rest && ring["nodes"].as_array().unwrap().len() == owners).then_some(())
        })
        .await;
    }
    nodes
}

async fn get(node: &Node, path: &str) -> Value {
    let reply = call(&node.owner(), "GET", path, &[], "").await;
    assert_eq!(reply.status, 200, "{path}: {reply:?}");
    reply.json()
}

/// Bad input 3.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_that_only_forwards_refuses_as_an_owner_does() {
    let dir = tempfile::tempdir().unwrap();
    let nodes = cluster(dir.path(), 2).await;
    call(&nodes[0].owner(), "PUT", "/v1/buckets/b", &[], "{}").await;
    call(&nodes[0].owner(), "PUT", "/v1/buckets/other", &[], "{}").await;
    call(&nodes[0].owner(), "PUT", "/v1/kv/b/k", &[], "value").await;
    let reads = nodes[0].token("reads", &["device:read"]).await;
    let writes = nodes[0].token("writes", &["device:write"]).await;
    let urls = [nodes[0].url().await, nodes[1].url().await];
    let ask = async |node: usize, token: Option<&str>, method: &str, path: &str| {
        let reply = call(&client(&urls[node], token), method, path, &[], "value").await;
        let code = (reply.status >= 400).then(|| reply.problem().1);
        (reply.status, code, reply.header("www-authenticate").map(str::to_owned))
    };
    eventually("the other node knows the tokens", async || {
        let read = ask(1, Some(&reads), "GET", "/v1/kv/b/k").await.0 == 200;
        (read && ask(1, Some(&writes), "PUT", "/v1/kv/other/k").await.0 == 200).then_some(())
    })
    .await;
    let unknown = format!("{}x", &reads[..reads.len() - 1]);
    for token in [None, Some("nonsense"), Some(unknown.as_str()), Some(reads.as_str()), Some(writes.as_str())] {
        for path in ["/v1/kv/b/k", "/v1/kv/b/nothing", "/v1/kv/none/k", "/v1/where/b/k", "/v1/buckets/b", "/v1/members"]
        {
            for method in ["GET", "PUT", "DELETE", "POST"] {
                let [owner, forwards] = [0, 1].map(|node| ask(node, token, method, path));
                let (owner, forwards) = (owner.await, forwards.await);
                // What is allowed may have other effects the second time; a refusal is the same.
                let is_refused = matches!(owner.0, 401 | 403) || matches!(forwards.0, 401 | 403);
                assert!(!is_refused || owner == forwards, "{method} {path} {token:?}: {owner:?} {forwards:?}");
                let is_known = token == Some(reads.as_str()) || token == Some(writes.as_str());
                assert!(is_known || matches!(owner.0, 401 | 405), "{method} {path}: {owner:?}");
            }
        }
    }
    // Taken away on one, refused by the other.
    let removed = call(&nodes[0].owner(), "DELETE", "/v1/tokens/reads", &[], "").await;
    assert!(removed.status < 300, "{removed:?}");
    eventually("the removal is known", async || {
        (ask(1, Some(&reads), "GET", "/v1/kv/b/k").await == ask(0, Some(&reads), "GET", "/v1/kv/b/k").await
            && ask(1, Some(&reads), "GET", "/v1/kv/b/k").await.0 == 401)
            .then_some(())
    })
    .await;
}

/// A machine with the certificate of a node, which says what it likes.
struct Evil {
    peers: Peers,
    heard: Arc<Heard>,
}

#[derive(Default)]
struct Heard(Mutex<Vec<(NodeId, Vec<u8>)>>);

impl Inbox for Heard {
    fn message(&self, from: NodeId, lane: Lane, body: Vec<u8>) {
        if lane == Lane::Gossip {
            self.0.lock().unwrap().push((from, body));
        }
    }

    fn question(&self, _from: NodeId, _lane: Lane, _body: Vec<u8>) -> BoxFuture<'_, Vec<u8>> {
        async { Vec::new() }.boxed()
    }

    fn guest(&self, _from: std::net::SocketAddr, _body: Vec<u8>) -> BoxFuture<'_, Vec<u8>> {
        async { Vec::new() }.boxed()
    }

    fn may_speak(&self, _node: NodeId) -> bool {
        false
    }

    fn twin(&self, _twin: Twin) {}
}

impl Evil {
    /// In the place of a node that is stopped, at its address.
    async fn in_place_of(data: &Path, nodes: &[Node], address: &str) -> Self {
        let dir = data.join("identity");
        let who = identity::read(&dir).unwrap().unwrap();
        let files = identity::peer::read(&dir, &who).unwrap();
        let (authority, certificate, key) = (files.authority, files.certificate, files.key);
        let proof = PeerIdentity { cluster: who.cluster, node: who.node, authority, certificate, key };
        let heard = Arc::new(Heard::default());
        let inbox = Arc::clone(&heard) as Arc<dyn Inbox>;
        // The kernel may still be taking the port from who was killed.
        let settings = eventually("its port is free", async || Settings::bind(address.parse().unwrap()).ok()).await;
        let peers = Peers::start(settings, &proof, inbox).unwrap();
        for member in get(&nodes[0], "/v1/members").await["members"].as_array().unwrap() {
            let address = member["addresses"][0].as_str().unwrap().to_owned();
            peers.know(NodeId(member["id"].as_u64().unwrap()), vec![address]);
        }
        Self { peers, heard }
    }

    async fn ask(&self, to: u64, epoch: u64, place: &IndexKey, job: u64) -> Result<Tell, CallError> {
        let forwarded = Forwarded {
            job,
            place: Place::from(place),
            action: Action::Put { content_type: String::new(), body: Blob("evil".into()), ttl_ms: None },
            basis: Basis::Current,
            condition: Condition::None,
            op: OpId(u128::from(job)),
            keyed: false,
            w: None,
        };
        let ask = Ask::Forward(Box::new(forwarded));
        let question = Question { epoch, view: 0, steady_ms: 0, left_ms: 5_000, floor: 0, stamp: 0, ask };
        let body = question.encode();
        let answer = self.peers.call(NodeId(to), Lane::Requests, &body, Duration::from_secs(10)).await?;
        Ok(Answer::decode(&answer).unwrap().tell)
    }
}

/// Gossip that was sent by another node, or for another, or is none.
async fn speaks_ill(evil: &Evil, nodes: &[Node]) {
    let (from, real) = eventually("gossip", async || {
        let heard = evil.heard.0.lock().unwrap();
        heard.iter().find(|(from, _)| *from == NodeId(1)).cloned()
    })
    .await;
    assert_eq!(from, NodeId(1));
    let mut foreign = real.clone();
    foreign[1] ^= 1;
    let cut = real[..real.len() - 1].to_vec();
    let spoilt: Vec<Vec<u8>> = (0..real.len())
        .map(|at| {
            let mut bytes = real.clone();
            bytes[at] ^= 0x80;
            bytes
        })
        .collect();
    let bad = [real.clone(), foreign, cut, Vec::new(), vec![0xff; 64], vec![1; 65 * 1024]];
    for to in [1, 2] {
        for bytes in bad.iter().chain(&spoilt) {
            // Said again and again, and in any order.
            for _ in 0..2 {
                let _lost = evil.peers.send(NodeId(to), Lane::Gossip, bytes);
            }
        }
    }
    // It was heard: what is said behind it is answered.
    for to in [1, 2] {
        let answer = evil.peers.call(NodeId(to), Lane::Gossip, b"are you there", Duration::from_secs(10)).await;
        assert!(answer.is_ok(), "{answer:?}");
    }
    for node in nodes {
        let members = get(node, "/v1/members").await;
        let state = |at: usize| members["members"][at]["state"].as_str().unwrap().to_owned();
        assert_eq!((state(0), state(1)), ("up".to_owned(), "up".to_owned()), "{members}");
        assert_eq!(call(&node.owner(), "PUT", "/v1/kv/b/after", &[], "value").await.status, 200);
    }
}

/// Removed, it is nobody.
async fn is_put_out(evil: &Evil, nodes: &[Node], late: &IndexKey) {
    eventually("it is removed", async || {
        let removed = call(&nodes[0].owner(), "POST", "/v1/members/3/remove", &[], "{}").await;
        (removed.status == 200).then_some(())
    })
    .await;
    eventually("it is not spoken with", async || {
        let links = evil.peers.links();
        let refused = |at: usize| {
            let why = links[at].lanes[2].why.clone().map(|why| why.text).unwrap_or_default();
            why.contains("no member of this cluster any more")
        };
        (refused(0) && refused(1)).then_some(())
    })
    .await;
    let ring = get(&nodes[0], "/v1/ring").await;
    for to in [1, 2] {
        let told = evil.ask(to, epoch(&ring, late), late, 9).await;
        assert!(matches!(told, Err(CallError::NotSent(_))), "{told:?}");
    }
    assert_eq!(call(&nodes[0].owner(), "GET", "/v1/kv/b/late", &[], "").await.status, 404);
}

fn epoch(ring: &Value, place: &IndexKey) -> u64 {
    ring["partitions"][usize::from(place.partition().0)]["epoch"].as_u64().unwrap()
}

/// Bad inputs 32 and 34.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn gossip_that_is_no_gossip_and_requests_of_old_layouts_change_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let mut nodes = cluster(dir.path(), 3).await;
    call(&nodes[0].owner(), "PUT", "/v1/buckets/b", &[], "{\"n\":3}").await;
    let members = get(&nodes[0], "/v1/members").await;
    let address = members["members"][2]["addresses"][0].as_str().unwrap().to_owned();
    let mut third = nodes.pop().unwrap();
    third.kill();
    let evil = Evil::in_place_of(&third.data, &nodes, &address).await;

    // Nothing is stored for who speaks of an older layout, and all is for who speaks of this one.
    let bucket = BucketId(1);
    let place = |key: &str| IndexKey::new(bucket, &Key::new(key.as_bytes().to_vec()).unwrap());
    let ring = get(&nodes[0], "/v1/ring").await;
    let (old, fresh) = (place("old"), place("fresh"));
    let told = eventually("the node is called", async || evil.ask(1, epoch(&ring, &old) - 1, &old, 1).await.ok()).await;
    assert_eq!(told, Tell::Refused(Why::Stale));
    assert_eq!(evil.ask(1, 0, &old, 2).await, Ok(Tell::Refused(Why::Stale)));
    assert_eq!(evil.ask(1, epoch(&ring, &fresh), &fresh, 3).await, Ok(Tell::Received));
    eventually("it is stored", async || {
        (call(&nodes[0].owner(), "GET", "/v1/kv/b/fresh", &[], "").await.status == 200).then_some(())
    })
    .await;
    for node in &nodes {
        for how in ["", "?consistency=local"] {
            let old = call(&node.owner(), "GET", &format!("/v1/kv/b/old{how}"), &[], "").await;
            assert_eq!(old.status, 404, "{old:?}");
        }
    }

    speaks_ill(&evil, &nodes).await;
    is_put_out(&evil, &nodes, &place("late")).await;
    evil.peers.close().await;
}

fn copy(from: &Path, to: &Path) {
    let done = std::process::Command::new("cp").arg("-a").arg(from).arg(to).status().unwrap();
    assert!(done.success());
}

/// Waits until all see the third one up, at an address that `fits`.
async fn third_is_up(asked: &[&Node], fits: impl Fn(&Value) -> bool) {
    for node in asked {
        eventually("all are up, and the third is where it is now", async || {
            let members = get(node, "/v1/members").await;
            let members = members["members"].as_array().unwrap();
            let up = members.iter().all(|member| member["state"] == "up");
            (up && fits(&members[2]["addresses"])).then_some(())
        })
        .await;
    }
}

/// The text of the alarm that there are two of the third one.
async fn twin_told(node: &Node) -> Option<String> {
    let status = node.owner().ask(hyper::Method::GET, "/v1/status").await.ok()?;
    let alarms = status["alarms"].as_array()?.clone();
    let text = alarms.iter().find(|alarm| alarm["code"] == "twin")?["text"].as_str()?.to_owned();
    assert!(text.contains("node 3"), "{text}");
    Some(text)
}

/// Bad input 35; and a node that comes back at another address is found again by all, also where its copy was in between.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_a_node_and_its_copy_one_is_fenced_and_all_say_so() {
    let dir = tempfile::tempdir().unwrap();
    let mut nodes = cluster(dir.path(), 3).await;
    call(&nodes[0].owner(), "PUT", "/v1/buckets/b", &[], "{\"n\":3}").await;
    let before = get(&nodes[0], "/v1/members").await["members"][2]["addresses"].clone();
    let mut third = nodes.pop().unwrap();
    let home = format!("127.0.0.1:{}", free_ports(1));
    let at_home = ["--name", "n3", "--listen", "http://127.0.0.1:0", "--peer-listen", &home];
    third.stop();
    let mut third = Node::start_saying(&third.data, &[], &at_home).await;
    third_is_up(&[&nodes[0], &nodes[1], &third], |addresses| *addresses != before).await;
    third.stop();
    copy(&third.data, &dir.path().join("copy"));
    let mut third = Node::start_saying(&third.data, &[], &at_home).await;
    third_is_up(&[&nodes[0], &nodes[1], &third], |addresses| *addresses == json!([home])).await;
    eventually("all three hold a write", async || {
        let put = call(&nodes[0].owner(), "PUT", "/v1/kv/b/all", &[], "value").await;
        assert_eq!(put.status, 200, "{put:?}");
        let held = get(&nodes[0], "/v1/where/b/all").await;
        held["owners"].as_array().unwrap().iter().all(|owner| owner["holds"]["values"].is_u64()).then_some(())
    })
    .await;

    // The copy is the one that is started later.
    let mut copied = Node::spawn_saying(&dir.path().join("copy"), &[], &[], &words("n3", None));
    for node in &nodes {
        eventually("the others tell of it", async || twin_told(node).await).await;
    }
    let fenced = eventually("one of the two tells of it", async || {
        for node in [&third, &copied] {
            if twin_told(node).await.is_some() {
                return Some(node);
            }
        }
        None
    })
    .await;
    // What is fenced takes no write that others would have to know of, whichever it is; the cluster goes on.
    let put = call(&fenced.owner(), "PUT", "/v1/kv/b/fenced", &[], "value").await;
    assert!(matches!(put.status, 503 | 504), "{put:?}");
    for node in &nodes {
        assert_eq!(call(&node.owner(), "PUT", "/v1/kv/b/on", &[], "value").await.status, 200);
        assert_eq!(call(&node.owner(), "GET", "/v1/kv/b/fenced", &[], "").await.status, 404);
    }
    assert_eq!(json!(3), get(&nodes[0], "/v1/status").await["ring"]["nodes"].as_array().unwrap().len());

    // Which machines those are is said by who refuses one, and by who is refused.
    let away = eventually("the one that was started later says where it is", async || {
        let addresses = get(&nodes[0], "/v1/members").await["members"][2]["addresses"].clone();
        (addresses != json!([home])).then(|| addresses[0].as_str().unwrap().to_owned())
    })
    .await;
    for node in [&nodes[0], &nodes[1], &third] {
        eventually("both addresses are named", async || {
            let text = twin_told(node).await?;
            (text.contains(&home) && text.contains(&away)).then_some(())
        })
        .await;
    }

    // The copy goes for ever, and what is left comes back where it always was.
    copied.kill();
    third.stop();
    let third = Node::start_saying(&third.data, &[], &at_home).await;
    third_is_up(&[&nodes[0], &nodes[1], &third], |addresses| *addresses == json!([home])).await;
    for node in [&nodes[0], &nodes[1], &third] {
        assert_eq!(call(&node.owner(), "PUT", "/v1/kv/b/after", &[], "value").await.status, 200);
    }
}
