//! What becomes of a job when the worker that waits for it gives up, and what a server has to answer beside each GET:
//! without a pool, through this one, and through others, on a real Redis that is started for this.
//!
//! A worker takes a connection, waits in BLPOP, is cancelled and drops the connection. Then a job arrives. It is lost if
//! the server hands it to the connection on which nobody waits any more. In the second column nobody is cancelled: the
//! worker waits for 0.7 s, then a job arrives. It is lost if the worker has failed by then and the job is not in the list.

use std::future::Future;
use std::pin::pin;
use std::process::ExitCode;
use std::time::Duration;

use clap::Parser;
use redis::aio::MultiplexedConnection;
use redis::{AsyncCommands, Client, cmd};
use tokio::time::{sleep, timeout};

use yardstick::redis_pools::{self, Bare, Source};
use yardstick::redis_server::RedisServer;

/// Shows whether a job outlives the worker that waits for it, through this pool and others.
#[derive(Debug, Parser)]
#[command(name = "lost-jobs")]
struct Cli {
    /// How many workers are cancelled, for each pool.
    #[arg(long, value_name = "N", default_value = "100")]
    rounds: usize,

    /// How many workers are not, which takes most of a second each.
    #[arg(long, value_name = "N", default_value = "3")]
    patient: usize,
}

/// How many GETs the server's commands are counted over.
const GETS: u32 = 1000;

#[tokio::main]
async fn main() -> ExitCode {
    let cli = Cli::parse();
    let server = match RedisServer::start(&[]) {
        Ok(server) => server,
        Err(error) => {
            eprintln!("error: {error}");
            return ExitCode::FAILURE;
        }
    };
    let url = server.url();
    let mut trial = Trial {
        onlooker: Onlooker::dial(&url).await,
        rounds: cli.rounds,
        patient: cli.patient,
    };
    println!(
        "{:<22} {:>18} {:>18}   commands a checkout and a GET",
        "jobs lost", "worker cancelled", "not cancelled"
    );
    let bare = Bare::dial(&url, 1).await;
    trial.run("redis-rs, no pool", bare).await;
    trial.run("pool-redis", redis_pools::ours(&url, 1)).await;
    let bb8 = redis_pools::bb8(&url, 1, true).await;
    trial.run("bb8-redis", bb8).await;
    let bb8 = redis_pools::bb8(&url, 1, false).await;
    trial.run("bb8-redis, no check", bb8).await;
    trial
        .run("deadpool-redis", redis_pools::deadpool(&url, 1))
        .await;
    println!(
        "All at their defaults but for their size. In pool-redis's shared mode BLPOP is refused."
    );
    ExitCode::SUCCESS
}

/// What each of them goes through.
struct Trial {
    onlooker: Onlooker,
    rounds: usize,
    patient: usize,
}

impl Trial {
    async fn run(&mut self, name: &str, source: impl Source) {
        let gets = self.onlooker.commands_a_get(&source).await;
        let mut lost = 0;
        for _ in 0..self.rounds {
            lost += usize::from(self.onlooker.loses_when_cancelled(&source).await);
        }
        let mut lost_anyway = 0;
        for _ in 0..self.patient {
            lost_anyway += usize::from(self.onlooker.loses_anyway(&source).await);
        }
        let of = |lost, rounds| format!("{lost} of {rounds}");
        println!(
            "{name:<22} {:>18} {:>18}   {gets}",
            of(lost, self.rounds),
            of(lost_anyway, self.patient),
        );
    }
}

/// A connection of its own, which sees what the server sees.
struct Onlooker(MultiplexedConnection);

const QUEUE: &str = "queue";

impl Onlooker {
    async fn dial(url: &str) -> Self {
        let client = Client::open(url).expect("a URL of our own");
        let connection = client.get_multiplexed_async_connection().await;
        Self(connection.expect("the server runs"))
    }

    async fn loses_when_cancelled(&mut self, source: &impl Source) -> bool {
        self.until_blocked_are(0).await;
        let mut connection = source.checkout().await;
        {
            let job = pin!(next_job(&mut *connection));
            tokio::select! {
                _ = job => unreachable!("there is no job"),
                () = self.until_blocked_are(1) => {}
            }
        }
        drop(connection);
        self.offer_job().await;
        self.remaining_jobs().await == 0
    }

    async fn loses_anyway(&mut self, source: &impl Source) -> bool {
        self.until_blocked_are(0).await;
        let mut connection = source.checkout().await;
        let is_done = {
            let mut job = pin!(next_job(&mut *connection));
            let failed = timeout(Duration::from_millis(700), &mut job).await;
            match failed {
                Ok(job) => job.is_ok(),
                Err(_) => {
                    self.offer_job().await;
                    job.await.is_ok()
                }
            }
        };
        drop(connection);
        if is_done {
            return false;
        }
        self.offer_job().await;
        self.remaining_jobs().await == 0
    }

    /// What the server was asked for each GET, such as `2.00: 1.00 get, 1.00 ping`.
    async fn commands_a_get(&mut self, source: &impl Source) -> String {
        // The first checkout dials.
        drop(source.checkout().await);
        let mut reset = cmd("CONFIG");
        let reset = reset.arg("RESETSTAT").exec_async(&mut self.0).await;
        reset.expect("the server runs");
        for _ in 0..GETS {
            let mut connection = source.checkout().await;
            let value: Option<String> = connection.get("key").await.expect("the server runs");
            assert_eq!(value, None);
        }
        let mut total = 0;
        let mut each = Vec::new();
        for line in self.info("commandstats").await.lines() {
            let Some((name, calls)) = line
                .strip_prefix("cmdstat_")
                .and_then(|line| line.split_once(":calls="))
                .filter(|(name, _)| !matches!(*name, "config|resetstat" | "info"))
            else {
                continue;
            };
            let calls: u32 = calls
                .split(',')
                .next()
                .expect("one part")
                .parse()
                .expect("a count");
            total += calls;
            each.push(format!("{:.2} {name}", f64::from(calls) / f64::from(GETS)));
        }
        each.sort();
        format!(
            "{:.2}: {}",
            f64::from(total) / f64::from(GETS),
            each.join(", ")
        )
    }

    async fn offer_job(&mut self) {
        let pushed: usize = self.0.rpush(QUEUE, "job").await.expect("the server runs");
        assert_eq!(pushed, 1);
    }

    /// Counts them and takes them away.
    async fn remaining_jobs(&mut self) -> usize {
        let jobs: usize = self.0.llen(QUEUE).await.expect("the server runs");
        let () = self.0.del(QUEUE).await.expect("the server runs");
        jobs
    }

    /// Waits until the server has so many clients in a blocking command.
    async fn until_blocked_are(&mut self, clients: usize) {
        let line = format!("blocked_clients:{clients}\r\n");
        while !self.info("clients").await.contains(&line) {
            sleep(Duration::from_millis(1)).await;
        }
    }

    async fn info(&mut self, section: &str) -> String {
        let mut info = cmd("INFO");
        let info = info.arg(section).query_async(&mut self.0).await;
        info.expect("the server runs")
    }
}

fn next_job(
    connection: &mut impl AsyncCommands,
) -> impl Future<Output = redis::RedisResult<(String, String)>> {
    connection.blpop(QUEUE, 0.0)
}
