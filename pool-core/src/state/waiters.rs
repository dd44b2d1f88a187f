//! The queue of callers: strictly first come, first served.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::Waker;

use super::time::Time;
use super::{Grant, Wakers};

/// A place in the queue, or what was granted to it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct WaiterId {
    index: u32,
    /// Counts arrivals. Whoever must wait again shows it and is placed before all who came later.
    ticket: u64,
}

#[cfg(test)]
impl WaiterId {
    pub(crate) fn ticket(self) -> u64 {
        self.ticket
    }
}

const NONE: u32 = u32::MAX;

#[derive(Debug)]
struct Waiter<T, E> {
    ticket: u64,
    /// Nobody who can no longer use a connection is given one.
    deadline: Time,
    /// Gone with the grant: nobody is woken twice.
    waker: Option<Waker>,
    /// Set once, when the waiter leaves the queue; it then only waits to be collected.
    grant: Option<Grant<T, E>>,
    before: u32,
    behind: u32,
}

/// Queued waiters in order of their tickets, threaded by index, so that any can leave at once.
#[derive(Debug)]
pub(crate) struct Waiters<T, E> {
    waiters: Vec<Option<Waiter<T, E>>>,
    free: Vec<u32>,
    first: u32,
    last: u32,
    /// The oldest whose deadline nobody has asked for; so are all behind it.
    unlisted: u32,
    queued: usize,
    /// Arrivals so far, possibly at several pools that count them together.
    arrivals: Arc<AtomicU64>,
    /// Waiters passed by in search of a place.
    #[cfg(test)]
    pub(super) passed: usize,
}

impl<T, E> Waiters<T, E> {
    pub(crate) fn new() -> Self {
        Self {
            waiters: Vec::new(),
            free: Vec::new(),
            first: NONE,
            last: NONE,
            unlisted: NONE,
            queued: 0,
            arrivals: Arc::default(),
            #[cfg(test)]
            passed: 0,
        }
    }

    /// Waiters who have been granted nothing yet.
    #[inline]
    pub(crate) fn queued(&self) -> usize {
        self.queued
    }

    #[inline]
    pub(crate) fn is_empty(&self) -> bool {
        self.queued == 0
    }

    /// A place that is not queued yet.
    pub(crate) fn reserve(&mut self) -> WaiterId {
        WaiterId {
            index: NONE,
            ticket: self.arrive(),
        }
    }

    /// Counts arrivals together with others from now on.
    pub(super) fn arrive_at(&mut self, arrivals: &Arc<AtomicU64>) {
        self.arrivals = Arc::clone(arrivals);
    }

    /// The number of an arrival. Drawn under the lock, so that nobody who joins later has a lower one.
    pub(super) fn arrive(&self) -> u64 {
        self.arrivals.fetch_add(1, Ordering::Relaxed)
    }

    /// When the one arrived who has so many before him.
    pub(super) fn arrival(&self, before: usize) -> Option<u64> {
        let mut index = self.first;
        for _ in 0..before {
            if index == NONE {
                break;
            }
            index = self.get(index).behind;
        }
        (index != NONE).then(|| self.get(index).ticket)
    }

    /// Joins at the end, or, with the place of a former wait, where that place was.
    pub(crate) fn join(
        &mut self,
        former: Option<WaiterId>,
        deadline: Time,
        waker: Waker,
    ) -> WaiterId {
        let ticket = former.map_or_else(|| self.arrive(), |place| place.ticket);
        let (mut before, mut behind) = (self.last, NONE);
        if former.is_some() {
            // He was the first when he was granted something, so only others like him are before him.
            (before, behind) = (NONE, self.first);
            while behind != NONE && self.at(behind).ticket < ticket {
                before = behind;
                behind = self.at(behind).behind;
                #[cfg(test)]
                {
                    self.passed += 1;
                }
            }
        }
        let waiter = Waiter {
            ticket,
            deadline,
            waker: Some(waker),
            grant: None,
            before,
            behind,
        };
        let index = match self.free.pop() {
            Some(index) => {
                self.waiters[index as usize] = Some(waiter);
                index
            }
            None => {
                self.waiters.push(Some(waiter));
                u32::try_from(self.waiters.len() - 1).expect("fewer than u32::MAX callers wait")
            }
        };
        self.link(before, behind, index, index);
        self.queued += 1;
        if former.is_none() && self.unlisted == NONE {
            self.unlisted = index;
        }
        WaiterId { index, ticket }
    }

    /// Takes the oldest whose deadline has not passed, gives it `grant` and answers with its waker; the expired ones
    /// before it leave the queue, to be woken too.
    pub(crate) fn grant_oldest(
        &mut self,
        now: Time,
        grant: Grant<T, E>,
        woken: &mut Wakers,
    ) -> Result<(), Grant<T, E>> {
        while self.first != NONE {
            let index = self.first;
            let expired = self.at(index).deadline <= now;
            let waiting = self.queued;
            self.unlink(index);
            let waiter = self.at(index);
            woken.extend(waiter.waker.take());
            if !expired {
                waiter.grant = Some(grant);
                return Ok(());
            }
            waiter.grant = Some(Grant::Expired(waiting));
        }
        Err(grant)
    }

    /// Gives the oldest what `grant` makes, and answers with its waker; `None` if its deadline has passed.
    #[inline]
    pub(super) fn grant_first(
        &mut self,
        now: Time,
        grant: impl FnOnce() -> Grant<T, E>,
    ) -> Option<Option<Waker>> {
        let first = self.first;
        if self.at(first).deadline <= now {
            return None;
        }
        self.unlink(first);
        let waiter = self.at(first);
        waiter.grant = Some(grant());
        Some(waiter.waker.take())
    }

    /// Tells one whose deadline has passed, if he still waits.
    pub(super) fn expire(&mut self, id: WaiterId, woken: &mut Wakers) {
        if self.is_queued(id) {
            let waiting = self.queued;
            self.unlink(id.index);
            let waiter = self.at(id.index);
            woken.extend(waiter.waker.take());
            waiter.grant = Some(Grant::Expired(waiting));
        }
    }

    /// The next one whose deadline nobody has asked for.
    pub(super) fn next_unlisted(&mut self) -> Option<(Time, WaiterId)> {
        let index = self.unlisted;
        if index == NONE {
            return None;
        }
        let waiter = self.get(index);
        let (deadline, ticket) = (waiter.deadline, waiter.ticket);
        self.unlisted = waiter.behind;
        Some((deadline, WaiterId { index, ticket }))
    }

    /// Whether he waits and was granted nothing yet.
    #[inline]
    pub(super) fn is_queued(&self, id: WaiterId) -> bool {
        let waiter = self.waiters[id.index as usize].as_ref();
        waiter.is_some_and(|waiter| waiter.ticket == id.ticket && waiter.grant.is_none())
    }

    /// Gives `grant` to the newest, if there is one.
    pub(super) fn grant_newest(&mut self, grant: Grant<T, E>, woken: &mut super::Wakers) -> bool {
        let newest = self.last;
        if newest == NONE {
            return false;
        }
        self.unlink(newest);
        let waiter = self.at(newest);
        woken.extend(waiter.waker.take());
        waiter.grant = Some(grant);
        true
    }

    /// What the waiter was granted, upon which its place is gone. If nothing yet, `Err` says whether the waker is
    /// still the right one.
    pub(crate) fn collect(&mut self, id: WaiterId, waker: &Waker) -> Result<Grant<T, E>, bool> {
        let waiter = self.at(id.index);
        debug_assert_eq!(waiter.ticket, id.ticket);
        match waiter.grant.take() {
            Some(grant) => {
                self.vacate(id.index);
                Ok(grant)
            }
            None => Err(waiter
                .waker
                .as_ref()
                .is_some_and(|known| known.will_wake(waker))),
        }
    }

    /// Exchanges the waker of one that is still queued; the other is to be dropped outside the lock.
    pub(crate) fn renew(&mut self, id: WaiterId, waker: Waker) -> Option<Waker> {
        self.at(id.index).waker.replace(waker)
    }

    /// Leaves; answers with what had been granted, which is now somebody else's, and with the waker, which is to be
    /// dropped outside the lock.
    pub(crate) fn leave(&mut self, id: WaiterId) -> (Option<Grant<T, E>>, Option<Waker>) {
        debug_assert_eq!(self.at(id.index).ticket, id.ticket);
        if self.at(id.index).grant.is_none() {
            self.unlink(id.index);
        }
        let waiter = self.vacate(id.index);
        (waiter.grant, waiter.waker)
    }

    /// Tickets and deadlines of the queue, oldest first.
    #[cfg(test)]
    pub(crate) fn queue(&mut self) -> Vec<(u64, Time)> {
        let mut queue = Vec::new();
        let mut index = self.first;
        while index != NONE {
            let waiter = self.at(index);
            queue.push((waiter.ticket, waiter.deadline));
            index = waiter.behind;
        }
        queue
    }

    fn vacate(&mut self, index: u32) -> Waiter<T, E> {
        self.free.push(index);
        self.waiters[index as usize]
            .take()
            .expect("a place is vacated once")
    }

    fn unlink(&mut self, index: u32) {
        let Waiter { before, behind, .. } = *self.at(index);
        if self.unlisted == index {
            self.unlisted = behind;
        }
        self.link(before, behind, behind, before);
        self.queued -= 1;
    }

    /// Makes `next` follow `before`, and `previous` precede `behind`.
    fn link(&mut self, before: u32, behind: u32, next: u32, previous: u32) {
        match before {
            NONE => self.first = next,
            before => self.at(before).behind = next,
        }
        match behind {
            NONE => self.last = previous,
            behind => self.at(behind).before = previous,
        }
    }

    fn get(&self, index: u32) -> &Waiter<T, E> {
        self.waiters[index as usize]
            .as_ref()
            .expect("an id names a place that was not vacated")
    }

    #[inline]
    fn at(&mut self, index: u32) -> &mut Waiter<T, E> {
        self.waiters[index as usize]
            .as_mut()
            .expect("an id names a place that was not vacated")
    }
}
