//! Checks of `is_dropped` and `poll_dropped`.

use std::task::Waker;

use super::super::report::{Verdict, broken};
use super::super::trial::{
    A_WHILE, Outcome, Trial, USE_ONCE, Wakes, tick, with_budget_spent, without_budget,
};
use crate::manager::Manager;

pub(super) async fn fresh_is_alive<M: Manager>(trial: &Trial<M>) -> Outcome {
    let mut connection = trial.connect().await?;
    // What a server sends by itself comes a little later.
    for _ in 0..A_WHILE {
        if trial.is_dropped(&mut connection) {
            return Err(broken("is_dropped", "said true of a new connection"));
        }
        // Either answer is right, but there must be one.
        let _ = trial.manager.is_unsure(&mut connection);
        if trial
            .poll_dropped(&mut connection, Waker::noop())
            .is_ready()
        {
            return Err(broken("poll_dropped", "was ready on a new connection"));
        }
        tick().await;
    }
    Ok(())
}

pub(super) async fn looking_changes_nothing<M: Manager>(trial: &Trial<M>) -> Outcome {
    const LOOKS: usize = 1_000;

    let mut connection = trial.connect().await?;
    if let Err(error) = trial.use_once(&mut connection).await {
        return Err(broken(
            USE_ONCE,
            format!("failed on a new connection: {error}"),
        ));
    }
    for look in 1..=LOOKS {
        if trial.is_dropped(&mut connection) {
            let seen = format!("said true of a healthy connection at look {look} of {LOOKS}");
            return Err(broken("is_dropped", seen));
        }
    }
    if let Err(error) = trial.use_once(&mut connection).await {
        let seen = format!("after {LOOKS} looks the connection works no more: {error}");
        return Err(broken("is_dropped", seen));
    }
    match trial.open() {
        1 => Ok(()),
        open => Err(broken(
            "is_dropped",
            format!("after {LOOKS} looks at a connection the server sees {open}"),
        )),
    }
}

pub(super) async fn hang_up_wakes<M: Manager>(trial: &Trial<M>) -> Outcome {
    let mut connection = trial.connect().await?;
    let (_, former) = Wakes::new();
    let (wakes, latest) = Wakes::new();
    for waker in [&former, &latest] {
        if trial.poll_dropped(&mut connection, waker).is_ready() {
            return Err(broken("poll_dropped", "was ready on a new connection"));
        }
    }
    trial.hang_up();
    is_woken_and_ready(trial, &mut connection, (&wakes, &latest), "hung up").await
}

pub(super) async fn nothing_wakes_nobody<M: Manager>(trial: &Trial<M>) -> Outcome {
    let mut connection = trial.connect().await?;
    let (wakes, waker) = Wakes::new();
    let mut for_nothing = 0;
    for _ in 0..A_WHILE {
        let before = wakes.count();
        if trial.poll_dropped(&mut connection, &waker).is_ready() {
            return Err(broken("poll_dropped", "was ready on a healthy connection"));
        }
        tick().await;
        for_nothing += u32::from(wakes.count() > before);
    }
    // A server that sends something legal wakes a few times.
    match for_nothing > A_WHILE / 2 {
        true => Err(broken(
            "poll_dropped",
            format!("after {for_nothing} of {A_WHILE} polls it woke, and nothing had happened"),
        )),
        false => Ok(()),
    }
}

pub(super) async fn dead_stays_dead<M: Manager>(trial: &Trial<M>) -> Outcome {
    let mut connection = trial.connect().await?;
    trial.hang_up();
    is_and_stays_dropped(trial, &mut connection, 100, "the server hung up").await?;
    // The watch, too, may have asked the socket something that it tells only once.
    let is_ready = |connection: &mut _| trial.poll_dropped(connection, Waker::noop()).is_ready();
    if trial.subject.is_watched() && !trial.until(|| is_ready(&mut connection)).await {
        let seen = "the server hung up, `is_dropped` knows it, and it is pending";
        return Err(broken("poll_dropped", seen));
    }
    let what = "the server hung up, and `poll_dropped` said so";
    is_and_stays_dropped(trial, &mut connection, 100, what).await
}

pub(super) async fn kernel_is_asked<M: Manager>(trial: &Trial<M>) -> Outcome {
    let mut connection = trial.connect().await?;
    // Whatever the handshake left to be heard is heard now.
    tick().await;
    trial.hang_up();
    match trial.frozen_until(|| trial.is_dropped(&mut connection)) {
        true => Ok(()),
        false => Err(broken(
            "is_dropped",
            trial.too_long("the server hung up, the reactor had no turn, and it said false"),
        )),
    }
}

pub(super) async fn unasked_bytes_are_noticed<M: Manager>(trial: &Trial<M>) -> Outcome {
    let mut connection = trial.connect().await?;
    let (wakes, waker) = Wakes::new();
    if trial.poll_dropped(&mut connection, &waker).is_ready() {
        return Err(broken("poll_dropped", "was ready on a new connection"));
    }
    if !trial.speak() {
        return Err(Verdict::NotAsked(
            "`Server::speak` says that this server cannot",
        ));
    }
    let what = "sent what nobody asked for";
    if trial.subject.is_watched() {
        is_woken_and_ready(trial, &mut connection, (&wakes, &waker), what).await?;
    }
    let seen = format!("the server {what}");
    is_and_stays_dropped(trial, &mut connection, LOOKS_OF_THE_POOL, &seen).await
}

pub(super) async fn budget_is_no_excuse<M: Manager>(trial: &Trial<M>) -> Outcome {
    let mut connection = trial.connect().await?;
    if with_budget_spent(|| trial.is_dropped(&mut connection)).await {
        let seen = "said true of a healthy connection, to a task whose budget was spent";
        return Err(broken("is_dropped", seen));
    }
    trial.hang_up();
    let mut told = Vec::new();
    let noticed = trial.until_asked(async || {
        // The end may come between two looks, and a probe may forget it; so the one that counts is between two others.
        told = with_budget_spent(|| {
            let mut look = || trial.is_dropped(&mut connection);
            let (before, spent) = (without_budget(&mut look), look());
            vec![before, spent, without_budget(look)]
        })
        .await;
        told[0]
    });
    if !noticed.await {
        let seen = trial.too_long("the server hung up, and it said false");
        return Err(broken("is_dropped", seen));
    }
    if told == [true, false, true] {
        let seen = "the server hung up, and it said false to a task whose budget was spent; and true before and after";
        return Err(broken("is_dropped", seen));
    }
    if !trial.subject.is_watched() {
        return Ok(());
    }
    let (wakes, waker) = Wakes::new();
    let polled = with_budget_spent(|| trial.poll_dropped(&mut connection, &waker)).await;
    if polled.is_ready() || trial.until(|| wakes.count() > 0).await {
        return Ok(());
    }
    Err(broken(
        "poll_dropped",
        "a task whose budget was spent was told pending of a connection that the server had hung up on, and was not \
         woken",
    ))
}

/// How often the pool may look at a connection that it is to give up: when it has come, when it is taken, and when the
/// watch has stirred. A probe that eats one of many bytes with each look is good enough for that.
const LOOKS_OF_THE_POOL: usize = 3;

/// `is_dropped` says true in time, and so many times more.
async fn is_and_stays_dropped<M: Manager>(
    trial: &Trial<M>,
    connection: &mut M::Connection,
    looks: usize,
    what: &str,
) -> Outcome {
    if !trial.until(|| trial.is_dropped(connection)).await {
        let seen = trial.too_long(&format!("{what}, and it said false"));
        return Err(broken("is_dropped", seen));
    }
    for look in 1..looks {
        if !trial.is_dropped(connection) {
            let seen = format!("{what}, it said true, and later false");
            return Err(broken("is_dropped", seen));
        }
        if look % 10 == 0 {
            tick().await;
        }
    }
    Ok(())
}

/// The waker of a connection that was pending is called with no other poll, and then it is ready.
async fn is_woken_and_ready<M: Manager>(
    trial: &Trial<M>,
    connection: &mut M::Connection,
    (wakes, waker): (&Wakes, &Waker),
    what: &str,
) -> Outcome {
    if !trial.until(|| wakes.count() > 0).await {
        let seen = trial.too_long(&format!("the server {what}, and nobody was woken"));
        return Err(broken("poll_dropped", seen));
    }
    // It may have been woken by something else.
    match trial
        .until(|| trial.poll_dropped(connection, waker).is_ready())
        .await
    {
        true => Ok(()),
        false => {
            let seen = trial.too_long(&format!(
                "the server {what}, it woke, and was still pending"
            ));
            Err(broken("poll_dropped", seen))
        }
    }
}
