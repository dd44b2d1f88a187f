//! What a pool of Redis connections is built on.

use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use pool_core::{Dropped, Manager, Recycle};
use pool_tcp::TcpManager;
use redis::IntoConnectionInfo;
use redis::aio::PubSub;
use tokio::time::timeout;

use crate::connection::RedisConnection;
use crate::dial::Dialer;
use crate::error::{RedisConfigError, RedisConnectError};
use crate::opening::{self, Opening};
use crate::sentinel::{SentinelRoute, Sentinels};

/// Dials Redis, and lets go of a connection when the server does.
///
/// # Examples
///
/// ```no_run
/// use pool_core::Pool;
/// use pool_redis::{RedisManager, RedisPool};
/// use std::time::Duration;
///
/// # tokio::runtime::Runtime::new().unwrap().block_on(async {
/// let manager = RedisManager::new("redis://user:password@localhost:6379/2")?
///     .client_name("billing")
///     .command_timeout(Duration::from_secs(2));
/// let pool = RedisPool::new(Pool::builder(manager).max_size(16).build()?);
///
/// let name: String = redis::cmd("CLIENT")
///     .arg("GETNAME")
///     .query_async(&mut pool.checkout().await?)
///     .await?;
/// assert_eq!(name, "billing");
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// # }).unwrap();
/// ```
#[derive(Clone, Debug)]
pub struct RedisManager {
    route: Route,
    opening: Opening,
    is_strict: bool,
}

/// How a server is found.
#[derive(Clone, Debug)]
enum Route {
    Fixed(Box<Dialer>),
    /// Shared by all clones: they know the same, and listen once.
    Sentinels(Arc<SentinelRoute>),
}

impl RedisManager {
    /// Dials what redis-rs understands: a URL (`redis://`, `redis+unix://`, with the feature `tls` also `rediss://`), or a
    /// [`ConnectionInfo`](redis::ConnectionInfo).
    ///
    /// `rediss://` trusts whom the operating system trusts. Of the TCP settings only the user timeout is taken, see
    /// [`tcp`](Self::tcp).
    ///
    /// # Errors
    ///
    /// Whatever cannot be dialled. Nothing is resolved yet.
    ///
    /// # Examples
    ///
    /// ```
    /// use pool_redis::RedisManager;
    ///
    /// assert!(RedisManager::new("redis://[::1]:6379/3?protocol=resp3").is_ok());
    /// assert!(RedisManager::new("localhost:6379").is_err());
    /// ```
    pub fn new(info: impl IntoConnectionInfo) -> Result<Self, RedisConfigError> {
        let info = info.into_connection_info().map_err(RedisConfigError::Url)?;
        let dialer = Dialer::new(&info)?;
        Ok(Self::over(dialer, info))
    }

    /// Dials by TLS under a configuration of yours, whether or not the address asks for TLS.
    ///
    /// # Errors
    ///
    /// As [`new`](Self::new), and a Unix-domain socket.
    ///
    /// # Examples
    ///
    /// ```
    /// use pool_redis::RedisManager;
    /// use pool_tcp::rustls::{ClientConfig, RootCertStore};
    /// use std::sync::Arc;
    ///
    /// let config = ClientConfig::builder()
    ///     .with_root_certificates(RootCertStore::empty())
    ///     .with_no_client_auth();
    /// assert!(RedisManager::with_tls("rediss://redis.internal", Arc::new(config)).is_ok());
    /// ```
    #[cfg(feature = "tls")]
    pub fn with_tls(
        info: impl IntoConnectionInfo,
        config: Arc<pool_tcp::rustls::ClientConfig>,
    ) -> Result<Self, RedisConfigError> {
        let info = info.into_connection_info().map_err(RedisConfigError::Url)?;
        let dialer = Dialer::with_tls(&info, config)?;
        Ok(Self::over(dialer, info))
    }

    /// Dials the master of this name, which `sentinels` are asked for, and follows it when it moves.
    ///
    /// What else can be said, such as a password for the servers, is said to [`Sentinels`] and
    /// [`with_sentinels`](Self::with_sentinels).
    ///
    /// # Errors
    ///
    /// As [`Sentinels::new`].
    ///
    /// # Examples
    ///
    /// ```no_run
    /// use pool_core::Pool;
    /// use pool_redis::{RedisManager, RedisPool};
    /// use redis::AsyncCommands;
    ///
    /// # tokio::runtime::Runtime::new().unwrap().block_on(async {
    /// let sentinels = ["redis://10.0.0.1:26379", "redis://10.0.0.2:26379", "redis://10.0.0.3:26379"];
    /// let manager = RedisManager::sentinel("orders", sentinels)?;
    /// let pool = RedisPool::new(Pool::builder(manager).max_size(16).build()?);
    ///
    /// let orders: i64 = pool.checkout().await?.incr("orders", 1).await?;
    /// assert!(orders > 0);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// # }).unwrap();
    /// ```
    pub fn sentinel<I: IntoConnectionInfo>(
        master: impl Into<String>,
        sentinels: impl IntoIterator<Item = I>,
    ) -> Result<Self, RedisConfigError> {
        Ok(Self::with_sentinels(Sentinels::new(master, sentinels)?))
    }

    /// Dials what these sentinels name.
    ///
    /// # Examples
    ///
    /// ```
    /// use pool_redis::{RedisManager, Sentinels};
    ///
    /// let sentinels = Sentinels::new("orders", ["redis://10.0.0.1:26379"])?.replicas();
    /// let manager = RedisManager::with_sentinels(sentinels);
    /// assert!(format!("{manager:?}").contains("Replica"));
    /// # Ok::<(), pool_redis::RedisConfigError>(())
    /// ```
    pub fn with_sentinels(sentinels: Sentinels) -> Self {
        Self {
            opening: Opening::new(sentinels.server_info().clone()),
            route: Route::Sentinels(Arc::new(SentinelRoute::new(sentinels))),
            is_strict: false,
        }
    }

    fn over(dialer: Dialer, info: redis::ConnectionInfo) -> Self {
        Self {
            route: Route::Fixed(Box::new(dialer)),
            opening: Opening::new(info.redis_settings().clone()),
            is_strict: false,
        }
    }

    /// The name of the connections at the server (`CLIENT SETNAME`), as `CLIENT LIST` shows it. No spaces.
    ///
    /// Default: none.
    ///
    /// # Examples
    ///
    /// ```
    /// use pool_redis::RedisManager;
    ///
    /// let manager = RedisManager::new("redis://localhost")?.client_name("billing");
    /// assert!(format!("{manager:?}").contains("billing"));
    /// # Ok::<(), pool_redis::RedisConfigError>(())
    /// ```
    #[must_use]
    pub fn client_name(mut self, name: impl Into<String>) -> Self {
        self.opening.handshake.client_name = Some(name.into());
        self
    }

    /// How long the server may take for the handshake, once TCP and TLS are done; `None` leaves the limit to the pool.
    ///
    /// Default: 5 s. It is one round trip: who we are (`AUTH` or `HELLO`), `SELECT`, `CLIENT SETNAME` and `SETINFO`.
    ///
    /// # Panics
    ///
    /// If it is zero.
    ///
    /// # Examples
    ///
    /// ```
    /// use pool_redis::RedisManager;
    /// use std::time::Duration;
    ///
    /// let manager = RedisManager::new("redis://localhost")?.handshake_timeout(Duration::from_secs(1));
    /// assert!(format!("{manager:?}").contains("handshake_timeout: Some(1s)"));
    /// # Ok::<(), pool_redis::RedisConfigError>(())
    /// ```
    #[must_use]
    #[track_caller]
    pub fn handshake_timeout(mut self, limit: impl Into<Option<Duration>>) -> Self {
        self.opening.handshake_timeout = limit.into();
        assert_ne!(
            self.opening.handshake_timeout,
            Some(Duration::ZERO),
            "handshake_timeout: zero lets no server answer; give None to leave the limit to the pool"
        );
        self
    }

    /// How long the server may take to answer a command or a pipeline; `None` waits for ever.
    ///
    /// Default: 10 s. What a blocking command (`BLPOP`, `XREAD BLOCK`, `WAIT` ..) was told to wait comes on top; one that
    /// was told to wait for ever may. For a single call there is [`RedisConnection::limit`].
    ///
    /// # Panics
    ///
    /// If it is zero.
    ///
    /// # Examples
    ///
    /// ```
    /// use pool_redis::RedisManager;
    /// use std::time::Duration;
    ///
    /// let manager = RedisManager::new("redis://localhost")?.command_timeout(Duration::from_secs(1));
    /// assert!(format!("{manager:?}").contains("command_timeout: Some(1s)"));
    /// # Ok::<(), pool_redis::RedisConfigError>(())
    /// ```
    #[must_use]
    #[track_caller]
    pub fn command_timeout(mut self, limit: impl Into<Option<Duration>>) -> Self {
        self.opening.command_timeout = limit.into();
        assert_ne!(
            self.opening.command_timeout,
            Some(Duration::ZERO),
            "command_timeout: zero lets no command be answered; give None to wait for ever"
        );
        self
    }

    /// Whether every connection is set back (`RESET`, and the handshake again) when it comes home, whatever its user did.
    ///
    /// Default: false, and then it costs nothing unless a command is known to leave something behind. With true a check-in
    /// costs a round trip, after it, in a task; for users whose modules keep state of their own on a connection. Needs
    /// Redis 6.2; under an older server no connection is kept.
    ///
    /// # Examples
    ///
    /// ```
    /// use pool_redis::RedisManager;
    ///
    /// let manager = RedisManager::new("redis://localhost")?.strict(true);
    /// assert!(format!("{manager:?}").contains("is_strict: true"));
    /// # Ok::<(), pool_redis::RedisConfigError>(())
    /// ```
    #[must_use]
    pub fn strict(mut self, is_strict: bool) -> Self {
        self.is_strict = is_strict;
        self
    }

    /// Changes how TCP is dialled; of a Unix-domain socket, nothing. Where sentinels are asked it is how the servers are
    /// dialled, not the sentinels.
    ///
    /// Default: as [`TcpManager`], with `TCP_NODELAY`, keepalive, and 30 s for bytes that nobody acknowledges.
    ///
    /// # Examples
    ///
    /// ```
    /// use pool_redis::RedisManager;
    /// use std::time::Duration;
    ///
    /// let manager = RedisManager::new("redis://localhost")?
    ///     .tcp(|tcp| tcp.attempt_timeout(Duration::from_secs(1)));
    /// assert!(format!("{manager:?}").contains("attempt_timeout: Some(1s)"));
    /// # Ok::<(), pool_redis::RedisConfigError>(())
    /// ```
    #[must_use]
    pub fn tcp(mut self, tune: impl FnOnce(TcpManager) -> TcpManager) -> Self {
        match &mut self.route {
            Route::Fixed(dialer) => dialer.tune(tune),
            Route::Sentinels(route) => {
                *route = Arc::new(route.change(|sentinels| sentinels.tune(tune)));
            }
        }
        self
    }

    /// As [`pubsub`](Self::pubsub), for which nobody else has a limit.
    pub(crate) async fn pubsub_within(&self, limit: Duration) -> Result<PubSub, RedisConnectError> {
        timeout(limit, self.pubsub()).await.unwrap_or_else(|_| {
            Err(RedisConnectError::NotInTime {
                target: self.route.name().to_owned(),
                limit,
            })
        })
    }

    /// A connection for subscriptions. It goes down when a server found by sentinels is no longer the right one.
    async fn pubsub(&self) -> Result<PubSub, RedisConnectError> {
        let protocol = self.opening.protocol();
        match &self.route {
            Route::Fixed(dialer) => {
                let (stream, _probe) = dialer.dial(protocol).await?;
                self.opening.subscriber(dialer.target(), stream).await
            }
            Route::Sentinels(route) => {
                let mut post = route.locate().await?;
                loop {
                    let dialled = async {
                        let (stream, probe) = post.dial(protocol).await?;
                        let pubsub = self.opening.subscriber(post.target(), stream).await?;
                        post.tie(probe, None)?;
                        Ok(pubsub)
                    };
                    match post.unless_it_moves(dialled).await {
                        Err(error) => post = post.next(error).await?,
                        done => return done,
                    }
                }
            }
        }
    }
}

impl Route {
    /// As errors name it when no single server is meant.
    fn name(&self) -> &str {
        match self {
            Self::Fixed(dialer) => dialer.target(),
            Self::Sentinels(route) => route.name(),
        }
    }

    fn is_permanent(&self, error: &RedisConnectError) -> bool {
        match self {
            Self::Fixed(dialer) => dialer.is_permanent(error),
            Self::Sentinels(route) => route.is_permanent(error),
        }
    }
}

impl Manager for RedisManager {
    type Connection = RedisConnection;
    type Error = RedisConnectError;

    async fn connect(&self) -> Result<RedisConnection, RedisConnectError> {
        let protocol = self.opening.protocol();
        match &self.route {
            Route::Fixed(dialer) => {
                let (stream, probe) = dialer.dial(protocol).await?;
                self.opening.open(dialer.target(), stream, probe).await
            }
            Route::Sentinels(route) => {
                let mut post = route.locate().await?;
                loop {
                    let dialled = async {
                        let (stream, probe) = post.dial(protocol).await?;
                        let tied = probe.clone();
                        let mut connection =
                            self.opening.open(post.target(), stream, probe).await?;
                        let verified = post.verify(&mut connection);
                        self.opening.in_time(post.target(), verified).await?;
                        post.tie(tied, Some(connection.capacity().clone()))?;
                        Ok(connection)
                    };
                    match post.unless_it_moves(dialled).await {
                        Err(error) => post = post.next(error).await?,
                        done => return done,
                    }
                }
            }
        }
    }

    fn is_dropped(&self, connection: &mut RedisConnection) -> bool {
        connection.is_dropped()
    }

    fn poll_dropped(
        &self,
        connection: &mut RedisConnection,
        cx: &mut Context<'_>,
    ) -> Poll<Dropped> {
        connection.driver_mut().poll_dropped(cx)
    }

    fn recycle(&self, connection: &mut RedisConnection) -> Recycle {
        connection.verdict(self.is_strict)
    }

    async fn reset(&self, connection: &mut RedisConnection) -> Result<(), RedisConnectError> {
        if self.is_strict {
            return self.opening.reopen(self.route.name(), connection).await;
        }
        let undone = connection.undo().await;
        undone.map_err(|source| opening::ended(self.route.name(), source))
    }

    async fn close(&self, connection: RedisConnection) {
        let mut driver = connection.into_driver();
        driver.close().await;
    }

    /// A user or password that is refused, a database that there is none of, and what is permanent for TCP and TLS.
    fn is_permanent(&self, error: &RedisConnectError) -> bool {
        error.is_refused_for_good() || self.route.is_permanent(error)
    }
}
