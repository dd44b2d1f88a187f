//! What a scripted manager pools.

use std::fmt;
use std::io;
use std::ops::{Deref, DerefMut};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::peer::{Peer, Wire};

/// A connection made by a [`Scripted`](super::Scripted) manager: a number, and whatever the test wants to carry with it.
///
/// It derefs to what it carries, and reads and writes if that does.
///
/// # Drop
///
/// Closes the connection: its [`Peer`] counts one less.
///
/// # Examples
///
/// ```
/// use pool_core::Pool;
/// use pool_core::testkit::Scripted;
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let pool = Pool::builder(Scripted::new().carry(|_| String::from("fresh"))).build()?;
/// let mut socket = pool.checkout().await?;
/// socket.push_str(", then used");
/// assert_eq!((socket.number(), socket.as_str()), (1, "fresh, then used"));
/// # Ok(()) }
/// ```
pub struct Socket<C = ()> {
    number: usize,
    carried: C,
    panics_when_dropped: bool,
    line: Line,
}

/// Tells the peer when the socket is gone, whatever the destructor of what it carries does.
struct Line {
    number: usize,
    wire: Arc<Wire>,
    peer: Peer,
}

impl<C> Socket<C> {
    /// Dials `peer`; `make` is told the number.
    pub(super) fn dial(peer: &Peer, make: impl FnOnce(usize) -> C) -> Self {
        let (number, wire) = peer.accept();
        let peer = peer.clone();
        let line = Line { number, wire, peer };
        Self {
            number,
            carried: make(number),
            panics_when_dropped: false,
            line,
        }
    }

    /// The how manyth dial brought it, from 1.
    ///
    /// # Examples
    ///
    /// See [`Socket`].
    #[must_use]
    pub fn number(&self) -> usize {
        self.number
    }

    /// Whether the peer has hung up: a client that the socket carries would get an error now.
    ///
    /// # Examples
    ///
    /// ```
    /// # use pool_core::Pool;
    /// # use pool_core::testkit::Scripted;
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// let pool = Pool::builder(Scripted::new()).build()?;
    /// let socket = pool.checkout().await?;
    /// assert!(!socket.is_hung_up());
    /// pool.manager().peer().hang_up(socket.number());
    /// assert!(socket.is_hung_up());
    /// # Ok(()) }
    /// ```
    #[must_use]
    pub fn is_hung_up(&self) -> bool {
        self.line.wire.is_hung_up()
    }

    /// Has the destructor panic; the connection is closed all the same.
    ///
    /// # Examples
    ///
    /// ```
    /// # use pool_core::{Pool, Pooled};
    /// # use pool_core::testkit::Scripted;
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// let pool = Pool::builder(Scripted::new()).build()?;
    /// let mut socket = pool.checkout().await?;
    /// socket.panics_when_dropped(true);
    /// Pooled::discard(socket);
    /// assert_eq!(pool.status().size(), 0, "it costs no slot");
    /// # Ok(()) }
    /// ```
    pub fn panics_when_dropped(&mut self, panics: bool) {
        self.panics_when_dropped = panics;
    }

    pub(super) fn wire(&self) -> &Wire {
        &self.line.wire
    }
}

impl<C> Drop for Socket<C> {
    fn drop(&mut self) {
        if self.panics_when_dropped && !std::thread::panicking() {
            panic!("as told, when dropped");
        }
    }
}

impl Drop for Line {
    fn drop(&mut self) {
        self.peer.closed(self.number);
    }
}

impl<C> Deref for Socket<C> {
    type Target = C;

    fn deref(&self) -> &C {
        &self.carried
    }
}

impl<C> DerefMut for Socket<C> {
    fn deref_mut(&mut self) -> &mut C {
        &mut self.carried
    }
}

impl<C: AsyncRead + Unpin> AsyncRead for Socket<C> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.carried).poll_read(cx, buffer)
    }
}

impl<C: AsyncWrite + Unpin> AsyncWrite for Socket<C> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.carried).poll_write(cx, bytes)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.carried).poll_write_vectored(cx, slices)
    }

    fn is_write_vectored(&self) -> bool {
        self.carried.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.carried).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.carried).poll_shutdown(cx)
    }
}

impl<C> fmt::Debug for Socket<C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Socket")
            .field("number", &self.number)
            .field("is_hung_up", &self.is_hung_up())
            .finish_non_exhaustive()
    }
}
