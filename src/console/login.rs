//! `/sign-in`, `/sign-out`, `/claim` and one-time links: a session's begin and end. What is right is decided behind the
//! door; here it becomes a cookie or a sentence.

use askama::Template;
use axum::extract::Request;
use axum::extract::State;
use axum::http::HeaderMap;
use axum::http::HeaderName;
use axum::http::HeaderValue;
use axum::http::Method;
use axum::http::StatusCode;
use axum::http::Uri;
use axum::http::header;
use axum::response::IntoResponse;
use axum::response::Response;

use crate::base::redact::Redacted;
use crate::console::form;
use crate::console::form::Form;
use crate::console::page;
use crate::console::page::Answer;
use crate::console::page::Page;
use crate::console::page::Section;
use crate::console::page::Visit;
use crate::console::show;
use crate::front::cookie;
use crate::front::path;
use crate::front::problem::Problem;
use crate::front::query::Query;
use crate::node::Node;
use crate::node::session::Session;
use crate::node::session::SignInError;

/// A one-time link's path, as axum matches it.
pub const LINK: &str = "/sign-in/link/{code}";

#[derive(Template)]
#[template(path = "sign_in.html")]
struct SignIn {
    page: Page,
    name: String,
    next: String,
    wrong: String,
}

#[derive(Template)]
#[template(path = "claim.html")]
struct Claim {
    page: Page,
    code: String,
    name: String,
    wrong: String,
}

/// `GET /sign-in?next=`.
pub async fn ask(State(node): State<Node>, visit: Visit, headers: HeaderMap, uri: Uri) -> Answer {
    let query = Query::parse(&uri, &["next"])?;
    let next = page::local_path(query.text("next")?.unwrap_or("/")).to_owned();
    let answer = if visit.partial {
        // A fragment was asked for after the session ended: the whole page has to go.
        Ok(whole_page(&headers))
    } else if node.is_unclaimed() {
        Ok(page::see_other("/claim"))
    } else {
        let page = Page::new(&node, &visit, Section::Outside, "Sign in");
        page::render(&SignIn { page, name: String::new(), next, wrong: String::new() })
    };
    std::future::ready(answer).await
}

/// Tells htmx to load the sign-in instead of the page that it is on.
fn whole_page(headers: &HeaderMap) -> Response {
    let here = headers.get("hx-current-url").and_then(|url| url.to_str().ok()?.parse::<Uri>().ok());
    let here = here.and_then(|uri| uri.path_and_query().map(ToString::to_string)).unwrap_or_else(|| "/".to_owned());
    let to = format!("/sign-in?next={}", show::escaped(page::local_path(&here)));
    let to = HeaderValue::from_str(&to).unwrap_or(HeaderValue::from_static("/sign-in"));
    [(HeaderName::from_static("hx-redirect"), to)].into_response()
}

/// `POST /sign-in`.
pub async fn sign_in(State(node): State<Node>, visit: Visit, request: Request) -> Answer {
    let (parts, body) = request.into_parts();
    let form = Form::read(&node, &parts.headers, body, form::SMALL_BYTES_MAX).await?;
    let (name, next) = (form.text("name"), page::local_path(form.text("next")));
    let password = Redacted::new(form.text("password").to_owned());
    match node.sign_in(name, password, visit.caller.from).await {
        Ok(session) => Ok(signed_in(&node, &visit, &session, next)),
        Err(error) => {
            let problem = Problem::from(error);
            let page = Page::new(&node, &visit, Section::Outside, "Sign in");
            let wrong = show::sentence(&problem.detail);
            page::render_refused(&problem, &SignIn { page, name: name.to_owned(), next: next.to_owned(), wrong })
        }
    }
}

#[derive(Template)]
#[template(path = "link.html")]
struct Link {
    page: Page,
    action: String,
}

/// `GET /sign-in/link/{code}`: signs in whoever opened it by hand. Anyone else gets a button first: scanners of mail
/// and previews in chats follow links too, and another site must not choose who one is signed in as.
pub async fn open_link(State(node): State<Node>, visit: Visit, request: Request) -> Answer {
    if is_opened_by_hand(&request, &visit) {
        return follow_link(&node, &visit, request.uri()).await;
    }
    let page = Page::new(&node, &visit, Section::Outside, "Sign in");
    page::render(&Link { page, action: request.uri().path().to_owned() })
}

/// Browsers say where a navigation comes from; a program that says nothing must at least be on this machine.
fn is_opened_by_hand(request: &Request, visit: &Visit) -> bool {
    let site = request.headers().get("sec-fetch-site").map(HeaderValue::as_bytes);
    let by_hand = match site {
        Some(site) => site == b"none" || site == b"same-origin",
        None => visit.caller.from.is_some_and(|from| from.to_canonical().is_loopback()),
    };
    by_hand && request.method() == Method::GET
}

/// `POST /sign-in/link/{code}`.
pub async fn use_link(State(node): State<Node>, visit: Visit, uri: Uri) -> Answer {
    follow_link(&node, &visit, &uri).await
}

async fn follow_link(node: &Node, visit: &Visit, uri: &Uri) -> Answer {
    let code = path::segment(uri.path(), 2)?;
    let session = node.use_link(&code, visit.caller.from).await.map_err(|error| match error {
        // The page of a code that is used up is one that is not there any more.
        SignInError::WrongCode => Problem::new(StatusCode::NOT_FOUND, "wrong_code", error.to_string()),
        SignInError::Wrong | SignInError::WrongCurrent | SignInError::TooMany { .. } | SignInError::Door(_) => {
            error.into()
        }
    })?;
    Ok(signed_in(node, visit, &session, "/"))
}

/// `GET /claim`.
pub async fn ask_claim(State(node): State<Node>, visit: Visit) -> Answer {
    let answer = if node.is_unclaimed() {
        let page = Page::new(&node, &visit, Section::Outside, "Welcome");
        page::render(&Claim { page, code: String::new(), name: String::new(), wrong: String::new() })
    } else {
        Ok(page::see_other("/sign-in"))
    };
    std::future::ready(answer).await
}

/// `POST /claim`.
pub async fn claim(State(node): State<Node>, visit: Visit, request: Request) -> Answer {
    let (parts, body) = request.into_parts();
    let form = Form::read(&node, &parts.headers, body, form::SMALL_BYTES_MAX).await?;
    let (code, name) = (form.text("code"), form.text("name"));
    let claimed = match repeated(&form) {
        Ok(password) => node.claim(code, name, password, visit.caller.from).await.map_err(Problem::from),
        Err(problem) => Err(problem),
    };
    match claimed {
        Ok(session) => Ok(signed_in(&node, &visit, &session, "/")),
        Err(problem) => {
            let page = Page::new(&node, &visit, Section::Outside, "Welcome");
            let (code, name) = (code.to_owned(), name.to_owned());
            let claim = Claim { page, code, name, wrong: show::sentence(&problem.detail) };
            page::render_refused(&problem, &claim)
        }
    }
}

/// A new password, typed twice because nobody sees it.
///
/// # Errors
/// A 422 where the two differ.
pub fn repeated(form: &Form) -> Result<Redacted<String>, Problem> {
    if form.text("password") == form.text("again") {
        return Ok(Redacted::new(form.text("password").to_owned()));
    }
    Err(Problem::unprocessable("out_of_range", "password: the two are not the same; nothing was changed"))
}

/// After a session has begun: its cookie, and the way to `next`.
pub fn signed_in(node: &Node, visit: &Visit, session: &Session, next: &str) -> Response {
    let mut response = page::see_other(next);
    response.headers_mut().insert(header::SET_COOKIE, cookie::set(session, visit.secure, node.who().cluster));
    response
}

/// `POST /sign-out`.
pub async fn sign_out(State(node): State<Node>, visit: Visit) -> Answer {
    node.sign_out(&visit.caller).await?;
    let mut response = page::see_other("/sign-in");
    response.headers_mut().insert(header::SET_COOKIE, cookie::clear(visit.secure, node.who().cluster));
    Ok(response)
}
