//! Operation: what a pool does to the runtime it lives on, and what that does to the pool.

use std::convert::Infallible;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

use pool_core::{CloseReason, Manager, Pool, Pooled};
use tokio::runtime::{Handle, Id, Runtime};

use crate::support::{Gate, SECOND, Scripted, builder, fill, settle};

/// Remembers which runtime each dial ran on.
#[derive(Default)]
struct Homebound(Mutex<Vec<Id>>);

impl Manager for Homebound {
    type Connection = tokio::task::JoinHandle<()>;
    type Error = Infallible;

    // As a driver does whose connection is worked by a task.
    async fn connect(&self) -> Result<tokio::task::JoinHandle<()>, Self::Error> {
        self.0.lock().unwrap().push(Handle::current().id());
        Ok(tokio::spawn(std::future::pending()))
    }

    fn is_dropped(&self, task: &mut tokio::task::JoinHandle<()>) -> bool {
        task.is_finished()
    }
}

#[test]
fn connections_are_dialled_on_the_pools_runtime_and_outlive_that_of_the_caller() {
    let (home, abroad) = (Runtime::new().unwrap(), Runtime::new().unwrap());
    let pool = Pool::builder(Homebound::default())
        .runtime(home.handle().clone())
        .build()
        .unwrap();
    drop(abroad.block_on(pool.checkout()).unwrap());
    drop(abroad);
    let again = home.block_on(pool.checkout()).unwrap();
    assert!(!again.is_finished());
    assert_eq!(*pool.manager().0.lock().unwrap(), [home.handle().id()]);
}

#[tokio::test(start_paused = true)]
async fn building_a_pool_waits_for_nobody() {
    for gate in [Gate::Error, Gate::Never] {
        let pool = Pool::builder(Scripted::connecting([gate]))
            .min_idle(3)
            .build()
            .unwrap();
        // It starts to dial, and is there before anybody answers.
        settle().await;
        assert!(pool.manager().peer().dialled() > 0);
        assert_eq!(pool.status().idle, 0);
    }
}

#[tokio::test(start_paused = true)]
async fn a_pool_that_has_become_empty_does_nothing_at_all() {
    let pool = builder().idle_timeout(SECOND).build().unwrap();
    drop(pool.checkout().await.unwrap());
    // The timer of the callers fires once more, although nobody waits any longer.
    tokio::time::sleep(pool.config().checkout_timeout.unwrap() + SECOND).await;
    assert_eq!(pool.status().size(), 0);
    // Whoever wakes up within this hour has the worker go to sleep once more.
    let metrics = Handle::current().metrics();
    let naps_in_an_hour = async || {
        let before = metrics.worker_park_count(0);
        tokio::time::sleep(3_600 * SECOND).await;
        metrics.worker_park_count(0) - before
    };
    let beside_an_empty_pool = naps_in_an_hour().await;
    drop(pool);
    settle().await;
    assert_eq!(beside_an_empty_pool, naps_in_an_hour().await);
}

/// Its connections lead to wherever the name pointed when they were dialled.
struct Named(AtomicUsize);

impl Manager for Named {
    type Connection = usize;
    type Error = Infallible;

    async fn connect(&self) -> Result<usize, Infallible> {
        Ok(self.0.load(Ordering::SeqCst))
    }

    fn is_dropped(&self, _: &mut usize) -> bool {
        false
    }
}

#[tokio::test(start_paused = true)]
async fn a_name_that_points_elsewhere_is_followed_within_a_lifetime() {
    let pool = Pool::builder(Named(AtomicUsize::new(1)))
        .max_lifetime(60 * SECOND)
        .build()
        .unwrap();
    assert_eq!(*pool.checkout().await.unwrap(), 1);
    pool.manager().0.store(2, Ordering::SeqCst);
    // It is in use every second, and so never idle for long.
    for _ in 0..60 {
        tokio::time::sleep(SECOND).await;
        drop(pool.checkout().await.unwrap());
    }
    assert_eq!(*pool.checkout().await.unwrap(), 2);
}

#[tokio::test(start_paused = true)]
async fn every_connection_made_and_closed_is_counted_and_the_counts_add_up() {
    let pool = builder()
        .max_size(10)
        .max_uses(2)
        .idle_timeout(10 * SECOND)
        .build()
        .unwrap();
    pool.manager().connects([Gate::Error, Gate::Ok]);
    fill(&pool, 10).await;
    pool.manager().peer().hang_up(2);
    settle().await;
    Pooled::discard(pool.checkout().await.unwrap());
    drop(pool.checkout().await.unwrap());
    let taken = Pooled::detach(pool.checkout().await.unwrap());
    tokio::time::sleep(11 * SECOND).await;
    let metrics = pool.metrics();
    let closed_for = |reason| metrics.closed_for(reason);
    assert_eq!((metrics.connected, metrics.connect_failures), (10, 1));
    assert_eq!((metrics.checkouts, metrics.detached), (13, 1));
    assert_eq!(closed_for(CloseReason::Dropped), 1);
    assert_eq!(closed_for(CloseReason::Discarded), 1);
    assert_eq!(closed_for(CloseReason::MaxUses), 1);
    assert_eq!(closed_for(CloseReason::IdleTimeout), 6);
    let now = (metrics.status.idle + metrics.status.in_use) as u64;
    assert_eq!(metrics.connected, now + metrics.closed() + metrics.detached);
    drop(taken);
}
