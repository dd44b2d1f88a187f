//! What a manager adds so that its connections can be shared.

use crate::manager::Manager;
use crate::multiplex::Capacity;

/// A [`Manager`] whose connections carry several users at once: the streams of HTTP/2, the pipeline of Redis.
///
/// The layer calls both methods with no lock held.
///
/// Nobody probes a connection while it is shared, as others use it. Whoever drives it must therefore call
/// [`Capacity::drain`] when it ends or is told to go away; and whoever sees an error that is the whole connection's
/// calls [`Leased::retire`](crate::Leased::retire).
///
/// # Examples
///
/// ```
/// use pool_core::{Capacity, Manager, Pool, Share, SharedPool};
///
/// /// A sender, whose clones are one connection, and what its driver says that it carries.
/// struct Line {
///     sender: tokio::sync::mpsc::UnboundedSender<String>,
///     capacity: Capacity,
/// }
///
/// struct Lines;
///
/// impl Manager for Lines {
///     type Connection = Line;
///     type Error = std::convert::Infallible;
///
///     async fn connect(&self) -> Result<Line, Self::Error> {
///         let (sender, mut receiver) = tokio::sync::mpsc::unbounded_channel();
///         let capacity = Capacity::new(100);
///         let publisher = capacity.clone();
///         tokio::spawn(async move {
///             while receiver.recv().await.is_some_and(|line| line != "go away") {}
///             publisher.drain();
///         });
///         Ok(Line { sender, capacity })
///     }
///
///     fn is_dropped(&self, line: &mut Line) -> bool {
///         line.sender.is_closed()
///     }
/// }
///
/// impl Share for Lines {
///     type Handle = tokio::sync::mpsc::UnboundedSender<String>;
///
///     fn share(&self, line: &Line) -> Self::Handle {
///         line.sender.clone()
///     }
///
///     fn capacity<'c>(&self, line: &'c Line) -> &'c Capacity {
///         &line.capacity
///     }
/// }
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let pool = SharedPool::new(Pool::builder(Lines).build()?);
/// let (one, other) = (pool.lease().await?, pool.lease().await?);
/// one.send("hello".to_owned())?;
/// other.send("world".to_owned())?;
/// // Two users, one connection.
/// assert_eq!(pool.status().connections.size(), 1);
/// # Ok(()) }
/// ```
pub trait Share: Manager<Connection: Sync> {
    /// What one user gets, usually a clone of a sender; dropped before its place is another's.
    type Handle: Send + 'static;

    /// Lets one more user in.
    ///
    /// Called in the poll of the caller whom it is for. A panic is his; it retires the connection, and costs nobody
    /// else anything.
    fn share(&self, connection: &Self::Connection) -> Self::Handle;

    /// Where the connection publishes how many users it carries; always the same cell for the same connection.
    ///
    /// Asked whenever the connection is taken out of the pool.
    fn capacity<'c>(&self, connection: &'c Self::Connection) -> &'c Capacity;
}
