//! The metrics by name, and the handles through which those of one pool are changed.

use ::metrics::{
    Counter, Gauge, Histogram, Unit, counter, describe_counter, describe_gauge, describe_histogram,
    gauge, histogram,
};

use super::convention::{
    COUNT, CREATE_TIME, IDLE_MAX, IDLE_MIN, MAX, PENDING_REQUESTS, POOL, STATE, TIMEOUTS, USE_TIME,
    WAIT_TIME,
};
use crate::event::Outcome;
use crate::reason::CloseReason;

// What the convention does not name: in a namespace of our own, as it asks (docs/general/naming.md).
const CLOSED: &str = "pool_core.closed_connections";
const CLOSE_REASON: &str = "pool_core.close_reason";
const DETACHED: &str = "pool_core.detached_connections";
const CONNECT_FAILURES: &str = "pool_core.connect_failures";
const PERMANENT: &str = "pool_core.permanent";
const CHECK_FAILURES: &str = "pool_core.check_failures";
const EVICTION_LAG: &str = "pool_core.eviction_lag";
const REFUSED: &str = "pool_core.refused_requests";
const ENDED_WAITS: &str = "pool_core.ended_waits";
const WAIT_OUTCOME: &str = "pool_core.wait_outcome";
const LONG_HOLDS: &str = "pool_core.long_holds";

/// The handles of one pool, labels included: an event changes a number and builds nothing.
#[derive(Debug)]
pub(super) struct Instruments {
    pub(super) idle: Gauge,
    pub(super) used: Gauge,
    pub(super) idle_max: Gauge,
    pub(super) idle_min: Gauge,
    pub(super) max: Gauge,
    pub(super) pending_requests: Gauge,
    pub(super) timeouts: Counter,
    pub(super) create_time: Histogram,
    pub(super) wait_time: Histogram,
    pub(super) use_time: Histogram,
    closed: [Counter; CloseReason::ALL.len()],
    pub(super) detached: Counter,
    connect_failures: [Counter; 2],
    pub(super) check_failures: Counter,
    pub(super) eviction_lag: Histogram,
    pub(super) refused: Counter,
    ended_waits: [Counter; Outcome::ALL.len()],
    pub(super) long_holds: Counter,
}

impl Instruments {
    /// Registers them with the recorder there is now; from then on all of them are exported, at zero.
    pub(super) fn register(pool: &str) -> Self {
        let name = || pool.to_owned();
        Self {
            idle: gauge!(COUNT, POOL => name(), STATE => "idle"),
            used: gauge!(COUNT, POOL => name(), STATE => "used"),
            idle_max: gauge!(IDLE_MAX, POOL => name()),
            idle_min: gauge!(IDLE_MIN, POOL => name()),
            max: gauge!(MAX, POOL => name()),
            pending_requests: gauge!(PENDING_REQUESTS, POOL => name()),
            timeouts: counter!(TIMEOUTS, POOL => name()),
            create_time: histogram!(CREATE_TIME, POOL => name()),
            wait_time: histogram!(WAIT_TIME, POOL => name()),
            use_time: histogram!(USE_TIME, POOL => name()),
            closed: CloseReason::ALL
                .map(|reason| counter!(CLOSED, POOL => name(), CLOSE_REASON => reason.as_str())),
            detached: counter!(DETACHED, POOL => name()),
            connect_failures: ["false", "true"].map(
                |permanent| counter!(CONNECT_FAILURES, POOL => name(), PERMANENT => permanent),
            ),
            check_failures: counter!(CHECK_FAILURES, POOL => name()),
            eviction_lag: histogram!(EVICTION_LAG, POOL => name()),
            refused: counter!(REFUSED, POOL => name()),
            ended_waits: Outcome::ALL.map(
                |outcome| counter!(ENDED_WAITS, POOL => name(), WAIT_OUTCOME => outcome.as_str()),
            ),
            long_holds: counter!(LONG_HOLDS, POOL => name()),
        }
    }

    pub(super) fn closed(&self, reason: CloseReason) -> &Counter {
        &self.closed[reason as usize]
    }

    pub(super) fn connect_failures(&self, permanent: bool) -> &Counter {
        &self.connect_failures[usize::from(permanent)]
    }

    pub(super) fn ended_waits(&self, outcome: Outcome) -> &Counter {
        &self.ended_waits[outcome as usize]
    }
}

/// Tells the recorder what the names mean.
pub(super) fn describe() {
    describe_gauge!(COUNT, Unit::Count, "Connections by state: idle or used");
    describe_gauge!(
        IDLE_MAX,
        Unit::Count,
        "The most connections that may be idle"
    );
    describe_gauge!(
        IDLE_MIN,
        Unit::Count,
        "Connections kept idle beside those in use"
    );
    describe_gauge!(MAX, Unit::Count, "The most connections there may be");
    describe_gauge!(
        PENDING_REQUESTS,
        Unit::Count,
        "Callers who wait for a connection"
    );
    describe_counter!(
        TIMEOUTS,
        Unit::Count,
        "Checkouts that ran into their deadline"
    );
    describe_histogram!(
        CREATE_TIME,
        Unit::Seconds,
        "How long dials took that succeeded"
    );
    describe_histogram!(
        WAIT_TIME,
        Unit::Seconds,
        "From the first poll of a checkout until it had a connection"
    );
    describe_histogram!(
        USE_TIME,
        Unit::Seconds,
        "From a checkout until the connection came home or was detached"
    );
    describe_counter!(CLOSED, Unit::Count, "Connections closed, by reason");
    describe_counter!(
        DETACHED,
        Unit::Count,
        "Connections that callers took out of the pool for good"
    );
    describe_counter!(CONNECT_FAILURES, Unit::Count, "Dials that failed");
    describe_counter!(
        CHECK_FAILURES,
        Unit::Count,
        "Connections that a health check or a hook refused"
    );
    describe_histogram!(
        EVICTION_LAG,
        Unit::Seconds,
        "From the moment in which the reactor told of a peer's move until the pool acted on it"
    );
    describe_counter!(
        REFUSED,
        Unit::Count,
        "Checkouts refused because too many wait"
    );
    describe_counter!(ENDED_WAITS, Unit::Count, "Waits that ended, by outcome");
    describe_counter!(
        LONG_HOLDS,
        Unit::Count,
        "Warnings that a connection is held too long"
    );
}
