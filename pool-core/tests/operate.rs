//! What an operator may do to a running pool, and what callers notice of it.

mod support;

use std::future::IntoFuture;
use std::pin::pin;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use futures::StreamExt;
use pool_core::testkit::Peer;
use pool_core::{
    CheckoutError, CloseReason, Dropped, Manager, OnConnectError, Order, Pool, Pooled, Recycle,
    TryCheckoutError,
};
use support::{Gate, SECOND, Scripted, builder, fill, poll, settle};

// --- size

#[tokio::test(start_paused = true)]
async fn a_smaller_pool_closes_what_is_idle_at_once_and_the_rest_as_it_comes_home() {
    let pool = builder().max_size(4).build().unwrap();
    fill(&pool, 4).await;
    let (first, second) = (
        pool.checkout().await.unwrap(),
        pool.checkout().await.unwrap(),
    );
    pool.resize(1);
    settle().await;
    assert_eq!(pool.manager().peer().open(), 2);
    drop(first);
    assert_eq!((pool.status().size(), pool.manager().peer().open()), (1, 1));
    drop(second);
    assert_eq!((pool.status().idle, pool.status().max_size), (1, 1));
    assert_eq!(pool.metrics().closed_for(CloseReason::Resized), 3);
}

#[tokio::test(start_paused = true)]
async fn a_pool_that_shrank_while_empty_never_has_more_than_it_may() {
    let pool = builder().max_size(16).build().unwrap();
    pool.resize(2);
    let checkouts = (0..16).map(|_| async {
        let guard = pool.checkout().await.unwrap();
        tokio::task::yield_now().await;
        drop(guard);
    });
    futures::future::join_all(checkouts).await;
    assert!(pool.manager().peer().most_open() <= 2);
}

#[tokio::test(start_paused = true)]
async fn a_pool_of_size_zero_serves_nobody_until_it_grows() {
    let pool = builder().max_size(1).build().unwrap();
    let mut dialling = Box::pin(pool.checkout());
    assert!(poll(&mut dialling).is_pending());
    pool.resize(0);
    drop(dialling);
    settle().await;
    assert_eq!((pool.status().size(), pool.manager().peer().open()), (0, 0));
    let mut waiting = Box::pin(pool.checkout());
    assert!(poll(&mut waiting).is_pending());
    settle().await;
    assert_eq!(pool.manager().peer().open(), 0);
    pool.resize(1);
    assert!(waiting.await.is_ok());
}

#[tokio::test(start_paused = true)]
async fn whoever_waits_is_served_by_a_pool_that_grows() {
    let pool = builder().max_size(1).build().unwrap();
    let _held = pool.checkout().await.unwrap();
    let mut waiting = Box::pin(pool.checkout());
    assert!(poll(&mut waiting).is_pending());
    pool.resize(2);
    assert!(waiting.await.is_ok());
    assert_eq!(pool.status().in_use, 1);
}

#[tokio::test(start_paused = true)]
async fn a_surplus_connection_goes_to_nobody_even_if_somebody_waits() {
    let pool = builder().max_size(2).build().unwrap();
    let (first, second) = (
        pool.checkout().await.unwrap(),
        pool.checkout().await.unwrap(),
    );
    let mut waiting = Box::pin(pool.checkout());
    assert!(poll(&mut waiting).is_pending());
    pool.resize(1);
    drop(first);
    settle().await;
    assert!(poll(&mut waiting).is_pending());
    drop(second);
    assert!(waiting.await.is_ok());
    assert_eq!(pool.manager().peer().dialled(), 2);
}

#[tokio::test(start_paused = true)]
async fn no_more_than_max_idle_are_kept() {
    let pool = builder().max_size(8).max_idle(2).build().unwrap();
    fill(&pool, 8).await;
    assert_eq!((pool.status().idle, pool.status().size()), (2, 2));
    assert_eq!(pool.metrics().closed_for(CloseReason::MaxIdle), 6);
}

#[tokio::test(start_paused = true)]
async fn a_connection_for_which_somebody_waits_is_not_one_too_many() {
    let pool = builder().max_size(1).max_idle(0).build().unwrap();
    let held = pool.checkout().await.unwrap();
    let mut waiting = Box::pin(pool.checkout());
    assert!(poll(&mut waiting).is_pending());
    drop(held);
    assert_eq!(waiting.await.unwrap().number(), 1);
    assert_eq!(pool.status().size(), 0);
}

#[tokio::test(start_paused = true)]
async fn min_idle_can_be_changed_but_not_beyond_max_idle() {
    let pool = builder().max_size(8).max_idle(3).build().unwrap();
    pool.set_min_idle(5);
    settle().await;
    assert_eq!(pool.status().idle, 3);
    tokio::time::sleep(60 * SECOND).await;
    assert_eq!(pool.manager().peer().dialled(), 3);
    pool.set_min_idle(1);
    pool.set_idle_timeout(SECOND);
    tokio::time::sleep(2 * SECOND).await;
    assert_eq!(pool.status().idle, 1);
}

#[tokio::test(start_paused = true)]
async fn fewer_may_be_kept_idle_from_one_moment_to_the_next() {
    let pool = builder().max_size(8).min_idle(5).build().unwrap();
    fill(&pool, 8).await;
    pool.set_max_idle(3);
    settle().await;
    assert_eq!((pool.status().idle, pool.status().size()), (3, 3));
    assert_eq!(pool.metrics().closed_for(CloseReason::MaxIdle), 5);
    fill(&pool, 8).await;
    assert_eq!(pool.status().idle, 3);
    pool.set_max_idle(None);
    fill(&pool, 8).await;
    assert_eq!(pool.status().idle, 8);
}

#[tokio::test(start_paused = true)]
async fn another_lifetime_counts_from_the_birth_of_each_connection_there_is() {
    let pool = builder().max_size(2).lifetime_jitter(0.0).build().unwrap();
    let held = pool.checkout().await.unwrap();
    drop(pool.checkout().await.unwrap());
    tokio::time::sleep(60 * SECOND).await;
    pool.set_max_lifetime(90 * SECOND);
    tokio::time::sleep(29 * SECOND).await;
    assert_eq!(pool.status().size(), 2);
    // Before it is over it may become longer again.
    pool.set_max_lifetime(100 * SECOND);
    tokio::time::sleep(10 * SECOND).await;
    assert_eq!(pool.status().size(), 2);
    tokio::time::sleep(2 * SECOND).await;
    assert_eq!(pool.status().idle, 0);
    drop(held);
    settle().await;
    assert_eq!(pool.status().size(), 0);
    assert_eq!(pool.metrics().closed_for(CloseReason::MaxLifetime), 2);

    fill(&pool, 2).await;
    pool.set_max_lifetime(None);
    pool.set_idle_timeout(None);
    tokio::time::sleep(100_000 * SECOND).await;
    assert_eq!(pool.status().idle, 2);
    pool.set_max_lifetime(SECOND);
    settle().await;
    assert_eq!(pool.status().size(), 0);
}

#[tokio::test(start_paused = true)]
#[should_panic(expected = "max_lifetime is zero")]
async fn a_lifetime_of_zero_is_refused() {
    builder().build().unwrap().set_max_lifetime(Duration::ZERO);
}

#[tokio::test(start_paused = true)]
async fn a_connection_is_used_so_often_and_not_once_more() {
    let pool = builder().max_size(1).max_uses(3).build().unwrap();
    let mut numbers = Vec::new();
    for _ in 0..7 {
        numbers.push(pool.checkout().await.unwrap().number());
    }
    assert_eq!(numbers, [1, 1, 1, 2, 2, 2, 3]);
    assert_eq!(pool.metrics().closed_for(CloseReason::MaxUses), 2);
}

// --- pressure

#[tokio::test(start_paused = true)]
async fn the_waiter_who_is_one_too_many_is_refused_at_once_with_the_numbers() {
    let pool = builder().max_size(1).max_waiters(1).build().unwrap();
    let held = pool.checkout().await.unwrap();
    let mut waiting = Box::pin(pool.checkout());
    assert!(poll(&mut waiting).is_pending());
    let refused = pool.checkout().await.unwrap_err();
    assert_eq!(
        refused.to_string(),
        "too many callers wait for a connection (1 of 1 in use, 0 idle, 0 connecting, 1 waiting): see max_waiters"
    );
    assert_eq!(pool.metrics().refused, 1);
    drop(held);
    assert!(waiting.await.is_ok());
}

#[tokio::test(start_paused = true)]
async fn those_whom_free_slots_will_serve_do_not_count_as_waiters() {
    let pool = builder().max_size(3).max_waiters(0).build().unwrap();
    let mut callers: Vec<_> = (0..3).map(|_| Box::pin(pool.checkout())).collect();
    for caller in &mut callers {
        assert!(poll(caller).is_pending());
    }
    assert!(matches!(
        pool.checkout().await,
        Err(CheckoutError::TooManyWaiters(_))
    ));
    let guards = futures::future::try_join_all(callers).await.unwrap();
    assert_eq!(guards.len(), 3);
}

#[tokio::test(start_paused = true)]
async fn two_who_each_need_most_of_a_pool_both_get_it() {
    let pool = builder().max_size(8).build().unwrap();
    let take = || async {
        for _ in 0..50 {
            let guards = pool.checkout_many(5).timeout(SECOND).await.unwrap();
            assert_eq!(guards.len(), 5);
            tokio::task::yield_now().await;
        }
    };
    tokio::join!(take(), take(), take());
    assert_eq!(pool.status().in_use, 0);
}

#[tokio::test(start_paused = true)]
async fn many_are_all_or_none() {
    let pool = builder().max_size(3).build().unwrap();
    let held = pool.checkout().await.unwrap();
    let error = pool.checkout_many(3).timeout(SECOND).await.unwrap_err();
    assert!(
        error.to_string().starts_with("timed out after 1 s"),
        "{error}"
    );
    assert_eq!((pool.status().in_use, pool.status().waiting), (1, 0));
    // The turn is not lost with him who left while it was his.
    let mut left = pin!(pool.checkout_many(3).into_future());
    let mut cx = Context::from_waker(Waker::noop());
    assert!(left.as_mut().poll(&mut cx).is_pending());
    left.set(pool.checkout_many(0).into_future());
    drop(held);
    assert_eq!(pool.checkout_many(3).await.unwrap().len(), 3);
    assert!(matches!(
        pool.checkout_many(4).await,
        Err(CheckoutError::TooMany {
            wanted: 4,
            max_size: 3
        })
    ));
    assert_eq!(pool.checkout_many(0).await.unwrap().len(), 0);
}

#[tokio::test(start_paused = true)]
async fn more_than_there_may_be_are_refused_before_anything_is_done_for_them() {
    let pool = builder().max_size(3).max_waiters(0).build().unwrap();
    for wanted in [4, 1_000, usize::MAX] {
        let limits = [Duration::ZERO, SECOND];
        for many in limits.map(|limit| pool.checkout_many(wanted).timeout(limit)) {
            let error = many.await.unwrap_err();
            assert!(matches!(error, CheckoutError::TooMany { max_size: 3, .. }));
        }
    }
    settle().await;
    assert_eq!(pool.manager().peer().dialled(), 0);
    assert_eq!((pool.metrics().waited, pool.metrics().refused), (0, 0));
}

#[tokio::test(start_paused = true)]
async fn who_waits_for_his_turn_to_take_many_waits_no_longer_than_his_limit() {
    let pool = builder().max_size(2).build().unwrap();
    let _held = pool.checkout().await.unwrap();
    let mut first = pin!(pool.checkout_many(2).without_timeout().into_future());
    let mut cx = Context::from_waker(Waker::noop());
    assert!(first.as_mut().poll(&mut cx).is_pending());
    let second = pool.checkout_many(2).timeout(SECOND).await;
    assert!(matches!(second, Err(CheckoutError::Timeout(timeout)) if timeout.waited == SECOND));
}

#[tokio::test(start_paused = true)]
async fn warming_up_tells_how_far_it_has_come_and_ends_with_all_there() {
    let pool = Pool::builder(Scripted::connecting([Gate::Slow]))
        .max_size(5)
        .max_connecting(2)
        .build()
        .unwrap();
    let mut progress = pool.warm_up(5);
    let mut steps = Vec::new();
    while let Some(step) = progress.next().await {
        steps.push(step.unwrap().connected);
    }
    assert_eq!(steps.first(), Some(&0));
    assert_eq!(steps.last(), Some(&5));
    assert!(steps.is_sorted());
    assert_eq!(pool.manager().peer().dialled(), 5);
    pool.warm_up(5).await.unwrap();
    assert_eq!(pool.manager().peer().dialled(), 5);
}

#[tokio::test(start_paused = true)]
async fn whoever_warms_up_more_than_a_shrunken_pool_may_have_does_not_wait_for_it() {
    let pool = Pool::builder(Scripted::connecting([Gate::Ok, Gate::Never]))
        .max_size(2)
        .build()
        .unwrap();
    let _held = pool.checkout().await.unwrap();
    let mut progress = pool.warm_up(2).without_timeout();
    assert_eq!(progress.next().await.unwrap().unwrap().connected, 1);
    let mut next = progress.next();
    assert!(poll(&mut next).is_pending());
    pool.resize(1);
    let told = tokio::time::timeout(SECOND, next).await.unwrap().unwrap();
    assert!(matches!(
        told,
        Err(CheckoutError::TooMany {
            wanted: 2,
            max_size: 1
        })
    ));
}

#[tokio::test(start_paused = true)]
async fn warming_up_outlasts_a_failure_and_tells_of_one_that_is_permanent() {
    let pool = Pool::builder(Scripted::connecting([Gate::Error, Gate::Error, Gate::Ok]))
        .build()
        .unwrap();
    pool.warm_up(3).await.unwrap();
    let pool = Pool::builder(Scripted::connecting([Gate::Error]))
        .on_connect_error(OnConnectError::Fail)
        .build()
        .unwrap();
    assert!(matches!(
        pool.warm_up(1).await,
        Err(CheckoutError::Connect(_))
    ));
    let pool = Pool::builder(Scripted::connecting([Gate::Never]))
        .build()
        .unwrap();
    let error = pool.warm_up(1).timeout(SECOND).await.unwrap_err();
    assert!(error.to_string().starts_with("timed out after 1 s"));
    assert!(matches!(
        pool.warm_up(11).await,
        Err(CheckoutError::TooMany {
            wanted: 11,
            max_size: 10
        })
    ));
    pool.close();
    assert!(matches!(pool.warm_up(1).await, Err(CheckoutError::Closed)));
}

// --- pause

#[tokio::test(start_paused = true)]
async fn a_paused_pool_serves_nobody_and_dials_nothing() {
    let pool = builder().max_size(2).min_idle(1).build().unwrap();
    settle().await;
    pool.pause();
    let Err(TryCheckoutError::Empty(status)) = pool.try_checkout() else {
        panic!("nobody is served");
    };
    assert!(status.is_paused);
    let error = pool.checkout().timeout(SECOND).await.unwrap_err();
    assert!(error.to_string().contains("1 waiting, paused"), "{error}");
    assert_eq!(pool.manager().peer().dialled(), 1);
}

#[tokio::test(start_paused = true)]
async fn those_who_waited_out_a_pause_are_served_in_order() {
    let pool = builder().max_size(2).build().unwrap();
    fill(&pool, 2).await;
    pool.pause();
    let (mut first, mut second, mut third) = (
        Box::pin(pool.checkout()),
        Box::pin(pool.checkout()),
        Box::pin(pool.checkout()),
    );
    for caller in [&mut first, &mut second, &mut third] {
        assert!(poll(caller).is_pending());
    }
    pool.resume();
    assert!(poll(&mut third).is_pending());
    let (first, second) = (poll(&mut first), poll(&mut second));
    assert!(first.is_ready() && second.is_ready());
    drop(first);
    assert!(poll(&mut third).is_ready());
}

#[tokio::test(start_paused = true)]
async fn what_comes_home_to_a_paused_pool_lies_idle() {
    let pool = builder().max_size(1).build().unwrap();
    let held = pool.checkout().await.unwrap();
    let mut waiting = Box::pin(pool.checkout());
    assert!(poll(&mut waiting).is_pending());
    pool.pause();
    pool.pause();
    drop(held);
    assert_eq!((pool.status().idle, pool.status().waiting), (1, 1));
    pool.resume();
    assert!(poll(&mut waiting).is_ready());
}

// --- retiring

#[tokio::test(start_paused = true)]
async fn retired_connections_are_replaced_as_they_come_home_and_min_idle_is_filled_up() {
    let pool = builder().max_size(4).min_idle(2).build().unwrap();
    settle().await;
    let held = pool.checkout().await.unwrap();
    settle().await;
    pool.retire_all();
    settle().await;
    assert_eq!((pool.status().idle, pool.status().in_use), (2, 1));
    assert_eq!(Pooled::is_due(&held), Some(CloseReason::Retired));
    let old = held.number();
    drop(held);
    settle().await;
    assert_eq!(pool.status().idle, 2);
    assert!(pool.checkout().await.unwrap().number() > old);
    assert_eq!(pool.metrics().closed_for(CloseReason::Retired), 3);
}

#[tokio::test(start_paused = true)]
async fn a_dial_begun_before_is_retired_when_it_is_done() {
    let pool = Pool::builder(Scripted::connecting([Gate::Slow, Gate::Ok]))
        .build()
        .unwrap();
    let mut waiting = Box::pin(pool.checkout());
    assert!(poll(&mut waiting).is_pending());
    pool.retire_all();
    assert_eq!(waiting.await.unwrap().number(), 2);
}

#[tokio::test(start_paused = true)]
async fn a_manager_may_discard_what_comes_home_with_all_that_is_older() {
    let pool = builder().order(Order::Fifo).build().unwrap();
    fill(&pool, 3).await;
    let (first, second) = (
        pool.checkout().await.unwrap(),
        pool.checkout().await.unwrap(),
    );
    pool.manager().recycles(Recycle::DiscardWithOlder);
    drop(second);
    assert_eq!(Pooled::is_due(&first), Some(CloseReason::Retired));
    drop(first);
    assert_eq!(pool.status().idle, 1);
    assert_eq!(pool.checkout().await.unwrap().number(), 3);
}

#[tokio::test(start_paused = true)]
async fn one_hard_failure_retires_what_is_older_and_not_what_is_younger() {
    let pool = builder().order(Order::Fifo).build().unwrap();
    fill(&pool, 3).await;
    let (first, mut second) = (
        pool.checkout().await.unwrap(),
        pool.checkout().await.unwrap(),
    );
    assert_eq!((first.number(), second.number()), (1, 2));
    Pooled::taint_with_older(&mut second);
    drop((first, second));
    assert_eq!(pool.status().idle, 1);
    assert_eq!(pool.checkout().await.unwrap().number(), 3);
}

#[tokio::test(start_paused = true)]
async fn connections_made_together_do_not_expire_together() {
    let pool = builder()
        .max_size(50)
        .max_connecting(50)
        .idle_timeout(None)
        .max_lifetime(Duration::from_secs(1000))
        .build()
        .unwrap();
    pool.warm_up(50).await.unwrap();
    tokio::time::sleep(Duration::from_secs(899)).await;
    assert_eq!(pool.status().idle, 50);
    // The jitter leaves a hundred seconds for fifty connections.
    let mut most = 0;
    let mut left = 50;
    for _ in 0..20 {
        tokio::time::sleep(Duration::from_secs(5)).await;
        let now = pool.status().idle;
        most = most.max(left - now);
        left = now;
    }
    tokio::time::sleep(2 * SECOND).await;
    assert_eq!(pool.status().idle, 0);
    assert!(most <= 8, "{most} in five seconds");
}

#[tokio::test(start_paused = true)]
async fn idle_connections_can_be_cleared_sorted_and_swept() {
    let pool = builder().build().unwrap();
    fill(&pool, 6).await;
    assert_eq!(
        pool.retain(|socket, info| socket.number() > 2 && info.uses == 1),
        2
    );
    assert_eq!(pool.metrics().closed_for(CloseReason::Cleared), 2);
    pool.manager().peer().hang_up_unnoticed(5);
    assert_eq!(pool.sweep(), 1);
    assert_eq!(pool.status().idle, 3);
    assert_eq!(pool.clear_idle(), 3);
    assert_eq!((pool.status().size(), pool.manager().peer().open()), (0, 0));
}

#[tokio::test(start_paused = true)]
async fn being_sorted_is_not_a_use() {
    let pool = builder().idle_timeout(2 * SECOND).build().unwrap();
    fill(&pool, 1).await;
    tokio::time::sleep(Duration::from_millis(1500)).await;
    assert_eq!(pool.retain(|_, _| true), 0);
    tokio::time::sleep(SECOND).await;
    assert_eq!(pool.status().size(), 0);
}

#[tokio::test(start_paused = true)]
async fn a_panic_while_sorting_costs_one_connection_and_not_the_pool() {
    support::silence_panics();
    let pool = builder().build().unwrap();
    fill(&pool, 3).await;
    let sorted = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
        pool.retain(|_, _| panic!("as told"))
    }));
    assert!(sorted.is_err());
    assert_eq!(pool.status().idle, 2);
    assert!(pool.checkout().await.is_ok());
}

// --- a deadline the connection brings along

/// Says after each use how long its server will keep the connection; zero for not at all.
struct Hinted {
    scripted: Scripted,
    seconds: AtomicU64,
}

impl Manager for Hinted {
    type Connection = support::Socket;
    type Error = support::ScriptedError;

    async fn connect(&self) -> Result<support::Socket, support::ScriptedError> {
        self.scripted.connect().await
    }

    fn is_dropped(&self, socket: &mut support::Socket) -> bool {
        self.scripted.is_dropped(socket)
    }

    fn poll_dropped(&self, socket: &mut support::Socket, cx: &mut Context<'_>) -> Poll<Dropped> {
        self.scripted.poll_dropped(socket, cx)
    }

    fn idle_limit(&self, _: &support::Socket) -> Option<Duration> {
        match self.seconds.load(Ordering::Relaxed) {
            u64::MAX => None,
            seconds => Some(Duration::from_secs(seconds)),
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_connection_is_closed_when_its_own_deadline_is_over() {
    let hinted = Hinted {
        scripted: Scripted::new(),
        seconds: 5.into(),
    };
    let pool = Pool::builder(hinted).min_idle(1).build().unwrap();
    drop(pool.checkout().await.unwrap());
    settle().await;
    // A use in time starts the deadline anew.
    tokio::time::sleep(4 * SECOND).await;
    let first = pool.checkout().await.unwrap().number();
    tokio::time::sleep(4 * SECOND).await;
    assert_eq!(pool.checkout().await.unwrap().number(), first);
    tokio::time::sleep(6 * SECOND).await;
    assert_eq!(pool.metrics().closed_for(CloseReason::IdleLimit), 1);
    // In use for longer than that, it is no longer bound by what it said before.
    let held = pool.checkout().await.unwrap();
    let number = held.number();
    tokio::time::sleep(60 * SECOND).await;
    pool.manager().seconds.store(u64::MAX, Ordering::Relaxed);
    drop(held);
    tokio::time::sleep(60 * SECOND).await;
    assert_eq!(pool.checkout().await.unwrap().number(), number);
    pool.manager().seconds.store(0, Ordering::Relaxed);
    drop(pool.checkout().await.unwrap());
    assert_ne!(pool.checkout().await.unwrap().number(), number);
}

// --- the end

#[tokio::test(start_paused = true)]
async fn a_drain_ends_when_the_last_socket_is_closed() {
    let pool = builder().build().unwrap();
    fill(&pool, 2).await;
    let held = pool.checkout_owned().await.unwrap();
    pool.manager().closes(Gate::Slow);
    let drained = tokio::spawn({
        let pool = pool.clone();
        async move { pool.drain(60 * SECOND).await }
    });
    settle().await;
    assert!(pool.is_closed() && !drained.is_finished());
    tokio::time::sleep(SECOND).await;
    assert_eq!(pool.manager().peer().open(), 1);
    drop(held);
    settle().await;
    assert!(!drained.is_finished(), "its socket is not closed yet");
    drained.await.unwrap().unwrap();
    assert_eq!(pool.manager().peer().open(), 0);
}

#[tokio::test(start_paused = true)]
async fn a_drain_that_takes_too_long_says_how_many_were_not_closed() {
    let pool = builder().build().unwrap();
    let _held = (
        pool.checkout().await.unwrap(),
        pool.checkout().await.unwrap(),
    );
    let undrained = pool.drain(SECOND).await.unwrap_err();
    assert_eq!(undrained.status.size(), 2);
    assert_eq!(
        undrained.to_string(),
        "2 connections were not closed within 1 s (2 of 10 in use, 0 idle, 0 connecting, 0 waiting, closed)"
    );
}

#[tokio::test(start_paused = true)]
async fn a_drain_does_not_wait_for_dials_nor_for_detached_connections() {
    let pool = Pool::builder(Scripted::connecting([Gate::Ok, Gate::Never]))
        .build()
        .unwrap();
    let detached = Pooled::detach(pool.checkout().await.unwrap());
    let mut dialling = Box::pin(pool.checkout());
    assert!(poll(&mut dialling).is_pending());
    settle().await;
    pool.drain(SECOND).await.unwrap();
    assert!(matches!(dialling.await, Err(CheckoutError::Closed)));
    assert_eq!(pool.manager().peer().open(), 1);
    drop(detached);
}

#[test]
fn a_drain_is_legal_while_the_runtime_shuts_down_and_on_a_thread_without_one() {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .enable_time()
        .build()
        .unwrap();
    let entered = runtime.enter();
    let pool = builder().build().unwrap();
    drop(entered);
    let held = runtime.block_on(pool.checkout_owned()).unwrap();
    let drainer = std::thread::spawn({
        let pool = pool.clone();
        move || futures::executor::block_on(pool.drain(60 * SECOND))
    });
    while !pool.is_closed() {
        std::thread::yield_now();
    }
    runtime.shutdown_background();
    drop(held);
    // Whether it ends with the last connection or with the runtime, it ends.
    drop(drainer.join().unwrap());
    assert_eq!(pool.status().size(), 0);
}

#[tokio::test(start_paused = true)]
async fn an_added_connection_is_one_like_any_other() {
    let peer = Peer::default();
    let pool = Pool::builder(Scripted::dialling(&peer))
        .max_size(1)
        .build()
        .unwrap();
    let outside = Scripted::dialling(&peer).connect().await.unwrap();
    assert!(pool.add(outside).is_ok());
    assert_eq!(pool.checkout().await.unwrap().number(), 1);
    let refused = Scripted::dialling(&peer).connect().await.unwrap();
    assert!(pool.add(refused).is_err());
    pool.close();
    settle().await;
    assert_eq!(peer.open(), 0);
}
