//! What a user may set: plain data, checked once when the pool is built.

use std::error::Error;
use std::fmt;
use std::time::Duration;

/// Which idle connection a checkout takes.
///
/// Waiting callers are always served first come, first served, whatever the order of the connections.
///
/// # Examples
///
/// ```
/// use pool_core::{Config, Order};
///
/// assert_eq!(Config::default().order, Order::Lifo);
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Order {
    /// The one that came home last: few connections stay warm, the others grow old and are reaped.
    #[default]
    Lifo,
    /// The one that has been idle longest: use is spread evenly, and under steady traffic none is ever reaped.
    Fifo,
}

/// What a caller is told while connecting fails.
///
/// Permanent errors ([`Manager::is_permanent`](crate::Manager::is_permanent)) are told at once in either case.
///
/// # Examples
///
/// ```
/// use pool_core::{Config, OnConnectError};
///
/// assert_eq!(Config::default().on_connect_error, OnConnectError::Wait);
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum OnConnectError {
    /// Nothing until his deadline; the pool dials on, and the timeout carries the last connect error.
    #[default]
    Wait,
    /// The error, at once; and until the backoff has passed every new caller gets the same one, with its age.
    Fail,
}

/// Everything a pool can be told in numbers; [`Builder`](crate::Builder) has a method for each field.
///
/// Durations are limits, not periods: nothing in the pool ticks. The manual says why each default is what it is
/// ([`manual::defaults`](crate::manual::defaults)).
///
/// # Examples
///
/// ```
/// use pool_core::Config;
///
/// let mut config = Config::default();
/// config.max_size = 4;
/// config.min_idle = 5;
/// assert_eq!(
///     config.validate().unwrap_err().to_string(),
///     "min_idle (5) is above max_size (4): lower min_idle or raise max_size",
/// );
/// ```
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct Config {
    /// Most connections at any instant: connecting, in use, idle and closing together. Default 10.
    pub max_size: usize,
    /// Connections kept idle beside those in use, as far as `max_size` allows. Default 0.
    pub min_idle: usize,
    /// Most connections kept idle; one that comes home to as many is closed. Default no such limit.
    pub max_idle: Option<usize>,
    /// Most callers who may wait, beyond those whom free slots and dials under way will serve; the next is refused at once
    /// ([`CheckoutError::TooManyWaiters`](crate::CheckoutError::TooManyWaiters)). With 0 nobody waits for another's
    /// connection. Default no such limit.
    pub max_waiters: Option<usize>,
    /// Which idle connection a checkout takes. Default [`Order::Lifo`].
    pub order: Order,
    /// An idle connection above `min_idle` is closed this long after its last check-in. Default 10 minutes.
    pub idle_timeout: Option<Duration>,
    /// A connection this old is closed when it is or becomes idle. Default 30 minutes.
    pub max_lifetime: Option<Duration>,
    /// Each connection's `max_lifetime` is shortened by a random part of up to this ratio, so that connections made
    /// together do not expire together. From 0 up to, not including, 1; default 0.1.
    pub lifetime_jitter: f64,
    /// A connection is closed when it comes home from so many checkouts. Default no such limit.
    pub max_uses: Option<u32>,
    /// Limit of a whole checkout: waiting, dialling and probing. Default 30 seconds.
    pub checkout_timeout: Option<Duration>,
    /// Limit of one dial. Default 10 seconds.
    pub connect_timeout: Duration,
    /// Limit of one [`Manager::reset`](crate::Manager::reset). Default 5 seconds.
    pub reset_timeout: Duration,
    /// Limit of one [`Manager::close`](crate::Manager::close). Default 5 seconds.
    pub close_timeout: Duration,
    /// Most dials at once. Default 3.
    pub max_connecting: usize,
    /// Pause of the whole pool after a first failed dial; doubled with each further one. Default 100 milliseconds.
    pub backoff_first: Duration,
    /// Longest pause between two failed dials. Default 5 seconds.
    pub backoff_most: Duration,
    /// What a caller is told while connecting fails. Default [`OnConnectError::Wait`].
    pub on_connect_error: OnConnectError,
    /// Observers are told of a connection that is held for longer than this, and of its return. Default no such warning.
    pub leak_warning: Option<Duration>,
    /// Whether that warning carries the stack of the checkout, and not only its place. It costs microseconds a checkout.
    /// Default false.
    pub leak_backtrace: bool,
    /// Whether a task watches and reaps idle connections. Default true.
    ///
    /// Without it the pool is still correct: every limit is enforced, and every connection probed, at checkout and
    /// check-in. But then nothing happens to an idle connection while there is no traffic.
    pub maintenance: bool,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            max_size: 10,
            min_idle: 0,
            max_idle: None,
            max_waiters: None,
            order: Order::Lifo,
            idle_timeout: Some(Duration::from_secs(10 * 60)),
            max_lifetime: Some(Duration::from_secs(30 * 60)),
            lifetime_jitter: 0.1,
            max_uses: None,
            checkout_timeout: Some(Duration::from_secs(30)),
            connect_timeout: Duration::from_secs(10),
            reset_timeout: Duration::from_secs(5),
            close_timeout: Duration::from_secs(5),
            max_connecting: 3,
            backoff_first: Duration::from_millis(100),
            backoff_most: Duration::from_secs(5),
            on_connect_error: OnConnectError::Wait,
            leak_warning: None,
            leak_backtrace: false,
            maintenance: true,
        }
    }
}

/// The most slots that indices of 32 bits can name.
pub(crate) const MOST_SLOTS: usize = u32::MAX as usize - 1;

impl Config {
    /// Finds the first setting that makes no sense.
    ///
    /// # Errors
    ///
    /// Names the field, its value and the remedy.
    ///
    /// # Examples
    ///
    /// ```
    /// use pool_core::Config;
    ///
    /// let mut config = Config::default();
    /// assert!(config.validate().is_ok());
    /// config.max_size = 0;
    /// assert_eq!(config.validate().unwrap_err().field(), "max_size");
    /// ```
    pub fn validate(&self) -> Result<(), ConfigError> {
        let wrong = |field, message: String| Err(ConfigError::new(field, message));
        if self.max_size == 0 {
            return wrong(
                "max_size",
                "max_size is 0, so no checkout could ever succeed: set it to at least 1".into(),
            );
        }
        if self.max_size > MOST_SLOTS {
            return wrong(
                "max_size",
                format!(
                    "max_size ({}) is above {MOST_SLOTS}, the most a pool can number: lower it",
                    self.max_size
                ),
            );
        }
        if self.min_idle > self.max_size {
            return wrong(
                "min_idle",
                format!(
                    "min_idle ({}) is above max_size ({}): lower min_idle or raise max_size",
                    self.min_idle, self.max_size
                ),
            );
        }
        if let Some(max_idle) = self.max_idle
            && self.min_idle > max_idle
        {
            return wrong(
                "max_idle",
                format!(
                    "max_idle ({max_idle}) is below min_idle ({}): raise max_idle or lower min_idle",
                    self.min_idle
                ),
            );
        }
        if self.max_uses == Some(0) {
            return wrong(
                "max_uses",
                "max_uses is 0, so no connection could ever be used: set it to at least 1 or to None"
                    .into(),
            );
        }
        if self.max_connecting == 0 {
            return wrong(
                "max_connecting",
                "max_connecting is 0, so no connection could ever be made: set it to at least 1"
                    .into(),
            );
        }
        for (field, limit, remedy) in [
            (
                "idle_timeout",
                self.idle_timeout,
                "set it to None to keep idle connections",
            ),
            (
                "max_lifetime",
                self.max_lifetime,
                "set it to None to let connections grow old",
            ),
            (
                "checkout_timeout",
                self.checkout_timeout,
                "use try_checkout not to wait, or None to wait without limit",
            ),
            (
                "connect_timeout",
                Some(self.connect_timeout),
                "set it to what a dial may take",
            ),
            (
                "reset_timeout",
                Some(self.reset_timeout),
                "set it to what a reset may take",
            ),
            (
                "leak_warning",
                self.leak_warning,
                "set it to None not to be warned",
            ),
            (
                "close_timeout",
                Some(self.close_timeout),
                "set it to what a close may take",
            ),
            (
                "backoff_first",
                Some(self.backoff_first),
                "set it to the first pause after a failed dial",
            ),
        ] {
            if limit == Some(Duration::ZERO) {
                return wrong(field, format!("{field} is zero: {remedy}"));
            }
        }
        if self.backoff_first > self.backoff_most {
            return wrong(
                "backoff_most",
                format!(
                    "backoff_most ({:?}) is shorter than backoff_first ({:?}): raise backoff_most",
                    self.backoff_most, self.backoff_first
                ),
            );
        }
        if !(0.0..1.0).contains(&self.lifetime_jitter) {
            return wrong(
                "lifetime_jitter",
                format!(
                    "lifetime_jitter ({}) is not in 0.0..1.0: use 0.0 for none",
                    self.lifetime_jitter
                ),
            );
        }
        // Whoever shortens the lifetime alone means what he says: the default idle_timeout then merely never acts.
        if let (Some(idle), Some(life)) = (self.idle_timeout, self.max_lifetime)
            && idle > life
            && self.idle_timeout != Self::default().idle_timeout
        {
            return wrong(
                "idle_timeout",
                format!(
                    "idle_timeout ({idle:?}) is longer than max_lifetime ({life:?}), so it could never act: \
                     shorten it or set it to None"
                ),
            );
        }
        Ok(())
    }
}

/// A setting that makes no sense; the message names the field, its value and the remedy.
///
/// # Examples
///
/// ```
/// use pool_core::Config;
///
/// let mut config = Config::default();
/// config.max_connecting = 0;
/// let error = config.validate().unwrap_err();
/// assert!(error.to_string().ends_with("set it to at least 1"));
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConfigError {
    field: &'static str,
    message: String,
}

impl ConfigError {
    pub(crate) fn new(field: &'static str, message: String) -> Self {
        Self { field, message }
    }

    /// The name of the field at fault.
    ///
    /// # Examples
    ///
    /// ```
    /// let mut config = pool_core::Config::default();
    /// config.lifetime_jitter = 2.0;
    /// assert_eq!(config.validate().unwrap_err().field(), "lifetime_jitter");
    /// ```
    #[must_use]
    pub fn field(&self) -> &'static str {
        self.field
    }
}

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl Error for ConfigError {}

#[cfg(test)]
mod tests {
    use super::*;

    fn field_at_fault(change: impl FnOnce(&mut Config)) -> Option<&'static str> {
        let mut config = Config::default();
        change(&mut config);
        config.validate().err().map(|error| error.field())
    }

    #[test]
    fn each_setting_that_makes_no_sense_is_named() {
        assert_eq!(field_at_fault(|_| {}), None);
        assert_eq!(field_at_fault(|c| c.max_size = 0), Some("max_size"));
        assert_eq!(
            field_at_fault(|c| c.max_size = usize::MAX),
            Some("max_size")
        );
        assert_eq!(field_at_fault(|c| c.min_idle = 11), Some("min_idle"));
        assert_eq!(field_at_fault(|c| c.max_uses = Some(0)), Some("max_uses"));
        let fewer = |c: &mut Config| (c.min_idle, c.max_idle) = (2, Some(1));
        assert_eq!(field_at_fault(fewer), Some("max_idle"));
        assert_eq!(
            field_at_fault(|c| c.leak_warning = Some(Duration::ZERO)),
            Some("leak_warning")
        );
        assert_eq!(
            field_at_fault(|c| c.max_connecting = 0),
            Some("max_connecting")
        );
        let zero = Duration::ZERO;
        assert_eq!(
            field_at_fault(|c| c.idle_timeout = Some(zero)),
            Some("idle_timeout")
        );
        assert_eq!(
            field_at_fault(|c| c.max_lifetime = Some(zero)),
            Some("max_lifetime")
        );
        assert_eq!(
            field_at_fault(|c| c.checkout_timeout = Some(zero)),
            Some("checkout_timeout")
        );
        assert_eq!(
            field_at_fault(|c| c.connect_timeout = zero),
            Some("connect_timeout")
        );
        assert_eq!(
            field_at_fault(|c| c.reset_timeout = zero),
            Some("reset_timeout")
        );
        assert_eq!(
            field_at_fault(|c| c.close_timeout = zero),
            Some("close_timeout")
        );
        assert_eq!(
            field_at_fault(|c| c.backoff_first = zero),
            Some("backoff_first")
        );
        assert_eq!(
            field_at_fault(|c| c.backoff_most = Duration::from_millis(1)),
            Some("backoff_most")
        );
        assert_eq!(
            field_at_fault(|c| c.lifetime_jitter = 1.0),
            Some("lifetime_jitter")
        );
        assert_eq!(
            field_at_fault(|c| c.lifetime_jitter = f64::NAN),
            Some("lifetime_jitter")
        );
    }

    #[test]
    fn timeouts_that_contradict_each_other_are_refused() {
        let short = Duration::from_secs(1);
        let shorten = |c: &mut Config| c.max_lifetime = Some(short);
        assert_eq!(field_at_fault(shorten), None);
        let contradict = |c: &mut Config| {
            c.max_lifetime = Some(short);
            c.idle_timeout = Some(short * 2);
        };
        assert_eq!(field_at_fault(contradict), Some("idle_timeout"));
    }
}
