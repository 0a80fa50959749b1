//! How often somebody may be wrong: after some free failures each costs a wait that doubles up to a cap, and quiet is
//! forgotten. A failure is counted before the attempt, so that many attempts at once count like many in a row; one that
//! then succeeds, or was not carried out, is taken back. Nobody is locked out for longer than the cap.
//!
//! Keys are hashes, so their size is known whatever they were made of. Time is milliseconds of any steady clock.

use std::collections::BTreeMap;

#[cfg(test)]
mod tests;

/// Whom a record is about: a hash under a secret of the process, so that nobody outside can aim at one.
pub type Key = [u8; 16];

/// When failures cost how much.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rule {
    /// Failures that cost nothing.
    pub free: u32,
    /// The wait after the first that does.
    pub first_ms: u64,
    /// The longest.
    pub max_ms: u64,
}

impl Rule {
    fn wait_ms(self, failures: u32) -> u64 {
        match failures.checked_sub(self.free.saturating_add(1)) {
            None => 0,
            Some(doublings) => {
                let factor = 1_u64.checked_shl(doublings).unwrap_or(u64::MAX);
                self.first_ms.saturating_mul(factor).min(self.max_ms)
            }
        }
    }
}

/// Its free failures are used up.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Wait {
    /// Until the next attempt is taken.
    pub ms: u64,
}

#[derive(Debug, Clone, Copy)]
struct Record {
    failures: u32,
    free_at_ms: u64,
    touched: u64,
    last_ms: u64,
}

/// Failures by key.
#[derive(Debug)]
pub struct Throttle {
    records: BTreeMap<Key, Record>,
    /// By the number of the last touch, oldest first.
    order: BTreeMap<u64, Key>,
    touches: u64,
    records_max: usize,
    forget_ms: u64,
}

impl Throttle {
    /// Keeps at most `records_max` keys, each until `forget_ms` without a failure.
    #[must_use]
    pub fn new(records_max: usize, forget_ms: u64) -> Self {
        Self { records: BTreeMap::new(), order: BTreeMap::new(), touches: 0, records_max, forget_ms }
    }

    /// Counts an attempt under all of these keys as failed, or under none of them.
    ///
    /// # Errors
    /// [`Wait`], the longest of the keys'.
    pub fn begin(&mut self, keys: &[(Key, Rule)], now_ms: u64) -> Result<(), Wait> {
        let wait = |(key, _): &(Key, Rule)| self.record(key, now_ms).map(|record| record.free_at_ms);
        let free_at_ms = keys.iter().filter_map(wait).max().unwrap_or(0);
        if free_at_ms > now_ms {
            return Err(Wait { ms: free_at_ms - now_ms });
        }
        for (key, rule) in keys {
            let failures = self.record(key, now_ms).map_or(0, |record| record.failures).saturating_add(1);
            let free_at_ms = now_ms.saturating_add(rule.wait_ms(failures));
            self.touch(*key, Record { failures, free_at_ms, touched: 0, last_ms: now_ms });
        }
        Ok(())
    }

    /// Takes one attempt back: it succeeded, or was not carried out.
    pub fn take_back(&mut self, key: &Key) {
        if let Some(record) = self.records.get_mut(key) {
            record.failures = record.failures.saturating_sub(1);
            record.free_at_ms = 0;
        }
    }

    /// Forgets all failures of this key: whoever it is knows the secret.
    pub fn forget(&mut self, key: &Key) {
        if let Some(record) = self.records.remove(key) {
            self.order.remove(&record.touched);
        }
    }

    fn record(&self, key: &Key, now_ms: u64) -> Option<Record> {
        let fresh = |record: &&Record| now_ms.saturating_sub(record.last_ms) < self.forget_ms;
        self.records.get(key).filter(fresh).copied()
    }

    fn touch(&mut self, key: Key, record: Record) {
        self.touches += 1;
        let record = Record { touched: self.touches, ..record };
        if let Some(before) = self.records.insert(key, record) {
            self.order.remove(&before.touched);
        }
        self.order.insert(self.touches, key);
        while self.records.len() > self.records_max {
            let Some((_, oldest)) = self.order.pop_first() else { return };
            self.records.remove(&oldest);
        }
    }
}
