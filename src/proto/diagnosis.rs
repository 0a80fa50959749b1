//! What nodes ask each other about what went wrong: reports, lines, the list of what changed. Content travels as the JSON
//! that is on disk, so that a later release reads what an earlier one wrote; it is parsed, and bounded, where it is shown.

use serde::Deserialize;
use serde::Serialize;

use crate::base::codec::Blob;
use crate::base::id::NodeId;
use crate::proto::crash::filter;
use crate::proto::logline::Key;
use crate::proto::logline::Level;
use crate::proto::logline::filter::Search;
use crate::proto::logline::merge::Direction;

/// What is asked. Variants are appended, never reordered.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Wish {
    /// Crash reports that you keep, your own and others', in short.
    Crashes,
    /// A whole report.
    Crash {
        /// Its id.
        id: String,
    },
    /// Keep this report of mine: its JSON.
    KeepCrash(Blob),
    /// How are you inside?
    Inside,
    /// Lines of a log.
    Lines(Box<LinesWish>),
    /// How far do you keep this book of mine?
    BookEnd {
        /// Its name.
        book: String,
    },
    /// Keep these lines of this book of mine, in order.
    KeepLines {
        /// Its name.
        book: String,
        /// Lines as they are written.
        lines: Vec<Blob>,
    },
    /// Log this part of the program so for a time.
    SetLevel {
        /// Which.
        target: String,
        /// How.
        level: Level,
        /// For how long.
        for_ms: u64,
    },
    /// What is wrong, as you see it.
    Alarms,
    /// What changed, as you saw it: the newest entries.
    Timeline {
        /// As this node saw it, from the black box; as you did where none is named.
        of: Option<NodeId>,
        /// Wall milliseconds from which on.
        since_ms: u64,
        /// Wall milliseconds up to which.
        until_ms: u64,
    },
    /// The last lines of a book.
    BookTail {
        /// Of this node, from the black box; of the asked one itself where none is named.
        of: Option<NodeId>,
        /// Its name.
        book: String,
        /// At most so many.
        lines_max: u32,
    },
    /// Whose books do you keep?
    Boxes,
    /// Crash reports that you keep and that say something, in short.
    FindCrashes(filter::Search),
}

/// Lines that are looked for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LinesWish {
    /// Of this node, from the black box; of the asked one itself where none is named.
    pub of: Option<NodeId>,
    /// What is looked for.
    pub search: Search,
    /// Only behind this one.
    pub after: Option<Key>,
    /// Only before this one.
    pub before: Option<Key>,
    /// From which end.
    pub direction: Direction,
    /// At most so many.
    pub lines_max: u32,
}

/// Lines that were found.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct LinesFound {
    /// As they are written, in the direction asked for.
    pub lines: Vec<Blob>,
    /// Where not everything was looked through: the stamp up to which it was.
    pub reached: Option<u64>,
    /// Lines that could not be read.
    pub damaged: u64,
    /// The last line of that book, whatever it says.
    pub last: Option<Key>,
}

/// What is answered. Variants are appended, never reordered.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Found {
    /// Reports in short, a JSON object each.
    Crashes(Vec<Blob>),
    /// A whole report, where it is kept here.
    Crash(Option<Blob>),
    /// It is kept, and synced.
    Kept,
    /// This node cannot say, or did not understand.
    Nothing,
    /// A JSON object.
    Inside(Blob),
    /// Lines of a log.
    Lines(Box<LinesFound>),
    /// The stamp of the last line that is kept of a book; none where nothing is.
    BookEnd(Option<u64>),
    /// The level is set.
    LevelSet,
    /// It is not done, for this reason.
    Refused(String),
    /// What is wrong, a JSON object each.
    Alarms(Vec<Blob>),
    /// What changed, newest first, a line each.
    Timeline(Vec<Blob>),
    /// Lines as they are written, oldest first.
    BookTail(Vec<Blob>),
    /// Whose books are kept, a JSON object each.
    Boxes(Vec<Blob>),
    /// Reports in short that say it, a JSON object each.
    CrashesFound {
        /// The reports.
        reports: Vec<Blob>,
        /// Not all could be looked through in time: the oldest ones are missing.
        cut: bool,
    },
}
