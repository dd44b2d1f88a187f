//! How long callers wait, hold and dial, in distributions of bounded size.

use std::fmt;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use hdrhistogram::Histogram;

use crate::error::rounded;
use crate::event::{Event, Observer, Outcome};

/// Longer times count as this long in a percentile, and as what they are in the mean and the maximum.
const LONGEST: Duration = Duration::from_secs(24 * 60 * 60);

/// Percentiles are right to within 1 %.
const SIGNIFICANT_DIGITS: u8 = 2;

/// Measures how long callers wait for a connection and hold it, and how long dials take.
///
/// Give one to each pool. Given to several, it takes them for one, so that its size does not depend on their number.
///
/// It takes 126 kB, allocated when it is made, however long it runs. To record takes a lock that is the kind's own for
/// about 20 ns, and allocates nothing.
///
/// # Examples
///
/// ```
/// # use pool_core::doc::Numbers;
/// use std::sync::Arc;
/// use pool_core::Pool;
/// use pool_core::observers::{Histograms, Snapshot};
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let times = Arc::new(Histograms::new());
/// let pool = Pool::builder(Numbers::default()).observer(Arc::clone(&times)).build()?;
/// for _ in 0..100 {
///     drop(pool.checkout().await?);
/// }
/// let Snapshot { wait, hold, connect, .. } = times.snapshot();
/// assert_eq!((wait.count, hold.count, connect.count), (100, 100, 1));
/// assert!(wait.p50 <= wait.p99 && wait.p99 <= wait.max);
/// # Ok(()) }
/// ```
#[derive(Debug)]
pub struct Histograms {
    // Each with a lock of its own: a checkout need not wait for a check-in.
    wait: Recorder,
    hold: Recorder,
    connect: Recorder,
}

/// What was measured so far: plain data, one [`Times`] for each kind.
///
/// # Examples
///
/// ```
/// use pool_core::observers::Histograms;
///
/// assert_eq!(
///     Histograms::new().snapshot().to_string(),
///     "wait     none\nhold     none\nconnect  none",
/// );
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Snapshot {
    /// From the first poll of a checkout to its end; those that ended without a connection are counted, as to leave
    /// them out would hide the longest waits.
    pub wait: Times,
    /// From a checkout to its check-in; of those who are still out nothing is known.
    pub hold: Times,
    /// Of dials that succeeded.
    pub connect: Times,
}

/// How a set of durations is spread. All are zero if there is none.
///
/// # Examples
///
/// ```
/// use pool_core::observers::Times;
/// use std::time::Duration;
///
/// let mut times = Times::default();
/// assert_eq!(times.to_string(), "none");
/// times.count = 1;
/// times.max = Duration::from_millis(250);
/// assert!(times.to_string().ends_with("max 250 ms"));
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Times {
    /// How many there are.
    pub count: u64,
    /// The sum by the number, exact.
    pub mean: Duration,
    /// Half of them are not longer; right to within 1 %, as all percentiles here.
    pub p50: Duration,
    /// 90 of 100 are not longer.
    pub p90: Duration,
    /// 99 of 100 are not longer.
    pub p99: Duration,
    /// 999 of 1,000 are not longer.
    pub p999: Duration,
    /// The longest, exact.
    pub max: Duration,
}

impl Histograms {
    /// Nothing measured yet.
    ///
    /// # Examples
    ///
    /// ```
    /// assert_eq!(pool_core::observers::Histograms::new().snapshot().wait.count, 0);
    /// ```
    #[must_use]
    pub fn new() -> Self {
        Self {
            wait: Recorder::new(),
            hold: Recorder::new(),
            connect: Recorder::new(),
        }
    }

    /// All that was measured since the beginning, or since the last [`take`](Self::take).
    ///
    /// # Examples
    ///
    /// ```
    /// # use pool_core::{Event, Observer};
    /// # use std::time::Duration;
    /// let times = pool_core::observers::Histograms::new();
    /// times.observe("pool", &Event::CheckedIn { id: 1, hold: Duration::from_millis(3) });
    /// assert_eq!(times.snapshot().hold.max, Duration::from_millis(3));
    /// ```
    #[must_use]
    pub fn snapshot(&self) -> Snapshot {
        Snapshot {
            wait: self.wait.lock().times(),
            hold: self.hold.lock().times(),
            connect: self.connect.lock().times(),
        }
    }

    /// As [`snapshot`](Self::snapshot), and begins anew; nothing is lost in between.
    ///
    /// # Examples
    ///
    /// ```
    /// # use pool_core::{Event, Observer};
    /// # use std::time::Duration;
    /// let times = pool_core::observers::Histograms::new();
    /// times.observe("pool", &Event::CheckedIn { id: 1, hold: Duration::from_millis(3) });
    /// assert_eq!(times.take().hold.count, 1);
    /// assert_eq!(times.take().hold.count, 0);
    /// ```
    #[must_use = "what was measured is forgotten"]
    pub fn take(&self) -> Snapshot {
        Snapshot {
            wait: self.wait.lock().take(),
            hold: self.hold.lock().take(),
            connect: self.connect.lock().take(),
        }
    }
}

impl Default for Histograms {
    fn default() -> Self {
        Self::new()
    }
}

impl Observer for Histograms {
    fn observe(&self, _pool: &str, event: &Event) {
        match event {
            Event::CheckedOut { wait, .. } => self.wait.record(*wait),
            // Who was served is counted when he has his connection.
            Event::Waited {
                outcome: Outcome::Served,
                ..
            } => {}
            Event::Waited { wait, .. } => self.wait.record(*wait),
            Event::CheckedIn { hold, .. } | Event::Detached { hold, .. } => self.hold.record(*hold),
            Event::Connected { took, .. } => self.connect.record(*took),
            _ => {}
        }
    }
}

#[derive(Debug)]
struct Recorder(Mutex<Recorded>);

#[derive(Debug)]
struct Recorded {
    /// In nanoseconds; its own mean and maximum are those of its buckets.
    histogram: Histogram<u64>,
    sum: Duration,
    max: Duration,
}

impl Recorder {
    fn new() -> Self {
        let longest = nanos(LONGEST);
        Self(Mutex::new(Recorded {
            histogram: Histogram::new_with_max(longest, SIGNIFICANT_DIGITS)
                .expect("two digits up to a day are within what the library can count"),
            sum: Duration::ZERO,
            max: Duration::ZERO,
        }))
    }

    fn record(&self, time: Duration) {
        let mut recorded = self.lock();
        recorded.histogram.saturating_record(nanos(time));
        recorded.sum = recorded.sum.saturating_add(time);
        recorded.max = recorded.max.max(time);
    }

    fn lock(&self) -> MutexGuard<'_, Recorded> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Recorded {
    fn times(&self) -> Times {
        let count = self.histogram.len();
        if count == 0 {
            return Times::default();
        }
        // A bucket answers with its upper end, which may lie above the longest there was.
        let percentile = |percentile| {
            let nanos = self.histogram.value_at_percentile(percentile);
            Duration::from_nanos(nanos).min(self.max)
        };
        Times {
            count,
            mean: from_nanos(self.sum.as_nanos() / u128::from(count)),
            p50: percentile(50.0),
            p90: percentile(90.0),
            p99: percentile(99.0),
            p999: percentile(99.9),
            max: self.max,
        }
    }

    fn take(&mut self) -> Times {
        let times = self.times();
        self.histogram.reset();
        (self.sum, self.max) = (Duration::ZERO, Duration::ZERO);
        times
    }
}

fn nanos(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}

fn from_nanos(nanos: u128) -> Duration {
    const SECOND: u128 = 1_000_000_000;
    Duration::new((nanos / SECOND) as u64, (nanos % SECOND) as u32)
}

impl fmt::Display for Snapshot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            wait,
            hold,
            connect,
        } = self;
        write!(f, "wait     {wait}\nhold     {hold}\nconnect  {connect}")
    }
}

impl fmt::Display for Times {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.count == 0 {
            return f.write_str("none");
        }
        write!(f, "{} measured", self.count)?;
        for (name, time) in [
            ("mean", self.mean),
            ("p50", self.p50),
            ("p90", self.p90),
            ("p99", self.p99),
            ("p99.9", self.p999),
            ("max", self.max),
        ] {
            write!(f, ", {name} {}", rounded(time))?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn held(times: &Histograms, hold: Duration) {
        times.observe("pool", &Event::CheckedIn { id: 1, hold });
    }

    fn is_close(measured: Duration, expected: Duration) -> bool {
        measured.abs_diff(expected) <= expected / 100
    }

    #[test]
    fn percentiles_are_right_to_within_a_hundredth_and_mean_and_maximum_exact() {
        let times = Histograms::new();
        for micros in (1..=10_000).rev() {
            held(&times, Duration::from_micros(micros));
        }
        let hold = times.snapshot().hold;
        assert_eq!(hold.count, 10_000);
        assert_eq!(hold.max, Duration::from_millis(10));
        assert_eq!(hold.mean, Duration::from_nanos(5_000_500));
        for (percentile, expected) in [
            (hold.p50, 5_000),
            (hold.p90, 9_000),
            (hold.p99, 9_900),
            (hold.p999, 9_990),
        ] {
            assert!(
                is_close(percentile, Duration::from_micros(expected)),
                "{hold:?}"
            );
        }
    }

    #[test]
    fn no_percentile_is_above_the_longest() {
        let times = Histograms::new();
        held(&times, Duration::from_nanos(1_000_001));
        let hold = times.snapshot().hold;
        assert_eq!(hold.p999, hold.max);
        assert_eq!(hold.mean, hold.max);
    }

    #[test]
    fn nanoseconds_count() {
        let times = Histograms::new();
        for nanos in 1..=100 {
            held(&times, Duration::from_nanos(nanos));
        }
        assert_eq!(times.snapshot().hold.p50, Duration::from_nanos(50));
    }

    #[test]
    fn what_was_taken_is_forgotten() {
        let times = Histograms::new();
        held(&times, Duration::from_secs(9));
        assert_eq!(times.take().hold.max, Duration::from_secs(9));
        assert_eq!(times.snapshot(), Snapshot::default());
        held(&times, Duration::from_secs(1));
        let hold = times.snapshot().hold;
        assert_eq!(
            (hold.count, hold.max, hold.mean),
            (1, Duration::from_secs(1), hold.max)
        );
    }

    #[test]
    fn a_time_beyond_a_day_is_counted() {
        let times = Histograms::new();
        held(&times, Duration::ZERO);
        held(&times, LONGEST * 10);
        held(&times, Duration::MAX);
        let hold = times.snapshot().hold;
        assert_eq!((hold.count, hold.max), (3, Duration::MAX));
        assert!(
            hold.p50 >= LONGEST && is_close(hold.p50, LONGEST),
            "{hold:?}"
        );
    }

    #[test]
    fn whoever_leaves_without_a_connection_has_waited_too() {
        let times = Histograms::new();
        let wait = Duration::from_secs(1);
        for outcome in [
            Outcome::TimedOut,
            Outcome::Failed,
            Outcome::Closed,
            Outcome::Cancelled,
        ] {
            times.observe("pool", &Event::Waited { wait, outcome });
        }
        assert_eq!(times.snapshot().wait.count, 4);
        times.observe(
            "pool",
            &Event::Waited {
                wait,
                outcome: Outcome::Served,
            },
        );
        assert_eq!(
            times.snapshot().wait.count,
            4,
            "his checkout counts, not his wait"
        );
        let idle_for = Duration::ZERO;
        times.observe(
            "pool",
            &Event::CheckedOut {
                id: 1,
                wait,
                uses: 1,
                idle_for,
            },
        );
        assert_eq!(times.snapshot().wait.count, 5);
    }

    #[test]
    fn the_size_is_what_the_documentation_says() {
        let counters = Recorder::new().lock().histogram.distinct_values();
        assert_eq!(3 * counters * size_of::<u64>(), 125_952);
    }

    #[test]
    fn each_kind_is_one_line() {
        let times = Histograms::new();
        for millis in 1..=100 {
            held(&times, Duration::from_millis(millis));
        }
        times.observe(
            "pool",
            &Event::Connected {
                id: 1,
                took: Duration::from_micros(1_500),
            },
        );
        assert_eq!(
            times.take().to_string(),
            "wait     none\n\
             hold     100 measured, mean 50 ms, p50 50 ms, p90 90 ms, p99 99 ms, p99.9 100 ms, max 100 ms\n\
             connect  1 measured, mean 1.5 ms, p50 1.5 ms, p90 1.5 ms, p99 1.5 ms, p99.9 1.5 ms, max 1.5 ms"
        );
        assert_eq!(times.snapshot(), Snapshot::default());
    }
}
