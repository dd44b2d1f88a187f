//! What a checkout, a GET and a check-in cost on a real Redis, through this pool, through others, and without a pool.

use std::rc::Rc;

use redis::AsyncCommands;

use super::users::{self, Ask};
use super::{Effort, Suite};
use crate::crowd::Threads;
use crate::findings::{Finding, Target, digits};
use crate::redis_pools::{self, Bare, Source};
use crate::redis_server::{RedisServer, ask};
use crate::rounds::{Entrant, Record, of, play};

/// Registered in [`SUITES`](super::SUITES).
pub const SUITE: Suite = Suite {
    name: "redis",
    question: "What does a GET cost through each pool for Redis?",
    measure,
};

const KEY: &str = "key";
const VALUE: &str = "a value of some thirty characters";

const BARE: &str = "redis-rs, no pool";
const OURS: &str = "ours: pool-redis";
const RIVALS: [&str; 2] = ["bb8-redis", "deadpool-redis"];

/// How many use how many connections.
#[derive(Clone, Copy, Debug)]
pub struct Crowd {
    /// As a heading has it.
    pub name: &'static str,
    /// All of them tasks.
    pub users: usize,
    /// Of the pool.
    pub connections: usize,
}

/// The crowds that are measured.
pub const CROWDS: [Crowd; 2] = [
    Crowd {
        name: "one user",
        users: 1,
        connections: 1,
    },
    Crowd {
        name: "64 users on 8 connections",
        users: 64,
        connections: 8,
    },
];

/// A server of our own, with one key.
///
/// # Errors
///
/// In words, when none is installed.
pub fn server() -> Result<RedisServer, String> {
    let server = RedisServer::start(&[]).map_err(|error| error.to_string())?;
    let set = format!("SET {KEY} \"{VALUE}\"");
    ask(server.address(), &[&set]).map_err(|error| error.to_string())?;
    Ok(server)
}

#[derive(Clone)]
struct Get<S>(S);

impl<S: Source> Ask for Get<S> {
    async fn ask(&self) {
        let mut connection = self.0.checkout().await;
        let value: String = connection.get(KEY).await.expect("the server runs");
        assert_eq!(value.len(), VALUE.len());
    }
}

/// Without a pool, ours, the others at their defaults, and what else there is.
pub fn entrants(url: &str, crowd: Crowd) -> Vec<Entrant> {
    let runtime = Threads::Two.runtime();
    let (users, size) = (crowd.users, crowd.connections);
    let few = u32::try_from(size).expect("a few");
    let ready = Rc::clone(&runtime);
    ready.block_on(async {
        let bb8 = redis_pools::bb8(url, few, true).await;
        let unchecked = redis_pools::bb8(url, few, false).await;
        let bare = Bare::dial(url, size).await;
        let (ours, shared) = (
            redis_pools::ours(url, size),
            redis_pools::ours_shared(url, size),
        );
        let deadpool = redis_pools::deadpool(url, size);
        vec![
            users::entrant(BARE, users, &runtime, Get(bare)),
            users::entrant(OURS, users, &runtime, Get(ours)),
            users::entrant(RIVALS[0], users, &runtime, Get(bb8)),
            users::entrant(RIVALS[1], users, &runtime, Get(deadpool)),
            users::entrant("bb8-redis, no check", users, &runtime, Get(unchecked)),
            users::entrant("ours: pool-redis, shared", users, &runtime, Get(shared)),
        ]
    })
}

fn measure(effort: &Effort) -> Finding {
    let server = match server() {
        Ok(server) => server,
        Err(why) => return Finding::not_measured(why),
    };
    let mut finding = Finding {
        method: vec![
            "A checkout, a GET of 33 bytes and a check-in, on a redis-server that is started for this, from tasks on two workers. \
             All are at their defaults but for their size; bb8-redis then sends a PING at each checkout, deadpool-redis UNWATCH \
             and PING. \"no pool\" are as many connections as the pools have, taken in turn."
                .into(),
        ],
        ..Finding::default()
    };
    for crowd in CROWDS {
        effort.say(crowd.name);
        let plan = users::plan(effort);
        let records = play(&mut entrants(&server.url(), crowd), plan);
        let table = users::table(crowd.name, plan, &records, BARE, OURS);
        finding.tables.push(table);
        finding.plots.push(users::plot(crowd.name, &records, BARE));
        finding.targets.extend(targets(crowd, &records));
        finding.seen.push_str(&format!(
            "Redis, {}: ours takes {} of the time of redis-rs without a pool. ",
            crowd.name,
            digits(of(&records, OURS).ratio(of(&records, BARE), |round| round.nanos)),
        ));
    }
    finding
}

fn targets(crowd: Crowd, records: &[Record]) -> Vec<Target> {
    let ours = of(records, OURS);
    let mut targets = Vec::new();
    if crowd.users == 1 {
        let ratio = ours.ratio(of(records, BARE), |round| round.nanos);
        targets.push(Target::new(
            "Redis, one user: at most 1.05 of redis-rs's time without a pool",
            digits(ratio),
            ratio <= 1.05,
        ));
    }
    targets.extend(RIVALS.map(|rival| {
        let ratio = of(records, rival).ratio(ours, |round| round.nanos);
        Target::new(
            format!(
                "Redis, {}: at least 1.8 times the throughput of {rival}",
                crowd.name
            ),
            digits(ratio),
            ratio >= 1.8,
        )
    }));
    targets
}
