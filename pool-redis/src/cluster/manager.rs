//! What a pool of connections to a cluster is built on.

use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use pool_core::{Capacity, Dropped, Manager, Recycle};
use redis::cluster::{ClusterClient, ClusterClientBuilder, ClusterConfig};
use redis::io::tcp::{TcpSettings, socket2::TcpKeepalive};
use redis::{ConnectionInfo, IntoConnectionInfo, ProtocolVersion};

use crate::cluster::connection::RedisClusterConnection;
use crate::cluster::nodes::Nodes;
use crate::error::{RedisConfigError, RedisConnectError};

/// Connects to a Redis Cluster, on redis-rs's own cluster client; needs Redis 6.
///
/// A connection of this pool is one to the cluster: redis-rs keeps a socket for each node in it, finds out who has which
/// slot, and repairs what it can. `max_size` connections to `n` nodes are up to `max_size * n` sockets.
///
/// # What is kept, and what is not
///
/// | what happened | so the connection |
/// |---|---|
/// | a command was cancelled or timed out, or ended in an I/O error | is closed |
/// | a socket to one of the nodes was lost | is closed when it is idle; on the way home, if it was in use |
/// | `MOVED`, `ASK` | is kept; a single command or an atomic pipeline is sent to the right node |
/// | `SELECT`, `WATCH`, `MULTI`, `SUBSCRIBE`, `AUTH` .. | is kept: such a command is refused, and never sent |
///
/// `WATCH` is among them because redis-rs may replace the socket between it and `EXEC` without a word: use a script.
///
/// # What is known of the nodes
///
/// Sockets are redis-rs's, so the kernel cannot be asked about them. Its tasks tell of a lost one as soon as they run (a push
/// of RESP3), which is how an idle connection leaves the pool; one that was lost in this very moment may be handed out,
/// and its first command fails. When redis-rs has repaired it nobody is told: that is why it is replaced instead. A node
/// that was stopped is known by a command that times out.
///
/// # What is not sent again
///
/// Anything but a single command or an atomic pipeline that was refused by a hint: nothing was done of those. redis-rs's own
/// retries are off, as they include commands that may have been done. A pipeline that is not atomic, and a `DEL` or
/// `MSET` whose keys are in several slots, may have been done in part when a hint comes, which is then the error; the slots
/// are known anew afterwards.
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
/// let visits: i64 = pool.checkout().await?.incr("visits", 1).await?;
/// assert!(visits > 0);
/// assert_eq!(pool.status().idle, 1);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// # }).unwrap();
/// ```
#[derive(Clone, Debug)]
pub struct RedisClusterManager {
    client: ClusterClient,
    /// As errors name it.
    nodes: Arc<str>,
    command_timeout: Option<Duration>,
}

impl RedisClusterManager {
    /// Asks these nodes for all others. User, password and TLS must be the same in all of them.
    ///
    /// The sockets have `TCP_NODELAY` and keepalive, as all of this crate.
    ///
    /// # Errors
    ///
    /// No nodes, or what cannot be dialled as it was given. Nothing is resolved yet.
    ///
    /// # Examples
    ///
    /// ```
    /// use pool_redis::RedisClusterManager;
    ///
    /// assert!(RedisClusterManager::new(["redis://:password@10.0.0.1:7000"]).is_ok());
    /// let error = RedisClusterManager::new(["redis+unix:///run/redis.sock"]).unwrap_err();
    /// assert!(error.to_string().contains("cannot use unix socket"), "{error}");
    /// ```
    pub fn new<I: IntoConnectionInfo>(
        nodes: impl IntoIterator<Item = I>,
    ) -> Result<Self, RedisConfigError> {
        let nodes = nodes
            .into_iter()
            .map(IntoConnectionInfo::into_connection_info);
        let nodes: Vec<ConnectionInfo> = nodes
            .collect::<Result<_, _>>()
            .map_err(RedisConfigError::Url)?;
        let names = nodes.iter().map(|node| node.addr().to_string());
        let names = names.collect::<Vec<_>>().join(", ");
        let builder = ClusterClient::builder(nodes).tcp_settings(tcp());
        Self::with_builder(names, builder)
    }

    /// With settings of redis-rs's own, such as certificates, reads from replicas, or addresses to be replaced by others;
    /// `name` is what errors call the cluster.
    ///
    /// Two settings are this crate's: nothing is sent again (`retries(0)`), and the protocol is RESP3.
    ///
    /// # Errors
    ///
    /// What the builder refuses.
    ///
    /// # Examples
    ///
    /// ```
    /// use pool_redis::RedisClusterManager;
    /// use redis::cluster::ClusterClient;
    /// use redis::cluster_read_routing::RandomReplicaStrategy;
    ///
    /// let builder = ClusterClient::builder(["redis://10.0.0.1:7000"])
    ///     .read_routing_strategy(RandomReplicaStrategy);
    /// let manager = RedisClusterManager::with_builder("orders", builder)?;
    /// assert!(format!("{manager:?}").contains("orders"));
    /// # Ok::<(), pool_redis::RedisConfigError>(())
    /// ```
    pub fn with_builder(
        name: impl Into<String>,
        builder: ClusterClientBuilder,
    ) -> Result<Self, RedisConfigError> {
        let name = name.into();
        let builder = builder.retries(0).use_protocol(ProtocolVersion::RESP3);
        match builder.build() {
            Ok(client) => Ok(Self {
                client,
                nodes: name.into(),
                command_timeout: Some(Duration::from_secs(10)),
            }),
            Err(source) => Err(RedisConfigError::Cluster { name, source }),
        }
    }

    /// How long a command or a pipeline may take, following hints included; `None` waits for ever.
    ///
    /// Default: 10 s. What a blocking command was told to wait comes on top; one that was told to wait for ever may.
    ///
    /// # Panics
    ///
    /// If it is zero.
    ///
    /// # Examples
    ///
    /// ```
    /// use pool_redis::RedisClusterManager;
    /// use std::time::Duration;
    ///
    /// let manager = RedisClusterManager::new(["redis://10.0.0.1"])?
    ///     .command_timeout(Duration::from_secs(1));
    /// assert!(format!("{manager:?}").contains("command_timeout: Some(1s)"));
    /// # Ok::<(), pool_redis::RedisConfigError>(())
    /// ```
    #[must_use]
    #[track_caller]
    pub fn command_timeout(mut self, limit: impl Into<Option<Duration>>) -> Self {
        self.command_timeout = limit.into();
        assert_ne!(
            self.command_timeout,
            Some(Duration::ZERO),
            "command_timeout: zero lets no command be answered; give None to wait for ever"
        );
        self
    }
}

/// The settings of `pool_tcp`, as far as redis-rs has them.
fn tcp() -> TcpSettings {
    let keepalive = TcpKeepalive::new()
        .with_time(Duration::from_secs(30))
        .with_interval(Duration::from_secs(10));
    let settings = TcpSettings::default()
        .set_nodelay(true)
        .set_keepalive(keepalive);
    #[cfg(any(target_os = "android", target_os = "linux"))]
    let settings = settings.set_user_timeout(Duration::from_secs(30));
    settings
}

impl Manager for RedisClusterManager {
    type Connection = RedisClusterConnection;
    type Error = RedisConnectError;

    async fn connect(&self) -> Result<RedisClusterConnection, RedisConnectError> {
        let (nodes, listener) = Nodes::new(Capacity::new(usize::MAX));
        let config = ClusterConfig::new().set_push_sender(listener);
        match self.client.get_async_connection_with_config(config).await {
            Ok(redis) => Ok(RedisClusterConnection::new(
                redis,
                nodes,
                self.command_timeout,
            )),
            Err(source) => Err(RedisConnectError::Cluster {
                name: self.nodes.to_string(),
                source,
            }),
        }
    }

    fn is_dropped(&self, connection: &mut RedisClusterConnection) -> bool {
        connection.nodes().is_one_lost()
    }

    fn poll_dropped(
        &self,
        connection: &mut RedisClusterConnection,
        cx: &mut Context<'_>,
    ) -> Poll<Dropped> {
        ready!(connection.nodes().poll_lost(cx));
        Poll::Ready(Dropped::Closed)
    }

    fn recycle(&self, connection: &mut RedisClusterConnection) -> Recycle {
        connection.verdict()
    }

    /// Ends when redis-rs's task has ended, which ends the tasks that hold the sockets.
    async fn close(&self, connection: RedisClusterConnection) {
        let nodes = connection.nodes().clone();
        drop(connection);
        nodes.given_up().await;
        // Their tasks were told to end before, and so it is their turn first.
        tokio::task::yield_now().await;
    }

    /// A user or a password that is refused, and a server that is in no cluster.
    fn is_permanent(&self, error: &RedisConnectError) -> bool {
        let RedisConnectError::Cluster { source, .. } = error else {
            return false;
        };
        // redis-rs keeps no more of it than its text.
        let text = source.to_string();
        let is_said = |said| text.contains(said);
        ["WRONGPASS", "NOAUTH", "NOPERM", "cluster support disabled"]
            .into_iter()
            .any(is_said)
    }
}
