//! What becomes of requests that are sent just when the server closes the idle connection: through this client, reqwest
//! and hyper-util's, in one run.
//!
//! The server closes what has been idle for 10 ms. Each user sends a request, waits for a little more or less than that,
//! and sends the next: so some meet a connection that is open, some one that was closed a moment ago, and some the closing
//! itself. While a user waits, his runtime either runs and hears of a FIN at once, or is blocked and hears of nothing, as
//! it is by a long computation, or between the calls of a blocking facade.

#![allow(clippy::disallowed_methods, reason = "the server lives in real time")]

mod certificate;
mod clients;
mod closing_server;
mod wire;

use std::fmt;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use clap::Parser;
use http::Method;
use yardstick::http_clients::{BoxError, HttpClient};

use certificate::Certificate;
use closing_server::ClosingServer;
use wire::Wire;

/// Counts the requests that are lost when a server closes idle connections, through this client and others.
#[derive(Debug, Parser)]
#[command(name = "closure-race")]
struct Cli {
    /// How many requests each client sends by each wire, over all cases.
    #[arg(long, value_name = "N", default_value = "10000")]
    requests: usize,
}

/// After so long the server closes an idle connection.
const IDLE: Duration = Duration::from_millis(10);

/// How many wait and send at once, each with a runtime and a client of his own.
const USERS: usize = 10;

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
    fn all_of(wire: Wire) -> Vec<Self> {
        let mut cases = Vec::new();
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
        cases
    }

    fn name(self) -> String {
        let wire = self.wire.name();
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

/// A request without a response.
struct Failure {
    path: String,
    began: Instant,
    error: BoxError,
}

/// What became of the requests of one client in one case.
struct Outcome {
    failed: usize,
    /// Those of them that could be known not to have run.
    in_vain: usize,
    /// Those that the server was sent more than once.
    sent_twice: usize,
}

impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let told = format!("{} ({}, {})", self.failed, self.in_vain, self.sent_twice);
        f.pad(&told)
    }
}

fn run<C: HttpClient>(
    case: Case,
    requests: usize,
    make: impl Fn(Wire, &Certificate) -> C + Sync,
    mut tell: impl FnMut(&Failure),
) -> Outcome {
    let certificate = Certificate::new();
    let server = ClosingServer::start(case.wire, IDLE, &certificate);
    let failures: Vec<Failure> = std::thread::scope(|scope| {
        let users: Vec<_> = (0..USERS)
            .map(|user| {
                let (server, make, certificate) = (&server, &make, &certificate);
                scope.spawn(move || {
                    let runtime = tokio::runtime::Builder::new_current_thread()
                        .enable_all()
                        .build()
                        .expect("a runtime can be built");
                    let each = requests.div_ceil(USERS);
                    runtime.block_on(async {
                        let client = make(case.wire, certificate);
                        send(case, user, each, server, client).await
                    })
                })
            })
            .collect();
        let failures = users.into_iter().map(|user| user.join().expect("no panic"));
        failures.flatten().collect()
    });
    let is_in_vain = |failure: &&Failure| server.is_known_not_taken(&failure.path, failure.began);
    let in_vain: Vec<&Failure> = failures.iter().filter(is_in_vain).collect();
    match case.is_post {
        true => in_vain.iter().for_each(|failure| tell(failure)),
        false => failures.iter().for_each(tell),
    }
    Outcome {
        failed: failures.len(),
        in_vain: in_vain.len(),
        sent_twice: server.taken_twice(),
    }
}

/// Sends so many, and answers with those that failed.
async fn send(
    case: Case,
    user: usize,
    requests: usize,
    server: &ClosingServer,
    client: impl HttpClient,
) -> Vec<Failure> {
    let mut failures = Vec::new();
    for turn in 0..requests {
        let path = format!("/{user}/{turn}");
        let url = format!("{}{path}", server.url);
        let began = Instant::now();
        if let Err(error) = client.send(case.method(), &url).await {
            failures.push(Failure { path, began, error });
        }
        let (from, to) = case.late;
        // Evenly over the whole span, in an order that is the same for all.
        let place = (turn * 7919 + user * 104_729) % 1000;
        let late = from + (to - from) * place as f64 / 1000.0;
        wait(IDLE.as_secs_f64() + late / 1e3, case.is_blocked).await;
    }
    failures
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

/// What this client must not do to a request.
fn fault(failure: &Failure) {
    let causes = std::iter::successors(failure.error.source(), |cause| cause.source());
    let told = causes.fold(failure.error.to_string(), |told, cause| {
        format!("{told}: {cause}")
    });
    println!("  fault: {told}");
}

fn main() -> ExitCode {
    let cli = Cli::parse();
    println!(
        "failed (of them could be known not to have run, sent to the server twice); the server closes after {} ms\n",
        IDLE.as_millis()
    );
    println!(
        "{:<66} {:>16} {:>16} {:>18}",
        "", "pool-http", "reqwest", "hyper-util legacy"
    );
    let mut faults = 0;
    for wire in Wire::ALL {
        let cases = Case::all_of(wire);
        let each = cli.requests.div_ceil(cases.len());
        for case in cases {
            let ours = run(case, each, clients::ours, fault);
            let reqwest = run(case, each, clients::reqwest, |_| {});
            let legacy = run(case, each, clients::hyper_util, |_| {});
            println!(
                "{:<66} {ours:>16} {reqwest:>16} {legacy:>18}",
                format!("{}, of {each}", case.name())
            );
            faults += match case.is_post {
                false => ours.failed,
                true => ours.in_vain + ours.sent_twice,
            };
        }
    }
    println!(
        "\nAll at their defaults. A GET may be sent twice; a POST that may have run is an error, and nothing else is."
    );
    match faults {
        0 => ExitCode::SUCCESS,
        _ => ExitCode::FAILURE,
    }
}
