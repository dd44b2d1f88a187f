//! Slots lost: capacity that never came back.

use std::future::Future;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::task::{Context, Poll};

use pool_core::{OnConnectError, Pool, Pooled};

use crate::support::{Gate, SECOND, Scripted, builder, fill, poll, settle, silence_panics};
use crate::{MILLISECOND, Woken};

#[tokio::test(start_paused = true)]
async fn one_panic_in_connect_does_not_cost_the_only_slot() {
    silence_panics();
    let pool = Pool::builder(Scripted::connecting([Gate::Panic, Gate::Ok]))
        .max_size(1)
        .build()
        .unwrap();
    for _ in 0..2 {
        assert_eq!(pool.checkout().await.unwrap().number(), 2);
    }
    assert_eq!((pool.status().size(), pool.manager().peer().open()), (1, 1));
}

#[tokio::test(start_paused = true)]
async fn one_dial_that_never_ends_does_not_cost_the_only_slot() {
    let pool = Pool::builder(Scripted::connecting([Gate::Never, Gate::Ok]))
        .max_size(1)
        .connect_timeout(SECOND)
        .build()
        .unwrap();
    // Whoever comes while it hangs is helped as well.
    let (first, second) = tokio::join!(
        async { pool.checkout().await.map(|guard| guard.number()) },
        async { pool.checkout().await.map(|guard| guard.number()) },
    );
    assert_eq!((first.unwrap(), second.unwrap()), (2, 2));
    assert_eq!(pool.manager().peer().open(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_failed_dial_does_not_leave_the_next_waiter_beside_a_free_slot() {
    for (policy, served) in [(OnConnectError::Wait, true), (OnConnectError::Fail, false)] {
        let pool = Pool::builder(Scripted::connecting([Gate::Error, Gate::Ok]))
            .max_size(1)
            .on_connect_error(policy)
            .build()
            .unwrap();
        let started = tokio::time::Instant::now();
        let (first, second) = tokio::join!(async { pool.checkout().await.map(drop) }, async {
            pool.checkout().await.map(drop)
        },);
        assert_eq!((first.is_ok(), second.is_ok()), (served, served));
        assert!(started.elapsed() < SECOND, "{:?}", started.elapsed());
    }
}

#[tokio::test(start_paused = true)]
async fn the_waiter_behind_a_cancelled_one_is_woken() {
    let pool = builder().max_size(1).build().unwrap();
    // Cancelled before the connection comes home, and after it was granted.
    for granted in [false, true] {
        let held = pool.checkout().await.unwrap();
        let (woken, waker) = Woken::new();
        let (mut first, mut second) = (Box::pin(pool.checkout()), Box::pin(pool.checkout()));
        assert!(poll(&mut first).is_pending());
        assert!(
            second
                .as_mut()
                .poll(&mut Context::from_waker(&waker))
                .is_pending()
        );
        if granted {
            drop(held);
            assert_eq!(woken.times(), 0);
            drop(first);
        } else {
            drop(first);
            drop(held);
        }
        assert_eq!(woken.times(), 1);
        assert!(poll(&mut second).is_ready());
    }
}

#[tokio::test(start_paused = true)]
async fn a_dial_outlives_the_caller_who_asked_for_it() {
    let pool = Pool::builder(Scripted::connecting([Gate::Slow, Gate::Never]))
        .build()
        .unwrap();
    let gave_up = pool.checkout().timeout(10 * MILLISECOND).await;
    assert!(gave_up.is_err());
    assert_eq!(pool.status().connecting, 1);
    tokio::time::sleep(SECOND).await;
    assert_eq!(pool.status().idle, 1);
    assert_eq!(pool.checkout().await.unwrap().number(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_slot_that_comes_free_starts_a_dial_for_who_waits() {
    let pool = builder().max_size(1).build().unwrap();
    pool.manager().closes(Gate::Slow);
    // One that its user breaks, one that dies while it is held, one that is taken out for good.
    for way in 0..3 {
        let held = pool.checkout().await.unwrap();
        let number = held.number();
        let mut waiting = Box::pin(pool.checkout());
        assert!(poll(&mut waiting).is_pending());
        match way {
            0 => Pooled::discard(held),
            1 => {
                pool.manager().peer().hang_up_unnoticed(number);
                drop(held);
            }
            _ => drop(Pooled::detach(held)),
        }
        tokio::time::sleep(SECOND).await;
        let Poll::Ready(Ok(guard)) = poll(&mut waiting) else {
            panic!("a slot is free, and nobody dials for who waits")
        };
        assert_eq!(guard.number(), number + 1);
    }
}

#[tokio::test(start_paused = true)]
async fn a_guard_in_a_blocking_call_comes_home_when_its_caller_is_cancelled() {
    let pool = builder().max_size(1).build().unwrap();
    let guard = pool.checkout_owned().await.unwrap();
    let (release, released) = std::sync::mpsc::channel::<()>();
    let call = tokio::task::spawn_blocking(move || {
        released.recv().unwrap();
        drop(guard);
    });
    // Nobody awaits the call any more; it goes on all the same.
    drop(call);
    assert_eq!(pool.status().in_use, 1);
    release.send(()).unwrap();
    while pool.status().idle == 0 {
        tokio::task::yield_now().await;
    }
    settle().await;
    assert!(pool.try_checkout().is_ok());
}

#[tokio::test(start_paused = true)]
async fn a_predicate_that_panics_costs_the_connection_it_was_shown_and_nothing_else() {
    silence_panics();
    let pool = builder().max_size(3).build().unwrap();
    fill(&pool, 3).await;
    let visit = || pool.retain(|_, _| panic!("as told"));
    assert!(catch_unwind(AssertUnwindSafe(visit)).is_err());
    assert_eq!((pool.status().idle, pool.manager().peer().open()), (2, 2));
    fill(&pool, 3).await;
    assert_eq!(pool.retain(|_, _| true), 0);
}
