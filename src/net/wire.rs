//! Frames between nodes: how they are written, and what kinds there are. Reading is in [`decode`], the first words of a
//! connection in [`hello`]. Pure.
//!
//! ```text
//!  0  u32  length of all that follows          all numbers little-endian
//!  4  u8   version of this layout
//!  5  u8   kind
//!  6  u64  number of the question               kinds Question, Answer and Unanswered only
//!  …  u32  CRC32C of everything before and behind it
//!  …       body
//! ```
//! What is longer than a frame is several, one directly behind the other: its beginning in frames of kind Part, and what is
//! left in one of its own kind.
//!
//! The checksum finds what TLS cannot: a frame that was spoilt before it was sealed. This layout stays as it is for Hello
//! and Refusal for ever, so that releases of all ages can tell each other why they do not understand each other.

use crate::base::checksum;
use crate::base::limits::PEER_FRAME_BYTES_MAX;
use crate::base::limits::PEER_MESSAGE_BYTES_MAX;

pub mod decode;
pub mod hello;

#[cfg(test)]
mod tests;

/// The version of the layout.
pub const LAYOUT: u8 = 1;
/// Bytes of the length itself.
const LENGTH_BYTES: usize = 4;
/// Length, version, kind and checksum.
const SHORT_HEAD: usize = 10;
/// With the number of a question.
const LONG_HEAD: usize = 18;
/// The longest body of one frame, of every kind.
pub const BODY_BYTES_MAX: usize = PEER_FRAME_BYTES_MAX + LENGTH_BYTES - LONG_HEAD;

/// Which of a node's connections to another: what may be slow does not stand in the way of what must not.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Lane {
    /// Who is alive.
    Gossip,
    /// The control plane.
    Control,
    /// What devices wait for.
    Requests,
    /// Handoff.
    Bulk,
}

impl Lane {
    /// All of them in order.
    pub const ALL: [Self; 4] = [Self::Gossip, Self::Control, Self::Requests, Self::Bulk];

    /// For people and metrics.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Gossip => "gossip",
            Self::Control => "control",
            Self::Requests => "requests",
            Self::Bulk => "bulk",
        }
    }
}

/// What a frame is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// The first word of either side.
    Hello,
    /// Instead of the answering Hello; the connection ends.
    Refusal,
    /// Needs no answer.
    Message,
    /// Wants an answer under its number.
    Question,
    /// To the question of this number.
    Answer,
    /// There is no answer to the question of this number; the body says why ([`Silence`]).
    Unanswered,
    /// Are you there?
    Ping,
    /// Yes.
    Pong,
    /// The beginning of the message, question or answer that follows.
    Part,
}

impl Kind {
    const ALL: [Self; 9] = [
        Self::Hello,
        Self::Refusal,
        Self::Message,
        Self::Question,
        Self::Answer,
        Self::Unanswered,
        Self::Ping,
        Self::Pong,
        Self::Part,
    ];

    fn code(self) -> u8 {
        match self {
            Self::Hello => 1,
            Self::Refusal => 2,
            Self::Message => 3,
            Self::Question => 4,
            Self::Answer => 5,
            Self::Unanswered => 6,
            Self::Ping => 7,
            Self::Pong => 8,
            Self::Part => 9,
        }
    }

    fn from_code(code: u8) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.code() == code)
    }

    fn is_numbered(self) -> bool {
        matches!(self, Self::Question | Self::Answer | Self::Unanswered)
    }

    /// Whether it may be longer than a frame.
    fn may_be_long(self) -> bool {
        matches!(self, Self::Message | Self::Question | Self::Answer)
    }

    /// Bytes before the body.
    fn head(self) -> usize {
        if self.is_numbered() { LONG_HEAD } else { SHORT_HEAD }
    }
}

/// Why a question has no answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Silence {
    /// Too many are being answered; nothing was done.
    Busy,
    /// Something failed; what was done is not known.
    Failed,
}

impl Silence {
    /// One byte.
    #[must_use]
    pub fn encode(self) -> [u8; 1] {
        match self {
            Self::Busy => [1],
            Self::Failed => [2],
        }
    }

    /// What is not known to this release is the worse.
    #[must_use]
    pub fn decode(body: &[u8]) -> Self {
        if body == Self::Busy.encode() { Self::Busy } else { Self::Failed }
    }
}

/// A frame that was read, or several that are one thing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Frame {
    /// What it is.
    pub kind: Kind,
    /// The number of the question; 0 where there is none.
    pub id: u64,
    /// What it says.
    pub body: Vec<u8>,
}

/// Why bytes are not a frame. The connection ends: where the next one begins is not known any more.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum FrameError {
    /// A length of 0.
    #[error("an empty frame")]
    Empty,
    /// Longer than this connection may say now.
    #[error("a frame of {length} bytes where {max} are the most")]
    TooLong {
        /// As claimed.
        length: u32,
        /// The limit.
        max: usize,
    },
    /// Shorter than what its kind begins with.
    #[error("a frame that ends within its head")]
    TooShort,
    /// Another layout.
    #[error("a frame of layout {0}")]
    UnknownVersion(u8),
    /// Not a kind that this release knows.
    #[error("a frame of kind {0}")]
    UnknownKind(u8),
    /// Not what was sent.
    #[error("a frame whose checksum does not fit")]
    Checksum,
    /// The connection ended within it.
    #[error("a frame that breaks off")]
    Truncated,
    /// A kind that has no business here now.
    #[error("a frame of a kind that is not expected here")]
    Unexpected,
    /// The first words of a connection are not what they must be.
    #[error("first words that cannot be understood")]
    Hello,
}

/// One frame: its head and how much of the array that is, and its body.
struct Piece<'a> {
    head: [u8; LONG_HEAD],
    head_len: usize,
    body: &'a [u8],
}

impl<'a> Piece<'a> {
    /// `None` where the body is longer than [`BODY_BYTES_MAX`].
    fn new(kind: Kind, id: u64, body: &'a [u8]) -> Option<Self> {
        let head_len = kind.head();
        if body.len() > BODY_BYTES_MAX {
            return None;
        }
        let length = u32::try_from(head_len - LENGTH_BYTES + body.len()).ok()?;
        let mut head = [0; LONG_HEAD];
        let (before, checksum) = head.get_mut(..head_len)?.split_last_chunk_mut::<4>()?;
        let numbers = length.to_le_bytes().into_iter().chain([LAYOUT, kind.code()]).chain(id.to_le_bytes());
        before.iter_mut().zip(numbers).for_each(|(to, from)| *to = from);
        *checksum = checksum::crc32c(&[before, body]).to_le_bytes();
        Some(Self { head, head_len, body })
    }

    fn len(&self) -> usize {
        self.head_len + self.body.len()
    }

    fn append(&self, to: &mut Vec<u8>) {
        to.extend_from_slice(self.head.get(..self.head_len).unwrap_or_default());
        to.extend_from_slice(self.body);
    }
}

/// What is ready to be appended to what waits, in one frame or as many as it takes: heads were made without a lock, its
/// body is copied once.
pub struct Ready<'a> {
    /// The beginning of what is longer than a frame.
    parts: Vec<Piece<'a>>,
    last: Piece<'a>,
}

impl<'a> Ready<'a> {
    /// `None` where the body is longer than one of this kind may be.
    #[must_use]
    pub fn new(kind: Kind, id: u64, mut body: &'a [u8]) -> Option<Self> {
        let mut parts = Vec::new();
        if body.len() > PEER_MESSAGE_BYTES_MAX {
            return None;
        }
        while body.len() > BODY_BYTES_MAX && kind.may_be_long() {
            let (part, rest) = body.split_at_checked(BODY_BYTES_MAX)?;
            parts.push(Piece::new(Kind::Part, 0, part)?);
            body = rest;
        }
        Some(Self { parts, last: Piece::new(kind, id, body)? })
    }

    /// Bytes of all of its frames.
    #[must_use]
    pub fn len(&self) -> usize {
        self.parts.iter().map(Piece::len).sum::<usize>() + self.last.len()
    }

    /// Never.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        false
    }

    /// Whether it is more than one frame.
    #[must_use]
    pub fn is_long(&self) -> bool {
        !self.parts.is_empty()
    }

    /// Writes it behind `to`.
    pub fn append(&self, to: &mut Vec<u8>) {
        self.parts.iter().chain([&self.last]).for_each(|piece| piece.append(to));
    }
}

/// Its bytes alone; `None` where the body is too long.
#[must_use]
pub fn encode(kind: Kind, id: u64, body: &[u8]) -> Option<Vec<u8>> {
    let ready = Ready::new(kind, id, body)?;
    let mut bytes = Vec::with_capacity(ready.len());
    ready.append(&mut bytes);
    Some(bytes)
}

/// Bytes of the first frame of several that were written here one behind the other; `None` where there is none.
#[must_use]
pub fn first_len(frames: &[u8]) -> Option<usize> {
    let length = frames.first_chunk::<LENGTH_BYTES>().map(|bytes| u32::from_le_bytes(*bytes))?;
    usize::try_from(length).ok().map(|length| length + LENGTH_BYTES)
}
