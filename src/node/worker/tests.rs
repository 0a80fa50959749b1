//! Tasks that fail. Each has a name of its own, as the list of them is one for the process.

use std::sync::Arc;
use std::sync::atomic::AtomicU32;
use std::sync::atomic::Ordering;

use tokio::sync::watch;

use super::block;
use super::keep;
use super::name;
use super::spawn;
use crate::base::tasks;
use crate::base::tasks::Kind;
use crate::base::tasks::Looked;
use crate::base::time;
use crate::node::error::DoorError;

fn looked(name: &str) -> Looked {
    tasks::look().into_iter().find(|looked| looked.name == name).unwrap()
}

#[tokio::test]
async fn a_kept_task_that_panics_is_begun_again_and_the_failure_is_known() {
    let (tell, mut told) = watch::channel(0);
    let (tell, lives) = (Arc::new(tell), Arc::new(AtomicU32::new(0)));
    let kept = keep("test-kept", move || {
        let (tell, life) = (Arc::clone(&tell), lives.fetch_add(1, Ordering::SeqCst) + 1);
        async move {
            assert!(life != 1, "the first life ends badly");
            tell.send_replace(life);
        }
    });
    told.wait_for(|life| *life == 2).await.unwrap();
    kept.await.unwrap();
    let looked = looked("test-kept");
    assert_eq!((looked.kind, looked.failed, looked.begun_again, looked.running), (Kind::Kept, 1, 1, 0));
    assert_eq!(looked.failure.unwrap().why, "the first life ends badly");
    assert!(looked.since_ms > 0);
}

#[tokio::test]
async fn a_task_that_ends_badly_is_counted_and_harms_no_other() {
    let bad = spawn("test-once", async { panic!("of no interest to others") });
    let good = spawn("test-once", async { name() });
    let failed: Result<(), _> = bad.await;
    assert!(failed.is_err());
    assert_eq!(good.await.unwrap(), Some("test-once"));
    let looked = looked("test-once");
    assert_eq!((looked.begun, looked.failed, looked.running, looked.begun_again), (2, 1, 0, 0));
}

#[tokio::test]
async fn what_blocks_is_named_measured_and_its_panic_is_an_error() {
    let begun = time::mono();
    let named = block("test-blocking", || Ok(name())).await.unwrap();
    assert_eq!(named, Some("test-blocking"));
    let failed: Result<(), DoorError> = block("test-blocking", || panic!("it happens")).await;
    assert!(matches!(failed, Err(DoorError::Io { doing: "test-blocking", .. })));
    let looked = looked("test-blocking");
    assert_eq!((looked.turns, looked.failed), (2, 1));
    assert!(looked.busy <= begun.elapsed() && looked.longest <= looked.busy + std::time::Duration::from_micros(1));
}

#[tokio::test]
async fn a_sample_tells_how_busy_a_task_was_since() {
    let spun = || {
        let begun = time::mono();
        while begun.elapsed().as_millis() < 5 {}
    };
    spawn("test-sampled", async move { spun() }).await.unwrap();
    tasks::sample();
    let before = tasks::window().unwrap();
    spawn("test-sampled", async move { spun() }).await.unwrap();
    let after = looked("test-sampled");
    let sampled = before.busy.get("test-sampled").copied().unwrap_or_default();
    assert!(after.busy - sampled >= std::time::Duration::from_millis(5), "{after:?}, before {sampled:?}");
    assert!(after.longest >= std::time::Duration::from_millis(5));
}

#[tokio::test]
async fn measuring_costs_little() {
    /// Turns of one task.
    const TURNS: u32 = 50_000;
    let begun = time::mono();
    spawn("test-cost", async {
        for _ in 0..TURNS {
            tokio::task::yield_now().await;
        }
    })
    .await
    .unwrap();
    let each = begun.elapsed() / TURNS;
    println!("a turn of a measured task takes {each:?}, with all there is around it");
    assert!(looked("test-cost").turns >= u64::from(TURNS));
    assert!(each.as_micros() < 50, "{each:?}: even on a busy machine, built without optimisation");
}
