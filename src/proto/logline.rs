//! A line of a log as a record: who said what, when, and how important it is; how it is written, read, searched, merged
//! with those of other nodes, and shown on a terminal.
//!
//! ```text
//! {"stamp":"019ac2…0001","node":1,"n":12,"level":"info","target":"a::b","message":"…","fields":{"k":"v"},"spans":["s"]}
//! ```
//! The order of the members is part of the form: the first five are read without a parser. Fields and spans are left out
//! where there are none.

use std::collections::BTreeMap;
use std::fmt;

use serde::Deserialize;
use serde::Serialize;
use xxhash_rust::xxh3::xxh3_64;

use crate::base::id::NodeId;
use crate::base::limits::BOOK_LINE_BYTES_MAX;
use crate::base::limits::LOG_FIELD_BYTES_MAX;
use crate::base::limits::LOG_FIELDS_MAX;
use crate::base::limits::LOG_MESSAGE_BYTES_MAX;
use crate::base::limits::LOG_TARGET_BYTES_MAX;

pub mod filter;
pub mod merge;
pub mod stamp;
#[cfg(test)]
mod tests;
pub mod text;

use stamp::Stamp;

/// How important a line is; the first is the most important.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Level {
    /// Wake someone.
    Error,
    /// Odd, but working.
    Warn,
    /// A state that an operator acts on.
    Info,
    /// A branch that was taken.
    Debug,
    /// Each message.
    Trace,
}

impl Level {
    /// All of them, the most important first.
    pub const ALL: [Self; 5] = [Self::Error, Self::Warn, Self::Info, Self::Debug, Self::Trace];

    /// As it is written.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Error => "error",
            Self::Warn => "warn",
            Self::Info => "info",
            Self::Debug => "debug",
            Self::Trace => "trace",
        }
    }

    /// Reverses [`Self::name`].
    #[must_use]
    pub fn parse(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|level| level.name() == name)
    }

    /// 0 for an error, and so on.
    #[must_use]
    pub fn number(self) -> u8 {
        match self {
            Self::Error => 0,
            Self::Warn => 1,
            Self::Info => 2,
            Self::Debug => 3,
            Self::Trace => 4,
        }
    }

    /// The priority by which `journald` and `syslog` know it.
    #[must_use]
    pub fn syslog(self) -> u8 {
        match self {
            Self::Error => 3,
            Self::Warn => 4,
            Self::Info => 6,
            Self::Debug | Self::Trace => 7,
        }
    }
}

impl fmt::Display for Level {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

/// A line.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Record {
    /// When, so that what was said before comes before.
    pub stamp: Stamp,
    /// By which node.
    pub node: NodeId,
    /// Its number there.
    pub n: u64,
    /// How important it is.
    pub level: Level,
    /// Which part of the program.
    pub target: String,
    /// What.
    pub message: String,
    /// With what, by name.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub fields: BTreeMap<String, String>,
    /// Doing what, the outermost first.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub spans: Vec<String>,
}

/// Orders lines of all nodes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Key {
    /// When.
    pub stamp: Stamp,
    /// Which node.
    pub node: NodeId,
    /// Its number there.
    pub n: u64,
}

impl Key {
    /// Before all lines of this instant.
    #[must_use]
    pub fn at(stamp: Stamp) -> Self {
        Self { stamp, node: NodeId(0), n: 0 }
    }

    /// Reads a cursor: `STAMP.NODE.NUMBER`.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let mut parts = text.split('.');
        let stamp = Stamp::parse(parts.next()?)?;
        let (node, n) = (NodeId(parts.next()?.parse().ok()?), parts.next()?.parse().ok()?);
        parts.next().is_none().then_some(Self { stamp, node, n })
    }
}

impl fmt::Display for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}.{}", self.stamp, self.node, self.n)
    }
}

/// What is known of a line from its beginning.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Head {
    /// Its place among all.
    pub key: Key,
    /// How important it is.
    pub level: Level,
    /// Of its target: [`target_marks`].
    pub marks: u128,
}

impl Record {
    /// Its place among all.
    #[must_use]
    pub fn key(&self) -> Key {
        Key { stamp: self.stamp, node: self.node, n: self.n }
    }

    /// The line, without a newline; at most [`BOOK_LINE_BYTES_MAX`] bytes. What is too long is cut, with a word.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        let mut record = self.clone();
        record.fit(LOG_MESSAGE_BYTES_MAX, LOG_FIELD_BYTES_MAX);
        let line = serde_json::to_vec(&record).unwrap_or_default();
        if line.len() <= BOOK_LINE_BYTES_MAX {
            return line;
        }
        // Each byte may be six when it is escaped.
        record.fit(LOG_MESSAGE_BYTES_MAX / 8, LOG_FIELD_BYTES_MAX / 16);
        record.fields = record.fields.into_iter().take(LOG_FIELDS_MAX / 2).collect();
        record.spans.truncate(LOG_FIELDS_MAX / 4);
        serde_json::to_vec(&record).unwrap_or_default()
    }

    fn fit(&mut self, message_max: usize, field_max: usize) {
        text::cut(&mut self.target, LOG_TARGET_BYTES_MAX);
        text::cut(&mut self.message, message_max);
        let fields = std::mem::take(&mut self.fields);
        for (mut name, mut value) in fields.into_iter().take(LOG_FIELDS_MAX) {
            text::cut(&mut name, LOG_TARGET_BYTES_MAX / 2);
            text::cut(&mut value, field_max);
            self.fields.insert(name, value);
        }
        self.spans.truncate(LOG_FIELDS_MAX);
        self.spans.iter_mut().for_each(|span| text::cut(span, field_max));
    }

    /// Reverses [`Self::encode`]; `None` for what is none, or too long.
    #[must_use]
    pub fn parse(line: &[u8]) -> Option<Self> {
        if line.len() > BOOK_LINE_BYTES_MAX {
            return None;
        }
        serde_json::from_slice(line).ok()
    }
}

/// Reads a line's beginning without its rest; `None` for what is no line.
#[must_use]
pub fn head(line: &[u8]) -> Option<Head> {
    let rest = line.strip_prefix(b"{\"stamp\":\"")?;
    let (stamp, rest) = rest.split_at_checked(16)?;
    let stamp = Stamp::parse(std::str::from_utf8(stamp).ok()?)?;
    let (node, rest) = number(rest.strip_prefix(b"\",\"node\":")?)?;
    let (n, rest) = number(rest.strip_prefix(b",\"n\":")?)?;
    let rest = rest.strip_prefix(b",\"level\":\"")?;
    let level = Level::ALL.into_iter().find(|level| rest.starts_with(level.name().as_bytes()))?;
    let rest = rest.get(level.name().len()..)?.strip_prefix(b"\",\"target\":\"")?;
    let end = rest.iter().position(|byte| *byte == b'"')?;
    let target = std::str::from_utf8(rest.get(..end)?).ok()?;
    line.ends_with(b"}").then(|| Head { key: Key { stamp, node: NodeId(node), n }, level, marks: target_marks(target) })
}

fn number(bytes: &[u8]) -> Option<(u64, &[u8])> {
    let digits = bytes.iter().take(20).take_while(|byte| byte.is_ascii_digit()).count();
    let (number, rest) = bytes.split_at_checked(digits)?;
    Some((std::str::from_utf8(number).ok()?.parse().ok()?, rest))
}

/// A bit for a target and one for each path above it, so that a search by any of them can pass over blocks.
#[must_use]
pub fn target_marks(target: &str) -> u128 {
    let above = target.match_indices("::").filter_map(|(at, _)| target.get(..at));
    above.chain([target]).map(|path| 1_u128 << (xxh3_64(path.as_bytes()) % 128)).fold(0, |marks, bit| marks | bit)
}

/// The bit that every line under this path has.
#[must_use]
pub fn path_mark(path: &str) -> u128 {
    1_u128 << (xxh3_64(path.as_bytes()) % 128)
}
