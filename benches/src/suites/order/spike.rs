//! *The next spike*: what a pool that has shrunk has to dial when the load comes back.

use std::io;
use std::time::Duration;

use super::client::{Backends, Policy, burst, trickle};
use super::{Answer, Effort, client_runtime, millis, percentile, together};
use crate::findings::Table;
use crate::suites::backend::{Backend, Habits};

/// Callers of each spike.
const SIZE: usize = 50;

/// What a new connection costs before it can be used.
const HANDSHAKE: Duration = Duration::from_millis(20);

/// A spike, a calm with one request at a time, and a spike again. All policies at once.
pub(super) fn spike(effort: &Effort) -> io::Result<Answer> {
    let idle_timeout = Duration::from_millis(effort.pick(400, 1000));
    let [stack, reaped_stack, queue, reaped_queue] = Policy::all(idle_timeout);
    let cases = [
        (stack, 0),
        (reaped_stack, 0),
        (reaped_stack, SIZE / 2),
        (queue, 0),
        (reaped_queue, 0),
    ];
    let lives = cases.map(|(policy, min_idle)| live(policy, min_idle, idle_timeout));
    let mut table = Table::new(
        "The next spike",
        &[
            "policy",
            "open before it",
            "dials",
            "p50, ms",
            "the last caller, ms",
        ],
    );
    for row in client_runtime()?.block_on(together(lives)) {
        table.row(row?);
    }
    Ok(Answer {
        method: format!(
            "The next spike: {SIZE} callers at once, 2.5 idle timeouts of {} ms with a request every {} ms, {SIZE} callers at once \
             again, and when each of those had his connection; a new one takes {} ms to greet, and all that are wanted are \
             dialled at once.",
            idle_timeout.as_millis(),
            tick(idle_timeout).as_millis(),
            HANDSHAKE.as_millis()
        ),
        table,
        seen: "What a queue keeps open saves it the dials of the next spike; a stack is told how many to keep, by `min_idle`."
            .into(),
    })
}

/// A queue uses each of its connections again within half of the timeout.
fn tick(idle_timeout: Duration) -> Duration {
    idle_timeout / 100
}

async fn live(policy: Policy, min_idle: usize, idle_timeout: Duration) -> io::Result<Vec<String>> {
    let backend = Backend::start(Habits {
        handshake: HANDSHAKE,
        ..Habits::default()
    })?;
    let pool = policy.pool(Backends::of(std::slice::from_ref(&backend)), SIZE);
    pool.set_min_idle(min_idle);
    burst(&pool, SIZE).await;
    trickle(&pool, tick(idle_timeout), idle_timeout.mul_f64(2.5)).await;
    let (open, dialled) = (backend.open(), backend.accepted());
    let served = burst(&pool, SIZE).await;
    let name = match min_idle {
        0 => policy.name(),
        min_idle => format!("{}, min_idle {min_idle}", policy.name()),
    };
    Ok(vec![
        name,
        open.to_string(),
        (backend.accepted() - dialled).to_string(),
        millis(percentile(&served, 0.5)),
        millis(percentile(&served, 1.0)),
    ])
}
