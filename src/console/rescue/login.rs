//! `/sign-in`, `/sign-out` and `/theme` of a rescue console.

use askama::Template;
use axum::extract::Request;
use axum::extract::State;
use axum::http::Uri;
use axum::http::header;

use crate::base::redact::Redacted;
use crate::console::form::Form;
use crate::console::page;
use crate::console::page::Answer;
use crate::console::page::Visit;
use crate::console::rescue::Frame;
use crate::console::show;
use crate::console::theme;
use crate::front::cookie;
use crate::front::problem::Problem;
use crate::front::query::Query;
use crate::node::rescue::Rescue;

#[derive(Template)]
#[template(path = "rescue/sign_in.html")]
struct SignIn {
    page: Frame,
    name: String,
    next: String,
    wrong: String,
}

/// `GET /sign-in?next=`.
pub async fn ask(State(rescue): State<Rescue>, visit: Visit, uri: Uri) -> Answer {
    let query = Query::parse(&uri, &["next"])?;
    let next = page::local_path(query.text("next")?.unwrap_or("/")).to_owned();
    let page = Frame::new(&rescue, &visit, "", "Sign in");
    std::future::ready(page::render(&SignIn { page, name: String::new(), next, wrong: String::new() })).await
}

/// `POST /sign-in`.
pub async fn sign_in(State(rescue): State<Rescue>, visit: Visit, request: Request) -> Answer {
    let (parts, body) = request.into_parts();
    let form = Form::read_small(&parts.headers, body).await?;
    let (name, next) = (form.text("name"), page::local_path(form.text("next")));
    let password = Redacted::new(form.text("password").to_owned());
    match rescue.sign_in(name, password, visit.caller.from).await {
        Ok(session) => {
            let mut response = page::see_other(next);
            let cookie = cookie::set_rescue(&session, visit.secure, rescue.cluster());
            response.headers_mut().insert(header::SET_COOKIE, cookie);
            Ok(response)
        }
        Err(error) => {
            let problem = Problem::from(error);
            let page = Frame::new(&rescue, &visit, "", "Sign in");
            let wrong = show::sentence(&problem.detail);
            page::render_refused(&problem, &SignIn { page, name: name.to_owned(), next: next.to_owned(), wrong })
        }
    }
}

/// `POST /sign-out`.
pub async fn sign_out(State(rescue): State<Rescue>, visit: Visit) -> Answer {
    rescue.sign_out(&visit.caller);
    let mut response = page::see_other("/sign-in");
    response.headers_mut().insert(header::SET_COOKIE, cookie::clear_rescue(visit.secure, rescue.cluster()));
    std::future::ready(Ok(response)).await
}

/// `POST /theme`.
pub async fn choose_theme(request: Request) -> Answer {
    let (parts, body) = request.into_parts();
    theme::chosen(&Form::read_small(&parts.headers, body).await?)
}
