//! `/crashes`: what failed in the cluster, grouped by cause, and each report. Every filter is in the address.

use askama::Template;
use axum::extract::State;
use axum::http::Uri;

use crate::base::time;
use crate::console::page;
use crate::console::page::Answer;
use crate::console::page::Page;
use crate::console::page::Refused;
use crate::console::page::Section;
use crate::console::page::Visit;
use crate::front::path;
use crate::front::problem::Problem;
use crate::front::query::Query;
use crate::node::Node;
use crate::node::debug::crashes::view::CrashView;
use crate::node::debug::crashes::view::Unheard;
use crate::proto::crash::Kind;
use crate::proto::crash::Report;

/// All of them.
pub const LIST: &str = "/crashes";
/// One report.
pub const ONE: &str = "/crashes/{id}";

/// Groups on a page, and reports in each: enough to see which, and within the size of a page.
pub(super) const GROUPS_MAX: usize = 50;
/// See [`GROUPS_MAX`].
const ROWS_MAX: usize = 5;
/// Letters of a reason on the page of all.
const REASON_CHARS: usize = 300;

#[derive(Template)]
#[template(path = "crashes/list.html")]
struct List {
    page: Page,
    asked: Asked,
    groups: Vec<Group>,
    more: usize,
    found: usize,
    unheard: Vec<Unheard>,
    damaged: Vec<String>,
}

#[derive(Template)]
#[template(path = "crashes/one.html")]
struct One {
    page: Page,
    report: Report,
    parts: Vec<(&'static str, Vec<String>)>,
}

/// What is looked for.
pub(super) struct Asked {
    pub(super) kind: String,
    pub(super) node: String,
    pub(super) since: String,
    pub(super) until: String,
    pub(super) text: String,
}

/// Reports of one cause, the newest first.
pub(super) struct Group {
    pub(super) cause: String,
    pub(super) count: u64,
    pub(super) rows: Vec<CrashView>,
}

/// `GET /crashes`.
pub async fn list(State(node): State<Node>, visit: Visit, uri: Uri) -> Answer {
    let asked = Asked::of(&uri)?;
    let all = node.crashes().await;
    let fitting: Vec<CrashView> = all.crashes.into_iter().filter(|view| asked.fits(view)).collect();
    let found = fitting.len();
    let mut groups = grouped(fitting);
    let more = groups.len().saturating_sub(GROUPS_MAX);
    groups.truncate(GROUPS_MAX);
    let page = Page::new(&node, &visit, Section::Inside, "Crashes");
    page::render(&List { page, asked, groups, more, found, unheard: all.unheard, damaged: all.damaged })
}

/// `GET /crashes/{id}`.
pub async fn show(State(node): State<Node>, visit: Visit, uri: Uri) -> Answer {
    let report = node.crash(&path::segment(uri.path(), 1)?).await.map_err(Problem::from)?;
    let parts = parts(&report);
    page::render(&One { page: Page::new(&node, &visit, Section::Inside, "Crash report"), report, parts })
}

/// Lines of a report, in the order in which they are read.
pub(super) fn parts(report: &Report) -> Vec<(&'static str, Vec<String>)> {
    let parts = [
        ("Backtrace, innermost first", &report.backtrace),
        ("Threads", &report.threads),
        ("What the kernel says", &report.kernel),
        ("Members as it saw them", &report.members),
        ("Last events", &report.events),
        ("Last lines of its log", &report.log),
        ("Cut, so that the report fits", &report.cut),
    ];
    parts.into_iter().filter(|(_, lines)| !lines.is_empty()).map(|(name, lines)| (name, lines.clone())).collect()
}

impl Asked {
    pub(super) fn of(uri: &Uri) -> Result<Self, Refused> {
        let query = Query::parse(uri, &["kind", "node", "since", "until", "q"])?;
        let text = |name| query.text(name).map(|text| text.unwrap_or_default().trim().to_owned());
        let asked = Self {
            kind: text("kind")?,
            node: text("node")?,
            since: text("since")?,
            until: text("until")?,
            text: text("q")?,
        };
        let bad = |detail: &str| Err(Refused(Problem::bad_request("bad_parameter", detail)));
        if !asked.kind.is_empty() && Kind::parse(&asked.kind).is_none() {
            return bad("`kind` is none of panic, signal, oom, watchdog, exit, power");
        }
        if [&asked.since, &asked.until].into_iter().any(|day| !day.is_empty() && !is_day(day)) {
            return bad("`since` and `until` are days, such as 2026-11-29");
        }
        Ok(asked)
    }

    pub(super) fn fits(&self, view: &CrashView) -> bool {
        let crash = &view.crash;
        let text = self.text.to_lowercase();
        let day = crash.at.get(..10).unwrap_or_default();
        (self.kind.is_empty() || crash.kind.name() == self.kind)
            && (self.node.is_empty() || crash.name == self.node || crash.node.to_string() == self.node)
            && (self.since.is_empty() || day >= self.since.as_str())
            && (self.until.is_empty() || day <= self.until.as_str())
            && [&crash.reason, &crash.fingerprint, &crash.name].iter().any(|said| said.to_lowercase().contains(&text))
    }
}

fn is_day(text: &str) -> bool {
    time::parse_rfc3339(&format!("{text}T00:00:00.000Z")).is_some()
}

/// By cause; the cause that was seen last comes first.
pub(super) fn grouped(views: Vec<CrashView>) -> Vec<Group> {
    let mut groups: Vec<Group> = Vec::new();
    for view in views {
        let count = 1 + view.crash.repeats;
        match groups.iter_mut().find(|group| group.cause == view.crash.fingerprint) {
            Some(group) => {
                group.count += count;
                if group.rows.len() < ROWS_MAX {
                    group.rows.push(view);
                }
            }
            None => groups.push(Group { cause: view.crash.fingerprint.clone(), count, rows: vec![view] }),
        }
    }
    groups
}

/// The beginning of a reason.
#[must_use]
pub fn begin(reason: &str) -> String {
    match reason.char_indices().nth(REASON_CHARS) {
        Some((at, _)) => format!("{}…", reason.get(..at).unwrap_or_default()),
        None => reason.to_owned(),
    }
}

/// Bytes in MiB, where they are known.
#[must_use]
pub fn mib(bytes: &Option<u64>) -> String {
    bytes.map_or_else(|| "not known".to_owned(), |bytes| format!("{} MiB", bytes / (1024 * 1024)))
}
