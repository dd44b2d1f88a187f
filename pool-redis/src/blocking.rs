//! How long a command may block at the server, which is no reason to give it up.

use std::time::Duration;

use redis::{Cmd, Pipeline};

use crate::name::Name;
use crate::traces::argument;

/// How long the server may take over a command because it was told to wait.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Blocks {
    /// At most so long; mostly not at all.
    For(Duration),
    /// Until something happens.
    Forever,
}

impl Blocks {
    pub(crate) const NOT_AT_ALL: Self = Self::For(Duration::ZERO);

    #[inline]
    pub(crate) fn of(command: &Cmd) -> Self {
        let timeout = match Name::of(command, 0).as_bytes() {
            b"BLPOP" | b"BRPOP" | b"BRPOPLPUSH" | b"BLMOVE" | b"BZPOPMIN" | b"BZPOPMAX" => {
                seconds(command, command.args_iter().len().saturating_sub(1))
            }
            b"BLMPOP" | b"BZMPOP" => seconds(command, 1),
            b"XREAD" | b"XREADGROUP" => block_option(command),
            b"WAIT" => milliseconds(command, 2),
            b"WAITAOF" => milliseconds(command, 3),
            _ => return Self::NOT_AT_ALL,
        };
        match timeout {
            Some(Duration::ZERO) => Self::Forever,
            Some(timeout) => Self::For(timeout),
            None => Self::NOT_AT_ALL,
        }
    }

    /// All its commands, one after the other; between `MULTI` and `EXEC` none of them blocks.
    pub(crate) fn of_all(pipeline: &Pipeline) -> Self {
        match pipeline.is_transaction() {
            true => Self::NOT_AT_ALL,
            false => pipeline
                .cmd_iter()
                .map(Self::of)
                .fold(Self::NOT_AT_ALL, Self::then),
        }
    }

    /// How long to wait for the answer, if one to a command that does not block may take `limit`.
    pub(crate) fn within(self, limit: Duration) -> Option<Duration> {
        match self {
            Self::For(timeout) => limit.checked_add(timeout),
            Self::Forever => None,
        }
    }

    fn then(self, next: Self) -> Self {
        match (self, next) {
            (Self::For(one), Self::For(other)) => Self::For(one.saturating_add(other)),
            _ => Self::Forever,
        }
    }
}

/// As Redis reads them, with fractions. What it would refuse does not block.
fn seconds(command: &Cmd, index: usize) -> Option<Duration> {
    Duration::try_from_secs_f64(text(command, index)?.parse().ok()?).ok()
}

fn milliseconds(command: &Cmd, index: usize) -> Option<Duration> {
    Some(Duration::from_millis(text(command, index)?.parse().ok()?))
}

/// `XREAD [GROUP g c] [COUNT n] [BLOCK ms] STREAMS ..`: the other words are names that somebody chose.
fn block_option(command: &Cmd) -> Option<Duration> {
    let mut index = 1;
    loop {
        index += match Name::of(command, index).as_bytes() {
            b"BLOCK" => return milliseconds(command, index + 1),
            b"GROUP" => 3,
            b"COUNT" => 2,
            b"STREAMS" | b"" => return None,
            _ => 1,
        }
    }
}

fn text(command: &Cmd, index: usize) -> Option<&str> {
    std::str::from_utf8(argument(command, index)?).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Cmd {
        let mut command = Cmd::new();
        for word in text.split(' ') {
            command.arg(word);
        }
        command
    }

    #[test]
    fn a_blocking_command_says_itself_how_long_it_blocks() {
        let seconds = |seconds| Blocks::For(Duration::from_secs_f64(seconds));
        for (command, expected) in [
            ("GET k", Blocks::NOT_AT_ALL),
            ("BLPOP q 5", seconds(5.0)),
            ("brpop q p 0.25", seconds(0.25)),
            ("BLPOP q 0", Blocks::Forever),
            ("BLPOP q x", Blocks::NOT_AT_ALL),
            ("BLPOP q -1", Blocks::NOT_AT_ALL),
            ("BLPOP q inf", Blocks::NOT_AT_ALL),
            ("BLMOVE a b LEFT RIGHT 2", seconds(2.0)),
            ("BRPOPLPUSH a b 2", seconds(2.0)),
            ("BLMPOP 3 2 a b LEFT", seconds(3.0)),
            ("BZPOPMIN z 1", seconds(1.0)),
            ("BZMPOP 0 1 z MIN", Blocks::Forever),
            ("XREAD COUNT 1 BLOCK 1500 STREAMS s $", seconds(1.5)),
            ("XREADGROUP GROUP g c BLOCK 0 STREAMS s >", Blocks::Forever),
            (
                "XREADGROUP GROUP BLOCK 7 BLOCK 1000 STREAMS s >",
                seconds(1.0),
            ),
            ("XREAD STREAMS BLOCK 0", Blocks::NOT_AT_ALL),
            ("XREAD COUNT 1 STREAMS s 0", Blocks::NOT_AT_ALL),
            ("WAIT 1 500", seconds(0.5)),
            ("WAITAOF 1 0 500", seconds(0.5)),
            ("BLPOP", Blocks::NOT_AT_ALL),
        ] {
            assert_eq!(Blocks::of(&parse(command)), expected, "{command}");
        }
    }

    #[test]
    fn a_pipeline_blocks_as_long_as_all_its_commands_together_and_a_transaction_not_at_all() {
        let mut pipeline = redis::pipe();
        pipeline.add_command(parse("BLPOP q 2"));
        pipeline.add_command(parse("BLPOP q 3"));
        let five = Blocks::For(Duration::from_secs(5));
        assert_eq!(Blocks::of_all(&pipeline), five);
        assert_eq!(
            Blocks::of_all(&pipeline.clone().atomic().clone()),
            Blocks::NOT_AT_ALL
        );
        pipeline.add_command(parse("BLPOP q 0"));
        assert_eq!(Blocks::of_all(&pipeline), Blocks::Forever);
    }

    #[test]
    fn the_wait_is_the_commands_own_and_the_limit_on_top() {
        let limit = Duration::from_secs(10);
        assert_eq!(Blocks::NOT_AT_ALL.within(limit), Some(limit));
        let five = Blocks::For(Duration::from_secs(5));
        assert_eq!(five.within(limit), Some(Duration::from_secs(15)));
        assert_eq!(five.within(Duration::MAX), None);
        assert_eq!(Blocks::Forever.within(limit), None);
    }
}
