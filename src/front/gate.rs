//! In front of every handler: whether it is meant for us, who is calling, whether that is enough, a place inside the
//! door, and the count afterwards.
//! Deny by default: a route that is not in the table is not served. Who is calling is decided once, on the row that the
//! path matched, in this order: the control socket, a bearer token, a session's cookie.

use std::net::IpAddr;
use std::net::SocketAddr;

use axum::body::HttpBody;
use axum::extract::MatchedPath;
use axum::extract::Request;
use axum::extract::State;
use axum::http::HeaderMap;
use axum::http::HeaderName;
use axum::http::HeaderValue;
use axum::http::StatusCode;
use axum::http::header;
use axum::middleware::Next;
use axum::response::IntoResponse;
use axum::response::Response;

use crate::base::flight;
use crate::base::limits::NODES_TOLD_MAX;
use crate::base::time;
use crate::front::arrival;
use crate::front::cookie;
use crate::front::host;
use crate::front::origin;
use crate::front::problem::Problem;
use crate::front::problem::Said;
use crate::front::route::RefusedRequest;
use crate::front::route::Route;
use crate::front::route::Table;
use crate::node::Node;
use crate::node::access::BadToken;
use crate::node::access::Caller;
use crate::node::error::DoorError;
use crate::node::telemetry::Operation;
use crate::proto::alarm::judge::Shut;
use crate::proto::alarm::rejections::Fault;
use crate::proto::alarm::rejections::Rejection;
use crate::proto::audit::Via;
use crate::proto::scope::Need;

/// Milliseconds since the node had contact with the control plane, at least; there where that is longer than it should be.
const CONTROL_AGE: HeaderName = HeaderName::from_static("ringfort-control-age-ms");

/// Where a device should go instead: URLs of nodes that serve, separated by commas, the best first.
const NODES: HeaderName = HeaderName::from_static("ringfort-nodes");

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

    /// The address, but not the port.
    #[must_use]
    pub fn ip(self) -> Option<IpAddr> {
        self.address().map(|address| address.ip())
    }

    /// Whether it came over TLS.
    #[must_use]
    pub fn is_tls(self) -> bool {
        matches!(self, Self::Tls(_))
    }

    /// Whether it is a program on this machine that came over a loopback address.
    #[must_use]
    pub fn is_loopback(self) -> bool {
        self.ip().is_some_and(|ip| ip.to_canonical().is_loopback())
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
    if let Err(problem) = host::check(&gate.node, &request) {
        return misdirected(problem);
    }
    let Some(matched) = request.extensions().get::<MatchedPath>().cloned() else {
        return nothing_here(&gate, &request);
    };
    let Some(row) = gate.table.find(request.method(), matched.as_str()) else {
        return not_so(&gate, matched.as_str(), &request);
    };
    let route = row.route;
    let _work = flight::begin_work(route.operation as usize);
    let from = request.extensions().get::<Peer>().and_then(|peer| peer.ip());
    let entrance = admit(&gate.node, &mut request, &route).await;
    let admitted = entrance.is_ok();
    let mut response = match entrance {
        Ok(Entrance::Free) => next.run(request).await,
        // Asked here too, while there is a request to say no to.
        Ok(Entrance::Counted) if gate.node.is_full() => {
            (row.refuse)(&gate.node, Problem::from(DoorError::Busy), &RefusedRequest::of(&request))
        }
        Ok(Entrance::Counted) => match arrival::take_place(&gate.node, request) {
            Ok((request, place)) => {
                let response = next.run(request).await;
                place.release();
                response
            }
            Err(busy) => Problem::from(busy).into_response(),
        },
        Err(problem) => (row.refuse)(&gate.node, problem, &RefusedRequest::of(&request)),
    };
    harden(&mut response, cache_of(&route));
    if gate.node.sends_away() {
        send_away(&gate.node, from, admitted && is_for_devices(route.need), &mut response);
    }
    if route.need != Need::Nothing {
        tell_age(&gate.node, &mut response);
    }
    gate.node.telemetry().answered(route.operation, response.status().as_u16(), started.elapsed());
    if is_for_devices(route.need) {
        note_refusal(&gate.node, &response, from);
    }
    response
}

/// Counts what a device was refused.
fn note_refusal(node: &Node, response: &Response, from: Option<IpAddr>) {
    let Some(said) = response.extensions().get::<Said>() else { return };
    let Some(fault) = fault_of(response.status(), said.code) else { return };
    node.note_rejection(Rejection { code: said.code, fault, text: &said.detail, from, counted: true });
}

/// Whose fault a refusal is; of nobody where many ask so on purpose, or where it has an alarm of its own.
fn fault_of(status: StatusCode, code: &str) -> Option<Fault> {
    match status {
        StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => None,
        StatusCode::PRECONDITION_FAILED | StatusCode::PRECONDITION_REQUIRED => None,
        // Whether there is a value is a question like another.
        StatusCode::NOT_FOUND if code == "no_such_key" => None,
        status if status.is_server_error() => Some(Fault::Ours),
        _ => Some(Fault::Theirs),
    }
}

/// Whether a request needs a place inside the door.
enum Entrance {
    Free,
    Counted,
}

/// Lets a caller in who may. Probes need no place: a node that is busy is not dead.
async fn admit(node: &Node, request: &mut Request, route: &Route) -> Result<Entrance, Problem> {
    let peer = request.extensions().get::<Peer>().copied();
    let on_loopback = peer.is_some_and(Peer::is_loopback);
    let need = if route.need == Need::Metrics && on_loopback { Need::Nothing } else { route.need };
    let caller = identify(node, request, peer, need)?;
    let enough = match caller.may(need) {
        true => node.check_contact(&caller, need).await.map_err(Problem::from),
        false => Err(not_enough(node, &caller, route)),
    };
    if is_for_devices(need) {
        node.note_asker(&caller);
    }
    request.extensions_mut().insert(caller);
    enough?;
    // The owner is let in also when everyone else has to wait.
    let free = route.need == Need::Nothing || peer == Some(Peer::Local);
    Ok(if free { Entrance::Free } else { Entrance::Counted })
}

/// What a cut-off node knows of tokens and users is old: whoever is let in is told how old.
fn tell_age(node: &Node, response: &mut Response) {
    if let Some(age) = node.control_age() {
        // Rounded up: it is not older than it is said to be.
        let age_ms = u64::try_from(age.as_nanos().div_ceil(1_000_000)).unwrap_or(u64::MAX);
        response.headers_mut().insert(CONTROL_AGE, HeaderValue::from(age_ms));
    }
}

fn is_for_devices(need: Need) -> bool {
    matches!(need, Need::ReadValues | Need::WriteValues | Need::AnyValues)
}

/// Where the caller's connection ends it asks whoever balances for the next one; a device that was let in is told where else
/// to go. Nobody else: where the nodes are is not for strangers.
fn send_away(node: &Node, from: Option<IpAddr>, tell: bool, response: &mut Response) {
    response.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("close"));
    if !tell {
        return;
    }
    let told = node.nodes_for(from, None).into_iter().map(|node| node.url).filter(|url| !url.contains(','));
    let told: Vec<String> = told.take(NODES_TOLD_MAX).collect();
    if let (false, Ok(value)) = (told.is_empty(), HeaderValue::try_from(told.join(", "))) {
        response.headers_mut().insert(NODES, value);
    }
}

/// Who is calling.
fn identify(node: &Node, request: &Request, peer: Option<Peer>, need: Need) -> Result<Caller, Problem> {
    if peer == Some(Peer::Local) {
        return Ok(Caller::local());
    }
    let (headers, from) = (request.headers(), peer.and_then(Peer::address).map(|address| address.ip()));
    let secure = peer.is_some_and(Peer::is_tls);
    let is_change = !request.method().is_safe();
    if need == Need::Nothing {
        // Such as a sign-in: another page must not do it in a browser's name.
        if is_change {
            check_origin(request, secure)?;
        }
        return Ok(Caller::anonymous(from));
    }
    if headers.contains_key(header::AUTHORIZATION) {
        let shut = || node.refusals().note_token(Shut::Unknown, from);
        let bearer = bearer(headers).ok_or_else(|| {
            shut();
            unauthorized("this needs a token: `Authorization: Bearer …`")
        })?;
        return node.caller_of(bearer, from).map_err(|reason| {
            shut();
            refused(node, reason, "this token is not valid here")
        });
    }
    let Some(secret) = cookie::read(headers, secure, node.who().cluster) else {
        if is_for_devices(need) {
            node.refusals().note_token(Shut::Missing, from);
        }
        return Err(unauthorized("this needs a token: `Authorization: Bearer …`"));
    };
    let caller = node.caller_of_session(secret, from);
    let caller = caller.map_err(|reason| refused(node, reason, "this session has ended; sign in again"))?;
    if is_change {
        check_origin(request, secure)?;
    }
    Ok(caller)
}

pub(super) fn unauthorized(detail: &str) -> Problem {
    Problem::new(StatusCode::UNAUTHORIZED, "unauthorized", detail)
}

fn refused(node: &Node, reason: BadToken, detail: &str) -> Problem {
    if let Some(dropped) = node.refusals().unknown.admit(time::mono()) {
        tracing::info!(?reason, dropped, "a token or session was refused");
    }
    unauthorized(detail)
}

fn not_enough(node: &Node, caller: &Caller, route: &Route) -> Problem {
    let Route { method, path, need, .. } = route;
    let detail = match (need, caller.via) {
        (Need::Owner, _) => "only the node's owner may, on its own machine, through the control socket",
        (_, Via::Session) => "this user may not do it; an admin can change that",
        (_, Via::Local | Via::Anonymous | Via::Token) => "this token's scopes do not allow it",
    };
    if caller.via == Via::Token {
        node.refusals().note_token(Shut::NotEnough, caller.from);
    }
    if let Some(dropped) = node.refusals().not_enough.admit(time::mono()) {
        let (caller, via) = (&*caller.name, caller.via);
        tracing::info!(caller, ?via, method, path, ?need, dropped, "a caller's scopes were not enough");
    }
    Problem::new(StatusCode::FORBIDDEN, "forbidden", detail)
}

/// A change that a browser sends by itself must come from a page of our own, and be a form or document.
pub(super) fn check_origin(request: &Request, secure: bool) -> Result<(), Problem> {
    let has_body = !request.body().is_end_stream();
    let cross = |detail| Err(Problem::new(StatusCode::FORBIDDEN, "cross_origin", detail));
    if !origin::is_same(request.headers(), request.uri(), secure) {
        return cross("this was not sent by a page of this node; nothing was changed; programs use a token instead");
    }
    if !origin::is_form(request.headers(), has_body) {
        return cross("a browser's change is a form or a JSON document; nothing was changed");
    }
    Ok(())
}

fn bearer(headers: &HeaderMap) -> Option<&str> {
    let mut values = headers.get_all(header::AUTHORIZATION).iter();
    let value = values.next()?.to_str().ok()?;
    let (scheme, token) = value.split_once(' ')?;
    (scheme.eq_ignore_ascii_case("bearer") && values.next().is_none()).then_some(token.trim())
}

/// What every answer carries unless its handler knows better: no guessing of types, no path in a referrer, and nothing
/// that was answered to somebody in particular in a cache.
pub(super) fn harden(response: &mut Response, cache: Option<&'static str>) {
    let cache = if response.status().is_success() { cache } else { Some("no-store") };
    let mut default = |name: HeaderName, value| {
        response.headers_mut().entry(name).or_insert(HeaderValue::from_static(value));
    };
    default(header::X_CONTENT_TYPE_OPTIONS, "nosniff");
    default(header::REFERRER_POLICY, "same-origin");
    if let Some(cache) = cache {
        default(header::CACHE_CONTROL, cache);
    }
}

fn cache_of(route: &Route) -> Option<&'static str> {
    if route.need == Need::Nothing {
        None
    } else if route.operation == Operation::Get {
        // A value may be asked for again by its ETag.
        Some("private, no-cache")
    } else {
        Some("no-store")
    }
}

/// Nothing is served under this path.
pub async fn not_here(State(gate): State<Gate>, request: Request) -> Response {
    let response = match host::check(&gate.node, &request) {
        Ok(()) => nothing_here(&gate, &request),
        Err(problem) => misdirected(problem),
    };
    std::future::ready(response).await
}

fn nothing_here(gate: &Gate, request: &Request) -> Response {
    let problem =
        Problem::new(StatusCode::NOT_FOUND, "no_such_path", "nothing is served under this path; see /v1/openapi.json");
    let refuse = gate.table.refuse_under(request.uri().path());
    let mut response = refuse(&gate.node, problem, &RefusedRequest::of(request));
    harden(&mut response, None);
    response
}

/// Meant for another host: the document, whoever asks, as a page of ours would be one of that host's.
pub(super) fn misdirected(problem: Problem) -> Response {
    let mut response = problem.into_response();
    harden(&mut response, None);
    response
}

/// The path is served, but not by this method.
fn not_so(gate: &Gate, path: &str, request: &Request) -> Response {
    let methods = gate.table.methods(path).join(", ");
    let detail = format!("this path takes {methods}; nothing was changed; see /v1/openapi.json");
    let problem = Problem::new(StatusCode::METHOD_NOT_ALLOWED, "no_such_method", detail);
    let mut response = gate.table.refuse_of(path)(&gate.node, problem, &RefusedRequest::of(request));
    if let Ok(methods) = HeaderValue::from_str(&methods) {
        response.headers_mut().insert(header::ALLOW, methods);
    }
    harden(&mut response, None);
    response
}

#[cfg(test)]
mod tests {
    use axum::http::StatusCode;

    use super::fault_of;
    use crate::proto::alarm::rejections::Fault;

    #[test]
    fn to_ask_for_what_is_not_there_is_nobodys_fault_and_to_ask_for_no_bucket_is() {
        assert_eq!(fault_of(StatusCode::NOT_FOUND, "no_such_key"), None);
        assert_eq!(fault_of(StatusCode::NOT_FOUND, "no_such_bucket"), Some(Fault::Theirs));
        assert_eq!(fault_of(StatusCode::SERVICE_UNAVAILABLE, "no_quorum"), Some(Fault::Ours));
        assert_eq!(fault_of(StatusCode::UNAUTHORIZED, "unauthorized"), None);
    }
}
