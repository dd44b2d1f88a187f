//! Which origins speak no HTTP/2, as far as that is known; it is no more than a hint.

use std::collections::HashMap;
use std::sync::{PoisonError, RwLock, RwLockWriteGuard};
use std::time::Duration;

use tokio::time::Instant;

use crate::origin::Origin;

/// For so long HTTP/2 is not offered to an origin that has asked for HTTP/1.1 instead.
const REQUIRED_FOR: Duration = Duration::from_secs(600);

/// How many origins are remembered.
const MEMORY: usize = 1024;

/// What is known of origins that might speak HTTP/2.
#[derive(Default)]
pub(crate) struct Versions(RwLock<HashMap<Origin, Known>>);

#[derive(Clone, Copy)]
enum Known {
    /// It might have chosen HTTP/2, and did not.
    ChoseHttp1,
    /// It has chosen HTTP/2, and refused a request because of that. HTTP/2 is not offered before.
    RequiresHttp1 { until: Instant },
}

impl Versions {
    /// Whether nothing speaks against it.
    pub(crate) fn may_be_http2(&self, origin: &Origin) -> bool {
        self.known(origin).is_none()
    }

    /// Whether HTTP/2 must not even be offered.
    pub(crate) fn must_be_http1(&self, origin: &Origin) -> bool {
        matches!(self.known(origin), Some(Known::RequiresHttp1 { .. }))
    }

    /// It was offered HTTP/2, and did not choose it.
    pub(crate) fn chose_http1(&self, origin: &Origin) {
        self.remember(origin, Known::ChoseHttp1);
    }

    /// It has chosen HTTP/2.
    pub(crate) fn chose_http2(&self, origin: &Origin) {
        self.lock().remove(origin);
    }

    /// It has refused a request by HTTP/2, and wants it by HTTP/1.1 (RFC 9113 §7).
    pub(crate) fn requires_http1(&self, origin: &Origin) {
        let until = now() + REQUIRED_FOR;
        self.remember(origin, Known::RequiresHttp1 { until });
    }

    fn known(&self, origin: &Origin) -> Option<Known> {
        let known = self.0.read().unwrap_or_else(PoisonError::into_inner);
        let known = known.get(origin).copied();
        known.filter(|known| match known {
            Known::ChoseHttp1 => true,
            Known::RequiresHttp1 { until } => now() < *until,
        })
    }

    fn remember(&self, origin: &Origin, what: Known) {
        let mut known = self.lock();
        if known.len() >= MEMORY && !known.contains_key(origin) {
            known.clear();
        }
        known.insert(origin.clone(), what);
    }

    fn lock(&self) -> RwLockWriteGuard<'_, HashMap<Origin, Known>> {
        self.0.write().unwrap_or_else(PoisonError::into_inner)
    }
}

fn now() -> Instant {
    #[expect(clippy::disallowed_methods, reason = "tokio's, which tests can pause")]
    Instant::now()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn http2_is_offered_again_after_some_time_to_who_has_asked_for_http1() {
        let origin = Origin::of(&"https://example.org".parse().unwrap()).unwrap();
        let versions = Versions::default();
        versions.requires_http1(&origin);
        assert!(versions.must_be_http1(&origin) && !versions.may_be_http2(&origin));
        tokio::time::advance(REQUIRED_FOR).await;
        assert!(!versions.must_be_http1(&origin) && versions.may_be_http2(&origin));
    }
}
