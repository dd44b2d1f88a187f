//! The future of a checkout: one look at the idle set, and only if that fails a place in the queue and a timer.

use std::borrow::Borrow;
use std::fmt;
use std::future::Future;
use std::marker::PhantomData;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use pin_project_lite::pin_project;

use crate::clock::Sleep;
use crate::error::{CheckoutError, CheckoutTimeout, ConnectError};
use crate::lease::Lease;
use crate::manager::Manager;
use crate::pooled::{OwnedPooled, Pooled};
use crate::shared::{Shared, caught};
use crate::state::{Grant, Lent, Time, WaiterId};
use crate::watch::Live;

type Granted<M> = Grant<Live<<M as Manager>::Connection>, Arc<ConnectError<<M as Manager>::Error>>>;
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
        deadline: Time,
        // Made when it must wait, not before.
        #[pin]
        sleep: Option<Sleep>,
    }
}

/// A place in the queue, if one was taken. Dropped, it leaves the queue and passes on what it was granted.
struct Waiter<M: Manager, H: Borrow<Arc<Shared<M>>>> {
    /// Gone when the checkout is over.
    home: Option<H>,
    /// Kept after the queue was left: whoever was granted a dead connection gets it back.
    place: Option<WaiterId>,
    queued: bool,
    manager: PhantomData<fn() -> M>,
}

impl<'a, M: Manager> Checkout<'a, M> {
    pub(crate) fn new(shared: &'a Arc<Shared<M>>) -> Self {
        Self {
            acquire: Acquire::new(shared, shared.config.checkout_timeout),
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
    pub(crate) fn new(shared: Arc<Shared<M>>) -> Self {
        let limit = shared.config.checkout_timeout;
        Self {
            acquire: Acquire::new(shared, limit),
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
    fn new(home: H, limit: Option<Duration>) -> Self {
        let waiter = Waiter {
            home: Some(home),
            place: None,
            queued: false,
            manager: PhantomData,
        };
        Self {
            waiter,
            limit,
            deadline: Time::NEVER,
            sleep: None,
        }
    }

    #[inline]
    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Outcome<M, H>> {
        if self.waiter.queued {
            return self.poll_slow(cx);
        }
        let this = self.as_mut().project();
        while let Some(lent) = this.waiter.shared().check_out() {
            if let Some(lease) = this.waiter.accept(lent) {
                return Poll::Ready(Ok(lease));
            }
        }
        let shared = this.waiter.shared();
        if let Some(limit) = *this.limit {
            *this.deadline = shared.clock.exact().after(limit);
        }
        self.poll_slow(cx)
    }

    /// Queues, unless something can be had at once, and sleeps; a connection that is dead on arrival begins it anew, in
    /// a loop, as there may be thousands of them.
    fn poll_slow(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Outcome<M, H>> {
        loop {
            let this = self.as_mut().project();
            let grant = if this.waiter.queued {
                match this.waiter.collect(cx) {
                    Some(grant) => grant,
                    None => break,
                }
            } else {
                // Cloned before the lock is taken: a waker is the user's.
                let (former, deadline, waker) =
                    (this.waiter.place, *this.deadline, cx.waker().clone());
                let answer = this.waiter.shared().update(|state, now, effects| {
                    state.request(former, deadline, waker, now, effects)
                });
                match answer {
                    Err(grant) => grant,
                    Ok(place) => {
                        this.waiter.place = Some(place);
                        this.waiter.queued = true;
                        if *this.limit == Some(Duration::ZERO) {
                            return Poll::Ready(Err(self.time_out()));
                        }
                        // Whatever is granted from here on wakes the waker that the place now has.
                        break;
                    }
                }
            };
            if let Some(outcome) = self.as_mut().accept(grant) {
                return Poll::Ready(outcome);
            }
        }
        let this = self.as_mut().project();
        let mut sleep = this.sleep;
        if sleep.is_none() {
            let shared = this.waiter.shared();
            // The caller's executor may not be tokio's.
            let _entered = shared.runtime.enter();
            sleep.set(shared.clock.sleep_until(*this.deadline));
        }
        let Some(sleep) = sleep.as_pin_mut() else {
            return Poll::Pending;
        };
        match caught(|| sleep.poll(cx)) {
            Some(Poll::Pending) => Poll::Pending,
            Some(Poll::Ready(())) => Poll::Ready(Err(self.time_out())),
            // A timer panics when its runtime ends, which a caller on another executor may be in the middle of. The pool
            // is closed by the tasks that end with it.
            None => {
                this.waiter.leave();
                drop(this.waiter.finish());
                Poll::Ready(Err(CheckoutError::Closed))
            }
        }
    }

    /// The end of the checkout, unless the connection is dead: then back to the place he had.
    fn accept(mut self: Pin<&mut Self>, grant: Granted<M>) -> Option<Outcome<M, H>> {
        let this = self.as_mut().project();
        let shared = this.waiter.shared();
        let error = match grant {
            Grant::Connection(lent) => return this.waiter.accept(lent).map(Ok),
            Grant::Failed(error, at) => CheckoutError::Connect(shared.failure(error, at)),
            Grant::Expired => return Some(Err(self.time_out())),
            Grant::Closed => CheckoutError::Closed,
        };
        drop(this.waiter.finish());
        Some(Err(error))
    }

    fn time_out(self: Pin<&mut Self>) -> CheckoutError<M::Error> {
        let this = self.project();
        let shared = this.waiter.shared();
        let (mut counts, last_error) = {
            let state = shared.lock();
            (state.counts(), state.last_error())
        };
        // Whoever expired in the queue has left it already, but that is where he was.
        counts.waiting += usize::from(!this.waiter.queued);
        let timeout = CheckoutTimeout {
            waited: this.limit.expect("only a checkout with a limit times out"),
            status: shared.status_of(counts),
            last_connect_error: last_error.map(|(error, at)| shared.failure(error, at)),
        };
        this.waiter.leave();
        drop(this.waiter.finish());
        CheckoutError::Timeout(timeout)
    }
}

impl<M: Manager, H: Borrow<Arc<Shared<M>>>> Waiter<M, H> {
    fn shared(&self) -> &Arc<Shared<M>> {
        self.home
            .as_ref()
            .expect("a checkout is not polled after it is over")
            .borrow()
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
            let former = if collected.is_err() {
                state.renew(place, waker)
            } else {
                None
            };
            // Outside the lock: a waker is the user's.
            drop(state);
            drop(former);
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
    fn accept(&mut self, lent: Lent<Live<M::Connection>>) -> Option<Lease<M, H>>
    where
        H: Clone,
    {
        let mut lease = Lease::unjudged(self.finish(), lent.slot, lent.value);
        if lease.vet() {
            return Some(lease);
        }
        self.home = Some(lease.home().clone());
        None
    }

    /// Ends the wait and answers with the hold on the pool.
    #[inline]
    fn finish(&mut self) -> H {
        self.home.take().expect("a checkout is over once")
    }
}

impl<M: Manager, H: Borrow<Arc<Shared<M>>>> Drop for Waiter<M, H> {
    #[inline]
    fn drop(&mut self) {
        if self.queued {
            self.leave();
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
