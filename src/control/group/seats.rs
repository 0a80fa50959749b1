//! Who is in the group, as `proto::voters` decides: the leader brings it about, one change at a time.

use std::collections::BTreeMap;
use std::collections::BTreeSet;
use std::sync::PoisonError;

use openraft::ChangeMembers;
use openraft::EmptyNode;
use tokio::time::timeout;

use crate::base::id::NodeId;
use crate::base::limits::CONTROL_CAUGHT_UP;
use crate::base::limits::CONTROL_CHANGE_WAIT;
use crate::base::time;
use crate::control::group::Group;
use crate::control::group::Inner;
use crate::proto::voters;
use crate::proto::voters::Candidate;
use crate::proto::voters::Change;
use crate::proto::voters::Present;

impl Group {
    /// To be called on every node whenever members or who of them is up changes, and every few seconds: for how long a
    /// voter is down is counted here. The leader makes the next change towards who should vote, if there is one, and
    /// returns it.
    ///
    /// # Errors
    /// In words, where the change did not come about in time; it may still.
    pub async fn reconcile(
        &self,
        members: &BTreeMap<NodeId, Candidate>,
        live: &BTreeSet<NodeId>,
    ) -> Result<Option<Change>, String> {
        let down_ms = self.0.count_down(members, live);
        if self.0.leads().is_none() {
            return Ok(None);
        }
        let Some(change) = voters::next_change(members, &down_ms, &self.0.present(), self.0.me) else {
            return Ok(None);
        };
        match timeout(CONTROL_CHANGE_WAIT, self.0.make(&change)).await {
            Ok(Ok(())) => {
                tracing::info!(?change, "the control group changed");
                Ok(Some(change))
            }
            Ok(Err(reason)) => Err(reason),
            Err(_late) => Err(format!("{change:?} was not committed within {} s", CONTROL_CHANGE_WAIT.as_secs())),
        }
    }

    /// Whether a node may be removed from the cluster now, as far as the control group goes.
    ///
    /// # Errors
    /// A sentence with the arithmetic.
    pub fn may_remove(&self, node: NodeId, live: &BTreeSet<NodeId>) -> Result<(), String> {
        let voters: BTreeSet<_> = self.voters().into_iter().collect();
        let down = voters.iter().filter(|voter| **voter != self.0.me && !live.contains(voter)).copied().collect();
        voters::may_remove(node, &voters, &down)
    }
}

impl Inner {
    fn count_down(&self, members: &BTreeMap<NodeId, Candidate>, live: &BTreeSet<NodeId>) -> BTreeMap<NodeId, u64> {
        let now = time::mono();
        let mut down = self.down.lock().unwrap_or_else(PoisonError::into_inner);
        let gone = |node: &NodeId| *node != self.me && !live.contains(node);
        down.retain(|node, _| members.contains_key(node) && gone(node));
        for node in members.keys().filter(|node| gone(node)) {
            down.entry(*node).or_insert(now);
        }
        let ms = |since| time::millis(now.saturating_duration_since(since));
        down.iter().map(|(node, since)| (*node, ms(*since))).collect()
    }

    fn present(&self) -> Present {
        let metrics = self.metrics();
        let members = self.members();
        let enough = metrics.last_log_index.unwrap_or_default().saturating_sub(CONTROL_CAUGHT_UP);
        let replication = metrics.replication.unwrap_or_default();
        let has_enough = |node: &u64| replication.get(node).copied().flatten().is_some_and(|last| last.index >= enough);
        Present {
            voters: members.nodes(),
            caught_up: members.learners.iter().filter(|node| has_enough(node)).copied().map(NodeId).collect(),
            learners: members.learners.iter().copied().map(NodeId).collect(),
        }
    }

    async fn make(&self, change: &Change) -> Result<(), String> {
        let made = match change {
            Change::AddLearner(node) => self.raft.add_learner(node.0, EmptyNode {}, false).await,
            Change::SetVoters(nodes) => {
                let voters = nodes.iter().map(|node| node.0).collect();
                self.raft.change_membership(ChangeMembers::ReplaceAllVoters(voters), true).await
            }
            Change::Remove(node) => {
                self.raft.change_membership(ChangeMembers::RemoveNodes(BTreeSet::from([node.0])), true).await
            }
        };
        made.map(drop).map_err(|error| error.to_string())
    }
}
