//! Whether a client has already what an ETag names.

use axum::http::HeaderMap;
use axum::http::header;

/// Whether `If-None-Match`, a list or `*`, names this ETag; compared weakly (RFC 9110 §13.1.2).
#[must_use]
pub fn is_known(request: &HeaderMap, etag: &[u8]) -> bool {
    let fits = |known: &str| known == "*" || known.strip_prefix("W/").unwrap_or(known).as_bytes() == etag;
    let lists = request.get_all(header::IF_NONE_MATCH).iter().filter_map(|list| list.to_str().ok());
    lists.flat_map(|list| list.split(',')).any(|known| fits(known.trim()))
}
