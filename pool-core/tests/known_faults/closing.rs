//! Closing: guards and pools that hang, panic or wait for somebody when they end.

use pool_core::{CheckoutError, Pooled};

use crate::support::{Gate, SECOND, builder, fill, poll};

#[test]
fn a_guard_dropped_outside_any_runtime_goes_home() {
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let pool = builder()
        .max_size(2)
        .runtime(runtime.handle().clone())
        .build()
        .unwrap();
    let (borrowed, owned) = runtime.block_on(async {
        let borrowed = pool.checkout().await.unwrap();
        (borrowed, pool.checkout_owned().await.unwrap())
    });
    // This thread is in no runtime.
    assert!(tokio::runtime::Handle::try_current().is_err());
    drop((borrowed, owned));
    assert_eq!(pool.status().idle, 2);
}

#[tokio::test(start_paused = true)]
async fn a_guard_is_home_when_its_drop_returns() {
    let pool = builder().max_size(1).build().unwrap();
    // No task has to run in between, neither for one that is kept nor for one that is not.
    let guard = pool.checkout().await.unwrap();
    drop(guard);
    assert_eq!((pool.status().idle, pool.status().in_use), (1, 0));
    let guard = pool.try_checkout().unwrap();
    Pooled::discard(guard);
    assert_eq!((pool.status().size(), pool.manager().peer().open()), (0, 0));
}

#[tokio::test(start_paused = true)]
async fn closing_a_pool_waits_for_nobody() {
    let pool = builder()
        .max_size(3)
        .close_timeout(5 * SECOND)
        .build()
        .unwrap();
    let peer = pool.manager().peer().clone();
    fill(&pool, 3).await;
    let held = pool.checkout().await.unwrap();
    pool.manager().closes(Gate::Never);
    let started = tokio::time::Instant::now();
    pool.close();
    assert_eq!(started.elapsed().as_secs(), 0);
    assert!(matches!(pool.checkout().await, Err(CheckoutError::Closed)));
    // One that is held is its user's for as long as he likes; the peer that does not answer has its limit.
    tokio::time::sleep(6 * SECOND).await;
    assert_eq!((peer.open(), pool.status().in_use), (1, 1));
    drop(held);
    tokio::time::sleep(6 * SECOND).await;
    assert_eq!((peer.open(), pool.status().size()), (0, 0));
}

#[tokio::test(start_paused = true)]
async fn who_waits_when_the_pool_closes_is_told_and_gets_no_connection_that_comes_home() {
    let pool = builder().max_size(1).build().unwrap();
    let held = pool.checkout().await.unwrap();
    let mut waiting = Box::pin(pool.checkout());
    assert!(poll(&mut waiting).is_pending());
    pool.close();
    drop(held);
    assert!(matches!(waiting.await, Err(CheckoutError::Closed)));
    assert_eq!(pool.manager().peer().open(), 0);
}
