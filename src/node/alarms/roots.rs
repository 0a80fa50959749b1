//! Directories of this node that are not those any more that it opened.

use std::os::unix::fs::MetadataExt as _;
use std::path::Path;

use crate::proto::alarm::Finding;
use crate::proto::alarm::Subject;
use crate::proto::alarm::code::Code;

/// `gone`: where it was.
pub(super) fn of_roots(gone: &str, me: Subject) -> Finding {
    let (what, to_do) = match is_mounted_over(Path::new(gone)) {
        true => (
            "is hidden: another file system was mounted over it",
            "Unmount that one. Do not restart the node before: it would not find its data.",
        ),
        false => (
            "was removed or renamed",
            "If it was renamed, put it back. If it is gone, let this machine leave (`ringfort leave`) before it is stopped, and \
             stop no other one meanwhile.",
        ),
    };
    let cause = format!(
        "{gone} {what} while the node runs: what it stored lives on only as long as this process. New writes are refused here."
    );
    Finding::new(Code::FilesGone, me, cause, to_do)
}

/// Whether what is there now is the root of a file system.
fn is_mounted_over(path: &Path) -> bool {
    let device = |path: &Path| path.metadata().map(|there| there.dev()).ok();
    let (here, above) = (device(path), path.parent().and_then(device));
    here.is_some() && above.is_some() && here != above
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::is_mounted_over;
    use super::of_roots;
    use crate::proto::alarm::Subject;

    #[test]
    fn a_place_that_another_file_system_hides_is_told_apart_from_one_that_is_gone() {
        assert!(is_mounted_over(Path::new("/proc")) && !is_mounted_over(Path::new("/usr/bin")));
        let told = |path: &str| of_roots(path, Subject::Cluster);
        assert!(told("/proc").cause.contains("another file system was mounted over it while the node runs"));
        assert!(told("/proc").to_do.starts_with("Unmount that one."));
        assert!(
            told("/nowhere/journal").cause.starts_with("/nowhere/journal was removed or renamed while the node runs")
        );
    }
}
