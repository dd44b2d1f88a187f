//! Checks a connection that has been idle for a while.

use std::sync::Arc;

use crate::lease::Lease;
use crate::manager::Manager;
use crate::shared::Shared;
use crate::state::CheckSet;
use crate::tasks::unless;

/// Takes a lease at fault; the connection goes back to where it was, as being checked is not a use.
pub(crate) fn spawn<M: Manager>(mut lease: Lease<M, Arc<Shared<M>>>, due: CheckSet) {
    let shared = Arc::clone(lease.shared());
    let runtime = shared.runtime.clone();
    runtime.spawn(async move {
        let stopped = shared.stopped();
        let work = async {
            let info = lease.info();
            let connection = &mut lease.live_mut().connection;
            match shared.checks.judge(due, connection, &info).await {
                Ok(()) => drop(lease.put_back()),
                Err(unhealthy) => shared.note_unhealthy(info.id, unhealthy),
            }
        };
        unless(stopped, work).await;
    });
}
