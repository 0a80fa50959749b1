//! Floor 6, the face for people with a browser: pages rendered on the server, made live by a little script. A handler
//! extracts, calls the door once, renders; it decides nothing. One page = one handler file = one template.

use axum::Router;
use axum::middleware;
use axum::routing::get;
use axum::routing::post;

use crate::front::route::Face;
use crate::front::route::Route;
use crate::node::Node;
use crate::proto::scope::Need;

pub mod asset;
pub mod chart;
pub mod form;
pub mod live;
pub mod overview;
pub mod page;
pub mod show;
pub mod theme;

/// Every page, and what it needs.
const ROUTES: &[Route] = &[
    Route::page("GET", asset::PATH, Need::Nothing, "Style, script and icons of the console"),
    Route::page("GET", "/", Need::Observe, "Overview: how this node is"),
    Route::page("GET", live::PATH, Need::Observe, "Events that keep an open page live"),
    Route::page("POST", "/theme", Need::Nothing, "Keep the choice of a theme"),
];

/// What is served to browsers.
#[must_use]
pub fn face() -> Face {
    Face { rows: ROUTES, router, refuse: page::refuse_at_the_gate, under: "/" }
}

fn router(node: &Node) -> Router<Node> {
    Router::new()
        .route(asset::PATH, get(asset::show))
        .route("/", get(overview::show))
        .route(live::PATH, get(live::stream))
        .route("/theme", post(theme::choose))
        .layer(middleware::from_fn_with_state(node.clone(), page::dress))
}
