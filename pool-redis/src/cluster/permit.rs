//! What may be said to a cluster.

use redis::{Arg, Cmd, ErrorKind, Pipeline, RedisError, RedisResult};

use crate::blocking::Blocks;
use crate::traces::leaves_nothing;

/// Refuses what would change one connection of many, which the next command need not take.
pub(crate) fn permit(command: &Cmd) -> RedisResult<()> {
    match leaves_nothing(command) {
        true => Ok(()),
        false => Err(refusal(
            command,
            "a cluster has no single connection that this command could change; use an atomic pipeline or a script",
        )),
    }
}

pub(crate) fn permit_all(pipeline: &Pipeline) -> RedisResult<()> {
    pipeline.cmd_iter().try_for_each(permit)
}

/// Refuses what would keep others waiting who use the same connections.
pub(crate) fn permit_beside_others(command: &Cmd) -> RedisResult<()> {
    match Blocks::of(command) {
        Blocks::NOT_AT_ALL => permit(command),
        _ => Err(refusal(
            command,
            "this command blocks a connection that others use too; check one out for it",
        )),
    }
}

fn refusal(command: &Cmd, why: &'static str) -> RedisError {
    let name = match command.args_iter().next() {
        Some(Arg::Simple(name)) => String::from_utf8_lossy(name).into_owned(),
        _ => String::new(),
    };
    (ErrorKind::Client, why, name).into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_changes_a_connection_is_refused_and_says_what_else_there_is() {
        for refused in ["WATCH", "MULTI", "SELECT", "SUBSCRIBE", "AUTH", "ASKING"] {
            let error = permit(redis::cmd(refused).arg(1)).unwrap_err();
            assert!(error.to_string().contains("atomic pipeline"), "{error}");
            assert!(error.to_string().contains(refused), "{error}");
        }
        let mut pipeline = redis::pipe();
        pipeline.atomic().set("key", "value");
        assert!(permit_all(&pipeline).is_ok());
        assert!(permit_all(pipeline.cmd("WATCH").arg("key")).is_err());
    }

    #[test]
    fn what_blocks_is_refused_only_beside_others() {
        let mut pop = redis::cmd("BLPOP");
        pop.arg("queue").arg(0);
        assert!(permit(&pop).is_ok());
        assert!(permit_beside_others(&pop).is_err());
    }
}
