//! What an observer of the pools was told.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use pool_core::{CloseReason, Event, Observer};

/// Why connections were closed and how old they were, in that order.
#[derive(Clone, Default)]
pub(crate) struct Closings(Arc<Mutex<Vec<(CloseReason, Duration)>>>);

impl Closings {
    pub(crate) fn reasons(&self) -> Vec<CloseReason> {
        let closings = self.0.lock().unwrap();
        closings.iter().map(|(reason, _)| *reason).collect()
    }

    pub(crate) fn ages(&self) -> Vec<Duration> {
        let closings = self.0.lock().unwrap();
        closings.iter().map(|(_, age)| *age).collect()
    }
}

impl Observer for Closings {
    fn observe(&self, _pool: &str, event: &Event) {
        if let Event::Closed { reason, age, .. } = event {
            self.0.lock().unwrap().push((*reason, *age));
        }
    }
}
