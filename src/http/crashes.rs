//! `/v1/crashes`: what failed in the cluster, and each report. Any node answers for all.

use axum::Json;
use axum::extract::State;
use axum::http::Uri;

use crate::front::crashes;
use crate::front::path;
use crate::front::problem::Problem;
use crate::front::query::Query;
use crate::node::Node;
use crate::node::debug::crashes::view::CrashesView;
use crate::proto::crash::Report;

/// `GET /v1/crashes?kind=&node=&since=&until=&text=&regex=`.
pub async fn list(State(node): State<Node>, uri: Uri) -> Result<Json<CrashesView>, Problem> {
    let query = crashes::read(&Query::parse(&uri, &crashes::PARAMETERS)?)?;
    Ok(Json(node.crashes_of(&query).await))
}

/// `GET /v1/crashes/{id}`.
pub async fn one(State(node): State<Node>, uri: Uri) -> Result<Json<Report>, Problem> {
    Ok(Json(node.crash(&path::segment(uri.path(), 2)?).await?))
}
