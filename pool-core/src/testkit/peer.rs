//! The other side of scripted connections: what it sees does not depend on what the pool believes.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};

use tokio::sync::watch;

use super::conformance::Server;
use crate::manager::Dropped;

/// The server that a [`Scripted`](super::Scripted) manager dials; cheap to clone, and all clones are the same server.
///
/// It numbers connections from 1 in the order in which they were dialled, and counts them by itself: a test that
/// asks it learns what a real server would see.
///
/// # Examples
///
/// ```
/// use pool_core::Pool;
/// use pool_core::testkit::{Scripted, settle};
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let pool = Pool::builder(Scripted::new()).build()?;
/// let peer = pool.manager().peer().clone();
/// drop(pool.checkout().await?);
/// assert_eq!((peer.dialled(), peer.open()), (1, 1));
///
/// peer.hang_up(1);
/// settle().await;
/// assert_eq!(peer.open(), 0, "the pool closed it too, without being asked");
/// # Ok(()) }
/// ```
#[derive(Clone, Debug, Default)]
pub struct Peer(Arc<Inner>);

#[derive(Debug, Default)]
struct Inner {
    open: AtomicUsize,
    most_open: AtomicUsize,
    dialled: AtomicUsize,
    wires: Mutex<BTreeMap<usize, Arc<Wire>>>,
    paused: watch::Sender<bool>,
}

/// What both sides of one connection know.
#[derive(Debug, Default)]
pub(super) struct Wire(Mutex<Fate>);

#[derive(Debug, Default)]
struct Fate {
    hung_up: bool,
    unasked: bool,
    watcher: Option<Waker>,
}

impl Peer {
    /// Connections open now: dialled, and not yet dropped by the pool or whoever has them. One that the peer has hung
    /// up on counts until this side is closed too, as a socket in CLOSE_WAIT does.
    ///
    /// # Examples
    ///
    /// ```
    /// assert_eq!(pool_core::testkit::Peer::default().open(), 0);
    /// ```
    #[must_use]
    pub fn open(&self) -> usize {
        self.0.open.load(Ordering::SeqCst)
    }

    /// The most connections that were ever open at once.
    ///
    /// # Examples
    ///
    /// ```
    /// # use pool_core::Pool;
    /// # use pool_core::testkit::Scripted;
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// let pool = Pool::builder(Scripted::new()).max_size(2).build()?;
    /// drop((pool.checkout().await?, pool.checkout().await?));
    /// assert_eq!(pool.manager().peer().most_open(), 2);
    /// # Ok(()) }
    /// ```
    #[must_use]
    pub fn most_open(&self) -> usize {
        self.0.most_open.load(Ordering::SeqCst)
    }

    /// Dials so far, failed ones included.
    ///
    /// # Examples
    ///
    /// ```
    /// assert_eq!(pool_core::testkit::Peer::default().dialled(), 0);
    /// ```
    #[must_use]
    pub fn dialled(&self) -> usize {
        self.0.dialled.load(Ordering::SeqCst)
    }

    /// Closes this connection from the other side; whoever watches it is woken. One that is closed already stays so.
    ///
    /// # Panics
    ///
    /// If no connection has had this number yet.
    ///
    /// # Examples
    ///
    /// See [`Peer`].
    #[track_caller]
    pub fn hang_up(&self, number: usize) {
        if let Some(wire) = self.wire(number) {
            wire.fate().hung_up = true;
            wire.notice();
        }
    }

    /// Closes all connections from the other side, as a server does that is restarted.
    ///
    /// # Examples
    ///
    /// ```
    /// # use pool_core::Pool;
    /// # use pool_core::testkit::{Scripted, settle};
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// let pool = Pool::builder(Scripted::new()).build()?;
    /// drop((pool.checkout().await?, pool.checkout().await?));
    /// pool.manager().peer().hang_up_all();
    /// settle().await;
    /// assert_eq!(pool.status().size(), 0);
    /// # Ok(()) }
    /// ```
    pub fn hang_up_all(&self) {
        for wire in self.wires().values() {
            wire.fate().hung_up = true;
        }
        self.notice();
    }

    /// As [`hang_up`](Self::hang_up), but nobody is woken: the FIN has come and the reactor has not run yet. Only a look
    /// at the connection finds it out, until [`notice`](Self::notice).
    ///
    /// # Panics
    ///
    /// If no connection has had this number yet.
    ///
    /// # Examples
    ///
    /// ```
    /// # use pool_core::Pool;
    /// # use pool_core::testkit::{Scripted, settle};
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// let pool = Pool::builder(Scripted::new()).build()?;
    /// drop(pool.checkout().await?);
    /// pool.manager().peer().hang_up_unnoticed(1);
    /// settle().await;
    /// assert_eq!(pool.status().idle, 1);
    /// // Looked at once more before it is handed out.
    /// assert_eq!(pool.checkout().await?.number(), 2);
    /// # Ok(()) }
    /// ```
    #[track_caller]
    pub fn hang_up_unnoticed(&self, number: usize) {
        if let Some(wire) = self.wire(number) {
            wire.fate().hung_up = true;
        }
    }

    /// Sends bytes nobody asked for on this connection: it is dirty from now on, and whoever watches it is woken.
    ///
    /// # Panics
    ///
    /// If no connection has had this number yet.
    ///
    /// # Examples
    ///
    /// ```
    /// # use pool_core::Pool;
    /// # use pool_core::testkit::{Scripted, settle};
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// let pool = Pool::builder(Scripted::new()).build()?;
    /// drop(pool.checkout().await?);
    /// pool.manager().peer().send_unasked(1);
    /// settle().await;
    /// assert_eq!(pool.status().idle, 0);
    /// # Ok(()) }
    /// ```
    #[track_caller]
    pub fn send_unasked(&self, number: usize) {
        if let Some(wire) = self.wire(number) {
            wire.fate().unasked = true;
            wire.notice();
        }
    }

    /// Lets the reactor run: whoever watches a connection that something has happened to is woken.
    ///
    /// # Examples
    ///
    /// ```
    /// # use pool_core::Pool;
    /// # use pool_core::testkit::{Scripted, settle};
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// let pool = Pool::builder(Scripted::new()).build()?;
    /// drop(pool.checkout().await?);
    /// pool.manager().peer().hang_up_unnoticed(1);
    /// pool.manager().peer().notice();
    /// settle().await;
    /// assert_eq!(pool.status().idle, 0);
    /// # Ok(()) }
    /// ```
    pub fn notice(&self) {
        let wires: Vec<_> = self.wires().values().cloned().collect();
        wires.iter().for_each(|wire| wire.notice());
    }

    /// Stops answering: no dial completes from now on, until [`resume`](Self::resume). Connections there are stay as
    /// they are.
    ///
    /// # Examples
    ///
    /// ```
    /// # use pool_core::{CheckoutError, Pool};
    /// # use pool_core::testkit::Scripted;
    /// # use std::time::Duration;
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// let pool = Pool::builder(Scripted::new()).build()?;
    /// pool.manager().peer().pause();
    /// let error = pool.checkout().timeout(Duration::from_millis(5)).await.unwrap_err();
    /// assert!(matches!(error, CheckoutError::Timeout(timeout) if timeout.status.connecting == 1));
    ///
    /// pool.manager().peer().resume();
    /// assert_eq!(pool.checkout().await?.number(), 1);
    /// # Ok(()) }
    /// ```
    pub fn pause(&self) {
        self.0.paused.send_replace(true);
    }

    /// Answers again, those first who have waited.
    ///
    /// # Examples
    ///
    /// See [`pause`](Self::pause).
    pub fn resume(&self) {
        self.0.paused.send_replace(false);
    }

    /// Takes a connection in. The socket is there before the handshake is over.
    pub(super) fn accept(&self) -> (usize, Arc<Wire>) {
        let number = self.0.dialled.fetch_add(1, Ordering::SeqCst) + 1;
        let open = self.0.open.fetch_add(1, Ordering::SeqCst) + 1;
        self.0.most_open.fetch_max(open, Ordering::SeqCst);
        let wire = Arc::<Wire>::default();
        self.wires().insert(number, Arc::clone(&wire));
        (number, wire)
    }

    /// The other side has closed.
    pub(super) fn closed(&self, number: usize) {
        let wire = self.wires().remove(&number);
        // Outside the lock: it may have the last clone of a waker.
        drop(wire);
        self.0.open.fetch_sub(1, Ordering::SeqCst);
    }

    /// Waits while the peer is paused.
    pub(super) async fn answer(&self) {
        let mut paused = self.0.paused.subscribe();
        let resumed = paused.wait_for(|paused| !paused).await;
        resumed.expect("the peer is held by whoever waits here");
    }

    fn wires(&self) -> MutexGuard<'_, BTreeMap<usize, Arc<Wire>>> {
        self.0.wires.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The connection of this number, if it is still open.
    #[track_caller]
    fn wire(&self, number: usize) -> Option<Arc<Wire>> {
        let dialled = self.dialled();
        assert!(
            (1..=dialled).contains(&number),
            "there is no connection {number}: {dialled} were dialled, and they count from 1"
        );
        self.wires().get(&number).cloned()
    }
}

/// So that the [conformance check](super::conformance) can be run on a scripted manager.
impl Server for Peer {
    fn open(&self) -> usize {
        self.open()
    }

    fn hang_up(&self) {
        self.hang_up_all();
    }

    fn speak(&self) -> bool {
        let numbers: Vec<_> = self.wires().keys().copied().collect();
        numbers
            .into_iter()
            .for_each(|number| self.send_unasked(number));
        true
    }

    fn pause(&self) -> bool {
        self.pause();
        true
    }

    fn resume(&self) {
        self.resume();
    }
}

impl Wire {
    /// What has happened to the connection, if anything has.
    pub(super) fn dropped(&self) -> Option<Dropped> {
        self.fate().dropped()
    }

    /// Whether the peer has hung up.
    pub(super) fn is_hung_up(&self) -> bool {
        self.fate().hung_up
    }

    pub(super) fn poll_dropped(&self, cx: &mut Context<'_>) -> Poll<Dropped> {
        // Cloned before the lock is taken, and exchanged for the former one: both are somebody else's.
        let mut watcher = Some(cx.waker().clone());
        let mut fate = self.fate();
        std::mem::swap(&mut fate.watcher, &mut watcher);
        let dropped = fate.dropped();
        drop(fate);
        dropped.map_or(Poll::Pending, Poll::Ready)
    }

    /// Wakes whoever watches, if anything has happened.
    fn notice(&self) {
        let mut fate = self.fate();
        let watcher = fate.dropped().and_then(|_| fate.watcher.take());
        // Woken with no lock held: a waker is somebody else's.
        drop(fate);
        if let Some(watcher) = watcher {
            watcher.wake();
        }
    }

    fn fate(&self) -> MutexGuard<'_, Fate> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Fate {
    fn dropped(&self) -> Option<Dropped> {
        match (self.hung_up, self.unasked) {
            (true, _) => Some(Dropped::Closed),
            (false, true) => Some(Dropped::Dirty),
            (false, false) => None,
        }
    }
}
