//! One connection to a cluster for many users.

use std::fmt;
use std::time::Duration;

use pool_core::{Capacity, Share};
use redis::aio::ConnectionLike;
use redis::{Cmd, Pipeline, RedisFuture, RedisResult, Value};

use crate::blame::Blame;
use crate::cluster::connection::RedisClusterConnection;
use crate::cluster::line::Line;
use crate::cluster::manager::RedisClusterManager;
use crate::cluster::nodes::Nodes;
use crate::cluster::permit::{permit_all, permit_beside_others};

impl Share for RedisClusterManager {
    type Handle = RedisClusterHandle;

    fn share(&self, connection: &RedisClusterConnection) -> RedisClusterHandle {
        RedisClusterHandle {
            line: connection.line().clone(),
            nodes: connection.nodes().clone(),
            command_timeout: connection.command_timeout(),
        }
    }

    fn capacity<'c>(&self, connection: &'c RedisClusterConnection) -> &'c Capacity {
        connection.nodes().capacity()
    }
}

/// A place on a connection to a cluster that others use too, leased from a [`SharedPool`](pool_core::SharedPool).
///
/// A cancelled command harms nobody. Commands that block are refused, as are those that change a connection. After an I/O
/// error or a timeout nobody gets a further place on this connection.
///
/// # Examples
///
/// ```no_run
/// use pool_core::{Pool, SharedPool};
/// use pool_redis::RedisClusterManager;
/// use redis::AsyncCommands;
///
/// # tokio::runtime::Runtime::new().unwrap().block_on(async {
/// let manager = RedisClusterManager::new(["redis://10.0.0.1", "redis://10.0.0.2"])?;
/// let pool = SharedPool::new(Pool::builder(manager).max_size(2).build()?);
///
/// let (mut one, mut other) = (pool.lease().await?, pool.lease().await?);
/// let () = one.set("key", 1).await?;
/// assert_eq!(other.get::<_, i64>("key").await?, 1);
/// assert_eq!(pool.status().connections.in_use, 1);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// # }).unwrap();
/// ```
pub struct RedisClusterHandle {
    line: Line,
    nodes: Nodes,
    command_timeout: Option<Duration>,
}

impl RedisClusterHandle {
    async fn command(&mut self, command: &Cmd) -> RedisResult<Value> {
        permit_beside_others(command)?;
        let (blame, ended) = self.line.command(command, self.command_timeout).await;
        self.heed(blame);
        ended
    }

    async fn commands(
        &mut self,
        pipeline: &Pipeline,
        offset: usize,
        count: usize,
    ) -> RedisResult<Vec<Value>> {
        permit_all(pipeline)?;
        // Between `MULTI` and `EXEC` nothing blocks.
        if !pipeline.is_transaction() {
            pipeline.cmd_iter().try_for_each(permit_beside_others)?;
        }
        let limit = self.command_timeout;
        let (blame, ended) = self.line.commands(pipeline, offset, count, limit).await;
        self.heed(blame);
        ended
    }

    fn heed(&self, blame: Blame) {
        if blame != Blame::None {
            self.nodes.capacity().drain();
        }
    }
}

impl ConnectionLike for RedisClusterHandle {
    fn req_packed_command<'a>(&'a mut self, command: &'a Cmd) -> RedisFuture<'a, Value> {
        Box::pin(self.command(command))
    }

    fn req_packed_commands<'a>(
        &'a mut self,
        pipeline: &'a Pipeline,
        offset: usize,
        count: usize,
    ) -> RedisFuture<'a, Vec<Value>> {
        Box::pin(self.commands(pipeline, offset, count))
    }

    /// Always 0, as redis-rs has it for clusters.
    fn get_db(&self) -> i64 {
        0
    }
}

impl fmt::Debug for RedisClusterHandle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RedisClusterHandle")
            .field("nodes", &self.nodes)
            .field("command_timeout", &self.command_timeout)
            .finish_non_exhaustive()
    }
}
