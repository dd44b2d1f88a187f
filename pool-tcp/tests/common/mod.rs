//! What the tests share: pairs of connected sockets, and waiting without guessing how fast the machine is.

#![allow(dead_code, reason = "each test file uses a part")]

use std::fmt::Debug;
use std::future::poll_fn;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll, Wake, Waker};
use std::time::Duration;

use pool_tcp::PoolStream;
use tokio::net::{TcpListener, TcpStream};
use tokio::time::{sleep, timeout};

/// Far longer than anything here takes, so that only a hang fails.
pub(crate) const LIMIT: Duration = Duration::from_secs(10);

pub(crate) async fn pair() -> (PoolStream, TcpStream) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let ours = TcpStream::connect(listener.local_addr().unwrap())
        .await
        .unwrap();
    let (peer, _) = listener.accept().await.unwrap();
    ours.set_nodelay(true).unwrap();
    peer.set_nodelay(true).unwrap();
    (PoolStream::new(ours), peer)
}

pub(crate) async fn in_time<T>(future: impl Future<Output = T>) -> T {
    timeout(LIMIT, future).await.expect("done within the limit")
}

/// Waits until `look` answers `expected`, and lets the runtime work meanwhile.
pub(crate) async fn eventually<T: PartialEq + Debug>(mut look: impl FnMut() -> T, expected: T) {
    for _ in 0..LIMIT.as_millis() {
        if look() == expected {
            return;
        }
        sleep(Duration::from_millis(1)).await;
    }
    assert_eq!(look(), expected);
}

/// As [`eventually`], but blocks the thread, so that on a current-thread runtime the reactor does not run.
pub(crate) fn arrives<T: PartialEq + Debug>(mut look: impl FnMut() -> T, expected: T) {
    for _ in 0..LIMIT.as_millis() {
        if look() == expected {
            return;
        }
        std::thread::sleep(Duration::from_millis(1));
    }
    assert_eq!(look(), expected);
}

/// Lets the reactor run until it has told tokio that `stream` is readable, without reading.
pub(crate) async fn reactor_has_seen(stream: &PoolStream) {
    in_time(stream.socket().readable()).await.unwrap();
}

/// Counts its wakes.
#[derive(Debug, Default)]
pub(crate) struct Wakes(AtomicUsize);

impl Wakes {
    pub(crate) fn new() -> (Arc<Self>, Waker) {
        let wakes = Arc::new(Self::default());
        (wakes.clone(), Waker::from(wakes))
    }

    pub(crate) fn count(&self) -> usize {
        self.0.load(Ordering::SeqCst)
    }
}

impl Wake for Wakes {
    fn wake(self: Arc<Self>) {
        self.0.fetch_add(1, Ordering::SeqCst);
    }
}

/// Polls with `waker` inside a task of the runtime.
pub(crate) fn poll_with<T>(
    waker: &Waker,
    poll: impl FnOnce(&mut Context<'_>) -> Poll<T>,
) -> Poll<T> {
    poll(&mut Context::from_waker(waker))
}

/// Polls once with the waker of the present task, which it leaves registered.
pub(crate) async fn poll_once<T>(mut poll: impl FnMut(&mut Context<'_>) -> Poll<T>) -> Poll<T> {
    poll_fn(|cx| Poll::Ready(poll(cx))).await
}

/// The states of our sockets that are connected to `port`, such as [`CLOSE_WAIT`].
///
/// Other programs are left out: a busy machine has connections that come *from* a port of the same number. Sockets that
/// no program holds any more, because the kernel is closing them, are counted whosever they were.
#[cfg(target_os = "linux")]
pub(crate) fn sockets_to(port: u16) -> Vec<u8> {
    let ours: std::collections::HashSet<String> = std::fs::read_dir("/proc/self/fd")
        .unwrap()
        .filter_map(|file| std::fs::read_link(file.ok()?.path()).ok())
        .filter_map(|link| {
            let inode = link.to_str()?.strip_prefix("socket:[")?;
            Some(inode.strip_suffix("]")?.to_owned())
        })
        .collect();

    let mut states = Vec::new();
    for table in ["/proc/net/tcp", "/proc/net/tcp6"] {
        let Ok(table) = std::fs::read_to_string(table) else {
            continue;
        };
        for line in table.lines().skip(1) {
            let columns: Vec<&str> = line.split_whitespace().collect();
            let (remote, state, inode) = (columns[2], columns[3], columns[9]);
            if remote.ends_with(&format!(":{port:04X}")) && (inode == "0" || ours.contains(inode)) {
                states.push(u8::from_str_radix(state, 16).unwrap());
            }
        }
    }
    states
}

/// The same without the sockets that the kernel keeps a while after both sides have closed (TIME_WAIT).
#[cfg(target_os = "linux")]
pub(crate) fn open_sockets_to(port: u16) -> Vec<u8> {
    const TIME_WAIT: u8 = 6;
    let mut states = sockets_to(port);
    states.retain(|state| *state != TIME_WAIT);
    states
}

#[cfg(target_os = "linux")]
pub(crate) const CLOSE_WAIT: u8 = 8;
