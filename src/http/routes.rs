//! The rows for devices and programs: what is served, what it needs, how it is counted and described. The router is
//! built from the same paths; a test asks every row of a running node.

use axum::Router;
use axum::routing::delete;
use axum::routing::get;
use axum::routing::post;
use axum::routing::put;

use crate::front::route;
use crate::front::route::Face;
use crate::front::route::Route;
use crate::http::admin;
use crate::http::audit;
use crate::http::batch;
use crate::http::bucket;
use crate::http::cluster;
use crate::http::config;
use crate::http::crashes;
use crate::http::events;
use crate::http::kv;
use crate::http::logs;
use crate::http::nodes;
use crate::http::openapi;
use crate::http::rescue;
use crate::http::shared;
use crate::http::status;
use crate::http::timeline;
use crate::http::transfer;
use crate::node::Node;
use crate::node::telemetry::Operation;
use crate::proto::scope::Need;

/// A value's path, as axum matches it.
pub const KV_KEY: &str = "/v1/kv/{bucket}/{*key}";
/// The same with nothing behind the slash: an empty key.
pub const KV_EMPTY: &str = "/v1/kv/{bucket}/";
/// Where a key is, and the same with an empty one.
pub const WHERE_KEY: &str = "/v1/where/{bucket}/{*key}";
/// See [`WHERE_KEY`].
pub const WHERE_EMPTY: &str = "/v1/where/{bucket}/";

/// Everything that is served.
pub const ROUTES: &[Route] = &[
    Route::api("GET", "/healthz", Need::Nothing, Operation::Other, "Whether the process lives"),
    Route::api(
        "GET",
        "/readyz",
        Need::Nothing,
        Operation::Other,
        "Whether the node takes requests; 503 while it drains",
    ),
    Route::api(
        "GET",
        "/metrics",
        Need::Metrics,
        Operation::Other,
        "Counters for Prometheus; no token needed on loopback",
    ),
    Route::api("GET", "/v1/openapi.json", Need::Nothing, Operation::Other, "This document"),
    Route::api("GET", KV_KEY, Need::ReadValues, Operation::Get, "Read a value"),
    Route::api("PUT", KV_KEY, Need::WriteValues, Operation::Put, "Store a value; answers when it is on disk"),
    Route::api("DELETE", KV_KEY, Need::WriteValues, Operation::Delete, "Delete a value; answers when that is on disk"),
    Route::api("GET", KV_EMPTY, Need::ReadValues, Operation::Get, "An empty key is refused"),
    Route::api("PUT", KV_EMPTY, Need::WriteValues, Operation::Put, "An empty key is refused"),
    Route::api("DELETE", KV_EMPTY, Need::WriteValues, Operation::Delete, "An empty key is refused"),
    Route::api("GET", "/v1/kv/{bucket}", Need::ReadValues, Operation::List, "List keys in byte order, page by page"),
    Route::api(
        "POST",
        "/v1/batch",
        Need::AnyValues,
        Operation::Batch,
        "Many reads and writes, each with its own answer",
    ),
    Route::api(
        "GET",
        "/v1/nodes",
        Need::AnyValues,
        Operation::Other,
        "Where a device may go: nodes that serve, the best first",
    ),
    Route::api("GET", "/v1/buckets", Need::Data, Operation::Other, "All buckets"),
    Route::api("GET", "/v1/buckets/{name}", Need::Data, Operation::Other, "One bucket's definition"),
    Route::api("PUT", "/v1/buckets/{name}", Need::Data, Operation::Other, "Make or change a bucket"),
    Route::api("DELETE", "/v1/buckets/{name}", Need::Data, Operation::Other, "Remove a bucket with all its data"),
    Route::api("POST", "/v1/buckets/{name}/import", Need::Data, Operation::Other, "Import CSV or NDJSON; repeatable"),
    Route::api(
        "GET",
        "/v1/buckets/{name}/export",
        Need::Data,
        Operation::Other,
        "Export as NDJSON or CSV, in key order",
    ),
    Route::api("GET", "/v1/status", Need::Observe, Operation::Other, "This node in one view"),
    Route::api(
        "GET",
        "/v1/config",
        Need::Observe,
        Operation::Other,
        "The configuration, and where each value came from",
    ),
    Route::api(
        "POST",
        "/v1/config/reload",
        Need::Admin,
        Operation::Other,
        "Read configuration and certificate anew; on any error everything stays as it was",
    ),
    Route::api("GET", "/v1/ca", Need::Nothing, Operation::Other, "The certificate of the cluster's authority"),
    Route::api("GET", "/v1/rescue", Need::Observe, Operation::Other, "Whether this node runs, or had to be rescued"),
    Route::api("GET", "/v1/doctor", Need::Observe, Operation::Other, "Read and check everything stored"),
    Route::api("GET", "/v1/tokens", Need::Admin, Operation::Other, "All tokens, without their secrets"),
    Route::api("POST", "/v1/tokens", Need::Admin, Operation::Other, "Make a token; its secret is shown once"),
    Route::api("DELETE", "/v1/tokens/{id}", Need::Admin, Operation::Other, "Remove a token by number or name"),
    Route::api("GET", "/v1/users", Need::Admin, Operation::Other, "All users"),
    Route::api("PUT", "/v1/users/{name}", Need::Admin, Operation::Other, "Add a user or change its password"),
    Route::api("DELETE", "/v1/users/{name}", Need::Admin, Operation::Other, "Remove a user"),
    Route::api(
        "POST",
        "/v1/users/me/password",
        Need::SignedIn,
        Operation::Other,
        "Change one's own password; ends one's other sessions",
    ),
    Route::api("POST", "/v1/sign-in-links", Need::Admin, Operation::Other, "A one-time link that signs a user in"),
    Route::api("GET", "/v1/audit", Need::Admin, Operation::Other, "Who changed what, oldest first, page by page"),
    Route::api("GET", "/v1/members", Need::Observe, Operation::Other, "Every node, whether it is there and serves"),
    // Observing, not reading: it takes the key's name and shows sizes and digests, never a value, so that whoever operates
    // the cluster can look for a copy without being let into the data. Devices do not see how the cluster lies.
    Route::api("GET", WHERE_KEY, Need::Observe, Operation::Other, "A key's owners, and what each of them holds"),
    Route::api("GET", WHERE_EMPTY, Need::Observe, Operation::Other, "An empty key is refused"),
    Route::api("POST", "/v1/invites", Need::Admin, Operation::Other, "An invite for one machine; shown once"),
    Route::api(
        "POST",
        "/v1/members/{id}/leave",
        Need::Operate,
        Operation::Other,
        "Let a node give away what it owns and go",
    ),
    Route::api(
        "POST",
        "/v1/members/{id}/remove",
        Need::Operate,
        Operation::Other,
        "Strike off a node that is gone for ever",
    ),
    Route::api(
        "POST",
        "/v1/members/{id}/replace",
        Need::Operate,
        Operation::Other,
        "Put a new node in the places of another",
    ),
    Route::api(
        "POST",
        "/v1/members/{id}/drain",
        Need::Operate,
        Operation::Other,
        "Ask devices to use other nodes; the node keeps what it owns",
    ),
    Route::api("POST", "/v1/members/{id}/undrain", Need::Operate, Operation::Other, "Let devices use a node again"),
    Route::api(
        "GET",
        "/v1/members/{id}/inside",
        Need::Observe,
        Operation::Other,
        "How a node is inside: process, tasks, threads, disk, configuration in force; of one that is gone, its last minutes",
    ),
    Route::api(
        "GET",
        "/v1/events",
        Need::Observe,
        Operation::Other,
        "What happened in the cluster, as this node sees it; server-sent events",
    ),
    Route::api(
        "GET",
        "/v1/logs",
        Need::Observe,
        Operation::Other,
        "The log of all nodes in causal order, by page or followed as server-sent events",
    ),
    Route::api(
        "POST",
        "/v1/log-level",
        Need::Operate,
        Operation::Other,
        "Change what is logged of a part of the program, for a time",
    ),
    Route::api(
        "GET",
        "/v1/shared",
        Need::Observe,
        Operation::Other,
        "Every piece of shared state: its kind, its cost, what stops without it",
    ),
    Route::api(
        "GET",
        "/v1/ring",
        Need::Observe,
        Operation::Other,
        "Who owns what, and how far a change of it has come",
    ),
    Route::api(
        "GET",
        "/v1/convergence",
        Need::Observe,
        Operation::Other,
        "Whether the owners of each partition hold the same, and whether all nodes agree, as far as this node knows",
    ),
    Route::api("GET", "/v1/timeline", Need::Observe, Operation::Other, "What changed, each with what it follows from"),
    Route::api("GET", "/v1/alarms", Need::Observe, Operation::Other, "What is wrong, as all nodes see it"),
    Route::api(
        "POST",
        "/v1/ring/pause",
        Need::Operate,
        Operation::Other,
        "Let partitions on their way wait, on all nodes, for a time",
    ),
    Route::api("POST", "/v1/ring/resume", Need::Operate, Operation::Other, "Let them go on"),
    Route::api("GET", "/v1/plan", Need::Observe, Operation::Other, "The plan that is staged: what moves where"),
    Route::api("POST", "/v1/plan", Need::Operate, Operation::Other, "Stage a plan for all nodes"),
    Route::api("DELETE", "/v1/plan", Need::Operate, Operation::Other, "Drop what is staged"),
    Route::api("POST", "/v1/plan/commit", Need::Operate, Operation::Other, "Begin what is staged under this number"),
    Route::api("GET", "/v1/crashes", Need::Observe, Operation::Other, "Crash reports of all nodes"),
    Route::api("GET", "/v1/crashes/{id}", Need::Observe, Operation::Other, "One crash report"),
    Route::api("GET", "/v1/claim-code", Need::Owner, Operation::Other, "The code that makes the first user, or null"),
];

/// Whether a path is one of its own only for the router: the empty key of another.
#[must_use]
pub fn is_empty_key(path: &str) -> bool {
    path == KV_EMPTY || path == WHERE_EMPTY
}

/// What is served to devices and programs.
#[must_use]
pub fn face() -> Face {
    Face { rows: ROUTES, router, refuse: route::refuse_as_document, under: "/v1/" }
}

fn router(_node: &Node) -> Router<Node> {
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
        .route("/v1/nodes", get(nodes::nodes))
        .route("/v1/buckets", get(bucket::list))
        .route("/v1/buckets/{name}", get(bucket::show).put(bucket::make).delete(bucket::remove))
        .route("/v1/buckets/{name}/import", post(transfer::import))
        .route("/v1/buckets/{name}/export", get(transfer::export))
        .route("/v1/status", get(status::status))
        .route("/v1/config", get(config::show))
        .route("/v1/config/reload", post(config::reload))
        .route("/v1/ca", get(config::authority))
        .route("/v1/doctor", get(status::doctor))
        .route("/v1/tokens", get(admin::list_tokens).post(admin::add_token))
        .route("/v1/tokens/{id}", delete(admin::remove_token))
        .route("/v1/users", get(admin::list_users))
        .route("/v1/users/{name}", put(admin::put_user).delete(admin::remove_user))
        .route("/v1/users/me/password", post(admin::change_own_password))
        .route("/v1/sign-in-links", post(admin::make_link))
        .route("/v1/audit", get(audit::list))
        .route("/v1/members", get(cluster::members))
        .route("/v1/invites", post(cluster::invite))
        .route("/v1/members/{id}/leave", post(cluster::leave))
        .route("/v1/members/{id}/remove", post(cluster::remove))
        .route("/v1/members/{id}/replace", post(cluster::replace))
        .route("/v1/members/{id}/drain", post(cluster::drain))
        .route("/v1/members/{id}/undrain", post(cluster::undrain))
        .route("/v1/events", get(events::events))
        .route("/v1/logs", get(logs::show))
        .route("/v1/log-level", post(logs::set_level))
        .route("/v1/shared", get(shared::shared))
        .route("/v1/ring", get(cluster::ring))
        .route("/v1/convergence", get(cluster::convergence))
        .route("/v1/members/{id}/inside", get(cluster::inside))
        .route("/v1/alarms", get(timeline::alarms))
        .route("/v1/timeline", get(timeline::timeline))
        .route("/v1/ring/pause", post(cluster::pause))
        .route("/v1/ring/resume", post(cluster::resume))
        .route("/v1/plan", get(cluster::plans).post(cluster::stage_plan).delete(cluster::clear_plan))
        .route("/v1/plan/commit", post(cluster::commit_plan))
        .route(WHERE_KEY, get(cluster::whereabouts))
        .route(WHERE_EMPTY, get(cluster::whereabouts))
        .route("/v1/rescue", get(rescue::well))
        .route("/v1/crashes", get(crashes::list))
        .route("/v1/crashes/{id}", get(crashes::one))
        .route("/v1/claim-code", get(admin::claim_code))
}
