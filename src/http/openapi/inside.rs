//! The description of how a node is inside.

use serde_json::Value;
use serde_json::json;

use super::operations::Content;
use super::operations::Described;
use super::operations::plain;
use super::schemas::count;
use super::schemas::instant;
use super::schemas::list_of;
use super::schemas::object;
use super::schemas::reference;
use super::schemas::text;
use crate::proto::figures::FIGURES;

/// All that [`describe`] knows.
#[cfg(test)]
pub const DESCRIBED: &[(&str, &str)] = &[("GET", "/v1/members/{id}/inside")];

/// The description of a route.
pub fn describe(method: &str, path: &str) -> Option<Described> {
    (method == "GET" && path == "/v1/members/{id}/inside").then(|| {
        plain(vec![
            (
                200,
                "How it is within; of a node that is gone, its last minutes as others keep them",
                Content::Json("InsideOrLast"),
            ),
            (400, "The name is not one", Content::Problem),
            (404, "There is no such node", Content::Problem),
            (503, "It does not answer, and nobody has anything of it", Content::Problem),
        ])
    })
}

/// Schemas of these routes.
pub fn schemas() -> Vec<(&'static str, Value)> {
    let whole = [
        ("node", count()),
        ("name", text()),
        ("release", text()),
        ("at", instant()),
        ("process", process()),
        ("window_s", count()),
        (
            "threads",
            list_of(object([("name", text()), ("count", count()), ("state", text()), ("cpu_ms", count())], [])),
        ),
        ("tasks", list_of(task())),
        ("askers", list_of(asker())),
        ("disk", disk()),
        ("config", list_of(config())),
        ("boxes", object([("kept_by", list_of(reference("BoxKept"))), ("keeps", list_of(reference("BoxKept")))], [])),
    ];
    let either = json!({ "oneOf": [reference("Inside"), reference("LastMinutes")] });
    vec![("Inside", object(whole, [])), ("LastMinutes", last()), ("BoxKept", kept()), ("InsideOrLast", either)]
}

fn kept() -> Value {
    object(
        [("node", count()), ("name", text()), ("bytes", count()), ("bytes_max", count()), ("newest", maybe("string"))],
        [],
    )
}

fn last() -> Value {
    let look = object([("at", instant())], FIGURES.map(|(_, name)| (name, json!({ "type": "number" }))));
    object(
        [
            ("node", count()),
            ("name", text()),
            ("why", text()),
            ("heard", maybe("string")),
            ("kept_by", list_of(reference("BoxKept"))),
            ("figures", list_of(look)),
            ("log", list_of(reference("LogLine"))),
            ("timeline", list_of(reference("TimelineEntry"))),
            ("crashes", list_of(reference("CrashInShort"))),
        ],
        [],
    )
}

fn maybe(kind: &str) -> Value {
    json!({ "type": [kind, "null"] })
}

fn process() -> Value {
    object(
        [
            ("pid", count()),
            ("supervisor_pid", maybe("integer")),
            ("uptime_s", count()),
            ("memory", maybe("integer")),
            ("memory_peak", maybe("integer")),
            ("memory_limit", maybe("integer")),
            ("machine_free", maybe("integer")),
            ("open_files", count()),
            ("open_files_max", count()),
            ("sockets", count()),
        ],
        [],
    )
}

fn task() -> Value {
    object(
        [
            ("name", text()),
            ("kind", json!({ "enum": ["kept", "vital", "once", "blocking"] })),
            ("running", count()),
            ("begun", count()),
            ("failed", count()),
            ("begun_again", count()),
            ("since", maybe("string")),
            ("failed_at", maybe("string")),
            ("failure", maybe("string")),
            ("busy_ms", count()),
            ("busy_percent", json!({ "type": "number", "minimum": 0 })),
            ("longest_ms", json!({ "type": "number", "minimum": 0 })),
        ],
        [],
    )
}

fn asker() -> Value {
    object([("from", text()), ("name", text()), ("requests", count()), ("percent", count())], [])
}

fn disk() -> Value {
    let part = json!({ "type": "array", "minItems": 2, "maxItems": 2, "items": { "type": ["string", "integer"] } });
    object([("path", text()), ("free", maybe("integer")), ("total", maybe("integer")), ("parts", list_of(part))], [])
}

fn config() -> Value {
    object([("key", text()), ("value", text()), ("source", text()), ("pending", maybe("string"))], [])
}
