//! The flight deck: memory that a supervisor makes and hands to its worker, which notes there how it does without waiting
//! for a disk. Whatever ends the worker, the supervisor reads it afterwards. In a process that was handed none, all notes
//! are no-ops.
//!
//! ```text
//! 0     words, shared: magic, stage, two beats, ends of the rings, lengths of the slots, counts by kind of work
//! 4096  words, shared: the flight recorder, see [`recorder`]
//! …     ring of log lines, ring of events, slots (each sealed: what is torn is seen)
//! ```

use std::fs::File;
use std::io;
use std::io::Write;
use std::os::fd::AsRawFd;
use std::os::fd::OwnedFd;
use std::os::unix::fs::FileExt;
use std::sync::OnceLock;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering;

use rustix::fs::MemfdFlags;
use rustix::fs::OFlags;
use rustix::fs::SealFlags;
use rustix::io::FdFlags;
use serde::Deserialize;
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::base::codec;
use crate::base::limits::CRASH_BACKTRACE_BYTES;
use crate::base::limits::DECK_EVENT_BYTES;
use crate::base::limits::DECK_LOG_BYTES;
use crate::base::memory;
use crate::base::recorder;
use crate::base::recorder::Kept;

/// Names the descriptor to the worker.
pub const DECK: &str = "RINGFORT_DECK";

/// Kinds of work that are counted apart.
pub const WORK_KINDS: usize = 8;
/// Words in the shared page.
const WORDS: usize = 512;
/// "ringfort", version 1.
const MAGIC: u64 = 0x0172_696e_6766_7274;
/// Of what is sealed in a slot.
const VERSION: u8 = 1;
/// See [`codec::seal`].
const CONTEXT: &[u8] = b"flight deck";

/// Places of the words.
mod word {
    pub const MAGIC: usize = 0;
    pub const STAGE: usize = 1;
    pub const PROCESS_BEAT: usize = 2;
    pub const RUNTIME_BEAT: usize = 3;
    pub const LOG_END: usize = 4;
    pub const EVENT_END: usize = 5;
    pub const TOLD: usize = 6;
    pub const SLOTS: usize = 8;
    pub const RUNNING: usize = 16;
    pub const DONE: usize = 24;
}

/// Words that are shared: the page and the recorder behind it.
const SHARED_WORDS: usize = WORDS + recorder::WORDS;
const LOG_AT: u64 = (SHARED_WORDS * size_of::<u64>()) as u64;
const EVENTS_AT: u64 = LOG_AT + DECK_LOG_BYTES;
const SLOTS_AT: u64 = EVENTS_AT + DECK_EVENT_BYTES;
/// Bytes of the slot for who it is.
const WHO_BYTES: u64 = 4096;
/// Bytes of the slot for whom it sees.
const MEMBERS_BYTES: u64 = 32 * 1024;
/// Bytes of the slot for what a panic said: its backtrace and words around it.
const PANIC_BYTES: u64 = CRASH_BACKTRACE_BYTES as u64 + 16 * 1024;
const DECK_BYTES: u64 = SLOTS_AT + WHO_BYTES + MEMBERS_BYTES + PANIC_BYTES;
/// Bytes of a panic's message.
const MESSAGE_BYTES: usize = 8192;

/// How far a worker has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Stage {
    /// It has not taken its directory.
    Begun,
    /// The directory is its own.
    Holds,
    /// It is stopping in order.
    Stops,
}

impl Stage {
    fn number(self) -> u64 {
        match self {
            Self::Begun => 0,
            Self::Holds => 1,
            Self::Stops => 2,
        }
    }
}

#[derive(Clone, Copy)]
enum Slot {
    Who,
    Members,
    Panic,
}

impl Slot {
    /// Its word, where it begins, how long it is.
    fn place(self) -> (usize, u64, u64) {
        match self {
            Self::Who => (word::SLOTS, SLOTS_AT, WHO_BYTES),
            Self::Members => (word::SLOTS + 1, SLOTS_AT + WHO_BYTES, MEMBERS_BYTES),
            Self::Panic => (word::SLOTS + 2, SLOTS_AT + WHO_BYTES + MEMBERS_BYTES, PANIC_BYTES),
        }
    }
}

/// Who the worker is.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct WhoNoted {
    /// Its number.
    pub node: u64,
    /// Its name for people.
    pub name: String,
    /// Kinds of work, in the order in which they are counted.
    pub work: Vec<String>,
}

/// What a panic said.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct PanicSaid {
    /// Wall milliseconds.
    pub at_ms: u64,
    /// Its number in this process, from 1.
    pub number: u64,
    /// What and where.
    pub message: String,
    /// In which thread.
    pub thread: String,
    /// In which task, where it was one of ours.
    pub task: Option<String>,
    /// Function names, innermost first.
    pub backtrace: String,
}

/// A deck as the supervisor holds it.
#[derive(Debug)]
pub struct Deck {
    file: File,
}

/// The two beats.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Beats {
    /// Of the process.
    pub process: u64,
    /// Of its runtime; 0 = it did not begin to.
    pub runtime: u64,
}

/// Work of one kind.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Doing {
    /// Which.
    pub what: String,
    /// Begun and not ended.
    pub running: u64,
    /// Ended.
    pub done: u64,
}

/// All that a deck tells afterwards.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Story {
    /// Who it was, where it came so far.
    pub who: Option<WhoNoted>,
    /// Whom it saw.
    pub members: Vec<String>,
    /// Its last lines, oldest first.
    pub log: Vec<String>,
    /// Its last events, oldest first.
    pub events: Vec<String>,
    /// What it was doing.
    pub doing: Vec<Doing>,
    /// The last panic, where there was one,
    pub panic: Option<PanicSaid>,
    /// and the number of the last one that the worker has taken care of itself.
    pub told: u64,
    /// What its cores were told last.
    pub tapes: Vec<Kept>,
}

/// Makes a deck.
///
/// # Errors
/// A kernel without `memfd`, or without memory.
pub fn make() -> io::Result<Deck> {
    let flags = MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING;
    let file = File::from(rustix::fs::memfd_create("ringfort-flight-deck", flags)?);
    file.set_len(DECK_BYTES)?;
    rustix::fs::fcntl_add_seals(&file, SealFlags::SHRINK | SealFlags::GROW | SealFlags::SEAL)?;
    file.write_all_at(&MAGIC.to_ne_bytes(), word::MAGIC as u64)?;
    Ok(Deck { file })
}

/// Bytes for a child to read from their beginning, which no disk has to take.
///
/// # Errors
/// As [`make`].
pub fn parcel(bytes: &[u8]) -> io::Result<File> {
    let file = File::from(rustix::fs::memfd_create("ringfort-parcel", MemfdFlags::CLOEXEC)?);
    // Leaves the place from which is read where it is.
    file.write_all_at(bytes, 0)?;
    Ok(file)
}

/// The same in a pipe, as far as one holds it without a reader: some 64 KiB.
///
/// # Errors
/// Of the operating system; `WouldBlock` where it is too much.
pub fn piped(bytes: &[u8]) -> io::Result<File> {
    let (reader, mut writer) = io::pipe()?;
    rustix::fs::fcntl_setfl(&writer, OFlags::NONBLOCK)?;
    writer.write_all(bytes)?;
    Ok(File::from(OwnedFd::from(reader)))
}

impl Deck {
    /// Starts a child that is handed this deck, which nobody else that is started meanwhile may be. Says to it by `DECK`
    /// which descriptor it is.
    ///
    /// # Errors
    /// Of `start`.
    pub fn hand_to<T>(&self, start: impl FnOnce(String) -> io::Result<T>) -> io::Result<T> {
        rustix::io::fcntl_setfd(&self.file, FdFlags::empty())?;
        let started = start(self.file.as_raw_fd().to_string());
        rustix::io::fcntl_setfd(&self.file, FdFlags::CLOEXEC)?;
        started
    }

    fn word(&self, at: usize) -> u64 {
        let mut bytes = [0; 8];
        let read = self.file.read_exact_at(&mut bytes, (at as u64) * 8);
        read.map_or(0, |()| u64::from_ne_bytes(bytes))
    }

    /// Both beats now.
    #[must_use]
    pub fn beats(&self) -> Beats {
        Beats { process: self.word(word::PROCESS_BEAT), runtime: self.word(word::RUNTIME_BEAT) }
    }

    /// How far the worker has come.
    #[must_use]
    pub fn stage(&self) -> Stage {
        match self.word(word::STAGE) {
            0 => Stage::Begun,
            1 => Stage::Holds,
            _ => Stage::Stops,
        }
    }

    /// All that it tells. What is torn or not ours is left out.
    #[must_use]
    pub fn story(&self) -> Story {
        let who: Option<WhoNoted> = self.slot(Slot::Who);
        let names = who.as_ref().map(|who| who.work.clone()).unwrap_or_default();
        let doing = names.into_iter().take(WORK_KINDS).enumerate().map(|(at, what)| Doing {
            what,
            running: self.word(word::RUNNING + at),
            done: self.word(word::DONE + at),
        });
        Story {
            doing: doing.collect(),
            members: self.slot(Slot::Members).unwrap_or_default(),
            log: self.ring(word::LOG_END, LOG_AT, DECK_LOG_BYTES),
            events: self.ring(word::EVENT_END, EVENTS_AT, DECK_EVENT_BYTES),
            panic: self.slot(Slot::Panic),
            told: self.word(word::TOLD),
            tapes: self.tapes(),
            who,
        }
    }

    fn tapes(&self) -> Vec<Kept> {
        let mut bytes = vec![0; recorder::WORDS * size_of::<u64>()];
        if self.file.read_exact_at(&mut bytes, (WORDS * size_of::<u64>()) as u64).is_err() {
            return Vec::new();
        }
        let (words, _rest) = bytes.as_chunks::<8>();
        let words: Vec<u64> = words.iter().map(|word| u64::from_ne_bytes(*word)).collect();
        recorder::read(&words)
    }

    fn slot<T: DeserializeOwned>(&self, slot: Slot) -> Option<T> {
        let (word, at, max) = slot.place();
        let length = self.word(word).min(max);
        let mut bytes = vec![0; usize::try_from(length).ok()?];
        self.file.read_exact_at(&mut bytes, at).ok()?;
        codec::unseal(VERSION, CONTEXT, &bytes).ok()
    }

    fn ring(&self, word: usize, at: u64, size: u64) -> Vec<String> {
        let end = self.word(word);
        let mut bytes = vec![0; usize::try_from(size).unwrap_or(0)];
        if self.file.read_exact_at(&mut bytes, at).is_err() {
            return Vec::new();
        }
        let is_full = end > size;
        let split = usize::try_from(if is_full { end % size } else { 0 }).unwrap_or(0);
        let used = usize::try_from(end.min(size)).unwrap_or(0);
        bytes.truncate(used);
        bytes.rotate_left(split.min(used));
        let text = String::from_utf8_lossy(&bytes);
        // The first line of a full ring is the rest of one.
        let lines = text.lines().skip(usize::from(is_full));
        lines.filter(|line| !line.is_empty()).map(ToOwned::to_owned).collect()
    }
}

/// The worker's side.
struct Board {
    file: File,
    words: &'static [AtomicU64],
}

static BOARD: OnceLock<Board> = OnceLock::new();

/// Takes over the deck that this process was handed, where it was. Called first thing, before anything else is opened.
pub fn board() {
    let number = std::env::var(DECK).ok().and_then(|number| number.parse().ok());
    let Some(file) = number.and_then(memory::inherited) else { return };
    // Whatever it starts itself is no worker.
    let _refused = rustix::io::fcntl_setfd(&file, FdFlags::CLOEXEC);
    let fits = file.metadata().is_ok_and(|metadata| metadata.len() == DECK_BYTES);
    let Some(words) = memory::shared_words(&file, SHARED_WORDS).filter(|_| fits) else { return };
    if words.first().is_some_and(|magic| magic.load(Ordering::Relaxed) == MAGIC) {
        if let Some(words) = words.get(WORDS..) {
            recorder::begin(words);
        }
        let _boarded_before = BOARD.set(Board { file, words });
    }
}

impl Board {
    fn word(&self, at: usize) -> Option<&AtomicU64> {
        self.words.get(at)
    }

    fn ring(&self, word: usize, at: u64, size: u64, line: &[u8]) {
        // A line longer than half of the ring would leave nothing of the others.
        let max = usize::try_from(size / 2).unwrap_or(0);
        let line = line.get(..max).unwrap_or(line);
        let Some(end) = self.word(word) else { return };
        let (length, newline) = (line.len() as u64, u64::from(!line.ends_with(b"\n")));
        let begin = end.fetch_add(length + newline, Ordering::Relaxed);
        self.put(begin, at, size, line);
        if newline > 0 {
            self.put(begin + length, at, size, b"\n");
        }
    }

    fn put(&self, begin: u64, at: u64, size: u64, bytes: &[u8]) {
        let offset = begin % size;
        let first = usize::try_from(size - offset).unwrap_or(0).min(bytes.len());
        let (head, rest) = bytes.split_at(first);
        // It is memory: it fails only where there is none.
        let _no_memory = self.file.write_all_at(head, at + offset);
        if !rest.is_empty() {
            let _no_memory = self.file.write_all_at(rest, at);
        }
    }

    fn slot<T: Serialize>(&self, slot: Slot, value: &T) {
        let (word, at, max) = slot.place();
        let bytes = codec::seal(VERSION, CONTEXT, value);
        let length = bytes.len() as u64;
        if let Some(word) = self.word(word).filter(|_| length <= max) {
            word.store(0, Ordering::SeqCst);
            if self.file.write_all_at(&bytes, at).is_ok() {
                word.store(length, Ordering::SeqCst);
            }
        }
    }
}

/// Notes how far this process has come.
pub fn note_stage(stage: Stage) {
    if let Some(word) = BOARD.get().and_then(|board| board.word(word::STAGE)) {
        word.store(stage.number(), Ordering::SeqCst);
    }
}

/// The process lives.
pub fn beat_process() {
    add(word::PROCESS_BEAT, 1);
}

/// The runtime turns.
pub fn beat_runtime() {
    add(word::RUNTIME_BEAT, 1);
}

fn add(at: usize, count: u64) {
    if let Some(word) = BOARD.get().and_then(|board| board.word(at)) {
        word.fetch_add(count, Ordering::Relaxed);
    }
}

/// Notes a line of the log. Never waits for a disk.
pub fn note_line(line: &[u8]) {
    if let Some(board) = BOARD.get() {
        board.ring(word::LOG_END, LOG_AT, DECK_LOG_BYTES, line);
    }
}

/// Notes an event.
pub fn note_event(line: &[u8]) {
    if let Some(board) = BOARD.get() {
        board.ring(word::EVENT_END, EVENTS_AT, DECK_EVENT_BYTES, line);
    }
}

/// Notes who this process is.
pub fn note_who(who: &WhoNoted) {
    if let Some(board) = BOARD.get() {
        board.slot(Slot::Who, who);
    }
}

/// Notes whom it sees; what does not fit is left out at the end.
pub fn note_members(members: &[String]) {
    let Some(board) = BOARD.get() else { return };
    let mut room = usize::try_from(MEMBERS_BYTES).unwrap_or(0).saturating_sub(64);
    let fits = members.iter().take_while(|line| {
        let needed = line.len() + 4;
        let fits = needed <= room;
        room = room.saturating_sub(needed);
        fits
    });
    board.slot(Slot::Members, &fits.collect::<Vec<_>>());
}

/// Notes what a panic says.
pub fn note_panic(said: &PanicSaid) {
    if let Some(board) = BOARD.get() {
        board.slot(Slot::Panic, said);
    }
}

/// The worker has taken care of all panics up to this one.
pub fn note_told(number: u64) {
    if let Some(word) = BOARD.get().and_then(|board| board.word(word::TOLD)) {
        word.fetch_max(number, Ordering::SeqCst);
    }
}

/// All that this process has noted so far; `None` without a deck.
#[must_use]
pub fn own_story() -> Option<Story> {
    let board = BOARD.get()?;
    Some(Deck { file: board.file.try_clone().ok()? }.story())
}

/// A piece of work from its begin to its end.
pub struct Work(usize);

/// Begins a piece of work of this kind.
#[must_use]
pub fn begin_work(kind: usize) -> Work {
    let kind = kind.min(WORK_KINDS - 1);
    add(word::RUNNING + kind, 1);
    Work(kind)
}

impl Drop for Work {
    fn drop(&mut self) {
        add(word::DONE + self.0, 1);
        if let Some(word) = BOARD.get().and_then(|board| board.word(word::RUNNING + self.0)) {
            word.fetch_sub(1, Ordering::Relaxed);
        }
    }
}

impl PanicSaid {
    /// Cuts what is too long for a deck.
    #[must_use]
    pub fn bounded(self) -> Self {
        Self {
            message: cut(self.message, MESSAGE_BYTES),
            thread: cut(self.thread, 256),
            task: self.task.map(|task| cut(task, 256)),
            backtrace: cut(self.backtrace, CRASH_BACKTRACE_BYTES),
            ..self
        }
    }
}

/// At most so many bytes of a text, whole characters.
#[must_use]
pub fn cut(mut text: String, max: usize) -> String {
    let mut end = max.min(text.len());
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    text.truncate(end);
    text
}

#[cfg(test)]
mod tests {
    use super::Beats;
    use super::Board;
    use super::CONTEXT;
    use super::Deck;
    use super::PanicSaid;
    use super::Slot;
    use super::Stage;
    use super::VERSION;
    use super::WhoNoted;
    use super::make;
    use super::word;
    use crate::base::codec;
    use crate::base::limits::CRASH_BACKTRACE_BYTES;
    use crate::base::limits::DECK_LOG_BYTES;
    use crate::base::memory;

    fn pair() -> (Deck, Board) {
        let deck = make().unwrap();
        let file = deck.file.try_clone().unwrap();
        let words = memory::shared_words(&file, super::SHARED_WORDS).unwrap();
        (deck, Board { file, words })
    }

    fn line(board: &Board, line: &[u8]) {
        board.ring(word::LOG_END, super::LOG_AT, DECK_LOG_BYTES, line);
    }

    #[test]
    fn what_is_noted_is_read_from_outside() {
        let (deck, board) = pair();
        assert_eq!((deck.beats(), deck.stage()), (Beats::default(), Stage::Begun));
        board.words[word::PROCESS_BEAT].store(7, super::Ordering::Relaxed);
        board.words[word::STAGE].store(Stage::Holds.number(), super::Ordering::Relaxed);
        let who = WhoNoted { node: 3, name: "n3".to_owned(), work: vec!["get".to_owned(), "put".to_owned()] };
        board.slot(Slot::Who, &who);
        board.words[word::RUNNING + 1].store(2, super::Ordering::Relaxed);
        assert!(crate::base::recorder::keep_in(&board.words[super::WORDS..], 3, 17, b"a tape"));
        line(&board, b"one");
        line(&board, b"two\n");
        let story = deck.story();
        assert_eq!(
            story.tapes.iter().map(|kept| (kept.at_ms, kept.tape.as_slice())).collect::<Vec<_>>(),
            [(17, &b"a tape"[..])]
        );
        assert_eq!((deck.beats().process, deck.stage()), (7, Stage::Holds));
        assert_eq!((story.who, story.log), (Some(who), vec!["one".to_owned(), "two".to_owned()]));
        assert_eq!((story.doing[1].what.as_str(), story.doing[1].running), ("put", 2));
    }

    #[test]
    fn a_full_ring_keeps_the_newest_whole_lines() {
        let (deck, board) = pair();
        for number in 0..20_000 {
            line(&board, format!("line {number:06} of many").as_bytes());
        }
        let log = deck.story().log;
        assert_eq!(log.last().unwrap(), "line 019999 of many");
        assert!(log.len() > 5000 && log.iter().all(|line| line.len() == 19), "{}", log.len());
    }

    #[test]
    fn a_panic_of_any_length_fits_and_a_torn_one_is_left_out() {
        let (deck, board) = pair();
        let long = "é".repeat(CRASH_BACKTRACE_BYTES);
        let said = PanicSaid {
            at_ms: 1,
            number: 1,
            message: long.clone(),
            thread: long.clone(),
            task: Some(long.clone()),
            backtrace: long,
        };
        let said = said.bounded();
        board.slot(Slot::Panic, &said);
        assert_eq!(deck.story().panic, Some(said.clone()));
        let sealed = codec::seal(VERSION, CONTEXT, &said);
        std::os::unix::fs::FileExt::write_all_at(&board.file, b"torn", Slot::Panic.place().1 + 100).unwrap();
        assert_eq!((deck.story().panic, sealed.is_empty()), (None, false));
    }
}
