//! Two machines with the number of one node: where both are, as far as this one knows.

use crate::net::peer::twins::Twin;
use crate::node::Node;
use crate::proto::alarm::Finding;
use crate::proto::alarm::Subject;
use crate::proto::alarm::code::Code;

impl Node {
    pub(super) fn findings_of_twins(&self) -> Vec<Finding> {
        let state = self.state();
        let here = self.said_at().map(|here| format!(", at {here}")).unwrap_or_default();
        let found = |(node, twin)| {
            let name = state.members.get(&node).map(|member| format!(" ({})", member.name)).unwrap_or_default();
            let cause = format!(
                "Two machines show the number of node {node}{name}: {} A data directory was copied, or put back from a copy.",
                in_words(twin, &here)
            );
            let to_do = "Stop the copy for ever; where it is the other one that is refused, start that again then.";
            Finding::new(Code::Twin, Subject::Node(node), cause, to_do)
        };
        self.twins().into_iter().map(found).collect()
    }
}

/// `here`: where this node is, with a comma before it.
fn in_words(twin: Twin, here: &str) -> String {
    match twin {
        Twin::Refused { there, other, .. } => {
            let other = other.map(|other| format!(" at {other}")).unwrap_or_default();
            format!("one{other} that was started later and is spoken with, and one at {there} that is refused.")
        }
        Twin::Called { from } => format!("this one{here}, and one that called from {}.", from.to_canonical()),
        Twin::Fenced { by, why } => format!("this one{here}, which is refused, and another. Node {by} says: {why}."),
    }
}

#[cfg(test)]
mod tests {
    use super::in_words;
    use crate::base::id::NodeId;
    use crate::net::peer::twins::Met;
    use crate::net::peer::twins::Twin;

    #[test]
    fn both_machines_are_named_as_far_as_they_are_known() {
        let (at, from) = (|text: &str| Met::At(text.parse().unwrap()), |text: &str| Met::From(text.parse().unwrap()));
        let refused = |there, other| in_words(Twin::Refused { node: NodeId(3), there, other }, ", at 10.0.0.1:7400");
        let both = refused(at("10.0.0.3:7400"), Some(from("10.0.0.9")));
        assert_eq!(
            both,
            "one at 10.0.0.9 that was started later and is spoken with, and one at 10.0.0.3:7400 that is refused."
        );
        assert!(refused(from("10.0.0.3"), None).contains("and one at 10.0.0.3 that is refused"));
        let fenced = Twin::Fenced { by: NodeId(1), why: "a later start is at 10.0.0.9:7400".to_owned() };
        let told = in_words(fenced, ", at 10.0.0.3:7400");
        assert!(told.contains("this one, at 10.0.0.3:7400") && told.contains("10.0.0.9:7400"), "{told}");
        let called = in_words(Twin::Called { from: "::ffff:10.0.0.9".parse().unwrap() }, "");
        assert_eq!(called, "this one, and one that called from 10.0.0.9.");
    }
}
