//! Checks: is a connection still good, asked of the connection itself.

use std::error::Error;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use futures_core::future::BoxFuture;

use crate::pooled::ConnectionInfo;

/// Judges a connection, with a round trip if it likes.
///
/// What has to be decided without one belongs to [`Manager::is_dropped`](crate::Manager::is_dropped), which runs anyway.
/// When a check runs, and for how long it may, is said by the [`Check`] it is wrapped in.
///
/// # Cancellation
///
/// A check that is dropped half way, panics or runs out of its time costs the connection.
///
/// # Examples
///
/// ```
/// # use pool_core::doc::Numbers;
/// use pool_core::{Check, ConnectionInfo, HealthCheck, Pool, Unhealthy, async_trait};
/// use std::time::Duration;
///
/// struct Even;
///
/// #[async_trait]
/// impl HealthCheck<u32> for Even {
///     async fn check(&self, number: &mut u32, _: &ConnectionInfo) -> Result<(), Unhealthy> {
///         // Here a real check would send a ping and await the answer.
///         match *number % 2 {
///             0 => Ok(()),
///             _ => Err(Unhealthy::new("odd")),
///         }
///     }
/// }
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let pool = Pool::builder(Numbers::default())
///     .check(Check::new(Even).at_checkout().timeout(Duration::from_millis(500)))
///     .build()?;
/// // Number 1 was refused.
/// assert_eq!(*pool.checkout().await?, 2);
/// # Ok(()) }
/// ```
#[async_trait]
pub trait HealthCheck<C: Send>: Send + Sync + 'static {
    /// Keeps the connection with `Ok`, and has it closed with `Err`.
    async fn check(&self, connection: &mut C, info: &ConnectionInfo) -> Result<(), Unhealthy>;
}

/// Why a connection is not good any more, and what that says of others.
///
/// Made from any error by `?`.
///
/// # Examples
///
/// ```
/// use pool_core::Unhealthy;
///
/// let unhealthy = Unhealthy::from(std::io::Error::other("no answer")).and_older();
/// assert_eq!(unhealthy.to_string(), "no answer");
/// assert!(unhealthy.retires_older());
/// ```
#[derive(Debug)]
pub struct Unhealthy {
    cause: Arc<dyn Error + Send + Sync>,
    retires_older: bool,
}

impl Unhealthy {
    /// With a text for a cause.
    ///
    /// # Examples
    ///
    /// ```
    /// assert_eq!(pool_core::Unhealthy::new("read only").to_string(), "read only");
    /// ```
    #[must_use]
    pub fn new(cause: impl Into<String>) -> Self {
        Self {
            cause: Arc::new(Text(cause.into())),
            retires_older: false,
        }
    }

    /// Whatever ails this one ails all that are older: they are retired, so that many dead connections cost one failure
    /// and not many.
    ///
    /// # Examples
    ///
    /// ```
    /// assert!(pool_core::Unhealthy::new("the primary has moved").and_older().retires_older());
    /// ```
    #[must_use]
    pub fn and_older(mut self) -> Self {
        self.retires_older = true;
        self
    }

    /// Whether all older connections are retired.
    ///
    /// # Examples
    ///
    /// ```
    /// assert!(!pool_core::Unhealthy::new("odd").retires_older());
    /// ```
    #[must_use]
    pub fn retires_older(&self) -> bool {
        self.retires_older
    }

    pub(crate) fn cause(&self) -> Arc<dyn Error + Send + Sync> {
        Arc::clone(&self.cause)
    }
}

impl<E: Error + Send + Sync + 'static> From<E> for Unhealthy {
    fn from(error: E) -> Self {
        Self {
            cause: Arc::new(error),
            retires_older: false,
        }
    }
}

impl fmt::Display for Unhealthy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.cause.fmt(f)
    }
}

/// A text that is all there is of an error.
#[derive(Debug)]
struct Text(String);

impl fmt::Display for Text {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl Error for Text {}

/// A check and when it runs; without a *when* it never does, and with several it runs at each of them.
///
/// # Examples
///
/// Each line is a sentence:
///
/// ```
/// # fn ping(_: &mut u32, _: &pool_core::ConnectionInfo) -> Result<(), pool_core::Unhealthy> { Ok(()) }
/// use pool_core::Check;
/// use std::time::Duration;
///
/// let second = Duration::from_secs(1);
/// let seldom = Check::sync(ping).at_checkout_if_idle_for(30 * second).timeout(second);
/// let always = Check::sync(ping).at_checkout().and_retire_older();
/// let keepalive = Check::sync(ping).while_idle_every(60 * second);
/// assert!(format!("{keepalive:?}").contains("while_idle: Some(60s)"));
/// # let pools: [Check<u32>; 3] = [seldom, always, keepalive];
/// ```
pub struct Check<C> {
    pub(crate) judge: Judge<C>,
    pub(crate) when: When,
    pub(crate) limit: Duration,
    retires_older: bool,
}

pub(crate) enum Judge<C> {
    Sync(Box<SyncCheck<C>>),
    Async(Box<dyn HealthCheck<C>>),
}

type SyncCheck<C> = dyn Fn(&mut C, &ConnectionInfo) -> Result<(), Unhealthy> + Send + Sync;

/// The occasions on which a check runs.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct When {
    pub(crate) after_connect: bool,
    pub(crate) at_checkin: bool,
    pub(crate) at_checkout: AtCheckout,
    pub(crate) while_idle: Option<Duration>,
}

/// What a check at checkout depends on: any of these will do.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct AtCheckout {
    pub(crate) always: bool,
    pub(crate) if_idle_for: Option<Duration>,
    pub(crate) if_unsure: bool,
}

/// How long a check may take unless it says otherwise.
const LIMIT: Duration = Duration::from_secs(5);

impl<C: Send + 'static> Check<C> {
    /// A check that may await something.
    ///
    /// # Examples
    ///
    /// ```
    /// # use pool_core::{Check, ConnectionInfo, HealthCheck, Unhealthy, async_trait};
    /// struct Fine;
    ///
    /// #[async_trait]
    /// impl HealthCheck<u32> for Fine {
    ///     async fn check(&self, _: &mut u32, _: &ConnectionInfo) -> Result<(), Unhealthy> {
    ///         Ok(())
    ///     }
    /// }
    ///
    /// let check = Check::new(Fine).at_checkout();
    /// assert!(format!("{check:?}").contains("always: true"));
    /// ```
    pub fn new(check: impl HealthCheck<C>) -> Self {
        Self::judged_by(Judge::Async(Box::new(check)))
    }

    /// A check that answers at once.
    ///
    /// # Examples
    ///
    /// ```
    /// use pool_core::{Check, Unhealthy};
    ///
    /// let check = Check::sync(|number: &mut u32, info| match info.uses {
    ///     0..100 => Ok(()),
    ///     _ => Err(Unhealthy::new(format!("{number} is worn out"))),
    /// });
    /// assert!(format!("{check:?}").contains("at_checkin: false"));
    /// ```
    pub fn sync<F>(check: F) -> Self
    where
        F: Fn(&mut C, &ConnectionInfo) -> Result<(), Unhealthy> + Send + Sync + 'static,
    {
        Self::judged_by(Judge::Sync(Box::new(check)))
    }

    /// A check that is a closure and may await something.
    ///
    /// # Examples
    ///
    /// ```
    /// use pool_core::Check;
    ///
    /// let check = Check::future(|number: &mut u32, _| {
    ///     Box::pin(async move {
    ///         tokio::task::yield_now().await;
    ///         *number += 1;
    ///         Ok(())
    ///     })
    /// });
    /// assert!(format!("{check:?}").contains("after_connect: false"));
    /// ```
    pub fn future<F>(check: F) -> Self
    where
        F: for<'c> Fn(&'c mut C, ConnectionInfo) -> BoxFuture<'c, Result<(), Unhealthy>>
            + Send
            + Sync
            + 'static,
    {
        Self::new(Closure(check))
    }

    fn judged_by(judge: Judge<C>) -> Self {
        Self {
            judge,
            when: When::default(),
            limit: LIMIT,
            retires_older: false,
        }
    }

    /// Runs on each new connection; a refusal is a failed dial.
    ///
    /// # Examples
    ///
    /// ```
    /// # let check = pool_core::Check::sync(|_: &mut u32, _| Ok(()));
    /// assert!(format!("{:?}", check.after_connect()).contains("after_connect: true"));
    /// ```
    #[must_use]
    pub fn after_connect(mut self) -> Self {
        self.when.after_connect = true;
        self
    }

    /// Runs on each connection that is about to be handed out.
    ///
    /// # Examples
    ///
    /// ```
    /// # let check = pool_core::Check::sync(|_: &mut u32, _| Ok(()));
    /// assert!(format!("{:?}", check.at_checkout()).contains("always: true"));
    /// ```
    #[must_use]
    pub fn at_checkout(mut self) -> Self {
        self.when.at_checkout.always = true;
        self
    }

    /// Runs on a connection that is about to be handed out if it has been idle for longer than that.
    ///
    /// # Examples
    ///
    /// ```
    /// # use std::time::Duration;
    /// # let check = pool_core::Check::sync(|_: &mut u32, _| Ok(()));
    /// let check = check.at_checkout_if_idle_for(Duration::from_secs(30));
    /// assert!(format!("{check:?}").contains("if_idle_for: Some(30s)"));
    /// ```
    #[must_use]
    pub fn at_checkout_if_idle_for(mut self, limit: Duration) -> Self {
        self.when.at_checkout.if_idle_for = Some(limit);
        self
    }

    /// Runs on a connection that is about to be handed out if [`Manager::is_unsure`](crate::Manager::is_unsure) says that
    /// the probe could not tell.
    ///
    /// # Examples
    ///
    /// ```
    /// # let check = pool_core::Check::sync(|_: &mut u32, _| Ok(()));
    /// assert!(format!("{:?}", check.at_checkout_if_unsure()).contains("if_unsure: true"));
    /// ```
    #[must_use]
    pub fn at_checkout_if_unsure(mut self) -> Self {
        self.when.at_checkout.if_unsure = true;
        self
    }

    /// Runs on each connection that comes home, before it is offered to anybody.
    ///
    /// # Examples
    ///
    /// ```
    /// # let check = pool_core::Check::sync(|_: &mut u32, _| Ok(()));
    /// assert!(format!("{:?}", check.at_checkin()).contains("at_checkin: true"));
    /// ```
    #[must_use]
    pub fn at_checkin(mut self) -> Self {
        self.when.at_checkin = true;
        self
    }

    /// Keepalive: runs on each connection that has been idle for that long, and again every so often. Each slot's period is
    /// shorter by up to a tenth, so that connections made together are not checked together.
    ///
    /// It is not a use, so the idle time goes on. Needs [`Config::maintenance`](crate::Config::maintenance) to run without
    /// traffic.
    ///
    /// # Examples
    ///
    /// ```
    /// # use std::time::Duration;
    /// # let check = pool_core::Check::sync(|_: &mut u32, _| Ok(()));
    /// let check = check.while_idle_every(Duration::from_secs(60));
    /// assert!(format!("{check:?}").contains("while_idle: Some(60s)"));
    /// ```
    #[must_use]
    pub fn while_idle_every(mut self, period: Duration) -> Self {
        self.when.while_idle = Some(period);
        self
    }

    /// Limits how long one run may take. Default 5 seconds. A synchronous check is not limited.
    ///
    /// # Examples
    ///
    /// ```
    /// # use std::time::Duration;
    /// # let check = pool_core::Check::sync(|_: &mut u32, _| Ok(()));
    /// assert!(format!("{:?}", check.timeout(Duration::from_secs(1))).contains("limit: 1s"));
    /// ```
    #[must_use]
    pub fn timeout(mut self, limit: Duration) -> Self {
        self.limit = limit;
        self
    }

    /// Any failure of this check, a timeout or a panic included, also retires all older connections.
    ///
    /// # Examples
    ///
    /// ```
    /// # let check = pool_core::Check::sync(|_: &mut u32, _| Ok(()));
    /// assert!(format!("{:?}", check.and_retire_older()).contains("retires_older: true"));
    /// ```
    #[must_use]
    pub fn and_retire_older(mut self) -> Self {
        self.retires_older = true;
        self
    }
}

impl<C> Check<C> {
    /// The verdict, with what this check says of older connections.
    pub(crate) fn blame(&self, verdict: Result<(), Unhealthy>) -> Result<(), Unhealthy> {
        verdict.map_err(|unhealthy| match self.retires_older {
            true => unhealthy.and_older(),
            false => unhealthy,
        })
    }
}

impl<C> fmt::Debug for Check<C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let When {
            after_connect,
            at_checkin,
            at_checkout,
            while_idle,
        } = self.when;
        f.debug_struct("Check")
            .field("after_connect", &after_connect)
            .field("at_checkout", &at_checkout)
            .field("at_checkin", &at_checkin)
            .field("while_idle", &while_idle)
            .field("limit", &self.limit)
            .field("retires_older", &self.retires_older)
            .finish_non_exhaustive()
    }
}

struct Closure<F>(F);

#[async_trait]
impl<C, F> HealthCheck<C> for Closure<F>
where
    C: Send + 'static,
    F: for<'c> Fn(&'c mut C, ConnectionInfo) -> BoxFuture<'c, Result<(), Unhealthy>>
        + Send
        + Sync
        + 'static,
{
    async fn check(&self, connection: &mut C, info: &ConnectionInfo) -> Result<(), Unhealthy> {
        (self.0)(connection, *info).await
    }
}
