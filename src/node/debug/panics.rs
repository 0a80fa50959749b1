//! Panics of this process: the hook notes each on the flight deck, logs it, and hands it to the task that reports it. A
//! panic of a request or a task ends that one only; what ends the process is told by the deck.

use std::panic::PanicHookInfo;
use std::sync::OnceLock;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering;

use tokio::sync::mpsc;

use crate::base::flight;
use crate::base::flight::PanicSaid;
use crate::base::limits::PANICS_WAITING;
use crate::base::time;
use crate::node::worker;
use crate::proto::crash;

/// Frames of our own that are logged with a panic.
const FRAMES_LOGGED: usize = 8;

static QUEUE: OnceLock<mpsc::Sender<PanicSaid>> = OnceLock::new();
static NUMBER: AtomicU64 = AtomicU64::new(0);

/// Notes every panic from now on. What is returned hears of them; a panic that does not fit is only logged.
pub fn note_all() -> mpsc::Receiver<PanicSaid> {
    let (queue, heard) = mpsc::channel(PANICS_WAITING);
    let _first_counts = QUEUE.set(queue);
    std::panic::set_hook(Box::new(note));
    heard
}

fn note(panic: &PanicHookInfo<'_>) {
    let backtrace = std::backtrace::Backtrace::force_capture();
    let thread = std::thread::current();
    let said = PanicSaid {
        at_ms: time::wall_ms(),
        number: NUMBER.fetch_add(1, Ordering::Relaxed) + 1,
        message: in_words(panic),
        thread: thread.name().unwrap_or("?").to_owned(),
        task: worker::name().map(ToOwned::to_owned),
        backtrace: backtrace.to_string(),
    };
    let said = said.bounded();
    // First of all: this may be the last thing that the process does.
    flight::note_panic(&said);
    // One line: those before it are the better part of a report, which has the whole backtrace.
    let frames = crash::frames(&said.backtrace).into_iter().filter(|frame| frame.contains("ringfort::"));
    let frames = frames.take(FRAMES_LOGGED).collect::<Vec<_>>().join(" < ");
    tracing::error!(thread = said.thread, task = said.task, frames, "panic: {}", said.message);
    if let Some(queue) = QUEUE.get() {
        // Full: those before it say the same, and the log has it.
        let _full = queue.try_send(said);
    }
}

fn in_words(panic: &PanicHookInfo<'_>) -> String {
    let payload = panic.payload();
    let text = payload.downcast_ref::<&str>().copied();
    let text = text.or_else(|| payload.downcast_ref::<String>().map(String::as_str)).unwrap_or("no message");
    panic
        .location()
        .map_or_else(|| text.to_owned(), |at| format!("{text} ({}:{}:{})", at.file(), at.line(), at.column()))
}
