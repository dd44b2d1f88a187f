//! A round trip as a health check, for those who want one: the socket is looked at in any case.

use pool_core::{Check, Unhealthy};

use crate::connection::RedisConnection;

/// Asks the server with `PING`, at the times that the policy names.
///
/// The socket's state is known without it. What only a round trip can tell is whether a server that is still connected
/// still works: one that was stopped, or is out of reach without anybody having said so. Without a policy it runs
/// never; see [`Check`]. It has the check's own [`timeout`](Check::timeout).
///
/// # Examples
///
/// ```
/// use pool_core::Pool;
/// use pool_redis::{RedisManager, ping};
/// use std::time::Duration;
///
/// # tokio::runtime::Runtime::new().unwrap().block_on(async {
/// let pool = Pool::builder(RedisManager::new("redis://localhost")?)
///     .check(
///         ping()
///             .at_checkout_if_idle_for(Duration::from_secs(30))
///             .while_idle_every(Duration::from_secs(60))
///             .timeout(Duration::from_secs(1)),
///     )
///     .build()?;
/// assert_eq!(pool.status().idle, 0);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// # }).unwrap();
/// ```
pub fn ping() -> Check<RedisConnection> {
    Check::future(|connection, _info| {
        Box::pin(async move {
            let answer = redis::cmd("PING").exec_async(connection).await;
            answer.map_err(Unhealthy::from)
        })
    })
}
