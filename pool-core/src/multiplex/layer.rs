//! What all handles, leases and openings of one shared pool have in common: the lock, and what it owes to the world.

use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;

use tokio::sync::Notify;

use crate::error::{CheckoutError, CheckoutTimeout};
use crate::event::Event;
use crate::manager::Manager;
use crate::multiplex::capacity::Listen;
use crate::multiplex::opening::Opening;
use crate::multiplex::state::{Admission, Carrier, Effects, Limits, Parted, State};
use crate::multiplex::{Capacity, Share, SharedStatus};
use crate::pooled::OwnedPooled;
use crate::reason::CloseReason;
use crate::shared::{Shared, caught};
use crate::state::{Grant, SlotId, Time, WaiterId};
use crate::status::Status;

/// What a caller is told when no connection can be opened.
type Failure<M> = CheckoutError<<M as Manager>::Error>;
type LayerState<M> = State<Arc<Open<M>>, Failure<M>>;
pub(super) type Owed<M> = Effects<Arc<Open<M>>, Failure<M>>;
pub(super) type Granted<M> = Grant<Arc<Open<M>>, Failure<M>>;

pub(crate) struct Layer<M: Share> {
    pub(super) pool: Arc<Shared<M>>,
    /// Asks the tasks that open connections whether anybody still needs them.
    pub(super) surplus: Notify,
    state: Mutex<LayerState<M>>,
}

/// A connection out of the pool. The state has one clone, and whoever has a lease another.
pub(super) struct Open<M: Share> {
    pub(super) guard: OwnedPooled<M>,
    capacity: Capacity,
    name: Name,
}

/// Which connection: a slot alone may be another's by now.
type Name = (SlotId, u64);

/// Hears what a connection publishes, also while it lies idle.
struct Ear<M: Share> {
    layer: Weak<Layer<M>>,
    name: Name,
}

impl<M: Share> Layer<M> {
    pub(crate) fn new(pool: Arc<Shared<M>>, limits: Limits) -> Arc<Self> {
        Arc::new(Self {
            pool,
            surplus: Notify::new(),
            state: Mutex::new(State::new(limits)),
        })
    }

    /// The lock. Nothing of the user's runs while it is held; the pool's own is taken inside it, never around it.
    pub(super) fn lock(&self) -> MutexGuard<'_, LayerState<M>> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Changes the state, unlocks, and does what the change owes to the world.
    pub(super) fn update<R>(
        self: &Arc<Self>,
        change: impl FnOnce(&mut LayerState<M>, Time, &mut Owed<M>) -> R,
    ) -> R {
        let (answer, effects) = self.change(change);
        self.perform(effects);
        answer
    }

    /// Changes the state and answers with what that owes.
    pub(super) fn change<R>(
        &self,
        change: impl FnOnce(&mut LayerState<M>, Time, &mut Owed<M>) -> R,
    ) -> (R, Owed<M>) {
        let mut effects = Effects::new();
        let now = self.pool.clock.coarse();
        let answer = change(&mut self.lock(), now, &mut effects);
        (answer, effects)
    }

    pub(super) fn perform(self: &Arc<Self>, effects: Owed<M>) {
        let mut openings = self.perform_but_open(effects);
        // One that arrives on the spot may owe another one: in a loop, as thousands may lie idle that all go away.
        while openings > 0 {
            let effects = Opening::begin(self);
            openings += self.perform_but_open(effects);
            openings -= 1;
        }
    }

    /// Answers with the number of connections that remain to be opened.
    fn perform_but_open(self: &Arc<Self>, effects: Owed<M>) -> usize {
        for waker in effects.wake {
            // A waker is the user's, and may panic; the others must be called all the same.
            let _ = caught(|| waker.wake());
        }
        // What was the user's may panic when dropped.
        let _ = caught(|| drop((effects.waker, effects.error)));
        if effects.surplus {
            self.surplus.notify_waiters();
        }
        let mut openings = effects.open;
        for parted in effects.part {
            match parted {
                Parted::Closed(open) => {
                    let Open {
                        guard, capacity, ..
                    } = unshared(open);
                    let reason = match capacity.is_draining() {
                        true => CloseReason::Drained,
                        false => CloseReason::Discarded,
                    };
                    let _ = caught(|| OwnedPooled::give_up(guard, reason));
                }
                Parted::Home(open) => {
                    self.send_home(unshared(open));
                    let ((), effects) = self.change(|state, _, effects| state.homed(effects));
                    openings += self.perform_but_open(effects);
                }
            }
        }
        openings
    }

    fn send_home(&self, open: Open<M>) {
        let Open {
            guard,
            capacity,
            name,
        } = open;
        // Its last user may panic just now, but that was about what he did with his handle.
        let _ = caught(|| OwnedPooled::give_back(guard));
        // What was published between two holders nobody has heard.
        if capacity.is_draining() {
            self.evict(name);
        }
    }

    /// Gives up a connection that drains, if it is idle.
    fn evict(&self, (slot, id): Name) {
        let idle = self.pool.take_out(slot, id, CloseReason::Drained);
        let _ = caught(|| drop(idle));
    }

    /// A place in the queue, unless something can be had at once.
    pub(super) fn request(self: &Arc<Self>, deadline: Time) -> Result<WaiterId, Granted<M>> {
        let brings = || {
            let counts = self.pool.lock().counts();
            // All but what is in use.
            counts
                .max_size
                .saturating_sub(counts.in_use + counts.closing)
        };
        self.update(|state, _, effects| state.request(deadline, brings, effects))
    }

    /// The pool gave a connection for whoever waits.
    pub(super) fn opened(self: &Arc<Self>, guard: OwnedPooled<M>, capacity: Capacity) -> Owed<M> {
        let slot = OwnedPooled::lease(&guard).slot();
        let id = self.pool.info(slot).id;
        let name = (slot, id);
        // Before the state reads the capacity: a change between the two must not go unnoticed.
        capacity.listen(Arc::new(Ear {
            layer: Arc::downgrade(self),
            name,
        }));
        if capacity.is_draining() {
            // Nobody could use it, and dialling again at once would only make more of them.
            self.pool.note_dropped(slot, true);
        }
        if let Some(leaks) = &self.pool.leaks {
            // Held for as long as it is used, which is no leak.
            leaks.back(id, Duration::ZERO);
        }
        let open = Arc::new(Open {
            guard,
            capacity,
            name,
        });
        self.change(|state, now, effects| state.opened(slot, id, open, now, effects))
            .1
    }

    /// The end of a wait that took too long, `gone` being 1 if the queue was left already.
    pub(super) fn timed_out(&self, limit: Duration, gone: usize) -> CheckoutTimeout<M::Error> {
        let mut timeout = self.pool.timed_out(limit, None);
        timeout.status.waiting = self.lock().counts().waiting + gone;
        timeout
    }

    /// A caller was refused, as too many wait.
    pub(super) fn refused(&self) -> Status {
        self.pool.lock().refused();
        let status = self.status().of_callers();
        self.pool.tell(|| Event::Refused { status });
        status
    }

    /// All who wait, if so many do in the pool's queue: for a lease, and for a connection of their own.
    pub(crate) fn waiting(&self, in_pool: usize) -> usize {
        let (callers, openings) = self.lock().queued();
        // What is opened for a caller is not another one.
        in_pool.saturating_sub(openings) + callers
    }

    pub(super) fn status(&self) -> SharedStatus {
        let state = self.lock();
        let counts = state.counts();
        SharedStatus {
            connections: self.pool.status(),
            leases: counts.leases,
            capacity: counts.capacity,
            waiting: counts.waiting,
            draining: counts.draining,
        }
    }
}

/// The connection itself, which nobody has a lease on.
fn unshared<M: Share>(open: Arc<Open<M>>) -> Open<M> {
    Arc::into_inner(open).expect("whoever gives a lease back has dropped his clone before")
}

impl<M: Share> Carrier for Arc<Open<M>> {
    fn capacity(&self) -> Option<usize> {
        self.capacity.read()
    }

    fn admits(&self, others: usize) -> Admission {
        let lease = OwnedPooled::lease(&self.guard);
        let pool = lease.shared();
        let now = pool.clock.coarse();
        let state = pool.lock();
        let counts = state.counts();
        let goes = match state.due(lease.slot(), now) {
            // As many as are too many, and not all of them because one is.
            Some(CloseReason::Resized) => counts.surplus() > others,
            reason => reason.is_some(),
        };
        match (goes, counts.paused) {
            (true, _) => Admission::Never,
            (false, true) => Admission::NotNow,
            (false, false) => Admission::Yes,
        }
    }
}

impl<M: Share> Listen for Ear<M> {
    fn published(&self, draining: bool) {
        let Some(layer) = self.layer.upgrade() else {
            return;
        };
        let (slot, id) = self.name;
        let is_open = layer.update(|state, now, effects| state.published(slot, id, now, effects));
        if draining && !is_open {
            layer.evict(self.name);
        }
    }
}

impl<M: Share> fmt::Debug for Layer<M> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Layer")
            .field("status", &self.status())
            .finish_non_exhaustive()
    }
}
