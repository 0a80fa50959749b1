//! What openraft is told about us, and the shapes of our own in which its ids, votes, memberships and entries are stored
//! and sent: what is on disk does not depend on how another crate lays out its types.

use std::collections::BTreeMap;
use std::collections::BTreeSet;
use std::io::Cursor;

use openraft::CommittedLeaderId;
use openraft::EmptyNode;
use openraft::Entry;
use openraft::EntryPayload;
use openraft::LeaderId;
use openraft::LogId;
use openraft::Membership;
use openraft::RaftTypeConfig;
use openraft::StoredMembership;
use openraft::TokioRuntime;
use openraft::Vote;
use openraft::impls::OneshotResponder;
use serde::Deserialize;
use serde::Serialize;

use crate::base::id::NodeId;
use crate::base::limits::CONTROL_MEMBERS_MAX;
use crate::proto::control::Applied;
use crate::proto::control::Command;
use crate::proto::control::Refused;

/// The types of our group.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Types;

/// What a command came to when it was applied; none for an entry without one.
pub type Outcome = Option<Result<Applied, Refused>>;

impl RaftTypeConfig for Types {
    type D = Command;
    type R = Outcome;
    type NodeId = u64;
    type Node = EmptyNode;
    type Entry = Entry<Self>;
    type SnapshotData = Cursor<Vec<u8>>;
    type AsyncRuntime = TokioRuntime;
    type Responder = OneshotResponder<Self>;
}

/// Where an entry stands in the log.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Id {
    /// Of the leader that proposed it.
    pub term: u64,
    /// That leader.
    pub node: u64,
    /// From 0, without gaps.
    pub index: u64,
}

impl From<LogId<u64>> for Id {
    fn from(id: LogId<u64>) -> Self {
        Self { term: id.leader_id.term, node: id.leader_id.node_id, index: id.index }
    }
}

impl From<Id> for LogId<u64> {
    fn from(id: Id) -> Self {
        Self::new(CommittedLeaderId::new(id.term, id.node), id.index)
    }
}

/// For whom a node voted last, and whether that one leads.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ballot {
    /// The term.
    pub term: u64,
    /// The candidate.
    pub node: u64,
    /// Whether a majority voted for it.
    pub committed: bool,
}

impl From<Vote<u64>> for Ballot {
    fn from(vote: Vote<u64>) -> Self {
        Self { term: vote.leader_id.term, node: vote.leader_id.node_id, committed: vote.committed }
    }
}

impl From<Ballot> for Vote<u64> {
    fn from(ballot: Ballot) -> Self {
        Self { leader_id: LeaderId::new(ballot.term, ballot.node), committed: ballot.committed }
    }
}

/// Who is in the group.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Members {
    /// Voters; two sets while one replaces the other, and then a majority of either is needed.
    pub voters: Vec<BTreeSet<u64>>,
    /// All others.
    pub learners: BTreeSet<u64>,
}

impl Members {
    /// A group of one.
    #[must_use]
    pub fn sole(node: u64) -> Self {
        Self { voters: vec![BTreeSet::from([node])], learners: BTreeSet::new() }
    }

    /// As openraft has it; none where it is not one that a group can have.
    #[must_use]
    pub fn membership(&self) -> Option<Membership<u64, EmptyNode>> {
        let voters: usize = self.voters.iter().map(BTreeSet::len).sum();
        let whole = (1..=2).contains(&self.voters.len()) && self.voters.iter().all(|set| !set.is_empty());
        let bounded = voters + self.learners.len() <= CONTROL_MEMBERS_MAX;
        (whole && bounded).then(|| {
            let learners: BTreeMap<u64, EmptyNode> = self.learners.iter().map(|id| (*id, EmptyNode {})).collect();
            Membership::new(self.voters.clone(), learners)
        })
    }

    /// The sets of voters, as cores have them.
    #[must_use]
    pub fn nodes(&self) -> Vec<BTreeSet<NodeId>> {
        self.voters.iter().map(|set| set.iter().copied().map(NodeId).collect()).collect()
    }

    /// Whether these nodes are a majority of all that count.
    #[must_use]
    pub fn is_majority(&self, of: impl Fn(u64) -> bool) -> bool {
        self.voters.iter().all(|set| 2 * set.iter().filter(|node| of(**node)).count() > set.len())
    }
}

impl From<&Membership<u64, EmptyNode>> for Members {
    fn from(membership: &Membership<u64, EmptyNode>) -> Self {
        Self { voters: membership.get_joint_config().clone(), learners: membership.learner_ids().collect() }
    }
}

/// A membership and the entry that made it.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Seated {
    /// The entry; none before there is any.
    pub id: Option<Id>,
    /// Who.
    pub members: Members,
}

impl Seated {
    /// As openraft has it; none where it is not one that a group can have.
    #[must_use]
    pub fn stored(&self) -> Option<StoredMembership<u64, EmptyNode>> {
        match self.id {
            None if self.members == Members::default() => Some(StoredMembership::default()),
            id => Some(StoredMembership::new(id.map(Into::into), self.members.membership()?)),
        }
    }
}

impl From<&StoredMembership<u64, EmptyNode>> for Seated {
    fn from(stored: &StoredMembership<u64, EmptyNode>) -> Self {
        Self { id: stored.log_id().map(Into::into), members: stored.membership().into() }
    }
}

/// What an entry holds.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Content {
    /// Nothing: a leader's first.
    Blank,
    /// A command.
    Command(Box<Command>),
    /// Who is in the group from here on.
    Members(Members),
}

/// An entry of the log, stored and sent.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Line {
    /// Where.
    pub id: Id,
    /// What.
    pub content: Content,
}

impl From<&Entry<Types>> for Line {
    fn from(entry: &Entry<Types>) -> Self {
        let content = match &entry.payload {
            EntryPayload::Blank => Content::Blank,
            EntryPayload::Normal(command) => Content::Command(Box::new(command.clone())),
            EntryPayload::Membership(membership) => Content::Members(membership.into()),
        };
        Self { id: entry.log_id.into(), content }
    }
}

impl Line {
    /// As openraft has it; none where it names members that no group can have.
    #[must_use]
    pub fn entry(self) -> Option<Entry<Types>> {
        let payload = match self.content {
            Content::Blank => EntryPayload::Blank,
            Content::Command(command) => EntryPayload::Normal(*command),
            Content::Members(members) => EntryPayload::Membership(members.membership()?),
        };
        Some(Entry { log_id: self.id.into(), payload })
    }
}
