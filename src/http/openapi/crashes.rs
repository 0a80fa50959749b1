//! The description of `/v1/crashes`.

use serde_json::Value;
use serde_json::json;

use super::operations::Content;
use super::operations::Described;
use super::operations::plain;
use super::operations::query;
use super::schemas::count;
use super::schemas::flag;
use super::schemas::instant;
use super::schemas::list_of;
use super::schemas::object;
use super::schemas::reference;
use super::schemas::text;
use crate::proto::crash::Kind;

/// The routes that are described here.
#[cfg(test)]
pub const DESCRIBED: &[(&str, &str)] = &[("GET", "/v1/crashes"), ("GET", "/v1/crashes/{id}"), ("GET", "/v1/rescue")];

/// The description of one of them.
pub fn describe(method: &str, path: &str) -> Option<Described> {
    Some(match (method, path) {
        ("GET", "/v1/crashes") => list(),
        ("GET", "/v1/crashes/{id}") => plain(vec![
            (200, "The report", Content::Json("Crash")),
            (400, "The id is not one", Content::Problem),
            (404, "Nobody who answers keeps it", Content::Problem),
        ]),
        ("GET", "/v1/rescue") => plain(vec![(
            200,
            "The node runs; where it had to be rescued its rescue console answers with more, through the control socket and for \
             operators who signed in to it",
            Content::Json("Rescue"),
        )]),
        _ => return None,
    })
}

fn list() -> Described {
    let parameters = vec![
        query("kind", "Only of this kind", kind(), "panic"),
        query("node", "Only of the node with this number or name", text(), "n2"),
        query("since", "From then on: a day, an instant, or how long ago", text(), "2026-11-29"),
        query("until", "Up to then; a day is meant whole", text(), "2026-11-29"),
        query("text", "Reports that say this somewhere, whatever the case of its letters", text(), "journal"),
        query("regex", "Reports of which one line fits this expression", text(), "sync(ed)?$"),
    ];
    let responses = vec![
        (200, "Crash reports of all nodes, the newest first; who did not answer is named", Content::Json("Crashes")),
        (400, "A parameter is unknown or bad", Content::Problem),
    ];
    Described { parameters, ..plain(responses) }
}

/// Documents.
pub fn schemas() -> Vec<(&'static str, Value)> {
    vec![("CrashInShort", in_short()), ("Crashes", crashes()), ("Crash", crash()), ("Rescue", rescue())]
}

fn kind() -> Value {
    json!({ "enum": Kind::ALL.map(Kind::name) })
}

fn maybe(schema: &Value) -> Value {
    json!({ "oneOf": [schema, { "type": "null" }] })
}

fn in_short() -> Value {
    object(
        [
            ("id", text()),
            ("node", count()),
            ("name", text()),
            ("at", instant()),
            ("kind", kind()),
            ("reason", text()),
            ("fatal", flag()),
            ("fingerprint", text()),
            ("release", text()),
            ("task", maybe(&text())),
            ("repeats", count()),
            ("kept_on", list_of(count())),
        ],
        [("rescue", flag())],
    )
}

fn crashes() -> Value {
    let unheard = object([("node", count()), ("reason", text())], []);
    object(
        [("crashes", list_of(reference("CrashInShort"))), ("unheard", list_of(unheard)), ("damaged", list_of(text()))],
        [],
    )
}

fn rescue() -> Value {
    let step = object([("words", text()), ("command", text())], []);
    let check =
        object([("name", text()), ("verdict", json!({ "enum": ["ok", "warn", "fail"] })), ("detail", text())], []);
    let last = object([("id", maybe(&text())), ("kind", kind()), ("reason", text()), ("at", instant())], []);
    let crash = json!({ "type": "object", "required": ["id", "node", "at", "kind", "reason", "fingerprint"] });
    object(
        [
            ("state", json!({ "enum": ["well", "rescue", "stopped"] })),
            ("node", maybe(&count())),
            ("name", text()),
            ("release", text()),
        ],
        [
            ("build", text()),
            ("ends", count()),
            ("since", maybe(&instant())),
            ("next_try", maybe(&instant())),
            ("last", maybe(&last)),
            ("means", text()),
            ("steps", list_of(step)),
            ("checks", list_of(check)),
            ("crashes", list_of(crash)),
            ("log", list_of(text())),
            ("operators", maybe(&count())),
        ],
    )
}

fn crash() -> Value {
    let doing = object([("what", text()), ("running", count()), ("done", count())], []);
    let memory = ["resident", "peak", "limit", "machine_free"].map(|name| (name, maybe(&count())));
    let disk = object([("free", count()), ("total", count())], []);
    object(
        [
            ("version", count()),
            ("id", text()),
            ("node", count()),
            ("name", text()),
            ("at", instant()),
            ("at_ms", count()),
            ("release", text()),
            ("build", text()),
            ("kind", kind()),
            ("reason", text()),
            ("fatal", flag()),
            ("fingerprint", text()),
            ("repeats", count()),
            ("thread", maybe(&text())),
            ("task", maybe(&text())),
            ("backtrace", list_of(text())),
            ("log", list_of(text())),
            ("events", list_of(text())),
            ("members", list_of(text())),
            ("doing", list_of(doing)),
            ("threads", list_of(text())),
            ("uptime_ms", count()),
            ("memory", object(memory, [])),
            ("open_files", maybe(&count())),
            ("disk", maybe(&disk)),
            ("kernel", list_of(text())),
            ("recorder", list_of(object([("core", text()), ("at_ms", count()), ("tape", text())], []))),
            ("cut", list_of(text())),
        ],
        [("rescue", flag()), ("since_ms", count())],
    )
}
