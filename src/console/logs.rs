//! `/logs`: the log of all machines from any of them, with filters that are in the address, page by page; the newest page is
//! live where script runs. And the same lines as a file.

use askama::Template;
use axum::body::Body;
use axum::extract::State;
use axum::http::HeaderValue;
use axum::http::StatusCode;
use axum::http::Uri;
use axum::http::header;
use axum::response::IntoResponse;
use axum::response::Response;

use crate::base::limits::LOG_ROWS_MAX;
use crate::base::limits::LOG_SHOWN_BYTES_MAX;
use crate::console::page;
use crate::console::page::Answer;
use crate::console::page::Page;
use crate::console::page::Refused;
use crate::console::page::Section;
use crate::console::page::Visit;
use crate::console::show;
use crate::front::logs;
use crate::front::problem::Problem;
use crate::front::query::Query;
use crate::node::Node;
use crate::node::debug::book::LineView;
use crate::node::debug::book::LogPage;
use crate::node::debug::book::SilentView;
use crate::proto::logline::Level;
use crate::proto::logline::text;

/// The page.
pub const LOGS: &str = "/logs";
/// The same lines as a file of any name.
pub const DOWNLOAD: &str = "/logs/{file}";

/// Parameters of the page that say which lines are shown.
const FILTERS: [&str; 7] = ["node", "level", "target", "text", "regex", "since", "until"];

#[derive(Template)]
#[template(path = "logs.html")]
struct Whole {
    page: Page,
    view: View,
}

/// What changes while somebody watches.
#[derive(Template)]
#[template(path = "logs.html", block = "live")]
pub struct Live {
    view: View,
}

struct View {
    given: Given,
    nodes: Vec<(String, String)>,
    rows: Vec<Row>,
    silent: Vec<SilentView>,
    /// The address of the page before this one; empty where there is none.
    earlier: String,
    /// Whether these are the newest lines.
    is_newest: bool,
    /// Why nothing is shown; empty where it is.
    refused: String,
    damaged: u64,
}

/// The filters, as they were given.
#[derive(Default)]
pub struct Given([String; 7]);

impl Given {
    pub(super) fn of(query: &Query) -> Result<Self, Problem> {
        let mut given = Self::default();
        for (name, slot) in FILTERS.into_iter().zip(&mut given.0) {
            *slot = query.text(name)?.unwrap_or_default().to_owned();
        }
        Ok(given)
    }

    /// One of them by name, as it is shown: an address may have been made by somebody else.
    #[must_use]
    pub fn get(&self, name: &str) -> String {
        let named = FILTERS.into_iter().zip(&self.0).find(|(known, _)| *known == name);
        named.map(|(_, value)| text::one_line(value)).unwrap_or_default()
    }

    /// Whether nothing is filtered.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.iter().all(String::is_empty)
    }

    /// As parameters of an address.
    #[must_use]
    pub fn query(&self) -> String {
        let given = FILTERS.into_iter().zip(&self.0).filter(|(_, value)| !value.is_empty());
        let pairs = given.map(|(name, value)| format!("{name}={}", show::escaped(value)));
        pairs.collect::<Vec<_>>().join("&")
    }
}

/// A line as the page shows it.
pub(super) struct Row {
    pub(super) at: String,
    pub(super) level: Level,
    pub(super) node: u64,
    pub(super) name: String,
    pub(super) target: String,
    pub(super) message: String,
    pub(super) more: String,
}

/// How a level is drawn: its colour, and its icon.
#[must_use]
pub fn kind(level: &Level) -> (&'static str, &'static str) {
    match level {
        Level::Error => ("bad", "bad"),
        Level::Warn => ("warn", "warn"),
        Level::Info => ("", "info"),
        Level::Debug | Level::Trace => ("muted", "list"),
    }
}

pub(super) fn row(line: LineView) -> Row {
    let LineView { at, name, record } = line;
    let shown = |text: &str| {
        let mut shown = text::one_line(text);
        text::cut(&mut shown, LOG_SHOWN_BYTES_MAX);
        shown
    };
    let fields: Vec<String> = record.fields.iter().map(|(name, value)| format!("{name}={value}")).collect();
    let more = [record.spans.join(" › "), fields.join(" ")].into_iter().filter(|part| !part.is_empty());
    Row {
        at,
        level: record.level,
        node: record.node.0,
        name,
        target: shown(&record.target),
        message: shown(&record.message),
        more: shown(&more.collect::<Vec<_>>().join(" · ")),
    }
}

/// Reads what is asked for and asks all machines.
async fn view(node: &Node, query: &Query) -> Result<View, Problem> {
    let given = Given::of(query)?;
    let state = node.state();
    let nodes = state.members.iter().map(|(id, member)| (id.to_string(), member.name.clone())).collect();
    let before = query.text("before")?.unwrap_or_default().to_owned();
    let (page, refused) = match logs::read(node, query) {
        Ok(mut asked) => {
            asked.lines_max = LOG_ROWS_MAX;
            match node.log_page(&asked).await {
                Ok(page) => (Some(page), String::new()),
                Err(error) => (None, error.to_string()),
            }
        }
        // What was typed into the form is said on the page.
        Err(problem) => (None, problem.detail),
    };
    let empty = LogPage { lines: Vec::new(), next: None, newest: None, silent: Vec::new(), damaged: 0 };
    let LogPage { lines, next, silent, damaged, .. } = page.unwrap_or(empty);
    let filters = given.query();
    let earlier = next.map(|next| format!("{LOGS}?{filters}&before={next}").replace("?&", "?")).unwrap_or_default();
    // The newest first: that is where somebody looks.
    let rows = lines.into_iter().rev().map(row).collect();
    Ok(View {
        given,
        nodes,
        rows,
        silent,
        earlier,
        is_newest: before.is_empty(),
        refused: text::one_line(&refused),
        damaged,
    })
}

/// What a live view of it shows.
///
/// # Errors
/// A 400 for a parameter that is none.
pub async fn live(node: &Node, query: &Query) -> Result<Live, Problem> {
    Ok(Live { view: view(node, query).await? })
}

/// Where the live lines of a page come from.
#[must_use]
pub fn parameters() -> Vec<&'static str> {
    FILTERS.into_iter().chain(["before"]).collect()
}

/// `GET /logs`.
pub async fn show(State(node): State<Node>, visit: Visit, uri: Uri) -> Answer {
    let query = Query::parse(&uri, &parameters())?;
    let view = view(&node, &query).await?;
    let mut page = Page::new(&node, &visit, Section::Logs, "Logs");
    if view.is_newest && view.refused.is_empty() {
        page.live = format!("/live?view=logs&{}", view.given.query()).trim_end_matches('&').to_owned();
    }
    page::render(&Whole { page, view })
}

/// `GET /logs/{file}`: one line for each record, as it is on disk.
pub async fn download(State(node): State<Node>, uri: Uri) -> Answer {
    check_name(&uri)?;
    let query = Query::parse(&uri, &[&parameters()[..], &["limit"]].concat())?;
    let asked = logs::read(&node, &query)?;
    let found = node.log_page(&asked).await;
    let found = found.map_err(|error| Refused(Problem::bad_request("bad_parameter", error.to_string())))?;
    Ok(as_file(&found))
}

pub(super) fn check_name(uri: &Uri) -> Result<(), Refused> {
    if uri.path().ends_with(".ndjson") {
        return Ok(());
    }
    let detail = "lines come as a file whose name ends in .ndjson; nothing was changed";
    Err(Refused(Problem::new(StatusCode::NOT_FOUND, "not_found", detail)))
}

pub(super) fn as_file(found: &LogPage) -> Response {
    let mut lines = Vec::new();
    for line in &found.lines {
        lines.extend_from_slice(&serde_json::to_vec(line).unwrap_or_default());
        lines.push(b'\n');
    }
    let headers = [
        (header::CONTENT_TYPE, HeaderValue::from_static("application/x-ndjson")),
        (header::CONTENT_DISPOSITION, HeaderValue::from_static("attachment; filename=\"ringfort-log.ndjson\"")),
    ];
    (headers, Body::from(lines)).into_response()
}
