//! The operations and documents of what is wrong and what changed.

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
use crate::base::limits::TIMELINE_PAGE_MAX;
use crate::proto::alarm::code::CODES;
use crate::proto::event::KINDS;

/// All that [`describe`] knows.
#[cfg(test)]
pub const DESCRIBED: &[(&str, &str)] = &[("GET", "/v1/alarms"), ("GET", "/v1/timeline")];

/// The description of a route of what is wrong or changed.
pub fn describe(method: &str, path: &str) -> Option<Described> {
    Some(match (method, path) {
        ("GET", "/v1/alarms") => plain(vec![(200, "What is wrong, each with who tells it", Content::Json("Alarms"))]),
        ("GET", "/v1/timeline") => timeline(),
        _ => return None,
    })
}

fn timeline() -> Described {
    let kinds: Vec<&str> = KINDS.iter().map(|kind| kind.name()).collect();
    let parameters = vec![
        query("since", "From this time on, or from so long ago", text(), "2h"),
        query("until", "Up to this time, or so long ago", text(), "1h"),
        query("node", "Only what is about this node, or what it alone tells", count(), 1),
        query("kind", "Only of this kind", json!({ "enum": kinds }), "alarm_raised"),
        query(
            "limit",
            "Entries at most, the newest ones",
            json!({ "type": "integer", "minimum": 1, "maximum": TIMELINE_PAGE_MAX }),
            100,
        ),
    ];
    let responses = vec![
        (200, "What changed, oldest first, each with what it follows from", Content::Json("Timeline")),
        (400, "A parameter is unknown or bad", Content::Problem),
    ];
    Described { parameters, ..plain(responses) }
}

/// Schemas by name.
pub fn schemas() -> Vec<(&'static str, Value)> {
    let codes: Vec<&str> = CODES.iter().map(|code| code.name()).collect();
    let alarm = object(
        [
            ("code", json!({ "enum": codes })),
            ("severity", json!({ "enum": ["warning", "critical"] })),
            ("text", text()),
            ("cause", text()),
            ("to_do", text()),
            ("subject", text()),
            ("node", maybe("integer")),
            ("said_by", maybe("integer")),
            ("since", instant()),
            ("follows_from", maybe("string")),
            ("follow", count()),
        ],
        [],
    );
    let told = object([("alarm", reference("Alarm")), ("told_by", list_of(count()))], []);
    let entry = object(
        [
            ("id", text()),
            ("at", instant()),
            ("kind", text()),
            ("node", maybe("integer")),
            ("code", maybe("string")),
            ("by", maybe("string")),
            ("text", text()),
            ("told_by", list_of(count())),
            ("cause", maybe("string")),
            ("cause_text", maybe("string")),
            ("ends", maybe("string")),
        ],
        [],
    );
    let entries = list_of(reference("TimelineEntry"));
    vec![
        ("Alarm", alarm),
        ("Alarms", object([("alarms", list_of(told)), ("unanswered", unanswered())], [])),
        ("TimelineEntry", entry),
        ("Timeline", object([("entries", entries), ("more", flag()), ("unanswered", unanswered())], [])),
    ]
}

fn maybe(kind: &str) -> Value {
    json!({ "type": [kind, "null"] })
}

/// Who did not answer, by number, with why.
fn unanswered() -> Value {
    json!({ "type": "object", "additionalProperties": { "type": "string" } })
}
