//! Questions to whoever leads the control state how far it is, shared by all that wait for the same answer: one at a time,
//! however many ask. So a flood of wrong names is no flood of questions, and nobody is answered without one.

use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering;

use tokio::sync::Mutex;

/// See the module.
#[derive(Debug, Default)]
pub(super) struct CatchUps {
    /// Questions that have begun.
    begun: AtomicU64,
    /// The newest that has ended. Whoever holds it asks.
    ended: Mutex<u64>,
}

impl CatchUps {
    /// Returns when a question that began after this was called has ended, well or not: an older one may have been answered
    /// before what the caller has in mind was done. This caller asks where nobody else has.
    pub(super) async fn after_now(&self, ask: impl Future<Output = ()>) {
        let begun = self.begun.load(Ordering::Acquire);
        let mut ended = self.ended.lock().await;
        if *ended > begun {
            return;
        }
        // One that goes away while it asks leaves a number without an end, and the next one asks anew.
        let number = self.begun.fetch_add(1, Ordering::AcqRel) + 1;
        ask.await;
        *ended = number;
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::AtomicU64;
    use std::sync::atomic::Ordering;

    use futures_util::future::join_all;
    use tokio::sync::Semaphore;

    use super::CatchUps;

    #[tokio::test]
    async fn all_that_came_while_one_asked_share_the_next_question() {
        let (shared, asked) = (CatchUps::default(), AtomicU64::new(0));
        let answers = Semaphore::new(0);
        let ask = async || {
            asked.fetch_add(1, Ordering::Relaxed);
            answers.acquire().await.unwrap().forget();
        };
        let mut first = Box::pin(shared.after_now(ask()));
        assert!(futures_util::poll!(&mut first).is_pending());
        let mut others = Box::pin(join_all((0..100).map(|_| shared.after_now(ask()))));
        assert!(futures_util::poll!(&mut others).is_pending());
        answers.add_permits(1);
        first.await;
        // What the first one heard may be older than they are.
        assert!(futures_util::poll!(&mut others).is_pending());
        answers.add_permits(1);
        others.await;
        assert_eq!(asked.into_inner(), 2);
    }

    #[tokio::test]
    async fn whoever_goes_away_while_it_asks_leaves_the_question_to_the_next() {
        let (shared, asked) = (Arc::new(CatchUps::default()), AtomicU64::new(0));
        let mut gone = Box::pin(shared.after_now(std::future::pending()));
        assert!(futures_util::poll!(&mut gone).is_pending());
        let ask = async || {
            asked.fetch_add(1, Ordering::Relaxed);
        };
        let mut waiting = Box::pin(shared.after_now(ask()));
        assert!(futures_util::poll!(&mut waiting).is_pending());
        drop(gone);
        waiting.await;
        assert_eq!(asked.into_inner(), 1);
    }
}
