//! *Keep-alive*: a server that closes idle connections, and a client that goes quiet and comes back.

use std::collections::BTreeMap;

use pool_core::Order::Lifo;
use serde_json::json;
use tokio::time::sleep;

use super::{Case, Means, Plan};
use crate::client::Client;
use crate::clock::millis;
use crate::policy::Policy;
use crate::report::{PolicyReport, or_unknown};
use crate::server::Habits;

const NAME: &str = "keep-alive";

pub(super) fn plan(means: &Means) -> Plan {
    // Five seconds is what servers ship with; everything here is measured in that unit.
    let own = means.scale.millis(1800, 450);
    let patience = means.patience(own);
    let late = patience.most.mul_f64(1.7);
    let early = patience.least.mul_f64(0.6);
    let (wait, quiet) = (patience.most.mul_f64(1.2), patience.most.mul_f64(1.1));
    let rest = patience.least.mul_f64(0.3);
    let policies = [
        Policy::nothing(Lifo),
        Policy::probe(Lifo),
        Policy::reap(Lifo, late),
        Policy::reap(Lifo, early).named(
            "reap-first",
            "closed by age before the server does: you must know its timeout",
        ),
        Policy::probe_and_reap(Lifo, late),
        Policy::watch(Lifo),
        Policy::ours(Lifo, late),
    ];
    let size = means.connections(20, policies.len());
    let cases = policies.map(|policy| {
        let habits = Habits::closing_idle_after(Some(patience.most));
        Case::new(policy, habits, move |client| async move {
            let Client { tally, .. } = &*client;
            let pool = client.pool(size);
            client.burst(&pool, size).await;
            sleep(wait).await;
            // Every FIN has arrived; nobody wants anything.
            tally.stay_quiet(quiet).await;
            client.burst(&pool, size).await;
            client.burst(&pool, size).await;
            sleep(rest).await;
            vec![pool]
        })
    });
    Plan {
        name: NAME,
        title: "Keep-alive",
        setup: format!(
            "{size} connections are used at once. {}{}. The client stays quiet for {} ms and then comes back with \
             {size} requests at once, twice.",
            patience.in_words(),
            match means.foreign {
                None => " (5 s in the wild, scaled down)",
                Some(_) => "",
            },
            (wait + quiet).as_millis(),
        ),
        close_wait_at_server: false,
        takes: wait + quiet + rest,
        parameters: BTreeMap::from([
            ("connections", json!(size)),
            ("server_idle_timeout_ms", json!(millis(patience.least))),
            ("idle_timeout_ms", json!(millis(late))),
            ("idle_timeout_first_ms", json!(millis(early))),
        ]),
        cases: cases.into(),
        seen,
    }
}

fn seen(policies: &[PolicyReport]) -> String {
    let [nothing, probe, ours] = ["nothing", "probe", "watch+reap"]
        .map(|name| PolicyReport::find(policies, "lifo", name).expect("planned above"));
    format!(
        "Without a look at them, {} dead connections were handed out. A probe at checkout hands out {}, yet {} \
         sockets lay in CLOSE_WAIT until somebody asked. The watcher closed each within {} of its FIN and \
         handed out {} dead.",
        nothing.dead_handed_out,
        probe.dead_handed_out,
        or_unknown(probe.close_wait_max),
        ours.slowest_close(),
        ours.dead_handed_out,
    )
}
