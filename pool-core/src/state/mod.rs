//! What the pool decides, and nothing else: no I/O, no clock, no lock, no waking.
//!
//! ```text
//!                 settle: demand > supply                 connected
//!   (free slot) ───────────────────────────► connecting ──────────────────┐
//!     ▲   ▲  ▲                                   │                        │ to the oldest waiter,
//!     │   │  └───────────────────────────────────┘                        ▼ else to the idle set
//!     │   │              failed, abandoned                            ┌────────┐
//!     │  closing ◄──────────── discarded, expired, pool closed ────── │ in use │
//!     │   ▲                                                           └────────┘
//!     │   │                              checkout, in idle order      ▲        │ checked in,
//!     │   └── idle_timeout, max_lifetime, dropped by peer, closed ── [  idle  ]◄ nobody waits
//!     └── socket closed
//! ```
//!
//! A caller may have his connection replaced; that is drawn in `renewal`.
//!
//! Invariants, asserted after every step of the property tests:
//!
//! - `connecting + in_use + idle + closing` is the number of slots taken, and never above `max_size`; in a pool that was
//!   made smaller, never above what it was before.
//! - Nobody waits beside an idle connection, unless the pool is paused.
//! - `next_due` is not later than the deadline of any idle connection.
//! - Every connection ever made is idle, in use, given up or detached, and the totals say so.
//! - A value (the connection) is in its slot exactly while idle.
//!
//! Every transition is a method on `&mut State`, which is the proof that the lock is held. What a transition owes to
//! the world it adds to [`Effects`], and the shell performs that after unlocking. The two steps of the hot path,
//! [`State::check_out`] and [`State::check_in`], owe nothing or do nothing.

mod admission;
mod control;
mod deadlines;
mod idle;
mod keepalive;
mod lifetimes;
mod outage;
mod reap;
mod renewal;
mod slots;
mod time;
mod totals;
mod waiters;

#[cfg(all(test, pool_loom))]
mod loom;
#[cfg(test)]
mod tests;

use std::task::Waker;
use std::time::Duration;

use self::deadlines::Deadlines;
use self::idle::Idle;
use self::keepalive::Keepalive;
use self::lifetimes::Lifetimes;
use self::outage::Outages;
use self::slots::{Phase, Slots};
use crate::config::{Config, OnConnectError, Order};
use crate::reason::CloseReason;

pub(crate) use self::admission::{Account, Wish};
pub(crate) use self::control::Warmth;
pub(crate) use self::keepalive::CheckSet;
pub(crate) use self::outage::Pause;
pub(crate) use self::slots::SlotId;
pub(crate) use self::time::Time;
pub(crate) use self::totals::Totals;
pub(crate) use self::waiters::{WaiterId, Waiters};

/// Everything the lock protects. `T` is what is pooled, `E` what is told when a dial fails.
#[derive(Debug)]
pub(crate) struct State<T, E> {
    limits: Limits,
    slots: Slots<T>,
    idle: Idle,
    waiters: Waiters<T, E>,
    deadlines: Deadlines,
    connecting: usize,
    /// Dials for callers who have their slots already.
    renewing: usize,
    in_use: usize,
    /// Of those in use, the ones that are with no caller.
    aside: usize,
    closing: usize,
    /// When each connection becomes too old; it leaves the set when it is given up.
    lifetimes: Lifetimes,
    /// Nothing happens to an idle connection before this.
    next_due: Time,
    keepalive: Keepalive,
    outages: Outages<E>,
    totals: Totals,
    /// Connections with a lower number are not kept.
    retired_below: u64,
    /// Nobody is served until it is resumed.
    paused: bool,
    closed: bool,
    /// Connections have said how long they may idle, so each that comes home is asked.
    hinted: bool,
    /// Whether a connection that comes home must take the whole path: the pool is closed or paused or was made smaller,
    /// or connections say how long they may idle.
    detour: bool,
    /// What a pool that must ask before it dials has told last.
    told: Option<Account>,
    /// The arrival of somebody who does not wait, while such a pool is asked on his behalf.
    prepared: Option<u64>,
}

const COMES_HOME: &str = "whoever checks a connection in has it";

/// The part of the configuration that transitions consult; times are in nanoseconds, and `u64::MAX` is never.
#[derive(Debug)]
struct Limits {
    max_size: usize,
    min_idle: usize,
    max_idle: usize,
    max_uses: u32,
    max_waiters: usize,
    max_connecting: usize,
    order: Order,
    idle_timeout: u64,
    max_lifetime: u64,
    /// By how much at most a lifetime is shortened.
    jitter: u64,
    jitter_ratio: f64,
    fail_at_once: bool,
}

/// A connection out of the idle set, to be given back by naming its slot.
#[derive(Debug)]
pub(crate) struct Lent<T> {
    pub(crate) slot: SlotId,
    pub(crate) value: T,
}

/// What a waiter gets in the end.
#[derive(Debug)]
pub(crate) enum Grant<T, E> {
    Connection(Lent<T>),
    /// A dial failed, then.
    Failed(E, Time),
    /// Its deadline has passed; so many waited then, it among them.
    Expired(usize),
    /// As many wait as may.
    Refused,
    Closed,
}

/// Where a connection went that came home.
pub(crate) enum CheckedIn {
    Idle,
    /// To somebody who is to be woken.
    Granted(Waker),
}

/// A dial to be started; whoever gets it owns the slot.
#[derive(Debug)]
pub(crate) struct Dial {
    pub(crate) slot: SlotId,
    /// The number of the connection to be.
    pub(crate) id: u64,
}

/// What a transition owes to the world, to be performed after unlocking.
#[derive(Debug)]
pub(crate) struct Effects<T, E> {
    pub(crate) wake: Wakers,
    pub(crate) dial: Vec<Dial>,
    pub(crate) close: Vec<(Lent<T>, CloseReason)>,
    /// Taken out of the idle set to be checked.
    pub(crate) check: Vec<(Lent<T>, CheckSet)>,
    /// To be waited out, and reported with [`State::pause_over`].
    pub(crate) pause: Option<Pause>,
    /// To be looked at again: nobody did while it was granted to one who left.
    pub(crate) look: Option<SlotId>,
    /// `next_due` has come closer than the maintenance task knows.
    pub(crate) nudge: bool,
    /// Somebody's deadline has come closer than the one that their timer is set for.
    pub(crate) alarm: bool,
    /// A dial ended or a slot was freed, for those who wait for the numbers to change.
    pub(crate) changed: bool,
    /// Of no use any more, and the user's: to be dropped, but not under the lock. No transition leaves more than one.
    pub(crate) waker: Option<Waker>,
    pub(crate) error: Option<E>,
}

/// Wakers to be called; one needs no allocation.
#[derive(Debug, Default)]
pub(crate) struct Wakers {
    first: Option<Waker>,
    rest: Vec<Waker>,
}

/// What is known of a connection in use.
#[derive(Clone, Copy, Debug)]
pub(crate) struct SlotInfo {
    pub(crate) id: u64,
    pub(crate) born: Time,
    pub(crate) uses: u32,
    pub(crate) taken: Time,
    pub(crate) idle_for: Duration,
}

/// The numbers of [`Status`](crate::Status) that only the state knows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Counts {
    pub(crate) max_size: usize,
    pub(crate) idle: usize,
    pub(crate) in_use: usize,
    pub(crate) connecting: usize,
    pub(crate) closing: usize,
    pub(crate) waiting: usize,
    pub(crate) paused: bool,
    pub(crate) closed: bool,
}

impl Counts {
    /// Connections that are too many since the pool was made smaller; what is being closed is on its way already.
    pub(crate) fn surplus(&self) -> usize {
        (self.idle + self.in_use + self.connecting).saturating_sub(self.max_size)
    }
}

// A caller comes.
impl<T, E: Clone> State<T, E> {
    /// `periods` are those of the checks that run while a connection is idle.
    pub(crate) fn new(config: &Config, periods: Vec<u64>) -> Self {
        Self {
            limits: Limits::new(config),
            slots: Slots::new(),
            idle: Idle::new(),
            waiters: Waiters::new(),
            deadlines: Deadlines::new(),
            connecting: 0,
            renewing: 0,
            in_use: 0,
            aside: 0,
            closing: 0,
            lifetimes: Lifetimes::new(),
            next_due: Time::NEVER,
            keepalive: Keepalive::new(periods),
            outages: Outages::new(config),
            totals: Totals::default(),
            retired_below: 0,
            paused: false,
            closed: false,
            hinted: false,
            detour: false,
            told: None,
            prepared: None,
        }
    }

    /// The hot path out: an idle connection, if taking it owes nothing to the world. Otherwise ask
    /// [`request`](Self::request).
    #[inline(always)]
    pub(crate) fn check_out(&mut self, now: Time) -> Option<Lent<T>> {
        let replaced =
            self.idle.len() <= self.limits.min_idle && self.slots.used() < self.limits.max_size;
        if now >= self.next_due || replaced || self.paused {
            return None;
        }
        self.take_idle(now)
    }

    /// The whole path out: an idle connection, or a refusal, or a place in the queue. Whoever was given a dead connection
    /// shows his `former` place and gets it back.
    pub(crate) fn request(
        &mut self,
        former: Option<WaiterId>,
        waited: bool,
        deadline: Time,
        waker: Waker,
        now: Time,
        effects: &mut Effects<T, E>,
    ) -> Result<WaiterId, Grant<T, E>> {
        // If the timer's task is behind, whoever comes does a little more than he adds to its work, so it catches up.
        self.dismiss_few(deadlines::STEPS, now, effects);
        let answer = if let Some(lent) = self.take(now, effects) {
            Grant::Connection(lent)
        } else if self.closed {
            Grant::Closed
        } else if let Some((error, at)) = self.outages.refusal(now, self.limits.fail_at_once) {
            Grant::Failed(error, at)
        } else if former.is_none() && self.waiters.queued() >= self.most_waiters() {
            self.totals.refused += 1;
            Grant::Refused
        } else {
            let place = self.waiters.join(former, deadline, waker);
            if former.is_some() {
                self.deadlines.list(deadline, place, &self.waiters);
            }
            effects.alarm = self.deadlines.note(deadline);
            self.totals.waited += u64::from(!waited);
            self.settle(now, effects);
            return Ok(place);
        };
        effects.waker = Some(waker);
        Err(answer)
    }

    /// The hot path of one who must wait: a place in the queue, if taking it owes nothing to the world. Otherwise the waker
    /// comes back, for [`request`](Self::request).
    #[inline]
    pub(crate) fn queue(
        &mut self,
        deadline: Time,
        waker: Waker,
        now: Time,
    ) -> Result<WaiterId, Waker> {
        if self.idle.len() > 0
            || self.slots.used() < self.limits.max_size
            || now >= self.next_due
            || deadline < self.deadlines.next()
            || now >= self.deadlines.next()
            || self.waiters.queued() >= self.limits.max_waiters
            || !self.outages.is_over()
            || self.told.is_some()
            || self.paused
            || self.closed
        {
            return Err(waker);
        }
        self.totals.waited += 1;
        Ok(self.waiters.join(None, deadline, waker))
    }

    /// Tells those whose deadline has passed, at most a batch of them, and answers when the next one's does.
    pub(crate) fn dismiss(&mut self, now: Time, effects: &mut Effects<T, E>) -> Time {
        self.dismiss_few(reap::BATCH, now, effects);
        self.deadlines.next()
    }

    fn dismiss_few(&mut self, steps: usize, now: Time, effects: &mut Effects<T, E>) {
        for _ in 0..steps {
            if self.deadlines.next() > now {
                break;
            }
            if let Some((deadline, place)) = self.waiters.next_unlisted() {
                self.deadlines.list(deadline, place, &self.waiters);
            } else if let Some(place) = self.deadlines.pop_due(now) {
                self.waiters.expire(place, &mut effects.wake);
            }
        }
    }

    /// Whether somebody waits.
    #[inline]
    pub(crate) fn is_awaited(&self) -> bool {
        !self.waiters.is_empty()
    }

    /// An idle connection, whatever that owes.
    pub(crate) fn take(&mut self, now: Time, effects: &mut Effects<T, E>) -> Option<Lent<T>> {
        while now >= self.next_due {
            self.expire(now, effects);
        }
        let lent = match self.paused {
            true => None,
            false => self.take_idle(now),
        };
        self.settle(now, effects);
        lent
    }

    /// Starts one dial if none is under way and there is room: somebody came who does not wait.
    pub(crate) fn prepare_one(&mut self, now: Time, effects: &mut Effects<T, E>) {
        if self.told.is_some() && self.connecting == 0 && self.may_keep_one() {
            self.prepared = Some(self.waiters.arrive());
        }
        let wanted = self.connecting == 0 && self.may_keep_one();
        self.dial(usize::from(wanted), now, effects);
    }

    /// A place for somebody who does not queue yet: if what he has taken proves useless, nobody who came later is before
    /// him.
    pub(crate) fn reserve_place(&mut self) -> WaiterId {
        self.waiters.reserve()
    }

    /// What the waiter was granted; if nothing yet, `Err` says whether `waker` is the one to be called.
    pub(crate) fn collect(&mut self, place: WaiterId, waker: &Waker) -> Result<Grant<T, E>, bool> {
        self.waiters.collect(place, waker)
    }

    /// Exchanges the waker of one that waits on; the former one is to be dropped outside the lock.
    pub(crate) fn renew(&mut self, place: WaiterId, waker: Waker) -> Option<Waker> {
        self.waiters.renew(place, waker)
    }

    /// A waiter goes; what it had been granted is the next one's.
    pub(crate) fn leave(&mut self, place: WaiterId, now: Time, effects: &mut Effects<T, E>) {
        let (grant, waker) = self.waiters.leave(place);
        effects.waker = waker;
        match grant {
            Some(Grant::Connection(Lent { slot, value })) => {
                self.not_used(slot);
                effects.look = Some(slot);
                self.home(slot, value, now, effects);
            }
            // An error needs no passing on: all who waited were told, and whoever came later has a dial of his own.
            Some(Grant::Failed(error, _)) => effects.error = Some(error),
            Some(Grant::Expired(_) | Grant::Refused | Grant::Closed) | None => {}
        }
    }

    /// As [`leave`](Self::leave), of one who was not told to.
    pub(crate) fn cancel(&mut self, place: WaiterId, now: Time, effects: &mut Effects<T, E>) {
        self.totals.cancelled += 1;
        self.leave(place, now, effects);
    }

    /// Somebody left who had waited, but did not at that moment.
    pub(crate) fn cancelled(&mut self) {
        self.totals.cancelled += 1;
    }

    /// A checkout ran into its deadline.
    pub(crate) fn timed_out(&mut self) {
        self.totals.timed_out += 1;
    }

    /// Somebody was told that too many wait, without having asked here.
    pub(crate) fn refused(&mut self) {
        self.totals.refused += 1;
    }

    /// A connection was handed out and not used after all.
    pub(crate) fn not_used(&mut self, id: SlotId) {
        self.slots.at(id).uses -= 1;
        self.totals.checkouts -= 1;
    }

    /// Callers who may wait: `max_waiters` beside those whom free slots, and connections that are with no caller, will serve.
    fn most_waiters(&self) -> usize {
        let served = self.room() + self.connecting + self.closing + self.aside;
        self.limits.max_waiters.saturating_add(served)
    }
}

// A connection comes home.
impl<T, E: Clone> State<T, E> {
    /// The hot path in: takes the connection and makes it idle, or the oldest waiter's, if that owes nothing to the world
    /// but to wake him. Otherwise leaves it for [`give_back`](Self::give_back).
    #[inline(always)]
    pub(crate) fn check_in(
        &mut self,
        id: SlotId,
        value: &mut Option<T>,
        now: Time,
    ) -> Option<CheckedIn> {
        let slot = self.slots.at(id);
        debug_assert_eq!(slot.phase, Phase::InUse);
        if self.detour
            || !self.outages.is_over()
            || now >= self.next_due
            || now >= slot.expires
            || slot.uses >= self.limits.max_uses
        {
            return None;
        }
        if !self.waiters.is_empty() {
            if self.told.is_some() {
                return None;
            }
            return self.hand_on(id, value, now).map(CheckedIn::Granted);
        }
        if self.idle.len() >= self.limits.max_idle {
            return None;
        }
        // The first above `min_idle` may bring a deadline that the maintenance task does not know.
        let news = self.idle.len() == self.limits.min_idle && {
            let since = self
                .idle
                .oldest()
                .map_or(now, |oldest| self.slots.get(oldest).idle_since);
            since.after_nanos(self.limits.idle_timeout) < self.next_due
        };
        if news {
            return None;
        }
        self.in_use -= 1;
        let slot = self.idle.push_newest(&mut self.slots, id);
        slot.idle_since = now;
        slot.put(value.take().expect(COMES_HOME));
        Some(CheckedIn::Idle)
    }

    /// Grants the connection to the oldest waiter, who is to be woken, unless his time is over.
    fn hand_on(&mut self, id: SlotId, value: &mut Option<T>, now: Time) -> Option<Waker> {
        let lend = || {
            let value = value.take().expect(COMES_HOME);
            Grant::Connection(Lent { slot: id, value })
        };
        let waker = self.waiters.grant_first(now, lend)?;
        let slot = self.slots.at(id);
        slot.idle_since = now;
        slot.hand_out(now);
        self.totals.checkouts += 1;
        Some(waker)
    }

    /// The whole path in: to the oldest waiter, else to the idle set, unless its time has come. Some connections know
    /// how long they may idle.
    pub(crate) fn give_back(
        &mut self,
        id: SlotId,
        value: T,
        idle_limit: Option<Duration>,
        now: Time,
        effects: &mut Effects<T, E>,
    ) {
        self.slots.at(id).idle_since = now;
        self.heed(id, idle_limit, now, effects);
        if !self.outages.is_over() {
            effects.error = self.outages.proven(self.slots.get(id).born);
            self.settle(now, effects);
        }
        if now >= self.next_due {
            self.expire(now, effects);
        }
        self.home(id, value, now, effects);
    }

    /// Takes an idle connection out to look at it, if it is still the one that is meant; without a number any is.
    pub(crate) fn inspect(&mut self, id: SlotId, number: Option<u64>, now: Time) -> Option<T> {
        let slot = self.slots.get(id);
        if slot.phase != Phase::Idle || number.is_some_and(|number| slot.id != number) {
            return None;
        }
        Some(self.take_aside(id, now))
    }

    /// A connection that came home is cleaned or checked first.
    pub(crate) fn step_aside(&mut self, id: SlotId) {
        let slot = self.slots.at(id);
        debug_assert!(slot.phase == Phase::InUse && !slot.aside);
        slot.aside = true;
        self.aside += 1;
    }

    /// Puts an inspected one back; being looked at is not a use, so its idle time goes on.
    pub(crate) fn put_back(
        &mut self,
        id: SlotId,
        value: T,
        now: Time,
        effects: &mut Effects<T, E>,
    ) {
        self.home(id, value, now, effects);
    }

    /// A connection in use is given up; it keeps its slot until [`closed`](Self::closed).
    pub(crate) fn discard(&mut self, id: SlotId, reason: CloseReason) {
        self.totals.given_up(reason);
        self.forget(id);
    }

    fn forget(&mut self, id: SlotId) {
        let slot = self.slots.at(id);
        debug_assert_eq!(slot.phase, Phase::InUse);
        slot.phase = Phase::Closing;
        self.aside -= usize::from(std::mem::take(&mut slot.aside));
        self.lifetimes.remove(&self.slots, id);
        if !self.keepalive.is_unused() {
            self.keepalive.end(id);
        }
        self.in_use -= 1;
        self.closing += 1;
    }

    /// A connection's socket is closed.
    pub(crate) fn closed(&mut self, id: SlotId, now: Time, effects: &mut Effects<T, E>) {
        debug_assert_eq!(self.slots.get(id).phase, Phase::Closing);
        self.closing -= 1;
        self.release(id, effects);
        self.check_over(id, effects);
        self.settle(now, effects);
    }

    /// A connection in use is the user's for good.
    pub(crate) fn detach(&mut self, id: SlotId, now: Time, effects: &mut Effects<T, E>) {
        self.totals.detached += 1;
        self.forget(id);
        self.closed(id, now, effects);
    }
}

// A dial ends.
impl<T, E: Clone> State<T, E> {
    /// A dial succeeded; its connection goes wherever it is wanted most. `random` shortens its life.
    pub(crate) fn connected(
        &mut self,
        id: SlotId,
        value: T,
        now: Time,
        random: u64,
        effects: &mut Effects<T, E>,
    ) {
        debug_assert_eq!(self.slots.get(id).phase, Phase::Connecting);
        self.connecting -= 1;
        self.begin_life(id, now, random, effects);
        self.home(id, value, now, effects);
        self.settle(now, effects);
    }

    /// A connection is there, in use by whoever it will be handed to.
    fn begin_life(&mut self, id: SlotId, now: Time, random: u64, effects: &mut Effects<T, E>) {
        (effects.pause, effects.error) = self.outages.connected(now, random);
        effects.changed = true;
        let jitter = self.choose_jitter(now, random);
        let too_old = self.limits.lifetime_end(now, jitter);
        let slot = self.slots.at(id);
        slot.phase = Phase::InUse;
        slot.born = now;
        slot.jitter = jitter;
        // Dialled with what was valid before.
        let is_retired = slot.id < self.retired_below;
        slot.expires = if is_retired { Time::START } else { too_old };
        slot.idle_since = now;
        self.totals.connected += 1;
        self.in_use += 1;
        if too_old != Time::NEVER && !is_retired {
            self.lifetimes.insert(&self.slots, id);
            self.lower_due(too_old, effects);
        }
        if !self.keepalive.is_unused() {
            self.keepalive.begin(id, now);
            self.lower_due(self.next_check(), effects);
        }
    }

    /// A dial failed.
    pub(crate) fn failed(
        &mut self,
        id: SlotId,
        error: E,
        permanent: bool,
        now: Time,
        random: u64,
        effects: &mut Effects<T, E>,
    ) {
        self.totals.connect_failures += 1;
        self.free_dial(id, effects);
        (effects.pause, effects.error) =
            self.outages
                .failed(error.clone(), permanent, false, now, random);
        if permanent || self.limits.fail_at_once {
            self.tell_all(|| Grant::Failed(error.clone(), now), effects);
        }
    }

    /// A connection was dropped by its peer before it was of use to anybody. Dialling again at once would only make
    /// more of them, so this counts as a failed dial.
    pub(crate) fn dropped_unused(
        &mut self,
        error: E,
        now: Time,
        random: u64,
        effects: &mut Effects<T, E>,
    ) {
        (effects.pause, effects.error) =
            self.outages.failed(error.clone(), false, true, now, random);
        if self.limits.fail_at_once {
            self.tell_all(|| Grant::Failed(error.clone(), now), effects);
        }
    }

    /// A pause after a failure is over.
    pub(crate) fn pause_over(&mut self, pause: &Pause, now: Time, effects: &mut Effects<T, E>) {
        effects.error = self.outages.pause_over(pause);
        effects.changed = true;
        self.settle(now, effects);
    }

    /// A dial ended without a result: the pool was closed or the runtime is shutting down.
    pub(crate) fn abandoned(&mut self, id: SlotId, effects: &mut Effects<T, E>) {
        self.free_dial(id, effects);
    }

    fn free_dial(&mut self, id: SlotId, effects: &mut Effects<T, E>) {
        debug_assert_eq!(self.slots.get(id).phase, Phase::Connecting);
        self.connecting -= 1;
        self.release(id, effects);
    }
}

// What is known.
impl<T, E: Clone> State<T, E> {
    /// Since when connecting has failed, and with what.
    pub(crate) fn last_error(&self) -> Option<(E, Time)> {
        self.outages.last_error()
    }

    pub(crate) fn totals(&self) -> &Totals {
        &self.totals
    }

    pub(crate) fn info(&self, id: SlotId) -> SlotInfo {
        let slot = self.slots.get(id);
        let taken = slot.taken().unwrap_or(slot.idle_since);
        SlotInfo {
            id: slot.id,
            born: slot.born,
            uses: slot.uses,
            taken,
            idle_for: taken.since(slot.idle_since),
        }
    }

    pub(crate) fn counts(&self) -> Counts {
        Counts {
            max_size: self.limits.max_size,
            idle: self.idle.len(),
            in_use: self.in_use,
            connecting: self.connecting + self.renewing,
            closing: self.closing,
            waiting: self.waiters.queued(),
            paused: self.paused,
            closed: self.closed,
        }
    }
}

// What the transitions are made of.
impl<T, E: Clone> State<T, E> {
    #[inline(always)]
    fn take_idle(&mut self, now: Time) -> Option<Lent<T>> {
        let id = match self.limits.order {
            Order::Lifo => self.idle.newest(),
            Order::Fifo => self.idle.oldest(),
        }?;
        let slot = self.idle.remove(&mut self.slots, id);
        self.in_use += 1;
        slot.count_use();
        self.totals.checkouts += 1;
        let value = slot.take(now);
        Some(Lent { slot: id, value })
    }

    fn take_out(&mut self, id: SlotId, now: Time) -> T {
        self.in_use += 1;
        self.idle.remove(&mut self.slots, id).take(now)
    }

    /// Takes an idle connection out for somebody who is no caller.
    fn take_aside(&mut self, id: SlotId, now: Time) -> T {
        let value = self.take_out(id, now);
        self.step_aside(id);
        value
    }

    #[inline]
    fn hand_out(&mut self, id: SlotId, now: Time) {
        self.slots.at(id).hand_out(now);
        self.totals.checkouts += 1;
    }

    fn home(&mut self, id: SlotId, value: T, now: Time, effects: &mut Effects<T, E>) {
        self.check_over(id, effects);
        let slot = self.slots.at(id);
        self.aside -= usize::from(std::mem::take(&mut slot.aside));
        let mut lent = Lent { slot: id, value };
        if let Some(reason) = self.unfit(id, now) {
            self.discard(id, reason);
            return effects.close.push((lent, reason));
        }
        if !self.waiters.is_empty() && !self.paused {
            match self
                .waiters
                .grant_oldest(now, Grant::Connection(lent), &mut effects.wake)
            {
                Ok(()) => return self.hand_out(id, now),
                Err(Grant::Connection(unwanted)) => lent = unwanted,
                Err(_) => unreachable!("a grant nobody takes comes back as it was"),
            }
        }
        if !self.may_keep_one() {
            self.discard(id, CloseReason::MaxIdle);
            return effects.close.push((lent, CloseReason::MaxIdle));
        }
        self.slots.at(id).put(lent.value);
        self.in_use -= 1;
        self.idle.put_back(&mut self.slots, id);
        self.lower_due(self.idle_due(), effects);
    }

    /// Why a connection in use would not be kept if it came home now.
    pub(crate) fn unfit(&self, id: SlotId, now: Time) -> Option<CloseReason> {
        let slot = self.slots.get(id);
        if self.closed {
            Some(CloseReason::PoolClosed)
        } else if now >= slot.expires {
            Some(self.overdue(id, now))
        } else if slot.uses >= self.limits.max_uses {
            Some(CloseReason::MaxUses)
        } else if self.is_surplus() {
            Some(CloseReason::Resized)
        } else {
            None
        }
    }

    /// If this one was being checked, others may be now.
    fn check_over(&mut self, id: SlotId, effects: &mut Effects<T, E>) {
        if !self.keepalive.is_unused() && self.keepalive.checked(id) {
            self.lower_due(self.next_check(), effects);
        }
    }

    /// Why a caller's connection would not be kept if it came home now, whatever it says of itself then.
    pub(crate) fn due(&self, id: SlotId, now: Time) -> Option<CloseReason> {
        let reason = self.unfit(id, now);
        let slot = self.slots.get(id);
        match reason {
            // That deadline was for the time in which it was idle.
            Some(CloseReason::IdleLimit) if slot.uses < self.limits.max_uses => {
                self.is_surplus().then_some(CloseReason::Resized)
            }
            Some(CloseReason::IdleLimit) => Some(CloseReason::MaxUses),
            reason => reason,
        }
    }

    /// Whether one more may lie idle.
    fn may_keep_one(&self) -> bool {
        self.idle.len() < self.limits.max_idle
    }

    /// Frees a slot.
    fn release(&mut self, id: SlotId, effects: &mut Effects<T, E>) {
        self.slots.release(id);
        effects.changed = true;
        self.find_detour();
    }

    /// Slots that may be taken.
    fn room(&self) -> usize {
        self.limits.max_size.saturating_sub(self.slots.used())
    }

    /// Whether there is one too many, after the pool was made smaller. What is being closed is on its way already.
    fn is_surplus(&self) -> bool {
        self.slots.used() - self.closing > self.limits.max_size
    }

    fn find_detour(&mut self) {
        let shrinks = self.slots.used() > self.limits.max_size;
        self.detour = self.closed || self.paused || self.hinted || shrinks;
    }

    fn lower_due(&mut self, due: Time, effects: &mut Effects<T, E>) {
        if due < self.next_due {
            self.next_due = due;
            effects.nudge = true;
        }
    }

    fn tell_all(&mut self, grant: impl Fn() -> Grant<T, E>, effects: &mut Effects<T, E>) {
        // Whether a deadline has passed does not matter to somebody who gets no connection.
        while self
            .waiters
            .grant_oldest(Time::START, grant(), &mut effects.wake)
            .is_ok()
        {}
    }

    /// Demand less supply: starts as many dials as are wanted and not yet under way.
    fn settle(&mut self, now: Time, effects: &mut Effects<T, E>) {
        if !self.paused {
            self.dial(self.unmet(), now, effects);
        }
    }

    /// Callers for whom there is no connection.
    fn callers(&self) -> usize {
        self.waiters.queued() + usize::from(self.prepared.is_some())
    }

    /// Connections that are wanted and for which no dial is under way.
    fn unmet(&self) -> usize {
        // What is only being looked at is idle in a moment, and need not be replaced.
        let kept = self.idle.len() + self.aside;
        let missing = self.limits.min_idle.saturating_sub(kept);
        let demand = self.callers().saturating_add(missing);
        demand.saturating_sub(self.connecting)
    }

    /// Starts up to `wanted` dials, unless they have to be asked for.
    fn dial(&mut self, wanted: usize, now: Time, effects: &mut Effects<T, E>) {
        if wanted > 0 && self.told.is_none() {
            self.start(self.startable(wanted, now), effects);
        }
    }

    /// How many of the dials that are wanted the limits and an outage allow.
    fn startable(&self, wanted: usize, now: Time) -> usize {
        if self.closed || self.paused {
            return 0;
        }
        let most = self
            .outages
            .most_dials(now, self.connecting, self.limits.max_connecting);
        wanted.min(self.room()).min(most)
    }

    fn start(&mut self, dials: usize, effects: &mut Effects<T, E>) {
        if dials > 0 {
            self.outages.dialled();
        }
        for _ in 0..dials {
            let dial = self.occupy();
            effects.dial.push(dial);
        }
    }

    /// Takes a free slot.
    fn occupy(&mut self) -> Dial {
        let slot = self.slots.occupy(self.limits.max_size);
        self.connecting += 1;
        Dial {
            slot,
            id: self.slots.get(slot).id,
        }
    }
}

impl Limits {
    fn new(config: &Config) -> Self {
        let mut limits = Self {
            max_size: config.max_size,
            min_idle: config.min_idle,
            max_idle: config.max_idle.unwrap_or(usize::MAX),
            max_uses: config.max_uses.unwrap_or(u32::MAX),
            max_waiters: config.max_waiters.unwrap_or(usize::MAX),
            max_connecting: config.max_connecting,
            order: config.order,
            idle_timeout: config.idle_timeout.map_or(u64::MAX, time::nanos),
            max_lifetime: u64::MAX,
            jitter: 0,
            jitter_ratio: config.lifetime_jitter,
            fail_at_once: config.on_connect_error == OnConnectError::Fail,
        };
        limits.limit_lifetimes(config.max_lifetime);
        limits
    }

    fn limit_lifetimes(&mut self, most: Option<Duration>) {
        self.max_lifetime = most.map_or(u64::MAX, time::nanos);
        self.jitter = most.map_or(0, |most| {
            (time::nanos(most) as f64 * self.jitter_ratio) as u64
        });
    }
}

impl<T, E> Effects<T, E> {
    pub(crate) fn new() -> Self {
        Self {
            wake: Wakers::default(),
            dial: Vec::new(),
            close: Vec::new(),
            check: Vec::new(),
            pause: None,
            look: None,
            nudge: false,
            alarm: false,
            changed: false,
            waker: None,
            error: None,
        }
    }
}

impl Extend<Waker> for Wakers {
    fn extend<I: IntoIterator<Item = Waker>>(&mut self, wakers: I) {
        for waker in wakers {
            match &self.first {
                None => self.first = Some(waker),
                Some(_) => self.rest.push(waker),
            }
        }
    }
}

impl IntoIterator for Wakers {
    type Item = Waker;
    type IntoIter = std::iter::Chain<std::option::IntoIter<Waker>, std::vec::IntoIter<Waker>>;

    /// In the order in which they were granted something.
    fn into_iter(self) -> Self::IntoIter {
        self.first.into_iter().chain(self.rest)
    }
}
