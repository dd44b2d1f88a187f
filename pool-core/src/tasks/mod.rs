//! Everything that runs by itself: dials, the maintenance of idle connections, resets.

use std::sync::{Arc, Weak};

use crate::manager::Manager;
use crate::shared::Shared;

pub(crate) mod connect;
pub(crate) mod maintain;
pub(crate) mod reset;

/// The pool, as a task holds it between two turns. A pool cannot go on without its runtime, so if the task is dropped
/// before it was done, the pool is closed: better than callers who wait for somebody who will never come.
struct Remote<M: Manager> {
    shared: Weak<Shared<M>>,
    done: bool,
}

impl<M: Manager> Remote<M> {
    fn new(shared: &Arc<Shared<M>>) -> Self {
        Self {
            shared: Arc::downgrade(shared),
            done: false,
        }
    }

    fn upgrade(&self) -> Option<Arc<Shared<M>>> {
        self.shared.upgrade()
    }

    fn done(mut self) {
        self.done = true;
    }
}

impl<M: Manager> Drop for Remote<M> {
    fn drop(&mut self) {
        if !self.done
            && let Some(shared) = self.shared.upgrade()
        {
            shared.close();
        }
    }
}
