//! The guard.

use std::fmt;
use std::ops::{Deref, DerefMut};

use pool_core::{ConnectionInfo, Manager, OwnedPooled};
use redis::aio::ConnectionLike;
use redis::{Cmd, Pipeline, RedisFuture, Value};

use crate::manager::RedisManager;

/// A connection out of its pool: `'static`, and a connection of redis-rs, so that `&mut guard` goes wherever redis-rs wants
/// one.
///
/// # Drop
///
/// Gives the connection back, or closes it if it is of no use to another, see
/// [what is kept](crate#what-is-kept-and-what-is-not). Nothing is waited for. Legal on any thread, with or without a
/// runtime.
///
/// # Examples
///
/// ```no_run
/// # use pool_redis::RedisPool;
/// use redis::AsyncCommands;
///
/// # async fn example(pool: RedisPool) -> Result<(), Box<dyn std::error::Error>> {
/// let mut connection = pool.checkout().await?;
/// let () = connection.set("key", "value").await?;
/// assert_eq!(pool.status().in_use, 1);
///
/// drop(connection);
/// assert_eq!(pool.status().idle, 1);
/// # Ok(()) }
/// ```
pub struct PooledConnection<M: Manager = RedisManager>(OwnedPooled<M>);

impl<M: Manager> PooledConnection<M> {
    pub(crate) fn new(guard: OwnedPooled<M>) -> Self {
        Self(guard)
    }

    /// Closes the connection when the guard is dropped, instead of keeping it.
    ///
    /// An associated function, as all here, so as not to hide a command.
    ///
    /// # Examples
    ///
    /// ```no_run
    /// # use pool_redis::{PooledConnection, RedisPool};
    /// # async fn example(pool: RedisPool) -> Result<(), Box<dyn std::error::Error>> {
    /// let mut connection = pool.checkout().await?;
    /// PooledConnection::taint(&mut connection);
    /// drop(connection);
    /// assert_eq!(pool.status().idle, 0);
    /// # Ok(()) }
    /// ```
    pub fn taint(guard: &mut Self) {
        OwnedPooled::taint(&mut guard.0);
    }

    /// Closes the connection now.
    ///
    /// # Examples
    ///
    /// ```no_run
    /// # use pool_redis::{PooledConnection, RedisPool};
    /// # async fn example(pool: RedisPool) -> Result<(), Box<dyn std::error::Error>> {
    /// PooledConnection::discard(pool.checkout().await?);
    /// assert_eq!(pool.status().idle, 0);
    /// # Ok(()) }
    /// ```
    pub fn discard(guard: Self) {
        OwnedPooled::discard(guard.0);
    }

    /// Takes the connection out of the pool for good; its slot is free at once.
    ///
    /// # Examples
    ///
    /// ```no_run
    /// # use pool_redis::{PooledConnection, RedisPool};
    /// # async fn example(pool: RedisPool) -> Result<(), Box<dyn std::error::Error>> {
    /// let mut mine = PooledConnection::detach(pool.checkout().await?);
    /// redis::cmd("PING").exec_async(&mut mine).await?;
    /// assert_eq!(pool.status().size(), 0);
    /// # Ok(()) }
    /// ```
    pub fn detach(guard: Self) -> M::Connection {
        OwnedPooled::detach(guard.0)
    }

    /// Its number, its age and how often it was used.
    ///
    /// # Examples
    ///
    /// ```no_run
    /// # use pool_redis::{PooledConnection, RedisPool};
    /// # async fn example(pool: RedisPool) -> Result<(), Box<dyn std::error::Error>> {
    /// let connection = pool.checkout().await?;
    /// assert!(!PooledConnection::info(&connection).is_reused());
    /// # Ok(()) }
    /// ```
    pub fn info(guard: &Self) -> ConnectionInfo {
        OwnedPooled::info(&guard.0)
    }
}

impl<M: Manager> Deref for PooledConnection<M> {
    type Target = M::Connection;

    #[inline]
    fn deref(&self) -> &M::Connection {
        &self.0
    }
}

impl<M: Manager> DerefMut for PooledConnection<M> {
    #[inline]
    fn deref_mut(&mut self) -> &mut M::Connection {
        &mut self.0
    }
}

impl<M: Manager<Connection: ConnectionLike>> ConnectionLike for PooledConnection<M> {
    #[inline]
    fn req_packed_command<'a>(&'a mut self, command: &'a Cmd) -> RedisFuture<'a, Value> {
        self.0.req_packed_command(command)
    }

    #[inline]
    fn req_packed_commands<'a>(
        &'a mut self,
        pipeline: &'a Pipeline,
        offset: usize,
        count: usize,
    ) -> RedisFuture<'a, Vec<Value>> {
        self.0.req_packed_commands(pipeline, offset, count)
    }

    fn get_db(&self) -> i64 {
        self.0.get_db()
    }
}

impl<M: Manager> fmt::Debug for PooledConnection<M> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}
