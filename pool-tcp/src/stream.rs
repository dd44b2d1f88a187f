//! A socket that can be read, written and watched, by one owner or by an owner and a probe.

use std::fmt::Debug;
use std::io::{self, IoSlice, Read};
use std::net::Shutdown;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, Waker, ready};

use pool_core::Dropped;
use tokio::io::{AsyncRead, AsyncWrite, Interest, ReadBuf};
use tokio::net::TcpStream;
#[cfg(unix)]
use tokio::net::UnixStream;

use crate::bell::Bell;
use crate::probe::{Liveness, OnReadable, SocketProbe, Until, ask_kernel};

/// A byte stream over a socket, as good as the socket itself, that a [`SocketProbe`] can watch.
///
/// It reads and writes like a [`TcpStream`], vectored writes included; `poll_shutdown` sends a FIN. There is no
/// duplicate of the descriptor anywhere: when the stream is dropped the socket is closed.
///
/// # Examples
///
/// ```
/// use pool_tcp::PoolStream;
/// use tokio::io::{AsyncReadExt, AsyncWriteExt};
/// use tokio::net::{TcpListener, TcpStream};
///
/// # tokio::runtime::Runtime::new().unwrap().block_on(async {
/// let listener = TcpListener::bind("127.0.0.1:0").await?;
/// let mut stream = PoolStream::new(TcpStream::connect(listener.local_addr()?).await?);
/// let (mut peer, _) = listener.accept().await?;
///
/// stream.write_all(b"ping").await?;
/// stream.shutdown().await?;
/// let mut heard = String::new();
/// peer.read_to_string(&mut heard).await?;
/// assert_eq!(heard, "ping");
/// # Ok::<(), std::io::Error>(())
/// # }).unwrap();
/// ```
#[derive(Debug)]
pub struct PoolStream<S: Socket = TcpStream> {
    // Dropped before the bell is rung: whoever is woken by it must find the socket gone.
    shared: Arc<Shared<S>>,
    /// There once somebody watches. Without a watcher the owner's waker goes to tokio as it is.
    watched: Option<Watched>,
}

impl<S: Socket> PoolStream<S> {
    /// Wraps a connected socket.
    ///
    /// # Examples
    ///
    /// ```
    /// use pool_tcp::PoolStream;
    /// use tokio::net::{TcpListener, TcpStream};
    ///
    /// # tokio::runtime::Runtime::new().unwrap().block_on(async {
    /// let listener = TcpListener::bind("127.0.0.1:0").await?;
    /// let stream = PoolStream::new(TcpStream::connect(listener.local_addr()?).await?);
    /// assert_eq!(stream.socket().peer_addr()?, listener.local_addr()?);
    /// # Ok::<(), std::io::Error>(())
    /// # }).unwrap();
    /// ```
    pub fn new(socket: S) -> Self {
        Self {
            shared: Arc::new(Shared {
                socket,
                unread: AtomicBool::new(false),
            }),
            watched: None,
        }
    }

    /// The socket, for its addresses and options.
    ///
    /// # Examples
    ///
    /// ```
    /// # use pool_tcp::PoolStream;
    /// # use tokio::net::{TcpListener, TcpStream};
    /// # tokio::runtime::Runtime::new().unwrap().block_on(async {
    /// # let listener = TcpListener::bind("127.0.0.1:0").await?;
    /// let stream = PoolStream::new(TcpStream::connect(listener.local_addr()?).await?);
    /// stream.socket().set_nodelay(true)?;
    /// assert!(stream.socket().nodelay()?);
    /// # Ok::<(), std::io::Error>(())
    /// # }).unwrap();
    /// ```
    pub fn socket(&self) -> &S {
        &self.shared.socket
    }

    /// A probe that watches this socket while somebody else owns the stream.
    ///
    /// An owner that watches its stream itself needs none, see [`poll_dropped`](Self::poll_dropped): a watched stream
    /// takes an uncontended lock with each read.
    ///
    /// # Examples
    ///
    /// ```
    /// use pool_tcp::{Liveness, PoolStream};
    /// # use tokio::net::{TcpListener, TcpStream};
    /// # tokio::runtime::Runtime::new().unwrap().block_on(async {
    /// # let listener = TcpListener::bind("127.0.0.1:0").await?;
    /// let mut stream = PoolStream::new(TcpStream::connect(listener.local_addr()?).await?);
    /// let probe = stream.probe();
    /// assert_eq!(probe.liveness(), Liveness::Alive);
    ///
    /// // The probe does not hold the socket open.
    /// drop(stream);
    /// assert_eq!(probe.liveness(), Liveness::Dropped);
    /// # Ok::<(), std::io::Error>(())
    /// # }).unwrap();
    /// ```
    pub fn probe(&mut self) -> SocketProbe<S> {
        let watched = self.watched.get_or_insert_with(Watched::new);
        SocketProbe::new(&self.shared, &watched.bell, &watched.waker)
    }

    /// Asks the kernel how the connection is, see [`SocketProbe::liveness`].
    ///
    /// # Examples
    ///
    /// ```
    /// use pool_tcp::{Liveness, PoolStream};
    /// # use tokio::net::{TcpListener, TcpStream};
    /// # tokio::runtime::Runtime::new().unwrap().block_on(async {
    /// # let listener = TcpListener::bind("127.0.0.1:0").await?;
    /// let stream = PoolStream::new(TcpStream::connect(listener.local_addr()?).await?);
    /// drop(listener.accept().await?);
    /// assert_eq!(stream.liveness(), Liveness::Dropped);
    /// # Ok::<(), std::io::Error>(())
    /// # }).unwrap();
    /// ```
    pub fn liveness(&self) -> Liveness {
        self.shared.liveness()
    }

    /// Waits until the connection is anything but alive, see [`SocketProbe::poll_liveness`].
    ///
    /// Here the owner itself watches, so its waker takes the place of the one its last read left behind.
    ///
    /// # Cancellation
    ///
    /// There is nothing to cancel: to stop watching, stop polling.
    ///
    /// # Examples
    ///
    /// ```
    /// use pool_tcp::{Liveness, PoolStream};
    /// use std::future::poll_fn;
    /// # use tokio::net::{TcpListener, TcpStream};
    /// # tokio::runtime::Runtime::new().unwrap().block_on(async {
    /// # let listener = TcpListener::bind("127.0.0.1:0").await?;
    /// let mut stream = PoolStream::new(TcpStream::connect(listener.local_addr()?).await?);
    /// drop(listener.accept().await?);
    /// assert_eq!(poll_fn(|cx| stream.poll_liveness(cx)).await, Liveness::Dropped);
    /// # Ok::<(), std::io::Error>(())
    /// # }).unwrap();
    /// ```
    pub fn poll_liveness(&mut self, cx: &mut Context<'_>) -> Poll<Liveness> {
        self.poll_until(cx, Until::NotAlive)
    }

    /// Waits until the connection is of no more use, see [`SocketProbe::poll_dropped`].
    ///
    /// There is no other owner that could read the bytes, so [`OnReadable::Recheck`] is the same as
    /// [`OnReadable::Discard`] here; to look closer, use [`poll_liveness`](Self::poll_liveness) and
    /// [`try_read_now`](Self::try_read_now).
    ///
    /// # Cancellation
    ///
    /// As [`poll_liveness`](Self::poll_liveness).
    ///
    /// # Examples
    ///
    /// ```
    /// use pool_core::Dropped;
    /// use pool_tcp::{OnReadable, PoolStream};
    /// use std::future::poll_fn;
    /// # use tokio::net::{TcpListener, TcpStream};
    /// # tokio::runtime::Runtime::new().unwrap().block_on(async {
    /// # let listener = TcpListener::bind("127.0.0.1:0").await?;
    /// let mut stream = PoolStream::new(TcpStream::connect(listener.local_addr()?).await?);
    /// drop(listener.accept().await?);
    /// let dropped = poll_fn(|cx| stream.poll_dropped(cx, OnReadable::Discard)).await;
    /// assert_eq!(dropped, Dropped::Closed);
    /// # Ok::<(), std::io::Error>(())
    /// # }).unwrap();
    /// ```
    pub fn poll_dropped(&mut self, cx: &mut Context<'_>, on_readable: OnReadable) -> Poll<Dropped> {
        let until = match on_readable {
            OnReadable::Ignore => Until::Dropped,
            OnReadable::Discard | OnReadable::Recheck => Until::NotAlive,
        };
        self.poll_until(cx, until).map(|liveness| match liveness {
            Liveness::Readable => Dropped::Dirty,
            Liveness::Alive | Liveness::Dropped => Dropped::Closed,
        })
    }

    /// Reads what the kernel holds now, without waiting for the reactor to say that there is something.
    ///
    /// For looking at the bytes that a probe found. To wait for bytes, use [`AsyncRead`].
    ///
    /// # Errors
    ///
    /// [`WouldBlock`](io::ErrorKind::WouldBlock) if there is nothing to read.
    ///
    /// # Examples
    ///
    /// ```
    /// use pool_tcp::PoolStream;
    /// # use tokio::io::AsyncWriteExt;
    /// # use tokio::net::{TcpListener, TcpStream};
    /// # tokio::runtime::Runtime::new().unwrap().block_on(async {
    /// # let listener = TcpListener::bind("127.0.0.1:0").await?;
    /// let mut stream = PoolStream::new(TcpStream::connect(listener.local_addr()?).await?);
    /// let (mut peer, _) = listener.accept().await?;
    /// let mut buffer = [0; 8];
    /// let error = stream.try_read_now(&mut buffer).unwrap_err();
    /// assert_eq!(error.kind(), std::io::ErrorKind::WouldBlock);
    ///
    /// peer.write_all(b"push").await?;
    /// assert_eq!(stream.try_read_now(&mut buffer)?, 4);
    /// # Ok::<(), std::io::Error>(())
    /// # }).unwrap();
    /// ```
    pub fn try_read_now(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.shared.try_read_now(buffer)
    }

    /// Closes both directions now, see [`SocketProbe::shutdown_now`].
    ///
    /// # Examples
    ///
    /// ```
    /// use pool_tcp::{Liveness, PoolStream};
    /// # use tokio::net::{TcpListener, TcpStream};
    /// # tokio::runtime::Runtime::new().unwrap().block_on(async {
    /// # let listener = TcpListener::bind("127.0.0.1:0").await?;
    /// let stream = PoolStream::new(TcpStream::connect(listener.local_addr()?).await?);
    /// stream.shutdown_now();
    /// assert_eq!(stream.liveness(), Liveness::Dropped);
    /// # Ok::<(), std::io::Error>(())
    /// # }).unwrap();
    /// ```
    pub fn shutdown_now(&self) {
        self.shared.shutdown_now();
    }

    fn poll_until(&mut self, cx: &mut Context<'_>, until: Until) -> Poll<Liveness> {
        match &self.watched {
            None => self.shared.poll_until(cx, until),
            Some(watched) => watched.with_both(cx, |cx| self.shared.poll_until(cx, until)),
        }
    }

    fn poll_read_ready(&self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let socket = &self.shared.socket;
        match &self.watched {
            None => socket.poll_read_ready(cx),
            Some(watched) => watched.with_both(cx, |cx| socket.poll_read_ready(cx)),
        }
    }

    fn poll_write_with(
        &self,
        cx: &mut Context<'_>,
        write: impl Fn(&S) -> io::Result<usize>,
    ) -> Poll<io::Result<usize>> {
        loop {
            ready!(self.shared.socket.poll_write_ready(cx))?;
            match write(&self.shared.socket) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                result => return Poll::Ready(result),
            }
        }
    }
}

impl<S: Socket> AsyncRead for PoolStream<S> {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        while let Poll::Ready(ready) = self.poll_read_ready(cx) {
            ready?;
            match self.shared.socket.try_read(buffer) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                result => return Poll::Ready(result),
            }
        }
        // Only now: the readiness that was missing may just have been cleared, and was marked as such before.
        self.shared.poll_read_unread(buffer)
    }
}

impl<S: Socket> AsyncWrite for PoolStream<S> {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.poll_write_with(cx, |socket| socket.try_write(bytes))
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        self.poll_write_with(cx, |socket| socket.try_write_vectored(slices))
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(
            match self.shared.socket.sock_ref().shutdown(Shutdown::Write) {
                // The peer was faster.
                Err(error) if error.kind() == io::ErrorKind::NotConnected => Ok(()),
                result => result,
            },
        )
    }
}

/// A socket of tokio's that can be pooled: [`TcpStream`] and, on Unix, [`UnixStream`](tokio::net::UnixStream).
///
/// # Examples
///
/// ```
/// fn can_be_pooled<S: pool_tcp::Socket>() -> bool {
///     true
/// }
/// assert!(can_be_pooled::<tokio::net::TcpStream>());
/// ```
pub trait Socket: sealed::Sealed {}

/// Whether a read that leaves room has emptied the socket, so that the reactor is sure to tell of what comes next:
/// with epoll and kqueue, which report edges, as tokio's own streams have it.
const READS_ALL_THERE_IS: bool = cfg!(any(
    target_os = "linux",
    target_os = "android",
    target_vendor = "apple",
    target_os = "freebsd",
));

mod sealed {
    #[cfg(unix)]
    use std::os::fd::AsFd as Descriptor;
    #[cfg(windows)]
    use std::os::windows::io::AsSocket as Descriptor;

    use super::*;

    /// What the crate needs of a socket; closed, so that it may grow.
    pub trait Sealed: Debug + Send + Sync + Descriptor + 'static {
        fn poll_read_ready(&self, cx: &mut Context<'_>) -> Poll<io::Result<()>>;
        fn poll_write_ready(&self, cx: &mut Context<'_>) -> Poll<io::Result<()>>;
        /// Reads while tokio remembers the socket as readable, and clears that when there is no more to read.
        fn try_read(&self, buffer: &mut ReadBuf<'_>) -> io::Result<()>;
        fn try_write(&self, bytes: &[u8]) -> io::Result<usize>;
        fn try_write_vectored(&self, slices: &[IoSlice<'_>]) -> io::Result<usize>;
        /// Runs `look` while tokio remembers the socket as readable, and clears that on `WouldBlock` unless an event
        /// came since before the look.
        fn try_look(&self, look: impl FnOnce() -> io::Result<Liveness>) -> io::Result<Liveness>;
        fn has_heard_of_the_end(&self) -> bool;
        fn sock_ref(&self) -> socket2::SockRef<'_>;
    }
}

/// Both kinds of socket have these methods, without a trait of tokio's that says so.
macro_rules! socket {
    ($socket:ty) => {
        impl Socket for $socket {}

        impl sealed::Sealed for $socket {
            fn poll_read_ready(&self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
                self.poll_read_ready(cx)
            }

            fn poll_write_ready(&self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
                self.poll_write_ready(cx)
            }

            fn try_read(&self, buffer: &mut ReadBuf<'_>) -> io::Result<()> {
                let mut result = Err(io::ErrorKind::WouldBlock.into());
                let _ = self.try_io(Interest::READABLE, || {
                    result = self.try_read_buf(buffer);
                    match result {
                        // All there was; the next read would be in vain, and costs as much as this one.
                        Ok(1..) if READS_ALL_THERE_IS && buffer.remaining() > 0 => {
                            Err(io::ErrorKind::WouldBlock.into())
                        }
                        _ => Ok(()),
                    }
                });
                result.map(drop)
            }

            fn try_write(&self, bytes: &[u8]) -> io::Result<usize> {
                self.try_write(bytes)
            }

            fn try_write_vectored(&self, slices: &[IoSlice<'_>]) -> io::Result<usize> {
                self.try_write_vectored(slices)
            }

            fn try_look(
                &self,
                look: impl FnOnce() -> io::Result<Liveness>,
            ) -> io::Result<Liveness> {
                self.try_io(Interest::READABLE, look)
            }

            fn has_heard_of_the_end(&self) -> bool {
                // Outside the budget of the task, which would answer "not ready" when it is spent.
                let ready = std::pin::pin!(tokio::task::unconstrained(
                    self.ready(Interest::READABLE)
                ));
                let answer = ready.poll(&mut Context::from_waker(Waker::noop()));
                matches!(answer, Poll::Ready(Ok(ready)) if ready.is_read_closed())
            }

            fn sock_ref(&self) -> socket2::SockRef<'_> {
                socket2::SockRef::from(self)
            }
        }
    };
}

socket!(TcpStream);
#[cfg(unix)]
socket!(UnixStream);

/// The socket, and what its owner and its watchers must agree on.
#[derive(Debug)]
pub(crate) struct Shared<S> {
    socket: S,
    /// The kernel may hold bytes that tokio's readiness does not show, because a watcher that ignores bytes cleared
    /// it to hear of the end. The owner asks the kernel itself then.
    unread: AtomicBool,
}

impl<S: Socket> Shared<S> {
    pub(crate) fn liveness(&self) -> Liveness {
        ask_kernel(&self.socket)
    }

    pub(crate) fn shutdown_now(&self) {
        // It fails only where there is nothing left to shut down.
        let _ = self.socket.sock_ref().shutdown(Shutdown::Both);
    }

    /// The event-driven probe: the reactor says when to look, the kernel what there is.
    ///
    /// tokio keeps a socket readable until a read meets `WouldBlock`, and an owner who reads exactly what he was sent
    /// never does. So readiness without anything behind it is cleared here, inside `try_look`: it captures the event
    /// it clears before the look, and thus never clears one that arrived after.
    pub(crate) fn poll_until(&self, cx: &mut Context<'_>, until: Until) -> Poll<Liveness> {
        loop {
            // An error means that the runtime is shutting down.
            if ready!(self.socket.poll_read_ready(cx)).is_err() {
                return Poll::Ready(Liveness::Dropped);
            }
            let found = self.socket.try_look(|| match self.liveness() {
                Liveness::Alive => Err(io::ErrorKind::WouldBlock.into()),
                Liveness::Readable if until == Until::Dropped => {
                    // Cleared like nothing at all: the reactor reports an edge, and the next one may be the FIN. Marked
                    // before: an owner that then finds the readiness cleared must find the mark.
                    self.unread.store(true, Ordering::Release);
                    Err(io::ErrorKind::WouldBlock.into())
                }
                liveness => Ok(liveness),
            });
            match found {
                Ok(liveness) => return Poll::Ready(liveness),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                Err(_) => return Poll::Ready(Liveness::Dropped),
            }
        }
    }

    fn poll_read_unread(&self, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        if !self.unread.load(Ordering::Acquire) {
            return Poll::Pending;
        }
        // Before the read: a watcher that finds more bytes after it sets the mark again.
        self.unread.swap(false, Ordering::AcqRel);
        match self.try_read_now(buffer.initialize_unfilled()) {
            Ok(bytes) => {
                self.unread.store(true, Ordering::Release);
                buffer.advance(bytes);
                Poll::Ready(Ok(()))
            }
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => Poll::Pending,
            Err(error) => Poll::Ready(Err(error)),
        }
    }

    pub(crate) fn try_read_now(&self, buffer: &mut [u8]) -> io::Result<usize> {
        loop {
            match (&*self.socket.sock_ref()).read(buffer) {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                result => return result,
            }
        }
    }
}

/// The bell of a watched stream, from its owner's side.
#[derive(Debug)]
struct Watched {
    bell: Arc<Bell>,
    waker: Waker,
}

impl Watched {
    fn new() -> Self {
        let bell = Arc::new(Bell::default());
        let waker = bell.waker();
        Self { bell, waker }
    }

    /// Polls on behalf of the owner with a waker that wakes the watcher too.
    fn with_both<T>(&self, cx: &Context<'_>, poll: impl FnOnce(&mut Context<'_>) -> T) -> T {
        self.bell.set_owner(cx.waker());
        poll(&mut Context::from_waker(&self.waker))
    }
}

impl Drop for Watched {
    fn drop(&mut self) {
        self.bell.wake_watcher();
    }
}

/// What no test over sockets alone can hit at will: bytes that arrive in the middle of a look.
#[cfg(all(test, unix))]
mod tests {
    use super::*;
    use std::os::fd::{AsFd, BorrowedFd};
    use std::sync::mpsc;
    use tokio::net::TcpListener;

    /// When, around a look, the peer sends a byte and the reactor hears of it.
    #[derive(Clone, Copy, Debug, PartialEq)]
    enum Moment {
        Before,
        After,
    }

    /// A socket whose first look is disturbed.
    #[derive(Debug)]
    struct Disturbed {
        socket: TcpStream,
        peer: std::net::TcpStream,
        moment: Moment,
        is_over: AtomicBool,
    }

    impl Disturbed {
        fn disturb(&self, moment: Moment) {
            if moment == self.moment && !self.is_over.swap(true, Ordering::SeqCst) {
                std::io::Write::write_all(&mut &self.peer, b"!").unwrap();
                the_reactor_has_caught_up();
            }
        }
    }

    /// Waits for an event that comes after all events so far.
    fn the_reactor_has_caught_up() {
        let (done, wait) = mpsc::channel();
        tokio::spawn(async move {
            let (ours, mut peer) = pair().await;
            std::io::Write::write_all(&mut peer, b"!").unwrap();
            ours.readable().await.unwrap();
            done.send(()).unwrap();
        });
        wait.recv().unwrap();
    }

    async fn pair() -> (TcpStream, std::net::TcpStream) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let ours = TcpStream::connect(listener.local_addr().unwrap())
            .await
            .unwrap();
        let (peer, _) = listener.accept().await.unwrap();
        let peer = peer.into_std().unwrap();
        peer.set_nonblocking(false).unwrap();
        (ours, peer)
    }

    impl AsFd for Disturbed {
        fn as_fd(&self) -> BorrowedFd<'_> {
            self.socket.as_fd()
        }
    }

    impl Socket for Disturbed {}

    impl sealed::Sealed for Disturbed {
        fn poll_read_ready(&self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
            self.socket.poll_read_ready(cx)
        }

        fn poll_write_ready(&self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
            self.socket.poll_write_ready(cx)
        }

        fn try_read(&self, buffer: &mut ReadBuf<'_>) -> io::Result<()> {
            sealed::Sealed::try_read(&self.socket, buffer)
        }

        fn try_write(&self, bytes: &[u8]) -> io::Result<usize> {
            self.socket.try_write(bytes)
        }

        fn try_write_vectored(&self, slices: &[IoSlice<'_>]) -> io::Result<usize> {
            self.socket.try_write_vectored(slices)
        }

        fn try_look(&self, look: impl FnOnce() -> io::Result<Liveness>) -> io::Result<Liveness> {
            self.disturb(Moment::Before);
            self.socket.try_look(|| {
                let seen = look();
                self.disturb(Moment::After);
                seen
            })
        }

        fn has_heard_of_the_end(&self) -> bool {
            self.socket.has_heard_of_the_end()
        }

        fn sock_ref(&self) -> socket2::SockRef<'_> {
            self.socket.sock_ref()
        }
    }

    async fn the_byte_is_noticed(moment: Moment) {
        let (socket, mut peer) = pair().await;
        // Readiness with nothing behind it, as an exact read leaves it.
        std::io::Write::write_all(&mut peer, b"?").unwrap();
        socket.readable().await.unwrap();
        let mut stream = PoolStream::new(Disturbed {
            socket,
            peer,
            moment,
            is_over: AtomicBool::new(false),
        });
        assert_eq!(stream.try_read_now(&mut [0; 2]).unwrap(), 1);

        let noticed = std::future::poll_fn(|cx| stream.poll_liveness(cx));
        let noticed = tokio::time::timeout(std::time::Duration::from_secs(10), noticed).await;
        assert_eq!(noticed.expect("no lost wake-up"), Liveness::Readable);
        assert!(stream.socket().is_over.load(Ordering::SeqCst));
    }

    async fn read_into(stream: &mut PoolStream, buffer: &mut [u8]) -> usize {
        let read = tokio::io::AsyncReadExt::read(stream, buffer);
        let limit = std::time::Duration::from_secs(10);
        let read = tokio::time::timeout(limit, read).await;
        read.expect("no lost wake-up").unwrap()
    }

    #[tokio::test]
    async fn a_read_that_leaves_room_is_the_last_until_the_reactor_tells_of_more() {
        let (socket, mut peer) = pair().await;
        let mut stream = PoolStream::new(socket);
        std::io::Write::write_all(&mut peer, b"1").unwrap();
        assert_eq!(read_into(&mut stream, &mut [0; 8]).await, 1);

        // The reactor does not run while this thread is blocked.
        std::io::Write::write_all(&mut peer, b"2345").unwrap();
        let has_come = (0..10_000).any(|_| {
            std::thread::sleep(std::time::Duration::from_millis(1));
            stream.liveness() == Liveness::Readable
        });
        assert!(has_come);
        let mut bytes = [0; 8];
        let mut buffer = ReadBuf::new(&mut bytes);
        let poll =
            Pin::new(&mut stream).poll_read(&mut Context::from_waker(Waker::noop()), &mut buffer);
        assert_eq!(poll.is_pending(), READS_ALL_THERE_IS);

        // One that is filled may have left something.
        assert_eq!(read_into(&mut stream, &mut [0; 2]).await, 2);
        assert_eq!(read_into(&mut stream, &mut [0; 8]).await, 2);
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn a_byte_that_arrives_before_the_look_is_noticed() {
        the_byte_is_noticed(Moment::Before).await;
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn a_byte_that_arrives_after_the_look_is_noticed() {
        the_byte_is_noticed(Moment::After).await;
    }
}
