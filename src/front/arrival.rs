//! A request takes its place inside the door when the last of its body has come: a thousand clients that send theirs
//! byte by byte would otherwise keep everyone else out.

use std::error::Error;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::MutexGuard;
use std::sync::PoisonError;
use std::task::Context;
use std::task::Poll;
use std::task::ready;

use axum::body::Body;
use axum::body::Bytes;
use axum::body::HttpBody;
use axum::extract::Request;
use axum::http::Method;
use hyper::body::Frame;
use hyper::body::SizeHint;

use crate::node::Node;
use crate::node::error::DoorError;
use crate::node::places::Place;

/// The place of a request, until its answer is made.
pub enum Held {
    /// It was taken at once.
    Now(Place),
    /// It is taken with the end of the body, which may be after this is gone.
    WithBody(Shelf),
}

/// Where the place is put once the body has come.
#[derive(Clone, Default)]
pub struct Shelf(Arc<Mutex<Option<Place>>>);

impl Shelf {
    fn lock(&self) -> MutexGuard<'_, Option<Place>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Held {
    /// The answer is made.
    pub fn release(self) {
        if let Self::WithBody(shelf) = self {
            drop(shelf.lock().take());
        }
    }
}

/// Takes a place for a request: at once where no body is waited for, else with the end of the body, which then fails
/// with [`DoorError::Busy`] where all places are taken.
///
/// # Errors
/// [`DoorError::Busy`].
pub fn take_place(node: &Node, request: Request) -> Result<(Request, Held), DoorError> {
    let reads_no_body = [Method::GET, Method::HEAD, Method::DELETE].contains(request.method());
    if reads_no_body || request.body().is_end_stream() {
        return Ok((request, Held::Now(node.enter()?)));
    }
    // Asked again when the body has come; now, because nobody should send one for nothing.
    if node.is_full() {
        return Err(DoorError::Busy);
    }
    let shelf = Shelf::default();
    let held = Held::WithBody(shelf.clone());
    let arriving = |body| Body::new(Arriving { node: node.clone(), body, shelf, arrived: false });
    Ok((request.map(arriving), held))
}

struct Arriving {
    node: Node,
    body: Body,
    shelf: Shelf,
    arrived: bool,
}

impl HttpBody for Arriving {
    type Data = Bytes;
    type Error = Box<dyn Error + Send + Sync>;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Self::Error>>> {
        let frame = ready!(Pin::new(&mut self.body).poll_frame(context));
        if frame.is_none() && !self.arrived {
            self.arrived = true;
            match self.node.enter() {
                Ok(place) => *self.shelf.lock() = Some(place),
                Err(busy) => return Poll::Ready(Some(Err(busy.into()))),
            }
        }
        Poll::Ready(frame.map(|frame| frame.map_err(axum::Error::into_inner)))
    }

    fn is_end_stream(&self) -> bool {
        self.arrived && self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
