//! What the cluster survives, and what to do so that it survives more.

use std::collections::BTreeSet;
use std::sync::atomic::Ordering;

use serde::Serialize;

use crate::base::id::NodeId;
use crate::node::Node;
use crate::proto::control::State;
use crate::proto::control::members::Member;
use crate::proto::control::members::MemberState;
use crate::proto::ring::layout::List;
use crate::proto::ring::survives;
use crate::proto::ring::survives::Cause;

/// The loss of how many machines this cluster survives, and why not more.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Survives {
    /// Machines.
    pub machines: u32,
    /// Why not more, in words.
    pub reason: String,
    /// What to do to survive more, in words.
    pub next: String,
    /// Where in the console that is done.
    pub page: String,
}

/// What to do next, and where.
struct Step {
    text: String,
    page: String,
}

impl Node {
    /// The loss of how many machines this cluster survives.
    #[must_use]
    pub fn survives(&self) -> Survives {
        let (state, live) = (self.state(), self.reached());
        let margins = survives::survives(&state.layout, &live, &state.numbers());
        let data = margins.strict.or(margins.weak).map(|margins| margins.machines);
        let voters = self.0.consensus.voters();
        let votes = voters.iter().filter(|voter| live.contains(voter)).count().checked_sub(voters.len() / 2 + 1);
        let of_data = |cause: Cause| {
            let Cause { partition, owners, need, .. } = cause;
            format!("partition {partition} has {owners} live owners with all of its data; it takes {need}")
        };
        let (machines, reason) = match (data.map(|margin| (margin.left, margin.cause)), votes) {
            _ if state.layout.nodes.len() == 1 => (0, of_one_owner(&state)),
            (Some((None, cause)), _) => (0, of_data(cause)),
            (_, None) => (0, "the control plane has no majority of its voters: nothing can be changed".to_owned()),
            (Some((Some(left), cause)), Some(votes)) if left <= votes => (left, of_data(cause)),
            (_, Some(votes)) => (votes, format!("the control plane has {} voters", voters.len())),
        };
        let Step { text, page } = self.next_step(&state, &live);
        Survives { machines: u32::try_from(machines).unwrap_or(u32::MAX), reason, next: text, page }
    }

    /// What an operator does next to survive more: the first of these that is so.
    fn next_step(&self, state: &State, live: &BTreeSet<NodeId>) -> Step {
        let there = |(_, member): &(&NodeId, &Member)| member.state != MemberState::Removed;
        let down: Vec<_> = state.members.iter().filter(there).filter(|(id, _)| !live.contains(id)).collect();
        if let [(id, member)] = *down {
            let text = format!("start node {id} ({}) again, or replace it if it is gone for ever", member.name);
            return Step { text, page: format!("/members/{id}") };
        }
        if !down.is_empty() {
            let text = format!("start the {} machines that are down", down.len());
            return Step { text, page: "/members?show=trouble".to_owned() };
        }
        if let Some(staged) = state.staged.as_ref() {
            let text = format!("look at plan {}, which waits, and commit it", staged.version);
            return Step { text, page: "/ring#plan".to_owned() };
        }
        if !is_synced(state) {
            let paused = self.handoff_pause().is_some();
            let text = if paused { "let handoff go on" } else { "wait until what moves has moved" };
            return Step { text: text.to_owned(), page: "/ring#transfers".to_owned() };
        }
        let page = "/members#invite".to_owned();
        let text = match state.layout.nodes.len() {
            1 if state.members.iter().filter(there).count() == 1 => "invite two more machines",
            1 | 2 => "invite a third machine",
            3 | 4 => "five machines, and buckets with n = 5, survive more",
            _ => "buckets with a higher n, on as many machines, survive more",
        };
        Step { text: text.to_owned(), page }
    }

    /// Whether this node was once, since its start, together with most of those who own data: before that it has nobody to
    /// ask.
    #[must_use]
    pub fn has_met(&self) -> bool {
        let cluster = &self.0.cluster;
        if cluster.met.load(Ordering::Acquire) {
            return true;
        }
        let (state, live) = (self.state(), self.live());
        let owners = state.layout.nodes.keys().filter(|node| live.contains(node)).count();
        let met = 2 * owners > state.layout.nodes.len();
        if met {
            cluster.met.store(true, Ordering::Release);
        }
        met
    }
}

/// Whether all owners have what they are to have.
pub(super) fn is_synced(state: &State) -> bool {
    let whole = |list: &List| list.owners.iter().all(|owner| list.is_synced(*owner));
    state.layout.slots().all(|(_, slot)| slot.next.is_none() && whole(&slot.now))
}

/// Why a cluster with one owner of data survives nothing.
fn of_one_owner(state: &State) -> String {
    let machines = state.members.values().filter(|member| member.state != MemberState::Removed).count();
    match machines {
        1 => "this is the only machine; with two more the cluster survives the loss of any one".to_owned(),
        2 => "one of two machines owns all data; with a third the cluster survives the loss of any one".to_owned(),
        _ => "one machine owns all data; the others own some once what moves has moved, see `ringfort ring`".to_owned(),
    }
}
