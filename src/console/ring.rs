//! `/ring`: who owns what, drawn; how every partition stands; where a key is; what is staged, and what is on its way. The
//! drawing is made here, from the layout that this node knows.

use std::collections::BTreeMap;
use std::collections::BTreeSet;
use std::time::Duration;

use askama::Template;
use axum::extract::Request;
use axum::extract::State;
use axum::http::Uri;

use crate::base::id::NodeId;
use crate::base::limits::MEMBERS_ROWS_MAX;
use crate::console::data;
use crate::console::form;
use crate::console::form::Form;
use crate::console::page;
use crate::console::page::Answer;
use crate::console::page::Page;
use crate::console::page::Refused;
use crate::console::page::Section;
use crate::console::page::Visit;
use crate::console::ring::draw::Drawing;
use crate::console::ring::draw::Look;
use crate::console::show;
use crate::front::problem::Problem;
use crate::front::query;
use crate::front::query::Query;
use crate::node::Node;
use crate::node::error::DoorError;
use crate::node::plan::Margins;
use crate::node::plan::PlansView;
use crate::node::ring::PartitionView;
use crate::node::ring::RingView;
use crate::node::ring::ShareView;
use crate::node::ring::StandingCounts;
use crate::node::whereabouts::Whereabouts;
use crate::proto::control::members::LayoutCommit;
use crate::proto::key::Key;
use crate::proto::scope::Need;

pub mod draw;

/// The page.
pub const RING: &str = "/ring";
/// Stages a plan for all machines.
pub const STAGE: &str = "/ring/stage";
/// Begins what is staged.
pub const COMMIT: &str = "/ring/commit";
/// Drops it.
pub const CLEAR: &str = "/ring/clear";
/// What is on its way waits.
pub const PAUSE: &str = "/ring/pause";
/// It goes on.
pub const RESUME: &str = "/ring/resume";

/// How long handoff may be paused, in words of the form; the first is the choice unless another is made.
pub const PAUSES: [(&str, &str); 4] = [("1h", "An hour"), ("15m", "15 minutes"), ("8h", "8 hours"), ("3d", "3 days")];

/// What has to be typed before acked writes are given up.
const ACCEPT: &str = "accept loss";

/// What a page says after a change.
const DONE: [(&str, &str); 5] = [
    ("staged", "A plan is staged. Nothing has moved: look at it below, then commit it or drop it."),
    ("committed", "The plan has begun. What moves is shown under transfers."),
    ("cleared", "Nothing is staged any more, and nothing has moved."),
    ("paused", "What is on its way waits, on all machines."),
    ("resumed", "What is on its way goes on."),
];

/// What on the ring somebody points at.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
pub struct Choice {
    partition: Option<u8>,
    node: Option<u64>,
}

impl Choice {
    /// What a query asks for.
    ///
    /// # Errors
    /// A 400 for what is no number.
    pub fn of(query: &Query) -> Result<Self, Refused> {
        Ok(Self { partition: query.number("p")?, node: query.number("node")? })
    }

    /// Where its live figures come from.
    #[must_use]
    pub fn live(self) -> String {
        let number =
            |name: &str, number: Option<u64>| number.map(|number| format!("&{name}={number}")).unwrap_or_default();
        format!("/live?view=ring{}{}", number("p", self.partition.map(u64::from)), number("node", self.node))
    }
}

#[derive(Template)]
#[template(path = "ring.html")]
struct Ring {
    page: Page,
    view: View,
    asked: Asked,
    wrong: String,
    done: &'static str,
}

/// What changes while somebody watches.
#[derive(Template)]
#[template(path = "ring.html", block = "live")]
pub struct Live {
    view: View,
}

/// Where it is shown where a key is.
#[must_use]
pub fn where_url(bucket: &str, key: &[u8]) -> String {
    format!("{RING}?bucket={}&key={}#where", data::escape(bucket.as_bytes()), data::escape(key))
}

/// A key that somebody looks for.
#[derive(Default)]
struct Asked {
    bucket: String,
    key: String,
    found: Option<Whereabouts>,
    /// Its page, for whoever may see values.
    key_url: Option<String>,
    wrong: String,
    buckets: Vec<String>,
}

struct View {
    ring: RingView,
    drawing: Drawing,
    kind: &'static str,
    sentence: String,
    /// Whole, below, lost, of the buckets for which they stand worst.
    counts: StandingCounts,
    shares: Vec<(ShareView, Look)>,
    more_shares: usize,
    chosen: Option<Chosen>,
    node: Option<(NodeId, String)>,
    plans: PlansView,
    /// Moves from where to where, by who gets them.
    may: bool,
}

/// The partition that was pointed at.
struct Chosen {
    partition: PartitionView,
    standing: &'static str,
    owners: Vec<Owner>,
}

/// An owner of it.
struct Owner {
    id: NodeId,
    name: String,
    up: bool,
    synced: bool,
    comes: bool,
}

fn names(node: &Node) -> BTreeMap<NodeId, String> {
    node.members().into_iter().map(|member| (member.id, member.name)).collect()
}

fn view(node: &Node, choice: Choice, may: bool) -> View {
    let (ring, names) = (node.ring(), names(node));
    let chosen_node = choice.node.map(NodeId).filter(|id| names.contains_key(id));
    let drawing = draw::draw(&ring, &names, chosen_node);
    let count = |word| ring.partitions.iter().filter(|partition| draw::worst(partition) == word).count();
    let counts = StandingCounts { whole: count("whole"), below: count("below"), lost: count("lost") };
    let (kind, sentence) = sentence(&ring, counts);
    let looks = draw::looks(&ring);
    let shares = ring.nodes.iter().take(MEMBERS_ROWS_MAX);
    let shares = shares.filter_map(|share| Some((share.clone(), *looks.get(&share.id)?))).collect();
    let chosen = choice.partition.and_then(|id| ring.partitions.iter().find(|partition| partition.id.0 == id));
    View {
        chosen: chosen.map(|partition| of_partition(partition, &names, &node.live())),
        node: chosen_node.map(|id| (id, names.get(&id).cloned().unwrap_or_default())),
        more_shares: ring.nodes.len().saturating_sub(MEMBERS_ROWS_MAX),
        drawing,
        kind,
        sentence,
        counts,
        shares,
        plans: node.plans(),
        ring,
        may,
    }
}

fn sentence(ring: &RingView, StandingCounts { whole, below, lost }: StandingCounts) -> (&'static str, String) {
    let partitions = |count: usize| show::plural(count as u64, "partition", "partitions");
    let moving = ring.partitions.iter().filter(|partition| partition.next.is_some()).count();
    match (below, lost) {
        (_, 1..) => ("bad", format!("{} have no quorum: some requests for them are refused.", partitions(lost))),
        (1.., 0) => (
            "warn",
            format!("Every request is answered, but {} have fewer owners than they should.", partitions(below)),
        ),
        (0, 0) if moving > 0 => ("ok", format!("Every request is answered; {} are moving.", partitions(moving))),
        (0, 0) => ("ok", format!("All {whole} partitions are whole: every owner is there, with all of its data.")),
    }
}

fn of_partition(partition: &PartitionView, names: &BTreeMap<NodeId, String>, live: &BTreeSet<NodeId>) -> Chosen {
    let next = partition.next.as_ref();
    let come = next.into_iter().flat_map(|next| &next.owners).filter(|owner| !partition.now.owners.contains(owner));
    let owner = |id: &NodeId, comes: bool| Owner {
        id: *id,
        name: names.get(id).cloned().unwrap_or_else(|| "removed".to_owned()),
        up: live.contains(id),
        synced: if comes {
            next.is_some_and(|next| next.synced.contains(id))
        } else {
            partition.now.synced.contains(id)
        },
        comes,
    };
    let owners = partition.now.owners.iter().map(|id| owner(id, false)).chain(come.map(|id| owner(id, true)));
    Chosen { owners: owners.collect(), standing: draw::worst(partition), partition: partition.clone() }
}

/// How many may be lost, in words.
#[must_use]
pub fn margins(margins: &Margins) -> String {
    let count = |left: Option<usize>, one: &str, many: &str| match left {
        Some(left) => format!("any {}", show::plural(left as u64, one, many)),
        None => format!("no {one}: some requests are refused"),
    };
    match (margins.machines, margins.zones) {
        (None, _) => count(None, "machine", "machines"),
        (machines, zones) => {
            format!("{}, {}", count(machines, "machine", "machines"), count(zones, "zone", "zones"))
        }
    }
}

/// What a live view of the ring shows.
#[must_use]
pub fn live(node: &Node, choice: Choice, may: bool) -> Live {
    Live { view: view(node, choice, may) }
}

fn blank(node: &Node, visit: &Visit, choice: Choice) -> Ring {
    let page = Page { live: choice.live(), ..Page::new(node, visit, Section::Ring, "Ring") };
    let view = view(node, choice, visit.caller.may(Need::Operate));
    // Names of buckets are for those who may see them.
    let buckets = if visit.caller.may(Need::Data) {
        node.state().buckets.keys().take(MEMBERS_ROWS_MAX).cloned().collect()
    } else {
        Vec::new()
    };
    Ring { page, view, asked: Asked { buckets, ..Asked::default() }, wrong: String::new(), done: "" }
}

/// `GET /ring?p=&node=&bucket=&key=`.
pub async fn show(State(node): State<Node>, visit: Visit, uri: Uri) -> Answer {
    let query = Query::parse(&uri, &["p", "node", "bucket", "key", "done"])?;
    let (mut choice, done) = (Choice::of(&query)?, page::done_of(&query, &DONE)?);
    let asked = ask(&node, &query).await?;
    if let Some(found) = &asked.found {
        choice.partition = choice.partition.or(Some(found.partition.0));
    }
    let blank = blank(&node, &visit, choice);
    let key_url = asked.key_url.filter(|_| visit.caller.may(Need::Data));
    let asked = Asked { buckets: blank.asked.buckets, key_url, ..asked };
    page::render(&Ring { asked, done, ..blank })
}

async fn ask(node: &Node, query: &Query) -> Result<Asked, Refused> {
    let (Some(bucket), Some(bytes)) = (query.text("bucket")?, query.bytes("key")) else { return Ok(Asked::default()) };
    let (bucket, key) = (bucket.trim().to_owned(), String::from_utf8_lossy(bytes).into_owned());
    if bucket.is_empty() && bytes.is_empty() {
        return Ok(Asked::default());
    }
    let found = match Key::new(bytes.to_vec()).map_err(DoorError::from) {
        Ok(sought) => node.whereabouts(&bucket, &sought).await.map_err(Problem::from),
        Err(error) => Err(error.into()),
    };
    let wrong = found.as_ref().err().map(|problem| show::sentence(&problem.detail)).unwrap_or_default();
    let key_url = found.is_ok().then(|| data::key_url(&bucket, "key", bytes));
    Ok(Asked { bucket, key, found: found.ok(), key_url, wrong, buckets: Vec::new() })
}

/// After a change: the way to the page with what was done, or the page with what is wrong.
fn answer(node: &Node, visit: &Visit, changed: Result<&'static str, Problem>) -> Answer {
    match changed {
        Ok(done) => Ok(page::see_other(&format!("{RING}?done={done}"))),
        Err(problem) => {
            let wrong = show::sentence(&problem.detail);
            page::render_refused(&problem, &Ring { wrong, ..blank(node, visit, Choice::default()) })
        }
    }
}

/// `POST /ring/stage`.
pub async fn stage(State(node): State<Node>, visit: Visit) -> Answer {
    let staged = node.stage_plan(&visit.caller).await;
    answer(&node, &visit, staged.map(|_plans| "staged").map_err(Problem::from))
}

/// `POST /ring/clear`.
pub async fn clear(State(node): State<Node>, visit: Visit) -> Answer {
    let cleared = node.clear_plan(&visit.caller).await;
    answer(&node, &visit, cleared.map(|()| "cleared").map_err(Problem::from))
}

/// `POST /ring/commit`: the plan that was shown; what only removed machines had is given up where that is typed.
pub async fn commit(State(node): State<Node>, visit: Visit, request: Request) -> Answer {
    let (parts, body) = request.into_parts();
    let form = Form::read(&node, &parts.headers, body, form::SMALL_BYTES_MAX).await?;
    let changed = try_commit(&node, &visit, &form).await;
    answer(&node, &visit, changed)
}

async fn try_commit(node: &Node, visit: &Visit, form: &Form) -> Result<&'static str, Problem> {
    let bad = |_no_number| Problem::unprocessable("bad_plan", "version is not a plan's number; nothing was changed");
    let version = form.text("version").parse().map_err(bad)?;
    let accept_loss = match form.text("accept").trim() {
        "" => BTreeSet::new(),
        ACCEPT => node.plans().removed.into_iter().collect(),
        _ => {
            let detail = format!("type `{ACCEPT}`, or nothing; nothing was changed");
            return Err(Problem::unprocessable("not_confirmed", detail));
        }
    };
    node.commit_plan(&visit.caller, version, accept_loss).await?;
    Ok("committed")
}

/// `POST /ring/pause`.
pub async fn pause(State(node): State<Node>, visit: Visit, request: Request) -> Answer {
    let (parts, body) = request.into_parts();
    let form = Form::read(&node, &parts.headers, body, form::SMALL_BYTES_MAX).await?;
    let changed = try_pause(&node, &visit, &form).await;
    answer(&node, &visit, changed)
}

async fn try_pause(node: &Node, visit: &Visit, form: &Form) -> Result<&'static str, Problem> {
    let lasts = Duration::from_millis(query::ttl_ms("for", form.text("for"))?);
    let reason = match form.text("reason").trim() {
        "" => "no reason given".to_owned(),
        reason => reason.to_owned(),
    };
    node.pause_handoff(&visit.caller, Some((reason, lasts))).await?;
    Ok("paused")
}

/// `POST /ring/resume`.
pub async fn resume(State(node): State<Node>, visit: Visit) -> Answer {
    let resumed = node.pause_handoff(&visit.caller, None).await;
    answer(&node, &visit, resumed.map(|()| "resumed").map_err(Problem::from))
}
