//! Keeps one place in the code from filling the log: a token bucket each, and a count of what was dropped. The count is told
//! with a line that gets through, once in a while, or when the place has been quiet.

use std::collections::BTreeMap;

use crate::base::limits::LOG_SITE_BURST;
use crate::base::limits::LOG_SITE_PER_SECOND;
use crate::base::limits::LOG_SITE_TELL_MS;

/// A thousandth of a line.
const LINE: u64 = 1000;

#[derive(Debug, Clone, Copy)]
struct Bucket {
    /// In thousandths of a line.
    tokens: u64,
    at_ms: u64,
    dropped: u64,
    /// When what was dropped was told last.
    told_ms: Option<u64>,
}

/// What becomes of a line.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// It is taken; before it this many were dropped, which is to be told.
    Taken {
        /// How many.
        dropped: u64,
    },
    /// It is dropped and counted.
    Dropped,
}

/// All places. There are as many as the program has calls, so their number is bounded.
#[derive(Debug)]
pub struct Flood<P> {
    places: BTreeMap<P, Bucket>,
    dropped: u64,
}

impl<P> Default for Flood<P> {
    fn default() -> Self {
        Self { places: BTreeMap::new(), dropped: 0 }
    }
}

impl<P: Ord + Copy> Flood<P> {
    /// A line of this place comes now.
    pub fn handle_line(&mut self, place: P, now_ms: u64) -> Verdict {
        let full = u64::from(LOG_SITE_BURST) * LINE;
        let bucket =
            self.places.entry(place).or_insert(Bucket { tokens: full, at_ms: now_ms, dropped: 0, told_ms: None });
        let since_ms = now_ms.saturating_sub(bucket.at_ms);
        bucket.tokens = full.min(bucket.tokens.saturating_add(since_ms.saturating_mul(u64::from(LOG_SITE_PER_SECOND))));
        bucket.at_ms = now_ms.max(bucket.at_ms);
        if let Some(tokens) = bucket.tokens.checked_sub(LINE) {
            bucket.tokens = tokens;
            // In a storm one line of each few is taken: a count with each would double what is kept.
            let due = bucket.told_ms.is_none_or(|told_ms| now_ms.saturating_sub(told_ms) >= LOG_SITE_TELL_MS);
            let dropped = if due { std::mem::take(&mut bucket.dropped) } else { 0 };
            if dropped > 0 {
                bucket.told_ms = Some(now_ms);
            }
            return Verdict::Taken { dropped };
        }
        bucket.dropped += 1;
        self.dropped += 1;
        Verdict::Dropped
    }

    /// Places that have been quiet for a while, each with what was dropped there and was not told.
    pub fn handle_timeout(&mut self, now_ms: u64) -> Vec<(P, u64)> {
        let mut told = Vec::new();
        for (place, bucket) in &mut self.places {
            if bucket.dropped > 0 && now_ms.saturating_sub(bucket.at_ms) >= LOG_SITE_TELL_MS {
                told.push((*place, std::mem::take(&mut bucket.dropped)));
            }
        }
        told
    }

    /// All that was ever dropped.
    #[must_use]
    pub fn dropped(&self) -> u64 {
        self.dropped
    }
}

#[cfg(test)]
mod tests {
    use super::Flood;
    use super::Verdict;
    use crate::base::limits::LOG_SITE_BURST;
    use crate::base::limits::LOG_SITE_PER_SECOND;

    #[test]
    fn a_place_gets_its_burst_then_its_rate_and_what_is_dropped_is_told_once() {
        let mut flood = Flood::default();
        let taken = |flood: &mut Flood<u8>, place, now_ms| flood.handle_line(place, now_ms) != Verdict::Dropped;
        assert_eq!((0..1000).filter(|_| taken(&mut flood, 1, 0)).count(), LOG_SITE_BURST as usize);
        assert!(taken(&mut flood, 2, 0), "another place is not harmed");
        assert_eq!(flood.handle_line(1, 1000), Verdict::Taken { dropped: 500 });
        let more = (0..1000).filter(|_| taken(&mut flood, 1, 1000)).count();
        assert_eq!(more, LOG_SITE_PER_SECOND as usize - 1);
        assert_eq!(flood.dropped(), 500 + 1000 - more as u64);
        assert_eq!(flood.handle_timeout(1500), []);
        assert_eq!(flood.handle_timeout(2000), [(1, 1000 - more as u64)]);
        assert_eq!(flood.handle_timeout(9000), []);
    }

    #[test]
    fn a_storm_that_goes_on_is_counted_once_a_second() {
        let mut flood = Flood::default();
        let lines = (0..5000).flat_map(|now_ms| std::iter::repeat_n(now_ms, 100));
        let (mut taken, mut told) = (0, Vec::new());
        for now_ms in lines {
            if let Verdict::Taken { dropped } = flood.handle_line(1, now_ms) {
                taken += 1;
                told.extend((dropped > 0).then_some(dropped));
            }
        }
        assert!((4..=6).contains(&told.len()), "{told:?}");
        told.extend(flood.handle_timeout(9000).iter().map(|(_, dropped)| dropped));
        assert_eq!(taken + told.iter().sum::<u64>(), 500_000, "{told:?}");
    }

    #[test]
    fn a_clock_that_goes_back_gives_nothing_and_takes_nothing() {
        let mut flood = Flood::default();
        while flood.handle_line(1, 5000) != Verdict::Dropped {}
        assert_eq!(flood.handle_line(1, 0), Verdict::Dropped);
        assert_eq!(flood.handle_line(1, 5000), Verdict::Dropped);
        assert_eq!(flood.handle_line(1, 5020), Verdict::Taken { dropped: 3 });
    }
}
