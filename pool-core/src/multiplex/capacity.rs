//! How many users a connection carries, as it says itself.

use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// The cell in which a connection publishes how many leases it carries at once.
///
/// There is one for each connection, which owns it; whoever drives the connection has a clone, the same cell. The layer is told of
/// every change on the spot: callers who wait are served without any other traffic. Legal on any thread, with or
/// without a runtime; not from inside a lock that a waker may want.
///
/// # Examples
///
/// ```
/// use pool_core::Capacity;
///
/// let capacity = Capacity::new(1);
/// // The peer's settings have arrived.
/// capacity.clone().publish(100);
/// assert_eq!(capacity.now(), 100);
/// // It says goodbye.
/// capacity.drain();
/// assert_eq!(capacity.now(), 0);
/// ```
#[derive(Clone)]
pub struct Capacity(Arc<Mutex<Cell>>);

struct Cell {
    leases: usize,
    draining: bool,
    listener: Option<Arc<dyn Listen>>,
}

/// Who is told of a change, outside the lock.
pub(super) trait Listen: Send + Sync {
    fn published(&self, draining: bool);
}

impl Capacity {
    /// A cell that says `leases` until something else is published.
    ///
    /// # Examples
    ///
    /// ```
    /// assert_eq!(pool_core::Capacity::new(3).now(), 3);
    /// ```
    #[must_use]
    pub fn new(leases: usize) -> Self {
        Self(Arc::new(Mutex::new(Cell {
            leases,
            draining: false,
            listener: None,
        })))
    }

    /// Says how many leases the connection carries from now on. Fewer than there are takes none away: no further one
    /// is given until enough have come home. Zero is a number like any other. To publish the same again costs nothing.
    ///
    /// # Examples
    ///
    /// ```
    /// use pool_core::Capacity;
    ///
    /// let capacity = Capacity::new(3);
    /// capacity.publish(0);
    /// assert_eq!(capacity.now(), 0);
    /// assert!(!capacity.is_draining());
    /// ```
    pub fn publish(&self, leases: usize) {
        self.change(|cell| std::mem::replace(&mut cell.leases, leases) != leases);
    }

    /// Says that the connection takes no lease any more. It is closed when the last one is home; one that lies idle,
    /// at once. There is no way back.
    ///
    /// # Examples
    ///
    /// ```
    /// use pool_core::Capacity;
    ///
    /// let capacity = Capacity::new(3);
    /// capacity.drain();
    /// capacity.publish(5);
    /// assert!(capacity.is_draining());
    /// ```
    pub fn drain(&self) {
        self.change(|cell| !std::mem::replace(&mut cell.draining, true));
    }

    /// How many leases the connection carries; none while it drains.
    ///
    /// # Examples
    ///
    /// ```
    /// assert_eq!(pool_core::Capacity::new(7).now(), 7);
    /// ```
    #[must_use]
    pub fn now(&self) -> usize {
        self.read().unwrap_or(0)
    }

    /// Whether [`drain`](Self::drain) was called.
    ///
    /// # Examples
    ///
    /// ```
    /// assert!(!pool_core::Capacity::new(0).is_draining());
    /// ```
    #[must_use]
    pub fn is_draining(&self) -> bool {
        self.read().is_none()
    }

    /// As the layer reads it: `None` if it admits no lease any more.
    pub(super) fn read(&self) -> Option<usize> {
        let cell = self.lock();
        (!cell.draining).then_some(cell.leases)
    }

    /// Tells `listener`, and nobody else, of all that is published from now on.
    pub(super) fn listen(&self, listener: Arc<dyn Listen>) {
        self.lock().listener = Some(listener);
    }

    fn change(&self, change: impl FnOnce(&mut Cell) -> bool) {
        let mut cell = self.lock();
        let listener = change(&mut cell).then(|| cell.listener.clone()).flatten();
        let draining = cell.draining;
        drop(cell);
        if let Some(listener) = listener {
            listener.published(draining);
        }
    }

    fn lock(&self) -> MutexGuard<'_, Cell> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Debug for Capacity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Capacity")
            .field("now", &self.now())
            .field("is_draining", &self.is_draining())
            .finish()
    }
}
