//! Each test has tasks of a name of its own, as the list of them is one for the process.

use std::pin::pin;
use std::task::Context;
use std::task::Poll;
use std::task::Waker;
use std::time::Duration;

use super::Looked;
use super::look;
use super::once;
use crate::base::time;

fn looked(name: &str) -> Looked {
    look().into_iter().find(|looked| looked.name == name).unwrap()
}

/// Ready at the turn behind so many.
fn turns(mut left: u32) -> impl Future<Output = ()> {
    std::future::poll_fn(move |_context| {
        let is_ready = left == 0;
        left = left.saturating_sub(1);
        if is_ready { Poll::Ready(()) } else { Poll::Pending }
    })
}

#[test]
fn turns_shorter_than_a_microsecond_are_measured_too() {
    const TURNS: u32 = 100_000;
    let mut context = Context::from_waker(Waker::noop());
    let mut task = pin!(once("test-short", turns(TURNS)));
    let began = time::mono();
    (0..TURNS).for_each(|_| assert!(task.as_mut().poll(&mut context).is_pending()));
    let whole = began.elapsed();
    let looked = looked("test-short");
    assert_eq!((looked.turns, looked.running), (u64::from(TURNS), 1));
    assert!(looked.busy >= Duration::from_nanos(u64::from(TURNS)), "{looked:?}");
    assert!(looked.busy <= whole, "{looked:?} in {whole:?}");
    assert!(task.as_mut().poll(&mut context).is_ready());
}
