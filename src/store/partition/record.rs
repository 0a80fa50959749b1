//! What the node's journal records mean.
//!
//! ```text
//! object      = 1 · place_len u16 little-endian · place · sealed object
//! incarnation = 2 · random 8 bytes: written at every open before the first dot (HOUSE decision 7)
//! barrier     = 3: nothing; when it is durable, so is everything submitted before it
//! removal     = 4 · place: this node has no business with the place any more; a deletion by a client is an object
//! ```

use crate::base::id::Incarnation;
use crate::proto::key::IndexKey;

const OBJECT: u8 = 1;
const INCARNATION: u8 = 2;
const BARRIER: u8 = 3;
const REMOVAL: u8 = 4;

/// A record read back.
#[derive(Debug, PartialEq, Eq)]
pub enum Record<'a> {
    /// A place holds this object now.
    Object {
        /// The place.
        place: &'a [u8],
        /// The sealed object.
        object: &'a [u8],
    },
    /// A new life began.
    Incarnation(Incarnation),
    /// Nothing.
    Barrier,
    /// A place is given up.
    Removal {
        /// The place.
        place: &'a [u8],
    },
}

impl Record<'_> {
    /// The place that it speaks of, with what it holds from then on.
    #[must_use]
    pub fn change(&self) -> Option<(&[u8], Option<&[u8]>)> {
        match self {
            Self::Object { place, object } => Some((place, Some(object))),
            Self::Removal { place } => Some((place, None)),
            Self::Incarnation(_) | Self::Barrier => None,
        }
    }
}

/// The record of an object.
#[must_use]
pub fn encode(place: &IndexKey, object: &[u8]) -> Vec<u8> {
    let place = place.as_bytes();
    let len = u16::try_from(place.len()).unwrap_or_else(|_| unreachable!("a place has at most 1029 bytes"));
    let mut record = Vec::with_capacity(3 + place.len() + object.len());
    record.push(OBJECT);
    record.extend_from_slice(&len.to_le_bytes());
    record.extend_from_slice(place);
    record.extend_from_slice(object);
    record
}

/// The record of a new life.
#[must_use]
pub fn encode_incarnation(incarnation: Incarnation) -> Vec<u8> {
    let mut record = vec![INCARNATION];
    record.extend_from_slice(&incarnation.0.to_le_bytes());
    record
}

/// The record that only waits for those before it.
#[must_use]
pub fn encode_barrier() -> Vec<u8> {
    vec![BARRIER]
}

/// The record of a place that is given up.
#[must_use]
pub fn encode_removal(place: &IndexKey) -> Vec<u8> {
    [&[REMOVAL], place.as_bytes()].concat()
}

/// Reads a record; `None` for one that this release does not know.
#[must_use]
pub fn decode(record: &[u8]) -> Option<Record<'_>> {
    let (kind, rest) = record.split_first()?;
    match *kind {
        OBJECT => {
            let (len, rest) = rest.split_first_chunk::<2>()?;
            let (place, object) = rest.split_at_checked(usize::from(u16::from_le_bytes(*len)))?;
            Some(Record::Object { place, object })
        }
        INCARNATION => Some(Record::Incarnation(Incarnation(u64::from_le_bytes(rest.try_into().ok()?)))),
        REMOVAL => Some(Record::Removal { place: rest }),
        BARRIER => rest.is_empty().then_some(Record::Barrier),
        _ => None,
    }
}
