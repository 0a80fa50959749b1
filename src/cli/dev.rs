//! `ringfort dev`: a cluster with everything under one directory, for trying it out. Its nodes are ordinary ones, each in
//! its own process group; `dev` only starts them, imports, writes `dev.json` and stops them again.

use std::ffi::OsString;
use std::io;
use std::os::unix::process::ExitStatusExt;
use std::path::Path;
use std::path::PathBuf;
use std::process::ExitStatus;
use std::time::Duration;

use clap::Args;
use hyper::Method;
use rustix::process::Pid;
use rustix::process::Signal;
use serde::Deserialize;
use serde_json::Value;
use serde_json::json;
use tokio::process::Child;
use tokio::process::Command;
use tokio::signal::unix;
use tokio::signal::unix::SignalKind;

use crate::base::exit::Exit;
use crate::base::program;
use crate::base::redact::Redacted;
use crate::base::time;
use crate::cli::client::Client;
use crate::cli::client::Target;
use crate::cli::client::full;
use crate::cli::output;
use crate::cli::output::Done;
use crate::cli::output::Failure;
use crate::cli::transfer;
use crate::cli::transfer::ImportArguments;
use crate::config;
use crate::node::debug::supervisor;
use crate::store::data_dir;

/// A node must be ready within this time; a large journal may have to be replayed.
const READY_TIMEOUT: Duration = Duration::from_secs(60);
/// Between two questions whether it is.
const READY_POLL: Duration = Duration::from_millis(10);

/// The kernel's limit for the path of a Unix socket, its final zero left out.
const SOCKET_PATH_BYTES_MAX: usize = 107;
/// What a client finds the node and its tokens by.
const DEV_FILE: &str = "dev.json";
/// That of the last run, until there is a new one.
const DEV_FILE_BEFORE: &str = "dev.json.before";
/// Whom the console's link signs in.
const DEV_USER: &str = "dev";

/// `ringfort dev`.
#[derive(Args, Debug)]
pub struct DevArguments {
    /// How many nodes
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u8).range(1..=i64::from(NODES_MOST)))]
    nodes: u8,
    /// Directory for everything; made where it is missing
    #[arg(long, value_name = "DIR", default_value = "./ringfort-dev")]
    data: PathBuf,
    /// Port of the first node for devices and programs; those of the others, and those among nodes, follow
    #[arg(long, default_value_t = 7480)]
    port: u16,
    /// Import a file after the start; may be repeated
    #[arg(long, value_name = "BUCKET=FILE[:KEYFIELD]", value_parser = parse_import)]
    import: Vec<ImportArguments>,
}

/// `BUCKET=FILE[:KEYFIELD]`.
fn parse_import(text: &str) -> Result<ImportArguments, String> {
    let (bucket, rest) = text.split_once('=').ok_or("write it as BUCKET=FILE or BUCKET=FILE:KEYFIELD")?;
    let (file, key) = match rest.rsplit_once(':') {
        Some((file, key)) if !key.contains('/') => (file, Some(key.to_owned())),
        Some(_) | None => (rest, None),
    };
    Ok(ImportArguments { bucket: bucket.to_owned(), file: file.into(), key, format: None, resume: false })
}

/// What an earlier `dev` left behind.
#[derive(Deserialize)]
struct Before {
    admin_token: String,
    device_token: String,
}

/// As many as one machine should be asked for.
const NODES_MOST: u8 = 9;

/// One of the nodes.
struct DevNode {
    number: u8,
    data: PathBuf,
    url: String,
    peer_listen: String,
    child: Option<Child>,
}

impl DevNode {
    fn of(arguments: &DevArguments, number: u8) -> Self {
        let port = |offset: u8| arguments.port.saturating_add(u16::from(offset));
        // Behind all that there could be: with more nodes none of them moves.
        let (http, peers) = (port(number - 1), port(NODES_MOST + number - 1));
        Self {
            number,
            data: arguments.data.join(format!("n{number}")),
            url: format!("http://127.0.0.1:{http}"),
            peer_listen: format!("127.0.0.1:{peers}"),
            child: None,
        }
    }

    /// `ringfort run --data` alone brings it back where it was.
    fn remember(&self) -> io::Result<()> {
        let Self { url, peer_listen, .. } = self;
        let text =
            format!("# As `ringfort dev` started it last.\nlisten = \"{url}\"\npeer_listen = \"{peer_listen}\"\n");
        data_dir::write_whole(&self.data.join(config::FILE), text.as_bytes())
    }

    fn local(&self) -> Client {
        Client::new(Target::Socket(config::control_socket_of(&self.data)), None)
    }

    fn pid(&self) -> Option<u32> {
        self.child.as_ref().and_then(Child::id)
    }

    fn is_new(&self) -> bool {
        !self.data.join("identity").join("node.json").exists()
    }

    /// The node leads its own process group and dies with us.
    fn start(&mut self, join: Option<&Path>) -> io::Result<()> {
        let name = format!("n{}", self.number);
        let words = ["run", "--name", &name, "--listen", &self.url, "--peer-listen", &self.peer_listen, "--data"];
        let mut words: Vec<OsString> = words.map(OsString::from).to_vec();
        words.push((&self.data).into());
        if let Some(token) = join {
            let mut at = OsString::from("@");
            at.push(token);
            words.extend(["--join".into(), at]);
        }
        let child = Command::new(program::own()?)
            .args(words)
            .env(supervisor::DIE_WITH, std::process::id().to_string())
            .process_group(0)
            .kill_on_drop(true)
            .spawn()?;
        self.child = Some(child);
        Ok(())
    }

    /// Returns when the process has ended; never where there is none.
    async fn ended(&mut self) -> Failure {
        match &mut self.child {
            Some(child) => ended_early(child.wait().await.ok(), &self.data),
            None => std::future::pending().await,
        }
    }
}

/// Runs `ringfort dev` until it is stopped.
///
/// # Errors
/// Where a node does not start, or an import fails.
pub async fn dev(arguments: &DevArguments, as_json: bool) -> Done {
    let dir = &arguments.data;
    let failed = |error: io::Error| Failure::io(dir.display(), &error);
    let mut nodes: Vec<DevNode> = (1..=arguments.nodes).map(|number| DevNode::of(arguments, number)).collect();
    for node in &nodes {
        let socket = config::control_socket_of(&node.data);
        if socket.as_os_str().len() > SOCKET_PATH_BYTES_MAX {
            let socket = socket.display();
            let message = format!("{socket} is too long for a socket's path; give a shorter --data; nothing was made");
            return Err(Failure::new(Exit::Usage, message));
        }
        data_dir::make(&node.data).map_err(failed)?;
    }
    // Before anything of another dev's is touched.
    let _lock = data_dir::lock(dir).map_err(|error| Failure::new(Exit::Unavailable, error.to_string()))?;
    let before = put_aside(dir).map_err(failed)?;
    let mut signals = [
        unix::signal(SignalKind::interrupt()).map_err(failed)?,
        unix::signal(SignalKind::terminate()).map_err(failed)?,
    ];
    let result = tokio::select! {
        result = run(arguments, &mut nodes, before, as_json) => result,
        () = any(&mut signals) => Ok(()),
    };
    // The last one first, so that the first one has somebody to tell for as long as it can.
    for node in nodes.iter_mut().rev() {
        if let Some(child) = &mut node.child {
            stop(child).await;
        }
    }
    result
}

/// Starts everything, says so, and returns only where a node ends by itself.
async fn run(arguments: &DevArguments, nodes: &mut [DevNode], before: Option<Before>, as_json: bool) -> Done {
    let dir = &arguments.data;
    let failed = |error: io::Error| Failure::io(dir.display(), &error);
    start_all(arguments, nodes).await?;
    let document = prepare(arguments, nodes, before).await?;
    data_dir::write_whole(&dir.join(DEV_FILE), format!("{document:#}\n").as_bytes()).map_err(failed)?;
    // Kept for nothing, if it stays: the next start puts the new one in its place.
    let _stays = std::fs::remove_file(dir.join(DEV_FILE_BEFORE));
    tell(&document, &arguments.import, as_json);
    if let [only] = nodes {
        return Err(only.ended().await);
    }
    // One of several may be killed: that is what they are for. Who is killed stays down.
    std::future::pending().await
}

/// Starts the nodes that are there, and has the others join; returns when every one serves and sees every other, and the
/// data is where it is to be.
async fn start_all(arguments: &DevArguments, nodes: &mut [DevNode]) -> Done {
    let failed = |error: io::Error| Failure::io(arguments.data.display(), &error);
    for node in nodes.iter_mut().filter(|node| node.number == 1 || !node.is_new()) {
        node.start(None).map_err(failed)?;
    }
    for node in nodes.iter_mut().filter(|node| node.child.is_some()) {
        serving(node).await?;
        node.remember().map_err(failed)?;
    }
    for at in 1..nodes.len() {
        let Some((first, rest)) = nodes.split_first_mut() else { return Ok(()) };
        let Some(node) = rest.get_mut(at - 1).filter(|node| node.child.is_none()) else { continue };
        let token = arguments.data.join(format!("n{}.join", node.number));
        let invite = first.local().tell(Method::POST, "/v1/invites", &json!({ "ttl": "10m" })).await?;
        let text = invite.get("token").and_then(Value::as_str).unwrap_or_default();
        data_dir::write_whole(&token, text.as_bytes()).map_err(failed)?;
        node.start(Some(&token)).map_err(failed)?;
        serving(node).await?;
        node.remember().map_err(failed)?;
        // It opens nothing any more.
        std::fs::remove_file(&token).map_err(failed)?;
    }
    settled(nodes).await
}

/// Waits until a node serves, or ends.
async fn serving(node: &mut DevNode) -> Done {
    let (local, pid) = (node.local(), node.pid());
    tokio::select! {
        ready = wait_until_ready(&local, pid) => ready,
        failure = node.ended() => Err(failure),
    }
}

/// Waits until every node sees every other, and all of them own data and have it.
async fn settled(nodes: &[DevNode]) -> Done {
    let deadline = time::mono() + READY_TIMEOUT;
    for node in nodes {
        loop {
            match is_settled(node, nodes.len()).await {
                Ok(true) => break,
                Ok(false) | Err(_) if time::mono() < deadline => tokio::time::sleep(READY_POLL).await,
                Ok(false) => {
                    let message = format!("node n{} does not see all others in time; its log is above", node.number);
                    return Err(Failure::new(Exit::Unavailable, message));
                }
                Err(failure) => return Err(failure),
            }
        }
    }
    Ok(())
}

async fn is_settled(node: &DevNode, count: usize) -> Result<bool, Failure> {
    let local = node.local();
    let members = local.ask(Method::GET, "/v1/members").await?;
    let up = members.get("members").and_then(Value::as_array).into_iter().flatten();
    let up = up.filter(|member| member.get("state").is_some_and(|state| state == "up")).count();
    let status = local.ask(Method::GET, "/v1/status").await?;
    let number = |pointer: &str| status.pointer(pointer).and_then(Value::as_u64);
    let owners = status.pointer("/ring/nodes").and_then(Value::as_array).map_or(0, Vec::len);
    // A second node owns nothing until there is a third.
    let wanted = if count == 2 { 1 } else { count };
    let at_rest = number("/ring/moving") == Some(0) && number("/ring/behind") == Some(0);
    Ok(up >= count && owners >= wanted && at_rest)
}

/// The tokens of the last run. Its `dev.json` goes out of the way: who waits for the file must not find an old one. It
/// is kept under another name until the new one is there, so that a start that fails loses no token.
fn put_aside(dir: &Path) -> io::Result<Option<Before>> {
    match std::fs::rename(dir.join(DEV_FILE), dir.join(DEV_FILE_BEFORE)) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        Ok(()) | Err(_) => {}
    }
    let before = std::fs::read(dir.join(DEV_FILE_BEFORE)).ok();
    Ok(before.and_then(|text| serde_json::from_slice(&text).ok()))
}

async fn any(signals: &mut [unix::Signal; 2]) {
    let [a, b] = signals;
    tokio::select! {
        _ = a.recv() => {}
        _ = b.recv() => {}
    }
}

fn ended_early(status: Option<ExitStatus>, data: &Path) -> Failure {
    let code = status.and_then(|status| status.code()).and_then(Exit::from_code).unwrap_or(Exit::Internal);
    let how = match status {
        Some(status) if status.signal().is_some() => format!("was killed ({status})"),
        Some(status) => format!("ended ({status})"),
        None => "ended".to_owned(),
    };
    let again = format!("`ringfort run --data {}` starts it again", data.display());
    Failure::new(code, format!("the node {how}; its log is above; what was acked is on disk; {again}"))
}

async fn stop(node: &mut Child) {
    let pid = node.id().and_then(|id| i32::try_from(id).ok()).and_then(Pid::from_raw);
    if let Some(pid) = pid {
        // It may have ended in this instant; then there is nothing to stop.
        let _ended = rustix::process::kill_process(pid, Signal::TERM);
        let _status = node.wait().await;
    }
}

/// Makes tokens where there are none, imports, and describes it all.
async fn prepare(arguments: &DevArguments, nodes: &[DevNode], before: Option<Before>) -> Result<Value, Failure> {
    let Some(first) = nodes.first() else { return Ok(Value::Null) };
    let (url, local) = (&first.url, first.local());
    let known = match before {
        Some(before) if is_valid(url, &before.admin_token).await? => Some((before.admin_token, before.device_token)),
        Some(_) | None => None,
    };
    let (admin_token, device_token) = match known {
        Some(tokens) => tokens,
        None => (
            make_token(&local, "dev-admin", &["admin"]).await?,
            make_token(&local, "dev-device", &["device:read", "device:write"]).await?,
        ),
    };
    for import in &arguments.import {
        transfer::import(&local, import, false).await?;
    }
    let sign_in = sign_in_path(&local).await?;
    let mut described = Vec::new();
    for node in nodes {
        described.push(describe(node).await?);
    }
    let endpoints: Vec<&String> = nodes.iter().map(|node| &node.url).collect();
    Ok(json!({
        "endpoints": endpoints,
        "admin_token": admin_token,
        "device_token": device_token,
        "console": format!("{url}{sign_in}"),
        "nodes": described,
    }))
}

async fn describe(node: &DevNode) -> Result<Value, Failure> {
    let status = node.local().ask(Method::GET, "/v1/status").await?;
    Ok(json!({
        "id": status.get("node"),
        "name": status.get("name"),
        "pid": node.pid(),
        "worker_pid": status.get("worker_pid"),
        // Whoever reads it may be somewhere else.
        "data": std::path::absolute(&node.data).map_err(|error| Failure::io(node.data.display(), &error))?,
        "url": node.url,
    }))
}

async fn wait_until_ready(local: &Client, pid: Option<u32>) -> Result<(), Failure> {
    let deadline = time::mono() + READY_TIMEOUT;
    loop {
        match ready(local, pid).await {
            Err(_not_yet) if time::mono() < deadline => tokio::time::sleep(READY_POLL).await,
            other => return other,
        }
    }
}

/// Whether the node that answers is ready, and the one that we started: another one on the same data answers too.
async fn ready(local: &Client, pid: Option<u32>) -> Result<(), Failure> {
    local.send(Method::GET, "/readyz", &[], full("")).await?.bytes().await?;
    let status = local.ask(Method::GET, "/v1/status").await?;
    let worker = status.get("worker_pid").and_then(Value::as_i64).and_then(|worker| i32::try_from(worker).ok());
    let group = worker.and_then(Pid::from_raw).and_then(|worker| rustix::process::getpgid(Some(worker)).ok());
    if group.map(|group| group.as_raw_nonzero().get().unsigned_abs()) == pid {
        return Ok(());
    }
    Err(Failure::new(Exit::Unavailable, "another node serves this data; nothing was changed; stop that one first"))
}

async fn is_valid(url: &str, token: &str) -> Result<bool, Failure> {
    let client = Client::new(Target::parse(url)?, Some(Redacted::new(token.to_owned())));
    match client.ask(Method::GET, "/v1/tokens").await {
        Ok(_) => Ok(true),
        Err(failure) if failure.exit == Exit::Denied => Ok(false),
        Err(failure) => Err(failure),
    }
}

/// A token of this name, replacing one whose secret is lost.
async fn make_token(local: &Client, name: &str, scopes: &[&str]) -> Result<String, Failure> {
    let document = json!({ "name": name, "scopes": scopes });
    let made = match local.tell(Method::POST, "/v1/tokens", &document).await {
        Ok(made) => made,
        Err(_taken) => {
            local.ask(Method::DELETE, &format!("/v1/tokens/{name}")).await?;
            local.tell(Method::POST, "/v1/tokens", &document).await?
        }
    };
    let token = made.get("token").and_then(Value::as_str);
    token.map(str::to_owned).ok_or_else(|| Failure::new(Exit::Internal, "the node made no token"))
}

/// Where a browser is signed in, once, as a user that has no password: nobody can guess what is not there.
async fn sign_in_path(local: &Client) -> Result<String, Failure> {
    let user = json!({ "scopes": ["admin"] });
    local.tell(Method::PUT, &format!("/v1/users/{DEV_USER}"), &user).await?;
    let link = local.tell(Method::POST, "/v1/sign-in-links", &json!({ "user": DEV_USER, "ttl": "24h" })).await?;
    Ok(link.get("path").and_then(Value::as_str).unwrap_or("/").to_owned())
}

/// Where to look, with commands that work when pasted.
fn tell(document: &Value, imports: &[ImportArguments], as_json: bool) {
    if as_json {
        output::json(document);
        return;
    }
    let text = |pointer: &str| document.pointer(pointer).and_then(Value::as_str).unwrap_or_default();
    let (url, token) = (text("/endpoints/0"), text("/device_token"));
    let all = document.get("endpoints").and_then(Value::as_array).into_iter().flatten().filter_map(Value::as_str);
    let all = all.collect::<Vec<_>>().join(", ");
    output::line(format_args!("\nRingfort serves at {all}; Ctrl-C stops it.\n"));
    output::line(format_args!("  {}", text("/console")));
    output::line(
        "  opens the console in a browser, signed in; it works once: `ringfort user link dev` prints another\n",
    );
    output::line(format_args!("  TOKEN={token}"));
    for import in imports {
        output::line(format_args!(
            "  curl -H \"Authorization: Bearer $TOKEN\" '{url}/v1/kv/{}?limit=3'",
            import.bucket
        ));
    }
    output::line(format_args!("  curl -H \"Authorization: Bearer $TOKEN\" {url}/v1/kv/BUCKET/KEY"));
    output::line(format_args!(
        "  ringfort status        (from this directory; also members, ring, bucket, kv, import, export, token)"
    ));
    output::line(format_args!("  ringfort doctor --data {}", text("/nodes/0/data")));
    output::line(format_args!("  {url}/v1/openapi.json  describes everything else\n"));
}
