//! A line to a server that has nothing to do with what is tested: blocking, on a plain socket, in the inline protocol.

use std::io::{self, BufRead, BufReader, ErrorKind, Read, Write};
use std::net::TcpStream;

use super::wait::LIMIT;

/// What the server answered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Reply {
    Text(String),
    Integer(i64),
    Nil,
    Array(Vec<Reply>),
    Error(String),
}

impl Reply {
    /// The text, which it must be.
    #[track_caller]
    pub(crate) fn text(&self) -> &str {
        match self {
            Self::Text(text) => text,
            other => panic!("not a text: {other:?}"),
        }
    }

    /// The number, which it must be.
    #[track_caller]
    pub(crate) fn integer(&self) -> i64 {
        match self {
            Self::Integer(number) => *number,
            other => panic!("not a number: {other:?}"),
        }
    }
}

/// The user whom every server of these tests knows, and who may do everything whatever becomes of the default user.
pub(crate) const ORACLE: &str = "oracle";

/// A connection of the test's own.
pub(crate) struct Line {
    stream: BufReader<TcpStream>,
}

impl Line {
    /// Dials and introduces itself as [`ORACLE`], by user and by name.
    pub(crate) fn dial(port: u16) -> io::Result<Self> {
        let stream = TcpStream::connect(("127.0.0.1", port))?;
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(LIMIT))?;
        let mut line = Self {
            stream: BufReader::new(stream),
        };
        for hello in [
            format!("AUTH {ORACLE} any"),
            format!("CLIENT SETNAME {ORACLE}"),
        ] {
            if let Reply::Error(error) = line.ask(&hello)? {
                return Err(io::Error::other(error));
            }
        }
        Ok(line)
    }

    /// Sends a command, quoted as in `redis-cli`, and reads its answer.
    pub(crate) fn ask(&mut self, command: &str) -> io::Result<Reply> {
        self.stream
            .get_mut()
            .write_all(format!("{command}\r\n").as_bytes())?;
        self.read()
    }

    /// Whether the server has not hung up, as far as the kernel knows.
    pub(crate) fn is_open(&self) -> bool {
        let stream = self.stream.get_ref();
        let nonblocking = stream.set_nonblocking(true);
        let peeked = stream.peek(&mut [0]);
        let blocking = stream.set_nonblocking(false);
        nonblocking.is_ok()
            && blocking.is_ok()
            && matches!(peeked, Err(error) if error.kind() == ErrorKind::WouldBlock)
    }

    /// The port of our end.
    pub(crate) fn local_port(&self) -> io::Result<u16> {
        Ok(self.stream.get_ref().local_addr()?.port())
    }

    fn read(&mut self) -> io::Result<Reply> {
        let mut head = String::new();
        if self.stream.read_line(&mut head)? == 0 {
            return Err(ErrorKind::UnexpectedEof.into());
        }
        let head = head.trim_end();
        let (kind, rest) = head.split_at_checked(1).unwrap_or(("", ""));
        let number = || {
            rest.parse::<i64>()
                .map_err(|_| io::Error::other(format!("no answer of Redis: {head}")))
        };
        match kind {
            "+" => Ok(Reply::Text(rest.to_owned())),
            "-" => Ok(Reply::Error(rest.to_owned())),
            ":" => Ok(Reply::Integer(number()?)),
            "$" => match usize::try_from(number()?) {
                Err(_) => Ok(Reply::Nil),
                Ok(length) => {
                    let mut text = vec![0; length + 2];
                    self.stream.read_exact(&mut text)?;
                    text.truncate(length);
                    Ok(Reply::Text(String::from_utf8_lossy(&text).into_owned()))
                }
            },
            "*" => match usize::try_from(number()?) {
                Err(_) => Ok(Reply::Nil),
                Ok(length) => (0..length)
                    .map(|_| self.read())
                    .collect::<io::Result<_>>()
                    .map(Reply::Array),
            },
            _ => Err(io::Error::other(format!("no answer of Redis: {head}"))),
        }
    }
}
