//! The one thread that owns a log and serves all writers: gathers what waits into a group, writes it, syncs once,
//! tells the follower, then acks everyone in the group. A second thread prepares the next segment.
//!
//! The order after a sync is fixed: `durable` is raised, the follower hears of the group, the acks go out. So whoever
//! holds an ack can read what was acked.

use std::collections::VecDeque;
use std::io;
use std::panic;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::sync::Condvar;
use std::sync::Mutex;
use std::sync::MutexGuard;
use std::sync::PoisonError;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering;
use std::sync::mpsc;
use std::thread;
use std::time::Duration;
use std::time::Instant;

use tokio::sync::oneshot;

use crate::base::limits::GROUP_BYTES_MAX;
use crate::base::limits::GROUP_GATHER_MAX;
use crate::base::limits::JOURNAL_MARK_IDLE;
use crate::base::limits::JOURNAL_QUEUE_BYTES_MAX;
use crate::base::limits::MERGED_BYTES_MAX;
use crate::base::time;
use crate::proto::alarm::judge::SYNC_BUCKETS;
use crate::proto::alarm::judge::sync_bucket;
use crate::store::disk::Disk;
use crate::store::journal::JournalError;
use crate::store::journal::Position;
use crate::store::journal::format;
use crate::store::journal::log;
use crate::store::journal::log::Log;
use crate::store::journal::log::Segment;
use crate::store::journal::needed::Needed;

/// A record's place in the order of all records since this open, from 1.
pub type Sequence = u64;

/// How a submitted record ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum NotCommitted {
    /// No room for a segment; the record was not written.
    #[error("the disk is full; nothing was written")]
    NoSpace,
    /// The journal ended with the record's fate unknown.
    #[error("the journal ended before it could say whether the record is durable")]
    Unknown,
}

/// Why a record was not even queued; nothing was written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum NotSubmitted {
    /// Too much is waiting.
    #[error("{JOURNAL_QUEUE_BYTES_MAX} bytes are waiting for the disk already")]
    Busy,
    /// Larger than a group may be, or than a segment of this journal holds.
    #[error("the record has {len} bytes, more than this journal takes")]
    TooLarge {
        /// Bytes given.
        len: usize,
    },
    /// Closing or poisoned.
    #[error("the journal is closed")]
    Closed,
}

/// Hears of each durable group, in order, in the writer's thread: must be quick.
pub trait Follower: Send + 'static {
    /// The records with the sequence of the last of them, and the position behind the group.
    fn committed(&mut self, records: Vec<Vec<u8>>, last: Sequence, behind: Position);
    /// The records up to `last` will never be durable: whatever was built on them must go.
    fn refused(&mut self, records: &[Vec<u8>], last: Sequence);
}

/// Counts for metrics.
#[derive(Debug, Default)]
pub struct Stats {
    /// Groups with records made durable.
    pub groups: AtomicU64,
    /// Records made durable.
    pub records: AtomicU64,
    /// Bytes of records made durable.
    pub bytes: AtomicU64,
    /// Nanoseconds spent in write and sync.
    pub busy_ns: AtomicU64,
    /// Groups by how long they took, see [`sync_bucket`].
    pub took: [AtomicU64; SYNC_BUCKETS],
    /// Steady milliseconds at which the group on its way began; 0: none is.
    pub began_ms: AtomicU64,
}

struct Pending {
    record: Vec<u8>,
    ack: oneshot::Sender<Result<(), NotCommitted>>,
}

#[derive(Default)]
struct Queue<F> {
    waiting: VecDeque<Pending>,
    bytes: usize,
    next_sequence: Sequence,
    /// The writer sleeps until this many records wait.
    wanted: usize,
    proven: Option<Position>,
    /// Who asks whether there is room for a record of so many bytes; each waits for the answer.
    room: Vec<(usize, oneshot::Sender<bool>)>,
    prepared: Option<Segment<F>>,
    /// The other thread is making a segment: the writer must not make the same one.
    preparing: bool,
    closed: bool,
}

struct Shared<F> {
    queue: Mutex<Queue<F>>,
    wake: Condvar,
    durable: AtomicU64,
    durable_group: AtomicU64,
    needed: Needed,
    stats: Stats,
}

impl<F> Shared<F> {
    fn lock(&self) -> MutexGuard<'_, Queue<F>> {
        // Nobody panics while holding it; and if someone did, the queue is still whole.
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Closes the queue and takes what waits in it: dropped, its acks say that nothing is known, and nobody waits.
    fn abandon(&self) -> VecDeque<Pending> {
        let mut queue = self.lock();
        queue.closed = true;
        queue.room.clear();
        std::mem::take(&mut queue.waiting)
    }
}

/// A handle to the running writer. Dropping it closes the journal without waiting; [`Journal::close`] waits.
pub struct Journal<D: Disk> {
    record_bytes_max: usize,
    shared: Arc<Shared<D::File>>,
    writer: Mutex<Option<thread::JoinHandle<()>>>,
}

/// Ends the process, or in tests remembers that it should have.
pub type OnPoison = Box<dyn FnOnce(&JournalError) + Send>;

impl<D: Disk> Journal<D> {
    /// Starts the threads.
    ///
    /// # Errors
    /// Where the operating system gives no thread.
    pub fn spawn(name: &str, log: Log<D>, follower: impl Follower, on_poison: OnPoison) -> std::io::Result<Self> {
        let shared = Arc::new(Shared {
            queue: Mutex::new(Queue {
                waiting: VecDeque::new(),
                bytes: 0,
                next_sequence: 1,
                wanted: 1,
                proven: None,
                room: Vec::new(),
                prepared: None,
                preparing: false,
                closed: false,
            }),
            wake: Condvar::new(),
            durable: AtomicU64::new(0),
            durable_group: AtomicU64::new(log.position().group - 1),
            needed: Needed::new(&log.needed()),
            stats: Stats::default(),
        });
        let record_bytes_max = log.record_bytes_max().min(MERGED_BYTES_MAX);
        let (ask, asked) = mpsc::sync_channel(1);
        let preparer = Arc::clone(&shared);
        thread::Builder::new()
            .name(format!("{name}-segments"))
            .spawn(move || prepare_segments::<D>(&asked, &preparer))?;
        let writer = Writer {
            log,
            shared: Arc::clone(&shared),
            follower,
            ask,
            asked: 0,
            unmarkable: false,
            writers: 0,
            committed: 0,
        };
        let writer = thread::Builder::new().name(name.to_owned()).spawn(move || writer.run(on_poison))?;
        Ok(Self { record_bytes_max, shared, writer: Mutex::new(Some(writer)) })
    }

    /// Queues a record. Its sequence is its place in the journal's order; `ack` hears how it ended.
    ///
    /// # Errors
    /// [`NotSubmitted`]; nothing was queued.
    pub fn submit(
        &self,
        record: Vec<u8>,
        ack: oneshot::Sender<Result<(), NotCommitted>>,
    ) -> Result<Sequence, NotSubmitted> {
        if record.len() > self.record_bytes_max {
            return Err(NotSubmitted::TooLarge { len: record.len() });
        }
        let mut queue = self.shared.lock();
        if queue.closed {
            return Err(NotSubmitted::Closed);
        }
        if queue.bytes + record.len() > JOURNAL_QUEUE_BYTES_MAX {
            return Err(NotSubmitted::Busy);
        }
        queue.bytes += record.len();
        let sequence = queue.next_sequence;
        queue.next_sequence += 1;
        queue.waiting.push_back(Pending { record, ack });
        let enough = queue.waiting.len() >= queue.wanted;
        drop(queue);
        if enough {
            self.shared.wake.notify_one();
        }
        Ok(sequence)
    }

    /// The sequence of the last durable record.
    #[must_use]
    pub fn durable(&self) -> Sequence {
        self.shared.durable.load(Ordering::Acquire)
    }

    /// The number of the last durable group. Of a record whose ack was heard the group is among them.
    #[must_use]
    pub fn durable_group(&self) -> u64 {
        self.shared.durable_group.load(Ordering::Acquire)
    }

    /// The segments that the next open needs.
    #[must_use]
    pub fn needed(&self) -> &Needed {
        &self.shared.needed
    }

    /// Notes that everything before the position is durable elsewhere; old segments are removed soon.
    pub fn prove(&self, proven: Position) {
        self.shared.lock().proven = Some(proven);
        self.shared.wake.notify_one();
    }

    /// Makes room for a record of this many bytes and says whether there is any; nothing is said where the journal ends.
    /// Room that several ask for is made for the largest.
    #[must_use]
    pub fn reserve(&self, len: usize) -> oneshot::Receiver<bool> {
        let (tell, told) = oneshot::channel();
        let mut queue = self.shared.lock();
        if !queue.closed {
            queue.room.push((len, tell));
        }
        drop(queue);
        self.shared.wake.notify_one();
        told
    }

    /// Counts for metrics.
    #[must_use]
    pub fn stats(&self) -> &Stats {
        &self.shared.stats
    }

    /// Writes what waits, closes in order, and returns when that is done.
    pub fn close(&self) {
        self.shared.lock().closed = true;
        self.shared.wake.notify_one();
        let writer = self.writer.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(writer) = writer
            && writer.join().is_err()
        {
            tracing::error!("the journal's writer ended in a panic");
        }
    }
}

impl<D: Disk> Drop for Journal<D> {
    fn drop(&mut self) {
        self.shared.lock().closed = true;
        self.shared.wake.notify_one();
    }
}

/// What to prepare: disk, tag, number, size.
type Wanted<D> = (Arc<D>, u64, u64, u64);

fn prepare_segments<D: Disk>(asked: &mpsc::Receiver<Wanted<D>>, shared: &Shared<D::File>) {
    while let Ok((disk, tag, number, size)) = asked.recv() {
        let prepared = log::prepare(&*disk, tag, number, size)
            // The writer tries again itself when it needs the segment, and answers its clients with what it finds.
            .inspect_err(|error| tracing::warn!(%error, segment = number, "the next journal segment is not prepared"))
            .ok();
        let mut queue = shared.lock();
        queue.prepared = prepared;
        queue.preparing = false;
        drop(queue);
        shared.wake.notify_one();
    }
}

struct Writer<D: Disk, W: Follower> {
    log: Log<D>,
    shared: Arc<Shared<D::File>>,
    follower: W,
    ask: mpsc::SyncSender<Wanted<D>>,
    /// The last segment asked for.
    asked: u64,
    /// There was no room for a mark: not tried again before the next group, for each try fills the disk.
    unmarkable: bool,
    /// How many write at the same time, as far as is known.
    writers: usize,
    committed: Sequence,
}

/// What the writer does next.
enum Work<F> {
    Group(Vec<Pending>),
    Mark,
    Prove(Position),
    Room(Vec<(usize, oneshot::Sender<bool>)>),
    Prepared(Segment<F>),
    Close,
}

impl<D: Disk, W: Follower> Writer<D, W> {
    /// A bug of ours that panics ends the process as a failed sync does: nobody may wait for a writer that is gone.
    fn run(self, on_poison: OnPoison) {
        let shared = Arc::clone(&self.shared);
        let ended = panic::catch_unwind(AssertUnwindSafe(|| self.work()));
        let error = match ended {
            Ok(Ok(())) => return,
            Ok(Err(error)) => error,
            Err(_panic) => JournalError::Poisoned { source: io::Error::other("its thread panicked") },
        };
        drop(shared.abandon());
        on_poison(&error);
    }

    fn work(mut self) -> Result<(), JournalError> {
        loop {
            self.ask_for_next();
            match self.next_work() {
                Work::Group(group) => self.commit(group)?,
                Work::Mark => self.mark()?,
                Work::Prove(position) => match self.prove(position) {
                    Err(JournalError::Io { doing, source }) => {
                        tracing::warn!(%source, doing, "old journal segments stay until the next start");
                    }
                    other => other?,
                },
                Work::Room(asked) => self.make_room(asked),
                Work::Prepared(segment) => self.take_prepared(segment),
                Work::Close => return self.close(),
            }
        }
    }

    fn take_prepared(&mut self, segment: Segment<D::File>) {
        // Late where the writer had to make it itself.
        if self.log.wants_next().is_some_and(|(_, _, number, _)| number == segment.number) {
            self.log.give_next(segment);
        }
    }

    fn ask_for_next(&mut self) {
        if let Some(wanted) = self.log.wants_next()
            && self.asked < wanted.2
        {
            let number = wanted.2;
            let mut queue = self.shared.lock();
            // A busy preparer is asked at a later turn.
            if !queue.preparing {
                queue.preparing = self.ask.try_send(wanted).is_ok();
                self.asked = number;
            }
        }
    }

    /// Waits for the segment in the making, where a group with this body needs it: two threads that make the same
    /// file take it from each other.
    fn await_next(&mut self, body_len: usize) {
        if !self.log.fits(body_len)
            && let Some(segment) = self.finish_preparing()
        {
            self.take_prepared(segment);
        }
    }

    fn finish_preparing(&self) -> Option<Segment<D::File>> {
        let mut queue = self.shared.lock();
        while queue.preparing {
            queue = wait(&self.shared.wake, queue, None);
        }
        queue.prepared.take()
    }

    /// Sleeps until there is something to do. A group waits a little until most of those who lately wrote at the same
    /// time have come: with many of them a sync then serves many, with one of them nothing is waited for.
    fn next_work(&mut self) -> Work<D::File> {
        let mut queue = self.shared.lock();
        // The rest is on its way here while these are synced.
        let worthwhile = self.writers - self.writers / 4;
        let mut gather_until: Option<Instant> = None;
        loop {
            if let Some(segment) = queue.prepared.take() {
                return Work::Prepared(segment);
            }
            if let Some(position) = queue.proven.take() {
                return Work::Prove(position);
            }
            if !queue.room.is_empty() {
                return Work::Room(std::mem::take(&mut queue.room));
            }
            if !queue.waiting.is_empty() {
                let until = *gather_until.get_or_insert_with(|| time::mono() + GROUP_GATHER_MAX);
                let left = until.saturating_duration_since(time::mono());
                if queue.closed || queue.waiting.len() >= worthwhile || left.is_zero() {
                    return Work::Group(take_group(&mut queue));
                }
                queue.wanted = worthwhile;
                queue = wait(&self.shared.wake, queue, Some(left));
                queue.wanted = 1;
                continue;
            }
            if queue.closed {
                return Work::Close;
            }
            let idle = (self.log.wants_mark() && !self.unmarkable).then_some(JOURNAL_MARK_IDLE);
            queue = wait(&self.shared.wake, queue, idle);
            if idle.is_some()
                && queue.waiting.is_empty()
                && !queue.closed
                && queue.proven.is_none()
                && queue.room.is_empty()
            {
                return Work::Mark;
            }
        }
    }

    fn make_room(&mut self, asked: Vec<(usize, oneshot::Sender<bool>)>) {
        let largest = asked.iter().map(|(len, _)| format::record_bytes(*len)).max().unwrap_or_default();
        self.await_next(largest);
        let made = self.log.make_room(largest).is_ok();
        for (_, tell) in asked {
            // Who asked may be gone.
            let _gone = tell.send(made);
        }
    }

    fn mark(&mut self) -> Result<(), JournalError> {
        self.await_next(0);
        match self.log.mark() {
            // A mark is a precaution; a full disk is told to those who write.
            Err(JournalError::NoSpace { .. }) => {
                self.unmarkable = true;
                Ok(())
            }
            other => {
                other?;
                self.note_group();
                Ok(())
            }
        }
    }

    fn prove(&mut self, position: Position) -> Result<(), JournalError> {
        let unneeded = self.log.note_proven(position)?;
        self.shared.needed.note(&self.log.needed());
        self.log.purge(unneeded)
    }

    /// Before anybody hears that what is in it is durable.
    fn note_group(&self) {
        self.shared.needed.note(&self.log.needed());
        self.shared.durable_group.store(self.log.position().group - 1, Ordering::Release);
    }

    fn commit(&mut self, group: Vec<Pending>) -> Result<(), JournalError> {
        let started = time::mono();
        self.shared.stats.began_ms.store(time::steady_ms().0.max(1), Ordering::Relaxed);
        self.await_next(group.iter().map(|pending| format::record_bytes(pending.record.len())).sum());
        let written = self.log.append(group.iter().map(|pending| pending.record.as_slice()));
        let behind = match written {
            Ok(behind) => behind,
            Err(JournalError::NoSpace { source }) => {
                tracing::warn!(%source, "no room for the journal's next segment");
                self.shared.stats.began_ms.store(0, Ordering::Relaxed);
                self.refuse(group);
                return Ok(());
            }
            Err(error) => return Err(error),
        };
        self.log.sync()?;
        self.unmarkable = false;
        self.count_writers(group.len());
        self.committed += group.len() as u64;
        let stats = &self.shared.stats;
        stats.groups.fetch_add(1, Ordering::Relaxed);
        stats.records.fetch_add(group.len() as u64, Ordering::Relaxed);
        stats.busy_ns.fetch_add(nanos(started.elapsed()), Ordering::Relaxed);
        stats.began_ms.store(0, Ordering::Relaxed);
        if let Some(bucket) = stats.took.get(sync_bucket(time::millis(started.elapsed()))) {
            bucket.fetch_add(1, Ordering::Relaxed);
        }
        let (records, acks): (Vec<_>, Vec<_>) = group.into_iter().map(|pending| (pending.record, pending.ack)).unzip();
        stats.bytes.fetch_add(records.iter().map(|record| record.len() as u64).sum(), Ordering::Relaxed);
        self.note_group();
        self.shared.durable.store(self.committed, Ordering::Release);
        self.follower.committed(records, self.committed, behind);
        for ack in acks {
            // A client that went away hears nothing; its write is durable all the same.
            let _gone = ack.send(Ok(()));
        }
        Ok(())
    }

    /// How many write at the same time: those in this group and those who came meanwhile. Forgotten slowly, so that a
    /// short pause of some does not make the groups small.
    fn count_writers(&mut self, in_group: usize) {
        let now = in_group + self.shared.lock().waiting.len();
        self.writers = still_writing(self.writers, now);
    }

    /// Fails a group that was not written, and everything that was submitted on top of it: a later record may build on
    /// one that will never be. Ends when nothing waits, that is when nothing refused is visible any more.
    fn refuse(&mut self, mut group: Vec<Pending>) {
        let mut refused = Vec::new();
        while !group.is_empty() {
            self.committed += group.len() as u64;
            let (records, acks): (Vec<_>, Vec<_>) =
                group.into_iter().map(|pending| (pending.record, pending.ack)).unzip();
            self.follower.refused(&records, self.committed);
            refused.extend(acks);
            group = take_group(&mut self.shared.lock());
        }
        // Only now: whoever hears of it and tries again at once must find this over, or it would never end.
        for ack in refused {
            let _gone = ack.send(Err(NotCommitted::NoSpace));
        }
    }

    fn close(mut self) -> Result<(), JournalError> {
        // Whoever opens the journal next must not meet a segment in the making.
        drop(self.finish_preparing());
        let proven = self.shared.lock().proven.take();
        if let Some(position) = proven
            && let Err(error) = self.prove(position)
        {
            tracing::warn!(%error, "the proven position could not be noted");
        }
        self.log.close()
    }
}

/// By an eighth less with each group, and by one at least: in the end a lone writer waits for nobody.
pub(super) fn still_writing(before: usize, now: usize) -> usize {
    now.max(before - before.div_ceil(8))
}

fn take_group<F>(queue: &mut Queue<F>) -> Vec<Pending> {
    let mut group = Vec::with_capacity(queue.waiting.len());
    let mut bytes = 0;
    while let Some(pending) = queue.waiting.front() {
        bytes += format::record_bytes(pending.record.len());
        if bytes > GROUP_BYTES_MAX && !group.is_empty() {
            break;
        }
        if let Some(pending) = queue.waiting.pop_front() {
            queue.bytes -= pending.record.len();
            group.push(pending);
        }
    }
    group
}

fn wait<'a, F>(wake: &Condvar, queue: MutexGuard<'a, Queue<F>>, timeout: Option<Duration>) -> MutexGuard<'a, Queue<F>> {
    match timeout {
        None => wake.wait(queue).unwrap_or_else(PoisonError::into_inner),
        Some(timeout) => wake.wait_timeout(queue, timeout).unwrap_or_else(PoisonError::into_inner).0,
    }
}

fn nanos(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}
