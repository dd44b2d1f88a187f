//! When each idle connection is next to be checked.
//!
//! Nothing here happens on the hot path: an entry says when a connection is *worth a look*, and whether it has been idle
//! for long enough is only found out then. A connection that is used often costs one look a period.

use std::collections::BTreeSet;

use super::slots::SlotId;
use super::time::{Time, shortened_nanos};

/// Most connections that are checked at once; a smaller pool checks a quarter of what it has, and at least one.
const MOST_RUNNING: usize = 4;

/// A set of checks, each a bit.
pub(crate) type CheckSet = u64;

#[derive(Debug)]
pub(super) struct Keepalive {
    /// Of each check that runs while idle, in nanoseconds.
    periods: Vec<u64>,
    due: BTreeSet<(Time, SlotId, u8)>,
    /// The same by slot and check, to find the entry of either.
    at: Vec<Time>,
    running: BTreeSet<SlotId>,
}

impl Keepalive {
    pub(super) fn new(periods: Vec<u64>) -> Self {
        Self {
            periods,
            due: BTreeSet::new(),
            at: Vec::new(),
            running: BTreeSet::new(),
        }
    }

    #[inline]
    pub(super) fn is_unused(&self) -> bool {
        self.periods.is_empty()
    }

    /// Nothing is due before; while as many of those that are `live` are checked as may be, nothing is.
    pub(super) fn next_due(&self, live: usize) -> Time {
        match self.due.first() {
            Some(&(at, ..)) if self.running.len() < (live / 4).clamp(1, MOST_RUNNING) => at,
            _ => Time::NEVER,
        }
    }

    /// A connection is there.
    pub(super) fn begin(&mut self, id: SlotId, now: Time) {
        for which in 0..self.periods.len() {
            self.insert(id, which, now.after_nanos(self.period(id, which)));
        }
    }

    /// Each slot has a period of its own, shorter by up to a tenth, so that those made together are not checked together.
    fn period(&self, id: SlotId, which: usize) -> u64 {
        // Any odd constant with many bits scatters well enough; this is the golden ratio's.
        let scattered = (id.index() as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        shortened_nanos(self.periods[which], 0.1, scattered)
    }

    /// A connection is given up. If it is being checked, that goes on until [`checked`](Self::checked).
    pub(super) fn end(&mut self, id: SlotId) {
        for which in 0..self.periods.len() {
            let at = std::mem::replace(self.entry(id, which), Time::NEVER);
            self.due.remove(&(at, id, which as u8));
        }
    }

    /// The one whose time has come and what is due on it, if it has been idle for that long since `idle_since` says;
    /// `None` from there means it is not idle at all.
    pub(super) fn take(
        &mut self,
        now: Time,
        live: usize,
        idle_since: impl Fn(SlotId) -> Option<Time>,
    ) -> Option<(SlotId, CheckSet)> {
        while self.next_due(live) <= now {
            let (_, id, first) = self.due.pop_first()?;
            let Some(since) = idle_since(id) else {
                let period = self.period(id, first.into());
                self.insert(id, first.into(), now.after_nanos(period));
                continue;
            };
            let mut checks = 0;
            for which in 0..self.periods.len() {
                let period = self.period(id, which);
                if *self.entry(id, which) > now {
                    continue;
                }
                let real = since.after_nanos(period);
                let at = match real <= now {
                    true => {
                        checks |= 1 << which;
                        now.after_nanos(period)
                    }
                    false => real,
                };
                self.insert(id, which, at);
            }
            if checks != 0 {
                self.running.insert(id);
                return Some((id, checks));
            }
        }
        None
    }

    /// A check is over, if one was under way.
    pub(super) fn checked(&mut self, id: SlotId) -> bool {
        self.running.remove(&id)
    }

    #[cfg(test)]
    pub(super) fn running(&self) -> usize {
        self.running.len()
    }

    fn insert(&mut self, id: SlotId, which: usize, at: Time) {
        let former = std::mem::replace(self.entry(id, which), at);
        self.due.remove(&(former, id, which as u8));
        self.due.insert((at, id, which as u8));
    }

    fn entry(&mut self, id: SlotId, which: usize) -> &mut Time {
        let index = id.index() * self.periods.len() + which;
        if index >= self.at.len() {
            self.at.resize(index + 1, Time::NEVER);
        }
        &mut self.at[index]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: u64 = 1_000_000_000;

    fn at(seconds: u64) -> Time {
        Time::START.after_nanos(seconds * SECOND)
    }

    #[test]
    fn a_check_comes_a_period_after_the_last_check_in_and_then_every_period() {
        let mut keepalive = Keepalive::new(vec![10 * SECOND]);
        let slot = SlotId::from_index(0);
        keepalive.begin(slot, at(0));
        assert_eq!(keepalive.take(at(9), 16, |_| Some(at(0))), None);
        // It came home at 5.
        assert_eq!(keepalive.take(at(11), 16, |_| Some(at(5))), None);
        assert_eq!(keepalive.next_due(16), at(15));
        assert_eq!(keepalive.take(at(15), 16, |_| Some(at(5))), Some((slot, 1)));
        assert!(keepalive.checked(slot));
        assert_eq!(keepalive.next_due(16), at(25));
        // In use then: it comes home later, so nothing is due for another period.
        assert_eq!(keepalive.take(at(25), 16, |_| None), None);
        assert_eq!(keepalive.next_due(16), at(35));
        keepalive.end(slot);
        assert_eq!(keepalive.next_due(16), Time::NEVER);
    }

    #[test]
    fn what_is_due_together_is_done_together_and_not_on_too_many_at_once() {
        let mut keepalive = Keepalive::new(vec![10 * SECOND, 20 * SECOND]);
        for index in 0..=MOST_RUNNING {
            keepalive.begin(SlotId::from_index(index), at(0));
        }
        let mut taken = Vec::new();
        for _ in 0..MOST_RUNNING {
            let (slot, checks) = keepalive.take(at(20), 16, |_| Some(at(0))).unwrap();
            assert_eq!(checks, 0b11);
            taken.push(slot);
        }
        assert_eq!(keepalive.take(at(20), 16, |_| Some(at(0))), None);
        assert!(keepalive.checked(taken[0]));
        assert!(keepalive.take(at(20), 16, |_| Some(at(0))).is_some());
    }
}
