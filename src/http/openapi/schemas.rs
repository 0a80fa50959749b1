//! What documents and parameters look like, as JSON Schema.

use serde_json::Map;
use serde_json::Value;
use serde_json::json;

use super::cluster;
use super::crashes;
use super::inside;
use super::logs;
use super::timeline;
use crate::base::limits::BATCH_OPS_MAX;
use crate::base::limits::BUCKET_NAME_BYTES_MAX;
use crate::base::limits::KEY_BYTES_MAX;
use crate::base::limits::LIST_PAGE_MAX;
use crate::base::limits::NAME_BYTES_MAX;
use crate::base::limits::PASSWORD_BYTES_MAX;
use crate::base::limits::PASSWORD_CHARS_MIN;
use crate::base::limits::REPLICAS_MAX;
use crate::proto::scope::Scope;

/// A schema of the components.
pub fn reference(name: &str) -> Value {
    json!({ "$ref": format!("#/components/schemas/{name}") })
}

/// How callers say who they are.
pub fn security() -> Value {
    let session =
        "Of a sign-in at the console; over plain HTTP on loopback the cookie is `ringfort-` and the cluster's id";
    json!({
        "bearer": { "type": "http", "scheme": "bearer", "description": "A token of `ringfort token create`" },
        "session": { "type": "apiKey", "in": "cookie", "name": "__Host-ringfort", "description": session },
    })
}

/// An object with these members and no others.
pub(super) fn object<const R: usize, const O: usize>(
    required: [(&str, Value); R],
    optional: [(&str, Value); O],
) -> Value {
    let names: Vec<&str> = required.iter().map(|(name, _)| *name).collect();
    let all: Map<String, Value> =
        required.into_iter().chain(optional).map(|(name, schema)| (name.to_owned(), schema)).collect();
    json!({ "type": "object", "required": names, "properties": all, "additionalProperties": false })
}

pub(super) fn list_of(schema: Value) -> Value {
    json!({ "type": "array", "items": schema })
}

pub(super) fn text() -> Value {
    json!({ "type": "string" })
}

pub(super) fn count() -> Value {
    json!({ "type": "integer", "minimum": 0 })
}

pub(super) fn flag() -> Value {
    json!({ "type": "boolean" })
}

pub(super) fn instant() -> Value {
    json!({ "type": "string", "format": "date-time" })
}

/// The standard base64 alphabet with padding.
fn base64() -> Value {
    json!({ "type": "string", "contentEncoding": "base64" })
}

/// `1h`: a number and a unit.
pub fn duration() -> Value {
    json!({ "type": "string", "pattern": "^[0-9]{1,19}(ms|s|m|h|d)$" })
}

/// Replicas to wait for.
pub fn replicas() -> Value {
    json!({ "type": "integer", "minimum": 1, "maximum": REPLICAS_MAX })
}

fn bucket_name() -> Value {
    json!({ "type": "string", "pattern": format!("^[a-z0-9][a-z0-9._-]{{0,{}}}$", BUCKET_NAME_BYTES_MAX - 1) })
}

fn name() -> Value {
    json!({ "type": "string", "minLength": 1, "maxLength": NAME_BYTES_MAX, "pattern": "^[A-Za-z0-9._@-]([A-Za-z0-9._@ -]*[A-Za-z0-9._@-])?$" })
}

fn scopes() -> Value {
    let names = Scope::ALL.map(Scope::name);
    json!({ "type": "array", "minItems": 1, "items": { "enum": names } })
}

/// A parameter of a path by its name.
pub fn path_parameter(route: &str, parameter: &str) -> Value {
    let (schema, text, example) = match parameter {
        "bucket" => (bucket_name(), "The bucket", "airports"),
        "key" => (
            json!({ "type": "string", "minLength": 1, "maxLength": KEY_BYTES_MAX }),
            "Everything behind the bucket's slash, percent-decoded once: 1 to 1024 bytes of any kind",
            "EDDF",
        ),
        "name" if route.starts_with("/v1/buckets/") => (bucket_name(), "The bucket", "airports"),
        "name" => (name(), "The name", "alice"),
        "id" => (text(), "The number or the name", "7"),
        _ => (text(), "", ""),
    };
    json!({ "name": parameter, "in": "path", "required": true, "description": text, "schema": schema, "example": example })
}

/// All schemas by name.
pub fn all() -> Value {
    let mut all = Map::new();
    for (name, schema) in values()
        .into_iter()
        .chain(control())
        .chain(node())
        .chain(cluster::schemas())
        .chain(crashes::schemas())
        .chain(inside::schemas())
        .chain(logs::schemas())
        .chain(timeline::schemas())
    {
        all.insert(name.to_owned(), schema);
    }
    Value::Object(all)
}

fn values() -> Vec<(&'static str, Value)> {
    let nodes = || list_of(count());
    let receipt = object(
        [
            ("outcome", json!({ "const": "ok" })),
            ("context", text()),
            ("acked_by", nodes()),
            ("owners", nodes()),
            ("synced", json!({ "const": true })),
            ("at", instant()),
        ],
        [("weak", flag())],
    );
    let sibling = object(
        [("sibling", count()), ("content_type", text()), ("size", count()), ("at", instant()), ("value_b64", base64())],
        [],
    );
    let listed = object([("size", count()), ("at", instant())], [("key", text()), ("key_b64", base64())]);
    let page = object(
        [
            ("keys", json!({ "type": "array", "maxItems": LIST_PAGE_MAX, "items": listed })),
            ("next", json!({ "type": ["string", "null"] })),
        ],
        [("next_b64", base64())],
    );
    let op = object(
        [("op", json!({ "enum": ["get", "put", "delete"] })), ("bucket", text())],
        [
            ("key", text()),
            ("key_b64", base64()),
            ("value", json!({})),
            ("value_b64", base64()),
            ("content_type", text()),
            ("context", text()),
            ("ttl", duration()),
        ],
    );
    let ops = json!({ "type": "array", "maxItems": BATCH_OPS_MAX, "items": op });
    vec![
        ("Problem", problem()),
        ("Receipt", receipt),
        ("Siblings", object([("siblings", list_of(sibling)), ("context", text())], [])),
        ("ListPage", page),
        ("Batch", object([("ops", ops)], [])),
        ("BatchAnswers", object([("results", list_of(batch_answer()))], [])),
        ("ImportReport", import_report()),
    ]
}

/// Further members say more about some codes.
fn problem() -> Value {
    json!({
        "type": "object",
        "required": ["type", "title", "status", "code", "detail", "request_id"],
        "properties": {
            "type": { "type": "string", "pattern": "^urn:ringfort:problem:" },
            "title": text(),
            "status": { "type": "integer", "minimum": 400, "maximum": 599 },
            "code": { "type": "string", "pattern": "^[a-z][a-z0-9_]*$" },
            "detail": text(),
            "request_id": { "type": "string", "pattern": "^[0-9a-f]{16}$" },
            "outcome": { "enum": ["failed", "unknown"] },
        },
    })
}

/// Of a read, a write, or a refusal.
fn batch_answer() -> Value {
    let value = [("value", json!({})), ("value_b64", base64()), ("context", text()), ("etag", text())];
    let read = object([("status", json!({ "const": 200 })), ("content_type", text())], value.clone());
    let one = object([("content_type", text())], value);
    let several = object([("status", json!({ "const": 300 })), ("siblings", list_of(one)), ("context", text())], []);
    let written = object([("status", json!({ "const": 200 })), ("receipt", reference("Receipt"))], []);
    let refused = object(
        [("status", json!({ "type": "integer", "minimum": 400 })), ("code", text()), ("detail", text())],
        [("outcome", json!({ "enum": ["failed", "unknown"] }))],
    );
    json!({ "oneOf": [read, several, written, refused] })
}

fn import_report() -> Value {
    let error = object([("line", count()), ("column", count()), ("reason", text())], []);
    object(
        [
            ("bucket", text()),
            ("bucket_made", flag()),
            ("rows", count()),
            ("stored", count()),
            ("unchanged", count()),
            ("rejected", count()),
            ("errors", list_of(error)),
        ],
        [],
    )
}

fn control() -> Vec<(&'static str, Value)> {
    let kind = || json!({ "enum": ["siblings", "lww"] });
    let class = || json!({ "enum": ["losable", "normal", "critical"] });
    let wish = object(
        [],
        [
            ("kind", kind()),
            ("n", replicas()),
            ("r", replicas()),
            ("w", replicas()),
            ("ttl", json!({ "oneOf": [duration(), { "type": "null" }] })),
            ("class", class()),
        ],
    );
    let bucket = object(
        [
            ("name", bucket_name()),
            ("kind", kind()),
            ("n", replicas()),
            ("r", replicas()),
            ("w", replicas()),
            ("ttl", json!({ "type": ["string", "null"] })),
            ("class", class()),
            ("weak", flag()),
            ("columns", list_of(text())),
        ],
        [],
    );
    // A number alone would be taken for that of another token.
    let mut token_name = name();
    if let Value::Object(token_name) = &mut token_name {
        token_name.insert("not".to_owned(), json!({ "pattern": "^[0-9]*$" }));
    }
    let token_wish = object([("name", token_name), ("scopes", scopes())], [("ttl", duration())]);
    let token_made = object([("id", count()), ("name", name()), ("scopes", scopes()), ("token", text())], []);
    let expires = json!({ "type": ["string", "null"], "format": "date-time" });
    let token = object(
        [("id", count()), ("name", name()), ("scopes", scopes()), ("made", instant()), ("expires", expires)],
        [],
    );
    let password = || json!({ "type": "string", "format": "password", "minLength": PASSWORD_CHARS_MIN, "maxLength": PASSWORD_BYTES_MAX });
    let user = object(
        [("name", name()), ("scopes", scopes()), ("made", instant()), ("password", flag()), ("sessions", count())],
        [],
    );
    vec![
        ("BucketWish", wish),
        ("Bucket", bucket),
        ("Buckets", object([("buckets", list_of(reference("Bucket")))], [])),
        ("TokenWish", token_wish),
        ("TokenMade", token_made),
        ("Tokens", object([("tokens", list_of(token))], [])),
        ("UserWish", object([], [("scopes", scopes()), ("password", password())])),
        ("PasswordWish", object([("current", text()), ("new", password())], [])),
        ("LinkWish", object([("user", name())], [("ttl", duration())])),
        ("LinkMade", object([("path", text()), ("expires", instant())], [])),
        ("Claim", object([("code", json!({ "type": ["string", "null"] }))], [])),
        ("UserMade", object([("name", name()), ("scopes", scopes())], [])),
        ("Users", object([("users", list_of(user))], [])),
    ]
}

fn node() -> Vec<(&'static str, Value)> {
    let disk = object([("free", count()), ("total", count()), ("reserve", count()), ("index", count())], []);
    let journal =
        object([("records", count()), ("groups", count()), ("bytes", count()), ("overlay_bytes", count())], []);
    let ring = object(
        [
            ("version", count()),
            ("nodes", list_of(count())),
            ("moving", count()),
            ("behind", count()),
            ("to_merge", count()),
            ("merged_bytes", count()),
        ],
        [],
    );
    let maybe = || json!({ "type": ["integer", "null"], "minimum": 0 });
    let control = object(
        [
            ("leader", maybe()),
            ("term", count()),
            ("applied", count()),
            ("generation", count()),
            ("contact_ms", maybe()),
        ],
        [],
    );
    let status = object(
        [
            ("node", count()),
            ("name", text()),
            ("cluster", text()),
            ("release", text()),
            ("commit", text()),
            ("worker_pid", count()),
            ("serving", json!({ "enum": ["yes", "draining", "recovering"] })),
            ("addresses", list_of(text())),
            ("uptime_s", count()),
            ("partitions", count()),
            ("buckets", count()),
            ("ring", ring),
            ("control", control),
            ("survives", object([("machines", count()), ("reason", text()), ("next", text()), ("page", text())], [])),
            ("alarms", list_of(reference("Alarm"))),
            ("disk", disk),
            ("journal", journal),
        ],
        [],
    );
    let check =
        object([("name", text()), ("verdict", json!({ "enum": ["ok", "warn", "fail"] })), ("detail", text())], []);
    let damaged = object([("bucket", text()), ("key", text()), ("reason", text())], []);
    let examination = object([("checks", list_of(check)), ("damaged", list_of(damaged))], []);
    // The document describes itself no further than this.
    let document = json!({ "type": "object", "required": ["openapi", "info", "paths", "components"] });
    vec![
        ("Status", status),
        ("Examination", examination),
        ("Document", document),
        ("AuditPage", audit_page()),
        ("Configuration", configuration()),
        ("Reloaded", reloaded()),
    ]
}

fn audit_page() -> Value {
    let place = || object([("seq", count()), ("hash", text())], []);
    let entry = object(
        [
            ("seq", count()),
            ("at", instant()),
            ("at_ms", count()),
            ("by", text()),
            ("via", text()),
            ("from", json!({ "type": ["string", "null"] })),
            ("what", text()),
            ("outcome", text()),
            ("prev", text()),
            ("hash", text()),
        ],
        [],
    );
    let next = json!({ "type": ["integer", "null"], "minimum": 1 });
    object([("anchor", place()), ("entries", list_of(entry)), ("head", place()), ("next", next)], [])
}

fn configuration() -> Value {
    let entry = object(
        [
            ("key", text()),
            ("value", text()),
            ("source", text()),
            ("pending", json!({ "type": ["string", "null"] })),
            ("live", flag()),
            ("help", text()),
        ],
        [],
    );
    let certificate = object(
        [
            ("origin", json!({ "enum": ["own", "file"] })),
            ("names", list_of(text())),
            ("issuer", text()),
            ("not_before_ms", count()),
            ("not_after_ms", count()),
            ("fingerprint", text()),
        ],
        [],
    );
    object(
        [
            ("config", list_of(entry)),
            ("certificate", json!({ "oneOf": [certificate, { "type": "null" }] })),
            ("authority", object([("fingerprint", text())], [])),
        ],
        [],
    )
}

fn reloaded() -> Value {
    let keys = || list_of(text());
    object(
        [
            ("changed", keys()),
            ("needs_restart", keys()),
            ("certificate_changed", flag()),
            ("warnings", list_of(text())),
        ],
        [],
    )
}
