//! N, R and W: what a bucket asks for, what that is on a list that is shorter, and which of them hold while they change.

use std::collections::BTreeSet;

use serde::Deserialize;
use serde::Serialize;

use crate::proto::bucket::Definition;

/// How many replicas there are, and how many of them must answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Numbers {
    /// Replicas wanted: the first `n` of a list.
    pub n: u8,
    /// Of them, how many a read needs.
    pub r: u8,
    /// Of them, how many a write needs.
    pub w: u8,
}

impl Default for Numbers {
    fn default() -> Self {
        Self::from(&Definition::default())
    }
}

impl From<&Definition> for Numbers {
    fn from(definition: &Definition) -> Self {
        Self { n: definition.n, r: definition.r, w: definition.w }
    }
}

impl Numbers {
    /// What they are on a list of this many owners: a shorter list makes all of them owners and their majority `r` and
    /// `w` (HOUSE decision 18).
    #[must_use]
    pub fn effective(self, owners: usize) -> Self {
        match u8::try_from(owners) {
            Ok(owners) if owners < self.n => {
                let majority = owners / 2 + 1;
                Self { n: owners, r: majority, w: majority }
            }
            Ok(_) | Err(_) => self,
        }
    }

    /// Whether a read may miss an acked write.
    #[must_use]
    pub fn is_weak(self) -> bool {
        u16::from(self.r) + u16::from(self.w) <= u16::from(self.n)
    }
}

/// The numbers of one bucket, of which two are in force while they change.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default, Serialize, Deserialize)]
pub struct BucketNumbers {
    /// Those that were asked for last.
    pub now: Numbers,
    /// Those before them, until the change is finished.
    pub old: Option<Old>,
}

/// Numbers that still hold on lists from before a change.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Old {
    /// The numbers.
    pub numbers: Numbers,
    /// They hold on lists that came before this version of the layout.
    pub before: u64,
}

impl From<Numbers> for BucketNumbers {
    fn from(now: Numbers) -> Self {
        Self { now, old: None }
    }
}

impl BucketNumbers {
    /// Those that hold on a list that came in version `since`.
    #[must_use]
    pub fn on(self, since: u64) -> Numbers {
        match self.old {
            Some(old) if since < old.before => old.numbers,
            Some(_) | None => self.now,
        }
    }
}

/// Each combination once: a thousand buckets have few. The default stands for none at all.
pub(super) fn distinct(numbers: &[BucketNumbers]) -> Vec<BucketNumbers> {
    let distinct: BTreeSet<_> = numbers.iter().copied().collect();
    if distinct.is_empty() { vec![BucketNumbers::default()] } else { distinct.into_iter().collect() }
}

#[cfg(test)]
mod tests {
    use super::BucketNumbers;
    use super::Numbers;
    use super::Old;

    #[test]
    fn a_list_that_is_too_short_makes_all_of_it_owners_and_its_majority_the_quorum() {
        let wanted = Numbers { n: 5, r: 1, w: 5 };
        let on = |owners| {
            let Numbers { n, r, w } = wanted.effective(owners);
            (n, r, w)
        };
        assert_eq!([on(1), on(2), on(3), on(4)], [(1, 1, 1), (2, 2, 2), (3, 2, 2), (4, 3, 3)]);
        assert_eq!([on(5), on(9), on(usize::MAX)], [(5, 1, 5); 3]);
    }

    #[test]
    fn old_numbers_hold_on_lists_from_before_the_change() {
        let (old, now) = (Numbers { n: 3, r: 2, w: 2 }, Numbers { n: 5, r: 3, w: 3 });
        let changing = BucketNumbers { now, old: Some(Old { numbers: old, before: 7 }) };
        assert_eq!([changing.on(6), changing.on(7), changing.on(8)], [old, now, now]);
        assert_eq!(BucketNumbers::from(now).on(0), now);
    }
}
