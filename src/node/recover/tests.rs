//! Who may go on alone, and who may not.

use std::collections::BTreeMap;

use super::Said;
use super::judge;
use crate::base::id::ClusterId;
use crate::base::id::NodeId;
use crate::control::refound::Known;
use crate::control::types::Id;
use crate::control::types::Members;
use crate::proto::control::Birth;
use crate::proto::control::Command;
use crate::proto::control::State;

fn id(index: u64) -> Option<Id> {
    Some(Id { term: 2, node: 1, index })
}

/// Node 1 with entry 5, one of these voters.
fn known(voters: &[u64]) -> Known {
    let mut state = State::default();
    let birth = Birth { cluster: ClusterId(1), node: NodeId(1), at_ms: 1, context_secret: [3; 32] };
    state.apply(Command::Begin(birth)).unwrap();
    let members = Members { voters: vec![voters.iter().copied().collect()], learners: [9].into() };
    Known { last: id(5), committed: id(5), members, state }
}

fn verdict(known: &Known, said: &[(u64, Said)]) -> Result<Vec<u64>, String> {
    let said: BTreeMap<_, _> = said.iter().map(|(node, said)| (NodeId(*node), said.clone())).collect();
    Ok(judge(NodeId(1), known, &said)?.into_iter().map(|node| node.0).collect())
}

fn silent() -> Said {
    Said::Nothing("it is gone".to_owned())
}

#[test]
fn a_survivor_goes_on_without_the_voters_that_are_silent() {
    let three = known(&[1, 2, 3]);
    assert_eq!(verdict(&three, &[(2, silent()), (3, silent())]), Ok(vec![2, 3]));
    // A learner that is there or silent is not given up: it could not have gone on.
    assert_eq!(verdict(&three, &[(2, silent()), (3, silent()), (9, silent())]), Ok(vec![2, 3]));
    assert_eq!(verdict(&three, &[(2, silent()), (3, silent()), (9, Said::Here(id(4)))]), Ok(vec![2, 3]));
    let five = known(&[1, 2, 3, 4, 5]);
    let one_is_there = [(2, Said::Here(id(5))), (3, silent()), (4, silent()), (5, silent())];
    assert_eq!(verdict(&five, &one_is_there), Ok(vec![3, 4, 5]));
    // A learner may be all that is left.
    assert_eq!(verdict(&known(&[2, 3, 4]), &[(2, silent()), (3, silent()), (4, silent())]), Ok(vec![2, 3, 4]));
}

#[test]
fn nobody_goes_on_alone_while_another_one_knows_more_or_a_majority_is_there() {
    let three = known(&[1, 2, 3]);
    for node in [2, 9] {
        let refused = verdict(&three, &[(node, Said::Here(id(6))), (3, silent())]).unwrap_err();
        assert!(refused.contains(&format!("node {node} can be reached and knows more")), "{refused}");
    }
    let refused = verdict(&three, &[(2, Said::Here(id(5))), (3, silent())]).unwrap_err();
    assert!(refused.contains("a majority of the voters is there"), "{refused}");
    assert!(verdict(&known(&[1]), &[]).unwrap_err().contains("a majority"), "a lone node has lost nothing");
    let refused = verdict(&three, &[(2, Said::Later), (3, silent())]).unwrap_err();
    assert!(refused.contains("later generation"), "{refused}");
    let refused = verdict(&three, &[(2, Said::Removed("gone".to_owned())), (3, silent())]).unwrap_err();
    assert!(refused.contains("node 2 says: gone"), "{refused}");
}
