//! Servers that are found by asking Redis Sentinel.
//!
//! redis-rs has a client for sentinels of its own. It asks three of them at once and dials the master that each names, only to
//! ask for its role, before it dials it: on one machine 0.67 ms a connection, where one after the other takes 0.37 ms. If
//! the first sentinel was stopped, every connection takes a second more, a limit that cannot be set; here, the first one
//! does. Nor does it say which sentinel knows of the latest failover, or tell anybody of the next one. What is asked here
//! are two commands.

mod anchor;
mod ask;
mod follower;
mod node;
mod role;
mod route;
mod sight;

use std::sync::Arc;
use std::time::Duration;

use pool_tcp::TcpManager;
#[cfg(feature = "tls")]
use pool_tcp::rustls::ClientConfig;
use redis::{ConnectionInfo, IntoConnectionInfo, RedisConnectionInfo};

use crate::dial::Dialer;
use crate::error::RedisConfigError;
use crate::opening::Opening;
use crate::sentinel::ask::Sentinel;
pub(crate) use crate::sentinel::node::Node;
use crate::sentinel::role::Role;
pub(crate) use crate::sentinel::route::SentinelRoute;

/// The sentinels that know where a master is, and what they are asked for.
///
/// # What happens at a failover
///
/// Every dial asks: the sentinel that answered last, then the others in turn. Then the server itself is asked (`ROLE`),
/// as sentinels learn of a failover one after the other, and a server that was replaced may not know it for ten seconds,
/// in which it loses what it is given.
///
/// As long as there are connections, all sentinels are listened to (`+switch-master`), each on a connection of its own.
/// With the news, the sockets to the old master are shut down at once, whether it still answers, was killed, was stopped or
/// is out of reach: those that lie idle leave the pool, a command in flight fails with
/// [`Fate::Unknown`](crate::Fate::Unknown) instead of waiting for its timeout, and a dial under way is given up. The next
/// dial goes to the new master. If nobody has told us, an answer of `READONLY` retires all connections made so far.
///
/// Until the sentinels agree there is no master: what is sent meanwhile fails, or is lost with the old one, which is
/// [what Sentinel promises](https://redis.io/docs/latest/operate/oss_and_stack/management/sentinel/). Set
/// `min-replicas-to-write` at the servers to lose less.
///
/// # Examples
///
/// ```
/// use pool_core::Pool;
/// use pool_redis::{RedisManager, RedisPool, Sentinels};
/// use redis::RedisConnectionInfo;
///
/// # tokio::runtime::Runtime::new().unwrap().block_on(async {
/// let sentinels = Sentinels::new("orders", ["redis://10.0.0.1:26379", "redis://10.0.0.2:26379"])?
///     // The sentinels have no password, the servers have.
///     .servers(RedisConnectionInfo::default().set_password("secret").set_db(2));
/// let writes = Pool::builder(RedisManager::with_sentinels(sentinels.clone())).build()?;
/// let reads = Pool::builder(RedisManager::with_sentinels(sentinels.replicas())).build()?;
/// let (writes, reads) = (RedisPool::new(writes), RedisPool::new(reads));
/// assert_eq!((writes.status().size(), reads.status().size()), (0, 0));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// # }).unwrap();
/// ```
#[derive(Clone, Debug)]
pub struct Sentinels {
    /// The name of the master, and of its set.
    master: Arc<str>,
    all: Vec<Sentinel>,
    role: Role,
    /// How the servers are dialled, wherever they are.
    servers: Dialer,
    /// Who we are to the servers.
    server_info: RedisConnectionInfo,
}

impl Sentinels {
    /// Asks these sentinels for the master of this name. User, password and protocol of an address are for the sentinel;
    /// those for the servers are given to [`servers`](Self::servers).
    ///
    /// # Errors
    ///
    /// No sentinels, or one that cannot be dialled as it was given. Nothing is resolved yet.
    ///
    /// # Examples
    ///
    /// ```
    /// use pool_redis::Sentinels;
    ///
    /// assert!(Sentinels::new("orders", ["redis://:password@localhost:26379"]).is_ok());
    /// let error = Sentinels::new("orders", [] as [&str; 0]).unwrap_err();
    /// assert_eq!(error.to_string(), "there is no sentinel to ask for orders; name at least one");
    /// ```
    pub fn new<I: IntoConnectionInfo>(
        master: impl Into<String>,
        sentinels: impl IntoIterator<Item = I>,
    ) -> Result<Self, RedisConfigError> {
        Self::over(master.into(), sentinels, Dialer::new)
    }

    /// As [`new`](Self::new), with the sentinels dialled by TLS under a configuration of yours, whether or not their
    /// addresses ask for it.
    ///
    /// # Errors
    ///
    /// As [`new`](Self::new).
    ///
    /// # Examples
    ///
    /// ```
    /// use pool_redis::Sentinels;
    /// use pool_tcp::rustls::{ClientConfig, RootCertStore};
    /// use std::sync::Arc;
    ///
    /// let config = ClientConfig::builder()
    ///     .with_root_certificates(RootCertStore::empty())
    ///     .with_no_client_auth();
    /// let config = Arc::new(config);
    /// let sentinels = Sentinels::with_tls("orders", ["redis://localhost:26379"], config.clone())?
    ///     .servers_tls(config);
    /// assert!(format!("{sentinels:?}").contains("orders"));
    /// # Ok::<(), pool_redis::RedisConfigError>(())
    /// ```
    #[cfg(feature = "tls")]
    pub fn with_tls<I: IntoConnectionInfo>(
        master: impl Into<String>,
        sentinels: impl IntoIterator<Item = I>,
        config: Arc<ClientConfig>,
    ) -> Result<Self, RedisConfigError> {
        Self::over(master.into(), sentinels, |info| {
            Dialer::with_tls(info, config.clone())
        })
    }

    fn over<I: IntoConnectionInfo>(
        master: String,
        sentinels: impl IntoIterator<Item = I>,
        dialer: impl Fn(&ConnectionInfo) -> Result<Dialer, RedisConfigError>,
    ) -> Result<Self, RedisConfigError> {
        let all = sentinels.into_iter().map(|info| {
            let info = info.into_connection_info().map_err(RedisConfigError::Url)?;
            Ok(Sentinel {
                dialer: dialer(&info)?,
                opening: Opening::new(info.redis_settings().clone()),
                timeout: Duration::from_secs(1),
            })
        });
        let all = all.collect::<Result<Vec<_>, RedisConfigError>>()?;
        if all.is_empty() {
            return Err(RedisConfigError::NoSentinels { master });
        }
        Ok(Self {
            all,
            role: Role::Master,
            servers: Dialer::somewhere(&master)?,
            server_info: RedisConnectionInfo::default(),
            master: master.into(),
        })
    }

    /// Who we are to the servers: user, password, database and protocol.
    ///
    /// Default: nobody, database 0, RESP2.
    ///
    /// # Examples
    ///
    /// See [`Sentinels`].
    #[must_use]
    pub fn servers(mut self, info: RedisConnectionInfo) -> Self {
        self.server_info = info;
        self
    }

    /// Dials the servers by TLS. Their certificates must be for the addresses that the sentinels name.
    ///
    /// Default: plain TCP.
    ///
    /// # Examples
    ///
    /// See [`with_tls`](Self::with_tls).
    #[must_use]
    #[cfg(feature = "tls")]
    pub fn servers_tls(mut self, config: Arc<ClientConfig>) -> Self {
        self.servers.secure(config);
        self
    }

    /// Dials replicas instead, each in its turn, of those that are there and in step; for reads that may be a little old.
    ///
    /// A replica that becomes the master is let go of. One that stops to answer costs a command its timeout, as any server
    /// does: sentinels tell of it, but one of them alone may be wrong.
    ///
    /// # Examples
    ///
    /// See [`Sentinels`].
    #[must_use]
    pub fn replicas(mut self) -> Self {
        self.role = Role::Replica;
        self
    }

    /// How long one sentinel may take over a question, dialling it included, before the next is asked.
    ///
    /// Default: 1 s. All of them together should fit into the pool's `connect_timeout`.
    ///
    /// # Panics
    ///
    /// If it is zero.
    ///
    /// # Examples
    ///
    /// ```
    /// use pool_redis::Sentinels;
    /// use std::time::Duration;
    ///
    /// let sentinels = Sentinels::new("orders", ["redis://localhost:26379"])?
    ///     .timeout(Duration::from_millis(300));
    /// assert!(format!("{sentinels:?}").contains("timeout: 300ms"));
    /// # Ok::<(), pool_redis::RedisConfigError>(())
    /// ```
    #[must_use]
    #[track_caller]
    pub fn timeout(mut self, limit: Duration) -> Self {
        assert_ne!(
            limit,
            Duration::ZERO,
            "timeout: zero lets no sentinel answer"
        );
        for sentinel in &mut self.all {
            sentinel.timeout = limit;
        }
        self
    }

    pub(crate) fn server_info(&self) -> &RedisConnectionInfo {
        &self.server_info
    }

    pub(crate) fn tune(&mut self, tune: impl FnOnce(TcpManager) -> TcpManager) {
        self.servers.tune(tune);
    }
}
