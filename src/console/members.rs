//! `/members`: every machine of the cluster with its state, its two lights and how it does, page by page; and the line
//! that brings in one more. Live where script runs.

use std::time::Duration;

use askama::Template;
use axum::extract::Request;
use axum::extract::State;
use axum::http::Uri;

use crate::base::id::NodeId;
use crate::base::limits::MEMBERS_ROWS_MAX;
use crate::base::time;
use crate::console::form;
use crate::console::form::Form;
use crate::console::page;
use crate::console::page::Answer;
use crate::console::page::Page;
use crate::console::page::Refused;
use crate::console::page::Section;
use crate::console::page::Visit;
use crate::console::show;
use crate::front::problem::Problem;
use crate::front::query;
use crate::front::query::Query;
use crate::node::Node;
use crate::node::joining::Invitation;
use crate::node::members::DrainView;
use crate::node::members::FiguresView;
use crate::node::members::MemberView;
use crate::proto::control::members::MemberState;
use crate::proto::scope::Need;

pub mod one;

/// All of them.
pub const LIST: &str = "/members";
/// Makes an invite.
pub const INVITE: &str = "/members/invite";
/// Lines made at once: a rack is filled by a script, with `ringfort invite`.
const INVITES_AT_ONCE: usize = 5;
/// How long an invite may be good, in words of the form; the first is the choice unless another is made.
pub const LIFETIMES: [(&str, &str); 3] = [("24h", "A day"), ("1h", "An hour"), ("7d", "A week")];

/// Free space below this part of a disk deserves a look: time to order another one.
const DISK_LOW_PERCENT: u64 = 15;

/// Which of them are shown.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Default)]
pub struct Choice {
    /// Those whose name or zone contains this.
    find: String,
    /// Only those that need a look.
    trouble: bool,
    /// Those behind this id.
    after: u64,
}

impl Choice {
    /// What a query asks for.
    ///
    /// # Errors
    /// A 400 for a word that is none.
    pub fn of(query: &Query) -> Result<Self, Refused> {
        let trouble = match query.text("show")? {
            None | Some("all") => false,
            Some("trouble") => true,
            Some(_) => {
                return Err(Refused(Problem::bad_request("bad_parameter", "`show` is not one of: all, trouble")));
            }
        };
        let find = query.text("find")?.unwrap_or_default().trim().to_lowercase();
        Ok(Self { find, trouble, after: query.number("after")?.unwrap_or(0) })
    }

    /// As parameters of an address, from another row on.
    fn query(&self, after: u64) -> String {
        let show = if self.trouble { "trouble" } else { "all" };
        format!("show={show}&find={}&after={after}", show::escaped(&self.find))
    }

    /// Where its live figures come from.
    #[must_use]
    pub fn live(&self) -> String {
        format!("/live?view=members&{}", self.query(self.after))
    }

    /// What is looked for.
    #[must_use]
    pub fn find(&self) -> &str {
        &self.find
    }

    /// Whether only those are shown that need a look.
    #[must_use]
    pub fn trouble(&self) -> bool {
        self.trouble
    }

    /// Whether it is one of them, on this page or on another one.
    fn takes(&self, row: &Row) -> bool {
        let found = row.name.to_lowercase().contains(&self.find) || row.zone.to_lowercase().contains(&self.find);
        found && (!self.trouble || row.needs_a_look)
    }
}

#[derive(Template)]
#[template(path = "members/list.html")]
struct Members {
    page: Page,
    view: View,
    choice: Choice,
    may_invite: bool,
    invite: Option<Lines>,
    lifetime: String,
    /// How many lines are offered first: one machine needs two more.
    count: usize,
    wrong: String,
    done: &'static str,
}

/// What changes while somebody watches.
#[derive(Template)]
#[template(path = "members/list.html", block = "live")]
pub struct Live {
    view: View,
    choice: Choice,
}

/// The lines that bring in machines, one each; they are shown once.
pub struct Lines {
    /// To paste.
    commands: Vec<String>,
    /// Until when they are good.
    expires: String,
    /// What the new machines have to reach.
    seeds: Vec<String>,
}

impl Lines {
    /// To paste.
    #[must_use]
    pub fn commands(&self) -> &[String] {
        &self.commands
    }

    /// Until when they are good.
    #[must_use]
    pub fn expires(&self) -> &str {
        &self.expires
    }

    /// What the new machines have to reach.
    #[must_use]
    pub fn seeds(&self) -> &[String] {
        &self.seeds
    }
}

struct View {
    sentence: String,
    kind: &'static str,
    rows: Vec<Row>,
    all: usize,
    /// Where there are more than one page shows.
    pages: Option<Pages>,
}

/// The pages around the one that is shown.
struct Pages {
    /// Which rows this one shows, in words.
    shown: String,
    first: Option<String>,
    previous: Option<String>,
    next: Option<String>,
}

/// A word with what it means: never the colour alone.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Light {
    /// `ok`, `warn`, `bad`, or nothing.
    pub kind: &'static str,
    /// Its icon.
    pub icon: &'static str,
    /// In words.
    pub word: &'static str,
}

/// One machine.
pub struct Row {
    id: u64,
    name: String,
    /// The one that is asked.
    me: bool,
    zone: String,
    state: Light,
    link: Light,
    serving: Light,
    needs_a_look: bool,
    /// It is not there: what it said of itself is old.
    away: bool,
    since: String,
    why: String,
    drain: Option<DrainView>,
    voter: bool,
    release: String,
    figures: Option<FiguresView>,
}

/// Whether it lives.
#[must_use]
pub fn state(member: &MemberView) -> Light {
    let (kind, icon, word) = match (member.state, member.part) {
        ("up", MemberState::Leaving) => ("warn", "clock", "leaving"),
        ("up", MemberState::Joining) => ("", "clock", "joining"),
        ("up", _) => ("ok", "ok", "up"),
        ("suspect", _) => ("warn", "warn", "suspect"),
        ("leaving", _) => ("warn", "clock", "restarting"),
        ("gone", _) => ("bad", "bad", "stopped"),
        _ => ("bad", "bad", "down"),
    };
    Light { kind, icon, word }
}

/// First light: whether it is reached.
#[must_use]
pub fn link(member: &MemberView) -> Light {
    let (kind, icon, word) = match member.link {
        "good" => ("ok", "ok", "reached"),
        "broken" => ("bad", "bad", "not reached"),
        _ => ("", "clock", "not tried"),
    };
    Light { kind, icon, word }
}

/// Second light: whether it takes devices.
#[must_use]
pub fn serving(member: &MemberView) -> Light {
    // What it said last is not true of one that is down.
    let is_there = matches!(member.state, "up" | "suspect");
    let (kind, icon, word) = match member.serving {
        _ if !is_there => ("bad", "bad", "not serving"),
        "yes" => ("ok", "ok", "serving"),
        "draining" => ("warn", "pause", "draining"),
        "recovering" => ("warn", "clock", "recovering"),
        _ => ("bad", "bad", "not serving"),
    };
    Light { kind, icon, word }
}

/// Why a machine is as it is, in one sentence.
#[must_use]
pub fn why(member: &MemberView) -> String {
    if member.part == MemberState::Leaving && member.state == "up" {
        return "It gives away what it owns.".to_owned();
    }
    format!("It {}.", member.reason.strip_prefix("it ").unwrap_or(&member.reason))
}

/// Why devices are asked to go elsewhere, where that is so now.
#[must_use]
pub fn drain(member: &MemberView) -> Option<DrainView> {
    member.drain.clone().filter(|_| matches!(member.state, "up" | "suspect"))
}

/// Whether a disk is nearly full.
#[must_use]
pub fn is_low(figures: &FiguresView) -> bool {
    figures.disk_total > 0 && figures.disk_free.saturating_mul(100) / figures.disk_total < DISK_LOW_PERCENT
}

/// Per cent of a disk that are used.
#[must_use]
pub fn used_percent(figures: &FiguresView) -> u64 {
    let used = figures.disk_total.saturating_sub(figures.disk_free);
    used.saturating_mul(100).checked_div(figures.disk_total).unwrap_or(0)
}

fn row(me: NodeId, member: MemberView) -> Row {
    let (state, link, serving) = (state(&member), link(&member), serving(&member));
    let (why, drain) = (why(&member), drain(&member));
    let low = member.figures.as_ref().is_some_and(is_low);
    let good = |light: Light| matches!(light.kind, "ok" | "");
    Row {
        id: member.id.0,
        me: member.id == me,
        name: member.name,
        zone: member.zone,
        needs_a_look: low || !good(state) || !good(link) || !good(serving),
        state,
        link,
        serving,
        away: !matches!(member.state, "up" | "suspect"),
        since: member.since,
        why,
        drain,
        voter: member.voter,
        release: member.release,
        figures: member.figures,
    }
}

fn view(node: &Node, choice: &Choice) -> View {
    let me = node.who().node;
    view_of(node.members().into_iter().map(|member| row(me, member)).collect(), choice)
}

/// The page of all these machines, which are in order, that was chosen.
fn view_of(all: Vec<Row>, choice: &Choice) -> View {
    let troubled = all.iter().filter(|row| row.needs_a_look).count();
    let machines = all.len();
    let (kind, sentence) = match (machines, troubled) {
        (1, 0) => ("ok", "This is the only machine, and it is well.".to_owned()),
        (_, 0) => ("ok", format!("All {machines} machines are up, reached and serving.")),
        (_, 1) => ("warn", format!("One of {} needs a look.", show::plural(machines as u64, "machine", "machines"))),
        (_, troubled) => ("warn", format!("{troubled} of {machines} machines need a look.")),
    };
    let mut rows: Vec<Row> = all.into_iter().filter(|row| choice.takes(row)).collect();
    let begin = rows.partition_point(|row| row.id <= choice.after);
    let pages = pages(&rows, begin, choice);
    rows.truncate(begin + MEMBERS_ROWS_MAX);
    rows.drain(..begin);
    View { sentence, kind, rows, all: machines, pages }
}

fn pages(rows: &[Row], begin: usize, choice: &Choice) -> Option<Pages> {
    let end = (begin + MEMBERS_ROWS_MAX).min(rows.len());
    if begin == 0 && end == rows.len() {
        return None;
    }
    // A page begins behind the last row of the one before.
    let from = |at: usize| {
        let before = at.checked_sub(1).and_then(|before| rows.get(before));
        format!("{LIST}?{}", choice.query(before.map_or(0, |row| row.id)))
    };
    Some(Pages {
        shown: format!("{} to {end} of {}", (begin + 1).min(end), rows.len()),
        first: (begin > 0).then(|| from(0)),
        previous: (begin > 0).then(|| from(begin.saturating_sub(MEMBERS_ROWS_MAX))),
        next: (end < rows.len()).then(|| from(end)),
    })
}

/// What a live view of this choice shows.
#[must_use]
pub fn live(node: &Node, choice: Choice) -> Live {
    Live { view: view(node, &choice), choice }
}

fn blank(node: &Node, visit: &Visit, choice: Choice) -> Members {
    let page = Page { live: choice.live(), ..Page::new(node, visit, Section::Members, "Members") };
    let view = view(node, &choice);
    Members {
        page,
        count: if view.all == 1 { 2 } else { 1 },
        view,
        choice,
        may_invite: visit.caller.may(Need::Admin),
        invite: None,
        lifetime: String::new(),
        wrong: String::new(),
        done: "",
    }
}

/// `GET /members?show=&find=&after=`.
pub async fn list(State(node): State<Node>, visit: Visit, uri: Uri) -> Answer {
    let query = Query::parse(&uri, &["show", "find", "after", "done"])?;
    let words = [("removed", "The machine is removed: nobody waits for it any more.")];
    let done = page::done_of(&query, &words)?;
    let choice = Choice::of(&query)?;
    std::future::ready(page::render(&Members { done, ..blank(&node, &visit, choice) })).await
}

/// `POST /members/invite`: the page shows the line once.
pub async fn invite(State(node): State<Node>, visit: Visit, request: Request) -> Answer {
    let (parts, body) = request.into_parts();
    let form = Form::read(&node, &parts.headers, body, form::SMALL_BYTES_MAX).await?;
    let made = match form.text("count").parse() {
        Ok(count @ 1..=INVITES_AT_ONCE) => try_invite(&node, &visit, &form, count, None).await,
        Ok(_) | Err(_) => {
            let detail = format!("machines: from 1 to {INVITES_AT_ONCE}; nothing was changed");
            Err(Problem::unprocessable("out_of_range", detail))
        }
    };
    match made {
        Ok(lines) => page::render(&Members { invite: Some(lines), ..blank(&node, &visit, Choice::default()) }),
        Err(problem) => {
            let (lifetime, wrong) = (form.text("ttl").to_owned(), show::sentence(&problem.detail));
            page::render_refused(&problem, &Members { lifetime, wrong, ..blank(&node, &visit, Choice::default()) })
        }
    }
}

/// Invites, in the place of a machine where one is named.
async fn try_invite(
    node: &Node,
    visit: &Visit,
    form: &Form,
    count: usize,
    replaces: Option<&str>,
) -> Result<Lines, Problem> {
    let ttl = Duration::from_millis(query::ttl_ms("ttl", form.text("ttl"))?);
    let mut lines = Lines { commands: Vec::new(), expires: String::new(), seeds: Vec::new() };
    for _each in 0..count {
        let Invitation { token, expires_ms, seeds } = node.invite(&visit.caller, ttl, replaces).await?;
        lines.commands.push(format!("ringfort run --join {token}"));
        (lines.expires, lines.seeds) = (time::rfc3339(expires_ms), seeds);
    }
    Ok(lines)
}

#[cfg(test)]
mod tests;
