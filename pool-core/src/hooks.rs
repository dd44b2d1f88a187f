//! Hooks: closures that may refuse a connection on its way, each a [`Check`] with a fixed occasion.

use futures_core::future::BoxFuture;

use crate::builder::Builder;
use crate::health::{Check, Unhealthy};
use crate::manager::Manager;
use crate::pooled::ConnectionInfo;

impl<M: Manager> Builder<M> {
    /// Calls `hook` on each new connection, to prepare it; a refusal is a failed dial.
    ///
    /// # Examples
    ///
    /// ```
    /// # use pool_core::doc::Numbers;
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// let pool = pool_core::Pool::builder(Numbers::default())
    ///     .after_connect(|number, _| {
    ///         *number += 100;
    ///         Ok(())
    ///     })
    ///     .build()?;
    /// assert_eq!(*pool.checkout().await?, 101);
    /// # Ok(()) }
    /// ```
    pub fn after_connect<F>(self, hook: F) -> Self
    where
        F: Fn(&mut M::Connection, &ConnectionInfo) -> Result<(), Unhealthy> + Send + Sync + 'static,
    {
        self.check(Check::sync(hook).after_connect())
    }

    /// As [`after_connect`](Self::after_connect), with a hook that may await something, for at most 5 seconds and the
    /// rest of the [`Config::connect_timeout`](crate::Config::connect_timeout).
    ///
    /// # Examples
    ///
    /// ```
    /// # use pool_core::doc::Numbers;
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// let pool = pool_core::Pool::builder(Numbers::default())
    ///     .after_connect_async(|number, _| {
    ///         Box::pin(async move {
    ///             tokio::task::yield_now().await;
    ///             *number += 100;
    ///             Ok(())
    ///         })
    ///     })
    ///     .build()?;
    /// assert_eq!(*pool.checkout().await?, 101);
    /// # Ok(()) }
    /// ```
    pub fn after_connect_async<F>(self, hook: F) -> Self
    where
        F: for<'c> Fn(
                &'c mut M::Connection,
                ConnectionInfo,
            ) -> BoxFuture<'c, Result<(), Unhealthy>>
            + Send
            + Sync
            + 'static,
    {
        self.check(Check::future(hook).after_connect())
    }

    /// Calls `hook` on each connection that is about to be handed out; one that is refused is closed, and the caller gets
    /// another.
    ///
    /// # Examples
    ///
    /// ```
    /// # use pool_core::{Unhealthy, doc::Numbers};
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// let pool = pool_core::Pool::builder(Numbers::default())
    ///     .before_checkout(|number, _| match number {
    ///         1 => Err(Unhealthy::new("not the first")),
    ///         _ => Ok(()),
    ///     })
    ///     .build()?;
    /// assert_eq!(*pool.checkout().await?, 2);
    /// # Ok(()) }
    /// ```
    pub fn before_checkout<F>(self, hook: F) -> Self
    where
        F: Fn(&mut M::Connection, &ConnectionInfo) -> Result<(), Unhealthy> + Send + Sync + 'static,
    {
        self.check(Check::sync(hook).at_checkout())
    }

    /// As [`before_checkout`](Self::before_checkout), with a hook that may await something, for at most 5 seconds and the
    /// rest of the checkout's deadline.
    ///
    /// [`Pool::try_checkout`](crate::Pool::try_checkout) does not wait, and so does not run it.
    ///
    /// # Examples
    ///
    /// ```
    /// # use pool_core::{Unhealthy, doc::Numbers};
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// let pool = pool_core::Pool::builder(Numbers::default())
    ///     .before_checkout_async(|number, _| {
    ///         Box::pin(async move {
    ///             tokio::task::yield_now().await;
    ///             if *number == 1 { Err(Unhealthy::new("not the first")) } else { Ok(()) }
    ///         })
    ///     })
    ///     .build()?;
    /// assert_eq!(*pool.checkout().await?, 2);
    /// # Ok(()) }
    /// ```
    pub fn before_checkout_async<F>(self, hook: F) -> Self
    where
        F: for<'c> Fn(
                &'c mut M::Connection,
                ConnectionInfo,
            ) -> BoxFuture<'c, Result<(), Unhealthy>>
            + Send
            + Sync
            + 'static,
    {
        self.check(Check::future(hook).at_checkout())
    }

    /// Calls `hook` on each connection that comes home and is to be kept; one that is refused is closed.
    ///
    /// # Examples
    ///
    /// ```
    /// # use pool_core::{Unhealthy, doc::Numbers};
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// let pool = pool_core::Pool::builder(Numbers::default())
    ///     .after_checkin(|_, info| match info.uses {
    ///         2 => Err(Unhealthy::new("twice is enough")),
    ///         _ => Ok(()),
    ///     })
    ///     .build()?;
    /// drop(pool.checkout().await?);
    /// assert_eq!(*pool.checkout().await?, 1);
    /// assert_eq!(*pool.checkout().await?, 2);
    /// # Ok(()) }
    /// ```
    pub fn after_checkin<F>(self, hook: F) -> Self
    where
        F: Fn(&mut M::Connection, &ConnectionInfo) -> Result<(), Unhealthy> + Send + Sync + 'static,
    {
        self.check(Check::sync(hook).at_checkin())
    }

    /// As [`after_checkin`](Self::after_checkin), with a hook that may await something, for at most 5 seconds; it runs in a
    /// task, before the connection is offered to anybody.
    ///
    /// # Examples
    ///
    /// ```
    /// # use pool_core::doc::Numbers;
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// let pool = pool_core::Pool::builder(Numbers::default())
    ///     .max_size(1)
    ///     .after_checkin_async(|number, _| {
    ///         Box::pin(async move {
    ///             tokio::task::yield_now().await;
    ///             *number += 100;
    ///             Ok(())
    ///         })
    ///     })
    ///     .build()?;
    /// drop(pool.checkout().await?);
    /// assert_eq!(*pool.checkout().await?, 101);
    /// # Ok(()) }
    /// ```
    pub fn after_checkin_async<F>(self, hook: F) -> Self
    where
        F: for<'c> Fn(
                &'c mut M::Connection,
                ConnectionInfo,
            ) -> BoxFuture<'c, Result<(), Unhealthy>>
            + Send
            + Sync
            + 'static,
    {
        self.check(Check::future(hook).at_checkin())
    }
}
