//! The promises one by one, as conversations under a paused clock.

#![allow(
    clippy::disallowed_methods,
    reason = "under a paused clock, tokio's instants are the pool's"
)]

mod support;

use std::future::Future;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll, Wake, Waker};
use std::time::Duration;

use pool_core::{
    CheckoutError, ConnectError, Manager, OnConnectError, Order, OwnedPooled, Pool, Pooled,
    TryCheckoutError,
};
use support::{Gate, SECOND, Scripted, Socket, builder, fill, poll, settle, silence_panics};

// --- first come, first served

#[tokio::test(start_paused = true)]
async fn waiters_are_served_in_the_order_of_their_first_poll() {
    let pool = builder().max_size(1).build().unwrap();
    let held = pool.checkout().await.unwrap();
    let mut waiting: Vec<_> = (0..5).map(|_| Box::pin(pool.checkout())).collect();
    for which in [3, 0, 4, 1, 2] {
        assert!(poll(&mut waiting[which]).is_pending());
    }
    drop(held);
    for which in [3, 0, 4, 1, 2] {
        for other in (0..5).filter(|&other| other != which) {
            assert!(
                poll(&mut waiting[other]).is_pending(),
                "{other} overtook {which}"
            );
        }
        let Poll::Ready(guard) = poll(&mut waiting[which]) else {
            panic!("{which} was forgotten")
        };
        drop(guard);
        waiting[which] = Box::pin(pool.checkout());
        assert!(
            poll(&mut waiting[which]).is_pending(),
            "a newcomer overtook"
        );
    }
}

#[tokio::test(start_paused = true)]
async fn a_task_that_never_rests_does_not_overtake_one_that_waits() {
    let pool = builder().max_size(1).build().unwrap();
    let held = pool.checkout().await.unwrap();
    let mut patient = Box::pin(pool.checkout());
    assert!(poll(&mut patient).is_pending());
    drop(held);
    for _ in 0..1_000 {
        assert!(poll(&mut Box::pin(pool.checkout())).is_pending());
        assert!(pool.try_checkout().is_err());
    }
    assert!(poll(&mut patient).is_ready());
}

#[tokio::test(start_paused = true)]
async fn a_cancelled_waiter_passes_its_turn_on() {
    let pool = builder().max_size(1).build().unwrap();
    let held = pool.checkout().await.unwrap();
    let (mut first, mut second) = (Box::pin(pool.checkout()), Box::pin(pool.checkout()));
    assert!(poll(&mut first).is_pending() && poll(&mut second).is_pending());
    drop(held);
    // Granted, but never collected.
    drop(first);
    assert!(poll(&mut second).is_ready());
    let dialled = pool.manager().peer().dialled();
    drop(second);
    settle().await;
    assert_eq!((pool.status().idle, dialled), (1, 1));
}

#[tokio::test(start_paused = true)]
async fn cancelling_ten_thousand_waiters_leaves_none_and_serves_the_next() {
    let pool = builder().max_size(1).build().unwrap();
    let held = pool.checkout().await.unwrap();
    let mut waiting: Vec<_> = (0..10_000).map(|_| Box::pin(pool.checkout())).collect();
    for checkout in &mut waiting {
        assert!(poll(checkout).is_pending());
    }
    assert_eq!(pool.status().waiting, 10_000);
    // From the middle outwards, not in the order of the queue.
    while waiting.len() > 1 {
        drop(waiting.swap_remove(waiting.len() / 2));
    }
    assert_eq!(pool.status().waiting, 1);
    drop(held);
    assert!(poll(&mut waiting[0]).is_ready());
}

#[tokio::test(start_paused = true)]
async fn a_waiter_whose_connection_proves_dead_is_served_before_those_behind_it() {
    let pool = builder().max_size(1).build().unwrap();
    let held = pool.checkout().await.unwrap();
    let number = held.number();
    let (mut first, mut second) = (Box::pin(pool.checkout()), Box::pin(pool.checkout()));
    assert!(poll(&mut first).is_pending() && poll(&mut second).is_pending());
    drop(held);
    pool.manager().peer().hang_up_unnoticed(number);
    assert!(poll(&mut first).is_pending(), "it is dead");
    settle().await;
    assert!(poll(&mut second).is_pending());
    let Poll::Ready(Ok(guard)) = poll(&mut first) else {
        panic!("it lost its place")
    };
    assert_ne!(guard.number(), number);
}

// --- what becomes of a connection

#[tokio::test(start_paused = true)]
async fn lifo_and_fifo_differ_in_what_they_reuse() {
    for (order, expected) in [(Order::Lifo, 3), (Order::Fifo, 1)] {
        let pool = builder().order(order).build().unwrap();
        fill(&pool, 3).await;
        assert_eq!(pool.checkout().await.unwrap().number(), expected);
    }
}

#[tokio::test(start_paused = true)]
async fn a_guard_dropped_in_a_panic_is_not_reused() {
    silence_panics();
    let pool = builder().build().unwrap();
    let (borrowed, owned) = (
        pool.checkout().await.unwrap(),
        pool.checkout_owned().await.unwrap(),
    );
    let panicked = catch_unwind(AssertUnwindSafe(|| {
        let _held = (borrowed, owned);
        panic!("as told");
    }));
    assert!(panicked.is_err());
    assert_eq!((pool.status().size(), pool.manager().peer().open()), (0, 0));
}

#[tokio::test(start_paused = true)]
async fn tainted_and_discarded_connections_are_closed_and_a_detached_one_is_not() {
    let pool = builder().max_size(3).build().unwrap();
    let peer = pool.manager().peer();
    let mut tainted = pool.checkout().await.unwrap();
    Pooled::taint(&mut tainted);
    assert_eq!(peer.open(), 1);
    drop(tainted);
    Pooled::discard(pool.checkout().await.unwrap());
    OwnedPooled::discard(pool.checkout_owned().await.unwrap());
    assert_eq!((peer.open(), peer.dialled()), (0, 3));
    let detached: Socket = OwnedPooled::detach(pool.checkout_owned().await.unwrap());
    assert_eq!((peer.open(), pool.status().size()), (1, 0));
    drop(detached);
    assert_eq!(peer.open(), 0);
}

#[tokio::test(start_paused = true)]
async fn a_guard_knows_the_history_of_its_connection() {
    let pool = builder().build().unwrap();
    let fresh = Pooled::info(&pool.checkout().await.unwrap());
    assert_eq!(
        (fresh.uses, fresh.is_reused(), fresh.idle_for),
        (1, false, Duration::ZERO)
    );
    tokio::time::sleep(5 * SECOND).await;
    let guard = pool.checkout().await.unwrap();
    tokio::time::sleep(2 * SECOND).await;
    let reused = Pooled::info(&guard);
    assert_eq!(
        (reused.id, reused.uses, reused.is_reused()),
        (fresh.id, 2, true)
    );
    assert_eq!(reused.idle_for.as_secs(), 5);
    assert!(reused.age >= 7 * SECOND);
}

#[tokio::test(start_paused = true)]
async fn a_connection_that_dies_while_held_is_not_kept() {
    let pool = builder().build().unwrap();
    let held = pool.checkout().await.unwrap();
    pool.manager().peer().hang_up_unnoticed(held.number());
    drop(held);
    assert_eq!((pool.status().size(), pool.manager().peer().open()), (0, 0));
}

#[tokio::test(start_paused = true)]
async fn a_discarded_connection_keeps_its_slot_until_it_is_closed() {
    let pool = builder().max_size(1).build().unwrap();
    pool.manager().closes(Gate::Slow);
    Pooled::discard(pool.checkout().await.unwrap());
    assert_eq!((pool.status().closing, pool.status().size()), (1, 1));
    let _next = pool.checkout().await.unwrap();
    assert_eq!(pool.manager().peer().most_open(), 1);
}

// --- idle connections

#[tokio::test(start_paused = true)]
async fn an_idle_connection_whose_peer_hangs_up_is_closed_at_once_at_any_depth_and_without_traffic()
{
    for order in [Order::Lifo, Order::Fifo] {
        let pool = builder().order(order).build().unwrap();
        fill(&pool, 5).await;
        for (left, number) in [(4, 3), (3, 1), (2, 5)] {
            pool.manager().peer().hang_up(number);
            settle().await;
            assert_eq!(
                (pool.status().idle, pool.manager().peer().open()),
                (left, left)
            );
        }
    }
}

#[tokio::test(start_paused = true)]
async fn what_the_reactor_has_not_seen_yet_the_probe_sees_at_checkout() {
    let pool = builder().build().unwrap();
    fill(&pool, 3).await;
    for number in 1..=3 {
        pool.manager().peer().hang_up_unnoticed(number);
    }
    assert_eq!(pool.checkout().await.unwrap().number(), 4);
    assert_eq!(pool.manager().peer().open(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_connection_in_use_is_left_alone_whatever_its_peer_does() {
    let pool = builder().build().unwrap();
    let held = pool.checkout().await.unwrap();
    pool.manager().peer().hang_up(held.number());
    settle().await;
    assert_eq!((pool.status().in_use, pool.manager().peer().open()), (1, 1));
}

#[tokio::test(start_paused = true)]
async fn idle_connections_are_reaped_in_time_down_to_min_idle() {
    let pool = builder()
        .max_size(5)
        .idle_timeout(10 * SECOND)
        .min_idle(2)
        .max_lifetime(None)
        .build()
        .unwrap();
    fill(&pool, 5).await;
    assert_eq!(pool.status().idle, 5);
    tokio::time::sleep(9 * SECOND).await;
    assert_eq!(pool.status().idle, 5);
    tokio::time::sleep(2 * SECOND).await;
    assert_eq!(pool.status().idle, 2);
    tokio::time::sleep(1_000 * SECOND).await;
    assert_eq!(
        (pool.status().idle, pool.manager().peer().dialled()),
        (2, 5)
    );
}

#[tokio::test(start_paused = true)]
async fn min_idle_is_kept_up_without_traffic() {
    let pool = builder().min_idle(3).build().unwrap();
    settle().await;
    assert_eq!(pool.status().idle, 3);
    let held = pool.checkout().await.unwrap();
    settle().await;
    assert_eq!((pool.status().idle, pool.status().in_use), (3, 1));
    for number in 1..=4 {
        if number != held.number() {
            pool.manager().peer().hang_up(number);
        }
    }
    tokio::time::sleep(10 * SECOND).await;
    assert_eq!(pool.status().idle, 3);
}

#[tokio::test(start_paused = true)]
async fn a_connection_grows_no_older_than_max_lifetime_less_its_jitter() {
    let pool = builder()
        .max_lifetime(100 * SECOND)
        .lifetime_jitter(0.5)
        .idle_timeout(None)
        .build()
        .unwrap();
    fill(&pool, 10).await;
    tokio::time::sleep(49 * SECOND).await;
    assert_eq!(pool.status().idle, 10);
    let mut left = vec![];
    for _ in 0..10 {
        tokio::time::sleep(5 * SECOND + SECOND / 5).await;
        left.push(pool.status().idle);
    }
    assert_eq!(left.last(), Some(&0));
    left.dedup();
    assert!(left.len() > 3, "they expired together: {left:?}");
}

#[tokio::test(start_paused = true)]
async fn a_connection_past_its_lifetime_is_closed_when_it_comes_home() {
    let pool = builder().max_lifetime(10 * SECOND).build().unwrap();
    let held = pool.checkout().await.unwrap();
    tokio::time::sleep(11 * SECOND).await;
    assert_eq!(pool.manager().peer().open(), 1);
    drop(held);
    assert_eq!(pool.manager().peer().open(), 0);
}

#[tokio::test(start_paused = true)]
async fn a_pool_without_maintenance_enforces_every_limit_when_it_is_used() {
    let pool = builder()
        .maintenance(false)
        .idle_timeout(10 * SECOND)
        .max_lifetime(50 * SECOND)
        .build()
        .unwrap();
    fill(&pool, 3).await;
    pool.manager().peer().hang_up(3);
    assert_eq!(pool.checkout().await.unwrap().number(), 2);
    tokio::time::sleep(11 * SECOND).await;
    assert_eq!(pool.manager().peer().open(), 2, "nobody looked");
    assert_eq!(pool.checkout().await.unwrap().number(), 4);
    assert_eq!(pool.manager().peer().open(), 1);
}

#[tokio::test(start_paused = true)]
async fn an_idle_pool_does_nothing_at_all() {
    let pool = builder()
        .max_lifetime(None)
        .idle_timeout(None)
        .build()
        .unwrap();
    fill(&pool, 5).await;
    settle().await;
    let metrics = tokio::runtime::Handle::current().metrics();
    let polls = metrics.num_alive_tasks();
    assert_eq!(
        polls, 2,
        "the maintenance task and the timer of those who wait"
    );
    let before = tokio::time::Instant::now();
    tokio::time::sleep(1_000_000 * SECOND).await;
    assert_eq!(before.elapsed(), 1_000_000 * SECOND);
    assert_eq!(
        (pool.status().idle, pool.manager().peer().dialled()),
        (5, 5)
    );
}

// --- dialling

#[tokio::test(start_paused = true)]
async fn a_waiter_takes_what_comes_first_and_the_dial_it_asked_for_is_pooled() {
    let pool = Pool::builder(Scripted::connecting([Gate::Ok, Gate::Slow]))
        .max_size(2)
        .build()
        .unwrap();
    let held = pool.checkout().await.unwrap();
    let mut waiting = Box::pin(pool.checkout());
    assert!(poll(&mut waiting).is_pending());
    settle().await;
    assert_eq!(pool.status().connecting, 1);
    drop(held);
    let Poll::Ready(Ok(guard)) = poll(&mut waiting) else {
        panic!("it waits for its own dial")
    };
    assert_eq!(guard.number(), 1);
    tokio::time::sleep(SECOND).await;
    assert_eq!((pool.status().idle, pool.manager().peer().open()), (1, 2));
}

#[tokio::test(start_paused = true)]
async fn a_burst_dials_no_more_at_once_than_it_may_and_no_more_than_it_needs() {
    let pool = Pool::builder(Scripted::connecting([Gate::Slow]))
        .max_size(50)
        .max_connecting(3)
        .build()
        .unwrap();
    let mut tasks = Vec::new();
    for _ in 0..50 {
        let pool = pool.clone();
        tasks.push(tokio::spawn(async move {
            let guard = pool.checkout().await.unwrap();
            tokio::time::sleep(Duration::from_millis(2)).await;
            drop(guard);
        }));
    }
    settle().await;
    assert_eq!(pool.status().connecting, 3);
    for task in tasks {
        task.await.unwrap();
    }
    assert!(
        pool.manager().peer().dialled() <= 6,
        "{} dials",
        pool.manager().peer().dialled()
    );
}

#[tokio::test(start_paused = true)]
async fn a_dial_that_hangs_is_given_up_and_its_slot_comes_back() {
    let pool = Pool::builder(Scripted::connecting([Gate::Never, Gate::Ok]))
        .max_size(1)
        .connect_timeout(SECOND)
        .build()
        .unwrap();
    let started = tokio::time::Instant::now();
    let guard = pool.checkout().await.unwrap();
    assert_eq!(guard.number(), 2);
    assert!(started.elapsed() < 2 * SECOND);
    assert_eq!(pool.manager().peer().open(), 1);
}

#[tokio::test(start_paused = true)]
async fn an_outage_makes_one_dial_a_step_for_a_hundred_waiters_and_ends_by_itself() {
    let pool = Pool::builder(Scripted::connecting([Gate::Error]))
        .max_size(100)
        .build()
        .unwrap();
    let mut tasks = tokio::task::JoinSet::new();
    for _ in 0..100 {
        let pool = pool.clone();
        tasks.spawn(async move {
            let _guard = pool.checkout().timeout(60 * SECOND).await.unwrap();
            settle().await;
        });
    }
    tokio::time::sleep(20 * SECOND).await;
    let dialled = pool.manager().peer().dialled();
    assert!((5..=20).contains(&dialled), "{dialled} dials in 20 s");
    pool.manager().connects([Gate::Ok]);
    while let Some(outcome) = tasks.join_next().await {
        outcome.unwrap();
    }
}

#[tokio::test(start_paused = true)]
async fn a_pool_with_a_minimum_recovers_from_an_outage_without_traffic() {
    let pool = Pool::builder(Scripted::connecting([Gate::Error]))
        .min_idle(2)
        .build()
        .unwrap();
    tokio::time::sleep(600 * SECOND).await;
    assert_eq!(pool.status().idle, 0);
    pool.manager().connects([Gate::Ok]);
    tokio::time::sleep(6 * SECOND).await;
    assert_eq!(pool.status().idle, 2);
}

#[tokio::test(start_paused = true)]
async fn a_permanent_error_is_told_at_once() {
    let pool = Pool::builder(Scripted::connecting([Gate::Error]))
        .build()
        .unwrap();
    pool.manager().errors_are_permanent(true);
    let started = tokio::time::Instant::now();
    let error = pool.checkout().await.unwrap_err();
    assert_eq!(error.to_string(), "could not connect: refused");
    assert!(
        std::error::Error::source(&error)
            .unwrap()
            .is::<support::ScriptedError>()
    );
    assert_eq!(started.elapsed(), Duration::ZERO);
}

#[tokio::test(start_paused = true)]
async fn by_policy_a_caller_is_told_of_any_error_at_once_and_of_its_age() {
    let pool = Pool::builder(Scripted::connecting([Gate::Error]))
        .on_connect_error(OnConnectError::Fail)
        .backoff(10 * SECOND, 10 * SECOND)
        .build()
        .unwrap();
    assert_eq!(
        pool.checkout().await.unwrap_err().to_string(),
        "could not connect: refused"
    );
    tokio::time::sleep(2 * SECOND).await;
    assert_eq!(
        pool.checkout().await.unwrap_err().to_string(),
        "could not connect, 2 s ago: refused"
    );
    assert_eq!(
        pool.manager().peer().dialled(),
        1,
        "the backoff holds for newcomers too"
    );
}

#[tokio::test(start_paused = true)]
async fn a_connect_that_panics_is_an_error_like_any_other() {
    silence_panics();
    let pool = Pool::builder(Scripted::connecting([Gate::Panic]))
        .max_size(1)
        .on_connect_error(OnConnectError::Fail)
        .build()
        .unwrap();
    let Err(CheckoutError::Connect(failure)) = pool.checkout().await else {
        panic!("it panicked")
    };
    assert!(matches!(&*failure.error, ConnectError::Panicked(message) if message == "as told"));
    pool.manager().connects([Gate::Ok]);
    tokio::time::sleep(SECOND).await;
    assert!(pool.checkout().await.is_ok());
}

#[tokio::test(start_paused = true)]
async fn a_dial_that_panics_when_it_is_given_up_is_an_error_and_not_the_end_of_the_pool() {
    #[derive(Debug, Default)]
    struct PanicsWhenDropped(AtomicUsize);
    struct Bomb;
    impl Drop for Bomb {
        fn drop(&mut self) {
            panic!("as told, when dropped");
        }
    }
    impl Manager for PanicsWhenDropped {
        type Connection = ();
        type Error = std::convert::Infallible;
        async fn connect(&self) -> Result<(), Self::Error> {
            if self.0.fetch_add(1, Ordering::SeqCst) == 0 {
                let _bomb = Bomb;
                std::future::pending::<()>().await;
            }
            Ok(())
        }
        fn is_dropped(&self, (): &mut ()) -> bool {
            false
        }
    }
    silence_panics();
    let pool = Pool::builder(PanicsWhenDropped::default())
        .max_size(1)
        .build()
        .unwrap();
    assert!(pool.checkout().await.is_ok(), "the second dial serves");
    assert_eq!(pool.status().idle, 1);
}

#[tokio::test(start_paused = true)]
async fn a_peer_that_hangs_up_on_every_new_connection_is_not_stormed_with_dials() {
    #[derive(Debug, Default)]
    struct HangsUp(AtomicUsize);
    impl Manager for HangsUp {
        type Connection = ();
        type Error = std::convert::Infallible;
        async fn connect(&self) -> Result<(), Self::Error> {
            self.0.fetch_add(1, Ordering::SeqCst);
            Ok(())
        }
        fn is_dropped(&self, (): &mut ()) -> bool {
            true
        }
    }
    for min_idle in [0, 2] {
        let pool = Pool::builder(HangsUp::default())
            .min_idle(min_idle)
            .build()
            .unwrap();
        let error = pool.checkout().await.unwrap_err().to_string();
        assert!(
            error.ends_with(
                "the peer closed the new connection, or sent bytes on it, before it was used"
            ),
            "{error}"
        );
        let dialled = pool.manager().0.load(Ordering::SeqCst);
        assert!(dialled < 20, "{dialled} dials in 30 s");
    }
}

// --- every await has a bound

#[tokio::test(start_paused = true)]
async fn one_deadline_covers_a_whole_checkout() {
    let pool = Pool::builder(Scripted::connecting([Gate::Never]))
        .checkout_timeout(3 * SECOND)
        .build()
        .unwrap();
    let started = tokio::time::Instant::now();
    let error = pool.checkout().await.unwrap_err();
    assert_eq!(started.elapsed().as_secs(), 3);
    assert_eq!(
        error.to_string(),
        "timed out after 3 s waiting for a connection (0 of 10 in use, 0 idle, 1 connecting, 1 waiting)"
    );
}

#[tokio::test(start_paused = true)]
async fn a_timeout_carries_the_last_connect_error_and_its_age() {
    let pool = Pool::builder(Scripted::connecting([Gate::Error]))
        .backoff(4 * SECOND, 4 * SECOND)
        .max_size(1)
        .build()
        .unwrap();
    let error = pool.checkout().timeout(SECOND).await.unwrap_err();
    assert_eq!(
        error.to_string(),
        "timed out after 1 s waiting for a connection (0 of 1 in use, 0 idle, 0 connecting, 1 waiting); \
         last connect error, 1 s ago: refused"
    );
}

#[tokio::test(start_paused = true)]
async fn a_checkout_with_no_time_takes_what_is_idle_or_nothing() {
    let pool = builder().max_size(1).build().unwrap();
    fill(&pool, 1).await;
    let held = pool.checkout().timeout(Duration::ZERO).await.unwrap();
    assert!(matches!(
        pool.checkout().timeout(Duration::ZERO).await,
        Err(CheckoutError::Timeout(_))
    ));
    assert_eq!(pool.status().waiting, 0);
    drop(held);
    assert_eq!(pool.status().idle, 1);
}

#[tokio::test(start_paused = true)]
async fn a_checkout_without_a_limit_waits_for_as_long_as_it_takes() {
    let pool = builder()
        .max_size(1)
        .checkout_timeout(None)
        .build()
        .unwrap();
    let held = pool.checkout_owned().await.unwrap();
    tokio::spawn(async move {
        tokio::time::sleep(1_000_000 * SECOND).await;
        drop(held);
    });
    assert!(pool.checkout().await.is_ok());
}

#[tokio::test(start_paused = true)]
async fn a_reset_and_a_close_that_hang_are_given_up() {
    let pool = builder()
        .max_size(1)
        .reset_timeout(SECOND)
        .close_timeout(2 * SECOND)
        .build()
        .unwrap();
    pool.manager().recycles(pool_core::Recycle::Reset);
    pool.manager().resets(Gate::Never);
    pool.manager().closes(Gate::Never);
    drop(pool.checkout().await.unwrap());
    let started = tokio::time::Instant::now();
    assert_eq!(pool.checkout().await.unwrap().number(), 2);
    assert_eq!(started.elapsed().as_secs(), 3);
}

// --- try_checkout

#[tokio::test(start_paused = true)]
async fn try_checkout_never_waits_and_prepares_a_connection_for_the_next_try() {
    let pool = builder().max_size(1).build().unwrap();
    assert!(matches!(
        pool.try_checkout(),
        Err(TryCheckoutError::Empty(_))
    ));
    assert!(matches!(
        pool.try_checkout(),
        Err(TryCheckoutError::Empty(_))
    ));
    settle().await;
    let held = pool.try_checkout().unwrap();
    assert_eq!(
        pool.try_checkout().unwrap_err().to_string(),
        "no connection is idle (1 of 1 in use, 0 idle, 0 connecting, 0 waiting)"
    );
    drop(held);
    pool.close();
    assert_eq!(pool.try_checkout().unwrap_err(), TryCheckoutError::Closed);
}

// --- the end

#[tokio::test(start_paused = true)]
async fn closing_tells_who_waits_drops_dials_and_closes_what_comes_home() {
    let pool = Pool::builder(Scripted::connecting([Gate::Ok, Gate::Ok, Gate::Never]))
        .max_size(3)
        .build()
        .unwrap();
    let peer = pool.manager().peer().clone();
    let held = pool.checkout().await.unwrap();
    drop(pool.checkout().await.unwrap());
    let _second = pool.checkout().await.unwrap();
    let mut waiting = Box::pin(pool.checkout());
    assert!(poll(&mut waiting).is_pending());
    settle().await;
    assert_eq!(peer.open(), 3);
    pool.close();
    let Poll::Ready(Err(CheckoutError::Closed)) = poll(&mut waiting) else {
        panic!("it was not told")
    };
    settle().await;
    assert_eq!(peer.open(), 2, "the dial was dropped");
    drop(held);
    assert_eq!(peer.open(), 1);
    assert!(matches!(pool.checkout().await, Err(CheckoutError::Closed)));
    pool.close();
}

#[tokio::test(start_paused = true)]
async fn the_last_handle_ends_every_task_and_closes_what_is_idle() {
    let metrics = tokio::runtime::Handle::current().metrics();
    let pool = Pool::builder(Scripted::connecting([Gate::Ok, Gate::Ok, Gate::Error]))
        .build()
        .unwrap();
    let peer = pool.manager().peer().clone();
    let owned = pool.checkout_owned().await.unwrap();
    drop(pool.checkout().await.unwrap());
    let _second = pool.clone().checkout_owned().await.unwrap();
    let mut waiting = Box::pin(pool.checkout_owned());
    assert!(poll(&mut waiting).is_pending());
    settle().await;
    drop(pool.clone());
    assert!(!pool.is_closed());
    drop(pool);
    settle().await;
    assert_eq!(metrics.num_alive_tasks(), 0);
    assert!(matches!(
        poll(&mut waiting),
        Poll::Ready(Err(CheckoutError::Closed))
    ));
    assert_eq!(peer.open(), 2);
    drop(owned);
    assert_eq!(peer.open(), 1);
}

#[test]
fn an_owned_guard_may_be_dropped_on_any_thread_and_after_its_runtime() {
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let pool = builder().runtime(runtime.handle().clone()).build().unwrap();
    let peer = pool.manager().peer().clone();
    pool.manager().closes(Gate::Slow);
    let mut guards: Vec<_> = (0..4)
        .map(|_| {
            runtime
                .block_on(pool.checkout_owned())
                .expect("there is room for four")
        })
        .collect();

    let guard = guards.pop().unwrap();
    std::thread::spawn(move || drop(guard)).join().unwrap();
    assert_eq!(pool.status().idle, 1);

    // Somebody waits on a thread without a runtime, and a dial is needed for him.
    let mut tainted = guards.pop().unwrap();
    OwnedPooled::taint(&mut tainted);
    std::thread::spawn(move || drop(tainted)).join().unwrap();
    assert!(futures::executor::block_on(pool.checkout()).is_ok());

    runtime.shutdown_background();
    // The tasks that were running end when they are next polled or dropped.
    while !pool.is_closed() {
        std::thread::yield_now();
    }
    drop(guards.pop());
    drop(pool);
    drop(guards);
    while peer.open() > 0 {
        std::thread::yield_now();
    }
}

#[test]
fn a_caller_outside_the_runtime_is_told_when_the_runtime_shuts_down() {
    // In the middle of a dial, and in the pause between two.
    for (gate, maintenance) in [
        (Gate::Never, true),
        (Gate::Never, false),
        (Gate::Error, true),
        (Gate::Error, false),
    ] {
        let runtime = tokio::runtime::Runtime::new().unwrap();
        let pool = Pool::builder(Scripted::connecting([gate]))
            .runtime(runtime.handle().clone())
            .maintenance(maintenance)
            .build()
            .unwrap();
        let caller = {
            let pool = pool.clone();
            std::thread::spawn(move || futures::executor::block_on(pool.checkout()).map(drop))
        };
        while pool.manager().peer().dialled() == 0 {
            std::thread::yield_now();
        }
        drop(runtime);
        assert!(matches!(caller.join().unwrap(), Err(CheckoutError::Closed)));
        assert!(matches!(
            futures::executor::block_on(pool.checkout()),
            Err(CheckoutError::Closed)
        ));
        assert_eq!((pool.status().size(), pool.manager().peer().open()), (0, 0));
    }
}

#[test]
fn deadlines_work_on_any_executor() {
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let pool = builder()
        .runtime(runtime.handle().clone())
        .max_size(1)
        .build()
        .unwrap();
    let held = futures::executor::block_on(pool.checkout()).unwrap();
    let late = futures::executor::block_on(pool.checkout().timeout(Duration::from_millis(1)));
    assert!(matches!(late, Err(CheckoutError::Timeout(_))));
    drop(held);
}

// --- nothing of the user's runs under the lock

/// Calls back into its pool wherever it can.
#[derive(Debug, Default)]
struct Nosy(std::sync::Mutex<Option<Pool<Nosy>>>);

struct NosySocket(Option<Pool<Nosy>>);

impl Nosy {
    fn look(&self) -> Option<Pool<Self>> {
        let pool = self.0.lock().unwrap().clone();
        pool.as_ref().map(Pool::status);
        pool
    }
}

impl Drop for NosySocket {
    fn drop(&mut self) {
        self.0.as_ref().map(Pool::status);
    }
}

impl Manager for Nosy {
    type Connection = NosySocket;
    type Error = std::convert::Infallible;

    async fn connect(&self) -> Result<NosySocket, Self::Error> {
        Ok(NosySocket(self.look()))
    }

    fn is_dropped(&self, _: &mut NosySocket) -> bool {
        self.look();
        false
    }

    fn recycle(&self, _: &mut NosySocket) -> pool_core::Recycle {
        self.look();
        pool_core::Recycle::Keep
    }
}

struct NosyWaker(Pool<Nosy>);

impl Wake for NosyWaker {
    fn wake(self: Arc<Self>) {
        let _ = self.0.status();
        panic!("as told");
    }
}

#[tokio::test(start_paused = true)]
async fn a_manager_a_destructor_and_a_waker_may_call_back_into_the_pool_and_a_waker_may_panic() {
    silence_panics();
    let pool = Pool::builder(Nosy::default()).max_size(2).build().unwrap();
    *pool.manager().0.lock().unwrap() = Some(pool.clone());
    let (first, second) = (
        pool.checkout().await.unwrap(),
        pool.checkout().await.unwrap(),
    );
    let waker = Waker::from(Arc::new(NosyWaker(pool.clone())));
    let (mut nosy, mut other) = (Box::pin(pool.checkout()), Box::pin(pool.checkout()));
    assert!(
        nosy.as_mut()
            .poll(&mut Context::from_waker(&waker))
            .is_pending()
    );
    assert!(
        other
            .as_mut()
            .poll(&mut Context::from_waker(&waker))
            .is_pending()
    );
    drop(first);
    Pooled::discard(second);
    settle().await;
    assert!(poll(&mut nosy).is_ready() && poll(&mut other).is_ready());
    *pool.manager().0.lock().unwrap() = None;
    pool.close();
}

/// Its errors look into the pool when they are dropped.
#[derive(Debug, Default)]
struct NosyErrors(std::sync::Mutex<Option<Pool<NosyErrors>>>);

#[derive(Debug)]
struct NosyError(Option<Pool<NosyErrors>>);

impl std::fmt::Display for NosyError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("nosy")
    }
}

impl std::error::Error for NosyError {}

impl Drop for NosyError {
    fn drop(&mut self) {
        self.0.as_ref().map(Pool::status);
    }
}

impl Manager for NosyErrors {
    type Connection = ();
    type Error = NosyError;

    async fn connect(&self) -> Result<(), NosyError> {
        Err(NosyError(self.0.lock().unwrap().clone()))
    }

    fn is_dropped(&self, (): &mut ()) -> bool {
        false
    }
}

struct NosyWhenDropped(Pool<NosyErrors>);

impl Wake for NosyWhenDropped {
    fn wake(self: Arc<Self>) {}
}

impl Drop for NosyWhenDropped {
    fn drop(&mut self) {
        let _ = self.0.status();
    }
}

#[tokio::test(start_paused = true)]
async fn errors_and_wakers_are_dropped_outside_the_lock() {
    let pool = Pool::builder(NosyErrors::default()).build().unwrap();
    *pool.manager().0.lock().unwrap() = Some(pool.clone());
    // Each failure makes the pool forget the one before.
    assert!(pool.checkout().timeout(10 * SECOND).await.is_err());

    let poll_and_forget_the_waker =
        |checkout: &mut Pin<Box<pool_core::Checkout<'_, NosyErrors>>>| {
            let waker = Waker::from(Arc::new(NosyWhenDropped(pool.clone())));
            drop(checkout.as_mut().poll(&mut Context::from_waker(&waker)));
        };
    let mut waiting = Box::pin(pool.checkout());
    // The second waker replaces the first; the third checkout is refused and needs none.
    poll_and_forget_the_waker(&mut waiting);
    poll_and_forget_the_waker(&mut waiting);
    let mut cancelled = Box::pin(pool.checkout());
    poll_and_forget_the_waker(&mut cancelled);
    drop(cancelled);
    pool.close();
    poll_and_forget_the_waker(&mut Box::pin(pool.checkout()));
    *pool.manager().0.lock().unwrap() = None;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn under_stress_no_connection_is_in_two_hands_and_the_peer_never_sees_too_many() {
    use std::sync::atomic::AtomicBool;
    #[derive(Default)]
    struct Stamped {
        open: Arc<AtomicUsize>,
        most: AtomicUsize,
        dialled: AtomicUsize,
    }
    struct Connection {
        taken: AtomicBool,
        open: Arc<AtomicUsize>,
        uses: usize,
    }
    impl Drop for Connection {
        fn drop(&mut self) {
            self.open.fetch_sub(1, Ordering::SeqCst);
        }
    }
    impl Manager for Stamped {
        type Connection = Connection;
        type Error = std::convert::Infallible;
        async fn connect(&self) -> Result<Connection, Self::Error> {
            self.dialled.fetch_add(1, Ordering::SeqCst);
            let open = self.open.fetch_add(1, Ordering::SeqCst) + 1;
            self.most.fetch_max(open, Ordering::SeqCst);
            Ok(Connection {
                taken: AtomicBool::new(false),
                open: Arc::clone(&self.open),
                uses: 0,
            })
        }
        fn is_dropped(&self, connection: &mut Connection) -> bool {
            connection.uses % 16 == 15
        }
        async fn close(&self, connection: Connection) {
            tokio::task::yield_now().await;
            drop(connection);
        }
    }
    let pool = Pool::builder(Stamped::default())
        .max_size(8)
        .build()
        .unwrap();
    let mut tasks = Vec::new();
    for task in 0..64_u64 {
        let pool = pool.clone();
        tasks.push(tokio::spawn(async move {
            for round in 0..200_u64 {
                let mut guard = pool.checkout_owned().without_timeout().await.unwrap();
                assert!(!guard.taken.swap(true, Ordering::SeqCst), "in two hands");
                guard.uses += 1;
                tokio::task::yield_now().await;
                guard.taken.store(false, Ordering::SeqCst);
                if (task + round) % 7 == 0 {
                    OwnedPooled::taint(&mut guard);
                }
                if (task + round) % 5 == 0 {
                    drop(tokio::time::timeout(Duration::ZERO, pool.checkout()).await);
                }
            }
        }));
    }
    for task in tasks {
        task.await.unwrap();
    }
    assert!(pool.manager().most.load(Ordering::SeqCst) <= 8);
    while pool.status().closing + pool.status().connecting > 0 {
        tokio::task::yield_now().await;
    }
    let status = pool.status();
    assert_eq!((status.in_use, status.waiting), (0, 0));
    assert_eq!(status.idle, pool.manager().open.load(Ordering::SeqCst));
}
