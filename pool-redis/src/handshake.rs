//! Who we are and what we want, said once on a new connection, in one round trip.
//!
//! redis-rs has a handshake of its own, which does not look at all its answers: it takes a server that has no room for
//! another client for one that refuses the password, and does not notice one that wants a password if it has none.

use redis::{ErrorKind, Pipeline, ProtocolVersion, RedisConnectionInfo, RedisError, Value};

use crate::error::RedisConnectError;

/// What is said, in its order.
#[derive(Clone, Debug)]
pub(crate) struct Handshake {
    pub(crate) info: RedisConnectionInfo,
    pub(crate) client_name: Option<String>,
}

/// One line of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Line {
    /// A refusal ends it.
    Must(&'static str),
    /// Older servers do not know it.
    May,
}

/// Lines, and the answers that are awaited.
#[derive(Debug, Default)]
pub(crate) struct Script {
    pub(crate) pipeline: Pipeline,
    lines: Vec<Line>,
}

impl Script {
    fn say(&mut self, line: Line, name: &str) -> &mut Pipeline {
        self.lines.push(line);
        self.pipeline.cmd(name)
    }

    /// Looks at every answer.
    pub(crate) fn judge(&self, target: &str, answers: Vec<Value>) -> Result<(), RedisConnectError> {
        for (line, answer) in self.lines.iter().zip(answers) {
            let Value::ServerError(error) = answer else {
                continue;
            };
            let wants_password = error.code() == "NOAUTH";
            let is_loading = error.code() == "LOADING";
            let is_full = error
                .details()
                .is_some_and(|details| details.contains("max number of clients"));
            if wants_password {
                return Err(RedisConnectError::NoPassword {
                    target: target.to_owned(),
                });
            }
            let command = match line {
                Line::Must(command) => command,
                // Said instead of an answer to whatever came first, and the last thing on this connection.
                Line::May if is_full => "another client",
                Line::May if is_loading => "everything yet",
                Line::May => continue,
            };
            return Err(RedisConnectError::Refused {
                target: target.to_owned(),
                command: if is_full { "another client" } else { command },
                source: error.into(),
            });
        }
        Ok(())
    }
}

impl Handshake {
    /// On a new connection.
    pub(crate) fn greeting(&self) -> Script {
        let mut script = Script::default();
        self.introduce(&mut script);
        script
    }

    /// On a connection of which nothing is known any more.
    pub(crate) fn anew(&self) -> Script {
        let mut script = Script::default();
        // Back to no user, database 0, RESP2, and no name; Redis 6.2 or newer.
        script.say(Line::Must("RESET"), "RESET");
        self.introduce(&mut script);
        script
    }

    fn introduce(&self, script: &mut Script) {
        let info = &self.info;
        match info.protocol() {
            ProtocolVersion::RESP2 => {
                if let Some(password) = info.password() {
                    let auth = script.say(Line::Must("AUTH"), "AUTH");
                    if let Some(username) = info.username() {
                        auth.arg(username);
                    }
                    auth.arg(password);
                }
            }
            _ => {
                let hello = script.say(Line::Must("HELLO 3"), "HELLO").arg(3);
                if let Some(password) = info.password() {
                    hello.arg("AUTH").arg(info.username().unwrap_or("default"));
                    hello.arg(password);
                }
            }
        }
        if info.db() != 0 {
            script.say(Line::Must("SELECT"), "SELECT").arg(info.db());
        }
        if let Some(name) = &self.client_name {
            let client = script.say(Line::Must("CLIENT SETNAME"), "CLIENT");
            client.arg("SETNAME").arg(name);
        }
        if !info.skip_set_lib_name() {
            let name = info.lib_name().unwrap_or(env!("CARGO_PKG_NAME"));
            let version = info.lib_ver().unwrap_or(env!("CARGO_PKG_VERSION"));
            for (attribute, value) in [("LIB-NAME", name), ("LIB-VER", version)] {
                let client = script.say(Line::May, "CLIENT");
                client.arg("SETINFO").arg(attribute).arg(value);
            }
        }
        // What was said so far, a server may take that wants a password, or that is still loading: a command that it does
        // not know it refuses as such, whoever asks. Not everybody may PING, which says that he is let in.
        script.say(Line::May, "PING");
    }

    /// What redis-rs is told, so that it says nothing by itself.
    pub(crate) fn silence(&self) -> RedisConnectionInfo {
        RedisConnectionInfo::default().set_skip_set_lib_name()
    }
}

/// Whether an answer means that trying again is in vain: who we are or what we want has to change first.
pub(crate) fn is_permanent(refusal: &RedisError) -> bool {
    let says = |text| refusal.detail().is_some_and(|detail| detail.contains(text));
    match refusal.code() {
        Some("WRONGPASS" | "NOPERM" | "NOPROTO") => true,
        // Without a code of their own: no such database, no such command, AUTH where there is no password.
        Some("ERR") => !says("max number of clients"),
        _ => refusal.kind() == ErrorKind::AuthenticationFailed,
    }
}
