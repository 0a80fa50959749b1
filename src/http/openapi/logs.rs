//! The log's operations and documents.

use serde_json::Value;
use serde_json::json;

use super::operations::Content;
use super::operations::Described;
use super::operations::body;
use super::operations::header;
use super::operations::query;
use super::operations::text;
use super::schemas::count;
use super::schemas::duration;
use super::schemas::instant;
use super::schemas::list_of;
use super::schemas::object;
use super::schemas::reference;
use crate::base::limits::BOOK_PAGE_LINES_MAX;
use crate::base::limits::LOG_PAGE_LINES;
use crate::base::limits::LOG_SEARCH_BYTES_MAX;
use crate::proto::logline::Level;

/// All that [`describe`] knows.
#[cfg(test)]
pub const DESCRIBED: &[(&str, &str)] = &[("GET", "/v1/logs"), ("POST", "/v1/log-level")];

/// The description of a route of the log.
pub fn describe(method: &str, path: &str) -> Option<Described> {
    Some(match (method, path) {
        ("GET", "/v1/logs") => logs(),
        ("POST", "/v1/log-level") => {
            let example = json!({ "target": "ringfort::store", "level": "debug", "for": "10m" });
            let responses = vec![
                (200, "Changed; nodes on which it is not are named", Content::Json("LevelChanged")),
                (400, "Not JSON, or the node is not one", Content::Problem),
                (408, "The body came too slowly", Content::Problem),
                (413, "The body is too long", Content::Problem),
                (422, "The target, the level or the time is out of range", Content::Problem),
            ];
            let body = body(true, &[("application/json", reference("LevelWish"), example)]);
            Described { parameters: Vec::new(), body, responses }
        }
        _ => return None,
    })
}

fn logs() -> Described {
    let searched = || text(LOG_SEARCH_BYTES_MAX);
    let levels = Level::ALL.map(Level::name);
    let limit = json!({ "type": "integer", "minimum": 1, "maximum": BOOK_PAGE_LINES_MAX });
    let cursor = "019ac2d56b000001.3.17";
    let parameters = vec![
        query("node", "Of this node, by number or name [default: all]", text(64), "2"),
        query("level", "This level and more important ones", json!({ "enum": levels }), "warn"),
        query("target", "This part of the program and all under it", searched(), "ringfort::store"),
        query("text", "Lines with this text in the message, a field or a span", searched(), "lease"),
        query(
            "regex",
            "Lines in which this expression fits the message, a field or a span",
            searched(),
            "no (lease|leader)",
        ),
        query("since", "From then on: an instant, or how long ago", text(32), "10m"),
        query("until", "Up to then", text(32), "2026-11-20T15:36:30Z"),
        query("after", "Lines behind this one, the oldest first: `next` or `newest` of a page", text(64), cursor),
        query("before", "Lines before this one, the newest of them: `next` of a page", text(64), cursor),
        query("limit", "Lines at most", limit, LOG_PAGE_LINES),
        query(
            "follow",
            "true: go on with new lines as server-sent events",
            json!({ "enum": ["true", "false"] }),
            "false",
        ),
        header("Last-Event-ID", "With follow: only lines behind this one", text(64), cursor),
    ];
    let responses = vec![
        (
            200,
            "Lines of all nodes, the earliest first; nodes that did not answer are named, with who has their last lines. \
             Followed: each line as an event `line` with an id, and `silent` when other nodes do not answer",
            Content::Json("LogPage"),
        ),
        (400, "A parameter is not one", Content::Problem),
        (503, "As many streams as may be are open, or the node is stopping", Content::Problem),
    ];
    Described { parameters, body: None, responses }
}

fn line() -> Value {
    let string = || json!({ "type": "string" });
    let words = json!({ "type": "object", "additionalProperties": { "type": "string" } });
    object(
        [
            ("at", instant()),
            ("name", string()),
            ("stamp", string()),
            ("node", count()),
            ("n", count()),
            ("level", json!({ "enum": Level::ALL.map(Level::name) })),
            ("target", string()),
            ("message", string()),
        ],
        [("fields", words), ("spans", list_of(string()))],
    )
}

/// The documents.
pub fn schemas() -> Vec<(&'static str, Value)> {
    let string = || json!({ "type": "string" });
    let or_null = || json!({ "type": ["string", "null"] });
    let silent = object(
        [
            ("node", count()),
            ("name", string()),
            ("reason", string()),
            ("from_box_on", json!({ "type": ["integer", "null"] })),
            ("from_box_on_name", or_null()),
            ("box_until", or_null()),
        ],
        [],
    );
    let page = object(
        [
            ("lines", list_of(reference("LogLine"))),
            ("next", or_null()),
            ("newest", or_null()),
            ("silent", list_of(silent)),
            ("damaged", count()),
        ],
        [],
    );
    let wish = object(
        [("target", string()), ("level", json!({ "enum": Level::ALL.map(Level::name) })), ("for", duration())],
        [("node", json!({ "type": ["integer", "string", "null"] }))],
    );
    let refused = object([("node", count()), ("reason", string())], []);
    let changed =
        object([("target", string()), ("level", string()), ("for_ms", count()), ("refused", list_of(refused))], []);
    vec![("LogLine", line()), ("LogPage", page), ("LevelWish", wish), ("LevelChanged", changed)]
}
