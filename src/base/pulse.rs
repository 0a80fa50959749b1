//! Whether this process stood still: stopped, swapped out, or in a machine that was. What waits for it in its sockets
//! then is of people who have given up by now, and must not be done behind their backs (HOUSE, One GET).
//!
//! A thread beats; whoever asks finds by the last beat that there was none for too long, also before the thread itself
//! is awake again.

use std::io;
use std::sync::OnceLock;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering;
use std::thread;
use std::time::Duration;

use crate::base::flight;
use crate::base::time;

/// Between two beats.
const BEAT: Duration = Duration::from_millis(100);
/// Without a beat for so long the process stood still: longer than a busy machine keeps a thread waiting.
pub const STANDSTILL: Duration = Duration::from_millis(500);
/// So long after it what waited before may still come in.
const AFTERMATH: Duration = Duration::from_millis(200);

/// Milliseconds of the last beat, and of the end of the last standstill; 0 = none.
static LAST_BEAT: AtomicU64 = AtomicU64::new(0);
/// See [`LAST_BEAT`].
static ENDED: AtomicU64 = AtomicU64::new(0);
/// How often.
static COUNT: AtomicU64 = AtomicU64::new(0);

fn now_ms() -> u64 {
    // Never 0: that is before the first beat.
    time::steady_ms().1 + 1
}

/// Begins to beat, once; until then the process never stands still.
///
/// # Errors
/// There is no thread to be had.
pub fn begin() -> io::Result<()> {
    static BEGUN: OnceLock<()> = OnceLock::new();
    if BEGUN.set(()).is_err() {
        return Ok(());
    }
    LAST_BEAT.store(now_ms(), Ordering::SeqCst);
    thread::Builder::new().name("pulse".to_owned()).spawn(|| {
        loop {
            let _counted = standstills();
            flight::beat_process();
            LAST_BEAT.store(now_ms(), Ordering::SeqCst);
            thread::park_timeout(BEAT);
        }
    })?;
    Ok(())
}

/// How often this process has stood still so far: what came in under another number is of before.
#[must_use]
pub fn standstills() -> u64 {
    let (last, now) = (LAST_BEAT.load(Ordering::SeqCst), now_ms());
    let still = last != 0 && now.saturating_sub(last) > time::millis(STANDSTILL);
    // Only one of those who notice counts it.
    if still && LAST_BEAT.compare_exchange(last, now, Ordering::SeqCst, Ordering::SeqCst).is_ok() {
        ENDED.store(now, Ordering::SeqCst);
        return COUNT.fetch_add(1, Ordering::SeqCst) + 1;
    }
    COUNT.load(Ordering::SeqCst)
}

/// Whether it has only just gone on: what comes in now may have waited.
#[must_use]
pub fn just_stood_still() -> bool {
    let _noticed = standstills();
    let ended = ENDED.load(Ordering::SeqCst);
    ended != 0 && now_ms().saturating_sub(ended) < time::millis(AFTERMATH)
}
