//! `/settings/audit`: who changed what, newest first.

use askama::Template;
use axum::extract::State;
use axum::http::Uri;

use crate::console::page;
use crate::console::page::Answer;
use crate::console::page::Page;
use crate::console::page::Section;
use crate::console::page::Visit;
use crate::front::query::Query;
use crate::node::Node;
use crate::proto::audit::Shown;
use crate::proto::audit::Via;

/// Entries on one page: a screen or two.
const ENTRIES: usize = 50;

#[derive(Template)]
#[template(path = "settings/audit.html")]
struct Audit {
    page: Page,
    entries: Vec<Shown>,
    holds: bool,
    /// The page of older entries ends before this one; none where this is the last page.
    older: Option<u64>,
    first_page: bool,
    kept_from: u64,
    head_hash: String,
}

/// How somebody came in, for people.
#[must_use]
pub fn via(via: &Via) -> &'static str {
    match via {
        Via::Local => "on the machine",
        Via::Anonymous => "anonymous",
        Via::Token => "token",
        Via::Session => "browser",
    }
}

/// `GET /settings/audit?before=`.
pub async fn list(State(node): State<Node>, visit: Visit, uri: Uri) -> Answer {
    let query = Query::parse(&uri, &["before"])?;
    let before = query.number::<u64>("before")?;
    let end = before.unwrap_or(u64::MAX).min(node.audit(0, 0).head.seq.saturating_add(1));
    let after = end.saturating_sub(1).saturating_sub(ENTRIES as u64);
    let found = node.audit(after, ENTRIES);
    let kept_from = found.anchor.seq.saturating_add(1);
    let entries: Vec<Shown> = found.entries.into_iter().filter(|entry| entry.seq < end).rev().collect();
    let older = entries.last().map(|oldest| oldest.seq).filter(|oldest| *oldest > kept_from);
    let (_, holds) = node.last_audit(0);
    let page = Page::new(&node, &visit, Section::Settings, "Audit");
    let audit =
        Audit { page, entries, holds, older, first_page: before.is_none(), kept_from, head_hash: found.head.hash };
    std::future::ready(page::render(&audit)).await
}
