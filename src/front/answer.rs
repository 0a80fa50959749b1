//! An answer on its way out: handed on in pieces, so that what a slow reader has not taken is counted, has a limit, and
//! can be cut.

use std::pin::Pin;
use std::task::Context;
use std::task::Poll;
use std::task::ready;

use axum::body::Body;
use axum::body::Bytes;
use axum::body::HttpBody;
use axum::http::Response;
use axum::http::Version;
use axum::response::IntoResponse;
use hyper::body::Frame;
use hyper::body::SizeHint;
use tokio::sync::OwnedSemaphorePermit;

use crate::base::limits::ANSWER_PIECE_BYTES;
use crate::base::limits::H2_PIECE_BYTES;
use crate::base::limits::SMALL_BYTES;
use crate::front::crowd::Crowd;
use crate::front::guest::Exchange;
use crate::front::problem::Problem;
use crate::node::error::DoorError;

/// The body of an answer.
pub struct Answer {
    body: Body,
    /// What came of the body and was not handed on.
    rest: Bytes,
    piece_bytes: usize,
    exchange: Exchange,
    _room: Option<OwnedSemaphorePermit>,
}

/// Makes an answer ready to go out, with room for it in memory; 503 instead where there is none.
pub async fn hand_over(
    crowd: &Crowd,
    exchange: Exchange,
    version: Version,
    response: Response<Body>,
) -> Response<Answer> {
    let piece_bytes = if version == Version::HTTP_2 { H2_PIECE_BYTES } else { ANSWER_PIECE_BYTES };
    let bytes = response.body().size_hint().exact().and_then(|bytes| usize::try_from(bytes).ok()).unwrap_or(0);
    let mut response = response;
    let mut room = None;
    if bytes > SMALL_BYTES {
        room = crowd.room_for(bytes).await;
        if room.is_none() {
            response = busy();
        }
    }
    response.map(|body| Answer { body, rest: Bytes::new(), piece_bytes, exchange, _room: room })
}

fn busy() -> Response<Body> {
    // A write's receipt is small: this can only be a read.
    Problem::from(DoorError::Busy).into_response()
}

impl HttpBody for Answer {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        let this = &mut *self;
        this.exchange.taken();
        if this.rest.is_empty() {
            match ready!(Pin::new(&mut this.body).poll_frame(context)) {
                Some(Ok(frame)) => match frame.into_data() {
                    Ok(bytes) if bytes.len() <= this.piece_bytes => {
                        this.exchange.hand_out(bytes.len() as u64);
                        return Poll::Ready(Some(Ok(Frame::data(bytes))));
                    }
                    Ok(bytes) => this.rest = bytes,
                    Err(trailers) => return Poll::Ready(Some(Ok(trailers))),
                },
                other => return Poll::Ready(other),
            }
        }
        let piece = if this.rest.len() > this.piece_bytes {
            this.rest.split_to(this.piece_bytes)
        } else {
            // Copied, so that the last piece does not keep all others in memory.
            Bytes::copy_from_slice(&std::mem::take(&mut this.rest))
        };
        this.exchange.hand_out(piece.len() as u64);
        Poll::Ready(Some(Ok(Frame::data(piece))))
    }

    fn is_end_stream(&self) -> bool {
        self.rest.is_empty() && self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        let mut hint = self.body.size_hint();
        let rest = self.rest.len() as u64;
        if let Some(upper) = hint.upper() {
            hint.set_upper(upper + rest);
        }
        hint.set_lower(hint.lower() + rest);
        hint
    }
}
