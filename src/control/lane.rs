//! The way to the other nodes of the group: what the floors below must give, and openraft's network on it.

#![expect(clippy::wildcard_enum_match_arm, reason = "an answer to another question is as good as none")]

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use openraft::AnyError;
use openraft::EmptyNode;
use openraft::RaftNetwork;
use openraft::RaftNetworkFactory;
use openraft::SnapshotSegmentId;
use openraft::error::InstallSnapshotError;
use openraft::error::NetworkError;
use openraft::error::RPCError;
use openraft::error::RaftError;
use openraft::error::RemoteError;
use openraft::error::SnapshotMismatch;
use openraft::error::Unreachable;
use openraft::network::Backoff;
use openraft::network::RPCOption;
use openraft::raft::AppendEntriesRequest;
use openraft::raft::AppendEntriesResponse;
use openraft::raft::InstallSnapshotRequest;
use openraft::raft::InstallSnapshotResponse;
use openraft::raft::VoteRequest;
use openraft::raft::VoteResponse;
use tokio::sync::watch;

use crate::base::codec::Blob;
use crate::base::id::NodeId;
use crate::base::limits::CONTROL_HEARTBEAT;
use crate::base::time;
use crate::control::machine::View;
use crate::control::matched::Matched;
use crate::control::types::Ballot;
use crate::control::types::Id;
use crate::control::types::Line;
use crate::control::types::Types;
use crate::control::words::Answer;
use crate::control::words::Appended;
use crate::control::words::Ask;
use crate::control::words::Question;
use crate::control::words::Reply;

/// Why there is no answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum LaneError {
    /// The question was not sent.
    #[error("there is no connection to that node")]
    NotSent,
    /// It was sent, and nothing came back.
    #[error("that node did not answer")]
    NoAnswer,
}

/// A question on its way.
pub type Call<'a> = Pin<Box<dyn Future<Output = Result<Vec<u8>, LaneError>> + Send + 'a>>;

/// The lane between control groups: what is given to [`RaftLane::call`] on one node comes to `Group::handle` on the other,
/// with the id of the node that its certificate names.
pub trait RaftLane: Send + Sync + 'static {
    /// Asks a node and waits for its answer.
    fn call(&self, to: NodeId, body: Vec<u8>, within: Duration) -> Call<'_>;
}

/// The lane of a node that knows no other.
pub struct Nobody;

impl RaftLane for Nobody {
    fn call(&self, _to: NodeId, _body: Vec<u8>, _within: Duration) -> Call<'_> {
        Box::pin(std::future::ready(Err(LaneError::NotSent)))
    }
}

/// The lane with what every question needs.
pub struct Link {
    lane: Arc<dyn RaftLane>,
    view: watch::Receiver<View>,
    matched: Arc<Matched>,
}

impl Link {
    /// Over this lane; the generation is that of the state.
    #[must_use]
    pub fn new(lane: Arc<dyn RaftLane>, view: watch::Receiver<View>, matched: Arc<Matched>) -> Self {
        Self { lane, view, matched }
    }

    /// The generation of the cluster, as far as this node knows.
    #[must_use]
    pub fn generation(&self) -> u64 {
        self.view.borrow().state.generation
    }

    /// Asks a node.
    ///
    /// # Errors
    /// [`LaneError`]; an answer of an older generation, or one that is none, is no answer.
    pub async fn ask(&self, to: NodeId, ask: Ask, within: Duration) -> Result<Answer, LaneError> {
        let body = Question { generation: self.generation(), ask }.seal();
        let call = tokio::time::timeout(within, self.lane.call(to, body, within));
        let bytes = call.await.unwrap_or(Err(LaneError::NoAnswer))?;
        let reply = Reply::unseal(&bytes).ok_or(LaneError::NoAnswer)?;
        // Who is behind may still be brought up to date.
        let heeded = reply.generation >= self.generation()
            || matches!(reply.answer, Answer::Appended(_) | Answer::Piece(_) | Answer::PieceFromStart);
        if heeded { Ok(reply.answer) } else { Err(LaneError::NoAnswer) }
    }
}

/// openraft's network.
pub struct Network(pub Arc<Link>);

/// The way to one node.
pub struct Peer {
    to: u64,
    link: Arc<Link>,
}

impl RaftNetworkFactory<Types> for Network {
    type Network = Peer;

    async fn new_client(&mut self, target: u64, _node: &EmptyNode) -> Peer {
        Peer { to: target, link: Arc::clone(&self.0) }
    }
}

type RpcError<E = openraft::error::Infallible> = RPCError<u64, EmptyNode, RaftError<u64, E>>;

fn unreachable<E: std::error::Error>(error: LaneError) -> RpcError<E> {
    match error {
        LaneError::NotSent => RPCError::Unreachable(Unreachable::new(&error)),
        LaneError::NoAnswer => RPCError::Network(NetworkError::new(&error)),
    }
}

fn unexpected<E: std::error::Error>(answer: &Answer) -> RpcError<E> {
    let said = AnyError::error(match answer {
        Answer::Unable(reason) => reason.as_str(),
        Answer::Over => "that node is of a later generation",
        _ => "that node answered something else",
    });
    RPCError::Network(NetworkError::new(&said))
}

impl RaftNetwork<Types> for Peer {
    async fn append_entries(
        &mut self,
        rpc: AppendEntriesRequest<Types>,
        option: RPCOption,
    ) -> Result<AppendEntriesResponse<u64>, RpcError> {
        let ballot = Ballot::from(rpc.vote);
        let lines: Vec<Line> = rpc.entries.iter().map(Into::into).collect();
        let before = rpc.prev_log_id.map(Into::into);
        let last = lines.last().map(|line| line.id).or(before).map(|id: Id| id.index);
        let ask = Ask::Append { ballot, before, lines, committed: rpc.leader_commit.map(Into::into) };
        let asked = time::mono();
        let answer = self.link.ask(NodeId(self.to), ask, option.hard_ttl()).await.map_err(unreachable)?;
        // Noted before the library hears of it: what it then commits is found here.
        match answer {
            Answer::Appended(Appended::All) => {
                self.link.matched.has(ballot, self.to, last, asked);
                Ok(AppendEntriesResponse::Success)
            }
            Answer::Appended(Appended::UpTo(upto)) => {
                self.link.matched.has(ballot, self.to, upto.map(|id| id.index), asked);
                Ok(AppendEntriesResponse::PartialSuccess(upto.map(Into::into)))
            }
            Answer::Appended(Appended::Conflict) => {
                self.link.matched.has(ballot, self.to, None, asked);
                Ok(AppendEntriesResponse::Conflict)
            }
            Answer::Appended(Appended::Higher(vote)) if openraft::Vote::from(vote) > rpc.vote => {
                Ok(AppendEntriesResponse::HigherVote(vote.into()))
            }
            other => Err(unexpected(&other)),
        }
    }

    async fn install_snapshot(
        &mut self,
        rpc: InstallSnapshotRequest<Types>,
        option: RPCOption,
    ) -> Result<InstallSnapshotResponse<u64>, RpcError<InstallSnapshotError>> {
        let ballot = Ballot::from(rpc.vote);
        let last = rpc.meta.last_log_id.map(Id::from);
        let (offset, done) = (rpc.offset, rpc.done);
        let seated = (&rpc.meta.last_membership).into();
        let ask = Ask::Piece { ballot, last, seated, offset, bytes: Blob(rpc.data.into()), done };
        let asked = time::mono();
        match self.link.ask(NodeId(self.to), ask, option.hard_ttl()).await.map_err(unreachable)? {
            Answer::Piece(vote) => {
                if done && vote == ballot {
                    self.link.matched.has(ballot, self.to, last.map(|id| id.index), asked);
                }
                Ok(InstallSnapshotResponse { vote: vote.into() })
            }
            Answer::PieceFromStart => {
                let segment = |offset| SnapshotSegmentId { id: rpc.meta.snapshot_id.clone(), offset };
                let mismatch = SnapshotMismatch { expect: segment(0), got: segment(offset) };
                let source = RaftError::APIError(InstallSnapshotError::SnapshotMismatch(mismatch));
                Err(RPCError::RemoteError(RemoteError::new(self.to, source)))
            }
            other => Err(unexpected(&other)),
        }
    }

    async fn vote(&mut self, rpc: VoteRequest<u64>, option: RPCOption) -> Result<VoteResponse<u64>, RpcError> {
        let ask = Ask::Vote { ballot: rpc.vote.into(), last: rpc.last_log_id.map(Into::into) };
        match self.link.ask(NodeId(self.to), ask, option.hard_ttl()).await.map_err(unreachable)? {
            Answer::Vote { ballot, granted, last } => {
                Ok(VoteResponse { vote: ballot.into(), vote_granted: granted, last_log_id: last.map(Into::into) })
            }
            other => Err(unexpected(&other)),
        }
    }

    /// A node that is not there is tried again soon: to wait longer would let its lease run out when it is back.
    fn backoff(&self) -> Backoff {
        Backoff::new(std::iter::repeat(CONTROL_HEARTBEAT))
    }
}
