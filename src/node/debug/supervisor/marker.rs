//! The marker of a run: a file that is there while a node runs, and is removed when it stops in order or its end was
//! reported. One that is found at a start is of a run that ended as a whole, with nobody left to report it.

use std::io::Read;
use std::path::Path;
use std::path::PathBuf;

use serde::Deserialize;
use serde::Serialize;

use crate::base::flight::Story;
use crate::base::time;
use crate::node::debug::autopsy;
use crate::node::debug::machine;
use crate::proto::crash::Kind;
use crate::proto::crash::Report;
use crate::proto::crash::UNNOTED;
use crate::store::crashes::Crashes;
use crate::store::data_dir;
use crate::store::identity;
use crate::store::identity::Identity;

/// Bytes of the file: a few numbers.
const BYTES_MAX: u64 = 4096;
/// Where it is, in the data directory.
const FILE: &str = "blackbox/running.json";

#[derive(Debug, Serialize, Deserialize)]
struct Running {
    boot: String,
    supervisor: u32,
    worker: u32,
    started: String,
}

/// The marker of a data directory.
pub struct Marker {
    path: PathBuf,
    /// Of which worker it tells, where it is written.
    of: Option<u32>,
}

impl Marker {
    pub fn of(data: &Path) -> Self {
        Self { path: data.join(FILE), of: None }
    }

    /// Writes it once the worker has the directory. The first time the one of before is looked for: what is returned is the
    /// report about that run.
    pub fn note_holding(&mut self, holds: bool, worker: u32, data: &Path) -> Option<Report> {
        if !holds || self.of == Some(worker) {
            return None;
        }
        let before = if self.of.is_none() { self.found() } else { None };
        let reported = before.and_then(|before| report(&before, data));
        self.of = Some(worker);
        let now = Running {
            boot: machine::boot(),
            supervisor: std::process::id(),
            worker,
            started: time::rfc3339(time::wall_ms()),
        };
        let written = serde_json::to_vec(&now).map_err(std::io::Error::other);
        if let Err(error) = written.and_then(|bytes| data_dir::write_whole(&self.path, &bytes)) {
            tracing::warn!(%error, "it cannot be noted that this node runs; if all of it is killed nobody will know");
        }
        reported
    }

    fn found(&self) -> Option<Running> {
        let mut bytes = Vec::new();
        std::fs::File::open(&self.path).ok()?.take(BYTES_MAX).read_to_end(&mut bytes).ok()?;
        serde_json::from_slice(&bytes).ok()
    }

    /// The run ended in order, or its end is told.
    pub fn remove(&mut self) {
        // Only one's own: another process may have the directory.
        if self.of.is_some() {
            let _missing = std::fs::remove_file(&self.path);
        }
    }
}

/// What may have been: nobody saw it.
fn report(before: &Running, data: &Path) -> Option<Report> {
    // A report that is of nobody would be of no use to others.
    let Identity { node, name, .. } = identity::read(&data.join("identity")).ok().flatten()?;
    let Running { boot, started, .. } = before;
    let reason = if *boot == machine::boot() {
        format!(
            "{UNNOTED}: all its processes were killed at once (SIGKILL of the group, or a container that was stopped hard), or its \
             disk could not be written; it had run since {started}"
        )
    } else {
        format!(
            "{UNNOTED}, and the machine restarted since: its power went, it was reset, all its processes were killed at once, or \
             its disk could not be written; it had run since {started}"
        )
    };
    let mut report = autopsy::report(node, Kind::Power, reason, &Story::default())?;
    report.name = name;
    report.since_ms = time::parse_rfc3339(started);
    let report = report.finish();
    tracing::warn!(id = report.id.as_str(), reason = report.reason, "the run before ended as a whole");
    let crashes = Crashes::of(data);
    if let Err(error) = crashes.keep(&report).and_then(|()| crashes.to_deliver(&report.id)) {
        tracing::error!(%error, "a crash report could not be kept; others are given it");
    }
    Some(report)
}

#[cfg(test)]
mod tests {
    use super::Marker;
    use crate::node::debug::machine;
    use crate::proto::crash::Kind;
    use crate::store::crashes::Crashes;
    use crate::store::identity;

    #[test]
    fn a_run_that_was_never_ended_is_reported_once_and_says_whether_the_machine_restarted() {
        let dir = tempfile::tempdir().unwrap();
        let data = dir.path();
        std::fs::create_dir(data.join("blackbox")).unwrap();
        std::fs::create_dir(data.join("identity")).unwrap();
        let who = identity::bear(&data.join("identity"), "n").unwrap();
        identity::confirm(&data.join("identity"), &who).unwrap();
        assert_eq!(Marker::of(data).note_holding(true, 7, data), None, "the first run");
        let mut second = Marker::of(data);
        assert_eq!(second.note_holding(false, 8, data), None, "the directory is another's");
        let made = second.note_holding(true, 8, data).unwrap();
        assert_eq!(second.note_holding(true, 9, data), None, "its own worker before");
        let report = Crashes::of(data).read(&made.id).unwrap().unwrap();
        assert!(report.kind == Kind::Power && report.reason.contains("killed at once"), "{}", report.reason);
        assert!(report == made && report.since_ms.is_some_and(|since_ms| since_ms <= report.at_ms), "{report:?}");
        let path = data.join("blackbox/running.json");
        let marked = std::fs::read_to_string(&path).unwrap().replace(&machine::boot(), "another");
        std::fs::write(&path, marked).unwrap();
        let report = Marker::of(data).note_holding(true, 1, data).unwrap();
        assert!(report.reason.contains("machine restarted"), "{}", report.reason);
        second.remove();
        assert_eq!(Marker::of(data).note_holding(true, 2, data), None, "stopped in order");
    }
}
