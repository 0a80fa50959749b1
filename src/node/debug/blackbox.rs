//! The black box (Armstrong: "N streams to N+1"): each node sends the tails of its books to its next two nodes of the committed
//! layout, those of other zones first, which keep them as books of that node under `blackbox/peers/NODE/BOOK`. Where it goes on
//! is the stamp of the last line that the other one has. What there is comes at once; a machine at rest has its figures to send.

use std::collections::BTreeMap;
use std::collections::BTreeSet;
use std::io;
use std::path::Path;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::PoisonError;
use std::time::Instant;

use tokio::sync::watch;

use crate::base::codec::Blob;
use crate::base::id::NodeId;
use crate::base::limits::BOOK_SEGMENT_BYTES;
use crate::base::limits::BOX_AGAIN;
use crate::base::limits::BOX_BYTES_MAX;
use crate::base::limits::BOX_EVERY;
use crate::base::limits::BOX_INDEX_BYTES_MAX;
use crate::base::limits::BOX_LINES_MAX;
use crate::base::limits::BOX_LOG_BYTES_MAX;
use crate::base::limits::BOX_OTHER_BYTES_MAX;
use crate::base::limits::BOX_PAGE_BYTES_MAX;
use crate::base::limits::BOX_TAIL_BYTES_MAX;
use crate::base::limits::BOXES_MAX;
use crate::base::limits::CRASH_BYTES_PER_NODE_MAX;
use crate::base::limits::WATCHERS;
use crate::base::time;
use crate::node::Node;
use crate::node::debug::figures;
use crate::node::debug::logs;
use crate::node::drill::spare;
use crate::node::error::DoorError;
use crate::node::timeline::TIMELINE_DIR;
use crate::node::worker;
use crate::proto::control::State;
use crate::proto::control::members::MemberState;
use crate::proto::diagnosis::Found;
use crate::proto::diagnosis::Wish;
use crate::proto::logline;
use crate::store::logbook::Bounds;
use crate::store::logbook::Writer;
use crate::store::logbook::read::Everything;
use crate::store::logbook::read::Place;
use crate::store::logbook::read::Reader;
use crate::store::logbook::read::Want;

/// Where books are, under the data directory.
pub const DIR: &str = "blackbox";
/// Where other nodes' books are, under `blackbox`.
pub(super) const PEERS_DIR: &str = "peers";

/// Books that are sent; each is a directory under `blackbox`, whose lines begin as those of a log do.
pub(super) const BOOKS: [&str; 3] = [logs::LOG_DIR, TIMELINE_DIR, figures::FIGURES_DIR];

// All that is kept of one node: its books, their indexes, its crash reports.
const _: () = assert!(
    BOX_LOG_BYTES_MAX + 2 * BOX_OTHER_BYTES_MAX + BOX_INDEX_BYTES_MAX + CRASH_BYTES_PER_NODE_MAX <= BOX_BYTES_MAX
);

/// Books of other nodes that are open, and whether there is something new in the own ones.
#[derive(Default)]
pub struct Boxes {
    open: Arc<Mutex<BTreeMap<(NodeId, &'static str), Open>>>,
    filled: watch::Sender<u64>,
}

struct Open {
    writer: Writer,
    /// The stamp of its last line.
    last: Option<u64>,
}

/// How far one who keeps a book has come.
#[derive(Debug, Clone, Copy, Default)]
struct Progress {
    /// The stamp of its last line; none before it was asked.
    known: Option<u64>,
    /// Where to read on here.
    position: u64,
    /// Left alone until then.
    not_before: Option<Instant>,
}

/// What is sent at a time.
struct Tail {
    lines: Vec<Blob>,
    /// The stamp of the last one.
    last: u64,
    next: u64,
    ended: bool,
}

impl Node {
    /// Sends the tails of this node's books to those who keep them, until the node stops.
    pub async fn keep_box(self) {
        let Some(logs) = self.logs().cloned() else { return };
        let (mut written, mut moved, mut filled) = (logs.written(), self.moved(), self.0.boxes.filled.subscribe());
        let mut far: BTreeMap<(NodeId, &'static str), Progress> = BTreeMap::new();
        loop {
            written.mark_unchanged();
            moved.mark_unchanged();
            filled.mark_unchanged();
            let watchers = watchers(self.who().node, &self.state());
            far.retain(|(node, _), _| watchers.contains(node));
            let mut all_sent = true;
            for watcher in watchers.iter().filter(|_| !spare::the_box()) {
                for book in BOOKS {
                    let progress = far.entry((*watcher, book)).or_default();
                    all_sent &= self.send_tail(*watcher, book, progress).await;
                }
            }
            let rest = async {
                if all_sent && !spare::the_box() {
                    tokio::select! {
                        _again = written.changed() => {}
                        _again = moved.changed() => {}
                        _again = filled.changed() => {}
                    }
                }
                // What comes at once goes at once.
                tokio::time::sleep(BOX_EVERY).await;
            };
            tokio::select! {
                () = self.closed() => return,
                () = rest => {}
            }
        }
    }

    /// Sends what is next; whether the other one has all of the book then.
    async fn send_tail(&self, to: NodeId, book: &'static str, progress: &mut Progress) -> bool {
        if progress.not_before.is_some_and(|not_before| time::mono() < not_before) {
            return false;
        }
        let sent = self.try_send_tail(to, book, progress).await;
        progress.not_before = sent.is_none().then(|| time::mono() + BOX_AGAIN);
        if sent.is_none() {
            // It may be another one by then, or have lost what it had.
            progress.known = None;
        }
        sent.unwrap_or(false)
    }

    /// `None` where the other one did not answer or refused, or the own book cannot be read.
    async fn try_send_tail(&self, to: NodeId, book: &'static str, progress: &mut Progress) -> Option<bool> {
        let reader = logs::reader(self.blackbox_dir().join(book));
        if reader.bytes().ok()? == 0 {
            return Some(true);
        }
        if progress.known.is_none() {
            let Ok(Found::BookEnd(end)) = self.ask_one(to, &Wish::BookEnd { book: book.to_owned() }).await else {
                return None;
            };
            (progress.known, progress.position) = (Some(end.unwrap_or_default()), 0);
        }
        let (known, position) = (progress.known.unwrap_or_default(), progress.position);
        let read = worker::block(READING, move || {
            tail(&reader, position, known).map_err(|source| DoorError::Io { doing: READING, source })
        });
        let Tail { lines, last, next, ended } = read.await.ok()?;
        if !lines.is_empty() {
            let Ok(Found::BookEnd(_)) = self.ask_one(to, &Wish::KeepLines { book: book.to_owned(), lines }).await
            else {
                return None;
            };
        }
        (progress.known, progress.position) = (Some(known.max(last)), next);
        Some(ended)
    }

    /// There is something new in a book beside the log.
    pub(in crate::node) fn fill_box(&self) {
        self.0.boxes.filled.send_modify(|times| *times += 1);
    }

    /// Where the books are.
    pub(in crate::node) fn blackbox_dir(&self) -> PathBuf {
        self.0.data_dir.join(DIR)
    }

    /// Where a book of another node is kept here.
    pub(in crate::node) fn box_of(&self, node: NodeId, book: &str) -> PathBuf {
        self.blackbox_dir().join(PEERS_DIR).join(node.to_string()).join(book)
    }

    /// How far a book of a node is kept here.
    pub(super) async fn box_end(&self, from: NodeId, book: String) -> Found {
        self.with_box(from, book, |open| Found::BookEnd(open.last)).await
    }

    /// Keeps lines of another node.
    pub(super) async fn keep_lines(&self, from: NodeId, book: String, lines: Vec<Blob>) -> Found {
        if lines.len() > BOX_LINES_MAX || self.check_space().is_err() {
            return Found::Refused("there is no room for lines of others now".to_owned());
        }
        let append = move |open: &mut Open| {
            for line in lines {
                // Its own lines only, and none that is here already.
                let mark = logs::read_mark(&line.0).filter(|mark| open.last.is_none_or(|last| mark.stamp > last));
                let is_own = logline::head(&line.0).is_some_and(|head| head.key.node == from);
                let Some(mark) = mark.filter(|_| is_own) else { continue };
                if open.writer.append(&mark, &line.0).is_err() {
                    return Found::Refused("lines of another node could not be written".to_owned());
                }
                open.last = Some(mark.stamp);
            }
            match open.writer.flush() {
                Ok(()) => Found::BookEnd(open.last),
                Err(_full) => Found::Refused("lines of another node could not be written".to_owned()),
            }
        };
        self.with_box(from, book, append).await
    }

    /// Does something with the box of another node; opens it where it is not.
    async fn with_box(
        &self,
        of: NodeId,
        book: String,
        work: impl FnOnce(&mut Open) -> Found + Send + 'static,
    ) -> Found {
        let Some(book) = BOOKS.into_iter().find(|known| *known == book) else { return Found::Nothing };
        let (boxes, dir, peers) =
            (Arc::clone(&self.0.boxes.open), self.box_of(of, book), self.blackbox_dir().join(PEERS_DIR));
        let done = worker::block("keeping lines of another node", move || {
            let mut boxes = boxes.lock().unwrap_or_else(PoisonError::into_inner);
            if let std::collections::btree_map::Entry::Vacant(vacant) = boxes.entry((of, book)) {
                let opened =
                    open(&dir, book).map_err(|source| DoorError::Io { doing: "opening a black box", source })?;
                vacant.insert(opened);
                // More than there can be: the oldest one goes.
                if let Some(gone) = make_room(&peers, of) {
                    boxes.retain(|(node, _), _| *node != gone);
                }
            }
            Ok(boxes.get_mut(&(of, book)).map_or(Found::Nothing, work))
        });
        done.await.unwrap_or(Found::Nothing)
    }
}

/// See [`tail`].
const READING: &str = "reading the own books";

fn tail(reader: &Reader, position: u64, known: u64) -> io::Result<Tail> {
    let from = position.max(reader.end()?.saturating_sub(BOX_TAIL_BYTES_MAX));
    let since = known.saturating_add(1);
    let want = Want { since, bytes_max: BOX_PAGE_BYTES_MAX, lines_max: BOX_LINES_MAX, ..Want::default() };
    let page = reader.page(Place::From(from), &want, &Everything)?;
    let last = page.lines.iter().map(|line| line.mark.stamp).max().unwrap_or_default();
    let lines = page.lines.into_iter().map(|line| Blob(line.bytes.into())).collect();
    Ok(Tail { lines, last, next: page.next, ended: page.ended })
}

fn open(dir: &Path, book: &str) -> io::Result<Open> {
    let total_bytes = if book == logs::LOG_DIR { BOX_LOG_BYTES_MAX } else { BOX_OTHER_BYTES_MAX };
    let bounds = Bounds { segment_bytes: BOOK_SEGMENT_BYTES.min(total_bytes / 4), total_bytes };
    let writer = Writer::open(dir, bounds, logs::read_mark)?;
    let last = writer.reader().tail(1)?.first().map(|line| line.mark.stamp);
    Ok(Open { writer, last })
}

/// Removes the box that was written to longest ago, where there are too many. Whose it was.
fn make_room(peers: &Path, but: NodeId) -> Option<NodeId> {
    let written = |dir: &Path| {
        let files = BOOKS.iter().filter_map(|book| std::fs::read_dir(dir.join(book)).ok()).flatten().flatten();
        files.filter_map(|file| file.metadata().ok()?.modified().ok()).max()
    };
    let mut boxes: Vec<_> = std::fs::read_dir(peers)
        .ok()?
        .filter_map(|entry| {
            let node = NodeId(entry.ok()?.file_name().to_str()?.parse().ok()?);
            Some((written(&peers.join(node.to_string())), node))
        })
        .collect();
    if boxes.len() <= BOXES_MAX {
        return None;
    }
    boxes.sort();
    let (_, oldest) = boxes.into_iter().find(|(_, node)| *node != but)?;
    // What stays is tried again with the next box.
    let _stays = std::fs::remove_dir_all(peers.join(oldest.to_string()));
    Some(oldest)
}

/// Who keeps the books of a node: the next two that own something, those of other zones first.
pub(super) fn watchers(me: NodeId, state: &State) -> Vec<NodeId> {
    let owns = |node: &NodeId| state.layout.lists(*node);
    let members = state.members.iter().filter(|(_, member)| member.state != MemberState::Removed);
    let others: Vec<(NodeId, &str)> = members
        .filter(|(node, _)| **node != me && owns(node))
        .map(|(node, member)| (*node, member.zone.as_str()))
        .collect();
    let zone = state.members.get(&me).map_or("", |member| member.zone.as_str());
    next_of(me, zone, &others)
}

fn next_of(me: NodeId, zone: &str, others: &[(NodeId, &str)]) -> Vec<NodeId> {
    let mut others = others.to_vec();
    // Behind this node first, then round to the lowest.
    others.sort_by_key(|(node, theirs)| (*theirs == zone, *node < me, *node));
    let mut zones = BTreeSet::new();
    let (first, rest): (Vec<_>, Vec<_>) = others.into_iter().partition(|(_, zone)| zones.insert(*zone));
    first.into_iter().chain(rest).map(|(node, _)| node).take(WATCHERS).collect()
}

#[cfg(test)]
mod tests {
    use super::make_room;
    use super::next_of;
    use super::open;
    use super::tail;
    use crate::base::id::NodeId;
    use crate::base::limits::BOX_BYTES_MAX;
    use crate::base::limits::BOX_INDEX_BYTES_MAX;
    use crate::base::limits::BOXES_MAX;
    use crate::base::limits::CRASH_BYTES_PER_NODE_MAX;
    use crate::node::debug::logs;
    use crate::proto::logline::Level;
    use crate::proto::logline::Record;
    use crate::proto::logline::stamp::Stamp;

    #[test]
    fn the_next_two_keep_the_books_and_those_of_other_zones_before_all() {
        let next = |me: u64, zone: &str, others: &[(u64, &'static str)]| {
            let others: Vec<_> = others.iter().map(|(node, zone)| (NodeId(*node), *zone)).collect();
            next_of(NodeId(me), zone, &others).into_iter().map(|node| node.0).collect::<Vec<_>>()
        };
        assert_eq!(next(2, "a", &[(1, "a"), (3, "a"), (4, "a")]), [3, 4]);
        assert_eq!(next(4, "a", &[(1, "a"), (2, "a"), (3, "a")]), [1, 2]);
        assert_eq!(next(1, "a", &[(2, "a"), (3, "b"), (4, "b"), (5, "c")]), [3, 5]);
        assert_eq!(next(1, "a", &[(2, "a"), (3, "b"), (4, "a")]), [3, 2]);
        assert_eq!(next(1, "a", &[(2, "a")]), [2]);
        assert_eq!(next(1, "a", &[]), Vec::<u64>::new());
    }

    #[test]
    fn a_tail_goes_on_behind_what_the_other_one_has() {
        let dir = tempfile::tempdir().unwrap();
        let mut book = open(&dir.path().join("log"), "log").unwrap();
        for n in 1..=20_000 {
            let record = Record {
                stamp: Stamp(n),
                node: NodeId(1),
                n,
                level: Level::Info,
                target: "t".to_owned(),
                message: "x".repeat(300),
                fields: std::collections::BTreeMap::new(),
                spans: Vec::new(),
            };
            let line = record.encode();
            book.writer.append(&logs::read_mark(&line).unwrap(), &line).unwrap();
        }
        book.writer.flush().unwrap();
        let reader = book.writer.reader();
        let (mut position, mut known, mut got, mut begun) = (0, 0, 0, None);
        loop {
            let tail = tail(&reader, position, known).unwrap();
            begun = begun.or_else(|| logs::read_mark(&tail.lines[0].0).map(|mark| mark.stamp));
            got += tail.lines.len();
            (position, known) = (tail.next, tail.last);
            if tail.ended {
                break;
            }
        }
        assert!(begun.unwrap() > 1, "not all weeks");
        assert_eq!((known, got as u64), (20_000, 20_001 - begun.unwrap()));
        let again = tail(&reader, 0, 19_998).unwrap();
        assert_eq!((again.lines.len(), again.ended), (2, true));
    }

    #[test]
    fn what_is_kept_of_one_node_has_a_bound_however_much_it_says() {
        let dir = tempfile::tempdir().unwrap();
        let mut kept = 0;
        for (book, said, bound) in
            [("log", 36 << 20, 31 << 20), ("timeline", 9 << 20, 8 << 20), ("figures", 9 << 20, 8 << 20)]
        {
            let mut open = open(&dir.path().join(book), book).unwrap();
            let (mut n, mut bytes) = (0, 0_u64);
            let of_book = || -> u64 {
                let files = std::fs::read_dir(dir.path().join(book)).unwrap();
                files.map(|file| file.unwrap().metadata().unwrap().len()).sum()
            };
            let mut most = 0;
            while bytes < said {
                n += 1;
                let record = Record {
                    stamp: Stamp(n),
                    node: NodeId(1),
                    n,
                    level: Level::Info,
                    target: "t".to_owned(),
                    message: "x".repeat(8000),
                    fields: std::collections::BTreeMap::new(),
                    spans: Vec::new(),
                };
                let line = record.encode();
                open.writer.append(&logs::read_mark(&line).unwrap(), &line).unwrap();
                bytes += line.len() as u64;
                if n % 100 == 0 {
                    open.writer.flush().unwrap();
                    most = most.max(of_book());
                }
            }
            assert!(most > bound / 2 && most <= bound + BOX_INDEX_BYTES_MAX / 3, "{book}: {most} bytes");
            kept += most;
        }
        assert!(kept + CRASH_BYTES_PER_NODE_MAX <= BOX_BYTES_MAX, "{kept} bytes");
    }

    #[test]
    fn the_box_that_was_written_to_longest_ago_goes_where_there_are_too_many() {
        let dir = tempfile::tempdir().unwrap();
        let peers = dir.path().join("peers");
        for node in 1..=BOXES_MAX as u64 {
            open(&peers.join(node.to_string()).join("log"), "log").unwrap();
        }
        assert_eq!(make_room(&peers, NodeId(1)), None);
        open(&peers.join("99").join("log"), "log").unwrap();
        let gone = make_room(&peers, NodeId(99)).unwrap();
        assert!(gone != NodeId(99) && !peers.join(gone.to_string()).exists());
    }
}
