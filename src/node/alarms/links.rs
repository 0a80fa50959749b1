//! Links to others that are there: broken, slow, or there only now and then.

use std::time::Duration;

use crate::base::id::NodeId;
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

/// `doubts`: how often it was suspected in the last [`FLAPS_WINDOW`].
pub(super) fn of_doubts(node: NodeId, name: &str, doubts: usize) -> Option<Finding> {
    if doubts < FLAPS_MIN {
        return None;
    }
    let seconds = FLAPS_WINDOW.as_secs();
    let cause = format!(
        "Node {node} ({name}) answers only now and then: in the last {seconds} s it gave no answer {doubts} times, neither directly \
         nor through others. The network to it loses packets, or it gets too little of its processor. Nothing is lost; requests \
         may be slow."
    );
    let to_do = "Look at its cable, its port and the switch, and at what else runs on it.";
    Some(Finding::new(Code::MemberFlaps, Subject::Node(node), cause, to_do))
}

#[cfg(test)]
mod tests {
    use super::of_doubts;
    use crate::base::id::NodeId;

    #[test]
    fn one_doubt_is_a_moments_load_and_some_within_a_minute_are_told() {
        let told = |doubts| of_doubts(NodeId(3), "gamma", doubts).map(|finding| finding.cause);
        assert_eq!([0, 2].map(told), [None, None]);
        assert!(told(3).unwrap().contains("in the last 60 s it gave no answer 3 times"));
    }
}
