//! Something for each of the 256 partitions: exactly so many, also when read from bytes.

use serde::Deserialize;
use serde::Serialize;

use crate::base::id::PartitionId;
use crate::base::limits::PARTITIONS;

/// One `T` per partition.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "Vec<T>")]
pub(super) struct Slots<T>(Vec<T>);

/// There are not 256 of them.
#[derive(Debug, thiserror::Error)]
#[error("a layout has {given} slots; it must have {PARTITIONS}")]
pub(super) struct WrongCount {
    given: usize,
}

impl<T> TryFrom<Vec<T>> for Slots<T> {
    type Error = WrongCount;

    fn try_from(slots: Vec<T>) -> Result<Self, WrongCount> {
        if slots.len() == PARTITIONS { Ok(Self(slots)) } else { Err(WrongCount { given: slots.len() }) }
    }
}

impl<T> Slots<T> {
    pub(super) fn all(of: impl Fn() -> T) -> Self {
        Self(std::iter::repeat_with(of).take(PARTITIONS).collect())
    }

    pub(super) fn at(&self, partition: PartitionId) -> &T {
        #[expect(clippy::indexing_slicing, reason = "there are as many as a byte has values")]
        &self.0[usize::from(partition.0)]
    }

    pub(super) fn at_mut(&mut self, partition: PartitionId) -> &mut T {
        #[expect(clippy::indexing_slicing, reason = "there are as many as a byte has values")]
        &mut self.0[usize::from(partition.0)]
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = (PartitionId, &T)> {
        PartitionId::all().zip(&self.0)
    }

    pub(super) fn iter_mut(&mut self) -> impl Iterator<Item = (PartitionId, &mut T)> {
        PartitionId::all().zip(&mut self.0)
    }
}
