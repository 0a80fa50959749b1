//! `/v1/config`, what it says and reading it anew, and `/v1/ca`.

use axum::Extension;
use axum::Json;
use axum::extract::State;
use axum::http::header;
use axum::response::IntoResponse;
use axum::response::Response;
use serde_json::Value;
use serde_json::json;

use crate::front::problem::Problem;
use crate::node::Node;
use crate::node::access::Caller;
use crate::node::settings::Reloaded;

/// `GET /v1/config`.
pub async fn show(State(node): State<Node>) -> Json<Value> {
    let settings = node.settings();
    let answer = json!({
        "config": settings.config,
        "certificate": settings.certificate,
        "authority": { "fingerprint": node.authority().fingerprint },
    });
    std::future::ready(Json(answer)).await
}

/// `POST /v1/config/reload`.
pub async fn reload(State(node): State<Node>, Extension(caller): Extension<Caller>) -> Result<Json<Reloaded>, Problem> {
    Ok(Json(node.reload(&caller).await?))
}

/// `GET /v1/ca`: the authority's certificate, for whoever wants to trust it.
pub async fn authority(State(node): State<Node>) -> Response {
    let pem = node.authority().pem.clone();
    std::future::ready(([(header::CONTENT_TYPE, "application/x-pem-file")], pem).into_response()).await
}
