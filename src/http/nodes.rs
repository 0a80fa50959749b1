//! `/v1/nodes`: where a device may go.

use axum::Extension;
use axum::extract::State;
use axum::http::HeaderMap;
use axum::http::HeaderValue;
use axum::http::StatusCode;
use axum::http::Uri;
use axum::http::header;
use axum::response::IntoResponse;
use axum::response::Response;
use serde_json::json;

use crate::base::checksum;
use crate::base::codec;
use crate::base::limits::NODES_FRESH;
use crate::front::etag;
use crate::front::problem::Problem;
use crate::front::query::Query;
use crate::node::Node;
use crate::node::access::Caller;

/// `GET /v1/nodes`: it differs by device, so that only the device itself may keep it.
pub async fn nodes(
    State(node): State<Node>,
    Extension(caller): Extension<Caller>,
    headers: HeaderMap,
    uri: Uri,
) -> Result<Response, Problem> {
    let query = Query::parse(&uri, &["zone"])?;
    let body = json!({ "nodes": node.nodes_for(caller.from, query.text("zone")?) }).to_string();
    let etag = format!("\"{}\"", codec::hex(&checksum::sha256_16(&[body.as_bytes()])));
    let mut response = if etag::is_known(&headers, etag.as_bytes()) {
        StatusCode::NOT_MODIFIED.into_response()
    } else {
        ([(header::CONTENT_TYPE, "application/json")], body).into_response()
    };
    for (name, value) in
        [(header::CACHE_CONTROL, format!("private, max-age={}", NODES_FRESH.as_secs())), (header::ETAG, etag)]
    {
        response.headers_mut().extend(HeaderValue::try_from(value).ok().map(|value| (name, value)));
    }
    std::future::ready(Ok(response)).await
}
