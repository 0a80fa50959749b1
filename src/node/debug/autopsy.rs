//! From how a process ended to its report: which kind of end it was, why in words, and what was noted before it.

use std::collections::BTreeSet;
use std::os::unix::process::ExitStatusExt;
use std::process::ExitStatus;

use crate::base::codec;
use crate::base::exit::Exit;
use crate::base::file_size;
use crate::base::flight::PanicSaid;
use crate::base::flight::Story;
use crate::base::id::NodeId;
use crate::base::limits::CRASH_TAPES_EACH;
use crate::base::limits::RUNTIME_SILENCE_MAX;
use crate::base::recorder::Kept;
use crate::base::rng;
use crate::base::time;
use crate::proto::crash;
use crate::proto::crash::CrashId;
use crate::proto::crash::Kind;
use crate::proto::crash::Report;
use crate::proto::crash::Taped;
use crate::proto::tape::Tape;

/// Of Rust: a panic ended the main thread.
const PANICKED: i32 = 101;
/// What the supervisor sends to a process that does not turn any more, and what `abort` ends by.
const ABORT: i32 = 6;
/// What the kernel ends a process by that takes too much memory.
const KILL: i32 = 9;

/// Last lines of the log in a brief report: 16 KiB at the most.
const BRIEF_LINES: usize = 8;

/// All that is known of an end.
#[derive(Debug)]
pub struct Findings<'a> {
    /// How it ended; none while it hangs.
    pub status: Option<ExitStatus>,
    /// The supervisor ended it, because it did not turn.
    pub bitten: bool,
    /// What its threads waited for then.
    pub threads: &'a [String],
    /// The kernel says that it ended it for memory; with the group's limit, where there is one.
    pub out_of_memory: Option<Option<u64>>,
    /// It was asked to stop before.
    pub asked_to_stop: bool,
    /// How large its files may become.
    pub file_limit: Option<u64>,
    /// The system refused threads in its time; so many are allowed.
    pub thread_limit: Option<u64>,
    /// Bytes of addresses that it might have.
    pub address_limit: Option<u64>,
    /// What it had noted.
    pub story: &'a Story,
}

impl Findings<'_> {
    /// Which kind of end it was, and why.
    #[must_use]
    pub fn judge(&self) -> (Kind, String) {
        let (kind, mut reason) = self.cause();
        if let Some(limit) = self.thread_limit.filter(|_| kind != Kind::Oom) {
            reason.push_str(&format!(
                "; the system refused threads or processes in its time: its service or container may have {limit} \
                 (`TasksMax=` of the service, `--pids-limit` of the container)"
            ));
        }
        let aborted = self.status.is_some_and(|status| status.signal() == Some(ABORT)) || kind == Kind::Panic;
        if let Some(limit) = self.address_limit.filter(|_| aborted && !self.bitten) {
            reason.push_str(&format!(
                "; its address space was limited to {} MiB (`LimitAS=` of the service, `ulimit -v`), and a program that gets no memory \
                 aborts",
                limit / (1024 * 1024)
            ));
        }
        if self.asked_to_stop {
            reason.push_str("; it had been asked to stop");
        }
        (kind, reason)
    }

    fn cause(&self) -> (Kind, String) {
        if self.bitten {
            return (Kind::Watchdog, self.hang());
        }
        let signal = self.status.and_then(|status| status.signal());
        let code = self.status.and_then(|status| status.code());
        if let Some(limit) = self.out_of_memory.filter(|_| signal == Some(KILL)) {
            let limit =
                limit.map(|bytes| format!(", which may have {} MiB", bytes / (1024 * 1024))).unwrap_or_default();
            return (
                Kind::Oom,
                format!("SIGKILL: the kernel ended it because memory ran out in its control group{limit}"),
            );
        }
        if let Some(said) = self.last_words().filter(|_| signal == Some(ABORT) || code == Some(PANICKED)) {
            return (Kind::Panic, format!("panic: {}", said.message));
        }
        match (signal, code) {
            (Some(signal), _) => (Kind::Signal, crash::signal_in_words(signal)),
            (None, code) => (Kind::Exit, self.exit_in_words(code)),
        }
    }

    fn hang(&self) -> String {
        let seconds = RUNTIME_SILENCE_MAX.as_secs();
        let waiting: Vec<&str> = self.threads.iter().filter_map(|thread| waits_for_its_disk(thread)).collect();
        if waiting.is_empty() {
            return format!(
                "its runtime did not turn for {seconds} s while the process lived, as in a deadlock; the supervisor ended it"
            );
        }
        let names: BTreeSet<&str> = waiting.iter().copied().collect();
        format!(
            "its disk did not answer for {seconds} s or more: {} of its threads ({}) waited for it in the kernel, as when a file \
             system is frozen for a snapshot or a backup, or a disk or its network hangs; the supervisor ended it",
            waiting.len(),
            names.into_iter().collect::<Vec<_>>().join(", ")
        )
    }

    /// The panic that the process did not get to report itself.
    #[must_use]
    pub fn last_words(&self) -> Option<&PanicSaid> {
        self.story.panic.as_ref().filter(|said| said.number > self.story.told)
    }

    fn exit_in_words(&self, code: Option<i32>) -> String {
        let Some(code) = code else { return "it ended, and the kernel does not say how".to_owned() };
        let means = match Exit::from_code(code) {
            Some(exit) => exit.means(),
            None if code == PANICKED => "a panic ended its main thread",
            None => "none of ours: something in it called exit",
        };
        // Under such a limit its last lines did not come to the deck, which is a file as well.
        if let Some(limited) = file_size::failed(self.file_limit).filter(|_| code == i32::from(Exit::Io.code())) {
            return format!("exit status {code}: {means}; {limited}");
        }
        // Whatever else calls exit has not logged why.
        let is_ours = Exit::from_code(code).is_some();
        let last = self.story.log.iter().rev().find(|line| is_ours && line.contains("ERROR"));
        let last = last.map(|line| format!("; its last error: {}", plain(line))).unwrap_or_default();
        format!("exit status {code}: {means}{last}")
    }
}

/// The name of a thread, as [`crate::node::debug::machine::threads`] writes it, that waits in the kernel for what cannot be
/// interrupted.
fn waits_for_its_disk(thread: &str) -> Option<&str> {
    let (name, state) = thread.split_once(' ')?.1.split_once(": ")?;
    state.starts_with('D').then_some(name)
}

/// A line as it would be without a terminal, which shows levels in colours.
fn plain(line: &str) -> String {
    let mut plain = String::new();
    let mut rest = line;
    while let Some((before, after)) = rest.split_once('\u{1b}') {
        plain.push_str(before);
        rest = after.split_once('m').map_or("", |(_, rest)| rest);
    }
    plain + rest
}

/// A report with what a deck tells; `None` without entropy for its name.
#[must_use]
pub fn report(node: NodeId, kind: Kind, reason: String, story: &Story) -> Option<Report> {
    let at_ms = time::wall_ms();
    let draw = u32::from_ne_bytes(rng::array().ok()?);
    let mut report = Report::new(CrashId::new(at_ms, node, draw), time::rfc3339(at_ms), at_ms, kind, reason);
    report.release = env!("CARGO_PKG_VERSION").to_owned();
    report.build = env!("RINGFORT_COMMIT").to_owned();
    report.log = story.log.iter().map(|line| plain(line)).collect();
    report.events.clone_from(&story.events);
    report.members.clone_from(&story.members);
    report.doing.clone_from(&story.doing);
    report.recorder = tapes(story);
    if let Some(who) = &story.who {
        report.name.clone_from(&who.name);
    }
    Some(report)
}

/// The last ones of each kind, all in the order in which they were kept. What is no tape is of a writer that was interrupted.
fn tapes(story: &Story) -> Vec<Taped> {
    let kinds = story.tapes.chunk_by(|one, next| one.kind == next.kind);
    let mut kept: Vec<_> = kinds.flat_map(|kind| kind.iter().rev().take(CRASH_TAPES_EACH)).collect();
    kept.sort_by_key(|kept| kept.at_ms);
    let taped = |kept: &Kept| {
        let core = Tape::decode(&kept.tape).ok()?.name().to_owned();
        Some(Taped { core, at_ms: kept.at_ms, tape: codec::base64(&kept.tape) })
    };
    kept.into_iter().filter_map(taped).collect()
}

/// Without all that takes much room, for a way that is narrow.
#[must_use]
pub fn brief(mut report: Report) -> Report {
    report.log.drain(..report.log.len().saturating_sub(BRIEF_LINES));
    for rows in
        [&mut report.events, &mut report.members, &mut report.threads, &mut report.kernel, &mut report.backtrace]
    {
        rows.truncate(0);
    }
    report.recorder.clear();
    report.cut.push("all that takes much room: it could be sent by a narrow way only".to_owned());
    report
}

/// Adds what a panic said.
pub fn add_panic(report: &mut Report, said: &PanicSaid) {
    report.thread = Some(said.thread.clone());
    report.task.clone_from(&said.task);
    report.backtrace = crash::frames(&said.backtrace);
}

#[cfg(test)]
mod tests {
    use std::os::unix::process::ExitStatusExt;
    use std::process::ExitStatus;

    use super::Findings;
    use super::plain;
    use crate::base::flight::PanicSaid;
    use crate::base::flight::Story;
    use crate::proto::crash::Kind;

    /// Nothing is known but its story.
    fn nothing(story: &Story) -> Findings<'_> {
        Findings {
            status: None,
            bitten: false,
            threads: &[],
            out_of_memory: None,
            asked_to_stop: false,
            file_limit: None,
            thread_limit: None,
            address_limit: None,
            story,
        }
    }

    fn judge(raw: i32, bitten: bool, out_of_memory: Option<Option<u64>>, story: &Story) -> (Kind, String) {
        let status = Some(ExitStatus::from_raw(raw));
        Findings { status, bitten, out_of_memory, ..nothing(story) }.judge()
    }

    #[test]
    fn whoever_was_refused_threads_is_told_so_and_by_which_limit() {
        let story = Story::default();
        let of = |thread_limit| {
            let status = Some(ExitStatus::from_raw(70 << 8));
            let found = Findings { status, thread_limit, ..nothing(&story) };
            found.judge().1
        };
        assert!(
            !of(None).contains("threads") && of(Some(12)).contains("its service or container may have 12 (`TasksMax=`")
        );
    }

    #[test]
    fn whoever_aborts_under_a_limit_of_its_addresses_is_told_so() {
        let story = Story::default();
        let of = |raw, address_limit| {
            let status = Some(ExitStatus::from_raw(raw));
            Findings { status, address_limit, ..nothing(&story) }.judge().1
        };
        assert!(of(6, Some(700 << 20)).contains("limited to 700 MiB (`LimitAS="), "{}", of(6, Some(700 << 20)));
        assert!(!of(6, None).contains("limited") && !of(9, Some(1)).contains("limited"));
    }

    #[test]
    fn a_process_whose_threads_wait_for_the_disk_hangs_for_that() {
        let threads = [
            "7 journal: D (disk sleep), in percpu_rwsem_wait".to_owned(),
            "8 index: S (sleeping), in futex_wait_queue".to_owned(),
            "9 worker: D (disk sleep)".to_owned(),
        ];
        let story = Story::default();
        let hangs = |threads: &[String]| {
            let found = Findings { bitten: true, threads, ..nothing(&story) };
            found.judge()
        };
        let (kind, reason) = hangs(&threads);
        assert_eq!(kind, Kind::Watchdog);
        assert!(
            reason.starts_with("its disk did not answer for 3 s or more: 2 of its threads (journal, worker)"),
            "{reason}"
        );
        assert!(hangs(&threads[1..2]).1.contains("as in a deadlock"));
    }

    #[test]
    fn each_end_has_its_kind_and_reason() {
        let quiet = Story::default();
        let loud = Story { log: vec!["ERROR the journal failed".to_owned(), "INFO x".to_owned()], ..Story::default() };
        let panic = PanicSaid { number: 2, message: "no".to_owned(), ..PanicSaid::default() };
        let said = Story { panic: Some(panic), told: 1, ..Story::default() };
        let told = Story { told: 2, ..said.clone() };
        let (limit, exit) = (Some(Some(1 << 28)), |code: i32| code << 8);
        let cases = [
            (6, true, None, &quiet, Kind::Watchdog, "did not turn for 3 s"),
            (9, true, limit, &quiet, Kind::Watchdog, "did not turn"),
            (9, false, limit, &quiet, Kind::Oom, "256 MiB"),
            (9, false, None, &quiet, Kind::Signal, "SIGKILL"),
            (11, false, limit, &quiet, Kind::Signal, "SIGSEGV"),
            (6, false, None, &quiet, Kind::Signal, "SIGABRT"),
            (6, false, None, &said, Kind::Panic, "panic: no"),
            (6, false, None, &told, Kind::Signal, "SIGABRT"),
            (9, false, None, &said, Kind::Signal, "SIGKILL"),
            (exit(101), false, None, &said, Kind::Panic, "panic: no"),
            (exit(1), false, None, &quiet, Kind::Exit, "exit status 1: none of ours"),
            (exit(74), false, None, &loud, Kind::Exit, "its last error: ERROR the journal failed"),
        ];
        for (raw, bitten, out_of_memory, story, kind, part) in cases {
            let (judged, reason) = judge(raw, bitten, out_of_memory, story);
            assert!(judged == kind && reason.contains(part), "{raw} {bitten}: {judged:?} {reason}");
        }
    }

    #[test]
    fn a_write_that_failed_under_a_limit_of_file_sizes_is_told_by_it() {
        let story = Story { log: vec!["ERROR an old one".to_owned()], ..Story::default() };
        let judge = |code: i32, file_limit| {
            let status = ExitStatus::from_raw(code << 8);
            Findings { status: Some(status), file_limit, ..nothing(&story) }.judge().1
        };
        let told = judge(74, Some(16_384));
        assert!(told.contains("files larger than 16384 bytes") && !told.contains("an old one"), "{told}");
        for other in [judge(74, None), judge(70, Some(16_384))] {
            assert!(other.contains("an old one") && !other.contains("larger"), "{other}");
        }
    }

    #[test]
    fn colours_of_a_terminal_are_left_out() {
        assert_eq!(plain("\u{1b}[31mERROR\u{1b}[0m no"), "ERROR no");
        assert_eq!(plain("a\u{1b}[3"), "a");
    }
}
