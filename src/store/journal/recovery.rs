//! From files to an open log, or a refusal. The rule (HOUSE decision 5, after Alagappan 2018): a bad group with a
//! later group behind it is corruption, because that later group was only written once the bad one was durable;
//! a bad last group is an unfinished write, is cut off whole and reported.

use std::collections::BTreeSet;
use std::sync::Arc;

use crate::base::id::ClusterId;
use crate::base::id::NodeId;
use crate::store::disk;
use crate::store::disk::Disk;
use crate::store::disk::DiskFile;
use crate::store::journal::Cut;
use crate::store::journal::JournalError;
use crate::store::journal::Position;
use crate::store::journal::Report;
use crate::store::journal::Sizes;
use crate::store::journal::format;
use crate::store::journal::log;
use crate::store::journal::log::Log;
use crate::store::journal::log::Segment;
use crate::store::journal::superblock;
use crate::store::journal::superblock::Superblock;

/// What a new journal is told when there is none yet.
#[derive(Debug, Clone, Copy)]
pub struct Birth {
    /// The cluster.
    pub cluster: ClusterId,
    /// The node.
    pub node: NodeId,
    /// 0 for a new node; higher where a loss was accepted.
    pub generation: u64,
    /// Random.
    pub tag: u64,
}

/// A group handed to the caller: its records and the position behind it.
pub type Replay<'a> = dyn FnMut(&[&[u8]], Position) -> Result<(), JournalError> + 'a;

/// Opens a journal, handing each group from the proven position on to `replay`. Makes a new one with `birth` where the
/// directory has none; without `birth` that is corruption.
///
/// # Errors
/// [`JournalError::Corrupt`]: refused, nothing changed. [`JournalError::Io`], [`JournalError::NoSpace`], and any error
/// of `replay`.
pub fn open<D: Disk>(
    disk: Arc<D>,
    sizes: Sizes,
    birth: Option<Birth>,
    replay: &mut Replay<'_>,
) -> Result<(Log<D>, Report), JournalError> {
    let names = remove_leftovers(&*disk)?;
    if !names.iter().any(|name| name == superblock::NAME) {
        let birth = birth.ok_or_else(|| JournalError::corrupt(superblock::NAME, "it is missing"))?;
        return Ok((create(disk, sizes, birth, &names)?, Report::default()));
    }
    // A process killed between a renaming and its sync leaves names that the next power cut would take back.
    disk.sync_dir().map_err(JournalError::io("syncing the journal's directory"))?;
    let file = disk.open(superblock::NAME).map_err(JournalError::io("opening the superblock"))?;
    let found = superblock::read(&file)?;
    let superblock = found.superblock;
    let mut report = Report { mended: found.mended.iter().cloned().collect(), ..Report::default() };
    let numbers: BTreeSet<u64> = names.iter().filter_map(|name| format::parse_segment_name(name)).collect();
    let mut scan = Scan { disk: &*disk, superblock, numbers, report: &mut report };
    let end = scan.run(replay)?;
    let (current, next) = scan.mend(&end)?;
    let renewed =
        Superblock { sequence: superblock.sequence + 1, durable_group: end.at.group - 1, clean: false, ..superblock };
    superblock::renew(&file, &found, &renewed)?;
    // Only now: until the superblock is renewed its older copy may still need what is removed here.
    scan.remove_before(superblock.proven.segment)?;
    let log = Log {
        disk,
        sizes,
        superblock_file: file,
        superblock: renewed,
        current,
        next,
        at: end.at,
        marked: end.marked,
        unsynced: false,
        rotated: false,
    };
    Ok((log, report))
}

/// Reads a journal from the proven position on and judges its end, without changing anything.
///
/// # Errors
/// As [`open`].
pub fn examine<D: Disk>(disk: &D, replay: &mut Replay<'_>) -> Result<(Superblock, Report), JournalError> {
    let names = disk.list().map_err(JournalError::io("listing the journal"))?;
    let file =
        disk.open(superblock::NAME).map_err(|error| JournalError::corrupt(superblock::NAME, error.to_string()))?;
    let superblock::Found { superblock, mended, .. } = superblock::read(&file)?;
    let mut report = Report { mended: mended.into_iter().collect(), ..Report::default() };
    let numbers = names.iter().filter_map(|name| format::parse_segment_name(name)).collect();
    Scan { disk, superblock, numbers, report: &mut report }.run(replay)?;
    Ok((superblock, report))
}

/// Whose journal is in a directory; `None` where there is none. Changes nothing.
///
/// # Errors
/// As [`open`].
pub fn owner<D: Disk>(disk: &D) -> Result<Option<(ClusterId, NodeId)>, JournalError> {
    let names = disk.list().map_err(JournalError::io("listing the journal"))?;
    if !names.iter().any(|name| name == superblock::NAME) {
        return Ok(None);
    }
    let file = disk.open(superblock::NAME).map_err(JournalError::io("opening the superblock"))?;
    let superblock::Found { superblock, .. } = superblock::read(&file)?;
    Ok(Some((superblock.cluster, superblock.node)))
}

/// Files whose making was interrupted; returns the names that remain.
fn remove_leftovers<D: Disk>(disk: &D) -> Result<Vec<String>, JournalError> {
    let (leftovers, names): (Vec<_>, Vec<_>) = disk
        .list()
        .map_err(JournalError::io("listing the journal"))?
        .into_iter()
        .partition(|name| name.ends_with(".new"));
    for name in leftovers {
        disk.remove(&name).map_err(JournalError::io("removing an unfinished file"))?;
    }
    Ok(names)
}

/// A new journal: first segment, then superblock. Before the superblock has its name nothing was ever acked.
fn create<D: Disk>(disk: Arc<D>, sizes: Sizes, birth: Birth, names: &[String]) -> Result<Log<D>, JournalError> {
    for name in names {
        let number = format::parse_segment_name(name);
        if number != Some(1) || !is_unused(&*disk, name)? {
            return Err(JournalError::corrupt(superblock::NAME, "it is missing, though segments are there"));
        }
        disk.remove(name).map_err(JournalError::io("removing an unfinished segment"))?;
    }
    let no_space = |source| JournalError::NoSpace { source };
    let current = log::prepare(&*disk, birth.tag, 1, sizes.first_segment).map_err(no_space)?;
    let chain = crate::base::checksum::sha256_16(&[b"ringfort journal", &birth.tag.to_le_bytes()]);
    let start = Position { segment: 1, offset: format::SEGMENT_HEADER_BYTES as u64, group: 1, chain };
    let superblock = Superblock {
        sequence: 1,
        cluster: birth.cluster,
        node: birth.node,
        generation: birth.generation,
        tag: birth.tag,
        proven: start,
        durable_group: 0,
        clean: false,
    };
    let superblock_file = superblock::create(&*disk, &superblock)?;
    Ok(Log {
        disk,
        sizes,
        superblock_file,
        superblock,
        current,
        next: None,
        at: start,
        marked: true,
        unsynced: false,
        rotated: false,
    })
}

fn is_unused<D: Disk>(disk: &D, name: &str) -> Result<bool, JournalError> {
    let (_, bytes) = load(disk, name)?;
    Ok(bytes.iter().skip(format::SEGMENT_HEADER_BYTES).all(|byte| *byte == 0))
}

fn load<D: Disk>(disk: &D, name: &str) -> Result<(D::File, Vec<u8>), JournalError> {
    let io = || JournalError::io("reading a segment");
    let file = disk.open(name).map_err(io())?;
    let len = usize::try_from(file.size().map_err(io())?).unwrap_or(usize::MAX);
    let bytes = disk::read_exact_at(&file, 0, len).map_err(io())?;
    Ok((file, bytes))
}

/// The segment in use, and the prepared one behind it.
type Mended<D> = (Segment<<D as Disk>::File>, Option<Segment<<D as Disk>::File>>);

struct Scan<'a, D: Disk> {
    disk: &'a D,
    superblock: Superblock,
    numbers: BTreeSet<u64>,
    report: &'a mut Report,
}

/// Where the journal ends.
struct End<F> {
    at: Position,
    marked: bool,
    file: F,
    /// The last segment's bytes.
    bytes: Vec<u8>,
}

impl<D: Disk> Scan<'_, D> {
    /// Replays from the proven position to the end, and judges the end.
    fn run(&mut self, replay: &mut Replay<'_>) -> Result<End<D::File>, JournalError> {
        let mut at = self.superblock.proven;
        let mut marked = true;
        loop {
            let name = format::segment_name(at.segment);
            if !self.numbers.contains(&at.segment) {
                return Err(JournalError::corrupt(name, "it is missing"));
            }
            let (file, bytes) = load(self.disk, &name)?;
            self.check_segment(&name, at.segment, &bytes)?;
            while let Some(group) = self.expected(&bytes, at) {
                let behind = Position {
                    offset: at.offset + group.len as u64,
                    group: at.group + 1,
                    chain: group.chain,
                    segment: at.segment,
                };
                replay(&group.records, behind)?;
                marked = group.header.flags & format::FLAG_MARK != 0;
                self.report.groups += 1;
                self.report.records += group.records.len() as u64;
                at = behind;
            }
            let next = Position { segment: at.segment + 1, offset: format::SEGMENT_HEADER_BYTES as u64, ..at };
            if self.continues_in(next.segment)? {
                if is_zero(&bytes, at.offset) {
                    at = next;
                    continue;
                }
                if self.follows(next)? {
                    self.report.mended.push(format!("{name} has stray bytes behind its last group; none is missing"));
                    at = next;
                    continue;
                }
            }
            self.judge_end(&name, &bytes, at)?;
            self.report.last = at.group - 1;
            return Ok(End { at, marked, file, bytes });
        }
    }

    fn check_segment(&self, name: &str, number: u64, bytes: &[u8]) -> Result<(), JournalError> {
        let header = format::segment_header(self.superblock.tag, number, bytes.len() as u64);
        if bytes.starts_with(&header) {
            Ok(())
        } else {
            Err(JournalError::corrupt(name, "its header does not fit its name, length or journal"))
        }
    }

    /// The group at `at`, if it is whole and the one that belongs there.
    fn expected<'b>(&self, bytes: &'b [u8], at: Position) -> Option<format::Group<'b>> {
        let here = bytes.get(usize::try_from(at.offset).ok()?..)?;
        let group = format::decode_group(self.superblock.tag, here)?;
        (group.header.group == at.group && group.header.chain == at.chain).then_some(group)
    }

    /// Whether a segment is there and not merely prepared. One without a group was in use where its successor is
    /// prepared: its first group was cut.
    fn continues_in(&self, number: u64) -> Result<bool, JournalError> {
        if !self.numbers.contains(&number) {
            return Ok(false);
        }
        Ok(self.numbers.contains(&(number + 1)) || !is_unused(self.disk, &format::segment_name(number))?)
    }

    /// Whether the group that belongs at `at`, in another segment, is there: then nothing is missing before it.
    fn follows(&self, at: Position) -> Result<bool, JournalError> {
        let (_, bytes) = load(self.disk, &format::segment_name(at.segment))?;
        Ok(self.expected(&bytes, at).is_some())
    }

    /// Nothing valid follows at `at`: an unfinished write, or corruption?
    fn judge_end(&self, name: &str, bytes: &[u8], at: Position) -> Result<(), JournalError> {
        let place = format!("{name} at byte {}", at.offset);
        let start = usize::try_from(at.offset).unwrap_or(usize::MAX);
        let mut later = headers(self.superblock.tag, bytes, start).filter(|(_, header)| header.group > at.group);
        if let Some((offset, header)) = later.next() {
            let reason = format!("group {} is bad, but group {} follows at byte {offset}", at.group, header.group);
            return Err(JournalError::corrupt(place, reason));
        }
        for number in self.numbers.range(at.segment + 1..) {
            let (_, bytes) = load(self.disk, &format::segment_name(*number))?;
            let beyond = *number > at.segment + 1;
            if beyond || headers(self.superblock.tag, &bytes, 0).any(|(_, header)| header.group >= at.group) {
                let reason = format!("group {} is bad or missing, but segment {number} follows", at.group);
                return Err(JournalError::corrupt(place, reason));
            }
        }
        if at.group <= self.superblock.durable_group {
            let reason = format!(
                "it ends before group {}, but group {} was durable: acked records are missing",
                at.group, self.superblock.durable_group
            );
            return Err(JournalError::corrupt(place, reason));
        }
        let here = bytes.get(start..).unwrap_or_default();
        match format::decode_header(self.superblock.tag, here) {
            // A whole header of the right number with another chain was not written behind what is here.
            Some(header) if header.group != at.group || header.chain != at.chain => {
                Err(JournalError::corrupt(place, format!("a group {} is there that does not follow", header.group)))
            }
            Some(_) | None => Ok(()),
        }
    }

    /// Cuts the unfinished group, renews the last segment, and opens what the log goes on with.
    fn mend(&mut self, end: &End<D::File>) -> Result<Mended<D>, JournalError> {
        let io = || JournalError::io("cutting the unfinished group");
        let start = usize::try_from(end.at.offset).unwrap_or(usize::MAX);
        let (used, tail) = end.bytes.split_at_checked(start).unwrap_or((&end.bytes, &[]));
        if let Some(last) = tail.iter().rposition(|byte| *byte != 0) {
            let records = format::decode_header(self.superblock.tag, tail).map(|header| header.records);
            self.report.cut = Some(Cut { group: end.at.group, bytes: last as u64 + 1, records });
            log::zero(&end.file, end.at.offset, end.at.offset + last as u64 + 1).map_err(io())?;
        }
        if !self.superblock.clean {
            // After a failed fsync the page cache may claim what the disk never got (HOUSE decision 6).
            disk::write_all_at(&end.file, used, 0).map_err(io())?;
        }
        end.file.sync_data().map_err(io())?;
        let size = end.bytes.len() as u64;
        let file = self.disk.open(&format::segment_name(end.at.segment)).map_err(io())?;
        let next = self.reuse_next(end.at.segment + 1)?;
        Ok((Segment { number: end.at.segment, size, file }, next))
    }

    /// A segment that was prepared and never used, if it is whole.
    fn reuse_next(&mut self, number: u64) -> Result<Option<Segment<D::File>>, JournalError> {
        if !self.numbers.contains(&number) {
            return Ok(None);
        }
        let name = format::segment_name(number);
        let (file, bytes) = load(self.disk, &name)?;
        let whole =
            self.check_segment(&name, number, &bytes).is_ok() && is_zero(&bytes, format::SEGMENT_HEADER_BYTES as u64);
        if whole {
            return Ok(Some(Segment { number, size: bytes.len() as u64, file }));
        }
        self.report.mended.push(format!("the prepared segment {name} was damaged before its use; it is made again"));
        self.disk.remove(&name).map_err(JournalError::io("removing a damaged spare segment"))?;
        Ok(None)
    }

    /// A purge that a crash interrupted.
    fn remove_before(&self, first: u64) -> Result<(), JournalError> {
        for number in self.numbers.range(..first) {
            self.disk.remove(&format::segment_name(*number)).map_err(JournalError::io("removing an old segment"))?;
        }
        Ok(())
    }
}

fn is_zero(bytes: &[u8], from: u64) -> bool {
    let from = usize::try_from(from).unwrap_or(usize::MAX);
    bytes.get(from..).unwrap_or_default().iter().all(|byte| *byte == 0)
}

/// Every whole group header at or behind `start`, with its offset.
pub(super) fn headers(tag: u64, bytes: &[u8], start: usize) -> impl Iterator<Item = (usize, format::GroupHeader)> + '_ {
    let first = start.next_multiple_of(format::ALIGN);
    (first..bytes.len())
        .step_by(format::ALIGN)
        .filter_map(move |at| Some((at, format::decode_header(tag, bytes.get(at..)?)?)))
}
