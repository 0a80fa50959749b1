//! The open journal: append a group, sync it, rotate segments, move the superblock, purge. One owner, no threads.

use std::io;
use std::ops::Range;
use std::ops::RangeInclusive;
use std::sync::Arc;

use crate::store::disk;
use crate::store::disk::Disk;
use crate::store::disk::DiskFile;
use crate::store::journal::JournalError;
use crate::store::journal::Position;
use crate::store::journal::Sizes;
use crate::store::journal::format;
use crate::store::journal::superblock;
use crate::store::journal::superblock::Superblock;

/// A preallocated segment.
#[derive(Debug)]
pub struct Segment<F> {
    /// Its number.
    pub number: u64,
    /// Its bytes, all of them written once.
    pub size: u64,
    /// The file.
    pub file: F,
}

/// A new segment is written page by page. Larger pieces make the page cache keep large folios, and then every sync of a
/// small group writes a whole one: measured, four times the bytes.
const FILL_PIECE_BYTES: usize = 4096;

/// A cut is zeroed in pieces of this size, so that a large one needs no large buffer.
const ZERO_PIECE_BYTES: usize = 256 * 1024;

/// A new segment is synced in steps of this size: one flood of zeros would hold up the syncs of groups behind it.
const FILL_SYNC_BYTES: u64 = 1024 * 1024;

/// The open journal.
#[derive(Debug)]
pub struct Log<D: Disk> {
    pub(super) disk: Arc<D>,
    pub(super) sizes: Sizes,
    pub(super) superblock_file: D::File,
    pub(super) superblock: Superblock,
    pub(super) current: Segment<D::File>,
    pub(super) next: Option<Segment<D::File>>,
    /// Where the next group goes.
    pub(super) at: Position,
    /// The last group is a mark, or there is none: nothing to mark.
    pub(super) marked: bool,
    /// A group was written and not yet synced.
    pub(super) unsynced: bool,
    /// The superblock should learn that the present segment is in use.
    pub(super) rotated: bool,
}

/// Makes a segment: zeros, header, synced, then under its name. The next writes to it change no metadata.
///
/// # Errors
/// Of the disk; nothing exists under the segment's name then, and what was begun is removed.
pub fn prepare<D: Disk>(disk: &D, tag: u64, number: u64, size: u64) -> io::Result<Segment<D::File>> {
    let name = format::segment_name(number);
    let begun = format!("{name}.new");
    let made = fill(disk, &begun, tag, number, size);
    let file = match made {
        Ok(file) => file,
        Err(error) => {
            // Best effort: a leftover is removed at the next open as well.
            let _leftover = disk.remove(&begun);
            return Err(error);
        }
    };
    disk.rename(&begun, &name)?;
    disk.sync_dir()?;
    Ok(Segment { number, size, file })
}

fn fill<D: Disk>(disk: &D, name: &str, tag: u64, number: u64, size: u64) -> io::Result<D::File> {
    if disk.list()?.iter().any(|known| known == name) {
        disk.remove(name)?;
    }
    let file = disk.create(name)?;
    let mut first = format::segment_header(tag, number, size);
    first.resize(FILL_PIECE_BYTES.min(usize::try_from(size).unwrap_or(FILL_PIECE_BYTES)), 0);
    disk::write_all_at(&file, &first, 0)?;
    let mut at = first.len() as u64;
    loop {
        let to = size.min(at + FILL_SYNC_BYTES);
        zero_in_pieces(&file, at, to, FILL_PIECE_BYTES)?;
        file.sync_data()?;
        if to == size {
            return Ok(file);
        }
        at = to;
    }
}

/// Writes zeros from `from` up to `to`.
///
/// # Errors
/// Of the disk.
pub fn zero<F: DiskFile>(file: &F, from: u64, to: u64) -> io::Result<()> {
    zero_in_pieces(file, from, to, ZERO_PIECE_BYTES)
}

fn zero_in_pieces<F: DiskFile>(file: &F, from: u64, to: u64, piece: usize) -> io::Result<()> {
    let zeros = vec![0; piece];
    let mut at = from;
    while at < to {
        let len = usize::try_from(to - at).unwrap_or(piece).min(piece);
        disk::write_all_at(file, zeros.get(..len).unwrap_or_default(), at)?;
        at += len as u64;
    }
    Ok(())
}

impl<D: Disk> Log<D> {
    /// What both slots of the superblock say.
    #[must_use]
    pub fn superblock(&self) -> &Superblock {
        &self.superblock
    }

    /// Where the next group goes.
    #[must_use]
    pub fn position(&self) -> Position {
        self.at
    }

    /// Whether the last group still lacks a mark behind it.
    #[must_use]
    pub fn wants_mark(&self) -> bool {
        !self.marked
    }

    /// What to [`prepare`] for the next rotation, if it is not there yet: disk, tag, number and size.
    #[must_use]
    pub fn wants_next(&self) -> Option<(Arc<D>, u64, u64, u64)> {
        let wanted = (Arc::clone(&self.disk), self.superblock.tag, self.current.number + 1, self.sizes.segment);
        self.next.is_none().then_some(wanted)
    }

    /// Whether a group with this body goes into the present segment; otherwise the next one is needed.
    #[must_use]
    pub fn fits(&self, body_len: usize) -> bool {
        self.at.offset + format::group_bytes(body_len) as u64 <= self.current.size
    }

    /// Bytes of the largest record that goes into a segment of its own.
    #[must_use]
    pub fn record_bytes_max(&self) -> usize {
        let segment = usize::try_from(self.sizes.segment).unwrap_or(usize::MAX);
        segment.saturating_sub(format::SEGMENT_HEADER_BYTES + format::group_bytes(format::record_bytes(format::ALIGN)))
    }

    /// Sees to it that a group with this body can be written: in the present segment, or in a next one that is there.
    ///
    /// # Errors
    /// [`JournalError::NoSpace`]: nothing was written.
    pub fn make_room(&mut self, body_len: usize) -> Result<(), JournalError> {
        if !self.fits(body_len) && self.next.is_none() {
            self.next = Some(self.make_next()?);
        }
        Ok(())
    }

    fn make_next(&self) -> Result<Segment<D::File>, JournalError> {
        prepare(&*self.disk, self.superblock.tag, self.current.number + 1, self.sizes.segment)
            .map_err(|source| JournalError::NoSpace { source })
    }

    /// Takes a prepared segment.
    pub fn give_next(&mut self, segment: Segment<D::File>) {
        debug_assert_eq!(segment.number, self.current.number + 1);
        self.next = Some(segment);
    }

    /// Writes a group, in the next segment where it does not fit into this one. Durable only after [`Log::sync`].
    /// Returns the position behind it.
    ///
    /// # Errors
    /// [`JournalError::NoSpace`]: nothing was written. [`JournalError::Poisoned`]: end the process.
    pub fn append<'a>(
        &mut self,
        records: impl IntoIterator<Item = &'a [u8]> + Clone,
    ) -> Result<Position, JournalError> {
        self.append_flagged(0, records)
    }

    fn append_flagged<'a>(
        &mut self,
        flags: u32,
        records: impl IntoIterator<Item = &'a [u8]> + Clone,
    ) -> Result<Position, JournalError> {
        assert!(!self.unsynced, "one group in flight: the one before must be synced first");
        let body: usize = records.clone().into_iter().map(|record| format::record_bytes(record.len())).sum();
        if !self.fits(body) {
            self.rotate()?;
        }
        let (bytes, behind) = format::encode_group(self.superblock.tag, self.at, flags, records);
        assert!(behind.offset <= self.current.size, "a group fits into an empty segment");
        disk::write_all_at(&self.current.file, &bytes, self.at.offset)
            .map_err(|source| JournalError::Poisoned { source })?;
        self.at = behind;
        self.marked = flags & format::FLAG_MARK != 0;
        self.unsynced = true;
        Ok(behind)
    }

    /// Makes the last group durable.
    ///
    /// # Errors
    /// [`JournalError::Poisoned`]: end the process, never try again.
    pub fn sync(&mut self) -> Result<(), JournalError> {
        self.current.file.sync_data().map_err(|source| JournalError::Poisoned { source })?;
        self.unsynced = false;
        if self.rotated {
            self.rotated = false;
            self.write_superblock()?;
        }
        Ok(())
    }

    /// Writes and syncs a mark behind the last group, which makes damage to that group tell itself from an unfinished
    /// write.
    ///
    /// # Errors
    /// As [`Log::append`].
    pub fn mark(&mut self) -> Result<Position, JournalError> {
        let behind = self.append_flagged(format::FLAG_MARK, [])?;
        self.sync()?;
        Ok(behind)
    }

    /// Goes to the next segment, which is made now if nobody has prepared it.
    fn rotate(&mut self) -> Result<(), JournalError> {
        let next = match self.next.take() {
            Some(next) => next,
            None => self.make_next()?,
        };
        self.at = Position { segment: next.number, offset: format::SEGMENT_HEADER_BYTES as u64, ..self.at };
        self.current = next;
        self.rotated = true;
        Ok(())
    }

    /// Notes that everything before `proven` is durable elsewhere, and removes the segments before it. Positions below
    /// the present one are ignored. A mark that alone follows it holds nothing and counts as proven too.
    ///
    /// # Errors
    /// [`JournalError::Poisoned`] where the superblock could not be written; [`JournalError::Io`] where only the
    /// removal failed.
    pub fn prove(&mut self, proven: Position) -> Result<(), JournalError> {
        let unneeded = self.note_proven(proven)?;
        self.purge(unneeded)
    }

    /// The first half of [`Log::prove`]. Returns the segments that the next open does not need any more.
    ///
    /// # Errors
    /// [`JournalError::Poisoned`].
    pub fn note_proven(&mut self, proven: Position) -> Result<Range<u64>, JournalError> {
        if proven.group <= self.superblock.proven.group {
            return Ok(0..0);
        }
        assert!(proven.group <= self.at.group, "nothing can be proven that was not written");
        let only_a_mark_follows = self.marked && proven.group + 1 == self.at.group;
        let proven = if only_a_mark_follows { self.at } else { proven };
        let first_kept = proven.segment;
        let first_known = self.superblock.proven.segment;
        self.superblock.proven = proven;
        self.write_superblock()?;
        Ok(first_known..first_kept)
    }

    /// The other half: removes them. One that somebody else removed is none to keep the rest for.
    ///
    /// # Errors
    /// [`JournalError::Io`].
    pub fn purge(&self, unneeded: Range<u64>) -> Result<(), JournalError> {
        let is_empty = unneeded.is_empty();
        for number in unneeded {
            let removed = self.disk.remove(&format::segment_name(number));
            let gone =
                removed.or_else(|error| if error.kind() == io::ErrorKind::NotFound { Ok(()) } else { Err(error) });
            gone.map_err(JournalError::io("removing an old segment"))?;
        }
        if !is_empty {
            self.disk.sync_dir().map_err(JournalError::io("removing an old segment"))?;
        }
        Ok(())
    }

    /// The segments that the next open needs.
    #[must_use]
    pub fn needed(&self) -> RangeInclusive<u64> {
        self.superblock.proven.segment..=self.current.number
    }

    /// Notes that nothing follows, so that the next open can be strict and quick.
    ///
    /// # Errors
    /// [`JournalError::Poisoned`].
    pub fn close(mut self) -> Result<(), JournalError> {
        self.superblock.clean = true;
        self.write_superblock()
    }

    fn write_superblock(&mut self) -> Result<(), JournalError> {
        assert!(!self.unsynced, "the superblock only speaks of what is durable");
        self.superblock.sequence += 1;
        self.superblock.durable_group = self.at.group - 1;
        superblock::write(&self.superblock_file, &self.superblock)
    }
}
