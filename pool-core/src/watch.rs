//! How a connection that lies idle tells the pool that its peer did something.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::Poll;

use futures_task::{ArcWake, WakerRef, waker_ref};
use tokio::sync::Notify;

use crate::clock::Stopwatch;
use crate::manager::{Dropped, Manager};
use crate::state::{SlotId, Time};

/// A connection with the waker that watches it; what the pool lends out.
#[derive(Debug)]
pub(crate) struct Live<C> {
    pub(crate) connection: C,
    watch: Arc<Watch>,
}

/// The waker of one connection: names its slot to the maintenance task. There is one for each, so it is kept small.
#[derive(Debug)]
struct Watch {
    inbox: Arc<Inbox>,
    slot: SlotId,
    /// Cleared by the first wake and while the connection is in use, when its events are its user's affair.
    armed: AtomicBool,
}

/// What the maintenance task is to look at.
#[derive(Debug)]
pub(crate) struct Inbox {
    stopwatch: Stopwatch,
    stirred: Mutex<Vec<Letter>>,
    nudged: Notify,
}

/// Names a slot, and says since when there is something to see. Meant is whoever lies idle there: should another connection
/// have the slot by now, it is looked at for nothing, which harms nobody.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Letter {
    pub(crate) slot: SlotId,
    pub(crate) at: Time,
}

impl<C> Live<C> {
    pub(crate) fn new(connection: C, inbox: &Arc<Inbox>, slot: SlotId) -> Self {
        let watch = Watch {
            inbox: Arc::clone(inbox),
            slot,
            armed: AtomicBool::new(false),
        };
        Self {
            connection,
            watch: Arc::new(watch),
        }
    }

    /// Looks at the connection and, if it is alive, has the maintenance task told of the peer's next move.
    pub(crate) fn watch<M: Manager<Connection = C>>(&mut self, manager: &M) -> Poll<Dropped> {
        // Armed before the look: a move between the two must not go unnoticed.
        self.watch.armed.store(true, Ordering::Release);
        let waker = self.watch.waker();
        manager.poll_dropped(
            &mut self.connection,
            &mut std::task::Context::from_waker(&waker),
        )
    }

    /// Nobody watches any more.
    #[inline]
    pub(crate) fn unwatch(&self) {
        self.watch.armed.store(false, Ordering::Release);
    }

    /// Whether the peer moved since [`watch`](Self::watch). To be asked under the lock: whoever was told of the move
    /// and found the connection not yet idle had the lock before, so that this answer knows of it.
    pub(crate) fn has_stirred(&self) -> bool {
        !self.watch.armed.load(Ordering::Acquire)
    }
}

impl Watch {
    /// In one place: a waker is recognized by its table of functions, and each crate that asks would have its own.
    #[inline(never)]
    fn waker(self: &Arc<Self>) -> WakerRef<'_> {
        waker_ref(self)
    }
}

impl ArcWake for Watch {
    fn wake_by_ref(watch: &Arc<Self>) {
        if watch.armed.swap(false, Ordering::AcqRel) {
            watch.inbox.tell(watch.slot);
        }
    }
}

impl Inbox {
    pub(crate) fn new(stopwatch: Stopwatch) -> Self {
        Self {
            stopwatch,
            stirred: Mutex::default(),
            nudged: Notify::new(),
        }
    }

    /// Has the maintenance task look at a connection.
    pub(crate) fn tell(&self, slot: SlotId) {
        let at = self.stopwatch.now();
        self.stirred
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .push(Letter { slot, at });
        self.nudge();
    }

    /// Has the maintenance task look at its deadlines.
    pub(crate) fn nudge(&self) {
        self.nudged.notify_one();
    }

    /// All letters since the last time, but of each slot the last alone: a waker may be called too often.
    pub(crate) fn take(&self) -> Vec<Letter> {
        let mut letters =
            std::mem::take(&mut *self.stirred.lock().unwrap_or_else(PoisonError::into_inner));
        letters.sort_unstable_by(|one, other| other.cmp(one));
        letters.dedup_by_key(|letter| letter.slot);
        letters
    }

    /// Waits for a letter or a nudge; one that came meanwhile counts.
    pub(crate) async fn nudged(&self) {
        self.nudged.notified().await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_watches_a_connection_takes_sixteen_bytes_beside_its_counts() {
        assert_eq!(size_of::<Watch>(), 16);
    }
}
