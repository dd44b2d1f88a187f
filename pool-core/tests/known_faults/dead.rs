//! Dead connections: handed out, kept, or the end of the pool.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::Poll;

use pool_core::{Check, CheckoutError, Pool, Unhealthy};
use tokio::time::Instant;

use crate::support::{Gate, SECOND, Scripted, builder, fill, poll};

#[tokio::test(start_paused = true)]
async fn a_pool_whose_connections_all_break_in_use_goes_on_serving() {
    let pool = builder().max_size(2).build().unwrap();
    for number in 1..=1_000 {
        let guard = pool.checkout().await.unwrap();
        assert_eq!(guard.number(), number);
        pool.manager().peer().hang_up_unnoticed(number);
    }
}

#[tokio::test(start_paused = true)]
async fn an_outage_longer_than_every_limit_ends_when_the_peer_is_back() {
    for outage in [Gate::Error, Gate::Never] {
        let pool = Pool::builder(Scripted::default())
            .max_size(3)
            .build()
            .unwrap();
        fill(&pool, 3).await;
        pool.manager().connects([outage]);
        for number in 1..=3 {
            pool.manager().peer().hang_up(number);
        }
        let started = Instant::now();
        while started.elapsed() < 900 * SECOND {
            let error = pool.checkout().await.unwrap_err();
            assert!(matches!(error, CheckoutError::Timeout(_)), "{error}");
        }
        pool.manager().connects([Gate::Ok]);
        let guard = pool.checkout().timeout(16 * SECOND).await;
        assert!(guard.is_ok(), "{outage:?}: {}", guard.err().unwrap());
        let size = pool.status().size();
        assert!(size <= 3, "{outage:?}: {size}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_checkout_of_an_idle_connection_takes_one_poll() {
    let pool = builder().build().unwrap();
    fill(&pool, 2).await;
    for dead in [false, true] {
        if dead {
            pool.manager().peer().hang_up_unnoticed(2);
        }
        // No round trip, no turn of the event loop: even one that finds the first dead takes the second.
        let Poll::Ready(Ok(guard)) = poll(&mut Box::pin(pool.checkout())) else {
            panic!("it waits, dead: {dead}")
        };
        drop(guard);
    }
}

#[tokio::test(start_paused = true)]
async fn a_server_that_is_alive_and_not_the_right_one_any_more_costs_one_check() {
    let (primary, checks) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
    let (since, count) = (Arc::clone(&primary), Arc::clone(&checks));
    // Of connections with a number up to this, the server has become a read-only copy.
    let is_primary = move |socket: &mut crate::support::Socket, _: &_| {
        count.fetch_add(1, Ordering::SeqCst);
        match socket.number() > since.load(Ordering::SeqCst) {
            true => Ok(()),
            false => Err(Unhealthy::new("read only").and_older()),
        }
    };
    let pool = builder()
        .check(Check::sync(is_primary).at_checkout())
        .build()
        .unwrap();
    fill(&pool, 10).await;
    primary.store(10, Ordering::SeqCst);
    checks.store(0, Ordering::SeqCst);
    assert_eq!(pool.checkout().await.unwrap().number(), 11);
    // One that fails, and one that passes.
    assert_eq!(checks.load(Ordering::SeqCst), 2);
}
