//! The rescue console as its supervisor sees it: a child in place of a worker that failed at every start. It ends when a worker
//! is to be tried again: after a while, when an operator says so, or at SIGHUP. One that fails itself is begun again after
//! the same pauses as a worker; whatever it does, the next try comes.

use std::process::ExitStatus;
use std::time::Duration;
use std::time::Instant;

use rustix::process::Pid;
use rustix::process::Signal;
use tokio::process::Child;
use tokio::process::Command;

use crate::base::exit::Exit;
use crate::base::limits::RESCUE_RETRY;
use crate::base::limits::RESCUE_STOP;
use crate::base::limits::WATCH_TICK;
use crate::base::program;
use crate::base::time;
use crate::node::debug::supervisor::Supervisor;
use crate::node::debug::supervisor::WORKER_OF;
use crate::node::rescue::AGAIN;
use crate::node::rescue::RESCUE;
use crate::proto::rescue;
use crate::proto::rescue::Told;
use crate::store::data_dir;
use crate::store::data_dir::DataDirError;

/// How a rescue console ended.
enum End {
    /// A stop was asked for.
    Stopped,
    /// A worker is to be tried.
    Try,
    /// It failed itself.
    Failed(ExitStatus),
}

impl Supervisor<'_> {
    /// Serves the rescue console until a worker is to be tried again. The status to end with, where a stop is asked for.
    pub(super) async fn rescue(&mut self) -> Option<u8> {
        let ends_in_a_row = self.lives.ends();
        tracing::error!(ends_in_a_row, "the worker fails at every start: its rescue console is served in its place");
        let until = time::mono() + RESCUE_RETRY;
        let mut failed = 0;
        loop {
            let end = match self.start_rescue(until) {
                Ok(mut child) => self.until_rescue_ends(&mut child, until).await,
                Err(error) => Err(error),
            };
            match end {
                Ok(End::Stopped) => return Some(Exit::Ok.code()),
                Ok(End::Try) => return None,
                Ok(End::Failed(status)) => tracing::error!(%status, "the rescue console ended; it is begun again"),
                Err(error) => tracing::error!(%error, "the rescue console could not be started; it is tried again"),
            }
            let pause = rescue::pause(failed);
            failed += 1;
            if let Some(code) = self.rest_in_rescue(pause).await {
                return Some(code);
            }
            if time::mono() >= until && !self.is_in_use() {
                return None;
            }
        }
    }

    async fn rest_in_rescue(&mut self, pause: Duration) -> Option<u8> {
        tokio::select! {
            () = tokio::time::sleep(pause) => None,
            _stop = self.signals.stop() => Some(Exit::Ok.code()),
        }
    }

    fn start_rescue(&self, until: Instant) -> std::io::Result<Child> {
        let left_ms = time::millis(until.saturating_duration_since(time::mono()));
        let told = Told {
            ends: self.lives.ends(),
            since_ms: self.lives.since_ms(),
            next_ms: time::wall_ms().saturating_add(left_ms),
            last: self.left.as_ref().map(|left| left.end.clone()),
        };
        Command::new(program::own()?)
            .args(self.arguments)
            .env(RESCUE, told.encode())
            .env(WORKER_OF, std::process::id().to_string())
            .kill_on_drop(true)
            .spawn()
    }

    async fn until_rescue_ends(&mut self, child: &mut Child, until: Instant) -> std::io::Result<End> {
        let mut tick = tokio::time::interval(WATCH_TICK);
        tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                biased;
                status = child.wait() => {
                    let status = status?;
                    let wants_a_try = status.code() == Some(i32::from(AGAIN.code()));
                    return Ok(if wants_a_try { End::Try } else { End::Failed(status) });
                }
                signal = self.signals.next() => {
                    stop(child).await;
                    // At SIGHUP the configuration may be another one: that is tried.
                    return Ok(if signal == Signal::HUP { End::Try } else { End::Stopped });
                }
                _at = tick.tick() => {
                    self.couriers.retain_mut(|courier| matches!(courier.try_wait(), Ok(None)));
                    // While somebody looks at the directory, or mends it, no worker could have it.
                    if time::mono() >= until && !self.is_in_use() {
                        tracing::info!("a worker is tried again");
                        stop(child).await;
                        return Ok(End::Try);
                    }
                }
            }
        }
    }

    pub(super) fn is_in_use(&self) -> bool {
        matches!(data_dir::lock(self.data), Err(DataDirError::InUse { .. }))
    }
}

/// Asks it to end, and ends it where it does not.
async fn stop(child: &mut Child) {
    let pid = child.id().and_then(|id| i32::try_from(id).ok()).and_then(Pid::from_raw);
    if let Some(pid) = pid {
        // It may have ended in this instant.
        let _ended = rustix::process::kill_process(pid, Signal::TERM);
    }
    if tokio::time::timeout(RESCUE_STOP, child.wait()).await.is_err() {
        let _ended = child.kill().await;
    }
}
