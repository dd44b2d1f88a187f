//! Until when each caller waits. One timer for all of them is enough, set for the earliest deadline: a timer for each
//! would cost more than the wait.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

use super::time::Time;
use super::waiters::{WaiterId, Waiters};

/// Those who have left already are forgotten when they may be half of all.
pub(super) const FEW: usize = 32;

#[derive(Debug)]
pub(super) struct Deadlines {
    /// The earliest first, among them those of callers who wait no more.
    deadlines: BinaryHeap<Reverse<(Time, WaiterId)>>,
    /// How many there may be before those are looked for.
    most: usize,
    /// What the timer is set for; not later than the first of them.
    next: Time,
}

impl Deadlines {
    pub(super) fn new() -> Self {
        Self {
            deadlines: BinaryHeap::new(),
            most: FEW,
            next: Time::NEVER,
        }
    }

    #[cfg(test)]
    pub(super) fn len(&self) -> usize {
        self.deadlines.len()
    }

    /// When the timer fires.
    #[inline]
    pub(super) fn next(&self) -> Time {
        self.next
    }

    /// Whether the timer must be set anew for this one.
    #[inline]
    pub(super) fn add<T, E>(
        &mut self,
        deadline: Time,
        place: WaiterId,
        waiters: &Waiters<T, E>,
    ) -> bool {
        if deadline == Time::NEVER {
            return false;
        }
        if self.deadlines.len() >= self.most {
            self.forget_gone(waiters);
        }
        self.deadlines.push(Reverse((deadline, place)));
        let is_earlier = deadline < self.next;
        self.next = self.next.min(deadline);
        is_earlier
    }

    /// The timer has fired: one whose deadline has passed, who may have left since; if there is none, the timer is to be
    /// set for the next.
    pub(super) fn pop_due(&mut self, now: Time) -> Option<WaiterId> {
        let earliest = self.deadlines.peek().map(|&Reverse(earliest)| earliest);
        self.next = earliest.map_or(Time::NEVER, |(deadline, _)| deadline);
        if self.next > now {
            return None;
        }
        self.deadlines.pop();
        earliest.map(|(_, place)| place)
    }

    fn forget_gone<T, E>(&mut self, waiters: &Waiters<T, E>) {
        self.deadlines
            .retain(|&Reverse((_, place))| waiters.is_queued(place));
        self.most = FEW + 2 * self.deadlines.len();
    }
}
