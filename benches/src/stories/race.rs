//! *The race*: the server closes at the moment the client sends.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use pool_core::Order::Lifo;
use serde_json::json;
use tokio::task::JoinSet;
use tokio::time::sleep;

use super::{Case, Means, Plan};
use crate::clock::{millis, now};
use crate::policy::Policy;
use crate::report::PolicyReport;
use crate::server::Habits;

const NAME: &str = "race";
const WORKERS: usize = 8;

pub(super) fn plan(means: &Means) -> Plan {
    let lasts = means.scale.millis(5000, 1200);
    let server_idle = Duration::from_millis(40);
    let early = Duration::from_millis(25);
    let late = Duration::from_millis(80);
    let quiet = means.scale.millis(400, 150);
    let watch_alone = Policy {
        probe: false,
        ..Policy::watch(Lifo)
    };
    let policies = [
        Policy::nothing(Lifo),
        Policy::probe(Lifo),
        watch_alone.named("watch-alone", "the watcher without the probe"),
        Policy::watch(Lifo),
        Policy::ours(Lifo, late),
        Policy::ours(Lifo, early).named(
            "reap-first",
            "the default with an idle timeout below the server's",
        ),
    ];
    let cases = policies.map(|policy| {
        let habits = Habits::closing_idle_after(Some(server_idle));
        Case::new(policy, habits, move |client| async move {
            let end = now() + lasts;
            let mut workers = JoinSet::new();
            for worker in 0..WORKERS {
                let client = Arc::clone(&client);
                workers.spawn(async move {
                    // A pool each: what is measured is one connection against one server's clock.
                    let pool = client.pool(1);
                    for round in 0.. {
                        if now() > end {
                            break;
                        }
                        client.ask_slowly(&pool, Duration::from_millis(1)).await;
                        sleep(server_idle + jitter(worker, round) - Duration::from_millis(5)).await;
                    }
                    pool
                });
            }
            let pools = workers.join_all().await;
            client.tally.stay_quiet(quiet).await;
            pools
        })
    });
    Plan {
        name: NAME,
        title: "The race",
        setup: format!(
            "The server closes a connection {} ms after its last answer. {WORKERS} clients check out and send at \
             about that moment, from 5 ms before it to 5 ms after, and take a millisecond between the checkout and \
             the first byte. A request that fails is not sent again.",
            server_idle.as_millis()
        ),
        close_wait_at_server: false,
        takes: lasts + quiet,
        parameters: BTreeMap::from([
            ("workers", json!(WORKERS)),
            ("server_idle_timeout_ms", json!(millis(server_idle))),
            ("idle_timeout_ms", json!(millis(late))),
            ("idle_timeout_first_ms", json!(millis(early))),
            ("lasts_ms", json!(millis(lasts))),
        ]),
        cases: cases.into(),
        seen,
    }
}

/// Between 0 and 10 ms, the same in every run.
fn jitter(worker: usize, round: usize) -> Duration {
    let spread = (round * 7 + worker * 3) % 11;
    Duration::from_millis(spread.try_into().expect("below 11"))
}

fn seen(policies: &[PolicyReport]) -> String {
    let find = |name| PolicyReport::find(policies, "lifo", name).expect("planned above");
    let nothing = find("nothing");
    let ours = find("watch+reap");
    let first = find("reap-first");
    format!(
        "Without a look, {} of {} requests were lost, {} of them on connections that were dead already. The probe and \
         the watcher hand out {} dead, and still lost {}: the server closed between checkout and request, which no \
         look can foresee. Closing before the server does lost {}, for {} dials instead of {}.",
        nothing.requests_lost,
        nothing.requests,
        nothing.dead_handed_out,
        ours.dead_handed_out,
        ours.requests_lost,
        first.requests_lost,
        first.dialled,
        ours.dialled,
    )
}
