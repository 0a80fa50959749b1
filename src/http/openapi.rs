//! `/v1/openapi.json`: the table of routes as an OpenAPI 3.1 document. Every row of the table has a description in
//! [`operations`]; the test below fails where one is missing or says too little.

use axum::Json;
use serde_json::Map;
use serde_json::Value;
use serde_json::json;

use crate::front::route::Route;
use crate::http::routes;
use crate::http::routes::ROUTES;
use crate::node::status::RELEASE;
use crate::proto::scope::Need;

mod cluster;
mod crashes;
mod inside;
mod logs;
mod operations;
mod schemas;
mod timeline;

use operations::Content;
use operations::Described;

/// `GET /v1/openapi.json`.
pub async fn document() -> Json<Value> {
    std::future::ready(Json(build())).await
}

/// The whole document.
#[must_use]
pub fn build() -> Value {
    let mut paths = Map::new();
    for route in ROUTES.iter().filter(|route| !routes::is_empty_key(route.path)) {
        let path = route.path.replace("{*key}", "{key}");
        let described = operations::describe(route.method, route.path).unwrap_or_default();
        let entry = paths.entry(path.clone()).or_insert_with(|| json!({}));
        if let Value::Object(methods) = entry {
            methods.insert(route.method.to_ascii_lowercase(), operation(route, &path, described));
        }
    }
    json!({
        "openapi": "3.1.0",
        "info": {
            "title": "Ringfort",
            "version": RELEASE,
            "description": "A store for devices. An answer to a write comes when it is on disk. A refusal is a problem document (RFC 9457) with a stable code and says whether anything was changed.",
            "license": { "name": "Apache-2.0 OR MIT" },
        },
        "servers": [{ "url": "/" }],
        "paths": paths,
        "components": { "securitySchemes": schemas::security(), "schemas": schemas::all() },
    })
}

fn operation(route: &Route, path: &str, described: Described) -> Value {
    let mut parameters: Vec<Value> = path
        .split('/')
        .filter_map(|part| part.strip_prefix('{')?.strip_suffix('}'))
        .map(|name| schemas::path_parameter(route.path, name))
        .collect();
    parameters.extend(described.parameters);
    let mut responses = Map::new();
    // What an operation says itself of a status counts.
    for (status, text, content) in refusals(route.need).into_iter().chain(described.responses) {
        responses.insert(status.to_string(), response(text, content));
    }
    let mut operation = json!({
        "operationId": operation_id(route.method, path),
        "summary": route.summary,
        "description": format!("Needs: {}.", need_in_words(route.need)),
        "parameters": parameters,
        "security": security(route.need),
        "responses": responses,
    });
    if let (Some(body), Value::Object(operation)) = (described.body, &mut operation) {
        operation.insert("requestBody".to_owned(), body);
    }
    operation
}

/// `put_v1_kv_bucket_key`.
fn operation_id(method: &str, path: &str) -> String {
    let words = path.split(['/', '{', '}', '.']).filter(|word| !word.is_empty());
    words.fold(method.to_ascii_lowercase(), |id, word| id + "_" + word)
}

fn response(text: &str, content: Content) -> Value {
    let content = match content {
        Content::Nothing => return json!({ "description": text }),
        Content::Problem => json!({ "application/problem+json": { "schema": schemas::reference("Problem") } }),
        Content::Json(schema) => json!({ "application/json": { "schema": schemas::reference(schema) } }),
        Content::Pem => json!({ "application/x-pem-file": { "schema": { "type": "string" } } }),
        Content::Text => json!({ "text/plain": { "schema": { "type": "string" } } }),
        // Of one event, by the names of its fields; as later versions of the specification have it for `itemSchema`.
        Content::Events => json!({ "text/event-stream": { "schema": {
            "type": "object",
            "properties": { "id": { "type": "string" }, "event": { "type": "string" }, "data": { "type": "string" } },
            "required": ["event", "data"],
        } } }),
        Content::Rows => json!({
            "application/x-ndjson": { "schema": { "type": "string" } },
            "text/csv": { "schema": { "type": "string" } },
        }),
        Content::Stored => json!({ "*/*": { "schema": {} } }),
    };
    json!({ "description": text, "content": content })
}

/// What any route of this need may be refused with.
fn refusals(need: Need) -> Vec<(u16, &'static str, Content)> {
    let mut refusals = vec![
        (421, "Over plain HTTP: the host that is named is not this node; nothing was done", Content::Problem),
        (
            431,
            "The head is larger than 16 KiB or has more than 100 fields; over HTTP/2 without a body",
            Content::Problem,
        ),
    ];
    if need != Need::Nothing {
        refusals.push((401, "A token is needed, or this one is not valid", Content::Problem));
        refusals.push((403, "The token's scopes are not enough", Content::Problem));
        let unavailable = if matches!(need, Need::Operate | Need::Admin) {
            "Too much is under way, the node is stopping, or it has no contact with the control plane and cannot tell \
             whether the caller still may (`no_contact`); nothing was changed"
        } else {
            "Too much is under way, or the node is stopping; nothing was changed"
        };
        refusals.push((503, unavailable, Content::Problem));
    }
    refusals
}

/// A metrics route is open on loopback, and takes a token elsewhere.
fn security(need: Need) -> Value {
    if need == Need::Nothing {
        json!([])
    } else if need == Need::SignedIn {
        json!([{ "session": [] }])
    } else if need == Need::Metrics {
        json!([{}, { "bearer": [] }])
    } else {
        json!([{ "bearer": [] }])
    }
}

fn need_in_words(need: Need) -> &'static str {
    match need {
        Need::Nothing => "no token",
        Need::ReadValues => "device:read, data or admin",
        Need::WriteValues => "device:write, data or admin",
        Need::AnyValues => "device:read, device:write, data or admin; in a batch, for each operation the one it needs",
        Need::Data => "data or admin",
        Need::Observe => "data, operate, support or admin",
        Need::Metrics => "data, operate, support or admin; nothing on a loopback address",
        Need::Operate => "operate or admin",
        Need::Admin => "admin",
        Need::SignedIn => "a user who is signed in",
        Need::Owner => "the control socket on the node's own machine",
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use serde_json::Value;

    use super::build;
    use super::cluster;
    use super::crashes;
    use super::inside;
    use super::logs;
    use super::operations;
    use super::timeline;
    use crate::front::route::Route;
    use crate::http::routes;
    use crate::http::routes::ROUTES;

    fn described() -> impl Iterator<Item = &'static Route> {
        ROUTES.iter().filter(|route| !routes::is_empty_key(route.path))
    }

    #[test]
    fn every_route_is_described_in_full() {
        let document = build();
        for route in described() {
            let name = format!("{} {}", route.method, route.path);
            assert!(operations::describe(route.method, route.path).is_some(), "{name} is not in operations.rs");
            let path = route.path.replace("{*key}", "{key}");
            let operation = &document["paths"][&path][route.method.to_ascii_lowercase()];
            let responses = operation["responses"].as_object().unwrap();
            assert!(responses.keys().any(|status| status.starts_with('2')), "{name} never succeeds");
            for (status, response) in responses {
                assert!(!response["description"].as_str().unwrap().is_empty(), "{name} {status}");
                let bare = ["204", "304"].contains(&status.as_str());
                let content = response["content"].as_object();
                assert_eq!(content.is_none(), bare, "{name} {status} has no content type");
                for (media, content) in content.into_iter().flatten() {
                    assert!(content.get("schema").is_some(), "{name} {status} {media} has no schema");
                    let refusal = status.starts_with(['4', '5']);
                    assert_eq!(refusal, media == "application/problem+json", "{name} {status} {media}");
                }
            }
            for parameter in operation["parameters"].as_array().unwrap() {
                let told = ["name", "in", "description"].map(|member| parameter[member].as_str().unwrap_or_default());
                assert!(told.iter().all(|text| !text.is_empty()), "{name}: {parameter}");
                let schema = parameter["schema"].as_object().unwrap_or_else(|| panic!("{name}: {parameter}"));
                assert!(!schema.is_empty() && parameter.get("example").is_some(), "{name}: {parameter}");
            }
            // Words without a sentence.
            let bare = [
                "/v1/config/reload",
                "/v1/plan",
                "/v1/members/{id}/leave",
                "/v1/members/{id}/undrain",
                "/v1/ring/resume",
            ];
            let bare = bare.contains(&route.path);
            if ["PUT", "POST"].contains(&route.method) && !bare {
                let body = operation["requestBody"]["content"].as_object();
                for (media, content) in body.unwrap_or_else(|| panic!("{name} has no request body")) {
                    assert!(content.get("schema").is_some(), "{name} {media}");
                    assert!(content.get("example").is_some(), "{name} {media} has no example");
                }
            }
        }
    }

    #[test]
    fn nothing_is_described_that_is_not_served() {
        for (method, path) in operations::DESCRIBED
            .iter()
            .chain(cluster::DESCRIBED)
            .chain(crashes::DESCRIBED)
            .chain(inside::DESCRIBED)
            .chain(logs::DESCRIBED)
            .chain(timeline::DESCRIBED)
        {
            assert!(described().any(|route| (route.method, route.path) == (*method, *path)), "{method} {path}");
        }
    }

    #[test]
    fn every_reference_leads_somewhere_and_every_name_is_unique() {
        fn references(value: &Value, to: &mut BTreeSet<String>) {
            match value {
                Value::Object(members) => {
                    to.extend(members.get("$ref").and_then(Value::as_str).map(str::to_owned));
                    members.values().for_each(|member| references(member, to));
                }
                Value::Array(items) => items.iter().for_each(|item| references(item, to)),
                Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
            }
        }
        let document = build();
        let mut used = BTreeSet::new();
        references(&document, &mut used);
        for reference in &used {
            let pointer = reference.strip_prefix('#').unwrap();
            assert!(document.pointer(pointer).is_some(), "{reference}");
        }
        for name in document["components"]["schemas"].as_object().unwrap().keys() {
            assert!(used.contains(&format!("#/components/schemas/{name}")), "{name} is not used");
        }
        let operations =
            document["paths"].as_object().unwrap().values().flat_map(|path| path.as_object().unwrap().values());
        let ids: Vec<_> = operations.map(|operation| operation["operationId"].as_str().unwrap()).collect();
        assert_eq!(ids.iter().collect::<BTreeSet<_>>().len(), ids.len());
    }
}
