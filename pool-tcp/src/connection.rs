//! A stream that remembers whether its user left it in order.

use std::fmt;
use std::io::{self, IoSlice};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use pool_core::{Dropped, Recycle};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use crate::probe::{Liveness, OnReadable, SocketProbe};
use crate::stream::{PoolStream, Socket};

/// What a manager of this crate pools: a stream that knows whether the next user can have it.
///
/// It is not kept after an I/O error, an end of stream its user has read, a shutdown, or a read or a write that was
/// given up while it waited: a request that was cancelled. What it cannot know is where a message of your protocol
/// ends. A user that leaves between two reads of one response, or never asks for it, must
/// [`discard`](pool_core::Pooled::discard) the connection.
///
/// # Examples
///
/// ```
/// use pool_core::Manager;
/// use pool_tcp::TcpManager;
/// use tokio::io::{AsyncReadExt, AsyncWriteExt};
/// use tokio::net::TcpListener;
///
/// # tokio::runtime::Runtime::new().unwrap().block_on(async {
/// let listener = TcpListener::bind("127.0.0.1:0").await?;
/// let manager = TcpManager::new(&listener.local_addr()?.to_string())?;
/// let mut connection = manager.connect().await?;
/// let (mut peer, _) = listener.accept().await?;
///
/// connection.write_all(b"ping").await?;
/// assert!(connection.is_in_order());
///
/// peer.shutdown().await?;
/// assert_eq!(connection.read(&mut [0]).await?, 0);
/// assert!(!connection.is_in_order());
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// # }).unwrap();
/// ```
#[derive(Debug)]
pub struct Connection<IO> {
    io: IO,
    /// An error, the end of the stream, or a shutdown: nothing more can come of it.
    is_over: bool,
    /// The last read waited for bytes and was given up: they would answer the next user.
    is_mid_read: bool,
    /// The last write did not take all it was offered, and nobody has offered the rest.
    is_mid_write: bool,
    /// Nobody has read or written anything yet.
    is_untouched: bool,
    /// The last thing that happened was a write.
    is_answer_due: bool,
}

impl<IO> Connection<IO> {
    pub(crate) fn new(io: IO) -> Self {
        Self {
            io,
            is_over: false,
            is_mid_read: false,
            is_mid_write: false,
            is_untouched: true,
            is_answer_due: false,
        }
    }

    /// Whether its reads and writes ended well. An answer that may still come does not count here; when the connection
    /// comes home it does, see [`TcpManager::one_way`](crate::TcpManager::one_way).
    ///
    /// # Examples
    ///
    /// ```
    /// # use pool_core::Manager;
    /// # use pool_tcp::TcpManager;
    /// # use tokio::io::AsyncWriteExt;
    /// # use tokio::net::TcpListener;
    /// # tokio::runtime::Runtime::new().unwrap().block_on(async {
    /// # let listener = TcpListener::bind("127.0.0.1:0").await?;
    /// # let manager = TcpManager::new(&listener.local_addr()?.to_string())?;
    /// let mut connection = manager.connect().await?;
    /// assert!(connection.is_in_order());
    ///
    /// connection.shutdown().await?;
    /// assert!(!connection.is_in_order());
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// # }).unwrap();
    /// ```
    pub fn is_in_order(&self) -> bool {
        !self.is_over && !self.is_mid_read && !self.is_mid_write
    }

    /// What a manager answers on the way home. Whether the peer has been silent the pool asks next, by
    /// `Manager::poll_dropped`, so it is not asked here too: that would be one system call more for each use.
    /// On the way home; with `one_way`, no write is a question.
    pub(crate) fn recycle(&self, one_way: bool) -> Recycle {
        match self.is_in_order() && (one_way || !self.is_answer_due) {
            true => Recycle::Keep,
            false => Recycle::Discard,
        }
    }

    pub(crate) fn is_untouched(&self) -> bool {
        self.is_untouched
    }

    pub(crate) fn is_over(&self) -> bool {
        self.is_over
    }

    /// The stream inside, for its addresses, its options or its TLS session.
    ///
    /// # Examples
    ///
    /// ```
    /// # use pool_core::Manager;
    /// # use pool_tcp::TcpManager;
    /// # use tokio::net::TcpListener;
    /// # tokio::runtime::Runtime::new().unwrap().block_on(async {
    /// # let listener = TcpListener::bind("127.0.0.1:0").await?;
    /// # let manager = TcpManager::new(&listener.local_addr()?.to_string())?;
    /// let connection = manager.connect().await?;
    /// assert!(connection.get_ref().socket().nodelay()?);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// # }).unwrap();
    /// ```
    pub fn get_ref(&self) -> &IO {
        &self.io
    }

    /// The stream inside, to read and write behind the back of [`is_in_order`](Self::is_in_order).
    ///
    /// # Examples
    ///
    /// ```
    /// # use pool_core::Manager;
    /// # use pool_tcp::TcpManager;
    /// # use tokio::io::AsyncWriteExt;
    /// # use tokio::net::TcpListener;
    /// # tokio::runtime::Runtime::new().unwrap().block_on(async {
    /// # let listener = TcpListener::bind("127.0.0.1:0").await?;
    /// # let manager = TcpManager::new(&listener.local_addr()?.to_string())?;
    /// let mut connection = manager.connect().await?;
    /// connection.get_mut().shutdown().await?;
    /// assert!(connection.is_in_order(), "it was not asked");
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// # }).unwrap();
    /// ```
    pub fn get_mut(&mut self) -> &mut IO {
        &mut self.io
    }

    /// The stream alone.
    ///
    /// # Examples
    ///
    /// ```
    /// # use pool_core::Manager;
    /// # use pool_tcp::{Liveness, TcpManager};
    /// # use tokio::net::TcpListener;
    /// # tokio::runtime::Runtime::new().unwrap().block_on(async {
    /// # let listener = TcpListener::bind("127.0.0.1:0").await?;
    /// # let manager = TcpManager::new(&listener.local_addr()?.to_string())?;
    /// let stream = manager.connect().await?.into_inner();
    /// assert_eq!(stream.liveness(), Liveness::Alive);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// # }).unwrap();
    /// ```
    pub fn into_inner(self) -> IO {
        self.io
    }
}

impl<S: Socket> Connection<PoolStream<S>> {
    /// The stream, for a driver that takes it by value, and a probe that watches it from outside.
    ///
    /// # Examples
    ///
    /// ```
    /// # use pool_core::Manager;
    /// # use pool_tcp::{Liveness, TcpManager};
    /// # use tokio::net::TcpListener;
    /// # tokio::runtime::Runtime::new().unwrap().block_on(async {
    /// # let listener = TcpListener::bind("127.0.0.1:0").await?;
    /// # let manager = TcpManager::new(&listener.local_addr()?.to_string())?;
    /// let (stream, probe) = manager.connect().await?.into_parts();
    /// assert_eq!(probe.liveness(), Liveness::Alive);
    ///
    /// drop(stream);
    /// assert_eq!(probe.liveness(), Liveness::Dropped);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// # }).unwrap();
    /// ```
    pub fn into_parts(self) -> (PoolStream<S>, SocketProbe<S>) {
        let mut stream = self.io;
        let probe = stream.probe();
        (stream, probe)
    }
}

impl<IO: AsyncRead + Unpin> AsyncRead for Connection<IO> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        let had_room = buffer.remaining() > 0;
        let result = Pin::new(&mut self.io).poll_read(cx, buffer);
        self.is_mid_read = result.is_pending();
        let result = ready!(result);
        let is_end = had_room && buffer.filled().len() == before;
        if buffer.filled().len() > before {
            self.is_untouched = false;
            self.is_answer_due = false;
        }
        self.is_over |= result.is_err() || is_end;
        Poll::Ready(result)
    }
}

impl<IO: AsyncWrite + Unpin> Connection<IO> {
    /// A write that is pending or took a part was given up if no write of the rest follows.
    fn wrote(&mut self, offered: usize, result: &Poll<io::Result<usize>>) {
        match result {
            Poll::Pending => self.is_mid_write = true,
            Poll::Ready(Ok(taken)) => {
                self.is_mid_write = *taken < offered;
                if *taken > 0 {
                    self.is_untouched = false;
                    self.is_answer_due = true;
                }
            }
            Poll::Ready(Err(_)) => self.is_over = true,
        }
    }
}

impl<IO: AsyncWrite + Unpin> AsyncWrite for Connection<IO> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let result = Pin::new(&mut self.io).poll_write(cx, bytes);
        self.wrote(bytes.len(), &result);
        result
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let result = Pin::new(&mut self.io).poll_write_vectored(cx, slices);
        self.wrote(slices.iter().map(|slice| slice.len()).sum(), &result);
        result
    }

    fn is_write_vectored(&self) -> bool {
        self.io.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let result = ready!(Pin::new(&mut self.io).poll_flush(cx));
        self.is_over |= result.is_err();
        Poll::Ready(result)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.is_over = true;
        Pin::new(&mut self.io).poll_shutdown(cx)
    }
}

/// Reads the bytes that came unasked and says whether the connection is still good.
type Reader<S> = dyn Fn(&mut Connection<PoolStream<S>>) -> bool + Send + Sync;

/// Judges plain connections, for the managers: what the probe found, under the user's rule for unread bytes.
pub(crate) struct Judge<S: Socket> {
    pub(crate) on_readable: OnReadable,
    /// Bytes on a connection that nobody has used are a greeting.
    pub(crate) speaks_first: bool,
    /// Users send and expect no answer.
    pub(crate) one_way: bool,
    reader: Option<Arc<Reader<S>>>,
}

impl<S: Socket> Judge<S> {
    pub(crate) fn recheck(
        &mut self,
        reader: impl Fn(&mut Connection<PoolStream<S>>) -> bool + Send + Sync + 'static,
    ) {
        self.on_readable = OnReadable::Recheck;
        self.reader = Some(Arc::new(reader));
    }

    pub(crate) fn dropped(&self, connection: &mut Connection<PoolStream<S>>) -> Option<Dropped> {
        if connection.is_over() {
            return Some(Dropped::Closed);
        }
        match connection.io.liveness() {
            Liveness::Alive => None,
            Liveness::Dropped => Some(Dropped::Closed),
            Liveness::Readable => self.judge_unread(connection),
        }
    }

    pub(crate) fn poll_dropped(
        &self,
        connection: &mut Connection<PoolStream<S>>,
        cx: &mut Context<'_>,
    ) -> Poll<Dropped> {
        let meaning = self.meaning(connection);
        loop {
            let dropped = match ready!(connection.io.poll_dropped(cx, meaning)) {
                Dropped::Closed => Some(Dropped::Closed),
                Dropped::Dirty => self.judge_unread(connection),
            };
            if let Some(dropped) = dropped {
                return Poll::Ready(dropped);
            }
        }
    }

    /// What unread bytes mean on this connection.
    fn meaning(&self, connection: &Connection<PoolStream<S>>) -> OnReadable {
        match self.speaks_first && connection.is_untouched() {
            true => OnReadable::Ignore,
            false => self.on_readable,
        }
    }

    fn judge_unread(&self, connection: &mut Connection<PoolStream<S>>) -> Option<Dropped> {
        match (self.meaning(connection), &self.reader) {
            (OnReadable::Ignore, _) => None,
            (OnReadable::Recheck, Some(reader)) if reader(connection) => {
                match connection.io.liveness() {
                    Liveness::Alive => None,
                    Liveness::Dropped => Some(Dropped::Closed),
                    Liveness::Readable => Some(Dropped::Dirty),
                }
            }
            _ => Some(Dropped::Dirty),
        }
    }
}

impl<S: Socket> Default for Judge<S> {
    fn default() -> Self {
        Self {
            on_readable: OnReadable::default(),
            speaks_first: false,
            one_way: false,
            reader: None,
        }
    }
}

impl<S: Socket> Clone for Judge<S> {
    fn clone(&self) -> Self {
        Self {
            on_readable: self.on_readable,
            speaks_first: self.speaks_first,
            one_way: self.one_way,
            reader: self.reader.clone(),
        }
    }
}

impl<S: Socket> fmt::Debug for Judge<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.on_readable.fmt(f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::task::Waker;
    use tokio::io::{AsyncReadExt, AsyncWriteExt, duplex};

    #[tokio::test]
    async fn reads_and_writes_that_end_well_leave_it_in_order() {
        let (ours, mut peer) = duplex(64);
        let mut connection = Connection::new(ours);
        connection.write_all(b"ping").await.unwrap();
        connection.flush().await.unwrap();
        peer.write_all(b"pong").await.unwrap();
        assert_eq!(connection.read(&mut [0; 4]).await.unwrap(), 4);
        assert_eq!(
            connection.read(&mut []).await.unwrap(),
            0,
            "not the end: no room"
        );
        assert!(connection.is_in_order());
    }

    #[tokio::test]
    async fn the_end_of_the_stream_is_the_end_of_the_connection() {
        let (ours, peer) = duplex(64);
        let mut connection = Connection::new(ours);
        drop(peer);
        assert_eq!(connection.read(&mut [0]).await.unwrap(), 0);
        assert!(!connection.is_in_order());
    }

    #[tokio::test]
    async fn an_error_is_the_end_of_the_connection() {
        let (ours, peer) = duplex(64);
        let mut connection = Connection::new(ours);
        drop(peer);
        connection.write_all(b"?").await.unwrap_err();
        assert!(!connection.is_in_order());
    }

    #[tokio::test]
    async fn a_read_given_up_while_it_waits_leaves_it_out_of_order() {
        let (ours, mut peer) = duplex(64);
        let mut connection = Connection::new(ours);
        let mut answer = [0; 4];
        {
            let mut read = Box::pin(connection.read_exact(&mut answer));
            assert!(
                read.as_mut()
                    .poll(&mut Context::from_waker(Waker::noop()))
                    .is_pending()
            );
        }
        assert!(!connection.is_in_order());

        // Whoever was waiting may still take it.
        peer.write_all(b"pong").await.unwrap();
        connection.read_exact(&mut answer).await.unwrap();
        assert!(connection.is_in_order());
    }

    #[tokio::test]
    async fn a_write_given_up_half_way_leaves_it_out_of_order() {
        let (ours, mut peer) = duplex(4);
        let mut connection = Connection::new(ours);
        {
            let mut write = Box::pin(connection.write_all(b"12345678"));
            assert!(
                write
                    .as_mut()
                    .poll(&mut Context::from_waker(Waker::noop()))
                    .is_pending()
            );
        }
        assert!(!connection.is_in_order());

        // The one who was offering it may still finish.
        assert_eq!(peer.read(&mut [0; 4]).await.unwrap(), 4);
        connection.write_all(b"5678").await.unwrap();
        assert!(connection.is_in_order());
    }

    #[tokio::test]
    async fn a_write_given_up_before_its_first_byte_leaves_it_out_of_order() {
        let (ours, _peer) = duplex(4);
        let mut connection = Connection::new(ours);
        // The head of a message, whose body then finds no room.
        connection.write_all(b"head").await.unwrap();
        assert!(connection.is_in_order());
        {
            let mut write = Box::pin(connection.write_all(b"body"));
            assert!(
                write
                    .as_mut()
                    .poll(&mut Context::from_waker(Waker::noop()))
                    .is_pending()
            );
        }
        assert!(!connection.is_in_order());
    }

    #[tokio::test]
    async fn a_vectored_write_given_up_half_way_leaves_it_out_of_order() {
        let (ours, _peer) = duplex(4);
        let mut connection = Connection::new(ours);
        let slices = [IoSlice::new(b"123"), IoSlice::new(b"456")];
        let taken = connection.write_vectored(&slices).await.unwrap();
        assert_eq!(taken, 4, "a part");
        assert!(!connection.is_in_order());
    }
}
