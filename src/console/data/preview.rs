//! What of a value is shown, and how: JSON laid out, text with everything unseen escaped, a picture, or a hex dump. Pure,
//! and bounded whatever the value is.

use std::fmt;
use std::fmt::Write as _;

use askama::filters::HtmlSafe;
use serde::de::IgnoredAny;

use crate::base::limits::HEX_BYTES_MAX;
use crate::console::data;

/// Bytes of one line of a hex dump.
const LINE_BYTES: usize = 16;

/// How to look at a value.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum View {
    /// As its type and bytes suggest.
    Fitting,
    /// As it was stored, where it is text.
    Text,
    /// Byte by byte.
    Hex,
}

impl View {
    /// The view with this name; the fitting one for any other.
    #[must_use]
    pub fn parse(name: &str) -> Self {
        match name {
            "text" => Self::Text,
            "hex" => Self::Hex,
            _ => Self::Fitting,
        }
    }

    /// Its name in an address.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Fitting => "fitting",
            Self::Text => "text",
            Self::Hex => "hex",
        }
    }
}

/// What is shown of a value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Preview {
    /// In a word: `JSON`, `Text`, `PNG picture`, `Bytes`, `Empty`.
    pub name: &'static str,
    /// For a `pre`; empty for a picture.
    pub text: Verbatim,
    /// The value is a picture of a type that no browser executes.
    pub picture: bool,
    /// How much of it is shown, where that is not all, or what does not fit.
    pub note: Option<String>,
}

/// The type of a picture that is shown: its bytes must be what its type says.
#[must_use]
pub fn picture_type(content_type: &str, bytes: &[u8]) -> Option<(&'static str, &'static str)> {
    let webp = bytes.starts_with(b"RIFF") && bytes.get(8..12) == Some(b"WEBP");
    let known = [
        ("image/png", "PNG picture", bytes.starts_with(b"\x89PNG\r\n\x1a\n")),
        ("image/jpeg", "JPEG picture", bytes.starts_with(b"\xff\xd8\xff")),
        ("image/gif", "GIF picture", bytes.starts_with(b"GIF87a") || bytes.starts_with(b"GIF89a")),
        ("image/webp", "WebP picture", webp),
    ];
    let essence = essence(content_type);
    known.into_iter().find(|(name, _, is)| *name == essence && *is).map(|(name, words, _)| (name, words))
}

fn essence(content_type: &str) -> String {
    content_type.split(';').next().unwrap_or_default().trim().to_ascii_lowercase()
}

/// Whether a type says JSON.
#[must_use]
pub fn says_json(content_type: &str) -> bool {
    let essence = essence(content_type);
    essence == "application/json" || essence == "text/json" || essence.ends_with("+json")
}

/// Text between two tags: only what could begin markup is escaped, as quotes could nowhere end anything.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Verbatim(String);

impl Verbatim {
    /// Whether there is nothing to show.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    fn escape(letter: char) -> Option<&'static str> {
        match letter {
            '<' => Some("&#60;"),
            '>' => Some("&#62;"),
            '&' => Some("&#38;"),
            _ => None,
        }
    }

    /// Bytes of a text as it is sent.
    #[must_use]
    pub fn weight(text: &str) -> usize {
        text.chars().map(|letter| Self::escape(letter).map_or(letter.len_utf8(), str::len)).sum()
    }

    /// The beginning of a text that weighs at most `bytes_max`, and whether that is all of it.
    fn beginning(mut text: String, bytes_max: usize) -> (Self, bool) {
        let mut weight = 0;
        let cut = text.char_indices().find_map(|(at, letter)| {
            weight += Self::escape(letter).map_or(letter.len_utf8(), str::len);
            (weight > bytes_max).then_some(at)
        });
        if let Some(at) = cut {
            text.truncate(at);
        }
        (Self(text), cut.is_none())
    }
}

impl From<&str> for Verbatim {
    fn from(text: &str) -> Self {
        Self(text.to_owned())
    }
}

impl fmt::Display for Verbatim {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.chars().try_for_each(|letter| match Self::escape(letter) {
            Some(escaped) => f.write_str(escaped),
            None => f.write_char(letter),
        })
    }
}

impl HtmlSafe for Verbatim {}

/// Shows at most `bytes_max` bytes of a value, as they are sent.
#[must_use]
pub fn of(content_type: &str, bytes: &[u8], view: View, bytes_max: usize) -> Preview {
    let Shown { name, text, picture, note } = shown(content_type, bytes, view, bytes_max);
    let (text, whole) = Verbatim::beginning(text, bytes_max);
    let note = if whole || note.is_some() { note } else { Some(beginning(bytes.len())) };
    Preview { name, text, picture, note }
}

/// A [`Preview`] in the making: its text is only roughly as short as it has to be.
struct Shown {
    name: &'static str,
    text: String,
    picture: bool,
    note: Option<String>,
}

fn shown(content_type: &str, bytes: &[u8], view: View, bytes_max: usize) -> Shown {
    let plain = |name, text, note| Shown { name, text, picture: false, note };
    if bytes.is_empty() {
        return plain("Empty", String::new(), None);
    }
    let text = std::str::from_utf8(bytes).ok().filter(|text| mostly_seen(text));
    match (view, text) {
        (View::Hex, _) => hex(bytes, bytes_max),
        (View::Fitting, _) if picture_type(content_type, bytes).is_some() => {
            let name = picture_type(content_type, bytes).map_or("Picture", |(_, words)| words);
            Shown { picture: true, ..plain(name, String::new(), None) }
        }
        (View::Fitting | View::Text, None) => hex(bytes, bytes_max),
        (View::Text, Some(text)) => seen(text, bytes_max, None),
        (View::Fitting, Some(text)) => match serde_json::from_str::<IgnoredAny>(text) {
            // A lone number or word is as readable as text.
            Ok(_) if says_json(content_type) || text.trim_start().starts_with(['{', '[']) => {
                let (laid_out, whole) = laid_out(text, bytes_max);
                plain("JSON", laid_out, (!whole).then(|| beginning(bytes.len())))
            }
            Err(error) if says_json(content_type) => {
                seen(text, bytes_max, Some(format!("Its type says JSON, but it is none: {error}.")))
            }
            Ok(_) | Err(_) => seen(text, bytes_max, None),
        },
    }
}

fn beginning(len: usize) -> String {
    format!("Only the beginning of {} is shown; the download has all of it.", crate::console::show::size(len as u64))
}

/// Text, not bytes that happen to be UTF-8: no NUL, few other controls.
fn mostly_seen(text: &str) -> bool {
    let controls = text.chars().filter(|letter| letter.is_control() && !letter.is_whitespace()).count();
    !text.contains('\0') && controls * 20 <= text.len()
}

fn seen(text: &str, bytes_max: usize, note: Option<String>) -> Shown {
    let mut shown = String::with_capacity(text.len().min(bytes_max));
    let mut letters = text.chars().peekable();
    let mut whole = true;
    while let Some(letter) = letters.next() {
        if shown.len() >= bytes_max {
            whole = false;
            break;
        }
        match letter {
            '\n' | '\t' => shown.push(letter),
            // A line end of the other kind is a line end.
            '\r' if letters.peek() == Some(&'\n') => {}
            other => data::push_seen(&mut shown, other),
        }
    }
    let note = if whole { note } else { Some([note.unwrap_or_default(), beginning(text.len())].join(" ")) };
    Shown { name: "Text", text: shown, picture: false, note }
}

/// Valid JSON with a line for each member. Names, numbers and texts stay as they were sent. The second value is whether
/// all of it fitted.
fn laid_out(json: &str, bytes_max: usize) -> (String, bool) {
    let mut text = String::with_capacity(json.len().min(bytes_max));
    let mut letters = json.chars().peekable();
    let (mut depth, mut quoted, mut escaped) = (0_usize, false, false);
    while let Some(letter) = letters.next() {
        if text.len() >= bytes_max {
            return (text, false);
        }
        match letter {
            _ if quoted => {
                data::push_seen(&mut text, letter);
                quoted = letter != '"' || escaped;
                escaped = letter == '\\' && !escaped;
            }
            ' ' | '\t' | '\n' | '\r' => {}
            '{' | '[' => {
                text.push(letter);
                while letters.peek().is_some_and(|next| next.is_ascii_whitespace()) {
                    letters.next();
                }
                match letters.next_if(|next| matches!(next, '}' | ']')) {
                    Some(closing) => text.push(closing),
                    None => {
                        depth += 1;
                        new_line(&mut text, depth);
                    }
                }
            }
            '}' | ']' => {
                depth = depth.saturating_sub(1);
                new_line(&mut text, depth);
                text.push(letter);
            }
            ',' => {
                text.push(letter);
                new_line(&mut text, depth);
            }
            ':' => text.push_str(": "),
            other => {
                quoted = other == '"';
                text.push(other);
            }
        }
    }
    (text, true)
}

fn new_line(text: &mut String, depth: usize) {
    text.push('\n');
    text.extend(std::iter::repeat_n("  ", depth));
}

/// `00000010  68 65 6c 6c 6f …  hello…`, a line for sixteen bytes.
fn hex(bytes: &[u8], bytes_max: usize) -> Shown {
    let shown = bytes.get(..HEX_BYTES_MAX.min(bytes_max / 4)).unwrap_or(bytes);
    let mut text = String::with_capacity(shown.len() * 5);
    for (number, line) in shown.chunks(LINE_BYTES).enumerate() {
        // Writing to a String cannot fail.
        let _infallible = write!(text, "{:08x} ", number * LINE_BYTES);
        for at in 0..LINE_BYTES {
            let _infallible = match line.get(at) {
                Some(byte) => write!(text, " {byte:02x}"),
                None => write!(text, "   "),
            };
        }
        text.push_str("  ");
        text.extend(
            line.iter().map(|byte| if byte.is_ascii_graphic() || *byte == b' ' { char::from(*byte) } else { '.' }),
        );
        text.push('\n');
    }
    let note = (shown.len() < bytes.len()).then(|| beginning(bytes.len()));
    Shown { name: "Bytes", text, picture: false, note }
}

#[cfg(test)]
mod tests {
    use super::View;
    use super::of;
    use super::picture_type;

    fn shown(content_type: &str, bytes: &[u8]) -> (&'static str, String) {
        let preview = of(content_type, bytes, View::Fitting, 1000);
        (preview.name, preview.text.0)
    }

    #[test]
    fn json_is_laid_out_as_it_was_sent() {
        let sent = br#"{"b":1.50,"a":[1,{ },[ ],"x, {y}: \" \\"],"n":123456789012345678901234567890}"#;
        let laid_out = "{\n  \"b\": 1.50,\n  \"a\": [\n    1,\n    {},\n    [],\n    \"x, {y}: \\\" \\\\\"\n  ],\n  \"n\": 123456789012345678901234567890\n}";
        assert_eq!(shown("application/json", sent), ("JSON", laid_out.to_owned()));
        assert_eq!(shown("", b"[1]").0, "JSON");
        assert_eq!(shown("text/plain", b"12"), ("Text", "12".to_owned()));
        let broken = of("application/json", b"{\"a\":", View::Fitting, 1000);
        assert_eq!(broken.name, "Text");
        assert!(broken.note.unwrap().contains("line 1 column 5"));
        // Nested deeper than a parser goes: text, and no stack used up.
        assert_eq!(shown("application/json", "[".repeat(100_000).as_bytes()).0, "Text");
    }

    #[test]
    fn text_shows_what_it_hides() {
        let (name, text) = shown("text/plain", "a\tb\r\nc\u{202e}d\u{1b}[31m <script>".as_bytes());
        assert_eq!((name, text.as_str()), ("Text", "a\tb\nc\\u{202e}d\\u{1b}[31m <script>"));
        assert_eq!(shown("text/plain", b"a\0b").0, "Bytes");
        assert_eq!(shown("application/json", "{\"a\":\"\u{202e}\"}".as_bytes()).1, "{\n  \"a\": \"\\u{202e}\"\n}");
    }

    #[test]
    fn bytes_are_a_dump_and_everything_is_bounded() {
        let (name, text) = shown("application/octet-stream", b"hello\xff\x00 world, again");
        assert_eq!(name, "Bytes");
        assert!(
            text.starts_with(
                "00000000  68 65 6c 6c 6f ff 00 20 77 6f 72 6c 64 2c 20 61  hello.. world, a\n00000010  67"
            )
        );
        assert!(text.ends_with("  gain\n"));
        // Laid out, it is sixty times as long.
        let nested = format!("{}1{}", "[".repeat(120), "]".repeat(120));
        let preview = of("application/json", nested.as_bytes(), View::Fitting, 1000);
        assert!(preview.name == "JSON" && preview.text.0.len() < 2000 && preview.note.is_some());
        for large in [vec![0; 1 << 20], vec![b'x'; 1 << 20], "é".repeat(1 << 19).into_bytes()] {
            for view in [View::Fitting, View::Text, View::Hex] {
                let preview = of("application/json", &large, view, 1000);
                assert!(preview.text.0.len() < 2000, "{} {}", preview.name, preview.text.0.len());
                assert!(preview.note.is_some());
            }
        }
    }

    #[test]
    fn nothing_in_a_text_begins_markup_and_all_that_is_sent_counts() {
        let preview = of("text/plain", b"</code><script>&amp; \"'", View::Fitting, 1000);
        assert_eq!(preview.text.to_string(), "&#60;/code&#62;&#60;script&#62;&#38;amp; \"'");
        for value in ["<".repeat(400), "&".repeat(5000), "[\"<\"]".repeat(300)] {
            let preview = of("text/plain", value.as_bytes(), View::Fitting, 1000);
            let sent = preview.text.to_string();
            assert!((990..=1000).contains(&sent.len()) && preview.note.is_some(), "{} bytes", sent.len());
            assert_eq!(super::Verbatim::weight(&preview.text.0), sent.len());
        }
    }

    #[test]
    fn a_picture_is_one_by_its_type_and_by_its_bytes() {
        assert_eq!(picture_type("image/png", b"\x89PNG\r\n\x1a\n...").map(|(name, _)| name), Some("image/png"));
        assert_eq!(picture_type("image/webp", b"RIFF1234WEBPVP8 ").map(|(name, _)| name), Some("image/webp"));
        for (content_type, bytes) in [
            ("image/png", &b"<svg onload=alert(1)>"[..]),
            ("image/svg+xml", b"\x89PNG\r\n\x1a\n"),
            ("text/html", b"GIF89a<script>"),
            ("image/gif", b""),
        ] {
            assert_eq!(picture_type(content_type, bytes), None, "{content_type}");
        }
    }
}
