//! A plan: the lists that are to come, made against a layout.

use std::collections::BTreeMap;

use serde::Deserialize;
use serde::Serialize;

use crate::base::id::NodeId;
use crate::proto::ring::layout::Candidate;

/// What a commit brings about. Carried whole by its command: what was shown is what happens.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Plan {
    /// [`Layout::planned`](crate::proto::ring::layout::Layout::planned) of the layout that it was made against.
    pub base: u64,
    /// The candidates from now on.
    pub nodes: BTreeMap<NodeId, Candidate>,
    /// For each partition its owners in order of preference.
    pub lists: Vec<Vec<NodeId>>,
}
