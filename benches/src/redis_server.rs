//! A `redis-server` on a free port of the loopback interface, for as long as somebody needs it.

use std::io::{self, Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::Duration;

/// What the shell does before it becomes the server: it leaves somebody behind who kills it at the end of our pipe.
///
/// Our end of the pipe is closed by whatever ends this process, a signal that nobody handles included, so that no server
/// outlives it. Debian and Homebrew put servers where not every user's path leads.
const SCRIPT: &str = r#"
PATH="$PATH:/usr/sbin:/usr/local/sbin:/opt/homebrew/bin"
exec 3<&0
(read -r _ <&3; kill -KILL $$) &
exec redis-server "$@" 3<&- </dev/null
"#;

/// What a shell ends with when there is no such program.
const NOT_FOUND: i32 = 127;

/// A running server without persistence.
///
/// # Drop
///
/// Kills it and waits for its end.
#[derive(Debug)]
pub struct RedisServer {
    child: Child,
    port: u16,
}

impl RedisServer {
    /// Starts it with these options beside its own, such as `["--timeout", "1"]`, and waits until it answers.
    ///
    /// # Errors
    ///
    /// When there is none to start (`NotFound`, with the name of the package), or it does not answer.
    pub fn start(options: &[&str]) -> io::Result<Self> {
        let mut last = String::new();
        for _ in 0..5 {
            let port = free_port()?;
            let mut server = Self {
                child: spawn(port, options)?,
                port,
            };
            match server.answers() {
                Ok(()) => return Ok(server),
                Err(error) if error.kind() == io::ErrorKind::NotFound => return Err(error),
                // Somebody else may have taken the port meanwhile.
                Err(error) => last = error.to_string(),
            }
        }
        Err(io::Error::other(last))
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        SocketAddr::from((Ipv4Addr::LOCALHOST, self.port))
    }

    /// The address as clients of Redis write it.
    pub fn url(&self) -> String {
        format!("redis://{}", self.address())
    }

    fn answers(&mut self) -> io::Result<()> {
        for _ in 0..500 {
            if let Some(status) = self.child.try_wait()? {
                return Err(match status.code() {
                    Some(NOT_FOUND) => io::Error::new(
                        io::ErrorKind::NotFound,
                        "no redis-server is installed; the package is called redis-server (Debian, Ubuntu) or redis \
                         (Fedora, Alpine, Homebrew)",
                    ),
                    _ => io::Error::other(format!("redis-server does not start: {status}")),
                });
            }
            // While it starts it does not listen, or says that it is loading.
            if ask(self.address(), &["PING"]).is_ok_and(|answer| answer.starts_with("+PONG")) {
                return Ok(());
            }
            thread::sleep(Duration::from_millis(10));
        }
        Err(io::Error::other(format!(
            "redis-server was started on port {} and does not answer",
            self.port
        )))
    }
}

impl Drop for RedisServer {
    fn drop(&mut self) {
        drop(self.child.stdin.take());
        let _ = self.child.wait();
    }
}

fn free_port() -> io::Result<u16> {
    Ok(TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?
        .local_addr()?
        .port())
}

fn spawn(port: u16, options: &[&str]) -> io::Result<Child> {
    let mut command = Command::new("sh");
    command
        .args(["-c", SCRIPT, "sh", "--port", &port.to_string()])
        .args(["--bind", "127.0.0.1", "--save", "", "--appendonly", "no"])
        // It would load a file of the usual name if there were one.
        .args(["--dbfilename", &format!("redis-{port}.rdb")])
        .arg("--dir")
        .arg(std::env::temp_dir())
        .args(options)
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::null());
    // A Ctrl-C at the terminal is for us; the server ends when we are done with it.
    #[cfg(unix)]
    std::os::unix::process::CommandExt::process_group(&mut command, 0);
    command
        .spawn()
        .map_err(|error| io::Error::new(error.kind(), format!("no shell starts here: {error}")))
}

/// What a server answers to these commands, one after the other.
///
/// # Errors
///
/// When it cannot be reached, or has not answered and closed after 3 s.
pub fn ask(address: SocketAddr, commands: &[&str]) -> io::Result<String> {
    let limit = Duration::from_secs(3);
    let mut stream = TcpStream::connect_timeout(&address, limit)?;
    stream.set_read_timeout(Some(limit))?;
    // After QUIT the server closes, so that the end of the answers need not be looked for.
    let text: String = commands
        .iter()
        .chain([&"QUIT"])
        .map(|command| format!("{command}\r\n"))
        .collect();
    stream.write_all(text.as_bytes())?;
    let mut answer = Vec::new();
    match stream.read_to_end(&mut answer) {
        // A server that refuses a client tells why, and resets the connection over what it has not read.
        Err(error) if answer.is_empty() => return Err(error),
        _ => {}
    }
    Ok(String::from_utf8_lossy(&answer).into_owned())
}
