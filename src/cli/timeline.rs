//! `ringfort timeline`: what changed, each with what it follows from, as all nodes saw it.

use std::collections::BTreeMap;

use clap::Args;
use hyper::Method;
use serde_json::Value;

use crate::cli::client::Client;
use crate::cli::client::escape;
use crate::cli::cluster::cell;
use crate::cli::output;
use crate::cli::output::Done;

/// `ringfort timeline`.
#[derive(Args, Debug)]
pub struct TimelineArguments {
    /// From this time on (RFC 3339), or from so long ago (2h)
    #[arg(long)]
    since: Option<String>,
    /// Up to this time, or so long ago
    #[arg(long)]
    until: Option<String>,
    /// Only what is about this node, by its number, or what it alone tells
    #[arg(long)]
    node: Option<u64>,
    /// Only of this kind, such as alarm_raised
    #[arg(long)]
    kind: Option<String>,
    /// Entries at most: the newest ones
    #[arg(long)]
    limit: Option<u32>,
}

/// Runs `ringfort timeline`.
///
/// # Errors
/// Of the node or the way to it.
pub async fn timeline(client: &Client, arguments: &TimelineArguments, as_json: bool) -> Done {
    let given = [
        ("since", arguments.since.clone()),
        ("until", arguments.until.clone()),
        ("node", arguments.node.map(|node| node.to_string())),
        ("kind", arguments.kind.clone()),
        ("limit", arguments.limit.map(|limit| limit.to_string())),
    ];
    let given = given.into_iter().filter_map(|(name, value)| Some(format!("{name}={}", escape(value?.as_bytes()))));
    let query = given.collect::<Vec<_>>().join("&");
    let told = client.ask(Method::GET, &format!("/v1/timeline?{query}")).await?;
    if as_json {
        output::json(&told);
        return Ok(());
    }
    let empty = Vec::new();
    let entries = told.pointer("/entries").and_then(Value::as_array).unwrap_or(&empty);
    if told.pointer("/more").and_then(Value::as_bool) == Some(true) {
        output::note("older entries that fit are not shown");
    }
    for entry in entries {
        line(entry);
    }
    let missing: BTreeMap<String, Value> = told
        .pointer("/unanswered")
        .and_then(|missing| serde_json::from_value(missing.clone()).ok())
        .unwrap_or_default();
    for (node, why) in missing {
        output::note(format!("node {node} is not heard: {}", why.as_str().unwrap_or_default()));
    }
    Ok(())
}

fn line(entry: &Value) {
    let text = |at: &str| cell(entry, at);
    let kind = if entry.get("code").is_some_and(Value::is_string) { "/code" } else { "/kind" };
    let raised = match entry.get("kind").and_then(Value::as_str) {
        Some("alarm_raised") => "! ",
        Some("alarm_cleared") => "ok ",
        Some(_) | None => "",
    };
    let tellers = entry.get("told_by").and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default();
    let tellers = tellers.iter().map(ToString::to_string).collect::<Vec<_>>().join(",");
    let told = format!("[{tellers}]");
    output::line(format_args!(
        "{}  {told:<8} {:<18}  {}",
        text("/at"),
        format!("{raised}{}", text(kind)),
        text("/text")
    ));
    if entry.get("cause_text").is_some_and(Value::is_string) {
        output::line(format_args!("{:>36}because {}", "", text("/cause_text")));
    }
}
