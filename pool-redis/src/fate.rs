//! What became of a command that failed: whether it may have run.

use std::error::Error;
use std::fmt;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use redis::{ErrorKind, RedisError};

/// What is known about a command that failed. Nothing is ever sent twice by this crate; whether you may, this tells.
///
/// # Examples
///
/// ```
/// use pool_redis::{Fate, fate};
/// use redis::RedisError;
///
/// // A connection that ended while it was asked: the server may have done it before.
/// let lost = RedisError::from(std::io::Error::from(std::io::ErrorKind::BrokenPipe));
/// assert_eq!(fate(&lost), Fate::Unknown);
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Fate {
    /// It never left: to send it again, on another connection, is safe.
    NotSent,
    /// The server has answered. A single command that is refused has changed nothing; a script, or a pipeline that is
    /// not atomic, may have done what came before the error.
    Answered,
    /// It was sent, and no answer came: it may have run, in part if it was a pipeline.
    Unknown,
}

/// Tells what is known about a command that failed with `error` on a connection of this crate.
///
/// # Examples
///
/// ```
/// use pool_redis::{Fate, fate};
/// use redis::{ErrorKind, RedisError};
///
/// let refused = RedisError::from((ErrorKind::UnexpectedReturnType, "not a number"));
/// assert_eq!(fate(&refused), Fate::Answered);
/// ```
pub fn fate(error: &RedisError) -> Fate {
    match error.kind() {
        ErrorKind::Io if is_not_sent(error) => Fate::NotSent,
        ErrorKind::Io => Fate::Unknown,
        ErrorKind::Client
        | ErrorKind::InvalidClientConfig
        | ErrorKind::ClusterConnectionNotFound => Fate::NotSent,
        // Nonsense from the server is an `Io` error here; what is left is an answer of another type than was wanted.
        _ => Fate::Answered,
    }
}

/// The connection was closed before the command was given to it.
pub(crate) fn not_sent() -> RedisError {
    io::Error::new(io::ErrorKind::BrokenPipe, NotSent).into()
}

/// No answer came within `limit`.
pub(crate) fn timed_out(limit: Duration) -> RedisError {
    io::Error::new(io::ErrorKind::TimedOut, NoAnswer { limit }).into()
}

/// Whatever else stands between a command and its answer, as an I/O error.
pub(crate) fn unknown(error: RedisError) -> RedisError {
    match error.kind() {
        ErrorKind::Io => error,
        _ => io::Error::new(io::ErrorKind::InvalidData, Nonsense(error)).into(),
    }
}

fn is_not_sent(error: &RedisError) -> bool {
    // redis-rs shares what it wraps, and says so in the type of the source.
    type Wrapped = Arc<dyn Error + Send + Sync>;
    error
        .source()
        .and_then(|source| source.downcast_ref::<Wrapped>())
        .and_then(|wrapped| wrapped.downcast_ref::<io::Error>())
        .and_then(io::Error::get_ref)
        .is_some_and(|inner| inner.is::<NotSent>())
}

#[derive(Debug)]
struct NotSent;

impl fmt::Display for NotSent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the connection has ended before this command was sent; check another one out")
    }
}

impl Error for NotSent {}

#[derive(Debug)]
struct NoAnswer {
    limit: Duration,
}

impl fmt::Display for NoAnswer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "no answer within {:?}; the command may have run, and the connection will not be used again",
            self.limit
        )
    }
}

impl Error for NoAnswer {}

#[derive(Debug)]
struct Nonsense(RedisError);

impl fmt::Display for Nonsense {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "the server's answer makes no sense; the command may have run: {}",
            self.0
        )
    }
}

impl Error for Nonsense {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_error_of_ours_says_what_became_of_the_command() {
        assert_eq!(fate(&not_sent()), Fate::NotSent);
        assert!(not_sent().is_connection_dropped());

        let timed_out = timed_out(Duration::from_secs(2));
        assert_eq!(fate(&timed_out), Fate::Unknown);
        assert!(timed_out.is_timeout());
        assert!(timed_out.to_string().starts_with("no answer within 2s"));

        let nonsense = unknown(RedisError::from((ErrorKind::Parse, "what?")));
        assert_eq!(fate(&nonsense), Fate::Unknown);
    }
}
