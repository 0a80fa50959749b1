//! The operations and documents of what is wrong and what changed.

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
use crate::proto::alarm::CODES;

/// All that [`describe`] knows.
#[cfg(test)]
pub const DESCRIBED: &[(&str, &str)] = &[("GET", "/v1/alarms")];

/// The description of a route of what is wrong.
pub fn describe(method: &str, path: &str) -> Option<Described> {
    Some(match (method, path) {
        ("GET", "/v1/alarms") => plain(vec![(200, "What is wrong, each with who tells it", Content::Json("Alarms"))]),
        _ => return None,
    })
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
            ("node", json!({ "type": ["integer", "null"], "minimum": 0 })),
            ("since", instant()),
            ("follows_from", json!({ "type": ["string", "null"] })),
            ("follow", count()),
        ],
        [],
    );
    let told = object([("alarm", reference("Alarm")), ("told_by", list_of(count()))], []);
    vec![("Alarm", alarm), ("Alarms", object([("alarms", list_of(told)), ("unanswered", unanswered())], []))]
}

/// Who did not answer, by number, with why.
fn unanswered() -> Value {
    json!({ "type": "object", "additionalProperties": { "type": "string" } })
}
