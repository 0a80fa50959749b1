//! Refused tokens in the log: a few a minute with how many were left out, so that nobody fills a disk by guessing.

use std::sync::Mutex;
use std::sync::PoisonError;
use std::time::Duration;
use std::time::Instant;

use crate::node::Node;

/// Lines of the log in a [`PERIOD`].
const LINES_MAX: u32 = 10;
const PERIOD: Duration = Duration::from_secs(60);

/// What was logged lately.
#[derive(Default)]
pub struct Refusals(Mutex<Lately>);

#[derive(Default)]
struct Lately {
    since: Option<Instant>,
    lines: u32,
    dropped: u64,
}

impl Refusals {
    /// Whether to log one now, with how many were not logged before it.
    pub fn admit(&self, now: Instant) -> Option<u64> {
        let mut lately = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if lately.since.is_none_or(|since| now.saturating_duration_since(since) >= PERIOD) {
            lately.since = Some(now);
            lately.lines = 0;
        }
        if lately.lines >= LINES_MAX {
            lately.dropped += 1;
            return None;
        }
        lately.lines += 1;
        Some(std::mem::take(&mut lately.dropped))
    }
}

impl Node {
    /// Of tokens and sessions.
    #[must_use]
    pub fn refusals(&self) -> &Refusals {
        &self.0.refusals
    }
}

#[cfg(test)]
mod tests {
    use super::LINES_MAX;
    use super::PERIOD;
    use super::Refusals;
    use crate::base::time;

    #[test]
    fn a_few_lines_a_minute_count_what_is_left_out() {
        let (refusals, start) = (Refusals::default(), time::mono());
        let logged = (0..1000).filter(|_| refusals.admit(start).is_some()).count();
        assert_eq!(logged, LINES_MAX as usize);
        assert_eq!(refusals.admit(start + PERIOD), Some(1000 - u64::from(LINES_MAX)));
        assert_eq!(refusals.admit(start + PERIOD), Some(0));
    }
}
