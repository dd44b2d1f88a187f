//! Health checks and hooks: when they run, what they cost, and what they may not break.

mod support;

use std::panic::Location;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use pool_core::{
    Builder, Check, CheckoutError, CloseReason, ConnectError, ConnectionInfo, Event, HealthCheck,
    Manager, Observer, OnConnectError, Pool, Pooled, Unhealthy, async_trait,
};
use support::{Gate, SECOND, Scripted, Socket, builder, fill, poll, settle, silence_panics};

/// A check that does as it is told and counts how often it was asked.
#[derive(Clone, Default)]
struct Ping {
    gate: Arc<Mutex<Gate>>,
    asked: Arc<AtomicUsize>,
}

impl Ping {
    fn answers(&self, gate: Gate) {
        *self.gate.lock().unwrap() = gate;
    }

    fn asked(&self) -> usize {
        self.asked.load(Ordering::SeqCst)
    }
}

#[async_trait]
impl HealthCheck<Socket> for Ping {
    async fn check(&self, _: &mut Socket, _: &ConnectionInfo) -> Result<(), Unhealthy> {
        self.asked.fetch_add(1, Ordering::SeqCst);
        let gate = *self.gate.lock().unwrap();
        Ok(gate.pass().await?)
    }
}

fn with(check: impl FnOnce(Check<Socket>) -> Check<Socket>) -> (Builder<Scripted>, Ping) {
    let ping = Ping::default();
    (builder().check(check(Check::new(ping.clone()))), ping)
}

// --- when

#[tokio::test(start_paused = true)]
async fn a_check_without_a_when_never_runs() {
    let (builder, ping) = with(|check| check);
    let pool = builder.build().unwrap();
    drop(pool.checkout().await.unwrap());
    drop(pool.checkout().await.unwrap());
    assert_eq!(ping.asked(), 0);
}

#[tokio::test(start_paused = true)]
async fn a_refusal_after_connecting_is_a_failed_dial_with_its_cause() {
    let (builder, ping) = with(Check::after_connect);
    let pool = builder
        .on_connect_error(OnConnectError::Fail)
        .build()
        .unwrap();
    ping.answers(Gate::Error);
    let error = pool.checkout().await.unwrap_err();
    assert_eq!(
        error.to_string(),
        "could not connect: the new connection was refused: refused"
    );
    let CheckoutError::Connect(failure) = error else {
        panic!("{error}");
    };
    assert!(matches!(*failure.error, ConnectError::Refused(_)));
    settle().await;
    assert_eq!((pool.manager().peer().open(), pool.status().size()), (0, 0));
    ping.answers(Gate::Ok);
    tokio::time::sleep(SECOND).await;
    drop(pool.checkout().await.unwrap());
    drop(pool.checkout().await.unwrap());
    assert_eq!(ping.asked(), 2, "once a connection");
}

#[tokio::test(start_paused = true)]
async fn a_check_after_connecting_is_bounded_by_its_own_limit() {
    let (builder, ping) = with(|check| check.after_connect().timeout(SECOND));
    let pool = builder
        .on_connect_error(OnConnectError::Fail)
        .build()
        .unwrap();
    ping.answers(Gate::Never);
    let error = pool.checkout().await.unwrap_err();
    assert_eq!(
        error.to_string(),
        "could not connect: the new connection was refused: the check did not end within 1 s"
    );
}

#[tokio::test(start_paused = true)]
async fn at_checkout_one_that_is_refused_is_closed_and_the_next_one_taken() {
    let (builder, ping) = with(Check::at_checkout);
    let pool = builder.max_size(2).build().unwrap();
    fill(&pool, 2).await;
    let asked = ping.asked();
    ping.answers(Gate::Error);
    let mut caller = Box::pin(pool.checkout());
    assert!(poll(&mut caller).is_pending());
    assert_eq!(ping.asked(), asked + 2);
    ping.answers(Gate::Ok);
    assert_eq!(caller.await.unwrap().number(), 3);
    let metrics = pool.metrics();
    assert_eq!(metrics.closed_for(CloseReason::CheckFailed), 2);
    assert_eq!(metrics.checkouts, 3, "what was refused was not checked out");
}

#[tokio::test(start_paused = true)]
async fn at_checkout_if_idle_for_long_spares_those_that_are_warm() {
    let (builder, ping) = with(|check| check.at_checkout_if_idle_for(30 * SECOND));
    let pool = builder.build().unwrap();
    fill(&pool, 1).await;
    drop(pool.checkout().await.unwrap());
    tokio::time::sleep(29 * SECOND).await;
    drop(pool.checkout().await.unwrap());
    assert_eq!(ping.asked(), 0);
    tokio::time::sleep(31 * SECOND).await;
    drop(pool.checkout().await.unwrap());
    assert_eq!(ping.asked(), 1);
}

/// Dials sockets of which the probe cannot always tell whether they are alive.
struct Unsure(Scripted, std::sync::atomic::AtomicBool);

impl Manager for Unsure {
    type Connection = Socket;
    type Error = support::ScriptedError;

    async fn connect(&self) -> Result<Socket, Self::Error> {
        self.0.connect().await
    }

    fn is_dropped(&self, socket: &mut Socket) -> bool {
        self.0.is_dropped(socket)
    }

    fn is_unsure(&self, _: &mut Socket) -> bool {
        self.1.load(Ordering::SeqCst)
    }
}

#[tokio::test(start_paused = true)]
async fn at_checkout_if_unsure_asks_only_where_the_probe_could_not_tell() {
    let ping = Ping::default();
    let pool = Pool::builder(Unsure(Scripted::new(), false.into()))
        .check(Check::new(ping.clone()).at_checkout_if_unsure())
        .build()
        .unwrap();
    drop(pool.checkout().await.unwrap());
    assert_eq!(ping.asked(), 0);
    pool.manager().1.store(true, Ordering::SeqCst);
    drop(pool.checkout().await.unwrap());
    assert_eq!(ping.asked(), 1);
}

#[tokio::test(start_paused = true)]
async fn at_check_in_one_that_is_refused_is_offered_to_nobody() {
    let (builder, ping) = with(Check::at_checkin);
    let pool = builder.max_size(1).build().unwrap();
    ping.answers(Gate::Error);
    let first = pool.checkout().await.unwrap();
    let mut waiting = Box::pin(pool.checkout());
    assert!(poll(&mut waiting).is_pending());
    drop(first);
    assert_eq!(waiting.await.unwrap().number(), 2);
    assert_eq!(ping.asked(), 1);
    settle().await;
    assert_eq!(pool.status().size(), 0);
}

#[tokio::test(start_paused = true)]
async fn resets_come_before_checks_at_check_in() {
    let order = Arc::new(Mutex::new(Vec::new()));
    let seen = Arc::clone(&order);
    let check = Check::sync(move |socket: &mut Socket, _| {
        seen.lock().unwrap().push(socket.number());
        Ok(())
    });
    let pool = builder().check(check.at_checkin()).build().unwrap();
    pool.manager().recycles(pool_core::Recycle::Reset);
    drop(pool.checkout().await.unwrap());
    settle().await;
    assert_eq!((order.lock().unwrap().len(), pool.status().idle), (1, 1));
    pool.manager().resets(Gate::Error);
    drop(pool.checkout().await.unwrap());
    settle().await;
    assert_eq!((order.lock().unwrap().len(), pool.status().idle), (1, 0));
    assert_eq!(pool.metrics().closed_for(CloseReason::ResetFailed), 1);
}

#[tokio::test(start_paused = true)]
async fn a_keepalive_runs_every_period_and_is_not_a_use() {
    let (builder, ping) = with(|check| check.while_idle_every(10 * SECOND));
    let pool = builder.idle_timeout(35 * SECOND).build().unwrap();
    fill(&pool, 1).await;
    tokio::time::sleep(34 * SECOND).await;
    assert_eq!((ping.asked(), pool.status().idle), (3, 1));
    tokio::time::sleep(2 * SECOND).await;
    assert_eq!(pool.status().size(), 0, "the idle time went on");
    assert_eq!(pool.metrics().checkouts, 1);
}

#[tokio::test(start_paused = true)]
async fn a_keepalive_leaves_those_alone_that_are_used() {
    let (builder, ping) = with(|check| check.while_idle_every(10 * SECOND));
    let pool = builder.build().unwrap();
    for _ in 0..50 {
        drop(pool.checkout().await.unwrap());
        tokio::time::sleep(5 * SECOND).await;
    }
    assert_eq!(ping.asked(), 0);
}

#[tokio::test(start_paused = true)]
async fn a_keepalive_that_hangs_costs_its_connection_and_no_other() {
    let (builder, ping) = with(|check| check.while_idle_every(10 * SECOND).timeout(2 * SECOND));
    let pool = builder.max_size(6).build().unwrap();
    ping.answers(Gate::Never);
    fill(&pool, 6).await;
    tokio::time::sleep(11 * SECOND).await;
    assert!(
        pool.status().idle >= 2,
        "not all are checked at once: {}",
        pool.status()
    );
    assert!(pool.checkout().timeout(Duration::ZERO).await.is_ok());
    tokio::time::sleep(60 * SECOND).await;
    assert_eq!(pool.metrics().closed_for(CloseReason::CheckFailed), 6);
    assert_eq!((pool.status().size(), pool.manager().peer().open()), (0, 0));
    // Fewer pings than connections would be a pool that checks nothing any more.
    assert_eq!(ping.asked(), 6);
}

#[tokio::test(start_paused = true)]
async fn a_peer_that_closes_during_a_keepalive_is_noticed_afterwards() {
    let (builder, ping) = with(|check| check.while_idle_every(10 * SECOND));
    let pool = builder.build().unwrap();
    ping.answers(Gate::Slow);
    fill(&pool, 1).await;
    tokio::time::sleep(Duration::from_millis(10_050)).await;
    assert_eq!((ping.asked(), pool.status().in_use), (1, 1));
    pool.manager().peer().hang_up(1);
    tokio::time::sleep(SECOND).await;
    assert_eq!((pool.status().size(), pool.manager().peer().open()), (0, 0));
    assert_eq!(pool.metrics().closed_for(CloseReason::Dropped), 1);
}

#[tokio::test(start_paused = true)]
async fn whoever_waits_gets_a_connection_that_comes_back_from_a_keepalive() {
    let (builder, ping) = with(|check| check.while_idle_every(10 * SECOND));
    let pool = builder.max_size(1).build().unwrap();
    ping.answers(Gate::Slow);
    fill(&pool, 1).await;
    tokio::time::sleep(Duration::from_millis(10_050)).await;
    assert_eq!(pool.status().in_use, 1);
    assert_eq!(pool.checkout().await.unwrap().number(), 1);
}

// --- what it costs

#[tokio::test(start_paused = true)]
async fn a_check_that_panics_costs_one_connection() {
    silence_panics();
    for when in [Check::at_checkout, Check::at_checkin, Check::after_connect] {
        let (builder, ping) = with(when);
        let pool = builder.max_size(1).build().unwrap();
        ping.answers(Gate::Panic);
        let outcome = pool.checkout().timeout(SECOND).await;
        drop(outcome);
        settle().await;
        ping.answers(Gate::Ok);
        tokio::time::sleep(10 * SECOND).await;
        assert!(pool.checkout().timeout(SECOND).await.is_ok());
        settle().await;
        assert_eq!(pool.status().size(), pool.manager().peer().open());
    }
}

/// Hangs the first time it is asked, and panics when it is given up.
#[derive(Default)]
struct PanicsWhenGivenUp(AtomicUsize);

#[async_trait]
impl HealthCheck<Socket> for PanicsWhenGivenUp {
    async fn check(&self, _: &mut Socket, _: &ConnectionInfo) -> Result<(), Unhealthy> {
        struct Bomb;
        impl Drop for Bomb {
            fn drop(&mut self) {
                panic!("as told, when given up");
            }
        }
        if self.0.fetch_add(1, Ordering::SeqCst) == 0 {
            let _bomb = Bomb;
            std::future::pending::<()>().await;
        }
        Ok(())
    }
}

#[tokio::test(start_paused = true)]
async fn a_check_that_panics_when_it_is_given_up_costs_one_connection_or_is_a_timeout() {
    silence_panics();
    for limit in [SECOND, 60 * SECOND] {
        let check = Check::new(PanicsWhenGivenUp::default()).at_checkout();
        let pool = builder()
            .max_size(1)
            .check(check.timeout(limit))
            .build()
            .unwrap();
        let outcome = pool.checkout().timeout(10 * SECOND).await;
        match limit == SECOND {
            true => assert_eq!(outcome.unwrap().number(), 2),
            false => assert!(matches!(outcome, Err(CheckoutError::Timeout(_)))),
        }
        assert!(pool.checkout().await.is_ok());
    }
}

#[tokio::test(start_paused = true)]
async fn a_caller_who_leaves_during_a_check_costs_that_connection_and_not_its_slot() {
    let (builder, ping) = with(Check::at_checkout);
    let pool = builder.max_size(1).build().unwrap();
    fill(&pool, 1).await;
    ping.answers(Gate::Never);
    let mut caller = Box::pin(pool.checkout());
    assert!(poll(&mut caller).is_pending());
    drop(caller);
    settle().await;
    assert_eq!((pool.status().size(), pool.manager().peer().open()), (0, 0));
    ping.answers(Gate::Ok);
    assert_eq!(pool.checkout().await.unwrap().number(), 2);
    assert_eq!(pool.metrics().checkouts, 2);
}

#[tokio::test(start_paused = true)]
async fn the_deadline_of_a_checkout_covers_its_checks() {
    let (builder, ping) = with(|check| check.at_checkout().timeout(60 * SECOND));
    let pool = builder.max_size(1).build().unwrap();
    ping.answers(Gate::Never);
    let error = pool.checkout().timeout(SECOND).await.unwrap_err();
    assert!(
        error.to_string().starts_with("timed out after 1 s"),
        "{error}"
    );
    settle().await;
    assert_eq!(pool.status().size(), 0);
}

#[tokio::test(start_paused = true)]
async fn a_waiter_whose_connection_is_refused_keeps_his_place() {
    let (builder, ping) = with(Check::at_checkout);
    let pool = builder.max_size(1).build().unwrap();
    let held = pool.checkout().await.unwrap();
    let mut first = Box::pin(pool.checkout());
    let mut second = Box::pin(pool.checkout());
    assert!(poll(&mut first).is_pending() && poll(&mut second).is_pending());
    ping.answers(Gate::Error);
    drop(held);
    assert!(poll(&mut first).is_pending());
    ping.answers(Gate::Ok);
    settle().await;
    assert!(poll(&mut second).is_pending(), "he came later");
    assert!(poll(&mut first).is_ready());
}

#[tokio::test(start_paused = true)]
async fn one_failed_check_can_retire_everything_older() {
    let (builder, ping) = with(|check| check.at_checkout().and_retire_older());
    let pool = builder.max_size(4).build().unwrap();
    fill(&pool, 4).await;
    ping.answers(Gate::Error);
    let mut caller = Box::pin(pool.checkout());
    assert!(poll(&mut caller).is_pending());
    ping.answers(Gate::Ok);
    assert_eq!(ping.asked(), 5, "one failure, not four");
    assert_eq!(caller.await.unwrap().number(), 5);
    assert_eq!(pool.metrics().closed_for(CloseReason::Retired), 3);
}

#[tokio::test(start_paused = true)]
async fn a_verdict_can_retire_everything_older() {
    let pool = builder()
        .before_checkout(|socket, _| match socket.number() {
            3 => Err(Unhealthy::new("the primary has moved").and_older()),
            _ => Ok(()),
        })
        .build()
        .unwrap();
    let (first, second) = (
        pool.checkout().await.unwrap(),
        pool.checkout().await.unwrap(),
    );
    drop(first);
    drop(pool.checkout().await.unwrap());
    let mut all = Vec::new();
    for _ in 0..2 {
        all.push(pool.checkout().await.unwrap().number());
    }
    drop(second);
    assert!(all.iter().all(|&number| number != 3));
}

#[tokio::test(start_paused = true)]
async fn connections_that_never_pass_are_not_dialled_without_a_pause() {
    let (builder, ping) = with(Check::at_checkout);
    let pool = builder.build().unwrap();
    ping.answers(Gate::Error);
    let error = pool.checkout().await.unwrap_err();
    assert!(
        error
            .to_string()
            .contains("the new connection was refused: refused"),
        "{error}"
    );
    let dialled = pool.manager().peer().dialled();
    assert!(dialled < 20, "{dialled} dials in 30 s");
}

// --- hooks

#[tokio::test(start_paused = true)]
async fn hooks_see_the_age_the_uses_and_the_idle_time() {
    let seen = Arc::new(Mutex::new(Vec::new()));
    let note = |what: &'static str| {
        let seen = Arc::clone(&seen);
        move |_: &mut Socket, info: &ConnectionInfo| {
            let idle_for = info.idle_for.as_secs();
            seen.lock()
                .unwrap()
                .push((what, info.age.as_secs(), info.uses, idle_for));
            Ok(())
        }
    };
    let pool = builder()
        .after_connect(note("connect"))
        .before_checkout(note("out"))
        .after_checkin(note("in"))
        .build()
        .unwrap();
    let guard = pool.checkout().await.unwrap();
    tokio::time::sleep(2 * SECOND).await;
    drop(guard);
    tokio::time::sleep(3 * SECOND).await;
    drop(pool.checkout().await.unwrap());
    let expected = [
        ("connect", 0, 0, 0),
        ("out", 0, 1, 0),
        ("in", 2, 1, 0),
        ("out", 5, 2, 3),
        ("in", 5, 2, 3),
    ];
    assert_eq!(*seen.lock().unwrap(), expected);
}

#[tokio::test(start_paused = true)]
async fn a_hook_may_call_back_into_its_pool() {
    let pool = Arc::new(Mutex::new(None::<Pool<Scripted>>));
    let known = Arc::clone(&pool);
    let ask = move |_: &mut Socket, _: &ConnectionInfo| {
        if let Some(pool) = &*known.lock().unwrap() {
            let _ = pool.status();
            pool.resize(3);
            let _ = pool.try_checkout().map(Pooled::discard);
        }
        Ok(())
    };
    let built = builder().after_checkin(ask).build().unwrap();
    *pool.lock().unwrap() = Some(built.clone());
    drop(built.checkout().await.unwrap());
    assert_eq!(built.status().max_size, 3);
    *pool.lock().unwrap() = None;
}

#[tokio::test(start_paused = true)]
async fn trying_runs_the_checks_that_do_not_wait() {
    let (builder, ping) = with(Check::at_checkout);
    let pool = builder
        .before_checkout(|socket, _| match socket.number() {
            1 => Err(Unhealthy::new("not the first")),
            _ => Ok(()),
        })
        .build()
        .unwrap();
    pool.warm_up(2).await.unwrap();
    assert_eq!(pool.try_checkout().unwrap().number(), 2);
    drop(pool.try_checkout());
    assert_eq!(ping.asked(), 0);
}

// --- leaks

#[derive(Clone, Default)]
struct Log(Arc<Mutex<Vec<Event>>>);

impl Observer for Log {
    fn observe(&self, _: &str, event: &Event) {
        self.0.lock().unwrap().push(event.clone());
    }
}

#[tokio::test(start_paused = true)]
async fn whoever_holds_a_connection_for_too_long_is_named_and_so_is_its_return() {
    let log = Log::default();
    let pool = builder()
        .leak_warning(10 * SECOND)
        .observer(log.clone())
        .build()
        .unwrap();
    let warnings = || {
        let events = log.0.lock().unwrap();
        let mut warned: Vec<(u64, u64, bool, &Location<'_>)> = Vec::new();
        for event in &*events {
            match event {
                Event::HeldTooLong {
                    id, held, place, ..
                } => {
                    warned.push((*id, held.as_secs(), false, place));
                }
                Event::ReturnedAfterAll { id, held, place } => {
                    warned.push((*id, held.as_secs(), true, place));
                }
                _ => {}
            }
        }
        warned
    };
    let here = Location::caller();
    let held = pool.checkout().await.unwrap();
    tokio::time::sleep(6 * SECOND).await;
    let short = pool.checkout_owned().await.unwrap();
    tokio::time::sleep(5 * SECOND).await;
    drop(short);
    assert_eq!(warnings().len(), 1);
    let (id, seconds, returned, place) = warnings()[0];
    assert_eq!(
        (id, seconds, returned, place.file()),
        (1, 10, false, here.file())
    );
    assert_eq!(place.line(), here.line() + 1);
    tokio::time::sleep(60 * SECOND).await;
    assert_eq!(warnings().len(), 1, "once is enough");
    drop(held);
    let (id, seconds, returned, _) = warnings()[1];
    assert_eq!((id, seconds, returned), (1, 71, true));
    // The watch goes on for those who come later.
    let _held = pool.try_checkout().unwrap();
    tokio::time::sleep(11 * SECOND).await;
    assert_eq!(warnings().len(), 3);
}

#[tokio::test(start_paused = true)]
async fn a_warning_carries_the_stack_if_it_was_asked_for() {
    let log = Log::default();
    let pool = builder()
        .leak_warning(SECOND)
        .leak_backtrace(true)
        .observer(log.clone())
        .build()
        .unwrap();
    let _held = pool.checkout().await.unwrap();
    tokio::time::sleep(2 * SECOND).await;
    let events = log.0.lock().unwrap();
    let stack = events.iter().find_map(|event| match event {
        Event::HeldTooLong { backtrace, .. } => backtrace.as_ref(),
        _ => None,
    });
    assert!(!stack.expect("there is one").to_string().is_empty());
}
