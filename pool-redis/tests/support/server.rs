//! A real `redis-server` of the test's own.

use std::fs;
use std::path::PathBuf;
use std::sync::{Mutex, MutexGuard, PoisonError};

use super::client_list::Client;
use super::line::{Line, ORACLE, Reply};
use super::ports::free_port;
use super::process::{Folder, Process, is_installed};
use super::tls;
use super::wait::arrives;

/// How a server is to be.
#[derive(Clone, Debug, Default)]
pub(crate) struct Setup {
    lines: Vec<String>,
    unix: bool,
    tls: bool,
    sentinel: bool,
}

impl Setup {
    /// With a line of configuration, such as `maxclients 12`.
    pub(crate) fn line(mut self, line: impl Into<String>) -> Self {
        self.lines.push(line.into());
        self
    }

    /// With a Unix socket beside its port.
    pub(crate) fn unix(mut self) -> Self {
        self.unix = true;
        self
    }

    /// With a second port, for TLS.
    pub(crate) fn tls(mut self) -> Self {
        self.tls = true;
        self
    }

    /// To watch over others instead of keeping data.
    pub(crate) fn sentinel(mut self) -> Self {
        self.sentinel = true;
        self
    }

    /// Starts it; `None` if Redis is not installed, and the test is to pass then.
    pub(crate) fn start(self) -> Option<RedisServer> {
        if !is_installed() {
            return None;
        }
        for _ in 0..100 {
            let server = RedisServer::new(self.clone());
            if server.try_start(&[]) {
                return Some(server);
            }
            // Somebody else took the port meanwhile.
        }
        panic!("redis-server is installed but does not start");
    }
}

/// A server with a folder that goes with it; killed when this is dropped, in a panic too.
pub(crate) struct RedisServer {
    setup: Setup,
    folder: Folder,
    port: u16,
    tls_port: Option<u16>,
    certificate: Vec<u8>,
    process: Mutex<Option<Process>>,
    line: Mutex<Option<Line>>,
}

impl RedisServer {
    /// One with nothing special; `None` if Redis is not installed.
    pub(crate) fn start() -> Option<Self> {
        Setup::default().start()
    }

    fn new(setup: Setup) -> Self {
        let folder = Folder::new();
        let certificate = match setup.tls {
            true => tls::certify(folder.path()).expect("the folder can be written"),
            false => Vec::new(),
        };
        Self {
            port: free_port(),
            tls_port: setup.tls.then(free_port),
            setup,
            folder,
            certificate,
            process: Mutex::new(None),
            line: Mutex::new(None),
        }
    }

    /// Whether it runs now, with these lines of configuration beside its own.
    fn try_start(&self, lines: &[&str]) -> bool {
        fs::write(
            self.folder.path().join("redis.conf"),
            self.configuration(lines),
        )
        .expect("the folder can be written");
        let arguments: &[&str] = match self.setup.sentinel {
            true => &["--sentinel"],
            false => &[],
        };
        let started = Process::start(self.folder.path(), self.port, arguments);
        match started {
            Ok(process) => {
                *lock(&self.process) = Some(process);
                true
            }
            Err(error) if error.to_string().contains("Address already in use") => false,
            Err(error) => panic!("redis-server does not start: {error}"),
        }
    }

    fn configuration(&self, lines: &[&str]) -> String {
        let mut all = vec![
            format!("port {}", self.port),
            "bind 127.0.0.1".to_owned(),
            "save \"\"".to_owned(),
            format!("user {ORACLE} on nopass ~* &* +@all"),
        ];
        if self.setup.unix {
            all.push(format!("unixsocket {}", self.unix_path().display()));
        }
        if let Some(port) = self.tls_port {
            all.extend(tls::lines(self.folder.path(), port));
        }
        all.extend(self.setup.lines.iter().cloned());
        all.extend(lines.iter().map(|line| (*line).to_owned()));
        all.join("\n")
    }

    pub(crate) fn port(&self) -> u16 {
        self.port
    }

    pub(crate) fn url(&self) -> String {
        format!("redis://127.0.0.1:{}/", self.port)
    }

    pub(crate) fn unix_path(&self) -> PathBuf {
        self.folder.path().join("redis.sock")
    }

    pub(crate) fn unix_url(&self) -> String {
        format!("redis+unix://{}", self.unix_path().display())
    }

    pub(crate) fn tls_port(&self) -> u16 {
        self.tls_port.expect("it was set up with TLS")
    }

    pub(crate) fn tls_url(&self) -> String {
        format!("rediss://localhost:{}/", self.tls_port())
    }

    /// The certificate (DER) by which it can be trusted over TLS.
    pub(crate) fn certificate(&self) -> &[u8] {
        &self.certificate
    }

    /// The same as text.
    pub(crate) fn certificate_pem(&self) -> Vec<u8> {
        fs::read(self.folder.path().join("cert.pem")).expect("it was set up with TLS")
    }

    pub(crate) fn pid(&self) -> u32 {
        self.with_process(|process| process.id())
    }

    /// SIGSTOP: the kernel goes on taking connections in, and nobody answers.
    pub(crate) fn stop(&self) {
        self.with_process(|process| process.stop());
    }

    /// SIGCONT.
    pub(crate) fn go_on(&self) {
        self.with_process(|process| process.go_on());
    }

    /// SIGKILL; the kernel closes its connections.
    pub(crate) fn kill(&self) {
        // Dropped, it is killed and waited for.
        *lock(&self.process) = None;
    }

    /// Has it end by itself, without saving; ends when it has.
    pub(crate) fn shutdown(&self) {
        // It answers by hanging up.
        let _ = self.with_line(|line| line.ask("SHUTDOWN NOSAVE"));
        *lock(&self.line) = None;
        if let Some(mut process) = lock(&self.process).take() {
            process.wait();
        }
    }

    /// Starts it again on the same port.
    pub(crate) fn restart(&self) {
        self.restart_with(&[]);
    }

    /// Starts it again on the same port, this once with further lines of configuration.
    pub(crate) fn restart_with(&self, lines: &[&str]) {
        assert!(lock(&self.process).is_none(), "it still runs");
        arrives(|| self.try_start(lines));
    }

    /// Asks it as the oracle, on a line that is no part of any pool; the command is quoted as in `redis-cli`.
    #[track_caller]
    pub(crate) fn ask(&self, command: &str) -> Reply {
        match self.with_line(|line| line.ask(command)) {
            Ok(reply) => reply,
            Err(error) => panic!("{command}: {error}"),
        }
    }

    /// Asks what must be answered by OK.
    #[track_caller]
    pub(crate) fn command(&self, command: &str) {
        assert_eq!(self.ask(command), Reply::Text("OK".to_owned()), "{command}");
    }

    /// A number of `INFO`, such as `total_connections_received`.
    #[track_caller]
    pub(crate) fn info(&self, name: &str) -> u64 {
        let info = self.ask("INFO");
        let mut fields = info.text().lines().filter_map(|line| line.split_once(':'));
        let value = fields.find_map(|(field, value)| (field == name).then_some(value));
        value
            .and_then(|value| value.parse().ok())
            .unwrap_or_else(|| panic!("INFO has no number {name}"))
    }

    /// The version, such as `(7, 0)`.
    pub(crate) fn version(&self) -> (u32, u32) {
        let info = self.ask("INFO server");
        let version = info
            .text()
            .lines()
            .find_map(|line| line.strip_prefix("redis_version:"))
            .expect("every server has a version");
        let mut numbers = version.split('.').map(|number| number.parse().unwrap_or(0));
        (numbers.next().unwrap_or(0), numbers.next().unwrap_or(0))
    }

    /// Those who are connected, but for the oracle.
    #[track_caller]
    pub(crate) fn clients(&self) -> Vec<Client> {
        let mut clients = Client::list(self.ask("CLIENT LIST").text());
        clients.retain(|client| client.field("user") != Some(ORACLE));
        clients
    }

    /// The one with this `CLIENT ID`, if it is connected.
    #[track_caller]
    pub(crate) fn client(&self, id: i64) -> Option<Client> {
        self.clients().into_iter().find(|client| client.id() == id)
    }

    /// The states of this process's sockets to the server, but for the oracle's own and those that only the kernel
    /// still knows (TIME_WAIT).
    #[cfg(target_os = "linux")]
    pub(crate) fn sockets(&self) -> Vec<super::sockets::State> {
        let oracle = lock(&self.line)
            .as_ref()
            .and_then(|line| line.local_port().ok());
        let ports = [Some(self.port), self.tls_port];
        super::sockets::ours()
            .into_iter()
            .filter(|socket| ports.contains(&Some(socket.remote)) && Some(socket.local) != oracle)
            .map(|socket| socket.state)
            .collect()
    }

    /// How many of this process's sockets to it are left in CLOSE_WAIT.
    #[cfg(target_os = "linux")]
    pub(crate) fn close_wait(&self) -> usize {
        let sockets = self.sockets().into_iter();
        sockets
            .filter(|state| *state == super::sockets::CLOSE_WAIT)
            .count()
    }

    fn with_process<T>(&self, act: impl FnOnce(&Process) -> T) -> T {
        act(lock(&self.process).as_ref().expect("it runs"))
    }

    /// The server may have hung up on the oracle as well.
    fn with_line<T>(
        &self,
        act: impl FnOnce(&mut Line) -> std::io::Result<T>,
    ) -> std::io::Result<T> {
        let mut line = lock(&self.line);
        if line.as_ref().is_some_and(|line| !line.is_open()) {
            *line = None;
        }
        if line.is_none() {
            *line = Some(Line::dial(self.port)?);
        }
        act(line.as_mut().expect("dialled above"))
    }
}

impl std::fmt::Debug for RedisServer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("RedisServer")
            .field("port", &self.port)
            .field("setup", &self.setup)
            .finish_non_exhaustive()
    }
}

/// A test that failed elsewhere is no reason not to end the server.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
