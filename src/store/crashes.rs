//! Crash reports as files: `crashes/ID.json`, each whole, synced and put there by its name; this node's own and those of
//! others. Bounded for each node in number and bytes, the oldest go first. `ID.todo` beside one says that others are still
//! to be given it. No part of the key space: what that is kept in may be what failed.

use std::collections::BTreeSet;
use std::fs;
use std::io;
use std::io::Read;
use std::path::Path;
use std::path::PathBuf;
use std::time::Instant;

use crate::base::id::NodeId;
use crate::base::limits::CRASH_BYTES_MAX;
use crate::base::limits::CRASH_BYTES_PER_NODE_MAX;
use crate::base::limits::CRASH_NODES_MAX;
use crate::base::limits::CRASHES_PER_NODE_MAX;
use crate::base::time;
use crate::proto::crash::CrashId;
use crate::proto::crash::Report;
use crate::proto::crash::Short;
use crate::store::data_dir;

const REPORT: &str = "json";
const TODO: &str = "todo";

/// The directory of reports. Several processes may use it at once.
#[derive(Debug, Clone)]
pub struct Crashes {
    dir: PathBuf,
}

/// What is there.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Listing {
    /// Reports, oldest first.
    pub reports: Vec<Short>,
    /// Names of files that are no report any more.
    pub damaged: Vec<String>,
    /// There was no time for all of them: the oldest ones are missing.
    pub cut: bool,
}

impl Crashes {
    /// Those of a data directory. Nothing is touched yet.
    #[must_use]
    pub fn of(data: &Path) -> Self {
        Self { dir: data.join("crashes") }
    }

    fn path(&self, id: &CrashId, extension: &str) -> PathBuf {
        self.dir.join(format!("{}.{extension}", id.as_str()))
    }

    /// Keeps a report; what is there already stays. Older ones of that node make room.
    ///
    /// # Errors
    /// Of the operating system; `QuotaExceeded` where there are reports of too many nodes. Nothing is kept then.
    pub fn keep(&self, report: &Report) -> io::Result<()> {
        let path = self.path(&report.id, REPORT);
        if path.exists() {
            return Ok(());
        }
        data_dir::make(&self.dir)?;
        let bytes = report.encode();
        self.make_room(report.node, bytes.len() as u64)?;
        data_dir::write_whole(&path, &bytes)
    }

    fn make_room(&self, node: NodeId, bytes: u64) -> io::Result<()> {
        let all = self.names(REPORT)?;
        let nodes: BTreeSet<NodeId> = all.iter().map(CrashId::node).collect();
        if !nodes.contains(&node) && nodes.len() >= CRASH_NODES_MAX {
            return Err(io::ErrorKind::QuotaExceeded.into());
        }
        let size = |id: &CrashId| fs::metadata(self.path(id, REPORT)).map_or(0, |metadata| metadata.len());
        let mut theirs: Vec<(CrashId, u64)> =
            all.into_iter().filter(|id| id.node() == node).map(|id| (id.clone(), size(&id))).collect();
        theirs.reverse();
        let mut total = bytes + theirs.iter().map(|(_, size)| size).sum::<u64>();
        while theirs.len() >= CRASHES_PER_NODE_MAX || total > CRASH_BYTES_PER_NODE_MAX {
            let Some((oldest, size)) = theirs.pop() else { break };
            fs::remove_file(self.path(&oldest, REPORT))?;
            self.delivered(&oldest);
            total -= size;
        }
        Ok(())
    }

    /// Bytes of the reports of a node.
    #[must_use]
    pub fn bytes_of(&self, node: NodeId) -> u64 {
        let theirs = self.names(REPORT).unwrap_or_default().into_iter().filter(|id| id.node() == node);
        theirs.filter_map(|id| fs::metadata(self.path(&id, REPORT)).ok()).map(|metadata| metadata.len()).sum()
    }

    /// Notes that others are still to be given it.
    ///
    /// # Errors
    /// Of the operating system.
    pub fn to_deliver(&self, id: &CrashId) -> io::Result<()> {
        data_dir::write_whole(&self.path(id, TODO), b"")
    }

    /// They were. Where that cannot be noted they are given it once more, which changes nothing.
    pub fn delivered(&self, id: &CrashId) {
        let _missing = fs::remove_file(self.path(id, TODO));
    }

    /// What is to be delivered, oldest first.
    #[must_use]
    pub fn undelivered(&self) -> Vec<CrashId> {
        self.names(TODO).unwrap_or_default()
    }

    /// A report as it lies there; `None` where it is not there.
    ///
    /// # Errors
    /// Of the operating system, and `InvalidData` where it is no report any more.
    pub fn read(&self, id: &CrashId) -> io::Result<Option<Report>> {
        let file = match fs::File::open(self.path(id, REPORT)) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(error),
        };
        let mut bytes = Vec::new();
        file.take(CRASH_BYTES_MAX as u64 + 1).read_to_end(&mut bytes)?;
        let report = Report::parse(&bytes).map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error))?;
        Ok(Some(report))
    }

    /// All that is there.
    ///
    /// # Errors
    /// Of the operating system.
    pub fn list(&self) -> io::Result<Listing> {
        self.find(&|_any| true, None)
    }

    /// Those that are taken, looked through from the newest on until there is no time any more.
    ///
    /// # Errors
    /// Of the operating system.
    pub fn find(&self, takes: &dyn Fn(&Report) -> bool, deadline: Option<Instant>) -> io::Result<Listing> {
        let mut listing = Listing::default();
        for id in self.names(REPORT)?.into_iter().rev() {
            if deadline.is_some_and(|deadline| time::mono() >= deadline) {
                listing.cut = true;
                break;
            }
            match self.read(&id) {
                Ok(Some(report)) if takes(&report) => listing.reports.push(report.short()),
                // Not meant, or another one made room meanwhile.
                Ok(_) => {}
                Err(_damaged) => listing.damaged.push(format!("{}.{REPORT}", id.as_str())),
            }
        }
        listing.reports.reverse();
        listing.damaged.reverse();
        Ok(listing)
    }

    fn names(&self, extension: &str) -> io::Result<Vec<CrashId>> {
        let files = match fs::read_dir(&self.dir) {
            Ok(files) => files,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            Err(error) => return Err(error),
        };
        let mut names = Vec::new();
        for file in files {
            let name = file?.file_name();
            let id = name.to_str().and_then(|name| name.strip_suffix(extension)?.strip_suffix('.'));
            names.extend(id.and_then(CrashId::parse));
        }
        names.sort_unstable();
        Ok(names)
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::Crashes;
    use crate::base::id::NodeId;
    use crate::base::limits::CRASHES_PER_NODE_MAX;
    use crate::proto::crash::CrashId;
    use crate::proto::crash::Kind;
    use crate::proto::crash::Report;

    fn report(at_ms: u64, node: u64) -> Report {
        let id = CrashId::new(at_ms, NodeId(node), 7);
        Report::new(id, "then".to_owned(), at_ms, Kind::Exit, "exit status 1".to_owned()).finish()
    }

    #[test]
    fn a_report_is_kept_once_and_read_as_it_was() {
        let dir = tempfile::tempdir().unwrap();
        let crashes = Crashes::of(dir.path());
        assert!(crashes.list().unwrap().reports.is_empty(), "before there is a directory");
        let (one, other) = (report(2, 1), report(1, 2));
        [&one, &other, &one].into_iter().for_each(|report| crashes.keep(report).unwrap());
        assert_eq!(crashes.list().unwrap().reports, [other.short(), one.short()]);
        assert_eq!(crashes.read(&one.id).unwrap(), Some(one));
        assert_eq!(crashes.read(&report(3, 1).id).unwrap(), None);
    }

    #[test]
    fn the_oldest_of_a_node_make_room_and_no_other_nodes() {
        let dir = tempfile::tempdir().unwrap();
        let crashes = Crashes::of(dir.path());
        crashes.keep(&report(0, 2)).unwrap();
        let count = CRASHES_PER_NODE_MAX as u64 + 3;
        (1..=count).for_each(|at_ms| crashes.keep(&report(at_ms, 1)).unwrap());
        let kept: Vec<CrashId> = crashes.list().unwrap().reports.into_iter().map(|short| short.id).collect();
        assert_eq!(kept.len(), CRASHES_PER_NODE_MAX + 1);
        assert_eq!((&kept[0], &kept[1]), (&report(0, 2).id, &report(4, 1).id));
    }

    #[test]
    fn a_damaged_file_is_named_and_harms_no_other() {
        let dir = tempfile::tempdir().unwrap();
        let crashes = Crashes::of(dir.path());
        crashes.keep(&report(1, 1)).unwrap();
        crashes.keep(&report(2, 1)).unwrap();
        let name = format!("{}.json", report(1, 1).id.as_str());
        fs::write(dir.path().join("crashes").join(&name), "half of").unwrap();
        fs::write(dir.path().join("crashes/README"), "").unwrap();
        let listing = crashes.list().unwrap();
        assert_eq!((listing.damaged, listing.reports.len()), (vec![name], 1));
        assert!(crashes.read(&report(1, 1).id).is_err());
    }

    #[test]
    fn what_is_to_be_delivered_is_remembered_until_it_was() {
        let dir = tempfile::tempdir().unwrap();
        let crashes = Crashes::of(dir.path());
        let one = report(1, 1);
        crashes.keep(&one).unwrap();
        crashes.to_deliver(&one.id).unwrap();
        assert_eq!(crashes.undelivered(), std::slice::from_ref(&one.id));
        crashes.delivered(&one.id);
        assert!(crashes.undelivered().is_empty());
    }
}
