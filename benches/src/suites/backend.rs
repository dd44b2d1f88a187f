//! A server on a thread of its own, and what it counts.

use std::io;
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::time::Duration;

use socket2::SockRef;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::runtime::{Builder, Runtime};
use tokio::time::{sleep, timeout};

/// What a request and its answer are; nobody reads more than their length.
pub(super) const MESSAGE: [u8; 16] = *b"GET /bench HTTP/";

/// The byte that ends the handshake.
const GREETING: u8 = b'+';

/// How a server behaves; by default it greets and answers at once, and never closes first.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Habits {
    /// From the accept to the greeting: what TLS, a password and the way there take.
    pub(super) handshake: Duration,
    /// From a request to its answer.
    pub(super) answer: Duration,
    /// After how long it closes an idle connection; `None`: never.
    pub(super) idle_timeout: Option<Duration>,
}

/// A running server; dropped, it is gone with all its connections.
#[derive(Debug)]
pub(super) struct Backend {
    pub(super) address: SocketAddr,
    counts: Arc<Counts>,
    runtime: Option<Runtime>,
}

/// What a server has seen.
#[derive(Debug, Default)]
struct Counts {
    accepted: AtomicUsize,
    /// Not closed by the client.
    open: AtomicUsize,
    /// Of those, the ones the server has closed: CLOSE_WAIT, at the client's end.
    forsaken: AtomicUsize,
    requests: AtomicUsize,
}

impl Backend {
    /// Listens on a free port.
    ///
    /// # Errors
    ///
    /// When there is no port to listen on, or no thread to be had.
    pub(super) fn start(habits: Habits) -> io::Result<Self> {
        Self::start_at((Ipv4Addr::LOCALHOST, 0).into(), habits)
    }

    /// Listens where another one did before.
    ///
    /// # Errors
    ///
    /// As [`start`](Self::start).
    pub(super) fn start_at(address: SocketAddr, habits: Habits) -> io::Result<Self> {
        let listener = bind(address)?;
        listener.set_nonblocking(true)?;
        let address = listener.local_addr()?;
        let runtime = Builder::new_multi_thread()
            .worker_threads(1)
            .thread_name("backend")
            .enable_all()
            .build()?;
        let counts = Arc::<Counts>::default();
        runtime.spawn(accept(listener, habits, Arc::clone(&counts)));
        Ok(Self {
            address,
            counts,
            runtime: Some(runtime),
        })
    }

    pub(super) fn accepted(&self) -> usize {
        self.counts.accepted.load(Relaxed)
    }

    pub(super) fn open(&self) -> usize {
        self.counts.open.load(Relaxed)
    }

    pub(super) fn forsaken(&self) -> usize {
        self.counts.forsaken.load(Relaxed)
    }

    pub(super) fn requests(&self) -> usize {
        self.counts.requests.load(Relaxed)
    }
}

/// Waits for one that is just going.
fn bind(address: SocketAddr) -> io::Result<TcpListener> {
    let mut attempts = 0;
    loop {
        match TcpListener::bind(address) {
            Err(error) if error.kind() == io::ErrorKind::AddrInUse && attempts < 100 => {
                attempts += 1;
                std::thread::sleep(Duration::from_millis(10));
            }
            bound => return bound,
        }
    }
}

impl Drop for Backend {
    fn drop(&mut self) {
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}

async fn accept(listener: TcpListener, habits: Habits, counts: Arc<Counts>) {
    let listener = tokio::net::TcpListener::from_std(listener).expect("it runs in a runtime");
    loop {
        let Ok((stream, _)) = listener.accept().await else {
            // Out of descriptors: wait until some come back.
            sleep(Duration::from_millis(10)).await;
            continue;
        };
        counts.accepted.fetch_add(1, Relaxed);
        counts.open.fetch_add(1, Relaxed);
        let counts = Arc::clone(&counts);
        tokio::spawn(async move {
            // It ends when the client has gone, which is no failure.
            let _ = serve(stream, habits, &counts).await;
            counts.open.fetch_sub(1, Relaxed);
        });
    }
}

async fn serve(mut stream: TcpStream, habits: Habits, counts: &Counts) -> io::Result<()> {
    stream.set_nodelay(true)?;
    pass(habits.handshake).await;
    stream.write_all(&[GREETING]).await?;
    let mut request = [0; MESSAGE.len()];
    loop {
        let read = stream.read_exact(&mut request);
        match habits.idle_timeout {
            Some(limit) => match timeout(limit, read).await {
                Ok(read) => read?,
                Err(_) => break,
            },
            None => read.await?,
        };
        counts.requests.fetch_add(1, Relaxed);
        pass(habits.answer).await;
        stream.write_all(&MESSAGE).await?;
    }
    counts.forsaken.fetch_add(1, Relaxed);
    let _ = SockRef::from(&stream).shutdown(std::net::Shutdown::Write);
    // Until the client closes, too; what it sends meanwhile is not answered.
    while !matches!(stream.read(&mut request).await, Ok(0) | Err(_)) {}
    counts.forsaken.fetch_sub(1, Relaxed);
    Ok(())
}

/// Time passes, if there is any to pass.
async fn pass(time: Duration) {
    if !time.is_zero() {
        sleep(time).await;
    }
}
