//! Links to others that are there: broken, slow, or there only now and then.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::base::id::NodeId;
use crate::base::limits::BREAKS_MIN;
use crate::base::limits::FLAPS_MIN;
use crate::base::limits::FLAPS_WINDOW;
use crate::base::limits::LINK_SLOW;
use crate::proto::alarm::Finding;
use crate::proto::alarm::Subject;
use crate::proto::alarm::code::Code;
use crate::proto::control::members::Member;
use crate::proto::member::view::Link;
use crate::proto::member::view::Seen;
use crate::proto::member::view::Status;

/// `from`: who does not reach it; `why` begins with a blank.
pub(super) fn of_link(node: NodeId, member: &Member, seen: &Seen, from: &str, why: &str) -> Option<Finding> {
    if seen.status != Status::Up || seen.link != Link::Broken {
        return None;
    }
    let cause = format!(
        "Node {node} ({}) is there, and {from} does not reach it: requests do not pass between the two.{why} Nothing is lost.",
        member.name
    );
    let to_do = "Look at the network between them, in both directions, also whether large packets pass; until then the loss of one \
                 more machine may stop requests.";
    Some(Finding::new(Code::LinkBroken, Subject::Node(node), cause, to_do))
}

/// `breaks`: how often connections to it broke off of late.
pub(super) fn of_breaks(node: NodeId, member: &Member, seen: &Seen, from: &str, breaks: usize) -> Option<Finding> {
    if breaks < BREAKS_MIN || seen.status != Status::Up {
        return None;
    }
    let cause = format!(
        "Connections between {from} and node {node} ({}) break off again and again, {breaks} times in the last {} s, though both are \
         there: something between the two ends them. Nothing is lost; requests may be slow.",
        member.name,
        FLAPS_WINDOW.as_secs()
    );
    let to_do =
        "Look for a firewall, a proxy or an inspection of packets between the two, then at the cable and the switch.";
    Some(Finding::new(Code::LinkFlaps, Subject::Node(node), cause, to_do))
}

/// `took`: how long the smallest question to it and the answer take.
pub(super) fn of_pace(
    node: NodeId,
    member: &Member,
    seen: &Seen,
    from: &str,
    took: Option<Duration>,
) -> Option<Finding> {
    let took = took.filter(|took| *took >= LINK_SLOW && seen.status == Status::Up)?;
    let cause = format!(
        "The network between {from} and node {node} ({}) is slow: the smallest question and its answer take {} ms. Requests that \
         need both wait as long. Nothing is lost.",
        member.name,
        took.as_millis()
    );
    let to_do = "Look at the network between the two: its speed, what else it carries, whether it loses packets; and at what else \
                 runs on both machines.";
    Some(Finding::new(Code::LinkSlow, Subject::Node(node), cause, to_do))
}

/// `doubts`: how often each of the others was suspected in the last [`FLAPS_WINDOW`]. Who is in doubt about all of them, where
/// there are several, is the one whose network is bad.
pub(super) fn of_doubts<'n>(
    me: NodeId,
    doubts: &BTreeMap<NodeId, usize>,
    name: impl Fn(&NodeId) -> &'n str,
) -> Vec<Finding> {
    let seconds = FLAPS_WINDOW.as_secs();
    let flapping: Vec<_> = doubts.iter().filter(|(_, doubts)| **doubts >= FLAPS_MIN).collect();
    let to_do = "Look at its cable, its port and the switch, and at what else runs on it.";
    let finding = |node: NodeId, cause: String| Finding::new(Code::MemberFlaps, Subject::Node(node), cause, to_do);
    if flapping.len() > 1 && flapping.len() == doubts.len() {
        let cause = format!(
            "Node {me} ({}) reaches none of the others steadily: in the last {seconds} s each of them gave it no answer {FLAPS_MIN} \
             times or more. Its own network loses packets or comes and goes, or it gets too little of its processor. Nothing is \
             lost; requests may be slow.",
            name(&me)
        );
        return vec![finding(me, cause)];
    }
    let told = flapping.into_iter().map(|(node, doubts)| {
        let cause = format!(
            "Node {node} ({}) answers only now and then: in the last {seconds} s it gave no answer {doubts} times, neither directly \
             nor through others. The network to it loses packets or comes and goes, or it gets too little of its processor. Nothing \
             is lost; requests may be slow.",
            name(node)
        );
        finding(*node, cause)
    });
    told.collect()
}

#[cfg(test)]
mod tests {
    use super::of_doubts;
    use crate::base::id::NodeId;
    use crate::proto::alarm::Subject;

    #[test]
    fn one_doubt_is_a_moments_load_and_some_within_a_minute_are_told() {
        let told = |doubts: [usize; 2]| {
            let doubts = [(NodeId(2), doubts[0]), (NodeId(3), doubts[1])].into();
            of_doubts(NodeId(1), &doubts, |_| "gamma")
        };
        assert!(told([0, 0]).is_empty() && told([2, 2]).is_empty());
        let three = told([0, 3]);
        assert_eq!((three.len(), three[0].key.subject), (1, Subject::Node(NodeId(3))));
        assert!(three[0].cause.contains("in the last 60 s it gave no answer 3 times"));
        let all = told([3, 4]);
        assert_eq!((all.len(), all[0].key.subject), (1, Subject::Node(NodeId(1))), "it is the one itself");
        let of_two = of_doubts(NodeId(1), &[(NodeId(2), 3)].into(), |_| "beta");
        assert_eq!(of_two[0].key.subject, Subject::Node(NodeId(2)), "of two nobody knows which");
    }
}
