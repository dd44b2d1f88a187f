//! What can go wrong, told with the cause and the numbers a person needs.

use std::error::Error;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use crate::config::ConfigError;
use crate::status::Status;

/// Why a checkout failed.
///
/// # Examples
///
/// ```
/// # use pool_core::doc::Numbers;
/// use pool_core::{CheckoutError, Pool};
/// use std::time::Duration;
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let pool = Pool::builder(Numbers::default()).max_size(1).build()?;
/// let held = pool.checkout().await?;
/// let error = pool.checkout().timeout(Duration::from_millis(5)).await.unwrap_err();
/// assert!(matches!(error, CheckoutError::Timeout(_)));
/// assert_eq!(
///     error.to_string(),
///     "timed out after 5 ms waiting for a connection (1 of 1 in use, 0 idle, 0 connecting, 1 waiting)",
/// );
/// # Ok(()) }
/// ```
#[derive(Debug)]
#[non_exhaustive]
pub enum CheckoutError<E> {
    /// The deadline passed first.
    Timeout(CheckoutTimeout<E>),
    /// Connecting failed, and either the error is permanent or the pool was told not to wait
    /// ([`OnConnectError::Fail`](crate::OnConnectError::Fail)).
    Connect(ConnectFailure<E>),
    /// As many callers wait as [`Config::max_waiters`](crate::Config::max_waiters) allows.
    TooManyWaiters(Status),
    /// More connections at once were asked for than the pool may have.
    TooMany {
        /// So many were asked for.
        wanted: usize,
        /// So many there may be.
        max_size: usize,
    },
    /// The pool was closed, its last handle was dropped, or its runtime has shut down.
    Closed,
}

/// A deadline that passed, with the state of the pool at that moment.
///
/// # Examples
///
/// ```
/// # use pool_core::doc::Numbers;
/// # use pool_core::{CheckoutError, Pool};
/// # use std::time::Duration;
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let pool = Pool::builder(Numbers::default()).max_size(1).build()?;
/// # let held = pool.checkout().await?;
/// let Err(CheckoutError::Timeout(timeout)) = pool.checkout().timeout(Duration::ZERO).await else {
///     panic!("the only connection is out");
/// };
/// assert_eq!(timeout.status.in_use, 1);
/// assert!(timeout.last_connect_error.is_none());
/// # Ok(()) }
/// ```
#[derive(Debug)]
#[non_exhaustive]
pub struct CheckoutTimeout<E> {
    /// The limit that applied.
    pub waited: Duration,
    /// The pool's numbers when the deadline passed; this caller counts as waiting.
    pub status: Status,
    /// The last dial's error, if none has succeeded since.
    pub last_connect_error: Option<ConnectFailure<E>>,
}

/// A dial that failed, and how long ago; cheap to clone, as all callers it concerns get the same one.
///
/// # Examples
///
/// ```
/// # use pool_core::doc::Refused;
/// # use pool_core::{CheckoutError, OnConnectError, Pool};
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let pool = Pool::builder(Refused).on_connect_error(OnConnectError::Fail).build()?;
/// let Err(CheckoutError::Connect(failure)) = pool.checkout().await else {
///     panic!("nobody listens");
/// };
/// assert_eq!(failure.error.to_string(), "connection refused");
/// # Ok(()) }
/// ```
#[derive(Debug)]
#[non_exhaustive]
pub struct ConnectFailure<E> {
    /// What went wrong.
    pub error: Arc<ConnectError<E>>,
    /// How long before it was told.
    pub age: Duration,
}

/// What went wrong in one dial.
///
/// # Examples
///
/// ```
/// use pool_core::ConnectError;
/// use std::time::Duration;
///
/// let error: ConnectError<std::io::Error> = ConnectError::TimedOut(Duration::from_secs(10));
/// assert_eq!(error.to_string(), "no connection within 10 s (connect_timeout)");
/// ```
#[derive(Debug)]
#[non_exhaustive]
pub enum ConnectError<E> {
    /// The manager's own error.
    Manager(E),
    /// The dial took longer than [`Config::connect_timeout`](crate::Config::connect_timeout).
    TimedOut(Duration),
    /// The manager panicked, with this message.
    Panicked(String),
    /// A health check or a hook refused the new connection, with this cause.
    Refused(Arc<dyn Error + Send + Sync>),
    /// The peer closed the connection before anybody could use it, or sent bytes that the manager takes for dirt: a
    /// server that speaks first needs a manager that knows it.
    Dropped,
}

/// Why [`Pool::try_checkout`](crate::Pool::try_checkout) has nothing to give.
///
/// # Examples
///
/// ```
/// # use pool_core::doc::Numbers;
/// use pool_core::{Pool, TryCheckoutError};
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let pool = Pool::builder(Numbers::default()).build()?;
/// assert!(matches!(pool.try_checkout(), Err(TryCheckoutError::Empty(_))));
/// pool.close();
/// assert!(matches!(pool.try_checkout(), Err(TryCheckoutError::Closed)));
/// # Ok(()) }
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum TryCheckoutError {
    /// No connection is idle; the pool's numbers say why.
    Empty(Status),
    /// The pool is closed.
    Closed,
}

/// A [`drain`](crate::Pool::drain) that ran into its deadline.
///
/// # Examples
///
/// ```
/// # use pool_core::doc::Numbers;
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let pool = pool_core::Pool::builder(Numbers::default()).build()?;
/// let guard = pool.checkout_owned().await?;
/// let undrained = pool.drain(std::time::Duration::from_millis(1)).await.unwrap_err();
/// assert_eq!(undrained.status.in_use, 1);
/// assert!(undrained.to_string().starts_with("1 connection was not closed within 1 ms"));
/// # Ok(()) }
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Undrained {
    /// The limit that passed.
    pub limit: Duration,
    /// What is left: [`Status::size`] connections are not closed.
    pub status: Status,
}

/// Why a pool could not be built.
///
/// # Examples
///
/// ```
/// # use pool_core::doc::Numbers;
/// use pool_core::{BuildError, Pool};
///
/// // Not inside a runtime, and none was given.
/// let error = Pool::builder(Numbers::default()).build().unwrap_err();
/// assert!(matches!(error, BuildError::NoRuntime));
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum BuildError {
    /// A setting makes no sense.
    Config(ConfigError),
    /// There is no tokio runtime to dial on.
    NoRuntime,
}

impl<E> CheckoutError<E> {
    fn failure(&self) -> Option<&ConnectFailure<E>> {
        match self {
            Self::Timeout(timeout) => timeout.last_connect_error.as_ref(),
            Self::Connect(failure) => Some(failure),
            Self::TooManyWaiters(_) | Self::TooMany { .. } | Self::Closed => None,
        }
    }
}

impl<E> Clone for CheckoutError<E> {
    fn clone(&self) -> Self {
        match self {
            Self::Timeout(timeout) => Self::Timeout(timeout.clone()),
            Self::Connect(failure) => Self::Connect(failure.clone()),
            Self::TooManyWaiters(status) => Self::TooManyWaiters(*status),
            Self::TooMany { wanted, max_size } => Self::TooMany {
                wanted: *wanted,
                max_size: *max_size,
            },
            Self::Closed => Self::Closed,
        }
    }
}

impl<E: fmt::Display> fmt::Display for CheckoutError<E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Timeout(timeout) => timeout.fmt(f),
            Self::Connect(failure) => failure.fmt(f),
            Self::TooManyWaiters(status) => {
                write!(
                    f,
                    "too many callers wait for a connection ({status}): see max_waiters"
                )
            }
            Self::TooMany { wanted, max_size } => write!(
                f,
                "{wanted} connections at once were asked for, and the pool may have {max_size}: raise max_size"
            ),
            Self::Closed => f.write_str(CLOSED),
        }
    }
}

impl<E: Error + 'static> Error for CheckoutError<E> {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        self.failure().and_then(ConnectFailure::source)
    }
}

impl<E> Clone for CheckoutTimeout<E> {
    fn clone(&self) -> Self {
        Self {
            waited: self.waited,
            status: self.status,
            last_connect_error: self.last_connect_error.clone(),
        }
    }
}

impl<E: fmt::Display> fmt::Display for CheckoutTimeout<E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "timed out after {} waiting for a connection ({})",
            Rounded(self.waited),
            self.status
        )?;
        match &self.last_connect_error {
            Some(ConnectFailure { error, age }) => {
                write!(f, "; last connect error, {} ago: {error}", Rounded(*age))
            }
            None => Ok(()),
        }
    }
}

impl<E: Error + 'static> Error for CheckoutTimeout<E> {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        self.last_connect_error
            .as_ref()
            .and_then(ConnectFailure::source)
    }
}

impl<E> Clone for ConnectFailure<E> {
    fn clone(&self) -> Self {
        Self {
            error: self.error.clone(),
            age: self.age,
        }
    }
}

impl<E: fmt::Display> fmt::Display for ConnectFailure<E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.age < Duration::from_millis(1) {
            write!(f, "could not connect: {}", self.error)
        } else {
            write!(
                f,
                "could not connect, {} ago: {}",
                Rounded(self.age),
                self.error
            )
        }
    }
}

impl<E: Error + 'static> Error for ConnectFailure<E> {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        match &*self.error {
            ConnectError::Manager(error) => Some(error),
            error => Some(error),
        }
    }
}

impl<E: fmt::Display> fmt::Display for ConnectError<E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Manager(error) => error.fmt(f),
            Self::TimedOut(limit) => write!(
                f,
                "no connection within {} (connect_timeout)",
                Rounded(*limit)
            ),
            Self::Panicked(message) => {
                write!(f, "the manager panicked while connecting: {message}")
            }
            Self::Refused(cause) => write!(f, "the new connection was refused: {cause}"),
            Self::Dropped => f.write_str(
                "the peer closed the new connection, or sent bytes on it, before it was used",
            ),
        }
    }
}

impl<E: Error + 'static> Error for ConnectError<E> {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        match self {
            Self::Manager(error) => error.source(),
            Self::Refused(cause) => Some(&**cause),
            Self::TimedOut(_) | Self::Panicked(_) | Self::Dropped => None,
        }
    }
}

impl fmt::Display for TryCheckoutError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Empty(status) => write!(f, "no connection is idle ({status})"),
            Self::Closed => f.write_str(CLOSED),
        }
    }
}

impl Error for TryCheckoutError {}

impl fmt::Display for Undrained {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let left = self.status.size();
        let were = if left == 1 {
            "connection was"
        } else {
            "connections were"
        };
        let Self { limit, status } = self;
        write!(
            f,
            "{left} {were} not closed within {} ({status})",
            Rounded(*limit)
        )
    }
}

impl Error for Undrained {}

impl fmt::Display for BuildError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Config(error) => error.fmt(f),
            Self::NoRuntime => f.write_str(
                "there is no tokio runtime here: build the pool inside one or pass its handle to Builder::runtime",
            ),
        }
    }
}

impl Error for BuildError {}

impl From<ConfigError> for BuildError {
    fn from(error: ConfigError) -> Self {
        Self::Config(error)
    }
}

const CLOSED: &str = "the pool is closed, or the runtime it was built on has ended";

/// A duration as a person would say it.
pub(crate) fn rounded(duration: Duration) -> impl fmt::Display {
    Rounded(duration)
}

/// A duration as a person would say it: three digits and a unit.
struct Rounded(Duration);

impl fmt::Display for Rounded {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let seconds = self.0.as_secs_f64();
        let (value, unit) = match seconds {
            s if s >= 120.0 => (s / 60.0, "min"),
            s if s >= 1.0 => (s, "s"),
            s if s >= 1e-3 => (s * 1e3, "ms"),
            s => (s * 1e6, "µs"),
        };
        // One decimal where it says something, and none in "30 s".
        if value < 10.0 && (value * 10.0).round() % 10.0 != 0.0 {
            write!(f, "{value:.1} {unit}")
        } else {
            write!(f, "{value:.0} {unit}")
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io;

    fn refused(age: Duration) -> ConnectFailure<io::Error> {
        ConnectFailure {
            error: Arc::new(ConnectError::Manager(
                io::ErrorKind::ConnectionRefused.into(),
            )),
            age,
        }
    }

    #[test]
    fn a_timeout_tells_the_limit_the_numbers_and_the_last_connect_error_with_its_age() {
        let status = Status {
            max_size: 10,
            in_use: 10,
            waiting: 37,
            ..Status::default()
        };
        let error = CheckoutError::Timeout(CheckoutTimeout {
            waited: Duration::from_secs(30),
            status,
            last_connect_error: Some(refused(Duration::from_millis(1_200))),
        });
        assert_eq!(
            error.to_string(),
            "timed out after 30 s waiting for a connection (10 of 10 in use, 0 idle, 0 connecting, 37 waiting); \
             last connect error, 1.2 s ago: connection refused"
        );
        assert!(error.source().unwrap().is::<io::Error>());
    }

    #[test]
    fn a_connect_error_carries_its_cause() {
        let error = CheckoutError::Connect(refused(Duration::ZERO));
        assert_eq!(error.to_string(), "could not connect: connection refused");
        assert!(error.source().unwrap().is::<io::Error>());
        let error = CheckoutError::Connect(refused(Duration::from_secs(125)));
        assert_eq!(
            error.to_string(),
            "could not connect, 2.1 min ago: connection refused"
        );
    }
}
