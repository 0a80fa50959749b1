//! What changed, kept on disk and put together from all nodes: the driver of `proto::timeline`. Entries are the events that
//! matter for long; a full or slow disk never makes anybody wait, it makes this list shorter.

use std::collections::BTreeMap;
use std::collections::BTreeSet;
use std::collections::VecDeque;
use std::io;
use std::path::Path;
use std::path::PathBuf;
use std::sync::Mutex;
use std::sync::MutexGuard;
use std::sync::PoisonError;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering;

use serde::Serialize;
use tokio::sync::mpsc;

use crate::base::codec::Blob;
use crate::base::id::NodeId;
use crate::base::limits::END_FOUND_WITHIN;
use crate::base::limits::TIMELINE_BOOK_BYTES;
use crate::base::limits::TIMELINE_CAUSE_MS;
use crate::base::limits::TIMELINE_PAGE_MAX;
use crate::base::limits::TIMELINE_SEGMENT_BYTES;
use crate::base::limits::TIMELINE_WAITING_MAX;
use crate::base::limits::WATCH_TICK;
use crate::base::time;
use crate::node::Node;
use crate::node::debug::logs;
use crate::node::error::DoorError;
use crate::node::events::EventId;
use crate::node::worker;
use crate::proto::crash::UNNOTED;
use crate::proto::diagnosis::Found;
use crate::proto::diagnosis::Wish;
use crate::proto::event::Event;
use crate::proto::event::Kind;
use crate::proto::logline::Record;
use crate::proto::logline::stamp::Stamp;
use crate::proto::timeline;
use crate::proto::timeline::Entry;
use crate::proto::timeline::Linked;
use crate::store::logbook::Bounds;
use crate::store::logbook::Writer;
use crate::store::logbook::read::Everything;
use crate::store::logbook::read::Place;
use crate::store::logbook::read::Want;

/// Under `blackbox`.
pub const TIMELINE_DIR: &str = "timeline";

const BOUNDS: Bounds = Bounds { segment_bytes: TIMELINE_SEGMENT_BYTES, total_bytes: TIMELINE_BOOK_BYTES };

/// What waits for the disk.
pub struct Timeline {
    send: mpsc::Sender<Record>,
    queue: Mutex<Option<mpsc::Receiver<Record>>>,
    /// The last ones, whether a disk has them or not: its directory may be gone, or hidden.
    recent: Mutex<VecDeque<Record>>,
    last_stamp: AtomicU64,
    lost: AtomicU64,
}

impl Default for Timeline {
    fn default() -> Self {
        let (send, queue) = mpsc::channel(TIMELINE_WAITING_MAX);
        let recent = Mutex::default();
        Self { send, queue: Mutex::new(Some(queue)), recent, last_stamp: AtomicU64::new(0), lost: AtomicU64::new(0) }
    }
}

/// What all nodes told.
struct Gathered {
    linked: Vec<Linked>,
    unanswered: BTreeMap<NodeId, &'static str>,
}

/// What is looked for.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Filter {
    /// Wall milliseconds from which on.
    pub since_ms: u64,
    /// Wall milliseconds up to which.
    pub until_ms: u64,
    /// Only what is about this node, or what it alone tells.
    pub node: Option<NodeId>,
    /// Only of this kind.
    pub kind: Option<String>,
    /// Entries at most: the newest ones.
    pub limit: usize,
}

impl Default for Filter {
    fn default() -> Self {
        Self { since_ms: 0, until_ms: u64::MAX >> 16, node: None, kind: None, limit: TIMELINE_PAGE_MAX }
    }
}

/// An entry for programs and people.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct EntryView {
    /// Its id.
    pub id: String,
    /// When it was seen first.
    pub at: String,
    /// Of what kind.
    pub kind: String,
    /// The node that it is about.
    pub node: Option<NodeId>,
    /// Of an alarm.
    pub code: Option<String>,
    /// Who ordered it.
    pub by: Option<String>,
    /// For people.
    pub text: String,
    /// Who tells it.
    pub told_by: Vec<NodeId>,
    /// The id of what it follows from.
    pub cause: Option<String>,
    /// What that says.
    pub cause_text: Option<String>,
    /// The id of what is over with it.
    pub ends: Option<String>,
}

/// What changed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct TimelineView {
    /// Oldest first.
    pub entries: Vec<EntryView>,
    /// Whether there are older ones that fit.
    pub more: bool,
    /// Who did not answer, and why.
    pub unanswered: BTreeMap<NodeId, &'static str>,
}

impl Filter {
    /// Reads an instant: as RFC 3339, or as a time ago such as `2h`.
    ///
    /// # Errors
    /// What it should be, in words.
    pub fn instant(text: &str) -> Result<u64, String> {
        if let Some(at_ms) = time::parse_rfc3339(text) {
            return Ok(at_ms);
        }
        let ago = time::parse_duration_ms(text);
        ago.map(|ago| time::wall_ms().saturating_sub(ago))
            .map_err(|_neither| "neither a time such as 2026-01-31T06:00:00Z nor a time ago such as 2h".to_owned())
    }

    fn takes(&self, link: &Linked) -> bool {
        let Linked { entry, told_by, .. } = link;
        let of_node = |node: NodeId| entry.node == Some(node) || (entry.node.is_none() && **told_by == [node]);
        (self.since_ms..=self.until_ms).contains(&entry.at_ms())
            && self.node.is_none_or(of_node)
            && self.kind.as_ref().is_none_or(|kind| *kind == entry.kind)
    }
}

impl Gathered {
    fn view(&self, filter: &Filter) -> TimelineView {
        let texts: BTreeMap<&str, &str> = self.linked.iter().map(|link| (&*link.entry.id, &*link.entry.text)).collect();
        let fitting: Vec<&Linked> = self.linked.iter().filter(|link| filter.takes(link)).collect();
        let skip = fitting.len().saturating_sub(filter.limit);
        let view = |link: &&Linked| {
            let Linked { entry, told_by, cause, ends } = (*link).clone();
            let at = time::rfc3339(entry.at_ms());
            let Entry { id, kind, node, code, by, text, .. } = entry;
            let cause_text = cause.as_deref().and_then(|cause| texts.get(cause)).map(|text| (*text).to_owned());
            EntryView { id, at, kind, node, code, by, text, told_by, cause, cause_text, ends }
        };
        TimelineView {
            entries: fitting.iter().skip(skip).map(view).collect(),
            more: skip > 0,
            unanswered: self.unanswered.clone(),
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Node {
    /// Writes entries until that of this node's stop is on disk.
    pub async fn keep_timeline(self) {
        let Some(mut queue) = lock(&self.0.cluster.timeline.queue).take() else { return };
        let mut book = None;
        while let Some(first) = queue.recv().await {
            let mut records = vec![first];
            while let Ok(next) = queue.try_recv() {
                records.push(next);
            }
            let stops =
                |record: &Record| record.fields.get("kind").is_some_and(|kind| kind == Kind::NodeStopped.name());
            let ends = records.iter().any(stops);
            let dir = self.book_of_changes();
            let written = worker::block("writing the timeline", move || {
                write(book, &dir, &records).map_err(|source| DoorError::Io { doing: "writing the timeline", source })
            });
            book = match written.await {
                Ok(book) => {
                    self.fill_box();
                    Some(book)
                }
                Err(error) => {
                    tracing::warn!(%error, "what changed is not on disk");
                    None
                }
            };
            if ends {
                return;
            }
        }
    }

    /// Takes what is worth keeping; what does not fit is counted.
    pub(super) fn keep_change(&self, id: EventId, at_ms: u64, event: &Event) {
        if !event.kind.is_kept() {
            return;
        }
        let timeline = &self.0.cluster.timeline;
        let clock = self.stamp().max(Stamp::of_ms(at_ms).0);
        let next = |last| Some(timeline::stamp_after(last, clock));
        let before = timeline.last_stamp.fetch_update(Ordering::Relaxed, Ordering::Relaxed, next);
        let stamp = Stamp(timeline::stamp_after(before.unwrap_or_default(), clock));
        let Event { kind, node, code, text, epoch, by } = event.clone();
        let lost = timeline.lost.swap(0, Ordering::Relaxed);
        let text = if lost > 0 { format!("{text} ({lost} entries before this one are lost)") } else { text };
        let entry = Entry {
            id: id.to_string(),
            stamp,
            teller: id.node,
            kind: kind.name().to_owned(),
            node,
            code: code.map(str::to_owned),
            epoch,
            by,
            text,
        };
        let record = entry.to_record(id.start, id.seq);
        let mut recent = lock(&timeline.recent);
        if recent.len() >= TIMELINE_WAITING_MAX {
            recent.pop_front();
        }
        recent.push_back(record.clone());
        drop(recent);
        if timeline.send.try_send(record).is_err() {
            timeline.lost.fetch_add(lost + 1, Ordering::Relaxed);
        }
    }

    /// How this node's life before ended, in words, where it did not in order.
    pub(super) async fn ended_otherwise(&self) -> Option<String> {
        let dir = self.book_of_changes();
        let looked = worker::block("reading the timeline", move || {
            let last = logs::reader(dir).tail(1);
            last.map_err(|source| DoorError::Io { doing: "reading the timeline", source })
        });
        let lines = looked.await.unwrap_or_default();
        let last = lines.last().and_then(|line| Record::parse(&line.bytes)).and_then(Entry::of_record)?;
        if last.kind == Kind::NodeStopped.name() {
            return None;
        }
        let deadline = time::mono() + END_FOUND_WITHIN;
        loop {
            if let Some(reason) = self.end_reported_since(last.at_ms()).await {
                return Some(format!("failed: {reason}"));
            }
            if time::mono() >= deadline {
                return Some(format!(
                    "failed: {UNNOTED}: it crashed, was killed, lost its power, or could not write to it"
                ));
            }
            // Its supervisor looks into it at the same time.
            tokio::time::sleep(WATCH_TICK).await;
        }
    }

    /// The reason of the last report about an end of this node since then.
    async fn end_reported_since(&self, since_ms: u64) -> Option<String> {
        let me = self.who().node;
        let reports = self.crashes_here().await.map(|listing| listing.reports).unwrap_or_default();
        let at_ms = |at: &str| time::parse_rfc3339(at).unwrap_or_default();
        let mut its = reports.into_iter().rev().filter(|report| report.node == me && report.fatal);
        its.find(|report| at_ms(&report.at) >= since_ms).map(|report| report.reason)
    }

    fn book_of_changes(&self) -> PathBuf {
        self.blackbox_dir().join(TIMELINE_DIR)
    }

    /// For another node: the newest of what this one saw, or of what it keeps for one that is gone.
    pub(super) async fn changes_to_tell(&self, of: Option<NodeId>, since_ms: u64, until_ms: u64) -> Found {
        let dir = of.map_or_else(|| self.book_of_changes(), |node| self.box_of(node, TIMELINE_DIR));
        let read = worker::block("reading the timeline", move || {
            let (since, until) = (Stamp::of_ms(since_ms).0, Stamp::end_of_ms(until_ms).0);
            let want = Want { since, until, lines_max: TIMELINE_PAGE_MAX, ..Want::default() };
            let page = logs::reader(dir).page(Place::Before(u64::MAX), &want, &Everything);
            page.map_err(|source| DoorError::Io { doing: "reading the timeline", source })
        });
        let read = read.await.inspect_err(|error| tracing::warn!(%error, "what changed cannot be read"));
        let lines = match (read, of) {
            (Ok(page), _) => page.lines.into_iter().map(|line| line.bytes).collect(),
            (Err(_), None) => Vec::new(),
            (Err(_), Some(_)) => return Found::Nothing,
        };
        let recent = if of.is_none() { self.recent_changes(since_ms, until_ms) } else { Vec::new() };
        let all = with_recent(lines, recent);
        let skip = all.len().saturating_sub(TIMELINE_PAGE_MAX);
        Found::Timeline(all.into_iter().skip(skip).map(|line| Blob(line.into())).collect())
    }

    fn recent_changes(&self, since_ms: u64, until_ms: u64) -> Vec<Vec<u8>> {
        let recent = lock(&self.0.cluster.timeline.recent);
        let fits = |record: &&Record| (since_ms..=until_ms).contains(&record.stamp.ms());
        recent.iter().filter(fits).map(Record::encode).collect()
    }

    /// What all nodes are called, also those that are removed.
    #[must_use]
    pub fn node_names(&self) -> BTreeMap<NodeId, String> {
        self.state().members.iter().map(|(node, member)| (*node, member.name.clone())).collect()
    }

    /// What changed, as all nodes tell it.
    pub async fn timeline(&self, filter: &Filter) -> TimelineView {
        self.gather(filter.since_ms, filter.until_ms).await.view(filter)
    }

    async fn gather(&self, since_ms: u64, until_ms: u64) -> Gathered {
        let since_ms = since_ms.saturating_sub(TIMELINE_CAUSE_MS);
        let until_ms = until_ms.saturating_add(TIMELINE_CAUSE_MS).min(Filter::default().until_ms);
        let wish = |of| Wish::Timeline { of, since_ms, until_ms };
        let (mut entries, mut unanswered) = (Vec::new(), BTreeMap::new());
        for said in self.ask_all(&wish(None)).await {
            match said.found {
                Ok(Found::Timeline(told)) => entries.extend(read_told(said.node, &told)),
                Ok(_) => {
                    unanswered.insert(said.node, "its answer is not understood");
                }
                Err(why) => {
                    unanswered.insert(said.node, why);
                }
            }
        }
        // What is kept of those who are gone, by whom ever.
        for node in unanswered.keys() {
            for said in self.ask_all(&wish(Some(*node))).await {
                if let Ok(Found::Timeline(told)) = said.found {
                    entries.extend(read_told(*node, &told));
                }
            }
        }
        Gathered { linked: timeline::link(entries), unanswered }
    }
}

/// Lines of the disk and those in memory that are not among them, oldest first.
fn with_recent(mut lines: Vec<Vec<u8>>, recent: Vec<Vec<u8>>) -> Vec<Vec<u8>> {
    let known: BTreeSet<&[u8]> = lines.iter().map(Vec::as_slice).collect();
    let new: Vec<Vec<u8>> = recent.into_iter().filter(|line| !known.contains(line.as_slice())).collect();
    lines.extend(new);
    lines
}

/// What a node told of what it saw itself; a line that is none, or is another's, is left out.
fn read_told(node: NodeId, told: &[Blob]) -> Vec<Entry> {
    let records = told.iter().take(TIMELINE_PAGE_MAX).filter_map(|line| Record::parse(&line.0));
    records.filter(|record| record.node == node).filter_map(Entry::of_record).collect()
}

fn write(book: Option<Writer>, dir: &Path, records: &[Record]) -> io::Result<Writer> {
    let mut book = book.map_or_else(|| Writer::open(dir, BOUNDS, logs::read_mark), Ok)?;
    for record in records {
        let line = record.encode();
        let mark = logs::read_mark(&line).unwrap_or_default();
        book.append(&mark, &line)?;
    }
    book.sync()?;
    Ok(book)
}
