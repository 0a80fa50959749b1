//! What other nodes ask this one on the control lane.

use std::time::Duration;

use openraft::SnapshotMeta;
use openraft::Vote;
use openraft::error::InstallSnapshotError;
use openraft::error::RaftError;
use openraft::raft::AppendEntriesRequest;
use openraft::raft::AppendEntriesResponse;
use openraft::raft::InstallSnapshotRequest;
use openraft::raft::VoteRequest;

use crate::base::codec::Blob;
use crate::base::id::NodeId;
use crate::base::limits::CONTROL_LEASE;
use crate::base::limits::CONTROL_STALL_MAX;
use crate::base::limits::CONTROL_STATE_BYTES_MAX;
use crate::base::time;
use crate::control::group::Group;
use crate::control::group::Inner;
use crate::control::group::now_ms;
use crate::control::machine;
use crate::control::types::Ballot;
use crate::control::types::Id;
use crate::control::types::Line;
use crate::control::types::Seated;
use crate::control::words::Answer;
use crate::control::words::Appended;
use crate::control::words::Ask;
use crate::control::words::Proposed;
use crate::control::words::Question;
use crate::control::words::Reply;
use crate::proto::control::Command;
use crate::proto::control::members::Change;
use crate::proto::tape::campaign::Told;

impl Group {
    /// Answers what came over the lane from this node, whose certificate says who it is.
    pub async fn handle(&self, from: NodeId, body: Vec<u8>) -> Vec<u8> {
        let answer = match Question::unseal(&body) {
            Some(question) => {
                drop(body);
                self.0.answer(from, question).await
            }
            None => unable("this is no question of the control plane that this release knows"),
        };
        Reply { generation: self.0.link.generation(), answer }.seal()
    }
}

fn not_yet() -> Answer {
    unable("this node may have promised not to take this, and does not know yet")
}

fn unable(reason: impl ToString) -> Answer {
    Answer::Unable(reason.to_string())
}

/// Whether a command is what a node says of itself, given by another one. What somebody ordered is in the audit with their
/// name and may concern any node; but nobody orders a report.
fn speaks_for_another(command: &Command, from: NodeId) -> bool {
    if let Command::Cluster(
        Change::Report { node, .. }
        | Change::Lost { node }
        | Change::Announce { node, .. }
        | Change::Alter { node, .. },
    ) = command
    {
        return *node != from;
    }
    if let Command::Ordered { command, .. } = command
        && let Command::Cluster(Change::Report { node, .. }) = &**command
    {
        return *node != from;
    }
    false
}

/// A piece of a snapshot.
struct Piece {
    ballot: Ballot,
    last: Option<Id>,
    seated: Seated,
    offset: u64,
    bytes: Blob,
    done: bool,
}

impl Inner {
    async fn answer(self: &std::sync::Arc<Self>, from: NodeId, question: Question) -> Answer {
        let Question { generation, ask } = question;
        let mine = self.link.generation();
        if generation < mine {
            return Answer::Over;
        }
        let is_own = |ballot: Ballot| ballot.node == from.0;
        let may_take = |ballot: Ballot| self.pledge().may_take(ballot.term);
        match ask {
            Ask::Append { ballot, .. } if is_own(ballot) && !may_take(ballot) => {
                self.promised().map_or_else(not_yet, |higher| Answer::Appended(Appended::Higher(higher)))
            }
            Ask::Piece { ballot, .. } if is_own(ballot) && !may_take(ballot) => {
                self.promised().map_or_else(not_yet, Answer::Piece)
            }
            Ask::Append { ballot, before, lines, committed } if is_own(ballot) => {
                self.append(ballot, before, lines, committed).await
            }
            Ask::Piece { ballot, last, seated, offset, bytes, done } if is_own(ballot) => {
                self.piece(Piece { ballot, last, seated, offset, bytes, done }).await
            }
            Ask::StillLeads(ballot) if is_own(ballot) => {
                self.hears(ballot);
                Answer::Heard
            }
            Ask::Append { .. } | Ask::Piece { .. } | Ask::StillLeads(_) => unable("nobody leads for somebody else"),
            Ask::Status => Answer::Status(Box::new(self.status())),
            Ask::Vote { .. } | Ask::HearLeader { .. } | Ask::Propose(_) | Ask::ReadIndex | Ask::Contact
                if generation > mine =>
            {
                unable("this node does not know of that generation yet")
            }
            Ask::Vote { .. } if !self.pledge().may_vote() => {
                unable("this node may have voted, and does not know for whom")
            }
            Ask::Vote { ballot, last } if is_own(ballot) => self.vote(ballot, last).await,
            Ask::Vote { .. } => unable("nobody stands for somebody else"),
            Ask::HearLeader { last } => {
                let would_vote = self.pledge().may_vote() && last >= self.last();
                Answer::HearNone(would_vote && !self.hears_leader())
            }
            Ask::Propose(command) => match Command::from_bytes(&command.0) {
                Ok(command) if speaks_for_another(&command, from) => {
                    Answer::Proposed(Proposed::Unavailable("a node speaks for itself only".to_owned()))
                }
                Ok(command) => Answer::Proposed(self.lead_detached(command).await),
                Err(_) => unable("this is no command that is known here"),
            },
            Ask::ReadIndex => match self.raft.get_read_log_id().await {
                Ok((read, _)) => Answer::ReadIndex(read.map_or(0, |id| id.index + 1)),
                Err(error) => unable(error),
            },
            Ask::Contact => self.contact_of_leader(),
        }
    }

    fn contact_of_leader(&self) -> Answer {
        // First how far it is: what is committed later is not promised.
        let next = self.log.committed().map_or(0, |id| id.index + 1);
        match self.leads().and_then(|_| self.contact()) {
            Some(age) => Answer::Contact { age_ms: time::millis(age), next },
            None => unable("this node does not lead"),
        }
    }

    /// A leader whose own write does not become durable, or who lost its majority, is none.
    pub(super) fn hears_leader(&self) -> bool {
        if self.leads().is_none() {
            return self.campaign().hears_leader(now_ms());
        }
        let held = self.contact().is_some_and(|age| age < CONTROL_LEASE + CONTROL_LEASE);
        held && self.log.stalled() < CONTROL_STALL_MAX
    }

    /// Notes that a leader was heard; whoever lost its term meanwhile is none.
    fn hears(&self, ballot: Ballot) {
        let leads = ballot.committed && Vote::from(ballot) >= self.raft.metrics().borrow().vote;
        if leads {
            self.tell_campaign(Told::Heard);
        }
    }

    async fn vote(&self, ballot: Ballot, last: Option<Id>) -> Answer {
        let asked = VoteRequest { vote: ballot.into(), last_log_id: last.map(Into::into) };
        match self.raft.vote(asked).await {
            Ok(answer) => {
                if answer.vote_granted {
                    self.tell_campaign(Told::Voted);
                }
                let last = answer.last_log_id.map(Into::into);
                Answer::Vote { ballot: answer.vote.into(), granted: answer.vote_granted, last }
            }
            Err(error) => unable(error),
        }
    }

    async fn append(&self, ballot: Ballot, before: Option<Id>, lines: Vec<Line>, committed: Option<Id>) -> Answer {
        if !in_order(before, &lines) {
            return unable("these entries do not follow on each other");
        }
        let Some(entries) = lines.into_iter().map(Line::entry).collect::<Option<Vec<_>>>() else {
            return unable("an entry names no group");
        };
        self.hears(ballot);
        let asked = AppendEntriesRequest {
            vote: ballot.into(),
            prev_log_id: before.map(Into::into),
            entries,
            leader_commit: committed.map(Into::into),
        };
        Answer::Appended(match self.raft.append_entries(asked).await {
            Ok(AppendEntriesResponse::Success) => Appended::All,
            Ok(AppendEntriesResponse::PartialSuccess(upto)) => Appended::UpTo(upto.map(Into::into)),
            Ok(AppendEntriesResponse::Conflict) => Appended::Conflict,
            Ok(AppendEntriesResponse::HigherVote(vote)) => Appended::Higher(vote.into()),
            Err(error) => return unable(error),
        })
    }

    async fn piece(&self, piece: Piece) -> Answer {
        let Piece { ballot, last, seated, offset, bytes, done } = piece;
        let end = offset.saturating_add(bytes.0.len() as u64);
        if end > CONTROL_STATE_BYTES_MAX as u64 {
            return unable("this snapshot is larger than a control state may be");
        }
        let Some(meta) = meta(last, &seated) else { return unable("this snapshot names no group") };
        self.hears(ballot);
        let asked = InstallSnapshotRequest { vote: ballot.into(), meta, offset, data: bytes.0.to_vec(), done };
        match self.raft.install_snapshot(asked).await {
            Ok(answer) => Answer::Piece(answer.vote.into()),
            Err(RaftError::APIError(InstallSnapshotError::SnapshotMismatch(_))) => Answer::PieceFromStart,
            Err(RaftError::Fatal(error)) => unable(error),
        }
    }

    /// Asks a leader how far everything acked is committed, as a majority confirms.
    pub(super) async fn read_index_of(&self, leader: NodeId, within: Duration) -> Option<u64> {
        match self.link.ask(leader, Ask::ReadIndex, within).await {
            Ok(Answer::ReadIndex(next)) => Some(next),
            Ok(_) | Err(_) => None,
        }
    }
}

fn meta(last: Option<Id>, seated: &Seated) -> Option<SnapshotMeta<u64, openraft::EmptyNode>> {
    // One without entries would replace nothing.
    last.and_then(|last| machine::meta(Some(last), seated).ok())
}

fn in_order(before: Option<Id>, lines: &[Line]) -> bool {
    let mut last = before;
    lines.iter().all(|line| {
        let follows = line.id.index == last.map_or(0, |id| id.index + 1) && Some(line.id) > last;
        last = Some(line.id);
        follows
    })
}
