//! One user's connections to all nodes.

use std::fmt;
use std::time::Duration;

use pool_core::Recycle;
use redis::aio::ConnectionLike;
use redis::cluster_async::ClusterConnection;
use redis::{Cmd, Pipeline, RedisFuture, RedisResult, Value};

use crate::blame::Blame;
use crate::blocking::Blocks;
use crate::cluster::line::Line;
use crate::cluster::nodes::Nodes;
use crate::cluster::permit::{permit, permit_all};
use crate::limit::{Limit, Limited};

/// A connection to a Redis Cluster: one of redis-rs, with a socket for each node inside.
///
/// Commands go to the node that has their keys. What is [kept and what is not](crate::RedisClusterManager) its manager
/// says.
///
/// # Cancellation
///
/// A command whose future is dropped before its answer came may still run, and the connection is not kept.
///
/// # Examples
///
/// ```no_run
/// use pool_core::Pool;
/// use pool_redis::{RedisClusterManager, RedisPool};
/// use redis::AsyncCommands;
///
/// # tokio::runtime::Runtime::new().unwrap().block_on(async {
/// let manager = RedisClusterManager::new(["redis://10.0.0.1", "redis://10.0.0.2"])?;
/// let pool = RedisPool::new(Pool::builder(manager).max_size(8).build()?);
///
/// let mut connection = pool.checkout().await?;
/// // In one pipeline are keys of one slot: here, of one user.
/// let (name, visits): (String, i64) = redis::pipe()
///     .set("{user:7}:name", "Ada").ignore()
///     .get("{user:7}:name")
///     .incr("{user:7}:visits", 1)
///     .query_async(&mut connection)
///     .await?;
/// assert_eq!(name, "Ada");
/// assert!(visits > 0);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// # }).unwrap();
/// ```
pub struct RedisClusterConnection {
    line: Line,
    nodes: Nodes,
    command_timeout: Option<Duration>,
    /// A command was sent whose answer has not come, or was given up.
    is_owed: bool,
    blame: Blame,
}

impl RedisClusterConnection {
    pub(crate) fn new(
        redis: ClusterConnection,
        nodes: Nodes,
        command_timeout: Option<Duration>,
    ) -> Self {
        Self {
            line: Line::new(redis),
            nodes,
            command_timeout,
            is_owed: false,
            blame: Blame::None,
        }
    }

    /// Sends commands with another limit than the manager's
    /// [`command_timeout`](crate::RedisClusterManager::command_timeout): the whole time of each, the blocking of a blocking
    /// one included; `None` waits for ever.
    ///
    /// # Examples
    ///
    /// ```no_run
    /// # use pool_redis::RedisClusterConnection;
    /// use redis::AsyncCommands;
    /// use std::time::Duration;
    ///
    /// # async fn example(connection: &mut RedisClusterConnection) -> redis::RedisResult<()> {
    /// let job: Result<(String, String), _> =
    ///     connection.limit(Duration::from_secs(60)).blpop("queue", 0.0).await;
    /// assert!(job.is_err_and(|error| error.is_timeout()));
    /// # Ok(()) }
    /// ```
    pub fn limit(&mut self, limit: impl Into<Option<Duration>>) -> Limited<'_, Self> {
        Limited::new(self, limit.into())
    }

    /// The connection of redis-rs inside, without timeouts and rules.
    ///
    /// For one that was [detached](crate::PooledConnection::detach).
    ///
    /// # Examples
    ///
    /// ```no_run
    /// # use pool_redis::{PooledConnection, RedisClusterManager, RedisPool};
    /// # async fn example(pool: RedisPool<RedisClusterManager>) -> Result<(), Box<dyn std::error::Error>> {
    /// let mut connection = PooledConnection::detach(pool.checkout().await?).into_redis();
    /// redis::cmd("PING").exec_async(&mut connection).await?;
    /// assert_eq!(pool.status().in_use, 0);
    /// # Ok(()) }
    /// ```
    pub fn into_redis(self) -> ClusterConnection {
        self.line.into_redis()
    }

    pub(crate) fn line(&self) -> &Line {
        &self.line
    }

    pub(crate) fn nodes(&self) -> &Nodes {
        &self.nodes
    }

    pub(crate) fn command_timeout(&self) -> Option<Duration> {
        self.command_timeout
    }

    pub(crate) fn verdict(&self) -> Recycle {
        match self.blame {
            Blame::None if !self.is_owed => Recycle::Keep,
            // `READONLY` is no word on the older ones here: redis-rs looks for the slots anew.
            _ => Recycle::Discard,
        }
    }

    async fn command(&mut self, command: &Cmd, limit: Limit) -> RedisResult<Value> {
        permit(command)?;
        let limit = limit.of(self.command_timeout, || Blocks::of(command));
        let was_owed = std::mem::replace(&mut self.is_owed, true);
        let (blame, ended) = self.line.command(command, limit).await;
        self.end(was_owed, blame);
        ended
    }

    async fn commands(
        &mut self,
        pipeline: &Pipeline,
        offset: usize,
        count: usize,
        limit: Limit,
    ) -> RedisResult<Vec<Value>> {
        permit_all(pipeline)?;
        let limit = limit.of(self.command_timeout, || Blocks::of_all(pipeline));
        let was_owed = std::mem::replace(&mut self.is_owed, true);
        let (blame, ended) = self.line.commands(pipeline, offset, count, limit).await;
        self.end(was_owed, blame);
        ended
    }

    /// An answer came, or will not. One that was given up before is owed still.
    fn end(&mut self, was_owed: bool, blame: Blame) {
        self.is_owed = was_owed;
        self.blame = self.blame.max(blame);
    }
}

impl ConnectionLike for RedisClusterConnection {
    fn req_packed_command<'a>(&'a mut self, command: &'a Cmd) -> RedisFuture<'a, Value> {
        Box::pin(self.command(command, Limit::Default))
    }

    fn req_packed_commands<'a>(
        &'a mut self,
        pipeline: &'a Pipeline,
        offset: usize,
        count: usize,
    ) -> RedisFuture<'a, Vec<Value>> {
        Box::pin(self.commands(pipeline, offset, count, Limit::Default))
    }

    /// Always 0, as redis-rs has it for clusters.
    fn get_db(&self) -> i64 {
        0
    }
}

impl ConnectionLike for Limited<'_, RedisClusterConnection> {
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

impl fmt::Debug for RedisClusterConnection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RedisClusterConnection")
            .field("nodes", &self.nodes)
            .field("command_timeout", &self.command_timeout)
            .field("is_owed", &self.is_owed)
            .field("blame", &self.blame)
            .finish_non_exhaustive()
    }
}
