//! In front of a rescue console: the same listeners and the same questions as in front of a node (is it meant for us, who is
//! calling, is that enough), of a door that knows operators only. What is in no table is what a node would serve: it is refused
//! with a word that says where to go on.

use std::sync::Arc;

use axum::Router;
use axum::extract::MatchedPath;
use axum::extract::Request;
use axum::extract::State;
use axum::http::StatusCode;
use axum::middleware;
use axum::middleware::Next;
use axum::response::IntoResponse;
use axum::response::Response;

use crate::base::limits::RESCUE_RETRY_AFTER_S;
use crate::front::cookie;
use crate::front::gate;
use crate::front::gate::Peer;
use crate::front::host;
use crate::front::problem::Problem;
use crate::front::route::RefusedRequest;
use crate::front::route::Route;
use crate::node::access::Caller;
use crate::node::rescue::Rescue;
use crate::proto::scope::Need;

/// How a face answers what is refused in front of its handlers.
pub type Refuse = fn(&Rescue, Problem, &RefusedRequest) -> Response;

/// What a rescue console serves to one audience.
pub struct Face {
    /// Its rows.
    pub rows: &'static [Route],
    /// Makes its handlers.
    pub router: fn(&Rescue) -> Router<Rescue>,
    /// What its refusals look like.
    pub refuse: Refuse,
}

type Rows = Arc<[(Route, Refuse)]>;

#[derive(Clone)]
struct Gate {
    rescue: Rescue,
    rows: Rows,
    /// For what is in no table, where a browser asks.
    elsewhere: Refuse,
}

/// One router of all faces, behind the gate. The last one answers browsers for what is not there.
pub fn assemble(rescue: Rescue, faces: Vec<Face>) -> Router {
    let rows = faces.iter().flat_map(|face| face.rows.iter().map(|route| (*route, face.refuse)));
    let elsewhere = faces.last().map_or(as_document as Refuse, |face| face.refuse);
    let gate = Gate { rescue: rescue.clone(), rows: rows.collect(), elsewhere };
    let router = faces.into_iter().fold(Router::new(), |router, face| router.merge((face.router)(&rescue)));
    let router = router.route_layer(middleware::from_fn_with_state(gate.clone(), enter)).with_state(rescue);
    router.merge(Router::new().fallback(not_served).with_state(gate))
}

/// For devices and programs: the problem document, whatever was asked for.
pub fn as_document(_rescue: &Rescue, problem: Problem, _request: &RefusedRequest) -> Response {
    problem.into_response()
}

async fn enter(State(gate): State<Gate>, mut request: Request, next: Next) -> Response {
    if let Err(problem) = host::check_by(&request, |name| gate.rescue.is_called(name)) {
        return gate::misdirected(problem);
    }
    let matched = request.extensions().get::<MatchedPath>().map(|path| path.as_str().to_owned());
    let method = if request.method() == "HEAD" { "GET" } else { request.method().as_str() };
    let is_row = |(route, _): &&(Route, Refuse)| route.method == method && Some(route.path) == matched.as_deref();
    let Some((route, refuse)) = gate.rows.iter().find(is_row).copied() else {
        return elsewhere(&gate, &request);
    };
    let mut response = match admit(&gate.rescue, &mut request, route.need) {
        Ok(()) => next.run(request).await,
        Err(problem) => refuse(&gate.rescue, problem, &RefusedRequest::of(&request)),
    };
    gate::harden(&mut response, (route.need != Need::Nothing).then_some("no-store"));
    response
}

/// Lets a caller in who may. Who is known is known to whoever refuses, too.
fn admit(rescue: &Rescue, request: &mut Request, need: Need) -> Result<(), Problem> {
    let caller = identify(rescue, request, need)?;
    let enough = caller.may(need);
    request.extensions_mut().insert(caller);
    if enough {
        return Ok(());
    }
    let detail = "this user may not do it; whoever is at this machine's terminal may, with `ringfort rescue --again`";
    Err(Problem::new(StatusCode::FORBIDDEN, "forbidden", detail))
}

/// Who is calling.
fn identify(rescue: &Rescue, request: &Request, need: Need) -> Result<Caller, Problem> {
    let peer = request.extensions().get::<Peer>().copied();
    if peer == Some(Peer::Local) {
        return Ok(Caller::local());
    }
    let (from, secure) = (peer.and_then(Peer::ip), peer.is_some_and(Peer::is_tls));
    if !request.method().is_safe() {
        gate::check_origin(request, secure)?;
    }
    if need == Need::Nothing {
        return Ok(Caller::anonymous(from));
    }
    let signed_out = "a rescue console takes no tokens; sign in as an operator at / in a browser, or use `ringfort rescue` on \
                      this machine";
    let secret = cookie::read_rescue(request.headers(), secure, rescue.cluster());
    let caller = secret.and_then(|secret| rescue.caller_of_session(secret, from));
    caller.ok_or_else(|| gate::unauthorized(signed_out))
}

async fn not_served(State(gate): State<Gate>, request: Request) -> Response {
    let response = match host::check_by(&request, |name| gate.rescue.is_called(name)) {
        Ok(()) => elsewhere(&gate, &request),
        Err(problem) => gate::misdirected(problem),
    };
    std::future::ready(response).await
}

/// What a node would serve here, or nobody would.
fn elsewhere(gate: &Gate, request: &Request) -> Response {
    let asked = RefusedRequest::of(request);
    let is_for_programs = ["/v1/", "/d/", "/metrics"].iter().any(|path| asked.path_and_query.starts_with(path));
    let refuse = if is_for_programs || !asked.accepts_html { as_document } else { gate.elsewhere };
    let mut response = refuse(&gate.rescue, in_rescue(), &asked);
    gate::harden(&mut response, None);
    response
}

/// Why a node in rescue serves nothing. For strangers too, so without the reason.
#[must_use]
pub fn in_rescue() -> Problem {
    let detail = "this machine failed at every start and serves nothing but its rescue console; nothing was stored or changed by \
                  this request; use another machine; operators find the reason at / in a browser, or with `ringfort rescue`";
    Problem {
        outcome: Some("failed"),
        retry_after_s: Some(RESCUE_RETRY_AFTER_S),
        ..Problem::new(StatusCode::SERVICE_UNAVAILABLE, "rescue", detail)
    }
}
