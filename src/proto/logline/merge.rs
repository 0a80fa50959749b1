//! Merges what several nodes said into one page in causal order. A node that could not look through all that it has says how
//! far it came; nothing beyond that is shown yet, so that going on from the cursor leaves nothing out.

use serde::Deserialize;
use serde::Serialize;

use crate::proto::logline::Key;
use crate::proto::logline::Record;
use crate::proto::logline::stamp::Stamp;

/// In which direction a page goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Direction {
    /// To later ones.
    Forward,
    /// To earlier ones.
    Backward,
}

/// What one node said.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Part {
    /// Lines.
    pub records: Vec<Record>,
    /// Where it ended before it had seen everything: how far it came.
    pub reached: Option<Stamp>,
}

/// A page of all of them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Merged {
    /// The earliest first, whatever the direction.
    pub records: Vec<Record>,
    /// Where to go on in the same direction; none where there is nothing more.
    pub next: Option<Key>,
}

/// Merges; at most so many lines.
#[must_use]
pub fn merge(parts: Vec<Part>, direction: Direction, lines_max: usize) -> Merged {
    let stops = parts.iter().filter_map(|part| part.reached);
    let horizon = match direction {
        Direction::Forward => stops.min(),
        Direction::Backward => stops.max(),
    };
    let mut records: Vec<Record> = parts.into_iter().flat_map(|part| part.records).collect();
    records.sort_by_key(Record::key);
    records.dedup_by_key(|record| record.key());
    let mut next = None;
    if let Some(horizon) = horizon {
        match direction {
            Direction::Forward => records.retain(|record| record.stamp <= horizon),
            Direction::Backward => records.retain(|record| record.stamp >= horizon),
        }
        next = Some(match direction {
            Direction::Forward => Key { stamp: horizon, node: crate::base::id::NodeId(u64::MAX), n: u64::MAX },
            Direction::Backward => Key::at(horizon),
        });
    }
    if records.len() > lines_max {
        let too_many = records.len() - lines_max;
        match direction {
            Direction::Forward => records.truncate(lines_max),
            Direction::Backward => drop(records.drain(..too_many)),
        }
        next = match direction {
            Direction::Forward => records.last().map(Record::key),
            Direction::Backward => records.first().map(Record::key),
        };
    }
    Merged { records, next }
}
