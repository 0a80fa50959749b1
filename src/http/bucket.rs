//! `/v1/buckets`: definitions.

use axum::Extension;
use axum::Json;
use axum::extract::Request;
use axum::extract::State;
use axum::http::StatusCode;
use axum::http::Uri;
use serde::Deserialize;
use serde::Deserializer;
use serde_json::Value;
use serde_json::json;

use crate::front::body;
use crate::front::path;
use crate::front::problem::Problem;
use crate::front::query;
use crate::node::Node;
use crate::node::access::Caller;
use crate::node::buckets::BucketWish;
use crate::proto::bucket::Class;
use crate::proto::bucket::Kind;
use crate::proto::control::Bucket;

/// Kinds that are named in the surface and come later.
const LATER: [&str; 5] = ["counter", "set", "map", "flag", "strong"];

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Document {
    kind: Option<String>,
    n: Option<u8>,
    r: Option<u8>,
    w: Option<u8>,
    /// Missing: as it is. Null: none.
    #[serde(default, deserialize_with = "given")]
    ttl: Option<Option<String>>,
    class: Option<Class>,
}

/// Tells a field that is null from one that is missing.
fn given<'de, D: Deserializer<'de>>(field: D) -> Result<Option<Option<String>>, D::Error> {
    Option::deserialize(field).map(Some)
}

fn view(name: &str, bucket: &Bucket) -> Value {
    let definition = &bucket.definition;
    json!({
        "name": name,
        "kind": definition.kind,
        "n": definition.n,
        "r": definition.r,
        "w": definition.w,
        "ttl": definition.ttl_ms.map(|ms| format!("{ms}ms")),
        "class": definition.class,
        "weak": definition.is_weak(),
        "columns": bucket.columns,
    })
}

/// `GET /v1/buckets`.
pub async fn list(State(node): State<Node>) -> Json<Value> {
    let all: Vec<_> = node.buckets().iter().map(|(name, bucket)| view(name, bucket)).collect();
    std::future::ready(Json(json!({ "buckets": all }))).await
}

/// `GET /v1/buckets/{name}`.
pub async fn show(State(node): State<Node>, uri: Uri) -> Result<Json<Value>, Problem> {
    let name = path::segment(uri.path(), 2)?;
    let bucket = node.bucket_view(&name).await?;
    std::future::ready(Ok(Json(view(&name, &bucket)))).await
}

/// `PUT /v1/buckets/{name}`.
pub async fn make(
    State(node): State<Node>,
    Extension(caller): Extension<Caller>,
    request: Request,
) -> Result<(StatusCode, Json<Value>), Problem> {
    let (parts, body) = request.into_parts();
    let name = path::segment(parts.uri.path(), 2)?;
    let wish = wish(body::document(&node, &parts.headers, body).await?)?;
    let made = node.put_bucket(&caller, &name, wish).await?;
    let bucket = node.bucket_view(&name).await?;
    Ok((if made { StatusCode::CREATED } else { StatusCode::OK }, Json(view(&name, &bucket))))
}

/// Reads a document, without a node.
///
/// # Errors
/// As `PUT`.
pub fn read_document(bytes: &[u8]) -> Result<(), Problem> {
    wish(body::from_json(bytes)?).map(|_wish| ())
}

fn wish(document: Document) -> Result<BucketWish, Problem> {
    let kind = document.kind.as_deref().map(parse_kind).transpose()?;
    let ttl_ms = match document.ttl {
        None => None,
        Some(None) => Some(None),
        Some(Some(ttl)) => Some(Some(query::ttl_ms("ttl", &ttl)?)),
    };
    Ok(BucketWish { kind, n: document.n, r: document.r, w: document.w, ttl_ms, class: document.class })
}

fn parse_kind(kind: &str) -> Result<Kind, Problem> {
    match kind {
        "siblings" => Ok(Kind::Siblings),
        "lww" => Ok(Kind::Lww),
        later if LATER.contains(&later) => {
            let detail = format!("buckets of kind `{later}` come in a later release; nothing was changed");
            Err(Problem::unprocessable("kind_comes_later", detail))
        }
        other => {
            let detail = format!("kind is `{}`; it is siblings or lww; nothing was changed", other.escape_default());
            Err(Problem::unprocessable("out_of_range", detail))
        }
    }
}

/// `DELETE /v1/buckets/{name}`.
pub async fn remove(
    State(node): State<Node>,
    Extension(caller): Extension<Caller>,
    uri: Uri,
) -> Result<StatusCode, Problem> {
    node.remove_bucket(&caller, &path::segment(uri.path(), 2)?).await?;
    Ok(StatusCode::NO_CONTENT)
}
