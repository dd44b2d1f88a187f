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

    /// Those who have held a connection for too long and were not warned of, and when to look again, if anybody holds one.
    pub(crate) fn overdue(&self, now: Time) -> (Vec<Event>, Option<Time>) {
        let (mut events, mut next) = (Vec::new(), None::<Time>);
        let holders = &mut *self.lock();
        for (&id, held) in &mut holders.by_connection {
            let due = held.since.after(self.after);
            if held.warned {
                continue;
            }
            if due > now {
                next = Some(next.map_or(due, |next| next.min(due)));
                continue;
            }
            held.warned = true;
            holders.watched -= 1;
            events.push(Event::HeldTooLong {
                id,
                held: now.since(held.since),
                place: held.place,
                backtrace: held.backtrace.clone(),
            });
        }
        (events, next)
    }

    /// Waits until there is somebody to watch.
    pub(crate) async fn begun(&self) {
        self.begun.notified().await;
    }

    fn lock(&self) -> MutexGuard<'_, Holders> {
        self.holders.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
