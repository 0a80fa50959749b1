//! Crash reports at a node that runs: panics of its own are reported, reports that no peer has yet are delivered, those of
//! others are kept, and any node answers for all.

use std::collections::BTreeMap;
use std::sync::Mutex;
use std::time::Duration;
use std::time::Instant;

use tokio::sync::mpsc;

use crate::base::codec::Blob;
use crate::base::flight;
use crate::base::flight::PanicSaid;
use crate::base::id::NodeId;
use crate::base::limits::CRASH_BYTES_MAX;
use crate::base::limits::CRASH_COPIES;
use crate::base::limits::CRASH_DELIVERY_EVERY;
use crate::base::limits::CRASH_SEARCH_BUDGET;
use crate::base::limits::PANIC_KINDS;
use crate::base::limits::PANICS_A_MINUTE;
use crate::base::limits::PEER_LIST_EVERY;
use crate::base::time;
use crate::node::Node;
use crate::node::debug::autopsy;
use crate::node::debug::courier::PeerList;
use crate::node::debug::machine;
use crate::node::error::DoorError;
use crate::node::worker;
use crate::proto::crash;
use crate::proto::crash::CrashId;
use crate::proto::crash::Disk;
use crate::proto::crash::Kind;
use crate::proto::crash::Report;
use crate::proto::crash::filter::Filter;
use crate::proto::crash::filter::Search;
use crate::proto::diagnosis::Found;
use crate::proto::diagnosis::Wish;
use crate::proto::event;
use crate::proto::event::Event;
use crate::proto::message::Answer;
use crate::proto::message::Ask;
use crate::proto::message::Question;
use crate::proto::message::Tell;
use crate::proto::message::Why;
use crate::store::crashes::Crashes;
use crate::store::crashes::Listing;

pub mod view;

/// A minute.
const WINDOW: Duration = Duration::from_secs(60);

/// How often each cause was reported lately.
#[derive(Debug, Default)]
struct Repeats(BTreeMap<String, Often>);

#[derive(Debug)]
struct Often {
    since: Instant,
    reported: usize,
    /// Of those that were not.
    more: u64,
}

impl Repeats {
    /// Whether one more of this cause is reported, and how many were not before it.
    fn admit(&mut self, cause: &str, now: Instant) -> Option<u64> {
        if self.0.len() >= PANIC_KINDS && !self.0.contains_key(cause) {
            self.0.retain(|_, often| now.saturating_duration_since(often.since) < WINDOW);
            if self.0.len() >= PANIC_KINDS {
                return None;
            }
        }
        let often = self.0.entry(cause.to_owned()).or_insert(Often { since: now, reported: 0, more: 0 });
        if now.saturating_duration_since(often.since) >= WINDOW {
            (often.since, often.reported) = (now, 0);
        }
        if often.reported >= PANICS_A_MINUTE {
            often.more += 1;
            return None;
        }
        often.reported += 1;
        Some(std::mem::take(&mut often.more))
    }
}

impl Node {
    fn crash_files(&self) -> Crashes {
        Crashes::of(&self.0.data_dir)
    }

    /// Reports panics, delivers what is not delivered yet, and keeps the list of whom a courier calls, until the node stops.
    pub async fn keep_crashes(self, mut panics: mpsc::Receiver<PanicSaid>) {
        let mut moved = self.moved();
        let mut lists = tokio::time::interval(PEER_LIST_EVERY);
        let mut delivery = tokio::time::interval(CRASH_DELIVERY_EVERY);
        for tick in [&mut lists, &mut delivery] {
            tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        }
        let (mut repeats, mut written) = (Repeats::default(), None);
        loop {
            tokio::select! {
                () = self.drained() => return,
                Some(said) = panics.recv() => {
                    self.report_panic(&said, &mut repeats).await;
                    flight::note_told(said.number);
                }
                Ok(()) = moved.changed() => self.note_peers(&mut written).await,
                _at = lists.tick() => self.note_peers(&mut written).await,
                _at = delivery.tick() => self.deliver_all().await,
            }
        }
    }

    async fn note_peers(&self, written: &mut Option<PeerList>) {
        let list = self.peer_list();
        if written.as_ref() == Some(&list) {
            return;
        }
        let (data, wanted) = (self.0.data_dir.clone(), list.clone());
        let done = worker::block("noting peers", move || {
            wanted.write(&data).map_err(|source| DoorError::Io { doing: "noting peers", source })
        });
        match done.await {
            Ok(()) => *written = Some(list),
            Err(error) => tracing::warn!(%error, "whom to tell of a crash could not be written down"),
        }
    }

    async fn report_panic(&self, said: &PanicSaid, repeats: &mut Repeats) {
        let reason = format!("panic: {}", said.message);
        let cause = crash::fingerprint(Kind::Panic, &reason, &crash::frames(&said.backtrace));
        let Some(before) = repeats.admit(&cause, time::mono()) else { return };
        let story = flight::own_story().unwrap_or_default();
        let Some(mut report) = autopsy::report(self.who().node, Kind::Panic, reason, &story) else { return };
        autopsy::add_panic(&mut report, said);
        let me = std::process::id();
        report.name.clone_from(&self.who().name);
        report.fatal = false;
        report.repeats = before;
        report.uptime_ms = time::millis(self.0.started.elapsed());
        report.memory = machine::memory(me, machine::Group::own().as_ref());
        report.open_files = machine::open_files(me);
        report.disk = self.space().map(|space| Disk { free: space.free, total: space.total });
        let report = report.finish();
        let (id, crashes) = (report.id.clone(), self.crash_files());
        self.tell_crash(&report);
        let kept = worker::block("keeping a crash report", move || {
            let kept = crashes.keep(&report).and_then(|()| crashes.to_deliver(&report.id));
            kept.map_err(|source| DoorError::Io { doing: "keeping a crash report", source })
        });
        match kept.await {
            Ok(()) => self.deliver(&id).await,
            Err(error) => tracing::error!(%error, "a crash report could not be kept"),
        }
    }

    async fn deliver_all(&self) {
        let crashes = self.crash_files();
        let todo = worker::block("looking for crash reports", move || Ok(crashes.undelivered())).await;
        for id in todo.unwrap_or_default() {
            self.deliver(&id).await;
        }
    }

    /// Gives a report to two peers, or to all that there are.
    async fn deliver(&self, id: &CrashId) {
        let heirs = self.heirs();
        let wanted = CRASH_COPIES.min(heirs.len());
        let (crashes, read) = (self.crash_files(), id.clone());
        let report = worker::block("reading a crash report", move || {
            crashes.read(&read).map_err(|source| DoorError::Io { doing: "reading a crash report", source })
        });
        let mut kept = 0;
        match report.await {
            // One of nobody, as earlier releases made where the identity was gone: no other node takes it.
            Ok(Some(report)) if report.node != self.who().node => kept = wanted,
            Ok(Some(report)) => {
                let wish = Wish::KeepCrash(Blob(report.encode().into()));
                for heir in heirs {
                    if kept >= wanted {
                        break;
                    }
                    kept += usize::from(self.ask_one(heir, &wish).await == Ok(Found::Kept));
                }
            }
            // Gone or damaged: nobody can be given it any more.
            Ok(None) => kept = wanted,
            Err(error) => {
                tracing::warn!(%error, id = id.as_str(), "a crash report cannot be read and is not sent on");
                kept = wanted;
            }
        }
        if kept >= wanted {
            self.crash_files().delivered(id);
        }
    }

    /// Logs it and tells it as an event, unless that was told better.
    fn tell_crash(&self, report: &Report) {
        let Report { node, name, kind, reason, .. } = report;
        tracing::warn!(%node, id = report.id.as_str(), kind = kind.name(), reason, "a crash report is kept");
        let (kind, how) = if report.fatal {
            let Some(how) = self.note_end(report) else { return };
            (event::Kind::Crash, how)
        } else {
            (event::Kind::Failure, format!("had a failure and goes on: {reason}"))
        };
        self.happened(vec![Event::of_node(kind, *node, format!("node {node} ({name}) {how}"))]);
    }

    /// Keeps a report of another node, which must be its own.
    pub(super) async fn keep_crash(&self, from: NodeId, bytes: &[u8]) -> Found {
        if bytes.len() > CRASH_BYTES_MAX {
            return Found::Nothing;
        }
        let report = match Report::parse(bytes) {
            Ok(report) if report.node == from => report,
            Ok(report) => {
                tracing::warn!(%from, of = %report.node, "a node sent a crash report of another one; it is not kept");
                return Found::Nothing;
            }
            Err(error) => {
                tracing::warn!(%from, %error, "a node sent a crash report that is none; it is not kept");
                return Found::Nothing;
            }
        };
        // One at a time: each makes room for itself.
        static TURN: Mutex<()> = Mutex::new(());
        let crashes = self.crash_files();
        let kept = worker::block("keeping a crash report", move || {
            let _turn = TURN.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
            let io = |source| DoorError::Io { doing: "keeping a crash report", source };
            let is_new = crashes.read(&report.id).map_err(io)?.is_none();
            crashes.keep(&report).map_err(io)?;
            Ok(is_new.then_some(report))
        });
        match kept.await {
            Ok(new) => {
                new.iter().for_each(|report| self.tell_crash(report));
                Found::Kept
            }
            Err(error) => {
                tracing::warn!(%from, %error, "a crash report of another node could not be kept");
                Found::Nothing
            }
        }
    }

    /// Answers a courier, who may ask for one thing only.
    pub(in crate::node) async fn answer_courier(&self, from: NodeId, bytes: &[u8]) -> Vec<u8> {
        let tell = match Question::decode(bytes) {
            Ok(Question { ask: Ask::Diagnosis(wish), .. }) => {
                if let Wish::KeepCrash(report) = *wish {
                    Tell::Diagnosis(Box::new(self.keep_crash(from, &report.0).await))
                } else {
                    Tell::Refused(Why::NotOwner)
                }
            }
            Ok(_) | Err(_) => Tell::Refused(Why::NotOwner),
        };
        let steady_ms = time::steady_ms().0;
        Answer { view: self.view().index, steady_ms, standing: None, floor: 0, purged: None, stamp: self.stamp(), tell }
            .encode()
    }

    /// The reports that this node keeps, in short.
    pub(super) async fn find_crashes(&self) -> Found {
        let reports = self.crashes_here().await.map(|listing| listing.reports).unwrap_or_default();
        Found::Crashes(reports.iter().map(|short| Blob(short.encode().into())).collect())
    }

    /// The reports that this node keeps and that say something, in short.
    pub(super) async fn search_crashes(&self, search: &Search) -> Found {
        let filter = match Filter::new(search) {
            Ok(filter) => filter,
            Err(error) => return Found::Refused(error.to_string()),
        };
        // Each reads a disk and uses a core for a moment, as looking through a book does.
        let Ok(turn) = self.enter_log_search() else { return Found::Refused("too many look at once".to_owned()) };
        let crashes = self.crash_files();
        let found = worker::block("looking through crash reports", move || {
            let _turn = turn;
            let found = crashes.find(&|report| filter.fits(report), Some(time::mono() + CRASH_SEARCH_BUDGET));
            found.map_err(|source| DoorError::Io { doing: "looking through crash reports", source })
        });
        found.await.map_or(Found::Nothing, |found| Found::CrashesFound {
            reports: found.reports.iter().map(|short| Blob(short.encode().into())).collect(),
            cut: found.cut,
        })
    }

    /// A whole report, where this node keeps it.
    pub(super) async fn find_crash(&self, id: &str) -> Found {
        let Some(id) = CrashId::parse(id) else { return Found::Crash(None) };
        let crashes = self.crash_files();
        let read = worker::block("reading a crash report", move || {
            crashes.read(&id).map_err(|source| DoorError::Io { doing: "reading a crash report", source })
        });
        Found::Crash(read.await.ok().flatten().map(|report| Blob(report.encode().into())))
    }

    pub(in crate::node) async fn crashes_here(&self) -> Result<Listing, DoorError> {
        let crashes = self.crash_files();
        worker::block("listing crash reports", move || {
            crashes.list().map_err(|source| DoorError::Io { doing: "listing crash reports", source })
        })
        .await
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::Repeats;
    use super::WINDOW;
    use crate::base::limits::PANIC_KINDS;
    use crate::base::limits::PANICS_A_MINUTE;
    use crate::base::time;

    #[test]
    fn the_same_again_is_counted_and_told_with_the_next_report() {
        let (mut repeats, now) = (Repeats::default(), time::mono());
        for _ in 0..PANICS_A_MINUTE {
            assert_eq!(repeats.admit("a", now), Some(0));
        }
        assert_eq!([repeats.admit("a", now), repeats.admit("a", now), repeats.admit("b", now)], [None, None, Some(0)]);
        assert_eq!(repeats.admit("a", now + WINDOW), Some(2));
    }

    #[test]
    fn causes_without_end_take_no_memory_without_end() {
        let (mut repeats, now) = (Repeats::default(), time::mono());
        let reported = (0..10_000).filter(|cause| repeats.admit(&cause.to_string(), now).is_some()).count();
        assert_eq!((reported, repeats.0.len()), (PANIC_KINDS, PANIC_KINDS));
        assert_eq!(repeats.admit("new", now + WINDOW + Duration::from_millis(1)), Some(0));
    }
}
