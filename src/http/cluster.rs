//! `/v1/members`, `/v1/invites`, `/v1/where`, `/v1/ring`, `/v1/convergence` and `/v1/plan`: who is in the cluster, how nodes come and go, who
//! owns what, and where a key is.

use std::collections::BTreeSet;
use std::time::Duration;

use axum::Extension;
use axum::Json;
use axum::extract::Request;
use axum::extract::State;
use axum::http::StatusCode;
use axum::http::Uri;
use serde::Deserialize;
use serde_json::Value;
use serde_json::json;

use crate::base::id::NodeId;
use crate::base::limits::HANDOFF_PAUSE;
use crate::base::limits::INVITE_TTL;
use crate::base::time;
use crate::front::body;
use crate::front::path;
use crate::front::problem::Problem;
use crate::front::query;
use crate::front::query::Query;
use crate::node::Node;
use crate::node::access::Caller;
use crate::node::debug::last::InsideView;
use crate::node::plan::PartView;
use crate::node::plan::PlansView;
use crate::node::repair::view::Convergence;
use crate::node::ring::RingView;
use crate::node::whereabouts::Whereabouts;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct InviteDocument {
    ttl: Option<String>,
    replaces: Option<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RemovalDocument {
    #[serde(default)]
    accept_loss: bool,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct ReplacementDocument {
    by: NodeId,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct DrainDocument {
    reason: Option<String>,
    #[serde(rename = "for")]
    lasts: Option<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct PauseDocument {
    reason: Option<String>,
    #[serde(rename = "for")]
    lasts: Option<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct CommitDocument {
    version: u64,
    #[serde(default)]
    accept_loss: BTreeSet<NodeId>,
}

/// `GET /v1/members`.
pub async fn members(State(node): State<Node>) -> Json<Value> {
    let members = node.members();
    std::future::ready(Json(json!({ "members": members }))).await
}

/// `POST /v1/invites`: the token is shown once.
pub async fn invite(
    State(node): State<Node>,
    Extension(caller): Extension<Caller>,
    request: Request,
) -> Result<(StatusCode, Json<Value>), Problem> {
    let (parts, body) = request.into_parts();
    let document: InviteDocument = body::document(&node, &parts.headers, body).await?;
    let ttl = document.ttl.as_deref().map(|ttl| query::ttl_ms("ttl", ttl)).transpose()?;
    let ttl = ttl.map_or(INVITE_TTL, Duration::from_millis);
    let invitation = node.invite(&caller, ttl, document.replaces.as_deref()).await?;
    let made = json!({
        "token": invitation.token,
        "expires_at": time::rfc3339(invitation.expires_ms),
        "seeds": invitation.seeds,
    });
    Ok((StatusCode::CREATED, Json(made)))
}

/// `POST /v1/members/{id}/leave`.
pub async fn leave(
    State(node): State<Node>,
    Extension(caller): Extension<Caller>,
    uri: Uri,
) -> Result<Json<PartView>, Problem> {
    Ok(Json(node.leave(&caller, &path::segment(uri.path(), 2)?).await?))
}

/// `POST /v1/members/{id}/remove`.
pub async fn remove(
    State(node): State<Node>,
    Extension(caller): Extension<Caller>,
    request: Request,
) -> Result<Json<PartView>, Problem> {
    let (parts, body) = request.into_parts();
    let RemovalDocument { accept_loss } = body::document(&node, &parts.headers, body).await?;
    Ok(Json(node.remove(&caller, &path::segment(parts.uri.path(), 2)?, accept_loss).await?))
}

/// `POST /v1/members/{id}/replace`.
pub async fn replace(
    State(node): State<Node>,
    Extension(caller): Extension<Caller>,
    request: Request,
) -> Result<Json<PartView>, Problem> {
    let (parts, body) = request.into_parts();
    let ReplacementDocument { by } = body::document(&node, &parts.headers, body).await?;
    Ok(Json(node.replace(&caller, &path::segment(parts.uri.path(), 2)?, by).await?))
}

/// `POST /v1/members/{id}/drain`.
pub async fn drain(
    State(node): State<Node>,
    Extension(caller): Extension<Caller>,
    request: Request,
) -> Result<Json<PartView>, Problem> {
    let (parts, body) = request.into_parts();
    let DrainDocument { reason, lasts } = body::document(&node, &parts.headers, body).await?;
    let lasts = lasts.as_deref().map(|lasts| query::ttl_ms("for", lasts)).transpose()?.map(Duration::from_millis);
    let reason = reason.unwrap_or_else(|| "no reason given".to_owned());
    Ok(Json(node.divert(&caller, &path::segment(parts.uri.path(), 2)?, Some((reason, lasts))).await?))
}

/// `POST /v1/members/{id}/undrain`.
pub async fn undrain(
    State(node): State<Node>,
    Extension(caller): Extension<Caller>,
    uri: Uri,
) -> Result<Json<PartView>, Problem> {
    Ok(Json(node.divert(&caller, &path::segment(uri.path(), 2)?, None).await?))
}

/// `GET /v1/ring`.
pub async fn ring(State(node): State<Node>) -> Json<RingView> {
    std::future::ready(Json(node.ring())).await
}

/// `GET /v1/members/{id}/inside`: of any node, from any node; of one that is gone, its last minutes.
pub async fn inside(State(node): State<Node>, uri: Uri) -> Result<Json<InsideView>, Problem> {
    Ok(Json(node.inside(&path::segment(uri.path(), 2)?).await?))
}

/// `GET /v1/convergence`.
pub async fn convergence(State(node): State<Node>) -> Json<Convergence> {
    std::future::ready(Json(node.convergence())).await
}

/// `POST /v1/ring/pause`.
pub async fn pause(
    State(node): State<Node>,
    Extension(caller): Extension<Caller>,
    request: Request,
) -> Result<StatusCode, Problem> {
    let (parts, body) = request.into_parts();
    let PauseDocument { reason, lasts } = body::document(&node, &parts.headers, body).await?;
    let lasts = lasts.as_deref().map(|lasts| query::ttl_ms("for", lasts)).transpose()?.map(Duration::from_millis);
    let reason = reason.unwrap_or_else(|| "no reason given".to_owned());
    node.pause_handoff(&caller, Some((reason, lasts.unwrap_or(HANDOFF_PAUSE)))).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// `POST /v1/ring/resume`.
pub async fn resume(State(node): State<Node>, Extension(caller): Extension<Caller>) -> Result<StatusCode, Problem> {
    node.pause_handoff(&caller, None).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// `GET /v1/plan`.
pub async fn plans(State(node): State<Node>) -> Json<PlansView> {
    std::future::ready(Json(node.plans())).await
}

/// `POST /v1/plan`.
pub async fn stage_plan(
    State(node): State<Node>,
    Extension(caller): Extension<Caller>,
) -> Result<(StatusCode, Json<PlansView>), Problem> {
    Ok((StatusCode::CREATED, Json(node.stage_plan(&caller).await?)))
}

/// `DELETE /v1/plan`.
pub async fn clear_plan(State(node): State<Node>, Extension(caller): Extension<Caller>) -> Result<StatusCode, Problem> {
    node.clear_plan(&caller).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// `POST /v1/plan/commit`.
pub async fn commit_plan(
    State(node): State<Node>,
    Extension(caller): Extension<Caller>,
    request: Request,
) -> Result<Json<Value>, Problem> {
    let (parts, body) = request.into_parts();
    let CommitDocument { version, accept_loss } = body::document(&node, &parts.headers, body).await?;
    let layout = node.commit_plan(&caller, version, accept_loss).await?;
    Ok(Json(json!({ "committed": version, "layout": layout })))
}

/// `GET /v1/where/{bucket}/{key}`.
pub async fn whereabouts(State(node): State<Node>, uri: Uri) -> Result<Json<Whereabouts>, Problem> {
    let (bucket, key) = path::bucket_and_key_of_where(uri.path())?;
    Query::parse(&uri, &[])?;
    Ok(Json(node.whereabouts(&bucket, &key).await?))
}
