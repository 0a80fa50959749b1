//! Probes, metrics, and the node in one view.

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use axum::http::header;
use axum::response::IntoResponse;
use axum::response::Response;

use crate::front::problem::Problem;
use crate::node::Node;
use crate::node::doctor::Examination;
use crate::node::standing::LossView;
use crate::node::status::Status;
use crate::proto::control::part::Drain;

/// `GET /healthz`: the process answers.
pub async fn healthz() -> &'static str {
    std::future::ready("ok\n").await
}

/// `GET /readyz`: the node takes requests.
pub async fn readyz(State(node): State<Node>) -> Response {
    let answer = if node.is_draining() {
        Problem::new(StatusCode::SERVICE_UNAVAILABLE, "draining", "this node is stopping; use another").into_response()
    } else if let Some(Drain { reason, .. }) = node.diverted() {
        let detail = format!("this node is drained ({reason}); it answers, but use another");
        Problem::new(StatusCode::SERVICE_UNAVAILABLE, "draining", detail).into_response()
    } else if !node.is_serving() || !node.has_met() {
        let detail = match node.loss() {
            Some(LossView { why: Some(why), merged, slots }) => format!(
                "this node gets back what it lost ({why}): {merged} of {slots} partitions are merged; use another"
            ),
            Some(LossView { why: None, .. }) => {
                "this node asks the others whether it has lost anything; use another".to_owned()
            }
            None => "this node has not caught up with its cluster; use another".to_owned(),
        };
        Problem::new(StatusCode::SERVICE_UNAVAILABLE, "recovering", detail).into_response()
    } else if let missing = node.misses()
        && !missing.is_empty()
    {
        let names: Vec<String> = missing.iter().map(|node| format!("node {node}")).collect();
        let detail = format!(
            "this node does not reach {}, which the others do: it refuses requests that others take; use another",
            names.join(" and ")
        );
        Problem::new(StatusCode::SERVICE_UNAVAILABLE, "no_quorum", detail).into_response()
    } else {
        "ready\n".into_response()
    };
    std::future::ready(answer).await
}

/// `GET /metrics`.
pub async fn metrics(State(node): State<Node>) -> Response {
    let text = node.metrics();
    std::future::ready(([(header::CONTENT_TYPE, "text/plain; version=0.0.4; charset=utf-8")], text).into_response())
        .await
}

/// `GET /v1/status`.
pub async fn status(State(node): State<Node>) -> Json<Status> {
    std::future::ready(Json(node.status())).await
}

/// `GET /v1/doctor`.
pub async fn doctor(State(node): State<Node>) -> Result<Json<Examination>, Problem> {
    Ok(Json(node.examine().await?))
}
