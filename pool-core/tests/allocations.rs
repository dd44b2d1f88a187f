//! The hot path allocates nothing.

use std::convert::Infallible;
use std::future::Future;
use std::pin::pin;
use std::task::{Context, Poll, Waker};

use pool_core::{Capacity, KeyedPool, Manager, Order, Pool, Share, SharedPool};

struct Trivial;

impl Manager for Trivial {
    type Connection = u64;
    type Error = Infallible;

    async fn connect(&self) -> Result<u64, Infallible> {
        Ok(7)
    }

    fn is_dropped(&self, _: &mut u64) -> bool {
        false
    }
}

fn ready<F: Future>(future: F) -> F::Output {
    match pin!(future).poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(output) => output,
        Poll::Pending => panic!("there is an idle connection"),
    }
}

#[test]
fn a_checkout_and_a_check_in_allocate_nothing() {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    for order in [Order::Lifo, Order::Fifo] {
        let pool = Pool::builder(Trivial)
            .order(order)
            .runtime(runtime.handle().clone())
            .build()
            .unwrap();
        runtime.block_on(async {
            let guards = (
                pool.checkout().await.unwrap(),
                pool.checkout().await.unwrap(),
            );
            drop(guards);
        });
        let counted = allocation_counter::measure(|| {
            for _ in 0..1_000 {
                drop(ready(pool.checkout()).unwrap());
                drop(ready(pool.checkout_owned()).unwrap());
                drop(pool.try_checkout().unwrap());
            }
        });
        assert_eq!(counted.count_total, 0, "{order:?}");
    }
}

#[test]
fn a_checkout_and_a_check_in_by_a_key_that_is_there_allocate_nothing() {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    let pool = KeyedPool::builder(|_: &u32| Trivial)
        .runtime(runtime.handle().clone())
        .build()
        .unwrap();
    runtime.block_on(async {
        for key in 0..10 {
            drop(pool.checkout(&key).await.unwrap());
        }
    });
    let counted = allocation_counter::measure(|| {
        for number in 0..1_000 {
            let key = number % 10;
            drop(ready(pool.checkout(&key)).unwrap());
            drop(ready(pool.checkout_owned(&key)).unwrap());
            drop(pool.try_checkout(&key).unwrap());
        }
    });
    assert_eq!(counted.count_total, 0);
}

#[test]
fn handing_a_connection_to_who_waits_allocates_nothing_once_the_queue_has_its_size() {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    let pool = Pool::builder(Trivial)
        .max_size(1)
        .runtime(runtime.handle().clone())
        .build()
        .unwrap();
    runtime.block_on(async {
        let hand_over = || {
            let held = ready(pool.checkout()).unwrap();
            let mut waiting = pin!(pool.checkout().without_timeout());
            let mut cx = Context::from_waker(Waker::noop());
            assert!(waiting.as_mut().poll(&mut cx).is_pending());
            drop(held);
            assert!(waiting.as_mut().poll(&mut cx).is_ready());
        };
        drop(pool.checkout().await.unwrap());
        hand_over();
        let counted = allocation_counter::measure(|| (0..1_000).for_each(|_| hand_over()));
        assert_eq!(counted.count_total, 0);
    });
}

#[test]
#[cfg(target_pointer_width = "64")]
fn a_checkout_and_its_guards_are_small() {
    use pool_core::{Checkout, CheckoutOwned, OwnedPooled, Pooled};
    use std::mem::size_of;

    assert!(size_of::<Checkout<'_, Trivial>>() <= 200);
    assert!(size_of::<CheckoutOwned<Trivial>>() <= 200);
    assert!(size_of::<Pooled<'_, Trivial>>() <= 40);
    assert!(size_of::<OwnedPooled<Trivial>>() <= 40);
}

/// Where nobody exports, what the observers do is all there is to see.
#[cfg(all(feature = "tracing", feature = "metrics", feature = "histograms"))]
#[test]
fn neither_do_they_under_the_eyes_of_the_observers_that_come_with_the_pool() {
    use pool_core::Config;
    use pool_core::observers::{Histograms, MetricsObserver, TracingObserver};

    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    let pool = Pool::builder(Trivial)
        .observer(TracingObserver::new())
        .observer(MetricsObserver::new(&Config::default()))
        .observer(Histograms::new())
        .runtime(runtime.handle().clone())
        .build()
        .unwrap();
    runtime.block_on(async { drop(pool.checkout().await.unwrap()) });
    let counted = allocation_counter::measure(|| {
        for _ in 0..1_000 {
            drop(ready(pool.checkout()).unwrap());
            drop(pool.try_checkout().unwrap());
        }
    });
    assert_eq!(counted.count_total, 0);
}

struct Lines;

impl Manager for Lines {
    type Connection = Capacity;
    type Error = Infallible;

    async fn connect(&self) -> Result<Capacity, Infallible> {
        Ok(Capacity::new(100))
    }

    fn is_dropped(&self, _: &mut Capacity) -> bool {
        false
    }
}

impl Share for Lines {
    type Handle = u64;

    fn share(&self, _: &Capacity) -> u64 {
        7
    }

    fn capacity<'c>(&self, line: &'c Capacity) -> &'c Capacity {
        line
    }
}

#[test]
fn a_lease_on_an_open_connection_allocates_nothing() {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    let pool = Pool::builder(Lines)
        .runtime(runtime.handle().clone())
        .build()
        .unwrap();
    let pool = SharedPool::new(pool);
    let _held = runtime.block_on(pool.lease()).unwrap();
    let counted = allocation_counter::measure(|| {
        for _ in 0..1_000 {
            let leases = (ready(pool.lease()).unwrap(), pool.try_lease().unwrap());
            drop(leases);
        }
    });
    assert_eq!(counted.count_total, 0);
}
