//! What an operator orders: another size, a pause, a clean sweep, the end.

use std::time::Duration;

use super::slots::{Phase, SlotId};
use super::time::{self, Time};
use super::{Dial, Effects, Grant, State};
use crate::reason::CloseReason;

/// How far a pool has been warmed up.
#[derive(Debug)]
pub(crate) enum Warmth<E> {
    /// So many connections are there, of so many that there are to be.
    Connected(usize, usize),
    /// A dial failed, then, and waiting is no use.
    Failed(E, Time),
    Closed,
}

impl<T, E: Clone> State<T, E> {
    /// Changes the size. What is idle and too many is given up at once, what is in use when it comes home.
    pub(crate) fn resize(&mut self, max_size: usize, now: Time, effects: &mut Effects<T, E>) {
        self.limits.max_size = max_size;
        while self.is_surplus()
            && let Some(oldest) = self.idle.oldest()
        {
            self.reap(oldest, CloseReason::Resized, effects);
        }
        self.find_detour();
        effects.changed = true;
        self.settle(now, effects);
    }

    pub(crate) fn set_min_idle(&mut self, min_idle: usize, now: Time, effects: &mut Effects<T, E>) {
        // More than may be kept would be dialled and closed for ever.
        self.limits.min_idle = min_idle.min(self.limits.max_idle);
        self.lower_due(self.idle_due(), effects);
        self.settle(now, effects);
    }

    /// Changes how many may lie idle; the oldest of those that are too many are given up.
    pub(crate) fn set_max_idle(&mut self, max_idle: usize, now: Time, effects: &mut Effects<T, E>) {
        self.limits.max_idle = max_idle;
        self.limits.min_idle = self.limits.min_idle.min(max_idle);
        while self.idle.len() > max_idle
            && let Some(oldest) = self.idle.oldest()
        {
            self.reap(oldest, CloseReason::MaxIdle, effects);
        }
        self.settle(now, effects);
    }

    pub(crate) fn set_idle_timeout(
        &mut self,
        timeout: Option<Duration>,
        effects: &mut Effects<T, E>,
    ) {
        self.limits.idle_timeout = timeout.map_or(u64::MAX, time::nanos);
        self.lower_due(self.idle_due(), effects);
    }

    /// Changes how old a connection may become, whenever it was made; one that said itself how long it may idle is not
    /// kept for longer than that.
    pub(crate) fn set_max_lifetime(&mut self, most: Option<Duration>, effects: &mut Effects<T, E>) {
        let live: Vec<(SlotId, bool)> = self
            .slots
            .all()
            .filter(|(_, slot)| matches!(slot.phase, Phase::Idle | Phase::InUse))
            .filter(|(_, slot)| slot.expires >= Time::FIRST)
            .map(|(id, slot)| (id, slot.expires < self.limits.too_old(slot)))
            .collect();
        for (id, _) in &live {
            self.lifetimes.remove(&self.slots, *id);
        }
        self.limits.limit_lifetimes(most);
        for (id, has_said) in live {
            let slot = self.slots.at(id);
            let too_old = self.limits.too_old(slot);
            slot.expires = match has_said {
                true => slot.expires.min(too_old),
                false => too_old,
            };
            let expires = slot.expires;
            if expires != Time::NEVER {
                self.lifetimes.insert(&self.slots, id);
                self.lower_due(expires, effects);
            }
        }
    }

    /// Nobody is served and nothing is dialled until [`resume`](Self::resume). Answers whether that is news.
    pub(crate) fn pause(&mut self) -> bool {
        let news = !self.paused;
        self.paused = true;
        self.find_detour();
        news
    }

    pub(crate) fn resume(&mut self, now: Time, effects: &mut Effects<T, E>) -> bool {
        if !std::mem::take(&mut self.paused) {
            return false;
        }
        self.find_detour();
        effects.changed = true;
        while now >= self.next_due {
            self.expire(now, effects);
        }
        while !self.waiters.is_empty()
            && let Some(lent) = self.take_idle(now)
        {
            if let Err(Grant::Connection(unwanted)) =
                self.waiters
                    .grant_oldest(now, Grant::Connection(lent), &mut effects.wake)
            {
                self.not_used(unwanted.slot);
                self.put_back(unwanted.slot, unwanted.value, now, effects);
            }
        }
        self.settle(now, effects);
        true
    }

    /// Connections with a number below are not kept any more: the idle ones are due at once, those in use when they
    /// come home, those being dialled when they are made.
    pub(crate) fn retire(&mut self, below: u64, effects: &mut Effects<T, E>) {
        if below <= self.retired_below {
            return;
        }
        self.retired_below = below;
        let retired: Vec<(SlotId, bool)> = self
            .slots
            .all()
            .filter(|(_, slot)| slot.id < below && slot.expires != Time::START)
            .filter(|(_, slot)| matches!(slot.phase, Phase::Idle | Phase::InUse))
            .map(|(id, slot)| (id, slot.phase == Phase::Idle))
            .collect();
        for (id, is_idle) in retired {
            self.lifetimes.remove(&self.slots, id);
            self.slots.at(id).expires = Time::START;
            if is_idle {
                self.lifetimes.insert(&self.slots, id);
                self.lower_due(Time::START, effects);
            }
        }
    }

    /// The number that the next connection will have: everything there is has a lower one.
    pub(crate) fn next_number(&self) -> u64 {
        self.slots.next_number()
    }

    /// Gives up what is idle, at most a batch of it, and answers how many.
    pub(crate) fn clear_idle(
        &mut self,
        most: usize,
        now: Time,
        effects: &mut Effects<T, E>,
    ) -> usize {
        let cleared = self.idle.len().min(most);
        for _ in 0..cleared {
            let oldest = self.idle.oldest().expect("so many are idle");
            self.reap(oldest, CloseReason::Cleared, effects);
        }
        self.settle(now, effects);
        cleared
    }

    /// What is idle now, to be visited one by one.
    pub(crate) fn idle_connections(&self) -> Vec<(SlotId, u64)> {
        self.slots
            .all()
            .filter(|(_, slot)| slot.phase == Phase::Idle)
            .map(|(id, slot)| (id, slot.id))
            .collect()
    }

    /// A slot for a connection made elsewhere, if there is one.
    pub(crate) fn adopt(&mut self) -> Option<Dial> {
        let wanted = self.may_keep_one() || !self.waiters.is_empty();
        if self.closed || self.room() == 0 || !wanted {
            return None;
        }
        Some(self.occupy())
    }

    /// Starts what is missing to `wanted` connections, as far as the limits and an outage allow.
    pub(crate) fn warm_up(
        &mut self,
        wanted: usize,
        now: Time,
        effects: &mut Effects<T, E>,
    ) -> Warmth<E> {
        if self.closed {
            return Warmth::Closed;
        }
        // More than may be kept would be dialled and closed for ever.
        let wanted = wanted.min(self.limits.max_idle);
        let connected = self.idle.len() + self.in_use;
        if connected >= wanted {
            return Warmth::Connected(connected, wanted);
        }
        if let Some((error, at)) = self.outages.refusal(now, self.limits.fail_at_once) {
            return Warmth::Failed(error, at);
        }
        self.dial(
            wanted.saturating_sub(connected + self.connecting),
            now,
            effects,
        );
        Warmth::Connected(connected, wanted)
    }

    /// No new checkouts; what is idle is given up, and who waits is told. Answers whether that is news.
    pub(crate) fn close(&mut self, effects: &mut Effects<T, E>) -> bool {
        let news = !self.closed;
        self.closed = true;
        while let Some(id) = self.idle.oldest() {
            self.reap(id, CloseReason::PoolClosed, effects);
        }
        self.next_due = Time::NEVER;
        self.find_detour();
        effects.changed = true;
        self.tell_all(|| Grant::Closed, effects);
        news
    }
}
