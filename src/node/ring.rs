//! Who owns what, for people: the layout of every partition, how far a change of owners has come, and what this node still
//! has to merge. What is staged and ordered is [`crate::node::plan`]'s.

use serde::Serialize;

use crate::base::id::NodeId;
use crate::base::id::PartitionId;
use crate::base::time;
use crate::node::Node;
use crate::node::cluster::View;
use crate::node::whereabouts::phase_of;
use crate::proto::control::members::Member;
use crate::proto::ring::layout::Layout;
use crate::proto::ring::layout::List;
use crate::proto::ring::layout::Slot;
use crate::proto::ring::standing::Standing;
use crate::proto::ring::standing::Stands;
use crate::proto::ring::standing::standing;

/// Within so many of a list a node counts as an owner here: the default of buckets, as in a plan's preview.
const COUNTED: usize = 3;

/// The layout, as this node knows it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct RingView {
    /// Rises with every change of a rule.
    pub version: u64,
    /// The version in which it was last decided who is to own what.
    pub planned: u64,
    /// Whether no partition is in a transition.
    pub at_rest: bool,
    /// How many partitions are in which phase.
    pub phases: Phases,
    /// Who takes part.
    pub nodes: Vec<ShareView>,
    /// All 256.
    pub partitions: Vec<PartitionView>,
    /// What this node has still to merge.
    pub handoff: HandoffView,
    /// How many partitions stand how, for buckets that promise to read what was acked; null where there is none.
    pub strict: Option<StandingCounts>,
    /// The same for the weak ones.
    pub weak: Option<StandingCounts>,
    /// What is on its way, by who gets it.
    pub transfers: Vec<TransferView>,
    /// Why it waits, where it does.
    pub pause: Option<PauseView>,
}

/// How many partitions stand how.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize)]
pub struct StandingCounts {
    /// Every owner is there, with all of its data.
    pub whole: usize,
    /// Every request is answered, by fewer than N owners.
    pub below: usize,
    /// Some requests are not answered.
    pub lost: usize,
}

/// What comes to one node.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct TransferView {
    /// Who gets it.
    pub to: NodeId,
    /// Its name.
    pub name: String,
    /// Whether it is there to take it.
    pub up: bool,
    /// Partitions that it has still to merge.
    pub partitions: usize,
    /// Bytes of objects that came to it since it started; null where it did not say.
    pub bytes: Option<u64>,
    /// Bytes a second, over the last few.
    pub bytes_per_s: Option<u64>,
    /// Seconds until it is done, by the pace so far.
    pub eta_s: Option<u64>,
}

/// Why partitions on their way wait.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct PauseView {
    /// For people.
    pub reason: String,
    /// Since when.
    pub since: String,
    /// When it ends by itself.
    pub until: String,
}

/// Partitions by phase.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize)]
pub struct Phases {
    /// At rest.
    pub settled: usize,
    /// Old and new owners are written to, old ones are read.
    pub both: usize,
    /// Old and new owners are written to, new ones are read.
    pub read_next: usize,
}

/// A node's part.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct ShareView {
    /// The node.
    pub id: NodeId,
    /// Its name.
    pub name: String,
    /// Where it stands.
    pub zone: String,
    /// Partitions within whose first three owners it is.
    pub owns: usize,
    /// Partitions that it is to own and does not yet.
    pub comes: usize,
    /// The highest version that it has noted durably; null before its first report.
    pub adopted: Option<u64>,
}

/// A partition.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct PartitionView {
    /// From 0.
    pub id: PartitionId,
    /// The version in which its rules last changed.
    pub epoch: u64,
    /// `settled`, `both`, `read_next`.
    pub phase: &'static str,
    /// `whole`, `below`, `lost`: for buckets that promise to read what was acked; null where there is none.
    pub strict: Option<&'static str>,
    /// The same for the weak ones.
    pub weak: Option<&'static str>,
    /// Its owners.
    pub now: ListView,
    /// Those that come.
    pub next: Option<ListView>,
}

/// Owners in order of preference.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct ListView {
    /// Who.
    pub owners: Vec<NodeId>,
    /// Who of them counts in reads.
    pub synced: Vec<NodeId>,
    /// Whether lost ones were struck from it, so that everything needs all who are left.
    pub struck: bool,
}

/// What this node has still to merge.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct HandoffView {
    /// The node that says this.
    pub node: NodeId,
    /// Partitions.
    pub partitions: usize,
    /// Bytes of objects that came since it started.
    pub bytes: u64,
    /// Seconds until it is done, by the pace so far; null where nothing is to be done, or none is done yet.
    pub eta_s: Option<u64>,
}

impl Node {
    /// Who owns what.
    #[must_use]
    pub fn ring(&self) -> RingView {
        let view = self.view();
        let layout: &Layout = &view.state.layout;
        let stands = standing(layout, &self.live(), &view.state.numbers());
        let partition = |((id, slot), stands): ((PartitionId, &Slot), &Stands)| {
            let next = slot.next.as_ref().map(|next| list_view(&next.list));
            let (strict, weak) = (stands.strict.map(in_word), stands.weak.map(in_word));
            PartitionView {
                id,
                epoch: slot.epoch,
                phase: phase_of(slot),
                strict,
                weak,
                now: list_view(&slot.now),
                next,
            }
        };
        let partitions: Vec<_> = layout.slots().zip(&stands).map(partition).collect();
        let leaving = layout.leaving.iter().map(|(id, zone)| (*id, zone.clone()));
        let mut nodes: Vec<_> = layout.nodes.iter().map(|(id, node)| (*id, node.zone.clone())).chain(leaving).collect();
        nodes.sort_unstable();
        let name = |id: NodeId| view.state.members.get(&id).map(|member| member.name.clone()).unwrap_or_default();
        let share = |(id, zone): (NodeId, String)| ShareView {
            id,
            name: name(id),
            zone,
            owns: partitions.iter().filter(|partition| is_among(&partition.now, id)).count(),
            comes: partitions
                .iter()
                .filter(|partition| partition.next.as_ref().is_some_and(|next| is_among(next, id)))
                .filter(|partition| !is_among(&partition.now, id))
                .count(),
            adopted: layout.adopted.get(&id).copied(),
        };
        let nodes = nodes.into_iter().map(share).collect();
        let (phases, handoff) = (phases_of(layout), self.handoff_view());
        let (version, planned, at_rest) = (layout.version, layout.planned, layout.is_at_rest());
        let (strict, weak) = (counts(stands.iter().map(|one| one.strict)), counts(stands.iter().map(|one| one.weak)));
        let transfers = self.transfers(&view);
        let pause = self.handoff_pause().map(|pause| PauseView {
            reason: pause.reason,
            since: time::rfc3339(pause.since_ms),
            until: time::rfc3339(pause.until_ms),
        });
        RingView { version, planned, at_rest, phases, nodes, partitions, handoff, strict, weak, transfers, pause }
    }

    /// What each node has still to merge: how much is seen from the layout, how fast it comes it says itself.
    fn transfers(&self, view: &View) -> Vec<TransferView> {
        let (numbers, live) = (view.state.numbers(), self.live());
        let left = |node: NodeId| {
            view.state.layout.slots().filter(|(_, slot)| !slot.sources(node, &numbers).is_empty()).count()
        };
        let there = view.state.members.iter().filter(|(id, _)| view.state.member(**id).is_some());
        let of_node = |(id, member): (&NodeId, &Member)| {
            let partitions = Some(left(*id)).filter(|left| *left > 0)?;
            let told = self.figures_of(*id).map(|told| told.handoff);
            Some(TransferView {
                to: *id,
                name: member.name.clone(),
                up: live.contains(id),
                partitions,
                bytes: told.map(|told| told.bytes),
                bytes_per_s: told.map(|told| told.bytes_per_s),
                eta_s: told.and_then(|told| told.eta_s),
            })
        };
        there.filter_map(of_node).collect()
    }

    fn handoff_view(&self) -> HandoffView {
        let progress = self.handoff_progress();
        HandoffView {
            node: self.who().node,
            partitions: progress.slots,
            bytes: progress.bytes,
            eta_s: progress.eta.map(|eta| eta.as_secs()),
        }
    }
}

fn in_word(standing: Standing) -> &'static str {
    match standing {
        Standing::Whole => "whole",
        Standing::Below => "below",
        Standing::Lost => "lost",
    }
}

fn counts(all: impl Iterator<Item = Option<Standing>>) -> Option<StandingCounts> {
    let (mut counts, mut any) = (StandingCounts::default(), false);
    for standing in all.flatten() {
        any = true;
        *match standing {
            Standing::Whole => &mut counts.whole,
            Standing::Below => &mut counts.below,
            Standing::Lost => &mut counts.lost,
        } += 1;
    }
    any.then_some(counts)
}

pub(super) fn phases_of(layout: &Layout) -> Phases {
    let mut phases = Phases::default();
    for (_, slot) in layout.slots() {
        match &slot.next {
            None => phases.settled += 1,
            Some(next) if next.reads.is_none() => phases.both += 1,
            Some(_) => phases.read_next += 1,
        }
    }
    phases
}

fn list_view(list: &List) -> ListView {
    ListView { owners: list.owners.clone(), synced: list.synced.clone(), struck: list.struck }
}

/// Whether a node is within the first three of a list.
#[must_use]
pub fn is_among(list: &ListView, node: NodeId) -> bool {
    list.owners.iter().take(COUNTED).any(|owner| *owner == node)
}
