//! Two wakers behind one: tokio remembers a single waker for whoever polls a socket for reading, yet a connection
//! that a driver owns has two such parties, the driver and the pool's watcher.

use std::sync::atomic::{AtomicU8, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::task::{Wake, Waker};

/// Given to tokio in place of the two; when rung it wakes both, once.
#[derive(Debug, Default)]
pub(crate) struct Bell {
    owner: Party,
    watcher: Party,
}

impl Bell {
    /// The one to give to tokio. It knows a waker again by its table of functions, of which the compiler may make two: one
    /// for this waker, and one for all its clones. So a clone is what everybody has.
    pub(crate) fn waker(self: &Arc<Self>) -> Waker {
        #[expect(clippy::redundant_clone, reason = "see above")]
        Waker::from(Arc::clone(self)).clone()
    }

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

/// Both parties wait anew for each answer of the peer, and hardly ever with another waker than at first: that one is kept,
/// and only that it waits is noted. A lock is for the others.
#[derive(Debug, Default)]
struct Party {
    waits: AtomicU8,
    first: OnceLock<First>,
    other: Mutex<Option<Waker>>,
}

#[derive(Debug)]
struct First {
    waker: Waker,
    /// The table of the one it was cloned from, which is known again by it: the clone may have another. What both point to is
    /// asked of the clone, which keeps it from becoming another waker's.
    table: usize,
}

impl First {
    fn new(waker: &Waker) -> Self {
        Self {
            waker: waker.clone(),
            table: std::ptr::from_ref(waker.vtable()).addr(),
        }
    }

    #[inline]
    fn is(&self, waker: &Waker) -> bool {
        let table = std::ptr::from_ref(waker.vtable()).addr();
        self.waker.data() == waker.data() && self.table == table
    }
}

const NOBODY: u8 = 0;
const FIRST: u8 = 1;
const OTHER: u8 = 2;

impl Party {
    #[inline]
    fn set(&self, waker: &Waker) {
        let first = self.first.get_or_init(|| First::new(waker));
        if !first.is(waker) {
            self.set_other(Some(waker.clone()));
            self.note(OTHER);
        } else if self.note(FIRST) == OTHER {
            self.set_other(None);
        }
    }

    #[inline]
    fn wake(&self) {
        match self.note(NOBODY) {
            FIRST => {
                let first = self.first.get().expect("set before it is noted");
                first.waker.wake_by_ref();
            }
            OTHER => {
                // Woken after the lock is released: a waker may run the task at once, and the task may come back here.
                if let Some(waker) = self.set_other(None) {
                    waker.wake();
                }
            }
            _ => {}
        }
    }

    /// An exchange both ways. So of a ring, and a waker that is set at the same moment, either the ring finds the waker, or
    /// whoever has set it sees from here on all that was done before the ring.
    #[inline]
    fn note(&self, waits: u8) -> u8 {
        self.waits.swap(waits, Ordering::AcqRel)
    }

    fn set_other(&self, waker: Option<Waker>) -> Option<Waker> {
        let mut other = self.other.lock().unwrap_or_else(PoisonError::into_inner);
        std::mem::replace(&mut other, waker)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Barrier;
    use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

    const TURNS: usize = 1000;

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

        bell.set_owner(&second_waker);
        bell.set_owner(&first_waker);
        bell.wake_owner();
        assert_eq!(first.0.load(Ordering::Relaxed), 1);
        assert_eq!(second.0.load(Ordering::Relaxed), 1);
    }

    #[test]
    fn a_waker_is_dropped_when_another_takes_its_place() {
        let (_, first_waker) = counter();
        let (second, second_waker) = counter();
        let bell = Bell::default();
        bell.set_owner(&first_waker);
        bell.set_owner(&second_waker);
        drop(second_waker);
        assert_eq!(Arc::strong_count(&second), 2);
        bell.set_owner(&first_waker);
        assert_eq!(Arc::strong_count(&second), 1);
    }

    /// As the owner drops its stream and the watcher looks whether it is there.
    #[test]
    fn whoever_waits_while_the_bell_is_rung_is_woken_or_sees_what_was_done_before() {
        let (woken, waker) = counter();
        let (_, other_waker) = counter();
        let bell = Bell::default();
        let (is_gone, turn) = (AtomicBool::new(false), Barrier::new(2));
        std::thread::scope(|scope| {
            scope.spawn(|| {
                for _ in 0..TURNS {
                    turn.wait();
                    is_gone.store(true, Ordering::Relaxed);
                    bell.wake_watcher();
                    turn.wait();
                }
            });
            for round in 0..TURNS {
                // In every other round it is not the first waker that waits.
                if round % 2 == 1 {
                    bell.set_watcher(&other_waker);
                }
                turn.wait();
                bell.set_watcher(&waker);
                let has_seen = is_gone.load(Ordering::Relaxed);
                turn.wait();
                let was_woken = woken.0.swap(0, Ordering::Relaxed) > 0;
                assert!(has_seen || was_woken, "in round {round}");
                is_gone.store(false, Ordering::Relaxed);
            }
        });
    }
}
