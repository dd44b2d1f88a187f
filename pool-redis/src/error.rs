//! What goes wrong before there is a connection, in words that name the server and what to do.

use std::error::Error;
use std::fmt;
use std::time::Duration;

use pool_tcp::{AddressError, TcpError};
use redis::RedisError;

use crate::handshake;

/// A server that cannot be dialled as it was given.
///
/// # Examples
///
/// ```
/// use pool_redis::RedisManager;
///
/// let error = RedisManager::new("http://localhost").unwrap_err();
/// assert!(error.to_string().contains("write redis://localhost:6379/0"), "{error}");
/// ```
#[derive(Debug)]
#[non_exhaustive]
pub enum RedisConfigError {
    /// Not a URL of Redis.
    Url(RedisError),
    /// A host that cannot be dialled.
    Address(AddressError),
    /// A `rediss://` address, and the feature `tls` is off.
    NoTls {
        /// The address.
        target: String,
    },
    /// A `rediss://` address with `#insecure`, or with certificates that redis-rs does not give back.
    TlsByHand {
        /// The address.
        target: String,
    },
    /// Sentinels were to be asked, and there is none.
    NoSentinels {
        /// What they were to be asked for.
        master: String,
    },
    /// Nodes that do not make a cluster.
    #[cfg(feature = "cluster")]
    Cluster {
        /// The nodes.
        name: String,
        /// What redis-rs said.
        source: RedisError,
    },
    /// The operating system has no certificates to trust; see [`RedisManager::with_tls`](crate::RedisManager::with_tls).
    #[cfg(feature = "tls")]
    NoRoots(pool_tcp::NoRoots),
    /// An address this platform has no sockets for.
    Unsupported {
        /// The address.
        target: String,
    },
}

impl fmt::Display for RedisConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Url(_) => f.write_str(
                "this is no URL of Redis; write redis://localhost:6379/0, with user:password@ before the host if the \
                 server wants one, or redis+unix:///path",
            ),
            Self::Address(error) => write!(f, "{error}"),
            Self::NoTls { target } => write!(
                f,
                "{target}: TLS was left out of this build; turn on the feature tls of pool-redis"
            ),
            Self::TlsByHand { target } => write!(
                f,
                "{target}: whom to trust, or not to ask, cannot be read from it; give a rustls configuration to \
                 RedisManager::with_tls"
            ),
            Self::NoSentinels { master } => write!(
                f,
                "there is no sentinel to ask for {master}; name at least one"
            ),
            #[cfg(feature = "cluster")]
            Self::Cluster { name, source } => write!(f, "{name}: {source}"),
            #[cfg(feature = "tls")]
            Self::NoRoots(error) => write!(f, "{error}"),
            Self::Unsupported { target } => {
                write!(f, "{target}: there are no such sockets on this platform")
            }
        }
    }
}

impl Error for RedisConfigError {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        match self {
            Self::Url(error) => Some(error),
            // Their messages are this one's.
            #[cfg(feature = "cluster")]
            Self::Cluster { .. } => None,
            #[cfg(feature = "tls")]
            Self::NoRoots(_) => None,
            Self::Address(_)
            | Self::NoTls { .. }
            | Self::TlsByHand { .. }
            | Self::NoSentinels { .. }
            | Self::Unsupported { .. } => None,
        }
    }
}

#[cfg(feature = "tls")]
impl From<pool_tcp::NoRoots> for RedisConfigError {
    fn from(error: pool_tcp::NoRoots) -> Self {
        Self::NoRoots(error)
    }
}

impl From<AddressError> for RedisConfigError {
    fn from(error: AddressError) -> Self {
        Self::Address(error)
    }
}

/// Why there is no connection.
///
/// # Examples
///
/// ```
/// use pool_core::Manager;
/// use pool_redis::{RedisConnectError, RedisManager};
///
/// # tokio::runtime::Runtime::new().unwrap().block_on(async {
/// let manager = RedisManager::new("redis://no-such-host.invalid")?;
/// let error = manager.connect().await.unwrap_err();
/// assert!(matches!(error, RedisConnectError::Tcp(_)));
/// assert!(error.to_string().starts_with("could not resolve no-such-host.invalid: "));
/// # Ok::<(), pool_redis::RedisConfigError>(())
/// # }).unwrap();
/// ```
#[derive(Debug)]
#[non_exhaustive]
pub enum RedisConnectError {
    /// No TCP connection, or no TLS over it.
    Tcp(TcpError),
    /// The path of a Unix-domain socket took no connection.
    #[cfg(unix)]
    Unix(pool_tcp::UnixError),
    /// The server took the connection, and not who we are or what we want.
    Refused {
        /// The server.
        target: String,
        /// What it was asked for, such as `AUTH`. Never with the password.
        command: &'static str,
        /// Its answer.
        source: RedisError,
    },
    /// The server wants a password and was given none.
    NoPassword {
        /// The server.
        target: String,
    },
    /// The connection ended, or became nonsense, before the handshake was over.
    Handshake {
        /// The server.
        target: String,
        /// What redis-rs said.
        source: RedisError,
    },
    /// The server took the connection but did not answer in time.
    TimedOut {
        /// The server.
        target: String,
        /// The limit.
        limit: Duration,
    },
    /// All of it together took too long: name service, dial, sentinels, handshake.
    NotInTime {
        /// The server, or the name of the master.
        target: String,
        /// The limit.
        limit: Duration,
    },
    /// None of the sentinels named a server.
    NoSentinel {
        /// What they were asked for.
        master: String,
        /// What became of each of them, in the order in which they were asked.
        attempts: Vec<RedisConnectError>,
    },
    /// A sentinel watches no master of this name.
    UnknownMaster {
        /// The sentinel.
        target: String,
        /// The name.
        master: String,
    },
    /// A sentinel knows no replica that is there and in step.
    NoReplica {
        /// The sentinel.
        target: String,
        /// The name of the master.
        master: String,
    },
    /// The server is not what the sentinels took it for.
    WrongRole {
        /// The server.
        target: String,
        /// What it was dialled for.
        wanted: &'static str,
        /// What it says it is.
        found: &'static str,
    },
    /// No node of the cluster could be reached, or none could say who has which slot.
    #[cfg(feature = "cluster")]
    Cluster {
        /// The nodes that were asked.
        name: String,
        /// What redis-rs said.
        source: RedisError,
    },
    /// The master moved while the server was dialled.
    Moved {
        /// The server.
        target: String,
        /// The new master.
        master: String,
    },
}

impl RedisConnectError {
    /// Whether a server does not want us, and will not unless something is changed.
    pub(crate) fn is_refused_for_good(&self) -> bool {
        match self {
            Self::NoPassword { .. } => true,
            Self::Refused { source, .. } => handshake::is_permanent(source),
            _ => false,
        }
    }
}

impl fmt::Display for RedisConnectError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp(error) => write!(f, "{error}"),
            #[cfg(unix)]
            Self::Unix(error) => write!(f, "{error}"),
            Self::Refused {
                target,
                command,
                source,
            } => write!(f, "{target} refused {command}: {source}"),
            Self::NoPassword { target } => write!(
                f,
                "{target} wants a password; write redis://:password@host or redis://user:password@host"
            ),
            Self::Handshake { target, .. } => write!(
                f,
                "{target} took the connection and ended it before it answered; is it a Redis, and has it room for another client \
                 (maxclients)?"
            ),
            Self::TimedOut { target, limit } => write!(
                f,
                "{target} took the connection, but did not answer within {limit:?}"
            ),
            Self::NotInTime { target, limit } => {
                write!(f, "{target}: no connection within {limit:?}")
            }
            Self::NoSentinel { master, attempts } => {
                write!(f, "no sentinel could say where {master} is")?;
                attempts.iter().try_for_each(|error| write!(f, "; {error}"))
            }
            Self::UnknownMaster { target, master } => {
                write!(f, "the sentinel {target} knows no master called {master}")
            }
            Self::NoReplica { target, master } => write!(
                f,
                "the sentinel {target} knows no replica of {master} that is there and in step"
            ),
            Self::WrongRole {
                target,
                wanted,
                found,
            } => write!(
                f,
                "the sentinels take {target} for {wanted}, and it says that it is {found}: a failover may be under way"
            ),
            #[cfg(feature = "cluster")]
            Self::Cluster { name, source } => write!(f, "no cluster at {name}: {source}"),
            Self::Moved { target, master } => {
                write!(f, "the master moved to {master} while {target} was dialled")
            }
        }
    }
}

impl Error for RedisConnectError {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        match self {
            Self::Tcp(error) => error.source(),
            #[cfg(unix)]
            Self::Unix(error) => error.source(),
            Self::Handshake { source, .. } => Some(source),
            #[cfg(feature = "cluster")]
            Self::Cluster { .. } => None,
            // Its message is in this one's.
            Self::Refused { .. }
            | Self::NoPassword { .. }
            | Self::TimedOut { .. }
            | Self::NotInTime { .. }
            | Self::NoSentinel { .. }
            | Self::UnknownMaster { .. }
            | Self::NoReplica { .. }
            | Self::WrongRole { .. }
            | Self::Moved { .. } => None,
        }
    }
}

impl From<TcpError> for RedisConnectError {
    fn from(error: TcpError) -> Self {
        Self::Tcp(error)
    }
}

#[cfg(unix)]
impl From<pool_tcp::UnixError> for RedisConnectError {
    fn from(error: pool_tcp::UnixError) -> Self {
        Self::Unix(error)
    }
}
