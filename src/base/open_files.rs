//! How many files this process may have open, and whether it met that limit.

use std::io;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering;
use std::time::Duration;

use rustix::process::Resource;
use rustix::process::Rlimit;
use rustix::process::getrlimit;
use rustix::process::setrlimit;

use crate::base::time;

/// Raises the limit of open files to the most that this process may have, and says how many that is. The soft limit of
/// 1,024 is there for programs that still use `select`.
///
/// # Errors
/// Where the system refuses; the limit is as it was.
pub fn raise_limit() -> io::Result<usize> {
    let Rlimit { current, maximum } = getrlimit(Resource::Nofile);
    if current != maximum {
        setrlimit(Resource::Nofile, Rlimit { current: maximum, maximum })?;
    }
    Ok(limit())
}

/// How many files this process may have open now.
#[must_use]
pub fn limit() -> usize {
    getrlimit(Resource::Nofile).current.and_then(|limit| usize::try_from(limit).ok()).unwrap_or(usize::MAX)
}

/// When it was met last, by the steady clock in milliseconds; 0: never.
static MET_MS: AtomicU64 = AtomicU64::new(0);

/// Notes an error of opening or accepting something, where it says that there may be no more.
pub fn note(error: &io::Error) {
    let errno = rustix::io::Errno::from_io_error(error);
    if errno == Some(rustix::io::Errno::MFILE) || errno == Some(rustix::io::Errno::NFILE) {
        MET_MS.store(time::steady_ms().0.max(1), Ordering::Relaxed);
    }
}

/// Whether it was met within this time.
#[must_use]
pub fn met_within(window: Duration) -> bool {
    let met_ms = MET_MS.load(Ordering::Relaxed);
    met_ms > 0 && time::steady_ms().0.saturating_sub(met_ms) <= time::millis(window)
}

#[cfg(test)]
mod tests {
    #[test]
    fn only_what_says_that_there_may_be_no_more_files_is_noted() {
        let window = std::time::Duration::from_secs(3600);
        super::note(&std::io::Error::from_raw_os_error(2));
        assert!(!super::met_within(window));
        super::note(&std::io::Error::from_raw_os_error(24));
        assert!(super::met_within(window));
    }

    #[test]
    fn the_limit_is_raised_to_the_most_there_may_be() {
        let most = rustix::process::getrlimit(rustix::process::Resource::Nofile).maximum;
        let raised = super::raise_limit().unwrap();
        assert_eq!(most.map_or(usize::MAX, |most| usize::try_from(most).unwrap()), raised);
    }
}
