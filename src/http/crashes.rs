//! `/v1/crashes`: what failed in the cluster, and each report. Any node answers for all.

use axum::Json;
use axum::extract::State;
use axum::http::Uri;

use crate::front::path;
use crate::front::problem::Problem;
use crate::node::Node;
use crate::node::debug::crashes::view::CrashesView;
use crate::proto::crash::Report;

/// `GET /v1/crashes`.
pub async fn list(State(node): State<Node>) -> Json<CrashesView> {
    Json(node.crashes().await)
}

/// `GET /v1/crashes/{id}`.
pub async fn one(State(node): State<Node>, uri: Uri) -> Result<Json<Report>, Problem> {
    Ok(Json(node.crash(&path::segment(uri.path(), 2)?).await?))
}
