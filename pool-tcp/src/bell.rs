//! Two wakers behind one: tokio remembers a single waker for whoever polls a socket for reading, yet a connection
//! that a driver owns has two such parties, the driver and the pool's watcher.

use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Wake, Waker};

/// Given to tokio in place of the two; when rung it wakes both, once.
#[derive(Debug, Default)]
pub(crate) struct Bell {
    owner: Slot,
    watcher: Slot,
}

impl Bell {
    /// Wakes `waker` with the next ring. Each party has one place; its latest waker counts.
    pub(crate) fn set_owner(&self, waker: &Waker) {
        self.owner.set(waker);
    }

    /// As [`set_owner`](Self::set_owner), for the watcher.
    pub(crate) fn set_watcher(&self, waker: &Waker) {
        self.watcher.set(waker);
    }

    pub(crate) fn wake_owner(&self) {
        self.owner.wake();
    }

    pub(crate) fn wake_watcher(&self) {
        self.watcher.wake();
    }
}

impl Wake for Bell {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        self.wake_owner();
        self.wake_watcher();
    }
}

#[derive(Debug, Default)]
struct Slot(Mutex<Option<Waker>>);

impl Slot {
    fn set(&self, waker: &Waker) {
        let mut slot = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        match &mut *slot {
            Some(old) => old.clone_from(waker),
            empty => *empty = Some(waker.clone()),
        }
    }

    fn wake(&self) {
        let waker = self.0.lock().unwrap_or_else(PoisonError::into_inner).take();
        // Woken after the lock is released: a waker may run the task at once, and the task may come back here.
        if let Some(waker) = waker {
            waker.wake();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::{AtomicUsize, Ordering};

    #[derive(Default)]
    struct Count(AtomicUsize);

    impl Wake for Count {
        fn wake(self: Arc<Self>) {
            self.0.fetch_add(1, Ordering::Relaxed);
        }
    }

    fn counter() -> (Arc<Count>, Waker) {
        let count = Arc::new(Count::default());
        (count.clone(), Waker::from(count))
    }

    #[test]
    fn a_ring_wakes_both_parties_once() {
        let (owner, owner_waker) = counter();
        let (watcher, watcher_waker) = counter();
        let bell = Arc::new(Bell::default());
        bell.set_owner(&owner_waker);
        bell.set_watcher(&watcher_waker);

        let waker = Waker::from(bell);
        waker.wake_by_ref();
        waker.wake_by_ref();

        assert_eq!(owner.0.load(Ordering::Relaxed), 1);
        assert_eq!(watcher.0.load(Ordering::Relaxed), 1);
    }

    #[test]
    fn the_latest_waker_of_a_party_replaces_the_one_before() {
        let (first, first_waker) = counter();
        let (second, second_waker) = counter();
        let bell = Bell::default();
        bell.set_owner(&first_waker);
        bell.set_owner(&second_waker);
        bell.wake_owner();
        assert_eq!(first.0.load(Ordering::Relaxed), 0);
        assert_eq!(second.0.load(Ordering::Relaxed), 1);
    }
}
