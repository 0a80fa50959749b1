//! Foreign text, made harmless for a terminal and for whoever reads it: what would steer a terminal, reorder a line or not be
//! seen is shown as an escape; what is too long is cut, with a word.

use std::fmt::Write;

use crate::base::time;
use crate::proto::logline::Record;

/// Cuts a text to so many bytes at the most, the word about it included where there is room for one.
pub fn cut(text: &mut String, bytes_max: usize) {
    if text.len() <= bytes_max {
        return;
    }
    let word = format!("… ({} bytes in all)", text.len());
    let end = text.floor_char_boundary(bytes_max.saturating_sub(word.len()));
    text.truncate(end);
    if word.len() <= bytes_max {
        text.push_str(&word);
    }
}

/// Whether a character is shown as it is.
#[must_use]
pub fn is_harmless(c: char) -> bool {
    let reorders = matches!(c, '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{feff}' | '\u{61c}');
    !c.is_control() && !reorders && !('\u{e0000}'..='\u{e0fff}').contains(&c)
}

/// Bytes as text: what is no UTF-8 as `\xff`.
#[must_use]
pub fn from_bytes(bytes: &[u8]) -> String {
    let mut text = String::with_capacity(bytes.len());
    for chunk in bytes.utf8_chunks() {
        text.push_str(chunk.valid());
        for byte in chunk.invalid() {
            // A string takes everything.
            let _infallible = write!(text, "\\x{byte:02x}");
        }
    }
    text
}

/// Text without what would steer a terminal or reorder a line, wherever it is shown; its lines stay lines.
#[must_use]
pub fn plain(text: &str) -> String {
    let mut plain = String::with_capacity(text.len());
    for c in text.chars() {
        if is_harmless(c) || c == '\n' || c == '\t' { plain.push(c) } else { plain.extend(c.escape_default()) }
    }
    plain
}

/// A record with such text only.
#[must_use]
pub fn plain_record(record: Record) -> Record {
    let fields = record.fields.iter().map(|(name, value)| (plain(name), plain(value))).collect();
    Record {
        target: plain(&record.target),
        message: plain(&record.message),
        fields,
        spans: record.spans.iter().map(|span| plain(span)).collect(),
        ..record
    }
}

/// One line of harmless text.
#[must_use]
pub fn one_line(text: &str) -> String {
    let mut shown = String::with_capacity(text.len());
    push(&mut shown, text, false);
    shown
}

/// The same, where lines of the text are lines again, each but the first behind four blanks, so that none can be taken for
/// another record.
#[must_use]
pub fn lines(text: &str) -> String {
    let mut shown = String::with_capacity(text.len());
    push(&mut shown, text, true);
    shown
}

fn push(shown: &mut String, text: &str, keep_lines: bool) {
    for c in text.chars() {
        match c {
            '\n' if keep_lines => shown.push_str("\n    "),
            '\t' if keep_lines => shown.push(c),
            c if is_harmless(c) => shown.push(c),
            c => shown.extend(c.escape_default()),
        }
    }
}

/// A record without its time and node: `target: message name=value`, and its spans.
#[must_use]
pub fn body(record: &Record) -> String {
    let mut shown = one_line(&record.target);
    shown.push_str(": ");
    for span in &record.spans {
        shown.push_str(&one_line(span));
        shown.push_str(": ");
    }
    shown.push_str(&lines(&record.message));
    for (name, value) in &record.fields {
        let _infallible = write!(shown, " {}={}", one_line(name), lines(value));
    }
    shown
}

/// A record as a line for a terminal.
#[must_use]
pub fn line(record: &Record, name_of_node: &str) -> String {
    let (at, level) = (time::rfc3339(record.stamp.ms()), record.level.name().to_uppercase());
    format!("{at} {level:<5} {} {}", one_line(name_of_node), body(record))
}
