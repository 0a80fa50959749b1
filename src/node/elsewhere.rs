//! Where devices should go: the nodes that serve, as this node knows them. [`crate::proto::elsewhere`] puts them in order.

use std::collections::BTreeSet;
use std::net::IpAddr;

use serde::Serialize;

use crate::base::id::NodeId;
use crate::base::limits::LOAD_STEP;
use crate::base::listen::Listen;
use crate::node::Node;
use crate::node::plan;
use crate::proto::control::State;
use crate::proto::control::members::Member;
use crate::proto::control::members::MemberState;
use crate::proto::elsewhere;
use crate::proto::elsewhere::Candidate;
use crate::proto::member::view::Seen;
use crate::proto::member::view::Status;
use crate::proto::member::words::Serving;

/// A node as a device sees it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct DeviceNode {
    /// Its number.
    pub id: NodeId,
    /// Where devices reach it.
    pub url: String,
    /// Where it stands.
    pub zone: String,
    /// Whether that is where the device is.
    pub near: bool,
    /// How busy it says that it is, in per cent, to the next lower quarter.
    pub load: u8,
}

impl Node {
    /// The nodes that serve, in the order in which the device at this address had better try them. It is taken to be where
    /// this node is, unless it says another zone.
    #[must_use]
    pub fn nodes_for(&self, device: Option<IpAddr>, zone: Option<&str>) -> Vec<DeviceNode> {
        let (state, sight, me) = (self.state(), self.sight(), self.who().node);
        let mine = state.member(me).map_or(&[][..], |member| &member.addresses);
        let serves = |node: NodeId, member: &Member| {
            if node != me && !is_reached(member.url.as_deref()?, &member.addresses, mine) {
                return None;
            }
            let load = if node == me { self.own_load()? } else { load_of(sight.get(&node)?)? };
            candidate(node, member, load)
        };
        let mut candidates: Vec<_> = there(&state).filter_map(|(node, member)| serves(node, member)).collect();
        let here = || state.member(me).map_or_else(String::new, |member| member.zone.clone());
        let zone = zone.map_or_else(here, str::to_owned);
        elsewhere::order(&mut candidates, &zone, device.map_or_else(String::new, |ip| ip.to_string()).as_bytes());
        let shown = |Candidate { node, url, zone: stands, load }: Candidate| {
            let near = stands == zone;
            // In the steps by which they are ordered: else the list would be another one every few seconds.
            DeviceNode { id: node, url, zone: stands, near, load: load / LOAD_STEP * LOAD_STEP }
        };
        candidates.into_iter().map(shown).collect()
    }

    /// Whether devices are asked to go to other nodes: because somebody wants it, or because this one stops.
    #[must_use]
    pub fn sends_away(&self) -> bool {
        self.is_draining() || self.diverted().is_some()
    }

    /// None where this node does not serve.
    fn own_load(&self) -> Option<u8> {
        (!self.sends_away() && self.is_serving()).then(|| self.figures().load)
    }
}

fn there(state: &State) -> impl Iterator<Item = (NodeId, &Member)> {
    let stays = |(_, member): &(&NodeId, &Member)| matches!(member.state, MemberState::Joining | MemberState::Member);
    state.members.iter().filter(stays).map(|(node, member)| (*node, member))
}

/// Whether devices that reach this node reach another one under its address. One of loopback is another one on each machine,
/// so it is good only where both are on the same: there other nodes reach them at the same host.
fn is_reached(url: &str, addresses: &[String], mine: &[String]) -> bool {
    let is_loopback = Listen::parse(url).is_ok_and(|listen| listen.address.ip().is_loopback());
    !is_loopback || !hosts(addresses).is_disjoint(&hosts(mine))
}

fn hosts(addresses: &[String]) -> BTreeSet<&str> {
    addresses.iter().filter_map(|address| Some(address.rsplit_once(':')?.0)).collect()
}

/// What it says of itself, where it is there and serves.
fn load_of(seen: &Seen) -> Option<u8> {
    let news = seen.news.as_ref().filter(|_| seen.status == Status::Up)?;
    (news.serving == Serving::Yes).then_some(news.load)
}

/// Whoever is drained is known to be by the control state before it says so itself.
fn candidate(node: NodeId, member: &Member, load: u8) -> Option<Candidate> {
    let url = member.url.clone().filter(|_| plan::drain_of(member).is_none())?;
    Some(Candidate { node, url, zone: member.zone.clone(), load })
}

#[cfg(test)]
mod tests {
    use super::is_reached;

    #[test]
    fn nobody_is_sent_to_the_loopback_of_another_machine() {
        let at = |address: &str| vec![address.to_owned()];
        let (here, there) = (at("10.0.0.1:7400"), at("10.0.0.2:7400"));
        assert!(!is_reached("http://127.0.0.1:7480", &there, &here));
        assert!(!is_reached("https://[::1]:7480", &there, &here));
        assert!(!is_reached("http://127.0.0.1:7480", &there, &[]));
        assert!(is_reached("https://10.0.0.2:7480", &there, &here));
        assert!(is_reached("https://b.example:7480", &there, &here));
        // Several on one machine, as `dev` starts them.
        assert!(is_reached("http://127.0.0.1:7481", &at("127.0.0.1:7490"), &at("127.0.0.1:7489")));
        assert!(is_reached("http://127.0.0.1:7481", &at("[fd00::1]:7401"), &at("[fd00::1]:7400")));
    }
}
