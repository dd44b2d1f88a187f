//! What a pool of Redis connections is built on.

use std::future::Future;
use std::task::{Context, Poll};
use std::time::Duration;

use pool_core::{Capacity, Dropped, Manager, Recycle};
use pool_tcp::TcpManager;
use redis::aio::{MultiplexedConnection, PubSub};
use redis::{AsyncConnectionConfig, IntoConnectionInfo};
use tokio::time::timeout;

use crate::connection::RedisConnection;
use crate::dial::Dialer;
use crate::driver::Driver;
use crate::error::{RedisConfigError, RedisConnectError};
use crate::handshake::{self, Handshake, Script};

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
    dialer: Dialer,
    handshake: Handshake,
    handshake_timeout: Option<Duration>,
    command_timeout: Option<Duration>,
    is_strict: bool,
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
        config: std::sync::Arc<pool_tcp::rustls::ClientConfig>,
    ) -> Result<Self, RedisConfigError> {
        let info = info.into_connection_info().map_err(RedisConfigError::Url)?;
        let dialer = Dialer::with_tls(&info, config)?;
        Ok(Self::over(dialer, info))
    }

    fn over(dialer: Dialer, info: redis::ConnectionInfo) -> Self {
        Self {
            dialer,
            handshake: Handshake {
                info: info.redis_settings().clone(),
                client_name: None,
            },
            handshake_timeout: Some(Duration::from_secs(5)),
            command_timeout: Some(Duration::from_secs(10)),
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
        self.handshake.client_name = Some(name.into());
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
        self.handshake_timeout = limit.into();
        assert_ne!(
            self.handshake_timeout,
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
        self.command_timeout = limit.into();
        assert_ne!(
            self.command_timeout,
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

    /// Changes how TCP is dialled; of a Unix-domain socket, nothing.
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
        self.dialer.tune(tune);
        self
    }

    /// A connection for subscriptions. redis-rs introduces it.
    pub(crate) async fn pubsub(&self) -> Result<PubSub, RedisConnectError> {
        let (dialer, info) = (&self.dialer, &self.handshake.info);
        let (stream, _probe) = dialer.dial(info.protocol()).await?;
        let shaken = async {
            let pubsub = PubSub::new(info, stream).await;
            pubsub.map_err(|source| ended(dialer, source))
        };
        within(self.handshake_timeout, dialer, shaken).await
    }

    /// A connection to `dialer`'s server, introduced.
    async fn connect_to(&self, dialer: &Dialer) -> Result<RedisConnection, RedisConnectError> {
        let info = &self.handshake.info;
        let (stream, probe) = dialer.dial(info.protocol()).await?;
        let shaken = async {
            let config = AsyncConnectionConfig::new().set_response_timeout(None);
            let silence = self.handshake.silence();
            let (redis, driver) = MultiplexedConnection::new_with_config(&silence, stream, config)
                .await
                .map_err(|source| ended(dialer, source))?;
            let capacity = Capacity::new(usize::MAX);
            let driver = Driver::spawn(driver, probe, capacity.clone());
            let mut connection =
                RedisConnection::new(redis, driver, capacity, info.db(), self.command_timeout);
            converse(&mut connection, dialer, &self.handshake.greeting()).await?;
            Ok(connection)
        };
        within(self.handshake_timeout, dialer, shaken).await
    }
}

/// Says `script`, and looks at the answers.
async fn converse(
    connection: &mut RedisConnection,
    dialer: &Dialer,
    script: &Script,
) -> Result<(), RedisConnectError> {
    let answers = connection.converse(&script.pipeline).await;
    script.judge(
        dialer.target(),
        answers.map_err(|source| ended(dialer, source))?,
    )
}

async fn within<T>(
    limit: Option<Duration>,
    dialer: &Dialer,
    shaken: impl Future<Output = Result<T, RedisConnectError>>,
) -> Result<T, RedisConnectError> {
    let Some(limit) = limit else {
        return shaken.await;
    };
    timeout(limit, shaken).await.unwrap_or_else(|_| {
        Err(RedisConnectError::TimedOut {
            target: dialer.target().to_owned(),
            limit,
        })
    })
}

fn ended(dialer: &Dialer, source: redis::RedisError) -> RedisConnectError {
    RedisConnectError::Handshake {
        target: dialer.target().to_owned(),
        source,
    }
}

impl Manager for RedisManager {
    type Connection = RedisConnection;
    type Error = RedisConnectError;

    async fn connect(&self) -> Result<RedisConnection, RedisConnectError> {
        self.connect_to(&self.dialer).await
    }

    fn is_dropped(&self, connection: &mut RedisConnection) -> bool {
        connection.driver().is_dropped()
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
            converse(connection, &self.dialer, &self.handshake.anew()).await?;
            connection.forget();
            return Ok(());
        }
        connection
            .undo()
            .await
            .map_err(|source| ended(&self.dialer, source))
    }

    async fn close(&self, connection: RedisConnection) {
        connection.into_driver().close().await;
    }

    /// A user or password that is refused, a database that there is none of, and what is permanent for TCP and TLS.
    fn is_permanent(&self, error: &RedisConnectError) -> bool {
        match error {
            RedisConnectError::NoPassword { .. } => true,
            RedisConnectError::Refused { source, .. } => handshake::is_permanent(source),
            error => self.dialer.is_permanent(error),
        }
    }
}
