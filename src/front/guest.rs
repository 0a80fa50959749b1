//! One connection as the crowd sees it: whether it rests, and who keeps whom waiting. A reader that takes nothing of an
//! answer that is ready for it overstays; so does a connection that rests too long.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::MutexGuard;
use std::sync::PoisonError;
use std::sync::atomic::AtomicBool;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering;
use std::time::Duration;
use std::time::Instant;

use tokio::sync::Notify;

use crate::base::limits::ANSWER_BYTES_PER_S_MIN;
use crate::base::limits::ANSWER_PATIENCE;
use crate::base::limits::ANSWER_STALL_TIMEOUT;
use crate::base::limits::KEEP_ALIVE_TIMEOUT;
use crate::base::time;

/// Why a connection has to end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Overstayed {
    /// It rested for too long; it may say goodbye.
    Resting,
    /// Its reader took too little, or its place is needed.
    Cut,
}

/// A connection.
pub struct Guest {
    state: Mutex<State>,
    /// How often all that was to be said so far was out.
    flushes: AtomicU64,
    sent_away: AtomicBool,
    changed: Notify,
}

struct State {
    next: u64,
    /// When the last request ended.
    rests_since: Instant,
    /// As [`Guest::flushes`] was then; none before the first.
    ended_at: Option<u64>,
    exchanges: BTreeMap<u64, Reader>,
}

/// How the reader of one answer fares.
#[derive(Default)]
struct Reader {
    /// Since when it owes taking what was handed to it.
    owes_since: Option<Instant>,
    /// How long it kept us waiting before.
    waited: Duration,
    /// Bytes it took.
    taken: u64,
    /// Bytes handed to it.
    handed: u64,
}

impl Reader {
    /// How long it may let us wait now.
    fn patience(&self) -> Duration {
        let earned = Duration::from_secs(self.taken / ANSWER_BYTES_PER_S_MIN);
        ANSWER_STALL_TIMEOUT.min((ANSWER_STALL_TIMEOUT + earned).saturating_sub(self.waited))
    }
}

impl Guest {
    /// Came just now, without a request so far.
    #[must_use]
    pub fn new(now: Instant) -> Self {
        let state = State { next: 0, rests_since: now, ended_at: None, exchanges: BTreeMap::new() };
        Self {
            state: Mutex::new(state),
            flushes: AtomicU64::new(0),
            sent_away: AtomicBool::new(false),
            changed: Notify::new(),
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A request begins; it ends when this is dropped.
    #[must_use]
    pub fn begin(self: &Arc<Self>) -> Exchange {
        let mut state = self.state();
        let number = state.next;
        state.next += 1;
        state.exchanges.insert(number, Reader::default());
        drop(state);
        Exchange { guest: Arc::clone(self), number }
    }

    /// Since when there is no request, if there is none.
    #[must_use]
    pub fn idle_since(&self) -> Option<Instant> {
        let state = self.state();
        state.exchanges.is_empty().then_some(state.rests_since)
    }

    /// All that was to be said so far is out. Called by the connection's one owner only.
    pub fn flushed(&self) {
        self.flushes.store(self.flushes.load(Ordering::Relaxed) + 1, Ordering::Relaxed);
    }

    /// Whether all answers are out, to the last byte: what is said now answers no request that was begun.
    #[must_use]
    pub fn is_answered(&self) -> bool {
        let state = self.state();
        state.exchanges.is_empty() && state.ended_at.is_none_or(|then| self.flushes.load(Ordering::Relaxed) > then)
    }

    /// Since when a reader has kept us waiting past all patience, if one has.
    #[must_use]
    pub fn stalls_since(&self, now: Instant) -> Option<Instant> {
        let state = self.state();
        let oldest = state.exchanges.values().filter_map(|reader| reader.owes_since).min();
        oldest.filter(|since| now.saturating_duration_since(*since) >= ANSWER_PATIENCE)
    }

    /// Since when nothing has been done here that would be lost, if so.
    #[must_use]
    pub fn rests_since(&self, now: Instant) -> Option<Instant> {
        self.idle_since().or_else(|| self.stalls_since(now))
    }

    /// Its place is needed.
    pub fn send_away(&self) {
        self.sent_away.store(true, Ordering::Relaxed);
        self.changed.notify_one();
    }

    /// Whether it was sent away.
    #[must_use]
    pub fn is_sent_away(&self) -> bool {
        self.sent_away.load(Ordering::Relaxed)
    }

    /// When it will have overstayed if nothing happens, and how. `None` while it waits for us.
    fn overstays_at(&self) -> Option<(Instant, Overstayed)> {
        let state = self.state();
        if state.exchanges.is_empty() {
            return Some((state.rests_since + KEEP_ALIVE_TIMEOUT, Overstayed::Resting));
        }
        let readers = state.exchanges.values().filter_map(|reader| Some(reader.owes_since? + reader.patience()));
        readers.min().map(|at| (at, Overstayed::Cut))
    }

    /// Returns when it has overstayed or was sent away.
    pub async fn overstayed(&self) -> Overstayed {
        loop {
            if self.is_sent_away() {
                return Overstayed::Cut;
            }
            let now = time::mono();
            let wait = match self.overstays_at() {
                Some((at, how)) if at <= now => return how,
                Some((at, _)) => at.saturating_duration_since(now),
                // Whatever begins now does not overstay before.
                None => ANSWER_STALL_TIMEOUT,
            };
            tokio::select! {
                () = self.changed.notified() => {}
                () = tokio::time::sleep(wait) => {}
            }
        }
    }
}

/// A request and its answer, until the last of it is handed on.
pub struct Exchange {
    guest: Arc<Guest>,
    number: u64,
}

impl Exchange {
    /// So many bytes are ready for the reader.
    pub fn hand_out(&self, bytes: u64) {
        let now = time::mono();
        if let Some(reader) = self.guest.state().exchanges.get_mut(&self.number) {
            reader.owes_since = Some(now);
            reader.handed += bytes;
        }
    }

    /// The reader took them and waits for more.
    pub fn taken(&self) {
        if let Some(reader) = self.guest.state().exchanges.get_mut(&self.number)
            && let Some(since) = reader.owes_since.take()
        {
            reader.waited += time::mono().saturating_duration_since(since);
            reader.taken = reader.handed;
        }
    }
}

impl Drop for Exchange {
    fn drop(&mut self) {
        let now = time::mono();
        let mut state = self.guest.state();
        state.exchanges.remove(&self.number);
        state.rests_since = now;
        // Its last bytes may still be on their way to the stream.
        state.ended_at = Some(self.guest.flushes.load(Ordering::Relaxed));
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::time::Duration;

    use super::Guest;
    use super::Overstayed;
    use crate::base::limits::ANSWER_STALL_TIMEOUT;
    use crate::base::limits::KEEP_ALIVE_TIMEOUT;
    use crate::base::time;

    #[test]
    fn rest_has_an_end_and_work_has_none() {
        let now = time::mono();
        let guest = Arc::new(Guest::new(now));
        assert_eq!(guest.overstays_at(), Some((now + KEEP_ALIVE_TIMEOUT, Overstayed::Resting)));
        let first = guest.begin();
        let second = guest.begin();
        assert_eq!((guest.overstays_at(), guest.idle_since()), (None, None));
        drop(first);
        assert_eq!(guest.idle_since(), None);
        drop(second);
        assert!(guest.idle_since().is_some_and(|since| since >= now));
    }

    #[test]
    fn an_answer_is_out_when_everything_was_flushed_after_its_end() {
        let guest = Arc::new(Guest::new(time::mono()));
        assert!(guest.is_answered(), "nothing was asked");
        let exchange = guest.begin();
        guest.flushed();
        assert!(!guest.is_answered());
        drop(exchange);
        assert!(!guest.is_answered(), "its last bytes wait");
        guest.flushed();
        assert!(guest.is_answered());
    }

    #[test]
    fn a_reader_that_takes_nothing_overstays_and_one_that_takes_little_too() {
        let guest = Arc::new(Guest::new(time::mono()));
        let exchange = guest.begin();
        exchange.hand_out(1);
        let (at, how) = guest.overstays_at().unwrap();
        assert_eq!(how, Overstayed::Cut);
        assert!(at <= time::mono() + ANSWER_STALL_TIMEOUT);
        assert_eq!(guest.stalls_since(time::mono()), None, "not yet");
        assert!(guest.stalls_since(time::mono() + Duration::from_secs(2)).is_some());
        exchange.taken();
        assert_eq!(guest.overstays_at(), None);

        // One byte every 20 seconds: never a stall that is too long, and far too slow.
        let mut reader = super::Reader::default();
        for _ in 0..3 {
            reader.waited += Duration::from_secs(20);
            reader.taken += 1;
        }
        assert_eq!(reader.patience(), Duration::ZERO);
        reader.taken += 100 * 1024;
        assert_eq!(reader.patience(), ANSWER_STALL_TIMEOUT);
    }
}
