//! Connections made before anybody asks for them.

use std::future::{IntoFuture, poll_fn};
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use futures_core::Stream;
use futures_core::future::BoxFuture;

use crate::error::CheckoutError;
use crate::manager::Manager;
use crate::shared::Shared;
use crate::state::{Time, Warmth};

/// What [`Pool::warm_up`](crate::Pool::warm_up) returns: awaited, it ends when the connections are there; polled as a stream,
/// it tells how many are.
///
/// # Cancellation
///
/// Dropped, it starts no further dials; those under way go on, and their connections are kept.
///
/// # Examples
///
/// ```
/// # use pool_core::doc::Numbers;
/// use futures::StreamExt;
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let pool = pool_core::Pool::builder(Numbers::default()).build()?;
/// let mut progress = pool.warm_up(2);
/// while let Some(step) = progress.next().await {
///     println!("{} of {} connected", step?.connected, 2);
/// }
/// assert_eq!(pool.status().idle, 2);
/// # Ok(()) }
/// ```
#[must_use = "a warm-up does nothing until it is polled"]
pub struct WarmUp<'a, M: Manager> {
    shared: &'a Arc<Shared<M>>,
    wanted: usize,
    limit: Option<Duration>,
    /// When it was first polled.
    begun: Option<Time>,
    step: Option<BoxFuture<'a, Result<Progress, CheckoutError<M::Error>>>>,
    told: Option<usize>,
    over: bool,
}

/// How far a warm-up has come.
///
/// # Examples
///
/// See [`WarmUp`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Progress {
    /// Connections there are, idle or in use.
    pub connected: usize,
    /// Connections there are to be: what was asked for, as far as [`Config::max_idle`](crate::Config::max_idle) allows.
    pub wanted: usize,
}

impl<'a, M: Manager> WarmUp<'a, M> {
    pub(crate) fn new(shared: &'a Arc<Shared<M>>, wanted: usize) -> Self {
        Self {
            shared,
            wanted,
            limit: shared.config.checkout_timeout,
            begun: None,
            step: None,
            told: None,
            over: false,
        }
    }

    /// Sets the limit of the whole, counted from the first poll, instead of
    /// [`Config::checkout_timeout`](crate::Config::checkout_timeout).
    ///
    /// # Examples
    ///
    /// ```
    /// # use pool_core::doc::Refused;
    /// # use std::time::Duration;
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// let pool = pool_core::Pool::builder(Refused).build()?;
    /// let error = pool.warm_up(1).timeout(Duration::from_millis(50)).await.unwrap_err();
    /// assert!(error.to_string().contains("connection refused"));
    /// # Ok(()) }
    /// ```
    pub fn timeout(mut self, limit: Duration) -> Self {
        self.limit = Some(limit);
        self
    }

    /// Waits without limit.
    ///
    /// # Examples
    ///
    /// ```
    /// # use pool_core::doc::Numbers;
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let pool = pool_core::Pool::builder(Numbers::default()).build()?;
    /// pool.warm_up(3).without_timeout().await?;
    /// assert_eq!(pool.status().idle, 3);
    /// # Ok(()) }
    /// ```
    pub fn without_timeout(mut self) -> Self {
        self.limit = None;
        self
    }
}

impl<M: Manager> Stream for WarmUp<'_, M> {
    type Item = Result<Progress, CheckoutError<M::Error>>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let this = &mut *self;
        if this.over {
            return Poll::Ready(None);
        }
        let (shared, wanted, told, limit) = (this.shared, this.wanted, this.told, this.limit);
        let begun = *this.begun.get_or_insert_with(|| shared.clock.exact());
        let step = this.step.get_or_insert_with(|| {
            let left = limit.map(|limit| limit.saturating_sub(shared.clock.exact().since(begun)));
            Box::pin(async move {
                match shared.within(left, next(shared, wanted, told)).await {
                    Some(step) => step,
                    None => Err(CheckoutError::Timeout(
                        shared.timeout(limit.unwrap_or_default(), None),
                    )),
                }
            })
        });
        let step = ready!(step.as_mut().poll(cx));
        this.step = None;
        this.told = step.as_ref().ok().map(|progress| progress.connected);
        this.over = step
            .as_ref()
            .map_or(true, |progress| progress.connected >= progress.wanted);
        Poll::Ready(Some(step))
    }
}

impl<'a, M: Manager> IntoFuture for WarmUp<'a, M> {
    type Output = Result<(), CheckoutError<M::Error>>;
    type IntoFuture = BoxFuture<'a, Self::Output>;

    fn into_future(mut self) -> Self::IntoFuture {
        Box::pin(async move {
            while let Some(step) = poll_fn(|cx| Pin::new(&mut self).poll_next(cx)).await {
                step?;
            }
            Ok(())
        })
    }
}

/// Waits until there is something else to tell than last time, and starts what is missing.
async fn next<M: Manager>(
    shared: &Arc<Shared<M>>,
    wanted: usize,
    told: Option<usize>,
) -> Result<Progress, CheckoutError<M::Error>> {
    loop {
        let mut changed = pin!(shared.changed.notified());
        // Before the look: a change between the two must not go unnoticed.
        changed.as_mut().enable();
        let max_size = shared.status().max_size;
        if wanted > max_size {
            return Err(CheckoutError::TooMany { wanted, max_size });
        }
        match shared.update(|state, now, effects| state.warm_up(wanted, now, effects)) {
            Warmth::Connected(connected, wanted) if told != Some(connected) => {
                return Ok(Progress { connected, wanted });
            }
            Warmth::Connected(..) => changed.await,
            Warmth::Failed(error, at) => {
                return Err(CheckoutError::Connect(shared.failure(error, at)));
            }
            Warmth::Closed => return Err(CheckoutError::Closed),
        }
    }
}

impl<M: Manager> std::fmt::Debug for WarmUp<'_, M> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("WarmUp")
            .field("wanted", &self.wanted)
            .field("told", &self.told)
            .finish_non_exhaustive()
    }
}
