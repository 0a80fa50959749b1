//! Buckets as the faces see them.

use crate::base::time;
use crate::node::Node;
use crate::node::access::Caller;
use crate::node::error::DoorError;
use crate::proto::bucket::Class;
use crate::proto::bucket::Definition;
use crate::proto::bucket::Kind;
use crate::proto::control::Applied;
use crate::proto::control::Bucket;
use crate::proto::control::Command;

/// A wish for a bucket: what is not named stays as it is, or is the default.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct BucketWish {
    /// How concurrent writes are settled.
    pub kind: Option<Kind>,
    /// Replicas.
    pub n: Option<u8>,
    /// For a read.
    pub r: Option<u8>,
    /// For a write.
    pub w: Option<u8>,
    /// Time to live in milliseconds, or none.
    pub ttl_ms: Option<Option<u64>>,
    /// How much it matters.
    pub class: Option<Class>,
}

impl Node {
    /// All buckets by name.
    #[must_use]
    pub fn buckets(&self) -> Vec<(String, Bucket)> {
        self.state().buckets.iter().map(|(name, bucket)| (name.clone(), bucket.clone())).collect()
    }

    /// One bucket, as this node's copy has it.
    ///
    /// # Errors
    /// [`DoorError::NoSuchBucket`].
    pub fn bucket_here(&self, name: &str) -> Result<Bucket, DoorError> {
        self.view().named(name).cloned()
    }

    /// The same; one that is not known here may have been made elsewhere a moment ago, and is waited for.
    ///
    /// # Errors
    /// [`DoorError::NoSuchBucket`].
    pub async fn bucket_view(&self, name: &str) -> Result<Bucket, DoorError> {
        Ok(self.view_with(name).await?.named(name)?.clone())
    }

    /// Makes or changes a bucket. Returns whether it is new.
    ///
    /// # Errors
    /// [`DoorError`].
    pub async fn put_bucket(&self, caller: &Caller, name: &str, wish: BucketWish) -> Result<bool, DoorError> {
        // What the wish leaves as it is, is as the newest definition has it, not as an older copy of it. Without who leads
        // nothing is changed anyway.
        self.0.consensus.catch_up().await?;
        let known = self.state().buckets.get(name).map(|bucket| bucket.definition.clone());
        let definition = known.unwrap_or_default().with(&wish);
        let command = Command::PutBucket { name: name.to_owned(), definition };
        let applied = self.order(caller, command).await?;
        if applied == Applied::Made {
            tracing::info!(bucket = name, "bucket made");
        }
        Ok(applied == Applied::Made)
    }

    /// Removes a bucket and all its data.
    ///
    /// # Errors
    /// [`DoorError::NoSuchBucket`] and others.
    pub async fn remove_bucket(&self, caller: &Caller, name: &str) -> Result<(), DoorError> {
        let id = self.view_with(name).await?.named(name)?.id;
        self.order(caller, Command::RemoveBucket { name: name.to_owned() }).await?;
        self.0.store.progress().purge(id);
        tracing::info!(bucket = name, at = time::rfc3339(time::wall_ms()), "bucket removed");
        Ok(())
    }
}

impl Definition {
    /// This definition with a wish fulfilled. A smaller `n` takes `r` and `w` down to a majority with it where the wish
    /// does not name them.
    fn with(mut self, wish: &BucketWish) -> Self {
        if let Some(n) = wish.n {
            let majority = n / 2 + 1;
            self = Self { n, r: majority, w: majority, ..self };
        }
        Self {
            kind: wish.kind.unwrap_or(self.kind),
            r: wish.r.unwrap_or(self.r),
            w: wish.w.unwrap_or(self.w),
            ttl_ms: wish.ttl_ms.unwrap_or(self.ttl_ms),
            class: wish.class.unwrap_or(self.class),
            n: self.n,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::BucketWish;
    use crate::proto::bucket::Definition;

    #[test]
    fn a_wish_for_fewer_replicas_brings_their_majority() {
        let one = Definition::default().with(&BucketWish { n: Some(1), ..BucketWish::default() });
        assert_eq!((one.n, one.r, one.w), (1, 1, 1));
        let five = Definition::default().with(&BucketWish { n: Some(5), w: Some(4), ..BucketWish::default() });
        assert_eq!((five.n, five.r, five.w), (5, 3, 4));
        assert!(one.check().is_ok() && five.check().is_ok());
    }
}
