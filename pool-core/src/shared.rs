//! What all handles, guards and tasks of one pool share: the lock, the parts and the runtime.

use std::fmt;
use std::future::Future;
use std::hash::{BuildHasher, RandomState};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use tokio::runtime::Handle;
use tokio::sync::watch;

use crate::clock::{self, Clock};
use crate::config::Config;
use crate::error::{ConnectError, ConnectFailure};
use crate::lease::Lease;
use crate::manager::Manager;
use crate::state::{Counts, Effects, Lent, SlotId, SlotInfo, State, Time};
use crate::status::Status;
use crate::tasks;
use crate::watch::{Inbox, Live};

/// What a waiter is told when a dial fails; one error for all of them.
type Failure<M> = Arc<ConnectError<<M as Manager>::Error>>;
type PoolState<M> = State<Live<<M as Manager>::Connection>, Failure<M>>;
type Owed<M> = Effects<Live<<M as Manager>::Connection>, Failure<M>>;

pub(crate) struct Shared<M: Manager> {
    pub(crate) manager: M,
    pub(crate) config: Config,
    pub(crate) clock: Clock,
    pub(crate) runtime: Handle,
    pub(crate) inbox: Arc<Inbox>,
    /// Ends every task.
    stop: watch::Sender<bool>,
    /// `Pool`s there are; the last one to go closes the pool, whatever guards are still out.
    handles: AtomicUsize,
    random: RandomState,
    state: Mutex<PoolState<M>>,
}

impl<M: Manager> Shared<M> {
    pub(crate) fn new(manager: M, config: Config, runtime: Handle) -> Arc<Self> {
        {
            // Says so now, rather than in a task where nobody listens, if the runtime has no timers.
            let _entered = runtime.enter();
            drop(clock::sleep(Duration::ZERO));
        }
        let state = Mutex::new(State::new(&config));
        let shared = Arc::new(Self {
            manager,
            config,
            clock: Clock::start(),
            runtime,
            inbox: Arc::default(),
            stop: watch::Sender::new(false),
            handles: AtomicUsize::new(1),
            random: RandomState::new(),
            state,
        });
        if shared.config.maintenance {
            tasks::maintain::spawn(&shared);
        } else {
            tasks::maintain::spawn_sentinel(&shared);
        }
        // Brings up `min_idle`.
        shared.update(|state, now, effects| state.expire(now, effects));
        shared
    }

    /// The lock. Nothing of the user's runs while it is held, so it is never poisoned but by a fault in `state`, and
    /// then a pool that goes on is the better one.
    #[inline]
    pub(crate) fn lock(&self) -> MutexGuard<'_, PoolState<M>> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Changes the state, unlocks, and does what the change owes to the world.
    pub(crate) fn update<R>(
        self: &Arc<Self>,
        change: impl FnOnce(&mut PoolState<M>, Time, &mut Owed<M>) -> R,
    ) -> R {
        self.update_at(self.clock.coarse(), change)
    }

    pub(crate) fn update_at<R>(
        self: &Arc<Self>,
        now: Time,
        change: impl FnOnce(&mut PoolState<M>, Time, &mut Owed<M>) -> R,
    ) -> R {
        let mut effects = Effects::new();
        let answer = change(&mut self.lock(), now, &mut effects);
        self.perform(effects);
        answer
    }

    pub(crate) fn perform(self: &Arc<Self>, effects: Owed<M>) {
        for waker in effects.wake {
            // A waker is the user's, and may panic; the others must be called all the same.
            let _ = caught(|| waker.wake());
        }
        for dial in effects.dial {
            tasks::connect::spawn(self, dial);
        }
        for Lent { slot, value } in effects.close {
            self.close_connection(slot, value.connection);
        }
        // What was the user's may panic when dropped.
        let _ = caught(|| drop((effects.waker, effects.error)));
        if let Some(pause) = effects.pause {
            tasks::connect::spawn_pause(self, pause);
        }
        if let Some(letter) = effects.look
            && self.config.maintenance
        {
            self.inbox.tell(letter);
        }
        if effects.nudge {
            self.inbox.nudge();
        }
    }

    // --- a connection goes out and comes home

    /// The hot path out.
    #[inline]
    pub(crate) fn check_out(&self) -> Option<Lent<Live<M::Connection>>> {
        let now = self.clock.coarse();
        self.lock().check_out(now)
    }

    /// The peer closed a connection, which counts as a failed dial if it was of no use until then. `handed_out` is how
    /// often a connection on this way has left the idle set without having been used.
    #[cold]
    pub(crate) fn note_dropped(self: &Arc<Self>, slot: SlotId, handed_out: u32) {
        let info = self.info(slot);
        // One that outlived every pause was connected well enough; its peer merely grew tired of it.
        let young = self.clock.exact().since(info.born) <= self.config.backoff_most;
        if info.uses <= handed_out && young {
            let (error, random) = (Arc::new(ConnectError::Dropped), self.random(info.id));
            self.update_at(self.clock.exact(), |state, now, effects| {
                state.dropped_unused(error, now, random, effects);
            });
        }
    }

    /// A dial succeeded.
    pub(crate) fn connected(
        self: &Arc<Self>,
        slot: SlotId,
        mut live: Live<M::Connection>,
        random: u64,
    ) {
        let alive = caught(|| self.is_alive(&mut live)).unwrap_or(false);
        let letter = live.letter();
        let stirred = self.update_at(self.clock.exact(), |state, now, effects| {
            // One that is dead already is found so, and dealt with, by whoever gets it or by the maintenance task.
            let stirred = !alive || self.has_stirred(&live);
            state.connected(slot, live, now, random, effects);
            stirred
        });
        if stirred && self.config.maintenance {
            self.inbox.tell(letter);
        }
    }

    /// Looks at a connection that is to lie idle, and has it watched if there is somebody to hear of it.
    #[inline]
    pub(crate) fn is_alive(&self, live: &mut Live<M::Connection>) -> bool {
        match self.config.maintenance {
            true => live.watch(&self.manager).is_pending(),
            false => !self.manager.is_dropped(&mut live.connection),
        }
    }

    /// Whether the peer of a watched connection has moved; to be asked under the lock.
    #[inline]
    pub(crate) fn has_stirred(&self, live: &Live<M::Connection>) -> bool {
        self.config.maintenance && live.has_stirred()
    }

    /// Looks at an idle connection whose peer has moved.
    pub(crate) fn inspect(self: &Arc<Self>, (slot, id): (SlotId, u64)) {
        let Some(live) = self.lock().inspect(slot, id) else {
            return;
        };
        let mut lease = Lease::unjudged(self, slot, live);
        // The maintenance task must survive a manager that panics; the connection does not.
        let _ = caught(|| lease.put_back());
    }

    /// Gives a connection up.
    pub(crate) fn discard(self: &Arc<Self>, slot: SlotId, live: Live<M::Connection>) {
        live.unwatch();
        self.lock().discard(slot);
        self.close_connection(slot, live.connection);
    }

    /// Lets the user have it for good.
    pub(crate) fn detach(
        self: &Arc<Self>,
        slot: SlotId,
        live: Live<M::Connection>,
    ) -> M::Connection {
        live.unwatch();
        self.update(|state, now, effects| state.detach(slot, now, effects));
        live.connection
    }

    fn close_connection(self: &Arc<Self>, slot: SlotId, connection: M::Connection) {
        let closing = Closing {
            shared: Arc::clone(self),
            slot,
        };
        let mut close = Box::pin(async move {
            // Declared first and so dropped last: the slot is free when the connection is gone, not before.
            let closing = closing;
            closing.shared.manager.close(connection).await;
        });
        // Most connections close at once, and must not wait for a task that may never run.
        let runtime = self.runtime.clone();
        let polled = caught(|| {
            let _entered = runtime.enter();
            close.as_mut().poll(&mut Context::from_waker(Waker::noop()))
        });
        match polled {
            Some(Poll::Pending) => {
                let limit = self.config.close_timeout;
                drop(runtime.spawn(async move { clock::timeout(limit, close).await }));
            }
            // A destructor may panic too; what it belongs to is done with either way.
            Some(Poll::Ready(())) | None => drop(caught(|| drop(close))),
        }
    }

    // --- the pool as a whole

    pub(crate) fn close(self: &Arc<Self>) {
        self.stop.send_replace(true);
        self.update(|state, _, effects| state.close(effects));
    }

    /// Resolves once the pool is closed or gone.
    pub(crate) fn stopped(&self) -> impl Future<Output = ()> + Send + 'static {
        let mut stop = self.stop.subscribe();
        async move { drop(stop.wait_for(|stopped| *stopped).await) }
    }

    pub(crate) fn add_handle(&self) {
        self.handles.fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn drop_handle(self: &Arc<Self>) {
        if self.handles.fetch_sub(1, Ordering::AcqRel) == 1 {
            self.close();
        }
    }

    pub(crate) fn status(&self) -> Status {
        self.status_of(self.lock().counts())
    }

    pub(crate) fn status_of(&self, counts: Counts) -> Status {
        Status {
            max_size: self.config.max_size,
            idle: counts.idle,
            in_use: counts.in_use,
            connecting: counts.connecting,
            closing: counts.closing,
            waiting: counts.waiting,
            is_closed: counts.closed,
        }
    }

    pub(crate) fn info(&self, slot: SlotId) -> SlotInfo {
        self.lock().info(slot)
    }

    pub(crate) fn failure(&self, error: Failure<M>, at: Time) -> ConnectFailure<M::Error> {
        ConnectFailure {
            error,
            age: self.clock.exact().since(at),
        }
    }

    /// For jitter; not for secrets.
    pub(crate) fn random(&self, id: u64) -> u64 {
        self.random.hash_one(id)
    }
}

impl<M: Manager> fmt::Debug for Shared<M> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Shared")
            .field("status", &self.status())
            .finish_non_exhaustive()
    }
}

/// The answer of something of the user's, unless it panics. What it panicked with is forgotten rather than dropped, as
/// that may panic too.
pub(crate) fn caught<R>(ask: impl FnOnce() -> R) -> Option<R> {
    catch_unwind(AssertUnwindSafe(ask))
        .map_err(std::mem::forget)
        .ok()
}

/// A slot whose connection is being closed; gives the slot back when dropped.
struct Closing<M: Manager> {
    shared: Arc<Shared<M>>,
    slot: SlotId,
}

impl<M: Manager> Drop for Closing<M> {
    fn drop(&mut self) {
        self.shared
            .update(|state, now, effects| state.closed(self.slot, now, effects));
    }
}
