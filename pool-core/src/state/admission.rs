//! A pool that is one of many under one total: it asks before it dials, and gives way to others.

use super::{CloseReason, Effects, Grant, State, Time};
use std::sync::Arc;
use std::sync::atomic::AtomicU64;

/// What the total over all keys has to know of one.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Account {
    /// Slots taken.
    pub(crate) held: usize,
    pub(crate) wish: Option<Wish>,
}

/// Dials that would be started if the total had room; the pool's own limits and a pause after a failure would allow them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Wish {
    /// The place in the order of arrival, over all keys, of the first caller for whom none is under way.
    pub(crate) arrival: u64,
    /// Callers for whom one is wanted.
    pub(crate) callers: usize,
}

impl Wish {
    /// Nobody waits for it: it is to lie idle.
    pub(crate) const NOBODY: u64 = u64::MAX;
}

impl<T, E: Clone> State<T, E> {
    /// Asks before it dials from now on, and counts arrivals together with others.
    pub(crate) fn join(&mut self, arrivals: &Arc<AtomicU64>) {
        self.told = Some(Account::default());
        self.waiters.arrive_at(arrivals);
    }

    /// What has to be told, if it is news.
    pub(crate) fn news(&mut self, now: Time) -> Option<Account> {
        let told = self.told?;
        Some(self.tell(now)).filter(|account| *account != told)
    }

    /// What has to be told.
    pub(crate) fn tell(&mut self, now: Time) -> Account {
        let account = Account {
            held: self.slots.used(),
            wish: self.wish(now),
        };
        self.told = Some(account);
        account
    }

    /// There is room for one dial, which is started if it is still wanted.
    pub(crate) fn admit(&mut self, now: Time, effects: &mut Effects<T, E>) {
        let wanted = self.startable(self.unmet(), now);
        self.start(wanted.min(1), effects);
    }

    /// Since when the connection has been idle that was idle longest.
    pub(crate) fn idle_since(&self) -> Option<Time> {
        let oldest = self.idle.oldest()?;
        Some(self.slots.get(oldest).idle_since)
    }

    /// That one is given up for another key.
    pub(crate) fn give_way(&mut self, effects: &mut Effects<T, E>) {
        if let Some(oldest) = self.idle.oldest() {
            self.reap(oldest, CloseReason::GaveWay, effects);
        }
    }

    /// Whoever came last is told that there is nothing for him.
    pub(crate) fn refuse_newest(&mut self, effects: &mut Effects<T, E>) {
        if self.prepared.take().is_some() {
            return;
        }
        if self.waiters.grant_newest(Grant::Refused, &mut effects.wake) {
            self.totals.refused += 1;
        }
    }

    /// When the first caller who waits arrived.
    pub(crate) fn first_arrival(&self) -> Option<u64> {
        self.waiters.arrival(0)
    }

    /// Who did not wait has gone.
    pub(crate) fn unprepare(&mut self) {
        self.prepared = None;
    }

    /// Whether nothing would be lost with it: no connection, nobody who waits, no pause to be kept.
    pub(crate) fn is_vacant(&self) -> bool {
        let at_rest = self.limits.min_idle == 0 && !self.outages.is_pausing();
        self.slots.used() == 0 && self.waiters.is_empty() && (at_rest || self.closed)
    }

    #[cfg(test)]
    pub(crate) fn told(&self) -> Account {
        self.told.expect("it has to ask")
    }

    fn wish(&self, now: Time) -> Option<Wish> {
        let dials = self.startable(self.unmet(), now);
        let callers = dials.min(self.callers().saturating_sub(self.connecting));
        let arrival = match callers {
            0 => Wish::NOBODY,
            _ => self
                .waiters
                .arrival(self.connecting)
                .or(self.prepared)
                .expect("there are more callers than dials"),
        };
        (dials > 0).then_some(Wish { arrival, callers })
    }
}
