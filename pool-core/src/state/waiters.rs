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

const NOT_VACANT: &str = "an id names a place that was not vacated";

/// A place, in a cache line of its own: who queues and who is served are often at work on different cores.
#[derive(Debug)]
#[repr(align(64))]
struct Waiter<T, E> {
    ticket: u64,
    /// Nobody who can no longer use a connection is given one.
    deadline: Time,
    before: u32,
    /// Also links the vacant places.
    behind: u32,
    stand: Stand<T, E>,
}

/// How things stand with a place.
#[derive(Debug)]
enum Stand<T, E> {
    /// Its waiter queues, and is to be woken with this. Gone with the grant: nobody is woken twice.
    Queued(Waker),
    /// Its waiter has left the queue, and only waits to collect this.
    Granted(Grant<T, E>),
    Vacant,
}

/// Queued waiters in order of their tickets, threaded by index, so that any can leave at once.
#[derive(Debug)]
pub(crate) struct Waiters<T, E> {
    waiters: Vec<Waiter<T, E>>,
    vacant: u32,
    first: u32,
    last: u32,
    /// The oldest whose deadline nobody has asked for; so are all behind it.
    unlisted: u32,
    queued: usize,
    arrivals: Arrivals,
    /// Waiters passed by in search of a place.
    #[cfg(test)]
    pub(super) passed: usize,
}

/// How many have come so far.
#[derive(Debug)]
enum Arrivals {
    Here(u64),
    /// At several pools, which count them together.
    Everywhere(Arc<AtomicU64>),
}

impl<T, E> Waiters<T, E> {
    pub(crate) fn new() -> Self {
        Self {
            waiters: Vec::new(),
            vacant: NONE,
            first: NONE,
            last: NONE,
            unlisted: NONE,
            queued: 0,
            arrivals: Arrivals::Here(0),
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
        self.arrivals = Arrivals::Everywhere(Arc::clone(arrivals));
    }

    /// The number of an arrival. Drawn under the lock, so that nobody who joins later has a lower one.
    pub(super) fn arrive(&mut self) -> u64 {
        match &mut self.arrivals {
            Arrivals::Here(so_far) => {
                *so_far += 1;
                *so_far
            }
            Arrivals::Everywhere(so_far) => so_far.fetch_add(1, Ordering::Relaxed),
        }
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
            before,
            behind,
            stand: Stand::Queued(waker),
        };
        let index = match self.vacant {
            NONE => {
                self.waiters.push(waiter);
                u32::try_from(self.waiters.len() - 1).expect("fewer than u32::MAX callers wait")
            }
            index => {
                let place = self.at(index);
                let next = std::mem::replace(place, waiter).behind;
                self.vacant = next;
                index
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
            if !expired {
                woken.extend([self.grant(index, grant)]);
                return Ok(());
            }
            let expired = Grant::Expired(self.queued);
            woken.extend([self.grant(index, expired)]);
        }
        Err(grant)
    }

    /// Gives the oldest what `grant` makes, and answers with its waker; `None` if its deadline has passed.
    #[inline]
    pub(super) fn grant_first(
        &mut self,
        now: Time,
        grant: impl FnOnce() -> Grant<T, E>,
    ) -> Option<Waker> {
        let first = self.first;
        (self.get(first).deadline > now).then(|| self.grant(first, grant()))
    }

    /// Tells one whose deadline has passed, if he still waits.
    pub(super) fn expire(&mut self, id: WaiterId, woken: &mut Wakers) {
        if self.is_queued(id) {
            let expired = Grant::Expired(self.queued);
            woken.extend([self.grant(id.index, expired)]);
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
        let waiter = self.get(id.index);
        waiter.ticket == id.ticket && matches!(waiter.stand, Stand::Queued(_))
    }

    /// Gives `grant` to the newest, if there is one.
    pub(super) fn grant_newest(&mut self, grant: Grant<T, E>, woken: &mut super::Wakers) -> bool {
        let newest = self.last;
        if newest == NONE {
            return false;
        }
        woken.extend([self.grant(newest, grant)]);
        true
    }

    /// What the waiter was granted, upon which its place is gone. If nothing yet, `Err` says whether the waker is
    /// still the right one.
    pub(crate) fn collect(&mut self, id: WaiterId, waker: &Waker) -> Result<Grant<T, E>, bool> {
        let waiter = self.get(id.index);
        debug_assert_eq!(waiter.ticket, id.ticket);
        if let Stand::Queued(known) = &waiter.stand {
            return Err(known.will_wake(waker));
        }
        match self.vacate(id.index) {
            Stand::Granted(grant) => Ok(grant),
            Stand::Queued(_) | Stand::Vacant => unreachable!("{NOT_VACANT}"),
        }
    }

    /// Exchanges the waker of one that is still queued; the other is to be dropped outside the lock.
    pub(crate) fn renew(&mut self, id: WaiterId, waker: Waker) -> Option<Waker> {
        match &mut self.at(id.index).stand {
            Stand::Queued(known) => Some(std::mem::replace(known, waker)),
            Stand::Granted(_) | Stand::Vacant => Some(waker),
        }
    }

    /// Leaves; answers with what had been granted, which is now somebody else's, and with the waker, which is to be
    /// dropped outside the lock.
    pub(crate) fn leave(&mut self, id: WaiterId) -> (Option<Grant<T, E>>, Option<Waker>) {
        debug_assert_eq!(self.get(id.index).ticket, id.ticket);
        if self.is_queued(id) {
            self.unlink(id.index);
        }
        match self.vacate(id.index) {
            Stand::Queued(waker) => (None, Some(waker)),
            Stand::Granted(grant) => (Some(grant), None),
            Stand::Vacant => unreachable!("{NOT_VACANT}"),
        }
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

    fn vacate(&mut self, index: u32) -> Stand<T, E> {
        let next = std::mem::replace(&mut self.vacant, index);
        let place = self.at(index);
        place.behind = next;
        std::mem::replace(&mut place.stand, Stand::Vacant)
    }

    /// Takes one who queues out of the queue with this, and answers with his waker.
    #[inline]
    fn grant(&mut self, index: u32, grant: Grant<T, E>) -> Waker {
        self.unlink(index);
        match std::mem::replace(&mut self.at(index).stand, Stand::Granted(grant)) {
            Stand::Queued(waker) => waker,
            Stand::Granted(_) | Stand::Vacant => unreachable!("only one who queues is granted"),
        }
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

    #[inline]
    fn get(&self, index: u32) -> &Waiter<T, E> {
        &self.waiters[index as usize]
    }

    #[inline]
    fn at(&mut self, index: u32) -> &mut Waiter<T, E> {
        &mut self.waiters[index as usize]
    }
}
