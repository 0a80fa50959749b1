//! `/theme`: keeps the choice in a cookie, so that the server draws the right page at once, with and without script.

use axum::extract::Request;
use axum::extract::State;
use axum::http::HeaderValue;
use axum::http::header;

use crate::console::form;
use crate::console::form::Form;
use crate::console::page;
use crate::console::page::Answer;
use crate::console::page::THEME_COOKIE;
use crate::console::page::Theme;
use crate::front::problem::Problem;
use crate::node::Node;

/// `POST /theme`.
pub async fn choose(State(node): State<Node>, request: Request) -> Answer {
    let (parts, body) = request.into_parts();
    let form = Form::read(&node, &parts.headers, body, form::SMALL_BYTES_MAX).await?;
    chosen(&form)
}

/// Keeps what a form chooses.
///
/// # Errors
/// A 422 for what is no theme.
pub fn chosen(form: &Form) -> Answer {
    let theme = Theme::parse(form.text("theme")).ok_or_else(|| {
        Problem::unprocessable("out_of_range", "theme: choose auto, light or dark; nothing was changed")
    })?;
    let mut response = page::see_other(page::local_path(form.text("next")));
    let cookie = format!("{THEME_COOKIE}={}; Path=/; Max-Age=31536000; HttpOnly; SameSite=Lax", theme.name());
    if let Ok(cookie) = HeaderValue::from_str(&cookie) {
        response.headers_mut().insert(header::SET_COOKIE, cookie);
    }
    Ok(response)
}
