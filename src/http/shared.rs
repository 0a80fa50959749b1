//! `/v1/shared`: every piece of shared state, of which kind it is, what it costs, and what stops without it.

use axum::Json;
use axum::extract::State;

use crate::node::Node;
use crate::node::shared::SharedView;

/// `GET /v1/shared`.
pub async fn shared(State(node): State<Node>) -> Json<SharedView> {
    std::future::ready(Json(node.shared())).await
}
