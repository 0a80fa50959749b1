//! The last minutes of a node that does not answer, as the others keep them: its figures, the end of its log and of its
//! timeline, its crash reports. Any node puts them together for whoever asks.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::MutexGuard;
use std::sync::PoisonError;
use std::time::Instant;

use serde::Serialize;
use serde::Serializer;

use crate::base::codec::Blob;
use crate::base::id::NodeId;
use crate::base::limits::INSIDE_FRESH;
use crate::base::limits::LAST_ENTRIES;
use crate::base::limits::LAST_FIGURES;
use crate::base::limits::LAST_LINES;
use crate::base::time;
use crate::node::Node;
use crate::node::debug::book::LineView;
use crate::node::debug::book::LogQuery;
use crate::node::debug::boxes::BoxesView;
use crate::node::debug::boxes::KeptView;
use crate::node::debug::crashes::view::CrashView;
use crate::node::debug::figures::FIGURES_DIR;
use crate::node::debug::inside::Inside;
use crate::node::error::DoorError;
use crate::node::timeline::EntryView;
use crate::node::timeline::Filter;
use crate::node::worker;
use crate::proto::diagnosis::Found;
use crate::proto::diagnosis::Wish;
use crate::proto::figures;
use crate::proto::figures::FIGURES;
use crate::proto::figures::Look;
use crate::proto::logline::Record;
use crate::proto::logline::stamp::Stamp;

/// How a node is inside, or was at its end.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(untagged)]
pub enum InsideView {
    /// It says so itself.
    There(Box<ThereView>),
    /// It does not answer; others say what they have of it.
    Gone(Box<LastView>),
}

/// How a node is inside, and where its black box is.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct ThereView {
    /// As it says.
    #[serde(flatten)]
    pub inside: Inside,
    /// Its black box, and those that it keeps.
    pub boxes: BoxesView,
}

/// The last minutes of a node that does not answer.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct LastView {
    /// The node.
    pub node: NodeId,
    /// Its name.
    pub name: String,
    /// Why it does not answer.
    pub why: &'static str,
    /// When the last line that anybody has of it was said.
    pub heard: Option<String>,
    /// Who keeps its books.
    pub kept_by: Vec<KeptView>,
    /// Its figures every ten seconds, oldest first.
    pub figures: Vec<LookView>,
    /// The last lines of its log.
    pub log: Vec<LineView>,
    /// The last entries of the timeline that are about it, or that it told.
    pub timeline: Vec<EntryView>,
    /// Its last crash reports, the newest first.
    pub crashes: Vec<CrashView>,
}

/// A look at its figures.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct LookView {
    /// When.
    pub at: String,
    /// By name; what is not there is 0 or was not known.
    #[serde(flatten, serialize_with = "as_numbers")]
    pub figures: BTreeMap<&'static str, f64>,
}

/// What was seen last, for those who watch.
#[derive(Default)]
pub struct Watched(Mutex<BTreeMap<NodeId, Seen>>);

/// What was seen of a node beside what it says itself.
#[derive(Debug, Clone, Default)]
pub struct Around {
    /// Its black box, and those that it keeps.
    pub boxes: BoxesView,
    /// Its last minutes, where it does not answer.
    pub last: Option<LastView>,
}

#[derive(Default)]
struct Seen {
    at: Option<Instant>,
    around: Arc<Around>,
    is_asked: bool,
}

/// Whole numbers without a point.
fn as_numbers<S: Serializer>(figures: &BTreeMap<&'static str, f64>, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_map(figures.iter().filter_map(|(name, value)| {
        let number: serde_json::Number = figures::text(*value).parse().ok()?;
        Some((name, number))
    }))
}

impl LookView {
    fn of(look: &Look) -> Self {
        let named = |figure| FIGURES.iter().find(|(known, _)| known == figure).map(|(_, name)| *name);
        let figures = look.figures.iter().filter_map(|(figure, value)| Some((named(figure)?, *value)));
        Self { at: time::rfc3339(look.stamp.ms()), figures: figures.collect() }
    }

    /// A figure; 0 where there is none.
    #[must_use]
    pub fn get(&self, name: &str) -> f64 {
        self.figures.get(name).copied().unwrap_or_default()
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Node {
    /// How a member is inside, by its number or name; of one that does not answer, its last minutes.
    ///
    /// # Errors
    /// [`DoorError::NotFound`] where there is none, [`DoorError::NotTold`] where it does not answer and nobody has anything
    /// of it.
    pub async fn inside(&self, which: &str) -> Result<InsideView, DoorError> {
        let node = self.node_named(which)?;
        let why = match self.inside_of(node).await {
            Ok(inside) => {
                let boxes = self.boxes_of(node).await;
                return Ok(InsideView::There(Box::new(ThereView { inside: Inside::clone(&inside), boxes })));
            }
            Err(why) => why,
        };
        let last = self.last_of(node, why).await;
        last.map(|last| InsideView::Gone(Box::new(last))).ok_or(DoorError::NotTold { node, why })
    }

    /// The last minutes of a node that does not answer; none where nobody who answers has anything of it.
    pub async fn last_of(&self, node: NodeId, why: &'static str) -> Option<LastView> {
        let lines = LogQuery { node: Some(node), lines_max: LAST_LINES, ..LogQuery::default() };
        let entries = Filter { node: Some(node), limit: LAST_ENTRIES, ..Filter::default() };
        let (boxes, figures, log, timeline, crashes) = tokio::join!(
            self.boxes_of(node),
            self.last_figures(node),
            self.log_page(&lines),
            self.timeline(&entries),
            self.crashes(),
        );
        let log = log.map(|page| page.lines).unwrap_or_default();
        let its = crashes.crashes.into_iter().filter(|view| view.crash.node == node);
        let crashes: Vec<CrashView> = its.take(LAST_ENTRIES).collect();
        if boxes.kept_by.is_empty() && log.is_empty() && crashes.is_empty() {
            return None;
        }
        Some(LastView {
            node,
            name: self.node_names().get(&node).cloned().unwrap_or_default(),
            why,
            // RFC 3339 of one zone and one length sorts as time does.
            heard: boxes.kept_by.iter().filter_map(|kept| kept.newest.clone()).max(),
            kept_by: boxes.kept_by,
            figures,
            log,
            timeline: timeline.entries,
            crashes,
        })
    }

    /// Its last figures, as whoever keeps most of them has them.
    async fn last_figures(&self, node: NodeId) -> Vec<LookView> {
        let lines_max = u32::try_from(LAST_FIGURES).unwrap_or(u32::MAX);
        let wish = Wish::BookTail { of: Some(node), book: FIGURES_DIR.to_owned(), lines_max };
        let mut looks: BTreeMap<Stamp, Look> = BTreeMap::new();
        for said in self.ask_all(&wish).await {
            if let Ok(Found::BookTail(told)) = said.found {
                looks.extend(read_looks(node, &told).into_iter().map(|look| (look.stamp, look)));
            }
        }
        let skip = looks.len().saturating_sub(LAST_FIGURES);
        looks.values().skip(skip).map(LookView::of).collect()
    }

    /// What was seen last around a node, at once; it is looked for again where that is old. For pages that somebody watches.
    pub fn around_lately(&self, node: NodeId) -> Arc<Around> {
        let state = self.state();
        let mut watched = lock(&self.0.lasts.0);
        watched.retain(|node, _| state.members.contains_key(node));
        if !state.members.contains_key(&node) {
            return Arc::default();
        }
        let seen = watched.entry(node).or_default();
        if !seen.is_asked && seen.at.is_none_or(|at| at.elapsed() >= INSIDE_FRESH) {
            seen.is_asked = true;
            let here = self.clone();
            worker::spawn("looking around", async move {
                let (_inside, why) = here.inside_lately(node);
                here.look_around(node, why).await;
            });
        }
        Arc::clone(&seen.around)
    }

    /// Looks around a node, which does not answer where there is a reason why, and keeps that for those who watch.
    pub async fn look_around(&self, node: NodeId, why: Option<&'static str>) {
        let around = match why {
            None => Around { boxes: self.boxes_of(node).await, last: None },
            Some(why) => Around { boxes: BoxesView::default(), last: self.last_of(node, why).await },
        };
        lock(&self.0.lasts.0).insert(node, Seen { at: Some(time::mono()), around: Arc::new(around), is_asked: false });
    }
}

/// Looks of a node; a line that is none, or is another's, is left out.
fn read_looks(node: NodeId, told: &[Blob]) -> Vec<Look> {
    let records = told.iter().take(LAST_FIGURES).filter_map(|line| Record::parse(&line.0));
    records.filter(|record| record.node == node).filter_map(|record| Look::of_record(&record)).collect()
}
