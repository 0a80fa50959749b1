//! Keys and bucket names as users type them, and the key under which the index files an object.
//!
//! ```text
//! index key = [partition: u8][bucket: u32 big-endian][key: 1 to 1024 bytes]
//! ```

use crate::base::id::BucketId;
use crate::base::id::PartitionId;
use crate::base::limits::BUCKET_NAME_BYTES_MAX;
use crate::base::limits::KEY_BYTES_MAX;
use crate::proto::ring;

/// A key: 1 to 1024 bytes of any value. Never a path, never interpreted.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Key(Vec<u8>);

/// Why bytes are not a key or a bucket's name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum KeyError {
    /// No bytes at all.
    #[error("the key is empty; a key has 1 to {KEY_BYTES_MAX} bytes")]
    Empty,
    /// More than 1024 bytes.
    #[error("the key has {len} bytes; a key has 1 to {KEY_BYTES_MAX}")]
    TooLong {
        /// Bytes given.
        len: usize,
    },
    /// Characters outside the set, or the wrong length.
    #[error(
        "a bucket's name has 1 to {BUCKET_NAME_BYTES_MAX} characters a-z 0-9 . _ - and begins with a letter or digit"
    )]
    BucketName,
}

impl Key {
    /// Checks the length.
    ///
    /// # Errors
    /// [`KeyError::Empty`], [`KeyError::TooLong`].
    pub fn new(bytes: Vec<u8>) -> Result<Self, KeyError> {
        match bytes.len() {
            0 => Err(KeyError::Empty),
            len if len > KEY_BYTES_MAX => Err(KeyError::TooLong { len }),
            _ => Ok(Self(bytes)),
        }
    }

    /// The bytes.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }

    /// The text, where the bytes are UTF-8.
    #[must_use]
    pub fn as_text(&self) -> Option<&str> {
        std::str::from_utf8(&self.0).ok()
    }
}

/// Checks a bucket's name: `[a-z0-9][a-z0-9._-]{0,62}`.
///
/// # Errors
/// [`KeyError::BucketName`].
pub fn check_bucket_name(name: &str) -> Result<(), KeyError> {
    let alnum = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit();
    let good = name.len() <= BUCKET_NAME_BYTES_MAX
        && name.starts_with(alnum)
        && name.chars().all(|c| alnum(c) || matches!(c, '.' | '_' | '-'));
    if good { Ok(()) } else { Err(KeyError::BucketName) }
}

/// The key under which the index files an object: its own partition first, so that a partition is one range.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct IndexKey(Vec<u8>);

/// Bytes before the user's key in an [`IndexKey`].
pub const INDEX_KEY_PREFIX_BYTES: usize = 5;

impl IndexKey {
    /// The place of a key.
    #[must_use]
    pub fn new(bucket: BucketId, key: &Key) -> Self {
        Self::in_partition(ring::partition_of(bucket, key.as_bytes()), bucket, key.as_bytes())
    }

    /// A place within one partition, for ranges; `key` may be empty.
    #[must_use]
    pub fn in_partition(partition: PartitionId, bucket: BucketId, key: &[u8]) -> Self {
        let mut bytes = Vec::with_capacity(INDEX_KEY_PREFIX_BYTES + key.len());
        bytes.push(partition.0);
        bytes.extend_from_slice(&bucket.0.to_be_bytes());
        bytes.extend_from_slice(key);
        Self(bytes)
    }

    /// Takes bytes read from disk.
    ///
    /// # Errors
    /// `None` where they are too short, too long or filed under a partition that is not theirs.
    #[must_use]
    pub fn parse(bytes: &[u8]) -> Option<Self> {
        let (prefix, key) = bytes.split_first_chunk::<INDEX_KEY_PREFIX_BYTES>()?;
        let [partition, b0, b1, b2, b3] = *prefix;
        let bucket = BucketId(u32::from_be_bytes([b0, b1, b2, b3]));
        let fits = !key.is_empty() && key.len() <= KEY_BYTES_MAX;
        (fits && ring::partition_of(bucket, key).0 == partition).then(|| Self(bytes.to_vec()))
    }

    /// Takes bytes of one of our own records, which are checked already: hashing them again would cost as much as
    /// everything else that is done with them.
    #[must_use]
    pub fn of_record(bytes: &[u8]) -> Self {
        Self(bytes.to_vec())
    }

    /// The bytes.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }

    /// The partition.
    #[must_use]
    pub fn partition(&self) -> PartitionId {
        PartitionId(self.0.first().copied().unwrap_or_default())
    }

    /// The bucket.
    #[must_use]
    pub fn bucket(&self) -> BucketId {
        let bytes = self.0.get(1..INDEX_KEY_PREFIX_BYTES).and_then(|bytes| bytes.try_into().ok()).unwrap_or_default();
        BucketId(u32::from_be_bytes(bytes))
    }

    /// The user's key.
    #[must_use]
    pub fn user_key(&self) -> &[u8] {
        self.0.get(INDEX_KEY_PREFIX_BYTES..).unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::IndexKey;
    use super::Key;
    use super::KeyError;
    use super::check_bucket_name;
    use crate::base::id::BucketId;

    #[test]
    fn a_key_is_any_bytes_within_its_length() {
        assert_eq!(Key::new(vec![]), Err(KeyError::Empty));
        assert_eq!(Key::new(vec![0; 1025]), Err(KeyError::TooLong { len: 1025 }));
        for good in [&b"\0"[..], b"\xff", b"../../etc/passwd", &[7; 1024]] {
            assert!(Key::new(good.to_vec()).is_ok());
        }
    }

    #[test]
    fn bucket_names_follow_their_pattern() {
        for good in ["a", "0", "a.b_c-d", &"x".repeat(63)] {
            assert_eq!(check_bucket_name(good), Ok(()), "{good}");
        }
        for bad in ["", "A", "-a", ".a", "a/b", "a b", "ä", &"x".repeat(64)] {
            assert_eq!(check_bucket_name(bad), Err(KeyError::BucketName), "{bad}");
        }
    }

    #[test]
    fn an_index_key_carries_its_parts_and_knows_its_partition() {
        let key = IndexKey::new(BucketId(258), &Key::new(b"EDDF".to_vec()).unwrap());
        assert_eq!((key.bucket(), key.user_key()), (BucketId(258), &b"EDDF"[..]));
        assert_eq!(IndexKey::parse(key.as_bytes()), Some(key.clone()));
        let mut moved = key.as_bytes().to_vec();
        moved[0] ^= 1;
        assert_eq!(IndexKey::parse(&moved), None, "filed under a partition that is not its own");
        assert_eq!(IndexKey::parse(&moved[..5]), None);
    }
}
