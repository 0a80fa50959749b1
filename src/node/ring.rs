//! Who owns what, for people: the layout of every partition, how far a change of owners has come, and what this node still
//! has to merge. What is staged and ordered is [`crate::node::plan`]'s.

use serde::Serialize;

use crate::base::id::NodeId;
use crate::base::id::PartitionId;
use crate::node::Node;
use crate::node::whereabouts::phase_of;
use crate::proto::ring::layout::Layout;
use crate::proto::ring::layout::List;

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
        let partitions: Vec<_> = layout
            .slots()
            .map(|(id, slot)| {
                let next = slot.next.as_ref().map(|next| list_view(&next.list));
                PartitionView { id, epoch: slot.epoch, phase: phase_of(slot), now: list_view(&slot.now), next }
            })
            .collect();
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
        RingView { version, planned, at_rest, phases, nodes, partitions, handoff }
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

fn is_among(list: &ListView, node: NodeId) -> bool {
    list.owners.iter().take(COUNTED).any(|owner| *owner == node)
}
