//! Everything that runs by itself: dials, the maintenance of idle connections, what is done to them between two users.

use std::future::{Future, poll_fn};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::pin;
use std::sync::{Arc, Weak};
use std::task::Poll;
use std::time::Duration;

use tokio::runtime::Handle;

use crate::clock::{self, Clock};
use crate::manager::Manager;
use crate::shared::{Shared, caught};

pub(crate) mod connect;
pub(crate) mod homecoming;
pub(crate) mod keepalive;
pub(crate) mod leaks;
pub(crate) mod maintain;
pub(crate) mod renew;
pub(crate) mod timeouts;

/// The pool, as a task holds it between two turns. A pool cannot go on without its runtime, so if the task is dropped
/// before it was done, the pool is closed: better than callers who wait for somebody who will never come.
struct Remote<M: Manager> {
    shared: Weak<Shared<M>>,
    done: bool,
}

impl<M: Manager> Remote<M> {
    fn new(shared: &Arc<Shared<M>>) -> Self {
        Self {
            shared: Arc::downgrade(shared),
            done: false,
        }
    }

    fn upgrade(&self) -> Option<Arc<Shared<M>>> {
        self.shared.upgrade()
    }

    fn done(mut self) {
        self.done = true;
    }
}

impl<M: Manager> Drop for Remote<M> {
    fn drop(&mut self) {
        if !self.done
            && let Some(shared) = self.shared.upgrade()
        {
            shared.end();
        }
    }
}

/// The outcome of `future`, or `None` if `stopped` comes first; if both are there, the outcome.
pub(crate) async fn unless<F: Future>(
    stopped: impl Future<Output = ()>,
    future: F,
) -> Option<F::Output> {
    let (mut stopped, mut future) = (pin!(stopped), pin!(Some(future)));
    let outcome = poll_fn(|cx| {
        let future = future.as_mut().as_pin_mut();
        match future.expect("it is there until it is over").poll(cx) {
            Poll::Ready(outcome) => Poll::Ready(Some(outcome)),
            Poll::Pending => stopped.as_mut().poll(cx).map(|()| None),
        }
    });
    let outcome = outcome.await;
    // What is given up half way may panic in its destructor.
    let _ = caught(|| future.set(None));
    outcome
}

/// The outcome of `future`, or `None` if the limit comes first.
pub(crate) async fn limited<F: Future>(limit: Duration, future: F) -> Option<F::Output> {
    unless(clock::sleep(limit), future).await
}

/// The outcome of `future`, unless the limit or the runtime ends first. The caller's executor may not be tokio's.
pub(crate) async fn within<F: Future>(
    runtime: &Handle,
    clock: &Clock,
    limit: Option<Duration>,
    future: F,
) -> Option<F::Output> {
    let sleep = limit.and_then(|limit| {
        let _entered = runtime.enter();
        clock.sleep_until(clock.exact().after(limit))
    });
    let (mut future, mut sleep) = (pin!(future), pin!(sleep));
    poll_fn(|cx| {
        if let Poll::Ready(outcome) = future.as_mut().poll(cx) {
            return Poll::Ready(Some(outcome));
        }
        match sleep.as_mut().as_pin_mut() {
            // A timer panics when its runtime has ended.
            Some(sleep) => caught(|| sleep.poll(cx).map(|()| None)).unwrap_or(Poll::Ready(None)),
            None => Poll::Pending,
        }
    })
    .await
}

/// The outcome of `future`, or what it said when it panicked.
pub(crate) async fn caught_future<F: Future>(future: F) -> Result<F::Output, String> {
    let mut future = pin!(future);
    poll_fn(
        |cx| match catch_unwind(AssertUnwindSafe(|| future.as_mut().poll(cx))) {
            Ok(poll) => poll.map(Ok),
            Err(panic) => {
                let message = panic
                    .downcast_ref::<&str>()
                    .map(|text| (*text).to_owned())
                    .or_else(|| panic.downcast_ref::<String>().cloned())
                    .unwrap_or_else(|| "no message".to_owned());
                std::mem::forget(panic);
                Poll::Ready(Err(message))
            }
        },
    )
    .await
}
