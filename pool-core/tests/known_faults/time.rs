//! Time: limits that come late, early, or never.

use std::task::{Context, Poll, Waker};
use std::time::Duration;

use pool_core::{Check, Dropped, Manager, Pool, Pooled, Unhealthy};

use crate::MILLISECOND;
use crate::support::{Gate, SECOND, Scripted, builder, fill, settle};

#[tokio::test(start_paused = true)]
async fn eight_stale_connections_do_not_stretch_the_deadline() {
    let pool = builder().max_size(8).build().unwrap();
    fill(&pool, 8).await;
    for number in 1..=8 {
        pool.manager().peer().hang_up_unnoticed(number);
    }
    // Each of them takes its time to close, and a new one never comes.
    pool.manager().closes(Gate::Slow);
    pool.manager().connects([Gate::Never]);
    let started = tokio::time::Instant::now();
    let outcome = pool.checkout().timeout(100 * MILLISECOND).await;
    assert!(outcome.is_err());
    assert!(started.elapsed() <= 101 * MILLISECOND);
}

#[tokio::test(start_paused = true)]
async fn eight_checks_that_fail_slowly_do_not_stretch_the_deadline() {
    let slow = Check::future(|_, info| {
        Box::pin(async move {
            tokio::time::sleep(100 * MILLISECOND).await;
            match info.is_reused() {
                true => Err(Unhealthy::new("stale")),
                false => Ok(()),
            }
        })
    });
    let pool = builder()
        .max_size(8)
        .check(slow.at_checkout().timeout(100 * MILLISECOND))
        .build()
        .unwrap();
    fill(&pool, 8).await;
    let started = tokio::time::Instant::now();
    let outcome = pool.checkout().timeout(250 * MILLISECOND).await;
    assert!(outcome.is_err());
    assert!(started.elapsed() <= 251 * MILLISECOND);
}

#[tokio::test(start_paused = true)]
async fn a_connection_used_now_and_then_does_not_reach_its_idle_timeout() {
    let pool = builder()
        .idle_timeout(300 * MILLISECOND)
        .max_lifetime(None)
        .build()
        .unwrap();
    for _ in 0..100 {
        assert_eq!(pool.checkout().await.unwrap().number(), 1);
        tokio::time::sleep(50 * MILLISECOND).await;
    }
}

#[tokio::test(start_paused = true)]
async fn no_limit_is_no_limit_and_not_zero() {
    let pool = Pool::builder(Scripted::connecting([Gate::Slow]))
        .checkout_timeout(None)
        .idle_timeout(None)
        .max_lifetime(None)
        .build()
        .unwrap();
    // Nothing is idle, so each of them has to wait for a dial.
    let first = pool.checkout().await.unwrap();
    let second = pool.checkout().without_timeout().await.unwrap();
    drop((first, second));
    tokio::time::sleep(1_000_000 * SECOND).await;
    assert_eq!(
        (pool.status().idle, pool.manager().peer().dialled()),
        (2, 2)
    );
}

#[tokio::test(start_paused = true)]
async fn by_default_no_checkout_waits_for_ever() {
    let pool = builder().max_size(1).build().unwrap();
    let _held = pool.checkout().await.unwrap();
    let started = tokio::time::Instant::now();
    let outcomes = async { (pool.checkout().await, pool.checkout_owned().await) };
    let outcomes = tokio::time::timeout(3_600 * SECOND, outcomes).await;
    assert!(matches!(outcomes, Ok((Err(_), Err(_)))));
    assert_eq!(started.elapsed().as_secs(), 60);
}

#[tokio::test(start_paused = true)]
async fn a_short_lifetime_ends_when_it_is_due_and_not_with_some_tick() {
    let pool = builder()
        .max_lifetime(SECOND)
        .lifetime_jitter(0.0)
        .build()
        .unwrap();
    fill(&pool, 3).await;
    tokio::time::sleep(990 * MILLISECOND).await;
    assert_eq!(pool.manager().peer().open(), 3);
    tokio::time::sleep(20 * MILLISECOND).await;
    assert_eq!(pool.manager().peer().open(), 0);
}

#[tokio::test(start_paused = true)]
async fn an_idle_timeout_ends_when_it_is_due_and_not_when_somebody_comes() {
    let pool = builder().idle_timeout(25 * SECOND).build().unwrap();
    fill(&pool, 3).await;
    tokio::time::sleep(25 * SECOND - 10 * MILLISECOND).await;
    assert_eq!(pool.manager().peer().open(), 3);
    tokio::time::sleep(20 * MILLISECOND).await;
    assert_eq!(pool.manager().peer().open(), 0);
}

#[tokio::test(start_paused = true)]
async fn a_connection_in_steady_use_does_not_outlive_its_lifetime() {
    for maintenance in [true, false] {
        let pool = builder()
            .max_lifetime(SECOND)
            .lifetime_jitter(0.0)
            .maintenance(maintenance)
            .build()
            .unwrap();
        for _ in 0..100 {
            let guard = pool.checkout().await.unwrap();
            assert!(Pooled::info(&guard).age <= SECOND);
            tokio::time::sleep(70 * MILLISECOND).await;
            drop(guard);
            // Its time comes while it is idle in one round, and while it is out in another.
            tokio::time::sleep(100 * MILLISECOND).await;
        }
        assert!(pool.manager().peer().dialled() >= 7);
    }
}

#[tokio::test(start_paused = true)]
async fn a_connection_handed_from_one_to_the_next_does_not_outlive_its_lifetime() {
    let pool = builder()
        .max_size(1)
        .max_lifetime(SECOND)
        .lifetime_jitter(0.0)
        .build()
        .unwrap();
    // Somebody waits at all times, so that it never lies idle.
    let users = (0..3).map(|_| async {
        for _ in 0..50 {
            let guard = pool.checkout().await.unwrap();
            assert!(Pooled::info(&guard).age <= SECOND);
            tokio::time::sleep(70 * MILLISECOND).await;
        }
    });
    futures::future::join_all(users).await;
    assert!(pool.manager().peer().dialled() >= 10);
}

#[tokio::test(start_paused = true)]
async fn min_idle_keeps_no_connection_beyond_its_lifetime_and_each_is_replaced() {
    let pool = builder()
        .max_size(2)
        .min_idle(2)
        .max_lifetime(10 * SECOND)
        .build()
        .unwrap();
    tokio::time::sleep(SECOND).await;
    for _ in 0..100 {
        tokio::time::sleep(3 * SECOND).await;
        settle().await;
        assert_eq!(pool.status().idle, 2);
        let guard = pool.try_checkout().unwrap();
        assert!(Pooled::info(&guard).age <= 10 * SECOND);
    }
    let peer = &pool.manager().peer();
    // None is dialled before another is closed where there is room for two.
    assert_eq!(peer.most_open(), 2);
    assert!(peer.dialled() >= 60);
}

/// Wakes its watcher whenever it is told to, though nothing has happened to it.
#[derive(Default)]
struct Fidgety(std::sync::Mutex<Option<Waker>>);

impl Manager for Fidgety {
    type Connection = ();
    type Error = std::convert::Infallible;

    async fn connect(&self) -> Result<(), Self::Error> {
        Ok(())
    }

    fn is_dropped(&self, (): &mut ()) -> bool {
        false
    }

    fn poll_dropped(&self, (): &mut (), cx: &mut Context<'_>) -> Poll<Dropped> {
        *self.0.lock().unwrap() = Some(cx.waker().clone());
        Poll::Pending
    }
}

#[tokio::test(start_paused = true)]
async fn to_be_looked_at_is_not_a_use() {
    let pool = Pool::builder(Fidgety::default())
        .idle_timeout(10 * SECOND)
        .build()
        .unwrap();
    drop(pool.checkout().await.unwrap());
    for _ in 0..9 {
        tokio::time::sleep(SECOND).await;
        let waker = pool.manager().0.lock().unwrap().take();
        waker.expect("it is watched again").wake();
        settle().await;
    }
    assert_eq!(pool.status().idle, 1);
    tokio::time::sleep(SECOND + MILLISECOND).await;
    assert_eq!(pool.status().idle, 0, "a look was taken for a use");
}

#[test]
#[should_panic(expected = "time")]
fn a_runtime_without_timers_is_refused_when_the_pool_is_built() {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .build()
        .unwrap();
    let _pool = builder()
        .runtime(runtime.handle().clone())
        .idle_timeout(Duration::from_secs(1))
        .build();
}
