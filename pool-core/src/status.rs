//! What a pool looks like at one instant, and what it has done so far.

use std::fmt;
use std::num::NonZeroUsize;

use crate::config::MOST_SLOTS;
use crate::reason::CloseReason;
use crate::state::Totals;

/// One snapshot, taken under the lock, whose numbers add up: `idle + in_use + connecting + closing = size()`.
///
/// # Examples
///
/// ```
/// # use pool_core::doc::Numbers;
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let pool = pool_core::Pool::builder(Numbers::default()).max_size(4).build()?;
/// let guard = pool.checkout().await?;
/// assert_eq!(
///     pool.status().to_string(),
///     "1 of 4 in use, 0 idle, 0 connecting, 0 waiting",
/// );
/// # Ok(()) }
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Status {
    /// The most connections the pool may have, as it was built or last resized.
    pub max_size: usize,
    /// Connections ready to be checked out.
    pub idle: usize,
    /// Connections out of the idle set: with a caller, on their way to one, or being reset or checked.
    pub in_use: usize,
    /// Dials under way.
    pub connecting: usize,
    /// Connections given up whose socket is not closed yet.
    pub closing: usize,
    /// Callers in the queue.
    pub waiting: usize,
    /// Whether [`Pool::pause`](crate::Pool::pause) was called and [`Pool::resume`](crate::Pool::resume) not yet.
    pub is_paused: bool,
    /// Whether [`Pool::close`](crate::Pool::close) was called, the last handle dropped or the runtime shut down.
    pub is_closed: bool,
    /// For a key's pool in a [`KeyedPool`](crate::KeyedPool): what limits all keys together.
    pub total: Option<KeyedTotal>,
}

/// What limits all keys together, as the [`Status`] of one of them tells it.
///
/// # Examples
///
/// ```
/// # use pool_core::doc::Numbers;
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let pool = pool_core::KeyedPool::builder(|_: &&str| Numbers::default()).build()?;
/// let guards = (pool.checkout(&"one.example").await?, pool.checkout(&"two.example").await?);
/// let total = pool.status_of(&"one.example").and_then(|status| status.total);
/// assert_eq!(total.unwrap().to_string(), "2 of 100 over all keys");
/// # Ok(()) }
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct KeyedTotal {
    size: usize,
    // Never zero, which keeps the errors that carry a status small.
    max: NonZeroUsize,
}

impl KeyedTotal {
    pub(crate) fn new(size: usize, max: NonZeroUsize) -> Self {
        Self { size, max }
    }

    /// Connections of all keys: idle, in use, connecting and closing.
    ///
    /// # Examples
    ///
    /// ```
    /// # use pool_core::doc::Numbers;
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let pool = pool_core::KeyedPool::builder(|_: &&str| Numbers::default()).build()?;
    /// let guards = (pool.checkout(&"one.example").await?, pool.checkout(&"two.example").await?);
    /// let status = pool.status_of(&"one.example").unwrap();
    /// assert_eq!((status.size(), status.total.unwrap().size()), (1, 2));
    /// # Ok(()) }
    /// ```
    #[must_use]
    pub fn size(&self) -> usize {
        self.size
    }

    /// The most there may be.
    ///
    /// # Examples
    ///
    /// ```
    /// # use pool_core::doc::Numbers;
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let pool = pool_core::KeyedPool::builder(|_: &&str| Numbers::default()).build()?;
    /// let connection = pool.checkout(&"one.example").await?;
    /// let status = pool.status_of(&"one.example").unwrap();
    /// assert_eq!((status.max_size, status.total.unwrap().max()), (10, 100));
    /// # Ok(()) }
    /// ```
    #[must_use]
    pub fn max(&self) -> usize {
        self.max.get()
    }
}

impl Status {
    /// All slots that are taken: `idle + in_use + connecting + closing`, never above `max_size`; in a pool that was
    /// made smaller, as soon as what is too many has come home and is closed.
    ///
    /// # Examples
    ///
    /// ```
    /// assert_eq!(pool_core::Status::default().size(), 0);
    /// ```
    #[must_use]
    pub fn size(&self) -> usize {
        self.idle + self.in_use + self.connecting + self.closing
    }
}

impl fmt::Display for Status {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            max_size,
            idle,
            in_use,
            connecting,
            closing,
            waiting,
            is_paused,
            is_closed,
            total,
        } = self;
        match *max_size {
            MOST_SLOTS.. => write!(f, "{in_use} in use, ")?,
            max_size => write!(f, "{in_use} of {max_size} in use, ")?,
        }
        write!(f, "{idle} idle, {connecting} connecting, ")?;
        if *closing > 0 {
            write!(f, "{closing} closing, ")?;
        }
        write!(f, "{waiting} waiting")?;
        if *is_paused {
            write!(f, ", paused")?;
        }
        if *is_closed {
            write!(f, ", closed")?;
        }
        if let Some(total) = total {
            write!(f, "; {total}")?;
        }
        Ok(())
    }
}

impl fmt::Display for KeyedTotal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} of {} over all keys", self.size, self.max)
    }
}

/// What a pool has done since it was built, with its [`Status`] at the same instant.
///
/// The numbers add up: every connection made is idle, in use, given up for some reason or detached:
/// `connected = status.idle + status.in_use + closed() + detached`.
///
/// # Examples
///
/// ```
/// # use pool_core::doc::Numbers;
/// use pool_core::{CloseReason, Pool, Pooled};
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let pool = Pool::builder(Numbers::default()).build()?;
/// drop(pool.checkout().await?);
/// Pooled::discard(pool.checkout().await?);
/// let metrics = pool.metrics();
/// assert_eq!((metrics.connected, metrics.checkouts), (1, 2));
/// assert_eq!(metrics.closed_for(CloseReason::Discarded), 1);
/// # Ok(()) }
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Metrics {
    /// Connections made or added.
    pub connected: u64,
    /// Dials that failed.
    pub connect_failures: u64,
    /// Connections handed to callers.
    pub checkouts: u64,
    /// Callers who had to wait, whatever came of it.
    pub waited: u64,
    /// Checkouts that ran into their deadline.
    pub timed_out: u64,
    /// Callers who left while they waited.
    pub cancelled: u64,
    /// Checkouts that were refused because too many waited.
    pub refused: u64,
    /// Connections that callers took for good.
    pub detached: u64,
    /// The numbers now.
    pub status: Status,
    closed: [u64; CloseReason::ALL.len()],
}

impl Metrics {
    pub(crate) fn new(totals: Totals, status: Status) -> Self {
        Self {
            connected: totals.connected,
            connect_failures: totals.connect_failures,
            checkouts: totals.checkouts,
            waited: totals.waited,
            timed_out: totals.timed_out,
            cancelled: totals.cancelled,
            refused: totals.refused,
            detached: totals.detached,
            status,
            closed: totals.closed,
        }
    }

    /// Connections given up for this reason.
    ///
    /// # Examples
    ///
    /// See [`Metrics`].
    #[must_use]
    pub fn closed_for(&self, reason: CloseReason) -> u64 {
        self.closed[reason as usize]
    }

    /// Connections given up, whatever the reason.
    ///
    /// # Examples
    ///
    /// ```
    /// # use pool_core::doc::Numbers;
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// let pool = pool_core::Pool::builder(Numbers::default()).build()?;
    /// drop(pool.checkout().await?);
    /// assert_eq!(pool.metrics().closed(), 0);
    /// pool.close();
    /// assert_eq!(pool.metrics().closed(), 1);
    /// # Ok(()) }
    /// ```
    #[must_use]
    pub fn closed(&self) -> u64 {
        self.closed.iter().sum()
    }
}
