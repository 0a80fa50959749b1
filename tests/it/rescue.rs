//! Nodes that fail at every start: an operator is told why from a console that is there all the same, devices are sent away, and
//! the node comes back with all that it had.

use std::collections::BTreeMap;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::path::PathBuf;
use std::time::Duration;
use std::time::Instant;

use hyper::Method;
use ringfort::cli::client::Client;
use ringfort::cli::client::Target;
use rustix::process::Pid;
use rustix::process::Signal;
use rustix::process::kill_process;
use serde_json::Value;
use serde_json::json;

use crate::cluster::Cluster;
use crate::groups::Group;
use crate::support::Ended;
use crate::support::Node;
use crate::support::Reply;
use crate::support::call;
use crate::support::client;
use crate::support::command;
use crate::support::ended;
use crate::support::eventually;
use crate::support::ringfort_in;

/// From the first failure to the console (the figure of the wish).
const RESCUED_WITHIN: Duration = Duration::from_secs(60);
pub const PASSWORD: &str = "tall ships at dawn";
const FORM: (&str, &str) = ("content-type", "application/x-www-form-urlencoded");

/// A node on its own port, and a file whose words make it fail.
pub struct Patient {
    pub node: Node,
    pub url: String,
    drill: PathBuf,
    /// The node's directory is in it.
    pub dir: tempfile::TempDir,
}

impl Patient {
    pub async fn start() -> Self {
        Self::start_by("http").await
    }

    async fn start_by(scheme: &str) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let (url, drill) = (format!("{scheme}://127.0.0.1:{port}"), dir.path().join("drill"));
        let mut node = Self::spawn(dir.path(), &url, &drill);
        node.get_ready().await;
        Self { node, url, drill, dir }
    }

    fn spawn(dir: &Path, url: &str, drill: &Path) -> Node {
        let environment = [("RINGFORT_TEST_CUT_FILE", drill.to_str().unwrap())];
        let words = ["--listen", url, "--peer-listen", "127.0.0.1:0"];
        Node::spawn_saying(&dir.join("data"), &[], &environment, &words)
    }

    /// A user who is written down for the rescue console, too.
    pub async fn user(&self, name: &str, scope: &str) {
        let document = json!({ "password": PASSWORD, "scopes": [scope] });
        let made = self.node.owner().tell(Method::PUT, &format!("/v1/users/{name}"), &document).await;
        made.map_err(|failure| failure.message).unwrap();
        let operators = self.node.data.join("identity/operators");
        eventually("it is noted", async || {
            std::fs::read_to_string(&operators).is_ok_and(|text| text.contains(name)).then_some(())
        })
        .await;
    }

    /// Fails at every start from now on, until the rescue console answers; how long that took.
    pub async fn loops(&self) -> Duration {
        let began = Instant::now();
        std::fs::write(&self.drill, "exit1-always").unwrap();
        self.rescued(5).await;
        began.elapsed()
    }

    /// Waits for the rescue console after so many ends.
    async fn rescued(&self, ends: u64) -> Value {
        eventually("the rescue console", async || {
            let seen = self.seen().await?;
            (seen["state"] == "rescue" && seen["ends"] == ends).then_some(seen)
        })
        .await
    }

    async fn seen(&self) -> Option<Value> {
        self.node.owner().ask(Method::GET, "/v1/rescue").await.ok()
    }

    /// Nothing is wrong with it any more.
    pub fn heals(&self) {
        std::fs::remove_file(&self.drill).unwrap();
    }

    fn ringfort(&self, words: &[&str]) -> Ended {
        let data = self.node.data.to_str().unwrap();
        ringfort_in(self.dir.path(), &[&["rescue", "--data", data], words].concat())
    }

    fn reports(&self) -> Vec<Value> {
        let files = std::fs::read_dir(self.node.data.join("crashes")).unwrap().map(|file| file.unwrap().path());
        let mut paths: Vec<_> = files.filter(|path| path.extension().is_some_and(|end| end == "json")).collect();
        paths.sort();
        paths.iter().map(|path| serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap()).collect()
    }

    /// The console as somebody sees it who is signed in.
    async fn browser(&self, name: &str) -> Browser {
        let client = client(&self.url, None);
        let signed_in = sign_in(&client, &self.url, name, PASSWORD).await;
        assert_eq!(signed_in.status, 303, "{signed_in:?}");
        let cookie = signed_in.header("set-cookie").unwrap().split(';').next().unwrap().to_owned();
        assert!(cookie.contains("-rescue="), "the session of the console stays as it is: {cookie}");
        Browser { client, url: self.url.clone(), cookie }
    }
}

/// Has a node tried again, where it serves its rescue console because a test let it fail so often.
pub async fn wake(data: &Path) {
    let owner = Client::new(Target::Socket(data.join("ctl.sock")), None);
    if owner.ask(Method::GET, "/v1/rescue").await.is_ok_and(|seen| seen["state"] == "rescue") {
        let _answered_or_gone = owner.ask(Method::POST, "/v1/rescue/again").await;
    }
}

async fn sign_in(client: &Client, url: &str, name: &str, password: &str) -> Reply {
    let form = format!("name={name}&password={}&next=/disk", password.replace(' ', "+"));
    call(client, "POST", "/sign-in", &[FORM, ("origin", url)], form).await
}

struct Browser {
    client: Client,
    url: String,
    cookie: String,
}

impl Browser {
    async fn ask(&self, method: &str, path: &str) -> Reply {
        let mut headers = vec![("cookie", &*self.cookie), ("accept", "text/html"), ("origin", &*self.url)];
        if method == "POST" {
            headers.push(FORM);
        }
        call(&self.client, method, path, &headers, "").await
    }

    async fn page(&self, path: &str) -> String {
        let reply = self.ask("GET", path).await;
        assert_eq!(reply.status, 200, "{path}: {reply:?}");
        let text = reply.text().to_owned();
        assert!(text.contains("RESCUE") && text.contains("Nothing is served to devices"), "{path}: {text}");
        text
    }
}

/// Every file with its size, its time and its bytes, but for the log and the control socket.
fn tree(dir: &Path) -> BTreeMap<PathBuf, (u64, std::time::SystemTime, Vec<u8>)> {
    let (mut dirs, mut found) = (vec![dir.to_owned()], BTreeMap::new());
    while let Some(dir) = dirs.pop() {
        for entry in std::fs::read_dir(&dir).unwrap().map(Result::unwrap) {
            let (path, metadata) = (entry.path(), entry.metadata().unwrap());
            if path.ends_with("blackbox/log") || path.ends_with("ctl.sock") {
                continue;
            }
            let content = if metadata.is_file() { std::fs::read(&path).unwrap() } else { Vec::new() };
            found.insert(path.clone(), (metadata.len(), metadata.modified().unwrap(), content));
            if metadata.is_dir() {
                dirs.push(path);
            }
        }
    }
    found
}

fn children(pid: i32) -> Vec<i32> {
    let text = std::fs::read_to_string(format!("/proc/{pid}/task/{pid}/children")).unwrap_or_default();
    text.split_whitespace().filter_map(|pid| pid.parse().ok()).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_may_sign_in_is_written_down_whenever_it_changes() {
    let dir = tempfile::tempdir().unwrap();
    let node = Node::start(&dir.path().join("data")).await;
    let file = node.data.join("identity/operators");
    let operators = || serde_json::from_slice::<Value>(&std::fs::read(&file).unwrap_or_default()).unwrap_or_default();
    let put = async |name: &str, password: &str, scope: &str| {
        let document = json!({ "password": password, "scopes": [scope] });
        let made = node.owner().tell(Method::PUT, &format!("/v1/users/{name}"), &document).await;
        made.map_err(|failure| failure.message).unwrap();
    };
    let names = async |wanted: &[&str]| {
        eventually("the file follows", async || {
            let all = operators()["operators"].as_object()?.keys().cloned().collect::<Vec<_>>();
            (all == wanted).then_some(())
        })
        .await;
    };
    names(&[]).await;
    put("ann", PASSWORD, "admin").await;
    put("meter", PASSWORD, "device:read").await;
    put("sam", PASSWORD, "support").await;
    names(&["ann", "sam"]).await;
    assert_eq!(std::fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o600);
    let hash = |name: &str| operators()["operators"][name]["password_hash"].as_str().unwrap().to_owned();
    let before = hash("ann");
    put("ann", "another fine morning", "admin").await;
    eventually("the new password", async || (hash("ann") != before).then_some(())).await;
    assert!(hash("ann").starts_with("$argon2id$") && operators()["operators"]["sam"]["scopes"] == json!(["support"]));
    let removed = call(&node.owner(), "DELETE", "/v1/users/ann", &[], "").await;
    assert_eq!(removed.status, 204, "{removed:?}");
    names(&["sam"]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_crash_loop_leads_to_a_console_that_tells_why_and_back_with_all_data() {
    let mut patient = Patient::start().await;
    patient.user("ann", "admin").await;
    patient.user("sam", "support").await;
    let owner = patient.node.owner();
    assert_eq!(call(&owner, "PUT", "/v1/buckets/t", &[], r#"{"kind":"lww"}"#).await.status, 201);
    assert_eq!(call(&owner, "PUT", "/v1/kv/t/a", &[], "kept").await.status, 200);
    let well = patient.ringfort(&[]);
    assert!(well.code == 0 && well.out.contains("nothing has to be rescued"), "{well:?}");
    assert!(patient.ringfort(&["--again"]).code == 0, "there is nothing to do");

    let took = patient.loops().await;
    eprintln!("from the first failure to the rescue console: {:.1} s", took.as_secs_f64());
    assert!(took < RESCUED_WITHIN, "{took:?}");
    eventually("no courier is on its way", async || {
        let crashes = std::fs::read_dir(patient.node.data.join("crashes")).unwrap();
        let waits = crashes.into_iter().any(|file| file.unwrap().path().extension().is_some_and(|end| end == "todo"));
        (!waits && children(patient.node.pid()).len() == 1).then_some(())
    })
    .await;
    let before = tree(&patient.node.data);
    let reports = patient.reports();
    let rescues: Vec<bool> = reports.iter().map(|report| report["rescue"] == true).collect();
    assert_eq!(rescues, [false, false, false, false, true], "{reports:#?}");

    devices_are_sent_away(&patient).await;
    strangers_learn_nothing(&patient).await;
    pages_tell_why(&patient).await;
    a_look_changes_nothing(&patient).await;
    at_the_terminal(&patient);
    let after = tree(&patient.node.data);
    let changed: Vec<_> =
        after.keys().chain(before.keys()).filter(|path| after.get(*path) != before.get(*path)).collect();
    // Only looked at: not even a time of a directory is another one, but that of the one with the socket.
    assert_eq!(changed, Vec::<&PathBuf>::new());

    still_failing_it_is_back_at_once(&patient).await;
    patient.heals();
    let started = patient.browser("ann").await.ask("POST", "/again").await;
    assert!(started.status == 200 && started.text().contains("is being started"), "{started:?}");
    patient.node.get_ready().await;
    let read = call(&patient.node.owner(), "GET", "/v1/kv/t/a", &[], "").await;
    assert_eq!((read.status, read.text()), (200, "kept"));
    assert!(patient.node.stop().success());
    let stopped = patient.ringfort(&[]);
    assert!(stopped.code == 0 && stopped.out.contains("exit status 1"), "{stopped:?}");
    assert!(stopped.out.contains("it is stopped") && stopped.out.contains("What it said last"), "{stopped:?}");
    let document = patient.ringfort(&["--json"]).json();
    assert_eq!((&document["state"], &document["last"]["kind"]), (&json!("stopped"), &json!("exit")), "{document:#}");
    let again = patient.ringfort(&["--again"]);
    assert!(again.code == 69 && again.err.contains("nothing was changed"), "{again:?}");
    let nowhere = ringfort_in(patient.dir.path(), &["rescue", "--data", "nowhere"]);
    assert!(nowhere.code == 66 && nowhere.err.contains("there is no node"), "{nowhere:?}");
}

async fn devices_are_sent_away(patient: &Patient) {
    let device = client(&patient.url, Some("rf_of-a-device"));
    let asked = [
        ("GET", "/v1/kv/t/a"),
        ("PUT", "/v1/kv/t/a"),
        ("POST", "/v1/batch"),
        ("GET", "/v1/status"),
        ("GET", "/metrics"),
    ];
    for (method, path) in asked {
        let reply = call(&device, method, path, &[], "new").await;
        assert_eq!(reply.problem(), (503, "rescue".to_owned()), "{method} {path}");
        assert!(reply.header("retry-after").is_some_and(|seconds| seconds.parse::<u32>().unwrap() > 0), "{reply:?}");
        let detail = reply.json()["detail"].as_str().unwrap().to_owned();
        assert!(detail.contains("use another machine") && reply.json()["outcome"] == "failed", "{detail}");
        assert!(!detail.contains("exit status"), "not for strangers: {detail}");
    }
    let ready = call(&device, "GET", "/readyz", &[], "").await;
    assert_eq!(ready.problem(), (503, "rescue".to_owned()));
    let lives = call(&device, "GET", "/healthz", &[], "").await;
    assert!(lives.status == 200 && lives.text().starts_with("rescue"), "{lives:?}");
}

async fn strangers_learn_nothing(patient: &Patient) {
    let (url, stranger) = (&*patient.url, client(&patient.url, None));
    let html = ("accept", "text/html");
    for path in ["/", "/crashes", "/logs", "/logs/x.ndjson", "/disk"] {
        let reply = call(&stranger, "GET", path, &[html], "").await;
        assert!(reply.status == 303 && reply.header("location").unwrap().starts_with("/sign-in"), "{path}: {reply:?}");
    }
    for path in ["/v1/rescue", "/v1/crashes"] {
        assert_eq!(call(&stranger, "GET", path, &[], "").await.problem(), (401, "unauthorized".to_owned()));
    }
    let members = call(&stranger, "GET", "/members", &[html], "").await;
    assert!(members.status == 503 && members.text().contains("RESCUE"), "{members:?}");
    let page = call(&stranger, "GET", "/sign-in", &[html], "").await;
    assert!(page.status == 200 && page.text().contains("RESCUE") && !page.text().contains("exit status"), "{page:?}");
    let policy = page.header("content-security-policy").unwrap();
    assert!(policy.starts_with("default-src 'none'") && page.header("x-content-type-options").is_some(), "{page:?}");
    for (name, password) in [("ann", "tall ships at dusk"), ("nobody", PASSWORD), ("meter", PASSWORD)] {
        let refused = sign_in(&stranger, url, name, password).await;
        assert!(refused.status == 403 && refused.text().contains("not right"), "{name}: {refused:?}");
        assert!(refused.header("set-cookie").is_none(), "{refused:?}");
    }
    // Another page in the browser of somebody who is signed in.
    let cookie = patient.browser("ann").await.cookie;
    for origin in ["https://evil.example", "null"] {
        let headers = [("cookie", &*cookie), ("origin", origin), FORM];
        for path in ["/again", "/disk", "/sign-out"] {
            assert_eq!(call(&stranger, "POST", path, &headers, "").await.status, 403, "{path} from {origin}");
        }
    }
    let elsewhere = call(&stranger, "GET", "/sign-in", &[("host", "evil.example")], "").await;
    assert_eq!(elsewhere.problem(), (421, "misdirected".to_owned()));
    // Who guesses has to wait.
    let mut last = 0;
    for _ in 0..10 {
        last = sign_in(&stranger, url, "guessed", "x").await.status;
    }
    assert_eq!(last, 429);
}

async fn pages_tell_why(patient: &Patient) {
    let ann = patient.browser("ann").await;
    let page = ann.page("/").await;
    for part in
        ["exit status 1", "5 ends in a row", "How to go on", "Start again now", "ringfort rescue --again", "By itself"]
    {
        assert!(page.contains(part), "no {part} in {page}");
    }
    let id = patient.reports().last().unwrap()["id"].as_str().unwrap().to_owned();
    assert!(page.contains(&format!("/crashes/{id}")) && !page.contains("<script"), "{page}");
    let list = ann.page("/crashes").await;
    assert!(list.contains("5 × ") && list.contains(&id), "{list}");
    assert!(ann.page("/crashes?kind=panic").await.contains("No crash report fits"));
    let report = ann.page(&format!("/crashes/{id}")).await;
    assert!(report.contains("Last lines of its log") && report.contains("Export as JSON"), "{report}");
    let export = ann.ask("GET", &format!("/v1/crashes/{id}")).await;
    assert!(export.status == 200 && export.json()["rescue"] == true, "{export:?}");
    let missing = ann.ask("GET", "/crashes/0000000000000-1-00000000").await;
    assert!(missing.status == 404 && missing.text().contains("Nothing is here"), "{missing:?}");
    let log = eventually("its own line is in the log", async || {
        let log = ann.page("/logs?level=warn").await;
        log.contains("the rescue console is served").then_some(log)
    })
    .await;
    // What a worker says in its last moment may be in its report only.
    assert!(log.contains("RINGFORT_TEST_CUT_FILE is set") && !log.contains("</svg>info</span>"), "{log}");
    assert!(ann.page("/logs").await.contains("</svg>info</span>"));
    assert!(ann.page("/logs?text=nothing-says-so").await.contains("No line fits"));
    assert!(ann.page("/logs?since=yesterday").await.contains("since` is an instant"));
    let file = ann.ask("GET", "/logs/ringfort-log.ndjson?limit=10&level=warn").await;
    let lines: Vec<Value> = file.text().lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert!(!lines.is_empty() && lines.len() <= 10 && lines.iter().all(|line| line["level"] != "info"), "{file:?}");
    assert!(file.header("content-disposition").unwrap().contains("attachment"), "{file:?}");
    // Who only looks may not start it.
    let sam = patient.browser("sam").await;
    let page = sam.page("/").await;
    assert!(page.contains("exit status 1") && !page.contains("Start again now"), "{page}");
    for path in ["/again", "/disk"] {
        let refused = sam.ask("POST", path).await;
        assert!(refused.status == 403 && refused.text().contains("may not do it"), "{refused:?}");
        assert!(refused.text().contains("Signed in as"), "{refused:?}");
    }
    assert_eq!(sam.ask("POST", "/sign-out").await.status, 303);
    assert_eq!(sam.ask("GET", "/").await.status, 303, "its session has ended");
}

async fn a_look_changes_nothing(patient: &Patient) {
    let ann = patient.browser("ann").await;
    assert!(ann.page("/disk").await.contains("Read and check everything"));
    assert_eq!(ann.ask("POST", "/disk").await.status, 303);
    let page = eventually("all was read", async || {
        let page = ann.page("/disk").await;
        page.contains("groups and objects were read in").then_some(page)
    })
    .await;
    assert!(page.contains("all whole") && !page.contains("unfinished") && page.contains("objects"), "{page}");
}

fn at_the_terminal(patient: &Patient) {
    let shown = patient.ringfort(&[]);
    assert_eq!(shown.code, 0, "{shown:?}");
    for part in ["RESCUE", "5 starts in a row", "exit status 1", "How to go on", "Crash reports", "What it said last"] {
        assert!(shown.out.contains(part), "no {part} in {shown:?}");
    }
    let document = patient.ringfort(&["--json"]).json();
    assert_eq!(
        (&document["state"], &document["ends"], &document["operators"]),
        (&json!("rescue"), &json!(5), &json!(2))
    );
    let id = document["last"]["id"].as_str().unwrap();
    let mut show = command(patient.dir.path(), &["crashes", "show", id]);
    show.env("RINGFORT_DATA", &patient.node.data);
    let show = ended(show);
    assert!(show.code == 0 && show.out.contains("exit status 1"), "{show:?}");
}

async fn still_failing_it_is_back_at_once(patient: &Patient) {
    let began = Instant::now();
    let again = patient.ringfort(&["--again"]);
    assert!(again.code == 0 && again.err.contains("tried again now"), "{again:?}");
    patient.rescued(6).await;
    eprintln!("tried in vain and back in {:.1} s", began.elapsed().as_secs_f64());
    assert_eq!(patient.reports().len(), 5, "the same once more does not push out how it began");
    // Whatever happens to the console itself, it is there again.
    let &[child] = children(patient.node.pid()).as_slice() else { panic!("not one child") };
    kill_process(Pid::from_raw(child).unwrap(), Signal::KILL).unwrap();
    eventually("another console", async || (children(patient.node.pid()) != [child]).then_some(())).await;
    patient.rescued(6).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_rescue_console_stops_in_order_and_gives_way_at_sighup() {
    let mut patient = Patient::start().await;
    patient.loops().await;
    let pid = Pid::from_raw(patient.node.pid()).unwrap();
    kill_process(pid, Signal::HUP).unwrap();
    patient.rescued(6).await;
    let (began, reports) = (Instant::now(), patient.reports().len());
    assert!(patient.node.stop().success());
    assert!(began.elapsed() < Duration::from_secs(3), "{:?}", began.elapsed());
    assert!(std::net::TcpStream::connect(patient.url.trim_start_matches("http://")).is_err(), "nobody listens");
    assert_eq!(patient.reports().len(), reports, "a stop is no crash");
    patient.heals();
    patient.node = Patient::spawn(patient.dir.path(), &patient.url, &patient.drill);
    patient.node.get_ready().await;
    assert_eq!(patient.seen().await.unwrap()["state"], "well");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn over_https_it_shows_the_certificate_of_the_node() {
    let patient = Patient::start_by("https").await;
    let asks = |path: &str| {
        let authority = patient.node.data.join("identity/ca.pem");
        let mut status =
            command(patient.dir.path(), &["--ca", authority.to_str().unwrap(), "--url", &patient.url, path]);
        status.env("RINGFORT_TOKEN", "rf_nobody");
        ended(status)
    };
    let well = asks("status");
    assert!(well.code != 0 && well.err.contains("token is not valid"), "{well:?}");
    patient.loops().await;
    let rescued = asks("status");
    assert!(rescued.code == 75 && rescued.err.contains("nothing but its rescue console"), "{rescued:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn other_nodes_say_that_one_fails_at_every_start_and_where_to_look() {
    let cluster = Cluster::start(3).await;
    cluster.bucket("t", json!({ "kind": "lww" })).await;
    eventually("whom a courier calls is noted", async || {
        let list = std::fs::read_to_string(cluster.data(1).join("blackbox/peers.json")).ok()?;
        (list.matches("\"node\"").count() == 2).then_some(())
    })
    .await;
    let (began, client) = (Instant::now(), cluster.client(0));
    cluster.cut("exit1-always@2");
    let alarms = async || client.ask(Method::GET, "/v1/status").await.ok().map(|status| status["alarms"].clone());
    let alarm = eventually("the alarm", async || {
        alarms().await?.as_array()?.iter().find(|alarm| alarm["code"] == "crash_loop").cloned()
    })
    .await;
    eprintln!("after {:.1} s another node says: {}", began.elapsed().as_secs_f64(), alarm["text"]);
    let text = alarm["text"].as_str().unwrap();
    assert!(text.contains("exit status 1") && text.contains("ringfort rescue"), "{text}");
    let all = alarms().await.unwrap();
    let down = all.as_array().unwrap().iter().find(|alarm| alarm["code"] == "member_down").unwrap();
    assert!(
        down["follows_from"] == "crash_loop" && down["text"].as_str().unwrap().contains("exit status 1"),
        "{all:#}"
    );
    let crashes = client.ask(Method::GET, "/v1/crashes").await.map_err(|failure| failure.message).unwrap();
    let of_it = crashes["crashes"].as_array().unwrap().iter().filter(|crash| crash["node"] == 2);
    let of_it: Vec<&Value> = of_it.collect();
    assert_eq!((of_it.len(), &of_it[0]["rescue"]), (5, &json!(true)), "{crashes:#}");
    let put = call(&client, "PUT", "/v1/kv/t/a", &[], "x").await;
    assert_eq!(put.status, 200, "{put:?}");
    cluster.cut("");
    let data = cluster.data(1);
    let again = ringfort_in(cluster.dir.path(), &["rescue", "--again", "--data", data.to_str().unwrap()]);
    assert_eq!(again.code, 0, "{again:?}");
    cluster.ready(1).await;
    eventually("the alarm is over", async || {
        let all = alarms().await?;
        (!all.as_array()?.iter().any(|alarm| alarm["code"] == "crash_loop")).then_some(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn where_the_system_gives_too_few_threads_for_a_node_there_is_a_console_that_says_so() {
    let few = Group::of("pids");
    let mut patient = Patient::start().await;
    patient.user("ann", "admin").await;
    let worker = children(patient.node.pid())[0];
    few.take(Pid::from_raw(patient.node.pid()).unwrap());
    // For the supervisor, the console and a courier; a node needs more.
    let there: u64 = few.read("pids.current").trim().parse().unwrap();
    few.allow(&["pids.max"], &(there + 6).to_string());
    kill_process(Pid::from_raw(worker).unwrap(), Signal::KILL).unwrap();
    let seen = patient.rescued(5).await;
    assert!(seen.to_string().contains("TasksMax"), "{seen:#}");
    let browser = patient.browser("ann").await;
    for path in ["/", "/crashes", "/logs", "/disk"] {
        browser.page(path).await;
    }
    few.allow(&["pids.max"], "max");
    assert_eq!(browser.ask("POST", "/again").await.status, 200);
    patient.node.get_ready().await;
}
