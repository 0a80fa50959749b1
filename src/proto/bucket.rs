//! A bucket's definition: what kind of objects it holds and what is promised for them.

use serde::Deserialize;
use serde::Deserializer;
use serde::Serialize;

use crate::base::limits::REPLICAS_MAX;
use crate::base::limits::TTL_MS_MAX;

/// How concurrent writes of one key are settled.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Kind {
    /// Both are kept until a writer that saw both replaces them.
    Siblings,
    /// The one with the higher hybrid stamp stays. For data whose owner writes alone.
    Lww,
}

/// How much the data matters, for what is dropped first when something must be.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Class {
    /// May be lost.
    Losable,
    /// The usual care.
    Normal,
    /// Last to be shed.
    Critical,
}

/// A bucket's definition as stored.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Definition {
    /// How concurrent writes are settled.
    pub kind: Kind,
    /// Replicas wanted, 1 to 9. With fewer nodes all of them are owners.
    pub n: u8,
    /// Replicas that must agree for a read; at most `n`.
    pub r: u8,
    /// Replicas that must be on disk for a write; at most `n`.
    pub w: u8,
    /// Time to live of a value that names none itself, in milliseconds.
    pub ttl_ms: Option<u64>,
    /// How much the data matters.
    pub class: Class,
}

impl Default for Definition {
    fn default() -> Self {
        Self { kind: Kind::Siblings, n: 3, r: 2, w: 2, ttl_ms: None, class: Class::Normal }
    }
}

/// A word of ours in a refusal.
pub type Word = &'static str;

/// All of them, so that a refusal that another node sent is the same as one of this node.
const WORDS: [&str; 10] = ["bucket", "buckets", "n", "r", "token", "tokens", "ttl", "user", "users", "w"];

/// Reads one; one that this release does not know becomes `thing`.
///
/// # Errors
/// Where there is no text.
pub fn word<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Word, D::Error> {
    let text = String::deserialize(deserializer)?;
    Ok(WORDS.into_iter().find(|word| *word == text).unwrap_or("thing"))
}

/// Which field of a definition is out of its range, and what the range is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
#[error("{field} is {given}; it must be {range}")]
pub struct OutOfRange {
    /// The field.
    #[serde(deserialize_with = "word")]
    pub field: Word,
    /// What was given.
    pub given: u64,
    /// What would do.
    pub range: String,
}

impl Definition {
    /// Checks every field's range.
    ///
    /// # Errors
    /// The first field that is out of it.
    pub fn check(&self) -> Result<(), OutOfRange> {
        let within = |field, given: u8, max: u8| {
            let range = format!("1 to {max}");
            if (1..=max).contains(&given) { Ok(()) } else { Err(OutOfRange { field, given: given.into(), range }) }
        };
        within("n", self.n, REPLICAS_MAX)?;
        within("r", self.r, self.n)?;
        within("w", self.w, self.n)?;
        match self.ttl_ms {
            Some(given) if given == 0 || given > TTL_MS_MAX => {
                Err(OutOfRange { field: "ttl", given, range: "between 1ms and 3660d".to_owned() })
            }
            Some(_) | None => Ok(()),
        }
    }

    /// Whether a read may miss an acked write (`R + W <= N`): marked on screen and in the receipt.
    #[must_use]
    pub fn is_weak(&self) -> bool {
        u16::from(self.r) + u16::from(self.w) <= u16::from(self.n)
    }
}

#[cfg(test)]
mod tests {
    use super::Definition;

    #[test]
    fn every_number_has_its_range() {
        let good = Definition::default();
        assert!(good.check().is_ok() && !good.is_weak());
        let bad = [
            Definition { n: 0, ..good.clone() },
            Definition { n: 10, ..good.clone() },
            Definition { r: 0, ..good.clone() },
            Definition { w: 4, ..good.clone() },
            Definition { ttl_ms: Some(0), ..good.clone() },
            Definition { ttl_ms: Some(u64::MAX), ..good.clone() },
        ];
        assert!(bad.iter().all(|definition| definition.check().is_err()));
        assert!(Definition { r: 1, ..good }.is_weak());
    }
}
