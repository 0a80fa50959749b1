//! Reading many keys of a partition in their order, from what the index had when the scan began.

use std::ops::Bound;
use std::ops::ControlFlow;
use std::ops::Range;

use crate::base::id::BucketId;
use crate::base::id::PartitionId;
use crate::base::limits::KEY_BYTES_MAX;
use crate::proto::key::IndexKey;
use crate::proto::object::Object;
use crate::store::disk::Disk;
use crate::store::index::Index;
use crate::store::index::IndexError;
use crate::store::index::Visit;
use crate::store::partition::Store;
use crate::store::partition::StoreError;

impl<D: Disk, I: Index> Store<D, I> {
    /// Visits the objects of one partition's bucket in key order, from a key on, all that were durable and in the
    /// index when the scan began.
    ///
    /// # Errors
    /// [`StoreError`]: the visit is not complete.
    pub fn scan(
        &self,
        partition: PartitionId,
        bucket: BucketId,
        from: Bound<&[u8]>,
        visit: &mut dyn FnMut(&IndexKey, Object) -> ControlFlow<()>,
    ) -> Result<(), StoreError> {
        let place = |key| IndexKey::in_partition(partition, bucket, key).as_bytes().to_vec();
        let from = match from {
            Bound::Unbounded => place(&[]),
            Bound::Included(key) => place(key),
            Bound::Excluded(key) => place(&[key, &[0]].concat()),
        };
        let to = end_of_bucket(partition, bucket);
        self.refuse_lost(partition, &from, &to)?;
        let scanned = whole(visit, |visit| self.shared.index.scan(&from, &to, visit));
        scanned.inspect_err(|error| self.shared.damage.note(partition, error))
    }

    /// Visits the objects of one partition's bucket against the order of their keys: those before one key, down to
    /// another, which is visited too. All that were durable and in the index when the scan began.
    ///
    /// # Errors
    /// [`StoreError`]: the visit is not complete.
    pub fn scan_back(
        &self,
        partition: PartitionId,
        bucket: BucketId,
        keys: Range<&[u8]>,
        visit: &mut dyn FnMut(&IndexKey, Object) -> ControlFlow<()>,
    ) -> Result<(), StoreError> {
        let place = |key| IndexKey::in_partition(partition, bucket, key).as_bytes().to_vec();
        let (from, to) = (place(keys.start), place(keys.end));
        if from >= to {
            return Ok(());
        }
        self.refuse_lost(partition, &from, &to)?;
        let scanned = whole(visit, |visit| self.shared.index.scan_back(&from, &to, visit));
        scanned.inspect_err(|error| self.shared.damage.note(partition, error))
    }

    /// Visits the objects of one partition, of whatever bucket, in order, behind one place: all that were durable and in
    /// the index when the scan began.
    ///
    /// # Errors
    /// [`StoreError`]: the visit is not complete.
    pub fn scan_partition(
        &self,
        partition: PartitionId,
        after: Option<&IndexKey>,
        visit: &mut dyn FnMut(&IndexKey, Object) -> ControlFlow<()>,
    ) -> Result<(), StoreError> {
        let from = after.map_or_else(|| vec![partition.0], |after| [after.as_bytes(), &[0]].concat());
        let to = end_of_partition(partition);
        self.refuse_lost(partition, &from, &to)?;
        let scanned = whole(visit, |visit| self.shared.index.scan(&from, &to, visit));
        scanned.inspect_err(|error| self.shared.damage.note(partition, error))
    }

    fn refuse_lost(&self, partition: PartitionId, from: &[u8], to: &[u8]) -> Result<(), StoreError> {
        if self.shared.unreadable.overlaps(from, to) {
            return Err(StoreError::Corrupt { detail: format!("a part of partition {partition} is lost") });
        }
        Ok(())
    }

    /// Visits everything the index holds of one partition, as it is stored, for whoever checks it.
    ///
    /// # Errors
    /// [`StoreError`]: the visit is not complete.
    pub fn scan_raw(&self, partition: PartitionId, visit: &mut Visit<'_>) -> Result<(), StoreError> {
        Ok(self.shared.index.scan(&[partition.0], &end_of_partition(partition), visit)?)
    }
}

/// Runs a scan of the index and checks what it meets; the first object that does not fit ends it.
fn whole(
    visit: &mut dyn FnMut(&IndexKey, Object) -> ControlFlow<()>,
    scan: impl FnOnce(&mut Visit<'_>) -> Result<(), IndexError>,
) -> Result<(), StoreError> {
    let mut bad = None;
    scan(&mut |place, bytes| {
        let read = IndexKey::parse(place)
            .ok_or_else(|| format!("a key is filed under a partition that is not its own: {place:02x?}"))
            .and_then(|place| match Object::decode(&place, bytes) {
                Ok(object) => Ok((place, object)),
                Err(error) => Err(format!("key {}: {error}", place.user_key().escape_ascii())),
            });
        match read {
            Ok((place, object)) => visit(&place, object),
            Err(detail) => {
                bad = Some(StoreError::Corrupt { detail });
                ControlFlow::Break(())
            }
        }
    })?;
    bad.map_or(Ok(()), Err)
}

/// The first place behind a partition.
fn end_of_partition(partition: PartitionId) -> Vec<u8> {
    partition.0.checked_add(1).map_or_else(|| vec![u8::MAX; KEY_BYTES_MAX * 2], |next| vec![next])
}

/// The first place behind a partition's bucket.
pub(super) fn end_of_bucket(partition: PartitionId, bucket: BucketId) -> Vec<u8> {
    match bucket.0.checked_add(1) {
        Some(next) => IndexKey::in_partition(partition, BucketId(next), &[]).as_bytes().to_vec(),
        None => vec![partition.0.saturating_add(1)],
    }
}
