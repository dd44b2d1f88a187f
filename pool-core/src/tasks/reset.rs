//! Cleans a connection between two users.

use std::sync::Arc;

use crate::clock;
use crate::lease::Lease;
use crate::manager::Manager;
use crate::shared::Shared;
use crate::tasks::connect::unless;

/// Takes an unjudged lease: an error, a panic, the limit and the end of the runtime all drop it as it is, which gives
/// the connection up.
pub(crate) fn spawn<M: Manager>(mut lease: Lease<M, Arc<Shared<M>>>) {
    let shared = Arc::clone(lease.shared());
    let runtime = shared.runtime.clone();
    runtime.spawn(async move {
        let reset = async { shared.manager.reset(&mut lease.live_mut().connection).await };
        let reset = clock::timeout(shared.config.reset_timeout, reset);
        // A closed pool keeps nothing, so there is nothing to clean.
        if let Some(Ok(Ok(()))) = unless(shared.stopped(), reset).await {
            lease.make_available();
        }
    });
}
