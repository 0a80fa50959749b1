//! The ring as a drawing: 256 partitions around a circle, one band for each of the first three owners, and outside of them
//! what needs a look. Every machine has a pattern as well as a colour.
//!
//! A machine's arcs in one band are one circle with dashes: its length is declared as 256, so a dash of one is a partition.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use crate::base::id::NodeId;
use crate::base::limits::PARTITIONS;
use crate::node::ring::PartitionView;
use crate::node::ring::RingView;

/// Owners that are drawn, the first one outside.
const BANDS: [(&str, &str); 3] = [("First owner", "88"), ("Second owner", "76"), ("Third owner", "64")];
/// Colours there are in the style sheet, and patterns in the page.
const STYLES: usize = 6;

/// Arcs of one look in one band.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Arc {
    /// Its circle.
    pub radius: &'static str,
    /// Its colour, as a class.
    pub class: String,
    /// Its pattern; empty for none.
    pub pattern: String,
    /// Which partitions.
    pub dashes: String,
}

/// How a machine is drawn.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Look {
    /// Of [`STYLES`] colours.
    pub colour: usize,
    /// Of [`STYLES`] patterns.
    pub pattern: usize,
}

impl Look {
    /// The first 36 machines look different, each of the first six in colour and in pattern.
    #[must_use]
    pub fn of(index: usize) -> Self {
        Self { colour: index % STYLES, pattern: (index + index / STYLES) % STYLES }
    }

    /// The pattern's name in the page.
    #[must_use]
    pub fn name(self) -> String {
        format!("l{}{}", self.colour, self.pattern)
    }

    /// The colour's class in the style sheet.
    #[must_use]
    pub fn class(self) -> String {
        format!("c{}", self.colour + 1)
    }

    /// What is drawn in full in a cell of 4 by 4: all of it, half of it, dots, a thin line, a grid, thick lines.
    #[must_use]
    pub fn marks(self) -> &'static str {
        match self.pattern {
            0 => "M0 0h4v4H0z",
            1 => "M0 0h1.8v4H0z",
            2 => "M.7 2a1.3 1.3 0 1 0 2.600 0 1.3 1.3 0 1 0-2.600 0z",
            3 => "M0 0h.9v4H0z",
            4 => "M0 0h1v4H0zM0 0h4v1H0z",
            _ => "M0 0h4v2.2H0z",
        }
    }

    /// By how much the cells are turned.
    #[must_use]
    pub fn degrees(self) -> &'static str {
        match self.pattern {
            1 | 4 => "45",
            3 => "-45",
            _ => "0",
        }
    }
}

/// One partition: what is pointed at.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Wedge {
    /// Which.
    pub id: u8,
    /// Its owners and how it stands.
    pub title: String,
    /// Degrees, clockwise from the top.
    pub degrees: String,
}

/// The drawing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Drawing {
    /// Looks that are used.
    pub looks: Vec<Look>,
    /// Owners.
    pub arcs: Vec<Arc>,
    /// What needs a look, outside.
    pub marks: Vec<Arc>,
    /// All partitions.
    pub wedges: Vec<Wedge>,
}

/// The look of every machine that takes part, in order.
#[must_use]
pub fn looks(ring: &RingView) -> BTreeMap<NodeId, Look> {
    ring.nodes.iter().enumerate().map(|(index, share)| (share.id, Look::of(index))).collect()
}

/// Draws a layout; where a machine is chosen, the others are pale.
#[must_use]
pub fn draw(ring: &RingView, names: &BTreeMap<NodeId, String>, chosen: Option<NodeId>) -> Drawing {
    let looks = looks(ring);
    let mut arcs = Vec::new();
    for (band, (_, radius)) in BANDS.iter().enumerate() {
        let mut of_look = BTreeMap::<(&str, Look), Vec<usize>>::new();
        for (at, partition) in ring.partitions.iter().enumerate() {
            if let Some((owner, comes)) = owners(partition).nth(band)
                && let Some(look) = looks.get(&owner)
            {
                let shade = match (chosen, comes) {
                    (Some(chosen), _) if chosen != owner => " pale",
                    (_, true) => " comes",
                    (_, false) => "",
                };
                of_look.entry((shade, *look)).or_default().push(at);
            }
        }
        arcs.extend(of_look.into_iter().map(|((shade, look), at)| Arc {
            radius,
            class: format!("{}{shade}", look.class()),
            pattern: look.name(),
            dashes: dashes(&at),
        }));
    }
    let mut used: Vec<_> = looks.into_values().collect();
    used.sort_unstable();
    used.dedup();
    Drawing { looks: used, arcs, marks: marks(ring), wedges: wedges(ring, names) }
}

/// Those who own it, then those who come.
fn owners(partition: &PartitionView) -> impl Iterator<Item = (NodeId, bool)> {
    let now = &partition.now.owners;
    let next = partition.next.iter().flat_map(|next| &next.owners).filter(|owner| !now.contains(owner));
    now.iter().map(|owner| (*owner, false)).chain(next.map(|owner| (*owner, true)))
}

fn marks(ring: &RingView) -> Vec<Arc> {
    let mark = |class: &str, is: fn(&PartitionView) -> bool| {
        let all = ring.partitions.iter().enumerate().filter(|(_, partition)| is(partition));
        let at: Vec<usize> = all.map(|(at, _)| at).collect();
        (!at.is_empty()).then(|| Arc {
            radius: "97.5",
            class: class.to_owned(),
            pattern: String::new(),
            dashes: dashes(&at),
        })
    };
    let moves = mark("moves", |partition| worst(partition) == "whole" && partition.next.is_some());
    let below = mark("below", |partition| worst(partition) == "below");
    let lost = mark("lost", |partition| worst(partition) == "lost");
    [moves, below, lost].into_iter().flatten().collect()
}

/// How a partition stands for the buckets for which it stands worst.
#[must_use]
pub fn worst(partition: &PartitionView) -> &'static str {
    let either = [partition.strict, partition.weak];
    ["lost", "below"].into_iter().find(|word| either.contains(&Some(*word))).unwrap_or("whole")
}

fn wedges(ring: &RingView, names: &BTreeMap<NodeId, String>) -> Vec<Wedge> {
    let name = |node: &NodeId| names.get(node).cloned().unwrap_or_else(|| node.to_string());
    let wedge = |(at, partition): (usize, &PartitionView)| {
        let owners: Vec<_> = partition.now.owners.iter().take(BANDS.len()).map(name).collect();
        let mut title = format!("{at}: {}", owners.join(", "));
        let more = match worst(partition) {
            "lost" => "; quorum lost",
            "below" => "; below N",
            _ if partition.next.is_some() => "; moving",
            _ => "",
        };
        title.push_str(more);
        Wedge { id: partition.id.0, title, degrees: degrees(at) }
    };
    ring.partitions.iter().enumerate().map(wedge).collect()
}

/// Where a partition begins: 360/256 degrees for each.
fn degrees(at: usize) -> String {
    let thousandths = at * 360_000 / PARTITIONS;
    let text = format!("{}.{:03}", thousandths / 1000, thousandths % 1000);
    text.trim_end_matches('0').trim_end_matches('.').to_owned()
}

/// A dash for each run of neighbours, a gap between them; an even number of lengths that are 256 in all, so that they
/// are not repeated otherwise. `at` is sorted.
fn dashes(at: &[usize]) -> String {
    let (mut text, mut end) = (String::new(), 0);
    let mut rest = at;
    let mut first = true;
    while let Some(&begin) = rest.first() {
        let run = rest.iter().zip(begin..).take_while(|(at, expected)| **at == *expected).count();
        if first && begin > 0 {
            text.push('0');
        }
        let gap = if first && begin == 0 { String::new() } else { format!(" {} ", begin - end) };
        let _written = write!(text, "{gap}{run}");
        end = begin + run;
        rest = rest.get(run..).unwrap_or_default();
        first = false;
    }
    let _written = write!(text, " {}", PARTITIONS - end);
    text
}

#[cfg(test)]
mod tests {
    use super::Look;
    use super::dashes;
    use super::degrees;

    #[test]
    fn dashes_are_the_runs_and_go_around_once() {
        assert_eq!(dashes(&[0, 1, 2, 9]), "3 6 1 246");
        assert_eq!(dashes(&[4, 5, 255]), "0 4 2 249 1 0");
        assert_eq!(dashes(&(0..256).collect::<Vec<_>>()), "256 0");
        for at in [&[0, 1, 2, 9][..], &[4, 5, 255], &[255], &[0]] {
            let lengths: Vec<usize> = dashes(at).split(' ').map(|length| length.parse().unwrap()).collect();
            assert_eq!((lengths.iter().sum::<usize>(), lengths.len() % 2), (256, 0), "{lengths:?}");
        }
    }

    #[test]
    fn a_partition_begins_where_the_one_before_it_ends() {
        assert_eq!([degrees(0), degrees(1), degrees(64), degrees(255)], ["0", "1.406", "90", "358.593"]);
    }

    #[test]
    fn machines_look_different_in_pattern_and_in_colour() {
        let looks: std::collections::BTreeSet<_> = (0..36).map(Look::of).collect();
        assert_eq!(looks.len(), 36);
        let patterns: std::collections::BTreeSet<_> = (0..6).map(|index| Look::of(index).pattern).collect();
        assert_eq!(patterns.len(), 6);
    }
}
