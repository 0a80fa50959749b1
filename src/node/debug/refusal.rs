//! A start that is refused before a worker runs: the others are told why, in the words that its terminal has. Once for a
//! reason within a while: what starts it anew does so every few seconds.

use std::os::unix::fs::MetadataExt;
use std::path::Path;

use crate::base::checksum;
use crate::base::exit::Exit;
use crate::base::flight::Story;
use crate::base::limits::COURIER_BUDGET;
use crate::base::limits::REFUSAL_AGAIN;
use crate::base::time;
use crate::node::debug::autopsy;
use crate::node::debug::courier;
use crate::proto::crash::CrashId;
use crate::proto::crash::Kind;
use crate::proto::crash::Report;
use crate::store::crashes::Crashes;
use crate::store::data_dir;
use crate::store::data_dir::DataDirError;
use crate::store::identity;

/// Tells the others, as far as the directory says who this node is and whom to tell, and no other process has it: that one runs,
/// whatever somebody starts beside it. Returns after [`COURIER_BUDGET`] at the latest.
pub async fn tell(data: &Path, exit: Exit, sentence: &str) {
    if let Some(report) = report(data, exit, sentence) {
        tell_report(data, report).await;
    }
}

/// The same of a worker that ended before it had the directory, and is not started again.
pub async fn tell_report(data: &Path, report: Report) {
    if report.node.0 == 0 || !may_tell(data) {
        return;
    }
    let Some(report) = kept(data, report) else { return };
    match tokio::time::timeout(COURIER_BUDGET, courier::deliver(data, &report)).await {
        Ok(Ok(_)) => {}
        Ok(Err(reason)) => tracing::debug!(reason, "others could not be told why this start is refused"),
        Err(_late) => tracing::debug!("others could not be told in time why this start is refused"),
    }
}

fn report(data: &Path, exit: Exit, sentence: &str) -> Option<Report> {
    let who = identity::read(&data.join("identity")).ok().flatten()?;
    if !may_tell(data) {
        return None;
    }
    let reason = format!("exit status {}: {}; it did not start: {sentence}", exit.code(), exit.means());
    let mut report = autopsy::report(who.node, Kind::Exit, reason, &Story::default())?;
    report.name = who.name;
    Some(report.finish())
}

fn may_tell(data: &Path) -> bool {
    courier::knows_peers(data) && !matches!(data_dir::lock(data), Err(DataDirError::InUse { .. }))
}

/// Keeps it, where that may be. Returns what is to be sent; nothing, where others were told the same since the node last ran.
fn kept(data: &Path, report: Report) -> Option<Report> {
    let (crashes, ran) = (Crashes::of(data), courier::peers_noted(data).ok()?);
    let ran_ms = u64::try_from(ran.mtime()).unwrap_or(0) * 1000;
    let from_ms = report.at_ms.saturating_sub(time::millis(REFUSAL_AGAIN)).max(ran_ms);
    let is_same =
        |other: &Report| other.node == report.node && other.fingerprint == report.fingerprint && other.at_ms >= from_ms;
    let known = crashes.find(&is_same, None).ok().and_then(|found| found.reports.into_iter().next());
    if let Some(known) = known {
        let waits = crashes.undelivered().contains(&known.id);
        return crashes.read(&known.id).ok().flatten().filter(|_| waits);
    }
    // What root writes in another user's directory that user could not remove.
    let is_ours = ran.uid() == rustix::process::geteuid().as_raw();
    if is_ours && crashes.keep(&report).and_then(|()| crashes.to_deliver(&report.id)).is_ok() {
        return Some(report);
    }
    // Where nothing can be noted here, the others know it by its name.
    let again_ms = time::millis(REFUSAL_AGAIN);
    let (ran_s, ran_ns) = (ran.mtime().to_le_bytes(), ran.mtime_nsec().to_le_bytes());
    let digest = checksum::sha256(&[report.reason.as_bytes(), &ran_s, &ran_ns]);
    let draw = digest.first_chunk().map_or(0, |bytes| u32::from_le_bytes(*bytes));
    let id = CrashId::new(report.at_ms - report.at_ms % again_ms, report.node, draw);
    Some(Report { id, ..report })
}

#[cfg(test)]
mod tests {
    use crate::base::exit::Exit;
    use crate::base::id::NodeId;
    use crate::node::debug::courier::PeerList;
    use crate::proto::crash::Report;
    use crate::store::crashes::Crashes;
    use crate::store::data_dir;
    use crate::store::identity;

    #[test]
    fn a_refusal_is_told_once_for_a_reason_also_where_nothing_can_be_kept() {
        let dir = tempfile::tempdir().unwrap();
        let data = dir.path();
        let told = |sentence: &str| super::report(data, Exit::Config, sentence);
        assert_eq!(told("no"), None, "nobody knows who it is");
        std::fs::create_dir(data.join("identity")).unwrap();
        std::fs::create_dir(data.join("blackbox")).unwrap();
        let who = identity::bear(&data.join("identity"), "n").unwrap();
        identity::confirm(&data.join("identity"), &who).unwrap();
        assert_eq!(told("no"), None, "nobody is to be told");
        PeerList::of_one(NodeId(9), "127.0.0.1:1").write(data).unwrap();
        let kept = |sentence: &str| super::kept(data, told(sentence).unwrap());
        let first = kept("no").unwrap();
        assert_eq!(first.reason, "exit status 78: the configuration is wrong; it did not start: no");
        assert_eq!(kept("no"), Some(first.clone()), "it is not delivered yet");
        Crashes::of(data).delivered(&first.id);
        assert_eq!((kept("no"), kept("other").is_some()), (None, true));
        // A file is in the way.
        std::fs::remove_dir_all(data.join("crashes")).unwrap();
        std::fs::write(data.join("crashes"), "").unwrap();
        let ids = |report: Option<Report>| report.unwrap().id;
        let again = ids(kept("no"));
        assert!(again == ids(kept("no")) && again != ids(kept("other")) && again.node() == who.node);
        let _held = data_dir::lock(data).unwrap();
        assert_eq!(told("no"), None, "another one runs there");
    }
}
