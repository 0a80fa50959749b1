//! What the membership protocol calls a node: which one, and in which of its lives.

use foca::Identity;
use serde::Deserialize;
use serde::Serialize;

use crate::base::id::NodeId;

/// A node in one of its lives. The cluster is in every message, so it need not be in here.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Id {
    /// The node.
    pub(super) node: NodeId,
    /// Rises with every start of its process; kept on its disk, never taken from a clock.
    pub(super) start: u64,
    /// Rises whenever it learns that it was taken for dead.
    pub(super) bump: u32,
}

impl Id {
    /// A node of which nothing was heard: any life of it takes what is said to this one.
    pub(super) fn unheard(node: NodeId) -> Self {
        Self { node, start: 0, bump: 0 }
    }
}

impl Identity for Id {
    type Addr = NodeId;

    fn renew(&self) -> Option<Self> {
        Some(Self { bump: self.bump.checked_add(1)?, ..*self })
    }

    fn addr(&self) -> NodeId {
        self.node
    }

    fn win_addr_conflict(&self, adversary: &Self) -> bool {
        (self.start, self.bump) > (adversary.start, adversary.bump)
    }
}

#[cfg(test)]
mod tests {
    use foca::Identity;

    use crate::base::id::NodeId;
    use crate::proto::member::identity::Id;

    #[test]
    fn a_later_life_wins_and_one_that_was_taken_for_dead_wins_over_itself() {
        let id = Id { node: NodeId(1), start: 5, bump: 9 };
        let renewed = id.renew().unwrap();
        assert!(renewed.win_addr_conflict(&id) && !id.win_addr_conflict(&renewed) && !id.win_addr_conflict(&id));
        let restarted = Id { start: 6, bump: 0, ..id };
        assert!(restarted.win_addr_conflict(&renewed));
        assert_eq!(Id { bump: u32::MAX, ..id }.renew(), None);
    }
}
