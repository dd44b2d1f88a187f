//! *Crawler*: a pool for each request against one shared pool, hundreds of servers, all of which close first.

use std::collections::BTreeMap;
use std::net::Ipv4Addr;
use std::sync::Arc;
use std::time::Duration;

use pool_core::Order::Lifo;
use pool_core::Pool;
use serde_json::json;
use tokio::sync::Mutex;
use tokio::task::JoinSet;
use tokio::time::sleep;

use super::{Case, Kept, Means, Plan};
use crate::client::{Client, build};
use crate::clock::millis;
use crate::manager::LabManager;
use crate::policy::Policy;
use crate::report::{PolicyReport, or_unknown};
use crate::server::Habits;

const NAME: &str = "crawler";
const WORKERS: usize = 8;

pub(super) fn plan(means: &Means) -> Plan {
    let server_idle = means.scale.millis(400, 250);
    let crawl = means.scale.millis(4500, 1000);
    let quiet = means.scale.millis(1000, 300);
    let reap = means.scale.millis(2000, 600);
    let policies = || {
        [
            (
                Policy::nothing(Lifo).named(
                    "nothing-per-request",
                    "a pool for each request, no look at all",
                ),
                false,
            ),
            (
                Policy::probe(Lifo).named(
                    "probe-per-request",
                    "a pool for each request, a probe at checkout: requests' sessions",
                ),
                false,
            ),
            (
                Policy::ours(Lifo, reap).named(
                    "watch+reap-per-request",
                    "a pool for each request, this pool's default",
                ),
                false,
            ),
            (
                Policy::nothing(Lifo).named("nothing", "one pool a server for all, no look at all"),
                true,
            ),
            (
                Policy::probe(Lifo)
                    .named("probe", "one pool a server for all, a probe at checkout"),
                true,
            ),
            (
                Policy::ours(Lifo, reap).named(
                    "watch+reap",
                    "one pool a server for all, this pool's default",
                ),
                true,
            ),
        ]
    };
    let wanted = means.scale.pick(200, 100).min(means.loopback_addresses);
    let (hosts, visits) = affordable(wanted, |hosts, visits| {
        // A listener and a shared connection for each server, a session for each visit, and both of their ends.
        means.affords(3 * (2 * visits + 2 * hosts) + policies().len() * hosts)
    });
    let pace = crawl / u32::try_from(visits.len().div_ceil(WORKERS)).expect("a few hundred");
    let count = visits.len();
    let cases = policies().map(|(policy, shared)| {
        let habits = Habits {
            addresses: (0..hosts).map(address).collect(),
            ..Habits::closing_idle_after(Some(server_idle))
        };
        let visits = visits.clone();
        Case::new(policy, habits, move |client| async move {
            let kept = crawl_all(&client, visits, pace, shared).await;
            // The last FINs are still to come, and closing is not idling.
            sleep(server_idle.mul_f64(1.2)).await;
            client.tally.stay_quiet(quiet).await;
            kept
        })
    });
    Plan {
        name: NAME,
        title: "Crawler",
        setup: format!(
            "{WORKERS} workers make {count} visits to {hosts} servers at as many addresses, a few of them far more \
             often than the rest. Each server closes what has been idle for {} ms. Either every visit makes a pool \
             of its own, which nobody closes, or there is one for each server.",
            server_idle.as_millis()
        ),
        close_wait_at_server: false,
        takes: crawl + server_idle + quiet,
        parameters: BTreeMap::from([
            ("servers", json!(hosts)),
            ("visits", json!(count)),
            ("workers", json!(WORKERS)),
            ("server_idle_timeout_ms", json!(millis(server_idle))),
            ("idle_timeout_ms", json!(millis(reap))),
        ]),
        cases: cases.into(),
        seen,
    }
}

/// The address of the server number `host`, from 127.0.0.1 on.
fn address(host: usize) -> Ipv4Addr {
    Ipv4Addr::new(127, 0, 0, u8::try_from(host + 1).expect("fewer than 255"))
}

/// Which servers are visited, in order: every one of them twice, and the first ones up to `extra` times more often.
fn visits(hosts: usize, extra: usize) -> Vec<usize> {
    let popularity = |host: usize| 2 + extra / (host + 1);
    let rounds = 0..popularity(0);
    rounds
        .flat_map(|round| (0..hosts).filter(move |&host| popularity(host) > round))
        .collect()
}

/// As many servers as `wanted` and visits to them, or as many as are affordable: at least two.
fn affordable(wanted: usize, affords: impl Fn(usize, usize) -> bool) -> (usize, Vec<usize>) {
    let mut hosts = wanted;
    let mut extra = 40;
    loop {
        let visits = visits(hosts, extra);
        if affords(hosts, visits.len()) || (hosts <= 2 && extra == 0) {
            return (hosts, visits);
        }
        (hosts, extra) = ((hosts * 3 / 4).max(2.min(wanted)), extra * 3 / 4);
    }
}

async fn crawl_all(client: &Arc<Client>, visits: Vec<usize>, pace: Duration, shared: bool) -> Kept {
    let pool_of = |client: &Client, host: usize| -> Pool<LabManager> {
        let manager = client.manager(host);
        build(client.policy.builder(manager).max_size(4))
    };
    let kept = if shared {
        (0..client.servers.len())
            .map(|host| pool_of(client, host))
            .collect()
    } else {
        Vec::new()
    };
    let kept = Arc::new(Mutex::new(kept));
    let visits = Arc::new(Mutex::new(visits.into_iter()));
    let mut workers = JoinSet::new();
    for _ in 0..WORKERS {
        let (client, kept, visits) = (Arc::clone(client), Arc::clone(&kept), Arc::clone(&visits));
        workers.spawn(async move {
            loop {
                let Some(host) = visits.lock().await.next() else {
                    return;
                };
                let pool = if shared {
                    kept.lock().await[host].clone()
                } else {
                    let pool = pool_of(&client, host);
                    kept.lock().await.push(pool.clone());
                    pool
                };
                client.ask(&pool).await;
                sleep(pace).await;
            }
        });
    }
    workers.join_all().await;
    std::mem::take(&mut *kept.lock().await)
}

fn seen(policies: &[PolicyReport]) -> String {
    let find = |name| PolicyReport::find(policies, "lifo", name).expect("planned above");
    let sessions = find("probe-per-request");
    let busiest = sessions.remotes.first();
    let busiest = busiest.map_or_else(String::new, |remote| {
        format!(", {} of them to {} alone", remote.total(), remote.address)
    });
    let [ours, shared] = ["watch+reap-per-request", "watch+reap"].map(find);
    // The table has a column for the most at once beside the one for the end.
    let watched = match (ours.close_wait_max, shared.close_wait_max) {
        (Some(0), Some(0)) => "none was seen there at any time".into(),
        most => {
            let mut left = format!(
                "it was {} and {} at the end",
                or_unknown(ours.left()),
                or_unknown(shared.left())
            );
            if let (Some(ours), Some(shared)) = most {
                left.push_str(&format!(
                    ", and never more than {ours} and {shared} at once"
                ));
            }
            left
        }
    };
    format!(
        "At the end a session for each request had left {} sockets in CLOSE_WAIT{busiest}; one pool a server, probed, \
         still {}. With the watcher {watched}, whichever way the pools were made.",
        or_unknown(sessions.left()),
        or_unknown(find("probe").left()),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_seen_agrees_with_both_columns_of_the_table() {
        let report = |policy, most, left| PolicyReport {
            order: "lifo",
            policy,
            close_wait_max: Some(most),
            close_wait_at_end: Some(left),
            ..PolicyReport::default()
        };
        let told = |most| {
            seen(&[
                report("probe-per-request", 90, 80),
                report("watch+reap-per-request", most, 0),
                report("probe", 40, 30),
                report("watch+reap", 0, 0),
            ])
        };
        let seen = told(1);
        assert!(
            seen.contains("0 and 0 at the end, and never more than 1 and 0 at once"),
            "{seen}"
        );
        let seen = told(0);
        assert!(seen.contains("none was seen there"), "{seen}");
    }

    #[test]
    fn every_server_is_visited_twice_and_the_first_most_often() {
        let visits = visits(100, 40);
        let count = |host| visits.iter().filter(|&&visit| visit == host).count();
        assert_eq!(count(0), 42);
        assert!((0..100).all(|host| count(host) >= 2));
        assert!(visits[..100].iter().copied().eq(0..100));
    }

    #[test]
    fn few_files_mean_few_servers() {
        let (hosts, all) = affordable(200, |_, _| true);
        assert_eq!((hosts, all.len()), (200, 558));
        let (hosts, few) = affordable(200, |_, visits| visits < 100);
        assert!((2..200).contains(&hosts) && (4..100).contains(&few.len()));
        let (hosts, fewest) = affordable(200, |_, _| false);
        assert_eq!((hosts, fewest.len()), (2, 4));
        assert_eq!(affordable(1, |_, _| false).0, 1);
    }
}
