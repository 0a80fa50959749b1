//! A browser for tests: headless Chromium behind chromedriver, spoken to as W3C WebDriver says, with what only the
//! browser's own protocol can do (media, sizes, script off) through chromedriver's `goog/cdp`. Both processes are gone
//! when it is dropped, also by a panic.

use std::cell::Cell;
use std::io::BufRead;
use std::io::BufReader;
use std::path::Path;
use std::path::PathBuf;
use std::process::Child;
use std::process::ChildStdout;
use std::process::Command;
use std::process::Stdio;
use std::time::Duration;
use std::time::Instant;

use http_body_util::BodyExt;
use http_body_util::Full;
use hyper::Method;
use hyper::Request;
use hyper::body::Bytes;
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use ringfort::base::codec;
use rustix::process::Pid;
use rustix::process::Signal;
use rustix::process::kill_process;
use serde_json::Value;
use serde_json::json;
use tokio::net::TcpStream;

use crate::support::PATIENCE;

/// How WebDriver names a reference to an element in JSON (W3C WebDriver, 12.1).
const ELEMENT: &str = "element-6066-11e4-a52e-4f735466cecf";

/// No sandbox, because tests run as root in places without user namespaces; nothing that calls home.
const FLAGS: [&str; 11] = [
    "--headless=new",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-dev-shm-usage",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--disable-default-apps",
    "--hide-scrollbars",
];

/// Remembers what a page's policy stopped and what its script threw, from before its first line.
const WITNESS: &str = "\
    window.__witness = [];\
    addEventListener('securitypolicyviolation', (event) => __witness.push(\
        'policy ' + event.effectiveDirective + ' stopped ' + event.blockedURI + ' ' + event.sample));\
    addEventListener('error', (event) => __witness.push('error ' + event.message), true);\
    addEventListener('unhandledrejection', (event) => __witness.push('rejection ' + event.reason));";

/// Where screenshots and reports are kept.
pub fn artefacts() -> PathBuf {
    let fallback = || PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("target/screenshots");
    let dir = std::env::var_os("RINGFORT_SCREENSHOTS").map_or_else(fallback, PathBuf::from);
    std::fs::create_dir_all(&dir).unwrap();
    dir
}

/// What is behind scheme and host.
fn path_of(url: &str) -> String {
    let rest = url.split_once("//").map_or("", |(_, rest)| rest);
    rest.split_once('/').map_or_else(|| "/".to_owned(), |(_, path)| format!("/{path}"))
}

/// The port that chromedriver chose.
fn port_of(said: &mut impl BufRead) -> Option<String> {
    said.lines().find_map(|line| {
        let line = line.ok()?;
        let (_, port) = line.split_once("started successfully on port ")?;
        Some(port.trim_end_matches('.').to_owned())
    })
}

/// SHA-256 of the public key of the first certificate in a file, as Chromium wants it named.
fn digest_of_key(certificate: &Path) -> String {
    const SCRIPT: &str = "set -eo pipefail; openssl x509 -in \"$0\" -noout -pubkey | openssl pkey -pubin -outform der |\
        openssl dgst -sha256 -binary | base64";
    let made = Command::new("bash").args(["-c", SCRIPT]).arg(certificate).output().unwrap();
    assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
    String::from_utf8(made.stdout).unwrap().trim().to_owned()
}

/// One browser window.
pub struct Browser {
    driver: Child,
    address: String,
    session: String,
    chromium: Option<Pid>,
    clicks: Cell<u32>,
    /// Kept open, so that it may always speak.
    _said: BufReader<ChildStdout>,
    profile: tempfile::TempDir,
}

impl Browser {
    /// Starts chromedriver on a port it chooses, and Chromium with a profile of its own.
    pub async fn start() -> Self {
        Self::start_with(None).await
    }

    /// A browser of somebody who has taken this certificate for good, and no other one that no public authority made.
    pub async fn start_trusting(certificate: &Path) -> Self {
        Self::start_with(Some(certificate)).await
    }

    async fn start_with(certificate: Option<&Path>) -> Self {
        let mut driver = Command::new("chromedriver")
            .args(["--port=0", "--log-level=SEVERE"])
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap_or_else(|error| {
                panic!("chromedriver cannot be started ({error}): install chromium and chromium-driver, or run tests/browser-tools")
            });
        let mut said = BufReader::new(driver.stdout.take().unwrap());
        let port = port_of(&mut said).expect("chromedriver ended before it said its port");
        let profile = tempfile::tempdir().unwrap();
        let mut browser = Self {
            driver,
            address: format!("127.0.0.1:{port}"),
            session: String::new(),
            chromium: None,
            clicks: Cell::new(0),
            _said: said,
            profile,
        };
        let mut flags: Vec<String> = FLAGS.map(str::to_owned).to_vec();
        flags.push(format!("--user-data-dir={}", browser.profile.path().display()));
        flags.extend(certificate.map(|file| format!("--ignore-certificate-errors-spki-list={}", digest_of_key(file))));
        let wish = json!({ "capabilities": { "alwaysMatch": {
            "browserName": "chrome",
            "goog:chromeOptions": { "args": flags },
            "goog:loggingPrefs": { "browser": "ALL", "performance": "ALL" },
            "timeouts": { "script": 60_000, "pageLoad": 60_000 },
        }}});
        let made = browser.request(Method::POST, "/session", &wish).await;
        browser.session = made["sessionId"].as_str().unwrap().to_owned();
        let pid = made["capabilities"]["goog:processID"].as_i64().and_then(|pid| i32::try_from(pid).ok());
        browser.chromium = pid.and_then(Pid::from_raw);
        browser.cdp("Page.enable", json!({})).await;
        browser.cdp("Page.addScriptToEvaluateOnNewDocument", json!({ "source": WITNESS })).await;
        browser
    }

    /// One request to chromedriver; its refusal is the test's failure.
    async fn request(&self, method: Method, path: &str, body: &Value) -> Value {
        let (failed, value) = self.try_request(method, path, body).await;
        assert!(!failed, "{path} {body:.200}: {} {}", value["error"], value["message"]);
        value
    }

    async fn try_request(&self, method: Method, path: &str, body: &Value) -> (bool, Value) {
        let asking = async {
            let stream = TcpStream::connect(&self.address).await.unwrap();
            let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await.unwrap();
            tokio::spawn(connection);
            // Chromedriver has no body for GET and DELETE.
            let text = if method == Method::POST { body.to_string() } else { String::new() };
            let request = Request::builder()
                .method(method)
                .uri(path)
                .header("host", &self.address)
                .header("content-type", "application/json")
                .body(Full::new(Bytes::from(text)))
                .unwrap();
            let answer = sender.send_request(request).await.unwrap();
            let failed = !answer.status().is_success();
            let bytes = answer.into_body().collect().await.unwrap().to_bytes();
            let mut document: Value = serde_json::from_slice(&bytes).unwrap();
            (failed, document["value"].take())
        };
        tokio::time::timeout(PATIENCE * 2, asking).await.unwrap_or_else(|_| panic!("{path}: the browser hangs"))
    }

    async fn post(&self, what: &str, body: Value) -> Value {
        self.request(Method::POST, &format!("/session/{}/{what}", self.session), &body).await
    }

    async fn get(&self, what: &str) -> Value {
        self.request(Method::GET, &format!("/session/{}/{what}", self.session), &Value::Null).await
    }

    /// A command of the browser's own protocol.
    pub async fn cdp(&self, command: &str, parameters: Value) -> Value {
        self.post("goog/cdp/execute", json!({ "cmd": command, "params": parameters })).await
    }

    /// Opens a page and returns when it is loaded.
    pub async fn go(&self, url: &str) {
        self.post("url", json!({ "url": url })).await;
    }

    /// The path and query in the address bar.
    pub async fn here(&self) -> String {
        path_of(self.get("url").await.as_str().unwrap())
    }

    /// Runs the body of a function in the page and returns what it returns.
    pub async fn run(&self, script: &str, arguments: &[Value]) -> Value {
        self.post("execute/sync", json!({ "script": script, "args": arguments })).await
    }

    /// The same for a function whose last argument takes the result.
    pub async fn run_async(&self, script: &str) -> Value {
        self.post("execute/async", json!({ "script": script, "args": [] })).await
    }

    /// Waits until a script returns something true, and returns that.
    pub async fn until(&self, what: &str, script: &str) -> Value {
        let is_true = |value: &Value| !value.is_null() && *value != false && *value != 0 && *value != "";
        self.wait(what, script, &[], is_true).await
    }

    /// Asks a script until its answer will do. Where it never does, what the page shows is the failure's reason.
    async fn wait(&self, what: &str, script: &str, arguments: &[Value], will_do: impl Fn(&Value) -> bool) -> Value {
        let body = json!({ "script": script, "args": arguments });
        let path = format!("/session/{}/execute/sync", self.session);
        let deadline = Instant::now() + PATIENCE / 2;
        while Instant::now() < deadline {
            // While a page changes there may be none to ask.
            let (failed, value) = self.try_request(Method::POST, &path, &body).await;
            if !failed && will_do(&value) {
                return value;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        let picture = self.shot(&format!("failed-{}", std::process::id())).await;
        panic!("waited in vain for {what}; {} and {}:\n{}", self.here().await, picture.display(), self.text().await);
    }

    /// Waits until the page shows a text.
    pub async fn shows(&self, text: &str) {
        let script = format!("return document.body && document.body.innerText.includes({})", Value::from(text));
        self.until(&format!("{text:?} on the page"), &script).await;
    }

    /// The text that the page shows.
    pub async fn text(&self) -> String {
        self.run("return document.body.innerText", &[]).await.as_str().unwrap().to_owned()
    }

    /// Waits for an element that is shown. `css` may end in `:text(words)`: the first one whose text contains them.
    async fn element(&self, css: &str) -> String {
        let (selector, words) = css.strip_suffix(')').and_then(|css| css.split_once(":text(")).unwrap_or((css, ""));
        let script = "return [...document.querySelectorAll(arguments[0])].find((element) =>\
            element.checkVisibility() && element.textContent.includes(arguments[1])) || null";
        let found = self.wait(css, script, &[selector.into(), words.into()], |found| found[ELEMENT].is_string()).await;
        found[ELEMENT].as_str().unwrap().to_owned()
    }

    /// Whether an element is shown now.
    pub async fn has(&self, css: &str) -> bool {
        let script = "return [...document.querySelectorAll(arguments[0])].some((element) => element.checkVisibility())";
        self.run(script, &[css.into()]).await == true
    }

    /// Clicks the middle of an element, as a person would: what covers it is a failure. See [`Self::element`].
    pub async fn click(&self, css: &str) {
        self.clicks.set(self.clicks.get() + 1);
        loop {
            let element = self.element(css).await;
            let path = format!("/session/{}/element/{element}/click", self.session);
            let (failed, value) = self.try_request(Method::POST, &path, &json!({})).await;
            // A live piece was replaced in between: the same is there again, and a person would click that.
            if !failed || value["error"] != "stale element reference" {
                assert!(!failed, "{css}: {} {}", value["error"], value["message"]);
                return;
            }
        }
    }

    /// Clicks so far.
    pub fn clicks(&self) -> u32 {
        self.clicks.get()
    }

    /// Replaces what is in a field.
    pub async fn fill(&self, css: &str, text: &str) {
        let element = self.element(css).await;
        self.post(&format!("element/{element}/clear"), json!({})).await;
        self.post(&format!("element/{element}/value"), json!({ "text": text })).await;
    }

    /// Chooses a file in a field for files.
    pub async fn upload(&self, css: &str, file: &Path) {
        let element = self.element(css).await;
        self.post(&format!("element/{element}/value"), json!({ "text": file.to_str().unwrap() })).await;
    }

    /// Types at the place where the focus is.
    pub async fn keys(&self, keys: &str) {
        let press = |key: char| [json!({ "type": "keyDown", "value": key }), json!({ "type": "keyUp", "value": key })];
        let actions: Vec<Value> = keys.chars().flat_map(press).collect();
        self.post("actions", json!({ "actions": [{ "type": "key", "id": "keyboard", "actions": actions }] })).await;
    }

    /// A window of this size in CSS pixels.
    pub async fn size(&self, width: u32, height: u32) {
        let metrics = json!({ "width": width, "height": height, "deviceScaleFactor": 1, "mobile": false });
        self.cdp("Emulation.setDeviceMetricsOverride", metrics).await;
    }

    /// What the system is said to prefer: `light` or `dark`.
    pub async fn prefers(&self, theme: &str) {
        let features = json!({ "features": [
            { "name": "prefers-color-scheme", "value": theme },
            { "name": "prefers-reduced-motion", "value": "reduce" },
        ]});
        self.cdp("Emulation.setEmulatedMedia", features).await;
    }

    /// Whether pages may run script from their next load on.
    pub async fn script(&self, allowed: bool) {
        self.cdp("Emulation.setScriptExecutionDisabled", json!({ "value": !allowed })).await;
    }

    /// Keeps a picture of the whole page as an artefact.
    pub async fn shot(&self, name: &str) -> PathBuf {
        let taken = self.cdp("Page.captureScreenshot", json!({ "format": "png", "captureBeyondViewport": true })).await;
        let png = codec::from_base64(taken["data"].as_str().unwrap()).unwrap();
        let path = artefacts().join(format!("{name}.png"));
        std::fs::write(&path, png).unwrap();
        path
    }

    /// The paths of every POST since the last call, without their queries: what was done, as the browser sent it.
    pub async fn posts(&self) -> Vec<String> {
        let log = self.post("se/log", json!({ "type": "performance" })).await;
        let events = log.as_array().unwrap().iter().map(|entry| entry["message"].as_str().unwrap_or_default());
        let posts = events.filter_map(|text| {
            let event: Value = serde_json::from_str(text).unwrap();
            let request = &event["message"]["params"]["request"];
            let posts = event["message"]["method"] == "Network.requestWillBeSent" && request["method"] == "POST";
            posts.then(|| path_of(request["url"].as_str().unwrap()).split(['?', '#']).next().unwrap().to_owned())
        });
        posts.collect()
    }

    /// Every complaint since the last call: of the page's policy, of its scripts, of the browser's console.
    pub async fn complaints(&self) -> Vec<String> {
        let witness = self.run("return (window.__witness || ['no witness']).splice(0)", &[]).await;
        let seen = witness.as_array().unwrap().iter().map(|text| text.as_str().unwrap_or("?").to_owned());
        let log = self.post("se/log", json!({ "type": "browser" })).await;
        let logged =
            log.as_array().unwrap().iter().filter(|entry| entry["level"] != "DEBUG" && entry["level"] != "INFO");
        seen.chain(logged.map(|entry| format!("{} {}", entry["level"], entry["message"]))).collect()
    }
}

impl Drop for Browser {
    fn drop(&mut self) {
        // Chromium first: without it chromedriver would wait for its answer.
        if let Some(pid) = self.chromium {
            let _gone = kill_process(pid, Signal::KILL);
        }
        let _gone = self.driver.kill();
        let _reaped = self.driver.wait();
    }
}
