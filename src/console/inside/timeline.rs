//! `/timeline`: what is wrong now and what changed, newest first, each with what it follows from. From any machine for all of
//! them; filters are in the address.

use std::collections::BTreeMap;

use askama::Template;
use axum::extract::State;
use axum::http::Uri;
use serde_json::Value;

use crate::base::id::NodeId;
use crate::base::limits::TIMELINE_PAGE;
use crate::console::page;
use crate::console::page::Answer;
use crate::console::page::Page;
use crate::console::page::Refused;
use crate::console::page::Section;
use crate::console::page::Visit;
use crate::front::problem::Problem;
use crate::front::query::Query;
use crate::node::Node;
use crate::node::timeline::EntryView;
use crate::node::timeline::Filter;
use crate::proto::alarm::code::Severity;
use crate::proto::event::Kind;

/// The page.
pub const TIMELINE: &str = "/timeline";

/// How far back one can look, by name.
pub const BACK: [(&str, &str); 5] =
    [("1h", "Last hour"), ("6h", "Last 6 hours"), ("1d", "Last day"), ("7d", "Last 7 days"), ("", "All that is kept")];

/// Kinds that can be chosen alone, and how people call them.
pub const KINDS: [(&str, &str); 11] = [
    ("", "Everything"),
    ("alarm_raised", "Alarms raised"),
    ("member_down", "Machines down"),
    ("node_started", "Starts"),
    ("crash", "Crashes"),
    ("layout_committed", "Changes of owners"),
    ("ordered", "Orders"),
    ("member_drained", "Drains"),
    ("member_moved", "Addresses"),
    ("config_reloaded", "Configuration"),
    ("repaired", "Repairs"),
];

/// What is looked for.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Default)]
pub struct Choice {
    since: String,
    node: Option<u64>,
    kind: String,
}

impl Choice {
    /// As the address says.
    ///
    /// # Errors
    /// A 400 for what is none.
    pub fn of(query: &Query) -> Result<Self, Problem> {
        let text = |name| query.text(name).map(|text| text.unwrap_or_default().to_owned());
        let (since, kind) = (text("since")?, text("kind")?);
        if !since.is_empty() {
            Filter::instant(&since)
                .map_err(|why| Problem::bad_request("bad_parameter", format!("`since` is {why}")))?;
        }
        if !kind.is_empty() && Kind::named(&kind).is_none() {
            return Err(Problem::bad_request("bad_parameter", "`kind` is not one that this release tells of"));
        }
        let node = match query.text("node")? {
            None | Some("") => None,
            Some(_) => query.number("node")?,
        };
        Ok(Self { since, node, kind })
    }

    /// As the end of an address.
    #[must_use]
    pub fn query(&self) -> String {
        let Self { since, node, kind } = self;
        let node = node.map(|node| node.to_string()).unwrap_or_default();
        format!("since={}&node={node}&kind={kind}", since.replace('+', "%2B"))
    }

    fn is_since(&self, value: &&str) -> bool {
        self.since == *value
    }

    fn is_of(&self, node: &NodeId) -> bool {
        self.node == Some(node.0)
    }

    fn is_kind(&self, value: &&str) -> bool {
        self.kind == *value
    }

    fn filter(&self) -> Filter {
        let since_ms = Filter::instant(&self.since).unwrap_or_default();
        let kind = (!self.kind.is_empty()).then(|| self.kind.clone());
        Filter { since_ms, node: self.node.map(NodeId), kind, limit: TIMELINE_PAGE, ..Filter::default() }
    }
}

#[derive(Template)]
#[template(path = "inside/timeline.html")]
struct Whole {
    page: Page,
    view: View,
}

/// What changes while somebody watches.
#[derive(Template)]
#[template(path = "inside/timeline.html", block = "live")]
pub struct Live {
    view: View,
}

struct View {
    /// What is wrong, as all machines see it.
    wrong: Vec<Wrong>,
    choice: Choice,
    /// Newest first.
    entries: Vec<EntryView>,
    more: bool,
    /// Machines that did not answer, by name, and why.
    unanswered: Vec<(String, &'static str)>,
    /// Machines by number.
    names: BTreeMap<NodeId, String>,
}

/// An alarm, and who tells it.
struct Wrong {
    kind: &'static str,
    severity: String,
    text: String,
    since: String,
    /// It follows from the one before it that does not.
    follows: bool,
    tellers: Vec<String>,
}

impl View {
    /// How a machine is called.
    fn name(&self, node: &NodeId) -> String {
        self.names.get(node).cloned().unwrap_or_else(|| format!("node {node}"))
    }
}

/// How an entry is drawn.
#[must_use]
pub fn kind(entry: &EntryView) -> (&'static str, &'static str) {
    match Kind::named(&entry.kind) {
        Some(Kind::AlarmRaised | Kind::Failure | Kind::MemberSuspect | Kind::HandoffPaused) => ("warn", "warn"),
        Some(Kind::MemberDown | Kind::Crash | Kind::RecoveryBegun) => ("bad", "bad"),
        Some(
            Kind::AlarmCleared
            | Kind::MemberUp
            | Kind::Repaired
            | Kind::RecoveryEnded
            | Kind::LayoutAtRest
            | Kind::HandoffResumed,
        ) => ("ok", "ok"),
        Some(
            Kind::NodeStarted
            | Kind::NodeStopped
            | Kind::MemberJoined
            | Kind::MemberMoved
            | Kind::MemberStopping
            | Kind::MemberGone
            | Kind::MemberLeaving
            | Kind::MemberRemoved
            | Kind::MemberDrained
            | Kind::MemberUndrained
            | Kind::PlanStaged
            | Kind::PlanCleared
            | Kind::LayoutCommitted
            | Kind::LayoutPhase
            | Kind::Ordered
            | Kind::ConfigReloaded
            | Kind::LeaderChanged,
        )
        | None => ("", "clock"),
    }
}

/// A kind as people read it.
#[must_use]
pub fn words(entry: &EntryView) -> String {
    match &entry.code {
        Some(code) => format!("{} {code}", entry.kind.replace('_', " ")),
        None => entry.kind.replace('_', " "),
    }
}

/// An id as the end of an address on this page.
#[must_use]
pub fn anchor(id: &str) -> String {
    format!("e{}", id.replace('.', "-"))
}

/// `GET /timeline?since=&node=&kind=`.
pub async fn show(State(node): State<Node>, visit: Visit, uri: Uri) -> Answer {
    let choice = Choice::of(&Query::parse(&uri, &["since", "node", "kind"])?).map_err(Refused)?;
    let live = format!("/live?view=timeline&{}", choice.query());
    let page = Page { live, ..Page::new(&node, &visit, Section::Inside, "Timeline") };
    page::render(&Whole { page, view: view(&node, choice).await })
}

/// What a live view of it shows.
pub async fn live(node: &Node, choice: Choice) -> Live {
    Live { view: view(node, choice).await }
}

async fn view(node: &Node, choice: Choice) -> View {
    let names = node.node_names();
    let mut told = node.timeline(&choice.filter()).await;
    told.entries.reverse();
    let name = |id: &NodeId| names.get(id).cloned().unwrap_or_else(|| format!("node {id}"));
    let unanswered = told.unanswered.iter().map(|(id, why)| (name(id), *why)).collect();
    let wrong = node.alarms_of_all().await.alarms;
    let wrong = wrong.into_iter().map(|told| {
        let part = |name: &str| told.alarm.get(name).and_then(Value::as_str).unwrap_or_default().to_owned();
        let (severity, follows) = (part("severity"), !part("follows_from").is_empty());
        let kind = if severity == Severity::Critical.name() { "bad" } else { "warn" };
        let tellers = told.told_by.iter().map(name).collect();
        Wrong { kind, severity, text: part("text"), since: part("since"), follows, tellers }
    });
    View { wrong: wrong.collect(), choice, entries: told.entries, more: told.more, unanswered, names }
}
