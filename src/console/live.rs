//! `/live`: server-sent events that keep one open page live. Every beat of the node brings the frame anew, what the page
//! shows, and a heartbeat; the stream ends when the node stops or the visitor may no longer look.

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::PoisonError;

use askama::Template;
use axum::Extension;
use axum::body::Body;
use axum::body::Bytes;
use axum::extract::State;
use axum::http::Uri;
use futures_util::stream;
use tokio::sync::OwnedSemaphorePermit;
use tokio::sync::watch;

use crate::base::limits::LIVE_STREAMS_MAX;
use crate::base::time;
use crate::console::crashes;
use crate::console::inside;
use crate::console::inside::convergence;
use crate::console::inside::runtime;
use crate::console::inside::timeline;
use crate::console::logs;
use crate::console::members;
use crate::console::members::one;
use crate::console::overview;
use crate::console::page::Answer;
use crate::console::page::Page;
use crate::console::page::Refused;
use crate::console::page::Section;
use crate::console::page::Visit;
use crate::console::ring;
use crate::front;
use crate::front::problem::Problem;
use crate::front::query::Query;
use crate::front::sse;
use crate::node::Node;
use crate::node::series::Range;
use crate::proto::scope::Need;

/// Where it is.
pub const PATH: &str = "/live";

/// How long a browser waits before it connects again, in milliseconds.
const RETRY_MS: u32 = 2000;

/// What a page shows beside its frame.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
enum View {
    /// Nothing live.
    Frame,
    /// `/`.
    Overview(Range),
    /// `/members`.
    Members(members::Choice),
    /// `/members/{id}`.
    Member(String),
    /// `/ring`; with its buttons where whoever looks may press them.
    Ring(ring::Choice, bool),
    /// `/shared`.
    Shared,
    /// `/convergence`.
    Convergence,
    /// `/runtime`, of this machine where none is named.
    Runtime(Option<u64>),
    /// `/members/{id}/inside`.
    Within(u64),
    /// `/logs`: what it asks for.
    Logs(String),
    /// `/crashes`: what it asks for.
    Crashes(String),
    /// `/timeline`: what it asks for.
    Timeline(timeline::Choice),
}

impl View {
    fn of(uri: &Uri, may: bool) -> Result<Self, Refused> {
        let all = ["view", "range", "show", "find", "after", "id", "p", "node", "kind", "since"];
        let named = Query::parse(uri, &[&all[..], &logs::parameters()].concat())?;
        let (view, known): (_, &[&str]) = match named.text("view")? {
            None => (Self::Frame, &["range"]),
            Some("overview") => (Self::Overview(overview::range(&named)?), &["view", "range"]),
            Some("members") => (Self::Members(members::Choice::of(&named)?), &["view", "show", "find", "after"]),
            Some("member") => (Self::Member(named.text("id")?.unwrap_or_default().to_owned()), &["view", "id"]),
            Some("ring") => (Self::Ring(ring::Choice::of(&named)?, may), &["view", "p", "node"]),
            Some("shared") => (Self::Shared, &["view"]),
            Some("convergence") => (Self::Convergence, &["view"]),
            Some("runtime") => (Self::Runtime(named.number("node")?), &["view", "node"]),
            Some("inside") => (Self::Within(named.number("node")?.unwrap_or_default()), &["view", "node"]),
            Some("logs") => return Self::of_logs(uri),
            Some("crashes") => return Self::of_crashes(uri),
            Some("timeline") => (Self::Timeline(timeline::Choice::of(&named)?), &["view", "since", "node", "kind"]),
            Some(_) => {
                let detail = "`view` is not one of: overview, members, member, ring, shared, convergence, runtime, inside, logs, \
                     timeline, crashes";
                return Err(Refused(Problem::bad_request("bad_parameter", detail)));
            }
        };
        Query::parse(uri, known)?;
        Ok(view)
    }

    fn of_logs(uri: &Uri) -> Result<Self, Refused> {
        Query::parse(uri, &[&["view"][..], &logs::parameters()].concat())?;
        Ok(Self::Logs(uri.to_string()))
    }

    fn of_crashes(uri: &Uri) -> Result<Self, Refused> {
        Query::parse(uri, &[&["view"][..], &front::crashes::PARAMETERS].concat())?;
        Ok(Self::Crashes(uri.to_string()))
    }

    /// What takes time to be asked for; none where it is drawn at once.
    async fn ask(&self, node: &Node) -> Option<(&'static str, Arc<str>)> {
        if let Self::Timeline(choice) = self {
            let drawn = timeline::live(node, choice.clone()).await.render().ok()?;
            return Some(("timeline", drawn.into()));
        }
        if let Self::Crashes(uri) = self {
            let known = [&["view"][..], &front::crashes::PARAMETERS].concat();
            let query = Query::parse(&uri.parse().ok()?, &known).ok()?;
            let drawn = crashes::live(node, &query).await.ok()?.render().ok()?;
            return Some(("crashes", drawn.into()));
        }
        let Self::Logs(uri) = self else { return None };
        let query = Query::parse(&uri.parse().ok()?, &[&["view"][..], &logs::parameters()].concat()).ok()?;
        let drawn = logs::live(node, &query).await.ok()?.render().ok()?;
        Some(("logs", drawn.into()))
    }

    /// The name of its event, and what it shows; none where there is nothing to show.
    fn draw(&self, node: &Node) -> Option<(&'static str, String)> {
        let (name, drawn) = match self {
            Self::Frame | Self::Logs(_) | Self::Timeline(_) | Self::Crashes(_) => return None,
            Self::Overview(range) => ("overview", overview::live(node, *range).render()),
            Self::Members(choice) => ("members", members::live(node, choice.clone()).render()),
            Self::Ring(choice, may) => ("ring", ring::live(node, *choice, *may).render()),
            Self::Shared => ("shared", inside::live(node).render()),
            Self::Convergence => ("convergence", convergence::live(node).render()),
            Self::Runtime(id) => ("runtime", runtime::live_runtime(node, *id).render()),
            Self::Within(id) => ("inside", runtime::live_within(node, *id).render()),
            Self::Member(id) => ("member", one::live(node, id)?.render()),
        };
        drawn.ok().map(|drawn| (name, drawn))
    }
}

/// The frame alone, as every page has it.
#[derive(Template)]
#[template(path = "frame.html")]
struct Frame {
    page: Page,
}

/// What one beat shows: the frame, and what a view has beside it.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
struct Pieces {
    frame: Arc<str>,
    view: Option<(&'static str, Arc<str>)>,
}

/// What was drawn in this beat, once for all who watch the same.
#[derive(Debug, Default)]
pub struct Drawn(Mutex<Beat>);

#[derive(Debug, Default)]
struct Beat {
    id: u64,
    /// By what is shown: nothing on it depends on who looks otherwise. There are no more of them than streams.
    pieces: BTreeMap<View, Pieces>,
}

impl Drawn {
    /// What was drawn already, unless a page was just opened: it shows more than the beat's beginning.
    fn of(&self, id: u64, view: &View, anew: bool, draw: impl FnOnce() -> Pieces) -> Pieces {
        let mut beat = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if beat.id != id {
            *beat = Beat { id, pieces: BTreeMap::new() };
        }
        if let Some(drawn) = beat.pieces.get(view).filter(|_| !anew) {
            return drawn.clone();
        }
        let drawn = draw();
        if beat.pieces.len() < LIVE_STREAMS_MAX {
            beat.pieces.insert(view.clone(), drawn.clone());
        }
        drawn
    }
}

struct Live {
    node: Node,
    visit: Visit,
    view: View,
    drawn: Arc<Drawn>,
    /// What the browser has: what did not change is not sent again.
    sent: Pieces,
    beat: watch::Receiver<u64>,
    begun: bool,
    ended: bool,
    _place: OwnedSemaphorePermit,
}

/// `GET /live?view=overview&range=`, `view=members`, `view=member&id=`, `view=ring&p=&node=`, `view=shared`,
/// `view=convergence`, `view=logs&` and `view=crashes&` with the parameters of their pages.
pub async fn stream(
    State(node): State<Node>,
    Extension(drawn): Extension<Arc<Drawn>>,
    visit: Visit,
    uri: Uri,
) -> Answer {
    let view = View::of(&uri, visit.caller.may(Need::Operate))?;
    let place = node.enter_live(&visit.caller)?;
    let (beat, sent) = (node.beat(), Pieces::default());
    let live = Live { beat, node, visit, view, drawn, sent, begun: false, ended: false, _place: place };
    let events = stream::unfold(live, |mut live| async {
        let events = live.next().await?;
        Some((Ok::<Bytes, Infallible>(events.into()), live))
    });
    std::future::ready(Ok(sse::answer(Body::from_stream(events)))).await
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
        }
        let asked = self.view.ask(&self.node).await;
        self.write(id, asked, &mut events);
        self.begun = true;
        Some(events)
    }

    fn write(&mut self, id: u64, asked: Option<(&'static str, Arc<str>)>, events: &mut String) {
        let mut pieces = self.drawn.of(id, &self.view, !self.begun, || self.draw());
        pieces.view = asked.or(pieces.view);
        if pieces.frame != self.sent.frame {
            write_event(events, id, "frame", &pieces.frame);
        }
        if let Some((name, drawn)) = pieces.view.as_ref().filter(|_| pieces.view != self.sent.view) {
            write_event(events, id, name, drawn);
        }
        write_event(events, id, "beat", &time::rfc3339(time::wall_ms()));
        self.sent = pieces;
    }

    fn draw(&self) -> Pieces {
        let page = Page::new(&self.node, &self.visit, Section::Outside, "");
        let frame = (Frame { page }).render().unwrap_or_default().into();
        Pieces { frame, view: self.view.draw(&self.node).map(|(name, drawn)| (name, drawn.into())) }
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
    use super::Drawn;
    use super::Pieces;
    use super::View;
    use super::write_event;

    #[test]
    fn what_many_watch_is_drawn_once_in_a_beat() {
        let (drawn, mut times) = (Drawn::default(), 0);
        let mut look = |id, name: &str, anew| {
            let draw = || {
                times += 1;
                Pieces { frame: times.to_string().into(), view: None }
            };
            drawn.of(id, &View::Member(name.to_owned()), anew, draw).frame.to_string()
        };
        assert_eq!([look(1, "a", true), look(1, "a", false), look(1, "b", false)], ["1", "1", "2"]);
        assert_eq!(look(1, "a", true), "3", "who just opened a page sees what is now");
        assert_eq!([look(2, "a", false), look(2, "a", false)], ["4", "4"]);
    }

    #[test]
    fn data_of_several_lines_cannot_end_its_event() {
        let mut events = String::new();
        write_event(&mut events, 7, "frame", "<p>\n\nevent: beat\r\n</p>");
        assert_eq!(events, "id: 7\nevent: frame\ndata: <p>\ndata: \ndata: event: beat\ndata: </p>\n\n");
    }
}
