//! What a checkout, a GET and a check-in cost on a real Redis, which the benchmark starts itself: through this pool,
//! through bb8-redis and deadpool-redis, and without a pool on connections of redis-rs. One user, and 64 users on 8
//! connections.
//!
//! All are at their defaults but for their size; bb8-redis also without the check that it makes at each checkout. Users are
//! tasks of tokio's usual runtime with two workers. First come interleaved rounds, whose ratios survive a machine whose
//! speed drifts; then criterion's own figures.

#![allow(missing_docs, reason = "criterion's macros make undocumented items")]
#![allow(clippy::disallowed_methods, reason = "benchmarks measure real time")]

#[path = "../src/redis_server.rs"]
mod redis_server;
#[path = "../src/rivals.rs"]
mod rivals;

use std::future::Future;
use std::pin::Pin;
use std::time::{Duration, Instant};

use criterion::{Criterion, criterion_group};
use redis::AsyncCommands;
use tokio::runtime::Runtime;
use tokio::task::JoinSet;

use redis_server::RedisServer;
use rivals::{Bare, Source};

const ROUNDS: usize = 101;
const KEY: &str = "key";
const VALUE: &str = "a value of some thirty characters";

/// How many use how many connections.
#[derive(Clone, Copy)]
struct Crowd {
    name: &'static str,
    users: usize,
    connections: u32,
    /// Commands of all users together in a round.
    commands: u64,
}

const CROWDS: [Crowd; 2] = [
    Crowd {
        name: "one user",
        users: 1,
        connections: 1,
        commands: 400,
    },
    Crowd {
        name: "64 users on 8 connections",
        users: 64,
        connections: 8,
        commands: 1600,
    },
];

/// One of those that are compared.
struct Contender {
    name: &'static str,
    /// Makes so many commands.
    run: Box<dyn Fn(u64) -> Run>,
}

/// Ends with how long it took.
type Run = Pin<Box<dyn Future<Output = Duration> + Send>>;

impl Contender {
    fn new(name: &'static str, users: usize, source: impl Source) -> Self {
        let run = move |commands| -> Run { Box::pin(measure(source.clone(), users, commands)) };
        Self {
            name,
            run: Box::new(run),
        }
    }

    /// In this order: without a pool, ours, the others at their defaults, and what else there is.
    async fn all(url: &str, crowd: Crowd) -> Vec<Self> {
        let (users, size) = (crowd.users, crowd.connections);
        let many = usize::try_from(size).expect("a few");
        let bb8 = rivals::bb8(url, size, true).await;
        let unchecked = rivals::bb8(url, size, false).await;
        let contenders = vec![
            Self::new("redis-rs, no pool", users, Bare::dial(url, many).await),
            Self::new("pool-redis", users, rivals::ours(url, many)),
            Self::new("bb8-redis", users, bb8),
            Self::new("deadpool-redis", users, rivals::deadpool(url, many)),
            Self::new("bb8-redis, no check", users, unchecked),
            Self::new("pool-redis, shared", users, rivals::ours_shared(url, many)),
        ];
        for contender in &contenders {
            (contender.run)(crowd.commands).await;
        }
        contenders
    }
}

/// How long it takes `users` to check out, GET and check in until they have done so `commands` times in all.
async fn measure(source: impl Source, users: usize, commands: u64) -> Duration {
    let each = commands.div_ceil(users as u64);
    let start = Instant::now();
    let mut crowd = JoinSet::new();
    for _ in 0..users {
        let source = source.clone();
        crowd.spawn(async move {
            for _ in 0..each {
                let mut connection = source.checkout().await;
                let value: String = connection.get(KEY).await.expect("the server runs");
                assert_eq!(value.len(), VALUE.len());
            }
        });
    }
    crowd.join_all().await;
    start.elapsed()
}

fn runtime() -> Runtime {
    tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .expect("a runtime can be built")
}

/// A server with one key; `None` if none is installed.
fn server() -> Option<RedisServer> {
    let server = match RedisServer::start(&[]) {
        Ok(server) => server,
        Err(error) => {
            println!("nothing was measured: {error}");
            return None;
        }
    };
    let set = format!("SET {KEY} \"{VALUE}\"");
    redis_server::ask(server.address(), &[&set]).expect("it runs");
    Some(server)
}

/// What is measured, and on what.
fn print_versions(server: &RedisServer) {
    let told = redis_server::ask(server.address(), &["INFO server"]).expect("it runs");
    let redis = told
        .lines()
        .find_map(|line| line.strip_prefix("redis_version:"));
    let crates = ["redis", "bb8", "bb8-redis", "deadpool-redis", "tokio"];
    let crates = crates.map(|name| format!("{name} {}", locked_version(name)));
    let cores = std::thread::available_parallelism().map_or(0, usize::from);
    println!(
        "redis-server {}, {}; {cores} cores, {}\n",
        redis.unwrap_or("of an unknown version"),
        crates.join(", "),
        std::env::consts::OS,
    );
}

/// The version of a crate in this workspace.
fn locked_version(name: &str) -> &'static str {
    let lock = include_str!("../../Cargo.lock");
    let heading = format!("name = \"{name}\"\nversion = \"");
    let (_, rest) = lock.split_once(&heading).expect("it is used here");
    rest.split('"').next().expect("a quoted version")
}

fn print_ratios(url: &str) {
    let runtime = runtime();
    for crowd in CROWDS {
        let contenders = runtime.block_on(Contender::all(url, crowd));
        // Microseconds a command, by round.
        let mut rounds: Vec<Vec<f64>> = Vec::new();
        for round in 0..ROUNDS {
            let mut micros = vec![0.0; contenders.len()];
            // Nobody always comes after the same one.
            for place in 0..contenders.len() {
                let turn = (place + round) % contenders.len();
                let took = runtime.block_on((contenders[turn].run)(crowd.commands));
                micros[turn] = took.as_secs_f64() * 1e6 / crowd.commands as f64;
            }
            rounds.push(micros);
        }
        print_crowd(crowd, &contenders, &rounds);
    }
}

fn print_crowd(crowd: Crowd, contenders: &[Contender], rounds: &[Vec<f64>]) {
    let median = |of: &dyn Fn(&Vec<f64>) -> f64| {
        let mut values: Vec<f64> = rounds.iter().map(of).collect();
        values.sort_by(f64::total_cmp);
        values[values.len() / 2]
    };
    println!(
        "checkout, GET, check-in; {}; medians of {ROUNDS} interleaved rounds of {} commands, and of the ratios in each",
        crowd.name, crowd.commands
    );
    for (place, contender) in contenders.iter().enumerate() {
        println!(
            "  {:<20} {:6.2} \u{b5}s a command {:7.0} a second  {:5.2} of redis-rs's time  {:5.2} of ours",
            contender.name,
            median(&|round| round[place]),
            1e6 / median(&|round| round[place]),
            median(&|round| round[place] / round[0]),
            median(&|round| round[place] / round[1]),
        );
    }
    let verdict = |holds| if holds { "holds" } else { "MISSED" };
    if crowd.users == 1 {
        let ratio = median(&|round| round[1] / round[0]);
        println!(
            "  target: ours within 1.05 of redis-rs alone: {ratio:.3}, {}",
            verdict(ratio <= 1.05)
        );
    }
    for place in [2, 3] {
        let ratio = median(&|round| round[place] / round[1]);
        println!(
            "  target: at least 1.8 times the throughput of {}: {ratio:.2}, {}",
            contenders[place].name,
            verdict(ratio >= 1.8)
        );
    }
    println!();
}

fn redis(criterion: &mut Criterion) {
    let Some(server) = server() else { return };
    let runtime = runtime();
    for crowd in CROWDS {
        let mut group = criterion.benchmark_group(format!("redis, {}", crowd.name));
        group.warm_up_time(Duration::from_secs(1));
        group.measurement_time(Duration::from_secs(3));
        for contender in runtime.block_on(Contender::all(&server.url(), crowd)) {
            group.bench_function(contender.name, |bencher| {
                // A crowd makes a whole number of commands each; what they make more is not theirs to count.
                bencher.iter_custom(|commands| {
                    let whole = commands.div_ceil(crowd.users as u64) * crowd.users as u64;
                    let took = runtime.block_on((contender.run)(whole));
                    took.mul_f64(commands as f64 / whole as f64)
                });
            });
        }
        group.finish();
    }
}

criterion_group!(benches, redis);

fn main() {
    // `cargo test --benches` only wants to know that they run, and a profiler wants one of them alone.
    let silent = ["--test", "--list", "--profile-time"];
    if !std::env::args().any(|argument| silent.contains(&argument.as_str()))
        && let Some(server) = server()
    {
        print_versions(&server);
        print_ratios(&server.url());
    }
    benches();
    Criterion::default().configure_from_args().final_summary();
}
