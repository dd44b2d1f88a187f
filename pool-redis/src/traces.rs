//! What the commands of one user leave behind on a connection: nothing, something to undo, or a connection that nobody
//! else can use.
//!
//! Known from the commands as they pass, not asked of the server. A command that this file does not know leaves nothing.

use redis::{Arg, Cmd, Pipeline};

use crate::name::Name;

/// What the commands since the last check-in have left behind.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Traces {
    /// Another database than the pool's is selected.
    pub(crate) is_elsewhere: bool,
    /// Keys are watched.
    pub(crate) is_watching: bool,
    /// `MULTI` was sent, and neither `EXEC` nor `DISCARD` after it.
    pub(crate) is_queueing: bool,
    /// Something that cannot be undone, or is not worth it.
    pub(crate) is_spoilt: bool,
}

/// Whether a command leaves everything as it was, so that it may be sent on a connection that others use too.
pub(crate) fn leaves_nothing(command: &Cmd) -> bool {
    !command.is_no_response() && Trace::of(command) == Trace::Nothing
}

impl Traces {
    pub(crate) fn are_none(self) -> bool {
        self == Self::default()
    }

    /// A command passes. `home` is the pool's database.
    #[inline]
    pub(crate) fn follow(&mut self, command: &Cmd, home: i64) {
        // The answer would be taken for that of the next command.
        self.is_spoilt |= command.is_no_response();
        match Trace::of(command) {
            Trace::Nothing => {}
            Trace::Selects => {
                self.is_elsewhere = argument(command, 1).and_then(number) != Some(home);
            }
            Trace::Watches => self.is_watching = true,
            Trace::Unwatches => self.is_watching = false,
            Trace::Queues => self.is_queueing = true,
            Trace::Ends => self.end_transaction(),
            Trace::Spoils => self.is_spoilt = true,
        }
    }

    /// A pipeline passes.
    pub(crate) fn follow_all(&mut self, pipeline: &Pipeline, home: i64) {
        for command in pipeline.cmd_iter() {
            self.follow(command, home);
        }
        // An atomic pipeline is sent between `MULTI` and `EXEC`, which are not among its commands.
        if pipeline.is_transaction() {
            self.end_transaction();
        }
    }

    /// Executed or discarded, a transaction forgets what was watched.
    fn end_transaction(&mut self) {
        self.is_queueing = false;
        self.is_watching = false;
    }
}

/// What one command leaves behind.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Trace {
    Nothing,
    Selects,
    Watches,
    Unwatches,
    Queues,
    Ends,
    Spoils,
}

impl Trace {
    #[inline]
    fn of(command: &Cmd) -> Self {
        match Name::of(command, 0).as_bytes() {
            b"SELECT" => Self::Selects,
            b"WATCH" => Self::Watches,
            b"UNWATCH" => Self::Unwatches,
            b"MULTI" => Self::Queues,
            b"EXEC" | b"DISCARD" => Self::Ends,
            b"CLIENT" => Self::of_client(command),
            b"SCRIPT" if Name::of(command, 1).as_bytes() == b"DEBUG" => Self::Spoils,
            // Messages come unasked, or replies that the driver does not expect.
            b"SUBSCRIBE" | b"PSUBSCRIBE" | b"SSUBSCRIBE" | b"UNSUBSCRIBE" | b"PUNSUBSCRIBE"
            | b"SUNSUBSCRIBE" | b"MONITOR" | b"SYNC" | b"PSYNC" | b"REPLCONF"
            // Another user, another protocol, or neither.
            | b"AUTH" | b"HELLO" | b"RESET" | b"QUIT"
            // Modes of a connection to a node of a cluster.
            | b"ASKING" | b"READONLY" | b"READWRITE" => Self::Spoils,
            _ => Self::Nothing,
        }
    }

    /// Those that only ask, or act on others, leave nothing; any other, and any that is new, is taken to set something.
    #[cold]
    fn of_client(command: &Cmd) -> Self {
        match Name::of(command, 1).as_bytes() {
            b"ID" | b"INFO" | b"LIST" | b"GETNAME" | b"GETREDIR" | b"TRACKINGINFO" | b"KILL"
            | b"PAUSE" | b"UNPAUSE" | b"UNBLOCK" | b"HELP" => Self::Nothing,
            _ => Self::Spoils,
        }
    }
}

/// The argument number `index`, of which the name is number 0.
pub(crate) fn argument(command: &Cmd, index: usize) -> Option<&[u8]> {
    match command.args_iter().nth(index)? {
        Arg::Simple(bytes) => Some(bytes),
        _ => None,
    }
}

fn number(bytes: &[u8]) -> Option<i64> {
    std::str::from_utf8(bytes).ok()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The traces of commands given as text, words apart, on a connection whose database is 3.
    fn left_by(commands: &[&str]) -> Traces {
        let mut traces = Traces::default();
        for command in commands {
            traces.follow(&parse(command), 3);
        }
        traces
    }

    fn parse(text: &str) -> Cmd {
        let mut command = Cmd::new();
        for word in text.split(' ') {
            command.arg(word);
        }
        command
    }

    #[test]
    fn what_most_commands_leave_is_nothing() {
        for command in [
            "GET k",
            "SET k SELECT",
            "EVAL return 0",
            "BLPOP q 0",
            "CLIENT ID",
            "client list",
            "SCRIPT LOAD x",
            "JSON.SET k $ 1",
            "A.COMMAND.WHOSE.NAME.IS.LONGER.THAN.ANY",
            "PUBLISH c m",
            "",
        ] {
            assert!(left_by(&[command]).are_none(), "{command}");
        }
    }

    #[test]
    fn what_cannot_be_undone_spoils_the_connection() {
        for command in [
            "SUBSCRIBE c",
            "psubscribe c*",
            "SSUBSCRIBE c",
            "UNSUBSCRIBE",
            "MONITOR",
            "AUTH user password",
            "hello 3",
            "RESET",
            "QUIT",
            "READONLY",
            "ASKING",
            "CLIENT REPLY OFF",
            "client tracking on",
            "CLIENT SETNAME x",
            "CLIENT NO-EVICT on",
            "CLIENT SOMETHING-NEW",
            "CLIENT",
            "SCRIPT DEBUG YES",
            "PSYNC ? -1",
        ] {
            assert!(left_by(&[command]).is_spoilt, "{command}");
        }
        assert!(left_by(&["AUTH x", "GET k"]).is_spoilt);
    }

    #[test]
    fn only_another_database_than_the_pools_is_a_trace() {
        assert!(left_by(&["SELECT 4"]).is_elsewhere);
        assert!(left_by(&["select x"]).is_elsewhere);
        assert!(left_by(&["SELECT 4", "SELECT 3"]).are_none());
    }

    #[test]
    fn a_transaction_that_has_ended_leaves_nothing() {
        assert!(left_by(&["WATCH k"]).is_watching);
        assert!(left_by(&["WATCH k", "UNWATCH"]).are_none());
        assert!(left_by(&["WATCH k", "MULTI", "SET k v"]).is_queueing);
        assert!(left_by(&["WATCH k", "MULTI", "SET k v", "EXEC"]).are_none());
        assert!(left_by(&["WATCH k", "MULTI", "discard"]).are_none());
    }

    #[test]
    fn an_atomic_pipeline_ends_what_it_begins_and_what_was_watched() {
        let mut traces = left_by(&["WATCH k"]);
        let mut pipeline = redis::pipe();
        pipeline.cmd("SET").arg("k").arg("v");
        traces.follow_all(&pipeline, 3);
        assert!(traces.is_watching);

        traces.follow_all(pipeline.atomic(), 3);
        assert!(traces.are_none());

        traces.follow_all(pipeline.cmd("SELECT").arg(1), 3);
        assert!(traces.is_elsewhere);
    }

    #[test]
    fn a_command_whose_answer_nobody_reads_spoils_the_connection() {
        let mut traces = Traces::default();
        traces.follow(parse("SET k v").set_no_response(true), 3);
        assert!(traces.is_spoilt);
    }
}
