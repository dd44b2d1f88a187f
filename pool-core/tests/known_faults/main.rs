//! Faults that other pools had, each as a test that this one passes; `manual::lessons` says whose they were.

#![allow(
    clippy::disallowed_methods,
    reason = "under a paused clock, tokio's instants are the pool's"
)]

#[path = "../support/mod.rs"]
mod support;

mod closing;
mod dead;
mod dirty;
mod errors;
mod fairness;
mod operation;
mod sizing;
mod slots;
mod time;

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Wake, Waker};
use std::time::Duration;

const MILLISECOND: Duration = Duration::from_millis(1);

/// Counts how often somebody was woken.
#[derive(Default)]
struct Woken(AtomicUsize);

impl Woken {
    fn new() -> (Arc<Self>, Waker) {
        let woken = Arc::new(Self::default());
        (Arc::clone(&woken), woken.into())
    }

    fn times(&self) -> usize {
        self.0.load(Ordering::SeqCst)
    }
}

impl Wake for Woken {
    fn wake(self: Arc<Self>) {
        self.0.fetch_add(1, Ordering::SeqCst);
    }
}
