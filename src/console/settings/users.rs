//! `/settings/users`: people who sign in.

use askama::Template;
use axum::extract::Request;
use axum::extract::State;
use axum::http::Uri;

use crate::base::redact::Redacted;
use crate::base::time;
use crate::console::form;
use crate::console::form::Form;
use crate::console::login;
use crate::console::page;
use crate::console::page::Answer;
use crate::console::page::Page;
use crate::console::page::Section;
use crate::console::page::Visit;
use crate::console::settings;
use crate::console::show;
use crate::front::host;
use crate::front::path;
use crate::front::problem::Problem;
use crate::node::Node;
use crate::node::access::users::UserView;
use crate::node::error::DoorError;
use crate::proto::scope::Scope;

/// One user's page, as axum matches it.
pub const ONE: &str = "/settings/users/{name}";
/// Gives it another password.
pub const PASSWORD: &str = "/settings/users/{name}/password";
/// Changes what it may do.
pub const SCOPES: &str = "/settings/users/{name}/scopes";
/// Makes a one-time link for it.
pub const LINK: &str = "/settings/users/{name}/link";
/// Removes it.
pub const REMOVE: &str = "/settings/users/{name}/remove";

/// What people may do; `device:*` is for devices.
pub const FOR_PEOPLE: [Scope; 4] = [Scope::Admin, Scope::Data, Scope::Operate, Scope::Support];

#[derive(Template)]
#[template(path = "settings/users.html")]
struct Users {
    page: Page,
    users: Vec<UserView>,
    name: String,
    ticked: Vec<Scope>,
    wrong: String,
    done: &'static str,
}

#[derive(Template)]
#[template(path = "settings/user.html")]
struct OneUser {
    page: Page,
    user: UserView,
    wrong: String,
    done: &'static str,
    link: String,
    link_until: String,
}

/// `GET /settings/users`.
pub async fn list(State(node): State<Node>, visit: Visit, uri: Uri) -> Answer {
    let done = page::done(&uri, &[("removed", "The user is removed and signed out everywhere.")])?;
    let page = Page::new(&node, &visit, Section::Settings, "Users");
    let users =
        Users { page, users: node.users(), name: String::new(), ticked: Vec::new(), wrong: String::new(), done };
    std::future::ready(page::render(&users)).await
}

/// `POST /settings/users`.
pub async fn add(State(node): State<Node>, visit: Visit, request: Request) -> Answer {
    let (parts, body) = request.into_parts();
    let form = Form::read(&node, &parts.headers, body, form::SMALL_BYTES_MAX).await?;
    let Err(problem) = try_add(&node, &visit, &form).await else {
        return Ok(page::see_other(&format!("/settings/users/{}?done=added", show::escaped(form.text("name")))));
    };
    let page = Page::new(&node, &visit, Section::Settings, "Users");
    let (name, ticked) = (form.text("name").to_owned(), form.all("scope").filter_map(Scope::parse).collect());
    let wrong = show::sentence(&problem.detail);
    page::render_refused(&problem, &Users { page, users: node.users(), name, ticked, wrong, done: "" })
}

async fn try_add(node: &Node, visit: &Visit, form: &Form) -> Result<(), Problem> {
    let name = form.text("name");
    if node.users().iter().any(|user| user.name == name) {
        let detail = format!("there is a user `{name}` already; nothing was changed");
        return Err(Problem::unprocessable("taken", detail));
    }
    let scopes = settings::scopes(form)?;
    // Without a password it signs in with one-time links only.
    if form.text("password").is_empty() && form.text("again").is_empty() {
        node.set_scopes(&visit.caller, name, scopes).await?;
    } else {
        node.put_user(&visit.caller, name, login::repeated(form)?, scopes).await?;
    }
    Ok(())
}

fn one(node: &Node, uri: &Uri) -> Result<UserView, Problem> {
    let name = path::segment(uri.path(), 2)?;
    let found = node.users().into_iter().find(|user| user.name == name);
    found.ok_or_else(|| DoorError::NotFound { what: "user", name }.into())
}

/// `GET /settings/users/{name}`.
pub async fn show(State(node): State<Node>, visit: Visit, uri: Uri) -> Answer {
    let done = page::done(
        &uri,
        &[
            ("added", "The user is added."),
            ("password", "The password is changed, and the user signed out everywhere."),
            ("scopes", "What this user may do is changed; it holds from the next click on."),
        ],
    )?;
    let user = one(&node, &uri)?;
    let page = Page::new(&node, &visit, Section::Settings, format!("User {}", user.name));
    let (link, link_until) = (String::new(), String::new());
    std::future::ready(page::render(&OneUser { page, user, wrong: String::new(), done, link, link_until })).await
}

fn again(node: &Node, visit: &Visit, user: UserView, problem: &Problem) -> Answer {
    let page = Page::new(node, visit, Section::Settings, format!("User {}", user.name));
    let (wrong, link, link_until) = (show::sentence(&problem.detail), String::new(), String::new());
    page::render_refused(problem, &OneUser { page, user, wrong, done: "", link, link_until })
}

/// `POST /settings/users/{name}/password`.
pub async fn new_password(State(node): State<Node>, visit: Visit, request: Request) -> Answer {
    let (parts, body) = request.into_parts();
    let form = Form::read(&node, &parts.headers, body, form::SMALL_BYTES_MAX).await?;
    let user = one(&node, &parts.uri)?;
    let changed = match login::repeated(&form) {
        Ok(password) => change_password(&node, &visit, &user, password).await,
        Err(problem) => Err(problem),
    };
    match changed {
        Ok(()) => Ok(page::see_other(&format!("/settings/users/{}?done=password", show::escaped(&user.name)))),
        Err(problem) => again(&node, &visit, user, &problem),
    }
}

async fn change_password(
    node: &Node,
    visit: &Visit,
    user: &UserView,
    password: Redacted<String>,
) -> Result<(), Problem> {
    Ok(node.set_password(&visit.caller, &user.name, password).await?)
}

/// `POST /settings/users/{name}/scopes`.
pub async fn change_scopes(State(node): State<Node>, visit: Visit, request: Request) -> Answer {
    let (parts, body) = request.into_parts();
    let form = Form::read(&node, &parts.headers, body, form::SMALL_BYTES_MAX).await?;
    let user = one(&node, &parts.uri)?;
    let changed = match settings::scopes(&form) {
        Ok(scopes) => node.set_scopes(&visit.caller, &user.name, scopes).await.map_err(Problem::from),
        Err(problem) => Err(problem),
    };
    match changed {
        Ok(_) => Ok(page::see_other(&format!("/settings/users/{}?done=scopes", show::escaped(&user.name)))),
        Err(problem) => again(&node, &visit, user, &problem),
    }
}

/// `POST /settings/users/{name}/link`: the page shows it once.
pub async fn make_link(State(node): State<Node>, visit: Visit, request: Request) -> Answer {
    let (parts, _body) = request.into_parts();
    let user = one(&node, &parts.uri)?;
    let made = node.make_link(&visit.caller, &user.name, crate::base::limits::SIGN_IN_LINK_TTL).await?;
    let link = format!("{}/sign-in/link/{}", host::origin(&node, &parts), made.code.reveal());
    let page = Page::new(&node, &visit, Section::Settings, format!("User {}", user.name));
    let link_until = time::rfc3339(made.expires_ms);
    page::render(&OneUser { page, user, wrong: String::new(), done: "", link, link_until })
}

/// `POST /settings/users/{name}/remove`.
pub async fn remove(State(node): State<Node>, visit: Visit, uri: Uri) -> Answer {
    let user = one(&node, &uri)?;
    match node.remove_user(&visit.caller, &user.name).await {
        Ok(()) => Ok(page::see_other("/settings/users?done=removed")),
        Err(error) => again(&node, &visit, user, &error.into()),
    }
}
