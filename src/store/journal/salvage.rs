//! What can still be read of a corrupt journal: every whole group, wherever it lies. For `doctor --accept-loss` on a
//! node that has no peers to refill from. Reads only.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::store::disk;
use crate::store::disk::Disk;
use crate::store::disk::DiskFile;
use crate::store::journal::JournalError;
use crate::store::journal::format;
use crate::store::journal::recovery;
use crate::store::journal::superblock;
use crate::store::journal::superblock::Superblock;

/// What was found.
#[derive(Debug)]
pub struct Salvage {
    /// The superblock, where one of its copies is whole.
    pub superblock: Option<Superblock>,
    /// Records of every whole group, by group number.
    pub groups: BTreeMap<u64, Vec<Vec<u8>>>,
    /// Group numbers that are missing between the proven position and the last one known.
    pub missing: Vec<u64>,
}

/// Reads every segment for whole groups. The tag comes from the superblock or, failing that, from a segment's header.
///
/// # Errors
/// [`JournalError::Io`] where files cannot be read at all.
pub fn read<D: Disk>(disk: &Arc<D>) -> Result<Salvage, JournalError> {
    let io = || JournalError::io("reading the damaged journal");
    let superblock =
        disk.open(superblock::NAME).ok().and_then(|file| superblock::read(&file).ok()).map(|found| found.superblock);
    let mut groups = BTreeMap::new();
    for name in disk.list().map_err(io())?.iter().filter(|name| format::parse_segment_name(name).is_some()) {
        let file = disk.open(name).map_err(io())?;
        let len = usize::try_from(file.size().map_err(io())?).unwrap_or(usize::MAX);
        let bytes = disk::read_exact_at(&file, 0, len).map_err(io())?;
        let tag = superblock.map(|known| known.tag).or_else(|| tag_of(&bytes));
        let Some(tag) = tag else { continue };
        for (at, header) in recovery::headers(tag, &bytes, 0) {
            if let Some(group) = bytes.get(at..).and_then(|bytes| format::decode_group(tag, bytes)) {
                groups.insert(header.group, group.records.iter().map(|record| record.to_vec()).collect());
            }
        }
    }
    let first = superblock.map_or(1, |known| known.proven.group);
    let durable = superblock.map_or(0, |known| known.durable_group);
    let last = groups.last_key_value().map_or(0, |(group, _)| *group).max(durable);
    let missing = (first..=last).filter(|group| !groups.contains_key(group)).collect();
    Ok(Salvage { superblock, groups, missing })
}

/// The tag in a segment's header, unchecked: a wrong one only finds nothing.
fn tag_of(bytes: &[u8]) -> Option<u64> {
    Some(u64::from_le_bytes(*bytes.get(8..)?.first_chunk()?))
}
