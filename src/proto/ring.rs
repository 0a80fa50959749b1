//! Where a key lives. This file owns key → partition; the files below it own partition → nodes: which owners count, and
//! how they change without a read that misses what was acked (docs/adr/0016-ring-and-transitions.md).

use crate::base::checksum;
use crate::base::id::BucketId;
use crate::base::id::PartitionId;

pub mod claim;
pub mod layout;
pub mod numbers;
pub mod plan;
mod slots;
pub mod sources;
pub mod standing;
pub mod survives;
pub mod transition;

/// The partition of a key: the top byte of SHA-256 over the bucket's number and the key, so that the keys of one
/// bucket spread over all owners.
///
/// Source: consistent hashing with fixed equal slices, DeCandia 2007 §6.2 strategy 3.
#[must_use]
pub fn partition_of(bucket: BucketId, key: &[u8]) -> PartitionId {
    let [top, ..] = hash_of(bucket, key).to_be_bytes();
    PartitionId(top)
}

/// The first 64 bits of what a key's partition is taken from, for people who look where a key lies.
#[must_use]
pub fn hash_of(bucket: BucketId, key: &[u8]) -> u64 {
    let hash = u128::from_be_bytes(checksum::sha256_16(&[&bucket.0.to_be_bytes(), key]));
    u64::try_from(hash >> 64).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::partition_of;
    use crate::base::id::BucketId;
    use crate::base::id::PartitionId;

    #[test]
    fn the_partition_of_a_key_never_changes() {
        // Golden: data on disk is filed under it.
        assert_eq!(partition_of(BucketId(1), b"EDDF"), PartitionId(123));
        assert_eq!(partition_of(BucketId(2), b""), PartitionId(67));
    }

    #[test]
    fn keys_spread_evenly() {
        let mut counts = [0_u32; 256];
        for i in 0..25_600_u32 {
            counts[usize::from(partition_of(BucketId(1), &i.to_be_bytes()).0)] += 1;
        }
        // 100 expected in each; 5 standard deviations are 50.
        assert!(counts.iter().all(|count| (50..=150).contains(count)), "{counts:?}");
    }
}
