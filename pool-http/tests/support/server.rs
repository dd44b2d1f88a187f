//! A server that does as its script says, byte by byte, in a thread of its own, and counts what it sees: the oracle.

use std::future::Future;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::Duration;

use socket2::SockRef;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Notify;
use tokio::task::{JoinSet, LocalSet};
use tokio::time::{sleep, timeout};

/// The shortest response that keeps its connection.
pub(crate) const OK: &str = "HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nhello";

/// A request, as it was heard.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Heard {
    /// Which connection it came by, counted from zero.
    pub(crate) connection: usize,
    /// All lines before the empty one, in lower case but for the first.
    pub(crate) head: String,
    pub(crate) body: Vec<u8>,
}

impl Heard {
    pub(crate) fn line(&self) -> &str {
        self.head.lines().next().unwrap_or_default()
    }

    pub(crate) fn method(&self) -> &str {
        self.line().split(' ').next().unwrap_or_default()
    }

    pub(crate) fn path(&self) -> &str {
        self.line().split(' ').nth(1).unwrap_or_default()
    }

    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        let mut lines = self.head.lines().skip(1);
        lines.find_map(|line| line.strip_prefix(name)?.strip_prefix(": "))
    }
}

#[derive(Default)]
struct Counts {
    accepted: AtomicUsize,
    open: AtomicUsize,
    most_open: AtomicUsize,
    heard: Mutex<Vec<Heard>>,
    signal: Notify,
    waiting: AtomicUsize,
    stop: Notify,
}

/// Stops, and closes what it has open, when it is dropped.
pub(crate) struct Server {
    pub(crate) address: SocketAddr,
    counts: Arc<Counts>,
    thread: Option<JoinHandle<()>>,
}

impl Server {
    /// Follows the script on every connection; one that comes to its end closes its connection.
    pub(crate) fn start<F>(script: impl Fn(Peer) -> F + Send + 'static) -> Self
    where
        F: Future<Output = ()> + 'static,
    {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        listener.set_nonblocking(true).unwrap();
        let address = listener.local_addr().unwrap();
        let counts = Arc::new(Counts::default());
        let seen = Arc::clone(&counts);
        let thread = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread()
                .enable_all()
                .build();
            let local = LocalSet::new();
            let serve = local.run_until(accept(listener, script, Arc::clone(&seen)));
            runtime.unwrap().block_on(async {
                tokio::select! {
                    () = serve => {}
                    () = seen.stop.notified() => {}
                }
            });
        });
        Self {
            address,
            counts,
            thread: Some(thread),
        }
    }

    /// Answers every request with the same bytes.
    pub(crate) fn answering(response: impl Into<Vec<u8>>) -> Self {
        let response = response.into();
        Self::start(move |mut peer| {
            let response = response.clone();
            async move {
                while peer.request().await.is_some() {
                    peer.send(&response).await;
                }
            }
        })
    }

    pub(crate) fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.address)
    }

    /// Connections taken so far.
    pub(crate) fn accepted(&self) -> usize {
        self.counts.accepted.load(SeqCst)
    }

    /// Connections of which neither side has closed its end, as far as the server knows.
    pub(crate) fn open(&self) -> usize {
        self.counts.open.load(SeqCst)
    }

    /// The most that were open at once.
    pub(crate) fn most_open(&self) -> usize {
        self.counts.most_open.load(SeqCst)
    }

    /// All requests, in the order in which they were complete.
    pub(crate) fn heard(&self) -> Vec<Heard> {
        self.counts.heard.lock().unwrap().clone()
    }

    /// `METHOD connection` of every request.
    pub(crate) fn log(&self) -> Vec<String> {
        let heard = self.heard();
        let entry = |heard: &Heard| format!("{} {}", heard.method(), heard.connection);
        heard.iter().map(entry).collect()
    }

    /// Scripts that wait for a signal now.
    pub(crate) fn waiting(&self) -> usize {
        self.counts.waiting.load(SeqCst)
    }

    /// Lets all scripts go on that wait for it now.
    pub(crate) fn signal(&self) {
        self.counts.signal.notify_waiters();
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.counts.stop.notify_one();
        if let Some(thread) = self.thread.take()
            && thread.join().is_err()
            && !std::thread::panicking()
        {
            panic!("the script failed");
        }
    }
}

async fn accept<F>(listener: std::net::TcpListener, script: impl Fn(Peer) -> F, counts: Arc<Counts>)
where
    F: Future<Output = ()> + 'static,
{
    let listener = TcpListener::from_std(listener).unwrap();
    let mut plays = JoinSet::new();
    loop {
        let stream = tokio::select! {
            accepted = listener.accept() => accepted.unwrap().0,
            Some(play) = plays.join_next() => {
                play.unwrap();
                continue;
            }
        };
        stream.set_nodelay(true).unwrap();
        let open = counts.open.fetch_add(1, SeqCst) + 1;
        counts.most_open.fetch_max(open, SeqCst);
        let peer = Peer {
            number: counts.accepted.fetch_add(1, SeqCst),
            stream,
            read: Vec::new(),
            counts: Arc::clone(&counts),
        };
        plays.spawn_local(script(peer));
    }
}

/// One connection, as the server sees it. Closed when it is dropped.
pub(crate) struct Peer {
    /// Counted from zero.
    pub(crate) number: usize,
    stream: TcpStream,
    read: Vec<u8>,
    counts: Arc<Counts>,
}

impl Peer {
    /// Reads a whole request; nothing, if the client has closed.
    pub(crate) async fn request(&mut self) -> Option<Heard> {
        let heard = self.head().await?;
        self.rest(heard).await
    }

    /// Reads the body that follows a head.
    pub(crate) async fn rest(&mut self, mut heard: Heard) -> Option<Heard> {
        if heard.header("transfer-encoding") == Some("chunked") {
            heard.body = self.until(b"0\r\n\r\n").await?;
        } else if let Some(length) = heard.header("content-length") {
            let length: usize = length.parse().unwrap();
            while self.read.len() < length {
                self.more().await?;
            }
            heard.body = self.read.drain(..length).collect();
        }
        self.counts.heard.lock().unwrap().push(heard.clone());
        Some(heard)
    }

    /// Reads the head of a request, and does not count it.
    pub(crate) async fn head(&mut self) -> Option<Heard> {
        let head = self.until(b"\r\n\r\n").await?;
        let text = String::from_utf8(head).unwrap();
        let (line, headers) = text.trim_end().split_once("\r\n").unwrap();
        Some(Heard {
            connection: self.number,
            head: format!("{line}\r\n{}", headers.to_lowercase()),
            body: Vec::new(),
        })
    }

    /// Reads up to and with these bytes.
    pub(crate) async fn until(&mut self, end: &[u8]) -> Option<Vec<u8>> {
        loop {
            let mut windows = self.read.windows(end.len());
            if let Some(start) = windows.position(|window| window == end) {
                return Some(self.read.drain(..start + end.len()).collect());
            }
            self.more().await?;
        }
    }

    async fn more(&mut self) -> Option<()> {
        match self.stream.read_buf(&mut self.read).await {
            Ok(0) | Err(_) => None,
            Ok(_) => Some(()),
        }
    }

    /// A client that has gone does not matter.
    pub(crate) async fn send(&mut self, bytes: impl AsRef<[u8]>) {
        self.try_send(bytes.as_ref()).await;
    }

    /// Whether the client takes it.
    pub(crate) async fn try_send(&mut self, bytes: &[u8]) -> bool {
        self.stream.write_all(bytes).await.is_ok()
    }

    pub(crate) async fn pause(&mut self, time: Duration) {
        sleep(time).await;
    }

    /// Waits for [`Server::signal`].
    pub(crate) async fn signalled(&self) {
        let signal = self.counts.signal.notified();
        let mut signal = std::pin::pin!(signal);
        signal.as_mut().enable();
        let _waiting = Waiting::new(&self.counts.waiting);
        signal.await;
    }

    /// Waits until there is something to read, which may be the end.
    pub(crate) async fn peek(&self) {
        if self.read.is_empty() {
            let _ = self.stream.peek(&mut [0]).await;
        }
    }

    /// Whether the client says more, or leaves, within this time.
    pub(crate) async fn hears_within(&self, time: Duration) -> bool {
        timeout(time, self.peek()).await.is_ok()
    }

    /// Waits for a signal, or for the client to say more or to leave; answers whether it was the signal.
    pub(crate) async fn signalled_first(&self) -> bool {
        tokio::select! {
            () = self.peek() => false,
            () = self.signalled() => true,
        }
    }

    /// Sends back whatever comes until the client closes.
    pub(crate) async fn echo(&mut self) {
        while self.more().await.is_some() {
            let bytes = std::mem::take(&mut self.read);
            self.send(bytes).await;
        }
    }

    /// Reads whatever comes until the client closes.
    pub(crate) async fn until_closed(&mut self) {
        while self.more().await.is_some() {
            self.read.clear();
        }
    }

    /// Whether the client closes before it sends anything.
    pub(crate) async fn is_left(&mut self) -> bool {
        self.read.is_empty() && self.more().await.is_none()
    }

    /// Closes, so that the client has a RST.
    pub(crate) fn reset(self) {
        let now = Some(Duration::ZERO);
        SockRef::from(&self.stream).set_linger(now).unwrap();
    }
}

impl Drop for Peer {
    fn drop(&mut self) {
        // First, so that whoever connects because of this close is not counted beside it.
        self.counts.open.fetch_sub(1, SeqCst);
    }
}

struct Waiting<'a>(&'a AtomicUsize);

impl<'a> Waiting<'a> {
    fn new(count: &'a AtomicUsize) -> Self {
        count.fetch_add(1, SeqCst);
        Self(count)
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, SeqCst);
    }
}
