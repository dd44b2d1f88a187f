//! The guards: a connection out of the pool, which finds its way home when dropped.

use std::borrow::Borrow;
use std::fmt;
use std::future::Future;
use std::ops::{Deref, DerefMut};
use std::panic::Location;
use std::sync::Arc;
use std::time::Duration;

use crate::error::CheckoutError;
use crate::lease::Lease;
use crate::manager::Manager;
use crate::reason::CloseReason;
use crate::shared::Shared;
use crate::tasks;

/// What the pool knows of a connection that is checked out.
///
/// # Examples
///
/// ```
/// # use pool_core::doc::Numbers;
/// # use pool_core::{Pool, Pooled};
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let pool = Pool::builder(Numbers::default()).build()?;
/// let first = Pooled::info(&pool.checkout().await?);
/// let second = Pooled::info(&pool.checkout().await?);
/// assert_eq!(first.id, second.id);
/// assert!(!first.is_reused() && second.is_reused());
/// # Ok(()) }
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct ConnectionInfo {
    /// Unique in the life of the pool; counts from 1.
    pub id: u64,
    /// Time since it was connected.
    pub age: Duration,
    /// How often it was checked out, this time included.
    pub uses: u32,
    /// How long it had been idle before this checkout, to the precision of a coarse clock (some milliseconds).
    pub idle_for: Duration,
}

impl ConnectionInfo {
    /// Of a connection just made.
    pub(crate) fn new(id: u64) -> Self {
        Self {
            id,
            age: Duration::ZERO,
            uses: 0,
            idle_for: Duration::ZERO,
        }
    }

    /// Whether somebody used it before; a request that fails on such a connection may deserve another try.
    ///
    /// # Examples
    ///
    /// ```
    /// # use pool_core::doc::Numbers;
    /// # use pool_core::{Pool, Pooled};
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// let pool = Pool::builder(Numbers::default()).build()?;
    /// assert!(!Pooled::info(&pool.checkout().await?).is_reused());
    /// # Ok(()) }
    /// ```
    #[must_use]
    pub fn is_reused(&self) -> bool {
        self.uses > 1
    }
}

/// A connection checked out of a borrowed pool. To keep it in a struct or to move it into a task, take an
/// [`OwnedPooled`] with [`Pool::checkout_owned`](crate::Pool::checkout_owned).
///
/// It derefs to the connection, and reads and writes if the connection does.
///
/// # Drop
///
/// Gives the connection back: to the caller who has waited longest, else to the idle set; unless the manager decides
/// otherwise ([`Manager::recycle`]), the peer has gone, the guard was tainted or is dropped in a panic: then it is
/// closed.
///
/// # Examples
///
/// ```
/// # use pool_core::doc::Numbers;
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let pool = pool_core::Pool::builder(Numbers::default()).build()?;
/// let connection = pool.checkout().await?;
/// assert_eq!(*connection, 1);
/// drop(connection);
/// assert_eq!(pool.status().idle, 1);
/// # Ok(()) }
/// ```
pub struct Pooled<'a, M: Manager>(Lease<M, &'a Arc<Shared<M>>>);

impl<'a, M: Manager> Pooled<'a, M> {
    #[inline]
    pub(crate) fn new(lease: Lease<M, &'a Arc<Shared<M>>>) -> Self {
        Self(lease)
    }

    /// Has the connection closed instead of kept when the guard is dropped: it is in the middle of something.
    ///
    /// An associated function, as all here, so as not to hide a method of the connection.
    ///
    /// # Examples
    ///
    /// ```
    /// # use pool_core::doc::Numbers;
    /// # use pool_core::{Pooled, Pool};
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let pool = Pool::builder(Numbers::default()).build()?;
    /// let mut guard = pool.checkout().await?;
    /// Pooled::taint(&mut guard);
    /// drop(guard);
    /// assert_eq!(pool.status().idle, 0);
    /// # Ok(()) }
    /// ```
    pub fn taint(guard: &mut Self) {
        guard.0.condemn(CloseReason::Discarded);
    }

    /// Closes the connection now.
    ///
    /// # Examples
    ///
    /// ```
    /// # use pool_core::doc::Numbers;
    /// # use pool_core::{Pooled, Pool};
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let pool = Pool::builder(Numbers::default()).build()?;
    /// let guard = pool.checkout().await?;
    /// Pooled::discard(guard);
    /// assert_eq!(pool.status().size(), 0);
    /// # Ok(()) }
    /// ```
    pub fn discard(mut guard: Self) {
        guard.0.condemn(CloseReason::Discarded);
    }

    /// Takes the connection out of the pool for good; its slot is free at once.
    ///
    /// # Examples
    ///
    /// ```
    /// # use pool_core::doc::Numbers;
    /// # use pool_core::{Pooled, Pool};
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let pool = Pool::builder(Numbers::default()).build()?;
    /// let guard = pool.checkout().await?;
    /// let number: u32 = Pooled::detach(guard);
    /// assert_eq!((number, pool.status().size()), (1, 0));
    /// # Ok(()) }
    /// ```
    #[must_use = "the connection is the caller's now"]
    pub fn detach(guard: Self) -> M::Connection {
        guard.0.detach()
    }

    /// What the pool knows of this connection; takes the pool's lock for a moment.
    ///
    /// # Examples
    ///
    /// ```
    /// # use pool_core::doc::Numbers;
    /// # use pool_core::{Pooled, Pool};
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let pool = Pool::builder(Numbers::default()).build()?;
    /// let guard = pool.checkout().await?;
    /// assert_eq!(Pooled::info(&guard).uses, 1);
    /// # Ok(()) }
    /// ```
    #[must_use]
    pub fn info(guard: &Self) -> ConnectionInfo {
        guard.0.info()
    }

    /// Why the connection would be closed instead of kept if it came home now; takes the pool's lock for a moment.
    ///
    /// For whoever holds one for long, such as a pool of streams over it: its lifetime may be over, it may have been
    /// retired, the pool may have become smaller or be closed.
    ///
    /// # Examples
    ///
    /// ```
    /// # use pool_core::doc::Numbers;
    /// # use pool_core::{CloseReason, Pooled, Pool};
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let pool = Pool::builder(Numbers::default()).build()?;
    /// let guard = pool.checkout().await?;
    /// assert_eq!(Pooled::is_due(&guard), None);
    /// pool.retire_all();
    /// assert_eq!(Pooled::is_due(&guard), Some(CloseReason::Retired));
    /// # Ok(()) }
    /// ```
    #[must_use]
    pub fn is_due(guard: &Self) -> Option<CloseReason> {
        guard.0.due()
    }

    /// Closes this connection when the guard is dropped, and retires all that are older: what ails this one ails them.
    ///
    /// # Examples
    ///
    /// ```
    /// # use pool_core::doc::Numbers;
    /// # use pool_core::{Pooled, Pool};
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let pool = Pool::builder(Numbers::default()).build()?;
    /// # let (older, _newer) = (pool.checkout().await?, pool.checkout().await?);
    /// drop(older);
    /// # drop(_newer);
    /// let mut newer = pool.checkout().await?;
    /// assert_eq!((*newer, pool.status().idle), (2, 1));
    /// Pooled::taint_with_older(&mut newer);
    /// drop(newer);
    /// assert_eq!(pool.status().idle, 0);
    /// # Ok(()) }
    /// ```
    pub fn taint_with_older(guard: &mut Self) {
        guard.0.condemn(CloseReason::Discarded);
        let shared = guard.0.shared();
        shared.retire(shared.info(guard.0.slot()).id);
    }
}

impl<M: Manager> Deref for Pooled<'_, M> {
    type Target = M::Connection;

    #[inline]
    fn deref(&self) -> &M::Connection {
        &self.0.live().connection
    }
}

impl<M: Manager> DerefMut for Pooled<'_, M> {
    #[inline]
    fn deref_mut(&mut self) -> &mut M::Connection {
        &mut self.0.live_mut().connection
    }
}

impl<M: Manager> fmt::Debug for Pooled<'_, M> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt_as("Pooled", &self.0, f)
    }
}

/// A connection checked out of a pool it does not borrow: `'static`, and `Send` if the connection is.
///
/// It may be dropped on any thread, with or without a runtime, during and after its shutdown. It does not keep the
/// pool open: when the last [`Pool`](crate::Pool) has gone, the connection is closed instead of kept.
///
/// # Drop
///
/// As that of [`Pooled`].
///
/// # Examples
///
/// ```
/// # use pool_core::doc::Numbers;
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let pool = pool_core::Pool::builder(Numbers::default()).build()?;
/// let connection = pool.checkout_owned().await?;
/// std::thread::spawn(move || drop(connection)).join().unwrap();
/// assert_eq!(pool.status().idle, 1);
/// # Ok(()) }
/// ```
pub struct OwnedPooled<M: Manager>(Lease<M, Arc<Shared<M>>>);

impl<M: Manager> OwnedPooled<M> {
    #[inline]
    pub(crate) fn new(lease: Lease<M, Arc<Shared<M>>>) -> Self {
        Self(lease)
    }

    /// Has the connection closed instead of kept when the guard is dropped.
    ///
    /// # Examples
    ///
    /// ```
    /// # use pool_core::doc::Numbers;
    /// # use pool_core::{OwnedPooled, Pool};
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let pool = Pool::builder(Numbers::default()).build()?;
    /// let mut guard = pool.checkout_owned().await?;
    /// OwnedPooled::taint(&mut guard);
    /// drop(guard);
    /// assert_eq!(pool.status().idle, 0);
    /// # Ok(()) }
    /// ```
    pub fn taint(guard: &mut Self) {
        guard.0.condemn(CloseReason::Discarded);
    }

    /// Closes the connection now.
    ///
    /// # Examples
    ///
    /// ```
    /// # use pool_core::doc::Numbers;
    /// # use pool_core::{OwnedPooled, Pool};
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let pool = Pool::builder(Numbers::default()).build()?;
    /// let guard = pool.checkout_owned().await?;
    /// OwnedPooled::discard(guard);
    /// assert_eq!(pool.status().size(), 0);
    /// # Ok(()) }
    /// ```
    pub fn discard(mut guard: Self) {
        guard.0.condemn(CloseReason::Discarded);
    }

    /// Takes the connection out of the pool for good; its slot is free at once.
    ///
    /// # Examples
    ///
    /// ```
    /// # use pool_core::doc::Numbers;
    /// # use pool_core::{OwnedPooled, Pool};
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let pool = Pool::builder(Numbers::default()).build()?;
    /// let guard = pool.checkout_owned().await?;
    /// let number: u32 = OwnedPooled::detach(guard);
    /// assert_eq!((number, pool.status().size()), (1, 0));
    /// # Ok(()) }
    /// ```
    #[must_use = "the connection is the caller's now"]
    pub fn detach(guard: Self) -> M::Connection {
        guard.0.detach()
    }

    /// Closes this connection and dials another in its place, one that nobody has used.
    ///
    /// The slot stays the caller's, so he waits neither for others nor for the end of a pause; only for the close
    /// ([`Config::close_timeout`](crate::Config::close_timeout)) and the dial
    /// ([`Config::connect_timeout`](crate::Config::connect_timeout)), which is tried once. It begins with the call.
    ///
    /// # Errors
    ///
    /// [`CheckoutError::Connect`] if the dial fails, [`CheckoutError::Closed`] if the pool is closed meanwhile; the slot is
    /// free then.
    ///
    /// # Cancellation
    ///
    /// May be dropped at any time: the dial goes on, and its connection goes to whoever waits or lies idle.
    ///
    /// # Examples
    ///
    /// ```
    /// # use pool_core::doc::Numbers;
    /// # use pool_core::{OwnedPooled, Pool};
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let pool = Pool::builder(Numbers::default()).max_size(1).build()?;
    /// drop(pool.checkout().await?);
    /// let used = pool.checkout_owned().await?;
    /// assert!(OwnedPooled::info(&used).is_reused());
    /// let fresh = OwnedPooled::renew(used).await?;
    /// assert!(!OwnedPooled::info(&fresh).is_reused());
    /// # Ok(()) }
    /// ```
    #[track_caller]
    pub fn renew(
        guard: Self,
    ) -> impl Future<Output = Result<Self, CheckoutError<M::Error>>> + Send {
        let place = Location::caller();
        let begun = guard.0.shared().clock.coarse();
        let outcome = tasks::renew::spawn(guard.0);
        async move {
            let mut lease = outcome.await.unwrap_or(Err(CheckoutError::Closed))?;
            lease.receive();
            lease.announce(begun, place);
            Ok(Self(lease))
        }
    }

    /// What the pool knows of this connection; takes the pool's lock for a moment.
    ///
    /// # Examples
    ///
    /// ```
    /// # use pool_core::doc::Numbers;
    /// # use pool_core::{OwnedPooled, Pool};
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let pool = Pool::builder(Numbers::default()).build()?;
    /// let guard = pool.checkout_owned().await?;
    /// assert_eq!(OwnedPooled::info(&guard).uses, 1);
    /// # Ok(()) }
    /// ```
    #[must_use]
    pub fn info(guard: &Self) -> ConnectionInfo {
        guard.0.info()
    }

    /// Why the connection would be closed instead of kept if it came home now; takes the pool's lock for a moment.
    ///
    /// For whoever holds one for long, such as a pool of streams over it: its lifetime may be over, it may have been
    /// retired, the pool may have become smaller or be closed.
    ///
    /// # Examples
    ///
    /// ```
    /// # use pool_core::doc::Numbers;
    /// # use pool_core::{CloseReason, OwnedPooled, Pool};
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let pool = Pool::builder(Numbers::default()).build()?;
    /// let guard = pool.checkout_owned().await?;
    /// assert_eq!(OwnedPooled::is_due(&guard), None);
    /// pool.retire_all();
    /// assert_eq!(OwnedPooled::is_due(&guard), Some(CloseReason::Retired));
    /// # Ok(()) }
    /// ```
    #[must_use]
    pub fn is_due(guard: &Self) -> Option<CloseReason> {
        guard.0.due()
    }

    /// Closes this connection when the guard is dropped, and retires all that are older: what ails this one ails them.
    ///
    /// # Examples
    ///
    /// ```
    /// # use pool_core::doc::Numbers;
    /// # use pool_core::{OwnedPooled, Pool};
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let pool = Pool::builder(Numbers::default()).build()?;
    /// # let (older, _newer) = (pool.checkout().await?, pool.checkout().await?);
    /// drop(older);
    /// # drop(_newer);
    /// let mut newer = pool.checkout_owned().await?;
    /// assert_eq!((*newer, pool.status().idle), (2, 1));
    /// OwnedPooled::taint_with_older(&mut newer);
    /// drop(newer);
    /// assert_eq!(pool.status().idle, 0);
    /// # Ok(()) }
    /// ```
    pub fn taint_with_older(guard: &mut Self) {
        guard.0.condemn(CloseReason::Discarded);
        let shared = guard.0.shared();
        shared.retire(shared.info(guard.0.slot()).id);
    }

    pub(crate) fn lease(guard: &Self) -> &Lease<M, Arc<Shared<M>>> {
        &guard.0
    }

    /// Drops the guard as if nobody panicked.
    pub(crate) fn give_back(guard: Self) {
        guard.0.give_back();
    }

    /// Has the connection closed, and says why.
    pub(crate) fn give_up(mut guard: Self, reason: CloseReason) {
        guard.0.condemn(reason);
    }
}

impl<M: Manager> Deref for OwnedPooled<M> {
    type Target = M::Connection;

    #[inline]
    fn deref(&self) -> &M::Connection {
        &self.0.live().connection
    }
}

impl<M: Manager> DerefMut for OwnedPooled<M> {
    #[inline]
    fn deref_mut(&mut self) -> &mut M::Connection {
        &mut self.0.live_mut().connection
    }
}

impl<M: Manager> fmt::Debug for OwnedPooled<M> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt_as("OwnedPooled", &self.0, f)
    }
}

fn fmt_as<M: Manager, H: Borrow<Arc<Shared<M>>>>(
    name: &str,
    lease: &Lease<M, H>,
    f: &mut fmt::Formatter<'_>,
) -> fmt::Result {
    f.debug_struct(name)
        .field("info", &lease.info())
        .field("tainted", &lease.is_condemned())
        .finish_non_exhaustive()
}
