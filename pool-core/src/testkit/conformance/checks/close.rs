//! Checks of `close` and of the connection's destructor.

use super::super::report::broken;
use super::super::trial::{DROP, Leaves, Outcome, Trial, tick};
use crate::clock;
use crate::manager::Manager;

/// More awaits than any farewell has.
const MOST_POLLS: usize = 1_000;

pub(super) async fn close_closes<M: Manager>(trial: &Trial<M>) -> Outcome {
    // The pool polls each at least once.
    for polls in 1..MOST_POLLS {
        let connection = trial.connect().await?;
        let close = Leaves::AtOnce.after(polls, trial.manager.close(connection));
        let Ok(closed) = clock::timeout(trial.subject.limit, close).await else {
            return Err(broken("close", trial.too_long("was not over")));
        };
        if closed.is_none() {
            if trial.until(|| trial.open() == 0).await {
                continue;
            }
            let seen = format!("given up after poll {polls}, it left the connection open");
            return Err(broken("close", seen));
        }
        // The pool gives the slot away in this moment.
        if !trial.frozen_until(|| trial.open() == 0) {
            let seen = "it was over, and the connection still open, waiting for some other task to close it";
            return Err(broken("close", seen));
        }
        return of_a_dead_connection(trial).await;
    }
    Err(broken(
        "close",
        format!("was not over after {MOST_POLLS} polls"),
    ))
}

/// Most connections that are closed are dead already.
async fn of_a_dead_connection<M: Manager>(trial: &Trial<M>) -> Outcome {
    let connection = trial.connect().await?;
    trial.hang_up();
    // Long enough, most of the time, for the end to arrive; it is to be closed with or without.
    for _ in 0..5 {
        tick().await;
    }
    let close = trial.manager.close(connection);
    if clock::timeout(trial.subject.limit, close).await.is_err() {
        let seen = "of a connection that the server had hung up on was not over";
        return Err(broken("close", trial.too_long(seen)));
    }
    match trial.frozen_until(|| trial.open() == 0) {
        true => Ok(()),
        false => Err(broken(
            "close",
            "it was over, and a connection that the server had hung up on is still open",
        )),
    }
}

pub(super) async fn drop_closes<M: Manager>(trial: &Trial<M>) -> Outcome {
    let connection = trial.connect().await?;
    trial.drop(connection);
    match trial.until(|| trial.open() == 0).await {
        true => Ok(()),
        false => Err(broken(
            DROP,
            trial.too_long("the server still sees the connection"),
        )),
    }
}
