//! Where a node is and how it is configured: the arguments of `run`, and `config`, `paths`.

use std::path::Path;
use std::path::PathBuf;

use clap::Args;
use clap::Subcommand;
use hyper::Method;
use serde_json::Value;
use serde_json::json;

use crate::base::exit::Exit;
use crate::base::file;
use crate::base::file::Privacy;
use crate::base::limits::JOIN_TOKEN_CHARS_MAX;
use crate::base::time;
use crate::cli::client::Client;
use crate::cli::output;
use crate::cli::output::Done;
use crate::cli::output::Failure;
use crate::config::Config;
use crate::config::ConfigError;
use crate::config::Row;
use crate::config::despite;
use crate::node::certificate;
use crate::node::certificate::Files;
use crate::proto::invite::JoinToken;

/// Options that say where a node is and how it runs.
#[derive(Args, Debug, Clone, Default)]
pub struct RunArguments {
    /// Data directory
    #[arg(long, value_name = "DIR")]
    pub data: Option<PathBuf>,
    /// Configuration file [default: /etc/ringfort/ringfort.toml where it exists]
    #[arg(long, value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// Address for devices and programs; may be repeated [default: http://127.0.0.1:7480]
    #[arg(long, value_name = "URL")]
    pub listen: Vec<String>,
    /// The node's name for people [default: the host's name]
    #[arg(long, value_name = "NAME")]
    pub name: Option<String>,
    /// Where other nodes are listened to, or none [default: 0.0.0.0:7400]
    #[arg(long, value_name = "ADDRESS:PORT")]
    pub peer_listen: Option<String>,
    /// Where other nodes reach this one, behind NAT: HOST or HOST:PORT; may be repeated
    #[arg(long, value_name = "ADDRESS")]
    pub advertise: Vec<String>,
    /// Come into a cluster with what `ringfort invite` printed there, or @FILE with it
    #[arg(long, value_name = "TOKEN")]
    pub join: Option<String>,
    /// What fails together with this node, such as a rack
    #[arg(long, value_name = "ZONE")]
    pub zone: Option<String>,
    /// Its share of the data relative to others; 0: none [default: 100]
    #[arg(long, value_name = "N")]
    pub weight: Option<u32>,
}

impl RunArguments {
    /// What lets this node into a cluster, if anything.
    ///
    /// # Errors
    /// It is no token, or its file cannot be read.
    pub fn join_token(&self) -> Result<Option<JoinToken>, Failure> {
        let Some(given) = &self.join else { return Ok(None) };
        let text = match given.strip_prefix('@') {
            None => given.clone(),
            Some(path) => {
                let bytes = file::read(Path::new(path), JOIN_TOKEN_CHARS_MAX, Privacy::Secret);
                let bytes =
                    bytes.map_err(|error| Failure::new(Exit::NoInput, format!("{error}; nothing was started")))?;
                String::from_utf8_lossy(&bytes).into_owned()
            }
        };
        let token = JoinToken::parse(&text);
        token.map(Some).map_err(|error| Failure::new(Exit::Usage, format!("--join: {error}; nothing was started")))
    }

    /// The configuration with these flags on top.
    ///
    /// # Errors
    /// A configuration failure.
    pub fn load(&self) -> Result<Config, Failure> {
        self.read().map_err(|error| Failure::new(Exit::Config, format!("{error}; nothing was started")))
    }

    /// The same, for who has started already.
    ///
    /// # Errors
    /// [`ConfigError`] for the first thing wrong.
    pub fn read(&self) -> Result<Config, ConfigError> {
        Config::load(self.config.as_deref(), std::env::vars_os(), &self.flags())
    }

    /// Where the data is, as far as a configuration says so that may be refused.
    #[must_use]
    pub fn data_despite(&self) -> PathBuf {
        despite::data(self.config.as_deref(), std::env::vars_os(), &self.flags())
    }

    fn flags(&self) -> Vec<(&'static str, String)> {
        let mut flags = Vec::new();
        if let Some(data) = &self.data {
            flags.push(("data", data.display().to_string()));
        }
        if !self.listen.is_empty() {
            flags.push(("listen", self.listen.join(",")));
        }
        if let Some(name) = &self.name {
            flags.push(("name", name.clone()));
        }
        if let Some(address) = &self.peer_listen {
            flags.push(("peer_listen", address.clone()));
        }
        if !self.advertise.is_empty() {
            flags.push(("advertise", self.advertise.join(",")));
        }
        if let Some(zone) = &self.zone {
            flags.push(("zone", zone.clone()));
        }
        if let Some(weight) = self.weight {
            flags.push(("weight", weight.to_string()));
        }
        flags
    }
}

/// `ringfort config`.
#[derive(Subcommand, Debug)]
pub enum ConfigCommand {
    /// Print each value with where it came from
    Show(RunArguments),
    /// Check a configuration and the files it names without using them
    Check(RunArguments),
    /// Have a running node read its configuration and certificate anew; connections live on
    Reload,
}

/// Runs `ringfort config show` and `check`.
///
/// # Errors
/// A configuration failure.
pub fn config(command: &ConfigCommand, as_json: bool) -> Done {
    match command {
        ConfigCommand::Show(arguments) => {
            show(&arguments.load()?, as_json);
            Ok(())
        }
        ConfigCommand::Check(arguments) => check(&arguments.load()?),
        ConfigCommand::Reload => Ok(()),
    }
}

fn check(config: &Config) -> Done {
    let bad = |error: &dyn std::fmt::Display| Failure::new(Exit::Config, format!("{error}; nothing was changed"));
    let mut warnings = config.warnings.clone();
    if let Some((certificate, key)) = config.tls_files().map_err(|error| bad(&error))? {
        let shown = certificate::customers(&Files { certificate, key }).map_err(|error| bad(&error))?;
        warnings.extend(shown.view.warning(time::wall_ms()));
    }
    warnings.iter().for_each(output::note);
    if warnings.is_empty() {
        output::note("the configuration is good");
        return Ok(());
    }
    Err(Failure::new(Exit::CheckWarned, ""))
}

/// Runs `ringfort config reload`.
///
/// # Errors
/// Of the node, which goes on as before then, or the way to it.
pub async fn reload(client: &Client, as_json: bool) -> Done {
    let done = client.ask(Method::POST, "/v1/config/reload").await?;
    if as_json {
        output::json(&done);
        return Ok(());
    }
    let words = |name: &str| {
        let list = done.get(name).and_then(Value::as_array).into_iter().flatten();
        list.filter_map(Value::as_str).collect::<Vec<_>>().join(", ")
    };
    let warnings = done.get("warnings").and_then(Value::as_array).into_iter().flatten();
    warnings.filter_map(Value::as_str).for_each(output::note);
    match words("changed") {
        none if none.is_empty() => output::note("no value changed"),
        changed => output::note(format_args!("changed: {changed}")),
    }
    if done.get("certificate_changed") == Some(&Value::Bool(true)) {
        output::note("new connections are shown the new certificate");
    }
    match words("needs_restart") {
        none if none.is_empty() => {}
        waiting => output::note(format_args!("needs a restart: {waiting}")),
    }
    Ok(())
}

fn show(config: &Config, as_json: bool) {
    if as_json {
        let row = |row: Row<'_>| {
            let (key, source) = (row.key, row.source.to_string());
            json!({ "key": key, "value": row.value, "source": source, "live": row.live, "help": row.help })
        };
        output::json(&config.rows().map(row).collect());
        return;
    }
    let mut rows = vec![["KEY", "VALUE", "FROM", "CHANGES", "MEANING"].map(str::to_owned).to_vec()];
    for Row { key, value, source, live, help } in config.rows() {
        let changes = if live { "by reload" } else { "by restart" };
        rows.push(vec![key.to_owned(), value.to_owned(), source.to_string(), changes.to_owned(), help.to_owned()]);
    }
    output::table(&rows);
    config.warnings.iter().for_each(output::note);
}

/// Runs `ringfort paths`.
///
/// # Errors
/// A configuration failure.
pub fn paths(arguments: &RunArguments, as_json: bool) -> Done {
    let config = arguments.load()?;
    let binary = std::env::current_exe().unwrap_or_default();
    let rows = [
        ("binary", binary),
        ("configuration", arguments.config.clone().unwrap_or_else(|| crate::config::file_beside(&config.data()))),
        ("data", config.data()),
        ("control_socket", config.control_socket()),
    ];
    if as_json {
        output::json(
            &rows
                .iter()
                .map(|(name, path)| ((*name).to_owned(), json!(path)))
                .collect::<serde_json::Map<_, _>>()
                .into(),
        );
    } else {
        output::table(
            &rows.iter().map(|(name, path)| vec![(*name).to_owned(), path.display().to_string()]).collect::<Vec<_>>(),
        );
    }
    Ok(())
}
