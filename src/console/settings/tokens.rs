//! `/settings/tokens`: what devices and programs show with each request.

use askama::Template;
use axum::extract::Request;
use axum::extract::State;
use axum::http::Uri;

use crate::base::redact::Redacted;
use crate::console::form;
use crate::console::form::Form;
use crate::console::page;
use crate::console::page::Answer;
use crate::console::page::Page;
use crate::console::page::Section;
use crate::console::page::Visit;
use crate::console::settings;
use crate::console::show;
use crate::front::path;
use crate::front::problem::Problem;
use crate::front::query;
use crate::node::Node;
use crate::node::access::TokenView;
use crate::node::error::DoorError;
use crate::proto::scope::Scope;

/// One token's page, as axum matches it.
pub const ONE: &str = "/settings/tokens/{id}";
/// Removes it.
pub const REMOVE: &str = "/settings/tokens/{id}/remove";

/// How long a token may be good for, in words of the form; the first is the choice unless another is made.
pub const LIFETIMES: [(&str, &str); 4] =
    [("365d", "A year"), ("90d", "90 days"), ("7d", "A week"), ("", "Until it is removed")];

#[derive(Template)]
#[template(path = "settings/tokens.html")]
struct Tokens {
    page: Page,
    tokens: Vec<TokenView>,
    name: String,
    ticked: Vec<Scope>,
    lifetime: String,
    wrong: String,
    done: &'static str,
    secret: Option<Redacted<String>>,
}

#[derive(Template)]
#[template(path = "settings/token.html")]
struct OneToken {
    page: Page,
    token: TokenView,
}

fn blank(node: &Node, visit: &Visit) -> Tokens {
    Tokens {
        page: Page::new(node, visit, Section::Settings, "Tokens"),
        tokens: node.tokens(),
        name: String::new(),
        ticked: Vec::new(),
        lifetime: String::new(),
        wrong: String::new(),
        done: "",
        secret: None,
    }
}

/// `GET /settings/tokens`.
pub async fn list(State(node): State<Node>, visit: Visit, uri: Uri) -> Answer {
    let done = page::done(&uri, &[("removed", "The token is removed; it opens nothing any more.")])?;
    std::future::ready(page::render(&Tokens { done, ..blank(&node, &visit) })).await
}

/// `POST /settings/tokens`: the page shows the secret once.
pub async fn add(State(node): State<Node>, visit: Visit, request: Request) -> Answer {
    let (parts, body) = request.into_parts();
    let form = Form::read(&node, &parts.headers, body, form::SMALL_BYTES_MAX).await?;
    let name = form.text("name").to_owned();
    match try_add(&node, &visit, &form).await {
        Ok(secret) => page::render(&Tokens { name, secret: Some(secret), ..blank(&node, &visit) }),
        Err(problem) => {
            let ticked = form.all("scope").filter_map(Scope::parse).collect();
            let (lifetime, wrong) = (form.text("lifetime").to_owned(), show::sentence(&problem.detail));
            page::render_refused(&problem, &Tokens { name, ticked, lifetime, wrong, ..blank(&node, &visit) })
        }
    }
}

async fn try_add(node: &Node, visit: &Visit, form: &Form) -> Result<Redacted<String>, Problem> {
    let scopes = settings::scopes(form)?;
    let lifetime = form.text("lifetime");
    let ttl_ms = if lifetime.is_empty() { None } else { Some(query::ttl_ms("lifetime", lifetime)?) };
    let (_, secret) = node.add_token(&visit.caller, form.text("name"), scopes, ttl_ms).await?;
    Ok(secret)
}

fn one(node: &Node, uri: &Uri) -> Result<TokenView, Problem> {
    let id = path::segment(uri.path(), 2)?;
    let found = node.tokens().into_iter().find(|token| token.id.to_string() == id);
    found.ok_or_else(|| DoorError::NotFound { what: "token", name: id }.into())
}

/// `GET /settings/tokens/{id}`: asks before it is removed.
pub async fn show(State(node): State<Node>, visit: Visit, uri: Uri) -> Answer {
    let token = one(&node, &uri)?;
    let page = Page::new(&node, &visit, Section::Settings, format!("Token {}", token.name));
    std::future::ready(page::render(&OneToken { page, token })).await
}

/// `POST /settings/tokens/{id}/remove`.
pub async fn remove(State(node): State<Node>, visit: Visit, uri: Uri) -> Answer {
    let token = one(&node, &uri)?;
    node.remove_token(&visit.caller, &token.id.to_string()).await?;
    Ok(page::see_other("/settings/tokens?done=removed"))
}
