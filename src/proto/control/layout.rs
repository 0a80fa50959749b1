//! Who is to own data, as control state: plans that are staged and committed, what nodes report, and what goes on without
//! those who are gone. How owners change is `proto::ring`'s.
//!
//! A plan is made where its command is applied, from the state alone. So the lists that `ring::claim` makes are a part of
//! what the log means: another algorithm is another command (docs/adr/0020-members.md).

use std::collections::BTreeMap;
use std::collections::BTreeSet;

use serde::Deserialize;
use serde::Serialize;

use crate::base::id::NodeId;
use crate::base::id::PartitionId;
use crate::base::limits::PARTITIONS;
use crate::proto::bucket::OutOfRange;
use crate::proto::control::Applied;
use crate::proto::control::Refused;
use crate::proto::control::State;
use crate::proto::control::members::Change;
use crate::proto::control::members::LayoutCommit;
use crate::proto::control::members::Member;
use crate::proto::control::members::MemberState;
use crate::proto::ring::layout::Candidate;
use crate::proto::ring::layout::Layout;
use crate::proto::ring::layout::Slot;
use crate::proto::ring::numbers::BucketNumbers;
use crate::proto::ring::plan::Plan;
use crate::proto::ring::plan::Preview;

#[cfg(test)]
pub(super) mod tests;

/// So many owners before a cluster of one grows by itself: two survive nothing for writes (HOUSE decision 18).
const GROWN: usize = 3;

/// A plan that waits for an operator.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Staged {
    /// Its number, never used twice.
    pub version: u64,
    /// What it brings about.
    pub plan: Plan,
}

impl State {
    /// Applies a change of nodes or layout and what follows from it.
    pub(super) fn change(&mut self, change: Change) -> Result<Applied, Refused> {
        if self.birth.is_none() {
            return Err(Refused::NotBegun);
        }
        // All of it or nothing: a refusal may come late.
        let mut next = self.clone();
        let applied = next.change_parts(change)?;
        if !matches!(applied, Applied::Unchanged | Applied::AdmittedBefore(_)) {
            next.settle();
            *self = next;
        }
        Ok(applied)
    }

    fn change_parts(&mut self, change: Change) -> Result<Applied, Refused> {
        match change {
            Change::Invite { hash, made_ms, expires_ms, replaces } => self.invite(hash, made_ms, expires_ms, replaces),
            Change::RemoveInvite { id } => self.remove_invite(id),
            Change::Admit(admission) => {
                let applied = self.admit(*admission)?;
                self.stage_where_manual();
                Ok(applied)
            }
            Change::Announce { node, announcement } => self.announce(node, announcement),
            Change::Alter { node, zone, weight } => self.alter(node, zone, weight),
            Change::Parting { part, seen } => self.part(&part, seen),
            Change::Drain { node, drain } => self.drain(node, drain),
            Change::PauseHandoff { pause } => self.pause(pause),
            Change::StagePlan => {
                let everyone = self.candidates(|_| true);
                self.stage(Plan::new(&self.layout, everyone));
                Ok(Applied::Changed)
            }
            Change::ClearPlan => Ok(self.clear_plan()),
            Change::CommitPlan { version, accept_loss } => self.commit_plan(version, &accept_loss),
            Change::SetLayoutCommit(layout_commit) => {
                let before = std::mem::replace(&mut self.layout_commit, layout_commit);
                Ok(if before == layout_commit { Applied::Unchanged } else { Applied::Changed })
            }
            Change::Report { node, adopted, synced } => self.report(node, adopted, &synced),
            Change::Lost { node } => {
                self.known(node)?;
                if !self.layout.lists(node) {
                    return Ok(Applied::Unchanged);
                }
                self.layout.lost(node);
                Ok(Applied::Changed)
            }
            Change::Recovered { generation } => {
                if generation <= self.generation {
                    return Err(Refused::OldGeneration { given: generation, known: self.generation });
                }
                self.generation = generation;
                Ok(Applied::Changed)
            }
        }
    }

    /// Every bucket's numbers.
    #[must_use]
    pub fn numbers(&self) -> Vec<BucketNumbers> {
        self.buckets.values().map(|bucket| bucket.numbers).collect()
    }

    /// What the staged plan would bring, for people.
    #[must_use]
    pub fn preview(&self, live: &BTreeSet<NodeId>) -> Option<Preview> {
        let staged = self.staged.as_ref()?;
        Some(staged.plan.preview(&self.layout, live, &self.numbers()))
    }

    pub(super) fn stage(&mut self, plan: Plan) {
        let version = self.next_plan;
        self.next_plan = self.next_plan.saturating_add(1);
        self.staged = Some(Staged { version, plan }).into();
    }

    pub(super) fn stage_where_manual(&mut self) {
        if self.layout_commit == LayoutCommit::Manual {
            let wanted = self.wanted();
            if wanted != self.layout.nodes {
                self.stage(Plan::new(&self.layout, wanted));
            }
        }
    }

    fn clear_plan(&mut self) -> Applied {
        if self.staged.is_none() {
            return Applied::Unchanged;
        }
        self.staged = None.into();
        for (node, member) in self.members.iter_mut() {
            if member.state == MemberState::Leaving && self.layout.nodes.contains_key(node) {
                member.become_state(MemberState::Member, "the plan by which it was to leave was dropped");
            }
        }
        Applied::Changed
    }

    fn commit_plan(&mut self, version: u64, accept_loss: &BTreeSet<NodeId>) -> Result<Applied, Refused> {
        let Some(staged) = self.staged.as_ref().filter(|staged| staged.version == version) else {
            return Err(Refused::NoPlan { given: version, staged: self.staged.as_ref().map(|staged| staged.version) });
        };
        let plan = staged.plan.clone();
        if let Some(node) = accept_loss.iter().find(|node| self.member(**node).is_some()) {
            return Err(Refused::StillMember(*node));
        }
        let listed = accept_loss.iter().filter(|node| self.layout.lists(**node));
        self.gone.extend(listed.copied().collect::<Vec<_>>());
        let numbers = self.numbers();
        self.force();
        // It was fresh as it was staged, and what was forced since takes nothing from it.
        let plan = Plan { base: self.layout.planned, ..plan };
        self.layout.commit(plan, &numbers)?;
        self.staged = None.into();
        self.force();
        Ok(Applied::Changed)
    }

    fn report(&mut self, node: NodeId, adopted: u64, synced: &[(PartitionId, u64)]) -> Result<Applied, Refused> {
        if synced.len() > 2 * PARTITIONS {
            let range = format!("at most {}: two lists for each partition", 2 * PARTITIONS);
            return Err(
                OutOfRange { field: "the number of lists in a report", given: synced.len() as u64, range }.into()
            );
        }
        // A leaving node's word counts until it is out of every list; a removed one has none.
        self.known(node)?;
        let before = self.layout.clone();
        let numbers = self.numbers();
        self.layout.report(node, adopted, synced, &numbers);
        Ok(if self.layout == before { Applied::Unchanged } else { Applied::Changed })
    }

    /// All that follows from what a command changed; nothing where it did so before.
    pub(super) fn settle(&mut self) {
        self.drop_old_numbers();
        self.force();
        self.take_places();
        if self.layout_commit == LayoutCommit::Auto {
            self.commit_wanted();
            self.force();
        }
        self.renew_staged();
        self.move_members();
        // What was forced may have ended a change of numbers.
        self.drop_old_numbers();
    }

    fn drop_old_numbers(&mut self) {
        let changing = self.buckets.iter().filter(|(_, bucket)| bucket.numbers.old.is_some());
        let settled = changing.filter(|(_, bucket)| self.layout.is_settled(bucket.numbers));
        let settled: Vec<String> = settled.map(|(name, _)| name.clone()).collect();
        for name in settled {
            if let Some(bucket) = self.buckets.get_mut(&name) {
                bucket.numbers = bucket.numbers.now.into();
            }
        }
    }

    /// Goes on without those whose loss was accepted, as long as a list has them.
    fn force(&mut self) {
        if self.gone.is_empty() {
            return;
        }
        let numbers = self.numbers();
        let Self { layout, gone, .. } = self;
        layout.force(gone, &numbers);
        gone.retain(|node| layout.lists(*node));
    }

    /// Begins the plan that the members ask for, once no slot is about to finish an earlier change: it would refuse.
    fn commit_wanted(&mut self) {
        let wanted = self.wanted();
        if wanted == self.layout.nodes || !self.layout.slots().all(|(_, slot)| can_be_aimed(slot)) {
            return;
        }
        let plan = Plan::new(&self.layout, wanted);
        let numbers = self.numbers();
        // A refusal changes nothing, and the next command tries again.
        let _later: Result<(), _> = self.layout.commit(plan, &numbers);
    }

    /// A plan that the layout has outrun is made anew for the same nodes, as far as they are still there.
    fn renew_staged(&mut self) {
        let Some(staged) = self.staged.as_ref().filter(|staged| staged.plan.base != self.layout.planned) else {
            return;
        };
        let nodes = staged.plan.nodes.clone();
        let nodes = self.candidates(|node| nodes.contains_key(&node));
        if nodes == self.layout.nodes || !nodes.values().any(|candidate| candidate.weight > 0) {
            self.staged = None.into();
        } else {
            self.stage(Plan::new(&self.layout, nodes));
        }
    }

    fn move_members(&mut self) {
        let layout: &Layout = &self.layout;
        let comes = |node: NodeId, slot: &Slot| {
            let next = slot.next.as_ref().is_some_and(|next| next.list.owners.contains(&node));
            next && !slot.now.owners.contains(&node)
        };
        let has_joined =
            |node: NodeId| layout.nodes.contains_key(&node) && !layout.slots().any(|(_, slot)| comes(node, slot));
        let moved = |(node, state): (NodeId, MemberState)| match state {
            MemberState::Joining if has_joined(node) => Some((node, MemberState::Member, "it has joined")),
            MemberState::Leaving if !layout.lists(node) => {
                Some((node, MemberState::Removed, "it left, and others have what it had"))
            }
            MemberState::Joining | MemberState::Member | MemberState::Leaving | MemberState::Removed => None,
        };
        let states = self.members.iter().map(|(node, member)| (*node, member.state));
        let moves: Vec<_> = states.filter_map(moved).collect();
        for (node, state, reason) in moves {
            if let Some(member) = self.members.get_mut(&node) {
                member.become_state(state, reason);
            }
        }
    }

    /// The candidates that the members make: all who stay; but of fewer than three only those who own already, as long as
    /// it is one.
    pub(super) fn wanted(&self) -> BTreeMap<NodeId, Candidate> {
        let owners = self.candidates(|_| true);
        let owners: Vec<NodeId> =
            owners.into_iter().filter(|(_, candidate)| candidate.weight > 0).map(|(node, _)| node).collect();
        let owns = |node: &&NodeId| self.layout.nodes.get(node).is_some_and(|candidate| candidate.weight > 0);
        let present = owners.iter().filter(owns).count();
        if owners.len() >= GROWN || present > 1 {
            return self.candidates(|_| true);
        }
        let only = owners.iter().find(owns).or(owners.first()).copied();
        self.candidates(|node| Some(node) == only)
    }

    fn candidates(&self, among: impl Fn(NodeId) -> bool) -> BTreeMap<NodeId, Candidate> {
        // Whoever comes in another's place gets no other.
        let comes = |member: &Member| member.stays() && member.replaces.is_none();
        let staying = self.members.iter().filter(|(node, member)| comes(member) && among(**node));
        staying.map(|(node, member)| (*node, member.candidate())).collect()
    }
}

fn can_be_aimed(slot: &Slot) -> bool {
    slot.next.as_ref().is_none_or(|next| next.reads.is_none())
}
