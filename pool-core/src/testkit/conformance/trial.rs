//! One rule being tried: the manager, what the server sees since, and waiting without guessing how fast the machine is.

use std::future::{Future, poll_fn};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll, Wake, Waker};
use std::time::Duration;

use super::observed::{Log, Observed, message};
use super::report::{Verdict, broken};
use super::subject::{Action, Subject};
use crate::clock;
use crate::manager::{Dropped, Manager};

/// What a check ends with: an error is a verdict other than kept.
pub(super) type Outcome = Result<(), Verdict>;

/// Between two looks at whether something has happened.
const TICK: Duration = Duration::from_millis(1);

/// How long a check looks whether something happens that must not.
pub(super) const A_WHILE: u32 = 50;

pub(super) struct Trial<M: Manager> {
    pub(super) subject: Arc<Subject<M>>,
    pub(super) manager: Observed<M>,
    pub(super) log: Arc<Log>,
    /// What the server saw before: connections that earlier checks left behind.
    base: usize,
}

impl<M: Manager> Trial<M> {
    pub(super) fn new(subject: Arc<Subject<M>>, log: Arc<Log>, base: usize) -> Self {
        let manager = observed(&subject, &log);
        Self {
            subject,
            manager,
            log,
            base,
        }
    }

    /// One more manager, for a pool.
    pub(super) fn another_manager(&self) -> Observed<M> {
        observed(&self.subject, &self.log)
    }

    /// Connections of this trial that the server sees.
    pub(super) fn open(&self) -> usize {
        self.count()()
    }

    /// How to ask for them elsewhere.
    pub(super) fn count(&self) -> impl Fn() -> usize + Send + Sync + use<M> {
        let (subject, log, base) = (Arc::clone(&self.subject), Arc::clone(&self.log), self.base);
        move || {
            let open = log.during("Server::open", || subject.server.open());
            open.saturating_sub(base)
        }
    }

    pub(super) fn hang_up(&self) {
        self.log
            .during("Server::hang_up", || self.subject.server.hang_up());
    }

    /// Whether the server has sent what nobody asked for.
    pub(super) fn speak(&self) -> bool {
        self.log
            .during("Server::speak", || self.subject.server.speak())
    }

    /// Dials the only connection of the moment, and waits until the server has accepted it.
    pub(super) async fn connect(&self) -> Result<M::Connection, Verdict> {
        // The server may not have heard yet that the former one has gone; if it never goes, another rule tells.
        self.until(|| self.open() == 0).await;
        let expected = self.open() + 1;
        let connection = self.dial().await?;
        if self.until(|| self.open() == expected).await {
            return Ok(connection);
        }
        let open = self.open();
        let seen =
            format!("brought a connection, and the server sees {open} where {expected} should be");
        Err(broken("connect", seen))
    }

    /// Dials.
    pub(super) async fn dial(&self) -> Result<M::Connection, Verdict> {
        match clock::timeout(self.subject.limit, self.manager.connect()).await {
            Ok(Ok(connection)) => Ok(connection),
            Ok(Err(error)) => Err(broken("connect", format!("failed: {error}"))),
            Err(_) => Err(broken("connect", self.too_long("was not over"))),
        }
    }

    /// Uses the connection, if the subject knows how.
    pub(super) async fn use_once(&self, connection: &mut M::Connection) -> Result<(), String> {
        match &self.subject.use_once {
            Some(action) => self.act(USE_ONCE, &**action, connection).await,
            None => Ok(()),
        }
    }

    /// Runs an action of the user's, for as long as the check waits.
    pub(super) async fn act(
        &self,
        name: &'static str,
        action: &dyn Action<M::Connection>,
        connection: &mut M::Connection,
    ) -> Result<(), String> {
        clock::timeout(self.subject.limit, self.acting(name, action, connection))
            .await
            .unwrap_or_else(|_| Err(self.too_long("was not over")))
    }

    /// Whoever asserts in an action says that the connection does not work, which is no fault of the action.
    pub(super) async fn acting(
        &self,
        name: &'static str,
        action: &dyn Action<M::Connection>,
        connection: &mut M::Connection,
    ) -> Result<(), String> {
        let mut running = action.run(connection);
        let poll = |cx: &mut Context<'_>| {
            catch_unwind(AssertUnwindSafe(|| running.as_mut().poll(cx)))
                .unwrap_or_else(|panic| Poll::Ready(Err(message(&*panic))))
        };
        self.log.throughout(name, poll_fn(poll)).await
    }

    pub(super) fn is_dropped(&self, connection: &mut M::Connection) -> bool {
        self.manager.is_dropped(connection)
    }

    pub(super) fn poll_dropped(
        &self,
        connection: &mut M::Connection,
        waker: &Waker,
    ) -> Poll<Dropped> {
        self.manager
            .poll_dropped(connection, &mut Context::from_waker(waker))
    }

    /// Drops a connection, as a panic or the end of a runtime does.
    pub(super) fn drop(&self, connection: M::Connection) {
        self.log.during(DROP, || drop(connection));
    }

    /// Waits until it is true, and lets the runtime work meanwhile. False if that does not happen.
    pub(super) async fn until(&self, mut is_true: impl FnMut() -> bool) -> bool {
        self.until_asked(async || is_true()).await
    }

    /// As [`until`](Self::until), for what must be asked in a special way.
    pub(super) async fn until_asked(&self, mut is_true: impl AsyncFnMut() -> bool) -> bool {
        for _ in 0..self.ticks() {
            if is_true().await {
                return true;
            }
            tick().await;
        }
        is_true().await
    }

    /// As [`until`](Self::until), but stops this thread: no task of the runtime and no reactor can help.
    pub(super) fn frozen_until(&self, is_true: impl FnMut() -> bool) -> bool {
        frozen_until(self.subject.limit, is_true)
    }

    /// Says that something was not so for as long as the check waits.
    pub(super) fn too_long(&self, what: &str) -> String {
        format!("{what} after {:?}", self.subject.limit)
    }

    /// Ticks, and not time: on a machine that has no time for us, the others have none either.
    fn ticks(&self) -> u128 {
        self.subject.limit.as_millis()
    }
}

/// How what is no method of the manager is called in reports.
pub(super) const DROP: &str = "the connection's drop";
pub(super) const USE_ONCE: &str = "use_once";
pub(super) const ABANDON: &str = "abandon";

fn observed<M: Manager>(subject: &Subject<M>, log: &Arc<Log>) -> Observed<M> {
    let manager = log.during("the closure that makes the manager", &subject.manager);
    Observed::new(manager, Arc::clone(log))
}

pub(super) async fn tick() {
    clock::sleep(TICK).await;
}

pub(super) fn frozen_until(limit: Duration, mut is_true: impl FnMut() -> bool) -> bool {
    // Most of what is waited for takes microseconds.
    for _ in 0..100 {
        if is_true() {
            return true;
        }
        std::thread::yield_now();
    }
    for _ in 0..limit.as_millis() {
        if is_true() {
            return true;
        }
        std::thread::sleep(TICK);
    }
    is_true()
}

/// When somebody leaves who is to wait.
#[derive(Clone, Copy, Debug)]
pub(super) enum Leaves {
    /// What he waits for is still on its way.
    AtOnce,
    /// It has just come.
    WhenWoken,
}

impl Leaves {
    pub(super) const ALL: [Self; 2] = [Self::AtOnce, Self::WhenWoken];

    /// Polls a future so many times, whenever it is woken, and then drops it wherever it is. `None` if it was not over.
    pub(super) async fn after<F: Future>(self, polls: usize, future: F) -> Option<F::Output> {
        let mut future = Box::pin(future);
        let mut polled = 0;
        poll_fn(|cx| {
            if polled == polls {
                return Poll::Ready(None);
            }
            polled += 1;
            match (future.as_mut().poll(cx), self) {
                (Poll::Ready(outcome), _) => Poll::Ready(Some(outcome)),
                (Poll::Pending, Self::AtOnce) if polled == polls => Poll::Ready(None),
                (Poll::Pending, _) => Poll::Pending,
            }
        })
        .await
    }
}

/// Runs `look` in a task that may do no more I/O until it yields.
pub(super) async fn with_budget_spent<R>(mut look: impl FnMut() -> R) -> R {
    poll_fn(|cx| {
        while tokio::task::coop::has_budget_remaining() {
            // One unit at a time, as a task does that reads a lot.
            let mut unit = std::pin::pin!(tokio::task::coop::consume_budget());
            let _ = unit.as_mut().poll(cx);
        }
        Poll::Ready(look())
    })
    .await
}

/// Runs `look` as if the task had done nothing yet, without letting anybody else run.
pub(super) fn without_budget<R>(look: impl FnOnce() -> R) -> R {
    let mut answered = std::pin::pin!(tokio::task::coop::unconstrained(async { look() }));
    match Pin::new(&mut answered).poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(answer) => answer,
        Poll::Pending => unreachable!("there is nothing to wait for"),
    }
}

/// Counts its wakes.
#[derive(Debug, Default)]
pub(super) struct Wakes(AtomicUsize);

impl Wakes {
    pub(super) fn new() -> (Arc<Self>, Waker) {
        let wakes = Arc::<Self>::default();
        (Arc::clone(&wakes), Waker::from(wakes))
    }

    pub(super) fn count(&self) -> usize {
        self.0.load(Ordering::SeqCst)
    }
}

impl Wake for Wakes {
    fn wake(self: Arc<Self>) {
        self.0.fetch_add(1, Ordering::SeqCst);
    }
}
