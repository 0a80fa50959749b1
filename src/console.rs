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
pub mod data;
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
    Route::page("GET", data::BUCKETS, Need::Data, "All buckets, and what each promises"),
    Route::page("GET", data::NEW_BUCKET, Need::Data, "What a new bucket would promise, by plain questions"),
    Route::page("POST", data::NEW_BUCKET, Need::Data, "Make that bucket"),
    Route::page("GET", data::BUCKET, Need::Data, "A bucket's keys by prefix, page by page"),
    Route::page("GET", data::ABOUT, Need::Data, "A bucket's definition, import and export"),
    Route::page("POST", data::IMPORT, Need::Data, "Import a file"),
    Route::page("POST", data::REMOVE, Need::Data, "Remove a bucket and its data"),
    Route::page("GET", data::NEW_KEY, Need::Data, "The form of a new key"),
    Route::page("POST", data::NEW_KEY, Need::Data, "Write a new key"),
    Route::page("GET", data::KEY, Need::Data, "One key: its values, what is known of it, code that reaches it"),
    Route::page("POST", data::KEY, Need::Data, "Write a key"),
    Route::page("GET", data::RAW, Need::Data, "The bytes of a value, as a download or a picture"),
    Route::page("POST", data::KEEP, Need::Data, "Keep one of several values"),
    Route::page("POST", data::DELETE, Need::Data, "Delete a key"),
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
        .merge(data::router())
        .layer(middleware::from_fn_with_state(node.clone(), page::dress))
}
