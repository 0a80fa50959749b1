//! `/v1/members` and `/v1/invites`: who is in the cluster, and how others come in.

use std::time::Duration;

use axum::Extension;
use axum::Json;
use axum::extract::Request;
use axum::extract::State;
use axum::http::StatusCode;
use serde::Deserialize;
use serde_json::Value;
use serde_json::json;

use crate::base::limits::INVITE_TTL;
use crate::base::time;
use crate::front::body;
use crate::front::problem::Problem;
use crate::front::query;
use crate::node::Node;
use crate::node::access::Caller;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct InviteDocument {
    ttl: Option<String>,
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
    let invitation = node.invite(&caller, ttl).await?;
    let made = json!({
        "token": invitation.token,
        "expires_at": time::rfc3339(invitation.expires_ms),
        "seeds": invitation.seeds,
    });
    Ok((StatusCode::CREATED, Json(made)))
}
