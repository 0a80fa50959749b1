//! Named, counted, measured tasks: the only place of this floor and above that spawns. A panic in one is logged with its name and harms no other.
//! What has to run as long as the node does is kept ([`keep`]): it is begun again after a panic, and where that does not
//! help, or cannot be done ([`vital`]), the process ends with a word, and its supervisor begins all of it anew.
//!
//! `base::tasks` has what is known of all of them.

use std::future::Future;
use std::io;
use std::panic::resume_unwind;
use std::sync::Arc;

use tokio::sync::mpsc;
use tokio::task::JoinHandle;

use crate::base::exit;
use crate::base::exit::Exit;
use crate::base::tasks;
use crate::base::tasks::Caught;
use crate::base::tasks::Kind;
use crate::base::tasks::Metered;
use crate::base::time;
use crate::node::error::DoorError;
use crate::proto::restarts::Restarts;
use crate::proto::restarts::Verdict;

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

/// Tasks running now.
#[must_use]
pub fn running() -> usize {
    tasks::running()
}

/// Runs a task that ends by itself. A panic in it is reported by the panic hook of `app`, and counted.
pub fn spawn<T: Send + 'static>(name: &'static str, task: impl Future<Output = T> + Send + 'static) -> JoinHandle<T> {
    start(name, tasks::once(name, task))
}

fn start<T: Send + 'static>(
    name: &'static str,
    task: Metered<impl Future<Output = T> + Send + 'static>,
) -> JoinHandle<T> {
    tracing::trace!(task = name, "task started");
    #[expect(clippy::disallowed_methods, reason = "the one place of this floor and above that spawns")]
    tokio::spawn(NAME.scope(name, task))
}

/// Runs a task that feeds somebody with pieces: where it panics, they hear of it before their pieces end. An end without a
/// word would be taken for a whole.
pub fn feed<P: Send + 'static>(
    name: &'static str,
    to: mpsc::Sender<io::Result<P>>,
    task: impl Future<Output = ()> + Send + 'static,
) -> JoinHandle<()> {
    spawn(name, async move {
        if let Err(panic) = Caught::new(task).await {
            // Who takes no more pieces needs no reason.
            let _gone = to.send(Err(io::Error::other("this node failed in the middle of it"))).await;
            resume_unwind(panic);
        }
    })
}

/// Runs a task for as long as the node does: it is begun again after a panic. One that fails too often ends the process.
/// It is over when what was begun ends without one.
pub fn keep<F>(name: &'static str, begin: impl Fn() -> F + Send + 'static) -> JoinHandle<()>
where
    F: Future<Output = ()> + Send + 'static,
{
    let kindred = tasks::kindred(name, Kind::Kept);
    let noted = Arc::clone(&kindred);
    let kept = async move {
        let mut restarts = Restarts::default();
        while let Err(panic) = Caught::new(begin()).await {
            let why = tasks::said(panic.as_ref());
            noted.failed(&why);
            match restarts.failed(time::steady_ms().1) {
                Verdict::Again(pause) => {
                    tracing::error!(task = name, why, "a task failed and is begun again");
                    tokio::time::sleep(pause).await;
                    noted.begun_again();
                }
                Verdict::GiveUp => end(name, &why, "failed too often"),
            }
        }
    };
    start(name, Metered::new(tasks::enter(kindred), kept))
}

/// Runs a task without which the node is none and that cannot be begun again: a panic in it ends the process.
pub fn vital<T: Send + 'static>(name: &'static str, task: impl Future<Output = T> + Send + 'static) -> JoinHandle<T> {
    let gone = |name, why: &str| end(name, why, "failed, and the node cannot be without it");
    start(name, tasks::vital(name, task, gone))
}

/// The supervisor begins anew what a part of it cannot mend.
fn end(name: &'static str, why: &str, what: &'static str) -> ! {
    tracing::error!(task = name, why, "task {name} {what}; the process ends and starts anew");
    exit::die(Exit::Internal)
}

/// Runs something that blocks on a thread of its own.
///
/// # Errors
/// [`DoorError::Io`] where it panicked or the runtime is ending.
pub async fn block<T: Send + 'static>(
    name: &'static str,
    work: impl FnOnce() -> Result<T, DoorError> + Send + 'static,
) -> Result<T, DoorError> {
    let counted = tasks::enter(tasks::kindred(name, Kind::Blocking));
    let done = tokio::task::spawn_blocking(move || {
        let turn = counted.turn();
        let done = NAME.sync_scope(name, work);
        turn.over();
        done
    });
    done.await.unwrap_or_else(|error| Err(DoorError::Io { doing: name, source: std::io::Error::other(error) }))
}

#[cfg(test)]
mod tests;
