//! The pool, as its users see it.

use std::fmt;
use std::panic::Location;
use std::sync::Arc;

use crate::builder::Builder;
use crate::checkout::{Checkout, CheckoutOwned};
use crate::config::Config;
use crate::error::TryCheckoutError;
use crate::manager::Manager;
use crate::many::CheckoutMany;
use crate::pooled::{OwnedPooled, Pooled};
use crate::shared::{Parts, Shared};
use crate::status::{Metrics, Status};
use crate::try_checkout::try_checkout;
use crate::warm_up::WarmUp;

/// A pool of connections; cheap to clone, and all clones are the same pool.
///
/// # Drop
///
/// The last clone to go closes the pool, as [`close`](Self::close) does. Guards that are out stay usable.
///
/// # Examples
///
/// ```
/// # use pool_core::doc::Numbers;
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let pool = pool_core::Pool::builder(Numbers::default()).max_size(2).build()?;
/// let (first, second) = (pool.checkout().await?, pool.checkout().await?);
/// assert_ne!(*first, *second);
/// drop((first, second));
/// // Last in, first out; and nobody dialled again.
/// assert_eq!(*pool.checkout().await?, 2);
/// # Ok(()) }
/// ```
pub struct Pool<M: Manager> {
    shared: Arc<Shared<M>>,
}

impl<M: Manager> Pool<M> {
    /// Starts to set up a pool.
    ///
    /// # Examples
    ///
    /// ```
    /// # use pool_core::doc::Numbers;
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() {
    /// let pool = pool_core::Pool::builder(Numbers::default()).build().unwrap();
    /// assert_eq!(pool.status().size(), 0);
    /// # }
    /// ```
    pub fn builder(manager: M) -> Builder<M> {
        Builder::new(manager)
    }

    pub(crate) fn new(parts: Parts<M>) -> Self {
        let pool = Self::unstarted(parts);
        pool.shared.start();
        pool
    }

    /// Not maintained yet.
    pub(crate) fn unstarted(parts: Parts<M>) -> Self {
        Self {
            shared: Shared::new(parts),
        }
    }

    /// Takes a connection: an idle one if there is one, else the next that comes home or that a dial brings.
    ///
    /// # Fairness
    ///
    /// Callers are served in the order of their first poll. Nobody who comes later overtakes, and one whose connection
    /// proves dead goes back to his place; only what comes home while he looks at it may serve the next.
    ///
    /// # Errors
    ///
    /// [`CheckoutError`](crate::CheckoutError) says what stood in the way: the deadline, a connect error or a closed
    /// pool.
    ///
    /// # Cancellation
    ///
    /// May be dropped at any time; see [`Checkout`].
    ///
    /// # Examples
    ///
    /// ```
    /// # use pool_core::doc::Numbers;
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let pool = pool_core::Pool::builder(Numbers::default()).build()?;
    /// let connection = pool.checkout().await?;
    /// assert_eq!(*connection, 1);
    /// # Ok(()) }
    /// ```
    #[inline]
    #[track_caller]
    pub fn checkout(&self) -> Checkout<'_, M> {
        Checkout::new(&self.shared, Location::caller())
    }

    /// As [`checkout`](Self::checkout), with a guard that borrows nothing.
    ///
    /// # Examples
    ///
    /// ```
    /// # use pool_core::doc::Numbers;
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let pool = pool_core::Pool::builder(Numbers::default()).build()?;
    /// let connection = pool.checkout_owned().await?;
    /// let number = tokio::spawn(async move { *connection }).await?;
    /// assert_eq!(number, 1);
    /// # Ok(()) }
    /// ```
    #[inline]
    #[track_caller]
    pub fn checkout_owned(&self) -> CheckoutOwned<M> {
        CheckoutOwned::new(Arc::clone(&self.shared), Location::caller())
    }

    /// Takes an idle connection, or nothing; never waits. If nothing is idle and there is room, a dial is started, so
    /// that there may be something next time.
    ///
    /// # Errors
    ///
    /// [`TryCheckoutError::Empty`] with the pool's numbers, or [`TryCheckoutError::Closed`].
    ///
    /// # Examples
    ///
    /// ```
    /// # use pool_core::doc::Numbers;
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let pool = pool_core::Pool::builder(Numbers::default()).build()?;
    /// assert!(pool.try_checkout().is_err());
    /// drop(pool.checkout().await?);
    /// assert_eq!(*pool.try_checkout()?, 1);
    /// # Ok(()) }
    /// ```
    #[track_caller]
    pub fn try_checkout(&self) -> Result<Pooled<'_, M>, TryCheckoutError> {
        try_checkout(&self.shared, Location::caller()).map(Pooled::new)
    }

    /// As [`try_checkout`](Self::try_checkout), with a guard that borrows nothing.
    ///
    /// # Errors
    ///
    /// The same.
    ///
    /// # Examples
    ///
    /// ```
    /// # use pool_core::doc::Numbers;
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let pool = pool_core::Pool::builder(Numbers::default()).build()?;
    /// pool.warm_up(1).await?;
    /// let connection = pool.try_checkout_owned()?;
    /// let number = tokio::spawn(async move { *connection }).await?;
    /// assert_eq!(number, 1);
    /// # Ok(()) }
    /// ```
    #[track_caller]
    pub fn try_checkout_owned(&self) -> Result<OwnedPooled<M>, TryCheckoutError> {
        let lease = try_checkout(&self.shared, Location::caller())?;
        Ok(OwnedPooled::new(lease.rehome(Arc::clone(&self.shared))))
    }

    /// Takes `wanted` connections at once, all or none: two callers who each need several cannot each end up with half.
    ///
    /// Callers queue for this in order of arrival, and the one whose turn it is then waits for his connections among all
    /// other callers. Whoever waits for his turn is not in the queue yet; once it has come, each of his places counts as a
    /// checkout of its own. To be awaited; [`CheckoutMany::owned`] gives guards that do not borrow the pool.
    ///
    /// # Errors
    ///
    /// As [`checkout`](Self::checkout); also [`CheckoutError::TooMany`](crate::CheckoutError::TooMany) if the pool may not have
    /// so many.
    ///
    /// # Examples
    ///
    /// ```
    /// # use pool_core::doc::Numbers;
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// let pool = pool_core::Pool::builder(Numbers::default()).max_size(3).build()?;
    /// assert_eq!(pool.checkout_many(3).await?.len(), 3);
    /// let error = pool.checkout_many(4).await.unwrap_err();
    /// assert_eq!(
    ///     error.to_string(),
    ///     "4 connections at once were asked for, and the pool may have 3: raise max_size",
    /// );
    /// # Ok(()) }
    /// ```
    #[track_caller]
    pub fn checkout_many(&self, wanted: usize) -> CheckoutMany<'_, M> {
        CheckoutMany::new(&self.shared, wanted, Location::caller())
    }

    /// Dials until `wanted` connections are there, idle or in use, at most [`Config::max_connecting`] at a time and no more
    /// than [`Config::max_idle`] allows; to be awaited, or polled as a stream of its progress.
    ///
    /// What is above [`Config::min_idle`] is reaped when it has not been used for
    /// [`Config::idle_timeout`].
    ///
    /// # Errors
    ///
    /// As [`checkout`](Self::checkout); also [`CheckoutError::TooMany`](crate::CheckoutError::TooMany) if the pool may not have
    /// so many.
    ///
    /// # Examples
    ///
    /// ```
    /// # use pool_core::doc::Numbers;
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// let pool = pool_core::Pool::builder(Numbers::default()).build()?;
    /// pool.warm_up(4).await?;
    /// assert_eq!(pool.status().idle, 4);
    /// # Ok(()) }
    /// ```
    pub fn warm_up(&self, wanted: usize) -> WarmUp<'_, M> {
        WarmUp::new(&self.shared, wanted)
    }

    /// What the pool has done since it was built.
    ///
    /// # Examples
    ///
    /// ```
    /// # use pool_core::doc::Numbers;
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// let pool = pool_core::Pool::builder(Numbers::default()).build()?;
    /// drop(pool.checkout().await?);
    /// drop(pool.checkout().await?);
    /// let metrics = pool.metrics();
    /// assert_eq!((metrics.connected, metrics.checkouts, metrics.waited), (1, 2, 1));
    /// # Ok(()) }
    /// ```
    #[must_use]
    pub fn metrics(&self) -> Metrics {
        self.shared.metrics()
    }

    /// The name observers know the pool by.
    ///
    /// # Examples
    ///
    /// ```
    /// # use pool_core::doc::Numbers;
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// let pool = pool_core::Pool::builder(Numbers::default()).name("orders").build()?;
    /// assert_eq!(pool.name(), "orders");
    /// # Ok(()) }
    /// ```
    #[must_use]
    pub fn name(&self) -> &str {
        &self.shared.name
    }

    /// One snapshot of the pool, whose numbers add up.
    ///
    /// # Examples
    ///
    /// ```
    /// # use pool_core::doc::Numbers;
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let pool = pool_core::Pool::builder(Numbers::default()).build()?;
    /// let connection = pool.checkout().await?;
    /// assert_eq!(pool.status().in_use, 1);
    /// # Ok(()) }
    /// ```
    #[must_use]
    pub fn status(&self) -> Status {
        self.shared.status()
    }

    /// What the pool was told when it was built.
    ///
    /// # Examples
    ///
    /// ```
    /// # use pool_core::doc::Numbers;
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// let pool = pool_core::Pool::builder(Numbers::default()).max_size(3).build()?;
    /// assert_eq!(pool.config().max_size, 3);
    /// # Ok(()) }
    /// ```
    #[must_use]
    pub fn config(&self) -> &Config {
        &self.shared.config
    }

    /// What makes the connections.
    ///
    /// # Examples
    ///
    /// ```
    /// # use pool_core::doc::Numbers;
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let pool = pool_core::Pool::builder(Numbers::default()).build()?;
    /// drop(pool.checkout().await?);
    /// assert_eq!(pool.manager().dialled(), 1);
    /// # Ok(()) }
    /// ```
    #[must_use]
    pub fn manager(&self) -> &M {
        &self.shared.manager
    }

    /// Closes the pool: who waits is told at once, dials are dropped, idle connections closed, and those in use when
    /// they come home. Legal on any thread, and more than once.
    ///
    /// # Examples
    ///
    /// ```
    /// # use pool_core::doc::Numbers;
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let pool = pool_core::Pool::builder(Numbers::default()).build()?;
    /// let connection = pool.checkout().await?;
    /// pool.close();
    /// assert!(pool.checkout().await.is_err());
    /// drop(connection);
    /// assert_eq!(pool.status().size(), 0);
    /// # Ok(()) }
    /// ```
    pub fn close(&self) {
        self.shared.close();
    }

    /// Whether there will be no more checkouts.
    ///
    /// # Examples
    ///
    /// ```
    /// # use pool_core::doc::Numbers;
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let pool = pool_core::Pool::builder(Numbers::default()).build()?;
    /// assert!(!pool.is_closed());
    /// # Ok(()) }
    /// ```
    #[must_use]
    pub fn is_closed(&self) -> bool {
        self.status().is_closed
    }
}

impl<M: Manager> Pool<M> {
    pub(crate) fn shared(&self) -> &Arc<Shared<M>> {
        &self.shared
    }
}

impl<M: Manager> Clone for Pool<M> {
    fn clone(&self) -> Self {
        self.shared.add_handle();
        Self {
            shared: Arc::clone(&self.shared),
        }
    }
}

impl<M: Manager> Drop for Pool<M> {
    fn drop(&mut self) {
        self.shared.drop_handle();
    }
}

impl<M: Manager> fmt::Debug for Pool<M> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Pool")
            .field("status", &self.status())
            .field("config", self.config())
            .finish_non_exhaustive()
    }
}
