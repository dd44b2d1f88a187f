//! A stream that a task owns, for the adapters of protocols whose library drives the connection itself.

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};

use pool_core::Dropped;
use tokio::runtime::Handle;
use tokio::task::JoinHandle;

use crate::probe::{Liveness, OnReadable, SocketProbe};
use crate::stream::Socket;

/// The task that owns a stream, and a probe of the socket under it: what a pool asks of a connection that somebody else
/// drives.
///
/// # Drop
///
/// Hangs up: the peer has its FIN at once, and the task is aborted. To wait until the socket is closed, see
/// [`close`](Self::close).
///
/// # Examples
///
/// ```
/// use pool_tcp::{Driver, OnReadable, PoolStream};
/// use tokio::net::{TcpListener, TcpStream};
///
/// # tokio::runtime::Runtime::new().unwrap().block_on(async {
/// let listener = TcpListener::bind("127.0.0.1:0").await?;
/// let mut stream = PoolStream::new(TcpStream::connect(listener.local_addr()?).await?);
/// let (peer, _) = listener.accept().await?;
///
/// let probe = stream.probe();
/// // In earnest, the future of a library that reads from the stream and writes to it.
/// let drive = async move {
///     let _stream = stream;
///     std::future::pending::<()>().await;
/// };
/// let driver = Driver::spawn(drive, probe, OnReadable::Ignore);
/// assert!(!driver.is_dropped());
///
/// drop(peer);
/// assert!(driver.is_dropped());
/// # Ok::<(), std::io::Error>(())
/// # }).unwrap();
/// ```
pub struct Driver {
    task: JoinHandle<()>,
    /// The task was awaited to its end, and must not be again.
    is_joined: bool,
    probe: Option<AnyProbe>,
    on_readable: OnReadable,
    runtime: Handle,
    is_released: bool,
}

impl Driver {
    /// Runs `drive`, which owns the stream of `probe`, in a task; `on_readable` says what bytes mean that it has not read.
    ///
    /// # Panics
    ///
    /// Outside a tokio runtime.
    ///
    /// # Examples
    ///
    /// See [`Driver`].
    pub fn spawn(
        drive: impl Future<Output = ()> + Send + 'static,
        probe: impl Into<AnyProbe>,
        on_readable: OnReadable,
    ) -> Self {
        Self::new(drive, Some(probe.into()), on_readable)
    }

    /// The same for a stream of another's, which cannot be probed: it counts as dropped when the task has ended.
    ///
    /// # Panics
    ///
    /// Outside a tokio runtime.
    ///
    /// # Examples
    ///
    /// ```
    /// use pool_tcp::Driver;
    /// use std::future::poll_fn;
    ///
    /// # tokio::runtime::Runtime::new().unwrap().block_on(async {
    /// let mut driver = Driver::spawn_unprobed(async {});
    /// poll_fn(|cx| driver.poll_dropped(cx)).await;
    /// assert!(driver.is_dropped());
    /// # });
    /// ```
    pub fn spawn_unprobed(drive: impl Future<Output = ()> + Send + 'static) -> Self {
        Self::new(drive, None, OnReadable::Ignore)
    }

    fn new(
        drive: impl Future<Output = ()> + Send + 'static,
        probe: Option<AnyProbe>,
        on_readable: OnReadable,
    ) -> Self {
        let runtime = Handle::current();
        Self {
            task: runtime.spawn(drive),
            is_joined: false,
            probe,
            on_readable,
            runtime,
            is_released: false,
        }
    }

    /// The runtime that the task runs on.
    ///
    /// # Examples
    ///
    /// ```
    /// use pool_tcp::Driver;
    ///
    /// # tokio::runtime::Runtime::new().unwrap().block_on(async {
    /// let driver = Driver::spawn_unprobed(async {});
    /// assert_eq!(driver.runtime().id(), tokio::runtime::Handle::current().id());
    /// # });
    /// ```
    #[inline]
    pub fn runtime(&self) -> &Handle {
        &self.runtime
    }

    /// What bytes mean that the task has not read.
    ///
    /// # Examples
    ///
    /// ```
    /// use pool_tcp::{Driver, OnReadable};
    ///
    /// # tokio::runtime::Runtime::new().unwrap().block_on(async {
    /// let driver = Driver::spawn_unprobed(std::future::pending());
    /// assert_eq!(driver.on_readable(), OnReadable::Ignore);
    /// # });
    /// ```
    #[inline]
    pub fn on_readable(&self) -> OnReadable {
        self.on_readable
    }

    /// Whether the task has ended. Costs no system call; a FIN that the reactor has not heard of yet is not known here.
    ///
    /// # Examples
    ///
    /// ```
    /// use pool_tcp::Driver;
    ///
    /// # tokio::runtime::Runtime::new().unwrap().block_on(async {
    /// let driver = Driver::spawn_unprobed(std::future::pending());
    /// assert!(!driver.is_finished());
    /// # });
    /// ```
    #[inline]
    pub fn is_finished(&self) -> bool {
        self.task.is_finished()
    }

    /// Whether the connection is of no more use. Both are asked: the kernel knows of a FIN before the task has run, and
    /// the task of an end that is none of the socket's.
    ///
    /// # Examples
    ///
    /// See [`Driver`].
    #[inline]
    pub fn is_dropped(&self) -> bool {
        self.is_finished()
            || match self.probe.as_ref().map(|probe| probe.liveness()) {
                Some(Liveness::Dropped) => true,
                Some(Liveness::Readable) => self.on_readable != OnReadable::Ignore,
                Some(Liveness::Alive) | None => false,
            }
    }

    /// Whether bytes lie in the socket that the task has not read; whatever they mean, it has not looked at them yet.
    ///
    /// # Examples
    ///
    /// ```
    /// use pool_tcp::Driver;
    ///
    /// # tokio::runtime::Runtime::new().unwrap().block_on(async {
    /// // What cannot be probed has none that anybody could know of.
    /// assert!(!Driver::spawn_unprobed(std::future::pending()).has_unread());
    /// # });
    /// ```
    #[inline]
    pub fn has_unread(&self) -> bool {
        let liveness = self.probe.as_ref().map(|probe| probe.0.liveness());
        liveness == Some(Liveness::Readable)
    }

    /// Waits until the connection is of no more use, as [`SocketProbe::poll_dropped`].
    ///
    /// # Cancellation
    ///
    /// To stop watching, stop polling.
    ///
    /// # Examples
    ///
    /// See [`spawn_unprobed`](Self::spawn_unprobed).
    pub fn poll_dropped(&mut self, cx: &mut Context<'_>) -> Poll<Dropped> {
        match &mut self.probe {
            Some(probe) => probe.0.poll_dropped(cx, self.on_readable),
            None if self.is_joined => Poll::Ready(Dropped::Closed),
            None => Pin::new(&mut self.task).poll(cx).map(|_| {
                self.is_joined = true;
                Dropped::Closed
            }),
        }
    }

    /// Closes the connection, and ends when the socket is closed. The peer has its FIN after the first poll.
    ///
    /// # Cancellation
    ///
    /// The socket is closed all the same, a little later.
    ///
    /// # Examples
    ///
    /// ```
    /// use pool_tcp::{Driver, Liveness, OnReadable, PoolStream};
    /// use tokio::net::{TcpListener, TcpStream};
    ///
    /// # tokio::runtime::Runtime::new().unwrap().block_on(async {
    /// let listener = TcpListener::bind("127.0.0.1:0").await?;
    /// let mut stream = PoolStream::new(TcpStream::connect(listener.local_addr()?).await?);
    /// let probe = stream.probe();
    /// let drive = async move {
    ///     let _stream = stream;
    ///     std::future::pending::<()>().await;
    /// };
    /// Driver::spawn(drive, probe.clone(), OnReadable::Ignore).close().await;
    /// assert_eq!(probe.liveness(), Liveness::Dropped);
    /// # Ok::<(), std::io::Error>(())
    /// # }).unwrap();
    /// ```
    pub async fn close(&mut self) {
        self.hang_up();
        if !self.is_joined {
            // Cancelled or done, the task is gone, and the stream in it.
            let _ = (&mut self.task).await;
            self.is_joined = true;
        }
    }

    /// Lets the task go on by itself, for a connection that leaves its pool for good.
    ///
    /// # Examples
    ///
    /// ```
    /// use pool_tcp::Driver;
    ///
    /// # tokio::runtime::Runtime::new().unwrap().block_on(async {
    /// let (sender, receiver) = tokio::sync::oneshot::channel();
    /// Driver::spawn_unprobed(async { sender.send("still here").unwrap() }).release();
    /// assert_eq!(receiver.await, Ok("still here"));
    /// # });
    /// ```
    pub fn release(mut self) {
        self.is_released = true;
    }

    fn hang_up(&self) {
        if let Some(probe) = &self.probe {
            probe.shutdown_now();
        }
        self.task.abort();
    }
}

impl Drop for Driver {
    fn drop(&mut self) {
        if !self.is_released {
            self.hang_up();
        }
    }
}

impl fmt::Debug for Driver {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Driver")
            .field("is_finished", &self.is_finished())
            .finish_non_exhaustive()
    }
}

/// The probe of a socket of any kind, for those who dial several.
///
/// # Examples
///
/// ```
/// use pool_tcp::{AnyProbe, Driver, OnReadable, PoolStream};
/// use tokio::net::UnixStream;
///
/// # tokio::runtime::Runtime::new().unwrap().block_on(async {
/// let (ours, _theirs) = UnixStream::pair()?;
/// let mut stream = PoolStream::new(ours);
/// let probe = AnyProbe::from(stream.probe());
/// let drive = async move { drop(stream) };
/// Driver::spawn(drive, probe, OnReadable::Discard).close().await;
/// # Ok::<(), std::io::Error>(())
/// # }).unwrap();
/// ```
pub struct AnyProbe(Box<dyn Probe>);

impl AnyProbe {
    /// Asks the kernel, see [`SocketProbe::liveness`].
    ///
    /// # Examples
    ///
    /// ```
    /// use pool_tcp::{AnyProbe, Liveness, PoolStream};
    /// use tokio::net::UnixStream;
    ///
    /// # tokio::runtime::Runtime::new().unwrap().block_on(async {
    /// let (ours, theirs) = UnixStream::pair()?;
    /// let mut stream = PoolStream::new(ours);
    /// let probe = AnyProbe::from(stream.probe());
    /// assert_eq!(probe.liveness(), Liveness::Alive);
    ///
    /// drop(theirs);
    /// assert_eq!(probe.liveness(), Liveness::Dropped);
    /// # Ok::<(), std::io::Error>(())
    /// # }).unwrap();
    /// ```
    pub fn liveness(&self) -> Liveness {
        self.0.liveness()
    }

    /// Closes both directions now, see [`SocketProbe::shutdown_now`].
    ///
    /// # Examples
    ///
    /// ```
    /// use pool_tcp::{AnyProbe, Liveness, PoolStream};
    /// use tokio::net::UnixStream;
    ///
    /// # tokio::runtime::Runtime::new().unwrap().block_on(async {
    /// let (ours, _theirs) = UnixStream::pair()?;
    /// let mut stream = PoolStream::new(ours);
    /// let probe = AnyProbe::from(stream.probe());
    /// probe.clone().shutdown_now();
    /// assert_eq!(probe.liveness(), Liveness::Dropped);
    /// # Ok::<(), std::io::Error>(())
    /// # }).unwrap();
    /// ```
    pub fn shutdown_now(&self) {
        self.0.shutdown_now();
    }
}

impl Clone for AnyProbe {
    fn clone(&self) -> Self {
        Self(self.0.another())
    }
}

impl<S: Socket> From<SocketProbe<S>> for AnyProbe {
    fn from(probe: SocketProbe<S>) -> Self {
        Self(Box::new(probe))
    }
}

impl fmt::Debug for AnyProbe {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("AnyProbe").field(&self.liveness()).finish()
    }
}

trait Probe: Send + Sync {
    fn liveness(&self) -> Liveness;
    fn poll_dropped(&mut self, cx: &mut Context<'_>, on_readable: OnReadable) -> Poll<Dropped>;
    fn shutdown_now(&self);
    /// One more, of the same socket.
    fn another(&self) -> Box<dyn Probe>;
}

impl<S: Socket> Probe for SocketProbe<S> {
    fn liveness(&self) -> Liveness {
        self.liveness()
    }

    fn poll_dropped(&mut self, cx: &mut Context<'_>, on_readable: OnReadable) -> Poll<Dropped> {
        self.poll_dropped(cx, on_readable)
    }

    fn shutdown_now(&self) {
        self.shutdown_now();
    }
    fn another(&self) -> Box<dyn Probe> {
        Box::new(self.clone())
    }
}
