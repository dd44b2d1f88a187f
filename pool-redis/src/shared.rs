//! Shared mode: a few connections, each used by many at once.

use std::fmt;
use std::future::Future;
use std::ops::Deref;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use pin_project_lite::pin_project;
use pool_core::{
    Capacity, CheckoutError, Lease, Leased, Pool, Share, SharedPool, Spread, TryCheckoutError,
};
use redis::aio::{ConnectionLike, MultiplexedConnection};
use redis::{Arg, Cmd, ErrorKind, Pipeline, RedisError, RedisFuture, RedisResult, Value};
use tokio::runtime::Handle;

use crate::blame::Blame;
use crate::blocking::Blocks;
use crate::bounded::bounded;
use crate::connection::RedisConnection;
use crate::end::End;
use crate::error::RedisConnectError;
use crate::fate;
use crate::manager::RedisManager;
use crate::pool::RedisPool;
use crate::traces::leaves_nothing;

/// Under [`SharedPool`] itself a lease is a clone of redis-rs's connection, without a timeout and without a rule.
impl Share for RedisManager {
    type Handle = MultiplexedConnection;

    fn share(&self, connection: &RedisConnection) -> MultiplexedConnection {
        connection.redis().clone()
    }

    fn capacity<'c>(&self, connection: &'c RedisConnection) -> &'c Capacity {
        connection.capacity()
    }
}

/// A few connections, each used by many at once: the most commands a second, for those who need no connection of their
/// own.
///
/// Commands of all users travel on one connection one after the other, and a cancelled one harms nobody. What would
/// harm others is refused before it is sent: commands that change the connection (`SELECT`, `WATCH`, `MULTI` outside an
/// atomic pipeline, `SUBSCRIBE` ..) and commands that block. For those there is [`exclusive`](Self::exclusive).
///
/// # Examples
///
/// ```no_run
/// use pool_core::Pool;
/// use pool_redis::{RedisManager, RedisSharedPool};
/// use redis::AsyncCommands;
///
/// # tokio::runtime::Runtime::new().unwrap().block_on(async {
/// let manager = RedisManager::new("redis://localhost")?;
/// let pool = RedisSharedPool::new(Pool::builder(manager).max_size(2).build()?);
///
/// let (mut one, mut other) = (pool.lease().await?, pool.lease().await?);
/// let () = one.set("key", 1).await?;
/// assert_eq!(other.get::<_, i64>("key").await?, 1);
///
/// let refused = redis::cmd("SELECT").arg(1).exec_async(&mut one).await.unwrap_err();
/// assert!(refused.to_string().contains("a connection of your own"));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// # }).unwrap();
/// ```
#[derive(Clone)]
pub struct RedisSharedPool {
    pool: SharedPool<RedisManager>,
}

impl RedisSharedPool {
    /// Opens as many connections as `pool` may have, one for each of the first callers, and then gives each caller the
    /// one with the fewest users.
    ///
    /// # Examples
    ///
    /// ```
    /// use pool_core::Pool;
    /// use pool_redis::{RedisManager, RedisSharedPool};
    ///
    /// # tokio::runtime::Runtime::new().unwrap().block_on(async {
    /// let pool = Pool::builder(RedisManager::new("redis://localhost")?).max_size(2).build()?;
    /// let pool = RedisSharedPool::new(pool);
    /// assert_eq!(pool.status().leases, 0);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// # }).unwrap();
    /// ```
    pub fn new(pool: Pool<RedisManager>) -> Self {
        let connections = pool.config().max_size;
        let pool = SharedPool::builder(pool)
            .spread(Spread::LeastLoaded)
            .open_first(connections)
            .build();
        Self::over(pool.expect("as many as there may be is not too many"))
    }

    /// Shares as `pool` does.
    ///
    /// # Examples
    ///
    /// ```
    /// use pool_core::{Pool, SharedPool};
    /// use pool_redis::{RedisManager, RedisSharedPool};
    ///
    /// # tokio::runtime::Runtime::new().unwrap().block_on(async {
    /// let pool = Pool::builder(RedisManager::new("redis://localhost")?).build()?;
    /// // A further connection only when a hundred use the first.
    /// let pool = SharedPool::builder(pool).max_leases(100).build()?;
    /// assert_eq!(RedisSharedPool::over(pool).status().leases, 0);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// # }).unwrap();
    /// ```
    pub fn over(pool: SharedPool<RedisManager>) -> Self {
        Self { pool }
    }

    /// Takes a place on a connection.
    ///
    /// # Fairness, errors, cancellation
    ///
    /// As [`SharedPool::lease`].
    ///
    /// # Examples
    ///
    /// ```no_run
    /// # use pool_redis::RedisSharedPool;
    /// # async fn example(pool: RedisSharedPool) -> Result<(), Box<dyn std::error::Error>> {
    /// let pong: String = redis::cmd("PING").query_async(&mut pool.lease().await?).await?;
    /// assert_eq!(pong, "PONG");
    /// # Ok(()) }
    /// ```
    pub fn lease(&self) -> RedisLease {
        RedisLease {
            lease: self.pool.lease(),
        }
    }

    /// Takes a place on a connection that is open and has room; never waits.
    ///
    /// # Errors
    ///
    /// As [`SharedPool::try_lease`].
    ///
    /// # Examples
    ///
    /// ```
    /// use pool_core::{Pool, TryCheckoutError};
    /// use pool_redis::{RedisManager, RedisSharedPool};
    ///
    /// # tokio::runtime::Runtime::new().unwrap().block_on(async {
    /// let pool = RedisSharedPool::new(Pool::builder(RedisManager::new("redis://localhost")?).build()?);
    /// assert!(matches!(pool.try_lease(), Err(TryCheckoutError::Empty(_))));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// # }).unwrap();
    /// ```
    pub fn try_lease(&self) -> Result<SharedConnection, TryCheckoutError> {
        self.pool.try_lease().map(SharedConnection::new)
    }

    /// The pool underneath, whose connections are one user's alone, for blocking commands and transactions. Both draw on
    /// the same connections: leave room for them, or make another pool.
    ///
    /// # Examples
    ///
    /// ```
    /// use pool_core::Pool;
    /// use pool_redis::{RedisManager, RedisSharedPool};
    ///
    /// # tokio::runtime::Runtime::new().unwrap().block_on(async {
    /// let pool = RedisSharedPool::new(Pool::builder(RedisManager::new("redis://localhost")?).build()?);
    /// assert_eq!(pool.exclusive().status().in_use, 0);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// # }).unwrap();
    /// ```
    pub fn exclusive(&self) -> RedisPool {
        RedisPool::new(self.pool.pool().clone())
    }
}

impl Deref for RedisSharedPool {
    type Target = SharedPool<RedisManager>;

    fn deref(&self) -> &SharedPool<RedisManager> {
        &self.pool
    }
}

impl fmt::Debug for RedisSharedPool {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.pool.fmt(f)
    }
}

pin_project! {
    /// The future of [`RedisSharedPool::lease`].
    ///
    /// # Cancellation
    ///
    /// May be dropped at any time: the turn, or the place, is passed on.
    ///
    /// # Examples
    ///
    /// ```no_run
    /// # use pool_redis::RedisSharedPool;
    /// # async fn example(pool: RedisSharedPool) {
    /// let lease = pool.lease();
    /// drop(lease);
    /// assert_eq!(pool.status().leases, 0);
    /// # }
    /// ```
    #[must_use = "a lease does nothing unless polled"]
    #[derive(Debug)]
    pub struct RedisLease {
        #[pin]
        lease: Lease<RedisManager>,
    }
}

impl RedisLease {
    /// Another limit than [`Config::checkout_timeout`](pool_core::Config::checkout_timeout).
    ///
    /// # Examples
    ///
    /// ```no_run
    /// # use pool_redis::RedisSharedPool;
    /// use std::time::Duration;
    ///
    /// # async fn example(pool: RedisSharedPool) -> Result<(), Box<dyn std::error::Error>> {
    /// let lease = pool.lease().timeout(Duration::from_millis(100)).await?;
    /// assert_eq!(pool.status().leases, 1);
    /// # Ok(()) }
    /// ```
    pub fn timeout(self, limit: Duration) -> Self {
        Self {
            lease: self.lease.timeout(limit),
        }
    }

    /// Waits for ever.
    ///
    /// # Examples
    ///
    /// ```no_run
    /// # use pool_redis::RedisSharedPool;
    /// # async fn example(pool: RedisSharedPool) -> Result<(), Box<dyn std::error::Error>> {
    /// let lease = pool.lease().without_timeout().await?;
    /// assert_eq!(pool.status().leases, 1);
    /// # Ok(()) }
    /// ```
    pub fn without_timeout(self) -> Self {
        Self {
            lease: self.lease.without_timeout(),
        }
    }
}

impl Future for RedisLease {
    type Output = Result<SharedConnection, CheckoutError<RedisConnectError>>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        self.project().lease.poll(cx).map_ok(SharedConnection::new)
    }
}

/// A place on a connection that others use too: `'static`, and a connection of redis-rs.
///
/// # Cancellation
///
/// A command whose future is dropped may still run; its answer is thrown away, and the connection serves the others as
/// before.
///
/// # Drop
///
/// Gives the place back. After an I/O error, a timeout or `READONLY` nobody gets a further place on its connection.
///
/// # Examples
///
/// ```no_run
/// # use pool_redis::RedisSharedPool;
/// use redis::AsyncCommands;
///
/// # async fn example(pool: RedisSharedPool) -> Result<(), Box<dyn std::error::Error>> {
/// let mut connection = pool.lease().await?;
/// let visits: i64 = connection.incr("visits", 1).await?;
/// assert!(visits > 0);
/// # Ok(()) }
/// ```
pub struct SharedConnection {
    leased: Leased<RedisManager>,
    /// Where the timers of commands run.
    runtime: Handle,
    /// Of its driver.
    end: End,
    command_timeout: Option<Duration>,
}

impl SharedConnection {
    fn new(leased: Leased<RedisManager>) -> Self {
        let connection = Leased::connection(&leased);
        Self {
            runtime: connection.driver().runtime().clone(),
            end: connection.end_of_driver().clone(),
            command_timeout: connection.command_timeout(),
            leased,
        }
    }

    async fn command(&mut self, command: &Cmd) -> RedisResult<Value> {
        permit(command, true)?;
        self.begin()?;
        let sent = self.leased.send_packed_command(command);
        let ended = bounded(&self.runtime, &self.end, self.command_timeout, sent).await;
        self.end(Blame::judge(ended, Blame::of_value))
    }

    async fn commands(
        &mut self,
        pipeline: &Pipeline,
        offset: usize,
        count: usize,
    ) -> RedisResult<Vec<Value>> {
        for command in pipeline.cmd_iter() {
            // Between `MULTI` and `EXEC` nothing blocks.
            permit(command, !pipeline.is_transaction())?;
        }
        self.begin()?;
        let sent = self.leased.send_packed_commands(pipeline, offset, count);
        let ended = bounded(&self.runtime, &self.end, self.command_timeout, sent).await;
        self.end(Blame::judge(ended, |answers| Blame::of_values(answers)))
    }

    fn begin(&self) -> RedisResult<()> {
        match Leased::connection(&self.leased).driver().is_finished() {
            true => Err(fate::not_sent()),
            false => Ok(()),
        }
    }

    fn end<T>(&self, (blame, ended): (Blame, RedisResult<T>)) -> RedisResult<T> {
        if blame != Blame::None {
            Leased::retire(&self.leased);
        }
        ended
    }
}

/// Refuses what the other users of the connection would notice.
fn permit(command: &Cmd, may_block: bool) -> RedisResult<()> {
    let why = if !leaves_nothing(command) {
        "this command changes the connection, which others use too; take a connection of your own (exclusive)"
    } else if may_block && Blocks::of(command) != Blocks::NOT_AT_ALL {
        "this command blocks the connection, which others use too; take a connection of your own (exclusive)"
    } else {
        return Ok(());
    };
    let name = command.args_iter().next().map(|name| match name {
        Arg::Simple(name) => String::from_utf8_lossy(name).into_owned(),
        _ => String::new(),
    });
    Err(RedisError::from((
        ErrorKind::Client,
        why,
        name.unwrap_or_default(),
    )))
}

impl ConnectionLike for SharedConnection {
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

    fn get_db(&self) -> i64 {
        Leased::connection(&self.leased).get_db()
    }
}

impl fmt::Debug for SharedConnection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SharedConnection")
            .field("info", &Leased::info(&self.leased))
            .field("command_timeout", &self.command_timeout)
            .finish_non_exhaustive()
    }
}
