//! The guards: a connection out of the pool, which finds its way home when dropped.

use std::borrow::Borrow;
use std::fmt;
use std::ops::{Deref, DerefMut};
use std::sync::Arc;
use std::time::Duration;

use crate::manager::{Manager, Recycle};
use crate::shared::Shared;
use crate::state::{Effects, SlotId};
use crate::tasks;
use crate::watch::Live;

/// A connection out of its pool and what is to become of it: the engine of both guards and of every task that holds a
/// connection. `H` is how it holds the pool.
///
/// The connection stays where it is while it is looked at, and is moved once each way: a move costs more than the look.
pub(crate) struct Lease<M: Manager, H: Borrow<Arc<Shared<M>>>> {
    home: H,
    /// Gone once the connection took another way than `Drop`.
    live: Option<Live<M::Connection>>,
    slot: SlotId,
    reusable: bool,
}

impl<M: Manager, H: Borrow<Arc<Shared<M>>>> Lease<M, H> {
    /// Not reusable until somebody says so: whatever happens before that costs the connection.
    #[inline]
    pub(crate) fn unjudged(home: H, slot: SlotId, live: Live<M::Connection>) -> Self {
        Self {
            home,
            live: Some(live),
            slot,
            reusable: false,
        }
    }

    /// Looks at a connection that is to be handed out.
    #[inline]
    pub(crate) fn vet(&mut self) -> bool {
        let live = self.live.as_mut().expect(HELD);
        live.unwatch();
        let shared = self.home.borrow();
        if shared.manager.is_dropped(&mut live.connection) {
            shared.note_dropped(self.slot, 1);
            return false;
        }
        self.reusable = true;
        true
    }

    /// Offers the connection to whoever waits, else lets it lie idle under watch; one that was dropped stays here.
    #[inline]
    pub(crate) fn make_available(&mut self) {
        let shared = self.home.borrow();
        let live = self.live.as_mut().expect(HELD);
        if !shared.is_alive(live) {
            return;
        }
        let letter = live.letter();
        let now = shared.clock.coarse();
        let mut state = shared.lock();
        let stirred = shared.has_stirred(live);
        if state.check_in(self.slot, &mut self.live, now) {
            drop(state);
        } else {
            let mut effects = Effects::new();
            state.give_back(self.slot, self.live.take().expect(HELD), now, &mut effects);
            drop(state);
            shared.perform(effects);
        }
        if stirred {
            shared.inbox.tell(letter);
        }
    }

    /// Puts an idle connection that was looked at back to where it was; one that was dropped stays here.
    pub(crate) fn put_back(&mut self) {
        let shared = self.home.borrow();
        let live = self.live.as_mut().expect(HELD);
        if !shared.is_alive(live) {
            return shared.note_dropped(self.slot, 0);
        }
        let letter = live.letter();
        let stirred = shared.update(|state, now, effects| {
            let live = self.live.take().expect(HELD);
            let stirred = shared.has_stirred(&live);
            state.put_back(self.slot, live, now, effects);
            stirred
        });
        if stirred {
            shared.inbox.tell(letter);
        }
    }

    #[inline]
    pub(crate) fn live(&self) -> &Live<M::Connection> {
        self.live.as_ref().expect(HELD)
    }

    #[inline]
    pub(crate) fn live_mut(&mut self) -> &mut Live<M::Connection> {
        self.live.as_mut().expect(HELD)
    }

    pub(crate) fn home(&self) -> &H {
        &self.home
    }

    pub(crate) fn shared(&self) -> &Arc<Shared<M>> {
        self.home.borrow()
    }

    /// What its user is content with.
    #[inline]
    fn come_home(&mut self) {
        let shared = self.home.borrow();
        match shared
            .manager
            .recycle(&mut self.live.as_mut().expect(HELD).connection)
        {
            Recycle::Keep => self.make_available(),
            Recycle::Discard => {}
            Recycle::Reset => {
                let live = self.live.take().expect(HELD);
                tasks::reset::spawn(Lease::unjudged(Arc::clone(shared), self.slot, live));
            }
        }
    }

    #[cold]
    fn give_up(&mut self) {
        if let Some(live) = self.live.take() {
            self.home.borrow().discard(self.slot, live);
        }
    }

    fn detach(mut self) -> M::Connection {
        let live = self.live.take().expect(HELD);
        self.home.borrow().detach(self.slot, live)
    }

    fn info(&self) -> ConnectionInfo {
        let shared = self.home.borrow();
        let info = shared.info(self.slot);
        ConnectionInfo {
            id: info.id,
            age: shared.clock.exact().since(info.born),
            uses: info.uses,
            idle_for: info.idle_for,
        }
    }

    fn fmt_as(&self, name: &str, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct(name)
            .field("info", &self.info())
            .field("tainted", &!self.reusable)
            .finish_non_exhaustive()
    }
}

const HELD: &str = "only what ends the lease takes its connection";

impl<M: Manager, H: Borrow<Arc<Shared<M>>>> Drop for Lease<M, H> {
    #[inline]
    fn drop(&mut self) {
        if self.live.is_none() {
            return;
        }
        // The manager may panic while it judges; what it leaves here is given up then, as is what it does not want.
        let home = HomeComing(self);
        // Whoever panics leaves his connection in the middle of something.
        if home.0.reusable && !std::thread::panicking() {
            home.0.come_home();
        }
    }
}

/// Gives up what did not get home.
struct HomeComing<'a, M: Manager, H: Borrow<Arc<Shared<M>>>>(&'a mut Lease<M, H>);

impl<M: Manager, H: Borrow<Arc<Shared<M>>>> Drop for HomeComing<'_, M, H> {
    #[inline]
    fn drop(&mut self) {
        if self.0.live.is_some() {
            self.0.give_up();
        }
    }
}

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

/// A connection checked out of a borrowed pool.
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
        guard.0.reusable = false;
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
        guard.0.reusable = false;
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
        self.0.fmt_as("Pooled", f)
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
        guard.0.reusable = false;
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
        guard.0.reusable = false;
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
        self.0.fmt_as("OwnedPooled", f)
    }
}
