//! The futures of a checkout from a key's pool: those of the pool, with a visit that lasts as long.

use std::borrow::Borrow;
use std::fmt;
use std::future::Future;
use std::panic::Location;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use pin_project_lite::pin_project;

use super::keys::{BorrowedVisit, Keys, OwnedVisit, Visit};
use crate::checkout::CheckoutOwned;
use crate::error::CheckoutError;
use crate::manager::Manager;
use crate::pooled::OwnedPooled;
use crate::total::OnFull;

pin_project! {
    /// The future of [`KeyedPool::checkout`](crate::KeyedPool::checkout).
    ///
    /// # Cancellation
    ///
    /// May be dropped at any time, as [`Checkout`](crate::Checkout); a key for which nothing else is there is forgotten
    /// with it.
    ///
    /// # Examples
    ///
    /// ```
    /// # use pool_core::doc::Numbers;
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// let pool = pool_core::KeyedPool::builder(|_: &&str| Numbers::default()).build()?;
    /// let checkout = pool.checkout(&"one.example");
    /// assert_eq!(pool.keys(), ["one.example"]);
    /// drop(checkout);
    /// assert!(pool.keys().is_empty());
    /// # Ok(()) }
    /// ```
    #[must_use = "a checkout does nothing until it is awaited"]
    pub struct KeyedCheckout<'a, K, M: Manager> {
        #[pin]
        stay: Stay<K, M, &'a Arc<Keys<K, M>>>,
    }
}

pin_project! {
    /// The future of [`KeyedPool::checkout_owned`](crate::KeyedPool::checkout_owned); it does not keep the pool open.
    ///
    /// # Cancellation
    ///
    /// As that of [`KeyedCheckout`].
    ///
    /// # Examples
    ///
    /// ```
    /// # use pool_core::doc::Numbers;
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// let pool = pool_core::KeyedPool::builder(|_: &&str| Numbers::default()).build()?;
    /// let checkout = pool.checkout_owned(&"one.example");
    /// drop(pool);
    /// assert!(checkout.await.is_err());
    /// # Ok(()) }
    /// ```
    #[must_use = "a checkout does nothing until it is awaited"]
    pub struct KeyedCheckoutOwned<K, M: Manager> {
        #[pin]
        stay: Stay<K, M, Arc<Keys<K, M>>>,
    }
}

pin_project! {
    /// The engine of both futures.
    struct Stay<K, M: Manager, H: Borrow<Arc<Keys<K, M>>>> {
        // Declared first and so dropped first: whoever leaves the queue still visits.
        #[pin]
        checkout: Option<CheckoutOwned<M>>,
        visit: Option<Visit<K, M, H>>,
        fails_when_full: bool,
    }
}

impl<'a, K, M: Manager> KeyedCheckout<'a, K, M> {
    pub(super) fn new(
        visit: Option<BorrowedVisit<'a, K, M>>,
        on_full: OnFull,
        place: &'static Location<'static>,
    ) -> Self {
        Self {
            stay: Stay::new(visit, on_full, place),
        }
    }

    /// As [`Checkout::timeout`](crate::Checkout::timeout).
    ///
    /// # Examples
    ///
    /// ```
    /// # use pool_core::doc::Numbers;
    /// # use std::time::Duration;
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// let pool = pool_core::KeyedPool::builder(|_: &&str| Numbers::default()).max_total(1).build()?;
    /// let held = pool.checkout(&"one.example").await?;
    /// let error = pool.checkout(&"two.example").timeout(Duration::from_millis(5)).await.unwrap_err();
    /// assert!(error.to_string().ends_with("1 waiting; 1 of 1 over all keys)"));
    /// # Ok(()) }
    /// ```
    pub fn timeout(self, limit: Duration) -> Self {
        Self {
            stay: self.stay.limited(Some(limit)),
        }
    }

    /// As [`Checkout::without_timeout`](crate::Checkout::without_timeout).
    ///
    /// # Examples
    ///
    /// ```
    /// # use pool_core::doc::Numbers;
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let pool = pool_core::KeyedPool::builder(|_: &&str| Numbers::default()).build()?;
    /// assert_eq!(*pool.checkout(&"one.example").without_timeout().await?, 1);
    /// # Ok(()) }
    /// ```
    pub fn without_timeout(self) -> Self {
        Self {
            stay: self.stay.limited(None),
        }
    }
}

impl<K, M: Manager> KeyedCheckoutOwned<K, M> {
    pub(super) fn new(
        visit: Option<OwnedVisit<K, M>>,
        on_full: OnFull,
        place: &'static Location<'static>,
    ) -> Self {
        Self {
            stay: Stay::new(visit, on_full, place),
        }
    }

    /// As [`Checkout::timeout`](crate::Checkout::timeout).
    ///
    /// # Examples
    ///
    /// ```
    /// # use pool_core::doc::Numbers;
    /// # use std::time::Duration;
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let pool = pool_core::KeyedPool::builder(|_: &&str| Numbers::default()).build()?;
    /// assert!(pool.checkout_owned(&"one.example").timeout(Duration::ZERO).await.is_err());
    /// # Ok(()) }
    /// ```
    pub fn timeout(self, limit: Duration) -> Self {
        Self {
            stay: self.stay.limited(Some(limit)),
        }
    }

    /// As [`Checkout::without_timeout`](crate::Checkout::without_timeout).
    ///
    /// # Examples
    ///
    /// ```
    /// # use pool_core::doc::Numbers;
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let pool = pool_core::KeyedPool::builder(|_: &&str| Numbers::default()).build()?;
    /// assert_eq!(*pool.checkout_owned(&"one.example").without_timeout().await?, 1);
    /// # Ok(()) }
    /// ```
    pub fn without_timeout(self) -> Self {
        Self {
            stay: self.stay.limited(None),
        }
    }
}

impl<K, M: Manager, H: Borrow<Arc<Keys<K, M>>>> Stay<K, M, H> {
    fn new(
        visit: Option<Visit<K, M, H>>,
        on_full: OnFull,
        place: &'static Location<'static>,
    ) -> Self {
        let shared = visit.as_ref().map(|visit| visit.entry.pool.shared());
        Self {
            checkout: shared.map(|shared| CheckoutOwned::new(Arc::clone(shared), place)),
            visit,
            fails_when_full: on_full == OnFull::Fail,
        }
    }

    fn limited(mut self, limit: Option<Duration>) -> Self {
        self.checkout = self.checkout.map(|checkout| match limit {
            Some(limit) => checkout.timeout(limit),
            None => checkout.without_timeout(),
        });
        self
    }

    fn poll(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Result<OwnedPooled<M>, CheckoutError<M::Error>>> {
        let mut this = self.project();
        let Some(mut checkout) = this.checkout.as_mut().as_pin_mut() else {
            return Poll::Ready(Err(CheckoutError::Closed));
        };
        let mut outcome = checkout.as_mut().poll(cx);
        if outcome.is_pending() && *this.fails_when_full {
            // That there is no room over all keys is known once he has queued, and then he is told.
            outcome = checkout.poll(cx);
        }
        if let Poll::Ready(outcome) = &outcome
            && let Some(visit) = this.visit.take()
            && outcome.is_ok()
        {
            visit.end_served();
        }
        outcome
    }
}

impl<K, M: Manager> Future for KeyedCheckout<'_, K, M> {
    type Output = Result<OwnedPooled<M>, CheckoutError<M::Error>>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        self.project().stay.poll(cx)
    }
}

impl<K, M: Manager> Future for KeyedCheckoutOwned<K, M> {
    type Output = Result<OwnedPooled<M>, CheckoutError<M::Error>>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        self.project().stay.poll(cx)
    }
}

impl<K, M: Manager> fmt::Debug for KeyedCheckout<'_, K, M> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("KeyedCheckout")
            .field("checkout", &self.stay.checkout)
            .finish_non_exhaustive()
    }
}

impl<K, M: Manager> fmt::Debug for KeyedCheckoutOwned<K, M> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("KeyedCheckoutOwned")
            .field("checkout", &self.stay.checkout)
            .finish_non_exhaustive()
    }
}
