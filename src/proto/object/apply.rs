//! Read-modify-write of one object.

use serde::Deserialize;
use serde::Serialize;

use crate::base::checksum;
use crate::base::id::OpId;
use crate::base::limits::KEYED_OPS_MAX;
use crate::base::limits::RANDOM_OPS_MAX;
use crate::base::limits::SIBLINGS_MAX;
use crate::proto::bucket::Kind;
use crate::proto::causal::Context;
use crate::proto::causal::Dot;
use crate::proto::object::Action;
use crate::proto::object::Basis;
use crate::proto::object::Condition;
use crate::proto::object::Content;
use crate::proto::object::Memory;
use crate::proto::object::Mint;
use crate::proto::object::Object;
use crate::proto::object::SeenOp;
use crate::proto::object::Sibling;
use crate::proto::object::Stamp;
use crate::proto::object::Update;
use crate::proto::object::merge::copies;
use crate::proto::object::merge::keep_latest;

/// What became of an update. Only `Applied` changes anything.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// Store this object; the write is `dot`.
    Applied {
        /// The object with the write in it.
        object: Object,
        /// The context for a client that wants to replace what it just wrote.
        context: Context,
        /// The stamp given to it.
        stamp: Stamp,
    },
    /// The same operation was applied before: answer as then.
    Duplicate {
        /// The context answered then.
        context: Context,
        /// The stamp given then.
        stamp: Stamp,
    },
    /// Refused; nothing changes.
    Refused(Refusal),
}

/// Why an update is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
pub enum Refusal {
    /// `If-Match` or `If-None-Match` does not hold.
    #[error("the condition does not hold for what is stored now")]
    ConditionFailed,
    /// A condition in an `lww` bucket, where the answer could not be kept.
    #[error("an lww bucket cannot keep a condition: two writers could both be told yes and one would be lost")]
    ConditionOnLww,
    /// A deletion without a context in a siblings bucket.
    #[error("a deletion needs the context of the read that it is based on")]
    ContextNeeded,
    /// The operation id was used for another request.
    #[error("this idempotency key was used for another request")]
    OpReused,
    /// Too many remembered operations.
    #[error("this key has {KEYED_OPS_MAX} idempotency keys of the last ten minutes; wait, or write without one")]
    TooManyOps,
    /// Too many concurrent values.
    #[error("this key has {SIBLINGS_MAX} concurrent values; read them, merge them, and write with their context")]
    TooManySiblings,
}

/// Applies an update to what is stored. Pure: the same arguments give the same outcome.
#[must_use]
pub fn apply(old: Option<&Object>, update: &Update, mint: Mint) -> Outcome {
    let digest = digest(update);
    let empty = Object::default();
    let old = old.unwrap_or(&empty);
    if let Some(seen) = old.ops.iter().find(|seen| seen.id == update.op && mint.memory.holds(seen)) {
        return repeat(seen, digest);
    }
    if let Some(refusal) = refuse(old, update, mint) {
        return Outcome::Refused(refusal);
    }
    let dot = Dot { actor: mint.actor, counter: mint.counter };
    let highest = old.siblings.iter().map(|sibling| sibling.stamp).max();
    let stamp = Stamp::after(mint.now_ms, highest.or(mint.above));
    let read = match &update.basis {
        Basis::Read(read) => read.clone().unwrap_or_default(),
        Basis::Current => old.context.clone(),
    };
    let mut siblings = kept(old, update.kind, &read);
    if siblings.len() >= SIBLINGS_MAX {
        return Outcome::Refused(Refusal::TooManySiblings);
    }
    siblings.push(written(update, dot, stamp, mint.now_ms));
    siblings.sort_by_key(|sibling| sibling.dot);
    let mut context = old.context.clone();
    context.merge(&read);
    context.add_run(dot);
    let answer = answer_context(&siblings, &context, &read, dot);
    let ops = remembered(
        old,
        update,
        mint.memory,
        SeenOp {
            id: update.op,
            dot,
            stamp,
            digest,
            until_ms: update.op_until_ms,
            answer: update.keyed.then(|| answer.clone()),
        },
    );
    Outcome::Applied { object: Object { context, siblings, ops }, context: answer, stamp }
}

/// Mints an `lww` write again above a higher stamp that it met: the same operation under a new dot of the same actor, a
/// resend (HOUSE decision 9). `None` where this actor has not minted it, or somebody has written since.
#[must_use]
pub fn remint(old: &Object, op: OpId, above: Stamp, mint: Mint) -> Option<Outcome> {
    let seen = old.ops.iter().find(|seen| seen.id == op && seen.dot.actor == mint.actor)?;
    let sibling = old.siblings.iter().find(|sibling| sibling.dot == seen.dot)?;
    let dot = Dot { actor: mint.actor, counter: mint.counter };
    let stamp = Stamp::after(mint.now_ms, Some(above.max(sibling.stamp)));
    let mut context = old.context.clone();
    context.add_run(dot);
    let mut ops = old.ops.clone();
    for known in ops.iter_mut().filter(|known| known.id == op) {
        (known.dot, known.stamp) = (dot, stamp);
        known.answer = known.answer.is_some().then(|| context.clone());
    }
    let siblings = vec![Sibling { dot, stamp, ..sibling.clone() }];
    let answer = context.clone();
    Some(Outcome::Applied { object: Object { context, siblings, ops }, context: answer, stamp })
}

/// The answer to an operation seen before.
fn repeat(seen: &SeenOp, digest: u64) -> Outcome {
    if seen.digest != digest {
        return Outcome::Refused(Refusal::OpReused);
    }
    let alone = || {
        let mut context = Context::new();
        context.add(seen.dot);
        context
    };
    Outcome::Duplicate { context: seen.answer.clone().unwrap_or_else(alone), stamp: seen.stamp }
}

fn refuse(old: &Object, update: &Update, mint: Mint) -> Option<Refusal> {
    let now_ms = mint.now_ms;
    let lww = update.kind == Kind::Lww;
    let condition = match &update.condition {
        Condition::None => None,
        Condition::Absent | Condition::Matches(_) if lww => Some(Refusal::ConditionOnLww),
        Condition::Absent => old.live(now_ms).next().is_some().then_some(Refusal::ConditionFailed),
        Condition::Matches(etags) => {
            let named = |etag: &String| etag == "*" || *etag == old.etag(now_ms);
            let fits = old.live(now_ms).next().is_some() && etags.iter().any(named);
            (!fits).then_some(Refusal::ConditionFailed)
        }
    };
    let blind = matches!((&update.action, &update.basis), (Action::Delete, Basis::Read(None)));
    let keyed = old.ops.iter().filter(|seen| seen.answer.is_some() && mint.memory.is_fresh(seen)).count();
    condition
        .or_else(|| (blind && !lww).then_some(Refusal::ContextNeeded))
        .or_else(|| (update.keyed && keyed >= KEYED_OPS_MAX).then_some(Refusal::TooManyOps))
}

/// The old siblings that stay beside the new one: those the writer had not read, under any dot of theirs. None in an `lww` bucket, where the
/// new stamp is above every old one. Expired values stay as tombstones would: the context covers them anyway.
fn kept(old: &Object, kind: Kind, read: &Context) -> Vec<Sibling> {
    match kind {
        Kind::Lww => Vec::new(),
        Kind::Siblings => {
            let is_read = |sibling: &&Sibling| copies(&old.ops, sibling.dot).iter().any(|dot| read.covers(*dot));
            old.siblings.iter().filter(|sibling| !is_read(sibling)).cloned().collect()
        }
    }
}

fn written(update: &Update, dot: Dot, stamp: Stamp, now_ms: u64) -> Sibling {
    let (content, ttl_ms) = match &update.action {
        Action::Put { content_type, body, ttl_ms } => {
            (Content::Value { content_type: content_type.clone(), body: body.clone() }, *ttl_ms)
        }
        Action::Delete => (Content::Tombstone, None),
    };
    Sibling { dot, stamp, expires_ms: ttl_ms.map(|ttl| now_ms.saturating_add(ttl)), content }
}

/// What the writer has seen now: everything, where nothing unread stands beside its write; else what it had read, its
/// own write, and of the values still there those it had read.
fn answer_context(siblings: &[Sibling], all: &Context, read: &Context, dot: Dot) -> Context {
    let seen = |sibling: &&Sibling| sibling.dot == dot || read.covers(sibling.dot);
    if siblings.iter().all(|sibling| seen(&sibling)) {
        return all.clone();
    }
    read.narrowed(siblings.iter().filter(seen).map(|sibling| sibling.dot))
}

/// The operations that are still remembered, with the new one.
fn remembered(old: &Object, update: &Update, memory: Memory, new: SeenOp) -> Vec<SeenOp> {
    let fresh = |seen: &&SeenOp| memory.holds(seen);
    let kept = |seen: &&SeenOp| seen.id != update.op && old.ops.iter().filter(fresh).any(|other| other.id == seen.id);
    let mut ops: Vec<SeenOp> = old.ops.iter().filter(kept).cloned().collect();
    // Random ids are bounded too: under a storm of writes to one key the oldest give way. They only guard against
    // forwards of the last seconds, keyed ones are bounded by a refusal instead.
    keep_latest(&mut ops, RANDOM_OPS_MAX - 1);
    ops.push(new);
    ops
}

/// Tells a repeated request from another one under the same id.
fn digest(update: &Update) -> u64 {
    if !update.keyed {
        // A random id is never reused by anyone but us: no need to hash a megabyte.
        return 0;
    }
    match &update.action {
        Action::Put { content_type, body, ttl_ms } => {
            let ttl = ttl_ms.unwrap_or(0).to_le_bytes();
            let len = u64::try_from(content_type.len()).unwrap_or(u64::MAX).to_le_bytes();
            checksum::sha256_u64(&[b"put", &ttl, &len, content_type.as_bytes(), &body.0])
        }
        Action::Delete => checksum::sha256_u64(&[b"delete"]),
    }
}
