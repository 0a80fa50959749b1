//! What is shared, with what this node holds of it now: `proto::shared`'s table beside live figures.

use std::collections::BTreeMap;

use serde::Serialize;

use crate::node::Node;
use crate::proto::alarm::Finding;
use crate::proto::alarm::code::Code;
use crate::proto::member::view::Link;
use crate::proto::shared;
use crate::proto::shared::Held;
use crate::proto::shared::Id;
use crate::proto::shared::Kind;
use crate::proto::shared::PIECES;

/// All of it, as this node knows it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct SharedView {
    /// The node that says this.
    pub node: u64,
    /// What the kinds mean.
    pub kinds: Vec<KindView>,
    /// Every piece.
    pub pieces: Vec<PieceView>,
}

/// A kind.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct KindView {
    /// Which.
    pub kind: Kind,
    /// What it means.
    pub meaning: &'static str,
    /// What one change takes.
    pub cost: &'static str,
    /// How many pieces are of it.
    pub pieces: usize,
    /// How it is with it now.
    pub now: String,
}

/// A piece.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct PieceView {
    /// Which.
    pub name: &'static str,
    /// Of what kind.
    pub kind: Kind,
    /// What it is.
    pub what: &'static str,
    /// Why it is of this kind.
    pub why: &'static str,
    /// What stops without it.
    pub stops: &'static str,
    /// What goes on without it.
    pub goes_on: &'static str,
    /// Entries now, where they are counted.
    pub entries: Option<u64>,
    /// Bytes now on this node, where they are known.
    pub bytes: Option<u64>,
}

impl Node {
    /// Every piece of shared state.
    #[must_use]
    pub fn shared(&self) -> SharedView {
        let state = self.state();
        let control: BTreeMap<Id, Held> = shared::held(&state).into_iter().collect();
        let piece = |piece: &shared::Piece| {
            let (entries, bytes) = match control.get(&piece.id) {
                Some(held) => (Some(held.entries), Some(held.bytes)),
                None => self.held_here(piece.id),
            };
            let shared::Piece { name, kind, what, why, stops, goes_on, .. } = *piece;
            PieceView { name, kind, what, why, stops, goes_on, entries, bytes }
        };
        let kind = |kind: Kind| KindView {
            kind,
            meaning: kind.meaning(),
            cost: kind.cost(),
            pieces: PIECES.iter().filter(|piece| piece.kind == kind).count(),
            now: self.how_it_is_with(kind),
        };
        SharedView {
            node: self.who().node.0,
            kinds: Kind::ALL.map(kind).into(),
            pieces: PIECES.iter().map(piece).collect(),
        }
    }

    /// Entries and bytes of what is not control state.
    fn held_here(&self, id: Id) -> (Option<u64>, Option<u64>) {
        let entries = |count: usize| (Some(count as u64), None);
        match id {
            Id::Values => (None, Some(self.0.store.index_bytes())),
            Id::Liveness => entries(self.sight().len()),
            Id::News => entries(self.sight().values().filter(|seen| seen.news.is_some()).count()),
            Id::Hints => {
                let hints = &self.0.cluster.hints;
                entries(hints.nodes().into_iter().map(|node| hints.waiting(node).0).sum())
            }
            Id::Marks => entries(self.0.cluster.marks.read(|marks| marks.synced.len())),
            Id::Reaches => entries(self.0.cluster.stand.memory.read(|known| known.others.len())),
            Id::Surveys => entries(self.surveyed()),
            Id::Events => entries(self.events_after(None).events.len()),
            Id::Configuration => entries(self.settings().config.len()),
            Id::Identity
            | Id::Buckets
            | Id::Tokens
            | Id::Users
            | Id::Sessions
            | Id::Members
            | Id::Layout
            | Id::Plan
            | Id::Settings
            | Id::Invites
            | Id::Audit
            | Id::Certificates
            | Id::History
            | Id::Door => (None, None),
        }
    }

    /// How it is with one kind, in words.
    fn how_it_is_with(&self, kind: Kind) -> String {
        match kind {
            Kind::Consensus => self.consensus_now(),
            Kind::Quorum => {
                let of_data = |found: &Finding| found.key.code == Code::NoQuorum;
                let lacks = self.findings_of_the_cluster().into_iter().find(of_data);
                let all = "every partition has enough owners for reads and writes".to_owned();
                lacks.map_or(all, |found| format!("{} {}", found.cause, found.to_do))
            }
            Kind::Gossip => {
                let sight = self.sight();
                let good = sight.values().filter(|seen| seen.link == Link::Good).count();
                match sight.len() {
                    0 => "there is no other node to talk to".to_owned(),
                    others => format!("{good} of {others} other nodes are reached from here"),
                }
            }
            Kind::Local => format!("as of node {}", self.who().node),
        }
    }

    fn consensus_now(&self) -> String {
        let status = self.0.consensus.status();
        let voters: Vec<String> = self.0.consensus.voters().iter().map(ToString::to_string).collect();
        let leads = match status.leader {
            Some(leader) => format!("node {leader} orders changes in term {}", status.term),
            None => "nobody orders changes now".to_owned(),
        };
        let contact = match status.contact_ms {
            Some(ms) => format!("contact {ms} ms ago"),
            None => "no contact since the start".to_owned(),
        };
        format!("{leads}; voters {}; {contact}; {} changes so far", voters.join(", "), status.next)
    }
}
