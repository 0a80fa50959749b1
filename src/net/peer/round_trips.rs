//! How long the smallest question and its answer take on a connection: what the network does to everything else as well.

use std::collections::VecDeque;
use std::time::Duration;
use std::time::Instant;

use crate::base::limits::ROUND_TRIPS_KEPT;

/// The last ones.
#[derive(Debug, Default)]
pub(super) struct RoundTrips {
    asked: Option<Instant>,
    took: VecDeque<Duration>,
}

impl RoundTrips {
    /// One is asked for now; false where one is under way.
    pub(super) fn ask(&mut self, now: Instant) -> bool {
        let is_first = self.asked.is_none();
        self.asked.get_or_insert(now);
        is_first
    }

    /// Its answer came.
    pub(super) fn answered(&mut self, now: Instant) {
        let Some(asked) = self.asked.take() else { return };
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
            assert!(trips.ask(now));
            assert!(!trips.ask(now), "one at a time");
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
    }
}
