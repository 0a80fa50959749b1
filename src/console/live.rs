//! `/live`: server-sent events that keep one open page live. Every beat of the node brings the frame anew, what the page
//! shows, and a heartbeat; the stream ends when the node stops or the visitor may no longer look.

use std::convert::Infallible;

use askama::Template;
use axum::body::Body;
use axum::body::Bytes;
use axum::extract::State;
use axum::http::HeaderName;
use axum::http::Uri;
use axum::http::header;
use axum::response::IntoResponse;
use axum::response::Response;
use futures_util::stream;
use tokio::sync::OwnedSemaphorePermit;
use tokio::sync::watch;

use crate::base::time;
use crate::console::overview;
use crate::console::page::Answer;
use crate::console::page::Page;
use crate::console::page::Refused;
use crate::console::page::Section;
use crate::console::page::Visit;
use crate::front::problem::Problem;
use crate::front::query::Query;
use crate::node::Node;
use crate::node::series::Range;
use crate::proto::scope::Need;

/// Where it is.
pub const PATH: &str = "/live";

/// How long a browser waits before it connects again, in milliseconds.
const RETRY_MS: u32 = 2000;

/// What a page shows beside its frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum View {
    /// Nothing live.
    Frame,
    /// `/`.
    Overview(Range),
}

/// The frame alone, as every page has it.
#[derive(Template)]
#[template(path = "frame.html")]
struct Frame {
    page: Page,
}

struct Live {
    node: Node,
    visit: Visit,
    view: View,
    beat: watch::Receiver<u64>,
    begun: bool,
    ended: bool,
    _place: OwnedSemaphorePermit,
}

/// `GET /live?view=overview&range=`.
pub async fn stream(State(node): State<Node>, visit: Visit, uri: Uri) -> Answer {
    let query = Query::parse(&uri, &["view", "range"])?;
    let view = match query.text("view")? {
        None => View::Frame,
        Some("overview") => View::Overview(overview::range(&query)?),
        Some(_) => return Err(Refused(Problem::bad_request("bad_parameter", "`view` is not one of: overview"))),
    };
    let place = node.enter_live()?;
    let live = Live { beat: node.beat(), node, visit, view, begun: false, ended: false, _place: place };
    let events = stream::unfold(live, |mut live| async {
        let events = live.next().await?;
        Some((Ok::<Bytes, Infallible>(events.into()), live))
    });
    std::future::ready(Ok(answer(Body::from_stream(events)))).await
}

fn answer(body: Body) -> Response {
    // The second header asks proxies in front not to hold events back.
    let unbuffered = (HeaderName::from_static("x-accel-buffering"), "no");
    ([(header::CONTENT_TYPE, "text/event-stream"), unbuffered], body).into_response()
}

impl Live {
    /// The events of the next beat, at once for the first time; `None` at the end.
    async fn next(&mut self) -> Option<String> {
        if self.ended {
            return None;
        }
        if self.begun {
            tokio::select! {
                beat = self.beat.changed() => beat.ok()?,
                () = self.node.drained() => return None,
            }
        }
        let id = *self.beat.borrow_and_update();
        let mut events = String::new();
        if !self.node.is_welcome(&self.visit.caller, Need::Observe) {
            // The page asks again, and is told to sign in.
            self.ended = true;
            write_event(&mut events, id, "end", "signed out");
            return Some(events);
        }
        if !self.begun {
            events.push_str(&format!("retry: {RETRY_MS}\n\n"));
            self.begun = true;
        }
        self.write(id, &mut events);
        Some(events)
    }

    fn write(&self, id: u64, events: &mut String) {
        let page = Page::new(&self.node, &self.visit, Section::Outside, "");
        if let Ok(frame) = (Frame { page }).render() {
            write_event(events, id, "frame", &frame);
        }
        if let View::Overview(range) = self.view
            && let Ok(overview) = overview::live(&self.node, range).render()
        {
            write_event(events, id, "overview", &overview);
        }
        write_event(events, id, "beat", &time::rfc3339(time::wall_ms()));
    }
}

/// One event; every line of its data has a prefix of its own.
fn write_event(events: &mut String, id: u64, name: &str, data: &str) {
    events.push_str(&format!("id: {id}\nevent: {name}\n"));
    for line in data.lines() {
        events.push_str("data: ");
        events.push_str(line);
        events.push('\n');
    }
    events.push('\n');
}

#[cfg(test)]
mod tests {
    use super::write_event;

    #[test]
    fn data_of_several_lines_cannot_end_its_event() {
        let mut events = String::new();
        write_event(&mut events, 7, "frame", "<p>\n\nevent: beat\r\n</p>");
        assert_eq!(events, "id: 7\nevent: frame\ndata: <p>\ndata: \ndata: event: beat\ndata: </p>\n\n");
    }
}
