//! The audit as the faces see it.

use serde::Serialize;

use crate::base::codec;
use crate::node::Node;
use crate::proto::audit::Anchor;
use crate::proto::audit::Chain;
use crate::proto::audit::Shown;

/// A place in the chain.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Place {
    /// The number of an entry; 0 before the first.
    pub seq: u64,
    /// Its hash, hexadecimal.
    pub hash: String,
}

impl From<Anchor> for Place {
    fn from(anchor: Anchor) -> Self {
        Self { seq: anchor.seq, hash: codec::hex(&anchor.hash) }
    }
}

/// Some entries of a chain, oldest first.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct AuditPage {
    /// Behind this entry the kept ones begin; older ones are not kept any more.
    pub anchor: Place,
    /// The entries.
    pub entries: Vec<Shown>,
    /// The last entry of all.
    pub head: Place,
    /// Where the next page begins behind; none where this is the last.
    pub next: Option<u64>,
}

impl Node {
    /// Entries of a chain behind the one with this number, at most `limit`.
    #[must_use]
    pub fn audit(&self, chain: Chain, after: u64, limit: usize) -> AuditPage {
        let state = self.state();
        let log = state.audit_chain(chain);
        let (anchor, head) = (log.anchor(), log.head());
        let entries: Vec<Shown> =
            log.after(after).take(limit).map(|(before, entry)| Shown::new(before, entry)).collect();
        let next = entries.last().map(|last| last.seq).filter(|seq| *seq < head.seq);
        AuditPage { anchor: anchor.into(), entries, head: head.into(), next }
    }

    /// Whether a whole chain holds.
    #[must_use]
    pub fn audit_holds(&self, chain: Chain) -> bool {
        self.state().audit_chain(chain).verify().is_ok()
    }
}
