//! A point on the pool's own time line.

use std::time::Duration;

/// Nanoseconds since the pool was built.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Time(u64);

impl Time {
    pub(crate) const START: Self = Self(0);
    /// Over, whatever clock says what time it is; so is what comes before it.
    pub(crate) const PAST: Self = Self(2);
    pub(crate) const LONG_PAST: Self = Self(1);
    /// The first that a clock reads.
    pub(crate) const FIRST: Self = Self(3);
    /// 584 years on.
    pub(crate) const NEVER: Self = Self(u64::MAX);

    /// How far apart two points are, whichever comes first.
    pub(crate) fn distance(self, other: Self) -> u64 {
        self.0.abs_diff(other.0)
    }

    #[inline]
    pub(crate) fn after(self, wait: Duration) -> Self {
        self.after_nanos(nanos(wait))
    }

    #[inline]
    pub(crate) fn after_nanos(self, nanos: u64) -> Self {
        Self(self.0.saturating_add(nanos))
    }

    /// Not before the first.
    pub(crate) fn before(self, wait: Duration) -> Self {
        Self(self.0.saturating_sub(nanos(wait))).max(Self::FIRST)
    }

    /// Zero if `earlier` is not: two readings of a coarse and an exact clock may come out of order.
    #[inline]
    pub(crate) fn since(self, earlier: Self) -> Duration {
        Duration::from_nanos(self.0.saturating_sub(earlier.0))
    }
}

/// Saturates: 584 years are as good as for ever.
pub(crate) fn nanos(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}

/// `nanos` less up to `ratio` of it.
pub(crate) fn shortened_nanos(nanos: u64, ratio: f64, random: u64) -> u64 {
    self::nanos(shortened(Duration::from_nanos(nanos), ratio, random))
}

/// `duration` less up to `ratio` of it.
pub(crate) fn shortened(duration: Duration, ratio: f64, random: u64) -> Duration {
    // The upper 53 bits of a random number make one in 0..1.
    let part = (random >> 11) as f64 / (1_u64 << 53) as f64;
    Duration::try_from_secs_f64(duration.as_secs_f64() * (1.0 - ratio * part)).unwrap_or(duration)
}
