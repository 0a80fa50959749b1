//! `/static`: what the browser gets beside pages, compiled into the binary. An address carries a part of its file's
//! checksum, so that browsers may keep it for ever and a new release is seen at once.

use axum::extract::Request;
use axum::http::HeaderMap;
use axum::http::StatusCode;
use axum::http::header;
use axum::response::IntoResponse;
use axum::response::Response;
use rust_embed::Embed;
use rust_embed::EmbeddedFile;

use crate::base::codec;
use crate::console::page::Refused;
use crate::front::problem::Problem;

/// How axum matches an asset's path.
pub const PATH: &str = "/static/{version}/{*file}";

/// Hexadecimal digits of the checksum in an address: 48 bits tell a handful of files apart.
const VERSION_CHARS: usize = 12;

#[derive(Embed)]
#[folder = "static/"]
struct Static;

fn version(file: &EmbeddedFile) -> String {
    let mut hash = codec::hex(&file.metadata.sha256_hash());
    hash.truncate(VERSION_CHARS);
    hash
}

/// Where a page finds a file: `/static/0123456789ab/console.css`.
#[must_use]
pub fn url(name: &str) -> String {
    let version = Static::get(name).map_or_else(|| "absent".to_owned(), |file| version(&file));
    format!("/static/{version}/{name}")
}

/// `GET /static/{version}/{file}`.
pub async fn show(request: Request) -> Result<Response, Refused> {
    let answer = answer(request.uri().path(), request.headers());
    std::future::ready(answer).await
}

fn answer(path: &str, headers: &HeaderMap) -> Result<Response, Refused> {
    let absent = || Problem::new(StatusCode::NOT_FOUND, "no_such_asset", "the console has no such file");
    let rest = path.strip_prefix("/static/").unwrap_or_default();
    let (asked, name) = rest.split_once('/').ok_or_else(absent)?;
    let media_type = media_type(name).ok_or_else(absent)?;
    let file = Static::get(name).ok_or_else(absent)?;
    let version = version(&file);
    let packed = Static::get(&format!("{name}.gz")).filter(|_packed| takes_gzip(headers));
    let etag = format!("\"{version}{}\"", if packed.is_some() { "-gzip" } else { "" });
    // A page of another release may ask for a file that has changed since: it gets ours, and must not keep it.
    let caching = if asked == version { "public, max-age=31536000, immutable" } else { "no-cache" };
    let cached = headers.get(header::IF_NONE_MATCH).is_some_and(|known| known.as_bytes() == etag.as_bytes());
    let head = [(header::CACHE_CONTROL, caching), (header::ETAG, etag.as_str()), (header::VARY, "accept-encoding")];
    if cached {
        return Ok((StatusCode::NOT_MODIFIED, head).into_response());
    }
    let typed = [(header::CONTENT_TYPE, media_type)];
    Ok(match packed {
        Some(packed) => (head, typed, [(header::CONTENT_ENCODING, "gzip")], packed.data).into_response(),
        None => (head, typed, file.data).into_response(),
    })
}

/// Whether the browser unpacks gzip. One that wants it with quality 0 has no reason to name it.
fn takes_gzip(headers: &HeaderMap) -> bool {
    let named = headers.get_all(header::ACCEPT_ENCODING).iter().filter_map(|value| value.to_str().ok());
    named.flat_map(|value| value.split(',')).any(|coding| coding.trim().eq_ignore_ascii_case("gzip"))
}

/// What browsers get, large ones packed beside it (`.gz`, made with `gzip -9n`); other files of the folder are for the people who build.
fn media_type(name: &str) -> Option<&'static str> {
    match name.rsplit('.').next() {
        Some("css") => Some("text/css; charset=utf-8"),
        Some("js") => Some("text/javascript; charset=utf-8"),
        Some("svg") => Some("image/svg+xml"),
        Some(_) | None => None,
    }
}
