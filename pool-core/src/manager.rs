//! The contract between the pool and a kind of connection.

use std::error::Error;
use std::future::{Future, ready};
use std::task::{Context, Poll};
use std::time::Duration;

/// Makes, judges, cleans and closes one kind of connection; the only trait an adapter has to implement.
///
/// The pool calls every method with no lock held, so each of them may call back into the pool. A method that
/// panics costs the connection it was given, never the slot. [`Pool`](crate::Pool) bounds every future made here
/// with a limit of its own, see [`Config`](crate::Config).
///
/// # Examples
///
/// ```
/// use pool_core::{Manager, Pool};
///
/// /// Numbers its connections; one with an odd number is born dead.
/// struct Counter(std::sync::atomic::AtomicU32);
///
/// impl Manager for Counter {
///     type Connection = u32;
///     type Error = std::convert::Infallible;
///
///     async fn connect(&self) -> Result<u32, Self::Error> {
///         Ok(self.0.fetch_add(1, std::sync::atomic::Ordering::Relaxed))
///     }
///
///     fn is_dropped(&self, connection: &mut u32) -> bool {
///         *connection % 2 == 1
///     }
/// }
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let pool = Pool::builder(Counter(1.into())).build()?;
/// // Number 1 was dead, so the caller gets number 2.
/// assert_eq!(*pool.checkout().await?, 2);
/// # Ok(()) }
/// ```
pub trait Manager: Send + Sync + 'static {
    /// What is pooled.
    type Connection: Send + 'static;

    /// Why a connection could not be made or cleaned.
    type Error: Error + Send + Sync + 'static;

    /// Dials a new connection.
    ///
    /// Runs in a task of its own on the pool's runtime, never in a caller, and is asked anew for every dial: a
    /// changed address or credential takes effect with the next one.
    ///
    /// # Cancellation
    ///
    /// Dropped after [`Config::connect_timeout`](crate::Config::connect_timeout) and when the pool closes.
    fn connect(&self) -> impl Future<Output = Result<Self::Connection, Self::Error>> + Send;

    /// The synchronous probe: has the peer gone, or sent bytes nobody asked for?
    ///
    /// Asked about every connection immediately before it is handed out, a new one included. It makes no round trip and does not block;
    /// for a socket it is one system call (see `pool_tcp::SocketProbe`), for a driver that reads in the background
    /// a look at its state.
    fn is_dropped(&self, connection: &mut Self::Connection) -> bool;

    /// The event-driven form of [`is_dropped`](Self::is_dropped), by which an idle connection is watched.
    ///
    /// Polled when a connection comes home and, after the waker was called, again while it is idle.
    /// `Poll::Pending` promises that the waker is called once the peer closes or sends anything; `Poll::Ready`
    /// closes the connection at once. The waker is cheap to call and may be called too often or too late: a
    /// connection that has been checked out meanwhile is left alone.
    ///
    /// The default asks [`is_dropped`](Self::is_dropped) and is never woken: such connections are looked at when they
    /// come home and when they are handed out, and reaped by age.
    fn poll_dropped(
        &self,
        connection: &mut Self::Connection,
        cx: &mut Context<'_>,
    ) -> Poll<Dropped> {
        let _ = cx;
        match self.is_dropped(connection) {
            true => Poll::Ready(Dropped::Closed),
            false => Poll::Pending,
        }
    }

    /// Whether the last answer of [`is_dropped`](Self::is_dropped), that the connection is there, was a guess: bytes that may
    /// be legal, or a peer that cannot be asked.
    ///
    /// Only a check that was plugged in with [`Check::at_checkout_if_unsure`](crate::Check::at_checkout_if_unsure) asks. The
    /// default is sure.
    fn is_unsure(&self, connection: &mut Self::Connection) -> bool {
        let _ = connection;
        false
    }

    /// How long this connection may lie idle, if it knows: a deadline it brings along, such as a server's keep-alive hint
    /// (RFC 9112 §9.3, `Keep-Alive: timeout`).
    ///
    /// Asked whenever the connection comes home, and counted from then; [`Config::idle_timeout`](crate::Config::idle_timeout)
    /// and [`Config::max_lifetime`](crate::Config::max_lifetime) hold beside it, and `min_idle` does not keep it longer. The
    /// default knows of no limit.
    fn idle_limit(&self, connection: &Self::Connection) -> Option<Duration> {
        let _ = connection;
        None
    }

    /// The return path: what becomes of a connection that its user gave back.
    ///
    /// Not asked when the user discarded or tainted the connection or dropped it in a panic: that one is closed.
    /// The default keeps it.
    fn recycle(&self, connection: &mut Self::Connection) -> Recycle {
        let _ = connection;
        Recycle::Keep
    }

    /// Cleans a connection for which [`recycle`](Self::recycle) answered [`Recycle::Reset`].
    ///
    /// Runs in a task after check-in, before the connection is offered to anybody. An error, a panic or
    /// [`Config::reset_timeout`](crate::Config::reset_timeout) closes the connection. The default does nothing.
    fn reset(
        &self,
        connection: &mut Self::Connection,
    ) -> impl Future<Output = Result<(), Self::Error>> + Send {
        let _ = connection;
        ready(Ok(()))
    }

    /// Closes a connection; its slot is free once this is done.
    ///
    /// Polled once on the spot, wherever the connection was given up, and in a task if that did not finish it, for
    /// at most [`Config::close_timeout`](crate::Config::close_timeout). Whatever happens, the connection must be
    /// closed when this future is dropped. The default drops the connection.
    fn close(&self, connection: Self::Connection) -> impl Future<Output = ()> + Send {
        drop(connection);
        ready(())
    }

    /// Whether dialling again cannot help, such as after a wrong password.
    ///
    /// Callers are told of a permanent error at once; any other is retried until their deadline, unless
    /// [`OnConnectError::Fail`](crate::OnConnectError::Fail) was chosen. The default calls no error permanent.
    fn is_permanent(&self, error: &Self::Error) -> bool {
        let _ = error;
        false
    }
}

/// What [`Manager::recycle`] decides about a connection that came home.
///
/// # Examples
///
/// ```
/// use pool_core::Recycle;
///
/// let unread_bytes = 3;
/// let decision = if unread_bytes == 0 { Recycle::Keep } else { Recycle::Discard };
/// assert_eq!(decision, Recycle::Discard);
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Recycle {
    /// As good as new: offer it to the next caller.
    Keep,
    /// Not to be used again: close it.
    Discard,
    /// As [`Discard`](Self::Discard), and all connections that are older are retired: what was learned on this one is
    /// true of them too, such as that the server is no longer the primary.
    DiscardWithOlder,
    /// Run [`Manager::reset`] first.
    Reset,
}

/// Why an idle connection is of no use any more.
///
/// # Examples
///
/// ```
/// use pool_core::Dropped;
///
/// assert_ne!(Dropped::Closed, Dropped::Dirty);
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Dropped {
    /// The peer closed or reset it.
    Closed,
    /// The peer sent bytes nobody asked for: they would answer the next user's request.
    Dirty,
}
