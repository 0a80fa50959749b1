//! Request bodies within limits: refused by their announced length before a byte is read, cut off where they lie, and
//! never more of them in memory than the door has room for.

use std::io;
use std::sync::Arc;
use std::time::Duration;
use std::time::Instant;

use axum::body::Body;
use axum::body::Bytes;
use axum::http::HeaderMap;
use axum::http::StatusCode;
use axum::http::header;
use http_body_util::BodyExt;
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde::de::IgnoredAny;
use tokio::sync::mpsc;
use tokio::time::timeout;

use crate::base::limits::BODY_BYTES_PER_S_MIN;
use crate::base::limits::BODY_GRACE;
use crate::base::limits::BODY_STALL_TIMEOUT;
use crate::base::limits::DOCUMENT_BYTES_MAX;
use crate::base::limits::JSON_DEPTH_MAX;
use crate::base::time;
use crate::front::problem::BUSY;
use crate::front::problem::Problem;
use crate::node::Node;
use crate::node::drill;
use crate::node::error::DoorError;
use crate::node::places::Place;
use crate::node::worker;

/// Pieces of a streamed body waiting for a slow consumer.
const PIECES_AHEAD: usize = 4;
/// Bytes after which an announced length is believed, and memory for all of it is taken at once.
const TRUSTED_BYTES: usize = 64 * 1024;

/// A body read whole; its room is given back when dropped.
pub struct Whole {
    /// The bytes.
    pub bytes: Bytes,
    _room: Vec<Place>,
}

/// Reads a body of at most `max` bytes. Room is taken as it comes: who announces much and sends little holds little.
///
/// # Errors
/// 413, 503, 408, or 400 where the client broke off.
pub async fn whole(node: &Node, headers: &HeaderMap, body: Body, max: usize) -> Result<Whole, Problem> {
    let announced = announced(headers);
    if announced.is_some_and(|len| len > max as u64) {
        return Err(too_large(max));
    }
    let announced = announced.and_then(|len| usize::try_from(len).ok()).unwrap_or_default();
    let mut arriving = Arriving::new(body);
    let mut room: Vec<Place> = Vec::new();
    let mut all = Vec::new();
    while let Some(piece) = arriving.next_piece().await? {
        if all.len() + piece.len() > max {
            return Err(too_large(max));
        }
        let more = node.reserve_body(all.len(), piece.len())?;
        match room.iter_mut().find(|room| Arc::ptr_eq(room.semaphore(), more.semaphore())) {
            Some(room) => room.merge(more),
            None => room.push(more),
        }
        if all.len() < TRUSTED_BYTES && all.len() + piece.len() >= TRUSTED_BYTES {
            all.reserve_exact(announced.saturating_sub(all.len()));
        }
        all.extend_from_slice(&piece);
    }
    Ok(Whole { bytes: all.into(), _room: room })
}

/// The same of a few KiB, where nobody counts what is on its way.
///
/// # Errors
/// 413, 408, 400.
pub async fn small(body: Body, max: usize) -> Result<Vec<u8>, Problem> {
    let (mut arriving, mut all) = (Arriving::new(body), Vec::new());
    while let Some(piece) = arriving.next_piece().await? {
        if all.len() + piece.len() > max {
            return Err(too_large(max));
        }
        all.extend_from_slice(&piece);
    }
    Ok(all)
}

fn announced(headers: &HeaderMap) -> Option<u64> {
    headers.get(header::CONTENT_LENGTH).and_then(|length| length.to_str().ok()).and_then(|length| length.parse().ok())
}

fn too_large(max: usize) -> Problem {
    Problem::new(
        StatusCode::PAYLOAD_TOO_LARGE,
        "too_large",
        format!("the body may have {max} bytes at most; nothing was changed"),
    )
}

/// A body on its way in, at a least rate.
struct Arriving {
    body: Body,
    began: Instant,
    came: u64,
}

impl Arriving {
    fn new(body: Body) -> Self {
        Self { body, began: time::mono(), came: 0 }
    }

    /// The next bytes; `None` at the end.
    async fn next_piece(&mut self) -> Result<Option<Bytes>, Problem> {
        loop {
            let frame = timeout(self.patience(), self.body.frame()).await.map_err(|_elapsed| too_slow())?;
            let Some(frame) = frame else { return Ok(None) };
            // Trailers carry nothing we want, and frames without bytes are not progress.
            if let Ok(bytes) = frame.map_err(broken)?.into_data()
                && !bytes.is_empty()
            {
                self.came += bytes.len() as u64;
                return Ok(Some(bytes));
            }
        }
    }

    /// How long the next bytes may take. With their rate too low there is no time left.
    fn patience(&self) -> Duration {
        let allowed = BODY_GRACE + Duration::from_secs(self.came / BODY_BYTES_PER_S_MIN);
        BODY_STALL_TIMEOUT.min(allowed.saturating_sub(time::mono().saturating_duration_since(self.began)))
    }
}

fn too_slow() -> Problem {
    let detail = format!(
        "the body came too slowly: after {} s it must have {BODY_BYTES_PER_S_MIN} bytes a second, and never rest for {} s; \
         nothing was changed",
        BODY_GRACE.as_secs(),
        BODY_STALL_TIMEOUT.as_secs()
    );
    Problem::new(StatusCode::REQUEST_TIMEOUT, "body_timeout", detail)
}

fn broken(error: axum::Error) -> Problem {
    match error.into_inner().downcast::<DoorError>() {
        Ok(busy) => Problem::from(*busy),
        Err(error) => Problem::bad_request("body_broken", format!("the body broke off: {error}; nothing was changed")),
    }
}

/// Passes a body on piece by piece through a bounded channel, for a blocking consumer.
#[must_use]
pub fn stream(body: Body) -> mpsc::Receiver<Result<Bytes, io::Error>> {
    let (to, pieces) = mpsc::channel(PIECES_AHEAD);
    worker::feed("upload", to.clone(), async move {
        let mut arriving = Arriving::new(body);
        loop {
            drill::meet_feed();
            let piece = match arriving.next_piece().await {
                Ok(Some(bytes)) => Ok(bytes),
                Ok(None) => return,
                // All of it came, and its work, which is long, has a place of its own.
                Err(problem) if problem.code == BUSY => return,
                Err(problem) => Err(io::Error::other(problem.detail)),
            };
            let last = piece.is_err();
            if to.send(piece).await.is_err() || last {
                return;
            }
        }
    });
    pieces
}

/// Reads a JSON request document.
///
/// # Errors
/// 413, or 400 with line and column for what is not JSON, or 422 naming the field that is unknown or of a wrong type.
pub async fn document<T: DeserializeOwned>(node: &Node, headers: &HeaderMap, body: Body) -> Result<T, Problem> {
    let whole = whole(node, headers, body, DOCUMENT_BYTES_MAX).await?;
    let bytes = if whole.bytes.is_empty() { &b"{}"[..] } else { &whole.bytes };
    check_nul(bytes)?;
    from_json(bytes)
}

/// Parses a JSON request document.
///
/// # Errors
/// As [`document`].
pub fn from_json<'b, T: Deserialize<'b>>(bytes: &'b [u8]) -> Result<T, Problem> {
    check_depth(bytes)?;
    serde_json::from_slice(bytes).map_err(|error| {
        // serde_json counts a repeated field as a matter of content; which of the two is meant is one of form.
        let repeated = error.to_string().starts_with("duplicate field");
        // And another kind of value where a word is expected as one of form, though it is JSON.
        let other_kind =
            || error.to_string().starts_with("expected value") && serde_json::from_slice::<IgnoredAny>(bytes).is_ok();
        if (error.is_data() || other_kind()) && !repeated {
            let text = error.to_string();
            // What is missing or unknown is named already.
            let unnamed = ["invalid", "unknown variant", "expected"].iter().any(|begin| text.starts_with(begin));
            let field = field_at(bytes, error.line(), error.column()).filter(|_| unnamed);
            let field = field.map(|name| format!("`{name}`: ")).unwrap_or_default();
            Problem::unprocessable("bad_document", format!("{field}{text}; nothing was changed"))
        } else {
            Problem::bad_request("bad_json", format!("{error}; nothing was changed"))
        }
    })
}

/// The field whose value stands at a place: the last name before it.
fn field_at(bytes: &[u8], line: usize, column: usize) -> Option<String> {
    let lines: usize = bytes.split_inclusive(|byte| *byte == b'\n').take(line.saturating_sub(1)).map(<[u8]>::len).sum();
    let before = bytes.get(..(lines + column).min(bytes.len()))?;
    let colon = colon_behind_a_name(before)?;
    let name = before.get(..colon)?.trim_ascii_end().strip_suffix(b"\"")?;
    let name = name.rsplit(|byte| *byte == b'"').next()?;
    std::str::from_utf8(name).ok().map(|name| name.escape_default().to_string())
}

/// Where the last colon is that is not within a text.
fn colon_behind_a_name(bytes: &[u8]) -> Option<usize> {
    let (mut in_text, mut escaped, mut colon) = (false, false, None);
    for (at, byte) in bytes.iter().enumerate() {
        match byte {
            _ if escaped => escaped = false,
            b'\\' if in_text => escaped = true,
            b'"' => in_text = !in_text,
            b':' if !in_text => colon = Some(at),
            _ => {}
        }
    }
    colon
}

/// Refuses NULs in the texts of a document of our own: names that end early for whoever reads them in C.
fn check_nul(bytes: &[u8]) -> Result<(), Problem> {
    const NUL: &[u8] = b"\\u0000";
    // An escaped backslash in front would make it something else, which is as little of a name.
    let Some(at) = bytes.windows(NUL.len()).position(|six| six == NUL) else { return Ok(()) };
    let before = bytes.get(..at).unwrap_or_default();
    let line = before.iter().filter(|byte| **byte == b'\n').count() + 1;
    let column = before.iter().rev().take_while(|byte| **byte != b'\n').count() + 1;
    let detail = format!("a NUL in a text at line {line} column {column}; nothing was changed");
    Err(Problem::bad_request("bad_json", detail))
}

/// Refuses deep nesting before a parser sees it.
fn check_depth(bytes: &[u8]) -> Result<(), Problem> {
    let (mut depth, mut in_text, mut escaped) = (0_usize, false, false);
    for (at, byte) in bytes.iter().enumerate() {
        match byte {
            _ if escaped => escaped = false,
            b'\\' if in_text => escaped = true,
            b'"' => in_text = !in_text,
            b'[' | b'{' if !in_text => depth += 1,
            b']' | b'}' if !in_text => depth = depth.saturating_sub(1),
            _ => {}
        }
        if depth > JSON_DEPTH_MAX {
            let detail = format!("byte {at}: nested deeper than {JSON_DEPTH_MAX}; nothing was changed");
            return Err(Problem::bad_request("too_deep", detail));
        }
    }
    Ok(())
}
