//! What a pool looks like at one instant.

use std::fmt;

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
    /// The most connections the pool may have.
    pub max_size: usize,
    /// Connections ready to be checked out.
    pub idle: usize,
    /// Connections out of the idle set: with a caller, on their way to one, or being reset or looked at.
    pub in_use: usize,
    /// Dials under way.
    pub connecting: usize,
    /// Connections given up whose socket is not closed yet.
    pub closing: usize,
    /// Callers in the queue.
    pub waiting: usize,
    /// Whether [`Pool::close`](crate::Pool::close) was called, the last handle dropped or the runtime shut down.
    pub is_closed: bool,
}

impl Status {
    /// All slots that are taken: `idle + in_use + connecting + closing`, never above `max_size`.
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
            is_closed,
        } = self;
        write!(
            f,
            "{in_use} of {max_size} in use, {idle} idle, {connecting} connecting, "
        )?;
        if *closing > 0 {
            write!(f, "{closing} closing, ")?;
        }
        write!(f, "{waiting} waiting")?;
        if *is_closed {
            write!(f, ", closed")?;
        }
        Ok(())
    }
}
