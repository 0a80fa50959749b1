//! From bytes as they arrive to frames, and from several frames to what was said in them. A length is judged as soon as it is
//! known, also that of all parts together, and room for a body is made as the body arrives: a claimed length costs no
//! memory. Who is not known says nothing in parts. Pure.

use crate::base::checksum;
use crate::base::limits::FRAME_STEP_BYTES;
use crate::base::limits::GUEST_FRAME_BYTES_MAX;
use crate::base::limits::PEER_FRAME_BYTES_MAX;
use crate::base::limits::PEER_MESSAGE_BYTES_MAX;
use crate::net::wire::Frame;
use crate::net::wire::FrameError;
use crate::net::wire::Kind;
use crate::net::wire::LAYOUT;
use crate::net::wire::LENGTH_BYTES;
use crate::net::wire::LONG_HEAD;
use crate::net::wire::SHORT_HEAD;

/// One direction of a connection.
#[derive(Debug)]
pub struct Decoder {
    max: usize,
    /// What came in parts so far; empty where nothing is to be gone on with.
    begun: Vec<u8>,
    head: [u8; LONG_HEAD],
    head_len: usize,
    /// Once the head is whole.
    body: Option<Body>,
}

#[derive(Debug)]
struct Body {
    kind: Kind,
    missing: usize,
    /// Behind what came before it in parts.
    bytes: Vec<u8>,
    /// Where its own begin.
    from: usize,
}

impl Default for Decoder {
    fn default() -> Self {
        Self { max: GUEST_FRAME_BYTES_MAX, begun: Vec::new(), head: [0; LONG_HEAD], head_len: 0, body: None }
    }
}

impl Decoder {
    /// It is known who sends: longer frames are taken, and parts.
    pub fn trust(&mut self) {
        self.max = PEER_FRAME_BYTES_MAX;
    }

    /// Takes from `input` up to the end of the next frame that is no part; `None` where it goes on behind it.
    ///
    /// # Errors
    /// [`FrameError`]; what follows means nothing any more.
    pub fn next(&mut self, input: &mut &[u8]) -> Result<Option<Frame>, FrameError> {
        loop {
            if let Some(body) = &mut self.body {
                body.fill(input);
                if body.missing > 0 {
                    return Ok(None);
                }
                let frame = self.finish()?;
                if frame.kind == Kind::Part {
                    self.begun = frame.body;
                    continue;
                }
                return Ok(Some(frame));
            }
            if !self.fill_head(input)? {
                return Ok(None);
            }
        }
    }

    /// The connection ended.
    ///
    /// # Errors
    /// Where it did so within a frame, or behind a part.
    pub fn end(&self) -> Result<(), FrameError> {
        let is_between = self.head_len == 0 && self.body.is_none() && self.begun.is_empty();
        if is_between { Ok(()) } else { Err(FrameError::Truncated) }
    }

    /// Bytes of memory held for what is not whole.
    #[must_use]
    pub fn held(&self) -> usize {
        self.begun.capacity() + self.body.as_ref().map_or(0, |body| body.bytes.capacity())
    }

    /// Takes up to the next thing to be judged. True once the head is whole.
    fn fill_head(&mut self, input: &mut &[u8]) -> Result<bool, FrameError> {
        loop {
            let wanted = self.head_wanted()?;
            if self.head_len >= wanted {
                return self.begin_body().map(|()| true);
            }
            let Some(room) = self.head.get_mut(self.head_len..wanted) else { return Err(FrameError::TooShort) };
            let taken = room.len().min(input.len());
            let (now, later) = input.split_at_checked(taken).unwrap_or_default();
            room.iter_mut().zip(now).for_each(|(to, from)| *to = *from);
            *input = later;
            self.head_len += taken;
            if self.head_len < wanted {
                // What has come may be wrong already.
                return self.head_wanted().map(|_| false);
            }
        }
    }

    /// Judges what there is of the head and says how long it is, as far as that is known.
    fn head_wanted(&self) -> Result<usize, FrameError> {
        let known = self.head.get(..self.head_len).unwrap_or_default();
        let Some(length) = known.first_chunk::<LENGTH_BYTES>() else { return Ok(LENGTH_BYTES) };
        let length = u32::from_le_bytes(*length);
        let bytes = usize::try_from(length).unwrap_or(usize::MAX);
        if length == 0 {
            return Err(FrameError::Empty);
        }
        if bytes > self.max {
            return Err(FrameError::TooLong { length, max: self.max });
        }
        if bytes + LENGTH_BYTES < SHORT_HEAD {
            return Err(FrameError::TooShort);
        }
        if let Some(version) = known.get(4)
            && *version != LAYOUT
        {
            return Err(FrameError::UnknownVersion(*version));
        }
        let Some(code) = known.get(5) else { return Ok(LENGTH_BYTES + 2) };
        let kind = Kind::from_code(*code).ok_or(FrameError::UnknownKind(*code))?;
        let head = kind.head();
        let Some(body) = (bytes + LENGTH_BYTES).checked_sub(head) else { return Err(FrameError::TooShort) };
        self.judge_parts(kind, body, length)?;
        Ok(head)
    }

    /// A part comes from who is known, has something in it, and is followed by what it is the beginning of.
    fn judge_parts(&self, kind: Kind, body: usize, length: u32) -> Result<(), FrameError> {
        let is_part = kind == Kind::Part;
        if is_part && self.max < PEER_FRAME_BYTES_MAX || !self.begun.is_empty() && !is_part && !kind.may_be_long() {
            return Err(FrameError::Unexpected);
        }
        if is_part && body == 0 {
            return Err(FrameError::TooShort);
        }
        let max = PEER_MESSAGE_BYTES_MAX.saturating_sub(self.begun.len());
        if body > max { Err(FrameError::TooLong { length, max }) } else { Ok(()) }
    }

    /// The head is whole.
    fn begin_body(&mut self) -> Result<(), FrameError> {
        let kind = self.head.get(5).and_then(|code| Kind::from_code(*code)).ok_or(FrameError::TooShort)?;
        let length = self.head.first_chunk::<LENGTH_BYTES>().map_or(0, |bytes| u32::from_le_bytes(*bytes));
        let bytes = usize::try_from(length).unwrap_or(usize::MAX);
        let missing = (bytes + LENGTH_BYTES).checked_sub(kind.head()).ok_or(FrameError::TooShort)?;
        let mut bytes = core::mem::take(&mut self.begun);
        let from = bytes.len();
        bytes.reserve(missing.min(FRAME_STEP_BYTES));
        self.body = Some(Body { kind, missing, bytes, from });
        Ok(())
    }

    fn finish(&mut self) -> Result<Frame, FrameError> {
        let body = self.body.take().ok_or(FrameError::TooShort)?;
        self.head_len = 0;
        let head = self.head.get(..body.kind.head()).ok_or(FrameError::TooShort)?;
        let (before, crc) = head.split_last_chunk::<4>().ok_or(FrameError::TooShort)?;
        if checksum::crc32c(&[before, body.bytes.get(body.from..).unwrap_or_default()]) != u32::from_le_bytes(*crc) {
            return Err(FrameError::Checksum);
        }
        let id =
            if body.kind.is_numbered() { before.last_chunk::<8>().map_or(0, |id| u64::from_le_bytes(*id)) } else { 0 };
        Ok(Frame { kind: body.kind, id, body: body.bytes })
    }
}

impl Body {
    fn fill(&mut self, input: &mut &[u8]) {
        let taken = self.missing.min(input.len());
        let (now, later) = input.split_at_checked(taken).unwrap_or_default();
        self.bytes.extend_from_slice(now);
        self.missing -= taken;
        *input = later;
    }
}
