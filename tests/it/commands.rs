//! The command line as people and scripts use it: results, exit statuses, how a node is found, what the configuration
//! says of itself, and `ringfort dev` with its processes.

use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Child;
use std::process::Command;

use rustix::process::Pid;
use rustix::process::Signal;
use serde_json::Value;
use serde_json::json;

use crate::support::Ended;
use crate::support::Node;
use crate::support::airports;
use crate::support::call;
use crate::support::client;
use crate::support::command;
use crate::support::ended;
use crate::support::eventually;
use crate::support::ringfort;
use crate::support::ringfort_in;

/// A node and a function that runs the command line against it.
async fn node_and_cli(dir: &tempfile::TempDir) -> (Node, impl Fn(&[&str]) -> Ended) {
    let node = Node::start(&dir.path().join("data")).await;
    let token = dir.path().join("token");
    std::fs::write(&token, node.token("admin", &["admin"]).await + "\n").unwrap();
    let (here, url, token) = (dir.path().to_owned(), node.url().await, token.to_str().unwrap().to_owned());
    let cli = move |words: &[&str]| ringfort_in(&here, &[words, &["--url", &url, "--token-file", &token]].concat());
    (node, cli)
}

fn good(ended: Ended) -> Ended {
    assert_eq!(ended.code, 0, "{ended:?}");
    ended
}

#[tokio::test]
async fn buckets_and_values_are_made_shown_and_removed() {
    let dir = tempfile::tempdir().unwrap();
    let (_node, cli) = node_and_cli(&dir).await;
    good(cli(&["bucket", "create", "b", "--ttl", "1h", "--n", "5"]));
    good(cli(&["bucket", "create", "l", "--kind", "lww"]));
    let list = good(cli(&["bucket", "ls"])).out;
    let rows: Vec<Vec<&str>> = list.lines().map(|line| line.split_whitespace().collect()).collect();
    assert_eq!(rows[0][..3], ["NAME", "KIND", "N"]);
    assert_eq!(
        (rows[1][..5].to_vec(), rows[2][..3].to_vec()),
        (vec!["b", "siblings", "5", "3", "3"], vec!["l", "lww", "3"])
    );
    good(cli(&["bucket", "set", "b", "--class", "critical"]));
    let shown = good(cli(&["bucket", "show", "b", "--json"])).json();
    assert_eq!((&shown[0]["class"], &shown[0]["n"]), (&json!("critical"), &json!(5)));
    assert_eq!(cli(&["bucket", "set", "none", "--n", "3"]).code, 66);
    assert_eq!(cli(&["bucket", "create", "l", "--kind", "siblings"]).code, 65);
    assert_eq!(cli(&["bucket", "create", "c", "--kind", "counter"]).code, 65);

    let stored = good(cli(&["kv", "put", "b", "k/ä", "value"]));
    assert!(stored.out.is_empty() && stored.err.contains("stored; on the disk of node"), "{stored:?}");
    assert_eq!(good(cli(&["kv", "get", "b", "k/ä"])).out, "value");
    // It replaces what is there; blind, it stays beside it.
    good(cli(&["kv", "put", "b", "k/ä", "newer"]));
    assert_eq!(good(cli(&["kv", "get", "b", "k/ä"])).out, "newer");
    let receipt = good(cli(&["kv", "put", "b", "k/ä", "beside", "--blind", "--json"])).json();
    assert_eq!(receipt["outcome"], "ok");
    let several = cli(&["kv", "get", "b", "k/ä"]);
    assert_eq!((several.code, several.out.contains("siblings")), (4, true), "{several:?}");
    good(cli(&["kv", "put", "b", "other", "x", "--ttl", "1h", "--content-type", "text/plain"]));
    assert_eq!(good(cli(&["kv", "ls", "b"])).out, "k/ä\nother\n");
    assert_eq!(good(cli(&["kv", "ls", "b", "--prefix", "o"])).out, "other\n");
    good(cli(&["kv", "rm", "b", "k/ä"]));
    let gone = cli(&["kv", "get", "b", "k/ä"]);
    assert_eq!((gone.code, gone.out.as_str()), (66, ""), "{gone:?}");
    assert_eq!(cli(&["kv", "get", "none", "k"]).code, 66);
    assert_eq!(cli(&["kv", "put", "b", "k", "x", "--ttl", "5"]).code, 65);
    good(cli(&["bucket", "rm", "b"]));
    assert_eq!(cli(&["bucket", "show", "b"]).code, 66);
    assert!(good(cli(&["status"])).out.contains("survives"));
    assert!(good(cli(&["status", "--json"])).json()["worker_pid"].is_number());
}

#[tokio::test]
async fn tokens_are_made_listed_and_removed() {
    let dir = tempfile::tempdir().unwrap();
    let (node, cli) = node_and_cli(&dir).await;
    let made = good(cli(&["token", "create", "sensor", "--scope", "device:read,device:write", "--ttl", "90d"]));
    let token = made.out.trim().to_owned();
    assert!(token.starts_with("rf_") && made.err.contains("once"), "{made:?}");
    let sensor = client(&node.url().await, Some(&token));
    assert_eq!(call(&sensor, "GET", "/v1/kv/none", &[], "").await.status, 404);
    let listed = good(cli(&["token", "ls"]));
    assert!(listed.out.contains("sensor") && !listed.out.contains(&token), "{listed:?}");
    assert_eq!(good(cli(&["token", "ls", "--json"])).json()["tokens"][1]["name"], "sensor");
    assert_eq!(cli(&["token", "create", "sensor", "--scope", "data"]).code, 65);
    assert_eq!(cli(&["token", "create", "other", "--scope", "root"]).code, 65);
    good(cli(&["token", "rm", "sensor"]));
    assert_eq!(cli(&["token", "rm", "sensor"]).code, 66);
    assert_eq!(call(&sensor, "GET", "/v1/kv/none", &[], "").await.status, 401);

    std::fs::write(dir.path().join("password"), "correct horse\n").unwrap();
    good(cli(&["user", "add", "ann", "--password-file", "password"]));
    assert!(good(cli(&["user", "ls"])).out.contains("ann"));
    good(cli(&["user", "passwd", "ann", "--password-file", "password"]));
    std::fs::write(dir.path().join("password"), "short\n").unwrap();
    let refused = cli(&["user", "passwd", "ann", "--password-file", "password"]);
    assert!(refused.code == 65 && refused.err.contains("nothing was changed"), "{refused:?}");
    let last = cli(&["user", "rm", "ann"]);
    assert!(
        last.code == 65 && last.err.contains("the last admin") && last.err.contains("nothing was changed"),
        "{last:?}"
    );
    // Its owner may: through the control socket nobody is locked out.
    let owner = [("RINGFORT_DATA", node.data.to_str().unwrap())];
    let mut by_owner = command(dir.path(), &["user", "rm", "ann"]);
    by_owner.envs(owner);
    good(ended(by_owner));
    assert_eq!(cli(&["user", "passwd", "ann", "--password-file", "password"]).code, 66);
}

#[test]
fn a_command_that_needs_no_node_answers_by_itself() {
    let dir = tempfile::tempdir().unwrap();
    let here = dir.path();
    let version = good(ringfort_in(here, &["version", "--json"])).json();
    assert!(version["release"].is_string() && version["commit"].is_string());
    assert!(ringfort(&["version"]).stdout.starts_with(b"ringfort "));
    assert!(good(ringfort_in(here, &["--help"])).out.contains("import"));
    let paths = good(ringfort_in(here, &["paths", "--data", "/x", "--json"])).json();
    assert_eq!((&paths["data"], &paths["control_socket"]), (&json!("/x"), &json!("/x/ctl.sock")));
    let script = good(ringfort_in(here, &["completions", "bash"])).out;
    let mut bash = Command::new("bash");
    bash.args(["-c", &format!("{script}\ncomplete -p ringfort")]);
    assert!(good(ended(bash)).out.contains("ringfort"));
    for words in
        [&[][..], &["frobnicate"], &["kv"], &["kv", "get", "b"], &["run", "--no-such"], &["dev", "--nodes", "0"]]
    {
        let usage = ringfort_in(here, words);
        assert!(usage.code == 64 && !usage.err.is_empty() && usage.out.is_empty(), "{usage:?}");
    }
    let missing = ringfort_in(here, &["import", "b", "missing.csv", "--url", "http://127.0.0.1:9"]);
    assert_eq!(missing.code, 66, "{missing:?}");
    assert_eq!(ringfort_in(here, &["status", "--url", "ftp://x"]).code, 64);

    std::fs::write(here.join("r.toml"), "log = \"warn\"\nname = \"a\"\n").unwrap();
    let mut show = command(here, &["config", "show", "--json", "--config", "r.toml", "--data", "/flag"]);
    show.env("RINGFORT_NAME", "b");
    let rows = good(ended(show)).json();
    let row = |key: &str| rows.as_array().unwrap().iter().find(|row| row["key"] == key).unwrap().clone();
    for (key, value, source) in [
        ("log", "warn", "r.toml:1"),
        ("name", "b", "RINGFORT_NAME"),
        ("data", "/flag", "--data"),
        ("listen", "http://127.0.0.1:7480", "default"),
    ] {
        assert_eq!((&row(key)["value"], &row(key)["source"]), (&json!(value), &json!(source)));
    }
    assert_eq!(ringfort_in(here, &["config", "check", "--config", "r.toml"]).code, 0);
    std::fs::write(here.join("bad.toml"), "\nlsiten = \"x\"\n").unwrap();
    let bad = ringfort_in(here, &["config", "check", "--config", "bad.toml"]);
    assert!(bad.code == 78 && bad.err.contains("bad.toml:2:1") && bad.err.contains("`listen`"), "{bad:?}");
    let bad = ringfort_in(here, &["run", "--config", "bad.toml", "--data", "never"]);
    assert!(bad.code == 78 && !here.join("never").exists(), "{bad:?}");
    let mut odd = command(here, &["config", "check", "--config", "r.toml"]);
    odd.env("RINGFORT_DTA", "x");
    let odd = ended(odd);
    assert!(odd.code == 4 && odd.err.contains("RINGFORT_DTA"), "{odd:?}");
}

#[tokio::test]
async fn a_node_is_found_by_flag_then_variable_then_dev_file_then_socket() {
    let dir = tempfile::tempdir().unwrap();
    let here = dir.path();
    let node = Node::start(&here.join("data")).await;
    let url = node.url().await;
    let admin = node.token("admin", &["admin"]).await;
    let data = node.data.to_str().unwrap().to_owned();
    std::fs::write(here.join("token"), &admin).unwrap();
    std::fs::write(here.join("wrong"), "rf_wrong\n").unwrap();
    // Every way but the tried one leads nowhere.
    let nowhere = "http://127.0.0.1:1";
    let run = |words: &[&str], environment: &[(&str, &str)]| {
        let mut command = command(here, &[&["-v", "token", "ls"], words].concat());
        command.envs(environment.iter().copied());
        ended(command)
    };
    let none = run(&[], &[]);
    assert!(none.code == 69 && none.err.contains("no node found"), "{none:?}");
    let by_socket = run(&[], &[("RINGFORT_DATA", &data)]);
    assert!(by_socket.code == 0 && by_socket.err.contains("(local control socket)"), "{by_socket:?}");

    std::fs::create_dir(here.join("ringfort-dev")).unwrap();
    let dev = |url: &str| json!({ "endpoints": [url], "admin_token": admin }).to_string();
    let file = here.join("ringfort-dev/dev.json");
    std::fs::write(&file, dev(&url)).unwrap();
    std::fs::set_permissions(&file, std::fs::Permissions::from_mode(0o666)).unwrap();
    let open = run(&[], &[("RINGFORT_DATA", &data)]);
    assert!(open.code == 78 && open.err.contains("nothing was sent"), "{open:?}");
    std::fs::set_permissions(&file, std::fs::Permissions::from_mode(0o600)).unwrap();
    let by_file = run(&[], &[("RINGFORT_DATA", "/nowhere")]);
    assert!(by_file.code == 0 && by_file.err.contains("(./ringfort-dev/dev.json)"), "{by_file:?}");
    std::fs::write(here.join("ringfort-dev/dev.json"), dev(nowhere)).unwrap();
    let down = run(&[], &[("RINGFORT_DATA", &data)]);
    assert!(down.code == 69 && down.err.contains("nothing was changed"), "{down:?}");

    let by_variable = run(&[], &[("RINGFORT_URL", &url), ("RINGFORT_TOKEN", &admin), ("RINGFORT_DATA", &data)]);
    assert!(
        by_variable.code == 0 && by_variable.err.contains(&format!("asking {url} (RINGFORT_URL)")),
        "{by_variable:?}"
    );
    let away = [("RINGFORT_URL", nowhere), ("RINGFORT_TOKEN", "rf_wrong")];
    let by_flag = run(&["--url", &url, "--token-file", "token"], &away);
    assert!(by_flag.code == 0 && by_flag.err.contains("(--url)"), "{by_flag:?}");

    let denied = run(&["--url", &url, "--token-file", "wrong"], &[]);
    assert!(denied.code == 77 && denied.err.contains("not valid"), "{denied:?}");
    assert_eq!(run(&["--url", &url], &[]).code, 77);
    assert_eq!(run(&["--url", &url, "--token-file", "missing"], &[]).code, 66);
    assert_eq!(run(&[], &away).code, 69);
}

#[tokio::test]
async fn a_second_node_on_the_same_data_is_refused_and_the_first_goes_on() {
    let dir = tempfile::tempdir().unwrap();
    let node = Node::start(&dir.path().join("data")).await;
    let refused = ringfort_in(dir.path(), &["run", "--data", "data", "--listen", "http://127.0.0.1:0"]);
    assert_ne!(refused.code, 0);
    assert!(refused.err.contains("in use by another ringfort process; nothing was changed"), "{refused:?}");
    assert!(node.is_ready().await);
    let port = node.url().await;
    let taken = ringfort_in(dir.path(), &["run", "--data", "other", "--listen", &port]);
    assert!(taken.code == 69 && taken.err.contains("nothing was started"), "{taken:?}");
}

/// A `ringfort dev`; ended with its test.
struct Dev {
    child: Child,
    url: String,
    dir: std::path::PathBuf,
}

impl Dev {
    fn spawn(here: &Path, port: u16, more: &[&str]) -> Self {
        let port_text = port.to_string();
        let words = [&["dev", "--port", &port_text, "--data", "d"], more].concat();
        let mut command = command(here, &words);
        let log = std::fs::File::options().create(true).append(true).open(here.join("dev.log")).unwrap();
        let child = command.stdout(log.try_clone().unwrap()).stderr(log).spawn().unwrap();
        Self { child, url: format!("http://127.0.0.1:{port}"), dir: here.to_owned() }
    }

    /// Its dev.json once it is written by this run.
    async fn document(&mut self) -> Value {
        let path = self.dir.join("d/dev.json");
        eventually("dev.json is written", async || {
            assert_eq!(self.child.try_wait().unwrap(), None, "{}", self.log());
            // In its first instant that of the run before is still there.
            let document: Value = serde_json::from_slice(&std::fs::read(&path).ok()?).unwrap();
            (document["endpoints"] == json!([self.url])).then_some(document)
        })
        .await
    }

    fn log(&self) -> String {
        std::fs::read_to_string(self.dir.join("dev.log")).unwrap()
    }

    fn signal(&self, signal: Signal) {
        let pid = Pid::from_raw(i32::try_from(self.child.id()).unwrap()).unwrap();
        rustix::process::kill_process(pid, signal).unwrap();
    }
}

impl Drop for Dev {
    fn drop(&mut self) {
        // Its node dies with it.
        let _gone = self.child.kill();
        let _reaped = self.child.wait();
    }
}

fn free_port() -> u16 {
    std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

fn pids(document: &Value) -> [i32; 2] {
    ["pid", "worker_pid"].map(|name| i32::try_from(document["nodes"][0][name].as_i64().unwrap()).unwrap())
}

/// Whether a process is there and not only waiting to be reaped.
fn lives(pid: i32) -> bool {
    std::fs::read_to_string(format!("/proc/{pid}/stat")).is_ok_and(|stat| !stat.contains(") Z "))
}

async fn until_gone(pids: [i32; 2]) {
    eventually("the node's processes are gone", async || (!pids.into_iter().any(lives)).then_some(())).await;
}

#[tokio::test]
async fn dev_serves_the_real_data_and_goes_on_where_it_stopped() {
    let dir = tempfile::tempdir().unwrap();
    let port = free_port();
    let import = format!("airports={}:icao", airports().display());
    let mut dev = Dev::spawn(dir.path(), port, &["--import", &import]);
    let document = dev.document().await;
    let mode = std::fs::metadata(dir.path().join("d/dev.json")).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    assert_eq!(document["endpoints"], json!([dev.url]));
    let console = document["console"].as_str().unwrap().strip_prefix(&dev.url).unwrap();
    assert!(console.strip_prefix("/sign-in/link/").is_some_and(|code| code.len() == 43), "{console}");
    assert!(!dev.log().contains("no user is here yet"), "it makes the first user itself");
    let node = &document["nodes"][0];
    assert_eq!(
        (&node["name"], &node["url"], document["nodes"].as_array().unwrap().len()),
        (&json!("n1"), &json!(dev.url), 1)
    );
    assert!(node["id"].is_u64() && node["data"].as_str().unwrap().ends_with("d/n1"), "{node}");
    assert!(Path::new(node["data"].as_str().unwrap()).is_absolute(), "{node}");
    let [pid, worker] = pids(&document);
    let group = rustix::process::getpgid(Pid::from_raw(worker)).unwrap();
    assert_eq!(Some(group), Pid::from_raw(pid), "the supervisor leads the node's process group");

    let token = |name: &str| client(&dev.url, document[name].as_str());
    let (device, admin) = (token("device_token"), token("admin_token"));
    // All of the import is there before dev.json is.
    let read = call(&device, "GET", "/v1/kv/airports/EDDF", &[], "").await;
    assert_eq!((read.status, &read.json()["icao"]), (200, &json!("EDDF")));
    assert_eq!(call(&device, "PUT", "/v1/kv/airports/mine", &[], "kept").await.status, 200);
    assert_eq!(call(&device, "GET", "/v1/buckets", &[], "").await.status, 403);
    assert_eq!(call(&admin, "GET", "/v1/tokens", &[], "").await.json()["tokens"].as_array().unwrap().len(), 2);
    assert!(dev.log().contains("28298 stored") && dev.log().contains(&dev.url), "{}", dev.log());
    let status = call(&admin, "GET", "/v1/status", &[], "").await.json();

    // A second one in the same directory takes nothing away from the first.
    let second = ringfort_in(dir.path(), &["dev", "--data", "d", "--port", &free_port().to_string()]);
    assert!(second.code != 0 && second.err.contains("in use"), "{second:?}");
    let now: Value = serde_json::from_slice(&std::fs::read(dir.path().join("d/dev.json")).unwrap()).unwrap();
    assert_eq!(now, document);

    dev.signal(Signal::INT);
    assert!(dev.child.wait().unwrap().success(), "{}", dev.log());
    until_gone(pids(&document)).await;
    assert!(dev.log().contains("stopped in order"), "{}", dev.log());

    let port = free_port();
    let mut dev = Dev::spawn(dir.path(), port, &[]);
    let again = dev.document().await;
    for name in ["admin_token", "device_token"] {
        assert_eq!(again[name], document[name]);
    }
    let admin = client(&dev.url, again["admin_token"].as_str());
    assert_eq!(call(&admin, "GET", "/v1/status", &[], "").await.json()["cluster"], status["cluster"]);
    assert_eq!(call(&admin, "GET", "/v1/kv/airports/mine", &[], "").await.text(), "kept");
    assert!(lives(pids(&again)[1]));
}

#[tokio::test]
async fn a_killed_dev_takes_its_node_and_a_killed_node_ends_dev() {
    let dir = tempfile::tempdir().unwrap();
    let mut dev = Dev::spawn(dir.path(), free_port(), &[]);
    let document = dev.document().await;
    dev.signal(Signal::KILL);
    dev.child.wait().unwrap();
    until_gone(pids(&document)).await;

    let mut dev = Dev::spawn(dir.path(), free_port(), &[]);
    let again = dev.document().await;
    assert_eq!(again["admin_token"], document["admin_token"]);
    let [pid, _] = pids(&again);
    rustix::process::kill_process_group(Pid::from_raw(pid).unwrap(), Signal::KILL).unwrap();
    let status = dev.child.wait().unwrap();
    assert!(!status.success());
    assert!(dev.log().contains("the node was killed") && dev.log().contains("ringfort run --data"), "{}", dev.log());
    until_gone(pids(&again)).await;

    let missing =
        ringfort_in(dir.path(), &["dev", "--data", "d", "--port", &free_port().to_string(), "--import", "b=no.csv"]);
    assert!(missing.code == 66 && missing.err.contains("no.csv"), "{missing:?}");
    // Nobody who waits for dev.json is told of a node that is not there; the tokens stay known.
    assert!(!dir.path().join("d/dev.json").exists());
    let mut dev = Dev::spawn(dir.path(), free_port(), &[]);
    assert_eq!(dev.document().await["admin_token"], document["admin_token"]);

    // Another node on the same data is not taken for its own.
    dev.signal(Signal::INT);
    dev.child.wait().unwrap();
    let node = Node::start(&dir.path().join("d/n1")).await;
    let refused = ringfort_in(dir.path(), &["dev", "--data", "d", "--port", &free_port().to_string()]);
    assert!(refused.code == 69 && refused.err.contains("in use by another ringfort process"), "{refused:?}");
    assert!(node.is_ready().await && !dir.path().join("d/dev.json").exists());
}
