//! Bytes of the journal. All numbers little-endian.
//!
//! ```text
//! segment  = header 64 B, then groups without gaps, then zeros to its preallocated size
//! header   = "RFSEGM01" 8 · tag 8 · segment 8 · size 8 · zero 28 · crc32c of the 60 bytes before 4
//! group    = header 64 B, body, zeros to a multiple of 8
//! header   = "RFG1" 4 · body_len 4 · group 8 · records 4 · flags 4 · chain 16 · tag 8 · body_crc 4 · zero 8
//!          · crc32c of the 60 bytes before 4
//! body     = records, each: len 4 · bytes
//! chain'   = first 16 bytes of SHA-256 over the header (which holds the chain so far and the body's checksum)
//! ```
//! The tag is random per journal: bytes of another journal in reused blocks do not fit.

use crate::base::checksum;
use crate::base::limits::GROUP_BYTES_MAX;
use crate::base::limits::MERGED_BYTES_MAX;
use crate::store::journal::Position;

/// Bytes of a segment's header.
pub const SEGMENT_HEADER_BYTES: usize = 64;
/// Bytes of a group's header.
pub const GROUP_HEADER_BYTES: usize = 64;
/// Bytes before each record.
pub const RECORD_HEADER_BYTES: usize = 4;
/// Groups begin at multiples of this.
pub const ALIGN: usize = 8;

const SEGMENT_MAGIC: &[u8; 8] = b"RFSEGM01";
const GROUP_MAGIC: &[u8; 4] = b"RFG1";
const CRC_AT: usize = 60;

/// A group without records, written behind the last one when the journal falls idle.
pub const FLAG_MARK: u32 = 1;

/// A group's header.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct GroupHeader {
    /// Bytes of the body before padding.
    pub body_len: u32,
    /// The group's number.
    pub group: u64,
    /// Records in it.
    pub records: u32,
    /// [`FLAG_MARK`] or 0.
    pub flags: u32,
    /// The chain value up to here.
    pub chain: [u8; 16],
    /// CRC32C of the padded body.
    pub body_crc: u32,
}

/// A file's name.
#[must_use]
pub fn segment_name(segment: u64) -> String {
    format!("{segment:012}.seg")
}

/// Reverses [`segment_name`].
#[must_use]
pub fn parse_segment_name(name: &str) -> Option<u64> {
    let number = name.strip_suffix(".seg")?.parse().ok()?;
    (segment_name(number) == name).then_some(number)
}

/// A segment's header.
#[must_use]
pub fn segment_header(tag: u64, segment: u64, size: u64) -> Vec<u8> {
    let mut bytes = SEGMENT_MAGIC.to_vec();
    bytes.extend_from_slice(&tag.to_le_bytes());
    bytes.extend_from_slice(&segment.to_le_bytes());
    bytes.extend_from_slice(&size.to_le_bytes());
    finish_header(bytes)
}

fn finish_header(mut bytes: Vec<u8>) -> Vec<u8> {
    bytes.resize(CRC_AT, 0);
    let crc = checksum::crc32c(&[&bytes]);
    bytes.extend_from_slice(&crc.to_le_bytes());
    bytes
}

/// Bytes of a group with this body, header and padding included.
#[must_use]
pub fn group_bytes(body_len: usize) -> usize {
    GROUP_HEADER_BYTES + body_len.next_multiple_of(ALIGN)
}

/// Bytes that one record adds to a group's body.
#[must_use]
pub fn record_bytes(len: usize) -> usize {
    RECORD_HEADER_BYTES + len
}

/// A whole group, ready to be written at `at`, and the position behind it (same segment).
///
/// # Panics
/// Where the records exceed what the writer may put into one group: a bug of ours.
#[must_use]
pub fn encode_group<'a>(
    tag: u64,
    at: Position,
    flags: u32,
    records: impl IntoIterator<Item = &'a [u8]>,
) -> (Vec<u8>, Position) {
    let mut bytes = vec![0; GROUP_HEADER_BYTES];
    let mut count: u32 = 0;
    for record in records {
        bytes.extend_from_slice(&to_u32(record.len()).to_le_bytes());
        bytes.extend_from_slice(record);
        count += 1;
    }
    let body_len = to_u32(bytes.len() - GROUP_HEADER_BYTES);
    bytes.resize(bytes.len().next_multiple_of(ALIGN), 0);
    let body_crc = checksum::crc32c(&[bytes.get(GROUP_HEADER_BYTES..).unwrap_or_default()]);
    let header = GroupHeader { body_len, group: at.group, records: count, flags, chain: at.chain, body_crc };
    let header = encode_header(tag, &header);
    if let Some(room) = bytes.get_mut(..GROUP_HEADER_BYTES) {
        room.copy_from_slice(&header);
    }
    let behind = Position {
        segment: at.segment,
        offset: at.offset + bytes.len() as u64,
        group: at.group + 1,
        chain: checksum::sha256_16(&[&header]),
    };
    (bytes, behind)
}

fn to_u32(len: usize) -> u32 {
    // The writer never gathers more than GROUP_BYTES_MAX, or one record; a break of that must not reach the disk.
    u32::try_from(len)
        .ok()
        .filter(|len| *len as usize <= GROUP_BYTES_MAX + MERGED_BYTES_MAX)
        .unwrap_or_else(|| unreachable!("a group of {len} bytes was gathered, more than GROUP_BYTES_MAX"))
}

fn encode_header(tag: u64, header: &GroupHeader) -> Vec<u8> {
    let mut bytes = GROUP_MAGIC.to_vec();
    bytes.extend_from_slice(&header.body_len.to_le_bytes());
    bytes.extend_from_slice(&header.group.to_le_bytes());
    bytes.extend_from_slice(&header.records.to_le_bytes());
    bytes.extend_from_slice(&header.flags.to_le_bytes());
    bytes.extend_from_slice(&header.chain);
    bytes.extend_from_slice(&tag.to_le_bytes());
    bytes.extend_from_slice(&header.body_crc.to_le_bytes());
    finish_header(bytes)
}

/// Reads a group's header; `None` where the bytes are not one of this journal.
#[must_use]
pub fn decode_header(tag: u64, bytes: &[u8]) -> Option<GroupHeader> {
    let bytes: &[u8; GROUP_HEADER_BYTES] = bytes.first_chunk()?;
    if !bytes.starts_with(GROUP_MAGIC) {
        return None;
    }
    let header = GroupHeader {
        body_len: u32_at(bytes, 4)?,
        group: u64_at(bytes, 8)?,
        records: u32_at(bytes, 16)?,
        flags: u32_at(bytes, 20)?,
        chain: *bytes.get(24..)?.first_chunk()?,
        body_crc: u32_at(bytes, 48)?,
    };
    // Encoding again compares every byte: magic, tag, zeros and checksum.
    (encode_header(tag, &header).as_slice() == bytes).then_some(header)
}

/// A group that fits in every respect, found at the start of `bytes`.
#[derive(Debug)]
pub struct Group<'a> {
    /// Its header.
    pub header: GroupHeader,
    /// Its records in order.
    pub records: Vec<&'a [u8]>,
    /// Bytes it takes.
    pub len: usize,
    /// The chain value behind it.
    pub chain: [u8; 16],
}

/// Reads a group; `None` where header, body or records do not fit. Whether number and chain are the expected ones is
/// for the caller to say.
#[must_use]
pub fn decode_group(tag: u64, bytes: &[u8]) -> Option<Group<'_>> {
    let header = decode_header(tag, bytes)?;
    let body_len = usize::try_from(header.body_len).ok()?;
    let padded = bytes.get(GROUP_HEADER_BYTES..GROUP_HEADER_BYTES + body_len.next_multiple_of(ALIGN))?;
    if checksum::crc32c(&[padded]) != header.body_crc {
        return None;
    }
    let mut rest = padded.get(..body_len)?;
    let mut records = Vec::new();
    for _ in 0..header.records {
        let (len, behind) = rest.split_first_chunk::<RECORD_HEADER_BYTES>()?;
        let (record, behind) = behind.split_at_checked(usize::try_from(u32::from_le_bytes(*len)).ok()?)?;
        records.push(record);
        rest = behind;
    }
    let chain = checksum::sha256_16(&[bytes.get(..GROUP_HEADER_BYTES)?]);
    rest.is_empty().then_some(Group { header, records, len: GROUP_HEADER_BYTES + padded.len(), chain })
}

fn u32_at(bytes: &[u8], at: usize) -> Option<u32> {
    Some(u32::from_le_bytes(*bytes.get(at..)?.first_chunk()?))
}

fn u64_at(bytes: &[u8], at: usize) -> Option<u64> {
    Some(u64::from_le_bytes(*bytes.get(at..)?.first_chunk()?))
}
