//! The future of a checkout: one look at the idle set, and only if that fails a place in the queue.

use std::borrow::Borrow;
use std::fmt;
use std::future::Future;
use std::marker::PhantomData;
use std::panic::Location;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use pin_project_lite::pin_project;

use crate::error::CheckoutError;
use crate::event::{self, Event};
use crate::lease::{Exam, Lease};
use crate::manager::Manager;
use crate::pooled::{OwnedPooled, Pooled};
use crate::reason::CloseReason;
use crate::shared::{Granted, Shared, caught};
use crate::state::{CheckSet, Grant, Lent, Time, WaiterId};
use crate::tasks::unless;
use crate::watch::Live;

type Outcome<M, H> = Result<Lease<M, H>, CheckoutError<<M as Manager>::Error>>;

pin_project! {
    /// The future of [`Pool::checkout`](crate::Pool::checkout).
    ///
    /// # Cancellation
    ///
    /// May be dropped at any time: a place in the queue is left, a connection already granted goes to the next caller
    /// or to the idle set, and a dial under way goes on for others.
    ///
    /// # Examples
    ///
    /// ```
    /// # use pool_core::doc::Numbers;
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// let pool = pool_core::Pool::builder(Numbers::default()).max_size(1).build()?;
    /// let held = pool.checkout().await?;
    /// drop(pool.checkout());
    /// assert_eq!(pool.status().waiting, 0);
    /// # Ok(()) }
    /// ```
    #[must_use = "a checkout does nothing until it is awaited"]
    pub struct Checkout<'a, M: Manager> {
        #[pin]
        acquire: Acquire<M, &'a Arc<Shared<M>>>,
    }
}

pin_project! {
    /// The future of [`Pool::checkout_owned`](crate::Pool::checkout_owned); it does not keep the pool open.
    ///
    /// # Cancellation
    ///
    /// As that of [`Checkout`].
    ///
    /// # Examples
    ///
    /// ```
    /// # use pool_core::doc::Numbers;
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// let pool = pool_core::Pool::builder(Numbers::default()).build()?;
    /// let checkout = pool.checkout_owned();
    /// drop(pool);
    /// assert!(checkout.await.unwrap_err().to_string().starts_with("the pool is closed"));
    /// # Ok(()) }
    /// ```
    #[must_use = "a checkout does nothing until it is awaited"]
    pub struct CheckoutOwned<M: Manager> {
        #[pin]
        acquire: Acquire<M, Arc<Shared<M>>>,
    }
}

pin_project! {
    /// The engine of both futures. `H` is how it holds the pool.
    struct Acquire<M: Manager, H: Borrow<Arc<Shared<M>>>> {
        waiter: Waiter<M, H>,
        limit: Option<Duration>,
        place: &'static Location<'static>,
        // A connection that is being checked; boxed, as few pools have checks that wait.
        checking: Option<Examining<M>>,
    }
}

type Examining<M> = Pin<Box<dyn Future<Output = Examined<M>> + Send + 'static>>;
type Judged<M, H> = Result<Lease<M, H>, Lease<M, H>>;

/// How the checks of a connection ended.
enum Examined<M: Manager> {
    /// With the connection, saying whether it is good.
    Judged(Judged<M, Arc<Shared<M>>>),
    TimedOut,
    /// The pool was closed.
    Closed,
}

/// What became of something that was granted.
enum Accepted<M: Manager, H: Borrow<Arc<Shared<M>>>> {
    /// The checkout is over.
    Over(Outcome<M, H>),
    /// The connection is dead, or was refused by a check.
    Dead(Lease<M, H>),
    /// It is being checked.
    Checking,
}

/// A place in the queue, if one was taken. Dropped, it leaves the queue and passes on what it was granted.
struct Waiter<M: Manager, H: Borrow<Arc<Shared<M>>>> {
    /// Gone when the checkout is over.
    home: Option<H>,
    /// Kept after the queue was left: whoever was granted a dead connection gets it back.
    place: Option<WaiterId>,
    /// When the checkout left the hot path; at the start of time if it has not.
    begun: Time,
    queued: bool,
    /// It was queued at some time.
    waited: bool,
    manager: PhantomData<fn() -> M>,
}

impl<'a, M: Manager> Checkout<'a, M> {
    #[inline]
    pub(crate) fn new(shared: &'a Arc<Shared<M>>, place: &'static Location<'static>) -> Self {
        Self {
            acquire: Acquire::new(shared, shared.config.checkout_timeout, place),
        }
    }

    /// Sets the limit of this checkout, counted from the first poll, instead of
    /// [`Config::checkout_timeout`](crate::Config::checkout_timeout). With zero it takes what is idle or times out.
    ///
    /// # Examples
    ///
    /// ```
    /// # use pool_core::doc::Numbers;
    /// # use std::time::Duration;
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let pool = pool_core::Pool::builder(Numbers::default()).max_size(1).build()?;
    /// let held = pool.checkout().await?;
    /// assert!(pool.checkout().timeout(Duration::from_millis(1)).await.is_err());
    /// # Ok(()) }
    /// ```
    pub fn timeout(mut self, limit: Duration) -> Self {
        self.acquire.limit = Some(limit);
        self
    }

    /// Waits without limit.
    ///
    /// # Examples
    ///
    /// ```
    /// # use pool_core::doc::Numbers;
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let pool = pool_core::Pool::builder(Numbers::default()).build()?;
    /// assert_eq!(*pool.checkout().without_timeout().await?, 1);
    /// # Ok(()) }
    /// ```
    pub fn without_timeout(mut self) -> Self {
        self.acquire.limit = None;
        self
    }
}

impl<M: Manager> CheckoutOwned<M> {
    #[inline]
    pub(crate) fn new(shared: Arc<Shared<M>>, place: &'static Location<'static>) -> Self {
        let limit = shared.config.checkout_timeout;
        Self {
            acquire: Acquire::new(shared, limit, place),
        }
    }

    /// As [`Checkout::timeout`].
    ///
    /// # Examples
    ///
    /// ```
    /// # use pool_core::doc::Numbers;
    /// # use std::time::Duration;
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let pool = pool_core::Pool::builder(Numbers::default()).build()?;
    /// assert!(pool.checkout_owned().timeout(Duration::ZERO).await.is_err());
    /// # Ok(()) }
    /// ```
    pub fn timeout(mut self, limit: Duration) -> Self {
        self.acquire.limit = Some(limit);
        self
    }

    /// As [`Checkout::without_timeout`].
    ///
    /// # Examples
    ///
    /// ```
    /// # use pool_core::doc::Numbers;
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let pool = pool_core::Pool::builder(Numbers::default()).build()?;
    /// assert_eq!(*pool.checkout_owned().without_timeout().await?, 1);
    /// # Ok(()) }
    /// ```
    pub fn without_timeout(mut self) -> Self {
        self.acquire.limit = None;
        self
    }
}

impl<'a, M: Manager> Future for Checkout<'a, M> {
    type Output = Result<Pooled<'a, M>, CheckoutError<M::Error>>;

    #[inline]
    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        self.project().acquire.poll(cx).map_ok(Pooled::new)
    }
}

impl<M: Manager> Future for CheckoutOwned<M> {
    type Output = Result<OwnedPooled<M>, CheckoutError<M::Error>>;

    #[inline]
    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        self.project().acquire.poll(cx).map_ok(OwnedPooled::new)
    }
}

impl<M: Manager, H: Borrow<Arc<Shared<M>>> + Clone> Acquire<M, H> {
    #[inline]
    fn new(home: H, limit: Option<Duration>, place: &'static Location<'static>) -> Self {
        let waiter = Waiter {
            home: Some(home),
            place: None,
            begun: Time::START,
            queued: false,
            waited: false,
            manager: PhantomData,
        };
        Self {
            waiter,
            limit,
            place,
            checking: None,
        }
    }

    #[inline]
    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Outcome<M, H>> {
        let this = self.as_mut().project();
        if this.waiter.begun == Time::START {
            let shared = this.waiter.shared();
            if shared.plain && !shared.is_awaited() {
                while let Some(lent) = this.waiter.shared().check_out() {
                    if let Ok(lease) = this.waiter.accept(lent) {
                        return Poll::Ready(Ok(lease));
                    }
                }
            }
            this.waiter.begun = this.waiter.shared().clock.begin(*this.limit);
        }
        self.poll_slow(cx)
    }

    /// Queues, unless something can be had at once; a connection that is dead on arrival begins it anew, in
    /// a loop, as there may be thousands of them.
    #[inline(never)]
    fn poll_slow(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Outcome<M, H>> {
        // Over several keys, closed when its caller is back in his place: the room that makes is his, not another key's.
        let mut dead: Option<Lease<M, H>> = None;
        loop {
            let this = self.as_mut().project();
            if let Some(checking) = this.checking {
                // The checks' timers are the pool's; the caller's executor may not be tokio's.
                let runtime = this.waiter.shared().runtime.clone();
                let _entered = runtime.enter();
                let examined = match caught(|| checking.as_mut().poll(cx)) {
                    Some(Poll::Ready(examined)) => examined,
                    Some(Poll::Pending) => break,
                    None => return Poll::Ready(Err(self.end_with_runtime())),
                };
                give_up(this.checking);
                let home = this.waiter.home().clone();
                match examined {
                    Examined::Judged(Ok(lease)) => {
                        return Poll::Ready(Ok(self.deliver(lease.rehome(home))));
                    }
                    Examined::Judged(Err(lease)) => dead = lease.rehome(home).of_many(),
                    Examined::TimedOut => return Poll::Ready(Err(self.time_out(None))),
                    // Which he is told where he asks for another.
                    Examined::Closed => {}
                }
                continue;
            }
            let grant = if this.waiter.queued {
                match this.waiter.collect(cx) {
                    Some(grant) => grant,
                    None => break,
                }
            } else {
                // Cloned before the lock is taken: a waker is the user's.
                let (former, waker) = (this.waiter.place, cx.waker().clone());
                let (waited, deadline) = (this.waiter.waited, this.waiter.deadline(*this.limit));
                let shared = this.waiter.shared();
                match shared.request(former, waited, deadline, waker) {
                    Err(grant) => grant,
                    Ok(place) => {
                        if !waited {
                            shared.tell(|| Event::Waiting {
                                waiting: shared.status().waiting,
                            });
                        }
                        this.waiter.place = Some(place);
                        this.waiter.queued = true;
                        this.waiter.waited = true;
                        if *this.limit == Some(Duration::ZERO) {
                            return Poll::Ready(Err(self.time_out(None)));
                        }
                        // Whatever is granted from here on wakes the waker that the place now has.
                        break;
                    }
                }
            };
            match self.as_mut().accept(grant) {
                Accepted::Over(outcome) => return Poll::Ready(outcome),
                Accepted::Dead(lease) => dead = lease.of_many(),
                Accepted::Checking => {}
            }
        }
        drop(dead);
        Poll::Pending
    }

    /// A timer panics when its runtime ends, which a caller on another executor may be in the middle of. The pool is closed
    /// by the tasks that end with it.
    #[cold]
    fn end_with_runtime(self: Pin<&mut Self>) -> CheckoutError<M::Error> {
        let this = self.project();
        give_up(this.checking);
        this.waiter.leave();
        this.waiter.finish(event::Outcome::Closed);
        CheckoutError::Closed
    }

    /// The end of the checkout, unless the connection is dead, then back to the place he had, or has to be checked.
    fn accept(mut self: Pin<&mut Self>, grant: Granted<M>) -> Accepted<M, H> {
        let this = self.as_mut().project();
        let shared = this.waiter.shared();
        let (error, outcome) = match grant {
            Grant::Connection(lent) if shared.plain => {
                return match this.waiter.accept(lent) {
                    Ok(lease) => Accepted::Over(Ok(lease)),
                    Err(lease) => Accepted::Dead(lease),
                };
            }
            Grant::Connection(lent) => return self.examine(lent),
            Grant::Failed(error, at) => (
                CheckoutError::Connect(shared.failure(error, at)),
                event::Outcome::Failed,
            ),
            Grant::Expired(waiting) => return Accepted::Over(Err(self.time_out(Some(waiting)))),
            Grant::Refused => {
                let status = shared.status();
                shared.tell(|| Event::Refused { status });
                (
                    CheckoutError::TooManyWaiters(status),
                    event::Outcome::Failed,
                )
            }
            Grant::Closed => (CheckoutError::Closed, event::Outcome::Closed),
        };
        this.waiter.finish(outcome);
        Accepted::Over(Err(error))
    }

    /// The connection, if it is alive and no check wants to see it, or has to wait for that.
    #[cold]
    fn examine(mut self: Pin<&mut Self>, lent: Lent<Live<M::Connection>>) -> Accepted<M, H> {
        let this = self.as_mut().project();
        let home = this.waiter.home().clone();
        let mut lease = Lease::unjudged(home, lent.slot, lent.value, CloseReason::Dropped);
        if !lease.vet() {
            return Accepted::Dead(lease);
        }
        let mut exam = lease.examine();
        if let (Exam::Waits(due), Some(Duration::ZERO)) = (&exam, *this.limit) {
            // Nobody waits here, for checks as little as for connections.
            let info = lease.info();
            exam = lease.judge_now(*due, &info);
        }
        match exam {
            Exam::Passed => Accepted::Over(Ok(self.deliver(lease))),
            Exam::Refused => Accepted::Dead(lease),
            Exam::Waits(due) => {
                let shared = Arc::clone(lease.shared());
                // Should it not pass, he is where he would be had he queued at once.
                let place = &mut this.waiter.place;
                place.get_or_insert_with(|| shared.lock().reserve_place());
                let deadline = this.waiter.deadline(*this.limit);
                *this.checking = Some(Box::pin(examined(lease.rehome(shared), due, deadline)));
                Accepted::Checking
            }
        }
    }

    /// Tells whom it concerns.
    fn deliver(self: Pin<&mut Self>, mut lease: Lease<M, H>) -> Lease<M, H> {
        let this = self.project();
        lease.announce(this.waiter.begun, this.place);
        this.waiter.finish(event::Outcome::Served);
        lease
    }

    /// Ends it; of one who was expelled from the queue it is known how many waited then.
    fn time_out(self: Pin<&mut Self>, waiting: Option<usize>) -> CheckoutError<M::Error> {
        let this = self.project();
        // One that is being checked is given up first, as it would be counted otherwise.
        give_up(this.checking);
        let limit = this.limit.expect("only a checkout with a limit times out");
        let timeout = this.waiter.shared().timed_out(limit, waiting);
        this.waiter.leave();
        this.waiter.finish(event::Outcome::TimedOut);
        CheckoutError::Timeout(timeout)
    }
}

/// What is not over yet costs its connection, and may panic in its destructor.
fn give_up<M: Manager>(checking: &mut Option<Examining<M>>) {
    let checking = checking.take();
    let _ = caught(|| drop(checking));
}

/// Whoever waits when the pool is closed is told at once.
async fn examined<M: Manager>(
    lease: Lease<M, Arc<Shared<M>>>,
    due: CheckSet,
    deadline: Time,
) -> Examined<M> {
    let shared = Arc::clone(lease.shared());
    let timed_out = shared.clock.until(deadline);
    match unless(timed_out, unless(shared.stopped(), lease.examined(due))).await {
        Some(Some(judged)) => Examined::Judged(judged),
        Some(None) => Examined::Closed,
        None => Examined::TimedOut,
    }
}

impl<M: Manager, H: Borrow<Arc<Shared<M>>>> Waiter<M, H> {
    #[inline]
    fn home(&self) -> &H {
        self.home
            .as_ref()
            .expect("a checkout is not polled after it is over")
    }

    #[inline]
    fn shared(&self) -> &Arc<Shared<M>> {
        self.home().borrow()
    }

    fn deadline(&self, limit: Option<Duration>) -> Time {
        self.shared().clock.end(self.begun, limit)
    }

    /// What came, if anything has; else `cx` will be woken.
    fn collect(&mut self, cx: &mut Context<'_>) -> Option<Granted<M>> {
        let place = self.place.expect("only one who queues collects");
        let shared = self.shared();
        let mut collected = shared.lock().collect(place, cx.waker());
        if let Err(false) = collected {
            let waker = cx.waker().clone();
            let mut state = shared.lock();
            collected = state.collect(place, cx.waker());
            let unused = match collected {
                Err(_) => state.renew(place, waker),
                Ok(_) => Some(waker),
            };
            drop(state);
            // A waker is the user's: it is dropped outside the lock, and may panic, but then nothing granted may be lost.
            let _ = caught(|| drop(unused));
        }
        self.queued = collected.is_err();
        collected.ok()
    }

    #[cold]
    fn leave(&mut self) {
        if let (true, Some(place)) = (std::mem::take(&mut self.queued), self.place) {
            self.shared()
                .update(|state, now, effects| state.leave(place, now, effects));
        }
    }

    /// Ends the wait with this connection, unless it is dead.
    #[inline]
    fn accept(&mut self, lent: Lent<Live<M::Connection>>) -> Judged<M, H>
    where
        H: Clone,
    {
        let home = self.home.take().expect("a checkout is over once");
        let mut lease = Lease::unjudged(home, lent.slot, lent.value, CloseReason::Dropped);
        if lease.vet() {
            return Ok(lease);
        }
        self.home = Some(lease.home().clone());
        Err(lease)
    }

    /// Ends the wait.
    fn finish(&mut self, outcome: event::Outcome) {
        self.tell_waited(outcome);
        self.home = None;
    }

    fn tell_waited(&self, outcome: event::Outcome) {
        if self.waited {
            let shared = self.shared();
            shared.tell(|| Event::Waited {
                wait: shared.clock.exact().since(self.begun),
                outcome,
            });
        }
    }

    /// The caller went away.
    #[cold]
    fn cancel(&mut self) {
        if let (true, Some(place)) = (std::mem::take(&mut self.queued), self.place) {
            self.shared()
                .update(|state, now, effects| state.cancel(place, now, effects));
        } else if self.waited {
            self.shared().lock().cancelled();
        }
        self.tell_waited(event::Outcome::Cancelled);
    }
}

impl<M: Manager, H: Borrow<Arc<Shared<M>>>> Drop for Waiter<M, H> {
    #[inline]
    fn drop(&mut self) {
        if self.begun != Time::START && self.home.is_some() {
            self.cancel();
        }
    }
}

impl<M: Manager> fmt::Debug for Checkout<'_, M> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Checkout")
            .field("queued", &self.acquire.waiter.queued)
            .finish_non_exhaustive()
    }
}

impl<M: Manager> fmt::Debug for CheckoutOwned<M> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CheckoutOwned")
            .field("queued", &self.acquire.waiter.queued)
            .finish_non_exhaustive()
    }
}
