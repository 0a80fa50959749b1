//! Where a key is and what each of its owners holds of it, for people: this node asks all of them at once, and whoever does
//! not answer in time is named with the reason. Values are not shown, and nothing is merged or repaired by looking.

use futures_util::future;
use serde::Serialize;

use crate::base::id::NodeId;
use crate::base::id::PartitionId;
use crate::base::limits::WHERE_BUDGET;
use crate::base::time;
use crate::node::Node;
use crate::node::cluster::Lane;
use crate::node::cluster::NotAnswered;
use crate::node::cluster::View;
use crate::node::error::DoorError;
use crate::node::replica::holding;
use crate::proto::key::IndexKey;
use crate::proto::key::Key;
use crate::proto::message::Answer;
use crate::proto::message::Ask;
use crate::proto::message::Holding;
use crate::proto::message::Place;
use crate::proto::message::Tell;
use crate::proto::message::Why;
use crate::proto::ring;
use crate::proto::ring::layout::Slot;
use crate::proto::ring::numbers::BucketNumbers;

/// Where a key is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Whereabouts {
    /// The first 64 bits of the SHA-256 over the bucket's number and the key: the first eight are the partition.
    pub hash: String,
    /// Its partition.
    pub partition: PartitionId,
    /// Since which version of the layout this partition's rules are what they are.
    pub epoch: u64,
    /// `settled`, `both` while new owners are written to, `read_next` while they are read as well.
    pub phase: &'static str,
    /// In order of preference, those who come behind those who are.
    pub owners: Vec<OwnerView>,
}

/// One owner, and what it holds.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct OwnerView {
    /// The node.
    pub node: NodeId,
    /// Its name.
    pub name: String,
    /// In which lists: `now`, `next`.
    pub lists: Vec<&'static str>,
    /// Whether it is synced in all of them: only then it counts in reads.
    pub synced: bool,
    /// What it holds durably.
    pub holds: Option<Held>,
    /// Why that is not known.
    pub why: Option<&'static str>,
    /// Whether this node still has to tell it of a write of this key, or of its partition, that it missed.
    pub hint_pending: bool,
}

/// What is held, in short.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Held {
    /// A digest of the causal context and the values' writes; null where nothing is held. Those who show the same hold the
    /// same.
    pub context: Option<String>,
    /// Bytes of the values.
    pub size: u64,
    /// How many values can be read: 0 of a key that was deleted or has expired, several where siblings are.
    pub values: u32,
}

/// How far a slot's transition has come.
#[must_use]
pub fn phase_of(slot: &Slot) -> &'static str {
    match &slot.next {
        None => "settled",
        Some(next) if next.reads.is_none() => "both",
        Some(_) => "read_next",
    }
}

impl Node {
    /// Where a key is and what each owner holds of it.
    ///
    /// # Errors
    /// [`DoorError::NoSuchBucket`].
    pub async fn whereabouts(&self, bucket: &str, key: &Key) -> Result<Whereabouts, DoorError> {
        let view = self.view_with(bucket).await?;
        let bucket = view.named(bucket)?;
        let place = IndexKey::new(bucket.id, key);
        let slot = view.slot(place.partition());
        let owners =
            slot.write_owners(bucket.numbers).map(|owner| self.owner_view(&view, bucket.numbers, owner, &place));
        Ok(Whereabouts {
            hash: format!("{:016x}", ring::hash_of(bucket.id, key.as_bytes())),
            partition: place.partition(),
            epoch: slot.epoch,
            phase: phase_of(slot),
            owners: future::join_all(owners).await,
        })
    }

    async fn owner_view(&self, view: &View, numbers: BucketNumbers, owner: NodeId, place: &IndexKey) -> OwnerView {
        let slot = view.slot(place.partition());
        // A list may be longer than what the bucket counts.
        let counted: Vec<bool> = slot.writes(numbers).map(|quorum| quorum.owners.contains(&owner)).collect();
        let lists = slot.lists().zip(["now", "next"]).zip(counted).filter(|(_, counted)| *counted);
        let lists: Vec<_> = lists.map(|((list, name), _)| (name, list.is_synced(owner))).collect();
        let held = if owner == self.who().node {
            // A node that is behind its own word does not know yet what it owns.
            if self.is_serving() { in_words(holding(self, place)) } else { Err(NOT_READY) }
        } else {
            self.ask_what_is_held(view, owner, place).await
        };
        OwnerView {
            node: owner,
            name: view.state.members.get(&owner).map(|member| member.name.clone()).unwrap_or_default(),
            lists: lists.iter().map(|(name, _)| *name).collect(),
            synced: lists.iter().all(|(_, synced)| *synced),
            why: held.as_ref().err().copied(),
            holds: held.ok(),
            hint_pending: self.0.cluster.hints.is_pending(owner, place),
        }
    }

    async fn ask_what_is_held(&self, view: &View, owner: NodeId, place: &IndexKey) -> Result<Held, &'static str> {
        let ask = Ask::Where { place: Place::from(place) };
        let body = self.question(view, place.partition(), time::millis(WHERE_BUDGET), ask);
        let answer = tokio::time::timeout(WHERE_BUDGET, self.ask(owner, Lane::Requests, body, WHERE_BUDGET)).await;
        match answer.unwrap_or(Err(NotAnswered::Silent)) {
            Ok(Answer { tell: Tell::Where(holding), .. }) => in_words(holding),
            Ok(Answer { tell: Tell::Refused(Why::Stale), .. }) => Err("it knows of a newer layout; ask again"),
            Ok(Answer { tell: Tell::Refused(Why::NotOwner), .. }) => Err("it does not take itself for an owner"),
            Ok(Answer { tell: Tell::Refused(Why::NotYet | Why::BelowFloor), .. }) => Err(NOT_READY),
            Ok(_) => Err("its answer is not understood"),
            Err(NotAnswered::NotSent) => Err("there is no connection to it"),
            Err(NotAnswered::Silent) => Err("it did not answer in time"),
        }
    }
}

const NOT_READY: &str = "it is not ready, or does not know the layout yet";

fn in_words(holding: Holding) -> Result<Held, &'static str> {
    match holding {
        Holding::Nothing => Ok(Held { context: None, size: 0, values: 0 }),
        Holding::Object { digest, size, values } => Ok(Held { context: Some(format!("{digest:016x}")), size, values }),
        Holding::Damaged => Err("what it holds is damaged"),
    }
}
