//! Between the peers' lanes and those who answer what comes by them: the control group, the owner of data, the membership,
//! and the porter who lets new nodes in.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::OnceLock;
use std::sync::PoisonError;
use std::time::Duration;

use tokio::sync::mpsc;

use crate::base::codec::Blob;
use crate::base::id::NodeId;
use crate::base::limits::GOSSIP_QUEUE;
use crate::base::limits::TWIN_ALARM;
use crate::base::time;
use crate::control::consensus::Consensus as _;
use crate::control::group::Group;
use crate::control::lane::Call;
use crate::control::lane::LaneError;
use crate::control::lane::RaftLane;
use crate::net::peer::CallError;
use crate::net::peer::Inbox;
use crate::net::peer::Peers;
use crate::net::peer::twins::Twin;
use crate::net::wire;
use crate::node::Node;
use crate::node::cluster;
use crate::node::cluster::NotAnswered;
use crate::node::cluster::Waiting;
use crate::node::cluster::Wire;
use crate::node::joining;
use crate::proto::control::members::MemberState;
use crate::proto::message::Vouched;

/// What came by the lane for gossip.
pub type Heard = (NodeId, Vec<u8>);

/// Where what comes by the lanes is taken in. Made before the node that answers: until that is there nothing is answered.
pub struct Post {
    group: OnceLock<Group>,
    node: OnceLock<Node>,
    gossip: mpsc::Sender<Heard>,
}

impl Post {
    /// With the end at which gossip comes out.
    #[must_use]
    pub fn new() -> (Self, mpsc::Receiver<Heard>) {
        let (gossip, heard) = mpsc::channel(GOSSIP_QUEUE);
        (Self { group: OnceLock::new(), node: OnceLock::new(), gossip }, heard)
    }

    /// From now on the group answers.
    pub fn group_is(&self, group: Group) {
        let _first_word_counts = self.group.set(group);
    }

    /// From now on the node answers.
    pub fn node_is(&self, node: Node) {
        let _first_word_counts = self.node.set(node);
    }
}

impl Inbox for Post {
    fn message(&self, from: NodeId, lane: wire::Lane, body: Vec<u8>) {
        match (lane, self.node.get()) {
            // Full: the next one says the same.
            (wire::Lane::Gossip, _) => drop(self.gossip.try_send((from, body))),
            (wire::Lane::Requests | wire::Lane::Bulk, Some(node)) => node.hear(from, &body),
            (wire::Lane::Requests | wire::Lane::Bulk, None) | (wire::Lane::Control, _) => {}
        }
    }

    fn question(&self, from: NodeId, lane: wire::Lane, body: Vec<u8>) -> futures_util::future::BoxFuture<'_, Vec<u8>> {
        Box::pin(async move {
            match lane {
                wire::Lane::Control => match self.group.get() {
                    Some(group) => {
                        let body = Blob(group.handle(from, body).await.into());
                        // Only now: what it says is durable is.
                        let standing = self.node.get().and_then(Node::standing);
                        Vouched { standing, body }.encode()
                    }
                    None => Vec::new(),
                },
                wire::Lane::Requests | wire::Lane::Bulk => match self.node.get() {
                    Some(node) => node.answer(from, &body).await,
                    None => Vec::new(),
                },
                wire::Lane::Gossip => Vec::new(),
            }
        })
    }

    fn guest(&self, from: SocketAddr, body: Vec<u8>) -> futures_util::future::BoxFuture<'_, Vec<u8>> {
        Box::pin(async move {
            match self.node.get() {
                Some(node) => joining::let_in(node, from, &body).await,
                None => joining::not_yet(),
            }
        })
    }

    fn courier(&self, from: NodeId, body: Vec<u8>) -> futures_util::future::BoxFuture<'_, Vec<u8>> {
        Box::pin(async move {
            match self.node.get() {
                Some(node) => node.answer_courier(from, &body).await,
                None => Vec::new(),
            }
        })
    }

    fn may_speak(&self, node: NodeId) -> bool {
        self.group.get().is_some_and(|group| !group.state().is_gone(node) || group.votes(node))
    }

    fn twin(&self, twin: Twin) {
        let said = format!("{twin:?}");
        // It tries again and again; what is known already is not said again.
        if self.node.get().is_none_or(|this| this.note_twin(twin)) {
            tracing::error!(
                twin = said,
                "two machines show the number of one node: a data directory was copied or put back; stop one of them for ever"
            );
        }
    }

    fn removed(&self, node: NodeId) -> Option<String> {
        let group = self.group.get()?;
        let state = group.state();
        if group.votes(node) {
            return None;
        }
        let grave = state.members.get(&node).filter(|member| member.state == MemberState::Removed)?;
        Some(format!("node {node} is no member of this cluster any more: {}", grave.reason))
    }

    fn is_removed(&self, by: NodeId, why: &str) {
        let first = self.node.get().is_some_and(|node| node.0.cast_out.set(format!("node {by} says: {why}")).is_ok());
        if first {
            tracing::error!(
                %by,
                why,
                "the cluster refuses this node for ever; stop it, keep its directory aside, and let the machine join again \
                 with an empty one and an invite of that cluster"
            );
        }
    }
}

impl Node {
    /// There are two of a node. False where that is known.
    fn note_twin(&self, twin: Twin) -> bool {
        let node = match &twin {
            Twin::Refused { node, .. } => *node,
            Twin::Called { .. } | Twin::Fenced { .. } => self.who().node,
        };
        let mut twins = self.0.cluster.twins.lock().unwrap_or_else(PoisonError::into_inner);
        let before = twins.insert(node, (time::mono(), twin));
        before.is_none_or(|(seen, _)| seen.elapsed() > TWIN_ALARM)
    }

    /// Nodes of which there are two, as seen lately.
    pub(super) fn twins(&self) -> Vec<(NodeId, Twin)> {
        let twins = self.0.cluster.twins.lock().unwrap_or_else(PoisonError::into_inner);
        let lately = twins.iter().filter(|(_, (seen, _))| seen.elapsed() <= TWIN_ALARM);
        lately.map(|(node, (_, twin))| (*node, twin.clone())).collect()
    }
}

/// The lanes as the node and the control group see them.
pub struct Lanes {
    /// None where this node listens to no others.
    pub peers: Option<Peers>,
    /// Who hears what others say of themselves.
    pub post: Arc<Post>,
}

impl Wire for Lanes {
    fn ask(
        &self,
        to: NodeId,
        lane: cluster::Lane,
        body: Vec<u8>,
        within: Duration,
    ) -> Waiting<Result<Vec<u8>, NotAnswered>> {
        let Some(peers) = &self.peers else { return Box::pin(std::future::ready(Err(NotAnswered::NotSent))) };
        let lane = match lane {
            cluster::Lane::Requests => wire::Lane::Requests,
            cluster::Lane::Bulk => wire::Lane::Bulk,
        };
        let answer = peers.call(to, lane, &body, within);
        Box::pin(async move {
            answer.await.map_err(|error| match error {
                CallError::NotSent(_) | CallError::Busy => NotAnswered::NotSent,
                CallError::Lost | CallError::TimedOut | CallError::Failed => NotAnswered::Silent,
            })
        })
    }

    fn say(&self, to: NodeId, body: Vec<u8>) {
        if let Some(peers) = &self.peers {
            // Whoever waits for it asks again.
            let _lost = peers.send(to, wire::Lane::Requests, &body);
        }
    }

    fn look_for(&self, node: NodeId, addresses: Vec<String>) {
        if let Some(peers) = &self.peers {
            peers.know(node, addresses);
        }
    }

    fn round_trip(&self, to: NodeId) -> Option<Duration> {
        self.peers.as_ref()?.round_trip(to)
    }

    fn heard_ago(&self, from: NodeId) -> Option<Duration> {
        self.peers.as_ref()?.heard_ago(from)
    }

    fn waiting_bytes(&self) -> usize {
        self.peers.as_ref().map_or(0, Peers::waiting_bytes)
    }
}

impl RaftLane for Lanes {
    fn call(&self, to: NodeId, body: Vec<u8>, within: Duration) -> Call<'_> {
        let Some(peers) = &self.peers else { return Box::pin(std::future::ready(Err(LaneError::NotSent))) };
        let answer = peers.call(to, wire::Lane::Control, &body, within);
        Box::pin(async move {
            let answer = answer.await.map_err(|error| match error {
                CallError::NotSent(_) | CallError::Busy => LaneError::NotSent,
                CallError::Lost | CallError::TimedOut | CallError::Failed => LaneError::NoAnswer,
            })?;
            let Vouched { standing, body } = Vouched::decode(&answer).map_err(|_unreadable| LaneError::NoAnswer)?;
            if let Some((node, standing)) = self.post.node.get().zip(standing) {
                node.hear_standing(to, standing);
            }
            Ok(body.0.to_vec())
        })
    }
}

/// The way of this node's process to others, with what has to be told once it is there.
pub struct Way {
    /// None where it listens to no others.
    pub peers: Option<Peers>,
    /// Where what comes is taken in.
    pub post: Arc<Post>,
    /// What came by gossip.
    pub gossip: mpsc::Receiver<Heard>,
}
