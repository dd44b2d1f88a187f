//! Is the peer still there? Answered by the kernel, without a round trip, and without taking a byte from the stream.

use std::sync::{Arc, Weak};
use std::task::{Context, Poll, Waker};

use pool_core::Dropped;
use tokio::net::TcpStream;

use crate::bell::Bell;
use crate::stream::{Shared, Socket};

/// What the kernel knows about an idle connection.
///
/// # Examples
///
/// ```
/// use pool_tcp::{Liveness, PoolStream};
/// use tokio::net::{TcpListener, TcpStream};
///
/// # tokio::runtime::Runtime::new().unwrap().block_on(async {
/// let listener = TcpListener::bind("127.0.0.1:0").await?;
/// let stream = PoolStream::new(TcpStream::connect(listener.local_addr()?).await?);
/// let (peer, _) = listener.accept().await?;
/// assert_eq!(stream.liveness(), Liveness::Alive);
///
/// drop(peer);
/// assert_eq!(stream.liveness(), Liveness::Dropped);
/// # Ok::<(), std::io::Error>(())
/// # }).unwrap();
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Liveness {
    /// Open, and nothing to read.
    Alive,
    /// The peer closed or reset the connection, or its owner here has closed it.
    Dropped,
    /// Open, with bytes to read that nobody has asked for.
    Readable,
}

/// What unread bytes on an idle connection mean. Only the protocol can say.
///
/// # Examples
///
/// ```
/// use pool_tcp::OnReadable;
///
/// // The safe rule is the default: an HTTP response nobody asked for would answer the next user's request.
/// assert_eq!(OnReadable::default(), OnReadable::Discard);
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum OnReadable {
    /// The connection is dirty and of no further use: right for HTTP/1, RESP2 and anything that answers in turn.
    #[default]
    Discard,
    /// The bytes may be legal, so whoever understands them reads them first. What is left unread is dirty.
    ///
    /// For a manager that is the reader given with [`TcpManager::recheck`](crate::TcpManager::recheck), for a
    /// [`SocketProbe`] the owner of the stream, which is given one more turn.
    Recheck,
    /// The bytes mean nothing: only the end of the connection counts. Right for HTTP/2 and RESP3, where a peer may
    /// speak unasked.
    Ignore,
}

/// Watches a socket that somebody else owns, such as a driver that took the [`PoolStream`](crate::PoolStream) by value.
///
/// It never keeps the socket open: when the owner drops the stream the descriptor is closed, and the probe answers
/// [`Liveness::Dropped`]. Made by [`PoolStream::probe`](crate::PoolStream::probe). Clones watch the same socket; of the
/// wakers given to them the latest is woken.
///
/// # Examples
///
/// ```
/// use pool_tcp::{Liveness, PoolStream};
/// use tokio::net::{TcpListener, TcpStream};
///
/// # tokio::runtime::Runtime::new().unwrap().block_on(async {
/// let listener = TcpListener::bind("127.0.0.1:0").await?;
/// let mut stream = PoolStream::new(TcpStream::connect(listener.local_addr()?).await?);
/// let probe = stream.probe();
///
/// let driver = tokio::spawn(async move { drop(stream) });
/// driver.await?;
/// assert_eq!(probe.liveness(), Liveness::Dropped);
/// # Ok::<(), std::io::Error>(())
/// # }).unwrap();
/// ```
#[derive(Debug)]
pub struct SocketProbe<S: Socket = TcpStream> {
    shared: Weak<Shared<S>>,
    bell: Arc<Bell>,
    bell_waker: Waker,
    /// [`OnReadable::Recheck`] has found bytes and given the owner a turn.
    rechecking: bool,
}

impl<S: Socket> SocketProbe<S> {
    pub(crate) fn new(shared: &Arc<Shared<S>>, bell: &Arc<Bell>, bell_waker: &Waker) -> Self {
        Self {
            shared: Arc::downgrade(shared),
            bell: bell.clone(),
            bell_waker: bell_waker.clone(),
            rechecking: false,
        }
    }

    /// Asks the kernel: one system call, about 0.25 µs, exact even if the reactor has not run since the peer closed.
    ///
    /// Where the system has no `POLLRDHUP` (macOS, Windows, most BSDs) it peeks, which sees unread bytes but not a FIN
    /// behind them.
    ///
    /// # Examples
    ///
    /// ```
    /// use pool_tcp::{Liveness, PoolStream};
    /// use tokio::io::AsyncWriteExt;
    /// use tokio::net::{TcpListener, TcpStream};
    ///
    /// # tokio::runtime::Runtime::new().unwrap().block_on(async {
    /// let listener = TcpListener::bind("127.0.0.1:0").await?;
    /// let mut stream = PoolStream::new(TcpStream::connect(listener.local_addr()?).await?);
    /// let (mut peer, _) = listener.accept().await?;
    ///
    /// peer.write_all(b"nobody asked").await?;
    /// assert_eq!(stream.probe().liveness(), Liveness::Readable);
    /// # Ok::<(), std::io::Error>(())
    /// # }).unwrap();
    /// ```
    pub fn liveness(&self) -> Liveness {
        match self.shared.upgrade() {
            Some(shared) => shared.liveness(),
            None => Liveness::Dropped,
        }
    }

    /// Waits until the connection is anything but [`Alive`](Liveness::Alive).
    ///
    /// `Pending` promises a wake-up when the peer closes or sends, and when the owner drops the stream. It takes
    /// nothing from the owner: neither bytes, nor readiness, nor its waker.
    ///
    /// # Cancellation
    ///
    /// There is nothing to cancel: to stop watching, stop polling. A wake-up may still come.
    ///
    /// # Examples
    ///
    /// ```
    /// use pool_tcp::{Liveness, PoolStream};
    /// use std::future::poll_fn;
    /// use tokio::net::{TcpListener, TcpStream};
    ///
    /// # tokio::runtime::Runtime::new().unwrap().block_on(async {
    /// let listener = TcpListener::bind("127.0.0.1:0").await?;
    /// let mut stream = PoolStream::new(TcpStream::connect(listener.local_addr()?).await?);
    /// let mut probe = stream.probe();
    ///
    /// drop(listener.accept().await?);
    /// assert_eq!(poll_fn(|cx| probe.poll_liveness(cx)).await, Liveness::Dropped);
    /// # Ok::<(), std::io::Error>(())
    /// # }).unwrap();
    /// ```
    pub fn poll_liveness(&mut self, cx: &mut Context<'_>) -> Poll<Liveness> {
        self.poll_until(cx, Until::NotAlive)
    }

    /// Waits until the connection is of no more use, under a rule for unread bytes.
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
    /// use tokio::io::AsyncWriteExt;
    /// use tokio::net::{TcpListener, TcpStream};
    ///
    /// # tokio::runtime::Runtime::new().unwrap().block_on(async {
    /// let listener = TcpListener::bind("127.0.0.1:0").await?;
    /// let mut stream = PoolStream::new(TcpStream::connect(listener.local_addr()?).await?);
    /// let mut probe = stream.probe();
    /// let (mut peer, _) = listener.accept().await?;
    ///
    /// peer.write_all(b"nobody asked").await?;
    /// let dropped = poll_fn(|cx| probe.poll_dropped(cx, OnReadable::Discard)).await;
    /// assert_eq!(dropped, Dropped::Dirty);
    ///
    /// // The end is noticed even behind bytes that nobody will read.
    /// drop(peer);
    /// let dropped = poll_fn(|cx| probe.poll_dropped(cx, OnReadable::Ignore)).await;
    /// assert_eq!(dropped, Dropped::Closed);
    /// # Ok::<(), std::io::Error>(())
    /// # }).unwrap();
    /// ```
    pub fn poll_dropped(&mut self, cx: &mut Context<'_>, on_readable: OnReadable) -> Poll<Dropped> {
        let until = match on_readable {
            OnReadable::Ignore => Until::Dropped,
            OnReadable::Discard | OnReadable::Recheck => Until::NotAlive,
        };
        match self.poll_until(cx, until) {
            Poll::Ready(Liveness::Readable)
                if on_readable == OnReadable::Recheck && !self.rechecking =>
            {
                self.rechecking = true;
                // The owner was woken by the same bytes, before this; behind it in the queue we shall find them read.
                cx.waker().wake_by_ref();
                Poll::Pending
            }
            Poll::Ready(Liveness::Readable) => Poll::Ready(Dropped::Dirty),
            Poll::Ready(_) => Poll::Ready(Dropped::Closed),
            Poll::Pending => {
                self.rechecking = false;
                Poll::Pending
            }
        }
    }

    /// Closes both directions now, whoever owns the stream: the peer gets its FIN at once, the owner an EOF.
    ///
    /// The descriptor itself is freed when the owner drops the stream. Does nothing if that has happened.
    ///
    /// # Examples
    ///
    /// ```
    /// use pool_tcp::{Liveness, PoolStream};
    /// use tokio::net::{TcpListener, TcpStream};
    ///
    /// # tokio::runtime::Runtime::new().unwrap().block_on(async {
    /// let listener = TcpListener::bind("127.0.0.1:0").await?;
    /// let mut stream = PoolStream::new(TcpStream::connect(listener.local_addr()?).await?);
    /// let probe = stream.probe();
    ///
    /// probe.shutdown_now();
    /// assert_eq!(probe.liveness(), Liveness::Dropped);
    /// # Ok::<(), std::io::Error>(())
    /// # }).unwrap();
    /// ```
    pub fn shutdown_now(&self) {
        if let Some(shared) = self.shared.upgrade() {
            shared.shutdown_now();
        }
    }

    fn poll_until(&mut self, cx: &mut Context<'_>, until: Until) -> Poll<Liveness> {
        // Before the upgrade: an owner that drops the stream after it rings the bell and finds this waker; one that
        // dropped it before makes the upgrade fail. In the other order its ring could fall in between, unheard.
        self.bell.set_watcher(cx.waker());
        let Some(shared) = self.shared.upgrade() else {
            return Poll::Ready(Liveness::Dropped);
        };
        shared.poll_until(&mut Context::from_waker(&self.bell_waker), until)
    }
}

impl<S: Socket> Clone for SocketProbe<S> {
    fn clone(&self) -> Self {
        Self {
            shared: self.shared.clone(),
            bell: self.bell.clone(),
            bell_waker: self.bell_waker.clone(),
            rechecking: false,
        }
    }
}

/// What a watcher waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Until {
    /// The first byte, or the end.
    NotAlive,
    /// The end; bytes do not count.
    Dropped,
}

/// The exact answer where `poll(2)` tells the end of a connection from bytes: it sees a FIN behind unread data, and
/// leaves data, pending errors and tokio's readiness alone.
#[cfg(all(
    any(
        target_os = "linux",
        target_os = "android",
        target_os = "freebsd",
        target_os = "illumos"
    ),
    not(any(target_arch = "sparc", target_arch = "sparc64"))
))]
pub(crate) fn ask_kernel<S: Socket>(socket: &S) -> Liveness {
    use rustix::event::{PollFd, PollFlags, Timespec, poll};

    const AT_ONCE: Timespec = Timespec {
        tv_sec: 0,
        tv_nsec: 0,
    };

    let mut fds = [PollFd::new(socket, PollFlags::IN | PollFlags::RDHUP)];
    loop {
        match poll(&mut fds, Some(&AT_ONCE)) {
            Ok(_) => break,
            Err(rustix::io::Errno::INTR) => {}
            // Not to know is to be careful: such a connection is not handed out.
            Err(_) => return Liveness::Dropped,
        }
    }
    let found = fds[0].revents();
    if found.intersects(PollFlags::HUP | PollFlags::RDHUP | PollFlags::ERR | PollFlags::NVAL) {
        Liveness::Dropped
    } else if found.contains(PollFlags::IN) {
        Liveness::Readable
    } else {
        Liveness::Alive
    }
}

/// The answer elsewhere: a peek, and behind unread bytes what the reactor has heard of the end.
#[cfg(not(all(
    any(
        target_os = "linux",
        target_os = "android",
        target_os = "freebsd",
        target_os = "illumos"
    ),
    not(any(target_arch = "sparc", target_arch = "sparc64"))
)))]
pub(crate) fn ask_kernel<S: Socket>(socket: &S) -> Liveness {
    peek(socket)
}

#[cfg(any(
    test,
    not(all(
        any(
            target_os = "linux",
            target_os = "android",
            target_os = "freebsd",
            target_os = "illumos"
        ),
        not(any(target_arch = "sparc", target_arch = "sparc64"))
    ))
))]
fn peek<S: Socket>(socket: &S) -> Liveness {
    let mut byte = [std::mem::MaybeUninit::uninit()];
    match socket.sock_ref().peek(&mut byte) {
        Ok(0) => Liveness::Dropped,
        // A watcher that ignores bytes would spin without this, as tokio never forgets that the peer has closed.
        Ok(_) if socket.has_heard_of_the_end() => Liveness::Dropped,
        Ok(_) => Liveness::Readable,
        Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => Liveness::Alive,
        Err(error) if error.kind() == std::io::ErrorKind::Interrupted => peek(socket),
        Err(_) => Liveness::Dropped,
    }
}

/// Both ways to ask are compared here, since most machines only ever run one of them.
#[cfg(test)]
mod tests {
    use super::*;
    use tokio::io::AsyncWriteExt;
    use tokio::net::TcpListener;

    async fn pair() -> (TcpStream, TcpStream) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let ours = TcpStream::connect(listener.local_addr().unwrap())
            .await
            .unwrap();
        (ours, listener.accept().await.unwrap().0)
    }

    /// What has been sent may take a moment to arrive. Blocks meanwhile, so the reactor cannot run.
    fn arrives(mut look: impl FnMut() -> Liveness, expected: Liveness) {
        for _ in 0..10_000 {
            if look() == expected {
                return;
            }
            std::thread::sleep(std::time::Duration::from_millis(1));
        }
        panic!("not {expected:?} but {:?}", look());
    }

    #[tokio::test]
    async fn an_idle_connection_is_alive_to_both() {
        let (ours, _peer) = pair().await;
        assert_eq!(ask_kernel(&ours), Liveness::Alive);
        assert_eq!(peek(&ours), Liveness::Alive);
    }

    #[tokio::test]
    async fn a_fin_is_seen_by_both_before_the_reactor_runs() {
        let (ours, peer) = pair().await;
        drop(peer);
        arrives(|| ask_kernel(&ours), Liveness::Dropped);
        assert_eq!(peek(&ours), Liveness::Dropped);
    }

    #[tokio::test]
    async fn unread_bytes_are_seen_by_both_and_left_in_place() {
        let (ours, mut peer) = pair().await;
        peer.write_all(b"?").await.unwrap();
        arrives(|| ask_kernel(&ours), Liveness::Readable);
        for _ in 0..2 {
            assert_eq!(peek(&ours), Liveness::Readable);
            assert_eq!(ask_kernel(&ours), Liveness::Readable);
        }
    }

    #[tokio::test]
    async fn a_peek_sees_a_fin_behind_bytes_once_the_reactor_has_run() {
        let (ours, mut peer) = pair().await;
        peer.write_all(b"?").await.unwrap();
        arrives(|| peek(&ours), Liveness::Readable);
        drop(peer);
        arrives(|| ask_kernel(&ours), Liveness::Dropped);
        assert_eq!(peek(&ours), Liveness::Readable, "behind the byte");
        while peek(&ours) != Liveness::Dropped {
            tokio::task::yield_now().await;
        }
    }

    #[tokio::test]
    async fn a_reset_is_seen_by_both() {
        let reset = || async {
            let (ours, peer) = pair().await;
            peer.set_zero_linger().unwrap();
            ours
        };
        let ours = reset().await;
        arrives(|| ask_kernel(&ours), Liveness::Dropped);
        // A socket of its own, for a peek takes the error with it.
        let ours = reset().await;
        arrives(|| peek(&ours), Liveness::Dropped);
    }
}
