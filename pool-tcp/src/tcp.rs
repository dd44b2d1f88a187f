//! Connections to `host:port`.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::task::{Context, Poll};
use std::time::Duration;

use pool_core::{Dropped, Manager, Recycle};
use socket2::{SockRef, TcpKeepalive};
use tokio::net::{TcpSocket, TcpStream};
use tokio::time::timeout;

use crate::connection::{Connection, Judge};
use crate::dial::{Target, race};
use crate::error::{AddressError, TcpError};
use crate::probe::OnReadable;
use crate::stream::PoolStream;

/// A pooled TCP connection.
pub type TcpConnection = Connection<PoolStream<TcpStream>>;

/// Dials `host:port`, and lets go of a connection when its peer does.
///
/// The name is resolved anew for every connection, and all its addresses are raced as RFC 8305 ("happy eyeballs")
/// says: families in turns, 250 ms apart, the first to answer wins.
///
/// # Examples
///
/// ```
/// use pool_core::Manager;
/// use pool_tcp::TcpManager;
/// use std::time::Duration;
/// use tokio::net::TcpListener;
///
/// # tokio::runtime::Runtime::new().unwrap().block_on(async {
/// let listener = TcpListener::bind("127.0.0.1:0").await?;
/// let manager = TcpManager::new(&format!("localhost:{}", listener.local_addr()?.port()))?
///     .attempt_timeout(Duration::from_secs(2));
///
/// let mut connection = manager.connect().await?;
/// assert!(!manager.is_dropped(&mut connection));
///
/// drop(listener.accept().await?);
/// assert!(manager.is_dropped(&mut connection));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// # }).unwrap();
/// ```
#[derive(Clone, Debug)]
pub struct TcpManager {
    target: Target,
    bind: Option<IpAddr>,
    nodelay: bool,
    keepalive: Option<Keepalive>,
    user_timeout: Option<Duration>,
    send_buffer_size: Option<u32>,
    recv_buffer_size: Option<u32>,
    attempt_delay: Duration,
    attempt_timeout: Option<Duration>,
    pub(crate) judge: Judge<TcpStream>,
}

impl TcpManager {
    /// Dials `address`, a `host:port` where the host is a name, an IPv4 address or an IPv6 address in brackets.
    ///
    /// # Errors
    ///
    /// Whatever else `address` is. Nothing is resolved yet.
    ///
    /// # Examples
    ///
    /// ```
    /// use pool_tcp::TcpManager;
    ///
    /// assert!(TcpManager::new("[::1]:5432").is_ok());
    /// assert_eq!(
    ///     TcpManager::new("::1").unwrap_err().to_string(),
    ///     "::1: an IPv6 address needs brackets; write [address]:port, such as [::1]:80",
    /// );
    /// ```
    pub fn new(address: &str) -> Result<Self, AddressError> {
        Ok(Self {
            target: Target::parse(address)?,
            bind: None,
            nodelay: true,
            keepalive: Some(Keepalive::default()),
            user_timeout: Some(Duration::from_secs(30)),
            send_buffer_size: None,
            recv_buffer_size: None,
            attempt_delay: Duration::from_millis(250),
            attempt_timeout: Some(Duration::from_secs(5)),
            judge: Judge::default(),
        })
    }

    /// The same settings for another address.
    ///
    /// # Errors
    ///
    /// As [`new`](Self::new).
    ///
    /// # Examples
    ///
    /// ```
    /// use pool_tcp::TcpManager;
    ///
    /// let manager = TcpManager::new("primary:5432")?.nodelay(false);
    /// let manager = manager.at("replica:5432")?;
    /// assert!(format!("{manager:?}").contains("replica"));
    /// assert!(format!("{manager:?}").contains("nodelay: false"));
    /// # Ok::<(), pool_tcp::AddressError>(())
    /// ```
    pub fn at(&self, address: &str) -> Result<Self, AddressError> {
        Ok(Self {
            target: Target::parse(address)?,
            ..self.clone()
        })
    }

    /// Dials from this local address, hence only addresses of its family.
    ///
    /// Default: the kernel chooses.
    ///
    /// # Examples
    ///
    /// ```
    /// # use pool_core::Manager;
    /// # use pool_tcp::TcpManager;
    /// # use tokio::net::TcpListener;
    /// # tokio::runtime::Runtime::new().unwrap().block_on(async {
    /// # let listener = TcpListener::bind("127.0.0.1:0").await?;
    /// let manager = TcpManager::new(&listener.local_addr()?.to_string())?.bind("127.0.0.1".parse()?);
    /// let connection = manager.connect().await?;
    /// assert!(connection.get_ref().socket().local_addr()?.ip().is_loopback());
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// # }).unwrap();
    /// ```
    #[must_use]
    pub fn bind(mut self, address: IpAddr) -> Self {
        self.bind = Some(address);
        self
    }

    /// Whether small writes leave at once (`TCP_NODELAY`).
    ///
    /// Default: true. A pool is used to ask and to wait for the answer, where Nagle's algorithm costs up to 40 ms.
    ///
    /// # Examples
    ///
    /// ```
    /// # use pool_core::Manager;
    /// # use pool_tcp::TcpManager;
    /// # use tokio::net::TcpListener;
    /// # tokio::runtime::Runtime::new().unwrap().block_on(async {
    /// # let listener = TcpListener::bind("127.0.0.1:0").await?;
    /// let manager = TcpManager::new(&listener.local_addr()?.to_string())?.nodelay(false);
    /// assert!(!manager.connect().await?.get_ref().socket().nodelay()?);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// # }).unwrap();
    /// ```
    #[must_use]
    pub fn nodelay(mut self, nodelay: bool) -> Self {
        self.nodelay = nodelay;
        self
    }

    /// How the kernel finds out that a silent peer is gone; `None` turns it off.
    ///
    /// Default: [`Keepalive::default`]. A peer that lost its power sends no FIN, and without keepalive an idle
    /// connection to it looks alive for ever.
    ///
    /// # Examples
    ///
    /// ```
    /// # use pool_core::Manager;
    /// # use pool_tcp::TcpManager;
    /// # use tokio::net::TcpListener;
    /// # tokio::runtime::Runtime::new().unwrap().block_on(async {
    /// # let listener = TcpListener::bind("127.0.0.1:0").await?;
    /// let manager = TcpManager::new(&listener.local_addr()?.to_string())?.keepalive(None);
    /// let connection = manager.connect().await?;
    /// assert!(!socket2::SockRef::from(connection.get_ref().socket()).keepalive()?);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// # }).unwrap();
    /// ```
    #[must_use]
    pub fn keepalive(mut self, keepalive: impl Into<Option<Keepalive>>) -> Self {
        self.keepalive = keepalive.into();
        self
    }

    /// How long sent bytes may stay unacknowledged before the connection is given up (`TCP_USER_TIMEOUT`).
    ///
    /// Default: 30 s, where the kernel alone would take a quarter of an hour. Only Linux and Android know it; it has no
    /// effect elsewhere. With keepalive it also takes the place of [`Keepalive::retries`].
    ///
    /// # Panics
    ///
    /// If it is shorter than a millisecond, the unit of the kernel; `None` turns it off.
    ///
    /// # Examples
    ///
    /// ```
    /// # use pool_core::Manager;
    /// # use pool_tcp::TcpManager;
    /// # use tokio::net::TcpListener;
    /// use std::time::Duration;
    ///
    /// # tokio::runtime::Runtime::new().unwrap().block_on(async {
    /// # let listener = TcpListener::bind("127.0.0.1:0").await?;
    /// let manager = TcpManager::new(&listener.local_addr()?.to_string())?
    ///     .user_timeout(Duration::from_secs(10));
    /// let connection = manager.connect().await?;
    /// # #[cfg(target_os = "linux")]
    /// assert_eq!(
    ///     socket2::SockRef::from(connection.get_ref().socket()).tcp_user_timeout()?,
    ///     Some(Duration::from_secs(10)),
    /// );
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// # }).unwrap();
    /// ```
    #[must_use]
    #[track_caller]
    pub fn user_timeout(mut self, limit: impl Into<Option<Duration>>) -> Self {
        self.user_timeout = limit.into();
        assert!(
            self.user_timeout
                .is_none_or(|limit| limit >= Duration::from_millis(1)),
            "user_timeout: less than a millisecond; give None to turn it off"
        );
        self
    }

    /// The size of the kernel's send buffer, in bytes (`SO_SNDBUF`). Linux doubles it.
    ///
    /// Default: the kernel adapts it.
    ///
    /// # Examples
    ///
    /// ```
    /// # use pool_core::Manager;
    /// # use pool_tcp::TcpManager;
    /// # use tokio::net::TcpListener;
    /// # tokio::runtime::Runtime::new().unwrap().block_on(async {
    /// # let listener = TcpListener::bind("127.0.0.1:0").await?;
    /// let manager = TcpManager::new(&listener.local_addr()?.to_string())?.send_buffer_size(32 * 1024);
    /// let connection = manager.connect().await?;
    /// let size = socket2::SockRef::from(connection.get_ref().socket()).send_buffer_size()?;
    /// assert!((32 * 1024..=64 * 1024).contains(&size));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// # }).unwrap();
    /// ```
    #[must_use]
    pub fn send_buffer_size(mut self, bytes: u32) -> Self {
        self.send_buffer_size = Some(bytes);
        self
    }

    /// The size of the kernel's receive buffer, in bytes (`SO_RCVBUF`). Linux doubles it.
    ///
    /// Default: the kernel adapts it.
    ///
    /// # Examples
    ///
    /// ```
    /// # use pool_core::Manager;
    /// # use pool_tcp::TcpManager;
    /// # use tokio::net::TcpListener;
    /// # tokio::runtime::Runtime::new().unwrap().block_on(async {
    /// # let listener = TcpListener::bind("127.0.0.1:0").await?;
    /// let manager = TcpManager::new(&listener.local_addr()?.to_string())?.recv_buffer_size(32 * 1024);
    /// let connection = manager.connect().await?;
    /// let size = socket2::SockRef::from(connection.get_ref().socket()).recv_buffer_size()?;
    /// assert!((32 * 1024..=64 * 1024).contains(&size));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// # }).unwrap();
    /// ```
    #[must_use]
    pub fn recv_buffer_size(mut self, bytes: u32) -> Self {
        self.recv_buffer_size = Some(bytes);
        self
    }

    /// How long to wait for one address before the next is tried beside it.
    ///
    /// Default: 250 ms, as RFC 8305 §5 recommends.
    ///
    /// # Examples
    ///
    /// ```
    /// use pool_tcp::TcpManager;
    /// use std::time::Duration;
    ///
    /// let manager = TcpManager::new("localhost:80")?.attempt_delay(Duration::from_millis(100));
    /// assert!(format!("{manager:?}").contains("attempt_delay: 100ms"));
    /// # Ok::<(), pool_tcp::AddressError>(())
    /// ```
    #[must_use]
    pub fn attempt_delay(mut self, delay: Duration) -> Self {
        self.attempt_delay = delay;
        self
    }

    /// How long one address may take to answer; `None` leaves the limit to the pool.
    ///
    /// Default: 5 s, half of the pool's limit for a dial, so that the error names the addresses before the pool gives
    /// the dial up.
    ///
    /// # Panics
    ///
    /// If it is zero.
    ///
    /// # Examples
    ///
    /// ```
    /// use pool_tcp::TcpManager;
    /// use std::time::Duration;
    ///
    /// let manager = TcpManager::new("localhost:80")?.attempt_timeout(Duration::from_secs(1));
    /// assert!(format!("{manager:?}").contains("attempt_timeout: Some(1s)"));
    /// # Ok::<(), pool_tcp::AddressError>(())
    /// ```
    #[must_use]
    #[track_caller]
    pub fn attempt_timeout(mut self, limit: impl Into<Option<Duration>>) -> Self {
        self.attempt_timeout = limit.into();
        assert_ne!(
            self.attempt_timeout,
            Some(Duration::ZERO),
            "attempt_timeout: zero lets no address answer; give None to leave the limit to the pool"
        );
        self
    }

    /// Whether the server speaks before it is asked, as those of SMTP, FTP and MySQL do.
    ///
    /// Default: false, and then bytes on a new connection are dirt, as on any idle one. With true, bytes on a connection
    /// that nobody has used yet are its greeting, which its first user reads; a peer that closes is noticed all the same.
    /// A manager of your own may read the greeting in `connect` instead.
    ///
    /// # Examples
    ///
    /// ```
    /// # use pool_core::Manager;
    /// # use tokio::io::AsyncWriteExt;
    /// # use tokio::net::TcpListener;
    /// use pool_tcp::TcpManager;
    ///
    /// # tokio::runtime::Runtime::new().unwrap().block_on(async {
    /// # let listener = TcpListener::bind("127.0.0.1:0").await?;
    /// # let address = listener.local_addr()?.to_string();
    /// let manager = TcpManager::new(&address)?.server_speaks_first(true);
    /// let mut connection = manager.connect().await?;
    /// let (mut peer, _) = listener.accept().await?;
    /// peer.write_all(b"220 ready\r\n").await?;
    /// assert!(!manager.is_dropped(&mut connection));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// # }).unwrap();
    /// ```
    #[must_use]
    pub fn server_speaks_first(mut self, speaks_first: bool) -> Self {
        self.judge.speaks_first = speaks_first;
        self
    }

    /// Whether users only send, and expect no answer.
    ///
    /// Default: false, and then a connection whose user wrote and went without having read anything since is closed: the
    /// answer that may still come would be the next user's.
    ///
    /// # Examples
    ///
    /// ```
    /// # use pool_core::{Manager, Recycle};
    /// # use tokio::io::AsyncWriteExt;
    /// # use tokio::net::TcpListener;
    /// use pool_tcp::TcpManager;
    ///
    /// # tokio::runtime::Runtime::new().unwrap().block_on(async {
    /// # let listener = TcpListener::bind("127.0.0.1:0").await?;
    /// # let address = listener.local_addr()?.to_string();
    /// for (one_way, expected) in [(false, Recycle::Discard), (true, Recycle::Keep)] {
    ///     let manager = TcpManager::new(&address)?.one_way(one_way);
    ///     let mut connection = manager.connect().await?;
    ///     connection.write_all(b"requests:1|c\n").await?;
    ///     assert_eq!(manager.recycle(&mut connection), expected);
    /// }
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// # }).unwrap();
    /// ```
    #[must_use]
    pub fn one_way(mut self, one_way: bool) -> Self {
        self.judge.one_way = one_way;
        self
    }

    /// What unread bytes on an idle connection mean.
    ///
    /// Default: [`OnReadable::Discard`]. [`OnReadable::Recheck`] needs a reader, see [`recheck`](Self::recheck);
    /// without one it is the same.
    ///
    /// # Examples
    ///
    /// ```
    /// # use pool_core::Manager;
    /// # use tokio::io::AsyncWriteExt;
    /// # use tokio::net::TcpListener;
    /// use pool_tcp::{OnReadable, TcpManager};
    ///
    /// # tokio::runtime::Runtime::new().unwrap().block_on(async {
    /// # let listener = TcpListener::bind("127.0.0.1:0").await?;
    /// let manager = TcpManager::new(&listener.local_addr()?.to_string())?
    ///     .on_readable(OnReadable::Ignore);
    /// let mut connection = manager.connect().await?;
    /// let (mut peer, _) = listener.accept().await?;
    ///
    /// peer.write_all(b"legal in this protocol").await?;
    /// assert!(!manager.is_dropped(&mut connection));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// # }).unwrap();
    /// ```
    #[must_use]
    pub fn on_readable(mut self, on_readable: OnReadable) -> Self {
        self.judge.on_readable = on_readable;
        self
    }

    /// Lets `reader` look at bytes that came unasked: it reads them and says whether the connection is still good.
    ///
    /// It is called by the probe, so it must not block; [`PoolStream::try_read_now`] reads what is there. Bytes it
    /// leaves unread make the connection dirty all the same.
    ///
    /// # Examples
    ///
    /// ```
    /// # use pool_core::Manager;
    /// # use tokio::io::AsyncWriteExt;
    /// # use tokio::net::TcpListener;
    /// use pool_tcp::TcpManager;
    ///
    /// # tokio::runtime::Runtime::new().unwrap().block_on(async {
    /// # let listener = TcpListener::bind("127.0.0.1:0").await?;
    /// let manager = TcpManager::new(&listener.local_addr()?.to_string())?.recheck(|connection| {
    ///     let mut buffer = [0; 64];
    ///     let read = connection.get_mut().try_read_now(&mut buffer);
    ///     read.is_ok_and(|length| buffer[..length] == *b"still here\n")
    /// });
    /// let mut connection = manager.connect().await?;
    /// let (mut peer, _) = listener.accept().await?;
    ///
    /// peer.write_all(b"still here\n").await?;
    /// assert!(!manager.is_dropped(&mut connection));
    /// peer.write_all(b"goodbye\n").await?;
    /// assert!(manager.is_dropped(&mut connection));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// # }).unwrap();
    /// ```
    #[must_use]
    pub fn recheck(
        mut self,
        reader: impl Fn(&mut TcpConnection) -> bool + Send + Sync + 'static,
    ) -> Self {
        self.judge.recheck(reader);
        self
    }

    #[cfg(feature = "tls")]
    pub(crate) fn target(&self) -> &Target {
        &self.target
    }

    async fn dial(&self, addresses: Vec<SocketAddr>) -> Result<TcpStream, TcpError> {
        race(addresses, self.attempt_delay, |address| {
            self.attempt(address)
        })
        .await
        .map_err(|attempts| TcpError::Connect {
            target: self.target.to_string(),
            attempts,
        })
    }

    async fn attempt(&self, address: SocketAddr) -> io::Result<TcpStream> {
        let connecting = self.socket(address)?.connect(address);
        match self.attempt_timeout {
            None => connecting.await,
            Some(limit) => timeout(limit, connecting).await.unwrap_or_else(|_| {
                let message = format!("no answer within {limit:?}");
                Err(io::Error::new(io::ErrorKind::TimedOut, message))
            }),
        }
    }

    /// A socket with its options. They are set before it connects, so that they hold for the handshake too.
    fn socket(&self, address: SocketAddr) -> io::Result<TcpSocket> {
        let socket = tcp_socket(address)?;
        named("TCP_NODELAY", socket.set_nodelay(self.nodelay))?;
        if let Some(bytes) = self.send_buffer_size {
            named("SO_SNDBUF", socket.set_send_buffer_size(bytes))?;
        }
        if let Some(bytes) = self.recv_buffer_size {
            named("SO_RCVBUF", socket.set_recv_buffer_size(bytes))?;
        }
        let options = SockRef::from(&socket);
        if let Some(keepalive) = self.keepalive {
            named(
                "keepalive",
                options.set_tcp_keepalive(&keepalive.for_kernel()),
            )?;
        }
        #[cfg(any(target_os = "linux", target_os = "android"))]
        named(
            "TCP_USER_TIMEOUT",
            options.set_tcp_user_timeout(self.user_timeout),
        )?;
        if let Some(ip) = self.bind {
            socket.bind(SocketAddr::new(ip, 0))?;
        }
        Ok(socket)
    }

    /// The addresses that can be reached from the local address, if one was given.
    async fn addresses(&self) -> Result<Vec<SocketAddr>, TcpError> {
        let found = self.target.resolve().await;
        let mut addresses = found.map_err(|source| TcpError::Resolve {
            host: self.target.host.clone(),
            source,
        })?;
        if let Some(ip) = self.bind {
            addresses.retain(|address| address.is_ipv4() == ip.is_ipv4());
            // Tried once for all of them: it is our address that is wrong, not the peer's.
            let bound = match addresses.first() {
                Some(address) => {
                    tcp_socket(*address).and_then(|it| it.bind(SocketAddr::new(ip, 0)))
                }
                None => Err(io::Error::other(format!(
                    "{} has no address of the same family",
                    self.target
                ))),
            };
            bound.map_err(|source| TcpError::Bind {
                address: ip,
                source,
            })?;
        }
        Ok(addresses)
    }
}

impl Manager for TcpManager {
    type Connection = TcpConnection;
    type Error = TcpError;

    async fn connect(&self) -> Result<TcpConnection, TcpError> {
        let socket = self.dial(self.addresses().await?).await?;
        Ok(Connection::new(PoolStream::new(socket)))
    }

    fn is_dropped(&self, connection: &mut TcpConnection) -> bool {
        self.judge.dropped(connection).is_some()
    }

    fn poll_dropped(&self, connection: &mut TcpConnection, cx: &mut Context<'_>) -> Poll<Dropped> {
        self.judge.poll_dropped(connection, cx)
    }

    fn recycle(&self, connection: &mut TcpConnection) -> Recycle {
        connection.recycle(self.judge.one_way)
    }

    /// A local address that is not ours. A name may be entered and a server started at any time.
    fn is_permanent(&self, error: &TcpError) -> bool {
        match error {
            TcpError::Bind { source, .. } => matches!(
                source.kind(),
                io::ErrorKind::AddrNotAvailable | io::ErrorKind::PermissionDenied
            ),
            _ => false,
        }
    }
}

/// When the kernel asks a silent peer whether it is still there.
///
/// # Examples
///
/// ```
/// use pool_tcp::Keepalive;
/// use std::time::Duration;
///
/// let keepalive = Keepalive::default().time(Duration::from_secs(60));
/// assert_eq!(format!("{keepalive:?}"), "Keepalive { time: 60s, interval: 10s, retries: 3 }");
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Keepalive {
    time: Duration,
    interval: Duration,
    retries: u32,
}

impl Keepalive {
    /// How long the connection must be silent before the first question. Default: 30 s.
    ///
    /// # Panics
    ///
    /// If it is shorter than a second, the unit of the kernel.
    ///
    /// # Examples
    ///
    /// ```
    /// # use pool_tcp::Keepalive;
    /// # use std::time::Duration;
    /// let keepalive = Keepalive::default().time(Duration::from_secs(60));
    /// assert_ne!(keepalive, Keepalive::default());
    /// ```
    #[must_use]
    #[track_caller]
    pub fn time(mut self, time: Duration) -> Self {
        assert!(
            time >= Duration::from_secs(1),
            "keepalive time: less than a second; the kernel counts in whole seconds"
        );
        self.time = time;
        self
    }

    /// How long an answer may take before the question is repeated. Default: 10 s.
    ///
    /// # Panics
    ///
    /// If it is shorter than a second, the unit of the kernel.
    ///
    /// # Examples
    ///
    /// ```
    /// # use pool_tcp::Keepalive;
    /// # use std::time::Duration;
    /// let keepalive = Keepalive::default().interval(Duration::from_secs(1));
    /// assert_ne!(keepalive, Keepalive::default());
    /// ```
    #[must_use]
    #[track_caller]
    pub fn interval(mut self, interval: Duration) -> Self {
        assert!(
            interval >= Duration::from_secs(1),
            "keepalive interval: less than a second; the kernel counts in whole seconds"
        );
        self.interval = interval;
        self
    }

    /// How many questions in a row may stay unanswered. Default: 3, so that with the other defaults a dead peer is
    /// found within a minute.
    ///
    /// # Panics
    ///
    /// If it is zero.
    ///
    /// # Examples
    ///
    /// ```
    /// # use pool_tcp::Keepalive;
    /// assert_ne!(Keepalive::default().retries(5), Keepalive::default());
    /// ```
    #[must_use]
    #[track_caller]
    pub fn retries(mut self, retries: u32) -> Self {
        assert_ne!(
            retries, 0,
            "keepalive retries: zero; to turn keepalive off, give the manager None"
        );
        self.retries = retries;
        self
    }

    fn for_kernel(self) -> TcpKeepalive {
        let keepalive = TcpKeepalive::new().with_time(self.time);
        #[cfg(not(target_os = "openbsd"))]
        let keepalive = keepalive
            .with_interval(self.interval)
            .with_retries(self.retries);
        keepalive
    }
}

impl Default for Keepalive {
    fn default() -> Self {
        Self {
            time: Duration::from_secs(30),
            interval: Duration::from_secs(10),
            retries: 3,
        }
    }
}

fn tcp_socket(peer: SocketAddr) -> io::Result<TcpSocket> {
    match peer {
        SocketAddr::V4(_) => TcpSocket::new_v4(),
        SocketAddr::V6(_) => TcpSocket::new_v6(),
    }
}

fn named(option: &str, result: io::Result<()>) -> io::Result<()> {
    result.map_err(|error| io::Error::new(error.kind(), format!("could not set {option}: {error}")))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn manager() -> TcpManager {
        TcpManager::new("localhost:80").unwrap()
    }

    #[test]
    #[should_panic(expected = "user_timeout: less than a millisecond")]
    fn a_user_timeout_of_zero_is_refused() {
        let _ = manager().user_timeout(Duration::ZERO);
    }

    #[test]
    #[should_panic(expected = "attempt_timeout: zero")]
    fn an_attempt_timeout_of_zero_is_refused() {
        let _ = manager().attempt_timeout(Duration::ZERO);
    }

    #[test]
    #[should_panic(expected = "keepalive time: less than a second")]
    fn a_keepalive_time_below_a_second_is_refused() {
        let _ = Keepalive::default().time(Duration::from_millis(999));
    }

    #[test]
    #[should_panic(expected = "keepalive interval: less than a second")]
    fn a_keepalive_interval_of_zero_is_refused() {
        let _ = Keepalive::default().interval(Duration::ZERO);
    }

    #[test]
    #[should_panic(expected = "keepalive retries: zero")]
    fn keepalive_without_retries_is_refused() {
        let _ = Keepalive::default().retries(0);
    }

    #[test]
    fn limits_can_be_turned_off() {
        let manager = manager()
            .user_timeout(None)
            .attempt_timeout(None)
            .keepalive(None);
        assert_eq!(manager.user_timeout, None);
        assert_eq!(manager.attempt_timeout, None);
        assert_eq!(manager.keepalive, None);
    }

    /// What the resolver would have to answer for these is not ours to decide, so they start behind it.
    mod addresses_race {
        use super::*;
        use std::net::{Ipv4Addr, Ipv6Addr};
        use tokio::net::TcpListener;

        const LIMIT: Duration = Duration::from_secs(10);

        async fn listener(ip: impl Into<IpAddr>) -> (TcpListener, SocketAddr) {
            let listener = TcpListener::bind((ip.into(), 0)).await.unwrap();
            let address = listener.local_addr().unwrap();
            (listener, address)
        }

        /// An address where nobody listens any more.
        async fn refusing(ip: impl Into<IpAddr>) -> SocketAddr {
            listener(ip).await.1
        }

        /// A listener that accepts nobody and whose queue is full: what else dials it hears nothing.
        fn silent(ip: impl Into<IpAddr>) -> (socket2::Socket, Vec<socket2::Socket>, SocketAddr) {
            use socket2::{Domain, Socket, Type};
            let ip = ip.into();
            let domain = Domain::for_address(SocketAddr::new(ip, 0));
            let listener = Socket::new(domain, Type::STREAM, None).unwrap();
            listener.bind(&SocketAddr::new(ip, 0).into()).unwrap();
            listener.listen(0).unwrap();
            let address = listener.local_addr().unwrap();
            let mut queued = Vec::new();
            loop {
                let client = Socket::new(domain, Type::STREAM, None).unwrap();
                let connected = client.connect_timeout(&address, Duration::from_millis(300));
                if connected.is_err() {
                    return (listener, queued, address.as_socket().unwrap());
                }
                queued.push(client);
            }
        }

        #[tokio::test]
        async fn the_family_that_listens_wins() {
            let (listener, address) = listener(Ipv4Addr::LOCALHOST).await;
            let refusing = SocketAddr::new(Ipv6Addr::LOCALHOST.into(), address.port());
            let dial = timeout(LIMIT, manager().dial(vec![refusing, address])).await;
            assert_eq!(dial.unwrap().unwrap().peer_addr().unwrap(), address);
            drop(listener);
        }

        #[tokio::test]
        async fn an_address_that_listens_wins_over_a_silent_one_before_it() {
            let (_silent, _queued, black_hole) = silent(Ipv4Addr::LOCALHOST);
            let (_listener, address) = listener(Ipv4Addr::LOCALHOST).await;
            // With no limit of its own the black hole would take the kernel's two minutes.
            let manager = manager().attempt_timeout(None).user_timeout(None);
            let dial = timeout(LIMIT, manager.dial(vec![black_hole, address])).await;
            assert_eq!(dial.unwrap().unwrap().peer_addr().unwrap(), address);
        }

        #[tokio::test]
        async fn a_silent_address_is_given_up_in_time_and_named() {
            let (_silent, _queued, black_hole) = silent(Ipv4Addr::LOCALHOST);
            let refusing = refusing(Ipv4Addr::LOCALHOST).await;
            let manager = manager().attempt_timeout(Duration::from_millis(500));
            let dial = timeout(LIMIT, manager.dial(vec![black_hole, refusing])).await;
            let error = dial.unwrap().unwrap_err();
            assert!(!manager.is_permanent(&error));
            let message = error.to_string();
            assert!(
                message.contains(&format!("{black_hole}: no answer within 500ms")),
                "{message}"
            );
            assert!(
                message.contains(&format!("{refusing}: Connection refused")),
                "{message}"
            );
        }

        #[cfg(target_os = "linux")]
        #[tokio::test]
        async fn the_losers_sockets_are_closed() {
            let (_silent, _queued, black_hole) = silent(Ipv4Addr::LOCALHOST);
            let (_listener, address) = listener(Ipv4Addr::LOCALHOST).await;
            // In the kernel's table the address is followed by the state; 02 is SYN_SENT.
            let dialling = || {
                let row = format!("0100007F:{:04X} 02 ", black_hole.port());
                std::fs::read_to_string("/proc/net/tcp")
                    .unwrap()
                    .matches(&row)
                    .count()
            };
            let manager = manager().attempt_timeout(None);
            let mut dial = Box::pin(manager.dial(vec![black_hole, address]));
            let started = timeout(Duration::from_millis(1), &mut dial).await;
            assert!(started.is_err());
            assert_eq!(dialling(), 1);
            timeout(LIMIT, dial).await.unwrap().unwrap();
            assert_eq!(dialling(), 0);
        }
    }
}
