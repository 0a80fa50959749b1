//! The table of routes: what is served, what it needs, how it is counted and described. Each face brings its rows, its
//! router and what its refusals look like; here they become one, with the gate in front of everything.

use std::sync::Arc;

use axum::Router;
use axum::extract::Request;
use axum::http::HeaderMap;
use axum::http::Method;
use axum::http::header;
use axum::middleware;
use axum::response::IntoResponse;
use axum::response::Response;

use crate::front::gate;
use crate::front::gate::Gate;
use crate::front::problem::Problem;
use crate::node::Node;
use crate::node::access::Caller;
use crate::node::telemetry::Operation;
use crate::proto::scope::Need;

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
        Self { method, path, need, operation, summary }
    }

    /// A row for browsers.
    #[must_use]
    pub const fn page(method: &'static str, path: &'static str, need: Need, summary: &'static str) -> Self {
        Self { method, path, need, operation: Operation::Other, summary }
    }
}

/// What a face may want to know of a request that is refused in front of its handlers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RefusedRequest {
    /// Its method.
    pub method: Method,
    /// Where it wanted to go, with its query, raw.
    pub path_and_query: String,
    /// Whether whoever sent it prefers a page to read.
    pub accepts_html: bool,
    /// Everything else that it says, such as the theme that a browser keeps.
    pub headers: HeaderMap,
    /// Who sent it, where that is known.
    pub caller: Option<Caller>,
}

impl RefusedRequest {
    /// What it says.
    #[must_use]
    pub fn of(request: &Request) -> Self {
        let path_and_query = request.uri().path_and_query().map_or("/", |path| path.as_str()).to_owned();
        let accept = request.headers().get(header::ACCEPT).and_then(|accept| accept.to_str().ok());
        let accepts_html = accept.is_some_and(|accept| accept.contains("text/html"));
        Self {
            method: request.method().clone(),
            path_and_query,
            accepts_html,
            headers: request.headers().clone(),
            caller: request.extensions().get().cloned(),
        }
    }
}

/// How a face answers what is refused in front of its handlers.
pub type Refuse = fn(&Node, Problem, &RefusedRequest) -> Response;

/// For devices and programs: the problem document, whatever was asked for.
pub fn refuse_as_document(_node: &Node, problem: Problem, _request: &RefusedRequest) -> Response {
    problem.into_response()
}

/// What is served to one audience: rows and a router made from the same paths.
pub struct Face {
    /// Its rows.
    pub rows: &'static [Route],
    /// Makes its handlers for a node.
    pub router: fn(&Node) -> Router<Node>,
    /// What its refusals look like.
    pub refuse: Refuse,
    /// Under which path it also answers for what is not there; the longest that fits wins.
    pub under: &'static str,
}

/// A row with its face's refusals.
#[derive(Debug, Clone, Copy)]
pub struct Row {
    /// The row.
    pub route: Route,
    /// Its face's.
    pub refuse: Refuse,
}

/// The rows of all faces.
#[derive(Clone)]
pub struct Table {
    rows: Arc<[Row]>,
    under: Arc<[(&'static str, Refuse)]>,
}

impl Table {
    fn of(faces: &[Face]) -> Self {
        let rows = |face: &Face| {
            let refuse = face.refuse;
            face.rows.iter().map(move |route| Row { route: *route, refuse })
        };
        let under = faces.iter().map(|face| (face.under, face.refuse));
        Self { rows: faces.iter().flat_map(rows).collect(), under: under.collect() }
    }

    /// The row for a request whose path matched.
    #[must_use]
    pub fn find(&self, method: &Method, path: &str) -> Option<&Row> {
        let method = if method == Method::HEAD { "GET" } else { method.as_str() };
        self.rows.iter().find(|row| row.route.method == method && row.route.path == path)
    }

    /// What a path takes.
    #[must_use]
    pub fn methods(&self, path: &str) -> Vec<&'static str> {
        let rows = self.rows.iter().map(|row| row.route).filter(|route| route.path == path);
        rows.flat_map(|route| if route.method == "GET" { vec!["GET", "HEAD"] } else { vec![route.method] }).collect()
    }

    /// The refusals of the face whose path matched.
    #[must_use]
    pub fn refuse_of(&self, path: &str) -> Refuse {
        self.rows.iter().find(|row| row.route.path == path).map_or(refuse_as_document, |row| row.refuse)
    }

    /// The refusals of the face that answers for a path where nothing is.
    #[must_use]
    pub fn refuse_under(&self, path: &str) -> Refuse {
        let fitting = self.under.iter().filter(|(under, _)| path.starts_with(under));
        fitting.max_by_key(|(under, _)| under.len()).map_or(refuse_as_document, |(_, refuse)| *refuse)
    }
}

/// One router of all faces, behind the gate.
pub fn assemble(node: Node, faces: Vec<Face>) -> Router {
    let gate = Gate { node: node.clone(), table: Table::of(&faces) };
    let router = faces.into_iter().fold(Router::new(), |router, face| router.merge((face.router)(&node)));
    let router = router.route_layer(middleware::from_fn_with_state(gate.clone(), gate::enter)).with_state(node);
    router.merge(Router::new().fallback(gate::not_here).with_state(gate))
}
