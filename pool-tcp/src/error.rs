//! What goes wrong before there is a connection, in words that name the address and what to do.

use std::error::Error;
use std::fmt;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

/// An address that cannot be dialled.
///
/// # Examples
///
/// ```
/// use pool_tcp::TcpManager;
///
/// let error = TcpManager::new("localhost").unwrap_err();
/// assert_eq!(error.to_string(), "localhost: no port; write localhost:80, with the port of the server");
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum AddressError {
    /// Nothing behind the host.
    NoPort {
        /// What was given.
        address: String,
    },
    /// The part behind the last colon is not a port.
    BadPort {
        /// What was given.
        address: String,
        /// The part that should be a port.
        port: String,
    },
    /// Nothing in front of the port.
    NoHost {
        /// What was given.
        address: String,
    },
    /// An IPv6 address whose last group could be a port as well.
    NoBrackets {
        /// What was given.
        address: String,
    },
    /// Something with a scheme or a path.
    Url {
        /// What was given.
        address: String,
    },
    /// A host that no TLS certificate can name.
    NoCertificate {
        /// The host.
        host: String,
    },
}

impl fmt::Display for AddressError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoPort { address } => write!(
                f,
                "{address}: no port; write {address}:80, with the port of the server"
            ),
            Self::BadPort { address, port } => write!(
                f,
                "{address}: {port:?} is not a port; write a number from 1 to 65535"
            ),
            Self::NoHost { address } => {
                write!(
                    f,
                    "{address:?}: no host; write host:port, such as localhost:80"
                )
            }
            Self::NoBrackets { address } => write!(
                f,
                "{address}: an IPv6 address needs brackets; write [address]:port, such as [::1]:80"
            ),
            Self::Url { address } => write!(
                f,
                "{address}: this is a URL; write host:port alone, such as localhost:80"
            ),
            Self::NoCertificate { host } => write!(
                f,
                "{host:?}: no certificate can name this host; dial a DNS name or a plain IP address"
            ),
        }
    }
}

impl Error for AddressError {}

/// Why there is no connection.
///
/// # Examples
///
/// ```
/// use pool_core::Manager;
/// use pool_tcp::{TcpError, TcpManager};
///
/// # tokio::runtime::Runtime::new().unwrap().block_on(async {
/// let error = TcpManager::new("no-such-host.invalid:80")?.connect().await.unwrap_err();
/// assert!(matches!(error, TcpError::Resolve { .. }));
/// assert!(error.to_string().starts_with("could not resolve no-such-host.invalid: "));
/// # Ok::<(), pool_tcp::AddressError>(())
/// # }).unwrap();
/// ```
#[derive(Debug)]
#[non_exhaustive]
pub enum TcpError {
    /// The name has no address, or the name service did not answer.
    Resolve {
        /// The name.
        host: String,
        /// What the resolver said.
        source: io::Error,
    },
    /// None of the addresses took the connection. The message has the reason of each.
    Connect {
        /// As it was given, `host:port`.
        target: String,
        /// Every address that was tried and its error, in the order of the failures.
        attempts: Vec<(SocketAddr, io::Error)>,
    },
    /// The local address cannot be used.
    Bind {
        /// The local address.
        address: IpAddr,
        /// What the kernel said.
        source: io::Error,
    },
    /// The TLS handshake failed.
    Tls {
        /// As it was given, `host:port`.
        target: String,
        /// What rustls said, or the socket.
        source: io::Error,
    },
    /// The peer accepted the connection but did not finish the TLS handshake in time.
    TimedOut {
        /// As it was given, `host:port`.
        target: String,
        /// The limit.
        limit: Duration,
    },
}

impl fmt::Display for TcpError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Resolve { host, source } => write!(f, "could not resolve {host}: {source}"),
            Self::Connect { target, attempts } => {
                f.write_str(target)?;
                let mut before = ": ";
                for (address, error) in attempts {
                    f.write_str(before)?;
                    // Where the target is the address, once is enough.
                    if address.to_string() != *target {
                        write!(f, "{address}: ")?;
                    }
                    write!(f, "{error}")?;
                    before = "; ";
                }
                Ok(())
            }
            Self::Bind { address, source } => {
                write!(f, "could not bind to {address}")?;
                match source.kind() {
                    io::ErrorKind::AddrNotAvailable => {
                        write!(f, ", which is no address of this machine")
                    }
                    _ => Ok(()),
                }
            }
            Self::Tls { target, .. } => write!(f, "TLS handshake with {target} failed"),
            Self::TimedOut { target, limit } => write!(
                f,
                "{target} accepted the connection, but finished no TLS handshake within {limit:?}; does it speak TLS?"
            ),
        }
    }
}

impl Error for TcpError {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        match self {
            Self::Resolve { source, .. } | Self::Bind { source, .. } | Self::Tls { source, .. } => {
                Some(source)
            }
            // There is a cause for each address, and the message has them all.
            Self::Connect { .. } | Self::TimedOut { .. } => None,
        }
    }
}

/// The path of a Unix-domain socket that took no connection.
///
/// # Examples
///
/// ```
/// # #[cfg(unix)]
/// # tokio::runtime::Runtime::new().unwrap().block_on(async {
/// use pool_core::Manager;
/// use pool_tcp::UnixManager;
/// use std::error::Error;
///
/// let error = UnixManager::new("/no/such/socket").connect().await.unwrap_err();
/// assert_eq!(error.to_string(), "could not connect to /no/such/socket");
/// assert!(error.source().is_some());
/// # });
/// ```
#[cfg(unix)]
#[derive(Debug)]
pub struct UnixError {
    pub(crate) path: std::path::PathBuf,
    pub(crate) source: io::Error,
}

#[cfg(unix)]
impl UnixError {
    /// The path that was dialled.
    ///
    /// # Examples
    ///
    /// ```
    /// # use pool_core::Manager;
    /// # use pool_tcp::UnixManager;
    /// # tokio::runtime::Runtime::new().unwrap().block_on(async {
    /// let error = UnixManager::new("/no/such/socket").connect().await.unwrap_err();
    /// assert_eq!(error.path(), "/no/such/socket");
    /// # });
    /// ```
    pub fn path(&self) -> &std::path::Path {
        &self.path
    }
}

#[cfg(unix)]
impl fmt::Display for UnixError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "could not connect to {}", self.path.display())?;
        if self.source.kind() == io::ErrorKind::WouldBlock {
            // The kernel does not wait here, unlike with TCP.
            write!(f, ", whose queue of connections to accept is full")?;
        }
        Ok(())
    }
}

#[cfg(unix)]
impl Error for UnixError {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        Some(&self.source)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_connect_error_has_the_reason_of_each_address() {
        let refused = || io::Error::from(io::ErrorKind::ConnectionRefused);
        let error = TcpError::Connect {
            target: "db:5432".into(),
            attempts: vec![
                ("10.0.0.1:5432".parse().unwrap(), refused()),
                ("[fd00::1]:5432".parse().unwrap(), refused()),
            ],
        };
        assert_eq!(
            error.to_string(),
            "db:5432: 10.0.0.1:5432: connection refused; [fd00::1]:5432: connection refused"
        );
    }
}
