//! How large files of this process may become: a limit of the system (`RLIMIT_FSIZE`) that nothing of ours needs.

use std::io;

use rustix::process::Resource;
use rustix::process::getrlimit;

use crate::base::limits::FILE_BYTES_NEEDED;

/// What is to be done about it.
const TO_DO: &str = "set LimitFSIZE=infinity in its unit (`ulimit -f unlimited` in a shell) and start it again";

/// The limit in bytes, where there is one.
#[must_use]
pub fn limit() -> Option<u64> {
    getrlimit(Resource::Fsize).current
}

/// What keeps a node from running under a limit, as a sentence; `None` where it leaves enough.
#[must_use]
pub fn forbids(limit: Option<u64>) -> Option<String> {
    let limit = limit.filter(|limit| *limit < FILE_BYTES_NEEDED)?;
    let needed = FILE_BYTES_NEEDED / (1024 * 1024);
    Some(format!("{}, and a node needs some of {needed} MiB; nothing was changed; {TO_DO}", in_words(limit)))
}

/// What made writes fail, where a limit is that low, as half a sentence.
#[must_use]
pub fn failed(limit: Option<u64>) -> Option<String> {
    limit.filter(|limit| *limit < FILE_BYTES_NEEDED).map(|limit| format!("{}: {TO_DO}", in_words(limit)))
}

/// What is behind an error that says that a file is too large, as half a sentence; `None` for every other error.
#[must_use]
pub fn behind(error: &io::Error, limit: Option<u64>) -> Option<String> {
    let limit = limit.filter(|_| error.kind() == io::ErrorKind::FileTooLarge)?;
    Some(format!("{}: {TO_DO}", in_words(limit)))
}

fn in_words(limit: u64) -> String {
    format!("the system forbids files larger than {limit} bytes (LimitFSIZE, ulimit -f)")
}

#[cfg(test)]
mod tests {
    use std::io;

    use rustix::io::Errno;

    use crate::base::limits::FILE_BYTES_NEEDED;

    #[test]
    fn only_a_limit_below_what_is_needed_keeps_a_node_from_running() {
        assert_eq!([super::forbids(None), super::forbids(Some(FILE_BYTES_NEEDED))], [None, None]);
        let said = super::forbids(Some(FILE_BYTES_NEEDED - 1)).unwrap();
        assert!(said.contains("nothing was changed") && said.contains("134217727 bytes"), "{said}");
    }

    #[test]
    fn only_an_error_about_the_size_of_a_file_is_told_as_the_limit() {
        let (large, full) = (io::Error::from(Errno::FBIG), io::Error::from(Errno::NOSPC));
        assert_eq!([super::behind(&large, None), super::behind(&full, Some(1))], [None, None]);
        assert!(super::behind(&large, Some(16_384)).is_some_and(|words| words.contains("larger than 16384 bytes")));
    }
}
