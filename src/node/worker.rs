//! Named, counted tasks: the only place that spawns. A panic in one is logged with its name and harms no other.

use std::future::Future;
use std::sync::atomic::AtomicUsize;
use std::sync::atomic::Ordering;

use tokio::task::JoinHandle;

use crate::node::error::DoorError;

tokio::task_local! {
    static NAME: &'static str;
}

/// The name of the task that runs here, where it is one of ours.
#[must_use]
pub fn name() -> Option<&'static str> {
    NAME.try_with(|name| *name).ok()
}

/// Runs something under a name of its own.
pub async fn named<T>(name: &'static str, task: impl Future<Output = T>) -> T {
    NAME.scope(name, task).await
}

static RUNNING: AtomicUsize = AtomicUsize::new(0);

struct Counted;

impl Counted {
    fn new() -> Self {
        RUNNING.fetch_add(1, Ordering::Relaxed);
        Self
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        RUNNING.fetch_sub(1, Ordering::Relaxed);
    }
}

/// Tasks running now.
#[must_use]
pub fn running() -> usize {
    RUNNING.load(Ordering::Relaxed)
}

/// Runs a task under a name. A panic in it is reported by the panic hook of `app`.
pub fn spawn<T: Send + 'static>(name: &'static str, task: impl Future<Output = T> + Send + 'static) -> JoinHandle<T> {
    let counted = Counted::new();
    #[expect(clippy::disallowed_methods, reason = "the one place that spawns")]
    tokio::spawn(NAME.scope(name, async move {
        let _counted = counted;
        tracing::trace!(task = name, "task started");
        task.await
    }))
}

/// Runs something that blocks on a thread of its own.
///
/// # Errors
/// [`DoorError::Io`] where it panicked or the runtime is ending.
pub async fn block<T: Send + 'static>(
    name: &'static str,
    work: impl FnOnce() -> Result<T, DoorError> + Send + 'static,
) -> Result<T, DoorError> {
    let counted = Counted::new();
    let done = tokio::task::spawn_blocking(move || {
        let _counted = counted;
        NAME.sync_scope(name, work)
    });
    done.await.unwrap_or_else(|error| Err(DoorError::Io { doing: name, source: std::io::Error::other(error) }))
}
