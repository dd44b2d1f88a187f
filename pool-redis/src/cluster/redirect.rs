//! Following a cluster's hints: `MOVED`, this slot is elsewhere, and `ASK`, this key may be.
//!
//! redis-rs would follow them itself, but under the same switch it also sends again what may have been done: a command
//! whose connection ended before its answer came. So that switch is off. After `MOVED` it still asks for the slots anew
//! before it sends the next command.

use std::time::Duration;

use redis::aio::ConnectionLike;
use redis::cluster_async::ClusterConnection;
use redis::cluster_routing::SingleNodeRoutingInfo;
use redis::{Cmd, ErrorKind, Pipeline, RedisError, RedisResult, ServerErrorKind, Value};
use tokio::runtime::Handle;
use tokio::time::Sleep;

use crate::name::Name;
use crate::traces::argument;

/// Before a command is sent again that the node to which it was sent anew does not want either: it takes the nodes a while
/// to agree.
const PAUSES: [Duration; 5] = [
    Duration::ZERO,
    Duration::from_millis(50),
    Duration::from_millis(100),
    Duration::from_millis(200),
    Duration::from_millis(400),
];

/// A hint, which means that nothing was done.
#[derive(Debug, PartialEq, Eq)]
enum Hint {
    Moved(Node),
    Ask(Node),
}

#[derive(Debug, PartialEq, Eq)]
struct Node {
    host: String,
    port: u16,
}

/// Sends a command, and again where a hint says so. Its timers are `runtime`'s.
pub(crate) async fn send(
    redis: &mut ClusterConnection,
    runtime: &Handle,
    command: &Cmd,
) -> RedisResult<Value> {
    let mut pauses = PAUSES.into_iter();
    loop {
        let error = match redis.req_packed_command(command).await {
            Err(error) if !is_split(command) => error,
            done => return done,
        };
        match (Hint::of(&error), pauses.next()) {
            (Some(Hint::Moved(_)), Some(Duration::ZERO)) => {}
            (Some(Hint::Moved(_)), Some(pause)) => pause_on(runtime, pause).await,
            (Some(Hint::Moved(node)), None) => return Err(node.out_of_reach()),
            (Some(Hint::Ask(node)), _) => return node.ask(redis, command, error).await,
            (None, _) => return Err(error),
        }
    }
}

/// Sends a pipeline, and again where a hint says so if it is atomic, as then it was refused as a whole. Of any other, some
/// commands may have been done and only one have met the hint.
///
/// Answers also whether the connection is misled: redis-rs does not look for the slots after a transaction was refused.
pub(crate) async fn send_all(
    redis: &mut ClusterConnection,
    pipeline: &Pipeline,
    offset: usize,
    count: usize,
) -> (bool, RedisResult<Vec<Value>>) {
    let sent = redis.req_packed_commands(pipeline, offset, count).await;
    let hint = sent.as_ref().err().and_then(Hint::of_transaction);
    let Some(Hint::Moved(node)) = hint else {
        return (false, sent);
    };
    let pipeline = pipeline.clone();
    let sent = redis.route_pipeline(pipeline, offset, count, node.route());
    (true, sent.await)
}

/// Only the making of a timer needs its runtime.
fn pause_on(runtime: &Handle, pause: Duration) -> Sleep {
    let _context = runtime.enter();
    tokio::time::sleep(pause)
}

/// Whether the command is cut up, as its keys may be on several nodes, so that a part of it may have been done.
fn is_split(command: &Cmd) -> bool {
    let keys = match Name::of(command, 0).as_bytes() {
        b"DEL" | b"EXISTS" | b"MGET" | b"TOUCH" | b"UNLINK" => 1,
        b"MSET" => 2,
        b"JSON.MGET" | b"JSON.MSET" => return true,
        _ => return false,
    };
    let mut tags = (1..command.args_iter().len())
        .step_by(keys)
        .filter_map(|index| argument(command, index).map(tag));
    // Keys with the same tag are in the same slot, and such a command is sent to one node.
    let first = tags.next();
    tags.any(|tag| Some(tag) != first)
}

/// What of a key decides on its slot: the first thing in braces, if there is any.
fn tag(key: &[u8]) -> &[u8] {
    let braced = key.iter().position(|byte| *byte == b'{').and_then(|open| {
        let rest = &key[open + 1..];
        let close = rest.iter().position(|byte| *byte == b'}')?;
        rest.get(..close).filter(|tag| !tag.is_empty())
    });
    braced.unwrap_or(key)
}

impl Hint {
    fn of(error: &RedisError) -> Option<Self> {
        let (address, _slot) = error.redirect_node()?;
        let (host, port) = address.rsplit_once(':')?;
        let node = Node {
            host: host.to_owned(),
            port: port.parse().ok()?,
        };
        match error.kind() {
            ErrorKind::Server(ServerErrorKind::Moved) => Some(Self::Moved(node)),
            ErrorKind::Server(ServerErrorKind::Ask) => Some(Self::Ask(node)),
            _ => None,
        }
    }

    /// Of the first command that was refused, and all with it.
    fn of_transaction(error: &RedisError) -> Option<Self> {
        if error.kind() != ErrorKind::Server(ServerErrorKind::ExecAbort) {
            return None;
        }
        let errors = error.clone().into_server_errors()?;
        let (_, first) = errors.first()?;
        Self::of(&first.clone().into())
    }
}

impl Node {
    fn route(self) -> SingleNodeRoutingInfo {
        SingleNodeRoutingInfo::ByAddress {
            host: self.host,
            port: self.port,
        }
    }

    /// Sends the command after `ASKING`, without which the node would not have it yet. In one pipeline, so that no other
    /// command gets between the two.
    async fn ask(
        self,
        redis: &mut ClusterConnection,
        command: &Cmd,
        hint: RedisError,
    ) -> RedisResult<Value> {
        let mut pipeline = redis::pipe();
        pipeline.cmd("ASKING").add_command(command.clone());
        let answers = redis.route_pipeline(pipeline, 1, 1, self.route()).await;
        match answers {
            Ok(mut answers) => Ok(answers.pop().unwrap_or(Value::Nil)),
            // A node that has no slot yet is unknown to redis-rs.
            Err(error) if error.kind() == ErrorKind::ClusterConnectionNotFound => Err(hint),
            Err(error) => Err(error),
        }
    }

    fn out_of_reach(self) -> RedisError {
        let Self { host, port } = self;
        let detail = format!("{host}:{port}");
        let why =
            "the node that has this slot cannot be reached, or does not know yet that it has it";
        (ErrorKind::ClusterConnectionNotFound, why, detail).into()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn command(text: &str) -> Cmd {
        let mut command = Cmd::new();
        for word in text.split(' ') {
            command.arg(word);
        }
        command
    }

    fn refused(text: &str) -> RedisError {
        let answer = redis::parse_redis_value(format!("-{text}\r\n").as_bytes());
        answer.unwrap().extract_error().unwrap_err()
    }

    #[test]
    fn a_hint_names_the_node() {
        let node = |host: &str| Node {
            host: host.to_owned(),
            port: 7001,
        };
        let hint = |text| Hint::of(&refused(text));
        assert_eq!(
            hint("MOVED 3 10.0.0.1:7001"),
            Some(Hint::Moved(node("10.0.0.1")))
        );
        assert_eq!(hint("ASK 3 fd00::1:7001"), Some(Hint::Ask(node("fd00::1"))));
        assert_eq!(hint("TRYAGAIN later"), None);
    }

    #[test]
    fn only_a_command_that_may_be_cut_up_is_split() {
        for whole in ["GET k", "DEL k", "MSET k v", "MGET {a}k {a}l", "SINTER a b"] {
            assert!(!is_split(&command(whole)), "{whole}");
        }
        for split in ["DEL k l", "mget k l", "MSET k v l w", "UNLINK {a}k {}l"] {
            assert!(is_split(&command(split)), "{split}");
        }
    }

    #[test]
    fn the_slot_of_a_key_is_decided_by_what_is_in_the_first_braces() {
        assert_eq!(tag(b"user:{7}:name"), b"7");
        assert_eq!(tag(b"{}key"), b"{}key");
        assert_eq!(tag(b"{key"), b"{key");
        assert_eq!(tag(b"{{a}}"), b"{a");
        assert_eq!(tag(b"key"), b"key");
    }
}
