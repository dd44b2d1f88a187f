//! Several connections at once, all or none.

use std::future::{Future, IntoFuture, poll_fn};
use std::panic::Location;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use futures_core::future::BoxFuture;

use crate::checkout::{Checkout, CheckoutOwned};
use crate::error::CheckoutError;
use crate::manager::Manager;
use crate::pooled::{OwnedPooled, Pooled};
use crate::shared::Shared;
use crate::tasks::unless;

/// What [`Pool::checkout_many`](crate::Pool::checkout_many) returns: to be awaited.
///
/// # Cancellation
///
/// Dropped at any time, it gives back whatever it has.
///
/// # Examples
///
/// ```
/// # use pool_core::doc::Numbers;
/// # use std::time::Duration;
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let pool = pool_core::Pool::builder(Numbers::default()).max_size(2).build()?;
/// let held = pool.checkout().await?;
/// assert!(pool.checkout_many(2).timeout(Duration::from_millis(1)).await.is_err());
/// # Ok(()) }
/// ```
#[must_use = "a checkout does nothing until it is awaited"]
#[derive(Debug)]
pub struct CheckoutMany<'a, M: Manager> {
    shared: &'a Arc<Shared<M>>,
    wanted: usize,
    limit: Option<Duration>,
    place: &'static Location<'static>,
}

impl<'a, M: Manager> CheckoutMany<'a, M> {
    pub(crate) fn new(
        shared: &'a Arc<Shared<M>>,
        wanted: usize,
        place: &'static Location<'static>,
    ) -> Self {
        Self {
            shared,
            wanted,
            limit: shared.config.checkout_timeout,
            place,
        }
    }

    /// Sets the limit of the whole, instead of [`Config::checkout_timeout`](crate::Config::checkout_timeout).
    ///
    /// # Examples
    ///
    /// See [`CheckoutMany`].
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
    /// assert_eq!(pool.checkout_many(3).without_timeout().await?.len(), 3);
    /// # Ok(()) }
    /// ```
    pub fn without_timeout(mut self) -> Self {
        self.limit = None;
        self
    }

    /// Guards that do not borrow the pool.
    ///
    /// # Examples
    ///
    /// ```
    /// # use pool_core::doc::Numbers;
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let pool = pool_core::Pool::builder(Numbers::default()).build()?;
    /// let guards = pool.checkout_many(2).owned().await?;
    /// assert_eq!(tokio::spawn(async move { guards.len() }).await?, 2);
    /// # Ok(()) }
    /// ```
    pub async fn owned(self) -> Result<Vec<OwnedPooled<M>>, CheckoutError<M::Error>> {
        let (shared, place) = (Arc::clone(self.shared), self.place);
        self.all(|limit| limited_owned(CheckoutOwned::new(Arc::clone(&shared), place), limit))
            .await
    }

    /// One caller at a time takes many, so that no two can each hold a part of what the other needs. He has all his places
    /// in the queue at once, one behind the other.
    async fn all<F, G>(
        self,
        checkout: impl Fn(Option<Duration>) -> F,
    ) -> Result<Vec<G>, CheckoutError<M::Error>>
    where
        F: Future<Output = Result<G, CheckoutError<M::Error>>>,
    {
        let Self {
            shared,
            wanted,
            limit,
            ..
        } = self;
        let too_many = || {
            let max_size = shared.status().max_size;
            CheckoutError::TooMany { wanted, max_size }
        };
        if wanted > shared.status().max_size {
            return Err(too_many());
        }
        let begun = shared.clock.exact();
        let taken = async {
            let Some(_turn) = shared.within(limit, shared.many.acquire()).await else {
                let limit = limit.unwrap_or_default();
                return Err(CheckoutError::Timeout(shared.timed_out(limit, None)));
            };
            let left = limit.map(|limit| limit.saturating_sub(shared.clock.exact().since(begun)));
            join((0..wanted).map(|_| checkout(left)).collect()).await
        };
        // The pool may become too small meanwhile, and whoever can never be served must not hold on to what he has.
        match unless(shrunk(shared, wanted), taken).await {
            Some(Ok(guards)) => Ok(guards),
            Some(Err(CheckoutError::Timeout(mut timeout))) => {
                timeout.waited = limit.unwrap_or(timeout.waited);
                Err(CheckoutError::Timeout(timeout))
            }
            Some(Err(error)) => Err(error),
            None => Err(too_many()),
        }
    }
}

impl<'a, M: Manager> IntoFuture for CheckoutMany<'a, M> {
    type Output = Result<Vec<Pooled<'a, M>>, CheckoutError<M::Error>>;
    type IntoFuture = BoxFuture<'a, Self::Output>;

    fn into_future(self) -> Self::IntoFuture {
        let (shared, place) = (self.shared, self.place);
        Box::pin(self.all(move |limit| limited(Checkout::new(shared, place), limit)))
    }
}

fn limited<M: Manager>(checkout: Checkout<'_, M>, limit: Option<Duration>) -> Checkout<'_, M> {
    match limit {
        Some(limit) => checkout.timeout(limit),
        None => checkout.without_timeout(),
    }
}

fn limited_owned<M: Manager>(
    checkout: CheckoutOwned<M>,
    limit: Option<Duration>,
) -> CheckoutOwned<M> {
    match limit {
        Some(limit) => checkout.timeout(limit),
        None => checkout.without_timeout(),
    }
}

/// Ends when the pool may not have so many.
async fn shrunk<M: Manager>(shared: &Arc<Shared<M>>, wanted: usize) {
    loop {
        let mut changed = pin!(shared.changed.notified());
        // Before the look: a change between the two must not go unnoticed.
        changed.as_mut().enable();
        if wanted > shared.status().max_size {
            return;
        }
        changed.await;
    }
}

/// All outcomes, or the first error; then the others are dropped, with what they have.
async fn join<F, G, E>(futures: Vec<F>) -> Result<Vec<G>, E>
where
    F: Future<Output = Result<G, E>>,
{
    let mut waiting: Vec<Option<Pin<Box<F>>>> = futures
        .into_iter()
        .map(|future| Some(Box::pin(future)))
        .collect();
    let mut done = Vec::with_capacity(waiting.len());
    poll_fn(|cx| {
        for place in &mut waiting {
            let Some(future) = place else {
                continue;
            };
            if let Poll::Ready(outcome) = future.as_mut().poll(cx) {
                *place = None;
                done.push(outcome?);
            }
        }
        match waiting.iter().all(Option::is_none) {
            true => Poll::Ready(Ok(())),
            false => Poll::Pending,
        }
    })
    .await?;
    Ok(done)
}
