//! In front of every handler: a place inside the door, who is calling, whether that is enough, and the count
//! afterwards. Deny by default: a route that is not in the table is not served.

use std::net::SocketAddr;

use axum::extract::MatchedPath;
use axum::extract::Request;
use axum::extract::State;
use axum::http::HeaderMap;
use axum::http::HeaderValue;
use axum::http::StatusCode;
use axum::http::header;
use axum::middleware::Next;
use axum::response::IntoResponse;
use axum::response::Response;

use crate::base::time;
use crate::front::arrival;
use crate::front::problem::Problem;
use crate::front::route::Table;
use crate::node::Node;
use crate::node::access::Caller;
use crate::proto::scope::Need;

/// Where a connection comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Peer {
    /// A TCP address, in plain HTTP: a loopback one.
    Tcp(SocketAddr),
    /// A TCP address, over TLS.
    Tls(SocketAddr),
    /// The local control socket, opened by this process's own user or root.
    Local,
}

impl Peer {
    /// Its TCP address; none for the control socket.
    #[must_use]
    pub fn address(self) -> Option<SocketAddr> {
        match self {
            Self::Tcp(address) | Self::Tls(address) => Some(address),
            Self::Local => None,
        }
    }

    /// Whether it came over TLS.
    #[must_use]
    pub fn is_tls(self) -> bool {
        matches!(self, Self::Tls(_))
    }

    /// Whether it is a program on this machine that came over a loopback address.
    #[must_use]
    pub fn is_loopback(self) -> bool {
        self.address().is_some_and(|address| address.ip().to_canonical().is_loopback())
    }
}

/// What the middleware knows.
#[derive(Clone)]
pub struct Gate {
    /// The door.
    pub node: Node,
    /// The rows of all faces.
    pub table: Table,
}

/// The middleware.
pub async fn enter(State(gate): State<Gate>, mut request: Request, next: Next) -> Response {
    let started = time::mono();
    let Some(matched) = request.extensions().get::<MatchedPath>().cloned() else { return not_here().await };
    let Some(route) = gate.table.find(request.method(), matched.as_str()) else {
        return not_so(&gate.table, matched.as_str());
    };
    let operation = route.operation;
    let response = match admit(&gate.node, &mut request, route.need) {
        Ok(Entrance::Free) => next.run(request).await,
        Ok(Entrance::Counted) => {
            let place = arrival::Held::default();
            let request = arrival::take_place(&gate.node, request, &place);
            match request {
                Ok(request) => {
                    let response = next.run(request).await;
                    drop(place.take());
                    response
                }
                Err(busy) => Problem::from(busy).into_response(),
            }
        }
        Err(problem) => problem.into_response(),
    };
    gate.node.telemetry().answered(operation, response.status().as_u16(), started.elapsed());
    response
}

/// Whether a request needs a place inside the door.
enum Entrance {
    Free,
    Counted,
}

/// Lets a caller in who may. Probes need no place: a node that is busy is not dead.
fn admit(node: &Node, request: &mut Request, need: Need) -> Result<Entrance, Problem> {
    let peer = request.extensions().get::<Peer>().copied();
    let caller = caller(node, request.headers(), peer, need)?;
    request.extensions_mut().insert(caller);
    // The owner is let in also when everyone else has to wait.
    let free = need == Need::Nothing || peer == Some(Peer::Local);
    Ok(if free { Entrance::Free } else { Entrance::Counted })
}

/// Who is calling, if that is enough.
fn caller(node: &Node, headers: &HeaderMap, peer: Option<Peer>, need: Need) -> Result<Caller, Problem> {
    if peer == Some(Peer::Local) {
        return Ok(Caller::local());
    }
    let on_loopback = peer.is_some_and(Peer::is_loopback);
    if need == Need::Nothing || (need == Need::Metrics && on_loopback) {
        return Ok(Caller::anonymous());
    }
    let unauthorized = |detail| Problem::new(StatusCode::UNAUTHORIZED, "unauthorized", detail);
    let bearer = bearer(headers).ok_or_else(|| unauthorized("this needs a token: `Authorization: Bearer …`"))?;
    let caller = node.caller_of(bearer).map_err(|reason| {
        tracing::info!(?reason, "a token was refused");
        unauthorized("this token is not valid here")
    })?;
    if !caller.may(need) {
        tracing::info!(caller = &*caller.name, ?need, "a token's scopes were not enough");
        return Err(Problem::new(StatusCode::FORBIDDEN, "forbidden", "this token's scopes do not allow it"));
    }
    Ok(caller)
}

fn bearer(headers: &HeaderMap) -> Option<&str> {
    let value = headers.get(header::AUTHORIZATION)?.to_str().ok()?;
    let (scheme, token) = value.split_once(' ')?;
    scheme.eq_ignore_ascii_case("bearer").then_some(token.trim())
}

/// Nothing is served under this path.
pub async fn not_here() -> Response {
    std::future::ready(Problem::new(
        StatusCode::NOT_FOUND,
        "no_such_path",
        "nothing is served under this path; see /v1/openapi.json",
    ))
    .await
    .into_response()
}

/// The path is served, but not by this method.
fn not_so(table: &Table, path: &str) -> Response {
    let methods = table.methods(path).join(", ");
    let detail = format!("this path takes {methods}; nothing was changed; see /v1/openapi.json");
    let mut response = Problem::new(StatusCode::METHOD_NOT_ALLOWED, "no_such_method", detail).into_response();
    if let Ok(methods) = HeaderValue::from_str(&methods) {
        response.headers_mut().insert(header::ALLOW, methods);
    }
    response
}
