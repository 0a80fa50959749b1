//! How often a part of a process may fail before the whole is begun anew. A part that fails is started again at once, then
//! later and later; one that fails too often in a while has a cause that its own restart does not mend.
//!
//! Source: the restart intensity of Erlang's supervisors.

use std::collections::VecDeque;
use std::time::Duration;

use crate::base::limits::RESTARTS_MAX;
use crate::base::limits::RESTARTS_WITHIN;
use crate::base::time;

/// What to do with a part that failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// Start it again after this pause.
    Again(Duration),
    /// It failed too often: whoever is above has to be started anew.
    GiveUp,
}

/// The failures of one part.
#[derive(Debug, Clone, Default)]
pub struct Restarts {
    failed_ms: VecDeque<u64>,
}

impl Restarts {
    /// It failed now.
    pub fn failed(&mut self, now_ms: u64) -> Verdict {
        let old_ms = now_ms.saturating_sub(time::millis(RESTARTS_WITHIN));
        while self.failed_ms.front().is_some_and(|failed| *failed < old_ms) {
            self.failed_ms.pop_front();
        }
        self.failed_ms.push_back(now_ms);
        let failed = self.failed_ms.len();
        if failed > RESTARTS_MAX {
            return Verdict::GiveUp;
        }
        // None, then 100, 200, 400, 800 ms.
        let doublings = u32::try_from(failed).unwrap_or(u32::MAX).checked_sub(2);
        Verdict::Again(doublings.map_or(Duration::ZERO, |doublings| Duration::from_millis(100 << doublings.min(4))))
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::Restarts;
    use super::Verdict;
    use crate::base::limits::RESTARTS_MAX;
    use crate::base::limits::RESTARTS_WITHIN;
    use crate::base::time;

    #[test]
    fn one_failure_is_mended_at_once_and_many_in_a_while_by_whoever_is_above() {
        let mut restarts = Restarts::default();
        let verdicts: Vec<_> = (0..=RESTARTS_MAX as u64).map(|at| restarts.failed(at)).collect();
        assert_eq!(verdicts[0], Verdict::Again(Duration::ZERO));
        let pauses = [100, 200, 400, 800].map(|ms| Verdict::Again(Duration::from_millis(ms)));
        assert_eq!(verdicts[1..5], pauses);
        assert_eq!(verdicts[RESTARTS_MAX], Verdict::GiveUp);
    }

    #[test]
    fn failures_of_long_ago_do_not_count() {
        let mut restarts = Restarts::default();
        let apart = time::millis(RESTARTS_WITHIN) + 1;
        for at in 0..20 {
            assert_eq!(restarts.failed(at * apart), Verdict::Again(Duration::ZERO), "{at}");
        }
        // Failures at the very edge do.
        let mut restarts = Restarts::default();
        for _ in 0..RESTARTS_MAX {
            restarts.failed(0);
        }
        assert_eq!(restarts.failed(time::millis(RESTARTS_WITHIN)), Verdict::GiveUp);
    }
}
