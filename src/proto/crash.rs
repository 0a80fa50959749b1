//! A crash report as a value: what ended, when, on which node, and why, with all that leads to the cause. JSON on disk and
//! between nodes; bounded by construction, so that it fits whatever went wrong, and says what was cut. Pure.

use serde::Deserialize;
use serde::Serialize;

use crate::base::checksum;
use crate::base::codec;
use crate::base::flight::Doing;
use crate::base::flight::cut;
use crate::base::id::NodeId;
use crate::base::limits::CRASH_BACKTRACE_BYTES;
use crate::base::limits::CRASH_BYTES_MAX;
use crate::base::limits::CRASH_EVENTS;
use crate::base::limits::CRASH_LINE_BYTES;
use crate::base::limits::CRASH_LOG_LINES;
use crate::base::limits::CRASH_ROWS;
use crate::base::limits::CRASH_TAPES;
use crate::base::limits::RECORDER_TAPE_BYTES_MAX;

pub mod filter;
#[cfg(test)]
mod tests;

/// Of this layout. A later one only adds members.
pub const VERSION: u32 = 1;
/// Digits of the time in an id: enough for some hundred years.
const TIME_DIGITS: usize = 13;
/// Random hex digits in an id.
const DRAW_DIGITS: usize = 8;
/// Frames of our own that tell one cause from another.
const OWN_FRAMES: usize = 5;
/// How a reason begins that only supposes, because nobody noted how a run ended.
pub const UNNOTED: &str = "it ended without a note on its disk";
/// What is put in place of something unprintable.
const UNPRINTABLE: char = '\u{fffd}';

/// How it ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Kind {
    /// Code gave up.
    Panic,
    /// By a signal.
    Signal,
    /// The kernel ended it for memory.
    Oom,
    /// Its runtime turned no more, and its supervisor ended it.
    Watchdog,
    /// It ended itself with a status.
    Exit,
    /// All of it went at once.
    Power,
}

impl Kind {
    /// All of them.
    pub const ALL: [Self; 6] = [Self::Panic, Self::Signal, Self::Oom, Self::Watchdog, Self::Exit, Self::Power];

    /// As it is written.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Panic => "panic",
            Self::Signal => "signal",
            Self::Oom => "oom",
            Self::Watchdog => "watchdog",
            Self::Exit => "exit",
            Self::Power => "power",
        }
    }

    /// The kind of that name.
    #[must_use]
    pub fn parse(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.name() == name)
    }
}

/// Names a report: sorts by time, and no two are the same. `MILLISECONDS-NODE-RANDOM`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct CrashId(String);

impl CrashId {
    /// A new one.
    #[must_use]
    pub fn new(at_ms: u64, node: NodeId, draw: u32) -> Self {
        Self(format!("{:0TIME_DIGITS$}-{node}-{draw:0DRAW_DIGITS$x}", at_ms.min(9_999_999_999_999)))
    }

    /// Reads one; `None` for anything that was not written so, such as a path.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let mut parts = text.split('-');
        let (time, node, draw) = (parts.next()?, parts.next()?, parts.next()?);
        let digits = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
        let is_hex = |text: &str| text.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'));
        let node_fits = digits(node) && node.parse::<u64>().is_ok_and(|number| number.to_string() == node);
        let fits = time.len() == TIME_DIGITS && digits(time) && node_fits && draw.len() == DRAW_DIGITS && is_hex(draw);
        (fits && parts.next().is_none()).then(|| Self(text.to_owned()))
    }

    /// Whose.
    #[must_use]
    pub fn node(&self) -> NodeId {
        NodeId(self.0.split('-').nth(1).and_then(|node| node.parse().ok()).unwrap_or(0))
    }

    /// As it is written.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl TryFrom<String> for CrashId {
    type Error = &'static str;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        Self::parse(&text).ok_or("not the id of a crash report")
    }
}

impl From<CrashId> for String {
    fn from(id: CrashId) -> Self {
        id.0
    }
}

/// Memory of the process and of what it lives in, in bytes, as seen last.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Memory {
    /// Resident.
    pub resident: Option<u64>,
    /// The most that it was.
    pub peak: Option<u64>,
    /// What its control group may have.
    pub limit: Option<u64>,
    /// Free in the machine.
    pub machine_free: Option<u64>,
}

/// The disk of the data directory, in bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Disk {
    /// Free.
    pub free: u64,
    /// All.
    pub total: u64,
}

/// A report.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Report {
    /// See [`VERSION`].
    pub version: u32,
    /// Its name.
    pub id: CrashId,
    /// Of which node.
    pub node: NodeId,
    /// The node's name.
    pub name: String,
    /// When it was seen, wall clock of that machine.
    pub at: String,
    /// The same in milliseconds since 1970.
    pub at_ms: u64,
    /// Of its software.
    pub release: String,
    /// The commit that was built.
    pub build: String,
    /// How it ended.
    pub kind: Kind,
    /// Why, for people.
    pub reason: String,
    /// Whether the process ended by it.
    pub fatal: bool,
    /// Groups reports of one cause.
    pub fingerprint: String,
    /// Whether the node serves its rescue console from then on: it had failed at too many starts in a row.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub rescue: bool,
    /// How many more of this cause there were that made no report of their own.
    #[serde(default)]
    pub repeats: u64,
    /// In which thread.
    #[serde(default)]
    pub thread: Option<String>,
    /// In which task.
    #[serde(default)]
    pub task: Option<String>,
    /// Function names, innermost first.
    #[serde(default)]
    pub backtrace: Vec<String>,
    /// The last lines of the log, oldest first.
    #[serde(default)]
    pub log: Vec<String>,
    /// The last events, oldest first.
    #[serde(default)]
    pub events: Vec<String>,
    /// Whom the node saw, and how.
    #[serde(default)]
    pub members: Vec<String>,
    /// What it was doing, by kind of request.
    #[serde(default)]
    pub doing: Vec<Doing>,
    /// Its threads and what each waited for, where they could be looked at.
    #[serde(default)]
    pub threads: Vec<String>,
    /// How long it had run.
    #[serde(default)]
    pub uptime_ms: u64,
    /// Of a run whose end was not noted: when it began, milliseconds since 1970 by that machine's clock.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub since_ms: Option<u64>,
    /// Its memory.
    #[serde(default)]
    pub memory: Memory,
    /// Files that it had open.
    #[serde(default)]
    pub open_files: Option<u64>,
    /// Its disk.
    #[serde(default)]
    pub disk: Option<Disk>,
    /// What the kernel says of memory.
    #[serde(default)]
    pub kernel: Vec<String>,
    /// What its cores were told last, oldest first: `ringfort-sim --replay` runs them again.
    #[serde(default)]
    pub recorder: Vec<Taped>,
    /// What was cut, so that it fits.
    #[serde(default)]
    pub cut: Vec<String>,
}

/// A tape of the flight recorder.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Taped {
    /// Of which core.
    pub core: String,
    /// When it was kept, on the steady clock of its machine.
    pub at_ms: u64,
    /// What it was told: [`Tape`](crate::proto::tape::Tape) in base64.
    pub tape: String,
}

/// A report in short, for lists.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Short {
    /// Its name.
    pub id: CrashId,
    /// Of which node.
    pub node: NodeId,
    /// The node's name.
    pub name: String,
    /// When.
    pub at: String,
    /// How.
    pub kind: Kind,
    /// Why.
    pub reason: String,
    /// Whether the process ended.
    pub fatal: bool,
    /// See [`Report::fingerprint`].
    pub fingerprint: String,
    /// Of its software.
    pub release: String,
    /// See [`Report::rescue`].
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub rescue: bool,
    /// In which task.
    #[serde(default)]
    pub task: Option<String>,
    /// See [`Report::repeats`].
    #[serde(default)]
    pub repeats: u64,
}

/// Why bytes are no report. Nothing of them is kept.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CrashError {
    /// Too many bytes.
    #[error("it has {0} bytes, and a report has at most {CRASH_BYTES_MAX}")]
    TooLarge(usize),
    /// Not the JSON of a report.
    #[error("it is not a crash report: {0}")]
    Content(String),
    /// Id and content name different nodes.
    #[error("its id is of another node than it says")]
    OtherNode,
}

impl Report {
    /// A report with nothing in it but what every one has.
    #[must_use]
    pub fn new(id: CrashId, at: String, at_ms: u64, kind: Kind, reason: String) -> Self {
        Self {
            version: VERSION,
            node: id.node(),
            id,
            name: String::new(),
            at,
            at_ms,
            release: String::new(),
            build: String::new(),
            kind,
            reason,
            fatal: true,
            fingerprint: String::new(),
            rescue: false,
            repeats: 0,
            thread: None,
            task: None,
            backtrace: Vec::new(),
            log: Vec::new(),
            events: Vec::new(),
            members: Vec::new(),
            doing: Vec::new(),
            threads: Vec::new(),
            uptime_ms: 0,
            since_ms: None,
            memory: Memory::default(),
            open_files: None,
            disk: None,
            kernel: Vec::new(),
            recorder: Vec::new(),
            cut: Vec::new(),
        }
    }

    /// Finishes it: printable, within limits, with its fingerprint.
    #[must_use]
    pub fn finish(self) -> Self {
        let fingerprint = fingerprint(self.kind, &self.reason, &self.backtrace);
        Self { fingerprint, ..self }.bounded()
    }

    /// Its bytes; at most [`CRASH_BYTES_MAX`].
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        serde_json::to_vec_pretty(self).unwrap_or_default()
    }

    /// Reads one from anywhere.
    ///
    /// # Errors
    /// [`CrashError`].
    pub fn parse(bytes: &[u8]) -> Result<Self, CrashError> {
        if bytes.len() > CRASH_BYTES_MAX {
            return Err(CrashError::TooLarge(bytes.len()));
        }
        let report: Self =
            serde_json::from_slice(bytes).map_err(|error| CrashError::Content(cut(error.to_string(), 200)))?;
        if report.id.node() != report.node {
            return Err(CrashError::OtherNode);
        }
        Ok(report.bounded())
    }

    /// In short.
    #[must_use]
    pub fn short(&self) -> Short {
        Short {
            id: self.id.clone(),
            node: self.node,
            name: self.name.clone(),
            at: self.at.clone(),
            kind: self.kind,
            reason: self.reason.clone(),
            fatal: self.fatal,
            fingerprint: self.fingerprint.clone(),
            release: self.release.clone(),
            rescue: self.rescue,
            task: self.task.clone(),
            repeats: self.repeats,
        }
    }

    fn bounded(mut self) -> Self {
        let mut said = std::mem::take(&mut self.cut);
        said.truncate(CRASH_ROWS);
        let mut rows = |what: &str, rows: &mut Vec<String>, count: usize, newest: bool| {
            let over = rows.len().saturating_sub(count);
            if over > 0 {
                said.push(format!("{over} of {} rows of {what}", rows.len()));
                let gone = if newest { 0..over } else { count..rows.len() };
                drop(rows.drain(gone));
            }
            for row in rows {
                *row = line(std::mem::take(row), CRASH_LINE_BYTES);
            }
        };
        rows("the log", &mut self.log, CRASH_LOG_LINES, true);
        rows("the events", &mut self.events, CRASH_EVENTS, true);
        rows("the members", &mut self.members, CRASH_ROWS, false);
        rows("the threads", &mut self.threads, CRASH_ROWS, false);
        rows("the kernel's log", &mut self.kernel, CRASH_ROWS, true);
        let (mut room, deep) = (CRASH_BACKTRACE_BYTES, self.backtrace.len());
        self.backtrace = std::mem::take(&mut self.backtrace)
            .into_iter()
            .map(|frame| line(frame, CRASH_LINE_BYTES))
            .take_while(|frame| {
                let fits = frame.len() < room;
                room = room.saturating_sub(frame.len() + 1);
                fits
            })
            .collect();
        if self.backtrace.len() < deep {
            said.push(format!("{} of {deep} frames of the backtrace", deep - self.backtrace.len()));
        }
        let older = self.recorder.len().saturating_sub(CRASH_TAPES);
        drop(self.recorder.drain(..older));
        self.recorder.retain(Taped::is_one);
        self.doing.truncate(CRASH_ROWS);
        self.doing.iter_mut().for_each(|doing| doing.what = line(std::mem::take(&mut doing.what), 64));
        let short = |text: &mut String, max| *text = line(std::mem::take(text), max);
        short(&mut self.reason, CRASH_LINE_BYTES);
        [&mut self.name, &mut self.at, &mut self.release, &mut self.build, &mut self.fingerprint]
            .into_iter()
            .for_each(|text| short(text, 256));
        self.thread = self.thread.map(|text| line(text, 256));
        self.task = self.task.map(|text| line(text, 256));
        self.cut = said.into_iter().map(|text| line(text, 256)).collect();
        self.cut.dedup();
        self
    }
}

impl Taped {
    /// Whether it is a tape, as far as can be seen without running it.
    fn is_one(&self) -> bool {
        let is_base64 = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'+' | b'/' | b'=');
        let is_named = self.core.len() <= 16 && self.core.bytes().all(|byte| byte.is_ascii_lowercase());
        is_named && self.tape.len() <= RECORDER_TAPE_BYTES_MAX.div_ceil(3) * 4 && self.tape.bytes().all(is_base64)
    }
}

impl Short {
    /// Reads one that another node sent; `None` for anything else.
    #[must_use]
    pub fn parse(bytes: &[u8]) -> Option<Self> {
        // The reason is the longest of it.
        let fits = bytes.len() <= 8 * CRASH_LINE_BYTES;
        let short: Self = fits.then(|| serde_json::from_slice(bytes).ok()).flatten()?;
        (short.id.node() == short.node).then(|| Self {
            name: line(short.name, 256),
            at: line(short.at, 256),
            reason: line(short.reason, CRASH_LINE_BYTES),
            fingerprint: line(short.fingerprint, 256),
            release: line(short.release, 256),
            task: short.task.map(|task| line(task, 256)),
            ..short
        })
    }

    /// Its bytes.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        serde_json::to_vec(self).unwrap_or_default()
    }
}

/// One printable line of at most so many bytes. Nothing in it moves a cursor, changes the direction of text, or needs more
/// than one escaped byte in JSON.
#[must_use]
pub fn line(text: String, max: usize) -> String {
    let bad = |c: char| {
        c.is_control()
            || matches!(c, '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}' | '\u{2028}' | '\u{2029}')
    };
    let text = cut(text, max);
    if text.contains(bad) {
        let clean: String = text
            .chars()
            .map(|c| {
                if c == '\t' {
                    ' '
                } else if bad(c) {
                    UNPRINTABLE
                } else {
                    c
                }
            })
            .collect();
        return cut(clean, max);
    }
    text
}

/// Groups what has one cause: the kind, the reason without what differs from time to time, and our own innermost frames.
#[must_use]
pub fn fingerprint(kind: Kind, reason: &str, backtrace: &[String]) -> String {
    let own = backtrace.iter().filter(|frame| frame.contains("ringfort::")).filter(|frame| !is_ours_to_report(frame));
    let own: Vec<&str> = own.take(OWN_FRAMES).map(|frame| bare(frame)).collect();
    let digest =
        checksum::sha256(&[kind.name().as_bytes(), b"\n", normal(reason).as_bytes(), b"\n", own.join("\n").as_bytes()]);
    codec::hex(digest.get(..8).unwrap_or_default())
}

/// What reports a panic is in every one.
fn is_ours_to_report(frame: &str) -> bool {
    frame.contains("::report_panics") || frame.contains("::debug::panics")
}

/// A frame without its number and without the hash of the build.
fn bare(frame: &str) -> &str {
    let frame = frame.trim_start_matches(|c: char| c.is_ascii_digit() || c == ':' || c == ' ');
    match frame.rsplit_once("::h") {
        Some((name, hash)) if hash.len() == 16 && hash.bytes().all(|byte| byte.is_ascii_hexdigit()) => name,
        Some(_) | None => frame,
    }
}

/// Numbers and addresses become one sign.
fn normal(reason: &str) -> String {
    let mut normal = String::new();
    for word in reason.split_inclusive(|c: char| !c.is_alphanumeric()) {
        let (word, end) = match word.char_indices().last() {
            Some((at, c)) if !c.is_alphanumeric() => word.split_at(at),
            Some(_) | None => (word, ""),
        };
        let varies = word.bytes().any(|byte| byte.is_ascii_digit());
        normal.push_str(if varies { "#" } else { word });
        normal.push_str(end);
    }
    normal
}

/// Frames of a backtrace as the standard library writes it: names, without the places between them.
#[must_use]
pub fn frames(backtrace: &str) -> Vec<String> {
    let is_frame = |line: &&str| {
        let number = line.split(':').next().unwrap_or_default();
        !number.is_empty() && number.bytes().all(|byte| byte.is_ascii_digit())
    };
    backtrace.lines().map(str::trim).filter(is_frame).map(ToOwned::to_owned).collect()
}

/// A signal in words.
#[must_use]
pub fn signal_in_words(signal: i32) -> String {
    let (name, means) = match signal {
        1 => ("SIGHUP", "its terminal went away"),
        2 => ("SIGINT", "interrupted from a terminal"),
        3 => ("SIGQUIT", "told to quit from a terminal"),
        4 => ("SIGILL", "an instruction that this processor does not have"),
        5 => ("SIGTRAP", "a trap for a debugger"),
        6 => ("SIGABRT", "it gave up by itself (abort)"),
        7 => ("SIGBUS", "memory behind which there is no file or no page any more"),
        8 => ("SIGFPE", "a calculation that has no result"),
        9 => ("SIGKILL", "killed from outside, or by the kernel"),
        11 => ("SIGSEGV", "it touched memory that is not its own"),
        13 => ("SIGPIPE", "it wrote to somebody who is gone"),
        15 => ("SIGTERM", "told to stop, and did not come to do it in order"),
        24 => ("SIGXCPU", "it used more processor time than it may"),
        25 => ("SIGXFSZ", "a file became larger than it may"),
        31 => ("SIGSYS", "a system call that it may not make"),
        other => return format!("signal {other}"),
    };
    format!("{name}: {means}")
}
