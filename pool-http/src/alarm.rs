//! A timer that serves one request after the other.

use std::future::poll_fn;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::runtime::Handle;
use tokio::time::{Instant, Sleep, sleep_until};

/// A timer that stays with its connection: to arm and disarm one for each request costs more than all else about a limit.
///
/// One that is armed for an earlier time is left alone; if it ever fires, it is armed again for the time that is left. Until
/// then, or until the next request waits, it holds the waker of the last.
#[derive(Debug, Default)]
pub(crate) struct Alarm(Option<Pin<Box<Sleep>>>);

impl Alarm {
    /// The outcome of the future, unless the time comes before.
    pub(crate) async fn before<F: Future>(
        &mut self,
        then: Option<Instant>,
        runtime: &Handle,
        mut future: Pin<&mut F>,
    ) -> Option<F::Output> {
        poll_fn(|cx| match (future.as_mut().poll(cx), then) {
            (Poll::Ready(outcome), _) => Poll::Ready(Some(outcome)),
            (Poll::Pending, Some(then)) => self.poll_at(then, runtime, cx).map(|()| None),
            (Poll::Pending, None) => Poll::Pending,
        })
        .await
    }

    /// Waits until then, with a timer of this runtime, whoever polls.
    pub(crate) fn poll_at(
        &mut self,
        then: Instant,
        runtime: &Handle,
        cx: &mut Context<'_>,
    ) -> Poll<()> {
        let sleep = self.0.get_or_insert_with(|| {
            let _context = runtime.enter();
            Box::pin(sleep_until(then))
        });
        if sleep.deadline() > then {
            sleep.as_mut().reset(then);
        }
        while sleep.as_mut().poll(cx).is_ready() {
            if sleep.deadline() == then {
                return Poll::Ready(());
            }
            sleep.as_mut().reset(then);
        }
        Poll::Pending
    }
}

/// When so much time has passed; never, if that is too far away to ever come.
pub(crate) fn after(limit: Duration) -> Option<Instant> {
    now().checked_add(limit)
}

#[expect(clippy::disallowed_methods, reason = "tokio's, which tests can pause")]
pub(crate) fn now() -> Instant {
    Instant::now()
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    async fn wait(alarm: &mut Alarm, limit: Duration) {
        let (then, runtime) = (after(limit).unwrap(), Handle::current());
        poll_fn(|cx| alarm.poll_at(then, &runtime, cx)).await;
        let late = then.elapsed();
        assert!(late < SECOND / 10 && then <= after(Duration::ZERO).unwrap());
    }

    /// Arms it for then, and does not wait.
    fn arm(alarm: &mut Alarm, limit: Duration) {
        let mut cx = Context::from_waker(std::task::Waker::noop());
        let then = after(limit).unwrap();
        assert!(
            alarm
                .poll_at(then, &Handle::current(), &mut cx)
                .is_pending()
        );
    }

    #[tokio::test(start_paused = true)]
    async fn one_that_is_armed_for_an_earlier_time_rings_at_the_right_one() {
        let mut alarm = Alarm::default();
        arm(&mut alarm, SECOND);
        wait(&mut alarm, 5 * SECOND).await;
    }

    #[tokio::test(start_paused = true)]
    async fn one_that_is_armed_for_a_later_time_rings_at_the_right_one() {
        let mut alarm = Alarm::default();
        arm(&mut alarm, 5 * SECOND);
        wait(&mut alarm, SECOND).await;
    }

    #[tokio::test(start_paused = true)]
    async fn one_that_has_rung_rings_again() {
        let mut alarm = Alarm::default();
        for _ in 0..3 {
            wait(&mut alarm, SECOND).await;
        }
    }

    #[tokio::test(start_paused = true)]
    async fn an_earlier_time_that_passed_unheard_is_not_the_later_one() {
        let mut alarm = Alarm::default();
        arm(&mut alarm, SECOND);
        tokio::time::sleep(3 * SECOND).await;
        wait(&mut alarm, SECOND).await;
    }

    #[tokio::test(start_paused = true)]
    async fn whoever_polls_may_have_no_runtime() {
        let (then, runtime) = (after(SECOND).unwrap(), Handle::current());
        let mut alarm = Alarm::default();
        let elsewhere = std::thread::spawn(move || {
            let mut cx = Context::from_waker(std::task::Waker::noop());
            alarm.poll_at(then, &runtime, &mut cx)
        });
        assert!(elsewhere.join().unwrap().is_pending());
    }
}
