//! What nodes ask each other about what went wrong: reports, lines, the list of what changed. Content travels as the JSON
//! that is on disk, so that a later release reads what an earlier one wrote; it is parsed, and bounded, where it is shown.

use serde::Deserialize;
use serde::Serialize;

use crate::base::codec::Blob;

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
}
