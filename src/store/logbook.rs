//! A book: lines in bounded segments in a directory of their own, with an index of time, level and marks for each block of
//! them. One owner appends ([`Writer`]); anyone reads ([`Reader`]), also another process, also while no writer is there.
//! What a line says is its caller's affair; the book asks it for a [`Mark`] only.
//!
//! A line's position is the number of bytes of all lines ever written before it. Segments are named by the position of
//! their first line, so positions stay what they are when the oldest segment goes.
//!
//! ```text
//! 00000000000000000000.log   lines, each ended by a newline          00000000000000000000.idx   entries (block.rs)
//! ```
//!
//! Nothing here is the truth about data: a line that was torn by a crash is cut off, one that cannot be read is counted and
//! skipped, an index that is missing or damaged is made anew.

use std::fs;
use std::fs::File;
use std::io;
use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::path::PathBuf;

use crate::base::limits::BOOK_BLOCK_BYTES;
use crate::base::limits::BOOK_LINE_BYTES_MAX;
use crate::store::data_dir;

pub mod block;
pub mod read;
#[cfg(test)]
mod tests;

use block::Block;
use read::Reader;

/// What a book knows of a line.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Mark {
    /// Orders lines in time.
    pub stamp: u64,
    /// 0 is the most important; at most 7 are told apart.
    pub level: u8,
    /// Bits of what can be looked for: a block without all bits of a search is not read.
    pub marks: u128,
}

/// Reads a line's mark; `None` for a line that is damaged.
pub type ReadMark = fn(&[u8]) -> Option<Mark>;

/// How large a book becomes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Bounds {
    /// Bytes of a segment.
    pub segment_bytes: u64,
    /// Bytes of all segments together.
    pub total_bytes: u64,
}

/// The one who appends.
#[derive(Debug)]
pub struct Writer {
    dir: PathBuf,
    bounds: Bounds,
    read: ReadMark,
    /// Position of the first line of the segment that is written to.
    base: u64,
    log: File,
    index: File,
    /// Lines that are not in the file yet.
    waiting: Vec<u8>,
    /// The block that is being filled.
    open: Block,
}

impl Writer {
    /// Opens a book, or begins one. Cuts off a torn last line; makes what is missing of the index.
    ///
    /// # Errors
    /// Of the operating system.
    pub fn open(dir: &Path, bounds: Bounds, read: ReadMark) -> io::Result<Self> {
        data_dir::make(dir)?;
        let bases = read::bases(dir)?;
        let (last, sealed) = bases.split_last().map_or((0, [].as_slice()), |(last, sealed)| (*last, sealed));
        for base in sealed {
            complete(dir, *base, read)?;
        }
        let (log, index, open) = reopen(dir, last, read)?;
        let mut writer = Self { dir: dir.to_owned(), bounds, read, base: last, log, index, waiting: Vec::new(), open };
        writer.make_room()?;
        Ok(writer)
    }

    /// Adds a line. It is read by others after [`Self::flush`]. Returns its position.
    ///
    /// # Errors
    /// `InvalidInput` for a line that is too long, empty, or has a newline in it; else of the operating system: the lines
    /// since the last flush may be lost.
    pub fn append(&mut self, mark: &Mark, line: &[u8]) -> io::Result<u64> {
        if line.is_empty() || line.len() > BOOK_LINE_BYTES_MAX || line.contains(&b'\n') {
            return Err(io::ErrorKind::InvalidInput.into());
        }
        let length = line.len() + 1;
        if self.segment_bytes() + length as u64 > self.bounds.segment_bytes && self.open.end() > 0 {
            self.rotate()?;
        }
        if self.open.bytes as usize + length > BOOK_BLOCK_BYTES && self.open.bytes > 0 {
            self.end_block()?;
        }
        let at = self.position();
        self.waiting.extend_from_slice(line);
        self.waiting.push(b'\n');
        self.open.add(length, Some(mark));
        Ok(at)
    }

    /// Lets others read what was appended.
    ///
    /// # Errors
    /// Of the operating system; what waited is dropped then.
    pub fn flush(&mut self) -> io::Result<()> {
        if self.waiting.is_empty() {
            return Ok(());
        }
        let done = self.log.write_all(&self.waiting);
        self.waiting.clear();
        // A part of a line may be in the file, and the block counts what is not.
        done.or_else(|error| self.recover().and(Err(error)))
    }

    /// Makes what was flushed survive a power cut.
    ///
    /// # Errors
    /// Of the operating system.
    pub fn sync(&mut self) -> io::Result<()> {
        self.flush()?;
        self.log.sync_data()
    }

    /// The position of the next line.
    #[must_use]
    pub fn position(&self) -> u64 {
        self.base + self.segment_bytes()
    }

    /// Somebody who reads this book.
    #[must_use]
    pub fn reader(&self) -> Reader {
        Reader::new(self.dir.clone(), self.read)
    }

    fn segment_bytes(&self) -> u64 {
        u64::from(self.open.end())
    }

    fn end_block(&mut self) -> io::Result<()> {
        self.flush()?;
        if self.open.bytes > 0 {
            self.index.write_all(&self.open.encode())?;
        }
        self.open = Block::at(self.open.end());
        Ok(())
    }

    fn rotate(&mut self) -> io::Result<()> {
        self.end_block()?;
        let base = self.position();
        let (log, index, open) = reopen(&self.dir, base, self.read)?;
        (self.base, self.log, self.index, self.open) = (base, log, index, open);
        self.make_room()
    }

    /// Removes the oldest segments until a whole new one has room.
    fn make_room(&mut self) -> io::Result<()> {
        let sealed: Vec<u64> = read::bases(&self.dir)?.into_iter().filter(|base| *base < self.base).collect();
        let limit = self.bounds.total_bytes.saturating_sub(self.bounds.segment_bytes);
        for base in sealed {
            if self.base.saturating_sub(base) <= limit {
                break;
            }
            fs::remove_file(log_path(&self.dir, base))?;
            let _missing = fs::remove_file(index_path(&self.dir, base));
        }
        Ok(())
    }

    /// Goes on behind the last whole line that is in the file.
    fn recover(&mut self) -> io::Result<()> {
        let (log, index, open) = reopen(&self.dir, self.base, self.read)?;
        (self.log, self.index, self.open) = (log, index, open);
        Ok(())
    }
}

impl Drop for Writer {
    fn drop(&mut self) {
        let _lost = self.flush();
    }
}

/// Opens a segment for appending: its torn line is cut off, its index made whole. The last block stays open.
fn reopen(dir: &Path, base: u64, read: ReadMark) -> io::Result<(File, File, Block)> {
    let log = options().read(true).open(log_path(dir, base))?;
    let mut blocks = read::blocks(dir, base, &log, read)?;
    let end = blocks.last().map_or(0, Block::end);
    if log.metadata()?.len() > u64::from(end) {
        log.set_len(u64::from(end))?;
    }
    let open = match blocks.last() {
        Some(last) if (last.bytes as usize) < BOOK_BLOCK_BYTES / 2 => blocks.pop(),
        Some(_) | None => None,
    };
    let index = write_index(dir, base, &blocks)?;
    Ok((log, index, open.unwrap_or_else(|| Block::at(end))))
}

/// Makes the index of a segment that is full, where it is not whole.
fn complete(dir: &Path, base: u64, read: ReadMark) -> io::Result<()> {
    let log = File::open(log_path(dir, base))?;
    let known = read::known_blocks(dir, base, log.metadata()?.len());
    if known.last().map_or(0, |last| u64::from(last.end())) == log.metadata()?.len() {
        return Ok(());
    }
    let blocks = read::blocks(dir, base, &log, read)?;
    write_index(dir, base, &blocks).map(|_index| ())
}

fn write_index(dir: &Path, base: u64, blocks: &[Block]) -> io::Result<File> {
    let path = index_path(dir, base);
    let bytes: Vec<u8> = blocks.iter().flat_map(Block::encode).collect();
    let mut index = options().read(true).open(&path)?;
    if fs::read(&path)? != bytes {
        index.set_len(0)?;
        index.write_all(&bytes)?;
    }
    Ok(index)
}

fn options() -> fs::OpenOptions {
    let mut options = fs::OpenOptions::new();
    options.create(true).append(true).mode(0o600);
    options
}

fn log_path(dir: &Path, base: u64) -> PathBuf {
    dir.join(format!("{base:020}.log"))
}

fn index_path(dir: &Path, base: u64) -> PathBuf {
    dir.join(format!("{base:020}.idx"))
}
