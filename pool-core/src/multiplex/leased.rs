//! The guard of a lease: a handle on a shared connection, and a place on it that is free again when dropped.

use std::fmt;
use std::ops::{Deref, DerefMut};
use std::sync::Arc;

use crate::multiplex::Share;
use crate::multiplex::layer::{Layer, Open};
use crate::pooled::{ConnectionInfo, OwnedPooled};
use crate::state::{Lent, SlotId};

/// A lease on a shared connection: `'static`, and it derefs to the handle that [`Share::share`] made.
///
/// It does not keep the pool open; when the pool closes it stays usable, and the connection is closed after it.
///
/// # Drop
///
/// Drops the handle first, and then gives its place to the caller who has waited longest. The last lease on a
/// connection sends it home: it lies idle in the pool, or is closed if it drains or is retired.
///
/// Legal on any thread, with or without a runtime. A panic of the user's says nothing about the connection, which
/// others use: it is kept. Whoever saw an error that is the connection's calls [`retire`](Self::retire).
///
/// # Examples
///
/// ```
/// # use pool_core::doc::Multiplexed;
/// # use pool_core::{Pool, SharedPool};
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let pool = SharedPool::new(Pool::builder(Multiplexed::carrying(2)).build()?);
/// let (one, two) = (pool.lease().await?, pool.lease().await?);
/// assert_eq!(*one, *two);
/// drop((one, two));
/// assert_eq!(pool.status().connections.idle, 1);
/// # Ok(()) }
/// ```
pub struct Leased<M: Share> {
    // Declared first and so dropped first: its place is free when the handle is gone, not before.
    handle: M::Handle,
    seat: Seat<M>,
}

/// A place on a connection; gives it back when dropped.
struct Seat<M: Share> {
    layer: Arc<Layer<M>>,
    /// Gone while it is given back.
    open: Option<Arc<Open<M>>>,
    slot: SlotId,
    /// Whether the connection is to have no further lease.
    retires: bool,
}

impl<M: Share> Leased<M> {
    /// Sits down. A manager that panics here costs this lease and retires the connection.
    pub(super) fn new(layer: Arc<Layer<M>>, Lent { slot, value }: Lent<Arc<Open<M>>>) -> Self {
        let mut seat = Seat {
            layer,
            open: Some(value),
            slot,
            retires: true,
        };
        let handle = seat.layer.pool.manager.share(&seat.open().guard);
        seat.retires = false;
        Self { handle, seat }
    }

    /// Has the connection closed when its last lease is home, and given to nobody until then: this user has seen that
    /// it is broken. The leases that are out are left alone.
    ///
    /// An associated function, as all here, so as not to hide a method of the handle.
    ///
    /// # Examples
    ///
    /// ```
    /// # use pool_core::doc::Multiplexed;
    /// # use pool_core::{Leased, Pool, SharedPool};
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let pool = SharedPool::new(Pool::builder(Multiplexed::carrying(2)).build()?);
    /// let broken = pool.lease().await?;
    /// Leased::retire(&broken);
    /// assert_ne!(*broken, *pool.lease().await?);
    /// drop(broken);
    /// assert_eq!(pool.status().connections.idle, 1);
    /// # Ok(()) }
    /// ```
    pub fn retire(guard: &Self) {
        guard.seat.retire();
    }

    /// What the pool knows of the connection. Its `uses` count how often the connection was taken out of the pool, not
    /// the leases on it. Takes the pool's lock for a moment.
    ///
    /// # Examples
    ///
    /// ```
    /// # use pool_core::doc::Multiplexed;
    /// # use pool_core::{Leased, Pool, SharedPool};
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let pool = SharedPool::new(Pool::builder(Multiplexed::carrying(2)).build()?);
    /// let (one, two) = (pool.lease().await?, pool.lease().await?);
    /// assert_eq!(Leased::info(&one).id, Leased::info(&two).id);
    /// assert_eq!(Leased::info(&two).uses, 1);
    /// # Ok(()) }
    /// ```
    #[must_use]
    pub fn info(guard: &Self) -> ConnectionInfo {
        OwnedPooled::info(&guard.seat.open().guard)
    }

    /// The connection itself, which others use too.
    ///
    /// # Examples
    ///
    /// ```
    /// # use pool_core::doc::Multiplexed;
    /// # use pool_core::{Leased, Pool, SharedPool};
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let pool = SharedPool::new(Pool::builder(Multiplexed::carrying(2)).build()?);
    /// let lease = pool.lease().await?;
    /// assert_eq!(Leased::connection(&lease).capacity.now(), 2);
    /// # Ok(()) }
    /// ```
    #[must_use]
    pub fn connection(guard: &Self) -> &M::Connection {
        &guard.seat.open().guard
    }
}

impl<M: Share> Seat<M> {
    fn open(&self) -> &Open<M> {
        self.open
            .as_ref()
            .expect("only what gives the place back takes it")
    }

    fn retire(&self) {
        self.layer
            .update(|state, now, effects| state.retire(self.slot, now, effects));
    }
}

impl<M: Share> Drop for Seat<M> {
    fn drop(&mut self) {
        if self.retires {
            self.retire();
        }
        // Before the place is free: whoever sends an empty connection home has it to himself.
        self.open = None;
        self.layer
            .update(|state, now, effects| state.release(self.slot, now, effects));
    }
}

impl<M: Share> Deref for Leased<M> {
    type Target = M::Handle;

    #[inline]
    fn deref(&self) -> &M::Handle {
        &self.handle
    }
}

impl<M: Share> DerefMut for Leased<M> {
    #[inline]
    fn deref_mut(&mut self) -> &mut M::Handle {
        &mut self.handle
    }
}

impl<M: Share> fmt::Debug for Leased<M> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Leased")
            .field("info", &Self::info(self))
            .finish_non_exhaustive()
    }
}
