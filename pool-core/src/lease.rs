//! A connection out of its pool, and the way home: the engine of both guards and of every task that holds a connection.

use std::borrow::Borrow;
use std::panic::Location;
use std::sync::Arc;

use crate::manager::{Manager, Recycle};
use crate::pooled::ConnectionInfo;
use crate::reason::CloseReason;
use crate::shared::Shared;
use crate::state::{CheckSet, SlotId, Time};
use crate::tasks;
use crate::watch::Live;

/// A connection and what is to become of it. `H` is how it holds the pool.
///
/// The connection stays where it is while it is looked at, and is moved once each way: a move costs more than the look.
pub(crate) struct Lease<M: Manager, H: Borrow<Arc<Shared<M>>>> {
    home: H,
    /// Gone once the connection took another way than `Drop`.
    live: Option<Live<M::Connection>>,
    slot: SlotId,
    /// Why the connection is to be closed instead of kept, if it is.
    fault: Option<CloseReason>,
    /// Somebody wants to know when it comes home.
    announced: bool,
    /// With no caller any more: it is cleaned or checked on its way home.
    aside: bool,
}

impl<M: Manager, H: Borrow<Arc<Shared<M>>>> Lease<M, H> {
    /// At fault until somebody says otherwise: whatever happens before that costs the connection.
    #[inline]
    pub(crate) fn unjudged(
        home: H,
        slot: SlotId,
        live: Live<M::Connection>,
        fault: CloseReason,
    ) -> Self {
        Self {
            home,
            live: Some(live),
            slot,
            fault: Some(fault),
            announced: false,
            aside: false,
        }
    }

    /// Of one that was made for who has its slot.
    pub(crate) fn renewed(home: H, slot: SlotId, live: Live<M::Connection>) -> Self {
        Self {
            home,
            live: Some(live),
            slot,
            fault: None,
            announced: false,
            aside: false,
        }
    }

    /// Whom it was made for has it.
    pub(crate) fn receive(&self) {
        let shared = self.home.borrow();
        let now = shared.clock.coarse();
        shared.lock().received(self.slot, now);
    }

    /// Looks at a connection that is to be handed out.
    #[inline]
    pub(crate) fn vet(&mut self) -> bool {
        let live = self.live.as_mut().expect(HELD);
        live.unwatch();
        let shared = self.home.borrow();
        if shared.manager.is_dropped(&mut live.connection) {
            shared.note_dropped(self.slot, true);
            return false;
        }
        self.fault = None;
        true
    }

    /// Offers the connection to whoever waits, else lets it lie idle under watch; one that was dropped stays here.
    #[inline]
    pub(crate) fn make_available(&mut self) {
        let shared = self.home.borrow();
        let live = self.live.as_mut().expect(HELD);
        self.fault = Some(CloseReason::Dropped);
        if !shared.is_alive(live) {
            return;
        }
        let idle_limit = shared.manager.idle_limit(&live.connection);
        let now = shared.clock.coarse();
        let state = shared.lock();
        // Under the lock: whoever looks for idle connections meanwhile either finds this one idle or is found looking.
        if shared.gives_way(&state, now) {
            self.fault = Some(CloseReason::GaveWay);
            return;
        }
        let state = match idle_limit.is_some() || self.aside || shared.has_stirred(live) {
            false => shared.check_in(state, self.slot, &mut self.live, now),
            true => Some(state),
        };
        if let Some(state) = state {
            let live = self.live.take().expect(HELD);
            shared.give_back(state, self.slot, live, idle_limit, now);
        }
    }

    /// As [`put_back`](Self::put_back), and asks the probe before.
    pub(crate) fn put_back_if_alive(&mut self) -> Option<()> {
        let shared = self.home.borrow();
        let connection = &mut self.live.as_mut().expect(HELD).connection;
        if shared.manager.is_dropped(connection) {
            shared.note_dropped(self.slot, false);
            return None;
        }
        self.put_back()
    }

    /// Puts an idle connection that was looked at back to where it was; one that was dropped stays here, and the answer is
    /// `None`.
    pub(crate) fn put_back(&mut self) -> Option<()> {
        let shared = self.home.borrow();
        let live = self.live.as_mut().expect(HELD);
        self.fault = Some(CloseReason::Dropped);
        if !shared.is_alive(live) {
            shared.note_dropped(self.slot, false);
            return None;
        }
        // A move meanwhile has put a letter into the inbox, or will be found by the one who reads it.
        let stirred = shared.update(|state, now, effects| {
            let live = self.live.take().expect(HELD);
            let stirred = shared.has_stirred(&live);
            state.put_back(self.slot, live, now, effects);
            stirred
        });
        if stirred {
            shared.inbox.tell(self.slot);
        }
        Some(())
    }

    /// Has it closed instead of kept.
    pub(crate) fn condemn(&mut self, reason: CloseReason) {
        self.fault = Some(reason);
    }

    /// Why it would not be kept if it came home now.
    pub(crate) fn due(&self) -> Option<CloseReason> {
        self.fault.or_else(|| self.shared().due(self.slot))
    }

    pub(crate) fn is_condemned(&self) -> bool {
        self.fault.is_some()
    }

    /// Tells that it was handed to a caller who has waited since then, and, when it comes home, that it does.
    #[cold]
    pub(crate) fn announce(&mut self, waited_since: Time, place: &'static Location<'static>) {
        let shared = self.home.borrow();
        if shared.is_watched() {
            shared.note_out(self.slot, waited_since, place);
            self.announced = true;
        }
    }

    /// Asks the checks that run before a connection is handed out, unless one of them has to wait.
    #[cold]
    pub(crate) fn examine(&mut self) -> Exam {
        let info = self.info();
        let shared = self.home.borrow();
        let connection = &mut self.live.as_mut().expect(HELD).connection;
        let due = shared
            .checks
            .at_checkout(&info, || shared.manager.is_unsure(connection));
        match shared.checks.wait(due) {
            true => Exam::Waits(due),
            false => self.judge_now(due, &info),
        }
    }

    /// Asks those that need not wait.
    pub(crate) fn judge_now(&mut self, due: CheckSet, info: &ConnectionInfo) -> Exam {
        let shared = self.home.borrow();
        let connection = &mut self.live.as_mut().expect(HELD).connection;
        match shared.checks.judge_now(due, connection, info) {
            Ok(()) => Exam::Passed,
            Err(unhealthy) => {
                self.fault = Some(CloseReason::CheckFailed);
                shared.note_refused(self.slot, info.id, unhealthy);
                Exam::Refused
            }
        }
    }

    pub(crate) fn slot(&self) -> SlotId {
        self.slot
    }

    #[inline]
    pub(crate) fn live(&self) -> &Live<M::Connection> {
        self.live.as_ref().expect(HELD)
    }

    #[inline]
    pub(crate) fn live_mut(&mut self) -> &mut Live<M::Connection> {
        self.live.as_mut().expect(HELD)
    }

    pub(crate) fn home(&self) -> &H {
        &self.home
    }

    pub(crate) fn shared(&self) -> &Arc<Shared<M>> {
        self.home.borrow()
    }

    pub(crate) fn info(&self) -> ConnectionInfo {
        self.shared().connection_info(self.slot)
    }

    /// The same, with another hold on the pool.
    pub(crate) fn rehome<G: Borrow<Arc<Shared<M>>>>(mut self, home: G) -> Lease<M, G> {
        Lease {
            home,
            live: self.live.take(),
            slot: self.slot,
            fault: self.fault,
            announced: self.announced,
            aside: self.aside,
        }
    }

    /// The same, if its pool is one of many; otherwise it is given up.
    pub(crate) fn of_many(self) -> Option<Self> {
        self.shared().is_one_of_many().then_some(self)
    }

    /// What its user is content with.
    #[inline]
    fn come_home(&mut self) {
        let shared = self.home.borrow();
        self.fault = Some(CloseReason::NotReusable);
        let connection = &mut self.live.as_mut().expect(HELD).connection;
        match shared.manager.recycle(connection) {
            Recycle::Keep if shared.plain => self.make_available(),
            Recycle::Keep => self.come_home_checked(false),
            Recycle::Discard => {}
            Recycle::DiscardWithOlder => shared.retire(shared.connection_info(self.slot).id),
            Recycle::Reset => self.come_home_checked(true),
        }
    }

    /// Checks, and cleaning before them, are done here if nothing has to wait, and in a task otherwise.
    #[cold]
    fn come_home_checked(&mut self, reset: bool) {
        let shared = Arc::clone(self.home.borrow());
        let due = shared.checks.at_checkin;
        if reset || shared.checks.wait(due) {
            let live = self.live.take().expect(HELD);
            let fault = match reset {
                true => CloseReason::ResetFailed,
                false => CloseReason::CheckFailed,
            };
            shared.lock().step_aside(self.slot);
            let mut lease = Lease::unjudged(shared, self.slot, live, fault);
            lease.aside = true;
            return tasks::homecoming::spawn(lease, reset);
        }
        if due != 0 {
            self.fault = Some(CloseReason::CheckFailed);
            let info = self.info();
            let verdict = shared
                .checks
                .judge_now(due, &mut self.live_mut().connection, &info);
            if let Err(unhealthy) = verdict {
                return shared.note_unhealthy(info.id, unhealthy);
            }
        }
        self.make_available();
    }

    /// Goes home even in a panic, which was about something else.
    pub(crate) fn give_back(mut self) {
        HomeComing(&mut self).arrive(false);
    }

    #[cold]
    fn give_up(&mut self) {
        if let Some(live) = self.live.take() {
            let reason = self.fault.unwrap_or(CloseReason::NotReusable);
            self.home.borrow().discard(self.slot, live, reason);
        }
    }

    /// The connection is given up and still to be closed, and its slot is the caller's to fill.
    pub(crate) fn surrender(mut self) -> M::Connection {
        let live = self.live.take().expect(HELD);
        let shared = self.home.borrow();
        if self.announced {
            shared.note_back(self.slot, false);
        }
        live.unwatch();
        shared.lock().discard(self.slot, CloseReason::Discarded);
        live.connection
    }

    /// The connection is its user's for good.
    pub(crate) fn detach(mut self) -> M::Connection {
        let live = self.live.take().expect(HELD);
        let shared = self.home.borrow();
        if self.announced {
            shared.note_back(self.slot, true);
        }
        shared.detach(self.slot, live)
    }
}

/// What came of looking at a connection that is to be handed out.
pub(crate) enum Exam {
    Passed,
    Refused,
    /// These take time.
    Waits(CheckSet),
}

impl<M: Manager> Lease<M, Arc<Shared<M>>> {
    /// Ends with the connection, saying whether it passed. Dropped half way, it costs the connection.
    pub(crate) async fn examined(mut self, due: CheckSet) -> Result<Self, Self> {
        let shared = Arc::clone(&self.home);
        self.fault = Some(CloseReason::CheckFailed);
        // Whatever happens from here on, it was not used yet.
        let mut unused = Unused(Some((Arc::clone(&shared), self.slot)));
        let info = self.info();
        let connection = &mut self.live_mut().connection;
        match shared.checks.judge(due, connection, &info).await {
            Ok(()) => {
                unused.0 = None;
                self.fault = None;
                Ok(self)
            }
            Err(unhealthy) => {
                unused.0 = None;
                shared.note_refused(self.slot, info.id, unhealthy);
                Err(self)
            }
        }
    }
}

/// A connection that was handed out for nothing.
struct Unused<M: Manager>(Option<(Arc<Shared<M>>, SlotId)>);

impl<M: Manager> Drop for Unused<M> {
    fn drop(&mut self) {
        if let Some((shared, slot)) = self.0.take() {
            shared.lock().not_used(slot);
        }
    }
}

const HELD: &str = "only what ends the lease takes its connection";

impl<M: Manager, H: Borrow<Arc<Shared<M>>>> Drop for Lease<M, H> {
    #[inline]
    fn drop(&mut self) {
        if self.live.is_none() {
            return;
        }
        // Whoever panics leaves his connection in the middle of something.
        HomeComing(self).arrive(std::thread::panicking());
    }
}

/// Gives up what did not get home: the manager may panic while it judges, or not want it.
struct HomeComing<'a, M: Manager, H: Borrow<Arc<Shared<M>>>>(&'a mut Lease<M, H>);

impl<M: Manager, H: Borrow<Arc<Shared<M>>>> HomeComing<'_, M, H> {
    #[inline]
    fn arrive(self, in_panic: bool) {
        let lease = &mut *self.0;
        if lease.announced {
            lease.shared().note_back(lease.slot, false);
        }
        if lease.fault.is_none() {
            match in_panic {
                true => lease.fault = Some(CloseReason::Panicked),
                false => lease.come_home(),
            }
        }
    }
}

impl<M: Manager, H: Borrow<Arc<Shared<M>>>> Drop for HomeComing<'_, M, H> {
    #[inline]
    fn drop(&mut self) {
        if self.0.live.is_some() {
            self.0.give_up();
        }
    }
}
