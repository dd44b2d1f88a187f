//! The end of a driver, told to those who wait for its answers.
//!
//! redis-rs hands commands to the driver through a channel of tokio's. One that is put in at the very moment at which
//! the driver ends may stay in there, neither sent nor dropped, for as long as the connection is held; so its user would
//! wait for his whole limit, or for ever if he has none.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use tokio::sync::Notify;
use tokio::sync::futures::Notified;

/// Whether a driver has ended; cheap to clone.
#[derive(Clone, Debug, Default)]
pub(crate) struct End(Arc<Inner>);

#[derive(Debug, Default)]
struct Inner {
    is_over: AtomicBool,
    waiting: Notify,
}

impl End {
    /// The driver is gone, and with it everything it had taken in.
    pub(crate) fn comes(&self) {
        // Set before anybody is woken, who would not look again.
        self.0.is_over.store(true, Ordering::Release);
        self.0.waiting.notify_waiters();
    }

    /// To be looked at after [`coming`](Self::coming) was polled, or the end may come in between, unheard.
    pub(crate) fn is_over(&self) -> bool {
        self.0.is_over.load(Ordering::Acquire)
    }

    pub(crate) fn coming(&self) -> Notified<'_> {
        self.0.waiting.notified()
    }
}
