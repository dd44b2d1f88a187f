//! How a pool comes to be shared: which connection takes a lease, and when there is to be another one.

use std::fmt;

use crate::config::ConfigError;
use crate::multiplex::Share;
use crate::multiplex::pool::SharedPool;
use crate::multiplex::spread::Spread;
use crate::multiplex::state::Limits;
use crate::pool::Pool;

/// Sets up a [`SharedPool`].
///
/// # Examples
///
/// ```
/// # use pool_core::doc::Multiplexed;
/// use pool_core::{Pool, SharedPool, Spread};
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let pool = Pool::builder(Multiplexed::carrying(100)).max_size(4).build()?;
/// let pool = SharedPool::builder(pool)
///     .spread(Spread::LeastLoaded)
///     .open_first(4)
///     .max_leases(50)
///     .build()?;
/// assert_eq!(pool.status().leases, 0);
/// # Ok(()) }
/// ```
#[must_use = "a builder does nothing until `build` is called"]
pub struct SharedPoolBuilder<M: Share> {
    pool: Pool<M>,
    limits: Limits,
}

impl<M: Share> SharedPoolBuilder<M> {
    pub(super) fn new(pool: Pool<M>) -> Self {
        let limits = Limits::of(pool.config());
        Self { pool, limits }
    }

    /// Which of several connections with room takes the next lease. Default [`Spread::FullestFirst`].
    ///
    /// # Examples
    ///
    /// ```
    /// # use pool_core::doc::Multiplexed;
    /// # use pool_core::{Leased, Pool, SharedPool, Spread};
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let pool = Pool::builder(Multiplexed::carrying(2)).build()?;
    /// let pool = SharedPool::builder(pool).spread(Spread::LeastLoaded).build()?;
    /// let (_one, two, _three) = (pool.lease().await?, pool.lease().await?, pool.lease().await?);
    /// // Both connections have one lease now.
    /// drop(two);
    /// assert_eq!(pool.status().leases, 2);
    /// # Ok(()) }
    /// ```
    pub fn spread(mut self, spread: Spread) -> Self {
        self.limits.spread = spread;
        self
    }

    /// No connection has more leases at once, whatever it publishes. Default: no such limit.
    ///
    /// # Examples
    ///
    /// ```
    /// # use pool_core::doc::Multiplexed;
    /// # use pool_core::{Pool, SharedPool};
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// let pool = Pool::builder(Multiplexed::carrying(100)).build()?;
    /// let pool = SharedPool::builder(pool).max_leases(1).build()?;
    /// let _leases = (pool.lease().await?, pool.lease().await?);
    /// assert_eq!(pool.status().connections.in_use, 2);
    /// # Ok(()) }
    /// ```
    pub fn max_leases(mut self, max_leases: usize) -> Self {
        self.limits.max_leases = max_leases;
        self
    }

    /// As long as fewer connections than this are open, a caller gets one of his own, although another has room.
    /// Default 1: a further connection only when all are full.
    ///
    /// Nobody waits for that beside a connection with room. If none is idle, he shares what is open and a dial is
    /// started; whoever comes after it finds an idle one. To have all of them from the start, set
    /// [`Config::min_idle`](crate::Config::min_idle) to the same number.
    ///
    /// # Examples
    ///
    /// ```
    /// # use pool_core::doc::Multiplexed;
    /// # use pool_core::{Pool, SharedPool, Spread};
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// let pool = Pool::builder(Multiplexed::carrying(100)).max_size(2).min_idle(2).build()?;
    /// # while pool.status().idle < 2 { tokio::task::yield_now().await }
    /// let pool = SharedPool::builder(pool).spread(Spread::LeastLoaded).open_first(2).build()?;
    /// let (one, two) = (pool.lease().await?, pool.lease().await?);
    /// assert_ne!(*one, *two);
    /// # Ok(()) }
    /// ```
    pub fn open_first(mut self, open_first: usize) -> Self {
        self.limits.open_first = open_first;
        self
    }

    /// Shares the pool.
    ///
    /// # Errors
    ///
    /// [`ConfigError`] names a setting that makes no sense.
    ///
    /// # Examples
    ///
    /// ```
    /// # use pool_core::doc::Multiplexed;
    /// # use pool_core::{Pool, SharedPool};
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// let pool = Pool::builder(Multiplexed::carrying(1)).max_size(4).build()?;
    /// let error = SharedPool::builder(pool).open_first(5).build().unwrap_err();
    /// assert_eq!(
    ///     error.to_string(),
    ///     "open_first (5) is above max_size (4): lower open_first or raise max_size",
    /// );
    /// # Ok(()) }
    /// ```
    pub fn build(self) -> Result<SharedPool<M>, ConfigError> {
        let Limits {
            max_leases,
            open_first,
            max_size,
            ..
        } = self.limits;
        let wrong = |field, message: String| Err(ConfigError::new(field, message));
        if max_leases == 0 {
            return wrong(
                "max_leases",
                "max_leases is 0, so no lease could ever be given: set it to at least 1".into(),
            );
        }
        if open_first == 0 {
            return wrong(
                "open_first",
                "open_first is 0, but the first lease needs a connection: set it to at least 1"
                    .into(),
            );
        }
        if open_first > max_size {
            return wrong(
                "open_first",
                format!(
                    "open_first ({open_first}) is above max_size ({max_size}): lower open_first or raise max_size"
                ),
            );
        }
        Ok(SharedPool::with(self.pool, self.limits))
    }
}

impl<M: Share> fmt::Debug for SharedPoolBuilder<M> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SharedPoolBuilder")
            .field("limits", &self.limits)
            .finish_non_exhaustive()
    }
}
