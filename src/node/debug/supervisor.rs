//! The supervisor: starts the worker (the same binary), passes signals on, starts it again when it fails. One process
//! group; the worker dies with its supervisor (HOUSE decision 20). No network, no store, no threads. Any end that is no
//! stop in order becomes a crash report, which a courier takes to other nodes while the next worker starts (ADR 26). Where
//! each start fails, a rescue console is served in place of a worker (see [`rescue`]).

use std::ffi::OsString;
use std::io;
use std::path::Path;
use std::process::ExitStatus;
use std::time::Duration;

use rustix::process::Pid;
use rustix::process::Signal;
use tokio::process::Child;
use tokio::process::Command;
use tokio::signal::unix;
use tokio::signal::unix::SignalKind;

use crate::base::exit::Exit;
use crate::base::flight;
use crate::base::id::NodeId;
use crate::base::limits::COURIER_BUDGET;
use crate::base::limits::RESCUE_AFTER_ENDS;
use crate::base::limits::WATCH_TICK;
use crate::base::program;
use crate::base::time;
use crate::node::debug::autopsy;
use crate::node::debug::courier;
use crate::node::debug::refusal;
use crate::proto::crash::Report;
use crate::proto::rescue as rescue_rules;
use crate::proto::rescue::Lives;
use crate::proto::rescue::Next;

mod marker;
mod rescue;
mod watch;

use marker::Marker;
use watch::Left;
use watch::Watched;

/// Tells a process that it is the worker, and of which supervisor.
pub const WORKER_OF: &str = "RINGFORT_WORKER_OF";

/// Tells a supervisor to die with the process that started it (`ringfort dev`).
pub const DIE_WITH: &str = "RINGFORT_DIE_WITH";

/// Couriers that are on their way at once: each ends by itself after a while.
const COURIERS: usize = 8;

/// Runs workers until one ends in order or cannot be helped by a restart. Returns the status to end with.
///
/// # Errors
/// Where the operating system gives no process or no signals.
pub async fn run(arguments: &[OsString], data: &Path) -> io::Result<u8> {
    let mut supervisor = Supervisor {
        arguments,
        data,
        signals: Signals::new()?,
        marker: Marker::of(data),
        couriers: Vec::new(),
        lives: Lives::default(),
        left: None,
        refused: None,
    };
    loop {
        let over = match supervisor.one_life().await? {
            Life::Over(code) => Some(code),
            Life::Ended(Next::Again(pause)) => supervisor.rest(pause).await,
            Life::Ended(Next::Rescue) => supervisor.rescue().await,
        };
        if let Some(code) = over {
            if let Some(report) = supervisor.refused.take() {
                refusal::tell_report(data, report).await;
            }
            supervisor.see_couriers_off().await;
            return Ok(code);
        }
    }
}

/// How a worker's life ended.
enum Life {
    /// With this status all is over.
    Over(u8),
    /// Another one may do better.
    Ended(Next),
}

struct Supervisor<'a> {
    arguments: &'a [OsString],
    data: &'a Path,
    signals: Signals,
    marker: Marker,
    couriers: Vec<Child>,
    lives: Lives,
    /// What the last end left behind.
    left: Option<Left>,
    /// Why the last worker ended before it had the directory, where none comes after it.
    refused: Option<Report>,
}

impl Supervisor<'_> {
    /// A worker from its start to its end.
    async fn one_life(&mut self) -> io::Result<Life> {
        let mut watched = Watched::new(self.data);
        let mut worker = watched.start(|deck| start(self.arguments, deck))?;
        let (status, asked_to_stop) = self.until_end(&mut worker, &mut watched).await?;
        let code = final_code(status, asked_to_stop);
        let in_order = code.is_some_and(|code| code == Exit::Ok.code()) || asked_to_stop && is_told_to_stop(status);
        let life = match code {
            Some(code) => Life::Over(code),
            None => Life::Ended(self.next(&watched)),
        };
        if in_order {
            self.marker.remove();
        } else {
            tracing::error!(%status, "the worker ended");
            self.note_end(&mut watched, status, asked_to_stop, &life);
        }
        Ok(life)
    }

    fn next(&mut self, watched: &Watched) -> Next {
        match self.lives.ended(watched.lived(), time::wall_ms()) {
            // Another one has the directory, and its addresses.
            Next::Rescue if !watched.holds() && self.is_in_use() => Next::Again(rescue_rules::pause(self.lives.ends())),
            next @ (Next::Again(_) | Next::Rescue) => next,
        }
    }

    /// Keeps the report about an end, and has it taken to other nodes.
    fn note_end(&mut self, watched: &mut Watched, status: ExitStatus, asked_to_stop: bool, life: &Life) {
        // Of an end that follows from one before others know the reason, and whoever may have another one's identity does not
        // speak in its name.
        let is_first = self.left.is_none() && !watched.holds();
        let is_refused = is_first && matches!(life, Life::Over(code) if *code != Exit::BadData.code());
        let may_write = watched.holds() || matches!(life, Life::Ended(_)) && watched.may_write();
        let Some(mut report) = watched.report(status, asked_to_stop) else { return };
        report.rescue = matches!(life, Life::Ended(Next::Rescue));
        if is_refused {
            self.refused = Some(report.clone());
        }
        // What was tried from the rescue console and failed as before would push out the reports of how it began.
        let known = self.left.take().filter(|left| self.lives.ends() > RESCUE_AFTER_ENDS && left.is_of(&report));
        let mut left = match known {
            Some(left) => left.once_more(&report),
            // Nobody could tell whose it is.
            None => {
                let is_named = report.node != NodeId(0);
                watched.keep(report, may_write && is_named)
            }
        };
        if may_write {
            // Whoever finds it would report the same end once more.
            self.marker.remove();
            left.new.take().iter().for_each(|report| self.send_courier(report));
        }
        self.left = Some(left);
    }

    /// The pause between two workers; the status to end with, where a stop is asked for.
    async fn rest(&mut self, pause: Duration) -> Option<u8> {
        let ends_in_a_row = self.lives.ends();
        tracing::error!(pause_ms = time::millis(pause), ends_in_a_row, "the worker is started again after a pause");
        tokio::select! {
            () = tokio::time::sleep(pause) => None,
            _stop = self.signals.stop() => Some(Exit::Ok.code()),
        }
    }

    /// Waits for the worker's end; whether a stop was asked for before.
    async fn until_end(&mut self, worker: &mut Child, watched: &mut Watched) -> io::Result<(ExitStatus, bool)> {
        let mut asked_to_stop = false;
        let mut tick = tokio::time::interval(WATCH_TICK);
        tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            let signal = tokio::select! {
                biased;
                status = worker.wait() => return Ok((status?, asked_to_stop)),
                // From a terminal both processes hear it; the worker takes a second one calmly.
                signal = self.signals.next() => signal,
                _at = tick.tick() => {
                    self.couriers.retain_mut(|courier| matches!(courier.try_wait(), Ok(None)));
                    let pid = worker.id().unwrap_or(0);
                    let found = self.marker.note_holding(watched.holds(), pid, self.data);
                    found.iter().for_each(|report| self.send_courier(report));
                    match watched.look(pid) {
                        Some(signal) => {
                            watched.hang().iter().for_each(|report| self.send_courier(report));
                            signal
                        }
                        None => continue,
                    }
                }
            };
            asked_to_stop |= signal == Signal::TERM;
            let pid = worker.id().and_then(|id| i32::try_from(id).ok()).and_then(Pid::from_raw);
            if let Some(pid) = pid {
                // It may have ended in this instant; then `wait` says so next.
                let _ended = rustix::process::kill_process(pid, signal);
            }
        }
    }

    /// Has a report taken to other nodes. Where no process is to be had the next worker does it, if it is on the disk.
    fn send_courier(&mut self, report: &Report) {
        if self.couriers.len() >= COURIERS {
            return;
        }
        let parcel = flight::parcel(&report.encode());
        // Under a limit of file sizes shared memory is a file, too.
        let parcel = parcel.or_else(|_limited| flight::piped(&autopsy::brief(report.clone()).encode()));
        let started = program::own().and_then(|binary| {
            Command::new(binary)
                .args(self.arguments)
                .env(courier::COURIER, report.id.as_str())
                .env(WORKER_OF, std::process::id().to_string())
                .stdin(parcel?)
                .kill_on_drop(true)
                .spawn()
        });
        match started {
            Ok(courier) => self.couriers.push(courier),
            Err(error) => tracing::warn!(%error, "no courier could be started; the next worker delivers the report"),
        }
    }

    /// No worker comes after this one: those that are on their way get their time.
    async fn see_couriers_off(&mut self) {
        let all = async {
            for courier in &mut self.couriers {
                let _ended = courier.wait().await;
            }
        };
        let _late = tokio::time::timeout(COURIER_BUDGET, all).await;
    }
}

fn start(arguments: &[OsString], deck: Option<String>) -> io::Result<Child> {
    let mut command = Command::new(program::own()?);
    command.args(arguments).env(WORKER_OF, std::process::id().to_string()).kill_on_drop(true);
    if let Some(deck) = deck {
        command.env(flight::DECK, deck);
    }
    command.spawn()
}

/// Whether it ended by what asks it to stop, before it could hear it.
fn is_told_to_stop(status: ExitStatus) -> bool {
    use std::os::unix::process::ExitStatusExt;
    let asks = [Signal::TERM, Signal::INT].map(Signal::as_raw);
    status.signal().is_some_and(|signal| asks.contains(&signal))
}

/// The status to end with, or `None` where a new worker may do better.
fn final_code(status: ExitStatus, asked_to_stop: bool) -> Option<u8> {
    let code = status.code().and_then(Exit::from_code);
    match code {
        // Wrong options, wrong rights, damaged data: the next start would find the same.
        Some(
            exit @ (Exit::Ok
            | Exit::Usage
            | Exit::Config
            | Exit::BadData
            | Exit::Denied
            | Exit::NoInput
            | Exit::Unavailable),
        ) => Some(exit.code()),
        Some(Exit::CheckFailed | Exit::CheckWarned | Exit::Internal | Exit::Io | Exit::TryAgain) | None => {
            asked_to_stop.then(|| code.unwrap_or(Exit::Internal).code())
        }
    }
}

struct Signals {
    terminate: unix::Signal,
    interrupt: unix::Signal,
    hangup: unix::Signal,
}

impl Signals {
    fn new() -> io::Result<Self> {
        Ok(Self {
            terminate: unix::signal(SignalKind::terminate())?,
            interrupt: unix::signal(SignalKind::interrupt())?,
            hangup: unix::signal(SignalKind::hangup())?,
        })
    }

    async fn stop(&mut self) {
        tokio::select! {
            _ = self.terminate.recv() => {}
            _ = self.interrupt.recv() => {}
        }
    }

    async fn next(&mut self) -> Signal {
        tokio::select! {
            _ = self.terminate.recv() => Signal::TERM,
            _ = self.interrupt.recv() => Signal::TERM,
            _ = self.hangup.recv() => Signal::HUP,
        }
    }
}

/// Called first thing in a child: it dies with the process that started it. Returns false where that is gone already.
///
/// # Errors
/// Where the kernel refuses.
pub fn die_with(starter: u32) -> io::Result<bool> {
    rustix::process::set_parent_process_death_signal(Some(Signal::KILL))?;
    let parent = rustix::process::getppid().map(Pid::as_raw_nonzero).map(std::num::NonZeroI32::get);
    Ok(parent == i32::try_from(starter).ok())
}
