//! Waits until an instant, to some ten microseconds: tokio's timers round up to a millisecond, which would be most of
//! the latency measured.

use std::io;
use std::os::fd::OwnedFd;
use std::time::Duration;
use std::time::Instant;

use rustix::io::Errno;
use rustix::time::Itimerspec;
use rustix::time::TimerfdClockId;
use rustix::time::TimerfdFlags;
use rustix::time::TimerfdTimerFlags;
use rustix::time::Timespec;
use rustix::time::timerfd_create;
use rustix::time::timerfd_settime;
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

use crate::base::time;

/// A timer of the kernel.
pub struct Timer(AsyncFd<OwnedFd>);

impl Timer {
    /// Makes one.
    ///
    /// # Errors
    /// Where this process may have no more files.
    pub fn new() -> io::Result<Self> {
        let timer = timerfd_create(TimerfdClockId::Monotonic, TimerfdFlags::NONBLOCK | TimerfdFlags::CLOEXEC)?;
        #[expect(
            deprecated,
            reason = "warns of types that do not own their file; this one does, and what follows is unsafe"
        )]
        AsyncFd::with_interest(timer, Interest::READABLE).map(Self)
    }

    /// Returns at `due`, at once where that is over.
    ///
    /// # Errors
    /// Of the kernel; none is known.
    pub async fn until(&self, due: Instant) -> io::Result<()> {
        let left = due.saturating_duration_since(time::mono());
        // Zero would disarm it.
        if left.is_zero() {
            return Ok(());
        }
        let once = Itimerspec { it_interval: timespec(Duration::ZERO), it_value: timespec(left) };
        timerfd_settime(&self.0, TimerfdTimerFlags::empty(), &once)?;
        let expired = |timer: &OwnedFd| {
            let mut count = [0; 8];
            match rustix::io::read(timer, &mut count) {
                Ok(_bytes) => Ok(()),
                Err(Errno::AGAIN) => Err(io::ErrorKind::WouldBlock.into()),
                Err(error) => Err(error.into()),
            }
        };
        self.0.async_io(Interest::READABLE, expired).await
    }
}

fn timespec(duration: Duration) -> Timespec {
    Timespec { tv_sec: i64::try_from(duration.as_secs()).unwrap_or(i64::MAX), tv_nsec: duration.subsec_nanos().into() }
}
