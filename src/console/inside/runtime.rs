//! `/runtime`: what runs inside a machine: its process, its threads, its tasks, how busy each was, how often it failed and was
//! begun again. And `/members/{id}/inside`: what that process uses, the configuration in force, where its black box is, and its last
//! minutes when it is gone. Of any machine, from any.

use std::sync::Arc;

use askama::Template;
use axum::extract::State;
use axum::http::Uri;

use crate::base::id::NodeId;
use crate::console::inside::last;
use crate::console::inside::last::Last;
use crate::console::page;
use crate::console::page::Answer;
use crate::console::page::Page;
use crate::console::page::Refused;
use crate::console::page::Section;
use crate::console::page::Visit;
use crate::front::path;
use crate::front::problem::Problem;
use crate::front::query::Query;
use crate::node::Node;
use crate::node::debug::inside::Inside;
use crate::node::debug::inside::TaskView;
use crate::node::debug::last::Around;
use crate::node::error::DoorError;
use crate::proto::control::members::MemberState;

/// The tree of what runs.
pub const RUNTIME: &str = "/runtime";
/// One machine from inside.
pub const INSIDE: &str = "/members/{id}/inside";

/// What is shown, or why it is not.
pub struct View {
    id: u64,
    name: String,
    inside: Option<Arc<Inside>>,
    why: Option<&'static str>,
    around: Arc<Around>,
}

#[derive(Template)]
#[template(path = "inside/runtime.html")]
struct Runtime {
    page: Page,
    view: View,
    /// Every machine, to choose from.
    machines: Vec<(u64, String)>,
}

/// What changes while somebody watches.
#[derive(Template)]
#[template(path = "inside/runtime.html", block = "live")]
pub struct LiveRuntime {
    view: View,
}

#[derive(Template)]
#[template(path = "members/inside.html")]
struct Within {
    page: Page,
    view: View,
}

/// What changes while somebody watches.
#[derive(Template)]
#[template(path = "members/inside.html", block = "live")]
pub struct LiveWithin {
    view: View,
}

impl View {
    /// A sentence on how it runs, and how good that is.
    fn verdict(&self) -> (&'static str, String) {
        let Some(inside) = &self.inside else {
            return (
                "warn",
                format!("{} does not tell how it is inside: {}.", self.name, self.why.unwrap_or("not asked yet")),
            );
        };
        if let Some(why) = self.why {
            return ("warn", format!("{} does not answer now: {why}. This is how it was at {}.", self.name, inside.at));
        }
        let failed: Vec<&TaskView> = inside.tasks.iter().filter(|task| task.failed > 0).collect();
        match failed.as_slice() {
            [] => ("ok", format!("Nothing in {} failed since it began.", self.name)),
            [one] => ("warn", format!("One kind of task failed since {} began: {}.", self.name, one.name)),
            several => ("warn", format!("{} kinds of tasks failed since {} began.", several.len(), self.name)),
        }
    }

    /// Its last minutes, where it does not answer.
    fn last(&self) -> Option<Last> {
        self.around.last.as_ref().filter(|_| self.why.is_some()).map(last::draw)
    }

    fn running(&self) -> u64 {
        self.inside.iter().flat_map(|inside| &inside.tasks).map(|task| task.running).sum()
    }

    fn tasks(&self, kinds: &[&str]) -> Vec<&TaskView> {
        let all = self.inside.iter().flat_map(|inside| &inside.tasks);
        all.filter(|task| kinds.contains(&task.kind.as_str())).collect()
    }
}

fn view(node: &Node, id: NodeId) -> View {
    let (inside, why) = node.inside_lately(id);
    View { id: id.0, name: name_of(node, id), inside, why, around: Arc::default() }
}

fn name_of(node: &Node, id: NodeId) -> String {
    node.state().members.get(&id).map_or_else(|| id.to_string(), |member| member.name.clone())
}

/// What a live view of the tree shows.
#[must_use]
pub fn live_runtime(node: &Node, id: Option<u64>) -> LiveRuntime {
    LiveRuntime { view: view(node, id.map_or(node.who().node, NodeId)) }
}

/// What a live view of one machine shows.
#[must_use]
pub fn live_within(node: &Node, id: u64) -> LiveWithin {
    LiveWithin { view: View { around: node.around_lately(NodeId(id)), ..view(node, NodeId(id)) } }
}

/// Asked for by a page: waits for the answer, so that it shows one without script.
async fn look(node: &Node, id: NodeId) -> Result<View, Refused> {
    if !node.state().members.contains_key(&id) {
        return Err(Problem::from(DoorError::NotFound { what: "node", name: id.to_string() }).into());
    }
    let looked = node.inside_of(id).await;
    node.note_inside(id, &looked);
    Ok(view(node, id))
}

/// `GET /runtime?node=`.
pub async fn runtime(State(node): State<Node>, visit: Visit, uri: Uri) -> Answer {
    let query = Query::parse(&uri, &["node"])?;
    let id = query.number("node")?.map_or(node.who().node, NodeId);
    let view = look(&node, id).await?;
    let live = format!("/live?view=runtime&node={id}");
    let page = Page { live, ..Page::new(&node, &visit, Section::Inside, "Runtime") };
    let state = node.state();
    let there = state.members.iter().filter(|(_, member)| member.state != MemberState::Removed);
    let machines = there.map(|(id, member)| (id.0, member.name.clone())).collect();
    page::render(&Runtime { page, view, machines })
}

/// `GET /members/{id}/inside`.
pub async fn within(State(node): State<Node>, visit: Visit, uri: Uri) -> Answer {
    let which = path::segment(uri.path(), 1)?;
    let gone = || Problem::from(DoorError::NotFound { what: "node", name: which.clone() });
    let id = which.parse().map(NodeId).map_err(|_no_number| gone())?;
    let mut view = look(&node, id).await?;
    node.look_around(id, view.why).await;
    view.around = node.around_lately(id);
    let live = format!("/live?view=inside&node={id}");
    let title = format!("Inside {}", view.name);
    let page = Page { live, ..Page::new(&node, &visit, Section::Members, &title) };
    page::render(&Within { page, view })
}

/// Bytes, or a dash where the kernel does not tell.
#[must_use]
pub fn bytes(bytes: &Option<u64>) -> String {
    bytes.map_or_else(|| "not told".to_owned(), crate::console::show::size)
}

/// Milliseconds of a processor as people say it.
#[must_use]
pub fn cpu(ms: &u64) -> String {
    if *ms < 10_000 { format!("{ms}\u{a0}ms") } else { crate::console::show::duration(ms / 1000) }
}
