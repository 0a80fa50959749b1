//! How long the smallest question and its answer take on a connection: what the network does to everything else as well.

use std::collections::VecDeque;
use std::time::Duration;
use std::time::Instant;

use crate::base::limits::ROUND_TRIPS_KEPT;

/// The last ones.
#[derive(Debug, Default)]
pub(super) struct RoundTrips {
    /// When those that have no answer yet were asked for: answers come in their order.
    asked: VecDeque<Instant>,
    took: VecDeque<Duration>,
}

impl RoundTrips {
    /// One was asked for.
    pub(super) fn ask(&mut self, now: Instant) {
        // A connection without an answer for so long is ended before.
        if self.asked.len() < ROUND_TRIPS_KEPT {
            self.asked.push_back(now);
        }
    }

    /// The answer to the oldest one came.
    pub(super) fn answered(&mut self, now: Instant) {
        let Some(asked) = self.asked.pop_front() else { return };
        if self.took.len() >= ROUND_TRIPS_KEPT {
            self.took.pop_front();
        }
        self.took.push_back(now.saturating_duration_since(asked));
    }

    /// The middle of the last ones; none before there are some.
    pub(super) fn middle(&self) -> Option<Duration> {
        let mut sorted: Vec<Duration> = self.took.iter().copied().collect();
        sorted.sort_unstable();
        sorted.get(sorted.len() / 2).copied().filter(|_| sorted.len() >= ROUND_TRIPS_KEPT / 2)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::RoundTrips;
    use crate::base::limits::ROUND_TRIPS_KEPT;
    use crate::base::time;

    #[test]
    fn the_middle_of_the_last_ones_is_told_and_a_single_slow_one_is_none() {
        let (mut trips, mut now) = (RoundTrips::default(), time::mono());
        trips.answered(now);
        let mut trip = |trips: &mut RoundTrips, ms: u64| {
            trips.ask(now);
            now += Duration::from_millis(ms);
            trips.answered(now);
        };
        assert_eq!(trips.middle(), None);
        for ms in [3, 900].into_iter().cycle().take(ROUND_TRIPS_KEPT / 2 - 1).chain([3]) {
            trip(&mut trips, ms);
        }
        trip(&mut trips, 3);
        assert_eq!(trips.middle(), Some(Duration::from_millis(3)));
        (0..ROUND_TRIPS_KEPT).for_each(|_| trip(&mut trips, 400));
        assert_eq!(trips.middle(), Some(Duration::from_millis(400)));
        assert_eq!(trips.took.len(), ROUND_TRIPS_KEPT);
        // Several are under way where each takes longer than the time between two.
        let (mut slow, began) = (RoundTrips::default(), time::mono());
        let at = |ms: u64| began + Duration::from_millis(ms);
        for step in 0..20 {
            slow.ask(at(step * 500));
            if step >= 2 {
                slow.answered(at(step * 500 + 200));
            }
        }
        assert_eq!(slow.middle(), Some(Duration::from_millis(1200)));
    }
}
