//! Where too few are there: owners of data, voters of the control plane. Each names those that are missing.

use std::collections::BTreeSet;

use crate::base::id::NodeId;
use crate::base::limits::ALARM_NAMES_MAX;
use crate::base::limits::UNHEARD_DOUBT;
use crate::base::time::millis;
use crate::node::Node;
use crate::node::cluster::now_ms;
use crate::node::reach::margin;
use crate::proto::alarm::Finding;
use crate::proto::alarm::Subject;
use crate::proto::alarm::code::Code;
use crate::proto::control::State;
use crate::proto::ring::survives::Cause;
use crate::proto::ring::survives::Margin;

impl Node {
    pub(super) fn of_quorums(&self, state: &State) -> Vec<Finding> {
        let voters = self.0.consensus.voters().into_iter().collect();
        let mut found = of_voters(state, &voters, &self.live());
        found.extend(of_owners(state, &self.reached()));
        // A node that starts has not heard all of the others yet: they may be on their way.
        let now_ms = now_ms();
        if self.sight().values().any(|seen| seen.is_awaited(now_ms)) {
            found.iter_mut().for_each(|finding| finding.doubt_ms = millis(UNHEARD_DOUBT));
        }
        found
    }
}

fn of_voters(state: &State, voters: &BTreeSet<NodeId>, live: &BTreeSet<NodeId>) -> Vec<Finding> {
    let gone: Vec<NodeId> = voters.difference(live).copied().collect();
    let mut found = Vec::new();
    if 2 * gone.len() >= voters.len() {
        let cause = format!(
            "{} of the control plane's {} voters are missing ({}): nothing can be changed; reads and writes of data go on.",
            gone.len(),
            voters.len(),
            named(state, &gone)
        );
        let to_do = "Start the others; if they are gone for ever see `ringfort recover control`.";
        found.push(Finding::new(Code::NoControl, Subject::Cluster, cause, to_do));
    }
    for voter in &gone {
        let cause = format!("{}, which votes in the control plane, is missing.", sentence_of(state, *voter));
        let to_do = "Start it again; where another machine can vote, it takes that vote over by itself.";
        found.push(Finding::new(Code::VoterLost, Subject::Node(*voter), cause, to_do));
    }
    found
}

/// `there`: those that this node reaches.
fn of_owners(state: &State, there: &BTreeSet<NodeId>) -> Option<Finding> {
    let Margin { left, cause } = margin(state, there)?;
    let Cause { partition, owners, need, .. } = cause;
    let owners_of_it = &state.layout.slot(partition).read_from().owners;
    let missing: Vec<NodeId> = owners_of_it.iter().filter(|owner| !there.contains(owner)).copied().collect();
    // The middle of a sentence, or its beginning.
    let (lead, some, the) = match missing.as_slice() {
        [] => (String::new(), "Some", "The"),
        [_] => (format!("While {} is missing, ", named(state, &missing)), "some", "the"),
        _ => (format!("While {} are missing, ", named(state, &missing)), "some", "the"),
    };
    let to_do = "Start the machines that are down, or mend the network to those that are not reached.";
    if left.is_none() {
        let cause = format!(
            "{lead}{some} requests are answered 503 `no_quorum`: of partition {partition}, for one, {owners} owners with all of its \
             data are reached, and it takes {need}. What was acked is safe on its disks."
        );
        return Some(Finding::new(Code::NoQuorum, Subject::Cluster, cause, to_do));
    }
    // Where all are there and it is no better the cluster was made so, which the badge says.
    let everyone = state.members.keys().copied().collect();
    if left == Some(0) && margin(state, &everyone).is_some_and(|margin| margin.left > Some(0)) {
        let cause = format!(
            "{lead}{the} loss of one more machine makes some requests fail: of partition {partition}, for one, {owners} owners are \
             reached, and it takes {need}. Nothing is lost."
        );
        return Some(Finding::new(Code::QuorumAtRisk, Subject::Cluster, cause, to_do));
    }
    None
}

fn sentence_of(state: &State, node: NodeId) -> String {
    let name = state.members.get(&node).map(|member| format!(" ({})", member.name)).unwrap_or_default();
    format!("Node {node}{name}")
}

/// For the middle of a sentence, a few of them by name.
fn named(state: &State, nodes: &[NodeId]) -> String {
    let names = nodes.iter().take(ALARM_NAMES_MAX).map(|node| sentence_of(state, *node).replacen('N', "n", 1));
    let names = names.collect::<Vec<_>>().join(", ");
    match nodes.len().saturating_sub(ALARM_NAMES_MAX) {
        0 => names,
        more => format!("{names} and {more} more"),
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::named;
    use super::of_voters;
    use crate::base::id::NodeId;
    use crate::proto::alarm::code::Code;
    use crate::proto::control::State;

    #[test]
    fn who_is_missing_is_named_and_a_few_of_many() {
        let nodes = |ids: std::ops::RangeInclusive<u64>| ids.map(NodeId).collect::<Vec<_>>();
        let state = State::default();
        assert_eq!(named(&state, &nodes(2..=3)), "node 2, node 3");
        assert_eq!(named(&state, &nodes(1..=8)), "node 1, node 2, node 3, node 4, node 5 and 3 more");
    }

    #[test]
    fn the_control_plane_needs_more_than_half_of_its_voters() {
        let set = |ids: &[u64]| ids.iter().copied().map(NodeId).collect::<BTreeSet<_>>();
        let codes = |live: &[u64]| {
            let found = of_voters(&State::default(), &set(&[1, 2, 3]), &set(live));
            found.iter().map(|finding| finding.key.code).collect::<Vec<_>>()
        };
        assert_eq!(codes(&[1, 2, 3]), []);
        assert_eq!(codes(&[1, 2]), [Code::VoterLost]);
        assert_eq!(codes(&[1]), [Code::NoControl, Code::VoterLost, Code::VoterLost]);
    }
}
