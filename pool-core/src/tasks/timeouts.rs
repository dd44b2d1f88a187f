//! Tells those who have waited for too long: one timer for all of them, in a task of its own.
//!
//! Nothing of the user's runs here but wakers, so no manager that blocks a thread makes anybody wait longer than he said.

use std::future::{Future, poll_fn};
use std::pin::pin;
use std::sync::Arc;
use std::task::Poll;

use tokio::task::yield_now;

use crate::manager::Manager;
use crate::shared::Shared;
use crate::state::Time;
use crate::tasks::Remote;

pub(crate) fn spawn<M: Manager>(shared: &Arc<Shared<M>>) {
    let (alarm, stopped) = (Arc::clone(&shared.alarm), shared.stopped());
    let pool = Remote::new(shared);
    shared.runtime.spawn(async move {
        let mut stopped = pin!(stopped);
        while let Some(shared) = pool.upgrade() {
            let next = shared.dismiss().await;
            let mut sleep = pin!(shared.clock.sleep_until(next));
            drop(shared);
            let mut set_anew = pin!(alarm.notified());
            let stop = poll_fn(|cx| {
                if stopped.as_mut().poll(cx).is_ready() {
                    return Poll::Ready(true);
                }
                let rings = sleep.as_mut().as_pin_mut();
                let woken = set_anew.as_mut().poll(cx).is_ready()
                    || rings.is_some_and(|sleep| sleep.poll(cx).is_ready());
                match woken {
                    true => Poll::Ready(false),
                    false => Poll::Pending,
                }
            });
            if stop.await {
                return;
            }
        }
    });
}

impl<M: Manager> Shared<M> {
    /// Tells all whose time is over, and answers when the next one's is.
    async fn dismiss(self: &Arc<Self>) -> Time {
        loop {
            let now = self.clock.exact();
            let next = self.update_at(now, |state, now, effects| state.dismiss(now, effects));
            if next > now {
                return next;
            }
            yield_now().await;
        }
    }
}
