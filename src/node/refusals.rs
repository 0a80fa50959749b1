//! Refused callers in the log: a few a minute with how many were left out, so that nobody fills a disk by knocking. Those with
//! a token, and what devices are refused for other reasons, are counted as well: many of them are an alarm.

use std::net::IpAddr;
use std::sync::Mutex;
use std::sync::PoisonError;
use std::time::Instant;

use crate::base::limits::LOG_REFUSALS_EVERY;
use crate::base::limits::LOG_REFUSALS_MAX;
use crate::base::time;
use crate::node::Node;
use crate::proto::alarm::judge::ManyRefused;
use crate::proto::alarm::judge::RefusedTokens;
use crate::proto::alarm::judge::Shut;
use crate::proto::alarm::rejections::ManyRejected;
use crate::proto::alarm::rejections::Rejection;
use crate::proto::alarm::rejections::Rejections;

/// Refusals of one kind.
#[derive(Default)]
pub struct Lines(Mutex<Lately>);

/// Of each kind, so that a flood of one does not hide the other.
#[derive(Default)]
pub struct Refusals {
    /// Tokens and sessions that are not known.
    pub unknown: Lines,
    /// Callers who are known and may not.
    pub not_enough: Lines,
    /// Requests that name another host.
    pub misdirected: Lines,
    tokens: Mutex<RefusedTokens>,
    rejections: Mutex<Rejections>,
}

impl Refusals {
    /// A token did not open what somebody there asked for.
    pub fn note_token(&self, why: Shut, from: Option<IpAddr>) {
        let mut tokens = self.tokens.lock().unwrap_or_else(PoisonError::into_inner);
        tokens.note(why, from, time::steady_ms().0);
    }

    /// Whoever asked was turned away; `asked`: requests for values since the start.
    pub fn note(&self, rejection: Rejection<'_>, asked: u64) {
        self.rejections.lock().unwrap_or_else(PoisonError::into_inner).note(rejection, asked, time::steady_ms().0);
    }

    /// What was refused in the last minute, where it is much.
    pub(super) fn many_rejected(&self, asked: u64) -> Option<ManyRejected> {
        self.rejections.lock().unwrap_or_else(PoisonError::into_inner).many(asked, time::steady_ms().0)
    }

    /// Those of the last minute, where they are many.
    pub(super) fn many_tokens(&self) -> Option<ManyRefused> {
        self.tokens.lock().unwrap_or_else(PoisonError::into_inner).many(time::steady_ms().0)
    }
}

#[derive(Default)]
struct Lately {
    since: Option<Instant>,
    lines: u32,
    dropped: u64,
}

impl Lines {
    /// Whether to log one now, with how many were not logged before it.
    pub fn admit(&self, now: Instant) -> Option<u64> {
        let mut lately = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if lately.since.is_none_or(|since| now.saturating_duration_since(since) >= LOG_REFUSALS_EVERY) {
            lately.since = Some(now);
            lately.lines = 0;
        }
        if lately.lines >= LOG_REFUSALS_MAX {
            lately.dropped += 1;
            return None;
        }
        lately.lines += 1;
        Some(std::mem::take(&mut lately.dropped))
    }
}

impl Node {
    /// Counts that whoever asked was turned away.
    pub fn note_rejection(&self, rejection: Rejection<'_>) {
        self.refusals().note(rejection, self.telemetry().of_values());
    }

    /// What was logged of refused callers lately.
    #[must_use]
    pub fn refusals(&self) -> &Refusals {
        &self.0.refusals
    }
}

#[cfg(test)]
mod tests {
    use super::Lines;
    use crate::base::limits::LOG_REFUSALS_EVERY;
    use crate::base::limits::LOG_REFUSALS_MAX;
    use crate::base::time;

    #[test]
    fn a_few_lines_a_minute_count_what_is_left_out() {
        let (refusals, start) = (Lines::default(), time::mono());
        let logged = (0..1000).filter(|_| refusals.admit(start).is_some()).count();
        assert_eq!(logged, LOG_REFUSALS_MAX as usize);
        assert_eq!(refusals.admit(start + LOG_REFUSALS_EVERY), Some(1000 - u64::from(LOG_REFUSALS_MAX)));
        assert_eq!(refusals.admit(start + LOG_REFUSALS_EVERY), Some(0));
    }
}
