//! Checks of a whole pool over the manager.

use std::panic::resume_unwind;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use tokio::task::JoinSet;

use super::super::observed::Observed;
use super::super::report::{Verdict, broken};
use super::super::trial::{Outcome, Trial, USE_ONCE, frozen_until, tick};
use crate::error::{CheckoutError, ConnectError, ConnectFailure};
use crate::manager::Manager;
use crate::pool::Pool;
use crate::pooled::{OwnedPooled, Pooled};

const SIZE: usize = 4;
const TASKS: usize = 100;
const USES: usize = 3;

pub(super) async fn evicts<M: Manager>(trial: &Trial<M>) -> Outcome {
    let pool = pool(trial, trial.another_manager());
    fill(trial, &pool).await?;
    trial.hang_up();
    if trial.subject.is_watched() {
        if !trial.until(|| pool.status().idle == 0).await {
            let idle = pool.status().idle;
            let seen =
                format!("the server hung up on {SIZE} idle connections, and {idle} are still idle");
            return Err(broken("poll_dropped", trial.too_long(&seen)));
        }
        if !trial.until(|| trial.open() == 0).await {
            let open = trial.open();
            let seen = format!("the pool gave {SIZE} connections up, and {open} are still open");
            return Err(broken("close", trial.too_long(&seen)));
        }
    }
    let mut error = String::new();
    // Whoever is not watched may be handed out dead, for as long as nobody has seen the end.
    for _ in 0..=SIZE {
        let mut guard = checkout(&pool).await?;
        match trial.use_once(&mut guard).await {
            Ok(()) => return Ok(()),
            Err(what) => error = what,
        }
        Pooled::discard(guard);
    }
    let seen = format!("after a hang-up the pool brings no connection that works: {error}");
    Err(broken("is_dropped", seen))
}

pub(super) async fn max_size_holds<M: Manager>(trial: &Trial<M>) -> Outcome {
    let most = Arc::new(AtomicUsize::new(0));
    let manager = {
        let (most, open, limit) = (Arc::clone(&most), trial.count(), trial.subject.limit);
        trial.another_manager().before_dial(move || {
            // Room for one more there is now, or there will be without help from any task of ours: what the server has
            // not seen yet it sees while we stand still.
            if most.load(Ordering::SeqCst) == 0 && !frozen_until(limit, || open() < SIZE) {
                most.store(open(), Ordering::SeqCst);
            }
        })
    };
    let pool = pool(trial, manager);
    let outcome = crowd(trial, &pool).await;
    match most.load(Ordering::SeqCst) {
        0 => outcome,
        // Whoever did not get a connection meanwhile was kept waiting by the check.
        open => Err(broken(
            "close",
            format!(
                "the server saw {open} connections of at most {SIZE}, and one more was dialled"
            ),
        )),
    }
}

/// Many tasks that return and discard connections, for as long as somebody is served now and then: how long each of
/// them waits is up to the machine.
async fn crowd<M: Manager>(trial: &Trial<M>, pool: &Pool<Observed<M>>) -> Outcome {
    let served = Arc::new(AtomicUsize::new(0));
    let mut tasks = JoinSet::new();
    for task in 0..TASKS {
        let (pool, served) = (pool.clone(), Arc::clone(&served));
        tasks.spawn(async move {
            for round in 0..USES {
                let checkout = pool.checkout_owned().without_timeout().await;
                let guard = checkout.map_err(|error| no_connection(&pool, &error))?;
                served.fetch_add(1, Ordering::SeqCst);
                tokio::task::yield_now().await;
                match (task + round) % 2 {
                    0 => OwnedPooled::discard(guard),
                    _ => drop(guard),
                }
            }
            Ok(())
        });
    }
    loop {
        let before = served.load(Ordering::SeqCst);
        let is_served = || served.load(Ordering::SeqCst) > before;
        if before == TASKS * USES {
            return Ok(());
        }
        if !trial.until(is_served).await {
            break;
        }
    }
    while let Some(task) = tasks.try_join_next() {
        task.unwrap_or_else(|panicked| resume_unwind(panicked.into_panic()))?;
    }
    // Nobody gets anything, so this ends at once; it knows why.
    let Err(error) = pool.checkout().timeout(Duration::ZERO).await else {
        return Ok(());
    };
    let mut seen = trial.too_long("nobody of a crowd was served");
    seen = format!("{seen} ({})", pool.status());
    if let Some(failure) = last_failure(&error) {
        seen = format!("{seen}; {failure}");
    }
    Err(broken(culprit(pool, &error), seen))
}

pub(super) async fn dropped_leaves_nothing<M: Manager>(trial: &Trial<M>) -> Outcome {
    let pool = pool(trial, trial.another_manager());
    let mut guards = Vec::new();
    for _ in 1..SIZE {
        guards.push(checkout_owned(&pool).await?);
    }
    // Some idle, some in use, and one being dialled.
    let late = tokio::spawn(pool.checkout_owned());
    for _ in 0..2 {
        tokio::task::yield_now().await;
    }
    guards.truncate(SIZE / 2);
    drop(pool);
    drop(late);
    tick().await;
    drop(guards);
    match trial.until(|| trial.open() == 0).await {
        true => Ok(()),
        false => {
            let open = trial.open();
            let seen = format!("the pool is gone, and {open} of its connections are still open");
            Err(broken("close", trial.too_long(&seen)))
        }
    }
}

fn pool<M: Manager>(trial: &Trial<M>, manager: Observed<M>) -> Pool<Observed<M>> {
    let limit = trial.subject.limit;
    Pool::builder(manager)
        .max_size(SIZE)
        .max_connecting(SIZE)
        .checkout_timeout(limit)
        .connect_timeout(limit)
        // Whoever does not close in time is to be seen.
        .close_timeout(Duration::MAX)
        .backoff(Duration::from_millis(1), Duration::from_millis(10))
        .build()
        .expect("these settings make sense, and this is a runtime")
}

/// Has all connections of the pool idle, each used once.
async fn fill<M: Manager>(trial: &Trial<M>, pool: &Pool<Observed<M>>) -> Outcome {
    let mut guards = Vec::new();
    for _ in 0..SIZE {
        let mut guard = checkout(pool).await?;
        if let Err(error) = trial.use_once(&mut guard).await {
            return Err(broken(
                USE_ONCE,
                format!("failed on a new connection: {error}"),
            ));
        }
        guards.push(guard);
    }
    drop(guards);
    match trial.until(|| pool.status().idle == SIZE).await {
        true => Ok(()),
        false => {
            let idle = pool.status().idle;
            let seen = format!("of {SIZE} connections that were given back {idle} are idle");
            Err(broken("recycle", trial.too_long(&seen)))
        }
    }
}

async fn checkout<M: Manager>(
    pool: &Pool<Observed<M>>,
) -> Result<Pooled<'_, Observed<M>>, Verdict> {
    let checkout = pool.checkout().await;
    checkout.map_err(|error| no_connection(pool, &error))
}

async fn checkout_owned<M: Manager>(
    pool: &Pool<Observed<M>>,
) -> Result<OwnedPooled<Observed<M>>, Verdict> {
    let checkout = pool.checkout_owned().await;
    checkout.map_err(|error| no_connection(pool, &error))
}

fn no_connection<M: Manager>(pool: &Pool<Observed<M>>, error: &CheckoutError<M::Error>) -> Verdict {
    broken(culprit(pool, error), format!("a checkout failed: {error}"))
}

/// Who is to blame for a checkout that failed.
fn culprit<M: Manager>(pool: &Pool<Observed<M>>, error: &CheckoutError<M::Error>) -> &'static str {
    match last_failure(error).map(|failure| &*failure.error) {
        Some(ConnectError::Dropped) => "is_dropped",
        _ if pool.status().closing > 0 => "close",
        _ => "connect",
    }
}

fn last_failure<E>(error: &CheckoutError<E>) -> Option<&ConnectFailure<E>> {
    match error {
        CheckoutError::Timeout(timeout) => timeout.last_connect_error.as_ref(),
        CheckoutError::Connect(failure) => Some(failure),
        _ => None,
    }
}
