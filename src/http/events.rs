//! `/v1/events`: what happened, as server-sent events. First what is kept behind the event that the caller saw last, then
//! what comes; the stream ends when the node stops or the caller may no longer look.

use std::convert::Infallible;

use axum::Extension;
use axum::body::Body;
use axum::body::Bytes;
use axum::extract::State;
use axum::http::HeaderMap;
use axum::http::Uri;
use axum::response::Response;
use futures_util::stream;
use serde_json::json;
use tokio::sync::watch;

use crate::front::problem::Problem;
use crate::front::query::Query;
use crate::front::sse;
use crate::node::Node;
use crate::node::access::Caller;
use crate::node::events::EventId;
use crate::node::events::Following;
use crate::node::places::Place;
use crate::proto::scope::Need;

/// How long a client waits before it connects again, in milliseconds.
const RETRY_MS: u32 = 2000;

struct Stream {
    node: Node,
    caller: Caller,
    after: Option<EventId>,
    events: watch::Receiver<u64>,
    beat: watch::Receiver<u64>,
    follows: bool,
    begun: bool,
    ended: bool,
    _place: Place,
}

/// `GET /v1/events?follow=`.
pub async fn events(
    State(node): State<Node>,
    Extension(caller): Extension<Caller>,
    headers: HeaderMap,
    uri: Uri,
) -> Result<Response, Problem> {
    let query = Query::parse(&uri, &["follow"])?;
    let follows = match query.text("follow")? {
        None | Some("true") => true,
        Some("false") => false,
        Some(_) => return Err(Problem::bad_request("bad_parameter", "`follow` is true or false")),
    };
    let place = node.enter_events(&caller)?;
    let after = headers.get("last-event-id").map(|id| id.to_str().ok().and_then(EventId::parse));
    // What is no id of ours is one of which nothing is known.
    let after = after.map(|id| id.unwrap_or(EventId { node: node.who().node, start: 0, seq: u64::MAX }));
    let (events, beat) = (node.new_events(), node.beat());
    let stream = Stream { node, caller, after, events, beat, follows, begun: false, ended: false, _place: place };
    let pieces = stream::unfold(stream, |mut stream| async {
        let piece = stream.next().await?;
        Some((Ok::<Bytes, Infallible>(piece.into()), stream))
    });
    std::future::ready(Ok(sse::answer(Body::from_stream(pieces)))).await
}

impl Stream {
    /// What is to be sent next; `None` at the end.
    async fn next(&mut self) -> Option<String> {
        if self.ended {
            return None;
        }
        if self.begun {
            tokio::select! {
                event = self.events.changed() => event.ok()?,
                beat = self.beat.changed() => beat.ok()?,
                () = self.node.drained() => return None,
            }
        }
        self.ended = !self.follows;
        if !self.node.is_welcome(&self.caller, Need::Observe) {
            return None;
        }
        self.events.mark_unchanged();
        // Also a sign of life.
        let mut piece = if self.begun { ": beat\n\n".to_owned() } else { format!("retry: {RETRY_MS}\n\n") };
        self.begun = true;
        let following = self.node.events_after(self.after);
        self.after = Some(following.last);
        write(&following, &mut piece);
        Some(piece)
    }
}

fn write(following: &Following, piece: &mut String) {
    if following.missed {
        let text = "events before these are not known here: they are not kept any more, or were told by another node or \
                    before a restart; ask /v1/members, /v1/ring and /v1/status for what is now";
        piece.push_str(&format!("event: missed\ndata: {}\n\n", json!({ "text": text })));
    }
    for event in &following.events {
        let data = serde_json::to_string(event).unwrap_or_default();
        piece.push_str(&format!("id: {}\nevent: {}\ndata: {data}\n\n", event.id, event.kind));
    }
}
