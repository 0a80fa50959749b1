//! The file of this program: to start it once more, and whether it is still there.

use std::io;
use std::path::PathBuf;

/// What the kernel has of a program that runs, also where its file is gone.
const OWN: &str = "/proc/self/exe";
/// Behind the path of a file that was removed or replaced (proc(5)).
const GONE: &str = " (deleted)";

/// Where to start this program from: what runs already goes on as what it is, also where its file was removed or replaced
/// meanwhile. Without `/proc`, as in an empty root, the path that it was started by.
///
/// # Errors
/// Where neither is known.
pub fn own() -> io::Result<PathBuf> {
    match std::env::current_exe() {
        Ok(path) if is_gone(&path.to_string_lossy()).is_none() => Ok(path),
        Ok(_) => Ok(PathBuf::from(OWN)),
        Err(error) => std::env::args_os().next().map(PathBuf::from).ok_or(error),
    }
}

/// The path of this program's file, where that was removed or replaced since it was started. Asks no disk.
#[must_use]
pub fn replaced() -> Option<String> {
    is_gone(&std::env::current_exe().ok()?.to_string_lossy()).map(ToOwned::to_owned)
}

fn is_gone(path: &str) -> Option<&str> {
    path.strip_suffix(GONE)
}

#[cfg(test)]
mod tests {
    #[test]
    fn a_file_that_is_gone_is_told_from_one_that_is_there() {
        assert_eq!(super::is_gone("/usr/bin/ringfort (deleted)"), Some("/usr/bin/ringfort"));
        assert_eq!((super::is_gone("/usr/bin/ringfort"), super::replaced()), (None, None));
        assert_eq!(super::own().unwrap(), std::env::current_exe().unwrap());
    }
}
