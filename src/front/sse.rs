//! A stream of server-sent events as an answer.

use axum::body::Body;
use axum::http::HeaderName;
use axum::http::header;
use axum::response::IntoResponse;
use axum::response::Response;

/// An answer whose body is such a stream.
#[must_use]
pub fn answer(body: Body) -> Response {
    // The second header asks proxies in front not to hold events back.
    let unbuffered = (HeaderName::from_static("x-accel-buffering"), "no");
    ([(header::CONTENT_TYPE, "text/event-stream"), unbuffered], body).into_response()
}
