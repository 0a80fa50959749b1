//! Two replicas' views of one key become one: commutative, associative and idempotent, so that it does not matter who
//! tells whom in which order, and how often.
//!
//! A value stays that the other side has too, or has not heard of. One that the other side has heard of and does not have
//! was replaced there by somebody who had seen it. An operation that two owners applied, because a forward was tried
//! twice, is one operation under several dots: hearing of one of them is hearing of it, and of several live copies the
//! one with the lowest dot stays (HOUSE decision 10).

use crate::base::id::OpId;
use crate::base::limits::RANDOM_OPS_MAX;
use crate::proto::bucket::Kind;
use crate::proto::causal::Dot;
use crate::proto::mutant::Mutant;
use crate::proto::object::Object;
use crate::proto::object::SeenOp;
use crate::proto::object::Sibling;

/// Merges two views of a key in a bucket of this kind. More siblings than a write may leave can come of it; nothing is
/// dropped for that.
#[must_use]
pub fn merge(a: &Object, b: &Object, kind: Kind) -> Object {
    if a == b {
        return a.clone();
    }
    let mut context = a.context.clone();
    context.merge(&b.context);
    let ops = operations(a, b);
    let mut siblings = match kind {
        // Stamps never contradict contexts, and nothing else is as simple to agree on. So a copy that another owner applies
        // late counts as a write of then: whoever cannot have that declares a bucket of siblings.
        Kind::Lww => {
            let both = a.siblings.iter().chain(&b.siblings);
            both.max_by_key(|sibling| (sibling.stamp, sibling.dot)).cloned().into_iter().collect()
        }
        Kind::Siblings => concurrent(a, b, &ops),
    };
    if Mutant::MergeDropsASibling.is_on() {
        siblings.truncate(1);
    }
    Object { context, siblings, ops }
}

/// The values that neither side has seen replaced.
fn concurrent(a: &Object, b: &Object, ops: &[SeenOp]) -> Vec<Sibling> {
    let mut siblings: Vec<Sibling> = Vec::with_capacity(a.siblings.len() + b.siblings.len());
    for sibling in a.siblings.iter().chain(&b.siblings) {
        let dots = copies(ops, sibling.dot);
        let lower = siblings.iter_mut().find(|known| dots.contains(&known.dot));
        match lower {
            _ if is_replaced(a, &dots) || is_replaced(b, &dots) => {}
            Some(known) if known.dot > sibling.dot => *known = sibling.clone(),
            Some(_) => {}
            None => siblings.push(sibling.clone()),
        }
    }
    siblings.sort_by_key(|sibling| sibling.dot);
    siblings
}

/// Whether an operation with these dots took effect here and was replaced by somebody who had seen it.
fn is_replaced(side: &Object, dots: &[Dot]) -> bool {
    let heard = |dot: &&Dot| side.context.covers(**dot) && !side.has(**dot);
    let holds = dots.iter().any(|dot| side.has(*dot));
    let knows = |dot: &Dot| side.ops.iter().any(|op| op.dot == *dot);
    // A copy that is gone while another one stays was merged with it, and is remembered with it; or else it was replaced by
    // a client that had read it elsewhere, and then the operation is, whatever this side still holds of it.
    let elsewhere = |dot: &&Dot| heard(dot) && !knows(dot) && dots.iter().any(knows);
    if holds { dots.iter().any(|dot| elsewhere(&dot)) } else { dots.iter().any(|dot| heard(&dot)) }
}

/// All dots of the operation that this one is of; itself at least.
pub(super) fn copies(ops: &[SeenOp], dot: Dot) -> Vec<Dot> {
    let Some(op) = ops.iter().find(|op| op.dot == dot) else { return vec![dot] };
    ops.iter().filter(|other| other.id == op.id).map(|other| other.dot).collect()
}

/// The operations that either side remembers, each once for every actor that applied it: of one actor's two the resend.
fn operations(a: &Object, b: &Object) -> Vec<SeenOp> {
    let mut ops: Vec<SeenOp> = Vec::with_capacity(a.ops.len() + b.ops.len());
    for op in a.ops.iter().chain(&b.ops) {
        match ops.iter_mut().find(|known| known.id == op.id && known.dot.actor == op.dot.actor) {
            Some(known) if (known.stamp, known.dot) < (op.stamp, op.dot) => *known = op.clone(),
            Some(_) => {}
            None => ops.push(op.clone()),
        }
    }
    // By their stamps, for these never go back where something was seen; the clocks behind `until_ms` are of many lives.
    ops.sort_by_key(|op| (op.stamp, op.dot));
    keep_latest(&mut ops, RANDOM_OPS_MAX);
    ops
}

/// Forgets the oldest of the operations with random ids, beyond so many. All copies of one go together: what is left of
/// them would say that the others were never here.
pub(super) fn keep_latest(ops: &mut Vec<SeenOp>, max: usize) {
    let mut random: Vec<OpId> = Vec::new();
    for op in ops.iter().rev().filter(|op| op.answer.is_none()) {
        if !random.contains(&op.id) {
            random.push(op.id);
        }
    }
    let forgotten = random.get(max..).unwrap_or_default();
    ops.retain(|op| !forgotten.contains(&op.id));
}
