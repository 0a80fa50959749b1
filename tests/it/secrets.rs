//! No secret is anywhere where somebody reads what went wrong: planted in every place where one can be, looked for in every
//! form, in everything that is kept and told. What finds them is shown to find what is there.

use std::collections::BTreeMap;
use std::path::Path;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD_NO_PAD;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use hyper::Method;
use regex_automata::meta;
use regex_automata::util::syntax;
use ringfort::cli::client::Client;
use ringfort::node::debug::logs;
use ringfort::node::drill::CUT_FILE;
use serde_json::json;

use crate::cluster_faces::get;
use crate::cluster_faces::invite;
use crate::cluster_faces::owned_by;
use crate::console::Browser;
use crate::support::Ended;
use crate::support::Node;
use crate::support::call;
use crate::support::client;
use crate::support::command;
use crate::support::ended;
use crate::support::eventually;
use crate::tls_files::write_pair;

/// What may be seen, and is: who looks finds it.
const CONTROL: &str = "c0ntr0l-b0cket";

/// Every way in which bytes may be written: as they are, in base64 of both alphabets wherever in it they begin, in
/// hexadecimal, and as in an address.
fn forms(secret: &[u8]) -> Vec<Vec<u8>> {
    let hex: String = secret.iter().map(|byte| format!("{byte:02x}")).collect();
    let url = |plain: &str| {
        let escaped = |byte: &u8| {
            if plain.contains(char::from(*byte)) { char::from(*byte).to_string() } else { format!("%{byte:02X}") }
        };
        secret.iter().map(escaped).collect::<String>()
    };
    let all = url("");
    let usual = url("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_.~");
    let mut forms: Vec<String> = vec![hex.to_uppercase(), hex, all.to_lowercase(), all, usual.to_lowercase(), usual];
    for before in 0..3 {
        let padded = [&[0; 2][..before.min(2)], secret].concat();
        // Letters that depend on what is before and behind are left out.
        let (from, until) = ((before * 8).div_ceil(6), padded.len() * 8 / 6);
        for alphabet in [STANDARD_NO_PAD, URL_SAFE_NO_PAD] {
            forms.push(alphabet.encode(&padded)[from..until].to_owned());
        }
    }
    let mut forms: Vec<Vec<u8>> = forms.into_iter().map(String::into_bytes).collect();
    forms.push(secret.to_vec());
    forms
}

/// Looks for a secret in every form.
struct Finder(meta::Regex);

impl Finder {
    fn of(secret: &[u8]) -> Self {
        let byte = |byte: &u8| format!("\\x{byte:02x}");
        let forms: Vec<String> = forms(secret).iter().map(|form| form.iter().map(byte).collect()).collect();
        let bytes = syntax::Config::new().utf8(false).unicode(false);
        Self(meta::Builder::new().syntax(bytes).build(&forms.join("|")).unwrap())
    }

    /// As what it is there first.
    fn find(&self, place: &[u8]) -> Option<String> {
        Some(String::from_utf8_lossy(&place[self.0.find(place)?.range()]).into_owned())
    }
}

#[test]
fn whoever_looks_finds_a_secret_in_every_form() {
    let secret = b"pl4nted/s3cret+1";
    let wrapped = |text: String| format!("{{\"said\":\"{text}\"}}").into_bytes();
    let hex: String = secret.iter().map(|byte| format!("{byte:02x}")).collect();
    let url: String = secret.iter().map(|byte| format!("%{byte:02x}")).collect();
    let mut places = vec![
        wrapped(String::from_utf8(secret.to_vec()).unwrap()),
        wrapped(hex.to_uppercase()),
        wrapped(hex),
        wrapped(url.to_uppercase()),
        wrapped(url),
        wrapped("pl4nted%2Fs3cret%2B1".to_owned()),
    ];
    for before in 0..7 {
        for behind in 0..4 {
            let text = ["x".repeat(before).as_bytes(), secret, "y".repeat(behind).as_bytes()].concat();
            places.push(wrapped(STANDARD_NO_PAD.encode(&text)));
            places.push(wrapped(URL_SAFE_NO_PAD.encode(&text)));
        }
    }
    let finder = Finder::of(secret);
    for place in places {
        assert!(finder.find(&place).is_some(), "{}", String::from_utf8_lossy(&place));
    }
    assert_eq!(finder.find(b"pl4nted/s3cret-1 cGw0bnRlZC9z"), None, "and only that");
}

/// All files below a directory, by their path.
fn files(dir: &Path, found: &mut BTreeMap<String, Vec<u8>>) {
    for entry in std::fs::read_dir(dir).into_iter().flatten().flatten() {
        if entry.file_type().unwrap().is_dir() {
            files(&entry.path(), found);
        } else {
            found.insert(entry.path().display().to_string(), std::fs::read(entry.path()).unwrap());
        }
    }
}

struct House {
    dir: tempfile::TempDir,
    nodes: Vec<Node>,
    invites: Vec<String>,
}

/// Three machines; the first has a key of its own for TLS, and fails on order.
async fn house() -> House {
    let dir = tempfile::tempdir().unwrap();
    let drill = dir.path().join("drill");
    write_pair(dir.path(), -1, 300);
    let config = dir.path().join("r.toml");
    let (cert, key) = (dir.path().join("cert.pem"), dir.path().join("key.pem"));
    std::fs::write(&config, format!("tls_cert = {cert:?}\ntls_key = {key:?}\nlog = \"info,ringfort=trace\"\n"))
        .unwrap();
    let environment = [(CUT_FILE, drill.to_str().unwrap()), ("RINGFORT_PEER_LISTEN", "127.0.0.1:0")];
    let (mut nodes, mut invites) = (Vec::new(), Vec::new());
    for name in ["n1", "n2", "n3"] {
        let mut words = vec!["--name", name, "--config", config.to_str().unwrap(), "--listen", "http://127.0.0.1:0"];
        words.extend(["--listen", "https://127.0.0.1:0"]);
        if let Some(first) = nodes.first() {
            invites.push(invite(first).await);
            words.extend(["--join", invites.last().unwrap()]);
        }
        let mut node = Node::spawn_saying(&dir.path().join(name), &[], &environment, &words);
        node.get_ready().await;
        nodes.push(node);
    }
    owned_by(&nodes[0], &[1, 2, 3]).await;
    House { dir, nodes, invites }
}

/// The address without TLS: what is looked for is not how it gets there.
async fn plain_url(node: &Node) -> String {
    let status = node.status().await;
    let all = status["addresses"].as_array().unwrap().iter().map(|url| url.as_str().unwrap());
    all.into_iter().find(|url| url.starts_with("http://")).unwrap().to_owned()
}

/// Secrets of those who send them.
struct Said<'s> {
    value: &'s str,
    header: &'s str,
    cookie: &'s str,
    key: &'s str,
    odd: &'s str,
    bearer: &'s str,
}

/// Sends all of them to every kind of route, as these callers.
async fn use_everywhere(said: &Said<'_>, node: &Node, callers: &[&Client]) {
    let Said { value, header, cookie, key, odd, bearer } = *said;
    for by in callers {
        for (method, path) in [
            ("PUT", format!("/v1/kv/{CONTROL}/{key}")),
            ("GET", format!("/v1/kv/{CONTROL}/{key}")),
            ("GET", format!("/v1/where/{CONTROL}/{key}")),
            ("DELETE", format!("/v1/kv/{CONTROL}/{key}-2")),
            ("PUT", format!("/v1/kv/{key}/k")),
            ("GET", format!("/v1/kv/{CONTROL}?after={key}")),
            ("PUT", format!("/v1/buckets/{key}")),
            ("POST", "/v1/tokens".to_owned()),
            ("POST", "/v1/batch".to_owned()),
            ("POST", format!("/v1/buckets/{CONTROL}/import?format=ndjson&key=k")),
            ("GET", format!("/{key}")),
            ("GET", format!("/v1/status?token={bearer}")),
        ] {
            let cookie = format!("{}={cookie}", "ringfort");
            let headers =
                [("x-planted", header), ("cookie", &cookie), ("idempotency-key", header), ("if-match", header)];
            let _any =
                call(by, method, &path, &headers, json!({ "k": key, "value": value, "body": odd }).to_string()).await;
            let _any = call(by, method, &path, &headers, value.to_owned()).await;
        }
        let _any = call(by, "POST", "/v1/config/reload", &[("ringfort-context", odd)], odd.to_owned()).await;
    }
    let forms = [("user", "eve"), ("password", odd), ("code", header)];
    let outside = Browser::new(node).await;
    for path in ["/sign-in", "/claim"] {
        let _refused = outside.post(path, &forms).await;
    }
}

/// Bytes of each private key, out of its secret part: what is before is the same in every key of its kind (PKCS#8 with
/// P-256 or Ed25519), what is behind is the public key.
fn private_keys(house: &House) -> Vec<(&'static str, Vec<u8>)> {
    let mut kept = BTreeMap::new();
    house.nodes.iter().for_each(|node| files(&node.data.join("identity"), &mut kept));
    kept.insert("key.pem".to_owned(), std::fs::read(house.dir.path().join("key.pem")).unwrap());
    let read = |bytes: &Vec<u8>| {
        let text = String::from_utf8_lossy(bytes);
        let lines: String = text.lines().filter(|line| !line.starts_with("-----")).collect();
        let der = base64::engine::general_purpose::STANDARD.decode(lines).ok()?;
        let begin = if der.len() > 100 { 38 } else { 18 };
        Some(("a private key", der.get(begin..begin + 24)?.to_vec()))
    };
    let keys: Vec<_> =
        kept.iter().filter(|(path, _)| path.contains("key")).filter_map(|(_, bytes)| read(bytes)).collect();
    assert!(keys.len() > house.nodes.len(), "that for TLS, and one of each node: {:?}", kept.keys());
    keys
}

/// Uses each secret where it belongs and where it does not, and everything by name. Returns them, each with what it is.
async fn plant(house: &House) -> Vec<(&'static str, Vec<u8>)> {
    let (node, url) = (&house.nodes[0], plain_url(&house.nodes[0]).await);
    let owner = node.owner();
    let [password, value, header, cookie, key, odd, bearer] = [
        "pl4nted-passw0rd-q",
        "pl4nted-v4lue-w",
        "pl4nted-he4der-e",
        "pl4nted-c0okie-r",
        "pl4nted-k3y-t",
        "pl4nted-b0dy-y",
        "rf_pl4nted-t0ken-u",
    ];
    let bucket = json!({ "kind": "lww" }).to_string();
    assert_eq!(call(&owner, "PUT", &format!("/v1/buckets/{CONTROL}"), &[], bucket).await.status, 201);
    let user = json!({ "password": password, "scopes": ["admin"] }).to_string();
    assert_eq!(call(&owner, "PUT", "/v1/users/eve", &[], user).await.status, 201);
    let device = node.token("device", &["device:read", "device:write"]).await;
    let link = owner.tell(Method::POST, "/v1/sign-in-links", &json!({ "user": "eve" })).await.map_err(|f| f.message);
    let link = link.unwrap()["path"].as_str().unwrap().rsplit(['/', '=']).next().unwrap().to_owned();
    let browser = Browser::signed_in(node, "ann", &["support"]).await;
    let session = browser.cookie.split_once('=').unwrap().1.to_owned();
    assert_eq!(browser.get("/members/1/inside").await.status, 200);
    let unused = invite(node).await;
    let said = Said { value, header, cookie, key, odd, bearer };
    use_everywhere(&said, node, &[&owner, &client(&url, Some(&device)), &client(&url, Some(bearer))]).await;
    let mut planted: Vec<(&'static str, Vec<u8>)> = vec![
        ("a password", password.into()),
        ("a value", value.into()),
        ("a header", header.into()),
        ("a cookie", cookie.into()),
        ("a key", key.into()),
        ("a body", odd.into()),
        ("a token that is none", bearer.into()),
        ("a token", device.into_bytes()),
        ("a sign-in link", link.into_bytes()),
        ("a session", session.into_bytes()),
        ("an invite", unused.into_bytes()),
    ];
    planted.extend(house.invites.iter().map(|invite| ("an invite that was used", invite.clone().into_bytes())));
    planted.extend(private_keys(house));
    planted
}

/// Has the first node fail twice while it does what is asked with secrets: once it goes on, once it does not.
async fn fail_twice(house: &House) {
    let (drill, node) = (house.dir.path().join("drill"), &house.nodes[0]);
    let reports = async || get(&house.nodes[1], "/v1/crashes").await["crashes"].as_array().unwrap().len();
    for (number, word) in [(1, "panic-request@1"), (2, "abort@1")] {
        std::fs::write(&drill, word).unwrap();
        eventually("another node has the report", async || {
            let path = format!("/v1/kv/{CONTROL}/pl4nted-k3y-t");
            let headers = [("x-planted", "pl4nted-he4der-e")];
            let body = hyper::body::Bytes::from_static(b"pl4nted-v4lue-w");
            let put = node.owner().send(Method::PUT, &path, &headers, ringfort::cli::client::full(body)).await;
            drop(put);
            (reports().await >= number).then_some(())
        })
        .await;
    }
    eventually("it is back", async || node.is_ready().await.then_some(())).await;
}

/// Everything that is told and kept of what happened, by where it is.
async fn everything(house: &House) -> BTreeMap<String, Vec<u8>> {
    let mut places = BTreeMap::new();
    for node in &house.nodes {
        for part in ["blackbox", "crashes"] {
            files(&node.data.join(part), &mut places);
        }
        places.insert(format!("standard error of {:?}", node.data), node.log().into_bytes());
        for path in [
            "/v1/logs?limit=1000&level=trace",
            "/v1/crashes",
            "/v1/timeline",
            "/v1/alarms",
            "/v1/audit",
            "/v1/status",
            "/v1/members",
            "/v1/config",
            "/metrics",
            "/v1/members/1/inside",
            "/v1/members/2/inside",
        ] {
            let reply = call(&node.owner(), "GET", path, &[], "").await;
            assert_eq!(reply.status, 200, "{path}: {reply:?}");
            places.insert(format!("{path} of {:?}", node.data), reply.body);
        }
        for crash in get(node, "/v1/crashes").await["crashes"].as_array().unwrap() {
            let path = format!("/v1/crashes/{}", crash["id"].as_str().unwrap());
            places.insert(format!("{path} of {:?}", node.data), get(node, &path).await.to_string().into_bytes());
        }
    }
    let (url, token) = (plain_url(&house.nodes[1]).await, house.nodes[1].token("looks", &["support"]).await);
    let id = get(&house.nodes[1], "/v1/crashes").await["crashes"][0]["id"].as_str().unwrap().to_owned();
    for words in [
        &["logs", "--lines", "1000"][..],
        &["logs", "--lines", "1000", "--json"],
        &["crashes"],
        &["crashes", "show", &id],
        &["crashes", "export", &id],
        &["timeline"],
        &["members"],
        &["status", "--json"],
    ] {
        let mut command = command(house.dir.path(), &[words, &["--url", &url]].concat());
        command.env("RINGFORT_TOKEN", &token);
        let Ended { code, out, err } = ended(command);
        assert!([0, 4].contains(&code), "{words:?}: {err}");
        places.insert(format!("ringfort {}", words.join(" ")), (out + &err).into_bytes());
    }
    places
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_secret_is_in_anything_that_tells_what_happened() {
    let mut house = house().await;
    let planted = plant(&house).await;
    fail_twice(&house).await;
    eventually("the boxes have all of it, and figures", async || {
        let has = |of: u64, by: usize, book: &str, said: &str| {
            let dir = house.nodes[by].data.join(format!("blackbox/peers/{of}/{book}"));
            let lines = logs::reader(dir).tail(1000).unwrap_or_default();
            lines.iter().any(|line| String::from_utf8_lossy(&line.bytes).contains(said))
        };
        let kept = [1, 2].iter().all(|by| has(1, *by, "figures", "memory_bytes") && has(1, *by, "timeline", "crash"));
        (kept && [1, 2].iter().all(|by| has(1, *by, "log", CONTROL))).then_some(())
    })
    .await;
    let mut places = everything(&house).await;
    // Of one that is gone, from the boxes of the others.
    house.nodes[0].kill();
    let last = eventually("the last minutes of the first", async || {
        let reply = call(&house.nodes[1].owner(), "GET", "/v1/members/1/inside", &[], "").await;
        (reply.status == 200 && reply.json()["log"].is_array()).then_some(reply.body)
    })
    .await;
    assert!(String::from_utf8_lossy(&last).contains("memory_bytes"), "with its figures");
    places.insert("the last minutes of the first".to_owned(), last);

    let count = |kind: &str| places.keys().filter(|path| path.contains(kind)).count();
    for kind in ["blackbox/log/", "blackbox/timeline/", "blackbox/figures/", "blackbox/peers/1/log/", "/crashes/"] {
        assert!(count(kind) >= 2, "{kind}: {:?}", places.keys());
    }
    let control = Finder::of(CONTROL.as_bytes());
    let seen = places.iter().filter(|(_, bytes)| control.find(bytes).is_some()).map(|(path, _)| path);
    let seen: Vec<&String> = seen.collect();
    for kind in ["blackbox/log/", "blackbox/peers/1/log/", "standard error", "/v1/logs", "ringfort logs"] {
        assert!(seen.iter().any(|path| path.contains(kind)), "what is there is not found in {kind}: {seen:?}");
    }
    let mut found = Vec::new();
    for (what, secret) in &planted {
        let finder = Finder::of(secret);
        let here = places.iter().filter_map(|(path, bytes)| Some((path, finder.find(bytes)?)));
        found.extend(here.map(|(path, form)| format!("{what} as {form} in {path}")));
    }
    let bytes: usize = places.values().map(Vec::len).sum();
    eprintln!("{} secrets in {} places of {bytes} bytes: {} found", planted.len(), places.len(), found.len());
    assert_eq!(found, Vec::<String>::new());
}

#[tokio::test]
async fn a_password_in_an_address_is_not_said_again() {
    let dir = tempfile::tempdir().unwrap();
    let secret = "pl4nted-passw0rd-q";
    let says = |command: std::process::Command| {
        let Ended { code, out, err } = ended(command);
        assert!(code != 0, "{out}{err}");
        out + &err
    };
    let address = format!("ann:{secret}@127.0.0.1:1");
    let mut told = vec![
        says(command(dir.path(), &["status", "--url", &format!("http://{address}")])),
        says(command(dir.path(), &["status", "--url", &format!("https://{address}/x")])),
        says(command(dir.path(), &["run", "--data", "d", "--listen", &format!("http://{address}")])),
        says(command(dir.path(), &["run", "--data", "d", "--advertise", &address])),
        says(command(dir.path(), &["run", "--data", "d", "--peer-listen", &address])),
    ];
    for line in [format!("listen = \"http://{address}\""), format!("password = \"{secret}\"")] {
        std::fs::write(dir.path().join("r.toml"), line + "\n").unwrap();
        told.push(says(command(dir.path(), &["config", "check", "--config", "r.toml"])));
    }
    let mut from_outside = command(dir.path(), &["status"]);
    from_outside.env("RINGFORT_URL", format!("http://{address}"));
    told.push(says(from_outside));
    let mut wrong_token = command(dir.path(), &["status", "--url", "http://127.0.0.1:1"]);
    wrong_token.env("RINGFORT_TOKEN", secret);
    told.push(says(wrong_token));
    let finder = Finder::of(secret.as_bytes());
    for said in told {
        assert_eq!(finder.find(said.as_bytes()), None, "{said}");
    }
}
