//! What becomes of requests that are sent just when the server closes the idle connection: through this client, reqwest
//! and hyper-util's, in one run.
//!
//! The server closes what has been idle for 10 ms. Each user sends a request, waits for a little more or less than that,
//! and sends the next: so some meet a connection that is open, some one that was closed a moment ago, and some the closing
//! itself. While a user waits, his runtime either runs and hears of a FIN at once, or is blocked and hears of nothing, as
//! it is by a long computation, or between the calls of a blocking facade.

#![allow(clippy::disallowed_methods, reason = "the server lives in real time")]

#[allow(dead_code, reason = "the benchmark uses it all")]
mod http_clients;

mod closing_server;

use std::process::ExitCode;
use std::time::{Duration, Instant};

use clap::Parser;
use http::Method;

use closing_server::ClosingServer;
use http_clients::{HttpClient, HyperUtil, Ours, Reqwest};

/// Counts the requests that are lost when a server closes idle connections, through this client and others.
#[derive(Debug, Parser)]
#[command(name = "closure-race")]
struct Cli {
    /// How many requests each client sends, over all cases.
    #[arg(long, value_name = "N", default_value = "10000")]
    requests: usize,
}

/// After so long the server closes an idle connection.
const IDLE: Duration = Duration::from_millis(10);

/// How many wait and send at once, each with a runtime and a client of his own.
const USERS: usize = 10;

/// What is between client and server.
#[derive(Clone, Copy, Debug)]
enum Wire {
    /// HTTP/1.1 over TCP.
    Http1,
}

#[derive(Clone, Copy, Debug)]
struct Case {
    wire: Wire,
    is_post: bool,
    /// The thread is blocked while it waits.
    is_blocked: bool,
    /// How much longer than the server's patience is waited: from, and to.
    late: (f64, f64),
}

impl Case {
    fn all() -> Vec<Self> {
        let mut cases = Vec::new();
        for wire in [Wire::Http1] {
            for is_post in [false, true] {
                for is_blocked in [false, true] {
                    // Around the closing, and when the FIN has surely come.
                    for late in [(-1.0, 2.0), (3.0, 6.0)] {
                        cases.push(Self {
                            wire,
                            is_post,
                            is_blocked,
                            late,
                        });
                    }
                }
            }
        }
        cases
    }

    fn name(self) -> String {
        let wire = match self.wire {
            Wire::Http1 => "HTTP/1",
        };
        let meanwhile = match self.is_blocked {
            true => "thread blocked",
            false => "runtime idle",
        };
        let (from, to) = self.late;
        let method = self.method();
        format!("{wire}, {method}, {meanwhile}, {from:+} to {to:+} ms")
    }

    fn method(self) -> Method {
        match self.is_post {
            true => Method::POST,
            false => Method::GET,
        }
    }
}

/// What became of the requests of one client in one case.
struct Outcome {
    failed: usize,
    /// Those that the server was sent more than once.
    sent_twice: usize,
}

fn run<C: HttpClient>(case: Case, requests: usize, make: impl Fn() -> C + Sync) -> Outcome {
    let server = ClosingServer::start(IDLE);
    let failed = std::thread::scope(|scope| {
        let users: Vec<_> = (0..USERS)
            .map(|user| {
                let (server, make) = (&server, &make);
                scope.spawn(move || {
                    let runtime = tokio::runtime::Builder::new_current_thread()
                        .enable_all()
                        .build()
                        .expect("a runtime can be built");
                    let each = requests.div_ceil(USERS);
                    runtime.block_on(async { send(case, user, each, server, make()).await })
                })
            })
            .collect();
        let failed = users.into_iter().map(|user| user.join().expect("no panic"));
        failed.sum()
    });
    Outcome {
        failed,
        sent_twice: server.taken_twice(),
    }
}

/// Sends so many, and counts those that failed.
async fn send(
    case: Case,
    user: usize,
    requests: usize,
    server: &ClosingServer,
    client: impl HttpClient,
) -> usize {
    let mut failed = 0;
    for turn in 0..requests {
        let url = format!("http://{}/{user}/{turn}", server.address);
        failed += usize::from(client.send(case.method(), &url).await.is_err());
        let (from, to) = case.late;
        // Evenly over the whole span, in an order that is the same for all.
        let place = (turn * 7919 + user * 104_729) % 1000;
        let late = from + (to - from) * place as f64 / 1000.0;
        wait(IDLE.as_secs_f64() + late / 1e3, case.is_blocked).await;
    }
    failed
}

async fn wait(seconds: f64, is_blocked: bool) {
    let time = Duration::from_secs_f64(seconds);
    if is_blocked {
        std::thread::sleep(time);
        return;
    }
    let start = Instant::now();
    // The timer is not exact to less than a millisecond.
    tokio::time::sleep(time.saturating_sub(Duration::from_millis(2))).await;
    while start.elapsed() < time {
        tokio::task::yield_now().await;
    }
}

fn main() -> ExitCode {
    let cli = Cli::parse();
    let cases = Case::all();
    let each = cli.requests.div_ceil(cases.len());
    println!(
        "failed (and sent to the server twice) of {each} requests; the server closes after {} ms\n",
        IDLE.as_millis()
    );
    println!(
        "{:<46} {:>14} {:>14} {:>18}",
        "", "pool-http", "reqwest", "hyper-util legacy"
    );
    let mut lost_gets = 0;
    let mut posts_twice = 0;
    for case in cases {
        let ours = run(case, each, || Ours::new(10));
        let reqwest = run(case, each, Reqwest::new);
        let legacy = run(case, each, HyperUtil::new);
        let told = |outcome: &Outcome| format!("{} ({})", outcome.failed, outcome.sent_twice);
        println!(
            "{:<46} {:>14} {:>14} {:>18}",
            case.name(),
            told(&ours),
            told(&reqwest),
            told(&legacy)
        );
        match case.is_post {
            false => lost_gets += ours.failed,
            true => posts_twice += ours.sent_twice,
        }
    }
    println!(
        "\nAll at their defaults. A POST that may have run is an error; a GET is sent once more."
    );
    match (lost_gets, posts_twice) {
        (0, 0) => ExitCode::SUCCESS,
        _ => ExitCode::FAILURE,
    }
}
