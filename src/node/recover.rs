//! `ringfort recover control`: a survivor goes on alone after the majority of the voters is lost for ever (HOUSE decision
//! 15). Its node does not run. Whoever can still be reached is asked first, and nothing is done where one of them knows
//! more, or where those who are there are a majority.

use std::collections::BTreeMap;
use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::PoisonError;

use futures_util::future::BoxFuture;
use futures_util::future::join_all;
use serde::Serialize;

use crate::base::id::NodeId;
use crate::base::limits::RECOVERY_ASK;
use crate::base::limits::RECOVERY_ASK_AGAIN;
use crate::base::time;
use crate::control::refound;
use crate::control::refound::Known;
use crate::control::types::Id;
use crate::net::peer::Inbox;
use crate::net::peer::LaneState;
use crate::net::peer::Peers;
use crate::net::peer::Settings;
use crate::net::peer::twins::Twin;
use crate::net::tls::PeerIdentity;
use crate::net::wire::Lane;
use crate::node::doctor::offline;
use crate::node::doctor::offline::OfflineError;
use crate::node::peers::Lanes;
use crate::node::peers::Post;
use crate::proto::audit::By;
use crate::proto::audit::Via;
use crate::proto::control::State;
use crate::proto::control::recovery::Recovery;
use crate::store::data_dir::DataDir;
use crate::store::identity;
use crate::store::identity::Identity;
use crate::store::identity::peer;
use crate::store::identity::peer::PeerFiles;

#[cfg(test)]
mod tests;

/// A voter, as the survivor sees it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct VoterView {
    /// Its number.
    pub id: NodeId,
    /// Its name.
    pub name: String,
    /// How it is.
    pub found: String,
}

/// What was found, and what going on from here costs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Survey {
    /// The survivor.
    pub node: NodeId,
    /// Its cluster.
    pub cluster: String,
    /// The generation that ends by it.
    pub generation: u64,
    /// Who votes.
    pub voters: Vec<VoterView>,
    /// Voters that are given up.
    pub lost: Vec<NodeId>,
    /// What is given up, a sentence each.
    pub given_up: Vec<String>,
    /// Where the old control plane is kept; none where nothing was done.
    pub kept_as: Option<String>,
}

/// What became of it.
#[derive(Debug)]
pub enum Outcome {
    /// There is nothing to recover, or somebody else should be asked; in words. Nothing was changed.
    Refused(String),
    /// This is what it would cost; nothing was changed.
    Surveyed(Survey),
    /// This is what it did.
    Recovered(Survey),
    /// An earlier attempt had ended before its last step, which was done now.
    Finished,
}

/// What another node says.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Said {
    /// It runs, and its last entry is this one.
    Here(Option<Id>),
    /// It is of a later generation.
    Later,
    /// It says that this node was removed.
    Removed(String),
    /// Nothing, for this reason.
    Nothing(String),
}

fn failed(error: impl std::fmt::Display) -> OfflineError {
    OfflineError::Failed(error.to_string())
}

/// Looks at what the node in `data` knows and who else is there; with `accept_loss` goes on alone.
///
/// # Errors
/// [`OfflineError`]; nothing was changed then.
pub async fn recover(data: &Path, accept_loss: bool) -> Result<Outcome, OfflineError> {
    let dir = offline::hold(data)?;
    let identity = identity::read(&dir.sub("identity")).map_err(failed)?;
    let identity = identity.filter(|identity| identity.born).ok_or_else(|| failed("no node was fully born here"))?;
    if refound::finish_earlier(&dir.sub("control")).map_err(failed)? {
        return Ok(Outcome::Finished);
    }
    let known = refound::known(&dir.sub("control")).map_err(failed)?;
    let said = ask_all(&dir, &identity, &known.state).await?;
    let lost = match judge(identity.node, &known, &said) {
        Ok(lost) => lost,
        Err(reason) => return Ok(Outcome::Refused(reason)),
    };
    let survey = survey(&identity, &known, &said, &lost);
    if !accept_loss {
        return Ok(Outcome::Surveyed(survey));
    }
    let by = By { name: "local owner".to_owned(), via: Via::Local, from: None, at_ms: time::wall_ms() };
    let recovery = Recovery { generation: known.state.generation.saturating_add(1), lost, by };
    let aside = offline::free_name(&dir.sub("control"));
    refound::recover(&dir.sub("control"), &aside, identity.node, recovery).map_err(failed)?;
    Ok(Outcome::Recovered(Survey { kept_as: Some(aside.display().to_string()), ..survey }))
}

/// Whether this node may go on alone, and without which voters.
fn judge(me: NodeId, known: &Known, said: &BTreeMap<NodeId, Said>) -> Result<BTreeSet<NodeId>, String> {
    let members = &known.members;
    if known.state.member(me).is_none() {
        return Err(format!("node {me} is no member of this cluster any more, so that it cannot go on for it"));
    }
    for (node, said) in said {
        match said {
            Said::Later => {
                return Err(format!("the cluster went on without this node: node {node} is of a later generation"));
            }
            Said::Removed(why) => {
                return Err(format!("the cluster went on without this node: node {node} says: {why}"));
            }
            Said::Here(last) if *last > known.last => {
                return Err(format!("node {node} can be reached and knows more than this one; recover there instead"));
            }
            Said::Here(_) | Said::Nothing(_) => {}
        }
    }
    let is_there = |node: u64| NodeId(node) == me || matches!(said.get(&NodeId(node)), Some(Said::Here(_)));
    if members.is_majority(is_there) {
        let reason = "a majority of the voters is there, this node included: nothing is lost; start this node";
        return Err(reason.to_owned());
    }
    Ok(members.voters.iter().flatten().filter(|node| !is_there(**node)).copied().map(NodeId).collect())
}

fn survey(identity: &Identity, known: &Known, said: &BTreeMap<NodeId, Said>, lost: &BTreeSet<NodeId>) -> Survey {
    let state = &known.state;
    let name = |node: &NodeId| state.members.get(node).map_or_else(|| "?".to_owned(), |member| member.name.clone());
    let voters: BTreeSet<NodeId> = known.members.voters.iter().flatten().copied().map(NodeId).collect();
    let found = |node: &NodeId| match said.get(node) {
        _ if *node == identity.node => "this node".to_owned(),
        Some(Said::Here(_)) => "is there, and knows no more".to_owned(),
        Some(Said::Nothing(why)) => format!("not reached: {why}"),
        Some(Said::Later | Said::Removed(_)) | None => "not reached".to_owned(),
    };
    let view = |node: &NodeId| VoterView { id: *node, name: name(node), found: found(node) };
    Survey {
        node: identity.node,
        cluster: identity.cluster.to_string(),
        generation: state.generation,
        voters: voters.iter().map(view).collect(),
        lost: lost.iter().copied().collect(),
        given_up: given_up(known, lost),
        kept_as: None,
    }
}

fn given_up(known: &Known, lost: &BTreeSet<NodeId>) -> Vec<String> {
    let state = &known.state;
    let names = lost.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ");
    let last = state.audit.entries().next_back().map_or_else(
        || "none".to_owned(),
        |entry| format!("{} `{}`: {}", time::rfc3339(entry.by.at_ms), entry.by.name, entry.what),
    );
    let open = known.last.map_or(0, |id| id.index).saturating_sub(known.committed.map_or(0, |id| id.index));
    let listed = |node: &NodeId| lost.contains(node);
    let partitions =
        state.layout.slots().filter(|(_, slot)| slot.lists().any(|list| list.owners.iter().any(listed))).count();
    let mut given_up = vec![
        format!(
            "every change of buckets, tokens, users, nodes and owners that nodes {names} took and this node did not hear \
             of; the last one it knows is {last}"
        ),
        format!("nodes {names} themselves: they are refused for ever, whatever they still have"),
    ];
    if open > 0 {
        given_up
            .push(format!("certainty: the last {open} entries it has may never have been confirmed; they take effect"));
    }
    if partitions > 0 {
        given_up.push(format!(
            "no value yet: nodes {names} own data in {partitions} of 256 partitions, and what only they had is given up \
             when you say so for each (`ringfort remove NODE --accept-loss`)"
        ));
    }
    given_up
}

/// Takes in nothing; notes who says that this node was removed.
#[derive(Default)]
struct Ear(Mutex<BTreeMap<NodeId, String>>);

impl Inbox for Ear {
    fn message(&self, _from: NodeId, _lane: Lane, _body: Vec<u8>) {}

    fn question(&self, _from: NodeId, _lane: Lane, _body: Vec<u8>) -> BoxFuture<'_, Vec<u8>> {
        Box::pin(std::future::ready(Vec::new()))
    }

    fn guest(&self, _from: SocketAddr, _body: Vec<u8>) -> BoxFuture<'_, Vec<u8>> {
        Box::pin(std::future::ready(Vec::new()))
    }

    fn may_speak(&self, _node: NodeId) -> bool {
        false
    }

    fn twin(&self, _twin: Twin) {}

    fn is_removed(&self, by: NodeId, why: &str) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).insert(by, why.to_owned());
    }
}

/// Asks every other member.
async fn ask_all(dir: &DataDir, identity: &Identity, state: &State) -> Result<BTreeMap<NodeId, Said>, OfflineError> {
    let others = state.members.iter().filter(|(id, _)| **id != identity.node && state.member(**id).is_some());
    let others: BTreeMap<NodeId, Vec<String>> = others.map(|(id, member)| (*id, member.addresses.clone())).collect();
    if others.is_empty() {
        return Ok(BTreeMap::new());
    }
    let PeerFiles { authority, certificate, key } = peer::read(&dir.sub("identity"), identity).map_err(failed)?;
    let proof = PeerIdentity { cluster: identity.cluster, node: identity.node, authority, certificate, key };
    // It calls; nobody is told where it could be called.
    let settings = Settings::bind(SocketAddr::from(([127, 0, 0, 1], 0))).map_err(failed)?;
    let ear = Arc::new(Ear::default());
    let peers = Peers::start(settings, &proof, Arc::<Ear>::clone(&ear)).map_err(failed)?;
    for (node, addresses) in &others {
        peers.know(*node, addresses.clone());
    }
    let lanes = Lanes { peers: Some(peers.clone()), post: Arc::new(Post::new().0) };
    let asked = others.keys().map(|node| ask_one(&lanes, &peers, &ear, *node, state.generation));
    let said = join_all(asked).await;
    peers.close().await;
    Ok(others.into_keys().zip(said).collect())
}

async fn ask_one(lanes: &Lanes, peers: &Peers, ear: &Ear, node: NodeId, generation: u64) -> Said {
    let deadline = time::mono() + RECOVERY_ASK;
    loop {
        let left = deadline.saturating_duration_since(time::mono());
        match refound::ask(lanes, node, generation, left).await {
            Ok(refound::Heard::Status(status)) => return Said::Here(status.last),
            Ok(refound::Heard::Later) => return Said::Later,
            Err(_none) => {}
        }
        if let Some(why) = ear.0.lock().unwrap_or_else(PoisonError::into_inner).get(&node) {
            return Said::Removed(why.clone());
        }
        if left <= RECOVERY_ASK_AGAIN {
            return Said::Nothing(why_not(peers, node));
        }
        tokio::time::sleep(RECOVERY_ASK_AGAIN).await;
    }
}

fn why_not(peers: &Peers, node: NodeId) -> String {
    let link = peers.links().into_iter().find(|link| link.node == node);
    let lane = link.and_then(|link| link.lanes.into_iter().find(|lane| lane.lane == Lane::Control));
    match lane {
        Some(lane) if lane.state == LaneState::Up => "it is connected and does not answer".to_owned(),
        Some(lane) => lane.why.map_or_else(|| "no answer".to_owned(), |why| why.text),
        None => "no answer".to_owned(),
    }
}
