//! Hybrid stamps: the wall clock, made never to contradict what caused what. 48 bits of milliseconds, 16 of a count. A node
//! takes in every stamp that it hears, so that what it says afterwards has a later one (Kulkarni 2014, "Logical physical
//! clocks"). Pure: whoever keeps the last stamp gives it.

use std::fmt;

use serde::Deserialize;
use serde::Deserializer;
use serde::Serialize;
use serde::Serializer;

use crate::base::limits::LOG_AHEAD_MS_MAX;

/// A hybrid stamp. Written as 16 hexadecimal digits, so that text sorts as stamps do.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Stamp(pub u64);

impl Stamp {
    /// The first of a millisecond.
    #[must_use]
    pub fn of_ms(wall_ms: u64) -> Self {
        Self(wall_ms.min((1 << 48) - 1) << 16)
    }

    /// The last of a millisecond.
    #[must_use]
    pub fn end_of_ms(wall_ms: u64) -> Self {
        Self(Self::of_ms(wall_ms).0 | 0xffff)
    }

    /// Milliseconds since 1970.
    #[must_use]
    pub fn ms(self) -> u64 {
        self.0 >> 16
    }

    /// The stamp of what happens now, where this was the last one.
    #[must_use]
    pub fn next(self, wall_ms: u64) -> Self {
        Self(Self::of_ms(wall_ms).0.max(self.0.saturating_add(1)))
    }

    /// The last one, after a stamp was heard. One that is too far ahead is of a clock gone wrong, and is left alone.
    #[must_use]
    pub fn hear(self, heard: Self, wall_ms: u64) -> Self {
        if heard.ms() > wall_ms.saturating_add(LOG_AHEAD_MS_MAX) { self } else { self.max(heard) }
    }

    /// Reads one.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let digits =
            text.len() == 16 && text.bytes().all(|byte| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte));
        digits.then(|| u64::from_str_radix(text, 16).ok()).flatten().map(Self)
    }
}

impl fmt::Display for Stamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}", self.0)
    }
}

impl Serialize for Stamp {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Stamp {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = <std::borrow::Cow<'de, str>>::deserialize(deserializer)?;
        Self::parse(&text).ok_or_else(|| serde::de::Error::custom("not a stamp"))
    }
}
