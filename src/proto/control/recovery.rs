//! The control state begun anew from what one survivor knows, after the majority of the voters was lost for ever (HOUSE
//! decision 15). What the lost ones decided last is not known: so nothing that they may have given out is given out again,
//! and nothing that counted by their word counts by it any more.

use std::collections::BTreeSet;

use crate::base::id::NodeId;
use crate::proto::audit::By;
use crate::proto::audit::Outcome;
use crate::proto::control::Birth;
use crate::proto::control::Command;
use crate::proto::control::Refused;
use crate::proto::control::State;
use crate::proto::control::members::MemberState;

/// Layout versions, and with them epochs, by which a new beginning is ahead: more than any cluster has changes of layout.
const EPOCHS_AHEAD: u64 = 1 << 32;
/// Numbers of nodes, tokens, invites and plans that are left out: the lost may have given some of them. People read them.
const NUMBERS_LEFT_OUT: u64 = 1000;
/// Numbers of buckets that are left out: data of a bucket made last is still on the disks under its number.
const BUCKETS_LEFT_OUT: u32 = 1 << 16;

/// How it begins anew.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Recovery {
    /// Higher than all before.
    pub generation: u64,
    /// Voters that could have gone on without the survivor: they are removed, and nobody listens to them again.
    pub lost: BTreeSet<NodeId>,
    /// For the audit.
    pub by: By,
}

impl State {
    /// Begins anew. What the lost own they are still listed for: data is given up on another order.
    ///
    /// # Errors
    /// [`Refused::OldGeneration`], with the state unchanged.
    pub fn recover(&mut self, recovery: Recovery) -> Result<(), Refused> {
        let Recovery { generation, lost, by } = recovery;
        if generation <= self.generation {
            return Err(Refused::OldGeneration { given: generation, known: self.generation });
        }
        self.generation = generation;
        for (_, member) in self.members.iter_mut().filter(|(node, _)| lost.contains(node)) {
            member.become_state(MemberState::Removed, "lost when the control plane was recovered without it");
        }
        self.leave_out();
        let names: Vec<String> = lost.iter().map(ToString::to_string).collect();
        let what = format!(
            "recovers the control plane as generation {generation}, without the voters {} and what only they knew",
            names.join(", ")
        );
        self.access_audit.push(by.clone(), what.clone(), Outcome::Changed);
        self.audit.push(by, what, Outcome::Changed);
        Ok(())
    }

    /// Of a lone node of whose state nothing is left: nothing that it may have given out is given out again.
    #[must_use]
    pub fn begun_again(birth: Birth) -> Self {
        let mut state = Self::default();
        state.leave_out();
        let _made = state.apply(Command::Begin(birth));
        state
    }

    fn leave_out(&mut self) {
        self.next_node = self.next_node.saturating_add(NUMBERS_LEFT_OUT);
        self.next_token = self.next_token.saturating_add(NUMBERS_LEFT_OUT);
        self.next_invite = self.next_invite.saturating_add(NUMBERS_LEFT_OUT);
        self.next_plan = self.next_plan.saturating_add(NUMBERS_LEFT_OUT);
        self.next_bucket = self.next_bucket.saturating_add(BUCKETS_LEFT_OUT);
        self.layout.outrun(EPOCHS_AHEAD);
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::Recovery;
    use crate::base::id::NodeId;
    use crate::proto::audit::By;
    use crate::proto::audit::Via;
    use crate::proto::control::Refused;
    use crate::proto::control::State;
    use crate::proto::control::layout::tests::grown;
    use crate::proto::control::members::MemberState;

    fn recovery(generation: u64, lost: &[u64]) -> Recovery {
        let by = By { name: "local owner".to_owned(), via: Via::Local, from: None, at_ms: 7 };
        Recovery { generation, lost: lost.iter().copied().map(NodeId).collect(), by }
    }

    fn epochs(state: &State) -> BTreeSet<u64> {
        state.layout.slots().map(|(_, slot)| slot.epoch).collect()
    }

    #[test]
    fn what_the_lost_may_have_given_out_is_not_given_out_again_and_their_epochs_are_below_all_that_count() {
        let before = grown();
        let mut state = before.clone();
        state.recover(recovery(1, &[1, 2])).unwrap();
        assert_eq!(state.generation, 1);
        assert!(state.layout.version > before.layout.version + 1_000_000);
        assert!(epochs(&state).into_iter().min() > epochs(&before).into_iter().max());
        assert!(epochs(&state).into_iter().all(|epoch| epoch <= state.layout.version));
        assert!(state.next_node > before.next_node && state.next_bucket > before.next_bucket);
        assert!(state.next_token > before.next_token && state.next_invite > before.next_invite);
        let removed = |node: u64| state.members[&NodeId(node)].state == MemberState::Removed;
        assert_eq!([1, 2, 3].map(removed), [true, true, false]);
        // Data is not given up by it.
        let owners = |state: &State| state.layout.slots().map(|(_, slot)| slot.now.owners.clone()).collect::<Vec<_>>();
        assert_eq!((owners(&state), &state.gone), (owners(&before), &BTreeSet::new()));
        for log in [&state.audit, &state.access_audit] {
            let last = log.entries().next_back().unwrap();
            assert!(last.what.contains("generation 1, without the voters 1, 2"), "{}", last.what);
        }
        assert_eq!(state.audit.verify(), Ok(()));
    }

    #[test]
    fn a_generation_begins_once() {
        let mut state = grown();
        state.recover(recovery(2, &[1])).unwrap();
        let known = state.clone();
        for given in [1, 2] {
            let refused = Err(Refused::OldGeneration { given, known: 2 });
            assert_eq!(state.recover(recovery(given, &[2])), refused);
        }
        assert_eq!(state, known);
    }
}
