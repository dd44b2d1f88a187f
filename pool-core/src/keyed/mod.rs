//! A pool for every key, made on demand.

mod builder;
mod checkout;
mod keys;
mod lease;
mod recipe;
mod status;

use std::fmt;
use std::hash::Hash;
use std::panic::Location;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use self::keys::Keys;
use crate::error::{TryCheckoutError, Undrained};
use crate::manager::Manager;
use crate::multiplex::Share;
use crate::pooled::OwnedPooled;
use crate::status::Status;
use crate::tasks;
use crate::try_checkout::try_checkout;

pub use self::builder::KeyedBuilder;
pub use self::checkout::{KeyedCheckout, KeyedCheckoutOwned};
pub use self::lease::KeyedLease;
pub use self::status::KeyedStatus;

/// A pool for every key, such as a host, made when the key is first used, under one total; cheap to clone, and all clones
/// are the same.
///
/// A key that nobody uses leaves nothing behind: when its last connection is closed, nobody waits, and no pause after a
/// failed dial is to be kept, its pool and its manager are dropped. (With a `min_idle` there always is a connection.)
///
/// # The total
///
/// All keys together have at most [`max_total`](KeyedBuilder::max_total) connections: connecting, in use, idle and
/// closing. When there are so many and a caller needs another, the connection that has been idle longest gives way,
/// whosever it is; it is closed first. If none is idle, the next that comes home and is not wanted by its own key does.
///
/// # Fairness
///
/// What room there is goes to the caller who has waited longest, over all keys. A key that may not dial, because it has
/// as many connections as it may, or waits after a failed dial, stands in nobody's way.
///
/// A connection that comes home goes to a caller of its own key rather than being closed for one of another key who has
/// waited longer, since a dial costs more than a checkout. But a key that is always busy must not keep the others out
/// for ever, so such a connection gives way all the same, at most `max_total` times a second: each connection once, on
/// average.
///
/// # Drop
///
/// The last clone to go closes everything, as [`close`](Self::close) does. Guards that are out stay usable.
///
/// # Examples
///
/// ```
/// # use pool_core::doc::Numbers;
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let pool = pool_core::KeyedPool::builder(|_host: &String| Numbers::default())
///     .max_size(2)
///     .max_total(3)
///     .build()?;
/// let (here, there) = ("here.example".to_owned(), "there.example".to_owned());
/// let guards = (pool.checkout(&here).await?, pool.checkout(&here).await?);
/// let other = pool.checkout(&there).await?;
/// assert_eq!(pool.status().to_string(), "3 of 3 in use, 0 idle, 0 connecting, 0 waiting, over 2 keys");
/// drop(guards);
/// // The total is full, so one of those that lie idle gives way.
/// let another = pool.checkout(&there).await?;
/// assert_eq!(pool.status_of(&here).unwrap().idle, 1);
/// # Ok(()) }
/// ```
pub struct KeyedPool<K, M: Manager> {
    keys: Arc<Keys<K, M>>,
}

impl<K, M> KeyedPool<K, M>
where
    K: Hash + Eq + Clone + Send + Sync + 'static,
    M: Manager,
{
    /// Starts to set up a pool; `make` makes the manager of a key.
    ///
    /// It is called in the first checkout of a key, and again in the first one after the key was forgotten, with no lock
    /// held. If it panics, so does the checkout, and nothing is left behind.
    ///
    /// # Examples
    ///
    /// ```
    /// # use pool_core::doc::Numbers;
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() {
    /// let pool = pool_core::KeyedPool::builder(|_port: &u16| Numbers::default()).build().unwrap();
    /// assert!(pool.keys().is_empty());
    /// # }
    /// ```
    pub fn builder(make: impl Fn(&K) -> M + Send + Sync + 'static) -> KeyedBuilder<K, M> {
        KeyedBuilder::new(make)
    }

    /// Takes a connection of this key: an idle one if there is one, else the next that comes home or that a dial brings.
    ///
    /// The guard borrows nothing, as a key may be forgotten while it is out.
    ///
    /// # Errors
    ///
    /// As [`Pool::checkout`](crate::Pool::checkout); the numbers in a timeout are those of the key, with the total beside
    /// them. With [`OnFull::Fail`](crate::OnFull::Fail), [`TooManyWaiters`](crate::CheckoutError::TooManyWaiters) if there is no room.
    ///
    /// # Panics
    ///
    /// If the key's `Hash`, `Eq` or `Clone` does, or what makes its pool, or if that makes no sense; nothing is left
    /// behind then.
    ///
    /// # Cancellation
    ///
    /// May be dropped at any time; see [`KeyedCheckout`].
    ///
    /// # Examples
    ///
    /// ```
    /// # use pool_core::doc::Numbers;
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let pool = pool_core::KeyedPool::builder(|_: &&str| Numbers::default()).build()?;
    /// let connection = pool.checkout(&"one.example").await?;
    /// // Each key has a manager of its own.
    /// assert_eq!((*connection, *pool.checkout(&"two.example").await?), (1, 1));
    /// # Ok(()) }
    /// ```
    #[track_caller]
    pub fn checkout(&self, key: &K) -> KeyedCheckout<'_, K, M> {
        let visit = self.keys.visit(key);
        KeyedCheckout::new(visit, self.keys.limits.on_full, Location::caller())
    }

    /// As [`checkout`](Self::checkout), with a future that borrows nothing.
    ///
    /// # Examples
    ///
    /// ```
    /// # use pool_core::doc::Numbers;
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let pool = pool_core::KeyedPool::builder(|_: &&str| Numbers::default()).build()?;
    /// let checkout = pool.checkout_owned(&"one.example");
    /// assert_eq!(*tokio::spawn(checkout).await??, 1);
    /// # Ok(()) }
    /// ```
    #[track_caller]
    pub fn checkout_owned(&self, key: &K) -> KeyedCheckoutOwned<K, M> {
        let visit = self.keys.visit(key).map(|visit| visit.owned());
        KeyedCheckoutOwned::new(visit, self.keys.limits.on_full, Location::caller())
    }

    /// Takes an idle connection of this key, or nothing; never waits. If nothing is idle a dial is started, if there is
    /// room or room can be made, so that there may be something next time.
    ///
    /// # Errors
    ///
    /// [`TryCheckoutError::Empty`] with the key's numbers, or [`TryCheckoutError::Closed`].
    ///
    /// # Panics
    ///
    /// As [`checkout`](Self::checkout).
    ///
    /// # Examples
    ///
    /// ```
    /// # use pool_core::doc::Numbers;
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let pool = pool_core::KeyedPool::builder(|_: &&str| Numbers::default()).build()?;
    /// assert!(pool.try_checkout(&"one.example").is_err());
    /// drop(pool.checkout(&"one.example").await?);
    /// assert_eq!(*pool.try_checkout(&"one.example")?, 1);
    /// # Ok(()) }
    /// ```
    #[track_caller]
    pub fn try_checkout(&self, key: &K) -> Result<OwnedPooled<M>, TryCheckoutError> {
        let visit = self.keys.visit(key).ok_or(TryCheckoutError::Closed)?;
        let shared = Arc::clone(visit.entry.pool.shared());
        try_checkout(shared, Location::caller()).map(OwnedPooled::new)
    }

    /// Takes a lease on a connection of `key` that several users share, as [`SharedPool::lease`](crate::SharedPool::lease)
    /// does in a pool of its own.
    ///
    /// Every key has a layer of its own, with the defaults of [`SharedPool::new`](crate::SharedPool::new). Leases and
    /// checkouts of the same key draw on the same connections.
    ///
    /// # Fairness
    ///
    /// Those who wait for a lease on the same key are served in the order of their first poll.
    ///
    /// # Errors
    ///
    /// As [`SharedPool::lease`](crate::SharedPool::lease).
    ///
    /// # Cancellation
    ///
    /// May be dropped at any time, and nobody else notices.
    ///
    /// # Examples
    ///
    /// ```
    /// # use pool_core::doc::Multiplexed;
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// let pool = pool_core::KeyedPool::builder(|_host: &&str| Multiplexed::carrying(100)).build()?;
    /// let (_one, _other) = (pool.lease(&"here").await?, pool.lease(&"here").await?);
    /// // Two users, one connection.
    /// assert_eq!(pool.status_of(&"here").unwrap().in_use, 1);
    /// # Ok(()) }
    /// ```
    pub fn lease(&self, key: &K) -> KeyedLease<K, M>
    where
        M: Share,
    {
        KeyedLease::new(self.keys.visit(key).map(|visit| visit.owned()))
    }

    /// All keys together, in numbers that add up.
    ///
    /// Looks at every key there is, one after the other.
    ///
    /// # Examples
    ///
    /// ```
    /// # use pool_core::doc::Numbers;
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let pool = pool_core::KeyedPool::builder(|_: &&str| Numbers::default()).build()?;
    /// let connection = pool.checkout(&"one.example").await?;
    /// assert_eq!((pool.status().keys, pool.status().in_use), (1, 1));
    /// # Ok(()) }
    /// ```
    #[must_use]
    pub fn status(&self) -> KeyedStatus {
        self.keys.status()
    }

    /// The numbers of one key, if there is anything of it.
    ///
    /// # Examples
    ///
    /// ```
    /// # use pool_core::doc::Numbers;
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let pool = pool_core::KeyedPool::builder(|_: &&str| Numbers::default()).build()?;
    /// drop(pool.checkout(&"one.example").await?);
    /// assert_eq!(pool.status_of(&"one.example").unwrap().idle, 1);
    /// assert!(pool.status_of(&"two.example").is_none());
    /// # Ok(()) }
    /// ```
    #[must_use]
    pub fn status_of(&self, key: &K) -> Option<Status> {
        let visit = self.keys.look_up(key)?;
        Some(visit.entry.status())
    }

    /// The keys of which there is anything, in no order.
    ///
    /// # Examples
    ///
    /// ```
    /// # use pool_core::doc::Numbers;
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let pool = pool_core::KeyedPool::builder(|_: &&str| Numbers::default()).build()?;
    /// drop(pool.checkout(&"one.example").await?);
    /// assert_eq!(pool.keys(), ["one.example"]);
    /// pool.clear_idle();
    /// assert!(pool.keys().is_empty());
    /// # Ok(()) }
    /// ```
    #[must_use]
    pub fn keys(&self) -> Vec<K> {
        let visits = self.keys.all();
        visits
            .iter()
            .map(|visit| visit.entry.key().clone())
            .collect()
    }

    /// Closes what is idle now, of every key, and answers how many that were.
    ///
    /// # Examples
    ///
    /// ```
    /// # use pool_core::doc::Numbers;
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let pool = pool_core::KeyedPool::builder(|_: &&str| Numbers::default()).build()?;
    /// drop((pool.checkout(&"one.example").await?, pool.checkout(&"two.example").await?));
    /// assert_eq!(pool.clear_idle(), 2);
    /// # Ok(()) }
    /// ```
    pub fn clear_idle(&self) -> usize {
        let visits = self.keys.all();
        visits
            .iter()
            .map(|visit| visit.entry.pool.clear_idle())
            .sum()
    }

    /// Looks at every idle connection of `key` now, closes those that were dropped, and says how many they were; see
    /// [`Pool::sweep`](crate::Pool::sweep).
    ///
    /// # Examples
    ///
    /// ```
    /// # use pool_core::doc::Numbers;
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let pool = pool_core::KeyedPool::builder(|_host: &&str| Numbers::default()).build()?;
    /// drop(pool.checkout(&"here").await?);
    /// assert_eq!(pool.sweep(&"here"), 0);
    /// # Ok(()) }
    /// ```
    pub fn sweep(&self, key: &K) -> usize {
        let visit = self.keys.look_up(key);
        visit.map_or(0, |visit| visit.entry.pool.sweep())
    }

    /// Replaces every connection of a key, as [`Pool::retire_all`](crate::Pool::retire_all) does; answers whether there is
    /// anything of it.
    ///
    /// # Examples
    ///
    /// ```
    /// # use pool_core::doc::Numbers;
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let pool = pool_core::KeyedPool::builder(|_: &&str| Numbers::default()).build()?;
    /// let first = pool.checkout(&"one.example").await?;
    /// assert!(pool.retire(&"one.example"));
    /// drop(first);
    /// assert!(!pool.retire(&"one.example"));
    /// # Ok(()) }
    /// ```
    pub fn retire(&self, key: &K) -> bool {
        let visit = self.keys.look_up(key);
        if let Some(visit) = &visit {
            visit.entry.pool.retire_all();
        }
        visit.is_some()
    }

    /// Closes the pool of a key: who waits is told, dials are dropped, idle connections closed, and those in use when they
    /// come home. Answers whether there was anything of it.
    ///
    /// The next checkout of the key makes a new pool with a new manager. What is still out of the old one counts in the
    /// total until it is closed, and in [`status`](Self::status), but not against the key's own limit.
    ///
    /// # Examples
    ///
    /// ```
    /// # use pool_core::doc::Numbers;
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let pool = pool_core::KeyedPool::builder(|_: &&str| Numbers::default()).build()?;
    /// let old = pool.checkout(&"one.example").await?;
    /// assert!(pool.remove(&"one.example"));
    /// assert!(pool.keys().is_empty());
    /// assert_eq!(*pool.checkout(&"one.example").await?, 1);
    /// assert_eq!(pool.status().in_use, 1);
    /// # drop(old);
    /// # Ok(()) }
    /// ```
    pub fn remove(&self, key: &K) -> bool {
        self.keys.remove(key)
    }

    /// Closes the pool of every key, for good: who waits is told at once, dials are dropped, idle connections closed, and
    /// those in use when they come home. Legal on any thread, and more than once.
    ///
    /// # Examples
    ///
    /// ```
    /// # use pool_core::doc::Numbers;
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let pool = pool_core::KeyedPool::builder(|_: &&str| Numbers::default()).build()?;
    /// let connection = pool.checkout(&"one.example").await?;
    /// pool.close();
    /// assert!(pool.checkout(&"two.example").await.is_err());
    /// drop(connection);
    /// assert_eq!(pool.status().size(), 0);
    /// # Ok(()) }
    /// ```
    pub fn close(&self) {
        self.keys.close();
    }

    /// Whether there will be no more checkouts.
    ///
    /// # Examples
    ///
    /// ```
    /// # use pool_core::doc::Numbers;
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let pool = pool_core::KeyedPool::builder(|_: &&str| Numbers::default()).build()?;
    /// assert!(!pool.is_closed());
    /// # Ok(()) }
    /// ```
    #[must_use]
    pub fn is_closed(&self) -> bool {
        self.keys.is_closed()
    }

    /// Closes everything, as [`close`](Self::close) does, and waits until every socket is really closed, or for so long at
    /// most.
    ///
    /// Connections that are out are waited for, not taken away.
    ///
    /// # Errors
    ///
    /// [`Undrained`] says how many were not closed, over all keys.
    ///
    /// # Cancellation
    ///
    /// The pool is closed from the first poll on; to drop the future afterwards only ends the waiting.
    ///
    /// # Examples
    ///
    /// ```
    /// # use pool_core::doc::Numbers;
    /// # use std::time::Duration;
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let pool = pool_core::KeyedPool::builder(|_: &&str| Numbers::default()).build()?;
    /// drop(pool.checkout(&"one.example").await?);
    /// pool.drain(Duration::from_secs(5)).await?;
    /// assert_eq!(pool.status().size(), 0);
    /// # Ok(()) }
    /// ```
    pub async fn drain(&self, limit: Duration) -> Result<(), Undrained> {
        self.close();
        let keys = &self.keys;
        let drained = async {
            loop {
                let mut changed = pin!(keys.changed.notified());
                // Before the look: a change between the two must not go unnoticed.
                changed.as_mut().enable();
                if keys.ledger.held() == 0 {
                    return;
                }
                changed.await;
            }
        };
        match tasks::within(&keys.runtime, keys.ledger.clock(), Some(limit), drained).await {
            Some(()) => Ok(()),
            None => Err(Undrained {
                limit,
                status: self.status().as_one(),
            }),
        }
    }
}

impl<K, M: Manager> Clone for KeyedPool<K, M> {
    fn clone(&self) -> Self {
        self.keys.add_handle();
        Self {
            keys: Arc::clone(&self.keys),
        }
    }
}

impl<K, M: Manager> Drop for KeyedPool<K, M> {
    fn drop(&mut self) {
        self.keys.drop_handle();
    }
}

impl<K, M: Manager> fmt::Debug for KeyedPool<K, M> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("KeyedPool")
            .field("status", &self.keys.status())
            .field("limits", &self.keys.limits)
            .finish_non_exhaustive()
    }
}
