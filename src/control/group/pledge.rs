//! Whether this node keeps what it promised as a voter (`proto::standing::Pledge`). Who finds out is the floor above: it asks
//! the others what they remember of this node's journals.

use std::collections::BTreeMap;
use std::collections::BTreeSet;
use std::sync::PoisonError;
use std::time::Duration;

use futures_util::future::join_all;

use crate::base::id::NodeId;
use crate::control::group::Group;
use crate::control::group::Inner;
use crate::control::lane::LaneError;
use crate::control::types::Ballot;
use crate::control::types::Members;
use crate::control::words::Status;
use crate::proto::standing::Pledge;

impl Group {
    /// Whether others vote besides this node, as far as it knows.
    #[must_use]
    pub fn has_other_voters(&self) -> bool {
        self.0.members().voters != Members::sole(self.0.me.0).voters
    }

    /// The number of the last durable group of its journal.
    #[must_use]
    pub fn durable_group(&self) -> u64 {
        self.0.log.durable_group()
    }

    /// How it is with this node's promises.
    #[must_use]
    pub fn pledge(&self) -> Pledge {
        self.0.pledge()
    }

    /// From now on it is so.
    pub fn set_pledge(&self, pledge: Pledge) {
        self.0.set_pledge(pledge);
    }

    /// One more than the highest term of all other voters, once every one of them has told it; none as long as one has not. Who
    /// votes is told by them as well: this node may know an old group.
    pub async fn floor(&self, within: Duration) -> Option<u64> {
        let mut told: BTreeMap<NodeId, Status> = BTreeMap::new();
        let mut voters = self.others(&self.0.members());
        loop {
            let more = voters.iter().copied().filter(|node| !told.contains_key(node));
            let ask = async |node| (node, self.status_of(node, within).await);
            let answers: Vec<(NodeId, Result<Status, LaneError>)> = join_all(more.map(ask)).await;
            let heard: Vec<_> = answers.into_iter().filter_map(|(node, said)| Some((node, said.ok()?))).collect();
            if heard.is_empty() {
                return None;
            }
            told.extend(heard);
            // Who knows most says who votes: for one that was replaced nobody waits.
            let newest = told.values().max_by_key(|status| status.last)?;
            voters = self.others(&newest.members);
            if voters.iter().all(|node| told.contains_key(node)) {
                return told.values().map(|status| status.term + 1).max();
            }
        }
    }

    fn others(&self, members: &Members) -> BTreeSet<NodeId> {
        members.voters.iter().flatten().copied().map(NodeId).filter(|node| *node != self.0.me).collect()
    }
}

impl Inner {
    pub(super) fn pledge(&self) -> Pledge {
        *self.pledge.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn set_pledge(&self, next: Pledge) {
        let before = std::mem::replace(&mut *self.pledge.lock().unwrap_or_else(PoisonError::into_inner), next);
        if before != next {
            tracing::info!(?before, ?next, "what this node may promise as a voter has changed");
        }
    }

    /// Below this it takes nothing: it may have promised that.
    pub(super) fn promised(&self) -> Option<Ballot> {
        match self.pledge() {
            Pledge::CatchingUp { floor } => Some(Ballot { term: floor, node: self.me.0, committed: false }),
            Pledge::Asking | Pledge::Broken | Pledge::Kept => None,
        }
    }

    /// A voter that is caught up is one like any other.
    pub(super) fn look_at_pledge(&self) {
        let pledge = self.pledge();
        if matches!(pledge, Pledge::CatchingUp { .. }) {
            self.set_pledge(pledge.after(self.last().map(|id| id.term)));
        }
    }
}
