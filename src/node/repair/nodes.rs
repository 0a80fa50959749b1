//! What this node holds in short, for the others, and what each of them says that it holds: by this one sees from any node
//! whether all of them agree.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use serde::Serialize;

use crate::base::id::NodeId;
use crate::base::id::PartitionId;
use crate::node::Node;
use crate::node::cluster::View;
use crate::node::cluster::now_ms;
use crate::node::repair::lock;
use crate::node::repair::view::PartitionConvergence;
use crate::proto::agree;
use crate::proto::agree::Judged;
use crate::proto::agree::Part;
use crate::proto::agree::Said;
use crate::proto::agree::Verdict;
use crate::proto::control::State;
use crate::proto::control::members::MemberState;
use crate::proto::exchange::heals::Backlog;
use crate::proto::member::words::Digests;

/// What a node says of what it holds, and how that stands to what the others say. Where it is silent, what it said last; null
/// where it never did.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct NodeConvergence {
    /// Its number.
    pub id: NodeId,
    /// Its name.
    pub name: String,
    /// How it stands.
    pub verdict: Verdict,
    /// In what it differs: from most of the nodes with which it can be compared, and of data from another owner.
    pub differs_in: Vec<Part>,
    /// Control commands that another node has applied and this one has not.
    pub behind: u64,
    /// Seconds since it said something new.
    pub said_s: Option<u64>,
    /// The last control command that it has applied.
    pub applied: Option<u64>,
    /// The last one that is in its digests: those of the same one can be compared.
    pub digested: Option<u64>,
    /// A digest of the control state.
    pub control: Option<String>,
    /// The version of who owns what.
    pub layout_version: Option<u64>,
    /// A digest of who owns what.
    pub layout: Option<String>,
    /// A digest of who was admitted and is seen as there.
    pub members: Option<String>,
    /// A digest of all that it holds as an owner: the same on nodes that own the same partitions.
    pub data: Option<String>,
    /// Pairs of a partition and another owner that are not the same.
    pub differing: Option<u32>,
    /// Seconds since the oldest of these differences was found.
    pub oldest_s: Option<u64>,
    /// Partitions that it owns and has not looked through since the last write to them.
    pub unsettled: Option<u32>,
    /// Seconds until nothing of it differs, as it reckons.
    pub heals_s: Option<u64>,
}

/// Digests that are made anew only where the state is another one.
#[derive(Debug)]
pub(super) struct Digested {
    state: Arc<State>,
    control: u64,
    layout: u64,
}

/// What is known of a node beside its name.
struct Heard {
    is_there: bool,
    said_s: Option<u64>,
    release: String,
    applied: u64,
    layout_version: u64,
    digests: Digests,
}

/// As a digest is shown.
pub(super) fn in_hex(digest: u64) -> String {
    format!("{digest:016x}")
}

fn narrow(count: usize) -> u32 {
    u32::try_from(count).unwrap_or(u32::MAX)
}

impl Node {
    /// What this node holds, in short.
    pub(in crate::node) fn digests_now(&self) -> Digests {
        self.digests_of(&self.partitions_compared())
    }

    pub(super) fn digests_of(&self, partitions: &[PartitionConvergence]) -> Digests {
        let view = self.view();
        let (control, layout) = self.digests_of_control(&view);
        let others = partitions.iter().flat_map(|partition| &partition.others);
        let differing: Vec<u64> = others.filter_map(|other| other.differs_s).collect();
        Digests {
            applied: view.index,
            control,
            layout,
            members: self.digest_of_members(),
            data: self.digest_of_all(partitions),
            differing: narrow(differing.len()),
            oldest_s: differing.into_iter().max(),
            unsettled: narrow(partitions.iter().filter(|partition| !partition.settled).count()),
            heals_s: self.heals_s(),
        }
    }

    /// Of who was admitted, and whether this node sees them as there.
    pub(in crate::node) fn digest_of_members(&self) -> u64 {
        let (state, live) = (self.state(), self.live());
        let members: Vec<(NodeId, bool)> = admitted(&state).map(|(id, _)| (id, live.contains(&id))).collect();
        agree::digest(&members)
    }

    fn digests_of_control(&self, view: &View) -> (u64, u64) {
        let mut digested = lock(&self.0.cluster.repair.digested);
        if let Some(known) = digested.as_ref().filter(|known| Arc::ptr_eq(&known.state, &view.state)) {
            return (known.control, known.layout);
        }
        let (control, layout) = (agree::digest(&*view.state), agree::digest(&view.state.layout));
        *digested = Some(Digested { state: Arc::clone(&view.state), control, layout });
        (control, layout)
    }

    /// Seconds until nothing differs between this node and the other owners; none where nothing does, or one of those is not
    /// there.
    pub(super) fn heals_s(&self) -> Option<u64> {
        let (repair, now) = (&self.0.cluster.repair, now_ms());
        let differing: Vec<(PartitionId, NodeId, u64)> = lock(&repair.ledger)
            .standings()
            .filter_map(|(partition, other, standing)| Some((partition, other, standing.differs_since_ms?)))
            .collect();
        let (since_ms, live) = (differing.iter().map(|(.., since_ms)| *since_ms).max()?, self.live());
        if differing.iter().any(|(_, other, _)| !live.contains(other)) {
            return None;
        }
        let surveys = lock(&repair.surveys);
        let bytes_of = |partition: &PartitionId| surveys.get(partition).map_or(0, |survey| survey.bytes);
        let partitions: BTreeSet<PartitionId> = differing.iter().map(|(partition, ..)| *partition).collect();
        let backlog = Backlog {
            pairs: differing.len(),
            pair_bytes: differing.iter().map(|(partition, ..)| bytes_of(partition)).sum(),
            bytes: partitions.iter().map(bytes_of).sum(),
            since_ms,
        };
        let next_round_ms = repair.next_round_ms.load(Ordering::Relaxed).saturating_sub(now);
        Some(backlog.heals_in_ms(now, next_round_ms).div_ceil(1000))
    }

    /// Every node, by what it says of itself; `mine` is what this one does now.
    pub(super) fn nodes_compared(&self, mine: Digests) -> Vec<NodeConvergence> {
        let state = self.state();
        let rows: Vec<(NodeId, &str, Option<Heard>)> =
            admitted(&state).map(|(id, name)| (id, name, self.heard_of(id, mine))).collect();
        let said: Vec<Option<Said<'_>>> = rows.iter().map(|(.., heard)| said(heard.as_ref())).collect();
        let judged = agree::judge(&said);
        rows.iter().zip(judged).map(|((id, name, heard), judged)| row(*id, name, heard.as_ref(), judged)).collect()
    }

    fn heard_of(&self, id: NodeId, mine: Digests) -> Option<Heard> {
        if id == self.who().node {
            let view = self.view();
            return Some(Heard {
                is_there: true,
                said_s: Some(0),
                release: env!("CARGO_PKG_VERSION").to_owned(),
                applied: view.index,
                layout_version: view.state.layout.version,
                digests: mine,
            });
        }
        let sight = self.sight();
        let seen = sight.get(&id)?;
        let news = seen.news.as_ref()?;
        Some(Heard {
            is_there: self.live().contains(&id),
            said_s: seen.said_ms.map(|said_ms| now_ms().saturating_sub(said_ms) / 1000),
            release: news.release.clone(),
            applied: news.applied,
            layout_version: news.layout,
            digests: news.digests?,
        })
    }
}

/// Those who are not removed, in order, with their names.
fn admitted(state: &State) -> impl Iterator<Item = (NodeId, &str)> {
    let there = state.members.iter().filter(|(_, member)| member.state != MemberState::Removed);
    there.map(|(id, member)| (*id, member.name.as_str()))
}

fn said(heard: Option<&Heard>) -> Option<Said<'_>> {
    let heard = heard.filter(|heard| heard.is_there)?;
    Some(Said { release: &heard.release, applied: heard.applied, digests: heard.digests })
}

fn row(id: NodeId, name: &str, heard: Option<&Heard>, judged: Judged) -> NodeConvergence {
    let digests = heard.map(|heard| heard.digests);
    let Judged { verdict, differs_in, behind } = judged;
    NodeConvergence {
        id,
        name: name.to_owned(),
        verdict,
        differs_in,
        behind,
        said_s: heard.and_then(|heard| heard.said_s),
        applied: heard.map(|heard| heard.applied),
        digested: digests.map(|digests| digests.applied),
        control: digests.map(|digests| in_hex(digests.control)),
        layout_version: heard.map(|heard| heard.layout_version),
        layout: digests.map(|digests| in_hex(digests.layout)),
        members: digests.map(|digests| in_hex(digests.members)),
        data: digests.and_then(|digests| digests.data).map(in_hex),
        differing: digests.map(|digests| digests.differing),
        oldest_s: digests.and_then(|digests| digests.oldest_s),
        unsettled: digests.map(|digests| digests.unsettled),
        heals_s: digests.and_then(|digests| digests.heals_s),
    }
}
