//! After what time an origin closes idle connections, learned from when it has done so.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use crate::origin::Origin;

/// Shorter than this is not worth keeping a connection for, and more likely a mistake than a lesson.
const SHORTEST: Duration = Duration::from_millis(100);

/// How many origins are remembered.
const MEMORY: usize = 1024;

/// What was learned of each origin. It outlives their pools, which come and go with their connections.
#[derive(Default)]
pub(crate) struct Lessons(Mutex<HashMap<Origin, Lesson>>);

/// The shortest time, in milliseconds, after which an origin has closed an idle connection; all ones: never.
#[derive(Clone)]
pub(crate) struct Lesson(Arc<AtomicU64>);

impl Lessons {
    pub(crate) fn of(&self, origin: &Origin) -> Lesson {
        let mut lessons = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if lessons.len() >= MEMORY && !lessons.contains_key(origin) {
            lessons.clear();
        }
        lessons.entry(origin.clone()).or_default().clone()
    }
}

impl Lesson {
    /// The origin has closed a connection that was idle for so long.
    pub(crate) fn learn(&self, idle_for: Duration) {
        if idle_for >= SHORTEST {
            let millis = u64::try_from(idle_for.as_millis()).unwrap_or(u64::MAX);
            self.0.fetch_min(millis, Ordering::Relaxed);
        }
    }

    /// For so long, and not longer, a connection lies idle without being closed.
    pub(crate) fn limit(&self, margin: Duration) -> Option<Duration> {
        let closes_after = self.0.load(Ordering::Relaxed);
        let known = (closes_after != u64::MAX).then(|| Duration::from_millis(closes_after));
        // The margin is meant for seconds; of less, a quarter is left.
        known.map(|known| known.saturating_sub(margin).max(known / 4))
    }
}

impl Default for Lesson {
    fn default() -> Self {
        Self(Arc::new(AtomicU64::new(u64::MAX)))
    }
}
