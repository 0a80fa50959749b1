//! Reads and writes of one key: options into an update, the update into its partition, the outcome into a receipt.
//! A key that only this node owns is written and read here; one with several owners by [`coordinator`](super::coordinator).

use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering;
use std::time::Duration;

use serde::Serialize;
use tokio::sync::oneshot;

use crate::base::checksum;
use crate::base::id::NodeId;
use crate::base::id::OpId;
use crate::base::id::PartitionId;
use crate::base::limits::KEYED_OP_TTL;
use crate::base::limits::MEMORY_GRACE;
use crate::base::limits::OPERATION_BUDGET;
use crate::base::rng;
use crate::base::time;
use crate::node::Node;
use crate::node::cluster::View;
use crate::node::cluster::now_ms;
use crate::node::coordinator::Done;
use crate::node::coordinator::Wanted;
use crate::node::coordinator::bucket_gone;
use crate::node::coordinator::read::Level;
use crate::node::error::DoorError;
use crate::node::worker;
use crate::proto::bucket::Kind;
use crate::proto::causal::Actor;
use crate::proto::causal::Context;
use crate::proto::causal::token;
use crate::proto::control::Bucket;
use crate::proto::key::IndexKey;
use crate::proto::key::Key;
use crate::proto::object::Action;
use crate::proto::object::Basis;
use crate::proto::object::Condition;
use crate::proto::object::Memory;
use crate::proto::object::Mint;
use crate::proto::object::Object;
use crate::proto::object::Stamp;
use crate::proto::object::Update;
use crate::proto::object::apply;
use crate::proto::object::apply::Outcome;
use crate::proto::object::apply::Refusal;
use crate::proto::ring::layout::Slot;
use crate::store::partition::Decision;
use crate::store::partition::Next;
use crate::store::partition::Pending;

/// Makes operation ids that nobody else makes: a random start and a count.
pub struct OpIds {
    start: u128,
    count: AtomicU64,
}

impl OpIds {
    /// A new series.
    ///
    /// # Errors
    /// Where there is no entropy.
    pub fn new() -> std::io::Result<Self> {
        Ok(Self { start: rng::u128()?, count: AtomicU64::new(0) })
    }

    fn next(&self) -> OpId {
        OpId(self.start.wrapping_add(u128::from(self.count.fetch_add(1, Ordering::Relaxed))))
    }
}

/// How a client wants a write done.
#[derive(Debug, Clone, Default)]
pub struct WriteOptions {
    /// `Ringfort-Context`.
    pub context: Option<String>,
    /// `If-None-Match: *`.
    pub if_absent: bool,
    /// `If-Match`.
    pub if_match: Option<Vec<String>>,
    /// `Idempotency-Key`, with whatever tells one caller's keys from another's.
    pub idempotency: Option<Vec<u8>>,
    /// `?ttl=`.
    pub ttl_ms: Option<u64>,
    /// `?w=`.
    pub w: Option<u8>,
}

/// From how many owners a client wants to hear.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Consistency {
    /// One, the nearest that is synced: fast, and perhaps stale.
    Local,
    /// As many as the bucket says.
    #[default]
    Quorum,
    /// All.
    All,
}

/// How a client wants a read done.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct ReadOptions {
    /// `?r=`.
    pub r: Option<u8>,
    /// `?consistency=`.
    pub consistency: Consistency,
}

/// The answer to a write that is on disk.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Receipt {
    /// Always `ok`.
    pub outcome: &'static str,
    /// For the next write by whoever saw this one only.
    pub context: String,
    /// Owners on whose disk it is.
    pub acked_by: Vec<NodeId>,
    /// All owners.
    pub owners: Vec<NodeId>,
    /// It is synced, not only written.
    pub synced: bool,
    /// When it was written.
    pub at: String,
    /// A later read may miss it, by the bucket's own numbers.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub weak: bool,
}

/// A write under way.
struct Begun {
    pending: Option<Pending>,
    context: Context,
    stamp: Stamp,
}

/// One value of a read.
#[derive(Debug, Clone)]
pub struct Value {
    /// What is stored.
    pub object: Arc<Object>,
    /// `Ringfort-Context`.
    pub context: String,
    /// The wall clock the read went by.
    pub now_ms: u64,
}

/// Where a key lies.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Place {
    /// The slice of the ring.
    pub partition: PartitionId,
    /// The nodes that keep it.
    pub owners: Vec<NodeId>,
}

impl Node {
    /// Stores a value. Returns when it is on disk.
    ///
    /// # Errors
    /// [`DoorError`].
    pub async fn put(
        &self,
        bucket: &str,
        key: Key,
        action: Action,
        options: WriteOptions,
    ) -> Result<Receipt, DoorError> {
        let view = self.view_with(bucket).await?;
        let bucket = view.named(bucket)?;
        let place = IndexKey::new(bucket.id, &key);
        let owners = owners_of(&view, bucket, &place);
        check_raised("w", options.w, bucket.definition.w, bucket.definition.n, owners.len())?;
        let w = options.w;
        let update = self.update_of(bucket, &place, action, options)?;
        let Done { context, stamp, acked_by } = self.write(&view, Wanted::new(place.clone(), update, w)).await?;
        Ok(Receipt {
            outcome: "ok",
            context: token::encode(&self.0.context_secret, &place, &context),
            acked_by,
            owners,
            synced: true,
            at: time::rfc3339(stamp.0 >> 16),
            weak: bucket.definition.is_weak(),
        })
    }

    /// Writes here, over the owners, or at one of them.
    pub(super) async fn write(&self, view: &View, wanted: Wanted) -> Result<Done, DoorError> {
        let place = &wanted.place;
        let slot = view.slot(place.partition());
        let Some(known) = view.bucket(place.bucket()) else { return Err(bucket_gone(place)) };
        let me = self.who().node;
        if self.is_alone(slot) {
            let begun = self.begin(place, &wanted.update)?;
            if let Some(pending) = begun.pending {
                pending.durable().await?;
            }
            // Others may have come to own it meanwhile: then it is theirs as well, as an operation that is known here.
            if self.view().slot(place.partition()).epoch == slot.epoch {
                return Ok(Done { context: begun.context, stamp: begun.stamp, acked_by: vec![me] });
            }
        }
        let stored_here = self.is_alone(slot);
        let written = if !self.is_serving() || !slot.is_owner(me, known.numbers) {
            self.forward(&wanted).await
        } else {
            self.coordinate(wanted).await
        };
        match written {
            // It is on this disk already: nobody can say any more that nothing was changed.
            Err(DoorError::OutcomeUnknown { .. }) | Ok(_) => written,
            Err(_) if stored_here => Err(DoorError::OutcomeUnknown { acked_by: vec![me] }),
            Err(_) => written,
        }
    }

    /// Whether this node is the only one that has to do with a slot.
    fn is_alone(&self, slot: &Slot) -> bool {
        let me = self.who().node;
        slot.next.is_none() && slot.now.owners == [me] && slot.now.is_synced(me) && self.is_serving()
    }

    /// What names exactly the live values of a key, for [`Node::put_unchanged`]; empty where there is none.
    #[must_use]
    pub fn state_of(value: Option<&Value>) -> String {
        let some = value.filter(|value| value.object.live(value.now_ms).next().is_some());
        some.map(|value| value.object.etag(value.now_ms)).unwrap_or_default()
    }

    /// Stores or deletes where the key's live values are still those of `state`, as a person saw them. In an lww bucket,
    /// which keeps no condition, it is looked at just before: of two at the same moment the later one stays.
    ///
    /// # Errors
    /// [`DoorError`]; [`Refusal::ConditionFailed`] where somebody else changed them.
    pub async fn put_unchanged(
        &self,
        bucket: &str,
        key: Key,
        action: Action,
        state: String,
        options: WriteOptions,
    ) -> Result<Receipt, DoorError> {
        let options = match self.view_with(bucket).await?.named(bucket)?.definition.kind {
            Kind::Lww => {
                if Self::state_of(self.get(bucket, &key, ReadOptions::default()).await?.as_ref()) != state {
                    return Err(Refusal::ConditionFailed.into());
                }
                options
            }
            Kind::Siblings if state.is_empty() => WriteOptions { if_absent: true, ..options },
            Kind::Siblings => WriteOptions { if_match: Some(vec![state]), ..options },
        };
        self.put(bucket, key, action, options).await
    }

    fn update_of(
        &self,
        bucket: &Bucket,
        place: &IndexKey,
        action: Action,
        options: WriteOptions,
    ) -> Result<Update, DoorError> {
        let read = options.context.map(|text| token::decode(&self.0.context_secret, place, &text)).transpose()?;
        let condition = match (options.if_absent, options.if_match) {
            (true, _) => Condition::Absent,
            (false, Some(etags)) => Condition::Matches(etags),
            (false, None) => Condition::None,
        };
        let action = match action {
            Action::Put { content_type, body, ttl_ms: _ } => {
                Action::Put { content_type, body, ttl_ms: options.ttl_ms.or(bucket.definition.ttl_ms) }
            }
            Action::Delete => Action::Delete,
        };
        let (op, keyed, lives) = match options.idempotency {
            Some(name) => {
                let id = checksum::sha256_16(&[place.as_bytes(), b"\0", &name]);
                (OpId(u128::from_le_bytes(id)), true, KEYED_OP_TTL)
            }
            None => (self.0.ops.next(), false, OPERATION_BUDGET),
        };
        let op_until_ms = time::steady_ms().0.saturating_add(time::millis(lives));
        let basis = Basis::Read(read);
        Ok(Update { kind: bucket.definition.kind, action, basis, condition, op, keyed, op_until_ms })
    }

    fn begin(&self, place: &IndexKey, update: &Update) -> Result<Begun, DoorError> {
        let actor = self.0.store.actor();
        let room = self.room_for(&update.action);
        let (pending, answer) = self.0.store.update(place, |old, next| {
            match (apply::apply(old, update, mint(actor, next)), room) {
                // Only now: a retry of what is stored already is answered also on a full disk.
                (Outcome::Applied { .. }, Err(full)) => Decision::Leave(Err(full)),
                (Outcome::Applied { object, context, stamp }, Ok(())) => {
                    Decision::Store(Arc::new(object), Ok((context, stamp)))
                }
                (Outcome::Duplicate { context, stamp }, _) => Decision::Confirm(Ok((context, stamp))),
                (Outcome::Refused(refusal), _) => Decision::Leave(Err(refusal.into())),
            }
        })?;
        let (context, stamp) = answer?;
        Ok(Begun { pending, context, stamp })
    }

    /// Reads what enough owners hold durably of a key; `None` where there is no live value.
    ///
    /// # Errors
    /// [`DoorError`].
    pub async fn get(&self, bucket: &str, key: &Key, options: ReadOptions) -> Result<Option<Value>, DoorError> {
        let view = self.view_with(bucket).await?;
        let bucket = view.named(bucket)?;
        let place = IndexKey::new(bucket.id, key);
        let owners = view.slot(place.partition()).write_owners(bucket.numbers).count();
        check_raised("r", options.r, bucket.definition.r, bucket.definition.n, owners)?;
        let object = if self.is_alone(view.slot(place.partition())) {
            self.0.store.read(&place)?
        } else {
            let level = Level { r: options.r, all: options.consistency == Consistency::All };
            let deadline_ms = now_ms() + time::millis(OPERATION_BUDGET);
            match options.consistency {
                Consistency::Local => self.read_one(&place, deadline_ms).await?,
                Consistency::Quorum | Consistency::All => self.read_object(&place, level, deadline_ms).await?,
            }
        };
        let Some(object) = object else { return Ok(None) };
        let context = token::encode(&self.0.context_secret, &place, &object.context);
        Ok(Some(Value { object, context, now_ms: time::wall_ms() }))
    }

    /// Where a key lies.
    ///
    /// # Errors
    /// [`DoorError::NoSuchBucket`].
    pub fn place_of(&self, bucket: &str, key: &Key) -> Result<Place, DoorError> {
        let view = self.view();
        let bucket = view.named(bucket)?;
        let place = IndexKey::new(bucket.id, key);
        Ok(Place { partition: place.partition(), owners: owners_of(&view, bucket, &place) })
    }

    /// Deletions go on when there is no room for more.
    pub(super) fn room_for(&self, action: &Action) -> Result<(), DoorError> {
        match action {
            Action::Put { .. } => self.check_space(),
            Action::Delete => Ok(()),
        }
    }

    /// Waits a while for the index to take a step.
    pub(super) fn wait_for_index(&self, a_while: Duration) {
        let progress = self.0.store.progress();
        // Late or failed: the caller looks again, with a deadline of its own.
        let _late = progress.wait_for(progress.applied() + 1, time::mono() + a_while);
    }

    /// Stores one row of an import: what is there now is replaced, or left where it is the same already.
    pub(super) fn put_row(
        &self,
        bucket: &Bucket,
        key: &Key,
        action: Action,
        existing: ExistingRow,
    ) -> Result<Row, DoorError> {
        let place = IndexKey::new(bucket.id, key);
        let update = Update {
            kind: bucket.definition.kind,
            action,
            basis: Basis::Current,
            condition: Condition::None,
            op: self.0.ops.next(),
            keyed: false,
            op_until_ms: now_ms().saturating_add(time::millis(OPERATION_BUDGET)),
        };
        let view = self.view();
        let slot = view.slot(place.partition());
        if !self.is_alone(slot) {
            return Ok(self.spread_row(place, update, existing));
        }
        let actor = self.0.store.actor();
        let now_ms = time::wall_ms();
        let room = self.room_for(&update.action);
        let (pending, answer) = self.0.store.update(&place, |old, next| {
            if old.is_some_and(|old| is_there(old, &update.action, existing, now_ms)) {
                return Decision::Confirm(Ok(false));
            }
            match (apply::apply(old, &update, mint(actor, next)), room) {
                (Outcome::Applied { .. }, Err(full)) => Decision::Leave(Err(full)),
                (Outcome::Applied { object, .. }, Ok(())) => Decision::Store(Arc::new(object), Ok(true)),
                (Outcome::Duplicate { .. }, _) => Decision::Confirm(Ok(false)),
                (Outcome::Refused(refusal), _) => Decision::Leave(Err(refusal.into())),
            }
        })?;
        let stored = answer?;
        Ok(Row(match pending {
            Some(pending) => {
                let again = Box::new(Again { node: self.clone(), place, update, epoch: slot.epoch });
                RowState::Here { stored, pending, again }
            }
            None => RowState::Stored(stored),
        }))
    }

    /// The same over several owners.
    fn spread_row(&self, place: IndexKey, update: Update, existing: ExistingRow) -> Row {
        let (node, (tell, told)) = (self.clone(), oneshot::channel());
        worker::spawn("row of an import", async move {
            let stored = async {
                let deadline_ms = now_ms() + time::millis(OPERATION_BUDGET);
                let there = node.read_object(&place, Level::default(), deadline_ms).await?;
                if there.is_some_and(|there| is_there(&there, &update.action, existing, time::wall_ms())) {
                    return Ok(false);
                }
                node.write(&node.view(), Wanted::new(place, update, None)).await.map(|_done| true)
            };
            let _nobody_waits = tell.send(stored.await);
        });
        Row(RowState::Elsewhere(told))
    }
}

/// Those that keep a key.
fn owners_of(view: &View, bucket: &Bucket, place: &IndexKey) -> Vec<NodeId> {
    view.slot(place.partition()).write_owners(bucket.numbers).collect()
}

/// The next write of this actor.
pub(super) fn mint(actor: Actor, next: Next) -> Mint {
    let Next { counter, above } = next;
    Mint { actor, counter, now_ms: time::wall_ms(), above, memory: memory() }
}

/// Which operations are remembered now.
pub(super) fn memory() -> Memory {
    let (now_ms, lived_ms) = time::steady_ms();
    Memory { now_ms, just_begun: lived_ms < time::millis(MEMORY_GRACE) }
}

/// A row on its way.
pub(super) struct Row(RowState);

enum RowState {
    /// Nothing to wait for; whether something was written.
    Stored(bool),
    /// In this node's journal.
    Here { stored: bool, pending: Pending, again: Box<Again> },
    /// At several owners.
    Elsewhere(oneshot::Receiver<Result<bool, DoorError>>),
}

impl Row {
    /// Returns when it is on enough disks, with whether something was written. Blocks.
    ///
    /// # Errors
    /// [`DoorError`].
    pub(super) fn durable_blocking(self) -> Result<bool, DoorError> {
        match self.0 {
            RowState::Stored(stored) => Ok(stored),
            RowState::Here { stored, pending, again } => {
                pending.durable_blocking()?;
                again.unless_still_alone().map(|()| stored)
            }
            RowState::Elsewhere(told) => told.blocking_recv().unwrap_or(Err(DoorError::Unknown)),
        }
    }
}

/// A row that this node stored as the only owner.
struct Again {
    node: Node,
    place: IndexKey,
    update: Update,
    epoch: u64,
}

impl Again {
    /// Where others came to own it before it was durable, it is theirs as well, as an operation that is known here.
    fn unless_still_alone(self) -> Result<(), DoorError> {
        let Self { node, place, update, epoch } = self;
        if node.view().slot(place.partition()).epoch == epoch {
            return Ok(());
        }
        let (tell, told) = oneshot::channel();
        worker::spawn("row of an import", async move {
            let written = node.write(&node.view(), Wanted::new(place, update, None)).await;
            let _nobody_waits = tell.send(written.map(|_done| ()));
        });
        told.blocking_recv().unwrap_or(Err(DoorError::Unknown))
    }
}

/// What an import does with a key that has a value already.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ExistingRow {
    /// Replaces it, unless it is the same.
    Replace,
    /// Leaves it: the import goes on after an interruption, and what others changed meanwhile stays.
    Keep,
}

fn is_there(old: &Object, action: &Action, existing: ExistingRow, now_ms: u64) -> bool {
    let mut live = old.live(now_ms);
    match (live.next(), existing) {
        (None, _) => false,
        (Some(_), ExistingRow::Keep) => true,
        (Some(sibling), ExistingRow::Replace) => {
            let same = match (sibling.live(now_ms), action) {
                (Some((old_type, old_body)), Action::Put { content_type, body, .. }) => {
                    old_type == content_type && old_body == body
                }
                (_, Action::Delete) | (None, Action::Put { .. }) => false,
            };
            same && live.next().is_none()
        }
    }
}

/// `?w=` and `?r=` may only raise.
fn check_raised(field: &'static str, asked: Option<u8>, least: u8, most: u8, owners: usize) -> Result<(), DoorError> {
    match asked {
        Some(asked) if asked < least || asked > most => Err(DoorError::OutOfRange {
            field,
            reason: format!("{asked} is not within {least} to {most}; it may only raise the bucket's number"),
        }),
        // With fewer nodes than N all of them are owners and the bucket's numbers become their majority; a number
        // above the bucket's is meant literally.
        Some(asked) if asked > least && usize::from(asked) > owners => {
            Err(DoorError::NoQuorum { wanted: asked, owners: u8::try_from(owners).unwrap_or(u8::MAX) })
        }
        Some(_) | None => Ok(()),
    }
}
