//! TLS over the same stream: asked first is the socket, then, about bytes it cannot judge, the TLS layer.

use std::io::{self, Read};
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use pool_core::{Dropped, Manager, Recycle};
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use tokio_rustls::rustls::pki_types::ServerName;
use tokio_rustls::rustls::{self, ClientConfig};

use crate::connection::Connection;
use crate::error::{AddressError, TcpError};
use crate::probe::{Liveness, SocketProbe};
use crate::stream::PoolStream;
use crate::tcp::TcpManager;

/// A pooled TLS connection.
pub type TlsConnection = Connection<TlsStream<PoolStream<TcpStream>>>;

/// How often a look reads from the socket before it gives up on a peer that never stops: 4 KiB each, while the
/// tickets of a TLS 1.3 handshake rarely fill one.
const MOST_READS: usize = 32;

/// Dials as a [`TcpManager`] does and speaks TLS to the peer. Made by [`TcpManager::tls`].
///
/// The session tickets that a TLS 1.3 server sends after the handshake are read, and kept by rustls; they do not count
/// as unread bytes. A connection is dropped after the peer's FIN, its `close_notify`, and any data nobody asked for;
/// [`TcpManager::on_readable`] has no effect, for here the TLS layer can tell.
///
/// # Examples
///
/// ```
/// use pool_core::Manager;
/// use pool_tcp::rustls::{ClientConfig, RootCertStore};
/// use pool_tcp::{TcpError, TcpManager};
/// use std::sync::Arc;
/// use tokio::net::TcpListener;
///
/// # tokio::runtime::Runtime::new().unwrap().block_on(async {
/// let config = ClientConfig::builder()
///     .with_root_certificates(RootCertStore::empty())
///     .with_no_client_auth();
/// let listener = TcpListener::bind("127.0.0.1:0").await?;
/// let manager = TcpManager::new(&listener.local_addr()?.to_string())?.tls(Arc::new(config))?;
///
/// // A server that hangs up when it sees TLS.
/// tokio::spawn(async move { drop(listener.accept().await) });
/// assert!(matches!(manager.connect().await, Err(TcpError::Tls { .. })));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// # }).unwrap();
/// ```
#[derive(Clone, Debug)]
pub struct TlsManager {
    tcp: TcpManager,
    config: Arc<ClientConfig>,
    server_name: ServerName<'static>,
    handshake_timeout: Option<Duration>,
}

impl TcpManager {
    /// Speaks TLS over the connections. The peer must show a certificate for the host it was dialled by.
    ///
    /// # Errors
    ///
    /// If no certificate can name the host, such as an IPv6 address with a zone.
    ///
    /// # Examples
    ///
    /// ```
    /// use pool_tcp::TcpManager;
    /// use pool_tcp::rustls::{ClientConfig, RootCertStore};
    /// use std::sync::Arc;
    ///
    /// let config = Arc::new(
    ///     ClientConfig::builder()
    ///         .with_root_certificates(RootCertStore::empty())
    ///         .with_no_client_auth(),
    /// );
    /// assert!(TcpManager::new("[::1]:443")?.tls(config.clone()).is_ok());
    /// let error = TcpManager::new("[fe80::1%eth0]:443")?.tls(config).unwrap_err();
    /// assert!(error.to_string().contains("dial a DNS name or a plain IP address"));
    /// # Ok::<(), pool_tcp::AddressError>(())
    /// ```
    pub fn tls(self, config: Arc<ClientConfig>) -> Result<TlsManager, AddressError> {
        let host = self.target().host.clone();
        let server_name =
            ServerName::try_from(host.clone()).map_err(|_| AddressError::NoCertificate { host })?;
        Ok(TlsManager {
            tcp: self,
            config,
            server_name,
            handshake_timeout: Some(Duration::from_secs(5)),
        })
    }
}

impl TlsManager {
    /// The name the peer's certificate must have, also sent to it (SNI).
    ///
    /// Default: the host that is dialled.
    ///
    /// # Examples
    ///
    /// ```
    /// use pool_tcp::TcpManager;
    /// use pool_tcp::rustls::pki_types::ServerName;
    /// # use std::sync::Arc;
    /// # use pool_tcp::rustls::{ClientConfig, RootCertStore};
    ///
    /// # let config = Arc::new(ClientConfig::builder()
    /// #     .with_root_certificates(RootCertStore::empty()).with_no_client_auth());
    /// let manager = TcpManager::new("10.0.0.1:443")?
    ///     .tls(config)?
    ///     .server_name(ServerName::try_from("db.internal")?);
    /// assert!(format!("{manager:?}").contains("db.internal"));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    #[must_use]
    pub fn server_name(mut self, name: ServerName<'static>) -> Self {
        self.server_name = name;
        self
    }

    /// How long the peer may take for the handshake; `None` leaves the limit to the pool.
    ///
    /// Default: 5 s, which with the 5 s of [`TcpManager::attempt_timeout`] is the pool's limit for a dial.
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
    /// # use std::sync::Arc;
    /// # use pool_tcp::rustls::{ClientConfig, RootCertStore};
    ///
    /// # let config = Arc::new(ClientConfig::builder()
    /// #     .with_root_certificates(RootCertStore::empty()).with_no_client_auth());
    /// let manager = TcpManager::new("localhost:443")?
    ///     .tls(config)?
    ///     .handshake_timeout(Duration::from_secs(1));
    /// assert!(format!("{manager:?}").contains("handshake_timeout: Some(1s)"));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    #[must_use]
    #[track_caller]
    pub fn handshake_timeout(mut self, limit: impl Into<Option<Duration>>) -> Self {
        self.handshake_timeout = limit.into();
        assert_ne!(
            self.handshake_timeout,
            Some(Duration::ZERO),
            "handshake_timeout: zero lets no peer answer; give None to leave the limit to the pool"
        );
        self
    }
}

impl Manager for TlsManager {
    type Connection = TlsConnection;
    type Error = TcpError;

    async fn connect(&self) -> Result<TlsConnection, TcpError> {
        let stream = self.tcp.connect().await?.into_inner();
        let connector = TlsConnector::from(self.config.clone());
        let handshake = connector.connect(self.server_name.clone(), stream);
        let shaken = match self.handshake_timeout {
            None => handshake.await,
            Some(limit) => timeout(limit, handshake)
                .await
                .map_err(|_| TcpError::TimedOut {
                    target: self.tcp.target().to_string(),
                    limit,
                })?,
        };
        shaken.map(Connection::new).map_err(|source| TcpError::Tls {
            target: self.tcp.target().to_string(),
            source,
        })
    }

    fn is_dropped(&self, connection: &mut TlsConnection) -> bool {
        connection.dropped(self.tcp.judge.speaks_first).is_some()
    }

    fn poll_dropped(&self, connection: &mut TlsConnection, cx: &mut Context<'_>) -> Poll<Dropped> {
        loop {
            if let Some(dropped) = connection.heard(self.tcp.judge.speaks_first) {
                return Poll::Ready(dropped);
            }
            match ready!(connection.get_mut().get_mut().0.poll_liveness(cx)) {
                Liveness::Dropped => return Poll::Ready(Dropped::Closed),
                // Tickets, or worse. What is read now is gone from the socket, so that the next turn waits.
                Liveness::Readable | Liveness::Alive => {}
            }
            if let Some(dropped) = connection.dropped(self.tcp.judge.speaks_first) {
                return Poll::Ready(dropped);
            }
        }
    }

    fn recycle(&self, connection: &mut TlsConnection) -> Recycle {
        // Written, but waiting in the TLS layer for room in the send buffer: the peer does not have it yet.
        match connection.get_ref().get_ref().1.wants_write() {
            true => Recycle::Discard,
            false => connection.recycle(self.tcp.judge.one_way),
        }
    }

    /// Says goodbye (`close_notify`, RFC 8446 §6.1) and sends a FIN, without waiting for the peer to do the same.
    ///
    /// It waits only for room in the send buffer, when the peer has stopped reading; the pool bounds that.
    async fn close(&self, connection: TlsConnection) {
        if !connection.is_over() {
            // The peer may be gone already; the socket is closed all the same.
            let _ = connection.into_inner().shutdown().await;
        }
    }

    /// Besides what is permanent for TCP: a certificate that is not accepted, or a peer without a common TLS version or
    /// cipher.
    fn is_permanent(&self, error: &TcpError) -> bool {
        let TcpError::Tls { source, .. } = error else {
            return self.tcp.is_permanent(error);
        };
        let cause = source
            .get_ref()
            .and_then(|error| error.downcast_ref::<rustls::Error>());
        matches!(
            cause,
            Some(rustls::Error::InvalidCertificate(_) | rustls::Error::PeerIncompatible(_))
        )
    }
}

impl TlsConnection {
    /// The TLS stream, for a driver that takes it by value, and a probe that watches the socket under it.
    ///
    /// The probe knows nothing of TLS: watch with [`OnReadable::Ignore`](crate::OnReadable::Ignore) and leave the bytes
    /// to the driver, which drops the stream when they mean the end.
    ///
    /// # Examples
    ///
    /// ```
    /// use pool_tcp::{OnReadable, TlsConnection};
    /// use std::future::poll_fn;
    ///
    /// async fn hand_over(connection: TlsConnection) {
    ///     let (stream, mut probe) = connection.into_parts();
    ///     tokio::spawn(async move { drop(stream) });
    ///     let dropped = poll_fn(|cx| probe.poll_dropped(cx, OnReadable::Ignore)).await;
    ///     assert_eq!(dropped, pool_core::Dropped::Closed);
    /// }
    /// # let _ = hand_over;
    /// ```
    pub fn into_parts(self) -> (TlsStream<PoolStream>, SocketProbe) {
        let mut stream = self.into_inner();
        let probe = stream.get_mut().0.probe();
        (stream, probe)
    }

    /// Asks the socket, and feeds the TLS layer what the socket has until both have nothing more to say.
    fn dropped(&mut self, speaks_first: bool) -> Option<Dropped> {
        for _ in 0..MOST_READS {
            // The TLS layer first: a `close_notify` it has already read is no longer in the socket.
            if let Some(dropped) = self.heard(speaks_first) {
                return Some(dropped);
            }
            let (stream, session) = self.get_mut().get_mut();
            match stream.liveness() {
                Liveness::Alive => return None,
                Liveness::Dropped => return Some(Dropped::Closed),
                Liveness::Readable => {}
            }
            match session.read_tls(&mut Now(stream)) {
                Ok(0) => return Some(Dropped::Closed),
                Ok(_) => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return None,
                Err(_) => return Some(Dropped::Closed),
            }
        }
        Some(Dropped::Dirty)
    }

    /// What the TLS layer has read so far, without asking the socket: a `close_notify`, or data that shared a record
    /// with the last answer.
    fn heard(&mut self, speaks_first: bool) -> Option<Dropped> {
        if self.is_over() {
            return Some(Dropped::Closed);
        }
        let is_greeting = speaks_first && self.is_untouched();
        match self.get_mut().get_mut().1.process_new_packets() {
            Ok(state) if state.peer_has_closed() => Some(Dropped::Closed),
            Ok(state) if state.plaintext_bytes_to_read() > 0 && !is_greeting => {
                Some(Dropped::Dirty)
            }
            Ok(_) => None,
            Err(_) => Some(Dropped::Dirty),
        }
    }
}

/// Reads from the kernel whether or not the reactor has run: a look must be exact.
struct Now<'a>(&'a mut PoolStream);

impl Read for Now<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.0.try_read_now(buffer)
    }
}
