//! `/v1/alarms`: what is wrong, as all nodes see it.

use axum::Json;
use axum::extract::State;

use crate::node::Node;
use crate::node::alarms::AllAlarms;

/// `GET /v1/alarms`.
pub async fn alarms(State(node): State<Node>) -> Json<AllAlarms> {
    Json(node.alarms_of_all().await)
}
