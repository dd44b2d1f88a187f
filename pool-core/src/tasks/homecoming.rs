//! Cleans and checks a connection between two users, where that has to wait.

use std::sync::Arc;

use crate::clock;
use crate::lease::Lease;
use crate::manager::Manager;
use crate::reason::CloseReason;
use crate::shared::Shared;
use crate::tasks::unless;

/// Takes a lease at fault: an error, a panic, the limit and the end of the runtime all drop it as it is, which gives the
/// connection up.
pub(crate) fn spawn<M: Manager>(mut lease: Lease<M, Arc<Shared<M>>>, reset: bool) {
    let shared = Arc::clone(lease.shared());
    let runtime = shared.runtime.clone();
    runtime.spawn(async move {
        let stopped = shared.stopped();
        let work = async {
            if reset && !is_reset(&shared, &mut lease).await {
                return;
            }
            if !is_healthy(&shared, &mut lease).await {
                return;
            }
            lease.make_available();
        };
        // A closed pool keeps nothing, so there is nothing to clean.
        unless(stopped, work).await;
    });
}

async fn is_reset<M: Manager>(
    shared: &Arc<Shared<M>>,
    lease: &mut Lease<M, Arc<Shared<M>>>,
) -> bool {
    let reset = async { shared.manager.reset(&mut lease.live_mut().connection).await };
    matches!(
        clock::timeout(shared.config.reset_timeout, reset).await,
        Ok(Ok(()))
    )
}

async fn is_healthy<M: Manager>(
    shared: &Arc<Shared<M>>,
    lease: &mut Lease<M, Arc<Shared<M>>>,
) -> bool {
    let due = shared.checks.at_checkin;
    if due == 0 {
        return true;
    }
    lease.condemn(CloseReason::CheckFailed);
    let info = lease.info();
    let connection = &mut lease.live_mut().connection;
    let verdict = shared.checks.judge(due, connection, &info).await;
    match verdict {
        Ok(()) => true,
        Err(unhealthy) => {
            shared.note_unhealthy(info.id, unhealthy);
            false
        }
    }
}
