//! The future of a lease on a key's connection: the pool's, with a visit that lasts as long.

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use pin_project_lite::pin_project;

use super::keys::OwnedVisit;
use crate::error::CheckoutError;
use crate::manager::Manager;
use crate::multiplex::{Lease, Leased, Share};

pin_project! {
    /// The future of [`KeyedPool::lease`](crate::KeyedPool::lease).
    ///
    /// # Cancellation
    ///
    /// May be dropped at any time; see [`Lease`].
    ///
    /// # Examples
    ///
    /// ```
    /// # use pool_core::doc::Multiplexed;
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let pool = pool_core::KeyedPool::builder(|_host: &&str| Multiplexed::carrying(2)).build()?;
    /// let lease = pool.lease(&"here");
    /// drop(lease);
    /// assert_eq!(pool.status().keys, 0);
    /// # Ok(()) }
    /// ```
    #[must_use = "a lease does nothing until it is awaited"]
    pub struct KeyedLease<K, M: Share> {
        // Declared first and so dropped first: whoever leaves the queue still visits.
        #[pin]
        lease: Option<Lease<M>>,
        visit: Option<OwnedVisit<K, M>>,
    }
}

impl<K, M: Share> KeyedLease<K, M> {
    pub(super) fn new(visit: Option<OwnedVisit<K, M>>) -> Self {
        let layer = visit.as_ref().map(|visit| visit.entry.layer());
        Self {
            lease: layer.map(|layer| Lease::new(Arc::clone(layer))),
            visit,
        }
    }

    /// Another limit than [`Config::checkout_timeout`](crate::Config::checkout_timeout).
    ///
    /// # Examples
    ///
    /// ```
    /// # use pool_core::doc::Multiplexed;
    /// # use std::time::Duration;
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let pool = pool_core::KeyedPool::builder(|_host: &&str| Multiplexed::carrying(1)).max_size(1).build()?;
    /// let _held = pool.lease(&"here").await?;
    /// let full = pool.lease(&"here").timeout(Duration::from_millis(5)).await;
    /// assert!(full.unwrap_err().to_string().starts_with("timed out after 5 ms"));
    /// # Ok(()) }
    /// ```
    pub fn timeout(self, limit: Duration) -> Self {
        Self {
            lease: self.lease.map(|lease| lease.timeout(limit)),
            visit: self.visit,
        }
    }

    /// Waits for ever.
    ///
    /// # Examples
    ///
    /// ```
    /// # use pool_core::doc::Multiplexed;
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let pool = pool_core::KeyedPool::builder(|_host: &&str| Multiplexed::carrying(2)).build()?;
    /// let _lease = pool.lease(&"here").without_timeout().await?;
    /// assert_eq!(pool.status().in_use, 1);
    /// # Ok(()) }
    /// ```
    pub fn without_timeout(self) -> Self {
        Self {
            lease: self.lease.map(Lease::without_timeout),
            visit: self.visit,
        }
    }
}

impl<K, M: Share> Future for KeyedLease<K, M> {
    type Output = Result<Leased<M>, CheckoutError<<M as Manager>::Error>>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.project();
        let Some(lease) = this.lease.as_pin_mut() else {
            return Poll::Ready(Err(CheckoutError::Closed));
        };
        let outcome = lease.poll(cx);
        if let Poll::Ready(Ok(_)) = &outcome
            && let Some(visit) = this.visit.take()
        {
            visit.end_served();
        }
        outcome
    }
}

impl<K, M: Share> fmt::Debug for KeyedLease<K, M> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("KeyedLease")
            .field("lease", &self.lease)
            .finish_non_exhaustive()
    }
}
