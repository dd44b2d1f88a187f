//! How a pool is made: the numbers, the manager and the runtime.

use std::fmt;
use std::time::Duration;

use tokio::runtime::Handle;

use crate::checks::{Checks, MOST_CHECKS};
use crate::config::{Config, ConfigError, OnConnectError, Order};
use crate::error::BuildError;
use crate::event::Observer;
use crate::health::Check;
use crate::manager::Manager;
use crate::pool::Pool;
use crate::shared::Parts;

/// Sets up a [`Pool`]; every setting has a default, see [`Config`].
///
/// # Examples
///
/// ```
/// # use pool_core::doc::Numbers;
/// use pool_core::{Order, Pool};
/// use std::time::Duration;
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let pool = Pool::builder(Numbers::default())
///     .max_size(50)
///     .order(Order::Fifo)
///     .idle_timeout(Duration::from_secs(60))
///     .max_lifetime(None)
///     .build()?;
/// assert_eq!(pool.config().max_lifetime, None);
/// # Ok(()) }
/// ```
#[must_use = "a builder does nothing until `build` is called"]
pub struct Builder<M: Manager> {
    manager: M,
    config: Config,
    name: String,
    checks: Vec<Check<M::Connection>>,
    observers: Vec<Box<dyn Observer>>,
    runtime: Option<Handle>,
}

impl<M: Manager> Builder<M> {
    pub(crate) fn new(manager: M) -> Self {
        Self {
            manager,
            config: Config::default(),
            name: "pool".to_owned(),
            checks: Vec::new(),
            observers: Vec::new(),
            runtime: None,
        }
    }

    /// Names the pool, for its observers. Default `pool`.
    ///
    /// # Examples
    ///
    /// ```
    /// # let runtime = tokio::runtime::Runtime::new().unwrap();
    /// # let _entered = runtime.enter();
    /// # let manager = pool_core::doc::Numbers::default();
    /// let pool = pool_core::Pool::builder(manager).name("orders").build().unwrap();
    /// assert_eq!(pool.name(), "orders");
    /// ```
    pub fn name(mut self, name: impl Into<String>) -> Self {
        self.name = name.into();
        self
    }

    /// Plugs in a health check; several run in the order in which they were plugged in.
    ///
    /// # Examples
    ///
    /// ```
    /// # use pool_core::doc::Numbers;
    /// use pool_core::{Check, Pool, Unhealthy};
    ///
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// let even = |number: &mut u32, _: &_| match *number % 2 {
    ///     0 => Ok(()),
    ///     _ => Err(Unhealthy::new("odd")),
    /// };
    /// let pool = Pool::builder(Numbers::default()).check(Check::sync(even).at_checkout()).build()?;
    /// assert_eq!(*pool.checkout().await?, 2);
    /// # Ok(()) }
    /// ```
    pub fn check(mut self, check: Check<M::Connection>) -> Self {
        self.checks.push(check);
        self
    }

    /// Has everything that happens told to `observer`, and to those that were there before.
    ///
    /// # Examples
    ///
    /// See [`Observer`].
    pub fn observer(mut self, observer: impl Observer) -> Self {
        self.observers.push(Box::new(observer));
        self
    }

    /// Sets [`Config::max_size`].
    ///
    /// # Examples
    ///
    /// ```
    /// # let runtime = tokio::runtime::Runtime::new().unwrap();
    /// # let _entered = runtime.enter();
    /// # let manager = pool_core::doc::Numbers::default();
    /// let pool = pool_core::Pool::builder(manager).max_size(3).build().unwrap();
    /// assert_eq!(pool.config().max_size, 3);
    /// ```
    pub fn max_size(mut self, max_size: usize) -> Self {
        self.config.max_size = max_size;
        self
    }

    /// Sets [`Config::min_idle`].
    ///
    /// # Examples
    ///
    /// ```
    /// # let runtime = tokio::runtime::Runtime::new().unwrap();
    /// # let _entered = runtime.enter();
    /// # let manager = pool_core::doc::Numbers::default();
    /// let pool = pool_core::Pool::builder(manager).min_idle(3).build().unwrap();
    /// assert_eq!(pool.config().min_idle, 3);
    /// ```
    pub fn min_idle(mut self, min_idle: usize) -> Self {
        self.config.min_idle = min_idle;
        self
    }

    /// Sets [`Config::max_idle`].
    ///
    /// # Examples
    ///
    /// ```
    /// # let runtime = tokio::runtime::Runtime::new().unwrap();
    /// # let _entered = runtime.enter();
    /// # let manager = pool_core::doc::Numbers::default();
    /// let pool = pool_core::Pool::builder(manager).max_idle(3).build().unwrap();
    /// assert_eq!(pool.config().max_idle, Some(3));
    /// ```
    pub fn max_idle(mut self, max_idle: impl Into<Option<usize>>) -> Self {
        self.config.max_idle = max_idle.into();
        self
    }

    /// Sets [`Config::max_waiters`].
    ///
    /// # Examples
    ///
    /// ```
    /// # let runtime = tokio::runtime::Runtime::new().unwrap();
    /// # let _entered = runtime.enter();
    /// # let manager = pool_core::doc::Numbers::default();
    /// let pool = pool_core::Pool::builder(manager).max_waiters(100).build().unwrap();
    /// assert_eq!(pool.config().max_waiters, Some(100));
    /// ```
    pub fn max_waiters(mut self, max_waiters: impl Into<Option<usize>>) -> Self {
        self.config.max_waiters = max_waiters.into();
        self
    }

    /// Sets [`Config::max_uses`].
    ///
    /// # Examples
    ///
    /// ```
    /// # let runtime = tokio::runtime::Runtime::new().unwrap();
    /// # let _entered = runtime.enter();
    /// # let manager = pool_core::doc::Numbers::default();
    /// let pool = pool_core::Pool::builder(manager).max_uses(1000).build().unwrap();
    /// assert_eq!(pool.config().max_uses, Some(1000));
    /// ```
    pub fn max_uses(mut self, max_uses: impl Into<Option<u32>>) -> Self {
        self.config.max_uses = max_uses.into();
        self
    }

    /// Sets [`Config::leak_warning`].
    ///
    /// # Examples
    ///
    /// ```
    /// # let runtime = tokio::runtime::Runtime::new().unwrap();
    /// # let _entered = runtime.enter();
    /// # let manager = pool_core::doc::Numbers::default();
    /// let pool = pool_core::Pool::builder(manager).leak_warning(std::time::Duration::from_secs(60)).build().unwrap();
    /// assert_eq!(pool.config().leak_warning, Some(std::time::Duration::from_secs(60)));
    /// ```
    pub fn leak_warning(mut self, leak_warning: impl Into<Option<Duration>>) -> Self {
        self.config.leak_warning = leak_warning.into();
        self
    }

    /// Sets [`Config::leak_backtrace`].
    ///
    /// # Examples
    ///
    /// ```
    /// # let runtime = tokio::runtime::Runtime::new().unwrap();
    /// # let _entered = runtime.enter();
    /// # let manager = pool_core::doc::Numbers::default();
    /// let pool = pool_core::Pool::builder(manager).leak_backtrace(true).build().unwrap();
    /// assert_eq!(pool.config().leak_backtrace, true);
    /// ```
    pub fn leak_backtrace(mut self, leak_backtrace: bool) -> Self {
        self.config.leak_backtrace = leak_backtrace;
        self
    }

    /// Sets [`Config::order`].
    ///
    /// # Examples
    ///
    /// ```
    /// # let runtime = tokio::runtime::Runtime::new().unwrap();
    /// # let _entered = runtime.enter();
    /// # let manager = pool_core::doc::Numbers::default();
    /// let pool = pool_core::Pool::builder(manager).order(pool_core::Order::Fifo).build().unwrap();
    /// assert_eq!(pool.config().order, pool_core::Order::Fifo);
    /// ```
    pub fn order(mut self, order: Order) -> Self {
        self.config.order = order;
        self
    }

    /// Sets [`Config::idle_timeout`].
    ///
    /// # Examples
    ///
    /// ```
    /// # let runtime = tokio::runtime::Runtime::new().unwrap();
    /// # let _entered = runtime.enter();
    /// # let manager = pool_core::doc::Numbers::default();
    /// let pool = pool_core::Pool::builder(manager).idle_timeout(None).build().unwrap();
    /// assert_eq!(pool.config().idle_timeout, None);
    /// ```
    pub fn idle_timeout(mut self, idle_timeout: impl Into<Option<Duration>>) -> Self {
        self.config.idle_timeout = idle_timeout.into();
        self
    }

    /// Sets [`Config::max_lifetime`].
    ///
    /// # Examples
    ///
    /// ```
    /// # let runtime = tokio::runtime::Runtime::new().unwrap();
    /// # let _entered = runtime.enter();
    /// # let manager = pool_core::doc::Numbers::default();
    /// let pool = pool_core::Pool::builder(manager).max_lifetime(None).build().unwrap();
    /// assert_eq!(pool.config().max_lifetime, None);
    /// ```
    pub fn max_lifetime(mut self, max_lifetime: impl Into<Option<Duration>>) -> Self {
        self.config.max_lifetime = max_lifetime.into();
        self
    }

    /// Sets [`Config::lifetime_jitter`].
    ///
    /// # Examples
    ///
    /// ```
    /// # let runtime = tokio::runtime::Runtime::new().unwrap();
    /// # let _entered = runtime.enter();
    /// # let manager = pool_core::doc::Numbers::default();
    /// let pool = pool_core::Pool::builder(manager).lifetime_jitter(0.0).build().unwrap();
    /// assert_eq!(pool.config().lifetime_jitter, 0.0);
    /// ```
    pub fn lifetime_jitter(mut self, lifetime_jitter: f64) -> Self {
        self.config.lifetime_jitter = lifetime_jitter;
        self
    }

    /// Sets [`Config::checkout_timeout`].
    ///
    /// # Examples
    ///
    /// ```
    /// # let runtime = tokio::runtime::Runtime::new().unwrap();
    /// # let _entered = runtime.enter();
    /// # let manager = pool_core::doc::Numbers::default();
    /// let pool = pool_core::Pool::builder(manager).checkout_timeout(None).build().unwrap();
    /// assert_eq!(pool.config().checkout_timeout, None);
    /// ```
    pub fn checkout_timeout(mut self, checkout_timeout: impl Into<Option<Duration>>) -> Self {
        self.config.checkout_timeout = checkout_timeout.into();
        self
    }

    /// Sets [`Config::connect_timeout`].
    ///
    /// # Examples
    ///
    /// ```
    /// # let runtime = tokio::runtime::Runtime::new().unwrap();
    /// # let _entered = runtime.enter();
    /// # let manager = pool_core::doc::Numbers::default();
    /// let pool = pool_core::Pool::builder(manager).connect_timeout(std::time::Duration::from_secs(1)).build().unwrap();
    /// assert_eq!(pool.config().connect_timeout, std::time::Duration::from_secs(1));
    /// ```
    pub fn connect_timeout(mut self, connect_timeout: Duration) -> Self {
        self.config.connect_timeout = connect_timeout;
        self
    }

    /// Sets [`Config::reset_timeout`].
    ///
    /// # Examples
    ///
    /// ```
    /// # let runtime = tokio::runtime::Runtime::new().unwrap();
    /// # let _entered = runtime.enter();
    /// # let manager = pool_core::doc::Numbers::default();
    /// let pool = pool_core::Pool::builder(manager).reset_timeout(std::time::Duration::from_secs(1)).build().unwrap();
    /// assert_eq!(pool.config().reset_timeout, std::time::Duration::from_secs(1));
    /// ```
    pub fn reset_timeout(mut self, reset_timeout: Duration) -> Self {
        self.config.reset_timeout = reset_timeout;
        self
    }

    /// Sets [`Config::close_timeout`].
    ///
    /// # Examples
    ///
    /// ```
    /// # let runtime = tokio::runtime::Runtime::new().unwrap();
    /// # let _entered = runtime.enter();
    /// # let manager = pool_core::doc::Numbers::default();
    /// let pool = pool_core::Pool::builder(manager).close_timeout(std::time::Duration::from_secs(1)).build().unwrap();
    /// assert_eq!(pool.config().close_timeout, std::time::Duration::from_secs(1));
    /// ```
    pub fn close_timeout(mut self, close_timeout: Duration) -> Self {
        self.config.close_timeout = close_timeout;
        self
    }

    /// Sets [`Config::max_connecting`].
    ///
    /// # Examples
    ///
    /// ```
    /// # let runtime = tokio::runtime::Runtime::new().unwrap();
    /// # let _entered = runtime.enter();
    /// # let manager = pool_core::doc::Numbers::default();
    /// let pool = pool_core::Pool::builder(manager).max_connecting(3).build().unwrap();
    /// assert_eq!(pool.config().max_connecting, 3);
    /// ```
    pub fn max_connecting(mut self, max_connecting: usize) -> Self {
        self.config.max_connecting = max_connecting;
        self
    }

    /// Sets [`Config::backoff_first`] and [`Config::backoff_most`].
    ///
    /// # Examples
    ///
    /// ```
    /// # use std::time::Duration;
    /// # let runtime = tokio::runtime::Runtime::new().unwrap();
    /// # let _entered = runtime.enter();
    /// # let manager = pool_core::doc::Numbers::default();
    /// let (first, most) = (Duration::from_millis(10), Duration::from_secs(1));
    /// let pool = pool_core::Pool::builder(manager).backoff(first, most).build().unwrap();
    /// assert_eq!(pool.config().backoff_most, most);
    /// ```
    pub fn backoff(mut self, first: Duration, most: Duration) -> Self {
        self.config.backoff_first = first;
        self.config.backoff_most = most;
        self
    }

    /// Sets [`Config::on_connect_error`].
    ///
    /// # Examples
    ///
    /// ```
    /// # let runtime = tokio::runtime::Runtime::new().unwrap();
    /// # let _entered = runtime.enter();
    /// # let manager = pool_core::doc::Numbers::default();
    /// let pool = pool_core::Pool::builder(manager).on_connect_error(pool_core::OnConnectError::Fail).build().unwrap();
    /// assert_eq!(pool.config().on_connect_error, pool_core::OnConnectError::Fail);
    /// ```
    pub fn on_connect_error(mut self, on_connect_error: OnConnectError) -> Self {
        self.config.on_connect_error = on_connect_error;
        self
    }

    /// Sets [`Config::maintenance`].
    ///
    /// # Examples
    ///
    /// ```
    /// # let runtime = tokio::runtime::Runtime::new().unwrap();
    /// # let _entered = runtime.enter();
    /// # let manager = pool_core::doc::Numbers::default();
    /// let pool = pool_core::Pool::builder(manager).maintenance(false).build().unwrap();
    /// assert_eq!(pool.config().maintenance, false);
    /// ```
    pub fn maintenance(mut self, maintenance: bool) -> Self {
        self.config.maintenance = maintenance;
        self
    }

    /// Sets all numbers at once, those set before included.
    ///
    /// # Examples
    ///
    /// ```
    /// # let runtime = tokio::runtime::Runtime::new().unwrap();
    /// # let _entered = runtime.enter();
    /// # let manager = pool_core::doc::Numbers::default();
    /// let mut config = pool_core::Config::default();
    /// config.max_size = 7;
    /// let pool = pool_core::Pool::builder(manager).config(config.clone()).build().unwrap();
    /// assert_eq!(*pool.config(), config);
    /// ```
    pub fn config(mut self, config: Config) -> Self {
        self.config = config;
        self
    }

    /// Sets the runtime on which the pool dials and maintains; by default the one in which it is built.
    ///
    /// Callers may sit elsewhere, but somebody must drive this runtime: one of the current-thread kind dials only while
    /// its `block_on` runs.
    ///
    /// # Examples
    ///
    /// ```
    /// # let manager = pool_core::doc::Numbers::default();
    /// let runtime = tokio::runtime::Runtime::new().unwrap();
    /// let pool = pool_core::Pool::builder(manager).runtime(runtime.handle().clone()).build().unwrap();
    /// // Any executor will do for the callers.
    /// assert_eq!(*futures::executor::block_on(pool.checkout()).unwrap(), 1);
    /// ```
    pub fn runtime(mut self, runtime: Handle) -> Self {
        self.runtime = Some(runtime);
        self
    }

    /// Checks the settings and makes the pool. Nothing is dialled yet, but for [`Config::min_idle`] in the background.
    ///
    /// # Errors
    ///
    /// [`BuildError::Config`] names the setting that makes no sense; [`BuildError::NoRuntime`] if this is called
    /// outside a tokio runtime and none was given.
    ///
    /// # Panics
    ///
    /// If the runtime was built without timers, as every limit needs one.
    ///
    /// # Examples
    ///
    /// ```
    /// # let runtime = tokio::runtime::Runtime::new().unwrap();
    /// # let _entered = runtime.enter();
    /// # let manager = pool_core::doc::Numbers::default();
    /// let error = pool_core::Pool::builder(manager).max_size(0).build().unwrap_err();
    /// assert!(error.to_string().starts_with("max_size is 0"));
    /// ```
    pub fn build(self) -> Result<Pool<M>, BuildError> {
        Ok(Pool::new(self.parts()?))
    }

    /// What the pool is to be made of.
    pub(crate) fn parts(self) -> Result<Parts<M>, BuildError> {
        self.config.validate()?;
        self.validate_checks()?;
        let runtime = match self.runtime {
            Some(runtime) => runtime,
            None => Handle::try_current().map_err(|_| BuildError::NoRuntime)?,
        };
        Ok(Parts {
            manager: self.manager,
            config: self.config,
            runtime,
            name: self.name.into(),
            checks: Checks::new(self.checks),
            observers: self.observers,
            member: None,
        })
    }

    fn validate_checks(&self) -> Result<(), ConfigError> {
        if self.checks.len() > MOST_CHECKS {
            return Err(ConfigError::new(
                "check",
                format!(
                    "{} checks and hooks are more than {MOST_CHECKS}, the most there may be: combine some",
                    self.checks.len()
                ),
            ));
        }
        let is_zero = |check: &Check<M::Connection>| {
            check.when.while_idle == Some(Duration::ZERO) || check.limit == Duration::ZERO
        };
        if self.checks.iter().any(is_zero) {
            return Err(ConfigError::new(
                "check",
                "a check has a period or a timeout of zero: give it a time or leave it out".into(),
            ));
        }
        Ok(())
    }
}

impl<M: Manager> fmt::Debug for Builder<M> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Builder")
            .field("name", &self.name)
            .field("config", &self.config)
            .field("checks", &self.checks)
            .finish_non_exhaustive()
    }
}
