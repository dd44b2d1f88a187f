//! What the commands of one user leave behind on a connection: nothing, something to undo, or a connection that nobody
//! else can use.
//!
//! Known from the commands as they pass, not asked of the server. A command that this file does not know leaves nothing.

use redis::{Arg, Cmd, Pipeline, Value};

use crate::name::Name;

/// What the commands since the last check-in have left behind.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Traces {
    /// Another database than the pool's is selected.
    pub(crate) is_elsewhere: bool,
    /// Keys are watched.
    pub(crate) is_watching: bool,
    /// `MULTI` was sent, and neither `EXEC` nor `DISCARD` answered since.
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
            Trace::Selects => self.is_elsewhere |= !selects(command, home),
            Trace::Watches => self.is_watching = true,
            Trace::Queues => self.is_queueing = true,
            Trace::Spoils => self.is_spoilt = true,
            // What undoes something has not done so yet.
            Trace::Nothing | Trace::Unwatches | Trace::Ends => {}
        }
    }

    /// A pipeline passes.
    pub(crate) fn follow_all(&mut self, pipeline: &Pipeline, home: i64) {
        for command in pipeline.cmd_iter() {
            self.follow(command, home);
        }
    }

    /// A command was answered. One that was refused, or queued for an `EXEC` that may never come, has undone nothing.
    #[inline]
    pub(crate) fn heed(&mut self, command: &Cmd, home: i64, answer: &Value) {
        if !self.are_none() {
            self.undo(command, home, answer);
        }
    }

    /// A pipeline was answered.
    pub(crate) fn heed_all(&mut self, pipeline: &Pipeline, home: i64, answers: &[Value]) {
        if self.are_none() {
            return;
        }
        // An atomic pipeline is sent between `MULTI` and `EXEC`, of which only the last is answered here.
        if pipeline.is_transaction() {
            return self.end_transaction();
        }
        for (command, answer) in pipeline.cmd_iter().zip(answers) {
            self.undo(command, home, answer);
        }
    }

    #[cold]
    fn undo(&mut self, command: &Cmd, home: i64, answer: &Value) {
        match answer {
            // Refused, and forgotten all the same.
            Value::ServerError(error) if error.code() == "EXECABORT" => self.end_transaction(),
            Value::ServerError(_) => {}
            Value::SimpleString(text) if text == "QUEUED" => {}
            _ => match Trace::of(command) {
                Trace::Selects if selects(command, home) => self.is_elsewhere = false,
                Trace::Unwatches => self.is_watching = false,
                Trace::Ends => self.end_transaction(),
                _ => {}
            },
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

/// Whether this `SELECT` is of that database.
fn selects(command: &Cmd, database: i64) -> bool {
    argument(command, 1).and_then(number) == Some(database)
}

fn number(bytes: &[u8]) -> Option<i64> {
    std::str::from_utf8(bytes).ok()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The traces of commands given as text, words apart, on a connection whose database is 3. After an `=` comes the
    /// answer, else it is OK.
    fn left_by(commands: &[&str]) -> Traces {
        let mut traces = Traces::default();
        for command in commands {
            let (command, answer) = command.split_once(" = ").unwrap_or((command, "+OK"));
            let command = parse(command);
            traces.follow(&command, 3);
            traces.heed(&command, 3, &answered(answer));
        }
        traces
    }

    fn answered(text: &str) -> Value {
        redis::parse_redis_value(format!("{text}\r\n").as_bytes()).expect("RESP")
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
    fn what_was_refused_or_is_queued_has_undone_nothing() {
        assert!(left_by(&["WATCH k", "EXEC = -ERR EXEC without MULTI"]).is_watching);
        assert!(left_by(&["WATCH k", "DISCARD = -ERR DISCARD without MULTI"]).is_watching);
        assert!(left_by(&["WATCH k", "UNWATCH = -NOPERM no"]).is_watching);
        let queued = ["SELECT 4", "MULTI", "SELECT 3 = +QUEUED", "DISCARD"];
        assert!(left_by(&queued).is_elsewhere);
        let aborted = [
            "WATCH k",
            "MULTI",
            "GET = -ERR arguments",
            "EXEC = -EXECABORT",
        ];
        assert!(left_by(&aborted).are_none());
    }

    #[test]
    fn an_atomic_pipeline_ends_what_it_begins_and_what_was_watched() {
        let ok = [Value::Okay];
        let mut traces = left_by(&["WATCH k"]);
        let mut pipeline = redis::pipe();
        pipeline.cmd("SET").arg("k").arg("v");
        traces.follow_all(&pipeline, 3);
        traces.heed_all(&pipeline, 3, &ok);
        assert!(traces.is_watching);

        pipeline.atomic();
        traces.follow_all(&pipeline, 3);
        assert!(traces.is_watching);
        traces.heed_all(&pipeline, 3, &ok);
        assert!(traces.are_none());

        pipeline.cmd("SELECT").arg(1);
        traces.follow_all(&pipeline, 3);
        traces.heed_all(&pipeline, 3, &ok);
        assert!(traces.is_elsewhere);
    }

    #[test]
    fn each_command_of_a_pipeline_has_its_own_answer() {
        let mut traces = left_by(&["WATCH k", "SELECT 4"]);
        let mut pipeline = redis::pipe();
        pipeline.cmd("SELECT").arg(3).cmd("UNWATCH");
        traces.heed_all(&pipeline, 3, &[answered("-NOPERM no"), Value::Okay]);
        assert!(traces.is_elsewhere && !traces.is_watching);
    }

    #[test]
    fn a_command_whose_answer_nobody_reads_spoils_the_connection() {
        let mut traces = Traces::default();
        traces.follow(parse("SET k v").set_no_response(true), 3);
        assert!(traces.is_spoilt);
    }
}
