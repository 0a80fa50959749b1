//! Tasks of this floor, under names: the only place in it that spawns. They are told to stop together and waited for together.

use std::sync::Arc;

use tokio::sync::watch;
use tokio::task::JoinHandle;

use crate::base::exit;
use crate::base::exit::Exit;
use crate::base::tasks;

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
    pub(super) fn spawn(&self, name: &'static str, task: impl Future<Output = ()> + Send + 'static) -> JoinHandle<()> {
        run(self.counted(tasks::once(name, task)))
    }

    /// The same for one without which this node is cut off from another: a panic in it ends the process, which starts anew.
    pub(super) fn vital(&self, name: &'static str, task: impl Future<Output = ()> + Send + 'static) -> JoinHandle<()> {
        run(self.counted(tasks::vital(name, task, end)))
    }

    fn counted(&self, task: impl Future<Output = ()> + Send + 'static) -> impl Future<Output = ()> + Send + 'static {
        self.running.send_modify(|running| *running += 1);
        let counted = Counted(Arc::clone(&self.running));
        async move {
            let _counted = counted;
            task.await;
        }
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
pub(super) fn spawn(name: &'static str, task: impl Future<Output = ()> + Send + 'static) -> JoinHandle<()> {
    run(tasks::once(name, task))
}

fn end(name: &'static str, why: &str) {
    tracing::error!(
        task = name,
        why,
        "task {name} failed, and no other node is reached without it; the process ends and starts anew"
    );
    exit::die(Exit::Internal)
}

#[expect(clippy::disallowed_methods, reason = "the one place of this floor that spawns")]
fn run(task: impl Future<Output = ()> + Send + 'static) -> JoinHandle<()> {
    tokio::spawn(task)
}
