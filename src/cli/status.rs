//! `status` and `version`.

use hyper::Method;
use serde_json::Value;
use serde_json::json;

use crate::cli::client::Client;
use crate::cli::output;
use crate::cli::output::Done;
use crate::node::status::COMMIT;
use crate::node::status::RELEASE;

/// Runs `ringfort status`.
///
/// # Errors
/// Of the node or the way to it.
pub async fn status(client: &Client, as_json: bool) -> Done {
    let status = client.ask(Method::GET, "/v1/status").await?;
    if as_json {
        output::json(&status);
        return Ok(());
    }
    let text = |path: &str| match status.pointer(path) {
        Some(Value::String(text)) => text.clone(),
        Some(other) => other.to_string(),
        None => String::new(),
    };
    let mib = |path: &str| status.pointer(path).and_then(Value::as_u64).unwrap_or(0) >> 20;
    let row = |name: &str, value: String| vec![name.to_owned(), value];
    output::table(&[
        row("node", format!("{} ({})", text("/node"), text("/name"))),
        row("cluster", text("/cluster")),
        row("release", format!("{} ({})", text("/release"), text("/commit"))),
        row("serving", text("/serving")),
        row("up", format!("{} s", text("/uptime_s"))),
        row("survives", format!("the loss of {}: {}", machines(&text("/survives/machines")), text("/survives/reason"))),
        row("buckets", text("/buckets")),
        row(
            "disk",
            format!(
                "{} of {} MiB free, {} kept in reserve",
                mib("/disk/free"),
                mib("/disk/total"),
                mib("/disk/reserve")
            ),
        ),
        row(
            "journal",
            format!("{} records in {} syncs since the start", text("/journal/records"), text("/journal/groups")),
        ),
    ]);
    let all = client.ask(Method::GET, "/v1/alarms").await.unwrap_or_default();
    for alarm in list(&status, "/alarms").filter(|alarm| !is_in_full(alarm, &all)) {
        let part = |name: &str| alarm.get(name).and_then(Value::as_str).unwrap_or_default();
        let follows = if part("follows_from").is_empty() { "" } else { "  follows from it: " };
        output::line(format_args!("{follows}{}: {}", part("severity").to_uppercase(), part("text")));
    }
    told_by_others(&all, status.pointer("/node"));
    Ok(())
}

fn machines(count: &str) -> String {
    match count {
        "0" => "no machine".to_owned(),
        "1" => "any one machine".to_owned(),
        more => format!("any {more} machines"),
    }
}

fn list<'v>(value: &'v Value, at: &str) -> impl Iterator<Item = &'v Value> {
    value.pointer(at).and_then(Value::as_array).into_iter().flatten()
}

/// Whether the node that was asked only heard of it, and another one says it in full.
fn is_in_full(alarm: &Value, all: &Value) -> bool {
    let is_same = |told: &Value| {
        ["code", "subject"].iter().all(|part| told.pointer(&format!("/alarm/{part}")) == alarm.get(part))
    };
    alarm.get("said_by").is_some_and(|node| !node.is_null()) && list(all, "/alarms").any(is_same)
}

/// What is wrong as others see it and this node does not. Where they cannot be asked, what this one says is all there is.
fn told_by_others(all: &Value, asked: Option<&Value>) {
    for told in list(all, "/alarms") {
        let by: Vec<&Value> = list(told, "/told_by").collect();
        if by.iter().any(|node| Some(*node) == asked) {
            continue;
        }
        let part = |name: &str| told.pointer(name).and_then(Value::as_str).unwrap_or_default();
        let by: Vec<String> = by.iter().map(|node| format!("node {node}")).collect();
        let severity = part("/alarm/severity").to_uppercase();
        output::line(format_args!("{severity}, as {} sees it: {}", by.join(" and "), part("/alarm/text")));
    }
    for (node, why) in all.pointer("/unanswered").and_then(Value::as_object).into_iter().flatten() {
        let why = why.as_str().unwrap_or_default();
        output::line(format_args!("Node {node} does not say what is wrong there: {why}"));
    }
}

/// Runs `ringfort version`.
pub fn version(as_json: bool) {
    if as_json {
        output::json(&json!({ "release": RELEASE, "commit": COMMIT }));
    } else {
        output::line(format_args!("ringfort {RELEASE} ({COMMIT})"));
    }
}
