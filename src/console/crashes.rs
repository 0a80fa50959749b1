//! `/crashes`: what failed in the cluster, grouped by cause, and each report. Every filter is in the address; a new report
//! appears by itself.

use askama::Template;
use axum::extract::State;
use axum::http::Uri;

use crate::console::page;
use crate::console::page::Answer;
use crate::console::page::Page;
use crate::console::page::Section;
use crate::console::page::Visit;
use crate::console::show;
use crate::front::crashes;
use crate::front::path;
use crate::front::problem::Problem;
use crate::front::query::Query;
use crate::node::Node;
use crate::node::debug::crashes::view::CrashQuery;
use crate::node::debug::crashes::view::CrashView;
use crate::node::debug::crashes::view::CrashesView;
use crate::node::debug::crashes::view::Unheard;
use crate::proto::crash::Report;
use crate::proto::logline::text;

/// All of them.
pub const LIST: &str = "/crashes";
/// One report.
pub const ONE: &str = "/crashes/{id}";

/// Groups on a page, and reports in each: enough to see which, and within the size of a page.
const GROUPS_MAX: usize = 50;
/// See [`GROUPS_MAX`].
const ROWS_MAX: usize = 5;
/// Letters of a reason on the page of all.
const REASON_CHARS: usize = 300;

#[derive(Template)]
#[template(path = "crashes/list.html")]
struct List {
    page: Page,
    view: View,
}

/// What changes while somebody watches.
#[derive(Template)]
#[template(path = "crashes/list.html", block = "live")]
pub struct Live {
    view: View,
}

/// Reports that fit, and what was looked for.
#[derive(Default)]
pub(super) struct View {
    pub(super) asked: Asked,
    pub(super) groups: Vec<Group>,
    pub(super) more: usize,
    pub(super) unheard: Vec<Unheard>,
    pub(super) damaged: Vec<String>,
    /// Why nothing is shown; empty where it is.
    pub(super) refused: String,
}

#[derive(Template)]
#[template(path = "crashes/one.html")]
struct One {
    page: Page,
    report: Report,
    parts: Vec<(&'static str, Vec<String>)>,
}

/// What is looked for, as it was given.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Default)]
pub struct Asked([String; 6]);

/// Reports of one cause, the newest first.
pub(super) struct Group {
    pub(super) cause: String,
    pub(super) count: u64,
    pub(super) rows: Vec<CrashView>,
}

/// `GET /crashes`.
pub async fn list(State(node): State<Node>, visit: Visit, uri: Uri) -> Answer {
    let query = Query::parse(&uri, &crashes::PARAMETERS)?;
    let view = view(&node, &query).await?;
    let mut page = Page::new(&node, &visit, Section::Inside, "Crashes");
    if view.refused.is_empty() {
        page.live = format!("/live?view=crashes&{}", view.asked.query()).trim_end_matches('&').to_owned();
    }
    page::render(&List { page, view })
}

/// What a live view of it shows.
///
/// # Errors
/// A 400 for a parameter that is none.
pub async fn live(node: &Node, query: &Query) -> Result<Live, Problem> {
    Ok(Live { view: view(node, query).await? })
}

async fn view(node: &Node, query: &Query) -> Result<View, Problem> {
    View::of(query, async |meant| Ok(node.crashes_of(&meant).await)).await
}

impl View {
    /// What is asked for, found by whoever keeps reports.
    pub(super) async fn of(
        query: &Query,
        find: impl AsyncFnOnce(CrashQuery) -> Result<CrashesView, Problem>,
    ) -> Result<Self, Problem> {
        let asked = Asked::of(query)?;
        let found = match crashes::read(query) {
            Ok(meant) => find(meant).await?,
            // What was typed into the form is said on the page.
            Err(problem) => return Ok(Self { asked, refused: text::one_line(&problem.detail), ..Self::default() }),
        };
        let mut groups = grouped(found.crashes);
        let more = groups.len().saturating_sub(GROUPS_MAX);
        groups.truncate(GROUPS_MAX);
        let (unheard, damaged) = (found.unheard, found.damaged);
        Ok(Self { asked, groups, more, unheard, damaged, refused: String::new() })
    }
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
    fn of(query: &Query) -> Result<Self, Problem> {
        let mut asked = Self::default();
        for (name, slot) in crashes::PARAMETERS.into_iter().zip(&mut asked.0) {
            query.text(name)?.unwrap_or_default().trim().clone_into(slot);
        }
        Ok(asked)
    }

    /// One of them by name, as it is shown: an address may have been made by somebody else.
    #[must_use]
    pub fn get(&self, name: &str) -> String {
        let named = crashes::PARAMETERS.into_iter().zip(&self.0).find(|(known, _)| *known == name);
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
        let given = crashes::PARAMETERS.into_iter().zip(&self.0).filter(|(_, value)| !value.is_empty());
        let pairs = given.map(|(name, value)| format!("{name}={}", show::escaped(value)));
        pairs.collect::<Vec<_>>().join("&")
    }
}

/// By cause; the cause that was seen last comes first.
fn grouped(views: Vec<CrashView>) -> Vec<Group> {
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
