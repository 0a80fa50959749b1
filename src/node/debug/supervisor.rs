//! The supervisor: starts the worker (the same binary), passes signals on, starts it again when it fails. One process
//! group; the worker dies with its supervisor (HOUSE decision 20). No network, no store, no threads.

use std::ffi::OsString;
use std::io;
use std::path::PathBuf;
use std::process::ExitStatus;
use std::time::Duration;

use rustix::process::Pid;
use rustix::process::Signal;
use tokio::process::Child;
use tokio::process::Command;
use tokio::signal::unix;
use tokio::signal::unix::SignalKind;

use crate::base::exit::Exit;
use crate::base::time;

/// Tells a process that it is the worker, and of which supervisor.
pub const WORKER_OF: &str = "RINGFORT_WORKER_OF";

/// Tells a supervisor to die with the process that started it (`ringfort dev`).
pub const DIE_WITH: &str = "RINGFORT_DIE_WITH";

/// The first restart is quick; each further one in a row waits longer, up to five seconds.
const BACKOFF: [Duration; 5] = [
    Duration::from_millis(200),
    Duration::from_secs(1),
    Duration::from_secs(2),
    Duration::from_secs(4),
    Duration::from_secs(5),
];
/// A worker that lived this long was well: the next restart is quick again.
const WELL_AFTER: Duration = Duration::from_secs(30);

/// Runs workers until one ends in order or cannot be helped by a restart. Returns the status to end with.
///
/// # Errors
/// Where the operating system gives no process or no signals.
pub async fn run(arguments: &[OsString]) -> io::Result<u8> {
    let mut signals = Signals::new()?;
    let mut ends_in_a_row = 0_usize;
    loop {
        let started = time::mono();
        let mut worker = start(arguments)?;
        let (status, asked_to_stop) = signals.pass_on_until_end(&mut worker).await?;
        if let Some(code) = final_code(status, asked_to_stop) {
            return Ok(code);
        }
        if started.elapsed() >= WELL_AFTER {
            ends_in_a_row = 0;
        }
        let pause = BACKOFF.get(ends_in_a_row).or(BACKOFF.last()).copied().unwrap_or_default();
        ends_in_a_row += 1;
        tracing::error!(%status, pause_ms = time::millis(pause), "the worker ended; it is started again");
        tokio::select! {
            () = tokio::time::sleep(pause) => {}
            _stop = signals.stop() => return Ok(Exit::Ok.code()),
        }
    }
}

fn start(arguments: &[OsString]) -> io::Result<Child> {
    Command::new(own_binary()?)
        .args(arguments)
        .env(WORKER_OF, std::process::id().to_string())
        .kill_on_drop(true)
        .spawn()
}

/// This binary. Without `/proc`, as in an empty root, the path that it was started by.
///
/// # Errors
/// Where neither is known.
pub fn own_binary() -> io::Result<PathBuf> {
    std::env::current_exe().or_else(|error| std::env::args_os().next().map(PathBuf::from).ok_or(error))
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

    /// Waits for the worker's end; whether a stop was asked for before.
    async fn pass_on_until_end(&mut self, worker: &mut Child) -> io::Result<(ExitStatus, bool)> {
        let mut asked_to_stop = false;
        loop {
            let signal = tokio::select! {
                status = worker.wait() => return Ok((status?, asked_to_stop)),
                // From a terminal both processes hear it; the worker takes a second one calmly.
                _ = self.terminate.recv() => Signal::TERM,
                _ = self.interrupt.recv() => Signal::TERM,
                _ = self.hangup.recv() => Signal::HUP,
            };
            asked_to_stop |= signal == Signal::TERM;
            let pid = worker.id().and_then(|id| i32::try_from(id).ok()).and_then(Pid::from_raw);
            if let Some(pid) = pid {
                // It may have ended in this instant; then `wait` says so next.
                let _ended = rustix::process::kill_process(pid, signal);
            }
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
