//! Real nodes for tests: each in a directory of its own, in its own process group, on a port the system chose; gone
//! when dropped.

use std::path::Path;
use std::path::PathBuf;
use std::process::Child;
use std::process::Command;
use std::process::ExitStatus;
use std::process::Stdio;
use std::time::Duration;
use std::time::Instant;

use hyper::Method;
use hyper::StatusCode;
use ringfort::base::redact::Redacted;
use ringfort::cli::client::Answer;
use ringfort::cli::client::Client;
use ringfort::cli::client::Target;
use ringfort::cli::client::full;
use rustix::event::PollFd;
use rustix::event::PollFlags;
use rustix::event::poll;
use rustix::process::Pid;
use rustix::process::PidfdFlags;
use serde_json::Value;
use serde_json::json;

/// The binary under test.
pub const BINARY: &str = env!("CARGO_BIN_EXE_ringfort");

/// Nothing here takes longer, even on a busy machine.
pub const PATIENCE: Duration = Duration::from_secs(60);

/// The real data of the README: 28,298 rows.
pub fn airports() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/airports.csv")
}

/// Starts a process in a group of its own, with everything it prints at the end of a file.
pub fn spawn_logged(mut command: Command, log: &Path) -> Child {
    use std::os::unix::process::CommandExt;
    let log = std::fs::File::options().create(true).append(true).open(log).unwrap();
    let started = command.process_group(0).stdin(Stdio::null()).stdout(log.try_clone().unwrap()).stderr(log).spawn();
    started.unwrap()
}

/// A running node.
pub struct Node {
    pub data: PathBuf,
    child: Child,
}

impl Node {
    /// Starts `ringfort run` on a directory and returns when it is ready.
    pub async fn start(data: &Path) -> Self {
        Self::start_with(data, &[], &[]).await
    }

    /// The same with a program in front (such as strace) and environment variables.
    pub async fn start_with(data: &Path, in_front: &[&str], environment: &[(&str, &str)]) -> Self {
        let mut node = Self::spawn(data, in_front, environment);
        node.get_ready().await;
        node
    }

    /// Starts `ringfort run` with these words behind it and returns when it is ready.
    pub async fn start_saying(data: &Path, in_front: &[&str], words: &[&str]) -> Self {
        let mut node = Self::spawn_saying(data, in_front, &[], words);
        node.get_ready().await;
        node
    }

    /// Waits until it takes requests.
    pub async fn get_ready(&mut self) {
        let deadline = Instant::now() + PATIENCE;
        while !self.is_ready().await {
            if let Some(status) = self.child.try_wait().unwrap() {
                panic!("the node ended with {status}:\n{}", self.log());
            }
            assert!(Instant::now() < deadline, "the node is not ready:\n{}", self.log());
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }

    /// Starts it without waiting.
    pub fn spawn(data: &Path, in_front: &[&str], environment: &[(&str, &str)]) -> Self {
        Self::spawn_at(data, in_front, environment, 0)
    }

    /// The same on a port of the test's choice, for a node that must come back where it was.
    pub fn spawn_at(data: &Path, in_front: &[&str], environment: &[(&str, &str)], port: u16) -> Self {
        Self::spawn_saying(data, in_front, environment, &["--listen", &format!("http://127.0.0.1:{port}")])
    }

    pub fn spawn_saying(data: &Path, in_front: &[&str], environment: &[(&str, &str)], words: &[&str]) -> Self {
        std::fs::create_dir_all(data).unwrap();
        let words: Vec<&str> = [in_front, &[BINARY, "run"], words, &["--data"]].concat();
        let mut command = Command::new(words[0]);
        // A node that is to meet others says where.
        command.args(&words[1..]).arg(data).env("RINGFORT_PEER_LISTEN", "none").envs(environment.iter().copied());
        let child = spawn_logged(command, &data.with_extension("log"));
        Self { data: data.to_owned(), child }
    }

    /// Everything it logged, over restarts too.
    pub fn log(&self) -> String {
        std::fs::read_to_string(self.data.with_extension("log")).unwrap_or_default()
    }

    /// Talks through the control socket, as its owner.
    pub fn owner(&self) -> Client {
        Client::new(Target::Socket(self.data.join("ctl.sock")), None)
    }

    pub async fn is_ready(&self) -> bool {
        let asked = self.owner().send(Method::GET, "/readyz", &[], full("")).await;
        asked.is_ok_and(|answer| answer.head.status == StatusCode::OK)
    }

    pub async fn status(&self) -> Value {
        self.owner().ask(Method::GET, "/v1/status").await.map_err(|failure| failure.message).unwrap()
    }

    /// Its address, such as `http://127.0.0.1:41234`.
    pub async fn url(&self) -> String {
        self.status().await["addresses"][0].as_str().unwrap().to_owned()
    }

    /// A new token of these scopes; its name must be new to the node.
    pub async fn token(&self, name: &str, scopes: &[&str]) -> String {
        let document = json!({ "name": name, "scopes": scopes });
        let made = self.owner().tell(Method::POST, "/v1/tokens", &document).await.map_err(|f| f.message).unwrap();
        made["token"].as_str().unwrap().to_owned()
    }

    /// A client over TCP with a new token of these scopes.
    pub async fn client(&self, name: &str, scopes: &[&str]) -> Client {
        let token = self.token(name, scopes).await;
        client(&self.url().await, Some(&token))
    }

    /// The process group's leader: the supervisor, or the program in front of it.
    pub fn pid(&self) -> i32 {
        i32::try_from(self.child.id()).unwrap()
    }

    /// Kills the whole process group, as a power cut of the process (not of the disk) would.
    pub fn kill(&mut self) {
        let group = rustix::process::Pid::from_raw(self.pid()).unwrap();
        let _gone = rustix::process::kill_process_group(group, rustix::process::Signal::KILL);
        let _reaped = self.child.wait();
    }

    /// Asks the supervisor to stop and waits for its end.
    pub fn stop(&mut self) -> ExitStatus {
        let pid = rustix::process::Pid::from_raw(self.pid()).unwrap();
        rustix::process::kill_process(pid, rustix::process::Signal::TERM).unwrap();
        self.child.wait().unwrap()
    }

    /// Waits for its end until then; `None` where it still runs.
    pub fn wait_until(&mut self, deadline: Instant) -> Option<ExitStatus> {
        let pid = Pid::from_raw(self.pid()).unwrap();
        let process = rustix::process::pidfd_open(pid, PidfdFlags::empty()).unwrap();
        let left = deadline.saturating_duration_since(Instant::now());
        // Readable as soon as the process has ended.
        poll(&mut [PollFd::new(&process, PollFlags::IN)], Some(&left.try_into().unwrap())).unwrap();
        self.child.try_wait().unwrap()
    }

    /// Waits for its end.
    pub fn wait(&mut self) -> ExitStatus {
        self.child.wait().unwrap()
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        self.kill();
    }
}

/// A request; panics where there is no answer at all.
pub async fn send(
    client: &Client,
    method: Method,
    path: &str,
    headers: &[(&str, &str)],
    body: impl Into<hyper::body::Bytes>,
) -> Answer {
    client.send(method, path, headers, full(body)).await.map_err(|failure| failure.message).unwrap()
}

/// A client of any node over TCP.
pub fn client(url: &str, token: Option<&str>) -> Client {
    let target = Target::parse(url).map_err(|failure| failure.message).unwrap();
    Client::new(target, token.map(|token| Redacted::new(token.to_owned())))
}

/// A whole answer.
pub struct Reply {
    pub status: u16,
    pub headers: hyper::HeaderMap,
    pub body: Vec<u8>,
}

impl std::fmt::Debug for Reply {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let begin = self.body.get(..self.body.len().min(500)).unwrap_or_default();
        write!(f, "{} {:?} {}", self.status, self.headers, String::from_utf8_lossy(begin))
    }
}

impl Reply {
    pub async fn read(mut answer: Answer) -> Self {
        let mut body = Vec::new();
        while let Some(piece) = answer.piece().await.map_err(|failure| failure.message).unwrap() {
            body.extend_from_slice(&piece);
        }
        Self { status: answer.head.status.as_u16(), headers: answer.head.headers, body }
    }

    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name)?.to_str().ok()
    }

    /// `Ringfort-Context`.
    pub fn context(&self) -> &str {
        self.header("ringfort-context").unwrap_or_else(|| panic!("no context in {self:?}"))
    }

    pub fn text(&self) -> &str {
        std::str::from_utf8(&self.body).unwrap()
    }

    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|error| panic!("{error} in {self:?}"))
    }

    /// Status and stable code of a refusal, which must be a whole problem document.
    pub fn problem(&self) -> (u16, String) {
        let document = self.json();
        assert_eq!(self.header("content-type"), Some("application/problem+json"), "{document}");
        for member in ["type", "title", "code", "detail", "request_id"] {
            assert!(document[member].as_str().is_some_and(|text| !text.is_empty()), "no {member} in {document}");
        }
        assert_eq!(document["status"], self.status);
        (self.status, document["code"].as_str().unwrap().to_owned())
    }
}

/// A request and its whole answer.
pub async fn call(
    client: &Client,
    method: &str,
    path: &str,
    headers: &[(&str, &str)],
    body: impl Into<hyper::body::Bytes>,
) -> Reply {
    Reply::read(send(client, method.parse().unwrap(), path, headers, body).await).await
}

/// Waits until there is an answer; the only place where a test lets time pass.
pub async fn eventually<T>(what: &str, mut ask: impl AsyncFnMut() -> Option<T>) -> T {
    let deadline = Instant::now() + PATIENCE;
    loop {
        if let Some(found) = ask().await {
            return found;
        }
        assert!(Instant::now() < deadline, "waited in vain: {what}");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

/// How a command ended.
#[derive(Debug)]
pub struct Ended {
    pub code: i32,
    pub out: String,
    pub err: String,
}

impl Ended {
    pub fn json(&self) -> Value {
        serde_json::from_str(&self.out).unwrap_or_else(|error| panic!("{error} in {self:?}"))
    }
}

/// The command line, in a directory and with nothing of ours in its environment.
pub fn command(dir: &Path, words: &[&str]) -> Command {
    let mut command = Command::new(BINARY);
    for name in std::env::vars().map(|(name, _)| name).filter(|name| name.starts_with("RINGFORT_")) {
        command.env_remove(name);
    }
    command.env("RINGFORT_PEER_LISTEN", "none");
    command.args(words).current_dir(dir).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    command
}

/// Runs it to its end.
pub fn ended(mut command: Command) -> Ended {
    let output = command.output().unwrap();
    Ended {
        code: output.status.code().unwrap_or(-1),
        out: String::from_utf8_lossy(&output.stdout).into_owned(),
        err: String::from_utf8_lossy(&output.stderr).into_owned(),
    }
}

/// Runs the command line and returns its output.
pub fn ringfort(words: &[&str]) -> std::process::Output {
    Command::new(BINARY).args(words).env_remove("RINGFORT_URL").stdin(Stdio::null()).output().unwrap()
}

/// Runs the command line in a directory and returns how it ended.
pub fn ringfort_in(dir: &Path, words: &[&str]) -> Ended {
    ended(command(dir, words))
}
