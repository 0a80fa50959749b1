//! Each operation in full: parameters, request body, and every answer with its content. What holds for all routes of a
//! need is added by the parent.

use serde_json::Value;
use serde_json::json;

use super::cluster;
use super::crashes;
use super::inside;
use super::logs;
use super::schemas;
use super::timeline;
use crate::base::limits::AUDIT_PAGE_MAX;
use crate::base::limits::IDEMPOTENCY_KEY_BYTES_MAX;
use crate::base::limits::LIST_PAGE_MAX;
use crate::base::limits::NAME_BYTES_MAX;
use crate::base::limits::VALUE_BYTES_MAX;
use crate::http::routes::KV_KEY;

/// What an answer carries.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Content {
    /// No body.
    Nothing,
    /// A refusal.
    Problem,
    /// A document of this schema.
    Json(&'static str),
    /// Plain text.
    Text,
    /// A certificate.
    Pem,
    /// Server-sent events.
    Events,
    /// NDJSON or CSV.
    Rows,
    /// A value under the type that it was stored with.
    Stored,
}

/// Status, meaning, content.
pub type Response = (u16, &'static str, Content);

/// An operation, without what its need and path say already.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Described {
    /// Of query and header.
    pub parameters: Vec<Value>,
    /// What is sent.
    pub body: Option<Value>,
    /// What is answered.
    pub responses: Vec<Response>,
}

/// All that [`describe`] knows.
#[cfg(test)]
pub const DESCRIBED: &[(&str, &str)] = &[
    ("GET", "/healthz"),
    ("GET", "/readyz"),
    ("GET", "/metrics"),
    ("GET", "/v1/openapi.json"),
    ("GET", KV_KEY),
    ("PUT", KV_KEY),
    ("DELETE", KV_KEY),
    ("GET", "/v1/kv/{bucket}"),
    ("POST", "/v1/batch"),
    ("GET", "/v1/nodes"),
    ("GET", "/v1/buckets"),
    ("GET", "/v1/buckets/{name}"),
    ("PUT", "/v1/buckets/{name}"),
    ("DELETE", "/v1/buckets/{name}"),
    ("POST", "/v1/buckets/{name}/import"),
    ("GET", "/v1/buckets/{name}/export"),
    ("GET", "/v1/status"),
    ("GET", "/v1/events"),
    ("GET", "/v1/doctor"),
    ("GET", "/v1/tokens"),
    ("POST", "/v1/tokens"),
    ("DELETE", "/v1/tokens/{id}"),
    ("GET", "/v1/users"),
    ("PUT", "/v1/users/{name}"),
    ("DELETE", "/v1/users/{name}"),
    ("POST", "/v1/users/me/password"),
    ("POST", "/v1/sign-in-links"),
    ("GET", "/v1/claim-code"),
    ("GET", "/v1/audit"),
    ("GET", "/v1/config"),
    ("POST", "/v1/config/reload"),
    ("GET", "/v1/ca"),
];

/// The description of a route; `None` for one that nobody has described.
pub fn describe(method: &str, path: &str) -> Option<Described> {
    Some(match (method, path) {
        ("GET", "/healthz") => plain(vec![(200, "The process lives", Content::Text)]),
        ("GET", "/readyz") => plain(vec![
            (200, "The node takes requests", Content::Text),
            (503, "The node drains; use another", Content::Problem),
        ]),
        ("GET", "/metrics") => plain(vec![(200, "Counters in Prometheus' text format", Content::Text)]),
        ("GET", "/v1/openapi.json") => plain(vec![(200, "This document", Content::Json("Document"))]),
        ("GET", KV_KEY) => read(),
        ("PUT", KV_KEY) => write(),
        ("DELETE", KV_KEY) => delete(),
        ("GET", "/v1/kv/{bucket}") => list(),
        ("POST", "/v1/batch") => batch(),
        ("GET", "/v1/nodes") => nodes(),
        ("GET", "/v1/buckets") => plain(vec![(200, "All buckets by name", Content::Json("Buckets"))]),
        ("GET", "/v1/buckets/{name}") => plain(vec![
            (200, "The bucket's definition", Content::Json("Bucket")),
            (400, "The name is not one", Content::Problem),
            (404, "There is no such bucket", Content::Problem),
        ]),
        ("PUT", "/v1/buckets/{name}") => made("BucketWish", "Bucket", json!({ "kind": "lww", "n": 3, "ttl": "30d" })),
        ("DELETE", "/v1/buckets/{name}" | "/v1/users/{name}" | "/v1/tokens/{id}") => removed(),
        ("POST", "/v1/buckets/{name}/import") => import(),
        ("GET", "/v1/buckets/{name}/export") => export(),
        ("GET", "/v1/status") => plain(vec![(200, "The node in one view", Content::Json("Status"))]),
        ("GET", "/v1/events") => events(),
        ("GET", "/v1/doctor") => plain(vec![
            (200, "What was found", Content::Json("Examination")),
            (500, "The examination itself failed", Content::Problem),
        ]),
        ("GET", "/v1/tokens") => plain(vec![(200, "All tokens, oldest first", Content::Json("Tokens"))]),
        ("POST", "/v1/tokens") => {
            let mut token = made("TokenWish", "TokenMade", json!({ "name": "line-3", "scopes": ["device:write"] }));
            token.responses.retain(|(status, ..)| *status != 200);
            token
        }
        ("GET", "/v1/users") => plain(vec![(200, "All users by name", Content::Json("Users"))]),
        ("PUT", "/v1/users/{name}") => {
            made("UserWish", "UserMade", json!({ "password": "correct horse battery", "scopes": ["admin"] }))
        }
        ("POST", "/v1/users/me/password") => own_password(),
        ("POST", "/v1/sign-in-links") => {
            let mut link = made("LinkWish", "LinkMade", json!({ "user": "ann", "ttl": "10m" }));
            link.responses.retain(|(status, ..)| *status != 200);
            link
        }
        ("GET", "/v1/claim-code") => plain(vec![(200, "The code; null once there is a user", Content::Json("Claim"))]),
        ("GET", "/v1/audit") => audit(),
        ("GET", "/v1/config") => plain(vec![(200, "Every key, and what HTTPS shows", Content::Json("Configuration"))]),
        ("POST", "/v1/config/reload") => plain(vec![
            (200, "What changed", Content::Json("Reloaded")),
            (422, "The configuration or certificate is wrong; everything stays as it was", Content::Problem),
        ]),
        ("GET", "/v1/ca") => plain(vec![(200, "The certificate in PEM", Content::Pem)]),
        _ => {
            return cluster::describe(method, path)
                .or_else(|| crashes::describe(method, path))
                .or_else(|| inside::describe(method, path))
                .or_else(|| logs::describe(method, path))
                .or_else(|| timeline::describe(method, path));
        }
    })
}

pub(super) fn plain(responses: Vec<Response>) -> Described {
    Described { responses, ..Described::default() }
}

fn parameter(place: &str, name: &str, text: &str, schema: Value, example: Value) -> Value {
    json!({ "name": name, "in": place, "required": false, "description": text, "schema": schema, "example": example })
}

pub(super) fn query(name: &str, text: &str, schema: Value, example: impl Into<Value>) -> Value {
    parameter("query", name, text, schema, example.into())
}

pub(super) fn header(name: &str, text: &str, schema: Value, example: &str) -> Value {
    parameter("header", name, text, schema, example.into())
}

pub(super) fn text(max: usize) -> Value {
    json!({ "type": "string", "maxLength": max })
}

pub(super) fn body(required: bool, contents: &[(&str, Value, Value)]) -> Option<Value> {
    let content = |(media, schema, example): &(&str, Value, Value)| {
        ((*media).to_owned(), json!({ "schema": schema, "example": example }))
    };
    let content: serde_json::Map<_, _> = contents.iter().map(content).collect();
    Some(json!({ "required": required, "content": content }))
}

fn nodes() -> Described {
    let parameters = vec![
        query("zone", "Where the device is [default: where the node is that is asked]", text(NAME_BYTES_MAX), "west"),
        header("If-None-Match", "ETags: 304 where one still fits", text(4096), "\"5d41402abc4b2a76b9719d911017c592\""),
    ];
    let listed = "Nodes that serve: those of the zone first, of these the less busy; each device has an order of its own \
                  among equals. It may be kept for `Cache-Control: max-age` and asked for again by its `ETag`. While a node \
                  is drained or stops, its answers to devices carry `Ringfort-Nodes`, up to four URLs separated by commas, \
                  the best first, and end their connection: the next request goes to the first that answers";
    let responses = vec![
        (200, listed, Content::Json("Nodes")),
        (304, "The list is still the one with this ETag", Content::Nothing),
        (400, "A parameter is not one", Content::Problem),
    ];
    Described { parameters, body: None, responses }
}

fn events() -> Described {
    let told = "Each event with an `id`, its kind as `event`, and as `data` a document with `id`, `kind`, `at`, `node` (null where \
                it is about none), `code` (of an alarm) and `text`. Kinds: node_started, member_joined, member_moved, member_up, \
                member_suspect, member_down, member_stopping, member_gone, member_leaving, member_removed, member_drained, \
                member_undrained, plan_staged, plan_cleared, layout_committed, layout_phase, layout_at_rest, crash, \
                alarm_raised, alarm_cleared; more may come. `missed` has no id: there was more than what follows. A comment every few \
                seconds is a sign of life";
    let parameters = vec![
        query("follow", "false: end behind what is kept", json!({ "enum": ["true", "false"] }), "false"),
        header("Last-Event-ID", "Only events behind this one [default: all that are kept]", text(64), "1.3.42"),
    ];
    let responses = vec![
        (200, told, Content::Events),
        (400, "A parameter is not one", Content::Problem),
        (503, "As many streams as may be are open, or the node is stopping", Content::Problem),
    ];
    Described { parameters, body: None, responses }
}

fn read() -> Described {
    let consistency = json!({ "enum": ["local", "quorum", "all"] });
    let parameters = vec![
        query("r", "Replicas that must agree; may only raise the bucket's number", schemas::replicas(), 2),
        query("consistency", "Who must agree; local is this node alone", consistency, "quorum"),
        query("sibling", "Which of several concurrent values, from 0", json!({ "type": "integer", "minimum": 0 }), 0),
        header("If-None-Match", "ETags: 304 where one still fits", text(4096), "\"5d41402abc4b2a76b9719d911017c592\""),
    ];
    let responses = vec![
        (200, "The value", Content::Stored),
        (300, "Several concurrent values; `sibling` picks one", Content::Json("Siblings")),
        (304, "The value is still the one with this ETag", Content::Nothing),
        (400, "The key or a parameter is not one", Content::Problem),
        (404, "There is no such bucket or value", Content::Problem),
        (414, "The key is longer than 1 KiB", Content::Problem),
        (422, "A parameter is out of range", Content::Problem),
        (500, "What is stored for this key is damaged", Content::Problem),
    ];
    Described { parameters, body: None, responses }
}

fn write_parameters() -> Vec<Value> {
    let key = json!({ "type": "string", "minLength": 1, "maxLength": IDEMPOTENCY_KEY_BYTES_MAX });
    vec![
        query("w", "Replicas that must be on disk; may only raise the bucket's number", schemas::replicas(), 2),
        query("ttl", "Time to live, from 1ms to 3660d", schemas::duration(), "1h"),
        header("Ringfort-Context", "The context of the read that this is based on", text(12 * 1024), "AQEB"),
        header("Idempotency-Key", "The same for every retry of one operation", key, "order-1"),
        header("If-Match", "Only where one of these ETags fits", text(4096), "\"5d41402abc4b2a76b9719d911017c592\""),
        header("If-None-Match", "`*`: only where no value is", text(16), "*"),
    ]
}

fn written() -> Vec<Response> {
    vec![
        (200, "On disk", Content::Json("Receipt")),
        (400, "The key, the context or a header is not one", Content::Problem),
        (404, "There is no such bucket", Content::Problem),
        (408, "The body came too slowly", Content::Problem),
        (409, "The idempotency key was used for another request, or there are too many siblings", Content::Problem),
        (412, "The condition does not hold", Content::Problem),
        (413, "The value is larger than 1 MiB, or all values of the key are together", Content::Problem),
        (414, "The key is longer than 1 KiB", Content::Problem),
        (422, "A parameter is out of range, or an lww bucket was given a condition", Content::Problem),
        (428, "A deletion needs the context of a read", Content::Problem),
        (429, "Too many idempotency keys for this key", Content::Problem),
        (500, "What is stored for this key is damaged", Content::Problem),
        (504, "Whether the write is stored is unknown", Content::Problem),
        (507, "The disk is full; nothing was stored", Content::Problem),
    ]
}

fn write() -> Described {
    let value = json!({ "type": "string", "format": "binary", "maxLength": VALUE_BYTES_MAX });
    let body = body(false, &[("application/octet-stream", value, json!("hello"))]);
    Described { parameters: write_parameters(), body, responses: written() }
}

fn delete() -> Described {
    let mut responses = written();
    responses.retain(|(status, ..)| *status != 408);
    Described { parameters: write_parameters(), body: None, responses }
}

fn list() -> Described {
    let limit = json!({ "type": "integer", "minimum": 1, "maximum": LIST_PAGE_MAX });
    let base64 = json!({ "type": "string", "pattern": "^([A-Za-z0-9+/]{4}){0,340}$" });
    let parameters = vec![
        query("prefix", "Only keys that begin so", text(1024), "ED"),
        query("after", "Only keys behind this one, in byte order", text(1024), "EDDF"),
        query("after_b64", "The same as base64, for keys that are not UTF-8; not both", base64, "RURE"),
        query("limit", "Keys of a page", limit, 100),
    ];
    let responses = vec![
        (200, "A page, in byte order", Content::Json("ListPage")),
        (400, "A parameter is not one", Content::Problem),
        (404, "There is no such bucket", Content::Problem),
        (500, "What is stored is damaged", Content::Problem),
    ];
    Described { parameters, body: None, responses }
}

fn batch() -> Described {
    let example = json!({ "ops": [{ "op": "put", "bucket": "airports", "key": "EDDF", "value": { "iata": "FRA" } }] });
    let responses = vec![
        (200, "An answer for each operation, in their order", Content::Json("BatchAnswers")),
        (400, "Not JSON", Content::Problem),
        (408, "The body came too slowly", Content::Problem),
        (413, "The document is larger than 8 MiB", Content::Problem),
        (422, "A field is unknown or of a wrong type, or there are too many operations", Content::Problem),
    ];
    let body = body(true, &[("application/json", schemas::reference("Batch"), example)]);
    Described { parameters: Vec::new(), body, responses }
}

pub(super) fn made(wish: &'static str, view: &'static str, example: Value) -> Described {
    let responses = vec![
        (200, "Changed, or the same already", Content::Json(view)),
        (201, "Made", Content::Json(view)),
        (400, "Not JSON, or the name is not one", Content::Problem),
        (404, "It was removed at the same moment", Content::Problem),
        (408, "The body came too slowly", Content::Problem),
        (409, "It collides with what is there, or there are as many as may be", Content::Problem),
        (413, "The document is larger than 64 KiB", Content::Problem),
        (422, "A field or the name is unknown or out of range", Content::Problem),
        (500, "The node failed", Content::Problem),
        (504, "Whether the change took effect is unknown", Content::Problem),
        (507, "The disk is full; nothing was changed", Content::Problem),
    ];
    // A bucket's document may be absent: everything as it is by default.
    let required = wish != "BucketWish";
    let body = body(required, &[("application/json", schemas::reference(wish), example)]);
    Described { parameters: Vec::new(), body, responses }
}

fn own_password() -> Described {
    let example = json!({ "current": "correct horse battery", "new": "tall ships at dawn" });
    let mut changed = made("PasswordWish", "", example);
    changed.responses.retain(|(status, ..)| ![200, 201, 404, 409].contains(status));
    changed.responses.extend([
        (204, "Changed; all sessions have ended but a new one, whose cookie comes with this answer", Content::Nothing),
        (403, "The current password is not right, or this was not sent by a page of this node", Content::Problem),
        (429, "Too many wrong passwords; nothing was checked", Content::Problem),
    ]);
    changed
}

fn removed() -> Described {
    plain(vec![
        (204, "Removed", Content::Nothing),
        (400, "The name is not one", Content::Problem),
        (404, "There is no such thing", Content::Problem),
        (409, "It is needed", Content::Problem),
        (422, "The name is not one", Content::Problem),
        (504, "Whether the change took effect is unknown", Content::Problem),
        (507, "The disk is full; nothing was changed", Content::Problem),
    ])
}

fn audit() -> Described {
    let limit = json!({ "type": "integer", "minimum": 1, "maximum": AUDIT_PAGE_MAX });
    let parameters = vec![
        query(
            "chain",
            "All changes, or those of users, tokens and scopes, which have numbers and a budget of their own",
            json!({ "enum": ["all", "access"] }),
            "all",
        ),
        query("after", "Only entries behind this number", json!({ "type": "integer", "minimum": 0 }), 0),
        query("limit", "Entries of a page", limit, 100),
    ];
    let responses = vec![
        (200, "A page, oldest first, with the hashes to check it by", Content::Json("AuditPage")),
        (400, "A parameter is not one", Content::Problem),
    ];
    Described { parameters, body: None, responses }
}

fn import() -> Described {
    let parameters = vec![
        query("key", "The field whose text is the key", text(1024), "icao"),
        query(
            "format",
            "How rows are written, where the content type does not say",
            json!({ "enum": ["csv", "ndjson"] }),
            "csv",
        ),
        query("existing", "What happens to keys that have a value", json!({ "enum": ["replace", "keep"] }), "replace"),
    ];
    let rows = || json!({ "type": "string" });
    let contents = [
        ("application/x-ndjson", rows(), json!("{\"key\":\"EDDF\",\"value\":{\"iata\":\"FRA\"}}\n")),
        ("text/csv", rows(), json!("icao,iata\nEDDF,FRA\n")),
    ];
    let mut responses = made("", "ImportReport", Value::Null).responses;
    responses.retain(|(status, ..)| ![201, 413].contains(status));
    Described { parameters, body: body(false, &contents), responses }
}

fn export() -> Described {
    let format = json!({ "enum": ["ndjson", "csv"] });
    let responses = vec![
        (200, "All rows in key order; without its last chunk it is not all", Content::Rows),
        (400, "A parameter is not one", Content::Problem),
        (404, "There is no such bucket", Content::Problem),
        (422, "The bucket was not imported from CSV", Content::Problem),
    ];
    Described { parameters: vec![query("format", "How rows are written", format, "ndjson")], body: None, responses }
}
