//! What is known of a block of lines without reading it, and how that lies on disk: in a file beside the segment, one
//! entry of 64 bytes after the other, each with its own checksum. It can always be made anew from the lines.
//!
//! ```text
//! offset u32 │ bytes u32 │ lines u32 │ levels u8 │ 0 ×11 │ stamp_min u64 │ stamp_max u64 │ marks u128 │ 0 ×4 │ crc32c u32
//! ```

use crate::base::checksum;
use crate::store::logbook::Mark;

/// Bytes of an entry.
pub const ENTRY_BYTES: usize = 64;
/// Of these under the checksum.
const BODY_BYTES: usize = ENTRY_BYTES - 4;

/// A run of whole lines.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Block {
    /// Where it begins in its segment.
    pub offset: u32,
    /// How long it is.
    pub bytes: u32,
    /// How many lines it has.
    pub lines: u32,
    /// A bit for each level that is in it.
    pub levels: u8,
    /// The earliest stamp.
    pub stamp_min: u64,
    /// The latest one.
    pub stamp_max: u64,
    /// The marks of all lines.
    pub marks: u128,
}

impl Block {
    /// One that is empty, from here on.
    #[must_use]
    pub fn at(offset: u32) -> Self {
        Self { offset, bytes: 0, lines: 0, levels: 0, stamp_min: u64::MAX, stamp_max: 0, marks: 0 }
    }

    /// Where it ends.
    #[must_use]
    pub fn end(&self) -> u32 {
        self.offset.saturating_add(self.bytes)
    }

    /// Takes in a line of so many bytes; one that cannot be read has no mark.
    pub fn add(&mut self, bytes: usize, mark: Option<&Mark>) {
        self.bytes = self.bytes.saturating_add(u32::try_from(bytes).unwrap_or(u32::MAX));
        self.lines = self.lines.saturating_add(1);
        if let Some(mark) = mark {
            self.levels |= level_bit(mark.level);
            self.stamp_min = self.stamp_min.min(mark.stamp);
            self.stamp_max = self.stamp_max.max(mark.stamp);
            self.marks |= mark.marks;
        }
    }

    /// For the disk.
    #[must_use]
    pub fn encode(&self) -> [u8; ENTRY_BYTES] {
        let mut bytes = Vec::with_capacity(ENTRY_BYTES);
        bytes.extend_from_slice(&self.offset.to_le_bytes());
        bytes.extend_from_slice(&self.bytes.to_le_bytes());
        bytes.extend_from_slice(&self.lines.to_le_bytes());
        bytes.push(self.levels);
        bytes.extend_from_slice(&[0; 11]);
        bytes.extend_from_slice(&self.stamp_min.to_le_bytes());
        bytes.extend_from_slice(&self.stamp_max.to_le_bytes());
        bytes.extend_from_slice(&self.marks.to_le_bytes());
        bytes.extend_from_slice(&[0; 4]);
        let crc = checksum::crc32c(&[&bytes]);
        bytes.extend_from_slice(&crc.to_le_bytes());
        bytes.try_into().unwrap_or([0; ENTRY_BYTES])
    }

    /// Reverses [`Self::encode`]; `None` where the bytes are not what was written.
    #[must_use]
    pub fn decode(entry: &[u8]) -> Option<Self> {
        let (body, crc) = entry.split_at_checked(BODY_BYTES)?;
        if checksum::crc32c(&[body]).to_le_bytes() != crc {
            return None;
        }
        let four = |from: usize| Some(u32::from_le_bytes(body.get(from..from + 4)?.try_into().ok()?));
        let eight = |from: usize| Some(u64::from_le_bytes(body.get(from..from + 8)?.try_into().ok()?));
        let marks = u128::from_le_bytes(body.get(40..56)?.try_into().ok()?);
        Some(Self {
            offset: four(0)?,
            bytes: four(4)?,
            lines: four(8)?,
            levels: *body.get(12)?,
            stamp_min: eight(24)?,
            stamp_max: eight(32)?,
            marks,
        })
    }
}

/// The entries of a file as far as they follow each other from the beginning of the segment and lie within it.
#[must_use]
pub fn decode_all(bytes: &[u8], segment_bytes: u64) -> Vec<Block> {
    let mut blocks = Vec::new();
    let mut end = 0;
    for entry in bytes.chunks_exact(ENTRY_BYTES) {
        let Some(block) = Block::decode(entry).filter(|block| block.offset == end && block.bytes > 0) else { break };
        if u64::from(block.end()) > segment_bytes {
            break;
        }
        end = block.end();
        blocks.push(block);
    }
    blocks
}

/// The bit of a level; levels past the eighth share its bit.
#[must_use]
pub fn level_bit(level: u8) -> u8 {
    1 << level.min(7)
}
