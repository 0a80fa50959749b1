//! `/v1/rescue`: whether a node had to be rescued. A node that runs says that it is well; the rescue console says everything, and
//! answers the probes and what devices ask.

use axum::Json;
use axum::Router;
use axum::extract::State;
use axum::http::StatusCode;
use axum::http::Uri;
use axum::response::IntoResponse;
use axum::response::Response;
use axum::routing::get;
use axum::routing::post;

use crate::front::crashes;
use crate::front::path;
use crate::front::problem::Problem;
use crate::front::query::Query;
use crate::front::rescue;
use crate::front::rescue::Face;
use crate::front::route::Route;
use crate::node::Node;
use crate::node::debug::crashes::view::CrashesView;
use crate::node::rescue::Rescue;
use crate::node::rescue::look::Overview;
use crate::node::rescue::look::State as How;
use crate::node::rescue::look::Well;
use crate::node::telemetry::Operation;
use crate::proto::crash::Report;
use crate::proto::scope::Need;

/// `GET /v1/rescue` of a node that runs.
pub async fn well(State(node): State<Node>) -> Json<Well> {
    let who = node.who();
    let release = env!("CARGO_PKG_VERSION");
    std::future::ready(Json(Well { state: How::Well, node: who.node, name: who.name.clone(), release })).await
}

/// What a rescue console serves to programs.
const ROUTES: &[Route] = &[
    Route::api("GET", "/healthz", Need::Nothing, Operation::Other, "Whether the process lives"),
    Route::api("GET", "/readyz", Need::Nothing, Operation::Other, "It takes no requests: always 503"),
    Route::api("GET", "/v1/rescue", Need::Observe, Operation::Other, "Everything in one view"),
    Route::api("POST", "/v1/rescue/again", Need::Operate, Operation::Other, "Try a worker now"),
    Route::api("GET", "/v1/crashes", Need::Observe, Operation::Other, "Crash reports that this machine keeps"),
    Route::api("GET", "/v1/crashes/{id}", Need::Observe, Operation::Other, "One of them"),
];

/// What a rescue console serves to programs.
#[must_use]
pub fn face() -> Face {
    Face { rows: ROUTES, router, refuse: rescue::as_document }
}

fn router(_rescue: &Rescue) -> Router<Rescue> {
    Router::new()
        .route("/healthz", get(healthz))
        .route("/readyz", get(readyz))
        .route("/v1/rescue", get(overview))
        .route("/v1/rescue/again", post(again))
        .route("/v1/crashes", get(crashes))
        .route("/v1/crashes/{id}", get(crash))
}

/// `GET /healthz`: the process answers. Whoever would restart it for another word would only disturb it.
async fn healthz() -> &'static str {
    std::future::ready("rescue: this process answers, the node does not serve\n").await
}

/// `GET /readyz`.
async fn readyz() -> Response {
    std::future::ready(rescue::in_rescue().into_response()).await
}

async fn overview(State(rescue): State<Rescue>) -> Result<Json<Overview>, Problem> {
    Ok(Json(rescue.overview().await?))
}

async fn again(State(rescue): State<Rescue>) -> Result<StatusCode, Problem> {
    rescue.start_again().await?;
    Ok(StatusCode::NO_CONTENT)
}

async fn crashes(State(rescue): State<Rescue>, uri: Uri) -> Result<Json<CrashesView>, Problem> {
    let meant = crashes::read(&Query::parse(&uri, &crashes::PARAMETERS)?)?;
    Ok(Json(rescue.crashes(meant).await?))
}

async fn crash(State(rescue): State<Rescue>, uri: Uri) -> Result<Json<Report>, Problem> {
    Ok(Json(rescue.crash(&path::segment(uri.path(), 2)?).await?))
}
