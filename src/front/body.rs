//! Request bodies within limits: refused by their announced length before a byte is read, cut off where they lie, and
//! never more of them in memory than the door has room for.

use std::io;

use axum::body::Body;
use axum::body::Bytes;
use axum::http::HeaderMap;
use axum::http::StatusCode;
use axum::http::header;
use http_body_util::BodyExt;
use serde::Deserialize;
use serde::de::DeserializeOwned;
use tokio::sync::OwnedSemaphorePermit;
use tokio::sync::mpsc;
use tokio::time::timeout;

use crate::base::limits::BODY_STALL_TIMEOUT;
use crate::base::limits::DOCUMENT_BYTES_MAX;
use crate::base::limits::JSON_DEPTH_MAX;
use crate::front::problem::Problem;
use crate::node::Node;
use crate::node::worker;

/// Pieces of a streamed body waiting for a slow consumer.
const PIECES_AHEAD: usize = 4;

/// A body read whole; the permit gives its room back when dropped.
pub struct Whole {
    /// The bytes.
    pub bytes: Bytes,
    _room: OwnedSemaphorePermit,
}

/// Reads a body of at most `max` bytes.
///
/// # Errors
/// 413, 503, 408, or 400 where the client broke off.
pub async fn whole(node: &Node, headers: &HeaderMap, body: Body, max: usize) -> Result<Whole, Problem> {
    let announced = announced(headers);
    if announced.is_some_and(|len| len > max as u64) {
        return Err(too_large(max));
    }
    let room = announced.and_then(|len| usize::try_from(len).ok()).unwrap_or(max);
    let room = node.reserve_body(room)?;
    let mut body = body;
    let Some(first) = next_piece(&mut body).await? else { return Ok(Whole { bytes: Bytes::new(), _room: room }) };
    if first.len() > max {
        return Err(too_large(max));
    }
    let Some(second) = next_piece(&mut body).await? else {
        // Copied, so that a small value does not keep the whole buffer that it came in.
        return Ok(Whole { bytes: Bytes::copy_from_slice(&first), _room: room });
    };
    let mut all = Vec::with_capacity(announced.and_then(|len| usize::try_from(len).ok()).unwrap_or(first.len()));
    all.extend_from_slice(&first);
    let mut piece = Some(second);
    while let Some(bytes) = piece {
        if all.len() + bytes.len() > max {
            return Err(too_large(max));
        }
        all.extend_from_slice(&bytes);
        piece = next_piece(&mut body).await?;
    }
    Ok(Whole { bytes: all.into(), _room: room })
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

async fn next_piece(body: &mut Body) -> Result<Option<Bytes>, Problem> {
    let slow =
        || Problem::new(StatusCode::REQUEST_TIMEOUT, "body_timeout", "the body came too slowly; nothing was changed");
    let broken = |error: axum::Error| {
        Problem::bad_request("body_broken", format!("the body broke off: {error}; nothing was changed"))
    };
    loop {
        let frame = timeout(BODY_STALL_TIMEOUT, body.frame()).await.map_err(|_elapsed| slow())?;
        let Some(frame) = frame else { return Ok(None) };
        // Trailers carry nothing we want.
        if let Ok(bytes) = frame.map_err(broken)?.into_data()
            && !bytes.is_empty()
        {
            return Ok(Some(bytes));
        }
    }
}

/// Passes a body on piece by piece through a bounded channel, for a blocking consumer.
#[must_use]
pub fn stream(mut body: Body) -> mpsc::Receiver<Result<Bytes, io::Error>> {
    let (to, pieces) = mpsc::channel(PIECES_AHEAD);
    worker::spawn("upload", async move {
        loop {
            let piece = match next_piece(&mut body).await {
                Ok(Some(bytes)) => Ok(bytes),
                Ok(None) => return,
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
    from_json(bytes)
}

/// Parses a JSON request document.
///
/// # Errors
/// As [`document`].
pub fn from_json<'b, T: Deserialize<'b>>(bytes: &'b [u8]) -> Result<T, Problem> {
    check_depth(bytes)?;
    serde_json::from_slice(bytes).map_err(|error| {
        let detail = format!("{error}; nothing was changed");
        if error.is_data() {
            Problem::unprocessable("bad_document", detail)
        } else {
            Problem::bad_request("bad_json", detail)
        }
    })
}

/// Refuses deep nesting and NULs in text before a parser sees them.
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
