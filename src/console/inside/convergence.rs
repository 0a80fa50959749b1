//! `/convergence`: whether all machines hold the same, what differs and since when, and when it will have healed; from any
//! machine for all of them.

use std::collections::BTreeMap;

use askama::Template;
use axum::extract::State;

use crate::base::id::NodeId;
use crate::base::limits::CONVERGENCE_ROWS_MAX;
use crate::base::limits::MEMBERS_ROWS_MAX;
use crate::console::members::Light;
use crate::console::page;
use crate::console::page::Answer;
use crate::console::page::Page;
use crate::console::page::Section;
use crate::console::page::Visit;
use crate::console::show;
use crate::node::Node;
use crate::node::repair::nodes::NodeConvergence;
use crate::node::repair::view::Convergence;
use crate::node::repair::view::Done;
use crate::node::repair::view::PartitionConvergence;
use crate::proto::agree::Part;
use crate::proto::agree::Verdict;

#[cfg(test)]
mod tests;

/// The page.
pub const CONVERGENCE: &str = "/convergence";

/// Where its live figures come from.
const LIVE: &str = "/live?view=convergence";

/// What is shown of a digest: enough to see whether two are the same.
const DIGEST_LETTERS: usize = 8;

#[derive(Template)]
#[template(path = "inside/convergence.html")]
struct Whole {
    page: Page,
    view: View,
}

/// What changes while somebody watches.
#[derive(Template)]
#[template(path = "inside/convergence.html", block = "live")]
pub struct Live {
    view: View,
}

struct View {
    kind: &'static str,
    sentence: String,
    /// The machine that says all this.
    me: String,
    rows: Vec<NodeConvergence>,
    more_rows: usize,
    partitions: Vec<Row>,
    more_partitions: usize,
    owns: usize,
    done: Done,
    healed_s: Option<u64>,
}

/// A partition that differs, or that was written to since it was looked through.
struct Row {
    id: u8,
    /// The owners from which it differs, by name, and for how many seconds.
    differs: Vec<(String, u64)>,
    keys: u64,
    /// Seconds since it was found to be the same with all that it was compared with; none where it never was.
    same_s: Option<u64>,
}

/// How a machine stands, in words.
#[must_use]
pub fn light(row: &NodeConvergence) -> Light {
    let is_split = row.differs_in.iter().any(|part| matches!(part, Part::Control | Part::Layout));
    let (kind, icon, word) = match row.verdict {
        Verdict::Same => ("ok", "ok", "same"),
        Verdict::Behind => ("warn", "clock", "behind"),
        Verdict::Differs if is_split => ("bad", "bad", "differs"),
        Verdict::Differs => ("warn", "warn", "differs"),
        Verdict::Silent => ("bad", "bad", "silent"),
    };
    Light { kind, icon, word }
}

/// What stands behind that word.
#[must_use]
pub fn why(row: &NodeConvergence) -> String {
    let in_words = |part: &Part| match part {
        Part::Control => "the control state: another history",
        Part::Layout => "who owns what",
        Part::Members => "who is there",
        Part::Data => "data, compared with another owner",
    };
    match row.verdict {
        Verdict::Same => String::new(),
        Verdict::Behind => format!("by {}", show::plural(row.behind, "change", "changes")),
        Verdict::Differs => format!("in {}", row.differs_in.iter().map(in_words).collect::<Vec<_>>().join("; ")),
        Verdict::Silent => match row.said_s {
            Some(said_s) => format!("last word {} ago", show::duration(said_s)),
            None => "it has not said yet what it holds".to_owned(),
        },
    }
}

/// A digest, cut to what is compared by eye.
#[must_use]
pub fn short(digest: &str) -> &str {
    digest.get(..DIGEST_LETTERS).unwrap_or(digest)
}

/// Seconds as half a sentence: `14 s`, `3 min`.
#[must_use]
pub fn seconds(seconds: &u64) -> String {
    show::duration(*seconds)
}

fn view(node: &Node) -> View {
    let Convergence { nodes, partitions, done, healed_s, .. } = node.convergence();
    let (kind, sentence) = sentence(&nodes);
    let names: BTreeMap<NodeId, &str> = nodes.iter().map(|row| (row.id, row.name.as_str())).collect();
    let needs_a_look = |partition: &&PartitionConvergence| {
        !partition.settled || partition.others.iter().any(|other| other.differs_s.is_some())
    };
    let mut open: Vec<Row> = partitions.iter().filter(needs_a_look).map(|partition| of(partition, &names)).collect();
    // Those that differ first, the oldest difference before all.
    open.sort_by_key(|row| std::cmp::Reverse(row.differs.iter().map(|(_, since_s)| *since_s).max()));
    let (all, owns) = (nodes.len(), partitions.len());
    let mut rows = nodes;
    if all > MEMBERS_ROWS_MAX {
        rows.sort_by_key(|row| row.verdict == Verdict::Same);
        rows.truncate(MEMBERS_ROWS_MAX);
    }
    let more_partitions = open.len().saturating_sub(CONVERGENCE_ROWS_MAX);
    open.truncate(CONVERGENCE_ROWS_MAX);
    View {
        kind,
        sentence,
        me: node.who().name.clone(),
        more_rows: all.saturating_sub(MEMBERS_ROWS_MAX),
        rows,
        partitions: open,
        more_partitions,
        owns,
        done,
        healed_s,
    }
}

fn of(partition: &PartitionConvergence, names: &BTreeMap<NodeId, &str>) -> Row {
    let name = |id: &NodeId| names.get(id).map_or_else(|| "removed".to_owned(), |name| (*name).to_owned());
    let same: Option<Vec<u64>> = partition.others.iter().map(|other| other.same_s).collect();
    Row {
        id: partition.id.0,
        differs: partition.others.iter().filter_map(|other| Some((name(&other.node), other.differs_s?))).collect(),
        keys: partition.keys,
        same_s: same.and_then(|same| same.into_iter().max()),
    }
}

/// The worst that there is to say, in one sentence.
fn sentence(nodes: &[NodeConvergence]) -> (&'static str, String) {
    let named = |fits: &dyn Fn(&NodeConvergence) -> bool| -> Option<String> {
        let names: Vec<&str> = nodes.iter().filter(|row| fits(row)).map(|row| row.name.as_str()).collect();
        match names.as_slice() {
            [] => None,
            [one] => Some(format!("Machine {one}")),
            [first @ .., last] => Some(format!("Machines {} and {last}", first.join(", "))),
        }
    };
    let have =
        |names: &str, one: &'static str, many: &'static str| if names.starts_with("Machines") { many } else { one };
    let in_part = |part: Part| move |row: &NodeConvergence| row.differs_in.contains(&part);
    if let Some(names) = named(&|row| in_part(Part::Control)(row) || in_part(Part::Layout)(row)) {
        let another = have(&names, "has another history", "have other histories");
        return ("bad", format!("{names} {another} of the control state than others: this must never be."));
    }
    if let Some(names) = named(&|row| row.verdict == Verdict::Silent) {
        let says = have(&names, "is silent: what it holds", "are silent: what they hold");
        return ("warn", format!("{names} {says} is not known."));
    }
    if let Some(sentence) = of_data(nodes) {
        return ("warn", sentence);
    }
    if let Some(names) = named(&|row| row.verdict == Verdict::Behind) {
        let furthest = nodes.iter().map(|row| row.behind).max().unwrap_or(0);
        let is = have(&names, "is behind by", "are behind by up to");
        return ("warn", format!("{names} {is} {}.", show::plural(furthest, "change", "changes")));
    }
    if let Some(names) = named(&|row| row.verdict == Verdict::Differs) {
        let sees = have(&names, "does", "do");
        return ("warn", format!("{names} {sees} not see the same machines as there."));
    }
    if let Some(names) = named(&|row| row.data.is_none()) {
        let looks = have(
            &names,
            "is looking through what it holds: until then it is",
            "are looking through what they hold: until then they are",
        );
        return ("info", format!("{names} {looks} not compared."));
    }
    let all = match nodes.len() {
        0 | 1 => "This is the only machine: there is nobody to compare it with.".to_owned(),
        2 => "Both machines hold the same.".to_owned(),
        all => format!("All {all} machines hold the same."),
    };
    ("ok", all)
}

/// How much data differs, since when, and when no more; none where none does.
fn of_data(nodes: &[NodeConvergence]) -> Option<String> {
    let differing: Vec<&NodeConvergence> = nodes.iter().filter(|row| row.differs_in.contains(&Part::Data)).collect();
    // Both nodes of a pair count it, one of them a moment before the other.
    let pairs = differing.iter().filter_map(|row| row.differing).map(u64::from).sum::<u64>().div_ceil(2);
    let since = differing.iter().filter_map(|row| row.oldest_s).max();
    if pairs == 0 {
        return None;
    }
    let heals = differing.iter().map(|row| row.heals_s).collect::<Option<Vec<u64>>>();
    let (noun, verb) = if pairs == 1 { ("pair", "differs") } else { ("pairs", "differ") };
    let since = since.map(|since_s| format!(" since {}", show::duration(since_s))).unwrap_or_default();
    let ends = match heals.and_then(|heals| heals.into_iter().max()) {
        Some(heals_s) => format!("equal in about {}", show::duration(heals_s)),
        None => "equal once all of their owners are there".to_owned(),
    };
    Some(format!("{} {noun} of copies {verb}{since}; {ends}.", show::count(pairs)))
}

/// What a live view of it shows.
#[must_use]
pub fn live(node: &Node) -> Live {
    Live { view: view(node) }
}

/// `GET /convergence`.
pub async fn show(State(node): State<Node>, visit: Visit) -> Answer {
    let page = Page { live: LIVE.to_owned(), ..Page::new(&node, &visit, Section::Inside, "Convergence") };
    std::future::ready(page::render(&Whole { page, view: view(&node) })).await
}
