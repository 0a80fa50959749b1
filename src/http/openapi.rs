//! `/v1/openapi.json`: the table of routes as an OpenAPI 3.1 document.

use axum::Json;
use serde_json::Map;
use serde_json::Value;
use serde_json::json;

use crate::front::route::Route;
use crate::http::routes;
use crate::http::routes::ROUTES;
use crate::node::status::RELEASE;
use crate::proto::scope::Need;

/// `GET /v1/openapi.json`.
pub async fn document() -> Json<Value> {
    std::future::ready(Json(build())).await
}

/// The whole document.
#[must_use]
pub fn build() -> Value {
    let mut paths = Map::new();
    for route in ROUTES.iter().filter(|route| route.path != routes::KV_EMPTY) {
        let path = route.path.replace("{*key}", "{key}");
        let entry = paths.entry(path.clone()).or_insert_with(|| json!({}));
        if let Value::Object(methods) = entry {
            methods.insert(route.method.to_ascii_lowercase(), operation(route, &path));
        }
    }
    json!({
        "openapi": "3.1.0",
        "info": { "title": "Ringfort", "version": RELEASE, "license": { "name": "Apache-2.0 OR MIT" } },
        "paths": paths,
        "components": {
            "securitySchemes": { "bearer": { "type": "http", "scheme": "bearer" } },
            "schemas": { "Problem": problem_schema(), "Receipt": receipt_schema() },
        },
    })
}

fn operation(route: &Route, path: &str) -> Value {
    let mut parameters: Vec<Value> = path
        .split('/')
        .filter_map(|part| part.strip_prefix('{')?.strip_suffix('}'))
        .map(|name| json!({ "name": name, "in": "path", "required": true, "schema": { "type": "string" } }))
        .collect();
    for (name, place, text) in extra_parameters(route) {
        parameters.push(json!({ "name": name, "in": place, "description": text, "schema": { "type": "string" } }));
    }
    let security = if route.need == Need::Nothing { json!([]) } else { json!([{ "bearer": [] }]) };
    let mut operation = json!({
        "summary": route.summary,
        "description": format!("Needs: {}", need_in_words(route.need)),
        "parameters": parameters,
        "security": security,
        "responses": responses(route),
    });
    if let (Some(body), Value::Object(operation)) = (request_body(route), &mut operation) {
        operation.insert("requestBody".to_owned(), body);
    }
    operation
}

fn need_in_words(need: Need) -> &'static str {
    match need {
        Need::Nothing => "no token",
        Need::ReadValues => "device:read, data or admin",
        Need::WriteValues => "device:write, data or admin",
        Need::AnyValues => "device:read for reads, device:write for writes, or data or admin for both",
        Need::Data => "data or admin",
        Need::Observe => "data, operate, support or admin",
        Need::Metrics => "data, operate, support or admin; nothing on a loopback address",
        Need::Admin => "admin",
        Need::SignedIn => "any token",
        Need::Owner => "the control socket of the node's own machine",
    }
}

type Parameter = (&'static str, &'static str, &'static str);

fn extra_parameters(route: &Route) -> &'static [Parameter] {
    match (route.method, route.path) {
        ("GET", routes::KV_KEY) => &[
            ("r", "query", "Replicas that must agree; may only raise the bucket's number"),
            ("consistency", "query", "local, quorum or all"),
            ("sibling", "query", "Which of several concurrent values, from 0"),
            ("If-None-Match", "header", "An ETag: 304 where it still fits"),
        ],
        ("PUT", routes::KV_KEY) => &[
            ("w", "query", "Replicas that must be on disk; may only raise the bucket's number"),
            ("ttl", "query", "Time to live, such as 1h"),
            ("Ringfort-Context", "header", "The context of the read that this write replaces"),
            ("Idempotency-Key", "header", "The same for every retry of one operation"),
            ("If-Match", "header", "Only where one of these ETags fits"),
            ("If-None-Match", "header", "`*`: only where no value is"),
        ],
        ("DELETE", routes::KV_KEY) => &[
            ("w", "query", "Replicas that must be on disk; may only raise the bucket's number"),
            (
                "Ringfort-Context",
                "header",
                "The context of the read that this deletion is based on; not needed in lww buckets",
            ),
            ("Idempotency-Key", "header", "The same for every retry of one operation"),
            ("If-Match", "header", "Only where one of these ETags fits"),
        ],
        ("GET", "/v1/kv/{bucket}") => &[
            ("prefix", "query", "Only keys that begin so"),
            ("after", "query", "Only keys behind this one"),
            ("after_b64", "query", "The same as base64"),
            ("limit", "query", "Keys of a page, 1 to 1000"),
        ],
        ("GET", "/v1/audit") => {
            &[("after", "query", "Only entries behind this number"), ("limit", "query", "Entries of a page, 1 to 1000")]
        }
        ("POST", "/v1/buckets/{name}/import") => &[
            ("key", "query", "The field whose text is the key"),
            ("format", "query", "csv or ndjson"),
            ("existing", "query", "replace (default) or keep what is there"),
        ],
        ("GET", "/v1/buckets/{name}/export") => &[("format", "query", "ndjson (default) or csv")],
        _ => &[],
    }
}

fn request_body(route: &Route) -> Option<Value> {
    let (content_type, schema) = match (route.method, route.path) {
        ("PUT", routes::KV_KEY) => ("application/octet-stream", json!({ "type": "string", "maxLength": 1_048_576 })),
        ("POST", "/v1/batch") => ("application/json", json!({ "type": "object", "required": ["ops"] })),
        ("PUT", "/v1/buckets/{name}") => ("application/json", bucket_schema()),
        ("POST", "/v1/buckets/{name}/import") => ("application/x-ndjson", json!({ "type": "string" })),
        ("POST", "/v1/tokens") => ("application/json", json!({ "type": "object", "required": ["name", "scopes"] })),
        ("PUT", "/v1/users/{name}") => ("application/json", json!({ "type": "object", "required": ["scopes"] })),
        ("POST", "/v1/sign-in-links") => ("application/json", json!({ "type": "object", "required": ["user"] })),
        _ => return None,
    };
    Some(json!({ "required": true, "content": { content_type: { "schema": schema } } }))
}

fn bucket_schema() -> Value {
    json!({
        "type": "object",
        "additionalProperties": false,
        "properties": {
            "kind": { "enum": ["siblings", "lww"] },
            "n": { "type": "integer", "minimum": 1, "maximum": 9 },
            "r": { "type": "integer", "minimum": 1, "maximum": 9 },
            "w": { "type": "integer", "minimum": 1, "maximum": 9 },
            "ttl": { "type": "string" },
            "class": { "enum": ["losable", "normal", "critical"] },
        },
    })
}

/// Statuses with their meanings; every refusal is a problem document.
fn responses(route: &Route) -> Value {
    let mut responses = Map::new();
    let mut add = |status: &str, text: &str| {
        let content = if status.starts_with(['4', '5']) {
            json!({ "application/problem+json": { "schema": { "$ref": "#/components/schemas/Problem" } } })
        } else {
            json!({})
        };
        responses.insert(status.to_owned(), json!({ "description": text, "content": content }));
    };
    add("200", "Done");
    if route.need != Need::Nothing {
        add("401", "A token is needed, or this one is not valid");
        add("403", "The token's scopes are not enough");
    }
    add("503", "Too much is under way, or the node is stopping; nothing was changed");
    for (status, text) in more_responses(route) {
        add(status, text);
    }
    Value::Object(responses)
}

fn more_responses(route: &Route) -> &'static [(&'static str, &'static str)] {
    const WRITE: &[(&str, &str)] = &[
        ("400", "The key, context or a header is not one"),
        ("404", "There is no such bucket"),
        ("408", "The body came too slowly"),
        ("409", "The idempotency key was used for another request, or there are too many siblings"),
        ("412", "The condition does not hold"),
        ("413", "The value is larger than 1 MiB"),
        ("414", "The key is longer than 1 KiB"),
        ("422", "A parameter is out of range, or an lww bucket was given a condition"),
        ("428", "A deletion needs the context of a read"),
        ("429", "Too many idempotency keys for this key"),
        ("500", "What is stored for this key is damaged"),
        ("504", "Whether the write is stored is unknown"),
        ("507", "The disk is full; nothing was stored"),
    ];
    const DOCUMENT: &[(&str, &str)] = &[
        ("201", "Made"),
        ("400", "Not JSON"),
        ("404", "There is no such thing"),
        ("408", "The body came too slowly"),
        ("409", "It collides with what is there"),
        ("413", "The document is too large"),
        ("422", "A field is unknown or out of range"),
        ("500", "The node failed"),
        ("504", "Whether the change took effect is unknown"),
        ("507", "The disk is full; nothing was changed"),
    ];
    const REMOVE: &[(&str, &str)] = &[
        ("204", "Removed"),
        ("400", "The name is not one"),
        ("404", "There is no such thing"),
        ("504", "Whether the change took effect is unknown"),
        ("507", "The disk is full; nothing was changed"),
    ];
    const READ: &[(&str, &str)] = &[
        ("300", "Several concurrent values"),
        ("304", "The value is still the one with this ETag"),
        ("400", "The key or a parameter is not one"),
        ("404", "There is no such bucket or value"),
        ("414", "The key is longer than 1 KiB"),
        ("422", "A parameter is out of range"),
        ("500", "What is stored is damaged"),
    ];
    match (route.method, route.path) {
        (_, "/healthz" | "/readyz" | "/metrics" | "/v1/openapi.json") => &[],
        ("PUT" | "DELETE", routes::KV_KEY) => WRITE,
        ("GET", _) => READ,
        ("DELETE", _) => REMOVE,
        _ => DOCUMENT,
    }
}

fn problem_schema() -> Value {
    json!({
        "type": "object",
        "required": ["type", "title", "status", "code", "detail", "request_id"],
        "properties": {
            "type": { "type": "string" }, "title": { "type": "string" }, "status": { "type": "integer" },
            "code": { "type": "string" }, "detail": { "type": "string" }, "request_id": { "type": "string" },
            "outcome": { "enum": ["failed", "unknown"] },
        },
    })
}

fn receipt_schema() -> Value {
    json!({
        "type": "object",
        "properties": {
            "outcome": { "const": "ok" }, "context": { "type": "string" },
            "acked_by": { "type": "array", "items": { "type": "integer" } },
            "owners": { "type": "array", "items": { "type": "integer" } },
            "synced": { "const": true }, "at": { "type": "string" }, "weak": { "type": "boolean" },
        },
    })
}
