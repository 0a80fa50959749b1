//! `ringfort rescue`: why a node does not come up and how to go on, through the control socket where a node or its rescue console
//! is there, else from the files of its directory, without any network.

use clap::Args;
use hyper::Method;
use hyper::StatusCode;
use serde_json::Value;

use crate::base::exit::Exit;
use crate::cli::client::Client;
use crate::cli::client::Target;
use crate::cli::client::full;
use crate::cli::cluster::cell;
use crate::cli::output;
use crate::cli::output::Done;
use crate::cli::output::Failure;
use crate::cli::place::RunArguments;
use crate::config::Config;
use crate::node::rescue::look::Place;

/// `ringfort rescue`.
#[derive(Args, Debug)]
pub struct RescueArguments {
    /// Where the node is
    #[command(flatten)]
    place: RunArguments,
    /// Have the node tried again now, instead of waiting for the next try
    #[arg(long)]
    again: bool,
}

/// Runs `ringfort rescue`.
///
/// # Errors
/// 66 where there is no node, 69 where none is there to be tried again, others of the way to it.
pub async fn rescue(arguments: &RescueArguments, as_json: bool) -> Done {
    let config = arguments.place.load()?;
    let seen = look(&config).await?;
    let state = cell(&seen, "/state");
    if arguments.again {
        return again(&config, &state, as_json, &seen).await;
    }
    if as_json {
        output::json(&seen);
    } else {
        show(&seen, &state);
    }
    Ok(())
}

/// Who answers at the socket says it; where nobody does, the files.
async fn look(config: &Config) -> Result<Value, Failure> {
    let client = Client::new(Target::Socket(config.control_socket()), None);
    if config.control_socket().exists()
        && let Ok(answer) = client.send(Method::GET, "/v1/rescue", &[], full("")).await
        // A node of an older release knows no such path, and runs.
        && answer.head.status != StatusCode::NOT_FOUND
    {
        return answer.json().await;
    }
    let data = config.data();
    if !data.join("identity").is_dir() {
        return Err(Failure::new(
            Exit::NoInput,
            format!("there is no node in {}; name its directory with --data", data.display()),
        ));
    }
    let seen = Place { data, reserve: config.disk_reserve() }.stopped();
    serde_json::to_value(seen).map_err(|error| Failure::new(Exit::Internal, error.to_string()))
}

async fn again(config: &Config, state: &str, as_json: bool, seen: &Value) -> Done {
    match state {
        "rescue" => {
            let client = Client::new(Target::Socket(config.control_socket()), None);
            client.ask(Method::POST, "/v1/rescue/again").await?;
            output::note("the node is tried again now; where it fails once more its rescue console is back at once");
            Ok(())
        }
        "well" => {
            if as_json {
                output::json(seen);
            } else {
                show(seen, state);
            }
            Ok(())
        }
        _ => Err(Failure::new(
            Exit::Unavailable,
            "nothing of this node runs, so there is nobody to try it again; nothing was changed; start it, as with \
             `systemctl start ringfort`",
        )),
    }
}

fn show(seen: &Value, state: &str) {
    let text = |at: &str| cell(seen, at);
    match state {
        "well" => {
            output::line(format_args!("node {} ({}) runs; nothing has to be rescued", text("/node"), text("/name")));
            return;
        }
        "rescue" => output::line(format_args!(
            "RESCUE: node {} ({}) failed at {} starts in a row since {}; nothing is served to devices; it is tried again at {}",
            text("/node"),
            text("/name"),
            text("/ends"),
            text("/since"),
            text("/next_try")
        )),
        _ => output::line(format_args!(
            "nothing of node {} ({}) answers: it is stopped, or between two starts; this is from its files",
            text("/node"),
            text("/name")
        )),
    }
    if seen.pointer("/last").is_some_and(Value::is_object) {
        output::line(format_args!(
            "last end: {} at {}: {}",
            text("/last/kind"),
            text("/last/at"),
            text("/last/reason")
        ));
    }
    output::line(text("/means"));
    let rows = |at: &str| seen.pointer(at).and_then(Value::as_array).cloned().unwrap_or_default();
    section("How to go on", rows("/steps").iter().map(|step| join(&cell(step, "/words"), &cell(step, "/command"))));
    let check =
        |check: &Value| format!("{:<5} {}: {}", cell(check, "/verdict"), cell(check, "/name"), cell(check, "/detail"));
    section("Disk", rows("/checks").iter().map(check));
    let crash = |crash: &Value| {
        format!("{} {} {}: {}", cell(crash, "/at"), cell(crash, "/kind"), cell(crash, "/id"), cell(crash, "/reason"))
    };
    section("Crash reports, the newest first", rows("/crashes").iter().map(crash));
    section("What it said last", rows("/log").iter().filter_map(|line| line.as_str().map(str::to_owned)));
}

fn join(words: &str, command: &str) -> String {
    if command.is_empty() { words.to_owned() } else { format!("{words}\n    {command}") }
}

fn section(name: &str, lines: impl Iterator<Item = String>) {
    let lines: Vec<String> = lines.collect();
    if !lines.is_empty() {
        output::line(format_args!("\n{name}"));
        lines.iter().for_each(|line| output::line(format_args!("  {line}")));
    }
}
