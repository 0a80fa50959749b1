//! What commands print: results to standard output, everything else to standard error. The only place that prints.

use std::io::IsTerminal;
use std::io::Write;

use serde_json::Value;

use crate::base::exit::Exit;

/// A command's end that is not success: a status for scripts and sentences for people.
#[derive(Debug)]
pub struct Failure {
    /// The exit status.
    pub exit: Exit,
    /// What happened, whether anything changed, what to do. Empty where all is said already.
    pub message: String,
}

impl Failure {
    /// A failure.
    pub fn new(exit: Exit, message: impl Into<String>) -> Self {
        Self { exit, message: message.into() }
    }

    /// Reading or writing `what` failed.
    pub fn io(what: impl std::fmt::Display, error: &std::io::Error) -> Self {
        let exit = if error.kind() == std::io::ErrorKind::NotFound { Exit::NoInput } else { Exit::Io };
        Self::new(exit, format!("{what}: {error}"))
    }
}

/// What a command returns.
pub type Done = Result<(), Failure>;

/// A line of the result. A reader that has gone away is no failure.
pub fn line(text: impl std::fmt::Display) {
    let _gone = writeln!(std::io::stdout(), "{text}");
}

/// A JSON document of the result.
pub fn json(document: &Value) {
    line(format_args!("{document:#}"));
}

/// Bytes of the result, as they are.
///
/// # Errors
/// Where standard output takes no more.
pub fn raw(bytes: &[u8]) -> std::io::Result<()> {
    let mut out = std::io::stdout().lock();
    out.write_all(bytes)?;
    out.flush()
}

/// A line about the work.
pub fn note(text: impl std::fmt::Display) {
    let _full = writeln!(std::io::stderr(), "{text}");
}

/// A question that is answered behind it.
pub fn question(text: impl std::fmt::Display) {
    let _full = write!(std::io::stderr(), "{text}");
}

/// A failure. Where its file may not grow any more the status still tells.
pub fn error(text: impl std::fmt::Display) {
    let _full = writeln!(std::io::stderr(), "ringfort: {text}");
}

/// Whether a person sees standard error.
#[must_use]
pub fn is_terminal() -> bool {
    std::io::stderr().is_terminal()
}

/// Rows with aligned columns.
pub fn table(rows: &[Vec<String>]) {
    let columns = rows.iter().map(Vec::len).max().unwrap_or(0);
    let width = |column: usize| rows.iter().filter_map(|row| row.get(column)).map(|cell| cell.chars().count()).max();
    let widths: Vec<usize> = (0..columns).map(|column| width(column).unwrap_or(0)).collect();
    for row in rows {
        let cells: Vec<String> = row.iter().zip(&widths).map(|(cell, width)| format!("{cell:<width$}")).collect();
        line(cells.join("  ").trim_end());
    }
}
