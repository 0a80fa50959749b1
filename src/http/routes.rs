//! The one table of routes: what is served, what it needs, how it is counted and described. The router is built from
//! the same paths; a test asks every row of a running node.

use axum::Router;
use axum::http::Method;
use axum::middleware;
use axum::routing::delete;
use axum::routing::get;
use axum::routing::post;
use axum::routing::put;

use crate::http::admin;
use crate::http::batch;
use crate::http::bucket;
use crate::http::front;
use crate::http::kv;
use crate::http::openapi;
use crate::http::status;
use crate::http::transfer;
use crate::node::Node;
use crate::node::telemetry::Operation;
use crate::proto::scope::Need;

/// One row of the table.
#[derive(Debug, Clone, Copy)]
pub struct Route {
    /// The method; `HEAD` goes with `GET`.
    pub method: &'static str,
    /// The path with its parameters in braces.
    pub path: &'static str,
    /// What a caller needs.
    pub need: Need,
    /// How it is counted.
    pub operation: Operation,
    /// For people and the OpenAPI document.
    pub summary: &'static str,
}

const fn row(
    method: &'static str,
    path: &'static str,
    need: Need,
    operation: Operation,
    summary: &'static str,
) -> Route {
    Route { method, path, need, operation, summary }
}

/// A value's path, as axum matches it.
pub const KV_KEY: &str = "/v1/kv/{bucket}/{*key}";
/// The same with nothing behind the slash: an empty key.
pub const KV_EMPTY: &str = "/v1/kv/{bucket}/";

/// Everything that is served.
pub const ROUTES: &[Route] = &[
    row("GET", "/healthz", Need::Nothing, Operation::Other, "Whether the process lives"),
    row("GET", "/readyz", Need::Nothing, Operation::Other, "Whether the node takes requests; 503 while it drains"),
    row("GET", "/metrics", Need::Metrics, Operation::Other, "Counters for Prometheus; no token needed on loopback"),
    row("GET", "/v1/openapi.json", Need::Nothing, Operation::Other, "This document"),
    row("GET", KV_KEY, Need::ReadValues, Operation::Get, "Read a value"),
    row("PUT", KV_KEY, Need::WriteValues, Operation::Put, "Store a value; answers when it is on disk"),
    row("DELETE", KV_KEY, Need::WriteValues, Operation::Delete, "Delete a value; answers when that is on disk"),
    row("GET", KV_EMPTY, Need::ReadValues, Operation::Get, "An empty key is refused"),
    row("PUT", KV_EMPTY, Need::WriteValues, Operation::Put, "An empty key is refused"),
    row("DELETE", KV_EMPTY, Need::WriteValues, Operation::Delete, "An empty key is refused"),
    row("GET", "/v1/kv/{bucket}", Need::ReadValues, Operation::List, "List keys in byte order, page by page"),
    row("POST", "/v1/batch", Need::AnyValues, Operation::Batch, "Many reads and writes, each with its own answer"),
    row("GET", "/v1/buckets", Need::Data, Operation::Other, "All buckets"),
    row("GET", "/v1/buckets/{name}", Need::Data, Operation::Other, "One bucket's definition"),
    row("PUT", "/v1/buckets/{name}", Need::Data, Operation::Other, "Make or change a bucket"),
    row("DELETE", "/v1/buckets/{name}", Need::Data, Operation::Other, "Remove a bucket with all its data"),
    row("POST", "/v1/buckets/{name}/import", Need::Data, Operation::Other, "Import CSV or NDJSON; repeatable"),
    row("GET", "/v1/buckets/{name}/export", Need::Data, Operation::Other, "Export as NDJSON or CSV, in key order"),
    row("GET", "/v1/status", Need::Observe, Operation::Other, "This node in one view"),
    row("GET", "/v1/doctor", Need::Observe, Operation::Other, "Read and check everything stored"),
    row("GET", "/v1/tokens", Need::Admin, Operation::Other, "All tokens, without their secrets"),
    row("POST", "/v1/tokens", Need::Admin, Operation::Other, "Make a token; its secret is shown once"),
    row("DELETE", "/v1/tokens/{id}", Need::Admin, Operation::Other, "Remove a token by number or name"),
    row("GET", "/v1/users", Need::Admin, Operation::Other, "All users"),
    row("PUT", "/v1/users/{name}", Need::Admin, Operation::Other, "Add a user or change its password"),
    row("DELETE", "/v1/users/{name}", Need::Admin, Operation::Other, "Remove a user"),
];

/// The row for a request.
#[must_use]
pub fn find(method: &Method, path: &str) -> Option<&'static Route> {
    let method = if method == Method::HEAD { "GET" } else { method.as_str() };
    ROUTES.iter().find(|route| route.method == method && route.path == path)
}

/// What a path takes.
#[must_use]
pub fn methods(path: &str) -> Vec<&'static str> {
    let rows = ROUTES.iter().filter(|route| route.path == path);
    rows.flat_map(|route| if route.method == "GET" { vec!["GET", "HEAD"] } else { vec![route.method] }).collect()
}

/// The router.
pub fn router(node: Node) -> Router {
    let key = get(kv::read).put(kv::write).delete(kv::remove);
    Router::new()
        .route("/healthz", get(status::healthz))
        .route("/readyz", get(status::readyz))
        .route("/metrics", get(status::metrics))
        .route("/v1/openapi.json", get(openapi::document))
        .route(KV_KEY, key.clone())
        .route(KV_EMPTY, key)
        .route("/v1/kv/{bucket}", get(kv::list))
        .route("/v1/batch", post(batch::batch))
        .route("/v1/buckets", get(bucket::list))
        .route("/v1/buckets/{name}", get(bucket::show).put(bucket::make).delete(bucket::remove))
        .route("/v1/buckets/{name}/import", post(transfer::import))
        .route("/v1/buckets/{name}/export", get(transfer::export))
        .route("/v1/status", get(status::status))
        .route("/v1/doctor", get(status::doctor))
        .route("/v1/tokens", get(admin::list_tokens).post(admin::add_token))
        .route("/v1/tokens/{id}", delete(admin::remove_token))
        .route("/v1/users", get(admin::list_users))
        .route("/v1/users/{name}", put(admin::put_user).delete(admin::remove_user))
        .route_layer(middleware::from_fn_with_state(node.clone(), front::front))
        .fallback(front::not_here)
        .with_state(node)
}
