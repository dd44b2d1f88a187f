//! Checks of the way home: `recycle` and `reset`.

use std::task::Waker;
use std::time::Duration;

use super::super::report::{Verdict, broken};
use super::super::trial::{A_WHILE, ABANDON, Leaves, Outcome, Trial, USE_ONCE, tick};
use crate::clock;
use crate::manager::{Manager, Recycle};

/// More awaits than any request has.
const MOST_POLLS: usize = 1_000;

/// Users one after the other.
const ROUNDS: usize = 10;

pub(super) async fn order_is_kept<M: Manager>(trial: &Trial<M>) -> Outcome {
    let mut connection = trial.connect().await?;
    for round in 1..=ROUNDS {
        if let Err(error) = trial.use_once(&mut connection).await {
            return Err(broken(
                USE_ONCE,
                format!("user {round} of a connection failed: {error}"),
            ));
        }
        let judge = judge(trial, &mut connection).await;
        if !judge.keeps() {
            let method = judge.method();
            let seen = format!("gave a connection up that was used properly, after user {round}");
            return Err(broken(method, seen));
        }
        if trial.manager.idle_limit(&connection) == Some(Duration::ZERO) {
            let seen = format!(
                "lets a connection that was used properly lie idle for no time, after user {round}"
            );
            return Err(broken("idle_limit", seen));
        }
        // As the pool looks at it when it comes home and when it goes out.
        if trial
            .poll_dropped(&mut connection, Waker::noop())
            .is_ready()
        {
            let seen =
                format!("called a connection dropped that was used properly, after user {round}");
            return Err(broken("poll_dropped", seen));
        }
        if trial.is_dropped(&mut connection) {
            let seen =
                format!("called a connection dropped that was used properly, after user {round}");
            return Err(broken("is_dropped", seen));
        }
    }
    Ok(())
}

pub(super) async fn abandoned_is_not_kept<M: Manager>(trial: &Trial<M>) -> Outcome {
    let use_once = trial.subject.use_once.as_deref();
    let use_once = use_once.expect("without it this rule is not asked");
    let mut was_abandoned = false;
    for leaves in Leaves::ALL {
        for polls in 1..MOST_POLLS {
            let mut connection = trial.connect().await?;
            let cancelled = leaves.after(polls, trial.acting(USE_ONCE, use_once, &mut connection));
            match clock::timeout(trial.subject.limit, cancelled).await {
                Ok(None) => {}
                Ok(Some(Ok(()))) => break,
                Ok(Some(Err(error))) => return Err(broken(USE_ONCE, format!("failed: {error}"))),
                Err(_) => return Err(broken(USE_ONCE, trial.too_long("was not over"))),
            }
            was_abandoned = true;
            let how = format!("cancelled after poll {polls} of `use_once`");
            next_user_is_safe(trial, connection, &how).await?;
        }
    }
    if let Some(abandon) = trial.subject.abandon.as_deref() {
        let mut connection = trial.connect().await?;
        // It is meant to end badly.
        let _ = trial.act(ABANDON, abandon, &mut connection).await;
        was_abandoned = true;
        next_user_is_safe(trial, connection, "left in `abandon`").await?;
    }
    match was_abandoned {
        true => Ok(()),
        false => Err(Verdict::NotAsked(
            "`use_once` never waits, and there is no `abandon`",
        )),
    }
}

/// Whether the next user of a connection that was left half way gets the right answer, or another connection.
///
/// The probe is not asked in between: it might see the answer that came too late, or not yet.
async fn next_user_is_safe<M: Manager>(
    trial: &Trial<M>,
    mut connection: M::Connection,
    how: &str,
) -> Outcome {
    let judge = judge(trial, &mut connection).await;
    if judge.keeps() {
        let method = judge.method();
        if let Err(error) = trial.use_once(&mut connection).await {
            let seen = format!("kept a connection {how}, and the next user failed: {error}");
            return Err(broken(method, seen));
        }
        // He may have taken the answer to the former question for his own, which leaves his for the next one.
        for _ in 0..A_WHILE {
            if trial.is_dropped(&mut connection) {
                let seen = format!(
                    "kept a connection {how}, and after the next user there was an answer left over"
                );
                return Err(broken(method, seen));
            }
            tick().await;
        }
    }
    trial.drop(connection);
    Ok(())
}

/// Who decides what becomes of a connection, and how.
enum Judge {
    Recycle(Recycle),
    Reset(bool),
}

impl Judge {
    fn keeps(&self) -> bool {
        matches!(self, Self::Recycle(Recycle::Keep) | Self::Reset(true))
    }

    fn method(&self) -> &'static str {
        match self {
            Self::Recycle(_) => "recycle",
            Self::Reset(_) => "reset",
        }
    }
}

async fn judge<M: Manager>(trial: &Trial<M>, connection: &mut M::Connection) -> Judge {
    match trial.manager.recycle(connection) {
        Recycle::Reset => {
            let reset = clock::timeout(trial.subject.limit, trial.manager.reset(connection)).await;
            Judge::Reset(matches!(reset, Ok(Ok(()))))
        }
        decided => Judge::Recycle(decided),
    }
}
