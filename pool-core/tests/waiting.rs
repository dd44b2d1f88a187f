//! Many callers who wait, each for as long as he likes, and one timer for all of them.

#![allow(
    clippy::disallowed_methods,
    reason = "under a paused clock, tokio's instants are the pool's"
)]

mod support;

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use futures::StreamExt;
use futures::stream::FuturesUnordered;
use pool_core::{CheckoutError, Dropped, Manager, Pool};
use support::{SECOND, builder, fill, poll, settle};
use tokio::time::Instant;

const MILLISECOND: Duration = Duration::from_millis(1);

/// Scattered, and the same in every run.
fn limits(count: u64) -> impl Iterator<Item = Duration> {
    (1..=count).map(|number| Duration::from_millis(1 + number * 7_919 % 4_999))
}

#[tokio::test(start_paused = true)]
async fn every_limit_ends_when_it_is_due_whatever_the_others_are() {
    for maintenance in [true, false] {
        let pool = builder()
            .max_size(1)
            .maintenance(maintenance)
            .build()
            .unwrap();
        let held = pool.checkout().await.unwrap();
        let mut patient = Box::pin(pool.checkout().without_timeout());
        assert!(poll(&mut patient).is_pending());
        let start = Instant::now();
        let late: FuturesUnordered<_> = limits(2_000)
            .map(|limit| {
                let checkout = pool.checkout().timeout(limit);
                async move {
                    assert!(matches!(checkout.await, Err(CheckoutError::Timeout(_))));
                    let late = start.elapsed() - limit;
                    assert!(late <= 2 * MILLISECOND, "{limit:?} was {late:?} late");
                }
            })
            .collect();
        assert_eq!(late.count().await, 2_000);
        drop(held);
        drop(patient.await.unwrap());
        assert_eq!(pool.status().waiting, 0);
    }
}

#[tokio::test(start_paused = true)]
async fn callers_who_go_before_their_time_delay_nobody() {
    let pool = builder().max_size(1).build().unwrap();
    let held = pool.checkout().await.unwrap();
    let mut gone = Vec::new();
    for limit in limits(500) {
        let mut checkout = Box::pin(pool.checkout().timeout(limit));
        assert!(poll(&mut checkout).is_pending());
        gone.push(checkout);
    }
    let start = Instant::now();
    let mut last = Box::pin(pool.checkout().timeout(10 * SECOND));
    assert!(poll(&mut last).is_pending());
    drop(gone);
    assert!(matches!(last.await, Err(CheckoutError::Timeout(_))));
    assert!(start.elapsed() - 10 * SECOND <= 2 * MILLISECOND);
    drop(held);
    assert_eq!((pool.status().waiting, pool.status().idle), (0, 1));
}

#[tokio::test(start_paused = true)]
async fn a_later_caller_in_a_hurry_is_told_first() {
    let pool = builder().max_size(1).build().unwrap();
    let held = pool.checkout().await.unwrap();
    for hurry in [5_000, 500, 50] {
        let limit = Duration::from_millis(hurry);
        let mut patient = Box::pin(pool.checkout().timeout(2 * limit));
        assert!(poll(&mut patient).is_pending());
        let start = Instant::now();
        let error = pool.checkout().timeout(limit).await.unwrap_err();
        assert!(start.elapsed() - limit <= 2 * MILLISECOND);
        let CheckoutError::Timeout(timeout) = error else {
            panic!("{error}")
        };
        assert_eq!(timeout.status.waiting, 2, "he and the one before him");
        assert!(poll(&mut patient).is_pending());
    }
    drop(held);
}

#[tokio::test(start_paused = true)]
async fn callers_whose_time_ends_together_are_told_how_many_waited() {
    let pool = builder().max_size(1).build().unwrap();
    let held = pool.checkout().await.unwrap();
    let mut all: FuturesUnordered<_> = (0..300).map(|_| pool.checkout().timeout(SECOND)).collect();
    let mut told = Vec::new();
    while let Some(Err(CheckoutError::Timeout(timeout))) = all.next().await {
        told.push(timeout.status.waiting);
    }
    told.sort_unstable();
    assert_eq!(told, (1..=300).collect::<Vec<_>>());
    drop(held);
    settle().await;
    assert_eq!(pool.metrics().timed_out, 300);
}

#[tokio::test(start_paused = true)]
async fn whoever_was_granted_a_connection_in_time_has_it_however_late_he_looks() {
    let pool = builder().max_size(1).build().unwrap();
    fill(&pool, 1).await;
    let held = pool.checkout().await.unwrap();
    let mut waiting = Box::pin(pool.checkout().timeout(SECOND));
    assert!(poll(&mut waiting).is_pending());
    drop(held);
    tokio::time::sleep(10 * SECOND).await;
    assert_eq!(pool.status().in_use, 1, "it is his");
    waiting.await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn whoever_waited_too_long_keeps_nobody_from_waiting_though_nobody_polls_him() {
    let pool = builder().max_size(1).max_waiters(1).build().unwrap();
    let held = pool.checkout().await.unwrap();
    let mut late = Box::pin(pool.checkout().timeout(SECOND));
    assert!(poll(&mut late).is_pending());
    let refused = pool.checkout().await;
    assert!(matches!(refused, Err(CheckoutError::TooManyWaiters(_))));
    tokio::time::sleep(2 * SECOND).await;
    let mut next = Box::pin(pool.checkout());
    assert!(poll(&mut next).is_pending());
    assert_eq!(pool.status().waiting, 1);
    drop(held);
    assert!(next.await.is_ok());
    assert!(matches!(late.await, Err(CheckoutError::Timeout(_))));
    let metrics = pool.metrics();
    assert_eq!(
        (metrics.refused, metrics.timed_out, metrics.cancelled),
        (1, 1, 0)
    );
}

#[tokio::test(start_paused = true)]
async fn a_limit_ends_in_a_pause_too_and_the_others_are_served_after_it() {
    let pool = builder().max_size(1).build().unwrap();
    fill(&pool, 1).await;
    pool.pause();
    let mut patient = Box::pin(pool.checkout());
    assert!(poll(&mut patient).is_pending());
    let start = Instant::now();
    let late = pool.checkout().timeout(SECOND).await;
    assert!(matches!(late, Err(CheckoutError::Timeout(_))));
    assert!(start.elapsed() - SECOND <= 2 * MILLISECOND);
    assert_eq!((pool.status().waiting, pool.status().idle), (1, 1));
    pool.resume();
    assert!(patient.await.is_ok());
}

/// Its probe blocks the thread that asks while it is told to.
#[derive(Debug, Default)]
struct Blocking {
    is_told: AtomicBool,
    is_blocked: AtomicBool,
}

impl Manager for Blocking {
    type Connection = Socket;
    type Error = std::convert::Infallible;

    async fn connect(&self) -> Result<Socket, Self::Error> {
        Ok(Socket::default())
    }

    fn is_dropped(&self, _: &mut Socket) -> bool {
        false
    }

    fn poll_dropped(&self, socket: &mut Socket, cx: &mut Context<'_>) -> Poll<Dropped> {
        socket.0.lock().unwrap().replace(cx.waker().clone());
        while self.is_told.load(Ordering::SeqCst) {
            self.is_blocked.store(true, Ordering::SeqCst);
            std::thread::yield_now();
        }
        Poll::Pending
    }
}

#[derive(Debug, Default)]
struct Socket(Arc<Mutex<Option<Waker>>>);

#[tokio::test(flavor = "multi_thread", worker_threads = 3)]
async fn a_probe_that_blocks_a_thread_delays_no_timeout() {
    let pool = Pool::builder(Blocking::default())
        .max_size(2)
        .build()
        .unwrap();
    let (held, idle) = (
        pool.checkout().await.unwrap(),
        pool.checkout().await.unwrap(),
    );
    let waker = Arc::clone(&idle.0);
    drop(idle);
    pool.manager().is_told.store(true, Ordering::SeqCst);
    let stirred = waker.lock().unwrap().take().unwrap();
    stirred.wake();
    while !pool.manager().is_blocked.load(Ordering::SeqCst) {
        tokio::task::yield_now().await;
    }
    let late = pool.checkout().timeout(Duration::from_millis(10)).await;
    assert!(matches!(late, Err(CheckoutError::Timeout(_))));
    pool.manager().is_told.store(false, Ordering::SeqCst);
    drop(held);
}
