//! Floor 6, the face for people with a browser: pages rendered on the server, made live by a little script. A handler
//! extracts, calls the door once, renders; it decides nothing. One page = one handler file = one template.

use std::sync::Arc;

use axum::Extension;
use axum::Router;
use axum::middleware;
use axum::routing::get;
use axum::routing::post;

use crate::console::inside::convergence;
use crate::console::inside::runtime;
use crate::console::inside::timeline;
use crate::console::live::Drawn;
use crate::console::members::one;
use crate::console::settings::audit;
use crate::console::settings::password;
use crate::console::settings::running;
use crate::console::settings::tokens;
use crate::console::settings::users;
use crate::front::route::Face;
use crate::front::route::Route;
use crate::node::Node;
use crate::proto::scope::Need;

pub mod asset;
pub mod chart;
pub mod crashes;
pub mod data;
pub mod form;
pub mod inside;
pub mod live;
pub mod login;
pub mod logs;
pub mod members;
pub mod overview;
pub mod page;
pub mod rescue;
pub mod ring;
pub mod settings;
pub mod show;
pub mod theme;

/// Every page, and what it needs.
const ROUTES: &[Route] = &[
    Route::page("GET", asset::PATH, Need::Nothing, "Style, script and icons of the console"),
    Route::page("GET", "/", Need::Observe, "Overview: how this node is"),
    Route::page("GET", members::LIST, Need::Observe, "Every machine, whether it is there and serves, and how it does"),
    Route::page("POST", members::INVITE, Need::Admin, "Make the line that brings in a machine; it is shown once"),
    Route::page("GET", one::ONE, Need::Observe, "One machine: what it owns, what comes to it, how it was seen"),
    Route::page("POST", one::DRAIN, Need::Operate, "Ask devices to use other machines"),
    Route::page("POST", one::UNDRAIN, Need::Operate, "Let devices use it again"),
    Route::page("POST", one::LEAVE, Need::Operate, "Let it give away what it owns and go"),
    Route::page("POST", one::REMOVE, Need::Operate, "Strike it off"),
    Route::page("POST", one::REPLACE, Need::Operate, "Put another machine in its places"),
    Route::page("POST", one::SUCCESSOR, Need::Admin, "Make the line for a new machine in its place; it is shown once"),
    Route::page("GET", ring::RING, Need::Observe, "Who owns what, drawn; where a key is; plan and transfers"),
    Route::page("POST", ring::STAGE, Need::Operate, "Stage a plan for all machines"),
    Route::page("POST", ring::COMMIT, Need::Operate, "Begin what is staged"),
    Route::page("POST", ring::CLEAR, Need::Operate, "Drop what is staged"),
    Route::page("POST", ring::PAUSE, Need::Operate, "Let transfers wait, on all machines, for a time"),
    Route::page("POST", ring::RESUME, Need::Operate, "Let them go on"),
    Route::page("GET", data::BUCKETS, Need::Data, "All buckets, and what each promises"),
    Route::page("GET", data::NEW_BUCKET, Need::Data, "What a new bucket would promise, by plain questions"),
    Route::page("POST", data::NEW_BUCKET, Need::Data, "Make that bucket"),
    Route::page("GET", data::BUCKET, Need::Data, "A bucket's keys by prefix, page by page"),
    Route::page("GET", data::ABOUT, Need::Data, "A bucket's definition, import and export"),
    Route::page("POST", data::IMPORT, Need::Data, "Import a file"),
    Route::page("POST", data::REMOVE, Need::Data, "Remove a bucket and its data"),
    Route::page("GET", data::NEW_KEY, Need::Data, "The form of a new key"),
    Route::page("POST", data::NEW_KEY, Need::Data, "Write a new key"),
    Route::page("GET", data::KEY, Need::Data, "One key: its values, what is known of it, code that reaches it"),
    Route::page("POST", data::KEY, Need::Data, "Write a key"),
    Route::page("GET", data::RAW, Need::Data, "The bytes of a value, as a download or a picture"),
    Route::page("POST", data::KEEP, Need::Data, "Keep one of several values"),
    Route::page("POST", data::DELETE, Need::Data, "Delete a key"),
    Route::page("GET", live::PATH, Need::Observe, "Events that keep an open page live"),
    Route::page("GET", "/sign-in", Need::Nothing, "The way in"),
    Route::page("POST", "/sign-in", Need::Nothing, "Sign in with name and password"),
    Route::page("GET", login::LINK, Need::Nothing, "Sign in with a one-time link"),
    Route::page("POST", login::LINK, Need::Nothing, "The same by a button, where the link was not opened by hand"),
    Route::page("POST", "/sign-out", Need::SignedIn, "Sign out"),
    Route::page("GET", "/claim", Need::Nothing, "The first run: who owns this node?"),
    Route::page("POST", "/claim", Need::Nothing, "Make the first user with the claim code"),
    Route::page("GET", inside::SHARED, Need::Observe, "What nodes share, of which kind it is and what it costs"),
    Route::page("GET", timeline::TIMELINE, Need::Observe, "What changed, and what it follows from"),
    Route::page("GET", convergence::CONVERGENCE, Need::Observe, "Whether all machines hold the same, and where not"),
    Route::page("GET", crashes::LIST, Need::Observe, "What failed in the cluster, by cause"),
    Route::page("GET", crashes::ONE, Need::Observe, "One crash report, to read"),
    Route::page("GET", runtime::RUNTIME, Need::Observe, "What runs inside a machine, how busy it is, and what failed"),
    Route::page("GET", runtime::INSIDE, Need::Observe, "What a machine uses, and its configuration"),
    Route::page("GET", inside::lab::LAB, Need::Observe, "Try a key, a join, a loss, N, R and W; nothing changes"),
    Route::page("GET", logs::LOGS, Need::Observe, "What all machines said, filtered, page by page"),
    Route::page("GET", logs::DOWNLOAD, Need::Observe, "The same lines as a file"),
    Route::page("GET", "/settings", Need::Observe, "What can be set"),
    Route::page("GET", "/settings/users", Need::Admin, "All users"),
    Route::page("POST", "/settings/users", Need::Admin, "Add a user"),
    Route::page("GET", users::ONE, Need::Admin, "One user"),
    Route::page("POST", users::PASSWORD, Need::Admin, "Give a user a new password"),
    Route::page("POST", users::SCOPES, Need::Admin, "Change what a user may do"),
    Route::page("POST", users::LINK, Need::Admin, "Make a one-time sign-in link"),
    Route::page("POST", users::REMOVE, Need::Admin, "Remove a user"),
    Route::page("GET", "/settings/tokens", Need::Admin, "All tokens"),
    Route::page("POST", "/settings/tokens", Need::Admin, "Make a token; its secret is shown once"),
    Route::page("GET", tokens::ONE, Need::Admin, "One token"),
    Route::page("POST", tokens::REMOVE, Need::Admin, "Remove a token"),
    Route::page("GET", "/settings/certificates", Need::Observe, "Authority and certificate"),
    Route::page("GET", "/settings/configuration", Need::Observe, "The configuration, and where it came from"),
    Route::page("GET", "/settings/audit", Need::Admin, "Who changed what"),
    Route::page("GET", password::PATH, Need::SignedIn, "One's own password"),
    Route::page("POST", password::PATH, Need::SignedIn, "Change it, which ends one's other sessions"),
    Route::page("POST", running::RELOAD, Need::Admin, "Read the configuration again"),
    Route::page("POST", "/theme", Need::Nothing, "Keep the choice of a theme"),
];

/// What is served to browsers.
#[must_use]
pub fn face() -> Face {
    Face { rows: ROUTES, router, refuse: page::refuse_at_the_gate, under: "/" }
}

fn router(node: &Node) -> Router<Node> {
    Router::new()
        .route(asset::PATH, get(asset::show))
        .route("/", get(overview::show))
        .route(live::PATH, get(live::stream))
        .route(members::LIST, get(members::list))
        .route(members::INVITE, post(members::invite))
        .route(one::ONE, get(one::show))
        .route(one::DRAIN, post(one::drain))
        .route(one::UNDRAIN, post(one::undrain))
        .route(one::LEAVE, post(one::leave))
        .route(one::REMOVE, post(one::remove))
        .route(one::REPLACE, post(one::replace))
        .route(one::SUCCESSOR, post(one::invite))
        .route(ring::RING, get(ring::show))
        .route(ring::STAGE, post(ring::stage))
        .route(ring::COMMIT, post(ring::commit))
        .route(ring::CLEAR, post(ring::clear))
        .route(ring::PAUSE, post(ring::pause))
        .route(ring::RESUME, post(ring::resume))
        .route("/sign-in", get(login::ask).post(login::sign_in))
        .route(login::LINK, get(login::open_link).post(login::use_link))
        .route("/sign-out", post(login::sign_out))
        .route("/claim", get(login::ask_claim).post(login::claim))
        .route(inside::SHARED, get(inside::shared))
        .route(convergence::CONVERGENCE, get(convergence::show))
        .route(timeline::TIMELINE, get(timeline::show))
        .route(crashes::LIST, get(crashes::list))
        .route(crashes::ONE, get(crashes::show))
        .route(runtime::RUNTIME, get(runtime::runtime))
        .route(runtime::INSIDE, get(runtime::within))
        .route(inside::lab::LAB, get(inside::lab::show))
        .route(logs::LOGS, get(logs::show))
        .route(logs::DOWNLOAD, get(logs::download))
        .route("/settings", get(settings::show))
        .route("/settings/users", get(users::list).post(users::add))
        .route(users::ONE, get(users::show))
        .route(users::PASSWORD, post(users::new_password))
        .route(users::SCOPES, post(users::change_scopes))
        .route(users::LINK, post(users::make_link))
        .route(users::REMOVE, post(users::remove))
        .route("/settings/tokens", get(tokens::list).post(tokens::add))
        .route(tokens::ONE, get(tokens::show))
        .route(tokens::REMOVE, post(tokens::remove))
        .route("/settings/certificates", get(running::certificates))
        .route("/settings/configuration", get(running::configuration))
        .route("/settings/audit", get(audit::list))
        .route(password::PATH, get(password::show).post(password::change))
        .route(running::RELOAD, post(running::reload))
        .route("/theme", post(theme::choose))
        .merge(data::router())
        .layer(Extension(Arc::<Drawn>::default()))
        .layer(middleware::from_fn_with_state(node.clone(), page::dress))
}
