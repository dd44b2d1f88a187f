//! How long a command may take.

use std::time::Duration;

use redis::aio::ConnectionLike;
use redis::{Cmd, Pipeline, RedisFuture, Value};

use crate::blocking::Blocks;
use crate::connection::RedisConnection;

/// Whose word counts.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Limit {
    /// The manager's, and a blocking command's own timeout on top.
    Default,
    /// The caller's, and nothing on top.
    Only(Option<Duration>),
}

impl Limit {
    #[inline]
    pub(crate) fn of(
        self,
        default: Option<Duration>,
        blocks: impl FnOnce() -> Blocks,
    ) -> Option<Duration> {
        match self {
            Self::Default => blocks().within(default?),
            Self::Only(limit) => limit,
        }
    }
}

/// A connection whose commands have another limit than the default. Made by [`RedisConnection::limit`].
///
/// # Examples
///
/// ```no_run
/// # use pool_redis::RedisConnection;
/// use std::time::Duration;
///
/// # async fn example(connection: &mut RedisConnection) -> redis::RedisResult<()> {
/// let mut hurried = connection.limit(Duration::from_millis(20));
/// let pong: String = redis::cmd("PING").query_async(&mut hurried).await?;
/// assert_eq!(pong, "PONG");
/// # Ok(()) }
/// ```
#[derive(Debug)]
pub struct Limited<'a, C = RedisConnection> {
    pub(crate) connection: &'a mut C,
    pub(crate) limit: Option<Duration>,
}

impl<'a, C> Limited<'a, C> {
    pub(crate) fn new(connection: &'a mut C, limit: Option<Duration>) -> Self {
        Self { connection, limit }
    }
}

impl ConnectionLike for Limited<'_> {
    fn req_packed_command<'a>(&'a mut self, command: &'a Cmd) -> RedisFuture<'a, Value> {
        Box::pin(self.connection.command(command, Limit::Only(self.limit)))
    }

    fn req_packed_commands<'a>(
        &'a mut self,
        pipeline: &'a Pipeline,
        offset: usize,
        count: usize,
    ) -> RedisFuture<'a, Vec<Value>> {
        let limit = Limit::Only(self.limit);
        Box::pin(self.connection.commands(pipeline, offset, count, limit))
    }

    fn get_db(&self) -> i64 {
        self.connection.get_db()
    }
}
