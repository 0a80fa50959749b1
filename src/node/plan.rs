//! What operators order about who is in the cluster and who owns what: a plan that is looked at before it is committed, and
//! nodes that leave, are removed or replaced. What follows from an order is decided where it is applied (ADR 20); here is
//! what only a node can judge, which is whether enough voters would be left that are up.

use std::collections::BTreeSet;
use std::time::Duration;

use serde::Serialize;

use crate::base::id::NodeId;
use crate::base::id::PartitionId;
use crate::base::limits::HANDOFF_BYTES_PER_SECOND;
use crate::base::limits::HANDOFFS_AT_ONCE;
use crate::base::time;
use crate::node::Node;
use crate::node::access::Caller;
use crate::node::cluster::now_ms;
use crate::node::error::DoorError;
use crate::proto::control::Command;
use crate::proto::control::Refused;
use crate::proto::control::State;
use crate::proto::control::members::Change;
use crate::proto::control::members::LayoutCommit;
use crate::proto::control::members::Member;
use crate::proto::control::members::MemberState;
use crate::proto::control::part::Drain;
use crate::proto::control::part::Part;
use crate::proto::ring::survives::Survives;

/// How often an order to go is judged again that another one outran: operators are few.
const DEPARTURE_TRIES: usize = 5;
/// How long this node may need to hear of the other one.
const DEPARTURE_PATIENCE: Duration = Duration::from_secs(2);

/// What is staged, if anything.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct PlansView {
    /// Who commits plans for joins, leaves and removals: `auto`, `manual`.
    pub commit: LayoutCommit,
    /// Removed nodes that are still in a list; a commit may accept what is lost with them.
    pub removed: Vec<NodeId>,
    /// The plan that waits for an operator.
    pub plan: Option<PlanView>,
}

/// A staged plan, and what it would bring.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct PlanView {
    /// Its number: a commit names it.
    pub version: u64,
    /// What it means for each node.
    pub nodes: Vec<PlannedNode>,
    /// What has to be copied at least.
    pub moves: Vec<Move>,
    /// About so many bytes, from what each node says that it stores; null where one did not say.
    pub bytes: Option<u64>,
    /// At least so many seconds, at the most that a node takes in.
    pub seconds: Option<u64>,
    /// What may be lost as it is.
    pub before: Margins,
    /// While it moves.
    pub during: Margins,
    /// And when the plan is done.
    pub after: Margins,
}

/// Partitions within whose first three owners a node is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct PlannedNode {
    /// The node.
    pub id: NodeId,
    /// Its name.
    pub name: String,
    /// As it is.
    pub before: usize,
    /// When the plan is done.
    pub after: usize,
    /// Those that are new to it.
    pub gains: usize,
    /// Those that it gives away.
    pub loses: usize,
}

/// A partition that a node gets.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Move {
    /// Which.
    pub partition: PartitionId,
    /// Who gets it.
    pub to: NodeId,
}

/// How many may be lost with every read and write still answered; null: not even now everything is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Margins {
    /// Of any machines.
    pub machines: Option<usize>,
    /// Of any zones.
    pub zones: Option<usize>,
}

impl From<Survives> for Margins {
    fn from(survives: Survives) -> Self {
        let margins = survives.strict.or(survives.weak);
        Self {
            machines: margins.and_then(|margins| margins.machines.left),
            zones: margins.and_then(|margins| margins.zones.left),
        }
    }
}

/// A node whose part in the cluster was changed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct PartView {
    /// The node.
    pub id: NodeId,
    /// Its name.
    pub name: String,
    /// How far its part goes now.
    pub part: MemberState,
    /// Why, for people.
    pub reason: String,
    /// The plan that waits for a commit, where plans do.
    pub plan: Option<u64>,
}

impl Node {
    /// What is staged.
    #[must_use]
    pub fn plans(&self) -> PlansView {
        let state = self.state();
        PlansView { commit: state.layout_commit, removed: removed(&state), plan: self.staged(&state) }
    }

    fn staged(&self, state: &State) -> Option<PlanView> {
        let staged = state.staged.as_ref()?;
        let preview = state.preview(&self.live())?;
        let name = |id: NodeId| state.members.get(&id).map(|member| member.name.clone()).unwrap_or_default();
        let nodes = preview.nodes.into_iter().map(|(id, held)| PlannedNode {
            id,
            name: name(id),
            before: held.before,
            after: held.after,
            gains: held.gains,
            loses: held.loses,
        });
        let moves: Vec<_> = preview.moves.into_iter().map(|(partition, to)| Move { partition, to }).collect();
        let each = self.partition_bytes(state);
        let times = |count: usize| each.map(|each| each.saturating_mul(count as u64));
        let most = moves.iter().map(|to| moves.iter().filter(|one| one.to == to.to).count()).max().unwrap_or(0);
        Some(PlanView {
            version: staged.version,
            nodes: nodes.collect(),
            bytes: times(moves.len()),
            seconds: times(most).map(|bytes| bytes.div_ceil(HANDOFF_BYTES_PER_SECOND * HANDOFFS_AT_ONCE as u64)),
            moves,
            before: preview.before.into(),
            during: preview.during.into(),
            after: preview.after.into(),
        })
    }

    /// Bytes of one replica of one partition, on average over those who hold some; none where one did not say.
    fn partition_bytes(&self, state: &State) -> Option<u64> {
        let (mut bytes, mut replicas) = (0_u64, 0_u64);
        for node in state.layout.nodes.keys() {
            let holds = state.layout.slots().filter(|(_, slot)| slot.read_from().is_synced(*node)).count() as u64;
            if holds > 0 {
                bytes = bytes.saturating_add(self.figures_of(*node)?.disk.stored);
                replicas += holds;
            }
        }
        bytes.checked_div(replicas)
    }

    /// Stages a plan for all who are in, also for a second node.
    ///
    /// # Errors
    /// [`DoorError`].
    pub async fn stage_plan(&self, caller: &Caller) -> Result<PlansView, DoorError> {
        self.order(caller, Command::Cluster(Change::StagePlan)).await?;
        Ok(self.plans())
    }

    /// Drops what is staged; nothing staged is no error.
    ///
    /// # Errors
    /// [`DoorError`].
    pub async fn clear_plan(&self, caller: &Caller) -> Result<(), DoorError> {
        self.order(caller, Command::Cluster(Change::ClearPlan)).await?;
        Ok(())
    }

    /// Begins what is staged under this number. Returns the layout's version.
    ///
    /// # Errors
    /// [`DoorError`]; also where something else is staged by now.
    pub async fn commit_plan(
        &self,
        caller: &Caller,
        version: u64,
        accept_loss: BTreeSet<NodeId>,
    ) -> Result<u64, DoorError> {
        self.order(caller, Command::Cluster(Change::CommitPlan { version, accept_loss })).await?;
        Ok(self.state().layout.version)
    }

    /// A node that is up gives away what it owns and goes.
    ///
    /// # Errors
    /// [`DoorError`]; also where too few voters would be left that are up.
    pub async fn leave(&self, caller: &Caller, which: &str) -> Result<PartView, DoorError> {
        let node = self.node_named(which)?;
        self.depart(caller, node, Part::Leave { node }).await
    }

    /// A node that is gone for ever is struck off.
    ///
    /// # Errors
    /// [`DoorError`]; also where it is up, where too few voters would be left that are up, or where acked writes would be
    /// lost.
    pub async fn remove(&self, caller: &Caller, which: &str, accept_loss: bool) -> Result<PartView, DoorError> {
        let node = self.node_named(which)?;
        // Nobody would tell it, and it would go on with what it owns: that is what leaving is for.
        if self.state().member(node).is_some() && self.live().contains(&node) {
            return Err(DoorError::StillUp(node));
        }
        self.depart(caller, node, Part::Remove { node, accept_loss }).await
    }

    /// A node that owns nothing yet takes the places of another, which goes.
    ///
    /// # Errors
    /// [`DoorError`]; also where too few voters would be left that are up.
    pub async fn replace(&self, caller: &Caller, which: &str, new: NodeId) -> Result<PartView, DoorError> {
        let old = self.node_named(which)?;
        self.depart(caller, old, Part::Replace { old, new }).await
    }

    /// Judged by what this node sees, and again where another node was told to go meanwhile: two that go at once may each
    /// leave enough voters, and together too few.
    async fn depart(&self, caller: &Caller, node: NodeId, part: Part) -> Result<PartView, DoorError> {
        for _try in 0..DEPARTURE_TRIES {
            let seen = Some(self.state().partings);
            self.check_voters(node)?;
            let index = self.view().index;
            match self.order(caller, Command::Cluster(Change::Parting { part: part.clone(), seen })).await {
                Err(DoorError::Control(Refused::Outrun)) => {
                    let until_ms = now_ms().saturating_add(time::millis(DEPARTURE_PATIENCE));
                    let _judged_by_what_is_here = self.reach(index.saturating_add(1), until_ms).await;
                }
                ended => return ended.and_then(|_applied| self.part_of(node)),
            }
        }
        Err(DoorError::Control(Refused::Outrun))
    }

    /// Devices are asked to go to other nodes, or to come back; the node keeps what it owns and takes part in all else.
    ///
    /// # Errors
    /// [`DoorError`].
    pub async fn divert(
        &self,
        caller: &Caller,
        which: &str,
        drain: Option<(String, Option<Duration>)>,
    ) -> Result<PartView, DoorError> {
        let node = self.node_named(which)?;
        let until = |lasts: Duration| time::wall_ms().saturating_add(time::millis(lasts));
        let drain = drain.map(|(reason, lasts)| Drain { reason, until_ms: lasts.map(until) });
        self.order(caller, Command::Cluster(Change::Drain { node, drain })).await?;
        self.part_of(node)
    }

    /// Why devices are asked to go elsewhere, where they are.
    #[must_use]
    pub fn diverted(&self) -> Option<Drain> {
        let state = self.state();
        state.member(self.who().node).and_then(drain_of)
    }

    /// A node by its number, or by its name as long as it is in.
    pub(super) fn node_named(&self, which: &str) -> Result<NodeId, DoorError> {
        let state = self.state();
        let by_number = which.parse().ok().map(NodeId).filter(|node| state.members.contains_key(node));
        let by_name = || state.members.keys().find(|id| state.member(**id).is_some_and(|member| member.name == which));
        let found = by_number.or_else(|| by_name().copied());
        found.ok_or_else(|| DoorError::NotFound { what: "node", name: which.to_owned() })
    }

    /// Whoever goes takes its vote along, and the others have to be able to go on at once. Nobody talks to a removed one
    /// any more, so that it is as good as down, also while it is still among the voters.
    pub(super) fn check_voters(&self, node: NodeId) -> Result<(), DoorError> {
        let state = self.state();
        let live = self.live().into_iter().filter(|node| state.member(*node).is_some()).collect();
        self.0.consensus.may_remove(node, &live).map_err(DoorError::FewVoters)
    }

    fn part_of(&self, node: NodeId) -> Result<PartView, DoorError> {
        let state = self.state();
        let gone = || DoorError::NotFound { what: "node", name: node.to_string() };
        let member = state.members.get(&node).ok_or_else(gone)?;
        Ok(PartView {
            id: node,
            name: member.name.clone(),
            part: member.state,
            reason: member.reason.clone(),
            plan: state.staged.as_ref().map(|staged| staged.version),
        })
    }
}

/// What sends devices away from a node now: the one that knows the time it ends is the one that is asked.
pub(super) fn drain_of(member: &Member) -> Option<Drain> {
    let lasts = |drain: &&Drain| drain.until_ms.is_none_or(|until| until > time::wall_ms());
    member.drain.as_ref().filter(lasts).cloned()
}

/// Removed nodes in some list that were not given up yet.
fn removed(state: &State) -> Vec<NodeId> {
    let listed: BTreeSet<NodeId> =
        state.layout.slots().flat_map(|(_, slot)| slot.lists()).flat_map(|list| &list.owners).copied().collect();
    let gone = |node: &NodeId| state.member(*node).is_none() && !state.gone.contains(node);
    listed.into_iter().filter(gone).collect()
}
