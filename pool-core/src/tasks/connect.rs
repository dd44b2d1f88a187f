//! One dial: the only place where connections are made.

use std::sync::Arc;

use crate::clock;
use crate::error::ConnectError;
use crate::event::Event;
use crate::manager::Manager;
use crate::pooled::ConnectionInfo;
use crate::shared::{Shared, caught};
use crate::state::{Dial, Pause, Time};
use crate::tasks::{Remote, caught_future, limited, unless};
use crate::watch::Live;

/// A slot being filled. Dropped unused, it gives the slot back.
pub(crate) struct Permit<M: Manager> {
    shared: Arc<Shared<M>>,
    dial: Option<Dial>,
    begun: Time,
}

pub(crate) fn spawn<M: Manager>(shared: &Arc<Shared<M>>, dial: Dial) {
    shared.tell(|| Event::Connecting { id: dial.id });
    let permit = Permit::new(shared, dial);
    shared.runtime.spawn(connect(permit));
}

async fn connect<M: Manager>(permit: Permit<M>) {
    let shared = Arc::clone(&permit.shared);
    match attempt(&shared, permit.id()).await {
        None => {}
        Some(Ok(connection)) => permit.connected(connection),
        Some(Err(error)) => permit.failed(error),
    }
}

/// Dials within the limit; nothing comes of it if the pool is closed first.
pub(super) async fn attempt<M: Manager>(
    shared: &Arc<Shared<M>>,
    id: u64,
) -> Option<Result<M::Connection, ConnectError<M::Error>>> {
    shared.clock.notice_pause();
    let limit = shared.config.connect_timeout;
    let dial = limited(limit, caught_future(dial(shared, id)));
    Some(match unless(shared.stopped(), dial).await? {
        Some(Ok(Ok(connection))) => Ok(connection),
        Some(Ok(Err(error))) => Err(error),
        Some(Err(message)) => Err(ConnectError::Panicked(message)),
        None => Err(ConnectError::TimedOut(limit)),
    })
}

/// Whether dialling again cannot help.
pub(super) fn is_permanent<M: Manager>(shared: &Shared<M>, error: &ConnectError<M::Error>) -> bool {
    match error {
        // A panicking answer is no answer.
        ConnectError::Manager(error) => {
            caught(|| shared.manager.is_permanent(error)).unwrap_or(false)
        }
        _ => false,
    }
}

/// Makes a connection and has it looked at by those who were plugged in for that.
async fn dial<M: Manager>(
    shared: &Arc<Shared<M>>,
    id: u64,
) -> Result<M::Connection, ConnectError<M::Error>> {
    let connected = shared.manager.connect().await;
    let mut connection = connected.map_err(ConnectError::Manager)?;
    let due = shared.checks.after_connect;
    if due != 0 {
        let info = ConnectionInfo::new(id);
        let verdict = shared.checks.judge(due, &mut connection, &info).await;
        if let Err(unhealthy) = verdict {
            let cause = unhealthy.cause();
            shared.note_unhealthy(id, unhealthy);
            // Within the limit of the dial; beyond it the connection is dropped, which closes it too.
            shared.manager.close(connection).await;
            return Err(ConnectError::Refused(cause));
        }
    }
    Ok(connection)
}

/// Waits out the pause after a failed dial; the pool may go meanwhile.
pub(crate) fn spawn_pause<M: Manager>(shared: &Arc<Shared<M>>, pause: Pause) {
    let (stopped, pool) = (shared.stopped(), Remote::new(shared));
    shared.runtime.spawn(async move {
        if unless(stopped, clock::sleep(pause.wait)).await.is_some()
            && let Some(shared) = pool.upgrade()
        {
            shared.update(|state, now, effects| state.pause_over(&pause, now, effects));
        }
        pool.done();
    });
}

impl<M: Manager> Permit<M> {
    pub(crate) fn new(shared: &Arc<Shared<M>>, dial: Dial) -> Self {
        Self {
            shared: Arc::clone(shared),
            dial: Some(dial),
            // The exact clock, which is tokio's, cannot be read on a thread that ends; with observers both are exact.
            begun: shared.clock.coarse(),
        }
    }

    fn id(&self) -> u64 {
        self.dial.as_ref().expect("a permit is used once").id
    }

    pub(crate) fn connected(mut self, connection: M::Connection) {
        let Dial { slot, id } = self.dial.take().expect("a permit is used once");
        // Told first: whoever hears of a checkout has heard of the connection before.
        let took = self.shared.clock.exact().since(self.begun);
        self.shared.tell(|| Event::Connected { id, took });
        let live = Live::new(connection, &self.shared.inbox, slot);
        let random = self.shared.random(id);
        self.shared.connected(slot, live, random);
    }

    fn failed(mut self, error: ConnectError<M::Error>) {
        let Dial { slot, id } = self.dial.take().expect("a permit is used once");
        let permanent = is_permanent(&self.shared, &error);
        let (error, now, random) = (
            Arc::new(error),
            self.shared.clock.exact(),
            self.shared.random(id),
        );
        self.shared.tell(|| Event::ConnectFailed {
            id,
            took: now.since(self.begun),
            error: Arc::clone(&error) as _,
            permanent,
        });
        self.shared.update_at(now, |state, now, effects| {
            state.failed(slot, error, permanent, now, random, effects);
        });
    }
}

impl<M: Manager> Drop for Permit<M> {
    fn drop(&mut self) {
        let Some(dial) = self.dial.take() else {
            return;
        };
        // A dial ends without a result when the pool stops, or its runtime; the pool cannot go on without one. It is closed
        // first: the slot that is free then is nobody's.
        self.shared.end();
        self.shared
            .update(|state, _, effects| state.abandoned(dial.slot, effects));
        self.shared.tell(|| Event::ConnectAbandoned { id: dial.id });
    }
}
