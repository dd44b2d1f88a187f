//! Checks of `connect`.

use std::time::Duration;

use super::super::report::{Verdict, broken};
use super::super::subject::Subject;
use super::super::trial::{A_WHILE, Leaves, Outcome, Trial, USE_ONCE, tick};
use crate::clock;
use crate::manager::Manager;

/// More awaits than any handshake has.
const MOST_POLLS: usize = 1_000;

/// How long a caller waits for a server that is silent.
const PATIENCE: Duration = Duration::from_millis(250);

pub(super) async fn connects<M: Manager>(trial: &Trial<M>) -> Outcome {
    let connection = trial.connect().await?;
    trial.drop(connection);
    Ok(())
}

pub(super) async fn cancelled_leaves_nothing<M: Manager>(trial: &Trial<M>) -> Outcome {
    let mut connections = Vec::new();
    for leaves in Leaves::ALL {
        connections.push(dial_after_cancelled_ones(trial, leaves).await?);
    }
    let what = "a dial was dropped at each of its awaits";
    are_alone(trial, connections, what).await
}

/// The dial that is not dropped any more.
async fn dial_after_cancelled_ones<M: Manager>(
    trial: &Trial<M>,
    leaves: Leaves,
) -> Result<M::Connection, Verdict> {
    for polls in 0..MOST_POLLS {
        let dial = leaves.after(polls, trial.manager.connect());
        match clock::timeout(trial.subject.limit, dial).await {
            Ok(None) => {}
            Ok(Some(Ok(connection))) => return Ok(connection),
            Ok(Some(Err(error))) => return Err(broken("connect", format!("failed: {error}"))),
            Err(_) => return Err(broken("connect", trial.too_long("was not over"))),
        }
    }
    let seen = format!("was not over after {MOST_POLLS} polls");
    Err(broken("connect", seen))
}

pub(super) async fn silence_is_borne<M: Manager>(trial: &Trial<M>) -> Outcome {
    if !trial.subject.server.pause() {
        return Err(Verdict::NotAsked(
            "`Server::pause` says that this server cannot",
        ));
    }
    let paused = Paused(&trial.subject);
    let mut connections = Vec::new();
    // The kernel may answer for the server; then the dial was none that waits.
    if let Ok(dialled) = clock::timeout(PATIENCE, trial.manager.connect()).await {
        connections.extend(dialled);
    }
    drop(paused);
    connections.push(trial.dial().await?);
    let what = "the server did not answer, a dial was given up";
    are_alone(trial, connections, what).await
}

/// The server sees these connections and no others. It accepts one after the other, so whoever came before the last has
/// been seen by the time that this one is answered.
async fn are_alone<M: Manager>(
    trial: &Trial<M>,
    mut connections: Vec<M::Connection>,
    what: &str,
) -> Outcome {
    let expected = connections.len();
    if let Some(last) = connections.last_mut()
        && let Err(error) = trial.use_once(last).await
    {
        let seen = format!("failed on a new connection: {error}");
        return Err(broken(USE_ONCE, seen));
    }
    let mut are_alone = trial.until(|| trial.open() == expected).await;
    // Where nobody could be asked, the server may have counted one that had gone for the last.
    for _ in 0..A_WHILE / 5 {
        tick().await;
    }
    are_alone &= trial.open() == expected;
    if are_alone {
        return Ok(());
    }
    let open = trial.open();
    let seen = format!("{what}, and the server sees {open} connections where {expected} should be");
    Err(broken("connect", seen))
}

/// Resumes when dropped, also if the check ends by a panic.
struct Paused<'a, M: Manager>(&'a Subject<M>);

impl<M: Manager> Drop for Paused<'_, M> {
    fn drop(&mut self) {
        self.0.server.resume();
    }
}
