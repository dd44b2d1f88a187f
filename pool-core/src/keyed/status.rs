//! What all keys look like together.

use std::fmt;

use crate::state::Counts;
use crate::status::Status;

/// One snapshot of all keys together, whose numbers add up: `idle + in_use + connecting + closing = size()`.
///
/// The keys are read one after the other, but no dial begins meanwhile, so that no connection is counted twice and
/// `size()` is never above what it was at the beginning.
///
/// # Examples
///
/// ```
/// # use pool_core::doc::Numbers;
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let pool = pool_core::KeyedPool::builder(|_: &&str| Numbers::default()).build()?;
/// let guards = (pool.checkout(&"one.example").await?, pool.checkout(&"two.example").await?);
/// assert_eq!(
///     pool.status().to_string(),
///     "2 of 100 in use, 0 idle, 0 connecting, 0 waiting, over 2 keys",
/// );
/// # Ok(()) }
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct KeyedStatus {
    /// The most connections all keys together may have.
    pub max_total: Option<usize>,
    /// Keys there are: those with a connection, a caller, a pause after a failed dial, or a `min_idle`.
    pub keys: usize,
    /// Connections ready to be checked out.
    pub idle: usize,
    /// Connections out of the idle set.
    pub in_use: usize,
    /// Dials under way.
    pub connecting: usize,
    /// Connections given up whose socket is not closed yet.
    pub closing: usize,
    /// Callers in the queues, for a connection or for a [lease](crate::KeyedPool::lease). What is opened for them is no
    /// further caller.
    pub waiting: usize,
    /// Whether [`KeyedPool::close`](crate::KeyedPool::close) was called, the last handle dropped or the runtime shut down.
    pub is_closed: bool,
}

impl KeyedStatus {
    pub(super) fn new(max_total: Option<usize>) -> Self {
        Self {
            max_total,
            ..Self::default()
        }
    }

    pub(super) fn add(&mut self, counts: Counts) {
        self.idle += counts.idle;
        self.in_use += counts.in_use;
        self.connecting += counts.connecting;
        self.closing += counts.closing;
        self.waiting += counts.waiting;
    }

    /// All slots that are taken: `idle + in_use + connecting + closing`, never above `max_total`, unless
    /// [`OnFull::Overflow`](crate::OnFull::Overflow) was chosen.
    ///
    /// # Examples
    ///
    /// ```
    /// assert_eq!(pool_core::KeyedStatus::default().size(), 0);
    /// ```
    #[must_use]
    pub fn size(&self) -> usize {
        self.idle + self.in_use + self.connecting + self.closing
    }

    /// The same as if it were one pool.
    pub(super) fn as_one(&self) -> Status {
        Status {
            max_size: self.max_total.unwrap_or(usize::MAX),
            idle: self.idle,
            in_use: self.in_use,
            connecting: self.connecting,
            closing: self.closing,
            waiting: self.waiting,
            is_closed: self.is_closed,
            ..Status::default()
        }
    }
}

impl fmt::Display for KeyedStatus {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let keys = if self.keys == 1 { "key" } else { "keys" };
        write!(f, "{}, over {} {keys}", self.as_one(), self.keys)
    }
}
