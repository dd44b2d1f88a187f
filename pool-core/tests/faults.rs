//! Faults that were found, and the test that keeps each out.

#![allow(
    clippy::disallowed_methods,
    reason = "under a paused clock, tokio's instants are the pool's"
)]

mod support;

use std::cell::RefCell;
use std::future::Future;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::task::{Context, Poll, Waker};
use std::time::{Duration, Instant};

use pool_core::{CheckoutError, Dropped, Manager, OnConnectError, OwnedPooled, Pool, Pooled};
use support::{Gate, SECOND, Scripted, builder, fill, poll, settle, silence_panics};

#[tokio::test(start_paused = true)]
async fn a_connection_that_dies_between_grant_and_cancel_does_not_lie_idle() {
    let pool = builder().max_size(1).build().unwrap();
    let held = pool.checkout().await.unwrap();
    let mut waiting = Box::pin(pool.checkout());
    assert!(poll(&mut waiting).is_pending());
    drop(held);
    // Granted, and not collected yet.
    pool.manager().peer().hang_up(1);
    settle().await;
    drop(waiting);
    tokio::time::sleep(SECOND).await;
    assert_eq!((pool.status().idle, pool.manager().peer().open()), (0, 0));
}

#[tokio::test(start_paused = true)]
async fn a_new_connection_that_dies_between_grant_and_cancel_does_not_lie_idle() {
    let pool = builder().max_size(1).build().unwrap();
    let mut waiting = Box::pin(pool.checkout());
    assert!(poll(&mut waiting).is_pending());
    settle().await;
    assert_eq!(pool.status().in_use, 1);
    pool.manager().peer().hang_up(1);
    settle().await;
    drop(waiting);
    tokio::time::sleep(SECOND).await;
    assert_eq!((pool.status().idle, pool.manager().peer().open()), (0, 0));
}

#[test]
fn many_dead_idle_connections_do_not_overflow_the_stack() {
    std::thread::Builder::new()
        .stack_size(2 << 20)
        .spawn(|| {
            let rt = tokio::runtime::Builder::new_current_thread()
                .enable_all()
                .start_paused(true)
                .build()
                .unwrap();
            rt.block_on(async {
                let n = 4_000;
                let manager = Scripted::default();
                manager.is_watched(false);
                let pool = Pool::builder(manager)
                    .max_size(n + 1)
                    .min_idle(n)
                    .max_connecting(n)
                    .build()
                    .unwrap();
                while pool.status().idle < n {
                    tokio::time::sleep(SECOND).await;
                }
                fill(&pool, 1).await;
                // everyone was used once, so that no outage is declared
                let mut guards = Vec::new();
                for _ in 0..n {
                    guards.push(pool.checkout().await.unwrap());
                }
                drop(guards);
                tokio::time::sleep(SECOND).await;
                let dialled = pool.manager().peer().dialled();
                for number in 1..=dialled {
                    pool.manager().peer().hang_up_unnoticed(number);
                }
                let _ = pool.checkout().await.unwrap();
            });
        })
        .unwrap()
        .join()
        .unwrap();
}

struct SelfWaking {
    left: AtomicUsize,
    polls: AtomicUsize,
}

impl Manager for SelfWaking {
    type Connection = ();
    type Error = std::convert::Infallible;
    async fn connect(&self) -> Result<(), Self::Error> {
        Ok(())
    }
    fn is_dropped(&self, (): &mut ()) -> bool {
        false
    }
    fn poll_dropped(&self, (): &mut (), cx: &mut Context<'_>) -> Poll<Dropped> {
        self.polls.fetch_add(1, Ordering::SeqCst);
        // As tokio does when the task's budget is spent.
        if self.left.load(Ordering::SeqCst) > 0 {
            cx.waker().wake_by_ref();
        }
        Poll::Pending
    }
}

#[tokio::test(start_paused = true)]
async fn a_watch_that_wakes_itself_does_not_multiply_letters() {
    let pool = Pool::builder(SelfWaking {
        left: AtomicUsize::new(1),
        polls: AtomicUsize::new(0),
    })
    .build()
    .unwrap();
    drop(pool.checkout().await.unwrap());
    for _ in 0..16 {
        tokio::task::yield_now().await;
    }
    let polls = pool.manager().polls.load(Ordering::SeqCst);
    pool.manager().left.store(0, Ordering::SeqCst);
    assert!(polls < 200, "{polls} looks at one connection");
}

#[test]
fn without_maintenance_a_waiter_is_told_when_the_runtime_ends() {
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let pool = builder()
        .runtime(runtime.handle().clone())
        .maintenance(false)
        .max_size(1)
        .build()
        .unwrap();
    let held = futures::executor::block_on(pool.checkout_owned()).unwrap();
    let (tx, rx) = std::sync::mpsc::channel();
    let p = pool.clone();
    std::thread::spawn(move || {
        let r = catch_unwind(AssertUnwindSafe(|| {
            futures::executor::block_on(p.checkout().timeout(SECOND))
                .map(drop)
                .map_err(|e| e.to_string())
        }));
        tx.send(r.map_err(|e| e.downcast_ref::<String>().cloned()))
            .unwrap();
    });
    while pool.status().waiting == 0 {
        std::thread::yield_now();
    }
    std::thread::sleep(Duration::from_millis(50));
    drop(runtime);
    let r = rx.recv_timeout(Duration::from_secs(10)).expect("it hangs");
    assert!(r.is_ok(), "it panicked: {r:?}");
    drop(held);
}

#[test]
fn without_maintenance_a_newcomer_is_told_that_the_runtime_has_ended() {
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let pool = builder()
        .runtime(runtime.handle().clone())
        .maintenance(false)
        .max_size(1)
        .build()
        .unwrap();
    let held = futures::executor::block_on(pool.checkout_owned()).unwrap();
    drop(runtime);
    let r = catch_unwind(AssertUnwindSafe(|| {
        futures::executor::block_on(pool.checkout().timeout(SECOND))
            .map(drop)
            .map_err(|e| e.to_string())
    }));
    assert!(r.is_ok(), "it panicked");
    drop(held);
}

#[tokio::test(start_paused = true)]
async fn old_connections_in_use_do_not_turn_an_outage_into_a_storm() {
    struct Full {
        dials: AtomicUsize,
    }
    impl Manager for Full {
        type Connection = usize;
        type Error = std::convert::Infallible;
        async fn connect(&self) -> Result<usize, Self::Error> {
            Ok(self.dials.fetch_add(1, Ordering::SeqCst))
        }
        // The server accepts, says that it is full and closes: all but the first.
        fn is_dropped(&self, c: &mut usize) -> bool {
            *c > 0
        }
    }
    let pool = Pool::builder(Full {
        dials: AtomicUsize::new(0),
    })
    .max_size(10)
    .build()
    .unwrap();
    drop(pool.checkout().await.unwrap());
    let mut tasks = tokio::task::JoinSet::new();
    for _ in 0..10 {
        let pool = pool.clone();
        tasks.spawn(async move {
            for _ in 0..100 {
                let g = pool.checkout().await.unwrap();
                tokio::time::sleep(Duration::from_millis(10)).await;
                drop(g);
            }
        });
    }
    let started = tokio::time::Instant::now();
    while tasks.join_next().await.is_some() {}
    let dials = pool.manager().dials.load(Ordering::SeqCst);
    assert!(dials < 30, "{dials} dials in {:?}", started.elapsed());
}

#[tokio::test(start_paused = true)]
async fn an_unused_idle_connection_that_the_server_times_out_is_no_connect_error() {
    let pool = builder()
        .min_idle(1)
        .max_size(5)
        .idle_timeout(None)
        .max_lifetime(None)
        .on_connect_error(OnConnectError::Fail)
        .build()
        .unwrap();
    settle().await;
    tokio::time::sleep(3600 * SECOND).await;
    pool.manager().peer().hang_up(1);
    settle().await;
    let got = pool.checkout().await;
    assert!(got.is_ok(), "{}", got.err().unwrap());
}

#[tokio::test(start_paused = true)]
async fn a_dial_that_hangs_does_not_keep_the_probe_of_an_outage_from_starting() {
    let pool = Pool::builder(Scripted::connecting([Gate::Never, Gate::Error, Gate::Ok]))
        .connect_timeout(20 * SECOND)
        .build()
        .unwrap();
    let mut a = Box::pin(pool.checkout());
    let mut b = Box::pin(pool.checkout());
    assert!(poll(&mut a).is_pending() && poll(&mut b).is_pending());
    tokio::time::sleep(5 * SECOND).await;
    assert!(
        pool.manager().peer().dialled() > 2,
        "empty pool, backoff of 100 ms passed 50 times, no attempt"
    );
}

#[tokio::test(start_paused = true)]
async fn without_maintenance_no_letters_pile_up() {
    let pool = Pool::builder(SelfWaking {
        left: AtomicUsize::new(1),
        polls: AtomicUsize::new(0),
    })
    .maintenance(false)
    .build()
    .unwrap();
    drop(pool.checkout().await.unwrap());
    let info = allocation_counter::measure(|| {
        for _ in 0..100_000 {
            let Poll::Ready(Ok(g)) = poll(&mut Box::pin(pool.checkout())) else {
                panic!()
            };
            drop(g);
        }
    });
    assert!(
        info.bytes_current < 100_000,
        "{} bytes kept",
        info.bytes_current
    );
}

#[test]
fn a_guard_in_a_thread_local_goes_home_when_the_thread_ends() {
    thread_local! {
        static GUARDS: RefCell<Vec<OwnedPooled<Scripted>>> = const { RefCell::new(Vec::new()) };
    }
    for gate in [Gate::Ok, Gate::Slow, Gate::Never] {
        for taint in [false, true] {
            let runtime = tokio::runtime::Runtime::new().unwrap();
            let pool = builder()
                .runtime(runtime.handle().clone())
                .close_timeout(Duration::from_millis(300))
                .max_size(1)
                .build()
                .unwrap();
            pool.manager().closes(gate);
            let mut guard = runtime.block_on(pool.checkout_owned()).unwrap();
            if taint {
                OwnedPooled::taint(&mut guard);
            }
            let handle = runtime.handle().clone();
            std::thread::spawn(move || {
                GUARDS.with_borrow_mut(|guards| guards.push(guard));
                let _entered = handle.enter();
                futures::executor::block_on(tokio::time::sleep(Duration::from_millis(1)));
            })
            .join()
            .unwrap();
            let got = runtime.block_on(pool.checkout().timeout(10 * SECOND));
            assert!(got.is_ok(), "{gate:?} {taint}");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_panic_whose_payload_panics_costs_no_slot() {
    silence_panics();
    struct Bomb;
    impl Drop for Bomb {
        fn drop(&mut self) {
            if !std::thread::panicking() {
                panic!("as told")
            }
        }
    }
    struct Mean(AtomicUsize);
    impl Manager for Mean {
        type Connection = ();
        type Error = std::convert::Infallible;
        async fn connect(&self) -> Result<(), Self::Error> {
            Ok(())
        }
        fn is_dropped(&self, (): &mut ()) -> bool {
            false
        }
        fn poll_dropped(&self, (): &mut (), _: &mut Context<'_>) -> Poll<Dropped> {
            if self.0.fetch_add(1, Ordering::SeqCst) == 0 {
                std::panic::panic_any(Bomb)
            }
            Poll::Pending
        }
    }
    let pool = Pool::builder(Mean(AtomicUsize::new(0)))
        .max_size(1)
        .build()
        .unwrap();
    let got = pool.checkout().await;
    assert!(got.is_ok(), "{}", got.err().unwrap());
}

#[tokio::test(start_paused = true)]
async fn a_connection_that_panics_when_dropped_in_a_panic_costs_no_slot() {
    silence_panics();
    struct Conn;
    impl Drop for Conn {
        fn drop(&mut self) {
            panic!("as told")
        }
    }
    struct Mean;
    impl Manager for Mean {
        type Connection = Conn;
        type Error = std::convert::Infallible;
        async fn connect(&self) -> Result<Conn, Self::Error> {
            Ok(Conn)
        }
        fn is_dropped(&self, _: &mut Conn) -> bool {
            false
        }
    }
    let pool = Pool::builder(Mean).max_size(1).build().unwrap();
    let g = pool.checkout().await.unwrap();
    assert!(
        catch_unwind(AssertUnwindSafe(|| {
            let _g = g;
            panic!("as told")
        }))
        .is_err()
    );
    assert_eq!(pool.status().size(), 0);
}

#[tokio::test(start_paused = true)]
async fn a_reset_under_way_ends_with_the_pool() {
    let pool = builder().max_size(1).build().unwrap();
    pool.manager().recycles(pool_core::Recycle::Reset);
    pool.manager().resets(Gate::Never);
    drop(pool.checkout().await.unwrap());
    let peer = pool.manager().peer().clone();
    drop(pool);
    settle().await;
    assert_eq!(peer.open(), 0, "a closed pool still resets");
}

#[tokio::test(start_paused = true)]
async fn a_transient_error_of_the_same_herd_does_not_hide_a_permanent_one() {
    struct Mixed(AtomicUsize);
    #[derive(Debug)]
    struct E(bool);
    impl std::fmt::Display for E {
        fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
            f.write_str("e")
        }
    }
    impl std::error::Error for E {}
    impl Manager for Mixed {
        type Connection = ();
        type Error = E;
        async fn connect(&self) -> Result<(), E> {
            Err(E(self.0.fetch_add(1, Ordering::SeqCst) == 0))
        }
        fn is_dropped(&self, (): &mut ()) -> bool {
            false
        }
        fn is_permanent(&self, e: &E) -> bool {
            e.0
        }
    }
    let pool = Pool::builder(Mixed(AtomicUsize::new(0))).build().unwrap();
    let mut a = Box::pin(pool.checkout());
    let mut b = Box::pin(pool.checkout());
    let _ = (poll(&mut a), poll(&mut b));
    settle().await;
    assert!(matches!(
        poll(&mut a),
        Poll::Ready(Err(CheckoutError::Connect(_)))
    ));
    let mut c = Box::pin(pool.checkout());
    assert!(
        poll(&mut c).is_ready(),
        "a newcomer waits though the error is permanent"
    );
}

/// A peer that hangs up in the worst moment: after the look at the connection and before it lies idle, and so long
/// before that the maintenance task has read the letter already.
#[derive(Default)]
struct WorstMoment {
    strikes: AtomicBool,
    open: Arc<AtomicUsize>,
}

struct Doomed {
    fin: AtomicBool,
    open: Arc<AtomicUsize>,
}

impl Drop for Doomed {
    fn drop(&mut self) {
        self.open.fetch_sub(1, Ordering::SeqCst);
    }
}

impl Manager for WorstMoment {
    type Connection = Doomed;
    type Error = std::convert::Infallible;
    async fn connect(&self) -> Result<Doomed, Self::Error> {
        self.open.fetch_add(1, Ordering::SeqCst);
        Ok(Doomed {
            fin: AtomicBool::new(false),
            open: Arc::clone(&self.open),
        })
    }
    fn is_dropped(&self, doomed: &mut Doomed) -> bool {
        *doomed.fin.get_mut()
    }
    fn poll_dropped(&self, doomed: &mut Doomed, cx: &mut Context<'_>) -> Poll<Dropped> {
        if *doomed.fin.get_mut() {
            return Poll::Ready(Dropped::Closed);
        }
        if self.strikes.swap(false, Ordering::SeqCst) {
            *doomed.fin.get_mut() = true;
            // From outside, as a worker would keep whom it wakes for itself.
            let waker = cx.waker().clone();
            std::thread::spawn(|| waker.wake()).join().unwrap();
            std::thread::sleep(Duration::from_millis(100));
        }
        Poll::Pending
    }
}

fn assert_gone(pool: &Pool<WorstMoment>) {
    let started = Instant::now();
    while pool.manager().open.load(Ordering::SeqCst) > 0 {
        assert!(
            started.elapsed() < Duration::from_secs(10),
            "a dead connection lies idle unnoticed"
        );
        std::thread::sleep(Duration::from_millis(1));
    }
}

#[test]
fn a_fin_in_the_middle_of_a_check_in_is_not_missed() {
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let pool = Pool::builder(WorstMoment::default())
        .runtime(runtime.handle().clone())
        .build()
        .unwrap();
    let guard = runtime.block_on(pool.checkout()).unwrap();
    pool.manager().strikes.store(true, Ordering::SeqCst);
    drop(guard);
    assert_gone(&pool);
}

#[test]
fn a_fin_in_the_middle_of_the_end_of_a_dial_is_not_missed() {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .unwrap();
    let manager = WorstMoment::default();
    manager.strikes.store(true, Ordering::SeqCst);
    let pool = Pool::builder(manager)
        .runtime(runtime.handle().clone())
        .build()
        .unwrap();
    // Starts a dial for nobody.
    assert!(pool.try_checkout().is_err());
    while pool.status().idle == 0 && pool.status().size() > 0 {
        std::thread::yield_now();
    }
    assert_gone(&pool);
}

/// The peer hung up before the handshake was over.
#[derive(Default)]
struct Stillborn(WorstMoment);
impl Manager for Stillborn {
    type Connection = Doomed;
    type Error = std::convert::Infallible;
    async fn connect(&self) -> Result<Doomed, Self::Error> {
        self.0.open.fetch_add(1, Ordering::SeqCst);
        Ok(Doomed {
            fin: AtomicBool::new(true),
            open: Arc::clone(&self.0.open),
        })
    }
    fn is_dropped(&self, doomed: &mut Doomed) -> bool {
        *doomed.fin.get_mut()
    }
}

#[tokio::test(start_paused = true)]
async fn a_connection_that_is_dead_when_it_arrives_does_not_lie_idle() {
    let pool = Pool::builder(Stillborn::default()).build().unwrap();
    assert!(pool.try_checkout().is_err());
    settle().await;
    assert_eq!(
        (
            pool.status().idle,
            pool.manager().0.open.load(Ordering::SeqCst)
        ),
        (0, 0)
    );
}

#[tokio::test(start_paused = true)]
async fn a_connection_granted_to_one_who_left_counts_as_never_used() {
    let pool = Pool::builder(Scripted::default())
        .max_size(1)
        .build()
        .unwrap();
    let mut waiting = Box::pin(pool.checkout());
    assert!(poll(&mut waiting).is_pending());
    settle().await;
    drop(waiting);
    let info = Pooled::info(&pool.checkout().await.unwrap());
    assert_eq!((info.uses, info.is_reused()), (1, false));
}

#[tokio::test(start_paused = true)]
async fn without_maintenance_a_check_in_reaps_what_is_due() {
    let pool = Pool::builder(Scripted::default())
        .maintenance(false)
        .idle_timeout(Duration::from_secs(10))
        .build()
        .unwrap();
    let mut guards = Vec::new();
    for _ in 0..4 {
        guards.push(pool.checkout().await.unwrap());
    }
    let held = guards.pop().unwrap();
    drop(guards);
    tokio::time::sleep(Duration::from_secs(11)).await;
    assert_eq!(pool.manager().peer().open(), 4, "nobody looked");
    drop(held);
    assert_eq!((pool.status().idle, pool.manager().peer().open()), (1, 1));
}

#[tokio::test(start_paused = true)]
async fn a_peer_that_hangs_up_on_idle_connections_nobody_used_is_not_stormed_with_dials() {
    let pool = Pool::builder(Scripted::default())
        .min_idle(1)
        .build()
        .unwrap();
    let mut gone = 0;
    for _ in 0..10_000 {
        tokio::time::sleep(Duration::from_millis(1)).await;
        while gone < pool.manager().peer().dialled() {
            gone += 1;
            pool.manager().peer().hang_up(gone);
        }
    }
    let dialled = pool.manager().peer().dialled();
    assert!(dialled < 20, "{dialled} dials in 10 s");
}

#[tokio::test(start_paused = true)]
async fn however_often_somebody_tries_one_dial_at_a_time_is_started_for_him() {
    let pool = Pool::builder(Scripted::connecting([Gate::Slow]))
        .build()
        .unwrap();
    for _ in 0..100 {
        assert!(pool.try_checkout().is_err());
        tokio::task::yield_now().await;
    }
    assert_eq!(pool.manager().peer().dialled(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_checkout_that_moved_to_another_task_wakes_that_one() {
    struct Woken(AtomicBool);
    impl std::task::Wake for Woken {
        fn wake(self: Arc<Self>) {
            self.0.store(true, Ordering::SeqCst);
        }
    }
    let pool = Pool::builder(Scripted::default())
        .max_size(1)
        .build()
        .unwrap();
    let held = pool.checkout().await.unwrap();
    let mut waiting = Box::pin(pool.checkout());
    assert!(poll(&mut waiting).is_pending());
    let woken = Arc::new(Woken(AtomicBool::new(false)));
    let waker = Waker::from(Arc::clone(&woken));
    assert!(
        waiting
            .as_mut()
            .poll(&mut Context::from_waker(&waker))
            .is_pending()
    );
    drop(held);
    assert!(
        woken.0.load(Ordering::SeqCst),
        "the task that asked last was not woken"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_storm_of_cancels_and_fins_leaves_no_socket_and_no_slot() {
    for round in 0..40_u64 {
        let order = if round % 2 == 0 {
            pool_core::Order::Lifo
        } else {
            pool_core::Order::Fifo
        };
        let pool = Pool::builder(Scripted::default())
            .max_size(4)
            .order(order)
            .max_lifetime(None)
            .backoff(Duration::from_micros(50), Duration::from_micros(100))
            .min_idle(0)
            .build()
            .unwrap();
        let peer = pool.manager().peer().clone();
        let mut tasks = tokio::task::JoinSet::new();
        for t in 0..8_u64 {
            let pool = pool.clone();
            tasks.spawn(async move {
                let mut seed = round * 100 + t + 1;
                let mut random = |below: u64| {
                    seed = seed
                        .wrapping_mul(6_364_136_223_846_793_005)
                        .wrapping_add(1_442_695_040_888_963_407);
                    (seed >> 33) % below
                };
                for _ in 0..150 {
                    let limit = Duration::from_micros(random(300));
                    match tokio::time::timeout(limit, pool.checkout()).await {
                        Ok(Ok(g)) => {
                            if random(3) == 0 {
                                tokio::task::yield_now().await;
                            }
                            if random(10) == 0 {
                                Pooled::discard(g)
                            } else {
                                drop(g)
                            }
                        }
                        Ok(Err(e)) => panic!("{e}"),
                        Err(_) => {}
                    }
                }
            });
        }
        let p = peer.clone();
        let killer = tokio::spawn(async move {
            let mut gone = 0;
            for _ in 0..100 {
                tokio::time::sleep(Duration::from_micros(100)).await;
                let n = p.dialled();
                if gone < n {
                    gone += 1;
                    p.hang_up(gone);
                }
            }
        });
        while let Some(r) = tasks.join_next().await {
            r.unwrap()
        }
        killer.await.unwrap();
        for number in 1..=peer.dialled() {
            peer.hang_up(number);
        }
        let started = Instant::now();
        while peer.open() > 0 {
            assert!(
                started.elapsed() < Duration::from_secs(10),
                "round {round}: {} open, {}",
                peer.open(),
                pool.status()
            );
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        let s = pool.status();
        assert_eq!((s.size(), s.waiting), (0, 0), "{s}");
        let mut guards = Vec::new();
        for _ in 0..4 {
            guards.push(
                pool.checkout()
                    .timeout(Duration::from_secs(10))
                    .await
                    .unwrap(),
            );
        }
    }
}
