//! Limits of the books: the log, the timeline, and what is kept of other nodes' books.

/// Bytes of one line of a book: a message of a screen or two with its fields, a backtrace's worth at most.
pub const BOOK_LINE_BYTES_MAX: usize = 32 * 1024;
/// Bytes after which a block of a book ends: one read of a disk, some hundred lines of which all are skipped at once.
pub const BOOK_BLOCK_BYTES: usize = 64 * 1024;
/// Bytes of one segment of a book: an eighth of the log goes when there is no room for more.
pub const BOOK_SEGMENT_BYTES: u64 = 8 * 1024 * 1024;
/// Bytes of the log of one node: about 300,000 lines, which is weeks of a node at rest and hours of one in trouble.
pub const LOG_BYTES_MAX: u64 = 64 * 1024 * 1024;
/// Lines of one page of a book: what somebody scrolls through.
pub const BOOK_PAGE_LINES_MAX: usize = 1000;
/// Bytes of one page of a book: with others of its kind it still fits a frame between nodes.
pub const BOOK_PAGE_BYTES_MAX: usize = 1024 * 1024;
