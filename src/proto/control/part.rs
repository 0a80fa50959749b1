//! Nodes that go, are replaced or pause, as control state. What becomes of their data is decided by `layout`.
//!
//! An order that takes a node away is judged by whoever gives it against what it sees, such as the voters that are up. Of
//! two at once both could pass and together do harm: so an order says how many went before (`seen`), and the second is
//! refused and judged again.

use std::collections::BTreeSet;

use serde::Deserialize;
use serde::Serialize;

use crate::base::id::NodeId;
use crate::base::id::PartitionId;
use crate::base::limits::DRAIN_REASON_BYTES_MAX;
use crate::proto::control::Applied;
use crate::proto::control::Refused;
use crate::proto::control::State;
use crate::proto::control::members::LayoutCommit;
use crate::proto::control::members::MemberState;
use crate::proto::control::members::not_there;
use crate::proto::ring::layout::Layout;
use crate::proto::ring::plan::Plan;

/// A node that goes. Stored: variants are appended, never reordered.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Part {
    /// A node that is alive gives away what it owns and goes.
    Leave {
        /// The node.
        node: NodeId,
    },
    /// A node that is gone for ever is struck off; nobody waits for it.
    Remove {
        /// The node.
        node: NodeId,
        /// Goes on where acked writes may be lost with it.
        accept_loss: bool,
    },
    /// A node that owns nothing yet takes the places of one that goes.
    Replace {
        /// Goes.
        old: NodeId,
        /// Comes.
        new: NodeId,
    },
}

/// A node that keeps and replicates what it owns, but asks devices to go elsewhere.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Drain {
    /// For people.
    pub reason: String,
    /// Wall milliseconds at which it ends by itself.
    pub until_ms: Option<u64>,
}

/// Handoff rests: no node begins to merge a partition or asks for more of one. What devices do and what was missed goes on.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Pause {
    /// For people.
    pub reason: String,
    /// Wall milliseconds since when.
    pub since_ms: u64,
    /// Wall milliseconds at which it ends by itself: one that is forgotten keeps the cluster weak.
    pub until_ms: u64,
}

impl State {
    pub(super) fn part(&mut self, part: &Part, seen: Option<u64>) -> Result<Applied, Refused> {
        if seen.is_some_and(|seen| seen != self.partings) {
            return Err(Refused::Outrun);
        }
        let applied = match *part {
            Part::Leave { node } => self.leave(node),
            Part::Remove { node, accept_loss } => self.remove(node, accept_loss),
            Part::Replace { old, new } => self.replace(old, new),
        }?;
        self.partings = self.partings.saturating_add(1);
        Ok(applied)
    }

    fn leave(&mut self, node: NodeId) -> Result<Applied, Refused> {
        let known = self.known(node)?;
        if known.state == MemberState::Leaving {
            return Ok(Applied::Unchanged);
        }
        known.become_state(MemberState::Leaving, "asked to leave: it gives away what it owns");
        self.check_owners(node)?;
        self.stage_where_manual();
        Ok(Applied::Changed)
    }

    fn remove(&mut self, node: NodeId, accept_loss: bool) -> Result<Applied, Refused> {
        if self.members.get(&node).is_some_and(|member| member.state == MemberState::Removed)
            && (!accept_loss || self.gone.contains(&node) || !self.layout.lists(node))
        {
            return Ok(Applied::Unchanged);
        }
        let known = self.members.get_mut(&node).ok_or_else(|| not_there(node))?;
        let reason = if accept_loss { "removed; what only it had is given up" } else { "removed" };
        known.become_state(MemberState::Removed, reason);
        self.check_owners(node)?;
        if accept_loss {
            if self.layout.lists(node) {
                self.gone.insert(node);
            }
        } else {
            let partitions = self.lost_without_removed();
            if partitions > 0 {
                return Err(Refused::WouldLose { node, partitions });
            }
        }
        self.stage_where_manual();
        Ok(Applied::Removed)
    }

    /// In how many partitions acked writes may be lost with those who are removed.
    fn lost_without_removed(&self) -> usize {
        let removed = |node: &&NodeId| {
            self.members.get(node).is_none_or(|member| member.state == MemberState::Removed)
                && !self.gone.contains(node)
        };
        let layout: &Layout = &self.layout;
        let dead: BTreeSet<NodeId> =
            layout.nodes.keys().chain(layout.leaving.keys()).filter(removed).copied().collect();
        let numbers = self.numbers();
        let mut trial = layout.clone();
        let mut lost: BTreeSet<PartitionId> = trial.force(&dead, &numbers).into_iter().collect();
        if trial.commit(Plan::new(&trial, self.wanted()), &numbers).is_ok() {
            lost.extend(trial.force(&dead, &numbers));
        }
        lost.len()
    }

    /// Puts the one in the other's places, so that nothing else moves.
    fn replace(&mut self, old: NodeId, new: NodeId) -> Result<Applied, Refused> {
        self.known(old)?;
        let comes = self.known(new)?;
        let fit = comes.stays() && comes.weight > 0 && old != new;
        let candidate = comes.candidate();
        if !fit || !self.layout.nodes.contains_key(&old) || self.layout.lists(new) {
            return Err(Refused::Unfit { old, new });
        }
        let put = |node: &NodeId| if *node == old { new } else { *node };
        let lists = self.layout.slots().map(|(_, slot)| slot.target().owners.iter().map(put).collect()).collect();
        let mut nodes = self.layout.nodes.clone();
        nodes.remove(&old);
        nodes.insert(new, candidate);
        let plan = Plan { base: self.layout.planned, nodes, lists };
        match self.layout_commit {
            LayoutCommit::Manual => self.stage(plan),
            LayoutCommit::Auto => {
                let numbers = self.numbers();
                self.layout.commit(plan, &numbers)?;
            }
        }
        self.known(old)?.become_state(MemberState::Leaving, "another node takes its place");
        Ok(Applied::Changed)
    }

    /// Those who came to take another's places take them, once the layout can take it.
    pub(super) fn take_places(&mut self) {
        let comes = |(new, member): (&NodeId, &super::members::Member)| {
            member.replaces.filter(|_| member.stays()).map(|old| (*new, old))
        };
        let coming: Vec<(NodeId, NodeId)> = self.members.iter().filter_map(comes).collect();
        for (new, old) in coming {
            match self.replace(old, new) {
                // An earlier change is about to finish; the next command tries again.
                Err(Refused::Layout(_)) => continue,
                Ok(_) => {}
                // Nothing to take: the old one goes as it would, the new one joins like any other.
                Err(_) => self.let_go(old, new),
            }
            if let Ok(new) = self.known(new) {
                new.replaces = None;
            }
        }
    }

    /// As far as others are left to own what there is.
    fn let_go(&mut self, old: NodeId, new: NodeId) {
        let others = self.members.iter().any(|(node, member)| *node != old && member.stays() && member.weight > 0);
        if let Ok(known) = self.known(old)
            && others
            && old != new
        {
            known.become_state(MemberState::Leaving, "another node takes its place");
        }
    }

    pub(super) fn drain(&mut self, node: NodeId, drain: Option<Drain>) -> Result<Applied, Refused> {
        drain.as_ref().map_or(Ok(()), |drain| check_reason(&drain.reason))?;
        let known = self.known(node)?;
        if known.drain == drain {
            return Ok(Applied::Unchanged);
        }
        known.drain = drain;
        Ok(Applied::Changed)
    }

    pub(super) fn pause(&mut self, pause: Option<Pause>) -> Result<Applied, Refused> {
        pause.as_ref().map_or(Ok(()), |pause| check_reason(&pause.reason))?;
        if self.pause == pause {
            return Ok(Applied::Unchanged);
        }
        self.pause = pause;
        Ok(Applied::Changed)
    }
}

/// It is shown in one line.
fn check_reason(reason: &str) -> Result<(), Refused> {
    if reason.len() > DRAIN_REASON_BYTES_MAX || reason.chars().any(char::is_control) {
        let rule = format!("a reason has at most {DRAIN_REASON_BYTES_MAX} bytes and no control characters");
        return Err(Refused::BadName(rule));
    }
    Ok(())
}
