//! The superblock: who this journal belongs to, where replay starts, what is known to be durable. Two slots of 4 KiB
//! in one file, written one after the other, each synced before the next, so that one is always whole. Nothing is
//! purged before both are written, by recovery neither: then either slot alone is enough.
//!
//! ```text
//! slot = "RFSUPR01" 8 · sealed postcard, length-prefixed · zeros · crc32c of the 4092 bytes before 4
//! ```

use serde::Deserialize;
use serde::Serialize;

use crate::base::checksum;
use crate::base::id::ClusterId;
use crate::base::id::NodeId;
use crate::store::disk;
use crate::store::disk::Disk;
use crate::store::disk::DiskFile;
use crate::store::journal::JournalError;
use crate::store::journal::Position;

/// The file's name.
pub const NAME: &str = "superblock";
/// The file while its first content is written.
pub const NAME_NEW: &str = "superblock.new";

const SLOT_BYTES: usize = 4096;
const MAGIC: &[u8; 8] = b"RFSUPR01";

/// What both slots say.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Superblock {
    /// Counts the writes, so that the newer of two slots is known.
    pub sequence: u64,
    /// The cluster.
    pub cluster: ClusterId,
    /// The node.
    pub node: NodeId,
    /// Raised whenever a loss was accepted.
    pub generation: u64,
    /// Random; in every segment and group of this journal.
    pub tag: u64,
    /// Replay starts here: everything before it is proven to be durable in the index.
    pub proven: Position,
    /// The number of the last group known to be durable when this was written; a journal that ends before it has lost
    /// acked records.
    pub durable_group: u64,
    /// The journal was closed in order: nothing follows `durable_group`.
    pub clean: bool,
}

impl Superblock {
    fn encode(&self) -> Vec<u8> {
        let mut slot = MAGIC.to_vec();
        slot = postcard::to_extend(self, slot).unwrap_or_else(|error| unreachable!("a superblock encodes: {error}"));
        slot.resize(SLOT_BYTES - 4, 0);
        let crc = checksum::crc32c(&[&slot]);
        slot.extend_from_slice(&crc.to_le_bytes());
        slot
    }

    fn decode(slot: &[u8]) -> Option<Self> {
        let (rest, crc) = slot.split_last_chunk::<4>()?;
        if checksum::crc32c(&[rest]) != u32::from_le_bytes(*crc) {
            return None;
        }
        let (superblock, _) = postcard::take_from_bytes(rest.strip_prefix(MAGIC)?).ok()?;
        Some(superblock)
    }
}

/// Makes the file with its first content. Until the last step it does not exist under its name.
///
/// # Errors
/// [`JournalError::Io`].
pub fn create<D: Disk>(disk: &D, superblock: &Superblock) -> Result<D::File, JournalError> {
    let io = || JournalError::io("making the superblock");
    let file = disk.create(NAME_NEW).map_err(io())?;
    let slot = superblock.encode();
    disk::write_all_at(&file, &[slot.as_slice(), &slot].concat(), 0).map_err(io())?;
    file.sync_data().map_err(io())?;
    disk.rename(NAME_NEW, NAME).map_err(io())?;
    disk.sync_dir().map_err(io())?;
    Ok(file)
}

/// Writes both slots, each synced before the next. Both must be whole before, else [`renew`].
///
/// # Errors
/// [`JournalError::Poisoned`]; at least one slot is whole.
pub fn write<F: DiskFile>(file: &F, superblock: &Superblock) -> Result<(), JournalError> {
    write_slot(file, 0, superblock)?;
    write_slot(file, 1, superblock)
}

/// As [`write`], for a file just opened: its slots may differ, one may be damaged, and after a failed sync the page
/// cache may claim of one what the disk never got. So the slot that was believed is written again as it is, then the
/// other gets the new content, and only then the believed one.
///
/// # Errors
/// [`JournalError::Poisoned`]; at least one slot is whole.
pub fn renew<F: DiskFile>(file: &F, found: &Found, superblock: &Superblock) -> Result<(), JournalError> {
    write_slot(file, found.slot, &found.superblock)?;
    write_slot(file, 1 - found.slot, superblock)?;
    write_slot(file, found.slot, superblock)
}

fn write_slot<F: DiskFile>(file: &F, slot: u64, superblock: &Superblock) -> Result<(), JournalError> {
    disk::write_all_at(file, &superblock.encode(), slot * SLOT_BYTES as u64)
        .and_then(|()| file.sync_data())
        .map_err(|source| JournalError::Poisoned { source })
}

/// What [`read`] believed.
#[derive(Debug)]
pub struct Found {
    /// The newer of the two contents.
    pub superblock: Superblock,
    /// The slot that holds it, 0 or 1.
    slot: u64,
    /// What is wrong with the other slot, in words.
    pub mended: Option<String>,
}

/// Reads both slots: the newer one, and whether the other must be written again.
///
/// # Errors
/// [`JournalError::Corrupt`] where neither is whole or the file has another size.
pub fn read<F: DiskFile>(file: &F) -> Result<Found, JournalError> {
    let len = file.size().map_err(JournalError::io("reading the superblock"))?;
    if len != 2 * SLOT_BYTES as u64 {
        return Err(JournalError::corrupt(NAME, format!("it has {len} bytes instead of {}", 2 * SLOT_BYTES)));
    }
    let bytes = disk::read_exact_at(file, 0, 2 * SLOT_BYTES).map_err(JournalError::io("reading the superblock"))?;
    let (first, second) = bytes.split_at(SLOT_BYTES);
    let (superblock, slot, wrong) = match (Superblock::decode(first), Superblock::decode(second)) {
        (Some(a), Some(b)) if a == b => (a, 0, None),
        (Some(a), Some(b)) if a.sequence >= b.sequence => (a, 0, Some("second copy was older")),
        (Some(_), Some(b)) => (b, 1, Some("first copy was older")),
        (Some(one), None) => (one, 0, Some("second copy was damaged")),
        (None, Some(one)) => (one, 1, Some("first copy was damaged")),
        (None, None) => return Err(JournalError::corrupt(NAME, "both copies are damaged")),
    };
    Ok(Found { superblock, slot, mended: wrong.map(|wrong| format!("the superblock's {wrong}; it is renewed")) })
}
