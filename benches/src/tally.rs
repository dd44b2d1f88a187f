//! What a client counts while it lives through a story.

use std::sync::atomic::AtomicUsize;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::time::sleep;

use crate::clock::{now, thread_cpu};
use crate::heard::Heard;

/// The client's own counts; the socket states come from the kernel instead.
#[derive(Debug, Default)]
pub(crate) struct Tally {
    pub(crate) dials: AtomicUsize,
    pub(crate) requests: AtomicUsize,
    pub(crate) requests_lost: AtomicUsize,
    /// Checkouts that ended without a connection.
    pub(crate) checkouts_failed: AtomicUsize,
    /// Requests that failed because the peer had closed before the checkout began.
    pub(crate) dead_handed_out: AtomicUsize,
    pub(crate) check_ins: AtomicUsize,
    /// Synchronous probes made.
    pub(crate) probes: AtomicUsize,
    /// Times the watcher looked at a connection.
    pub(crate) watch_polls: AtomicUsize,
    /// What the client's pools tell.
    pub(crate) heard: Arc<Heard>,
    idle: Mutex<Option<IdleCpu>>,
}

/// CPU time a client thread used in a window in which nobody asked it for anything.
#[derive(Clone, Copy, Debug)]
pub(crate) struct IdleCpu {
    pub(crate) used: Duration,
    pub(crate) window: Duration,
}

impl Tally {
    /// Does nothing for `window`, and measures what that costs.
    pub(crate) async fn stay_quiet(&self, window: Duration) {
        let (start, before) = (now(), thread_cpu());
        sleep(window).await;
        if let (Some(before), Some(after)) = (before, thread_cpu()) {
            let idle = IdleCpu {
                used: after.saturating_sub(before),
                window: start.elapsed(),
            };
            *self.idle.lock().unwrap_or_else(PoisonError::into_inner) = Some(idle);
        }
    }

    /// The window measured last.
    pub(crate) fn idle(&self) -> Option<IdleCpu> {
        *self.idle.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
