//! What all handles, guards and tasks of one pool share: the lock, the parts and the runtime.

use std::fmt;
use std::future::{Future, poll_fn};
use std::hash::{BuildHasher, RandomState};
use std::panic::{AssertUnwindSafe, Location, catch_unwind};
use std::pin::pin;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use tokio::runtime::Handle;
use tokio::sync::{Notify, Semaphore, watch};

use crate::checks::Checks;
use crate::clock::{self, Clock};
use crate::config::Config;
use crate::error::{CheckoutTimeout, ConnectError, ConnectFailure};
use crate::event::{Event, Observer};
use crate::health::Unhealthy;
use crate::leaks::Leaks;
use crate::lease::Lease;
use crate::manager::Manager;
use crate::pooled::ConnectionInfo;
use crate::reason::CloseReason;
use crate::state::{Counts, Effects, Lent, SlotId, SlotInfo, State, Time};
use crate::status::{Metrics, Status};
use crate::tasks;
use crate::watch::{Inbox, Letter, Live};

/// What a waiter is told when a dial fails; one error for all of them.
type Failure<M> = Arc<ConnectError<<M as Manager>::Error>>;
type PoolState<M> = State<Live<<M as Manager>::Connection>, Failure<M>>;
type Owed<M> = Effects<Live<<M as Manager>::Connection>, Failure<M>>;

pub(crate) struct Shared<M: Manager> {
    pub(crate) manager: M,
    /// As it was built; what can be changed since is in the state.
    pub(crate) config: Config,
    pub(crate) clock: Clock,
    pub(crate) runtime: Handle,
    pub(crate) inbox: Arc<Inbox>,
    pub(crate) checks: Arc<Checks<M::Connection>>,
    pub(crate) leaks: Option<Leaks>,
    /// Nobody watches, checks or counts what goes out and comes home: the hot path does nothing else.
    pub(crate) plain: bool,
    pub(crate) name: Arc<str>,
    observers: Vec<Box<dyn Observer>>,
    /// One caller at a time takes many.
    pub(crate) many: Semaphore,
    /// A dial ended, a slot was freed, or the pool was resumed or closed.
    pub(crate) changed: Notify,
    /// Ends every task.
    stop: watch::Sender<bool>,
    /// `Pool`s there are; the last one to go closes the pool, whatever guards are still out.
    handles: AtomicUsize,
    random: RandomState,
    state: Mutex<PoolState<M>>,
}

/// What a pool is made of.
pub(crate) struct Parts<M: Manager> {
    pub(crate) manager: M,
    pub(crate) config: Config,
    pub(crate) runtime: Handle,
    pub(crate) name: Arc<str>,
    pub(crate) checks: Checks<M::Connection>,
    pub(crate) observers: Vec<Box<dyn Observer>>,
}

impl<M: Manager> Shared<M> {
    pub(crate) fn new(parts: Parts<M>) -> Arc<Self> {
        let Parts {
            manager,
            config,
            runtime,
            name,
            checks,
            observers,
        } = parts;
        {
            // Says so now, rather than in a task where nobody listens, if the runtime has no timers.
            let _entered = runtime.enter();
            drop(clock::sleep(Duration::ZERO));
        }
        let leaks = config
            .leak_warning
            .map(|after| Leaks::new(after, config.leak_backtrace));
        let is_watched = !observers.is_empty() || leaks.is_some();
        // Whoever measures wants more than ticks.
        let clock = Clock::start(is_watched);
        let shared = Arc::new(Self {
            state: Mutex::new(State::new(&config, checks.periods())),
            inbox: Arc::new(Inbox::new(clock.stopwatch())),
            clock,
            plain: !is_watched && checks.are_aside(),
            manager,
            config,
            runtime,
            checks: Arc::new(checks),
            leaks,
            name,
            observers,
            many: Semaphore::new(1),
            changed: Notify::new(),
            stop: watch::Sender::new(false),
            handles: AtomicUsize::new(1),
            random: RandomState::new(),
        });
        if shared.config.maintenance {
            tasks::maintain::spawn(&shared);
        } else {
            tasks::maintain::spawn_sentinel(&shared);
        }
        if shared.leaks.is_some() {
            tasks::leaks::spawn(&shared);
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
        for (Lent { slot, value }, reason) in effects.close {
            self.close_connection(slot, value.connection, reason);
        }
        for (Lent { slot, value }, due) in effects.check {
            let lease = Lease::unjudged(Arc::clone(self), slot, value, CloseReason::CheckFailed);
            tasks::keepalive::spawn(lease, self.checks.while_idle(due));
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
        if effects.changed {
            self.changed.notify_waiters();
        }
    }

    // --- a connection goes out and comes home

    /// The hot path out.
    #[inline]
    pub(crate) fn check_out(&self) -> Option<Lent<Live<M::Connection>>> {
        let now = self.clock.coarse();
        self.lock().check_out(now)
    }

    /// The peer closed a connection, which counts as a failed dial if it was of no use until then. It may be `handed_out`
    /// at this moment, which is no use yet.
    #[cold]
    pub(crate) fn note_dropped(self: &Arc<Self>, slot: SlotId, handed_out: bool) {
        self.note_useless(slot, handed_out, || ConnectError::Dropped);
    }

    /// A check refused a connection that was about to be handed out. If nobody had used it before, that counts as a failed
    /// dial too: a peer whose connections never pass would be dialled without a pause.
    #[cold]
    pub(crate) fn note_refused(self: &Arc<Self>, slot: SlotId, id: u64, unhealthy: Unhealthy) {
        let cause = unhealthy.cause();
        self.note_useless(slot, true, || ConnectError::Refused(cause));
        self.note_unhealthy(id, unhealthy);
    }

    fn note_useless(
        self: &Arc<Self>,
        slot: SlotId,
        handed_out: bool,
        error: impl FnOnce() -> ConnectError<M::Error>,
    ) {
        let now = self.clock.exact();
        self.update_at(now, |state, now, effects| {
            if handed_out {
                state.not_used(slot);
            }
            let info = state.info(slot);
            // One that outlived every pause was connected well enough; its peer merely grew tired of it.
            let young = now.since(info.born) <= self.config.backoff_most;
            if info.uses == 0 && young {
                let (error, random) = (Arc::new(error()), self.random(info.id));
                state.dropped_unused(error, now, random, effects);
            }
        });
    }

    /// A check refused a connection.
    #[cold]
    pub(crate) fn note_unhealthy(self: &Arc<Self>, id: u64, unhealthy: Unhealthy) {
        if unhealthy.retires_older() {
            self.retire(id);
        }
        self.tell(|| Event::CheckFailed {
            id,
            error: unhealthy.cause(),
        });
    }

    /// A connection was handed to a caller who has waited since then.
    #[cold]
    pub(crate) fn note_out(
        &self,
        slot: SlotId,
        waited_since: Time,
        place: &'static Location<'static>,
    ) {
        let info = self.info(slot);
        if let Some(leaks) = &self.leaks {
            leaks.out(info.id, info.taken, place);
        }
        self.tell(|| Event::CheckedOut {
            id: info.id,
            wait: self.clock.exact().since(waited_since),
            uses: info.uses,
            idle_for: info.idle_for,
        });
    }

    /// A caller gives a connection back, or keeps it for good.
    #[cold]
    pub(crate) fn note_back(&self, slot: SlotId, detached: bool) {
        let SlotInfo { id, taken, .. } = self.info(slot);
        let hold = self.clock.exact().since(taken);
        if let Some(leaks) = &self.leaks
            && let Some(event) = leaks.back(id, hold)
        {
            self.tell(|| event);
        }
        self.tell(|| match detached {
            true => Event::Detached { id, hold },
            false => Event::CheckedIn { id, hold },
        });
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
    pub(crate) fn inspect(self: &Arc<Self>, letter: Letter) {
        let Letter { slot, id, at } = letter;
        let Some(mut lease) = self.take_out(slot, id, CloseReason::Dropped) else {
            return;
        };
        // The maintenance task must survive a manager that panics; the connection does not.
        let alive = caught(|| lease.put_back().is_some());
        if alive != Some(true) {
            self.tell(|| Event::Evicted {
                id,
                lag: self.clock.exact().since(at),
            });
        }
        let _ = caught(|| drop(lease));
    }

    /// Takes an idle connection out to look at it, if it is still there.
    pub(crate) fn take_out(
        self: &Arc<Self>,
        slot: SlotId,
        id: u64,
        fault: CloseReason,
    ) -> Option<Lease<M, &Arc<Self>>> {
        let now = self.clock.exact();
        let live = self.lock().inspect(slot, id, now)?;
        Some(Lease::unjudged(self, slot, live, fault))
    }

    /// Gives a connection up.
    pub(crate) fn discard(
        self: &Arc<Self>,
        slot: SlotId,
        live: Live<M::Connection>,
        reason: CloseReason,
    ) {
        live.unwatch();
        self.lock().discard(slot, reason);
        self.close_connection(slot, live.connection, reason);
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

    fn close_connection(
        self: &Arc<Self>,
        slot: SlotId,
        connection: M::Connection,
        reason: CloseReason,
    ) {
        let closing = Closing {
            shared: Arc::clone(self),
            slot,
            event: self.is_observed().then(|| {
                let ConnectionInfo { id, age, uses, .. } = self.connection_info(slot);
                Event::Closed {
                    id,
                    reason,
                    age,
                    uses,
                }
            }),
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
        if self.update(|state, _, effects| state.close(effects)) {
            self.tell(|| Event::PoolClosed);
        }
    }

    /// Retires what is older than a connection.
    pub(crate) fn retire(self: &Arc<Self>, older_than: u64) {
        self.update(|state, _, effects| state.retire(older_than, effects));
        self.tell(|| Event::Retired { older_than });
        self.give_up_due();
    }

    /// Gives up what is due, a batch at a time.
    fn give_up_due(self: &Arc<Self>) {
        let now = self.clock.exact();
        while self.update_at(now, |state, now, effects| state.expire(now, effects)) <= now {}
    }

    /// Tells the observers.
    pub(crate) fn tell(&self, event: impl FnOnce() -> Event) {
        if self.is_observed() {
            let event = event();
            for observer in &self.observers {
                let _ = caught(|| observer.observe(&self.name, &event));
            }
        }
    }

    /// Whether somebody wants to know what goes out and comes home.
    pub(crate) fn is_watched(&self) -> bool {
        self.is_observed() || self.leaks.is_some()
    }

    pub(crate) fn is_observed(&self) -> bool {
        !self.observers.is_empty()
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
            max_size: counts.max_size,
            idle: counts.idle,
            in_use: counts.in_use,
            connecting: counts.connecting,
            closing: counts.closing,
            waiting: counts.waiting,
            is_paused: counts.paused,
            is_closed: counts.closed,
        }
    }

    pub(crate) fn metrics(&self) -> Metrics {
        let (totals, counts) = {
            let state = self.lock();
            (state.totals().clone(), state.counts())
        };
        Metrics::new(totals, self.status_of(counts))
    }

    pub(crate) fn info(&self, slot: SlotId) -> SlotInfo {
        self.lock().info(slot)
    }

    pub(crate) fn connection_info(&self, slot: SlotId) -> ConnectionInfo {
        let info = self.info(slot);
        ConnectionInfo {
            id: info.id,
            age: self.clock.exact().since(info.born),
            uses: info.uses,
            idle_for: info.idle_for,
        }
    }

    /// Why a connection in use would not be kept if it came home now.
    pub(crate) fn due(&self, slot: SlotId) -> Option<CloseReason> {
        self.lock().due(slot, self.clock.coarse())
    }

    /// The end of a checkout that took too long, `gone` of those who waited having left the queue already.
    pub(crate) fn timed_out(&self, limit: Duration, gone: usize) -> CheckoutTimeout<M::Error> {
        self.lock().timed_out();
        let timeout = self.timeout(limit, gone);
        let status = timeout.status;
        self.tell(|| Event::TimedOut { limit, status });
        timeout
    }

    /// What there is to say of something that took too long.
    pub(crate) fn timeout(&self, limit: Duration, gone: usize) -> CheckoutTimeout<M::Error> {
        let (mut counts, last_error) = {
            let state = self.lock();
            (state.counts(), state.last_error())
        };
        counts.waiting += gone;
        let status = self.status_of(counts);
        CheckoutTimeout {
            waited: limit,
            status,
            last_connect_error: last_error.map(|(error, at)| self.failure(error, at)),
        }
    }

    /// The outcome of `future`, unless the limit or the runtime ends first. The caller's executor may not be tokio's.
    pub(crate) async fn within<F: Future>(
        &self,
        limit: Option<Duration>,
        future: F,
    ) -> Option<F::Output> {
        let sleep = limit.and_then(|limit| {
            let _entered = self.runtime.enter();
            self.clock.sleep_until(self.clock.exact().after(limit))
        });
        let (mut future, mut sleep) = (pin!(future), pin!(sleep));
        poll_fn(|cx| {
            if let Poll::Ready(outcome) = future.as_mut().poll(cx) {
                return Poll::Ready(Some(outcome));
            }
            match sleep.as_mut().as_pin_mut() {
                // A timer panics when its runtime has ended.
                Some(sleep) => {
                    caught(|| sleep.poll(cx).map(|()| None)).unwrap_or(Poll::Ready(None))
                }
                None => Poll::Pending,
            }
        })
        .await
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
    /// To be told then.
    event: Option<Event>,
}

impl<M: Manager> Drop for Closing<M> {
    fn drop(&mut self) {
        self.shared
            .update(|state, now, effects| state.closed(self.slot, now, effects));
        if let Some(event) = self.event.take() {
            self.shared.tell(|| event);
        }
    }
}
