//! `/v1/audit`.

use axum::Json;
use axum::extract::State;
use axum::http::Uri;

use crate::base::limits::AUDIT_PAGE_MAX;
use crate::front::problem::Problem;
use crate::front::query::Query;
use crate::node::Node;
use crate::node::audit::AuditPage;
use crate::proto::audit::Chain;

/// `GET /v1/audit`.
pub async fn list(State(node): State<Node>, uri: Uri) -> Result<Json<AuditPage>, Problem> {
    let query = Query::parse(&uri, &["chain", "after", "limit"])?;
    let chain = query.text("chain")?.map_or(Some(Chain::All), Chain::parse);
    let chain = chain.ok_or_else(|| Problem::bad_request("bad_parameter", "chain is all or access"))?;
    let after = query.number("after")?.unwrap_or(0);
    let limit = query.number("limit")?.unwrap_or(AUDIT_PAGE_MAX);
    if !(1..=AUDIT_PAGE_MAX).contains(&limit) {
        return Err(Problem::bad_request("bad_parameter", format!("limit is 1 to {AUDIT_PAGE_MAX}")));
    }
    std::future::ready(Ok(Json(node.audit(chain, after, limit)))).await
}
