//! The lab's own servers: they answer, grow tired of idle connections, close first, and note when our FIN comes back.

use std::collections::HashMap;
use std::io;
use std::net::{Ipv4Addr, SocketAddr, SocketAddrV4};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use socket2::{Domain, SockRef, Socket, Type};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::runtime::Handle;
use tokio::time::{sleep, timeout};

use crate::clock::now;

/// What a request and its answer look like; nobody reads more than their length.
pub(crate) const MESSAGE: [u8; 16] = *b"GET /lab HTTP/9\n";

/// The byte a slow server greets with once it has accepted.
pub(crate) const GREETING: u8 = b'+';

/// How a server behaves.
#[derive(Clone, Debug)]
pub(crate) struct Habits {
    /// The addresses it listens on, all with the same port.
    pub(crate) addresses: Vec<Ipv4Addr>,
    /// The second argument of `listen`.
    pub(crate) backlog: i32,
    /// How long a connection may be idle before the server closes it; `None`: for ever.
    pub(crate) idle_timeout: Option<Duration>,
    /// How long it sleeps after each accept before it greets and accepts the next; `None`: it accepts at once and
    /// does not greet.
    pub(crate) accept_pause: Option<Duration>,
}

impl Habits {
    /// One address, a long backlog, accepts at once.
    pub(crate) fn closing_idle_after(idle_timeout: Option<Duration>) -> Self {
        Self {
            addresses: vec![Ipv4Addr::LOCALHOST],
            backlog: 1024,
            idle_timeout,
            accept_pause: None,
        }
    }
}

/// A running server; it ends with the runtime it was started on.
#[derive(Debug)]
pub(crate) struct Server {
    pub(crate) port: u16,
    pub(crate) ledger: Arc<Ledger>,
}

impl Server {
    /// Listens and serves in tasks of the runtime `handle`.
    ///
    /// # Errors
    ///
    /// When an address cannot be listened on.
    pub(crate) fn start(handle: &Handle, habits: &Habits) -> io::Result<Self> {
        let _inside = handle.enter();
        let listeners = listen_on_all(&habits.addresses, habits.backlog)?;
        let port = listeners[0].local_addr()?.port();
        let ledger = Arc::<Ledger>::default();
        for listener in listeners {
            let (ledger, habits) = (Arc::clone(&ledger), habits.clone());
            handle.spawn(accept(listener, ledger, habits));
        }
        Ok(Self { port, ledger })
    }
}

/// Takes a free port of the first address and the same one of all others.
fn listen_on_all(addresses: &[Ipv4Addr], backlog: i32) -> io::Result<Vec<TcpListener>> {
    let mut attempts = 0;
    'port: loop {
        attempts += 1;
        let mut port = 0;
        let mut listeners = Vec::with_capacity(addresses.len());
        for &address in addresses {
            match listen(SocketAddrV4::new(address, port), backlog) {
                Ok(listener) => {
                    port = listener.local_addr()?.port();
                    listeners.push(listener);
                }
                // Somebody else has this port on one of the other addresses.
                Err(error) if error.kind() == io::ErrorKind::AddrInUse && attempts < 10 => {
                    continue 'port;
                }
                Err(error) => {
                    let message = format!("cannot listen on {address}:{port}: {error}");
                    return Err(io::Error::new(error.kind(), message));
                }
            }
        }
        return Ok(listeners);
    }
}

fn listen(address: SocketAddrV4, backlog: i32) -> io::Result<TcpListener> {
    let socket = Socket::new(Domain::IPV4, Type::STREAM, None)?;
    socket.bind(&address.into())?;
    socket.listen(backlog)?;
    socket.set_nonblocking(true)?;
    TcpListener::from_std(socket.into())
}

async fn accept(listener: TcpListener, ledger: Arc<Ledger>, habits: Habits) {
    loop {
        let Ok((mut stream, _)) = listener.accept().await else {
            // Out of descriptors: wait until some come back.
            sleep(Duration::from_millis(50)).await;
            continue;
        };
        let Some(ends) = Ends::of_server(&stream) else {
            continue;
        };
        ledger.accepted(ends);
        if let Some(pause) = habits.accept_pause {
            sleep(pause).await;
            // A client that gave up long ago is noticed only now, after the pause was spent on it.
            if has_ended(&stream) || stream.write_all(&[GREETING]).await.is_err() {
                ledger.wasted();
                continue;
            }
        }
        let ledger = Arc::clone(&ledger);
        tokio::spawn(serve(stream, ends, ledger, habits.idle_timeout));
    }
}

/// Whether the client has already closed its end.
fn has_ended(stream: &TcpStream) -> bool {
    let mut byte = [std::mem::MaybeUninit::uninit()];
    match SockRef::from(stream).peek(&mut byte) {
        Ok(read) => read == 0,
        Err(error) => error.kind() != io::ErrorKind::WouldBlock,
    }
}

async fn serve(mut stream: TcpStream, ends: Ends, ledger: Arc<Ledger>, idle: Option<Duration>) {
    let mut buffer = [0; 64];
    loop {
        let read = stream.read(&mut buffer);
        let read = match idle {
            Some(idle) => timeout(idle, read).await,
            None => Ok(read.await),
        };
        match read {
            Ok(Ok(0) | Err(_)) => return ledger.client_closed(ends),
            Ok(Ok(_)) => {
                if stream.write_all(&MESSAGE).await.is_err() {
                    return ledger.client_closed(ends);
                }
            }
            Err(_) => break,
        }
    }
    ledger.close_first(ends, &stream);
    match stream.read(&mut buffer).await {
        Ok(0) | Err(_) => ledger.client_closed(ends),
        Ok(_) => {
            // What a server that has closed does with data: it answers with a reset.
            ledger.request_after_fin(ends);
            let _ = SockRef::from(&stream).set_linger(Some(Duration::ZERO));
        }
    }
}

/// Both ends of a connection: the client's address and the server's.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Ends {
    client: SocketAddr,
    server: SocketAddr,
}

impl Ends {
    /// As the client's stream names them.
    ///
    /// A stream that was reset already has none; no note will ever be found under these.
    pub(crate) fn of_client(stream: &TcpStream) -> Self {
        let unknown = SocketAddr::from((Ipv4Addr::UNSPECIFIED, 0));
        Self {
            client: stream.local_addr().unwrap_or(unknown),
            server: stream.peer_addr().unwrap_or(unknown),
        }
    }

    fn of_server(stream: &TcpStream) -> Option<Self> {
        Some(Self {
            client: stream.peer_addr().ok()?,
            server: stream.local_addr().ok()?,
        })
    }

    /// The client's own port.
    pub(crate) fn client_port(self) -> u16 {
        self.client.port()
    }
}

/// What a server saw, each moment on the same clock as the client's.
#[derive(Debug, Default)]
pub(crate) struct Ledger(Mutex<Notes>);

#[derive(Debug, Default)]
struct Notes {
    connections: HashMap<Ends, Connection>,
    fin_to_close: Vec<Duration>,
    accepted: usize,
    wasted: usize,
    requests_after_fin: usize,
}

#[derive(Debug, Default)]
struct Connection {
    fin: Option<Instant>,
    /// Already among `fin_to_close`; kept for the client, which will ask when the server had closed.
    reset: bool,
}

/// The sums of a [`Ledger`].
#[derive(Debug, Default)]
pub(crate) struct Balance {
    pub(crate) accepted: usize,
    /// Accepted only after the client had gone.
    pub(crate) wasted: usize,
    pub(crate) requests_after_fin: usize,
    /// How long each connection stayed open after the server's FIN, the unclosed ones with their age so far.
    pub(crate) fin_to_close: Vec<Duration>,
    pub(crate) never_closed: usize,
}

impl Ledger {
    fn notes(&self) -> std::sync::MutexGuard<'_, Notes> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn accepted(&self, ends: Ends) {
        let mut notes = self.notes();
        notes.accepted += 1;
        notes.connections.insert(ends, Connection::default());
    }

    fn wasted(&self) {
        self.notes().wasted += 1;
    }

    fn close_first(&self, ends: Ends, stream: &TcpStream) {
        // Under the lock, so that a client that meets the end of the stream finds the time already noted.
        let mut notes = self.notes();
        let _ = SockRef::from(stream).shutdown(std::net::Shutdown::Write);
        let fin = Some(now());
        notes
            .connections
            .insert(ends, Connection { fin, reset: false });
    }

    fn client_closed(&self, ends: Ends) {
        let closed = now();
        let mut notes = self.notes();
        let connection = notes.connections.remove(&ends);
        if let Some(fin) = connection.and_then(|connection| connection.fin) {
            notes.fin_to_close.push(closed - fin);
        }
    }

    fn request_after_fin(&self, ends: Ends) {
        let mut notes = self.notes();
        notes.requests_after_fin += 1;
        if let Some(connection) = notes.connections.get_mut(&ends) {
            connection.reset = true;
            let fin = connection.fin;
            notes.fin_to_close.extend(fin.map(|fin| now() - fin));
        }
    }

    /// Whether the server had closed this connection before `moment`.
    ///
    /// `None` when it has not closed it at all.
    pub(crate) fn closed_before(&self, ends: Ends, moment: Instant) -> Option<bool> {
        let notes = self.notes();
        Some(notes.connections.get(&ends)?.fin? <= moment)
    }

    /// Adds up; what is still open at `end` counts with its age at that moment.
    pub(crate) fn balance(&self, end: Instant) -> Balance {
        let notes = self.notes();
        let mut fin_to_close = notes.fin_to_close.clone();
        let unclosed = notes
            .connections
            .values()
            .filter(|connection| !connection.reset)
            .filter_map(|connection| Some(end.saturating_duration_since(connection.fin?)));
        fin_to_close.extend(unclosed);
        Balance {
            accepted: notes.accepted,
            wasted: notes.wasted,
            requests_after_fin: notes.requests_after_fin,
            never_closed: fin_to_close.len() - notes.fin_to_close.len(),
            fin_to_close,
        }
    }
}
