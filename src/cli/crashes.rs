//! `ringfort crashes`: what failed in the cluster, and each report.

use clap::Args;
use clap::Subcommand;
use hyper::Method;
use serde_json::Value;

use crate::base::exit::Exit;
use crate::cli::client::Client;
use crate::cli::client::escape;
use crate::cli::cluster::cell;
use crate::cli::cluster::rows;
use crate::cli::output;
use crate::cli::output::Done;
use crate::cli::output::Failure;

/// `ringfort crashes …`.
#[derive(Subcommand, Debug)]
pub enum CrashesCommand {
    /// Crash reports that the cluster keeps, the newest first
    List(ListArguments),
    /// One report, to read
    Show {
        /// Of the list
        id: String,
    },
    /// One report as JSON, to send to somebody
    Export {
        /// Of the list
        id: String,
    },
}

/// `ringfort crashes list`.
#[derive(Args, Debug, Default)]
pub struct ListArguments {
    /// Only of this kind: panic, signal, oom, watchdog, exit or power
    #[arg(long)]
    kind: Option<String>,
    /// Only of this node, by number or name
    #[arg(long)]
    node: Option<String>,
    /// From then on: a day such as 2026-11-29, an instant, or how long ago such as 10m
    #[arg(long)]
    since: Option<String>,
    /// Up to then, written as for --since; a day is meant whole
    #[arg(long)]
    until: Option<String>,
    /// Reports of which one line fits this expression: kind, reason, backtrace, log
    #[arg(long, value_name = "RE")]
    grep: Option<String>,
    /// Reports that say this somewhere, whatever the case of its letters
    #[arg(long)]
    text: Option<String>,
}

/// Runs `ringfort crashes`.
///
/// # Errors
/// Of the node or the way to it.
pub async fn crashes(client: &Client, command: Option<&CrashesCommand>, as_json: bool) -> Done {
    match command {
        None => list(client, &ListArguments::default(), as_json).await,
        Some(CrashesCommand::List(arguments)) => list(client, arguments, as_json).await,
        Some(CrashesCommand::Show { id }) => {
            let report = one(client, id).await?;
            if as_json {
                output::json(&report)
            } else {
                show(&report)
            }
            Ok(())
        }
        Some(CrashesCommand::Export { id }) => {
            output::json(&one(client, id).await?);
            Ok(())
        }
    }
}

async fn list(client: &Client, arguments: &ListArguments, as_json: bool) -> Done {
    let named = [
        ("kind", &arguments.kind),
        ("node", &arguments.node),
        ("since", &arguments.since),
        ("until", &arguments.until),
        ("regex", &arguments.grep),
        ("text", &arguments.text),
    ];
    let given = named.iter().filter_map(|(name, value)| Some(format!("{name}={}", escape(value.as_ref()?.as_bytes()))));
    let query = given.collect::<Vec<_>>().join("&");
    let path = if query.is_empty() { "/v1/crashes".to_owned() } else { format!("/v1/crashes?{query}") };
    let crashes = client.ask(Method::GET, &path).await?;
    if as_json {
        output::json(&crashes);
        return Ok(());
    }
    let columns = [
        ("WHEN", "/at"),
        ("NODE", "/name"),
        ("KIND", "/kind"),
        ("CAUSE", "/fingerprint"),
        ("ID", "/id"),
        ("REASON", "/reason"),
    ];
    output::table(&rows(&crashes, "/crashes", &columns));
    for unheard in crashes.get("unheard").and_then(Value::as_array).into_iter().flatten() {
        let (node, reason) = (cell(unheard, "/node"), cell(unheard, "/reason"));
        output::note(format_args!("node {node} did not tell all ({reason}); what only it keeps is missing"));
    }
    for damaged in crashes.get("damaged").and_then(Value::as_array).into_iter().flatten() {
        output::note(format_args!("{damaged} on the node that was asked is damaged and not shown"));
    }
    Ok(())
}

async fn one(client: &Client, id: &str) -> Result<Value, Failure> {
    if id.is_empty() || !id.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-') {
        return Err(Failure::new(Exit::Usage, "an id is as `ringfort crashes list` shows it; nothing was asked"));
    }
    client.ask(Method::GET, &format!("/v1/crashes/{id}")).await
}

fn show(report: &Value) {
    let text = |at: &str| cell(report, at);
    output::line(format_args!("{} on node {} ({}): {}", text("/kind"), text("/node"), text("/name"), text("/reason")));
    output::line(format_args!(
        "{}, release {} ({}), cause {}",
        text("/at"),
        text("/release"),
        text("/build"),
        text("/fingerprint")
    ));
    output::line(format_args!("thread {}, task {}, had run {} ms", text("/thread"), text("/task"), text("/uptime_ms")));
    let parts = [
        ("Backtrace, innermost first", "/backtrace"),
        ("Threads", "/threads"),
        ("Kernel", "/kernel"),
        ("Members as it saw them", "/members"),
        ("Last events", "/events"),
        ("Last lines of its log", "/log"),
        ("Cut", "/cut"),
    ];
    for (name, at) in parts {
        let lines: Vec<&Value> = report.pointer(at).and_then(Value::as_array).into_iter().flatten().collect();
        if !lines.is_empty() {
            output::line(format_args!("\n{name}"));
            lines.iter().filter_map(|line| line.as_str()).for_each(|line| output::line(format_args!("  {line}")));
        }
    }
}
