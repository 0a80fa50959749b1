//! Devices: each does one thing at a time, remembers what it read, and asks another node where one does not answer.

use std::ops::Range;

use crate::base::id::OpId;
use crate::check::Began;
use crate::proto::causal::Context;
use crate::queue::Us;
use crate::rng::Rng;

/// How long a device waits for an answer.
pub const PATIENCE: Us = 3_000_000;
/// How often a device sends one operation.
pub const TRIES: u32 = 3;

/// What a device wants.
#[derive(Debug, Clone)]
pub enum Wish {
    /// A quorum read.
    Read,
    /// A new value, in place of what it has seen.
    Put,
    /// Away with what it has seen.
    Delete,
}

/// An operation under way.
#[derive(Debug, Clone)]
pub struct Doing {
    /// The key's number.
    pub place: usize,
    /// What.
    pub wish: Wish,
    /// Its id, the same in every try.
    pub op: OpId,
    /// What it says it has seen.
    pub basis: Option<Context>,
    /// For reads: when it began.
    pub began: Option<Began>,
    /// How often it was sent.
    pub tries: u32,
    /// Whether the device names it, so that it may ask for it again.
    pub keyed: bool,
    /// Whether an earlier try may have taken effect.
    pub perhaps_done: bool,
}

/// A device.
#[derive(Debug)]
pub struct Client {
    /// What it has seen of each key.
    pub seen: Vec<Option<Context>>,
    /// What it is doing, and under which number.
    pub doing: Option<Doing>,
    /// Counts its questions, so that an old answer is told from a new one.
    pub turn: u64,
    /// The mean time between two operations.
    pub pause: Us,
}

impl Client {
    /// Has seen nothing of so many keys.
    pub fn new(keys: usize, pause: Us) -> Self {
        Self { seen: vec![None; keys], doing: None, turn: 0, pause }
    }

    /// The next wish.
    pub fn wish(&mut self, rng: &mut Rng, op: OpId, keys: Range<usize>, graves: bool) -> Doing {
        let place = keys.start + rng.below(keys.len() as u64) as usize;
        let seen = self.seen[place].clone();
        let (wish, basis) = match rng.below(20) {
            0..9 => (Wish::Read, None),
            9..12 => (Wish::Put, seen),
            12..15 if !graves => (Wish::Put, seen),
            12..18 if graves && seen.is_some() => (Wish::Delete, seen),
            15..18 => (Wish::Put, None),
            _ if seen.is_some() => (Wish::Delete, seen),
            _ => (Wish::Put, None),
        };
        // A name is promised to be remembered for longer than graves are kept here.
        let keyed = rng.chance(300_000) && !graves;
        Doing { place, wish, op, basis, began: None, tries: 0, keyed, perhaps_done: false }
    }
}
