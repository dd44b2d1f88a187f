//! A server on a real socket that counts for itself who is connected.

use std::collections::HashMap;
use std::fmt;
use std::io::{self, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle};

use super::conformance::Server;

/// A TCP server for tests, with a thread for each connection and one that accepts: it runs on, whatever the runtime of
/// the test does.
///
/// It answers as the function says that it was given, and is a [`Server`] for the
/// [conformance check](super::conformance). A connection counts as open from its accept until the *client* has closed
/// it, so a client that does not notice that it was hung up on is counted on.
///
/// # Drop
///
/// Stops listening and ends all connections.
///
/// # Examples
///
/// ```
/// use pool_core::testkit::TcpServer;
/// use pool_core::testkit::conformance::Server;
/// use std::io::{BufRead, BufReader, Write};
///
/// # fn main() -> std::io::Result<()> {
/// // Answers each line in capitals.
/// let server = TcpServer::start(|mut socket| {
///     for line in BufReader::new(socket.try_clone()?).lines() {
///         writeln!(socket, "{}", line?.to_uppercase())?;
///     }
///     Ok(())
/// })?;
///
/// let mut client = std::net::TcpStream::connect(server.address())?;
/// client.write_all(b"hello\n")?;
/// let mut answer = String::new();
/// BufReader::new(&client).read_line(&mut answer)?;
/// assert_eq!((answer.as_str(), server.open()), ("HELLO\n", 1));
/// # Ok(()) }
/// ```
pub struct TcpServer {
    address: SocketAddr,
    shared: Arc<Shared>,
    /// Who accepts.
    thread: Option<JoinHandle<()>>,
}

/// Serves one client to the end.
type Answer = dyn Fn(&TcpStream) -> io::Result<()> + Send + Sync;

struct Shared {
    answer: Box<Answer>,
    /// Those who are connected.
    clients: Mutex<HashMap<usize, Arc<TcpStream>>>,
    accepted: AtomicUsize,
    paused: Mutex<bool>,
    resumed: Condvar,
    stopped: AtomicBool,
}

impl TcpServer {
    /// Listens on a free port of this machine, and calls `answer` on a thread of its own for each connection. The
    /// connection is hung up on when `answer` returns; an error it returns says that the client has gone.
    ///
    /// # Errors
    ///
    /// If there is no port to listen on.
    ///
    /// # Examples
    ///
    /// See [`TcpServer`].
    pub fn start(
        answer: impl Fn(&TcpStream) -> io::Result<()> + Send + Sync + 'static,
    ) -> io::Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0")?;
        let address = listener.local_addr()?;
        let shared = Arc::new(Shared {
            answer: Box::new(answer),
            clients: Mutex::default(),
            accepted: AtomicUsize::new(0),
            paused: Mutex::new(false),
            resumed: Condvar::new(),
            stopped: AtomicBool::new(false),
        });
        let server = Arc::clone(&shared);
        let thread = thread::Builder::new()
            .name("tcp-server".to_owned())
            .spawn(move || server.listen(&listener))?;
        Ok(Self {
            address,
            shared,
            thread: Some(thread),
        })
    }

    /// Where it listens.
    ///
    /// # Examples
    ///
    /// ```
    /// # fn main() -> std::io::Result<()> {
    /// let server = pool_core::testkit::TcpServer::start(|_| Ok(()))?;
    /// assert!(server.address().ip().is_loopback());
    /// # Ok(()) }
    /// ```
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// How many connections it has taken in so far.
    ///
    /// # Examples
    ///
    /// ```
    /// # fn main() -> std::io::Result<()> {
    /// let server = pool_core::testkit::TcpServer::start(|_| Ok(()))?;
    /// assert_eq!(server.accepted(), 0);
    /// # Ok(()) }
    /// ```
    #[must_use]
    pub fn accepted(&self) -> usize {
        self.shared.accepted.load(Ordering::SeqCst)
    }
}

impl Server for TcpServer {
    fn open(&self) -> usize {
        self.shared.clients().len()
    }

    /// Sends a FIN on every connection, and reads on until the client has closed as well.
    fn hang_up(&self) {
        for client in self.shared.clients().values() {
            // An error says that the client was faster.
            let _ = client.shutdown(Shutdown::Write);
        }
    }

    /// Sends a line of text on every connection.
    fn speak(&self) -> bool {
        for client in self.shared.clients().values() {
            let _ = (&**client).write_all(b"nobody asked for this\r\n");
        }
        true
    }

    /// Answers nobody who comes now. The kernel takes them in all the same, as it does when a server is too slow to
    /// accept.
    fn pause(&self) -> bool {
        *self.shared.paused() = true;
        true
    }

    fn resume(&self) {
        *self.shared.paused() = false;
        self.shared.resumed.notify_all();
    }
}

impl Shared {
    fn listen(self: &Arc<Self>, listener: &TcpListener) {
        for client in listener.incoming() {
            let mut paused = self.paused();
            while *paused {
                paused = self
                    .resumed
                    .wait(paused)
                    .unwrap_or_else(PoisonError::into_inner);
            }
            drop(paused);
            if self.stopped.load(Ordering::SeqCst) {
                return;
            }
            // A client that has gone before it was accepted.
            let Ok(client) = client else { continue };
            let number = self.accepted.fetch_add(1, Ordering::SeqCst);
            let client = Arc::new(client);
            self.clients().insert(number, Arc::clone(&client));
            let server = Arc::clone(self);
            thread::spawn(move || {
                let _gone = Gone {
                    server: &server,
                    number,
                };
                let _ = serve(&server, &client);
            });
        }
    }

    fn clients(&self) -> MutexGuard<'_, HashMap<usize, Arc<TcpStream>>> {
        self.clients.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn paused(&self) -> MutexGuard<'_, bool> {
        self.paused.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Answers, hangs up, and waits until the client has closed too.
fn serve(server: &Shared, client: &TcpStream) -> io::Result<()> {
    client.set_nodelay(true)?;
    // Whatever went wrong, the client may still be there.
    let _ = (server.answer)(client);
    client.shutdown(Shutdown::Write)?;
    io::copy(&mut &*client, &mut io::sink())?;
    Ok(())
}

/// A client that is not counted any more when this is dropped, even if the function that answers panics.
struct Gone<'a> {
    server: &'a Shared,
    number: usize,
}

impl Drop for Gone<'_> {
    fn drop(&mut self) {
        self.server.clients().remove(&self.number);
    }
}

impl Drop for TcpServer {
    fn drop(&mut self) {
        self.shared.stopped.store(true, Ordering::SeqCst);
        self.resume();
        // Wakes the thread that accepts, so that it sees that it is to stop; the port is free when it has.
        if TcpStream::connect(self.address).is_ok()
            && let Some(thread) = self.thread.take()
        {
            let _ = thread.join();
        }
        for client in self.shared.clients().values() {
            let _ = client.shutdown(Shutdown::Both);
        }
    }
}

impl fmt::Debug for TcpServer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TcpServer")
            .field("address", &self.address)
            .field("open", &self.open())
            .finish_non_exhaustive()
    }
}
