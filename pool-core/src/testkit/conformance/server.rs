//! What the check has to know of the server, and to ask of it.

use std::sync::Arc;

/// The test server of whoever has his manager checked: what it sees, and what it does to its clients.
///
/// The methods are called from a thread that the check has stopped on purpose, so they must not need that thread: run
/// the server on threads of its own, as [`TcpServer`](crate::testkit::TcpServer) does, on the runtime of the test, or in
/// another process. They may return before what they asked for has happened; the check waits.
///
/// # Examples
///
/// A server that cannot be asked to speak or to pause; what needs that is not checked then.
///
/// ```
/// use pool_core::testkit::conformance::Server;
/// use std::net::{Shutdown, TcpStream};
/// use std::sync::Mutex;
///
/// /// Whoever is taken out closed first.
/// struct Clients(Mutex<Vec<TcpStream>>);
///
/// impl Server for Clients {
///     fn open(&self) -> usize {
///         self.0.lock().unwrap().len()
///     }
///
///     fn hang_up(&self) {
///         for client in self.0.lock().unwrap().iter() {
///             let _ = client.shutdown(Shutdown::Write);
///         }
///     }
/// }
///
/// let server = Clients(Mutex::default());
/// assert_eq!((server.open(), server.speak()), (0, false));
/// ```
pub trait Server: Send + Sync + 'static {
    /// How many connections are open, counted from the accept.
    ///
    /// If it can be told, count one that the server hung up on until the client has closed too: then a socket that the
    /// client leaves in CLOSE_WAIT is found.
    fn open(&self) -> usize;

    /// Ends every connection from the server's side, by a FIN.
    fn hang_up(&self);

    /// Sends something that nobody asked for on every connection, such that the next user would take it for his answer.
    /// Answers false, the default, if this server cannot or if the protocol allows it.
    fn speak(&self) -> bool {
        false
    }

    /// Stops answering whoever dials from now on: does not accept, or accepts and says nothing. Answers false, the
    /// default, if this server cannot.
    fn pause(&self) -> bool {
        false
    }

    /// Ends a pause.
    fn resume(&self) {}
}

impl<S: Server> Server for Arc<S> {
    fn open(&self) -> usize {
        S::open(self)
    }

    fn hang_up(&self) {
        S::hang_up(self);
    }

    fn speak(&self) -> bool {
        S::speak(self)
    }

    fn pause(&self) -> bool {
        S::pause(self)
    }

    fn resume(&self) {
        S::resume(self);
    }
}
