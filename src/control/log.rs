//! The group's log on a journal of its own (HOUSE decision 14). Entries, votes, what was cut off, what was purged and how
//! far it is committed are records, in the order in which they happened; all entries since the last purge are kept in
//! memory, which snapshots bound.
//!
//! A record is durable before whoever wrote it goes on: one is written at a time. Only how far the log is committed is not
//! waited for; a node that lost it hears it again. A full disk refuses a record before anything of it is written, so it
//! is tried again until there is room; a failed sync is never tried again, the journal ends the process then.

use std::fmt::Debug;
use std::io;
use std::ops::RangeBounds;
use std::path::Path;
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::MutexGuard;
use std::sync::PoisonError;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering;
use std::time::Duration;

use openraft::AnyError;
use openraft::Entry;
use openraft::LogId;
use openraft::LogState;
use openraft::OptionalSend;
use openraft::RaftLogReader;
use openraft::StorageError;
use openraft::StorageIOError;
use openraft::Vote;
use openraft::storage::LogFlushed;
use openraft::storage::RaftLogStorage;
use tokio::sync::oneshot;

use crate::base::limits::CONTROL_LINES_BYTES;
use crate::base::limits::CONTROL_SPACE_RETRY;
use crate::base::limits::FIRST_SEGMENT_BYTES;
use crate::base::time;
use crate::control::log::kept::Kept;
use crate::control::log::record::Base;
use crate::control::log::record::Record;
use crate::control::matched::Matched;
use crate::control::types::Ballot;
use crate::control::types::Id;
use crate::control::types::Members;
use crate::control::types::Types;
use crate::store::disk::FsDisk;
use crate::store::journal::JournalError;
use crate::store::journal::Position;
use crate::store::journal::Report;
use crate::store::journal::Sizes;
use crate::store::journal::recovery;
use crate::store::journal::recovery::Birth;
use crate::store::journal::writer;
use crate::store::journal::writer::Journal;
use crate::store::journal::writer::NotCommitted;
use crate::store::journal::writer::NotSubmitted;
use crate::store::journal::writer::OnPoison;
use crate::store::journal::writer::Sequence;

pub mod kept;
pub mod record;

#[cfg(test)]
mod tests;

/// Commands are small and rare: every segment is as small as a node's first.
pub const SIZES: Sizes = Sizes { first_segment: FIRST_SEGMENT_BYTES / 4, segment: FIRST_SEGMENT_BYTES };

/// Hears where the journal's groups begin.
struct Behind(Arc<Mutex<Kept>>);

impl writer::Follower for Behind {
    fn committed(&mut self, _records: Vec<Vec<u8>>, last: Sequence, behind: Position) {
        lock(&self.0).group_ended(last, behind);
    }

    fn refused(&mut self, _records: &[Vec<u8>], _last: Sequence) {
        // They have no group, and who wrote them tries again.
    }
}

fn lock(kept: &Mutex<Kept>) -> MutexGuard<'_, Kept> {
    kept.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The log; its clones are the same one.
#[derive(Clone)]
pub struct Log {
    journal: Arc<Journal<FsDisk>>,
    kept: Arc<Mutex<Kept>>,
    matched: Arc<Matched>,
    /// When the write under way began, as milliseconds of [`time::steady_ms`] and one; 0 where none is.
    writing_since: Arc<AtomicU64>,
}

type Failed = StorageError<u64>;

fn failed(error: impl std::error::Error + 'static) -> Failed {
    StorageIOError::write_logs(AnyError::new(&error)).into()
}

impl Log {
    /// Opens the journal in `dir`, behind what a snapshot has already.
    ///
    /// # Errors
    /// [`JournalError`]; a record that does not decode is corruption.
    pub fn open(
        dir: &Path,
        birth: Option<Birth>,
        snapshot: Option<Id>,
        matched: Arc<Matched>,
        on_poison: OnPoison,
    ) -> Result<(Self, Report), JournalError> {
        let disk = Arc::new(FsDisk::new(dir.to_owned()));
        let mut kept = Kept::default();
        let (log, report) = recovery::open(disk, SIZES, birth, &mut |records, behind| kept.replay(records, behind))?;
        kept.settle(snapshot)?;
        kept.opened_at(log.position());
        let kept = Arc::new(Mutex::new(kept));
        let journal = Journal::spawn("control", log, Behind(Arc::clone(&kept)), on_poison)
            .map_err(JournalError::io("starting a thread"))?;
        let writing_since = Arc::new(AtomicU64::new(0));
        Ok((Self { journal: Arc::new(journal), kept, matched, writing_since }, report))
    }

    /// The last entry.
    #[must_use]
    pub fn last(&self) -> Option<Id> {
        lock(&self.kept).last()
    }

    /// The last entry known to be committed.
    #[must_use]
    pub fn committed(&self) -> Option<Id> {
        lock(&self.kept).committed
    }

    /// For whom this node voted last.
    #[must_use]
    pub fn ballot(&self) -> Option<Ballot> {
        lock(&self.kept).ballot
    }

    /// Who was elected before it stopped leads again when it is elected again: its journal may have gone back, and in the term
    /// that it led there are entries then, of which it knows nothing, under the numbers that it would give out again.
    pub fn resign(&self) {
        if let Some(ballot) = lock(&self.kept).ballot.as_mut().filter(|ballot| self.matched.is_of(ballot.node)) {
            ballot.committed = false;
        }
    }

    /// Who is in the group by the entries that are kept; none where they do not say.
    #[must_use]
    pub fn members(&self) -> Option<Members> {
        lock(&self.kept).members().cloned()
    }

    /// The number of its journal's last durable group.
    #[must_use]
    pub fn durable_group(&self) -> u64 {
        self.journal.durable_group()
    }

    /// Bytes of records written since this was asked to begin anew.
    #[must_use]
    pub fn logged(&self) -> u64 {
        lock(&self.kept).logged
    }

    /// Counts [`Log::logged`] from 0 again.
    pub fn begin_anew(&self) {
        lock(&self.kept).logged = 0;
    }

    /// For how long the write under way has not become durable.
    #[must_use]
    pub fn stalled(&self) -> Duration {
        match self.writing_since.load(Ordering::Relaxed) {
            0 => Duration::ZERO,
            since => Duration::from_millis((time::steady_ms().1 + 1).saturating_sub(since)),
        }
    }

    /// As if the write under way had begun so long ago.
    #[cfg(test)]
    pub fn pretend_stalled(&self, for_ms: u64) {
        self.writing_since.store((time::steady_ms().1 + 1).saturating_sub(for_ms).max(1), Ordering::Relaxed);
    }

    /// Makes room for a command of this many bytes, and says whether there is any; nothing where the journal ends.
    pub async fn has_room(&self, len: usize) -> Option<bool> {
        // A record of what is committed may come before it, and a mark.
        const AROUND: usize = 4096;
        self.journal.reserve(len + AROUND).await.ok()
    }

    /// Writes what waits and closes in order. Blocks.
    pub fn close(&self) {
        self.journal.close();
    }

    /// Writes records in this order; they are durable when this returns.
    async fn write(&self, records: Vec<Vec<u8>>) -> Result<Vec<Sequence>, Failed> {
        self.writing_since.store(time::steady_ms().1 + 1, Ordering::Relaxed);
        lock(&self.kept).logged += records.iter().map(|record| record.len() as u64).sum::<u64>();
        let written = self.write_all(records).await;
        self.writing_since.store(0, Ordering::Relaxed);
        written
    }

    async fn write_all(&self, records: Vec<Vec<u8>>) -> Result<Vec<Sequence>, Failed> {
        let mut sequences = Vec::with_capacity(records.len());
        // Only the first of those that were refused is known not to be there: all behind it are refused with it.
        while sequences.len() < records.len() {
            let mut under_way = Vec::new();
            for record in records.iter().skip(sequences.len()) {
                let (ack, acked) = oneshot::channel();
                match self.journal.submit(record.clone(), ack) {
                    Ok(sequence) => under_way.push((sequence, acked)),
                    Err(NotSubmitted::Busy) => break,
                    Err(error @ (NotSubmitted::TooLarge { .. } | NotSubmitted::Closed)) => return Err(failed(error)),
                }
            }
            let mut refused = under_way.is_empty();
            for (sequence, acked) in under_way {
                match acked.await.unwrap_or(Err(NotCommitted::Unknown)) {
                    Ok(()) => sequences.push(sequence),
                    Err(NotCommitted::NoSpace) => refused = true,
                    Err(error @ NotCommitted::Unknown) => return Err(failed(error)),
                }
            }
            if refused {
                tokio::time::sleep(CONTROL_SPACE_RETRY).await;
            }
        }
        Ok(sequences)
    }
}

impl RaftLogReader<Types> for Log {
    async fn try_get_log_entries<RB: RangeBounds<u64> + Clone + Debug + OptionalSend>(
        &mut self,
        range: RB,
    ) -> Result<Vec<Entry<Types>>, Failed> {
        Ok(lock(&self.kept).entries(range, usize::MAX))
    }

    async fn limited_get_log_entries(&mut self, start: u64, end: u64) -> Result<Vec<Entry<Types>>, Failed> {
        Ok(lock(&self.kept).entries(start..end, CONTROL_LINES_BYTES))
    }
}

impl RaftLogStorage<Types> for Log {
    type LogReader = Self;

    async fn get_log_state(&mut self) -> Result<LogState<Types>, Failed> {
        let kept = lock(&self.kept);
        let last_purged_log_id = kept.purged.map(Into::into);
        Ok(LogState { last_purged_log_id, last_log_id: kept.last().map(Into::into) })
    }

    async fn get_log_reader(&mut self) -> Self {
        self.clone()
    }

    async fn save_vote(&mut self, vote: &Vote<u64>) -> Result<(), Failed> {
        let ballot = Ballot::from(*vote);
        self.write(vec![Record::Ballot(ballot).seal()]).await?;
        lock(&self.kept).ballot = Some(ballot);
        Ok(())
    }

    async fn read_vote(&mut self) -> Result<Option<Vote<u64>>, Failed> {
        Ok(lock(&self.kept).ballot.map(Into::into))
    }

    async fn save_committed(&mut self, committed: Option<LogId<u64>>) -> Result<(), Failed> {
        let Some(committed) = committed.map(Id::from) else { return Ok(()) };
        {
            let mut kept = lock(&self.kept);
            let last = kept.last().map(|id| id.index);
            if let Err(breach) = self.matched.check(committed, last, kept.ballot, kept.members()) {
                return Err(failed(io::Error::other(breach)));
            }
            kept.committed = Some(committed);
        }
        let (ack, _not_waited_for) = oneshot::channel();
        match self.journal.submit(Record::Committed(committed).seal(), ack) {
            // Without it the next start knows less until a leader is heard.
            Ok(_) | Err(NotSubmitted::Busy | NotSubmitted::Closed | NotSubmitted::TooLarge { .. }) => Ok(()),
        }
    }

    async fn read_committed(&mut self) -> Result<Option<LogId<u64>>, Failed> {
        Ok(lock(&self.kept).committed.map(Into::into))
    }

    /// The caller does nothing else before the callback: so it is called from here, when all is durable.
    async fn append<I>(&mut self, entries: I, callback: LogFlushed<Types>) -> Result<(), Failed>
    where
        I: IntoIterator<Item = Entry<Types>> + OptionalSend,
        I::IntoIter: OptionalSend,
    {
        let entries: Vec<_> = entries.into_iter().collect();
        let records: Vec<_> = entries.iter().map(|entry| Record::Line(entry.into()).seal()).collect();
        let sizes: Vec<_> = records.iter().map(Vec::len).collect();
        let first = entries.first().map(|entry| entry.log_id.index);
        lock(&self.kept).append(entries.into_iter().zip(sizes));
        match self.write(records).await {
            Ok(sequences) => {
                if let Some(first) = first {
                    lock(&self.kept).placed(first, &sequences);
                }
                callback.log_io_completed(Ok(()));
                Ok(())
            }
            Err(error) => {
                callback.log_io_completed(Err(io::Error::other(error.to_string())));
                Err(error)
            }
        }
    }

    async fn truncate(&mut self, since: LogId<u64>) -> Result<(), Failed> {
        lock(&self.kept).truncate(since.index);
        self.write(vec![Record::Truncate { since: since.index }.seal()]).await.map(drop)
    }

    async fn purge(&mut self, upto: LogId<u64>) -> Result<(), Failed> {
        // One that was sent must be on disk before what it replaces goes.
        self.matched.snapshot_holds(upto.index).await.map_err(failed)?;
        let base = {
            let mut kept = lock(&self.kept);
            kept.purge(upto.into());
            Base { purged: upto.into(), ballot: kept.ballot, committed: kept.committed }
        };
        let sequences = self.write(vec![Record::Base(base).seal()]).await?;
        if let Some(proven) = lock(&self.kept).oldest_needed(&sequences) {
            self.journal.prove(proven);
        }
        Ok(())
    }
}
