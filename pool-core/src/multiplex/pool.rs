//! The shared pool, as its users see it.

use std::fmt;
use std::pin::pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};

use crate::error::TryCheckoutError;
use crate::multiplex::Share;
use crate::multiplex::builder::SharedPoolBuilder;
use crate::multiplex::layer::Layer;
use crate::multiplex::lease::Lease;
use crate::multiplex::leased::Leased;
use crate::multiplex::state::Limits;
use crate::multiplex::status::SharedStatus;
use crate::pool::Pool;

/// A pool whose connections carry several users at once; cheap to clone, and all clones are the same.
///
/// It asks the pool underneath for a connection when all that are open are full, holds it while somebody has a lease on
/// it, and gives it back with the last one. Every limit of the pool holds: its `max_size` counts connections, and a
/// connection past its lifetime takes no further lease. Those who want a connection to themselves ask
/// [`pool`](Self::pool), and wait in the same queue as this one does. To the pool's observers and totals, a checkout is a
/// connection taken out for its leases, and one asked for in vain, as a lease was free before, a cancelled one.
///
/// # Drop
///
/// The last of all [`SharedPool`]s and [`Pool`]s to go closes the pool. Leases that are out stay usable.
///
/// # Examples
///
/// ```
/// # use pool_core::doc::Multiplexed;
/// use pool_core::{Pool, SharedPool};
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// // Each of its connections carries two users.
/// let pool = Pool::builder(Multiplexed::carrying(2)).max_size(4).build()?;
/// let pool = SharedPool::new(pool);
/// let leases = (pool.lease().await?, pool.lease().await?, pool.lease().await?);
/// assert_eq!(*leases.0, *leases.1);
/// // The first was full, so there is a second.
/// assert_ne!(*leases.0, *leases.2);
/// # Ok(()) }
/// ```
pub struct SharedPool<M: Share> {
    pool: Pool<M>,
    layer: Arc<Layer<M>>,
}

impl<M: Share> SharedPool<M> {
    /// Shares the connections of `pool`, with the defaults of the [builder](Self::builder).
    ///
    /// # Examples
    ///
    /// ```
    /// # use pool_core::doc::Multiplexed;
    /// # use pool_core::{Pool, SharedPool};
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// let pool = SharedPool::new(Pool::builder(Multiplexed::carrying(2)).build()?);
    /// assert_eq!(*pool.lease().await?, 1);
    /// # Ok(()) }
    /// ```
    #[must_use]
    pub fn new(pool: Pool<M>) -> Self {
        let limits = Limits::of(pool.config());
        Self::with(pool, limits)
    }

    /// Starts to share the connections of `pool`.
    ///
    /// # Examples
    ///
    /// ```
    /// # use pool_core::doc::Multiplexed;
    /// # use pool_core::{Pool, SharedPool};
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// let pool = Pool::builder(Multiplexed::carrying(100)).build()?;
    /// let pool = SharedPool::builder(pool).max_leases(10).build()?;
    /// let lease = pool.lease().await?;
    /// assert_eq!(pool.status().capacity, 10);
    /// # Ok(()) }
    /// ```
    pub fn builder(pool: Pool<M>) -> SharedPoolBuilder<M> {
        SharedPoolBuilder::new(pool)
    }

    pub(super) fn with(pool: Pool<M>, limits: Limits) -> Self {
        let layer = Layer::new(Arc::clone(pool.shared()), limits);
        Self { pool, layer }
    }

    /// Takes a lease: on an open connection with room if there is one, else on the next that has or that comes from the
    /// pool.
    ///
    /// # Fairness
    ///
    /// Callers are served in the order of their first poll; nobody overtakes, and nobody waits beside a connection
    /// with room. Those who wait for a lease and those who wait for a connection of their own
    /// ([`Pool::checkout`]) are two queues; the first asks the second for connections as anybody does.
    ///
    /// # Errors
    ///
    /// [`CheckoutError`](crate::CheckoutError) says what stood in the way. In a timeout, `waiting` counts those who wait for a lease.
    ///
    /// # Cancellation
    ///
    /// May be dropped at any time, and nobody else notices; see [`Lease`].
    ///
    /// # Examples
    ///
    /// ```
    /// # use pool_core::doc::Multiplexed;
    /// # use pool_core::{Pool, SharedPool};
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let pool = SharedPool::new(Pool::builder(Multiplexed::carrying(2)).build()?);
    /// let lease = pool.lease().await?;
    /// let number = tokio::spawn(async move { *lease }).await?;
    /// assert_eq!(number, 1);
    /// # Ok(()) }
    /// ```
    pub fn lease(&self) -> Lease<M> {
        Lease::new(Arc::clone(&self.layer))
    }

    /// Takes a lease on a connection that is open and has room or that lies idle; never waits. If there is none, a dial
    /// is started if the pool has room for it, so that there may be one next time.
    ///
    /// # Errors
    ///
    /// [`TryCheckoutError::Empty`] with the pool's numbers, or [`TryCheckoutError::Closed`].
    ///
    /// # Examples
    ///
    /// ```
    /// # use pool_core::doc::Multiplexed;
    /// # use pool_core::{Pool, SharedPool};
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let pool = SharedPool::new(Pool::builder(Multiplexed::carrying(2)).build()?);
    /// assert!(pool.try_lease().is_err());
    /// let first = pool.lease().await?;
    /// assert_eq!(*pool.try_lease()?, *first);
    /// # Ok(()) }
    /// ```
    pub fn try_lease(&self) -> Result<Leased<M>, TryCheckoutError> {
        // Looked at once and dropped: whoever does not wait is not to be counted.
        let looked =
            pin!(self.lease().without_timeout()).poll(&mut Context::from_waker(Waker::noop()));
        if let Poll::Ready(Ok(leased)) = looked {
            return Ok(leased);
        }
        let status = self.status().of_callers();
        Err(match status.is_closed {
            true => TryCheckoutError::Closed,
            false => TryCheckoutError::Empty(status),
        })
    }

    /// One snapshot of the leases and the connections.
    ///
    /// # Examples
    ///
    /// ```
    /// # use pool_core::doc::Multiplexed;
    /// # use pool_core::{Pool, SharedPool};
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let pool = SharedPool::new(Pool::builder(Multiplexed::carrying(2)).build()?);
    /// let lease = pool.lease().await?;
    /// let status = pool.status();
    /// assert_eq!((status.leases, status.capacity, status.connections.in_use), (1, 2, 1));
    /// # Ok(()) }
    /// ```
    #[must_use]
    pub fn status(&self) -> SharedStatus {
        self.layer.status()
    }

    /// The pool underneath: to close it, to ask what it was told, or to take a connection for oneself.
    ///
    /// # Examples
    ///
    /// ```
    /// # use pool_core::doc::Multiplexed;
    /// # use pool_core::{Pool, SharedPool};
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let pool = SharedPool::new(Pool::builder(Multiplexed::carrying(2)).build()?);
    /// let lease = pool.lease().await?;
    /// pool.pool().close();
    /// assert!(pool.lease().await.is_err());
    /// drop(lease);
    /// assert_eq!(pool.status().connections.size(), 0);
    /// # Ok(()) }
    /// ```
    #[must_use]
    pub fn pool(&self) -> &Pool<M> {
        &self.pool
    }
}

impl<M: Share> Clone for SharedPool<M> {
    fn clone(&self) -> Self {
        Self {
            pool: self.pool.clone(),
            layer: Arc::clone(&self.layer),
        }
    }
}

impl<M: Share> fmt::Debug for SharedPool<M> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SharedPool")
            .field("status", &self.status())
            .finish_non_exhaustive()
    }
}
