//! Data: buckets, keys, values. What its pages share: the addresses of pages, the names in them, and keys as people see
//! them. A key is any bytes; in an address it is percent-encoded, on a page it is escaped where it could deceive.

use std::fmt::Write as _;

use axum::Router;
use axum::http::Uri;
use axum::routing::get;
use axum::routing::post;
use percent_encoding::AsciiSet;
use percent_encoding::NON_ALPHANUMERIC;
use percent_encoding::percent_encode;

use crate::base::limits::PAGE_KEY_BYTES_MAX;
use crate::console::show;
use crate::front::path;
use crate::front::problem::Problem;
use crate::front::query;
use crate::front::query::Query;
use crate::node::Node;
use crate::node::error::DoorError;
use crate::proto::key::Key;

pub mod about;
pub mod buckets;
pub mod edit;
pub mod keys;
pub mod preview;
pub mod promise;
pub mod snippets;
pub mod upload;
pub mod value;
pub mod wizard;

/// The paths of these pages, as axum matches them.
pub const BUCKETS: &str = "/data";
/// See [`BUCKETS`].
pub const NEW_BUCKET: &str = "/data/new";
/// See [`BUCKETS`].
pub const BUCKET: &str = "/data/{bucket}";
/// See [`BUCKETS`].
pub const ABOUT: &str = "/data/{bucket}/about";
/// See [`BUCKETS`].
pub const IMPORT: &str = "/data/{bucket}/import";
/// See [`BUCKETS`].
pub const REMOVE: &str = "/data/{bucket}/remove";
/// See [`BUCKETS`].
pub const NEW_KEY: &str = "/data/{bucket}/new";
/// See [`BUCKETS`].
pub const KEY: &str = "/data/{bucket}/key";
/// See [`BUCKETS`].
pub const RAW: &str = "/data/{bucket}/raw";
/// See [`BUCKETS`].
pub const KEEP: &str = "/data/{bucket}/keep";
/// See [`BUCKETS`].
pub const DELETE: &str = "/data/{bucket}/delete";

/// The handlers of these pages.
pub fn router() -> Router<Node> {
    Router::new()
        .route(BUCKETS, get(buckets::show))
        .route(NEW_BUCKET, get(wizard::show).post(wizard::make))
        .route(BUCKET, get(keys::show))
        .route(ABOUT, get(about::show))
        .route(IMPORT, post(upload::import))
        .route(REMOVE, post(about::remove))
        .route(NEW_KEY, get(edit::blank).post(edit::make))
        .route(KEY, get(value::show).post(edit::save))
        .route(RAW, get(value::raw))
        .route(KEEP, post(edit::keep))
        .route(DELETE, post(edit::delete))
}

/// What stays as it is in an address; everything else is percent-encoded.
const PLAIN: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~');

/// Bytes in an address.
#[must_use]
pub fn escape(bytes: &[u8]) -> String {
    percent_encode(bytes, PLAIN).to_string()
}

/// Where a bucket is shown.
#[must_use]
pub fn bucket_url(bucket: &str) -> String {
    // The wizard's address is a bucket's name too: written otherwise, it means the bucket.
    if bucket == "new" { "/data/%6eew".to_owned() } else { format!("/data/{}", escape(bucket.as_bytes())) }
}

/// Where one key is shown, or something is done with it.
#[must_use]
pub fn key_url(bucket: &str, what: &str, key: &[u8]) -> String {
    format!("{}/{what}?k={}", bucket_url(bucket), escape(key))
}

/// Addresses of a key on its page that do not depend on its values.
const ADDRESSES_OF_A_KEY: usize = 10;

/// Bytes that the page of a key has for its values and an editor.
#[must_use]
pub fn body_bytes(bucket: &str, key: &Key) -> usize {
    PAGE_KEY_BYTES_MAX.saturating_sub(ADDRESSES_OF_A_KEY * key_url(bucket, "delete", key.as_bytes()).len())
}

/// The bucket in an address.
///
/// # Errors
/// A 400.
pub fn bucket_of(uri: &Uri) -> Result<String, Problem> {
    path::segment(uri.path(), 1)
}

/// The key in an address's query.
///
/// # Errors
/// A 400 or 414.
pub fn key_of(query: &Query) -> Result<Key, Problem> {
    let bytes = query.bytes("k").unwrap_or_default().to_vec();
    Key::new(bytes).map_err(|error| DoorError::from(error).into())
}

/// A lifetime as typed into a form; none where the field is empty.
///
/// # Errors
/// A sentence that says what is expected.
pub fn ttl_ms(text: &str) -> Result<Option<u64>, String> {
    if text.is_empty() {
        return Ok(None);
    }
    // The field stands beside the sentence: its name need not be in it.
    let wrong = |problem: Problem| show::sentence(problem.detail.strip_prefix("ttl: ").unwrap_or(&problem.detail));
    query::ttl_ms("ttl", text).map(Some).map_err(wrong)
}

/// A key as people see it: text as it is, escaped where it cannot be seen, could turn what stands around it, or is no
/// text. Two keys are never shown alike.
#[must_use]
pub fn shown(bytes: &[u8]) -> String {
    let mut text = String::with_capacity(bytes.len());
    for chunk in bytes.utf8_chunks() {
        for letter in chunk.valid().chars() {
            if letter == '\\' { text.push_str("\\\\") } else { push_seen(&mut text, letter) }
        }
        for byte in chunk.invalid() {
            // Writing to a String cannot fail.
            let _infallible = write!(text, "\\x{byte:02x}");
        }
    }
    // A space at an end is not seen either.
    if let Some(rest) = text.strip_prefix(' ') {
        text = format!("\\u{{20}}{rest}");
    }
    if text.ends_with(' ') {
        text.pop();
        text.push_str("\\u{20}");
    }
    text
}

/// The beginning of a long key, for lists.
#[must_use]
pub fn shown_short(bytes: &[u8]) -> String {
    const LETTERS_MAX: usize = 120;
    let whole = shown(bytes);
    match whole.char_indices().nth(LETTERS_MAX) {
        Some((end, _)) => format!("{}…", whole.get(..end).unwrap_or_default()),
        None => whole,
    }
}

/// A letter, or its escape where it is not seen for what it is.
pub fn push_seen(text: &mut String, letter: char) {
    if letter == ' ' || !(letter.is_control() || letter.is_whitespace() || is_format(letter)) {
        text.push(letter);
        return;
    }
    match letter {
        '\n' => text.push_str("\\n"),
        '\r' => text.push_str("\\r"),
        '\t' => text.push_str("\\t"),
        other => {
            let _infallible = write!(text, "\\u{{{:x}}}", u32::from(other));
        }
    }
}

/// Letters without a shape that change how others are read: direction, joining, tags (Unicode's Cf).
fn is_format(letter: char) -> bool {
    matches!(letter,
        '\u{ad}' | '\u{600}'..='\u{605}' | '\u{61c}' | '\u{6dd}' | '\u{70f}' | '\u{890}'..='\u{891}' | '\u{8e2}'
        | '\u{180e}' | '\u{200b}'..='\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{feff}'
        | '\u{fff9}'..='\u{fffb}' | '\u{1d173}'..='\u{1d17a}' | '\u{e0000}'..='\u{e007f}')
}

#[cfg(test)]
mod tests {
    use super::bucket_url;
    use super::escape;
    use super::key_url;
    use super::shown;
    use super::shown_short;

    #[test]
    fn what_cannot_be_seen_is_escaped_and_nothing_looks_like_something_else() {
        for (key, seen) in [
            (&b"EDDF"[..], "EDDF"),
            ("käse/中".as_bytes(), "käse/中"),
            (b"a\\x00", "a\\\\x00"),
            (b"a\0\x1b\xff\xc3", "a\\u{0}\\u{1b}\\xff\\xc3"),
            (b" a b\n", "\\u{20}a b\\n"),
            (b" ", "\\u{20}"),
            ("\u{202e}gpj.exe\u{200b}".as_bytes(), "\\u{202e}gpj.exe\\u{200b}"),
            ("\u{a0}\u{2028}".as_bytes(), "\\u{a0}\\u{2028}"),
            ("שלום".as_bytes(), "שלום"),
        ] {
            assert_eq!(shown(key), seen);
        }
        assert_eq!(shown_short(&[b'x'; 121]), format!("{}…", "x".repeat(120)));
        assert_eq!(shown_short("é".repeat(120).as_bytes()), "é".repeat(120));
    }

    #[test]
    fn every_byte_survives_an_address() {
        let all: Vec<u8> = (0..=u8::MAX).collect();
        let address = escape(&all);
        assert!(address.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"%-._~".contains(&byte)));
        assert_eq!(crate::front::path::decode(&address), Ok(all));
        assert_eq!(key_url("a", "key", b"a b+c"), "/data/a/key?k=a%20b%2Bc");
        assert_eq!((bucket_url("new").as_str(), bucket_url("news").as_str()), ("/data/%6eew", "/data/news"));
    }
}
