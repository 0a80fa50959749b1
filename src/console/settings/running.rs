//! `/settings/certificates` and `/settings/configuration`: what this node runs by.

use std::sync::Arc;

use askama::Template;
use axum::extract::State;
use axum::http::Uri;

use crate::base::time;
use crate::console::page;
use crate::console::page::Answer;
use crate::console::page::Page;
use crate::console::page::Section;
use crate::console::page::Visit;
use crate::console::show;
use crate::node::Node;
use crate::node::certificate::Authority;
use crate::node::certificate::CertificateView;
use crate::node::settings::Settings;
use crate::proto::scope::Need;

/// Has the configuration read anew.
pub const RELOAD: &str = "/settings/configuration/reload";

#[derive(Template)]
#[template(path = "settings/certificates.html")]
struct Certificates<'n> {
    page: Page,
    authority: &'n Authority,
    certificate: Option<Shown>,
}

struct Shown {
    view: CertificateView,
    from: String,
    until: String,
    warning: Option<String>,
}

#[derive(Template)]
#[template(path = "settings/configuration.html")]
struct Configuration {
    page: Page,
    settings: Arc<Settings>,
    may_reload: bool,
    done: &'static str,
    wrong: String,
}

/// `GET /settings/certificates`.
pub async fn certificates(State(node): State<Node>, visit: Visit) -> Answer {
    let page = Page::new(&node, &visit, Section::Settings, "Certificates");
    let shown = |view: CertificateView| Shown {
        from: time::rfc3339(view.not_before_ms),
        until: time::rfc3339(view.not_after_ms),
        warning: view.warning(time::wall_ms()),
        view,
    };
    let certificate = node.settings().certificate.clone().map(shown);
    let certificates = Certificates { page, authority: node.authority(), certificate };
    std::future::ready(page::render(&certificates)).await
}

fn configuration_page(node: &Node, visit: &Visit) -> Configuration {
    Configuration {
        page: Page::new(node, visit, Section::Settings, "Configuration"),
        settings: node.settings(),
        may_reload: visit.caller.may(Need::Admin),
        done: "",
        wrong: String::new(),
    }
}

/// `GET /settings/configuration`.
pub async fn configuration(State(node): State<Node>, visit: Visit, uri: Uri) -> Answer {
    let done =
        page::done(&uri, &[("read", "The file was read again; what could change without a restart has changed.")])?;
    std::future::ready(page::render(&Configuration { done, ..configuration_page(&node, &visit) })).await
}

/// `POST /settings/configuration/reload`.
pub async fn reload(State(node): State<Node>, visit: Visit) -> Answer {
    match node.reload(&visit.caller).await {
        Ok(_) => Ok(page::see_other("/settings/configuration?done=read")),
        Err(error) => {
            let problem = error.into();
            let wrong = show::sentence(&crate::front::problem::Problem::clone(&problem).detail);
            page::render_refused(&problem, &Configuration { wrong, ..configuration_page(&node, &visit) })
        }
    }
}
