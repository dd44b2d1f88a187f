//! What a server must be to be of use, asked of the server itself.

use redis::{FromRedisValue, Value};

use crate::connection::RedisConnection;
use crate::error::RedisConnectError;
use crate::sentinel::node::Node;

/// What the connections are to be made to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Role {
    /// The one that takes writes.
    Master,
    /// One that follows it.
    Replica,
}

impl Role {
    /// Whether a server of this role may be at `node`, if that is the master.
    pub(crate) fn may_be_at(self, node: &Node, master: &Node) -> bool {
        match self {
            Self::Master => node == master,
            Self::Replica => node != master,
        }
    }

    /// Asks the server what it is: the sentinels may not have told it yet, or it them.
    pub(crate) async fn verify(
        self,
        connection: &mut RedisConnection,
        target: &str,
    ) -> Result<(), RedisConnectError> {
        let mut pipeline = redis::pipe();
        pipeline.cmd("ROLE");
        let answers = connection.converse(&pipeline).await;
        let answer = answers.and_then(|mut answers| {
            let answer = answers.pop().unwrap_or(Value::Nil);
            Ok(redis::Role::from_redis_value(answer.extract_error()?)?)
        });
        let found = match answer {
            Ok(role) if self.is(&role) => return Ok(()),
            Ok(redis::Role::Primary { .. }) => "a master",
            Ok(redis::Role::Replica { .. }) if self == Self::Replica => "a replica out of step",
            Ok(redis::Role::Replica { .. }) => "a replica",
            Ok(_) => "neither master nor replica",
            Err(source) => {
                return Err(RedisConnectError::Refused {
                    target: target.to_owned(),
                    command: "ROLE",
                    source,
                });
            }
        };
        Err(RedisConnectError::WrongRole {
            target: target.to_owned(),
            wanted: self.name(),
            found,
        })
    }

    fn is(self, role: &redis::Role) -> bool {
        match (self, role) {
            (Self::Master, redis::Role::Primary { .. }) => true,
            // Any other state means that it serves old data, or none.
            (
                Self::Replica,
                redis::Role::Replica {
                    replication_state, ..
                },
            ) => replication_state == "connected",
            _ => false,
        }
    }

    fn name(self) -> &'static str {
        match self {
            Self::Master => "the master",
            Self::Replica => "a replica",
        }
    }
}
