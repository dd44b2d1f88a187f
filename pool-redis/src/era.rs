//! What one connection was told of its server, for all that were made before: that it is no longer the primary.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// The eras of one manager's connections; each ends with an answer of `READONLY`.
#[derive(Clone, Debug, Default)]
pub(crate) struct Eras(Arc<AtomicU64>);

impl Eras {
    pub(crate) fn now(&self) -> Era {
        Era {
            number: self.0.load(Ordering::Relaxed),
            eras: self.clone(),
        }
    }
}

/// The one in which a connection was made.
#[derive(Debug)]
pub(crate) struct Era {
    number: u64,
    eras: Eras,
}

impl Era {
    /// Ends it, and no later one: connections that were made since have nothing to do with it.
    pub(crate) fn end(&self) {
        let Self { number, eras } = self;
        // An error says that somebody was faster.
        let _ = eras
            .0
            .compare_exchange(*number, number + 1, Ordering::Relaxed, Ordering::Relaxed);
    }

    #[inline]
    pub(crate) fn is_over(&self) -> bool {
        self.eras.0.load(Ordering::Relaxed) != self.number
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_era_ends_once_for_all_who_live_in_it_and_for_nobody_else() {
        let eras = Eras::default();
        let (one, other) = (eras.now(), eras.now());
        one.end();
        assert!(one.is_over() && other.is_over());

        let new = eras.now();
        other.end();
        assert!(!new.is_over());
    }
}
