//! Two machines that show the number of one node: which of them is spoken with, and where both are, for people.

use std::fmt;
use std::net::IpAddr;
use std::net::SocketAddr;
use std::sync::MutexGuard;
use std::sync::PoisonError;

use crate::base::id::NodeId;
use crate::net::peer::Peer;
use crate::net::peer::Shared;
use crate::net::wire::Lane;
use crate::net::wire::hello::Life;

/// Where a machine was met.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Met {
    /// It listens there.
    At(SocketAddr),
    /// It called from there, by a port that says nothing.
    From(IpAddr),
}

impl Met {
    /// With the port at which it listens, where it is on the machine whose port is known.
    fn or_at(self, known: Option<SocketAddr>) -> Self {
        match (self, known) {
            (Self::From(from), Some(known)) if known.ip().to_canonical() == from.to_canonical() => Self::At(known),
            (Self::At(_) | Self::From(_), _) => self,
        }
    }
}

impl fmt::Display for Met {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::At(address) => write!(f, "{address}"),
            Self::From(ip) => write!(f, "{}", ip.to_canonical()),
        }
    }
}

/// There are two of one node.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Twin {
    /// Of another node; one of them is refused here.
    Refused {
        /// Whose number it is.
        node: NodeId,
        /// Where the refused one is.
        there: Met,
        /// Where the one is that is spoken with, as far as that is known.
        other: Option<Met>,
    },
    /// Of this one: the other called here.
    Called {
        /// Where from.
        from: IpAddr,
    },
    /// Of this one: a peer speaks with the other.
    Fenced {
        /// Which peer.
        by: NodeId,
        /// In its words.
        why: String,
    },
}

impl Shared {
    /// Whether this life of a peer, which was met there, is the one to speak with; where not, there are two of it. In words
    /// for the one that is refused.
    pub(super) fn admit(&self, peer: &Peer, life: Option<Life>, there: Met) -> Result<(), String> {
        let (listens, counted) = (peer.listens_at(), peer.lives.counts());
        let is_silent = || peer.last_heard().is_none_or(|heard| heard.elapsed() >= self.twin_remembered);
        if peer.lives.admit(life, is_silent) {
            if counted.is_some_and(|counted| Some(counted) != life) && listens.is_some() {
                *peer.before() = listens;
            }
            return Ok(());
        }
        let (node, before) = (peer.node, *peer.before());
        // A connection to the earlier one may not have ended yet.
        let listens = listens.filter(|listens| Some(*listens) != before).map(Met::At);
        let other = listens.or_else(|| peer.calls_from().map(Met::From));
        let place = other.map(|other| format!("at {other} and ")).unwrap_or_default();
        self.inbox.twin(Twin::Refused { node, there: there.or_at(before), other });
        Err(format!("a later start of node {node} is {place}spoken with: its directory was copied, or put back"))
    }
}

impl Peer {
    /// Where the life before the one that counts listened.
    fn before(&self) -> MutexGuard<'_, Option<SocketAddr>> {
        self.before.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Where this node's connections to it end.
    fn listens_at(&self) -> Option<SocketAddr> {
        Lane::ALL.into_iter().find_map(|lane| self.out.of(lane).seen().address)
    }

    /// Where its connections to this node come from.
    fn calls_from(&self) -> Option<IpAddr> {
        Lane::ALL.into_iter().find_map(|lane| self.inbound.of(lane).from())
    }
}

#[cfg(test)]
mod tests {
    use crate::net::peer::twins::Met;

    #[test]
    fn who_called_is_named_by_the_port_at_which_its_machine_listens_and_by_that_of_no_other() {
        let from = |text: &str| Met::From(text.parse().unwrap());
        let known = Some("10.0.0.3:7400".parse().unwrap());
        assert_eq!(from("10.0.0.3").or_at(known).to_string(), "10.0.0.3:7400");
        assert_eq!(from("::ffff:10.0.0.3").or_at(known).to_string(), "10.0.0.3:7400");
        assert_eq!(from("10.0.0.4").or_at(known).to_string(), "10.0.0.4");
        assert_eq!(from("::ffff:10.0.0.3").or_at(None).to_string(), "10.0.0.3");
        let at = Met::At("10.0.0.9:7400".parse().unwrap());
        assert_eq!(at.or_at(known), at);
    }
}
