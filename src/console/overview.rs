//! `/`: how this node is, in one view.

use askama::Template;
use axum::extract::State;

use crate::console::page;
use crate::console::page::Answer;
use crate::console::page::Page;
use crate::console::page::Section;
use crate::console::page::Visit;
use crate::node::Node;
use crate::node::status::Status;

#[derive(Template)]
#[template(path = "overview.html")]
struct Overview {
    page: Page,
    status: Status,
}

/// `GET /`.
pub async fn show(State(node): State<Node>, visit: Visit) -> Answer {
    let page = Page::new(&node, &visit, Section::Overview, "Overview");
    std::future::ready(page::render(&Overview { page, status: node.status() })).await
}
