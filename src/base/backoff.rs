//! How long to wait before trying again: longer after each failure, never twice as long for two of the same kind.
//! Randomness is an input.

use std::time::Duration;

/// The waits of one thing that is tried for ever.
#[derive(Debug, Clone, Copy)]
pub struct Backoff {
    first: Duration,
    max: Duration,
    next: Duration,
}

impl Backoff {
    /// From `first`, doubled up to `max`.
    #[must_use]
    pub fn new(first: Duration, max: Duration) -> Self {
        Self { first, max, next: first }
    }

    /// The next wait: between half and all of what it would be without jitter.
    pub fn wait(&mut self, random: u64) -> Duration {
        let whole = self.next;
        self.next = (whole * 2).min(self.max);
        let half_us = u64::try_from(whole.as_micros() / 2).unwrap_or(u64::MAX);
        whole - Duration::from_micros(random % (half_us + 1))
    }

    /// It went well.
    pub fn reset(&mut self) {
        self.next = self.first;
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use proptest::prelude::any;
    use proptest::proptest;

    use super::Backoff;

    #[test]
    fn waits_double_up_to_the_longest_and_begin_anew() {
        let mut backoff = Backoff::new(Duration::from_millis(50), Duration::from_millis(300));
        let waits: Vec<u128> = (0..5).map(|_| backoff.wait(0).as_millis()).collect();
        assert_eq!(waits, [50, 100, 200, 300, 300]);
        backoff.reset();
        assert_eq!(backoff.wait(25_000), Duration::from_millis(25), "half is the least");
        assert_eq!(backoff.wait(50_001), Duration::from_millis(100));
    }

    proptest! {
        #[test]
        fn jitter_takes_at_most_half(random in any::<u64>(), failures in 0..10) {
            let mut backoff = Backoff::new(Duration::from_millis(50), Duration::from_secs(2));
            for _ in 0..failures {
                backoff.wait(0);
            }
            let mut other = backoff;
            let (whole, jittered) = (other.wait(0), backoff.wait(random));
            assert!(jittered <= whole && jittered >= whole / 2);
        }
    }
}
