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
use super::schemas::text;

/// All that [`describe`] knows.
#[cfg(test)]
pub const DESCRIBED: &[(&str, &str)] = &[("GET", "/v1/members/{id}/inside")];

/// The description of a route.
pub fn describe(method: &str, path: &str) -> Option<Described> {
    (method == "GET" && path == "/v1/members/{id}/inside").then(|| {
        plain(vec![
            (200, "As it looked within the last second and a half", Content::Json("Inside")),
            (400, "The name is not one", Content::Problem),
            (404, "There is no such node", Content::Problem),
            (503, "It does not answer", Content::Problem),
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
        ("disk", disk()),
        ("config", list_of(config())),
    ];
    vec![("Inside", object(whole, []))]
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

fn disk() -> Value {
    let part = json!({ "type": "array", "minItems": 2, "maxItems": 2, "items": { "type": ["string", "integer"] } });
    object([("path", text()), ("free", maybe("integer")), ("total", maybe("integer")), ("parts", list_of(part))], [])
}

fn config() -> Value {
    object([("key", text()), ("value", text()), ("source", text()), ("pending", maybe("string"))], [])
}
