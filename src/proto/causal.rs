//! Causality: actors, dots and version vectors. What a context means and how two of them compare lives here; how
//! values are kept or dropped by them lives in `object`.
//!
//! Source: Preguiça et al. 2010, "Dotted Version Vectors"; Almeida et al. 2014.

use serde::Deserialize;
use serde::Serialize;

use crate::base::id::Incarnation;
use crate::base::id::NodeId;

pub mod token;

/// Who mints dots: a node in one of its lives.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Actor {
    /// The node.
    pub node: NodeId,
    /// Its life.
    pub incarnation: Incarnation,
}

/// One write: the `counter`-th of its actor in its partition, from 1. Never minted twice.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Dot {
    /// Who minted it.
    pub actor: Actor,
    /// From 1.
    pub counter: u64,
}

/// For each actor how many of its writes are known; sorted by actor, no zero counters.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
pub struct VersionVector(Vec<(Actor, u64)>);

impl VersionVector {
    /// Knows nothing.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// How many writes of `actor` are known.
    #[must_use]
    pub fn counter(&self, actor: Actor) -> u64 {
        let found = self.0.binary_search_by_key(&actor, |(actor, _)| *actor);
        found.ok().and_then(|at| self.0.get(at)).map_or(0, |(_, counter)| *counter)
    }

    /// Whether a write is known.
    #[must_use]
    pub fn covers(&self, dot: Dot) -> bool {
        self.counter(dot.actor) >= dot.counter
    }

    /// Learns a write and all of its actor before it.
    pub fn add(&mut self, dot: Dot) {
        match self.0.binary_search_by_key(&dot.actor, |(actor, _)| *actor) {
            Ok(at) => {
                if let Some((_, counter)) = self.0.get_mut(at) {
                    *counter = dot.counter.max(*counter);
                }
            }
            Err(at) => self.0.insert(at, (dot.actor, dot.counter)),
        }
    }

    /// Learns everything the other knows.
    pub fn merge(&mut self, other: &Self) {
        for (actor, counter) in &other.0 {
            self.add(Dot { actor: *actor, counter: *counter });
        }
    }

    fn is_canonical(&self) -> bool {
        self.0.iter().all(|(_, counter)| *counter > 0)
            && self.0.windows(2).all(|pair| matches!(pair, [a, b] if a.0 < b.0))
    }
}

/// The writes somebody has seen of one key: whole runs of them, and some that stand apart. A client that wrote without
/// reading has seen its own write but not the ones before it, which a version vector alone cannot say: it would claim
/// them too, and the next write would drop them unread.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
pub struct Context {
    runs: VersionVector,
    /// Sorted, none of them covered by `runs`.
    apart: Vec<Dot>,
}

impl Context {
    /// Has seen nothing.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Whether a write was seen.
    #[must_use]
    pub fn covers(&self, dot: Dot) -> bool {
        self.runs.covers(dot) || self.apart.binary_search(&dot).is_ok()
    }

    /// Of how many parts it is: runs, and writes that stand apart.
    #[must_use]
    pub fn parts(&self) -> usize {
        self.runs.0.len() + self.apart.len()
    }

    /// Notes a write and every earlier one of its actor: for the actor itself, who knows them all.
    pub fn add_run(&mut self, dot: Dot) {
        self.runs.add(dot);
        self.apart.retain(|apart| !self.runs.covers(*apart));
    }

    /// Notes this one write.
    pub fn add(&mut self, dot: Dot) {
        if !self.covers(dot)
            && let Err(at) = self.apart.binary_search(&dot)
        {
            self.apart.insert(at, dot);
        }
    }

    /// Notes everything the other has seen.
    pub fn merge(&mut self, other: &Self) {
        self.runs.merge(&other.runs);
        self.apart.retain(|apart| !self.runs.covers(*apart));
        for dot in &other.apart {
            self.add(*dot);
        }
    }

    /// Whether all that the other has seen was seen here. A run is included in a run only: that some writes that stand apart
    /// are all there is of it, nobody can tell.
    #[must_use]
    pub fn includes(&self, other: &Self) -> bool {
        let run = |(actor, counter): &(Actor, u64)| self.runs.counter(*actor) >= *counter;
        other.apart.iter().all(|dot| self.covers(*dot)) && other.runs.0.iter().all(run)
    }

    /// The same runs, and of the writes apart only those that are asked for.
    #[must_use]
    pub fn narrowed(&self, dots: impl IntoIterator<Item = Dot>) -> Self {
        let mut narrow = Self { runs: self.runs.clone(), apart: Vec::new() };
        for dot in dots {
            narrow.add(dot);
        }
        narrow
    }

    /// Whether a context read from outside keeps this type's invariants.
    #[must_use]
    pub fn is_canonical(&self) -> bool {
        let sorted = self.apart.windows(2).all(|pair| matches!(pair, [a, b] if a < b));
        self.runs.is_canonical() && sorted && self.apart.iter().all(|dot| dot.counter > 0 && !self.runs.covers(*dot))
    }
}
