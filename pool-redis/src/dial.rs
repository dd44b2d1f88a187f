//! Where a server is, and how to get a stream to it.

#[cfg(feature = "tls")]
use std::sync::Arc;

use pool_core::Manager;
#[cfg(unix)]
use pool_tcp::UnixManager;
#[cfg(feature = "tls")]
use pool_tcp::rustls::ClientConfig;
use pool_tcp::{AddressError, OnReadable, TcpManager};
use redis::{ConnectionAddr, ConnectionInfo, ProtocolVersion};
use tokio::io::{AsyncRead, AsyncWrite};

use crate::driver::Probe;
use crate::error::{RedisConfigError, RedisConnectError};
use crate::sentinel::Node;

/// What redis-rs reads from and writes to.
pub(crate) trait Stream: AsyncRead + AsyncWrite + Unpin + Send {}

impl<S: AsyncRead + AsyncWrite + Unpin + Send> Stream for S {}

/// One server.
#[derive(Clone, Debug)]
pub(crate) struct Dialer {
    to: To,
    /// As it is named in errors.
    target: String,
}

#[derive(Clone, Debug)]
enum To {
    // Boxed, as it is large beside a path.
    Tcp(Box<TcpManager>),
    #[cfg(feature = "tls")]
    Tls(Box<TcpManager>, Arc<ClientConfig>),
    #[cfg(unix)]
    Unix(UnixManager),
}

impl Dialer {
    /// With certificates as the operating system trusts them, if the address asks for TLS.
    pub(crate) fn new(info: &ConnectionInfo) -> Result<Self, RedisConfigError> {
        let target = info.addr().to_string();
        let to = match info.addr() {
            ConnectionAddr::Tcp(host, port) => To::Tcp(Box::new(tcp(host, *port, info)?)),
            #[cfg(feature = "tls")]
            ConnectionAddr::TcpTls {
                insecure,
                tls_params,
                ..
            } => {
                if *insecure || tls_params.is_some() {
                    return Err(RedisConfigError::TlsByHand { target });
                }
                return Self::with_tls(info, Arc::new(pool_tcp::trusting_the_system()?));
            }
            #[cfg(not(feature = "tls"))]
            ConnectionAddr::TcpTls { .. } => return Err(RedisConfigError::NoTls { target }),
            #[cfg(unix)]
            ConnectionAddr::Unix(path) => To::Unix(UnixManager::new(path)),
            _ => return Err(RedisConfigError::Unsupported { target }),
        };
        Ok(Self { to, target })
    }

    /// By TLS, whether or not the address asks for it.
    #[cfg(feature = "tls")]
    pub(crate) fn with_tls(
        info: &ConnectionInfo,
        config: Arc<ClientConfig>,
    ) -> Result<Self, RedisConfigError> {
        let target = info.addr().to_string();
        let (ConnectionAddr::Tcp(host, port) | ConnectionAddr::TcpTls { host, port, .. }) =
            info.addr()
        else {
            return Err(RedisConfigError::Unsupported { target });
        };
        let tcp = tcp(host, *port, info)?;
        // Once here, so that it cannot fail later.
        tcp.clone().tls(config.clone())?;
        let to = To::Tls(Box::new(tcp), config);
        Ok(Self { to, target })
    }

    /// By TCP, to be told where by [`at`](Self::at); `name` stands for the place.
    pub(crate) fn somewhere(name: &str) -> Result<Self, RedisConfigError> {
        Ok(Self {
            to: To::Tcp(Box::new(TcpManager::new("localhost:6379")?)),
            target: name.to_owned(),
        })
    }

    /// In the same way, to another place.
    pub(crate) fn at(&self, node: &Node) -> Result<Self, AddressError> {
        let target = node.to_string();
        let to = match &self.to {
            To::Tcp(tcp) => To::Tcp(Box::new(tcp.at(&target)?)),
            #[cfg(feature = "tls")]
            To::Tls(tcp, config) => To::Tls(Box::new(tcp.at(&target)?), config.clone()),
            #[cfg(unix)]
            To::Unix(unix) => To::Unix(unix.clone()),
        };
        Ok(Self { to, target })
    }

    /// By TLS from now on; of a Unix socket, nothing changes.
    #[cfg(feature = "tls")]
    pub(crate) fn secure(&mut self, config: Arc<ClientConfig>) {
        if let To::Tcp(tcp) | To::Tls(tcp, _) = &self.to {
            self.to = To::Tls(tcp.clone(), config);
        }
    }

    /// Changes how TCP is dialled; for a Unix socket there is nothing to change.
    pub(crate) fn tune(&mut self, tune: impl FnOnce(TcpManager) -> TcpManager) {
        match &mut self.to {
            To::Tcp(tcp) => **tcp = tune((**tcp).clone()),
            #[cfg(feature = "tls")]
            To::Tls(tcp, _) => **tcp = tune((**tcp).clone()),
            #[cfg(unix)]
            To::Unix(_) => {}
        }
    }

    pub(crate) fn target(&self) -> &str {
        &self.target
    }

    /// A stream, and the probe of the socket under it, that knows what unread bytes mean in `protocol`.
    pub(crate) async fn dial(
        &self,
        protocol: ProtocolVersion,
    ) -> Result<(Box<dyn Stream>, Probe), RedisConnectError> {
        // RESP3 lets the server speak unasked; in RESP2 whatever it says is the answer to somebody's command.
        let on_readable = match protocol {
            ProtocolVersion::RESP2 => OnReadable::Discard,
            _ => OnReadable::Ignore,
        };
        match &self.to {
            To::Tcp(tcp) => {
                let (stream, probe) = tcp.connect().await?.into_parts();
                Ok((Box::new(stream), Probe::new(probe, on_readable)))
            }
            #[cfg(feature = "tls")]
            To::Tls(tcp, config) => {
                let tls = (**tcp)
                    .clone()
                    .tls(config.clone())
                    .expect("it could be done before");
                let (stream, probe) = tls.connect().await?.into_parts();
                // The bytes may be a session ticket.
                Ok((Box::new(stream), Probe::new(probe, OnReadable::Ignore)))
            }
            #[cfg(unix)]
            To::Unix(manager) => {
                let (stream, probe) = manager.connect().await?.into_parts();
                Ok((Box::new(stream), Probe::new(probe, on_readable)))
            }
        }
    }

    /// Whether dialling again cannot help.
    pub(crate) fn is_permanent(&self, error: &RedisConnectError) -> bool {
        match (&self.to, error) {
            (To::Tcp(tcp), RedisConnectError::Tcp(error)) => tcp.is_permanent(error),
            #[cfg(feature = "tls")]
            (To::Tls(tcp, config), RedisConnectError::Tcp(error)) => (**tcp)
                .clone()
                .tls(config.clone())
                .is_ok_and(|tls| tls.is_permanent(error)),
            #[cfg(unix)]
            (To::Unix(manager), RedisConnectError::Unix(error)) => manager.is_permanent(error),
            _ => false,
        }
    }
}

/// What `info` says of TCP counts where it says something; redis-rs has other defaults than this crate.
fn tcp(host: &str, port: u16, info: &ConnectionInfo) -> Result<TcpManager, AddressError> {
    // An IPv6 address comes with and without.
    let tcp = match host.contains(':') && !host.starts_with('[') {
        true => TcpManager::new(&format!("[{host}]:{port}"))?,
        false => TcpManager::new(&format!("{host}:{port}"))?,
    };
    #[cfg(any(target_os = "android", target_os = "linux"))]
    if let Some(limit) = info.tcp_settings().user_timeout() {
        return Ok(tcp.user_timeout(limit));
    }
    let _ = info;
    Ok(tcp)
}
