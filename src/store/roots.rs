//! Whether the directories of this node are still those that it opened: what is removed or renamed under a running node goes
//! on to be written, and is found by nobody after its end. And whether single files are, that the next start needs.

use std::collections::BTreeMap;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::path::PathBuf;

use crate::store::index::fjall::CURRENT;
use crate::store::marks;
use crate::store::partition::files::Needed;

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

/// Files that are made anew under their names, and one day for the first time.
const RENEWED: [&str; 2] = [marks::NAME, CURRENT];

/// A file that the next start will not find.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Taken {
    /// Of the journal.
    Journal(PathBuf),
    /// Of the index.
    Index(PathBuf),
}

/// Files as they were first seen. Those that are needed no more are forgotten.
#[derive(Debug, Default)]
pub struct Files(BTreeMap<PathBuf, Who>);

impl Files {
    /// The first that was taken away or is another one, of those that are `needed` before it was looked and afterwards: one
    /// that a node removes itself is not needed any more by then. What cannot be told is taken for there.
    pub fn taken(&mut self, needed: impl Fn() -> Needed) -> Option<Taken> {
        let before = needed();
        self.0.retain(|path, _| before.journal.contains(path) || before.index.contains(path));
        let (mut journal, mut index) = (before.journal, before.index);
        journal.retain(|path| self.is_taken(path));
        index.retain(|path| self.is_taken(path));
        if journal.is_empty() && index.is_empty() {
            return None;
        }
        let after = needed();
        let of_journal = journal.intersection(&after.journal).next().cloned().map(Taken::Journal);
        of_journal.or_else(|| index.intersection(&after.index).next().cloned().map(Taken::Index))
    }

    fn is_taken(&mut self, path: &Path) -> bool {
        let is_renewed = RENEWED.iter().any(|name| path.ends_with(name));
        match who(path) {
            Ok(now) => *self.0.entry(path.to_owned()).or_insert(now) != now && !is_renewed,
            Err(error) => error.kind() == io::ErrorKind::NotFound && (!is_renewed || self.0.contains_key(path)),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;
    use std::path::PathBuf;

    use super::Files;
    use super::Roots;
    use super::Taken;
    use crate::store::partition::files::Needed;

    #[test]
    fn a_file_that_is_needed_and_taken_away_is_named_and_one_that_is_needed_no_more_is_not() {
        let dir = tempfile::tempdir().unwrap();
        let path = |name: &str| dir.path().join(name);
        for name in ["1", "2", "marks"] {
            std::fs::write(path(name), "x").unwrap();
        }
        let needed =
            |names: &[&str]| names.iter().map(|name| path(name)).collect::<std::collections::BTreeSet<PathBuf>>();
        let of = |journal: &[&str], index: &[&str]| Needed { journal: needed(journal), index: needed(index) };
        let mut files = Files::default();
        assert_eq!(files.taken(|| of(&["1", "marks"], &["2"])), None);
        std::fs::remove_file(path("2")).unwrap();
        assert_eq!(files.taken(|| of(&["1", "marks"], &["2"])), Some(Taken::Index(path("2"))));
        // Removed by the node itself between two looks.
        let looks = Cell::new(0);
        let purged = || {
            looks.set(looks.get() + 1);
            if looks.get() == 1 { of(&["1"], &["2"]) } else { of(&["1"], &[]) }
        };
        assert_eq!((files.taken(purged), looks.get()), (None, 2));
        // Another one under its name is not what is written to, but for one that is always made anew.
        for name in ["1", "marks"] {
            std::fs::write(path("new"), "x").unwrap();
            std::fs::rename(path("new"), path(name)).unwrap();
        }
        assert_eq!(files.taken(|| of(&["marks"], &[])), None);
        assert_eq!(files.taken(|| of(&["1", "marks"], &[])), None, "it was forgotten while it was not needed");
        std::fs::write(path("new"), "x").unwrap();
        std::fs::rename(path("new"), path("1")).unwrap();
        assert_eq!(files.taken(|| of(&["1", "marks"], &[])), Some(Taken::Journal(path("1"))));
        std::fs::remove_file(path("marks")).unwrap();
        assert_eq!(
            files.taken(|| of(&["marks", "current"], &[])),
            Some(Taken::Journal(path("marks"))),
            "none was never there"
        );
    }

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
