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

/// Holds the pool only while it looks.
async fn watch<M: Manager>(pool: &Remote<M>) {
    while let Some(shared) = pool.upgrade() {
        let leaks = shared.leaks.as_ref().expect("there is something to watch");
        let (events, next) = leaks.overdue(shared.clock.exact());
        for event in events {
            shared.tell(|| event);
        }
        match next {
            Some(next) => {
                let sleep = shared.clock.sleep_until(next);
                drop(shared);
                match sleep {
                    Some(sleep) => sleep.await,
                    None => std::future::pending().await,
                }
            }
            None => leaks.begun().await,
        }
    }
}
