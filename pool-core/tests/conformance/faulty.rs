//! A manager that does one thing wrong, and the rest as a scripted one does.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll, Wake, Waker};
use std::time::Duration;

use pool_core::testkit::{Peer, Scripted, ScriptedError, Socket};
use pool_core::{Dropped, Manager, Recycle};
use tokio::task::coop::has_budget_remaining;
use tokio::task::yield_now;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fault {
    None,
    ConnectsAtTheFirstUse,
    FailsToConnect,
    LeaksCancelledDials,
    LeaksDialsGivenUp,
    BlocksUntilAnswered,
    IsBornDead,
    DiesOfLooks,
    EatsWhatItLooksAt,
    BlocksInALook,
    SeesNoEnd,
    ForgetsTheEnd,
    WaitsForTheReactor,
    IgnoresBytes,
    LiesOnASpentBudget,
    WakesNobody,
    WakesWhoCameFirst,
    WakesOneOfAll,
    WakesAllTheTime,
    WakesNobodyOnASpentBudget,
    DiscardsEverything,
    LetsNothingIdle,
    ResetsInVain,
    KeepsEverything,
    NeverCloses,
    KeepsWhatItCloses,
    ClosesLater,
    LeaksAClosePartWay,
    KeepsWhatIsDropped,
    BlocksOnceLookedAt,
    /// In the method of this name.
    Panics(&'static str),
}

pub(crate) struct Faulty {
    inner: Scripted,
    fault: Fault,
    /// What it has no business to keep.
    kept: Kept,
    watcher: Arc<OneForAll>,
}

pub(crate) struct Connection {
    socket: Option<Socket>,
    fault: Fault,
    kept: Kept,
    answer_due: bool,
    is_eaten: bool,
    looks: usize,
    was_dropped: bool,
    reactor_ran: Arc<AtomicBool>,
    watcher: Option<Waker>,
}

impl Faulty {
    pub(crate) fn new(fault: Fault, peer: &Peer) -> Self {
        Self {
            inner: Scripted::dialling(peer),
            fault,
            kept: Kept::default(),
            watcher: Arc::default(),
        }
    }

    fn panics_in(&self, method: &'static str) {
        assert!(self.fault != Fault::Panics(method), "as told");
    }

    async fn dial(&self) -> Result<Option<Socket>, ScriptedError> {
        let dial = self.inner.connect();
        match self.fault {
            Fault::ConnectsAtTheFirstUse => Ok(None),
            Fault::FailsToConnect => Err(ScriptedError),
            Fault::LeaksCancelledDials => {
                let mut leak = Leak(&self.kept, Some(dial.await?));
                yield_now().await;
                Ok(leak.1.take())
            }
            Fault::LeaksDialsGivenUp => {
                let mut dial = Box::pin(dial);
                match tokio::time::timeout(Duration::from_millis(20), &mut dial).await {
                    Ok(socket) => socket.map(Some),
                    Err(_) => {
                        std::mem::forget(dial);
                        Err(ScriptedError)
                    }
                }
            }
            Fault::BlocksUntilAnswered => futures::executor::block_on(dial).map(Some),
            _ => dial.await.map(Some),
        }
    }
}

impl Connection {
    pub(crate) async fn ask(&mut self) -> Result<(), &'static str> {
        if self.answer_due {
            return Err("this was the answer to another question");
        }
        if self.is_eaten {
            return Err("a part of the answer is missing");
        }
        self.answer_due = true;
        yield_now().await;
        self.answer_due = false;
        Ok(())
    }
}

impl Manager for Faulty {
    type Connection = Connection;
    type Error = ScriptedError;

    async fn connect(&self) -> Result<Connection, ScriptedError> {
        self.panics_in("connect");
        Ok(Connection {
            socket: self.dial().await?,
            fault: self.fault,
            kept: self.kept.clone(),
            answer_due: false,
            is_eaten: false,
            looks: 0,
            was_dropped: false,
            reactor_ran: Arc::default(),
            watcher: None,
        })
    }

    fn is_dropped(&self, connection: &mut Connection) -> bool {
        self.panics_in("is_dropped");
        let Some(socket) = &mut connection.socket else {
            return false;
        };
        let is_dropped = self.inner.is_dropped(socket);
        let was_dropped = std::mem::replace(&mut connection.was_dropped, is_dropped);
        connection.looks += 1;
        match self.fault {
            Fault::IsBornDead => true,
            Fault::DiesOfLooks => is_dropped || connection.looks > 500,
            Fault::EatsWhatItLooksAt => {
                connection.is_eaten |= connection.looks > 500;
                is_dropped
            }
            Fault::BlocksInALook => loop {
                std::thread::park();
            },
            Fault::SeesNoEnd => false,
            Fault::ForgetsTheEnd => is_dropped && !was_dropped,
            Fault::WaitsForTheReactor => {
                let ran = Arc::clone(&connection.reactor_ran);
                if is_dropped && !was_dropped {
                    tokio::spawn(async move { ran.store(true, Ordering::SeqCst) });
                }
                is_dropped && connection.reactor_ran.load(Ordering::SeqCst)
            }
            Fault::IgnoresBytes => socket.is_hung_up(),
            Fault::LiesOnASpentBudget => is_dropped && has_budget_remaining(),
            _ => is_dropped,
        }
    }

    fn poll_dropped(&self, connection: &mut Connection, cx: &mut Context<'_>) -> Poll<Dropped> {
        self.panics_in("poll_dropped");
        let Some(socket) = &mut connection.socket else {
            return Poll::Pending;
        };
        let mut poll = |waker: &Waker| {
            self.inner
                .poll_dropped(socket, &mut Context::from_waker(waker))
        };
        let polled = match self.fault {
            Fault::WakesNobody => poll(Waker::noop()),
            Fault::WakesNobodyOnASpentBudget if !has_budget_remaining() => return Poll::Pending,
            Fault::WakesWhoCameFirst => poll(connection.watcher.get_or_insert(cx.waker().clone())),
            Fault::WakesOneOfAll => {
                *self.watcher.0.lock().unwrap() = Some(cx.waker().clone());
                poll(&Waker::from(Arc::clone(&self.watcher)))
            }
            Fault::WakesAllTheTime => {
                cx.waker().wake_by_ref();
                poll(cx.waker())
            }
            _ => poll(cx.waker()),
        };
        match self.fault {
            Fault::SeesNoEnd => Poll::Pending,
            Fault::IgnoresBytes if !socket.is_hung_up() => Poll::Pending,
            _ => polled,
        }
    }

    fn is_unsure(&self, _: &mut Connection) -> bool {
        self.panics_in("is_unsure");
        false
    }

    fn idle_limit(&self, _: &Connection) -> Option<Duration> {
        (self.fault == Fault::LetsNothingIdle).then_some(Duration::ZERO)
    }

    fn recycle(&self, connection: &mut Connection) -> Recycle {
        self.panics_in("recycle");
        match self.fault {
            Fault::DiscardsEverything => Recycle::Discard,
            Fault::ResetsInVain | Fault::Panics("reset") => Recycle::Reset,
            Fault::KeepsEverything => Recycle::Keep,
            _ if connection.answer_due => Recycle::Discard,
            _ => Recycle::Keep,
        }
    }

    async fn reset(&self, _: &mut Connection) -> Result<(), ScriptedError> {
        self.panics_in("reset");
        Err(ScriptedError)
    }

    async fn close(&self, mut connection: Connection) {
        self.panics_in("close");
        let socket = connection.socket.take();
        match self.fault {
            Fault::NeverCloses => {
                let _socket = socket;
                std::future::pending().await
            }
            Fault::KeepsWhatItCloses => self.kept.keep(socket),
            Fault::ClosesLater => {
                tokio::spawn(async move {
                    tokio::time::sleep(Duration::from_millis(5)).await;
                    drop(socket);
                });
            }
            Fault::LeaksAClosePartWay => {
                let mut leak = Leak(&self.kept, socket);
                yield_now().await;
                drop(leak.1.take());
            }
            _ => drop(socket),
        }
    }
}

impl Drop for Connection {
    fn drop(&mut self) {
        if self.fault == Fault::KeepsWhatIsDropped {
            self.kept.keep(self.socket.take());
        }
        if self.fault == Fault::BlocksOnceLookedAt && self.looks > 0 {
            loop {
                std::thread::park();
            }
        }
        let panics = self.fault == Fault::Panics("the connection's drop");
        assert!(!panics, "as told");
    }
}

/// Sockets that are open for ever.
#[derive(Clone, Default)]
struct Kept(Arc<Mutex<Vec<Socket>>>);

impl Kept {
    fn keep(&self, socket: Option<Socket>) {
        let mut sockets = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        sockets.extend(socket);
        // Nobody drops them with the manager either.
        std::mem::forget(Arc::clone(&self.0));
    }
}

/// Keeps what is in it when a future is dropped.
struct Leak<'a>(&'a Kept, Option<Socket>);

impl Drop for Leak<'_> {
    fn drop(&mut self) {
        self.0.keep(self.1.take());
    }
}

/// The one waker that a manager has for all its connections.
#[derive(Default)]
struct OneForAll(Mutex<Option<Waker>>);

impl Wake for OneForAll {
    fn wake(self: Arc<Self>) {
        if let Some(waker) = self.0.lock().unwrap().take() {
            waker.wake();
        }
    }
}
