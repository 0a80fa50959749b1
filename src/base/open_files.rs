//! How many files this process may have open.

use std::io;

use rustix::process::Resource;
use rustix::process::Rlimit;
use rustix::process::getrlimit;
use rustix::process::setrlimit;

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

#[cfg(test)]
mod tests {
    #[test]
    fn the_limit_is_raised_to_the_most_there_may_be() {
        let most = rustix::process::getrlimit(rustix::process::Resource::Nofile).maximum;
        let raised = super::raise_limit().unwrap();
        assert_eq!(most.map_or(usize::MAX, |most| usize::try_from(most).unwrap()), raised);
    }
}
