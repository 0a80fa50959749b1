//! `/settings/password`: one's own password, for everyone who is signed in, whatever they may do.

use askama::Template;
use axum::extract::Request;
use axum::extract::State;
use axum::http::Uri;

use crate::base::redact::Redacted;
use crate::console::form;
use crate::console::form::Form;
use crate::console::login;
use crate::console::page;
use crate::console::page::Answer;
use crate::console::page::Page;
use crate::console::page::Section;
use crate::console::page::Visit;
use crate::console::show;
use crate::front::problem::Problem;
use crate::node::Node;
use crate::node::access::Caller;
use crate::node::session::Session;
use crate::proto::audit::Via;

/// The page's path.
pub const PATH: &str = "/settings/password";

/// What the visitor signs in with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Means {
    Password,
    Links,
    /// No person: nothing to change.
    Token,
}

#[derive(Template)]
#[template(path = "settings/password.html")]
struct OwnPassword {
    page: Page,
    means: Means,
    wrong: String,
    done: &'static str,
}

impl OwnPassword {
    fn new(node: &Node, visit: &Visit) -> Self {
        let means = match visit.caller.via {
            Via::Session if node.has_password(&visit.caller.name) => Means::Password,
            Via::Session => Means::Links,
            Via::Local | Via::Anonymous | Via::Token => Means::Token,
        };
        let page = Page::new(node, visit, Section::Settings, "Your password");
        Self { page, means, wrong: String::new(), done: "" }
    }
}

/// `GET /settings/password`.
pub async fn show(State(node): State<Node>, visit: Visit, uri: Uri) -> Answer {
    let changed = "Your password is changed. You stay signed in here; your other browsers are signed out.";
    let done = page::done(&uri, &[("changed", changed)])?;
    std::future::ready(page::render(&OwnPassword { done, ..OwnPassword::new(&node, &visit) })).await
}

/// `POST /settings/password`.
pub async fn change(State(node): State<Node>, visit: Visit, request: Request) -> Answer {
    let (parts, body) = request.into_parts();
    let form = Form::read(&node, &parts.headers, body, form::SMALL_BYTES_MAX).await?;
    match try_change(&node, &visit.caller, &form).await {
        Ok(session) => Ok(login::signed_in(&node, &visit, &session, "/settings/password?done=changed")),
        Err(problem) => {
            let wrong = show::sentence(&problem.detail);
            page::render_refused(&problem, &OwnPassword { wrong, ..OwnPassword::new(&node, &visit) })
        }
    }
}

async fn try_change(node: &Node, caller: &Caller, form: &Form) -> Result<Session, Problem> {
    let current = Redacted::new(form.text("current").to_owned());
    Ok(node.change_own_password(caller, current, login::repeated(form)?).await?)
}
