//! What is known of the tasks of this process: how many of each name run, how busy they were, how often they failed. One
//! list for the process, as there is one runtime; here at the bottom, because lanes and the control plane have tasks too.
//! Each floor that spawns does so in one place, through here.

use std::any::Any;
use std::collections::BTreeMap;
use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::OnceLock;
use std::sync::PoisonError;
use std::sync::RwLock;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::AtomicUsize;
use std::sync::atomic::Ordering;
use std::time::Duration;
use std::time::Instant;

use crate::base::limits::TASK_SAMPLES;
use crate::base::time;

mod meter;

pub use meter::Caught;
pub use meter::Metered;

/// What becomes of a task that fails.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// It is begun again.
    Kept,
    /// The process ends.
    Vital,
    /// It is over, as it would be some time anyway.
    Once,
    /// The same, on a thread that may wait.
    Blocking,
}

impl Kind {
    /// For programs.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Kept => "kept",
            Self::Vital => "vital",
            Self::Once => "once",
            Self::Blocking => "blocking",
        }
    }
}

/// All tasks of one name.
#[derive(Debug)]
pub struct Kindred {
    kind: Kind,
    running: AtomicUsize,
    begun: AtomicU64,
    failed: AtomicU64,
    begun_again: AtomicU64,
    busy_ns: AtomicU64,
    turns: AtomicU64,
    longest_ns: AtomicU64,
    last: Mutex<Last>,
}

#[derive(Debug, Default)]
struct Last {
    begun_ms: u64,
    failure: Option<Failure>,
}

/// How a task failed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Failure {
    /// Wall milliseconds.
    pub at_ms: u64,
    /// In words.
    pub why: String,
}

/// What is known of one name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Looked {
    /// The name.
    pub name: &'static str,
    /// What becomes of one that fails.
    pub kind: Kind,
    /// How many run.
    pub running: usize,
    /// How many were begun.
    pub begun: u64,
    /// How many failed.
    pub failed: u64,
    /// How often one was begun again.
    pub begun_again: u64,
    /// When the last one was begun, in wall milliseconds.
    pub since_ms: u64,
    /// How the last one failed.
    pub failure: Option<Failure>,
    /// How long they kept threads busy, since the process began.
    pub busy: Duration,
    /// In how many turns.
    pub turns: u64,
    /// The longest of these: so long nobody else had its thread.
    pub longest: Duration,
}

static ALL: OnceLock<RwLock<BTreeMap<&'static str, Arc<Kindred>>>> = OnceLock::new();
static SAMPLES: Mutex<VecDeque<Sample>> = Mutex::new(VecDeque::new());

/// How long all of them had been busy at one moment.
#[derive(Debug, Clone)]
pub struct Sample {
    /// When.
    pub at: Instant,
    /// By name.
    pub busy: BTreeMap<&'static str, Duration>,
}

fn all() -> &'static RwLock<BTreeMap<&'static str, Arc<Kindred>>> {
    ALL.get_or_init(RwLock::default)
}

/// Those of a name; the first that asks says of which kind they are.
#[must_use]
pub fn kindred(name: &'static str, kind: Kind) -> Arc<Kindred> {
    if let Some(known) = all().read().unwrap_or_else(PoisonError::into_inner).get(name) {
        return Arc::clone(known);
    }
    let fresh = || {
        Arc::new(Kindred {
            kind,
            running: AtomicUsize::new(0),
            begun: AtomicU64::new(0),
            failed: AtomicU64::new(0),
            begun_again: AtomicU64::new(0),
            busy_ns: AtomicU64::new(0),
            turns: AtomicU64::new(0),
            longest_ns: AtomicU64::new(0),
            last: Mutex::default(),
        })
    };
    Arc::clone(all().write().unwrap_or_else(PoisonError::into_inner).entry(name).or_insert_with(fresh))
}

impl Kindred {
    fn last(&self, change: impl FnOnce(&mut Last)) {
        change(&mut self.last.lock().unwrap_or_else(PoisonError::into_inner));
    }

    /// One failed.
    pub fn failed(&self, why: &str) {
        self.failed.fetch_add(1, Ordering::Relaxed);
        let failure = Failure { at_ms: time::wall_ms(), why: why.to_owned() };
        self.last(|last| last.failure = Some(failure));
    }

    /// It runs again.
    pub fn begun_again(&self) {
        self.begun_again.fetch_add(1, Ordering::Relaxed);
        self.note_begin();
    }

    fn note_begin(&self) {
        // Of what comes and goes with requests nobody asks since when the last one runs, and the lock would be felt.
        if matches!(self.kind, Kind::Kept | Kind::Vital) {
            self.last(|last| last.begun_ms = time::wall_ms());
        }
    }
}

/// One that runs.
pub struct Counted(Arc<Kindred>);

/// Counts one in.
#[must_use]
pub fn enter(kindred: Arc<Kindred>) -> Counted {
    kindred.running.fetch_add(1, Ordering::Relaxed);
    kindred.begun.fetch_add(1, Ordering::Relaxed);
    kindred.note_begin();
    Counted(kindred)
}

impl Drop for Counted {
    fn drop(&mut self) {
        self.0.running.fetch_sub(1, Ordering::Relaxed);
    }
}

/// A turn of a task: what it does between two waits.
pub struct Turn<'c> {
    kindred: &'c Kindred,
    begun: Instant,
    is_over: bool,
}

impl Counted {
    /// It does something, until what is returned is dropped.
    #[must_use]
    pub fn turn(&self) -> Turn<'_> {
        Turn { kindred: &self.0, begun: time::mono(), is_over: false }
    }
}

impl Turn<'_> {
    /// It ended in order.
    pub fn over(mut self) {
        self.is_over = true;
    }
}

impl Drop for Turn<'_> {
    fn drop(&mut self) {
        // Many turns are shorter than a microsecond, and there are many of them.
        let ns = u64::try_from(self.begun.elapsed().as_nanos()).unwrap_or(u64::MAX);
        self.kindred.busy_ns.fetch_add(ns, Ordering::Relaxed);
        self.kindred.turns.fetch_add(1, Ordering::Relaxed);
        // Mostly it is not, and a load is cheaper than a change.
        if ns > self.kindred.longest_ns.load(Ordering::Relaxed) {
            self.kindred.longest_ns.fetch_max(ns, Ordering::Relaxed);
        }
        // Those that are kept or vital note their own failures, with what was said.
        if !self.is_over && matches!(self.kindred.kind, Kind::Once | Kind::Blocking) {
            self.kindred.failed("a panic; the log has what it said");
        }
    }
}

/// Tasks running now.
#[must_use]
pub fn running() -> usize {
    let all = all().read().unwrap_or_else(PoisonError::into_inner);
    all.values().map(|kindred| kindred.running.load(Ordering::Relaxed)).sum()
}

/// What is known of all of them, in the order of their names.
#[must_use]
pub fn look() -> Vec<Looked> {
    let all = all().read().unwrap_or_else(PoisonError::into_inner);
    let looked = |(name, kindred): (&&'static str, &Arc<Kindred>)| {
        let last = kindred.last.lock().unwrap_or_else(PoisonError::into_inner);
        let read = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        Looked {
            name,
            kind: kindred.kind,
            running: kindred.running.load(Ordering::Relaxed),
            begun: read(&kindred.begun),
            failed: read(&kindred.failed),
            begun_again: read(&kindred.begun_again),
            since_ms: last.begun_ms,
            failure: last.failure.clone(),
            busy: Duration::from_nanos(read(&kindred.busy_ns)),
            turns: read(&kindred.turns),
            longest: Duration::from_nanos(read(&kindred.longest_ns)),
        }
    };
    all.iter().map(looked).collect()
}

/// Remembers how busy all of them were so far, so that [`window`] can tell it of the last while.
pub fn sample() {
    let busy = look().into_iter().map(|looked| (looked.name, looked.busy)).collect();
    let mut samples = SAMPLES.lock().unwrap_or_else(PoisonError::into_inner);
    samples.push_back(Sample { at: time::mono(), busy });
    while samples.len() > TASK_SAMPLES {
        samples.pop_front();
    }
}

/// The oldest sample that is remembered; none before the first.
#[must_use]
pub fn window() -> Option<Sample> {
    SAMPLES.lock().unwrap_or_else(PoisonError::into_inner).front().cloned()
}

/// A task that ends by itself, counted and measured under this name.
pub fn once<F: Future>(name: &'static str, task: F) -> Metered<F> {
    Metered::new(enter(kindred(name, Kind::Once)), task)
}

/// A task without which the node is none and that cannot be begun again. What is done after a panic is to end the process:
/// it is told the name, and what the panic said.
pub fn vital<F: Future>(
    name: &'static str,
    task: F,
    end: fn(&'static str, &str) -> F::Output,
) -> Metered<impl Future<Output = F::Output>> {
    let caught = Caught::new(task);
    Metered::new(enter(kindred(name, Kind::Vital)), async move {
        caught.await.unwrap_or_else(|panic| end(name, &said(panic.as_ref())))
    })
}

/// What a panic said, where it said it in words.
#[must_use]
pub fn said(panic: &(dyn Any + Send)) -> String {
    let text = panic.downcast_ref::<&str>().map(|text| (*text).to_owned());
    text.or_else(|| panic.downcast_ref::<String>().cloned()).unwrap_or_else(|| "a panic without words".to_owned())
}

#[cfg(test)]
mod tests;
