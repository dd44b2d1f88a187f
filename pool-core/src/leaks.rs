//! Who holds a connection, since when, and where he got it: for those who hold one for too long.

use std::backtrace::Backtrace;
use std::collections::HashMap;
use std::panic::Location;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::Notify;

use crate::event::Event;
use crate::state::Time;

#[derive(Debug)]
pub(crate) struct Leaks {
    after: Duration,
    with_backtrace: bool,
    holders: Mutex<Holders>,
    /// There is somebody to watch where there was nobody.
    begun: Notify,
}

#[derive(Debug, Default)]
struct Holders {
    by_connection: HashMap<u64, Held>,
    /// Those of whom nobody was warned yet.
    watched: usize,
}

#[derive(Debug)]
struct Held {
    since: Time,
    place: &'static Location<'static>,
    backtrace: Option<Arc<Backtrace>>,
    warned: bool,
}

impl Leaks {
    pub(crate) fn new(after: Duration, with_backtrace: bool) -> Self {
        Self {
            after,
            with_backtrace,
            holders: Mutex::default(),
            begun: Notify::new(),
        }
    }

    /// A connection was handed out.
    pub(crate) fn out(&self, id: u64, since: Time, place: &'static Location<'static>) {
        let held = Held {
            since,
            place,
            backtrace: self
                .with_backtrace
                .then(|| Arc::new(Backtrace::force_capture())),
            warned: false,
        };
        let mut holders = self.lock();
        let is_first = holders.watched == 0;
        holders.watched += 1;
        holders.by_connection.insert(id, held);
        drop(holders);
        if is_first {
            self.begun.notify_one();
        }
    }

    /// A connection came home; answers if somebody was warned of it.
    pub(crate) fn back(&self, id: u64, hold: Duration) -> Option<Event> {
        let held = {
            let mut holders = self.lock();
            let held = holders.by_connection.remove(&id)?;
            holders.watched -= usize::from(!held.warned);
            held
        };
        held.warned.then_some(Event::ReturnedAfterAll {
            id,
            held: hold,
            place: held.place,
        })
    }

    /// Somebody who has held a connection for too long and was not warned of, or else when to look again, if anybody holds
    /// one. One at a time, as the warning must not come after the return.
    pub(crate) fn overdue(&self, now: Time) -> Result<Event, Option<Time>> {
        let holders = &mut *self.lock();
        let unwarned = holders.by_connection.iter_mut();
        let Some((&id, held)) = unwarned
            .filter(|(_, held)| !held.warned)
            .min_by_key(|(_, held)| held.since)
        else {
            return Err(None);
        };
        let due = held.since.after(self.after);
        if due > now {
            return Err(Some(due));
        }
        held.warned = true;
        holders.watched -= 1;
        Ok(Event::HeldTooLong {
            id,
            held: now.since(held.since),
            place: held.place,
            backtrace: held.backtrace.clone(),
        })
    }

    /// Waits until there is somebody to watch.
    pub(crate) async fn begun(&self) {
        self.begun.notified().await;
    }

    fn lock(&self) -> MutexGuard<'_, Holders> {
        self.holders.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
