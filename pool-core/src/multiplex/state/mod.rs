//! What the layer decides, and nothing else: who has how many leases, who waits, how many connections are being opened.
//!
//! ```text
//!   settle: callers > supply                 opened                 lease, release, publish
//!   ─────────────────────────► opening ──────────────────► [ open ] ◄─────────┐
//!                                 │                         │  │  └───────────┘
//!                                 │                         │  └ drained, retired ─► draining ──┐
//!    failed: who waits is told;   │      its last lease is  │  └ lifetime over ─► due ──┐       │ last lease
//!    surplus: nobody waits        ▼      home, nobody waits ▼                           ▼       ▼
//!                               (over)                    homing ◄──────────────────────┘    closed
//!                                                           │ homed
//!                                                           ▼
//!                                                 in the pool, which keeps it idle or closes it
//! ```
//!
//! Invariants, asserted after every step of the property tests:
//!
//! - A connection is granted a lease only while it has fewer than it carries.
//! - Nobody waits beside a connection with room, but for the instant in which an idle one is taken out beside it.
//! - While somebody waits, a connection is being opened or on its way home: nobody is forgotten.
//! - A connection without a lease is held only for somebody who waits (it carries nothing at present).
//!
//! As in the core, every transition is a method on `&mut State`, and what it owes to the world it adds to [`Effects`].

#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet};
use std::task::Waker;

use crate::config::Config;
use crate::multiplex::spread::Spread;
use crate::state::{Grant, Lent, SlotId, Time, WaiterId, Waiters, Wakers};

/// What the state asks of a connection; clones are the same connection.
pub(super) trait Carrier: Clone {
    /// How many leases it carries at once; `None` if it admits none any more.
    fn capacity(&self) -> Option<usize>;

    /// What the pool says to a further lease on it, when so many others are to be closed anyway.
    fn admits(&self, others: usize) -> Admission;
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Admission {
    Yes,
    /// The pool is paused.
    NotNow,
    /// It would be closed if it came home now.
    Never,
}

/// Everything the layer's lock protects. `T` is a connection, `E` what is told when none can be opened.
#[derive(Debug)]
pub(super) struct State<T, E> {
    limits: Limits,
    open: BTreeMap<SlotId, Open<T>>,
    /// Those of `open` that admit another lease, in order of the leases they have.
    roomy: BTreeSet<(usize, SlotId)>,
    /// Those of `open` that have no lease.
    empty: BTreeSet<SlotId>,
    /// How many of `open` admit no lease any more.
    shut: usize,
    waiters: Waiters<T, E>,
    /// Connections asked of the pool.
    openings: usize,
    /// Connections on their way home, to be idle at once.
    homing: usize,
    /// What the next connection is thought to carry: as much as the last one, and everybody as long as none is known.
    expected: usize,
}

/// What the layer was told when it was built.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Limits {
    pub(super) spread: Spread,
    pub(super) max_leases: usize,
    pub(super) open_first: usize,
    pub(super) max_size: usize,
    pub(super) max_waiters: usize,
}

/// A connection out of the pool.
#[derive(Debug)]
struct Open<T> {
    value: T,
    /// Unique in the life of the pool, unlike its slot.
    id: u64,
    leases: usize,
    /// As published, but no more than `max_leases`.
    capacity: usize,
    phase: Phase,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    Live,
    /// Goes home when empty.
    Due,
    /// Is closed when empty.
    Draining,
}

/// What a transition owes to the world, to be performed after unlocking.
#[derive(Debug)]
pub(super) struct Effects<T, E> {
    pub(super) wake: Wakers,
    /// Connections to be opened.
    pub(super) open: usize,
    /// Connections without a lease.
    pub(super) part: Vec<Parted<T>>,
    /// There are more openings than anybody needs.
    pub(super) surplus: bool,
    /// Of no use any more, and the user's: to be dropped, but not under the lock.
    pub(super) waker: Option<Waker>,
    pub(super) error: Option<E>,
}

/// A connection that the layer holds no longer, and where it goes.
#[derive(Debug)]
pub(super) enum Parted<T> {
    /// To the pool; to be reported with [`State::homed`].
    Home(T),
    /// Nowhere.
    Closed(T),
}

/// The numbers of [`SharedStatus`](crate::SharedStatus) that only the state knows.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Counts {
    pub(super) leases: usize,
    pub(super) capacity: usize,
    pub(super) waiting: usize,
    pub(super) draining: usize,
}

// A caller comes.
impl<T: Carrier, E: Clone> State<T, E> {
    pub(super) fn new(limits: Limits) -> Self {
        Self {
            limits,
            open: BTreeMap::new(),
            roomy: BTreeSet::new(),
            empty: BTreeSet::new(),
            shut: 0,
            waiters: Waiters::new(),
            openings: 0,
            homing: 0,
            expected: usize::MAX,
        }
    }

    /// A lease on a connection that has room, unless somebody waits or a further connection should be opened first.
    pub(super) fn take(&mut self) -> Option<Lent<T>> {
        // Beside a connection with room nobody waits for what others have asked for, which may be a dial.
        let asks_for_more =
            self.live() < self.limits.open_first && self.openings + self.homing == 0;
        if !self.waiters.is_empty() || asks_for_more {
            return None;
        }
        self.choose().map(|slot| self.lend(slot))
    }

    /// A lease, or a refusal, or a place in the queue and a connection being opened. The place's waker is told with
    /// [`renew`](Self::renew), as an idle connection arrives before the caller would sleep. `brings` says how many more
    /// connections the pool could bring.
    pub(super) fn request(
        &mut self,
        deadline: Time,
        brings: impl FnOnce() -> usize,
        effects: &mut Effects<T, E>,
    ) -> Result<WaiterId, Grant<T, E>> {
        if let Some(lent) = self.take() {
            return Err(Grant::Connection(lent));
        }
        let waiting = self.waiters.queued();
        let max_waiters = self.limits.max_waiters;
        if waiting >= max_waiters {
            // Whom the pool can serve does not wait for another's lease.
            let served = (brings() + self.homing).saturating_mul(self.expected);
            if waiting >= served.saturating_add(max_waiters) {
                return Err(Grant::Refused);
            }
        }
        let place = self.waiters.join(None, deadline, Waker::noop().clone());
        self.balance(effects);
        Ok(place)
    }

    /// What the waiter was granted; if nothing yet, `Err` says whether `waker` is the one to be called.
    pub(super) fn collect(&mut self, place: WaiterId, waker: &Waker) -> Result<Grant<T, E>, bool> {
        self.waiters.collect(place, waker)
    }

    /// Exchanges the waker of one that waits on; the former one is to be dropped outside the lock.
    pub(super) fn renew(&mut self, place: WaiterId, waker: Waker) -> Option<Waker> {
        self.waiters.renew(place, waker)
    }

    /// A waiter goes; what it had been granted is the next one's.
    pub(super) fn leave(&mut self, place: WaiterId, now: Time, effects: &mut Effects<T, E>) {
        let (grant, waker) = self.waiters.leave(place);
        effects.waker = waker;
        match grant {
            Some(Grant::Connection(Lent { slot, .. })) => {
                self.change(slot, |open| open.leases -= 1);
            }
            Some(Grant::Failed(error, _)) => effects.error = Some(error),
            Some(Grant::Expired(_) | Grant::Refused | Grant::Closed) | None => {}
        }
        self.settle(now, effects);
    }
}

// A lease is out.
impl<T: Carrier, E: Clone> State<T, E> {
    /// A lease comes home.
    pub(super) fn release(&mut self, slot: SlotId, now: Time, effects: &mut Effects<T, E>) {
        self.change(slot, |open| open.leases -= 1);
        self.settle(now, effects);
    }

    /// Somebody who has a lease says that the connection is to have no further one.
    pub(super) fn retire(&mut self, slot: SlotId, now: Time, effects: &mut Effects<T, E>) {
        self.change(slot, |open| open.phase = Phase::Draining);
        self.settle(now, effects);
    }

    /// A connection published something. Answers whether it is open, which one that lies idle is not.
    pub(super) fn published(
        &mut self,
        slot: SlotId,
        id: u64,
        now: Time,
        effects: &mut Effects<T, E>,
    ) -> bool {
        let Some(open) = self.open.get(&slot).filter(|open| open.id == id) else {
            return false;
        };
        let capacity = open.value.capacity();
        self.carry(slot, capacity);
        self.settle(now, effects);
        true
    }
}

// A connection is opened.
impl<T: Carrier, E: Clone> State<T, E> {
    /// The pool gave a connection; whoever waits gets as many leases as it carries.
    pub(super) fn opened(
        &mut self,
        slot: SlotId,
        id: u64,
        value: T,
        now: Time,
        effects: &mut Effects<T, E>,
    ) {
        self.openings -= 1;
        let capacity = value.capacity();
        let open = Open {
            value,
            id,
            leases: 0,
            capacity: 0,
            phase: Phase::Live,
        };
        let former = self.open.insert(slot, open);
        debug_assert!(former.is_none(), "a slot has one connection");
        self.empty.insert(slot);
        self.carry(slot, capacity);
        // One that is due already serves who waits all the same: with a limit of one use every one is.
        while self.at(slot).has_room() && self.grant(slot, now, effects) {}
        self.settle(now, effects);
    }

    /// None is idle, so that a dial or a check-in must be waited for. Whoever waits for a further connection only has
    /// what there is, and if nobody is left, neither is the opening: then the answer is false.
    pub(super) fn pends(&mut self, now: Time, effects: &mut Effects<T, E>) -> bool {
        self.settle(now, effects);
        !self.end_surplus()
    }

    /// Something has changed in the pool.
    pub(super) fn look_again(&mut self, now: Time, effects: &mut Effects<T, E>) {
        self.settle(now, effects);
    }

    /// Ends one opening if there are more than anybody needs.
    pub(super) fn end_surplus(&mut self) -> bool {
        let ends = self.openings > self.wanted();
        self.openings -= usize::from(ends);
        ends
    }

    /// No connection came, and who waits is told why.
    pub(super) fn failed(&mut self, error: E, now: Time, effects: &mut Effects<T, E>) {
        self.openings -= 1;
        // Whether a deadline has passed does not matter to somebody who gets no lease.
        while self
            .waiters
            .grant_oldest(
                Time::START,
                Grant::Failed(error.clone(), now),
                &mut effects.wake,
            )
            .is_ok()
        {}
        effects.error = Some(error);
        self.settle(now, effects);
    }

    /// A connection has come home, and can be taken out again.
    pub(super) fn homed(&mut self, effects: &mut Effects<T, E>) {
        self.homing -= 1;
        self.balance(effects);
    }
}

// The layer as a whole.
impl<T: Carrier, E: Clone> State<T, E> {
    /// Callers who wait, and openings, of which each that waits has a place in the pool's own queue.
    pub(super) fn queued(&self) -> (usize, usize) {
        (self.waiters.queued(), self.openings)
    }

    pub(super) fn counts(&self) -> Counts {
        let mut counts = Counts {
            waiting: self.waiters.queued(),
            ..Counts::default()
        };
        for open in self.open.values() {
            counts.leases += open.leases;
            let is_live = open.phase == Phase::Live;
            match is_live && open.value.admits(self.shut) != Admission::Never {
                true => counts.capacity = counts.capacity.saturating_add(open.capacity),
                false => counts.draining += 1,
            }
        }
        counts
    }
}

// What the transitions are made of.
impl<T: Carrier, E: Clone> State<T, E> {
    /// The connection whose turn it is to take a lease. One that is found to be due takes none any more.
    fn choose(&mut self) -> Option<SlotId> {
        loop {
            let &(_, slot) = match self.limits.spread {
                Spread::FullestFirst => self.roomy.last(),
                Spread::LeastLoaded => self.roomy.first(),
            }?;
            match self.at(slot).value.admits(self.shut) {
                Admission::Yes => return Some(slot),
                Admission::NotNow => return None,
                Admission::Never => self.change(slot, |open| open.phase = Phase::Due),
            }
        }
    }

    fn lend(&mut self, slot: SlotId) -> Lent<T> {
        self.change(slot, |open| open.leases += 1);
        let value = self.at(slot).value.clone();
        Lent { slot, value }
    }

    /// Gives the oldest waiter a lease; false if nobody is left who could use it.
    fn grant(&mut self, slot: SlotId, now: Time, effects: &mut Effects<T, E>) -> bool {
        if self.waiters.is_empty() {
            return false;
        }
        let lease = Grant::Connection(self.lend(slot));
        let granted = self
            .waiters
            .grant_oldest(now, lease, &mut effects.wake)
            .is_ok();
        if !granted {
            self.change(slot, |open| open.leases -= 1);
        }
        granted
    }

    fn carry(&mut self, slot: SlotId, capacity: Option<usize>) {
        let most = capacity.unwrap_or(0).min(self.limits.max_leases);
        if most > 0 {
            self.expected = most;
        }
        self.change(slot, |open| {
            open.capacity = most;
            if capacity.is_none() {
                open.phase = Phase::Draining;
            }
        });
    }

    /// Changes a connection, and what is known of all of them with it.
    fn change(&mut self, slot: SlotId, change: impl FnOnce(&mut Open<T>)) {
        let open = self.open.get_mut(&slot).expect(OPEN);
        if open.has_room() {
            self.roomy.remove(&(open.leases, slot));
        }
        self.shut -= usize::from(open.phase != Phase::Live);
        change(open);
        self.shut += usize::from(open.phase != Phase::Live);
        if open.has_room() {
            self.roomy.insert((open.leases, slot));
        }
        if open.leases == 0 {
            self.empty.insert(slot);
        } else {
            self.empty.remove(&slot);
        }
    }

    /// Brings together what there is: room and callers, callers and openings, empty connections and the pool.
    fn settle(&mut self, now: Time, effects: &mut Effects<T, E>) {
        while !self.waiters.is_empty()
            && let Some(slot) = self.choose()
        {
            self.grant(slot, now, effects);
        }
        while let Some(slot) = self.unwanted() {
            self.part(slot, effects);
        }
        self.balance(effects);
    }

    /// Demand less supply: has as many connections opened as are wanted and not under way.
    fn balance(&mut self, effects: &mut Effects<T, E>) {
        let wanted = self.wanted();
        let more = wanted.saturating_sub(self.openings + self.homing);
        self.openings += more;
        effects.open += more;
        effects.surplus |= self.openings > wanted;
    }

    fn wanted(&self) -> usize {
        let waiting = self.waiters.queued();
        let apart = self.limits.open_first.saturating_sub(self.live());
        // All of the pool may be open here, but its size may change and others may give up what they have.
        let most = self.limits.max_size.saturating_sub(self.open.len()).max(1);
        waiting
            .div_ceil(self.expected)
            .max(apart)
            .min(most)
            .min(waiting)
    }

    /// Lets an empty connection go.
    fn part(&mut self, slot: SlotId, effects: &mut Effects<T, E>) {
        let open = self.open.remove(&slot).expect(OPEN);
        self.roomy.remove(&(open.leases, slot));
        self.empty.remove(&slot);
        self.shut -= usize::from(open.phase != Phase::Live);
        if open.phase == Phase::Draining {
            effects.part.push(Parted::Closed(open.value));
        } else {
            self.homing += 1;
            effects.part.push(Parted::Home(open.value));
        }
    }

    fn at(&self, slot: SlotId) -> &Open<T> {
        self.open.get(&slot).expect(OPEN)
    }

    /// One that is held for nobody.
    fn unwanted(&self) -> Option<SlotId> {
        self.empty
            .iter()
            .copied()
            .find(|slot| self.waiters.is_empty() || self.at(*slot).phase != Phase::Live)
    }

    /// Connections that admit leases, now or later.
    fn live(&self) -> usize {
        self.open.len() - self.shut
    }
}

const OPEN: &str = "whoever names a connection has a lease on it";

impl Limits {
    pub(crate) fn of(config: &Config) -> Self {
        Self {
            spread: Spread::default(),
            max_leases: usize::MAX,
            open_first: 1,
            max_size: config.max_size,
            max_waiters: config.max_waiters.unwrap_or(usize::MAX),
        }
    }
}

impl<T> Open<T> {
    fn has_room(&self) -> bool {
        self.phase == Phase::Live && self.leases < self.capacity
    }
}

impl<T, E> Effects<T, E> {
    pub(super) fn new() -> Self {
        Self {
            wake: Wakers::default(),
            open: 0,
            part: Vec::new(),
            surplus: false,
            waker: None,
            error: None,
        }
    }
}
