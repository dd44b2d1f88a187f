//! What an answer, or the lack of one, says about the connection it was waited for on.

use redis::{ErrorKind, RedisError, RedisResult, Value};

use crate::fate;

/// From innocent to worst.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Blame {
    /// As good as before.
    #[default]
    None,
    /// Of no further use.
    Connection,
    /// Of no further use, and neither are those made before it: the server no longer takes writes.
    ConnectionAndOlder,
}

impl Blame {
    #[inline]
    pub(crate) fn of_value(value: &Value) -> Self {
        match value {
            Value::ServerError(error) => Self::of_code(error.code()),
            _ => Self::None,
        }
    }

    pub(crate) fn of_values(values: &[Value]) -> Self {
        values.iter().map(Self::of_value).max().unwrap_or_default()
    }

    /// Judges how a command ended. What is no answer is made an error whose fate is unknown.
    #[inline]
    pub(crate) fn judge<T>(
        ended: RedisResult<T>,
        of_answer: impl FnOnce(&T) -> Self,
    ) -> (Self, RedisResult<T>) {
        match ended {
            Ok(answer) => (of_answer(&answer), Ok(answer)),
            Err(error) => {
                let (blame, error) = Self::of_error(error);
                (blame, Err(error))
            }
        }
    }

    #[cold]
    fn of_error(error: RedisError) -> (Self, RedisError) {
        match error.kind() {
            // A transaction that was refused names the commands that are to blame.
            ErrorKind::Server(_) | ErrorKind::Extension => {
                let errors = error.clone().into_server_errors();
                let codes = errors.iter().flat_map(|errors| errors.iter());
                let blame = codes.map(|(_, error)| Self::of_code(error.code())).max();
                (blame.unwrap_or_default(), error)
            }
            ErrorKind::Client | ErrorKind::ClusterConnectionNotFound => (Self::None, error),
            _ => (Self::Connection, fate::unknown(error)),
        }
    }

    #[cold]
    fn of_code(code: &str) -> Self {
        match code {
            "READONLY" => Self::ConnectionAndOlder,
            // The user it was made for is gone, or is wanted now.
            "NOAUTH" => Self::Connection,
            _ => Self::None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(text: &str) -> Value {
        redis::parse_redis_value(format!("-{text}\r\n").as_bytes()).expect("an error of RESP")
    }

    #[test]
    fn only_what_concerns_the_connection_is_held_against_it() {
        assert_eq!(Blame::of_value(&Value::Okay), Blame::None);
        assert_eq!(Blame::of_value(&refused("WRONGTYPE no list")), Blame::None);
        assert_eq!(Blame::of_value(&refused("NOAUTH who?")), Blame::Connection);
        let answers = [
            refused("NOAUTH who?"),
            refused("READONLY replica"),
            Value::Nil,
        ];
        assert_eq!(Blame::of_values(&answers), Blame::ConnectionAndOlder);
    }

    #[test]
    fn no_answer_costs_the_connection() {
        let lost = RedisError::from(std::io::Error::from(std::io::ErrorKind::UnexpectedEof));
        let (blame, _) = Blame::judge::<Value>(Err(lost), |_| Blame::None);
        assert_eq!(blame, Blame::Connection);
    }
}
