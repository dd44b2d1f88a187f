//! *Burst on a stack*: what a burst leaves at the bottom of a LIFO stack, why a queue cures it, and what that costs.

use std::collections::BTreeMap;
use std::time::Duration;

use pool_core::Order::{Fifo, Lifo};
use serde_json::json;
use tokio::time::interval;

use super::{Case, Means, Plan};
use crate::clock::{millis, now};
use crate::policy::Policy;
use crate::report::{PolicyReport, or_unknown};
use crate::server::Habits;

const NAME: &str = "burst-on-a-stack";

pub(super) fn plan(means: &Means) -> Plan {
    let own = means.scale.millis(1000, 450);
    let patience = means.patience(own);
    let is_foreign = means.foreign.is_some();
    let traffic = means.scale.millis(8000, 2200);
    let traffic = match is_foreign {
        true => traffic.max(patience.most.mul_f64(2.5)),
        false => traffic,
    };
    let tick = means.scale.millis(50, 25);
    // Shorter than the server's patience: what is measured is the cost of healthy idle connections.
    let quiet = patience.least.mul_f64(0.3);
    let policies = |reap: Duration| {
        let mut policies = vec![
            (Policy::nothing(Lifo), true),
            (Policy::probe(Lifo), true),
            (Policy::reap(Lifo, reap), true),
            (Policy::probe_and_reap(Lifo, reap), true),
            (Policy::watch(Lifo), true),
            (Policy::ours(Lifo, reap), true),
            (Policy::nothing(Fifo), true),
            (Policy::probe(Fifo), true),
            (Policy::ours(Fifo, reap), true),
        ];
        let patient = [
            (
                Policy::ours(Lifo, reap).named(
                    "patient-server",
                    "this pool's default, and a server that never closes",
                ),
                false,
            ),
            (
                Policy::ours(Fifo, reap).named(
                    "patient-server",
                    "the same as a queue, and a server that never closes",
                ),
                false,
            ),
        ];
        // Another server has the one patience it has.
        if !is_foreign {
            policies.extend(patient);
        }
        policies
    };
    let size = means.connections(50, policies(Duration::ZERO).len());
    // Every connection of a queue is used again within this time, hence none of them ever reaches the age.
    let rotation = tick * u32::try_from(size).expect("a pool's size");
    let reap = (quiet + rotation)
        .mul_f64(1.2)
        .max(patience.most.mul_f64(1.5));
    let cases = policies(reap).into_iter().map(|(policy, closes)| {
        let habits = Habits::closing_idle_after(closes.then_some(patience.most));
        Case::new(policy, habits, move |client| async move {
            let pool = client.pool(size);
            client.burst(&pool, size).await;
            client.tally.stay_quiet(quiet).await;
            let end = now() + traffic;
            let mut clock = interval(tick);
            while now() < end {
                clock.tick().await;
                client.ask(&pool).await;
            }
            vec![pool]
        })
    });
    Plan {
        name: NAME,
        title: "Burst on a stack",
        setup: format!(
            "A burst needs {size} connections; soon after it, one checkout every {} ms is all there is. {}; pools that \
             reap do so after {} ms, which is longer than a queue takes to use every connection once.",
            tick.as_millis(),
            patience.in_words(),
            reap.as_millis(),
        ),
        close_wait_at_server: false,
        takes: traffic + quiet,
        parameters: BTreeMap::from([
            ("connections", json!(size)),
            ("checkout_every_ms", json!(millis(tick))),
            ("server_idle_timeout_ms", json!(millis(patience.least))),
            ("idle_timeout_ms", json!(millis(reap))),
            ("traffic_ms", json!(millis(traffic))),
        ]),
        cases: cases.collect(),
        seen,
    }
}

fn seen(policies: &[PolicyReport]) -> String {
    let find = |order, name| PolicyReport::find(policies, order, name);
    let planned = |order, name| find(order, name).expect("planned above");
    let probe = planned("lifo", "probe");
    let ours = planned("lifo", "watch+reap");
    let queue = planned("fifo", "probe");
    let mut seen = format!(
        "A probe never looks below the top of a stack: {} sockets were in CLOSE_WAIT at the end. The watcher left {}, \
         each closed within {}. A queue with a probe left {}, but kept {} connections open for one request at a \
         time, where the watched stack kept {}.",
        or_unknown(probe.left()),
        or_unknown(ours.left()),
        ours.slowest_close(),
        or_unknown(queue.left()),
        or_unknown(queue.open_at_end),
        or_unknown(ours.open_at_end),
    );
    let patient = "patient-server";
    if let (Some(stack), Some(queue)) = (find("lifo", patient), find("fifo", patient)) {
        seen.push_str(&format!(
            " If the server never closes, a queue never shrinks, whatever its idle timeout: {} were open at the end, \
             {} of the stack's.",
            or_unknown(queue.open_at_end),
            or_unknown(stack.open_at_end),
        ));
    }
    seen
}
