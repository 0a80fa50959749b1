//! An object: what one key holds, read-modify-write of it as a pure function ([`apply`]), and the merge of two replicas'
//! views ([`merge`]). Who calls them in which order is the business of `node::vnode`, what is on disk that of `store`.
//!
//! Invariants: every sibling's dot is covered by the object's context; no two siblings share a dot; an `lww` object has
//! one sibling at most.
//!
//! Source: Almeida et al. 2014 (dotted version vector sets); HOUSE decisions 7, 9, 10.

use serde::Deserialize;
use serde::Serialize;

use crate::base::checksum;
use crate::base::codec;
use crate::base::codec::Blob;
use crate::base::codec::DecodeError;
use crate::base::id::OpId;
use crate::base::limits::CONTENT_TYPE_BYTES_MAX;
use crate::base::limits::KEYED_OP_TTL;
use crate::base::time;
use crate::proto::bucket::Kind;
use crate::proto::causal::Actor;
use crate::proto::causal::Context;
use crate::proto::causal::Dot;
use crate::proto::key::IndexKey;

pub mod apply;
pub mod merge;
#[cfg(test)]
mod tests;

/// The stored format of an object.
const VERSION: u8 = 1;

/// Hybrid logical stamp: wall milliseconds in the upper 48 bits, a count in the lower 16. Orders only `lww` values.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Stamp(pub u64);

impl Stamp {
    /// A stamp above both the wall clock and one already seen, so that it never contradicts causality.
    #[must_use]
    pub fn after(wall_ms: u64, seen: Option<Self>) -> Self {
        let wall = Self(wall_ms << 16);
        seen.map_or(wall, |seen| wall.max(Self(seen.0.saturating_add(1))))
    }
}

/// Why a content type is not one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a content type has {CONTENT_TYPE_BYTES_MAX} bytes at most, all of them printable ASCII")]
pub struct BadContentType;

/// Checks a content type before it is stored: it goes out again as a header, whichever way it came in.
///
/// # Errors
/// [`BadContentType`].
pub fn check_content_type(content_type: &str) -> Result<(), BadContentType> {
    let printable = content_type.bytes().all(|byte| matches!(byte, b'\t' | b' '..=b'~'));
    if printable && content_type.len() <= CONTENT_TYPE_BYTES_MAX { Ok(()) } else { Err(BadContentType) }
}

/// A value with its type, or the grave of one.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Content {
    /// Bytes as the client sent them.
    Value {
        /// `Content-Type` as sent; empty for none.
        content_type: String,
        /// The bytes.
        body: Blob,
    },
    /// Deleted. Kept so that a replica that missed the deletion cannot bring the value back.
    Tombstone,
}

/// One of the values that are concurrent for a key.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Sibling {
    /// The write that made it.
    pub dot: Dot,
    /// Its place in time, by the hybrid clock.
    pub stamp: Stamp,
    /// Wall milliseconds after which it counts as deleted.
    pub expires_ms: Option<u64>,
    /// What was written.
    pub content: Content,
}

/// A client's operation that this object has seen (HOUSE decision 10).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SeenOp {
    /// The operation.
    pub id: OpId,
    /// The write it became: the actor tells a resend from a duplicate.
    pub dot: Dot,
    /// The stamp it was given.
    pub stamp: Stamp,
    /// A digest of what it asked for: the same id with another request is a client's mistake.
    pub digest: u64,
    /// Until when it is remembered, by the steady clock of the node that holds this: see [`Object::rebase`].
    pub until_ms: u64,
    /// Whether the client named it (`Idempotency-Key`); the answer it got is then kept with it.
    pub answer: Option<Context>,
}

/// What one key holds.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Object {
    /// Every write that is in, or was replaced by, what is here.
    pub context: Context,
    /// The concurrent values, in the order of their dots.
    pub siblings: Vec<Sibling>,
    /// The operations seen lately.
    pub ops: Vec<SeenOp>,
}

impl Sibling {
    /// The value, unless deleted or expired at `now_ms`.
    #[must_use]
    pub fn live(&self, now_ms: u64) -> Option<(&str, &Blob)> {
        match &self.content {
            Content::Value { content_type, body } if self.expires_ms.is_none_or(|at| now_ms < at) => {
                Some((content_type, body))
            }
            Content::Value { .. } | Content::Tombstone => None,
        }
    }

    /// When it was written, in wall milliseconds of the writing node.
    #[must_use]
    pub fn at_ms(&self) -> u64 {
        self.stamp.0 >> 16
    }
}

impl Object {
    /// Siblings whose value can be read at `now_ms`. None = the key is not there.
    pub fn live(&self, now_ms: u64) -> impl Iterator<Item = &Sibling> {
        self.siblings.iter().filter(move |sibling| sibling.live(now_ms).is_some())
    }

    /// Names exactly the values that can be read at `now_ms`: a write changes it, and so does a value's end.
    #[must_use]
    pub fn etag(&self, now_ms: u64) -> String {
        let mut bytes = Vec::with_capacity(self.siblings.len() * 24);
        for Sibling { dot, .. } in self.live(now_ms) {
            bytes.extend_from_slice(&dot.actor.node.0.to_le_bytes());
            bytes.extend_from_slice(&dot.actor.incarnation.0.to_le_bytes());
            bytes.extend_from_slice(&dot.counter.to_le_bytes());
        }
        format!("\"{}\"", codec::hex(&checksum::sha256_16(&[&bytes])))
    }

    /// Carries what is remembered for a while from the steady clock of the node that sent this to the own one.
    pub fn rebase(&mut self, theirs_ms: u64, mine_ms: u64) {
        for op in &mut self.ops {
            op.until_ms = op.until_ms.saturating_sub(theirs_ms).saturating_add(mine_ms);
        }
    }

    /// Whether a value of this write is here.
    fn has(&self, dot: Dot) -> bool {
        self.siblings.iter().any(|sibling| sibling.dot == dot)
    }

    /// The highest stamp with its write: what stands in an `lww` bucket.
    #[must_use]
    pub fn top(&self) -> Option<(Stamp, Dot)> {
        self.siblings.iter().map(|sibling| (sibling.stamp, sibling.dot)).max()
    }

    /// Tells two views of a key apart: the same for the same context and values, whatever operations are remembered.
    #[must_use]
    pub fn fingerprint(&self) -> u64 {
        let values: Vec<_> = self.siblings.iter().map(|one| (one.dot, one.stamp, one.expires_ms)).collect();
        let bytes = postcard::to_stdvec(&(&self.context, values)).unwrap_or_default();
        xxhash_rust::xxh3::xxh3_64(&bytes)
    }

    /// Bytes on disk, sealed for its place.
    #[must_use]
    pub fn encode(&self, place: &IndexKey) -> Vec<u8> {
        codec::seal(VERSION, place.as_bytes(), self)
    }

    /// Reverses [`Object::encode`].
    ///
    /// # Errors
    /// The bytes are not what was written for this place: the key is corrupt.
    pub fn decode(place: &IndexKey, bytes: &[u8]) -> Result<Self, DecodeError> {
        codec::unseal(VERSION, place.as_bytes(), bytes)
    }
}

/// What a client asks for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Action {
    /// Store this.
    Put {
        /// `Content-Type` as sent; empty for none.
        content_type: String,
        /// The bytes.
        body: Blob,
        /// Milliseconds it lives from now on.
        ttl_ms: Option<u64>,
    },
    /// Remove what the context covers (all of it in an `lww` bucket).
    Delete,
}

/// A condition on what is there before.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Condition {
    /// Go ahead.
    None,
    /// `If-None-Match: *`: only where no value is.
    Absent,
    /// `If-Match`: only where one of these etags fits; `*` fits any value.
    Matches(Vec<String>),
}

/// Where the context of a write comes from.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Basis {
    /// A client's earlier read; `None` = it read nothing, so what is there stays beside the new value.
    Read(Option<Context>),
    /// Whatever is there now is replaced: an import, whose file is the truth.
    Current,
}

/// One operation on one key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Update {
    /// How the bucket settles concurrent writes.
    pub kind: Kind,
    /// What is asked for.
    pub action: Action,
    /// Which earlier values it replaces.
    pub basis: Basis,
    /// A condition on what is there.
    pub condition: Condition,
    /// The operation's id.
    pub op: OpId,
    /// Whether the client named it.
    pub keyed: bool,
    /// Until when the id is remembered, by the node's steady clock.
    pub op_until_ms: u64,
}

/// The write about to be minted: who, which number, when.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Mint {
    /// The node's present life.
    pub actor: Actor,
    /// The next number of this actor in this partition.
    pub counter: u64,
    /// The wall clock.
    pub now_ms: u64,
    /// No lower one is given where nothing is: the highest stamp of what was purged here (`proto::purge`), which may come back
    /// for a moment and must not win over a later write.
    pub above: Option<Stamp>,
    /// Which operations are remembered.
    pub memory: Memory,
}

/// Which operations are remembered, by a clock of the node that never jumps while it lives: a wall clock that does would
/// have a retry applied twice.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Memory {
    /// The present by that clock, in milliseconds.
    pub now_ms: u64,
    /// The node has just begun a life, and the clock of the last one may have been another: what is there is taken for
    /// remembered, so that no retry is applied again. It counts towards no limit.
    pub just_begun: bool,
}

impl Memory {
    /// Whether an operation is within its time. One that says it is for longer than any may be was noted by a clock that
    /// was far ahead.
    #[must_use]
    pub fn is_fresh(self, seen: &SeenOp) -> bool {
        let most = self.now_ms.saturating_add(time::millis(KEYED_OP_TTL));
        self.now_ms < seen.until_ms && seen.until_ms <= most
    }

    /// Whether an operation must not be applied again.
    #[must_use]
    pub fn holds(self, seen: &SeenOp) -> bool {
        self.just_begun || self.is_fresh(seen)
    }
}
