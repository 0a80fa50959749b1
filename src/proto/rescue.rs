//! When a node that fails at every start is served as a rescue console, what its supervisor tells that, and what an operator is
//! told to do by the reason. Pure.

use std::time::Duration;

use serde::Deserialize;
use serde::Serialize;

use crate::base::flight::cut;
use crate::base::limits::RESCUE_AFTER_ENDS;
use crate::base::limits::RESCUE_REASON_BYTES_MAX;
use crate::base::limits::RESCUE_WORD_BYTES_MAX;
use crate::base::limits::WELL_AFTER;
use crate::proto::crash::Kind;

/// The first restart is quick; each further one in a row waits longer, up to five seconds.
const BACKOFF: [Duration; 5] = [
    Duration::from_millis(200),
    Duration::from_secs(1),
    Duration::from_secs(2),
    Duration::from_secs(4),
    Duration::from_secs(5),
];

/// The pause before whoever ended so often in a row is started again.
#[must_use]
pub fn pause(ends_before: u32) -> Duration {
    let at = usize::try_from(ends_before).unwrap_or(usize::MAX);
    BACKOFF.get(at).or(BACKOFF.last()).copied().unwrap_or_default()
}

/// What comes after an end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Next {
    /// Another worker, after this pause.
    Again(Duration),
    /// The rescue console: one more start would end like those before.
    Rescue,
}

/// How the workers of one supervisor lived.
#[derive(Debug, Clone, Default)]
pub struct Lives {
    ends: u32,
    since_ms: u64,
}

impl Lives {
    /// A worker ended that lived so long; `now_ms` is the wall clock, for people.
    pub fn ended(&mut self, lived: Duration, now_ms: u64) -> Next {
        if lived >= WELL_AFTER {
            self.ends = 0;
            return Next::Again(pause(0));
        }
        if self.ends == 0 {
            self.since_ms = now_ms;
        }
        let before = self.ends;
        self.ends = self.ends.saturating_add(1);
        if self.ends >= RESCUE_AFTER_ENDS { Next::Rescue } else { Next::Again(pause(before)) }
    }

    /// Ends in a row, each soon after its start.
    #[must_use]
    pub fn ends(&self) -> u32 {
        self.ends
    }

    /// When the first of them was, milliseconds since 1970.
    #[must_use]
    pub fn since_ms(&self) -> u64 {
        self.since_ms
    }
}

/// The end that was last.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LastEnd {
    /// Its report, where one could be kept.
    pub id: Option<String>,
    /// How.
    pub kind: Kind,
    /// Why, for people.
    pub reason: String,
    /// When, milliseconds since 1970.
    pub at_ms: u64,
}

/// What a supervisor tells the rescue console that it starts: the disk may be what is full.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Told {
    /// Ends in a row.
    pub ends: u32,
    /// When the first of them was.
    pub since_ms: u64,
    /// When a worker is tried again.
    pub next_ms: u64,
    /// The last one.
    pub last: Option<LastEnd>,
}

impl Told {
    /// As one word of the environment.
    #[must_use]
    pub fn encode(&self) -> String {
        let mut told = self.clone();
        if let Some(last) = &mut told.last {
            last.reason = cut(std::mem::take(&mut last.reason), RESCUE_REASON_BYTES_MAX);
        }
        serde_json::to_string(&told).unwrap_or_default()
    }

    /// Reverses [`Self::encode`]; `None` for what is none, or too long.
    #[must_use]
    pub fn parse(word: &str) -> Option<Self> {
        if word.len() > RESCUE_WORD_BYTES_MAX {
            return None;
        }
        serde_json::from_str(word).ok()
    }
}

/// Why a node does not come up, as far as it decides what to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Cause {
    /// There is no room on the disk.
    DiskFull,
    /// The kernel ended it for memory.
    OutOfMemory,
    /// Its disk did not do what it was told.
    Store,
    /// It could not start, and says why.
    NotYet,
    /// It ended itself with another status.
    Exit,
    /// Code gave up.
    Panic,
    /// A signal ended it.
    Signal,
    /// It stood still.
    Stuck,
    /// Nothing is known of an end.
    Unknown,
}

/// One thing to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Step {
    /// In words.
    pub words: &'static str,
    /// A command that does it or shows more; empty where there is none.
    pub command: &'static str,
}

const fn step(words: &'static str, command: &'static str) -> Step {
    Step { words, command }
}

const SEND: Step = step(
    "Send the report to the vendor: it names the place in the program.",
    "ringfort crashes export ID > crash.json",
);
const RELEASE: Step = step(
    "If it began with a new release, put the one of before back; data is not touched by that.",
    "ringfort version",
);
const LOOK: Step = step("Have everything stored read and checked; nothing is changed by it.", "ringfort doctor");
const AGAIN: Step = step("Then start it again at once.", "ringfort rescue --again");

impl Cause {
    /// By the last end, and whether the disk has less room than is kept in reserve.
    #[must_use]
    pub fn judge(last: Option<&LastEnd>, lacks_room: bool) -> Self {
        if lacks_room {
            return Self::DiskFull;
        }
        let Some(LastEnd { kind, reason, .. }) = last else { return Self::Unknown };
        let status = |code: &str| reason.strip_prefix("exit status ").is_some_and(|rest| rest.starts_with(code));
        match kind {
            Kind::Oom => Self::OutOfMemory,
            Kind::Panic => Self::Panic,
            Kind::Signal => Self::Signal,
            Kind::Watchdog => Self::Stuck,
            Kind::Power => Self::Unknown,
            Kind::Exit if status("74:") => Self::Store,
            Kind::Exit if status("75:") => Self::NotYet,
            Kind::Exit => Self::Exit,
        }
    }

    /// What it means, in a sentence.
    #[must_use]
    pub fn means(self) -> &'static str {
        match self {
            Self::DiskFull => "The disk is full, and a node that cannot write cannot start.",
            Self::OutOfMemory => "The kernel ends it because memory runs out.",
            Self::Store => "The disk takes a write and does not make it durable, or cannot be read.",
            Self::NotYet => "It cannot start as things are, and says why in its log.",
            Self::Exit => "It ends itself with a status.",
            Self::Panic => "The program comes upon something that it was not made for.",
            Self::Signal => "A signal ends it: a bug in the program, damaged memory, or somebody on this machine.",
            Self::Stuck => "It lives and stands still, so that its supervisor ends it.",
            Self::Unknown => "Nothing is known of why it ends.",
        }
    }

    /// What to do, in this order.
    #[must_use]
    pub fn steps(self) -> &'static [Step] {
        const DISK_FULL: &[Step] =
            &[step("Make room on the disk of the data directory; remove nothing under it by hand.", "df -h"), AGAIN];
        const OUT_OF_MEMORY: &[Step] = &[
            step(
                "Give it more memory, or take away what else runs in its control group.",
                "systemctl show ringfort -p MemoryMax",
            ),
            step("See what it did before: the report has its memory and its last lines.", "ringfort crashes show ID"),
            AGAIN,
        ];
        const STORE: &[Step] = &[
            step("Look at the disk: the kernel says what it met.", "dmesg --level=err,warn"),
            LOOK,
            step(
                "In a cluster: replace the disk and let the machine come back empty; the others give it all back.",
                "ringfort replace NAME",
            ),
            step(
                "Alone, and only where the data is lost for sure: go on without what cannot be read.",
                "ringfort doctor --accept-loss",
            ),
            AGAIN,
        ];
        const NOT_YET: &[Step] = &[
            step("Read the last lines of the log: they say what is missing.", "ringfort rescue"),
            step("Check the configuration; put the one of before back where it was changed.", "ringfort config check"),
            AGAIN,
        ];
        const EXIT: &[Step] = &[
            step("Read the last lines of the log and the report.", "ringfort crashes show ID"),
            step("Check the configuration; put the one of before back where it was changed.", "ringfort config check"),
            RELEASE,
            AGAIN,
        ];
        const BUG: &[Step] = &[SEND, RELEASE, LOOK, AGAIN];
        const STUCK: &[Step] = &[
            step(
                "Look at the disk and at what else uses it: a disk that hangs makes everything wait.",
                "dmesg --level=err,warn",
            ),
            SEND,
            RELEASE,
            AGAIN,
        ];
        match self {
            Self::DiskFull => DISK_FULL,
            Self::OutOfMemory => OUT_OF_MEMORY,
            Self::Store => STORE,
            Self::NotYet => NOT_YET,
            Self::Exit | Self::Unknown => EXIT,
            Self::Panic | Self::Signal => BUG,
            Self::Stuck => STUCK,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::Cause;
    use super::LastEnd;
    use super::Lives;
    use super::Next;
    use super::Told;
    use super::pause;
    use crate::base::limits::RESCUE_AFTER_ENDS;
    use crate::base::limits::RESCUE_WORD_BYTES_MAX;
    use crate::base::limits::WELL_AFTER;
    use crate::proto::crash::Kind;

    const SHORT: Duration = Duration::from_millis(29_999);

    fn ends(lives: &mut Lives, lived: &[Duration]) -> Vec<Next> {
        lived.iter().map(|lived| lives.ended(*lived, 7)).collect()
    }

    #[test]
    fn five_ends_in_a_row_each_soon_after_its_start_lead_to_the_rescue_console() {
        let mut lives = Lives::default();
        let pauses = [200, 1000, 2000, 4000].map(|ms| Next::Again(Duration::from_millis(ms)));
        assert_eq!(ends(&mut lives, &[SHORT; 4]), pauses);
        assert_eq!(ends(&mut lives, &[SHORT]), [Next::Rescue]);
        assert_eq!((lives.ends(), lives.since_ms()), (RESCUE_AFTER_ENDS, 7));
        let until_then: Duration = (0..RESCUE_AFTER_ENDS).map(pause).sum();
        assert!(until_then < Duration::from_secs(60) && pause(1000) == Duration::from_secs(5), "{until_then:?}");
    }

    #[test]
    fn a_life_that_was_well_begins_the_count_anew_and_is_none_of_the_five() {
        let mut lives = Lives::default();
        ends(&mut lives, &[SHORT; 4]);
        assert_eq!(ends(&mut lives, &[WELL_AFTER]), [Next::Again(pause(0))]);
        assert_eq!(lives.ends(), 0);
        assert!(ends(&mut lives, &[SHORT; 4]).iter().all(|next| *next != Next::Rescue));
        assert_eq!(ends(&mut lives, &[SHORT]), [Next::Rescue]);
    }

    #[test]
    fn a_try_from_the_rescue_console_that_ends_early_leads_back_at_once_and_a_long_one_out_of_it() {
        let mut lives = Lives::default();
        ends(&mut lives, &[SHORT; 5]);
        assert_eq!(ends(&mut lives, &[SHORT, Duration::ZERO]), [Next::Rescue; 2]);
        assert_eq!((lives.ends(), lives.since_ms()), (7, 7));
        assert_eq!(ends(&mut lives, &[WELL_AFTER, SHORT]), [Next::Again(pause(0)); 2]);
    }

    #[test]
    fn what_is_told_fits_into_a_word_and_is_read_as_it_was() {
        let last = LastEnd { id: None, kind: Kind::Exit, reason: "\u{0}é\"".repeat(10_000), at_ms: 3 };
        let told = Told { ends: 5, since_ms: 1, next_ms: 2, last: Some(last) };
        let word = told.encode();
        assert!(word.len() <= RESCUE_WORD_BYTES_MAX, "{}", word.len());
        let read = Told::parse(&word).unwrap();
        assert_eq!((read.ends, read.since_ms, read.next_ms), (5, 1, 2));
        assert!(told.last.unwrap().reason.starts_with(read.last.unwrap().reason.trim_end_matches('…')));
        assert_eq!(Told::parse(""), None);
        assert_eq!(Told::parse(&" ".repeat(RESCUE_WORD_BYTES_MAX + 1)), None);
    }

    #[test]
    fn what_to_do_is_chosen_by_the_reason_and_always_ends_with_a_start() {
        let of = |kind, reason: &str, lacks_room| {
            let last = LastEnd { id: None, kind, reason: reason.to_owned(), at_ms: 0 };
            Cause::judge(Some(&last), lacks_room)
        };
        let cases = [
            (of(Kind::Exit, "exit status 74: reading or writing failed", false), Cause::Store),
            (of(Kind::Exit, "exit status 74: reading or writing failed", true), Cause::DiskFull),
            (of(Kind::Exit, "exit status 75: it could not start", false), Cause::NotYet),
            (of(Kind::Exit, "exit status 1: none of ours", false), Cause::Exit),
            (of(Kind::Oom, "SIGKILL: …", false), Cause::OutOfMemory),
            (of(Kind::Panic, "panic: no", false), Cause::Panic),
            (of(Kind::Watchdog, "its runtime did not turn", false), Cause::Stuck),
            (Cause::judge(None, false), Cause::Unknown),
        ];
        for (judged, cause) in cases {
            assert_eq!(judged, cause);
            assert_eq!(cause.steps().last().unwrap().command, "ringfort rescue --again");
        }
    }
}
