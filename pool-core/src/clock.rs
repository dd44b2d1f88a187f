//! The pool's time: the only file that names tokio's clock and timers.
//!
//! Deadlines and timers follow tokio's clock, which tests can pause. The hot path reads the kernel's coarse clock
//! where there is one: 3 ns instead of 22, and late by up to one tick of the scheduler (1 to 10 ms). Whoever pauses
//! tokio's clock expects every reading to follow it; a paused clock gives itself away by standing still.

#![allow(
    clippy::disallowed_methods,
    reason = "this is the clock the others are to use"
)]

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use tokio::runtime::Handle;
use tokio::time::Instant;

use crate::state::Time;

/// To limits from here on a tick does not matter.
const LONG: Duration = Duration::from_secs(1);

#[derive(Debug)]
pub(crate) struct Clock {
    stopwatch: Stopwatch,
    coarse: Coarse,
    /// Coarse readings are exact: asked for, or set for good once tokio's clock was seen paused.
    exactly: AtomicBool,
}

/// Tokio's clock, counted from the start of the pool.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Stopwatch(Instant);

impl Stopwatch {
    pub(crate) fn now(self) -> Time {
        self.at(Instant::now())
    }

    fn at(self, now: Instant) -> Time {
        Time::FIRST.after(now.saturating_duration_since(self.0))
    }
}

impl Clock {
    pub(crate) fn start(exactly: bool) -> Self {
        let start = Instant::now();
        Self {
            stopwatch: Stopwatch(start),
            coarse: Coarse::start(),
            exactly: AtomicBool::new(exactly || stands_still(start)),
        }
    }

    /// Another clock on the same time line.
    pub(crate) fn another(&self, exactly: bool) -> Self {
        Self {
            stopwatch: self.stopwatch,
            coarse: self.coarse,
            exactly: AtomicBool::new(exactly || self.exactly.load(Ordering::Relaxed)),
        }
    }

    pub(crate) fn stopwatch(&self) -> Stopwatch {
        self.stopwatch
    }

    /// For the hot path: never later than [`exact`](Self::exact), and possibly earlier by one tick.
    #[inline]
    pub(crate) fn coarse(&self) -> Time {
        if self.exactly.load(Ordering::Relaxed) {
            return self.exact();
        }
        self.coarse.now().unwrap_or_else(|| self.exact())
    }

    /// For whatever is slow anyway, and wherever a timer is compared with.
    pub(crate) fn exact(&self) -> Time {
        self.stopwatch.now()
    }

    /// The beginning of such a limit.
    #[inline]
    pub(crate) fn begin(&self, limit: Option<Duration>) -> Time {
        match limit {
            Some(limit) if limit < LONG => self.exact(),
            _ => self.coarse(),
        }
    }

    /// The end of a limit that began then: not early, and if it is a long one, up to a tick late.
    #[inline]
    pub(crate) fn end(&self, begun: Time, limit: Option<Duration>) -> Time {
        match limit {
            None => Time::NEVER,
            Some(limit) if limit < LONG => begun.after(limit),
            Some(limit) => begun.after(limit).after_nanos(self.tick()),
        }
    }

    /// By how many nanoseconds a coarse reading may be late.
    fn tick(&self) -> u64 {
        match self.exactly.load(Ordering::Relaxed) {
            true => 0,
            false => self.coarse.tick(),
        }
    }

    /// Looks whether a test has paused the clock since; for tasks, at times when a microsecond does not matter.
    pub(crate) fn notice_pause(&self) {
        if !self.exactly.load(Ordering::Relaxed) && stands_still(Instant::now()) {
            self.exactly.store(true, Ordering::Relaxed);
        }
    }

    /// A timer that fires then; `None` if that is too far away to ever come.
    pub(crate) fn sleep_until(&self, time: Time) -> Option<Sleep> {
        if time == Time::NEVER {
            return None;
        }
        self.stopwatch
            .0
            .checked_add(time.since(Time::FIRST))
            .map(tokio::time::sleep_until)
    }

    /// Resolves then, on a runtime with timers.
    pub(crate) async fn until(&self, time: Time) {
        match self.sleep_until(time) {
            Some(sleep) => sleep.await,
            None => std::future::pending().await,
        }
    }
}

/// Whether tokio's clock stands still at `now` while the real one moves on.
fn stands_still(now: Instant) -> bool {
    let real = std::time::Instant::now();
    // One or two readings, as clocks tick faster than they can be read.
    while std::time::Instant::now() == real {}
    Instant::now() == now
}

/// Panics here and now, rather than in a task where nobody listens, if the runtime has no timers.
pub(crate) fn assert_timers(runtime: &Handle) {
    let _entered = runtime.enter();
    drop(sleep(Duration::ZERO));
}

pub(crate) use tokio::time::{Sleep, sleep, timeout};

/// The kernel's coarse monotonic clock, counted from the start of the pool.
#[cfg(target_os = "linux")]
#[derive(Clone, Copy, Debug)]
struct Coarse {
    start: i64,
    tick: u64,
}

#[cfg(target_os = "linux")]
impl Coarse {
    fn start() -> Self {
        Self {
            start: nanos(rustix::time::ClockId::Monotonic),
            tick: in_nanos(rustix::time::clock_getres(
                rustix::time::ClockId::MonotonicCoarse,
            ))
            .unsigned_abs(),
        }
    }

    /// By how many nanoseconds a reading may be late.
    fn tick(&self) -> u64 {
        self.tick
    }

    #[inline]
    fn now(&self) -> Option<Time> {
        let elapsed = nanos(rustix::time::ClockId::MonotonicCoarse) - self.start;
        // Negative within the tick in which the pool was built.
        Some(Time::FIRST.after_nanos(elapsed.max(0).unsigned_abs()))
    }
}

#[cfg(target_os = "linux")]
#[inline]
fn nanos(clock: rustix::time::ClockId) -> i64 {
    in_nanos(rustix::time::clock_gettime(clock))
}

#[cfg(target_os = "linux")]
#[inline]
fn in_nanos(time: rustix::time::Timespec) -> i64 {
    time.tv_sec * 1_000_000_000 + time.tv_nsec
}

#[cfg(not(target_os = "linux"))]
#[derive(Clone, Copy, Debug)]
struct Coarse;

#[cfg(not(target_os = "linux"))]
impl Coarse {
    fn start() -> Self {
        Self
    }

    fn now(&self) -> Option<Time> {
        None
    }

    fn tick(&self) -> u64 {
        0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_paused_clock_is_followed_by_both_readings() {
        let clock = Clock::start(false);
        tokio::time::advance(Duration::from_secs(3600)).await;
        assert_eq!(clock.coarse().since(Time::FIRST), Duration::from_secs(3600));
        assert_eq!(clock.exact(), clock.coarse());
    }

    #[tokio::test]
    async fn a_clock_paused_later_is_followed_once_it_was_noticed() {
        let clock = Clock::start(false);
        tokio::time::pause();
        tokio::time::advance(Duration::from_secs(3600)).await;
        assert!(clock.exact().since(Time::FIRST) >= Duration::from_secs(3600));
        clock.notice_pause();
        assert_eq!(clock.exact(), clock.coarse());
    }

    #[tokio::test]
    async fn the_coarse_clock_is_never_ahead() {
        let clock = Clock::start(false);
        for _ in 0..10_000 {
            let coarse = clock.coarse();
            assert!(coarse <= clock.exact());
        }
        clock.notice_pause();
        assert!(!clock.exactly.load(Ordering::Relaxed));
    }

    #[tokio::test]
    async fn a_limit_is_over_not_early_and_at_most_a_tick_late() {
        let clock = Clock::start(false);
        for limit in [Duration::ZERO, Duration::from_millis(900), LONG, 30 * LONG] {
            let before = clock.exact();
            let begun = clock.begin(Some(limit));
            let over = clock.end(begun, Some(limit));
            assert!(begun <= clock.exact());
            assert!(over >= before.after(limit), "{limit:?} is over early");
            assert!(over <= clock.exact().after(limit).after_nanos(clock.tick()));
        }
        assert_eq!(clock.end(clock.begin(None), None), Time::NEVER);
    }

    #[tokio::test(start_paused = true)]
    async fn a_timer_fires_when_the_clock_says_so_and_never_is_no_timer() {
        let clock = Clock::start(false);
        let then = clock.exact().after(Duration::from_secs(3600));
        clock.sleep_until(then).unwrap().await;
        assert!(clock.exact() >= then);
        assert!(clock.sleep_until(Time::NEVER).is_none());
    }
}
