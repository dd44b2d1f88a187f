//! A server that is not the lab's own: where it is, what is sent to it, and when it closes what is idle.

use std::io;
use std::net::{SocketAddr, TcpStream, ToSocketAddrs};
use std::time::Duration;

use crate::redis_server::{RedisServer, ask};

/// How many connections a server gets that does not say how many it takes.
const FEW: usize = 90;

/// How late a Redis may close an idle connection: it compares whole seconds, and looks at each client once a second.
const REDIS_LAG: Duration = Duration::from_secs(2);

/// A server in place of the lab's own.
#[derive(Clone, Debug)]
pub(crate) struct Foreign {
    /// Where it is.
    pub(crate) address: Address,
    /// What to send on every connection that is checked out.
    pub(crate) send: Option<String>,
    /// What an answer ends with; `None`: with silence.
    pub(crate) answer_ends: Option<&'static str>,
    /// When it closes what is idle.
    pub(crate) patience: Patience,
    /// How many connections all policies of a story may have to it.
    pub(crate) clients: usize,
    /// What the user should know of it.
    pub(crate) note: Option<String>,
}

impl Foreign {
    /// Any server of the user's, who believes that it closes what has been idle for `idle`.
    ///
    /// # Errors
    ///
    /// When it cannot be connected to, so that this is told at the beginning and not after every story.
    pub(crate) fn any(
        address: Address,
        send: Option<String>,
        idle: Duration,
    ) -> Result<Self, String> {
        let limit = Duration::from_secs(3);
        address.reach(|candidate| TcpStream::connect_timeout(candidate, limit))?;
        Ok(Self {
            address,
            send,
            answer_ends: None,
            patience: Patience::believed(idle),
            clients: FEW,
            note: None,
        })
    }

    /// The Redis that the lab has started itself, with this `timeout`.
    pub(crate) fn own_redis(server: &RedisServer, timeout: Duration) -> Self {
        let address = Address {
            url: server.url(),
            name: server.address().to_string(),
            resolved: vec![server.address()],
        };
        let told = ask(server.address(), &["INFO server"]).unwrap_or_default();
        let note = format!(
            "Told against {} on {}, started for this with timeout {} and stopped at the end.",
            product(&told),
            address.url,
            timeout.as_secs(),
        );
        Self {
            // It takes ten thousand.
            clients: usize::MAX,
            ..Self::redis(address, Patience::of_redis(timeout), note)
        }
    }

    /// A Redis of the user's, which is asked for its `timeout` unless the user says what to believe.
    ///
    /// # Errors
    ///
    /// When it cannot be connected to, or does not talk as a Redis does.
    pub(crate) fn users_redis(address: Address, idle: Option<Duration>) -> Result<Self, String> {
        let questions = ["CONFIG GET timeout", "CONFIG GET maxclients", "INFO server"];
        let told = address.reach(|candidate| match ask(*candidate, &questions) {
            // It was connected to, and nothing came.
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(String::new()),
            told => told,
        })?;
        let first = told.lines().next().unwrap_or_default();
        // The answer to QUIT, which only those get who are let in.
        if !told.ends_with("+OK\r\n") {
            return Err(match first.strip_prefix('-') {
                Some(error) => format!("{} refuses the lab: {error}", address.url),
                None => format!(
                    "{} does not answer as a Redis does; --server tcp://{} tells the stories against any server",
                    address.url, address.name
                ),
            });
        }
        let (patience, says) = match (idle, setting(&told, "timeout")) {
            (Some(idle), _) => (
                Patience::believed(idle),
                format!(
                    "is believed to have timeout {}, as --idle says",
                    idle.as_secs()
                ),
            ),
            (None, Some(0)) => (
                Patience::endless(),
                format!(
                    "has timeout 0, so it closes nothing that is idle; `redis-cli -u {} config set timeout 1` changes \
                     that",
                    address.url
                ),
            ),
            (None, Some(seconds)) => (
                Patience::of_redis(Duration::from_secs(seconds)),
                format!("has timeout {seconds}"),
            ),
            (None, None) => (
                Patience::believed(Duration::from_secs(5)),
                format!(
                    "does not tell its timeout ({}), 5 s are believed; --idle SECONDS says otherwise",
                    first.trim_start_matches('-')
                ),
            ),
        };
        let note = format!(
            "{} on {} {says}. The lab sets nothing there; its pools send PING.",
            product(&told),
            address.url,
        );
        let clients =
            setting(&told, "maxclients").and_then(|clients| usize::try_from(clients).ok());
        Ok(Self {
            // Others want some, too.
            clients: clients.map_or(FEW, |clients| clients / 4),
            ..Self::redis(address, patience, note)
        })
    }

    fn redis(address: Address, patience: Patience, note: String) -> Self {
        Self {
            address,
            // Answered in one line, with an error if the server wants a password first.
            send: Some("PING\r\n".into()),
            answer_ends: Some("\r\n"),
            patience,
            clients: FEW,
            note: Some(note),
        }
    }
}

/// The number that `CONFIG GET name` was answered with.
fn setting(told: &str, name: &str) -> Option<u64> {
    // The name, the length of the value, the value.
    let mut lines = told.lines().skip_while(|line| *line != name);
    lines.nth(2)?.parse().ok()
}

/// What `INFO server` calls itself.
fn product(told: &str) -> String {
    let field = |name| told.lines().find_map(|line: &str| line.strip_prefix(name));
    match (field("valkey_version:"), field("redis_version:")) {
        (Some(version), _) => format!("Valkey {version}"),
        (None, Some(version)) => format!("Redis {version}"),
        (None, None) => "The server".into(),
    }
}

/// When a server closes what is idle, as far as the lab knows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Patience {
    /// Not before this,
    pub(crate) least: Duration,
    /// and by this time for sure.
    pub(crate) most: Duration,
    pub(crate) certainty: Certainty,
}

/// How much of a [`Patience`] is known.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Certainty {
    Known,
    Believed,
    /// It never closes; the times are only what the stories are paced by.
    Never,
}

impl Patience {
    /// Of a server of the lab's own.
    pub(crate) fn exactly(idle: Duration) -> Self {
        Self {
            least: idle,
            most: idle,
            certainty: Certainty::Known,
        }
    }

    fn believed(idle: Duration) -> Self {
        Self {
            certainty: Certainty::Believed,
            ..Self::exactly(idle)
        }
    }

    fn of_redis(timeout: Duration) -> Self {
        Self {
            most: timeout + REDIS_LAG,
            ..Self::exactly(timeout)
        }
    }

    fn endless() -> Self {
        Self {
            certainty: Certainty::Never,
            ..Self::of_redis(Duration::from_secs(1))
        }
    }

    /// As a setup speaks of it.
    pub(crate) fn in_words(self) -> String {
        let idle = format!("what has been idle for {} ms", self.least.as_millis());
        let lag = self.most - self.least;
        match self.certainty {
            Certainty::Known if lag.is_zero() => format!("The server closes {idle}"),
            Certainty::Known => format!(
                "The server closes {idle}, up to {} ms late",
                lag.as_millis()
            ),
            Certainty::Believed => format!("The server is believed to close {idle}"),
            Certainty::Never => "The server closes nothing that is idle".into(),
        }
    }
}

/// Where a server is.
#[derive(Clone, Debug)]
pub(crate) struct Address {
    /// As the user wrote it.
    pub(crate) url: String,
    /// As `host:port`.
    pub(crate) name: String,
    /// What that resolves to.
    pub(crate) resolved: Vec<SocketAddr>,
}

impl Address {
    /// Reads `tcp://HOST:PORT`.
    pub(crate) fn parse_tcp(url: &str) -> Result<Self, String> {
        let remedy = "write it as tcp://HOST:PORT, for instance tcp://127.0.0.1:6379";
        let Some(name) = url.strip_prefix("tcp://") else {
            return Err(format!("it does not begin with tcp://; {remedy}"));
        };
        Self::parse(url, name.strip_suffix('/').unwrap_or(name), remedy)
    }

    /// Reads `redis://HOST:PORT`, with or without a database.
    pub(crate) fn parse_redis(url: &str) -> Result<Self, String> {
        let remedy = "write it as redis://HOST:PORT, for instance redis://127.0.0.1:6379";
        let Some(name) = url.strip_prefix("redis://") else {
            return Err(format!(
                "it does not begin with redis://, and the lab reads plain sockets only; {remedy}"
            ));
        };
        // Which database makes no difference to a PING.
        let name = name.split(['/', '?']).next().unwrap_or(name);
        if name.contains('@') {
            return Err(format!(
                "the lab's pools send PING, for which they need no password; {remedy}, and the server's timeout with \
                 --idle"
            ));
        }
        let has_port = name
            .rsplit_once(':')
            .is_some_and(|(_, port)| !port.contains(']'));
        match has_port {
            true => Self::parse(url, name, remedy),
            false => Self::parse(url, &format!("{name}:6379"), remedy),
        }
    }

    fn parse(url: &str, name: &str, remedy: &str) -> Result<Self, String> {
        let Some((host, port)) = name
            .rsplit_once(':')
            .filter(|(_, port)| !port.contains(']'))
        else {
            return Err(format!("the port is missing; {remedy}"));
        };
        if host.is_empty() {
            return Err(format!("the host is missing; {remedy}"));
        }
        if !port.parse::<u16>().is_ok_and(|port| port > 0) {
            return Err(format!("`{port}` is no port from 1 to 65535; {remedy}"));
        }
        let resolved = name.to_socket_addrs().map_err(|error| {
            format!("the host `{host}` cannot be resolved: {error}; check its spelling")
        })?;
        Ok(Self {
            url: url.into(),
            name: name.into(),
            resolved: resolved.collect(),
        })
    }

    /// Tries its addresses one after the other.
    fn reach<T>(&self, attempt: impl Fn(&SocketAddr) -> io::Result<T>) -> Result<T, String> {
        let mut last = "it has no address".to_string();
        for candidate in &self.resolved {
            match attempt(candidate) {
                Ok(reached) => return Ok(reached),
                Err(error) => last = error.to_string(),
            }
        }
        Err(format!(
            "cannot connect to {}: {last}; is the server running there?",
            self.url
        ))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_server_has_a_scheme_a_host_and_a_port() {
        let server = Address::parse_tcp("tcp://127.0.0.1:80").expect("complete");
        assert_eq!(server.resolved, [SocketAddr::from(([127, 0, 0, 1], 80))]);
        let server = Address::parse_tcp("tcp://[::1]:80/").expect("complete");
        assert_eq!(server.resolved[0].to_string(), "[::1]:80");
    }

    #[test]
    fn a_bad_server_is_told_what_is_wrong_with_it() {
        for (url, wrong) in [
            ("127.0.0.1:80", "does not begin with tcp://"),
            ("http://127.0.0.1:80", "does not begin with tcp://"),
            ("tcp://127.0.0.1", "the port is missing"),
            ("tcp://[::1]", "the port is missing"),
            ("tcp://:80", "the host is missing"),
            ("tcp://127.0.0.1:http", "`http` is no port"),
            ("tcp://127.0.0.1:0", "`0` is no port"),
        ] {
            let message = Address::parse_tcp(url).expect_err(url);
            assert!(message.contains(wrong), "{url}: {message}");
            assert!(message.contains("tcp://HOST:PORT"), "{url}: {message}");
        }
    }

    #[test]
    fn a_redis_may_leave_out_its_port_and_name_a_database() {
        for url in [
            "redis://127.0.0.1",
            "redis://127.0.0.1/",
            "redis://127.0.0.1:6379",
            "redis://127.0.0.1:6379/3?protocol=resp3",
        ] {
            let server = Address::parse_redis(url).expect(url);
            assert_eq!(server.name, "127.0.0.1:6379", "{url}");
        }
        let server = Address::parse_redis("redis://[::1]").expect("complete");
        assert_eq!(server.resolved[0].to_string(), "[::1]:6379");
    }

    #[test]
    fn a_bad_redis_is_told_what_is_wrong_with_it() {
        for (url, wrong) in [
            ("127.0.0.1:6379", "does not begin with redis://"),
            ("rediss://127.0.0.1", "plain sockets only"),
            ("redis://:secret@127.0.0.1", "need no password"),
            ("redis://", "the host is missing"),
            ("redis://127.0.0.1:x", "`x` is no port"),
        ] {
            let message = Address::parse_redis(url).expect_err(url);
            assert!(message.contains(wrong), "{url}: {message}");
            assert!(message.contains("redis://HOST:PORT"), "{url}: {message}");
        }
    }

    #[test]
    fn what_a_redis_tells_is_read() {
        let told = "*2\r\n$7\r\ntimeout\r\n$1\r\n1\r\n*2\r\n$10\r\nmaxclients\r\n$5\r\n10000\r\n\
                    $38\r\n# Server\r\nredis_version:7.0.15\r\n\r\n+OK\r\n";
        assert_eq!(setting(told, "timeout"), Some(1));
        assert_eq!(setting(told, "maxclients"), Some(10_000));
        assert_eq!(product(told), "Redis 7.0.15");

        let silent =
            "-NOAUTH Authentication required.\r\n-NOAUTH Authentication required.\r\n+OK\r\n";
        assert_eq!(setting(silent, "timeout"), None);
        assert_eq!(product(silent), "The server");
    }
}
