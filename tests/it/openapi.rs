//! What a node answers is what its OpenAPI document says: no member more, none missing, each of its type. Checks every
//! route that is read without a body, on a node where each list has an entry.

use ringfort::base::id::NodeId;
use ringfort::proto::crash::CrashId;
use ringfort::proto::crash::Kind;
use ringfort::proto::crash::Report;
use ringfort::store::crashes::Crashes;
use serde_json::Value;
use serde_json::json;

use crate::support::Node;
use crate::support::call;

/// All ways in which a value differs from a schema, in the words of JSON Schema that the document uses.
fn differences(document: &Value, schema: &Value, value: &Value, at: &str) -> Vec<String> {
    if let Some(reference) = schema["$ref"].as_str() {
        let schema = document.pointer(reference.trim_start_matches('#')).unwrap();
        return differences(document, schema, value, at);
    }
    if let Some(choices) = schema["oneOf"].as_array() {
        let fits = choices.iter().filter(|one| differences(document, one, value, at).is_empty()).count();
        return if fits == 1 { Vec::new() } else { vec![format!("{at}: {fits} of the choices fit {value}")] };
    }
    if schema.get("const").is_some_and(|only| only != value)
        || schema["enum"].as_array().is_some_and(|all| !all.contains(value))
        || !is_of(&schema["type"], value)
    {
        return vec![format!("{at}: {value} is not of {schema}")];
    }
    let mut found = Vec::new();
    for (name, member) in value.as_object().into_iter().flatten() {
        let at = format!("{at}/{name}");
        match schema["properties"].get(name) {
            Some(schema) => found.extend(differences(document, schema, member, &at)),
            None if schema["additionalProperties"] == false => found.push(format!("{at}: not described")),
            None => {}
        }
    }
    for name in schema["required"].as_array().into_iter().flatten().filter_map(Value::as_str) {
        if value.get(name).is_none() {
            found.push(format!("{at}/{name}: missing"));
        }
    }
    for (index, item) in value.as_array().into_iter().flatten().enumerate() {
        found.extend(differences(document, &schema["items"], item, &format!("{at}/{index}")));
    }
    found
}

/// Whether a value is of one of these types; none named is all of them.
fn is_of(types: &Value, value: &Value) -> bool {
    let is = |name: &Value| match name.as_str().unwrap() {
        "object" => value.is_object(),
        "array" => value.is_array(),
        "string" => value.is_string(),
        "integer" => value.is_i64() || value.is_u64(),
        "number" => value.is_number(),
        "boolean" => value.is_boolean(),
        "null" => value.is_null(),
        other => panic!("{other} is not a type that the document uses"),
    };
    if let Some(types) = types.as_array() { types.iter().any(is) } else { types.is_null() || is(types) }
}

#[test]
fn the_checker_sees_what_differs() {
    let document = json!({ "components": { "schemas": { "User": {
        "type": "object", "required": ["name"], "additionalProperties": false,
        "properties": { "name": { "type": "string" }, "sessions": { "type": ["integer", "null"] } },
    } } } });
    let list = json!({ "type": "array", "items": { "$ref": "#/components/schemas/User" } });
    let check = |value| differences(&document, &list, &value, "");
    assert!(check(json!([{ "name": "ann", "sessions": null }, { "name": "bob", "sessions": 1 }])).is_empty());
    assert_eq!(check(json!([{ "name": "ann", "more": 1 }])), ["/0/more: not described"]);
    assert_eq!(check(json!([{ "sessions": 1 }])), ["/0/name: missing"]);
    assert_eq!(check(json!([{ "name": 7 }])).len(), 1);
    assert_eq!(check(json!({})).len(), 1);
}

#[tokio::test]
async fn answers_are_what_the_document_says() {
    let dir = tempfile::tempdir().unwrap();
    let data = dir.path().join("data");
    let node = Node::start(&data).await;
    let owner = node.owner();
    let crash = CrashId::new(1, NodeId(1), 1);
    let report = Report::new(crash.clone(), "1970-01-01T00:00:00.001Z".to_owned(), 1, Kind::Exit, "exit".to_owned());
    Crashes::of(&data).keep(&report.finish()).unwrap();
    for (method, path, body) in [
        ("PUT", "/v1/buckets/airports", json!({ "kind": "lww", "ttl": "30d" })),
        ("PUT", "/v1/kv/airports/EDDF", json!({ "iata": "FRA" })),
        ("PUT", "/v1/kv/airports/%FF", json!(1)),
        ("PUT", "/v1/users/alice", json!({ "scopes": ["admin"], "password": "correct horse battery" })),
        ("POST", "/v1/tokens", json!({ "name": "line-3", "scopes": ["device:write"], "ttl": "1h" })),
    ] {
        let reply = call(&owner, method, path, &[], body.to_string()).await;
        assert!(reply.status < 300, "{method} {path}: {reply:?}");
    }
    let document = call(&owner, "GET", "/v1/openapi.json", &[], "").await.json();
    let mut checked = 0;
    for (template, methods) in document["paths"].as_object().unwrap() {
        let schema = &methods["get"]["responses"]["200"]["content"]["application/json"]["schema"];
        if schema.is_null() {
            continue;
        }
        let path = template.replace("{bucket}", "airports").replace("{name}", "airports").replace("{key}", "EDDF");
        let path = path.replace("/v1/crashes/{id}", &format!("/v1/crashes/{}", crash.as_str()));
        let path = path.replace("{id}", "1");
        let reply = call(&owner, "GET", &path, &[], "").await;
        assert_eq!(reply.status, 200, "{path}: {reply:?}");
        assert_eq!(differences(&document, schema, &reply.json(), &path), Vec::<String>::new());
        checked += 1;
    }
    assert!(checked >= 11, "{checked} routes of JSON documents");
}
