//! When each idle connection is next to be checked.
//!
//! Nothing here happens on the hot path: an entry says when a connection is *worth a look*, and whether it has been idle
//! for long enough is only found out then. A connection that is used often costs one look a period.

use std::collections::BTreeSet;

use super::slots::SlotId;
use super::time::{Time, shortened_nanos};

/// Most connections that are checked at once, so that checks do not empty the pool.
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

    /// Nothing is due before; while as many are checked as may be, nothing is.
    pub(super) fn next_due(&self) -> Time {
        match self.due.first() {
            Some(&(at, ..)) if self.running.len() < MOST_RUNNING => at,
            _ => Time::NEVER,
        }
    }

    /// A connection is there; its first checks come a little early, so that those made together are not checked together.
    pub(super) fn begin(&mut self, id: SlotId, now: Time, random: u64) {
        for which in 0..self.periods.len() {
            let first = shortened_nanos(self.periods[which], 0.1, random);
            self.insert(id, which, now.after_nanos(first));
        }
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
        idle_since: impl Fn(SlotId) -> Option<Time>,
    ) -> Option<(SlotId, CheckSet)> {
        while self.next_due() <= now {
            let (_, id, first) = self.due.pop_first()?;
            let Some(since) = idle_since(id) else {
                self.insert(
                    id,
                    first.into(),
                    now.after_nanos(self.periods[usize::from(first)]),
                );
                continue;
            };
            let mut checks = 0;
            for which in 0..self.periods.len() {
                let period = self.periods[which];
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
        keepalive.begin(slot, at(0), 0);
        assert_eq!(keepalive.take(at(9), |_| Some(at(0))), None);
        // It came home at 5.
        assert_eq!(keepalive.take(at(11), |_| Some(at(5))), None);
        assert_eq!(keepalive.next_due(), at(15));
        assert_eq!(keepalive.take(at(15), |_| Some(at(5))), Some((slot, 1)));
        assert!(keepalive.checked(slot));
        assert_eq!(keepalive.next_due(), at(25));
        // In use then: it comes home later, so nothing is due for another period.
        assert_eq!(keepalive.take(at(25), |_| None), None);
        assert_eq!(keepalive.next_due(), at(35));
        keepalive.end(slot);
        assert_eq!(keepalive.next_due(), Time::NEVER);
    }

    #[test]
    fn what_is_due_together_is_done_together_and_not_on_too_many_at_once() {
        let mut keepalive = Keepalive::new(vec![10 * SECOND, 20 * SECOND]);
        for index in 0..=MOST_RUNNING {
            keepalive.begin(SlotId::from_index(index), at(0), 0);
        }
        for _ in 0..MOST_RUNNING {
            let (_, checks) = keepalive.take(at(20), |_| Some(at(0))).unwrap();
            assert_eq!(checks, 0b11);
        }
        assert_eq!(keepalive.take(at(20), |_| Some(at(0))), None);
        assert!(keepalive.checked(SlotId::from_index(0)));
        assert!(keepalive.take(at(20), |_| Some(at(0))).is_some());
    }
}
