//! What goes wrong with a request, and whether it may have run.

use std::error::Error;
use std::fmt;
use std::io;
use std::time::Duration;

use http::{StatusCode, Uri};
use pool_core::CheckoutError;
use pool_tcp::{AddressError, TcpError};

use crate::origin::{authority_of, target_of};

/// Anything that can be an error.
pub type BoxError = Box<dyn Error + Send + Sync>;

/// Why a request has no response.
///
/// # Examples
///
/// ```
/// use pool_http::{Client, Fate};
///
/// # tokio::runtime::Runtime::new().unwrap().block_on(async {
/// let client = Client::builder().build()?;
/// let request = http::Request::get("/index.html").body(String::new())?;
/// let error = client.request(request).await.unwrap_err();
/// assert_eq!(error.fate(), Fate::NotSent);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// # }).unwrap();
/// ```
pub struct RequestError {
    inner: Box<Inner>,
}

#[derive(Debug)]
struct Inner {
    kind: ErrorKind,
    /// What was asked for, without its query, its user and its password, which may be secrets.
    target: String,
    source: Option<BoxError>,
    fate: Fate,
}

/// What became of a request that failed.
///
/// # Examples
///
/// ```
/// use pool_http::Fate;
///
/// // Whoever is told so may send it again without a second thought.
/// assert_ne!(Fate::NotSent, Fate::Unknown);
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Fate {
    /// No byte of it reached the server, or the server said that it did nothing.
    NotSent,
    /// It was sent, at least in part: it may have run.
    Unknown,
}

/// What went wrong.
///
/// # Examples
///
/// ```
/// use pool_http::ErrorKind;
///
/// assert_ne!(ErrorKind::Connect, ErrorKind::Lost);
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum ErrorKind {
    /// The request itself cannot be sent anywhere.
    Invalid,
    /// There was no connection in time, or none could be made.
    Connect,
    /// The server said, more than once, that it did nothing with the request; or once, and it cannot be sent again.
    Refused,
    /// The connection ended, or became nonsense, before the response had begun.
    Lost,
    /// The response, or all of it, took too long.
    TimedOut,
    /// The body of the request failed.
    RequestBody,
    /// The body of the response ended, or became nonsense, before it was complete.
    ResponseBody,
}

/// Whether a server said what is not HTTP.
fn is_nonsense(error: &BoxError) -> bool {
    let error = error.downcast_ref::<hyper::Error>();
    let is_of_chunks = |error: &hyper::Error| {
        let cause = error.source().and_then(|cause| cause.downcast_ref());
        cause.is_some_and(|cause: &io::Error| cause.kind() == io::ErrorKind::InvalidInput)
    };
    error.is_some_and(|error| error.is_parse() || is_of_chunks(error))
}

impl RequestError {
    pub(crate) fn new(
        kind: ErrorKind,
        target: String,
        source: impl Into<Option<BoxError>>,
    ) -> Self {
        Self {
            inner: Box::new(Inner {
                kind,
                target,
                source: source.into(),
                fate: match kind {
                    ErrorKind::Invalid | ErrorKind::Connect | ErrorKind::Refused => Fate::NotSent,
                    _ => Fate::Unknown,
                },
            }),
        }
    }

    /// The same of a request of which more is known.
    pub(crate) fn with_fate(mut self, fate: Fate) -> Self {
        self.inner.fate = fate;
        self
    }

    pub(crate) fn relative(uri: &Uri) -> Self {
        let (authority, path) = (authority_of(uri), uri.path());
        let advice = match uri.host() {
            Some(_) => format!("a scheme is missing; write http://{authority}/"),
            None => format!("a host is missing; write http://host{path}"),
        };
        let target = format!("{authority}{path}");
        Self::new(ErrorKind::Invalid, target, Some(advice.into()))
    }

    pub(crate) fn scheme(uri: &Uri) -> Self {
        let advice = "the scheme is neither http nor https";
        Self::new(ErrorKind::Invalid, target_of(uri), Some(advice.into()))
    }

    pub(crate) fn host(uri: &Uri) -> Self {
        let advice = "what follows the last @ is no host; write the host there, and %40 for an @ of the user";
        Self::new(ErrorKind::Invalid, target_of(uri), Some(advice.into()))
    }

    pub(crate) fn timed_out(what: &'static str, limit: Duration, target: String) -> Self {
        let why = format!("{what} within {limit:?}");
        Self::new(ErrorKind::TimedOut, target, Some(why.into()))
    }

    pub(crate) fn checkout(error: CheckoutError<HttpConnectError>, target: String) -> Self {
        Self::new(ErrorKind::Connect, target, Some(error.into()))
    }

    /// What went wrong.
    ///
    /// # Examples
    ///
    /// ```
    /// use pool_http::{ErrorKind, Origin};
    ///
    /// let error = Origin::of(&"ftp://example.org".parse()?).unwrap_err();
    /// assert_eq!(error.kind(), ErrorKind::Invalid);
    /// # Ok::<(), http::uri::InvalidUri>(())
    /// ```
    pub fn kind(&self) -> ErrorKind {
        self.inner.kind
    }

    /// Whether the request may have run.
    ///
    /// # Examples
    ///
    /// See [`RequestError`].
    pub fn fate(&self) -> Fate {
        self.inner.fate
    }
}

impl fmt::Display for RequestError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Inner {
            kind,
            target,
            source,
            fate,
        } = &*self.inner;
        write!(f, "{target}: ")?;
        match (kind, source) {
            (ErrorKind::Invalid | ErrorKind::Connect | ErrorKind::TimedOut, Some(source)) => {
                write!(f, "{source}")
            }
            (ErrorKind::Refused, _) => {
                f.write_str("the server refused the request and did nothing with it")
            }
            (ErrorKind::Lost, Some(source)) if is_nonsense(source) => {
                f.write_str("the response makes no sense; the request may have run")
            }
            (ErrorKind::Lost, _) => f.write_str(
                "the connection ended before the response began; the request may have run",
            ),
            (ErrorKind::RequestBody, _) => f.write_str("the body of the request failed"),
            (ErrorKind::ResponseBody, Some(source)) if is_nonsense(source) => {
                f.write_str("the rest of the response makes no sense")
            }
            (ErrorKind::ResponseBody, _) => {
                f.write_str("the response ended before it was complete")
            }
            (_, None) => f.write_str("failed"),
        }?;
        match (kind, fate) {
            (ErrorKind::Connect | ErrorKind::Refused, Fate::Unknown) => {
                f.write_str("; it was sent once before that, and may have run")
            }
            _ => Ok(()),
        }
    }
}

impl fmt::Debug for RequestError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RequestError")
            .field("kind", &self.inner.kind)
            .field("fate", &self.inner.fate)
            .field("target", &self.inner.target)
            .field("source", &self.inner.source)
            .finish()
    }
}

impl Error for RequestError {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        let source: &(dyn Error + 'static) = &**self.inner.source.as_ref()?;
        match self.inner.kind {
            // Its message is this one's.
            ErrorKind::Invalid | ErrorKind::Connect | ErrorKind::TimedOut => source.source(),
            _ => Some(source),
        }
    }
}

/// Why there is no connection to an origin.
///
/// # Examples
///
/// ```
/// use pool_http::Client;
///
/// # tokio::runtime::Runtime::new().unwrap().block_on(async {
/// let client = Client::builder()
///     .proxies(pool_http::Proxies::none())
///     .pool(|pool| pool.each(|_, pool| pool.on_connect_error(pool_core::OnConnectError::Fail)))
///     .build()?;
/// let request = http::Request::get("http://no-such-host.invalid/").body(String::new())?;
/// let error = client.request(request).await.unwrap_err();
/// assert!(error.to_string().contains("could not resolve no-such-host.invalid"), "{error}");
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// # }).unwrap();
/// ```
#[derive(Debug)]
#[non_exhaustive]
pub enum HttpConnectError {
    /// A host that cannot be dialled.
    Address(AddressError),
    /// No TCP connection, or no TLS over it.
    Tcp(TcpError),
    /// The path of a Unix-domain socket took no connection.
    #[cfg(unix)]
    Unix(pool_tcp::UnixError),
    /// An `https://` URL, and the feature `tls` is off.
    NoTls,
    /// An `https://` URL, and nobody to trust; see [`ClientBuilder::tls`](crate::ClientBuilder::tls).
    #[cfg(feature = "tls")]
    NoRoots(pool_tcp::NoRoots),
    /// What goes wrong in TLS over a proxy's tunnel or a Unix-domain socket.
    Tls {
        /// The origin.
        target: String,
        /// What rustls said.
        source: io::Error,
    },
    /// A proxy that is spoken to in another way than HTTP without TLS.
    ProxyScheme {
        /// The proxy.
        proxy: String,
        /// What its URL begins with.
        scheme: String,
    },
    /// A proxy did not connect to the origin.
    ProxyRefused {
        /// The proxy.
        proxy: String,
        /// What it answered.
        status: StatusCode,
    },
    /// A proxy took the connection and did not answer as one.
    Proxy {
        /// The proxy.
        proxy: String,
        /// What hyper said.
        source: hyper::Error,
    },
    /// A connector of the user's failed.
    Connector(BoxError),
    /// The peer took the connection and did not begin to speak HTTP.
    Handshake {
        /// The origin.
        target: String,
        /// What hyper said.
        source: BoxError,
    },
}

impl fmt::Display for HttpConnectError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Address(error) => write!(f, "{error}"),
            Self::Tcp(error) => write!(f, "{error}"),
            #[cfg(unix)]
            Self::Unix(error) => write!(f, "{error}"),
            Self::NoTls => f.write_str(
                "https was left out of this build; turn on the feature tls of pool-http",
            ),
            Self::Tls { target, .. } => write!(f, "TLS handshake with {target} failed"),
            #[cfg(feature = "tls")]
            Self::NoRoots(error) => write!(f, "{error}"),
            Self::ProxyScheme { proxy, scheme } => write!(
                f,
                "proxy {proxy}: {scheme} is not spoken to proxies here; give an http:// URL, or a connector"
            ),
            Self::ProxyRefused { proxy, status } => {
                write!(f, "proxy {proxy}: CONNECT was refused: {status}")
            }
            Self::Proxy { proxy, .. } => write!(f, "proxy {proxy}: CONNECT failed"),
            Self::Connector(error) => write!(f, "the connector failed: {error}"),
            Self::Handshake { target, .. } => write!(f, "{target} does not speak HTTP"),
        }
    }
}

impl Error for HttpConnectError {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        match self {
            Self::Tcp(error) => error.source(),
            #[cfg(unix)]
            Self::Unix(error) => error.source(),
            Self::Tls { source, .. } => Some(source),
            Self::Connector(error) => error.source(),
            Self::Handshake { source, .. } => Some(&**source),
            Self::Proxy { source, .. } => Some(source),
            #[cfg(feature = "tls")]
            Self::NoRoots(_) => None,
            Self::Address(_)
            | Self::NoTls
            | Self::ProxyScheme { .. }
            | Self::ProxyRefused { .. } => None,
        }
    }
}

impl From<AddressError> for HttpConnectError {
    fn from(error: AddressError) -> Self {
        Self::Address(error)
    }
}

#[cfg(feature = "tls")]
impl From<pool_tcp::NoRoots> for HttpConnectError {
    fn from(error: pool_tcp::NoRoots) -> Self {
        Self::NoRoots(error)
    }
}

impl From<TcpError> for HttpConnectError {
    fn from(error: TcpError) -> Self {
        Self::Tcp(error)
    }
}

#[cfg(unix)]
impl From<pool_tcp::UnixError> for HttpConnectError {
    fn from(error: pool_tcp::UnixError) -> Self {
        Self::Unix(error)
    }
}

/// Settings that contradict each other, or cannot be had here.
///
/// # Examples
///
/// ```
/// use pool_http::Client;
///
/// let error = Client::builder().build().unwrap_err();
/// assert!(error.to_string().contains("runtime"), "{error}");
/// ```
#[derive(Debug)]
#[non_exhaustive]
pub enum ClientError {
    /// The pools cannot be built so.
    Pool(pool_core::BuildError),
    /// What was given to [`Proxies::all`](crate::Proxies::all) is no URL of a proxy.
    Proxy(String),
}

impl fmt::Display for ClientError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Pool(error) => write!(f, "{error}"),
            Self::Proxy(url) => write!(
                f,
                "{url:?} is no URL of a proxy; write http://proxy.internal:3128, or take Proxies::none"
            ),
        }
    }
}

impl Error for ClientError {}

impl From<pool_core::BuildError> for ClientError {
    fn from(error: pool_core::BuildError) -> Self {
        Self::Pool(error)
    }
}
