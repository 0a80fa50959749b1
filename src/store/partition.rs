//! The partitions of a node: what each key holds, over journal, overlay and index.
//!
//! A write goes to the journal; until the index has it, it stands in the partition's overlay. A read answers only from
//! what is durable; a read-modify-write builds on the newest, durable or not, because the journal keeps their order.
//! [`Store::update`] is the serial owner of a partition: one lock over read, decision and submission.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::MutexGuard;
use std::sync::PoisonError;
use std::sync::RwLock;
use std::sync::atomic::AtomicBool;
use std::sync::atomic::AtomicUsize;
use std::sync::atomic::Ordering;

use tokio::sync::oneshot;

use crate::base::id::Incarnation;
use crate::base::id::PartitionId;
use crate::base::limits::MERGED_BYTES_MAX;
use crate::base::limits::OVERLAY_BYTES_MAX;
use crate::base::limits::PARTITIONS;
use crate::base::limits::RECORD_BYTES_MAX;
use crate::base::rng;
use crate::proto::bucket::Kind;
use crate::proto::causal::Actor;
use crate::proto::key::IndexKey;
use crate::proto::object::Object;
use crate::proto::object::Stamp;
use crate::proto::object::merge;
use crate::store::damage::Damage;
use crate::store::disk::Disk;
use crate::store::index::Index;
use crate::store::index::IndexError;
use crate::store::index::salvage::Unreadable;
use crate::store::journal::writer::Journal;
use crate::store::journal::writer::NotCommitted;
use crate::store::journal::writer::NotSubmitted;
use crate::store::journal::writer::Sequence;

pub mod files;
pub mod follow;
pub mod open;
pub mod record;
mod scan;
#[cfg(test)]
mod tests;

/// Why a read or write failed. Only `Unknown` leaves open whether anything was stored.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// What is stored for this key is damaged. It is not served and not replaced.
    #[error("what is stored for this key is damaged: {detail}")]
    Corrupt {
        /// What does not fit.
        detail: String,
    },
    /// Too much is under way; nothing was stored.
    #[error("too many writes are under way; nothing was stored")]
    Busy,
    /// The record would be too large; nothing was stored.
    #[error("the key's values together have {len} bytes, more than one record may have; nothing was stored")]
    TooLarge {
        /// Bytes.
        len: usize,
    },
    /// It was read below this partition's floor: what it holds may be deleted and purged by now. Nothing was stored.
    #[error("what came is older than what was purged here since; nothing was stored")]
    BelowFloor,
    /// No room; nothing was stored.
    #[error("the disk is full; nothing was stored")]
    NoSpace,
    /// No next start would find it; nothing was stored.
    #[error("the files of this node were removed or renamed while it runs; nothing was stored")]
    Adrift,
    /// The node is stopping; nothing was stored.
    #[error("the node is stopping; nothing was stored")]
    Closed,
    /// The index cannot be read at all.
    #[error(transparent)]
    Index(IndexError),
    /// The node ended in between: the write may or may not be stored.
    #[error("the node stopped before the write was confirmed; whether it is stored is unknown")]
    Unknown,
}

impl From<IndexError> for StoreError {
    fn from(error: IndexError) -> Self {
        match error {
            IndexError::Corrupt { detail } => Self::Corrupt { detail },
            other @ (IndexError::Full { .. } | IndexError::Io { .. } | IndexError::Stalled) => Self::Index(other),
        }
    }
}

impl From<NotSubmitted> for StoreError {
    fn from(error: NotSubmitted) -> Self {
        match error {
            NotSubmitted::Busy => Self::Busy,
            NotSubmitted::TooLarge { len } => Self::TooLarge { len },
            NotSubmitted::Closed => Self::Closed,
        }
    }
}

/// A write on its way to the disk.
#[derive(Debug)]
#[must_use = "the write is durable only when this says so"]
pub struct Pending(oneshot::Receiver<Result<(), NotCommitted>>);

impl Pending {
    /// Returns when the write is durable.
    ///
    /// # Errors
    /// [`StoreError::NoSpace`], [`StoreError::Unknown`].
    pub async fn durable(self) -> Result<(), StoreError> {
        committed(self.0.await.unwrap_or(Err(NotCommitted::Unknown)))
    }

    /// The same for a blocking thread.
    ///
    /// # Errors
    /// As [`Pending::durable`].
    pub fn durable_blocking(self) -> Result<(), StoreError> {
        committed(self.0.blocking_recv().unwrap_or(Err(NotCommitted::Unknown)))
    }
}

fn committed(outcome: Result<(), NotCommitted>) -> Result<(), StoreError> {
    outcome.map_err(|error| match error {
        NotCommitted::NoSpace => StoreError::NoSpace,
        NotCommitted::Unknown => StoreError::Unknown,
    })
}

/// Where a change was minted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Origin {
    Here,
    /// And read there at this floor.
    Elsewhere(u64),
}

impl Origin {
    /// What each owner took for itself is not too large together.
    fn record_bytes_max(self) -> usize {
        match self {
            Self::Here => RECORD_BYTES_MAX,
            Self::Elsewhere(_) => MERGED_BYTES_MAX,
        }
    }
}

/// What the next write of a partition is minted with.
#[derive(Debug, Clone, Copy)]
pub struct Next {
    /// Its number.
    pub counter: u64,
    /// See [`Mint`](crate::proto::object::Mint).
    pub above: Option<Stamp>,
}

/// What a read-modify-write decides.
pub enum Decision<T> {
    /// Store this object.
    Store(Arc<Object>, T),
    /// Give the place up: this node has no business with it any more.
    Remove(T),
    /// Leave all as it is.
    Leave(T),
    /// Leave all as it is, and answer when what is there is durable: it may be on its way only.
    Confirm(T),
}

/// A version of a key that the index does not have yet.
struct Entry {
    sequence: Sequence,
    /// None: given up.
    object: Option<Arc<Object>>,
}

#[derive(Default)]
struct Partition {
    overlay: HashMap<IndexKey, Vec<Entry>>,
    /// Dots minted by this actor in this partition.
    minted: u64,
    /// What was read elsewhere below it is not stored where nothing is held: see `proto::purge`.
    floor: u64,
    /// The highest stamp of what was purged: what is minted where nothing is goes above it.
    purged: Option<Stamp>,
    /// The last record that was handed to the journal for it: whatever was found out of it before is of then.
    changed: Sequence,
}

/// What the follower and the store share.
struct Shared<I> {
    partitions: Vec<Mutex<Partition>>,
    overlay_bytes: AtomicUsize,
    index: I,
    unreadable: Unreadable,
    damage: Damage,
    /// Something that the actor minted was refused by the journal and is here no more, though another node may have been
    /// told of it: what the actor mints next would claim to have seen it.
    burnt: AtomicBool,
    /// Its files are gone: what is written is found by no next start.
    adrift: AtomicBool,
}

impl<I> Shared<I> {
    fn lock(&self, id: PartitionId) -> MutexGuard<'_, Partition> {
        // There are 256 of them and 256 ids.
        let partition = self.partitions.get(usize::from(id.0)).unwrap_or_else(|| unreachable!("256 partitions"));
        partition.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The partitions of a node.
pub struct Store<D: Disk, I: Index> {
    shared: Arc<Shared<I>>,
    journal: Arc<Journal<D>>,
    progress: Arc<follow::Progress>,
    actor: RwLock<Actor>,
}

impl<D: Disk, I: Index> Store<D, I> {
    /// The node's present life.
    #[must_use]
    pub fn actor(&self) -> Actor {
        *self.actor.read().unwrap_or_else(PoisonError::into_inner)
    }

    /// From now on another actor mints: one knows all that it ever wrote to a key, and this node is about to give keys
    /// up. Returns when the new one is on disk.
    ///
    /// # Errors
    /// [`StoreError`]; the old one goes on.
    pub async fn renew(&self) -> Result<(), StoreError> {
        let incarnation = rng::nonzero_u64().map(Incarnation).map_err(|_none| StoreError::Busy)?;
        let (ack, acked) = oneshot::channel();
        self.journal.submit(record::encode_incarnation(incarnation), ack)?;
        Pending(acked).durable().await?;
        self.actor.write().unwrap_or_else(PoisonError::into_inner).incarnation = incarnation;
        self.shared.burnt.store(false, Ordering::Release);
        Ok(())
    }

    /// Whether the actor mints no more until it is renewed: the journal refused something of it.
    #[must_use]
    pub fn is_burnt(&self) -> bool {
        self.shared.burnt.load(Ordering::Acquire)
    }

    /// The journal, for its counts.
    #[must_use]
    pub fn journal(&self) -> &Journal<D> {
        &self.journal
    }

    /// How far the index has followed.
    #[must_use]
    pub fn progress(&self) -> &follow::Progress {
        &self.progress
    }

    /// Bytes acked or on their way and not yet in the index.
    #[must_use]
    pub fn overlay_bytes(&self) -> usize {
        self.shared.overlay_bytes.load(Ordering::Relaxed)
    }

    /// Bytes of the index on disk.
    #[must_use]
    pub fn index_bytes(&self) -> u64 {
        self.shared.index.bytes()
    }

    /// What is durable at a place.
    ///
    /// # Errors
    /// [`StoreError::Corrupt`], [`StoreError::Index`].
    pub fn read(&self, place: &IndexKey) -> Result<Option<Arc<Object>>, StoreError> {
        let durable = self.journal.durable();
        if let Some(found) = newest(&self.shared.lock(place.partition()), place, durable) {
            return Ok(found);
        }
        self.read_index(place)
    }

    fn read_index(&self, place: &IndexKey) -> Result<Option<Arc<Object>>, StoreError> {
        self.look_up(place).inspect_err(|error| self.shared.damage.note(place.partition(), error))
    }

    fn look_up(&self, place: &IndexKey) -> Result<Option<Arc<Object>>, StoreError> {
        let Some(bytes) = self.shared.index.get(place.as_bytes())? else {
            // Where the index has lost a range, absence is not known.
            if self.shared.unreadable.contains(place.as_bytes()) {
                let detail = "the part of the index it would be in is lost".to_owned();
                return Err(StoreError::Corrupt { detail });
            }
            return Ok(None);
        };
        let object =
            Object::decode(place, &bytes).map_err(|error| StoreError::Corrupt { detail: error.to_string() })?;
        Ok(Some(Arc::new(object)))
    }

    /// Read-modify-write of one place as its partition's serial owner. `decide` sees the newest object and what the next write
    /// is minted with; it must not block.
    ///
    /// # Errors
    /// [`StoreError`]; nothing was stored.
    pub fn update<T>(
        &self,
        place: &IndexKey,
        decide: impl FnOnce(Option<&Object>, Next) -> Decision<T>,
    ) -> Result<(Option<Pending>, T), StoreError> {
        self.change(Origin::Here, place, decide)
    }

    fn change<T>(
        &self,
        origin: Origin,
        place: &IndexKey,
        decide: impl FnOnce(Option<&Object>, Next) -> Decision<T>,
    ) -> Result<(Option<Pending>, T), StoreError> {
        // Nor is confirmed what is here already: it would be counted as a copy.
        if self.shared.adrift.load(Ordering::Relaxed) {
            return Err(StoreError::Adrift);
        }
        if self.overlay_bytes() > OVERLAY_BYTES_MAX {
            return Err(StoreError::Busy);
        }
        let mut partition = self.shared.lock(place.partition());
        let old = match newest(&partition, place, Sequence::MAX) {
            Some(found) => found,
            None => self.read_index(place)?,
        };
        if let Origin::Elsewhere(floor) = origin
            && old.is_none()
            && floor < partition.floor
        {
            return Err(StoreError::BelowFloor);
        }
        let next = Next { counter: partition.minted + 1, above: partition.purged };
        let (object, answer) = match decide(old.as_deref(), next) {
            Decision::Leave(answer) => return Ok((None, answer)),
            Decision::Confirm(answer) => return Ok((self.confirm(&partition, place)?, answer)),
            // Looked at under the partition's lock: it is set before what was refused is forgotten.
            Decision::Store(..) if origin == Origin::Here && self.is_burnt() => return Err(StoreError::NoSpace),
            Decision::Store(object, answer) => (Some(object), answer),
            Decision::Remove(answer) => (None, answer),
        };
        let record = object
            .as_ref()
            .map_or_else(|| record::encode_removal(place), |object| record::encode(place, &object.encode(place)));
        let bytes = record.len();
        if bytes > origin.record_bytes_max() {
            return Err(StoreError::TooLarge { len: bytes });
        }
        let (ack, acked) = oneshot::channel();
        let sequence = self.journal.submit(record, ack)?;
        partition.minted += 1;
        partition.changed = sequence;
        self.shared.overlay_bytes.fetch_add(bytes, Ordering::Relaxed);
        partition.overlay.entry(place.clone()).or_default().push(Entry { sequence, object });
        Ok((Some(Pending(acked)), answer))
    }

    /// The last change of a partition in this life: what a scan finds that began behind it is of now, until it rises.
    #[must_use]
    pub fn changed(&self, partition: PartitionId) -> Sequence {
        self.shared.lock(partition).changed
    }

    /// What is newest at a place, durable or not.
    ///
    /// # Errors
    /// [`StoreError::Corrupt`], [`StoreError::Index`].
    pub fn newest(&self, place: &IndexKey) -> Result<Option<Arc<Object>>, StoreError> {
        if let Some(found) = newest(&self.shared.lock(place.partition()), place, Sequence::MAX) {
            return Ok(found);
        }
        self.read_index(place)
    }

    /// Whether a place holds this, as its fingerprint: durable, and nothing newer on its way.
    #[must_use]
    pub fn holds(&self, place: &IndexKey, fingerprint: u64) -> bool {
        let is = |found: Result<Option<Arc<Object>>, StoreError>| {
            found.ok().flatten().is_some_and(|object| object.fingerprint() == fingerprint)
        };
        is(self.newest(place)) && is(self.read(place))
    }

    /// The partition's floor.
    #[must_use]
    pub fn floor(&self, partition: PartitionId) -> u64 {
        self.shared.lock(partition).floor
    }

    /// Raises it, in memory; whether it was lower. What was read before may be stored no more from then on.
    pub fn raise_floor(&self, partition: PartitionId, to: u64) -> bool {
        let floor = &mut self.shared.lock(partition).floor;
        let was_lower = *floor < to;
        *floor = (*floor).max(to);
        was_lower
    }

    /// The highest stamp of what was purged in a partition, as far as this node knows.
    #[must_use]
    pub fn purged(&self, partition: PartitionId) -> Option<Stamp> {
        self.shared.lock(partition).purged
    }

    /// What is minted in a partition where nothing is goes above this stamp from now on.
    pub fn raise_purged(&self, partition: PartitionId, to: Option<Stamp>) {
        let purged = &mut self.shared.lock(partition).purged;
        *purged = (*purged).max(to);
    }

    /// Merges what another node holds, and had read at this floor, into what is here. Returns what to wait for until the
    /// result is durable, unless it is already. It may be larger than what a write may leave: both were acked somewhere.
    ///
    /// # Errors
    /// [`StoreError`]; nothing was stored.
    pub fn merge(
        &self,
        place: &IndexKey,
        object: &Object,
        kind: Kind,
        floor: u64,
    ) -> Result<Option<Pending>, StoreError> {
        let merged = self.change(Origin::Elsewhere(floor), place, |held, _| match held {
            None => Decision::Store(Arc::new(object.clone()), ()),
            Some(held) => match merge::merge(held, object, kind) {
                merged if merged == *held => Decision::Confirm(()),
                merged => Decision::Store(Arc::new(merged), ()),
            },
        })?;
        Ok(merged.0)
    }

    /// Something to wait for, if the newest version of a place is not durable yet.
    fn confirm(&self, partition: &Partition, place: &IndexKey) -> Result<Option<Pending>, StoreError> {
        let newest = partition.overlay.get(place).and_then(|entries| entries.last());
        if newest.is_none_or(|entry| entry.sequence <= self.journal.durable()) {
            return Ok(None);
        }
        let (ack, acked) = oneshot::channel();
        self.journal.submit(record::encode_barrier(), ack)?;
        Ok(Some(Pending(acked)))
    }

    /// What the index has lost.
    #[must_use]
    pub fn unreadable(&self) -> &Unreadable {
        &self.shared.unreadable
    }

    /// What was met that cannot be read.
    #[must_use]
    pub fn damage(&self) -> &Damage {
        &self.shared.damage
    }

    /// Writes what waits, proves the index and closes in order. Blocks.
    pub fn close(&self) {
        // What is submitted before the barrier reaches the index before that is told to end; and the journal must
        // still be open to hear what the index proved, or the next start would replay all of it.
        let (ack, acked) = oneshot::channel();
        if self.journal.submit(record::encode_barrier(), ack).is_ok() {
            let _full_or_poisoned = acked.blocking_recv();
        }
        self.progress.close();
        self.journal.close();
    }
}

/// The newest version in the overlay that is not above `limit`; a place that is given up holds nothing.
fn newest(partition: &Partition, place: &IndexKey, limit: Sequence) -> Option<Option<Arc<Object>>> {
    let entries = partition.overlay.get(place)?;
    entries.iter().rev().find(|entry| entry.sequence <= limit).map(|entry| entry.object.clone())
}

fn empty_partitions() -> Vec<Mutex<Partition>> {
    (0..PARTITIONS).map(|_| Mutex::new(Partition::default())).collect()
}
