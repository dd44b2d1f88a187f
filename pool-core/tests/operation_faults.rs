//! Faults of checks, sizes, pauses and their like that were found and mended, each with the test that found it.

#![allow(
    clippy::disallowed_methods,
    reason = "the paused clock is read as tests may"
)]

mod support;

use std::future::IntoFuture;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll};
use std::time::Duration;

use pool_core::{
    Check, CheckoutError, CloseReason, ConnectionInfo, Dropped, Event, HealthCheck, Manager,
    Observer, OwnedPooled, Pool, Pooled, Unhealthy, async_trait,
};
use support::{Gate, SECOND, Scripted, Socket, builder, fill, poll, settle};

struct Ping(Gate);

#[async_trait]
impl HealthCheck<Socket> for Ping {
    async fn check(&self, _: &mut Socket, _: &ConnectionInfo) -> Result<(), Unhealthy> {
        Ok(self.0.pass().await?)
    }
}

#[derive(Clone, Default)]
struct Log(Arc<Mutex<Vec<Event>>>);

impl Observer for Log {
    fn observe(&self, _: &str, event: &Event) {
        self.0.lock().unwrap().push(event.clone());
    }
}

#[tokio::test(start_paused = true)]
async fn a_warm_up_beyond_max_idle_ends_when_as_many_are_there_as_may_be() {
    let pool = builder().max_size(8).max_idle(3).build().unwrap();
    pool.warm_up(5).await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_warm_up_begun_in_a_pause_goes_on_when_it_is_over() {
    let pool = builder().build().unwrap();
    pool.pause();
    let mut warm = pool.warm_up(3).into_future();
    assert!(poll(&mut warm).is_pending());
    pool.resume();
    warm.await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn min_idle_may_be_all_there_can_be() {
    let pool = builder().max_size(2).build().unwrap();
    let _held = (
        pool.checkout().await.unwrap(),
        pool.checkout().await.unwrap(),
    );
    let mut waiting = Box::pin(pool.checkout());
    assert!(poll(&mut waiting).is_pending());
    pool.set_min_idle(usize::MAX);
    drop(_held);
    assert!(waiting.await.is_ok());
}

#[tokio::test(start_paused = true)]
async fn a_keepalive_does_not_replace_what_it_looks_at() {
    let pool = builder()
        .min_idle(2)
        .max_idle(2)
        .idle_timeout(None)
        .max_lifetime(None)
        .check(Check::new(Ping(Gate::Ok)).while_idle_every(10 * SECOND))
        .build()
        .unwrap();
    tokio::time::sleep(600 * SECOND).await;
    assert_eq!(pool.manager().peer().dialled(), 2);
}

#[tokio::test(start_paused = true)]
async fn a_keepalive_does_not_make_the_pool_grow() {
    let pool = builder()
        .min_idle(1)
        .check(Check::new(Ping(Gate::Ok)).while_idle_every(10 * SECOND))
        .build()
        .unwrap();
    tokio::time::sleep(60 * SECOND).await;
    assert_eq!(
        (pool.status().idle, pool.manager().peer().dialled()),
        (1, 1)
    );
}

#[tokio::test(start_paused = true)]
async fn whoever_waited_out_a_pause_is_not_given_one_whose_time_was_over() {
    let pool = builder()
        .max_size(1)
        .idle_timeout(SECOND)
        .maintenance(false)
        .build()
        .unwrap();
    fill(&pool, 1).await;
    pool.pause();
    let mut waiting = Box::pin(pool.checkout().without_timeout());
    assert!(poll(&mut waiting).is_pending());
    tokio::time::sleep(3600 * SECOND).await;
    pool.resume();
    assert_eq!(waiting.await.unwrap().number(), 2);
}

#[tokio::test(start_paused = true)]
async fn retain_is_shown_how_long_each_has_been_idle() {
    let pool = builder().build().unwrap();
    fill(&pool, 1).await;
    tokio::time::sleep(60 * SECOND).await;
    assert_eq!(pool.retain(|_, info| info.idle_for < 30 * SECOND), 1);
}

#[tokio::test(start_paused = true)]
async fn a_keepalive_is_told_how_long_the_connection_has_been_idle() {
    let seen = Arc::new(Mutex::new(None));
    let see = Arc::clone(&seen);
    let pool = builder()
        .check(
            Check::sync(move |_: &mut Socket, info| {
                *see.lock().unwrap() = Some(info.idle_for);
                Ok(())
            })
            .while_idle_every(10 * SECOND),
        )
        .build()
        .unwrap();
    fill(&pool, 1).await;
    tokio::time::sleep(11 * SECOND).await;
    assert!(seen.lock().unwrap().unwrap() >= 10 * SECOND);
}

#[tokio::test(start_paused = true)]
async fn a_refusal_after_connecting_is_told_as_a_failed_check() {
    let log = Log::default();
    let pool = builder()
        .observer(log.clone())
        .after_connect(|_, _| Err(Unhealthy::new("no")))
        .build()
        .unwrap();
    drop(pool.checkout().timeout(SECOND).await);
    let events = log.0.lock().unwrap();
    assert!(
        events
            .iter()
            .any(|event| matches!(event, Event::CheckFailed { .. }))
    );
}

#[test]
fn a_caller_elsewhere_whose_check_ends_with_the_runtime_is_told_so() {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .enable_time()
        .build()
        .unwrap();
    let entered = runtime.enter();
    let pool = builder()
        .checkout_timeout(None)
        .check(Check::new(Ping(Gate::Never)).at_checkout())
        .build()
        .unwrap();
    drop(entered);
    let caller = std::thread::spawn({
        let pool = pool.clone();
        move || {
            let outcome = futures::executor::block_on(pool.checkout());
            matches!(outcome, Err(CheckoutError::Closed))
        }
    });
    while pool.status().in_use == 0 {
        std::thread::yield_now();
    }
    std::thread::sleep(Duration::from_millis(50));
    runtime.shutdown_timeout(SECOND);
    assert!(caller.join().expect("he was not told, he panicked"));
}

#[tokio::test(start_paused = true)]
async fn a_newcomer_does_not_overtake_one_whose_idle_connection_failed_its_check() {
    let asked = Arc::new(AtomicUsize::new(0));
    let ask = Arc::clone(&asked);
    let pool = builder()
        .max_size(1)
        .before_checkout_async(move |_, _| {
            let first = ask.fetch_add(1, Ordering::SeqCst) == 1;
            Box::pin(async move {
                if first {
                    tokio::time::sleep(SECOND).await;
                    return Err(Unhealthy::new("dead"));
                }
                Ok(())
            })
        })
        .build()
        .unwrap();
    fill(&pool, 1).await;
    let order = Mutex::new(Vec::new());
    let take = |who: &'static str| {
        let (pool, order) = (&pool, &order);
        async move {
            let guard = pool.checkout().await.unwrap();
            order.lock().unwrap().push(who);
            tokio::time::sleep(SECOND).await;
            drop(guard);
        }
    };
    tokio::join!(take("first"), take("second"), take("third"));
    assert_eq!(*order.lock().unwrap(), ["first", "second", "third"]);
}

#[tokio::test(start_paused = true)]
async fn connections_made_together_are_not_all_checked_at_the_same_instant() {
    let seen = Arc::new(Mutex::new(Vec::new()));
    let see = Arc::clone(&seen);
    let pool = builder()
        .max_size(4)
        .max_connecting(4)
        .check(
            Check::sync(move |_: &mut Socket, _| {
                see.lock().unwrap().push(tokio::time::Instant::now());
                Ok(())
            })
            .while_idle_every(100 * SECOND),
        )
        .build()
        .unwrap();
    pool.warm_up(4).await.unwrap();
    tokio::time::sleep(101 * SECOND).await;
    let seen = seen.lock().unwrap();
    assert_eq!(seen.len(), 4);
    assert!(seen.iter().any(|at| *at != seen[0]), "{seen:?}");
}

struct Hinted(Scripted);

impl Manager for Hinted {
    type Connection = Socket;
    type Error = support::ScriptedError;

    async fn connect(&self) -> Result<Socket, Self::Error> {
        self.0.connect().await
    }

    fn is_dropped(&self, socket: &mut Socket) -> bool {
        self.0.is_dropped(socket)
    }

    fn poll_dropped(&self, socket: &mut Socket, cx: &mut Context<'_>) -> Poll<Dropped> {
        self.0.poll_dropped(socket, cx)
    }

    fn idle_limit(&self, _: &Socket) -> Option<Duration> {
        Some(5 * SECOND)
    }
}

#[tokio::test(start_paused = true)]
async fn is_due_says_only_what_would_come_true() {
    let pool = Pool::builder(Hinted(Scripted::new())).build().unwrap();
    drop(pool.checkout().await.unwrap());
    let held = pool.checkout_owned().await.unwrap();
    tokio::time::sleep(6 * SECOND).await;
    let due = OwnedPooled::is_due(&held);
    drop(held);
    assert_eq!(pool.status().idle, 1, "it was kept");
    assert_eq!(due, None);
}

#[tokio::test(start_paused = true)]
async fn is_due_knows_of_a_taint() {
    let pool = builder().build().unwrap();
    let mut held = pool.checkout().await.unwrap();
    Pooled::taint(&mut held);
    assert_eq!(Pooled::is_due(&held), Some(CloseReason::Discarded));
}

#[tokio::test(start_paused = true)]
async fn sweep_asks_the_probe() {
    let pool = builder().build().unwrap();
    pool.manager().is_watched(false);
    fill(&pool, 1).await;
    pool.manager().peer().hang_up_unnoticed(1);
    assert_eq!(pool.sweep(), 1);
}

#[tokio::test(start_paused = true)]
async fn the_only_user_of_a_pool_is_not_refused_while_his_own_connection_is_looked_at() {
    let pool = builder()
        .max_size(1)
        .max_waiters(0)
        .check(Check::new(Ping(Gate::Slow)).at_checkin())
        .build()
        .unwrap();
    drop(pool.checkout().await.unwrap());
    pool.checkout().await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_warning_comes_before_the_return_it_warns_of() {
    type Guards = Arc<Mutex<Vec<OwnedPooled<Scripted>>>>;
    struct Impatient(Guards, Log);
    impl Observer for Impatient {
        fn observe(&self, pool: &str, event: &Event) {
            self.1.observe(pool, event);
            if let Event::HeldTooLong { .. } = event {
                let guards = std::mem::take(&mut *self.0.lock().unwrap());
                drop(guards);
            }
        }
    }
    let (guards, log) = (Guards::default(), Log::default());
    let pool = builder()
        .leak_warning(SECOND)
        .observer(Impatient(guards.clone(), log.clone()))
        .build()
        .unwrap();
    let both = vec![
        pool.checkout_owned().await.unwrap(),
        pool.checkout_owned().await.unwrap(),
    ];
    *guards.lock().unwrap() = both;
    tokio::time::sleep(3 * SECOND).await;
    let events = log.0.lock().unwrap();
    for wanted in [1, 2] {
        let told: Vec<_> = events
            .iter()
            .filter_map(|event| match event {
                Event::HeldTooLong { id, .. } if *id == wanted => Some("warned"),
                Event::ReturnedAfterAll { id, .. } if *id == wanted => Some("returned"),
                _ => None,
            })
            .collect();
        // Whoever is back before his warning is told is not warned of.
        assert!(
            told.is_empty() || told == ["warned", "returned"],
            "{events:#?}"
        );
    }
}

#[tokio::test(start_paused = true)]
async fn whoever_leaves_after_waiting_is_counted_as_his_event_says() {
    let log = Log::default();
    let pool = builder()
        .max_size(1)
        .observer(log.clone())
        .check(Check::new(Ping(Gate::Never)).at_checkout())
        .build()
        .unwrap();
    let mut caller = Box::pin(pool.checkout());
    assert!(poll(&mut caller).is_pending());
    settle().await;
    assert!(poll(&mut caller).is_pending());
    drop(caller);
    let cancelled = log
        .0
        .lock()
        .unwrap()
        .iter()
        .filter(|event| matches!(event, Event::Waited { outcome, .. } if outcome.as_str() == "cancelled"))
        .count() as u64;
    assert_eq!((cancelled, pool.metrics().cancelled), (1, 1));
}

#[tokio::test(start_paused = true)]
async fn a_warm_up_that_takes_too_long_is_no_checkout_that_did() {
    let pool = Pool::builder(Scripted::connecting([Gate::Never]))
        .build()
        .unwrap();
    assert!(pool.warm_up(1).timeout(SECOND).await.is_err());
    assert_eq!(pool.metrics().timed_out, 0);
}

#[tokio::test(start_paused = true)]
async fn trying_a_pool_that_keeps_nothing_does_not_dial_for_nothing() {
    let pool = builder().max_idle(0).build().unwrap();
    for _ in 0..100 {
        assert!(pool.try_checkout().is_err());
        settle().await;
    }
    assert!(
        pool.manager().peer().dialled() <= 1,
        "{}",
        pool.manager().peer().dialled()
    );
}

#[tokio::test(start_paused = true)]
async fn an_impatient_caller_does_not_destroy_what_is_idle() {
    let pool = builder()
        .check(Check::new(Ping(Gate::Slow)).at_checkout_if_idle_for(SECOND))
        .build()
        .unwrap();
    fill(&pool, 3).await;
    tokio::time::sleep(2 * SECOND).await;
    for _ in 0..3 {
        drop(pool.checkout().timeout(Duration::ZERO).await);
    }
    settle().await;
    assert_eq!(pool.status().idle, 3);
}

#[tokio::test(start_paused = true)]
async fn conditions_of_a_check_combine() {
    let pool = Pool::builder(NeverSure(Scripted::new()))
        .check(
            Check::sync(|_: &mut Socket, _| Err(Unhealthy::new("no")))
                .at_checkout_if_unsure()
                .at_checkout_if_idle_for(30 * SECOND),
        )
        .build()
        .unwrap();
    pool.warm_up(1).await.unwrap();
    assert!(pool.try_checkout().is_err());
}

struct NeverSure(Scripted);

impl Manager for NeverSure {
    type Connection = Socket;
    type Error = support::ScriptedError;

    async fn connect(&self) -> Result<Socket, Self::Error> {
        self.0.connect().await
    }

    fn is_dropped(&self, socket: &mut Socket) -> bool {
        self.0.is_dropped(socket)
    }

    fn is_unsure(&self, _: &mut Socket) -> bool {
        true
    }
}

#[tokio::test(start_paused = true)]
async fn an_added_connection_that_is_not_kept_is_given_back() {
    let pool = builder().max_idle(0).build().unwrap();
    let socket = Scripted::new().connect().await.unwrap();
    assert!(pool.add(socket).is_err());
}

#[tokio::test(start_paused = true)]
async fn whoever_times_out_during_a_check_did_not_wait_in_the_queue() {
    let pool = builder()
        .max_size(1)
        .check(Check::new(Ping(Gate::Never)).at_checkout())
        .build()
        .unwrap();
    let error = pool.checkout().timeout(SECOND).await.unwrap_err();
    assert!(error.to_string().contains("0 waiting"), "{error}");
}

#[tokio::test(start_paused = true)]
async fn whoever_waits_for_a_check_is_told_that_the_pool_was_closed() {
    let pool = builder()
        .check(
            Check::new(Ping(Gate::Never))
                .at_checkout()
                .timeout(600 * SECOND),
        )
        .build()
        .unwrap();
    pool.warm_up(1).await.unwrap();
    let mut caller = Box::pin(pool.checkout().without_timeout());
    assert!(poll(&mut caller).is_pending());
    pool.close();
    let told = tokio::time::timeout(60 * SECOND, caller).await;
    assert!(matches!(told, Ok(Err(CheckoutError::Closed))), "{told:?}");
}

#[tokio::test(start_paused = true)]
async fn whoever_wants_more_than_a_shrunken_pool_may_have_does_not_hoard_all_of_it() {
    let pool = builder().max_size(4).build().unwrap();
    fill(&pool, 4).await;
    let held = pool.checkout().await.unwrap();
    let mut many = pool.checkout_many(4).without_timeout().into_future();
    assert!(poll(&mut many).is_pending());
    pool.resize(3);
    drop(held);
    let (many, other) = tokio::join!(
        tokio::time::timeout(3600 * SECOND, many),
        pool.checkout().timeout(60 * SECOND)
    );
    assert!(
        matches!(many, Ok(Err(CheckoutError::TooMany { .. }))),
        "{many:?}"
    );
    assert!(other.is_ok());
}

#[tokio::test(start_paused = true)]
async fn keepalives_do_not_empty_a_small_pool() {
    let pool = builder()
        .max_size(4)
        .check(Check::new(Ping(Gate::Slow)).while_idle_every(10 * SECOND))
        .build()
        .unwrap();
    fill(&pool, 4).await;
    tokio::time::sleep(Duration::from_millis(10_050)).await;
    assert!(pool.status().idle > 0, "{}", pool.status());
}

#[tokio::test(start_paused = true)]
async fn trying_finds_what_is_idle_though_a_keepalive_is_due() {
    let pool = builder()
        .maintenance(false)
        .check(Check::new(Ping(Gate::Ok)).while_idle_every(10 * SECOND))
        .build()
        .unwrap();
    fill(&pool, 3).await;
    tokio::time::sleep(20 * SECOND).await;
    assert!(pool.try_checkout().is_ok(), "{}", pool.status());
}

#[tokio::test(start_paused = true)]
async fn a_caller_whose_dead_connection_is_still_closing_is_not_refused() {
    let pool = builder().max_size(1).max_waiters(0).build().unwrap();
    fill(&pool, 1).await;
    pool.manager().closes(Gate::Slow);
    pool.manager().peer().hang_up_unnoticed(1);
    assert!(pool.checkout().await.is_ok());
}

#[tokio::test(start_paused = true)]
#[should_panic(expected = "idle_timeout is zero")]
async fn an_idle_timeout_of_zero_is_refused_at_run_time_too() {
    builder().build().unwrap().set_idle_timeout(Duration::ZERO);
}
