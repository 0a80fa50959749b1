//! Failures for real, on order: each ends the process, or something in it, in the way that its word says, so that what
//! reports and what takes over can be seen at work. `WORD@NODE` is for one node, `WORD` for every one that reads the file.

use std::collections::BTreeSet;
use std::sync::Mutex;
use std::sync::PoisonError;
use std::sync::atomic::AtomicBool;
use std::sync::atomic::Ordering;
use std::thread;

use crate::base::exit;
use crate::base::id::NodeId;
use crate::base::memory;
use crate::node::debug::machine::Group;
use crate::node::worker;

/// Tasks that wait for the lock: more than a runtime has threads.
const BLOCKED_TASKS: usize = 1024;
/// Bytes that are taken at a time until there are no more.
const GULP: usize = 4 * 1024 * 1024;

static PANIC_IN_REQUEST: AtomicBool = AtomicBool::new(false);
static PANIC_IN_BODY: AtomicBool = AtomicBool::new(false);
static PANIC_IN_FEED: AtomicBool = AtomicBool::new(false);
static LOCK: Mutex<()> = Mutex::new(());

/// A way to fail.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Failure {
    PanicRequest,
    /// While the body of an answer is on its way.
    PanicBody,
    /// In the task that feeds such a body, or hands on that of a request.
    PanicFeed,
    PanicTask,
    Abort,
    Segv,
    Deadlock,
    Exit1,
    Oom,
    /// At every start, too.
    Loop,
}

const ALL: [(&str, Failure); 10] = [
    ("panic-request", Failure::PanicRequest),
    ("panic-body", Failure::PanicBody),
    ("panic-feed", Failure::PanicFeed),
    ("panic-task", Failure::PanicTask),
    ("abort", Failure::Abort),
    ("segv", Failure::Segv),
    ("deadlock", Failure::Deadlock),
    ("exit1", Failure::Exit1),
    ("oom", Failure::Oom),
    ("exit1-always", Failure::Loop),
];

/// Which words stood there at the last look.
pub(super) struct Failures {
    node: NodeId,
    seen: BTreeSet<Failure>,
}

impl Failures {
    /// What stands there at the start was for the process of before.
    pub(super) fn begin(text: &str, node: NodeId) -> Self {
        let mut seen = named(text, node);
        seen.remove(&Failure::Loop);
        Self { node, seen }
    }

    /// Fails by every word that is new.
    pub(super) fn look(&mut self, text: &str) {
        let now = named(text, self.node);
        now.difference(&self.seen).for_each(|failure| fail(*failure));
        self.seen = now;
    }
}

fn named(text: &str, node: NodeId) -> BTreeSet<Failure> {
    let words = text.split_whitespace().filter_map(|word| match word.split_once('@') {
        Some((word, number)) => (number == node.to_string()).then_some(word),
        None => Some(word),
    });
    words.filter_map(|word| ALL.iter().find(|(name, _)| *name == word)).map(|(_, failure)| *failure).collect()
}

/// A request begins; it may be the one that a drill has panic.
#[expect(clippy::panic, reason = "a drill: this is what it is for")]
pub fn meet_request() {
    if is_next(&PANIC_IN_REQUEST) {
        panic!("a drill made this request panic");
    }
}

/// A piece of a body is sent.
#[expect(clippy::panic, reason = "a drill: this is what it is for")]
pub fn meet_body() {
    if is_next(&PANIC_IN_BODY) {
        panic!("a drill made this body panic");
    }
}

/// A piece of a body is handed on.
#[expect(clippy::panic, reason = "a drill: this is what it is for")]
pub fn meet_feed() {
    if is_next(&PANIC_IN_FEED) {
        panic!("a drill made this feed panic");
    }
}

/// Once for each order.
fn is_next(ordered: &AtomicBool) -> bool {
    ordered.load(Ordering::Relaxed) && ordered.swap(false, Ordering::SeqCst)
}

#[expect(clippy::panic, reason = "a drill: this is what it is for")]
fn fail(failure: Failure) {
    tracing::warn!(?failure, "a drill makes this node fail");
    match failure {
        Failure::PanicRequest => PANIC_IN_REQUEST.store(true, Ordering::SeqCst),
        Failure::PanicBody => PANIC_IN_BODY.store(true, Ordering::SeqCst),
        Failure::PanicFeed => PANIC_IN_FEED.store(true, Ordering::SeqCst),
        Failure::PanicTask => drop(worker::spawn("drilled task", async { panic!("a drill made this task panic") })),
        Failure::Abort => std::process::abort(),
        Failure::Segv => memory::touch_nothing(),
        Failure::Deadlock => block_all(),
        Failure::Exit1 | Failure::Loop => exit::drill(),
        Failure::Oom => take_all(),
    }
}

/// All threads of the runtime wait for a lock that is never given back.
fn block_all() {
    let held = thread::Builder::new().name("drill".to_owned()).spawn(|| {
        let _held = LOCK.lock().unwrap_or_else(PoisonError::into_inner);
        loop {
            thread::park();
        }
    });
    if held.is_err() {
        return;
    }
    // Whoever comes first gives it back at once, and takes it again.
    for _ in 0..BLOCKED_TASKS {
        worker::spawn("drilled lock", async {
            loop {
                drop(LOCK.lock().unwrap_or_else(PoisonError::into_inner));
                tokio::task::yield_now().await;
            }
        });
    }
}

/// Takes memory until the kernel objects; only where a control group says when.
fn take_all() {
    if Group::own().and_then(|group| group.limit()).is_none() {
        tracing::error!(
            "a drill would take all memory of this machine: put this node into a control group with a limit first"
        );
        return;
    }
    let taken = thread::Builder::new().name("drill".to_owned()).spawn(|| {
        let mut all = Vec::new();
        loop {
            // Not zero, or no page of it would exist.
            all.push(vec![1_u8; GULP]);
            std::hint::black_box(&all);
        }
    });
    drop(taken);
}

#[cfg(test)]
mod tests {
    use super::Failure;
    use super::Failures;
    use super::named;
    use crate::base::id::NodeId;

    #[test]
    fn only_the_named_node_fails_and_not_for_what_stood_there_before() {
        let wanted = |text| named(text, NodeId(2)).into_iter().collect::<Vec<_>>();
        assert_eq!(wanted("bulk abort@2 segv@1 loss=5 oom nonsense@2"), [Failure::Abort, Failure::Oom]);
        assert_eq!(wanted("abort@22 abort@ @2"), []);
        let before = Failures::begin("abort@2 exit1-always@2", NodeId(2));
        assert!(before.seen.contains(&Failure::Abort) && !before.seen.contains(&Failure::Loop));
    }
}
