//! The reference: what clients were told, and what that rules out. It knows nothing of owners, quorums or layouts; only
//! which operation became which dots, which of them a writer had seen, and the order of answers and questions.
//!
//! Held for every read and for the end of every run (HOUSE promises 1 and 2):
//! - a read that begins after an answer includes what was answered, a write as well as a read;
//! - what a read's context covers and its values leave out was replaced by somebody who had seen it;
//! - what was gone before a read began is not in it: deleted data does not come back, no operation takes effect twice;
//! - what was answered with `failed` is nowhere;
//! - a dot is one operation's for ever;
//! - in an `lww` bucket nothing that was acked before another write began wins over it.

use std::collections::BTreeMap;
use std::collections::BTreeSet;

use crate::base::codec::Blob;
use crate::base::id::OpId;
use crate::proto::bucket::Kind;
use crate::proto::causal::Context;
use crate::proto::causal::Dot;
use crate::proto::object::Content;
use crate::proto::object::Object;
use crate::proto::object::Sibling;
use crate::queue::Us;
use crate::words;

/// Which promise was broken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Promise {
    /// What was answered is in every later read.
    Durable,
    /// What nobody who had seen it replaced is among the values.
    Kept,
    /// What is gone stays gone.
    Gone,
    /// An operation takes effect once at most, and as what it was.
    Once,
    /// What was answered with `failed` is nowhere.
    Failed,
    /// A dot is one operation's.
    Dot,
    /// After the faults all is well within seconds.
    Well,
}

/// A promise that was broken, and how, in words.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Violation(pub Promise, pub String);

/// One write as its client sees it.
#[derive(Debug, Clone)]
struct Write {
    began: Us,
    /// What it says it has seen: this and what it covers is replaced.
    basis: Context,
    /// Everything there: of an `lww` bucket.
    acked: Option<Us>,
    failed: bool,
    /// It leaves nothing.
    delete: bool,
    /// The dots that it became: more than one where two owners took it.
    dots: Vec<Dot>,
    /// When it became the last of them.
    minted: Us,
    /// Since when it must not be seen any more.
    gone: Option<Us>,
    /// Whether somebody who had seen it has written since.
    may_go: bool,
}

/// One key.
#[derive(Debug)]
struct Key {
    kind: Kind,
    writes: BTreeMap<OpId, Write>,
    by_dot: BTreeMap<Dot, OpId>,
    /// What every read from now on has to include.
    floor: Context,
    /// What lay in graves that went: nobody tells of it any more.
    purged: Context,
    /// Of each of these a read has to include one: acked operations that became several dots, of which one may be kept.
    one_of: Vec<Vec<Dot>>,
    /// Acked values in an `lww` bucket, and when.
    values: Vec<(Us, OpId)>,
    /// Writes that nobody who had seen them has replaced, so that they must be among a read's values.
    stay: BTreeSet<OpId>,
}

/// A read that was begun.
#[derive(Debug, Clone)]
pub struct Began {
    at: Us,
    floor: Context,
    /// How many of the key's `one_of` were there.
    one_of: usize,
}

/// All keys.
#[derive(Debug)]
pub struct Reference {
    keys: Vec<Key>,
    /// How long owners remember operations: as long their copies are one write, and what replaces one replaces all.
    memory: Us,
    /// Answers checked so far.
    pub checked: u64,
}

impl Reference {
    /// Nothing was written.
    pub fn new(kinds: &[Kind], memory: Us) -> Self {
        let key = |kind: &Kind| Key {
            kind: *kind,
            writes: BTreeMap::new(),
            by_dot: BTreeMap::new(),
            floor: Context::new(),
            purged: Context::new(),
            one_of: Vec::new(),
            values: Vec::new(),
            stay: BTreeSet::new(),
        };
        Self { keys: kinds.iter().map(key).collect(), memory, checked: 0 }
    }

    /// A client sends a write, or sends it again.
    pub fn write_begins(&mut self, at: Us, place: usize, op: OpId, basis: &Context, delete: bool) {
        let key = &mut self.keys[place];
        if key.writes.contains_key(&op) {
            return;
        }
        let write = Write {
            began: at,
            basis: basis.clone(),
            acked: None,
            failed: false,
            delete,
            dots: Vec::new(),
            minted: at,
            gone: None,
            may_go: false,
        };
        for other in key.writes.values_mut().filter(|other| other.dots.iter().any(|dot| basis.covers(*dot))) {
            other.may_go = true;
        }
        let writes = &key.writes;
        key.stay.retain(|op| !writes[op].may_go);
        key.writes.insert(op, write);
    }

    /// An owner mints a dot for an operation.
    pub fn minted(&mut self, at: Us, place: usize, op: OpId, dot: Dot) -> Result<(), Violation> {
        let key = &mut self.keys[place];
        if let Some(other) = key.by_dot.insert(dot, op)
            && other != op
        {
            return Err(Violation(Promise::Dot, format!("{dot:?} was minted for {other:?} and again for {op:?}")));
        }
        let Some(write) = key.writes.get_mut(&op) else { return Ok(()) };
        if write.failed {
            return Err(Violation(Promise::Failed, format!("{op:?} was answered `failed`, and {dot:?} minted for it")));
        }
        if !write.dots.contains(&dot) {
            write.dots.push(dot);
            write.minted = at;
        }
        let seen = key.writes.values().any(|other| other.basis.covers(dot));
        if seen {
            return Err(Violation(Promise::Dot, format!("{dot:?} of {op:?} was seen before it was minted")));
        }
        if key.kind == Kind::Siblings && !key.writes[&op].may_go {
            key.stay.insert(op);
        }
        Ok(())
    }

    /// A client is told `ok`: from now on the write is in every read, and what it replaced is in none.
    pub fn write_acked(&mut self, at: Us, place: usize, op: OpId) -> Result<(), Violation> {
        self.checked += 1;
        let key = &mut self.keys[place];
        let Some(write) = key.writes.get_mut(&op) else { return Ok(()) };
        if write.failed {
            return Err(Violation(Promise::Failed, format!("{op:?} was answered `failed` and then `ok`")));
        }
        if write.dots.is_empty() {
            return Err(Violation(Promise::Dot, format!("{op:?} was acked, but no owner minted it")));
        }
        write.acked.get_or_insert(at);
        let (began, basis) = (write.began, write.basis.clone());
        match write.dots.as_slice() {
            [dot] => key.floor.add(*dot),
            several => key.one_of.push(several.to_vec()),
        }
        if key.kind == Kind::Lww && !write.delete {
            key.values.push((at, op));
        }
        let (lww, memory) = (key.kind == Kind::Lww, self.memory);
        for (other, write) in &mut key.writes {
            // Copies of a write that nobody remembers as one are several.
            let forgotten = write.minted.saturating_add(memory) < at;
            let mut seen = write.dots.iter().map(|dot| basis.covers(*dot));
            let replaced =
                if forgotten { !write.dots.is_empty() && seen.all(|seen| seen) } else { seen.any(|seen| seen) };
            let earlier = lww && write.acked.is_some_and(|acked| acked < began);
            if *other != op && (replaced || earlier) {
                write.gone.get_or_insert(at);
            }
        }
        Ok(())
    }

    /// A client is told `failed`.
    pub fn write_failed(&mut self, place: usize, op: OpId) -> Result<(), Violation> {
        self.checked += 1;
        let key = &mut self.keys[place];
        let Some(write) = key.writes.get_mut(&op) else { return Ok(()) };
        if !write.dots.is_empty() {
            return Err(Violation(
                Promise::Failed,
                format!("{op:?} was answered `failed`, but an owner took it as {:?}", write.dots),
            ));
        }
        write.failed = true;
        Ok(())
    }

    /// A grave goes: nothing may live in it.
    pub fn purged(&mut self, place: usize, grave: &Object) -> Result<(), Violation> {
        let is_dead = |sibling: &Sibling| matches!(sibling.content, Content::Tombstone);
        if !grave.siblings.iter().all(is_dead) {
            let text = format!("what went as a grave is none: {}", words::object(Some(grave)));
            return Err(Violation(Promise::Kept, text));
        }
        let key = &mut self.keys[place];
        let covers =
            |op: &&OpId| !key.writes[*op].delete && key.writes[*op].dots.iter().any(|dot| grave.context.covers(*dot));
        if let Some(op) = key.stay.iter().find(covers) {
            return Err(Violation(Promise::Kept, format!("{op:?} was not replaced, and its grave went")));
        }
        key.purged.merge(&grave.context);
        Ok(())
    }

    /// A client sends a read.
    pub fn read_begins(&self, at: Us, place: usize) -> Began {
        let key = &self.keys[place];
        Began { at, floor: key.floor.clone(), one_of: key.one_of.len() }
    }

    /// A client gets what it read.
    pub fn read_ends(&mut self, at: Us, place: usize, began: &Began, found: Option<&Object>) -> Result<(), Violation> {
        self.checked += 1;
        let key = &mut self.keys[place];
        let empty = Object::default();
        let found = found.unwrap_or(&empty);
        let knows = |dot: &Dot| found.context.covers(*dot) || key.purged.covers(*dot);
        let lacks = |dot: &&Dot| began.floor.covers(**dot) && !knows(dot);
        let missing: Vec<_> = key.by_dot.keys().filter(lacks).copied().collect();
        if !missing.is_empty() {
            let (missing, found) = (words::dots(&missing), words::object(Some(found)));
            return Err(Violation(
                Promise::Durable,
                format!("a read lacks what was answered before it began: {missing}; it found {found}"),
            ));
        }
        let lacks_all = |dots: &&Vec<Dot>| !dots.iter().any(knows);
        if let Some(dots) = key.one_of.iter().take(began.one_of).find(lacks_all) {
            let (dots, found) = (words::dots(dots), words::object(Some(found)));
            return Err(Violation(
                Promise::Durable,
                format!("a read lacks what was answered before it began, one of {dots}; it found {found}"),
            ));
        }
        key.has_a_value(began, found)?;
        let mut seen = BTreeSet::new();
        for sibling in &found.siblings {
            let Some(op) = key.by_dot.get(&sibling.dot) else {
                return Err(Violation(
                    Promise::Once,
                    format!("a read found {}, which nobody wrote", words::dot(sibling.dot)),
                ));
            };
            if let Content::Value { body, .. } = &sibling.content
                && body_of(*op) != *body
            {
                return Err(Violation(Promise::Once, format!("a read found another value than {op:?} wrote")));
            }
            let write = &key.writes[op];
            if write.delete != matches!(sibling.content, Content::Tombstone) {
                return Err(Violation(
                    Promise::Once,
                    format!("{op:?} deletes: {}; a read found the opposite", write.delete),
                ));
            }
            if write.failed {
                return Err(Violation(Promise::Failed, format!("a read found {op:?}, which was answered `failed`")));
            }
            // In an lww bucket a copy that comes late is a write of then.
            let came_again = key.kind == Kind::Lww && write.dots.len() > 1;
            if let Some(gone) = write.gone.filter(|gone| *gone < began.at && !came_again) {
                return Err(Violation(
                    Promise::Gone,
                    format!("a read begun at {} found {op:?}, gone since {gone}", began.at),
                ));
            }
            if !seen.insert(*op) {
                return Err(Violation(Promise::Once, format!("{op:?} took effect twice")));
            }
        }
        for op in &key.stay {
            let write = &key.writes[op];
            // A deletion whose grave went leaves nothing to be seen.
            let covered = write.dots.iter().filter(|dot| found.context.covers(**dot));
            let went = write.delete && covered.into_iter().all(|dot| key.purged.covers(*dot));
            if !seen.contains(op) && !went && write.dots.iter().any(|dot| found.context.covers(*dot)) {
                let (dots, found) = (words::dots(&write.dots), words::object(Some(found)));
                return Err(Violation(
                    Promise::Kept,
                    format!("a read dropped {op:?} {dots} silently; it found {found}"),
                ));
            }
        }
        for (op, write) in &mut key.writes {
            if !seen.contains(op) && write.dots.iter().any(|dot| found.context.covers(*dot)) {
                write.gone.get_or_insert(at);
            }
        }
        key.floor.merge(&found.context);
        Ok(())
    }
}

impl Key {
    /// In an `lww` bucket something wins: after an acked value a read finds a value of then or later, or a deletion that
    /// was not acked before the value's write began.
    fn has_a_value(&self, began: &Began, found: &Object) -> Result<(), Violation> {
        let acked = self.values.iter().rev().find(|(acked, _)| *acked < began.at);
        let Some((acked, op)) = acked.filter(|_| found.siblings.is_empty()) else { return Ok(()) };
        let since = self.writes[op].began;
        let deletes = |write: &Write| {
            write.delete && !write.dots.is_empty() && (write.dots.len() > 1 || write.acked.is_none_or(|at| at >= since))
        };
        if self.writes.values().any(deletes) {
            return Ok(());
        }
        let text = format!("a read begun at {} found nothing, but {op:?} was acked at {acked}", began.at);
        Err(Violation(Promise::Kept, text))
    }
}

/// What an operation writes: itself, so that a value tells where it comes from.
pub fn body_of(op: OpId) -> Blob {
    Blob(op.0.to_le_bytes().to_vec().into())
}
