//! One dial: the only place where connections are made.

use std::future::{Future, poll_fn};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::pin;
use std::sync::Arc;
use std::task::Poll;

use crate::clock;
use crate::error::ConnectError;
use crate::manager::Manager;
use crate::shared::{self, Shared};
use crate::state::{Dial, Pause};
use crate::tasks::Remote;
use crate::watch::Live;

/// A slot being filled. Dropped unused, it gives the slot back.
struct Permit<M: Manager> {
    shared: Arc<Shared<M>>,
    dial: Option<Dial>,
}

pub(crate) fn spawn<M: Manager>(shared: &Arc<Shared<M>>, dial: Dial) {
    let permit = Permit {
        shared: Arc::clone(shared),
        dial: Some(dial),
    };
    shared.runtime.spawn(connect(permit));
}

async fn connect<M: Manager>(permit: Permit<M>) {
    let shared = Arc::clone(&permit.shared);
    shared.clock.notice_pause();
    let limit = shared.config.connect_timeout;
    let dial = clock::timeout(limit, caught(async { shared.manager.connect().await }));
    let error = match unless(shared.stopped(), dial).await {
        None => return,
        Some(Ok(Ok(Ok(connection)))) => return permit.connected(connection),
        Some(Ok(Ok(Err(error)))) => ConnectError::Manager(error),
        Some(Ok(Err(message))) => ConnectError::Panicked(message),
        Some(Err(_)) => ConnectError::TimedOut(limit),
    };
    permit.failed(error);
}

/// Waits out the pause after a failed dial; the pool may go meanwhile.
pub(crate) fn spawn_pause<M: Manager>(shared: &Arc<Shared<M>>, pause: Pause) {
    let (stopped, pool) = (shared.stopped(), Remote::new(shared));
    shared.runtime.spawn(async move {
        if unless(stopped, clock::sleep(pause.wait)).await.is_some()
            && let Some(shared) = pool.upgrade()
        {
            shared.update(|state, now, effects| state.pause_over(&pause, now, effects));
        }
        pool.done();
    });
}

impl<M: Manager> Permit<M> {
    fn connected(mut self, connection: M::Connection) {
        let Dial { slot, id } = self.dial.take().expect("a permit is used once");
        let live = Live::new(connection, &self.shared.inbox, slot, id);
        let random = self.shared.random(id);
        self.shared.connected(slot, live, random);
    }

    fn failed(mut self, error: ConnectError<M::Error>) {
        let dial = self.dial.take().expect("a permit is used once");
        self.report(dial, error);
    }

    fn report(&self, Dial { slot, id }: Dial, error: ConnectError<M::Error>) {
        let permanent = match &error {
            ConnectError::Manager(error) => {
                // A panicking answer is no answer.
                shared::caught(|| self.shared.manager.is_permanent(error)).unwrap_or(false)
            }
            _ => false,
        };
        let (error, now, random) = (
            Arc::new(error),
            self.shared.clock.exact(),
            self.shared.random(id),
        );
        self.shared.update_at(now, |state, now, effects| {
            state.failed(slot, error, permanent, now, random, effects);
        });
    }
}

impl<M: Manager> Drop for Permit<M> {
    fn drop(&mut self) {
        let Some(dial) = self.dial.take() else {
            return;
        };
        // What the manager does while it is polled is caught, so this comes from the destructor of its future.
        if std::thread::panicking() {
            return self.report(
                dial,
                ConnectError::Panicked("a destructor panicked".to_owned()),
            );
        }
        self.shared.lock().abandoned(dial.slot);
        // A dial ends without a result when the pool stops, or its runtime; the pool cannot go on without one.
        self.shared.close();
    }
}

/// The outcome of `future`, or `None` if `stopped` comes first.
pub(super) async fn unless<F: Future>(
    stopped: impl Future<Output = ()>,
    future: F,
) -> Option<F::Output> {
    let (mut stopped, mut future) = (pin!(stopped), pin!(future));
    poll_fn(|cx| match future.as_mut().poll(cx) {
        Poll::Ready(outcome) => Poll::Ready(Some(outcome)),
        Poll::Pending => stopped.as_mut().poll(cx).map(|()| None),
    })
    .await
}

/// The outcome of `future`, or what it said when it panicked.
async fn caught<F: Future>(future: F) -> Result<F::Output, String> {
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
