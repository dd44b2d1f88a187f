//! A manager whose every step does as it is told, and a peer that counts what it sees.

#![allow(
    dead_code,
    unreachable_pub,
    reason = "each test file uses the part it needs"
)]

use std::collections::VecDeque;
use std::fmt;
use std::future::{Future, pending};
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use pool_core::{Builder, Dropped, Manager, Pool, Recycle};

/// How one step of the manager behaves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Gate {
    Ok,
    Error,
    /// Takes 150 milliseconds, in ten parts, each of them a place to be cancelled at.
    Slow,
    Never,
    Panic,
}

pub const GATES: [Gate; 5] = [Gate::Ok, Gate::Error, Gate::Slow, Gate::Never, Gate::Panic];

#[derive(Debug)]
pub struct Refused;

impl fmt::Display for Refused {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("refused")
    }
}

impl std::error::Error for Refused {}

impl Gate {
    pub async fn pass(self) -> Result<(), Refused> {
        match self {
            Self::Ok => Ok(()),
            Self::Error => Err(Refused),
            Self::Slow => {
                for _ in 0..10 {
                    tokio::time::sleep(Duration::from_millis(15)).await;
                }
                Ok(())
            }
            Self::Never => pending().await,
            Self::Panic => panic!("as told"),
        }
    }
}

/// The other side: what it sees does not depend on what the pool believes.
#[derive(Debug, Default)]
pub struct Peer {
    pub open: AtomicUsize,
    pub most_open: AtomicUsize,
    pub dialled: AtomicUsize,
    sockets: Mutex<Vec<Arc<Wire>>>,
}

#[derive(Debug)]
struct Wire {
    number: usize,
    closed_by_peer: AtomicBool,
    waker: Mutex<Option<Waker>>,
}

/// Our side of a connection: closed when dropped, as a socket is.
#[derive(Debug)]
pub struct Socket {
    pub number: usize,
    wire: Arc<Wire>,
    peer: Arc<Peer>,
    pub panics_when_dropped: bool,
}

impl Peer {
    fn accept(self: &Arc<Self>) -> Socket {
        let number = self.dialled.fetch_add(1, Ordering::SeqCst) + 1;
        let open = self.open.fetch_add(1, Ordering::SeqCst) + 1;
        self.most_open.fetch_max(open, Ordering::SeqCst);
        let wire = Arc::new(Wire {
            number,
            closed_by_peer: AtomicBool::new(false),
            waker: Mutex::default(),
        });
        self.sockets.lock().unwrap().push(Arc::clone(&wire));
        Socket {
            number,
            wire,
            peer: Arc::clone(self),
            panics_when_dropped: false,
        }
    }

    pub fn open(&self) -> usize {
        self.open.load(Ordering::SeqCst)
    }

    pub fn dialled(&self) -> usize {
        self.dialled.load(Ordering::SeqCst)
    }

    /// Closes the connection with this number from the other side.
    pub fn hang_up(&self, number: usize) {
        let sockets = self.sockets.lock().unwrap();
        let wire = sockets
            .iter()
            .find(|wire| wire.number == number)
            .expect("there is such a connection");
        wire.closed_by_peer.store(true, Ordering::SeqCst);
        let waker = wire.waker.lock().unwrap().take();
        if let Some(waker) = waker {
            waker.wake();
        }
    }

    /// Closes without waking anybody: the reactor has not run yet.
    pub fn hang_up_unnoticed(&self, number: usize) {
        let sockets = self.sockets.lock().unwrap();
        let wire = sockets
            .iter()
            .find(|wire| wire.number == number)
            .expect("there is such a connection");
        wire.closed_by_peer.store(true, Ordering::SeqCst);
    }
}

impl Drop for Socket {
    fn drop(&mut self) {
        self.peer.open.fetch_sub(1, Ordering::SeqCst);
        if self.panics_when_dropped && !std::thread::panicking() {
            panic!("as told, when dropped");
        }
    }
}

/// Does what its fields say; each queue is used up from the front, and then its last entry holds.
#[derive(Debug)]
pub struct Scripted {
    pub peer: Arc<Peer>,
    pub connect: Mutex<VecDeque<Gate>>,
    pub recycle: Mutex<Recycle>,
    pub reset: Mutex<Gate>,
    pub close: Mutex<Gate>,
    pub permanent: AtomicBool,
    pub recycle_panics: AtomicBool,
    pub probe_panics: AtomicBool,
    pub watched: AtomicBool,
}

impl Default for Scripted {
    fn default() -> Self {
        Self {
            peer: Arc::default(),
            connect: Mutex::new([Gate::Ok].into()),
            recycle: Mutex::new(Recycle::Keep),
            reset: Mutex::new(Gate::Ok),
            close: Mutex::new(Gate::Ok),
            permanent: AtomicBool::new(false),
            recycle_panics: AtomicBool::new(false),
            probe_panics: AtomicBool::new(false),
            watched: AtomicBool::new(true),
        }
    }
}

impl Scripted {
    pub fn connecting(gates: impl IntoIterator<Item = Gate>) -> Self {
        let scripted = Self::default();
        scripted.connects(gates);
        scripted
    }

    pub fn connects(&self, gates: impl IntoIterator<Item = Gate>) {
        *self.connect.lock().unwrap() = gates.into_iter().collect();
    }
}

impl Manager for Scripted {
    type Connection = Socket;
    type Error = Refused;

    async fn connect(&self) -> Result<Socket, Refused> {
        let gate = {
            let mut gates = self.connect.lock().unwrap();
            if gates.len() > 1 {
                gates.pop_front()
            } else {
                gates.front().copied()
            }
        };
        // The socket is there before the handshake is over.
        let socket = self.peer.accept();
        gate.expect("a script has an entry").pass().await?;
        Ok(socket)
    }

    fn is_dropped(&self, socket: &mut Socket) -> bool {
        assert!(
            !self.probe_panics.load(Ordering::SeqCst),
            "as told, when probed"
        );
        socket.wire.closed_by_peer.load(Ordering::SeqCst)
    }

    fn poll_dropped(&self, socket: &mut Socket, cx: &mut Context<'_>) -> Poll<Dropped> {
        if !self.watched.load(Ordering::SeqCst) {
            return Poll::Pending;
        }
        *socket.wire.waker.lock().unwrap() = Some(cx.waker().clone());
        match socket.wire.closed_by_peer.load(Ordering::SeqCst) {
            true => Poll::Ready(Dropped::Closed),
            false => Poll::Pending,
        }
    }

    fn recycle(&self, _: &mut Socket) -> Recycle {
        assert!(
            !self.recycle_panics.load(Ordering::SeqCst),
            "as told, when recycled"
        );
        *self.recycle.lock().unwrap()
    }

    async fn reset(&self, _: &mut Socket) -> Result<(), Refused> {
        let gate = *self.reset.lock().unwrap();
        gate.pass().await
    }

    async fn close(&self, socket: Socket) {
        let gate = *self.close.lock().unwrap();
        let _ = gate.pass().await;
        drop(socket);
    }

    fn is_permanent(&self, _: &Refused) -> bool {
        self.permanent.load(Ordering::SeqCst)
    }
}

/// The panics that the tests ask for say so nowhere but in their outcome.
pub fn silence_panics() {
    static ONCE: std::sync::Once = std::sync::Once::new();
    ONCE.call_once(|| {
        let usual = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |info| {
            let text = info.payload().downcast_ref::<&str>();
            if !text.is_some_and(|text| text.starts_with("as told")) {
                usual(info);
            }
        }));
    });
}

/// Lets every task run until none has anything to do.
pub async fn settle() {
    for _ in 0..50 {
        tokio::task::yield_now().await;
    }
}

pub const SECOND: Duration = Duration::from_secs(1);

/// A pool of connections that do as they are told.
pub fn builder() -> Builder<Scripted> {
    Pool::builder(Scripted::default())
}

/// One look at a future, whose waker nobody hears.
pub fn poll<F: Future + Unpin>(future: &mut F) -> Poll<F::Output> {
    Pin::new(future).poll(&mut Context::from_waker(Waker::noop()))
}

/// So many idle connections; the one with the highest number came home last.
pub async fn fill(pool: &Pool<Scripted>, wanted: usize) {
    let mut guards = Vec::new();
    for _ in 0..wanted {
        guards.push(pool.checkout().await.unwrap());
    }
    guards.sort_by_key(|guard| guard.number);
    guards.into_iter().for_each(drop);
}
