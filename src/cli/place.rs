//! Where a node is and how it is configured: the arguments of `run`, and `config`, `paths`.

use std::path::PathBuf;

use clap::Args;
use clap::Subcommand;
use serde_json::json;

use crate::base::exit::Exit;
use crate::cli::output;
use crate::cli::output::Done;
use crate::cli::output::Failure;
use crate::config::Config;
use crate::config::Source;

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
}

impl RunArguments {
    /// The configuration with these flags on top.
    ///
    /// # Errors
    /// A configuration failure.
    pub fn load(&self) -> Result<Config, Failure> {
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
        Config::load(self.config.as_deref(), std::env::vars(), &flags)
            .map_err(|error| Failure::new(Exit::Config, format!("{error}; nothing was started")))
    }
}

/// `ringfort config`.
#[derive(Subcommand, Debug)]
pub enum ConfigCommand {
    /// Print each value with where it came from
    Show(RunArguments),
    /// Check a configuration without using it
    Check(RunArguments),
}

/// Runs `ringfort config`.
///
/// # Errors
/// A configuration failure.
pub fn config(command: &ConfigCommand, as_json: bool) -> Done {
    match command {
        ConfigCommand::Show(arguments) => {
            show(&arguments.load()?, as_json);
            Ok(())
        }
        ConfigCommand::Check(arguments) => {
            let config = arguments.load()?;
            config.warnings.iter().for_each(output::note);
            if config.warnings.is_empty() {
                output::note("the configuration is good");
                return Ok(());
            }
            Err(Failure::new(Exit::CheckWarned, ""))
        }
    }
}

fn show(config: &Config, as_json: bool) {
    if as_json {
        let row = |(name, value, source, help): (&str, &str, &Source, &str)| json!({ "key": name, "value": value, "source": source.to_string(), "help": help });
        output::json(&config.rows().map(row).collect());
        return;
    }
    let mut rows = vec![["KEY", "VALUE", "FROM", "MEANING"].map(str::to_owned).to_vec()];
    for (name, value, source, help) in config.rows() {
        rows.push(vec![name.to_owned(), value.to_owned(), source.to_string(), help.to_owned()]);
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
        ("configuration", arguments.config.clone().unwrap_or_else(|| crate::config::DEFAULT_FILE.into())),
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
