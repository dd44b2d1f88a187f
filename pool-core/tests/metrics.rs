//! What `MetricsObserver` makes of events, and whether it is what its documentation says.

#![cfg(feature = "metrics")]

mod exported;

use std::collections::{BTreeMap, BTreeSet};
use std::panic::Location;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Barrier};
use std::time::Duration;

use exported::Exported;
use metrics::{
    Counter, Gauge, Histogram, Key, KeyName, Metadata, Recorder, SharedString, Unit,
    with_local_recorder,
};
use metrics_util::MetricKind;
use pool_core::observers::MetricsObserver;
use pool_core::{CloseReason, Config, Event, Observer, Outcome, Status};
use proptest::prelude::*;

const MILLI: Duration = Duration::from_millis(1);
const COUNT: &str = "db.client.connection.count";
const MAX: &str = "db.client.connection.max";
const IDLE_MAX: &str = "db.client.connection.idle.max";
const IDLE_MIN: &str = "db.client.connection.idle.min";
const PENDING: &str = "db.client.connection.pending_requests";

fn config(max_size: usize, min_idle: usize) -> Config {
    let mut config = Config::default();
    config.max_size = max_size;
    config.min_idle = min_idle;
    config
}

fn connected(id: u64) -> Event {
    Event::Connected { id, took: MILLI }
}

fn checked_out(id: u64) -> Event {
    Event::CheckedOut {
        id,
        wait: MILLI,
        uses: 1,
        idle_for: MILLI,
    }
}

fn checked_in(id: u64) -> Event {
    Event::CheckedIn { id, hold: MILLI }
}

fn detached(id: u64) -> Event {
    Event::Detached { id, hold: MILLI }
}

fn closed(id: u64, reason: CloseReason) -> Event {
    Event::Closed {
        id,
        reason,
        age: MILLI,
        uses: 1,
    }
}

fn waited(outcome: Outcome) -> Event {
    Event::Waited {
        wait: MILLI,
        outcome,
    }
}

/// One of each, in an order in which they could happen, with one connection idle, one in use and one caller waiting.
fn one_of_each() -> Vec<Event> {
    let status = Status::default();
    let error = || Arc::new(std::io::Error::other("refused"));
    let place = Location::caller();
    vec![
        Event::Connecting { id: 1 },
        connected(1),
        Event::Connecting { id: 2 },
        connected(2),
        Event::Connecting { id: 3 },
        Event::ConnectFailed {
            id: 3,
            took: MILLI,
            error: error(),
            permanent: true,
        },
        Event::Connecting { id: 4 },
        Event::ConnectAbandoned { id: 4 },
        connected(5),
        checked_out(5),
        detached(5),
        checked_out(1),
        Event::HeldTooLong {
            id: 1,
            held: MILLI,
            place,
            backtrace: None,
        },
        Event::ReturnedAfterAll {
            id: 1,
            held: MILLI,
            place,
        },
        checked_in(1),
        checked_out(1),
        connected(6),
        Event::Evicted { id: 6, lag: MILLI },
        closed(6, CloseReason::Dropped),
        connected(7),
        Event::CheckFailed {
            id: 7,
            error: error(),
        },
        closed(7, CloseReason::CheckFailed),
        Event::Waiting { waiting: 1 },
        Event::Waiting { waiting: 2 },
        Event::TimedOut {
            limit: MILLI,
            status,
        },
        waited(Outcome::TimedOut),
        Event::Refused { status },
        Event::Retired { older_than: 1 },
        Event::Resized { max_size: 9 },
        Event::Paused,
        Event::Resumed,
    ]
}

// --- the table

/// A row of the documentation: kind, unit, and the labels beside the pool's name.
type Row = (String, String, Vec<String>);

fn documented() -> BTreeMap<String, Row> {
    let table = include_str!("../src/observers/metrics.md");
    let rows: Vec<_> = table.lines().skip(2).collect();
    let documented: BTreeMap<_, _> = rows
        .iter()
        .map(|line| {
            let cells: Vec<_> = line.split('|').map(str::trim).collect();
            let [_, name, kind, unit, labels, what, _] = cells[..] else {
                panic!("not a row: {line}")
            };
            assert!(!what.is_empty(), "{line}");
            let words = |cell: &str| -> Vec<_> {
                cell.split([',', ' '])
                    .filter(|word| !word.is_empty())
                    .map(|word| word.trim_matches('`').to_owned())
                    .collect()
            };
            let unit = unit.trim_matches('`').to_owned();
            let name = name.trim_matches('`').to_owned();
            (name, (kind.to_owned(), unit, words(labels)))
        })
        .collect();
    assert_eq!(documented.len(), rows.len(), "no name twice");
    documented
}

fn kind(kind: MetricKind) -> &'static str {
    match kind {
        MetricKind::Counter => "counter",
        MetricKind::Gauge => "gauge",
        MetricKind::Histogram => "histogram",
    }
}

#[test]
fn what_is_documented_is_what_is_exported_and_all_of_it_moves() {
    let mut exported = Exported::new();
    let observer = MetricsObserver::new(&config(10, 2));
    with_local_recorder(&exported.recorder, || {
        for event in one_of_each() {
            observer.observe("users", &event);
        }
    });
    let documented = documented();
    let (mut names, mut moved) = (BTreeSet::new(), BTreeSet::new());
    for ((name, labels), metric) in exported.of("users") {
        let Some((documented_kind, unit, documented_labels)) = documented.get(name) else {
            panic!("{name} is not documented")
        };
        assert_eq!(kind(metric.kind), documented_kind, "{name}");
        let keys: Vec<_> = labels.iter().map(|(key, _)| key.clone()).collect();
        assert_eq!(&keys, documented_labels, "{name}");
        // The facade has no names for what is counted.
        let expected = match &unit[..] {
            "s" => Unit::Seconds,
            counted => {
                assert!(counted.starts_with('{') && counted.ends_with('}'), "{name}");
                Unit::Count
            }
        };
        assert_eq!(metric.unit, Some(expected), "{name}");
        assert!(metric.description.is_some(), "{name}");
        names.insert(name.clone());
        if metric.value != 0.0 {
            moved.insert(name.clone());
        }
    }
    let documented: BTreeSet<_> = documented.into_keys().collect();
    assert_eq!(names, documented);
    assert_eq!(moved, documented);
}

#[test]
fn times_are_seconds() {
    let mut exported = Exported::new();
    let observer = MetricsObserver::new(&config(10, 0));
    with_local_recorder(&exported.recorder, || {
        let took = Duration::from_millis(1_500);
        observer.observe("users", &Event::Connected { id: 1, took });
    });
    let create_time = exported.metric("users", "db.client.connection.create_time", None);
    assert_eq!((create_time.count, create_time.value), (1, 1.5));
}

#[test]
fn every_reason_every_outcome_and_both_kinds_of_failure_have_a_counter_of_their_own() {
    use CloseReason::*;
    let reasons = [
        IdleTimeout,
        MaxLifetime,
        MaxUses,
        MaxIdle,
        IdleLimit,
        Retired,
        Dropped,
        Discarded,
        Panicked,
        NotReusable,
        ResetFailed,
        CheckFailed,
        Cleared,
        Resized,
        PoolClosed,
    ];
    let outcomes = [
        Outcome::Served,
        Outcome::TimedOut,
        Outcome::Failed,
        Outcome::Closed,
        Outcome::Cancelled,
    ];
    let mut exported = Exported::new();
    let observer = MetricsObserver::new(&config(10, 0));
    with_local_recorder(&exported.recorder, || {
        for (place, reason) in reasons.into_iter().enumerate() {
            for _ in 0..=place {
                observer.observe("users", &closed(1, reason));
            }
        }
        for (place, outcome) in outcomes.into_iter().enumerate() {
            for _ in 0..=place {
                observer.observe("users", &waited(outcome));
            }
        }
        for permanent in [false, true, true] {
            let error = Arc::new(std::io::Error::other("refused"));
            let failed = Event::ConnectFailed {
                id: 1,
                took: MILLI,
                error,
                permanent,
            };
            observer.observe("users", &failed);
        }
    });
    for (place, reason) in reasons.into_iter().enumerate() {
        let count = exported.value(
            "users",
            "pool_core.closed_connections",
            Some(reason.as_str()),
        );
        assert_eq!(count, (place + 1) as f64, "{reason}");
    }
    for (place, outcome) in outcomes.into_iter().enumerate() {
        let count = exported.value("users", "pool_core.ended_waits", Some(outcome.as_str()));
        assert_eq!(count, (place + 1) as f64, "{outcome:?}");
    }
    for (permanent, expected) in [("false", 1.0), ("true", 2.0)] {
        let count = exported.value("users", "pool_core.connect_failures", Some(permanent));
        assert_eq!(count, expected, "{permanent}");
    }
}

// --- pools

#[test]
fn pools_of_one_observer_do_not_mix() {
    let mut exported = Exported::new();
    let observer = MetricsObserver::new(&config(10, 0));
    with_local_recorder(&exported.recorder, || {
        for pool in ["users", "orders", "users", "carts"] {
            observer.observe(pool, &connected(1));
        }
        observer.observe("orders", &checked_out(1));
        observer.observe("carts", &Event::PoolClosed);
    });
    for (pool, idle, used, max) in [
        ("users", 2.0, 0.0, 10.0),
        ("orders", 0.0, 1.0, 10.0),
        ("carts", 1.0, 0.0, 0.0),
    ] {
        assert_eq!(exported.value(pool, COUNT, Some("idle")), idle, "{pool}");
        assert_eq!(exported.value(pool, COUNT, Some("used")), used, "{pool}");
        assert_eq!(exported.value(pool, MAX, None), max, "{pool}");
    }
}

#[test]
fn two_pools_of_one_name_are_counted_together() {
    let mut exported = Exported::new();
    let (first, second) = (
        MetricsObserver::new(&config(10, 1)),
        MetricsObserver::new(&config(5, 2)),
    );
    with_local_recorder(&exported.recorder, || {
        first.observe("users", &connected(1));
        second.observe("users", &connected(1));
    });
    assert_eq!(exported.value("users", MAX, None), 15.0);
    assert_eq!(exported.value("users", IDLE_MIN, None), 3.0);
    assert_eq!(exported.value("users", COUNT, Some("idle")), 2.0);
    first.observe("users", &closed(1, CloseReason::PoolClosed));
    first.observe("users", &Event::PoolClosed);
    assert_eq!(exported.value("users", MAX, None), 5.0);
    assert_eq!(exported.value("users", COUNT, Some("idle")), 1.0);
}

#[test]
fn the_limits_follow_the_size_and_are_gone_with_the_pool() {
    let mut exported = Exported::new();
    let mut config = config(10, 4);
    config.max_idle = Some(5);
    let observer = MetricsObserver::new(&config);
    let limits = |exported: &mut Exported, event| {
        with_local_recorder(&exported.recorder, || observer.observe("users", &event));
        [MAX, IDLE_MAX, IDLE_MIN].map(|name| exported.value("users", name, None))
    };
    assert_eq!(limits(&mut exported, Event::Paused), [10.0, 5.0, 4.0]);
    let resized = |exported: &mut Exported, max_size| limits(exported, Event::Resized { max_size });
    assert_eq!(resized(&mut exported, 3), [3.0, 3.0, 3.0]);
    assert_eq!(resized(&mut exported, 20), [20.0, 5.0, 4.0]);
    assert_eq!(limits(&mut exported, Event::PoolClosed), [0.0; 3]);
    // Told late: the resize was before the close.
    assert_eq!(
        limits(&mut exported, Event::Resized { max_size: 30 }),
        [0.0; 3]
    );
    assert_eq!(limits(&mut exported, Event::PoolClosed), [0.0; 3]);
}

/// Counts what it is told of names and handles.
#[derive(Default)]
struct Told {
    described: AtomicUsize,
    registered: AtomicUsize,
}

impl Recorder for Told {
    fn describe_counter(&self, _: KeyName, _: Option<Unit>, _: SharedString) {
        self.described.fetch_add(1, Ordering::SeqCst);
    }
    fn describe_gauge(&self, _: KeyName, _: Option<Unit>, _: SharedString) {
        self.described.fetch_add(1, Ordering::SeqCst);
    }
    fn describe_histogram(&self, _: KeyName, _: Option<Unit>, _: SharedString) {
        self.described.fetch_add(1, Ordering::SeqCst);
    }
    fn register_counter(&self, _: &Key, _: &Metadata<'_>) -> Counter {
        self.registered.fetch_add(1, Ordering::SeqCst);
        Counter::noop()
    }
    fn register_gauge(&self, _: &Key, _: &Metadata<'_>) -> Gauge {
        self.registered.fetch_add(1, Ordering::SeqCst);
        Gauge::noop()
    }
    fn register_histogram(&self, _: &Key, _: &Metadata<'_>) -> Histogram {
        self.registered.fetch_add(1, Ordering::SeqCst);
        Histogram::noop()
    }
}

#[test]
fn names_are_described_once_and_handles_asked_for_once_for_each_pool() {
    let told = Told::default();
    let observer = MetricsObserver::new(&config(10, 0));
    with_local_recorder(&told, || {
        observer.observe("users", &connected(1));
        let registered = told.registered.load(Ordering::SeqCst);
        for _ in 0..10 {
            for event in one_of_each() {
                observer.observe("users", &event);
                observer.observe("orders", &event);
            }
        }
        assert_eq!(told.registered.load(Ordering::SeqCst), 2 * registered);
    });
    assert_eq!(told.described.load(Ordering::SeqCst), documented().len());
}

#[test]
fn nothing_is_lost_when_many_threads_tell_of_a_pool_for_the_first_time() {
    for _ in 0..20 {
        let mut exported = Exported::new();
        let observer = MetricsObserver::new(&config(10, 0));
        let start = Barrier::new(4);
        std::thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| {
                    with_local_recorder(&exported.recorder, || {
                        start.wait();
                        for id in 0..100 {
                            for pool in ["users", "orders"] {
                                observer.observe(pool, &connected(id));
                                observer.observe(pool, &checked_out(id));
                            }
                        }
                    });
                });
            }
        });
        for pool in ["users", "orders"] {
            assert_eq!(exported.value(pool, COUNT, Some("used")), 400.0);
            assert_eq!(exported.value(pool, COUNT, Some("idle")), 0.0);
            assert_eq!(exported.value(pool, MAX, None), 10.0);
        }
    }
}

// --- any sequence of events

/// The life of one connection or one caller, in the pool of that number.
#[derive(Clone, Debug)]
enum Life {
    Connection {
        uses: usize,
        detached: bool,
        reason: CloseReason,
    },
    Caller(Outcome),
}

impl Life {
    fn events(&self, id: u64) -> Vec<Event> {
        match *self {
            Self::Connection {
                uses,
                detached: is_detached,
                reason,
            } => {
                let mut events = vec![Event::Connecting { id }, connected(id)];
                for _ in 0..uses {
                    events.extend([checked_out(id), checked_in(id)]);
                }
                if is_detached {
                    events.extend([checked_out(id), detached(id)]);
                } else {
                    events.push(closed(id, reason));
                }
                events
            }
            Self::Caller(outcome) => vec![Event::Waiting { waiting: 1 }, waited(outcome)],
        }
    }
}

fn life() -> impl Strategy<Value = Life> {
    let reason = prop::sample::select(vec![
        CloseReason::Dropped,
        CloseReason::Discarded,
        CloseReason::PoolClosed,
    ]);
    let outcome =
        prop::sample::select(vec![Outcome::Served, Outcome::TimedOut, Outcome::Cancelled]);
    prop_oneof![
        3 => (0..4usize, any::<bool>(), reason)
            .prop_map(|(uses, detached, reason)| Life::Connection { uses, detached, reason }),
        1 => outcome.prop_map(Life::Caller),
    ]
}

/// What the gauges should show.
#[derive(Default)]
struct Model {
    idle: i32,
    used: i32,
    pending: i32,
}

impl Model {
    fn hears(&mut self, event: &Event) {
        match event {
            Event::Connected { .. } => self.idle += 1,
            Event::CheckedOut { .. } => (self.idle, self.used) = (self.idle - 1, self.used + 1),
            Event::CheckedIn { .. } => (self.idle, self.used) = (self.idle + 1, self.used - 1),
            Event::Detached { .. } => self.used -= 1,
            Event::Closed { .. } => self.idle -= 1,
            Event::Waiting { .. } => self.pending += 1,
            Event::Waited { .. } => self.pending -= 1,
            _ => {}
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(32))]

    #[test]
    fn in_whatever_order_lives_meet_the_gauges_are_right_and_end_at_zero(
        lives in prop::collection::vec((0..2usize, life()), 0..20),
        sizes in prop::collection::vec(1..50usize, 0..3),
        order in prop::collection::vec(any::<prop::sample::Index>(), 200),
    ) {
        const POOLS: [&str; 2] = ["users", "orders"];
        // Events of one life stay in order; resizes and the end of each pool come whenever they like.
        let mut threads: Vec<(usize, std::vec::IntoIter<Event>)> = lives
            .iter()
            .enumerate()
            .map(|(id, (pool, life))| (*pool, life.events(id as u64).into_iter()))
            .collect();
        threads.extend(sizes.iter().map(|&max_size| (0, vec![Event::Resized { max_size }].into_iter())));
        threads.extend([0, 1].map(|pool| (pool, vec![Event::PoolClosed].into_iter())));

        let mut exported = Exported::new();
        let observer = MetricsObserver::new(&config(10, 3));
        let mut models = [Model::default(), Model::default()];
        let mut order = order.iter().cycle();
        while !threads.is_empty() {
            let next = order.next().expect("it goes round").index(threads.len());
            let (pool, events) = &mut threads[next];
            let Some(event) = events.next() else {
                drop(threads.swap_remove(next));
                continue;
            };
            let (name, model) = (POOLS[*pool], &mut models[*pool]);
            with_local_recorder(&exported.recorder, || observer.observe(name, &event));
            model.hears(&event);
            prop_assert_eq!(exported.value(name, COUNT, Some("idle")), f64::from(model.idle));
            prop_assert_eq!(exported.value(name, COUNT, Some("used")), f64::from(model.used));
            prop_assert_eq!(exported.value(name, PENDING, None), f64::from(model.pending));
        }
        for pool in POOLS {
            prop_assert_eq!(exported.gauges(pool), BTreeMap::new());
        }
    }
}
