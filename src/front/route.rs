//! The table of routes: what is served, what it needs, how it is counted and described. Each face brings its rows and its
//! router; here they become one, with the gate in front of everything.

use std::sync::Arc;

use axum::Router;
use axum::http::Method;
use axum::middleware;

use crate::front::gate;
use crate::front::gate::Gate;
use crate::node::Node;
use crate::node::telemetry::Operation;
use crate::proto::scope::Need;

/// Whom a route answers, which decides what a refusal looks like.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Audience {
    /// Devices and programs: problem documents.
    Program,
    /// People with a browser: pages, and the way to the sign-in.
    Browser,
}

/// One row of the table.
#[derive(Debug, Clone, Copy)]
pub struct Route {
    /// The method; `HEAD` goes with `GET`.
    pub method: &'static str,
    /// The path with its parameters in braces, as axum matches it.
    pub path: &'static str,
    /// What a caller needs.
    pub need: Need,
    /// How it is counted.
    pub operation: Operation,
    /// Whom it answers.
    pub audience: Audience,
    /// For people and the OpenAPI document.
    pub summary: &'static str,
}

impl Route {
    /// A row for devices and programs.
    #[must_use]
    pub const fn api(
        method: &'static str,
        path: &'static str,
        need: Need,
        operation: Operation,
        summary: &'static str,
    ) -> Self {
        Self { method, path, need, operation, audience: Audience::Program, summary }
    }

    /// A row for browsers.
    #[must_use]
    pub const fn page(method: &'static str, path: &'static str, need: Need, summary: &'static str) -> Self {
        Self { method, path, need, operation: Operation::Other, audience: Audience::Browser, summary }
    }
}

/// What is served to one audience: rows and a router made from the same paths.
pub struct Face {
    /// Its rows.
    pub rows: &'static [Route],
    /// Its handlers.
    pub router: Router<Node>,
}

/// The rows of all faces.
#[derive(Clone)]
pub struct Table(Arc<[Route]>);

impl Table {
    /// The row for a request whose path matched.
    #[must_use]
    pub fn find(&self, method: &Method, path: &str) -> Option<&Route> {
        let method = if method == Method::HEAD { "GET" } else { method.as_str() };
        self.0.iter().find(|route| route.method == method && route.path == path)
    }

    /// What a path takes.
    #[must_use]
    pub fn methods(&self, path: &str) -> Vec<&'static str> {
        let rows = self.0.iter().filter(|route| route.path == path);
        rows.flat_map(|route| if route.method == "GET" { vec!["GET", "HEAD"] } else { vec![route.method] }).collect()
    }
}

/// One router of all faces, behind the gate.
pub fn assemble(node: Node, faces: Vec<Face>) -> Router {
    let rows = faces.iter().flat_map(|face| face.rows).copied().collect();
    let gate = Gate { node: node.clone(), table: Table(rows) };
    let router = faces.into_iter().fold(Router::new(), |router, face| router.merge(face.router));
    router.route_layer(middleware::from_fn_with_state(gate, gate::enter)).fallback(gate::not_here).with_state(node)
}
