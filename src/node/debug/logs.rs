//! The log of this process: what `tracing` says goes to standard error, and as records through a bounded queue to a thread
//! that owns the book `blackbox/log`. Who logs never waits for a disk; what did not go in is counted and told. One place in
//! the code cannot fill it ([`crate::proto::flood`]); what is logged of which part can be changed for a time.

use std::collections::BTreeMap;
use std::collections::VecDeque;
use std::io;
use std::io::IsTerminal;
use std::path::Path;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::Condvar;
use std::sync::Mutex;
use std::sync::MutexGuard;
use std::sync::OnceLock;
use std::sync::PoisonError;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering;
use std::thread;

use tokio::sync::watch;
use tracing::Metadata;
use tracing_subscriber::EnvFilter;
use tracing_subscriber::Registry;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::reload;

use crate::base::flight;
use crate::base::id::NodeId;
use crate::base::limits::BOOK_SEGMENT_BYTES;
use crate::base::limits::LOG_BYTES_MAX;
use crate::base::limits::LOG_LEVEL_FOR_MAX;
use crate::base::limits::LOG_LEVELS_MAX;
use crate::base::limits::LOG_QUEUE_BYTES_MAX;
use crate::base::limits::LOG_QUEUE_LINES_MAX;
use crate::base::limits::LOG_SYNC_EVERY;
use crate::base::limits::LOG_TARGET_BYTES_MAX;
use crate::base::limits::LOG_TICK;
use crate::base::time;
use crate::node::debug::logs::shown::Shown;
use crate::proto::flood::Flood;
use crate::proto::flood::Verdict;
use crate::proto::logline;
use crate::proto::logline::Level;
use crate::proto::logline::Record;
use crate::proto::logline::stamp::Stamp;
use crate::proto::logline::text;
use crate::store::logbook::Bounds;
use crate::store::logbook::Mark;
use crate::store::logbook::Writer;
use crate::store::logbook::read::Reader;

pub mod layer;
mod shown;

/// In front of every filter, so that one that names them wins. The warnings of `h2` are about what clients send, one for
/// each frame, and whoever may connect could fill the disk with them. `openraft` tells of every step, and of a node that
/// does not answer as of an error; what matters of it is told by `control`.
const QUIET: &str = "h2=error,openraft=off";

/// Of what the log says about itself.
const TARGET: &str = "ringfort::log";

/// Where the book of this node's log is, under the data directory.
pub const LOG_DIR: &str = "log";

/// How standard error is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Style {
    /// With colours.
    Terminal,
    /// systemd adds the time, and reads the priority.
    Journal,
    /// Everything else.
    Plain,
}

/// A level that was changed for a time.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct Raised {
    /// Of this part of the program.
    pub target: String,
    /// To this, and less important ones not.
    pub level: Level,
    /// Until then, milliseconds since 1970.
    pub until_ms: u64,
}

/// Why a level is not changed. Nothing was changed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum LevelError {
    /// No target.
    #[error("`{target}` is not a part of the program: write it as ringfort::store, or h2")]
    Target {
        /// As given, harmless.
        target: String,
    },
    /// Too long, or not at all.
    #[error("a level is changed for 1 s to {} h; nothing was changed", LOG_LEVEL_FOR_MAX.as_secs() / 3600)]
    For,
    /// Too many.
    #[error("{LOG_LEVELS_MAX} levels are changed already; wait until one of them ends, or set one of those anew")]
    TooMany,
}

/// What waits for the disk.
#[derive(Default)]
struct Queue {
    records: VecDeque<Record>,
    bytes: usize,
    /// Since the last look: there was no room.
    dropped: u64,
    closing: bool,
}

struct Inner {
    last: AtomicU64,
    queue: Mutex<Queue>,
    filled: Condvar,
    flood: Mutex<Flood<Site>>,
    /// What did not go into the book, ever.
    lost: AtomicU64,
    shown: Mutex<Shown>,
    /// Lines that standard error did not take.
    unshown: AtomicU64,
    written: watch::Sender<u64>,
    filter: Mutex<Filtering>,
    style: Style,
    book: OnceLock<Book>,
}

struct Filtering {
    base: String,
    raised: Vec<Raised>,
    handle: Option<reload::Handle<EnvFilter, Registry>>,
}

/// The book, once there is one.
struct Book {
    dir: PathBuf,
    writer: Mutex<Option<thread::JoinHandle<()>>>,
}

/// A place in the code that logs.
#[derive(Debug, Clone, Copy)]
struct Site(&'static Metadata<'static>);

impl Site {
    fn address(&self) -> usize {
        std::ptr::from_ref(self.0).addr()
    }
}

impl PartialEq for Site {
    fn eq(&self, other: &Self) -> bool {
        self.address() == other.address()
    }
}

impl Eq for Site {}

impl PartialOrd for Site {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Site {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        self.address().cmp(&other.address())
    }
}

/// The log. Cheap to clone.
#[derive(Clone)]
pub struct Logs(Arc<Inner>);

/// What is counted of the log.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, serde::Serialize)]
pub struct LogCounts {
    /// Lines that were dropped because one place in the code logged too much.
    pub flooded: u64,
    /// Lines that did not go into the book: there was no room in the queue, or on the disk.
    pub lost: u64,
    /// Lines that were not shown on standard error, because nobody reads it.
    pub unshown: u64,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Reads what the book of a log wants to know of a line.
#[must_use]
pub fn read_mark(line: &[u8]) -> Option<Mark> {
    let head = logline::head(line)?;
    Some(Mark { stamp: head.key.stamp.0, level: head.level.number(), marks: head.marks })
}

/// Who reads a book of log lines in this directory.
#[must_use]
pub fn reader(dir: PathBuf) -> Reader {
    Reader::new(dir, read_mark)
}

impl Logs {
    /// A log that nothing is said to yet, and that writes nothing.
    #[must_use]
    pub fn new() -> Self {
        let style = match (std::io::stderr().is_terminal(), std::env::var_os("JOURNAL_STREAM")) {
            (true, _) => Style::Terminal,
            (false, Some(_)) => Style::Journal,
            (false, None) => Style::Plain,
        };
        let filter = Filtering { base: "info".to_owned(), raised: Vec::new(), handle: None };
        Self(Arc::new(Inner {
            last: AtomicU64::new(0),
            queue: Mutex::default(),
            filled: Condvar::new(),
            flood: Mutex::default(),
            lost: AtomicU64::new(0),
            shown: Mutex::new(Shown::new()),
            unshown: AtomicU64::new(0),
            written: watch::Sender::new(0),
            filter: Mutex::new(filter),
            style,
            book: OnceLock::new(),
        }))
    }

    /// Hears everything that is logged in this process from now on, by this filter.
    pub fn listen(&self, filter: &str) {
        let (env, handle) = reload::Layer::new(parse(QUIET, filter, &[]));
        let subscriber = Registry::default().with(env).with(layer::Layer::new(self.clone()));
        // Only a second call fails.
        let _already_set = tracing::subscriber::set_global_default(subscriber);
        let mut filtering = lock(&self.0.filter);
        filter.clone_into(&mut filtering.base);
        filtering.handle = Some(handle);
    }

    /// Changes what is logged; levels that were changed for a time stay so.
    pub fn set_filter(&self, filter: &str) {
        let mut filtering = lock(&self.0.filter);
        filter.clone_into(&mut filtering.base);
        filtering.apply();
    }

    /// Changes the level of a part of the program for a time.
    ///
    /// # Errors
    /// [`LevelError`].
    pub fn raise(&self, target: &str, level: Level, for_ms: u64) -> Result<Raised, LevelError> {
        check_level(target, for_ms)?;
        let raised = Raised { target: target.to_owned(), level, until_ms: time::wall_ms().saturating_add(for_ms) };
        let mut filtering = lock(&self.0.filter);
        filtering.raised.retain(|before| before.target != target);
        if filtering.raised.len() >= LOG_LEVELS_MAX {
            return Err(LevelError::TooMany);
        }
        filtering.raised.push(raised.clone());
        filtering.apply();
        Ok(raised)
    }

    /// Levels that are changed for a time.
    #[must_use]
    pub fn raised(&self) -> Vec<Raised> {
        lock(&self.0.filter).raised.clone()
    }

    /// Ends changes whose time is over.
    fn end_raised(&self) {
        let now_ms = time::wall_ms();
        let mut filtering = lock(&self.0.filter);
        let (ended, lasting) =
            std::mem::take(&mut filtering.raised).into_iter().partition(|raised| raised.until_ms <= now_ms);
        filtering.raised = lasting;
        let ended: Vec<Raised> = ended;
        if !ended.is_empty() {
            filtering.apply();
        }
        drop(filtering);
        for raised in ended {
            tracing::info!(part = raised.target, "a level is as it was before");
        }
    }

    /// A stamp for what this node says now.
    #[must_use]
    pub fn stamp(&self) -> Stamp {
        let wall_ms = time::wall_ms();
        let next = |last| Some(Stamp(last).next(wall_ms).0);
        let before = self.0.last.fetch_update(Ordering::AcqRel, Ordering::Acquire, next);
        Stamp(before.unwrap_or_else(|last| last)).next(wall_ms)
    }

    /// Another node has said something with this stamp: what is said here from now on is later.
    pub fn hear(&self, stamp: Stamp) {
        let wall_ms = time::wall_ms();
        let _same = self.0.last.fetch_update(Ordering::AcqRel, Ordering::Acquire, |last| {
            let heard = Stamp(last).hear(stamp, wall_ms);
            (heard.0 != last).then_some(heard.0)
        });
    }

    /// Begins to keep a book, in this directory; what was said before goes into it too.
    ///
    /// # Errors
    /// Of the operating system; what is logged goes to standard error only.
    pub fn keep(&self, dir: &Path, node: NodeId) -> io::Result<()> {
        let bounds = Bounds { segment_bytes: BOOK_SEGMENT_BYTES, total_bytes: LOG_BYTES_MAX };
        let writer = Writer::open(dir, bounds, read_mark)?;
        let last = writer.reader().tail(1)?.first().and_then(|line| logline::head(&line.bytes));
        if let Some(last) = last {
            self.hear(last.key.stamp);
        }
        let logs = self.clone();
        let next = last.map_or(1, |last| last.key.n + 1);
        let work = move || Keeper { logs, writer, node, next, synced: time::mono(), dirty: false }.run();
        let thread = thread::Builder::new().name("log".to_owned()).spawn(work)?;
        let book = Book { dir: dir.to_owned(), writer: Mutex::new(Some(thread)) };
        let _already_kept = self.0.book.set(book);
        Ok(())
    }

    /// Writes what waits, and ends the writer.
    pub fn close(&self) {
        lock(&self.0.queue).closing = true;
        self.0.filled.notify_all();
        let writer = self.0.book.get().and_then(|book| lock(&book.writer).take());
        if let Some(writer) = writer {
            // What ended it is in no book.
            let _ended = writer.join();
        }
    }

    /// Who reads the book of this log; none before there is one.
    #[must_use]
    pub fn book(&self) -> Option<Reader> {
        self.0.book.get().map(|book| reader(book.dir.clone()))
    }

    /// Rises with every batch of lines that is in the book.
    #[must_use]
    pub fn written(&self) -> watch::Receiver<u64> {
        self.0.written.subscribe()
    }

    /// What is counted.
    #[must_use]
    pub fn counts(&self) -> LogCounts {
        let count = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        let (lost, unshown) = (count(&self.0.lost), count(&self.0.unshown));
        LogCounts { flooded: lock(&self.0.flood).dropped(), lost, unshown }
    }

    /// Whether a line of this place is taken, and how many were dropped before it.
    fn admit(&self, metadata: &'static Metadata<'static>) -> Verdict {
        lock(&self.0.flood).handle_line(Site(metadata), time::steady_ms().1)
    }

    /// Takes a record in: shows it, in these words, and lets it wait for the book.
    fn take(&self, record: Record, words: &str) {
        self.show(record.level, words);
        let mut queue = lock(&self.0.queue);
        // Under the lock, so that stamps rise in the book.
        let record = Record { stamp: self.stamp(), ..record };
        let bytes = record.message.len() + record.target.len() + 256;
        if queue.closing || queue.records.len() >= LOG_QUEUE_LINES_MAX || queue.bytes + bytes > LOG_QUEUE_BYTES_MAX {
            queue.dropped += 1;
            self.0.lost.fetch_add(1, Ordering::Relaxed);
            return;
        }
        queue.bytes += bytes;
        queue.records.push_back(record);
        drop(queue);
        self.0.filled.notify_one();
    }

    fn show(&self, level: Level, words: &str) {
        let wall_ms = time::wall_ms();
        // Whatever ends this process: its supervisor has the last lines, whether they came to a disk or not.
        flight::note_line(show(wall_ms, level, words, Style::Plain).as_bytes());
        let shown = show(wall_ms, level, words, self.0.style);
        if !lock(&self.0.shown).show(&shown) {
            self.0.unshown.fetch_add(1, Ordering::Relaxed);
        }
    }

    fn own(&self, level: Level, message: &str, fields: BTreeMap<String, String>) -> Record {
        Record {
            stamp: self.stamp(),
            node: NodeId(0),
            n: 0,
            level,
            target: TARGET.to_owned(),
            message: message.to_owned(),
            fields,
            spans: Vec::new(),
        }
    }

    fn tell_dropped(&self, place: &str, dropped: u64) {
        let fields = BTreeMap::from([
            ("dropped".to_owned(), dropped.to_string()),
            ("place".to_owned(), place.trim_start_matches("event ").to_owned()),
        ]);
        let record = self.own(Level::Warn, "one place logged too much; lines of it were left out", fields);
        let words = text::body(&record);
        self.take(record, &words);
    }
}

/// Whether a level can be changed so.
///
/// # Errors
/// [`LevelError`].
pub fn check_level(target: &str, for_ms: u64) -> Result<(), LevelError> {
    let named = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | ':' | '-');
    if target.is_empty() || target.len() > LOG_TARGET_BYTES_MAX || !target.chars().all(named) {
        return Err(LevelError::Target { target: text::one_line(&target.chars().take(64).collect::<String>()) });
    }
    if !(1000..=time::millis(LOG_LEVEL_FOR_MAX)).contains(&for_ms) {
        return Err(LevelError::For);
    }
    Ok(())
}

impl Default for Logs {
    fn default() -> Self {
        Self::new()
    }
}

impl Filtering {
    fn apply(&self) {
        if let Some(handle) = &self.handle {
            // Only where logging has ended.
            let _ended = handle.reload(parse(QUIET, &self.base, &self.raised));
        }
    }
}

fn parse(quiet: &str, base: &str, raised: &[Raised]) -> EnvFilter {
    let raised: String = raised.iter().map(|raised| format!(",{}={}", raised.target, raised.level)).collect();
    let filter = EnvFilter::try_new(format!("{quiet},{base}{raised}"));
    filter.unwrap_or_else(|_invalid| EnvFilter::new(format!("{quiet},info{raised}")))
}

fn show(wall_ms: u64, level: Level, words: &str, style: Style) -> String {
    let (at, name) = (time::rfc3339(wall_ms), level.name().to_uppercase());
    match style {
        Style::Plain => format!("{at} {name:>5} {words}\n"),
        Style::Terminal => {
            let colour = match level {
                Level::Error => 31,
                Level::Warn => 33,
                Level::Info => 32,
                Level::Debug => 34,
                Level::Trace => 35,
            };
            format!("\x1b[2m{at}\x1b[0m \x1b[{colour}m{name:>5}\x1b[0m {words}\n")
        }
        Style::Journal => {
            let priority = level.syslog();
            let lines = words.lines().map(|line| format!("<{priority}>{line}\n"));
            lines.collect()
        }
    }
}

/// The one who appends to the book.
struct Keeper {
    logs: Logs,
    writer: Writer,
    node: NodeId,
    next: u64,
    synced: std::time::Instant,
    dirty: bool,
}

impl Keeper {
    fn run(mut self) {
        loop {
            let (batch, dropped, closing) = self.wait();
            if dropped > 0 {
                let fields = BTreeMap::from([("dropped".to_owned(), dropped.to_string())]);
                let lost = self.logs.own(Level::Warn, "lines did not go into the log: too many came at once", fields);
                self.logs.show(lost.level, &text::body(&lost));
                self.write(vec![lost]);
            }
            self.write(batch);
            self.look_around();
            if closing {
                let _unsynced = self.writer.sync();
                return;
            }
        }
    }

    /// The next lines; none where there were none for a while.
    fn wait(&mut self) -> (Vec<Record>, u64, bool) {
        let queue = lock(&self.logs.0.queue);
        let empty = |queue: &mut Queue| queue.records.is_empty() && queue.dropped == 0 && !queue.closing;
        let waited = self.logs.0.filled.wait_timeout_while(queue, LOG_TICK, empty);
        let (mut queue, _) = waited.unwrap_or_else(PoisonError::into_inner);
        queue.bytes = 0;
        let batch = std::mem::take(&mut queue.records).into();
        (batch, std::mem::take(&mut queue.dropped), queue.closing)
    }

    fn write(&mut self, batch: Vec<Record>) {
        if batch.is_empty() {
            return;
        }
        let mut lost = 0;
        for record in batch {
            let line = Record { node: self.node, n: self.next, ..record }.encode();
            let appended = read_mark(&line).map(|mark| self.writer.append(&mark, &line));
            if matches!(appended, Some(Ok(_))) { self.next += 1 } else { lost += 1 }
        }
        if self.writer.flush().is_err() {
            lost += 1;
        }
        self.logs.0.lost.fetch_add(lost, Ordering::Relaxed);
        self.dirty = true;
        self.logs.0.written.send_modify(|batches| *batches += 1);
    }

    /// Once in a while: what was dropped is told, changed levels end, the book is synced.
    fn look_around(&mut self) {
        let quiet = lock(&self.logs.0.flood).handle_timeout(time::steady_ms().1);
        for (place, dropped) in quiet {
            self.logs.tell_dropped(place.0.name(), dropped);
        }
        self.logs.end_raised();
        if self.dirty && self.synced.elapsed() >= LOG_SYNC_EVERY {
            // A log that cannot be synced is still a log.
            let _unsynced = self.writer.sync();
            (self.synced, self.dirty) = (time::mono(), false);
        }
    }
}
