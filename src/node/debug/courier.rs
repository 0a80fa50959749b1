//! The courier: a short-lived process that gives a crash report to peers while its node has no worker. It reads who the
//! node is and whom to call, and touches nothing else of the data directory, above all not its lock. The report it is handed.

use std::io::Read;
use std::path::Path;
use std::time::Duration;

use serde::Deserialize;
use serde::Serialize;

use crate::base::codec::Blob;
use crate::base::exit::Exit;
use crate::base::id::NodeId;
use crate::base::limits::COURIER_BUDGET;
use crate::base::limits::COURIER_TURN;
use crate::base::limits::CRASH_BYTES_MAX;
use crate::base::limits::CRASH_COPIES;
use crate::base::limits::PEER_ADDRESS_BYTES_MAX;
use crate::base::limits::PEER_ADDRESSES_MAX;
use crate::base::limits::PEER_LIST_BYTES_MAX;
use crate::base::limits::PEERS_MAX;
use crate::base::time;
use crate::net::peer::courier;
use crate::net::tls::PeerIdentity;
use crate::node::Node;
use crate::proto::crash::Report;
use crate::proto::diagnosis::Found;
use crate::proto::diagnosis::Wish;
use crate::proto::message::Answer;
use crate::proto::message::Ask;
use crate::proto::message::Question;
use crate::proto::message::Tell;
use crate::store::crashes::Crashes;
use crate::store::data_dir;
use crate::store::identity;
use crate::store::identity::peer;

/// Tells a process that it is a courier, and of which report, which is its standard input.
pub const COURIER: &str = "RINGFORT_COURIER";

/// The file with whom to call.
const PEERS: &str = "blackbox/peers.json";

/// Whom to call, in this order.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct PeerList {
    peers: Vec<PeerNoted>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct PeerNoted {
    node: NodeId,
    addresses: Vec<String>,
}

impl PeerList {
    fn read(data: &Path) -> std::io::Result<Self> {
        let mut bytes = Vec::new();
        std::fs::File::open(data.join(PEERS))?.take(PEER_LIST_BYTES_MAX as u64).read_to_end(&mut bytes)?;
        let mut list: Self = serde_json::from_slice(&bytes)?;
        list.peers.truncate(PEERS_MAX);
        for peer in &mut list.peers {
            peer.addresses.retain(|address| address.len() <= PEER_ADDRESS_BYTES_MAX);
            peer.addresses.truncate(PEER_ADDRESSES_MAX);
        }
        Ok(list)
    }

    #[cfg(test)]
    pub(super) fn of_one(node: NodeId, address: &str) -> Self {
        Self { peers: vec![PeerNoted { node, addresses: vec![address.to_owned()] }] }
    }

    /// Writes it where a courier looks.
    ///
    /// # Errors
    /// Of the operating system.
    pub fn write(&self, data: &Path) -> std::io::Result<()> {
        data_dir::write_whole(&data.join(PEERS), &serde_json::to_vec(self)?)
    }
}

/// Whether it is written down whom to call.
pub(super) fn knows_peers(data: &Path) -> bool {
    PeerList::read(data).is_ok_and(|list| !list.peers.is_empty())
}

/// When that was written down, which each worker does soon after its start, and by whom.
pub(super) fn peers_noted(data: &Path) -> std::io::Result<std::fs::Metadata> {
    std::fs::metadata(data.join(PEERS))
}

impl Node {
    /// Who keeps what this node has to leave behind: the nodes after it in the committed layout, those of other zones first,
    /// then all others.
    #[must_use]
    pub fn heirs(&self) -> Vec<NodeId> {
        let (state, me) = (self.state(), self.who().node);
        let zone = |node: NodeId| state.member(node).map(|member| member.zone.clone());
        let own = zone(me);
        let mut others: Vec<NodeId> = state.members.keys().copied().filter(|node| *node != me).collect();
        others.retain(|node| state.member(*node).is_some());
        // After this one, around the ring of numbers; who has no part in the layout comes last.
        let owns = |node: NodeId| state.layout.slots().any(|(_, slot)| slot.now.owners.contains(&node));
        others.sort_by_key(|node| (!owns(*node), zone(*node) == own, *node < me, *node));
        others
    }

    /// The same with where they are.
    #[must_use]
    pub fn peer_list(&self) -> PeerList {
        let state = self.state();
        let noted = |node: NodeId| {
            let member = state.member(node)?;
            Some(PeerNoted { node, addresses: member.addresses.clone() })
        };
        PeerList { peers: self.heirs().into_iter().filter_map(noted).take(PEERS_MAX).collect() }
    }
}

/// Gives the report that it is handed to two peers, or to all that there are. Returns the status to end with: what could not
/// be delivered is left to the next worker, where the disk has it.
pub async fn run(data: &Path) -> Exit {
    let report = match handed() {
        Ok(report) => report,
        Err(reason) => {
            tracing::warn!(reason, "a courier was handed no crash report; the worker sends what is on the disk");
            return Exit::Usage;
        }
    };
    let id = report.id.clone();
    match tokio::time::timeout(COURIER_BUDGET, deliver(data, &report)).await {
        Ok(Ok(true)) => Exit::Ok,
        Ok(Ok(false)) | Err(_) => {
            tracing::warn!(id = id.as_str(), "a crash report did not reach two other nodes; the worker tries again");
            Exit::TryAgain
        }
        Ok(Err(reason)) => {
            tracing::warn!(id = id.as_str(), reason, "a crash report could not be sent; the worker tries again");
            Exit::TryAgain
        }
    }
}

/// By hand and not by the disk, which may be what failed.
fn handed() -> Result<Report, String> {
    let mut bytes = Vec::new();
    let read = std::io::stdin().take(CRASH_BYTES_MAX as u64 + 1).read_to_end(&mut bytes);
    read.map_err(|error| error.to_string())?;
    Report::parse(&bytes).map_err(|error| error.to_string())
}

/// Gives a report to two peers, or to all that there are. Returns whether they have it.
///
/// # Errors
/// Where this node cannot say who it is or does not know whom to tell; nobody was told.
pub(super) async fn deliver(data: &Path, report: &Report) -> Result<bool, String> {
    let id = &report.id;
    let list = PeerList::read(data).map_err(|error| error.to_string())?;
    let dir = data.join("identity");
    let who = identity::read(&dir).map_err(|error| error.to_string())?.ok_or("this node has no identity yet")?;
    let files = peer::read(&dir, &who).map_err(|error| error.to_string())?;
    let proof = PeerIdentity {
        cluster: who.cluster,
        node: who.node,
        authority: files.authority,
        certificate: files.certificate,
        key: files.key,
    };
    let wish = Wish::KeepCrash(Blob(report.encode().into()));
    let (mut kept, wanted) = (0, CRASH_COPIES.min(list.peers.len()));
    for peer in &list.peers {
        if kept >= wanted {
            break;
        }
        match give(&proof, peer, &wish).await {
            Ok(()) => kept += 1,
            Err(reason) => tracing::debug!(node = %peer.node, reason, "a peer did not take a crash report"),
        }
    }
    if kept >= wanted {
        Crashes::of(data).delivered(id);
    }
    tracing::info!(id = id.as_str(), kept, "other nodes keep the crash report");
    Ok(kept >= wanted)
}

async fn give(proof: &PeerIdentity, peer: &PeerNoted, wish: &Wish) -> Result<(), String> {
    let mut last = "it has no address".to_owned();
    for address in &peer.addresses {
        match courier::ask(proof, peer.node, address, &question(wish.clone(), COURIER_TURN), COURIER_TURN).await {
            Ok(answer) => match Answer::decode(&answer) {
                Ok(Answer { tell: Tell::Diagnosis(found), .. }) if *found == Found::Kept => return Ok(()),
                Ok(_) | Err(_) => last = "it did not keep it".to_owned(),
            },
            Err(reason) => last = reason,
        }
    }
    Err(last)
}

fn question(wish: Wish, within: Duration) -> Vec<u8> {
    let (steady_ms, left_ms) = (time::steady_ms().0, time::millis(within));
    Question { epoch: 0, view: 0, steady_ms, left_ms, floor: 0, stamp: 0, ask: Ask::Diagnosis(Box::new(wish)) }.encode()
}

#[cfg(test)]
mod tests {
    use super::PeerList;
    use super::PeerNoted;
    use crate::base::id::NodeId;
    use crate::base::limits::PEER_ADDRESSES_MAX;

    #[test]
    fn a_list_is_read_as_it_was_written_and_never_longer_than_it_may_be() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::create_dir(dir.path().join("blackbox")).unwrap();
        let peer = |addresses| PeerNoted { node: NodeId(2), addresses };
        let list = PeerList { peers: vec![peer(vec!["127.0.0.1:1".to_owned()])] };
        list.write(dir.path()).unwrap();
        assert_eq!(PeerList::read(dir.path()).unwrap(), list);
        PeerList { peers: vec![peer(vec!["x:1".to_owned(); 100])] }.write(dir.path()).unwrap();
        assert_eq!(PeerList::read(dir.path()).unwrap().peers[0].addresses.len(), PEER_ADDRESSES_MAX);
        assert!(PeerList::read(&dir.path().join("none")).is_err());
    }
}
