//! Reaps what is due, and looks at whom a peer has stirred.
//!
//! It sleeps until the next deadline, the next letter or the next nudge, has no period, and holds the pool only while
//! it works.

use std::future::{Future, poll_fn};
use std::pin::pin;
use std::sync::Arc;
use std::task::Poll;

use tokio::task::yield_now;

use crate::manager::Manager;
use crate::shared::Shared;
use crate::state::Time;
use crate::tasks::Remote;

/// Connections looked at between two yields.
const BATCH: usize = 64;

pub(crate) fn spawn<M: Manager>(shared: &Arc<Shared<M>>) {
    let (inbox, stopped) = (Arc::clone(&shared.inbox), shared.stopped());
    let pool = Remote::new(shared);
    shared.runtime.spawn(async move {
        let mut stopped = pin!(stopped);
        while let Some(shared) = pool.upgrade() {
            let due = shared.maintain().await;
            let mut sleep = pin!(shared.clock.sleep_until(due));
            drop(shared);
            let mut nudged = pin!(inbox.nudged());
            let stop = poll_fn(|cx| {
                if stopped.as_mut().poll(cx).is_ready() {
                    return Poll::Ready(true);
                }
                let woken = nudged.as_mut().poll(cx).is_ready()
                    || sleep
                        .as_mut()
                        .as_pin_mut()
                        .is_some_and(|sleep| sleep.poll(cx).is_ready());
                if woken {
                    Poll::Ready(false)
                } else {
                    Poll::Pending
                }
            });
            if stop.await {
                return;
            }
        }
    });
}

impl<M: Manager> Shared<M> {
    /// Does all there is to do, and answers when there will be more.
    async fn maintain(self: &Arc<Self>) -> Time {
        self.clock.notice_pause();
        loop {
            let letters = self.inbox.take();
            for batch in letters.chunks(BATCH) {
                for &letter in batch {
                    self.inspect(letter);
                }
                yield_now().await;
            }
            let now = self.clock.exact();
            let due = self.update_at(now, |state, now, effects| state.expire(now, effects));
            if due > now {
                return due;
            }
            yield_now().await;
        }
    }
}
