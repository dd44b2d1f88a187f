//! The numbers for an exporter: every pool under its name, through the facade of the `metrics` crate.

use std::sync::{Mutex, Once, OnceLock, PoisonError};
use std::time::Duration;

use ::metrics::{Gauge, Histogram};

use super::instruments::{Instruments, describe};
use crate::config::Config;
use crate::event::{Event, Observer};

/// Keeps the metrics of a pool up to date, with whatever recorder the application has installed.
///
/// The metrics of a pool have its name ([`Builder::name`](crate::Builder::name)) as the label
/// `db.client.connection.pool.name`, and are exported from its first event on. One observer may be given to several pools
/// with the same settings; they do not mix, unless they have one name. It looks through the names it knows one by one, so
/// give it to some pools, not to thousands.
///
/// # Metrics
///
/// Names, units and meanings of `db.client.*` are those of OpenTelemetry's [semantic conventions][otel] for database
/// clients, version 1.44.0, where their status is "development" and the gauges are called UpDownCounters. The others are
/// the pool's own. Times are seconds.
///
#[doc = include_str!("metrics.md")]
///
/// [otel]: https://github.com/open-telemetry/semantic-conventions/blob/v1.44.0/docs/db/database-metrics.md
///
/// What to know of them:
///
/// - The gauges are sums of events, which are told without the pool's lock. Between two events of different connections
///   a gauge may be off by those under way, below zero included; when nothing moves it is exact, and when a pool is gone
///   its gauges are exactly zero. [`Pool::status`](crate::Pool::status) is exact at any instant.
/// - The convention knows no third state: a connection that is not out counts as idle until it is closed, even while it is
///   checked or reset or its socket closes.
/// - The limits follow [`Pool::resize`](crate::Pool::resize), but not [`Pool::set_min_idle`](crate::Pool::set_min_idle), of
///   which no event tells; a closed pool has none.
/// - A connection given to [`Pool::add`](crate::Pool::add) counts as one that was dialled in no time.
/// - The recorder is asked for when a pool is first heard of. One that is installed later hears nothing of that pool.
/// - An exporter that forgets metrics which have not changed for a while, such as that for Prometheus if it is given an
///   `idle_timeout`, forgets those of a quiet pool for good, as their handles are kept. Leave that off.
///
/// # Examples
///
/// ```
/// # use pool_core::doc::Numbers;
/// use pool_core::{Config, Pool};
/// use pool_core::observers::MetricsObserver;
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let recorder = metrics_util::debugging::DebuggingRecorder::new();
/// # let metrics = recorder.snapshotter();
/// # recorder.install()?;
/// let config = Config::default();
/// let pool = Pool::builder(Numbers::default())
///     .name("numbers")
///     .observer(MetricsObserver::new(&config))
///     .config(config)
///     .build()?;
/// drop(pool.checkout().await?);
///
/// let exported = metrics.snapshot().into_vec();
/// let names: Vec<_> = exported.iter().map(|(key, ..)| key.key().name()).collect();
/// assert!(names.contains(&"db.client.connection.wait_time"));
/// # Ok(()) }
/// ```
#[derive(Debug)]
pub struct MetricsObserver {
    config: Config,
    described: Once,
    pools: Link,
}

/// The pools heard of so far, nearly always one: a list that only grows is read without a lock.
type Link = OnceLock<Box<Observed>>;

#[derive(Debug)]
struct Observed {
    name: Box<str>,
    instruments: Instruments,
    /// What the gauges of limits show; nothing more once the pool is closed.
    limits: Mutex<Option<Limits>>,
    next: Link,
}

#[derive(Clone, Copy, Debug, Default)]
struct Limits {
    max: usize,
    idle_max: usize,
    idle_min: usize,
}

impl MetricsObserver {
    /// An observer for pools with these settings, of which the limits are taken.
    ///
    /// # Examples
    ///
    /// ```
    /// # use pool_core::doc::Numbers;
    /// # use pool_core::observers::MetricsObserver;
    /// # let runtime = tokio::runtime::Runtime::new().unwrap();
    /// # let _entered = runtime.enter();
    /// let config = pool_core::Config::default();
    /// let metrics = MetricsObserver::new(&config);
    /// let pool = pool_core::Pool::builder(Numbers::default()).config(config).observer(metrics).build();
    /// assert!(pool.is_ok());
    /// ```
    #[must_use]
    pub fn new(config: &Config) -> Self {
        Self {
            config: config.clone(),
            described: Once::new(),
            pools: Link::new(),
        }
    }

    fn pool(&self, name: &str) -> &Observed {
        let mut link = &self.pools;
        loop {
            let pool = link.get_or_init(|| {
                self.described.call_once(describe);
                Box::new(Observed::new(name, &self.config))
            });
            if &*pool.name == name {
                return pool;
            }
            link = &pool.next;
        }
    }
}

impl Observer for MetricsObserver {
    fn observe(&self, pool: &str, event: &Event) {
        let pool = self.pool(pool);
        let Instruments {
            idle,
            used,
            pending_requests,
            ..
        } = &pool.instruments;
        let to = &pool.instruments;
        // Sums, and never `set`: events of several connections may come in any order.
        match event {
            Event::Connected { took, .. } => {
                idle.increment(1.0);
                record(&to.create_time, took);
            }
            Event::ConnectFailed { permanent, .. } => to.connect_failures(*permanent).increment(1),
            Event::Waiting { .. } => pending_requests.increment(1.0),
            Event::Waited { outcome, .. } => {
                pending_requests.decrement(1.0);
                to.ended_waits(*outcome).increment(1);
            }
            Event::CheckedOut { wait, .. } => {
                idle.decrement(1.0);
                used.increment(1.0);
                record(&to.wait_time, wait);
            }
            Event::CheckedIn { hold, .. } => {
                used.decrement(1.0);
                idle.increment(1.0);
                record(&to.use_time, hold);
            }
            Event::Detached { hold, .. } => {
                used.decrement(1.0);
                to.detached.increment(1);
                record(&to.use_time, hold);
            }
            Event::Closed { reason, .. } => {
                idle.decrement(1.0);
                to.closed(*reason).increment(1);
            }
            Event::TimedOut { .. } => to.timeouts.increment(1),
            Event::Refused { .. } => to.refused.increment(1),
            Event::Evicted { lag, .. } => record(&to.eviction_lag, lag),
            Event::CheckFailed { .. } => to.check_failures.increment(1),
            Event::HeldTooLong { .. } => to.long_holds.increment(1),
            Event::Resized { max_size } => pool.resize(&self.config, *max_size),
            Event::PoolClosed => pool.close(),
            // Dials under way are not counted: a connection added from outside ends one that never began.
            Event::Connecting { .. }
            | Event::ConnectAbandoned { .. }
            | Event::ReturnedAfterAll { .. }
            | Event::Retired { .. }
            | Event::Paused
            | Event::Resumed => {}
        }
    }
}

impl Observed {
    fn new(name: &str, config: &Config) -> Self {
        let limits = Limits::of(config, config.max_size);
        let pool = Self {
            name: name.into(),
            instruments: Instruments::register(name),
            limits: Mutex::new(Some(limits)),
            next: Link::new(),
        };
        pool.shift(Limits::default(), limits);
        pool
    }

    /// A pool that is closed has no size any more, whatever it is told.
    fn resize(&self, config: &Config, max_size: usize) {
        let new = Limits::of(config, max_size);
        let mut limits = self.limits.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(old) = limits.replace(new) {
            self.shift(old, new);
        } else {
            *limits = None;
        }
    }

    fn close(&self) {
        let limits = self
            .limits
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .take();
        if let Some(old) = limits {
            self.shift(old, Limits::default());
        }
    }

    /// Sums here too: another observer may count a pool of the same name.
    fn shift(&self, old: Limits, new: Limits) {
        let shift =
            |gauge: &Gauge, old: usize, new: usize| gauge.increment(new as f64 - old as f64);
        shift(&self.instruments.max, old.max, new.max);
        shift(&self.instruments.idle_max, old.idle_max, new.idle_max);
        shift(&self.instruments.idle_min, old.idle_min, new.idle_min);
    }
}

impl Limits {
    fn of(config: &Config, max_size: usize) -> Self {
        Self {
            max: max_size,
            idle_max: config.max_idle.unwrap_or(max_size).min(max_size),
            idle_min: config.min_idle.min(max_size),
        }
    }
}

fn record(histogram: &Histogram, time: &Duration) {
    histogram.record(time.as_secs_f64());
}
