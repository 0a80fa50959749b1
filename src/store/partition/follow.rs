//! The index follows the journal: one thread takes durable groups in order, puts them into the index, clears the
//! overlay, and from time to time proves to the journal what the index holds on disk. A watchdog looks at its
//! progress.

use std::collections::BTreeSet;
use std::collections::VecDeque;
use std::ops::ControlFlow;
use std::panic::AssertUnwindSafe;
use std::panic::catch_unwind;
use std::sync::Arc;
use std::sync::Condvar;
use std::sync::Mutex;
use std::sync::MutexGuard;
use std::sync::PoisonError;
use std::sync::atomic::Ordering;
use std::time::Duration;
use std::time::Instant;

use crate::base::id::BucketId;
use crate::base::id::PartitionId;
use crate::base::limits::CHECKPOINT_BYTES;
use crate::base::limits::CHECKPOINT_IDLE;
use crate::base::limits::INDEX_STALL_EXIT;
use crate::base::memory;
use crate::base::time;
use crate::proto::key::IndexKey;
use crate::store::index::Change;
use crate::store::index::Index;
use crate::store::index::IndexError;
use crate::store::journal::Position;
use crate::store::journal::writer;
use crate::store::journal::writer::Sequence;
use crate::store::partition::Shared;
use crate::store::partition::record;
use crate::store::partition::record::Record;
use crate::store::partition::scan::end_of_bucket;

/// Why the index takes no more changes.
#[derive(Debug, Clone)]
pub struct Failure {
    /// In words.
    pub reason: String,
    /// It found no room; what it holds is whole.
    pub full: bool,
}

struct Group {
    records: Vec<Vec<u8>>,
    last: Sequence,
    behind: Position,
}

/// What is to go.
enum Purge {
    Bucket(BucketId),
    /// All below a number but these.
    Others(BTreeSet<BucketId>, BucketId),
}

#[derive(Default)]
struct Queue {
    /// Bounded by the overlay's limit: every record in it is counted there before it is submitted.
    groups: VecDeque<Group>,
    purges: VecDeque<Purge>,
    applied: Sequence,
    /// Since when the thread has been busy with one step.
    busy_since: Option<Instant>,
    failed: Option<Failure>,
    settle_wanted: bool,
    held: bool,
    closed: bool,
    ended: bool,
}

/// How far the index has followed; shared by the thread, the writers and whoever waits.
#[derive(Default)]
pub struct Progress {
    queue: Mutex<Queue>,
    work: Condvar,
    done: Condvar,
}

impl Progress {
    fn lock(&self) -> MutexGuard<'_, Queue> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The last record in the index.
    #[must_use]
    pub fn applied(&self) -> Sequence {
        self.lock().applied
    }

    /// How long the thread has been busy with one step.
    #[must_use]
    pub fn busy_for(&self) -> Duration {
        self.lock().busy_since.map_or(Duration::ZERO, |since| time::mono().saturating_duration_since(since))
    }

    /// Why the index takes no more changes, if so.
    #[must_use]
    pub fn failure(&self) -> Option<Failure> {
        self.lock().failed.clone()
    }

    /// Blocks until the index has everything up to `sequence`.
    ///
    /// # Errors
    /// [`IndexError::Stalled`] after `deadline`; [`IndexError::Io`] where the index failed.
    pub fn wait_for(&self, sequence: Sequence, deadline: Instant) -> Result<(), IndexError> {
        let mut queue = self.lock();
        while queue.applied < sequence {
            if let Some(failure) = &queue.failed {
                return Err(IndexError::Io { detail: failure.reason.clone() });
            }
            let left = deadline.saturating_duration_since(time::mono());
            if left.is_zero() {
                return Err(IndexError::Stalled);
            }
            queue = self.done.wait_timeout(queue, left).unwrap_or_else(PoisonError::into_inner).0;
        }
        Ok(())
    }

    /// Asks for the data of a removed bucket to go.
    pub fn purge(&self, bucket: BucketId) {
        self.lock().purges.push_back(Purge::Bucket(bucket));
        self.work.notify_one();
    }

    /// Asks for the data of all buckets below a number to go, except that of these. What is in the index is looked at, not
    /// every number: a cluster that was begun anew has left out many of them.
    pub fn purge_others(&self, there: BTreeSet<BucketId>, below: BucketId) {
        self.lock().purges.push_back(Purge::Others(there, below));
        self.work.notify_one();
    }

    /// Asks for a proof of what the index holds, now instead of after some idle time.
    pub fn settle(&self) {
        self.lock().settle_wanted = true;
        self.work.notify_one();
    }

    /// Proves nothing while this is so: a proof that finds no room for its files ends the index until the next start. What is
    /// not proven is in the journal.
    pub fn hold_proofs(&self, held: bool) {
        self.lock().held = held;
    }

    /// Lets the thread finish what waits and returns when it has ended.
    pub(super) fn close(&self) {
        let mut queue = self.lock();
        queue.closed = true;
        self.work.notify_one();
        while !queue.ended {
            queue = self.done.wait(queue).unwrap_or_else(PoisonError::into_inner);
        }
    }
}

/// Hears of durable groups in the journal's thread and queues them for the index's.
pub struct Follower<I> {
    pub(super) shared: Arc<Shared<I>>,
    pub(super) progress: Arc<Progress>,
}

impl<I: Index> writer::Follower for Follower<I> {
    fn committed(&mut self, records: Vec<Vec<u8>>, last: Sequence, behind: Position) {
        self.progress.lock().groups.push_back(Group { records, last, behind });
        self.progress.work.notify_one();
    }

    fn refused(&mut self, records: &[Vec<u8>], last: Sequence) {
        // Older versions of the same key may be durable and not in the index yet: they stay.
        let before = last - records.len() as u64;
        let changes =
            records.iter().any(|record| record::decode(record).is_some_and(|record| record.change().is_some()));
        if changes {
            self.shared.burnt.store(true, Ordering::Release);
        }
        for record in records {
            if let Some((place, _)) = record::decode(record).as_ref().and_then(Record::change) {
                forget(&self.shared, &IndexKey::of_record(place), record.len(), |sequence| {
                    before < sequence && sequence <= last
                });
            }
        }
    }
}

/// Takes versions of a place out of the overlay.
fn forget<I>(shared: &Shared<I>, place: &IndexKey, bytes: usize, gone: impl Fn(Sequence) -> bool) {
    let mut partition = shared.lock(place.partition());
    if let Some(entries) = partition.overlay.get_mut(place) {
        entries.retain(|entry| !gone(entry.sequence));
        if entries.is_empty() {
            partition.overlay.remove(place);
        }
    }
    shared.overlay_bytes.fetch_sub(bytes, Ordering::Relaxed);
}

/// The index's thread.
pub(super) struct IndexWriter<I> {
    pub(super) shared: Arc<Shared<I>>,
    pub(super) progress: Arc<Progress>,
    pub(super) prove: Box<dyn Fn(Position) + Send>,
    /// Everything before this is in the index.
    pub(super) applied: Position,
    /// Everything before this is proven.
    pub(super) proven: Position,
    pub(super) bytes_since_proof: u64,
}

enum Work {
    Apply(Group),
    Purge(Purge),
    Settle,
    End,
}

impl<I: Index> IndexWriter<I> {
    pub(super) fn run(mut self) {
        loop {
            let work = self.next_work();
            self.progress.lock().busy_since = Some(time::mono());
            let ended = matches!(work, Work::End);
            let done = catch_unwind(AssertUnwindSafe(|| self.step(work)));
            let done =
                done.unwrap_or_else(|_reported| Err(IndexError::Io { detail: "the storage engine panicked".into() }));
            let mut queue = self.progress.lock();
            queue.busy_since = None;
            if let Err(error) = &done {
                tracing::error!(%error, "the index does not follow; reads go on, the journal keeps what it misses");
                queue.failed =
                    Some(Failure { reason: error.to_string(), full: matches!(error, IndexError::Full { .. }) });
            }
            if ended || done.is_err() {
                queue.ended = true;
                self.progress.done.notify_all();
                return;
            }
        }
    }

    fn step(&mut self, work: Work) -> Result<(), IndexError> {
        match work {
            Work::Apply(group) => self.apply(group),
            Work::Purge(Purge::Bucket(bucket)) => PartitionId::all().try_for_each(|id| self.purge(id, bucket)),
            Work::Purge(Purge::Others(there, below)) => self.purge_others(&there, below),
            Work::End if self.progress.lock().held => Ok(()),
            Work::Settle | Work::End => self.settle(),
        }
    }

    fn next_work(&self) -> Work {
        let unproven = self.applied.group != self.proven.group;
        let mut queue = self.progress.lock();
        loop {
            if unproven && !queue.held && (queue.settle_wanted || self.bytes_since_proof >= CHECKPOINT_BYTES) {
                queue.settle_wanted = false;
                return Work::Settle;
            }
            if let Some(group) = queue.groups.pop_front() {
                return Work::Apply(group);
            }
            if let Some(purge) = queue.purges.pop_front() {
                return Work::Purge(purge);
            }
            if queue.closed {
                return Work::End;
            }
            if unproven {
                let (after, timeout) =
                    self.progress.work.wait_timeout(queue, CHECKPOINT_IDLE).unwrap_or_else(PoisonError::into_inner);
                queue = after;
                if timeout.timed_out() && !queue.held && queue.groups.is_empty() && !queue.closed {
                    return Work::Settle;
                }
            } else {
                queue = self.progress.work.wait(queue).unwrap_or_else(PoisonError::into_inner);
            }
        }
    }

    fn apply(&mut self, group: Group) -> Result<(), IndexError> {
        let decoded: Vec<_> = group.records.iter().map(|record| record::decode(record)).collect();
        let mut changes = Vec::with_capacity(decoded.len());
        for record in &decoded {
            if let Some((place, object)) = record.as_ref().and_then(Record::change) {
                changes.push(Change { place, object });
            }
        }
        self.shared.index.apply(&changes)?;
        // Only now: whoever finds nothing in the overlay finds it in the index.
        for (bytes, record) in group.records.iter().zip(&decoded) {
            if let Some((place, _)) = record.as_ref().and_then(Record::change) {
                forget(&self.shared, &IndexKey::of_record(place), bytes.len(), |sequence| sequence <= group.last);
            }
        }
        self.bytes_since_proof += group.records.iter().map(|record| record.len() as u64).sum::<u64>();
        self.applied = group.behind;
        self.progress.lock().applied = group.last;
        self.progress.done.notify_all();
        Ok(())
    }

    /// Removes what a bucket held. Repeated at every start until nothing is left, so a crash in between is harmless.
    fn purge(&self, partition: PartitionId, bucket: BucketId) -> Result<(), IndexError> {
        // Each partition is a step of its own to the watchdog.
        self.progress.lock().busy_since = Some(time::mono());
        let from = IndexKey::in_partition(partition, bucket, &[]);
        let mut places = Vec::new();
        self.shared.index.scan(from.as_bytes(), &end_of_bucket(partition, bucket), &mut |place, _| {
            places.push(place.to_vec());
            ControlFlow::Continue(())
        })?;
        let removals: Vec<_> = places.iter().map(|place| Change { place, object: None }).collect();
        self.shared.index.apply(&removals)
    }

    fn purge_others(&self, there: &BTreeSet<BucketId>, below: BucketId) -> Result<(), IndexError> {
        for partition in PartitionId::all() {
            let mut from = IndexKey::in_partition(partition, BucketId(0), &[]).as_bytes().to_vec();
            let to = IndexKey::in_partition(partition, below, &[]);
            while from.as_slice() < to.as_bytes() {
                let mut first = None;
                self.shared.index.scan(&from, to.as_bytes(), &mut |place, _| {
                    first = Some(place.to_vec());
                    ControlFlow::Break(())
                })?;
                let Some(first) = first else { break };
                // What is filed wrongly is named to whoever reads or checks it.
                let Some(bucket) = IndexKey::parse(&first).map(|place| place.bucket()) else {
                    from = [first.as_slice(), &[0]].concat();
                    continue;
                };
                if !there.contains(&bucket) {
                    self.purge(partition, bucket)?;
                }
                from = end_of_bucket(partition, bucket);
            }
        }
        Ok(())
    }

    fn settle(&mut self) -> Result<(), IndexError> {
        if self.applied.group == self.proven.group {
            return Ok(());
        }
        self.shared.index.settle(time::mono() + INDEX_STALL_EXIT)?;
        self.proven = self.applied;
        self.bytes_since_proof = 0;
        (self.prove)(self.proven);
        if self.progress.lock().groups.is_empty() {
            // Nothing waits: the memory of the tables just written can go.
            memory::give_back();
        }
        Ok(())
    }
}
