//! What a node says of itself to the cluster: where it is, what it is called, where it stands and how much it takes.

use crate::base::limits::REPORT_AGAIN;
use crate::control::consensus::Consensus as _;
use crate::node::Node;
use crate::node::error::DoorError;
use crate::proto::control::Command;
use crate::proto::control::members::Announcement;
use crate::proto::control::members::Change;
use crate::proto::control::members::LayoutCommit;
use crate::proto::control::members::Member;
use crate::proto::message::Word;

/// What the configuration of a node says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Said {
    /// Where other nodes reach it.
    pub addresses: Vec<String>,
    /// Where it stands; none: as the cluster knows it.
    pub zone: Option<String>,
    /// Its share; none: as the cluster knows it.
    pub weight: Option<u32>,
    /// Who commits plans, in the whole cluster: said once at each start, so that of nodes that differ the last one counts.
    pub layout_commit: Option<LayoutCommit>,
}

impl Node {
    /// Tells the cluster what it does not know, again whenever it knows otherwise, until the node stops.
    pub async fn keep_said(self, said: Said) {
        let (mut moved, mut said) = (self.moved(), said);
        let _said_once = self.0.cluster.said_at.set(said.addresses.clone());
        loop {
            self.tell_who_does_not_call(&said);
            let told = self.say_it(&mut said).await;
            if let Err(error) = &told {
                tracing::debug!(%error, "what this node is could not be told yet");
                self.ask_the_way(&said);
            }
            let again = async {
                match told {
                    Ok(()) => match tokio::time::timeout(REPORT_AGAIN, moved.changed()).await {
                        Ok(moved) => moved.is_ok(),
                        Err(_nothing_moved) => true,
                    },
                    Err(_) => {
                        tokio::time::sleep(REPORT_AGAIN).await;
                        true
                    }
                }
            };
            tokio::select! {
                () = self.drained() => return,
                goes_on = again => if !goes_on { return },
            }
        }
    }

    /// Each for itself: what is refused keeps nothing else from being said.
    async fn say_it(&self, said: &mut Said) -> Result<(), DoorError> {
        let mut failed = Ok(());
        for change in self.untold(said) {
            match self.0.consensus.propose(Command::Cluster(change)).await.map_err(DoorError::from) {
                Ok(_) => {}
                Err(error @ (DoorError::Control(_) | DoorError::NotFound { .. })) => {
                    tracing::warn!(%error, "the cluster does not take what the configuration says of this node");
                }
                Err(error) => failed = Err(error),
            }
        }
        if failed.is_ok() {
            said.layout_commit = None;
        }
        failed
    }

    /// Who leads may have moved too. Whoever is where it was knows the way to it, and from it.
    fn ask_the_way(&self, said: &Said) {
        let me = self.who().node;
        if self.untold(said).iter().any(|change| matches!(change, Change::Announce { .. })) {
            let word = Word::IAmHere { addresses: said.addresses.clone() };
            self.state().members.keys().filter(|node| **node != me).for_each(|node| self.say(*node, &word));
        }
    }

    /// Whoever is called and does not call back looks for this node somewhere else: where a copy of it was meanwhile, say, of
    /// which this node has not heard. What the cluster knows comes by such calls, so nothing else would mend it.
    fn tell_who_does_not_call(&self, said: &Said) {
        let word = Word::IAmHere { addresses: said.addresses.clone() };
        self.0.cluster.reach.one_way().into_iter().for_each(|node| self.say(node, &word));
    }

    /// Where this node says that others reach it.
    pub(super) fn said_at(&self) -> Option<String> {
        self.0.cluster.said_at.get()?.first().cloned()
    }

    /// Where the cluster knows otherwise.
    fn untold(&self, said: &Said) -> Vec<Change> {
        let (state, who) = (self.state(), self.who());
        let node = who.node;
        let Some(known) = state.member(node) else { return Vec::new() };
        let Said { addresses, zone, weight, layout_commit } = said.clone();
        let release = env!("CARGO_PKG_VERSION").to_owned();
        let url = self.address_to_open().or_else(|| known.url.clone());
        let name = (known.name != who.name).then(|| who.name.clone());
        let announcement = Announcement { addresses, url, release, name };
        let as_known = says_nothing_new(known, &announcement);
        let announce = (!as_known).then_some(Change::Announce { node, announcement });
        let zone = zone.filter(|zone| known.zone != *zone);
        let weight = weight.filter(|weight| known.weight != *weight);
        let differs = zone.is_some() || weight.is_some();
        let alter = differs.then_some(Change::Alter { node, zone, weight });
        let commit = layout_commit.filter(|commit| state.layout_commit != *commit).map(Change::SetLayoutCommit);
        announce.into_iter().chain(alter).chain(commit).collect()
    }
}

fn says_nothing_new(known: &Member, said: &Announcement) -> bool {
    let same_name = said.name.as_ref().is_none_or(|name| *name == known.name);
    known.addresses == said.addresses && known.release == said.release && known.url == said.url && same_name
}
