//! Whether the directories of this node are still those that it opened: what is removed or renamed under a running node goes
//! on to be written, and is found by nobody after its end.

use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::path::PathBuf;

/// Below the data directory, and itself. The index may be made anew.
const WATCHED: [&str; 3] = ["", "journal", "identity"];

/// Which directories they are.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Roots(Vec<(&'static str, Who)>);

/// Device and number of a file on it.
type Who = (u64, u64);

fn who(path: &Path) -> io::Result<Who> {
    std::fs::metadata(path).map(|there| (there.dev(), there.ino()))
}

impl Roots {
    /// Notes those that are there.
    #[must_use]
    pub fn note(data: &Path) -> Self {
        Self(WATCHED.into_iter().filter_map(|name| Some((name, who(&data.join(name)).ok()?))).collect())
    }

    /// The first that is not there any more, or is another one. What cannot be told is taken for there.
    #[must_use]
    pub fn gone(&self, data: &Path) -> Option<PathBuf> {
        let is_gone = |(name, was): &(&'static str, Who)| {
            let path = data.join(name);
            match who(&path) {
                Ok(now) => (now != *was).then_some(path),
                Err(error) => (error.kind() == io::ErrorKind::NotFound).then_some(path),
            }
        };
        self.0.iter().find_map(is_gone)
    }
}

#[cfg(test)]
mod tests {
    use super::Roots;

    #[test]
    fn a_directory_that_is_removed_or_another_one_is_named() {
        let dir = tempfile::tempdir().unwrap();
        let data = dir.path().join("data");
        std::fs::create_dir_all(data.join("journal")).unwrap();
        let roots = Roots::note(&data);
        assert_eq!(roots.gone(&data), None, "one that was never there is not missed");
        std::fs::rename(data.join("journal"), dir.path().join("aside")).unwrap();
        assert_eq!(roots.gone(&data), Some(data.join("journal")));
        std::fs::create_dir(data.join("journal")).unwrap();
        assert_eq!(roots.gone(&data), Some(data.join("journal")), "another one");
        std::fs::remove_dir(data.join("journal")).unwrap();
        std::fs::rename(dir.path().join("aside"), data.join("journal")).unwrap();
        assert_eq!(roots.gone(&data), None, "it was put back");
        std::fs::rename(&data, dir.path().join("old")).unwrap();
        assert_eq!(roots.gone(&data), Some(data));
    }
}
