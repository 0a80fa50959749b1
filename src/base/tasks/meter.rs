//! How long a task keeps its thread busy: measured around each of its turns, two looks at the clock for each.

use std::any::Any;
use std::future::Future;
use std::panic::AssertUnwindSafe;
use std::panic::catch_unwind;
use std::pin::Pin;
use std::task::Context;
use std::task::Poll;

use crate::base::tasks::Counted;

/// A task that is measured.
pub struct Metered<F> {
    counted: Counted,
    /// On the heap: so that it can be moved on without `unsafe`.
    task: Pin<Box<F>>,
}

impl<F: Future> Metered<F> {
    /// Of one that was counted in.
    pub fn new(counted: Counted, task: F) -> Self {
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

/// A task whose panic is its answer. Nothing of it is looked at again.
pub struct Caught<F>(Pin<Box<F>>);

impl<F: Future> Caught<F> {
    /// Of this one.
    pub fn new(task: F) -> Self {
        Self(Box::pin(task))
    }
}

impl<F: Future> Future for Caught<F> {
    type Output = Result<F::Output, Box<dyn Any + Send>>;

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let task = self.get_mut().0.as_mut();
        match catch_unwind(AssertUnwindSafe(|| task.poll(context))) {
            Ok(Poll::Pending) => Poll::Pending,
            Ok(Poll::Ready(done)) => Poll::Ready(Ok(done)),
            Err(panic) => Poll::Ready(Err(panic)),
        }
    }
}
