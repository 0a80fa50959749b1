//! Which node a client command talks to, with which token, and whom it trusts: `--url` and `--token-file`, then
//! `RINGFORT_URL` and `RINGFORT_TOKEN`, then `./ringfort-dev/dev.json`, then the local control socket. Over HTTPS the
//! authority is the one of `--ca`, of `RINGFORT_CA`, or of a node on this machine.

use std::path::Path;
use std::path::PathBuf;

use serde::Deserialize;

use crate::base::exit::Exit;
use crate::base::file;
use crate::base::file::Privacy;
use crate::base::limits::SECRET_FILE_BYTES_MAX;
use crate::base::redact::Redacted;
use crate::cli::Global;
use crate::cli::client::Client;
use crate::cli::client::Target;
use crate::cli::output;
use crate::cli::output::Failure;
use crate::cli::secret;
use crate::cli::trust::Trust;
use crate::config::Config;

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
pub fn connect(global: &Global, config: &Config) -> Result<Client, Failure> {
    let (client, how) = find(global, config)?;
    if global.verbose {
        output::note(format_args!("asking {} ({how})", client.target()));
    }
    Ok(client)
}

/// The address that the user named, by flag or variable.
///
/// # Errors
/// Where the variable is not text.
pub fn named(global: &Global) -> Result<Option<String>, Failure> {
    match &global.url {
        Some(url) => Ok(Some(url.clone())),
        None => variable("RINGFORT_URL"),
    }
}

/// Whether the user named one.
pub fn is_named(global: &Global) -> bool {
    !matches!(named(global), Ok(None))
}

/// Where the authority of a node on this machine is.
pub fn authority_of(data: &Path) -> PathBuf {
    data.join("identity/ca.pem")
}

/// A variable that is not text is not overlooked: another node would be asked.
fn variable(name: &str) -> Result<Option<String>, Failure> {
    match std::env::var(name) {
        Ok(value) => Ok(Some(value)),
        Err(std::env::VarError::NotPresent) => Ok(None),
        Err(std::env::VarError::NotUnicode(_)) => {
            Err(Failure::new(Exit::Usage, format!("{name} is not UTF-8 text; nothing was sent")))
        }
    }
}

fn find(global: &Global, config: &Config) -> Result<(Client, String), Failure> {
    let token_file = global.token_file.as_deref().map(read_token).transpose()?;
    if let Some(url) = named(global)? {
        let how = if global.url.is_some() { "--url" } else { "RINGFORT_URL" };
        let token = token_file.or(variable("RINGFORT_TOKEN")?.map(Redacted::new));
        return Ok((reach(&url, token, global, config)?, how.to_owned()));
    }
    if Path::new(DEV_FILE).exists() {
        // Somebody else's file would send what we say, and our token, to a node of theirs.
        let text = file::read(Path::new(DEV_FILE), SECRET_FILE_BYTES_MAX, Privacy::Secret)
            .map_err(|error| Failure::new(Exit::Config, format!("{error}; nothing was sent")))?;
        let dev: DevFile = serde_json::from_slice(&text)
            .map_err(|error| Failure::new(Exit::BadData, format!("{DEV_FILE}: {error}; start `ringfort dev` again")))?;
        if let Some(url) = dev.endpoints.first() {
            // Not `RINGFORT_TOKEN`: it goes with `RINGFORT_URL`, to another node.
            let token = token_file.unwrap_or_else(|| Redacted::new(dev.admin_token));
            return Ok((reach(url, Some(token), global, config)?, format!("./{DEV_FILE}")));
        }
    }
    let control_socket = config.control_socket();
    if control_socket.exists() {
        let target = Target::Socket(control_socket);
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
    secret::warn_if_open(path);
    Ok(Redacted::new(secret::read(path)?.reveal().trim().to_owned()))
}

fn reach(url: &str, token: Option<Redacted<String>>, global: &Global, config: &Config) -> Result<Client, Failure> {
    let target = Target::parse(url)?;
    let client = Client::new(target, token);
    match client.target() {
        Target::Tls(..) => Ok(client.trusting(trust(global, config)?)),
        Target::Tcp(..) | Target::Socket(_) => Ok(client),
    }
}

fn trust(global: &Global, config: &Config) -> Result<Trust, Failure> {
    if let Some(path) = &global.ca {
        return Trust::file(path);
    }
    if let Some(path) = variable("RINGFORT_CA")? {
        return Trust::file(Path::new(&path));
    }
    let local = authority_of(&config.data());
    if std::fs::File::open(&local).is_ok() {
        return Trust::file(&local);
    }
    Err(Failure::new(
        Exit::Usage,
        "over https:// a node is checked, and there is no authority to check it by; nothing was sent. Run `ringfort ca \
         --fingerprint` on the node's machine, here `ringfort ca fetch --url URL --fingerprint FINGERPRINT -o ca.pem`, \
         and give --ca ca.pem or set RINGFORT_CA=ca.pem",
    ))
}
