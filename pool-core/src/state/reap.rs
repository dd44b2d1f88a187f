//! Time passes: what has been idle for too long, has grown too old, or is to be checked.

use std::time::Duration;

use super::slots::{Phase, Slot, SlotId};
use super::time::Time;
use super::{Effects, Lent, Limits, State};
use crate::reason::CloseReason;

/// Most connections one transition gives up, so that the lock is never held for long.
pub(super) const BATCH: usize = 128;

/// By how much the clock of those who come home may be behind that of the maintenance task: a tick.
const LAG: Duration = Duration::from_millis(10);

/// How many places in the window of its jitter a lifetime may choose from.
const CANDIDATES: u64 = 8;

impl Limits {
    /// When such a connection becomes too old.
    pub(super) fn too_old<T>(&self, slot: &Slot<T>) -> Time {
        self.lifetime_end(slot.born, slot.jitter)
    }

    /// The same by its birth and its place in the window of the jitter.
    pub(super) fn lifetime_end(&self, born: Time, jitter: u16) -> Time {
        let shortened = (self.jitter >> u16::BITS) * u64::from(jitter);
        born.after_nanos(self.max_lifetime - shortened)
    }
}

impl<T, E: Clone> State<T, E> {
    /// Gives up what is due, at most a batch of it, and answers when there is more to do.
    pub(crate) fn expire(&mut self, now: Time, effects: &mut Effects<T, E>) -> Time {
        let batch = effects.close.len() + BATCH;
        while effects.close.len() < batch
            && let Some((at, id)) = self.lifetimes.first(&self.slots)
            && at <= now
        {
            self.lifetimes.remove(&self.slots, id);
            let slot = self.slots.at(id);
            if slot.phase == Phase::Idle {
                let reason = self.overdue(id, now);
                self.reap(id, reason, effects);
            } else {
                // One in use is met when it comes home, for certain: by a clock that runs behind it might not be due yet.
                slot.expires = match at >= self.limits.too_old(slot) {
                    true => Time::LONG_PAST,
                    false => Time::PAST,
                };
            }
        }
        while effects.close.len() < batch
            && self.idle_due() <= now
            && let Some(oldest) = self.idle.oldest()
        {
            self.reap(oldest, CloseReason::IdleTimeout, effects);
        }
        if !self.keepalive.is_unused() {
            self.keep_alive(now, effects);
        }
        self.next_due = self
            .lifetimes
            .first(&self.slots)
            .map_or(Time::NEVER, |(at, _)| at)
            .min(self.idle_due())
            .min(self.next_idle_due(now))
            .min(self.next_check());
        self.settle(now, effects);
        self.next_due
    }

    /// Gives up an idle connection.
    pub(super) fn reap(&mut self, id: SlotId, reason: CloseReason, effects: &mut Effects<T, E>) {
        // When it went out is of no interest to anybody.
        let value = self.take_out(id, Time::START);
        self.discard(id, reason);
        effects.close.push((Lent { slot: id, value }, reason));
    }

    /// When the oldest idle connection is to be reaped, if there is one too many.
    pub(super) fn idle_due(&self) -> Time {
        match self.idle.oldest() {
            Some(oldest) if self.idle.len() > self.limits.min_idle => self
                .slots
                .get(oldest)
                .idle_since
                .after_nanos(self.limits.idle_timeout),
            _ => Time::NEVER,
        }
    }

    /// The deadline that the next one to come home may bring, or a little before. Known beforehand, it need not be told
    /// then: one that goes out and comes home all the time would nudge the maintenance task each time.
    fn next_idle_due(&self, now: Time) -> Time {
        let oldest = self.idle.oldest();
        let since = oldest.map_or(now.before(LAG), |oldest| self.slots.get(oldest).idle_since);
        let due = since.after_nanos(self.limits.idle_timeout);
        match self.in_use > 0 && due > now {
            true => due,
            false => Time::NEVER,
        }
    }

    /// Why a connection that has expired did so.
    pub(super) fn overdue(&self, id: SlotId, now: Time) -> CloseReason {
        let slot = self.slots.get(id);
        match slot.expires {
            Time::START => CloseReason::Retired,
            Time::LONG_PAST => CloseReason::MaxLifetime,
            _ if now >= self.limits.too_old(slot) => CloseReason::MaxLifetime,
            _ => CloseReason::IdleLimit,
        }
    }

    /// The place in the window of the jitter for a connection made now. Of several the one farthest from everybody else's
    /// is chosen, so that connections made together do not have to be replaced together.
    pub(super) fn choose_jitter(&self, now: Time, random: u64) -> u16 {
        if self.limits.jitter == 0 {
            return 0;
        }
        let candidate = |number: u64| {
            // Any odd constant with many bits scatters well enough; this is the golden ratio's.
            let random = random.wrapping_add(number.wrapping_mul(0x9e37_79b9_7f4a_7c15));
            (random >> 48) as u16
        };
        (0..CANDIDATES)
            .map(candidate)
            .max_by_key(|&jitter| {
                let end = self.limits.lifetime_end(now, jitter);
                self.lifetimes.distance(&self.slots, end)
            })
            .expect("there are candidates")
    }

    /// A connection in use says how long it may idle, or does not say any more.
    pub(super) fn heed(
        &mut self,
        id: SlotId,
        idle_limit: Option<Duration>,
        now: Time,
        effects: &mut Effects<T, E>,
    ) {
        let slot = self.slots.at(id);
        if slot.expires <= Time::LONG_PAST {
            return;
        }
        let too_old = self.limits.too_old(slot);
        let expires = idle_limit.map_or(too_old, |limit| now.after(limit).min(too_old));
        if expires == slot.expires {
            return;
        }
        self.lifetimes.remove(&self.slots, id);
        self.slots.at(id).expires = expires;
        if expires != Time::NEVER {
            self.lifetimes.insert(&self.slots, id);
            self.lower_due(expires, effects);
        }
        if idle_limit.is_some() {
            self.hinted = true;
            self.find_detour();
        }
    }

    /// When the next check of an idle connection is worth a look.
    pub(super) fn next_check(&self) -> Time {
        self.keepalive.next_due(self.idle.len() + self.in_use)
    }

    /// Takes out what has been idle for long enough to be checked.
    fn keep_alive(&mut self, now: Time, effects: &mut Effects<T, E>) {
        loop {
            let (slots, live) = (&self.slots, self.idle.len() + self.in_use);
            let due = self.keepalive.take(now, live, |id| {
                let slot = slots.get(id);
                (slot.phase == Phase::Idle).then_some(slot.idle_since)
            });
            let Some((id, checks)) = due else {
                return;
            };
            let value = self.take_aside(id, now);
            effects.check.push((Lent { slot: id, value }, checks));
        }
    }
}
