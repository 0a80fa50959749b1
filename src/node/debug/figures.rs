//! The book of figures: every ten seconds a line of what explains an end ([`crate::proto::figures`]), under
//! `blackbox/figures`, which the black box sends to those who keep it. A disk that is full or slow makes the book shorter and
//! nobody wait.

use std::collections::BTreeMap;
use std::io;
use std::path::PathBuf;
use std::sync::atomic::Ordering;
use std::time::Duration;
use std::time::Instant;

use crate::base::codec::Blob;
use crate::base::id::NodeId;
use crate::base::limits::BOOK_PAGE_LINES_MAX;
use crate::base::limits::FIGURES_BOOK_BYTES;
use crate::base::limits::FIGURES_EVERY;
use crate::base::limits::FIGURES_SEGMENT_BYTES;
use crate::base::limits::RUNTIME_BEAT;
use crate::base::time;
use crate::node::Node;
use crate::node::debug::blackbox::BOOKS;
use crate::node::debug::logs;
use crate::node::debug::machine;
use crate::node::drill::spare;
use crate::node::error::DoorError;
use crate::node::series;
use crate::node::telemetry::Counts;
use crate::node::telemetry::LATENCY_BUCKETS;
use crate::node::telemetry::OPERATION_COUNT;
use crate::node::worker;
use crate::proto::alarm::judge;
use crate::proto::diagnosis::Found;
use crate::proto::figures::Figure;
use crate::proto::figures::Look;
use crate::proto::logline;
use crate::proto::logline::stamp::Stamp;
use crate::store::logbook::Bounds;
use crate::store::logbook::Writer;

/// Under `blackbox`.
pub const FIGURES_DIR: &str = "figures";

const BOUNDS: Bounds = Bounds { segment_bytes: FIGURES_SEGMENT_BYTES, total_bytes: FIGURES_BOOK_BYTES };

/// See [`Book`].
const WRITING: &str = "writing the figures";

/// The kinds of requests, in the order in which they are counted.
const RATES: [Figure; OPERATION_COUNT] =
    [Figure::Gets, Figure::Puts, Figure::Deletes, Figure::Lists, Figure::Batches, Figure::Others];

/// Reads and writes: where they are among the kinds, and their latencies.
const LATENCIES: [(usize, Figure, u64); 4] =
    [(0, Figure::GetP50, 50), (0, Figure::GetP99, 99), (1, Figure::PutP50, 50), (1, Figure::PutP99, 99)];

/// What rates are counted from.
struct Before {
    at: Instant,
    operations: [Counts; OPERATION_COUNT],
    syncs: Vec<u64>,
    disk_free: Option<u64>,
}

/// The book, and the number of its next line.
struct Book {
    writer: Writer,
    next: u64,
}

impl Node {
    /// Looks every [`FIGURES_EVERY`], until the node stops.
    pub async fn keep_figures(self) {
        if self.logs().is_none() {
            return;
        }
        let (mut before, mut book) = (self.counted(), None);
        loop {
            let lag = tokio::select! {
                () = self.closed() => return,
                lag = late_in(FIGURES_EVERY) => lag,
            };
            if spare::the_box() {
                continue;
            }
            let now = self.counted();
            let mut figures = self.figures_since(&before, &now);
            figures.insert(Figure::Lag, lag.as_secs_f64() * 1000.0);
            before = now;
            let (node, dir, kept) = (self.who().node, self.blackbox_dir().join(FIGURES_DIR), book.take());
            let look = Look { stamp: Stamp(self.stamp()), figures };
            let written = worker::block(WRITING, move || {
                write(kept, dir, node, look).map_err(|source| DoorError::Io { doing: WRITING, source })
            });
            match written.await {
                Ok(written) => {
                    book = Some(written);
                    self.fill_box();
                }
                Err(error) => tracing::warn!(%error, "the figures of the last seconds are not on disk"),
            }
        }
    }

    fn counted(&self) -> Before {
        let syncs = self.0.store.journal().stats().took.iter().map(|count| count.load(Ordering::Relaxed));
        Before {
            at: time::mono(),
            operations: self.telemetry().counts(),
            syncs: syncs.collect(),
            disk_free: self.space().map(|space| space.free),
        }
    }

    /// All but what takes a look at files.
    fn figures_since(&self, before: &Before, now: &Before) -> BTreeMap<Figure, f64> {
        let mut figures = figures_between(before, now);
        figures.extend([
            (Figure::Load, f64::from(self.figures().load)),
            (Figure::Overlay, self.0.store.overlay_bytes() as f64),
            (Figure::Inside, self.inside_now() as f64),
            (Figure::Lanes, self.waiting_for_others() as f64),
            (Figure::Tasks, worker::running() as f64),
        ]);
        figures
    }

    /// The last lines of a book here, or of what is kept here for another node.
    pub(super) async fn book_tail(&self, of: Option<NodeId>, book: &str, lines_max: u32) -> Found {
        let Some(book) = BOOKS.into_iter().find(|known| *known == book) else { return Found::Nothing };
        let dir = of.map_or_else(|| self.blackbox_dir().join(book), |node| self.box_of(node, book));
        let lines_max = usize::try_from(lines_max).map_or(BOOK_PAGE_LINES_MAX, |lines| lines.min(BOOK_PAGE_LINES_MAX));
        let read = worker::block("reading a book", move || {
            let tail = logs::reader(dir).tail(lines_max);
            tail.map_err(|source| DoorError::Io { doing: "reading a book", source })
        });
        read.await.map_or(Found::Nothing, |lines| {
            Found::BookTail(lines.into_iter().map(|line| Blob(line.bytes.into())).collect())
        })
    }
}

/// Rests for so long; returns by how much the runtime was late at the most meanwhile.
async fn late_in(rest: Duration) -> Duration {
    let (end, mut late) = (time::mono() + rest, Duration::ZERO);
    loop {
        let due = time::mono() + RUNTIME_BEAT;
        if due > end {
            return late;
        }
        tokio::time::sleep_until(due.into()).await;
        late = late.max(due.elapsed());
    }
}

fn figures_between(before: &Before, now: &Before) -> BTreeMap<Figure, f64> {
    let seconds = now.at.saturating_duration_since(before.at).as_secs_f64().max(0.001);
    let per_second = |count: u64| count as f64 / seconds;
    let since = |class: usize| {
        let pairs = before.operations.iter().zip(&now.operations);
        let of = |counts: &Counts| counts.classes.get(class).copied().unwrap_or_default();
        pairs.map(|(before, now)| of(now).saturating_sub(of(before))).sum::<u64>()
    };
    let all = |counts: &Counts| counts.classes.iter().sum::<u64>();
    let pairs = before.operations.iter().zip(&now.operations);
    let rates = pairs.map(|(before, now)| per_second(all(now).saturating_sub(all(before))));
    let mut figures: BTreeMap<Figure, f64> = RATES.into_iter().zip(rates).collect();
    figures.insert(Figure::Refused, per_second(since(3)));
    figures.insert(Figure::Failed, per_second(since(4)));
    for (operation, figure, percent) in LATENCIES {
        let (Some(before), Some(now)) = (before.operations.get(operation), now.operations.get(operation)) else {
            continue;
        };
        let mut latency = [0; LATENCY_BUCKETS];
        let pairs = before.latency.iter().zip(&now.latency);
        latency.iter_mut().zip(pairs).for_each(|(count, (before, now))| *count = now.saturating_sub(*before));
        figures.extend(series::quantile_us(&latency, percent).map(|us| (figure, us as f64)));
    }
    let syncs: Vec<u64> =
        before.syncs.iter().zip(&now.syncs).map(|(before, now)| now.saturating_sub(*before)).collect();
    figures.extend(judge::sync_p99_ms(&syncs).map(|ms| (Figure::SyncP99, ms as f64)));
    if let (Some(before), Some(now)) = (before.disk_free, now.disk_free) {
        figures.extend([(Figure::DiskFree, now as f64), (Figure::DiskRate, (now as f64 - before as f64) / seconds)]);
    }
    figures
}

/// Looks at what has to be read, and writes all of it.
fn write(book: Option<Book>, dir: PathBuf, node: NodeId, look: Look) -> io::Result<Book> {
    let mut book = book.map_or_else(|| open(dir), Ok)?;
    let (me, mut look) = (std::process::id(), look);
    let memory = machine::memory(me, None);
    let read = [
        (Figure::Memory, memory.resident),
        (Figure::MachineFree, memory.machine_free),
        (Figure::OpenFiles, machine::open_files(me)),
    ];
    look.figures.extend(read.into_iter().filter_map(|(figure, value)| Some((figure, value? as f64))));
    let line = look.to_record(node, book.next).encode();
    let mark = logs::read_mark(&line).unwrap_or_default();
    book.writer.append(&mark, &line)?;
    // Not synced: others have it before a disk would.
    book.writer.flush()?;
    book.next += 1;
    Ok(book)
}

fn open(dir: PathBuf) -> io::Result<Book> {
    let writer = Writer::open(&dir, BOUNDS, logs::read_mark)?;
    let last = writer.reader().tail(1)?.first().and_then(|line| logline::head(&line.bytes));
    Ok(Book { writer, next: last.map_or(1, |last| last.key.n + 1) })
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::time::Duration;

    use super::Before;
    use super::LATENCY_BUCKETS;
    use super::OPERATION_COUNT;
    use super::figures_between;
    use super::write;
    use crate::base::id::NodeId;
    use crate::base::time;
    use crate::node::debug::logs;
    use crate::node::telemetry::Counts;
    use crate::proto::figures::Figure;
    use crate::proto::figures::Look;
    use crate::proto::logline::Record;
    use crate::proto::logline::stamp::Stamp;

    #[test]
    fn figures_are_those_of_the_time_between_two_looks() {
        let counts = Counts { classes: [0; 5], latency: [0; LATENCY_BUCKETS] };
        let at = time::mono();
        let before =
            Before { at, operations: [counts; OPERATION_COUNT], syncs: vec![5; 16], disk_free: Some(10_000_000) };
        let mut operations = before.operations;
        (operations[0].classes[1], operations[0].classes[3], operations[1].classes[4]) = (70, 20, 10);
        operations[0].latency[8] = 89;
        operations[0].latency[12] = 1;
        let mut syncs = vec![5; 16];
        (syncs[2], syncs[7]) = (8, 6);
        let now = Before { at: at + Duration::from_secs(10), operations, syncs, disk_free: Some(9_000_000) };
        let figures = figures_between(&before, &now);
        let expected = [
            (Figure::Gets, 9.0),
            (Figure::Puts, 1.0),
            (Figure::Refused, 2.0),
            (Figure::Failed, 1.0),
            (Figure::SyncP99, 128.0),
            (Figure::DiskFree, 9_000_000.0),
            (Figure::DiskRate, -100_000.0),
            (Figure::Others, 0.0),
        ];
        for (figure, value) in expected {
            assert!((figures[&figure] - value).abs() < 1e-9, "{figure:?}: {figures:?}");
        }
        assert!(figures[&Figure::GetP50] < figures[&Figure::GetP99] && !figures.contains_key(&Figure::PutP50));
    }

    #[test]
    fn lines_go_on_behind_those_of_an_earlier_life_and_tell_of_this_process() {
        let dir = tempfile::tempdir().unwrap();
        let look = |ms| Look { stamp: Stamp::of_ms(ms), figures: BTreeMap::from([(Figure::Tasks, 5.0)]) };
        let book = write(None, dir.path().join("figures"), NodeId(2), look(1)).unwrap();
        drop(write(Some(book), dir.path().join("figures"), NodeId(2), look(2)).unwrap());
        drop(write(None, dir.path().join("figures"), NodeId(2), look(3)).unwrap());
        let lines = logs::reader(dir.path().join("figures")).tail(10).unwrap();
        let records: Vec<Record> = lines.iter().map(|line| Record::parse(&line.bytes).unwrap()).collect();
        assert_eq!(records.iter().map(|record| record.n).collect::<Vec<_>>(), [1, 2, 3]);
        let last = Look::of_record(&records[2]).unwrap();
        assert!(last.of(Figure::Memory) > 1e6 && last.of(Figure::OpenFiles) >= 3.0, "{last:?}");
        assert!((last.of(Figure::Tasks) - 5.0).abs() < 1e-9);
    }
}
