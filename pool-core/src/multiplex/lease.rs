//! The future of a lease: a connection with room, else a place in the queue and a timer.

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use pin_project_lite::pin_project;

use crate::clock::Sleep;
use crate::error::CheckoutError;
use crate::manager::Manager;
use crate::multiplex::Share;
use crate::multiplex::layer::{Granted, Layer};
use crate::multiplex::leased::Leased;
use crate::shared::caught;
use crate::state::{Grant, Time, WaiterId};

type Outcome<M> = Result<Leased<M>, CheckoutError<<M as Manager>::Error>>;

pin_project! {
    /// The future of [`SharedPool::lease`](crate::SharedPool::lease); it does not keep the pool open.
    ///
    /// # Cancellation
    ///
    /// May be dropped at any time: a place in the queue is left, and a lease already granted goes to the next caller. A
    /// connection being opened is opened for whoever waits, whoever asked first; if nobody does, what a dial brings
    /// lies idle in the pool.
    ///
    /// # Examples
    ///
    /// ```
    /// # use pool_core::doc::Multiplexed;
    /// # use pool_core::{Pool, SharedPool};
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let pool = SharedPool::new(Pool::builder(Multiplexed::carrying(2)).build()?);
    /// let lease = pool.lease();
    /// drop(pool);
    /// assert!(lease.await.unwrap_err().to_string().starts_with("the pool is closed"));
    /// # Ok(()) }
    /// ```
    #[must_use = "a lease does nothing until it is awaited"]
    pub struct Lease<M: Share> {
        waiter: Waiter<M>,
        limit: Option<Duration>,
        deadline: Time,
        // Made when it must wait, not before.
        #[pin]
        sleep: Option<Sleep>,
    }
}

/// A place in the queue, if one was taken. Dropped, it leaves the queue and passes on what it was granted.
struct Waiter<M: Share> {
    /// Gone when the wait is over.
    layer: Option<Arc<Layer<M>>>,
    place: Option<WaiterId>,
}

impl<M: Share> Lease<M> {
    pub(crate) fn new(layer: Arc<Layer<M>>) -> Self {
        Self {
            limit: layer.pool.config.checkout_timeout,
            waiter: Waiter {
                layer: Some(layer),
                place: None,
            },
            deadline: Time::NEVER,
            sleep: None,
        }
    }

    /// Sets the limit of this wait, counted from the first poll, instead of
    /// [`Config::checkout_timeout`](crate::Config::checkout_timeout). With zero it takes what there is or times out.
    ///
    /// # Examples
    ///
    /// ```
    /// # use pool_core::doc::Multiplexed;
    /// # use pool_core::{Pool, SharedPool};
    /// # use std::time::Duration;
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// let pool = SharedPool::new(Pool::builder(Multiplexed::carrying(1)).max_size(1).build()?);
    /// let held = pool.lease().await?;
    /// let error = pool.lease().timeout(Duration::from_millis(5)).await.unwrap_err();
    /// assert_eq!(
    ///     error.to_string(),
    ///     "timed out after 5 ms waiting for a connection (1 of 1 in use, 0 idle, 0 connecting, 1 waiting)",
    /// );
    /// # Ok(()) }
    /// ```
    pub fn timeout(mut self, limit: Duration) -> Self {
        self.limit = Some(limit);
        self
    }

    /// Waits without limit.
    ///
    /// # Examples
    ///
    /// ```
    /// # use pool_core::doc::Multiplexed;
    /// # use pool_core::{Pool, SharedPool};
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let pool = SharedPool::new(Pool::builder(Multiplexed::carrying(2)).build()?);
    /// assert_eq!(*pool.lease().without_timeout().await?, 1);
    /// # Ok(()) }
    /// ```
    pub fn without_timeout(mut self) -> Self {
        self.limit = None;
        self
    }
}

impl<M: Share> Future for Lease<M> {
    type Output = Outcome<M>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.as_mut().project();
        let layer = this.waiter.layer();
        if this.waiter.place.is_none() {
            let taken = layer.lock().take();
            if let Some(lent) = taken {
                return Poll::Ready(Ok(Leased::new(this.waiter.finish(), lent)));
            }
            // Who has no time at all takes what there is, and is not in the queue when a moment has passed.
            if let Some(limit) = this.limit.filter(|limit| !limit.is_zero()) {
                *this.deadline = layer.pool.clock.exact().after(limit);
            }
            let deadline = *this.deadline;
            match layer.request(deadline) {
                Ok(place) => this.waiter.place = Some(place),
                Err(grant) => return Poll::Ready(self.accept(grant)),
            }
        }
        // Also at the first poll: a connection that was idle has arrived by now.
        if let Some(grant) = this.waiter.collect(cx) {
            return Poll::Ready(self.accept(grant));
        }
        if *this.limit == Some(Duration::ZERO) {
            return Poll::Ready(Err(self.time_out()));
        }
        let mut sleep = this.sleep;
        if sleep.is_none() {
            let pool = &this.waiter.layer().pool;
            // The caller's executor may not be tokio's.
            let _entered = pool.runtime.enter();
            sleep.set(pool.clock.sleep_until(*this.deadline));
        }
        let Some(sleep) = sleep.as_pin_mut() else {
            return Poll::Pending;
        };
        match caught(|| sleep.poll(cx)) {
            Some(Poll::Pending) => Poll::Pending,
            Some(Poll::Ready(())) => Poll::Ready(Err(self.time_out())),
            // A timer panics when its runtime ends, which a caller on another executor may be in the middle of.
            None => {
                drop(this.waiter.finish());
                Poll::Ready(Err(CheckoutError::Closed))
            }
        }
    }
}

impl<M: Share> Lease<M> {
    fn accept(self: Pin<&mut Self>, grant: Granted<M>) -> Outcome<M> {
        let error = match grant {
            Grant::Connection(lent) => {
                return Ok(Leased::new(self.project().waiter.finish(), lent));
            }
            Grant::Failed(error, _) => error,
            Grant::Expired(_) => return Err(self.time_out()),
            Grant::Refused => {
                let layer = self.project().waiter.finish();
                return Err(CheckoutError::TooManyWaiters(layer.refused()));
            }
            Grant::Closed => CheckoutError::Closed,
        };
        drop(self.project().waiter.finish());
        Err(error)
    }

    fn time_out(self: Pin<&mut Self>) -> CheckoutError<M::Error> {
        let this = self.project();
        let limit = this.limit.expect("only a lease with a limit times out");
        // Whoever expired in the queue has left it already, but that is where he was.
        let gone = usize::from(this.waiter.place.is_none());
        let timeout = this.waiter.layer().timed_out(limit, gone);
        drop(this.waiter.finish());
        CheckoutError::Timeout(timeout)
    }
}

impl<M: Share> Waiter<M> {
    fn layer(&self) -> &Arc<Layer<M>> {
        self.layer
            .as_ref()
            .expect("a lease is not polled after it is over")
    }

    /// What came, if anything has; else `cx` will be woken.
    fn collect(&mut self, cx: &mut Context<'_>) -> Option<Granted<M>> {
        let place = self.place.expect("only one who queues collects");
        let layer = self.layer();
        let mut collected = layer.lock().collect(place, cx.waker());
        if let Err(false) = collected {
            // Cloned before the lock is taken: a waker is the user's.
            let waker = cx.waker().clone();
            let mut state = layer.lock();
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
        let granted = collected.ok()?;
        self.place = None;
        Some(granted)
    }

    /// Ends the wait and answers with the hold on the layer.
    fn finish(&mut self) -> Arc<Layer<M>> {
        self.leave();
        self.layer.take().expect("a lease is over once")
    }

    fn leave(&mut self) {
        if let Some(place) = self.place.take() {
            self.layer()
                .update(|state, now, effects| state.leave(place, now, effects));
        }
    }
}

impl<M: Share> Drop for Waiter<M> {
    fn drop(&mut self) {
        self.leave();
    }
}

impl<M: Share> fmt::Debug for Lease<M> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Lease")
            .field("queued", &self.waiter.place.is_some())
            .finish_non_exhaustive()
    }
}
