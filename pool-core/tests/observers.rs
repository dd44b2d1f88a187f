//! What a real pool tells, event by event.

mod support;

use std::sync::{Arc, Mutex};
use std::task::Poll;

use pool_core::{
    Check, ConnectionInfo, Event, HealthCheck, Manager, Observer, OnConnectError, Pooled,
    Unhealthy, async_trait,
};
use support::{Gate, SECOND, Socket, builder, poll, settle, silence_panics};
use tokio::time::sleep;

/// Every event as a line.
#[derive(Default)]
struct Log(Mutex<Vec<String>>);

impl Log {
    /// What was told since the last look.
    fn news(&self) -> Vec<String> {
        std::mem::take(&mut self.0.lock().unwrap())
    }
}

impl Observer for Log {
    fn observe(&self, pool: &str, event: &Event) {
        assert_eq!(pool, "users");
        self.0.lock().unwrap().push(line(event));
    }
}

fn line(event: &Event) -> String {
    match event {
        Event::Connecting { id } => format!("connecting {id}"),
        Event::Connected { id, took } => format!("connected {id} in {took:?}"),
        Event::ConnectFailed {
            id,
            took,
            error,
            permanent,
        } => format!("connecting {id} failed in {took:?}: {error}, permanent: {permanent}"),
        Event::ConnectAbandoned { id } => format!("connecting {id} abandoned"),
        Event::Waiting { waiting } => format!("{waiting} waiting"),
        Event::Waited { wait, outcome } => format!("waited {wait:?}: {}", outcome.as_str()),
        Event::CheckedOut {
            id,
            wait,
            uses,
            idle_for,
        } => format!("out {id} after {wait:?}, use {uses}, idle for {idle_for:?}"),
        Event::CheckedIn { id, hold } => format!("in {id} after {hold:?}"),
        Event::Detached { id, hold } => format!("detached {id} after {hold:?}"),
        Event::TimedOut { limit, status } => format!("timed out after {limit:?}: {status}"),
        Event::Refused { status } => format!("refused: {status}"),
        Event::Evicted { id, lag } => format!("evicted {id} after {lag:?}"),
        Event::CheckFailed { id, error } => format!("check of {id} failed: {error}"),
        Event::Closed {
            id,
            reason,
            age,
            uses,
        } => format!("closed {id}: {reason}, {age:?} old, used {uses} times"),
        Event::HeldTooLong {
            id, held, place, ..
        } => format!("{id} held for {held:?} in {}", place.file()),
        Event::ReturnedAfterAll { id, held, place } => {
            format!("{id} returned after {held:?} in {}", place.file())
        }
        Event::Retired { older_than } => format!("retired older than {older_than}"),
        Event::Resized { max_size } => format!("resized to {max_size}"),
        Event::Paused => "paused".into(),
        Event::Resumed => "resumed".into(),
        Event::PoolClosed => "pool closed".into(),
        event => format!("{event:?}"),
    }
}

#[tokio::test(start_paused = true)]
async fn a_pool_tells_its_whole_life() {
    let log = Arc::new(Log::default());
    let pool = builder()
        .name("users")
        .observer(Arc::clone(&log))
        .max_size(1)
        .on_connect_error(OnConnectError::Fail)
        .build()
        .unwrap();
    let manager = pool.manager();

    // A checkout that has to wait for a dial.
    manager.connects([Gate::Slow]);
    let guard = pool.checkout().await.unwrap();
    assert_eq!(
        log.news(),
        [
            "connecting 1",
            "1 waiting",
            "connected 1 in 150ms",
            "out 1 after 150ms, use 1, idle for 0ns",
            "waited 150ms: served",
        ]
    );

    // One that waits for the connection of another.
    let mut waiter = Box::pin(pool.checkout());
    assert!(poll(&mut waiter).is_pending());
    sleep(SECOND).await;
    drop(guard);
    let Poll::Ready(Ok(guard)) = poll(&mut waiter) else {
        panic!("it is there")
    };
    drop(waiter);
    assert_eq!(
        log.news(),
        [
            "1 waiting",
            "in 1 after 1s",
            "out 1 after 1s, use 2, idle for 0ns",
            "waited 1s: served",
        ]
    );

    // One that waits in vain, and one that leaves.
    assert!(pool.checkout().timeout(2 * SECOND).await.is_err());
    let mut waiter = Box::pin(pool.checkout());
    assert!(poll(&mut waiter).is_pending());
    sleep(SECOND).await;
    drop(waiter);
    assert_eq!(
        log.news(),
        [
            "1 waiting",
            "timed out after 2s: 1 of 1 in use, 0 idle, 0 connecting, 1 waiting",
            "waited 2s: timed_out",
            "1 waiting",
            "waited 1s: cancelled",
        ]
    );

    // One that finds it idle.
    drop(guard);
    sleep(4 * SECOND).await;
    drop(pool.checkout().await.unwrap());
    assert_eq!(
        log.news(),
        [
            "in 1 after 3s",
            "out 1 after 0ns, use 3, idle for 4s",
            "in 1 after 0ns",
        ]
    );

    // The peer closes it.
    manager.peer().hang_up(1);
    settle().await;
    assert_eq!(
        log.news(),
        [
            "evicted 1 after 0ns",
            "closed 1: dropped, 8s old, used 3 times",
        ]
    );

    // And cannot be reached any more, for a while.
    manager.connects([Gate::Error]);
    assert!(pool.checkout().await.is_err());
    assert_eq!(
        log.news(),
        [
            "connecting 2",
            "1 waiting",
            "connecting 2 failed in 0ns: refused, permanent: false",
            "waited 0ns: failed",
        ]
    );
    sleep(SECOND).await;
    manager.connects([Gate::Ok]);
    let guard = pool.checkout().await.unwrap();
    assert_eq!(
        log.news(),
        [
            "connecting 3",
            "1 waiting",
            "connected 3 in 0ns",
            "out 3 after 0ns, use 1, idle for 0ns",
            "waited 0ns: served",
        ]
    );

    // The end, with one out and one waiting.
    let mut waiter = Box::pin(pool.checkout());
    assert!(poll(&mut waiter).is_pending());
    pool.close();
    assert!(matches!(poll(&mut waiter), Poll::Ready(Err(_))));
    drop(waiter);
    sleep(SECOND).await;
    drop(guard);
    assert_eq!(
        log.news(),
        [
            "1 waiting",
            "pool closed",
            "waited 0ns: closed",
            "in 3 after 1s",
            "closed 3: pool_closed, 1s old, used 1 times",
        ]
    );
    drop(pool);
    settle().await;
    assert_eq!(log.news(), [""; 0], "closed once");
}

#[tokio::test(start_paused = true)]
async fn a_pool_tells_what_its_operator_does() {
    let log = Arc::new(Log::default());
    let pool = builder()
        .name("users")
        .observer(Arc::clone(&log))
        .max_size(2)
        .build()
        .unwrap();
    drop((
        pool.checkout().await.unwrap(),
        pool.checkout().await.unwrap(),
    ));
    log.news();

    pool.resize(1);
    pool.pause();
    pool.pause();
    pool.resume();
    pool.resume();
    pool.retire_all();
    settle().await;
    assert_eq!(
        log.news(),
        [
            "closed 1: resized, 0ns old, used 1 times",
            "resized to 1",
            "paused",
            "resumed",
            "retired older than 3",
            "closed 2: retired, 0ns old, used 1 times",
        ]
    );

    let socket = pool.manager().connect().await.unwrap();
    pool.add(socket).unwrap();
    assert_eq!(pool.clear_idle(), 1);
    assert_eq!(
        log.news(),
        [
            "connected 3 in 0ns",
            "closed 3: cleared, 0ns old, used 0 times",
        ]
    );

    // A dial is under way.
    pool.manager().connects([Gate::Never]);
    let mut waiter = Box::pin(pool.checkout());
    assert!(poll(&mut waiter).is_pending());
    settle().await;
    pool.close();
    settle().await;
    drop(waiter);
    assert_eq!(
        log.news(),
        [
            "connecting 4",
            "1 waiting",
            "pool closed",
            "connecting 4 abandoned",
            "waited 0ns: cancelled",
        ]
    );
}

#[tokio::test(start_paused = true)]
async fn a_pool_tells_what_its_callers_do_with_a_connection() {
    silence_panics();
    let log = Arc::new(Log::default());
    let pool = builder()
        .name("users")
        .observer(Arc::clone(&log))
        .max_size(1)
        .max_waiters(0)
        .leak_warning(10 * SECOND)
        .build()
        .unwrap();
    let guard = pool.checkout().await.unwrap();
    log.news();

    assert!(pool.checkout().await.is_err());
    sleep(11 * SECOND).await;
    drop(guard);
    assert_eq!(
        log.news(),
        [
            "refused: 1 of 1 in use, 0 idle, 0 connecting, 0 waiting",
            &format!("1 held for 10s in {}", file!()),
            &format!("1 returned after 11s in {}", file!()),
            "in 1 after 11s",
        ]
    );

    let socket = Pooled::detach(pool.try_checkout().unwrap());
    drop(socket);
    assert_eq!(
        log.news(),
        [
            "out 1 after 0ns, use 2, idle for 0ns",
            "detached 1 after 0ns"
        ]
    );

    Pooled::discard(pool.checkout().await.unwrap());
    assert_eq!(
        log.news()[3..],
        [
            "out 2 after 0ns, use 1, idle for 0ns",
            "waited 0ns: served",
            "in 2 after 0ns",
            "closed 2: discarded, 0ns old, used 1 times",
        ]
    );

    let pool = Arc::new(pool);
    let theirs = Arc::clone(&pool);
    let fate = tokio::spawn(async move {
        let _guard = theirs.checkout().await.unwrap();
        panic!("as told, by the user");
    });
    assert!(fate.await.is_err());
    assert_eq!(
        log.news()[5..],
        [
            "in 3 after 0ns",
            "closed 3: panicked, 0ns old, used 1 times",
        ]
    );
}

/// Finds fault with every connection that was used before.
struct Fresh;

#[async_trait]
impl HealthCheck<Socket> for Fresh {
    async fn check(&self, _: &mut Socket, info: &ConnectionInfo) -> Result<(), Unhealthy> {
        match info.is_reused() {
            true => Err(Unhealthy::new("used before").and_older()),
            false => Ok(()),
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_pool_tells_why_a_check_refused_a_connection() {
    let log = Arc::new(Log::default());
    let pool = builder()
        .name("users")
        .observer(Arc::clone(&log))
        .check(Check::new(Fresh).at_checkout())
        .max_size(1)
        .build()
        .unwrap();
    drop(pool.checkout().await.unwrap());
    log.news();
    drop(pool.checkout().await.unwrap());
    assert_eq!(
        log.news(),
        [
            "retired older than 1",
            "check of 1 failed: used before",
            "closed 1: check_failed, 0ns old, used 1 times",
            "connecting 2",
            "1 waiting",
            "connected 2 in 0ns",
            "out 2 after 0ns, use 1, idle for 0ns",
            "waited 0ns: served",
            "in 2 after 0ns",
        ]
    );
}

struct Panics;

impl Observer for Panics {
    fn observe(&self, _: &str, _: &Event) {
        panic!("as told, by an observer");
    }
}

#[tokio::test(start_paused = true)]
async fn an_observer_that_panics_harms_neither_the_pool_nor_the_next_one() {
    silence_panics();
    let log = Arc::new(Log::default());
    let pool = builder()
        .name("users")
        .observer(Panics)
        .observer(Arc::clone(&log))
        .build()
        .unwrap();
    drop(pool.checkout().await.unwrap());
    pool.close();
    assert_eq!(pool.status().size(), 0);
    assert_eq!(log.news().len(), 8);
}

/// What the observers that come with the pool make of a real one.
#[cfg(all(feature = "tracing", feature = "metrics", feature = "histograms"))]
mod shipped {
    use std::time::Duration;

    use metrics::with_local_recorder;
    use pool_core::observers::{Histograms, MetricsObserver, TracingObserver};
    use pool_core::{CloseReason, Config, Metrics, OwnedPooled, Pool};

    use super::*;
    use crate::exported::Exported;
    use crate::support::Scripted;

    fn observed(config: Config, exported: &Exported) -> (Pool<Scripted>, Arc<Histograms>) {
        let metrics = MetricsObserver::new(&config);
        // The recorder of this thread is asked for now, wherever the first event happens.
        with_local_recorder(&exported.recorder, || {
            metrics.observe("users", &Event::Resumed);
        });
        let times = Arc::new(Histograms::new());
        let pool = builder()
            .name("users")
            .config(config)
            .observer(TracingObserver::new())
            .observer(metrics)
            .observer(Arc::clone(&times))
            .build()
            .unwrap();
        (pool, times)
    }

    /// Callers who wait, leave, run into their deadline, detach, discard and panic, while the peer hangs up now and then.
    async fn traffic(pool: &Pool<Scripted>) {
        silence_panics();
        let callers: Vec<_> = (1..=8)
            .map(|seed| tokio::spawn(caller(pool.clone(), Dice(seed))))
            .collect();
        for caller in callers {
            caller.await.unwrap();
        }
    }

    async fn caller(pool: Pool<Scripted>, mut dice: Dice) {
        for _ in 0..40 {
            let limit = [0, 1, 5, 2_000][dice.throw(4) as usize];
            let checkout = pool.checkout_owned().timeout(Duration::from_millis(limit));
            if dice.throw(8) == 0 {
                let _ = poll(&mut Box::pin(checkout));
                continue;
            }
            let Ok(guard) = checkout.await else {
                continue;
            };
            sleep(Duration::from_millis(dice.throw(3))).await;
            let number = guard.number();
            match dice.throw(8) {
                0 => drop(OwnedPooled::detach(guard)),
                1 => OwnedPooled::discard(guard),
                2 => pool.manager().peer().hang_up(number),
                3 => {
                    drop(guard);
                    pool.manager().peer().hang_up(number);
                }
                4 => {
                    let user = tokio::spawn(async move {
                        let _guard = guard;
                        panic!("as told, by the user");
                    });
                    assert!(user.await.is_err());
                }
                _ => drop(guard),
            }
        }
    }

    /// The same throws in every run.
    struct Dice(u64);

    impl Dice {
        fn throw(&mut self, sides: u64) -> u64 {
            self.0 = self
                .0
                .wrapping_mul(6_364_136_223_846_793_005)
                .wrapping_add(1);
            (self.0 >> 33) % sides
        }
    }

    /// The counters are the pool's own totals, and every gauge is zero.
    fn adds_up(metrics: &Metrics, times: &Histograms, exported: &mut Exported) {
        let mut sum = |name, label| exported.metric("users", name, label);
        let wait_time = sum("db.client.connection.wait_time", None);
        assert_eq!(wait_time.count as u64, metrics.checkouts);
        let create_time = sum("db.client.connection.create_time", None);
        assert_eq!(create_time.count as u64, metrics.connected);
        let timeouts = sum("db.client.connection.timeouts", None);
        assert_eq!(timeouts.value as u64, metrics.timed_out);
        let detached = sum("pool_core.detached_connections", None);
        assert_eq!(detached.value as u64, metrics.detached);
        let failures = ["true", "false"]
            .map(|permanent| sum("pool_core.connect_failures", Some(permanent)).value);
        assert_eq!(
            failures.iter().sum::<f64>() as u64,
            metrics.connect_failures
        );
        for reason in [
            CloseReason::Dropped,
            CloseReason::Discarded,
            CloseReason::Panicked,
            CloseReason::PoolClosed,
        ] {
            let closed = sum("pool_core.closed_connections", Some(reason.as_str())).value;
            assert_eq!(closed as u64, metrics.closed_for(reason), "{reason}");
        }
        let outcomes = ["served", "timed_out", "failed", "closed", "cancelled"]
            .map(|outcome| sum("pool_core.ended_waits", Some(outcome)).value);
        assert_eq!(outcomes.iter().sum::<f64>() as u64, metrics.waited);

        let snapshot = times.snapshot();
        let [served, ..] = outcomes;
        let left_empty_handed = metrics.waited - served as u64;
        assert_eq!(snapshot.wait.count, metrics.checkouts + left_empty_handed);
        assert_eq!(snapshot.hold.count, metrics.checkouts);
        assert_eq!(snapshot.connect.count, metrics.connected);
        assert_eq!(exported.gauges("users"), Default::default());
    }

    fn small() -> Config {
        let mut config = Config::default();
        config.max_size = 3;
        config.min_idle = 1;
        config
    }

    #[tokio::test(start_paused = true)]
    async fn counters_are_the_pools_totals_and_gauges_end_at_zero() {
        let mut exported = Exported::new();
        let (pool, times) = observed(small(), &exported);
        pool.manager().connects([
            Gate::Slow,
            Gate::Error,
            Gate::Ok,
            Gate::Slow,
            Gate::Panic,
            Gate::Ok,
        ]);
        traffic(&pool).await;
        pool.resize(2);
        sleep(60 * SECOND).await;
        let status = pool.status();
        let mut gauge = |name, label| exported.value("users", name, label);
        let count = "db.client.connection.count";
        assert_eq!(gauge(count, Some("idle")), status.idle as f64);
        assert_eq!(gauge(count, Some("used")), status.in_use as f64);
        assert_eq!(gauge("db.client.connection.max", None), 2.0);
        assert_eq!(gauge("db.client.connection.idle.min", None), 1.0);

        pool.drain(60 * SECOND).await.unwrap();
        let metrics = pool.metrics();
        adds_up(&metrics, &times, &mut exported);
        assert!(metrics.timed_out > 0 && metrics.cancelled > 0 && metrics.detached > 0);
        assert!(metrics.connect_failures > 0);
        for reason in [
            CloseReason::Dropped,
            CloseReason::Discarded,
            CloseReason::Panicked,
        ] {
            assert!(metrics.closed_for(reason) > 0, "{reason}");
        }
    }

    #[test]
    fn so_they_do_on_many_threads() {
        let mut exported = Exported::new();
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(4)
            .enable_all()
            .build()
            .unwrap();
        let (metrics, times) = runtime.block_on(async {
            let (pool, times) = observed(small(), &exported);
            traffic(&pool).await;
            pool.drain(60 * SECOND).await.unwrap();
            (pool.metrics(), times)
        });
        // An event is told after what it tells of: the last ones may be on their way until every thread has ended.
        drop(runtime);
        adds_up(&metrics, &times, &mut exported);
    }
}

#[cfg(all(feature = "tracing", feature = "metrics", feature = "histograms"))]
mod exported;
