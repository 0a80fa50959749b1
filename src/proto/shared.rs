//! Every piece of state that nodes share, or that one keeps for the others: of what kind it is, why, what it costs, and
//! what stops without it. One table, which the console, the command line and programs show; what is held now is counted
//! from the state itself, field by field, so that none can be forgotten.

use serde::Serialize;

use crate::proto::control::State;

mod pieces;

#[cfg(test)]
mod tests;

pub use pieces::PIECES;

/// How state is kept the same, or is not.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Kind {
    /// Ordered by one small group, and the same everywhere.
    Consensus,
    /// Agreed on by enough owners of a key, each key for itself.
    Quorum,
    /// Passed on, and old for a moment.
    Gossip,
    /// One node's own.
    Local,
}

impl Kind {
    /// All, the dearest first.
    pub const ALL: [Self; 4] = [Self::Consensus, Self::Quorum, Self::Gossip, Self::Local];

    /// Its name.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Consensus => "consensus",
            Self::Quorum => "quorum",
            Self::Gossip => "gossip",
            Self::Local => "local",
        }
    }

    /// What it means.
    #[must_use]
    pub fn meaning(self) -> &'static str {
        match self {
            Self::Consensus => {
                "A small group of nodes votes on every change, one after the other; all nodes keep a copy and read that \
                 without asking. For the little that must be the same everywhere."
            }
            Self::Quorum => {
                "There is no leader: the owners of a key are asked at the same time, and enough answers are an answer. For \
                 all that customers store."
            }
            Self::Gossip => {
                "Nodes tell each other what they see; a word may be late or lost. Only hints travel so, never who owns \
                 what."
            }
            Self::Local => "Only this node has it, and nobody waits for it. Nearly everything should be like this.",
        }
    }

    /// What a change takes.
    #[must_use]
    pub fn cost(self) -> &'static str {
        match self {
            Self::Consensus => {
                "a round trip to most voters and a disk sync on each; the whole cluster does one after the other"
            }
            Self::Quorum => {
                "a round trip to the key's owners and a disk sync on w of them; keys do not wait for each other"
            }
            Self::Gossip => "a few hundred bytes to every node, twice a second; no disk",
            Self::Local => "nothing on the network",
        }
    }
}

/// Names a piece.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Id {
    /// Who the cluster is.
    Identity,
    /// Definitions of buckets.
    Buckets,
    /// Tokens.
    Tokens,
    /// Users.
    Users,
    /// Browsers that are signed in.
    Sessions,
    /// Who was let in.
    Members,
    /// Who owns what.
    Layout,
    /// What is staged.
    Plan,
    /// Settings of the whole cluster.
    Settings,
    /// Invites.
    Invites,
    /// Who changed what.
    Audit,
    /// What is stored.
    Values,
    /// Who is there.
    Liveness,
    /// What nodes say of themselves.
    News,
    /// What others missed.
    Hints,
    /// What this node promised about the layout.
    Marks,
    /// How far others said that their journals reach.
    Reaches,
    /// What was found in partitions, to compare them.
    Surveys,
    /// The authority and this node's certificates.
    Certificates,
    /// The configuration.
    Configuration,
    /// What happened lately.
    Events,
    /// Figures of the past.
    History,
    /// One-time links and waits of those who guess.
    Door,
}

/// A row of the table.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Piece {
    /// Its id.
    pub id: Id,
    /// For people and programs.
    pub name: &'static str,
    /// Of what kind.
    pub kind: Kind,
    /// What it is.
    pub what: &'static str,
    /// Why it is of this kind and no cheaper one.
    pub why: &'static str,
    /// What stops without it.
    pub stops: &'static str,
    /// What goes on without it.
    pub goes_on: &'static str,
}

/// How much of a piece there is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Held {
    /// Entries.
    pub entries: u64,
    /// Bytes of its stored form, on every node.
    pub bytes: u64,
}

/// How much of each piece the control state holds.
#[must_use]
pub fn held(state: &State) -> Vec<(Id, Held)> {
    // Every field by its name: a new one does not compile before it has a place here.
    let State {
        birth,
        buckets,
        next_bucket,
        tokens,
        tokens_by_hash,
        next_token,
        users,
        sessions,
        audit,
        access_audit,
        members,
        next_node,
        generation,
        layout,
        staged,
        next_plan,
        layout_commit,
        gone,
        invites,
        next_invite,
        partings,
        pause,
    } = state;
    let held = |entries: usize, bytes: u64| Held { entries: entries as u64, bytes };
    vec![
        (Id::Identity, held(usize::from(birth.is_some()), bytes(&(birth, generation)))),
        (Id::Buckets, held(buckets.len(), bytes(&(buckets, next_bucket)))),
        (Id::Tokens, held(tokens.len(), bytes(&(tokens, tokens_by_hash, next_token)))),
        (Id::Users, held(users.len(), bytes(users))),
        (Id::Sessions, held(sessions.len(), bytes(sessions))),
        (Id::Members, held(members.len(), bytes(&(members, next_node, partings)))),
        (Id::Layout, held(layout.slots().count(), bytes(&(layout, gone)))),
        (Id::Plan, held(usize::from(staged.is_some()), bytes(&(staged, next_plan)))),
        (Id::Settings, held(2, bytes(&(layout_commit, pause)))),
        (Id::Invites, held(invites.len(), bytes(&(invites, next_invite)))),
        (Id::Audit, held(audit.entries().count() + access_audit.entries().count(), bytes(&(audit, access_audit)))),
    ]
}

/// What this takes stored, without storing it.
fn bytes(value: &impl Serialize) -> u64 {
    postcard::experimental::serialized_size(value).unwrap_or_default() as u64
}
