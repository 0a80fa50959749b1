//! The log of all nodes as one: any node is asked, asks every other, and merges what they say in causal order. The lines of a
//! node that does not answer come from the black box of whoever keeps it, and it is said so.

use std::collections::BTreeMap;

use futures_util::future;
use serde::Serialize;

use crate::base::codec::Blob;
use crate::base::id::NodeId;
use crate::base::limits::BOOK_PAGE_BYTES_MAX;
use crate::base::limits::LOG_PAGE_LINES;
use crate::base::limits::LOG_SEARCH_BUDGET;
use crate::base::time;
use crate::node::Node;
use crate::node::access::Caller;
use crate::node::debug::logs;
use crate::node::debug::logs::LevelError;
use crate::node::debug::logs::Logs;
use crate::node::error::DoorError;
use crate::node::worker;
use crate::proto::audit::Via;
use crate::proto::control::Command;
use crate::proto::control::members::MemberState;
use crate::proto::diagnosis::Found;
use crate::proto::diagnosis::LinesFound;
use crate::proto::diagnosis::LinesWish;
use crate::proto::diagnosis::Wish;
use crate::proto::logline;
use crate::proto::logline::Key;
use crate::proto::logline::Level;
use crate::proto::logline::Record;
use crate::proto::logline::filter::Filter;
use crate::proto::logline::filter::Search;
use crate::proto::logline::filter::SearchError;
use crate::proto::logline::merge;
use crate::proto::logline::merge::Direction;
use crate::proto::logline::merge::Part;
use crate::proto::logline::stamp::Stamp;
use crate::proto::logline::text;
use crate::store::logbook::read::Page;
use crate::store::logbook::read::Place;
use crate::store::logbook::read::Reader;
use crate::store::logbook::read::Sieve;
use crate::store::logbook::read::Want;

/// What is asked of the log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LogQuery {
    /// Of one node; of all where none is named.
    pub node: Option<NodeId>,
    /// What is looked for.
    pub search: Search,
    /// Only behind this one: the oldest of them first come into a page.
    pub after: Option<Key>,
    /// Only before this one: the newest of them come into a page.
    pub before: Option<Key>,
    /// Lines at most.
    pub lines_max: usize,
}

impl Default for LogQuery {
    fn default() -> Self {
        Self { node: None, search: Search::default(), after: None, before: None, lines_max: LOG_PAGE_LINES }
    }
}

/// A line as it is shown.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct LineView {
    /// When.
    pub at: String,
    /// The name of its node.
    pub name: String,
    /// The line.
    #[serde(flatten)]
    pub record: Record,
}

/// A node that did not answer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct SilentView {
    /// Which.
    pub node: NodeId,
    /// Its name.
    pub name: String,
    /// Why, for people.
    pub reason: String,
    /// Who keeps the last lines of it, which are shown in place of its own.
    pub from_box_on: Option<NodeId>,
    /// The name of that one.
    pub from_box_on_name: Option<String>,
    /// Until when the box has lines.
    pub box_until: Option<String>,
}

/// A page of the log.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct LogPage {
    /// The earliest first.
    pub lines: Vec<LineView>,
    /// Where to go on in the direction asked for; null where nothing more fits.
    pub next: Option<String>,
    /// The last line: what comes later is behind it.
    pub newest: Option<String>,
    /// Nodes that did not answer.
    pub silent: Vec<SilentView>,
    /// Lines that could not be read.
    pub damaged: u64,
}

/// What one node told, with where it was from.
struct Heard {
    node: NodeId,
    found: LinesFound,
    box_on: Option<NodeId>,
    silent: Option<&'static str>,
}

struct Sifting<'a>(&'a Filter);

impl Sieve for Sifting<'_> {
    fn may_be_in(&self, block: &[u8]) -> bool {
        self.0.may_be_in(block)
    }

    fn takes(&self, line: &[u8]) -> bool {
        self.0.fits(line)
    }
}

impl Node {
    /// Keeps the log of this process in the data directory; the first word counts.
    pub fn keep_log(&self, logs: &Logs) {
        if let Err(error) = logs.keep(&self.blackbox_dir().join(logs::LOG_DIR), self.who().node) {
            tracing::error!(%error, "the log cannot be kept on disk; it goes to standard error only");
        }
        let _already_kept = self.0.logs.set(logs.clone());
    }

    /// The log of this process; none in tools and tests that keep none.
    #[must_use]
    pub fn logs(&self) -> Option<&Logs> {
        self.0.logs.get()
    }

    /// A stamp for what this node says to another one now.
    pub(in crate::node) fn stamp(&self) -> u64 {
        self.logs().map_or(0, |logs| logs.stamp().0)
    }

    /// Another node said something then: what is logged here from now on is later.
    pub(in crate::node) fn hear_stamp(&self, stamp: u64) {
        if let Some(logs) = self.logs() {
            logs.hear(Stamp(stamp));
        }
    }

    /// A page of the log of all nodes, or of one.
    ///
    /// # Errors
    /// [`SearchError`].
    pub async fn log_page(&self, query: &LogQuery) -> Result<LogPage, SearchError> {
        // What cannot be looked for is refused before anybody is asked.
        Filter::new(query.search.clone(), query.after, query.before)?;
        let direction = if query.after.is_some() { Direction::Forward } else { Direction::Backward };
        let nodes: Vec<NodeId> = match query.node {
            Some(node) => vec![node],
            None => self.log_nodes(),
        };
        let asked = nodes.into_iter().map(|node| self.lines_of(node, query, direction, query.after));
        let heard = future::join_all(asked).await;
        Ok(self.page_of(heard, direction, query.lines_max))
    }

    /// Nodes whose log is looked through where none is named.
    fn log_nodes(&self) -> Vec<NodeId> {
        let state = self.state();
        let members = state.members.iter().filter(|(_, member)| member.state != MemberState::Removed);
        let mut nodes: Vec<NodeId> = members.map(|(node, _)| *node).collect();
        if nodes.is_empty() {
            nodes.push(self.who().node);
        }
        nodes
    }

    /// Lines of one node, from itself, or from whoever has the most recent box of it.
    async fn lines_of(&self, node: NodeId, query: &LogQuery, direction: Direction, after: Option<Key>) -> Heard {
        let lines_max = u32::try_from(query.lines_max).unwrap_or(u32::MAX);
        let (search, before) = (query.search.clone(), query.before);
        let mut wish = LinesWish { of: None, search, after, before, direction, lines_max };
        let silent = match self.ask_one(node, &Wish::Lines(Box::new(wish.clone()))).await {
            Ok(Found::Lines(found)) => return Heard { node, found: *found, box_on: None, silent: None },
            Ok(_) => "it cannot say now",
            Err(reason) => reason,
        };
        wish.of = Some(node);
        let said = self.ask_all(&Wish::Lines(Box::new(wish))).await;
        let boxes = said.into_iter().filter(|said| said.node != node).filter_map(|said| match said.found {
            Ok(Found::Lines(found)) => found.last.map(|last| (last, said.node, *found)),
            Ok(_) | Err(_) => None,
        });
        match boxes.max_by_key(|(last, ..)| *last) {
            Some((_, on, found)) => Heard { node, found, box_on: Some(on), silent: Some(silent) },
            None => Heard { node, found: LinesFound::default(), box_on: None, silent: Some(silent) },
        }
    }

    fn page_of(&self, heard: Vec<Heard>, direction: Direction, lines_max: usize) -> LogPage {
        let state = self.state();
        let name = |node: NodeId| {
            state.members.get(&node).map_or_else(|| format!("node {node}"), |member| member.name.clone())
        };
        let (mut parts, mut silent, mut damaged) = (Vec::new(), Vec::new(), 0);
        for Heard { node, found, box_on, silent: reason } in heard {
            let LinesFound { lines, reached, damaged: unreadable, last } = found;
            let records = lines.iter().filter_map(|line| Record::parse(&line.0)).filter(|record| record.node == node);
            let records: Vec<Record> = records.map(text::plain_record).collect();
            damaged += unreadable + lines.len().saturating_sub(records.len()) as u64;
            parts.push(Part { records, reached: reached.map(Stamp) });
            if let Some(reason) = reason {
                silent.push(SilentView {
                    node,
                    name: name(node),
                    reason: reason.to_owned(),
                    from_box_on: box_on,
                    from_box_on_name: box_on.map(name),
                    box_until: box_on.and(last).map(|last| time::rfc3339(last.stamp.ms())),
                });
            }
        }
        let merged = merge::merge(parts, direction, lines_max);
        let newest = merged.records.last().map(|record| record.key().to_string());
        let view = |record: Record| LineView { at: time::rfc3339(record.stamp.ms()), name: name(record.node), record };
        let lines = merged.records.into_iter().map(view).collect();
        LogPage { lines, next: merged.next.map(|next| next.to_string()), newest, silent, damaged }
    }

    /// Looks through a book here.
    pub(super) async fn find_lines(&self, wish: LinesWish) -> Found {
        let dir = match wish.of {
            Some(node) => self.box_of(node, logs::LOG_DIR),
            None => self.blackbox_dir().join(logs::LOG_DIR),
        };
        let Ok(turn) = self.enter_log_search() else { return Found::Refused("too many look at once".to_owned()) };
        let found = worker::block(LOOKING, move || {
            let _turn = turn;
            find(&logs::reader(dir), &wish).map_err(|source| DoorError::Io { doing: LOOKING, source })
        });
        found.await.map_or(Found::Nothing, |found| Found::Lines(Box::new(found)))
    }

    /// Changes what is logged for a time, on one node or on all; the audit has it before. Nodes that did not do so, with
    /// why. Who asks as the owner of this node is served also while nothing can be written into the audit: that may be just
    /// what is looked for.
    ///
    /// # Errors
    /// [`LevelOrderError`]; nothing was changed.
    pub async fn set_level(
        &self,
        caller: &Caller,
        node: Option<NodeId>,
        target: &str,
        level: Level,
        for_ms: u64,
    ) -> Result<Vec<(NodeId, String)>, LevelOrderError> {
        logs::check_level(target, for_ms)?;
        let whose = node.map_or_else(|| "all nodes".to_owned(), |node| format!("node {node}"));
        let until = time::rfc3339(time::wall_ms().saturating_add(for_ms));
        let what = format!("logs `{target}` at level {level} on {whose} until {until}");
        match self.order_in_words(caller, what, Command::Note).await {
            Ok(_) => {}
            Err(error) if caller.via == Via::Local => {
                tracing::warn!(%error, part = target, level = level.name(), "a level is changed that the audit does not have");
            }
            Err(error) => return Err(error.into()),
        }
        let wish = Wish::SetLevel { target: target.to_owned(), level, for_ms };
        let nodes = node.map_or_else(|| self.log_nodes(), |node| vec![node]);
        let asked = nodes.into_iter().map(|node| {
            let wish = &wish;
            async move {
                match self.ask_one(node, wish).await {
                    Ok(Found::LevelSet) => None,
                    Ok(Found::Refused(reason)) => Some((node, reason)),
                    Ok(_) => Some((node, "it cannot do that".to_owned())),
                    Err(reason) => Some((node, reason.to_owned())),
                }
            }
        });
        Ok(future::join_all(asked).await.into_iter().flatten().collect())
    }

    pub(super) fn set_level_here(&self, target: &str, level: Level, for_ms: u64) -> Found {
        let Some(logs) = self.logs() else { return Found::Nothing };
        match logs.raise(target, level, for_ms) {
            Ok(raised) => {
                let until = time::rfc3339(raised.until_ms);
                tracing::info!(part = target, level = level.name(), until, "a level is changed for a time");
                Found::LevelSet
            }
            Err(error) => Found::Refused(error.to_string()),
        }
    }
}

/// Why a level is not changed. Nothing was changed.
#[derive(Debug, thiserror::Error)]
pub enum LevelOrderError {
    /// It cannot be changed so.
    #[error(transparent)]
    Level(#[from] LevelError),
    /// It could not be written into the audit.
    #[error(transparent)]
    Door(#[from] DoorError),
}

/// See [`find`].
const LOOKING: &str = "looking through the log";

pub(in crate::node) fn find(reader: &Reader, wish: &LinesWish) -> std::io::Result<LinesFound> {
    let filter = Filter::new(wish.search.clone(), wish.after, wish.before);
    let filter = filter.map_err(|error| std::io::Error::new(std::io::ErrorKind::InvalidInput, error))?;
    let want = Want {
        since: filter.since(),
        until: filter.until(),
        level_max: filter.level_max(),
        marks: filter.marks(),
        lines_max: usize::try_from(wish.lines_max).unwrap_or(usize::MAX).min(crate::base::limits::BOOK_PAGE_LINES_MAX),
        bytes_max: BOOK_PAGE_BYTES_MAX,
        deadline: Some(time::mono() + LOG_SEARCH_BUDGET),
    };
    let place = match wish.direction {
        Direction::Forward => Place::From(0),
        Direction::Backward => Place::Before(u64::MAX),
    };
    let Page { lines, ended, damaged, reached, .. } = reader.page(place, &want, &Sifting(&filter))?;
    let last = reader.tail(1)?.first().and_then(|line| logline::head(&line.bytes)).map(|head| head.key);
    let lines = lines.into_iter().map(|line| Blob(line.bytes.into())).collect();
    let unseen = match wish.direction {
        Direction::Forward => filter.since(),
        Direction::Backward => filter.until(),
    };
    // Where it ended before it came to any line, nothing is known yet.
    let reached = (!ended).then_some(if reached == 0 { unseen } else { reached });
    Ok(LinesFound { lines, reached, damaged, last })
}

/// Who follows the log: how far it has seen that of each node.
pub struct Follower {
    query: LogQuery,
    seen: BTreeMap<NodeId, Key>,
    begin: Key,
}

impl Follower {
    /// Goes on behind a line; from now on where none is named.
    #[must_use]
    pub fn new(query: LogQuery) -> Self {
        let begin = query.after.unwrap_or_else(|| Key::at(Stamp::of_ms(time::wall_ms())));
        Self { query, seen: BTreeMap::new(), begin }
    }

    /// What came since.
    pub async fn next(&mut self, node: &Node) -> LogPage {
        let nodes = self.query.node.map_or_else(|| node.log_nodes(), |one| vec![one]);
        let asked = nodes.into_iter().map(|of| {
            let after = self.seen.get(&of).copied().unwrap_or(self.begin);
            node.lines_of(of, &self.query, Direction::Forward, Some(after))
        });
        let mut heard = future::join_all(asked).await;
        for Heard { node, found, .. } in &mut heard {
            let seen = self.seen.entry(*node).or_insert(self.begin);
            let last = found.lines.iter().filter_map(|line| logline::head(&line.0)).map(|head| head.key).max();
            *seen = last.unwrap_or(*seen).max(*seen);
            if let (Some(reached), None) = (found.reached, last) {
                *seen = (*seen).max(Key { stamp: Stamp(reached), node: NodeId(u64::MAX), n: u64::MAX });
            }
            // Each node's own place is kept: none waits for another.
            found.reached = None;
        }
        node.page_of(heard, Direction::Forward, usize::MAX)
    }
}
