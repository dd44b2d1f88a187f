//! *After a burst*: how quickly the pool lets go of connections that nobody needs any more.

use std::io;
use std::time::Duration;

use super::client::{Backends, Policy, burst, trickle};
use super::{Answer, Effort, client_runtime, together};
use crate::findings::Table;
use crate::suites::backend::{Backend, Habits};

/// Callers of the burst.
const SIZE: usize = 50;

/// When it is counted, in idle timeouts since the burst.
const MOMENTS: [f64; 3] = [1.25, 2.5, 5.0];

/// A burst, then one request at a time, often or seldom; the server never closes. All policies at once.
pub(super) fn shrink(effort: &Effort) -> io::Result<Answer> {
    let idle_timeout = Duration::from_millis(effort.pick(400, 1000));
    // A queue uses each of its connections again within half of the timeout, or within five halves of it.
    let [often, seldom] = [100, 20].map(|part| idle_timeout / part);
    let mut lives = Vec::new();
    for tick in [often, seldom] {
        for policy in Policy::all(idle_timeout) {
            lives.push(live(policy, tick, idle_timeout));
        }
    }
    let mut table = Table::new(
        "Connections kept open after a burst",
        &[
            "policy",
            "requests/s",
            "at once",
            "after 1.25 timeouts",
            "2.5",
            "5",
        ],
    );
    for row in client_runtime()?.block_on(together(lives)) {
        table.row(row?);
    }
    Ok(Answer {
        method: format!(
            "After a burst: {SIZE} callers at once, then one request at a time; the server never closes, and counts what is open \
             so many idle timeouts ({} ms) after the burst.",
            idle_timeout.as_millis()
        ),
        table,
        seen: format!(
            "A reaped stack keeps open what is in use at once; a reaped queue what it uses within one idle timeout, so {} at {} \
             requests a second and all {SIZE} when there is more traffic; neither order shrinks without a timeout.",
            idle_timeout.div_duration_f64(seldom),
            rate(seldom),
        ),
    })
}

async fn live(policy: Policy, tick: Duration, idle_timeout: Duration) -> io::Result<Vec<String>> {
    let backend = Backend::start(Habits::default())?;
    let pool = policy.pool(Backends::of(std::slice::from_ref(&backend)), SIZE);
    burst(&pool, SIZE).await;
    let mut row = vec![policy.name(), rate(tick), backend.open().to_string()];
    let mut before = 0.0;
    for moment in MOMENTS {
        trickle(&pool, tick, idle_timeout.mul_f64(moment - before)).await;
        before = moment;
        row.push(backend.open().to_string());
    }
    Ok(row)
}

/// How many requests a second that makes.
fn rate(tick: Duration) -> String {
    format!("{:.0}", Duration::from_secs(1).div_duration_f64(tick))
}
