//! `/v1/timeline` and `/v1/alarms`: what changed, and what is wrong, as all nodes see it.

use axum::Json;
use axum::extract::State;
use axum::http::Uri;

use crate::base::id::NodeId;
use crate::base::limits::TIMELINE_PAGE;
use crate::base::limits::TIMELINE_PAGE_MAX;
use crate::front::problem::Problem;
use crate::front::query::Query;
use crate::node::Node;
use crate::node::alarms::AllAlarms;
use crate::node::timeline::Filter;
use crate::node::timeline::TimelineView;
use crate::proto::event::Kind;

/// `GET /v1/alarms`.
pub async fn alarms(State(node): State<Node>) -> Json<AllAlarms> {
    Json(node.alarms_of_all().await)
}

/// `GET /v1/timeline?since=&until=&node=&kind=&limit=`.
pub async fn timeline(State(node): State<Node>, uri: Uri) -> Result<Json<TimelineView>, Problem> {
    let query = Query::parse(&uri, &["since", "until", "node", "kind", "limit"])?;
    let every = Filter::default();
    let limit = query.number("limit")?.unwrap_or(TIMELINE_PAGE);
    if limit == 0 || limit > TIMELINE_PAGE_MAX {
        return Err(Problem::bad_request("bad_parameter", format!("`limit` is 1 to {TIMELINE_PAGE_MAX}")));
    }
    let kind = query.text("kind")?.map(str::to_owned);
    if let Some(unknown) = kind.as_ref().filter(|kind| Kind::named(kind).is_none()) {
        let detail = format!("`kind` {} is not one that this release tells of", unknown.escape_default());
        return Err(Problem::bad_request("bad_parameter", detail));
    }
    let filter = Filter {
        since_ms: instant(&query, "since")?.unwrap_or(every.since_ms),
        until_ms: instant(&query, "until")?.unwrap_or(every.until_ms),
        node: query.number("node")?.map(NodeId),
        kind,
        limit,
    };
    Ok(Json(node.timeline(&filter).await))
}

fn instant(query: &Query, name: &'static str) -> Result<Option<u64>, Problem> {
    let read = query.text(name)?.filter(|text| !text.is_empty()).map(Filter::instant).transpose();
    read.map_err(|why| Problem::bad_request("bad_parameter", format!("`{name}` is {why}")))
}
