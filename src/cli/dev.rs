//! `ringfort dev`: a node with everything under one directory, for trying it out. It is an ordinary node in its own
//! process group; `dev` only starts it, imports, writes `dev.json` and stops it again.

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
    /// How many nodes; one in this release
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u8).range(1..=1))]
    nodes: u8,
    /// Directory for everything; made where it is missing
    #[arg(long, value_name = "DIR", default_value = "./ringfort-dev")]
    data: PathBuf,
    /// Port for devices and programs
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

/// Runs `ringfort dev` until it is stopped.
///
/// # Errors
/// Where the node does not start, or an import fails.
pub async fn dev(arguments: &DevArguments, as_json: bool) -> Done {
    let dir = &arguments.data;
    let data = dir.join("n1");
    let failed = |error: io::Error| Failure::io(dir.display(), &error);
    let socket = config::control_socket_of(&data);
    if socket.as_os_str().len() > SOCKET_PATH_BYTES_MAX {
        let message =
            format!("{} is too long for a socket's path; give a shorter --data; nothing was made", socket.display());
        return Err(Failure::new(Exit::Usage, message));
    }
    std::fs::create_dir_all(&data).map_err(failed)?;
    // Before anything of another dev's is touched.
    let _lock = data_dir::lock(dir).map_err(|error| Failure::new(Exit::Unavailable, error.to_string()))?;
    let before = put_aside(dir).map_err(failed)?;
    let mut signals = [
        unix::signal(SignalKind::interrupt()).map_err(failed)?,
        unix::signal(SignalKind::terminate()).map_err(failed)?,
    ];
    let mut node = start(arguments, &data).map_err(failed)?;
    let ready = tokio::select! {
        ready = prepare(arguments, &data, before, node.id()) => ready,
        ended = node.wait() => Err(ended_early(ended.ok(), &data)),
        () = any(&mut signals) => Err(Failure::new(Exit::Ok, "")),
    };
    let result = match ready {
        Ok(document) => {
            data_dir::write_whole(&dir.join(DEV_FILE), format!("{document:#}\n").as_bytes()).map_err(failed)?;
            // Kept for nothing, if it stays: the next start puts the new one in its place.
            let _stays = std::fs::remove_file(dir.join(DEV_FILE_BEFORE));
            tell(&document, &arguments.import, as_json);
            tokio::select! {
                () = any(&mut signals) => Ok(()),
                ended = node.wait() => Err(ended_early(ended.ok(), &data)),
            }
        }
        Err(failure) => Err(failure),
    };
    stop(&mut node).await;
    result
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

/// The node leads its own process group and dies with us.
fn start(arguments: &DevArguments, data: &Path) -> io::Result<Child> {
    let listen = format!("http://127.0.0.1:{}", arguments.port);
    let mut words: Vec<OsString> = ["run", "--name", "n1", "--listen", &listen, "--data"].map(OsString::from).to_vec();
    words.push(data.into());
    Command::new(supervisor::own_binary()?)
        .args(words)
        .env(supervisor::DIE_WITH, std::process::id().to_string())
        .process_group(0)
        .kill_on_drop(true)
        .spawn()
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

/// Waits until the node serves, makes tokens where there are none, imports, and describes it all.
async fn prepare(
    arguments: &DevArguments,
    data: &Path,
    before: Option<Before>,
    pid: Option<u32>,
) -> Result<Value, Failure> {
    let url = format!("http://127.0.0.1:{}", arguments.port);
    let local = Client::new(Target::Socket(config::control_socket_of(data)), None);
    wait_until_ready(&local, pid).await?;
    let known = match before {
        Some(before) if is_valid(&url, &before.admin_token).await? => Some((before.admin_token, before.device_token)),
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
    let status = local.ask(Method::GET, "/v1/status").await?;
    Ok(json!({
        "endpoints": [url],
        "admin_token": admin_token,
        "device_token": device_token,
        "console": format!("{url}{sign_in}"),
        "nodes": [{
            "id": status.get("node"),
            "name": status.get("name"),
            "pid": pid,
            "worker_pid": status.get("worker_pid"),
            // Whoever reads it may be somewhere else.
            "data": std::path::absolute(data).map_err(|error| Failure::io(data.display(), &error))?,
            "url": url,
        }],
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
    output::line(format_args!("\nRingfort serves at {url}; Ctrl-C stops it.\n"));
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
        "  ringfort status        (from this directory; also bucket, kv, import, export, token, doctor)"
    ));
    output::line(format_args!("  {url}/v1/openapi.json  describes everything else\n"));
}
