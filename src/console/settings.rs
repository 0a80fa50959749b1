//! `/settings`: what can be set, each on a page of its own.

use askama::Template;
use axum::extract::State;

use crate::console::form::Form;
use crate::console::page;
use crate::console::page::Answer;
use crate::console::page::Page;
use crate::console::page::Section;
use crate::console::page::Visit;
use crate::front::problem::Problem;
use crate::node::Node;
use crate::proto::scope::Need;
use crate::proto::scope::Scope;

pub mod audit;
pub mod password;
pub mod running;
pub mod tokens;
pub mod users;

/// One page of the settings, for the tabs and for the overview of them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Tab {
    /// In the tab.
    pub name: &'static str,
    /// Where it is.
    pub path: &'static str,
    /// What it takes to see it.
    pub need: Need,
    /// What is there.
    pub about: &'static str,
    /// Its icon.
    pub icon: &'static str,
}

/// All pages of the settings.
pub const TABS: [Tab; 6] = [
    Tab {
        name: "Users",
        path: "/settings/users",
        need: Need::Admin,
        about: "People who sign in to this console, and what each of them may do.",
        icon: "user",
    },
    Tab {
        name: "Tokens",
        path: "/settings/tokens",
        need: Need::Admin,
        about: "What devices and programs show with each request. A secret is seen once, when it is made.",
        icon: "key",
    },
    Tab {
        name: "Certificates",
        path: "/settings/certificates",
        need: Need::Observe,
        about: "What clients trust this node by, and until when.",
        icon: "lock",
    },
    Tab {
        name: "Configuration",
        path: "/settings/configuration",
        need: Need::Observe,
        about: "Every key with its value, and where that came from.",
        icon: "sliders",
    },
    Tab {
        name: "Audit",
        path: "/settings/audit",
        need: Need::Admin,
        about: "Who changed what and when, chained so that nothing can be changed or left out unseen.",
        icon: "list",
    },
    Tab {
        name: "Your password",
        path: password::PATH,
        need: Need::SignedIn,
        about: "Change the password that you sign in with. All your other browsers are signed out.",
        icon: "shield",
    },
];

/// What a scope opens, for people.
#[must_use]
pub fn about(scope: &Scope) -> &'static str {
    match scope {
        Scope::DeviceRead => "Read values. For devices.",
        Scope::DeviceWrite => "Write and delete values. For devices.",
        Scope::Data => "Read and write values and buckets, list, import, export; see how the node is.",
        Scope::Operate => "See and change how the cluster runs.",
        Scope::Support => "See how the cluster runs and take diagnostics.",
        Scope::Admin => "Everything, users and tokens included.",
    }
}

/// The scopes whose boxes are ticked.
///
/// # Errors
/// A 422 for none at all or a name that is none.
pub fn scopes(form: &Form) -> Result<Vec<Scope>, Problem> {
    let chosen = form.all("scope").map(Scope::parse).collect::<Option<Vec<_>>>().unwrap_or_default();
    if chosen.is_empty() {
        let detail = "scopes: choose what it may do, at least one; nothing was changed";
        return Err(Problem::unprocessable("out_of_range", detail));
    }
    Ok(chosen)
}

#[derive(Template)]
#[template(path = "settings.html")]
struct Settings {
    page: Page,
    tabs: Vec<(Tab, bool)>,
}

/// `GET /settings`.
pub async fn show(State(node): State<Node>, visit: Visit) -> Answer {
    let page = Page::new(&node, &visit, Section::Settings, "Settings");
    let tabs = TABS.into_iter().map(|tab| (tab, visit.caller.may(tab.need))).collect();
    std::future::ready(page::render(&Settings { page, tabs })).await
}
