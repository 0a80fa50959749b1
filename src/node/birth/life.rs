//! Which of its lives a node begins: a number that rises with every start.

use crate::base::time;
use crate::store::marks::MarksFile;

/// Each start is higher than all before, also in a directory that was put back from a copy, as long as the clock was not: else
/// the others take it for the copy that it is, and it has to wait until they have forgotten the life of before. In milliseconds,
/// because who is left of two starts soon after the other.
pub(super) fn next_start(marks: &MarksFile) -> u64 {
    let counted = marks.read(|marks| marks.starts).saturating_add(1);
    counted.max(time::wall_ms())
}

/// Writes it down, so that the next one is higher.
pub(super) fn note_start(marks: &MarksFile, start: u64) {
    if let Err(error) = marks.change(|marks| marks.starts = start) {
        tracing::warn!(%error, "this start could not be counted; others may take this node for the one before");
    }
}
