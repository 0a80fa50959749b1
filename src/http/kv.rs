//! `/v1/kv`: values, one at a time, and lists of keys.

use axum::Extension;
use axum::Json;
use axum::body::Body;
use axum::extract::Request;
use axum::extract::State;
use axum::http::HeaderMap;
use axum::http::HeaderName;
use axum::http::HeaderValue;
use axum::http::StatusCode;
use axum::http::Uri;
use axum::http::header;
use axum::response::IntoResponse;
use axum::response::Response;
use serde_json::json;

use crate::base::codec;
use crate::base::codec::Blob;
use crate::base::limits::IDEMPOTENCY_KEY_BYTES_MAX;
use crate::base::limits::LIST_PAGE_MAX;
use crate::base::limits::VALUE_BYTES_MAX;
use crate::base::time;
use crate::front::body;
use crate::front::etag;
use crate::front::path;
use crate::front::problem::Problem;
use crate::front::query::Query;
use crate::node::Node;
use crate::node::access::Caller;
use crate::node::error::DoorError;
use crate::node::list::Listed;
use crate::node::list::Range;
use crate::node::vnode::Consistency;
use crate::node::vnode::ReadOptions;
use crate::node::vnode::Receipt;
use crate::node::vnode::Value;
use crate::node::vnode::WriteOptions;
use crate::proto::key::Key;
use crate::proto::object::Action;
use crate::proto::object::Sibling;
use crate::proto::object::apply::Refusal;
use crate::proto::object::check_content_type;
use crate::proto::rows::Way;

/// The causal context of a read, for the write that is based on it.
pub const CONTEXT: HeaderName = HeaderName::from_static("ringfort-context");
/// The stored type of a value that goes out as a download.
pub const CONTENT_TYPE: HeaderName = HeaderName::from_static("ringfort-content-type");
/// How old an answer may be.
pub const AGE_MS: HeaderName = HeaderName::from_static("ringfort-age-ms");
/// Names an operation over retries.
pub const IDEMPOTENCY_KEY: HeaderName = HeaderName::from_static("idempotency-key");

/// `GET`, `HEAD`.
pub async fn read(State(node): State<Node>, request: Request) -> Result<Response, Problem> {
    let (bucket, key) = path::bucket_and_key(request.uri().path())?;
    let query = Query::parse(request.uri(), &["r", "consistency", "sibling"])?;
    let consistency = match query.text("consistency")? {
        None | Some("quorum") => Consistency::Quorum,
        Some("all") => Consistency::All,
        Some("local") => Consistency::Local,
        Some(_) => return Err(Problem::bad_request("bad_parameter", "consistency is local, quorum or all")),
    };
    let options = ReadOptions { r: query.number("r")?, consistency };
    let found = node.get(&bucket, &key, options).await?;
    let Some(value) = found else { return Err(absent()) };
    let mut response = match query.number::<usize>("sibling")? {
        Some(number) => one_of(&value, number)?,
        None => all(&value, request.headers())?,
    };
    if consistency == Consistency::Local && node.place_of(&bucket, &key)?.owners.len() == 1 {
        // The only owner's answer is never stale. How old one of several may be, nobody measures yet: nothing is claimed.
        response.headers_mut().insert(AGE_MS, HeaderValue::from_static("0"));
    }
    Ok(response)
}

fn absent() -> Problem {
    Problem::new(StatusCode::NOT_FOUND, "no_such_key", "this key has no value")
}

fn one_of(value: &Value, number: usize) -> Result<Response, Problem> {
    let sibling = value.object.live(value.now_ms).nth(number).ok_or_else(absent)?;
    let mut response = raw(sibling, value.now_ms);
    response.headers_mut().insert(CONTEXT, header_value(&value.context));
    Ok(response)
}

fn all(value: &Value, request: &HeaderMap) -> Result<Response, Problem> {
    let mut live = value.object.live(value.now_ms);
    let first = live.next();
    let several = live.next().is_some();
    let etag = header_value(&value.object.etag(value.now_ms));
    let mut response = match first {
        None => {
            // Deleted or expired: the context lets the next writer replace the grave.
            absent().into_response()
        }
        Some(_) if etag::is_known(request, etag.as_bytes()) => StatusCode::NOT_MODIFIED.into_response(),
        Some(only) if !several => raw(only, value.now_ms),
        Some(_) => {
            let mut response = (StatusCode::MULTIPLE_CHOICES, Json(siblings(value))).into_response();
            never_executed(response.headers_mut());
            response
        }
    };
    let headers = response.headers_mut();
    headers.insert(CONTEXT, header_value(&value.context));
    if first.is_some() {
        headers.insert(header::ETAG, etag);
    }
    Ok(response)
}

/// The concurrent values and the context that replaces them all.
fn siblings(value: &Value) -> serde_json::Value {
    let one = |(number, sibling): (usize, &Sibling)| {
        let (content_type, body) =
            sibling.live(value.now_ms).unwrap_or_else(|| unreachable!("only live ones are listed"));
        json!({
            "sibling": number,
            "content_type": content_type,
            "size": body.0.len(),
            "at": time::rfc3339(sibling.at_ms()),
            "value_b64": codec::base64(&body.0),
        })
    };
    let list: Vec<_> = value.object.live(value.now_ms).enumerate().map(one).collect();
    json!({ "siblings": list, "context": value.context })
}

/// A value as it was stored, in a form that no browser executes.
fn raw(sibling: &Sibling, now_ms: u64) -> Response {
    let (content_type, body) = sibling.live(now_ms).unwrap_or_else(|| unreachable!("only live ones are served"));
    let mut response = Response::new(Body::from(body.0.clone()));
    let headers = response.headers_mut();
    let executable = is_executable(content_type);
    let served = if executable || content_type.is_empty() {
        HeaderValue::from_static("application/octet-stream")
    } else {
        header_value(content_type)
    };
    headers.insert(header::CONTENT_TYPE, served);
    if executable {
        headers.insert(CONTENT_TYPE, header_value(content_type));
        headers.insert(header::CONTENT_DISPOSITION, HeaderValue::from_static("attachment"));
    }
    never_executed(headers);
    response
}

fn never_executed(headers: &mut HeaderMap) {
    headers.insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    headers.insert(header::CONTENT_SECURITY_POLICY, HeaderValue::from_static("default-src 'none'; sandbox"));
}

/// Types that a browser might run, or that are not types at all: they go out as downloads.
fn is_executable(content_type: &str) -> bool {
    let essence = content_type.split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
    let Some((kind, name)) = essence.split_once('/') else { return !essence.is_empty() };
    let token = |c: char| c.is_ascii_alphanumeric() || "!#$&^_.+-".contains(c);
    let malformed = kind.is_empty() || name.is_empty() || !kind.chars().all(token) || !name.chars().all(token);
    let runs = ["html", "xml", "svg", "xsl", "javascript", "ecmascript", "jscript", "livescript", "vbscript", "wasm"];
    let shows_others = ["application/pdf", "application/x-shockwave-flash", "text/css", "text/cache-manifest"];
    malformed
        || runs.iter().any(|word| name.contains(word))
        || shows_others.contains(&essence.as_str())
        || matches!(kind, "multipart" | "message")
}

/// Header values come from checked input or from us.
fn header_value(text: &str) -> HeaderValue {
    HeaderValue::from_str(text).unwrap_or_else(|_invalid| HeaderValue::from_static("application/octet-stream"))
}

/// `PUT`.
pub async fn write(
    State(node): State<Node>,
    Extension(caller): Extension<Caller>,
    request: Request,
) -> Result<Json<Receipt>, Problem> {
    let (parts, body) = request.into_parts();
    let (bucket, key) = path::bucket_and_key(parts.uri.path())?;
    let options = options(&parts.uri, &parts.headers, &caller)?;
    let content_type = content_type(&parts.headers)?;
    let whole = body::whole(&node, &parts.headers, body, VALUE_BYTES_MAX).await?;
    let action = Action::Put { content_type, body: Blob(whole.bytes.clone()), ttl_ms: None };
    match node.put(&bucket, key.clone(), action, options).await {
        Ok(receipt) => Ok(Json(receipt)),
        Err(refused @ DoorError::Refused(Refusal::TooManySiblings)) => {
            Err(with_siblings(refused.into(), &node, &bucket, &key).await)
        }
        Err(error) => Err(error.into()),
    }
}

/// A refusal with what the writer has to merge. Where that cannot be read now, the refusal alone.
async fn with_siblings(problem: Problem, node: &Node, bucket: &str, key: &Key) -> Problem {
    let members = match node.get(bucket, key, ReadOptions::default()).await {
        Ok(Some(value)) => siblings(&value),
        Ok(None) | Err(_) => return problem,
    };
    let serde_json::Value::Object(members) = members else { return problem };
    Problem { members, ..problem }
}

/// `DELETE`.
pub async fn remove(
    State(node): State<Node>,
    Extension(caller): Extension<Caller>,
    request: Request,
) -> Result<Json<Receipt>, Problem> {
    let (bucket, key) = path::bucket_and_key(request.uri().path())?;
    let options = options(request.uri(), request.headers(), &caller)?;
    Ok(Json(node.put(&bucket, key, Action::Delete, options).await?))
}

fn options(uri: &Uri, headers: &HeaderMap, caller: &Caller) -> Result<WriteOptions, Problem> {
    let query = Query::parse(uri, &["w", "ttl"])?;
    let if_none_match = text(headers, &header::IF_NONE_MATCH)?;
    if if_none_match.is_some_and(|value| value.trim() != "*") {
        return Err(Problem::bad_request("bad_condition", "a write takes `If-None-Match: *` only"));
    }
    let etags =
        text(headers, &header::IF_MATCH)?.map(|list| list.split(',').map(|one| one.trim().to_owned()).collect());
    Ok(WriteOptions {
        context: text(headers, &CONTEXT)?.map(str::to_owned),
        if_absent: if_none_match.is_some(),
        if_match: etags,
        idempotency: idempotency(headers, caller)?,
        ttl_ms: query.ttl_ms("ttl")?,
        w: query.number("w")?,
    })
}

/// Reads what a request says beside its key and body, without a node.
pub fn read_request(uri: &Uri, headers: &HeaderMap) {
    let _options = options(uri, headers, &Caller::anonymous(None));
    let _known = etag::is_known(headers, b"\"\"");
    if let Ok(content_type) = content_type(headers) {
        let _served = (is_executable(&content_type), header_value(&content_type));
    }
}

/// One caller's keys are not another's: a user and a token may have one name, so it counts how they came in as well.
fn idempotency(headers: &HeaderMap, caller: &Caller) -> Result<Option<Vec<u8>>, Problem> {
    let Some(key) = headers.get(&IDEMPOTENCY_KEY) else { return Ok(None) };
    if key.is_empty() || key.len() > IDEMPOTENCY_KEY_BYTES_MAX {
        let detail = format!("an Idempotency-Key has 1 to {IDEMPOTENCY_KEY_BYTES_MAX} bytes");
        return Err(Problem::bad_request("bad_idempotency_key", detail));
    }
    // The number that the audit chains too: it never changes.
    Ok(Some([&[caller.via as u8], caller.name.as_bytes(), b"\0", key.as_bytes()].concat()))
}

fn text<'h>(headers: &'h HeaderMap, name: &HeaderName) -> Result<Option<&'h str>, Problem> {
    let bad = || Problem::bad_request("bad_header", format!("the header {name} is not plain text"));
    headers.get(name).map(|value| value.to_str().map_err(|_invalid| bad())).transpose()
}

fn content_type(headers: &HeaderMap) -> Result<String, Problem> {
    let content_type = text(headers, &header::CONTENT_TYPE)?.unwrap_or_default();
    check_content_type(content_type).map_err(|bad| DoorError::from(bad).into()).map(|()| content_type.to_owned())
}

/// `GET /v1/kv/{bucket}`.
pub async fn list(State(node): State<Node>, uri: Uri) -> Result<Response, Problem> {
    let bucket = path::bucket(uri.path())?;
    let query = Query::parse(&uri, &["prefix", "after", "after_b64", "limit"])?;
    let after = match (query.bytes("after"), query.text("after_b64")?) {
        (Some(_), Some(_)) => return Err(Problem::bad_request("bad_parameter", "give after or after_b64, not both")),
        (None, Some(text)) => {
            codec::from_base64(text).ok_or_else(|| Problem::bad_request("bad_parameter", "after_b64 is not base64"))?
        }
        (after, None) => after.unwrap_or_default().to_vec(),
    };
    let limit = query.number::<usize>("limit")?.unwrap_or(LIST_PAGE_MAX);
    if !(1..=LIST_PAGE_MAX).contains(&limit) {
        return Err(Problem::bad_request("bad_parameter", format!("limit is 1 to {LIST_PAGE_MAX}")));
    }
    let prefix = query.bytes("prefix").unwrap_or_default().to_vec();
    let page = node.list(&bucket, Range { prefix, after, way: Way::Forward }, limit).await?;
    let keys: Vec<_> = page.keys.iter().map(listed).collect();
    let document = match page.next {
        None => json!({ "keys": keys, "next": null }),
        Some(next) => match String::from_utf8(next) {
            Ok(next) => json!({ "keys": keys, "next": next }),
            Err(bytes) => json!({ "keys": keys, "next": null, "next_b64": codec::base64(bytes.as_bytes()) }),
        },
    };
    Ok(Json(document).into_response())
}

fn listed(one: &Listed) -> serde_json::Value {
    let at = time::rfc3339(one.at_ms);
    match std::str::from_utf8(&one.key) {
        Ok(key) => json!({ "key": key, "size": one.size, "at": at }),
        Err(_not_text) => json!({ "key_b64": codec::base64(&one.key), "size": one.size, "at": at }),
    }
}

#[cfg(test)]
mod tests {
    use super::is_executable;

    #[test]
    fn what_a_browser_could_run_is_a_download_and_nothing_else_is() {
        for runs in [
            "text/html",
            "TEXT/HTML; charset=utf-8",
            " application/xhtml+xml",
            "image/svg+xml",
            "text/xml",
            "a/b+xml",
            "text/javascript",
            "application/x-javascript",
            "application/pdf",
            "multipart/related",
            "text",
            "/",
            "a/b c",
            "text/html/",
            "application/wasm",
            "text/xsl",
        ] {
            assert!(is_executable(runs), "{runs}");
        }
        for shows in ["", "application/json", "application/senml+json", "audio/ogg", "image/png", "text/plain;x=<b>"] {
            assert!(!is_executable(shows), "{shows}");
        }
    }
}
