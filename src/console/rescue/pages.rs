//! The pages of a rescue console: what happened, reports, log, disk, and the button that has the node tried again.

use askama::Template;
use axum::extract::State;
use axum::http::Uri;

use crate::base::limits::LOG_ROWS_MAX;
use crate::console::crashes;
use crate::console::crashes::View;
use crate::console::logs;
use crate::console::logs::Given;
use crate::console::logs::LOGS;
use crate::console::logs::Row;
use crate::console::page;
use crate::console::page::Answer;
use crate::console::page::Visit;
use crate::console::rescue::DISK;
use crate::console::rescue::Frame;
use crate::console::rescue::OVERVIEW;
use crate::front::logs::read_by;
use crate::front::path;
use crate::front::problem::Problem;
use crate::front::query::Query;
use crate::node::debug::book::LogPage;
use crate::node::rescue::Rescue;
use crate::node::rescue::examine::ExaminingView;
use crate::node::rescue::look::Overview;
use crate::proto::crash::Report;
use crate::proto::logline::text;
use crate::proto::scope::Need;

#[derive(Template)]
#[template(path = "rescue/overview.html")]
struct OverviewPage {
    page: Frame,
    seen: Overview,
    may_start: bool,
}

/// `GET /`.
pub async fn overview(State(rescue): State<Rescue>, visit: Visit) -> Answer {
    let seen = rescue.overview().await?;
    let page = Frame::new(&rescue, &visit, OVERVIEW, "What happened");
    page::render(&OverviewPage { page, seen, may_start: visit.caller.may(Need::Operate) })
}

#[derive(Template)]
#[template(path = "rescue/again.html")]
struct AgainPage {
    page: Frame,
}

/// `POST /again`.
pub async fn again(State(rescue): State<Rescue>, visit: Visit) -> Answer {
    rescue.start_again().await?;
    let page = Frame::new(&rescue, &visit, "", "Start again");
    page::render(&AgainPage { page })
}

#[derive(Template)]
#[template(path = "rescue/crashes.html")]
struct CrashesPage {
    page: Frame,
    view: View,
}

/// `GET /crashes`.
pub async fn crashes(State(rescue): State<Rescue>, visit: Visit, uri: Uri) -> Answer {
    let query = Query::parse(&uri, &crate::front::crashes::PARAMETERS)?;
    let view = View::of(&query, async |meant| Ok(rescue.crashes(meant).await?)).await?;
    let page = Frame::new(&rescue, &visit, crashes::LIST, "Crashes");
    page::render(&CrashesPage { page, view })
}

#[derive(Template)]
#[template(path = "rescue/crash.html")]
struct CrashPage {
    page: Frame,
    report: Report,
    parts: Vec<(&'static str, Vec<String>)>,
}

/// `GET /crashes/{id}`.
pub async fn crash(State(rescue): State<Rescue>, visit: Visit, uri: Uri) -> Answer {
    let report = rescue.crash(&path::segment(uri.path(), 1)?).await?;
    let (page, parts) = (Frame::new(&rescue, &visit, crashes::LIST, "Crash report"), crashes::parts(&report));
    page::render(&CrashPage { page, report, parts })
}

#[derive(Template)]
#[template(path = "rescue/logs.html")]
struct LogsPage {
    page: Frame,
    given: Given,
    rows: Vec<Row>,
    earlier: String,
    is_newest: bool,
    refused: String,
    damaged: u64,
}

/// `GET /logs`.
pub async fn logs(State(rescue): State<Rescue>, visit: Visit, uri: Uri) -> Answer {
    let query = Query::parse(&uri, &logs::parameters())?;
    let given = Given::of(&query)?;
    let is_newest = query.text("before")?.is_none_or(str::is_empty);
    let empty = LogPage { lines: Vec::new(), next: None, newest: None, silent: Vec::new(), damaged: 0 };
    let (found, refused) = match lines(&rescue, &query, Some(LOG_ROWS_MAX)).await {
        Ok(found) => (found, String::new()),
        // What was typed into the form is said on the page.
        Err(problem) => (empty, problem.detail),
    };
    let filters = given.query();
    let before = |next| format!("{LOGS}?{filters}&before={next}").replace("?&", "?");
    let earlier = found.next.map(before).unwrap_or_default();
    let rows = found.lines.into_iter().rev().map(logs::row).collect();
    let page = Frame::new(&rescue, &visit, LOGS, "Log");
    let refused = text::one_line(&refused);
    page::render(&LogsPage { page, given, rows, earlier, is_newest, refused, damaged: found.damaged })
}

/// `GET /logs/{file}`.
pub async fn download(State(rescue): State<Rescue>, uri: Uri) -> Answer {
    logs::check_name(&uri)?;
    let query = Query::parse(&uri, &[&logs::parameters()[..], &["limit"]].concat())?;
    Ok(logs::as_file(&lines(&rescue, &query, None).await?))
}

/// Lines of this machine, whichever is named: there is no other here.
async fn lines(rescue: &Rescue, query: &Query, rows: Option<usize>) -> Result<LogPage, Problem> {
    let mut asked = read_by(query, |_named| Ok(None))?;
    asked.lines_max = rows.unwrap_or(asked.lines_max);
    Ok(rescue.log_page(asked).await?)
}

#[derive(Template)]
#[template(path = "rescue/disk.html")]
struct DiskPage {
    page: Frame,
    seen: Overview,
    examined: Option<ExaminingView>,
    is_running: bool,
    may_examine: bool,
}

/// `GET /disk`.
pub async fn disk(State(rescue): State<Rescue>, visit: Visit) -> Answer {
    let (seen, examined) = (rescue.overview().await?, rescue.examined());
    let is_running = examined.as_ref().is_some_and(|view| view.running);
    let page = Frame::new(&rescue, &visit, DISK, "Disk");
    page::render(&DiskPage { page, seen, examined, is_running, may_examine: visit.caller.may(Need::Operate) })
}

/// `POST /disk`.
pub async fn examine(State(rescue): State<Rescue>) -> Answer {
    rescue.begin_examining();
    std::future::ready(Ok(page::see_other(DISK))).await
}
