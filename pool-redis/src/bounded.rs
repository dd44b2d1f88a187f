//! Waiting for an answer, but not for ever, and not for one that cannot come.

use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use pin_project_lite::pin_project;
use redis::RedisResult;
use tokio::runtime::Handle;
use tokio::sync::futures::Notified;
use tokio::time::Sleep;

use crate::end::End;
use crate::fate;

/// Waits for `answer` until the driver's `end`, for at most `limit` on the clock of `runtime`, whoever polls.
pub(crate) fn bounded<'a, F>(
    runtime: &'a Handle,
    end: &'a End,
    limit: Option<Duration>,
    answer: F,
) -> Bounded<'a, F> {
    Bounded {
        runtime,
        end,
        limit,
        answer,
        coming: None,
        sleep: None,
    }
}

pin_project! {
    /// The future of [`bounded`].
    pub(crate) struct Bounded<'a, F> {
        runtime: &'a Handle,
        end: &'a End,
        limit: Option<Duration>,
        #[pin]
        answer: F,
        // These are there from the first time that the answer is not.
        #[pin]
        coming: Option<Notified<'a>>,
        #[pin]
        sleep: Option<Sleep>,
    }
}

impl<T, F: Future<Output = RedisResult<T>>> Future for Bounded<'_, F> {
    type Output = RedisResult<T>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let mut this = self.project();
        if let Poll::Ready(answer) = this.answer.as_mut().poll(cx) {
            return Poll::Ready(answer);
        }
        if this.coming.is_none() {
            this.coming.set(Some(this.end.coming()));
        }
        let coming = this.coming.as_pin_mut().expect("set above");
        if coming.poll(cx).is_ready() || this.end.is_over() {
            // What the driver had taken in was answered, or dropped with it; so what is left it never saw.
            return match this.answer.poll(cx) {
                Poll::Ready(answer) => Poll::Ready(answer),
                Poll::Pending => Poll::Ready(Err(fate::not_sent())),
            };
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fate::{Fate, fate};
    use std::future::{pending, ready};
    use std::pin::pin;
    use std::task::Waker;

    #[tokio::test]
    async fn what_the_driver_never_saw_is_not_waited_for_after_its_end() {
        let (runtime, end) = (Handle::current(), End::default());
        let mut early = pin!(bounded(&runtime, &end, None, pending::<RedisResult<()>>()));
        let mut cx = Context::from_waker(Waker::noop());
        assert!(early.as_mut().poll(&mut cx).is_pending());

        end.comes();
        let late = bounded(&runtime, &end, None, pending::<RedisResult<()>>());
        for error in [early.await, late.await].map(Result::unwrap_err) {
            assert_eq!(fate(&error), Fate::NotSent);
        }
        // An answer that came before is one.
        let answered = bounded(&runtime, &end, None, ready(Ok(1)));
        assert_eq!(answered.await.unwrap(), 1);
    }

    #[tokio::test(start_paused = true)]
    async fn an_answer_is_waited_for_up_to_the_limit() {
        let (runtime, end) = (Handle::current(), End::default());
        let limit = Duration::from_secs(5);
        let silent = bounded(&runtime, &end, Some(limit), pending::<RedisResult<()>>());
        assert!(silent.await.unwrap_err().is_timeout());
    }
}
