//! What a shared pool looks like at one instant.

use std::fmt;

use crate::status::Status;

/// One snapshot of the leases and of the connections that carry them.
///
/// # Examples
///
/// ```
/// # use pool_core::doc::Multiplexed;
/// # use pool_core::{Pool, SharedPool};
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let pool = SharedPool::new(Pool::builder(Multiplexed::carrying(5)).max_size(2).build()?);
/// let leases = (pool.lease().await?, pool.lease().await?, pool.lease().await?);
/// assert_eq!(
///     pool.status().to_string(),
///     "3 leases of 5, 0 waiting, 0 draining (1 of 2 in use, 0 idle, 0 connecting, 0 waiting)",
/// );
/// # Ok(()) }
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct SharedStatus {
    /// The pool underneath. A connection with a lease is in use there, and one being opened for callers who wait is
    /// among its `connecting` and its `waiting`.
    pub connections: Status,
    /// Leases out, and those granted to callers who have not yet run.
    pub leases: usize,
    /// What the connections with a lease carry together, as far as they admit more.
    pub capacity: usize,
    /// Callers who wait for a lease.
    pub waiting: usize,
    /// Connections that admit no lease any more and are gone when the last one is home.
    pub draining: usize,
}

impl SharedStatus {
    /// The connections, beside the callers who wait for a lease instead of those who wait for a connection.
    pub(super) fn of_callers(&self) -> Status {
        Status {
            waiting: self.waiting,
            ..self.connections
        }
    }
}

impl fmt::Display for SharedStatus {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            connections,
            leases,
            capacity,
            waiting,
            draining,
        } = self;
        write!(
            f,
            "{leases} leases of {capacity}, {waiting} waiting, {draining} draining ({connections})"
        )
    }
}
