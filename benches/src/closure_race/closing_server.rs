//! A server that hangs up on what has been idle for a while, and remembers what it was sent and when it hung up.

use std::collections::HashMap;
use std::future::poll_fn;
use std::io;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use bytes::Bytes;
use h2::Reason;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::timeout;
use tokio_rustls::TlsAcceptor;

use crate::certificate::Certificate;
use crate::wire::Wire;

const RESPONSE: &[u8] = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok";

/// For so long the goodbye may be on its way.
const LINGERING: Duration = Duration::from_secs(1);

/// Runs in a thread of its own, for as long as the process.
pub(crate) struct ClosingServer {
    /// Without a path.
    pub(crate) url: String,
    wire: Wire,
    log: Log,
}

impl ClosingServer {
    pub(crate) fn start(wire: Wire, idle: Duration, certificate: &Certificate) -> Self {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a free port");
        listener.set_nonblocking(true).expect("it is a socket");
        let address: SocketAddr = listener.local_addr().expect("it is bound");
        let log = Log::default();
        let serving = Serving {
            wire,
            idle,
            tls: TlsAcceptor::from(certificate.server(wire)),
            log: log.clone(),
        };
        std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread()
                .enable_all()
                .build()
                .expect("a runtime can be built");
            runtime.block_on(async {
                let listener = TcpListener::from_std(listener).expect("in a runtime");
                loop {
                    let (socket, _) = listener.accept().await.expect("a connection");
                    let serving = serving.clone();
                    // Errors are the client's affair.
                    tokio::spawn(async move { drop(serving.serve(socket).await) });
                }
            });
        });
        Self {
            url: format!("{}://{address}", wire.scheme()),
            wire,
            log,
        }
    }

    /// Requests that came more than once.
    pub(crate) fn taken_twice(&self) -> usize {
        let seen = self.log.seen();
        seen.taken.values().filter(|times| **times > 1).count()
    }

    /// Whether a request of this user, begun at this instant, could be known not to have run: the kernel had the FIN of
    /// his connection, or the server told, as it does by HTTP/2, that it has not taken it.
    pub(crate) fn is_known_not_taken(&self, path: &str, began: Instant) -> bool {
        let seen = self.log.seen();
        if self.wire.is_http2() {
            return !seen.taken.contains_key(path);
        }
        let lives = seen.lives.get(user_of(path)).map_or(&[][..], Vec::as_slice);
        let before = lives.iter().rev().find(|life| life.opened <= began);
        before.is_none_or(|life| life.closed.is_some_and(|closed| closed <= began))
    }
}

/// What the server has seen.
#[derive(Clone, Default)]
struct Log(Arc<Mutex<Seen>>);

#[derive(Default)]
struct Seen {
    /// How often each path was asked for.
    taken: HashMap<String, usize>,
    /// The connections of each user, who has one after the other.
    lives: HashMap<String, Vec<Life>>,
}

struct Life {
    /// When its first request had come.
    opened: Instant,
    /// When the FIN was on its way, which here means that it had arrived.
    closed: Option<Instant>,
}

impl Log {
    fn seen(&self) -> MutexGuard<'_, Seen> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn user_of(path: &str) -> &str {
    path.split('/').nth(1).unwrap_or_default()
}

/// One connection in the log.
struct Entry {
    log: Log,
    /// The user, and the place among his connections.
    life: Option<(String, usize)>,
}

impl Entry {
    fn taken(&mut self, path: &str) {
        let mut seen = self.log.seen();
        *seen.taken.entry(path.to_owned()).or_default() += 1;
        if self.life.is_none() {
            let lives = seen.lives.entry(user_of(path).to_owned()).or_default();
            lives.push(Life {
                opened: Instant::now(),
                closed: None,
            });
            self.life = Some((user_of(path).to_owned(), lives.len() - 1));
        }
    }

    fn closed(&self) {
        if let Some((user, place)) = &self.life
            && let Some(lives) = self.log.seen().lives.get_mut(user)
        {
            lives[*place].closed = Some(Instant::now());
        }
    }
}

#[derive(Clone)]
struct Serving {
    wire: Wire,
    idle: Duration,
    tls: TlsAcceptor,
    log: Log,
}

impl Serving {
    async fn serve(self, socket: TcpStream) -> io::Result<()> {
        socket.set_nodelay(true)?;
        // Another handle on it, to be open for a little longer.
        let socket = socket.into_std()?;
        let rest = TcpStream::from_std(socket.try_clone()?)?;
        let socket = TcpStream::from_std(socket)?;
        match self.wire.is_tls() {
            true => {
                let stream = self.tls.accept(socket).await?;
                self.speak(stream, rest).await
            }
            false => self.speak(socket, rest).await,
        }
    }

    async fn speak<S: AsyncRead + AsyncWrite + Unpin>(
        &self,
        stream: S,
        rest: TcpStream,
    ) -> io::Result<()> {
        let entry = Entry {
            log: self.log.clone(),
            life: None,
        };
        match self.wire.is_http2() {
            false => {
                drop(rest);
                self.speak_http1(stream, entry).await
            }
            true => {
                let spoken = self.speak_http2(stream, entry).await;
                spoken.map_err(io::Error::other)?;
                linger(rest).await
            }
        }
    }

    /// None of the requests has a body. At the end it closes, as most servers do, whatever may be on its way.
    async fn speak_http1<S: AsyncRead + AsyncWrite + Unpin>(
        &self,
        mut stream: S,
        mut entry: Entry,
    ) -> io::Result<()> {
        let mut heard = Vec::new();
        // Who has just connected has all the time he needs.
        let mut patience = Duration::MAX;
        while let Ok(read) = timeout(patience, stream.read_buf(&mut heard)).await {
            if read? == 0 {
                break;
            }
            patience = self.idle;
            if !heard.ends_with(b"\r\n\r\n") {
                continue;
            }
            let head = String::from_utf8_lossy(&heard).into_owned();
            entry.taken(head.split(' ').nth(1).unwrap_or_default());
            heard.clear();
            stream.write_all(RESPONSE).await?;
        }
        stream.shutdown().await?;
        entry.closed();
        Ok(())
    }

    /// At the end it says by GOAWAY which requests it has taken, and closes, as nginx does.
    async fn speak_http2<S: AsyncRead + AsyncWrite + Unpin>(
        &self,
        stream: S,
        mut entry: Entry,
    ) -> Result<(), h2::Error> {
        let mut connection = h2::server::handshake(stream).await?;
        let mut patience = Duration::MAX;
        while let Ok(taken) = timeout(patience, connection.accept()).await {
            let Some((request, mut respond)) = taken.transpose()? else {
                return Ok(());
            };
            patience = self.idle;
            entry.taken(request.uri().path());
            let mut body = respond.send_response(http::Response::new(()), false)?;
            body.send_data(Bytes::from_static(b"ok"), true)?;
        }
        connection.abrupt_shutdown(Reason::NO_ERROR);
        poll_fn(|cx| connection.poll_closed(cx)).await?;
        entry.closed();
        Ok(())
    }
}

/// Reads on until the client has closed: to close with something unread is to reset, and the goodbye might be lost.
async fn linger(mut socket: TcpStream) -> io::Result<()> {
    let mut rest = [0; 4096];
    let reading = async {
        while socket.read(&mut rest).await? > 0 {}
        Ok(())
    };
    timeout(LINGERING, reading).await.unwrap_or(Ok(()))
}
