//! Tasks of this floor: the only place in it that spawns. They are told to stop together and waited for together.

use std::sync::Arc;

use tokio::sync::watch;
use tokio::task::JoinHandle;

/// Tasks that end together.
#[derive(Clone)]
pub(super) struct Tasks {
    stop: Arc<watch::Sender<bool>>,
    running: Arc<watch::Sender<usize>>,
}

struct Counted(Arc<watch::Sender<usize>>);

impl Drop for Counted {
    fn drop(&mut self) {
        self.0.send_modify(|running| *running -= 1);
    }
}

impl Tasks {
    pub(super) fn new() -> Self {
        Self { stop: Arc::new(watch::Sender::new(false)), running: Arc::new(watch::Sender::new(0)) }
    }

    /// Runs a task that is waited for at the end. It ends by itself once [`Tasks::stopped`] does.
    pub(super) fn spawn(&self, task: impl Future<Output = ()> + Send + 'static) -> JoinHandle<()> {
        self.running.send_modify(|running| *running += 1);
        let counted = Counted(Arc::clone(&self.running));
        spawn(async move {
            let _counted = counted;
            task.await;
        })
    }

    /// Returns once all are told to stop.
    pub(super) async fn stopped(&self) {
        let mut stop = self.stop.subscribe();
        // It is never dropped: this holds it.
        let _stopped = stop.wait_for(|stop| *stop).await;
    }

    pub(super) fn is_stopped(&self) -> bool {
        *self.stop.borrow()
    }

    /// Tells all to stop and waits until they did.
    pub(super) async fn close(&self) {
        self.stop.send_replace(true);
        let mut running = self.running.subscribe();
        let _ended = running.wait_for(|running| *running == 0).await;
    }
}

/// Runs a task that nobody waits for: an answer in the making.
#[expect(clippy::disallowed_methods, reason = "the one place of this floor that spawns")]
pub(super) fn spawn(task: impl Future<Output = ()> + Send + 'static) -> JoinHandle<()> {
    tokio::spawn(task)
}
