//! The nodes of a cluster as control state: who was invited, admitted, takes part and has gone, and what each says of
//! itself. Which of them own data is `layout`'s.
//!
//! Invariants: a node's id is given once; whoever was removed stays as a grave without addresses. A refusal of somebody
//! who wants in says the same whatever was wrong.

use std::collections::BTreeMap;
use std::collections::BTreeSet;

use serde::Deserialize;
use serde::Serialize;

use crate::base::id::NodeId;
use crate::base::id::PartitionId;
use crate::base::limits::GRAVES_MAX;
use crate::base::limits::INVITE_TTL_MAX;
use crate::base::limits::INVITES_MAX;
use crate::base::limits::NODE_ADDRESS_BYTES_MAX;
use crate::base::limits::NODE_ADDRESSES_MAX;
use crate::base::limits::NODE_URL_BYTES_MAX;
use crate::base::limits::NODE_WEIGHT_DEFAULT;
use crate::base::limits::NODE_WEIGHT_MAX;
use crate::base::limits::NODES_MAX;
use crate::base::limits::RELEASE_BYTES_MAX;
use crate::base::time;
use crate::proto::bucket::OutOfRange;
use crate::proto::control::Applied;
use crate::proto::control::Birth;
use crate::proto::control::Refused;
use crate::proto::control::State;
use crate::proto::control::part::Drain;
use crate::proto::control::part::Part;
use crate::proto::control::part::Pause;
use crate::proto::control::people::check_name;
use crate::proto::control::people::check_node_name;
use crate::proto::ring::layout::Candidate;
use crate::proto::ring::layout::Layout;

#[cfg(test)]
pub(super) mod tests;

/// The zone of a node of which nobody said where it stands.
pub const ZONE_DEFAULT: &str = "default";

/// How far a node's part in the cluster goes. Stored: variants are appended, never reordered.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum MemberState {
    /// Admitted; it owns nothing yet, or not all that it is to own.
    Joining,
    /// It takes part.
    Member,
    /// It gives away what it owns.
    Leaving,
    /// Gone for ever; its id is not given again.
    Removed,
}

/// A node.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Member {
    /// For people; unique among those that are not removed.
    pub name: String,
    /// What fails together.
    pub zone: String,
    /// Its share of the data relative to the others; 0 owns nothing.
    pub weight: u32,
    /// Where other nodes reach it: `host:port`, in its order of preference.
    pub addresses: Vec<String>,
    /// Where devices reach it.
    pub url: Option<String>,
    /// How far its part goes.
    pub state: MemberState,
    /// Of the software that it runs.
    pub release: String,
    /// Wall milliseconds.
    pub admitted_ms: u64,
    /// SHA-256 of the public key that it was admitted with; none for a cluster's first node.
    pub key: Option<[u8; 32]>,
    /// Why it is in this state, for people.
    pub reason: String,
    /// Whose places it takes, as soon as the layout can take it.
    pub replaces: Option<NodeId>,
    /// Devices are asked to go elsewhere.
    pub drain: Option<Drain>,
}

/// Who holds its secret may bring in one node. The secret is kept only as a hash.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Invite {
    /// SHA-256 of the secret.
    pub hash: [u8; 32],
    /// Wall milliseconds of its making.
    pub made_ms: u64,
    /// Wall milliseconds after which it brings in nobody new.
    pub expires_ms: u64,
    /// Whose places the node takes that comes in with it.
    pub replaces: Option<NodeId>,
    /// Who came in with it.
    pub used_by: Option<Used>,
}

/// Who came in with an invite.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Used {
    /// The id that it was given.
    pub node: NodeId,
    /// SHA-256 of its public key.
    pub key: [u8; 32],
}

/// What a node that wants in says.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Admission {
    /// SHA-256 of the invite's secret.
    pub secret_hash: [u8; 32],
    /// SHA-256 of its public key: who asks again is told by it.
    pub key: [u8; 32],
    /// Its name for people.
    pub name: String,
    /// Where it stands.
    pub zone: String,
    /// Its share.
    pub weight: u32,
    /// Where other nodes reach it.
    pub addresses: Vec<String>,
    /// Where devices reach it.
    pub url: Option<String>,
    /// Of its software.
    pub release: String,
    /// Wall milliseconds of the node that took the request.
    pub at_ms: u64,
}

/// What a node says of itself once it is in.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Announcement {
    /// Where other nodes reach it.
    pub addresses: Vec<String>,
    /// Where devices reach it.
    pub url: Option<String>,
    /// Of its software.
    pub release: String,
    /// Another name than before.
    pub name: Option<String>,
}

/// Whether a plan for joins, leaves and removals waits for an operator. Stored: variants are appended, never reordered.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum LayoutCommit {
    /// It is committed as soon as the layout can take it.
    #[default]
    Auto,
    /// It is staged, and an operator commits it.
    Manual,
}

/// A change of nodes or layout. Stored: variants are appended, never reordered.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Change {
    /// Makes an invite.
    Invite {
        /// SHA-256 of its secret.
        hash: [u8; 32],
        /// Wall milliseconds.
        made_ms: u64,
        /// Wall milliseconds.
        expires_ms: u64,
        /// Whose places the node takes that comes in with it.
        replaces: Option<NodeId>,
    },
    /// Takes one back.
    RemoveInvite {
        /// Its number.
        id: u64,
    },
    /// Lets a node in. Asked again with the same key it is given the same id: the first answer may be lost.
    Admit(Box<Admission>),
    /// A node's word of itself. The floors above see to it that only it or an admin gives it.
    Announce {
        /// The node.
        node: NodeId,
        /// What it says.
        announcement: Announcement,
    },
    /// Another zone or share of a node.
    Alter {
        /// The node.
        node: NodeId,
        /// Where it stands.
        zone: Option<String>,
        /// Its share.
        weight: Option<u32>,
    },
    /// A node goes.
    Parting {
        /// Which and how.
        part: Part,
        /// How many had gone when the order was judged; none: whatever happened meanwhile.
        seen: Option<u64>,
    },
    /// Stages a plan for all members, also for a second one.
    StagePlan,
    /// Drops what is staged; nodes that were to leave by it stay.
    ClearPlan,
    /// Begins what is staged.
    CommitPlan {
        /// Its number: what was shown is what happens.
        version: u64,
        /// Removed nodes whose acked writes are given up where they were the last to have them.
        accept_loss: BTreeSet<NodeId>,
    },
    /// Sets who commits.
    SetLayoutCommit(LayoutCommit),
    /// What a node says of its part of the layout. The floors above see to it that only it gives it.
    Report {
        /// The node.
        node: NodeId,
        /// The version that it has journaled and synced.
        adopted: u64,
        /// The lists, by partition and version in which they came, in which it is synced.
        synced: Vec<(PartitionId, u64)>,
    },
    /// A node lost what it had acked, or cannot tell.
    Lost {
        /// The node.
        node: NodeId,
    },
    /// The control plane was begun anew from what a survivor knew.
    Recovered {
        /// The cluster's generation from now on.
        generation: u64,
    },
    /// A node asks devices to go elsewhere, or no more.
    Drain {
        /// The node.
        node: NodeId,
        /// Why and how long; none: it ends.
        drain: Option<Drain>,
    },
    /// Partitions on their way wait on every node, or go on.
    PauseHandoff {
        /// Why and how long; none: they go on.
        pause: Option<Pause>,
    },
}

impl Member {
    fn first(birth: &Birth) -> Self {
        Self {
            name: format!("node-{}", birth.node),
            zone: ZONE_DEFAULT.to_owned(),
            weight: NODE_WEIGHT_DEFAULT,
            addresses: Vec::new(),
            url: None,
            state: MemberState::Member,
            release: String::new(),
            admitted_ms: birth.at_ms,
            key: None,
            reason: "the cluster began with it".to_owned(),
            replaces: None,
            drain: None,
        }
    }

    /// What it is to the layout.
    #[must_use]
    pub fn candidate(&self) -> Candidate {
        Candidate { zone: self.zone.clone(), weight: self.weight }
    }

    /// Whether it is to own data.
    #[must_use]
    pub fn stays(&self) -> bool {
        matches!(self.state, MemberState::Joining | MemberState::Member)
    }

    pub(super) fn become_state(&mut self, state: MemberState, reason: &str) {
        self.state = state;
        reason.clone_into(&mut self.reason);
        if state == MemberState::Removed {
            self.addresses.clear();
            self.url = None;
        }
    }
}

impl State {
    /// The first node and what it owns: everything.
    pub(super) fn settle_first(&mut self) {
        let Some(birth) = &self.birth else { return };
        let member = Member::first(birth);
        let mut layout = Layout::first(birth.node, member.candidate());
        if self.layout.version > 0 {
            layout.outrun(self.layout.version);
        }
        self.layout = layout.into();
        self.next_node = self.next_node.max(birth.node.0.saturating_add(1));
        self.members = BTreeMap::from([(birth.node, member)]).into();
        (self.next_invite, self.next_plan) = (self.next_invite.max(1), self.next_plan.max(1));
    }

    /// A node that is not removed.
    #[must_use]
    pub fn member(&self, node: NodeId) -> Option<&Member> {
        self.members.get(&node).filter(|member| member.state != MemberState::Removed)
    }

    /// Whether it was removed. One that is not heard of yet is not: this state may be old.
    #[must_use]
    pub fn is_gone(&self, node: NodeId) -> bool {
        self.members.get(&node).map_or(node.0 < self.next_node, |member| member.state == MemberState::Removed)
    }

    pub(super) fn known(&mut self, node: NodeId) -> Result<&mut Member, Refused> {
        let there = self.member(node).is_some();
        self.members.get_mut(&node).filter(|_| there).ok_or_else(|| not_there(node))
    }

    pub(super) fn invite(
        &mut self,
        hash: [u8; 32],
        made_ms: u64,
        expires_ms: u64,
        replaces: Option<NodeId>,
    ) -> Result<Applied, Refused> {
        replaces.map_or(Ok(()), |old| self.known(old).map(|_known| ()))?;
        let ttl_ms = expires_ms.saturating_sub(made_ms);
        if ttl_ms == 0 || ttl_ms > time::millis(INVITE_TTL_MAX) {
            let range = format!("at most {} h", INVITE_TTL_MAX.as_secs() / 3600);
            return Err(
                OutOfRange { field: "the time that an invite holds, in milliseconds,", given: ttl_ms, range }.into()
            );
        }
        self.invites.retain(|_, invite| invite.expires_ms > made_ms);
        if self.invites.values().any(|invite| invite.hash == hash) {
            return Err(Refused::Taken { what: "invite", name: "with this secret".to_owned() });
        }
        if self.invites.len() >= INVITES_MAX {
            return Err(Refused::Full { what: "invites", max: INVITES_MAX });
        }
        let id = self.next_invite;
        self.next_invite = self.next_invite.saturating_add(1);
        self.invites.insert(id, Invite { hash, made_ms, expires_ms, replaces, used_by: None });
        Ok(Applied::InviteAdded(id))
    }

    pub(super) fn remove_invite(&mut self, id: u64) -> Result<Applied, Refused> {
        match self.invites.remove(&id) {
            Some(_) => Ok(Applied::Removed),
            None => Err(Refused::NotFound { what: "invite", name: id.to_string() }),
        }
    }

    pub(super) fn admit(&mut self, admission: Admission) -> Result<Applied, Refused> {
        let Admission { secret_hash, key, name, zone, weight, addresses, url, release, at_ms } = admission;
        let found = self.invites.iter().find(|(_, invite)| invite.hash == secret_hash);
        let (id, invite) = found.map(|(id, invite)| (*id, invite)).ok_or(Refused::NotInvited)?;
        if let Some(used) = invite.used_by {
            let same = used.key == key && self.member(used.node).is_some();
            return if same { self.admit_again(used.node, addresses) } else { Err(Refused::NotInvited) };
        }
        if at_ms >= invite.expires_ms {
            return Err(Refused::NotInvited);
        }
        // It has a place already, by another invite; one that has come is not this machine but the one that it is a copy of.
        let mut living = self.members.iter().filter(|(_, member)| member.state != MemberState::Removed);
        if let Some((node, known)) = living.clone().find(|(_, member)| member.key == Some(key)) {
            let comes = known.state == MemberState::Joining;
            return if comes { Ok(Applied::AdmittedBefore(*node)) } else { Err(Refused::NotInvited) };
        }
        if living.clone().count() >= NODES_MAX || self.next_node == u64::MAX {
            return Err(Refused::Full { what: "nodes", max: NODES_MAX });
        }
        check_node_name(&name)?;
        if living.any(|(_, member)| member.name == name) {
            return Err(Refused::Taken { what: "node", name });
        }
        check_name(&zone)?;
        check_weight(weight)?;
        check_places(&addresses, url.as_deref(), &release)?;
        let node = NodeId(self.next_node);
        self.next_node += 1;
        let mut replaces = None;
        if let Some(invite) = self.invites.get_mut(&id) {
            invite.used_by = Some(Used { node, key });
            replaces = invite.replaces;
        }
        let (state, reason) = (MemberState::Joining, format!("admitted with invite {id}"));
        let (admitted_ms, key) = (at_ms, Some(key));
        let member = Member {
            name,
            zone,
            weight,
            addresses,
            url,
            state,
            release,
            admitted_ms,
            key,
            reason,
            replaces,
            drain: None,
        };
        self.members.insert(node, member);
        self.bury();
        Ok(Applied::Admitted(node))
    }

    /// Its first answer was lost, or nobody reached it where it said that it was.
    fn admit_again(&mut self, node: NodeId, addresses: Vec<String>) -> Result<Applied, Refused> {
        let again = Ok(Applied::AdmittedBefore(node));
        check_places(&addresses, None, "")?;
        match self.known(node)? {
            known if known.state == MemberState::Joining && known.addresses != addresses => {
                known.addresses = addresses;
                Ok(Applied::Admitted(node))
            }
            _ => again,
        }
    }

    /// The oldest graves go when there are too many: an id that is not known is refused as well.
    fn bury(&mut self) {
        let graves = self.members.iter().filter(|(_, member)| member.state == MemberState::Removed);
        let graves: Vec<NodeId> = graves.map(|(node, _)| *node).collect();
        for node in graves.iter().take(graves.len().saturating_sub(GRAVES_MAX)) {
            self.members.remove(node);
        }
    }

    pub(super) fn announce(&mut self, node: NodeId, announcement: Announcement) -> Result<Applied, Refused> {
        let Announcement { addresses, url, release, name } = announcement;
        check_places(&addresses, url.as_deref(), &release)?;
        if let Some(name) = &name {
            check_node_name(name)?;
            let taken = |(id, member): (&NodeId, &Member)| *id != node && member.name == *name;
            if self.members.iter().filter(|(_, member)| member.state != MemberState::Removed).any(taken) {
                return Err(Refused::Taken { what: "node", name: name.clone() });
            }
        }
        let known = self.known(node)?;
        let name = name.unwrap_or_else(|| known.name.clone());
        let changed = Member { name, addresses, url, release, ..known.clone() };
        if *known == changed {
            return Ok(Applied::Unchanged);
        }
        *known = changed;
        Ok(Applied::Changed)
    }

    pub(super) fn alter(
        &mut self,
        node: NodeId,
        zone: Option<String>,
        weight: Option<u32>,
    ) -> Result<Applied, Refused> {
        zone.as_deref().map_or(Ok(()), check_name)?;
        weight.map_or(Ok(()), check_weight)?;
        let known = self.known(node)?;
        let changed = Member {
            zone: zone.unwrap_or_else(|| known.zone.clone()),
            weight: weight.unwrap_or(known.weight),
            ..known.clone()
        };
        if *known == changed {
            return Ok(Applied::Unchanged);
        }
        *known = changed;
        self.check_owners(node)?;
        self.stage_where_manual();
        Ok(Applied::Changed)
    }

    /// Refused where nobody would own data any more.
    pub(super) fn check_owners(&self, without: NodeId) -> Result<(), Refused> {
        let any = self.members.values().any(|member| member.stays() && member.weight > 0);
        if any { Ok(()) } else { Err(Refused::LastNode(without)) }
    }
}

pub(super) fn not_there(node: NodeId) -> Refused {
    Refused::NotFound { what: "node", name: node.to_string() }
}

fn check_weight(weight: u32) -> Result<(), Refused> {
    if weight > NODE_WEIGHT_MAX {
        let range = format!("0 to {NODE_WEIGHT_MAX}");
        return Err(OutOfRange { field: "weight", given: weight.into(), range }.into());
    }
    Ok(())
}

/// Whether it is `host:port` in characters that names and addresses have. Whether somebody is there is another matter.
#[must_use]
pub fn is_address(text: &str) -> bool {
    let good = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-' | ':' | '[' | ']' | '%');
    let port = text.rsplit_once(':').and_then(|(host, port)| port.parse::<u16>().ok().filter(|_| !host.is_empty()));
    text.len() <= NODE_ADDRESS_BYTES_MAX && text.chars().all(good) && port.is_some_and(|port| port > 0)
}

/// They go into configurations, logs and pages: no control characters, no markup.
fn check_places(addresses: &[String], url: Option<&str>, release: &str) -> Result<(), Refused> {
    let bad = |rule: String| Err(Refused::BadName(rule));
    if addresses.len() > NODE_ADDRESSES_MAX {
        return bad(format!("a node has at most {NODE_ADDRESSES_MAX} addresses"));
    }
    if !addresses.iter().all(|address| is_address(address)) {
        return bad(format!("an address of a node is host:port with at most {NODE_ADDRESS_BYTES_MAX} characters"));
    }
    let plain = |c: char| c.is_ascii_graphic() && !matches!(c, '<' | '>' | '"' | '\'' | '`' | '\\');
    let is_url = |text: &str| {
        let scheme = text.starts_with("https://") || text.starts_with("http://");
        scheme && text.len() <= NODE_URL_BYTES_MAX && text.chars().all(plain)
    };
    if !url.is_none_or(is_url) {
        return bad(format!("the URL of a node begins with https:// and has at most {NODE_URL_BYTES_MAX} characters"));
    }
    let named = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-' | '+');
    if release.len() > RELEASE_BYTES_MAX || !release.chars().all(named) {
        return bad(format!("a release has at most {RELEASE_BYTES_MAX} characters of A-Z a-z 0-9 . _ - +"));
    }
    Ok(())
}
