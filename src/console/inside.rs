//! Inside: what a cluster is made of, explained with this one. `/shared` shows what nodes share, `/convergence` whether they
//! hold the same, `/lab` is there to try a ring.

use askama::Template;
use axum::extract::State;

use crate::console::crashes;
use crate::console::page;
use crate::console::page::Answer;
use crate::console::page::Page;
use crate::console::page::Section;
use crate::console::page::Visit;
use crate::node::Node;
use crate::node::shared::SharedView;

pub mod convergence;
pub mod lab;
pub mod last;
pub mod runtime;
pub mod timeline;

/// What is shared.
pub const SHARED: &str = "/shared";

/// One of these pages.
pub struct Tab {
    /// In the tab.
    pub name: &'static str,
    /// Where it is.
    pub path: &'static str,
}

/// All of them.
pub const TABS: &[Tab] = &[
    Tab { name: "What is shared", path: SHARED },
    Tab { name: "Convergence", path: convergence::CONVERGENCE },
    Tab { name: "Runtime", path: runtime::RUNTIME },
    Tab { name: "Ring lab", path: lab::LAB },
    Tab { name: "Timeline", path: timeline::TIMELINE },
    Tab { name: "Crashes", path: crashes::LIST },
];

#[derive(Template)]
#[template(path = "inside/shared.html")]
struct Shared {
    page: Page,
    shared: SharedView,
}

/// What changes while somebody watches.
#[derive(Template)]
#[template(path = "inside/shared.html", block = "live")]
pub struct Live {
    shared: SharedView,
}

/// What a live view of it shows.
#[must_use]
pub fn live(node: &Node) -> Live {
    Live { shared: node.shared() }
}

/// `GET /shared`.
pub async fn shared(State(node): State<Node>, visit: Visit) -> Answer {
    let live = "/live?view=shared".to_owned();
    let page = Page { live, ..Page::new(&node, &visit, Section::Inside, "What is shared") };
    std::future::ready(page::render(&Shared { page, shared: node.shared() })).await
}
