//! When a request that failed may be sent once more.

use std::error::Error as _;
use std::fmt;
use std::sync::Arc;

use http::{HeaderMap, Method};

use crate::request_body::BodyError;

/// Says of a request that may have run, by its method and headers, whether it is sent once more.
pub type Rule = Arc<dyn Fn(&Method, &HeaderMap) -> bool + Send + Sync>;

/// Which requests are sent once more when their connection ended before the response began.
///
/// What the connection hands back unsent is always sent on another one, and so is what an HTTP/2 server refuses as not
/// processed (`REFUSED_STREAM`, or `GOAWAY` before it; RFC 9113 §8.7), if its body is in memory. What it wants by HTTP/1.1
/// (`HTTP_1_1_REQUIRED`) goes out by that, as does all else to its origin for ten minutes. Beyond that the server
/// may have done it, and this rule decides. It is asked only if the connection had been used before, nothing of the
/// response has come, and the body is in memory; the request goes out on a fresh connection then, and no third time. A server of
/// HTTP/1 that says `408 Request Timeout` on such a connection had given up waiting, and counts as gone.
///
/// # Examples
///
/// ```
/// use http::{HeaderMap, Method};
/// use pool_http::Replay;
///
/// let rule = Replay::default();
/// assert!(rule.allows(&Method::GET, &HeaderMap::new()));
/// assert!(!rule.allows(&Method::POST, &HeaderMap::new()));
///
/// let mut headers = HeaderMap::new();
/// headers.insert("idempotency-key", "8e03978e".parse()?);
/// assert!(rule.allows(&Method::POST, &headers));
/// # Ok::<(), http::header::InvalidHeaderValue>(())
/// ```
#[derive(Clone, Default)]
#[non_exhaustive]
pub enum Replay {
    /// Those that may be done twice: idempotent methods (RFC 9110 §9.2.2, and `QUERY`), and any with an
    /// `Idempotency-Key`. The default.
    #[default]
    Idempotent,
    /// None.
    Never,
    /// Those of which this function says so.
    If(Rule),
}

impl Replay {
    /// Whether a request that may have run is sent once more.
    ///
    /// # Examples
    ///
    /// See [`Replay`].
    pub fn allows(&self, method: &Method, headers: &HeaderMap) -> bool {
        match self {
            Self::Idempotent => {
                is_idempotent(method)
                    || headers.contains_key("idempotency-key")
                    || headers.contains_key("x-idempotency-key")
            }
            Self::Never => false,
            Self::If(rule) => rule(method, headers),
        }
    }
}

impl fmt::Debug for Replay {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Idempotent => "Idempotent",
            Self::Never => "Never",
            Self::If(_) => "If(..)",
        })
    }
}

fn is_idempotent(method: &Method) -> bool {
    matches!(
        *method,
        Method::GET | Method::HEAD | Method::OPTIONS | Method::TRACE | Method::PUT | Method::DELETE
    ) || method.as_str() == "QUERY"
}

/// What hyper's error says about the request it was for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Loss {
    /// The server has said that it did nothing.
    Refused,
    /// The connection ended before the response began.
    Lost,
    /// The body of the request failed.
    Body,
    /// Something else, such as an answer that is no HTTP.
    Other,
}

impl Loss {
    pub(crate) fn of(error: &hyper::Error) -> Self {
        // Not all that hyper calls the user's: a task that has ended with its runtime is one of them.
        if cause::<BodyError>(error).is_some() {
            return Self::Body;
        }
        // The second: no answer to a `PING`.
        if error.is_incomplete_message() || error.is_timeout() {
            return Self::Lost;
        }
        if let Some(error) = cause(error) {
            return Self::of_h2(error);
        }
        if let Some(error) = cause(error) {
            return Self::of_io(error);
        }
        match error.is_closed() || error.is_canceled() {
            true => Self::Lost,
            false => Self::Other,
        }
    }

    fn of_h2(error: &h2::Error) -> Self {
        let is_refused = error.is_reset()
            && matches!(
                error.reason(),
                Some(h2::Reason::REFUSED_STREAM | h2::Reason::HTTP_1_1_REQUIRED)
            );
        // A stream that a peer which goes away has taken is not told so, whatever the reason (RFC 9113 §6.8).
        if error.is_remote() && (is_refused || error.is_go_away()) {
            Self::Refused
        } else if error.is_io() || error.is_go_away() {
            Self::Lost
        } else if error.is_reset() && !error.is_remote() && !error.is_library() {
            Self::Body
        } else {
            Self::Other
        }
    }

    fn of_io(error: &std::io::Error) -> Self {
        use std::io::ErrorKind::*;
        match error.kind() {
            ConnectionReset | ConnectionAborted | BrokenPipe | NotConnected | UnexpectedEof => {
                Self::Lost
            }
            _ => Self::Other,
        }
    }
}

/// Whether the error says nothing about the other streams of its connection.
pub(crate) fn is_of_one_stream(error: &hyper::Error) -> bool {
    cause::<h2::Error>(error).is_some_and(h2::Error::is_reset)
}

/// Whether the server wants the request by HTTP/1.1 (RFC 9113 §7).
pub(crate) fn requires_http1(error: &hyper::Error) -> bool {
    cause::<h2::Error>(error).is_some_and(|error| {
        error.is_remote() && error.reason() == Some(h2::Reason::HTTP_1_1_REQUIRED)
    })
}

/// The first of its causes that is of this type.
fn cause<E: std::error::Error + 'static>(error: &hyper::Error) -> Option<&E> {
    let mut source = error.source();
    while let Some(cause) = source {
        if let Some(found) = cause.downcast_ref() {
            return Some(found);
        }
        source = cause.source();
    }
    None
}
