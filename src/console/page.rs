//! What all pages share: who visits, the frame around the content, the headers that lock the browser down, and how a
//! refusal looks. A page is one handler file and one template that extends `layout.html`:
//!
//! ```ignore
//! #[derive(Template)]
//! #[template(path = "things.html")]
//! struct Things { page: Page, rows: Vec<Row> }
//!
//! pub async fn show(State(node): State<Node>, visit: Visit) -> Answer {
//!     let page = Page::new(&node, &visit, Section::Data, "Things");
//!     page::render(&Things { page, rows: node.things()? })
//! }
//! ```

use std::convert::Infallible;

use askama::Template;
use axum::extract::FromRequestParts;
use axum::extract::Request;
use axum::extract::State;
use axum::http::Extensions;
use axum::http::HeaderMap;
use axum::http::HeaderName;
use axum::http::HeaderValue;
use axum::http::StatusCode;
use axum::http::Uri;
use axum::http::header;
use axum::http::request::Parts;
use axum::middleware::Next;
use axum::response::Html;
use axum::response::IntoResponse;
use axum::response::Response;

use crate::console::live;
use crate::console::show;
use crate::front::gate::Peer;
use crate::front::problem::Problem;
use crate::front::query::Query;
use crate::front::route::RefusedRequest;
use crate::node::Node;
use crate::node::access::Caller;
use crate::node::error::DoorError;
use crate::node::rescue::Rescue;
use crate::node::survival::Survives;
use crate::proto::alarm::Alarm;
use crate::proto::audit::Via;
use crate::proto::scope::Need;

/// A page's answer.
pub type Answer = Result<Response, Refused>;

/// Nothing from outside, nothing inline, no frame, no plug-in; forms go nowhere else.
const CONTENT_SECURITY_POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; \
     connect-src 'self'; form-action 'self'; frame-ancestors 'none'; base-uri 'none'";

/// On every answer of the console, where the handler has not said something else.
const HEADERS: [(HeaderName, &str); 7] = [
    (header::CONTENT_SECURITY_POLICY, CONTENT_SECURITY_POLICY),
    (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
    // Not `no-referrer`: with it a browser says `Origin: null` with our own forms, and could not prove where it is.
    (header::REFERRER_POLICY, "same-origin"),
    (HeaderName::from_static("cross-origin-opener-policy"), "same-origin"),
    (HeaderName::from_static("cross-origin-resource-policy"), "same-origin"),
    (
        HeaderName::from_static("permissions-policy"),
        "camera=(), clipboard-read=(), display-capture=(), geolocation=(), microphone=(), payment=(), usb=()",
    ),
    (header::CACHE_CONTROL, "no-store"),
];

/// The cookie that keeps the choice of a theme.
pub const THEME_COOKIE: &str = "ringfort-theme";

/// Light, dark, or what the system says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Theme {
    /// What the system says.
    Auto,
    /// Dark on light.
    Light,
    /// Light on dark.
    Dark,
}

impl Theme {
    /// All of them, in the order of the menu.
    pub const ALL: [Self; 3] = [Self::Auto, Self::Light, Self::Dark];

    /// As in the cookie and the document.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Auto => "auto",
            Self::Light => "light",
            Self::Dark => "dark",
        }
    }

    /// For people.
    #[must_use]
    pub fn label(self) -> &'static str {
        match self {
            Self::Auto => "Auto",
            Self::Light => "Light",
            Self::Dark => "Dark",
        }
    }

    pub(super) fn of(headers: &HeaderMap) -> Self {
        cookie(headers, THEME_COOKIE).and_then(Self::parse).unwrap_or(Self::Auto)
    }

    /// The theme with this name.
    #[must_use]
    pub fn parse(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|theme| theme.name() == name)
    }
}

/// Where in the navigation a page belongs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Section {
    /// The node in one view.
    Overview,
    /// Machines.
    Members,
    /// Who owns what.
    Ring,
    /// Buckets, keys, values.
    Data,
    /// What a cluster is made of.
    Inside,
    /// What was said, and what went wrong.
    Logs,
    /// Users, tokens, certificates, configuration, audit.
    Settings,
    /// Outside: sign-in, errors.
    Outside,
}

/// Who visits, and how.
#[derive(Debug, Clone)]
pub struct Visit {
    /// Who.
    pub caller: Caller,
    /// The theme chosen.
    pub theme: Theme,
    /// Path and query, to come back to.
    pub here: String,
    /// Whether htmx asks, which wants a fragment.
    pub partial: bool,
    /// Whether nobody on the way can read what is said.
    pub secure: bool,
}

impl Visit {
    /// What a request says about its visitor.
    #[must_use]
    pub fn of(uri: &Uri, headers: &HeaderMap, extensions: &Extensions) -> Self {
        Self {
            caller: extensions.get::<Caller>().cloned().unwrap_or_else(|| Caller::anonymous(None)),
            secure: extensions.get::<Peer>().is_some_and(|peer| peer.is_tls()),
            theme: Theme::of(headers),
            here: uri.path_and_query().map_or_else(|| "/".to_owned(), ToString::to_string),
            partial: headers.contains_key("hx-request"),
        }
    }
}

impl FromRequestParts<Node> for Visit {
    type Rejection = Infallible;

    async fn from_request_parts(parts: &mut Parts, _node: &Node) -> Result<Self, Infallible> {
        std::future::ready(Ok(Self::of(&parts.uri, &parts.headers, &parts.extensions))).await
    }
}

impl FromRequestParts<Rescue> for Visit {
    type Rejection = Infallible;

    async fn from_request_parts(parts: &mut Parts, _rescue: &Rescue) -> Result<Self, Infallible> {
        std::future::ready(Ok(Self::of(&parts.uri, &parts.headers, &parts.extensions))).await
    }
}

fn cookie<'h>(headers: &'h HeaderMap, name: &str) -> Option<&'h str> {
    let lines = headers.get_all(header::COOKIE).into_iter().filter_map(|line| line.to_str().ok());
    let mut pairs = lines.flat_map(|line| line.split(';')).filter_map(|pair| pair.trim().split_once('='));
    pairs.find(|(known, _)| *known == name).map(|(_, value)| value)
}

/// The frame around a page's content; every template has it as `page`.
#[derive(Debug, Clone)]
pub struct Page {
    /// Of the document and its main heading.
    pub title: String,
    /// What is lit in the navigation.
    pub section: Section,
    /// The node's name.
    pub node: String,
    /// Who is signed in; empty where nobody is.
    pub user: String,
    /// Whether they may see how the node runs; where not, the page says no more of it than its name.
    pub observes: bool,
    /// The theme chosen.
    pub theme: Theme,
    /// Path and query of this page.
    pub here: String,
    /// Where its live figures come from.
    pub live: String,
    /// The badge.
    pub survives: Survives,
    /// What is wrong, worst first.
    pub alarms: Vec<Alarm>,
}

impl Page {
    /// The frame of one page.
    #[must_use]
    pub fn new(node: &Node, visit: &Visit, section: Section, title: impl Into<String>) -> Self {
        let observes = visit.caller.may(Need::Observe);
        // A device's token opens no page; a person keeps the way out, and to the password.
        let known = observes || visit.caller.via == Via::Session;
        Self {
            title: title.into(),
            section,
            node: node.who().name.clone(),
            user: if known { visit.caller.name.to_string() } else { String::new() },
            observes,
            theme: visit.theme,
            here: visit.here.clone(),
            live: live::PATH.to_owned(),
            survives: node.survives(),
            alarms: if observes { node.alarms() } else { Vec::new() },
        }
    }

    /// The worst of what is wrong: what follows from a lesser thing may be.
    #[must_use]
    pub fn worst(&self) -> Option<&Alarm> {
        self.alarms.iter().min_by_key(|alarm| alarm.severity)
    }

    /// Why the badge does not say more.
    #[must_use]
    pub fn why(&self) -> String {
        show::sentence(&self.survives.reason)
    }

    /// What to do to survive more.
    #[must_use]
    pub fn next(&self) -> String {
        show::sentence(&self.survives.next)
    }

    /// Whether somebody is signed in.
    #[must_use]
    pub fn signed_in(&self) -> bool {
        !self.user.is_empty()
    }
}

/// Renders a page, or a named block of it.
///
/// # Errors
/// A 500 where the template fails, which is a mistake of ours.
pub fn render(template: &impl Template) -> Answer {
    render_as(StatusCode::OK, template)
}

/// The same with another status, such as 422 for a form with a mistake in it.
///
/// # Errors
/// As [`render`].
pub fn render_as(status: StatusCode, template: &impl Template) -> Answer {
    let html = template.render().map_err(|error| {
        let detail = format!("this page could not be drawn: {error}; nothing was changed by drawing it");
        Problem::new(StatusCode::INTERNAL_SERVER_ERROR, "internal", detail)
    })?;
    Ok((status, Html(html)).into_response())
}

/// Renders a page again with what is wrong on it, as a refusal.
///
/// # Errors
/// As [`render`].
pub fn render_refused(problem: &Problem, template: &impl Template) -> Answer {
    let mut response = render_as(problem.status, template)?;
    if let Some(seconds) = problem.retry_after_s {
        response.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from(seconds));
    }
    Ok(response)
}

/// What a page says that was reached after a change, by `?done=`; empty otherwise.
///
/// # Errors
/// A 400 for another parameter or a word that is not known here.
pub fn done(uri: &Uri, words: &[(&str, &'static str)]) -> Result<&'static str, Refused> {
    done_of(&Query::parse(uri, &["done"])?, words)
}

/// The same of a query that may say more.
///
/// # Errors
/// A 400 for a word that is not known here.
pub fn done_of(query: &Query, words: &[(&str, &'static str)]) -> Result<&'static str, Refused> {
    let Some(done) = query.text("done")? else { return Ok("") };
    let known = words.iter().find(|(word, _)| *word == done).map(|(_, sentence)| *sentence);
    known.ok_or_else(|| Refused(Problem::bad_request("bad_parameter", "`done` is not a word of this page")))
}

/// After a change: the browser asks for `to`, so that a reload repeats nothing.
#[must_use]
pub fn see_other(to: &str) -> Response {
    let location = HeaderValue::from_str(to).unwrap_or(HeaderValue::from_static("/"));
    (StatusCode::SEE_OTHER, [(header::LOCATION, location)]).into_response()
}

/// Where to go after a sign-in or a change of theme: a path of ours, never another host.
#[must_use]
pub fn local_path(next: &str) -> &str {
    let ours = next.starts_with('/') && !next.starts_with("//");
    let plain = next.bytes().all(|byte| byte.is_ascii_graphic() && byte != b'\\');
    if ours && plain { next } else { "/" }
}

/// A refusal on its way to the browser; `?` makes one of a [`Problem`] or a [`DoorError`].
#[derive(Debug, Clone)]
pub struct Refused(pub Problem);

impl From<Problem> for Refused {
    fn from(problem: Problem) -> Self {
        Self(problem)
    }
}

impl From<DoorError> for Refused {
    fn from(error: DoorError) -> Self {
        Self(error.into())
    }
}

impl IntoResponse for Refused {
    /// Bare: [`dress`] draws the page, because it knows the node and the visitor.
    fn into_response(self) -> Response {
        let mut response = self.0.status.into_response();
        response.extensions_mut().insert(self);
        response
    }
}

#[derive(Template)]
#[template(path = "refused.html")]
struct RefusedPage<'p> {
    page: Page,
    problem: &'p Problem,
    heading: &'static str,
    sentence: String,
}

/// Around every handler of the console: the headers, and a page for each refusal.
pub async fn dress(State(node): State<Node>, request: Request, next: Next) -> Response {
    let visit = Visit::of(request.uri(), request.headers(), request.extensions());
    let mut response = next.run(request).await;
    if let Some(Refused(problem)) = response.extensions_mut().remove::<Refused>() {
        response = refuse(&node, &visit, &problem);
    }
    lock_down(response)
}

/// The page of a refusal.
fn refuse(node: &Node, visit: &Visit, problem: &Problem) -> Response {
    draw_refusal(Page::new(node, visit, Section::Outside, title(problem)), problem)
}

/// What a browser gets when the gate does not let it in: the way to the sign-in, or a page that says why.
pub fn refuse_at_the_gate(node: &Node, problem: Problem, request: &RefusedRequest) -> Response {
    if !request.accepts_html {
        // A program that lost its way, or script of ours: the document, as everywhere else.
        return lock_down(problem.into_response());
    }
    if problem.status == StatusCode::UNAUTHORIZED && request.method.is_safe() {
        let next = show::escaped(&request.path_and_query);
        return lock_down(see_other(&format!("/sign-in?next={next}")));
    }
    let visit = Visit {
        caller: request.caller.clone().unwrap_or_else(|| Caller::anonymous(None)),
        theme: Theme::of(&request.headers),
        here: local_path(&request.path_and_query).to_owned(),
        partial: false,
        secure: false,
    };
    lock_down(refuse(node, &visit, &problem))
}

pub(super) fn title(problem: &Problem) -> &'static str {
    problem.status.canonical_reason().unwrap_or("Refused")
}

fn draw_refusal(page: Page, problem: &Problem) -> Response {
    let (heading, sentence) = (heading(problem.status), show::sentence(&problem.detail));
    let drawn = render_as(problem.status, &RefusedPage { page, problem, heading, sentence });
    let mut response = drawn.unwrap_or_else(|Refused(problem)| problem.into_response());
    if let Some(seconds) = problem.retry_after_s {
        response.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from(seconds));
    }
    response
}

/// A refusal in a few words, by what the visitor can do.
pub(super) fn heading(status: StatusCode) -> &'static str {
    match status {
        StatusCode::UNAUTHORIZED => "Please sign in",
        StatusCode::FORBIDDEN => "This is not open to you",
        StatusCode::NOT_FOUND => "Nothing is here",
        StatusCode::CONFLICT | StatusCode::PRECONDITION_FAILED => "Somebody else was faster",
        StatusCode::TOO_MANY_REQUESTS => "Too many attempts",
        StatusCode::SERVICE_UNAVAILABLE => "This node cannot answer just now",
        StatusCode::INSUFFICIENT_STORAGE => "The disk is full",
        status if status.is_server_error() => "Something went wrong on this node",
        _ => "That did not work",
    }
}

/// Adds the headers of every answer of the console.
#[must_use]
pub fn lock_down(mut response: Response) -> Response {
    for (name, value) in HEADERS {
        response.headers_mut().entry(name).or_insert(HeaderValue::from_static(value));
    }
    response
}

#[cfg(test)]
mod tests {
    use super::local_path;

    #[test]
    fn a_way_back_never_leads_elsewhere() {
        assert_eq!(local_path("/data/a?prefix=x"), "/data/a?prefix=x");
        for bad in ["", "//evil.example", "https://evil.example", "/\\evil.example", "data", "/a\r\nb", "/ä"] {
            assert_eq!(local_path(bad), "/", "{bad}");
        }
    }
}
