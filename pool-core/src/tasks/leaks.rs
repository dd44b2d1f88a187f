//! Warns of connections that are held for too long.

use crate::manager::Manager;
use crate::shared::Shared;
use crate::tasks::{Remote, unless};
use std::sync::Arc;

pub(crate) fn spawn<M: Manager>(shared: &Arc<Shared<M>>) {
    let (stopped, pool) = (shared.stopped(), Remote::new(shared));
    shared.runtime.spawn(async move {
        unless(stopped, watch(&pool)).await;
    });
}

/// Does not keep the pool from being dropped while anybody holds a connection.
async fn watch<M: Manager>(pool: &Remote<M>) {
    while let Some(shared) = pool.upgrade() {
        let leaks = shared.leaks.as_ref().expect("there is something to watch");
        match leaks.overdue(shared.clock.exact()) {
            Ok(event) => shared.tell(|| event),
            Err(Some(next)) => {
                let sleep = shared.clock.sleep_until(next);
                drop(shared);
                match sleep {
                    Some(sleep) => sleep.await,
                    None => std::future::pending().await,
                }
            }
            Err(None) => leaks.begun().await,
        }
    }
}
