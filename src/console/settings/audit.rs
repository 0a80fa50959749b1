//! `/settings/audit`: who changed what, newest first.

use askama::Template;
use axum::extract::State;
use axum::http::Uri;

use crate::console::page;
use crate::console::page::Answer;
use crate::console::page::Page;
use crate::console::page::Section;
use crate::console::page::Visit;
use crate::front::problem::Problem;
use crate::front::query::Query;
use crate::node::Node;
use crate::proto::audit::Chain;
use crate::proto::audit::Shown;
use crate::proto::audit::Via;

/// Entries on one page: a screen or two.
const ENTRIES: usize = 50;

#[derive(Template)]
#[template(path = "settings/audit.html")]
struct Audit {
    page: Page,
    chain: Chain,
    entries: Vec<Shown>,
    holds: bool,
    /// The page of older entries ends before this one; none where this is the last page.
    older: Option<u64>,
    first_page: bool,
    kept_from: u64,
    head_hash: String,
}

impl Audit {
    fn here(&self) -> &'static str {
        path(self.chain)
    }
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

/// Where a chain is shown.
#[must_use]
pub fn path(chain: Chain) -> &'static str {
    match chain {
        Chain::All => "/settings/audit?chain=all",
        Chain::Access => "/settings/audit?chain=access",
    }
}

/// `GET /settings/audit?chain=&before=`.
pub async fn list(State(node): State<Node>, visit: Visit, uri: Uri) -> Answer {
    let query = Query::parse(&uri, &["chain", "before"])?;
    let chain = query.text("chain")?.map_or(Some(Chain::All), Chain::parse);
    let chain = chain.ok_or_else(|| Problem::bad_request("bad_parameter", "chain is all or access"))?;
    let before = query.number::<u64>("before")?;
    let end = before.unwrap_or(u64::MAX).min(node.audit(chain, 0, 0).head.seq.saturating_add(1));
    let after = end.saturating_sub(1).saturating_sub(ENTRIES as u64);
    let found = node.audit(chain, after, ENTRIES);
    let kept_from = found.anchor.seq.saturating_add(1);
    let entries: Vec<Shown> = found.entries.into_iter().filter(|entry| entry.seq < end).rev().collect();
    let older = entries.last().map(|oldest| oldest.seq).filter(|oldest| *oldest > kept_from);
    let holds = node.audit_holds(chain);
    let page = Page::new(&node, &visit, Section::Settings, "Audit");
    let (first_page, head_hash) = (before.is_none(), found.head.hash);
    let audit = Audit { page, chain, entries, holds, older, first_page, kept_from, head_hash };
    std::future::ready(page::render(&audit)).await
}
