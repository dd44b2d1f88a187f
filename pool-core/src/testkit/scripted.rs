//! A manager whose every step does as it is told.

use std::collections::VecDeque;
use std::fmt;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll};

use super::gate::{Gate, ScriptedError};
use super::peer::Peer;
use super::socket::Socket;
use crate::manager::{Dropped, Manager, Recycle};

/// A manager that follows a script, and dials a [`Peer`] that the test holds in its hand.
///
/// Unless told otherwise it does everything well. The script may be changed at any time, through
/// [`Pool::manager`](crate::Pool::manager).
///
/// # Examples
///
/// ```
/// use pool_core::Pool;
/// use pool_core::testkit::{Gate, Scripted};
///
/// # #[tokio::main(flavor = "current_thread", start_paused = true)]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// // The server is down when the application starts, and comes up at the third attempt.
/// let manager = Scripted::connecting([Gate::Error, Gate::Error, Gate::Ok]);
/// let pool = Pool::builder(manager).build()?;
/// assert_eq!(pool.checkout().await?.number(), 3);
/// # Ok(()) }
/// ```
pub struct Scripted<C = ()> {
    peer: Peer,
    carry: Box<dyn Fn(usize) -> C + Send + Sync>,
    script: Mutex<Script>,
}

#[derive(Clone, Debug)]
struct Script {
    /// Used up from the front; the last entry holds.
    connect: VecDeque<Gate>,
    recycle: Recycle,
    reset: Gate,
    close: Gate,
    panics_when_recycled: bool,
    panics_when_probed: bool,
    is_watched: bool,
    errors_are_permanent: bool,
}

impl Scripted {
    /// A manager with a peer of its own, whose connections carry nothing.
    ///
    /// # Examples
    ///
    /// ```
    /// assert_eq!(pool_core::testkit::Scripted::new().peer().open(), 0);
    /// ```
    #[must_use]
    pub fn new() -> Self {
        Self::dialling(&Peer::default())
    }

    /// A manager that dials this peer, as others may too.
    ///
    /// # Examples
    ///
    /// ```
    /// use pool_core::Pool;
    /// use pool_core::testkit::{Peer, Scripted};
    ///
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// let peer = Peer::default();
    /// let first = Pool::builder(Scripted::dialling(&peer)).build()?;
    /// let second = Pool::builder(Scripted::dialling(&peer)).build()?;
    /// let guards = (first.checkout().await?, second.checkout().await?);
    /// assert_eq!(peer.open(), 2);
    /// # Ok(()) }
    /// ```
    #[must_use]
    pub fn dialling(peer: &Peer) -> Self {
        Self {
            peer: peer.clone(),
            carry: Box::new(|_| ()),
            script: Mutex::new(Script {
                connect: [Gate::Ok].into(),
                recycle: Recycle::Keep,
                reset: Gate::Ok,
                close: Gate::Ok,
                panics_when_recycled: false,
                panics_when_probed: false,
                is_watched: true,
                errors_are_permanent: false,
            }),
        }
    }

    /// A manager with a peer of its own, whose dials do this: see [`connects`](Self::connects).
    ///
    /// # Panics
    ///
    /// If there is nothing to do.
    ///
    /// # Examples
    ///
    /// ```
    /// use pool_core::Manager;
    /// use pool_core::testkit::{Gate, Scripted};
    ///
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() {
    /// let manager = Scripted::connecting([Gate::Error, Gate::Ok]);
    /// assert!(manager.connect().await.is_err());
    /// assert!(manager.connect().await.is_ok());
    /// # }
    /// ```
    #[must_use]
    #[track_caller]
    pub fn connecting(gates: impl IntoIterator<Item = Gate>) -> Self {
        let scripted = Self::new();
        scripted.connects(gates);
        scripted
    }
}

impl<C> Scripted<C> {
    /// The same with connections that carry what `carry` makes of their number: a client of the test's own making, or
    /// one end of a pipe.
    ///
    /// # Examples
    ///
    /// A stream of which the test holds the other end:
    ///
    /// ```
    /// use pool_core::Pool;
    /// use pool_core::testkit::Scripted;
    /// use std::sync::mpsc;
    /// use tokio::io::{AsyncReadExt, AsyncWriteExt, duplex};
    ///
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// let (accepted, sockets) = mpsc::channel();
    /// let manager = Scripted::new().carry(move |_| {
    ///     let (ours, theirs) = duplex(64);
    ///     accepted.send(theirs).expect("the test listens");
    ///     ours
    /// });
    /// let pool = Pool::builder(manager).build()?;
    ///
    /// pool.checkout().await?.write_all(b"ping").await?;
    /// let mut heard = [0; 4];
    /// sockets.recv()?.read_exact(&mut heard).await?;
    /// assert_eq!(&heard, b"ping");
    /// # Ok(()) }
    /// ```
    #[must_use]
    pub fn carry<D>(self, carry: impl Fn(usize) -> D + Send + Sync + 'static) -> Scripted<D> {
        Scripted {
            peer: self.peer,
            carry: Box::new(carry),
            script: self.script,
        }
    }

    /// The server that is dialled.
    ///
    /// # Examples
    ///
    /// See [`Peer`].
    #[must_use]
    pub fn peer(&self) -> &Peer {
        &self.peer
    }

    /// What the next dials do, one after the other; the last goes on for ever. Default [`Gate::Ok`].
    ///
    /// # Panics
    ///
    /// If there is none.
    ///
    /// # Examples
    ///
    /// See [`Scripted`].
    #[track_caller]
    pub fn connects(&self, gates: impl IntoIterator<Item = Gate>) {
        let gates: VecDeque<_> = gates.into_iter().collect();
        assert!(!gates.is_empty(), "a script has at least one entry");
        self.script().connect = gates;
    }

    /// Whether a dial that fails is told to callers at once. Default false.
    ///
    /// # Examples
    ///
    /// ```
    /// # use pool_core::{CheckoutError, Pool};
    /// # use pool_core::testkit::{Gate, Scripted};
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// let manager = Scripted::new();
    /// manager.connects([Gate::Error]);
    /// manager.errors_are_permanent(true);
    /// let pool = Pool::builder(manager).build()?;
    /// assert!(matches!(pool.checkout().await, Err(CheckoutError::Connect(_))));
    /// # Ok(()) }
    /// ```
    pub fn errors_are_permanent(&self, permanent: bool) {
        self.script().errors_are_permanent = permanent;
    }

    /// What becomes of connections that come home. Default [`Recycle::Keep`].
    ///
    /// # Examples
    ///
    /// ```
    /// # use pool_core::{Pool, Recycle};
    /// # use pool_core::testkit::Scripted;
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// let pool = Pool::builder(Scripted::new()).build()?;
    /// pool.manager().recycles(Recycle::Discard);
    /// drop(pool.checkout().await?);
    /// assert_eq!(pool.status().size(), 0);
    /// # Ok(()) }
    /// ```
    pub fn recycles(&self, recycle: Recycle) {
        self.script().recycle = recycle;
    }

    /// Whether `recycle` panics. Default false.
    ///
    /// # Examples
    ///
    /// ```
    /// # use pool_core::Pool;
    /// # use pool_core::testkit::Scripted;
    /// # use std::panic::{AssertUnwindSafe, catch_unwind};
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// let pool = Pool::builder(Scripted::new()).build()?;
    /// pool.manager().panics_when_recycled(true);
    /// let guard = pool.checkout().await?;
    /// assert!(catch_unwind(AssertUnwindSafe(|| drop(guard))).is_err());
    /// assert_eq!(pool.status().size(), 0);
    /// # Ok(()) }
    /// ```
    pub fn panics_when_recycled(&self, panics: bool) {
        self.script().panics_when_recycled = panics;
    }

    /// What a reset does, once [`recycles`](Self::recycles) was told [`Recycle::Reset`]. Default [`Gate::Ok`].
    ///
    /// # Examples
    ///
    /// ```
    /// # use pool_core::{Pool, Recycle};
    /// # use pool_core::testkit::{Gate, Scripted, settle};
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// let pool = Pool::builder(Scripted::new()).build()?;
    /// pool.manager().recycles(Recycle::Reset);
    /// pool.manager().resets(Gate::Error);
    /// drop(pool.checkout().await?);
    /// settle().await;
    /// assert_eq!(pool.status().size(), 0);
    /// # Ok(()) }
    /// ```
    pub fn resets(&self, gate: Gate) {
        self.script().reset = gate;
    }

    /// How a connection is closed; whatever the gate, it is closed when it is passed or given up. Default [`Gate::Ok`].
    ///
    /// # Examples
    ///
    /// ```
    /// # use pool_core::{Pool, Pooled};
    /// # use pool_core::testkit::{Gate, Scripted};
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// let pool = Pool::builder(Scripted::new()).build()?;
    /// pool.manager().closes(Gate::Slow);
    /// Pooled::discard(pool.checkout().await?);
    /// assert_eq!(pool.status().closing, 1, "and the slot is not free yet");
    /// # Ok(()) }
    /// ```
    pub fn closes(&self, gate: Gate) {
        self.script().close = gate;
    }

    /// Whether `is_dropped` panics. Default false.
    ///
    /// # Examples
    ///
    /// ```
    /// # use pool_core::Pool;
    /// # use pool_core::testkit::Scripted;
    /// # use std::panic::{AssertUnwindSafe, catch_unwind};
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// let pool = Pool::builder(Scripted::new()).build()?;
    /// drop(pool.checkout().await?);
    /// pool.manager().panics_when_probed(true);
    /// assert!(catch_unwind(AssertUnwindSafe(|| pool.try_checkout())).is_err());
    /// assert_eq!(pool.status().size(), 0);
    /// # Ok(()) }
    /// ```
    pub fn panics_when_probed(&self, panics: bool) {
        self.script().panics_when_probed = panics;
    }

    /// Whether an idle connection is watched, or only looked at when it goes out and comes home. Default true.
    ///
    /// # Examples
    ///
    /// ```
    /// # use pool_core::Pool;
    /// # use pool_core::testkit::{Scripted, settle};
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// let pool = Pool::builder(Scripted::new()).build()?;
    /// pool.manager().is_watched(false);
    /// drop(pool.checkout().await?);
    /// pool.manager().peer().hang_up(1);
    /// settle().await;
    /// assert_eq!(pool.status().idle, 1, "nobody was told");
    /// # Ok(()) }
    /// ```
    pub fn is_watched(&self, watched: bool) {
        self.script().is_watched = watched;
    }

    fn next_connect(&self) -> Gate {
        let mut script = self.script();
        match script.connect.len() {
            1 => script.connect[0],
            _ => script
                .connect
                .pop_front()
                .expect("a script has at least one entry"),
        }
    }

    fn script(&self) -> MutexGuard<'_, Script> {
        self.script.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<C: Send + 'static> Manager for Scripted<C> {
    type Connection = Socket<C>;
    type Error = ScriptedError;

    async fn connect(&self) -> Result<Socket<C>, ScriptedError> {
        let gate = self.next_connect();
        let socket = Socket::dial(&self.peer, &self.carry);
        self.peer.answer().await;
        gate.pass().await?;
        Ok(socket)
    }

    fn is_dropped(&self, socket: &mut Socket<C>) -> bool {
        let panics = self.script().panics_when_probed;
        assert!(!panics, "as told, when probed");
        socket.wire().dropped().is_some()
    }

    fn poll_dropped(&self, socket: &mut Socket<C>, cx: &mut Context<'_>) -> Poll<Dropped> {
        let is_watched = self.script().is_watched;
        match is_watched {
            true => socket.wire().poll_dropped(cx),
            false => Poll::Pending,
        }
    }

    fn recycle(&self, _: &mut Socket<C>) -> Recycle {
        let Script {
            recycle,
            panics_when_recycled,
            ..
        } = *self.script();
        assert!(!panics_when_recycled, "as told, when recycled");
        recycle
    }

    async fn reset(&self, _: &mut Socket<C>) -> Result<(), ScriptedError> {
        let gate = self.script().reset;
        gate.pass().await
    }

    async fn close(&self, socket: Socket<C>) {
        let gate = self.script().close;
        // An error does not keep it open.
        let _ = gate.pass().await;
        drop(socket);
    }

    fn is_permanent(&self, _: &ScriptedError) -> bool {
        self.script().errors_are_permanent
    }
}

impl Default for Scripted {
    fn default() -> Self {
        Self::new()
    }
}

impl<C> fmt::Debug for Scripted<C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Scripted")
            .field("peer", &self.peer)
            .field("script", &self.script)
            .finish_non_exhaustive()
    }
}
