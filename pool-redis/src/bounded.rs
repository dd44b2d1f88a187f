//! Waiting for an answer, but not for ever.

use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use pin_project_lite::pin_project;
use redis::RedisResult;
use tokio::runtime::Handle;
use tokio::time::Sleep;

use crate::fate;

/// Waits for `answer` for at most `limit`, on the clock of `runtime`, whoever polls.
pub(crate) fn bounded<F>(runtime: &Handle, limit: Option<Duration>, answer: F) -> Bounded<'_, F> {
    Bounded {
        runtime,
        limit,
        answer,
        sleep: None,
    }
}

pin_project! {
    /// The future of [`bounded`].
    pub(crate) struct Bounded<'a, F> {
        runtime: &'a Handle,
        limit: Option<Duration>,
        #[pin]
        answer: F,
        // There from the first time that the answer is not.
        #[pin]
        sleep: Option<Sleep>,
    }
}

impl<T, F: Future<Output = RedisResult<T>>> Future for Bounded<'_, F> {
    type Output = RedisResult<T>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let mut this = self.project();
        if let Poll::Ready(answer) = this.answer.poll(cx) {
            return Poll::Ready(answer);
        }
        let Some(limit) = *this.limit else {
            return Poll::Pending;
        };
        if this.sleep.is_none() {
            // Only to make the timer: it is polled without a context.
            let _context = this.runtime.enter();
            this.sleep.set(Some(tokio::time::sleep(limit)));
        }
        let sleep = this.sleep.as_pin_mut().expect("set above");
        sleep.poll(cx).map(|()| Err(fate::timed_out(limit)))
    }
}
