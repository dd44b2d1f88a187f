//! The pool whose guard is a connection of redis-rs.

use std::fmt;
use std::future::Future;
use std::ops::Deref;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use pin_project_lite::pin_project;
use pool_core::{CheckoutError, CheckoutOwned, Manager, Pool, TryCheckoutError};
use redis::aio::PubSub;

use crate::error::RedisConnectError;
use crate::manager::RedisManager;
use crate::pooled::PooledConnection;

/// A pool of Redis connections; cheap to clone, and all clones are the same.
///
/// It is a [`Pool`], and derefs to it: sizes, status, events, closing are all there. What it adds are guards that redis-rs
/// takes for connections, and [`pubsub`](Self::pubsub).
///
/// # Examples
///
/// ```no_run
/// use pool_core::Pool;
/// use pool_redis::{RedisManager, RedisPool};
/// use redis::AsyncCommands;
///
/// # tokio::runtime::Runtime::new().unwrap().block_on(async {
/// let manager = RedisManager::new("redis://localhost")?;
/// let pool = RedisPool::new(Pool::builder(manager).max_size(16).build()?);
///
/// let visits: i64 = pool.checkout().await?.incr("visits", 1).await?;
/// assert!(visits > 0);
/// assert_eq!(pool.status().idle, 1);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// # }).unwrap();
/// ```
pub struct RedisPool<M: Manager = RedisManager> {
    pool: Pool<M>,
}

impl<M: Manager> RedisPool<M> {
    /// Hands out the connections of `pool`.
    ///
    /// # Examples
    ///
    /// ```
    /// use pool_core::Pool;
    /// use pool_redis::{RedisManager, RedisPool};
    ///
    /// # tokio::runtime::Runtime::new().unwrap().block_on(async {
    /// let pool = Pool::builder(RedisManager::new("redis://localhost")?).max_size(16).build()?;
    /// assert_eq!(RedisPool::new(pool).config().max_size, 16);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// # }).unwrap();
    /// ```
    pub fn new(pool: Pool<M>) -> Self {
        Self { pool }
    }

    /// Takes a connection: an idle one that the kernel knows to be open, else the next that comes home or is made.
    ///
    /// No command is sent. One that lies idle is there at the first poll.
    ///
    /// # Fairness, errors, cancellation
    ///
    /// As [`Pool::checkout_owned`].
    ///
    /// # Examples
    ///
    /// ```no_run
    /// # use pool_redis::RedisPool;
    /// # async fn example(pool: RedisPool) -> Result<(), Box<dyn std::error::Error>> {
    /// let mut connection = pool.checkout().await?;
    /// let pong: String = redis::cmd("PING").query_async(&mut connection).await?;
    /// assert_eq!(pong, "PONG");
    /// # Ok(()) }
    /// ```
    #[track_caller]
    pub fn checkout(&self) -> RedisCheckout<M> {
        RedisCheckout {
            checkout: self.pool.checkout_owned(),
        }
    }

    /// Takes a connection that lies idle; never waits. If there is none and room for one, a dial is started, so that there
    /// may be one next time.
    ///
    /// # Errors
    ///
    /// As [`Pool::try_checkout`].
    ///
    /// # Examples
    ///
    /// ```
    /// use pool_core::{Pool, TryCheckoutError};
    /// use pool_redis::{RedisManager, RedisPool};
    ///
    /// # tokio::runtime::Runtime::new().unwrap().block_on(async {
    /// let pool = RedisPool::new(Pool::builder(RedisManager::new("redis://localhost")?).build()?);
    /// assert!(matches!(pool.try_checkout(), Err(TryCheckoutError::Empty(_))));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// # }).unwrap();
    /// ```
    #[track_caller]
    pub fn try_checkout(&self) -> Result<PooledConnection<M>, TryCheckoutError> {
        self.pool.try_checkout_owned().map(PooledConnection::new)
    }

    /// The pool underneath.
    ///
    /// # Examples
    ///
    /// ```
    /// # use pool_core::Pool;
    /// # use pool_redis::{RedisManager, RedisPool};
    /// # tokio::runtime::Runtime::new().unwrap().block_on(async {
    /// let pool = RedisPool::new(Pool::builder(RedisManager::new("redis://localhost")?).build()?);
    /// pool.pool().close();
    /// assert!(pool.is_closed());
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// # }).unwrap();
    /// ```
    pub fn pool(&self) -> &Pool<M> {
        &self.pool
    }
}

impl RedisPool {
    /// Dials a connection for subscriptions. It is the caller's alone: the pool neither counts nor keeps it.
    ///
    /// It may take as long as a dial of the pool's, [`Config::connect_timeout`](pool_core::Config::connect_timeout).
    ///
    /// # Errors
    ///
    /// Why there is no connection.
    ///
    /// # Cancellation
    ///
    /// Gives the dial up.
    ///
    /// # Examples
    ///
    /// ```no_run
    /// # use pool_redis::RedisPool;
    /// # async fn example(pool: RedisPool) -> Result<(), Box<dyn std::error::Error>> {
    /// let mut news = pool.pubsub().await?;
    /// news.subscribe("news").await?;
    /// assert_eq!(pool.status().size(), 0);
    /// # Ok(()) }
    /// ```
    pub async fn pubsub(&self) -> Result<PubSub, RedisConnectError> {
        let limit = self.pool.config().connect_timeout;
        self.pool.manager().pubsub_within(limit).await
    }
}

impl<M: Manager> Clone for RedisPool<M> {
    fn clone(&self) -> Self {
        Self {
            pool: self.pool.clone(),
        }
    }
}

impl<M: Manager> Deref for RedisPool<M> {
    type Target = Pool<M>;

    fn deref(&self) -> &Pool<M> {
        &self.pool
    }
}

impl<M: Manager> fmt::Debug for RedisPool<M> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.pool.fmt(f)
    }
}

pin_project! {
    /// The future of [`RedisPool::checkout`].
    ///
    /// # Cancellation
    ///
    /// May be dropped at any time: the turn, or the connection, is passed on.
    ///
    /// # Examples
    ///
    /// ```no_run
    /// # use pool_redis::RedisPool;
    /// # async fn example(pool: RedisPool) {
    /// let checkout = pool.checkout();
    /// drop(checkout);
    /// assert_eq!(pool.status().in_use, 0);
    /// # }
    /// ```
    #[must_use = "a checkout does nothing unless polled"]
    pub struct RedisCheckout<M: Manager> {
        #[pin]
        checkout: CheckoutOwned<M>,
    }
}

impl<M: Manager> RedisCheckout<M> {
    /// Another limit than [`Config::checkout_timeout`](pool_core::Config::checkout_timeout).
    ///
    /// # Examples
    ///
    /// ```no_run
    /// # use pool_redis::RedisPool;
    /// use std::time::Duration;
    ///
    /// # async fn example(pool: RedisPool) -> Result<(), Box<dyn std::error::Error>> {
    /// let connection = pool.checkout().timeout(Duration::from_millis(100)).await?;
    /// assert_eq!(pool.status().in_use, 1);
    /// # Ok(()) }
    /// ```
    pub fn timeout(self, limit: Duration) -> Self {
        Self {
            checkout: self.checkout.timeout(limit),
        }
    }

    /// Waits for ever.
    ///
    /// # Examples
    ///
    /// ```no_run
    /// # use pool_redis::RedisPool;
    /// # async fn example(pool: RedisPool) -> Result<(), Box<dyn std::error::Error>> {
    /// let connection = pool.checkout().without_timeout().await?;
    /// assert_eq!(pool.status().in_use, 1);
    /// # Ok(()) }
    /// ```
    pub fn without_timeout(self) -> Self {
        Self {
            checkout: self.checkout.without_timeout(),
        }
    }
}

impl<M: Manager> Future for RedisCheckout<M> {
    type Output = Result<PooledConnection<M>, CheckoutError<M::Error>>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let checkout = self.project().checkout;
        checkout.poll(cx).map_ok(PooledConnection::new)
    }
}

impl<M: Manager> fmt::Debug for RedisCheckout<M> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.checkout.fmt(f)
    }
}
