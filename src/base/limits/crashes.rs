//! Limits of what is kept and told about processes that ended.

use std::time::Duration;

/// Bytes of one report: several of them fit into a mail, and it fits into one frame between nodes.
pub const CRASH_BYTES_MAX: usize = 1024 * 1024;
/// Reports of one node that are kept on each machine that has them: the story of a bad week.
pub const CRASHES_PER_NODE_MAX: usize = 50;
/// Bytes of them: a page of reports is some hundred KiB at the most.
pub const CRASH_BYTES_PER_NODE_MAX: u64 = 16 * 1024 * 1024;
/// Nodes of which reports are kept: all that there may be at once, and as many that are gone.
pub const CRASH_NODES_MAX: usize = 128;
/// Lines of the log in a report: what led to it is in the last few.
pub const CRASH_LOG_LINES: usize = 50;
/// Events in a report.
pub const CRASH_EVENTS: usize = 50;
/// Members, threads and other lists in a report.
pub const CRASH_ROWS: usize = 64;
/// Bytes of one line in a report: a long line of the log.
pub const CRASH_LINE_BYTES: usize = 2048;
/// Tapes of each kind of core in a report: the last of them, 150 KiB in all at the most.
pub const CRASH_TAPES_EACH: usize = 32;
/// Tapes in a report.
pub const CRASH_TAPES: usize = CRASH_TAPES_EACH * crate::base::recorder::KINDS;
/// Bytes of a backtrace: the deepest of ours has a hundred frames.
pub const CRASH_BACKTRACE_BYTES: usize = 64 * 1024;
/// Reports of a living process' panics that wait to be written: more than that in one instant say the same.
pub const PANICS_WAITING: usize = 16;
/// Panics of one kind that are reported a minute; the others are counted in the next report.
pub const PANICS_A_MINUTE: usize = 3;
/// Kinds of panics that are told apart at a time.
pub const PANIC_KINDS: usize = 64;
/// How long one node looks through its reports for what they say: with the way there and back within the time that all are
/// given to answer.
pub const CRASH_SEARCH_BUDGET: Duration = Duration::from_secs(1);
/// How often what could not be delivered is tried again.
pub const CRASH_DELIVERY_EVERY: Duration = Duration::from_secs(15);
/// Peers that keep a report: one of them may be gone as well.
pub const CRASH_COPIES: usize = 2;

/// Bytes of the ring with the last lines of the log: a hundred long ones.
pub const DECK_LOG_BYTES: u64 = 128 * 1024;
/// Bytes of the ring with the last events.
pub const DECK_EVENT_BYTES: u64 = 16 * 1024;

/// Between two looks of the supervisor at its worker.
pub const WATCH_TICK: Duration = Duration::from_millis(250);
/// A runtime that does not turn for so long, while its process lives, turns no more: ten times what a busy one takes.
pub const RUNTIME_SILENCE_MAX: Duration = Duration::from_secs(3);
/// A supervisor that was itself away for so long knows nothing of the time between.
pub const WATCH_GAP: Duration = Duration::from_secs(1);
/// Between two beats of the runtime.
pub const RUNTIME_BEAT: Duration = Duration::from_millis(250);
/// How long a process that was told to abort may take before it is killed.
pub const ABORT_PATIENCE: Duration = Duration::from_secs(1);

/// How long a courier may take, with all peers together.
pub const COURIER_BUDGET: Duration = Duration::from_secs(10);
/// A start that is refused again for the same reason within this time is not told once more: what starts it does so each few
/// seconds, and others would hear of nothing else.
pub const REFUSAL_AGAIN: Duration = Duration::from_secs(3600);
/// How long it waits for one peer: a connection, a handshake, one synced file.
pub const COURIER_TURN: Duration = Duration::from_secs(3);
/// Couriers served at once: each costs a synced file.
pub const COURIERS_MAX: usize = 4;
/// Bytes of the list of peers that a courier reads.
pub const PEER_LIST_BYTES_MAX: usize = 256 * 1024;
/// How often the list of peers is compared with what is written down, when nothing tells of a change.
pub const PEER_LIST_EVERY: Duration = Duration::from_secs(5);
/// How long a process that ends itself speaks with its peers before.
pub const LAST_WORDS: Duration = Duration::from_millis(150);
/// Bytes of such last words.
pub const LAST_WORDS_BYTES_MAX: usize = 512;

/// Bytes of a password's hash: argon2id's are about a hundred.
pub const PASSWORD_HASH_BYTES_MAX: usize = 256;
/// Bytes of the file with all operators: the longest entry of each of them.
pub const OPERATORS_BYTES_MAX: usize = 1024 * 1024;
/// How often the file is written again where writing it failed.
pub const OPERATORS_EVERY: Duration = Duration::from_secs(5);

/// Ends in a row, each soon after its start, after which a rescue console is served in place of a worker: one more of the same
/// would only say the same, and with the pauses between them a passing cause has had its time.
pub const RESCUE_AFTER_ENDS: u32 = 5;
/// A worker that lived this long was well: longer than any start but a very long replay takes.
pub const WELL_AFTER: Duration = Duration::from_secs(30);
/// How long a rescue console is served before a worker is tried again: what went away by itself, such as a full disk or a
/// machine short of memory, is noticed soon, and an operator is not interrupted at every page.
pub const RESCUE_RETRY: Duration = Duration::from_secs(300);
/// How long a rescue console may take to end when it is told to: it holds nothing that must be saved.
pub const RESCUE_STOP: Duration = Duration::from_secs(3);
/// Bytes of what the supervisor tells a rescue console: some numbers and one reason, in an environment variable.
pub const RESCUE_WORD_BYTES_MAX: usize = 16 * 1024;
/// Bytes of the reason in it.
pub const RESCUE_REASON_BYTES_MAX: usize = 2048;
/// What devices are told to wait before they ask a node in rescue again: long enough to go to another one instead.
pub const RESCUE_RETRY_AFTER_S: u32 = 30;
/// Browsers signed in to a rescue console at once; the oldest goes.
pub const RESCUE_SESSIONS_MAX: usize = 64;
/// How long a question to the disk may take before it is said that the disk does not answer.
pub const RESCUE_DISK_PATIENCE: Duration = Duration::from_secs(5);
/// Questions to the disk at once: where it hangs, each holds a thread.
pub const RESCUE_LOOKS_MAX: usize = 8;
/// How long everything stored is read through at most, when an operator asks for it.
pub const RESCUE_EXAMINE_MAX: Duration = Duration::from_secs(900);
/// Lines of the log on the first page and at a terminal.
pub const RESCUE_LOG_LINES: usize = 20;
/// Free bytes below which a disk counts as full for a node that does not come up, where that is less than a twentieth of it: a
/// start writes a segment of the journal and some tables.
pub const RESCUE_ROOM_BYTES: u64 = 64 * 1024 * 1024;
/// So much more room than there was is worth a try: it is what somebody made.
pub const RESCUE_ROOM_GAIN_BYTES: u64 = 16 * 1024 * 1024;
/// How often it is looked for, where there was none.
pub const RESCUE_ROOM_EVERY: Duration = Duration::from_secs(1);
