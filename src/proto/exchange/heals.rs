//! How long it takes until owners that differ hold the same, reckoned from the paces that anti-entropy keeps: an estimate for
//! people, on which nothing else depends.
//!
//! ```text
//! found ─ rest between two looks ─ bring and send ─ nobody writes ─ looked through again ─ next round of roots: the same
//! ```
//! Each step is reckoned as if all of a partition moved, so it is rather too long than too short. Where it took longer, the
//! comparison came to nothing (a lost answer, a full disk), and the next round begins another one.

use crate::base::limits::COMPARISONS_AT_ONCE;
use crate::base::limits::COMPARISONS_AT_WORK;
use crate::base::limits::HANDOFF_BYTES_PER_SECOND;
use crate::base::limits::ROOTS_EVERY;
use crate::base::limits::SURVEY_BYTES_PER_SECOND;
use crate::base::limits::SURVEY_QUIET;
use crate::base::limits::SURVEY_TICK;
use crate::base::time::millis;
use crate::proto::exchange::LOOK_AGAIN_MS;

/// What differs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Backlog {
    /// Pairs of a partition and another owner.
    pub pairs: usize,
    /// Bytes of the partitions, each as often as it has such a pair.
    pub pair_bytes: u64,
    /// Bytes of the partitions, each once.
    pub bytes: u64,
    /// Since when the youngest of them is known.
    pub since_ms: u64,
}

impl Backlog {
    /// Milliseconds from now until all of it is found to be the same, where nothing else goes wrong; `next_round_ms` is how
    /// long it is until roots are asked for next.
    #[must_use]
    pub fn heals_in_ms(&self, now_ms: u64, next_round_ms: u64) -> u64 {
        let (takes, since) = (self.takes_ms(), now_ms.saturating_sub(self.since_ms));
        let left = match takes.checked_sub(since) {
            Some(left) => left,
            None => next_round_ms.saturating_add(takes),
        };
        // Only a round of roots finds that it is done.
        let (behind, every) = (left.saturating_sub(next_round_ms), millis(ROOTS_EVERY));
        next_round_ms.saturating_add(behind.div_ceil(every).saturating_mul(every))
    }

    /// From the moment at which it is found until it is looked through again.
    fn takes_ms(&self) -> u64 {
        let turns = self.pairs.div_ceil(COMPARISONS_AT_ONCE).saturating_sub(1) as u64;
        let at_work = self.pairs.clamp(1, COMPARISONS_AT_WORK) as u64;
        let at_pace = |bytes: u64, a_second: u64| bytes.saturating_mul(1000) / a_second;
        [
            // Those for which there is no place begin in a later round.
            turns.saturating_mul(millis(ROOTS_EVERY)),
            LOOK_AGAIN_MS,
            at_pace(self.pair_bytes, HANDOFF_BYTES_PER_SECOND * at_work),
            millis(SURVEY_QUIET) + millis(SURVEY_TICK),
            at_pace(self.bytes, SURVEY_BYTES_PER_SECOND),
        ]
        .into_iter()
        .fold(0, u64::saturating_add)
    }
}

#[cfg(test)]
mod tests {
    use super::Backlog;
    use crate::base::limits::HANDOFF_BYTES_PER_SECOND;
    use crate::base::limits::SURVEY_BYTES_PER_SECOND;

    const LITTLE: Backlog = Backlog { pairs: 1, pair_bytes: 0, bytes: 0, since_ms: 1_000 };

    #[test]
    fn a_small_difference_is_healed_at_the_first_round_behind_a_rest_and_a_survey() {
        assert_eq!(LITTLE.heals_in_ms(1_000, 5_000), 5_000, "2 s, 1 s and half a one fit before it");
        assert_eq!(LITTLE.heals_in_ms(1_000, 3_000), 8_000);
        assert_eq!(LITTLE.heals_in_ms(3_000, 3_000), 3_000, "part of it is done");
    }

    #[test]
    fn more_bytes_and_more_pairs_take_longer() {
        let bytes = 10 * SURVEY_BYTES_PER_SECOND;
        let large = Backlog { pair_bytes: 10 * HANDOFF_BYTES_PER_SECOND, bytes, ..LITTLE };
        assert_eq!(large.heals_in_ms(1_000, 5_000), 25_000, "23.5 s, and up to a round");
        let four = Backlog { pairs: 4, ..large };
        assert_eq!(four.heals_in_ms(1_000, 5_000), 20_000, "four work at a time");
        let many = Backlog { pairs: 512, ..LITTLE };
        assert_eq!(many.heals_in_ms(1_000, 5_000), 40_000, "eight times as many as have a place at a time");
        let most = Backlog { pairs: usize::MAX, pair_bytes: u64::MAX, bytes: u64::MAX, since_ms: 0 };
        assert!(most.heals_in_ms(0, 0) > 0);
    }

    #[test]
    fn what_takes_longer_than_it_should_begins_anew() {
        assert_eq!(LITTLE.heals_in_ms(4_500, 2_000), 2_000, "now it should be");
        assert_eq!(LITTLE.heals_in_ms(60_000, 2_000), 7_000, "the next round begins, the one behind it finds it done");
    }
}
