//! The log: every event of a pool as an event of `tracing`.

use std::error::Error;
use std::time::Duration;

use ::tracing::{debug, field, info, trace, warn};

use super::convention::{CREATE_TIME, MAX, PENDING_REQUESTS, POOL, USE_TIME, WAIT_TIME};
use crate::event::{Event, Observer};

/// Makes every event of a pool one of `tracing`, with its numbers as fields.
///
/// The target is `pool_core`, so `RUST_LOG=pool_core=debug` is a diary of the connections. The levels:
///
/// | level | events |
/// |---|---|
/// | `WARN` | connecting failed, a checkout timed out or was refused, a check failed, a connection is held too long |
/// | `INFO` | one held too long came home after all; the pool was resized, retired, paused, resumed or closed |
/// | `DEBUG` | a dial began, succeeded or was abandoned; a connection was evicted, closed or detached |
/// | `TRACE` | a checkout, a check-in, a wait and its end |
///
/// Fields have the names of OpenTelemetry's conventions for database clients where there is one:
/// `db.client.connection.pool.name` is in every event; `db.client.connection.create_time`, `.wait_time`, `.use_time`,
/// `.pending_requests` and `.max` are where they belong. The others are those of [`Event`]. Durations are numbers of
/// seconds.
///
/// Checkouts are told in the caller's span, check-ins in the span in which the guard was dropped. Dials and evictions
/// are the pool's own doing and belong to no span.
///
/// # Examples
///
/// ```
/// # use pool_core::doc::Numbers;
/// use pool_core::Pool;
/// use pool_core::observers::TracingObserver;
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let pool = Pool::builder(Numbers::default()).name("numbers").observer(TracingObserver::new()).build()?;
/// // TRACE pool_core: checked out db.client.connection.pool.name="numbers" id=1 uses=1 ...
/// assert_eq!(*pool.checkout().await?, 1);
/// # Ok(()) }
/// ```
#[derive(Clone, Copy, Debug, Default)]
#[non_exhaustive]
pub struct TracingObserver;

impl TracingObserver {
    /// An observer that can be given to any number of pools.
    ///
    /// # Examples
    ///
    /// ```
    /// # use pool_core::doc::Numbers;
    /// # use pool_core::observers::TracingObserver;
    /// # let runtime = tokio::runtime::Runtime::new().unwrap();
    /// # let _entered = runtime.enter();
    /// let tracing = TracingObserver::new();
    /// assert!(pool_core::Pool::builder(Numbers::default()).observer(tracing).build().is_ok());
    /// ```
    #[must_use]
    pub const fn new() -> Self {
        Self
    }
}

/// By which subscribers filter, whatever the pool is called.
const TARGET: &str = "pool_core";

impl Observer for TracingObserver {
    fn observe(&self, pool: &str, event: &Event) {
        match event {
            Event::Connecting { id } => debug!(
                target: TARGET,
                message = "connecting",
                { POOL } = pool,
                id,
            ),
            Event::Connected { id, took } => debug!(
                target: TARGET,
                message = "connected",
                { POOL } = pool,
                id,
                { CREATE_TIME } = seconds(took),
            ),
            Event::ConnectFailed {
                id,
                took,
                error,
                permanent,
            } => warn!(
                target: TARGET,
                message = "connecting failed",
                { POOL } = pool,
                id,
                took = seconds(took),
                error = &**error as &(dyn Error + 'static),
                permanent,
            ),
            Event::ConnectAbandoned { id } => debug!(
                target: TARGET,
                message = "connecting abandoned",
                { POOL } = pool,
                id,
            ),
            Event::Waiting { waiting } => trace!(
                target: TARGET,
                message = "waiting",
                { POOL } = pool,
                { PENDING_REQUESTS } = waiting,
            ),
            Event::Waited { wait, outcome } => trace!(
                target: TARGET,
                message = "waited",
                { POOL } = pool,
                wait = seconds(wait),
                outcome = outcome.as_str(),
            ),
            Event::CheckedOut {
                id,
                wait,
                uses,
                idle_for,
            } => trace!(
                target: TARGET,
                message = "checked out",
                { POOL } = pool,
                id,
                { WAIT_TIME } = seconds(wait),
                uses,
                idle_for = seconds(idle_for),
            ),
            Event::CheckedIn { id, hold } => trace!(
                target: TARGET,
                message = "checked in",
                { POOL } = pool,
                id,
                { USE_TIME } = seconds(hold),
            ),
            Event::Detached { id, hold } => debug!(
                target: TARGET,
                message = "detached",
                { POOL } = pool,
                id,
                { USE_TIME } = seconds(hold),
            ),
            Event::TimedOut { limit, status } => warn!(
                target: TARGET,
                message = "checkout timed out",
                { POOL } = pool,
                limit = seconds(limit),
                %status,
            ),
            Event::Refused { status } => warn!(
                target: TARGET,
                message = "checkout refused",
                { POOL } = pool,
                %status,
            ),
            Event::Evicted { id, lag } => debug!(
                target: TARGET,
                message = "evicted",
                { POOL } = pool,
                id,
                lag = seconds(lag),
            ),
            Event::CheckFailed { id, error } => warn!(
                target: TARGET,
                message = "check failed",
                { POOL } = pool,
                id,
                error = &**error as &(dyn Error + 'static),
            ),
            Event::Closed {
                id,
                reason,
                age,
                uses,
            } => debug!(
                target: TARGET,
                message = "closed",
                { POOL } = pool,
                id,
                reason = reason.as_str(),
                age = seconds(age),
                uses,
            ),
            Event::HeldTooLong {
                id,
                held,
                place,
                backtrace,
            } => warn!(
                target: TARGET,
                message = "held too long",
                { POOL } = pool,
                id,
                held = seconds(held),
                %place,
                backtrace = backtrace.as_ref().map(field::display),
            ),
            Event::ReturnedAfterAll { id, held, place } => info!(
                target: TARGET,
                message = "returned after all",
                { POOL } = pool,
                id,
                held = seconds(held),
                %place,
            ),
            Event::Retired { older_than } => info!(
                target: TARGET,
                message = "retired",
                { POOL } = pool,
                older_than,
            ),
            Event::Resized { max_size } => info!(
                target: TARGET,
                message = "resized",
                { POOL } = pool,
                { MAX } = max_size,
            ),
            Event::Paused => info!(
                target: TARGET,
                message = "paused",
                { POOL } = pool,
            ),
            Event::Resumed => info!(
                target: TARGET,
                message = "resumed",
                { POOL } = pool,
            ),
            Event::PoolClosed => info!(
                target: TARGET,
                message = "pool closed",
                { POOL } = pool,
            ),
        }
    }
}

fn seconds(duration: &Duration) -> f64 {
    duration.as_secs_f64()
}
