//! A connection replaced for its user: closed, and another dialled in its slot.

use std::sync::Arc;

use tokio::sync::oneshot;

use crate::error::{CheckoutError, ConnectError, ConnectFailure};
use crate::event::Event;
use crate::lease::Lease;
use crate::manager::Manager;
use crate::pooled::ConnectionInfo;
use crate::reason::CloseReason;
use crate::shared::Shared;
use crate::state::{SlotId, Time};
use crate::tasks::{caught_future, connect, limited};
use crate::watch::Live;

/// What its user waits for.
type Outcome<M> = Result<Lease<M, Arc<Shared<M>>>, CheckoutError<<M as Manager>::Error>>;

pub(crate) fn spawn<M: Manager>(
    mut lease: Lease<M, Arc<Shared<M>>>,
) -> oneshot::Receiver<Outcome<M>> {
    // If the runtime has ended, this is all that becomes of it.
    lease.condemn(CloseReason::Discarded);
    let (done, outcome) = oneshot::channel();
    let runtime = lease.shared().runtime.clone();
    runtime.spawn(async move {
        // If nobody waits any more, the new connection goes home from here.
        drop(done.send(renew(lease).await));
    });
    outcome
}

async fn renew<M: Manager>(lease: Lease<M, Arc<Shared<M>>>) -> Outcome<M> {
    let (shared, slot) = (Arc::clone(lease.shared()), lease.slot());
    let closing = Closing::of(&lease);
    let connection = lease.surrender();
    let close = async { shared.manager.close(connection).await };
    // Its manager may panic; it is gone either way.
    let _ = limited(shared.config.close_timeout, caught_future(close)).await;
    let Some(id) = closing.make_room() else {
        return Err(CheckoutError::Closed);
    };
    let renewal = Renewal::begin(&shared, slot, id);
    match connect::attempt(&shared, id).await {
        None => Err(CheckoutError::Closed),
        Some(Ok(connection)) => Ok(renewal.connected(connection)),
        Some(Err(error)) => Err(CheckoutError::Connect(renewal.failed(error))),
    }
}

/// A slot whose connection is being closed; gives the slot back when dropped.
struct Closing<M: Manager> {
    shared: Arc<Shared<M>>,
    slot: SlotId,
    event: Option<Event>,
    is_over: bool,
}

impl<M: Manager> Closing<M> {
    fn of(lease: &Lease<M, Arc<Shared<M>>>) -> Self {
        let shared = Arc::clone(lease.shared());
        let event = shared.is_observed().then(|| {
            let ConnectionInfo { id, age, uses, .. } = lease.info();
            Event::Closed {
                id,
                reason: CloseReason::Discarded,
                age,
                uses,
            }
        });
        Self {
            shared,
            slot: lease.slot(),
            event,
            is_over: false,
        }
    }

    /// The number of the next one in its slot.
    fn make_room(mut self) -> Option<u64> {
        let slot = self.slot;
        let number = self.shared.update(|state, _, _| state.begin_renewal(slot));
        self.is_over = number.is_some();
        number
    }
}

impl<M: Manager> Drop for Closing<M> {
    fn drop(&mut self) {
        if !self.is_over {
            let slot = self.slot;
            self.shared
                .update(|state, now, effects| state.closed(slot, now, effects));
        }
        if let Some(event) = self.event.take() {
            self.shared.tell(|| event);
        }
    }
}

/// A slot being filled anew for its user. Dropped before that, it gives the slot back.
struct Renewal<M: Manager> {
    shared: Arc<Shared<M>>,
    slot: SlotId,
    id: u64,
    begun: Time,
    is_over: bool,
}

impl<M: Manager> Renewal<M> {
    fn begin(shared: &Arc<Shared<M>>, slot: SlotId, id: u64) -> Self {
        shared.tell(|| Event::Connecting { id });
        Self {
            shared: Arc::clone(shared),
            slot,
            id,
            begun: shared.clock.coarse(),
            is_over: false,
        }
    }

    fn connected(mut self, connection: M::Connection) -> Lease<M, Arc<Shared<M>>> {
        self.is_over = true;
        let (slot, id) = (self.slot, self.id);
        let shared = Arc::clone(&self.shared);
        let now = shared.clock.exact();
        let took = now.since(self.begun);
        shared.tell(|| Event::Connected { id, took });
        let live = Live::new(connection, &shared.inbox, slot);
        let random = shared.random(id);
        shared.update_at(now, |state, now, effects| {
            state.renewed(slot, now, random, effects);
        });
        Lease::renewed(shared, slot, live)
    }

    fn failed(mut self, error: ConnectError<M::Error>) -> ConnectFailure<M::Error> {
        self.is_over = true;
        let (shared, slot, id) = (&self.shared, self.slot, self.id);
        let permanent = connect::is_permanent(shared, &error);
        let (error, now) = (Arc::new(error), shared.clock.exact());
        shared.tell(|| Event::ConnectFailed {
            id,
            took: now.since(self.begun),
            error: Arc::clone(&error) as _,
            permanent,
        });
        let (told, random) = (Arc::clone(&error), shared.random(id));
        shared.update_at(now, |state, now, effects| {
            state.renewal_failed(slot, told, permanent, now, random, effects);
        });
        shared.failure(error, now)
    }
}

impl<M: Manager> Drop for Renewal<M> {
    fn drop(&mut self) {
        if self.is_over {
            return;
        }
        // The pool was closed, or its runtime has ended, without which it cannot go on.
        self.shared.end();
        let (slot, id) = (self.slot, self.id);
        self.shared
            .update(|state, now, effects| state.end_renewal(slot, now, effects));
        self.shared.tell(|| Event::ConnectAbandoned { id });
    }
}
