//! Why a connection was closed.

use std::fmt;

/// Why the pool gave up a connection.
///
/// # Examples
///
/// ```
/// use pool_core::CloseReason;
///
/// assert_eq!(CloseReason::IdleTimeout.to_string(), "idle_timeout");
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum CloseReason {
    /// It was idle for [`Config::idle_timeout`](crate::Config::idle_timeout).
    IdleTimeout,
    /// It was as old as [`Config::max_lifetime`](crate::Config::max_lifetime) allows.
    MaxLifetime,
    /// It was used as often as [`Config::max_uses`](crate::Config::max_uses) allows.
    MaxUses,
    /// As many as [`Config::max_idle`](crate::Config::max_idle) allows were idle when it came home.
    MaxIdle,
    /// It was idle as long as [`Manager::idle_limit`](crate::Manager::idle_limit) allowed it.
    IdleLimit,
    /// It was retired, see [`Pool::retire_all`](crate::Pool::retire_all).
    Retired,
    /// It said that it takes no user any more, see [`Capacity::drain`](crate::Capacity::drain).
    Drained,
    /// Its peer closed it or sent bytes nobody asked for.
    Dropped,
    /// Its user discarded or tainted it.
    Discarded,
    /// Its user panicked while he held it.
    Panicked,
    /// [`Manager::recycle`](crate::Manager::recycle) did not want it back.
    NotReusable,
    /// [`Manager::reset`](crate::Manager::reset) failed, took too long or was cut short.
    ResetFailed,
    /// A health check or a hook refused it, or was cancelled while it looked.
    CheckFailed,
    /// It was sorted out: [`Pool::retain`](crate::Pool::retain), [`Pool::clear_idle`](crate::Pool::clear_idle).
    Cleared,
    /// The pool was made smaller.
    Resized,
    /// The pool was closed.
    PoolClosed,
    /// The room was needed for another key, see [`KeyedPool`](crate::KeyedPool).
    GaveWay,
}

impl CloseReason {
    /// Every reason there is; the totals have a place for each.
    pub(crate) const ALL: [Self; 17] = [
        Self::IdleTimeout,
        Self::MaxLifetime,
        Self::MaxUses,
        Self::MaxIdle,
        Self::IdleLimit,
        Self::Retired,
        Self::Drained,
        Self::Dropped,
        Self::Discarded,
        Self::Panicked,
        Self::NotReusable,
        Self::ResetFailed,
        Self::CheckFailed,
        Self::Cleared,
        Self::Resized,
        Self::PoolClosed,
        Self::GaveWay,
    ];

    /// The reason as a label of a metric: lower case, words joined by underscores.
    ///
    /// # Examples
    ///
    /// ```
    /// assert_eq!(pool_core::CloseReason::PoolClosed.as_str(), "pool_closed");
    /// ```
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::IdleTimeout => "idle_timeout",
            Self::MaxLifetime => "max_lifetime",
            Self::MaxUses => "max_uses",
            Self::MaxIdle => "max_idle",
            Self::IdleLimit => "idle_limit",
            Self::Retired => "retired",
            Self::Drained => "drained",
            Self::Dropped => "dropped",
            Self::Discarded => "discarded",
            Self::Panicked => "panicked",
            Self::NotReusable => "not_reusable",
            Self::ResetFailed => "reset_failed",
            Self::CheckFailed => "check_failed",
            Self::Cleared => "cleared",
            Self::Resized => "resized",
            Self::PoolClosed => "pool_closed",
            Self::GaveWay => "gave_way",
        }
    }
}

impl fmt::Display for CloseReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_reason_has_the_place_of_its_number() {
        for (place, reason) in CloseReason::ALL.into_iter().enumerate() {
            assert_eq!(reason as usize, place);
        }
    }
}
