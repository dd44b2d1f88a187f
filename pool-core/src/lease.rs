//! A connection out of its pool, and the way home: the engine of both guards and of every task that holds a connection.

use std::borrow::Borrow;
use std::sync::Arc;

use crate::manager::{Manager, Recycle};
use crate::shared::Shared;
use crate::state::{Effects, SlotId};
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
    reusable: bool,
}

impl<M: Manager, H: Borrow<Arc<Shared<M>>>> Lease<M, H> {
    /// Not reusable until somebody says so: whatever happens before that costs the connection.
    #[inline]
    pub(crate) fn unjudged(home: H, slot: SlotId, live: Live<M::Connection>) -> Self {
        Self {
            home,
            live: Some(live),
            slot,
            reusable: false,
        }
    }

    /// Looks at a connection that is to be handed out.
    #[inline]
    pub(crate) fn vet(&mut self) -> bool {
        let live = self.live.as_mut().expect(HELD);
        live.unwatch();
        let shared = self.home.borrow();
        if shared.manager.is_dropped(&mut live.connection) {
            shared.note_dropped(self.slot, 1);
            return false;
        }
        self.reusable = true;
        true
    }

    /// Offers the connection to whoever waits, else lets it lie idle under watch; one that was dropped stays here.
    #[inline]
    pub(crate) fn make_available(&mut self) {
        let shared = self.home.borrow();
        let live = self.live.as_mut().expect(HELD);
        if !shared.is_alive(live) {
            return;
        }
        let letter = live.letter();
        let now = shared.clock.coarse();
        let mut state = shared.lock();
        let stirred = shared.has_stirred(live);
        if state.check_in(self.slot, &mut self.live, now) {
            drop(state);
        } else {
            let mut effects = Effects::new();
            state.give_back(self.slot, self.live.take().expect(HELD), now, &mut effects);
            drop(state);
            shared.perform(effects);
        }
        if stirred {
            shared.inbox.tell(letter);
        }
    }

    /// Puts an idle connection that was looked at back to where it was; one that was dropped stays here.
    pub(crate) fn put_back(&mut self) {
        let shared = self.home.borrow();
        let live = self.live.as_mut().expect(HELD);
        if !shared.is_alive(live) {
            return shared.note_dropped(self.slot, 0);
        }
        // A move meanwhile has put a letter into the inbox, which nobody but the task that does this reads.
        shared.update(|state, now, effects| {
            let live = self.live.take().expect(HELD);
            state.put_back(self.slot, live, now, effects);
        });
    }

    /// Has it closed instead of kept.
    pub(crate) fn taint(&mut self) {
        self.reusable = false;
    }

    pub(crate) fn is_tainted(&self) -> bool {
        !self.reusable
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

    /// What its user is content with.
    #[inline]
    fn come_home(&mut self) {
        let shared = self.home.borrow();
        match shared
            .manager
            .recycle(&mut self.live.as_mut().expect(HELD).connection)
        {
            Recycle::Keep => self.make_available(),
            Recycle::Discard => {}
            Recycle::Reset => {
                let live = self.live.take().expect(HELD);
                tasks::reset::spawn(Lease::unjudged(Arc::clone(shared), self.slot, live));
            }
        }
    }

    #[cold]
    fn give_up(&mut self) {
        if let Some(live) = self.live.take() {
            self.home.borrow().discard(self.slot, live);
        }
    }

    /// The connection is its user's for good.
    pub(crate) fn detach(mut self) -> M::Connection {
        let live = self.live.take().expect(HELD);
        self.home.borrow().detach(self.slot, live)
    }
}

const HELD: &str = "only what ends the lease takes its connection";

impl<M: Manager, H: Borrow<Arc<Shared<M>>>> Drop for Lease<M, H> {
    #[inline]
    fn drop(&mut self) {
        if self.live.is_none() {
            return;
        }
        // The manager may panic while it judges; what it leaves here is given up then, as is what it does not want.
        let home = HomeComing(self);
        // Whoever panics leaves his connection in the middle of something.
        if home.0.reusable && !std::thread::panicking() {
            home.0.come_home();
        }
    }
}

/// Gives up what did not get home.
struct HomeComing<'a, M: Manager, H: Borrow<Arc<Shared<M>>>>(&'a mut Lease<M, H>);

impl<M: Manager, H: Borrow<Arc<Shared<M>>>> Drop for HomeComing<'_, M, H> {
    #[inline]
    fn drop(&mut self) {
        if self.0.live.is_some() {
            self.0.give_up();
        }
    }
}
