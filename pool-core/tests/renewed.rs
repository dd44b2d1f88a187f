//! A caller has his connection replaced by another in the same slot.

#![allow(
    clippy::disallowed_methods,
    reason = "these tests measure the paused clock"
)]

mod support;

use std::pin::pin;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use pool_core::{CheckoutError, ConnectError, Event, Manager, Observer, OwnedPooled, Pool, Pooled};
use support::{Gate, SECOND, Scripted, builder, poll, settle, silence_panics};

/// What happened to connections, in that order.
#[derive(Default)]
struct Log(Mutex<Vec<String>>);

impl Log {
    /// What was told since the last look.
    fn news(&self) -> Vec<String> {
        std::mem::take(&mut self.0.lock().unwrap())
    }
}

impl Observer for Log {
    fn observe(&self, _pool: &str, event: &Event) {
        let line = match event {
            Event::Connecting { id } => format!("connecting {id}"),
            Event::Connected { id, .. } => format!("connected {id}"),
            Event::ConnectFailed { id, .. } => format!("connecting {id} failed"),
            Event::ConnectAbandoned { id } => format!("connecting {id} abandoned"),
            Event::CheckedOut { id, uses, .. } => format!("out {id}, use {uses}"),
            Event::CheckedIn { id, .. } => format!("in {id}"),
            Event::Closed { id, reason, .. } => format!("closed {id}: {reason}"),
            _ => return,
        };
        self.0.lock().unwrap().push(line);
    }
}

/// Full with its only connection, which dials like this from now on.
async fn full(then: Gate) -> (Pool<Scripted>, Arc<Log>, OwnedPooled<Scripted>) {
    let log = Arc::new(Log::default());
    let pool = builder()
        .max_size(1)
        .checkout_timeout(None)
        .observer(Arc::clone(&log))
        .build()
        .unwrap();
    let guard = pool.checkout_owned().await.unwrap();
    pool.manager().connects([then]);
    assert_eq!(log.news(), ["connecting 1", "connected 1", "out 1, use 1"]);
    (pool, log, guard)
}

/// In use, connecting, all that have a slot, waiting.
fn counts(pool: &Pool<Scripted>) -> (usize, usize, usize, usize) {
    let status = pool.status();
    (
        status.in_use,
        status.connecting,
        status.size(),
        status.waiting,
    )
}

#[tokio::test(start_paused = true)]
async fn it_is_new_and_events_tell_of_both() {
    let (pool, log, guard) = full(Gate::Ok).await;
    tokio::time::advance(SECOND).await;
    let guard = OwnedPooled::renew(guard).await.unwrap();
    let told = [
        "in 1",
        "closed 1: discarded",
        "connecting 2",
        "connected 2",
        "out 2, use 1",
    ];
    assert_eq!(log.news(), told);
    let info = OwnedPooled::info(&guard);
    assert_eq!(
        (info.id, info.uses, info.age),
        (2, 1, std::time::Duration::ZERO)
    );
    assert!(!info.is_reused());
    drop(guard);
    assert_eq!(pool.status().idle, 1);
    let metrics = pool.metrics();
    assert_eq!((metrics.connected, metrics.checkouts), (2, 2));
}

#[tokio::test(start_paused = true)]
async fn its_slot_stays_the_callers_and_nobody_who_waits_gets_it() {
    let (pool, _, guard) = full(Gate::Slow).await;
    let mut waiter = pin!(pool.checkout());
    assert!(poll(&mut waiter).is_pending());
    let mut renewal = pin!(OwnedPooled::renew(guard));
    assert!(poll(&mut renewal).is_pending());
    settle().await;
    assert_eq!(counts(&pool), (0, 1, 1, 1));
    let guard = renewal.await.unwrap();
    assert!(poll(&mut waiter).is_pending());
    assert_eq!(counts(&pool), (1, 0, 1, 1));
    drop(guard);
    assert_eq!(waiter.await.unwrap().number(), 2);
    assert_eq!(pool.manager().peer().most_open(), 1);
}

#[tokio::test(start_paused = true)]
async fn if_the_caller_leaves_its_connection_goes_to_whoever_waits() {
    let (pool, _, guard) = full(Gate::Slow).await;
    let waiter = pool.checkout();
    let mut waiter = pin!(waiter);
    assert!(poll(&mut waiter).is_pending());
    let mut renewal = Box::pin(OwnedPooled::renew(guard));
    assert!(poll(&mut renewal).is_pending());
    settle().await;
    drop(renewal);
    assert_eq!(waiter.await.unwrap().number(), 2);
    assert_eq!(pool.manager().peer().dialled(), 2);
}

#[tokio::test(start_paused = true)]
async fn a_dial_that_fails_is_told_and_frees_the_slot_for_whoever_waits() {
    silence_panics();
    for gate in [Gate::Error, Gate::Panic, Gate::Never] {
        let (pool, log, guard) = full(gate).await;
        let begun = tokio::time::Instant::now();
        let error = OwnedPooled::renew(guard).await.unwrap_err();
        let CheckoutError::Connect(failure) = error else {
            panic!("{error}");
        };
        if gate == Gate::Never {
            let limit = pool.config().connect_timeout;
            assert!(matches!(*failure.error, ConnectError::TimedOut(told) if told == limit));
            assert!(begun.elapsed() >= limit);
        }
        assert_eq!(log.news().last().unwrap(), "connecting 2 failed");
        assert_eq!(counts(&pool), (0, 0, 0, 0));
        pool.manager().connects([Gate::Ok]);
        assert!(pool.checkout().await.is_ok());
    }
}

#[tokio::test(start_paused = true)]
async fn one_who_waits_is_served_after_a_renewal_that_failed() {
    let (pool, _, guard) = full(Gate::Error).await;
    let mut waiter = pin!(pool.checkout());
    assert!(poll(&mut waiter).is_pending());
    assert!(OwnedPooled::renew(guard).await.is_err());
    pool.manager().connects([Gate::Ok]);
    waiter.await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_pool_that_is_closed_renews_nothing() {
    let (pool, log, guard) = full(Gate::Never).await;
    let mut renewal = pin!(OwnedPooled::renew(guard));
    assert!(poll(&mut renewal).is_pending());
    settle().await;
    pool.close();
    assert!(matches!(renewal.await, Err(CheckoutError::Closed)));
    assert_eq!(log.news().last().unwrap(), "connecting 2 abandoned");
    assert_eq!(counts(&pool), (0, 0, 0, 0));

    let (pool, log, guard) = full(Gate::Ok).await;
    pool.close();
    let renewed = OwnedPooled::renew(guard).await;
    assert!(matches!(renewed, Err(CheckoutError::Closed)));
    assert_eq!(log.news(), ["in 1", "closed 1: discarded"]);
    assert_eq!(
        (counts(&pool), pool.manager().peer().open()),
        ((0, 0, 0, 0), 0)
    );
}

#[tokio::test(start_paused = true)]
async fn a_close_that_hangs_delays_it_by_its_limit_alone() {
    silence_panics();
    for gate in [Gate::Never, Gate::Panic] {
        let (pool, _, guard) = full(Gate::Ok).await;
        pool.manager().closes(gate);
        let begun = tokio::time::Instant::now();
        let guard = OwnedPooled::renew(guard).await.unwrap();
        assert!(begun.elapsed() <= pool.config().close_timeout + SECOND);
        assert_eq!((guard.number(), counts(&pool)), (2, (1, 0, 1, 0)));
        assert_eq!(pool.manager().peer().open(), 1);
    }
}

/// Its first dial or its first close, whichever is told to, hangs; what hangs panics when it is given up.
#[derive(Debug, Default)]
struct PanicsWhenGivenUp {
    dial: AtomicBool,
    close: AtomicBool,
    dialled: AtomicUsize,
}

impl PanicsWhenGivenUp {
    async fn hang(&self, told: &AtomicBool) {
        struct Bomb;
        impl Drop for Bomb {
            fn drop(&mut self) {
                panic!("as told, when given up");
            }
        }
        if told.swap(false, Ordering::SeqCst) {
            let _bomb = Bomb;
            std::future::pending::<()>().await;
        }
    }
}

impl Manager for PanicsWhenGivenUp {
    type Connection = usize;
    type Error = std::convert::Infallible;

    async fn connect(&self) -> Result<usize, Self::Error> {
        self.hang(&self.dial).await;
        Ok(self.dialled.fetch_add(1, Ordering::SeqCst) + 1)
    }

    fn is_dropped(&self, _: &mut usize) -> bool {
        false
    }

    async fn close(&self, _: usize) {
        self.hang(&self.close).await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_dial_that_panics_when_it_is_given_up_is_told_and_does_not_end_the_pool() {
    silence_panics();
    let pool = Pool::builder(PanicsWhenGivenUp::default())
        .max_size(1)
        .build()
        .unwrap();
    let guard = pool.checkout_owned().await.unwrap();
    pool.manager().dial.store(true, Ordering::SeqCst);
    let error = OwnedPooled::renew(guard).await.unwrap_err();
    assert!(matches!(error, CheckoutError::Connect(_)), "{error}");
    assert!(pool.checkout().await.is_ok());
}

#[tokio::test(start_paused = true)]
async fn a_close_that_panics_when_it_is_given_up_does_not_keep_its_user_from_another() {
    silence_panics();
    let pool = Pool::builder(PanicsWhenGivenUp::default())
        .max_size(1)
        .build()
        .unwrap();
    let guard = pool.checkout_owned().await.unwrap();
    pool.manager().close.store(true, Ordering::SeqCst);
    let guard = OwnedPooled::renew(guard).await.unwrap();
    assert_eq!(*guard, 2);
}

#[tokio::test(start_paused = true)]
async fn one_for_which_its_caller_did_not_stay_was_never_used() {
    let (pool, _, guard) = full(Gate::Slow).await;
    drop(OwnedPooled::renew(guard));
    let (pool_too, _, guard) = full(Gate::Slow).await;
    let renewal = OwnedPooled::renew(guard);
    tokio::time::sleep(SECOND).await;
    drop(renewal);
    for pool in [pool, pool_too] {
        assert_eq!(pool.metrics().checkouts, 1);
        let guard = pool.checkout().await.unwrap();
        assert_eq!(guard.number(), 2);
        assert!(!Pooled::info(&guard).is_reused());
    }
}

#[tokio::test(start_paused = true)]
async fn what_was_retired_meanwhile_is_not_kept() {
    let (pool, log, guard) = full(Gate::Slow).await;
    let mut renewal = pin!(OwnedPooled::renew(guard));
    assert!(poll(&mut renewal).is_pending());
    settle().await;
    pool.retire_all();
    drop(renewal.await.unwrap());
    settle().await;
    assert_eq!(log.news().last().unwrap(), "closed 2: retired");
    assert_eq!(counts(&pool), (0, 0, 0, 0));
}

#[test]
fn a_runtime_that_ends_leaves_no_slot() {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    let (pool, guard) = runtime.block_on(async {
        let (pool, _, guard) = full(Gate::Never).await;
        (pool, guard)
    });
    let renewal = OwnedPooled::renew(guard);
    drop(runtime);
    let waited = futures::executor::block_on(renewal);
    assert!(matches!(waited, Err(CheckoutError::Closed)));
    assert_eq!(counts(&pool), (0, 0, 0, 0));
}
