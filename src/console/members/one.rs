//! `/members/{id}`: one machine, what it owns, what comes to it, how it was seen before; and what can be done with it.

use std::time::Duration;

use askama::Template;
use axum::extract::Request;
use axum::extract::State;
use axum::http::Uri;
use axum::http::request::Parts;

use crate::base::id::NodeId;
use crate::console::form;
use crate::console::form::Form;
use crate::console::members;
use crate::console::members::Light;
use crate::console::members::Lines;
use crate::console::page;
use crate::console::page::Answer;
use crate::console::page::Page;
use crate::console::page::Section;
use crate::console::page::Visit;
use crate::console::show;
use crate::front::path;
use crate::front::problem::Problem;
use crate::front::query;
use crate::node::Node;
use crate::node::error::DoorError;
use crate::node::members::DrainView;
use crate::node::members::MemberView;
use crate::node::members::PastView;
use crate::node::ring::PartitionView;
use crate::node::ring::RingView;
use crate::node::ring::TransferView;
use crate::node::ring::is_among;
use crate::proto::control::members::MemberState;
use crate::proto::scope::Need;

/// One machine's page, as axum matches it.
pub const ONE: &str = "/members/{id}";
/// Devices are asked to go elsewhere.
pub const DRAIN: &str = "/members/{id}/drain";
/// They come back.
pub const UNDRAIN: &str = "/members/{id}/undrain";
/// It gives away what it owns and goes.
pub const LEAVE: &str = "/members/{id}/leave";
/// It is struck off.
pub const REMOVE: &str = "/members/{id}/remove";
/// Another one takes its places.
pub const REPLACE: &str = "/members/{id}/replace";
/// A new one takes its places.
pub const SUCCESSOR: &str = "/members/{id}/invite";

/// How long a machine may be drained, in words of the form; the first is the choice unless another is made.
pub const TIMES: [(&str, &str); 5] =
    [("1h", "An hour"), ("15m", "15 minutes"), ("8h", "8 hours"), ("3d", "3 days"), ("", "Until I end it")];

/// What a page says after a change.
const DONE: [(&str, &str); 5] = [
    ("drained", "Devices are asked to use other machines. It keeps and replicates what it owns."),
    ("undrained", "It takes devices again."),
    ("leaves", "It gives away what it owns, and goes when the others have it. Leave it running until then."),
    ("waits", "It is to leave. A plan waits: look at it on the ring's page and commit it."),
    ("replaced", "The other machine takes its places; it goes when that one has what it had."),
];

#[derive(Template)]
#[template(path = "members/one.html")]
struct One {
    page: Page,
    view: View,
    may: bool,
    may_invite: bool,
    /// Machines that own nothing yet.
    newcomers: Vec<(u64, String)>,
    invite: Option<Lines>,
    wrong: String,
    done: &'static str,
}

/// What changes while somebody watches.
#[derive(Template)]
#[template(path = "members/one.html", block = "live")]
pub struct Live {
    view: View,
}

struct View {
    member: MemberView,
    me: bool,
    state: Light,
    link: Light,
    serving: Light,
    why: String,
    drain: Option<DrainView>,
    vote: String,
    owns: usize,
    comes: usize,
    goes: usize,
    ranges: String,
    transfer: Option<TransferView>,
    /// Bytes a second that come to it, where some do.
    rate: Option<u64>,
    paused: bool,
    past: Vec<PastView>,
    leaves: bool,
    is_up: bool,
}

/// The machine that a path names.
///
/// # Errors
/// A 404 where there is none.
pub fn find(node: &Node, id: &str) -> Result<MemberView, Problem> {
    let found = node.members().into_iter().find(|member| member.id.to_string() == id);
    found.ok_or_else(|| DoorError::NotFound { what: "machine", name: id.to_owned() }.into())
}

/// What a live view of a machine shows; none where it is gone.
#[must_use]
pub fn live(node: &Node, id: &str) -> Option<Live> {
    Some(Live { view: view(node, find(node, id).ok()?) })
}

fn view(node: &Node, member: MemberView) -> View {
    let (ring, id) = (node.ring(), member.id);
    let owned = |partition: &&PartitionView| is_among(&partition.now, id);
    let ids: Vec<u8> = ring.partitions.iter().filter(owned).map(|partition| partition.id.0).collect();
    let goes = |partition: &&PartitionView| partition.next.as_ref().is_some_and(|next| !is_among(next, id));
    View {
        me: id == node.who().node,
        state: members::state(&member),
        link: members::link(&member),
        serving: members::serving(&member),
        why: members::why(&member),
        drain: members::drain(&member),
        vote: vote(node, &member),
        owns: ids.len(),
        comes: ring.nodes.iter().find(|share| share.id == id).map_or(0, |share| share.comes),
        goes: ring.partitions.iter().filter(owned).filter(goes).count(),
        ranges: ranges(&ids),
        rate: transfer(&ring, id).and_then(|transfer| transfer.bytes_per_s).filter(|rate| *rate > 0),
        transfer: transfer(&ring, id),
        paused: ring.pause.is_some(),
        past: node.past_of(id),
        leaves: member.part == MemberState::Leaving,
        is_up: matches!(member.state, "up" | "suspect"),
        member,
    }
}

fn transfer(ring: &RingView, id: NodeId) -> Option<TransferView> {
    ring.transfers.iter().find(|transfer| transfer.to == id).cloned()
}

fn vote(node: &Node, member: &MemberView) -> String {
    let voters = node.members().iter().filter(|member| member.voter).count();
    if member.voter {
        format!("Yes: one of {}, a majority of which orders changes", show::plural(voters as u64, "voter", "voters"))
    } else {
        format!("No: {} are enough, spread over zones; it follows them", show::plural(voters as u64, "voter", "voters"))
    }
}

/// `0–3, 7, 9–255`.
fn ranges(ids: &[u8]) -> String {
    let mut runs: Vec<(u8, u8)> = Vec::new();
    for &id in ids {
        match runs.last_mut() {
            Some((_, last)) if last.checked_add(1) == Some(id) => *last = id,
            _ => runs.push((id, id)),
        }
    }
    let run = |(first, last): &(u8, u8)| if first == last { first.to_string() } else { format!("{first}–{last}") };
    runs.iter().map(run).collect::<Vec<_>>().join(", ")
}

fn draw(node: &Node, visit: &Visit, member: MemberView) -> One {
    let title = format!("Machine {}", member.name);
    let live = format!("/live?view=member&id={}", member.id);
    let ring = node.ring();
    let owns = |id: NodeId| ring.nodes.iter().any(|share| share.id == id);
    let newcomers = node.members().into_iter().filter(|other| other.id != member.id && !owns(other.id));
    One {
        page: Page { live, ..Page::new(node, visit, Section::Members, title) },
        newcomers: newcomers.map(|other| (other.id.0, other.name)).collect(),
        view: view(node, member),
        may: visit.caller.may(Need::Operate),
        may_invite: visit.caller.may(Need::Admin),
        invite: None,
        wrong: String::new(),
        done: "",
    }
}

/// `GET /members/{id}`.
pub async fn show(State(node): State<Node>, visit: Visit, uri: Uri) -> Answer {
    let done = page::done(&uri, &DONE)?;
    let member = find(&node, &path::segment(uri.path(), 1)?)?;
    std::future::ready(page::render(&One { done, ..draw(&node, &visit, member) })).await
}

/// What was asked for, of which machine.
struct Wish {
    member: MemberView,
    form: Form,
}

async fn wish(node: &Node, request: Request) -> Result<Wish, Problem> {
    let (Parts { uri, headers, .. }, body) = request.into_parts();
    let member = find(node, &path::segment(uri.path(), 1)?)?;
    Ok(Wish { member, form: Form::read(node, &headers, body, form::SMALL_BYTES_MAX).await? })
}

/// After a change: the way to the machine's page with what was done, or the page with what is wrong.
fn answer(node: &Node, visit: &Visit, member: MemberView, changed: Result<&'static str, Problem>) -> Answer {
    match changed {
        Ok("removed") => Ok(page::see_other("/members?done=removed")),
        Ok(done) => Ok(page::see_other(&format!("/members/{}?done={done}", member.id))),
        Err(problem) => {
            let wrong = show::sentence(&problem.detail);
            page::render_refused(&problem, &One { wrong, ..draw(node, visit, member) })
        }
    }
}

/// `POST /members/{id}/drain`.
pub async fn drain(State(node): State<Node>, visit: Visit, request: Request) -> Answer {
    let Wish { member, form } = wish(&node, request).await?;
    let changed = try_drain(&node, &visit, &member, &form).await;
    answer(&node, &visit, member, changed)
}

async fn try_drain(node: &Node, visit: &Visit, member: &MemberView, form: &Form) -> Result<&'static str, Problem> {
    let lasts = match form.text("for") {
        "" => None,
        lasts => Some(Duration::from_millis(query::ttl_ms("for", lasts)?)),
    };
    let reason = match form.text("reason").trim() {
        "" => "no reason given".to_owned(),
        reason => reason.to_owned(),
    };
    node.divert(&visit.caller, &member.id.to_string(), Some((reason, lasts))).await?;
    Ok("drained")
}

/// `POST /members/{id}/undrain`.
pub async fn undrain(State(node): State<Node>, visit: Visit, request: Request) -> Answer {
    let Wish { member, .. } = wish(&node, request).await?;
    let changed = node.divert(&visit.caller, &member.id.to_string(), None).await;
    answer(&node, &visit, member, changed.map(|_part| "undrained").map_err(Problem::from))
}

/// `POST /members/{id}/leave`.
pub async fn leave(State(node): State<Node>, visit: Visit, request: Request) -> Answer {
    let Wish { member, .. } = wish(&node, request).await?;
    let changed = node.leave(&visit.caller, &member.id.to_string()).await;
    let done = changed.map(|part| if part.plan.is_some() { "waits" } else { "leaves" });
    answer(&node, &visit, member, done.map_err(Problem::from))
}

/// `POST /members/{id}/remove`: what only it had is given up where its name is typed, and only then.
pub async fn remove(State(node): State<Node>, visit: Visit, request: Request) -> Answer {
    let Wish { member, form } = wish(&node, request).await?;
    let accept_loss = match form.text("name") {
        "" => Ok(false),
        name if name == member.name => Ok(true),
        _ => Err(Problem::unprocessable("not_confirmed", "this is not the machine's name; nothing was changed")),
    };
    let changed = match accept_loss {
        Ok(accept_loss) => {
            let removed = node.remove(&visit.caller, &member.id.to_string(), accept_loss).await;
            removed.map(|_part| "removed").map_err(Problem::from)
        }
        Err(problem) => Err(problem),
    };
    answer(&node, &visit, member, changed)
}

/// `POST /members/{id}/replace`: by a machine that is in already and owns nothing yet.
pub async fn replace(State(node): State<Node>, visit: Visit, request: Request) -> Answer {
    let Wish { member, form } = wish(&node, request).await?;
    let changed = match form.text("by").parse() {
        Ok(by) => {
            let replaced = node.replace(&visit.caller, &member.id.to_string(), NodeId(by)).await;
            replaced.map(|_part| "replaced").map_err(Problem::from)
        }
        Err(_no_number) => Err(Problem::unprocessable("bad_machine", "choose a machine; nothing was changed")),
    };
    answer(&node, &visit, member, changed)
}

/// `POST /members/{id}/invite`: the line for a new machine in its place, shown once.
pub async fn invite(State(node): State<Node>, visit: Visit, request: Request) -> Answer {
    let Wish { member, form } = wish(&node, request).await?;
    match members::try_invite(&node, &visit, &form, 1, Some(&member.id.to_string())).await {
        Ok(lines) => page::render(&One { invite: Some(lines), ..draw(&node, &visit, member) }),
        Err(problem) => answer(&node, &visit, member, Err(problem)),
    }
}

#[cfg(test)]
mod tests {
    use super::TIMES;
    use super::ranges;
    use crate::base::time;
    use crate::console::members;
    use crate::console::ring;

    #[test]
    fn every_time_that_is_offered_is_one() {
        let offered = TIMES.iter().chain(&members::LIFETIMES).chain(&ring::PAUSES).map(|(time, _)| *time);
        for time in offered.filter(|time| !time.is_empty()) {
            assert!(time::parse_duration_ms(time).is_ok(), "{time}");
        }
    }

    #[test]
    fn neighbours_are_one_range() {
        assert_eq!(ranges(&[]), "");
        assert_eq!(ranges(&[0, 1, 2, 7, 9, 10, 255]), "0–2, 7, 9–10, 255");
    }
}
