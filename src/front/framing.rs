//! Where one HTTP/1 request ends and the next begins, read strictly. hyper is lenient where RFC 9112 allows it: it drops a
//! `Content-Length` beside a `Transfer-Encoding`, merges repeated ones, takes a bare line feed for a line end. A proxy in
//! front may be lenient in another way, and then the two disagree about whose bytes are whose (request smuggling). What
//! is ambiguous is spoilt here before hyper reads it, which makes it answer 400 and close.

/// Bytes kept of a line: more than the longest name and number that matter.
const LINE_BYTES: usize = 64;

/// What stands where the ambiguity was: never valid in a head or a chunk's size.
const SPOILT: u8 = 0;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    /// Before a request: empty lines are skipped (RFC 9112 §2.2).
    Before,
    Head,
    Body(u64),
    ChunkSize,
    ChunkData(u64),
    ChunkEnd,
    Trailers,
    /// Something was spoilt: the connection ends.
    Over,
}

/// Follows the bytes of one connection.
#[derive(Debug)]
pub struct Framing {
    state: State,
    /// The line so far, its beginning only.
    line: Vec<u8>,
    line_len: usize,
    /// Its last byte so far.
    last: u8,
    length: Option<u64>,
    chunked: bool,
}

impl Default for Framing {
    fn default() -> Self {
        Self { state: State::Before, line: Vec::new(), line_len: 0, last: 0, length: None, chunked: false }
    }
}

/// This line leaves open where the request ends.
struct Ambiguous;

impl Framing {
    /// Looks at bytes that came, and spoils them where they are ambiguous.
    pub fn inspect(&mut self, bytes: &mut [u8]) {
        let mut rest = bytes;
        while !rest.is_empty() && self.state != State::Over {
            let used = match self.state {
                State::Body(left) => self.skip(left, rest.len(), State::Body, State::Before),
                State::ChunkData(left) => self.skip(left, rest.len(), State::ChunkData, State::ChunkEnd),
                State::Before | State::Head | State::ChunkSize | State::ChunkEnd | State::Trailers => {
                    self.read_line(rest)
                }
                State::Over => return,
            };
            rest = rest.split_at_mut_checked(used).map_or(&mut [][..], |(_, rest)| rest);
        }
    }

    /// Whether something was spoilt.
    #[must_use]
    pub fn is_over(&self) -> bool {
        self.state == State::Over
    }

    fn skip(&mut self, left: u64, here: usize, more: fn(u64) -> State, then: State) -> usize {
        let used = usize::try_from(left).unwrap_or(usize::MAX).min(here);
        let left = left.saturating_sub(used as u64);
        self.state = if left == 0 { then } else { more(left) };
        used
    }

    /// Reads to the end of the line or of the bytes.
    fn read_line(&mut self, rest: &mut [u8]) -> usize {
        let end = rest.iter().position(|byte| *byte == b'\n');
        let line = rest.get(..end.unwrap_or(rest.len())).unwrap_or_default();
        let room = LINE_BYTES.saturating_sub(self.line.len());
        self.line.extend_from_slice(line.get(..room.min(line.len())).unwrap_or_default());
        self.line_len += line.len();
        self.last = line.last().copied().unwrap_or(self.last);
        let Some(end) = end else { return rest.len() };
        let ended = if self.last == b'\r' { self.end_of_line() } else { Err(Ambiguous) };
        if ended.is_err() {
            // Not the line end where it can be helped: hyper answers when the head's end is there.
            let at = if matches!(rest.first(), Some(b'\r' | b'\n')) { end } else { 0 };
            if let Some(byte) = rest.get_mut(at) {
                *byte = SPOILT;
            }
            self.state = State::Over;
        }
        self.line.clear();
        (self.line_len, self.last) = (0, 0);
        end + 1
    }

    fn end_of_line(&mut self) -> Result<(), Ambiguous> {
        let is_empty = self.line_len == 1;
        match self.state {
            State::Before if is_empty => {}
            State::Before => {
                (self.length, self.chunked) = (None, false);
                self.state = State::Head;
            }
            State::Head if is_empty => {
                self.state = match (self.chunked, self.length) {
                    (true, _) => State::ChunkSize,
                    (false, Some(length)) if length > 0 => State::Body(length),
                    (false, _) => State::Before,
                };
            }
            State::Head => self.field()?,
            State::ChunkSize => {
                self.state = match chunk_size(&self.line)? {
                    0 => State::Trailers,
                    size => State::ChunkData(size),
                };
            }
            State::ChunkEnd if is_empty => self.state = State::ChunkSize,
            State::ChunkEnd => return Err(Ambiguous),
            State::Trailers if is_empty => self.state = State::Before,
            State::Trailers | State::Body(_) | State::ChunkData(_) | State::Over => {}
        }
        Ok(())
    }

    /// A field of the head: those two that say how long the body is.
    fn field(&mut self) -> Result<(), Ambiguous> {
        let Some(colon) = self.line.iter().position(|byte| *byte == b':') else { return Ok(()) };
        let (name, value) = self.line.split_at_checked(colon).unwrap_or_default();
        let name = name.trim_ascii();
        let value = value.get(1..).unwrap_or_default().trim_ascii();
        let is_length = name.eq_ignore_ascii_case(b"content-length");
        let is_coding = name.eq_ignore_ascii_case(b"transfer-encoding");
        if !is_length && !is_coding {
            return Ok(());
        }
        let first = self.length.is_none() && !self.chunked;
        if !first || self.line_len > LINE_BYTES {
            return Err(Ambiguous);
        }
        if is_coding {
            self.chunked = true;
            return if value.eq_ignore_ascii_case(b"chunked") { Ok(()) } else { Err(Ambiguous) };
        }
        self.length = Some(number(value, 10).ok_or(Ambiguous)?);
        Ok(())
    }
}

fn chunk_size(line: &[u8]) -> Result<u64, Ambiguous> {
    let digits = line.iter().take_while(|byte| byte.is_ascii_hexdigit()).count();
    let (size, rest) = line.split_at_checked(digits).unwrap_or_default();
    // An extension may follow.
    if !matches!(rest.first(), Some(b'\r' | b';' | b' ' | b'\t')) {
        return Err(Ambiguous);
    }
    number(size, 16).ok_or(Ambiguous)
}

/// Digits only: no sign, no space, no list.
fn number(digits: &[u8], radix: u32) -> Option<u64> {
    let only_digits = digits.iter().all(|byte| char::from(*byte).is_digit(radix));
    let text = std::str::from_utf8(digits).ok().filter(|_| only_digits)?;
    u64::from_str_radix(text, radix).ok()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::Framing;
    use super::State;

    /// Whether something was spoilt, with the bytes coming in pieces of that size.
    fn spoilt(text: &str, piece: usize) -> bool {
        let mut framing = Framing::default();
        let mut bytes = text.as_bytes().to_vec();
        bytes.chunks_mut(piece).for_each(|piece| framing.inspect(piece));
        assert_eq!(bytes != text.as_bytes(), framing.state == State::Over, "{text:?}");
        framing.state == State::Over
    }

    fn requests() -> Vec<String> {
        let long = "x".repeat(200);
        vec![
            "GET / HTTP/1.1\r\nhost: a\r\n\r\n".to_owned(),
            "\r\n\r\nPUT / HTTP/1.1\r\ncontent-length: 12\r\n\r\ncontent-len:".to_owned(),
            "POST / HTTP/1.1\r\nContent-Length:0\r\n\r\n".to_owned(),
            "POST / HTTP/1.1\r\nTransfer-Encoding:\tChunked\r\n\r\n5;a=\"b\"\r\n\n\n\n\n\n\r\nA \r\n0123456789\r\n0\r\nx: y\r\n\r\n".to_owned(),
            format!("GET /{long} HTTP/1.1\r\nx-content-length: {long}\r\n\r\n"),
        ]
    }

    #[test]
    fn what_is_clear_is_left_alone_however_it_arrives() {
        let all: String = requests().concat();
        for piece in 1..80 {
            assert!(!spoilt(&all, piece), "in pieces of {piece}");
        }
    }

    #[test]
    fn what_is_ambiguous_is_spoilt_however_it_arrives() {
        let long = " ".repeat(100);
        let ambiguous = [
            "content-length: 5\r\ntransfer-encoding: chunked\r\n",
            "transfer-encoding: chunked\r\nContent-Length: 5\r\n",
            "content-length: 5\r\ncontent-length: 5\r\n",
            "content-length: 5, 5\r\n",
            "content-length: +5\r\n",
            "content-length: 0x5\r\n",
            "content-length: \r\n",
            "content-length: 18446744073709551616\r\n",
            "transfer-encoding: gzip, chunked\r\n",
            "transfer-encoding: identity\r\n",
            "transfer-encoding: chunked\r\ntransfer-encoding: chunked\r\n",
            "content-length : 5\r\ncontent-length: 6\r\n",
            &format!("content-length:{long}5\r\n"),
            "x: y\n",
            "transfer-encoding: chunked\r\n\r\n5\nhello\r\n",
            "transfer-encoding: chunked\r\n\r\n\r\n",
            "transfer-encoding: chunked\r\n\r\n5x\r\n",
            "transfer-encoding: chunked\r\n\r\n-5\r\n",
            "transfer-encoding: chunked\r\n\r\nfffffffffffffffff\r\n",
            "transfer-encoding: chunked\r\n\r\n5\r\nhello!\r\n",
        ];
        for fields in ambiguous {
            for before in ["".to_owned(), requests().concat()] {
                let text = format!("{before}POST / HTTP/1.1\r\nhost: a\r\n{fields}\r\n");
                for piece in [1, 2, 7, 4096] {
                    assert!(spoilt(&text, piece), "{fields:?} in pieces of {piece}");
                }
            }
        }
    }

    proptest! {
        #[test]
        fn pieces_make_no_difference(
            parts in prop::collection::vec(prop::sample::select(vec![
                "GET / HTTP/1.1\r\n", "content-length: ", "transfer-encoding: chunked", "\r\n", "\n", "\r", "5", "0", "a:b", ";",
            ]), 0..30),
            piece in 1_usize..20,
        ) {
            let text = parts.concat();
            prop_assert_eq!(spoilt(&text, piece), spoilt(&text, 4096));
        }
    }
}
