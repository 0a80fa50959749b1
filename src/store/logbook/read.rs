//! Reads a book page by page, forward and backward. Knows the directory only: it holds nothing of the writer's, so that it
//! works in another process, and for the book of a node that is gone.

use std::fs;
use std::fs::File;
use std::io;
use std::path::Path;
use std::path::PathBuf;
use std::time::Instant;

use crate::base::limits::BOOK_BLOCK_BYTES;
use crate::base::limits::BOOK_LINE_BYTES_MAX;
use crate::base::limits::BOOK_PAGE_BYTES_MAX;
use crate::base::limits::BOOK_PAGE_LINES_MAX;
use crate::base::time;
use crate::store::disk::DiskFile;
use crate::store::disk::read_exact_at;
use crate::store::logbook::Mark;
use crate::store::logbook::ReadMark;
use crate::store::logbook::block;
use crate::store::logbook::block::Block;
use crate::store::logbook::index_path;
use crate::store::logbook::log_path;

/// Who reads a book.
#[derive(Debug, Clone)]
pub struct Reader {
    dir: PathBuf,
    read: ReadMark,
}

/// From where, and in which direction.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Place {
    /// Lines from this position on, oldest first.
    From(u64),
    /// Lines before this position, newest first; `u64::MAX` is the end.
    Before(u64),
}

/// What is looked for. The default is everything.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Want {
    /// Stamps from this one on.
    pub since: u64,
    /// Up to and with this one.
    pub until: u64,
    /// Levels up to and with this one.
    pub level_max: u8,
    /// Bits that a line must all have.
    pub marks: u128,
    /// Lines at most.
    pub lines_max: usize,
    /// Bytes at most; one line is given in any case.
    pub bytes_max: usize,
    /// When to stop looking, found or not.
    pub deadline: Option<Instant>,
}

impl Default for Want {
    fn default() -> Self {
        Self {
            since: 0,
            until: u64::MAX,
            level_max: u8::MAX,
            marks: 0,
            lines_max: BOOK_PAGE_LINES_MAX,
            bytes_max: BOOK_PAGE_BYTES_MAX,
            deadline: None,
        }
    }
}

/// Decides further, by what lines say.
pub trait Sieve {
    /// Whether a line that is looked for may be in these bytes, which are many lines. Saves looking at each.
    fn may_be_in(&self, block: &[u8]) -> bool;
    /// Whether this line is looked for.
    fn takes(&self, line: &[u8]) -> bool;
}

/// Takes every line.
#[derive(Debug, Clone, Copy)]
pub struct Everything;

impl Sieve for Everything {
    fn may_be_in(&self, _block: &[u8]) -> bool {
        true
    }

    fn takes(&self, _line: &[u8]) -> bool {
        true
    }
}

/// A line of a page.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Line {
    /// Where it is.
    pub position: u64,
    /// Its mark.
    pub mark: Mark,
    /// Without its newline.
    pub bytes: Vec<u8>,
}

/// A page.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Page {
    /// In the order that was asked for.
    pub lines: Vec<Line>,
    /// Where to go on, in the same direction.
    pub next: u64,
    /// Whether the book's end, or its beginning, was reached.
    pub ended: bool,
    /// Lines that could not be read, among those that were looked at.
    pub damaged: u64,
    /// Whether lines at the position asked for are gone, with their segment.
    pub missed: bool,
    /// The stamp of the last line that was looked at or skipped; 0 where there was none.
    pub reached: u64,
    bytes: usize,
}

impl Page {
    fn is_full(&self, want: &Want) -> bool {
        let late = || want.deadline.is_some_and(|deadline| time::mono() >= deadline);
        self.lines.len() >= want.lines_max || (!self.lines.is_empty() && self.bytes >= want.bytes_max) || late()
    }
}

impl Reader {
    /// The directory need not be there: a book that nobody began is empty.
    #[must_use]
    pub fn new(dir: PathBuf, read: ReadMark) -> Self {
        Self { dir, read }
    }

    /// A page.
    ///
    /// # Errors
    /// Of the operating system.
    pub fn page(&self, place: Place, want: &Want, sieve: &dyn Sieve) -> io::Result<Page> {
        let bases = bases(&self.dir)?;
        let first = bases.first().copied().unwrap_or_default();
        let mut page = Page::default();
        match place {
            Place::From(from) => {
                page.missed = from < first;
                page.next = from.max(first);
                // Those behind the one that the position lies in, and that one.
                let begin = bases.partition_point(|base| *base <= from).saturating_sub(1);
                for base in bases.get(begin..).unwrap_or_default() {
                    if !self.forward(*base, want, sieve, &mut page)? {
                        return Ok(page);
                    }
                }
            }
            Place::Before(before) => {
                page.missed = before < first;
                page.next = before;
                for base in bases.iter().rev().filter(|base| **base < before) {
                    if !self.backward(*base, want, sieve, &mut page)? {
                        return Ok(page);
                    }
                }
            }
        }
        page.ended = true;
        Ok(page)
    }

    /// The last lines, oldest first.
    ///
    /// # Errors
    /// Of the operating system.
    pub fn tail(&self, lines_max: usize) -> io::Result<Vec<Line>> {
        let want = Want { lines_max, ..Want::default() };
        let mut page = self.page(Place::Before(u64::MAX), &want, &Everything)?;
        page.lines.reverse();
        Ok(page.lines)
    }

    /// The position behind the last line that can be read, or a little more where the last one is torn.
    ///
    /// # Errors
    /// Of the operating system.
    pub fn end(&self) -> io::Result<u64> {
        let Some(last) = bases(&self.dir)?.pop() else { return Ok(0) };
        let bytes = fs::metadata(log_path(&self.dir, last)).map_or(0, |metadata| metadata.len());
        Ok(last.saturating_add(bytes))
    }

    /// Bytes of lines in the book.
    ///
    /// # Errors
    /// Of the operating system.
    pub fn bytes(&self) -> io::Result<u64> {
        let sizes = bases(&self.dir)?.into_iter().map(|base| fs::metadata(log_path(&self.dir, base)));
        Ok(sizes.filter_map(Result::ok).map(|metadata| metadata.len()).sum())
    }

    /// Goes through a segment. Whether to go on with the next.
    fn forward(&self, base: u64, want: &Want, sieve: &dyn Sieve, page: &mut Page) -> io::Result<bool> {
        let Some((log, blocks)) = self.segment(base)? else { return Ok(true) };
        for block in blocks {
            if base + u64::from(block.end()) <= page.next {
                continue;
            }
            if page.is_full(want) {
                return Ok(false);
            }
            if let Some(bytes) = self.read_block(&log, &block, want, sieve)? {
                for (at, line) in lines(base + u64::from(block.offset), &bytes) {
                    if at < page.next {
                        continue;
                    }
                    if page.is_full(want) {
                        return Ok(false);
                    }
                    self.take(at, line, want, sieve, page);
                    page.next = at + line.len() as u64 + 1;
                }
            }
            page.reached = if block.stamp_max > 0 { block.stamp_max } else { page.reached };
            page.next = base + u64::from(block.end());
        }
        Ok(true)
    }

    fn backward(&self, base: u64, want: &Want, sieve: &dyn Sieve, page: &mut Page) -> io::Result<bool> {
        let Some((log, blocks)) = self.segment(base)? else { return Ok(true) };
        for block in blocks.into_iter().rev() {
            if base + u64::from(block.offset) >= page.next {
                continue;
            }
            if page.is_full(want) {
                return Ok(false);
            }
            if let Some(bytes) = self.read_block(&log, &block, want, sieve)? {
                let found: Vec<(u64, &[u8])> = lines(base + u64::from(block.offset), &bytes).collect();
                for (at, line) in found.into_iter().rev() {
                    if at >= page.next {
                        continue;
                    }
                    if page.is_full(want) {
                        return Ok(false);
                    }
                    self.take(at, line, want, sieve, page);
                    page.next = at;
                }
            }
            page.reached = if block.stamp_min < u64::MAX { block.stamp_min } else { page.reached };
            page.next = base + u64::from(block.offset);
        }
        Ok(true)
    }

    fn take(&self, position: u64, line: &[u8], want: &Want, sieve: &dyn Sieve, page: &mut Page) {
        let Some(mark) = (self.read)(line) else {
            page.damaged += 1;
            return;
        };
        let wanted = (want.since..=want.until).contains(&mark.stamp)
            && mark.level <= want.level_max
            && mark.marks & want.marks == want.marks;
        if wanted && sieve.takes(line) {
            page.bytes += line.len();
            page.lines.push(Line { position, mark, bytes: line.to_vec() });
        }
        page.reached = mark.stamp;
    }

    /// `None` where it has gone meanwhile.
    fn segment(&self, base: u64) -> io::Result<Option<(File, Vec<Block>)>> {
        let log = match File::open(log_path(&self.dir, base)) {
            Ok(log) => log,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(error),
        };
        let blocks = known_or_found(&self.dir, base, &log)?;
        Ok(Some((log, blocks)))
    }

    /// The lines of a block; `None` where what is looked for is not in it.
    fn read_block(&self, log: &File, block: &Block, want: &Want, sieve: &dyn Sieve) -> io::Result<Option<Vec<u8>>> {
        // Where it is not known what is in a block, it has no lines by its own count.
        if block.lines > 0 && !may_hold(block, want) {
            return Ok(None);
        }
        let bytes = read_exact_at(log, u64::from(block.offset), block.bytes as usize)?;
        Ok(sieve.may_be_in(&bytes).then_some(bytes))
    }
}

fn may_hold(block: &Block, want: &Want) -> bool {
    let levels = match want.level_max {
        7.. => u8::MAX,
        level_max => (block::level_bit(level_max) << 1).wrapping_sub(1),
    };
    // A block of damaged lines only has no level; it is read, so that they are counted.
    let level = block.levels & levels != 0 || block.levels == 0;
    let time = block.levels == 0 || (block.stamp_min <= want.until && block.stamp_max >= want.since);
    level && time && (block.marks & want.marks == want.marks || block.levels == 0)
}

/// The lines of whole lines, with their positions.
fn lines(position: u64, bytes: &[u8]) -> impl Iterator<Item = (u64, &[u8])> {
    let lines = bytes.split_inclusive(|byte| *byte == b'\n');
    lines.scan(position, |next, line| {
        let at = *next;
        *next += line.len() as u64;
        Some((at, line.strip_suffix(b"\n").unwrap_or(line)))
    })
}

/// Positions of the first lines of all segments, in order.
///
/// # Errors
/// Of the operating system; a directory that is not there has none.
pub fn bases(dir: &Path) -> io::Result<Vec<u64>> {
    let entries = match fs::read_dir(dir) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(error),
    };
    let mut bases = Vec::new();
    for entry in entries {
        let name = entry?.file_name();
        let base = name.to_str().and_then(|name| name.strip_suffix(".log")).filter(|name| name.len() == 20);
        bases.extend(base.and_then(|base| base.parse::<u64>().ok()));
    }
    bases.sort_unstable();
    Ok(bases)
}

/// The blocks that are in the index.
#[must_use]
pub fn known_blocks(dir: &Path, base: u64, segment_bytes: u64) -> Vec<Block> {
    // A file of foreign bytes is no reason to read more than there can be of ours.
    let path = index_path(dir, base);
    let fits = fs::metadata(&path).is_ok_and(|metadata| metadata.len() <= segment_bytes.max(1) * 2);
    let bytes = if fits { fs::read(path).unwrap_or_default() } else { Vec::new() };
    block::decode_all(&bytes, segment_bytes)
}

/// The blocks of a segment up to its last whole line; of those that are not in the index only where they are.
fn known_or_found(dir: &Path, base: u64, log: &File) -> io::Result<Vec<Block>> {
    // The file is asked first: the index is written behind it.
    let size = log.size()?;
    let mut blocks = known_blocks(dir, base, size);
    let mut at = blocks.last().map_or(0, Block::end);
    while let Some(bytes) = next_block(log, at, size)? {
        blocks.push(Block { bytes, ..Block::at(at) });
        at = at.saturating_add(bytes);
    }
    Ok(blocks)
}

/// The same, with what is in those that are not in the index.
///
/// # Errors
/// Of the operating system.
pub fn blocks(dir: &Path, base: u64, log: &File, read: ReadMark) -> io::Result<Vec<Block>> {
    let mut blocks = known_or_found(dir, base, log)?;
    for block in blocks.iter_mut().filter(|block| block.lines == 0) {
        let bytes = read_exact_at(log, u64::from(block.offset), block.bytes as usize)?;
        let mut whole = Block::at(block.offset);
        lines(0, &bytes).for_each(|(_, line)| whole.add(line.len() + 1, read(line).as_ref()));
        // A damaged stretch without an end has one byte less than its lines seem to.
        whole.bytes = block.bytes;
        *block = whole;
    }
    Ok(blocks)
}

/// Bytes of the next block of whole lines. `None` at the end, and where only a part of a line is there. A stretch that is
/// longer than any line is a block of its own: it is damaged.
fn next_block(log: &File, at: u32, size: u64) -> io::Result<Option<u32>> {
    let left = usize::try_from(size.saturating_sub(u64::from(at))).unwrap_or(usize::MAX);
    let mut bytes = vec![0; left.min(BOOK_BLOCK_BYTES.max(BOOK_LINE_BYTES_MAX + 1))];
    let mut filled = 0;
    while let Some(rest) = bytes.get_mut(filled..).filter(|rest| !rest.is_empty()) {
        match log.read_at(rest, u64::from(at) + filled as u64)? {
            0 => break,
            read => filled += read,
        }
    }
    bytes.truncate(filled);
    let whole = bytes.iter().rposition(|byte| *byte == b'\n').map(|last| last + 1);
    let found = whole.or_else(|| (filled > BOOK_LINE_BYTES_MAX).then_some(filled));
    Ok(found.and_then(|bytes| u32::try_from(bytes).ok()).filter(|bytes| *bytes > 0))
}
