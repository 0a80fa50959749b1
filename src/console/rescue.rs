//! The console of a node that fails at every start: what happened, its reports, its log, its disk, and how to go on. The looks
//! of the console, without script and without anything live: there is no node behind it.

use askama::Template;
use axum::Router;
use axum::extract::Request;
use axum::extract::State;
use axum::http::StatusCode;
use axum::middleware;
use axum::middleware::Next;
use axum::response::IntoResponse;
use axum::response::Response;
use axum::routing::get;
use axum::routing::post;

use crate::console::asset;
use crate::console::crashes;
use crate::console::logs;
use crate::console::page;
use crate::console::page::Refused;
use crate::console::page::Theme;
use crate::console::page::Visit;
use crate::console::show;
use crate::front::problem::Problem;
use crate::front::rescue::Face;
use crate::front::route::RefusedRequest;
use crate::front::route::Route;
use crate::node::access::Caller;
use crate::node::doctor::Verdict;
use crate::node::rescue::Rescue;
use crate::proto::scope::Need;

pub mod login;
pub mod pages;

/// What happened, and how to go on.
pub const OVERVIEW: &str = "/";
/// The disk.
pub const DISK: &str = "/disk";
/// Try a worker.
pub const AGAIN: &str = "/again";

/// A page of the navigation.
pub struct Tab {
    /// Where it is.
    pub path: &'static str,
    /// For people.
    pub name: &'static str,
}

/// All of them.
pub const TABS: [Tab; 4] = [
    Tab { path: OVERVIEW, name: "What happened" },
    Tab { path: crashes::LIST, name: "Crashes" },
    Tab { path: logs::LOGS, name: "Log" },
    Tab { path: DISK, name: "Disk" },
];

/// Every page, and what it needs.
const ROUTES: &[Route] = &[
    Route::page("GET", asset::PATH, Need::Nothing, "Style and icons of the console"),
    Route::page("GET", OVERVIEW, Need::Observe, "What happened, and how to go on"),
    Route::page("POST", AGAIN, Need::Operate, "Try a worker now"),
    Route::page("GET", crashes::LIST, Need::Observe, "Crash reports that this machine keeps"),
    Route::page("GET", crashes::ONE, Need::Observe, "One crash report, to read"),
    Route::page("GET", logs::LOGS, Need::Observe, "What this machine said"),
    Route::page("GET", logs::DOWNLOAD, Need::Observe, "The same lines as a file"),
    Route::page("GET", DISK, Need::Observe, "What of the disk is wrong"),
    Route::page("POST", DISK, Need::Operate, "Read and check everything stored"),
    Route::page("GET", "/sign-in", Need::Nothing, "The way in"),
    Route::page("POST", "/sign-in", Need::Nothing, "Sign in with name and password"),
    Route::page("POST", "/sign-out", Need::SignedIn, "Sign out"),
    Route::page("POST", "/theme", Need::Nothing, "Keep the choice of a theme"),
];

/// What is served to browsers.
#[must_use]
pub fn face() -> Face {
    Face { rows: ROUTES, router, refuse: refuse_at_the_gate }
}

fn router(rescue: &Rescue) -> Router<Rescue> {
    Router::new()
        .route(asset::PATH, get(asset::show))
        .route(OVERVIEW, get(pages::overview))
        .route(AGAIN, post(pages::again))
        .route(crashes::LIST, get(pages::crashes))
        .route(crashes::ONE, get(pages::crash))
        .route(logs::LOGS, get(pages::logs))
        .route(logs::DOWNLOAD, get(pages::download))
        .route(DISK, get(pages::disk).post(pages::examine))
        .route("/sign-in", get(login::ask).post(login::sign_in))
        .route("/sign-out", post(login::sign_out))
        .route("/theme", post(login::choose_theme))
        .layer(middleware::from_fn_with_state(rescue.clone(), dress))
}

/// The frame around a page's content; every template has it as `page`.
#[derive(Debug, Clone)]
pub struct Frame {
    /// Of the document and its main heading.
    pub title: String,
    /// What is lit in the navigation; empty for nothing.
    pub tab: &'static str,
    /// The node's name.
    pub node: String,
    /// Who is signed in; empty where nobody is.
    pub user: String,
    /// The theme chosen.
    pub theme: Theme,
    /// Path and query of this page.
    pub here: String,
}

impl Frame {
    /// The frame of one page.
    #[must_use]
    pub fn new(rescue: &Rescue, visit: &Visit, tab: &'static str, title: impl Into<String>) -> Self {
        let known = visit.caller.may(Need::SignedIn);
        Self {
            title: title.into(),
            tab,
            node: rescue.name().to_owned(),
            user: if known { visit.caller.name.to_string() } else { String::new() },
            theme: visit.theme,
            here: visit.here.clone(),
        }
    }

    /// Whether somebody is signed in.
    #[must_use]
    pub fn signed_in(&self) -> bool {
        !self.user.is_empty()
    }
}

/// How a verdict is drawn.
#[must_use]
pub fn kind(verdict: &Verdict) -> &'static str {
    match verdict {
        Verdict::Ok => "ok",
        Verdict::Warn => "warn",
        Verdict::Fail => "bad",
    }
}

#[derive(Template)]
#[template(path = "rescue/refused.html")]
struct RefusedPage<'p> {
    page: Frame,
    problem: &'p Problem,
    heading: &'static str,
    sentence: String,
}

/// Around every handler: the headers, and a page for each refusal.
async fn dress(State(rescue): State<Rescue>, request: Request, next: Next) -> Response {
    let visit = Visit::of(request.uri(), request.headers(), request.extensions());
    let mut response = next.run(request).await;
    if let Some(Refused(problem)) = response.extensions_mut().remove::<Refused>() {
        response = refuse(&rescue, &visit, &problem);
    }
    page::lock_down(response)
}

fn refuse(rescue: &Rescue, visit: &Visit, problem: &Problem) -> Response {
    let page = Frame::new(rescue, visit, "", page::title(problem));
    let (heading, sentence) = (page::heading(problem.status), show::sentence(&problem.detail));
    let drawn = page::render_refused(problem, &RefusedPage { page, problem, heading, sentence });
    drawn.unwrap_or_else(|Refused(problem)| problem.into_response())
}

/// What a browser gets when the gate does not let it in, or nothing is served there.
fn refuse_at_the_gate(rescue: &Rescue, problem: Problem, request: &RefusedRequest) -> Response {
    if !request.accepts_html {
        return page::lock_down(problem.into_response());
    }
    if problem.status == StatusCode::UNAUTHORIZED && request.method.is_safe() {
        let next = show::escaped(&request.path_and_query);
        return page::lock_down(page::see_other(&format!("/sign-in?next={next}")));
    }
    let visit = Visit {
        caller: request.caller.clone().unwrap_or_else(|| Caller::anonymous(None)),
        theme: Theme::of(&request.headers),
        here: page::local_path(&request.path_and_query).to_owned(),
        partial: false,
        secure: false,
    };
    page::lock_down(refuse(rescue, &visit, &problem))
}
