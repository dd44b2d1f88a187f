//! A server on a thread of its own, and what it counts.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::time::Duration;

use socket2::SockRef;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::runtime::{Builder, Runtime};
use tokio::time::{sleep, timeout};

/// What a request and its answer are; nobody reads more than their length.
pub(super) const MESSAGE: [u8; 16] = *b"GET /order HTTP/";

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
    pub(super) counts: Arc<Counts>,
    runtime: Option<Runtime>,
}

/// What a server has seen.
#[derive(Debug, Default)]
pub(super) struct Counts {
    accepted: AtomicUsize,
    /// Not closed by the client.
    open: AtomicUsize,
    /// Of those, the ones the server has closed: CLOSE_WAIT, at the client's end.
    forsaken: AtomicUsize,
    requests: AtomicUsize,
}

impl Counts {
    pub(super) fn accepted(&self) -> usize {
        self.accepted.load(Relaxed)
    }

    pub(super) fn open(&self) -> usize {
        self.open.load(Relaxed)
    }

    pub(super) fn forsaken(&self) -> usize {
        self.forsaken.load(Relaxed)
    }

    pub(super) fn requests(&self) -> usize {
        self.requests.load(Relaxed)
    }
}

impl Backend {
    /// # Errors
    ///
    /// When there is no port to listen on, or no thread to be had.
    pub(super) fn start(habits: Habits) -> io::Result<Self> {
        let runtime = Builder::new_multi_thread()
            .worker_threads(1)
            .thread_name("backend")
            .enable_all()
            .build()?;
        let listener = std::net::TcpListener::bind("127.0.0.1:0")?;
        listener.set_nonblocking(true)?;
        let address = listener.local_addr()?;
        let counts = Arc::<Counts>::default();
        let noted = Arc::clone(&counts);
        runtime.spawn(async move {
            let listener = TcpListener::from_std(listener).expect("it runs in a runtime");
            accept(listener, habits, noted).await;
        });
        Ok(Self {
            address,
            counts,
            runtime: Some(runtime),
        })
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
