//! What was met that cannot be read: counted where it is found, so that somebody is told of it.

use std::sync::Mutex;
use std::sync::PoisonError;

use crate::base::id::PartitionId;
use crate::store::partition::StoreError;

/// What was met since the start.
#[derive(Debug, Default)]
pub struct Damage {
    met: Mutex<Met>,
}

/// How often, and where last.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Met {
    /// Reads that met damage.
    pub times: u64,
    /// The partition of the last one, and what does not fit.
    pub last: Option<(PartitionId, String)>,
}

impl Damage {
    /// Counts a failure if it is damage.
    pub(super) fn note(&self, partition: PartitionId, error: &StoreError) {
        if let StoreError::Corrupt { detail } = error {
            let mut met = self.met.lock().unwrap_or_else(PoisonError::into_inner);
            met.times += 1;
            met.last = Some((partition, detail.clone()));
        }
    }

    /// What was met.
    #[must_use]
    pub fn met(&self) -> Met {
        self.met.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}
