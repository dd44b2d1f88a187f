//! The names that OpenTelemetry's semantic conventions have for what a pool of a database's client tells.
//!
//! Version 1.44.0, docs/db/database-metrics.md and docs/registry/attributes/db.md.

#![cfg_attr(
    not(all(feature = "tracing", feature = "metrics")),
    allow(dead_code, reason = "the log has no use for every metric")
)]

pub(super) const COUNT: &str = "db.client.connection.count";
pub(super) const IDLE_MAX: &str = "db.client.connection.idle.max";
pub(super) const IDLE_MIN: &str = "db.client.connection.idle.min";
pub(super) const MAX: &str = "db.client.connection.max";
pub(super) const PENDING_REQUESTS: &str = "db.client.connection.pending_requests";
pub(super) const TIMEOUTS: &str = "db.client.connection.timeouts";
pub(super) const CREATE_TIME: &str = "db.client.connection.create_time";
pub(super) const WAIT_TIME: &str = "db.client.connection.wait_time";
pub(super) const USE_TIME: &str = "db.client.connection.use_time";
pub(super) const POOL: &str = "db.client.connection.pool.name";
pub(super) const STATE: &str = "db.client.connection.state";
