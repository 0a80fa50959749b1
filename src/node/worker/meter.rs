//! How long a task keeps its thread busy: measured around each of its turns, two looks at the clock for each.

use std::future::Future;
use std::pin::Pin;
use std::task::Context;
use std::task::Poll;

use crate::node::worker::tree::Counted;

/// A task that is measured.
pub(super) struct Metered<F> {
    counted: Counted,
    /// On the heap: so that it can be moved on without `unsafe`.
    task: Pin<Box<F>>,
}

impl<F: Future> Metered<F> {
    pub(super) fn new(counted: Counted, task: F) -> Self {
        Self { counted, task: Box::pin(task) }
    }
}

impl<F: Future> Future for Metered<F> {
    type Output = F::Output;

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<F::Output> {
        let Self { counted, task } = self.get_mut();
        let turn = counted.turn();
        let polled = task.as_mut().poll(context);
        turn.over();
        polled
    }
}
