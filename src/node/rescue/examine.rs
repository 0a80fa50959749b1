//! Everything stored is read and checked, at an operator's wish: on a thread of its own, for a while at most, with its progress
//! to be looked at. What it does is [`crate::node::doctor::offline`]'s; nothing is changed.

use std::ops::ControlFlow;
use std::path::Path;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::MutexGuard;
use std::sync::PoisonError;
use std::sync::atomic::AtomicBool;
use std::sync::atomic::Ordering;
use std::time::Instant;

use serde::Serialize;

use crate::base::limits::RESCUE_EXAMINE_MAX;
use crate::base::time;
use crate::node::doctor::Check;
use crate::node::doctor::DamagedKey;
use crate::node::doctor::Examination;
use crate::node::doctor::offline;
use crate::node::doctor::offline::Seen;
use crate::node::worker;
use crate::store::data_dir;

/// What is known of an examination.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct ExaminingView {
    /// Whether it goes on.
    pub running: bool,
    /// What is read now, or was read last.
    pub part: &'static str,
    /// Groups and objects that were read.
    pub read: u64,
    /// How long it took so far.
    pub seconds: u64,
    /// What was found so far.
    pub checks: Vec<Check>,
    /// Keys that are damaged, by name.
    pub damaged: Vec<DamagedKey>,
}

/// The examination of a process; one at a time, and the last one is remembered.
#[derive(Default)]
pub(super) struct Examining(Option<Arc<Progress>>);

struct Progress {
    began: Instant,
    stop: AtomicBool,
    seen: Mutex<SeenSoFar>,
}

#[derive(Default)]
struct SeenSoFar {
    running: bool,
    part: &'static str,
    read: u64,
    seconds: u64,
    found: Examination,
}

impl Progress {
    fn seen(&self) -> MutexGuard<'_, SeenSoFar> {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn note(&self, seen: &Seen<'_>) -> ControlFlow<()> {
        let mut so_far = self.seen();
        match seen {
            Seen::Begins(part) => so_far.part = part,
            Seen::Read => so_far.read += 1,
            Seen::Done(check) => so_far.found.checks.push((*check).clone()),
        }
        so_far.seconds = self.began.elapsed().as_secs();
        let over = self.stop.load(Ordering::Relaxed) || self.began.elapsed() >= RESCUE_EXAMINE_MAX;
        if over { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
    }

    fn run(&self, data: &Path) {
        let found = match data_dir::lock(data) {
            // Held to the end, so that nobody changes it meanwhile.
            Ok(_held) => offline::examine_held(data, &mut |seen| self.note(&seen)),
            Err(error) => {
                Examination { checks: vec![Check::warn("directory", error.to_string())], damaged: Vec::new() }
            }
        };
        let mut so_far = self.seen();
        (so_far.found, so_far.running) = (found, false);
    }
}

impl Examining {
    /// Begins, where none goes on.
    pub(super) fn begin(&mut self, data: &Path) {
        if self.view().is_some_and(|view| view.running) {
            return;
        }
        let seen = Mutex::new(SeenSoFar { running: true, ..SeenSoFar::default() });
        let progress = Arc::new(Progress { began: time::mono(), stop: AtomicBool::new(false), seen });
        self.0 = Some(Arc::clone(&progress));
        let data: PathBuf = data.to_owned();
        worker::spawn("examining", async move {
            let reads = Arc::clone(&progress);
            let done = worker::block("examining the store", move || {
                reads.run(&data);
                Ok(())
            });
            if let Err(error) = done.await {
                let mut so_far = progress.seen();
                so_far.found.checks.push(Check::fail("examination", error.to_string()));
                so_far.running = false;
            }
        });
    }

    /// Has it end before long; whether one went on.
    pub(super) fn stop(&self) -> bool {
        let Some(progress) = &self.0 else { return false };
        progress.stop.store(true, Ordering::Relaxed);
        progress.seen().running
    }

    pub(super) fn view(&self) -> Option<ExaminingView> {
        let so_far = self.0.as_ref()?.seen();
        let Examination { checks, damaged } = so_far.found.clone();
        let (running, part, read, seconds) = (so_far.running, so_far.part, so_far.read, so_far.seconds);
        Some(ExaminingView { running, part, read, seconds, checks, damaged })
    }
}

#[cfg(test)]
mod tests {
    use std::ops::ControlFlow;
    use std::path::Path;
    use std::sync::Arc;

    use super::Examining;
    use crate::node::birth;
    use crate::node::birth::NodeOptions;
    use crate::node::doctor::Verdict;
    use crate::node::doctor::offline;
    use crate::node::doctor::offline::Seen;

    async fn stopped_node(data: &Path) {
        let options = NodeOptions {
            data: data.to_owned(),
            name: "n1".to_owned(),
            disk_reserve: 0,
            peer_listen: None,
            advertise: Vec::new(),
            zone: None,
            weight: None,
            plans_wait: None,
            join: None,
        };
        let opened = birth::open(options, || Box::new(|error| panic!("{error}"))).await.unwrap();
        let node = opened.node.clone();
        tokio::task::spawn_blocking(move || node.close()).await.unwrap();
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn an_examination_that_is_ended_early_says_so_and_one_that_is_not_names_every_part() {
        let dir = tempfile::tempdir().unwrap();
        let data = dir.path().join("data");
        stopped_node(&data).await;
        let all = offline::examine_held(&data, &mut |_seen| ControlFlow::Continue(()));
        let names = |examination: &crate::node::doctor::Examination| {
            examination.checks.iter().map(|check| check.name).collect::<Vec<_>>()
        };
        assert_eq!(names(&all), ["identity", "disk", "control", "journal", "marks", "objects"]);
        assert_eq!(all.verdict(), Verdict::Ok, "{all:?}");
        let ended = offline::examine_held(&data, &mut |seen| match seen {
            Seen::Begins("journal") => ControlFlow::Break(()),
            Seen::Begins(_) | Seen::Read | Seen::Done(_) => ControlFlow::Continue(()),
        });
        assert!(names(&ended).ends_with(&["unfinished"]) && !names(&ended).contains(&"objects"), "{ended:?}");
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn one_goes_on_at_a_time_and_the_last_one_is_remembered() {
        let dir = tempfile::tempdir().unwrap();
        let data = dir.path().join("data");
        stopped_node(&data).await;
        let mut examining = Examining::default();
        assert!(examining.view().is_none() && !examining.stop());
        examining.begin(&data);
        let first = examining.0.clone().unwrap();
        examining.begin(&data);
        assert!(Arc::ptr_eq(&first, examining.0.as_ref().unwrap()) || !first.seen().running);
        while examining.view().unwrap().running {
            tokio::task::yield_now().await;
        }
        assert!(!examining.view().unwrap().checks.is_empty() && !examining.stop());
    }
}
