//! Exit statuses (sysexits, plus 3 and 4 of our own) and the one place that ends the process from within.

/// How a process of ours ends; the number is part of the command line's contract.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum Exit {
    /// All went well.
    Ok = 0,
    /// A check failed.
    CheckFailed = 3,
    /// A check warned.
    CheckWarned = 4,
    /// The command line is wrong.
    Usage = 64,
    /// The data given or found is bad.
    BadData = 65,
    /// An input is missing.
    NoInput = 66,
    /// The service cannot be reached or refuses for now.
    Unavailable = 69,
    /// A bug of ours.
    Internal = 70,
    /// Reading or writing failed.
    Io = 74,
    /// A later try may succeed.
    TryAgain = 75,
    /// Not allowed.
    Denied = 77,
    /// The configuration is wrong.
    Config = 78,
}

impl Exit {
    /// The number the operating system sees.
    #[must_use]
    pub fn code(self) -> u8 {
        self as u8
    }

    /// What it means, for people who look at it afterwards.
    #[must_use]
    pub fn means(self) -> &'static str {
        match self {
            Self::Ok => "all went well",
            Self::CheckFailed => "a check failed",
            Self::CheckWarned => "a check warned",
            Self::Usage => "the command line is wrong",
            Self::BadData => "data is damaged or of something else",
            Self::NoInput => "an input is missing",
            Self::Unavailable => "something that it needs is not to be had",
            Self::Internal => "a bug of ours",
            Self::Io => "reading or writing failed, so that nothing in memory may be trusted to reach the disk",
            Self::TryAgain => "it could not start, and a later try may succeed",
            Self::Denied => "the operating system does not allow it",
            Self::Config => "the configuration is wrong",
        }
    }

    /// The status with this number, where it is one of ours.
    #[must_use]
    pub fn from_code(code: i32) -> Option<Self> {
        use Exit::{
            BadData, CheckFailed, CheckWarned, Config, Denied, Internal, Io, NoInput, Ok, TryAgain, Unavailable, Usage,
        };
        let all = [
            Ok,
            CheckFailed,
            CheckWarned,
            Usage,
            BadData,
            NoInput,
            Unavailable,
            Internal,
            Io,
            TryAgain,
            Denied,
            Config,
        ];
        all.into_iter().find(|exit| i32::from(exit.code()) == code)
    }
}

/// Ends the process at once, without unwinding or flushing: after a failed fsync nothing in memory may be trusted to
/// reach the disk any more (HOUSE decision 6, STYLE 14), and what a part cannot mend by its own restart the supervisor mends
/// by one of all.
pub fn die(exit: Exit) -> ! {
    #[expect(clippy::disallowed_methods, clippy::exit, reason = "the one place that may")]
    std::process::exit(i32::from(exit.code()))
}

/// Ends the process at once with a status that is none of ours, as a library might: for drills.
pub fn drill() -> ! {
    #[expect(clippy::disallowed_methods, clippy::exit, reason = "a drill: this is what it is for")]
    std::process::exit(1)
}
