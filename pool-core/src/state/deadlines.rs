//! Until when each caller waits. One timer serves them all: one each would cost more than the wait.
//!
//! Nearly all waits end long before their deadline, so the deadlines are put in order only when the timer fires, and only
//! those of callers who still wait then.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

use super::time::Time;
use super::waiters::{WaiterId, Waiters};

/// Callers who have gone are looked for when there may be more of them than of others, and a few.
pub(super) const FEW: usize = 32;

/// What a caller does who comes while the timer's task is behind; he adds two to its work, to be listed and to be told.
pub(super) const STEPS: usize = 3;

#[derive(Debug)]
pub(super) struct Deadlines {
    /// What the timer is set for: not later than the deadline of anybody who waits.
    next: Time,
    /// The earliest first, of those who were there when the timer last fired; some may have gone since.
    listed: BinaryHeap<Reverse<(Time, WaiterId)>>,
    /// How many there may be before those who have gone are looked for.
    most: usize,
}

impl Deadlines {
    pub(super) fn new() -> Self {
        Self {
            next: Time::NEVER,
            listed: BinaryHeap::new(),
            most: FEW,
        }
    }

    /// When the timer fires.
    #[inline]
    pub(super) fn next(&self) -> Time {
        self.next
    }

    /// Somebody waits until then; whether the timer must be set anew for him.
    pub(super) fn note(&mut self, deadline: Time) -> bool {
        let is_earlier = deadline < self.next;
        self.next = self.next.min(deadline);
        is_earlier
    }

    /// The timer has fired, or one comes who is not behind all others.
    pub(super) fn list<T, E>(&mut self, deadline: Time, place: WaiterId, waiters: &Waiters<T, E>) {
        if deadline == Time::NEVER {
            return;
        }
        if self.listed.len() >= self.most {
            self.listed
                .retain(|&Reverse((_, place))| waiters.is_queued(place));
            self.most = FEW + 2 * self.listed.len();
        }
        self.listed.push(Reverse((deadline, place)));
    }

    /// All who wait are listed: one whose deadline has passed, who may have gone since. If there is none, the timer is to
    /// be set for the next.
    pub(super) fn pop_due(&mut self, now: Time) -> Option<WaiterId> {
        let earliest = self.listed.peek().map(|&Reverse(earliest)| earliest);
        self.next = earliest.map_or(Time::NEVER, |(deadline, _)| deadline);
        if self.next > now {
            return None;
        }
        self.listed.pop();
        earliest.map(|(_, place)| place)
    }

    #[cfg(test)]
    pub(super) fn listed(&self) -> usize {
        self.listed.len()
    }
}
