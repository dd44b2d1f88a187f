//! A `redis-server` process, ended with the test.

use std::fs::{self, File};
use std::io::{self, ErrorKind, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicUsize, Ordering};

use rustix::process::{Pid, Signal, kill_process};

use super::line::Line;
use super::wait::LIMIT;

/// Whether there is a `redis-server` to test with; if not, the test is to pass, and who runs it is told.
pub(crate) fn is_installed() -> bool {
    let found = Command::new("redis-server")
        .arg("--version")
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status();
    if found.is_err() {
        // Past the harness, which keeps what is printed by a test that passes.
        let name = std::thread::current().name().unwrap_or("a test").to_owned();
        let _ = writeln!(
            io::stderr(),
            "{name} was skipped: redis-server is not installed (.ci/test installs it)"
        );
    }
    found.is_ok()
}

/// A folder of the test's own, with a short path as sockets need it; it goes when this is dropped.
pub(crate) struct Folder(PathBuf);

impl Folder {
    pub(crate) fn new() -> Self {
        static COUNT: AtomicUsize = AtomicUsize::new(0);
        let count = COUNT.fetch_add(1, Ordering::Relaxed);
        let name = format!("pool-redis-{}-{count}", std::process::id());
        let path = std::env::temp_dir().join(name);
        fs::create_dir_all(&path).expect("the temporary folder can be written");
        Self(path)
    }

    pub(crate) fn path(&self) -> &Path {
        &self.0
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// A process that serves on one port.
pub(crate) struct Process(Child);

impl Process {
    /// Runs `redis-server` with a configuration file in `folder`, and waits until it answers on `port`.
    ///
    /// # Errors
    ///
    /// When it ends instead, as it does if somebody else has the port; with what it said.
    pub(crate) fn start(folder: &Path, port: u16, arguments: &[&str]) -> io::Result<Self> {
        let log = folder.join("log");
        let child = Command::new("redis-server")
            .arg(folder.join("redis.conf"))
            .args(arguments)
            .current_dir(folder)
            .stdin(Stdio::null())
            .stdout(File::create(&log)?)
            .stderr(Stdio::null())
            .spawn()?;
        let mut process = Self(child);
        for _ in 0..LIMIT.as_millis() {
            if process.0.try_wait()?.is_some() {
                let said = fs::read_to_string(&log)?;
                return Err(io::Error::new(ErrorKind::AddrInUse, said));
            }
            if process.answers(port) {
                return Ok(process);
            }
            std::thread::sleep(std::time::Duration::from_millis(1));
        }
        panic!(
            "redis-server neither answers nor ends: {}",
            fs::read_to_string(&log)?
        );
    }

    /// Whether it is this process that answers, and not another that has the port.
    fn answers(&self, port: u16) -> bool {
        let ours = format!("process_id:{}\r\n", self.0.id());
        let info = Line::dial(port).and_then(|mut line| line.ask("INFO server"));
        info.is_ok_and(|info| info.text().contains(&ours))
    }

    pub(crate) fn id(&self) -> u32 {
        self.0.id()
    }

    /// Stops it in the middle of whatever it does: the kernel goes on taking connections in, and nobody answers.
    pub(crate) fn stop(&self) {
        self.signal(Signal::STOP);
    }

    /// Has it go on where it was stopped.
    pub(crate) fn go_on(&self) {
        self.signal(Signal::CONT);
    }

    /// Kills it, stopped or not.
    pub(crate) fn kill(&mut self) {
        let _ = self.0.kill();
        self.wait();
    }

    /// Waits until it has ended by itself.
    pub(crate) fn wait(&mut self) {
        let _ = self.0.wait();
    }

    fn signal(&self, signal: Signal) {
        kill_process(Pid::from_child(&self.0), signal).expect("it runs and is ours");
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.kill();
    }
}
