//! Which node a client command talks to, and with which token: `--url` and `--token-file`, then `RINGFORT_URL` and
//! `RINGFORT_TOKEN`, then `./ringfort-dev/dev.json`, then the local control socket.

use std::path::Path;
use std::path::PathBuf;

use serde::Deserialize;

use crate::base::exit::Exit;
use crate::base::redact::Redacted;
use crate::cli::Global;
use crate::cli::client::Client;
use crate::cli::client::Target;
use crate::cli::output;
use crate::cli::output::Failure;

/// What `ringfort dev` leaves behind.
const DEV_FILE: &str = "ringfort-dev/dev.json";

/// The part of `dev.json` that a client needs.
#[derive(Deserialize)]
struct DevFile {
    endpoints: Vec<String>,
    admin_token: String,
}

/// Finds the node.
///
/// # Errors
/// Where none of the ways leads to one.
pub fn connect(global: &Global, control_socket: &Path) -> Result<Client, Failure> {
    let (client, how) = find(global, control_socket)?;
    if global.verbose {
        output::note(format_args!("asking {} ({how})", client.target()));
    }
    Ok(client)
}

fn find(global: &Global, control_socket: &Path) -> Result<(Client, String), Failure> {
    let token_file = global.token_file.as_deref().map(read_token).transpose()?;
    let token_variable = || std::env::var("RINGFORT_TOKEN").ok().map(Redacted::new);
    if let Some(url) = &global.url {
        return Ok((Client::new(Target::parse(url)?, token_file.or_else(token_variable)), "--url".to_owned()));
    }
    if let Ok(url) = std::env::var("RINGFORT_URL") {
        return Ok((Client::new(Target::parse(&url)?, token_file.or_else(token_variable)), "RINGFORT_URL".to_owned()));
    }
    if Path::new(DEV_FILE).exists() {
        let text = std::fs::read_to_string(DEV_FILE).map_err(|error| Failure::io(DEV_FILE, &error))?;
        let dev: DevFile = serde_json::from_str(&text)
            .map_err(|error| Failure::new(Exit::BadData, format!("{DEV_FILE}: {error}; start `ringfort dev` again")))?;
        if let Some(url) = dev.endpoints.first() {
            let token = token_file.or_else(token_variable).unwrap_or_else(|| Redacted::new(dev.admin_token));
            return Ok((Client::new(Target::parse(url)?, Some(token)), format!("./{DEV_FILE}")));
        }
    }
    if control_socket.exists() {
        let target = Target::Socket(PathBuf::from(control_socket));
        return Ok((Client::new(target, token_file), "local control socket".to_owned()));
    }
    Err(Failure::new(
        Exit::Unavailable,
        format!(
            "no node found: give --url, set RINGFORT_URL, start `ringfort dev` here, or run this on a node's machine as \
             its user ({} is not there)",
            control_socket.display()
        ),
    ))
}

fn read_token(path: &Path) -> Result<Redacted<String>, Failure> {
    let text = std::fs::read_to_string(path).map_err(|error| Failure::io(path.display(), &error))?;
    Ok(Redacted::new(text.lines().next().unwrap_or("").trim().to_owned()))
}
