//! *Slow acceptor*: a kernel that completes handshakes for a server that sleeps, and clients that give up and dial
//! again.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use pool_core::Order::Lifo;
use pool_core::{Manager, OwnedPooled};
use serde_json::json;
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};

use super::{Case, Kept, Means, Plan};
use crate::client::{Client, build};
use crate::clock::{millis, now};
use crate::policy::Policy;
use crate::report::{PolicyReport, or_unknown};
use crate::server::Habits;

const NAME: &str = "slow-acceptor";

pub(super) fn plan(means: &Means) -> Plan {
    let lasts = means.scale.millis(9000, 2100);
    let pause = means.scale.millis(200, 120);
    // Longer than the kernel's first retransmission timeout, a second and what its timer wheel adds, so that SYNs
    // are sent again.
    let patience = Duration::from_millis(1300);
    let quiet = means.scale.millis(300, 150);
    let workers = means.afford(32, 8);
    let policy = |name, title| Policy::watch(Lifo).named(name, title);
    let policies = [
        (
            1,
            false,
            policy(
                "redial-backlog-1",
                "each dials, times out and dials again; listen(1)",
            ),
        ),
        (
            1024,
            false,
            policy(
                "redial-backlog-1024",
                "each dials, times out and dials again; listen(1024)",
            ),
        ),
        (
            1,
            true,
            policy(
                "paced-backlog-1",
                "this pool, 2 dials at once, backing off; listen(1)",
            ),
        ),
        (
            1024,
            true,
            policy(
                "paced-backlog-1024",
                "this pool, 2 dials at once, backing off; listen(1024)",
            ),
        ),
    ];
    let cases = policies.map(|(backlog, paced, policy)| {
        let habits = Habits {
            backlog,
            accept_pause: Some(pause),
            ..Habits::closing_idle_after(None)
        };
        Case::new(policy, habits, move |client| async move {
            let kept = if paced {
                through_the_pool(&client, workers, lasts, patience).await
            } else {
                each_for_itself(&client, workers, lasts, patience).await
            };
            client.tally.stay_quiet(quiet).await;
            kept
        })
    });
    Plan {
        name: NAME,
        title: "Slow acceptor",
        setup: format!(
            "The server accepts one connection, sleeps {} ms, greets, and accepts the next. {workers} workers want a \
             connection that has been greeted, use it once, and want another; none waits longer than {} ms before it \
             gives up and asks again. CLOSE_WAIT is counted at the server's end here: connections that the kernel \
             accepted and whose client has gone.",
            pause.as_millis(),
            patience.as_millis(),
        ),
        close_wait_at_server: true,
        takes: lasts + quiet,
        parameters: BTreeMap::from([
            ("workers", json!(workers)),
            ("accept_pause_ms", json!(millis(pause))),
            ("patience_ms", json!(millis(patience))),
            ("lasts_ms", json!(millis(lasts))),
        ]),
        cases: cases.into(),
        seen,
    }
}

/// Every worker dials for itself, and again as soon as its patience has run out.
async fn each_for_itself(
    client: &Arc<Client>,
    workers: usize,
    lasts: Duration,
    patience: Duration,
) -> Kept {
    let end = now() + lasts;
    let mut tasks = JoinSet::new();
    for _ in 0..workers {
        let client = Arc::clone(client);
        tasks.spawn(async move {
            let mut manager = client.manager(0);
            manager.greeted = true;
            while now() < end {
                client.tally.requests.fetch_add(1, Relaxed);
                let dial = timeout(patience, manager.connect()).await;
                if !matches!(dial, Ok(Ok(_))) {
                    client.tally.requests_lost.fetch_add(1, Relaxed);
                }
                if matches!(dial, Ok(Err(_))) {
                    // Refused or reset on the spot: not a busy loop.
                    sleep(Duration::from_millis(5)).await;
                }
            }
        });
    }
    tasks.join_all().await;
    Vec::new()
}

/// Every worker asks the pool, which alone decides when to dial.
async fn through_the_pool(
    client: &Arc<Client>,
    workers: usize,
    lasts: Duration,
    patience: Duration,
) -> Kept {
    let end = now() + lasts;
    let mut manager = client.manager(0);
    manager.greeted = true;
    let builder = client.policy.builder(manager).max_size(workers);
    let builder = builder
        .max_connecting(2)
        .connect_timeout(patience)
        .checkout_timeout(patience)
        .backoff(Duration::from_millis(100), Duration::from_secs(1));
    let pool = build(builder);
    let mut tasks = JoinSet::new();
    for _ in 0..workers {
        let (client, pool) = (Arc::clone(client), pool.clone());
        tasks.spawn(async move {
            while now() < end {
                client.tally.requests.fetch_add(1, Relaxed);
                match pool.checkout_owned().await {
                    // One use a connection here as there, or the pool would win by keeping them alone.
                    Ok(guard) => OwnedPooled::discard(guard),
                    Err(_) => {
                        client.tally.requests_lost.fetch_add(1, Relaxed);
                    }
                }
            }
        });
    }
    tasks.join_all().await;
    vec![pool]
}

fn seen(policies: &[PolicyReport]) -> String {
    let find = |name| PolicyReport::find(policies, "lifo", name).expect("planned above");
    let short = find("redial-backlog-1");
    let long = find("redial-backlog-1024");
    let paced = find("paced-backlog-1024");
    let again = match short.syn_retries {
        None | Some(0) => String::new(),
        Some(1) => "; the short one made a SYN be sent again".into(),
        Some(syns) => format!("; the short one made {syns} SYNs be sent again"),
    };
    format!(
        "Dialling again at once made the long backlog a queue of {} CLOSE_WAIT sockets at the server, which \
         accepted {} connections too late and served {}{again}. Paced, it was {} in CLOSE_WAIT at most \
         and {} served, with {} dials instead of {}.",
        or_unknown(long.close_wait_max),
        or_unknown(long.accepted_too_late),
        long.served(),
        or_unknown(paced.close_wait_max),
        paced.served(),
        paced.dialled,
        long.dialled,
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_syn_is_only_spoken_of_if_it_was_sent_again() {
        let told = |syn_retries| {
            let report = |policy, syn_retries| PolicyReport {
                order: "lifo",
                policy,
                syn_retries,
                ..PolicyReport::default()
            };
            seen(&[
                report("redial-backlog-1", syn_retries),
                report("redial-backlog-1024", None),
                report("paced-backlog-1024", None),
            ])
        };
        assert!(!told(None).contains("SYN") && !told(Some(0)).contains("SYN"));
        assert!(told(Some(1)).contains("made a SYN be sent again. Paced"));
        assert!(told(Some(9)).contains("made 9 SYNs be sent again. Paced"));
    }
}
