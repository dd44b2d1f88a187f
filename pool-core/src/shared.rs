//! What all handles, guards and tasks of one pool share: the lock, the parts and the runtime.

use std::fmt;
use std::future::Future;
use std::hash::{BuildHasher, RandomState};
use std::panic::{AssertUnwindSafe, Location, catch_unwind};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, TryLockError};
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
use crate::state::{
    CheckedIn, Counts, Effects, Grant, Lent, SlotId, SlotInfo, State, Time, WaiterId,
};
use crate::status::{Metrics, Status};
use crate::tasks;
use crate::total::{Member, News};
use crate::watch::{Inbox, Letter, Live};

/// How often a thread looks for the lock again before it goes to sleep, and for how many hints to the processor it looks
/// away before each: some microseconds, in which whoever has the lock in the caches of his core gets much done. Each look
/// takes it out of them.
const LOOKS: u32 = 4;
const SPINS: u32 = 256;

/// What a waiter is told when a dial fails; one error for all of them.
type Failure<M> = Arc<ConnectError<<M as Manager>::Error>>;
type PoolState<M> = State<Live<<M as Manager>::Connection>, Failure<M>>;
pub(crate) type Granted<M> = Grant<Live<<M as Manager>::Connection>, Failure<M>>;
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
    /// Callers wait: the idle set need not be looked at first. Only a hint, as it is read without the lock.
    awaited: AtomicBool,
    /// The timer of those who wait is to be set for an earlier time.
    pub(crate) alarm: Arc<Notify>,
    /// One caller at a time takes many.
    pub(crate) many: Semaphore,
    /// A dial ended, a slot was freed, or the pool was resumed or closed.
    pub(crate) changed: Notify,
    /// What this pool knows of those with which it shares a total, if it is one of many.
    member: Option<Member<M>>,
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
    pub(crate) member: Option<Member<M>>,
}

/// What a change of a pool owes to the world, for those who hold other locks than its own.
pub(crate) struct Debt<M: Manager> {
    pub(crate) shared: Arc<Shared<M>>,
    pub(crate) effects: Owed<M>,
    pub(crate) news: Option<News>,
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
            member,
        } = parts;
        clock::assert_timers(&runtime);
        let leaks = config
            .leak_warning
            .map(|after| Leaks::new(after, config.leak_backtrace));
        let is_watched = !observers.is_empty() || leaks.is_some();
        // Whoever measures wants more than ticks.
        let clock = match &member {
            Some(member) => member.clock(is_watched),
            None => Clock::start(is_watched),
        };
        let mut state = State::new(&config, checks.periods());
        if let Some(member) = &member {
            state.join(member.arrivals());
        }
        Arc::new(Self {
            state: Mutex::new(state),
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
            awaited: AtomicBool::new(false),
            alarm: Arc::default(),
            many: Semaphore::new(1),
            changed: Notify::new(),
            stop: watch::Sender::new(false),
            handles: AtomicUsize::new(1),
            random: RandomState::new(),
            member,
        })
    }

    /// Begins to maintain the pool.
    pub(crate) fn start(self: &Arc<Self>) {
        tasks::timeouts::spawn(self);
        if self.config.maintenance {
            tasks::maintain::spawn(self);
        }
        if self.leaks.is_some() {
            tasks::leaks::spawn(self);
        }
        // Brings up `min_idle`.
        self.update(|state, now, effects| state.expire(now, effects));
    }

    /// The lock. Nothing of the user's runs while it is held, so it is never poisoned but by a fault in `state`, and
    /// then a pool that goes on is the better one.
    #[inline]
    pub(crate) fn lock(&self) -> MutexGuard<'_, PoolState<M>> {
        match self.state.try_lock() {
            Ok(state) => state,
            Err(TryLockError::Poisoned(poisoned)) => poisoned.into_inner(),
            Err(TryLockError::WouldBlock) => self.lock_contended(),
        }
    }

    #[cold]
    fn lock_contended(&self) -> MutexGuard<'_, PoolState<M>> {
        for _ in 0..LOOKS {
            (0..SPINS).for_each(|_| std::hint::spin_loop());
            match self.state.try_lock() {
                Ok(state) => return state,
                Err(TryLockError::Poisoned(poisoned)) => return poisoned.into_inner(),
                Err(TryLockError::WouldBlock) => {}
            }
        }
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
        let mut state = self.lock();
        let answer = change(&mut state, now, &mut effects);
        self.conclude(state, now, effects);
        answer
    }

    /// Unlocks the state after a change, and does what the change owes to the world.
    pub(crate) fn conclude(
        self: &Arc<Self>,
        mut state: MutexGuard<'_, PoolState<M>>,
        now: Time,
        mut effects: Owed<M>,
    ) {
        let news = self.settle(&mut state, now, &mut effects);
        drop(state);
        self.perform(effects);
        self.follow(news);
    }

    /// Changes the state and leaves to the caller, who holds another lock, what the change owes to the world.
    pub(crate) fn owe(
        self: &Arc<Self>,
        change: impl FnOnce(&mut PoolState<M>, Time, &mut Owed<M>),
    ) -> Debt<M> {
        let (now, mut effects) = (self.clock.coarse(), Effects::new());
        let mut state = self.lock();
        change(&mut state, now, &mut effects);
        let news = self.settle(&mut state, now, &mut effects);
        drop(state);
        Debt {
            shared: Arc::clone(self),
            effects,
            news,
        }
    }

    /// Settles with the other keys what a change means for them; for a pool that is one of many.
    pub(crate) fn settle(
        &self,
        state: &mut PoolState<M>,
        now: Time,
        effects: &mut Owed<M>,
    ) -> Option<News> {
        self.note_awaited(state);
        let member = self.member.as_ref()?;
        Some(member.settle(state, now, effects))
    }

    fn follow(&self, news: Option<News>) {
        if let (Some(member), Some(news)) = (&self.member, news) {
            member.follow(news);
        }
    }

    /// Whether it shares a total with others.
    pub(crate) fn is_one_of_many(&self) -> bool {
        self.member.is_some()
    }

    /// Whether a connection that comes home is to be closed instead, for a caller of another key.
    #[inline]
    pub(crate) fn gives_way(&self, state: &PoolState<M>, now: Time) -> bool {
        let member = self.member.as_ref();
        member.is_some_and(|member| member.takes(state, now))
    }

    fn perform(self: &Arc<Self>, effects: Owed<M>) {
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
        if let Some(slot) = effects.look
            && self.config.maintenance
        {
            self.inbox.tell(slot);
        }
        if effects.alarm {
            self.alarm.notify_one();
        }
        if effects.nudge {
            self.inbox.nudge();
        }
        if effects.changed {
            self.changed.notify_waiters();
        }
    }

    #[inline]
    fn note_awaited(&self, state: &PoolState<M>) {
        let is_awaited = state.is_awaited();
        if self.is_awaited() != is_awaited {
            self.awaited.store(is_awaited, Ordering::Relaxed);
        }
    }

    #[inline]
    pub(crate) fn is_awaited(&self) -> bool {
        self.awaited.load(Ordering::Relaxed)
    }

    // --- a connection goes out and comes home

    /// The hot path out.
    #[inline(always)]
    pub(crate) fn check_out(&self) -> Option<Lent<Live<M::Connection>>> {
        let now = self.clock.coarse();
        self.lock().check_out(now)
    }

    /// The hot path of one who must wait, and behind it the whole path out.
    pub(crate) fn request(
        self: &Arc<Self>,
        former: Option<WaiterId>,
        waited: bool,
        deadline: Time,
        mut waker: Waker,
    ) -> Result<WaiterId, Granted<M>> {
        let now = self.clock.coarse();
        let mut state = self.lock();
        if former.is_none() {
            match state.queue(deadline, waker, now) {
                Ok(place) => {
                    self.note_awaited(&state);
                    return Ok(place);
                }
                Err(own) => waker = own,
            }
        }
        let mut effects = Effects::new();
        let answer = state.request(former, waited, deadline, waker, now, &mut effects);
        self.conclude(state, now, effects);
        answer
    }

    /// The hot path home: to the idle set or to the oldest waiter. Otherwise the connection stays where it is, and the
    /// state locked.
    #[inline(always)]
    pub(crate) fn check_in<'a>(
        &self,
        mut state: MutexGuard<'a, PoolState<M>>,
        slot: SlotId,
        live: &mut Option<Live<M::Connection>>,
        now: Time,
    ) -> Option<MutexGuard<'a, PoolState<M>>> {
        match state.check_in(slot, live, now) {
            None => return Some(state),
            Some(CheckedIn::Idle) => {}
            Some(CheckedIn::Granted(waker)) => {
                self.note_awaited(&state);
                drop(state);
                // A waker is the user's, and may panic.
                let _ = caught(|| waker.wake());
            }
        }
        None
    }

    /// The whole path home.
    #[inline(never)]
    pub(crate) fn give_back(
        self: &Arc<Self>,
        mut state: MutexGuard<'_, PoolState<M>>,
        slot: SlotId,
        live: Live<M::Connection>,
        idle_limit: Option<Duration>,
        now: Time,
    ) {
        let stirred = self.has_stirred(&live);
        let mut effects = Effects::new();
        state.give_back(slot, live, idle_limit, now, &mut effects);
        self.conclude(state, now, effects);
        if stirred {
            self.inbox.tell(slot);
        }
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
        let stirred = self.update_at(self.clock.exact(), |state, now, effects| {
            // One that is dead already is found so, and dealt with, by whoever gets it or by the maintenance task.
            let stirred = !alive || self.has_stirred(&live);
            state.connected(slot, live, now, random, effects);
            stirred
        });
        if stirred && self.config.maintenance {
            self.inbox.tell(slot);
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
        let Letter { slot, at } = letter;
        let Some(mut lease) = self.take_out(slot, None, CloseReason::Dropped) else {
            return;
        };
        let id = self.info(slot).id;
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

    /// Takes an idle connection out to look at it, if it is still there; any that is there, if none is named.
    pub(crate) fn take_out(
        self: &Arc<Self>,
        slot: SlotId,
        id: impl Into<Option<u64>>,
        fault: CloseReason,
    ) -> Option<Lease<M, &Arc<Self>>> {
        let now = self.clock.exact();
        let live = self.lock().inspect(slot, id.into(), now)?;
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
            gives_way: reason == CloseReason::GaveWay,
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

    /// A task was dropped before it was done. If the pool was not closed before, its runtime has ended, and with that
    /// all pools with which it shares a total.
    pub(crate) fn end(self: &Arc<Self>) {
        let was_stopped = self.stop.send_replace(true);
        // First, as the room that this pool leaves would otherwise be given to others, who cannot dial either.
        if let (false, Some(member)) = (was_stopped, &self.member) {
            member.runtime_ended();
        }
        self.close();
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
            total: self.member.as_ref().and_then(Member::total),
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

    /// The end of a checkout that took too long, when so many waited, if that is known.
    pub(crate) fn timed_out(
        &self,
        limit: Duration,
        waiting: Option<usize>,
    ) -> CheckoutTimeout<M::Error> {
        self.lock().timed_out();
        let timeout = self.timeout(limit, waiting);
        let status = timeout.status;
        self.tell(|| Event::TimedOut { limit, status });
        timeout
    }

    /// What there is to say of something that took too long.
    pub(crate) fn timeout(
        &self,
        limit: Duration,
        waiting: Option<usize>,
    ) -> CheckoutTimeout<M::Error> {
        let (mut counts, last_error) = {
            let state = self.lock();
            (state.counts(), state.last_error())
        };
        counts.waiting = waiting.unwrap_or(counts.waiting);
        let status = self.status_of(counts);
        CheckoutTimeout {
            waited: limit,
            status,
            last_connect_error: last_error.map(|(error, at)| self.failure(error, at)),
        }
    }

    /// As [`tasks::within`], on this pool's runtime.
    pub(crate) async fn within<F: Future>(
        &self,
        limit: Option<Duration>,
        future: F,
    ) -> Option<F::Output> {
        tasks::within(&self.runtime, &self.clock, limit, future).await
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

impl<M: Manager> Debt<M> {
    /// To be called with no lock held.
    pub(crate) fn pay(self) {
        self.shared.perform(self.effects);
        self.shared.follow(self.news);
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
    /// For another key.
    gives_way: bool,
    /// To be told then.
    event: Option<Event>,
}

impl<M: Manager> Drop for Closing<M> {
    fn drop(&mut self) {
        self.shared
            .update(|state, now, effects| state.closed(self.slot, now, effects));
        if let (true, Some(member)) = (self.gives_way, &self.shared.member) {
            member.gave_way();
        }
        if let Some(event) = self.event.take() {
            self.shared.tell(|| event);
        }
    }
}
