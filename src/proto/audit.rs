//! Who changed what: entries in the order of the changes, each chained to the one before by its hash, so that a changed
//! or missing entry is noticed by whoever kept any later hash. A pure part of the control state; words and time are
//! given.
//!
//! There are two chains of one form, each numbered, hashed and bounded by itself: all changes, and among them those of
//! who gets in. So a flood of changes that many may make pushes out none of those that few may make. What a chain does
//! not keep any more is exactly what comes up to its anchor: from there on nothing is missing.
//!
//! ```text
//! hash = SHA-256(hash before (32) ‖ seq (8) ‖ at_ms (8) ‖ via (1) ‖ outcome (1) ‖ by ‖ from ‖ what)
//! ```
//! Numbers are little-endian; each text goes behind its length in 8 bytes; no address is an empty text.

use core::net::IpAddr;
use std::sync::Arc;

use serde::Deserialize;
use serde::Serialize;

use crate::base::checksum;
use crate::base::codec;
use crate::base::limits::AUDIT_ENTRIES_MAX;
use crate::base::time;

#[cfg(test)]
mod tests;

/// How somebody came in. Stored: variants are appended, never reordered.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Via {
    /// Through the control socket, as the owner of the node.
    Local,
    /// As nobody in particular.
    Anonymous,
    /// With a bearer token.
    Token,
    /// Signed in with a browser.
    Session,
}

/// Who gives an order, and when.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct By {
    /// The name of a token or user.
    pub name: String,
    /// How they came in.
    pub via: Via,
    /// Where they asked from; none through the control socket.
    pub from: Option<IpAddr>,
    /// Wall milliseconds of the node that took the order.
    pub at_ms: u64,
}

/// What became of an order. Stored: variants are appended, never reordered.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    /// Something new is there.
    Made,
    /// Something is different now.
    Changed,
    /// Something is gone.
    Removed,
    /// Something happened that changed no control state.
    Noted,
}

/// One entry.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Entry {
    /// From 1, without gaps.
    pub seq: u64,
    /// Who, from where, when.
    pub by: By,
    /// In words; never a secret.
    pub what: String,
    /// What became of it.
    pub outcome: Outcome,
    /// Of this entry and all before it.
    pub hash: [u8; 32],
}

impl Entry {
    /// What its hash must be behind an entry with this one.
    #[must_use]
    pub fn expected_hash(&self, before: &[u8; 32]) -> [u8; 32] {
        let from = self.by.from.map(|from| from.to_string()).unwrap_or_default();
        let len = |text: &str| (text.len() as u64).to_le_bytes();
        let kinds = [self.by.via as u8, self.outcome as u8];
        checksum::sha256(&[
            before,
            &self.seq.to_le_bytes(),
            &self.by.at_ms.to_le_bytes(),
            &kinds,
            &len(&self.by.name),
            self.by.name.as_bytes(),
            &len(&from),
            from.as_bytes(),
            &len(&self.what),
            self.what.as_bytes(),
        ])
    }
}

/// Which entries.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Chain {
    /// All of them.
    All,
    /// Those of users, tokens, scopes and the claim.
    Access,
}

impl Chain {
    /// As in a query.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::All => "all",
            Self::Access => "access",
        }
    }

    /// The chain with this name.
    #[must_use]
    pub fn parse(name: &str) -> Option<Self> {
        [Self::All, Self::Access].into_iter().find(|chain| chain.name() == name)
    }
}

/// The last entry that is not kept any more, or the beginning.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Anchor {
    /// Its number; 0 before the first entry.
    pub seq: u64,
    /// Its hash.
    pub hash: [u8; 32],
}

/// Entries that are copied together when one is added to a log that others still read.
const CHUNK: u64 = 64;

/// The last entries. Cheap to clone: chunks are shared.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(from = "Stored", into = "Stored")]
pub struct Log {
    anchor: Anchor,
    chunks: Vec<Arc<Vec<Entry>>>,
}

#[derive(Serialize, Deserialize)]
struct Stored {
    anchor: Anchor,
    entries: Vec<Entry>,
}

impl From<Stored> for Log {
    fn from(stored: Stored) -> Self {
        let mut log = Self { anchor: stored.anchor, chunks: Vec::new() };
        stored.entries.into_iter().for_each(|entry| log.append(entry));
        log
    }
}

impl From<Log> for Stored {
    fn from(log: Log) -> Self {
        Self { anchor: log.anchor, entries: log.entries().cloned().collect() }
    }
}

impl Log {
    /// Where the chain of the kept entries begins.
    #[must_use]
    pub fn anchor(&self) -> Anchor {
        self.anchor
    }

    /// The kept entries in order.
    pub fn entries(&self) -> impl DoubleEndedIterator<Item = &Entry> {
        self.chunks.iter().flat_map(|chunk| chunk.iter())
    }

    /// The last entry, or where the chain begins.
    #[must_use]
    pub fn head(&self) -> Anchor {
        let last = self.chunks.last().and_then(|chunk| chunk.last());
        last.map_or(self.anchor, |entry| Anchor { seq: entry.seq, hash: entry.hash })
    }

    /// Adds an entry; the oldest ones go when there are more than [`AUDIT_ENTRIES_MAX`].
    pub fn push(&mut self, by: By, what: String, outcome: Outcome) {
        let before = self.head();
        let mut entry = Entry { seq: before.seq.saturating_add(1), by, what, outcome, hash: [0; 32] };
        entry.hash = entry.expected_hash(&before.hash);
        self.append(entry);
        let kept: usize = self.chunks.iter().map(|chunk| chunk.len()).sum();
        let oldest = self.chunks.first();
        if oldest.is_some_and(|oldest| kept - oldest.len() >= AUDIT_ENTRIES_MAX) {
            let dropped = self.chunks.remove(0);
            self.anchor = dropped.last().map_or(self.anchor, |entry| Anchor { seq: entry.seq, hash: entry.hash });
        }
    }

    fn append(&mut self, entry: Entry) {
        match self.chunks.last_mut() {
            // Chunks begin at the same numbers everywhere, so that equal logs are equal.
            Some(chunk) if !entry.seq.is_multiple_of(CHUNK) => Arc::make_mut(chunk).push(entry),
            Some(_) | None => self.chunks.push(Arc::new(vec![entry])),
        }
    }

    /// Entries behind this number, oldest first, with the hash before each.
    pub fn after(&self, seq: u64) -> impl Iterator<Item = (&[u8; 32], &Entry)> {
        let before = std::iter::once(&self.anchor.hash).chain(self.entries().map(|entry| &entry.hash));
        before.zip(self.entries()).skip_while(move |(_, entry)| entry.seq <= seq)
    }

    /// Walks the chain.
    ///
    /// # Errors
    /// The number of the first entry that does not fit.
    pub fn verify(&self) -> Result<(), u64> {
        let mut before = self.anchor;
        for entry in self.entries() {
            if entry.seq != before.seq.saturating_add(1) || entry.hash != entry.expected_hash(&before.hash) {
                return Err(entry.seq);
            }
            before = Anchor { seq: entry.seq, hash: entry.hash };
        }
        Ok(())
    }
}

/// An entry as documents carry it: with everything that its hash is made of.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Shown {
    /// From 1, without gaps.
    pub seq: u64,
    /// When, for people.
    pub at: String,
    /// When, in wall milliseconds.
    pub at_ms: u64,
    /// The name of a token or user.
    pub by: String,
    /// How they came in.
    pub via: Via,
    /// Where they asked from.
    pub from: Option<IpAddr>,
    /// In words.
    pub what: String,
    /// What became of it.
    pub outcome: Outcome,
    /// Hexadecimal: the hash of the entry before.
    pub prev: String,
    /// Hexadecimal.
    pub hash: String,
}

impl Shown {
    /// An entry behind one with this hash.
    #[must_use]
    pub fn new(before: &[u8; 32], entry: &Entry) -> Self {
        let Entry { seq, by, what, outcome, hash } = entry.clone();
        Self {
            seq,
            at: time::rfc3339(by.at_ms),
            at_ms: by.at_ms,
            by: by.name,
            via: by.via,
            from: by.from,
            what,
            outcome,
            prev: codec::hex(before),
            hash: codec::hex(&hash),
        }
    }

    /// Whether it is what its hash says, right behind an entry with this number and hash.
    #[must_use]
    pub fn follows(&self, seq: u64, hash: &str) -> bool {
        let Some(before) = codec::from_hex::<32>(&self.prev) else { return false };
        let by = By { name: self.by.clone(), via: self.via, from: self.from, at_ms: self.at_ms };
        let entry = Entry { seq: self.seq, by, what: self.what.clone(), outcome: self.outcome, hash: [0; 32] };
        let whole = self.at == time::rfc3339(self.at_ms) && self.hash == codec::hex(&entry.expected_hash(&before));
        whole && self.prev == hash && self.seq == seq.saturating_add(1)
    }
}
