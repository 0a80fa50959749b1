//! Damaged files: what is wrong is refused, reported or answered `corrupt`, never served as if it were right.

use std::io::Write;
use std::path::Path;
use std::path::PathBuf;
use std::process::Command;
use std::process::Output;
use std::process::Stdio;
use std::time::Duration;
use std::time::Instant;

use hyper::Method;
use ringfort::base::id::BucketId;
use ringfort::base::id::PartitionId;
use ringfort::proto::key::IndexKey;
use ringfort::proto::key::Key;
use ringfort::store::identity;
use ringfort::store::index::Change;
use ringfort::store::index::Index;
use ringfort::store::index::fjall::FjallIndex;
use ringfort::store::partition::StoreError;
use ringfort::store::partition::open;
use ringfort::store::partition::open::Owner;

use crate::support::BINARY;
use crate::support::Node;
use crate::wire;
use crate::wire::Random;
use crate::wire::Readings;
use crate::wire::Wire;

/// The first bucket made.
const BUCKET: BucketId = BucketId(1);
const KEYS: usize = 3000;

fn key(n: usize) -> String {
    format!("key-{n:05}")
}

fn place(key: &str) -> IndexKey {
    IndexKey::new(BUCKET, &Key::new(key.as_bytes().to_vec()).unwrap())
}

/// Key `n` has been written this often in the end: the last value is the right one, every other is an older one.
fn versions(n: usize) -> usize {
    1 + usize::from(n.is_multiple_of(3)) + usize::from(n.is_multiple_of(7))
}

fn body(n: usize, version: usize) -> Vec<u8> {
    format!("{}/{version}|", key(n)).into_bytes().repeat(20)
}

/// A stopped node: its keys in several tables of the index, the last writes in the journal only.
async fn aged_node(data: &Path) {
    let mut node = Node::start(data).await;
    let wish = serde_json::json!({ "kind": "lww" });
    node.owner().tell(Method::PUT, "/v1/buckets/k", &wish).await.map_err(|failure| failure.message).unwrap();
    for version in 1..=3 {
        let wish = serde_json::json!({ "name": format!("t{version}"), "scopes": ["data"] });
        let made = node.owner().tell(Method::POST, "/v1/tokens", &wish).await.map_err(|f| f.message).unwrap();
        let token = made["token"].as_str().unwrap();
        let mut wire = Wire::open(&node.url().await, token).await;
        for n in (0..KEYS).filter(|n| versions(*n) >= version) {
            let (status, _) = wire.ask(Method::PUT, &format!("/v1/kv/k/{}", key(n)), body(n, version)).await.unwrap();
            assert_eq!(status, 200);
        }
        if version < 3 {
            assert!(node.stop().success());
            node = Node::start(data).await;
        }
    }
    node.kill();
}

fn copy(from: &Path, to: &Path) {
    let _gone = std::fs::remove_dir_all(to);
    // Segments are mostly zeros.
    let copied = Command::new("cp").args(["-r", "--sparse=always"]).arg(from).arg(to).status().unwrap();
    assert!(copied.success());
}

fn files(dir: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            found.extend(files(&path));
        } else {
            found.push(path);
        }
    }
    found.sort();
    found
}

fn flip(file: &Path, bit: u64) {
    let mut bytes = std::fs::read(file).unwrap();
    bytes[usize::try_from(bit / 8).unwrap()] ^= 1 << (bit % 8);
    std::fs::write(file, bytes).unwrap();
}

/// How a flip ended; anything else fails the test.
#[derive(Debug, Default)]
struct Outcomes {
    harmless: u32,
    rebuilt: u32,
    rebuilt_with_corrupt_keys: u32,
    corrupt_keys: u32,
    refused: u32,
}

/// Opens the store in this process and reads everything. `Err` is a refusal.
async fn read_store(data: &Path) -> Result<(bool, usize), String> {
    let data = data.to_owned();
    tokio::task::spawn_blocking(move || read_store_blocking(&data)).await.unwrap()
}

fn read_store_blocking(data: &Path) -> Result<(bool, usize), String> {
    let who = identity::read(&data.join("identity")).unwrap().unwrap();
    let owner = Owner { cluster: who.cluster, node: who.node, newborn: false };
    let opened = open::open_dir(&data.join("journal"), &data.join("index"), owner, Box::new(|error| panic!("{error}")));
    let (store, report) = opened.map_err(|error| error.to_string())?;
    let mut corrupt = 0;
    for n in 0..KEYS {
        match store.read(&place(&key(n))) {
            Ok(Some(object)) => {
                let live: Vec<_> = object.live(0).filter_map(|sibling| sibling.live(0)).collect();
                assert_eq!(live.len(), 1, "{}", key(n));
                let right = live[0].1.0 == body(n, versions(n));
                assert!(right, "{} has {}", key(n), String::from_utf8_lossy(&live[0].1.0));
            }
            Ok(None) => panic!("{} is silently absent; {report:?}", key(n)),
            Err(StoreError::Corrupt { .. } | StoreError::Index(_)) => corrupt += 1,
            Err(other) => panic!("{}: {other}", key(n)),
        }
    }
    let mut listed = 0;
    let mut whole = true;
    for partition in PartitionId::all() {
        let visited = store.scan(partition, BUCKET, std::ops::Bound::Unbounded, &mut |_, _| {
            listed += 1;
            std::ops::ControlFlow::Continue(())
        });
        whole &= visited.is_ok();
    }
    assert!(!whole || listed == KEYS, "a list is silently short: {listed}");
    assert!(whole || corrupt > 0 || !report.mended.is_empty(), "only the list is damaged");
    store.close();
    Ok((!report.mended.is_empty(), corrupt))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_flipped_bit_in_the_index_files_is_never_silent() {
    let flips = wire::setting("RINGFORT_FLIPS", 60);
    let dir = tempfile::tempdir().unwrap();
    let (whole, damaged) = (dir.path().join("node"), dir.path().join("damaged"));
    aged_node(&whole).await;
    copy(&whole, &damaged);
    assert_eq!(read_store(&damaged).await, Ok((false, 0)), "undamaged");
    let mut candidates = files(&whole.join("index/db"));
    candidates.retain(|file| std::fs::metadata(file).unwrap().len() > 0);
    let mut random = Random(wire::setting("RINGFORT_SEED", 0x5eed_0004));
    let mut outcomes = Outcomes::default();
    for turn in 0..flips {
        // Every file in turn, so that the small ones, which hold the tree together, are not left out.
        let file = &candidates[usize::try_from(turn).unwrap() % candidates.len()];
        let bits = std::fs::metadata(file).unwrap().len() * 8;
        // Zeros at the end of fjall's own journal say nothing: it is not read.
        let bit = random.below(bits.min(8 * 1024 * 1024));
        copy(&whole, &damaged);
        let name = file.strip_prefix(&whole).unwrap();
        flip(&damaged.join(name), bit);
        eprint!("flip {turn}: {} bit {bit}: ", name.display());
        let outcome = read_store(&damaged).await;
        eprintln!("{outcome:?}");
        match outcome {
            Ok((false, 0)) => outcomes.harmless += 1,
            Ok((true, 0)) => outcomes.rebuilt += 1,
            Ok((true, _)) => outcomes.rebuilt_with_corrupt_keys += 1,
            Ok((false, _)) => outcomes.corrupt_keys += 1,
            Err(_) => outcomes.refused += 1,
        }
    }
    eprintln!("{flips} flips: {outcomes:?}; none silent");
}

/// Runs the doctor with something typed.
fn doctor(data: &Path, words: &[&str], typed: &str) -> Output {
    let mut doctor = Command::new(BINARY)
        .args(["doctor", "--data"])
        .arg(data)
        .args(words)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    // It may end without reading.
    let _unread = doctor.stdin.take().unwrap().write_all(typed.as_bytes());
    doctor.wait_with_output().unwrap()
}

fn text(output: &Output) -> String {
    format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr))
}

/// The node refuses to start with 65 and names `named`.
fn refuses(data: &Path, named: &str) {
    let mut node = Node::spawn(data, &[], &[]);
    let deadline = Instant::now() + Duration::from_secs(20);
    let ended = node.wait_until(deadline);
    assert_eq!(ended.and_then(|status| status.code()), Some(65), "{}", node.log());
    assert!(node.log().contains(named), "{named} is not in:\n{}", node.log());
}

/// The doctor names the damage, does nothing without the typed words, and goes on with them.
fn accept_loss(data: &Path, named: &str) -> String {
    let examined = doctor(data, &[], "");
    assert_eq!(examined.status.code(), Some(3), "{}", text(&examined));
    assert!(text(&examined).contains(named), "{named} is not in:\n{}", text(&examined));
    let unconfirmed = doctor(data, &["--accept-loss"], "yes\n");
    assert_eq!(unconfirmed.status.code(), Some(77), "{}", text(&unconfirmed));
    let accepted = doctor(data, &["--accept-loss"], "accept loss\n");
    assert_eq!(accepted.status.code(), Some(0), "{}", text(&accepted));
    text(&accepted)
}

/// A node with keys of [`wire::value_of`], and its token.
async fn small_node(data: &Path, keys: usize) -> (Node, String, Vec<String>) {
    let node = Node::start(data).await;
    let token = wire::prepare(&node, "k").await;
    let mut wire = Wire::open(&node.url().await, &token).await;
    let keys: Vec<String> = (0..keys).map(key).collect();
    for key in &keys {
        assert_eq!(wire.put("k", key).await.unwrap().0, 200);
    }
    (node, token, keys)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_flip_in_the_journal_is_refused_and_named_and_costs_only_what_it_hit() {
    let dir = tempfile::tempdir().unwrap();
    let data = dir.path().join("node");
    let (mut node, token, keys) = small_node(&data, 300).await;
    node.kill();
    let segment = data.join("journal/000000000001.seg");
    let bytes = std::fs::read(&segment).unwrap();
    let hit = bytes.windows(9).position(|window| window == key(150).as_bytes()).unwrap();
    flip(&segment, hit as u64 * 8);
    refuses(&data, "000000000001.seg");
    let marks = std::fs::read(data.join("journal/marks")).unwrap();
    let given_up = accept_loss(&data, "000000000001.seg");
    assert!(given_up.contains("journal group"), "{given_up}");
    assert_eq!(std::fs::read(data.join("journal/marks")).unwrap(), marks, "they are not lost with it");
    node = Node::start(&data).await;
    let audit = node.owner().ask(Method::GET, "/v1/audit").await.map_err(|failure| failure.message).unwrap();
    let last = audit["entries"].as_array().unwrap().last().unwrap()["what"].as_str().unwrap().to_owned();
    assert!(last.starts_with("accepts the loss of damaged data"), "{last}");
    let readings = wire::read_all(&node, &token, "k", &keys).await;
    assert_eq!(readings, Readings { right: keys.len() - 1, absent: 1, ..Readings::default() }, "{given_up}");
    let mut wire = Wire::open(&node.url().await, &token).await;
    assert_eq!(wire.put("k", &key(150)).await.unwrap().0, 200);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn damaged_marks_are_refused_and_set_aside_and_cost_no_key() {
    let dir = tempfile::tempdir().unwrap();
    let data = dir.path().join("node");
    let (mut node, token, keys) = small_node(&data, 20).await;
    assert!(node.stop().success());
    node = Node::start(&data).await;
    assert!(node.stop().success());
    flip(&data.join("journal/marks"), 17);
    refuses(&data, "marks is damaged");
    let given_up = accept_loss(&data, "marks is damaged");
    assert!(given_up.contains("marks.lost-1"), "{given_up}");
    node = Node::start(&data).await;
    let readings = wire::read_all(&node, &token, "k", &keys).await;
    assert_eq!(readings, Readings { right: keys.len(), ..Readings::default() }, "{given_up}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_superblock_damaged_in_both_copies_is_refused_and_no_key_is_lost_with_it() {
    let dir = tempfile::tempdir().unwrap();
    let data = dir.path().join("node");
    let (mut node, token, keys) = small_node(&data, 300).await;
    node.kill();
    flip(&data.join("journal/superblock"), 100);
    flip(&data.join("journal/superblock"), 4096 * 8 + 100);
    refuses(&data, "superblock");
    accept_loss(&data, "superblock");
    node = Node::start(&data).await;
    let readings = wire::read_all(&node, &token, "k", &keys).await;
    assert_eq!(readings, Readings { right: keys.len(), ..Readings::default() });
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_journal_that_is_missing_or_another_nodes_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let (data, other) = (dir.path().join("node"), dir.path().join("other"));
    for data in [&data, &other] {
        small_node(data, 10).await.0.stop();
    }
    let damaged = dir.path().join("damaged");
    copy(&data, &damaged);
    std::fs::remove_file(damaged.join("journal/superblock")).unwrap();
    refuses(&damaged, "superblock");
    copy(&data, &damaged);
    std::fs::remove_dir_all(damaged.join("journal")).unwrap();
    refuses(&damaged, "superblock");
    copy(&data, &damaged);
    std::fs::remove_dir_all(damaged.join("journal")).unwrap();
    copy(&other.join("journal"), &damaged.join("journal"));
    refuses(&damaged, "the journal belongs to cluster");
    copy(&data, &damaged);
    std::fs::remove_dir_all(damaged.join("control")).unwrap();
    refuses(&damaged, "control");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_missing_index_is_refused_where_the_journal_no_longer_has_what_it_held() {
    let dir = tempfile::tempdir().unwrap();
    let (data, damaged) = (dir.path().join("node"), dir.path().join("damaged"));
    let (mut node, token, keys) = small_node(&data, 50).await;
    node.stop();
    for missing in ["index", "index/db", "index/db/keyspaces/0", "index/db/keyspaces/1", "index/db/keyspaces/1/current"]
    {
        copy(&data, &damaged);
        let path = damaged.join(missing);
        if path.is_dir() {
            std::fs::remove_dir_all(path).unwrap();
        } else {
            std::fs::remove_file(path).unwrap();
        }
        if missing == "index/db/keyspaces/0" {
            // Names only: the tables are there, and enough for a rebuild.
            node = Node::start(&damaged).await;
            assert_eq!(wire::read_all(&node, &token, "k", &keys).await.right, keys.len());
            node.stop();
            continue;
        }
        refuses(&damaged, "keyspaces/1");
        let given_up = accept_loss(&damaged, "cannot be read");
        assert!(given_up.contains("the whole index"), "{missing}: {given_up}");
        node = Node::start(&damaged).await;
        let readings = wire::read_all(&node, &token, "k", &keys).await;
        assert_eq!(readings.absent, keys.len(), "{missing}");
        let mut wire = Wire::open(&node.url().await, &token).await;
        assert_eq!(wire.put("k", &keys[0]).await.unwrap().0, 200);
        node.stop();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_lost_identity_is_refused_and_costs_no_key() {
    let dir = tempfile::tempdir().unwrap();
    let data = dir.path().join("node");
    let (mut node, token, keys) = small_node(&data, 50).await;
    node.stop();
    let (identity, kept) = (data.join("identity"), dir.path().join("kept"));
    std::fs::rename(&identity, &kept).unwrap();
    let mut born_again = Node::spawn(&data, &[], &[]);
    assert_eq!(born_again.wait().code(), Some(65), "{}", born_again.log());
    assert!(born_again.log().contains("does not say who this node is"), "{}", born_again.log());
    std::fs::remove_dir_all(&identity).unwrap();
    std::fs::rename(&kept, &identity).unwrap();
    node = Node::start(&data).await;
    assert_eq!(wire::read_all(&node, &token, "k", &keys).await.right, keys.len());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_rebuild_that_is_killed_between_its_renames_goes_on() {
    let dir = tempfile::tempdir().unwrap();
    let data = dir.path().join("node");
    let (mut node, token, keys) = small_node(&data, 50).await;
    node.stop();
    let db = data.join("index/db");
    let leave = |old: bool| {
        std::fs::rename(&db, data.join("index/db.fresh")).unwrap();
        std::fs::write(data.join("index/REBUILD"), "a test").unwrap();
        if old {
            std::fs::create_dir(&db).unwrap();
        }
    };
    for old in [true, false] {
        leave(old);
        std::fs::create_dir(data.join("index/db.rebuild")).unwrap();
        node = Node::start(&data).await;
        assert_eq!(wire::read_all(&node, &token, "k", &keys).await.right, keys.len());
        node.stop();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_damaged_object_answers_corrupt_until_its_loss_is_accepted() {
    let dir = tempfile::tempdir().unwrap();
    let data = dir.path().join("node");
    let (mut node, token, keys) = small_node(&data, 50).await;
    node.stop();
    let bad = key(7);
    {
        let index = FjallIndex::open(&data.join("index/db")).unwrap();
        let place = place(&bad);
        let mut object = index.get(place.as_bytes()).unwrap().unwrap();
        let middle = object.len() / 2;
        object[middle] ^= 4;
        index.apply(&[Change { place: place.as_bytes(), object: Some(&object) }]).unwrap();
        index.settle(Instant::now() + Duration::from_secs(20)).unwrap();
    }
    node = Node::start(&data).await;
    let mut wire = Wire::open(&node.url().await, &token).await;
    for method in [Method::GET, Method::PUT] {
        let (status, body) = wire.ask(method.clone(), &format!("/v1/kv/k/{bad}"), "new").await.unwrap();
        assert_eq!((status, wire::code(&body).as_str()), (500, "corrupt"), "{method}");
    }
    let (status, body) = wire.ask(Method::GET, "/v1/kv/k", "").await.unwrap();
    assert_eq!((status, wire::code(&body).as_str()), (500, "corrupt"));
    let export = wire.ask(Method::GET, "/v1/buckets/k/export", "").await;
    assert!(export.as_ref().is_none_or(|(status, _)| *status == 500), "the export is silently short: {export:?}");
    let named = format!("k/{bad}");
    let running = doctor(&data, &[], "");
    assert_eq!(running.status.code(), Some(3));
    assert!(text(&running).contains(&named), "{}", text(&running));
    let readings = wire::read_all(&node, &token, "k", &keys).await;
    assert_eq!(readings, Readings { right: keys.len() - 1, refused: 1, ..Readings::default() });
    node.stop();
    let given_up = accept_loss(&data, &named);
    assert!(given_up.contains(&bad), "{given_up}");
    node = Node::start(&data).await;
    let mut wire = Wire::open(&node.url().await, &token).await;
    assert_eq!(wire.get("k", &bad).await.unwrap().0, 404);
    assert_eq!(wire.put("k", &bad).await.unwrap().0, 200);
    assert_eq!(wire::read_all(&node, &token, "k", &keys).await.right, keys.len());
}
