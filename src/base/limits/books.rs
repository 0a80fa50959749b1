//! Limits of the books: the log, the timeline, and what is kept of other nodes' books.

use std::time::Duration;

/// Milliseconds that a line of the log waits for who reads standard error: a terminal that draws is back within that.
pub const SHOWN_PATIENCE_MS: i64 = 20;
/// Bytes of one line of a book: a message of a screen or two with its fields, a backtrace's worth at most.
pub const BOOK_LINE_BYTES_MAX: usize = 32 * 1024;
/// Bytes after which a block of a book ends: one read of a disk, some hundred lines of which all are skipped at once.
pub const BOOK_BLOCK_BYTES: usize = 64 * 1024;
/// Bytes of one segment of a book: this much of the oldest lines goes when there is no room for more.
pub const BOOK_SEGMENT_BYTES: u64 = 8 * 1024 * 1024;
/// Bytes of the log of one node: a million lines, which is months of a node at rest and a day of one in trouble.
pub const LOG_BYTES_MAX: u64 = 192 * 1024 * 1024;
/// Lines of one page of a book: what somebody scrolls through.
pub const BOOK_PAGE_LINES_MAX: usize = 1000;
/// Bytes of one page of a book: with others of its kind it still fits a frame between nodes.
pub const BOOK_PAGE_BYTES_MAX: usize = 1024 * 1024;

/// Bytes of the message of a line; what is longer is cut, with a word. Twice this still fits where all of it is escaped.
pub const LOG_MESSAGE_BYTES_MAX: usize = 12 * 1024;
/// Bytes of one field of a line, and of one span.
pub const LOG_FIELD_BYTES_MAX: usize = 1024;
/// Fields of a line, and spans; no call has half as many.
pub const LOG_FIELDS_MAX: usize = 24;
/// Bytes of a target: a path of modules.
pub const LOG_TARGET_BYTES_MAX: usize = 128;
/// Bytes of a text or expression that is looked for: a long line of a terminal.
pub const LOG_SEARCH_BYTES_MAX: usize = 256;
/// Bytes that a compiled expression may take, and a search by it: far above any that is typed, far below harm.
pub const LOG_REGEX_BYTES_MAX: usize = 1024 * 1024;
/// Depth of parentheses in an expression.
pub const LOG_REGEX_DEPTH_MAX: u32 = 32;
/// Milliseconds by which another node's stamp may lie ahead of the own wall clock and still be taken in (HOUSE decision 9).
pub const LOG_AHEAD_MS_MAX: u64 = 60_000;
/// Lines that one place in the code may log at once: a burst that somebody reads.
pub const LOG_SITE_BURST: u32 = 500;
/// Lines a second that it may log on and on: more is a storm, of which the number says enough.
pub const LOG_SITE_PER_SECOND: u32 = 50;
/// How often such a place's dropped lines are told at most; and how long it must be quiet before they are told without it.
pub const LOG_SITE_TELL_MS: u64 = 1000;
/// Lines that wait for the disk: a second of several storms.
pub const LOG_QUEUE_LINES_MAX: usize = 8192;
/// Bytes that wait for the disk.
pub const LOG_QUEUE_BYTES_MAX: usize = 4 * 1024 * 1024;
/// How long the writer of the log rests when nothing comes: what was dropped is told, and a changed level ends, this late.
pub const LOG_TICK: Duration = Duration::from_millis(500);
/// How often the log is synced while lines come: a power cut takes no more than this.
pub const LOG_SYNC_EVERY: Duration = Duration::from_secs(5);
/// Levels that may be changed at a time.
pub const LOG_LEVELS_MAX: usize = 32;
/// How long a level may be changed: over a night in which something is waited for.
pub const LOG_LEVEL_FOR_MAX: Duration = Duration::from_secs(24 * 3600);
/// Books that are looked through at a time on one node: each reads a disk and uses a core for a moment.
pub const LOG_SEARCHES_MAX: usize = 4;
/// How long one node looks through a book for one page: with the way there and back less than what a person notices. What it
/// has not looked through by then is the next page's.
pub const LOG_SEARCH_BUDGET: Duration = Duration::from_millis(200);
/// Lines of a page where nobody says: about what a screen or two show.
pub const LOG_PAGE_LINES: usize = 200;
/// Between two looks at the other nodes for who follows their log.
pub const LOG_FOLLOW_EVERY: Duration = Duration::from_secs(1);

/// Nodes whose books one node keeps: two are its own part, others were when the layout was another.
pub const BOXES_MAX: usize = 8;
/// Bytes that one node keeps of another: what a small machine can spare. Its log, timeline and figures are in it, their
/// indexes, and its crash reports.
pub const BOX_BYTES_MAX: u64 = 64 * 1024 * 1024;
/// Bytes of the log in the box of one watched node: hundreds of thousands of lines.
pub const BOX_LOG_BYTES_MAX: u64 = 31 * 1024 * 1024;
/// Bytes of the indexes in the box of one watched node, far above what those books need.
pub const BOX_INDEX_BYTES_MAX: u64 = 1024 * 1024;
/// Bytes of each other book in the box of one watched node.
pub const BOX_OTHER_BYTES_MAX: u64 = 8 * 1024 * 1024;
/// Nodes that keep the books of one.
pub const WATCHERS: usize = 2;
/// Bytes of a book that are sent to one who keeps it at a time, once in [`BOX_EVERY`].
pub const BOX_PAGE_BYTES_MAX: usize = 256 * 1024;
/// Between two times: what was logged before a sudden death reaches others unless it is of this last moment.
pub const BOX_EVERY: Duration = Duration::from_millis(500);
/// Bytes of a book that are sent to one who begins to keep it, or fell far behind: the last minutes, not all weeks.
pub const BOX_TAIL_BYTES_MAX: u64 = 4 * 1024 * 1024;
/// Between two looks at the figures that explain an end: whatever grows until it ends a process does so over several of
/// them, and a day of them is 5 MiB.
pub const FIGURES_EVERY: Duration = Duration::from_secs(10);
/// Bytes of the figures of one node on its disk: three days.
pub const FIGURES_BOOK_BYTES: u64 = 16 * 1024 * 1024;
/// Bytes of one of its segments: the oldest sixteenth goes at once.
pub const FIGURES_SEGMENT_BYTES: u64 = 1024 * 1024;
/// Looks at the figures that are shown of a node that is gone: its last fifteen minutes.
pub const LAST_FIGURES: usize = 90;
/// Lines of the log that are shown of it.
pub const LAST_LINES: usize = 20;
/// Entries of the timeline, and crash reports.
pub const LAST_ENTRIES: usize = 10;
/// How long one who did not take lines is left alone.
pub const BOX_AGAIN: Duration = Duration::from_secs(5);
/// Lines that are taken from another node at a time.
pub const BOX_LINES_MAX: usize = 4096;
/// Lines on one page of the console: about 60 KiB.
pub const LOG_ROWS_MAX: usize = 100;
/// Bytes of a line's message, and of what stands behind it, on the console; the rest is in the download.
pub const LOG_SHOWN_BYTES_MAX: usize = 400;

/// Bytes of the timeline on disk: entries of about 300, so tens of thousands, the changes of years.
pub const TIMELINE_BOOK_BYTES: u64 = 16 * 1024 * 1024;
/// Bytes of one of its segments: the oldest sixteenth goes at once.
pub const TIMELINE_SEGMENT_BYTES: u64 = 1024 * 1024;
/// Entries that wait for the disk: more than a cluster changes while a disk hangs for its longest.
pub const TIMELINE_WAITING_MAX: usize = 1000;
/// Entries that one node tells, and a page shows: with the longest texts still below a message between nodes.
pub const TIMELINE_PAGE_MAX: usize = 500;
/// How long a node that starts waits for its supervisor's report about the end before it: some ticks of that.
pub const END_FOUND_WITHIN: Duration = Duration::from_secs(1);
/// Entries shown where nobody says how many.
pub const TIMELINE_PAGE: usize = 200;
/// What several nodes tell of one thing within this time is one thing: whoever sees it last does so a few seconds later.
pub const TIMELINE_TOGETHER_MS: u64 = 10_000;
/// What is over for longer than this is not why something happens: an alarm is raised some seconds after what it is about.
pub const TIMELINE_OVER_MS: u64 = 5_000;
/// What follows from something does so within this time: replacing a voter, or the first repair, takes the longest.
pub const TIMELINE_CAUSE_MS: u64 = 5 * 60 * 1000;
/// Looks without a further repair after which it is told how many there were.
pub const REPAIR_REST_LOOKS: u8 = 3;
/// Repairs of one node within this time are one entry: at most thirty an hour, so that a page of them shows some hours also where
/// all nodes repair all the time; and still within the time in which a cause is looked for ([`TIMELINE_CAUSE_MS`]).
pub const REPAIRS_TOGETHER_MS: u64 = 2 * 60 * 1000;
/// How long the beginning waits for the disk to say how the life before ended.
pub const TIMELINE_LOOK_BACK: Duration = Duration::from_secs(2);
/// How long a stop waits for its entry: a disk that hangs must not keep a machine up.
pub const TIMELINE_STOP: Duration = Duration::from_secs(2);
