//! Whether the owners of each partition hold the same, as far as this node knows, and what every node says of itself: plain
//! values for faces.

use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering;

use serde::Serialize;

use crate::base::id::NodeId;
use crate::base::id::PartitionId;
use crate::node::Node;
use crate::node::cluster::now_ms;
use crate::node::repair::lock;
use crate::node::repair::nodes::NodeConvergence;
use crate::node::repair::nodes::in_hex;

/// How equal the owners' copies are.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Convergence {
    /// The node that says this.
    pub node: NodeId,
    /// A digest of all that it holds as an owner; null before everything was looked through.
    pub digest: Option<String>,
    /// Pairs of a partition and another owner that are not the same.
    pub differing: usize,
    /// Seconds since the oldest of these differences was found.
    pub oldest_s: Option<u64>,
    /// Partitions that it owns and has not looked through since the last write to them.
    pub unsettled: usize,
    /// Seconds until nothing of it differs, as this node reckons; null where nothing differs, or one of those is not there.
    pub heals_s: Option<u64>,
    /// Seconds that the last difference lasted which was healed since the start; null where there was none.
    pub healed_s: Option<u64>,
    /// What every node says of itself.
    pub nodes: Vec<NodeConvergence>,
    /// What was done since the start.
    pub done: Done,
    /// Those that it is an owner of.
    pub partitions: Vec<PartitionConvergence>,
}

/// What was done since the start.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Done {
    /// Partitions compared with another owner.
    pub compared: u64,
    /// Keys that differed, looked at twice.
    pub differing: u64,
    /// Keys that another owner's copy changed here.
    pub brought: u64,
    /// Keys that another owner merged from here.
    pub sent: u64,
    /// Bytes of objects that moved for it.
    pub bytes: u64,
}

/// One partition.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct PartitionConvergence {
    /// From 0.
    pub id: PartitionId,
    /// In order of preference; a bucket counts within its first n.
    pub owners: Vec<NodeId>,
    /// A digest of what this node holds; null before it was looked through.
    pub root: Option<String>,
    /// Nothing was written since.
    pub settled: bool,
    /// Keys, deleted ones included, as long as their graves are kept.
    pub keys: u64,
    /// The other owners with which it was compared.
    pub others: Vec<OtherOwner>,
}

/// Another owner of a partition.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct OtherOwner {
    /// The node.
    pub node: NodeId,
    /// Seconds since both were found to hold the same; null where they never were.
    pub same_s: Option<u64>,
    /// Seconds since they were found to differ; null where they do not.
    pub differs_s: Option<u64>,
}

impl Node {
    /// How equal the owners' copies are, as far as this node knows.
    #[must_use]
    pub fn convergence(&self) -> Convergence {
        let partitions = self.partitions_compared();
        let others = partitions.iter().flat_map(|partition| &partition.others);
        let differing: Vec<u64> = others.filter_map(|other| other.differs_s).collect();
        let repair = &self.0.cluster.repair;
        let counts = &repair.counts;
        // Let go of before the rest is looked at: that takes it as well.
        let healed_ms = lock(&repair.ledger).healed_ms();
        let read = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        Convergence {
            node: self.who().node,
            digest: self.digest_of_all(&partitions).map(in_hex),
            differing: differing.len(),
            oldest_s: differing.into_iter().max(),
            unsettled: partitions.iter().filter(|partition| !partition.settled).count(),
            heals_s: self.heals_s(),
            healed_s: healed_ms.map(|ms| ms.div_ceil(1000)),
            nodes: self.nodes_compared(self.digests_of(&partitions)),
            done: Done {
                compared: read(&counts.compared),
                differing: read(&counts.differing),
                brought: read(&counts.brought),
                sent: read(&counts.sent),
                bytes: read(&counts.bytes),
            },
            partitions,
        }
    }

    /// Bytes of what this node holds as an owner, as it was looked through last; none before all of it was. An index takes
    /// 64 MiB also where it is nearly empty, so it does not tell.
    pub(in crate::node) fn surveyed_bytes(&self) -> Option<u64> {
        let (view, me) = (self.view(), self.who().node);
        let surveys = lock(&self.0.cluster.repair.surveys);
        let mut mine = view.state.layout.slots().filter(|(_, slot)| slot.now.owners.contains(&me));
        mine.try_fold(0, |bytes, (id, _)| Some(bytes + surveys.get(&id)?.bytes))
    }

    /// How many partitions were looked through.
    pub(in crate::node) fn surveyed(&self) -> usize {
        lock(&self.0.cluster.repair.surveys).len()
    }

    pub(super) fn digest_of_all(&self, partitions: &[PartitionConvergence]) -> Option<u64> {
        let surveys = lock(&self.0.cluster.repair.surveys);
        partitions
            .iter()
            .try_fold(0_u64, |sum, partition| Some(sum.wrapping_add(surveys.get(&partition.id)?.sum_of(|_| true))))
    }

    pub(super) fn partitions_compared(&self) -> Vec<PartitionConvergence> {
        let (view, me, now) = (self.view(), self.who().node, now_ms());
        let repair = &self.0.cluster.repair;
        let standings: Vec<_> =
            lock(&repair.ledger).standings().map(|(partition, other, at)| (partition, other, *at)).collect();
        let seconds = |ms: Option<u64>| ms.map(|ms| now.saturating_sub(ms) / 1000);
        let mine = view.state.layout.slots().filter(|(_, slot)| slot.now.owners.contains(&me));
        let surveys = lock(&repair.surveys);
        mine.map(|(id, slot)| {
            let survey = surveys.get(&id);
            let others = standings.iter().filter(|(partition, ..)| *partition == id);
            PartitionConvergence {
                id,
                owners: slot.now.owners.clone(),
                root: survey.map(|survey| in_hex(survey.sum_of(|_| true))),
                settled: survey.is_some_and(|survey| survey.as_of >= self.0.store.changed(id)),
                keys: survey.map_or(0, |survey| survey.keys),
                others: others
                    .map(|(_, node, at)| OtherOwner {
                        node: *node,
                        same_s: seconds(at.same_ms),
                        differs_s: seconds(at.differs_since_ms),
                    })
                    .collect(),
            }
        })
        .collect()
    }
}
